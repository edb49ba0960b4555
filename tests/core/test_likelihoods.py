"""What likelihoods claim of themselves, and blocks of several."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import examples
from diabolo import parts
from diabolo.core.distributions import Bernoulli
from diabolo.core.model import Model
from diabolo.errors import InvalidPart
from formula import D, K, N, built

# -- likelihoods' own claims ------------------------------------------------------------------------------------------


def test_the_bernoulli_part_is_the_bernoulli_density():
    eta = jnp.array([[-1.0, 2.0]])
    density = parts.Bernoulli()(eta, {})
    assert isinstance(density, Bernoulli)
    np.testing.assert_allclose(density.mean, special.expit([[-1.0, 2.0]]), rtol=1e-6)


@pytest.mark.parametrize("part", [pytest.param(p, id=name) for name, p in examples.all_parts("likelihood")])
def test_every_likelihood_knows_how_many_numbers_it_needs(part):
    d = examples.n_columns(part, D)

    @jax.jit
    def found(eta, rows):
        density = part(eta, part.build(d))
        return density.mean, density.log_prob(rows), part.transform_input(rows)

    means, log_p, shown = found(np.zeros((N, part.n_outputs(d)), np.float32), np.zeros((N, d), np.float32))
    assert means.shape == log_p.shape == shown.shape == (N, d)
    supports = part.supports(d)
    assert len(supports) == d
    for support, mean in zip(supports, np.asarray(means).T, strict=True):
        low, high = {"real": (-np.inf, np.inf), "unit": (0, 1), "count": (0, np.inf), "positive": (0, np.inf)}[support]
        assert np.all((mean >= low) & (mean <= high))


def test_a_count_models_encoder_reads_the_logarithm():
    rows = jnp.array([[0.0, 1.0, 7.0, 1000.0]])
    transform = jax.jit(lambda rows: parts.NegativeBinomial().transform_input(rows))
    np.testing.assert_allclose(transform(rows), np.log1p(rows), rtol=1e-6)
    assert np.isfinite(transform(rows - 5.0)).all(), "as noise may leave them"
    counts, plain = (
        built(parts.Recipe(latent=parts.Deterministic(K), likelihood=p))
        for p in (parts.NegativeBinomial(), parts.Gaussian())
    )
    one, two = jax.jit(lambda rows: (counts.code(rows), plain.code(jnp.log1p(rows))))(rows)
    np.testing.assert_allclose(one, two, rtol=1e-5)


def test_a_mixed_likelihood_is_the_sum_of_its_blocks():
    blocks, widths = (parts.LearnedGaussian(), parts.Bernoulli(), parts.NegativeBinomial()), (2, 1, 1)
    part = parts.ColumnwiseLikelihood(blocks, widths)
    eta = jnp.asarray(np.random.default_rng(3).normal(size=(N, D)), jnp.float32)
    rows = jnp.array([[0.3, -2.0, 1.0, 4.0]] * N)

    @jax.jit
    def found(eta, rows):
        of_blocks = zip(blocks, widths, jnp.split(eta, [2, 3], -1), jnp.split(rows, [2, 3], -1), strict=True)
        each = [block(e, block.build(w)).log_prob(r).sum(-1) for block, w, e, r in of_blocks]
        return part(eta, part.build(D)).log_prob(rows).sum(-1), sum(each), part.transform_input(rows)

    mixed, summed, shown = found(eta, rows)
    np.testing.assert_allclose(mixed, summed, rtol=1e-6)
    np.testing.assert_allclose(shown[0], [0.3, -2.0, 1.0, np.log(5.0)], rtol=1e-6)


def test_each_block_of_a_mixed_likelihood_learns_its_own_spread():
    part = parts.ColumnwiseLikelihood(
        (parts.LearnedGaussian(), parts.NegativeBinomial(), parts.LearnedGaussian()), (1, 2, 1)
    )
    own = part.build(D)
    assert {name: value.shape for name, value in own.items() if not name.endswith("floor")} == {
        "0.spread": (1,),
        "1.concentration": (2,),
        "2.spread": (1,),
    }
    wide = own | {"2.spread": own["2.spread"] + 3}
    of = jax.jit(lambda own: part(jnp.zeros(D), own).log_prob(jnp.zeros(D)))
    before, after = (of(some) for some in (own, wide))
    np.testing.assert_array_equal(np.asarray(before != after), [False, False, False, True])


def test_blocks_of_a_mixed_likelihood_must_have_widths_that_make_up_a_row():
    with pytest.raises(InvalidPart, match="2 .*1 "):
        parts.ColumnwiseLikelihood((parts.Gaussian(), parts.Bernoulli()), (3,))
    with pytest.raises(InvalidPart, match="3 .*4"):
        Model.build(parts.Recipe(likelihood=parts.ColumnwiseLikelihood((parts.Gaussian(),), (3,))), 4, 0)
