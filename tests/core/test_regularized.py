"""Normalisation and dropout: what training computes, what is kept of it, and what is computed afterwards."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diabolo
from diabolo import Autoencoder, parts, sweep
from diabolo.core.model import Model, loss, training_loss
from formula import apply

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(48, 5)) @ np.random.default_rng(1).normal(size=(5, 5)) + 3


def estimator(**given):
    encoder = parts.RegularizedMLP((6,), **given)
    return Autoencoder(encoder=encoder, max_epochs=4, batch_size=16, random_state=0)


def built(part, n_in=5, n_out=3):
    return part.build(np.random.default_rng(0), n_in, n_out)


in_training = jax.jit(lambda part, module, row_weight, x, key=KEY: part.in_training(module, key, row_weight)(x))


@pytest.mark.parametrize("batch", [(7,), (2, 7)])
def test_layers_are_normalised_over_the_units_of_a_row(batch):
    part = parts.RegularizedMLP((6,), "tanh", "layer")
    network, x = built(part), np.random.default_rng(1).normal(size=(*batch, 5)).astype(np.float32)
    a = x @ np.asarray(network.layers[0].weight)
    normal = (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)
    expected = np.tanh(normal) @ np.asarray(network.layers[1].weight)
    np.testing.assert_allclose(apply(network, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [(), (3,)])
def test_batches_are_normalised_over_the_rows_that_count(samples):
    part = parts.RegularizedMLP((6,), "identity", "batch")
    weight, x = [1, 1, 2.5, 1, 0, 0], np.random.default_rng(1).normal(size=(*samples, 6, 5)).astype(np.float32)
    x[..., 4:, :] = 1e3
    network = built(part)
    a = x @ np.asarray(network.layers[0].weight)
    rows = a[..., :4, :].reshape(-1, 6)
    normal = (a - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5)
    expected = normal @ np.asarray(network.layers[1].weight)
    np.testing.assert_allclose(in_training(part, network, np.float32(weight), x), expected, rtol=1e-3, atol=1e-3)


def test_moving_averages_are_those_of_the_batches_without_a_bias_of_the_start():
    part = parts.RegularizedMLP((6,), "tanh", "batch")
    network = built(part)
    first, batches = np.asarray(network.layers[0].weight), np.random.default_rng(1).normal(2, 3, (4, 8, 5))
    updated = jax.jit(lambda network, x: part.updated(part.in_training(network, KEY, np.ones(8, np.float32)), x))
    for x in np.float32(batches):
        new = updated(network, x)
        assert {id(leaf) for leaf in jax.tree.leaves(new)} == {
            id(leaf) for leaf in jax.tree.leaves(new.norms[0].moving)
        }
        network = jax.tree.map(lambda a, b: a if b is None else b, network, new, is_leaf=lambda n: n is None)
    weights = 0.99 ** np.arange(4)[::-1] / sum(0.99 ** np.arange(4))
    mean, variance, found = jax.jit(lambda network, x: (*network.norms[0].moving.moments, network(x)))(
        network, np.float32(batches[0])
    )
    of_batches = batches @ first
    np.testing.assert_allclose(mean, weights @ of_batches.mean(1), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(variance, weights @ of_batches.var(1), rtol=1e-3)
    normal = (of_batches[0] - np.asarray(mean)) / np.sqrt(np.asarray(variance) + 1e-5)
    expected = np.tanh(normal) @ np.asarray(network.layers[1].weight)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_dropout_masks_a_share_of_units_and_keeps_the_mean():
    part = parts.RegularizedMLP((400,), "identity", "none", 0.25)
    network, x, weight = built(part, 5, 400), np.ones((50, 5), np.float32), np.ones(50, np.float32)
    hidden = x @ np.asarray(network.layers[0].weight)
    probe = np.linalg.pinv(network.layers[1].weight)  # what the last layer has read
    once, again, other = (np.asarray(in_training(part, network, weight, x, jax.random.key(i))) for i in (0, 0, 1))
    seen = once @ probe
    is_kept = np.abs(seen) > 1e-2
    assert is_kept[np.abs(hidden) > 0.1].mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_allclose(seen[is_kept], (hidden / 0.75)[is_kept], rtol=0.05, atol=0.02)
    np.testing.assert_allclose(np.asarray(apply(network, x)) @ probe, hidden, atol=0.02)
    assert np.array_equal(again, once)
    assert not np.array_equal(other, once)


def test_only_a_step_of_training_is_noisy():
    recipe = parts.Recipe(encoder=parts.RegularizedMLP((6,), dropout=0.5), latent=parts.Deterministic(2))
    model, given = Model.build(recipe, 5, 0), (np.float32(1), np.ones(48, np.float32), np.float32(48))
    both = jax.jit(lambda model, *given: [of(model, *given)[0] for of in (loss, training_loss)])
    found = [both(model, np.float32(X), key, *given) for key in jax.random.split(KEY, 2)]
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_networks_without_a_mode_are_as_they_were():
    model = Model.build(parts.Recipe(encoder=parts.RegularizedMLP((6,))), 5, 0)
    assert model.in_training(KEY, jnp.ones(3)) is model


BOTH = {"normalization": "batch", "dropout": 0.2}


@pytest.fixture(scope="module")
def fitted():
    return estimator(**BOTH).fit(X)


def test_moving_averages_are_trained_in_both_networks(fitted):
    """36 training rows in batches of 16 make 3 steps in each of at most 4 epochs."""
    for network in (fitted.model_.weights.encoder, fitted.model_.weights.decoder):
        (norm,) = network.norms
        assert float(norm.moving.total) == pytest.approx(1 - 0.99 ** (3 * fitted.best_epoch_), rel=1e-4)
        assert (np.asarray(norm.moving.variance) > 0).all()


def test_results_do_not_depend_on_the_other_rows(fitted):
    order = np.random.default_rng(0).permutation(len(X))
    for read in (fitted.transform, fitted.reconstruct, fitted.score_samples):
        np.testing.assert_array_equal(read(X)[order], read(X[order]))
        np.testing.assert_allclose(read(X)[:7], read(X[:7]), rtol=1e-4, atol=1e-5)


def test_it_is_saved_and_resumed_to_the_bit(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    np.testing.assert_array_equal(diabolo.load(tmp_path / "m").reconstruct(X), fitted.reconstruct(X))

    def stop(epoch, record):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimator(**BOTH).fit(X, checkpoint_dir=tmp_path / "c", callback=stop)
    resumed = estimator(**BOTH).fit(X, checkpoint_dir=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(resumed.reconstruct(X), fitted.reconstruct(X))


def test_a_sweep_over_dropout_is_its_single_fits():
    found = sweep(estimator(**BOTH), {"encoder__dropout": [0.1, 0.4]}, X)
    single = estimator(**BOTH | {"dropout": 0.4}).fit(X)
    np.testing.assert_allclose(found.estimators_[1].reconstruct(X), single.reconstruct(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "given",
    [
        {"objective": parts.ImportanceWeighted(3), "latent": parts.DiagonalGaussian(2)},
        {"condition": 0},
        {"encoder": parts.Residual(parts.RegularizedMLP((6,), **BOTH)), "latent": parts.Deterministic(5)},
        {"penalties": (parts.Contractive(),)},
    ],
    ids=["samples", "condition", "residual", "contractive"],
)
def test_it_works_with_other_parts(given):
    model = estimator(**BOTH).set_params(**given).fit(X)
    assert np.isfinite(model.reconstruct(X)).all()
    weights = jax.tree.leaves(model.model_.weights.decoder, is_leaf=lambda n: hasattr(n, "moving"))
    assert any(float(one.moving.total) > 0 for one in weights if hasattr(one, "moving"))


def test_it_is_exported(fitted, tmp_path):
    found = diabolo.export_onnx(fitted, tmp_path / "o", X)
    assert max(found.differences.values()) < 1e-4
