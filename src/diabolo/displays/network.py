"""The summary of a network: its layers, their arrays, and how many numbers were trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Self

import jax
import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..core.layers import Fixed
from ..persistence.fitted import FittedAutoencoder

__all__ = ["Layer", "NetworkSummary"]


@dataclass(frozen=True)
class Layer:
    """A layer: a module with arrays of its own."""

    part: str
    """The role of the formula that it belongs to: "encoder", "decoder", "likelihood" or "penalties"."""
    path: str
    """Where it is in this part."""
    kind: str
    """The name of its class; empty for arrays without a module."""
    arrays: dict[str, tuple[int, ...]]
    """The shape of each array."""
    n_trained: int
    """How many numbers training changes."""
    n_fixed: int
    """How many numbers are statistics of the training rows."""


@dataclass(frozen=True)
class NetworkSummary:
    """The layers of a fitted model, shown as a table in a terminal and in a notebook; from ``estimator.summary()``."""

    name: str
    """The name of the estimator's class."""
    sizes: tuple[tuple[str, int], ...]
    """The number of features at each step from the row to the likelihood's parameters."""
    layers: tuple[Layer, ...]
    """The layers, in the order of the formula."""

    @classmethod
    def from_estimator(cls, estimator: FittedAutoencoder) -> Self:
        """Summarise the network of a fitted autoencoder or classifier.

        Parameters
        ----------
        estimator : autoencoder or AutoencoderClassifier
            The fitted estimator.

        Returns
        -------
        NetworkSummary
            Its layers.
        """
        check_is_fitted(estimator)
        model, width = estimator.predictor_.model, estimator.input_.width
        recipe = model.recipe
        sizes = (
            ("row", width),
            ("encoder", recipe.latent.n_outputs),
            ("code", recipe.latent.n_latent),
            ("decoder", recipe.likelihood.n_outputs(recipe.n_targets or width)),
        )
        layers = tuple(layer for part, node in _children(model.weights).items() for layer in _layers(part, "", node))
        return cls(type(estimator).__name__, sizes, layers)

    @property
    def n_trained(self) -> int:
        """How many numbers training changes."""
        return sum(layer.n_trained for layer in self.layers)

    @property
    def n_fixed(self) -> int:
        """How many numbers are statistics of the training rows."""
        return sum(layer.n_fixed for layer in self.layers)

    def _head(self) -> str:
        flow = " → ".join(f"{name} {size:,}" for name, size in self.sizes)
        fixed = f", {self.n_fixed:,} fixed" if self.n_fixed else ""
        return f"{self.name}: {flow}; {self.n_trained:,} trained numbers{fixed}"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        yield "part", "layer", "class", "arrays", "trained", "fixed"
        for one in self.layers:
            arrays = ", ".join(f"{name} {' × '.join(map(str, shape)) or '1'}" for name, shape in one.arrays.items())
            yield one.part, one.path, one.kind, arrays, f"{one.n_trained:,}", f"{one.n_fixed:,}" if one.n_fixed else ""

    def __str__(self) -> str:
        rows = list(self._rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            texts = [cell.ljust(width) for cell, width in zip(row[:4], widths[:4], strict=True)]
            numbers = [cell.rjust(width) for cell, width in zip(row[4:], widths[4:], strict=True)]
            lines.append("  ".join(texts + numbers))
        return "\n".join([self._head(), "", *(line.rstrip() for line in lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        left = ' style="text-align:left"'
        top = "".join(f"<th{left}>{cell}</th>" for cell in head)
        lines = ("".join(f"<td{left}>{escape(cell)}</td>" for cell in row) for row in rows)
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return (
            f"<table><caption{left}>{escape(self._head())}</caption>"
            f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
        )


def _layers(part: str, path: str, node: object) -> Iterator[Layer]:
    """Yield the modules, from a node of the weights downwards, that hold arrays themselves."""
    children = _children(node)
    arrays = {name: child for name, child in children.items() if isinstance(child, jax.Array | np.ndarray)}
    fixed = {name: child.value for name, child in children.items() if isinstance(child, Fixed)}
    if arrays or fixed:
        yield Layer(
            part,
            path,
            "" if isinstance(node, dict) else type(node).__name__,
            {name: array.shape for name, array in (arrays | fixed).items()},
            sum(array.size for array in arrays.values()),
            sum(array.size for array in fixed.values()),
        )
    for name, child in children.items():
        if name not in arrays and name not in fixed:
            yield from _layers(part, f"{path}{name}" if name.startswith("[") else f"{path}.{name}".strip("."), child)


def _children(node: object) -> dict[str, object]:
    """Return what a node of a pytree holds, by name; the leaves of a type that is not known."""
    if dataclasses.is_dataclass(node):
        return {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    if isinstance(node, dict):
        return {str(name): child for name, child in node.items()}
    leaves = node if isinstance(node, list | tuple) else jax.tree.leaves(node)
    return {f"[{i}]": leaf for i, leaf in enumerate(leaves) if leaf is not node}
