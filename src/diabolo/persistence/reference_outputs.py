"""Whether a machine gives the bits that another one gave: some rows' codes and scores, kept with the model.

Of the rows themselves only a fingerprint is kept, so a saved model shows none of the data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import jax_config
from ..data.blocks import BlockReader
from ..data.types import RowsLike
from ..errors import InvalidData
from . import files
from .fitted import FittedAutoencoder

__all__ = ["MOST_ROWS", "ReferenceOutputs", "Verified", "probed", "verified"]

MOST_ROWS = 64


class ReferenceOutputs(NamedTuple):
    """What a model said of the first rows of a table."""

    n_rows: int
    fingerprint: str
    codes: np.ndarray
    """(n_rows, K)"""
    scores: np.ndarray
    """(n_rows,)"""
    threads: int | None = None
    """Among how many XLA divided its sums; not known of older models."""


class Verified(NamedTuple):
    """What it says of them here.

    Attributes
    ----------
    n_rows : int
        How many rows were asked about.
    same_bits : bool
        Whether codes and scores are those stored, to the bit.
    code_difference, score_difference : float
        The largest absolute differences; in units of the code, and in nats.
    stored_threads, threads : int or None
        Among how many XLA divided its sums then, if that is known, and here.
    """

    n_rows: int
    same_bits: bool
    code_difference: float
    score_difference: float
    stored_threads: int | None = None
    threads: int | None = None

    def __str__(self) -> str:
        if self.same_bits:
            return f"this machine gives the stored bits for all {self.n_rows} rows"
        return (
            f"this machine does not give the stored bits for {self.n_rows} rows: codes differ by up to "
            f"{self.code_difference:.2g}, scores by up to {self.score_difference:.2g} nats"
            + (
                f". They were stored with {self.stored_threads} threads, here are {self.threads}: set "
                f"DIABOLO_THREADS={self.stored_threads}"
                if self.stored_threads not in (None, self.threads)
                else ""
            )
        )


def _first(estimator: FittedAutoencoder, X: RowsLike, n_rows: int) -> np.ndarray:
    """The first rows of X, as they are read."""
    opened = estimator.input_.open(X)
    rows = opened.first_chunk().rows if isinstance(opened, BlockReader) else opened
    return rows[:n_rows]


def _said(estimator: FittedAutoencoder, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return estimator.predictor_.codes(rows), np.asarray(estimator.predictor_.log_density(rows))


def probed(estimator: FittedAutoencoder, X: RowsLike) -> ReferenceOutputs:
    """What a fitted autoencoder says of the first rows of X, 64 at most."""
    rows = _first(estimator, X, MOST_ROWS)
    said = _said(estimator, rows)
    return ReferenceOutputs(len(rows), files.fingerprint(rows.astype(np.float64)), *said, jax_config.n_threads())


def verified(estimator: FittedAutoencoder, X: RowsLike, probe: ReferenceOutputs | None) -> Verified:
    """Ask again.

    Raises
    ------
    InvalidData
        If nothing was stored, or X does not begin with the rows that were.
    """
    if probe is None:
        raise InvalidData("The model was saved without rows to verify it by: save(path, probe=X) keeps some.")
    rows = _first(estimator, X, probe.n_rows)
    if files.fingerprint(rows.astype(np.float64)) != probe.fingerprint:
        raise InvalidData(
            f"These are not the rows that the model was saved with: the first {probe.n_rows} have another fingerprint. "
            "Give the same data, in the same order."
        )
    codes, scores = _said(estimator, rows.astype(probe.codes.dtype))
    with np.errstate(invalid="ignore"):
        apart = [float(np.nanmax(np.abs(now - then), initial=0.0)) for now, then in
                 ((codes, probe.codes), (scores, probe.scores))]  # fmt: skip
    same = codes.tobytes() == probe.codes.tobytes() and scores.tobytes() == probe.scores.tobytes()
    return Verified(probe.n_rows, same, apart[0], apart[1], probe.threads, jax_config.n_threads())
