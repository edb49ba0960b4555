"""Models with a condition: p(x | z, c)."""

import json

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

import examples
from diabolo import (
    AnomalyDetector,
    Autoencoder,
    AutoencoderGenerator,
    AutoencoderImputer,
    BasicAutoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    StackedAutoencoder,
    VariationalAutoencoder,
    export_onnx,
    load,
    parts,
    sweep,
)
from diabolo.errors import InvalidData, InvalidParameter, InvalidPart
from diabolo.estimators.predictions import like_those_seen
from diabolo.serving import create_app
from helpers import same_bits, stop_and_go_on

SMALL = examples.SMALL
MEANS = {"a": -3.0, "b": 0.0, "c": 5.0}
SETTINGS = {
    "basic": BasicAutoencoder(n_latent=1),
    "stacked": StackedAutoencoder(n_latent=2, hidden_layer_sizes=(8,)),
    "sparse": SparseAutoencoder(n_hidden=8),
    "denoising": DenoisingAutoencoder(corruption="masking", hidden_layer_sizes=(8,)),
    "variational": VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(8,)),
    "codebook": Autoencoder(latent=parts.VectorQuantized(2, 4), penalties=(parts.Commitment(),)),
}


@pytest.fixture(scope="module")
def rows():
    """x = (mean of the group, twice the dose) + noise, and two columns that share a factor."""
    rng = np.random.default_rng(0)
    group, dose = rng.choice(list(MEANS), 512), rng.normal(size=512)
    factor = rng.normal(size=512)
    return pd.DataFrame(
        {
            "x": [MEANS[g] for g in group] + 0.3 * rng.normal(size=512),
            "y": 2 * dose + 0.3 * rng.normal(size=512),
            "u": factor + 0.3 * rng.normal(size=512),
            "v": factor + 0.3 * rng.normal(size=512),
            "group": group,
            "dose": dose,
        }
    )


@pytest.fixture(scope="module")
def model(rows):
    settings = {"n_latent": 2, "hidden_layer_sizes": (32,), "max_epochs": 150, "random_state": 0}
    return VariationalAutoencoder(condition=["group", "dose"], **settings).fit(rows)


# -- it is right ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", MEANS)
def test_samples_have_the_mean_of_their_group(group, model):
    drawn = model.sample(400, given={"group": group, "dose": 1.0}, random_state=0)
    assert drawn["x"].mean() == pytest.approx(MEANS[group], abs=0.15)
    assert drawn["y"].mean() == pytest.approx(2.0, abs=0.2)
    assert set(drawn["group"]) == {group}
    assert set(drawn["dose"]) == {1.0}


def test_the_density_is_that_of_the_other_columns_given_the_condition(rows, model):
    """x and y are normal given the condition, u and v are a pair of normals."""
    truth = (
        stats.norm.logpdf(rows["x"], rows["group"].map(MEANS), 0.3)
        + stats.norm.logpdf(rows["y"], 2 * rows["dose"], 0.3)
        + stats.multivariate_normal([0, 0], [[1.09, 1], [1, 1.09]]).logpdf(rows[["u", "v"]])
    )
    found = model.score_samples(rows)
    assert found.mean() == pytest.approx(truth.mean(), abs=0.3)
    assert np.corrcoef(found, truth)[0, 1] > 0.9
    assert model.elbo(rows).mean() < found.mean()


def test_a_row_is_moved_to_another_condition(rows, model):
    moved = model.reconstruct(rows, to={"group": "c"})
    assert moved["x"].mean() == pytest.approx(MEANS["c"], abs=0.2)
    assert set(moved["group"]) == {"c"}
    np.testing.assert_array_equal(moved["dose"], rows["dose"])
    own = model.reconstruct(rows)
    np.testing.assert_allclose(moved["u"], own["u"], atol=0.4)  # what the condition says nothing about


def test_the_code_says_little_about_the_condition(rows, model):
    codes = model.transform(rows).to_numpy()
    assert LogisticRegression().fit(codes[:400], rows["group"][:400]).score(codes[400:], rows["group"][400:]) < 0.5


def test_the_code_can_be_made_independent_of_the_condition(rows):
    """From random weights, a code repeats the condition, though the decoder has it; a penalty prevents it."""
    settings = {"latent": parts.Deterministic(2), "condition": "group", "max_epochs": 100, "init": "random"}
    shares = []
    for penalties in ((), (parts.Independence(),)):
        codes = Autoencoder(**settings, penalties=penalties, random_state=0).fit(rows).transform(rows)
        between = codes.groupby(rows["group"]).transform("mean").var() / codes.var()
        shares.append(float(between.max()))
    assert shares[1] < 0.02 < shares[0]


def test_independence_needs_a_condition(rows):
    with pytest.raises(InvalidPart, match="condition"):
        Autoencoder(penalties=(parts.Independence(),), **SMALL).fit(rows[["x", "y"]])


def test_an_anomaly_is_one_given_its_condition(rows, model):
    """x = 5 is ordinary in group c, and impossible in group a."""
    ordinary = rows[rows["group"] == "c"]
    strange = ordinary.assign(group="a")
    assert (model.score_samples(strange) < model.score_samples(ordinary) - 20).all()


# -- everywhere -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(rows):
    """As many rows as one program takes, alone or together."""
    return rows.head(32)


@pytest.fixture(scope="module")
def fitted(few):
    return {name: clone(one).set_params(condition="group", **SMALL).fit(few) for name, one in SETTINGS.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_condition_is_kept_and_the_rest_is_read(name, few, fitted, tmp_path):
    estimator = fitted[name]
    rebuilt = estimator.reconstruct(few)
    np.testing.assert_array_equal(rebuilt["group"], few["group"])
    scores = estimator.score_samples(few)
    assert np.isfinite(scores).all()
    one_by_one = np.concatenate([estimator.score_samples(few.iloc[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(one_by_one, scores[:3], rtol=1e-5)
    np.testing.assert_array_equal(
        estimator.score_samples(few.sample(32, random_state=0)), scores[few.sample(32, random_state=0).index]
    )
    estimator.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.score_samples(few), scores)
    decoded = estimator.inverse_transform(estimator.transform(few), given={"group": "b"})
    np.testing.assert_allclose(decoded["x"], estimator.reconstruct(few, to={"group": "b"})["x"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "condition"), [("variational", ["group", "dose"]), ("codebook", "group")])
def test_it_resumes_and_is_swept_to_the_bit(name, condition, few, tmp_path):
    estimator = clone(SETTINGS[name]).set_params(condition=condition, **SMALL)
    unbroken = clone(estimator).fit(few)
    assert same_bits(stop_and_go_on(estimator, few, tmp_path, 1), unbroken)
    swept = sweep(estimator, {"learning_rate": [1e-3, 1e-2]}, few)
    alone = clone(estimator).set_params(**swept.best_params_).fit(few)
    np.testing.assert_array_equal(swept.best_estimator_.score_samples(few), alone.score_samples(few))


def test_containers_agree(few, fitted, tmp_path):
    estimator = fitted["variational"]
    few.to_csv(tmp_path / "rows.csv", index=False)
    few.to_parquet(tmp_path / "rows.parquet")
    scores = estimator.score_samples(few)
    for other in (pl.from_pandas(few), few[few.columns[::-1]], tmp_path / "rows.csv", tmp_path / "rows.parquet"):
        np.testing.assert_allclose(estimator.score_samples(other), scores, rtol=1e-6)


def test_an_array_has_its_condition_by_number(rows):
    array = rows.drop(columns="group").to_numpy()
    settings = {"n_latent": 2, "hidden_layer_sizes": (8,), "condition": 4}
    estimator = VariationalAutoencoder(**settings, **SMALL | {"max_epochs": 20, "batch_size": 64}).fit(array)
    rebuilt = estimator.reconstruct(array, to={4: 2.0})
    np.testing.assert_array_equal(rebuilt[:, 4], 2.0)
    drawn = estimator.sample(300, given={4: -1.0}, random_state=0)
    assert drawn[:, 1].mean() == pytest.approx(-2, abs=0.6)


def test_the_number_of_a_column_may_be_of_numpy(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(40, 3))
    one = BasicAutoencoder(n_latent=1, condition=2, max_epochs=1, random_state=0).fit(numbers)
    for condition in (np.int64(2), [np.int32(2)]):
        other = clone(one).set_params(condition=condition).fit(numbers)
        np.testing.assert_array_equal(other.score_samples(numbers), one.score_samples(numbers))
    other.save(tmp_path / "run")
    np.testing.assert_array_equal(load(tmp_path / "run").score_samples(numbers), one.score_samples(numbers))


def test_a_detector_refuses_a_condition_that_its_network_does_not_know():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=60), "y": rng.normal(size=60), "k": ["a", "b"] * 30})
    network = BasicAutoencoder(n_latent=1, condition="k", max_epochs=1, random_state=0)
    detector = AnomalyDetector(network, false_alarm_rate=0.1, calibration=0.2, random_state=0).fit(table)
    assert np.isfinite(detector.score_samples(table)).all()
    for ask in (detector.score_samples, detector.explain):
        with pytest.raises(InvalidData, match="Column k"):
            ask(table.assign(k="c"))


@pytest.mark.parametrize("task", [AutoencoderImputer, AutoencoderGenerator])
def test_who_fills_or_draws_all_columns_takes_no_condition(task):
    numbers = np.random.default_rng(0).normal(size=(300, 3))
    with pytest.raises(InvalidParameter, match="condition=2"):
        task(VariationalAutoencoder(n_latent=1, condition=2, max_epochs=1), random_state=0).fit(numbers)


def test_a_model_of_missing_cells_is_served_with_its_condition():
    rng = np.random.default_rng(0)
    cells = np.where(rng.random(60) < 0.2, np.nan, rng.normal(size=60))
    table = pd.DataFrame({"x": cells, "y": rng.normal(size=60), "k": ["a", "b"] * 30})
    model = BasicAutoencoder(n_latent=1, condition="k", max_epochs=1, random_state=0).fit(table)
    usual = like_those_seen(model, 200)
    assert [usual[name].null_count > 0 for name in ("x", "y", "k")] == [True, True, False]
    create_app(model)


def test_other_given_values_weigh_the_codes(model):
    drawn = model.sample(300, given={"group": "a", "dose": 0.0, "u": 2.0}, random_state=0)
    assert drawn["v"].mean() == pytest.approx(2 / 1.09, abs=0.4)
    assert drawn["x"].mean() == pytest.approx(MEANS["a"], abs=0.2)


def test_a_corruption_leaves_the_condition(few, fitted):
    noisy = fitted["denoising"].corrupt(few)
    np.testing.assert_array_equal(noisy["group"], few["group"])
    assert (noisy["x"] != few["x"]).any()


def test_interpolation_is_under_the_condition_of_the_first_row(rows, model):
    between = model.interpolate(rows[rows["group"] == "a"].head(1), rows[rows["group"] == "c"].head(1), 4)
    assert set(between["group"]) == {"a"}


def test_the_report_shows_rows_and_the_decoder_under_a_condition(few, fitted):
    page = fitted["variational"].report(few)
    assert "Latent explorer" in page
    assert "group" in fitted["variational"].report()  # without rows: no decoder, and no error


def test_onnx_reads_the_condition_with_the_row(rows, fitted, tmp_path):
    few = rows.head(20)
    found = export_onnx(fitted["variational"], tmp_path / "out", few)
    assert "decoder.onnx" not in found.files
    session = onnxruntime.InferenceSession(tmp_path / "out" / "score.onnx")
    types = {entry.name: entry.type for entry in session.get_inputs()}
    feed = {
        name: few[[name]].to_numpy(str if "string" in kind else np.float32 if "float)" in kind else np.float64)
        for name, kind in types.items()
    }
    (scores,) = session.run(["log_density"], feed)
    np.testing.assert_allclose(scores.ravel(), fitted["variational"].score_samples(few), rtol=1e-3, atol=1e-3)


def test_the_command_line(few, run, tmp_path):
    few.to_csv(tmp_path / "rows.csv", index=False)
    data, model = str(tmp_path / "rows.csv"), str(tmp_path / "model")
    settings = [word for name, value in SMALL.items() for word in ("-s", f"{name}={value}")]
    settings += ["-s", "n_latent=2", "-s", "hidden_layer_sizes=[8]"]
    run("fit", data, "-m", "variational", "-o", model, "--condition", "group,dose", *settings, "-q")
    run("reconstruct", model, data, "-o", str(tmp_path / "moved.csv"), "--to", "group=c")
    assert set(pd.read_csv(tmp_path / "moved.csv")["group"]) == {"c"}
    run("sample", model, "-n", "50", "-g", "group=a", "-g", "dose=1", "-o", str(tmp_path / "new.csv"))
    assert set(pd.read_csv(tmp_path / "new.csv")["group"]) == {"a"}
    assert json.loads((tmp_path / "model" / "model.json").read_text())["parameters"]["condition"] == ["group", "dose"]


# -- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "a sample without it": (lambda e, r: e.sample(2), "give a value for group"),
    "codes without it": (lambda e, r: e.inverse_transform(e.transform(r)), "give a value for group"),
    "another column": (lambda e, r: e.reconstruct(r, to={"x": 1.0}), "the condition of the model is group"),
    "an unknown column": (lambda e, r: e.reconstruct(r, to={"z": 1.0}), "no column named z"),
    "an unknown category": (lambda e, r: e.score_samples(r.assign(group="new")), "unknown category in row 1"),
    "an unknown category to move to": (lambda e, r: e.reconstruct(r, to={"group": "new"}), "group"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_condition_that_is_not_known_is_refused(what, rows, fitted):
    ask, message = REFUSED[what]
    with pytest.raises(InvalidData, match=message):
        ask(fitted["variational"], rows.head(5))


@pytest.mark.parametrize("condition", ["none", ["x", "y", "u", "v", "group", "dose"], []])
def test_a_condition_is_some_of_the_columns(condition, rows):
    with pytest.raises(InvalidData):
        BasicAutoencoder(condition=condition, **SMALL).fit(rows)


def test_a_condition_with_missing_cells_is_refused(rows):
    holed = rows.assign(group=rows["group"].where(rows.index != 3))
    with pytest.raises(InvalidData, match="row 4"):
        BasicAutoencoder(condition="group", **SMALL).fit(holed)


def test_a_recipe_with_targets_has_no_condition():
    with pytest.raises(InvalidPart, match="condition"):
        parts.Recipe(n_targets=2, condition=(0,))
