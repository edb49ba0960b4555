"""Scaling between the user's units and the network's units: one affine map per feature.

The statistics are computed by scikit-learn. They are stored in the fitted model, so all results, including densities,
are in the user's units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..errors import InvalidData

__all__ = [
    "KINDS",
    "MAX_ABS_SCALED",
    "KnownScaler",
    "Scaler",
    "ScalerStats",
    "Single",
    "check_output_range",
    "have_one_unit",
    "scaled",
]

Support = Literal["real", "unit", "count", "positive"]
_CELLS = 1 << 16  # cells scaled at a time, so that their copies stay in the cache
KINDS = ("auto", "standard", "global", "minmax", "range")
NOTHING_KNOWN = "X has no cell that is known: all cells are missing. Give rows with values."


Single = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The offset as a sum of two 32-bit numbers, the larger first, and the scale."""


def scaled(rows: Any, by: tuple[Any, Any, Any]) -> Any:
    """Scale rows, of NumPy or JAX, into the network's units.

    In 32 bits with the offset in two parts, the error is a few units in the last place, for any size of the offset.
    """
    high, low, scale = by
    return ((rows - high) - low) / scale


@dataclass(frozen=True)
class Scaler:
    """The map x ↦ (x − offset) / scale, for each feature.

    Examples
    --------
    >>> scaler = Scaler.fit("minmax", np.array([[0.0, 10.0], [4.0, 30.0]]), "unit")
    >>> scaler.apply(np.array([[2.0, 20.0]])).tolist(), scaler.invert(np.array([[0.5, 0.5]])).tolist()
    ([[0.5, 0.5]], [[2.0, 20.0]])
    """

    kind: str
    offset: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, kind: str | None, rows: np.ndarray, support: Support | Sequence[Support]) -> Scaler:
        """Fit the map to training rows: see `ScalerStats`."""
        survey = ScalerStats(kind, support)
        survey.update(rows)
        return survey.scaler()

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Scale rows into the network's units, float32, without loss of precision at large offsets.

        Rows of 32 bits are computed in 32 bits (see `single`), other rows in 64 bits.
        """
        if self.kind == "none":
            return rows.astype(np.float32)
        out = np.empty(rows.shape, np.float32)
        step = max(1, _CELLS // max(1, rows.shape[1]))
        single = self.single if rows.dtype == np.float32 else None
        for start in range(0, len(rows), step):
            here = slice(start, start + step)
            with np.errstate(over="ignore"):  # `check_output_range` handles infinite results
                out[here] = scaled(rows[here], single) if single else (rows[here] - self.offset) / self.scale
        return out

    @cached_property
    def single(self) -> Single | None:
        """The map for `scaled` in 32 bits; None if 32 bits cannot hold it."""
        with np.errstate(over="ignore"):
            high, scale = self.offset.astype(np.float32), self.scale.astype(np.float32)
        if not (np.isfinite(2 * scale) & (scale > np.finfo(np.float32).tiny)).all():
            return None
        return high, (self.offset - high).astype(np.float32), scale

    def invert(self, rows: np.ndarray) -> np.ndarray:
        """Convert scaled rows to the user's units, float64."""
        return rows.astype(np.float64) * self.scale + self.offset

    def log_volume(self, rows: np.ndarray) -> np.ndarray | np.floating:
        """Return Σ log scale over each row's known cells, in nats.

        A scaled log-density minus this sum is the log-density in the user's units.
        """
        each = np.log(self.scale)
        unknown = np.isnan(rows)
        return ~unknown @ each if unknown.any() else each.sum()


_EXACT, _PRECISE = 2.0**53, 2.0**29
"""The bound up to which a 64-bit float holds every integer; and the multiple of a column's range beyond which 64-bit
floats resolve this range less finely than the network's 32-bit floats do."""
_STEPS = 256 / 2**23
"""The range, relative to the largest value, in which 32-bit floats have 256 steps."""


def check_float64_precision(least: np.ndarray, most: np.ndarray) -> None:
    """Check that 64-bit floats can resolve the differences of each column.

    Large integers, for example identifiers, may be rounded to the same float.

    Raises
    ------
    InvalidData
        If the values of a column are too far from 0, compared with their range.
    """
    furthest = np.maximum(np.abs(least), np.abs(most))
    lost = np.flatnonzero(furthest > np.maximum(_EXACT, _PRECISE * (most - least)))
    if len(lost):
        i = int(lost[0])
        raise InvalidData(
            f"Feature {i} spans [{least[i]:.17g}, {most[i]:.17g}], where 64-bit floats, in which rows are read, are "
            "too coarse for its differences. Subtract its smallest value first, or leave the column out."
        )


MAX_ABS_SCALED = 1e18
"""The largest accepted number in scaled units; squares of numbers above about 1.8e19 overflow 32 bits."""


def check_output_range(
    found: np.ndarray | tuple[np.ndarray, ...],
    scaler: Scaler,
    rows: np.ndarray,
    name_of: Callable[[int], object],
    first: int = 0,
) -> None:
    """Check results for infinite numbers and NaN that come from a cell too large for 32 bits.

    Raises
    ------
    InvalidData
        If there is such a cell.
    """
    if all(np.isfinite(array.sum(dtype=np.float64)) for array in (found if isinstance(found, tuple) else (found,))):
        return
    with np.errstate(over="ignore"):
        far = np.abs((rows - scaler.offset) / scaler.scale) > MAX_ABS_SCALED
    if far.any():
        row, column = np.argwhere(far)[0]
        raise InvalidData(
            f"Column {name_of(int(column))} holds {rows[row, column]:g} (row {first + row + 1}), so far from the rows "
            "that were fitted that the result overflows 32-bit numbers. If it marks a missing cell, empty the cell; "
            "otherwise drop the row."
        )


def _refuse_coarse(scaler: Scaler, least: np.ndarray, most: np.ndarray) -> None:
    """Raise for columns whose differences are lost in scaled numbers of 32 bits."""
    low, high = ((ends - scaler.offset) / scaler.scale for ends in (least, most))
    furthest = np.maximum(np.abs(low), np.abs(high))
    coarse = np.flatnonzero((high > low) & (high - low < _STEPS * furthest))
    if len(coarse):
        i = int(coarse[0])
        raise InvalidData(
            f"Feature {i} spans [{least[i]:.9g}, {most[i]:.9g}], and scaling={scaler.kind!r} leaves it so far from 0 "
            'that 32-bit numbers lose its differences. Use scaling="standard", or "minmax" for a likelihood on [0, 1].'
        )


_MOST_DEVIATIONS = 30.0
"""The largest range of a standardised feature, in standard deviations."""
_FEWEST_ALIKE = 12
"""The smallest number of features for which a common unit is inferred."""
_SHARE_OF_RANGE, _CORRELATED = 1 / 3, 0.5


def have_one_unit(rows: np.ndarray, least: np.ndarray, most: np.ndarray) -> bool:
    """Decide whether all features have the same unit, like pixels, samples of a signal, or spectral bands.

    The features have one unit if at least 12 of them vary, and the median feature
    1. spans at least a third of the joint range of all features, and
    2. has a correlation of at least 0.5 with another feature, and more than columns of noise would have.

    The order of rows and of columns does not matter.

    Parameters
    ----------
    rows : (n, d)
        A sample of the rows.
    least, most : (d,)
        The smallest and the largest value of each feature in all rows.

    Examples
    --------
    >>> wave = np.sin(np.linspace(0, 6, 20) + np.linspace(0, 6, 50)[:, None])
    >>> have_one_unit(wave, wave.min(axis=0), wave.max(axis=0))
    True
    >>> mixed = wave * np.geomspace(1, 1000, 20)
    >>> have_one_unit(mixed, mixed.min(axis=0), mixed.max(axis=0))
    False
    """
    span = most - least
    varies = span > 0
    d, n = int(varies.sum()), len(rows)
    if d < _FEWEST_ALIKE or n < 3:
        return False
    if np.median(span[varies]) < _SHARE_OF_RANGE * (most[varies].max() - least[varies].min()):
        return False
    known = rows[:, varies]
    count = np.maximum((~np.isnan(known)).sum(axis=0), 1)
    centred = np.nan_to_num(known - np.nansum(known, axis=0) / count)
    length = np.sqrt(np.square(centred).sum(axis=0))
    centred /= np.where(length > 0, length, 1.0)
    correlation = np.abs(centred.T @ centred)
    np.fill_diagonal(correlation, 0)
    by_chance = 2 * np.sqrt(2 * np.log(d) / n)
    return bool(np.median(correlation.max(axis=0)) >= max(_CORRELATED, by_chance))


_ROUNDING = 2.0**-44
"""A range below this fraction of a feature's value is rounding; the feature is constant."""
_TOLERANCE = 1e-12


def _with_constants(
    scale: np.ndarray, constant: np.ndarray, value: np.ndarray, scaled: np.ndarray | None = None
) -> np.ndarray:
    """Return the scales with those of constant features, whose spread is unknown, set by a rule without units.

    The scale is the absolute value: a change is measured as a fraction of the value. For a feature that is always 0, it
    is the median scale of the other scaled features, or 1 without others. A common factor of all features, or of a
    constant feature other than 0, therefore changes no scaled number.

    >>> _with_constants(np.array([2.0, 0.0, 0.0]), np.array([False, True, True]), np.array([0.0, -5.0, 0.0])).tolist()
    [2.0, 5.0, 3.5]
    """
    scale = np.where(constant, np.abs(value), scale)
    known = scale[(scale > 0) & (True if scaled is None else scaled)]
    return np.where(scale > 0, scale, np.median(known) if len(known) else 1.0)


class _Sample:
    """A sample of rows given in chunks: most of them from the first chunk, and a few from each later one."""

    def __init__(self) -> None:
        self._pieces: list[np.ndarray] = []
        self._n = 0

    def add(self, rows: np.ndarray) -> None:
        """Add some rows of a chunk."""
        room = int(np.clip(2e10 / max(1, rows.shape[1]) ** 2, 256, 4096))
        wanted = room if not self._pieces else min(32, 2 * room - self._n)
        if wanted > 0 and len(rows):
            at = np.linspace(0, len(rows) - 1, min(wanted, len(rows))).astype(int)
            self._pieces.append(rows[at].astype(np.float64))
            self._n += len(at)

    @property
    def rows(self) -> np.ndarray:
        """The sampled rows."""
        return np.concatenate(self._pieces)


class ScalerStats:
    """Statistics for a scaler, computed in one pass over training rows in chunks of any size.

    Parameters
    ----------
    kind : {"auto", "standard", "minmax", "range"} or None
        "standard": mean 0 and standard deviation 1 per feature; a smaller standard deviation if the range is more than
        30 standard deviations, so that a nearly constant feature is not amplified. "global": one map for all features,
        with a mean variance of 1; 0 stays 0 if it is the smallest value, otherwise the mean of all cells becomes 0.
        "minmax": each feature onto [0, 1]. "range": all features onto [0, 1] by one map. None: no scaling. "auto":
        depends on ``support``. For real numbers it is "global" if all features have one unit (see `have_one_unit`),
        else "standard"; for [0, 1] it is None if all rows are in this range, else "minmax". The unit of a constant
        feature is its absolute value, and that of a feature that is always 0 the median unit of the others.
    support : {"real", "unit", "count", "positive"}, or a sequence of them
        The domain of the likelihood: one for all features, or one for each feature. Counts and positive numbers are
        never scaled; if the supports differ, only features with real support are scaled.
    n_units : int or None, default=None
        Number of units that the features have in turn: 1 for pixels, the number of channels for series, for each of
        which "auto" then finds a map as "global" does. None: inferred, if it matters.
    """

    def __init__(self, kind: str | None, support: Support | Sequence[Support], n_units: int | None = None) -> None:
        from sklearn.preprocessing import MinMaxScaler, StandardScaler  # a fitted model does without

        supports = [support] if isinstance(support, str) else list(support)
        self._supports = np.array(supports)
        self._all = supports[0] if len(set(supports)) == 1 else None
        self._kind = kind
        self._sample = _Sample()
        if kind == "auto":
            of_real = "found" if n_units is None else "global"
            self._kind = {"real": of_real, "unit": "auto", "count": None}.get(self._all or "mixed", "standard")
        self._n_units = n_units if kind == "auto" and n_units else 1
        self._moments, self._bounds = StandardScaler(), MinMaxScaler()
        self._whole: np.ndarray | None = None
        self._single = True

    def update(self, rows: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add the next rows; ``weights``, (n,), count in means and variances."""
        if not len(rows):
            return
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a feature may have no values
            self._bounds.partial_fit(rows)
            if self._kind in ("standard", "global", "found"):
                self._moments.partial_fit(rows, sample_weight=weights)
        if self._kind == "found":
            self._sample.add(rows)
        self._single &= rows.dtype == np.float32
        if "count" in self._supports:
            whole = (np.isnan(rows) | (rows == np.floor(rows))).all(axis=0)
            self._whole = whole if self._whole is None else self._whole & whole

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest known value of each feature; 0 for a feature without values."""
        return np.nan_to_num(self._bounds.data_min_), np.nan_to_num(self._bounds.data_max_)

    def scaler(self) -> Scaler:
        """Return the map fitted to the rows.

        Raises
        ------
        InvalidData
            If the likelihood needs numbers in [0, 1] or counts, and the scaled rows hold other numbers.
        """
        if np.isnan(self._bounds.data_min_).all():
            raise InvalidData(NOTHING_KNOWN)
        least, most = self.bounds
        width = len(least)
        supports = np.broadcast_to(self._supports, width)
        scaled = np.full(width, True) if self._all in ("real", "unit") else supports == "real"
        check_float64_precision(least, most)
        low, high = least[scaled].min(initial=np.inf), most[scaled].max(initial=-np.inf)
        within = low >= 0 and high <= 1
        kind = ("minmax" if not within else None) if self._kind == "auto" else self._kind
        if kind == "found":
            kind = "global" if have_one_unit(self._sample.rows, least, most) else "standard"
        if self._all == "unit" and kind in ("standard", "global") and within:
            kind = None  # as in a table that has other columns, too: booleans and categories are in [0, 1] already
        offset, scale = np.zeros(width), np.ones(width)
        furthest = np.maximum(np.abs(least), np.abs(most))
        constant = most - least <= _ROUNDING * furthest
        if kind == "standard":
            # The mean of a constant feature may differ from its value by rounding.
            offset = np.where(constant, least, np.nan_to_num(self._moments.mean_))
            spread = np.sqrt(np.nan_to_num(self._moments.var_))
            unit = np.maximum(spread, (most - least) / _MOST_DEVIATIONS)
            scale = _with_constants(unit, constant, offset, scaled)
        elif kind == "global":
            for of_unit in (slice(first, None, self._n_units) for first in range(self._n_units)):
                spread, n = np.sqrt(np.nanmean(self._moments.var_[of_unit])), len(scale[of_unit])
                from_0 = least[of_unit][scaled[of_unit]].min(initial=np.inf) == 0
                offset[of_unit] = 0.0 if from_0 else np.nanmean(self._moments.mean_[of_unit])
                value = furthest[of_unit].max(keepdims=True)
                scale[of_unit] = _with_constants(np.full(n, spread), np.full(n, spread == 0), value)
        elif kind == "minmax":
            # scikit-learn takes a range below its absolute tolerance for constant
            unit = np.where(most - least < _TOLERANCE, most - least, np.nan_to_num(1 / self._bounds.scale_, nan=1.0))
            offset, scale = least, _with_constants(unit, constant, least, scaled)
        elif kind == "range":
            offset = np.full(width, low)
            unit = np.full(width, high - low)
            scale = _with_constants(unit, unit == 0, furthest.max(keepdims=True))
        if self._all == "unit" and kind in (None, "standard", "global") and not within:
            raise InvalidData(
                f"This likelihood needs features in [0, 1]; the rows span [{low:g}, {high:g}] and scaling={kind!r} "
                'leaves them there. Use scaling="minmax" (one map per feature) or "range" (one map for all features).'
            )
        self._check(supports, scaled)
        offset, scale = np.where(scaled, offset, 0.0), np.where(scaled, scale, 1.0)
        scaler = Scaler(kind or "none", np.asarray(offset, np.float64), np.asarray(scale, np.float64))
        if not self._single:
            _refuse_coarse(scaler, least, most)
        return scaler

    def _check(self, supports: np.ndarray, scaled: np.ndarray) -> None:
        """Check that the likelihood accepts the values of features that are not scaled."""
        least, most = self.bounds
        outside = ~scaled & ((least < 0) | ((supports == "unit") & (most > 1)))
        outside |= ~scaled & (supports == "positive") & (least <= 0)
        if self._whole is not None:
            outside |= (supports == "count") & ~self._whole
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            needs = _NEEDS[supports[i]]
            raise InvalidData(
                f"This likelihood needs {needs} in feature {i}, which spans [{least[i]:g}, {most[i]:g}]. "
                "Use another likelihood for it, for example LearnedGaussian()."
            )


_NEEDS = {"unit": "numbers in [0, 1]", "count": "counts (0, 1, 2, …)", "positive": "numbers above 0"}


class KnownScaler(ScalerStats):
    """Statistics of rows whose scaler is known: that of a model whose training continues."""

    def __init__(self, known: Scaler, support: Support | Sequence[Support]) -> None:
        super().__init__(None, support)
        self._known = known

    def scaler(self) -> Scaler:
        """Return the known map.

        Raises
        ------
        InvalidData
            If the likelihood does not accept the values of features that are not scaled.
        """
        supports = np.broadcast_to(self._supports, len(self._known.scale))
        self._check(supports, (supports == "real") | (self._known.scale != 1) | (self._known.offset != 0))
        return self._known
