"""Reference outputs: codes and scores of a few rows, saved with the model to verify it on another machine.

Only a hash of the rows is saved, so a saved model reveals none of the data.
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
    """Codes and scores of the first rows of a table."""

    n_rows: int
    fingerprint: str
    codes: np.ndarray
    """(n_rows, K)"""
    scores: np.ndarray
    """(n_rows,)"""
    threads: int | None = None
    """Number of threads among which XLA divided its sums; None for older models."""


class Verified(NamedTuple):
    """Comparison of this machine's outputs with the saved reference outputs.

    Attributes
    ----------
    n_rows : int
        Number of rows compared.
    same_bits : bool
        Whether codes and scores are equal, bit for bit.
    code_difference, score_difference : float
        The largest absolute differences, in units of the code and in nats.
    stored_threads, threads : int or None
        Number of threads among which XLA divided its sums, when the model was saved (None: unknown) and now.
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
                f". The model was saved with {self.stored_threads} threads, this machine uses {self.threads}: set "
                f"DIABOLO_THREADS={self.stored_threads}"
                if self.stored_threads not in (None, self.threads)
                else ""
            )
        )


def _first(estimator: FittedAutoencoder, X: RowsLike, n_rows: int) -> np.ndarray:
    """Return the first rows of X."""
    opened = estimator.input_.open(X)
    rows = opened.first_chunk().rows if isinstance(opened, BlockReader) else opened
    return rows[:n_rows]


def _outputs(estimator: FittedAutoencoder, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return estimator.predictor_.codes(rows), np.asarray(estimator.predictor_.log_density(rows))


def probed(estimator: FittedAutoencoder, X: RowsLike) -> ReferenceOutputs:
    """Compute the reference outputs of a fitted autoencoder for the first rows of X, at most 64."""
    rows = _first(estimator, X, MOST_ROWS)
    outputs = _outputs(estimator, rows)
    return ReferenceOutputs(len(rows), files.fingerprint(rows.astype(np.float64)), *outputs, jax_config.n_threads())


def verified(estimator: FittedAutoencoder, X: RowsLike, probe: ReferenceOutputs | None) -> Verified:
    """Compute the outputs again, and compare them with the reference outputs.

    Raises
    ------
    InvalidData
        If there are no reference outputs, or X does not begin with the same rows.
    """
    if probe is None:
        raise InvalidData("The model was saved without reference outputs. Save it with save(path, reference_data=X).")
    rows = _first(estimator, X, probe.n_rows)
    if files.fingerprint(rows.astype(np.float64)) != probe.fingerprint:
        raise InvalidData(
            f"The first {probe.n_rows} rows of X differ from the rows of the reference outputs: they have another "
            "fingerprint. Give the same data, in the same order."
        )
    codes, scores = _outputs(estimator, rows.astype(probe.codes.dtype))
    with np.errstate(invalid="ignore"):
        differences = [float(np.nanmax(np.abs(now - then), initial=0.0)) for now, then in
                 ((codes, probe.codes), (scores, probe.scores))]  # fmt: skip
    same = codes.tobytes() == probe.codes.tobytes() and scores.tobytes() == probe.scores.tobytes()
    return Verified(probe.n_rows, same, differences[0], differences[1], probe.threads, jax_config.n_threads())
