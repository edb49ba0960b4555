"""The house: what importing costs, what is public, and that imports go down only."""

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import diabolo
from diabolo import estimators, part, parts
from diabolo.base import BaseAutoencoder

SOURCE = Path(diabolo.__file__).parent
MODULES = {path.stem: path for path in SOURCE.glob("*.py") if path.stem != "__init__"}
TASKS = sorted(f"tasks.{path.stem}" for path in SOURCE.glob("tasks/*.py") if path.stem != "__init__")

FILES = MODULES | {
    f"{folder}.{path.stem}": path for folder in ("report", "serving", "tasks") for path in SOURCE.glob(f"{folder}/*.py")
}
"""Every file by its room, those of a room that is a folder one by one."""

PART_ROOMS = {
    "corruptions",
    "latents",
    "likelihoods",
    "networks",
    "objectives",
    "optimizers",
    "penalties",
    "priors",
    "schedules",
}
COMMON = {"activations", "distributions", "errors", "layers", "part"}
# From the ground upwards; a room imports from no room above it.
FLOORS = [
    {
        "errors",
        "runtime",
        "sources",
        "progress",
        "metrics",
        "activations",
        "callbacks",
        "randomness",
        "convolution",
        "placement",
    },
    {"part", "distributions", "layers", "scaling", "schema", "sql"},
    {"manifest"},
    {"artifact"},
    {"data", "probes"},
    {"stores", "sinks"} | PART_ROOMS - {"objectives"},
    {"objectives", "streams"},
    {"model", "preparation"},
    {"recipes", "parts", "program", "inference", "packing", "traced", "onnx_graph"},
    {"training", "closed_form"},
    {"pretraining", "checkpoint"},
    {"reading"},
    {"report"},
    {"learner"},
    {"base"},
    {"classifier"},
    {"estimators", "sweeps"},
    {"ensembles"},
    {"tasks"},
    {"scoring", "answers"},
    {"exporting", "serving"},
    {"cli", "demo", "__main__"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
SCIKIT_LEARN_FROM = {
    "scaling",
    "reading",
    "report",
    "learner",
    "base",
    "classifier",
    "estimators",
    "sweeps",
    "ensembles",
    "scoring",
    "exporting",
    "cli",
    "__main__",
}


def imports_of(path):
    """(the package's own modules, the top-level names of others) that a file imports when it is imported or run."""
    own, others = set(), set()
    depth = len(path.relative_to(SOURCE).parts)  # of a folder's own modules nothing is said
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            own |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return own, others


# -- what importing costs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["import diabolo", "import diabolo; dir(diabolo); diabolo.__version__"])
def test_importing_diabolo_imports_nothing_heavy(statement):
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "jaxlib", "sklearn", "numpy", "scipy", "equinox", "optax", "pyarrow", "matplotlib", "rich", "typer"}
    assert not heavy & set(done.stdout.split())
    assert "diabolo" in done.stdout


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        diabolo.nope  # noqa: B018


# -- what is public ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", diabolo.__all__)
def test_every_public_name_is_there(name):
    assert getattr(diabolo, name) is not None
    assert name in dir(diabolo)


def test_the_estimators_are_all_public():
    assert set(estimators.__all__) - {"ESTIMATORS"} <= set(diabolo.__all__)


@pytest.mark.parametrize("module", [*sorted(MODULES), *TASKS])
def test_every_name_a_module_exports_exists_and_is_listed_once(module):
    loaded = importlib.import_module(f"diabolo.{module}")
    exported = getattr(loaded, "__all__", ())
    assert len(set(exported)) == len(exported)
    assert all(hasattr(loaded, name) for name in exported)


def test_every_part_that_diabolo_registers_can_be_imported_from_parts():
    ours = {name for name, cls in part.registered().items() if cls.__module__.startswith("diabolo.")}
    assert ours <= set(parts.__all__)


def is_own_docstring(thing):
    """Not the signature that `dataclass` writes where there is no docstring."""
    doc = (thing.__doc__ or "").strip()
    return bool(doc) and not (dataclasses.is_dataclass(thing) and re.fullmatch(rf"{thing.__name__}\(.*\)", doc))


DOCUMENTED = {
    f"{module}.{name}": getattr(loaded, name)
    for module, loaded in [(m, importlib.import_module(f"diabolo.{m}")) for m in [*sorted(MODULES), *TASKS]]
    for name in getattr(loaded, "__all__", ())
    if inspect.isclass(getattr(loaded, name)) or inspect.isfunction(getattr(loaded, name))
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_class_and_function_has_a_docstring(name):
    assert is_own_docstring(DOCUMENTED[name])


@pytest.mark.parametrize("name", [name for name in dir(BaseAutoencoder) if not name.startswith("_")])
def test_every_public_method_of_the_estimators_has_a_docstring(name):
    attribute = inspect.getattr_static(BaseAutoencoder, name)
    if callable(attribute) or hasattr(attribute, "__get__"):
        assert inspect.getdoc(getattr(BaseAutoencoder, name))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_says_what_it_is(module):
    if module != "__main__":
        assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))


# -- imports go down only ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", sorted(PART_ROOMS))
def test_parts_never_import_each_other(room):
    allowed = COMMON | ({"schedules"} if room == "objectives" else set())
    assert imports_of(MODULES[room])[0] <= allowed


@pytest.mark.parametrize("room", FILES, ids=str)
def test_imports_go_down_only(room):
    own, _ = imports_of(FILES[room])
    room = room.partition(".")[0]
    above = {other for other in own if FLOOR.get(other, 0) > FLOOR[room]}
    assert not above, f"{room} imports {sorted(above)} from above it"


def test_every_room_stands_on_a_floor():
    assert set(FLOOR) == set(MODULES) | {"demo", "report", "serving", "tasks"}, "enter new rooms in FLOORS"


@pytest.mark.parametrize("task", TASKS)
def test_a_task_uses_the_house_and_no_other_task(task):
    own, _ = imports_of(SOURCE / f"{task.replace('.', '/')}.py")
    assert not {room for room in own if FLOOR[room] >= FLOOR["tasks"]}


@pytest.mark.parametrize("room", sorted(set(MODULES) - {"__main__"}))
def test_no_two_rooms_import_each_other(room):
    own, _ = imports_of(MODULES[room])
    assert not {other for other in own & set(MODULES) if room in imports_of(MODULES[other])[0]}


@pytest.mark.parametrize("room", sorted(set(MODULES) - SCIKIT_LEARN_FROM))
def test_nothing_below_the_estimators_imports_scikit_learn(room):
    assert "sklearn" not in imports_of(MODULES[room])[1]


SYSTEMS = {"basic", "stacked", "sparse", "denoising", "variational"}
BELOW_THE_ESTIMATORS = sorted(
    room for room in FILES if FLOOR[room.partition(".")[0]] < FLOOR["learner"] and room != "recipes"
)


@pytest.mark.parametrize("room", [*BELOW_THE_ESTIMATORS, "learner", "base"])
def test_no_room_below_the_estimators_names_a_system(room):
    text = FILES[room].read_text(encoding="utf-8")
    assert not re.findall(r"(?:Basic|Stacked|Sparse|Denoising|Variational)Autoencoder", text)
    for node in ast.walk(ast.parse(text)):
        is_a_tag = isinstance(node, ast.Attribute) and ast.unparse(node).endswith("input_tags.sparse")
        if isinstance(node, ast.Name | ast.Attribute) and not is_a_tag:
            assert (node.id if isinstance(node, ast.Name) else node.attr).lower() not in SYSTEMS
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.lower() not in SYSTEMS


def test_the_examples_of_this_house_are_its_rooms():
    """Whoever adds a room of parts enters it here, so that the rules above hold for it."""
    modules = {cls.__module__.removeprefix("diabolo.") for cls in part.registered().values()}
    ours = {module for module in modules if module in MODULES}
    assert ours == PART_ROOMS | {"model"}
