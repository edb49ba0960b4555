"""Cells that a likelihood cannot have produced: density 0, an anomaly, or refused; never a plausible number."""

import numpy as np
import pytest

import diabolo
from diabolo.errors import InvalidData

RNG = np.random.default_rng(0)
ROWS = {
    "bernoulli": (RNG.random((200, 5)) < 0.4).astype(float),
    "count": RNG.poisson(4, (200, 5)).astype(float),
}
OUTSIDE = {"bernoulli": (2.0, -1.0, 1.01), "count": (-1.0, 2.5, -7.0)}
SMALL = {"n_latent": 2, "max_epochs": 0, "random_state": 0}
ESTIMATORS = (diabolo.VariationalAutoencoder, diabolo.StackedAutoencoder, diabolo.BasicAutoencoder)


def cases():
    """Those whose methods are those of `BasicAutoencoder` only with `-m large`."""
    for cls in ESTIMATORS:
        marks = [pytest.mark.large] if cls is diabolo.StackedAutoencoder else []
        yield from (pytest.param(cls, likelihood, marks=marks) for likelihood in ROWS)


def spoilt(likelihood, value):
    rows = ROWS[likelihood][:6].copy()
    rows[3, 2] = value
    return rows


@pytest.mark.parametrize(("cls", "likelihood"), list(cases()))
def test_the_density_of_a_row_outside_the_support_is_0_and_others_do_not_change(cls, likelihood):
    model = cls(likelihood=likelihood, **SMALL).fit(ROWS[likelihood])
    sound = model.score_samples(ROWS[likelihood][:6])
    for value in OUTSIDE[likelihood]:
        found = model.score_samples(spoilt(likelihood, value))
        assert found[3] == -np.inf
        np.testing.assert_array_equal(np.delete(found, 3), np.delete(sound, 3))
        for ask in (model.transform, model.reconstruct):
            with pytest.raises(InvalidData, match=r"Column 2.*row 4"):
                ask(spoilt(likelihood, value))


@pytest.mark.parametrize("likelihood", ROWS)
def test_a_detector_flags_such_a_row_with_a_finite_score(likelihood):
    network = diabolo.BasicAutoencoder(likelihood=likelihood, **SMALL)
    detector = diabolo.AnomalyDetector(estimator=network, random_state=0).fit(ROWS[likelihood])
    for value in OUTSIDE[likelihood]:
        rows = spoilt(likelihood, value)
        scores = detector.score_samples(rows)
        assert np.isfinite(scores).all()
        assert scores.argmin() == 3
        assert detector.predict(rows)[3] == -1
        assert detector.p_values(rows)[3] <= detector.false_alarm_rate


def test_an_importance_weighted_bound_is_minus_infinity_there():
    model = diabolo.VariationalAutoencoder(likelihood="count", **SMALL).fit(ROWS["count"])
    rows = spoilt("count", -1.0)
    assert model.elbo(rows)[3] == -np.inf
    assert np.isfinite(np.delete(model.elbo(rows), 3)).all()


def test_a_missing_cell_is_not_outside():
    rows = ROWS["count"].copy()
    rows[::7, 2] = np.nan
    model = diabolo.BasicAutoencoder(likelihood="count", **SMALL).fit(rows)
    assert np.isfinite(model.reconstruct(rows)).all()
    assert np.isfinite(model.score_samples(rows)).all()
    assert np.isfinite(model.impute(rows)).all()


def test_the_row_is_counted_in_the_whole_table(monkeypatch, tmp_path):
    model = diabolo.BasicAutoencoder(likelihood="bernoulli", **SMALL).fit(ROWS["bernoulli"])
    rows = np.tile(ROWS["bernoulli"], (3, 1))
    rows[555, 2] = 2.0
    np.save(tmp_path / "rows.npy", rows)
    for what in ("CHUNK_BYTES", "BLOCK_BYTES"):
        monkeypatch.setattr(f"diabolo.data.blocks.{what}", 1 << 9)
    for where in (rows, str(tmp_path / "rows.npy")):
        with pytest.raises(InvalidData, match=r"\b556\b"):
            model.reconstruct(where)


def test_a_row_too_far_for_32_bits_is_counted_in_the_whole_table(monkeypatch, tmp_path):
    normal = RNG.normal(size=(200, 5))
    model = diabolo.BasicAutoencoder(**SMALL).fit(normal)
    rows = np.tile(normal, (3, 1))
    rows[555, 2] = 1e37
    np.save(tmp_path / "rows.npy", rows)
    for what in ("CHUNK_BYTES", "BLOCK_BYTES"):
        monkeypatch.setattr(f"diabolo.data.blocks.{what}", 1 << 9)
    for where in (rows, str(tmp_path / "rows.npy")):
        with pytest.raises(InvalidData, match=r"\b556\b"):
            model.score_samples(where)
