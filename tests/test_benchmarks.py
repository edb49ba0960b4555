"""The benchmarks of jobs: they read what they say they read, and their tables say what was found."""

import numpy as np
import pytest
from benchmarks import anomaly


@pytest.fixture
def folder(tmp_path):
    """Two sets in ADBench's form, the second of which has no anomaly that anyone could find."""
    rng = np.random.default_rng(0)
    tests = {}
    for number, (name, shift) in enumerate((("far", 9.0), ("near", 0.0)), start=1):
        X, y = rng.normal(size=(220, 3)) * [1, 10, 100], np.repeat([0, 1], [200, 20])
        X[200:] += shift * np.array([1, 10, 100])
        np.savez(tmp_path / f"{number}_{name}.npz", X=X, y=y)
        tests[name] = np.arange(180, 220)
    np.savez(tmp_path / anomaly.SPLIT, **tests)
    np.savez(tmp_path / "3_not_in_the_split.npz", X=X, y=y)
    return tmp_path


def test_the_sets_are_split_and_standardised_by_their_training_rows(folder):
    sets = {name: (train, test, y) for name, train, test, y in anomaly.tables(folder)}
    assert list(sets) == ["far", "near"]
    for train, test, y in sets.values():
        assert (train.shape, test.shape, y.sum()) == ((180, 3), (40, 3), 20)
        np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(train.std(axis=0), 1)


@pytest.mark.parametrize("detector", [anomaly.RIVAL, "isolation forest", "PCA", anomaly.FAST])
def test_every_detector_finds_what_is_far_and_not_what_is_not_there(detector, folder):
    found = anomaly.run_one(detector, folder, 0)
    assert found["auroc"]["far"] > 99
    assert 25 < found["auroc"]["near"] < 75
    assert found["seconds"] > 0


def test_the_report_claims_no_more_than_the_sets_allow():
    sets = {f"set {i}": [90.0 + i % 3] for i in range(12)}
    found = {
        "auroc": {anomaly.OURS: {s: [v[0] + 0.5] for s, v in sets.items()}, anomaly.RIVAL: sets},
        "seconds": {anomaly.OURS: [8.0], anomaly.RIVAL: [1.0], anomaly.TIMED: [16.0]},
        "seconds, programs compiled before": [2.0],
        "ECG5000": [0.99, 0.97],
    }
    found["auroc"][anomaly.TIMED] = sets
    text = anomaly.report(found)
    assert "+0.50 points, 95 % interval +0.50 to +0.50 over sets, better on 12 of 12" in text
    assert "(0.50 of it), 2.0 with compiled programs at hand (0.12)" in text
    assert "ECG5000, AUROC: 0.9800 (0.9900, 0.9700)" in text
    assert text.splitlines()[-1] == "diabolo mean AUROC 91.5"
    rng = np.random.default_rng(0)
    found["auroc"][anomaly.OURS] = {s: [v[0] + rng.normal()] for s, v in sets.items()}
    gap = anomaly.against(found, anomaly.OURS, anomaly.RIVAL)
    assert gap["low"] < 0 < gap["high"]
    assert gap["p"] > 0.05
