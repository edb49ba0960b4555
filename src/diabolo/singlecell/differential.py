"""Differential expression between two groups of cells, with a false discovery rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse, stats

from ..engine.count_regression import count_means, regress_counts
from ..errors import InvalidData, MissingDependencyError
from .cells import AnnDataLike, CellSpec, Counts, column_of, counts_of, sizes_of

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["differential_expression"]

_GENES = 256
"""Number of genes tested at a time, whose counts are made dense."""
_LEAST_CELLS, _TURNS = 3, 40
_OFTEN = 0.2
"""The median is that of genes with counts in at least this share of cells."""


def differential_expression(
    adata: AnnDataLike,
    groupby: str,
    group1: object,
    group2: object | None = None,
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    size_factor_key: str | None = None,
) -> DataFrame:
    r"""Test which genes differ between two groups of cells, given batch and size factor.

    The model is x ~ NB(s·exp(o_b + β·[cell in group 1]), r) for each gene. A few genes with many counts change the
    size factors of a group, and with them the β of all genes. Therefore a gene differs if its β is not the median of
    all (cf. Anders & Huber 2010, eq. 5). The test is that of the score of β at the median (Rao 1948), with the variance
    of the cells' own scores (White 1982), so that it remains valid if counts are not negative binomial. The adjusted
    p-values are those of Benjamini & Hochberg (1995): of the genes with ``p_adjusted`` ≤ 0.05, about 5 % at most do not
    differ. Cells are the samples: for a statement about donors, test sums over the cells of each donor instead.

    Parameters
    ----------
    adata : AnnData
        Cells × genes, with counts.
    groupby : str
        The column of ``adata.obs`` with the group of each cell.
    group1, group2 : object
        The groups. If ``group2`` is None, all other cells.
    layer, batch_key, size_factor_key : str or None, default=None
        As in `SingleCellAutoencoder`.

    Returns
    -------
    pandas.DataFrame
        One row per gene, by its name: ``log2_fold_change`` of group 1 over group 2 within batches, relative to the
        median gene, and shrunk if counts are few; ``score``, about N(0, 1) if the gene does not differ; ``p_value``;
        ``p_adjusted``; ``mean1`` and ``mean2``, the mean counts of cells of median size factor.

    Raises
    ------
    InvalidType, InvalidData
        If ``adata`` is not an AnnData object, a column is missing, or a group has fewer than 3 cells.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError("A table of genes needs pandas: pip install pandas.") from error
    labels = column_of(adata, groupby).astype(str)
    first = labels == str(group1)
    second = ~first if group2 is None else labels == str(group2)
    for name, members in ((group1, first), (group2, second)):
        if members.sum() < _LEAST_CELLS:
            raise InvalidData(
                f"Group {'of all other cells' if name is None else repr(name)} has {members.sum()} cells; at least "
                f"{_LEAST_CELLS} are needed. adata.obs[{groupby!r}] has {', '.join(sorted(set(labels))[:8])}."
            )
    kept = first | second
    counts = counts_of(adata, layer)[kept]
    spec = CellSpec.learn(adata, layer, batch_key, size_factor_key)
    given = None if size_factor_key is None else column_of(adata, size_factor_key)[kept]
    size = sizes_of(counts, given) / spec.unit
    groups = spec.one_hot(adata)[kept]
    groups = groups[:, groups.any(axis=0)] if groups.shape[1] else np.ones((kept.sum(), 1))
    member = first[kept].astype(float)[:, None]
    columns = sparse.csc_matrix(counts) if sparse.issparse(counts) else counts
    blocks = [slice(start, start + _GENES) for start in range(0, counts.shape[1], _GENES)]
    folds = np.concatenate([_fold(_dense(columns[:, block]), member, groups, size) for block in blocks])
    often = np.asarray((counts > 0).mean(axis=0)).ravel()
    common = float(np.median(folds[often >= min(_OFTEN, np.median(often))]))
    size = size * np.exp(common * (member - 0.5))
    found = [_tested(_dense(columns[:, block]), member, groups, size) for block in blocks]
    score, mean1, mean2 = (np.concatenate(parts) for parts in zip(*found, strict=True))
    p_values = 2 * stats.norm.sf(np.abs(score))
    return pd.DataFrame(
        {
            "log2_fold_change": (folds - common) / np.log(2),
            "score": score,
            "p_value": p_values,
            "p_adjusted": stats.false_discovery_control(p_values),
            "mean1": mean1,
            "mean2": mean2,
        },
        index=list(spec.genes),
    )


def _dense(counts: Counts) -> np.ndarray:
    return np.asarray(counts if isinstance(counts, np.ndarray) else counts.toarray(), np.float64)


def _fold(x: np.ndarray, member: np.ndarray, groups: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return β of each gene, with a prior N(0, 1)."""
    return regress_counts(x, member, groups, size, _TURNS)[0][0]


def _tested(
    x: np.ndarray, member: np.ndarray, groups: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each gene the score, and the mean counts of both groups per size factor."""
    nothing = member[:, :0]
    weights, offsets, r = regress_counts(x, nothing, groups, size)
    mean = count_means(nothing, weights, groups, offsets, size)
    weight = mean / (1 + mean / r)
    # The part of the membership that the batch does not explain, with the weights of each gene.
    expected = groups @ ((groups.T @ (weight * member)) / np.maximum(groups.T @ weight, 1e-12))
    scores = (member - expected) * (x - mean) / (1 + mean / r)
    spread = np.sqrt(np.square(scores).sum(axis=0))
    per_size = [(x * chosen / size).sum(axis=0) / chosen.sum() for chosen in (member, 1 - member)]
    return scores.sum(axis=0) / np.where(spread > 0, spread, 1), per_size[0], per_size[1]
