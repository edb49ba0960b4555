"""What tests of several files share: many cases in one test, trainings that are stopped, and a terminal."""

from __future__ import annotations

import functools
import inspect
import io
import multiprocessing
import os
import resource
import signal
import time

import jax
import numpy as np
import pytest
from sklearn.base import clone

import diabolo
from diabolo import StackedAutoencoder, VariationalAutoencoder
from diabolo.engine import trainer
from diabolo.engine.checkpoints import Checkpoints
from diabolo.errors import CheckpointError
from diabolo.estimators import generator, imputer, trainable


def over(names, cases, large=None):
    """Try all cases in one test: `pytest.mark.parametrize` for thousands of cases of one mechanism.

    Every case is tried, and the failure names each one that does not hold. Fixtures are shared by all cases, so they
    must be only read, or made anew by the test itself. Cases of which ``large(label)`` is true are a second test, which
    only `make large` runs.
    """
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    labelled = list(cases.items() if isinstance(cases, dict) else ((repr(case), case) for case in cases))
    groups = {"few": [(label, case) for label, case in labelled if large is None or not large(label)]}
    if large is not None:
        groups["large"] = [(label, case) for label, case in labelled if large(label)]
    assert all(groups.values()), "there is no case to try"

    def decorate(test):
        @functools.wraps(test)
        def tried(group="few", **fixtures):
            failures = []
            for label, case in groups[group]:
                values = (case,) if len(names) == 1 else case
                try:
                    test(**fixtures, **dict(zip(names, values, strict=True)))
                except (Exception, pytest.fail.Exception) as failure:
                    failure.add_note(f"case: {label}")
                    failures.append(failure)
            if len(failures) == 1:
                raise failures[0]
            if failures:
                labels = "; ".join(str(failure.__notes__[-1]) for failure in failures)
                raise BaseExceptionGroup(f"{len(failures)} of {len(groups[group])} cases: {labels}", failures)

        signature = inspect.signature(test)
        others = [parameter for name, parameter in signature.parameters.items() if name not in names]
        if large is None:
            tried.__signature__ = signature.replace(parameters=others)
            return tried
        others.insert(0, inspect.Parameter("group", inspect.Parameter.POSITIONAL_OR_KEYWORD))
        tried.__signature__ = signature.replace(parameters=others)
        return pytest.mark.parametrize("group", ["few", pytest.param("large", marks=pytest.mark.large)])(tried)

    return decorate


def import_all():
    """Import all that is public, which is otherwise imported on first use: then the registry is complete."""
    return [getattr(diabolo, name) for name in diabolo.__all__]


def train_briefly(monkeypatch, share=8):
    """Let an eighth of the default steps do, or another share, for what is said after any training."""
    import_all()
    for cls in {base for estimator in trainable.ESTIMATOR_REGISTRY.values() for base in estimator.__mro__}:
        if "_steps" in vars(cls):
            monkeypatch.setattr(cls, "_steps", cls._steps // share)
    for module, name, few in (
        (trainable, "_LEAST_EPOCHS", 5),
        (imputer, "_STEPS", (600, 600)),
        (generator, "_STEPS", 4_000 // share),
        (generator, "_LEAST_EPOCHS", 12),
    ):
        monkeypatch.setattr(module, name, few)


VAE = VariationalAutoencoder(
    hidden_layer_sizes=(4,),
    max_epochs=40,
    batch_size=16,
    beta="linear",
    early_stopping=True,
    init="random",
    random_state=0,
)
DEEP = StackedAutoencoder(
    hidden_layer_sizes=(5, 4), pretrain="layerwise", pretrain_epochs=6, max_epochs=12, batch_size=16, random_state=0
)


class Stopped(BaseException):
    """What comes from outside: not an Exception, as Ctrl-C is none."""


def stop_after(monkeypatch, n_stretches):
    """Let a training be interrupted after so many calls of the program, each of few epochs."""
    real, left = trainer.run_epochs, [n_stretches]

    def stretch(*args, **options):
        if left[0] == 0:
            raise Stopped
        left[0] -= 1
        return real(*args, **options)

    monkeypatch.setattr(trainer, "run_epochs", stretch)
    monkeypatch.setattr(trainer, "_STRETCH_SECONDS", 0.0)


# Children are forked from a process that has imported what takes long. Python 3.11 finds what is installed only, and
# leaves out the rest without a word: not this module.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "diabolo.estimators.imputer", "diabolo.engine.sharding"])


def same_bits(one, other):
    assert one.history_ == other.history_
    assert one.best_epoch_ == other.best_epoch_
    pairs = zip(jax.tree.leaves(one.model_.weights), jax.tree.leaves(other.model_.weights), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def stopped(estimator, rows, folder, n_stretches):
    """A training that was interrupted, and kept."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, n_stretches)
        with pytest.raises(Stopped):
            clone(estimator).fit(rows, checkpoint_dir=folder, checkpoint_every=0)


def stop_and_go_on(estimator, rows, folder, n_stretches):
    stopped(estimator, rows, folder, n_stretches)
    return clone(estimator).fit(rows, checkpoint_dir=folder, resume=True)


def train_slowly(rows, folder, out, begun):
    """Half of the time is spent in writes."""
    real = os.fsync

    def fsync(descriptor):
        begun.set()
        time.sleep(0.02)
        real(descriptor)

    os.fsync, trainer._STRETCH_SECONDS = fsync, 0.0
    clone(VAE).fit(rows, checkpoint_dir=folder, checkpoint_every=0, resume=True).save(out)


def train_until_the_disk_is_full(rows, folder, said):
    real = Checkpoints.write

    def write(self, stage, state):
        if state.epoch == 9:  # from here on no file may grow beyond a kilobyte, which is what a full disk does
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        real(self, stage, state)

    Checkpoints.write, trainer._STRETCH_SECONDS = write, 0.0
    try:
        clone(VAE).fit(rows, checkpoint_dir=folder, checkpoint_every=0)
    except CheckpointError as error:
        said.put(str(error))


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        return True
