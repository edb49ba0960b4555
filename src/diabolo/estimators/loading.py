"""Loading of saved estimators."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from .. import former_names
from ..core.component import Component, Registered
from ..errors import ArtifactError, InvalidParameter
from ..persistence import files, serialization
from .arguments import check_arguments
from .trainable import Saveable, is_ours, restore

__all__ = ["load"]


def load(path: str | os.PathLike[str], *, classes: Iterable[type] = ()) -> Any:
    """Load an estimator saved with `save`; all its outputs are equal, bit for bit.

    The files may come from an untrusted source: only classes of diabolo and the given ``classes`` are created.

    Parameters
    ----------
    path : path
        Folder of the saved model.
    classes : iterable of type, default=()
        Custom components and estimators used by the model, for example a network class.

    Returns
    -------
    estimator
        An estimator of the class that was saved, fitted.

    Raises
    ------
    ArtifactError
        If the folder is missing, damaged, or of a later format, or names an unknown estimator.
    UnknownPart
        If the model names an unknown component.
    InvalidParameter
        If a class is neither a component nor an estimator.

    Examples
    --------
    >>> import tempfile, diabolo
    >>> from sklearn.datasets import load_iris
    >>> X = load_iris().data
    >>> model = diabolo.Autoencoder(max_epochs=1, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/model")
    ...     again = diabolo.load(f"{folder}/model")
    >>> bool((again.transform(X) == model.transform(X)).all())
    True
    """
    check_arguments(path=path, classes=classes)
    given = list(classes)
    for cls in given:
        if not (isinstance(cls, type) and issubclass(cls, Component | Saveable)):
            raise InvalidParameter(f"classes must be component or estimator classes; got {cls!r}.")
    manifest, arrays = files.read(path)
    _import_estimators(str(manifest.get("estimator")))
    known: dict[str, type] = {name: cls for name, cls in Registered(object).items() if is_ours(cls)}
    known |= {former: known[now] for former, now in former_names.PARTS.items()}
    known |= {cls.__name__: cls for cls in given}
    try:
        return serialization.from_artifact(known, serialization.upgraded(known, manifest), arrays, restore)
    except ArtifactError as error:
        raise type(error)(f"{path}: {error}") from error.__cause__


def _import_estimators(name: str) -> None:
    """Import the autoencoders, and the modules of all other estimators if ``name`` is not an autoencoder."""
    from .. import estimators

    if name not in estimators.ESTIMATORS:
        for one in estimators.__all__:
            getattr(estimators, one)
