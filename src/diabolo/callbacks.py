"""Callbacks: functions that `fit` calls after each epoch. They can see the model, and stop the training."""

from __future__ import annotations

import inspect
import os
from typing import Any, Protocol, Self, cast, runtime_checkable

from .errors import UsageError

__all__ = ["Callback", "ModelCallback", "TensorBoard", "by_kind"]


@runtime_checkable
class Callback(Protocol):
    """A function, or a callable object, with two arguments, for ``fit(X, callback=…)``.

    If it returns True, the training stops after this epoch, as by early stopping: the model keeps the best epoch so
    far. Any other value is ignored. See `ModelCallback` for a callback that sees the model.

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

    def __call__(self, epoch: int, record: dict[str, float], /) -> object:
        """Process the record of one epoch; return True to stop.

        Parameters
        ----------
        epoch : int
            The number of the epoch, counted from 1. Short epochs run in groups; the callback is then called for each
            epoch of a group, in order, after the group.
        record : dict of str to float
            The entries of `history_` for this epoch: ``loss``, its terms, ``beta``, ``learning_rate``,
            ``validation_loss``, …
        """


@runtime_checkable
class ModelCallback(Protocol):
    """A function, or a callable object, with three arguments: as a `Callback`, with the model so far.

    The model is a fitted copy of the estimator with the weights after this epoch. It is valid after the call as well,
    and can be saved. Steps that follow the training, such as the closed-form choice between the trained model and the
    start, are not part of it. Making the copy takes about a millisecond per epoch.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import StackedAutoencoder
    >>> X = load_iris().data
    >>> def enough(epoch, record, model):
    ...     return epoch == 4 or model.score(X[:50]) > 100
    >>> StackedAutoencoder(random_state=0).fit(X[50:], callback=enough).n_epochs_
    4
    """

    def __call__(self, epoch: int, record: dict[str, float], model: Any, /) -> object:
        """Process the record of one epoch and the model after it; return True to stop.

        Parameters
        ----------
        epoch, record
            As for a `Callback`.
        model : estimator
            A fitted copy of the estimator.
        """


def by_kind(given: Callback | ModelCallback | None) -> tuple[Callback | None, ModelCallback | None]:
    """Return a callback in the first place, or in the second if it has a third argument, without a default value.

    Parameters
    ----------
    given : Callback, ModelCallback or None
        What a user passed.

    Returns
    -------
    callback : Callback or None
        The callback, if it takes two arguments.
    model_callback : ModelCallback or None
        The callback, if it takes three.

    Examples
    --------
    >>> both = by_kind(lambda epoch, record: None), by_kind(lambda epoch, record, model: None)
    >>> [one is None for one in both[0]], [one is None for one in both[1]]
    ([False, True], [True, False])
    """
    try:
        parameters = inspect.signature(given).parameters.values() if given is not None else ()
    except (TypeError, ValueError):  # a function written in C
        parameters = ()
    in_order = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    n_needed = sum(one.kind in in_order and one.default is one.empty for one in parameters)
    return (None, cast("ModelCallback", given)) if n_needed >= 3 else (cast("Callback | None", given), None)


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
