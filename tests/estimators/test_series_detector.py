"""Series: events found where they are, whatever the order and the gaps of rows; false alarms as asked; no NaN."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone

import diabolo
from diabolo import BasicAutoencoder, SeriesDetector
from diabolo.errors import InvalidData, InvalidParameter, InvalidType, UnscoredRowsWarning, UnseenColumnsWarning

N, DAY = 1600, 24
TIMES = pd.date_range("2024-01-01", periods=N, freq="h")


def wave(n=N, seed=0, phase=0.0):
    rng = np.random.default_rng(seed)
    return np.sin(np.arange(n) * 2 * np.pi / DAY + phase) + 0.1 * rng.normal(size=n)


def two(seed=0):
    """Two channels, in different units."""
    return np.column_stack([wave(seed=seed), 1000 + 50 * wave(seed=seed + 100, phase=1.0)])


def spoilt(seed=5, start=700, length=12):
    """New values, with an event in the second channel."""
    values = two(seed)
    values[start : start + length, 1] -= 80
    return values


def frame(values, times=TIMES):
    return pd.DataFrame({"at": times, "load": values[:, 0], "heat": values[:, 1]})


@pytest.fixture(scope="module")
def detector():
    return SeriesDetector(time="at", window=48).fit(frame(two()))


@pytest.fixture(scope="module")
def plain():
    return SeriesDetector(window=48).fit(wave())


def test_an_event_is_found_where_it_is(detector):
    alarms = detector.alarms(frame(spoilt()))
    assert isinstance(alarms, pd.DataFrame)
    assert list(alarms.columns) == ["start", "end", "peak", "score", "p_value", "channel"]
    assert len(alarms) == 1
    alarm = alarms.iloc[0]
    assert abs((alarm.start - TIMES[700]) / pd.Timedelta("1h")) <= 3
    assert abs((alarm.end - TIMES[711]) / pd.Timedelta("1h")) <= 3
    assert alarm.start <= alarm.peak <= alarm.end
    assert alarm.channel == "heat"
    assert alarm.p_value <= 0.01


def test_a_series_without_an_event_has_no_alarm_and_the_table_its_columns(detector):
    alarms = detector.alarms(frame(two(seed=9)))
    assert len(alarms) == 0
    assert "p_value" in alarms


def test_contributions_name_the_channel_and_sum_to_the_score(detector):
    found = detector.explain(frame(spoilt()))
    np.testing.assert_allclose(found.contributions.sum(axis=1), found.scores)
    np.testing.assert_allclose(found.scores, -detector.score_samples(frame(spoilt())))
    assert (found.top_features(1)[700:712] == "heat").all()
    np.testing.assert_array_equal(found.observed["heat"], spoilt()[:, 1])
    clean = two(seed=5)
    assert np.abs(found.expected["heat"].to_numpy()[100:600] - clean[100:600, 1]).mean() < 10


def test_a_row_is_flagged_if_and_only_if_its_p_value_is_small(detector):
    rows = frame(spoilt())
    p = detector.p_values(rows)
    assert ((p > 0) & (p <= 1)).all()
    for rate in (0.001, 0.01, 0.1, 0.5):
        one = clone(detector).set_params(false_alarm_rate=rate)
        one.__dict__ |= {k: v for k, v in vars(detector).items() if k.endswith("_") or k.startswith("_")}
        flagged = one.predict(rows) == -1
        np.testing.assert_array_equal(flagged, p <= rate)
        np.testing.assert_array_equal(flagged, one.decision_function(rows) < 0)
        np.testing.assert_array_equal(flagged, one.score_samples(rows) < one.offset_)


def test_scores_do_not_depend_on_the_order_of_rows_or_the_library(detector):
    rows = frame(spoilt())
    scores = detector.score_samples(rows)
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_array_equal(detector.score_samples(rows.iloc[order]), scores[order])
    shuffled = detector.alarms(pl.from_pandas(rows.iloc[order]))
    assert isinstance(shuffled, pl.DataFrame)
    assert shuffled["start"].to_list() == detector.alarms(rows)["start"].to_list()
    table = pa.table(rows).select(["heat", "at", "load"])  # columns are found by name
    np.testing.assert_array_equal(detector.score_samples(table), scores)
    assert isinstance(detector.alarms(table), pa.Table)


def test_scores_do_not_depend_on_units():
    values = two()
    scores = SeriesDetector(window=48).fit(values).score_samples(spoilt())
    scaled = SeriesDetector(window=48).fit(values * [1e-9, 1e9] + [0, 5]).score_samples(spoilt() * [1e-9, 1e9] + [0, 5])
    np.testing.assert_allclose(scaled, scores, rtol=1e-6)


def test_several_series_share_a_model_and_keep_their_rows(detector):
    both = pd.concat([frame(two()).assign(site="a"), frame(two(seed=1)).assign(site="b")], ignore_index=True)
    of_both = SeriesDetector(time="at", key="site", window=48).fit(both)
    new = pd.concat([frame(two(seed=3)).assign(site="x"), frame(spoilt()).assign(site="y")], ignore_index=True)
    mixed = new.sample(frac=1, random_state=0)
    alarms = of_both.alarms(mixed)
    assert alarms["site"].tolist() == ["y"]
    alone = of_both.score_samples(new[new.site == "y"])
    np.testing.assert_allclose(
        of_both.score_samples(mixed)[(mixed.site == "y").to_numpy()], alone[mixed.index[mixed.site == "y"] - N]
    )


def test_lists_of_arrays_are_several_series(plain):
    series = [wave(seed=3, n=300), wave(seed=4, n=200)]
    found = plain.score_samples(series)
    np.testing.assert_array_equal(found, np.concatenate([plain.score_samples(one) for one in series]))
    series[1][100:110] += 3
    assert plain.alarms(series).to_pydict()["series"] == [1]


def test_gaps_uneven_steps_and_double_rows_change_little(detector):
    rng = np.random.default_rng(0)
    values = spoilt()
    values[200:220] = np.nan
    times = TIMES + pd.to_timedelta(rng.uniform(-600, 600, N), unit="s")
    rows = frame(values, times).drop(index=range(400, 410))
    rows = pd.concat([rows, rows.iloc[50:60]], ignore_index=True)
    scores = detector.score_samples(rows)
    assert np.isfinite(scores).all()
    whole = detector.score_samples(frame(spoilt()))
    assert np.corrcoef(scores[:-10], np.delete(whole, np.arange(400, 410)))[0, 1] > 0.98
    assert len(detector.alarms(rows)) == 1


def test_a_long_gap_takes_no_memory_and_divides_the_series(detector):
    values, times = spoilt(), TIMES.to_series().reset_index(drop=True)
    times[800:] += pd.Timedelta(days=300_00)
    rows = frame(values, times)
    assert np.isfinite(detector.score_samples(rows)).all()
    assert len(detector.alarms(rows)) == 1


def test_rows_without_enough_neighbours_are_not_scored_and_say_so(plain):
    with pytest.warns(UnscoredRowsWarning) as caught:
        scores = plain.score_samples(wave(n=30))
    assert caught[0].message.n_rows == 30
    assert (scores == 0).all()
    holed = wave(n=400)
    holed[100:300] = np.nan
    with pytest.warns(UnscoredRowsWarning):
        scores, p = plain.score_samples(holed), plain.p_values(holed)
    assert (p[150:250] == 1).all()
    assert (scores[150:250] == 0).all()
    assert (scores[:80] < 0).all()


def test_extreme_cells_give_finite_scores(plain):
    values = wave(n=400, seed=5)
    values[200] = 1e38
    scores = -plain.score_samples(values)
    assert np.isfinite(scores).all()
    assert scores.argmax() in range(150, 250)
    assert plain.alarms(values).to_pydict()["peak"] == [200]
    assert np.isfinite(SeriesDetector(window=48).fit(np.r_[wave(), 1e38]).score_samples(wave())).all()


def test_constant_series_flag_what_changes():
    for level in (0.0, 7.3, -1e6):
        detector = SeriesDetector().fit(np.full(500, level))
        new = np.full(300, level)
        assert (detector.predict(new) == 1).all()
        new[150:160] += max(abs(level), 1)
        assert (detector.predict(new)[150:160] == -1).all()


@pytest.mark.parametrize(
    "values", [np.full(960, 7.3), np.sin(np.arange(960) * 2 * np.pi / DAY)], ids=["constant", "periodic"]
)
def test_changes_by_less_than_a_thousandth_of_the_unit_are_no_anomalies(values):
    detector = SeriesDetector(window=DAY).fit(values)
    for change in (1e-15, 1e-9, 1e-4):
        np.testing.assert_allclose(detector.score_samples(values + change), -1, rtol=1e-3)
    changed = values[:240].copy()
    changed[100:110] *= 1.02
    assert len(detector.alarms(changed)) == 1


def test_a_channel_without_a_known_value_has_no_share_in_any_score():
    values, nothing = two(), np.full((N, 1), np.nan)
    detector = SeriesDetector(window=48).fit(np.hstack([values, nothing]))
    later = np.hstack([spoilt(), nothing + 1])
    later[:, 2] = 5.0
    np.testing.assert_array_equal(detector.score_samples(later), detector.score_samples(np.hstack([spoilt(), nothing])))
    why = detector.explain(later)
    assert (why.contributions[:, 2] == 0).all()
    assert np.isnan(why.expected[:, 2]).all()


@pytest.mark.parametrize("weight", [0.0, 0.9])
def test_false_alarms_of_dependent_noise_are_at_most_those_asked(weight):
    shares = []
    for seed in range(25):
        noise = np.random.default_rng(seed).normal(size=1700)
        for i in range(1, len(noise)):
            noise[i] += weight * noise[i - 1]
        p = SeriesDetector(window=25).fit(noise[100:900]).p_values(noise[900:])
        shares.append([(p <= rate).mean() for rate in (0.01, 0.05, 0.2)])
    one, five, twenty = np.mean(shares, axis=0)
    assert one <= 0.015
    assert five <= 0.06
    assert 0.02 < twenty <= 0.22


def test_the_window_is_chosen_from_the_period():
    assert SeriesDetector().fit(wave()).window_ == pytest.approx(5 * DAY, abs=5)
    assert SeriesDetector().fit(np.random.default_rng(0).normal(size=2000)).window_ == 100
    assert SeriesDetector().fit(wave(n=400)).window_ == 50


def test_two_causes_within_a_window_are_two_alarms_and_no_row_is_in_two(plain):
    values = wave(n=400, seed=5)
    values[200:206] += 3
    values[250:254] -= 3
    alarms = plain.alarms(values).to_pydict()
    assert sorted(alarms["start"]) == pytest.approx([200, 250], abs=2)
    assert all(score > 1 for score in alarms["score"])
    loose = clone(plain).set_params(false_alarm_rate=0.9).fit(wave())
    spans = sorted(zip(*(loose.alarms(values).to_pydict()[name] for name in ("start", "end")), strict=True))
    assert all(end < start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_stream_gives_the_scores_of_the_whole_series(detector, plain):
    values = wave(n=500, seed=5)
    values[300:310] += 3
    for sizes in ([1] * 500, [7, 200, 3, 290], [500]):
        stream, found, seen = plain.stream(), [], 0
        for size in sizes:
            found.append(stream.update(values[seen : seen + size]))
            seen += size
            assert sum(len(one.rows) for one in found) == max(0, seen - 47)  # the delay
        found.append(stream.finish())
        rows, scores, p_values, flagged = (np.concatenate(some) for some in zip(*found, strict=True))
        np.testing.assert_array_equal(rows, np.arange(500))
        np.testing.assert_allclose(scores, -plain.score_samples(values), rtol=1e-9)
        np.testing.assert_allclose(p_values, plain.p_values(values), rtol=1e-6)
        np.testing.assert_array_equal(flagged, plain.predict(values) == -1)


def test_a_stream_of_a_table_follows_its_times(detector):
    rows = frame(spoilt()).drop(index=[*range(100, 110), *range(300, 320)]).reset_index(drop=True)
    stream = detector.stream()
    found = [stream.update(rows.iloc[start : start + 90]) for start in range(0, len(rows), 90)]
    found.append(stream.finish())
    scores = np.concatenate([one.scores for one in found])
    np.testing.assert_allclose(scores, -detector.score_samples(rows), rtol=1e-9)
    stream = detector.stream()
    stream.update(rows.iloc[:50])
    for wrong in (rows.iloc[20:60], rows.iloc[50:80][::-1], rows.iloc[50:50], rows.iloc[50:80].assign(at="2030-01-01")):
        with pytest.raises(InvalidData):
            stream.update(wrong)
    again = np.concatenate([stream.update(rows.iloc[50:]).scores, stream.finish().scores])
    np.testing.assert_allclose(again, scores[-len(again) :], rtol=1e-9)


def test_a_stream_begins_anew_after_its_end(detector):
    rows, stream = frame(spoilt()), detector.stream()
    stream.update(rows.iloc[300:400])
    stream.finish()
    found = np.concatenate([stream.update(rows.iloc[:200]).scores, stream.finish().scores])
    np.testing.assert_allclose(found, -detector.score_samples(rows.iloc[:200]), rtol=1e-9)


def test_a_stream_takes_whole_numbers_and_later_decimals(detector):
    rows = frame(spoilt())
    whole = frame(np.round(spoilt())).astype({"heat": int})
    mixed = pd.concat([whole[:100], rows[100:300]])
    stream = detector.stream()
    found = [stream.update(whole[:100]), stream.update(rows[100:300]), stream.finish()]
    np.testing.assert_allclose(np.concatenate([one.scores for one in found]), -detector.score_samples(mixed), rtol=1e-9)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+05:30"])
def test_times_may_be_texts_with_or_without_a_zone(detector, form):
    rows = frame(spoilt())
    np.testing.assert_array_equal(
        detector.score_samples(rows.assign(at=rows["at"].dt.strftime(form))), detector.score_samples(rows)
    )


def test_steps_of_nanoseconds_are_steps():
    found = SeriesDetector(time="at", window=48).fit(frame(two(), pd.to_datetime(np.arange(N) * 100)))
    assert found.step_ == pytest.approx(1e-7)
    np.testing.assert_array_equal(found.calibration_maxima_, SeriesDetector(window=48).fit(two()).calibration_maxima_)


def test_a_saved_detector_gives_the_same_bits(detector, tmp_path):
    detector.save(tmp_path / "run")
    again = diabolo.load(tmp_path / "run")
    rows = frame(spoilt())
    np.testing.assert_array_equal(again.score_samples(rows), detector.score_samples(rows))
    assert again.alarms(rows).equals(detector.alarms(rows))
    assert again.get_params() == detector.get_params()
    assert (again.window_, again.step_, again.offset_) == (detector.window_, detector.step_, detector.offset_)
    assert list(again.feature_names_in_) == ["load", "heat"]
    assert again.n_samples_ == N


def test_files_are_read_with_their_times(detector, tmp_path):
    rows = frame(spoilt()).assign(note=1.0)
    rows.to_csv(tmp_path / "new.csv", index=False)
    with pytest.warns(UnseenColumnsWarning, match="note"):
        scores = detector.score_samples(tmp_path / "new.csv")
    np.testing.assert_allclose(scores, detector.score_samples(frame(spoilt())))
    np.save(tmp_path / "plain.npy", two())
    assert SeriesDetector(window=48).fit(tmp_path / "plain.npy").n_features_in_ == 2


def test_a_network_is_a_third_term(tmp_path):
    network = BasicAutoencoder(n_latent=4, max_epochs=1, validation_fraction=None)
    detector = SeriesDetector(network, window=24, random_state=0).fit(wave(n=800))
    assert len(detector.series_model_.scorer.terms(wave(n=100)[:, None])) == 3
    new = wave(n=400, seed=5)
    new[200:206] += 2
    assert len(detector.alarms(new)) == 1
    detector.save(tmp_path / "run")
    np.testing.assert_array_equal(diabolo.load(tmp_path / "run").score_samples(new), detector.score_samples(new))


def test_two_fits_are_equal_and_a_failed_fit_keeps_the_former(plain):
    again = clone(plain).fit(wave())
    before = plain.score_samples(spoilt()[:, 0])
    np.testing.assert_array_equal(again.score_samples(spoilt()[:, 0]), before)
    with pytest.raises(InvalidData):
        again.fit(wave(n=60))
    np.testing.assert_array_equal(again.score_samples(spoilt()[:, 0]), before)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (np.zeros((0, 1)), InvalidData),
        (np.zeros((50, 2, 2, 2)), InvalidData),
        (wave(n=100), InvalidData),
        (np.full(500, np.nan), InvalidData),
        (np.r_[wave(), np.inf], InvalidData),
        (np.array(["a", "b"] * 300), InvalidType),
        ([wave(), two()], InvalidData),
        (frame(two()), InvalidData),  # a column of times that is not named
        ("no such file.csv", InvalidData),
        (object(), InvalidType),
    ],
)
def test_unusable_rows_are_refused(rows, error):
    with pytest.raises(error):
        SeriesDetector(window=48).fit(rows)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda f: f.drop(columns="at"), "at"),
        (lambda f: f.drop(columns="heat"), "heat"),
        (lambda f: f.assign(at=[None, *TIMES[1:]]), "1"),
        (lambda f: f.assign(at="noon"), "at"),
        (lambda f: f.assign(heat="warm"), "heat"),
        (lambda f: f.assign(heat=[np.inf, *f.heat[1:]]), "heat"),
        (lambda f: f.to_numpy()[:, 1:].astype(float), "time"),
    ],
)
def test_tables_that_do_not_fit_are_refused(detector, change, match):
    with pytest.raises(InvalidData, match=match):
        detector.score_samples(change(frame(two())))


def test_all_rows_at_one_time_are_refused():
    with pytest.raises(InvalidData):
        SeriesDetector(time="at").fit(frame(two()).assign(at=TIMES[0]))


@pytest.mark.parametrize(
    "parameters", [{"window": 3}, {"window": "long"}, {"false_alarm_rate": 0}, {"estimator": "linear"}, {"time": 3}]
)
def test_parameters_out_of_range_are_refused(parameters):
    with pytest.raises(InvalidParameter):
        SeriesDetector(**parameters).fit(wave())
