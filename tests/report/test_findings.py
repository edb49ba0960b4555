"""The findings: each is provoked by a model that is really fitted."""

import copy

import equinox as eqx
import numpy as np
import pytest

import diabolo
from diabolo import parts
from diabolo.report import collect, diagnostics
from reported_models import FEW, X, fitted

# -- the findings -----------------------------------------------------------------------------------------------------


def said(model, rows):
    return {finding.title: finding for finding in diagnostics.diagnose(collect.collect(model, rows))}


def with_history(model, **curves):
    """The same model, had it learned so."""
    other = copy.copy(fitted("basic"))
    other.history_ = curves
    other.n_epochs_ = len(curves["loss"])
    other.best_epoch_ = int(np.argmin(curves.get("validation_loss", curves["loss"]))) + 1
    return other


RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(300, 6))


def test_a_collapsed_posterior_is_found():
    noise_only = diabolo.VariationalAutoencoder(n_latent=3, beta=50.0, max_epochs=30, random_state=0).fit(NORMAL)
    finding = said(noise_only, NORMAL)["Posterior collapse"]
    assert finding.serious
    assert "3" in finding.evidence


@pytest.mark.slow
def test_units_without_work_are_counted():
    line = RNG.normal(size=(400, 1)) * np.ones(6) + 0.05 * RNG.normal(size=(400, 6))
    model = diabolo.VariationalAutoencoder(n_latent=6, max_epochs=400, random_state=0).fit(line)
    active = int(diabolo.metrics.active_units(model.transform(line)).sum())
    assert active < 3
    assert f"{active} of 6" in said(model, line)["Inactive latent units"].evidence


def test_reconstructions_worse_than_the_mean_are_found_also_without_training():
    model = diabolo.StackedAutoencoder(n_latent=2, init="random", scaling=None, max_epochs=0, random_state=0)
    finding = said(model.fit(NORMAL), NORMAL + 0.5)["Worse than the mean"]
    assert finding.serious
    assert "max_epochs" in finding.action
    assert "Worse than the mean" not in said(fitted("basic"), X)


def test_a_quantised_code_is_not_compared_with_as_many_numbers():
    latent = parts.VectorQuantized(size=2, n_codes=4)
    model = diabolo.Autoencoder(latent=latent, max_epochs=1, random_state=0).fit(NORMAL)
    assert model.evaluation_["pca_explained_variance"] is None


def test_dead_units_are_found():
    latent = parts.Deterministic(8, "relu")
    model = diabolo.Autoencoder(encoder=parts.MLP(()), latent=latent, max_epochs=0, random_state=0).fit(NORMAL)
    bias = model.model_.weights.encoder.layers[-1].bias.at[:4].set(-100.0)
    weights = eqx.tree_at(lambda w: w.encoder.layers[-1].bias, model.model_.weights, bias)
    model.model_ = type(model.model_)(model.model_.recipe, weights)
    assert "4 of 8" in said(model, NORMAL)["Dead units"].evidence


def test_a_code_that_is_not_sparse_is_found():
    loose = diabolo.SparseAutoencoder(n_hidden=20, sparsity_weight=1e-6, init="random", max_epochs=5, random_state=0)
    loose.fit(NORMAL)
    assert "0.05" in said(loose, NORMAL)["Sparsity off target"].evidence


def test_overfitting_is_found():
    rising = [10, 5, 3, 2.5, 2.4, 2.6, 3, 3.4, 4, 4.5]
    falling = [10, 5, 3, 2, 1.5, 1.2, 1, 0.9, 0.8, 0.7]
    finding = said(with_history(None, loss=falling, validation_loss=rising), X)["Overfitting"]
    assert "5 of 10" in finding.evidence


def test_a_gap_between_held_out_and_training_rows_is_overfitting():
    held = [10, 8, 7, 6.5, 6.4, 6.3, 6.25, 6.2, 6.2, 6.2]
    own = [10, 7, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1.0]
    finding = said(with_history(None, loss=own, validation_loss=held), X)["Overfitting"]
    assert "1.5" in finding.evidence


def test_stopping_too_early_is_found():
    falling = list(np.linspace(10, 1, 400))
    assert (
        "max_epochs=800"
        in said(with_history(None, loss=falling, validation_loss=falling), X)["Stopped too early"].action
    )


def test_few_steps_are_counted():
    brief = diabolo.Autoencoder(encoder=parts.MLP((8,)), max_epochs=20, random_state=0).fit(NORMAL)
    assert "60" in said(brief, NORMAL)["Stopped too early"].evidence


@pytest.mark.slow
def test_a_learned_sigma_at_its_floor_is_named():
    doubled = np.hstack([NORMAL[:, :2], np.ones((300, 1))])
    model = diabolo.VariationalAutoencoder(
        n_latent=2, max_epochs=300, learning_rate=0.01, batch_size=32, random_state=0
    )
    model.fit(doubled)
    assert said(model, doubled)["Learned σ at its floor"].evidence.startswith("2:")


def test_features_in_very_different_units_are_named():
    mixed = NORMAL * [1, 1, 1, 1, 1, 1e4]
    model = diabolo.BasicAutoencoder(n_latent=2, scaling=None, **FEW).fit(mixed)
    finding = said(model, mixed)["Features in very different units"]
    assert finding.serious
    assert " 5 " in finding.evidence


def test_too_much_noise_is_found():
    drowned = diabolo.DenoisingAutoencoder(n_latent=4, noise_level=20.0, **FEW).fit(NORMAL)
    assert "Noise level too high" in said(drowned, NORMAL)


def test_a_likelihood_that_does_not_suit_the_rows_is_found():
    assert "Likelihood mismatch" in said(fitted("bernoulli"), X)
    bits = (X > 0.5).astype(float)
    gaussian = diabolo.BasicAutoencoder(n_latent=2, scaling=None, **FEW).fit(bits)
    assert "Likelihood mismatch" in said(gaussian, bits)


def test_a_sigma_that_does_not_fit_is_found():
    wide = diabolo.VariationalAutoencoder(n_latent=2, likelihood=parts.Gaussian(30.0), **FEW).fit(NORMAL)
    assert "30" in said(wide, NORMAL)["σ mismatch"].evidence


def test_a_good_model_is_left_in_peace():
    rows = RNG.normal(size=(600, 2)) @ RNG.normal(size=(2, 8)) + 0.1 * RNG.normal(size=(600, 8))
    good = diabolo.BasicAutoencoder(n_latent=2, max_epochs=300, learning_rate=1e-2, random_state=0).fit(rows)
    assert not said(good, rows)
    assert diagnostics.diagnose(collect.collect(good, rows)) == []
