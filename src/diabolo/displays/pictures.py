"""Pictures of reports in a notebook, for estimators that are no autoencoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..report.classifiers import ClassifierResults
from ..report.generators import GeneratorData
from ..report.imputers import ImputerData
from ..report.series import SeriesData
from ..report.style import FIRST, SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "draw_calibration",
    "draw_confusion",
    "draw_distances",
    "draw_explained",
    "draw_scores",
    "draw_series",
]

_MOST_BARS, _MOST_NAMES = 20, 20


def draw_explained(data: ImputerData, ax: Axes) -> None:
    """Draw the share of each column's error that the imputer avoids, and the linear prediction."""
    known = [one for one in data.columns if one.explained(one.error) is not None]
    known = sorted(known, key=lambda one: one.explained(one.error) or 0.0)[-_MOST_BARS:]
    names = [one.name for one in known]
    linear = [-1.0 if (share := one.explained(one.linear)) is None else max(share, -1.0) for one in known]
    ax.barh(names, [max(one.explained(one.error) or 0.0, -1.0) for one in known], color=FIRST, label="imputer")
    if any(one.linear is not None for one in known):
        ax.plot(linear, names, "o", color="#999999", label="linear prediction")
    ax.set_xlabel("share of the mean's error that is avoided")
    ax.legend(frameon=False, loc="lower right")


def draw_distances(data: GeneratorData, ax: Axes) -> None:
    """Draw the distance of each column's generated distribution to the real one."""
    shown = data.columns[:_MOST_BARS][::-1]
    ax.barh([one.name for one in shown], [one.distance for one in shown], color=FIRST)
    ax.axvline(data.usual_distance, color="#888888", linestyle="--", label="two samples of real rows")
    ax.set_xlabel("distance of generated to real rows")
    ax.legend(frameon=False, loc="lower right")


def draw_confusion(results: ClassifierResults, ax: Axes) -> None:
    """Draw the share of each label's rows by prediction."""
    counts = results.confusion
    ax.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    if len(results.classes) <= _MOST_NAMES:
        places = range(len(results.classes))
        ax.set_xticks(places, results.classes, rotation=60)
        ax.set_yticks(places, results.classes)
    ax.set(xlabel="prediction", ylabel="label")


def draw_calibration(results: ClassifierResults, ax: Axes) -> None:
    """Draw how often predictions of each confidence are right."""
    sure, right, _ = results.calibration
    ax.plot([0, 1], [0, 1], "--", color="#888888")
    ax.plot(sure, right, "o-", color=SECOND)
    ax.set(
        xlabel="probability of the predicted class", ylabel="share of right predictions", xlim=(0, 1), ylim=(0, 1.03)
    )


def draw_series(data: SeriesData, ax: Axes) -> None:
    """Draw the first channel of the series with the most unusual alarm, what was expected, and the alarms."""
    i = data.shown[0]
    channel = data.alarms[0].channel if data.alarms else data.channels_of(i)[0]
    stretch = data.stretches[i]
    ax.plot(stretch.at, data.expected[stretch.rows, channel], color=SECOND, linewidth=0.8, label="expected")
    ax.plot(stretch.at, data.values[stretch.rows, channel], color=FIRST, linewidth=0.9, label="observed")
    _shade(data, i, channel, ax)
    ax.set_ylabel(data.channels[channel])
    ax.legend(frameon=False, ncols=2, loc="upper left")


def draw_scores(data: SeriesData, ax: Axes) -> None:
    """Draw the scores of the same series, and the threshold."""
    assert data.scores is not None
    stretch = data.stretches[data.shown[0]]
    ax.plot(stretch.at, np.maximum(data.scores[stretch.rows], 1e-3), color=FIRST, linewidth=0.9)
    ax.axhline(data.threshold, color="#888888", linestyle="--")
    _shade(data, data.shown[0], None, ax)
    ax.set(yscale="log", ylabel="score")


def _shade(data: SeriesData, i: int, channel: int | None, ax: Axes) -> None:
    at = data.stretches[i].at
    for one in data.alarms:
        if one.stretch == i and channel in (None, one.channel):
            first, last = at[max(one.first - 1, 0)], at[min(one.last + 1, len(at) - 1)]
            ax.axvspan(first, last, color="#cc3311", alpha=0.28, linewidth=0)
