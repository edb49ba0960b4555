"""The report's diagnoses: each is provoked by a model that is really fitted, or by the evidence alone."""

import dataclasses
import re
import warnings
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_wine

import diabolo
from diabolo import parts
from diabolo.errors import LossIncreasedWarning, NoImprovementWarning
from diabolo.report import collect, diagnostics, page
from diabolo.report.diagnostics import columns

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(300, 6))
FEW = {"max_epochs": 12, "random_state": 0}


def evaluation(kept, by_pca, rows="held-out", n_rows=30):
    return {"rows": rows, "n_rows": n_rows, "explained_variance": kept, "pca_explained_variance": by_pca}


def examined(model, rows=None, **changes):
    """The findings by title."""
    found = dataclasses.replace(collect.collect(model, rows), **changes)
    return {finding.title: finding for finding in diagnostics.diagnose(found)}


@cache
def fitted():
    return diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(NORMAL)


def raises_rate(finding):
    return bool(re.search("(higher|raise).*learning.rate", finding.action, re.IGNORECASE))


# -- PCA --------------------------------------------------------------------------------------------------------------


def test_behind_pca_compares_the_evaluations_figures_and_without_them_is_silent():
    model = diabolo.BasicAutoencoder(n_latent=3, max_epochs=1, learning_rate=1e-6, random_state=0).fit(NORMAL)
    model.evaluation_ = evaluation(0.101, 0.503)
    figure = examined(model)["Behind PCA"].evidence
    assert "30 held-out rows" in figure
    assert "10.1%" in figure
    assert "50.3%" in figure
    assert "PCA of the training rows, held-out rows" in page.render(collect.collect(model, NORMAL))
    assert "Behind PCA" not in examined(model, NORMAL, evaluation=None)
    assert "Behind PCA" not in examined(model, NORMAL, evaluation=evaluation(0.1, None))


@pytest.mark.parametrize(("kept", "n_rows", "behind"), [(0.49, 30, False), (0.47, 30, True), (0.4, 4, False)])
def test_behind_pca_allows_for_two_points_and_for_few_rows(kept, n_rows, behind):
    assert ("Behind PCA" in examined(fitted(), evaluation=evaluation(kept, 0.5, n_rows=n_rows))) is behind


def test_a_denoiser_and_a_posterior_are_not_compared_with_pca():
    for cls in (diabolo.DenoisingAutoencoder, diabolo.VariationalAutoencoder):
        model = cls(n_latent=3, **FEW).fit(NORMAL)
        assert "Behind PCA" not in examined(model, evaluation=evaluation(0.1, 0.5))


def test_an_overfitted_network_behind_pca_is_not_to_train_longer():
    curves = {"loss": list(range(10, 0, -1)), "validation_loss": [10, 5, 4, 3, 4, 5, 6, 7, 8, 9]}
    found = examined(fitted(), history=curves, n_epochs=10, best_epoch=4, evaluation=evaluation(0.1, 0.5))
    assert {"Overfitting", "Behind PCA"} <= set(found)
    assert "longer" not in found["Behind PCA"].action


# -- held-out rows ----------------------------------------------------------------------------------------------------


@cache
def memorised():
    """A wide network that learned twenty-four rows of noise, none of them held out."""
    rows = np.random.default_rng(1).normal(size=(48, 12))
    model = diabolo.Autoencoder(
        encoder=parts.MLP((64,), "tanh"),
        latent=parts.Deterministic(4),
        validation_fraction=0,
        max_epochs=1500,
        learning_rate=3e-3,
        random_state=0,
    )
    return model.fit(rows[:24]), rows[:24], rows[24:]


def test_without_held_out_rows_overfitting_is_judged_by_the_reports_rows():
    model, trained, new = memorised()
    for rows in (None, trained, new):
        finding = examined(model, rows)["No held-out rows"]
        assert not finding.serious
        assert "24" in finding.evidence
    assert "Overfitting" not in examined(model)
    assert "Overfitting" not in examined(model, trained)
    found = examined(model, new)
    assert "the report's rows" in found["Overfitting"].evidence
    assert "Stopped too early" not in found
    assert "No held-out rows" not in examined(fitted(), NORMAL)


@pytest.mark.slow
def test_without_held_out_rows_a_model_that_generalises_does_not_overfit():
    rows = RNG.normal(size=(600, 2)) @ RNG.normal(size=(2, 8)) + 0.1 * RNG.normal(size=(600, 8))
    for cls in (diabolo.BasicAutoencoder, diabolo.DenoisingAutoencoder, diabolo.VariationalAutoencoder):
        model = cls(n_latent=2, max_epochs=40, learning_rate=1e-2, validation_fraction=0, random_state=0)
        assert "Overfitting" not in examined(model.fit(rows[:400]), rows[400:])


@pytest.mark.parametrize("make", [diabolo.DenoisingAutoencoder, diabolo.VariationalAutoencoder])
def test_the_reconstruction_term_of_the_training_rows_is_that_of_the_learning_curve(make):
    model = make(n_latent=2, max_epochs=60, validation_fraction=0, random_state=0).fit(NORMAL)
    found = collect.collect(model, NORMAL).results.reconstruction
    assert found[:, 0].mean() == pytest.approx(np.mean(model.history_["reconstruction"][-6:]), rel=0.05)
    assert collect.collect(fitted(), NORMAL).results.reconstruction is None


def test_overfitting_and_too_short_a_training_exclude_one_another():
    held = [10, 8, 7, 6.5, 6.4, 6.3, 6.25, 6.2, 6.19, 6.18]
    curves = {"loss": [10, 7, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1.0], "validation_loss": held}
    found = examined(fitted(), NORMAL, history=curves, n_epochs=10, best_epoch=10)
    assert "Overfitting" in found
    assert "Stopped too early" not in found


@pytest.mark.parametrize(
    ("beta", "alike"), [([0.5] * 10, True), ([0.1] * 9 + [0.5], False), ([0.1] * 5 + [1.0] * 5, True)]
)
def test_held_out_and_training_loss_are_compared_at_the_last_beta_only(beta, alike):
    held = [10, 8, 7, 6.5, 6.4, 6.3, 6.25, 6.2, 6.19, 6.2]
    curves = {"loss": [10, 7, 5, 4, 3, 2.5, 2, 1.5, 1.2, 1.0], "validation_loss": held, "beta": beta}
    found = examined(fitted(), history=curves, n_epochs=10, best_epoch=9)
    assert ("Overfitting" in found) is alike


def test_a_training_that_begins_at_its_optimum_is_left_in_peace():
    """Its losses change by less than a hundredth, whatever share of what was learned this is."""
    own, held = [12.9 - 0.001 * i for i in range(40)], [13.4 + 0.0005 * i for i in range(40)]
    for best_epoch in (0, 1, 40):
        history = {"loss": own, "validation_loss": held if best_epoch < 40 else held[::-1]}
        parameters = fitted().get_params() | {"batch_size": 1}
        found = examined(fitted(), history=history, n_epochs=40, best_epoch=best_epoch, parameters=parameters)
        assert not found


def test_a_start_that_no_epoch_improves_on_may_overfit_after_it():
    curves = {"loss": list(range(20, 10, -1)), "validation_loss": [20 + 0.5 * i for i in range(10)]}
    figure = examined(fitted(), history=curves, n_epochs=10, best_epoch=0)["Overfitting"].evidence
    assert "1 of 10" in figure


def test_a_held_out_loss_that_rose_with_the_training_loss_is_no_overfitting():
    curves = {"loss": [700, 90, 47, *[47.1] * 9], "validation_loss": [40, 45, 47, *[47.1] * 9]}
    assert "Overfitting" not in examined(fitted(), history=curves, n_epochs=12, best_epoch=1)


# -- divergence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation_fraction", [0.1, 0])
def test_divergence_advises_a_lower_rate_and_nothing_else_about_it(validation_fraction):
    rows = load_wine().data
    model = diabolo.Autoencoder(
        encoder=parts.MLP((128, 64), "silu"),
        latent=parts.Deterministic(2),
        learning_rate=1.0,
        max_epochs=60,
        validation_fraction=validation_fraction,
        random_state=2,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LossIncreasedWarning)
        warnings.simplefilter("ignore", NoImprovementWarning)
        model.fit(rows)
    assert collect.collect(model, rows).results.explained < -4
    model.evaluation_ = evaluation(-4.57, 0.55)
    for found in (examined(model, rows), examined(model), examined(model, rows, evaluation=None)):
        assert found["Divergence"].serious
        assert "1," in found["Divergence"].action
        assert not {"Stopped too early", "Behind PCA", "Overfitting"} & set(found)
        assert not any(map(raises_rate, found.values()))


def test_divergence_is_seen_in_the_reports_rows_alone():
    found = collect.collect(fitted(), NORMAL)
    far = dataclasses.replace(found.results, reconstructions=3 * NORMAL[::-1].astype(np.float32))
    assert "Divergence" in examined(fitted(), NORMAL, results=far, untrained=-0.3, evaluation=None)
    assert "Divergence" not in examined(fitted(), NORMAL, results=far, untrained=-12.0, evaluation=None)


def test_a_loss_that_rose_is_divergence_and_another_beta_is_not():
    rising = [5.0, 4.5, 4.4, 6, 7, 8, 9, 10, 10, 10]
    for beta, diverged in (([1.0] * 10, True), (list(np.linspace(0.1, 1, 10)), False)):
        found = examined(fitted(), history={"loss": rising, "beta": beta}, n_epochs=10, best_epoch=10)
        assert ("Divergence" in found) is diverged


def test_an_untrained_network_has_not_diverged():
    for seed in range(3):
        for n_epochs in (0, 1):
            model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=n_epochs, learning_rate=1e-6, random_state=seed)
            assert "Divergence" not in examined(model.fit(load_wine().data), load_wine().data)


def test_a_high_rate_is_not_raised_and_a_low_one_may_be():
    falling = list(np.linspace(10, 1, 400))
    changes = {"history": {"loss": falling, "validation_loss": falling}, "n_epochs": 400, "best_epoch": 400}
    for rate in (0.3, 1e-4):
        given = {"parameters": fitted().get_params() | {"learning_rate": rate}, "evaluation": evaluation(0.1, 0.5)}
        found = examined(fitted(), **changes, **given)
        assert raises_rate(found["Behind PCA"]) is raises_rate(found["Stopped too early"]) is (rate == 1e-4)
        assert ("lower" in found["Behind PCA"].action) is (rate == 0.3)


def test_rows_unlike_the_training_rows_are_a_shift_and_no_divergence():
    model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=200, learning_rate=1e-2, random_state=0)
    rows = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 6))
    model.fit(rows).evaluation_ = evaluation(0.95, 0.96)
    found = examined(model, rows + 20)
    assert "Divergence" not in found
    assert found["Distribution shift"].serious
    assert "Distribution shift" not in examined(model, rows)


# -- cells and columns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained_on", [True, False])
def test_an_absurd_cell_is_named_by_row_and_column(trained_on):
    rows = 1 + 0.1 * RNG.normal(size=(100, 3))
    bad = rows.copy()
    bad[16, 1], bad[40, 2] = 1e6, -1e5
    model = diabolo.BasicAutoencoder(n_latent=2, random_state=0).fit(bad if trained_on else rows)
    found = examined(model, bad)
    figure = found["Extreme cells"].evidence
    assert figure.index("row 17, column 1: 1e+06") < figure.index("row 41, column 2: -100000")
    assert "more" not in figure
    assert "Divergence" not in found
    assert "Extreme cells" not in examined(model, rows)


@pytest.mark.parametrize(
    "cells",
    [
        np.r_[np.zeros(99), 1.0],  # a flag
        np.r_[np.zeros(90), RNG.integers(1, 50, 10)],  # a sparse count
        np.exp(2 * RNG.normal(size=100)),  # a long tail
        np.r_[1e-3 * RNG.normal(size=96), np.full(4, 50.0)],  # a second mode
        1 + 1e-12 * RNG.normal(size=100),
        np.full(100, np.nan),
    ],
)
def test_ordinary_columns_have_no_extreme_cells(cells):
    assert not len(collect._extremes(cells)[0])


def test_an_absurd_cell_in_a_column_of_one_value_is_found():
    assert collect._extremes(np.r_[np.ones(50), 1e6])[0].tolist() == [50]
    assert collect._extremes(np.r_[np.zeros(40), np.ones(9), np.nan, 1e6])[0].tolist() == [50]


def table(n=120):
    rng = np.random.default_rng(3)
    site = rng.choice(["a", "b", "c"], n)
    weight = rng.normal(70, 10, n)
    columns = {
        "patient": rng.permutation(n) + 1000,
        "weight": weight,
        "pounds": weight * 2.20462,
        "age": rng.integers(20, 80, n),
        "version": np.full(n, 3.0),
        "site": site,
        "place": np.char.upper(site),
    }
    return pa.table(columns)


def test_columns_that_say_nothing_new_are_named():
    kept = {"patient": "number"}  # else it is left out, with a warning
    model = diabolo.BasicAutoencoder(n_latent=2, schema=kept, **FEW).fit(table())
    found = examined(model, table())
    assert found["Identifier columns"].evidence.startswith("patient:")
    assert found["Constant columns"].evidence.startswith("version:")
    assert found["Duplicate columns"].evidence.startswith("weight = pounds, site = place:")
    few = examined(model, table().slice(0, 30))
    assert (
        "patient" not in few.get("Identifier columns", diagnostics.Finding("", "", "")).evidence
    )  # a sample with gaps


def test_a_category_with_as_many_values_as_rows_is_an_identifier():
    rows = table(60).append_column("name", pa.array([f"name {i}" for i in range(60)]))
    model = diabolo.BasicAutoencoder(n_latent=2, schema={"name": "category"}, **FEW).fit(rows)
    assert "name" in examined(model, rows)["Identifier columns"].evidence


def test_many_columns_are_counted():
    rows = np.hstack([NORMAL, np.ones((300, 30)), np.repeat(NORMAL[:, :1], 9, axis=1)])
    model = diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(rows)
    found = examined(model, rows)
    assert "6, 7, 8, 9" in found["Constant columns"].evidence
    assert "0 = 36 = 37" in found["Duplicate columns"].evidence


def test_identifiers_of_a_part_of_the_rows_have_gaps():
    ids = np.random.default_rng(0).permutation(500)
    rows = np.column_stack([ids, np.random.default_rng(1).normal(size=(500, 3))])
    model = diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(rows[:375])
    assert "Identifier columns" in examined(model, rows[375:])
    ages = rows.copy()
    ages[:, 0] = np.random.default_rng(2).integers(0, 500, 500)
    assert "Identifier columns" not in examined(model, ages)


def test_columns_of_plain_rows_and_pixels_are_left_alone():
    assert not {"Identifier columns", "Constant columns", "Duplicate columns"} & set(examined(fitted(), NORMAL))
    pixels = np.hstack([NORMAL, np.zeros((300, 3))])
    model = diabolo.BasicAutoencoder(n_latent=2, **FEW).fit(pixels)
    results = collect.collect(model, pixels, image_shape=(3, 3))
    assert not {"Constant columns", "Duplicate columns"} & {finding.title for finding in diagnostics.diagnose(results)}


def test_rare_flags_that_coincide_are_no_duplicates():
    flags = np.zeros((300, 4))
    flags[:3, :] = 1
    some = [columns._Column(str(i), "number", cells) for i, cells in enumerate(flags.T)]
    assert not list(columns._equal_numbers(some))


def test_columns_with_equal_gaps_are_duplicates():
    cells = NORMAL[:, 0].copy()
    cells[:20] = np.nan
    some = [columns._Column(name, "number", values) for name, values in (("a", cells), ("b", 1.8 * cells + 32))]
    assert list(columns._equal_numbers(some)) == [["a", "b"]]


# -- few rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 19])
@pytest.mark.parametrize(
    "make",
    [
        lambda: diabolo.BasicAutoencoder(n_latent=2, **FEW),
        lambda: diabolo.SparseAutoencoder(n_hidden=20, **FEW),
        lambda: diabolo.DenoisingAutoencoder(n_latent=2, **FEW),
        lambda: diabolo.VariationalAutoencoder(n_latent=2, likelihood=parts.Gaussian(30.0), **FEW),
    ],
    ids=["basic", "sparse", "denoising", "variational"],
)
def test_few_rows_show_nothing_about_how_values_vary(make, n):
    found = examined(make().fit(NORMAL), NORMAL[:n])
    assert set(found) <= {"Few rows", "Stopped too early", "Overfitting"}
    assert f"{n} row" in found["Few rows"].evidence


def test_constant_columns_of_a_code_that_is_the_restored_row_are_no_dead_units():
    results = collect.collect(fitted(), NORMAL).results
    codes = NORMAL * [1, 1, 1, 0, 0, 0]
    assert "Dead units" in examined(fitted(), NORMAL, results=dataclasses.replace(results, codes=codes))
    assert "Dead units" not in examined(
        fitted(), NORMAL, results=dataclasses.replace(results, codes=codes, reconstructions=codes)
    )
