"""Parts that are not trained, and the user's own transformation of Optax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

import diabolo
from diabolo import Autoencoder, BasicAutoencoder, SparseAutoencoder, VariationalAutoencoder, parts
from diabolo.core.model import Model, loss
from diabolo.errors import InvalidParameter

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(64, 5))
FEW = {"max_epochs": 3, "batch_size": 16, "random_state": 0, "init": "random", "validation_fraction": None}


def leaves(model, name):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(getattr(model.model_.weights, name))]


def differ(one, other, name):
    return any(not np.array_equal(a, b) for a, b in zip(leaves(one, name), leaves(other, name), strict=True))


def deep(**given):
    return Autoencoder(**{"encoder": parts.MLP((6,)), "latent": parts.Deterministic(2)} | FEW | given)


# -- frozen parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_frozen_part_keeps_its_bits_and_the_others_are_trained(optimizer):
    start = deep(max_epochs=0).fit(X)
    for frozen, free in (("encoder", "decoder"), ("decoder", "encoder")):
        model = deep(frozen=(frozen,), optimizer=optimizer).fit(X)
        assert not differ(model, start, frozen)
        assert differ(model, start, free)


@pytest.mark.parametrize("encoder", [parts.MLP((6,)), parts.SkipMLP((6,))])
def test_a_decoder_is_trained_for_the_codes_of_a_fitted_model(encoder):
    first = deep(encoder=encoder).fit(X)
    noisy = X + RNG.normal(size=X.shape)
    tuned = deep(encoder=encoder, init=FrozenEstimator(first), frozen=["encoder"]).fit(noisy)
    np.testing.assert_array_equal(tuned.transform(X), first.transform(X))
    assert differ(tuned, first, "decoder")


def test_moving_averages_of_a_frozen_network_do_not_move():
    model = deep(encoder=parts.RegularizedMLP((6,), normalization="batch"), frozen=("encoder",)).fit(X)
    assert float(model.model_.weights.encoder.norms[0].moving.total) == 0
    assert float(model.model_.weights.decoder.norms[0].moving.total) > 0


def test_other_parts_and_other_steps_leave_it_as_it_is():
    given = {"n_latent": 2, "hidden_layer_sizes": (4,), "likelihood": "learned_gaussian", **FEW}
    start = VariationalAutoencoder(**given | {"max_epochs": 0}).fit(X)
    model = VariationalAutoencoder(**given, frozen=("likelihood",)).fit(X)
    assert not differ(model, start, "likelihood")
    sparse = SparseAutoencoder(n_hidden=6, frozen=("encoder",), **FEW)  # whose last step solves for the biases
    assert not differ(sparse.fit(X), clone(sparse).set_params(max_epochs=0).fit(X), "encoder")


def test_it_is_saved_and_resumed(tmp_path):
    model = deep(frozen=("encoder",)).fit(X)
    model.save(tmp_path / "m")
    again = diabolo.load(tmp_path / "m")
    assert again.frozen == ("encoder",)
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))

    def stop(epoch, record):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deep(frozen=("encoder",)).fit(X, checkpoint_dir=tmp_path / "c", callback=stop)
    resumed = deep(frozen=("encoder",)).fit(X, checkpoint_dir=tmp_path / "c", resume=True)
    np.testing.assert_array_equal(resumed.reconstruct(X), model.reconstruct(X))


def test_a_part_that_does_not_exist_is_refused():
    with pytest.raises(InvalidParameter, match="'decoder'.*'coder'"):
        deep(frozen=("coder",)).fit(X)


# -- the user's own transformation -----------------------------------------------------------------------------------


def test_its_updates_are_added_as_optax_adds_them():
    """One epoch of one batch is one step of gradient descent, written with optax.apply_updates."""
    given = FEW | {"max_epochs": 1, "batch_size": 64, "scaling": None}
    start = BasicAutoencoder(**given | {"max_epochs": 0}).fit(X).model_
    fitted = BasicAutoencoder(**given, optimizer=optax.sgd(0.1)).fit(X).model_

    def value(weights):
        rows = jnp.asarray(X, jnp.float32)
        return loss(Model(start.recipe, weights), rows, jax.random.key(0), jnp.ones(()), jnp.ones(64))[0]

    @jax.jit
    def one_step(weights):
        optimizer = optax.sgd(0.1)
        updates, _ = optimizer.update(jax.grad(value)(weights), optimizer.init(weights))
        return optax.apply_updates(weights, updates)

    expected = one_step(start.weights)
    for a, b in zip(jax.tree.leaves(fitted.weights), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_adam_of_optax_at_a_constant_rate_is_our_adam():
    ours = deep(learning_rate=0.01, learning_rate_schedule="constant").fit(X)
    theirs = deep(optimizer=optax.adam(0.01)).fit(X)
    np.testing.assert_allclose(theirs.reconstruct(X), ours.reconstruct(X), rtol=1e-3, atol=1e-4)


def test_a_chain_that_needs_the_weights_is_resumed_to_the_bit(tmp_path):
    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.01, 100)))
    whole = deep(optimizer=chain).fit(X)

    def stop(epoch, record):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deep(optimizer=chain).fit(X, checkpoint_dir=tmp_path, callback=stop)
    resumed = deep(optimizer=chain).fit(X, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.reconstruct(X), whole.reconstruct(X))


def test_a_saved_model_has_no_transformation(tmp_path):
    model = deep(optimizer=optax.adam(0.01)).fit(X)
    model.save(tmp_path / "m")
    again = diabolo.load(tmp_path / "m")
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    assert again.optimizer is None
    with pytest.raises(InvalidParameter, match="optimizer"):
        again.fit(X)
    assert again.set_params(optimizer=optax.sgd(0.01)).fit(X).n_epochs_ == 3


def test_two_learning_rates_are_refused():
    with pytest.raises(InvalidParameter, match="own learning rate"):
        deep(optimizer=optax.adam(0.01), learning_rate=0.1).fit(X)
