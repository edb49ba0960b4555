"""Many channels: an event in one of twenty is found, alarms are as rare as asked, and laws hold for any channels."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import diabolo
from diabolo import SeriesDetector, export_onnx
from diabolo.engine.block_calibration import MaximaTail
from diabolo.errors import UnsupportedOperationError
from diabolo.estimators.series_channels import ChannelTails, scores_of
from helpers import over

WINDOW, CHANNELS, N = 12, 20, 400


def noise(seed, n=N, channels=CHANNELS):
    rng = np.random.default_rng(seed)
    season = np.sin(np.arange(n)[:, None] * 2 * np.pi / 12 + np.linspace(0, 6, channels))
    return season + 0.3 * rng.normal(size=(n, channels))


@pytest.fixture(scope="module")
def detectors():
    return [SeriesDetector(window=WINDOW).fit(noise([seed, 0])) for seed in range(2)]


def test_an_event_in_one_of_twenty_channels_is_found_and_named(detectors):
    for seed, detector in enumerate(detectors):
        rows, channel = noise([seed, 1], 300), 3 + 4 * seed
        rows[200:206, channel] += 1.2  # four standard deviations of the noise, for half a window
        event = slice(200, 206)
        energies = detector.series_model_.energies_of(rows)
        p_of_mean = detector.series_model_.rarities.tails[0].p_values(scores_of(energies)[event])
        assert p_of_mean.min() > 0.01  # the mean over channels does not see it
        assert detector.p_values(rows)[event].min() <= 0.01
        assert detector.explain(rows).contributions[203].argmax() == channel
        assert set(detector.alarms(rows).to_pydict()["channel"]) == {channel}


def test_a_small_event_in_all_channels_is_found_as_well(detectors):
    for seed, detector in enumerate(detectors):
        rows = noise([seed, 1], 300)
        rows[200:206] += 0.6 * np.random.default_rng(seed).choice([-1, 1], CHANNELS)
        assert detector.p_values(rows)[200:206].min() <= 0.01


def test_false_alarms_of_many_channels_are_at_most_those_asked(detectors):
    p = np.concatenate([one.p_values(noise([seed, 3], 1200)) for seed, one in enumerate(detectors)])
    assert (p <= 0.01).mean() <= 0.01
    assert (p <= 0.05).mean() <= 0.05


def test_scores_do_not_depend_on_the_order_of_channels():
    order = np.random.default_rng(0).permutation(5)
    fit, new = noise(0, 300, 5), noise(1, 200, 5)
    new[100:104, 2] += 2
    one, other = SeriesDetector(window=8).fit(fit), SeriesDetector(window=8).fit(fit[:, order])
    np.testing.assert_allclose(other.score_samples(new[:, order]), one.score_samples(new), rtol=1e-6)
    shares = one.explain(new).contributions
    np.testing.assert_allclose(other.explain(new[:, order]).contributions, shares[:, order], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(shares.sum(axis=1), -one.score_samples(new))
    assert (
        order[other.alarms(new[:, order]).to_pydict()["channel"][0]] == one.alarms(new).to_pydict()["channel"][0] == 2
    )


def test_many_channels_stream_and_are_saved_to_the_bit(detectors, tmp_path):
    rows = noise(9, 200)
    rows[80:90, 4] = np.nan
    scores = -detectors[0].score_samples(rows)
    stream = detectors[0].stream()
    found = [stream.update(rows[i : i + 37]).scores for i in range(0, 200, 37)]
    np.testing.assert_allclose(np.concatenate([*found, stream.finish().scores]), scores, rtol=1e-9)
    detectors[0].save(tmp_path / "run")
    again = diabolo.load(tmp_path / "run")
    np.testing.assert_array_equal(-again.score_samples(rows), scores)
    np.testing.assert_array_equal(again.explain(rows).contributions, detectors[0].explain(rows).contributions)
    assert again.offset_ == detectors[0].offset_
    several = detectors[0].score_samples([rows, noise(8, 150)])
    np.testing.assert_array_equal(-several[:200], scores)
    frame = pd.DataFrame(rows, columns=[f"c{i}" for i in range(CHANNELS)])
    np.testing.assert_array_equal(-detectors[0].score_samples(frame.to_numpy()), scores)


def test_a_channel_without_values_changes_nothing_for_the_others():
    fit, new = noise(0, 300, 3), noise(1, 200, 3)
    fit[:, 1] = new[:, 1] = np.nan
    new[100:104, 2] += 2
    detector = SeriesDetector(window=8).fit(fit)
    assert set(detector.alarms(new).to_pydict()["channel"]) == {2}
    assert (detector.explain(new).contributions[:, 1] == 0).all()


def test_the_combination_is_the_harmonic_mean_of_p_values():
    rng = np.random.default_rng(0)
    tails, _ = ChannelTails.of([rng.gamma(9, size=(400, 3)) / 9], 10)
    energies = rng.gamma(9, size=(50, 3)) / 9
    energies[:, 1] *= np.geomspace(1, 30, 50)
    excess = (np.log(energies) / 2 - tails.unit[0]) / tails.unit[1]
    p = [tails.tails[0].p_values(scores_of(energies)), tails.tails[1].p_values(np.exp(excess).mean(axis=1))]
    combined = 1 / (0.5 / p[0] + 0.5 / p[1])
    scores = tails.scores(energies)
    is_raised = (combined < tails.tails[0].start) & (combined < p[0])
    assert is_raised[-10:].any()
    np.testing.assert_allclose(tails.tails[0].p_values(scores[is_raised]), combined[is_raised], rtol=1e-6)
    np.testing.assert_array_equal(scores[~is_raised], scores_of(energies)[~is_raised])
    alone, (held_out,) = ChannelTails.of([energies[:, :1]], 10)
    np.testing.assert_array_equal(held_out, scores_of(energies[:, :1]))
    np.testing.assert_array_equal(alone.scores(energies[:, :1]), scores_of(energies[:, :1]))


def test_scores_of_p_values_are_the_inverse_of_the_tail():
    tail = MaximaTail(np.sort(np.random.default_rng(0).gamma(5, size=40)), np.array([9.0, 10.0, 12.0]))
    p = np.geomspace(1e-8, tail.start * 0.99, 20)
    np.testing.assert_allclose(tail.p_values(tail.scores(p)), p, rtol=1e-9)


@over("name", ["SeriesDetector", "AutoencoderGenerator"])
def test_what_has_no_onnx_file_says_what_to_do(name, tmp_path):
    pytest.importorskip("onnxruntime")
    estimator = {
        "SeriesDetector": lambda: SeriesDetector(window=4).fit(noise(0, 60, 1)),
        "AutoencoderGenerator": lambda: diabolo.AutoencoderGenerator(
            diabolo.VariationalAutoencoder(n_latent=1, max_epochs=1)
        ).fit(noise(0, 60, 2)),
    }[name]()
    for rows in (None, noise(0, 60, estimator.n_features_in_)):
        with pytest.raises(UnsupportedOperationError, match=name):
            export_onnx(estimator, tmp_path / "files", rows)
    assert not (tmp_path / "files").exists()


_TOO_FEW = "the rows of this check are fewer than six windows of four steps"
_IN_ORDER = "the score of a row depends on the rows around it"
_FAILING = dict.fromkeys(
    (
        "check_estimators_overwrite_params",
        "check_dont_overwrite_parameters",
        "check_estimators_fit_returns_self",
        "check_readonly_memmap_input",
        "check_estimators_dtypes",
        "check_f_contiguous_array_estimator",
        "check_classifier_data_not_an_array",
        "check_fit2d_1sample",
        "check_fit2d_1feature",
        "check_dict_unchanged",
    ),
    _TOO_FEW,
) | dict.fromkeys(
    (
        "check_outliers_fit_predict",
        "check_outliers_train",
        "check_methods_sample_order_invariance",
        "check_methods_subset_invariance",
    ),
    _IN_ORDER,
)


@parametrize_with_checks([SeriesDetector(window=4)], expected_failed_checks=lambda _: _FAILING)
def test_scikit_learns_own_checks_pass_if_rows_are_enough(estimator, check):
    check(estimator)


def test_series_of_lists_and_of_three_dimensions_are_the_same():
    each = [noise(seed, 80, 2) for seed in range(3)]
    as_list, as_array = SeriesDetector(window=6).fit(each), SeriesDetector(window=6).fit(np.stack(each))
    np.testing.assert_array_equal(as_list.score_samples(each), as_array.score_samples(np.stack(each)))
    for one, other in itertools.pairwise(each):
        alone = as_list.score_samples(one)
        np.testing.assert_array_equal(as_list.score_samples([one, other])[:80], alone)
