"""Draw the report's charts as Plotly figures; the page sets the colours of text and background, for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..metrics import active_units
from .collect import ReportData, RowResults
from .style import FIRST, SECOND, TERMS, THIRD

__all__ = [
    "as_dates",
    "blank",
    "curves",
    "density",
    "features",
    "learning_curve",
    "lines",
    "noise",
    "profile",
    "row_errors",
    "units",
]

_MOST_BARS, _MOST_NAMES = 40, 20
_OUTSIDE = ("learning_rate", "beta")


def blank(x: str, y: str, height: int = 260, **layout: Any) -> go.Figure:
    """Return a figure without curves."""
    return go.Figure(
        layout={
            "height": height,
            "margin": {"l": 56, "r": 16, "t": 12, "b": 44},
            "xaxis": {"title": {"text": x}, "automargin": True},
            "yaxis": {"title": {"text": y}, "automargin": True},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "template": None,
            **layout,
        }
    )


def curves(e: ReportData) -> list[tuple[str, go.Figure]]:
    """Draw a chart of each term of the loss, on training and held-out rows; β gets its own axis in the chart of KL."""
    found = []
    known = [name for name in e.history if name not in _OUTSIDE and not name.startswith("validation_")]
    terms = sorted(known, key=lambda name: list(TERMS).index(name) if name in TERMS else len(TERMS))
    beta = e.curve("beta") if e.anneals else []
    if len(terms) == 2 and e.curve("reconstruction") == e.curve("loss"):
        terms = ["reconstruction"]  # there is no other term
    for name in terms:
        figure = learning_curve(e.curve(name), e.curve(f"validation_{name}"), e.best_epoch)
        if name == "sparsity_weight":
            figure.update_yaxes(title_text="")
        if name == "kl" and beta:
            figure.add_scatter(
                x=list(range(1, len(beta) + 1)), y=beta, name="β", yaxis="y2", line={"color": THIRD, "dash": "dash"}
            )
            figure.update_layout(
                yaxis2={
                    "overlaying": "y",
                    "side": "right",
                    "range": [0, 1.05 * max(beta)],
                    "tickmode": "array",
                    "tickvals": [0, max(beta) / 2, max(beta)],
                    "showgrid": False,
                    "title": {"text": "β"},
                },
                margin={"r": 56},
            )
        found.append((TERMS.get(name, name), figure))
    return found


def as_dates(days: np.ndarray) -> np.ndarray:
    """Return days since 1970 as Plotly reads them."""
    found: np.ndarray = np.datetime_as_string((days * 86_400).round().astype("datetime64[s]"))
    return found


def learning_curve(training: Sequence[float], validation: Sequence[float], best_epoch: int) -> go.Figure:
    """Draw a term of the loss on training and held-out rows by epoch."""
    figure = blank("epoch", "nats per row")
    for values, label, color in ((training, "training", FIRST), (validation, "held out", SECOND)):
        if values:
            epochs = list(range(1, len(values) + 1))
            figure.add_scatter(x=epochs, y=list(values), name=label, mode="lines", line={"color": color, "width": 2})
    if best_epoch:
        figure.add_vline(x=best_epoch, line={"dash": "dot", "width": 1.5, "color": "#888"})
        figure.add_annotation(
            x=best_epoch, y=1, yref="paper", text="best", showarrow=False, xanchor="right", yanchor="top"
        )
    return figure


def features(e: ReportData, results: RowResults) -> tuple[str, go.Figure]:
    """Draw the share of each feature's variance that the reconstruction loses; 1 is no better than the mean."""
    share = results.unexplained
    if e.image is not None:
        grid = share.reshape(e.image)
        grid = grid if grid.ndim == 2 else grid.mean(axis=2)
        figure = blank("", "", height=340)
        figure.add_heatmap(z=grid, colorscale="Viridis", zmin=0, zmax=1)
        figure.update_yaxes(autorange="reversed", scaleanchor="x", showticklabels=False)
        figure.update_xaxes(showticklabels=False, constrain="domain")
        return "Share of each pixel's variance that is lost", figure
    by_column = results.unexplained_by_column(e.column_of_feature)
    if not e.has_names and len(by_column) > _MOST_BARS:
        figure = blank("feature", "share lost")
        figure.add_scatter(y=list(by_column.values()), mode="lines", line={"color": FIRST})
        return "Share of each feature's variance that is lost", figure
    order = sorted(by_column, key=by_column.__getitem__)[-_MOST_BARS:]
    figure = blank("share of variance lost", "", height=90 + 20 * len(order))
    figure.add_bar(
        x=[by_column[name] for name in order],
        y=[name if e.has_names else f"feature {name}" for name in order],
        orientation="h",
        marker={"color": FIRST},
    )
    figure.update_layout(yaxis={"title": {"text": ""}, "type": "category", "dtick": 1})
    rest = len(by_column) - len(order)
    return (
        "Columns, worst reconstruction first"
        if not rest
        else f"The {len(order)} columns with the worst reconstruction",
        figure,
    )


def row_errors(results: RowResults) -> tuple[str, go.Figure]:
    """Draw how many rows have each reconstruction error."""
    values = np.log10(np.maximum(results.errors, 1e-12))
    shares, edges = np.histogram(values, bins=40)
    figure = blank("mean squared error of a row, scaled units", "share of the rows", height=340)
    figure.add_bar(
        x=(edges[1:] + edges[:-1]) / 2, y=shares / len(values), width=np.diff(edges), marker={"color": FIRST},
        customdata=10 ** ((edges[1:] + edges[:-1]) / 2), hovertemplate="%{customdata:.3g}: %{y:.1%}<extra></extra>",
    )  # fmt: skip
    ticks = [t for k in range(-12, 13) for t in np.log10([1, 2, 5]) + k if edges[0] <= t <= edges[-1]]
    ticks = ticks if len(ticks) <= 8 else [t for t in ticks if t == round(t)]
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{10**t:.3g}" for t in ticks])
    return "Reconstruction error of rows", figure


def units(e: ReportData, results: RowResults) -> tuple[str, go.Figure]:
    """Draw the KL of each latent unit, the largest first; active units are in colour, others in grey."""
    assert results.kl is not None
    each, active = results.kl.mean(axis=0), active_units(results.codes)
    order = np.argsort(-each)
    figure = blank("latent unit", "KL, nats per row")
    figure.add_bar(
        x=[f"z{i + 1}" for i in order],
        y=each[order],
        marker={"color": [FIRST if active[i] else "#aaaaaa" for i in order]},
        hovertemplate="%{x}: %{y:.3f} nats<extra></extra>",
    )
    figure.update_xaxes(type="category")
    return f"KL of each unit: {int(active.sum())} of {len(active)} are active (grey: inactive)", figure


def density(e: ReportData, results: RowResults) -> list[tuple[str, go.Figure]]:
    """Draw the density of a sparse code's activations, and the mean activation of each unit, both compared with ρ."""
    heights, edges = np.histogram(results.codes, bins=60, range=(0, 1), density=True)
    shown = blank("activation", "density")
    shown.add_bar(x=(edges[:-1] + edges[1:]) / 2, y=heights, width=np.diff(edges), marker={"color": FIRST})
    shown.update_yaxes(type="log")
    means = np.sort(results.codes.mean(axis=0))[::-1]
    ranked = blank("unit, by its mean", "mean activation ρ̂")
    ranked.add_scatter(y=means, mode="lines", line={"color": FIRST, "width": 2}, name="ρ̂")
    for rho in e.targets[:1]:
        shown.add_vline(x=rho, line={"color": SECOND, "dash": "dash"})
        shown.add_annotation(x=rho, y=1, yref="paper", text=f"ρ = {rho:g}", showarrow=False, xanchor="left")
        ranked.add_hline(y=rho, line={"color": SECOND, "dash": "dash"})
        ranked.add_annotation(x=1, xref="paper", y=rho, text=f"ρ = {rho:g}", showarrow=False, yanchor="bottom")
        ranked.update_yaxes(range=[0, 1.15 * max(rho, float(means.max()))])
    return [("All activations of all rows", shown), ("Mean activation of each unit", ranked)]


def noise(results: RowResults) -> tuple[str, go.Figure]:
    """Draw the error before and after restoration against the noise level."""
    assert results.noise is not None
    figure = blank("noise level, in multiples of the training level", "mean squared error")
    for values, name, color in (
        (results.noise.before, "corrupted rows", SECOND),
        (results.noise.after, "restored rows", FIRST),
    ):
        figure.add_scatter(x=results.noise.factors, y=values, name=name, mode="lines+markers", line={"color": color})
    figure.add_vline(x=1, line={"dash": "dot", "width": 1.5, "color": "#888"})
    return "Error against noise level", figure


def profile(e: ReportData, original: np.ndarray, reconstructions: np.ndarray, user: Sequence[str]) -> go.Figure:
    """Draw a row and its reconstruction, feature by feature in scaled units; ``user`` holds the hover texts."""
    n = len(original)
    few = e.has_names and n <= _MOST_NAMES
    names = list(e.labels) if few else list(range(n))
    figure = blank("" if few else "feature", "scaled units", height=250)
    mode = "lines+markers" if few else "lines"
    figure.add_scatter(y=original, name="row", mode=mode, line={"color": FIRST}, text=user, hoverinfo="text")
    figure.add_scatter(
        y=reconstructions, name="reconstruction", mode=mode, line={"color": SECOND, "dash": "dot"}, hoverinfo="y"
    )
    if few:
        short = [name if len(name) <= 14 else f"{name[:13]}…" for name in map(str, names)]
        figure.update_xaxes(tickvals=list(range(n)), ticktext=short, tickangle=-60 if n > 5 else 0)
    return figure


def lines(rows: np.ndarray) -> go.Figure:
    """Draw long rows without column names as lines."""
    figure = blank("feature", "")
    for i, row in enumerate(rows):
        figure.add_scatter(y=row, mode="lines", name=str(i + 1), line={"width": 1.5})
    return figure
