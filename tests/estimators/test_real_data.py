"""All five systems on real data from outside scikit-learn; skipped, with the reason, where the data are not."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

import diabolo
from diabolo import metrics

pytestmark = pytest.mark.slow

SYSTEMS = {
    "basic": diabolo.BasicAutoencoder(n_latent=8),
    "stacked": diabolo.StackedAutoencoder(n_latent=8, hidden_layer_sizes=(64, 32)),
    "sparse": diabolo.SparseAutoencoder(n_hidden=42, sparsity_weight=0.1, learning_rate=1e-2),
    "denoising": diabolo.DenoisingAutoencoder(n_latent=8),
    "variational": diabolo.VariationalAutoencoder(n_latent=4),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_abnormal_heart_traces_are_less_likely_than_normal_ones(name, data_dir):
    """Cardiotocograms: trained on normal rows only, by a published split; labels are used for the figure alone."""
    with np.load(data_dir / "adbench" / "6_cardio.npz") as file:
        X, y = file["X"], file["y"]
    with np.load(data_dir / "adbench" / "dean2025_oneclass_split_indices.npz") as split:
        test = np.zeros(len(X), bool)
        test[split["cardio" if "cardio" in split.files else "6_cardio"]] = True
    model = SYSTEMS[name].set_params(max_epochs=60, random_state=0).fit(X[~test])
    assert roc_auc_score(y[test], -model.score_samples(X[test])) > 0.75


def _images(path, n):
    with np.load(path) as file:
        return file["X_train"][:n].reshape(n, -1) / 255, file["X_test"][:500].reshape(500, -1) / 255


def test_a_deep_code_keeps_more_of_an_image_than_pca(data_dir):
    train, test = _images(data_dir / "fashion_mnist" / "fashion_mnist.npz", 4000)
    pca = PCA(8, random_state=0).fit(train)
    deep = diabolo.StackedAutoencoder(
        n_latent=8, hidden_layer_sizes=(256, 64), scaling=None, max_epochs=20, learning_rate=2e-3, random_state=0
    ).fit(train)
    linear_error = metrics.squared_error(test, pca.inverse_transform(pca.transform(test)))
    assert metrics.squared_error(test, deep.reconstruct(test)) < 0.85 * linear_error


def test_binary_digits_are_likelier_under_a_variational_model_than_pixel_by_pixel(data_dir):
    with np.load(data_dir / "binarized_mnist" / "binarized_mnist.npz") as file:
        train, test = file["X_train"][:4000].astype(np.float32), file["X_test"][:300].astype(np.float32)
    vae = diabolo.VariationalAutoencoder(
        n_latent=16, hidden_layer_sizes=(256,), likelihood="bernoulli", beta="linear", max_epochs=12,
        learning_rate=2e-3, random_state=0,
    ).fit(train)  # fmt: skip
    p = np.clip(train.mean(axis=0), 1e-3, 1 - 1e-3)
    independent = (test * np.log(p) + (1 - test) * np.log1p(-p)).sum(axis=1).mean()
    bound, estimate = vae.elbo(test).mean(), vae.log_likelihood(test, n_samples=256).mean()
    assert independent + 50 < bound < estimate < 0
