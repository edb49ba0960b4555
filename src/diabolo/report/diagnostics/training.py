"""Rules for the training: divergence, overfitting, stopping too early, and a result behind PCA."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...core.corruptions import NoCorruption
from ..collect import DIVERGED, ReportData
from .finding import Finding, enough

__all__ = ["divergence", "has_diverged", "not_held_out", "overfitting", "under_training", "worse_than_pca"]

_FEW_STEPS = 1_000
_LITTLE = 0.02
"""A share of the total improvement, or of the variance, that is too small to report."""
_HIGH_RATE = 0.01
"""At a learning rate of this or more, no action proposes a higher one."""
_ROSE = 0.1
"""A training loss has risen if it ends higher than its first value by this share of it, and by this many nats."""
_UNTRAINED = -1.0
"""Networks with their initial weights have a higher explained variance than this."""
_GAP = 0.25
"""A gap between new rows and training rows of this share of the total improvement is overfitting."""
_CHANCE = 0.005
"""Changes of a loss below this share of it, and of one nat, are too small to report."""


def _judged(e: ReportData) -> list[float]:
    return e.curve("validation_loss") or e.curve("loss")


def _end(curve: Sequence[float]) -> float:
    """Return the mean of a curve's last tenth."""
    return float(np.mean(curve[-max(1, len(curve) // 10) :]))


def _floor(loss: float, times: float = 1.0) -> float:
    """Return the smallest change of a loss to report: a training that starts near its optimum improves little."""
    return times * _CHANCE * max(1.0, abs(loss))


def _risen(e: ReportData) -> float | None:
    """Return the final training loss, if it rose by more than its largest improvement and by more than chance.

    Only epochs with the final β count: another β is another loss.
    """
    loss, beta = e.curve("loss"), e.curve("beta")
    curve = [value for value, b in zip(loss, beta, strict=True) if b == beta[-1]] if beta else loss
    if len(curve) < 2:
        return None
    first, end = curve[0], _end(curve)
    return end if end - first > max(first - min(curve), _ROSE * max(1.0, abs(first))) else None


def _far_below(e: ReportData) -> tuple[float, str] | None:
    """Return an explained variance that only divergence explains, with the name of its rows.

    An untrained network may be below 0 as well, so the value must also be worse than before training. If the rows of
    the evaluation are reconstructed far better than the report's rows, the report's rows are the cause.
    """
    known = e.evaluation or {}
    results, judged = enough(e), known.get("explained_variance")
    found = results.explained_usual if results is not None else None
    before = _UNTRAINED if e.untrained is None else e.untrained
    if judged is not None and judged < min(DIVERGED, before - 0.25):
        return judged, f"the {known['rows']} rows"
    if found is None or (judged is not None and judged - found > 0.5):
        return None
    return (found, "the report's rows") if found < min(DIVERGED, before - 0.25) else None


def divergence(e: ReportData) -> Iterator[Finding]:
    """Find a diverged training: the loss rose, or the reconstruction is far worse than the mean."""
    if not e.n_epochs:
        return
    figures = []
    if (far := _far_below(e)) is not None:
        figures.append(f"The explained variance of {far[1]} is {far[0]:.0%}; that of the mean row is 0%.")
    keeps_start = bool(e.curve("validation_loss")) and not e.best_epoch  # initial weights: no epoch was better
    if not keeps_start and (risen := _risen(e)) is not None:
        figures.append(f"The training loss is {risen:.4g} at the end; it was {e.curve('loss')[0]:.4g} in epoch 1.")
        if e.curve("validation_loss"):
            figures.append(f"The model has the weights {_of_best(e)}.")
    if figures:
        rate = e.rate
        yield Finding(
            "Divergence",
            " ".join(figures),
            f"Lower the learning rate: it is {rate:g}, try {rate / 10:g}.",
            serious=True,
        )


def _of_best(e: ReportData) -> str:
    return f"of epoch {e.best_epoch}, the best on held-out rows" if e.best_epoch else "of the start of training"


def has_diverged(e: ReportData) -> bool:
    """Decide whether the training has diverged."""
    return next(divergence(e), None) is not None


_MORE_ROWS = "Use more rows, a smaller network or code, or a corruption such as GaussianNoise(0.1)."


def _new_rows(e: ReportData) -> tuple[float, float, bool] | None:
    """Return −log p(x | z) of the report's rows and of the training rows, and whether the gap is overfitting.

    Both values are for the final weights, with the corruption of training. The total improvement is the difference to
    the initial weights. The gap must also exceed three standard errors.
    """
    curve, results = e.curve("reconstruction"), enough(e)
    if results is None or results.reconstruction is None or len(curve) < 5:
        return None
    now, before = results.reconstruction[results.usual].astype(np.float64).T
    found, end, error = float(now.mean()), _end(curve), float(now.std() / np.sqrt(len(now)))
    learned = max(float(before.mean()), curve[0]) - end
    return found, end, found - end > max(_GAP * learned, 3 * error, _floor(end, 4))


def overfitting(e: ReportData) -> Iterator[Finding]:
    """Find a held-out loss that rose again or is far above the training loss.

    If no rows were held out, the report's rows take their place.
    """
    if has_diverged(e):
        return
    held, own = e.curve("validation_loss"), e.curve("loss")
    if not held and (compared := _new_rows(e)) is not None and compared[2]:
        yield Finding(
            "Overfitting",
            f"−log p(x | z) is {compared[0]:.4g} nats on the report's rows, {compared[1]:.4g} on the training rows.",
            f"{_MORE_ROWS} Hold out some rows, so that the best epoch can be selected.",
        )
    if len(held) < 5:
        return
    best = min(held)
    learned = max(held[0] - best, 1e-12)
    risen = held[-1] - best
    if (
        risen > max(0.05 * learned, _floor(best)) and held[-1] - own[-1] > risen / 2
    ):  # else the training loss rose as well
        share = f", {risen / learned:.0%} of the total improvement" if risen < 10 * learned else ""
        yield Finding(
            "Overfitting",
            f"The held-out loss was lowest in epoch {held.index(best) + 1} of {e.n_epochs}, and then rose by "
            f"{risen:.3g} nats{share}. The model has the weights {_of_best(e)}.",
            f"{_MORE_ROWS} early_stopping=True saves time.",
        )
    elif _gap(e) > max(_GAP * learned, _floor(best, 4)):
        yield Finding(
            "Overfitting",
            f"In the best epoch, {e.best_epoch}, the held-out loss is {held[e.best_epoch - 1]:.4g}, the training loss "
            f"{own[e.best_epoch - 1]:.4g}; the total improvement is {learned:.3g} nats.",
            _MORE_ROWS,
        )


def _gap(e: ReportData) -> float:
    """Return the excess of the held-out loss over the training loss at the best epoch, less the excess in epoch 1.

    The held-out loss uses the final β of the schedule: the two losses are comparable in epochs trained with this β.
    """
    held, own, beta, at = e.curve("validation_loss"), e.curve("loss"), e.curve("beta"), e.best_epoch - 1
    if at < 0 or (beta and not np.isclose(beta[at], beta[-1])):
        return 0.0
    comparable = not beta or np.isclose(beta[0], beta[-1])
    return held[at] - own[at] - (max(0.0, held[0] - own[0]) if comparable else 0.0)


def not_held_out(e: ReportData) -> Iterator[Finding]:
    """Find a training without held-out rows."""
    if not e.n_epochs or e.curve("validation_loss"):
        return
    compared = _new_rows(e)
    figure = f"All {e.n_samples:,} rows were used for training, so the learning curves cannot show overfitting."
    if compared is not None:
        figure += f" −log p(x | z) is {compared[0]:.4g} nats on the report's rows, {compared[1]:.4g} in training."
    yield Finding("No held-out rows", figure, "Set validation_fraction=0.1, or pass X_val to fit.")


def _or_higher_rate(e: ReportData) -> str:
    rate = e.rate
    return f", or a higher learning_rate (now {rate:.3g})" if rate < _HIGH_RATE else ""


def under_training(e: ReportData) -> Iterator[Finding]:
    """Find a loss that was still falling when training ended."""
    curve = _judged(e)
    if not curve or e.best_epoch < 0.9 * e.n_epochs or has_diverged(e) or next(overfitting(e), None) is not None:
        return
    n_steps = e.n_epochs * -(-e.n_samples // e.rows_per_step)
    if n_steps < _FEW_STEPS:  # the curve cannot show this: the rate falls to 0 in every training
        yield Finding(
            "Stopped too early",
            f"The optimiser made only {n_steps:,} steps, and the last epochs were the best.",
            "Train longer: max_epochs=None makes at least 1,500 steps. Then check whether the loss is lower.",
        )
        return
    if len(curve) < 10:
        return
    start, end = curve[0], min(curve)
    if e.anneals:  # while β rises, the training loss does not measure the improvement
        start = max(curve)
    tenth = max(1, len(curve) // 10)
    late, learned = min(curve[:-tenth]) - end, start - end
    if late > max(_LITTLE * learned, _floor(end, 0.4)):
        yield Finding(
            "Stopped too early",
            f"The last tenth of the epochs brought {late / learned:.0%} of the total improvement.",
            f"Train longer: max_epochs={2 * e.n_epochs}{_or_higher_rate(e)}.",
        )


def worse_than_pca(e: ReportData) -> Iterator[Finding]:
    """Find a code that keeps less variance than PCA with the same number of components, fitted to the training rows."""
    known = e.evaluation or {}
    if e.is_stochastic or known.get("pca_explained_variance") is None or e.targets or has_diverged(e):
        return
    if not isinstance(e.recipe.corruption, NoCorruption):
        return  # a denoiser smooths clean rows
    kept, by_pca, n = known["explained_variance"], known["pca_explained_variance"], known["n_rows"]
    if kept < by_pca - max(_LITTLE, 0.5 / max(1, n)):
        rate = e.rate
        if next(overfitting(e), None) is not None:
            action = "Use more rows or a smaller network: the network overfits."
        elif not e.n_epochs:
            action = "Train the model: max_epochs is 0."
        elif rate < _HIGH_RATE:
            action = f"Train longer, use a higher learning_rate (now {rate:.3g}), or scale the features."
        else:
            action = f"Train longer, use a lower learning_rate (now {rate:.3g}), or scale the features."
        yield Finding(
            "Behind PCA",
            f"The reconstruction keeps {kept:.1%} of the variance of {n:,} {known['rows']} row{'s' * (n != 1)}; PCA of "
            f"the training rows, with the same number of components, keeps {by_pca:.1%}.",
            f"{action} For few rows, PCA may be the better choice.",
        )
