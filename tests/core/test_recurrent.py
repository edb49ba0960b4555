"""Networks of series: gated recurrent units by their equations, and convolutions along time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from diabolo import parts
from diabolo.core.layers import UNROLLED
from diabolo.core.recurrent import GRU
from diabolo.errors import InvalidPart
from formula import apply, array, slopes


def one_step(units, h, x):
    """Cho et al. 2014, eq. 5 to 8, in NumPy."""
    m = h.shape[1]
    w, b, u = np.asarray(units.read.weight), np.asarray(units.read.bias), np.asarray(units.gates)
    reset = expit(x @ w[:, :m] + h @ u[:, :m] + b[:m])
    update = expit(x @ w[:, m : 2 * m] + h @ u[:, m:] + b[m : 2 * m])
    new = np.tanh(x @ w[:, 2 * m :] + (reset * h) @ np.asarray(units.candidate) + b[2 * m :])
    return update * h + (1 - update) * new


@pytest.fixture(scope="module")
def units():
    made = GRU.init(np.random.default_rng(0), 3, 4)
    return jax.tree.map(lambda leaf: array(leaf + np.float32(0.1)), jax.device_get(made))  # biases other than 0


states = jax.jit(lambda units, h, x: units.states(h, units.read(x)))


def test_the_states_are_those_of_the_equations(units):
    rng = np.random.default_rng(1)
    h, x = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(6, 5, 3)).astype(np.float32)
    expected = h
    for state, point in zip(np.asarray(states(units, h, x)), x, strict=True):
        expected = one_step(units, expected, point)
        np.testing.assert_allclose(state, expected, rtol=1e-5, atol=1e-6)


def test_without_loops_the_states_are_the_same(units):
    def both(units, x):
        h, reads = jnp.zeros((5, 4)), units.read(x)
        token = UNROLLED.set(True)
        unrolled = units.states(h, reads)
        UNROLLED.reset(token)
        return unrolled, units.states(h, reads)

    unrolled, looped = jax.jit(both)(units, np.random.default_rng(1).normal(size=(6, 5, 3)).astype(np.float32))
    np.testing.assert_allclose(unrolled, looped, rtol=1e-6, atol=1e-7)


def test_an_encoder_reads_the_last_state_and_a_decoder_writes_all():
    rng, z = np.random.default_rng(0), np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    encoder = parts.GRUEncoder((5, 2), 4).build(rng, 10, 3)
    x, h = np.random.default_rng(2).normal(size=(7, 10)).astype(np.float32), np.zeros((7, 4))
    for point in x.reshape(7, 5, 2).swapaxes(0, 1):
        h = one_step(encoder.units, h, point)
    np.testing.assert_allclose(apply(encoder, x), h @ np.asarray(encoder.head.weight), rtol=1e-4, atol=1e-6)
    decoder = parts.GRUDecoder((5, 2), 4).build(rng, 3, 20)
    h, points = np.tanh(z @ np.asarray(decoder.stem.weight)), []
    for _ in range(5):
        h = one_step(decoder.units, h, z)
        points.append(h @ np.asarray(decoder.head.weight))
    means, spreads = np.split(np.asarray(apply(decoder, z)), 2, axis=-1)  # two numbers per feature
    np.testing.assert_allclose(means.reshape(7, 5, 2), np.stack(points, 1)[..., :2], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(spreads.reshape(7, 5, 2), np.stack(points, 1)[..., 2:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("part", "n_in", "n_out"), [(parts.GRUEncoder, 10, 3), (parts.GRUDecoder, 3, 10)])
def test_the_gradient_is_the_slope(part, n_in, n_out):
    network = part((5, 2), 4).build(np.random.default_rng(0), n_in, n_out)
    x = np.random.default_rng(1).normal(size=(3, n_in))
    by_gradient, by_differences = slopes(lambda f: jnp.square(f(jnp.asarray(x))).sum(), network)
    assert by_differences == pytest.approx(by_gradient, rel=1e-6)


@pytest.mark.parametrize(
    ("part", "n_in", "n_out"), [(parts.GRUEncoder((5, 2)), 11, 3), (parts.GRUDecoder((5, 2)), 3, 15)]
)
def test_a_shape_that_does_not_fit_the_rows_is_refused(part, n_in, n_out):
    with pytest.raises(InvalidPart, match=r"\(5, 2\) has 10 numbers"):
        part.build(np.random.default_rng(0), n_in, n_out)


# -- convolutions of series -------------------------------------------------------------------------------------------


def test_a_convolution_of_series_is_the_sum_of_its_definition():
    part = parts.Convolutional((9, 2), (3,), kernel=4, stride=2, activation="identity")
    network = part.build(np.random.default_rng(0), 18, 5)
    rows = np.random.default_rng(1).normal(size=(4, 18)).astype(np.float32)
    series, kernel = rows.reshape(4, 9, 2), np.asarray(network.layers[0].weight)[:, 0]  # (4, 2, 3)
    padded = np.pad(series, ((0, 0), (1, 2), (0, 0)))  # of 5 positions, the last begins at 8 − 1 and ends after 3
    layer = np.stack([np.einsum("nkc,kco->no", padded[:, 2 * p : 2 * p + 4], kernel) for p in range(5)], axis=1)
    assert layer.shape == (4, 5, 3)
    expected = layer.reshape(4, 15) @ np.asarray(network.head.weight)
    np.testing.assert_allclose(apply(network, rows), expected, rtol=1e-4, atol=1e-5)


def test_a_shift_of_a_series_shifts_its_feature_maps():
    """Away from the edges, and by a multiple of the strides."""
    network = parts.Convolutional((40, 1), (3, 4)).build(np.random.default_rng(0), 40, 2)
    bump = np.zeros((2, 40, 1, 1), np.float32)
    bump[0, 14:20, 0, 0] = bump[1, 18:24, 0, 0] = np.random.default_rng(1).normal(size=6)

    def mapped(layers, image):
        for layer in layers:
            image = jax.nn.silu(layer(image))
        return image

    image = np.asarray(jax.jit(mapped)(network.layers, bump))
    assert np.abs(image[0, 1:9]).max() > 0
    np.testing.assert_allclose(image[0, 1:8], image[1, 2:9], rtol=1e-5, atol=1e-6)


def test_a_series_is_an_image_one_pixel_wide():
    """Of the kernels of an image, only the columns that lie on it count."""
    series, image = (parts.Convolutional(shape, (3,), kernel=3, stride=1) for shape in ((6, 2), (6, 1, 2)))
    of_series, of_image = (part.build(np.random.default_rng(0), 12, 4) for part in (series, image))
    of_series = jax.tree.unflatten(
        jax.tree.structure(of_series),
        [a[:, 1:2] if a.ndim == 4 else a for a in jax.tree.leaves(jax.device_get(of_image))],
    )
    rows = np.random.default_rng(1).normal(size=(5, 12)).astype(np.float32)
    np.testing.assert_allclose(apply(of_series, rows), apply(of_image, rows), rtol=1e-5, atol=1e-6)
