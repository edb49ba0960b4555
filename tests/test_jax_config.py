"""The process that JAX works in: forks, settings of JAX by the environment, and the cache of compiled programs."""

import json
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import jax
import numpy as np
import pytest

from diabolo import program_cache
from diabolo.engine import programs
from diabolo.engine.programs import Programs
from diabolo.program_cache import ProgramCache

ROWS = "import numpy as np; X = np.random.default_rng(0).normal(size=(50, 3))"
MODEL = "import diabolo; model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0)"


def ran(code, *, arguments=("-c",), timeout=300, **environment):
    """Run Python in a process of its own: its status, output and errors."""
    given = {name: value for name, value in (os.environ | environment).items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments, *([code] if isinstance(code, str) else code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=given,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


# -- forks ------------------------------------------------------------------------------------------------------------

USES = {
    "transform": "model.transform(X)",
    "score": "model.score_samples(X)",
    "fit": "diabolo.BasicAutoencoder(n_latent=2, random_state=0).fit(X)",
    "train": "diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, init='random', random_state=0).fit(X)",
    "load": "diabolo.load(path)",
    "use what was loaded": "loaded.transform(X)",
    "unpickle": "pickle.loads(packed).transform(X)",
    "detect": "diabolo.AnomalyDetector(random_state=0).fit(X)",
}
IN_CHILDREN = """
import os, pickle, signal, tempfile, traceback
{rows}
{model}
path = tempfile.mkdtemp() + "/model"
model.fit(X).save(path)
loaded, packed = diabolo.load(path), pickle.dumps(model)
for name, use in {uses}.items():
    if os.fork() == 0:
        signal.alarm(60)
        try:
            exec(use)
            print(name, "computed", flush=True)
        except diabolo.errors.ForkError:
            print(name, "refused", flush=True)
        except BaseException:
            traceback.print_exc()
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_was_forked_too_late_is_refused_and_does_not_hang():
    status, out, err = ran(IN_CHILDREN.format(rows=ROWS, model=MODEL, uses=USES), timeout=600)
    assert (status, out.splitlines()) == (0, [f"{name} refused" for name in USES]), err[-800:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_was_forked_before_jax_began_works():
    code = f"""
import os, signal
{ROWS}
{MODEL}
if os.fork() == 0:
    signal.alarm(100)
    print(model.fit(X).transform(X).shape, flush=True)
    os._exit(0)
os.wait()
"""
    assert ran(code)[1].strip() == "(50, 2)"


def test_spawn_works(tmp_path):
    script = Path(tmp_path / "spawned.py")
    script.write_text(
        f"""
import multiprocessing
{ROWS}
{MODEL}

def score(model):
    return model.score(X)

if __name__ == "__main__":
    model.fit(X)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(score, [model])[0] == model.score(X))
"""
    )
    assert ran([str(script)], arguments=())[1].strip() == "True"


# -- settings of JAX by the environment -------------------------------------------------------------------------------

FITTED = f"""
import json
{ROWS}
import diabolo
few = dict(max_epochs=1, random_state=0)
holes = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
basic = diabolo.BasicAutoencoder(n_latent=2, activation="tanh", **few)
found = [basic.fit(X).transform(X), basic.reconstruct(X)]
noisy = diabolo.VariationalAutoencoder(n_latent=2, **few).fit(holes)
found += [noisy.score_samples(holes), noisy.sample(5, random_state=0)]
swept = diabolo.sweep(basic, {{"learning_rate": [1e-3, 1e-2]}}, X)
found += [one.transform(X) for one in swept.estimators_]
print(json.dumps(np.concatenate([np.ravel(one) for one in found]).tolist()))
"""


SETTINGS = ("JAX_ENABLE_X64", "JAX_DISABLE_JIT", "JAX_DEBUG_NANS")


def test_whatever_jax_is_set_to_elsewhere_the_answers_are_the_same(capsys):
    def answers():
        with warnings.catch_warnings(action="ignore"):
            exec(FITTED, {})
        return capsys.readouterr().out

    plain = answers()
    assert len(json.loads(plain)) > 500
    for setting in SETTINGS:
        name = setting.lower()
        jax.config.update(name, True)
        try:
            assert answers() == plain, setting
        finally:
            jax.config.update(name, False)


@pytest.mark.slow
def test_whatever_jax_is_set_to_by_the_environment_the_answers_are_the_same():
    """All at once: the test above sets each by itself."""
    plain, set_otherwise = (ran(FITTED, timeout=600, **some) for some in ({}, dict.fromkeys(SETTINGS, "1")))
    for status, out, err in (plain, set_otherwise):
        assert status == 0, err[-800:]
        assert out == plain[1]


def test_a_device_that_is_not_there_ends_in_one_line(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n" + "\n".join(f"{i},{i * i % 7}" for i in range(40)) + "\n")
    words = ["-m", "diabolo", "fit", str(tmp_path / "rows.csv"), "-m", "basic", "-o", str(tmp_path / "run"), "-q"]
    status, _, err = ran(words, arguments=(), JAX_PLATFORMS="cuda")
    assert status == 2
    assert len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "run").exists()


def test_without_a_home_programs_are_not_kept():
    code = """
import pathlib

def home(cls):
    raise RuntimeError("Could not determine home directory.")

pathlib.Path.home = classmethod(home)
import diabolo
from diabolo.engine import trainer
print("imported")
"""
    status, out, err = ran(code, XDG_CACHE_HOME=None, JAX_COMPILATION_CACHE_DIR=None)
    assert (status, out.strip()) == (0, "imported"), err[-800:]


# -- programs kept on disk and in memory ------------------------------------------------------------------------------


def test_an_entry_is_whole_or_absent(tmp_path):
    cache = ProgramCache(tmp_path)
    assert cache.get("a") is None
    cache.put("a", b"program" * 100)
    assert cache.get("a") == b"program" * 100
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:50], whole[:-1], whole + b"x"):
        file.write_bytes(damaged)
        assert cache.get("a") is None
        assert not file.exists()
        cache.put("a", b"new")
        assert cache.get("a") == b"new"


def test_an_entry_that_jax_rejects_is_replaced(tmp_path):
    cache = ProgramCache(tmp_path)
    cache.put("a", b"of another machine")
    cache.put("a", b"of this one")
    assert cache.get("a") == b"of this one"


def test_the_size_is_bounded_and_what_was_used_last_stays(tmp_path):
    cache = ProgramCache(tmp_path, most_bytes=1000)
    (tmp_path / "jit_f-1-cache").write_bytes(b"x" * 900)  # of a former version
    os.utime(tmp_path / "jit_f-1-cache", (0, 0))
    (tmp_path / "notes.txt").write_text("not ours")
    for i in range(10):
        cache.put(f"{i}", bytes(200))
        os.utime(tmp_path / f"{i}.program", (i + 1, i + 1))
        cache.get("0")
    assert {file.name for file in tmp_path.iterdir()} == {
        "notes.txt",
        "0.program",
        *(f"{i}.program" for i in (7, 8, 9)),
    }
    cache.put("large", bytes(2000))
    assert cache.get("large") is None
    assert cache.get("0") is not None


def test_a_folder_that_cannot_be_written_is_no_trouble(tmp_path):
    (tmp_path / "file").write_text("")
    cache = ProgramCache(tmp_path / "file")
    cache.put("a", b"program")
    assert cache.get("a") is None


@pytest.mark.parametrize("stored", [b"program", None])  # None: it took too short to be worth an entry
def test_who_asks_for_a_program_that_another_compiles_waits_for_it(stored, tmp_path):
    cache = ProgramCache(tmp_path)
    assert cache.get("a") is None
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(cache.get, "a")
        assert wait([other], timeout=0.3).not_done
        if stored:
            cache.put("a", stored)
        program_cache.release()
        assert other.result(timeout=30) == stored
        pool.submit(program_cache.release).result()
    assert {file.suffix for file in tmp_path.iterdir()} <= {".program"}


def test_where_stored_programs_are_rejected_nobody_waits(tmp_path):
    cache = ProgramCache(tmp_path)
    cache.put("a", b"program")
    assert cache.get("a") == b"program"
    cache.put("a", b"program")  # again, as it was rejected
    assert cache.get("b") is None
    assert not list(tmp_path.glob("*.lock"))


def test_a_lock_is_free_as_soon_as_the_program_is_compiled(tmp_path):
    code = """
import diabolo.engine.programs, jax, numpy as np
from diabolo import program_cache
jax.jit(lambda x: x + 1)(np.zeros(3))
print(getattr(program_cache._held, "lock", None), len(list(program_cache.Path(%r).rglob("*.lock"))))
"""
    environment = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": None, "DIABOLO_CACHE": None}
    assert ran(["-c", code % str(tmp_path)], arguments=(), **environment)[1].strip() == "None 0"


def test_a_half_written_program_is_mended_without_a_word(tmp_path):
    """The second process meets damaged entries and writes whole ones, and nothing is said."""
    code = "import diabolo.engine.compiled, jax; jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)"
    code += f"\nimport sys; {ROWS}\n{MODEL}.fit(X).transform(X)"
    folder = tmp_path / "diabolo" / "programs"
    environment = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": None, "DIABOLO_CACHE": None}

    def run():
        found = ran(["-W", "default", "-c", code], arguments=(), **environment)
        return found, {file.name: len(file.read_bytes()) for file in folder.iterdir()}

    first, whole = run()
    assert whole
    for name, size in whole.items():
        os.truncate(folder / name, size // 2)
    second, mended = run()
    assert mended.keys() == whole.keys()
    assert all(mended[name] > 0.9 * size for name, size in whole.items())
    assert first == second
    assert "cache" not in second[2]


@pytest.mark.parametrize("rejects", [False, True])
def test_the_system_is_described_with_its_cache(rejects, run, monkeypatch):
    monkeypatch.setattr(program_cache, "is_effective", lambda folder: not rejects)
    status, out, _ = run("info", "--system")
    assert status == 0
    assert ("38445" in out) == rejects
    assert run("info")[0] == run("info", "model", "--system")[0] == 2


@pytest.mark.parametrize("rejects", [False, True])
def test_whether_stored_programs_are_used_is_tried(rejects, tmp_path):
    patch = "compilation_cache.get_executable_and_time = lambda *_: (None, None)" if rejects else ""
    code = (
        f"from jax._src import compilation_cache; {patch}\nfrom pathlib import Path; from diabolo import program_cache"
    )
    code += f"\nprint(program_cache.is_effective(Path({str(tmp_path)!r})))"
    assert ran(code)[1].strip() == str(not rejects)


@pytest.mark.parametrize("short", [True, False])
def test_programs_in_memory_are_bounded(short, monkeypatch):
    monkeypatch.setattr(programs, "_MOST_PROGRAMS", 4)
    function = Programs(lambda x: x + 1)
    held = []
    for n in range(1, 7):
        assert function(np.zeros(n), short=short).sum() == n
        held.append(function.n_programs())
    assert held[0] == 1
    assert max(held) == 4
