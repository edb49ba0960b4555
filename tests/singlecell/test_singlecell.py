"""The autoencoder of single cells."""

import numpy as np
import pytest
from benchmarks.singlecell.scores import scores
from sklearn.base import clone

from diabolo.errors import ArtifactError, InvalidData, InvalidParameter, InvalidType
from diabolo.singlecell import SingleCellAutoencoder
from simulated_cells import Cells, as_sparse, simulated_cells

SMALL = {"n_latent": 3, "hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def cells():
    return simulated_cells()


@pytest.fixture(scope="module")
def model(cells):
    return SingleCellAutoencoder(batch_key="batch", **SMALL).fit(cells)


def test_codes_tell_kinds_and_not_batches(cells, model):
    codes = cells.obsm["X_diabolo"]
    np.testing.assert_array_equal(codes, model.transform(cells))
    kind, batch = cells.obs["kind"].to_numpy(), cells.obs["batch"].to_numpy()
    found = scores(codes, kind, batch)
    assert found["ari"] > 0.98
    assert found["mixing"] > 0.85
    logs = np.log1p(cells.X / cells.X.sum(axis=1, keepdims=True) * 300)
    assert found["mixing"] > scores(logs, kind, batch)["mixing"] + 0.2


def test_distances_are_those_of_denoised_logarithms(cells):
    linear = SingleCellAutoencoder(batch_key="batch", **SMALL | {"hidden_layer_sizes": (), "max_epochs": 0}).fit(cells)
    logs = np.log(linear.normalized_expression(cells, batch="one"))
    codes = linear.transform(cells)
    i, j = np.random.default_rng(0).integers(400, size=(2, 500))
    np.testing.assert_allclose(
        np.linalg.norm(codes[i] - codes[j], axis=1), np.linalg.norm(logs[i] - logs[j], axis=1), rtol=1e-2, atol=1e-3
    )
    assert (np.diff(codes.var(axis=0)) <= 1e-6).all()


def test_expression_in_another_batch_has_no_batch_effect(cells, model):
    kind, batch = cells.obs["kind"].to_numpy(), cells.obs["batch"].to_numpy()

    def apart(expression):
        logs = np.log(expression[kind == "1"])
        of = batch[kind == "1"]
        return np.abs(logs[of == "one"].mean(axis=0) - logs[of == "two"].mean(axis=0)).mean()

    own, moved = model.normalized_expression(cells), model.normalized_expression(cells, batch="two")
    assert apart(moved) < 0.3 * apart(own)
    np.testing.assert_allclose(own[batch == "two"], moved[batch == "two"], rtol=1e-5)
    double = model.normalized_expression(cells, size_factor=2 * model.cells_.unit)
    np.testing.assert_allclose(double, 2 * own, rtol=1e-4)
    np.testing.assert_allclose(own.sum(axis=1).mean(), model.cells_.unit, rtol=0.1)


def test_samples_have_the_means_of_their_batch(cells, model):
    for name in ("one", "two"):
        drawn = model.sample(1000, batch=name, random_state=0)
        assert drawn.shape == (1000, 40)
        assert (drawn == np.round(drawn)).all()
    ratio = np.log(model.sample(1000, batch="two", random_state=1).mean(0) / drawn.mean(0))
    assert np.abs(ratio).max() < 0.5
    with pytest.raises(InvalidData, match="batch"):
        model.sample(1)


def test_the_same_seed_gives_the_same_bits_and_so_does_a_saved_model(cells, model, tmp_path):
    again = clone(model).fit(cells)
    np.testing.assert_array_equal(again.transform(cells), model.transform(cells))
    model.save(tmp_path / "cells")
    model.save(tmp_path / "cells")
    loaded = SingleCellAutoencoder.load(tmp_path / "cells")
    np.testing.assert_array_equal(loaded.transform(cells), model.transform(cells))
    np.testing.assert_array_equal(loaded.score_samples(cells), model.score_samples(cells))
    assert loaded.get_params() == model.get_params() | {"random_state": model.autoencoder_.seed_}
    with pytest.raises(ArtifactError, match="cells"):
        SingleCellAutoencoder.load(tmp_path)


def test_sparse_cells_and_layers_are_read(cells, model):
    sparse = as_sparse(cells)
    np.testing.assert_allclose(model.transform(sparse), model.transform(cells), atol=1e-4)
    sparse.layers["counts"], sparse.X = sparse.X, None
    fitted = SingleCellAutoencoder(batch_key="batch", layer="counts", **SMALL).fit(sparse)
    kind, batch = cells.obs["kind"].to_numpy(), cells.obs["batch"].to_numpy()
    assert scores(fitted.transform(sparse), kind, batch)["ari"] > 0.98


@pytest.mark.parametrize("settings", [{"family": "zinb", "dispersion": "gene-batch"}, {"size_factor_key": "size"}])
def test_every_setting_gives_a_density(cells, settings):
    cells.obs["size"] = cells.X.sum(axis=1) / 7
    fitted = SingleCellAutoencoder(batch_key="batch", **SMALL | settings).fit(cells)
    log_p = fitted.score_samples(cells)
    assert np.isfinite(log_p).all()
    assert log_p.mean() > -200


def test_a_code_may_have_more_dimensions_than_there_are_genes(cells):
    few = Cells(cells.X[:, :4], {"batch": cells.obs["batch"].to_numpy()})
    few.X[:, 0] = 0  # a gene without counts
    few.obs.loc[few.obs.index[0], "batch"] = "three"  # a batch of one cell
    few = few[few.X.sum(axis=1) > 0]
    fitted = SingleCellAutoencoder(batch_key="batch", **SMALL | {"n_latent": 6}).fit(few)
    assert np.isfinite(fitted.transform(few)).all()
    assert np.isfinite(fitted.score(few))


def test_without_batches(cells):
    fitted = SingleCellAutoencoder(**SMALL).fit(cells)
    assert fitted.sample(2).shape == (2, 40)
    assert fitted.cells_.batches == ()


def test_a_report_of_cells(cells, model):
    assert "<html" in model.report(cells, "kind")


def test_what_is_refused(cells, model):
    empty = cells[np.arange(20)]
    empty.X = empty.X * (np.arange(20) != 7)[:, None]
    with pytest.raises(InvalidData, match="8"):
        model.transform(empty)
    other = cells[np.arange(20)]
    other.obs["batch"] = "three"
    with pytest.raises(InvalidData, match="three"):
        model.transform(other)
    with pytest.raises(InvalidData, match="genes"):
        model.transform(Cells(cells.X[:, :5], cells.obs.to_dict("list")))
    with pytest.raises(InvalidType, match="AnnData"):
        model.transform(cells.X)
    with pytest.raises(ValueError, match="counts"):
        SingleCellAutoencoder(**SMALL).fit(Cells(cells.X + 0.5, {"batch": cells.obs["batch"].to_numpy()}))
    with pytest.raises(InvalidData, match="'donor'"):
        SingleCellAutoencoder(batch_key="donor", **SMALL).fit(cells)
    with pytest.raises(InvalidParameter, match="family"):
        SingleCellAutoencoder(family="poisson").fit(cells)


@pytest.mark.filterwarnings("ignore")  # those of anndata
def test_a_real_anndata_object(cells):
    anndata = pytest.importorskip("anndata")
    adata = anndata.AnnData(as_sparse(cells).X, obs=cells.obs.copy())
    adata.var_names = list(cells.var_names)
    fitted = SingleCellAutoencoder(batch_key="batch", **SMALL).fit(adata)
    assert adata.obsm["X_diabolo"].shape == (400, 3)
    assert len(fitted.differential_expression(adata, "kind", "0")) == 40
