"""Child processes for all fits, their answers saved in a work folder, so that an interrupted run continues."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..speed.children import environment
from . import child, examples, sets

__all__ = ["FORMER", "NOW", "PEERS", "Plan", "Task", "ask", "collect", "measure", "tasks"]

NOW, FORMER, PEERS = "now", "former", "peers"
_OWN_FILES = ("child.py", "examples.py", "peers.py", "sets.py")


@dataclass(frozen=True)
class Task:
    """One set and one seed: a file in the work folder."""

    name: str
    seed: int
    parts: tuple[str, ...]
    about: dict[str, Any]

    def file(self, work: Path) -> Path:
        """Give the path of the task's answers."""
        return work / f"{self.name}-{self.seed}.json"


@dataclass(frozen=True)
class Plan:
    """Where the data and the answers are, and copies of the libraries, which nobody edits while they are measured.

    Parameters
    ----------
    data : Path or None
    work : Path
    libraries : dict
        The folder that holds each library's copy, by "now" and "former".
    keys : dict
        Digest of each library and of what measures it: answers of other files are not used again.
    former_seeds : frozenset of int or None
        Seeds that the former library is measured with; None: all.
    """

    data: Path | None
    work: Path
    libraries: dict[str, Path]
    keys: dict[str, str]
    former_seeds: frozenset[int] | None = None
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Seconds are compared within a run only."""

    @classmethod
    def make(
        cls,
        data: Path | None,
        work: Path,
        libraries: dict[str, Path],
        former_seeds: frozenset[int] | None = None,
    ) -> Plan:
        """Copy the libraries, given by their `src` folders, into the work folder."""
        own = hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in _OWN_FILES))
        measuring = own.hexdigest()[:12]
        copies, keys = {}, {PEERS: measuring}
        for which, src in libraries.items():
            (work / "libraries").mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(suffix=".partial", dir=work / "libraries"))
            shutil.copytree(src / "diabolo", partial / "diabolo", ignore=shutil.ignore_patterns("__pycache__"))
            digest = child.fingerprint(partial / "diabolo")
            copies[which] = (work / "libraries" / digest).resolve()
            if copies[which].exists():
                shutil.rmtree(partial)
            else:
                partial.rename(copies[which])
            keys[which] = f"{digest}-{measuring}"
        return cls(data, work, copies, keys, former_seeds)


def tasks(names: Sequence[str], seeds: Sequence[int], systems: Sequence[str], data: Path | None) -> list[Task]:
    """List the tasks of sets, seeds and systems, set by set."""
    found = []
    for name in names:
        if name == child.EXAMPLES:
            parts = tuple(part for part in examples.PARTS if part in systems)
            found += [Task(name, seed, parts, {}) for seed in seeds if parts]
            continue
        one = sets.SETS[name]
        rows = one.load(data)
        parts = tuple(part for part in child.parts_of(one, rows.shape[1]) if child.system_of(part) in systems)
        for seed in seeds if parts else ():
            train, _ = sets.split(rows, seed)
            keep = sets.varying(train)
            about = {
                "kind": one.kind,
                "half": sets.half_of(name),
                "rows": len(rows),
                "columns": rows.shape[1],
                "constant": int((~keep).sum()),
                "repeated": int((keep & sets.repeated(train)).sum()),
            }
            found.append(Task(name, seed, parts, about))
    # One seed of every set first: a program compiled for one seed is not compiled again for the next.
    return sorted(found, key=lambda task: seeds.index(task.seed))


def measure(plan: Plan, todo: Sequence[Task], n_jobs: int = 1) -> None:
    """Have all tasks done, several at a time if asked, each on a core of its own.

    Each library has a folder of its own for compiled programs, empty when the run begins.
    """
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ():
        cores.put(core)

    def pin() -> None:
        if n_jobs > 1 and not cores.empty():
            os.sched_setaffinity(0, {cores.get()})  # of this thread, and so of the processes that it starts

    def work(numbered: tuple[int, Task]) -> None:
        number, task = numbered
        started = time.perf_counter()
        said = _do(plan, task, Path(caches), former_first=bool(number % 2))
        seconds = time.perf_counter() - started
        line = f"[{number + 1}/{len(todo)}] {task.name}, seed {task.seed}: {said} ({seconds:.0f} s in all)"
        print(line, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="first-contact-") as caches:
        pool = ThreadPoolExecutor(n_jobs, initializer=pin)
        try:
            for _ in pool.map(work, enumerate(todo)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)


def _do(plan: Plan, task: Task, caches: Path, former_first: bool) -> str:
    """Measure the parts of a task that have no answers yet, with all libraries; return a line of progress."""
    file, keys = task.file(plan.work), plan.keys
    saved = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    said = []
    for which in sorted(plan.libraries, reverse=not former_first):  # "former" comes before "now" in the alphabet
        if which == FORMER and plan.former_seeds is not None and task.seed not in plan.former_seeds:
            continue
        known = _known(saved, which, keys) | (_known(saved, PEERS, keys) if which == NOW else {})
        wanted = [part for part in task.parts if which == NOW or not part.startswith(PEERS)]
        missing = [part for part in wanted if part not in known]
        if missing:
            request = {"set": task.name, "seed": task.seed, "parts": missing}
            request["data"] = str(plan.data.resolve()) if plan.data else ""
            try:
                found = ask(request, plan.libraries[which], caches / which)
            except RuntimeError as error:
                said.append(f"{which}: no answer: {error}")
                continue
            known |= {part: line | {"run": plan.run} for part, line in found["parts"].items()}
            peers = {part: line for part, line in known.items() if part.startswith(PEERS)}
            ours = {part: line for part, line in known.items() if part not in peers}
            saved[which] = {"key": keys[which], "parts": ours}
            if which == NOW:
                saved[PEERS] = {"key": keys[PEERS], "parts": peers}
            saved["about"] = task.about
            _write(file, saved)
        errors = [f"{part} {known[part]['error']}" for part in wanted if "error" in known.get(part, {})]
        said.append(", ".join([f"{which} {_seconds(known, wanted):.1f} s of fits", *errors]))
    return "; ".join(said)


def _known(saved: dict[str, Any], which: str, keys: dict[str, str]) -> dict[str, Any]:
    return dict(saved[which]["parts"]) if saved.get(which, {}).get("key") == keys[which] else {}


def _seconds(parts: dict[str, Any], wanted: Sequence[str]) -> float:
    return sum(fit.get("seconds", 0.0) for part in wanted if part in parts for fit in parts[part]["fits"])


def _write(file: Path, saved: dict[str, Any]) -> None:
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(saved, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(file)


def ask(request: dict[str, Any], src: Path, cache: Path) -> dict[str, Any]:
    """Have one request answered by the library in the folder ``src``, in a process of its own.

    Raises
    ------
    RuntimeError
        If the process ends without an answer, or imports another library.
    """
    cache.mkdir(parents=True, exist_ok=True)
    around = environment(cache.resolve()) | {"PYTHONPATH": str(src.resolve()), "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, "-m", "benchmarks.first_contact.child"]
    done = subprocess.run(
        words, input=json.dumps(request), capture_output=True, text=True, env=around, cwd=_ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {done.stderr.strip()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if Path(found["library"]).resolve() != src.resolve() / "diabolo":
        raise RuntimeError(f"the library was imported from {found['library']}, not from {src}")
    return found


_ROOT = Path(__file__).parents[2]


def collect(plan: Plan, todo: Sequence[Task]) -> dict[str, Any]:
    """Gather what is known of the tasks: {"sets", "seeds", "libraries", "runs": {library: {set: {seed: {part: …}}}}}.

    The peers' figures stand in the runs of all libraries, whose rows are the same.
    """
    keys = plan.keys
    about: dict[str, Any] = {}
    runs: dict[str, Any] = {which: {} for which in plan.libraries}
    for task in todo:
        if not task.file(plan.work).exists():
            continue
        saved = json.loads(task.file(plan.work).read_text(encoding="utf-8"))
        peers = _known(saved, PEERS, keys)
        for which, by_set in runs.items():
            known = _known(saved, which, keys)
            lines = {part: _rounded((known | peers)[part]) for part in task.parts if part in known or part in peers}
            if known:
                by_set.setdefault(task.name, {})[str(task.seed)] = lines
        if task.about:
            about.setdefault(task.name, task.about)
    seeds = sorted({task.seed for task in todo})
    return {"seeds": seeds, "libraries": keys, "sets": about, "runs": runs}


def _rounded(value: Any) -> Any:
    """Round all numbers to six digits."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
