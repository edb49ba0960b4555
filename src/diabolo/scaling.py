"""From the user's units to those the network works in, and back: one affine map per feature.

The statistics are scikit-learn's. They are kept with the fitted model, so everything that comes out is in the user's
units again, densities included.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from .errors import InvalidData

__all__ = ["KINDS", "Scaler", "Single", "Survey", "scaled"]

Support = Literal["real", "unit"]
_CELLS = 1 << 16  # what is scaled at a time: copies of it stay in the cache
KINDS = ("auto", "standard", "minmax", "range")


Single = tuple[np.ndarray, np.ndarray, np.ndarray]
"""The offset as a sum of two 32-bit numbers, the larger first, and the scale."""


def scaled(rows: Any, by: tuple[Any, Any, Any]) -> Any:
    """Rows, NumPy's or JAX's, into the network's units.

    In 32 bits with the offset in two parts, the error is a few units in the last place, however large the offset.
    """
    high, low, scale = by
    return ((rows - high) - low) / scale


@dataclass(frozen=True)
class Scaler:
    """x ↦ (x − offset) / scale, feature by feature.

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
    def fit(cls, kind: str | None, rows: np.ndarray, support: Support) -> Scaler:
        """Learn the map from training rows; `Survey.scaler` says what of."""
        survey = Survey(kind, support)
        survey.see(rows)
        return survey.scaler()

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Into the network's units, float32; large offsets lose nothing.

        32-bit rows stay so on the way (see `single`), others are computed in 64 bits.
        """
        if self.kind == "none":
            return rows.astype(np.float32)
        out = np.empty(rows.shape, np.float32)
        step = max(1, _CELLS // max(1, rows.shape[1]))
        single = self.single if rows.dtype == np.float32 else None
        for start in range(0, len(rows), step):
            here = slice(start, start + step)
            out[here] = scaled(rows[here], single) if single else (rows[here] - self.offset) / self.scale
        return out

    @cached_property
    def single(self) -> Single | None:
        """The map for `scaled` in 32 bits; None if they cannot hold it."""
        with np.errstate(over="ignore"):
            high, scale = self.offset.astype(np.float32), self.scale.astype(np.float32)
        if not (np.isfinite(2 * scale) & (scale > np.finfo(np.float32).tiny)).all():
            return None
        return high, (self.offset - high).astype(np.float32), scale

    def invert(self, rows: np.ndarray) -> np.ndarray:
        """Into the user's units, float64."""
        return rows.astype(np.float64) * self.scale + self.offset

    @property
    def log_volume(self) -> float:
        """Σ log scale: what a log-density loses, in nats, when it is read in the user's units."""
        return float(np.log(self.scale).sum())


class Survey:
    """One pass over training rows, in pieces of any size: what a scaler needs to know of them.

    Parameters
    ----------
    kind : {"auto", "standard", "minmax", "range"} or None
        "standard": mean 0, standard deviation 1 per feature. "minmax": each feature onto [0, 1]. "range": all
        features onto [0, 1] by one map, as pixels want it. None: as they are. "auto": what ``support`` needs, which
        is "standard" for real numbers; for [0, 1] None if all rows lie there, else "minmax".
    support : {"real", "unit"}
        The values that the likelihood is defined for.
    """

    def __init__(self, kind: str | None, support: Support) -> None:
        self._kind = "standard" if kind == "auto" and support == "real" else kind
        self._support = support
        self._moments, self._bounds = StandardScaler(), MinMaxScaler()

    def see(self, rows: np.ndarray) -> None:
        """The next rows."""
        self._bounds.partial_fit(rows)
        if self._kind == "standard":
            self._moments.partial_fit(rows)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest value of each feature."""
        return self._bounds.data_min_, self._bounds.data_max_

    def scaler(self) -> Scaler:
        """The map for the rows seen.

        Raises
        ------
        InvalidData
            If the likelihood needs [0, 1] and the scaled rows leave it.
        """
        low, high = self.bounds[0].min(), self.bounds[1].max()
        within = low >= 0 and high <= 1
        kind = ("minmax" if not within else None) if self._kind == "auto" else self._kind
        width = len(self.bounds[0])
        offset, scale = np.zeros(width), np.ones(width)
        if kind == "standard":
            offset, scale = self._moments.mean_, self._moments.scale_
        elif kind == "minmax":
            offset, scale = self._bounds.data_min_, 1 / self._bounds.scale_
        elif kind == "range":
            offset, scale = np.full(width, low), np.full(width, high - low if high > low else 1.0)
        if self._support == "unit" and kind in (None, "standard") and (kind == "standard" or not within):
            raise InvalidData(
                f"This likelihood needs features in [0, 1]; the rows span [{low:g}, {high:g}] and scaling={kind!r} "
                'leaves them there. Use scaling="minmax" (each feature by itself) or "range" (all by one map).'
            )
        return Scaler(kind or "none", np.asarray(offset, np.float64), np.asarray(scale, np.float64))
