"""The errors and warnings of diabolo, as one tree.

DiaboloError
├── InvalidPart                a component has an invalid value, or does not fit the other components  (ValueError)
├── InvalidParameter           a parameter has a wrong type or is out of range                         (ValueError)
├── InvalidData                the rows cannot be used                                                 (ValueError)
│   └── InvalidType            the rows are not numbers, nor a supported source of rows                (TypeError)
├── TrainingDiverged           the loss became NaN or infinite                                         (ArithmeticError)
├── OutOfMemory                the computation does not fit in memory                                  (MemoryError)
├── ArtifactError              a saved model cannot be written or read                                 (ValueError)
│   └── UnknownPart            a saved model names an unknown component
├── ForkError                  the process was forked after JAX had started                            (RuntimeError)
├── InvalidPlacement           the work cannot be placed on the devices or processes                   (ValueError)
├── CheckpointError            a checkpoint cannot be written or resumed                               (RuntimeError)
├── UnsupportedOperationError  an export does not support an operation of the network                  (ValueError)
├── ExportError                an exported model gives other results than Python                       (RuntimeError)
├── MissingDependencyError     an optional package is not installed                                    (ImportError)
└── UsageError                 the command line is used incorrectly                                    (ValueError)

TrainingInterrupted            Ctrl-C ended a training; what it learned so far is kept           (KeyboardInterrupt)

Every message says what is wrong, where, and what to do. The second base class, in brackets, is a built-in exception of
Python, so that `except ValueError` works without knowledge of this tree.

DataWarning                    rows were read, but some of the data is read or used in an unexpected way (UserWarning)
├── ColumnLeftOutWarning       a column is not used
│   ├── IdColumnWarning        it numbers the rows
│   ├── ClockColumnWarning     it is the time at which each row was written
│   ├── UniqueTextsWarning     it has too many different texts
│   ├── EmptyColumnWarning     it has no value
│   └── UnsupportedColumnWarning  its type is not numbers, texts or dates
├── UnscoredRowsWarning        rows of a series have too few known rows around them to be scored
└── NotationWarning            the format of a text file was detected from its content, and may be wrong
DamagedCheckpointWarning       a checkpoint could not be read; an older one was used                   (UserWarning)
TrainingWarning                a training ended with a poor result                                     (UserWarning)
├── FailedSettingWarning       a setting of a sweep failed; the others were fitted
├── RetriedWarning             the loss became NaN or infinite; the training restarted at a lower learning rate
├── LossIncreasedWarning       the training loss rose above its initial value
├── PoorFitWarning             the reconstruction is worse than the mean of the rows, or than PCA
├── PosteriorCollapseWarning   the latent code does not depend on the row
└── NoImprovementWarning       the model is no better than its initial weights
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from . import former_names


class DiaboloError(Exception):
    """Base class of all errors of diabolo."""


class InvalidPart(DiaboloError, ValueError):
    """A component has an invalid value, or does not fit the other components."""


class InvalidParameter(DiaboloError, ValueError):
    """A parameter of an estimator or a method has a wrong type or is out of range."""


class InvalidData(DiaboloError, ValueError):
    """The rows cannot be used."""


class InvalidType(InvalidData, TypeError):
    """The rows are not numbers, nor a supported source of rows."""


class TrainingDiverged(DiaboloError, ArithmeticError):
    """The loss became NaN or infinite.

    Attributes
    ----------
    epoch, step : int or None
        Epoch and step, counted from 1; the step is counted within the epoch's chunk. ``step`` is None if the loss was
        finite, but the weights after the epoch were not.
    term : str or None
        The terms of the loss that were not finite, separated by commas.
    sigma : array or None
        The likelihood's σ just before, in scaled units: the minimum per column, or one minimum if all columns share σ.
        None in `sweep` and other trainings that run together.
    """

    epoch: int | None = None
    step: int | None = None
    term: str | None = None
    sigma: Any = None


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, or any `KeyboardInterrupt`, ended a training after its first epoch. It is no `DiaboloError`.

    An estimator that was not fitted before keeps the best epoch so far, as a complete fit. An estimator that was fitted
    before keeps its former fit; ``result`` is then a fitted copy with the best epoch so far.

    Attributes
    ----------
    result : estimator or Sweep
        What was learned so far: the estimator itself, or the fitted copy; of `sweep`, the settings trained so far.
    """

    def __init__(self, message: str = "", result: Any = None) -> None:
        super().__init__(message)
        self.result = result

    @classmethod
    def of(cls, result: object, *, is_copy: bool) -> TrainingInterrupted:
        """Return the exception for an estimator, or for a fitted copy of an estimator that keeps its former fit."""
        name = type(result).__name__
        if is_copy:
            where = f"The {name} keeps its former fit; `result` of this exception is a copy fitted with the best epoch"
        else:
            where = f"The {name} is fitted with the best epoch"
        return cls(f"The training was interrupted. {where} so far.", result)


class OutOfMemory(DiaboloError, MemoryError):
    """The computation does not fit in memory."""


class ArtifactError(DiaboloError, ValueError):
    """A saved model cannot be written or read."""


class UnknownPart(ArtifactError):
    """A saved model names an unknown component."""


class InvalidPlacement(DiaboloError, ValueError):
    """The work cannot be placed on the devices or processes."""


class ForkError(DiaboloError, RuntimeError):
    """The process was forked after JAX had started, so it cannot compute."""


class CheckpointError(DiaboloError, RuntimeError):
    """A checkpoint cannot be written, or a training cannot resume from it."""


class UnsupportedOperationError(DiaboloError, ValueError):
    """A report or an export format does not support an operation of the network."""


class ExportError(DiaboloError, RuntimeError):
    """An exported model gives other results than Python."""


class MissingDependencyError(DiaboloError, ImportError):
    """An optional package, part of one of diabolo's extras, is not installed."""


class DataWarning(UserWarning):
    """Rows were read, but some of the data is read or used in an unexpected way."""


class NotationWarning(DataWarning):
    """The format of a text file was detected from its content, and may be wrong."""


class ColumnLeftOutWarning(DataWarning):
    """A column is not used.

    Attributes
    ----------
    column : str
        The name of the column.
    """

    def __init__(self, message: str, column: str = "") -> None:
        super().__init__(message)
        self.column = column


class IdColumnWarning(ColumnLeftOutWarning):
    """A column numbers the rows."""


class ClockColumnWarning(ColumnLeftOutWarning):
    """A column is the time at which each row was written: its values are all or mostly different."""


class UniqueTextsWarning(ColumnLeftOutWarning):
    """A column has too many different texts to be categorical."""


class EmptyColumnWarning(ColumnLeftOutWarning):
    """A column has no value."""


class UnseenColumnsWarning(DataWarning):
    """A table has columns that were not in the table of `fit`; they are not used.

    Attributes
    ----------
    columns : tuple of str
        The names of the columns.
    """

    def __init__(self, message: str, columns: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.columns = columns


class UnscoredRowsWarning(DataWarning):
    """Rows of a series are not scored, since there are too few known rows around them.

    Attributes
    ----------
    n_rows : int
        The number of these rows.
    """

    def __init__(self, message: str, n_rows: int = 0) -> None:
        super().__init__(message)
        self.n_rows = n_rows


class UnsupportedColumnWarning(ColumnLeftOutWarning):
    """The type of a column is not numbers, texts or dates."""


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint could not be read; the one before it was used."""


class TrainingWarning(UserWarning):
    """A training ended with a poor result."""


class FailedSettingWarning(TrainingWarning):
    """A setting of a `sweep` failed. The others were fitted."""


class RetriedWarning(TrainingWarning):
    """The loss became NaN or infinite, and the training restarted at a lower learning rate (``retries``)."""


class LossIncreasedWarning(TrainingWarning):
    """The training loss stayed finite but rose above its initial value: the learning rate is too high."""


class PoorFitWarning(TrainingWarning):
    """The fitted model reconstructs rows worse than their mean, or than PCA with as many components."""


class PosteriorCollapseWarning(TrainingWarning):
    """The latent code does not depend on the row."""


class NoImprovementWarning(TrainingWarning):
    """The final weights are no better than the initial weights."""


class UsageError(DiaboloError, ValueError):
    """The command line is used incorrectly."""


_SHOWN = 24


def suggest(name: Any, known: Iterable[Any]) -> str:
    """Return a hint for an unknown name: the most similar known name, or the known names.

    >>> suggest("n_latnet", ["n_latent", "patience"]), suggest("z", ["a", "b"])
    ('Did you mean n_latent?', 'Known names: a, b.')
    """
    names = list(map(str, known))
    close = get_close_matches(str(name), names, 1)
    shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
    return f"Did you mean {close[0]}?" if close else f"Known names: {shown}."


__getattr__ = former_names.lookup(__name__, former_names.ERRORS)
