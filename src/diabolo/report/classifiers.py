"""Report a fitted classifier: accuracy beside simple answers, confusion, calibration, and its surest mistakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from scipy.stats import binom
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..data.types import RowsLike
from ..errors import InvalidData
from ..persistence import files
from ..persistence.fitted import FittedClassifier
from .diagnostics.finding import Finding, listed
from .figures import blank, learning_curve
from .layout import Page, document, findings_lead, findings_list, grid, table, tile_list
from .rows import labels_of, sample_rows
from .style import FIRST, SECOND

__all__ = ["ClassifierData", "ClassifierResults", "collect", "diagnose", "render", "tiles"]

_BINS = 10
_FOLDS = 5
_UNLIKELY = 1e-3
_TOO_SURE = 0.05
"""A mean confidence above the accuracy by this is a finding, if it is no chance."""
_MISSED, _FEWEST_OF_CLASS = 0.5, 20
"""A class of which less than this share is found, of at least this many rows, is a finding."""
_MOST_WORST, _MOST_NAMES = 20, 30
_LEAST_P = 1e-15


@dataclass(frozen=True, eq=False)
class ClassifierResults:
    """The predictions of a classifier for labelled rows."""

    classes: tuple[str, ...]
    """The classes of the fit, and further labels of the rows."""
    n_known: int
    """Number of classes of the fit."""
    truth: np.ndarray
    """(n,), the place of each row's label."""
    predicted: np.ndarray
    """(n,), the place of the most probable class."""
    confidence: np.ndarray
    """(n,), its probability."""
    of_truth: np.ndarray
    """(n,), the probability of the row's label; 0 for a label that fit did not see."""
    linear: np.ndarray | None
    """(m,), whether a cross-validated logistic regression is right, for the rows `sampled`; None for few rows."""
    sampled: np.ndarray
    """(m,), the rows of the logistic regression."""

    @property
    def is_right(self) -> np.ndarray:
        """(n,), whether the prediction is the label."""
        found: np.ndarray = self.predicted == self.truth
        return found

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return float(self.is_right.mean())

    @property
    def majority(self) -> float:
        """The share of the most frequent label, which is the accuracy of a constant prediction."""
        return float(np.bincount(self.truth).max() / len(self.truth))

    @property
    def log_loss(self) -> float:
        """The mean of −log p of the labels, in nats."""
        return float(-np.log(np.maximum(self.of_truth, _LEAST_P)).mean())

    @property
    def confusion(self) -> np.ndarray:
        """(c, c), the number of rows by label and prediction."""
        k = len(self.classes)
        return np.bincount(self.truth * k + self.predicted, minlength=k * k).reshape(k, k)

    @property
    def calibration(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean confidence, share of right predictions, and number of rows of each bin of confidence with rows."""
        place = np.minimum((self.confidence * _BINS).astype(int), _BINS - 1)
        count = np.bincount(place, minlength=_BINS)
        sums = [np.bincount(place, values, _BINS) for values in (self.confidence, self.is_right)]
        some = count > 0
        return sums[0][some] / count[some], sums[1][some] / count[some], count[some]

    @property
    def calibration_error(self) -> float:
        """The expected calibration error (Naeini, Cooper & Hauskrecht 2015): 0 is calibrated."""
        sure, right, count = self.calibration
        return float((count * np.abs(sure - right)).sum() / count.sum())


@dataclass(frozen=True, eq=False)
class ClassifierData:
    """The numbers of a classifier's report."""

    name: str
    n_samples: int
    n_classes: int
    training: tuple[float, ...]
    validation: tuple[float, ...]
    """The learning curves: cross-entropy in nats."""
    best_epoch: int
    results: ClassifierResults | None
    """None without rows."""
    version: str


def collect(
    classifier: FittedClassifier, X: RowsLike | None = None, y: ArrayLike | None = None, *, seed: int = 0
) -> ClassifierData:
    """Compute the numbers of the report of a classifier.

    Raises
    ------
    InvalidData
        If one of X and y is missing, or there is not one label for each row.
    """
    if (X is None) != (y is None):
        raise InvalidData("One of X and y is missing. Give the labels of the rows as y, or neither.")
    results = None if X is None else _results(classifier, X, y, seed)
    history = classifier.history_
    return ClassifierData(
        type(classifier).__name__, classifier.n_samples_, len(classifier.classes_), tuple(history.get("loss", ())),
        tuple(history.get("validation_loss", ())), classifier.best_epoch_, results, files.versions()["diabolo"],
    )  # fmt: skip


def _results(classifier: FittedClassifier, X: RowsLike, y: ArrayLike | None, seed: int) -> ClassifierResults:
    p = classifier.predict_proba(X)
    labels, known = labels_of(y, len(p)), classifier.classes_
    new = [label for label in np.unique(labels) if label not in known]
    place = {label: i for i, label in enumerate([*known.tolist(), *(np.asarray(new).tolist())])}
    truth = np.array([place[label] for label in labels.tolist()])
    is_known = truth < len(known)
    of_truth = np.where(is_known, p[np.arange(len(p)), np.where(is_known, truth, 0)], 0.0)
    sample = sample_rows(classifier.input_, X, seed)
    linear = _linear(sample.rows, truth[sample.numbers], seed)
    return ClassifierResults(
        tuple(map(str, place)), len(known), truth, p.argmax(axis=1), p.max(axis=1), of_truth, linear, sample.numbers
    )


def _linear(rows: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray | None:
    """Return whether a logistic regression that has not seen a row is right; None if a class has too few rows."""
    counts = np.bincount(truth)
    if (counts > 0).sum() < 2 or counts[counts > 0].min() < _FOLDS:
        return None
    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=500))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    found: np.ndarray = cross_val_predict(model, rows.astype(np.float64), truth, cv=folds) == truth
    return found


# -- findings ---------------------------------------------------------------------------------------------------------


def diagnose(e: ClassifierData) -> list[Finding]:
    """Return what is wrong with the classifier or its rows, serious findings first."""
    if (r := e.results) is None:
        return []
    found, n = [], len(r.truth)
    if new := r.classes[r.n_known :]:
        found.append(
            Finding(
                "Unknown labels",
                f"{int((r.truth >= r.n_known).sum()):,} of {n:,} rows have a label unknown to fit: {listed(new)}.",
                "Fit to rows of these classes, or leave the rows out.",
                serious=True,
            )
        )
    if binom.sf(round(r.accuracy * n) - 1, n, r.majority) > _UNLIKELY and r.majority < 1:
        found.append(
            Finding(
                "No better than the most frequent label",
                f"The accuracy is {r.accuracy:.1%}; always predicting the most frequent label has {r.majority:.1%}.",
                "Look at the learning curve and at the units of the columns; for rare classes, use class_weight.",
                serious=True,
            )
        )
    if r.linear is not None:
        better, worse = (int((one & ~other).sum()) for one, other in _both(r))
        if worse > better and binom.sf(worse - 1, worse + better, 0.5) < _UNLIKELY:  # McNemar's test
            found.append(
                Finding(
                    "Behind a linear model of these rows",
                    f"A cross-validated logistic regression on these rows is right in {r.linear.mean():.1%}, the "
                    f"classifier in {r.is_right[r.sampled].mean():.1%}.",
                    "If the rows differ from the training rows, fit to such rows as well. Otherwise use a wider code "
                    "or more epochs, or fit the autoencoder to more rows without labels.",
                )
            )
    surplus, error = float(r.confidence.mean()) - r.accuracy, float(np.sqrt(r.accuracy * (1 - r.accuracy) / n))
    if surplus > max(_TOO_SURE, 3 * error):
        found.append(
            Finding(
                "Overconfidence",
                f"The mean confidence is {r.confidence.mean():.1%}; {r.accuracy:.1%} of the predictions are right.",
                "Use early_stopping, or calibrate with sklearn.calibration.CalibratedClassifierCV.",
            )
        )
    counts = r.confusion
    of_class = counts.sum(axis=1)
    missed = [
        f"{r.classes[i]} ({counts[i, i]:,} of {of_class[i]:,})"
        for i in range(r.n_known)
        if of_class[i] >= _FEWEST_OF_CLASS and counts[i, i] < _MISSED * of_class[i]
    ]
    if missed:
        found.append(
            Finding(
                "Missed classes",
                f"Less than half of the rows are found of {listed(missed)}.",
                'Fit to more rows of these classes, or use class_weight="balanced".',
            )
        )
    return found


def _both(r: ClassifierResults) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    assert r.linear is not None
    own = r.is_right[r.sampled]
    return (own, r.linear), (r.linear, own)


# -- the page ---------------------------------------------------------------------------------------------------------


def tiles(e: ClassifierData) -> str:
    """Return the figures of merit as the entries of a definition list."""
    shown = [("training rows", f"{e.n_samples:,}"), ("classes", f"{e.n_classes:,}"), ("best epoch", f"{e.best_epoch}")]
    if (r := e.results) is not None:
        shown += [
            ("accuracy", f"{r.accuracy:.1%}"),
            ("logistic regression, cross-validated", "–" if r.linear is None else f"{r.linear.mean():.1%}"),
            ("most frequent label", f"{r.majority:.1%}"),
            ("cross-entropy, nats", f"{r.log_loss:.3f}"),
            ("calibration error", f"{r.calibration_error:.1%}"),
        ]
    return tile_list(shown)


def render(e: ClassifierData, title: str = "") -> str:
    """Return the page as HTML."""
    page, found, r = Page(), diagnose(e), e.results
    checked = "accuracy, calibration and classes" if r is not None else "nothing, since no rows were given"
    page.section("findings", "Findings", findings_lead(checked, found), findings_list(found))
    if r is not None:
        page.section(
            "confusion",
            "Confusion and calibration",
            "Rows by label and prediction: right predictions are on the diagonal. And how often predictions of each "
            "confidence are right: calibrated probabilities follow the diagonal; below it, the classifier is too sure.",
            grid([page.chart("Share of each label's rows", _confusion(r)), page.chart("Calibration", _calibration(r))]),
        )
        page.section(
            "classes",
            "Classes",
            "Recall is the share of a label's rows that are found, precision the share of a class's predictions that "
            "are right, and F1 their harmonic mean: 100 % is perfect. A constant prediction has the accuracy of the "
            "most frequent label; the logistic regression learned from four fifths of these rows at a time.",
            _classes(r),
        )
        if not r.is_right.all():
            text = "Wrong predictions, the most confident first. Check their labels."
            page.section("worst", "Surest mistakes", text, _worst(r))
    if e.training:
        text = "The cross-entropy −log p(label), in nats per row. Guessing has log(number of classes)."
        if e.validation and not e.best_epoch:
            text += (
                " No epoch lowers the loss of held-out rows beyond chance, so the class layer is that of the start: a "
                "logistic regression on the codes."
            )
        curve = learning_curve(e.training, e.validation, e.best_epoch)
        page.section("learning", "Learning", text, page.chart("Cross-entropy", curve))
    rows = "" if r is None else f"Computed on {len(r.truth):,} rows."
    return document(page, title or e.name, rows, tiles(e), e.version)


def _confusion(r: ClassifierResults) -> go.Figure:
    k = len(r.classes)
    figure = blank("prediction", "label", height=max(320, min(620, 140 + 22 * k)))
    counts = r.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    texts = [[f"{count:,}" if count else "" for count in row] for row in counts.tolist()]
    figure.add_heatmap(
        z=np.round(shares, 4).tolist(), x=r.classes, y=r.classes, zmin=0, zmax=1,
        colorscale=[[0, "#f4f4f2"], [1, FIRST]],
        text=texts if k <= _MOST_NAMES else None, texttemplate="%{text}" if k <= _MOST_NAMES else None,
        hovertemplate="label %{y}, prediction %{x}: %{z:.1%}<extra></extra>", showscale=False,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category")
    return figure


def _calibration(r: ClassifierResults) -> go.Figure:
    sure, right, count = r.calibration
    figure = blank("probability of the predicted class", "share of right predictions", height=360)
    figure.add_scatter(x=[0, 1], y=[0, 1], name="calibrated", mode="lines", line={"color": "#888", "dash": "dash"})
    error = 2 * np.sqrt(np.maximum(right * (1 - right), 0.25 / count) / count)
    figure.add_scatter(
        x=sure, y=right, name="rows of the report, ± two standard errors", mode="lines+markers", line={"color": SECOND},
        error_y={"array": error, "thickness": 1}, text=[f"{n:,} rows" for n in count],
        hovertemplate="%{x:.1%} sure, %{y:.1%} right, %{text}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(range=[0, 1.05], tickformat=".0%")
    figure.update_xaxes(range=[min(0.5, float(sure.min())) - 0.03, 1.02], tickformat=".0%")
    return figure


def _classes(r: ClassifierResults) -> str:
    counts, rows = r.confusion, []
    for i, name in enumerate(r.classes):
        own, said = counts[i].sum(), counts[:, i].sum()
        recall = counts[i, i] / own if own else np.nan
        precision = counts[i, i] / said if said else np.nan
        both = own + said
        wrong = counts[i].copy()
        wrong[i] = 0
        most = f"{r.classes[wrong.argmax()]} ({wrong.max():,})" if wrong.any() else ""
        shares = [
            "–" if np.isnan(value) else f"{value:.1%}" for value in (precision, recall, 2 * counts[i, i] / max(both, 1))
        ]
        rows.append((name, f"{own:,}", f"{said:,}", *shares, most))
    head = ("class", "rows", "predictions", "precision", "recall", "F1", "most often mistaken for")
    return table(head, rows)


def _worst(r: ClassifierResults) -> str:
    wrong = np.flatnonzero(~r.is_right)
    order = wrong[np.argsort(-r.confidence[wrong], kind="stable")][:_MOST_WORST]
    rows = [
        (
            f"{i + 1:,}",
            r.classes[r.truth[i]],
            r.classes[r.predicted[i]],
            f"{r.confidence[i]:.1%}",
            f"{r.of_truth[i]:.1%}",
        )
        for i in order
    ]
    return table(("row", "label", "prediction", "its probability", "probability of the label"), rows)
