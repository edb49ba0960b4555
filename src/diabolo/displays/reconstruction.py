"""The display of rows beside their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..data.scaler import Scaler
from ..data.types import RowsLike
from ..errors import InvalidParameter
from ..persistence.fitted import FittedAutoencoder
from ..report.style import FIRST, SECOND
from .axes import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..report.collect import Reconstructed

__all__ = ["ReconstructionDisplay"]

_KINDS = ("images", "profiles", "columns")
_MOST_BARS = 30
_WIDE = 24
"""Rows of more features without names are drawn as profiles."""


class ReconstructionDisplay:
    """Rows and their reconstructions: images, profiles, or the share of each column's variance that is lost.

    Create it with `from_estimator`. Images and profiles are rows from the best to the worst reconstruction, at evenly
    spaced ranks of the error.

    Parameters
    ----------
    rows : array of shape (n, d)
        Rows in the user's units.
    reconstructions : array of shape (n, d)
        Their reconstructions, in the same units.
    lost : dict of str to float
        For each column, the share of its variance that the reconstruction lacks: 0 exact, 1 no better than the mean.
    kind : {"images", "profiles", "columns"}
        What `plot` draws.
    image_shape : tuple of int or None, default=None
        (height, width) or (height, width, 3) of images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last plot.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from diabolo import BasicAutoencoder, ReconstructionDisplay
    >>> from diabolo.datasets import load_pump
    >>> X = load_pump(as_frame=True).data
    >>> model = BasicAutoencoder(n_latent=2, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_estimator(model, X)
    >>> max(display.lost, key=display.lost.get)
    'flow'
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        *,
        rows: np.ndarray,
        reconstructions: np.ndarray,
        lost: dict[str, float],
        kind: str,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.rows, self.reconstructions, self.lost = rows, reconstructions, lost
        self.kind, self.image_shape = kind, image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedAutoencoder,
        X: RowsLike,
        *,
        kind: str = "auto",
        n_rows: int = 10,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
        **kwargs: object,
    ) -> Self:
        """Plot rows and their reconstructions.

        Parameters
        ----------
        estimator : autoencoder
            The fitted estimator.
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data. If there are more than 5,000, 5,000 of them are used.
        kind : {"auto", "images", "profiles", "columns"}, default="auto"
            "images": rows above, reconstructions below. "profiles": lines over the features, in the units of X.
            "columns": bars, the columns that lose most first. "auto": images if the shape is known, profiles for
            more than 24 columns without names, otherwise columns.
        n_rows : int, default=10
            Number of images or profiles.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, 3). None: the shape of the image files or of the convolutional network.
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        **kwargs : object
            Keywords of ``Axes.imshow``, ``Axes.plot`` or ``Axes.barh``.

        Returns
        -------
        ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        InvalidParameter
            If ``kind`` is unknown or does not suit the rows.
        InvalidData
            If ``image_shape`` does not fit the rows.
        """
        from ..report.collect import image_shape_of, reconstruct_rows

        check_is_fitted(estimator)
        if kind not in ("auto", *_KINDS):
            raise InvalidParameter(f"kind must be one of {', '.join(map(repr, ('auto', *_KINDS)))}; got {kind!r}.")
        shape = image_shape_of(estimator, image_shape)
        if kind == "images" and shape is None:
            raise InvalidParameter("kind='images' needs image_shape, for example image_shape=(28, 28).")
        columns, schema = estimator.input_, estimator.input_.schema
        if kind == "profiles" and schema is not None:
            raise InvalidParameter("kind='profiles' needs rows of plain numbers. Use kind='columns' for this table.")
        display = cls.from_results(
            reconstruct_rows(estimator, X),
            estimator.predictor_.scaler,
            tuple(map(str, columns.labels)) if schema is None else schema.column_of_feature,
            has_names=columns.names is not None or schema is not None,
            kind=kind,
            n_rows=n_rows,
            image_shape=shape,
        )
        return display.plot(ax, **kwargs)

    @classmethod
    def from_results(
        cls,
        results: Reconstructed,
        scaler: Scaler,
        column_of_feature: Sequence[str],
        *,
        has_names: bool,
        kind: str = "auto",
        n_rows: int = 10,
        image_shape: tuple[int, ...] | None = None,
    ) -> Self:
        """Create the display, without drawing it, from rows and reconstructions that were computed before.

        Parameters
        ----------
        results : Reconstructed
            Rows with their reconstructions.
        scaler : Scaler
            The scaling of the rows.
        column_of_feature : sequence of str
            The column of each feature.
        has_names : bool
            Whether the user named the columns.
        kind : {"auto", "images", "profiles", "columns"}, default="auto"
            As in `from_estimator`.
        n_rows : int, default=10
            Number of images or profiles.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, 3), if rows are images.

        Returns
        -------
        ReconstructionDisplay
            The display.
        """
        if kind == "auto":
            is_wide = not has_names and len(column_of_feature) > _WIDE
            kind = "images" if image_shape is not None else "profiles" if is_wide else "columns"
        order = np.argsort(results.errors, kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, min(n_rows, len(order))).round().astype(int))]
        return cls(
            rows=results.rows[chosen],
            reconstructions=scaler.invert(results.reconstructions[chosen]),
            lost=results.unexplained_by_column(column_of_feature),
            kind=kind,
            image_shape=image_shape,
        )

    def plot(self, ax: Axes | None = None, **kwargs: object) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        **kwargs : object
            Keywords of ``Axes.imshow``, ``Axes.plot`` or ``Axes.barh``.

        Returns
        -------
        ReconstructionDisplay
            The display itself.
        """
        draw = {"images": self._draw_images, "profiles": self._draw_profiles, "columns": self._draw_columns}
        draw[self.kind](ax, kwargs)
        self.figure_ = self.ax_.figure
        return self

    def _draw_images(self, ax: Axes | None, given: dict[str, object]) -> None:
        from ..report.images import grid

        assert self.image_shape is not None
        self.ax_ = ax = axes_or_new(ax, (max(3.2, 0.9 * len(self.rows)), 2.4))
        known = self.rows[~np.isnan(self.rows)]
        bounds = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        ax.imshow(grid([self.rows, self.reconstructions], self.image_shape, bounds), **given)
        height = self.image_shape[0]
        ax.set_yticks([0.5 * height, 1.5 * height + 1], ["row", "reconstruction"])
        ax.tick_params(length=0)
        ax.set_xticks([])
        ax.spines[:].set_visible(False)
        ax.set_title("Reconstructions, best to worst")

    def _draw_profiles(self, ax: Axes | None, given: dict[str, object]) -> None:
        n = len(self.rows)
        self.ax_ = ax = axes_or_new(ax, (6.4, 1.2 + 0.9 * n))
        step = 1.1 * float(np.nanmax(self.rows) - np.nanmin(self.rows)) or 1.0
        for i, (row, found) in enumerate(zip(self.rows, self.reconstructions, strict=True)):
            up = (n - 1 - i) * step
            first = {} if i else {"label": "row"}, {} if i else {"label": "reconstruction"}
            ax.plot(row + up, **{"color": FIRST, "linewidth": 1.2, **first[0], **given})
            ax.plot(found + up, **{"color": SECOND, "linewidth": 1.2, "linestyle": "--", **first[1], **given})
        ax.set(xlabel="feature", yticks=[], title="Reconstructions, best (top) to worst")
        ax.legend(frameon=False, loc="upper right")

    def _draw_columns(self, ax: Axes | None, given: dict[str, object]) -> None:
        names = sorted(self.lost, key=self.lost.__getitem__)[-_MOST_BARS:]
        self.ax_ = ax = axes_or_new(ax, (6.4, 1.2 + 0.28 * len(names)))
        ax.barh(names, [100 * self.lost[name] for name in names], **{"color": FIRST, **given})
        rest = len(self.lost) - len(names)
        ax.set_xlabel("variance lost, % (100: no better than the mean)")
        ax.set_title("Reconstruction by column" + (f", the {len(names)} worst of {len(self.lost)}" if rest else ""))
