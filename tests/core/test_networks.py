"""Networks and activations: shapes, gradients, layers in turn."""

import math

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
from formula import REFERENCE, D, K, N, apply, code, forward
from helpers import over

# -- the second writing -----------------------------------------------------------------------------------------------


activated = jax.jit(lambda a: {name: activate(name, a) for name in ACTIVATIONS})


def test_every_activation_is_what_its_name_says():
    a = np.linspace(-4, 4, 33)
    for name, found in activated(np.float32(a)).items():
        np.testing.assert_allclose(found, REFERENCE[name](a), rtol=2e-5, atol=2e-6, err_msg=name)


def test_every_activation_has_a_reference():
    assert set(REFERENCE) == set(ACTIVATIONS)


# -- networks ---------------------------------------------------------------------------------------------------------


every_network = pytest.mark.parametrize(
    ("part", "n_in", "n_out"), [pytest.param(*widths, id=name) for name, *widths in examples.networks()]
)


@every_network
def test_every_network_maps_batches_with_any_leading_axes(part, n_in, n_out):
    rng, shapes = np.random.default_rng(1), [(), (1,), (2, N), (0,), (2, 0, 3)]
    batches = [rng.normal(size=(*batch, n_in)).astype(np.float32) for batch in shapes]

    @jax.jit
    def mapped(network, batches):
        rows = jnp.concatenate([batch.reshape(-1, n_in) for batch in batches])
        return [network(batch) for batch in batches], jax.lax.map(lambda row: network(row[None])[0], rows)

    together, alone = mapped(part.build(np.random.default_rng(0), n_in, n_out), batches)
    assert [out.shape for out in together] == [(*batch, n_out) for batch in shapes]
    rows = np.concatenate([np.reshape(out, (-1, n_out)) for out in together])
    np.testing.assert_allclose(rows, alone, rtol=1e-5, atol=1e-6)


@every_network
def test_gradients_reach_every_weight_of_a_network(part, n_in, n_out):
    def is_fixed(leaf):
        return isinstance(leaf, Fixed)

    network = part.build(np.random.default_rng(0), n_in, n_out)  # moved, since some weights start at 0
    moved = jax.tree.map(lambda leaf: leaf if is_fixed(leaf) else np.add(leaf, 0.05), network, is_leaf=is_fixed)
    rows = np.random.default_rng(1).normal(size=(N, n_in)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda f, rows: jnp.square(f(rows) - 1).sum()))(moved, rows)
    for leaf in jax.tree.leaves(jax.device_get(gradient), is_leaf=is_fixed):
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
    part, x = parts.MLP((5,), "tanh"), np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    alone, residual = (one.build(np.random.default_rng(0), D, D) for one in (part, parts.Residual(part)))
    np.testing.assert_array_equal(apply(residual, x), x + np.asarray(apply(alone, x)))


def test_a_u_net_sees_far_and_near():
    network = parts.UNet((16, 16, 1), (4, 6)).build(np.random.default_rng(0), 256, 256)
    x = np.random.default_rng(1).normal(size=256).astype(np.float32)
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
    weight = np.asarray(dense.weight)
    assert 0.99 * bound < np.abs(weight).max() <= bound
    assert abs(weight.mean()) < 5 * bound / math.sqrt(3 * 60_000)
    assert not np.any(dense.bias)


def test_a_network_is_its_layers_in_turn():
    network = parts.MLP((5, 3), "tanh").build(np.random.default_rng(0), D, K)
    x = np.random.default_rng(1).normal(size=(N, D))
    np.testing.assert_allclose(apply(network, np.float32(x)), forward(network, x, "tanh"), rtol=1e-5, atol=1e-6)


# -- widening ---------------------------------------------------------------------------------------------------------


def test_activations_through_zero_are_those_that_are_zero_at_zero():
    assert {name for name, value in activated(np.zeros(33, np.float32)).items() if not np.any(value)} == THROUGH_ZERO


@over("network", [parts.MLP((3, 40)), parts.SkipMLP((5,)), parts.NeighborFilter((3,))])
def test_a_widened_network_has_hidden_layers_of_few_sizes_and_computes_the_same(network):
    assert set(network.widened().hidden) <= {32, 64}
    recipe = Recipe(encoder=network, latent=parts.Deterministic(4), likelihood=parts.Gaussian())
    model = Model.build(recipe, 4, 0)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    wide = model.widened(4)
    assert wide.recipe.encoder == network.widened()
    np.testing.assert_allclose(code(wide, x), code(model, x), rtol=1e-5, atol=1e-6)


def test_a_network_whose_units_are_not_zero_at_rest_keeps_its_widths():
    assert parts.MLP((3,), activation="sigmoid").widened().hidden == (3,)
