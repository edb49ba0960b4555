"""Watching a training from outside: anything that is told of each epoch."""

from __future__ import annotations

import os
from typing import Protocol, Self

from .errors import UsageError

__all__ = ["Callback", "TensorBoard"]


class Callback(Protocol):
    """What ``fit(X, callback=…)`` takes: a function of two arguments, or an object that can be called as one.

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
        """One epoch is done.

        Parameters
        ----------
        epoch : int
            Counted from 1. Short epochs are done several at a time, and told of one after another.
        record : dict of str to float
            What `history_` holds of it: ``loss``, its terms, ``beta``, ``learning_rate``, ``validation_loss``, …
        """


class TensorBoard:
    """Writes each epoch's record for TensorBoard: ``tensorboard --logdir FOLDER`` shows it.

    Training and held-out rows' curves of one term share a chart. Needs the extra ``tensorboard``.

    Parameters
    ----------
    folder : path
        Where event files go; one run each.

    Raises
    ------
    UsageError
        If the extra is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise UsageError("TensorBoard logs need an extra: pip install 'diabolo[tensorboard]'.") from error
        self._training = SummaryWriter(os.path.join(folder, "training"))  # noqa: PTH118  its paths are texts
        self._held_out = SummaryWriter(os.path.join(folder, "held-out"))  # noqa: PTH118

    def __call__(self, epoch: int, record: dict[str, float]) -> None:
        """One epoch is done."""
        for name, value in record.items():
            held_out = name.startswith("validation_")
            writer = self._held_out if held_out else self._training
            writer.add_scalar(name.removeprefix("validation_"), value, epoch)

    def close(self) -> None:
        """Write what is left."""
        self._training.close()
        self._held_out.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
