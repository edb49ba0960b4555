"""Predictions of a fitted model in the user's units: codes, reconstructions, densities, imputations, samples.

A `Predictor` combines a model, its scaler and its columns. The Python methods, the report, the exports and the server
all use it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import jax_config
from ..core.model import Model, Recipe
from ..data.scaler import Scaler, check_output_range
from ..engine import inference, prng
from ..errors import InvalidData
from .condition import Condition
from .input import InputSpec

__all__ = ["N_CODES", "N_DRAWS", "Predictor"]

_DENSITIES = (inference.elbos, inference.log_densities, inference.log_likelihood)
"""Operations defined for all values: the result is −∞ outside the support of the likelihood."""
N_CODES = 256
"""Default number of samples of z for the imputation of missing cells."""
N_DRAWS = 64
"""Default number of samples of z for the estimate of a density."""
_OUTSIDE: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "unit": ("numbers in [0, 1]", lambda cells: cells > 1),
    "count": ("counts 0, 1, 2, …", lambda cells: ~np.isnan(cells) & (cells != np.round(cells))),
    "positive": ("numbers above 0", lambda cells: cells == 0),
}
"""What a support allows, and which numbers that are not negative it does not."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A fitted model with its scaler and its columns.

    Rows are in the user's units, as returned by `InputSpec.open`. Results are in the user's units as well, and have the
    floating type of the rows where a method says so.
    """

    model: Model
    scaler: Scaler
    input: InputSpec

    @property
    def recipe(self) -> Recipe:
        """The recipe of the model."""
        return self.model.recipe

    @property
    def condition(self) -> Condition:
        """The columns that the decoder reads beside the code."""
        return Condition(self.input, self.model.recipe.condition)

    @property
    def is_stochastic(self) -> bool:
        """Whether the model has a posterior."""
        return bool(self.model.recipe.latent.stochastic)

    @property
    def n_codes(self) -> int:
        """K, the number of dimensions of the code."""
        return int(self.model.recipe.latent.n_latent)

    def scaled(self, op: inference.Op, rows: np.ndarray, *static: object, **noise: int) -> Any:
        """Apply an operation of `engine.inference` to rows; the results are in scaled units.

        ``noise`` may be the seed of the noise, and the number of the first row, which messages count from as well.

        Raises
        ------
        InvalidData
            If rows are so far from the training data that a result is not finite, or cells are outside the likelihood's
            support.
        """
        first = noise.get("first_row", 0)
        self.condition.require(rows, first)
        if op not in _DENSITIES:
            self._check_support(rows, first)
        found = inference.map_rows(op, self.model, rows, *static, scaler=self.scaler, **noise)
        check_output_range(found, self.scaler, rows, self.input.name_of, first)
        return found

    @property
    def natural_supports(self) -> np.ndarray:
        """The support of each feature, (d,), in the user's units: "real", or another one if it is not scaled."""
        is_plain = (self.scaler.scale == 1) & (self.scaler.offset == 0)
        supports = np.array(self.recipe.input_likelihood.supports(self.input.width))
        return np.where(is_plain, supports, "real")

    def _check_support(self, rows: np.ndarray, first: int) -> None:
        """Check that the cells of unscaled columns are in the support of the likelihood."""
        if set(self.recipe.input_likelihood.supports(self.input.width)) == {"real"}:
            return  # one row takes less time than the arrays below
        supports = self.natural_supports
        for support, (what, is_outside) in _OUTSIDE.items():
            columns = np.flatnonzero(supports == support)
            cells = rows[:, columns]
            wrong = (cells < 0) | is_outside(cells)
            if wrong.any():
                row, at = np.argwhere(wrong)[0]
                name, where = self.input.name_of(columns[at]), f"row {first + row + 1}"
                raise InvalidData(
                    f"Column {name} holds {cells[row, at]:g} ({where}), but the model's likelihood allows only {what}. "
                    "Correct the cell, or set it to NaN if the value is unknown."
                )

    # -- deterministic ------------------------------------------------------------------------------------------------

    def codes(self, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """Encode rows, (n, d) → (n, K), with the type of the rows: activations, or posterior means."""
        codes: np.ndarray = self.scaled(inference.code, rows, first_row=first).astype(rows.dtype)
        return codes

    def reconstructions(self, rows: np.ndarray, first: int = 0, to: np.ndarray | None = None) -> np.ndarray:
        """Return E[x | z(x)], (n, d) → (n, d), with the type of the rows.

        ``to`` is a row, (1, d), whose known cells replace those of the rows' condition at the decoder.
        """
        if not self.recipe.condition:
            return self.scaler.invert(self.scaled(inference.reconstruct, rows, first_row=first)).astype(rows.dtype)
        z = self.scaled(inference.code, rows, first_row=first)
        return self.decode(z, given=rows if to is None else np.where(np.isnan(to), rows, to)).astype(rows.dtype)

    def decode(
        self, z: np.ndarray, seed: int = 0, *, noise: bool = False, given: np.ndarray | None = None
    ) -> np.ndarray:
        """Decode codes, (n, K) → (n, d): E[x | z]; with noise, a sample of p(x | z).

        ``given`` holds the condition: rows, (n, d) or (1, d), of which only the cells of the condition are read.

        Raises
        ------
        InvalidData
            If the model has a condition, and it is not given.
        """
        op = inference.draw if noise else inference.decode
        if not self.recipe.condition:
            return self.scaler.invert(inference.map_rows(op, self.model, z, seed=seed))
        features = list(self.recipe.condition)
        if given is None or np.isnan(given[:, features]).any():
            raise InvalidData(f"The model has a condition: give a value for {', '.join(self.condition.names)}.")
        joined = inference.with_condition(self.model, z, self.scaler.apply(given))
        rows = self.scaler.invert(inference.map_rows(op, self.model, joined, seed=seed))
        rows[:, features] = given[:, features]
        return rows

    def corrupt(self, rows: np.ndarray, first: int, seed: int) -> np.ndarray:
        """Corrupt rows as training does, (n, d) → (n, d), with the type of the rows."""
        scaled = self.scaled(inference.corrupt, rows, seed=seed, first_row=first)
        return self.scaler.invert(scaled).astype(rows.dtype)

    def deviances(self, seen: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean of each cell given the encoder input ``seen``, and the deviance of each cell of the rows.

        Both have shape (n, d). If the rows have fewer columns than the model, columns of zeros are appended.
        """
        if n_more := self.input.width - rows.shape[1]:
            padded = [np.pad(some, ((0, 0), (0, n_more))) for some in (seen, rows)]
        else:
            padded = [seen, rows]
        self.condition.require(seen)
        joined = np.hstack([self.scaler.apply(some) for some in padded])
        mean, deviance = inference.map_rows(inference.deviances, self.model, joined)
        return self.scaler.invert(mean)[:, : rows.shape[1]], deviance[:, : rows.shape[1]]

    # -- densities ----------------------------------------------------------------------------------------------------

    def log_density(self, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """Return the log-density of each row, (n,), in nats: an importance-weighted estimate if there is a posterior.

        The estimate uses the same noise for every row and every call.
        """
        if self.is_stochastic:
            return self.log_likelihood(rows, N_DRAWS, first)
        return self.in_user_units(rows, self.scaled(inference.log_likelihood, rows, first_row=first))

    def elbo(self, rows: np.ndarray, n_samples: int, first: int = 0) -> np.ndarray:
        """Return the ELBO of each row, (n,), in nats."""
        return self.in_user_units(rows, self.scaled(inference.elbos, rows, n_samples, first_row=first))

    def log_likelihood(self, rows: np.ndarray, n_samples: int, first: int = 0) -> np.ndarray:
        """Return an importance-weighted estimate of log p(x), (n,), in nats."""
        return self.in_user_units(rows, self.scaled(inference.log_densities, rows, n_samples, first_row=first))

    def in_user_units(self, rows: np.ndarray, log_density: np.ndarray) -> np.ndarray:
        """Convert log-densities of scaled rows to log-densities in the units of the rows."""
        change = 0.0 if self.model.recipe.likelihood.discrete else self.scaler.log_volume(rows)
        return log_density.astype(np.float64) - change

    def kl(self, rows: np.ndarray, first: int = 0) -> np.ndarray:
        """Return KL(q(z | x) ‖ π) per row and latent dimension, (n, K), in nats."""
        found: np.ndarray = self.scaled(inference.kl, rows, first_row=first).astype(np.float64)
        return found

    # -- missing cells ------------------------------------------------------------------------------------------------

    def expected(self, rows: np.ndarray, n_samples: int = N_CODES, first: int = 0) -> np.ndarray:
        """Return E[x | known cells of x], (n, d); the reconstruction if there is no posterior."""
        if self.is_stochastic:
            return self.scaler.invert(self.scaled(inference.impute_mean, rows, n_samples, first_row=first))
        return self.scaler.invert(self.scaled(inference.reconstruct, rows, first_row=first))

    def sample_given(self, rows: np.ndarray, first: int, n_samples: int, seed: int) -> np.ndarray:
        """Sample x from p(x | known cells of x), (n, d)."""
        found = self.scaled(inference.impute_draw, rows, n_samples, seed=seed, first_row=first)
        return self.scaler.invert(found)

    # -- new rows -----------------------------------------------------------------------------------------------------

    @jax_config.standard()
    def prior_codes(self, n_samples: int, seed: int) -> np.ndarray:
        """Sample codes from the prior, (n_samples, K)."""
        return np.asarray(self.model.prior.sample(prng.key(seed), (n_samples,)))

    def is_known_beyond_condition(self, row: np.ndarray) -> bool:
        """Return whether a row, (1, d), has known cells that are not of the condition."""
        return bool((~np.isnan(row[0]) & ~self.recipe.is_condition(row.shape[1])).any())

    def select_codes(self, z: np.ndarray, row: np.ndarray, n_samples: int, seed: int) -> np.ndarray:
        """Sample from candidate codes, weighted by the likelihood of the known cells of a row.

        Raises
        ------
        InvalidData
            If the likelihood is 0 for all candidates.
        """
        self.condition.require(row)
        joined = np.hstack([z, np.broadcast_to(self.scaler.apply(row), (len(z), row.shape[1]))])
        log_w = inference.map_rows(inference.log_likelihood_at, self.model, joined).astype(np.float64)
        if not np.isfinite(log_w.max()):
            raise InvalidData("The given values are so far from the rows that were fitted that no sample has them.")
        weights = np.exp(log_w - log_w.max())
        chosen = np.random.default_rng([seed, 6]).choice(len(z), n_samples, p=weights / weights.sum())
        return z[chosen]
