"""The tables: each promise by set, densities and choices, examples, warnings, seconds, and the summary."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np

from ..told import aligned, with_spread
from .child import EXAMPLES, WIDE
from .promises import CORRUPTIONS, EXAMPLE_PROMISES, MODELS, Parts, densities, figure, verdicts
from .runs import FORMER, NOW
from .sets import HALVES

__all__ = ["examples_table", "report", "seconds_table", "summary", "warnings_table", "wide_sets"]

_WHEN = {NOW: "now", FORMER: "formerly"}
_CLOCKS = ("seconds", "cpu_seconds")
_EXAMPLE_FIGURES = (
    ("two blobs: log-density, nats", "blobs", "score", 3),
    ("two blobs: log-density of a kernel density", "blobs", "kernel density", 3),
    ("two blobs: log-density of the truth", "blobs", "true density", 3),
    ("two blobs: share of samples with |x| < 1", "blobs", "samples between", 4),
    ("β = 0.01 on digits: best epoch", "low_beta", "best epoch", 0),
    ("β = 0.01 on digits: epochs", "low_beta", "epochs", 0),
    ("β = 0.01 on digits: error of a row, scaled units", "low_beta", "error, scaled units", 2),
    ("β = 0.01 on digits: error of a row, [0, 1]", "low_beta", "error", 3),
    ("folder of images: PSNR before, dB", "folder", "PSNR before", 2),
    ("folder of images: PSNR after, dB", "folder", "PSNR after", 2),
)


def summary(found: dict[str, Any]) -> list[list[str]]:
    """Count by promise the sets on which it is met, in all and in each half, now and formerly."""
    former = {one.promise.name: one for one in verdicts(found, FORMER)} if FORMER in found["runs"] else {}
    lines = [["promise", "bound", "needed", "met", *HALVES, "holds", "worst", *(["formerly met"] if former else [])]]
    for one in verdicts(found):
        _, n_sets = one.count()
        needed = math.ceil(one.promise.share * n_sets - 1e-9)
        cells = [
            *(one.promise.name, one.promise.bound_text, f"{needed}", _of(one.count())),
            *(_of(one.count(half)) for half in HALVES),
            "yes" if one.holds else "NO",
            f"{one.worst} {_mean(one.values[one.worst], one.promise.digits)}",
        ]
        if former:
            cells.append(_of(former[one.promise.name].count()) if one.promise.name in former else "")
        lines.append(cells)
    return lines


def _of(count: tuple[int, int]) -> str:
    return f"{count[0]} of {count[1]}"


def _mean(values: list[float], digits: int) -> str:
    mean = float(np.mean(values))
    return "failed" if math.isnan(mean) else f"{mean:.{digits}f}"


def _cell(values: list[float], digits: int) -> str:
    return "failed" if any(math.isnan(value) for value in values) else with_spread(values, digits)


def report(found: dict[str, Any]) -> str:
    """Write all tables: each promise by set, densities, examples, warnings, seconds, and last the summary."""
    parts = [*_promise_tables(found), *_details(found)]
    for title, lines in (
        ("Examples", examples_table(found)),
        ("Warnings: fits that gave them", warnings_table(found)),
        ("Seconds of fits", seconds_table(found)),
        ("Summary", summary(found)),
    ):
        if len(lines) > 1:
            parts.append(f"{title}\n{aligned(lines)}")
    if wide := wide_sets(found):
        parts.append(f"Left out of the variational promise, as they have more than {WIDE} columns: {', '.join(wide)}.")
    return "\n\n".join(parts)


def wide_sets(found: dict[str, Any]) -> list[str]:
    """Name the sets that the variational promise leaves out."""
    return [name for name, about in found["sets"].items() if about["columns"] > WIDE]


def _promise_tables(found: dict[str, Any]) -> Iterator[str]:
    former = {one.promise.name: one for one in verdicts(found, FORMER)} if FORMER in found["runs"] else {}
    for one in verdicts(found):
        digits = one.promise.digits
        then = former.get(one.promise.name)
        lines = [["", "half", "kind", "mean ± spread", "bound", "met", *(["formerly"] if then else [])]]
        for name, values in one.values.items():
            cells = [
                *(name, one.halves[name], found["sets"][name]["kind"], _cell(values, digits)),
                *(one.promise.bound_text, "yes" if one.met[name] else "NO"),
            ]
            if then:
                cells.append(_cell(then.values[name], digits) if name in then.values else "")
            lines.append(cells)
        yield f"{one.promise.name}\n{aligned(lines)}"


def _means(found: dict[str, Any], name: str, value: Callable[[Parts], float | None]) -> float | None:
    some = [v for parts in found["runs"][NOW].get(name, {}).values() if (v := value(parts)) is not None]
    return float(np.mean(some)) if some else None


def _plain(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _details(found: dict[str, Any]) -> Iterator[str]:
    """Tabulate densities in nats, the sparse weight, and the oracle's number of components."""
    for repeated, columns in ((True, "all varying columns"), (False, "no repeated values")):
        lines = densities_table(found, repeated)
        if len(lines) > 1:
            yield f"Log-density of test rows, {columns}: nats, and nats a column\n{aligned(lines)}"
    lines = [["", "sparsity weight", *(f"{kind}: PCA's k" for kind in CORRUPTIONS)]]
    for name in found["sets"]:
        cells = [
            _plain(_means(found, name, figure("sparse", "sparsity weight"))),
            *(_plain(_means(found, name, figure(f"denoising, {kind}", "best truncation")), 0) for kind in CORRUPTIONS),
        ]
        if any(cells):
            lines.append([name, *cells])
    if len(lines) > 1:
        title = "Weights chosen, and components of the best truncated PCA (an oracle: it reads test rows)"
        yield f"{title}\n{aligned(lines)}"


def densities_table(found: dict[str, Any], repeated: bool) -> list[list[str]]:
    """Tabulate mean log-densities by set and model: nats, then nats a column; means over seeds."""
    models = ("ours", *MODELS)
    lines = [["", "columns", "constant", "repeated", *models, *(f"{model} / d" for model in models)]]
    for name, about in found["sets"].items():
        some = [d for parts in found["runs"][NOW].get(name, {}).values() if (d := densities(parts, repeated))]
        if some:
            each = {key: float(np.mean([one[key] for one in some])) for key in (*models, "columns")}
            lines.append(
                [
                    *(name, f"{each['columns']:.0f}", str(about["constant"]), str(about["repeated"])),
                    *(f"{each[model] * each['columns']:.2f}" for model in models),
                    *(f"{each[model]:.3f}" for model in models),
                ]
            )
    return lines


def examples_table(found: dict[str, Any]) -> list[list[str]]:
    """Tabulate the figures of the examples, with a bound where there is one, now and formerly."""
    which = list(found["runs"])
    lines = [["", *(_WHEN[one] for one in which), "bound", "met"]]
    for promise in EXAMPLE_PROMISES:
        each = {one: _example_values(found, one, promise.value) for one in which}
        if each[NOW]:
            cells = [_cell(each[one], promise.digits) if each[one] else "" for one in which]
            lines.append([promise.name, *cells, promise.bound_text, "yes" if promise.is_met(each[NOW]) else "NO"])
    for name, part, key, digits in _EXAMPLE_FIGURES:
        each = {one: _example_values(found, one, figure(part, key)) for one in which}
        if each[NOW]:
            lines.append([name, *(_cell(each[one], digits) if each[one] else "" for one in which), "", ""])
    return lines


def _example_values(found: dict[str, Any], which: str, value: Callable[[Parts], float | None]) -> list[float]:
    runs = found["runs"][which].get(EXAMPLES, {}).values()
    return [v for parts in runs if (v := value(parts)) is not None]


def _fits(found: dict[str, Any], which: str) -> Iterator[dict[str, Any]]:
    for by_seed in found["runs"][which].values():
        for parts in by_seed.values():
            for line in parts.values():
                yield from line["fits"]


def warnings_table(found: dict[str, Any]) -> list[list[str]]:
    """Count the fits of each system that gave warnings of each category."""
    which = list(found["runs"])
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for one in which:
        for fit in _fits(found, one):
            for category in fit["warnings"]:
                by = counts.setdefault((fit["fit"].partition(",")[0], category), dict.fromkeys(which, 0))
                by[one] += 1
    lines = [["", "category", *(_WHEN[one] for one in which)]]
    return lines + [[*key, *(str(by[one]) for one in which)] for key, by in sorted(counts.items())]


def seconds_table(found: dict[str, Any]) -> list[list[str]]:
    """Sum the seconds of fits by system, now and formerly, by the clock and of processors.

    Counted are the fits that both libraries made in the same run. On a machine shared with others the seconds of
    processors are the steadier ones.
    """
    runs = found["runs"]
    which = list(runs)
    totals: dict[str, dict[tuple[str, str], float]] = {}
    for name, by_seed in runs[NOW].items():
        for seed, part in ((seed, part) for seed, parts in by_seed.items() for part in parts):
            lines = {one: runs[one].get(name, {}).get(seed, {}).get(part, {}) for one in which}
            if not all(lines.values()) or len({line.get("run") for line in lines.values()}) > 1:
                continue
            for one, fit in ((one, fit) for one, line in lines.items() for fit in line["fits"]):
                for system in (fit["fit"].partition(",")[0], "all"):
                    by = totals.setdefault(system, dict.fromkeys(product(_CLOCKS, which), 0.0))
                    for clock in _CLOCKS:
                        by[clock, one] += fit.get(clock, 0.0)
    totals = {system: totals[system] for system in sorted(totals, key=lambda system: system == "all")}
    table = [["", *(f"{what}{_WHEN[one]}" for what in ("", "processors, ") for one in which)]]
    if FORMER in which:
        table[0] += ["now / formerly", "processors, now / formerly"]
    for system, by in totals.items():
        cells = [f"{by[clock, one]:.1f}" for clock in _CLOCKS for one in which]
        if FORMER in which:
            pairs = [(by[clock, NOW], by[clock, FORMER]) for clock in _CLOCKS]
            cells += [f"{now / then:.3f}" if then else "" for now, then in pairs]
        table.append([system, *cells])
    return table
