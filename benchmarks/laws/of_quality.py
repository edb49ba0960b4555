"""Laws of quality: with default settings, no estimator is worse than the simplest method for its task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, spearmanr
from sklearn.mixture import GaussianMixture

import diabolo

from .law import Law
from .subjects import Subject, quietly

__all__ = ["LAWS"]

_SHAPES = st.tuples(
    st.integers(0, 999),
    st.sampled_from(["independent", "factors", "one factor", "curve", "two heaps"]),
    st.sampled_from([60, 200]),
)


def drawn(seed: int, kind: str, n: int, part: int = 0) -> np.ndarray:
    """Return rows of a known law, in several units; every part has other rows of the same law."""
    rng, d = np.random.default_rng([seed, part]), 5
    noise = rng.normal(size=(n, d))
    if kind == "factors":
        noise = 0.3 * noise + rng.normal(size=(n, 2)) @ np.random.default_rng(seed + 1).normal(size=(2, d))
    elif kind == "one factor":
        noise = 0.5 * noise + rng.normal(size=(n, 1))
    elif kind == "curve":
        t = rng.normal(size=(n, 1))
        noise = 0.2 * noise + np.hstack([t, t**2, -t, np.sin(t), t])
    elif kind == "two heaps":
        noise = 0.3 * noise + 2.0 * np.sign(rng.normal(size=(n, 1)))
    return noise * 10.0 ** np.random.default_rng(seed + 2).integers(-3, 4, d)


def _imputer_and_mean(subject: Subject, case: Any) -> None:
    seed, kind, n = case
    whole = drawn(seed, kind, n)
    is_hidden = np.random.default_rng(seed).random(whole.shape) < 0.2
    given = np.where(is_hidden, np.nan, whole)
    with quietly():
        filled = diabolo.AutoencoderImputer("single", random_state=0).fit(given).transform(given)
    spread = whole.std(axis=0)
    ours, mean = (
        float(np.sqrt(np.square((some - whole) / spread)[is_hidden].mean()))
        for some in (filled, np.broadcast_to(np.nanmean(given, axis=0), given.shape))
    )
    assert ours <= 1.02 * mean, f"error {ours:.3f}, of the mean {mean:.3f}"


def _ranks(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = spearmanr(rows).statistic
    return found


def _copula(rows: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Return rows of a Gaussian copula with the columns' own values (Sklar 1959)."""
    scores = norm.ppf((np.apply_along_axis(rankdata, 0, rows) - 0.5) / len(rows))
    drawn = np.random.default_rng(seed).multivariate_normal(np.zeros(rows.shape[1]), np.corrcoef(scores.T), n)
    levels = norm.cdf(drawn)
    return np.stack([np.quantile(column, level) for column, level in zip(rows.T, levels.T, strict=True)], axis=1)


def _generator_and_copula(subject: Subject, case: Any) -> None:
    seed, kind, n = case
    rows = drawn(seed, kind, n)
    truth = _ranks(drawn(seed, kind, 4000, 1) if kind == "independent" else rows)
    with quietly():
        model = diabolo.AutoencoderGenerator(random_state=0).fit(rows)
    new = model.sample(2000, random_state=0)
    ours, theirs = (float(np.abs(_ranks(some) - truth).mean()) for some in (new, _copula(rows, 2000, seed)))
    assert ours <= theirs + 0.05, f"rank correlations are off by {ours:.3f}, of a copula by {theirs:.3f}"


def _denoiser_and_nothing(subject: Subject, case: Any) -> None:
    seed, kind, n = case
    rows, test = drawn(seed, kind, n), drawn(seed, kind, n, 1)
    noisy = test + 0.5 * rows.std(axis=0) * np.random.default_rng(seed).normal(size=test.shape)
    with quietly():
        model = diabolo.DenoisingAutoencoder(noise_level=0.5, random_state=0).fit(rows)
    unit = rows.std(axis=0)
    ours, nothing = (float(np.square((some - test) / unit).mean()) for some in (model.denoise(noisy), noisy))
    assert ours < nothing, f"error {ours:.3f}, without denoising {nothing:.3f}"


def _density_and_gaussian(subject: Subject, case: Any) -> None:
    seed, kind, n = case
    rows, test = drawn(seed, kind, n), drawn(seed, kind, n, 1)
    unit = rows.std(axis=0)
    gaussian = GaussianMixture(1, reg_covar=1e-6).fit(rows / unit).score(test / unit) - np.log(unit).sum()
    with quietly():
        ours = diabolo.VariationalAutoencoder(random_state=0).fit(rows).score(test)
    assert ours > gaussian - 0.05 * rows.shape[1], f"{ours:.3f} nats, of a Gaussian {gaussian:.3f}"


def _detector_and_chance(subject: Subject, case: Any) -> None:
    seed, kind, n = case
    rows, test = drawn(seed, kind, n), drawn(seed, kind, n, 1)
    rng = np.random.default_rng(seed)
    place, column = int(rng.integers(n)), int(rng.integers(5))
    test[place, column] += 3.0 * np.ptp(rows[:, column]) * rng.choice([-1, 1])
    with quietly():
        scores = diabolo.AnomalyDetector(random_state=0).fit(rows).score_samples(test)
    assert scores.argmin() == place, f"row {place + 1} scores {scores[place]:.4g}, the lowest is {scores.min():.4g}"


def _of(name: str) -> Callable[[Subject], bool]:
    return lambda subject: subject.name == name


def _law(name: str, expects: str, holds: Callable[[Subject, Any], None], of: str, many: int) -> Law:
    return Law(name, expects, "quality", lambda subject: _SHAPES, holds, _of(of), few=1, many=many, is_slow=True)


LAWS = (
    _law(
        "an imputer and the mean",
        "At most 2 % more error than the column mean, on dependent and independent columns, 60 and 200 rows.",
        _imputer_and_mean,
        "imputer",
        10,
    ),
    _law(
        "a generator and a copula",
        "Rank correlations of pairs of columns are off by at most 0.05 more than those of a Gaussian copula.",
        _generator_and_copula,
        "generator",
        10,
    ),
    _law(
        "a denoiser and nothing",
        "Less error than the noisy rows have.",
        _denoiser_and_nothing,
        "denoising",
        20,
    ),
    _law(
        "a density and a Gaussian",
        "At most 0.05 nats a column below a full Gaussian, on rows that were not fitted.",
        _density_and_gaussian,
        "variational",
        10,
    ),
    _law(
        "a planted anomaly among new rows",
        "Ranks: a new row with one cell three ranges away has the lowest score of all.",
        _detector_and_chance,
        "detector",
        20,
    ),
)
