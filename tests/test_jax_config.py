"""The process that JAX works in: forks, settings of JAX by the environment, and the cache of compiled programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_whatever_jax_is_set_to_elsewhere_the_answers_are_the_same():
    plain = ran(FITTED, timeout=600)
    assert plain[0] == 0, plain[2][-800:]
    for setting in ("JAX_ENABLE_X64", "JAX_DISABLE_JIT", "JAX_DEBUG_NANS"):
        status, out, err = ran(FITTED, timeout=600, **{setting: "1"})
        assert status == 0, (setting, err[-800:])
        assert out == plain[1], setting


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
