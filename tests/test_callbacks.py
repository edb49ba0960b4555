"""Watching a training: who asks is told of every epoch, and TensorBoard's files hold what the history does."""

import struct
import sys

import numpy as np
import pytest
from sklearn.base import clone

import diabolo
from diabolo.callbacks import TensorBoard
from diabolo.engine import trainer
from diabolo.errors import NoImprovementWarning, PosteriorCollapseWarning, RetriedWarning, TrainingDiverged, UsageError

WARMING = diabolo.VariationalAutoencoder(
    n_latent=2, hidden_layer_sizes=(4,), beta=diabolo.parts.LinearWarmup(3), max_epochs=5, random_state=0
)
X = np.random.default_rng(0).normal(size=(120, 5))


def events(folder):
    """The scalars of TensorBoard's files, by tag: a list of (step, value)."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for file in sorted(folder.glob("events*")):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda: diabolo.BasicAutoencoder(n_latent=2, max_epochs=7, random_state=0),
        lambda: clone(WARMING).set_params(max_epochs=7),
        lambda: diabolo.StackedAutoencoder(
            n_latent=2, hidden_layer_sizes=(4,), pretrain="layerwise", max_epochs=4, random_state=0
        ),
    ],
)
def test_a_callback_is_told_of_each_epoch_once_and_changes_nothing(make):
    told = []
    model = make().fit(X, callback=lambda *some: told.append(some))
    assert [epoch for epoch, _ in told] == list(range(1, model.n_epochs_ + 1))
    for name, values in model.history_.items():
        assert [record[name] for _, record in told] == values
    alone = make().fit(X)
    np.testing.assert_array_equal(model.transform(X), alone.transform(X))


def test_labels_training_is_watched_too():
    told = []
    y = (X[:, 0] > 0).astype(int)
    diabolo.AutoencoderClassifier(diabolo.BasicAutoencoder(n_latent=2, max_epochs=2), max_epochs=3, random_state=0).fit(
        X, y, callback=lambda epoch, record: told.append(epoch)
    )
    assert told == [1, 2, 3]


def test_what_a_callback_raises_ends_the_training():
    def stop(epoch, record):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        diabolo.BasicAutoencoder(n_latent=2, max_epochs=3, random_state=0).fit(X, callback=stop)


SYSTEMS = [
    lambda **more: diabolo.StackedAutoencoder(n_latent=2, hidden_layer_sizes=(4,), random_state=0, **more),
    lambda **more: diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(4,), random_state=0, **more),
    lambda **more: diabolo.BasicAutoencoder(n_latent=2, init="random", random_state=0, **more),
]


@pytest.mark.parametrize("make", SYSTEMS)
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("a_call", [1, 4, 50], ids=lambda n: f"{n} epochs a call")
def test_a_callback_stops_the_training_after_its_epoch(make, n, a_call, monkeypatch):
    monkeypatch.setattr(trainer, "epochs_within", lambda seconds, n_run: a_call)
    told = []

    def stop(epoch, record):
        told.append(epoch)
        return epoch == n

    model = make(max_epochs=60).fit(X, callback=stop)
    assert told == list(range(1, n + 1))
    assert (model.n_epochs_, len(model.history_["loss"])) == (n, n)
    assert model.best_epoch_ <= n
    monkeypatch.setattr(trainer, "epochs_within", lambda seconds, n_run: 1)
    one_by_one = make(max_epochs=60).fit(X, callback=lambda epoch, record: epoch == n)
    np.testing.assert_array_equal(model.transform(X), one_by_one.transform(X))


def test_only_true_stops():
    for answer in (None, 1, "stop", False, np.False_):
        assert SYSTEMS[0](max_epochs=3).fit(X, callback=lambda *_, answer=answer: answer).n_epochs_ == 3
    assert SYSTEMS[0](max_epochs=3).fit(X, callback=lambda *_: np.bool_(True)).n_epochs_ == 1


@pytest.mark.parametrize("make", [SYSTEMS[0], pytest.param(SYSTEMS[1], marks=pytest.mark.large), SYSTEMS[2]])
def test_a_callback_sees_the_model_after_each_epoch(make):
    seen = []
    last = make(max_epochs=6, validation_fraction=None).fit(
        X, callback=lambda epoch, record, model: seen.append((epoch, record, model))
    )
    plain = make(max_epochs=6, validation_fraction=None).fit(X)
    np.testing.assert_array_equal(last.transform(X), plain.transform(X))
    for epoch, record, model in seen:
        assert model.n_epochs_ == epoch
        assert {name: values[-1] for name, values in model.history_.items()} == record
        assert np.isfinite(model.score(X))
    assert len({model.score(X) for _, _, model in seen}) == 6
    np.testing.assert_array_equal(seen[-1][2].transform(X), last.transform(X))


def test_a_callback_sees_a_classifier_and_stops_it():
    scores = []

    def enough(epoch, record, model):
        scores.append(model.score(X, y))
        return epoch == 3

    y = (X[:, 0] > 0).astype(int)
    basic = diabolo.BasicAutoencoder(n_latent=2, max_epochs=2)
    model = diabolo.AutoencoderClassifier(basic, max_epochs=9, random_state=0).fit(X, y, callback=enough)
    assert (len(scores), model.n_epochs_) == (3, 3)


def test_a_stopped_training_is_not_resumed(tmp_path):
    basic = SYSTEMS[0](max_epochs=20)
    stopped = clone(basic).fit(X, checkpoint_dir=tmp_path, callback=lambda epoch, record: epoch == 4)
    again = clone(basic).fit(X, checkpoint_dir=tmp_path, resume=True)
    assert again.n_epochs_ == 4
    np.testing.assert_array_equal(again.transform(X), stopped.transform(X))


def test_tensorboard_holds_what_the_history_does(tmp_path):
    with TensorBoard(tmp_path) as log:
        model = clone(WARMING).fit(X, callback=log)
    training, held_out = events(tmp_path / "training"), events(tmp_path / "held-out")
    for name, values in model.history_.items():
        where = held_out if name.startswith("validation_") else training
        found = where[name.removeprefix("validation_")]
        assert [step for step, _ in found] == [1, 2, 3, 4, 5]
        np.testing.assert_allclose([value for _, value in found], values, rtol=1e-6)


def test_without_the_extra_one_is_told_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UsageError, match="tensorboard"):
        TensorBoard(tmp_path)


# -- what did not go well ---------------------------------------------------------------------------------------------


def test_a_retry_is_asked_for_and_told_and_is_a_training_at_that_rate():
    steep = diabolo.BasicAutoencoder(
        n_latent=2, max_epochs=5, learning_rate=30.0, learning_rate_schedule="constant", optimizer="sgd", random_state=0
    )
    with pytest.raises(TrainingDiverged):
        steep.fit(X)
    with pytest.warns(RetriedWarning) as told:
        found = clone(steep).set_params(retries=8).fit(X)
    n = len([warning for warning in told if warning.category is RetriedWarning])
    assert 1 <= n <= 8
    assert f"learning_rate={30 / 3**n:.3g}" in str(told[n - 1].message)
    alone = clone(steep).set_params(learning_rate=30 / 3**n).fit(X)
    np.testing.assert_array_equal(found.transform(X), alone.transform(X))


def test_retries_that_do_not_suffice_end_in_the_error():
    steep = diabolo.BasicAutoencoder(
        n_latent=2, max_epochs=5, learning_rate=1e9, learning_rate_schedule="constant", optimizer="sgd", retries=1
    )
    with pytest.warns(RetriedWarning), pytest.raises(TrainingDiverged):
        steep.fit(X)


def test_a_collapsed_posterior_is_warned_of():
    with pytest.warns(PosteriorCollapseWarning):
        SYSTEMS[1](beta=1e4, init="random", max_epochs=1000).fit(X)


def test_a_training_that_brought_nothing_is_warned_of():
    basic = diabolo.BasicAutoencoder(n_latent=2, init="random", learning_rate=1e-12, max_epochs=1000, random_state=0)
    with pytest.warns(NoImprovementWarning):
        basic.fit(X)


def test_a_short_training_is_not_judged():
    diabolo.BasicAutoencoder(n_latent=2, learning_rate=1e-12, max_epochs=20, random_state=0).fit(X)


def test_the_command_logs_and_gives_the_curves_as_a_table(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", X)
    status, _, err = run(
        "fit", "rows.npy", "-m", "basic", "-o", "run", "-s", "max_epochs=4", "--log", "tensorboard", "-q"
    )
    assert status == 0, err
    history = diabolo.load("run").history_
    logged = events(tmp_path / "run.tensorboard" / "training")["loss"]
    np.testing.assert_allclose([value for _, value in logged], history["loss"])
    table = run("info", "run", "--history")[1].splitlines()
    assert table[0] == ",".join(("epoch", *history))
    assert [float(cell) for cell in table[4].split(",")] == [4, *(values[3] for values in history.values())]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("-m", "basic", "--log", "tensorbord"), "tensorboard"),
        (("-m", "anomaly", "--log", "tensorboard"), "anomaly"),
    ],
)
def test_a_log_that_cannot_be_is_refused(arguments, word, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", X)
    status, _, err = run("fit", "rows.npy", "-o", "run", *arguments)
    assert status == 2
    assert word in err
    assert not (tmp_path / "run").exists()
