"""The split of a user's rows into training and validation rows, with the scaling fitted in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..data.scaler import Scaler, ScalerStats
from ..persistence import files
from .batches import ArraySource, Source
from .loader import ShuffledLoader, n_held_out_of

__all__ = ["Rows", "from_array", "from_stream"]


@dataclass(frozen=True)
class Rows:
    """Scaled training and validation rows, with statistics of all rows."""

    training: Source
    held_out: ArraySource | None
    scaler: Scaler
    bounds: tuple[np.ndarray, np.ndarray]
    """Minimum and maximum of each scaled feature over the training rows."""
    n_samples: int
    """Number of rows, including validation rows."""
    fingerprint: str
    """A hash of the rows."""
    missing: bool = False
    """Whether any cell is missing."""

    def judged_by(self, rows: np.ndarray) -> Rows:
        """Return a copy with other validation rows, which are in the user's units."""
        return replace(
            self,
            held_out=ArraySource(self.scaler.apply(rows)),
            n_samples=self.n_samples + len(rows),
            fingerprint=f"{self.fingerprint}+{files.fingerprint(rows)}",
        )


def from_array(
    rows: np.ndarray,
    survey: ScalerStats,
    validation_fraction: float,
    seed: int,
    fingerprint: str | None = None,
    weights: np.ndarray | None = None,
) -> Rows:
    """Split rows in memory. ``fingerprint`` is that of the rows, if it is already known.

    ``weights`` are positive weights of the rows, if they differ.
    """
    order = np.random.default_rng([seed, 2]).permutation(len(rows))
    n_held_out = n_held_out_of(len(rows), validation_fraction)
    places = np.sort(order[n_held_out:]), np.sort(order[:n_held_out])
    training, held_out = (rows[at] for at in places)
    hashed, of_training, of_held_out = fingerprint or files.fingerprint(rows), None, None
    if weights is not None:
        hashed += f"+{files.fingerprint(weights[:, None])}"
        of_training, of_held_out = ((weights / weights.mean())[at] for at in places)
    survey.update(training, of_training)
    scaler = survey.scaler()
    training_rows, missing = ArraySource(scaler.apply(training), of_training), bool(np.isnan(rows).any())
    return _rows(survey, scaler, training_rows, held_out, len(rows), hashed, missing, of_held_out)


def from_stream(stream: ShuffledLoader, survey: ScalerStats, on_rows: Callable[[int], None]) -> Rows:
    """Split rows that are read in blocks, with one pass before the first epoch.

    ``on_rows`` is called with the number of rows read so far.
    """
    held_out, whole, n_samples, missing = [], None, 0, False
    for rows, training, some in stream.iter_blocks():
        whole = whole or files.Fingerprint((stream.n_given, rows.shape[1]), rows.dtype)
        whole.update(rows)
        held_out.append(some)
        survey.update(training)
        n_samples += len(rows)
        missing |= bool(np.isnan(rows).any())
        on_rows(n_samples)
    assert whole is not None
    scaler = survey.scaler()
    through, fingerprint = stream.mapped(scaler.apply), whole.hexdigest()
    return _rows(survey, scaler, through, np.concatenate(held_out), n_samples, fingerprint, missing)


def _rows(
    survey: ScalerStats,
    scaler: Scaler,
    training: Source,
    held_out: np.ndarray,
    n_samples: int,
    fingerprint: str,
    missing: bool,
    weights: np.ndarray | None = None,
) -> Rows:
    low, high = scaler.apply(np.stack(survey.bounds))
    judged = ArraySource(scaler.apply(held_out), weights) if len(held_out) else None
    return Rows(training, judged, scaler, (low, high), n_samples, fingerprint, missing)
