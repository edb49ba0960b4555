"""Run the suites, each in a process of its own, and keep what came of them in benchmarks/results/peers.json."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from .. import machine
from .suites import NOT_RUN, SUITES

_RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
_SECONDS = 3600


def main() -> None:
    """Run all suites, or some of them; other suites' results are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a part of the suites' names")
    parser.add_argument(
        "--tests", action="append", default=[], metavar="NAME=DIR", help="a peer's repository, unpacked"
    )
    options = parser.parse_args()
    folders = dict(given.split("=", 1) for given in options.tests)
    kept = json.loads(_RESULTS.read_text()) if _RESULTS.exists() else {"suites": {}}
    for name, suite in SUITES.items():
        if options.only and options.only.lower() not in name.lower():
            continue
        if suite.repository and suite.repository not in folders:
            print(f"{name}: not run; give --tests {suite.repository}=DIR, since its package has no tests")
            continue
        where = str(Path(folders[suite.repository]) / suite.tests) if suite.repository else suite.tests
        found = run(name, where, by_module=not suite.repository)
        for test, one in found.items():
            if one["outcome"] == "failed":
                one["explanation"] = suite.explanation_of(test)
        counts = Counter(one["outcome"] for one in found.values())
        print(f"{name}: {dict(counts)}")
        kept["suites"][name] = {"counts": dict(counts), "tests": found}
        kept |= {"machine": machine.describe(), "not_run": NOT_RUN}
        _RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def run(name: str, where: str, *, by_module: bool) -> dict[str, dict[str, str]]:
    """Run one suite in a process of its own, and return the outcome of each test."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.peers.plugin", "-p", "no:cacheprovider"]
        command += ["-c", os.devnull, "--rootdir", folder, *(["--pyargs"] if by_module else []), where]
        environment = os.environ | {"DIABOLO_PEERS_SUITE": name, "DIABOLO_PEERS_OUT": str(out)}
        done = subprocess.run(
            command, env=environment, check=False, timeout=_SECONDS, capture_output=True, text=True, cwd=Path.cwd()
        )
        if not out.exists():
            raise SystemExit(f"{name} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        found: dict[str, dict[str, str]] = json.loads(out.read_text())
        return found


if __name__ == "__main__":
    main()
