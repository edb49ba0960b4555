"""One page about a fitted autoencoder: did it learn, what did it learn, can it be trusted?

Data flows one way: `evidence` asks the model, `doctor` judges what was found, `figures` and `images` draw it, `page`
sets all in one file, and ``page.js`` shows it; ``jax_config.js`` runs the decoder there.
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
    """The page, as HTML, and what the doctor finds amiss, the serious first; see `doctor.Finding`."""
    from . import collect, diagnostics, page

    found = collect.collect(estimator, X, y, image_shape=image_shape)
    return page.render(found, title), diagnostics.diagnose(found)
