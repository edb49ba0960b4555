"""What all tests share: shapes checked while they run, compiled programs kept between runs, and small data."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from threadpoolctl import threadpool_limits

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# What tests share is imported by them, and not collected a second time for its doctests.
collect_ignore = [file.name for file in HERE.glob("*.py") if not file.name.startswith("test_")]

# Tracing makes millions of small objects, hardly any of them garbage: to look through them seldom saves a tenth.
gc.set_threshold(100_000, 20, 20)

# Each worker of xdist has one core. Two threads of NumPy would wait for each other, ten times as long as a product
# of few numbers takes. Libraries that are loaded later read the environment; plugins of pytest have loaded NumPy.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # scikit-learn's threads wait by spinning as well
    threadpool_limits(int(os.environ["OPENBLAS_NUM_THREADS"]))

# Before JAX is imported: compiled programs are kept beside pytest's own cache, so that a second run is fast.
os.environ["XDG_CACHE_HOME"] = str(ROOT / ".pytest_cache" / "xdg")
os.environ.pop("DIABOLO_CACHE", None)
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
# Most tests run a program for a moment only: compiling it well would take longer than it. The demo's tests compile as
# users do, and so do all where this is set.
if "DIABOLO_TEST_AS_SHIPPED" not in os.environ:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    quickly = "--xla_cpu_parallel_codegen_split_count=1"
    if [int(number) for number in metadata.version("jaxlib").split(".")[:2]] < [0, 11]:
        quickly += " --xla_cpu_use_fusion_emitters=false"  # later versions end at a flag that they do not know
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quickly}".strip()

from jaxtyping import install_import_hook  # noqa: E402

# Before diabolo is imported: the shapes in annotations are checked in every test. It costs an eighth of the time of
# `make test`, which turns it off; `make slow` and pytest by itself do not.
NUMERIC_MODULES = (
    "conv_ops",
    "corruptions",
    "distributions",
    "latents",
    "layers",
    "likelihoods",
    "model",
    "networks",
    "objectives",
    "penalties",
    "priors",
    "schedules",
)
assert not any(f"diabolo.core.{name}" in sys.modules for name in NUMERIC_MODULES)
if os.environ.get("DIABOLO_TEST_SHAPES") != "off":
    install_import_hook([f"diabolo.core.{name}" for name in NUMERIC_MODULES], "shape_checker.check")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

from diabolo.engine import programs  # noqa: E402

# Thousands of fits meet more structures than a user's process does, and the same ones again and again.
programs._MOST_PROGRAMS = 4096
# To store a program takes longer than to compile most of them once more.
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.15)

with suppress(ImportError, AttributeError):  # of JAX's own modules, which may change
    from jax._src.interpreters import mlir

    mlir.make_ir_context = cache(mlir.make_ir_context)  # a context serves all programs; to make one takes 4 ms

MAPS = Path("/proc/self/maps")
_MOST_MAPS = 50_000
"""Each compiled program is a few memory maps; Linux gives a process 65,530, and XLA crashes when it gets none."""
_ENDED = []


LONGEST = ("tests/demo/", "tests/project/test_docs.py")


def pytest_collection_modifyitems(items):
    """Begin with the longest tests: a worker that gets one of them last would run it while the others wait."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_runtest_logfinish(nodeid):
    """Forget compiled programs before there are too many: the large ones are on disk."""
    _ENDED.append(nodeid)
    if len(_ENDED) % 20 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    """Leave millions of objects to the end of the process, rather than look for garbage among them."""
    gc.freeze()


@pytest.fixture(scope="session")
def digits():
    """Handwritten digits, (1797, 64) grey values in [0, 1]."""
    return load_digits().data / 16


@pytest.fixture(scope="session")
def table():
    """Eighty rows of six correlated real columns with different units and offsets: the tests' usual table.

    Most fits use this very shape, so that they share compiled programs.
    """
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(80, 2))
    rows = factors @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(80, 6))
    return rows * np.array([1.0, 10.0, 0.1, 1.0, 5.0, 1.0]) + np.array([0.0, 100.0, 0.0, -3.0, 0.0, 1.0])


@pytest.fixture(scope="session")
def grey(table):
    """The usual table squeezed into [0, 1], for likelihoods of that support."""
    low, high = table.min(axis=0), table.max(axis=0)
    return (table - low) / (high - low)


@pytest.fixture(scope="session")
def fitted(table):
    """Every example estimator, by name, fitted to the usual table. Do not change them."""
    from sklearn.base import clone

    from examples import ESTIMATORS

    return {name: clone(estimator).fit(table) for name, estimator in ESTIMATORS.items()}


@pytest.fixture(scope="session")
def data_dir():
    """The folder of real data sets, named by $DIABOLO_DATA."""
    folder = os.environ.get("DIABOLO_DATA")
    if not folder:
        pytest.skip("$DIABOLO_DATA is not set: it names the folder of real data sets (mnist/, olivetti/, ...)")
    if not Path(folder).is_dir():
        pytest.skip(f"$DIABOLO_DATA is {folder}, which is not a folder")
    return Path(folder)


@pytest.fixture
def run(monkeypatch, capfd):
    """Run `diabolo …` in this process: its exit status, standard output and standard error."""

    from diabolo.cli import app

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["diabolo", *map(str, words)])
        try:
            app.main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        out, err = capfd.readouterr()
        return status, out, err

    return call
