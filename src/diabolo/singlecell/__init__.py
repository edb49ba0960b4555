"""Counts of genes in single cells: codes without batch effects, denoised expression, differential expression.

`SingleCellAutoencoder` reads an AnnData object (extra ``singlecell``) and trains a `VariationalAutoencoder`, whose
likelihood is `parts.GeneCounts` and whose condition is the batch and the size factor of a cell.
"""

from .autoencoder import SingleCellAutoencoder
from .differential import differential_expression

__all__ = ["SingleCellAutoencoder", "differential_expression"]
