"""Compare two fitted autoencoders on the same rows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from ..data.types import RowsLike
from ..errors import InvalidData
from ..persistence.fitted import FittedAutoencoder
from .collect import Reconstructed, reconstruct_rows

__all__ = ["Compared", "Comparison", "compare"]


@dataclass(frozen=True)
class Compared:
    """One of two models, and its figures on the rows."""

    name: str
    """The name of the run."""
    estimator: str
    """The name of the class."""
    n_latent: int
    """The size of the code."""
    n_epochs: int
    """The number of epochs run."""
    lost: float
    """The share of variance that the reconstruction lacks, mean over columns: 0 exact, 1 no better than the mean."""
    log_density: float
    """The mean log-density of a row, in nats and the units of the data."""
    is_density_of_rows: bool
    """Whether the log-density is log p(x); otherwise it is log p(x | z(x)), which does not count the code."""
    lost_by_column: dict[str, float]
    """The share of each column's variance that the reconstruction lacks."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows, and the differences of the second from the first, with standard errors."""

    n_rows: int
    n_given: int
    first: Compared
    second: Compared
    lost_difference: tuple[float, float] | None
    """Difference of `Compared.lost`, and its standard error over rows; None if the models use different columns."""
    log_density_difference: tuple[float, float] | None
    """Difference of the mean log-density and its standard error; None if the two are not the same quantity."""

    def as_json(self) -> dict[str, object]:
        """Return the figures as plain values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        a, b = self.first, self.second
        rows = [
            ("", a.name, b.name, "difference"),
            ("estimator", a.estimator, b.estimator, ""),
            ("code", f"{a.n_latent:,}", f"{b.n_latent:,}", ""),
            ("epochs", f"{a.n_epochs:,}", f"{b.n_epochs:,}", ""),
            ("variance lost", _share(a.lost), _share(b.lost), _signed(self.lost_difference, 100, " points")),
            (
                "log-density, nats",
                f"{a.log_density:.5g}",
                f"{b.log_density:.5g}",
                _signed(self.log_density_difference, 1, ""),
            ),
            ("  which is", _quantity(a), _quantity(b), ""),
            ("variance lost by column:", "", "", ""),
        ]
        names = dict.fromkeys([*a.lost_by_column, *b.lost_by_column])
        for name in sorted(names, key=lambda one: -a.lost_by_column.get(one, 0)):
            one, other = a.lost_by_column.get(name), b.lost_by_column.get(name)
            difference = "" if one is None or other is None else f"{100 * (other - one):+.1f} points"
            rows.append((f"  {name}", _share(one), _share(other), difference))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        )
        some = f", a random sample of {self.n_given:,}" if self.n_rows < self.n_given else ""
        return "\n".join([f"{self.n_rows:,} rows{some}", *(line.rstrip() for line in lines)])


def compare(
    models: tuple[FittedAutoencoder, FittedAutoencoder],
    rows: tuple[RowsLike, RowsLike],
    names: tuple[str, str] = ("first", "second"),
) -> Comparison:
    """Compare two fitted autoencoders on the same rows, at most 5,000.

    The share of lost variance does not depend on a model's scaling. Differences are paired by row. Log-densities are
    compared only if both are of the same quantity: log p(x) or log p(x | z), over columns of the same kinds.

    Parameters
    ----------
    models : tuple of two autoencoders
    rows : tuple of two sources of rows
        The same rows, as each model opens them.
    names : tuple of two str
        The name of each model.

    Raises
    ------
    InvalidData
        If a model cannot read the rows, or the two have different numbers of rows.
    """
    found = [reconstruct_rows(model, some) for model, some in zip(models, rows, strict=True)]
    if found[0].n_given != found[1].n_given:
        raise InvalidData(
            f"The models read {found[0].n_given:,} and {found[1].n_given:,} rows. Give both the same rows."
        )
    scores = [model.predictor_.log_density(some.rows) for model, some in zip(models, found, strict=True)]
    a, b = (_compared(*each) for each in zip(names, models, found, scores, strict=True))
    has_same_columns = set(a.lost_by_column) == set(b.lost_by_column)
    errors = tuple(_errors(model, some) for model, some in zip(models, found, strict=True))
    is_same_quantity = (
        has_same_columns and _measure(models[0]) == _measure(models[1]) and bool(np.isfinite(scores).all())
    )
    return Comparison(
        n_rows=len(found[0].rows),
        n_given=found[0].n_given,
        first=a,
        second=b,
        lost_difference=(b.lost - a.lost, _standard_error(errors[1] - errors[0])) if has_same_columns else None,
        log_density_difference=(b.log_density - a.log_density, _standard_error(scores[1] - scores[0]))
        if is_same_quantity
        else None,
    )


def _compared(name: str, model: FittedAutoencoder, results: Reconstructed, scores: np.ndarray) -> Compared:
    recipe = model.predictor_.model.recipe
    by_column = results.unexplained_by_column(_columns(model))
    return Compared(
        name=name,
        estimator=type(model).__name__,
        n_latent=recipe.latent.n_latent,
        n_epochs=model.n_epochs_,
        lost=float(np.mean(list(by_column.values()))),
        log_density=float(scores.mean()),
        is_density_of_rows=recipe.latent.stochastic,
        lost_by_column=by_column,
    )


def _columns(model: FittedAutoencoder) -> tuple[str, ...]:
    """Return the column of each feature."""
    schema = model.input_.schema
    return tuple(map(str, model.input_.labels)) if schema is None else schema.column_of_feature


def _measure(model: FittedAutoencoder) -> tuple[object, ...]:
    """Return what a log-density is a density of: of rows or of rows given codes, and over which kinds of columns."""
    recipe, schema = model.predictor_.model.recipe, model.input_.schema
    kinds = None if schema is None else tuple((column.name, column.kind) for column in schema.used)
    return recipe.latent.stochastic, recipe.likelihood.discrete, kinds


def _errors(model: FittedAutoencoder, results: Reconstructed) -> np.ndarray:
    """Return each row's squared error in units of each column's variance, mean over its known columns, (n,)."""
    varies = results.spread > 1e-12
    squares = np.square(results.scaled - results.reconstructions) / np.where(varies, results.spread, np.inf)
    columns = _columns(model)
    weight = np.array([1 / columns.count(name) for name in columns])  # each column counts once
    known = ~np.isnan(squares)
    total = np.where(known, squares * weight, 0).sum(axis=1)
    return np.divide(total, (known * weight).sum(axis=1), out=np.zeros(len(total)), where=known.any(axis=1))


def _standard_error(differences: np.ndarray) -> float:
    n = len(differences)
    return float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")


def _plain(value: object) -> object:
    """Replace numbers that JSON does not have by None."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _quantity(one: Compared) -> str:
    return "log p(x)" if one.is_density_of_rows else "log p(x | z)"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _signed(difference: tuple[float, float] | None, factor: float, unit: str) -> str:
    if difference is None:
        return "not comparable"
    return f"{factor * difference[0]:+.3g} ± {factor * difference[1]:.2g}{unit}"
