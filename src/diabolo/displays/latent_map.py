"""The display of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from ..data.types import RowsLike
from ..errors import InvalidParameter
from ..persistence.fitted import FittedAutoencoder
from .axes import axes_or_new, merged

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..report.collect import Reconstructed

__all__ = ["LatentMapDisplay"]

_MOST_GROUPS = 10
"""Up to this many different integers or texts are groups, each with its colour; more integers are numbers."""


class LatentMapDisplay:
    """Map of the latent space: the code of each row as a point, coloured by a label.

    Create it with `from_estimator`.

    Parameters
    ----------
    points : array of shape (n, 2)
        The coordinates of each row.
    names : tuple of str
        The names of the two axes.
    colors : array of shape (n,)
        The label or the number of each row.
    color_name : str
        What the colours mean.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes of the last plot.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import BasicAutoencoder, LatentMapDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BasicAutoencoder(n_latent=3, random_state=0).fit(X)
    >>> LatentMapDisplay.from_estimator(model, X, y).ax_.get_xlabel()
    'component 1 (74 % of the variance)'
    """

    ax_: Axes
    figure_: Figure

    def __init__(self, *, points: np.ndarray, names: tuple[str, str], colors: np.ndarray, color_name: str) -> None:
        self.points, self.names = points, names
        self.colors, self.color_name = colors, color_name

    @classmethod
    def from_estimator(
        cls,
        estimator: FittedAutoencoder,
        X: RowsLike,
        y: ArrayLike | None = None,
        *,
        units: tuple[int, int] | None = None,
        ax: Axes | None = None,
        cmap: str | None = None,
        **scatter_kw: object,
    ) -> Self:
        """Plot the codes of rows.

        Parameters
        ----------
        estimator : autoencoder
            The fitted estimator.
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data. If there are more than 5,000, 5,000 of them are drawn at random.
        y : array-like of shape (n,) or None, default=None
            The label of each row, for its colour. None: the reconstruction error.
        units : tuple of int or None, default=None
            The two latent units to show, from 0. None: the first two principal components of the codes.
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        cmap : str or None, default=None
            The colour map. None: "tab10" for groups, "viridis" for numbers.
        **scatter_kw : object
            Keywords of ``Axes.scatter``.

        Returns
        -------
        LatentMapDisplay
            The display, drawn.

        Raises
        ------
        InvalidParameter
            If there are no such units.
        InvalidData
            If ``y`` does not have one value for each row.
        """
        from ..report.collect import reconstruct_rows

        check_is_fitted(estimator)
        return cls.from_results(reconstruct_rows(estimator, X, y), units).plot(ax, cmap=cmap, **scatter_kw)

    @classmethod
    def from_results(cls, results: Reconstructed, units: tuple[int, int] | None = None) -> Self:
        """Create the display, without drawing it, from rows and codes that were computed before.

        Parameters
        ----------
        results : Reconstructed
            Rows with their codes and reconstructions.
        units : tuple of int or None, default=None
            The two latent units to show, from 0. None: the first two principal components of the codes.

        Returns
        -------
        LatentMapDisplay
            The display.
        """
        codes = results.codes
        n, width = codes.shape
        if units is not None and not (len(units) == 2 and all(0 <= unit < width for unit in units)):
            raise InvalidParameter(f"units must be two numbers from 0 to {width - 1}; got {units!r}.")
        if units is None and width > 2 and n > 2:
            points, shares = results.plane
            names = tuple(f"component {i + 1} ({100 * share:.0f} % of the variance)" for i, share in enumerate(shares))
        elif units is None and width == 1:
            points, names = np.column_stack([codes[:, 0], results.errors]), ("z1", "mean squared error")
        else:
            points = codes[:, (0, 1) if units is None else units]
            names = tuple(f"z{unit + 1}" for unit in units or (0, 1))
        is_labelled = results.labels is not None
        return cls(
            points=points,
            names=(names[0], names[1]),
            colors=np.asarray(results.labels if is_labelled else results.errors),
            color_name="label" if is_labelled else "mean squared error, scaled units",
        )

    def plot(self, ax: Axes | None = None, *, cmap: str | None = None, **scatter_kw: object) -> Self:
        """Draw the points, with a legend of groups or a colour bar of numbers.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            The axes to draw on. None: those of a new figure.
        cmap : str or None, default=None
            The colour map. None: "tab10" for groups, "viridis" for numbers.
        **scatter_kw : object
            Keywords of ``Axes.scatter``.

        Returns
        -------
        LatentMapDisplay
            The display itself.
        """
        import matplotlib as mpl

        self.ax_ = ax = axes_or_new(ax)
        self.figure_ = ax.figure
        style = merged(scatter_kw, s=14, linewidths=0)
        values, places = np.unique(self.colors, return_inverse=True)
        if self.colors.dtype.kind == "f" or (self.colors.dtype.kind in "iu" and len(values) > _MOST_GROUPS):
            drawn = ax.scatter(*self.points.T, c=self.colors, cmap=cmap or "viridis", **style)
            self.figure_.colorbar(drawn, ax=ax, label=self.color_name)
        else:
            map_ = mpl.colormaps[cmap or ("tab10" if len(values) <= _MOST_GROUPS else "turbo")]
            is_listed = map_.N <= 20
            for i, value in enumerate(values):
                color = map_(i % map_.N if is_listed else i / max(1, len(values) - 1))
                ax.scatter(*self.points[places == i].T, color=color, label=str(value), **style)
            ax.legend(title=self.color_name, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
        ax.set(xlabel=self.names[0], ylabel=self.names[1], title="Latent map")
        return self
