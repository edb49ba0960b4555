"""The display of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from ..errors import InvalidParameter, UnsupportedOperationError, suggest
from ..report.style import FIRST, SECOND, TERMS
from .axes import Keywords, axes_or_new, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LearningCurveDisplay"]


class LearningCurveDisplay:
    """Learning curve of an autoencoder: a term of the loss by epoch, on training and on held-out rows.

    Create it with `from_estimator`; the numbers are those of ``history_``.

    Parameters
    ----------
    training : array of shape (n_epochs,)
        The term on training rows, in nats per row and scaled units.
    validation : array of shape (n_epochs,) or None
        The term on held-out rows; None without such rows.
    best_epoch : int
        The epoch whose weights are used, from 1; 0: those of the start.
    term : str, default="loss"
        The name of the term.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last plot.
    figure_ : matplotlib Figure
        Their figure.
    lines_ : list of matplotlib Line2D
        The curves.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import LearningCurveDisplay, StackedAutoencoder
    >>> model = StackedAutoencoder(max_epochs=3, random_state=0).fit(load_iris().data)
    >>> display = LearningCurveDisplay.from_estimator(model)
    >>> [line.get_label() for line in display.lines_]
    ['training rows', 'held-out rows']
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self, *, training: np.ndarray, validation: np.ndarray | None, best_epoch: int, term: str = "loss"
    ) -> None:
        self.training, self.validation = training, validation
        self.best_epoch, self.term = best_epoch, term

    @classmethod
    def from_estimator(
        cls,
        estimator: object,
        *,
        term: str = "loss",
        ax: Axes | None = None,
        training_kw: Keywords | None = None,
        validation_kw: Keywords | None = None,
    ) -> Self:
        """Plot the learning curve of a fitted autoencoder or classifier.

        Parameters
        ----------
        estimator : autoencoder or AutoencoderClassifier
            The fitted estimator.
        term : str, default="loss"
            A term of ``history_``: "loss", "reconstruction", "kl", …
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        training_kw, validation_kw : dict or None, default=None
            Keywords of ``Axes.plot`` for each curve.

        Returns
        -------
        LearningCurveDisplay
            The display, drawn.

        Raises
        ------
        UnsupportedOperationError
            If nothing was trained, since the optimum is known, or the estimator has no learning curve of its own.
        InvalidParameter
            If there is no such term.
        """
        history: dict[str, list[float]] | None = getattr(estimator, "history_", None)
        name = type(estimator).__name__
        if history is None:
            raise UnsupportedOperationError(
                f"{name} has no learning curve: fit it first, or pass one of its networks, estimators_[0][0]."
            )
        if not history:
            raise UnsupportedOperationError(
                f"This {name} has no learning curve: its optimum is computed in closed form, without training."
            )
        known = [one for one in history if not one.startswith("validation_")]
        if term not in known:
            raise InvalidParameter(f"There is no term {term!r}. {suggest(term, known)}")
        held_out = history.get(f"validation_{term}")
        display = cls(
            training=np.asarray(history[term]),
            validation=None if held_out is None else np.asarray(held_out),
            best_epoch=getattr(estimator, "best_epoch_", 0),
            term=term,
        )
        return display.plot(ax, training_kw=training_kw, validation_kw=validation_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        training_kw: Keywords | None = None,
        validation_kw: Keywords | None = None,
    ) -> Self:
        """Draw the curves, and a dotted line at the best epoch.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        training_kw, validation_kw : dict or None, default=None
            Keywords of ``Axes.plot`` for each curve.

        Returns
        -------
        LearningCurveDisplay
            The display itself.
        """
        self.ax_ = ax = axes_or_new(ax)
        self.figure_, self.lines_ = ax.figure, []
        for values, label, color, given in (
            (self.training, "training rows", FIRST, training_kw),
            (self.validation, "held-out rows", SECOND, validation_kw),
        ):
            if values is not None:
                epochs = np.arange(1, len(values) + 1)
                self.lines_ += ax.plot(epochs, values, **merged(given, label=label, color=color))
        if self.best_epoch:
            ax.axvline(self.best_epoch, color="0.5", linestyle=":", label=f"best epoch: {self.best_epoch}")
        ax.set(xlabel="epoch", ylabel="nats per row", title=TERMS.get(self.term, self.term))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False)
        return self
