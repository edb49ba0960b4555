"""Missing cells: told to the encoder, left out of the likelihood, never filled in silence."""

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

import diabolo
import examples
from diabolo import (
    Autoencoder,
    AutoencoderClassifier,
    BasicAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
    parts,
)
from diabolo.data import blocks
from diabolo.engine import loader
from diabolo.errors import InvalidPart

SMALL = examples.SMALL
every_estimator = pytest.mark.parametrize("name", examples.ESTIMATORS)


@pytest.fixture(scope="module")
def holes(table):
    """A fifth of the cells, never a whole row of them."""
    holes = np.random.default_rng(4).uniform(size=table.shape) < 0.2
    holes[np.arange(len(table)), np.arange(len(table)) % table.shape[1]] = False
    return holes


@pytest.fixture(scope="module")
def holed(table, holes):
    return np.where(holes, np.nan, table)


@pytest.fixture(scope="module")
def told(holed):
    """Every example estimator, fitted to the rows with holes."""
    return {name: clone(one).fit(holed) for name, one in examples.ESTIMATORS.items()}


@every_estimator
def test_rows_with_missing_cells_are_trained_on_and_read(name, told, holed, tmp_path):
    estimator = told[name]
    for found in (estimator.transform(holed), estimator.reconstruct(holed), estimator.score_samples(holed)):
        assert np.isfinite(found).all()
    assert all(np.isfinite(curve).all() for curve in estimator.history_.values())
    np.testing.assert_array_equal(np.isnan(estimator.corrupt(holed)), np.isnan(holed))
    estimator.save(tmp_path / "model")
    again = diabolo.load(tmp_path / "model")
    np.testing.assert_array_equal(again.score_samples(holed), estimator.score_samples(holed))


@every_estimator
def test_a_rows_density_is_that_of_its_known_cells_in_their_units(name, told, holed, holes):
    """In units of powers of two, which scale without rounding."""
    units = np.array([1.0, 4.0, 1024.0, 0.5, 1.0, 2.0])
    other = clone(told[name]).fit(holed * units)
    expected = told[name].score_samples(holed) - ~holes @ np.log(units)
    np.testing.assert_allclose(other.score_samples(holed * units), expected, rtol=0, atol=1e-10)


@every_estimator
def test_what_a_hole_hides_cannot_be_known(name, told, holed):
    """Of two rows that differ in a cell that is missing, nothing differs."""
    np.testing.assert_array_equal(told[name].score_samples(holed), told[name].score_samples(np.array(holed)))
    known = np.nan_to_num(holed, nan=7.0)
    assert np.all(told[name].score_samples(known) != told[name].score_samples(holed), where=np.isnan(holed).any(axis=1))


@every_estimator
def test_holes_are_refused_by_a_model_that_was_fitted_without(name, fitted, holed):
    row, column = np.argwhere(np.isnan(holed))[0]
    message = f"missing cells, the first in row {row + 1}, column {column},"
    for method in ("transform", "reconstruct", "score_samples", "corrupt"):
        with pytest.raises(ValueError, match=message):
            getattr(fitted[name], method)(holed)


def test_the_refusal_names_the_column(table):
    frame = pd.DataFrame(table, columns=["height", "weight", *"abcd"])
    estimator = BasicAutoencoder(**SMALL).fit(frame)
    frame.loc[3, "weight"] = np.nan
    with pytest.raises(ValueError, match="4, column weight"):
        estimator.transform(frame)


def test_infinite_numbers_are_no_missing_cells(holed):
    with pytest.raises(ValueError, match="infinity"):
        BasicAutoencoder(**SMALL).fit(np.where(np.isnan(holed), np.inf, holed))


def test_rows_to_judge_by_may_have_holes_if_those_to_train_on_do(table, holed):
    with pytest.raises(ValueError, match="missing"):
        BasicAutoencoder(**SMALL).fit(table, X_val=holed)
    assert np.isfinite(BasicAutoencoder(**SMALL).fit(holed, X_val=holed[:20]).history_["validation_loss"]).all()


@pytest.mark.parametrize("scaling", ["auto", "standard", "minmax", "range", None])
def test_a_column_without_any_value_teaches_nothing(scaling, holed):
    rows = np.hstack([holed, np.full((len(holed), 1), np.nan)])
    estimator = BasicAutoencoder(scaling=scaling, **SMALL).fit(rows)
    assert np.isfinite(estimator.scaler_.scale).all()
    assert np.isfinite(estimator.score_samples(rows)).all()


def test_scaling_is_that_of_the_known_cells(holed):
    estimator = BasicAutoencoder(validation_fraction=None, **SMALL | {"max_epochs": 0}).fit(holed)
    np.testing.assert_allclose(estimator.scaler_.offset, np.nanmean(holed, axis=0))
    np.testing.assert_allclose(estimator.scaler_.scale, np.nanstd(holed, axis=0))


def test_missing_cells_are_reconstructed_from_the_others(table, holed, holes):
    """Six columns that follow two factors: a quarter of the error of the columns' means."""
    spread = table.std(axis=0)
    estimator = VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(16,), random_state=0).fit(holed / spread)
    error = np.square(estimator.reconstruct(holed / spread) - table / spread)[holes].mean()
    assert error < 0.25 * np.square((np.nanmean(holed, axis=0) - table) / spread)[holes].mean()


@every_estimator
def test_imputing_fills_what_is_missing_and_leaves_the_rest(name, told, holed, holes):
    filled = told[name].impute(holed, n_samples=16)
    np.testing.assert_array_equal(filled[~holes], holed[~holes])
    assert np.isfinite(filled).all()
    if not told[name].model_.recipe.latent.stochastic:
        np.testing.assert_array_equal(filled[holes], told[name].reconstruct(holed)[holes])
        with pytest.raises(ValueError, match="deterministic"):
            told[name].impute(holed, 2)


def test_draws_of_missing_cells_differ_and_their_seed_fixes_them(told, holed, holes):
    estimator = told["VariationalAutoencoder"]
    one, other = estimator.impute(holed, 2, n_samples=16, random_state=0)
    assert np.all(one != other, where=holes)
    np.testing.assert_array_equal(one[~holes], holed[~holes])
    np.testing.assert_array_equal(estimator.impute(holed, 2, n_samples=16, random_state=0)[1], other)
    with pytest.raises(ValueError, match="n_draws"):
        estimator.impute(holed, 0)


def test_a_model_without_holes_fills_none(fitted, table, holed):
    np.testing.assert_array_equal(fitted["VariationalAutoencoder"].impute(table, n_samples=2), table)
    with pytest.raises(ValueError, match="missing"):
        fitted["VariationalAutoencoder"].impute(holed)


def test_every_layer_is_pre_trained_with_holes_too(holed):
    estimator = StackedAutoencoder(hidden_layer_sizes=(4,), n_latent=2, pretrain="layerwise", **SMALL).fit(holed)
    assert all(np.isfinite(curve["loss"]).all() for curve in estimator.pretrain_history_)
    assert np.isfinite(estimator.transform(holed)).all()


@pytest.mark.parametrize("frozen", [False, True])
def test_a_classifier_reads_rows_with_holes(frozen, table, holed):
    labels = table[:, 1] > np.median(table[:, 1])
    begun = BasicAutoencoder(**SMALL)
    begun = FrozenEstimator(clone(begun).fit(holed)) if frozen else begun
    model = AutoencoderClassifier(begun, **SMALL | {"max_epochs": 30}).fit(holed, labels, X_val=holed, y_val=labels)
    assert model.score(holed, labels) > 0.7
    assert np.isfinite(model.predict_proba(table)).all()


def test_a_frozen_autoencoder_that_knows_no_holes_begins_no_classifier_of_rows_that_have(fitted, table, holed):
    model = AutoencoderClassifier(FrozenEstimator(fitted["BasicAutoencoder"]), **SMALL)
    labels = np.arange(len(table)) % 2
    for rows, others in ((holed, None), (table, holed)):
        with pytest.raises(ValueError, match="missing"):
            clone(model).fit(rows, labels, X_val=others, y_val=None if others is None else labels)


def test_settings_are_swept_over_rows_with_holes(holed):
    one = BasicAutoencoder(**SMALL)
    swept = diabolo.sweep(one, {"learning_rate": [1e-3, 1e-2]}, holed)
    alone = clone(one).set_params(learning_rate=1e-2).fit(holed)
    np.testing.assert_allclose(swept.estimators_[1].score_samples(holed), alone.score_samples(holed), rtol=1e-4)


# -- files ------------------------------------------------------------------------------------------------------------


def write(rows, path):
    frame = pa.table({f"c{i}": pa.array(column, from_pandas=True) for i, column in enumerate(rows.T)})
    (pa.csv.write_csv if path.suffix == ".csv" else pa.parquet.write_table)(frame, path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_empty_cells_of_a_file_are_missing(suffix, holed, told, tmp_path):
    path = tmp_path / f"rows{suffix}"
    np.save(path, holed) if suffix == ".npy" else write(holed, path)
    estimator = clone(told["VariationalAutoencoder"]).fit(path)
    np.testing.assert_array_equal(estimator.score_samples(path), told["VariationalAutoencoder"].score_samples(holed))


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npy"])
def test_rows_that_do_not_fit_in_memory_may_have_holes(suffix, monkeypatch, tmp_path):
    for room in (blocks, loader):
        monkeypatch.setattr(room, "CHUNK_BYTES", 30_000)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2_000)
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 6))
    holed = np.where(rng.uniform(size=whole.shape) < 0.1, np.nan, whole)
    paths = [tmp_path / f"{name}{suffix}" for name in ("whole", "holed")]
    for path, rows in zip(paths, (whole, holed), strict=True):
        np.save(path, rows) if suffix == ".npy" else write(rows, path)
    estimator = BasicAutoencoder(max_epochs=3, random_state=0).fit(paths[1])
    assert np.isfinite(estimator.score_samples(paths[1])).all()
    assert estimator.reconstruct(paths[1]).shape == whole.shape
    row = np.argwhere(np.isnan(holed))[0, 0]
    with pytest.raises(ValueError, match=f"the first in row {row + 1}, column"):
        BasicAutoencoder(max_epochs=1, random_state=0).fit(paths[0]).transform(paths[1])


def test_a_model_of_ones_own_parts_is_told_too(told):
    assert told["Autoencoder"].model_.recipe.missing == "mask"


# -- learning to fill cells from rows without holes -------------------------------------------------------------------


@pytest.fixture(scope="module")
def filler(table):
    """Fitted to rows without a missing cell."""
    one = Autoencoder(
        encoder=parts.MLP((32,)),
        latent=parts.Deterministic(16, "silu"),
        corruption=parts.MaskCells(0.3),
        random_state=0,
    )
    return one.fit(table / table.std(axis=0))


def test_hiding_cells_teaches_to_fill_them(filler, table, holed, holes):
    spread = table.std(axis=0)
    error = np.square(filler.impute(holed / spread) - table / spread)[holes].mean()
    assert error < 0.25 * np.square((np.nanmean(holed, axis=0) - table) / spread)[holes].mean()


def test_a_category_is_hidden_whole_or_not_at_all():
    """One of its numbers would tell the others."""
    likelihood = parts.ColumnwiseLikelihood(
        (parts.LearnedGaussian(), parts.Categorical(), parts.Categorical()), (1, 4, 2)
    )
    recipe = parts.Recipe(corruption=parts.MaskCells(0.3), likelihood=likelihood)
    hidden = np.isnan(jax.jit(recipe.corrupted)(jax.random.key(0), np.ones((4000, 7), np.float32)))
    for first, last in ((0, 0), (1, 4), (5, 6)):
        assert abs(hidden[:, first].mean() - 0.3) < 0.03
        np.testing.assert_array_equal(hidden[:, first], hidden[:, last])
        np.testing.assert_array_equal(hidden[:, first : last + 1].all(axis=1), hidden[:, first])
    assert abs(np.corrcoef(hidden[:, [0, 1, 5]].T) - np.eye(3)).max() < 0.07


def test_such_a_model_reads_holes_after_it_is_saved(filler, holed, tmp_path):
    filler.save(tmp_path / "model")
    np.testing.assert_array_equal(diabolo.load(tmp_path / "model").impute(holed), filler.impute(holed))


def test_a_model_fitted_anew_forgets_that_it_was_told(table, holed):
    own = examples.ESTIMATORS["Autoencoder"]
    one = clone(own).set_params(corruption=parts.MaskCells()).fit(table)
    assert np.isfinite(one.transform(holed)).all()
    with pytest.raises(ValueError, match="missing"):
        one.set_params(corruption=own.corruption).fit(table).transform(holed)


def test_what_cannot_be_told_of_hidden_cells_is_refused(table):
    stacked = StackedAutoencoder(pretrain="layerwise", pretrain_corruption=parts.MaskCells(), **SMALL)
    with pytest.raises(ValueError, match="pretrain_corruption"):
        stacked.fit(table)
    labels = np.arange(len(table)) % 2
    hiding = AutoencoderClassifier(BasicAutoencoder(**SMALL), corruption=parts.MaskCells(0.2), **SMALL)
    with pytest.raises(InvalidPart, match="corruption"):
        hiding.fit(table, labels)
    told = AutoencoderClassifier(
        Autoencoder(corruption=parts.MaskCells(0.2), **SMALL), corruption=parts.MaskCells(0.2), **SMALL
    )
    assert np.isfinite(told.fit(table, labels).predict_proba(np.where(table > 1, np.nan, table))).all()


@pytest.mark.parametrize("corruption", [parts.GaussianNoise(0.1), parts.MaskCells(0.1)], ids=repr)
def test_denoising_is_reconstruction_by_those_who_know_noise(corruption, table):
    one = clone(examples.ESTIMATORS["Autoencoder"]).set_params(corruption=corruption)
    np.testing.assert_array_equal(one.fit(table).denoise(table), one.reconstruct(table))


def test_who_knows_no_noise_does_not_denoise(fitted, table):
    assert {name for name, one in fitted.items() if hasattr(one, "denoise")} == {
        name for name, one in fitted.items() if not isinstance(one.model_.recipe.corruption, parts.NoCorruption)
    }
    with pytest.raises(AttributeError, match="denoise"):
        BasicAutoencoder().denoise(table)
