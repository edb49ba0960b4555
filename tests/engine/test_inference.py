"""Inference: a row's result depends on no neighbour, in few programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diabolo import parts
from diabolo.core.model import Model
from diabolo.engine import inference
from training import (
    VARIATIONAL,
    trained,
)

# -- inference --------------------------------------------------------------------------------------------------------

OPS = {
    "code": (inference.code, (), 6),
    "decode": (inference.decode, (), 2),
    "reconstruct": (inference.reconstruct, (), 6),
    "log_likelihood": (inference.log_likelihood, (), 6),
    "kl": (inference.kl, (), 6),
    "elbos": (inference.elbos, (3,), 6),
    "log_densities": (inference.log_densities, (3,), 6),
}
every_op = pytest.mark.parametrize("name", OPS)


@pytest.fixture(scope="module")
def model(rows):
    return trained(rows, VARIATIONAL).model


def applied(name, model, rows):
    op, static, width = OPS[name]
    return jax.tree.leaves(inference.map_rows(op, model, rows[:, :width], *static))


@every_op
def test_a_hundred_numbers_of_rows_need_eight_programs_at_most(name, model, rows):
    many = np.tile(rows, (30, 1))
    before = inference.programs.n_programs()
    for n in (*range(1, 101), 257, 300, 2100):
        assert {len(out) for out in applied(name, model, many[:n])} == {n}
    assert inference.programs.n_programs() - before <= len(inference.BATCH_BUCKETS) <= 8


@every_op
def test_a_rows_result_does_not_depend_on_its_neighbours(name, model, rows):
    whole = applied(name, model, rows[:30])
    some = np.array([7, 0, 29, 13])
    for out, part in zip(whole, applied(name, model, rows[some]), strict=True):
        np.testing.assert_array_equal(out[some], part)
    poisoned = rows[:30].copy()
    poisoned[:7] = 1e6
    for out, part in zip(whole, applied(name, model, poisoned), strict=True):
        np.testing.assert_array_equal(out[7:], part[7:])


@every_op
def test_blocks_of_other_sizes_give_the_same_numbers(name, model, rows):
    whole = applied(name, model, np.tile(rows, (30, 1))[:2100])
    for out, small in zip(whole, applied(name, model, rows[:20]), strict=True):
        assert len(out) == 2100
        np.testing.assert_allclose(out[:20], small, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(out[2080:], out[:20], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 784, 1 << 17])
@pytest.mark.parametrize("n", [1, 31, 33, 100, 513, 1000, 2100, 10_000, 16_384, 16_385, 60_000])
def test_rows_are_cut_into_pieces_of_standard_sizes(n, width):
    pieces = list(inference._pieces(n, width))
    starts, lengths, sizes = zip(*pieces, strict=True)
    assert sum(lengths) == n
    assert list(starts) == [0, *np.cumsum(lengths)[:-1]]
    assert set(sizes) <= set(inference.BATCH_BUCKETS)
    assert all(0 < length <= size for length, size in zip(lengths, sizes, strict=True))
    assert lengths[:-1] == sizes[:-1]  # only the last is padded
    assert sum(sizes) <= max(4 / 3 * n, 512)


def doubled(model, x, noise):
    return 2 * x


@pytest.mark.parametrize("width", [1 << 17, (1 << 17) + 1])
def test_rows_may_be_wider_than_a_block_has_cells(model, width):
    wide = np.arange(width, dtype=np.float32).reshape(1, width)
    np.testing.assert_array_equal(inference.map_rows(doubled, model, wide), 2 * wide)


@every_op
def test_results_are_float32_arrays_of_numpy(name, model, rows):
    for out in applied(name, model, rows[:5]):
        assert type(out) is np.ndarray
        assert out.dtype == np.float32
        assert np.isfinite(out).all()


CORRUPTIONS = (parts.GaussianNoise(5.0), parts.Masking(1.0), parts.SaltAndPepper(1.0))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=repr)
@pytest.mark.parametrize("name", ["code", "reconstruct", "log_likelihood", "elbos", "log_densities"])
def test_nothing_is_corrupted_outside_training(name, corruption, model, rows):
    bound = corruption.fit_bounds(jnp.asarray(rows.min(axis=0)), jnp.asarray(rows.max(axis=0)))
    corrupting = Model(model.recipe.replace(corruption=bound), model.weights)
    for one, two in zip(applied(name, corrupting, rows[:20]), applied(name, model, rows[:20]), strict=True):
        np.testing.assert_array_equal(one, two)


def test_another_seed_gives_other_noise_and_compiles_nothing(model, rows):
    def estimates(seed):
        return inference.map_rows(inference.log_densities, model, rows[:20], 3, seed=seed)

    one = estimates(0)
    before = inference.programs.n_programs()
    assert np.any(one != estimates(1))
    np.testing.assert_array_equal(one, estimates(0))
    assert inference.programs.n_programs() == before
