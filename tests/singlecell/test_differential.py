"""The error rates of differential expression, on simulated cells."""

import numpy as np
import pytest
from scipy import sparse, stats

from diabolo.errors import InvalidData
from diabolo.singlecell import differential_expression
from simulated_cells import Cells

GENES, DIFFERENT = 300, 45


def simulated(seed, fold=1.0):
    """Cells of two groups in two batches of different shares, with more variation than a negative binomial's."""
    rng = np.random.default_rng(seed)
    n = 300
    batch = rng.integers(2, size=n)
    group = (rng.random(n) < np.array([0.3, 0.6])[batch]).astype(int)
    truth = np.zeros(GENES)
    truth[:DIFFERENT] = fold * rng.choice([-1, 1], DIFFERENT)
    logs = rng.uniform(-2, 3, GENES) + rng.normal(scale=0.7, size=(2, GENES))[batch] + truth * group[:, None]
    logs += rng.normal(scale=0.5, size=n)[:, None] * rng.normal(scale=0.5, size=GENES)  # a state of the cell
    mean = rng.lognormal(0, 0.5, (n, 1)) * np.exp(logs)
    counts = rng.negative_binomial(2.0, 2.0 / (2.0 + mean))
    return Cells(counts, {"batch": batch.astype(str), "group": np.where(group, "b", "a")}), truth


def test_the_false_discovery_rate_is_kept_and_most_genes_are_found():
    shares, power = [], []
    for seed in range(6):
        cells, truth = simulated(seed)
        found = differential_expression(cells, "group", "b", batch_key="batch")["p_adjusted"].to_numpy() <= 0.1
        shares.append((found & (truth == 0)).sum() / max(1, found.sum()))
        power.append(found[truth != 0].mean())
    assert np.mean(shares) < 0.13  # 0.1 times the share of genes that do not differ, and chance
    assert np.mean(power) > 0.6


def test_p_values_are_uniform_if_nothing_differs():
    p = np.concatenate(
        [
            differential_expression(simulated(s, 0.0)[0], "group", "a", batch_key="batch")["p_value"]
            for s in range(10, 14)
        ]
    )
    assert stats.kstest(p, "uniform").statistic < 0.05
    assert (p < 0.01).mean() < 0.02


def test_folds_are_right_and_of_the_sign_of_the_first_group():
    cells, truth = simulated(0)
    found = differential_expression(cells, "group", "b", "a", batch_key="batch")
    often = (found["mean1"] + found["mean2"] > 2).to_numpy()
    assert np.abs(found["log2_fold_change"] * np.log(2) - truth)[often].median() < 0.2
    back = differential_expression(cells, "group", "a", "b", batch_key="batch")
    np.testing.assert_allclose(back["score"], -found["score"], atol=0.3)  # the median is that of shrunk folds
    assert list(found.index) == list(cells.var_names)


def test_sparse_counts_give_the_same():
    cells, _ = simulated(1)
    dense = differential_expression(cells, "group", "a")
    cells.X = sparse.csr_matrix(cells.X)
    np.testing.assert_allclose(differential_expression(cells, "group", "a"), dense, rtol=1e-9, atol=1e-12)


def test_a_group_needs_cells():
    cells, _ = simulated(1)
    with pytest.raises(InvalidData, match="'c'"):
        differential_expression(cells, "group", "c")
    with pytest.raises(InvalidData, match="'groups'"):
        differential_expression(cells, "groups", "a")
