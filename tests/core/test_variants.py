"""The rest of the family: parts that own weights, see the encoder or play against an opponent, and their equations."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from sklearn.datasets import load_digits, make_blobs

import examples
from diabolo import Autoencoder, parts
from diabolo.core.distributions import Conditional, Mixture, Normal
from diabolo.core.model import Model, loss
from diabolo.engine import inference
from diabolo.errors import InvalidPart
from formula import array, log_prob, normal, sample

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def blobs():
    """Three distant clusters in four columns."""
    return make_blobs(400, n_features=4, centers=3, cluster_std=0.3, random_state=0)[0]


def itself(x):
    return x


def pass_of(z, *, row_weight=None, **more):
    """One pass by hand; z has shape (n, k)."""
    z, weight = np.float32(z), np.ones(len(z), np.float32) if row_weight is None else np.float32(row_weight)
    return parts.ForwardPass(z, z[None], weight, itself, None, key=KEY, **more)


# -- distributions ----------------------------------------------------------------------------------------------------


def test_the_terms_of_a_mixture_sum_to_its_log_density():
    rng = np.random.default_rng(0)
    loc, scale, x = rng.normal(size=(3, 2)), rng.uniform(0.5, 2, (3, 2)), rng.normal(size=(7, 2))
    weights = np.array([0.2, 0.3, 0.5])
    mixture = Mixture(normal(loc, scale), array(np.log(weights)))
    each = stats.norm.logpdf(x[:, None], loc, scale).sum(axis=-1)
    expected = special.logsumexp(each + np.log(weights), axis=1)
    terms = np.asarray(log_prob(mixture, np.float32(x)))
    np.testing.assert_allclose(terms.sum(-1), expected, rtol=1e-4)
    first = special.logsumexp(stats.norm.logpdf(x[:, :1], loc[:, 0], scale[:, 0]) + np.log(weights), axis=1)
    np.testing.assert_allclose(terms[:, 0], first, rtol=1e-4, atol=1e-5)


def test_a_mixture_integrates_to_one_and_is_drawn_from():
    mixture = Mixture(normal([[-2.0], [3.0]], [[0.5], [1.0]]), array(np.log([0.3, 0.7])))
    grid = np.linspace(-8, 10, 4001)
    density = np.exp(np.asarray(log_prob(mixture, np.float32(grid[:, None])))[:, 0])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)
    drawn = np.asarray(sample(mixture, KEY, (4_000,)))[:, 0]
    cdf = lambda x: 0.3 * stats.norm.cdf(x, -2, 0.5) + 0.7 * stats.norm.cdf(x, 3, 1)  # noqa: E731
    assert stats.kstest(drawn, cdf).pvalue > 1e-3


@pytest.mark.parametrize("first_last", [False, True])
def test_a_conditional_of_linear_normals_is_the_joint_normal(first_last):
    joint = Conditional(normal([1.0], [1.0]), lambda a: Normal(2 * a, jnp.full(1, 0.5)), first_last)
    mean, covariance = np.array([1.0, 2.0]), np.array([[1.0, 2.0], [2.0, 4.25]])
    order = [1, 0] if first_last else [0, 1]
    exact = stats.multivariate_normal(mean[order], covariance[np.ix_(order, order)])
    x = np.random.default_rng(0).normal(size=(6, 2))
    log_p, mean_found, drawn = jax.jit(lambda x: (joint.log_prob(x), joint.mean, joint.sample(KEY, (20_000,))))(
        np.float32(x)
    )
    np.testing.assert_allclose(np.asarray(log_p).sum(-1), exact.logpdf(x), rtol=1e-4)
    np.testing.assert_allclose(mean_found, exact.mean)
    np.testing.assert_allclose(np.cov(np.asarray(drawn).T), exact.cov, rtol=0.05)


# -- priors that own weights ------------------------------------------------------------------------------------------


def vae(**given):
    settings = {"latent": parts.DiagonalGaussian(2), "encoder": parts.MLP((8,)), "objective": "elbo"}
    return Autoencoder(**settings | given, likelihood="learned_gaussian", random_state=0)


def test_the_vamp_prior_is_the_mean_of_the_posteriors_of_its_rows():
    recipe = parts.Recipe(
        encoder=parts.MLP((5,)), latent=parts.DiagonalGaussian(2), prior=parts.VampPrior(4), objective=parts.ELBO()
    )
    model = Model.build(recipe, 3, 0)
    z = np.random.default_rng(1).normal(size=(6, 2))
    q, found = jax.jit(lambda model, z: (model.encode(model.weights.prior["rows"]), model.prior.log_prob(z)))(
        model, np.float32(z)
    )
    each = stats.norm.logpdf(z[:, None], np.asarray(q.loc), np.asarray(q.scale)).sum(axis=-1)
    expected = special.logsumexp(each, axis=1) - np.log(4)
    np.testing.assert_allclose(np.asarray(found).sum(-1), expected, rtol=1e-4)


LEVELS = {"latent": parts.TwoLevel(2, 1, (8,)), "prior": parts.TwoLevelPrior(1, (8,))}
OWNING = {"VampPrior": {"prior": parts.VampPrior(10)}, "TwoLevelPrior": LEVELS}


@pytest.mark.parametrize("name", OWNING)
def test_the_elbo_is_the_bound_that_was_trained(name, blobs):
    estimator = vae(**OWNING[name], max_epochs=30).fit(blobs)
    model, rows = estimator.model_, array(estimator.scaler_.apply(blobs))
    weight = array(np.ones(len(rows)))
    by_key = jax.vmap(lambda model, key: loss(model, rows, key, jnp.ones(()), weight)[0], (None, 0))
    by_training = -np.asarray(jax.jit(by_key)(model, jax.random.split(KEY, 8)))
    elbo = inference.map_rows(inference.elbos, model, np.asarray(rows), 64).mean()
    assert elbo == pytest.approx(np.mean(by_training), abs=0.05)
    assert estimator.score(blobs) > estimator.elbo(blobs).mean()


def test_the_vamp_prior_follows_clusters_better_than_the_standard_normal(blobs):
    scores = [vae(**given, max_epochs=150).fit(blobs).elbo(blobs).mean() for given in ({}, OWNING["VampPrior"])]
    assert scores[1] > scores[0]


UNFIT = {
    "VampPrior needs a normal posterior": {"latent": LEVELS["latent"], "prior": parts.VampPrior(3)},
    "TotalCorrelation needs a normal posterior": LEVELS | {"penalties": (parts.TotalCorrelation(),)},
    "n_top must be less than": {"prior": parts.TwoLevelPrior(2)},
}


@pytest.mark.parametrize("message", UNFIT)
def test_parts_that_do_not_fit_each_other_are_refused(message, blobs):
    with pytest.raises(InvalidPart, match=message):
        vae(**UNFIT[message], max_epochs=1).fit(blobs)


def test_the_kl_of_two_linear_levels_is_that_of_two_normals():
    """With linear networks without spread of their own, q and π are joint normals, and KL(q ‖ π) has a closed form."""
    recipe = parts.Recipe(
        encoder=parts.MLP(()),
        latent=parts.TwoLevel(1, 1, ()),
        prior=parts.TwoLevelPrior(1, ()),
        objective=parts.ELBO(),
    )
    model = Model.build(recipe, 2, 3)
    # σ must not depend on the code: the columns of the spread are set to 0.
    for at in (lambda w: w.latent["network"], lambda w: w.prior["network"]):
        layer = lambda w, at=at: at(w).network.layers[0].weight  # noqa: E731
        weights = eqx.tree_at(layer, model.weights, array(np.asarray(layer(model.weights)) * [1, 0]))
        model = Model(recipe, weights)

    @jax.jit
    def computed(model, x, points):
        q, prior = model.encode(x), model.prior
        z = q.sample(KEY, (40_000,))
        log_ratio = (q.log_prob(z) - prior.log_prob(z)).sum(-1)
        return log_ratio, q.first, *(of.then(points) for of in (q, prior))

    log_ratio, first, of_q, of_prior = computed(model, array([[0.3, -0.2]]), array([[0.0], [1.0]]))

    def moments(then):
        (a, b), s = np.asarray(then.loc)[:, 0], np.asarray(then.scale)[0, 0]
        return float(a), float(b - a), float(s)

    c, w, s = moments(of_q)
    m, t = float(np.squeeze(first.loc)), float(np.squeeze(first.scale))
    q_mean, q_cov = np.array([m, c + w * m]), np.array([[t**2, w * t**2], [w * t**2, w**2 * t**2 + s**2]])
    c, w, s = moments(of_prior)
    p_mean, p_cov = np.array([c, 0.0]), np.array([[w**2 + s**2, w], [w, 1.0]])
    away, inverse = p_mean - q_mean, np.linalg.inv(p_cov)
    exact = 0.5 * (
        np.trace(inverse @ q_cov) + away @ inverse @ away - 2 + np.log(np.linalg.det(p_cov) / np.linalg.det(q_cov))
    )
    assert np.asarray(log_ratio).mean() == pytest.approx(exact, rel=0.03)


# -- a codebook -------------------------------------------------------------------------------------------------------


def test_a_quantised_code_is_the_nearest_vector_and_passes_its_gradient_on():
    latent = parts.VectorQuantized(2, 5, 2)
    own = latent.build(np.random.default_rng(0), 3, 4)
    h = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    vectors = np.asarray(own["vectors"])
    nearest = [
        np.concatenate([vectors[g][np.square(vectors[g] - row[2 * g : 2 * g + 2]).sum(1).argmin()] for g in (0, 1)])
        for row in h
    ]

    def weighed(h):
        found = latent.posterior(h, own).mean
        return (found * jnp.arange(4.0)).sum(), found

    slope, found = jax.jit(jax.grad(weighed, has_aux=True))(h)
    np.testing.assert_allclose(found, nearest, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(slope, np.broadcast_to(np.arange(4.0), (6, 4)))


def test_the_vectors_are_moving_averages_and_unused_ones_start_again():
    latent = parts.VectorQuantized(1, 3, decay=0.9)
    counts, sums = np.array([[4.0, 4.0, 0.0]]), np.array([[[4.0], [-4.0], [0.0]]])
    own = {"vectors": np.array([[[1.0], [-1.0], [50.0]]]), "counts": counts, "sums": sums}
    h = np.float32([[1.2], [0.8], [2.0], [-1.0], [99.0]])
    new = jax.device_get(jax.jit(latent.updated)(own, pass_of(h, row_weight=[1, 1, 1, 1, 0], h=h)))
    assert new["counts"][0, 0] == pytest.approx(0.9 * 4 + 0.1 * 3)
    assert new["vectors"][0, 0, 0] == pytest.approx((0.9 * 4 + 0.1 * 4.0) / (0.9 * 4 + 0.1 * 3))
    assert new["vectors"][0, 1, 0] == pytest.approx(-1)
    assert float(new["vectors"][0, 2, 0]) in h[:4]  # and never a padding row's


def test_a_codebook_finds_the_clusters(blobs):
    estimator = Autoencoder(
        latent=parts.VectorQuantized(2, 3), penalties=(parts.Commitment(),), max_epochs=100, random_state=0
    ).fit(blobs)
    codes, which = np.unique(estimator.transform(blobs).round(3), axis=0, return_inverse=True)
    assert len(codes) == 3
    centres = np.stack([blobs[which == i].mean(axis=0) for i in range(3)])
    spread = np.sqrt(np.square(blobs - centres[which]).sum(axis=1).mean())
    assert spread == pytest.approx(0.6, rel=0.1)  # of four columns of 0.3
    error = np.sqrt(np.square(estimator.reconstruct(blobs) - blobs).sum(axis=1).mean())
    assert error < 1.1 * spread


def test_a_codebook_reads_rows_with_missing_cells(blobs):
    holed = np.where(np.random.default_rng(0).random(blobs.shape) < 0.1, np.nan, blobs)
    estimator = Autoencoder(
        latent=parts.VectorQuantized(2, 8),
        corruption=parts.MaskCells(0.2),
        penalties=(parts.Commitment(),),
        max_epochs=60,
        random_state=0,
    ).fit(holed)
    filled = estimator.impute(holed)
    missing = np.isnan(holed)
    assert np.square(filled - blobs)[missing].mean() < 0.2 * blobs.var(axis=0).mean()


def test_commitment_is_the_distance_of_the_output_from_the_code():
    h, z = np.float32([[1, 2], [0, 0]]), np.float32([[1, 0], [1, 1]])
    assert float(jax.jit(parts.Commitment())(pass_of(z, h=h))) == pytest.approx((4 + 2) / 2)


# -- codes that match the prior ---------------------------------------------------------------------------------------


def test_the_discrepancy_is_the_mean_of_kernels_over_pairs():
    rng = np.random.default_rng(0)
    z, prior = rng.normal(size=(5, 2)).astype(np.float32), normal([0, 0], [1, 1])
    drawn = np.asarray(sample(prior, KEY, (5,)))
    scales = 4 * np.array([0.1, 0.2, 0.5, 1, 2, 5, 10])

    def kernel(a, b):
        return (scales / (scales + np.square(a - b).sum())).sum()

    same = sum(kernel(s[i], s[j]) for s in (z, drawn) for i in range(5) for j in range(5) if i != j) / 20
    cross = sum(kernel(a, b) for a in z for b in drawn) / 25
    discrepancy = jax.jit(parts.MaximumMeanDiscrepancy())
    found = discrepancy(pass_of(z, prior=prior))
    assert float(found) == pytest.approx(same - 2 * cross, rel=1e-4)
    padded = np.concatenate([z, 9 * np.ones((2, 2), np.float32)])
    assert np.isfinite(discrepancy(pass_of(padded, row_weight=[1] * 5 + [0] * 2, prior=prior)))


def test_the_discrepancy_of_the_prior_from_itself_is_zero_on_average():
    prior = normal(np.zeros(3), np.ones(3))

    @jax.jit
    @jax.vmap
    def discrepancies(key):
        given, draw = jax.random.split(key)
        z = prior.sample(given, (32,))
        passes = [
            parts.ForwardPass(s * z, s * z[None], jnp.ones(32), itself, None, key=draw, prior=prior) for s in (1, 2)
        ]
        return [parts.MaximumMeanDiscrepancy()(one) for one in passes]

    same, wide = map(np.asarray, discrepancies(jax.random.split(KEY, 200)))
    assert abs(same.mean()) < 4 * same.std() / np.sqrt(200)
    assert wide.mean() > 20 * abs(same.mean())


def furthest(codes):
    """The smallest p-value of a Kolmogorov-Smirnov test against N(0, 1), over directions."""
    angles = np.linspace(0, np.pi, 12, endpoint=False)
    return min(stats.kstest(codes @ [np.cos(a), np.sin(a)], "norm").pvalue for a in angles)


@pytest.mark.large
@pytest.mark.parametrize(
    "penalty", [parts.MaximumMeanDiscrepancy(), parts.Adversarial()], ids=lambda p: type(p).__name__
)
def test_codes_match_the_prior(penalty):
    """On rows not learned from; without the penalty they do not."""
    rows = load_digits().data
    train, test = rows[:1_000], rows[1_000:1_150]
    settings = {"latent": parts.Deterministic(2), "max_epochs": 300, "random_state": 0}
    plain, matched = (Autoencoder(**settings, penalties=p).fit(train).transform(test) for p in ((), (penalty,)))
    assert furthest(plain) < 1e-9
    assert furthest(matched) > 1e-3


def test_the_opponent_learns_to_tell_codes_from_the_prior():
    penalty = parts.Adversarial(hidden=(16,), learning_rate=1e-2)
    own = penalty.build(np.random.default_rng(0), 3, 2)
    seen = pass_of(np.random.default_rng(1).normal(3, 0.5, (64, 2)), prior=normal([0, 0], [1, 1]))

    @jax.jit
    def trained(own, seen):
        step = lambda own, key: (own | penalty.updated(own, replace(seen, key=key)), None)  # noqa: E731
        then, _ = jax.lax.scan(step, own, jax.random.split(KEY, 200))
        values = [penalty.weighted(seen, one)[0] for one in (own, then)]
        return *values, jax.nn.sigmoid(then["opponent"](jnp.zeros((1, 2))))[0, 0]

    before, after, at_the_prior = trained(own, seen)
    assert after > max(3.0, before)
    assert at_the_prior > 0.9


# -- total correlation ------------------------------------------------------------------------------------------------


total_correlation = jax.jit(parts.TotalCorrelation())


def test_the_total_correlation_of_all_rows_is_exact():
    rng = np.random.default_rng(0)
    loc, scale, z = rng.normal(size=(4, 2)), rng.uniform(0.5, 1.5, (4, 2)), rng.normal(size=(4, 2))
    each = stats.norm.logpdf(z[:, None], loc, scale)
    joint = special.logsumexp(each.sum(-1), axis=1) - np.log(4)
    product = (special.logsumexp(each, axis=1) - np.log(4)).sum(axis=1)
    found = total_correlation(pass_of(z, q=normal(loc, scale), n_rows=np.float32(4)))
    assert float(found) == pytest.approx((joint - product).mean(), rel=1e-4)


def test_padding_rows_do_not_enter_the_total_correlation():
    rng = np.random.default_rng(0)
    loc, z = rng.normal(size=(2, 6, 2))
    q, half, n_rows = normal(loc, np.ones((6, 2))), normal(loc[:4], np.ones((4, 2))), np.float32(100)
    padded = total_correlation(pass_of(z, row_weight=[1, 1, 1, 1, 0, 0], q=q, n_rows=n_rows))
    assert float(padded) == pytest.approx(float(total_correlation(pass_of(z[:4], q=half, n_rows=n_rows))), rel=1e-5)


@pytest.mark.large
def test_the_total_correlation_penalty_parts_the_coordinates():
    """Two factors, each in two columns: the penalty lowers the dependence of the coordinates."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(500, 2))
    rows = np.concatenate([factors @ [[1, 1], [1, -1]], factors], axis=1) + 0.3 * rng.normal(size=(500, 4))
    plain, parted = (vae(penalties=p, max_epochs=200).fit(rows) for p in ((), (parts.TotalCorrelation(20.0),)))
    found = []
    for estimator in (plain, parted):
        model, scaled = estimator.model_, estimator.scaler_.apply(rows).astype(np.float32)
        q = jax.jit(lambda model, x: model.encode(x))(model, scaled)
        found.append(float(total_correlation(pass_of(sample(q, KEY), q=q, n_rows=np.float32(500)))))
    assert found[1] < found[0]


# -- weights that are not trained by gradient --------------------------------------------------------------------------


def test_an_update_of_weights_that_are_not_built_is_refused(blobs, monkeypatch):
    monkeypatch.setattr(parts.Commitment, "updated", lambda self, own, seen: {"more": jnp.zeros(())})
    with pytest.raises(InvalidPart, match="more"):
        Autoencoder(penalties=(parts.Commitment(),), **examples.SMALL).fit(blobs)
