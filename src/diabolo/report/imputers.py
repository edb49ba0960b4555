"""Report a fitted imputer: errors of each column in hidden cells beside simple answers, and coverage of intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from scipy.stats import binom

from ..data.schema import Schema
from ..data.types import RowsLike
from ..persistence import files
from ..persistence.fitted import Columns, FittedImputer
from .diagnostics.finding import Finding, listed
from .figures import as_dates, blank
from .layout import Page, document, findings_lead, findings_list, grid, table, tile_list
from .rows import groups_of, names_of, sample_rows
from .style import FIRST, SECOND, THIRD

__all__ = ["ColumnErrors", "ImputerData", "collect", "diagnose", "render", "tiles"]

_ROUNDS = 10
"""Each known cell is hidden in one of these rounds."""
_COVERAGE = 0.9
_FEWEST_CELLS = 50
"""Findings about a column need at least this many hidden cells."""
_UNLIKELY, _NARROW = 1e-3, 0.05
"""A coverage that is less probable than the first by chance, and lower than asked by the second, is too low."""
_WORSE = 0.05
"""Errors above those of the mean by this share are a finding."""
_MOST_CHARTS, _MOST_POINTS, _MOST_BARS = 6, 500, 40


@dataclass(frozen=True, eq=False)
class ColumnErrors:
    """The errors of one column in hidden cells."""

    name: str
    kind: str
    n_missing: int
    """Number of missing cells of the report's rows."""
    truth: np.ndarray
    """(m,), the hidden cells in the column's units; for a category, the place of its value."""
    imputed: np.ndarray
    """(m,), their imputed values."""
    error: float
    """Root of the mean squared error, in the column's units; for categories and booleans, the share of wrong cells."""
    linear: float | None
    """The same of the best linear prediction from the known cells; None if the model has none."""
    mean: float
    """The same of the column's mean, or of its most frequent value."""
    coverage: float | None
    """Share of hidden cells in their 90 % interval; None for categories and booleans."""
    width: float | None
    """Median width of these intervals, in the column's units."""

    @property
    def is_number(self) -> bool:
        """Whether cells have an order."""
        return self.coverage is not None

    def explained(self, error: float | None) -> float | None:
        """Return the share of the mean's error that is avoided: of squared errors, or of wrong cells."""
        if error is None or not self.mean:
            return None
        ratio = error / self.mean
        return 1 - (ratio**2 if self.is_number else ratio)


@dataclass(frozen=True, eq=False)
class ImputerData:
    """The numbers of an imputer's report."""

    name: str
    n_samples: int
    n_calibration: int
    parts: tuple[tuple[str, float, float], ...]
    """The share of the Gaussian and of the networks in each column's imputed value; the rest is the mean's."""
    n_rows: int
    n_given: int
    columns: tuple[ColumnErrors, ...]
    """Empty without rows."""
    needed: np.ndarray
    """(m,), the lowest coverage whose interval holds the cell, of all hidden cells with an order, sorted."""
    version: str

    @property
    def numbers(self) -> list[ColumnErrors]:
        """The columns with an order."""
        return [one for one in self.columns if one.is_number]

    def coverage(self, level: float) -> float:
        """Return the share of hidden cells in their interval of this coverage."""
        return float(np.searchsorted(self.needed, level + 1e-9, side="right") / max(len(self.needed), 1))

    @property
    def explained(self) -> float | None:
        """The mean over columns of the share of the mean's error that is avoided."""
        known = [found for one in self.columns if (found := one.explained(one.error)) is not None]
        return float(np.mean(known)) if known else None


def collect(imputer: FittedImputer, X: RowsLike | None = None, *, seed: int = 0) -> ImputerData:
    """Hide each known cell of the rows once, impute it, and compare."""
    columns, blend = imputer.input_, imputer.blend_
    names, groups = names_of(columns), groups_of(columns)
    linear, networks = blend.linear_share * (1 - blend.network_share), blend.network_share
    parts = tuple(
        (name, float(linear[at.start]), float(networks[at.start])) for name, at in zip(names, groups, strict=True)
    )
    found: tuple[ColumnErrors, ...] = ()
    needed, n_rows, n_given = np.empty(0), 0, 0
    if X is not None:
        sample = sample_rows(columns, X, seed)
        n_rows, n_given = len(sample.rows), sample.n_given
        found, needed = _errors(imputer, sample.rows.astype(np.float64), names, groups, seed)
    return ImputerData(
        type(imputer).__name__, imputer.n_samples_, len(imputer.conformal_scores_), parts, n_rows, n_given, found,
        np.sort(needed), files.versions()["diabolo"],
    )  # fmt: skip


def _errors(
    imputer: FittedImputer, rows: np.ndarray, names: Sequence[str], groups: Sequence[slice], seed: int
) -> tuple[tuple[ColumnErrors, ...], np.ndarray]:
    """Return the errors of each column, and the coverage that each hidden cell with an order needs."""
    form, blend, scores = imputer.input_.schema or imputer.input_.cells, imputer.blend_, imputer.conformal_scores_
    first = np.array([at.start for at in groups])
    is_known = ~np.isnan(rows)
    column = np.repeat(np.arange(len(groups)), [at.stop - at.start for at in groups])[np.argsort(_features(groups))]
    round_of = np.random.default_rng([seed, 12]).integers(_ROUNDS, size=(len(rows), len(groups)))[:, column]
    imputed, linear, unit = np.full(rows.shape, np.nan), np.full(rows.shape, np.nan), np.full(rows.shape, np.nan)
    for i in range(_ROUNDS):
        hidden = is_known & (round_of == i)
        visible = np.where(hidden, np.nan, rows)
        expected, error = imputer.filler_.judged(visible)
        imputed[hidden], unit[hidden] = expected[hidden], error[hidden]
        if blend.has_linear:
            linear[hidden] = blend.linear(visible)[hidden]
    center = blend.mean if blend.has_linear else _known_mean(rows)
    answers = [_as_written(form, some) for some in (imputed, linear, np.where(is_known, center, np.nan))]
    found, every = [], []
    for name, at, start, kind in zip(names, groups, first, _kinds(imputer.input_), strict=True):
        some = is_known[:, start]
        has_order = kind in ("number", "count", "date")
        truth, *each = (_cells(values[some, at], kind) for values in (rows, *answers))
        errors = [_error(truth, one, has_order) for one in each]
        coverage = width = None
        if has_order:
            with np.errstate(divide="ignore", invalid="ignore"):
                off = np.nan_to_num(np.abs(rows[some, start] - imputed[some, start]) / unit[some, start], posinf=np.inf)
            needed = (np.searchsorted(scores, off, side="left") + 1) / (len(scores) + 1)
            rank = int(np.ceil((len(scores) + 1) * _COVERAGE - 1e-9))
            reach = scores[rank - 1] if rank <= len(scores) else np.inf
            coverage = float((off <= reach).mean()) if len(off) else np.nan
            width = float(np.median(2 * unit[some, start] * reach)) if len(off) else np.nan
            every.append(needed)
        n_missing = int((~some).sum())
        found.append(
            ColumnErrors(
                name, kind, n_missing, truth, each[0], errors[0], errors[1] if blend.has_linear else None, errors[2],
                coverage, width,
            )
        )  # fmt: skip
    return tuple(found), np.concatenate(every) if every else np.empty(0)


def _features(groups: Sequence[slice]) -> np.ndarray:
    """Return the features of all columns, one column after another."""
    return np.concatenate([np.arange(at.start, at.stop) for at in groups])


def _kinds(columns: Columns) -> list[str]:
    return ["number"] * columns.n_features if columns.schema is None else [one.kind for one in columns.schema.used]


def _known_mean(rows: np.ndarray) -> np.ndarray:
    known = ~np.isnan(rows)
    total: np.ndarray = np.where(known, rows, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return total


def _as_written(form: Schema | None, rows: np.ndarray) -> np.ndarray:
    """Return encoded values as `transform` writes them: integers are rounded, a category is the most probable one."""
    return rows if form is None else form.encode(form.decode(rows)).astype(np.float64)


def _cells(features: np.ndarray, kind: str) -> np.ndarray:
    """Return one number for each cell, (m,): the place of a category, or the value."""
    return np.nan_to_num(features).argmax(axis=1).astype(np.float64) if kind == "category" else features[:, 0]


def _error(truth: np.ndarray, found: np.ndarray, has_order: bool) -> float:
    if not len(truth):
        return float("nan")
    return float(np.sqrt(np.square(truth - found).mean()) if has_order else (truth != found).mean())


# -- findings ---------------------------------------------------------------------------------------------------------


def diagnose(e: ImputerData) -> list[Finding]:
    """Return what is wrong with the imputer or its rows, serious findings first."""
    found = []
    least = int(np.ceil(_COVERAGE / (1 - _COVERAGE) - 1e-9))
    if e.n_calibration < least:
        found.append(
            Finding(
                "Infinite intervals",
                f"There are {e.n_calibration:,} calibration cells; {least:,} are needed for intervals of 90 %.",
                "Fit to more rows, or ask for a lower coverage.",
                serious=True,
            )
        )
    elif len(e.needed) >= _FEWEST_CELLS:
        n, reached = len(e.needed), e.coverage(_COVERAGE)
        if reached < _COVERAGE - _NARROW and binom.cdf(round(reached * n), n, _COVERAGE) < _UNLIKELY:
            found.append(
                Finding(
                    "Intervals too narrow",
                    f"Intervals of 90 % hold {reached:.1%} of {n:,} hidden cells.",
                    "The rows differ from the training rows: compare the columns, and fit the imputer to recent rows.",
                    serious=True,
                )
            )
    worse = [
        one for one in e.columns
        if len(one.truth) >= _FEWEST_CELLS and (share := one.explained(one.error)) is not None and share < -_WORSE
    ]  # fmt: skip
    if worse:
        found.append(
            Finding(
                "Worse than the mean",
                f"The imputed values of {listed(one.name for one in worse)} have larger errors than the column's mean.",
                "The rows differ from the training rows, or a few extreme cells decide: look at the errors by column.",
            )
        )
    return found


# -- the page ---------------------------------------------------------------------------------------------------------


def tiles(e: ImputerData) -> str:
    """Return the figures of merit as the entries of a definition list."""
    shown = [("training rows", f"{e.n_samples:,}"), ("calibration cells", f"{e.n_calibration:,}")]
    if e.columns:
        shown.append(("hidden cells", f"{sum(len(one.truth) for one in e.columns):,}"))
        if e.explained is not None:
            shown.append(("error avoided, mean over columns", f"{e.explained:.1%}"))
        if len(e.needed):
            shown.append(("coverage of 90 % intervals", f"{e.coverage(_COVERAGE):.1%}"))
    return tile_list(shown)


def render(e: ImputerData, title: str = "") -> str:
    """Return the page as HTML."""
    page, found = Page(), diagnose(e)
    checked = "intervals and columns" if e.columns else "the calibration only, since no rows were given"
    page.section("findings", "Findings", findings_lead(checked, found), findings_list(found))
    if e.columns:
        page.section(
            "errors",
            "Errors by column",
            "Each known cell was hidden once and imputed from the other cells of its row. The share of the error that "
            "is avoided is 0 % for a column's mean (or most frequent value) and 100 % for exact values. Near 0 %, the "
            "other columns say little about this one, and no method can help. Cells that are missing for a reason can "
            "have larger errors than these.",
            page.chart("Share of the mean's error that is avoided", _explained(e)),
            _tables(e),
        )
        if len(e.needed):
            page.section(
                "intervals",
                "Prediction intervals",
                "How many hidden cells are in their interval. Calibrated intervals follow the diagonal: those of 90 % "
                "hold 90 % of the cells. Below it, intervals are too narrow; above, too wide.",
                grid([page.chart("Coverage", _coverage(e)), page.chart("Coverage of 90 % intervals", _by_column(e))]),
            )
        if charts := [page.chart(f"{one.name}, R² = {_r2(one):.2f}", _scatter(one)) for one in _shown(e)]:
            page.section(
                "values",
                "True and imputed values",
                "The columns whose errors are avoided most and least, in their units. Exact values lie on the line.",
                grid(charts),
            )
    page.section(
        "parts",
        "Parts",
        "An imputed value is a weighted mean of the column's mean, of the linear prediction by a Gaussian, and of the "
        "networks. Held-out cells chose the shares: a column that follows from no other has its mean.",
        page.chart("Share of each part in the imputed value", _parts(e)),
    )
    rows = "" if not e.columns else f"Computed on {e.n_rows:,} rows" + (
        f", a random sample of {e.n_given:,}." if e.n_rows < e.n_given else "."
    )  # fmt: skip
    return document(page, title or e.name, rows, tiles(e), e.version)


def _r2(one: ColumnErrors) -> float:
    return float(1 - np.square(one.truth - one.imputed).mean() / max(float(np.var(one.truth)), 1e-300))


def _shown(e: ImputerData) -> list[ColumnErrors]:
    """Return the columns with an order whose errors are avoided most, and least."""
    known = [one for one in e.numbers if len(one.truth) > 1 and one.mean > 0]
    known.sort(key=lambda one: -(one.explained(one.error) or 0.0))
    half = _MOST_CHARTS // 2
    return known if len(known) <= _MOST_CHARTS else [*known[:half], *known[-half:]]


def _scatter(one: ColumnErrors) -> go.Figure:
    at = np.linspace(0, len(one.truth) - 1, min(len(one.truth), _MOST_POINTS)).astype(int)
    ends, truth, imputed = np.array([one.truth.min(), one.truth.max()]), one.truth[at], one.imputed[at]
    if one.kind == "date":
        ends, truth, imputed = as_dates(ends), as_dates(truth), as_dates(imputed)
    figure = blank("true value", "imputed value", height=280, showlegend=False)
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": "#888", "dash": "dash"})
    figure.add_scatter(x=truth, y=imputed, mode="markers", marker={"color": FIRST, "size": 5, "opacity": 0.5})
    return figure


def _explained(e: ImputerData) -> go.Figure:
    known = [one for one in e.columns if one.explained(one.error) is not None]
    known.sort(key=lambda one: one.explained(one.error) or 0.0)
    known = known[-_MOST_BARS:]
    figure = blank("share of the error that is avoided", "", height=110 + 30 * len(known))
    for name, color, values in (
        ("linear prediction", "#999999", [one.explained(one.linear) for one in known]),
        ("imputer", FIRST, [one.explained(one.error) for one in known]),
    ):
        if any(value is not None for value in values):
            shown = [None if value is None else max(value, -1.0) for value in values]
            figure.add_bar(x=shown, y=[one.name for one in known], orientation="h", name=name, marker={"color": color})
    figure.update_xaxes(tickformat=".0%")
    figure.update_layout(
        yaxis={"title": {"text": ""}, "type": "category", "dtick": 1},
        barmode="group",
        legend={"traceorder": "reversed"},
    )
    return figure


def _tables(e: ImputerData) -> str:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.1%}"

    def row(one: ColumnErrors) -> list[object]:
        found: list[object] = [one.name, one.kind, f"{len(one.truth):,}", f"{one.n_missing:,}"]
        errors = (one.error, one.linear, one.mean)
        found += errors if one.is_number else [share(error) for error in errors]
        return [*found, share(one.explained(one.error))]

    names = ("hidden cells", "missing cells", "imputer", "linear", "mean", "error avoided")
    numbers, others = e.numbers, [one for one in e.columns if not one.is_number]
    blocks = []
    if numbers:
        head = ("column", "kind", *names, "90 % intervals hold", "median width")
        rows = [[*row(one), share(one.coverage), one.width] for one in numbers]
        text = "Root of the mean squared error, in the column's units; of dates, in days. Smaller is better"
        blocks.append(table(head, rows, text))
    if others:
        answers = ("column", "kind", *names[:-2], "most frequent value", names[-1])
        blocks.append(table(answers, [row(one) for one in others], "Share of wrong values. Smaller is better"))
    return "".join(blocks)


def _coverage(e: ImputerData) -> go.Figure:
    levels = np.linspace(0.02, 0.99, 98)
    figure = blank("asked coverage", "share of hidden cells in their interval", height=320)
    figure.add_scatter(x=levels, y=levels, name="calibrated", mode="lines", line={"color": "#888", "dash": "dash"})
    reached = [e.coverage(level) for level in levels]
    figure.add_scatter(x=levels, y=reached, name="hidden cells", mode="lines", line={"color": SECOND, "width": 2})
    return figure


def _by_column(e: ImputerData) -> go.Figure:
    shown = sorted(e.numbers, key=lambda one: -(one.coverage or 0.0))[-_MOST_BARS:]
    figure = blank("share of hidden cells in their interval", "", height=max(320, 90 + 20 * len(shown)))
    figure.add_scatter(
        x=[one.coverage for one in shown], y=[one.name for one in shown], mode="markers",
        marker={"color": SECOND, "size": 9},
    )  # fmt: skip
    figure.add_vline(x=_COVERAGE, line={"dash": "dash", "width": 1.5, "color": "#888"})
    figure.update_xaxes(range=[min(0.5, *(one.coverage or 0.0 for one in shown)) - 0.02, 1.02])
    figure.update_layout(yaxis={"title": {"text": ""}, "type": "category", "dtick": 1})
    return figure


def _parts(e: ImputerData) -> go.Figure:
    shown = e.parts[:_MOST_BARS][::-1]
    figure = blank("share", "", height=110 + 20 * len(shown))
    names = [name for name, *_ in shown]
    for name, color, values in (
        ("mean of the column", "#999999", [1 - linear - network for _, linear, network in shown]),
        ("linear prediction", THIRD, [linear for _, linear, _ in shown]),
        ("networks", FIRST, [network for *_, network in shown]),
    ):
        figure.add_bar(x=values, y=names, orientation="h", name=name, marker={"color": color})
    figure.update_layout(barmode="stack", yaxis={"title": {"text": ""}, "type": "category", "dtick": 1})
    return figure
