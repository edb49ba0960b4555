"""Networks and activations: shapes, gradients, layers in turn."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import examples
from diabolo import parts
from diabolo.core.activations import ACTIVATIONS, THROUGH_ZERO, activate
from diabolo.core.layers import Dense, Fixed
from diabolo.core.model import Model, Recipe
from diabolo.errors import InvalidPart
from formula import REFERENCE, D, K, N, forward
from helpers import over

# -- the second writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_what_its_name_says(name):
    a = np.linspace(-4, 4, 33)
    np.testing.assert_allclose(activate(name, jnp.asarray(a, jnp.float32)), REFERENCE[name](a), rtol=2e-5, atol=2e-6)


def test_every_activation_has_a_reference():
    assert set(REFERENCE) == set(ACTIVATIONS)


# -- networks ---------------------------------------------------------------------------------------------------------


every_network = pytest.mark.parametrize(
    ("part", "n_in", "n_out"), [pytest.param(*widths, id=name) for name, *widths in examples.networks()]
)


@every_network
@over("batch", [(), (1,), (2, N), (0,), (2, 0, 3)])
def test_every_network_maps_batches_with_any_leading_axes(part, n_in, n_out, batch):
    network = eqx.filter_jit(part.build(np.random.default_rng(0), n_in, n_out))
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(*batch, n_in)), jnp.float32)
    out = network(rows)
    assert out.shape == (*batch, n_out)
    for one, row in zip(out.reshape(-1, n_out), rows.reshape(-1, n_in), strict=True):
        np.testing.assert_allclose(one, network(row[None])[0], rtol=1e-5, atol=1e-6)


@every_network
def test_gradients_reach_every_weight_of_a_network(part, n_in, n_out):
    def is_fixed(leaf):
        return isinstance(leaf, Fixed)

    network = part.build(np.random.default_rng(0), n_in, n_out)  # moved, since some weights start at 0
    network = jax.tree.map(lambda leaf: leaf if is_fixed(leaf) else leaf + 0.05, network, is_leaf=is_fixed)
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(N, n_in)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda f: jnp.square(f(rows) - 1).sum()))(network)
    for leaf in jax.tree.leaves(gradient, is_leaf=is_fixed):
        if is_fixed(leaf):
            continue
        assert np.any(leaf != 0)
        assert np.isfinite(leaf).all()


@every_network
def test_every_networks_weights_follow_from_the_generator(part, n_in, n_out):
    one, two, other = (jax.tree.leaves(part.build(np.random.default_rng(seed), n_in, n_out)) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not one or any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("part", [parts.Identity(), parts.Residual()], ids=repr)
def test_what_keeps_the_width_refuses_to_change_it(part):
    with pytest.raises(InvalidPart, match="3.*4"):
        part.build(np.random.default_rng(0), 4, 3)


def test_a_residual_network_adds_to_what_it_reads():
    part, x = parts.MLP((5,), "tanh"), jnp.asarray(np.random.default_rng(1).normal(size=(N, D)), jnp.float32)
    alone = part.build(np.random.default_rng(0), D, D)
    np.testing.assert_array_equal(parts.Residual(part).build(np.random.default_rng(0), D, D)(x), x + alone(x))


def test_a_u_net_sees_far_and_near():
    network = parts.UNet((16, 16, 1), (4, 6)).build(np.random.default_rng(0), 256, 256)
    x = jnp.asarray(np.random.default_rng(1).normal(size=256), jnp.float32)
    reach = np.abs(jax.jit(jax.grad(lambda row: network(row[None])[0, 8 * 16 + 8]))(x)).reshape(16, 16)
    assert reach[8, 8] > 0
    assert reach[1, 8] > 0  # farther than the kernels at half the size would reach


@pytest.mark.parametrize("make", [lambda: parts.UNet((4, 4, 1), ()), lambda: parts.RandomChoice(())])
def test_nothing_to_choose_from_is_refused(make):
    with pytest.raises(InvalidPart):
        make()


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("network")])
def test_mirroring_twice_is_the_network_itself(part):
    assert part.reversed().reversed() == part


def test_weights_start_within_glorots_bounds_and_biases_at_zero():
    dense = Dense.init(np.random.default_rng(0), 300, 200)
    bound = math.sqrt(6 / 500)
    assert 0.99 * bound < float(jnp.abs(dense.weight).max()) <= bound
    assert abs(float(dense.weight.mean())) < 5 * bound / math.sqrt(3 * 60_000)
    assert not dense.bias.any()


def test_a_network_is_its_layers_in_turn():
    network = parts.MLP((5, 3), "tanh").build(np.random.default_rng(0), D, K)
    x = np.random.default_rng(1).normal(size=(N, D))
    np.testing.assert_allclose(network(jnp.asarray(x, jnp.float32)), forward(network, x, "tanh"), rtol=1e-5, atol=1e-6)


# -- widening ---------------------------------------------------------------------------------------------------------


def test_activations_through_zero_are_those_that_are_zero_at_zero():
    at_zero = {name: float(function(jax.numpy.zeros(()))) for name, function in ACTIVATIONS.items()}
    assert {name for name, value in at_zero.items() if value == 0} == THROUGH_ZERO


@over("network", [parts.MLP((3, 40)), parts.SkipMLP((5,)), parts.NeighborFilter((3,))])
def test_a_widened_network_has_hidden_layers_of_few_sizes_and_computes_the_same(network):
    assert set(network.widened().hidden) <= {32, 64}
    recipe = Recipe(encoder=network, latent=parts.Deterministic(4), likelihood=parts.Gaussian())
    model = Model.build(recipe, 4, 0)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 4)), jnp.float32)
    wide = model.widened(4)
    assert wide.recipe.encoder == network.widened()
    np.testing.assert_allclose(wide.encode(x).mean, model.encode(x).mean, rtol=1e-5, atol=1e-6)


def test_a_network_whose_units_are_not_zero_at_rest_keeps_its_widths():
    assert parts.MLP((3,), activation="sigmoid").widened().hidden == (3,)
