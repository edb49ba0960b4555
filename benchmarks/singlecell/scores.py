"""What is measured of the codes of cells whose line and batch are known."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_score
from sklearn.neighbors import NearestNeighbors

__all__ = ["NEIGHBOURS", "batch_mixing", "scores"]

NEIGHBOURS = 30


def batch_mixing(codes: np.ndarray, line: np.ndarray, batch: np.ndarray) -> float:
    """Of the 30 nearest cells, the share from other batches, over the share of such cells in the line; a mean.

    It is 1 if the cells of a line have the same codes in every batch, and 0 if batches are apart.
    """
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(codes).kneighbors(codes, return_distance=False)[:, 1:]
    others = (batch[nearest] != batch[:, None]).mean(axis=1)
    expected = np.array([(batch[line == one] != of).mean() for one, of in zip(line, batch, strict=True)])
    return float((others / expected).mean())


def scores(codes: np.ndarray, line: np.ndarray, batch: np.ndarray) -> dict[str, float]:
    """Return the adjusted Rand index of k-means with the lines, their silhouette, and the mixing of batches."""
    found = KMeans(len(set(line)), n_init=10, random_state=0).fit_predict(codes)
    return {
        "ari": float(adjusted_rand_score(line, found)),
        "silhouette": float(silhouette_score(codes, line)),
        "mixing": batch_mixing(codes, line, batch),
    }
