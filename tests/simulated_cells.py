"""Cells in the form of an AnnData object, for tests without the package."""

import numpy as np
import pandas as pd
from scipy import sparse


class Cells:
    """The attributes of AnnData that diabolo uses."""

    def __init__(self, counts, about, genes=None):
        self.X, self.layers, self.obsm = counts, {}, {}
        self.obs = pd.DataFrame(about, index=[f"cell {i}" for i in range(counts.shape[0])])
        self.var_names = pd.Index(genes or [f"gene {i}" for i in range(counts.shape[1])])

    @property
    def shape(self):
        return self.X.shape

    def __getitem__(self, rows):
        return Cells(self.X[rows], self.obs.iloc[rows].to_dict("list"), list(self.var_names))


def simulated_cells(n=400, genes=40, shares=((0.6, 0.3, 0.1), (0.2, 0.3, 0.5)), seed=0):
    """Three kinds of cells, in two batches that hold different shares of them."""
    rng = np.random.default_rng(seed)
    batch = np.arange(n) % 2
    kind = np.array([rng.choice(3, p=shares[b]) for b in batch])
    logs = 2 + rng.normal(size=(3, genes))[kind] + rng.normal(scale=0.5, size=(2, genes))[batch]
    mean = rng.lognormal(0, 0.4, (n, 1)) * np.exp(logs)
    counts = rng.negative_binomial(5.0, 5.0 / (5.0 + mean)).astype(np.float32)
    return Cells(counts, {"batch": np.array(["one", "two"])[batch], "kind": kind.astype(str)})


def as_sparse(cells):
    """The same cells with sparse counts."""
    same = cells[np.arange(cells.shape[0])]
    same.X = sparse.csr_matrix(cells.X)
    return same
