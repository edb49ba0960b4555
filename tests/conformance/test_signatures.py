"""Signatures of the public estimators: the model's parameters first, keyword-only, in the order of the docstring."""

import inspect
import re

import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.utils import _param_validation

import diabolo
from diabolo.estimators.trainable import TrainableEstimator
from helpers import over

ESTIMATORS = {
    name: thing
    for name in diabolo.__all__
    if inspect.isclass(thing := getattr(diabolo, name)) and issubclass(thing, BaseEstimator)
    if not issubclass(thing, GridSearchCV)  # whose signature is scikit-learn's
}
RUN_CONTROL = ["random_state", "verbose"]
every_estimator = over("cls", ESTIMATORS)


def parameters_of(cls):
    return dict(inspect.signature(cls).parameters)


def documented(cls):
    """The parameters in the order of the docstring."""
    section = inspect.getdoc(cls).partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    return [name for line in re.findall(r"^(\w[\w, ]*) : ", section, re.MULTILINE) for name in line.split(", ")]


@every_estimator
def test_parameters_stand_in_the_order_of_the_docstring(cls):
    assert list(parameters_of(cls)) == documented(cls)


@every_estimator
def test_only_the_estimator_that_is_wrapped_may_be_given_by_place(cls):
    by_place = [name for name, one in parameters_of(cls).items() if one.kind is not one.KEYWORD_ONLY]
    assert by_place in ([], ["estimator"], ["autoencoder"])
    assert list(parameters_of(cls))[: len(by_place)] == by_place


@every_estimator
def test_the_model_comes_before_its_training_and_the_run_comes_last(cls):
    names = list(parameters_of(cls))
    training = [name for name in TrainableEstimator.__dataclass_fields__ if name in names]
    assert names[-2:] == RUN_CONTROL
    if issubclass(cls, TrainableEstimator):
        assert names[-len(training) :] == training
        assert len(names) > len(training)


def test_a_subclass_without_parameters_has_those_of_its_base():
    class Own(diabolo.BasicAutoencoder):
        """Nothing of its own."""

    assert parameters_of(Own) == parameters_of(diabolo.BasicAutoencoder)
    assert Own(n_latent=3).get_params()["n_latent"] == 3


@every_estimator
def test_the_constraints_are_those_of_the_parameters(cls):
    assert set(cls._parameter_constraints) == set(parameters_of(cls))


@every_estimator
def test_a_value_of_no_allowed_type_is_refused_by_name(cls):
    for name, constraints in cls._parameter_constraints.items():
        given = {"autoencoder": diabolo.BasicAutoencoder()} if "autoencoder" in parameters_of(cls) else {}
        for constraint in map(_param_validation.make_constraint, constraints):
            try:
                bad = _param_validation.generate_invalid_param_val(constraint)
            except NotImplementedError:
                bad = object()
            if any(one.is_satisfied_by(bad) for one in map(_param_validation.make_constraint, constraints)):
                continue
            with pytest.raises(ValueError, match=name):
                cls(**given | {name: bad}).fit([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 0])
