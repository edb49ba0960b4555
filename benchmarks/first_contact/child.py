"""The fits of one library on one set and seed, in a process of its own.

A request, JSON on standard input, names the set, the data folder, the seed and the parts to measure. The answer, JSON
on standard output, gives the figures of every part, and of every fit the seconds and the categories of its warnings. A
part that raises gives its error in place of figures. No test row reaches a fit, ours or a peer's.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from . import sets
from .peers import Components, densities, squared_error

__all__ = ["EXAMPLES", "PARTS", "SYSTEMS", "Context", "Figures", "fingerprint", "parts_of", "system_of", "timed"]

EXAMPLES = "examples"
"""The pseudo-set of what needs no other set's rows."""
WIDE = 300
"""Sets of more columns are left out of the variational promise; the digits have 64."""

Figures = dict[str, float | None]


class Context:
    """The split rows of a set, the fits so far, and the components of training rows."""

    def __init__(self, rows: np.ndarray, seed: int) -> None:
        self.train, self.test = sets.split(rows, seed)
        self.seed = seed
        self.n_latent = sets.latent_size(*self.train.shape)
        self.fits: list[dict[str, Any]] = []
        self._fitted: dict[str, Any] = {}
        self._components: dict[bytes, Components] = {}

    def fit(self, name: str, model: Any, train: np.ndarray | None = None) -> Any:
        """Fit once, and record the seconds and the warnings."""
        if name not in self._fitted:
            record: dict[str, Any] = {"fit": name, "warnings": []}
            self.fits.append(record)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    with timed(record):
                        self._fitted[name] = model.fit(self.train if train is None else train)
                finally:
                    record["warnings"] = sorted({one.category.__name__ for one in caught})
            record |= {
                key: int(getattr(model, f"{key}_")) for key in ("n_epochs", "best_epoch") if hasattr(model, f"{key}_")
            }
        return self._fitted[name]

    def components(self, train: np.ndarray) -> Components:
        """Compute the principal components of training rows, once for each scaling of them."""
        key = hashlib.sha256(np.ascontiguousarray(train).tobytes()).digest()
        return self._components.setdefault(key, Components(train))


@contextmanager
def timed(record: dict[str, Any]) -> Iterator[None]:
    """Record the seconds of a block, and those that this process and the commands it calls spend on a processor."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    try:
        yield
    finally:
        record |= {"seconds": time.perf_counter() - started, "cpu_seconds": sum(os.times()[:4]) - before}


def _ours(name: str, **parameters: Any) -> Any:
    import diabolo

    return getattr(diabolo, name)(**parameters)


def _ratio(over: float, under: float) -> float:
    return over / under if under else float("inf") if over else 1.0


# -- the systems ------------------------------------------------------------------------------------------------------


def basic(about: Context) -> Figures:
    """Divide the test error in scaled units by that of as many principal components."""
    return _against_components(
        about, about.fit("basic", _ours("BasicAutoencoder", n_latent=about.n_latent, random_state=about.seed))
    )


def stacked(about: Context) -> Figures:
    """Divide the test error by that of as many principal components, in scaled units and in the user's."""
    fitted = about.fit("stacked", _ours("StackedAutoencoder", n_latent=about.n_latent, random_state=about.seed))
    raw = about.components(about.train).error(about.test, about.n_latent)
    error = squared_error(about.test, fitted.reconstruct(about.test))
    return _against_components(about, fitted) | {"raw ratio": _ratio(error, raw)}


def _against_components(about: Context, fitted: Any) -> Figures:
    scale = fitted.scaler_.apply
    theirs = about.components(scale(about.train)).error(scale(about.test), about.n_latent)
    ours = squared_error(scale(about.test), scale(np.asarray(fitted.reconstruct(about.test))))
    return {"ratio": _ratio(ours, theirs), "n_latent": about.n_latent}


def sparse(about: Context) -> Figures:
    """Compare mean activations with their target, and measure the variance that the reconstruction explains."""
    fitted = about.fit("sparse", _ours("SparseAutoencoder", random_state=about.seed))
    scale = fitted.scaler_.apply
    test = scale(about.test).astype(np.float64)
    lost = squared_error(test, scale(np.asarray(fitted.reconstruct(about.test))))
    weight = getattr(fitted, "sparsity_weight_", None)
    return {
        "gap, training rows": _activation_gap(fitted.transform(about.train)),
        "gap, test rows": _activation_gap(fitted.transform(about.test)),
        "explained variance": 1 - _ratio(lost, squared_error(test, np.broadcast_to(test.mean(axis=0), test.shape))),
        "sparsity weight": None if weight is None else float(np.mean(weight)),
    }


def _activation_gap(codes: np.ndarray) -> float:
    return float(np.abs(codes.mean(axis=0, dtype=np.float64) - 0.05).mean())


def denoising(corruption: str, about: Context) -> Figures:
    """Divide the error after denoising by the noise in scaled units; the same for the best truncated PCA."""
    model = _ours("DenoisingAutoencoder", corruption=corruption, random_state=about.seed)
    fitted = about.fit(f"denoising, {corruption}", model)
    scale = fitted.scaler_.apply
    noisy = np.asarray(fitted.corrupt(about.test, random_state=about.seed + 1))
    clean, corrupted = scale(about.test), scale(noisy)
    noise = squared_error(clean, corrupted)
    k, best = about.components(scale(about.train)).best_truncation(corrupted, clean)
    return {
        "ratio": _ratio(squared_error(clean, scale(np.asarray(fitted.denoise(noisy)))), noise),
        "best truncated PCA": _ratio(best, noise),
        "best truncation": k,
    }


def user_units(about: Context) -> Figures:
    """Divide the error after denoising by the noise in the user's units, σ a fifth of the spread of all cells."""
    model = _ours("DenoisingAutoencoder", random_state=about.seed)
    kind = model.corruption if isinstance(model.corruption, str) else "default"
    fitted = about.fit(f"denoising, {kind}", model)
    draw = np.random.default_rng([about.seed, 1]).normal(size=about.test.shape)
    noisy = about.test + 0.2 * about.train.std() * draw
    return {"ratio": _ratio(squared_error(about.test, fitted.denoise(noisy)), squared_error(about.test, noisy))}


def _columns(about: Context, all_varying: bool) -> np.ndarray:
    keep = sets.varying(about.train)
    return keep if all_varying else keep & ~sets.repeated(about.train)


def variational(all_varying: bool, about: Context) -> Figures:
    """Average the log-density of test rows, in nats and in the user's units."""
    keep = _columns(about, all_varying)
    if keep.sum() < 2:
        return {"columns": int(keep.sum())}
    fitted = about.fit(
        f"variational, {int(keep.sum())} columns",
        _ours("VariationalAutoencoder", random_state=about.seed),
        np.ascontiguousarray(about.train[:, keep]),
    )
    score = float(np.mean(fitted.score_samples(np.ascontiguousarray(about.test[:, keep]))))
    return {"score": score, "columns": int(keep.sum())}


def density_peers(all_varying: bool, about: Context) -> Figures:
    """Average the peers' log-density of the same test rows, in nats."""
    keep = _columns(about, all_varying)
    if keep.sum() < 2:
        return {"columns": int(keep.sum())}
    if not all_varying and (keep == sets.varying(about.train)).all():
        return {"same": 1.0}
    return {"columns": int(keep.sum()), **densities(about.train[:, keep], about.test[:, keep], about.seed)}


Part = Callable[[Context], Figures]
PARTS: dict[str, Part] = {
    "basic": basic,
    "stacked": stacked,
    "sparse": sparse,
    **{f"denoising, {kind}": partial(denoising, kind) for kind in ("gaussian", "salt_and_pepper", "masking")},
    "denoising, user's units": user_units,
    "variational": partial(variational, True),
    "variational, no repeated values": partial(variational, False),
    "peers": partial(density_peers, True),
    "peers, no repeated values": partial(density_peers, False),
}
"""What is measured on a set; a part's name begins with that of its system."""

SYSTEMS = ("basic", "stacked", "sparse", "denoising", "variational")


def system_of(part: str) -> str:
    """Give the system that a part belongs to; the peers go with the variational one."""
    name = part.partition(",")[0]
    return "variational" if name == "peers" else name


def parts_of(one: sets.DataSet, n_columns: int) -> list[str]:
    """Name the parts that are measured on a set of this kind and width."""
    left_out = set()
    if one.kind == "table":
        left_out.add("denoising, user's units")
    if n_columns > WIDE:
        left_out |= {part for part in PARTS if system_of(part) == "variational"}
    return [part for part in PARTS if part not in left_out]


# -- the process ------------------------------------------------------------------------------------------------------


def fingerprint(folder: Path) -> str:
    """Digest a library's Python files."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Measure the parts asked for, one after another."""
    import jax

    import diabolo

    jax.devices()
    about: Any
    parts: dict[str, Callable[[Any], Figures]]
    if request["set"] == EXAMPLES:
        from . import examples

        about, parts = examples.Context(request["seed"]), examples.PARTS
    else:
        data = Path(request["data"]) if request["data"] else None
        about, parts = Context(sets.SETS[request["set"]].load(data), request["seed"]), PARTS
    found: dict[str, Any] = {}
    for name in request["parts"]:
        about.fits.clear()
        line: dict[str, Any] = {}
        try:
            line["figures"] = parts[name](about)
        except Exception as error:  # whatever it is, the other parts go on, and this one counts as not met
            line["error"] = f"{type(error).__name__}: {error}"[:300]
        found[name] = line | {"fits": list(about.fits)}
    return {"parts": found, "library": str(Path(diabolo.__file__).parent)}


def _main() -> None:
    request = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    print(json.dumps(answer(request)))


if __name__ == "__main__":
    _main()
