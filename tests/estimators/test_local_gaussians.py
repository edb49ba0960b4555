"""A mixture of groups of rows has the moments of all rows, those with labels included."""

import numpy as np
import pytest

from diabolo.estimators.local_gaussians import LocalGaussians


def of_levels(n=1200, seed=0):
    """Rows whose numbers depend on a category of four and on a boolean, and the encoded labels."""
    rng = np.random.default_rng(seed)
    kind, flag = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05]), rng.random(n) < 0.3
    labels = np.column_stack([np.eye(4)[kind], flag])
    rows = rng.normal(size=(n, 5)) @ rng.normal(size=(5, 5)) + labels @ rng.normal(scale=2, size=(5, 5))
    return rows, labels


@pytest.fixture(scope="module")
def fitted():
    rows, labels = of_levels()
    features = np.hstack([rows / rows.std(axis=0), labels])
    return LocalGaussians.fit(rows, features, labels, np.random.default_rng(0))


def test_mean_and_covariance_are_those_of_the_rows(fitted):
    rows, _ = of_levels()
    means = fitted.means_at(np.arange(len(rows)), fitted.labels)
    within = np.einsum("m,mqi,mqj->ij", fitted.weights, fitted.factors, fitted.factors)
    np.testing.assert_allclose(means.mean(axis=0), rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.cov(means.T, bias=True) + within, np.cov(rows.T, bias=True), rtol=1e-4, atol=1e-4)


def test_the_mean_in_each_category_is_that_of_its_rows_up_to_the_ridge(fitted):
    rows, labels = of_levels()
    means = fitted.means_at(np.arange(len(rows)), fitted.labels)
    for known, new in zip(labels.T, fitted.labels.T, strict=True):
        lost = np.abs(rows[known == 1].mean(axis=0) - means[new == 1].mean(axis=0))
        assert (lost < 0.03 * rows.std(axis=0)).all()


def test_groups_without_labels_have_the_moments_of_their_rows():
    rows = of_levels()[0]
    gaussians = LocalGaussians.fit(rows, rows, np.empty((len(rows), 0)), np.random.default_rng(0))
    assert gaussians.effects.shape == (0, 5)
    drawn = gaussians.rows_at(
        np.arange(len(rows)), gaussians.labels, gaussians.noise(len(rows), np.random.default_rng(1))
    )
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(rows.T), rtol=0.2, atol=0.2)
