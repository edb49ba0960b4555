"""Trainings that are stopped and go on: to the bit, whatever stopped them and whatever became of a file."""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import clone

from diabolo import load
from diabolo.engine.checkpoints import Checkpoints
from diabolo.engine.trainer import TrainState
from diabolo.errors import CheckpointError, DamagedCheckpointWarning
from diabolo.persistence import files as artifact
from helpers import (
    DEEP,
    PROCESSES,
    VAE,
    same_bits,
    stop_after,
    stop_and_go_on,
    stopped,
    train_slowly,
    train_until_the_disk_is_full,
)


@pytest.fixture(scope="module")
def unbroken(table):
    return {"vae": clone(VAE).fit(table), "deep": clone(DEEP).fit(table)}


# -- to the bit -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_stretches", [0, 1, 7, 25])
def test_a_stopped_training_ends_as_if_it_had_not_been(table, unbroken, tmp_path, n_stretches):
    assert same_bits(stop_and_go_on(VAE, table, tmp_path / "kept", n_stretches), unbroken["vae"])


@pytest.mark.parametrize("n_stretches", [3, 9, 20])
def test_so_does_one_that_is_stopped_while_layers_are_pre_trained(table, unbroken, tmp_path, n_stretches):
    outcome = stop_and_go_on(DEEP, table, tmp_path / "kept", n_stretches)
    assert same_bits(outcome, unbroken["deep"])
    assert outcome.pretrain_history_ == unbroken["deep"].pretrain_history_


def test_keeping_changes_nothing(table, unbroken, tmp_path):
    assert same_bits(clone(VAE).fit(table, checkpoint_dir=tmp_path, checkpoint_every=0), unbroken["vae"])


def test_a_finished_training_is_not_run_again(table, unbroken, tmp_path, monkeypatch):
    clone(VAE).fit(table, checkpoint_dir=tmp_path)
    stop_after(monkeypatch, 0)
    assert same_bits(clone(VAE).fit(table, checkpoint_dir=tmp_path, resume=True), unbroken["vae"])


def test_resuming_from_nothing_starts_afresh(table, unbroken, tmp_path):
    assert same_bits(clone(VAE).fit(table, checkpoint_dir=tmp_path / "new" / "deep", resume=True), unbroken["vae"])


def test_without_a_seed_the_kept_one_is_gone_on_with(table, tmp_path):
    outcome = stop_and_go_on(clone(VAE).set_params(random_state=None), table, tmp_path, 5)
    assert Checkpoints(tmp_path).identity()["seed"] == outcome.seed_


# -- damage -----------------------------------------------------------------------------------------------------------


def truncated(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file):
    content = bytearray(file.read_bytes())
    at = random.Random(0).randrange(len(content))
    content[at] ^= 1 << 3
    file.write_bytes(content)


def emptied(file):
    file.write_bytes(b"")


def two_kept(table, folder):
    stopped(VAE, table, folder, 9)
    return sorted(folder.glob("*.checkpoint"))


@pytest.mark.parametrize("damage", [truncated, flipped, emptied])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(table, unbroken, tmp_path, damage):
    _, newer = two_kept(table, tmp_path)
    damage(newer)
    with pytest.warns(DamagedCheckpointWarning, match=newer.name):
        outcome = clone(VAE).fit(table, checkpoint_dir=tmp_path, resume=True)
    assert same_bits(outcome, unbroken["vae"])


def test_a_missing_checkpoint_falls_back_to_the_one_before(table, unbroken, tmp_path):
    _, newer = two_kept(table, tmp_path)
    newer.unlink()
    assert same_bits(clone(VAE).fit(table, checkpoint_dir=tmp_path, resume=True), unbroken["vae"])


def test_every_flipped_bit_is_noticed(tmp_path):
    state = TrainState({"w": np.arange(3, dtype=np.float32)}, epoch=2, history={"loss": [1.0]})
    with Checkpoints(tmp_path) as kept:
        kept.write("training", state)
        (file,) = tmp_path.glob("*.checkpoint")
        content = file.read_bytes()
        for at in range(len(content)):
            file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(CheckpointError):
                kept.read("training", state.carry)


def test_nothing_readable_is_said_and_nothing_is_removed(table, tmp_path):
    files = two_kept(table, tmp_path)
    for file in files:
        truncated(file)
    with pytest.raises(CheckpointError):
        clone(VAE).fit(table, checkpoint_dir=tmp_path, resume=True)
    assert sorted(tmp_path.glob("*.checkpoint")) == files


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 0.01}, "learning_rate"),
        ({"n_latent": 1, "max_epochs": 50}, "max_epochs.*n_latent"),
        ({"random_state": 7}, "seed"),
    ],
)
def test_other_parameters_are_named(table, tmp_path, change, named):
    two_kept(table, tmp_path)
    with pytest.raises(CheckpointError, match=named):
        clone(VAE).set_params(**change).fit(table, checkpoint_dir=tmp_path, resume=True)


def test_other_data_is_named(table, tmp_path):
    two_kept(table, tmp_path)
    with pytest.raises(CheckpointError, match="columns"):
        clone(VAE).fit(table[:, :5], checkpoint_dir=tmp_path, resume=True)


def test_another_version_is_named(table, tmp_path, monkeypatch):
    two_kept(table, tmp_path)
    versions = artifact.versions()
    monkeypatch.setattr(artifact, "versions", lambda: versions | {"jax": "9.9"})
    with pytest.raises(CheckpointError, match="jax"):
        clone(VAE).fit(table, checkpoint_dir=tmp_path, resume=True)


def test_an_older_training_is_not_overwritten(table, tmp_path):
    files = two_kept(table, tmp_path)
    with pytest.raises(CheckpointError, match="resume"):
        clone(VAE).fit(table, checkpoint_dir=tmp_path)
    assert sorted(tmp_path.glob("*.checkpoint")) == files


def test_the_second_training_into_a_folder_is_refused(table, tmp_path):
    with Checkpoints(tmp_path), pytest.raises(CheckpointError):
        clone(VAE).fit(table, checkpoint_dir=tmp_path)
    clone(VAE).fit(table, checkpoint_dir=tmp_path)


def test_a_folder_that_cannot_be_made_is_said(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError):
        clone(VAE).fit(table, checkpoint_dir=tmp_path / "file" / "folder")


# -- other processes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [5, pytest.param(20, marks=pytest.mark.large)])
def test_killed_at_random_moments_it_ends_to_the_bit(times, table, unbroken, tmp_path):
    chance = random.Random(times)
    arguments = (table, tmp_path / "kept", tmp_path / "model")
    for _ in range(times):
        begun = PROCESSES.Event()
        process = PROCESSES.Process(target=train_slowly, args=(*arguments, begun))
        process.start()
        assert begun.wait(120)
        time.sleep(chance.uniform(0, 0.08))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=train_slowly, args=(*arguments, begun))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert same_bits(load(tmp_path / "model"), unbroken["vae"])
    assert not list((tmp_path / "kept").glob("*.part"))


def test_a_full_disk_is_an_error_and_the_old_checkpoint_is_whole(table, unbroken, tmp_path):
    said = PROCESSES.SimpleQueue()
    process = PROCESSES.Process(target=train_until_the_disk_is_full, args=(table, tmp_path / "kept", said))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    message = said.get()
    assert str(tmp_path / "kept") in message
    assert "resume" in message
    assert len(list((tmp_path / "kept").glob("*.checkpoint"))) == 2
    assert not list((tmp_path / "kept").glob("*.part"))
    assert same_bits(clone(VAE).fit(table, checkpoint_dir=tmp_path / "kept", resume=True), unbroken["vae"])


# -- the command ------------------------------------------------------------------------------------------------------


def command(tmp_path, *more):
    settings = ["max_epochs=100000", "batch_size=16", "hidden_layer_sizes=[4]"]
    options = [text for setting in settings for text in ("--set", setting)]
    return [
        *(sys.executable, "-m", "diabolo", "fit", str(tmp_path / "rows.npy"), "-m", "stacked"),
        *("-o", str(tmp_path / "run"), *options, *more),
    ]


@pytest.fixture
def heeds_interrupts():
    """A job in the background has SIGINT ignored, and so would everything that the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("heeds_interrupts")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_command_keeps_its_state_when_it_is_stopped_and_goes_on(table, tmp_path, run, number, status):
    np.save(tmp_path / "rows.npy", table)
    process = subprocess.Popen(command(tmp_path, "--checkpoint-every", "0.01"), stderr=subprocess.PIPE, text=True)
    folder, deadline = tmp_path / "run.partial", time.monotonic() + 120
    while not list(folder.glob("*.checkpoint")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == status
    (line,) = said.strip().splitlines()
    assert str(folder) in line
    assert "--resume" in line
    assert not (tmp_path / "run").exists()

    for more, named in (((), "--resume"), (("--resume", "--set", "n_latent=3"), "n_latent")):
        again, _, err = run(*command(tmp_path, *more)[3:])
        assert again == 2
        assert named in err


@pytest.mark.slow
def test_the_command_goes_on_to_the_same_model(table, tmp_path, run):
    np.save(tmp_path / "rows.npy", table)
    short = ["--set", "max_epochs=2000", "--checkpoint-every", "0.01"]
    process = subprocess.Popen(command(tmp_path, *short), stderr=subprocess.DEVNULL)
    folder, whole = tmp_path / "run.partial", tmp_path / "whole"
    while process.poll() is None and not list(folder.glob("*.checkpoint")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() in (0, 143)
    again = [command(tmp_path, *short, "--resume", "-q")] if process.returncode else []
    for words in (*again, [*command(tmp_path, *short, "-q"), "-o", str(whole)]):
        status, _, err = run(*words[3:])
        assert status == 0, err
    assert not folder.exists()
    one, other = (json.loads((model / "model.json").read_text()) for model in (tmp_path / "run", whole))
    assert one == other
    arrays = [(model / "arrays.safetensors").read_bytes() for model in (tmp_path / "run", whole)]
    assert arrays[0] == arrays[1]
