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
from diabolo import parts
from diabolo.core import component
from diabolo.estimators import autoencoders
from diabolo.estimators.base import BaseAutoencoder

SOURCE = Path(diabolo.__file__).parent
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.stem not in ("__init__", "__main__")
}
"""Every module by its dotted name within the package."""
PACKAGES = sorted(path.parent for path in SOURCE.rglob("__init__.py"))

BELOW_THE_ESTIMATORS = [name for name in FILES if name.split(".")[0] in ("core", "data", "persistence", "engine")]
ALLOWED_SCIKIT_LEARN = {"data.scaler"}


def external_imports_of(path):
    """The top-level names of other packages that a file imports when it is imported or run."""
    others = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add(node.module.split(".")[0])
    return others


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
    assert set(autoencoders.__all__) - {"ESTIMATORS"} <= set(diabolo.__all__)


@pytest.mark.parametrize("module", list(FILES))
def test_every_name_a_module_exports_exists_and_is_listed_once(module):
    loaded = importlib.import_module(f"diabolo.{module}")
    exported = getattr(loaded, "__all__", ())
    assert len(set(exported)) == len(exported)
    assert all(hasattr(loaded, name) for name in exported)


def test_every_part_that_diabolo_registers_can_be_imported_from_parts():
    ours = {name for name, cls in component.registered().items() if cls.__module__.startswith("diabolo.")}
    assert ours <= set(parts.__all__)


def is_own_docstring(thing):
    """Not the signature that `dataclass` writes where there is no docstring."""
    doc = (thing.__doc__ or "").strip()
    return bool(doc) and not (dataclasses.is_dataclass(thing) and re.fullmatch(rf"{thing.__name__}\(.*\)", doc))


DOCUMENTED = {
    f"{module}.{name}": getattr(loaded, name)
    for module, loaded in [(m, importlib.import_module(f"diabolo.{m}")) for m in list(FILES)]
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


@pytest.mark.parametrize("path", [*FILES.values(), *(package / "__init__.py" for package in PACKAGES)], ids=str)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


# -- imports go down only ---------------------------------------------------------------------------------------------


def test_imports_go_down_only(tmp_path):
    """By the contracts in pyproject.toml: packages are layers, and parts do not import each other."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", sorted(set(BELOW_THE_ESTIMATORS) - ALLOWED_SCIKIT_LEARN))
def test_nothing_below_the_estimators_imports_scikit_learn(name):
    assert "sklearn" not in external_imports_of(FILES[name])


SYSTEMS = {"basic", "stacked", "sparse", "denoising", "variational"}


@pytest.mark.parametrize(
    "name",
    [
        *sorted(set(BELOW_THE_ESTIMATORS) - {"core.recipes"}),
        *(name for name in FILES if name.startswith("report.")),
        "estimators.input",
        "estimators.trainable",
        "estimators.base",
    ],
)
def test_no_module_below_the_estimators_names_a_system(name):
    text = FILES[name].read_text(encoding="utf-8")
    assert not re.findall(r"(?:Basic|Stacked|Sparse|Denoising|Variational)Autoencoder", text)
    for node in ast.walk(ast.parse(text)):
        is_a_tag = isinstance(node, ast.Attribute) and ast.unparse(node).endswith("input_tags.sparse")
        if isinstance(node, ast.Name | ast.Attribute) and not is_a_tag:
            assert (node.id if isinstance(node, ast.Name) else node.attr).lower() not in SYSTEMS
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert node.value.lower() not in SYSTEMS
