"""Report a fitted detector of series: the series with alarms and expected values, scores, and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
from scipy.stats import binom

from ..data.series import SeriesRows
from ..persistence import files
from ..persistence.fitted import FittedSeriesDetector
from .diagnostics.finding import Finding
from .figures import blank
from .layout import Page, document, findings_lead, findings_list, grid, table, tile_list
from .style import FIRST, SECOND

__all__ = ["Alarmed", "SeriesData", "Stretch", "collect", "diagnose", "render", "tiles"]

_MOST_POINTS = 2_000
"""A longer line is drawn by the lowest and the highest value of each bin."""
_MOST_SERIES, _MOST_CHANNELS, _MOST_ALARMS, _MOST_ROWS = 4, 6, 6, 100
_AROUND = 2
"""Windows before and after an alarm in its chart."""
_UNLIKELY = 1e-3
_MARGIN = {"l": 56, "r": 16, "t": 12, "b": 24}


class Stretch(NamedTuple):
    """One of the series, in the order of time."""

    name: str
    rows: np.ndarray
    """(n,), the numbers of its rows among those given."""
    at: list[object]
    """The time of each row, or its number."""
    blocks: tuple[np.ndarray, ...]
    """Its rows in whole blocks as long as a window, as places."""


class Alarmed(NamedTuple):
    """An alarm."""

    stretch: int
    """The number of its series."""
    first: int
    last: int
    """Its first and last row, as places in the series."""
    score: float
    p_value: float
    channel: int


@dataclass(frozen=True, eq=False)
class SeriesData:
    """The numbers of a report of a detector of series."""

    name: str
    n_samples: int
    window: int
    false_alarm_rate: float
    maxima: np.ndarray
    """(B,), the highest scores of the calibration blocks."""
    threshold: float
    channels: tuple[str, ...]
    stretches: tuple[Stretch, ...]
    values: np.ndarray
    """(n, channels), in the user's units."""
    expected: np.ndarray
    """(n, channels), in the user's units."""
    scores: np.ndarray | None
    """(n,); None without rows."""
    alarms: tuple[Alarmed, ...]
    """The most unusual first."""
    table: pa.Table | None
    """The alarms, as from `SeriesDetector.alarms`."""
    block_p: np.ndarray
    """The p-value of each whole block of the report's rows."""
    version: str

    @property
    def shown(self) -> list[int]:
        """The series to draw: those with the most unusual alarms first."""
        order = dict.fromkeys([*(one.stretch for one in self.alarms), *range(len(self.stretches))])
        return list(order)[:_MOST_SERIES]

    def channels_of(self, i: int) -> list[int]:
        """Return the channels of a series to draw, in their order: those of its alarms first, if there are many."""
        order = dict.fromkeys([*(one.channel for one in self.alarms if one.stretch == i), *range(len(self.channels))])
        return sorted(list(order)[: _MOST_CHANNELS if len(self.stretches) == 1 else 2])

    @property
    def n_alarmed_blocks(self) -> int:
        """Number of blocks with a flagged row."""
        return int((self.block_p <= self.false_alarm_rate).sum())


def collect(
    detector: FittedSeriesDetector, rows: SeriesRows | None = None, alarms: pa.Table | None = None
) -> SeriesData:
    """Compute the numbers of the report of a detector of series, with the alarms of the rows."""
    names = tuple(map(str, detector.input_.labels)) if detector.input_.names else tuple(
        f"channel {i}" for i in range(detector.input_.n_features)
    )  # fmt: skip
    none = np.empty((0, len(names)))
    common = (
        type(detector).__name__, detector.n_samples_, detector.window_, detector.false_alarm_rate,
        detector.calibration_maxima_, -detector.offset_, names,
    )  # fmt: skip
    version = files.versions()["diabolo"]
    if rows is None:
        return SeriesData(*common, (), none, none, None, (), None, np.empty(0), version)
    model = detector.series_model_
    scores = model.scores(model.energies(rows))
    stretches = tuple(_stretches(rows, detector.window_))
    p_values = detector.p_values_from_scores(scores)
    of_blocks = [p_values[one.rows[some]].min() for one in stretches for some in one.blocks]
    values = np.concatenate(rows.segments)[rows.place]
    return SeriesData(
        *common, stretches, values, model.expected(rows), scores,
        () if alarms is None else tuple(_alarmed(rows, stretches, alarms, names)), alarms, np.array(of_blocks), version,
    )  # fmt: skip


def _stretches(rows: SeriesRows, length: int) -> Iterator[Stretch]:
    """Yield the series in the order of time."""
    order, number, names = rows.order, np.zeros(len(rows.place), int), [""]
    if rows.keys is not None:
        keys = list(zip(*(cells.to_pylist() for cells in rows.keys.values()), strict=True))
        of_key = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        number = np.array([of_key[key] for key in keys])
        names = [", ".join(f"{name} {cell}" for name, cell in zip(rows.keys, key, strict=True)) for key in of_key]
    elif rows.series is not None:
        number = rows.series
        names = [f"series {i}" for i in range(int(number.max()) + 1)]
    for i, name in enumerate(names):
        own = order[number[order] == i]
        at = own.tolist() if rows.times is None else rows.times.take(pa.array(own)).to_pylist()
        of_block = rows.place[own] // length
        cuts = np.flatnonzero(np.diff(of_block)) + 1
        blocks = [some for some in np.split(np.arange(len(own)), cuts) if len(some) >= length / 2]
        yield Stretch(name, own, at, tuple(blocks))


def _alarmed(
    rows: SeriesRows, stretches: tuple[Stretch, ...], alarms: pa.Table, names: tuple[str, ...]
) -> Iterator[Alarmed]:
    """Yield the alarms as places in their series."""
    columns = alarms.to_pydict()
    labels: list[object] = list(rows.names) if rows.names is not None else list(range(rows.n_channels))
    for i in range(len(alarms)):
        key = ", ".join(f"{name} {columns[name][i]}" for name in rows.keys or ())
        key = (
            f"series {columns['series'][i]}"
            if "series" in columns and rows.keys is None and rows.series is not None
            else key
        )
        stretch = next(j for j, one in enumerate(stretches) if one.name == key)
        at = stretches[stretch].at
        first, last = at.index(columns["start"][i]), at.index(columns["end"][i])
        channel = labels.index(columns["channel"][i])
        yield Alarmed(stretch, first, last, columns["score"][i], columns["p_value"][i], channel)


# -- findings ---------------------------------------------------------------------------------------------------------


def diagnose(e: SeriesData) -> list[Finding]:
    """Return what is wrong with the detector or its series, serious findings first."""
    found = []
    if e.scores is not None and len(e.block_p):
        n, alarmed = len(e.block_p), e.n_alarmed_blocks
        if binom.sf(alarmed - 1, n, e.false_alarm_rate) < _UNLIKELY and alarmed > 2 * e.false_alarm_rate * n:
            found.append(
                Finding(
                    "More alarms than normal series would give",
                    f"{alarmed:,} of {n:,} blocks of {e.window:,} steps hold a flagged row ({alarmed / n:.1%}); of "
                    f"normal ones, about {e.false_alarm_rate:.1%} would.",
                    "The series hold anomalies, or differ from the training series as a whole: look at the charts. If "
                    "all differ, fit the detector to recent data.",
                )
            )
        if unscored := int((e.scores == 0).sum()):
            found.append(
                Finding(
                    "Rows without a score",
                    f"{unscored:,} of {len(e.scores):,} rows are in no window with half of its cells known.",
                    "Give more rows around them, or a smaller window.",
                )
            )
    if len(e.maxima) * e.false_alarm_rate < 1:
        found.append(
            Finding(
                "Threshold beyond the calibration",
                f"{len(e.maxima):,} calibration blocks hold no event as rare as {e.false_alarm_rate:.2%} of blocks: "
                "the threshold follows from a power-law tail.",
                f"For a threshold between observed scores, fit to {int(np.ceil(1 / e.false_alarm_rate)) * e.window:,} "
                "steps or more, or raise false_alarm_rate.",
            )
        )
    return found


# -- the page ---------------------------------------------------------------------------------------------------------


def tiles(e: SeriesData) -> str:
    """Return the figures of merit as the entries of a definition list."""
    shown = [
        ("training rows", f"{e.n_samples:,}"),
        ("window, steps", f"{e.window:,}"),
        ("calibration blocks", f"{len(e.maxima):,}"),
        ("false alarms per block, expected", f"{e.false_alarm_rate:.3g}"),
        ("threshold", f"{e.threshold:.3g}"),
    ]
    if e.scores is not None:
        shown.append(("alarms", f"{len(e.alarms):,}"))
        shown.append(("blocks with a flagged row", f"{e.n_alarmed_blocks:,} of {len(e.block_p):,}"))
    return tile_list(shown)


def render(e: SeriesData, title: str = "") -> str:
    """Return the page as HTML."""
    page, found = Page(), diagnose(e)
    checked = (
        "alarms, rows and calibration" if e.scores is not None else "the calibration only, since no rows were given"
    )
    page.section("findings", "Findings", findings_lead(checked, found), findings_list(found))
    if e.scores is not None:
        charts = [
            page.chart(_caption(e, i, channel), _series(e, i, channel)) for i in e.shown for channel in e.channels_of(i)
        ]
        some = [
            f"{shown} of {n:,} {what}"
            for shown, n, what in (
                (len(e.shown), len(e.stretches), "series"),
                (len(e.channels_of(e.shown[0])), len(e.channels), "channels"),
            )
            if shown < n
        ]
        part = f" The page shows {' and '.join(some)}: those with the most unusual alarms." if some else ""
        page.section(
            "series",
            "Series",
            f"The values, what was expected from normal windows, and the alarms (shaded).{part}",
            grid(charts, "stack"),
        )
        page.section(
            "scores",
            "Scores",
            "A score of 1 is that of the median normal row. Rows above the threshold are flagged. Rows near an event "
            "are flagged with it, since their windows hold it.",
            grid([page.chart(_caption(e, i), _scores(e, i)) for i in e.shown], "stack"),
        )
        if e.alarms:
            page.section(
                "alarms",
                "Alarms",
                "The most unusual first. A p-value is the probability that normal data has a score as high within a "
                "window's time; the channel is the one that contributes most.",
                grid([page.chart(_name(e, one), _around(e, one)) for one in e.alarms[:_MOST_ALARMS]]),
                _table(e),
            )
    page.section(
        "calibration",
        "Calibration",
        "The highest scores of blocks as long as a window. About a share α of normal blocks reaches the threshold; "
        "blocks far above it are events."
        + (" P-values of normal blocks follow the diagonal or stay below it." if e.scores is not None else ""),
        grid(
            [page.chart("Highest scores of blocks", _maxima(e))]
            + ([page.chart("P-values of blocks", _p_values(e))] if e.scores is not None else [])
        ),
    )
    rows = "" if e.scores is None else f"Computed on {len(e.scores):,} rows of {len(e.stretches):,} series."
    return document(page, title or e.name, rows, tiles(e), e.version)


def _caption(e: SeriesData, i: int, channel: int | None = None) -> str:
    parts = (e.stretches[i].name, "" if channel is None else e.channels[channel])
    return ": ".join(part for part in parts if part) or "Score"


def _name(e: SeriesData, one: Alarmed) -> str:
    at = e.stretches[one.stretch].at
    where = f"{e.stretches[one.stretch].name}, " if e.stretches[one.stretch].name else ""
    return f"{where}{_text(at[one.first])} to {_text(at[one.last])}, {e.channels[one.channel]}: p = {one.p_value:.2g}"


def _text(cell: object) -> str:
    return cell.isoformat(" ") if isinstance(cell, datetime) else str(cell)


def _axis(at: list[object], places: np.ndarray) -> list[object]:
    """Return times as Plotly reads them."""
    return [at[i].isoformat() if isinstance(at[i], date) else at[i] for i in places]


def _thinned(values: np.ndarray) -> np.ndarray:
    """Return the places of the lowest and the highest value of each bin of a long line, in order."""
    n = len(values)
    if n <= _MOST_POINTS:
        return np.arange(n)
    edges = np.linspace(0, n, _MOST_POINTS // 2 + 1).astype(int)
    filled = np.nan_to_num(values, nan=float(np.nanmedian(values)) if not np.isnan(values).all() else 0.0)
    found = [
        place
        for first, end in pairwise(edges)
        for place in sorted({first + int(filled[first:end].argmin()), first + int(filled[first:end].argmax())})
    ]
    return np.array(found)


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.6g}") for value in values]


def _draw(figure: go.Figure, e: SeriesData, i: int, channel: int, places: np.ndarray) -> None:
    """Draw the values and the expected values of some rows of a series."""
    stretch = e.stretches[i]
    for source, name, color, width in ((e.expected, "expected", SECOND, 1.2), (e.values, "observed", FIRST, 1.4)):
        line = source[stretch.rows[places], channel]
        some = _thinned(line)
        figure.add_scatter(
            x=_axis(stretch.at, places[some]), y=_known(line[some]), name=name, mode="lines",
            line={"color": color, "width": width},
        )  # fmt: skip


def _shade(figure: go.Figure, e: SeriesData, i: int, channel: int | None = None) -> None:
    at = e.stretches[i].at
    for one in e.alarms[:_MOST_ROWS]:
        if one.stretch == i and channel in (None, one.channel):
            ends = _axis(at, np.array([max(one.first - 1, 0), min(one.last + 1, len(at) - 1)]))
            figure.add_vrect(x0=ends[0], x1=ends[1], fillcolor="#cc3311", opacity=0.28, line_width=0, layer="below")


def _series(e: SeriesData, i: int, channel: int) -> go.Figure:
    figure = blank("", "", height=210, margin=_MARGIN)
    _draw(figure, e, i, channel, np.arange(len(e.stretches[i].rows)))
    _shade(figure, e, i, channel)
    return figure


def _around(e: SeriesData, one: Alarmed) -> go.Figure:
    figure, n = blank("", "", height=210, margin=_MARGIN), len(e.stretches[one.stretch].rows)
    first, last = max(0, one.first - _AROUND * e.window), min(n, one.last + 1 + _AROUND * e.window)
    _draw(figure, e, one.stretch, one.channel, np.arange(first, last))
    at = e.stretches[one.stretch].at
    x0, x1 = _axis(at, np.array([max(one.first - 1, 0), min(one.last + 1, n - 1)]))
    figure.add_vrect(x0=x0, x1=x1, fillcolor="#cc3311", opacity=0.28, line_width=0, layer="below")
    return figure


def _scores(e: SeriesData, i: int) -> go.Figure:
    assert e.scores is not None
    stretch = e.stretches[i]
    line = np.maximum(e.scores[stretch.rows], 1e-3)
    some = _thinned(line)
    figure = blank("", "score", height=210, margin=_MARGIN)
    figure.add_scatter(
        x=_axis(stretch.at, some), y=_known(line[some]), name="score", mode="lines", line={"color": FIRST, "width": 1.4}
    )
    figure.add_hline(y=e.threshold, line={"dash": "dash", "width": 1.5, "color": "#888"})
    figure.add_annotation(
        x=0, xref="paper", y=np.log10(e.threshold), text="threshold", showarrow=False, xanchor="left", yanchor="bottom"
    )
    figure.update_yaxes(type="log", tickformat="~g")
    _shade(figure, e, i)
    return figure


def _table(e: SeriesData) -> str:
    assert e.table is not None
    names = e.table.column_names
    rows = [[_cell(name, cell) for name, cell in row.items()] for row in e.table.slice(0, _MOST_ROWS).to_pylist()]
    rest = f"The {_MOST_ROWS} most unusual of {len(e.table):,} alarms" if len(e.table) > _MOST_ROWS else ""
    return table([name.replace("_", "-") for name in names], rows, rest)


def _cell(name: str, cell: object) -> str:
    return f"{cell:.2g}" if name == "p_value" else f"{cell:.4g}" if isinstance(cell, float) else _text(cell)


def _maxima(e: SeriesData) -> go.Figure:
    own = np.empty(0)
    if e.scores is not None:
        own = np.array([e.scores[one.rows[some]].max() for one in e.stretches for some in one.blocks])
    every = np.log10(np.maximum(np.concatenate([e.maxima, own]), 1e-3))
    edges = np.linspace(every.min() - 1e-3, max(every.max(), np.log10(min(e.threshold, 1e6))) + 1e-3, 41)
    figure = blank("highest score of a block", "share of the blocks", height=320)
    for values, name, color in ((e.maxima, "calibration blocks", FIRST), (own, "blocks of the report", SECOND)):
        if len(values):
            heights = np.histogram(np.log10(np.maximum(values, 1e-3)), edges)[0] / len(values)
            middles = (edges[1:] + edges[:-1]) / 2
            figure.add_bar(x=middles, y=heights, name=name, marker={"color": color}, opacity=0.65, width=np.diff(edges))
    decades = np.arange(np.floor(edges[0]), np.ceil(edges[-1]) + 1)
    ticks = [t for decade in decades for t in decade + np.log10([1, 2, 5]) if edges[0] <= t <= edges[-1]]
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{10**t:.3g}" for t in ticks])
    if e.threshold < 1e6:
        figure.add_vline(x=np.log10(e.threshold), line={"dash": "dash", "width": 1.5, "color": "#888"})
        figure.add_annotation(
            x=np.log10(e.threshold), y=1, yref="paper", text="threshold", showarrow=False, xanchor="left"
        )
    figure.update_layout(barmode="overlay")
    return figure


def _p_values(e: SeriesData) -> go.Figure:
    levels = np.geomspace(1 / (len(e.maxima) + 1), 1, 120)
    shares = np.searchsorted(np.sort(e.block_p), levels * (1 + 1e-9), side="right") / max(len(e.block_p), 1)
    figure = blank("p-value", "share of blocks up to this p-value", height=320)
    figure.add_scatter(x=levels, y=levels, name="normal blocks", mode="lines", line={"color": "#888", "dash": "dash"})
    figure.add_scatter(
        x=levels, y=shares, name="blocks of the report", mode="lines", line={"color": SECOND, "width": 2}
    )
    figure.update_xaxes(type="log", tickvals=[a * 10.0**-b for b in range(6) for a in (1, 2, 5)], tickformat="~g")
    return figure
