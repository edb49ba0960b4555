"""Labels of a classifier: classes, weights, and rows with their classes as targets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.multiclass import check_classification_targets

from ..data.scaler import Scaler
from ..errors import InvalidData, InvalidParameter

__all__ = ["append_classes", "class_weights", "classes_of", "positions_of"]


def classes_of(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct labels, sorted, and the position of each row's label among them."""
    try:
        check_classification_targets(labels)
        classes, positions = np.unique(labels, return_inverse=True)
    except (ValueError, TypeError) as error:
        raise InvalidData(f"y has no valid labels: {error} Give one kind of label, without missing ones.") from error
    return classes, positions


def append_classes(
    scaler: Scaler, rows: np.ndarray, positions: np.ndarray, n_classes: int, weights: np.ndarray
) -> np.ndarray:
    """Return scaled rows with the one-hot encoded class of each row appended.

    The encoded class is multiplied by the row's weight, and so is the cross-entropy, which is linear in it. The mean
    weight is 1, so that the learning rate does not depend on the unit of the weights.
    """
    targets = np.eye(n_classes, dtype=np.float32)[positions]
    if (weights != weights[0]).any():
        targets *= (weights / weights.mean())[:, None].astype(np.float32)
    return np.hstack([scaler.apply(rows), targets])


def class_weights(given: object, classes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the weight of each class, (c,)."""
    if given == "balanced":
        counts = np.bincount(positions, minlength=len(classes))
        balanced: np.ndarray = len(positions) / (len(classes) * counts)
        return balanced
    if not isinstance(given, Mapping):
        return np.ones(len(classes))
    if unknown := [label for label in given if label not in classes.tolist()]:
        raise InvalidParameter(f"class_weight names labels that are not in y: {', '.join(map(repr, unknown))}.")
    found = np.array([given.get(label, 1.0) for label in classes.tolist()], np.float64)
    if not (np.isfinite(found) & (found >= 0)).all() or not found.any():
        raise InvalidParameter(f"class_weight must be finite weights of at least 0, not all 0; got {given!r}.")
    return found


def positions_of(labels: ArrayLike, classes: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the position of each label among the classes."""
    labels = np.asarray(labels)
    if labels.shape != (n_rows,):
        raise InvalidData(f"y_val has shape {labels.shape}, but X_val has {n_rows} rows: give one label for each row.")
    if unknown := sorted(set(np.unique(labels).tolist()) - set(classes.tolist())):
        raise InvalidData(f"y_val has labels that are not in y: {', '.join(map(repr, unknown))}.")
    return np.searchsorted(classes, labels)
