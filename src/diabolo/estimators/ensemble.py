"""What detectors and imputers have in common: networks that are fitted together to rows from anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from ..data.blocks import CHUNK_BYTES, Store
from ..data.readers import Table
from ..data.sampling import sample_positions, take_rows
from ..data.scaler import KINDS, NOTHING_KNOWN, refuse_lost
from ..engine.progress import Bar
from ..errors import InvalidData
from ..persistence import files
from .base import BaseAutoencoder
from .input import Tables
from .sweep import fitted_together
from .trainable import Kept

__all__ = ["Ensemble", "known_range"]


class Ensemble(Tables, Kept):
    """Base of the jobs that several networks do together."""

    estimator: str | BaseAutoencoder
    scaling: str | None
    schema: str | dict[str, Any] | None
    random_state: int | np.random.RandomState | None
    verbose: int
    estimators_: list[list[BaseAutoencoder]]

    _shared_constraints: ClassVar[dict[str, list[Any]]] = {
        "scaling": [StrOptions(set(KINDS)), None],
        "schema": [StrOptions({"auto"}), dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    _fitted_json: ClassVar[tuple[str, ...]] = ("n_samples_", "data_fingerprint_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags

    def _learned_from(self, X: Any) -> np.ndarray:
        """The rows to learn from, in memory: of a store as many as may be there at once, drawn at random."""
        self._validate_params()
        self._seed = int(check_random_state(self.random_state).randint(2**30))
        given = self._opened(X)
        rows: np.ndarray = _drawn(given, self._seed) if isinstance(given, Store) else given
        if np.isnan(rows).all():
            raise InvalidData(NOTHING_KNOWN)
        refuse_lost(*known_range(rows))
        self.n_samples_ = given.n_rows if isinstance(given, Store) else len(rows)
        self.data_fingerprint_ = files.fingerprint(rows)
        return rows

    @property
    def _speaks(self) -> bool:
        return bool(self.verbose)

    def _fitted(self, pairs: Sequence[tuple[BaseAutoencoder, Any]]) -> list[BaseAutoencoder]:
        """Networks fitted to the rows beside them, all together."""
        with Bar(f"{type(self).__name__} training", 1.0, self._speaks, "compiling") as bar:
            return fitted_together(pairs, bar.show)

    def _own(self, fold: int = 0) -> BaseAutoencoder | None:
        """The user's own estimator, unfitted, if there is one."""
        if not isinstance(self.estimator, BaseAutoencoder):
            return None
        one: BaseAutoencoder = clone(self.estimator)
        return one.set_params(random_state=self._seed + fold) if one.random_state is None else one

    def _as_given(self, rows: np.ndarray) -> Any:
        """Rows as an autoencoder takes them."""
        return rows if self.schema_ is None else Table(rows, self.schema_.owners, self.schema_)

    @property
    def _columns(self) -> Sequence[Any]:
        """The name, or number, of the column that each number of a row belongs to."""
        return range(self._width) if self.schema_ is None else self.schema_.owners

    @property
    def _are_numbers(self) -> np.ndarray:
        """Which numbers of a row are cells of an order: numbers, dates and counts."""
        if self.schema_ is None:
            return np.ones(self._width, bool)
        ordered = {column.name for column in self.schema_.used if column.has_order}
        return np.array([name in ordered for name in self.schema_.owners])


def _drawn(store: Store, seed: int) -> np.ndarray:
    """As many rows of a store as may be in memory at once, in their order."""
    n_kept = min(store.n_rows, CHUNK_BYTES // (4 * store.n_features))
    return take_rows(store, sample_positions(store.n_rows, n_kept, np.random.default_rng([seed, 8])))


def known_range(rows: np.ndarray) -> np.ndarray:
    """The least and the greatest of each column, (2, d); 0 where none is known."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nan_to_num(np.stack([np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)]))
