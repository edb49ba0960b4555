"""The formula against the lecture's equations, written out a second time in NumPy."""

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import examples
from diabolo import parts
from diabolo.core import recipes
from diabolo.core.model import Model, loss
from formula import (
    EVERYONE,
    KEY,
    LOG_PI,
    REFERENCE,
    D,
    K,
    N,
    array,
    built,
    code,
    forward,
    reconstruct,
    squared_error,
    value_of,
)

# -- reconstruction: (1/N) Σ ‖x − x̂‖² --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basic", "stacked"])
def test_the_squared_error_is_the_lectures(name, x):
    model = built(examples.RECIPES[name])
    x_hat = forward(model.weights.decoder, forward(model.weights.encoder, x))
    total, terms = value_of(model, x)
    assert total == pytest.approx(squared_error(x, x_hat) + D / 2 * LOG_PI, rel=1e-5)
    assert terms == pytest.approx({"loss": total, "reconstruction": total})
    np.testing.assert_allclose(reconstruct(model, x), x_hat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_the_codes_activation_stands_between_encoder_and_decoder(activation, x):
    model = built(recipes.basic(3, activation=activation))
    z = REFERENCE[activation](forward(model.weights.encoder, x))
    np.testing.assert_allclose(code(model, x), z, rtol=1e-5, atol=1e-6)
    x_hat = forward(model.weights.decoder, z)
    assert value_of(model, x)[0] == pytest.approx(squared_error(x, x_hat) + D / 2 * LOG_PI, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_a_given_sigma_weighs_the_squared_error(sigma, x):
    model = built(recipes.basic(K, likelihood=parts.Gaussian(sigma)))
    x_hat = forward(model.weights.decoder, forward(model.weights.encoder, x))
    expected = squared_error(x, x_hat) / (2 * sigma**2) + D * math.log(sigma * math.sqrt(2 * math.pi))
    assert value_of(model, x)[0] == pytest.approx(expected, rel=1e-5)


def test_a_learned_sigma_is_one_per_feature(x):
    part = parts.LearnedGaussian(floor=0.05)
    model = built(recipes.basic(K, likelihood=part))
    x_hat = forward(model.weights.decoder, forward(model.weights.encoder, x))
    sigma = np.logaddexp(0, np.asarray(model.weights.likelihood["spread"], np.float64)) + 0.05
    assert len(set(sigma)) == D
    expected = -stats.norm.logpdf(np.asarray(x, np.float64), x_hat, sigma).sum(axis=1).mean()
    assert value_of(model, x)[0] == pytest.approx(expected, rel=1e-5)


def test_a_learned_sigma_starts_at_one():
    part = parts.LearnedGaussian(floor=0.3)
    np.testing.assert_allclose(part(jnp.zeros((1, D)), part.build(D)).scale, 1.0, rtol=1e-6)


def test_a_bernoulli_likelihood_is_the_cross_entropy(x):
    model = built(recipes.stacked(K, hidden=(4, 3), likelihood=parts.Bernoulli(), skip=False))
    p = special.expit(forward(model.weights.decoder, forward(model.weights.encoder, x)))
    clean = np.asarray(x, np.float64)
    expected = -(clean * np.log(p) + (1 - clean) * np.log(1 - p)).sum(axis=1).mean()
    assert value_of(model, x)[0] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(reconstruct(model, x), p, rtol=1e-5)


# -- denoising: reads x̃, reconstructs the clean x ---------------------------------------------------------------------


@dataclass(frozen=True)
class Shift(parts.Corruption):
    """x̃ = x + by: a corruption without chance."""

    by: float = 1.0

    def __call__(self, key, x):
        return x + self.by


def test_the_encoder_reads_the_corrupted_rows_and_the_target_is_clean(x):
    model = built(recipes.denoising(K, hidden=(4,), corruption=Shift(0.7), skip=False))
    corrupted = np.asarray(x, np.float64) + 0.7
    x_hat = forward(model.weights.decoder, forward(model.weights.encoder, corrupted))
    assert value_of(model, x)[0] == pytest.approx(squared_error(x, x_hat) + D / 2 * LOG_PI, rel=1e-5)


def test_penalties_see_the_corrupted_rows_and_their_codes(x):
    model = built(recipes.denoising(K, hidden=(4,), corruption=Shift(0.7), skip=False))
    recipe = model.recipe.replace(penalties=(parts.L1(1.0),))
    z = forward(model.weights.encoder, np.asarray(x, np.float64) + 0.7)
    assert value_of(Model(recipe, model.weights), x)[1]["L1"] == pytest.approx(np.abs(z).sum(1).mean(), rel=1e-5)


def test_another_key_corrupts_differently_and_the_same_key_alike(x):
    model = built(recipes.denoising(K, hidden=(4,), corruption=parts.Masking(0.5), skip=False))
    one, two, other = (value_of(model, x, key=jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert one == two != other


def test_reading_a_model_never_corrupts(x):
    model = built(recipes.denoising(K, hidden=(4,), corruption=Shift(0.7), skip=False))
    clean = Model(model.recipe.replace(corruption=parts.NoCorruption()), model.weights)
    np.testing.assert_array_equal(code(model, x), code(clean, x))
    np.testing.assert_array_equal(reconstruct(model, x), reconstruct(clean, x))


# -- padding ----------------------------------------------------------------------------------------------------------

PADDED = {
    **examples.RECIPES,
    "all penalties": recipes.sparse(3).replace(
        penalties=(parts.KLSparsity(), parts.L1(), parts.WeightDecay(), parts.Contractive())
    ),
    "importance weighted": recipes.variational(2, hidden=(4,), skip=False).replace(
        objective=parts.ImportanceWeighted(3)
    ),
}


FIRST_THREE = array(np.arange(N) < 3)


def padded(x, padding):
    return np.where(np.arange(N)[:, None] < 3, x, np.float32(padding))


@pytest.mark.parametrize("name", PADDED)
def test_padding_does_not_count_to_the_bit(name, x):
    model = built(PADDED[name])
    with_zeros = value_of(model, padded(x, 0.0), row_weight=FIRST_THREE)
    garbage = np.random.default_rng(5).normal(0, 30, (N, D))
    assert value_of(model, padded(x, garbage), row_weight=FIRST_THREE) == with_zeros


@pytest.mark.parametrize("name", ["basic", "stacked", "sparse", "all penalties"])
def test_padded_rows_give_the_value_of_the_rows_alone(name, x):
    model = built(PADDED[name])
    terms = value_of(model, padded(x, 1.0), row_weight=FIRST_THREE)[1]
    assert terms == pytest.approx(value_of(model, x[:3], row_weight=array(np.ones(3)))[1], rel=1e-5)


def test_padding_has_no_gradient(x):
    model = built(PADDED["all penalties"])
    slopes = np.asarray(jax.jit(jax.grad(lambda rows: loss(model, rows, KEY, jnp.ones(()), FIRST_THREE)[0]))(x))
    assert not np.any(slopes[3:])
    assert np.all(np.any(slopes[:3], axis=1))


# -- gradients reach all weights --------------------------------------------------------------------------------------


def combinations():
    latents = (parts.Deterministic(K), parts.Deterministic(K, "sigmoid"), parts.DiagonalGaussian(K))
    objectives = (parts.Reconstruction(), parts.ELBO(), parts.ImportanceWeighted(3))
    likelihoods = (parts.Gaussian(), parts.LearnedGaussian(), parts.Bernoulli())
    for latent, objective, likelihood in itertools.product(latents, objectives, likelihoods):
        if latent.stochastic or isinstance(objective, parts.Reconstruction):
            yield {"latent": latent, "objective": objective, "likelihood": likelihood}


COMBINATIONS = {
    " ".join(map(repr, slots.values())): lambda slots=slots: parts.Recipe(encoder=parts.MLP((4,)), **slots)
    for slots in combinations()
}
CORRUPTED = {
    name: lambda part=part: parts.Recipe(encoder=parts.MLP((4,)), corruption=part)
    for name, part in examples.all_parts("corruption")
    if part != parts.Masking(1.0)
}
TRAINED = {**{name: lambda recipe=recipe: recipe for name, recipe in PADDED.items()}, **COMBINATIONS, **CORRUPTED}


@jax.jit
def value_and_gradient(model, x):
    def formula(weights):
        return loss(Model(model.recipe, weights), x, KEY, jnp.asarray(0.5), EVERYONE)[0]

    return jax.value_and_grad(formula)(model.weights)


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_weight(name, x):
    bounds = (array(np.asarray(x).min(axis=0)), array(np.asarray(x).max(axis=0)))
    value, gradient = value_and_gradient(built(TRAINED[name]().fit_bounds(*bounds)), x)
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_flatten_with_path(jax.device_get(gradient))[0]:
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", examples.RECIPES)
def test_a_model_and_its_weights_come_apart_and_together(name):
    model = Model.build(examples.RECIPES[name], D, 0)
    arrays, skeleton = model.weights.partition()
    again = Model.build(examples.RECIPES[name], D, 1).weights.partition()[1]
    assert skeleton == again
    assert hash(skeleton) == hash(again)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arrays))
    for one, two in zip(jax.tree.leaves(model.weights), jax.tree.leaves(skeleton.combine(arrays)), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", examples.RECIPES)
def test_the_seed_fixes_the_weights(name):
    one, two, other = (jax.tree.leaves(Model.build(examples.RECIPES[name], D, seed).weights) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
