"""Convolutions: values and gradients against JAX's own, at every order; and networks of images in an estimator."""

import itertools
import re
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from sklearn.base import clone

from diabolo import Autoencoder, load, parts
from diabolo.core.conv_ops import convolve, convolve_transposed, strided
from diabolo.core.layers import Convolution, Dense, TransposedConvolution, feature_map_sizes
from diabolo.core.model import Model, loss
from diabolo.errors import InvalidPart
from formula import apply, array

ORDER = ("NHWC", "HWIO", "NHWC")
# (height, width), channels in and out, (kernel's height, width), stride
CASES = [
    *(((6, 7), 2, 3, (k, k), s) for k, s in itertools.product([1, 2, 3, 4, 5], [1, 2, 3])),
    ((5, 4), 2, 3, (4, 4), 2),
    ((9, 3), 1, 4, (6, 6), 3),
    ((9, 3), 4, 1, (4, 2), 2),
    ((7, 8), 3, 2, (2, 5), 2),
    ((1, 1), 2, 3, (4, 4), 2),
    ((2, 1), 2, 3, (5, 5), 3),
    ((10, 11), 1, 1, (1, 1), 4),
]
every_case = pytest.mark.parametrize(("shape", "c", "o", "size", "stride"), CASES)


def plain(x, kernel, stride):
    """JAX's own, with the padding that it calls "SAME"."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=ORDER)


def plain_transposed(y, kernel, stride, shape):
    x = jnp.zeros((y.shape[0], *shape, kernel.shape[2]))
    return jax.vjp(lambda x: plain(x, kernel, stride), x)[1](y)[0]


def drawn(shape, c, o, size, stride, n=3):
    rng = np.random.default_rng(0)
    positions = tuple(strided(side, stride) for side in shape)
    shapes = (n, *shape, c), (*size, c, o), (n, *positions, o)
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def assert_same(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=3e-6 * float(1 + np.abs(b).max(initial=0)))


OURS, THEIRS = (convolve, convolve_transposed), (plain, plain_transposed)


def values(there, back, x, kernel, y, stride):
    return there(x, kernel, stride), back(y, kernel, stride, x.shape[1:3])


def weighed(f, probe):
    """A number that depends on everything that f gives, not linearly."""
    return lambda *args: (probe * jnp.sin(f(*args))).sum()


def value_and_gradients(f, probe, *args):
    return f(*args), jax.grad(weighed(f, probe), (0, 1))(*args)


def both(function, *args):
    """Ours and JAX's own, in one program: compiling many small ones would take most of these tests' time."""
    return jax.jit(lambda *args: [function(*pair, *args) for pair in (OURS, THEIRS)])(*args)


# -- values and gradients ---------------------------------------------------------------------------------------------


@every_case
def test_a_convolution_its_transpose_and_their_gradients_are_jaxs_own(shape, c, o, size, stride):
    def computed(there, back, x, kernel, y):
        there, back = partial(there, stride=stride), partial(back, stride=stride, shape=shape)
        return value_and_gradients(there, y, x, kernel), value_and_gradients(back, x, y, kernel)

    assert_same(*both(computed, *drawn(shape, c, o, size, stride)))


@pytest.mark.parametrize("size", [3, 4])
def test_a_convolution_is_a_matrix_and_the_transposed_one_its_transpose(size):
    """Written out once in loops: the sum over the kernel's positions, zeros outside the image."""
    shape, stride = (5, 4), 2
    x, kernel, y = drawn(shape, 2, 3, (size, size), stride)
    h, w = y.shape[1:3]
    top, left = (max((n - 1) * stride + size - side, 0) // 2 for n, side in zip((h, w), shape, strict=True))
    matrix = np.zeros((h, w, 3, *shape, 2))
    for p, q, i, j in itertools.product(range(h), range(w), range(size), range(size)):
        row, column = stride * p + i - top, stride * q + j - left
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            matrix[p, q, :, row, column] += np.asarray(kernel[i, j]).T
    matrix = matrix.reshape(h * w * 3, -1)
    there, back = map(np.asarray, jax.jit(partial(values, *OURS, stride=stride))(x, kernel, y))
    assert_same(there.reshape(3, -1), np.asarray(x).reshape(3, -1) @ matrix.T)
    assert_same(back.reshape(3, -1), np.asarray(y).reshape(3, -1) @ matrix)


FEW = [
    ((6, 7), 2, 3, (4, 4), 2),
    ((5, 4), 2, 3, (3, 3), 2),
    ((5, 4), 1, 3, (4, 4), 1),
    ((5, 4), 2, 1, (1, 1), 3),
    ((4, 5), 2, 2, (5, 5), 2),
    ((7, 8), 3, 2, (2, 5), 2),
]
few_cases = pytest.mark.parametrize(("shape", "c", "o", "size", "stride"), FEW)


@few_cases
def test_the_transposed_convolution_is_the_adjoint(shape, c, o, size, stride):
    x, kernel, y = drawn(shape, c, o, size, stride)
    there, back = jax.jit(partial(values, *OURS, stride=stride))(x, kernel, y)
    assert np.vdot(there, y) == pytest.approx(np.vdot(x, back), rel=1e-4, abs=1e-4)


@few_cases
@pytest.mark.parametrize("n", [0, 1])
def test_of_no_image_or_one(shape, c, o, size, stride, n):
    x, kernel, y = drawn(shape, c, o, size, stride, n)
    if n:
        assert_same(*both(partial(values, stride=stride), x, kernel, y))
    else:
        assert_same(jax.jit(partial(values, *OURS, stride=stride))(x, kernel, y), (y, x))


@few_cases
def test_mapped_over_images_kernels_or_both(shape, c, o, size, stride):
    x, kernel, y = drawn(shape, c, o, size, stride)

    def mapped(there, _, x, kernel):
        value_and_slopes = jax.value_and_grad(weighed(partial(there, stride=stride), y), (0, 1))
        found = []
        for axes in [(0, 0), (0, None), (None, 0), (1, 3)]:
            several = (
                a if axis is None else jnp.stack([a, -2 * a], axis) for a, axis in zip((x, kernel), axes, strict=True)
            )
            found.append(jax.vmap(value_and_slopes, axes)(*several))
        return found

    assert_same(*both(mapped, x, kernel))


@few_cases
def test_the_second_and_third_derivatives_are_jaxs_own(shape, c, o, size, stride):
    x, kernel, y = drawn(shape, c, o, size, stride, n=1)

    def derived(f):
        """A number made of f's gradient."""
        return lambda x, kernel: sum(jnp.square(g).sum() for g in jax.grad(f, (0, 1))(x, kernel))

    def gradients(there, _, *args):
        once = derived(weighed(partial(there, stride=stride), y))
        return [jax.grad(g, (0, 1))(*args) for g in (once, derived(once))]

    ours, theirs = map(jax.tree.leaves, both(gradients, x, kernel))
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-2, atol=1e-4 * np.abs(two).max())


@pytest.mark.parametrize("size", [3, 4])
def test_the_gradient_of_a_jacobian_is_jaxs_own(size):
    """Which the contractive penalty needs, of the encoder and, in its mirror, of the decoder."""
    shape, stride = (4, 3), 2

    def squared_jacobians(there, back, x, kernel, y):
        def value(x, kernel):
            encoding = jax.jacrev(lambda x: jnp.tanh(there(x, kernel, stride)))(x)
            decoding = jax.jacrev(lambda y: jnp.tanh(back(y, kernel, stride, shape)))(y)
            return jnp.square(encoding).sum() + jnp.square(decoding).sum()

        return jax.value_and_grad(value, (0, 1))(x, kernel)

    assert_same(*both(squared_jacobians, *drawn(shape, 2, 3, (size, size), stride, n=1)))


# -- inside a loop ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "stride", "some"), [(3, 2, True), (3, 1, True), (5, 2, True), (4, 2, False)])
@pytest.mark.parametrize("penalties", [(), (parts.Contractive(),)])
@pytest.mark.parametrize("is_mapped", [False, True])
def test_all_convolutions_of_a_training_step_are_in_the_order_that_is_fast(kernel, stride, some, penalties, is_mapped):
    recipe = parts.Recipe(
        encoder=parts.Convolutional((6, 7, 2), (3, 4), kernel, stride),
        latent=parts.Deterministic(2),
        penalties=penalties,
    )
    arrays, skeleton = Model.build(recipe, 84, 0).weights.partition()
    rows, weight = array(np.ones((5, 84))), array(np.ones(5))

    def step(_, arrays):
        def value(arrays):
            model = Model(recipe, skeleton.combine(arrays))
            return loss(model, rows, jax.random.key(0), jnp.ones(()), weight)[0]

        return jax.tree.map(lambda w, g: w - 0.1 * g, arrays, jax.grad(value)(arrays))

    def train(arrays):
        return lax.fori_loop(0, 3, step, arrays)

    if is_mapped:
        train, arrays = jax.vmap(train), jax.tree.map(lambda w: np.stack([w, w]), arrays)
    orders = re.findall(r"dimension_numbers=ConvDimensionNumbers\((.+?)\)\n", str(jax.make_jaxpr(train)(arrays)))
    assert bool(orders) == some
    nhwc, hwio = (0, 3, 1, 2), (3, 2, 0, 1)  # as JAX writes them
    assert set(orders) <= {f"lhs_spec={nhwc}, rhs_spec={hwio}, out_spec={nhwc}"}


# -- layers -----------------------------------------------------------------------------------------------------------


def test_layers_start_within_glorots_bounds_and_biases_at_zero():
    bound = np.sqrt(6 / (9 * (40 + 20)))
    there = Convolution.init(np.random.default_rng(0), (3, 3), 40, 20, 2)
    back = TransposedConvolution.init(np.random.default_rng(0), (3, 3), 20, 40, 2, (8, 8))
    for layer in (there, back):
        assert layer.weight.shape == (3, 3, 40, 20)
        assert 0.99 * bound < np.abs(layer.weight).max() <= bound
        assert not np.any(layer.bias)
    assert there.bias.shape == (20,)
    assert back.bias.shape == (40,)


def test_a_network_of_images_is_its_layers_in_turn():
    network = parts.Convolutional((5, 4, 2), (3, 4), 3, 2, "tanh").build(np.random.default_rng(0), 40, 6)
    rows = np.random.default_rng(1).normal(size=(7, 40)).astype(np.float32)

    def in_turn(network, rows):
        image = rows.reshape(7, 5, 4, 2)
        for layer in network.layers:
            image = jnp.tanh(plain(image, layer.weight, 2) + layer.bias)
        assert image.shape == (7, 2, 1, 4)
        return network(rows), image.reshape(7, 8) @ network.head.weight

    assert_same(*jax.jit(in_turn)(network, rows))


def test_a_mirrored_network_goes_back_through_the_same_sizes():
    network = parts.TransposedConvolutional((5, 4, 2), (4, 3), 3, 2, "tanh").build(np.random.default_rng(0), 6, 40)

    def in_turn(network, codes):
        image = (codes @ network.stem.weight).reshape(7, 2, 1, 4)
        for layer, size in zip(network.layers, [(3, 2), (5, 4)], strict=True):
            image = plain_transposed(jnp.tanh(image), layer.weight, 2, size)
        return network(codes), image.reshape(7, 40)

    assert_same(*jax.jit(in_turn)(network, np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)))
    assert feature_map_sizes((5, 4, 2), 2, 2) == [(5, 4), (3, 2), (2, 1)]


def test_several_numbers_per_feature_are_images_one_after_another():
    """A smallest image that is lit in one place lights the same block of pixels in all three."""
    network = parts.TransposedConvolutional((4, 6, 2), (3,), 2, 2, "identity").build(np.random.default_rng(0), 5, 144)
    start = np.zeros((2, 3, 3), np.float32)
    start[1, 2] = 1.0
    lit = eqx.tree_at(lambda n: n.stem, network, Dense(array(np.zeros((5, 18))), array(start.ravel())))
    images = np.asarray(apply(lit, np.ones((1, 5), np.float32))).reshape(3, 4, 6, 2)
    for image in images:
        assert {tuple(map(int, at)) for at in np.argwhere(image.any(axis=-1))} == {(2, 4), (2, 5), (3, 4), (3, 5)}
    by_channel = np.asarray(apply(network.layers[0], start[None]))[0]
    np.testing.assert_array_equal(images[1], by_channel[..., 2:4])


def test_without_convolutions_a_network_of_images_is_linear():
    rng = np.random.default_rng(0)
    network = parts.TransposedConvolutional((2, 3, 1), ()).build(rng, 5, 12)
    rows = np.asarray(apply(network, np.eye(5, dtype=np.float32))).reshape(5, 2, 6)
    assert_same(rows, np.reshape(network.stem.weight, (5, 6, 2)).swapaxes(1, 2))
    network = parts.Convolutional((2, 3, 1), ()).build(rng, 6, 4)
    assert_same(apply(network, np.eye(6, dtype=np.float32)), network.head.weight)


# -- parts ------------------------------------------------------------------------------------------------------------


def test_an_encoder_of_images_and_its_mirror():
    part = parts.Convolutional((8, 8, 1), (8, 16), 3, 1, "relu")
    assert part.reversed() == parts.TransposedConvolutional((8, 8, 1), (16, 8), 3, 1, "relu")
    assert part.reversed().reversed() == part


@pytest.mark.parametrize(
    ("part", "n_in", "n_out", "message"),
    [
        (parts.Convolutional((8, 8, 1)), 63, 2, r"Convolutional reads rows of 63 features.*\(8, 8, 1\).*64.*Give it"),
        (parts.Convolutional((8, 8, 1)), 128, 2, "Convolutional reads rows of 128 features"),
        (parts.TransposedConvolutional((8, 8, 3)), 2, 64, r"makes rows of 64 numbers.*\(8, 8, 3\).*192.*Give it"),
    ],
)
def test_a_shape_that_does_not_fit_the_rows_is_refused_with_the_mend(part, n_in, n_out, message):
    with pytest.raises(InvalidPart, match=message):
        part.build(np.random.default_rng(0), n_in, n_out)


def test_the_estimator_passes_it_on(table):
    with pytest.raises(InvalidPart, match="6"):
        Autoencoder(encoder=parts.Convolutional((8, 8, 1)), max_epochs=1).fit(table)


# -- in an estimator --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted_to_digits(digits):
    return Autoencoder(
        encoder=parts.Convolutional((8, 8, 1), (8, 16)),
        latent=parts.Deterministic(8),
        max_epochs=16,
        batch_size=64,
        learning_rate=0.01,
        scaling=None,
        random_state=0,
    ).fit(digits[:1000])


def test_it_learns_digits(fitted_to_digits, digits):
    fresh = digits[1000:]
    error = np.square(fresh - fitted_to_digits.reconstruct(fresh)).sum()
    assert error < 0.4 * np.square(fresh - digits[:1000].mean(axis=0)).sum()


def test_it_is_saved_and_loaded_to_the_bit(fitted_to_digits, digits, tmp_path):
    fitted_to_digits.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.get_params() == fitted_to_digits.get_params()
    np.testing.assert_array_equal(loaded.reconstruct(digits[:50]), fitted_to_digits.reconstruct(digits[:50]))


def test_its_readings_do_not_depend_on_the_rows_beside(fitted_to_digits, digits):
    order = np.random.default_rng(0).permutation(300)
    for read in (fitted_to_digits.transform, fitted_to_digits.reconstruct, fitted_to_digits.score_samples):
        np.testing.assert_array_equal(read(digits[:300])[order], read(digits[:300][order]))


def test_it_trains_as_a_variational_one_with_several_draws(digits):
    estimator = Autoencoder(
        encoder=parts.Convolutional((8, 8, 1), (4,), kernel=3),
        latent=parts.DiagonalGaussian(2),
        likelihood="bernoulli",
        objective=parts.ImportanceWeighted(3),
        max_epochs=2,
        random_state=0,
    ).fit(digits[:200])
    assert np.isfinite(estimator.history_["loss"]).all()
    assert estimator.sample(3, random_state=0).shape == (3, 64)


def test_one_random_state_gives_the_same_bits(fitted_to_digits, digits):
    settings = {"max_epochs": 1}
    one, two = (clone(fitted_to_digits).set_params(**settings).fit(digits[:200]) for _ in range(2))
    np.testing.assert_array_equal(one.transform(digits[:50]), two.transform(digits[:50]))
