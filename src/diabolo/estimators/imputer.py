"""Filling missing cells: a best value, and an interval that holds the true one as often as it says."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..core.component import require_number
from ..core.corruptions import MaskCells
from ..core.latents import Deterministic
from ..core.networks import MLP
from ..core.optimizers import Adam
from ..data.schema import SchemaOverrides
from ..data.types import Frame, RowsLike
from . import scores
from .autoencoders import Autoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, Ensemble, given_to, known_range, networks_of
from .input import InputSpec
from .predictor import Predictor
from .trainable import store

__all__ = ["MEMBERS", "AutoencoderImputer"]

MEMBERS = {"ensemble": 4, "single": 1}
"""How many networks."""
_BATCH, _STEPS = 128, (5_000, 40_000)
"""At least and at most so many steps; in between, two for each row."""
_WIDTHS = (64, 512)
_HIDDEN = 0.3
"""The share of known cells that a network is not shown, and must tell, at each step."""
_APART, _CELLS_APART = (0.05, 0.1), (200, 10_000)
"""The cells that no network sees, which say how wrong networks are: between two shares, and, within, two numbers."""
_ADAM = Adam(b2=0.99)
"""Columns with long tails have rare, huge gradients; at 0.999 the steps after one are so long that networks die."""
_JUDGED = 4096
"""Rows that say how wrong they are in each column, as compared with others."""


@dataclass(eq=False, repr=False)
class AutoencoderImputer(OneToOneFeatureMixin, TransformerMixin, Ensemble):  # type: ignore[misc]
    r"""Fills missing cells with what the known ones of the same row make likely.

    Denoising autoencoders learn to tell cells that are hidden from them, three tenths at a time, from any of the others
    (Vincent et al. 2008); which cells are missing is told to them. What they say is brought within the range of each
    column's known cells, and averaged. Rows that are fitted may have missing cells or not.

    Parameters
    ----------
    estimator : {"ensemble", "single"} or BaseAutoencoder, default="ensemble"
        "ensemble": four networks, d → w → w/2 → w → d, trained together by 5,000 steps of Adam, or two for each row up
        to 40,000; w is the power of two nearest to the square root of the number of known cells, from 64 to 512.
        "single": one of them. Or any autoencoder; it is cloned. A `VariationalAutoencoder` has draws for
        multiple imputation besides, with its own `impute`.
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        As for an autoencoder. Not used with an ``estimator`` of your own, which brings its own.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: what the columns of a table are.
    random_state : int, RandomState or None, default=None
        Fixes the networks, and what is hidden from them. Two fits with one int give the same bits.
    verbose : int, default=0
        1: a progress bar, if standard error is a terminal.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The networks, in one list.
    calibration_errors_ : array
        Errors in cells of numbers that no network has seen, sorted, in units of `intervals`' own for each cell.
    range_ : array of shape (2, d)
        The least and the greatest of each column's known cells.
    input_ : InputSpec
        The columns: how rows are validated, and results converted to what was given.
    seed_ : int
        The seed that was drawn from ``random_state``.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only if `fit` was given names.
    schema_ : Schema or None
        What the columns are; None, if all are plain numbers.
    n_samples_ : int
    data_fingerprint_ : str

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import AutoencoderImputer, BasicAutoencoder
    >>> X = load_iris().data
    >>> X[0, 2] = np.nan
    >>> imputer = AutoencoderImputer(BasicAutoencoder(max_epochs=200, learning_rate=0.03), random_state=0)
    >>> filled = imputer.fit_transform(X)
    >>> bool(1.0 < filled[0, 2] < 2.0)  # it was 1.4
    True
    """

    estimator: str | BaseAutoencoder = "ensemble"
    scaling: str | None = "auto"
    schema: str | SchemaOverrides | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions(set(MEMBERS)), BaseAutoencoder],
        **CONSTRAINTS,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("conformal_scores_", "_range", "_usual")
    _range = _usual = np.empty(0)  # not annotated, so not parameters

    def fit(self, X: RowsLike, y: object = None) -> Self:
        """Learn to tell each cell from the others of its row.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory
            As for an autoencoder's `fit`; NaN is a missing cell. Of rows that take more than 64 MB as 32-bit floats, as
            many are learned from as 64 MB hold, drawn at random.
        y : ignored

        Raises
        ------
        ValueError, InvalidPart, InvalidData, TrainingDiverged
            As an autoencoder's `fit`.
        """
        given = given_to(self, X).with_input(
            allow_missing=True
        )  # cells are hidden from the networks, if none are missing
        rows, span = given.rows, known_range(given.rows)
        rng = np.random.default_rng([given.seed, 9])
        n_known = max(1, int((~np.isnan(rows)).sum()))
        (least, most), (few, many) = _APART, _CELLS_APART
        apart = _chosen(given.input, rows, min(max(least, few / n_known), most, many / n_known), rng)
        shown = np.where(apart, np.nan, rows)
        own = given.own(self.estimator)
        members = [own] if own is not None else self._networks(len(rows), n_known, given.seed)
        of_fit = given.handed(shown)
        trained = networks_of(self, [(member, of_fit) for member in members])

        networks = _Networks(tuple(member.predictor_ for member in trained), span)
        judged = shown[np.linspace(0, len(rows) - 1, min(_JUDGED, len(rows))).astype(int)]
        hidden = _chosen(given.input, judged, _HIDDEN, rng)
        errors = np.square(networks.expected(np.where(hidden, np.nan, judged))[0] - judged)
        # As one cell more, the column's variance: of a column without a hidden cell that is all there is.
        usual = (np.where(hidden, errors, 0).sum(axis=0) + _variance(shown)) / (1 + hidden.sum(axis=0))
        mean, unit = networks.judged(shown, usual)
        errors = np.sort((np.abs(rows - mean) / unit)[apart & given.input.is_ordered])
        own_of = {"conformal_scores_": errors, "_range": span, "_usual": usual}
        return store(self, given.fitted({"estimators_": [trained], **own_of}))

    def _networks(self, n_rows: int, n_known: int, seed: int) -> list[BaseAutoencoder]:
        """Unfitted, and as wide as the root of the number of known cells: a layer then has about a weight for each."""
        width = 2 ** round(np.log2(np.clip(n_known**0.5, *_WIDTHS)))
        n_steps = int(np.clip(2 * n_rows, *_STEPS))
        return [
            Autoencoder(
                encoder=MLP((width,)),
                latent=Deterministic(width // 2, "silu"),
                corruption=MaskCells(_HIDDEN),
                max_epochs=-(-_BATCH * n_steps // n_rows),
                batch_size=_BATCH,
                learning_rate=3e-3,
                optimizer=_ADAM,
                validation_fraction=None,
                scaling="standard" if self.scaling == "auto" else self.scaling,
                random_state=seed + i,
            )
            for i in range(MEMBERS[str(self.estimator)])
        ]

    # -- using --------------------------------------------------------------------------------------------------------

    def transform(self, X: RowsLike) -> Frame:
        """X with its missing cells filled, the others untouched.

        Returns
        -------
        array of shape (n, d), of X's floating type
            Of a table with a schema the table, with the columns that are not used.
        """
        check_is_fitted(self)
        networks = self._fitted_networks
        return self.input_.fill(X, lambda rows, _: networks.expected(rows)[0], bool(self.verbose))

    def intervals(self, X: RowsLike, coverage: float = 0.9) -> tuple[Frame, Frame]:
        """Between which two values each missing cell lies, in a share of ``coverage`` of all of them.

        Each cell's interval is as wide as its column is hard to tell and the networks disagree, times what held for
        cells that none of them had seen (conformal prediction; Vovk, Gammerman & Shafer 2005). So the coverage holds on
        average over cells missing at random, whatever the networks are worth, and not for each column by itself.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`
        coverage : float in (0, 1), default=0.9

        Returns
        -------
        low, high : arrays of shape (n, d), or tables of the columns used
            Of cells that are known, both are the cell itself; of missing booleans and categories, the likeliest.

        Raises
        ------
        ValueError
            If ``coverage`` is out of range.
        """
        check_is_fitted(self)
        require_number("coverage", coverage, "(0, 1)")
        n = len(self.conformal_scores_)
        rank = int(np.ceil((n + 1) * coverage - 1e-9))
        if rank > n:
            warnings.warn(
                f"With {n} cells to compare with, no interval holds {coverage:g} of the true values: all are infinite. "
                "Fit to more rows, or ask for less.",
                stacklevel=2,
            )
        reach = self.conformal_scores_[rank - 1] if rank <= n else np.inf

        columns, networks, is_ordered = self.input_, self._fitted_networks, self.input_.is_ordered

        def ends(rows: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
            mean, unit = networks.judged(rows, self._usual)
            width = np.where(is_ordered, unit * reach, 0)
            unknown = np.isnan(rows)
            return tuple(np.where(unknown, mean + sign * width, rows).astype(rows.dtype) for sign in (-1, 1))

        low, high = columns.map(X, ends, bool(self.verbose))
        return columns.convert(low, X), columns.convert(high, X)

    @property
    def range_(self) -> np.ndarray:
        """The least and the greatest of each column's known cells, (2, d)."""
        return self._range

    @property
    def _fitted_networks(self) -> _Networks:
        return _Networks(tuple(member.predictor_ for group in self.estimators_ for member in group), self._range)


@dataclass(frozen=True, eq=False)
class _Networks:
    """What several networks say rows are, in the user's units."""

    predictors: tuple[Predictor, ...]
    span: np.ndarray
    """(2, d), the least and the greatest of each column."""

    def expected(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean of what they say, and the variance."""
        each = [one.expected(rows) for one in self.predictors]
        return scores.imputed(np, each, self.span), np.stack([scores.within(np, one, self.span) for one in each]).var(0)

    def judged(self, rows: np.ndarray, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what rows are, and the unit of the error in each cell."""
        mean, variance = self.expected(rows)
        return mean, np.sqrt(variance + usual)


def _chosen(columns: InputSpec, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """A share of the known cells, whole ones."""
    names = list(columns.column_of_feature)
    first = np.array([names.index(name) for name in names])
    chosen: np.ndarray = (rng.random(rows.shape) < share)[:, first] & ~np.isnan(rows)
    return chosen


def _variance(rows: np.ndarray) -> np.ndarray:
    """Of each column's known cells; never 0, and 1 where there are none."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nan_to_num(np.nanvar(rows, axis=0), nan=1.0) + np.finfo(np.float32).tiny
