"""Imputation of missing cells: best values, and prediction intervals with calibrated coverage."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..core.corruptions import MaskCells
from ..core.latents import Deterministic
from ..core.networks import MLP
from ..core.optimizers import Adam
from ..data.schema import SchemaOverrides
from ..data.types import Frame, RowsLike
from ..former_names import former_method
from . import scores
from .arguments import check_arguments
from .autoencoders import Autoencoder
from .base import BaseAutoencoder
from .ensemble import CONSTRAINTS, SCALING, Ensemble, given_to, known_range, networks_of
from .input import InputSpec
from .output import as_configured
from .predictor import Predictor
from .result import store

__all__ = ["MEMBERS", "AutoencoderImputer"]

MEMBERS = {"ensemble": 4, "single": 1}
"""Number of networks."""
_BATCH, _STEPS = 128, (5_000, 40_000)
"""Rows per step; minimum and maximum number of steps, two per row in between."""
_WIDTHS = (64, 512)
_HIDDEN = 0.3
"""Fraction of the known cells masked in each training step; the network predicts them."""
_APART, _CELLS_APART = (0.05, 0.1), (200, 10_000)
"""Calibration cells, masked for all networks: 5 % of the known cells or 200, at most 10 % and at most 10,000."""
_ADAM = Adam(b2=0.99)
"""Columns with long tails have rare, very large gradients; with b2=0.999 the steps after one destroy the network."""
_JUDGED = 4096
"""Number of training rows used to estimate the typical error of each column."""


@dataclass(eq=False, repr=False)
class AutoencoderImputer(OneToOneFeatureMixin, TransformerMixin, Ensemble):  # type: ignore[misc]
    r"""Imputer of missing cells from the known cells of the same row.

    Denoising autoencoders learn to predict masked cells, 30 % at a time, from the other cells (Vincent et al. 2008). A
    mask of the missing cells is part of their input. Their predictions are clipped to the range of each column's known
    cells, and averaged. The training rows may have missing cells, but need not.

    Parameters
    ----------
    estimator : {"ensemble", "single"} or BaseAutoencoder, default="ensemble"
        "ensemble": four networks, d → w → w/2 → w → d, trained together with Adam for two steps per row, at least 5,000
        and at most 40,000 steps. w is the power of two nearest to the square root of the number of known cells, from 64
        to 512. "single": one such network. Or any autoencoder; the imputer fits a clone of it. For multiple imputation,
        use `VariationalAutoencoder.impute`, which can draw samples.
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        As for an autoencoder. Not used if ``estimator`` is an autoencoder, which has its own scaling.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: the kinds of the columns of a table.
    random_state : int, RandomState or None, default=None
        Seed for the networks and the masked cells. Two fits with the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show a progress bar if standard error is a terminal.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The networks, in a list of one list.
    conformal_scores_ : array
        Absolute errors in the numeric calibration cells, which no network has seen. Each error is divided by the
        expected error of its cell (the unit of `prediction_intervals`). Sorted.
    range_ : array of shape (2, d)
        The minimum and the maximum of each column's known cells.
    input_ : InputSpec
        The columns: validates rows and converts results to the type of the input.
    seed_ : int
        The seed drawn from ``random_state``.
    n_features_in_ : int
        Number of columns passed to `fit`.
    feature_names_in_ : array of str
        Names of the columns. Defined only if `fit` got column names.
    schema_ : Schema or None
        Kinds of the columns; None if all columns are plain numbers.
    n_samples_ : int
        Number of rows passed to `fit`.
    data_fingerprint_ : str
        Hash of the rows used by `fit`.

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
    _: KW_ONLY
    scaling: str | None = "auto"
    schema: str | SchemaOverrides | None = "auto"
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions(set(MEMBERS)), BaseAutoencoder],
        **SCALING,
        **CONSTRAINTS,
    }
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("conformal_scores_", "_range", "_usual")
    _range = _usual = np.empty(0)  # not annotated, so not parameters

    @property
    def calibration_errors_(self) -> np.ndarray:
        """Return `conformal_scores_` under its former name."""
        message = "calibration_errors_ is deprecated and will be removed in the next release: use conformal_scores_."
        warnings.warn(message, FutureWarning, stacklevel=2)
        return self.conformal_scores_

    def fit(self, X: RowsLike, y: ArrayLike | None = None) -> Self:
        """Train the networks to predict each cell from the other cells of its row.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows
            As for an autoencoder's `fit`; NaN is a missing cell. If the rows need more than 64 MB as 32-bit floats,
            `fit` uses a random sample of 64 MB.
        y : array-like of shape (n,) or None, default=None
            Ignored.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        ValueError, InvalidPart, InvalidData, TrainingDiverged
            As an autoencoder's `fit`.
        """
        given = given_to(self, X, y).with_input(allow_missing=True)  # training masks cells, even if none are missing
        rows, span = given.rows, known_range(given.rows)
        rng = np.random.default_rng([given.seed, 9])
        n_known = max(1, int((~np.isnan(rows)).sum()))
        (least, most), (few, many) = _APART, _CELLS_APART
        is_calibration = _chosen(given.input, rows, min(max(least, few / n_known), most, many / n_known), rng)
        visible = np.where(is_calibration, np.nan, rows)
        own = given.own(self.estimator)
        members = [own] if own is not None else self._networks(len(rows), n_known, given.seed)
        of_fit = given.handed(visible)
        trained, interrupted = networks_of(self, [(member, of_fit) for member in members])

        networks = _Networks(tuple(member.predictor_ for member in trained), span)
        judged = visible[np.linspace(0, len(rows) - 1, min(_JUDGED, len(rows))).astype(int)]
        hidden = _chosen(given.input, judged, _HIDDEN, rng)
        errors = np.square(networks.expected(np.where(hidden, np.nan, judged))[0] - judged)
        # The column's variance counts as one more squared error; it is the only one if no cell of the column is masked.
        usual = (np.where(hidden, errors, 0).sum(axis=0) + _variance(visible)) / (1 + hidden.sum(axis=0))
        mean, unit = networks.judged(visible, usual)
        errors = np.sort((np.abs(rows - mean) / unit)[is_calibration & given.input.is_ordered])
        own_of = {"conformal_scores_": errors, "_range": span, "_usual": usual}
        return store(self, given.fitted({"estimators_": [trained], **own_of}), interrupted)

    def _networks(self, n_rows: int, n_known: int, seed: int) -> list[BaseAutoencoder]:
        """Return unfitted networks whose width is the square root of the number of known cells.

        A layer then has about one weight per known cell.
        """
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
        """Fill the missing cells of X and leave the other cells unchanged.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows with missing cells.

        Returns
        -------
        array of shape (n, d), of the floating type of X
            If ``X`` is a table, a table of the same library, with its index, labels and types, or of the library that
            `set_output` chooses. It has the columns `get_feature_names_out`: all columns of the table of `fit`, in
            their order, also those that the model does not use. Other columns are left out.
        """
        check_is_fitted(self)
        networks = self._fitted_networks
        filled = self.input_.fill(X, lambda rows, _: networks.expected(rows)[0], bool(self.verbose))
        return as_configured(self, filled, X)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            The names of the columns of `fit`; None: the names that `fit` got, or x0, x1, …

        Returns
        -------
        array of shape (n_columns,)
            The names of all columns of the table of `fit`, in their order.
        """
        names: np.ndarray = super().get_feature_names_out(input_features)
        every = self.input_.all_names
        return names if self.schema_ is None or every is None else np.array(every, dtype=object)

    def prediction_intervals(self, X: RowsLike, coverage: float = 0.9) -> tuple[Frame, Frame]:
        """Return lower and upper bounds of a prediction interval for each missing cell.

        The width of an interval is the expected error of the cell times a factor. The expected error combines the
        typical error of the column and the disagreement of the networks. The factor comes from calibration cells that
        no network has seen (conformal prediction; Vovk, Gammerman & Shafer 2005). Therefore the coverage holds on
        average over cells missing at random, for networks of any quality, but not for each column separately.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows with missing cells.
        coverage : float in (0, 1), default=0.9
            Fraction of the missing cells whose true value is in the interval.

        Returns
        -------
        tuple of two arrays of shape (n, d), or of two tables of the columns used, of the kind of ``X``
            The lower and the upper bounds. For a known cell, both bounds are its value as given. For a missing boolean
            or category, both are the most probable value. Bounds of integers are rounded outwards. Bounds may be
            outside of the range of the training data. An infinite bound of a date is missing.

        Raises
        ------
        ValueError
            If ``coverage`` is out of range.
        """
        check_is_fitted(self)
        check_arguments(coverage=coverage)
        n = len(self.conformal_scores_)
        rank = int(np.ceil((n + 1) * coverage - 1e-9))
        if rank > n:
            warnings.warn(
                f"Only {n} calibration cells, too few for coverage={coverage:g}: all intervals are infinite. "
                "Fit to more rows, or lower coverage.",
                stacklevel=2,
            )
        reach = self.conformal_scores_[rank - 1] if rank <= n else np.inf

        columns, networks, is_ordered = self.input_, self._fitted_networks, self.input_.is_ordered

        def ends(rows: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
            mean, unit = networks.judged(rows, self._usual)
            width = np.where(is_ordered, unit * reach, 0)
            return mean - width, mean + width

        return columns.fill_bounds(X, ends, bool(self.verbose))

    intervals = former_method("intervals", "prediction_intervals")

    @property
    def range_(self) -> np.ndarray:
        """The minimum and the maximum of each column's known cells, (2, d)."""
        return self._range

    @property
    def _fitted_networks(self) -> _Networks:
        return _Networks(tuple(member.predictor_ for group in self.estimators_ for member in group), self._range)


@dataclass(frozen=True, eq=False)
class _Networks:
    """Combined predictions of several networks, in the user's units."""

    predictors: tuple[Predictor, ...]
    span: np.ndarray
    """(2, d), the minimum and the maximum of each column."""

    def expected(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and the variance of the networks' predictions."""
        each = [one.expected(rows) for one in self.predictors]
        return scores.imputed(np, each, self.span), np.stack([scores.within(np, one, self.span) for one in each]).var(0)

    def judged(self, rows: np.ndarray, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean prediction and the expected error of each cell."""
        mean, variance = self.expected(rows)
        return mean, np.sqrt(variance + usual)


def _chosen(columns: InputSpec, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Choose a random fraction of the known cells; all features of a categorical cell together."""
    names = list(columns.column_of_feature)
    first = np.array([names.index(name) for name in names])
    chosen: np.ndarray = (rng.random(rows.shape) < share)[:, first] & ~np.isnan(rows)
    return chosen


def _variance(rows: np.ndarray) -> np.ndarray:
    """Return the variance of each column's known cells; never 0, and 1 for a column without known cells."""
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        return np.nan_to_num(np.nanvar(rows, axis=0), nan=1.0) + np.finfo(np.float32).tiny
