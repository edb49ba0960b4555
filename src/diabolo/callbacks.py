"""Callbacks: functions that `fit` calls after each epoch."""

from __future__ import annotations

import os
from typing import Protocol, Self, runtime_checkable

from .errors import UsageError

__all__ = ["Callback", "TensorBoard"]


@runtime_checkable
class Callback(Protocol):
    """A function, or a callable object, with two arguments, for ``fit(X, callback=…)``.

    Examples
    --------
    >>> from diabolo import Autoencoder
    >>> seen = []
    >>> rows = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    >>> model = Autoencoder(max_epochs=3, validation_fraction=None, random_state=0)
    >>> model = model.fit(rows, callback=lambda epoch, record: seen.append((epoch, *record)))
    >>> seen[-1]
    (3, 'beta', 'learning_rate', 'loss', 'reconstruction')
    """

    def __call__(self, epoch: int, record: dict[str, float], /) -> None:
        """Process the record of one epoch.

        Parameters
        ----------
        epoch : int
            The number of the epoch, counted from 1. Short epochs run in groups; the callback is then called for each
            epoch of a group, in order, after the group.
        record : dict of str to float
            The entries of `history_` for this epoch: ``loss``, its terms, ``beta``, ``learning_rate``,
            ``validation_loss``, …
        """


class TensorBoard:
    """Callback that writes each epoch's record for TensorBoard; show it with ``tensorboard --logdir FOLDER``.

    The training curve and the validation curve of a term share one chart. Needs the extra ``tensorboard``.

    Parameters
    ----------
    folder : path
        Folder for the event files. Use a new folder for each training.

    Raises
    ------
    UsageError
        If the extra ``tensorboard`` is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "TensorBoard needs an extra that is not installed: pip install 'diabolo[tensorboard]'."
            ) from error
        self._training = SummaryWriter(os.path.join(folder, "training"))  # noqa: PTH118  SummaryWriter takes str paths
        self._held_out = SummaryWriter(os.path.join(folder, "held-out"))  # noqa: PTH118

    def __call__(self, epoch: int, record: dict[str, float]) -> None:
        """Write the record of one epoch."""
        for name, value in record.items():
            held_out = name.startswith("validation_")
            writer = self._held_out if held_out else self._training
            writer.add_scalar(name.removeprefix("validation_"), value, epoch)

    def close(self) -> None:
        """Write remaining records, and close the files."""
        self._training.close()
        self._held_out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
