"""The house: what importing costs, what is public, that imports go down only, and that it stays in order."""

import ast
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
from helpers import over

SOURCE = Path(diabolo.__file__).parent
FILES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.stem not in ("__init__", "__main__")
}
"""Every module by its dotted name within the package."""

BELOW_THE_ESTIMATORS = [name for name in FILES if name.split(".")[0] in ("core", "data", "persistence", "engine")]
ALLOWED_SCIKIT_LEARN = {"data.scaler", "engine.count_start"}


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


def test_an_autoencoder_needs_no_module_of_the_others():
    code = "import gc, sys; from diabolo import BasicAutoencoder; print(gc.isenabled(), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    collects, *found = done.stdout.split()
    assert collects == "True"
    others = {"anomaly_detector", "generator", "imputer", "series_detector", "sweep"}
    assert not {f"diabolo.estimators.{name}" for name in others} & set(found)
    later = {"optax", "matplotlib", "plotly", "typer", "PIL", "safetensors.flax"}
    later |= {f"sklearn.{name}" for name in ("decomposition", "linear_model", "model_selection", "preprocessing")}
    assert not later & set(found)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        diabolo.nope  # noqa: B018


# -- what is public ---------------------------------------------------------------------------------------------------


def test_every_public_name_is_there():
    assert set(diabolo.__all__) <= set(dir(diabolo))
    assert all(getattr(diabolo, name) is not None for name in diabolo.__all__)


def test_the_estimators_are_all_public():
    assert set(autoencoders.__all__) - {"ESTIMATORS"} <= set(diabolo.__all__)


def test_every_part_that_diabolo_registers_can_be_imported_from_parts():
    ours = {name for name, cls in component.list_components().items() if cls.__module__.startswith("diabolo.")}
    assert ours <= set(parts.__all__)


def test_every_public_method_of_the_estimators_has_a_docstring():
    """Inherited ones count, which ruff cannot see."""
    for name in dir(BaseAutoencoder):
        attribute = inspect.getattr_static(BaseAutoencoder, name)
        if not name.startswith("_") and (callable(attribute) or hasattr(attribute, "__get__")):
            assert inspect.getdoc(getattr(BaseAutoencoder, name)), name


# -- imports go down only ---------------------------------------------------------------------------------------------


def test_imports_go_down_only(tmp_path):
    """By the contracts in pyproject.toml: packages are layers, and parts do not import each other."""
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [command, "--no-cache"], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stdout


@over("name", sorted(set(BELOW_THE_ESTIMATORS) - ALLOWED_SCIKIT_LEARN))
def test_nothing_below_the_estimators_imports_scikit_learn(name):
    assert "sklearn" not in external_imports_of(FILES[name])


SYSTEMS = {"basic", "stacked", "sparse", "denoising", "variational"}


@over(
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
