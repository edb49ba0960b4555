"""One process of a job that trains together; see `engine/test_sharding.py`."""

from __future__ import annotations

import contextlib
import os
import time

import jax
import pytest

import diabolo
from diabolo import StackedAutoencoder
from diabolo.data import blocks
from diabolo.engine import loader, sharding, trainer


def train(job, trains=None):
    """Train and save as the job says; return the loss, and how many blocks were read on how many devices."""
    read = []
    real_block, real_epochs = blocks.BlockReader.read_checked, trainer.Trainer.run_epochs

    def read_checked(self, i):
        read.append(i)
        return real_block(self, i)

    def run_epochs_slowly(run):
        time.sleep(0.05)
        if run.state.epoch > 1:
            trains.set()
        return real_epochs(run)

    settings = {"random_state": job.get("seed", 0), "max_epochs": job["epochs"]}
    model = StackedAutoencoder(hidden_layer_sizes=(8,), batch_size=32, **settings)
    keep = {"checkpoint_dir": job["keep"], "checkpoint_every": 0, "resume": True} if job.get("keep") else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CHUNK_BYTES", 30_000)
        patch.setattr(loader, "CHUNK_BYTES", 30_000)
        patch.setattr(blocks, "BLOCK_BYTES", 2_000)
        patch.setattr(blocks.BlockReader, "read_checked", read_checked)
        if job.get("slowly"):
            patch.setattr(trainer.Trainer, "run_epochs", run_epochs_slowly)
        with diabolo.use_devices() if job.get("devices") else contextlib.nullcontext():
            model.fit(job["rows"], **keep)
            n_devices = sharding.current().n_devices
    if sharding.current().is_main_process:
        model.save(job["out"])
    return {"read": len(read), "devices": n_devices, "loss": model.history_["loss"][-1]}


def run(job, environment, said, reports, trains):
    """Do so in a process of its own, as one of several if the environment says so; ``said`` is its standard error."""
    os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
    os.environ.update(environment)
    if job.get("devices"):
        jax.config.update("jax_num_cpu_devices", job["devices"])
    if environment:
        sharding.connect()
    reports.put(train(job, trains))
