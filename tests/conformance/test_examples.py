"""Register or fail: every part, recipe and estimator of diabolo's own stands in the table of examples."""

import inspect

import examples
from diabolo.core import recipes
from diabolo.core.component import list_components
from diabolo.core.model import Recipe
from diabolo.estimators.base import ESTIMATORS
from helpers import over

MODULES = examples.own_modules()


def own(table):
    return {name: cls for name, cls in table.items() if cls.__module__.split(".")[0] == "diabolo"}


def test_every_registered_part_has_an_example():
    missing = {name for name, cls in own(list_components()).items() if not inspect.isabstract(cls)} - set(
        examples.PARTS
    )
    assert not missing, f"add examples of {sorted(missing)} to tests/examples.py"


def test_every_recipe_has_an_example():
    of_one_width = {"restoring"}  # tests/engine/test_closed_form.py tries it
    assert set(recipes.__all__) - of_one_width == set(examples.RECIPES), "tests/examples.py and recipes.__all__ differ"


def test_every_function_that_makes_a_recipe_is_public():
    makers = {
        name
        for name, thing in vars(recipes).items()
        if inspect.isfunction(thing) and thing.__module__ == recipes.__name__ and not name.startswith("_")
    }
    assert makers == set(recipes.__all__)


def test_every_estimator_has_an_example():
    assert set(own(ESTIMATORS)) == set(examples.ESTIMATORS), "tests/examples.py and ESTIMATORS differ"


@over("name", list(examples.PARTS))
def test_examples_are_of_the_class_that_they_are_entered_under(name):
    assert {type(part) for part in examples.PARTS[name]} == {list_components()[name]}


@over("name", list(examples.RECIPES))
def test_example_recipes_are_recipes(name):
    assert type(examples.RECIPES[name]) is Recipe


@over("name", list(examples.ESTIMATORS))
def test_examples_are_of_the_estimator_that_they_are_entered_under(name):
    assert type(examples.ESTIMATORS[name]) is ESTIMATORS[name]


@over("name", list(examples.ESTIMATORS))
def test_the_table_knows_which_estimators_have_a_posterior(name):
    assert hasattr(examples.ESTIMATORS[name], "sample") == (name in examples.STOCHASTIC)
