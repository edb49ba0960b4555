"""Few programs: changing a number compiles nothing, changing structure compiles once; optimisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import examples
from diabolo import parts
from diabolo.engine import compiled, inference
from diabolo.engine.batches import ArraySource
from diabolo.engine.trainer import train
from training import (
    BASIC,
    PLAN,
    STEEP,
    VARIATIONAL,
    built,
    leaves,
    trained,
)

# -- few programs -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def few_programs_in_memory():
    """Start with none: at more than 32, those of other tests, all are dropped, and known ones would count as new."""
    jax.clear_caches()


def new_programs(work):
    """How many training programs ``work`` compiles."""

    def count():
        return compiled.run_epochs.n_programs()

    before = count()
    work()
    return count() - before


EVERYTHING = parts.Recipe(
    corruption=parts.Chain((parts.SaltAndPepper(0.1), parts.GaussianNoise(0.1))),
    encoder=parts.MLP((4,)),
    latent=parts.DiagonalGaussian(2),
    likelihood=parts.LearnedGaussian(),
    objective=parts.ELBO(parts.LinearWarmup(2)),
    penalties=(parts.L1(0.1),),
)
NOISIER = parts.Chain((parts.SaltAndPepper(0.4), parts.GaussianNoise(0.2)))

NUMBERS = {
    "nothing": {},
    "seed": {"seed": 11},
    "learning rate": {"learning_rate": 0.002},
    "fewer epochs": {"max_epochs": 2},
    "more epochs": {"max_epochs": 300},
    "patience": {"patience": 2},
    "Adam's numbers": {"optimizer": parts.Adam(b1=0.5, eps=1e-6, weight_decay=0.1)},
    "the rate's schedule": {"learning_rate_schedule": parts.Cosine(warmup=0.1, floor=0.2)},
    "a noise level": {"recipe": EVERYTHING.replace(corruption=NOISIER)},
    "the warm-up": {"recipe": EVERYTHING.replace(objective__beta__epochs=1)},
    "a penalty's weight": {"recipe": EVERYTHING.replace(penalties=(parts.L1(0.3),))},
    "the likelihood's floor": {"recipe": EVERYTHING.replace(likelihood__floor=0.1)},
}
STRUCTURES = {
    "a hidden size": {"recipe": EVERYTHING.replace(encoder__hidden=(5,), decoder__hidden=(5,))},
    "draws per row": {"recipe": EVERYTHING.replace(objective__n_samples=2)},
}


@pytest.mark.parametrize("what", NUMBERS)
def test_changing_a_number_compiles_nothing(what, rows):
    trained(rows, EVERYTHING)
    assert new_programs(lambda: trained(rows, **{"recipe": EVERYTHING, **NUMBERS[what]})) == 0


@pytest.mark.parametrize("what", STRUCTURES)
def test_changing_structure_compiles_once(what, rows):
    trained(rows, EVERYTHING)
    assert new_programs(lambda: trained(rows, **STRUCTURES[what])) > 0
    assert new_programs(lambda: trained(rows, **STRUCTURES[what])) == 0


def test_nearby_numbers_of_rows_share_a_program(rows):
    model = built(BASIC, rows)

    def trained_on(n_rows, n_held_out):
        train(model, ArraySource(rows[:n_rows]), PLAN, ArraySource(rows[-n_held_out:]))

    trained_on(64, 16)
    assert new_programs(lambda: [trained_on(n, h) for n, h in ((33, 16), (40, 5), (50, 1), (63, 11))]) == 0


def test_beta_as_a_number_is_swept_without_compiling(rows):
    trained(rows, VARIATIONAL)
    for beta in (0.0, 0.5, 4.0):
        recipe = VARIATIONAL.replace(objective__beta__value=beta)
        assert new_programs(lambda recipe=recipe: trained(rows, recipe)) == 0


def test_a_program_is_traced_once(rows, monkeypatch):
    """Tracing takes about as long as compilation, and a program in the cache on disk is traced as well."""
    traced = []
    for name in ("_step", "_validate_block"):
        real = getattr(compiled, name)
        monkeypatch.setattr(compiled, name, lambda *args, name=name, real=real: traced.append(name) or real(*args))
    trained(rows, EVERYTHING.replace(encoder__hidden=(7,)))
    assert sorted(traced) == ["_step", "_validate_block"]


# -- optimisers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [pytest.param(p, id=name) for name, p in examples.all_parts("optimizer")])
def test_every_optimizer_makes_the_loss_fall(optimizer, rows):
    history = trained(rows, optimizer=optimizer, learning_rate=3e-3, learning_rate_schedule=parts.Constant()).history
    assert history["loss"][-1] < history["loss"][0]


def test_gradient_descent_subtracts_the_rate_times_the_gradient(rows):
    """Sixty-four steps of plain descent so short that the gradient stays what it was."""
    outcome = trained(rows, **STEEP, learning_rate=1e-5, judged=False)
    start = built(BASIC, rows)
    x_hat = inference.map_rows(inference.reconstruct, start, rows[:64]).astype(np.float64)
    gradient = 2 * (x_hat - rows[:64]).mean(axis=0)  # of (1/N) Σ ‖x − x̂‖² by the decoder's bias
    moved = np.asarray(outcome.model.weights.decoder.layers[0].bias - start.weights.decoder.layers[0].bias)
    np.testing.assert_allclose(moved, -64e-5 * gradient, rtol=0.02, atol=1e-6)


def test_weight_decay_of_the_optimizer_shrinks_the_weights(rows):
    norms = []
    for decay in (0.0, 5.0):
        outcome = trained(rows, optimizer=parts.Adam(weight_decay=decay))
        norms.append(sum(float(np.square(leaf).sum()) for leaf in leaves(outcome)))
    assert norms[1] < 0.9 * norms[0]


def test_muon_moves_a_matrix_alike_in_all_directions_and_a_vector_as_adam_does():
    rng = np.random.default_rng(0)
    scales = np.logspace(0, -2, 8)[:, None]
    gradient = {"matrix": jnp.asarray(scales * rng.normal(size=(8, 30))), "vector": jnp.asarray(rng.normal(size=30))}
    muon = parts.Muon().build()
    steps, _ = muon.update(gradient, muon.init(gradient), gradient)
    of_matrix = np.asarray(steps["matrix"])
    singular = np.linalg.svd(of_matrix, compute_uv=False)
    assert np.linalg.cond(gradient["matrix"]) > 50
    assert singular.max() / singular.min() < 2  # five of Newton and Schulz's steps end in [0.7, 1.2]
    assert np.sqrt(np.square(of_matrix).mean()) == pytest.approx(0.2, rel=0.2)
    assert (of_matrix * gradient["matrix"]).sum() > 0, "it is to be subtracted"
    of_vector = np.asarray(steps["vector"]) * np.sign(gradient["vector"])  # Adam's first step, whatever the gradient
    np.testing.assert_allclose(of_vector, of_vector[0], rtol=1e-3)
