"""Penalties against their equations: sparsity, L1, weight decay, contraction."""

import jax
import numpy as np
import pytest
from scipy import special

from diabolo import parts
from diabolo.core import recipes
from diabolo.core.model import Model
from formula import LOG_PI, D, K, N, built, code, forward, seen, squared_error, value_of

# -- sparse: + β Σⱼ KL(ρ‖ρ̂ⱼ) on the h that the decoder reads -----------------------------------------------------------


@pytest.mark.parametrize("rho", [0.05, 0.3])
@pytest.mark.parametrize("weight", [0.0, 0.5, 3.0])
def test_the_sparse_loss_is_the_lectures(rho, weight, x):
    model = built(recipes.sparse(8, rho=rho, weight=weight))
    h = special.expit(forward(model.weights.encoder, x))
    rho_hat = h.mean(axis=0)
    omega = (special.rel_entr(rho, rho_hat) + special.rel_entr(1 - rho, 1 - rho_hat)).sum()
    rec = squared_error(x, forward(model.weights.decoder, h)) + D / 2 * LOG_PI
    total, terms = value_of(model, x)
    assert total == pytest.approx(rec + weight * omega, rel=1e-4)
    assert terms["KLSparsity"] == pytest.approx(weight * omega, rel=1e-4, abs=1e-6)
    assert terms["reconstruction"] == pytest.approx(rec, rel=1e-5)
    np.testing.assert_allclose(code(model, x), h, rtol=1e-5)


def test_the_sparsity_penaltys_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(3)
    h = rng.uniform(0.05, 0.95, (1, N, 3))
    step = 1e-6
    ways = step * np.eye(h.size).reshape(h.size, *h.shape)  # one cell is moved in each
    with jax.enable_x64(True):
        omega = lambda z: parts.KLSparsity(0.1)(seen(z))  # noqa: E731
        exact, ends = jax.jit(lambda h, moved: (jax.grad(omega)(h), jax.vmap(omega)(moved)))(
            h, np.concatenate([h + ways, h - ways])
        )
    up, down = np.split(np.asarray(ends), 2)
    np.testing.assert_allclose(np.ravel(exact), (up - down) / (2 * step), rtol=1e-5)
    rho_hat = h.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(exact, np.broadcast_to((-0.1 / rho_hat + 0.9 / (1 - rho_hat)) / N, h.shape), rtol=1e-4)


sparsity_and_slope = jax.jit(
    lambda rho, z: jax.value_and_grad(lambda z: parts.KLSparsity(rho)(seen(z)))(z), static_argnums=0
)


@pytest.mark.parametrize("h", [0.0, 1.0])
def test_a_saturated_unit_keeps_a_finite_penalty_and_a_gradient_that_leads_back(h):
    value, gradient = map(np.asarray, sparsity_and_slope(0.05, np.full((1, N, 3), h, np.float32)))
    assert np.isfinite(value)
    assert value > 0
    assert np.isfinite(gradient).all()
    assert np.all(gradient < 0 if h == 0.0 else gradient > 0)


def test_the_sparsity_penalty_falls_as_the_mean_activation_nears_its_target():
    values = [float(sparsity_and_slope(0.2, np.full((1, N, 3), h, np.float32))[0]) for h in (0.9, 0.5, 0.3, 0.2)]
    assert values == sorted(values, reverse=True)
    assert abs(values[-1]) < 1e-5


# -- the other penalties ----------------------------------------------------------------------------------------------


def test_the_l1_penalty_is_the_mean_absolute_sum_of_the_code():
    z = np.random.default_rng(0).normal(size=(2, N, 3))
    expected = np.abs(z).sum(axis=-1).mean()
    assert float(jax.jit(parts.L1())(seen(np.float32(z)))) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_counts_matrices_and_no_bias(x):
    model = built(recipes.stacked(K, hidden=(4, 3), skip=False))
    networks = (model.weights.encoder, model.weights.decoder)
    expected = 0.5 * sum(float(np.square(np.asarray(layer.weight)).sum()) for net in networks for layer in net.layers)
    recipe = model.recipe.replace(penalties=(parts.WeightDecay(0.7),))
    terms = value_of(Model(recipe, model.weights), x)[1]
    assert terms["WeightDecay"] == pytest.approx(0.7 * expected, rel=1e-5)


def test_the_contractive_penalty_is_the_squared_norm_of_the_encoders_jacobian(x):
    model = built(recipes.basic(3, activation="sigmoid"))
    h = special.expit(forward(model.weights.encoder, x))
    weight = np.asarray(model.weights.encoder.layers[0].weight, np.float64)  # (D, 3): ∂hⱼ/∂xᵢ = hⱼ(1 − hⱼ) Wᵢⱼ
    expected = np.square((h * (1 - h))[:, None, :] * weight).sum(axis=(1, 2)).mean()
    recipe = model.recipe.replace(penalties=(parts.Contractive(0.5),))
    terms = value_of(Model(recipe, model.weights), x)[1]
    assert terms["Contractive"] == pytest.approx(0.5 * expected, rel=1e-4)


def test_penalties_add_up_and_are_named(x):
    model = built(recipes.sparse(3, weight=0.5))
    plain = value_of(Model(model.recipe.replace(penalties=()), model.weights), x)[0]
    penalties = (parts.KLSparsity(0.1, 0.5), parts.L1(0.1), parts.WeightDecay(0.2), parts.Contractive(0.3))
    total, terms = value_of(Model(model.recipe.replace(penalties=penalties), model.weights), x)
    assert total == pytest.approx(plain + sum(terms[type(p).__name__] for p in penalties), rel=1e-5)
