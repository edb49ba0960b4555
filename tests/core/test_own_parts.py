"""A user's own part: any of jax.random, every parameter within reach, and no definition that is silently wrong."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diabolo
from diabolo import parts
from diabolo.core.component import list_components
from diabolo.core.distributions import Distribution
from diabolo.engine import prng
from diabolo.errors import InvalidParameter, InvalidPart

ROWS = np.random.default_rng(0).gamma(2.0, size=(64, 4))
FEW = {"max_epochs": 2, "random_state": 0, "init": "random"}

DRAWS = {
    "poisson": lambda key, x: jax.random.poisson(key, jnp.abs(x)).astype(x.dtype),
    "binomial": lambda key, x: jax.random.binomial(key, 5.0, 0.5, x.shape),
    "gamma": lambda key, x: jax.random.gamma(key, 2.0, x.shape),
    "categorical": lambda key, x: jax.random.categorical(key, jnp.zeros((*x.shape, 3))).astype(x.dtype),
    "permutation": jax.random.permutation,
    "orthogonal": lambda key, x: x @ jax.random.orthogonal(key, x.shape[1]),
    "split": lambda key, x: x + sum(jax.random.normal(one, x.shape) for one in jax.random.split(key, 3)),
    "choice": lambda key, x: jax.random.choice(jax.random.fold_in(key, 1), x, (x.shape[0],)),
}


@dataclass(frozen=True)
class DrawsAnything(parts.Corruption):
    how: str = parts.choice_field("poisson", DRAWS)

    def __call__(self, anything, x):
        return DRAWS[self.how](anything, x)


@dataclass(frozen=True)
class WithinAChain(parts.Corruption):
    inner: parts.Corruption = parts.component_field(parts.Corruption, parts.Masking(0.3))

    def __call__(self, key, x):
        return self.inner(key=key, x=x)


class PoissonNoise(Distribution):
    loc: jax.Array

    @property
    def mean(self):
        return self.loc

    def log_prob(self, x):
        return -jnp.square(x - self.loc)

    def sample(self, key, shape=()):
        return self.loc + jax.random.poisson(key, 1.0, shape + self.loc.shape) - 1.0


@dataclass(frozen=True)
class PoissonLatent(parts.Latent):
    n_latent: int = parts.int_field(2)
    stochastic = True
    in_unit_interval = False

    @property
    def n_outputs(self):
        return self.n_latent

    def __call__(self, h):
        return PoissonNoise(h)


def test_a_corruption_may_use_all_of_jax_random():
    """A key of a wrong kind is refused while the program is traced, and a fit of one of them runs it."""
    key, x = prng.key(0), jnp.asarray(ROWS, jnp.float32)
    for how in DRAWS:
        alone = DrawsAnything(how)
        for corruption in (alone, parts.Chain((parts.GaussianNoise(0.1), alone))):
            assert jax.eval_shape(corruption, key, x).shape == x.shape, how
    diabolo.Autoencoder(corruption=corruption.replace(steps__1__how="poisson"), **FEW).fit(ROWS)


def test_a_distribution_may_as_well():
    model = diabolo.Autoencoder(latent=PoissonLatent(2), objective="elbo", **FEW).fit(ROWS)
    assert np.isfinite(model.score_samples(ROWS)).all()


def test_the_key_has_the_same_bits():
    key, x = prng.key(3), jnp.asarray(np.ones((8, 3), np.float32))
    chained, alone, drawn, expected = jax.jit(
        lambda key, plain: (
            WithinAChain()(key, x),
            parts.Masking(0.3)(key, x),
            DrawsAnything("gamma")(key, x),
            jax.random.gamma(plain, 2.0, x.shape),
        )
    )(key, jax.random.key(3))
    np.testing.assert_array_equal(chained, alone)
    np.testing.assert_array_equal(drawn, expected)
    many = jax.eval_shape(jax.vmap(lambda one: DrawsAnything("poisson")(one, x)), jax.random.split(key, 5))
    assert many.shape == (5, 8, 3)


# -- parameters within several parts ----------------------------------------------------------------------------------


def several():
    return diabolo.Autoencoder(
        penalties=(parts.WeightDecay(weight=0.1), parts.WeightDecay(weight=0.2)),
        corruption=parts.Chain((parts.Masking(0.1), parts.GaussianNoise(0.2))),
        **FEW,
    )


def test_every_deep_parameter_is_reached_and_set():
    for name, value in several().get_params().items():
        one = several().set_params(**{name: value})
        assert repr(one.get_params()) == repr(several().get_params()), name


def test_one_of_several_is_set_and_no_other():
    before = several()
    after = several().set_params(penalties__1__weight=0.7, corruption__steps__0__p=0.4)
    assert after.get_params()["penalties__1__weight"] == 0.7
    assert [part.weight for part in after.penalties] == [0.1, 0.7]
    assert [part.weight for part in before.penalties] == [0.1, 0.2]
    assert after.corruption.steps == (parts.Masking(0.4), parts.GaussianNoise(0.2))
    assert after.set_params(penalties__0=parts.WeightDecay(weight=0.9)).penalties[0].weight == 0.9


@pytest.mark.parametrize("name", [f"penalties__{rest}" for rest in ("2__weight", "x__weight", "0__nope", "-1__weight")])
def test_what_is_not_there_is_refused(name):
    with pytest.raises((InvalidPart, InvalidParameter)):
        several().set_params(**{name: 0.5})


def test_a_sweep_goes_over_one_of_several():
    found = diabolo.sweep(several(), {"penalties__0__weight": [0.1, 10.0]}, ROWS)
    assert [one.penalties[0].weight for one in found.estimators_] == [0.1, 10.0]


# -- definitions ------------------------------------------------------------------------------------------------------


def test_a_part_that_can_be_changed_is_refused_where_it_is_defined():
    for options in ({}, {"frozen": False}, {"eq": False}):
        with pytest.raises(InvalidPart):

            @dataclass(**options)
            class Changeable(parts.Corruption):
                level: float = 0.1

        assert "Changeable" not in list_components()


def test_a_part_with_fields_that_is_no_dataclass_is_refused():
    class Undecorated(parts.Corruption):
        level: float = 0.1

        def __call__(self, key, x):
            return x

    with pytest.raises(InvalidPart):
        Undecorated()


def test_a_part_without_fields_needs_no_decorator():
    class Plain(parts.Corruption):
        def __call__(self, key, x):
            return -x

    assert Plain() == Plain()
    assert hash(Plain()) == hash(Plain())
    diabolo.Autoencoder(corruption=Plain(), **FEW).fit(ROWS)


# -- sweep's rows to judge by -----------------------------------------------------------------------------------------


def test_the_former_name_of_the_rows_to_judge_by_warns():
    grid = {"learning_rate": [1e-3, 1e-2]}
    now = diabolo.sweep(diabolo.BasicAutoencoder(**FEW), grid, ROWS, X_val=ROWS[:20])
    with pytest.warns(FutureWarning):
        then = diabolo.sweep(diabolo.BasicAutoencoder(**FEW), grid, ROWS, X_valid=ROWS[:20])
    assert now.table == then.table
    assert "score" in now.table[0]
    with pytest.raises(InvalidParameter):
        diabolo.sweep(diabolo.BasicAutoencoder(**FEW), grid, ROWS, X_val=ROWS, X_valid=ROWS)
