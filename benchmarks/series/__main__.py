"""Anomalies in series: VUS-PR and NAB's score, false alarms on series without anomalies, and five planted events.

    python -m benchmarks.series [--data $DIABOLO_DATA/nab] [--seeds 0,1,2] [--out benchmarks/results/series.json]

Every detector reads the whole of a series without labels and scores each of its points, as TSB-AD's "unsupervised"
detectors do. Series are in the order of their names; the even ones (0, 2, …) chose the defaults of `SeriesDetector`,
the odd ones are reported. Series without labelled anomalies have no VUS-PR. For NAB's score, the scores of each series
are scaled to [0, 1], and the threshold is the best for all series of a half. NAB counts every row above it as an alarm;
so it is also given of the highest row of each event only. Everything runs in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from diabolo import SeriesDetector

from ..told import aligned, keep
from .nab import Gains, gains_of, nab_score, peaks_of
from .peers import PEERS, STOCHASTIC, peer, published_volume, versions
from .vus import buffer_of, vus_pr

OURS, RIVAL = "diabolo", "Sub_PCA"
PLANTED, CALIBRATION = "planted", "calibration"
SECONDS = "CPU seconds, one seed"
NAB, NAB_OF_PEAKS = "NAB's score", "NAB's score of the highest row of each event"
LABELS = "anomaly_windows.json"
RATES = (0.01, 0.05)
Scores = Callable[[np.ndarray, int], np.ndarray]


# -- public series ----------------------------------------------------------------------------------------------------


def series(folder: Path) -> Iterator[tuple[str, bool, np.ndarray, np.ndarray]]:
    """(name, whether it chose the defaults, values, whether each is in a labelled window), of those with labels."""
    labels = json.loads((folder / LABELS).read_text())
    for i, file in enumerate(sorted(folder.glob("*.csv"), key=lambda file: file.name)):
        if not labels.get(file.name):
            continue
        table = pd.read_csv(file)
        at, values = pd.to_datetime(table["timestamp"]), table["value"].to_numpy(np.float64)
        inside = [(at >= pd.Timestamp(low)) & (at <= pd.Timestamp(high)) for low, high in labels[file.name]]
        yield file.stem, i % 2 == 0, values, np.any(inside, axis=0)


def _ours(values: np.ndarray, seed: int) -> np.ndarray:
    return -SeriesDetector(random_state=seed).fit(values).score_samples(values)


def measure(folder: Path, seeds: list[int], names: list[str]) -> dict[str, Any]:
    """VUS-PR of the detectors on each series, NAB's score of each half, and the CPU seconds of all series."""
    known = {name: _ours if name == OURS else peer(name) for name in names}
    detectors: dict[str, Scores] = {name: found for name, found in known.items() if found is not None}
    volumes: dict[str, dict[str, list[float]]] = {name: {} for name in detectors}
    scaled: dict[str, dict[str, list[np.ndarray]]] = {name: {} for name in detectors}
    seconds = dict.fromkeys(detectors, 0.0)
    chose, checked, gains, buffers, volume = {}, {}, {}, {}, published_volume()
    for name, is_choosing, values, is_anomaly in series(folder):
        chose[name], gains[name], buffer = is_choosing, gains_of(is_anomaly), buffer_of(values)
        buffers[name] = buffer
        for detector, scores in detectors.items():
            for seed in seeds if detector in STOCHASTIC else seeds[:1]:
                started = time.process_time()
                found = scores(values, seed)
                seconds[detector] += time.process_time() - started
                volumes[detector].setdefault(name, []).append(vus_pr(is_anomaly, found, buffer))
                scaled[detector].setdefault(name, []).append((found - found.min()) / max(np.ptp(found), 1e-300))
            if detector == RIVAL and volume is not None and len(values) * buffer < 1e5:
                checked[name] = abs(volume(is_anomaly, found, buffer) - volumes[detector][name][-1])
        shown = ", ".join(f"{detector} {fmean(volumes[detector][name]):.3f}" for detector in detectors)
        print(f"{name}: {shown}", file=sys.stderr, flush=True)
    compared = {
        "largest difference from TSB-AD's VUS-PR": max(checked.values(), default=None),
        "series on which it was compared": sorted(checked),
    }
    return {
        "peers": versions(),
        "VUS-PR": volumes,
        NAB: {name: _nab_scores(of, gains, chose) for name, of in scaled.items()},
        NAB_OF_PEAKS: {
            name: _nab_scores({one: [peaks_of(x, buffers[one]) for x in of[one]] for one in of}, gains, chose)
            for name, of in scaled.items()
        },
        SECONDS: {k: s / (len(seeds) if k in STOCHASTIC else 1) for k, s in seconds.items()},
        "chose the defaults": chose,
    } | (compared if RIVAL in detectors else {})


def _nab_scores(
    of: dict[str, list[np.ndarray]], gains: dict[str, Gains], chose: dict[str, bool]
) -> dict[str, list[float]]:
    """Of each half, seed by seed."""
    n_seeds = len(next(iter(of.values())))
    return {
        which: [nab_score([gains[one] for one in chosen], [of[one][i] for one in chosen]) for i in range(n_seeds)]
        for which, chosen in _halves(chose).items()
    }


# -- series without anomalies -----------------------------------------------------------------------------------------


def _autoregressive(n: int, rng: np.random.Generator, weight: float) -> np.ndarray:
    noise = rng.normal(size=n + 500)
    for i in range(1, len(noise)):
        noise[i] += weight * noise[i - 1]
    return noise[500:]


def _seasonal(n: int, period: float) -> np.ndarray:
    return np.sin(np.arange(n) * 2 * np.pi / period)


STATIONARY: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white noise": lambda n, rng: rng.normal(size=n),
    "AR(1), 0.5": lambda n, rng: _autoregressive(n, rng, 0.5),
    "AR(1), 0.9": lambda n, rng: _autoregressive(n, rng, 0.9),
    "AR(1), 0.97": lambda n, rng: _autoregressive(n, rng, 0.97),
    "seasons + noise": lambda n, rng: _seasonal(n, 48) + 0.5 * _seasonal(n, 336) + 0.3 * rng.normal(size=n),
    "season + AR(1), 0.7": lambda n, rng: 2 * _seasonal(n, 48) + _autoregressive(n, rng, 0.7),
    "noise of Student's t, 3": lambda n, rng: rng.standard_t(3, size=n),
    "exp of AR(1), 0.8": lambda n, rng: np.exp(0.5 * _autoregressive(n, rng, 0.8)),
}


def false_alarms(n: int, repeats: int) -> dict[str, Any]:
    """The share of points and of blocks that are flagged in ``n`` new steps of the same process, by the rate asked."""
    found = {}
    for name, draw in STATIONARY.items():
        points, blocks = [], []
        for repeat in range(repeats):
            values = draw(2 * n, np.random.default_rng([repeat, 13]))
            detector = SeriesDetector().fit(values[:n])
            p = detector.p_values(values[n:])
            length = detector.window_
            lowest = [p[i : i + length].min() for i in range(0, n - length + 1, length)]
            points.append([float((p <= rate).mean()) for rate in RATES])
            blocks.append([float((np.array(lowest) <= rate).mean()) for rate in RATES])
        errors = np.std(points, axis=0, ddof=1) / np.sqrt(repeats)
        found[name] = {
            f"asked {rate}": {
                "points": float(np.mean(points, axis=0)[i]),
                "standard error": float(errors[i]),
                "blocks": float(np.mean(blocks, axis=0)[i]),
            }
            for i, rate in enumerate(RATES)
        }
        print(name, found[name], file=sys.stderr, flush=True)
    return {"steps of a series": n, "series of each process": repeats, "flagged": found}


# -- five planted events ----------------------------------------------------------------------------------------------

DAY, DAYS, QUIET = 48, 215, 123
"""Half hours of a day, days, and days before the first event: those of NAB's taxi series."""
EVENTS = {
    "a marathon": (124, 16, 36, 1.6),
    "a holiday": (149, 0, DAY, 0.6),
    "two holidays": (177, 0, 2 * DAY, 0.5),
    "a festive night": (184, 0, 10, 3.5),
    "a storm": (209, 20, 2 * DAY, 0.3),
}
"""The day of each event, its first half hour of that day and the one after its last, and the factor of the counts."""


def rides(seed: int) -> tuple[np.ndarray, dict[str, tuple[int, int]]]:
    """Half-hourly counts of rides with daily and weekly patterns, and the first and last step of each event."""
    rng, day = np.random.default_rng([seed, 17]), np.arange(DAY) / DAY * 24
    bump = lambda hour, width: np.exp(-0.5 * ((day - hour + 12) % 24 - 12) ** 2 / width**2)  # noqa: E731
    work = 4 + 9 * bump(8.5, 1.5) + 12 * bump(18.5, 2.5) + 4 * bump(13, 3)
    weekend = 5 + 8 * bump(0.5, 2) + 9 * bump(15, 4) + 8 * bump(20, 3)
    level = 1 + 0.03 * np.repeat(_autoregressive(DAYS, rng, 0.6), DAY)
    mean = np.concatenate([weekend if i % 7 > 4 else work for i in range(DAYS)]) * level
    mean *= 1 + 0.03 * _autoregressive(len(mean), rng, 0.8)
    where = {}
    for name, (first, low, high, factor) in EVENTS.items():
        where[name] = (first * DAY + low, first * DAY + high - 1)
        mean[first * DAY + low : first * DAY + high] *= factor
    return rng.poisson(np.maximum(mean, 0.1) * 60).astype(np.float64), where


def planted(seeds: list[int]) -> dict[str, Any]:
    """Which of five events are found at a false-alarm rate of 1 %, learned from the quiet first hundred days."""
    found = {}
    for seed in seeds:
        values, events = rides(seed)
        detector = SeriesDetector(random_state=seed).fit(values[: QUIET * DAY])
        alarms = detector.alarms(values[QUIET * DAY :]).to_pylist()
        spans = [(QUIET * DAY + alarm["start"], QUIET * DAY + alarm["end"], alarm["p_value"]) for alarm in alarms]
        is_found = {name: any(a <= high and b >= low for a, b, _ in spans) for name, (low, high) in events.items()}
        false = [span for span in spans if not any(span[0] <= high and span[1] >= low for low, high in events.values())]
        found[seed] = {
            "found": is_found,
            "alarms": len(spans),
            "false alarms": len(false),
            "window": detector.window_,
            "alarms, start, end, p": spans,
        }
        print(seed, found[seed], file=sys.stderr, flush=True)
    return found


# -- the table --------------------------------------------------------------------------------------------------------


def _halves(chose: dict[str, bool]) -> dict[str, list[str]]:
    return {
        which: [name for name in chose if chose[name] == is_choosing]
        for which, is_choosing in (("choosing half", True), ("reported half", False))
    }


def halves(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The mean VUS-PR of each detector on the series that chose the defaults, and on the others."""
    return {
        name: {
            which: fmean(fmean(of[one]) for one in chosen)
            for which, chosen in _halves(found["chose the defaults"]).items()
        }
        for name, of in found["VUS-PR"].items()
    }


def against(found: dict[str, Any], one: str, other: str) -> dict[str, float]:
    """The mean difference on the reported half, on how many series it is positive, and a signed-rank test."""
    volumes, chose = found["VUS-PR"], found["chose the defaults"]
    gaps = np.array([fmean(volumes[one][name]) - fmean(volumes[other][name]) for name in chose if not chose[name]])
    return {
        "mean": float(gaps.mean()),
        "series": len(gaps),
        "wins": int((gaps > 0).sum()),
        "p": float(stats.wilcoxon(gaps).pvalue),
    }


def table(found: dict[str, Any]) -> str:
    """The mean VUS-PR and NAB's score of both halves, and the CPU seconds."""
    which = ("reported half", "choosing half")
    lines = [["", *which, *(f"NAB, {one}" for one in which), *(f"NAB of peaks, {one}" for one in which), "seconds"]]
    for name, means in halves(found).items():
        each = [f"{means[one]:.3f}" for one in which]
        for score in (NAB, NAB_OF_PEAKS):
            of = found[score].get(name)
            each += [f"{fmean(of[one]):.1f}" if of else "–" for one in which]
        lines.append([name, *each, f"{found[SECONDS][name]:.1f}" if name in found[SECONDS] else "–"])
    return aligned(lines)


def on_public_series(folder: Path, seeds: list[int], names: list[str], before: dict[str, Any]) -> dict[str, Any]:
    """VUS-PR and NAB's score of the detectors beside those found before, their means, and the differences."""
    if not (folder / LABELS).exists():
        sys.exit(f"benchmarks.series: there is no {LABELS} in {folder}.")
    found = measure(folder, seeds, names)
    for part in ("peers", "VUS-PR", NAB, NAB_OF_PEAKS, SECONDS):
        found[part] = before.get(part, {}) | found[part]
    found = before | found
    print(table(found))
    found["mean VUS-PR"] = halves(found)
    found["against"] = {name: against(found, OURS, name) for name in found["VUS-PR"] if name != OURS}
    for name, gap in found["against"].items():
        print(f"{OURS} − {name}: {gap['mean']:+.3f}, better on {gap['wins']} of {gap['series']}, p = {gap['p']:.2g}")
    return found


def main() -> None:
    """The command."""
    options = argparse.ArgumentParser("benchmarks.series", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--data", type=Path, default=Path(os.environ.get("DIABOLO_DATA", ".")) / "nab")
    options.add_argument("--seeds", default="0,1,2")
    options.add_argument("--steps", type=int, default=2000, help="steps of a series without anomalies")
    options.add_argument("--repeats", type=int, default=100, help="series of each process without anomalies")
    every = (OURS, *PEERS, PLANTED, CALIBRATION)
    options.add_argument("--only", nargs="+", choices=every, help="keep all else that --out holds")
    options.add_argument("--out", type=Path)
    given = options.parse_args()
    warnings.simplefilter("ignore")
    seeds, parts = [int(seed) for seed in given.seeds.split(",")], given.only or every
    found = json.loads(given.out.read_text()) if given.only else {}
    found = {name: found[name] for name in found if name not in ("date", "machine", "load")}
    if names := [part for part in parts if part in (OURS, *PEERS)]:
        found = on_public_series(given.data, seeds, names, found)
    if PLANTED in parts:
        found["five planted events"] = planted(seeds)
    if CALIBRATION in parts:
        found["no anomalies"] = false_alarms(given.steps, given.repeats)
    if given.out:
        keep(given.out, found)


if __name__ == "__main__":
    main()
