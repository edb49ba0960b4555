"""x̃ = g(x | θ): every corruption hits the share of cells, the values and the spread that it names."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import examples
from diabolo import parts
from diabolo.errors import InvalidPart

N, D = 4000, 8
CELLS = N * D
ERRORS = 4.5

BOUNDS = (jnp.linspace(-3.0, -1.0, D), jnp.linspace(1.0, 2.0, D))

every_corruption = pytest.mark.parametrize(
    "part", [pytest.param(p.fit_bounds(*BOUNDS), id=name) for name, p in examples.all_parts("corruption")]
)


@pytest.fixture(scope="module")
def x():
    """Rows of which no cell equals 0 or a bound."""
    return jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (N, D)), jnp.float32)


def applied(part, x, seed=0):
    return np.asarray(part(jax.random.key(seed), x))


def assert_rate(hits, p):
    """The share of hits is p up to binomial error."""
    assert abs(hits.mean() - p) <= ERRORS * math.sqrt(p * (1 - p) / hits.size)


# -- all of them ------------------------------------------------------------------------------------------------------


@every_corruption
def test_shape_and_type_are_kept(part, x):
    noisy = applied(part, x)
    assert noisy.shape == x.shape
    assert noisy.dtype == np.float32
    assert np.isfinite(noisy[~np.isnan(noisy)]).all()
    assert np.isnan(noisy).any() <= part.produces_missing


@every_corruption
def test_the_same_key_gives_the_same_bits(part, x):
    np.testing.assert_array_equal(applied(part, x, 3), applied(part, x, 3))


@every_corruption
def test_another_key_gives_other_noise_if_there_is_any(part, x):
    one, two = applied(part, x, 1), applied(part, x, 2)
    is_random = np.any(one != np.asarray(x)) and part != parts.Masking(1.0)
    assert np.any(one != two) == is_random


@every_corruption
def test_the_compiled_corruption_is_the_same(part, x):
    compiled = jax.jit(lambda p, key, rows: p(key, rows))(part, jax.random.key(0), x)
    np.testing.assert_allclose(compiled, applied(part, x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "part",
    [
        parts.NoCorruption(),
        parts.GaussianNoise(0.0),
        parts.Masking(0.0),
        parts.MaskCells(0.0),
        parts.SaltAndPepper(0.0, low=-1.0, high=1.0),
        parts.Chain(),
        parts.Chain((parts.Masking(0.0), parts.GaussianNoise(0.0))),
    ],
    ids=repr,
)
def test_no_noise_is_the_identity_to_the_bit(part, x):
    np.testing.assert_array_equal(applied(part, x), x)


# -- Gaussian ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0])
def test_gaussian_noise_has_mean_zero_and_its_standard_deviation(sigma, x):
    noise = applied(parts.GaussianNoise(sigma), x).astype(np.float64) - np.asarray(x, np.float64)
    assert abs(noise.mean()) < ERRORS * sigma / math.sqrt(CELLS)
    assert abs(noise.var() / sigma**2 - 1) < ERRORS * math.sqrt(2 / CELLS)


def test_gaussian_noise_does_not_depend_on_the_rows(x):
    part = parts.GaussianNoise(0.5)
    np.testing.assert_allclose(applied(part, x) - np.asarray(x), applied(part, x + 1) - np.asarray(x + 1), atol=1e-6)


def test_gaussian_noise_differs_between_cells(x):
    noise = applied(parts.GaussianNoise(1.0), x) - np.asarray(x)
    assert np.abs(np.corrcoef(noise.T)[np.triu_indices(D, 1)]).max() < ERRORS / math.sqrt(N)
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < ERRORS / math.sqrt(CELLS)


# -- missing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.3, 0.95])
def test_missing_hides_its_share_of_cells_and_keeps_the_others(p, x):
    noisy = applied(parts.MaskCells(p), x)
    hidden = np.isnan(noisy)
    assert_rate(hidden, p)
    np.testing.assert_array_equal(noisy[~hidden], np.asarray(x)[~hidden])


@pytest.mark.parametrize(
    ("part", "hides"),
    [
        (parts.MaskCells(), True),
        (parts.Masking(), False),
        (parts.Chain((parts.GaussianNoise(), parts.MaskCells())), True),
        (parts.Chain((parts.GaussianNoise(),)), False),
        (parts.RandomChoice((parts.NoCorruption(), parts.Chain((parts.MaskCells(),)))), True),
    ],
    ids=repr,
)
def test_an_encoder_is_told_which_cells_a_corruption_hides(part, hides):
    assert part.produces_missing == hides
    assert parts.Recipe(corruption=part).missing == ("mask" if hides else "error")


# -- masking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.95])
def test_masking_sets_its_share_of_cells_to_zero_and_keeps_the_others(p, x):
    noisy = applied(parts.Masking(p), x)
    masked = noisy == 0
    assert_rate(masked, p)
    np.testing.assert_array_equal(noisy[~masked], np.asarray(x)[~masked])
    for column in masked.T:
        assert_rate(column, p)


def test_masking_everything_leaves_zeros(x):
    assert not applied(parts.Masking(1.0), x).any()


# -- salt and pepper --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_salt_and_pepper_take_half_of_the_share_each(p, x):
    noisy = applied(parts.SaltAndPepper(p, low=-1.0, high=1.0), x)
    low, high = noisy == -1.0, noisy == 1.0
    assert_rate(low, p / 2)
    assert_rate(high, p / 2)
    kept = ~(low | high)
    np.testing.assert_array_equal(noisy[kept], np.asarray(x)[kept])


def test_salt_and_pepper_of_everything_leaves_only_the_bounds(x):
    noisy = applied(parts.SaltAndPepper(1.0, low=-1.0, high=1.0), x)
    assert set(np.unique(noisy)) == {-1.0, 1.0}
    assert_rate(noisy == 1.0, 0.5)


def test_salt_and_pepper_learn_each_features_bounds(x):
    noisy = applied(parts.SaltAndPepper(0.5).fit_bounds(*BOUNDS), x)
    for column, low, high in zip(noisy.T, *BOUNDS, strict=True):
        assert_rate(column == low, 0.25)
        assert_rate(column == high, 0.25)


@pytest.mark.parametrize("given", [{"low": -9.0}, {"high": 9.0}, {"low": -9.0, "high": 9.0}])
def test_given_bounds_are_kept_and_missing_ones_learned(given, x):
    bound = parts.SaltAndPepper(0.5, **given).fit_bounds(*BOUNDS)
    noisy = applied(bound, x)
    assert np.all((noisy == -9.0).any(axis=0) == ("low" in given))
    assert np.all((noisy == 9.0).any(axis=0) == ("high" in given))
    assert np.all((noisy == BOUNDS[0]).any(axis=0) == ("low" not in given))
    assert np.all((noisy == BOUNDS[1]).any(axis=0) == ("high" not in given))


def test_binding_leaves_the_part_itself_unbound():
    part = parts.SaltAndPepper(0.5)
    part.fit_bounds(*BOUNDS)
    assert part == parts.SaltAndPepper(0.5)
    assert part.low is None


@pytest.mark.parametrize("given", [{}, {"low": 0.0}, {"high": 1.0}])
def test_salt_and_pepper_without_bounds_say_what_to_do(given, x):
    with pytest.raises(ValueError, match="fit_bounds"):
        applied(parts.SaltAndPepper(0.5, **given), x)


def test_gaussian_noise_may_leave_alone_what_does_not_vary():
    low, high = jnp.array([0.0, 2.0, -1.0]), jnp.array([1.0, 2.0, 5.0])
    x = jnp.full((50, 3), 2.0)
    for features, moved in (("varying", [True, False, True]), ("all", [True, True, True])):
        part = parts.GaussianNoise(0.5, features=features).fit_bounds(low, high)
        assert (np.asarray(applied(part, x)) != 2.0).all(axis=0).tolist() == moved


@pytest.mark.parametrize("part", [parts.NoCorruption(), parts.GaussianNoise(), parts.Masking()], ids=repr)
def test_binding_changes_nothing_where_nothing_is_to_be_learned(part):
    assert part.fit_bounds(*BOUNDS) == part


# -- units ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
def test_noise_in_units_of_the_data_has_its_standard_deviation_in_them(scale, x):
    part = parts.InDataUnits(parts.GaussianNoise(0.5)).fit_units(jnp.full(D, 7.0), jnp.full(D, scale))
    change = (np.asarray(applied(part, x)) - np.asarray(x)) * scale
    assert change.std() == pytest.approx(0.5, rel=0.02)


def test_cells_are_masked_with_the_data_s_own_zero(x):
    part = parts.InDataUnits(parts.Masking(0.4)).fit_units(jnp.full(D, 7.0), jnp.full(D, 2.0))
    noisy = np.asarray(applied(part, x))
    changed = noisy != np.asarray(x)
    assert changed.mean() == pytest.approx(0.4, abs=0.02)
    np.testing.assert_allclose(noisy[changed] * 2 + 7, 0, atol=1e-5)


def test_the_salt_of_data_units_is_their_extreme():
    part = parts.InDataUnits(parts.SaltAndPepper(1.0)).fit_units(jnp.full(D, 7.0), jnp.full(D, 2.0)).fit_bounds(*BOUNDS)
    noisy = np.asarray(applied(part, jnp.zeros((50, D))))
    both = np.minimum(np.abs(noisy - np.asarray(BOUNDS[0])), np.abs(noisy - np.asarray(BOUNDS[1])))
    assert both.max() < 1e-5


def test_units_reach_corruptions_within_others_and_given_ones_stay():
    inner = parts.InDataUnits(parts.GaussianNoise(1.0))
    for outer in (parts.Chain((inner,)), parts.RandomChoice((inner,))):
        fitted = outer.fit_units(jnp.zeros(D), jnp.full(D, 4.0))
        (own,) = fitted.steps if isinstance(outer, parts.Chain) else fitted.options
        assert float(own.scale[0]) == 4.0
    assert parts.InDataUnits(offset=1.0, scale=2.0).fit_units(jnp.zeros(D), jnp.ones(D)).scale == 2.0


def test_data_units_without_a_scaling_say_what_to_do(x):
    with pytest.raises(InvalidPart, match="fit_units"):
        applied(parts.InDataUnits(parts.GaussianNoise()), x)


# -- chains -----------------------------------------------------------------------------------------------------------


def test_a_chain_is_the_composition_of_its_steps_each_with_a_key_of_its_own(x):
    steps = (parts.GaussianNoise(0.5), parts.Masking(0.3), parts.SaltAndPepper(0.2, low=-1.0, high=1.0))
    key = jax.random.key(5)
    expected = x
    for i, step in enumerate(steps):
        expected = step(jax.random.fold_in(key, i), expected)
    np.testing.assert_array_equal(parts.Chain(steps)(key, x), expected)


def test_equal_steps_of_a_chain_hit_different_cells(x):
    noisy = applied(parts.Chain((parts.Masking(0.5), parts.Masking(0.5))), x)
    assert_rate(noisy == 0, 0.75)


def test_the_order_of_a_chain_counts(x):
    noise_last = applied(parts.Chain((parts.Masking(0.5), parts.GaussianNoise(0.1))), x)
    mask_last = applied(parts.Chain((parts.GaussianNoise(0.1), parts.Masking(0.5))), x)
    assert (noise_last == 0).mean() < 0.01
    assert_rate(mask_last == 0, 0.5)


def test_a_chain_binds_its_steps(x):
    chain = parts.Chain((parts.Masking(0.1), parts.Chain((parts.SaltAndPepper(1.0),))))
    noisy = applied(chain.fit_bounds(*BOUNDS), x)
    assert np.all((noisy == BOUNDS[0]) | (noisy == BOUNDS[1]))


def test_one_of_several_corruptions_is_drawn_for_each_row():
    part = parts.RandomChoice((parts.Masking(1.0), parts.NoCorruption(), parts.SaltAndPepper(1.0, low=7.0, high=7.0)))
    rows = np.asarray(part(jax.random.key(0), jnp.full((3000, 4), 2.0)))
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    np.testing.assert_array_equal(kinds, [[0.0] * 4, [2.0] * 4, [7.0] * 4])
    assert np.all(np.abs(counts - 1000) < 4.5 * np.sqrt(3000 * 2 / 9))
