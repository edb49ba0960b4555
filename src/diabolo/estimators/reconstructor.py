"""What is asked of a fitted autoencoder: codes, reconstructions, densities, imputations, samples, a report.

Rows go through `input_`, what is said of them comes of `predictor_`.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted

from .. import report
from ..core.corruptions import NoCorruption
from ..core.model import Recipe
from ..data import writers
from ..data.schema import Schema
from ..data.types import Frame, Name, RowsLike
from ..engine.evaluation import Evaluation
from ..errors import InvalidData, InvalidParameter, InvalidType
from ..persistence import reference_outputs
from ..persistence.serialization import Found, Stored
from .input import FLOATS, InputSpec
from .predictor import N_CODES, N_DRAWS
from .trainable import MAX_INT, Learned, Seed, TrainableEstimator, recipe_over

__all__ = ["Reconstructor", "drawing", "require_positive"]


def require_positive(number: object, name: str = "n_samples") -> int:
    """Return a whole number of at least 1, or refuse what is none."""
    if not isinstance(number, numbers.Integral) or not 1 <= int(number) <= MAX_INT:
        raise InvalidParameter(f"{name} must be a whole number of at least 1; got {number!r}.")
    return int(number)


def drawing(random_state: Seed) -> np.random.RandomState:
    """What to draw seeds from, of all that scikit-learn takes for a state."""
    try:
        state: np.random.RandomState = check_random_state(random_state)
    except ValueError as error:
        raise InvalidParameter(f"random_state: {error}.") from error
    return state


def _known_recipe(estimator: TrainableEstimator) -> Recipe:
    """What it was fitted with, or would be."""
    if hasattr(estimator, "model_"):
        return estimator.model_.recipe
    return recipe_over(estimator, InputSpec(type(estimator).__name__, 2))


def _is_stochastic(estimator: TrainableEstimator) -> bool:
    if not _known_recipe(estimator).latent.stochastic:
        raise AttributeError(f"{type(estimator).__name__} has a deterministic code: there is no posterior to ask.")
    return True


def _is_denoiser(estimator: TrainableEstimator) -> bool:
    if isinstance(_known_recipe(estimator).corruption, NoCorruption):
        raise AttributeError(
            f"{type(estimator).__name__} has learned from clean rows: there is no noise that it knows."
        )
    return True


class Reconstructor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Learned):  # type: ignore[misc]
    """What is asked of a fitted autoencoder."""

    verbose: int
    schema_: Schema | None
    image_shape_: tuple[int, ...] | None
    evaluation_: Evaluation | None
    _probe: reference_outputs.ReferenceOutputs | None = None
    """What it said of some rows when it was saved."""

    @property
    def _n_features_out(self) -> int:
        return self.predictor_.n_codes

    def _mapped(self, X: RowsLike, op: Callable[[np.ndarray, int], Any]) -> Any:
        """What ``op`` makes of rows and the first one's number, all together."""
        check_is_fitted(self)
        return self.input_.map(X, op, bool(self.verbose))

    def _codes(self, Z: RowsLike) -> np.ndarray:
        check_is_fitted(self)
        try:
            codes: np.ndarray = check_array(Z, dtype=FLOATS, input_name="Z")
        except TypeError as error:
            raise InvalidType(str(error)) from error
        except ValueError as error:
            raise InvalidData(str(error)) from error
        if codes.shape[1] != self._n_features_out:
            raise InvalidData(
                f"Z has {codes.shape[1]} columns, but {type(self).__name__} has codes of {self._n_features_out}."
            )
        return codes

    def transform(self, X: RowsLike) -> np.ndarray:
        """The deterministic codes: activations, or posterior means.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`

        Returns
        -------
        Z : array of shape (n, K), of X's floating type
        """
        codes: np.ndarray = self._mapped(X, lambda rows, _: self.predictor_.codes(rows))
        return codes

    def inverse_transform(self, X: RowsLike) -> Frame:
        """From codes (n, K) to rows (n, d): E[x | z], in the units of the training data; for a schema, a table."""
        Z = self._codes(X)
        return self.input_.convert(self.predictor_.decode(Z).astype(Z.dtype))

    def reconstruct(self, X: RowsLike) -> Frame:
        """x̂ = E[x | z(x)] for each row, (n, d) → (n, d), in the units of X; missing cells are told as well.

        Of a table with a schema a table is given back: numbers within the range seen, the likeliest of categories; as a
        pandas or polars frame, if ``X`` is one, else as Arrow's.
        """
        rows = self._mapped(X, lambda rows, _: self.predictor_.reconstructions(rows))
        return self.input_.convert(rows, X)

    @available_if(_is_denoiser)  # type: ignore[untyped-decorator]
    def denoise(self, X: RowsLike) -> Frame:
        """Noisy rows with the noise taken away, (n, d) → (n, d): `reconstruct`, of a model that has learned to.

        That is one with a corruption; what it removes is noise of that kind and level.
        """
        return self.reconstruct(X)

    def score_samples(self, X: RowsLike) -> np.ndarray:
        """Log-density of each row, in nats and in X's units; higher is more ordinary. Deterministic.

        Of a row with missing cells it is the density of the others: exactly so for a variational model, whose
        likelihood leaves out what is missing.

        For a deterministic code it is log p(x | z(x)); for a variational one an importance-weighted estimate of
        log p(x), with the same noise for every row and every call.

        Returns
        -------
        array of shape (n,)
        """
        found: np.ndarray = self._mapped(X, lambda rows, _: self.predictor_.log_density(rows))
        return found

    def score(self, X: RowsLike, y: object = None) -> float:
        """The mean of `score_samples`, in nats."""
        return float(self.score_samples(X).mean())

    def impute(
        self, X: RowsLike, n_draws: int | None = None, *, n_samples: int = N_CODES, random_state: int | None = None
    ) -> Frame:
        """X with its missing cells filled, the others untouched.

        The rows that were fitted must have had missing cells, too, or the model a corruption that hides some, such as
        `parts.MaskCells`.

        A variational model fills them from p(x_missing | x_known), by draws of z weighted by what they say of the known
        cells; a deterministic one with its reconstruction.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`
        n_draws : int or None, default=None
            None: the single best value, E[x_missing | x_known], or the likeliest category. m: that many draws, for
            multiple imputation (Rubin 1987), from a variational model only.
        n_samples : int, default=256
            Draws of z for each row.
        random_state : int or None, default=None
            Of the draws.

        Returns
        -------
        array of shape (n, d), of X's floating type
            Of a table with a schema, the table, with the columns that the model does not use. If there are to be draws,
            a list of them.

        Raises
        ------
        ValueError
            If the model has learned from rows without missing cells, or a deterministic code is asked for draws.

        References
        ----------
        Mattei & Frellsen (2019), "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets", section 4.
        """
        check_is_fitted(self)
        n_samples = require_positive(n_samples)
        predictor = self.predictor_
        if n_draws is None:
            return self.input_.fill(X, lambda rows, _: predictor.expected(rows, n_samples), bool(self.verbose))
        n_draws = require_positive(n_draws, "n_draws")
        if not predictor.is_stochastic:
            raise InvalidParameter(f"{type(self).__name__} has a deterministic code: there is nothing to draw from.")
        seeds = drawing(random_state).randint(2**30, size=n_draws)
        draws = [partial(predictor.sample_given, n_samples=n_samples, seed=int(seed)) for seed in seeds]
        return [self.input_.fill(X, draw, bool(self.verbose)) for draw in draws]

    def corrupt(self, X: RowsLike, random_state: int = 0) -> Frame:
        """What training does to rows before the encoder sees them, x̃ = g(x): (n, d) → (n, d), in the units of X."""
        noisy = self._mapped(X, lambda rows, first: self.predictor_.corrupt(rows, first, random_state))
        return self.input_.convert(noisy, X)

    def report(
        self,
        X: RowsLike | None = None,
        y: object = None,
        *,
        path: str | os.PathLike[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> str:
        """One page of HTML: did it learn, what did it learn, can it be trusted?

        Learning curves by term, reconstructions, the error of each feature, a map of the latent space, what each of its
        units does, samples, what is amiss and how to mend it, and a decoder that runs in the page: move the code, and
        see the row. It needs no network, and opens from a file.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows that need not fit in memory, as for `fit`; default=None
            Rows to show the model at work on, best such as it has not been fitted to. Of more than 5,000 so many are
            drawn. None: learning, samples and the decoder alone are shown.
        y : array-like of shape (n,) or None, default=None
            A label of each row, to colour the map by.
        path : path or None, default=None
            A file to write the page to.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, 3), if rows are images. None: known of files of images and convolutional
            networks, otherwise rows are no images.

        Returns
        -------
        str
            The page.

        Raises
        ------
        InvalidData
            If ``y`` or ``image_shape`` does not suit the rows.
        """
        check_is_fitted(self)
        page, _ = report.reported(self, X, y, image_shape=image_shape)
        if path is not None:
            writers.write_page(path, page)
        return page

    def save(self, path: str | os.PathLike[str], *, probe: RowsLike | None = None) -> None:
        """Write a folder of JSON and safetensors that `diabolo.load` reads; see `diabolo.persistence.files`.

        Parameters
        ----------
        path : path
        probe : array-like of shape (n, d), or rows as for `fit`; default=None
            Rows whose codes and scores are kept, of the first 64, so that `verify` can tell whether another machine
            gives the same bits. Of the rows themselves a fingerprint is kept alone.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        if probe is not None:
            self._probe = reference_outputs.probed(self, probe)
        super().save(path)

    def verify(self, X: RowsLike) -> reference_outputs.Verified:
        """Whether this machine gives the bits that were stored: codes and scores of the rows that ``save`` was given.

        Raises
        ------
        InvalidData
            If none were stored, or ``X`` does not begin with those rows.
        """
        check_is_fitted(self)
        return reference_outputs.verified(self, X, self._probe)

    # -- using a posterior --------------------------------------------------------------------------------------------

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Mapping[Name, object] | None = None,
        noise: bool = True,
        random_state: int | None = None,
    ) -> Frame:
        """New rows: z from the prior, then x from p(x | z).

        Parameters
        ----------
        n_samples : int, default=1
        given : mapping or None, default=None
            Values that all rows have, by the name of the column, or its number if there are no names. z is then drawn
            from p(z | given): of 4,096 draws from the prior, or of 16 for each row if that is more, those that make the
            values likely.
        noise : bool, default=True
            False: E[x | z] in place of a draw from p(x | z), as one shows images.
        random_state : int or None, default=None

        Returns
        -------
        array of shape (n_samples, d), float64, in the units of the training data; for a schema an Arrow table of the
        same columns, types, ranges and categories
        """
        check_is_fitted(self)
        n_samples = require_positive(n_samples)
        seed = int(drawing(random_state).randint(2**30))
        predictor, row = self.predictor_, None if not given else self.input_.row_of(given)
        if row is None:
            z = predictor.prior_codes(n_samples, seed)
        else:
            z = predictor.select_codes(predictor.prior_codes(max(4096, 16 * n_samples), seed), row, n_samples, seed)
        rows = predictor.decode(z, seed, noise=noise)
        return self.input_.convert(rows if row is None else np.where(np.isnan(row), rows, row))

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def interpolate(self, a: RowsLike, b: RowsLike, n_steps: int = 10) -> Frame:
        """From one row to another by way of their codes: ``n_steps`` rows, the first a's reconstruction, the last b's.

        Parameters
        ----------
        a, b : array-like of shape (1, d), or a table of one row
        n_steps : int, default=10

        Returns
        -------
        array of shape (n_steps, d), or a table, as `reconstruct` gives it
        """
        n_steps = require_positive(n_steps, "n_steps")
        ends = [self.transform(row) for row in (a, b)]
        if any(len(end) != 1 for end in ends):
            raise InvalidData(f"interpolate goes from one row to another; got {len(ends[0])} and {len(ends[1])} rows.")
        first, last = ends
        along = np.linspace(0, 1, n_steps, dtype=first.dtype)[:, None]
        return self.inverse_transform(first + along * (last - first))

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def elbo(self, X: RowsLike, n_samples: int = N_DRAWS) -> np.ndarray:
        """The evidence lower bound of each row at β = 1, (n,), in nats; a mean over ``n_samples`` draws of z."""
        n_samples = require_positive(n_samples)
        found: np.ndarray = self._mapped(X, lambda rows, _: self.predictor_.elbo(rows, n_samples))
        return found

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def log_likelihood(self, X: RowsLike, n_samples: int = N_DRAWS) -> np.ndarray:
        """An importance-weighted estimate of log p(x) for each row, (n,), in nats (Burda et al. 2016, eq. 8).

        Half of the draws of z come from q(z | x), and half from the same normal at the mode of p(z | x), which 16 steps
        of gradient ascent look for: for rows unlike those learned from, the encoder's q can be far off.
        """
        n_samples = require_positive(n_samples)
        found: np.ndarray = self._mapped(X, lambda rows, _: self.predictor_.log_likelihood(rows, n_samples))
        return found

    @available_if(_is_stochastic)  # type: ignore[untyped-decorator]
    def kl(self, X: RowsLike) -> np.ndarray:
        """KL(q(z | x) ‖ π) per row and coordinate, (n, K), in nats."""
        found: np.ndarray = self._mapped(X, lambda rows, _: self.predictor_.kl(rows))
        return found

    def _stored(self) -> Stored:
        return replace(super()._stored(), probe=self._probe)

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        places = {"schema_": columns.schema, "image_shape_": columns.image_shape, "_probe": found.probe}
        return super()._learned_of(found, columns, learned) | places
