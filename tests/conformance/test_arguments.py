"""Arguments of public methods and functions: a value that is not of the annotated type is refused, never ignored.

The cases follow from the signatures, so a new method or argument is tried without a line here.
"""

import functools
import inspect
import typing
from types import SimpleNamespace

import numpy as np
import pytest
from beartype import BeartypeConf
from beartype.door import is_bearable
from sklearn.base import clone

import diabolo
import examples
from diabolo import serving
from diabolo.errors import DiaboloError
from helpers import over

ROWS = {"X", "X_val", "X_valid", "Z", "a", "b", "probe"}
"""Arguments that are rows, of any source; what they cannot be is in test_bad_input."""
OF_SCIKIT_LEARN = {"input_features"}
"""Checked by scikit-learn, whose conformance tests expect its own error."""
VALUES = (object(), "nonsense", b"x", 1.5, -1, 0, np.nan, [], {}, (), print, 1j, 2**40, np.ones((2, 3)), type)
NO_LABELS = (object(), "nonsense", b"x", 1.5, 3, True, print, 1j)
NO_NUMBERS = (object(), "nonsense", b"x", print, 1j, type, {}, [[1.0], [1.0, 2.0]])
SMALL = {"max_epochs": 0, "random_state": 0}
NETWORK = diabolo.VariationalAutoencoder(n_latent=2, hidden_layer_sizes=(4,), **SMALL)
X = np.random.default_rng(0).normal(size=(40, 3))
LABELS = np.arange(40) % 2
NUMBERS = BeartypeConf(is_pep484_tower=True)  # an int is a float as well

ESTIMATORS = {
    **{name: clone(one).set_params(**SMALL) for name, one in examples.ESTIMATORS.items()},
    "AutoencoderClassifier": diabolo.AutoencoderClassifier(NETWORK, **SMALL),
    "AnomalyDetector": diabolo.AnomalyDetector(NETWORK, false_alarm_rate=0.2, random_state=0),
    "SeriesDetector": diabolo.SeriesDetector(window=4),
    "AutoencoderImputer": diabolo.AutoencoderImputer(NETWORK, random_state=0),
    "AutoencoderGenerator": diabolo.AutoencoderGenerator(NETWORK, random_state=0),
}


@pytest.fixture(scope="module")
def fitted():
    return {name: clone(one).fit(X, LABELS) for name, one in ESTIMATORS.items()}


def methods(cls):
    """The public methods that are ours; those of scikit-learn check, or pass on, their arguments themselves."""
    for name, function in inspect.getmembers(cls, callable):
        if not name.startswith("_") and getattr(function, "__module__", "").startswith("diabolo"):
            yield name, function


def arguments(function):
    """(name, annotation, default) of each argument that is neither rows nor any name."""
    function = inspect.unwrap(function)
    given = {name: value for name, value in function.__annotations__.items() if name != "return"}
    hints = typing.get_type_hints(SimpleNamespace(__annotations__=given), function.__globals__)
    for name, one in inspect.signature(function).parameters.items():
        if (
            name != "self"
            and name not in ROWS | OF_SCIKIT_LEARN
            and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        ):
            yield name, hints[name], one.default


def wrong_values(name, hint):
    if name == "y":
        return NO_LABELS
    if name == "scores":
        return NO_NUMBERS
    return [value for value in VALUES if not is_bearable(value, hint, conf=NUMBERS)]


CASES = {
    f"{cls}.{method}({argument}={value!r})"[:80]: (cls, method, argument, value)
    for cls, estimator in ESTIMATORS.items()
    for method, function in methods(type(estimator))
    for argument, hint, _ in arguments(function)
    for value in wrong_values(argument, hint)
}


def needed(function, tmp_path):
    """A valid value for each argument without a default."""
    valid = {"X": X, "a": X[:1], "b": X[1:2], "y": LABELS, "scores": np.ones(3), "path": tmp_path / "saved"}
    return {
        name: valid[name]
        for name, one in inspect.signature(function).parameters.items()
        if name in valid and (one.default is one.empty or name == "X")
    }


@over("cls, method, argument, value", CASES)
def test_an_argument_of_a_wrong_type_is_refused(cls, method, argument, value, fitted, tmp_path):
    estimator = clone(ESTIMATORS[cls]) if method == "fit" else fitted[cls]
    if not hasattr(estimator, method):
        return
    bound = getattr(estimator, method)
    given = needed(bound, tmp_path)
    if method == "inverse_transform":
        given = {"X": X[:, :1].repeat(estimator._n_features_out, axis=1)}
    with pytest.raises(DiaboloError):
        bound(**given | {argument: value})


def test_every_kind_of_argument_is_tried():
    tried = {argument for _, _, argument, _ in CASES.values()}
    assert {"resume", "noise", "random_state", "y", "n_samples", "n_draws", "n_steps", "coverage", "given"} <= tried
    assert {"checkpoint_dir", "checkpoint_every", "callback", "path", "image_shape", "deep", "scores"} <= tried


@functools.cache
def fitted_network():
    return clone(NETWORK).fit(X)


FUNCTIONS = {
    "sweep": (diabolo.sweep, lambda _: {"estimator": NETWORK, "grid": {"beta": [1.0]}, "X": X}),
    "load": (diabolo.load, lambda folder: {"path": folder / "nothing"}),
    "export_onnx": (diabolo.export_onnx, lambda folder: {"estimator": NETWORK, "path": folder / "out"}),
    "create_app": (serving.create_app, lambda _: {"model": fitted_network()}),
}


@over(
    "name, argument, value",
    {
        f"{name}({argument}={value!r})"[:80]: (name, argument, value)
        for name, (function, _) in FUNCTIONS.items()
        for argument, hint, _ in arguments(function)
        for value in wrong_values(argument, hint)
    },
)
def test_an_argument_of_a_wrong_type_is_refused_by_functions(name, argument, value, tmp_path):
    function, given = FUNCTIONS[name]
    with pytest.raises(DiaboloError):
        function(**given(tmp_path) | {argument: value})
