"""The promises: a figure, its bound, and on which share of the sets it must be met."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .runs import NOW

__all__ = [
    "CORRUPTIONS",
    "EXAMPLE_PROMISES",
    "MODELS",
    "PROMISES",
    "Parts",
    "Promise",
    "Verdict",
    "densities",
    "figure",
    "verdicts",
]

Parts = dict[str, dict[str, Any]]
"""What was measured on a set and seed, by part: {"figures": …} or {"error": …}, and the fits."""

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "≤": operator.le,
    "<": operator.lt,
    "≥": operator.ge,
    ">": operator.gt,
}


def figure(part: str, name: str) -> Callable[[Parts], float | None]:
    """Read a figure of a part: None if it was not measured, NaN if the fit failed."""

    def read(parts: Parts) -> float | None:
        if part not in parts:
            return None
        if "error" in parts[part]:
            return math.nan
        found = parts[part]["figures"].get(name)
        return None if found is None else float(found)

    return read


def _quotient(part: str, ours: str, theirs: str) -> Callable[[Parts], float | None]:
    """Divide one figure of a part by another."""

    def read(parts: Parts) -> float | None:
        over, under = figure(part, ours)(parts), figure(part, theirs)(parts)
        return None if over is None or under is None else over / under if under else math.inf

    return read


def densities(parts: Parts, repeated: bool) -> dict[str, float] | None:
    """Give the log-densities per column, by model: NaN for ours if the fit failed; None if there are no peers."""
    ours, theirs = ("variational", "peers") if repeated else (f"{one}, no repeated values" for one in _DENSITY_PARTS)
    if ours not in parts or theirs not in parts:
        return None
    if parts[theirs].get("figures", {}).get("same"):
        theirs = "peers"
    peers = parts[theirs].get("figures", {})
    if "gaussian" not in peers:
        return None
    score = figure(ours, "score")(parts)
    found = {"ours": math.nan if score is None else score} | {name: peers[name] for name in MODELS}
    return {name: value / peers["columns"] for name, value in found.items()} | {"columns": peers["columns"]}


_DENSITY_PARTS = ("variational", "peers")
MODELS = ("gaussian", "factors", "mixture")


def _density_gap(repeated: bool, *models: str) -> Callable[[Parts], float | None]:
    """Subtract the best of some models from ours, in nats a column."""

    def read(parts: Parts) -> float | None:
        found = densities(parts, repeated)
        return None if found is None else found["ours"] - max(found[model] for model in models)

    return read


@dataclass(frozen=True)
class Promise:
    """A figure and its bound.

    Parameters
    ----------
    name : str
    value : callable
        From what was measured on a set and seed to the figure; None: the promise is not about this set.
    sign : {"≤", "<", "≥", ">"}
    bound : float
        What the mean over seeds must be, by ``sign``.
    share : float, default=1.0
        Share of the sets on which the promise must be met.
    digits : int, default=3
    slack : float, default=0.0
        How far beyond the bound still counts as met: rounding.
    kinds : tuple of str
        Kinds of the sets that the promise is about.
    """

    name: str
    value: Callable[[Parts], float | None]
    sign: str
    bound: float
    share: float = 1.0
    digits: int = 3
    slack: float = 0.0
    kinds: tuple[str, ...] = ("table", "signal", "image")

    def is_met(self, values: list[float]) -> bool:
        """Compare the mean over seeds with the bound; a failed fit does not meet it."""
        slack = self.slack if self.sign in "≤<" else -self.slack
        return bool(_SIGNS[self.sign](float(np.mean(values)), self.bound + slack))

    @property
    def bound_text(self) -> str:
        """Write the bound as it is printed."""
        return f"{self.sign} {self.bound:g}"


CORRUPTIONS = ("gaussian", "salt_and_pepper", "masking")
PROMISES: tuple[Promise, ...] = (
    Promise("basic: error / PCA", figure("basic", "ratio"), "≤", 1.005, digits=4),
    Promise("stacked: error / PCA", figure("stacked", "ratio"), "≤", 1.0, digits=4, slack=5e-4),
    Promise(
        "stacked, raw units: error / PCA",
        figure("stacked", "raw ratio"),
        "≤",
        1.0,
        digits=4,
        slack=5e-4,
        kinds=("image",),
    ),
    Promise("sparse: |ρ̂ − ρ|, training rows", figure("sparse", "gap, training rows"), "≤", 0.01, digits=4),
    Promise("sparse: |ρ̂ − ρ|, test rows", figure("sparse", "gap, test rows"), "≤", 0.02, digits=4),
    Promise("sparse: explained variance", figure("sparse", "explained variance"), "≥", 0.8, share=0.9),
    *(
        Promise(f"denoising, {kind}: error / noise", figure(f"denoising, {kind}", "ratio"), "<", 1.0)
        for kind in CORRUPTIONS
    ),
    *(
        Promise(
            f"denoising, {kind}: error / best truncated PCA",
            _quotient(f"denoising, {kind}", "ratio", "best truncated PCA"),
            "<",
            1.0,
            share=0.9,
        )
        for kind in CORRUPTIONS
    ),
    Promise(
        "denoising, user's units: error / noise",
        figure("denoising, user's units", "ratio"),
        "≤",
        0.5,
        kinds=("signal", "image"),
    ),
    *(
        promise
        for repeated, columns in ((True, "all varying columns"), (False, "no repeated values"))
        for promise in (
            Promise(
                f"variational, {columns}: nats a column above the better of Gaussian and factor analysis",
                _density_gap(repeated, "gaussian", "factors"),
                "≥",
                -0.02,
            ),
            Promise(
                f"variational, {columns}: nats a column above a mixture of eight",
                _density_gap(repeated, "mixture"),
                ">",
                0.0,
                share=2 / 3,
            ),
        )
    ),
)

EXAMPLE_PROMISES = (Promise("README's example: nats", figure("readme", "score"), "≥", 75.0, digits=2),)
# -- verdicts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A promise on the sets that it is about: the values by seed of each, and where it is met."""

    promise: Promise
    values: dict[str, list[float]]
    halves: dict[str, str] = field(default_factory=dict)

    @property
    def met(self) -> dict[str, bool]:
        """Tell by set whether the promise is met."""
        return {name: self.promise.is_met(values) for name, values in self.values.items()}

    def count(self, half: str | None = None) -> tuple[int, int]:
        """Count the sets on which the promise is met, and all sets, in one half or in both."""
        met = [met for name, met in self.met.items() if half in (None, self.halves.get(name))]
        return sum(met), len(met)

    @property
    def holds(self) -> bool:
        """Tell whether the promise is met on as many sets as it must be."""
        n_met, n_sets = self.count()
        return n_met >= math.ceil(self.promise.share * n_sets - 1e-9)

    @property
    def worst(self) -> str:
        """Name the set whose mean is worst."""
        upward = self.promise.sign in "≥>"
        means = {name: float(np.mean(values)) for name, values in self.values.items()}
        failed = [name for name, mean in means.items() if math.isnan(mean)]
        return failed[0] if failed else (min if upward else max)(means, key=lambda name: means[name])


def verdicts(found: dict[str, Any], which: str = NOW) -> list[Verdict]:
    """Compare what was measured with every promise that is about any of the sets."""
    made = []
    for promise in PROMISES:
        values = {}
        for name, about in found["sets"].items():
            if about["kind"] not in promise.kinds:
                continue
            by_seed = [promise.value(parts) for parts in found["runs"][which].get(name, {}).values()]
            if some := [value for value in by_seed if value is not None]:
                values[name] = some
        if values:
            made.append(Verdict(promise, values, {name: found["sets"][name]["half"] for name in values}))
    return made
