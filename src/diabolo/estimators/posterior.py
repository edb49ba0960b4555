"""Methods of a fitted autoencoder that need a posterior: samples, interpolation, densities, KL."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..core.model import Recipe
from ..data.types import Frame, Name, RowsLike
from ..errors import InvalidData
from .arguments import Seed, check_arguments, seed_from
from .input import InputSpec
from .predictor import N_DRAWS
from .trainable import Learned, TrainableEstimator, recipe_over

__all__ = ["PosteriorMethods", "known_recipe"]


def known_recipe(estimator: TrainableEstimator) -> Recipe:
    """Return the recipe of the fitted model, or the recipe that `fit` would use."""
    if hasattr(estimator, "model_"):
        return estimator.model_.recipe
    return recipe_over(estimator, InputSpec(type(estimator).__name__, 2))


def _is_stochastic(estimator: TrainableEstimator) -> bool:
    if not known_recipe(estimator).latent.stochastic:
        raise AttributeError(f"{type(estimator).__name__} has a deterministic code, so there is no posterior.")
    return True


class PosteriorMethods(Learned):
    """Base class with the methods that a model has only if its code is random."""

    verbose: int

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Name, object] | None = None,
        noise: bool = True,
        random_state: Seed = None,
    ) -> Frame:
        """Sample new rows: z from the prior, then x from p(x | z).

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        given : mapping or None, default=None
            Fixed values of all rows, by column name, or by column number if there are no names. z is then sampled from
            p(z | given): candidates from the prior (4,096, or 16 per row if that is more) are weighted by the
            likelihood of the values. The columns of the model's ``condition`` are read by the decoder instead, and must
            be given.
        noise : bool, default=True
            False: return E[x | z] instead of a sample of p(x | z), as is usual for images. The noise has the standard
            deviation that the likelihood has learned for each column.
        random_state : int, RandomState or None, default=None
            Seed of the samples.

        Returns
        -------
        array of shape (n_samples, d), float64
            In the units of the training data. If `fit` got a data frame, a data frame of the same library, with the
            same columns and types; if it got a file of a table, an Arrow table. Integers are integers.

        Raises
        ------
        InvalidParameter
            If an argument has a wrong type or is out of range.
        InvalidData
            If ``given`` names an unknown column or a value that the column cannot have.
        """
        check_is_fitted(self)
        check_arguments(n_samples=n_samples, given=given, noise=noise)
        seed = seed_from(random_state)
        predictor, row = self.predictor_, None if not given else self.input_.row_of(given)
        if row is None or not predictor.is_known_beyond_condition(row):
            z = predictor.prior_codes(n_samples, seed)
        else:
            z = predictor.select_codes(predictor.prior_codes(max(4096, 16 * n_samples), seed), row, n_samples, seed)
        rows = predictor.decode(z, seed, noise=noise, given=row)
        return self.input_.convert(rows, given=row)

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def interpolate(self, a: RowsLike, b: RowsLike, n_steps: int = 10) -> Frame:
        """Interpolate between the codes of two rows, and decode.

        Parameters
        ----------
        a, b : array-like of shape (1, d), or a table of one row
            The two rows. The condition, if the model has one, is that of ``a``.
        n_steps : int, default=10
            Number of rows to return. The first row is the reconstruction of ``a``, the last one of ``b``.

        Returns
        -------
        array of shape (n_steps, d), or a table of the kind of ``a``
            The rows along the line between the two codes.

        Raises
        ------
        InvalidParameter
            If ``n_steps`` is not an integer of at least 1.
        InvalidData
            If ``a`` or ``b`` is not one row with the columns of `fit`.
        """
        check_is_fitted(self)
        check_arguments(n_steps=n_steps)
        predictor = self.predictor_
        ends = [self.input_.map(row, predictor.codes) for row in (a, b)]
        given = self.input_.rows(a) if predictor.recipe.condition else None
        if any(len(end) != 1 for end in ends):
            raise InvalidData(f"a and b must have one row each; got {len(ends[0])} and {len(ends[1])} rows.")
        first, last = ends
        along = np.linspace(0, 1, n_steps, dtype=first.dtype)[:, None]
        z = first + along * (last - first)
        return self.input_.convert(predictor.decode(z, given=given).astype(z.dtype), a, has_index=False)

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def elbo(self, X: RowsLike, n_samples: int = N_DRAWS) -> np.ndarray:
        """Return the ELBO of each row at β = 1, in nats.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.
        n_samples : int, default=64
            Number of samples of z per row, over which the bound is averaged.

        Returns
        -------
        array of shape (n,), float64
            The bounds; −∞ for a row that the likelihood cannot produce.
        """
        check_is_fitted(self)
        check_arguments(n_samples=n_samples)
        predictor = self.predictor_
        found: np.ndarray = self.input_.map(
            X, lambda rows, first: predictor.elbo(rows, n_samples, first), bool(self.verbose)
        )
        return found

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def log_likelihood(self, X: RowsLike, n_samples: int = N_DRAWS) -> np.ndarray:
        """Return an importance-weighted estimate of log p(x) for each row, in nats (Burda et al. 2016, eq. 8).

        Half of the samples of z come from q(z | x). The other half comes from the same normal distribution, moved to
        the mode of p(z | x), which 16 steps of gradient ascent search for. The reason: for rows unlike the training
        rows, q(z | x) can be far from the posterior.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.
        n_samples : int, default=64
            Number of samples of z per row.

        Returns
        -------
        array of shape (n,), float64
            The estimates; −∞ for a row that the likelihood cannot produce.
        """
        check_is_fitted(self)
        check_arguments(n_samples=n_samples)
        predictor = self.predictor_
        found: np.ndarray = self.input_.map(
            X, lambda rows, first: predictor.log_likelihood(rows, n_samples, first), bool(self.verbose)
        )
        return found

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def kl(self, X: RowsLike) -> np.ndarray:
        """Return KL(q(z | x) ‖ π) of each row and latent dimension, in nats; π is the prior.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n, K), float64
            The divergences, at least 0.
        """
        check_is_fitted(self)
        predictor = self.predictor_
        found: np.ndarray = self.input_.map(X, predictor.kl, bool(self.verbose))
        return found
