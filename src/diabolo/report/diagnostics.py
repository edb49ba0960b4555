"""Diagnose a fitted autoencoder: each problem with the figure it rests on, and a remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..core.corruptions import NoCorruption
from ..core.likelihoods import Likelihood, Mixed
from ..metrics import active_units
from .collect import DIVERGED, LEAST_ROWS, Evidence, Seen

__all__ = ["RULES", "Finding", "examine"]


class Finding(NamedTuple):
    """One problem.

    Attributes
    ----------
    what : str
        Its name, a few words.
    figure : str
        The figure it rests on.
    remedy : str
        What to do.
    serious : bool
        Whether results should not be trusted until it is solved.
    """

    what: str
    figure: str
    remedy: str
    serious: bool = False


Rule = Callable[[Evidence], Iterator[Finding]]

_FEW_STEPS = 1_000
_LITTLE = 0.02
"""A share of what was learned, or of the variance, that is too small to report."""
_HIGH_RATE = 0.01
"""At a learning rate of this or more, no remedy is a higher one."""
_ROSE = 0.1
"""A training loss that ends this share of its first value higher, and at least this many nats, has risen."""
_UNTRAINED = -1.0
"""Networks with their initial weights have a higher explained variance than this."""
_LITTLE_SIGMA = 3e-3
"""In scaled units."""
_GAP = 0.25
"""A gap between new rows and training rows of this share of what was learned is overfitting."""
_CHANCE = 0.005
"""Changes of a loss below this share of it, and of one nat, are too small to report."""


def _listed(names: Iterable[Any], most: int = 4) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most:,} more" if len(shown) > most else "")


def _enough(e: Evidence) -> Seen | None:
    """Return the report's rows, if there are enough to say how values vary over rows."""
    return e.seen if e.seen is not None and len(e.seen.rows) >= LEAST_ROWS else None


# -- the latent -------------------------------------------------------------------------------------------------------


def posterior_collapse(e: Evidence) -> Iterator[Finding]:
    """Find posteriors that do not depend on the row (Burda et al. 2016, section 5)."""
    seen = _enough(e)
    if seen is None or seen.kl is None:
        return
    active = active_units(seen.codes)
    k, n_active = len(active), int(active.sum())
    kl = float(seen.kl.sum(axis=1).mean())
    if not n_active:
        yield Finding(
            "Posterior collapse",
            f"None of {k} latent units varies with the row (variance of its mean above 0.01); KL is {kl:.2f} nats.",
            "The decoder ignores z. Raise β slowly, beta='linear', or set a lower one; train longer; or learn σ, "
            "LearnedGaussian(), if it is fixed and too large.",
            serious=True,
        )
    elif n_active <= k // 2:
        yield Finding(
            "Inactive latent units",
            f"{n_active} of {k} latent units vary with the row; KL is {kl:.1f} nats.",
            f"n_latent={max(1, n_active)} would do as well. If you expected more active units, raise β slowly, "
            "beta='linear', or set a lower one.",
        )


def dead_units(e: Evidence) -> Iterator[Finding]:
    """Find units of a deterministic code that have one value for every row."""
    seen = _enough(e)
    if seen is None or e.is_stochastic:
        return
    codes = seen.codes
    if codes.shape == seen.rebuilt.shape and np.allclose(codes, seen.rebuilt):
        return  # the code is the restored row, whose columns may be constant
    spread, k = codes.std(axis=0), codes.shape[1]
    if e.recipe.latent.in_unit_interval:
        dead = codes.max(axis=0) < 0.1
        full = codes.mean(axis=0) > 0.9
        if full.mean() > 0.05:
            yield Finding(
                "Saturated units",
                f"{int(full.sum())} of {k} units are above 0.9 on the average row.",
                "A unit that is always on says nothing. Raise the penalty's weight, or lower the learning rate.",
            )
        why = "A unit that is never active is wasted. Lower the penalty's weight or raise ρ; or take fewer units."
    else:
        dead = spread < 1e-3 * max(float(spread.max()), 1e-12)
        why = "Take fewer units, or an activation that does not die, such as 'silu'; lower the learning rate."
    how = "are never above 0.1" if e.recipe.latent.in_unit_interval else "are the same for every row"
    if dead.mean() > 0.05:
        yield Finding("Dead units", f"{int(dead.sum())} of {k} units {how}.", why)


def off_target(e: Evidence) -> Iterator[Finding]:
    """Compare the mean activation with the penalty's ρ."""
    seen = _enough(e)
    if seen is None or not e.targets:
        return
    rho, found = e.targets[0], float(seen.codes.mean())
    if not rho / 2 <= found <= 2 * rho:
        yield Finding(
            "Sparsity off target",
            f"Units are active {found:.3f} on average; ρ is {rho:g}.",
            "Raise the penalty's weight, or train longer." if found > rho else "Lower the penalty's weight.",
        )


# -- the training -----------------------------------------------------------------------------------------------------


def _judged(e: Evidence) -> list[float]:
    return e.curve("validation_loss") or e.curve("loss")


def _end(curve: Sequence[float]) -> float:
    """Return the mean of a curve's last tenth."""
    return float(np.mean(curve[-max(1, len(curve) // 10) :]))


def _floor(loss: float, times: float = 1.0) -> float:
    """Return the smallest change of a loss to report: a training that begins near its optimum learns little."""
    return times * _CHANCE * max(1.0, abs(loss))


def _risen(e: Evidence) -> float | None:
    """Return the training loss at the end, if it rose by more than was ever gained, and than chance.

    Epochs with another β than the last are left out: they had another loss.
    """
    loss, beta = e.curve("loss"), e.curve("beta")
    curve = [value for value, b in zip(loss, beta, strict=True) if b == beta[-1]] if beta else loss
    if len(curve) < 2:
        return None
    first, end = curve[0], _end(curve)
    return end if end - first > max(first - min(curve), _ROSE * max(1.0, abs(first))) else None


def _far_below(e: Evidence) -> tuple[float, str] | None:
    """Return an explained variance that only divergence accounts for, and the rows that it is of.

    An untrained network may be below 0 as well, so the figure must also be worse than before training. If the rows of
    the evaluation are reconstructed far better than the report's rows, the latter are at fault, not the training.
    """
    known = e.evaluation or {}
    seen, judged = _enough(e), known.get("explained_variance")
    found = seen.explained_usual if seen is not None else None
    before = _UNTRAINED if e.untrained is None else e.untrained
    if judged is not None and judged < min(DIVERGED, before - 0.25):
        return judged, f"the {known['rows']} rows"
    if found is None or (judged is not None and judged - found > 0.5):
        return None
    return (found, "the report's rows") if found < min(DIVERGED, before - 0.25) else None


def divergence(e: Evidence) -> Iterator[Finding]:
    """Find a training whose steps were too large: the loss rose, or the reconstruction is far worse than the mean."""
    if not e.n_epochs:
        return
    figures = []
    if (far := _far_below(e)) is not None:
        figures.append(f"The explained variance of {far[1]} is {far[0]:.0%}; the mean row would have 0%.")
    keeps_start = bool(e.curve("validation_loss")) and not e.best_epoch  # no epoch was better, which is no divergence
    if not keeps_start and (risen := _risen(e)) is not None:
        figures.append(f"The training loss is {risen:.4g} at the end; it was {e.curve('loss')[0]:.4g} in epoch 1.")
        if e.curve("validation_loss"):
            figures.append(f"The weights are those {_of_best(e)}.")
    if figures:
        rate = e.rate
        yield Finding(
            "Divergence",
            " ".join(figures),
            f"Lower the learning rate: it is {rate:g}, try {rate / 10:g}.",
            serious=True,
        )


def _of_best(e: Evidence) -> str:
    return f"of epoch {e.best_epoch}, the best on held-out rows" if e.best_epoch else "from before the first epoch"


def _has_diverged(e: Evidence) -> bool:
    return next(divergence(e), None) is not None


_MORE_ROWS = "More rows, a smaller network or code, or noise on the inputs: a corruption such as GaussianNoise(0.1)."


def _new_rows(e: Evidence) -> tuple[float, float, bool] | None:
    """Compare −log p(x | z) of the report's rows and of the training rows: both, and whether the gap is overfitting.

    Both are of the last weights, with the corruption of training. What was learned is the difference to the initial
    weights. The gap must be three standard errors wide, too.
    """
    curve, seen = e.curve("reconstruction"), _enough(e)
    if seen is None or seen.reconstruction is None or len(curve) < 5:
        return None
    now, before = seen.reconstruction[seen.usual].astype(np.float64).T
    found, end, error = float(now.mean()), _end(curve), float(now.std() / np.sqrt(len(now)))
    learned = max(float(before.mean()), curve[0]) - end
    return found, end, found - end > max(_GAP * learned, 3 * error, _floor(end, 4))


def overfitting(e: Evidence) -> Iterator[Finding]:
    """Find a held-out loss that rose again or is far above the training loss; without it, use the report's rows."""
    if _has_diverged(e):
        return
    held, own = e.curve("validation_loss"), e.curve("loss")
    if not held and (compared := _new_rows(e)) is not None and compared[2]:
        yield Finding(
            "Overfitting",
            f"−log p(x | z) is {compared[0]:.4g} nats on the report's rows, {compared[1]:.4g} on the training rows.",
            f"{_MORE_ROWS} Hold some rows out, so that the best epoch can be chosen.",
        )
    if len(held) < 5:
        return
    best = min(held)
    learned = max(held[0] - best, 1e-12)
    risen = held[-1] - best
    if risen > max(0.05 * learned, _floor(best)) and held[-1] - own[-1] > risen / 2:  # else the training loss rose, too
        share = f", {risen / learned:.0%} of what was learned" if risen < 10 * learned else ""
        yield Finding(
            "Overfitting",
            f"The held-out loss was lowest in epoch {held.index(best) + 1} of {e.n_epochs}, and has risen since by "
            f"{risen:.3g} nats{share}. The weights are those {_of_best(e)}.",
            f"{_MORE_ROWS} early_stopping=True saves the time.",
        )
    elif _gap(e) > max(_GAP * learned, _floor(best, 4)):
        yield Finding(
            "Overfitting",
            f"In epoch {e.best_epoch}, the best one, the held-out loss is {held[e.best_epoch - 1]:.4g}, the training "
            f"loss {own[e.best_epoch - 1]:.4g}; what was learned is {learned:.3g} nats.",
            _MORE_ROWS,
        )


def _gap(e: Evidence) -> float:
    """Return by how much the held-out loss exceeds the training loss at the best epoch, and not yet in the first.

    Held-out rows are judged at the schedule's last β: the losses are comparable where the training had it as well.
    """
    held, own, beta, at = e.curve("validation_loss"), e.curve("loss"), e.curve("beta"), e.best_epoch - 1
    if at < 0 or (beta and not np.isclose(beta[at], beta[-1])):
        return 0.0
    comparable = not beta or np.isclose(beta[0], beta[-1])
    return held[at] - own[at] - (max(0.0, held[0] - own[0]) if comparable else 0.0)


def not_held_out(e: Evidence) -> Iterator[Finding]:
    """Find a training that no rows were held out from."""
    if not e.n_epochs or e.curve("validation_loss"):
        return
    compared = _new_rows(e)
    figure = f"All {e.n_samples:,} rows were trained on, so the learning curves cannot show overfitting."
    if compared is not None:
        figure += f" −log p(x | z) is {compared[0]:.4g} nats on the report's rows, {compared[1]:.4g} in training."
    yield Finding("No held-out rows", figure, "Set validation_fraction=0.1, or give fit the argument X_val.")


def _or_higher_rate(e: Evidence) -> str:
    rate = e.rate
    return f", or a higher learning_rate (now {rate:g})" if rate < _HIGH_RATE else ""


def under_training(e: Evidence) -> Iterator[Finding]:
    """Find a loss that was still falling when training ended."""
    curve = _judged(e)
    if not curve or e.best_epoch < 0.9 * e.n_epochs or _has_diverged(e) or next(overfitting(e), None) is not None:
        return
    n_steps = e.n_epochs * -(-e.n_samples // e.rows_per_step)
    if n_steps < _FEW_STEPS:  # the curve does not show it: the rate falls to 0 however short the training is
        yield Finding(
            "Stopped too early",
            f"The optimiser made {n_steps:,} steps, and the last epochs were the best.",
            "Train longer: max_epochs=None makes 1,500 steps or more. Then see whether the loss is lower.",
        )
        return
    if len(curve) < 10:
        return
    start, end = curve[0], min(curve)
    if e.anneals:  # while β rises, the training loss does not say how much was learned
        start = max(curve)
    tenth = max(1, len(curve) // 10)
    late, learned = min(curve[:-tenth]) - end, start - end
    if late > max(_LITTLE * learned, _floor(end, 0.4)):
        yield Finding(
            "Stopped too early",
            f"The last tenth of the epochs brought {late / learned:.0%} of all that was learned.",
            f"Train longer: max_epochs={2 * e.n_epochs}{_or_higher_rate(e)}.",
        )


def worse_than_pca(e: Evidence) -> Iterator[Finding]:
    """Find a code that keeps less variance than PCA with as many components, fitted to the training rows."""
    known = e.evaluation or {}
    if e.is_stochastic or known.get("pca_explained_variance") is None or e.targets or _has_diverged(e):
        return
    if not isinstance(e.recipe.corruption, NoCorruption):
        return  # a denoiser keeps less of clean rows
    kept, by_pca, n = known["explained_variance"], known["pca_explained_variance"], known["n_rows"]
    if kept < by_pca - max(_LITTLE, 0.5 / max(1, n)):
        rate = e.rate
        if next(overfitting(e), None) is not None:
            remedy = "The network overfits: more rows, or a smaller network."
        elif rate < _HIGH_RATE:
            remedy = f"Train longer, or with a higher learning_rate (now {rate:g}), or scale the features."
        else:
            remedy = f"Train longer, or with a lower learning_rate (now {rate:g}), or scale the features."
        yield Finding(
            "Behind PCA",
            f"Of the variance of {n:,} {known['rows']} row{'s' * (n != 1)} the reconstruction keeps {kept:.1%}; PCA of "
            f"the training rows, with as many components, {by_pca:.1%}.",
            f"{remedy} On few rows, PCA may be what you want.",
        )


# -- the data and the likelihood --------------------------------------------------------------------------------------


def sigma_at_floor(e: Evidence) -> Iterator[Finding]:
    """Find features whose learned σ is as small as it may be."""
    blocks: list[tuple[Likelihood, str]] = [(e.recipe.likelihood, "spread")]
    if isinstance(e.recipe.likelihood, Mixed):
        blocks = [(block, f"{i}.spread") for i, block in enumerate(e.recipe.likelihood.blocks)]
    at = 0
    for i, (block, key) in enumerate(blocks):
        own = e.model.weights.likelihood
        spread, floor = own.get(key), getattr(own.get(key.replace("spread", "floor")), "value", 0.0)
        width = e.recipe.likelihood.widths[i] if isinstance(e.recipe.likelihood, Mixed) else len(e.owners)
        if spread is not None and hasattr(block, "floor"):
            sigma = np.log1p(np.exp(np.asarray(jax.device_get(spread), np.float64))) + np.asarray(floor)
            low = np.flatnonzero(sigma < (bound := max(_LITTLE_SIGMA, 3 * block.floor)))
            if len(low):
                names = [e.owners[at + j] for j in low]
                yield Finding(
                    "Learned σ at its floor",
                    f"{_listed(names)}: σ is below {bound:g}, {block.floor:g} is the least allowed.",
                    "Such a feature is constant, or follows exactly from others, and its density outweighs all others. "
                    "Leave it out, or raise the floor, LearnedGaussian(floor=0.01).",
                )
        at += width


def unscaled(e: Evidence) -> Iterator[Finding]:
    """Find features whose units differ by orders of magnitude."""
    seen = _enough(e)
    if seen is None or e.scaler.kind != "none" or e.schema is not None:
        return
    spread = np.sqrt(seen.spread)
    some = spread[spread > 1e-9]
    if len(some) > 1 and some.max() > 100 * np.median(some):
        large = np.flatnonzero(spread > 100 * np.median(some))
        yield Finding(
            "Features in very different units",
            f"The standard deviation of {_listed([e.owners[i] for i in large])} is more than a hundred times that of "
            f"the median feature, {np.median(some):.3g}; scaling is None.",
            "They make up nearly all of the loss. Use scaling='auto'.",
            serious=True,
        )


def too_noisy(e: Evidence) -> Iterator[Finding]:
    """Find a corruption that leaves too little to restore rows from."""
    seen = _enough(e)
    if seen is None or seen.noise is None:
        return
    at = seen.noise.factors.index(1.0)
    left = seen.noise.after[at] / max(float(seen.spread.mean()), 1e-12)
    if left > 0.5:
        yield Finding(
            "Noise level too high",
            f"At the level of training {left:.0%} of the features' variance cannot be restored.",
            "The best answer to such noise is nearly the mean row. Halve the level, and see whether codes and "
            "reconstructions get sharper.",
        )


def wrong_likelihood(e: Evidence) -> Iterator[Finding]:
    """Find a likelihood that does not fit the values of the rows."""
    seen = _enough(e)
    if seen is None or isinstance(e.recipe.likelihood, Mixed):
        return
    likelihood, known = e.recipe.likelihood, seen.scaled[~np.isnan(seen.scaled)]
    between = float(((known > 0.02) & (known < 0.98)).mean())
    if likelihood.discrete and likelihood.support == "unit" and between > 0.1:
        yield Finding(
            "Likelihood mismatch",
            f"The likelihood is for 0 and 1; {between:.0%} of the cells lie between 0.02 and 0.98.",
            "Reconstructions are right, but log-densities are not densities of such rows: compare them with models of "
            "the same likelihood only, or take Gaussian() or LearnedGaussian().",
        )
    if likelihood.support == "real" and set(np.unique(known[:10_000])) <= {0.0, 1.0} and e.scaler.kind == "none":
        yield Finding(
            "Likelihood mismatch",
            "The likelihood is for real numbers; all cells are 0 or 1.",
            "likelihood='bernoulli' gives probabilities, and log-densities of such rows.",
        )
    sigma = getattr(likelihood, "sigma", None)
    if e.is_stochastic and sigma is not None:
        error = float(np.sqrt(seen.errors.mean()))
        if not 0.5 <= error / sigma <= 2:
            yield Finding(
                "σ mismatch",
                f"σ is {sigma:.3g}, but the root mean squared error is {error:.3g}, in scaled units.",
                "σ weighs the reconstruction against the KL term: too large a one blurs, too small a one ignores the "
                "prior. Use LearnedGaussian(), which finds it.",
            )


# -- the columns ------------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """One column of the report's rows."""

    name: str
    kind: str
    cells: np.ndarray
    """(n,), numbers, or the positions of categories; NaN for missing cells."""


def _columns(e: Evidence) -> list[_Column]:
    """Return the columns of enough rows that are not images: pixels may well be constant, or equal."""
    seen = _enough(e)
    if seen is None or e.image is not None:
        return []
    if e.schema is None:
        return [_Column(name, "number", seen.rows[:, i]) for i, name in enumerate(e.owners)]
    found = []
    for column in e.schema.used:
        block = seen.rows[:, e.schema.places[column.name]]
        cells = (
            np.where(np.isnan(block[:, 0]), np.nan, block.argmax(axis=1)) if column.kind == "category" else block[:, 0]
        )
        found.append(_Column(column.name, column.kind, cells))
    return found


def _is_constant(cells: np.ndarray) -> bool:
    known = cells[~np.isnan(cells)]
    return len(known) >= LEAST_ROWS and bool((known == known[0]).all())


def _numbers_rows(cells: np.ndarray, n_rows: int) -> bool:
    """Decide whether cells are distinct whole numbers out of about as many as there are rows.

    A sample of the rows has gaps. Distinct numbers are no coincidence if n² is many times the span: n draws from it are
    distinct with probability exp(−n² / 2·span).
    """
    n, span = len(cells), float(cells.max() - cells.min()) + 1
    if span > 1.1 * n_rows or n * n < 16 * span:
        return False
    return bool((cells == np.rint(cells)).all()) and len(np.unique(cells)) == n


def identifiers(e: Evidence) -> Iterator[Finding]:
    """Find columns that number or name the rows."""
    categories = {} if e.schema is None else {c.name: len(c.categories) for c in e.schema.used}
    found = []
    for name, kind, cells in _columns(e):
        if kind == "category":
            is_one = e.n_samples >= LEAST_ROWS and categories[name] >= 0.8 * e.n_samples
        else:
            known = kind in ("number", "count") and not np.isnan(cells).any()
            assert e.seen is not None
            is_one = known and _numbers_rows(cells, e.seen.n_given + e.n_samples)
        if is_one:
            found.append(name)
    if found:
        yield Finding(
            "Identifier columns",
            f"{_listed(found)}: another value in each row, such as 1, 2, 3, …",
            "An identifier does not follow from the other columns, and takes up part of the code. Leave it out, unless "
            "it is a quantity.",
        )


def constant(e: Evidence) -> Iterator[Finding]:
    """Find columns with one value in all rows."""
    found = [column.name for column in _columns(e) if _is_constant(column.cells)]
    if found:
        assert e.seen is not None
        yield Finding(
            "Constant columns",
            f"{_listed(found)}: one value in all {len(e.seen.rows):,} rows.",
            "Leave them out if they are constant in the training rows as well: they carry no information.",
        )


def _varies(cells: np.ndarray) -> bool:
    """Decide whether enough cells differ from the most frequent value that equal columns are no coincidence."""
    return len(cells) - int(np.unique(cells, return_counts=True)[1].max()) >= LEAST_ROWS // 2


def _equal_numbers(columns: list[_Column]) -> Iterator[list[str]]:
    """Yield groups of columns whose correlation is 1 or −1.

    Such columns have the same projection on a random direction, but for the sign, so that only neighbours among the
    sorted projections are compared.
    """
    cells = np.stack([column.cells for column in columns], axis=1).astype(np.float64)
    middle = np.array([float(np.mean(one[~np.isnan(one)])) if not np.isnan(one).all() else 0.0 for one in cells.T])
    cells = np.where(np.isnan(cells), 0, cells - middle)
    length = np.sqrt(np.square(cells).sum(axis=0))
    cells = np.divide(cells, length, out=np.zeros_like(cells), where=length > 1e-12 * np.abs(middle))
    at = np.abs(np.random.default_rng(0).normal(size=len(cells)) @ cells)
    order = np.argsort(at, kind="stable")
    for run in np.split(order, np.flatnonzero(np.diff(at[order]) > 1e-6) + 1):
        left = sorted(int(i) for i in run)
        while len(left) > 1:
            like = np.abs(cells[:, left[0]] @ cells[:, left]) > 1 - 1e-9
            group = [i for i, same in zip(left, like, strict=True) if same]
            if len(group) > 1 and _varies(columns[group[0]].cells):
                yield [columns[i].name for i in group]
            left = [i for i in left[1:] if i not in group]


def _equal_categories(columns: list[_Column]) -> Iterator[list[str]]:
    """Yield groups of categories that are equal, but for their names."""
    groups: dict[bytes, list[_Column]] = {}
    for column in columns:
        _, first, at = np.unique(column.cells, return_index=True, return_inverse=True)
        groups.setdefault(first[at].tobytes(), []).append(column)
    for group in groups.values():
        if len(group) > 1 and _varies(group[0].cells):
            yield [column.name for column in group]


def duplicates(e: Evidence) -> Iterator[Finding]:
    """Find columns that are equal, but for their units."""
    columns = _columns(e)
    numbers = [column for column in columns if column.kind != "category"]
    categories = [column for column in columns if column.kind == "category"]
    groups = [*(_equal_numbers(numbers) if numbers else ()), *_equal_categories(categories)]
    if groups:
        yield Finding(
            "Duplicate columns",
            f"{_listed(' = '.join(_shortened(group)) for group in groups)}: equal, or equal in other units.",
            "Keep one of each: the others count the same error again.",
        )


def _shortened(names: list[str], most: int = 4) -> list[str]:
    return names if len(names) <= most else [*names[: most - 1], f"{len(names) - most + 1:,} more"]


# -- the rows ---------------------------------------------------------------------------------------------------------


def extreme_cells(e: Evidence) -> Iterator[Finding]:
    """Find single cells that are far from all others of their column."""
    seen = _enough(e)
    if seen is None or not seen.extremes:
        return
    cells = []
    for i, j in seen.extremes:
        middle = float(np.nanmedian(seen.rows[:, j]))
        cells.append(f"row {seen.numbers[i] + 1:,}, column {e.owners[j]}: {seen.rows[i, j]:.6g} (median {middle:.6g})")
    yield Finding(
        "Extreme cells",
        f"{_listed(cells)}.",
        "Look for wrong values. One such cell sets the scaling of its column, and most of the loss. If the values are "
        "right, take the logarithm of the column.",
        serious=True,
    )


def shifted(e: Evidence) -> Iterator[Finding]:
    """Find rows that the model reconstructs far worse than held-out rows."""
    seen, known = _enough(e), e.evaluation or {}
    if seen is None or known.get("rows") != "held-out":
        return
    kept, found = known["explained_variance"], seen.explained_usual
    if found < DIVERGED and kept - found > 0.5 and not _has_diverged(e):
        yield Finding(
            "Distribution shift",
            f"The explained variance is {found:.0%} on the report's rows, {kept:.0%} on held-out rows.",
            "The report's rows are unlike the training rows: compare units, and the order of the columns.",
            serious=True,
        )


def few_rows(e: Evidence) -> Iterator[Finding]:
    """Find a report with too few rows for most of the rules."""
    if e.seen is not None and _enough(e) is None:
        n = len(e.seen.rows)
        yield Finding(
            "Few rows",
            f"The report has {n} row{'s' * (n != 1)}: too few to judge latent units, likelihood and columns.",
            f"Give at least {LEAST_ROWS} rows.",
        )


RULES: tuple[Rule, ...] = (
    divergence,
    extreme_cells,
    shifted,
    unscaled,
    posterior_collapse,
    dead_units,
    off_target,
    overfitting,
    under_training,
    worse_than_pca,
    sigma_at_floor,
    too_noisy,
    wrong_likelihood,
    identifiers,
    constant,
    duplicates,
    not_held_out,
    few_rows,
)
"""All rules."""


def examine(evidence: Evidence) -> list[Finding]:
    """Return all findings, the serious first."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    return sorted(found, key=lambda finding: not finding.serious)
