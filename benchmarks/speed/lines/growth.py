"""`growth`: time per epoch as rows and widths grow, beside the limit; a picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import limit, rows
from ..context import Context, by_turns
from ..peers.ours import Ours
from ..record import Line
from .dense import LIMITS

__all__ = ["growth"]

_BATCH, _CODE = 128, 20
_ROWS, _WIDTHS = (1, 10, 100), (1, 4, 16)
_BASE_ROWS, _BASE_WIDTH, _TIMES_FOR_WIDTHS = 600, 64, 10
_INK, _OURS, _LIMIT = "#333333", "#1f6fb4", "#b8860b"

Point = tuple[int, int]


def growth(context: Context) -> Line:
    """784-w-20 on MNIST's first rows: rows ×1, 10, 100 at w = 256; w ×1, 4, 16 at 6,000 rows."""
    train, _ = rows.images(context.data)
    by_rows = [(_BASE_ROWS * times, _BASE_WIDTH * 4) for times in context.pick(_ROWS, _ROWS[:2])]
    by_width = [(_BASE_ROWS * _TIMES_FOR_WIDTHS, _BASE_WIDTH * times) for times in _WIDTHS]
    line = Line("growth", {"batch": _BATCH, "code": _CODE, "rows and widths": [*by_rows, *by_width]})
    for n, width in dict.fromkeys([*by_rows, *by_width]):
        seconds, bound = _measure(line, context, train[:n], width)
        line.add(_name("diabolo", (n, width)), "s/epoch", seconds)
        line.add(_name("limit", (n, width)), "s/epoch", bound)
        line.compare(
            f"{n:,} rows, width {width}",
            _name("diabolo", (n, width)),
            _name("limit", (n, width)),
            less_is_better=True,
            peer="limit",
        )
    path = context.results / "growth.png"
    _draw(line, by_rows, by_width, path)
    line.notes.append(f"picture: {path.name}")
    return line


def _name(what: str, point: Point) -> str:
    return f"{what}, {point[0]} rows, width {point[1]}"


def _measure(line: Line, context: Context, train: np.ndarray, width: int) -> tuple[list[float], list[float]]:
    """Seconds per epoch by the difference of two fits, and what the products alone would take."""
    from diabolo import VariationalAutoencoder

    estimator = VariationalAutoencoder(
        n_latent=_CODE,
        hidden_layer_sizes=(width,),
        activation="relu",
        likelihood="bernoulli",
        batch_size=_BATCH,
        scaling=None,
        validation_fraction=None,
        random_state=0,
    )
    side = Ours(estimator, train)
    more = 1 + max(2, 12_000 // len(train))
    side.fit(1)
    shapes = limit.mirrored(784, width, _CODE, heads=2)
    runs: dict[str, Any] = {"ours": lambda: (side.fit(more) - side.fit(1)) / (more - 1)}
    scratch = Line("", {})
    runs |= limit.limits(scratch, shapes, _BATCH)
    found = by_turns(runs, context.repeats)
    for name in set(LIMITS) & set(found):
        scratch.add(name, "rows/s", found[name])
    return found["ours"], [len(train) / value for value in scratch.figures[scratch.best(*LIMITS)].repeats]


# -- the picture ------------------------------------------------------------------------------------------------------


def _draw(line: Line, by_rows: list[Point], by_width: list[Point], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.8), sharey=True, layout="constrained")
    panel = partial(_panel, line)
    panel(left, by_rows, [n for n, _ in by_rows], f"rows (width {by_rows[0][1]})")
    panel(right, by_width, [width for _, width in by_width], f"width of the hidden layers ({by_width[0][0]:,} rows)")
    left.set_ylabel("seconds per epoch", color=_INK)
    left.legend(frameon=False, loc="upper left")
    figure.suptitle("Time per epoch, 784-w-20 variational autoencoder, batch 128", color=_INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _panel(line: Line, axes: Any, points: list[Point], x: list[int], title: str) -> None:
    for what, label, color, style in (
        ("diabolo", "diabolo", _OURS, "-"),
        ("limit", "its matrix products alone", _LIMIT, "--"),
    ):
        y = [line.figures[_name(what, point)].median for point in points]
        axes.plot(x, y, style, color=color, marker="o", markersize=5, linewidth=1.6, label=label)
    axes.set(xscale="log", yscale="log", xlabel=title)
    axes.set_xticks(x, [f"{value:,}" for value in x])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.margins(x=0.12)
    axes.xaxis.label.set_color(_INK)
    axes.grid(True, which="major", color="#e3e3e3", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(_INK)
    axes.tick_params(colors=_INK)
