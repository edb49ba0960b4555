"""The lowest versions that pyproject.toml allows, as constraints for pip: of what diabolo needs, and of two extras."""

import re
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = ("onnx", "serve")


def bounds(requirement):
    """Name, lowest version, and the first that is not allowed; None, if there is no such bound."""
    name, rest = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?(.*)", requirement).groups()
    lowest, beyond = (re.search(rf"{sign}([\d.]+)", rest) for sign in (">=", "<"))
    return name, lowest and lowest[1], beyond and beyond[1]


if __name__ == "__main__":
    for requirement in (
        *PROJECT["dependencies"],
        *(one for name in EXTRAS for one in PROJECT["optional-dependencies"][name]),
    ):
        name, lowest, _ = bounds(requirement)
        print(f"{name}=={lowest}")
