"""The formula against the lecture's equations, written out a second time in NumPy."""

import itertools
import math
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import examples
from diabolo import parts
from diabolo.core import recipes
from diabolo.core.activations import ACTIVATIONS, activate
from diabolo.core.distributions import Bernoulli, Normal
from diabolo.core.layers import Dense, Fixed, Layers
from diabolo.core.model import Model, loss
from diabolo.core.objectives import Draws
from diabolo.core.penalties import ForwardPass
from diabolo.engine import inference
from diabolo.errors import InvalidPart

N, D, K = 5, 4, 2
LOG_PI = math.log(math.pi)
KEY = jax.random.key(0)
EVERYONE = jnp.ones(N)

reproducible = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def x():
    return jnp.asarray(np.random.default_rng(1).uniform(0.05, 0.95, (N, D)), jnp.float32)


def built(recipe, n_features=D):
    """A model with every weight moved away from its start, so that no bias or spread is 0."""
    model = Model.build(recipe, n_features, 0)
    rng = np.random.default_rng(2)
    arrays, fixed, skeleton = model.weights.trainable()
    moved = jax.tree.map(lambda w: w + jnp.asarray(rng.normal(0, 0.3, w.shape), w.dtype), arrays)
    return Model(recipe, skeleton.with_arrays(moved, fixed))


def value_of(model, x, beta=1.0, key=KEY, row_weight=EVERYONE):
    total, terms = loss(model, x, key, jnp.asarray(beta), row_weight)
    return float(total), {name: float(value) for name, value in terms.items()}


# -- the second writing -----------------------------------------------------------------------------------------------

REFERENCE = {
    "identity": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "gelu": lambda a: 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "silu": lambda a: a * special.expit(a),
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "softplus": lambda a: np.logaddexp(0, a),
    "tanh": np.tanh,
    "sigmoid": special.expit,
}


def forward(network, x, activation="silu"):
    """W and b of every layer in turn, float64."""
    h = np.asarray(x, np.float64)
    for i, layer in enumerate(network.layers):
        h = h @ np.asarray(layer.weight, np.float64) + np.asarray(layer.bias, np.float64)
        if i < len(network.layers) - 1:
            h = REFERENCE[activation](h)
    return h


def squared_error(x, x_hat):
    return float(np.square(np.asarray(x, np.float64) - x_hat).sum(axis=1).mean())


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
@pytest.mark.parametrize("batch", [(), (1,), (2, N), (0,), (2, 0, 3)])
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


@pytest.mark.parametrize("make", [lambda: parts.UNet((4, 4, 1), ()), lambda: parts.OneOf(())])
def test_nothing_to_choose_from_is_refused(make):
    with pytest.raises(InvalidPart):
        make()


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("network")])
def test_mirroring_twice_is_the_network_itself(part):
    assert part.mirrored().mirrored() == part


def test_weights_start_within_glorots_bounds_and_biases_at_zero():
    dense = Dense.draw(np.random.default_rng(0), 300, 200)
    bound = math.sqrt(6 / 500)
    assert 0.99 * bound < float(jnp.abs(dense.weight).max()) <= bound
    assert abs(float(dense.weight.mean())) < 5 * bound / math.sqrt(3 * 60_000)
    assert not dense.bias.any()


def test_a_network_is_its_layers_in_turn():
    network = parts.MLP((5, 3), "tanh").build(np.random.default_rng(0), D, K)
    x = np.random.default_rng(1).normal(size=(N, D))
    np.testing.assert_allclose(network(jnp.asarray(x, jnp.float32)), forward(network, x, "tanh"), rtol=1e-5, atol=1e-6)


# -- reconstruction: (1/N) Σ ‖x − x̂‖² --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basic", "stacked"])
def test_the_squared_error_is_the_lectures(name, x):
    model = built(examples.RECIPES[name])
    x_hat = forward(model.weights.decoder, forward(model.weights.encoder, x))
    total, terms = value_of(model, x)
    assert total == pytest.approx(squared_error(x, x_hat) + D / 2 * LOG_PI, rel=1e-5)
    assert terms == pytest.approx({"loss": total, "reconstruction": total})
    np.testing.assert_allclose(model.reconstruct(x), x_hat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_the_codes_activation_stands_between_encoder_and_decoder(activation, x):
    model = built(recipes.basic(3, activation=activation))
    code = REFERENCE[activation](forward(model.weights.encoder, x))
    np.testing.assert_allclose(model.code(x), code, rtol=1e-5, atol=1e-6)
    assert value_of(model, x)[0] == pytest.approx(
        squared_error(x, forward(model.weights.decoder, code)) + D / 2 * LOG_PI, rel=1e-5
    )


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
    np.testing.assert_allclose(model.reconstruct(x), p, rtol=1e-5)


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
    np.testing.assert_allclose(model.code(x), h, rtol=1e-5)


def seen(z, **others):
    given = {"x": z[0], "z": z, "row_weight": jnp.ones(z.shape[1], z.dtype), "encode": lambda rows: rows, "weights": {}}
    return ForwardPass(**given | others)


def test_the_sparsity_penaltys_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(3)
    h = rng.uniform(0.05, 0.95, (1, N, 3))
    step = 1e-6
    with jax.enable_x64(True):
        omega = jax.jit(lambda z: parts.KLSparsity(0.1)(seen(z)))
        exact = np.asarray(jax.grad(lambda z: parts.KLSparsity(0.1)(seen(z)))(jnp.asarray(h)))
        for at in np.ndindex(h.shape):
            up, down = h.copy(), h.copy()
            up[at] += step
            down[at] -= step
            by_differences = float(omega(jnp.asarray(up)) - omega(jnp.asarray(down))) / (2 * step)
            assert exact[at] == pytest.approx(by_differences, rel=1e-5)
    rho_hat = h.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(exact, np.broadcast_to((-0.1 / rho_hat + 0.9 / (1 - rho_hat)) / N, h.shape), rtol=1e-4)


@pytest.mark.parametrize("h", [0.0, 1.0])
def test_a_saturated_unit_keeps_a_finite_penalty_and_a_gradient_that_leads_back(h):
    value, gradient = jax.value_and_grad(lambda z: parts.KLSparsity(0.05)(seen(z)))(jnp.full((1, N, 3), h))
    assert np.isfinite(value)
    assert value > 0
    assert np.isfinite(gradient).all()
    assert np.all(gradient < 0 if h == 0.0 else gradient > 0)


def test_the_sparsity_penalty_falls_as_the_mean_activation_nears_its_target():
    values = [float(parts.KLSparsity(0.2)(seen(jnp.full((1, N, 3), h)))) for h in (0.9, 0.5, 0.3, 0.2)]
    assert values == sorted(values, reverse=True)
    assert abs(values[-1]) < 1e-5


# -- the other penalties ----------------------------------------------------------------------------------------------


def test_the_l1_penalty_is_the_mean_absolute_sum_of_the_code():
    z = np.random.default_rng(0).normal(size=(2, N, 3))
    expected = np.abs(z).sum(axis=-1).mean()
    assert float(parts.L1()(seen(jnp.asarray(z, jnp.float32)))) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_counts_matrices_and_no_bias(x):
    model = built(recipes.stacked(K, hidden=(4, 3), skip=False))
    networks = (model.weights.encoder, model.weights.decoder)
    expected = 0.5 * sum(float(np.square(layer.weight).sum()) for net in networks for layer in net.layers)
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
    code = forward(model.weights.encoder, np.asarray(x, np.float64) + 0.7)
    assert value_of(Model(recipe, model.weights), x)[1]["L1"] == pytest.approx(np.abs(code).sum(1).mean(), rel=1e-5)


def test_another_key_corrupts_differently_and_the_same_key_alike(x):
    model = built(recipes.denoising(K, hidden=(4,), corruption=parts.Masking(0.5), skip=False))
    one, two, other = (value_of(model, x, key=jax.random.key(seed))[0] for seed in (0, 0, 1))
    assert one == two != other


def test_reading_a_model_never_corrupts(x):
    model = built(recipes.denoising(K, hidden=(4,), corruption=Shift(0.7), skip=False))
    clean = Model(model.recipe.replace(corruption=parts.NoCorruption()), model.weights)
    np.testing.assert_array_equal(model.code(x), clean.code(x))
    np.testing.assert_array_equal(model.reconstruct(x), clean.reconstruct(x))


# -- variational: −ELBO = E[−log p(x|z)] + β KL, z = μ + σ ⊙ ε ---------------------------------------------------------

EPSILON = np.random.default_rng(4).normal(size=(3, N, K))


@pytest.fixture
def known_noise(monkeypatch):
    """Every normal draw is the first of EPSILON, whatever the key."""

    def normal(key, shape=(), dtype=jnp.float32):
        assert shape[1:] == EPSILON.shape[1:]
        return jnp.asarray(EPSILON[: shape[0]], dtype)

    monkeypatch.setattr(jax.random, "normal", normal)


def posterior(model, x):
    mu, s = np.split(forward(model.weights.encoder, x), 2, axis=1)
    return mu, np.logaddexp(0, s) + 1e-6


def kl_to_standard_normal(mu, sigma):
    return 0.5 * (mu**2 + sigma**2 - 1 - 2 * np.log(sigma))


def minus_log_likelihood(model, x, z):
    """(s, n): −log p(x | z), by SciPy."""
    eta, part, clean = forward(model.weights.decoder, z), model.recipe.likelihood, np.asarray(x, np.float64)
    factor = 1.0
    if isinstance(part, parts.HeteroscedasticGaussian):
        eta, delta = np.split(eta, 2, axis=-1)
        factor = np.exp(np.tanh(delta))
    if isinstance(part, parts.Bernoulli):
        return -(clean * special.log_expit(eta) + (1 - clean) * special.log_expit(-eta)).sum(-1)
    if isinstance(part, parts.LearnedGaussian):
        sigma = np.logaddexp(0, np.asarray(model.weights.likelihood["spread"], np.float64)) * factor + part.floor
    else:
        sigma = part.sigma
    return -stats.norm.logpdf(clean, eta, sigma).sum(-1)


every_likelihood = pytest.mark.parametrize(
    "likelihood",
    [
        parts.Gaussian(),
        parts.Gaussian(0.2),
        parts.LearnedGaussian(),
        parts.HeteroscedasticGaussian(0.01),
        parts.Bernoulli(),
    ],
    ids=repr,
)


@every_likelihood
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("n_samples", [1, 3])
def test_the_elbo_is_the_lectures(likelihood, beta, n_samples, x, known_noise):
    model = built(recipes.variational(K, hidden=(4,), likelihood=likelihood, n_samples=n_samples, skip=False))
    mu, sigma = posterior(model, x)
    rec = minus_log_likelihood(model, x, mu + sigma * EPSILON[:n_samples]).mean(axis=0)
    kl = kl_to_standard_normal(mu, sigma).sum(axis=1)
    total, terms = value_of(model, x, beta=beta)
    assert total == pytest.approx((rec + beta * kl).mean(), rel=2e-5)
    assert terms["reconstruction"] == pytest.approx(rec.mean(), rel=2e-5)
    assert terms["kl"] == pytest.approx(kl.mean(), rel=2e-5)


@every_likelihood
@pytest.mark.parametrize("n_samples", [1, 3])
def test_the_importance_weighted_bound_is_the_papers(likelihood, n_samples, x, known_noise):
    recipe = recipes.variational(K, hidden=(4,), likelihood=likelihood, skip=False)
    model = built(recipe.replace(objective=parts.ImportanceWeighted(n_samples)))
    mu, sigma = posterior(model, x)
    z = mu + sigma * EPSILON[:n_samples]
    log_w = -minus_log_likelihood(model, x, z) + stats.norm.logpdf(z).sum(-1) - stats.norm.logpdf(z, mu, sigma).sum(-1)
    expected = -(special.logsumexp(log_w, axis=0) - math.log(n_samples)).mean()
    total, terms = value_of(model, x, beta=0.0)
    assert total == pytest.approx(expected, rel=2e-5)
    assert terms["reconstruction"] + terms["kl"] == pytest.approx(-log_w.mean(), rel=2e-5)


def test_gradients_reach_mu_and_sigma_through_the_draw(x, known_noise):
    model = built(recipes.variational(K, hidden=(4,), likelihood=parts.Gaussian(), skip=False))

    def reconstruction(mu, sigma):
        z = Normal(mu, sigma).sample(KEY, (1,))
        return -model.decode(z).log_prob(x).sum(-1).mean()

    mu, sigma = (jnp.asarray(a, jnp.float32) for a in posterior(model, x))
    by_mu, by_sigma = jax.grad(reconstruction, argnums=(0, 1))(mu, sigma)
    np.testing.assert_allclose(by_sigma, by_mu * EPSILON[0], rtol=1e-4, atol=1e-7)
    assert np.all(by_mu != 0)


def test_different_rows_and_draws_get_different_noise():
    model = built(recipes.variational(K, hidden=(4,), skip=False))
    q = model.encode(jnp.zeros((N, D)))
    z = np.asarray(q.sample(KEY, (3,))).reshape(-1, K)
    assert len(np.unique(z, axis=0)) == 3 * N


def test_corruption_and_code_draw_from_different_keys():
    recipe = recipes.variational(D, hidden=(), skip=False).replace(
        corruption=parts.GaussianNoise(1.0), decoder=parts.MLP(())
    )
    keys = []

    @dataclass(frozen=True)
    class Spy(parts.Corruption):
        def __call__(self, key, x):
            keys.append(jax.random.normal(key, (N, D)))
            return x

    @dataclass(frozen=True)
    class SpiedGaussian(parts.DiagonalGaussian):
        def __call__(self, h):
            q = super().__call__(h)

            class Spied(Normal):
                def sample(self, key, shape=()):
                    keys.append(jax.random.normal(key, (N, D)))
                    return super().sample(key, shape)

            return Spied(q.loc, q.scale)

    model = Model.build(recipe.replace(corruption=Spy(), latent=SpiedGaussian(D)), D, 0)
    value_of(model, jnp.zeros((N, D)))
    assert len(keys) == 2
    assert abs(np.corrcoef(np.ravel(keys[0]), np.ravel(keys[1]))[0, 1]) < 0.9


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


FIRST_THREE = (jnp.arange(N) < 3).astype(jnp.float32)


def padded(x, padding):
    return jnp.where(FIRST_THREE[:, None] == 1, x, jnp.asarray(padding, jnp.float32))


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
    assert terms == pytest.approx(value_of(model, x[:3], row_weight=jnp.ones(3))[1], rel=1e-5)


def test_padding_has_no_gradient(x):
    model = built(PADDED["all penalties"])
    by_rows = jax.grad(lambda rows: loss(model, rows, KEY, jnp.ones(()), FIRST_THREE)[0])(x)
    assert not np.any(by_rows[3:])
    assert np.all(np.any(by_rows[:3], axis=1))


# -- gradients reach all weights --------------------------------------------------------------------------------------


def combinations():
    latents = (parts.Code(K), parts.Code(K, "sigmoid"), parts.DiagonalGaussian(K))
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


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_every_weight(name, x):
    model = built(TRAINED[name]().bind(x.min(axis=0), x.max(axis=0)))
    arrays, skeleton = model.weights.apart()

    def formula(weights):
        return loss(Model(model.recipe, skeleton.with_arrays(weights)), x, KEY, jnp.asarray(0.5), EVERYONE)[0]

    value, gradient = jax.value_and_grad(formula)(arrays)
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_flatten_with_path(gradient)[0]:
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


@pytest.mark.parametrize("name", examples.RECIPES)
def test_a_model_and_its_weights_come_apart_and_together(name):
    model = Model.build(examples.RECIPES[name], D, 0)
    arrays, skeleton = model.weights.apart()
    again = Model.build(examples.RECIPES[name], D, 1).weights.apart()[1]
    assert skeleton == again
    assert hash(skeleton) == hash(again)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arrays))
    for one, two in zip(jax.tree.leaves(model.weights), jax.tree.leaves(skeleton.with_arrays(arrays)), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", examples.RECIPES)
def test_the_seed_fixes_the_weights(name):
    one, two, other = (jax.tree.leaves(Model.build(examples.RECIPES[name], D, seed).weights) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# -- ELBO ≤ IWAE(k) ≤ log p(x), where log p(x) is known ----------------------------------------------------------------

W = np.array([[1.0, -0.5, 0.5, 0.0], [0.5, 1.0, 0.0, 1.0]])  # orthogonal rows: the exact posterior is diagonal
B = np.array([0.3, -0.2, 0.0, 1.0])
SIGMA = 0.6


def dense(weight, bias):
    return Layers((Dense(jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32)),), "silu", "identity")


def linear_gaussian(shift=0.0, widen=1.0, objective=None):
    """z ~ N(0, I), x | z ~ N(W'z + b, σ²I), and the exact posterior, its mean moved and its spread stretched."""
    precision = 1 + np.square(W).sum(axis=1) / SIGMA**2
    mean_weight = W.T / SIGMA**2 / precision
    mean_bias = -B @ mean_weight + shift
    spread = np.log(np.expm1(widen / np.sqrt(precision) - 1e-6))
    recipe = parts.Recipe(
        encoder=parts.MLP(()),
        latent=parts.DiagonalGaussian(K),
        likelihood=parts.Gaussian(SIGMA),
        objective=objective or parts.ELBO(),
    )
    weights = Model.build(recipe, D, 0).weights
    encoder = dense(np.hstack([mean_weight, np.zeros((D, K))]), np.hstack([mean_bias, spread]))
    return Model(recipe, type(weights)(encoder, dense(W, B), {}))


def exact_log_p(x):
    return stats.multivariate_normal(B, W.T @ W + SIGMA**2 * np.eye(D)).logpdf(x)


def gap(x, shift, widen):
    """KL(q‖p(z|x)) of the wrong posterior from the exact one, the distance of the ELBO from log p(x)."""
    precision = 1 + np.square(W).sum(axis=1) / SIGMA**2
    return (0.5 * (widen**2 + shift**2 * precision - 1) - math.log(widen)).sum()


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(6)
    return rng.normal(size=(N, K)) @ W + B + SIGMA * rng.normal(size=(N, D))


def test_the_rows_of_the_linear_gaussian_decoder_are_orthogonal():
    assert W[0] @ W[1] == 0


@pytest.mark.parametrize("n_samples", [1, 16])
def test_with_the_exact_posterior_bound_estimate_and_log_p_agree(n_samples, rows):
    elbo, estimate = inference.by_rows(inference.log_weight_sums, linear_gaussian(), rows, n_samples)
    np.testing.assert_allclose(elbo, exact_log_p(rows), atol=2e-4)
    np.testing.assert_allclose(estimate, exact_log_p(rows), atol=2e-4)


def test_with_a_wrong_posterior_the_estimate_rises_with_the_draws_to_the_exact_log_p(rows):
    model, exact = linear_gaussian(shift=0.3, widen=1.5), exact_log_p(rows)
    means = []
    for n_samples in (1, 16, 4096):
        draws = [inference.by_rows(inference.log_weight_sums, model, rows, n_samples, seed=s) for s in range(20)]
        elbo, estimate = (np.mean([draw[i] for draw in draws], axis=0) for i in (0, 1))
        means.append(estimate.mean())
        assert np.all(elbo < exact)
        assert np.all(elbo <= estimate + 1e-5)
    assert means == sorted(means)
    assert means[1] - means[0] > 0.1
    np.testing.assert_allclose(estimate, exact, atol=0.01)
    np.testing.assert_allclose(elbo, exact - gap(rows, 0.3, 1.5), atol=0.05)


many_rows_value = jax.jit(lambda model, x: loss(model, x, KEY, jnp.ones(()), jnp.ones(len(x)))[0])
OBJECTIVES = (parts.ELBO(), parts.ImportanceWeighted(1), parts.ImportanceWeighted(20))


def expected_value(model, rows):
    """The formula's mean over noise: of each row, many copies."""
    return float(many_rows_value(model, jnp.asarray(np.tile(rows, (2000, 1)), jnp.float32)))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_with_the_exact_posterior_every_objective_is_minus_log_p(objective, rows):
    # The ELBO's KL is in closed form, so that only its reconstruction term is random.
    error = 0.05 if objective == parts.ELBO() else 1e-4
    value = expected_value(linear_gaussian(objective=objective), rows)
    assert value == pytest.approx(-exact_log_p(rows).mean(), abs=error)


def test_with_a_wrong_posterior_the_objectives_are_ordered(rows):
    elbo, one, twenty = (expected_value(linear_gaussian(0.3, 1.5, objective), rows) for objective in OBJECTIVES)
    exact = -exact_log_p(rows).mean()
    assert elbo == pytest.approx(exact + gap(rows, 0.3, 1.5), abs=0.05)
    assert one == pytest.approx(elbo, abs=0.05), "one draw of the importance-weighted bound is the ELBO"
    assert one - twenty > 0.1
    assert twenty > exact


@pytest.mark.parametrize("n_backward", [1, 3])
def test_the_gradient_that_a_few_draws_bear_is_the_same_in_expectation(rows, n_backward):
    x = jnp.asarray(np.tile(rows, (40_000, 1)), jnp.float32)
    found = {}
    for bearing in (0, n_backward):
        model = linear_gaussian(0.3, 1.5, parts.ImportanceWeighted(8, bearing))
        arrays, skeleton = model.weights.apart()

        def of(arrays, model=model, skeleton=skeleton):
            return loss(Model(model.recipe, skeleton.with_arrays(arrays)), x, KEY, jnp.ones(()), jnp.ones(len(x)))[0]

        found[bearing] = jax.jit(jax.value_and_grad(of))(arrays)
    assert float(found[n_backward][0]) == pytest.approx(float(found[0][0]), rel=1e-6)
    pairs = zip(jax.tree.leaves(found[n_backward][1]), jax.tree.leaves(found[0][1]), strict=True)
    for some, every in pairs:
        np.testing.assert_allclose(some, every, atol=0.03)
        assert np.abs(every).max() > 0.1


def test_one_importance_weight_is_the_elbo_exactly_where_the_kl_is_estimated(rows):
    """With the log q − log p form of the KL, −log w is the ELBO draw by draw."""
    model = linear_gaussian(0.3, 1.5)
    x = jnp.asarray(rows, jnp.float32)
    q = model.encode(x)
    z = q.sample(KEY, (1,))
    log_likelihood = model.decode(z).log_prob(x).sum(-1)
    draws = Draws(log_likelihood, z, q, model.prior)
    iw = parts.ImportanceWeighted(1)(draws, jnp.ones(()))
    by_hand = -(log_likelihood + (model.prior.log_prob(z) - q.log_prob(z)).sum(-1))[0]
    np.testing.assert_allclose(iw.loss, by_hand, rtol=1e-5)
    np.testing.assert_allclose(iw.loss, -draws.log_weights()[0], rtol=1e-5)
    np.testing.assert_allclose(iw.parts["reconstruction"] + iw.parts["kl"], iw.loss, rtol=1e-5)


def test_the_elbo_is_never_above_the_estimate_for_any_model(x):
    model = built(recipes.variational(K, hidden=(4,), likelihood=parts.Bernoulli(), skip=False))
    elbo, estimate = inference.by_rows(inference.log_weight_sums, model, np.asarray(x), 16)
    assert np.all(elbo <= estimate)


def test_a_discrete_likelihoods_probabilities_sum_to_one_over_all_rows():
    """Σₓ p(x) = 1 over all 2⁴ binary rows, with p(x) estimated by importance weighting from a wide posterior."""
    recipe = recipes.variational(1, hidden=(4,), likelihood=parts.Bernoulli(), skip=False).replace(
        encoder=parts.MLP(())
    )
    weights = built(recipe).weights
    model = Model(recipe, type(weights)(dense(np.zeros((D, 2)), [0.0, 1.0]), weights.decoder, {}))
    rows = np.array(list(itertools.product([0.0, 1.0], repeat=D)))
    log_p = inference.by_rows(inference.log_weight_sums, model, rows, 4096)[1]
    assert np.exp(log_p.astype(np.float64)).sum() == pytest.approx(1.0, abs=0.02)


# -- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "n_epochs", "values"),
    [
        (parts.Constant(), 10, {0: 1, 5: 1, 10: 1}),
        (parts.Constant(0.3), 10, {0: 0.3, 10: 0.3}),
        (parts.LinearWarmup(4), 10, {0: 0, 1: 0.25, 2: 0.5, 4: 1, 10: 1}),
        (parts.LinearWarmup(4, start=0.2), 10, {0: 0.2, 2: 0.6, 4: 1, 9: 1}),
        (parts.LinearWarmup(0.5), 10, {0: 0, 0.25: 0.5, 1: 1}),
        (parts.Cyclical(2, ramp=0.5), 8, {0: 0, 1: 0.5, 2: 1, 3: 1, 4: 0, 5: 0.5, 6: 1, 8: 1}),
        (parts.Cyclical(1, ramp=1.0), 4, {0: 0, 1: 0.25, 3: 0.75, 4: 1}),
        (parts.Cyclical(4, ramp=0.25), 4, {0.125: 0.5, 0.25: 1, 0.75: 1, 1.125: 0.5}),
        (parts.Cosine(warmup=0.0), 8, {0: 1, 2: (1 + math.sqrt(0.5)) / 2, 4: 0.5, 8: 0}),
        (parts.Cosine(warmup=0.25, floor=0.1), 8, {0: 0, 1: 0.5, 2: 1, 5: 0.55, 8: 0.1}),
        (parts.Steps((2, 4), factor=0.1), 6, {0: 1, 1.9: 1, 2: 0.1, 3: 0.1, 4: 0.01, 6: 0.01}),
        (parts.Steps(), 6, {0: 1, 6: 1}),
    ],
    ids=repr,
)
def test_schedules_have_their_values_at_known_times(schedule, n_epochs, values):
    for t, value in values.items():
        assert float(schedule(float(t), float(n_epochs))) == pytest.approx(value, abs=1e-6)


SCHEDULES = [pytest.param(part, id=name) for name, part in examples.all_parts("schedule")]


@pytest.mark.parametrize("schedule", SCHEDULES)
@reproducible
@given(share=st.floats(0, 1), n_epochs=st.integers(1, 1000))
def test_schedules_stay_between_zero_and_one(schedule, share, n_epochs):
    assert 0.0 <= float(schedule(share * n_epochs, float(n_epochs))) <= 1.0


ANNEALINGS = {
    "constant": parts.Constant(0.4),
    "linear": parts.LinearWarmup(7.5),
    "linear from 0.3": parts.LinearWarmup(3, start=0.3),
    "cyclical": parts.Cyclical(3, ramp=0.6),
}


@pytest.mark.parametrize("name", ANNEALINGS)
@reproducible
@given(share=st.floats(0, 1))
def test_after_it_has_settled_an_annealing_stays(name, share):
    schedule, n_epochs = ANNEALINGS[name], 30
    settled = schedule.settled_after(n_epochs)
    t = settled + share * (n_epochs - settled)
    assert float(schedule(t, float(n_epochs))) == pytest.approx(
        float(schedule(float(n_epochs), float(n_epochs))), abs=1e-5
    )


@reproducible
@given(early=st.floats(0, 20), late=st.floats(0, 20))
def test_a_warmup_never_falls(early, late):
    schedule = parts.LinearWarmup(8, start=0.1)
    early, late = sorted((early, late))
    assert float(schedule(early, 20.0)) <= float(schedule(late, 20.0)) + 1e-6


# -- likelihoods' own claims ------------------------------------------------------------------------------------------


def test_the_bernoulli_part_is_the_bernoulli_density():
    eta = jnp.array([[-1.0, 2.0]])
    density = parts.Bernoulli()(eta, {})
    assert isinstance(density, Bernoulli)
    np.testing.assert_allclose(density.mean, special.expit([[-1.0, 2.0]]), rtol=1e-6)


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("likelihood")])
def test_every_likelihood_knows_how_many_numbers_it_needs(part):
    d = examples.n_columns(part, D)
    density = part(jnp.zeros((N, part.n_outputs(d))), part.build(d))
    assert density.mean.shape == density.log_prob(jnp.zeros((N, d))).shape == (N, d)
    assert part.shown(jnp.zeros((N, d))).shape == (N, d)
    supports = part.supports(d)
    assert len(supports) == d
    for support, mean in zip(supports, density.mean.T, strict=True):
        low, high = {"real": (-np.inf, np.inf), "unit": (0, 1), "count": (0, np.inf)}[support]
        assert np.all((mean >= low) & (mean <= high))


def test_a_count_models_encoder_reads_the_logarithm():
    rows = jnp.array([[0.0, 1.0, 7.0, 1000.0]])
    np.testing.assert_allclose(parts.Count().shown(rows), np.log1p(rows), rtol=1e-6)
    assert np.isfinite(parts.Count().shown(rows - 5.0)).all(), "as noise may leave them"
    counts, plain = (built(parts.Recipe(latent=parts.Code(K), likelihood=p)) for p in (parts.Count(), parts.Gaussian()))
    np.testing.assert_allclose(counts.code(rows), plain.code(jnp.log1p(rows)), rtol=1e-5)


def test_a_mixed_likelihood_is_the_sum_of_its_blocks():
    blocks, widths = (parts.LearnedGaussian(), parts.Bernoulli(), parts.Count()), (2, 1, 1)
    part = parts.Mixed(blocks, widths)
    eta = jnp.asarray(np.random.default_rng(3).normal(size=(N, D)), jnp.float32)
    rows = jnp.array([[0.3, -2.0, 1.0, 4.0]] * N)
    each = [
        block(e, block.build(w)).log_prob(r).sum(-1)
        for block, w, e, r in zip(blocks, widths, jnp.split(eta, [2, 3], -1), jnp.split(rows, [2, 3], -1), strict=True)
    ]
    np.testing.assert_allclose(part(eta, part.build(D)).log_prob(rows).sum(-1), sum(each), rtol=1e-6)
    np.testing.assert_allclose(part.shown(rows)[0], [0.3, -2.0, 1.0, np.log(5.0)], rtol=1e-6)


def test_each_block_of_a_mixed_likelihood_learns_its_own_spread():
    part = parts.Mixed((parts.LearnedGaussian(), parts.Count(), parts.LearnedGaussian()), (1, 2, 1))
    own = part.build(D)
    assert {name: value.shape for name, value in own.items() if not name.endswith("floor")} == {
        "0.spread": (1,),
        "1.concentration": (2,),
        "2.spread": (1,),
    }
    wide = own | {"2.spread": own["2.spread"] + 3}
    before, after = (part(jnp.zeros(D), some).log_prob(jnp.zeros(D)) for some in (own, wide))
    np.testing.assert_array_equal(np.asarray(before != after), [False, False, False, True])


def test_blocks_of_a_mixed_likelihood_must_have_widths_that_make_up_a_row():
    with pytest.raises(InvalidPart, match="2 .*1 "):
        parts.Mixed((parts.Gaussian(), parts.Bernoulli()), (3,))
    with pytest.raises(InvalidPart, match="3 .*4"):
        Model.build(parts.Recipe(likelihood=parts.Mixed((parts.Gaussian(),), (3,))), 4, 0)


# -- missing cells: known ones only, log p(x_known) -------------------------------------------------------------------

HOLES = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 0], [1, 1, 1, 1]], bool)


@pytest.fixture(scope="module")
def holed(rows):
    return jnp.asarray(np.where(HOLES, np.nan, rows), jnp.float32)


def told(model):
    """The same model, whose encoder has as many weights of 0 for which cells are missing."""
    first, *others = model.weights.encoder.layers
    wider = Dense(jnp.vstack([first.weight, jnp.zeros_like(first.weight)]), first.bias)
    encoder = Layers((wider, *others), model.weights.encoder.activation, model.weights.encoder.output_activation)
    weights = type(model.weights)(encoder, model.weights.decoder, model.weights.likelihood)
    return Model(model.recipe.replace(missing="told"), weights)


@pytest.mark.parametrize("recipe", examples.RECIPES.values(), ids=examples.RECIPES)
def test_where_nothing_is_missing_the_formula_is_the_same(recipe, x):
    model = built(recipe)
    (one, terms), (other, others) = value_of(model, x), value_of(told(model), x)
    assert one == pytest.approx(other, rel=1e-6)
    assert terms == pytest.approx(others, rel=1e-6)


def test_the_encoder_reads_zeros_and_which_cells_are_missing(holed):
    recipe = parts.Recipe(missing="told")
    shown = np.asarray(recipe.shown(holed))
    np.testing.assert_array_equal(shown[:, :D], np.where(HOLES, 0, holed))
    np.testing.assert_array_equal(shown[:, D:], HOLES)
    assert Model.build(recipe, D, 0).weights.encoder.layers[0].weight.shape[0] == 2 * D


def test_an_encoder_of_counts_reads_zeros_too(holed):
    shown = parts.Recipe(missing="told", likelihood=parts.Count()).shown(jnp.abs(holed))
    np.testing.assert_allclose(shown[:, :D], np.where(HOLES, 0, np.log1p(np.abs(holed))), rtol=1e-6)


def test_log_p_of_known_cells_is_the_exact_marginal(rows, holed):
    """The decoder's marginal density of any cells is a normal; the posterior of all cells only proposes."""
    model = told(linear_gaussian(widen=2.0))
    estimate = inference.by_rows(inference.log_weight_sums, model, np.asarray(holed), 20_000)[1]
    covariance = W.T @ W + SIGMA**2 * np.eye(D)
    for row, holes, found in zip(rows, HOLES, estimate, strict=True):
        known = ~holes
        if not known.any():
            exact = 0.0
        else:
            exact = stats.multivariate_normal(B[known], covariance[np.ix_(known, known)]).logpdf(row[known])
        assert found == pytest.approx(exact, abs=0.05)


def conditional(row, known):
    """Mean and covariance of the other cells, given those that are known."""
    covariance = W.T @ W + SIGMA**2 * np.eye(D)
    slope = covariance[np.ix_(~known, known)] @ np.linalg.pinv(covariance[np.ix_(known, known)])
    spread = covariance[np.ix_(~known, ~known)] - slope @ covariance[np.ix_(known, ~known)]
    return B[~known] + slope @ (row[known] - B[known]), spread


def test_missing_cells_are_expected_where_the_exact_conditional_mean_is(rows, holed):
    model = told(linear_gaussian(widen=2.0))
    found = inference.by_rows(inference.expected_given, model, np.asarray(holed), 20_000)
    for row, holes, mean in zip(rows, HOLES, found, strict=True):
        np.testing.assert_allclose(mean[holes], conditional(row, ~holes)[0], atol=0.06)


def test_draws_of_missing_cells_have_the_exact_conditional_mean_and_covariance(rows, holed):
    model = told(linear_gaussian(widen=2.0))
    many = np.repeat(np.asarray(holed)[1:4], 4_000, axis=0)
    draws = inference.by_rows(inference.drawn_given, model, many, 300, seed=1).reshape(3, 4_000, D)
    for row, holes, drawn in zip(rows[1:4], HOLES[1:4], draws, strict=True):
        mean, covariance = conditional(row, ~holes)
        np.testing.assert_allclose(drawn[:, holes].mean(axis=0), mean, atol=0.08)
        np.testing.assert_allclose(np.cov(drawn[:, holes].T), covariance, atol=0.12)


def test_codes_weighed_by_known_cells_are_drawn_from_the_exact_posterior(rows):
    """p(z | x_known) of a linear-Gaussian model, by weights of draws from the prior."""
    model, row = linear_gaussian(), np.where(HOLES[1], np.nan, rows[1])
    z = np.random.default_rng(0).normal(size=(200_000, K))
    beside = np.hstack([z, np.broadcast_to(row, (len(z), D))]).astype(np.float32)
    log_w = inference.by_rows(inference.log_likelihood_at, model, beside).astype(np.float64)
    weights = np.exp(log_w - log_w.max())
    weights /= weights.sum()
    known = ~HOLES[1]
    precision = np.eye(K) + W[:, known] @ W[:, known].T / SIGMA**2
    mean = np.linalg.solve(precision, W[:, known] @ (row[known] - B[known]) / SIGMA**2)
    np.testing.assert_allclose(weights @ z, mean, atol=0.02)
    np.testing.assert_allclose(np.cov(z.T, aweights=weights), np.linalg.inv(precision), atol=0.02)


LIKELIHOODS = [part for _, part in examples.all_parts("likelihood") if not isinstance(part, parts.Mixed)]
MIXED = parts.Mixed((parts.Count(), parts.Bernoulli(), parts.LearnedGaussian()), (1, 1, 2))


@pytest.mark.parametrize("likelihood", [*LIKELIHOODS, MIXED], ids=repr)
def test_missing_cells_neither_count_nor_spoil_the_gradient(likelihood):
    cells = jnp.asarray(np.random.default_rng(8).integers(0, 2, (N, D)), jnp.float32)
    holed = jnp.where(HOLES, jnp.nan, cells)
    model = built(parts.Recipe(latent=parts.Code(K), likelihood=likelihood, missing="told"))
    each = model.decode(model.code(holed)).log_prob(cells)
    log_p = model.log_likelihood(holed, model.code(holed))
    np.testing.assert_allclose(log_p, jnp.where(HOLES, 0, each).sum(-1), rtol=1e-5, atol=1e-6)
    arrays, skeleton = model.weights.apart()

    def of(arrays):
        return loss(Model(model.recipe, skeleton.with_arrays(arrays)), holed, KEY, jnp.ones(()), EVERYONE)[0]

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.grad(of)(arrays)))


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("corruption")])
def test_what_is_missing_stays_missing_when_the_rest_is_corrupted(part, holed):
    recipe = parts.Recipe(corruption=part, missing="told").bind(jnp.zeros(D), jnp.ones(D))
    noisy = recipe.corrupted(KEY, holed)
    assert jnp.isnan(noisy)[HOLES].all()
    if part.hides:
        return
    np.testing.assert_array_equal(jnp.isnan(noisy), HOLES)
    without = recipe.replace(missing="refused").corrupted(KEY, jnp.nan_to_num(holed))
    np.testing.assert_array_equal(noisy[~HOLES], without[~HOLES])
