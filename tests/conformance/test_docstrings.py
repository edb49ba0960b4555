"""Docstrings are complete, by numpydoc's validator: every parameter with its type and meaning, every result."""

import importlib
import inspect

from numpydoc.validate import validate

import diabolo
from diabolo import parts, serving
from diabolo.core.component import Component
from helpers import over

REQUIRED = {
    "GL08": "no docstring",
    "PR01": "a parameter is not documented",
    "PR02": "an unknown parameter is documented",
    "PR03": "parameters stand in another order",
    "PR04": "a parameter has no type",
    "PR07": "a parameter has no description",
    "PR10": "a colon lacks its blank",
    "RT01": "the result is not documented",
    "RT03": "the result has no description",
    "YD01": "what is yielded is not documented",
}
IMPLEMENTATIONS = ("diabolo.callbacks.Callback", "diabolo.callbacks.ModelCallback")
"""Protocols, whose constructors are nobody's."""
CONCRETE = {
    f"diabolo.parts.{name}": thing
    for name, thing in vars(parts).items()
    if inspect.isclass(thing) and issubclass(thing, Component) and not inspect.isabstract(thing)
}


def public():
    """The dotted name of each public class and function, and of each public method of a class, once."""
    known = set()
    for module in (diabolo, serving, diabolo.metrics, diabolo.callbacks):
        for name in module.__all__:
            thing = getattr(module, name)
            if not inspect.isclass(thing) and not inspect.isfunction(thing):
                continue
            yield f"{module.__name__}.{name}"
            for method, function in inspect.getmembers(thing, callable) if inspect.isclass(thing) else ():
                code = getattr(inspect.unwrap(function), "__code__", None)
                if method.startswith("_") or code is None or code in known or not _is_ours(function):
                    continue
                known.add(code)
                yield f"{module.__name__}.{name}.{method}"


def _is_ours(function):
    module = inspect.unwrap(function).__module__
    return module.partition(".")[0] == "diabolo" and module != "diabolo.former_names"


def incomplete(name):
    return [f"{code} {said}" for code, said in validate(name)["errors"] if code in REQUIRED]


@over("name", list(public()))
def test_a_docstring_is_complete(name):
    if name not in IMPLEMENTATIONS:
        assert incomplete(name) == []


@over("name", list(CONCRETE))
def test_a_part_documents_all_its_fields(name):
    assert incomplete(name) == []


def test_what_is_public_is_found():
    names = set(public())
    assert {"diabolo.sweep", "diabolo.serving.create_app", "diabolo.metrics.psnr"} <= names
    assert {"diabolo.Autoencoder.transform", "diabolo.AnomalyDetector.explain", "diabolo.Autoencoder.kl"} <= names
    assert all(hasattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
               for name in names if name.count(".") == 1)  # fmt: skip
