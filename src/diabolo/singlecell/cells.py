"""Cells of an AnnData object as rows of a model: counts of genes, one-hot batch, size factor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from ..errors import InvalidData, InvalidType, suggest

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["AnnDataLike", "CellSpec", "Counts", "column_of", "counts_of", "sizes_of"]

Counts: TypeAlias = np.ndarray | sparse.spmatrix
"""Counts of cells and genes, (n, G)."""


class AnnDataLike(Protocol):
    """The attributes of an AnnData object that are used."""

    X: Counts
    layers: Mapping[str, Counts]
    obs: DataFrame
    obsm: MutableMapping[str, np.ndarray]
    var_names: Iterable[object]
    shape: tuple[int, int]


def counts_of(adata: AnnDataLike, layer: str | None = None) -> Counts:
    """Return the counts of an AnnData object, (n, G): an array or a sparse matrix.

    Raises
    ------
    InvalidType
        If ``adata`` is not an AnnData object.
    InvalidData
        If there is no such layer.
    """
    if not all(hasattr(adata, name) for name in ("X", "obs", "obsm", "layers", "var_names")):
        raise InvalidType(f"An AnnData object is needed; got a {type(adata).__name__}. Use anndata.AnnData(counts).")
    if layer is not None and layer not in adata.layers:
        raise InvalidData(f"The cells have no layer {layer!r}. {suggest(layer, list(adata.layers))}")
    counts = adata.X if layer is None else adata.layers[layer]
    if counts is None:
        raise InvalidData("adata.X is empty. Name the layer that holds the counts: layer='counts'.")
    counts = counts[:] if not isinstance(counts, np.ndarray) and not sparse.issparse(counts) else counts
    return sparse.csr_matrix(counts) if sparse.issparse(counts) else np.asarray(counts)


def column_of(adata: AnnDataLike, key: str) -> np.ndarray:
    """Return a column of ``adata.obs``.

    Raises
    ------
    InvalidData
        If there is no such column, or a cell is missing in it.
    """
    if key not in adata.obs:
        raise InvalidData(f"adata.obs has no column {key!r}. {suggest(key, [str(name) for name in adata.obs])}")
    column = adata.obs[key]
    if column.isna().any():
        raise InvalidData(f"adata.obs[{key!r}] is empty in cell {int(column.isna().argmax()) + 1}. Fill it in.")
    return np.asarray(column)


def sizes_of(counts: Counts, given: np.ndarray | None = None) -> np.ndarray:
    """Return the size factor of each cell, (n, 1): a given one, or the sum of its counts.

    Raises
    ------
    InvalidData
        If one is not positive.
    """
    sizes = np.asarray(counts.sum(axis=1) if given is None else given, np.float64).reshape(-1, 1)
    if not (wrong := ~(sizes > 0) | ~np.isfinite(sizes)).any():
        return sizes
    what = "has no counts" if given is None else f"has the size factor {sizes[wrong][0]:g}"
    raise InvalidData(f"Cell {int(wrong[:, 0].argmax()) + 1} {what}. Leave such cells out.")


@dataclass(frozen=True)
class CellSpec:
    """What the rows of a model are made of."""

    genes: tuple[str, ...]
    batches: tuple[str, ...]
    """The names of the batches; empty without batches."""
    unit: float
    """The median size factor of the training cells, in which size factors are measured."""
    layer: str | None = None
    batch_key: str | None = None
    size_factor_key: str | None = None

    @classmethod
    def learn(
        cls,
        adata: AnnDataLike,
        layer: str | None = None,
        batch_key: str | None = None,
        size_factor_key: str | None = None,
    ) -> CellSpec:
        """Return the description of the cells of a fit; raises as `rows`."""
        counts = counts_of(adata, layer)
        given = None if size_factor_key is None else column_of(adata, size_factor_key)
        batches = () if batch_key is None else tuple(sorted(set(map(str, column_of(adata, batch_key)))))
        unit = float(np.median(sizes_of(counts, given)))
        return cls(tuple(map(str, adata.var_names)), batches, unit, layer, batch_key, size_factor_key)

    @property
    def n_features(self) -> int:
        """The number of features of a row."""
        return len(self.genes) + len(self.batches) + 1

    @property
    def condition(self) -> list[int]:
        """The positions of the features of the condition."""
        return list(range(len(self.genes), self.n_features))

    def rows(self, adata: AnnDataLike) -> Counts:
        """Return the rows of cells, (n, G + B + 1): sparse if the counts are sparse.

        Raises
        ------
        InvalidType, InvalidData
            If ``adata`` is not an AnnData object, has other genes or batches, or a cell has no counts.
        """
        counts = counts_of(adata, self.layer)
        if tuple(map(str, adata.var_names)) != self.genes:
            raise InvalidData(
                f"The cells have {counts.shape[1]} genes, and the model was fitted to {len(self.genes)}, of other "
                "names or in another order. Select them: adata[:, model.genes_]."
            )
        given = None if self.size_factor_key is None else column_of(adata, self.size_factor_key)
        blocks = [self.one_hot(adata), sizes_of(counts, given) / self.unit]
        if sparse.issparse(counts):
            return sparse.hstack([counts.astype(np.float32), *map(sparse.csr_matrix, blocks)], format="csr")
        return np.hstack([counts, *blocks]).astype(np.float32)

    def one_hot(self, adata: AnnDataLike) -> np.ndarray:
        """Return the batch of each cell, (n, B); raises as `batch_index`."""
        if self.batch_key is None:
            return np.zeros((adata.shape[0], 0))
        return np.eye(len(self.batches))[[self.batch_index(name) for name in column_of(adata, self.batch_key)]]

    def batch_index(self, name: object) -> int:
        """Return the number of a batch.

        Raises
        ------
        InvalidData
            If no training cell was of this batch.
        """
        if str(name) not in self.batches:
            known = ", ".join(self.batches[:8]) or "none"
            raise InvalidData(f"{name!r} is no batch of the training cells, which are: {known}. Give one of them.")
        return self.batches.index(str(name))

    def given(self, batch: object | None, size: float) -> np.ndarray:
        """Return a row, (1, G + B + 1), with a condition and without counts; the batch None is the mean of all."""
        row = np.full((1, self.n_features), np.nan)
        n = len(self.genes)
        row[0, n:-1] = (
            1 / max(1, len(self.batches)) if batch is None else np.eye(len(self.batches))[self.batch_index(batch)]
        )
        row[0, -1] = size
        return row
