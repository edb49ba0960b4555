"""The autoencoder of single cells."""

from __future__ import annotations

import os
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..core.likelihoods import GeneCounts
from ..errors import InvalidData
from ..estimators.arguments import Refused, Seed, check_arguments, seed_from
from ..estimators.autoencoders import VariationalAutoencoder
from ..estimators.trainable import TrainableEstimator
from . import files
from .cells import AnnDataLike, CellSpec, Counts, column_of, sizes_of
from .differential import differential_expression

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..displays.report import Report

__all__ = ["SingleCellAutoencoder"]

_RATE, _BATCH, _STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 3e-4, 128, 2_000, 20, 100


@dataclass(kw_only=True, eq=False, repr=False)
class SingleCellAutoencoder(BaseEstimator):  # type: ignore[misc]
    r"""Variational autoencoder of the counts of genes in single cells, given the batch and the size factor of each.

    z ~ N(0, I) and x_g ~ NB(s·exp(η_g(z, batch)), r_g). Batch effects are in the decoder, so that the code does not
    repeat them. Training starts at a linear model, whose batch effects are estimated together with clusters that the
    batches share (see `diabolo.engine.count_start`), and keeps what improves the ELBO of held-out cells.

    Parameters
    ----------
    layer : str or None, default=None
        The layer of the AnnData object that holds the counts. None: ``adata.X``.
    batch_key : str or None, default=None
        The column of ``adata.obs`` with the batch of each cell. None: one batch.
    size_factor_key : str or None, default=None
        The column of ``adata.obs`` with the size factor s of each cell, in any unit. None: the observed library size,
        the sum of the cell's counts.
    n_latent : int, default=10
        K, the number of dimensions of the code.
    hidden_layer_sizes : tuple of int, default=(128,)
        Sizes of the hidden layers of encoder and decoder, which are parallel to a linear map.
    family : {"nb", "zinb"}, default="nb"
        Negative binomial, or zero-inflated negative binomial.
    dispersion : {"gene", "gene-batch"}, default="gene"
        Whether r is one number per gene, or one per gene and batch.
    max_epochs : int or None, default=None
        Maximum number of epochs. None: 20 to 100, about 2,000 steps.
    patience : int, default=10
        Training stops after this number of epochs without improvement on held-out cells.
    random_state : int, RandomState or None, default=None
        Seed. Two fits with the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show progress.

    Attributes
    ----------
    autoencoder_ : VariationalAutoencoder
        The fitted model. Its rows are counts, one-hot batch and size factor.
    cells_ : CellSpec
        The genes, the batches, and the unit of size factors.
    genes_ : list of str
        The names of the genes.
    axes_ : array of shape (K, K)
        The map from codes to the coordinates of `transform`.
    n_features_in_ : int
        The number of genes.

    References
    ----------
    Lopez et al. (2018), "Deep generative modeling for single-cell transcriptomics"; Kingma & Welling (2014).

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(3.0, (60, 5))
    >>> adata = SimpleNamespace(X=counts, layers={}, obs={}, obsm={}, var_names=list("abcde"), shape=counts.shape)
    >>> model = SingleCellAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(adata)
    >>> adata.obsm["X_diabolo"].shape
    (60, 2)
    """

    layer: str | None = None
    batch_key: str | None = None
    size_factor_key: str | None = None
    n_latent: int = 10
    hidden_layer_sizes: tuple[int, ...] = (128,)
    family: str = "nb"
    dispersion: str = "gene"
    max_epochs: int | None = None
    patience: int = 10
    random_state: int | np.random.RandomState | None = None
    verbose: int = 0

    _parameter_constraints: ClassVar[dict[str, list[object]]] = {
        "layer": [str, None],
        "batch_key": [str, None],
        "size_factor_key": [str, None],
        "family": [StrOptions({"nb", "zinb"})],
        "dispersion": [StrOptions({"gene", "gene-batch"})],
        **{
            name: TrainableEstimator._parameter_constraints[name]
            for name in ("max_epochs", "patience", "random_state", "verbose")
        },
    }

    def _validate_params(self) -> None:
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            raise Refused(str(error)) from None

    # -- fitting ------------------------------------------------------------------------------------------------------

    def fit(self, adata: AnnDataLike, y: object = None) -> Self:
        """Train the model, and write the coordinates of the cells to ``adata.obsm["X_diabolo"]``.

        Parameters
        ----------
        adata : AnnData
            Cells × genes, with counts 0, 1, 2, …. Sparse counts are read in chunks and never made dense as a whole.
        y : object, default=None
            Ignored.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        InvalidType, InvalidData
            If ``adata`` is not an AnnData object, a layer or column is missing, a value is not a count, or a cell has
            no counts.
        """
        self._validate_params()
        spec = CellSpec.learn(adata, self.layer, self.batch_key, self.size_factor_key)
        rows = spec.rows(adata)
        steps = -(-rows.shape[0] // _BATCH)
        model = VariationalAutoencoder(
            n_latent=self.n_latent,
            hidden_layer_sizes=self.hidden_layer_sizes,
            likelihood=GeneCounts(len(spec.batches), "last", self.family, self.dispersion),
            condition=spec.condition,
            scaling=None,
            batch_size=_BATCH,
            learning_rate=_RATE,
            max_epochs=max(_LEAST_EPOCHS, min(_MOST_EPOCHS, _STEPS // steps))
            if self.max_epochs is None
            else self.max_epochs,
            early_stopping=True,
            patience=self.patience,
            random_state=self.random_state,
            verbose=self.verbose,
        ).fit(rows)
        self.autoencoder_, self.cells_ = model, spec
        self.axes_ = self._axes(rows)
        adata.obsm["X_diabolo"] = self.transform(adata)
        return self

    def _axes(self, rows: Counts) -> np.ndarray:
        """Return the map (K, K) to coordinates whose distances are those of the decoder's linear part."""
        codes = np.asarray(self.autoencoder_.transform(rows), np.float64)
        centred = codes - codes.mean(axis=0)
        some = np.linspace(0, len(codes) - 1, min(len(codes), _SOME)).astype(int)
        logs = np.log(self._rates(codes[some], None))
        inner = centred[some].T @ centred[some]
        weights = np.linalg.solve(inner + 1e-6 * np.trace(inner) * np.eye(len(inner)), centred[some].T @ logs)
        squares, left = np.linalg.eigh(weights @ weights.T)
        metric = left * np.sqrt(np.maximum(squares, 0))
        _, axes = np.linalg.eigh(np.cov((centred @ metric).T).reshape(len(inner), -1))
        found: np.ndarray = metric @ axes[:, ::-1]
        return found * np.where(found.sum(axis=0) < 0, -1, 1)

    @property
    def genes_(self) -> list[str]:
        """The names of the genes."""
        check_is_fitted(self)
        return list(self.cells_.genes)

    @property
    def n_features_in_(self) -> int:
        """The number of genes."""
        return len(self.genes_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "autoencoder_")

    # -- using --------------------------------------------------------------------------------------------------------

    def codes(self, adata: AnnDataLike) -> np.ndarray:
        """Return the code of each cell, (n, K): the mean of q(z | x), of variance about 1 along each dimension.

        Parameters
        ----------
        adata : AnnData
            Cells with the genes and the batches of the fit.

        Returns
        -------
        array of shape (n, K)
            The codes.
        """
        check_is_fitted(self)
        return np.asarray(self.autoencoder_.transform(self.cells_.rows(adata)))

    def transform(self, adata: AnnDataLike) -> np.ndarray:
        """Return the coordinates of each cell, (n, K), a linear map of its code.

        The distance of two cells is that of their denoised logarithms of expression, to first order, over all genes
        and without batch effects. The coordinates are in the order of their variance.

        Parameters
        ----------
        adata : AnnData
            Cells with the genes and the batches of the fit.

        Returns
        -------
        array of shape (n, K), float32
            The coordinates.
        """
        return (self.codes(adata).astype(np.float64) @ self.axes_).astype(np.float32)

    def fit_transform(self, adata: AnnDataLike, y: object = None) -> np.ndarray:
        """Fit the model and return the coordinates of the cells.

        Parameters
        ----------
        adata : AnnData
            As for `fit`.
        y : object, default=None
            Ignored.

        Returns
        -------
        array of shape (n, K)
            As `transform`.
        """
        return self.fit(adata).transform(adata)

    def normalized_expression(
        self, adata: AnnDataLike, *, batch: object | None = None, size_factor: float | None = None
    ) -> np.ndarray:
        """Return the denoised expression of each cell: the mean counts at its code, with a common size factor.

        Parameters
        ----------
        adata : AnnData
            Cells with the genes and the batches of the fit.
        batch : str or None, default=None
            The batch in which all cells would have been measured. None: the own batch of each cell.
        size_factor : float or None, default=None
            The size factor of all cells. None: the median of the training cells.

        Returns
        -------
        array of shape (n, G)
            Expected counts.

        Raises
        ------
        InvalidData
            If a batch is unknown, or the size factor is not positive.
        """
        check_is_fitted(self)
        spec, rows = self.cells_, self.cells_.rows(adata)
        unit = self._in_units(size_factor)
        to: dict[str | int, object] = {spec.n_features - 1: unit}
        if batch is not None:
            to |= dict(zip(spec.condition, spec.given(batch, unit)[0, len(spec.genes) :], strict=True))
        found: np.ndarray = np.asarray(self.autoencoder_.reconstruct(rows, to=to))[:, : len(spec.genes)]
        return found

    def _in_units(self, size_factor: float | None) -> float:
        if size_factor is None:
            return 1.0
        return float(sizes_of(np.empty(0), np.array([size_factor]))[0, 0]) / self.cells_.unit

    def _rates(self, codes: np.ndarray, batch: object | None) -> np.ndarray:
        """Return the mean counts at codes, (n, G), of cells of size factor 1; the batch None is the mean of all."""
        rows = self.autoencoder_.predictor_.decode(codes.astype(np.float32), given=self.cells_.given(batch, 1.0))
        return np.maximum(rows[:, : len(self.cells_.genes)], _LEAST_RATE)

    def score_samples(self, adata: AnnDataLike) -> np.ndarray:
        """Return log p(x | batch, size factor) of each cell, in nats: an importance-weighted estimate.

        Parameters
        ----------
        adata : AnnData
            Cells with the genes and the batches of the fit.

        Returns
        -------
        array of shape (n,)
            The log-likelihoods.
        """
        check_is_fitted(self)
        return self.autoencoder_.score_samples(self.cells_.rows(adata))

    def score(self, adata: AnnDataLike, y: object = None) -> float:
        """Return the mean of `score_samples`.

        Parameters
        ----------
        adata : AnnData
            As for `score_samples`.
        y : object, default=None
            Ignored.

        Returns
        -------
        float
            The mean log-likelihood of a cell, in nats; higher is better.
        """
        return float(self.score_samples(adata).mean())

    def sample(
        self,
        n_samples: int = 1,
        *,
        batch: object | None = None,
        size_factor: float | None = None,
        random_state: Seed = None,
    ) -> np.ndarray:
        """Sample the counts of new cells: z from the prior, then x from p(x | z, batch, size factor).

        Parameters
        ----------
        n_samples : int, default=1
            The number of cells.
        batch : str or None, default=None
            The batch; needed if the model has batches.
        size_factor : float or None, default=None
            The size factor. None: the median of the training cells.
        random_state : int, RandomState or None, default=None
            Seed of the samples.

        Returns
        -------
        array of shape (n_samples, G)
            Counts.

        Raises
        ------
        InvalidData
            If the batch is not one of the training cells.
        """
        check_is_fitted(self)
        check_arguments(n_samples=n_samples)
        spec, seed = self.cells_, seed_from(random_state)
        if batch is None and spec.batches:
            raise InvalidData(f"Name the batch of the new cells: {', '.join(spec.batches[:8])}.")
        unit = self._in_units(size_factor)
        predictor = self.autoencoder_.predictor_
        z = predictor.prior_codes(n_samples, seed)
        found: np.ndarray = predictor.decode(z, seed, noise=True, given=spec.given(batch, unit))[:, : len(spec.genes)]
        return found

    def differential_expression(
        self, adata: AnnDataLike, groupby: str, group1: object, group2: object | None = None
    ) -> DataFrame:
        """Test which genes differ between two groups of cells; see `diabolo.singlecell.differential_expression`.

        Batch and size factor are those of the model.

        Parameters
        ----------
        adata : AnnData
            Cells with the genes and the batches of the fit.
        groupby : str
            The column of ``adata.obs`` with the group of each cell.
        group1, group2 : object
            The groups. If ``group2`` is None, all other cells.

        Returns
        -------
        pandas.DataFrame
            One row per gene.
        """
        check_is_fitted(self)
        spec = self.cells_
        return differential_expression(
            adata,
            groupby,
            group1,
            group2,
            layer=spec.layer,
            batch_key=spec.batch_key,
            size_factor_key=spec.size_factor_key,
        )

    def report(
        self, adata: AnnDataLike, color: str | None = None, *, path: str | os.PathLike[str] | None = None
    ) -> Report:
        """Return the HTML report on the training and the quality of the model.

        Parameters
        ----------
        adata : AnnData
            Cells to evaluate the model on.
        color : str or None, default=None
            The column of ``adata.obs`` for the colours of the map.
        path : path or None, default=None
            File to write the page to.

        Returns
        -------
        Report
            As `Autoencoder.report`, of at most 5,000 cells drawn at random. Batches and size factor follow the genes.
        """
        check_is_fitted(self)
        from pandas import DataFrame

        spec, rows = self.cells_, self.cells_.rows(adata)
        some = np.sort(np.random.default_rng(0).permutation(rows.shape[0])[:_REPORTED])
        some_rows = rows[some] if isinstance(rows, np.ndarray) else rows[some].toarray()
        names = (*spec.genes, *(f"batch {name}" for name in spec.batches), "size factor")
        named = copy(self.autoencoder_)
        named.input_ = replace(named.input_, names=names)
        y = None if color is None else column_of(adata, color)[some]
        return named.report(DataFrame(some_rows, columns=list(names)), y, path=path, title="Single cells")

    # -- saving -------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the model to a folder, for `load`.

        Parameters
        ----------
        path : path
            Folder to write.

        Raises
        ------
        ArtifactError
            If ``path`` holds something other than a saved model of cells.
        """
        check_is_fitted(self)
        check_arguments(path=path)
        parameters = self.get_params() | {"random_state": self.autoencoder_.seed_}
        files.write(path, self.autoencoder_, parameters, self.cells_, self.axes_)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load a saved model; its outputs are equal, bit for bit.

        Parameters
        ----------
        path : path
            Folder of the saved model.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        ArtifactError
            If the folder is missing or damaged.
        """
        check_arguments(path=path)
        autoencoder, parameters, spec, axes = files.read(path)
        found = cls(**parameters)
        found.autoencoder_, found.cells_, found.axes_ = autoencoder, spec, axes
        return found


_SOME, _REPORTED, _LEAST_RATE = 4096, 5000, 1e-8
"""Numbers of cells for the axes and for the report, and the smallest mean count, whose logarithm is finite."""
