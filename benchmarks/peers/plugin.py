"""A plugin of pytest: puts the adapters in place before the peer's tests are imported, and keeps what came of each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sklearn.experimental import enable_iterative_imputer  # noqa: F401  some tests import it themselves

from .adapters import put_in_place
from .suites import SUITES

__all__: list[str] = []

_SUITE = SUITES[os.environ["DIABOLO_PEERS_SUITE"]]
_FOUND: dict[str, dict[str, str]] = {}


def pytest_configure(config: Any) -> None:
    """Replace the peer's classes."""
    for dotted, adapter in _SUITE.replaced.items():
        put_in_place(dotted, adapter)


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Leave out the tests of the peer alone."""
    kept, left_out = [], []
    for item in items:
        why = next((why for start, why in _SUITE.not_ours.items() if item.name.startswith(start)), None)
        (kept if why is None else left_out).append(item)
        if why is not None:
            _FOUND[_id(item.nodeid)] = {"outcome": "not ours", "reason": why}
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_runtest_logreport(report: Any) -> None:
    """Keep the outcome of a test, and the first line of a failure."""
    if report.when == "call" or report.outcome != "passed":
        reason = ""
        if report.outcome != "passed":
            lines = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr).strip().splitlines()
            reason = lines[0].rpartition(": ")[2] if not lines[0].count("Error") else lines[0].partition(": ")[2]
        _FOUND[_id(report.nodeid)] = {"outcome": report.outcome, "reason": reason[:300]}


def pytest_sessionfinish(session: Any) -> None:
    """Write the outcomes."""
    Path(os.environ["DIABOLO_PEERS_OUT"]).write_text(json.dumps(_FOUND, ensure_ascii=False))


def _id(nodeid: str) -> str:
    return nodeid.partition("::")[2]
