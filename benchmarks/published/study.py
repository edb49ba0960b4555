"""What a row is given: data, seeds, and a place where parts of a long run are kept, so that it can be continued."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, clone

import diabolo

__all__ = ["Figures", "Numbers", "Study", "written"]

Numbers = dict[str, Any]
"""JSON."""
Figures = dict[str, list[float]]
"""Numbers by name, one for each seed."""
T = TypeVar("T")


@dataclass
class Study:
    """One run of a row.

    Whatever is done is done in parts. A part that has ended is read, not done again, and a training that was stopped
    goes on from its last checkpoint: the same command, given again, continues.
    """

    name: str
    data: Path | None
    work: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    quick: bool = False
    """Few rows and one epoch: to see that it runs, not what it finds."""
    _started: float = field(default_factory=time.perf_counter, init=False)
    _before: float = field(default=0.0, init=False)

    @property
    def seconds(self) -> float:
        """What it has taken so far, the parts of earlier calls included."""
        return self._before + time.perf_counter() - self._started

    def pick(self, full: T, quick: T) -> T:
        """One of two sizes of a job."""
        return quick if self.quick else full

    def epochs(self, n: int) -> int:
        """How many to train for."""
        return self.pick(n, 1)

    def some(self, rows: np.ndarray, n: int = 300) -> np.ndarray:
        """The rows; a few of them if it is to be quick."""
        return rows[:n] if self.quick else rows

    def trials(
        self, make: Callable[[int], Any], X: np.ndarray, measure: Callable[[Any], Numbers], label: str = "", **fit: Any
    ) -> tuple[Figures, str]:
        """A trial for every seed, of the estimator that ``make`` gives for it: numbers, and the first as written."""
        figures: Figures = {}
        for seed in self.seeds:
            numbers = self.trial(f"{label}seed-{seed}", make(seed), X, measure, **fit)
            for name, value in numbers.items():
                figures.setdefault(name, []).append(value)
        return figures, written(make(self.seeds[0]))

    def trial(
        self,
        label: str,
        estimator: Any,
        X: np.ndarray,
        measure: Callable[[Any], Numbers],
        *,
        y: np.ndarray | None = None,
        **fit: Any,
    ) -> Numbers:
        """Fit an estimator (with ``fit(X, y, **fit)``) and measure it, once."""

        def fitted(folder: Path) -> Any:
            if (folder / "model").exists():
                return diabolo.load(folder / "model")
            model = clone(estimator).set_params(verbose=1)
            model.fit(X, y, checkpoint_dir=folder / "state", resume=True, **fit)
            model.save(folder / "model")
            shutil.rmtree(folder / "state")
            return model

        return self.part(label, written(estimator), lambda folder: measure(fitted(folder)))

    def part(self, label: str, settings: str, compute: Callable[[Path], Numbers]) -> Numbers:
        """The numbers that ``compute`` makes of these settings, once; it may keep files in the folder it is given."""
        folder = self._folder(label, settings)
        folder.mkdir(parents=True, exist_ok=True)
        numbers, clock = folder / "numbers.json", folder / "seconds"
        before = float(clock.read_text()) if clock.exists() else 0.0
        self._before += before
        if numbers.exists():
            return dict(json.loads(numbers.read_text()))
        going_on = f", {before:.0f} s done before" if before else ""
        print(f"{self.name}: {label} … ({time.strftime('%H:%M')}{going_on})", file=sys.stderr, flush=True)
        started = time.perf_counter()
        try:
            found = compute(folder)
        finally:
            took = before + time.perf_counter() - started
            clock.write_text(str(took))
        _write(numbers, found)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, int | float))
        print(f"{self.name}: {label}: {shown} ({took:.0f} s)", file=sys.stderr, flush=True)
        return found

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """Keep a grey picture, of numbers in [0, 1], beside the results: four dots to a pixel."""
        image = Image.fromarray((255 * pixels).astype(np.uint8))
        folder = self.work / self.name
        folder.mkdir(parents=True, exist_ok=True)
        image.resize((4 * image.width, 4 * image.height), Image.Resampling.NEAREST).save(folder / name)

    def kept(self, label: str, estimator: Any) -> Any:
        """The fitted estimator of a trial that has ended."""
        return diabolo.load(self._folder(label, written(estimator)) / "model")

    def _folder(self, label: str, settings: str) -> Path:
        return self.work / self.name / f"{label}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"


def written(estimator: Any) -> str:
    """An estimator as one would write it: the parameters that are not at their defaults, a line each."""
    usual = {name: field.default for name, field in inspect.signature(type(estimator)).parameters.items()}
    given = {name: value for name, value in estimator.get_params(deep=False).items() if value != usual[name]}
    lines = [f"{name}={_value(value)}," for name, value in given.items()]
    inner = "".join(f"    {line}\n" for text in lines for line in text.split("\n"))
    return f"{type(estimator).__name__}(\n{inner})"


def _value(value: Any) -> str:
    return written(value) if isinstance(value, BaseEstimator) else repr(value)


def _write(path: Path, numbers: Numbers) -> None:
    """Whole or not at all."""
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(numbers))
    scratch.rename(path)
