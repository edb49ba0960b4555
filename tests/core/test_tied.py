"""Tied weights: the decoder's matrices are the encoder's, transposed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

import diabolo
from diabolo import Autoencoder, parts
from diabolo.core.model import Model, loss
from diabolo.errors import InvalidPart
from formula import slopes

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3)) @ RNG.normal(size=(3, 6)) + 0.1 * RNG.normal(size=(200, 6)) + 5
FEW = {"max_epochs": 3, "random_state": 0}


def tied(hidden=(5, 4), **given):
    return parts.Recipe(encoder=parts.TiedMLP(hidden, "tanh"), latent=parts.Deterministic(2), **given)


def test_the_decoder_multiplies_by_the_transposed_matrices():
    model = Model.build(tied(), 6, 0)
    first, second, last = (np.asarray(layer.weight) for layer in model.weights.encoder.layers)
    z = RNG.normal(size=(7, 2)).astype(np.float32)
    expected = np.tanh(np.tanh(z @ last.T) @ second.T) @ first.T
    np.testing.assert_allclose(jax.jit(lambda model, z: model.decode(z).mean)(model, z), expected, rtol=1e-5, atol=1e-6)


def test_a_gradient_is_the_sum_of_both_paths():
    """By finite differences: a matrix is moved once, and moves both networks."""
    model, key = Model.build(tied(), 6, 0), jax.random.key(0)
    value = lambda w: loss(Model(model.recipe, w), jnp.asarray(X[:9]), key, jnp.ones(()), jnp.ones(9))[0]  # noqa: E731
    by_gradient, by_differences = slopes(value, model.weights)
    assert by_differences == pytest.approx(by_gradient, rel=1e-6)


@pytest.mark.parametrize("init", ["closed_form", "random"])
def test_a_tied_linear_autoencoder_is_pca(init):
    model = Autoencoder(
        encoder=parts.TiedMLP(()), latent=parts.Deterministic(2), scaling="global", init=init, random_state=0,
        max_epochs=0 if init == "closed_form" else 300, learning_rate=0.01, validation_fraction=None,
    ).fit(X)  # fmt: skip
    pca = PCA(2).fit(X)
    np.testing.assert_allclose(model.reconstruct(X), pca.inverse_transform(pca.transform(X)), atol=0.02)
    axes = np.asarray(model.model_.weights.encoder.layers[0].weight)
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=0.02)


CASES = {
    "variational": {"latent": parts.DiagonalGaussian(2), "objective": "elbo", "likelihood": "learned_gaussian"},
    "missing": {"corruption": parts.MaskCells(0.2)},
    "sparse": {"latent": parts.Deterministic(2, "sigmoid")},
    "noisy": {"corruption": parts.GaussianNoise()},
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_trained_saved_and_exported_with_other_parts(name, tmp_path):
    model = Autoencoder(encoder=parts.TiedMLP((5,)), **CASES[name], **FEW).fit(X)
    assert [leaf.ndim for leaf in jax.tree.leaves(model.model_.weights.decoder)] == [1, 1]
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(diabolo.load(tmp_path / "m").reconstruct(X), model.reconstruct(X))
    assert diabolo.export_onnx(model, tmp_path / "o", X).differences
    assert "findings" in dir(model.report(X))


def test_a_decoder_that_does_not_fit_the_encoder_is_refused():
    X_of_a_condition = np.column_stack([X, np.arange(200) % 2])
    wrong = {
        "another encoder": {"encoder": parts.MLP((5,)), "decoder": parts.TransposedMLP((4,))},
        "no layers": {"encoder": parts.SkipMLP((5,)), "decoder": parts.TransposedMLP((5,))},
        "two numbers per feature": {"encoder": parts.TiedMLP((5,)), "likelihood": parts.HeteroscedasticGaussian()},
        "a condition": {"encoder": parts.TiedMLP((5,)), "condition": 6},
    }
    for given in wrong.values():
        with pytest.raises(InvalidPart, match="TransposedMLP.*TiedMLP"):
            Autoencoder(**given, **FEW).fit(X_of_a_condition)
    assert Autoencoder(encoder=parts.MLP((5,)), decoder=parts.TransposedMLP((5,)), **FEW).fit(X).transform(X).size
