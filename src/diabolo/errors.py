"""What can go wrong, as one tree.

DiaboloError
├── InvalidPart          a part was given a value outside its range, or does not fit its neighbours   (ValueError)
├── InvalidParameter     an estimator or a method was given a value of a wrong type or out of range   (ValueError)
├── InvalidData          the rows cannot be used as they are                                          (ValueError)
│   └── InvalidType      they are not numbers, nor anything that stands for rows                      (TypeError)
├── TrainingDiverged     the loss stopped being a finite number                                       (ArithmeticError)
├── OutOfMemory          what is asked for does not fit in memory                                     (MemoryError)
├── ArtifactError        a saved model cannot be written or read                                      (ValueError)
│   └── UnknownPart      it names a part that is not known
├── ForkError            JAX had begun to work before this process was forked                         (RuntimeError)
├── InvalidPlacement     the work cannot be dealt among the devices or processes                      (ValueError)
├── CheckpointError      a training under way cannot be kept or gone on with                          (RuntimeError)
├── NotCovered           a network uses a step of JAX that a page or format cannot express            (ValueError)
├── ExportError          what was exported says something else than Python                            (RuntimeError)
├── MissingExtra         a package is not installed that comes with one of diabolo's extras           (ImportError)
└── UsageError           the command line was used wrongly                                            (ValueError)

Every message says what is wrong, where, and the mend. The second base class in brackets is Python's own,
so that `except ValueError` keeps working for people who do not know this tree.

DataWarning              rows could be read, but not all of them as one may think                         (UserWarning)
├── NotationWarning      a text file is written in a way that was found, and could be otherwise
└── ColumnLeftOutWarning a column is not learned from
    ├── IdColumnWarning            it numbers the rows
    ├── ClockColumnWarning         it says when a row was written
    ├── UniqueTextsWarning         its texts are too many
    ├── EmptyColumnWarning         it has no value
    └── UnsupportedColumnWarning   its type is neither numbers, texts nor dates
DamagedCheckpoint        a checkpoint could not be read, and an older one was                              (UserWarning)
TrainingWarning          a training ended, but not well                                                   (UserWarning)
├── Retried              its loss was no number, and it began anew at a lower rate, as was asked
├── LossRose             its loss rose again, above where it began, and stayed a number
├── PosteriorCollapse    the latent code says nothing of the row
└── NoImprovement        it is as good as at its start
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from . import former_names


class DiaboloError(Exception):
    """Base of every error that diabolo raises on purpose."""


class InvalidPart(DiaboloError, ValueError):
    """A part was given a value outside its range, or does not fit the parts beside it."""


class InvalidParameter(DiaboloError, ValueError):
    """An estimator or a method was given a value of a wrong type or out of range."""


class InvalidData(DiaboloError, ValueError):
    """The rows cannot be used as they are."""


class InvalidType(InvalidData, TypeError):
    """They are not numbers, nor anything that stands for rows."""


class TrainingDiverged(DiaboloError, ArithmeticError):
    """The loss stopped being a finite number.

    Attributes
    ----------
    epoch, step : int or None
        When, counted from 1; the step within the epoch's chunk. No step: the loss was finite, the weights after it not.
    term : str or None
        The loss's terms that were not finite, separated by commas.
    sigma : array or None
        The likelihood's σ just before, in scaled units: the least of each column's, or of all, if it has one. Of
        `sweep` and other trainings that run together: None.
    """

    epoch: int | None = None
    step: int | None = None
    term: str | None = None
    sigma: Any = None


class OutOfMemory(DiaboloError, MemoryError):
    """What is asked for does not fit in memory."""


class ArtifactError(DiaboloError, ValueError):
    """A saved model cannot be written or read."""


class UnknownPart(ArtifactError):
    """A saved model names a part that is not known."""


class InvalidPlacement(DiaboloError, ValueError):
    """The work cannot be dealt among the devices or processes."""


class ForkError(DiaboloError, RuntimeError):
    """JAX had begun to work before this process was forked, so that nothing can be computed in it."""


class CheckpointError(DiaboloError, RuntimeError):
    """A training under way cannot be kept, or not be gone on with."""


class UnsupportedOperationError(DiaboloError, ValueError):
    """A network uses a step of JAX that a page or format cannot express."""


class ExportError(DiaboloError, RuntimeError):
    """What was exported says something else than Python."""


class MissingDependencyError(DiaboloError, ImportError):
    """A package is not installed that comes with one of diabolo's extras."""


class DataWarning(UserWarning):
    """Rows could be read, but not all of them as one may think."""


class NotationWarning(DataWarning):
    """A text file is written in a way that was found from it, and could be otherwise."""


class ColumnLeftOutWarning(DataWarning):
    """A column is not learned from.

    Attributes
    ----------
    column : str
    """

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class IdColumnWarning(ColumnLeftOutWarning):
    """A column numbers the rows."""


class ClockColumnWarning(ColumnLeftOutWarning):
    """A column says when each row was written: later rows are always later."""


class UniqueTextsWarning(ColumnLeftOutWarning):
    """A column has too many different texts for categories."""


class EmptyColumnWarning(ColumnLeftOutWarning):
    """A column has no value."""


class UnsupportedColumnWarning(ColumnLeftOutWarning):
    """A column's type is neither numbers, texts nor dates."""


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint could not be read, and the one before it was used."""


class TrainingWarning(UserWarning):
    """A training ended, but not well."""


class RetriedWarning(TrainingWarning):
    """The loss was no number, and the training began anew at a lower rate, as was asked."""


class LossIncreasedWarning(TrainingWarning):
    """The training loss rose above where it began: the steps are too long, though it has stayed a number."""


class PoorFitWarning(TrainingWarning):
    """The fitted model reconstructs rows worse than their mean, or than PCA with as many components."""


class PosteriorCollapseWarning(TrainingWarning):
    """The latent code says nothing of the row."""


class NoImprovementWarning(TrainingWarning):
    """The weights kept are as good as those at the start."""


class UsageError(DiaboloError, ValueError):
    """The command line was used wrongly."""


_SHOWN = 24


def suggest(name: Any, known: Iterable[Any]) -> str:
    """The mend for a name that is not known.

    >>> suggest("n_latnet", ["n_latent", "patience"]), suggest("z", ["a", "b"])
    ('Did you mean n_latent?', 'Known are: a, b.')
    """
    names = list(map(str, known))
    close = get_close_matches(str(name), names, 1)
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"Did you mean {close[0]}?" if close else f"Known are: {shown}."


__getattr__ = former_names.lookup(__name__, former_names.ERRORS)
