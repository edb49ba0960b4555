"""Ctrl-C while an estimator is fitted: what it learned so far is kept, a former fit as well, never a mixture."""

import os
import signal
import threading

import numpy as np
import pytest
from sklearn.base import clone

import diabolo
from diabolo.engine import trainer, vmap_trainer
from diabolo.errors import TrainingInterrupted

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals reach the main thread only"
)
LONG = {"max_epochs": 300, "random_state": 0}
ONES = {
    "variational": diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(4,), **LONG),
    "stacked": diabolo.StackedAutoencoder(n_latent=2, hidden_layer_sizes=(4,), **LONG),
    "sparse": diabolo.SparseAutoencoder(n_hidden=8, **LONG),
    "classifier": diabolo.AutoencoderClassifier(diabolo.BasicAutoencoder(n_latent=2), **LONG),
}
OWN = diabolo.BasicAutoencoder(n_latent=2, init="random", max_epochs=300)
ENSEMBLES = {
    "detector": diabolo.AnomalyDetector(OWN, random_state=0, false_alarm_rate=0.2),
    "imputer": diabolo.AutoencoderImputer(OWN, random_state=0),
    "generator": diabolo.AutoencoderGenerator(clone(ONES["variational"]).set_params(random_state=None), random_state=0),
}


@pytest.fixture
def interrupted(monkeypatch):
    """Send this process Ctrl-C's signal after so many calls of the compiled program, each of few epochs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores the signal

    def after(n_calls):
        monkeypatch.setattr(trainer, "epochs_within", lambda seconds, n: 3)
        monkeypatch.setattr(vmap_trainer, "epochs_within", lambda seconds, n: 3)
        count = []
        for cls, real in REAL.items():

            def run_epochs(self, real=real):
                found = real(self)
                count.append(self)
                if len(count) == n_calls:
                    os.kill(os.getpid(), signal.SIGINT)
                return found

            monkeypatch.setattr(cls, "run_epochs", run_epochs)

    yield after
    signal.signal(signal.SIGINT, before)


REAL = {cls: cls.run_epochs for cls in (trainer.Trainer, vmap_trainer.VmappedTrainer)}


def fit(estimator, rows):
    if isinstance(estimator, diabolo.AutoencoderClassifier):
        return estimator.fit(rows, (rows[:, 0] > np.median(rows[:, 0])).astype(int))
    return estimator.fit(rows)


def answers(estimator, rows):
    """What a fitted estimator says of rows."""
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(rows)
    if hasattr(estimator, "score_samples"):
        return estimator.score_samples(rows)
    if hasattr(estimator, "sample"):
        return estimator.sample(20, random_state=0)
    return estimator.transform(np.where(np.eye(*rows.shape, dtype=bool), np.nan, rows))


@pytest.mark.parametrize("name", [*ONES, *ENSEMBLES])
def test_a_first_fit_keeps_the_best_so_far(name, table, interrupted):
    estimator = clone((ONES | ENSEMBLES)[name])
    interrupted(5)
    with pytest.raises(KeyboardInterrupt) as told:
        fit(estimator, table)
    assert isinstance(told.value, TrainingInterrupted)
    assert told.value.result is estimator
    assert np.isfinite(answers(estimator, table)).all()
    if name in ONES:
        assert 0 < estimator.n_epochs_ < 300
        assert len(estimator.history_["loss"]) == estimator.n_epochs_
        assert estimator.best_epoch_ <= estimator.n_epochs_


@pytest.mark.parametrize("name", [*ONES, *ENSEMBLES])
def test_a_refit_leaves_the_former_model_whole(name, table, interrupted, monkeypatch):
    estimator = fit(clone((ONES | ENSEMBLES)[name]), table)
    before = answers(estimator, table)
    others = table[::-1] * 2000 + 5
    interrupted(5)
    with pytest.raises(TrainingInterrupted) as told:
        fit(estimator, others)
    np.testing.assert_array_equal(answers(estimator, table), before)
    found = told.value.result
    assert found is not estimator
    assert found.get_params(deep=False).keys() == estimator.get_params(deep=False).keys()
    assert np.isfinite(answers(found, others)).all()
    assert found.data_fingerprint_ != estimator.data_fingerprint_


@pytest.mark.parametrize("name", ["variational", "detector"])
def test_before_the_first_epoch_nothing_is_kept(name, table, monkeypatch):
    def run_epochs(self):
        raise KeyboardInterrupt

    for cls in REAL:
        monkeypatch.setattr(cls, "run_epochs", run_epochs)
    estimator = clone((ONES | ENSEMBLES)[name])
    with pytest.raises(KeyboardInterrupt) as told:
        fit(estimator, table)
    assert not isinstance(told.value, TrainingInterrupted)
    assert not hasattr(estimator, "input_")


def test_what_is_kept_is_what_so_many_epochs_give(table, interrupted):
    """The interrupted training is, to the bit, one that a callback stops after the same epoch."""
    estimator = clone(ONES["variational"])
    interrupted(4)
    with pytest.raises(TrainingInterrupted):
        estimator.fit(table)
    n = estimator.n_epochs_
    stopped = clone(estimator).fit(table, callback=lambda epoch, record: epoch == n)
    np.testing.assert_array_equal(estimator.transform(table), stopped.transform(table))
    assert estimator.history_ == stopped.history_


def test_a_sweep_gives_what_was_trained(table, interrupted):
    grid = {"learning_rate": [0.001, 0.01], "n_latent": [1, 2]}
    interrupted(3)
    with pytest.raises(TrainingInterrupted) as told:
        diabolo.sweep(clone(ONES["stacked"]), grid, table)
    found = told.value.result
    trained = [hasattr(one, "model_") for one in found.estimators_]
    assert any(trained)
    assert not all(trained)
    assert [("error" not in row) for row in found.table] == trained
    assert hasattr(found.best_estimator_, "model_")


def test_a_training_with_checkpoints_resumes_after_ctrl_c(table, interrupted, monkeypatch, tmp_path):
    estimator = clone(ONES["stacked"]).set_params(max_epochs=30)
    interrupted(3)
    with pytest.raises(TrainingInterrupted):
        estimator.fit(table, checkpoint_dir=tmp_path)
    monkeypatch.undo()
    again = clone(estimator).fit(table, checkpoint_dir=tmp_path, resume=True)
    np.testing.assert_array_equal(again.transform(table), clone(estimator).fit(table).transform(table))
