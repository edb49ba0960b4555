"""A part is a value: frozen, hashable, JSON both ways, a pytree of its numbers, and strict about its ranges."""

import copy
import dataclasses
import json
import math
import pickle
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone

import examples
from diabolo import parts
from diabolo.core import component as part_module
from diabolo.core.component import Component, Interval, from_json, list_components, to_json
from diabolo.errors import ArtifactError, InvalidPart, UnknownPart
from helpers import over

every_part = over("part", dict(examples.all_parts()))
every_class = over("cls", {name: list_components()[name] for name in examples.PARTS})


def first(cls):
    return examples.PARTS[cls.__name__][0]


def is_number(field):
    return bool(field.metadata.get("number")) or field.type in ("float", float)


def numbers_of(part):
    return [f.name for f in dataclasses.fields(part) if is_number(f) and getattr(part, f.name) is not None]


def structure_of(tree):
    return jax.tree.structure(tree)


# -- a value ----------------------------------------------------------------------------------------------------------


@every_part
def test_a_part_is_frozen(part):
    names = [f.name for f in dataclasses.fields(part)]
    for name in names or ["anything"]:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, name, None)


@every_part
@over("copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p)), clone, dataclasses.replace])
def test_copies_are_equal_and_hash_alike(part, copied):
    other = copied(part)
    assert type(other) is type(part)
    assert other == part
    assert hash(other) == hash(part)


@every_class
def test_examples_of_one_class_differ(cls):
    some = examples.PARTS[cls.__name__]
    assert len(set(some)) == len(some)


def test_parts_of_different_classes_differ():
    assert parts.L1(0.1) != parts.WeightDecay(0.1)
    assert len({parts.L1(0.1), parts.WeightDecay(0.1), parts.L1(0.1)}) == 2


@every_part
def test_the_repr_is_the_part_written_as_python(part):
    assert eval(repr(part), dict(list_components().items())) == part


@every_part
def test_whole_numbers_in_number_fields_become_floats(part):
    for name in numbers_of(part):
        assert type(getattr(part, name)) is float


def test_a_whole_number_and_its_float_are_the_same_part():
    assert parts.Masking(1) == parts.Masking(1.0)
    assert hash(parts.Masking(1)) == hash(parts.Masking(1.0))


@over(
    ("listed", "tupled"),
    [
        (parts.MLP([3, 2]), parts.MLP((3, 2))),
        (parts.Steps([1, 2]), parts.Steps((1, 2))),
        (parts.Chain([parts.Masking()]), parts.Chain((parts.Masking(),))),
        (parts.Recipe(penalties=[parts.L1()]), parts.Recipe(penalties=(parts.L1(),))),
    ],
)
def test_lists_become_tuples(listed, tupled):
    assert listed == tupled
    assert hash(listed) == hash(tupled)


# -- JSON -------------------------------------------------------------------------------------------------------------


@every_part
def test_a_part_survives_json(part):
    text = json.dumps(to_json(part), allow_nan=False)
    back = from_json(json.loads(text))
    assert type(back) is type(part)
    assert back == part
    assert json.dumps(to_json(back)) == text


@every_class
def test_json_names_the_class_and_every_field(cls):
    assert set(to_json(first(cls))) == {"part", *(f.name for f in dataclasses.fields(cls))}


@over("value", [None, True, 3, 0.5, "text", (), (1, (2, "x")), {"a": 1}])
def test_plain_values_survive_json(value):
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


@over("wrap", [lambda p: p, lambda p: [p], lambda p: {"part": "Chain", "steps": [p]}])
def test_an_unknown_part_is_named(wrap):
    with pytest.raises(UnknownPart, match="NeverDefined") as caught:
        from_json(wrap({"part": "NeverDefined", "p": 0.5}))
    assert isinstance(caught.value, ArtifactError)


# -- a pytree ---------------------------------------------------------------------------------------------------------


@every_part
def test_flattening_and_unflattening_gives_an_equal_part(part):
    leaves, tree = jax.tree.flatten(part)
    assert jax.tree.unflatten(tree, leaves) == part
    assert hash(tree) == hash(jax.tree.structure(copy.deepcopy(part)))


@every_part
def test_a_part_flattens_alike_with_and_without_keys(part):
    keyed, tree = jax.tree_util.tree_flatten_with_path(part)
    assert [leaf for _, leaf in keyed] == jax.tree.leaves(part)
    assert tree == structure_of(part)


@every_part
def test_every_number_is_a_leaf_and_changing_it_keeps_the_structure(part):
    keyed, _ = jax.tree_util.tree_flatten_with_path(part)
    own = {path[0].name for path, _ in keyed if len(path) == 1}
    assert own == set(numbers_of(part))
    assert all(type(leaf) is float for _, leaf in keyed)
    moved = jax.tree.map(lambda leaf: leaf + 1.0, part)
    assert structure_of(moved) == structure_of(part)
    if keyed:
        assert moved != part


@every_part
def test_changing_structure_changes_the_structure(part):
    for field in dataclasses.fields(part):
        if field.metadata.get("whole"):
            changed = part.replace(**{field.name: getattr(part, field.name) + 1})
        elif "options" in field.metadata:
            current = getattr(part, field.name)
            changed = part.replace(**{field.name: next(o for o in field.metadata["options"] if o != current)})
        elif field.metadata.get("wholes"):
            first_one, *others = getattr(part, field.name) or (6,)
            changed = part.replace(**{field.name: (first_one + 1, *others)})
        else:
            continue
        assert structure_of(changed) != structure_of(part), field.name


def test_leaves_may_be_arrays_and_tracers():
    given = dict(examples.all_parts())
    doubled = jax.jit(lambda given: jax.tree.map(lambda leaf: 2 * leaf, given))(given)
    for name, part in given.items():
        assert structure_of(doubled[name]) == structure_of(part), name
        for before, after in zip(jax.tree.leaves(part), jax.tree.leaves(doubled[name]), strict=True):
            assert math.isclose(float(after), 2 * before, rel_tol=1e-6), name


def test_a_sweep_over_a_number_is_one_vmap():
    sweep = jax.tree.map(lambda *leaves: np.stack(leaves), *(parts.GaussianNoise(s) for s in (0.0, 1.0, 2.0)))
    x = jnp.zeros((4, 3))
    noisy = jax.vmap(lambda part: part(jax.random.key(0), x))(sweep)
    np.testing.assert_allclose(noisy[2], 2 * noisy[1], rtol=1e-6)
    assert not np.any(noisy[0])


def test_a_bound_is_no_leaf_until_it_is_given():
    assert len(jax.tree.leaves(parts.SaltAndPepper())) == 1
    assert len(jax.tree.leaves(parts.SaltAndPepper(low=0.0, high=1.0))) == 3


# -- replace and get_params -------------------------------------------------------------------------------------------


def test_replace_makes_a_copy():
    part = parts.Masking(0.1)
    assert part.replace(p=0.5) == parts.Masking(0.5)
    assert part == parts.Masking(0.1)


def test_replace_reaches_parts_within_parts():
    recipe = parts.Recipe(latent=parts.Deterministic(2))
    assert recipe.replace(latent__n_latent=5).latent == parts.Deterministic(5)
    elbo = parts.ELBO(parts.LinearWarmup(10))
    deep = parts.Recipe(latent=parts.DiagonalGaussian(2), objective=elbo).replace(objective__beta__epochs=3)
    assert deep.objective == parts.ELBO(parts.LinearWarmup(3.0))


def test_replace_reaches_several_fields_of_one_part():
    part = parts.ELBO(parts.LinearWarmup(10)).replace(beta__epochs=4, beta__start=0.5, n_samples=2)
    assert part == parts.ELBO(parts.LinearWarmup(4.0, 0.5), 2)


@over("names", [("corruption", "corruption__p"), ("corruption__p", "corruption")])
def test_replace_takes_a_new_part_and_a_field_of_it_in_any_order(names):
    values = {"corruption": parts.Masking(), "corruption__p": 0.9}
    recipe = parts.Recipe(corruption=parts.Masking(0.5)).replace(**{name: values[name] for name in names})
    assert recipe.corruption == parts.Masking(0.9)


@over(
    ("changes", "named"),
    [
        ({"q": 1}, "q.* p"),
        ({"q__p": 1}, "q"),
        ({"p__x": 1}, r"Masking\.p.*x"),
        ({"p": 2.0}, r"Masking\.p.*2\.0"),
    ],
)
def test_replace_says_what_is_wrong(changes, named):
    with pytest.raises(InvalidPart, match=named):
        parts.Masking().replace(**changes)


def test_get_params_lists_parts_within_parts():
    part = parts.ELBO(parts.LinearWarmup(10))
    assert part.get_params(deep=False) == {"beta": parts.LinearWarmup(10), "n_samples": 1}
    assert part.get_params() == {
        "beta": parts.LinearWarmup(10),
        "beta__epochs": 10.0,
        "beta__start": 0.0,
        "n_samples": 1,
    }


@every_part
def test_get_params_names_what_replace_takes(part):
    assert part.replace(**part.get_params(deep=False)) == part
    for name, value in part.get_params().items():
        assert part.replace(**{name: value}) == part


# -- ranges -----------------------------------------------------------------------------------------------------------


def outside(field):
    """Values that a field with a declared range must refuse."""
    meta = field.metadata
    if "options" in meta:
        return ["no such name", "", None, 3]
    interval = meta["within"]
    low, high = interval.bounds
    bad = [math.nan, math.inf, -math.inf, True, "1", [0.3]]
    if field.default is not None:
        bad.append(None)
    if meta.get("whole"):
        return [*bad, low - 1, int(low) - 1, 1.5, 2.0]
    if math.isfinite(low):
        bad += [low - 1.0, low if interval.text[0] == "(" else math.nextafter(low, -math.inf)]
    if math.isfinite(high):
        bad += [high + 1.0, high if interval.text[-1] == ")" else math.nextafter(high, math.inf)]
    return bad


def inside(field):
    """Values at the ends of a declared range, or near them where an end does not belong to it."""
    meta = field.metadata
    if "options" in meta:
        return list(meta["options"])
    low, high = meta["within"].bounds
    if meta.get("whole"):
        return [int(low), int(low) + 100]
    ends = [
        low if meta["within"].text[0] == "[" else math.nextafter(low, math.inf),
        high if meta["within"].text[-1] == "]" else math.nextafter(high, -math.inf),
    ]
    return [end for end in ends if abs(end) < 1e300] or [0.0]


def ranged(values):
    return {
        f"{name}.{field.name}={value!r}": (cls, field.name, value)
        for name, cls in list_components().items()
        if name in examples.PARTS
        for field in dataclasses.fields(cls)
        if "within" in field.metadata or "options" in field.metadata
        for value in values(field)
    }


@over(("cls", "name", "value"), ranged(outside))
def test_a_value_outside_its_range_is_refused_by_name(cls, name, value):
    with pytest.raises(InvalidPart, match=rf"{cls.__name__}\.{name}\b"):
        first(cls).replace(**{name: value})


@over(("cls", "name", "value"), ranged(inside))
def test_a_value_within_its_range_is_kept(cls, name, value):
    assert getattr(first(cls).replace(**{name: value}), name) == value


def test_invalid_parts_are_value_errors():
    with pytest.raises(ValueError, match="Masking"):
        parts.Masking(2.0)


@over(
    ("part", "plain"),
    [
        (lambda: parts.Masking(np.float64(0.5)), parts.Masking(0.5)),
        (lambda: parts.Masking(np.float32(0.5)), parts.Masking(0.5)),
        (lambda: parts.GaussianNoise(np.int64(2)), parts.GaussianNoise(2.0)),
        (lambda: parts.Deterministic(np.int64(3)), parts.Deterministic(3)),
        (lambda: parts.MLP((np.int64(3), np.int32(2))), parts.MLP((3, 2))),
        (lambda: parts.MLP(np.array([3, 2])), parts.MLP((3, 2))),
    ],
)
def test_numpy_numbers_are_numbers(part, plain):
    made = part()
    assert made == plain
    assert json.dumps(to_json(made)) == json.dumps(to_json(plain))


def test_a_numpy_number_outside_its_range_is_refused():
    with pytest.raises(InvalidPart, match=r"Masking\.p"):
        parts.Masking(np.float32(1.5))


@over(
    ("text", "within", "without"),
    [
        ("[0, 1]", [0.0, 0.5, 1.0], [-0.1, 1.1]),
        ("(0, 1)", [0.5], [0.0, 1.0]),
        ("[0, inf)", [0.0, 1e308], [-1e-9, math.inf]),
        ("(-inf, inf)", [0.0, -1e308], [math.inf, -math.inf]),
    ],
)
def test_an_interval_holds_what_its_notation_says(text, within, without):
    assert all(value in Interval(text) for value in within)
    assert not any(value in Interval(text) for value in without)


@over("hidden", [(0,), (-3,), (4, 0), (2.5,), ("4",), 8, None])
def test_hidden_layers_are_a_tuple_of_positive_whole_numbers(hidden):
    with pytest.raises(InvalidPart, match=r"MLP\.hidden"):
        parts.MLP(hidden)


@over("shape", [(8,), (8, 8, 1, 1), (), (8, 0, 1), (8, 8.0), ("8", 8, 1), 64, None])
@over("cls", [parts.Convolutional, parts.TransposedConvolutional, parts.UNet, parts.GRUEncoder, parts.GRUDecoder])
def test_a_shape_is_a_few_positive_whole_numbers(cls, shape):
    with pytest.raises(InvalidPart, match=rf"{cls.__name__}\.shape"):
        cls(shape)


@over("steps", [("masking",), (0.3,), (parts.Deterministic(),), parts.Masking()])
def test_a_chain_holds_corruptions_only(steps):
    with pytest.raises(InvalidPart, match=r"Chain\.steps"):
        parts.Chain(steps)


@over("beta", [0.5, "linear", None, parts.Masking()])
def test_the_weight_of_the_kl_term_is_a_schedule(beta):
    with pytest.raises(InvalidPart, match=r"ELBO\.beta"):
        parts.ELBO(beta)


# -- the table of parts -----------------------------------------------------------------------------------------------


def test_a_second_part_of_the_same_name_is_refused():
    with pytest.raises(InvalidPart, match="Masking"):

        @dataclass(frozen=True)
        class Masking(parts.Corruption):
            def __call__(self, key, x):
                return x

    assert list_components()["Masking"] is parts.Masking


def test_the_same_part_may_be_defined_again():
    def define(default):
        @dataclass(frozen=True)
        class DefinedTwice(parts.Corruption):
            level: float = default

            def __call__(self, key, x):
                return x

        return DefinedTwice

    try:
        define(0.1)
        again = define(0.2)
        assert list_components()["DefinedTwice"] is again
        assert from_json({"part": "DefinedTwice"}) == again(0.2)
    finally:
        del part_module._REGISTRY["DefinedTwice"]


def test_registered_lists_one_slot():
    assert "StandardNormal" in list_components("prior")
    assert all(issubclass(cls, parts.Prior) for cls in list_components("prior").values())
    assert {"Masking", "Chain"} <= set(list_components("corruption"))
    assert not set(list_components("corruption")) & set(list_components("penalty"))


def test_a_slot_is_abstract_and_not_a_part():
    assert "Corruption" not in list_components()
    with pytest.raises(TypeError, match="abstract"):
        parts.Corruption()


def test_a_part_without_a_slot_is_refused():
    before = dict(part_module._REGISTRY)
    try:
        with pytest.raises(InvalidPart, match="role"):

            class Homeless(Component):
                pass
    finally:
        part_module._REGISTRY.clear()
        part_module._REGISTRY.update(before)


# -- recipes: parts that fit each other -------------------------------------------------------------------------------


@over("slot", ["corruption", "encoder", "latent", "prior", "decoder", "likelihood", "objective"])
def test_a_slot_refuses_a_part_of_another(slot):
    with pytest.raises(InvalidPart, match=slot):
        parts.Recipe(**{slot: parts.L1()})
    with pytest.raises(InvalidPart, match=slot):
        parts.Recipe(**{slot: "text"})


def test_penalties_must_be_penalties():
    with pytest.raises(InvalidPart, match=r"penalties\[1\]"):
        parts.Recipe(penalties=(parts.L1(), parts.Masking()))


@over("latent", [parts.Deterministic(2), parts.Deterministic(2, "relu"), parts.DiagonalGaussian(2)])
def test_the_kl_sparsity_penalty_is_refused_where_the_code_leaves_the_unit_interval(latent):
    with pytest.raises(InvalidPart, match="KLSparsity.*sigmoid"):
        parts.Recipe(latent=latent, penalties=(parts.KLSparsity(),))


@over("objective", [parts.ELBO(), parts.ImportanceWeighted()])
def test_an_objective_of_the_posterior_is_refused_where_the_code_is_deterministic(objective):
    with pytest.raises(InvalidPart, match=f"{type(objective).__name__}.*DiagonalGaussian"):
        parts.Recipe(latent=parts.Deterministic(2), objective=objective)


def test_the_decoder_is_the_encoder_mirrored_unless_given():
    assert parts.Recipe(encoder=parts.MLP((5, 3), "tanh")).decoder == parts.MLP((3, 5), "tanh")
    assert parts.Recipe(encoder=parts.MLP((5, 3)), decoder=parts.MLP(())).decoder == parts.MLP(())
