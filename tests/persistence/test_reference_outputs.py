"""The same bits elsewhere: a saved model says whether this machine gives what the other one gave."""

import os
import subprocess
import sys

import numpy as np
import pytest

import examples
from diabolo import jax_config
from diabolo.errors import InvalidData, InvalidParameter
from diabolo.estimators.autoencoders import BasicAutoencoder
from diabolo.estimators.loading import load
from diabolo.persistence import files

SMALL = examples.SMALL
every_estimator = pytest.mark.parametrize("name", examples.ESTIMATORS)


@pytest.fixture
def saved(fitted, tmp_path):
    """A saved model and its folder."""
    path = tmp_path / "model.diabolo"
    fitted["BasicAutoencoder"].save(path)
    return path


# -- the same bits elsewhere ------------------------------------------------------------------------------------------


@every_estimator
def test_a_saved_model_is_verified_by_its_rows(name, fitted, table, tmp_path):
    fitted[name].save(tmp_path / "m", reference_data=table)
    loaded = load(tmp_path / "m")
    found = loaded.verify(table)
    n_threads = jax_config.n_threads()
    assert found == (min(64, len(table)), True, 0.0, 0.0, n_threads, n_threads)
    loaded.save(tmp_path / "again")  # it is kept
    assert load(tmp_path / "again").verify(table).same_bits


def test_other_weights_do_not_give_the_stored_bits(fitted, table, tmp_path):
    fitted["BasicAutoencoder"].save(tmp_path / "m", reference_data=table)
    manifest, arrays = files.read(tmp_path / "m")
    name = "model.weights.encoder.layers[0].weight"
    arrays[name] = np.nextafter(arrays[name], np.float32(9))
    files.write(tmp_path / "m", manifest, arrays)
    found = load(tmp_path / "m").verify(table)
    assert not found.same_bits
    assert 0 < found.code_difference < 1e-4


def test_a_model_is_verified_only_by_the_rows_that_it_was_saved_with(fitted, table, tmp_path):
    model = BasicAutoencoder(max_epochs=1, random_state=0).fit(table)
    model.save(tmp_path / "m")
    with pytest.raises(InvalidData):
        load(tmp_path / "m").verify(table)
    model.save(tmp_path / "m", reference_data=table)
    with pytest.raises(InvalidData):
        load(tmp_path / "m").verify(table[::-1])


ONE_CORE = (
    "import os, sys; os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1]); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are chosen so on Linux only")
def test_with_one_number_of_threads_the_same_bits_are_fitted_on_any_number_of_cores(tmp_path, run):
    """A network whose weights do depend on it (see benchmarks/notes), verified by a process with another number."""
    rows = np.random.default_rng(0).random((512, 784)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "others.npy", rows + 1)
    diabolo_on = {"all": [], "one": [sys.executable, "-c", ONE_CORE]}

    def started(cores, *arguments, **environment):
        command = [*diabolo_on[cores], sys.executable, "-m", "diabolo", *arguments]
        given = os.environ | environment
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=given, check=False)

    settings = ("-s", "max_epochs=1", "-s", "hidden_layer_sizes=512", "-s", "n_latent=20", "-s", "init=random")
    for cores in diabolo_on:
        fit = ("fit", "rows.npy", "-m", "variational", "-o", cores, *settings, "-q")
        done = started(cores, *fit, DIABOLO_THREADS="2")
        assert done.returncode == 0, done.stderr
    all_cores, one_core = ((tmp_path / cores / "arrays.safetensors").read_bytes() for cores in diabolo_on)
    assert all_cores == one_core
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    done = started("one", "info", "all", "--verify", "rows.npy", XLA_FLAGS=flags)
    assert done.returncode == 0, done.stdout + done.stderr
    status, _, said = run("info", tmp_path / "all", "--verify", tmp_path / "others.npy")
    assert status == 2, said


def test_bits_that_differ_by_the_number_of_threads_are_told_so(fitted, table, tmp_path, monkeypatch):
    fitted["BasicAutoencoder"].save(tmp_path / "m", reference_data=table)
    manifest, arrays = files.read(tmp_path / "m")
    manifest["probe"]["threads"] = 77
    arrays["probe.scores"] = arrays["probe.scores"] + 1
    files.write(tmp_path / "m", manifest, arrays)
    found = load(tmp_path / "m").verify(table)
    assert (found.same_bits, "DIABOLO_THREADS=77" in str(found)) == (False, True)


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", ""])
def test_a_number_of_threads_that_is_none_is_refused(threads, monkeypatch):
    monkeypatch.setenv("DIABOLO_THREADS", threads)
    with pytest.raises(InvalidParameter, match="DIABOLO_THREADS"):
        jax_config.configure()
