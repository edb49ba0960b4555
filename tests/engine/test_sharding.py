"""Training on several devices and in several processes: the weights of one, to rounding."""

import socket
import time

import jax
import numpy as np
import pytest

import parallel_child
from diabolo import BasicAutoencoder, load, use_devices
from diabolo.engine.sharding import Placement
from diabolo.errors import InvalidPlacement
from helpers import PROCESSES


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Rows that are streamed, and some that are not."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(3000, 6))).astype(np.float32)
    np.save(folder / "many.npy", rows)
    np.save(folder / "few.npy", rows[:500])
    return folder


class Child:
    """A process of a job: its report, what it writes to standard error, and whether it has begun to train."""

    def __init__(self, folder, number=0, n_processes=1, port=0, **job):
        names = {
            "DIABOLO_COORDINATOR": f"127.0.0.1:{port}",
            "DIABOLO_PROCESSES": n_processes,
            "DIABOLO_PROCESS": number,
        }
        environment = {name: str(value) for name, value in names.items()} if n_processes > 1 else {}
        self.said, self.reports, self.trains = folder / f"said-{number}", PROCESSES.SimpleQueue(), PROCESSES.Event()
        given = (job, environment, str(self.said), self.reports, self.trains)
        self.process = PROCESSES.Process(target=parallel_child.run, args=given)
        self.process.start()

    def report(self):
        self.process.join(240)
        assert self.process.exitcode == 0, self.said.read_text()[-2000:]
        return self.reports.get()


def together(n_processes, folder, **job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Child(folder, number, n_processes, port, **job) for number in range(n_processes)]


def largest_difference(one, other):
    pairs = zip(*(jax.tree.leaves(load(path).model_.weights) for path in (one, other)), strict=True)
    return max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)


@pytest.fixture(scope="module")
def alone(files, tmp_path_factory):
    """The model of one process on one device, by the name of its rows; trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("alone")

    def of(name):
        if not (folder / name).exists():
            parallel_child.train({"rows": str(files / f"{name}.npy"), "epochs": 3, "out": str(folder / name)})
        return folder / name

    return of


LARGE = {"devices": "many", "processes": "few"}
"""Rows that only `-m large` shares among so many of a kind: the other kind shares them with `-m slow`."""


def streamed_or_not(of):
    marks = {name: pytest.mark.large if LARGE[of] == name else pytest.mark.slow for name in ("few", "many")}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=mark) for name, mark in marks.items()])


@streamed_or_not("devices")
def test_two_devices_of_one_process_give_the_weights_of_one(files, alone, tmp_path, name):
    job = {"rows": str(files / f"{name}.npy"), "epochs": 3, "out": str(tmp_path / "run"), "devices": 2}
    assert Child(tmp_path, **job).report()["devices"] == 2
    assert largest_difference(tmp_path / "run", alone(name)) < 1e-6


@streamed_or_not("processes")
def test_two_processes_give_the_weights_of_one_and_share_the_reading(files, alone, tmp_path, name):
    job = {"rows": str(files / f"{name}.npy"), "epochs": 3, "out": str(tmp_path / "run")}
    reports = [child.report() for child in together(2, tmp_path, **job)]
    assert largest_difference(tmp_path / "run", alone(name)) < 1e-6
    if name == "many":
        n_blocks = -(-3000 // (2_000 // 24))
        for report in reports:  # all blocks once before; half of them to start from, and in each of three epochs
            assert report["read"] < n_blocks + 6 * (n_blocks / 2 + 6)


@pytest.mark.slow
def test_without_a_seed_all_processes_draw_the_same(files, tmp_path):
    job = {"rows": str(files / "few.npy"), "epochs": 2, "out": str(tmp_path / "run"), "seed": None}
    one, other = (child.report() for child in together(2, tmp_path, **job))
    assert one["loss"] == other["loss"]


@pytest.mark.slow
def test_when_one_dies_the_other_stops_and_any_number_goes_on(files, alone, tmp_path):
    job = {"rows": str(files / "many.npy"), "epochs": 3, "out": str(tmp_path / "run"), "keep": str(tmp_path / "kept")}
    leader, other = together(2, tmp_path, **job, slowly=True)
    assert other.trains.wait(120)
    other.process.kill()
    started = time.monotonic()
    leader.process.join(90)
    other.process.join()
    assert leader.process.exitcode
    assert time.monotonic() - started < 60
    assert "rror" in leader.said.read_text()
    assert not (tmp_path / "run").exists()
    Child(tmp_path, **job).report()
    assert largest_difference(tmp_path / "run", alone("many")) < 1e-6


def test_batches_that_cannot_be_dealt_are_refused(table, monkeypatch):
    monkeypatch.setattr(Placement, "n_devices", 3)
    with pytest.raises(InvalidPlacement, match="16.* 3 "):
        BasicAutoencoder(batch_size=16).fit(table)


def test_more_devices_than_there_are_are_refused():
    with pytest.raises(InvalidPlacement, match="99"), use_devices(99):
        pass
