"""Whether 32 bits hold the digits of a model's columns, so that its ONNX files can read and give 32-bit numbers."""

from __future__ import annotations

import numpy as np

from ..estimators.imputer import AutoencoderImputer
from ..estimators.predictions import predictors
from ..estimators.trainable import Saveable

__all__ = ["LARGEST_SHIFT", "is_enough"]

LARGEST_SHIFT = 1e-5
"""Largest error of rounding a number to 32 bits, in units of its column's scale: the allowed difference of results."""
_ROUNDING = float(np.finfo(np.float32).eps) / 2
_CONSTANT = 1e-11
"""Standard deviation of a constant column at most, relative to its value."""
_WHOLE = 2**24
"""Largest number up to which all whole numbers have 32 bits."""


def is_enough(estimator: Saveable) -> bool:
    """Return whether rounding the estimator's rows to 32 bits changes less than its 32-bit network does.

    A number x = offset + scale·u is rounded by at most 2⁻²⁴·|x|, which is 2⁻²⁴·|offset| / scale in scaled units, beyond
    the rounding of u itself.
    """
    shifts = [_ROUNDING * np.abs(one.scaler.offset) / one.scaler.scale for one in predictors(estimator)]
    if isinstance(estimator, AutoencoderImputer):
        furthest, scale = np.abs(estimator.blend_.mean), np.sqrt(estimator.blend_.variance)
        shifts.append(np.where(scale > _CONSTANT * furthest, _ROUNDING * furthest / scale, 0))
    schema = estimator.input_.schema
    wholes = [] if schema is None else [c for c in schema.used if c.kind == "count" or c.whole]
    ends = [abs(end) for column in wholes for end in (column.low, column.high) if end is not None]
    return all(bool((shift <= LARGEST_SHIFT).all()) for shift in shifts) and max(ends, default=0) <= _WHOLE
