"""An imputer's parts and their shares: never worse than the mean or chained regressions, for any number of rows."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer

import diabolo
from diabolo import AutoencoderImputer
from diabolo.errors import ArtifactError, EmptyColumnWarning
from diabolo.estimators import blend, predictions
from diabolo.persistence import files

D = 5


def independent(n, rng):
    return rng.normal(size=(n, D))


def correlated(n, rng):
    return rng.normal(size=(n, 1)) + rng.normal(size=(n, D))


def low_rank(n, rng):
    return rng.normal(size=(n, 2)) @ rng.normal(size=(2, D))


def skewed(n, rng):
    return np.exp(correlated(n, rng))


def planted(n, rng, noise=0.1):
    """Twenty independent columns, and one that is a function of two of them."""
    others = rng.normal(size=(n, 20))
    return np.c_[others, others[:, 3] - 2 * others[:, 7] + noise * rng.normal(size=n)]


def holed(whole, rng, share=0.2):
    """Cells missing at random, at least one, and at least one known in each column."""
    missing = rng.random(whole.shape) < share
    missing[0], missing[1, 0] = False, True
    return np.where(missing, np.nan, whole)


def of_fit(rows, seed=0):
    return AutoencoderImputer(random_state=seed).fit(rows)


@pytest.mark.parametrize("kind", [independent, correlated, low_rank, skewed])
@pytest.mark.parametrize("n", [2, *(pytest.param(n, marks=pytest.mark.large) for n in (3, 6, 12)), 60])
def test_the_mean_and_chained_regressions_are_never_better_by_more_than_2_percent(kind, n):
    errors = []
    for seed in range(10 if n < 60 else 4):
        rng = np.random.default_rng([n, seed])
        whole = kind(n, rng)
        rows = holed(whole, rng)
        with warnings.catch_warnings(action="ignore"):
            each = [m.fit_transform(rows) for m in (SimpleImputer(), IterativeImputer(random_state=0), of_fit(rows))]
        errors.append([np.square((one - whole) / whole.std(axis=0))[np.isnan(rows)].mean() for one in each])
    mean, chained, ours = np.sqrt(np.mean(errors, axis=0))
    assert ours < 1.02 * min(mean, chained)


@pytest.mark.parametrize("n", [20, 60])
def test_columns_that_are_sums_of_others_are_known_even_beyond_the_range_of_known_cells(n):
    rng = np.random.default_rng(1)
    whole = low_rank(n, rng)
    rows = holed(whole, rng, 0.1)
    errors = np.square((of_fit(rows).fit_transform(rows) - whole) / whole.std(axis=0))[np.isnan(rows)]
    assert np.sqrt(errors.mean()) < 0.05


def test_numbers_stay_within_the_range_of_their_column_where_no_cell_says_otherwise():
    rng = np.random.default_rng(0)
    rows = holed(np.clip(correlated(100, rng), 0, 2), rng)
    imputer = of_fit(rows)
    filled = imputer.transform(np.r_[rows, [[1e3, np.nan, np.nan, 1e3, -1e3]]])
    assert (filled[:-1] >= 0).all()
    assert (filled[:-1] <= 2).all()
    assert (np.abs(filled[-1, 1:3]) <= 4).all()


@pytest.mark.parametrize("n", [2, 3, 4, 7, 60])
def test_few_rows_train_nothing(n):
    rng = np.random.default_rng(0)
    rows = holed(correlated(n, rng), rng)
    imputer = of_fit(rows)
    assert imputer.estimators_ == [[]]
    filled = imputer.transform(rows)
    assert np.isfinite(filled).all()
    np.testing.assert_array_equal(filled, of_fit(rows).transform(rows))


def test_units_do_not_matter():
    rng = np.random.default_rng(0)
    rows = holed(correlated(40, rng), rng)
    plain = of_fit(rows)
    for factor in (1e-6, 1e6):
        units = np.array([factor, 1, 1 / factor, factor, factor])
        scaled = of_fit(rows * units)
        np.testing.assert_allclose(scaled.transform(rows * units), plain.transform(rows) * units, rtol=1e-6)
        for one, other in zip(scaled.prediction_intervals(rows * units), plain.prediction_intervals(rows), strict=True):
            np.testing.assert_allclose(one, other * units, rtol=1e-6)


@pytest.mark.parametrize("kind", [correlated, planted])
def test_the_order_of_rows_and_columns_does_not_matter_to_the_gaussians(kind):
    rng = np.random.default_rng(0)
    rows = holed(kind(60, rng), rng)
    d = rows.shape[1]
    mask = [(rng.random(rows.shape) < 0.1) & ~np.isnan(rows) for _ in range(3)]
    order = np.ix_(rng.permutation(60), rng.permutation(d))
    one, _ = blend.fit_linear(rows, np.arange(d), mask, 0)
    other, _ = blend.fit_linear(rows[order], np.arange(d), [some[order] for some in mask], 0)
    span = one.bounds
    expected = one.expected(rows, (), span)[order]
    np.testing.assert_allclose(other.expected(rows[order], (), span), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(
        other.expected(rows[order][:1], (), span)[0], other.expected(rows[order], (), span)[0]
    )


# -- a function of a few columns among many that are independent ------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("n", [120, 240])
def test_a_function_of_two_columns_among_twenty_is_known_up_to_its_noise(n, noise):
    """The regression on 20 columns adds their estimation: n / (n - 20) of the noise's variance for known columns."""
    found, independent_ = [], []
    for seed in range(2):
        rng = np.random.default_rng([n, seed])
        whole = planted(n, rng, noise)
        rows = holed(whole, rng, 0.1)
        errors = np.square((of_fit(rows).fit_transform(rows) - whole) / whole.std(axis=0))
        can_know = np.isnan(rows[:, -1]) & ~np.isnan(rows[:, [3, 7]]).any(axis=1)
        found.append(errors[can_know, -1])
        apart = np.delete(np.isnan(rows), [3, 7, 20], axis=1)
        independent_.append(np.delete(errors, [3, 7, 20], axis=1)[apart].mean())
    unit = np.sqrt(5 + noise**2)  # the standard deviation of the column
    assert np.sqrt(np.concatenate(found).mean()) < 1.6 * noise / unit + 0.06
    assert np.mean(independent_) < 1.15


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_do_not_matter_to_a_function_of_a_few_columns(factor):
    rng = np.random.default_rng(1)
    rows = holed(planted(80, rng), rng, 0.1)
    units = np.ones(21)
    units[[3, 20, 0]] = factor, 1 / factor, factor
    scaled, plain = of_fit(rows * units), of_fit(rows)
    assert len(plain.blend_.gaussians) == len(scaled.blend_.gaussians) == 2
    np.testing.assert_allclose(scaled.transform(rows * units), plain.transform(rows) * units, rtol=1e-6)


def test_a_word_that_follows_from_one_column_among_many_is_known():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(120, 12))
    whole = pd.DataFrame(numbers, columns=[f"x{i}" for i in range(12)]).assign(
        side=np.where(numbers[:, 4] > 0, "l", "r")
    )
    missing = np.zeros(whole.shape, bool)
    missing[:, -1] = rng.random(120) < 0.2
    filled = of_fit(whole.mask(missing)).transform(whole.mask(missing))
    assert (filled["side"] == whole["side"])[missing[:, -1]].mean() > 0.85


def test_a_copy_of_a_column_is_known_from_it():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(80, 12))[:, [*range(12), 5]]
    rows = holed(whole, rng, 0.1)
    filled = of_fit(rows).transform(rows)
    can_know = np.isnan(rows[:, -1]) & ~np.isnan(rows[:, 5])
    assert np.sqrt(np.square(filled - whole)[can_know, -1].mean()) < 0.1


def test_a_second_gaussian_is_saved_exported_and_reported(tmp_path):
    rng = np.random.default_rng(0)
    rows = holed(planted(100, rng), rng, 0.1)
    imputer = of_fit(rows)
    assert len(imputer.blend_.gaussians) == 2
    assert ((imputer.blend_.linear_shares > 0).sum(axis=0) <= 1).all()
    imputer.save(tmp_path / "saved")
    again = diabolo.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.transform(rows), imputer.transform(rows))
    np.testing.assert_array_equal(again.prediction_intervals(rows), imputer.prediction_intervals(rows))
    assert max(diabolo.export_onnx(imputer, tmp_path / "onnx", rows).differences.values()) < 1e-6
    linear, missing = imputer.blend_.linear(rows), np.isnan(rows)
    share = imputer.blend_.linear_share
    expected = (imputer.blend_.mean * (1 - share) + share * linear)[missing]
    np.testing.assert_allclose(imputer.transform(rows)[missing], expected, rtol=1e-6)


# -- words ------------------------------------------------------------------------------------------------------------


def table(n, seed=0):
    """A category and a boolean that follow from a number nearly always, a category that follows from nothing."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    noisy = size + 0.2 * rng.normal(size=n)
    whole = pd.DataFrame(
        {
            "size": size,
            "class": np.array(["small", "middle", "large"])[np.digitize(noisy, [-0.5, 0.5])],
            "is big": noisy > 0,
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.round(100 * noisy), unit="D"),
            "colour": rng.choice(["red", "blue", "green"], n, p=[0.6, 0.3, 0.1]),
        }
    )
    missing = pd.DataFrame(rng.random(whole.shape) < 0.2, columns=whole.columns)
    return whole.astype({"is big": object}).mask(missing), whole, missing


@pytest.mark.parametrize("n", [40, 200])
def test_words_are_as_often_right_as_the_most_frequent_one_or_oftener(n):
    found, commonest = [], []
    for seed in range(4):
        holes, whole, missing = table(n, seed)
        filled = AutoencoderImputer(random_state=seed).fit_transform(holes)
        names = ["class", "is big", "colour"]
        found.append([(filled[c] == whole[c])[missing[c]].mean() for c in names])
        commonest.append([(holes[c].mode()[0] == whole[c])[missing[c]].mean() for c in names])
    gain = np.mean(found, axis=0) - np.mean(commonest, axis=0)
    assert (gain[:2] > 0.15).all()
    assert gain[2] > -0.05


# -- empty columns, and indicators ------------------------------------------------------------------------------------

EMPTY = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, 4.0], [2.0, np.nan, 4.0], [3.0, np.nan, 7.0]])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("indicator", [False, True])
def test_columns_are_those_of_scikit_learns_imputers(keep, indicator):
    settings = {"keep_empty_features": keep, "add_indicator": indicator}
    with warnings.catch_warnings(action="ignore"):
        ours, theirs = (kind(**settings).fit(EMPTY) for kind in (AutoencoderImputer, SimpleImputer))
        assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
        found, expected = ours.transform(EMPTY), theirs.transform(EMPTY)
    np.testing.assert_array_equal(found[[0, 2, 3]], expected[[0, 2, 3]])
    assert found.dtype == EMPTY.dtype


def test_an_empty_column_is_said_to_be_dropped():
    with pytest.warns(EmptyColumnWarning, match="keep_empty_features") as said:
        AutoencoderImputer().fit(EMPTY)
    assert [one.message.column for one in said] == ["1"]
    with warnings.catch_warnings(action="error"):
        AutoencoderImputer(keep_empty_features=True).fit(EMPTY)


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.from_pandas, pa.Table.from_pandas])
def test_a_table_gets_columns_of_indicators(kind):
    holes, _, missing = table(30)
    given = kind(holes.astype({"is big": "boolean"}))
    imputer = AutoencoderImputer(add_indicator=True, random_state=0).fit(given)
    filled = imputer.transform(given)
    assert type(filled) is type(given)
    names = list(filled.column_names if isinstance(filled, pa.Table) else filled.columns)
    assert names == [*holes.columns, *(f"missingindicator_{name}" for name in holes.columns)]
    assert names == list(imputer.get_feature_names_out())
    for name in holes.columns:
        assert list(np.asarray(filled[f"missingindicator_{name}"])) == list(missing[name])


@pytest.mark.filterwarnings("ignore::diabolo.errors.EmptyColumnWarning")
def test_an_exported_and_a_served_imputer_have_the_same_columns(tmp_path):
    rng = np.random.default_rng(0)
    rows = holed(correlated(60, rng), rng)
    rows[:, 2] = np.nan
    imputer = AutoencoderImputer(add_indicator=True, random_state=0).fit(rows)
    found = diabolo.export_onnx(imputer, tmp_path / "onnx", rows)
    assert max(found.differences.values()) < 1e-6
    answer = predictions.predict_imputed(imputer, rows)
    assert answer.names == tuple(imputer.get_feature_names_out())
    np.testing.assert_array_equal(answer.rows, imputer.transform(rows))
    assert predictions.as_table(imputer, imputer.prediction_intervals(rows)[0]).names == ("x0", "x1", "x3", "x4")


def test_an_exported_table_has_indicators(tmp_path):
    holes, *_ = table(40)
    imputer = AutoencoderImputer(add_indicator=True, random_state=0).fit(holes)
    found = diabolo.export_onnx(imputer, tmp_path / "onnx")
    assert max(found.differences.values()) < 1e-5
    assert "impute.onnx missingindicator_class_told" in found.differences


# -- how sure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [independent, correlated, skewed])
def test_intervals_of_few_rows_hold_the_truth_as_often_as_they_say(kind):
    hits = []
    for seed in range(12):
        rng = np.random.default_rng([5, seed])
        whole = kind(40, rng)
        rows = holed(whole, rng)
        low, high = of_fit(rows).prediction_intervals(rows, 0.8)
        hits.append(((low <= whole) & (whole <= high))[np.isnan(rows)].mean())
    assert abs(np.mean(hits) - 0.8) < 0.06


def test_a_column_of_one_value_has_infinite_intervals_and_a_constant_one_a_point():
    rows = np.random.default_rng(0).normal(size=(30, 4))
    rows[:, 1], rows[1:, 2] = 7.0, np.nan
    rows[3, 1] = np.nan
    low, high = of_fit(rows).prediction_intervals(rows, 0.8)
    assert np.isinf(low[1:, 2]).all()
    assert np.isinf(high[1:, 2]).all()
    np.testing.assert_allclose([low[3, 1], high[3, 1]], 7, rtol=1e-6)


def test_intervals_are_narrow_where_the_gaussian_knows_more():
    rng = np.random.default_rng(0)
    rows = holed(rng.normal(size=(100, 1)) + 0.1 * rng.normal(size=(100, D)), rng)
    nothing, much = np.full((1, D), np.nan), np.r_[np.nan, rows[0, 1:]][None]
    low, high = of_fit(rows).prediction_intervals(np.r_[nothing, much])
    assert (high - low)[1, 0] < 0.5 * (high - low)[0, 0]


@pytest.mark.parametrize(("n", "epochs"), [(300, 1667), (1000, 625), (20_000, 255), (10**6, 6)])
def test_steps_are_counted(n, epochs):
    """5,000 to 40,000 steps of 128 rows; the last batch of an epoch is a whole one, too."""
    assert AutoencoderImputer()._networks(n, n, 0)[0].max_epochs == epochs
    assert AutoencoderImputer()._networks(255, 10**4, 0) == []


# -- shares -----------------------------------------------------------------------------------------------------------


def test_networks_have_no_share_where_they_are_worse_and_are_then_left_out(monkeypatch):
    monkeypatch.setattr("diabolo.estimators.imputer._STEPS", (20, 20))
    rng = np.random.default_rng(0)
    rows = holed(low_rank(300, rng), rng)
    imputer = of_fit(rows)
    assert not imputer.blend_.uses_networks or imputer.blend_.network_share.max() < 0.05


def test_networks_have_a_share_where_they_are_better(monkeypatch):
    monkeypatch.setattr("diabolo.estimators.imputer._STEPS", (1500, 1500))
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(600, 1))
    whole = np.hstack([x, x**2, np.abs(x), np.cos(3 * x)])
    rows = holed(whole, rng)
    imputer = AutoencoderImputer("single", random_state=0).fit(rows)
    assert imputer.blend_.network_share.mean() > 0.5
    assert len(imputer.estimators_[0]) == 1


def test_folds_are_disjoint_and_leave_each_column_a_cell():
    rng = np.random.default_rng(0)
    rows = holed(independent(8, rng), rng)
    rows[1:, 4] = np.nan
    found = blend.folds(rows, np.array([0, 1, 1, 3, 4]), 0.1, rng)
    assert np.sum(found, axis=0).max() == 1
    for mask in found:
        assert not (mask & np.isnan(rows)).any()
        assert (~np.isnan(np.where(mask, np.nan, rows))).any(axis=0).all()


# -- saved models -----------------------------------------------------------------------------------------------------


def test_a_saved_imputer_without_networks_fills_the_same(tmp_path):
    rng = np.random.default_rng(0)
    rows = holed(correlated(50, rng), rng)
    imputer = of_fit(rows)
    imputer.save(tmp_path / "saved")
    again = diabolo.load(tmp_path / "saved")
    np.testing.assert_array_equal(again.transform(rows), imputer.transform(rows))
    np.testing.assert_array_equal(again.prediction_intervals(rows), imputer.prediction_intervals(rows))


def test_an_imputer_saved_by_an_earlier_version_imputes_with_its_networks_alone(tmp_path):
    rng = np.random.default_rng(0)
    rows = holed(correlated(50, rng), rng)
    imputer = AutoencoderImputer(diabolo.BasicAutoencoder(n_latent=2, max_epochs=5), random_state=0).fit(rows)
    if not imputer.blend_.uses_networks:
        pytest.skip("this network has no share")
    imputer.save(tmp_path / "saved")
    manifest, arrays = files.read(tmp_path / "saved")
    former = {name: array for name, array in arrays.items() if not name.startswith(("blend.", "is_", "has_"))}
    files.write(tmp_path / "former", manifest, former)
    again = diabolo.load(tmp_path / "former")
    each = [one.predictor_.expected(rows) for one in imputer.estimators_[0]]
    expected = np.where(np.isnan(rows), np.clip(np.mean(each, axis=0), *imputer.range_), rows)
    np.testing.assert_array_equal(again.transform(rows), expected)
    assert imputer.blend_.has_linear
    assert not again.blend_.has_linear


@pytest.mark.parametrize("name", ["blend.mean", "blend.loadings", "blend.shares"])
@pytest.mark.parametrize("wrong", [np.full((3, 3), np.nan), np.float64(0), np.zeros((1, 3, D))])
def test_a_damaged_blend_is_refused(name, wrong, tmp_path):
    rng = np.random.default_rng(0)
    of_fit(holed(correlated(50, rng), rng)).save(tmp_path / "saved")
    manifest, arrays = files.read(tmp_path / "saved")
    files.write(tmp_path / "damaged", manifest, arrays | {name: np.asarray(wrong)})
    with pytest.raises(ArtifactError, match="blend"):
        diabolo.load(tmp_path / "damaged")
