"""The simple peers: principal components and classical densities, fitted to training rows only."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler

__all__ = ["Components", "densities", "factor_analysis", "kernel_density", "squared_error"]

_FACTORS = (1, 2, 4, 8, 16, 32)
_TOLERANCE = 1e-2  # scikit-learn's default


def squared_error(rows: np.ndarray, found: np.ndarray) -> float:
    """Sum the squared errors of all cells, in float64."""
    return float(np.square(rows.astype(np.float64) - found.astype(np.float64)).sum())


class Components:
    """Principal components of training rows, all of them, by scikit-learn's full decomposition."""

    def __init__(self, train: np.ndarray) -> None:
        self._train = train.astype(np.float64)

    @cached_property
    def _pca(self) -> PCA:
        return PCA(svd_solver="full").fit(self._train)

    def error(self, rows: np.ndarray, k: int) -> float:
        """Sum the squared errors of rows after projection on the first ``k`` components."""
        centred = rows.astype(np.float64) - self._pca.mean_
        scores = centred @ self._pca.components_[:k].T
        return squared_error(centred, scores @ self._pca.components_[:k])

    def best_truncation(self, noisy: np.ndarray, clean: np.ndarray) -> tuple[int, float]:
        """Find the number of components whose projection of noisy rows is nearest to the clean rows.

        The choice reads the clean test rows, as no user could: an oracle. Returns the number and the sum of squared
        errors. ‖c − P_k y‖² = ‖c‖² + Σ_{j≤k} (s_j² − 2·s_j·t_j), with the scores s of noisy and t of clean rows.
        """
        centred = clean.astype(np.float64) - self._pca.mean_
        s = (noisy.astype(np.float64) - self._pca.mean_) @ self._pca.components_.T
        t = centred @ self._pca.components_.T
        errors = np.square(centred).sum() + np.cumsum((s**2 - 2 * s * t).sum(axis=0))
        best = int(errors.argmin())
        return best + 1, float(errors[best])


# -- densities --------------------------------------------------------------------------------------------------------


def densities(train: np.ndarray, test: np.ndarray, seed: int) -> dict[str, float]:
    """Average the log-density of test rows, in nats and in the user's units, by each peer.

    The peers are a Gaussian, a mixture of eight and factor analysis, all fitted to standardised training rows, in which
    no column may be constant.
    """
    scaler = StandardScaler().fit(train)
    change = float(np.log(scaler.scale_).sum())
    known, asked = scaler.transform(train), scaler.transform(test)
    n_factors = _number_of_factors(known, seed)
    found = {
        "gaussian": GaussianMixture(1, reg_covar=1e-6).fit(known).score(asked),
        "mixture": GaussianMixture(min(8, len(known)), random_state=seed).fit(known).score(asked),
        "factors": factor_analysis(known, n_factors).score(asked),
    }
    return {name: float(score) - change for name, score in found.items()} | {"n_factors": n_factors}


def factor_analysis(train: np.ndarray, n_factors: int) -> FactorAnalysis:
    """Fit factor analysis to rows, or, if these are many, to fewer rows of the same mean and covariance.

    The likelihood depends on mean and covariance alone, so the fit is the same: with X − x̄ = Q·R the 2·d rows
    x̄ ± R·√(d / n) have them. The tolerance, which is of the sum over rows, goes with their number.
    """
    n_rows, n_columns = train.shape
    rows = train
    if n_rows > 2 * n_columns:
        mean = train.mean(axis=0)
        root = np.linalg.qr(train - mean, mode="r") * np.sqrt(n_columns / n_rows)
        rows = np.vstack([mean + root, mean - root])
    tolerance = _TOLERANCE * len(rows) / n_rows
    return FactorAnalysis(n_factors, svd_method="lapack", tol=tolerance).fit(rows)


def _number_of_factors(train: np.ndarray, seed: int) -> int:
    """Choose by threefold cross-validation on training rows."""
    folds = list(KFold(3, shuffle=True, random_state=seed).split(train))
    scores = {
        k: np.mean([factor_analysis(train[fit], k).score(train[held]) for fit, held in folds])
        for k in _FACTORS
        if k < train.shape[1]
    }
    return max(scores, key=lambda k: float(scores[k]))


def kernel_density(train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """Average a kernel density's log-density of test rows; also give its bandwidth, chosen by cross-validation."""
    search = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.02, 1.0, 25)}, cv=5).fit(train)
    return float(search.best_estimator_.score(test)) / len(test), float(search.best_params_["bandwidth"])
