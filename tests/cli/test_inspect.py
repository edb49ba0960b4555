"""`diabolo models`, and the names of models that are understood."""

from inspect import signature

import pytest

import diabolo
from diabolo.cli import options


@pytest.mark.parametrize("name", options.MODELS)
def test_models_lists_every_parameter_with_its_default_and_meaning(name, run):
    status, out, err = run("models", name)
    assert (status, err) == (0, "")
    described = {entry.split(" = ")[0]: entry.splitlines() for entry in out.split("\n\n")[1:]}
    assert list(described) == list(signature(getattr(diabolo, options.MODELS[name])).parameters)
    assert all(len(lines) > 1 for lines in described.values())


def test_models_lists_every_model(run):
    status, out, _ = run("models")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[: len(options.MODELS)]] == list(options.MODELS)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [*options.SYNONYMS.items(), ("VAE", "variational"), ("VariationalAutoencoder", "variational"), ("basic", "basic")],
)
def test_plain_names_of_models_are_understood(typed, meant):
    assert options.model_name(typed) == meant


@pytest.mark.parametrize("words", [("models", "nothing"), ("fit", "data.csv", "-m", "nothing", "-o", "run")])
def test_an_unknown_model_is_refused_in_one_line(words, run):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.startswith("diabolo: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version(flag, run):
    assert run(flag)[:2] == (0, f"diabolo {diabolo.__version__}\n")
