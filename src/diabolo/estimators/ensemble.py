"""Base of detectors, imputers and generators: several networks fitted together to rows from any source."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..data.blocks import CHUNK_BYTES, BlockReader
from ..data.readers import SchemaSpec
from ..data.sampling import sample_positions, take_rows
from ..data.scaler import KINDS, NOTHING_KNOWN, check_float64_precision
from ..data.schema import Schema, SchemaOverrides
from ..data.types import RowsLike
from ..engine.progress import Bar
from ..errors import ArtifactError, InvalidData, InvalidParameter
from ..persistence import files
from ..persistence.serialization import Found, Stored
from .arguments import check_arguments
from .base import BaseAutoencoder, fit_together
from .input import InputSpec, Opened
from .result import Fitted
from .trainable import Saveable, stored_of

if TYPE_CHECKING:
    from ..displays.summary import EnsembleSummary

__all__ = ["CONSTRAINTS", "SCALING", "Ensemble", "Given", "given_to", "known_range", "networks_of"]


SCALING: dict[str, list[object]] = {"scaling": [StrOptions(set(KINDS)), None]}
CONSTRAINTS: dict[str, list[object]] = {
    "schema": [StrOptions({"auto"}), dict, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
"""Constraints of the parameters that all these estimators share."""


@dataclass(frozen=True)
class Given:
    """The training rows of an ensemble, in memory."""

    input: InputSpec
    rows: np.ndarray
    seed: int
    n_samples: int
    """Number of rows passed to `fit`."""
    fingerprint: str

    @classmethod
    def learn(cls, owner: str, X: RowsLike, wanted: SchemaSpec, seed: int, least: int = 1) -> Given:
        """Open the rows of a fit once; from a `BlockReader`, load a random sample that fits in memory.

        Categories of fewer than ``least`` rows are not listed, unless ``wanted`` lists them.

        Raises
        ------
        InvalidData
            As `InputSpec.learn`, or if no cell is known.
        """
        opened = InputSpec.learn(owner, X, wanted)
        rows = _drawn(opened.rows, seed) if isinstance(opened.rows, BlockReader) else opened.rows
        if np.isnan(rows).all():
            raise InvalidData(NOTHING_KNOWN)
        check_float64_precision(*known_range(rows))
        if opened.input.schema is not None and least > 1:
            schema, rows = opened.input.schema.without_rare(rows, least, _listed(wanted))
            opened = replace(opened, input=replace(opened.input, schema=schema))
        return cls(opened.input, rows, seed, opened.n_rows, files.fingerprint(rows))

    def with_input(self, **changes: Any) -> Given:
        """Return a copy with changes to the `InputSpec`."""
        return replace(self, input=replace(self.input, **changes))

    def handed(self, rows: np.ndarray) -> Opened:
        """Return rows with these columns as the opened training rows of a network."""
        names = self.input.names if self.input.schema is not None else None
        width = rows.shape[1] if self.input.schema is None else self.input.n_features
        spec = replace(self.input, n_features=width, names=names, image_shape=None, cells=None, container=None)
        return Opened(spec, rows, len(rows), self.fingerprint)

    def own(self, estimator: object, fold: int = 0) -> BaseAutoencoder | None:
        """Return an unfitted clone of the user's autoencoder; None if ``estimator`` is a name."""
        if not isinstance(estimator, BaseAutoencoder):
            return None
        one: BaseAutoencoder = clone(estimator)
        return one.set_params(random_state=self.seed + fold) if one.random_state is None else one

    def own_without_condition(self, estimator: object) -> BaseAutoencoder | None:
        """Return the same, if all columns may be filled or drawn.

        Raises
        ------
        InvalidParameter
            If the autoencoder has a condition.
        """
        one = self.own(estimator)
        if one is not None and one.condition is not None:
            raise InvalidParameter(
                f"{self.input.owner} fills or draws cells of all columns, so its autoencoder cannot have a condition; "
                f"got condition={one.condition!r}. Leave it out, or use the autoencoder itself."
            )
        return one

    def fitted(self, learned: Mapping[str, object]) -> Fitted:
        """Return the result of a fit to these rows."""
        places = {"schema_": self.input.schema, "image_shape_": self.input.image_shape}
        return Fitted(self.input, self.seed, self.n_samples, self.fingerprint, {**places, **learned})


class Ensemble(Saveable):
    """Base class of estimators that combine several networks."""

    estimator: str | BaseAutoencoder
    schema: str | SchemaOverrides | None
    random_state: int | np.random.RandomState | None
    verbose: int
    estimators_: list[list[BaseAutoencoder]]
    schema_: Schema | None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def _stored(self) -> Stored:
        groups = tuple(tuple(map(stored_of, group)) for group in self.estimators_)
        return replace(super()._stored(), groups=groups)

    def summary(self) -> EnsembleSummary:
        """Return what was learned from, the parts and their shares, and the networks.

        Returns
        -------
        EnsembleSummary
            A table, shown by ``print`` and by a notebook; `summary` of a network shows its layers.
        """
        check_is_fitted(self)
        from ..displays.network import NetworkSummary
        from ..displays.summary import EnsembleSummary

        facts = (("training rows", f"{self.n_samples_:,}"), ("columns", f"{self.n_features_in_:,}"), *self._facts())
        networks = tuple(NetworkSummary.from_estimator(one) for group in self.estimators_ for one in group)
        return EnsembleSummary(type(self).__name__, facts, networks)

    def _facts(self) -> tuple[tuple[str, str], ...]:
        """Return the parts of the fitted estimator as names and values, for `summary`."""
        return ()

    _needs_networks: ClassVar[bool] = True

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        if self._needs_networks and not all(found.groups):
            raise ArtifactError(f"The saved {type(self).__name__} has no networks. Save it again.")
        return {
            "schema_": columns.schema,
            "image_shape_": columns.image_shape,
            "estimators_": [list(group) for group in found.groups],
        }


def _listed(wanted: SchemaSpec) -> set[str]:
    """Return the columns whose categories the user has listed."""
    given = wanted.items() if isinstance(wanted, Mapping) else ()
    return {name for name, one in given if isinstance(one, Mapping) and "categories" in one}


def given_to(estimator: Ensemble, X: RowsLike, y: object = None, *, least: int = 1) -> Given:
    """Validate the parameters of an estimator and the labels it ignores, and open its training rows."""
    estimator._validate_params()
    check_arguments(y=y)
    seed = int(check_random_state(estimator.random_state).randint(2**30))
    return Given.learn(type(estimator).__name__, X, estimator.schema, seed, least)


def networks_of(
    estimator: Ensemble, pairs: Sequence[tuple[BaseAutoencoder, Opened]]
) -> tuple[list[BaseAutoencoder], bool]:
    """Fit each network to its rows, all networks together.

    Returns
    -------
    networks : list of BaseAutoencoder
    interrupted : bool
        Whether Ctrl-C ended the training after the first epoch of each network. The fit continues with the networks at
        their best epoch so far, and passes this to `store`, which raises `TrainingInterrupted`.

    Raises
    ------
    TrainingDiverged
        If the training of a network diverged.
    KeyboardInterrupt
        If it ended the training before the first epoch of a network.
    """
    with Bar(f"{type(estimator).__name__} training", 1.0, bool(estimator.verbose), "compiling") as bar:
        found = fit_together(pairs, bar.show)
    for error in found.errors:
        if error is not None:
            raise error
    networks = [one for one, _ in pairs]
    if found.interrupted and not all(hasattr(one, "model_") for one in networks):
        raise KeyboardInterrupt
    return networks, found.interrupted


def _drawn(store: BlockReader, seed: int) -> np.ndarray:
    """Return a random sample of rows that fits in memory, in the original order."""
    n_kept = min(store.n_rows, CHUNK_BYTES // (4 * store.n_features))
    return take_rows(store, sample_positions(store.n_rows, n_kept, np.random.default_rng([seed, 8])))


def known_range(rows: np.ndarray) -> np.ndarray:
    """Return the minimum and the maximum of each column's known cells, (2, d); 0 for a column without known cells."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nan_to_num(np.stack([np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)]).astype(np.float64))
