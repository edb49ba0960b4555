"""Filling missing cells: better than without looking at the others, and as sure as the truth allows."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_wine
from sklearn.utils.estimator_checks import parametrize_with_checks

import diabolo
from diabolo import AnomalyDetector, AutoencoderImputer, BasicAutoencoder, VariationalAutoencoder
from diabolo.data import blocks
from diabolo.estimators import imputer as repair

UNTRAINED = BasicAutoencoder(n_latent=1, max_epochs=0, validation_fraction=None)
"""What holds for any network holds for one that has learned nothing, and such a one is made in no time."""


def correlated(n, d=6, seed=0):
    """Rows near a plane."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ np.random.default_rng(0).normal(size=(2, d)) + 0.1 * rng.normal(size=(n, d))


def holed(rows, share=0.2, seed=1):
    """A share of the cells gone, at random."""
    return np.where(np.random.default_rng(seed).random(rows.shape) < share, np.nan, rows)


@pytest.fixture(scope="module")
def few_steps():
    """Of a training that is long enough for tables that are as simple as these, also for few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repair, "_STEPS", (300, 300))
        patch.setattr(repair, "_FEWEST_ROWS", 30)
        yield


@pytest.fixture(scope="module")
def fitted(few_steps):
    return AutoencoderImputer(random_state=0).fit(holed(correlated(500)))


@pytest.fixture(scope="module")
def wine():
    """A table with words, yes and no, dates, and empty cells of each; and the same without."""
    whole = load_wine(as_frame=True).data.iloc[:, :4].copy()
    whole["origin"] = np.array(["north", "south", "west"])[load_wine().target]
    whole["sweet"] = whole["alcohol"] > 13
    whole["bottled"] = pd.Timestamp("2001-01-01") + pd.to_timedelta(np.round(whole["ash"] * 100), unit="D")
    whole["note"] = "ignored"
    missing = np.random.default_rng(0).random(whole.shape) < 0.15
    missing[:, -1] = False
    return whole.astype({"sweet": object}).mask(missing), whole, pd.DataFrame(missing, columns=whole.columns)


@pytest.fixture(scope="module")
def of_wine(wine, few_steps):
    return AutoencoderImputer("single", schema={"note": "ignore", "sweet": "category"}, random_state=0).fit(wine[0])


@parametrize_with_checks([AutoencoderImputer(UNTRAINED)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


# -- best values ------------------------------------------------------------------------------------------------------


def test_what_is_filled_is_near_the_truth_and_the_rest_is_as_it_was(fitted):
    whole = correlated(500)
    rows = holed(whole)
    filled, missing = fitted.transform(rows), np.isnan(rows)
    np.testing.assert_array_equal(filled[~missing], rows[~missing])
    of_means = np.square(whole - np.nanmean(rows, axis=0))[missing].mean()
    assert np.square(filled - whole)[missing].mean() < 0.2 * of_means


def test_rows_it_has_not_seen_are_filled_as_well_even_if_those_seen_were_whole(few_steps):
    imputer = AutoencoderImputer("single", random_state=0).fit(correlated(500))
    whole = correlated(200, seed=5)
    rows = holed(whole)
    missing = np.isnan(rows)
    error = np.square(imputer.transform(rows) - whole)[missing].mean()
    assert error < 0.2 * whole[missing].var()


def test_units_do_not_matter(few_steps):
    """Powers of two scale without rounding."""
    units = np.array([1.0, 4.0, 1024.0, 0.5, 1.0, 2.0])
    rows = holed(correlated(200))
    plain = AutoencoderImputer("single", random_state=0).fit_transform(rows)
    np.testing.assert_allclose(AutoencoderImputer("single", random_state=0).fit_transform(rows * units), plain * units)


@pytest.mark.filterwarnings("ignore::diabolo.errors.EmptyColumnWarning")
def test_a_row_of_which_nothing_is_known_is_filled(few_steps):
    rows = holed(correlated(100))
    rows[3], rows[:, 2] = np.nan, np.nan
    imputer = AutoencoderImputer("single", random_state=0).fit(rows)
    assert np.isfinite(imputer.transform(rows)).all()
    assert np.isfinite(np.stack(imputer.prediction_intervals(rows))).all()


def test_two_fits_with_one_seed_agree_to_the_bit_and_another_does_not(fitted, few_steps):
    rows = holed(correlated(500))
    one = fitted.transform(rows)
    np.testing.assert_array_equal(AutoencoderImputer(random_state=0).fit(rows).transform(rows), one)
    assert np.any(AutoencoderImputer(random_state=1).fit(rows).transform(rows) != one)


@pytest.mark.parametrize("own", [BasicAutoencoder(max_epochs=3), VariationalAutoencoder(max_epochs=3)])
def test_any_autoencoder_will_do(own):
    rows = holed(correlated(100))
    imputer = AutoencoderImputer(own, random_state=0)
    assert np.isfinite(imputer.fit_transform(rows)).all()
    assert own.random_state is None


def test_networks_are_as_wide_as_there_are_cells(fitted):
    def width(n, d):
        return fitted._networks(n, n * d, 0)[0].encoder.hidden[0]

    assert [width(300, 3), width(1000, 16), width(20_000, 16), width(10**7, 100)] == [64, 128, 512, 512]


# -- how sure ---------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_truth_as_often_as_they_say_whatever_the_network_is_worth():
    hits = {0.5: [], 0.9: []}
    for seed in range(40):
        whole = correlated(300, seed=seed)
        rows = holed(whole, seed=seed)
        imputer = AutoencoderImputer(UNTRAINED, random_state=seed).fit(rows)
        for coverage, some in hits.items():
            low, high = imputer.prediction_intervals(rows, coverage)
            some.append(((low <= whole) & (whole <= high))[np.isnan(rows)].mean())
    for coverage, some in hits.items():
        # Each is known to about 0.03: 80 cells or so say how wide an interval must be.
        assert abs(np.mean(some) - coverage) < 4 * np.std(some) / np.sqrt(len(some)), coverage
        assert np.std(some) < 0.1, coverage


def test_intervals_are_narrow_where_cells_can_be_told(fitted):
    rows = holed(correlated(500))
    low, high = fitted.prediction_intervals(rows)
    missing = np.isnan(rows)
    np.testing.assert_array_equal(low[~missing], rows[~missing])
    np.testing.assert_array_equal(high[~missing], rows[~missing])
    filled = fitted.transform(rows)
    assert ((low <= filled) & (filled <= high)).all()
    alone, beside = np.full((1, 6), np.nan), correlated(1)
    beside[0, 0] = np.nan
    widths = [np.subtract(*fitted.prediction_intervals(row)[::-1])[0, 0] for row in (beside, alone)]
    assert widths[0] < widths[1]


def test_too_few_cells_are_said_to_be_too_few():
    imputer = AutoencoderImputer(UNTRAINED, random_state=0).fit(correlated(12))
    with pytest.warns(UserWarning, match="0.999"):
        low, high = imputer.prediction_intervals(holed(correlated(12)), 0.999)
    assert np.isinf(high).any()
    assert np.isinf(low).any()


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 90])
def test_a_coverage_that_is_none_is_refused(coverage, fitted):
    with pytest.raises(ValueError, match="coverage"):
        fitted.prediction_intervals(correlated(3), coverage)


# -- tables -----------------------------------------------------------------------------------------------------------


def test_a_table_is_filled_in_its_own_words(wine, of_wine):
    holes, whole, missing = wine
    filled = of_wine.transform(holes)
    assert not filled.isna().any().any()
    for name in whole.columns:
        known = ~missing[name]
        assert (filled[name][known] == whole[name][known]).all(), name
    hits = (filled["origin"] == whole["origin"])[missing["origin"]].mean()
    assert hits > 0.6  # the commonest is two fifths of them
    low, high = of_wine.prediction_intervals(holes)
    inside = pd.concat(
        ((low[name] <= whole[name]) & (whole[name] <= high[name]))[missing[name]]
        for name in ("alcohol", "ash", "malic_acid", "bottled")
    )
    assert inside.mean() > 0.75
    assert list(low["origin"]) == list(filled["origin"])


@pytest.mark.parametrize("which", ["fitted", "of_wine"])
def test_a_saved_imputer_fills_the_same_to_the_bit(which, request, wine, tmp_path):
    imputer, rows = request.getfixturevalue(which), wine[0] if which == "of_wine" else holed(correlated(50, seed=3))
    imputer.save(tmp_path / "saved")
    again = diabolo.load(tmp_path / "saved")
    pd.testing.assert_frame_equal(pd.DataFrame(again.transform(rows)), pd.DataFrame(imputer.transform(rows)))
    for one, two in zip(again.prediction_intervals(rows), imputer.prediction_intervals(rows), strict=True):
        pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(two))
    assert again.get_params() == imputer.get_params()


def test_rows_larger_than_memory_are_drawn_from_to_learn_and_all_filled(monkeypatch, tmp_path):
    rows = holed(correlated(4000)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    monkeypatch.setattr(blocks, "CHUNK_BYTES", 1 << 14)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 11)
    monkeypatch.setattr("diabolo.estimators.ensemble.CHUNK_BYTES", 1 << 14)
    imputer = AutoencoderImputer(UNTRAINED, random_state=0).fit(str(tmp_path / "rows.npy"))
    assert imputer.n_samples_ == 4000
    np.testing.assert_array_equal(imputer.transform(str(tmp_path / "rows.npy")), imputer.transform(rows))


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_fills_a_table(tmp_path, wine, run, few_steps):
    holes, whole, missing = wine
    holes.to_csv(tmp_path / "holes.csv", index=False)
    words = ("--model", "imputer", "-s", "estimator=single", "--exclude", "note", "-o", tmp_path / "run")
    status, _, err = run("fit", tmp_path / "holes.csv", *words)
    assert (status, err) == (0, "")
    assert run("impute", tmp_path / "run", tmp_path / "holes.csv", "-o", tmp_path / "filled.csv")[0] == 0
    filled = pd.read_csv(tmp_path / "filled.csv")
    assert list(filled.columns) == list(holes.columns)
    assert not filled.isna().any().any()
    assert (filled["origin"][~missing["origin"]] == whole["origin"][~missing["origin"]]).all()
    for verb in ("score", "detect", "transform", "reconstruct", "denoise"):
        status, _, err = run(verb, tmp_path / "run", tmp_path / "holes.csv")
        assert (status, "diabolo impute" in err) == (2, True)
    assert "AutoencoderImputer" in run("info", tmp_path / "run")[1]


def test_nothing_is_said_where_nothing_is_wrong(few_steps):
    with warnings.catch_warnings(action="error"):
        AutoencoderImputer("single", random_state=0).fit(holed(correlated(40))).prediction_intervals(correlated(3))


@pytest.mark.parametrize("kind", [AutoencoderImputer, AnomalyDetector])
def test_a_bar_shows_how_far_the_training_is_and_changes_nothing(kind, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "diabolo.engine.progress.Bar.show", lambda self, done, text="": shown.append((self._label, done))
    )
    rows = correlated(200)
    loud = kind(BasicAutoencoder(max_epochs=3), random_state=0, verbose=1).fit(rows)
    assert shown[-1] == (f"{kind.__name__} training", 1.0)
    quiet = kind(BasicAutoencoder(max_epochs=3), random_state=0).fit(rows)
    for one, other in zip(loud.estimators_[0], quiet.estimators_[0], strict=True):
        np.testing.assert_array_equal(one.transform(np.nan_to_num(rows)), other.transform(np.nan_to_num(rows)))
