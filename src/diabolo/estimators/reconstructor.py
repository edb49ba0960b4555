"""Methods of a fitted autoencoder: codes, reconstructions, densities, imputations, a report.

`input_` validates the rows, and `predictor_` computes the results. `posterior` has the methods that need a posterior.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted

from ..core.corruptions import NoCorruption
from ..data.frames import collected
from ..data.schema import Schema
from ..data.types import Frame, Name, RowsLike
from ..engine.evaluation import Evaluation
from ..errors import InvalidData, InvalidParameter, InvalidType
from ..former_names import warn_of_former
from ..persistence import reference_outputs
from ..persistence.serialization import Found, Stored
from .arguments import Seed, check_arguments, check_page, drawing, seed_from
from .condition import Condition
from .input import InputSpec
from .output import output_library, table_like
from .posterior import PosteriorMethods, known_recipe
from .predictor import N_CODES
from .trainable import TrainableEstimator
from .validation import FLOATS

if TYPE_CHECKING:
    from ..displays.network import NetworkSummary
    from ..displays.report import Report

__all__ = ["Reconstructor"]


def _is_denoiser(estimator: TrainableEstimator) -> bool:
    if isinstance(known_recipe(estimator).corruption, NoCorruption):
        raise AttributeError(
            f"{type(estimator).__name__} was trained on clean rows, so it cannot denoise. Train with a corruption."
        )
    return True


class Reconstructor(ClassNamePrefixFeaturesOutMixin, TransformerMixin, PosteriorMethods):  # type: ignore[misc]
    """Base class with the prediction methods of a fitted autoencoder."""

    verbose: int
    schema_: Schema | None
    image_shape_: tuple[int, ...] | None
    evaluation_: Evaluation | None
    _probe: reference_outputs.ReferenceOutputs | None = None
    """Reference outputs, stored by `save` and compared by `verify`."""

    @property
    def _n_features_out(self) -> int:
        return self.predictor_.n_codes

    def _mapped(self, X: RowsLike, op: Callable[[np.ndarray, int], Any]) -> Any:
        """Apply ``op``, a function of rows and the number of the first row, to all rows of ``X``."""
        check_is_fitted(self)
        return self.input_.map(X, op, bool(self.verbose))

    def _codes(self, Z: RowsLike) -> np.ndarray:
        check_is_fitted(self)
        try:
            codes: np.ndarray = check_array(collected(Z), dtype=FLOATS, input_name="Z")
        except TypeError as error:
            raise InvalidType(str(error)) from error
        except ValueError as error:
            raise InvalidData(str(error)) from error
        if codes.shape[1] != self._n_features_out:
            raise InvalidData(
                f"Z has {codes.shape[1]} columns, but {type(self).__name__} has codes of {self._n_features_out}."
            )
        return codes

    def transform(self, X: RowsLike) -> Frame:
        """Return the code of each row: activations, or posterior means. Deterministic.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n, K), of the floating type of X
            The codes. If ``X`` is a data frame or an Arrow table, a table of the same library, with the columns
            `get_feature_names_out` and the index of ``X``.
        """
        codes: np.ndarray = self._mapped(X, self.predictor_.codes)
        return codes if output_library(self) else table_like(X, codes, self.get_feature_names_out())

    def inverse_transform(self, X: RowsLike, *, given: Mapping[Name, object] | None = None) -> Frame:
        """Decode codes to rows: E[x | z].

        Parameters
        ----------
        X : array-like of shape (n, K)
            Codes, as from `transform`.
        given : mapping or None, default=None
            The values of the condition, by column, if the model has a ``condition``.

        Returns
        -------
        array of shape (n, d), of the floating type of X; or a table, of the kind of X
            The decoded rows, in the units of the training data; with a schema always a table.
        """
        check_arguments(given=given)
        Z = self._codes(X)
        row = None if given is None else self.input_.row_of(given)
        return self.input_.convert_codes(self.predictor_.decode(Z, given=row).astype(Z.dtype), X)

    def reconstruct(self, X: RowsLike, *, to: Mapping[Name, object] | None = None) -> Frame:
        """Reconstruct each row: x̂ = E[x | z(x)]. Missing cells are filled.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.
        to : mapping or None, default=None
            Values of columns of the model's ``condition``: what the rows would be under another condition. The code is
            that of the row under its own condition. None: the condition of each row.

        Returns
        -------
        array of shape (n, d), of the floating type of X; or a table, of the kind of X
            In the units of X. If ``X`` is a data frame or an Arrow table, a table of the same library, with the index,
            labels and types of ``X``; for a file of a table, an Arrow table. Columns have the order of `fit`. In a
            table, columns that held integers in `fit` are integers, within the range of the training data. With a
            schema, all numbers are within the range, and each category is the most probable one.
        """
        check_arguments(to=to)
        changed = None if to is None else self._condition_of(to)
        rows = self._mapped(X, lambda rows, first: self.predictor_.reconstructions(rows, first, changed))
        return self.input_.convert(rows, X)

    def _condition_of(self, to: Mapping[Name, object]) -> np.ndarray:
        check_is_fitted(self)
        condition = self.predictor_.condition
        if not set(Condition.of(self.input_, to).features) <= set(condition.features):
            known = ", ".join(condition.names) or "no column"
            raise InvalidData(f"to names {', '.join(map(str, to))}, but the condition of the model is {known}.")
        return self.input_.row_of(to)

    @available_if(_is_denoiser)  # type: ignore[untyped-decorator]
    def denoise(self, X: RowsLike) -> Frame:
        """Remove noise from rows.

        The same as `reconstruct`, but defined only for models trained with a corruption. The model removes noise of the
        kind and level of this corruption. A level is in scaled units (see ``scaler_``), unless the corruption is in the
        units of the data (``noise_units="data"``, `parts.InDataUnits`).

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Noisy rows, in the units of the training data.

        Returns
        -------
        array of shape (n, d), or a table, as returned by `reconstruct`
            The restored rows, in the same units.
        """
        return self.reconstruct(X)

    def score_samples(self, X: RowsLike) -> np.ndarray:
        """Return the log-density of each row, in nats and in the units of X; higher is more normal. Deterministic.

        For a deterministic code the result is log p(x | z(x)). For a variational model it is an importance-weighted
        estimate of log p(x), with the same noise for every row and every call.

        For a row with missing cells, the result is the density of the known cells. This is exact for a variational
        model, whose likelihood leaves out missing cells.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.

        Returns
        -------
        array of shape (n,), float64
            The log-densities; −∞ for a row that the likelihood cannot produce, never NaN.
        """
        found: np.ndarray = self._mapped(X, self.predictor_.log_density)
        return found

    def score(self, X: RowsLike, y: ArrayLike | None = None) -> float:
        """Return the mean of `score_samples`, in nats.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.
        y : array-like of shape (n,) or None, default=None
            Ignored.

        Returns
        -------
        float
            The mean log-density of a row; higher is better.
        """
        check_arguments(y=y)
        return float(self.score_samples(X).mean())

    def impute(
        self, X: RowsLike, n_draws: int | None = None, *, n_samples: int = N_CODES, random_state: Seed = None
    ) -> Frame:
        """Fill the missing cells of X and leave the other cells unchanged.

        The training rows must have missing cells as well, or the model must have a corruption that masks cells, for
        example `parts.MaskCells`.

        A variational model fills cells from p(x_missing | x_known), with samples of z weighted by the likelihood of the
        known cells. A model with a deterministic code uses its reconstruction.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows with missing cells.
        n_draws : int or None, default=None
            None: fill each cell with the single best value, E[x_missing | x_known], or the most probable category.
            m: return m random imputations for multiple imputation (Rubin 1987); variational models only.
        n_samples : int, default=256
            Number of samples of z per row.
        random_state : int, RandomState or None, default=None
            Seed of the random imputations.

        Returns
        -------
        array of shape (n, d), of the floating type of X
            If ``X`` is a table, a table of the same library, with its index, labels and types. It has all columns of
            the table of `fit`, in their order, also those that the model does not use; other columns are left out. With
            ``n_draws``, a list of such arrays or tables.

        Raises
        ------
        ValueError
            If the model was trained on rows without missing cells, or if ``n_draws`` is given for a deterministic code.

        References
        ----------
        Mattei & Frellsen (2019), "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets", section 4.
        """
        check_is_fitted(self)
        check_arguments(n_draws=n_draws, n_samples=n_samples, random_state=random_state)
        predictor = self.predictor_
        if n_draws is None:
            return self.input_.fill(
                X, lambda rows, first: predictor.expected(rows, n_samples, first), bool(self.verbose)
            )
        if not predictor.is_stochastic:
            raise InvalidParameter(f"{type(self).__name__} has a deterministic code: leave out n_draws.")
        seeds = drawing(random_state).randint(2**30, size=n_draws)
        draws = [partial(predictor.sample_given, n_samples=n_samples, seed=int(seed)) for seed in seeds]
        return [self.input_.fill(X, draw, bool(self.verbose)) for draw in draws]

    def corrupt(self, X: RowsLike, random_state: Seed = 0) -> Frame:
        """Corrupt rows as training does before the encoder: x̃ = g(x).

        The level of the noise is that of the corruption: σ in scaled units is σ·``scaler_.scale`` in the units of X. A
        corruption in the units of the data (``noise_units="data"``, `parts.InDataUnits`) has σ in the units of X.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`
            Rows in the units of the training data.
        random_state : int, RandomState or None, default=0
            Seed of the noise.

        Returns
        -------
        array of shape (n, d), or a table, of the kind of X
            The corrupted rows, in the units of X. Without a schema, numbers are not rounded.
        """
        check_arguments(random_state=random_state)
        seed = int(random_state) if isinstance(random_state, numbers.Integral) else seed_from(random_state)
        noisy = self._mapped(X, lambda rows, first: self.predictor_.corrupt(rows, first, seed))
        is_plain = self.input_.schema is None
        if not is_plain:
            return self.input_.convert(noisy, X)
        return table_like(X, self.input_.shaped(noisy, X), self.input_.user_labels)

    def report(
        self,
        X: RowsLike | None = None,
        y: ArrayLike | None = None,
        *,
        path: str | os.PathLike[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        title: str = "",
    ) -> Report:
        """Return an HTML report on the training and the quality of the model.

        In a notebook, the result shows its figures of merit, findings and pictures; ``save`` writes the page.

        The page shows learning curves by term, reconstructions, the error of each feature, a map of the latent space,
        the effect of each latent unit, samples, and problems with their remedies. A decoder runs in the page: change
        the code and see the row. The page needs no network and opens from a file.

        Parameters
        ----------
        X : array-like of shape (n, d), or a larger source of rows as for `fit`; default=None
            Rows to evaluate the model on, preferably rows not used in `fit`. If there are more than 5,000 rows, 5,000
            of them are drawn at random. None: the page shows only the training, samples and the decoder.
        y : array-like of shape (n,) or None, default=None
            Label of each row, for the colours of the map.
        path : path or None, default=None
            File to write the page to.
        image_shape : tuple of int or None, default=None
            (height, width) or (height, width, 3) if the rows are images. None: the shape of the image files or of the
            convolutional network; otherwise the rows are not shown as images.
        title : str, default=""
            Title of the page; empty: the name of the class.

        Returns
        -------
        Report
            The HTML page: a str with the attribute ``findings`` and the method ``save``.

        Raises
        ------
        InvalidData
            If ``y`` or ``image_shape`` does not fit the rows.
        """
        check_is_fitted(self)
        check_arguments(y=y, image_shape=image_shape)
        check_page(path, title)
        from ..displays.report import Report
        from ..report.collect import collect

        return Report.of(collect(self, X, y, image_shape=image_shape), title, path)

    def summary(self) -> NetworkSummary:
        """Return the layers of the network, the shapes of their arrays, and how many numbers were trained.

        Returns
        -------
        NetworkSummary
            A table, shown by ``print`` and by a notebook.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from diabolo import BasicAutoencoder
        >>> BasicAutoencoder(n_latent=2).fit(load_iris().data).summary()
        BasicAutoencoder: row 4 → encoder 2 → code 2 → decoder 4; 22 trained numbers
        <BLANKLINE>
        part     layer      class  arrays              trained  fixed
        encoder  layers[0]  Dense  weight 4 × 2, bias 2      10
        decoder  layers[0]  Dense  weight 2 × 4, bias 4      12
        """
        from ..displays.network import NetworkSummary

        return NetworkSummary.from_estimator(self)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        reference_data: RowsLike | None = None,
        probe: RowsLike | None = None,
    ) -> None:
        """Save the model to a folder of JSON and safetensors, for `diabolo.load`; see `diabolo.persistence.files`.

        Parameters
        ----------
        path : path
            Folder to write.
        reference_data : array-like of shape (n, d), or rows as for `fit`; default=None
            Rows for reference outputs: the codes and scores of the first 64 rows are saved, so that `verify` can check
            whether another machine computes the same bits. The rows themselves are not saved, only their hash.
        probe : the same, or None, default=None
            Former name of ``reference_data``; deprecated.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model, or a parameter is not JSON.
        """
        check_is_fitted(self)
        check_arguments(path=path)
        if probe is not None:
            warn_of_former("save", "probe", "reference_data")
            reference_data = probe
        if reference_data is not None:
            self._probe = reference_outputs.probed(self, reference_data)
        super().save(path)

    def verify(self, X: RowsLike) -> reference_outputs.Verified:
        """Check whether this machine computes the saved reference outputs, bit for bit.

        Parameters
        ----------
        X : array-like of shape (n, d), or rows as for `fit`
            The rows passed to ``save`` as ``reference_data``.

        Returns
        -------
        Verified
            Whether all bits are equal, or by how much the outputs differ.

        Raises
        ------
        InvalidData
            If the model has no reference outputs, or ``X`` does not begin with the same rows.
        """
        check_is_fitted(self)
        return reference_outputs.verified(self, X, self._probe)

    def _stored(self) -> Stored:
        return replace(super()._stored(), probe=self._probe)

    def _learned_of(self, found: Found, columns: InputSpec, learned: Mapping[str, object]) -> dict[str, object]:
        places = {"schema_": columns.schema, "image_shape_": columns.image_shape, "_probe": found.probe}
        return super()._learned_of(found, columns, learned) | places
