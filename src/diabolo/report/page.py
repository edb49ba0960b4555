"""Write the report as one HTML file that needs no network connection."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import jax
import numpy as np

from ..data.sampling import sample_positions
from ..engine.jaxpr import Program, program
from ..errors import UnsupportedOperationError
from . import diagnostics, figures, images
from .collect import ReportData, RowResults
from .layout import Page, cell_text, document, findings_lead, findings_list, grid, table, tile_list

__all__ = ["render", "tiles"]

_MOST_POINTS = 1_500
_MOST_AXES = 16
_MOST_COLUMNS, _MOST_COLORS = 24, 200
_SHOWN_UNITS, _MOST_UNITS = 12, 512
_MOST_CONSTANTS = 2_000_000
"""The largest number of weights of a decoder in the page: 8 MB."""
_MOST_NUMBERS = 300_000
"""The most numbers of rows that the map shows as lines: 2 MB."""
_SIDE = 48
_RANKED = "The rows with the best, the median and the worst reconstructions."
_GROUPS = (("best", 0.0), ("median", 0.5), ("worst", 1.0))


# -- rows as text and pictures ----------------------------------------------------------------------------------------


def _cells(e: ReportData, rows: np.ndarray, most: int = _MOST_COLUMNS) -> tuple[list[str], list[list[Any]]]:
    """Return names and cells of rows, as in the user's data; ``most`` columns at most."""
    names = list(e.columns)
    if e.schema is not None:
        table = e.schema.decode(rows)
        names = table.column_names[:most]
        return names, [list(row.values())[:most] for row in table.to_pylist()]
    names = [name if e.has_names else f"x{name}" for name in names[:most]]
    return names, [[float(value) for value in row[:most]] for row in rows]


def _given_cells(e: ReportData, results: RowResults, at: Any, most: int = _MOST_COLUMNS) -> list[list[Any]]:
    """Return the cells of some of the report's rows, exactly as given; ``most`` columns at most."""
    if results.given is None:
        return _cells(e, results.rows[at], most)[1]
    return [list(row.values())[:most] for row in results.given.take(at).to_pylist()]


def _bounds(e: ReportData) -> tuple[float, float]:
    """Return the values of black and of white."""
    assert e.results is not None or e.samples is not None
    rows = e.results.rows if e.results is not None else e.samples
    assert rows is not None
    return float(np.nanmin(rows)), float(np.nanmax(rows))


def _picture(e: ReportData, lines: Sequence[np.ndarray], what: str) -> str:
    assert e.image is not None
    uri = images.encoded(lines, e.image, _bounds(e))
    columns = max(map(len, lines))
    return (
        f'<figure class="picture" style="--columns:{columns}"><figcaption>{escape(what)}</figcaption>'
        f'<img src="{uri}" alt="{escape(what)}"></figure>'
    )


def _rows_shown(page: Page, e: ReportData, rows: np.ndarray, what: str) -> str:
    """Return rows as pictures, as lines, or as a table."""
    if e.image is not None:
        per_line = 12 if len(rows) > 12 else len(rows)
        return _picture(e, [rows[i : i + per_line] for i in range(0, len(rows), per_line)], what)
    if not e.has_names and len(e.columns) > _MOST_COLUMNS:
        figure = figures.lines(rows[:9])
        return page.chart(what, figure)
    return table(*_cells(e, rows[:9]), caption=what)


# -- sections ---------------------------------------------------------------------------------------------------------


def _findings(page: Page, e: ReportData) -> None:
    found = diagnostics.diagnose(e)
    checked = "training, code, likelihood, rows and columns" if e.results else "training only, since no rows were given"
    page.section("findings", "Findings", findings_lead(checked, found), findings_list(found))


def tiles(e: ReportData) -> str:
    """Return the figures of merit as the entries of a definition list."""
    entries = [("training rows", f"{e.n_samples:,}"), ("latent units", f"{e.recipe.latent.n_latent}")]
    if e.n_epochs:
        entries.append(("best epoch", f"{e.best_epoch} of {e.n_epochs}"))
    if e.results is not None:
        entries.append(("explained variance", f"{e.results.explained:.1%}"))
        if e.evaluation is not None and e.evaluation["pca_explained_variance"] is not None:
            rows = f"{e.evaluation['rows']} rows"
            entries.append((f"explained variance, {rows}", f"{e.evaluation['explained_variance']:.1%}"))
            entries.append((f"PCA of the training rows, {rows}", f"{e.evaluation['pca_explained_variance']:.1%}"))
        density = "log p(x), nats" if e.is_stochastic else "log p(x | z), nats"
        entries.append((density, f"{e.results.scores.mean():.5g}"))
    return tile_list(entries)


def _learning(page: Page, e: ReportData) -> None:
    if not e.curve("loss"):
        return
    charts = [page.chart(title, figure) for title, figure in figures.curves(e)]
    text = "Each term of the loss, in nats per row and scaled units. The loss of held-out rows uses the final β."
    page.section("learning", "Learning", text, grid(charts))


def _reconstructed_cells(e: ReportData, results: RowResults) -> str:
    """Return rows of a table over their reconstructions, in the user's units."""
    lines: list[list[object]] = []
    for (name, _), chosen in zip(_GROUPS, results.at_rank(tuple(share for _, share in _GROUPS), 2), strict=True):
        names, decoded = _cells(e, e.scaler.invert(results.reconstructions[chosen]))
        for i, given, found in zip(chosen, _given_cells(e, results, chosen), decoded, strict=True):
            lines += [
                [f"{name}: row {results.numbers[i] + 1:,}", *given, f"{results.errors[i]:.3g}"],
                ["reconstruction", *found, ""],
            ]
    return table(("", *names, "mean squared error, scaled units"), lines)


def _reconstructions(page: Page, e: ReportData, results: RowResults) -> None:
    if e.image is None and e.has_names and len(e.columns) <= _MOST_COLUMNS:
        page.section("rows", "Reconstructions", _RANKED, _reconstructed_cells(e, results))
        return
    each = 8 if e.image is not None else 2
    blocks = []
    for (name, _), chosen in zip(_GROUPS, results.at_rank(tuple(share for _, share in _GROUPS), each), strict=True):
        reconstructions = e.scaler.invert(results.reconstructions[chosen])
        if e.image is not None:
            blocks.append(
                _picture(
                    e,
                    [results.rows[chosen], reconstructions],
                    f"{name.capitalize()}: rows above, reconstructions below",
                )
            )
            continue
        for i, row in zip(chosen, reconstructions, strict=True):
            names, (decoded,) = _cells(e, row[None])
            (cells,) = _given_cells(e, results, [i])
            texts = {
                n: f"{n}: {cell_text(a)}, reconstructed {cell_text(b)}"
                for n, a, b in zip(names, cells, decoded, strict=True)
            }
            column_of_feature = e.column_of_feature if e.has_names else [f"x{name}" for name in e.column_of_feature]
            hover = [texts.get(owner, str(owner)) for owner in column_of_feature]
            figure = figures.profile(e, results.scaled[i], results.reconstructions[i], hover)
            title = f"{name.capitalize()}: row {results.numbers[i] + 1:,}, mean squared error {results.errors[i]:.3g}"
            blocks.append(page.chart(title, figure))
    page.section("rows", "Reconstructions", _RANKED, grid(blocks, "pictures" if e.image is not None else "charts"))


def _features(page: Page, e: ReportData, results: RowResults) -> None:
    text = "0: exact reconstruction; 1: no better than the mean; above 1: worse than the mean."
    page.section(
        "features",
        "Error by feature",
        text,
        grid([page.chart(*figures.features(e, results)), page.chart(*figures.row_errors(results))]),
    )


def _distinct(name: str, columns: Sequence[str]) -> str:
    """Return a name that no column has."""
    while name in columns:
        name += " (not the column)"
    return name


def _latent(page: Page, e: ReportData, results: RowResults) -> None:
    chosen = sample_positions(len(results.rows), _MOST_POINTS, np.random.default_rng(0))
    axes = _busiest(results)
    where: dict[str, list[float | None]] = {}
    if results.codes.shape[1] > 2 and len(results.rows) > 2:
        plane, shares = results.plane
        for i in range(2):
            where[f"component {i + 1} ({shares[i]:.0%} of the codes' variance)"] = _rounded(plane[chosen, i])
    for i in axes:
        where[f"z{i + 1}"] = _rounded(results.codes[chosen, i])
    names = _cells(e, results.rows[:1], _MOST_COLORS)[0]
    cells = _given_cells(e, results, chosen, _MOST_COLORS)
    colors: dict[str, list[Any]] = {}
    if results.labels is not None:
        numbers = results.labels.dtype.kind in "fiub"
        labels = _rounded(results.labels[chosen]) if numbers else [str(value) for value in results.labels[chosen]]
        colors[_distinct("label", names)] = labels
    colors[_distinct("log p", names)] = _rounded(results.scores[chosen])
    colors[_distinct("reconstruction error", names)] = _rounded(results.errors[chosen])
    content: dict[str, Any] = {"axes": where, "colors": colors, "numbers": (results.numbers[chosen] + 1).tolist()}
    if e.image is not None:
        uri, width, height = images.sheet(results.rows[chosen], e.image, _bounds(e), _SIDE)
        content["sheet"] = {"uri": uri, "width": width, "height": height}
    else:
        shown = [[cell_text(cell) for cell in row[:_MOST_COLUMNS]] for row in cells]
        if not e.has_names and len(e.columns) > _MOST_COLUMNS and results.rows[chosen].size <= _MOST_NUMBERS:
            content["lines"] = [_rounded(row) for row in results.rows[chosen]]
        content |= {"names": names[:_MOST_COLUMNS], "columns": names, "rows": shown}
        for i, name in enumerate(names):
            column = [row[i] for row in cells]
            numbers = all(cell is None or isinstance(cell, int | float) for cell in column)
            if numbers:
                colors[name] = _rounded([np.nan if cell is None else cell for cell in column])
            else:
                colors[name] = [cell_text(cell) for cell in column]
    content["codes"] = [_rounded(row) for row in results.codes[chosen]]
    page.data["map"] = content
    some = "" if len(chosen) == results.n_given else f" The map shows {len(chosen):,} of {results.n_given:,} rows."
    text = (
        f"Each point is the code of a row.{some} Hover over a point, or use the slider, to see its row. Click a point "
        "to load its code into the explorer."
    )
    controls = (
        '<div class="controls"><label>x axis <select id="map-x"></select></label>'
        '<label>y axis <select id="map-y"></select></label><label>colour <select id="map-color"></select></label>'
        '<label class="wide">row <input id="map-row" type="range" min="0" value="0" step="1"></label></div>'
    )
    view = (
        '<div class="beside"><div id="map-chart" class="chart tall"></div>'
        '<div id="map-shown" aria-live="polite"></div></div>'
    )
    page.section("map", "Latent map", text, controls, view)


def _rounded(values: Any) -> list[float | None]:
    """Round to five digits; NaN becomes None, since JSON has no NaN."""
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in np.asarray(values, np.float64)]


def _busiest(results: RowResults) -> list[int]:
    """Return the units that vary most, in the order of the code."""
    order = np.argsort(-results.codes.var(axis=0), kind="stable")[:_MOST_AXES]
    return sorted(int(i) for i in order)


def _units(page: Page, e: ReportData, results: RowResults) -> None:
    if results.kl is not None:
        text = (
            "The information about a row in each unit of the posterior. A unit with a KL near 0 is unused. A unit is "
            "active if the variance of its mean over rows is above 0.01."
        )
        page.section("units", "Latent units", text, page.chart(*figures.units(e, results)))
    elif e.recipe.latent.in_unit_interval:
        charts = [page.chart(title, figure) for title, figure in figures.density(e, results)]
        text = (
            "The activations of the units compared with ρ, and the rows with the highest activation of each unit. "
            "Units that vary most come first."
        )
        page.section("units", "Sparse units", text, grid(charts), _top_rows(e, results))


def _top_rows(e: ReportData, results: RowResults) -> str:
    """Return the rows with the highest activation of each unit."""
    blocks, rows = [], []
    for unit in np.argsort(-results.codes.var(axis=0), kind="stable")[:_MOST_UNITS]:
        top = np.argsort(-results.codes[:, unit], kind="stable")[:6]
        mean = float(results.codes[:, unit].mean())
        if e.image is not None:
            blocks.append(_picture(e, [results.rows[top]], f"unit {unit + 1}, ρ̂ = {mean:.3f}"))
            continue
        spread = np.sqrt(np.maximum(results.spread, 1e-12))
        away = (np.nanmean(results.scaled[top], axis=0) - np.nanmean(results.scaled, axis=0)) / spread
        most = np.argsort(-np.abs(np.nan_to_num(away)), kind="stable")[:3]
        why = ", ".join(f"{e.column_of_feature[i]} {'high' if away[i] > 0 else 'low'} ({away[i]:+.1f} σ)" for i in most)
        rows.append([f"{unit + 1}", f"{mean:.3f}", ", ".join(f"{results.numbers[i] + 1:,}" for i in top), why])

    def listed(some: slice) -> str:
        head = ("unit", "ρ̂", "rows with the highest activation", "common properties")
        return grid(blocks[some], "units") if blocks else table(head, rows[some])

    n = len(blocks or rows)
    if n <= _SHOWN_UNITS:
        return listed(slice(None))
    rest = (
        f"<details><summary>the other {n - _SHOWN_UNITS} units</summary>{listed(slice(_SHOWN_UNITS, None))}</details>"
    )
    return listed(slice(_SHOWN_UNITS)) + rest


def _noise(page: Page, results: RowResults) -> None:
    if results.noise is not None:
        text = (
            "Rows were corrupted at several multiples of the training level, and restored. Errors are in scaled units."
        )
        page.section("noise", "Noise", text, page.chart(*figures.noise(results)))


def _generated(page: Page, e: ReportData) -> None:
    blocks = []
    if e.samples is not None:
        blocks.append(_rows_shown(page, e, e.samples, "New rows, sampled from the model"))
    if e.between is not None:
        blocks.append(_rows_shown(page, e, e.between, "Interpolation between the codes of two rows"))
    if blocks:
        page.section("new", "Samples and interpolation" if e.samples is not None else "Interpolation", "", *blocks)


def _explorer(page: Page, e: ReportData) -> None:
    controls = (
        '<div class="beside"><div><div id="sliders"></div><div class="controls">'
        '<button id="explore-reset" type="button">reset</button></div></div>'
        '<div id="explored" aria-live="polite"></div></div>'
    )
    try:
        decoder = _decoder(e)
    except UnsupportedOperationError as error:
        page.section("explorer", "Latent explorer", f"This decoder does not run in a browser: {escape(str(error))}.")
        return
    page.data["explorer"] = decoder
    n, k = len(decoder["units"]), e.recipe.latent.n_latent
    some = "" if n == k else f" The sliders are the {n} units of {k} that vary most; the others are fixed."
    text = f"Move the sliders to change the code. The decoder runs in this page and shows the decoded row.{some}"
    page.section("explorer", "Latent explorer", text, controls)


def _decoder(e: ReportData) -> dict[str, Any]:
    """Return the decoder's program, its weights, and the ranges of the sliders."""
    k, model = e.recipe.latent.n_latent, e.model
    chosen = 0 if e.results is None else next(e.results.at_rank((0.5,), 1))[0]
    if e.recipe.condition:
        if e.results is None:
            raise UnsupportedOperationError("it reads a condition, and the report has no rows to take one from")
        model = model.given(jax.device_put(e.results.scaled[chosen]))
    found: Program = program(lambda z: model.decode(z).mean, (1, k))
    if found.n_constants > _MOST_CONSTANTS:
        raise UnsupportedOperationError(
            f"it has {found.n_constants:,} weights, more than the {_MOST_CONSTANTS:,} that a page may hold"
        )
    constants = [array.ravel().astype(np.float32) for array in found.constants.values()]
    numbers = np.concatenate(constants) if constants else np.zeros(0, np.float32)
    codes = e.results.codes if e.results is not None else np.asarray(e.model.prior.sample(_key(), (512,)))
    low, high = np.quantile(codes, [0.005, 0.995], axis=0)
    pad = 0.15 * np.maximum(high - low, 1e-3)
    low, high = low - pad, high + pad
    if e.recipe.latent.in_unit_interval:
        low, high = np.zeros(k), np.ones(k)
    start = np.median(codes, axis=0) if e.results is None else codes[chosen]
    order = _busiest(e.results) if e.results is not None else range(min(k, _MOST_AXES))
    decoder: dict[str, Any] = {
        "program": {
            "steps": found.steps,
            "shapes": {str(number): list(shape) for number, shape in found.shapes.items()},
            "constants": list(found.constants),
            "argument": found.argument,
            "result": found.result,
        },
        "numbers": base64.b64encode(numbers.astype("<f4").tobytes()).decode(),
        "units": [{"unit": int(i), "low": float(low[i]), "high": float(high[i])} for i in order],
        "start": [float(value) for value in start],
        "offset": e.scaler.offset.tolist(),
        "scale": e.scaler.scale.tolist(),
    }
    if e.image is not None:
        return decoder | {
            "image": list(e.image),
            "bounds": _bounds(e) if e.results or e.samples is not None else (0, 1),
        }
    if e.schema is not None:
        places = e.schema.column_slices
        columns = [
            {
                "name": c.name, "kind": c.kind, "from": places[c.name].start, "categories": list(c.categories),
                "low": c.low, "high": c.high, "whole": c.whole or c.kind == "count",
            }
            for c in e.schema.used
        ]  # fmt: skip
    else:
        if not e.has_names and len(e.columns) > _MOST_COLUMNS:
            return decoder
        columns = [
            {"name": name if e.has_names else f"x{name}", "kind": "number", "from": i}
            for i, name in enumerate(e.columns)
        ]
        if e.results is not None:
            ends = np.fmin.reduce(e.results.rows, axis=0), np.fmax.reduce(e.results.rows, axis=0)
            for column, least, most in zip(columns, *ends, strict=True):
                if not np.isnan(least):  # the column has a value
                    column |= {"low": float(least), "high": float(most)}
    return decoder | {"columns": columns}


def _key() -> Any:
    from ..engine.prng import key

    return key(0)


def _reproduced(page: Page, e: ReportData) -> None:
    parameters = [(name, repr(value)) for name, value in e.parameters.items()]
    about = [
        ("training rows", f"{e.n_samples:,}"),
        ("fingerprint of the training rows", e.fingerprint),
        ("seed", e.seed),
        *e.versions.items(),
    ]
    recipe = "\n".join(f"{name:<11} {getattr(e.recipe, name)!r}" for name in _SLOTS)
    text = "Parameters, parts, data and versions. With all of these equal, training gives the same model to the bit."
    blocks = grid([table(("parameter", "value"), parameters), table(("property", "value"), about)], "charts")
    formula = f'<div class="scroll"><pre>{escape(recipe)}</pre></div>'
    page.section("again", "Reproducibility", text, formula, blocks)


_SLOTS = ("corruption", "encoder", "latent", "prior", "decoder", "likelihood", "objective", "penalties")


def _sections(e: ReportData) -> Iterator[Any]:
    results = e.results
    yield _findings, ()
    yield _learning, ()
    if results is not None:
        yield _reconstructions, (results,)
        yield _features, (results,)
        yield _latent, (results,)
    yield _explorer, ()
    if results is not None:
        yield _units, (results,)
    yield _generated, ()
    yield _reproduced, ()


def render(e: ReportData, title: str = "") -> str:
    """Return the page as HTML."""
    page = Page()
    for section, given in _sections(e):
        section(page, e, *given)
        if section is _units and e.results is not None:
            _noise(page, e.results)
    rows = ""
    if e.results is not None:
        n = len(e.results.rows)
        rows = f"Computed on {n:,} row{'s' * (n > 1)}" + (
            f", a random sample of {e.results.n_given:,}." if n < e.results.n_given else "."
        )
    return document(page, title or e.name, rows, tiles(e), e.versions["diabolo"])
