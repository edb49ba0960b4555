"""Report a fitted autoencoder as one HTML page: how well it trained, what it learned, and which problems it has.

Data flows one way: `collect` gets all results from the model, `diagnostics` finds problems, `figures` and `images`
draw, and `page` writes one file. In the browser ``page.js`` shows the charts, and ``runtime.js`` runs the decoder.
"""

from __future__ import annotations

from typing import Any

from ..data.types import RowsLike
from ..persistence.fitted import FittedAutoencoder

__all__ = ["reported"]


def reported(
    estimator: FittedAutoencoder,
    X: RowsLike | None = None,
    y: object = None,
    *,
    image_shape: tuple[int, ...] | None = None,
    title: str = "",
) -> tuple[str, list[Any]]:
    """Return the page as HTML, and the list of `diagnostics.Finding`, serious findings first."""
    from . import collect, diagnostics, page

    found = collect.collect(estimator, X, y, image_shape=image_shape)
    return page.render(found, title), diagnostics.diagnose(found)
