"""The display of anomaly scores, and of the columns that cause one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..data.frames import to_arrow
from ..data.types import Frame, RowsLike
from ..errors import InvalidParameter
from ..persistence.fitted import FittedDetector
from ..report.style import FIRST, SECOND
from .axes import Keywords, axes_or_new, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["AnomalyDisplay"]

_MOST_COLUMNS = 10
_LOG_RATIO = 20
"""Scores that span a larger factor are drawn on a logarithmic axis."""


class AnomalyDisplay:
    """Anomaly scores of rows with the threshold, or the columns that cause the score of one row.

    Create it with `from_estimator`.

    Parameters
    ----------
    scores : array of shape (n,)
        The anomaly scores, in nats.
    threshold : float or None
        Rows with a higher score are flagged. None: there are too few calibration rows to flag any.
    false_alarm_rate : float
        The maximum expected share of normal rows above the threshold.
    row : int or None, default=None
        The row to explain, from 0; None: all rows are drawn.
    contributions : dict of str to float or None, default=None
        The contribution of each column to the score of ``row``, largest first, by the column's name, value and
        expected value.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last plot.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from diabolo import AnomalyDetector, AnomalyDisplay
    >>> from diabolo.datasets import load_pump
    >>> detector = AnomalyDetector("single", random_state=0).fit(load_pump().data)
    >>> display = AnomalyDisplay.from_estimator(detector, load_pump(subset="new").data)
    >>> display.ax_.get_ylabel()
    'anomaly score, nats'
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        scores: np.ndarray,
        threshold: float | None,
        false_alarm_rate: float,
        row: int | None = None,
        contributions: dict[str, float] | None = None,
    ) -> None:
        self.scores, self.threshold, self.false_alarm_rate = scores, threshold, false_alarm_rate
        self.row, self.contributions = row, contributions

    @classmethod
    def from_estimator(
        cls,
        detector: FittedDetector,
        X: RowsLike,
        *,
        row: int | None = None,
        ax: Axes | None = None,
        normal_kw: Keywords | None = None,
        flagged_kw: Keywords | None = None,
    ) -> Self:
        """Plot the scores of rows, or what causes the score of one.

        Parameters
        ----------
        detector : AnomalyDetector
            The fitted detector.
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.
        row : int or None, default=None
            None: the score of each row, in the order of the rows, and the threshold. A number from 0: the columns
            that contribute most to the score of this row, with their values and the expected ones.
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        normal_kw, flagged_kw : dict or None, default=None
            Keywords of ``Axes.scatter`` for rows that are not and that are flagged; for one row, ``flagged_kw`` are
            those of ``Axes.barh``.

        Returns
        -------
        AnomalyDisplay
            The display, drawn.

        Raises
        ------
        InvalidParameter
            If there is no such row.
        """
        check_is_fitted(detector)
        contributions = None
        if row is None:
            scores = -detector.score_samples(X)
        else:
            why = detector.explain(X)
            scores = why.scores
            if not 0 <= row < len(scores):
                raise InvalidParameter(f"row must be a number from 0 to {len(scores) - 1}; got {row!r}.")
            observed, expected = _cells(why.observed, row), _cells(why.expected, row)
            contributions = {
                f"{name} = {_text(observed[j])}\n(expected {_text(expected[j])})": float(why.contributions[row, j])
                for j, name in enumerate(why.columns)
                if j in np.argsort(-why.contributions[row], kind="stable")[:_MOST_COLUMNS]
            }
        display = cls(
            scores=scores,
            threshold=-detector.offset_ if detector.can_flag_ else None,
            false_alarm_rate=detector.false_alarm_rate,
            row=row,
            contributions=contributions,
        )
        return display.plot(ax, normal_kw=normal_kw, flagged_kw=flagged_kw)

    @property
    def flagged(self) -> np.ndarray:
        """(n,), whether each row is flagged."""
        return np.zeros(len(self.scores), bool) if self.threshold is None else self.scores > self.threshold

    def plot(
        self, ax: Axes | None = None, *, normal_kw: Keywords | None = None, flagged_kw: Keywords | None = None
    ) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        normal_kw, flagged_kw : dict or None, default=None
            Keywords of ``Axes.scatter`` for rows that are not and that are flagged; for one row, ``flagged_kw`` are
            those of ``Axes.barh``.

        Returns
        -------
        AnomalyDisplay
            The display itself.
        """
        if self.contributions is not None:
            shown = dict(sorted(self.contributions.items(), key=lambda pair: pair[1]))
            self.ax_ = ax = axes_or_new(ax, (6.4, 1.2 + 0.45 * len(shown)))
            ax.barh(list(shown), list(shown.values()), **merged(flagged_kw, color=SECOND))
            ax.set(xlabel="contribution to the anomaly score", title=self._title_of_row())
            self.figure_ = ax.figure
            return self
        self.ax_ = ax = axes_or_new(ax, (7.2, 4.2))
        self.figure_ = ax.figure
        numbers, flagged = np.arange(1, len(self.scores) + 1), self.flagged
        for some, color, name, given in (
            (~flagged, FIRST, "not flagged", normal_kw),
            (flagged, SECOND, "flagged", flagged_kw),
        ):
            style = merged(given, color=color, s=16, linewidths=0, label=f"{name}: {some.sum():,} rows")
            ax.scatter(numbers[some], self.scores[some], **style)
        if self.threshold is not None:
            label = f"threshold: at most {100 * self.false_alarm_rate:g} % false alarms"
            ax.axhline(self.threshold, color="0.3", linestyle="--", linewidth=1, label=label)
        positive = self.scores[self.scores > 0]
        if len(positive) == len(self.scores) and positive.max() > _LOG_RATIO * positive.min():
            ax.set_yscale("log")
        ax.set(xlabel="row", ylabel="anomaly score, nats", title="Anomalies")
        ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
        return self

    def _title_of_row(self) -> str:
        assert self.row is not None
        if self.threshold is None:
            return f"Row {self.row + 1}: score {self.scores[self.row]:.3g}"
        verdict = "flagged" if self.flagged[self.row] else "not flagged"
        return f"Row {self.row + 1}, {verdict}: score {self.scores[self.row]:.3g}, threshold {self.threshold:.3g}"


def _cells(rows: Frame, i: int) -> list[object]:
    """Return the cells of a row of a table of any library, or of an array."""
    table = to_arrow(rows)
    return list(np.asarray(rows)[i]) if table is None else [column[i].as_py() for column in table.columns]


def _text(cell: object) -> str:
    return "missing" if cell is None else f"{cell:.4g}" if isinstance(cell, float | np.floating) else str(cell)
