"""Report a fitted generator: generated beside real rows, by column, by pair of columns, and by nearest row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from ..data.types import RowsLike
from ..persistence import files
from ..persistence.fitted import Columns, FittedGenerator
from .diagnostics.finding import Finding, listed
from .figures import as_dates, blank
from .layout import Page, document, findings_lead, findings_list, grid, table, tile_list
from .rows import groups_of, names_of, sample_rows
from .style import FIRST, SECOND

__all__ = ["ColumnDistance", "GeneratorData", "collect", "diagnose", "render", "tiles"]

_MOST_NEIGHBOURS = 2_000
"""Rows of each kind for distances and for the forest."""
_FEWEST_ROWS = 50
"""The forest needs at least this many rows of each kind."""
_TREES, _LEAF = 100, 5
_USUAL, _RARE = 0.83, 1.95
"""Of the Kolmogorov distance of two samples of n equal rows, in units of √(2/n): its median, and its 0.1 % quantile."""
_FAR, _UNLIKE_PAIR, _APART = 0.1, 0.2, 0.75
"""A distance, a difference of correlations and an AUROC above these are findings."""
_MOST_CHARTS, _MOST_PAIRS, _MOST_BARS, _MOST_HEAT, _MOST_SHOWN = 9, 12, 40, 60, 8
_BINS = 30


@dataclass(frozen=True, eq=False)
class ColumnDistance:
    """One column of real and of generated rows."""

    name: str
    distance: float
    """Largest difference of the cumulative distributions, or half of the summed differences of the shares of values."""
    real: str
    generated: str
    """The median and the range of the middle 90 %, or the most frequent values."""
    labels: tuple[str, ...]
    """The values of a category or a boolean; empty for numbers."""
    edges: np.ndarray
    """The edges of the bins of numbers; of dates, in days since 1970."""
    is_date: bool
    shares: np.ndarray
    """(2, m), the share of real and of generated rows in each bin or with each value."""


@dataclass(frozen=True, eq=False)
class Pair:
    """The rank correlation of two columns."""

    first: str
    second: str
    real: float
    generated: float


@dataclass(frozen=True, eq=False)
class GeneratorData:
    """The numbers of a generator's report."""

    name: str
    n_samples: int
    n_rows: int
    """Number of real rows, and of generated rows; 0 without rows."""
    n_given: int
    columns: tuple[ColumnDistance, ...]
    """The largest distance first."""
    pairs: tuple[Pair, ...]
    """The pairs whose correlations differ most."""
    names: tuple[str, ...]
    correlations: np.ndarray
    """(2, m, m), of real and of generated rows, for the first columns or features."""
    to_real: np.ndarray
    """(n,), the distance of each generated row to the nearest real row, in standard deviations."""
    among_real: np.ndarray
    """(n,), the distance of each real row to the nearest other real row."""
    auroc: float | None
    """How well a forest tells generated from real rows; None for few rows."""
    head: tuple[str, ...]
    shown: tuple[tuple[str, ...], ...]
    """Some generated rows as texts."""
    version: str

    @property
    def usual_distance(self) -> float:
        """The median distance of a column between two samples of the same rows."""
        return _USUAL * float(np.sqrt(2 / max(self.n_rows, 1)))

    @property
    def ratio(self) -> float | None:
        """The median distance of generated rows to real rows, in units of that among real rows."""
        usual = float(np.median(self.among_real)) if len(self.among_real) else 0.0
        return float(np.median(self.to_real)) / usual if usual > 0 else None

    @property
    def n_copies(self) -> int:
        """Number of generated rows that equal a real row."""
        return int((self.to_real <= 0).sum())


def collect(generator: FittedGenerator, X: RowsLike | None = None, *, seed: int = 0) -> GeneratorData:
    """Generate as many rows as are given, at most 5,000, and compare."""
    columns = generator.input_
    names, groups = names_of(columns), groups_of(columns)
    sample = None if X is None else sample_rows(columns, X, seed)
    n = _MOST_SHOWN if sample is None else len(sample.rows)
    new = np.asarray(columns.open(generator.sample(n, random_state=seed)), np.float64)
    none = np.empty(0)
    shown = tuple(tuple(_texts(columns, new, i, at)[:_MOST_SHOWN]) for i, at in enumerate(groups))
    rows = tuple(zip(*shown, strict=True))
    if sample is None:
        return GeneratorData(
            type(generator).__name__, generator.n_samples_, 0, 0, (), (), (), np.empty((2, 0, 0)), none, none, None,
            tuple(names), rows, files.versions()["diabolo"],
        )  # fmt: skip
    real = sample.rows.astype(np.float64)
    by_column = [
        _distance(columns, real, new, i, name, at) for i, (name, at) in enumerate(zip(names, groups, strict=True))
    ]
    features = _feature_names(columns, names, groups)
    correlations = np.stack([_rank_correlations(some) for some in (real, new)])
    pairs = _most_different(features, correlations, groups)
    varies = np.flatnonzero(~np.isnan(correlations).all(axis=(0, 1)))[:_MOST_HEAT]
    to_real, among_real, auroc = _neighbours(columns, real, new, groups, seed)
    return GeneratorData(
        type(generator).__name__, generator.n_samples_, len(real), sample.n_given,
        tuple(sorted(by_column, key=lambda one: -one.distance)), pairs, tuple(features[i] for i in varies),
        correlations[:, varies[:, None], varies], to_real, among_real, auroc, tuple(names), rows,
        files.versions()["diabolo"],
    )  # fmt: skip


def _kind(columns: Columns, i: int) -> str:
    return "number" if columns.schema is None else columns.schema.used[i].kind


def _texts(columns: Columns, rows: np.ndarray, i: int, at: slice) -> list[str]:
    """Return the cells of a column in the user's units as texts."""
    if columns.schema is None:
        return [f"{value:.5g}" for value in rows[:, i]]
    cells = columns.schema.used[i].decode(rows[:, at]).to_pylist()
    return ["–" if cell is None else f"{cell:.5g}" if isinstance(cell, float) else str(cell) for cell in cells]


def _distance(columns: Columns, real: np.ndarray, new: np.ndarray, i: int, name: str, at: slice) -> ColumnDistance:
    """Compare the distribution of one column."""
    kind = _kind(columns, i)
    if kind in ("category", "boolean"):
        assert columns.schema is not None
        labels = (*columns.schema.used[i].categories, "other") if kind == "category" else ("yes", "no")
        shares = np.stack([_shares(some[:, at], kind) for some in (real, new)])
        if labels[-1] == "other" and not shares[:, -1].any():
            labels, shares = labels[:-1], shares[:, :-1]
        most = np.argsort(-shares[0], kind="stable")[:3]
        texts = [", ".join(f"{labels[j]} {one[j]:.0%}" for j in most) for one in shares]
        distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
        return ColumnDistance(name, distance, texts[0], texts[1], labels, np.empty(0), False, shares)
    a, b = (np.sort(some[~np.isnan(some[:, at.start]), at.start]) for some in (real, new))
    if not len(a) or not len(b):
        return ColumnDistance(name, 0.0, "–", "–", (), np.empty(0), False, np.empty((2, 0)))
    every = np.concatenate([a, b])
    below = [np.searchsorted(one, every, side="right") / len(one) for one in (a, b)]
    texts = []
    for one in (a, b):
        ends = np.full((3, real.shape[1]), np.nan)
        ends[:, at.start] = np.quantile(one, [0.5, 0.05, 0.95])
        middle, low, high = _texts(columns, ends, i, at)
        texts.append(f"{middle} ({low} to {high})")
    edges = _edges(every)
    shares = np.stack([np.histogram(np.clip(one, edges[0], edges[-1]), edges)[0] / len(one) for one in (a, b)])
    distance = float(np.abs(below[0] - below[1]).max())
    return ColumnDistance(name, distance, texts[0], texts[1], (), edges, kind == "date", shares)


def _edges(values: np.ndarray) -> np.ndarray:
    """Return the edges of the bins of a histogram: one for each of few integers."""
    low, high = np.quantile(values, [0.005, 0.995])
    if high - low <= 2 * _BINS and (values == np.rint(values)).all():
        return np.arange(np.floor(low), np.ceil(high) + 2) - 0.5
    return np.linspace(low, high if high > low else low + 1, _BINS + 1)


def _shares(cells: np.ndarray, kind: str) -> np.ndarray:
    """Return the share of each value among the known cells of a category or a boolean."""
    known = cells[~np.isnan(cells).any(axis=1)]
    found: np.ndarray = known.sum(axis=0) / max(len(known), 1)
    return found if kind == "category" else np.array([found[0], 1 - found[0]])


def _feature_names(columns: Columns, names: Sequence[str], groups: Sequence[slice]) -> list[str]:
    """Return the name of each feature: a column's name, with the value for a feature of a category."""
    found = [""] * columns.width
    for i, (name, at) in enumerate(zip(names, groups, strict=True)):
        if columns.schema is None or at.stop - at.start == 1:
            found[at.start] = name
        else:
            for j, label in enumerate((*columns.schema.used[i].categories, "other")):
                found[at.start + j] = f"{name} = {label}"
    return found


def _rank_correlations(rows: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each pair of features, over rows that have both; NaN if constant."""
    is_known = ~np.isnan(rows)
    ranks = np.zeros(rows.shape)
    for column, known, found in zip(rows.T, is_known.T, ranks.T, strict=True):
        if known.any():
            found[known] = (rankdata(column[known]) - 0.5) / known.sum() - 0.5
    known = is_known.astype(np.float64)
    count = np.maximum(known.T @ known, 1)
    mean = ranks.T @ known / count
    square = np.square(ranks).T @ known / count - mean**2
    spread = np.sqrt(np.maximum(square, 0) * np.maximum(square.T, 0))
    covariance = ranks.T @ ranks / count - mean * mean.T
    found = np.full(spread.shape, np.nan)
    np.divide(covariance, spread, out=found, where=spread > 1e-9)
    return found


def _most_different(features: Sequence[str], correlations: np.ndarray, groups: Sequence[slice]) -> tuple[Pair, ...]:
    """Return the pairs of features of different columns whose correlations differ most."""
    difference = np.nan_to_num(np.abs(correlations[0] - correlations[1]))
    for at in groups:
        difference[at, at] = 0
    first, second = np.triu_indices(len(features), 1)
    order = np.argsort(-difference[first, second], kind="stable")[:_MOST_PAIRS]
    return tuple(
        Pair(features[i], features[j], float(correlations[0, i, j]), float(correlations[1, i, j]))
        for i, j in zip(first[order], second[order], strict=True)
        if difference[i, j] > 0
    )


def _neighbours(
    columns: Columns, real: np.ndarray, new: np.ndarray, groups: Sequence[slice], seed: int
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Return distances of generated rows to real rows and among real rows, and the AUROC of a forest."""
    rng = np.random.default_rng([seed, 13])
    n = min(len(real), len(new), _MOST_NEIGHBOURS)
    a, b = (some[np.sort(rng.choice(len(some), n, replace=False))] for some in (real, new))
    center, unit = np.nan_to_num(np.nanmean(a, axis=0)), np.nan_to_num(np.nanstd(a, axis=0))
    unit = np.where(unit > 0, unit, 1.0)
    for i, at in enumerate(groups):
        if _kind(columns, i) == "category":
            unit[at] = np.sqrt(2)
    a, b = (np.nan_to_num((some - center) / unit) for some in (a, b))
    if n < 2:
        return np.empty(0), np.empty(0), None
    index = NearestNeighbors(n_neighbors=2).fit(a)
    among = index.kneighbors(a)[0][:, 1]
    to_real = index.kneighbors(b, n_neighbors=1)[0][:, 0]
    to_real = np.where(to_real < 1e-6, 0.0, to_real)
    if n < _FEWEST_ROWS:
        return to_real, among, None
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, random_state=seed)
    rows, is_new = np.vstack([a, b]), np.repeat([0, 1], n)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    p = cross_val_predict(forest, rows, is_new, cv=folds, method="predict_proba")[:, 1]
    return to_real, among, float(roc_auc_score(is_new, p))


# -- findings ---------------------------------------------------------------------------------------------------------


def diagnose(e: GeneratorData) -> list[Finding]:
    """Return how the generated rows differ from the real ones, serious findings first."""
    found = []
    far = [one.name for one in e.columns if one.distance > max(_FAR, _RARE * np.sqrt(2 / max(e.n_rows, 1)))]
    if far:
        found.append(
            Finding(
                "Different distribution",
                f"{listed(far)}: the largest difference of the cumulative distributions is above {_FAR:.0%}.",
                "Compare the histograms. If the real rows are not those of fit, their distribution may have changed.",
            )
        )
    chance = 4 / np.sqrt(max(e.n_rows, 1))
    unlike = [one for one in e.pairs if abs(one.real - one.generated) > max(_UNLIKE_PAIR, chance)]
    if unlike:
        found.append(
            Finding(
                "Different dependence",
                "The rank correlation differs by more than "
                f"{_UNLIKE_PAIR:g}: {listed((f'{one.first} and {one.second}' for one in unlike), 3)}.",
                "Fit to more rows, or give the generator an autoencoder with more latent dimensions.",
            )
        )
    if e.auroc is not None and e.auroc > _APART:
        found.append(
            Finding(
                "Easily recognised",
                f"A forest tells generated from real rows with an AUROC of {e.auroc:.2f}; 0.5 is the best value.",
                "Look for impossible combinations of values among the generated rows, and fit to more rows.",
            )
        )
    real_twice = int((e.among_real <= 1e-6).sum())
    if e.n_copies > 2 * real_twice + 0.01 * len(e.to_real):
        found.append(
            Finding(
                "Copies of real rows",
                f"{e.n_copies:,} of {len(e.to_real):,} generated rows equal a real row; {real_twice:,} real rows equal "
                "another.",
                "If rows must not be repeated, leave copies out, and give columns of high precision as numbers.",
                serious=True,
            )
        )
    return sorted(found, key=lambda one: not one.serious)


# -- the page ---------------------------------------------------------------------------------------------------------


def tiles(e: GeneratorData) -> str:
    """Return the figures of merit as the entries of a definition list."""
    shown = [("training rows", f"{e.n_samples:,}")]
    if e.columns:
        shown += [
            ("real and generated rows, each", f"{e.n_rows:,}"),
            ("largest distance of a column", f"{e.columns[0].distance:.1%}"),
            ("AUROC of a forest; 0.5: not recognised", "–" if e.auroc is None else f"{e.auroc:.2f}"),
            ("distance to the nearest real row, relative to real rows", "–" if e.ratio is None else f"{e.ratio:.2f}"),
        ]
    return tile_list(shown)


def render(e: GeneratorData, title: str = "") -> str:
    """Return the page as HTML."""
    page, found = Page(), diagnose(e)
    checked = "columns, pairs and rows" if e.columns else "nothing, since no rows were given"
    page.section("findings", "Findings", findings_lead(checked, found), findings_list(found))
    if e.columns:
        page.section(
            "columns",
            "Columns",
            "The distance is the largest difference between the cumulative distributions of real and generated rows "
            "(Kolmogorov and Smirnov); for categories and booleans, half of the summed differences of their shares. "
            f"0 is equal. Two samples of {e.n_rows:,} real rows differ by about {e.usual_distance:.1%}.",
            grid(
                [
                    page.chart(f"{one.name}: distance {one.distance:.1%}", _marginal(one))
                    for one in e.columns[:_MOST_CHARTS]
                ]
            ),
            table(
                ("column", "distance", "real rows", "generated rows"),
                [(one.name, f"{one.distance:.1%}", one.real, one.generated) for one in e.columns],
                "Median and middle 90 %, or the most frequent values",
            ),
        )
        page.section(
            "pairs",
            "Pairs of columns",
            "Spearman's rank correlation, from −1 to 1. Good generated rows have the correlations of the real rows; "
            f"differences below {2 / np.sqrt(e.n_rows):.2f} can be chance.",
            grid([page.chart("Real rows", _heat(e, 0)), page.chart("Generated rows", _heat(e, 1))]),
            table(
                ("first column", "second column", "real rows", "generated rows", "difference"),
                [
                    (
                        one.first,
                        one.second,
                        f"{one.real:.2f}",
                        f"{one.generated:.2f}",
                        f"{one.generated - one.real:+.2f}",
                    )
                    for one in e.pairs
                ],
                "The pairs that differ most",
            ),
        )
        page.section(
            "rows",
            "Nearest rows",
            "The distance of each generated row to the nearest real row, beside that of each real row to the nearest "
            "other one, in standard deviations. Good generated rows are as far away as real rows are from each other: "
            "a ratio of medians of about 1. Much nearer rows repeat what is known; 0 is a copy. Give the rows of fit "
            "to look for copies of them; this is no guarantee of privacy.",
            page.chart(f"Ratio of medians: {'–' if e.ratio is None else format(e.ratio, '.2f')}", _distances(e)),
        )
    page.section("new", "Generated rows", "", table(e.head, e.shown))
    rows = "" if not e.columns else f"Computed on {e.n_rows:,} rows" + (
        f", a random sample of {e.n_given:,}." if e.n_rows < e.n_given else "."
    )  # fmt: skip
    return document(page, title or e.name, rows, tiles(e), e.version)


_NAMES = (("real rows", FIRST), ("generated rows", SECOND))


def _marginal(one: ColumnDistance) -> go.Figure:
    figure = blank("", "share of rows", height=230)
    for (name, color), shares in zip(_NAMES, one.shares, strict=True):
        if one.labels:
            some = slice(0, _BINS)
            figure.add_bar(x=list(one.labels)[some], y=shares[some], name=name, marker={"color": color})
            figure.update_xaxes(type="category")
        else:
            edges = as_dates(one.edges) if one.is_date else one.edges
            x, y = np.repeat(edges, 2)[1:-1], np.repeat(shares, 2)
            figure.add_scatter(x=x, y=y, name=name, mode="lines", line={"color": color, "width": 2})
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure


def _heat(e: GeneratorData, i: int) -> go.Figure:
    n = len(e.names)
    figure = blank("", "", height=max(320, min(560, 150 + 14 * n)))
    values = [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in e.correlations[i]]
    colors = [[0, SECOND], [0.5, "#f7f7f7"], [1, FIRST]]
    figure.add_heatmap(z=values, x=e.names, y=e.names, zmin=-1, zmax=1, colorscale=colors, colorbar={"thickness": 10})
    figure.update_yaxes(autorange="reversed", type="category", showticklabels=n <= 30)
    figure.update_xaxes(type="category", showticklabels=n <= 30, tickangle=-60)
    return figure


def _distances(e: GeneratorData) -> go.Figure:
    figure = blank("distance to the nearest real row, in standard deviations", "share of rows", height=300)
    top = float(np.quantile(np.concatenate([e.among_real, e.to_real]), 0.99)) or 1.0
    edges = np.linspace(0, top, _BINS + 1)
    for (name, color), values in zip(_NAMES, (e.among_real, e.to_real), strict=True):
        shares = np.histogram(np.minimum(values, top), edges)[0] / len(values)
        steps = [(x, share) for ends, share in zip(pairwise(edges), shares, strict=True) for x in ends]
        figure.add_scatter(
            x=[x for x, _ in steps], y=[y for _, y in steps], name=name, mode="lines", line={"color": color, "width": 2}
        )
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    return figure
