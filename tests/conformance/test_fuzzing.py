"""Anything at all for input: what comes of it is a result, or one of our errors. `benchmarks.fuzz` tries far more."""

import functools
import os
import re
import tomllib
import warnings

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from benchmarks import fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import diabolo
from diabolo import parts
from diabolo.cli.options import MODELS as KNOWN_MODELS
from diabolo.cli.options import make_estimator, read_config
from diabolo.errors import DiaboloError
from diabolo.estimators.trainable import ESTIMATOR_REGISTRY

N_INPUTS = 120
SOME = settings(
    max_examples=int(os.environ.get("DIABOLO_FUZZ_EXAMPLES", "40")),
    deadline=None,
    derandomize="DIABOLO_FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# -- damaged files ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound():
    """The sound inputs of each kind, made once."""
    return functools.cache(lambda kind: fuzz.KINDS[kind].sound())


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_sound_input_is_read(kind, sound, tmp_path):
    for case in sound(kind):
        outcome = fuzz.tried(kind, case, tmp_path)
        assert outcome.kind in ("read", "InvalidData"), outcome  # of several arrays, and of a column of lists


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damaged_input_is_read_or_refused(kind, sound, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for number in range(N_INPUTS):
        outcome = fuzz.tried(kind, fuzz.damaged(kind, sound(kind), 1, number), tmp_path)
        assert outcome.kind != "FOUND", (kind, number, outcome.what)
        assert not any(tmp_path.iterdir()), (kind, number)


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_damage_is_the_same_in_every_run_and_is_damage(kind, sound):
    cases = [fuzz.damaged(kind, sound(kind), 1, number) for number in range(50)]
    assert cases == [fuzz.damaged(kind, sound(kind), 1, number) for number in range(50)]
    assert sum(case in sound(kind) for case in cases) < 10


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda folder: 1 / 0, "ZeroDivisionError"),
        (lambda folder: (folder / "more").touch(), "files are not"),
        (lambda folder: (folder.parents[1] / "elsewhere").touch(), "open .*elsewhere"),
        (lambda folder: os.system("true"), "os.system"),
    ],
)
def test_what_is_looked_for_is_found(act, words, tmp_path, monkeypatch, watch):
    monkeypatch.setitem(fuzz.KINDS, "csv", fuzz.KINDS["csv"]._replace(read=act))
    (tmp_path / "here").mkdir()
    outcome = fuzz.tried("csv", {"rows.csv": b"a\n1\n"}, tmp_path / "here", watch)
    assert outcome.kind == "FOUND"
    assert re.search(words, outcome.what)


@pytest.fixture(scope="module")
def watch():
    return fuzz._Watch()


# -- estimators -------------------------------------------------------------------------------------------------------

X = np.random.default_rng(0).normal(size=(40, 3))
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([2**31, 2**63, -(2**63), 2**70]),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=3),
    st.lists(st.one_of(st.integers(-2, 9), st.floats(), st.text(max_size=2)), max_size=3).map(tuple),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(
        [
            *(np.float32(0.5), np.int64(3), np.bool_(True), np.array([4, 3]), np.array(0.5), np.nan, 1j, object(), len),
            *(
                "auto",
                "none",
                "linear",
                "gaussian",
                "bernoulli",
                "relu",
                "adam",
                "cosine",
                "standard",
                "single",
                [],
                {},
            ),
            *(
                parts.Masking(0.1),
                parts.MLP((4,)),
                parts.Deterministic(2, "sigmoid"),
                parts.DiagonalGaussian(2),
                parts.Gaussian(),
            ),
            *(parts.Bernoulli(), parts.Adam(), parts.L1(0.1), (parts.L1(0.1),), parts.ELBO(), parts.Masking, diabolo),
            *(diabolo.BasicAutoencoder(max_epochs=1), diabolo.BasicAutoencoder, np.random.RandomState(0)),
        ]
    ),
)
MADE = {
    name: cls
    for name, cls in ESTIMATOR_REGISTRY.items()
    if name in diabolo.__all__ and name not in ("AutoencoderGenerator", "AutoencoderImputer")
}


def quick(cls):
    """An estimator that takes no time."""
    if cls is diabolo.AutoencoderClassifier:
        return cls(diabolo.BasicAutoencoder(max_epochs=0), max_epochs=1, random_state=0)
    if "estimator" in cls().get_params():
        return cls(diabolo.BasicAutoencoder(max_epochs=0), random_state=0)
    return cls(max_epochs=1, random_state=0)


def ended_well(act):
    """That it ends in a result, or an error of ours that says something; others are not caught."""
    with warnings.catch_warnings(action="ignore"):
        try:
            act()
        except DiaboloError as error:
            said = str(error).strip()
        else:
            return
    assert said


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
@SOME
@given(data=st.data())
def test_parameters_may_be_anything(name, data):
    estimator = quick(MADE[name])
    names = sorted(set(estimator.get_params(deep=False)) - {"verbose", "max_epochs"})
    changes = {
        key: data.draw(ANYTHING, label=key)
        for key in data.draw(st.sets(st.sampled_from(names), min_size=1, max_size=2))
    }
    rows = (X, np.arange(40) % 3) if name == "AutoencoderClassifier" else (X,)

    def act():
        estimator.set_params(**changes).fit(*rows)
        if hasattr(estimator, "transform"):
            assert np.isfinite(estimator.transform(X)).all()
        repr(estimator)

    ended_well(act)


ROWS = st.one_of(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_, np.complex128, "U2", object, "M8[D]"]),
        st.tuples(st.sampled_from([0, 1, 2, 7, 40]), st.sampled_from([0, 1, 3])),
    ),
    hnp.arrays(
        np.float64,
        st.tuples(st.just(40), st.just(3)),
        elements=st.one_of(st.floats(-10, 10), st.sampled_from([np.nan, np.inf, 1e300, 1e38, -1e30, 1e-300, 5e-324])),
    ),
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, max_dims=4, max_side=3)),
    ANYTHING.filter(lambda value: not isinstance(value, str | bytes)),
    st.text(max_size=4).filter(lambda text: not text.strip(". /~*?[]")),
)


@SOME
@given(rows=ROWS)
def test_rows_may_be_anything(rows):
    def act():
        model = diabolo.BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(rows)
        model.transform(rows), model.score_samples(rows), model.reconstruct(rows)

    ended_well(act)


@pytest.fixture(scope="module")
def fitted():
    return diabolo.VariationalAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(X)


@pytest.mark.slow
@SOME
@given(rows=ROWS, number=ANYTHING)
def test_whatever_is_asked(fitted, rows, number):
    for method in ("transform", "reconstruct", "score_samples", "inverse_transform", "impute", "corrupt", "elbo"):
        ended_well(lambda method=method: getattr(fitted, method)(rows))
    if not isinstance(number, int) or number < 2**20:
        ended_well(lambda: fitted.sample(number))
        ended_well(lambda: fitted.elbo(X, n_samples=number))
        ended_well(lambda: fitted.interpolate(X[:1], X[1:2], number))
    ended_well(lambda: fitted.sample(2, random_state=number))
    ended_well(lambda: fitted.sample(2, given={0: number}))


# -- config -----------------------------------------------------------------------------------------------------------

TOML = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**62), 2**62),
        st.floats(allow_nan=True),
        st.text(max_size=5),
        st.dates(),
        st.times(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["part", "p", "x", "kind", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)
KNOWN = ("data", "model", "out", "seed", "key", "columns", "exclude", "schema", "parameters")
MODELS = st.sampled_from([*KNOWN_MODELS, "Variational", ""])


@SOME
@given(
    options=st.dictionaries(st.one_of(st.sampled_from(KNOWN), st.text(max_size=3)), TOML, max_size=5),
    parameters=st.dictionaries(
        st.sampled_from(["n_latent", "corruption", "optimizer", "schema", "n_latnet"]), TOML, max_size=3
    ),
    model=MODELS,
)
def test_a_config_may_hold_anything(options, parameters, model, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    text = "".join(f"{key(name)} = {toml(value)}\n" for name, value in (options | {"parameters": parameters}).items())
    assert tomllib.loads(text).keys() == (options | {"parameters": {}}).keys()
    file.write_text(text, encoding="utf-8")

    def act():
        found = read_config(file)
        make_estimator(model, found.get("parameters", {}))._validate_params()

    ended_well(act)


def key(name):
    return toml(name)


def toml(value):
    """As TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)
