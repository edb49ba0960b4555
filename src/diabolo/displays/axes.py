"""What all displays share: the axes to draw on, and keywords that a user may override."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Keywords", "axes_or_new", "merged"]

Keywords = Mapping[str, object]
"""Keywords of a method of Matplotlib."""


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (6.4, 4.2)) -> Axes:
    """Return the given axes, or those of a new figure of pyplot, in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def merged(given: Keywords | None, **defaults: object) -> dict[str, object]:
    """Return the defaults, replaced by the user's keywords."""
    return {**defaults, **(given or {})}
