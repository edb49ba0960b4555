"""Imputation of missing cells: best values, and prediction intervals with calibrated coverage."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from ..core.corruptions import MaskCells
from ..core.latents import Deterministic
from ..core.networks import MLP
from ..core.optimizers import Adam
from ..data.frames import with_columns, without_columns
from ..data.schema import SchemaOverrides
from ..data.types import Frame, Name, RowsLike
from ..errors import EmptyColumnWarning
from ..former_names import former_method, warn_of_former
from ..persistence.serialization import Found, Stored
from .arguments import check_arguments, check_page
from .autoencoders import Autoencoder
from .base import BaseAutoencoder
from .blend import Blend, fit_linear, folds
from .ensemble import CONSTRAINTS, SCALING, Ensemble, given_to, known_range, networks_of
from .filler import HIDDEN, Filler, blended
from .input import InputSpec
from .output import as_configured
from .result import store

if TYPE_CHECKING:
    from ..displays.report import Report

__all__ = ["MEMBERS", "AutoencoderImputer"]

MEMBERS = {"ensemble": 4, "single": 1}
"""Number of networks."""
_BATCH, _STEPS = 128, (5_000, 40_000)
"""Rows per step; minimum and maximum number of steps, two per row in between."""
_WIDTHS = (64, 512)
_FEWEST_ROWS = 4 * _WIDTHS[0]
"""Smallest number of rows for networks, four per unit of the smallest network: for fewer, the Gaussian is as good."""
_APART, _CELLS_APART = (0.05, 0.1), (200, 10_000)
"""Calibration cells of a fold: 5 % of the known cells or 200, at most 10 % and at most 10,000."""
_MOST_GROUPS = 2
"""Most folds of calibration cells for networks: each network has not seen those of one fold."""
_ADAM = Adam(b2=0.99)
"""Columns with long tails have rare, very large gradients; with b2=0.999 the steps after one destroy the network."""
_FEWEST_CELLS = 2
"""Number of known cells below which the spread of a column is unknown, and its intervals are infinite."""
_FLAGS = ("is_empty", "has_missing")


@dataclass(eq=False, repr=False)
class AutoencoderImputer(OneToOneFeatureMixin, TransformerMixin, Ensemble):  # type: ignore[misc]
    r"""Imputer of missing cells from the known cells of the same row.

    An imputed value is a weighted mean of three parts: the mean of the column; the expectation given the known cells of
    the row under a Gaussian, which is fitted to the incomplete rows and shrunk towards independent columns (Little &
    Rubin 2019, section 11.2); and the mean of several networks. Held-out cells choose the shrinkage, and the weights in
    each column. Independent columns therefore get their means, and columns that are sums of others these sums. Where
    held-out cells show that some columns need another shrinkage than the rest, these columns have a second Gaussian.

    The networks are denoising autoencoders. They learn to predict masked cells, 30 % at a time, from the other cells
    (Vincent et al. 2008). A mask of the missing cells is part of their input. Their predictions are clipped to the
    range of each column's known cells, and averaged. The training rows may have missing cells, but need not.

    Parameters
    ----------
    estimator : {"ensemble", "single"} or BaseAutoencoder, default="ensemble"
        "ensemble": four networks, d → w → w/2 → w → d, trained together with Adam for two steps per row, at least 5,000
        and at most 40,000 steps. w is the power of two nearest to the square root of the number of known cells, from 64
        to 512. "single": one such network. Fewer than 256 rows have no network. Or any autoencoder; the imputer fits a
        clone of it. For multiple imputation, use `VariationalAutoencoder.impute`, which can draw samples.
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        As for an autoencoder. Not used if ``estimator`` is an autoencoder, which has its own scaling.
    schema : "auto", dict or None, default="auto"
        As for an autoencoder: the kinds of the columns of a table.
    keep_empty_features : bool, default=False
        Whether to fill columns without any value in `fit` with 0; otherwise `transform` drops them, and `fit` warns.
    add_indicator : bool, default=False
        Whether `transform` adds a column for each column with missing cells in `fit`, which is 1 where a cell is
        missing.
    random_state : int, RandomState or None, default=None
        Seed for the networks and the masked cells. Two fits with the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show a progress bar on a terminal or in a notebook.

    Attributes
    ----------
    estimators_ : list of list of BaseAutoencoder
        The networks, in a list of one list, which is empty if no column uses networks.
    blend_ : Blend
        The column means, one or two Gaussians, and the weights of all parts in each column.
    conformal_scores_ : array
        Absolute errors in the numeric held-out cells, which their prediction has not used. Each error is divided by the
        expected error of its cell (the unit of
        `prediction_intervals`). Sorted.
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
    keep_empty_features: bool = False
    add_indicator: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "estimator": [StrOptions(set(MEMBERS)), BaseAutoencoder],
        **SCALING,
        "keep_empty_features": ["boolean"],
        "add_indicator": ["boolean"],
        **CONSTRAINTS,
    }
    _needs_networks: ClassVar[bool] = False
    _fitted_arrays: ClassVar[tuple[str, ...]] = ("conformal_scores_", "_range", "_usual")
    _range = _usual = _is_empty = _has_missing = np.empty(0)  # not annotated, so not parameters
    _blend = Blend.of_networks(np.empty((2, 0)))

    @property
    def calibration_errors_(self) -> np.ndarray:
        """Return `conformal_scores_` under its former name."""
        warn_of_former(type(self).__name__, "calibration_errors_", "conformal_scores_")
        return self.conformal_scores_

    def fit(self, X: RowsLike, y: ArrayLike | None = None) -> Self:
        """Learn to predict each cell from the other cells of its row.

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
        rows, columns = given.rows, _first_features(given.input)
        is_empty = np.isnan(rows).all(axis=0)
        if not self.keep_empty_features:
            _warn_of_empty(given.input, is_empty)
        rng = np.random.default_rng([given.seed, 9])
        n_known = max(1, int((~np.isnan(rows)).sum()))
        (least, most), (few, many) = _APART, _CELLS_APART
        held_out = folds(rows, columns, min(max(least, few / n_known), most, many / n_known), rng)
        blend, cells = fit_linear(rows, columns, held_out, given.seed)

        own = given.own_without_condition(self.estimator)
        members = [own] if own is not None else self._networks(len(rows), n_known, given.seed)
        trained, usual, interrupted = list[BaseAutoencoder](), blend.variance, False
        if members:
            hidden = held_out[: min(len(members), _MOST_GROUPS)]
            visible = [np.where(mask, np.nan, rows) for mask in hidden]
            groups = [given.handed(some) for some in visible]
            trained, interrupted = networks_of(self, [(one, groups[i % len(groups)]) for i, one in enumerate(members)])
            usual, blend, cells = blended(trained, visible, cells, blend, columns, rng)
        errors = np.abs(cells.truth - cells.expected) / np.sqrt(cells.variance)
        usual = np.where((~np.isnan(rows)).sum(axis=0) < _FEWEST_CELLS, np.inf, usual)
        learned = {
            "estimators_": [trained if blend.uses_networks else []],
            "conformal_scores_": np.sort(errors[given.input.is_ordered[cells.feature]]),
            "_range": known_range(rows),
            "_usual": usual,
            "_blend": blend,
            "_is_empty": is_empty,
            "_has_missing": np.isnan(rows).any(axis=0),
        }
        return store(self, given.fitted(learned), interrupted)

    def _networks(self, n_rows: int, n_known: int, seed: int) -> list[BaseAutoencoder]:
        """Return unfitted networks whose width is the square root of the number of known cells; none for few rows.

        A layer then has about one weight per known cell.
        """
        if n_rows < _FEWEST_ROWS:
            return []
        width = 2 ** round(np.log2(np.clip(n_known**0.5, *_WIDTHS)))
        n_steps = int(np.clip(2 * n_rows, *_STEPS))
        return [
            Autoencoder(
                encoder=MLP((width,)),
                latent=Deterministic(width // 2, "silu"),
                corruption=MaskCells(HIDDEN),
                max_epochs=-(-n_steps // -(-n_rows // _BATCH)),
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
            their order, also those that the model does not use. Other columns are left out, and those that were empty
            in `fit`, unless ``keep_empty_features``. With ``add_indicator``, there is one more column for each column
            that had missing cells in `fit`: 1 for a cell that is missing in X, else 0.
        """
        check_is_fitted(self)
        filler = self.filler_
        filled = self._kept(self.input_.fill(X, lambda rows, _: filler.expected(rows), bool(self.verbose)))
        indicated = self.columns_out[1]
        if not indicated:
            return as_configured(self, filled, X)
        missing = self.input_.map(X, lambda rows, _: np.isnan(rows[:, list(indicated.values())]), bool(self.verbose))
        more = {f"missingindicator_{name}": missing[:, i] for i, name in enumerate(indicated)}
        return as_configured(self, with_columns(filled, more), X)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Return the names of the columns of `transform`: those of the table of `fit`, in their order, and indicators.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns; None: those of `fit`, or x0, x1, …

        Returns
        -------
        array of str
            The names.
        """
        names = np.asarray(super().get_feature_names_out(input_features), object)
        columns, (kept, indicated) = list(self.input_.labels), self.columns_out
        extra = [f"missingindicator_{names[columns.index(name)]}" for name in indicated]
        dropped = {names[i] for i, name in enumerate(columns) if name not in kept}
        every = self.input_.all_names
        named = names if self.schema_ is None or every is None else every
        return np.array([*(name for name in named if name not in dropped), *extra], object)

    @property
    def columns_out(self) -> tuple[dict[Name, int], dict[Name, int]]:
        """The columns that `transform` keeps, and those with an indicator, each with the place of its first feature."""
        names = list(self.input_.column_of_feature)
        first = {name: names.index(name) for name in self.input_.labels}
        kept = {name: i for name, i in first.items() if self.keep_empty_features or not self._is_empty[i]}
        return kept, {name: i for name, i in first.items() if self.add_indicator and self._has_missing[i]}

    def _kept(self, rows: Frame) -> Frame:
        """Return an array or a table of the columns of `fit` without the dropped ones."""
        kept, columns = self.columns_out[0], self.input_.labels
        dropped = [i for i, name in enumerate(columns) if name not in kept]
        if not dropped:
            return rows
        if isinstance(rows, np.ndarray):
            return np.delete(rows, dropped, axis=1)
        return without_columns(rows, [str(columns[i]) for i in dropped])

    def prediction_intervals(self, X: RowsLike, coverage: float = 0.9) -> tuple[Frame, Frame]:
        """Return lower and upper bounds of a prediction interval for each missing cell.

        The width of an interval is the expected error of the cell times a factor. The expected error is that of a
        mixture of the parts: the variance of the column, that of the Gaussian given the known cells, and the usual
        error and the disagreement of the networks. The factor comes from held-out cells that their prediction has not
        used (conformal prediction; Vovk, Gammerman & Shafer 2005; for few cells cross-conformal, Vovk 2015). Therefore
        the coverage holds on average over cells missing at random, for parts of any quality, but not for each column
        separately.

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

        columns, filler, is_ordered = self.input_, self.filler_, self.input_.is_ordered

        def ends(rows: np.ndarray, _: int) -> tuple[np.ndarray, ...]:
            mean, unit = filler.judged(rows)
            with np.errstate(invalid="ignore"):
                width = np.where(is_ordered, np.nan_to_num(unit * reach, nan=np.inf, posinf=np.inf), 0)
            return mean - width, mean + width

        low, high = columns.fill_bounds(X, ends, bool(self.verbose))
        return self._kept(low), self._kept(high)

    intervals = former_method("intervals", "prediction_intervals")

    def _facts(self) -> tuple[tuple[str, str], ...]:
        blend = self._blend
        linear, networks = blend.linear_share * (1 - blend.network_share), blend.network_share
        parts = (("column means", 1 - linear - networks), ("linear prediction", linear), ("networks", networks))
        return (
            ("mean shares", ", ".join(f"{name} {share.mean():.0%}" for name, share in parts)),
            ("factors of each Gaussian", ", ".join(f"{len(one.loadings):,}" for one in blend.gaussians)),
            ("calibration cells", f"{len(self.conformal_scores_):,}"),
        )

    def report(
        self, X: RowsLike | None = None, *, path: str | os.PathLike[str] | None = None, title: str = ""
    ) -> Report:
        """Return an HTML report: errors of each column in hidden cells, and the coverage of prediction intervals.

        Each known cell of X is hidden once, a tenth of them at a time, and imputed from the others. The errors are
        those of cells missing at random; cells that are missing for a reason can have larger ones.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`; default=None
            Rows with known cells, preferably rows not used in `fit`; of more than 5,000 rows, a random sample. None:
            the page shows the parts of imputed values only.
        path : path or None, default=None
            File to write the page to.
        title : str, default=""
            Title of the page; empty: the name of the class.

        Returns
        -------
        Report
            The HTML page: a str with the attribute ``findings`` and the method ``save``.
        """
        check_is_fitted(self)
        check_page(path, title)
        from ..displays.report import Report
        from ..report import imputers

        return Report.of(imputers.collect(self, X), title, path)

    @property
    def range_(self) -> np.ndarray:
        """The minimum and the maximum of each column's known cells, (2, d)."""
        return self._range

    @property
    def blend_(self) -> Blend:
        """The parts of an imputed value, and their shares in each column."""
        return self._blend

    @property
    def filler_(self) -> Filler:
        """Imputations of arrays of rows in the user's units, without input checks."""
        members = [member.predictor_ for group in self.estimators_ for member in group]
        return Filler(tuple(members), self._range, self._blend, self._usual)

    def _stored(self) -> Stored:
        stored = super()._stored()
        return replace(stored, arrays=stored.arrays | self._blend.arrays() | {
            "is_empty": self._is_empty, "has_missing": self._has_missing,
        })  # fmt: skip

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        own = super()._learned_of(found, columns, learned)
        none = np.zeros(columns.width, bool)
        if Blend.is_in(found.arrays):
            blend, flags = Blend.of_arrays(found.arrays, columns.width), [found.array(name) for name in _FLAGS]
        else:  # saved before imputers had other parts than networks
            blend, flags = Blend.of_networks(found.array("_range")), [none, none]
        return own | {"_blend": blend} | {f"_{name}": flag for name, flag in zip(_FLAGS, flags, strict=True)}


def _first_features(columns: InputSpec) -> np.ndarray:
    """Return for each feature the first feature of its column."""
    names = list(columns.column_of_feature)
    return np.array([names.index(name) for name in names])


def _warn_of_empty(columns: InputSpec, is_empty: np.ndarray) -> None:
    for name in dict.fromkeys(columns.name_of(int(place)) for place in np.flatnonzero(is_empty)):
        message = (
            f"Column {name} has no value in the rows of fit, so transform drops it. "
            "Set keep_empty_features=True to fill it with 0, or leave the column out."
        )
        warnings.warn(EmptyColumnWarning(message, str(name)), stacklevel=3)
