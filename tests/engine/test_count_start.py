"""The linear start of a model of gene counts."""

import numpy as np
import pytest

from diabolo import VariationalAutoencoder, parts

N, GENES = 400, 30


def simulated(rng, shares):
    """Cells of two kinds in two batches, which hold the given shares of the first kind; offsets by gene and batch."""
    batch = np.arange(N) % 2
    kind = (rng.random(N) > np.asarray(shares)[batch]).astype(int)
    kinds, offsets = rng.normal(size=(2, GENES)), rng.normal(scale=0.5, size=(2, GENES))
    size = rng.uniform(0.5, 2.0, (N, 1))
    mean = size * np.exp(3 + kinds[kind] + offsets[batch])
    counts = rng.negative_binomial(5, 5 / (5 + mean))
    return np.hstack([counts, np.eye(2)[batch], size]).astype(float), batch, kind, offsets


def started(rows, **settings):
    likelihood = parts.GeneCounts(n_batches=2, size_factor="last", **settings)
    model = VariationalAutoencoder(
        n_latent=3,
        hidden_layer_sizes=(4,),
        likelihood=likelihood,
        condition=[GENES, GENES + 1, GENES + 2],
        scaling=None,
        max_epochs=0,
        random_state=0,
    )
    return model.fit(rows)


@pytest.mark.parametrize("family", ["nb", "zinb"])
def test_offsets_are_right_where_batches_hold_different_shares_of_kinds(family):
    rows, batch, kind, offsets = simulated(np.random.default_rng(0), (0.9, 0.2))
    model = started(rows, family=family)
    truth = offsets[1] - offsets[0]
    logs = [np.log(model.inverse_transform(np.zeros((1, 3)), given=given_batch(b))[0, :GENES]) for b in (0, 1)]
    assert np.abs(logs[1] - logs[0] - truth).max() < 0.35
    centred = np.log1p(rows[:, :GENES] / rows[:, -1:])
    by_batch = centred[batch == 1].mean(axis=0) - centred[batch == 0].mean(axis=0)
    assert np.abs(logs[1] - logs[0] - truth).mean() < 0.3 * np.abs(by_batch - truth).mean()
    codes = model.transform(rows)
    within = codes[kind == 0]
    apart = within[batch[kind == 0] == 1].mean(axis=0) - within[batch[kind == 0] == 0].mean(axis=0)
    between = codes[kind == 1].mean(axis=0) - codes[kind == 0].mean(axis=0)
    assert np.linalg.norm(apart) < 0.1 * np.linalg.norm(between)


def given_batch(b):
    return {GENES: float(b == 0), GENES + 1: float(b == 1), GENES + 2: 1.0}


def test_the_concentration_of_the_start_is_that_of_the_counts():
    rows, *_ = simulated(np.random.default_rng(1), (0.5, 0.5))
    own = np.asarray(started(rows).model_.weights.likelihood["concentration"])
    assert np.median(np.log1p(np.exp(own))) == pytest.approx(5, rel=0.25)
    by_batch = np.asarray(started(rows, dispersion="gene-batch").model_.weights.likelihood["concentration"])
    assert by_batch.shape == (2, GENES)
