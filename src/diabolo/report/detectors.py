"""Report a fitted anomaly detector: scores and threshold, calibration, and the most unusual rows with reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from scipy.stats import binom

from ..data.frames import to_arrow
from ..data.types import Frame, RowsLike
from ..persistence import files
from ..persistence.fitted import FittedDetector
from .diagnostics.finding import Finding
from .figures import blank
from .layout import Page, document, findings_lead, findings_list, grid, table, tile_list
from .style import FIRST, SECOND

__all__ = ["DetectorData", "collect", "diagnose", "render", "tiles"]

_MOST_WORST, _REASONS = 30, 3
_MOST_COLUMNS = 20
_UNLIKELY = 1e-3
"""A number of alarms that is less probable than this is more than chance."""


@dataclass(frozen=True, eq=False)
class Reason:
    """One of the worst rows, with the columns that contribute most to its score."""

    row: int
    """Its number, from 1."""
    score: float
    p_value: float
    columns: tuple[tuple[str, str, str, float], ...]
    """Name, observed value, expected value, and share of the score of each column."""


@dataclass(frozen=True, eq=False)
class DetectorData:
    """The numbers of a detector's report."""

    name: str
    n_samples: int
    false_alarm_rate: float
    contaminated: bool
    calibration: np.ndarray
    """(n,), the scores of the calibration rows, ascending."""
    threshold: float | None
    """None: there are too few calibration rows to flag any."""
    scores: np.ndarray | None
    """(n,), the scores of the report's rows."""
    p_values: np.ndarray | None
    by_column: tuple[tuple[str, float], ...]
    """The mean share of each column in the scores of the flagged rows, or of the worst if none is; largest first."""
    worst: tuple[Reason, ...]
    version: str

    @property
    def n_flagged(self) -> int:
        """Number of flagged rows of the report."""
        if self.scores is None or self.threshold is None:
            return 0
        return int((self.scores > self.threshold).sum())


def collect(detector: FittedDetector, X: RowsLike | None = None) -> DetectorData:
    """Compute the numbers of the report of a detector, on rows of its columns."""
    scores = p_values = None
    by_column: tuple[tuple[str, float], ...] = ()
    worst: tuple[Reason, ...] = ()
    threshold = -detector.offset_ if detector.can_flag_ else None
    if X is not None:
        why = detector.explain(X)
        scores, p_values = why.scores, detector.p_values_from_scores(why.scores)
        shares = why.contributions / np.maximum(why.scores, 1e-12)[:, None]
        names = [str(name) for name in why.columns]
        order = np.argsort(-scores, kind="stable")[:_MOST_WORST]
        observed, expected = _texts(why.observed, order), _texts(why.expected, order)
        worst = tuple(
            Reason(int(row) + 1, float(scores[row]), float(p_values[row]), tuple(
                (names[j], observed[i][j], expected[i][j], float(shares[row, j]))
                for j in np.argsort(-shares[row], kind="stable")[:_REASONS]
            ))
            for i, row in enumerate(order)
        )  # fmt: skip
        chosen = scores > threshold if threshold is not None and (scores > threshold).any() else order
        mean = shares[chosen].mean(axis=0)
        by_column = tuple((names[j], float(mean[j])) for j in np.argsort(-mean, kind="stable")[:_MOST_COLUMNS])
    return DetectorData(
        type(detector).__name__, detector.n_samples_, detector.false_alarm_rate, detector.contaminated,
        detector.calibration_scores_, threshold, scores, p_values, by_column, worst, files.versions()["diabolo"],
    )  # fmt: skip


def _texts(rows: Frame, order: np.ndarray) -> list[list[str]]:
    """Return the cells of some rows as texts."""
    arrow = to_arrow(rows)
    if arrow is None:
        return [[_text(cell) for cell in np.asarray(rows)[i]] for i in order]
    return [[_text(cell) for cell in row.values()] for row in arrow.take(order).to_pylist()]


def _text(cell: object) -> str:
    if cell is None or (isinstance(cell, float | np.floating) and np.isnan(cell)):
        return "missing"
    return f"{cell:.4g}" if isinstance(cell, float | np.floating) else str(cell)


# -- findings ---------------------------------------------------------------------------------------------------------


def diagnose(e: DetectorData) -> list[Finding]:
    """Return what is wrong with the detector or its rows, serious findings first."""
    found = []
    if e.threshold is None:
        least = int(np.ceil(1 / e.false_alarm_rate)) - 1
        found.append(
            Finding(
                "No row can be flagged",
                f"There are {len(e.calibration):,} calibration rows; {least:,} are needed at this false-alarm rate.",
                "Give more rows, or raise false_alarm_rate.",
                serious=True,
            )
        )
    if e.scores is not None and e.threshold is not None:
        n, flagged = len(e.scores), e.n_flagged
        if binom.sf(flagged - 1, n, e.false_alarm_rate) < _UNLIKELY and flagged > 2 * e.false_alarm_rate * n:
            found.append(
                Finding(
                    "More alarms than normal rows would give",
                    f"{flagged:,} of {n:,} rows are flagged ({flagged / n:.1%}); of normal rows, at most "
                    f"{e.false_alarm_rate:.1%} are.",
                    "The rows hold anomalies, or they all differ from the training rows: compare the columns of the "
                    "worst rows. If all differ, fit the detector to recent rows.",
                )
            )
        alike = np.unique(e.scores[np.argsort(-e.scores)[: max(flagged, 1)]])
        if flagged >= 20 and len(alike) < flagged / 4:
            found.append(
                Finding(
                    "The same row many times",
                    f"{flagged:,} flagged rows have {len(alike):,} distinct scores.",
                    "Look for repeated rows, for example a default value or a failed sensor.",
                )
            )
    return sorted(found, key=lambda one: not one.serious)


# -- the page ---------------------------------------------------------------------------------------------------------


def tiles(e: DetectorData) -> str:
    """Return the figures of merit as the entries of a definition list."""
    shown = [
        ("training rows" + (", may hold anomalies" if e.contaminated else ""), f"{e.n_samples:,}"),
        ("calibration rows", f"{len(e.calibration):,}"),
        ("false-alarm rate, at most", f"{e.false_alarm_rate:.3g}"),
        ("threshold, nats", "–" if e.threshold is None else f"{e.threshold:.3g}"),
    ]
    if e.scores is not None:
        shown.append(("rows flagged", f"{e.n_flagged:,} of {len(e.scores):,} ({e.n_flagged / len(e.scores):.1%})"))
    return tile_list(shown)


def render(e: DetectorData, title: str = "") -> str:
    """Return the page as HTML."""
    page, found = Page(), diagnose(e)
    checked = "scores, threshold and rows" if e.scores is not None else "the threshold only, since no rows were given"
    page.section("findings", "Findings", findings_lead(checked, found), findings_list(found))
    scores = (
        "About one normal row in exp(score) has at least this score. Rows to the right of the threshold are flagged."
    )
    page.section("scores", "Scores", scores, page.chart("Share of the rows by score", _histogram(e)))
    if e.scores is not None:
        page.section(
            "columns",
            "Columns and calibration",
            "The columns that cause the alarms; and how many rows have at most each p-value. Normal rows follow the "
            "diagonal or stay below it. Anomalies lie above it at the left.",
            grid(
                [page.chart("Share of each column in the scores", _columns(e)), page.chart("P-values", _calibration(e))]
            ),
        )
        page.section("worst", "Most unusual rows", "With the columns that contribute most to the score.", _worst(e))
    rows = "" if e.scores is None else f"Computed on {len(e.scores):,} rows."
    return document(page, title or e.name, rows, tiles(e), e.version)


def _histogram(e: DetectorData) -> go.Figure:
    known = e.calibration if e.scores is None else np.concatenate([e.calibration, e.scores])
    edges = np.linspace(0, max(float(np.quantile(known, 0.999)), e.threshold or 0.0) * 1.05, 61)
    figure = blank("anomaly score, nats", "share of the rows", height=300)
    for values, name, color in ((e.calibration, "calibration rows", FIRST), (e.scores, "rows of the report", SECOND)):
        if values is not None:
            heights = np.histogram(np.minimum(values, edges[-1]), edges)[0] / len(values)
            middles = (edges[1:] + edges[:-1]) / 2
            figure.add_bar(x=middles, y=heights, name=name, marker={"color": color}, opacity=0.65, width=np.diff(edges))
    figure.update_layout(barmode="overlay")
    figure.update_yaxes(type="log", tickformat="~g")
    if e.threshold is not None:
        figure.add_vline(x=e.threshold, line={"dash": "dash", "width": 1.5, "color": "#888"})
        figure.add_annotation(x=e.threshold, y=1, yref="paper", text="threshold", showarrow=False, xanchor="left")
    return figure


def _columns(e: DetectorData) -> go.Figure:
    figure = blank("mean share of the score", "", height=110 + 20 * len(e.by_column))
    shown = e.by_column[::-1]
    figure.add_bar(
        x=[share for _, share in shown], y=[name for name, _ in shown], orientation="h", marker={"color": FIRST}
    )
    figure.update_layout(yaxis={"title": {"text": ""}, "type": "category", "dtick": 1})
    return figure


def _calibration(e: DetectorData) -> go.Figure:
    assert e.p_values is not None
    levels = np.geomspace(1 / (len(e.calibration) + 1), 1, 120)
    shares = np.searchsorted(np.sort(e.p_values), levels * (1 + 1e-9), side="right") / len(e.p_values)
    figure = blank("p-value", "share of rows up to this p-value", height=360)
    figure.add_scatter(x=levels, y=levels, name="normal rows", mode="lines", line={"color": "#888", "dash": "dash"})
    figure.add_scatter(x=levels, y=shares, name="rows of the report", mode="lines", line={"color": SECOND, "width": 2})
    figure.update_xaxes(type="log", tickvals=[a * 10.0**-b for b in range(6) for a in (1, 2, 5)], tickformat="~g")
    return figure


def _worst(e: DetectorData) -> str:
    lines = [
        (f"{one.row:,}", f"{one.score:.3g}", f"{one.p_value:.2g}",
         "yes" if e.threshold is not None and one.score > e.threshold else "no",
         *(f"{name} {seen}, expected {expected} ({share:.0%})" for name, seen, expected, share in one.columns),
         *("",) * (_REASONS - len(one.columns)))
        for one in e.worst
    ]  # fmt: skip
    return table(("row", "score", "p-value", "flagged", "first reason", "second reason", "third reason"), lines)
