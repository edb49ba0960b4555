"""The test of the house: a user's own parts work everywhere, and diabolo is not touched for it."""

import json
from dataclasses import dataclass
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from scipy import stats
from sklearn.base import clone

import diabolo
import examples
from diabolo import parts
from diabolo.core.component import Component, list_components
from diabolo.core.distributions import Normal
from diabolo.errors import ArtifactError, InvalidParameter, InvalidPart, UnknownPart
from diabolo.estimators.autoencoders import Autoencoder, BasicAutoencoder, DenoisingAutoencoder, VariationalAutoencoder
from diabolo.estimators.base import BaseAutoencoder
from diabolo.estimators.loading import load
from diabolo.persistence import files
from formula import Laplace

SMALL = examples.SMALL


# -- what a user writes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SwapNoise(parts.Corruption):
    r"""Redraw each x_ij from column j of its batch with probability p."""

    p: float = 0.15

    def __call__(self, key, x):  # (n, d) -> (n, d)
        rows_key, mask_key = jax.random.split(key)
        swapped = jax.random.permutation(rows_key, x, axis=0, independent=True)
        return jnp.where(jax.random.bernoulli(mask_key, self.p, x.shape), swapped, x)


@dataclass(frozen=True)
class LaplaceLikelihood(parts.Likelihood):
    """p(x | z) = Laplace(x̂, b), with one learned b for all features: a weight without axes."""

    support: ClassVar[str] = "real"
    discrete: ClassVar[bool] = False
    floor: float = parts.float_field(0.01, "(0, inf)")

    def n_outputs(self, n_features):
        return n_features

    def build(self, n_features):
        return {"spread": jnp.zeros(())}

    def __call__(self, eta, own):
        return Laplace(eta, jax.nn.softplus(own["spread"]) + self.floor)


@dataclass(frozen=True)
class FixedSpread(parts.Latent):
    """q(z | x) = N(h, σ²), σ given: the noise of a channel."""

    stochastic: ClassVar[bool] = True
    n_latent: int = parts.int_field(2)
    sigma: float = parts.float_field(0.5, "(0, inf)")

    @property
    def n_outputs(self):
        return self.n_latent

    @property
    def in_unit_interval(self):
        return False

    def __call__(self, h):
        return Normal(h, jnp.asarray(self.sigma))


@dataclass(frozen=True)
class LaplacePosterior(parts.Latent):
    """q(z | x) = Laplace: its KL from the prior has no closed form here."""

    stochastic: ClassVar[bool] = True
    n_latent: int = parts.int_field(2)

    @property
    def n_outputs(self):
        return 2 * self.n_latent

    @property
    def in_unit_interval(self):
        return False

    def __call__(self, h):
        loc, spread = jnp.split(h, 2, axis=-1)
        return Laplace(loc, jax.nn.softplus(spread) + 1e-3)


@dataclass(frozen=True)
class UnitNorm(parts.Penalty):
    """Ω = (‖z‖² − 1)², averaged over rows."""

    weight: float = parts.float_field(0.1, "[0, inf)")

    def __call__(self, seen):
        return parts.mean_over_rows(jnp.square(jnp.square(seen.z).sum(-1) - 1).mean(0), seen.row_weight)


@dataclass(frozen=True)
class Sawtooth(parts.Schedule):
    """From 0 to 1 in every epoch anew."""

    def __call__(self, t, n_epochs):
        return jnp.mod(jnp.asarray(t, jnp.float32), 1.0)

    def warmup_end(self, n_epochs):
        return 0.0


@dataclass(frozen=True)
class EquinoxMLP(parts.Network):
    """Equinox's own multi-layer perceptron."""

    width: int = parts.int_field(5)
    depth: int = parts.int_field(1)

    def build(self, rng, n_in, n_out):
        return parts.Vmap(eqx.nn.MLP(n_in, n_out, self.width, self.depth, jax.nn.silu, key=parts.key_from(rng)))


class Tempered(eqx.Module):
    """A linear map and a temperature, which is a weight without axes."""

    weight: Array
    temperature: Array

    def __call__(self, x):
        return x @ self.weight / jax.nn.softplus(self.temperature)


@dataclass(frozen=True)
class TemperedLinear(parts.Network):
    """x ↦ x·W / softplus(τ)."""

    def build(self, rng, n_in, n_out):
        weight = rng.normal(0, 0.3, (n_in, n_out)).astype(np.float32)
        return Tempered(jnp.asarray(weight), jnp.asarray(0.5))


@dataclass(frozen=True)
class WidePrior(parts.Prior):
    """N(0, s²)."""

    scale: float = parts.float_field(3.0, "(0, inf)")

    def __call__(self, n_latent):
        return Normal(jnp.zeros(n_latent), jnp.full(n_latent, self.scale))


@dataclass(frozen=True)
class Lion(parts.Optimizer):
    """Optax has many more."""

    b1: float = parts.float_field(0.9, "[0, 1)")

    def build(self):
        import optax

        return optax.scale_by_lion(b1=self.b1)


@dataclass(kw_only=True, eq=False, repr=False)
class SwappingAutoencoder(BaseAutoencoder):
    """An estimator of one's own: a table of parameters, and the recipe they make."""

    n_latent: int = 2
    swap: float = 0.2

    _parameter_constraints: ClassVar[dict] = {
        **BaseAutoencoder._parameter_constraints,
        "n_latent": [int],
        "swap": [float],
    }

    def _recipe(self, n_features):
        return parts.Recipe(
            corruption=SwapNoise(self.swap), encoder=parts.MLP((4,)), latent=parts.Deterministic(self.n_latent)
        )


VAE = {"encoder": parts.MLP((4,)), "latent": parts.DiagonalGaussian(2), "objective": "elbo"}

OWN = {
    "corruption": Autoencoder(encoder=parts.MLP((4,)), corruption=SwapNoise(0.1), **SMALL),
    "corruption in a chain": DenoisingAutoencoder(
        hidden_layer_sizes=(4,), corruption=parts.Chain((SwapNoise(0.1), parts.Masking(0.1))), **SMALL
    ),
    "likelihood": VariationalAutoencoder(hidden_layer_sizes=(4,), likelihood=LaplaceLikelihood(), **SMALL),
    "latent": Autoencoder(encoder=parts.MLP((4,)), latent=FixedSpread(2, 0.3), objective="elbo", **SMALL),
    "latent without closed form": Autoencoder(
        encoder=parts.MLP((4,)), latent=LaplacePosterior(2), objective="elbo", **SMALL
    ),
    "penalty": Autoencoder(encoder=parts.MLP((4,)), penalties=(UnitNorm(0.5),), **SMALL),
    "schedule": VariationalAutoencoder(hidden_layer_sizes=(4,), beta=Sawtooth(), **SMALL),
    "schedule of the rate": BasicAutoencoder(learning_rate_schedule=Sawtooth(), **SMALL),
    "network": Autoencoder(encoder=EquinoxMLP(4), **SMALL),
    "network with weight decay": Autoencoder(
        encoder=EquinoxMLP(4), decoder=parts.MLP((3,)), penalties=(parts.WeightDecay(0.01),), **SMALL
    ),
    "network with a weight without axes": Autoencoder(encoder=TemperedLinear(), decoder=parts.MLP(()), **SMALL),
    "prior": Autoencoder(**VAE, prior=WidePrior(2.0), **SMALL),
    "VampPrior": Autoencoder(**VAE, prior=parts.VampPrior(5), **SMALL),
    "TwoLevel": Autoencoder(
        **VAE | {"latent": parts.TwoLevel(2, 1, (4,))}, prior=parts.TwoLevelPrior(1, (4,)), **SMALL
    ),
    "VectorQuantized": Autoencoder(
        encoder=parts.MLP((4,)), latent=parts.VectorQuantized(2, 5), penalties=(parts.Commitment(),), **SMALL
    ),
    "MaximumMeanDiscrepancy": Autoencoder(
        encoder=parts.MLP((4,)), penalties=(parts.MaximumMeanDiscrepancy(),), **SMALL
    ),
    "TotalCorrelation": Autoencoder(**VAE, penalties=(parts.TotalCorrelation(),), **SMALL),
    "Adversarial": Autoencoder(encoder=parts.MLP((4,)), penalties=(parts.Adversarial(hidden=(4,)),), **SMALL),
    "optimizer": BasicAutoencoder(optimizer=Lion(), **SMALL | {"learning_rate": 1e-3}),
    "estimator": SwappingAutoencoder(swap=0.3, **SMALL),
}
RARE = ("TwoLevel", "MaximumMeanDiscrepancy", "TotalCorrelation")
"""Which differ from others in their formula only: with `-m slow`."""
every_own = pytest.mark.parametrize(
    "what", [pytest.param(name, marks=pytest.mark.slow) if name in RARE else name for name in OWN]
)


OWN_CLASSES = (
    SwapNoise, LaplaceLikelihood, FixedSpread, LaplacePosterior, UnitNorm, Sawtooth, EquinoxMLP, TemperedLinear,
    WidePrior, Lion, SwappingAutoencoder,
)  # fmt: skip


class Fitted(dict):
    """Each of them fitted to the usual table when first asked for, so that one that fails does not fail the others."""

    def __init__(self, rows):
        super().__init__()
        self._rows = rows

    def __missing__(self, what):
        self[what] = clone(OWN[what]).fit(self._rows)
        return self[what]


@pytest.fixture(scope="module")
def own(table):
    return Fitted(table)


# -- it works everywhere ----------------------------------------------------------------------------------------------


def outputs(estimator, rows):
    yield "transform", estimator.transform(rows)
    yield "reconstruct", estimator.reconstruct(rows)
    yield "score_samples", estimator.score_samples(rows)
    if hasattr(estimator, "sample"):
        yield "sample", estimator.sample(5, random_state=0)
        yield "elbo", estimator.elbo(rows)
        yield "kl", estimator.kl(rows)


@every_own
def test_it_trains_and_reads(what, own, table):
    estimator = own[what]
    assert np.isfinite(estimator.history_["loss"]).all()
    for name, output in outputs(estimator, table):
        assert np.isfinite(output).all(), name


@every_own
def test_it_is_saved_and_loaded_to_the_bit(what, own, table, tmp_path):
    own[what].save(tmp_path / "m")
    loaded = load(tmp_path / "m", classes=OWN_CLASSES)
    assert loaded.get_params() == own[what].get_params()
    for (name, one), (_, two) in zip(outputs(own[what], table), outputs(loaded, table), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)


@every_own
def test_it_gives_the_same_bits_from_one_random_state(what, own, table):
    again = clone(own[what]).fit(table)
    for (name, one), (_, two) in zip(outputs(own[what], table), outputs(again, table), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)


@every_own
def test_its_readings_do_not_depend_on_the_order_of_rows(what, own, table):
    order = np.random.default_rng(0).permutation(80)
    estimator = own[what]
    readings = ["transform", "reconstruct", "score_samples"] + ["elbo", "kl"] * hasattr(estimator, "elbo")
    for name in readings:
        read = getattr(estimator, name)
        np.testing.assert_array_equal(read(table)[order], read(table[order]), err_msg=name)


@every_own
def test_every_weight_of_it_is_trained(what, own, table):
    estimator = own[what]
    at_random = clone(estimator).set_params(init="random")
    start, trained = (clone(at_random).set_params(**how).fit(table) for how in ({"learning_rate": 1e-12}, {}))
    weights = (one.model_.weights.trainable()[0] for one in (start, trained))
    for before, after in zip(*map(jax.tree.leaves, weights), strict=True):
        counts_steps = what == "Adversarial" and not np.ndim(after)
        if isinstance(after, jax.Array) and not counts_steps:
            assert not np.array_equal(before, after)


@every_own
def test_its_parameters_show_in_the_estimators(what):
    params = OWN[what].get_params()
    for name, value in params.items():
        if isinstance(value, Component) and "__" not in name:
            assert {f"{name}__{inner}" for inner in value.get_params(deep=False)} <= set(params)


# -- and does what it says --------------------------------------------------------------------------------------------


def test_swapped_cells_come_from_their_own_column():
    x = np.arange(400, dtype=np.float32).reshape(100, 4)
    noisy = np.asarray(jax.jit(SwapNoise(0.5))(jax.random.key(0), x))
    assert 0.35 < (noisy != x).mean() < 0.6
    for column, original in zip(noisy.T, x.T, strict=True):
        assert set(column) <= set(original)


def test_an_own_likelihood_scores_rows_by_its_own_density(own, table):
    """With the exact same draws, log p(x | z) is SciPy's Laplace."""
    estimator = own["likelihood"]
    scale = np.logaddexp(0, float(estimator.model_.weights.likelihood["spread"])) + 0.01
    rows = estimator.scaler_.apply(table)

    @jax.jit
    def found(model, z, rows):
        density = model.decode(z)
        return density.mean, density.log_prob(rows)

    mean, log_p = found(estimator.model_, np.float32(estimator.transform(table)), np.float32(rows))
    np.testing.assert_allclose(log_p, stats.laplace.logpdf(rows, mean, scale), rtol=1e-4, atol=1e-4)


def test_an_own_penalty_is_in_the_history_and_works(own, table):
    assert "UnitNorm" in own["penalty"].history_
    settings = SMALL | {"max_epochs": 100, "learning_rate": 0.03}
    held = clone(own["penalty"]).set_params(penalties=(UnitNorm(10.0),), **settings).fit(table)
    assert np.median(np.abs(np.square(held.transform(table)).sum(axis=1) - 1)) < 0.3


def test_an_own_schedule_shows_in_the_history(own):
    assert own["schedule"].history_["beta"] == pytest.approx([np.mean(np.arange(4) / 4)] * 3, rel=1e-5)


def test_an_own_prior_is_where_the_kl_is_measured_from(own, table):
    estimator = own["prior"]
    rows = np.float32(estimator.scaler_.apply(table))
    q = jax.jit(lambda model, rows: model.encode(rows))(estimator.model_, rows)
    mu, sigma = np.asarray(q.loc, np.float64), np.asarray(q.scale, np.float64)
    expected = np.log(2.0 / sigma) + (sigma**2 + mu**2) / 8 - 0.5
    np.testing.assert_allclose(estimator.kl(table), expected, rtol=1e-3, atol=1e-4)


def test_an_own_network_differs_by_seed(own):
    estimator = own["network"]
    one, two, other = (EquinoxMLP(4).build(np.random.default_rng(seed), 6, 2) for seed in (0, 0, 1))
    of_one, of_two, of_other = (eqx.filter_jit(network)(np.ones((3, 6), np.float32)) for network in (one, two, other))
    np.testing.assert_array_equal(of_one, of_two)
    assert not np.array_equal(of_one, of_other)
    assert estimator.model_.recipe.decoder == EquinoxMLP(4)


def test_a_number_of_an_own_part_compiles_nothing(own, table):
    from diabolo.engine import trainer

    def count():
        return trainer.run_epochs.n_programs()

    for slot in ("corruption", "penalty", "latent"):
        clone(own[slot]).fit(table)
    before = count()
    clone(own["corruption"]).set_params(corruption__p=0.4).fit(table)
    clone(own["penalty"]).set_params(penalties=(UnitNorm(0.9),)).fit(table)
    clone(own["latent"]).set_params(latent__sigma=0.9).fit(table)
    assert count() == before


# -- where it is not known --------------------------------------------------------------------------------------------

OWN_PARTS = {
    "corruption": "SwapNoise",
    "corruption in a chain": "SwapNoise",
    "likelihood": "LaplaceLikelihood",
    "latent": "FixedSpread",
    "penalty": "UnitNorm",
    "schedule": "Sawtooth",
    "network": "EquinoxMLP",
    "prior": "WidePrior",
    "optimizer": "Lion",
}


@pytest.mark.parametrize("what", OWN_PARTS)
def test_a_part_that_is_not_given_is_not_made_even_if_it_is_imported(what, own, tmp_path):
    own[what].save(tmp_path / "m")
    name = OWN_PARTS[what]
    assert name in list_components()
    others = [cls for cls in OWN_CLASSES if cls.__name__ != name]
    with pytest.raises(UnknownPart, match=name):
        load(tmp_path / "m", classes=others)
    assert files.read_manifest(tmp_path / "m")["estimator"] == type(own[what]).__name__


def test_an_estimator_that_is_not_given_is_not_made(own, tmp_path):
    own["estimator"].save(tmp_path / "m")
    others = [cls for cls in OWN_CLASSES if cls is not SwappingAutoencoder]
    with pytest.raises(ArtifactError, match="SwappingAutoencoder"):
        load(tmp_path / "m", classes=others)


@pytest.mark.parametrize("wrong", [5, "SwapNoise", dict, SwapNoise()])
def test_only_parts_and_estimators_may_be_given(wrong, own, tmp_path):
    with pytest.raises(InvalidParameter, match="classes"):
        load(tmp_path / "m", classes=[wrong])


def test_an_estimator_of_the_same_name_does_not_stand_in_for_ours(table, tmp_path):
    diabolo.BasicAutoencoder(max_epochs=1, random_state=0).fit(table).save(tmp_path / "m")
    namesake = type("BasicAutoencoder", (diabolo.BasicAutoencoder,), {"__module__": __name__})
    assert type(load(tmp_path / "m")) is diabolo.BasicAutoencoder
    assert type(load(tmp_path / "m", classes=[namesake])) is namesake


def test_a_part_is_no_estimator_and_an_estimator_no_part(own, tmp_path):
    own["corruption"].save(tmp_path / "m")
    manifest = json.loads((tmp_path / "m" / "model.json").read_text())
    latent = {"parameters": manifest["parameters"] | {"latent": {"part": "Autoencoder"}}}
    for change in ({"estimator": "Masking"}, latent):
        (tmp_path / "m" / "model.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ArtifactError):
            load(tmp_path / "m", classes=OWN_CLASSES)


class Special(eqx.Module):
    """A layer, and one that needs more than rows."""

    layer: eqx.nn.Linear
    more: eqx.Module

    def __call__(self, x):
        return jax.vmap(lambda row: self.more(self.layer(row)))(x)


@dataclass(frozen=True)
class SpecialNetwork(parts.Network):
    more: str = parts.choice_field("dropout", ("dropout", "batch norm", "dropout that is off"))

    def build(self, rng, n_in, n_out):
        more = eqx.nn.BatchNorm(n_out, "rows", mode="batch") if self.more == "batch norm" else eqx.nn.Dropout(0.5)
        more = eqx.nn.Dropout(0.5, inference=True) if self.more == "dropout that is off" else more
        return Special(eqx.nn.Linear(n_in, n_out, key=parts.key_from(rng)), more)


def test_a_network_with_a_state_or_noise_of_its_own_is_refused(table):
    for more, layer in (("dropout", "Dropout"), ("batch norm", "BatchNorm")):
        with pytest.raises(InvalidPart, match=layer):
            Autoencoder(encoder=SpecialNetwork(more), decoder=parts.MLP(()), **SMALL).fit(table)
    quiet = Autoencoder(encoder=SpecialNetwork("dropout that is off"), decoder=parts.MLP(()), **SMALL).fit(table)
    assert np.isfinite(quiet.transform(table)).all()
