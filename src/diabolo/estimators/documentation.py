"""What the docstrings of estimators have in common: written once, put where they say ``{common …}``."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["documented"]

T = TypeVar("T", bound=type)

_TRAINING_PARAMETERS = """
    max_epochs : int or None, default=None
        Passes over the training rows. None: as many as make 2,000 steps of the optimiser (1,500 for a denoising model,
        3,000 for a sparse, 4,000 for a variational one), at least 20 and at most 1,000 (1,500 for a sparse one; 200
        where training starts at the best linear model, 300 of a variational one); none where the optimum is known in
        closed form. 0: none, and the weights are kept as they were drawn, pre-trained, or found in closed form.
    batch_size : int or None, default=None
        Rows per step of the optimiser. None: 128; fewer where all columns share weights, as in a denoiser without a
        bottleneck: as many as have 32,768 cells, at least 32.
    learning_rate : float or None, default=None
        The optimiser's peak rate. None: 0.034/√w (0.068/√w for a denoising or a variational model), at most 0.01, where
        w is the most inputs that a layer has, so that a step changes what a layer says by much the same whatever its
        width (Yang et al. 2021, "Tensor Programs V", table 3, between their rates for input and for hidden weights):
        0.003 or 0.006 for 128. 0.001 for SGD.
    learning_rate_schedule : {"cosine", "constant"} or Schedule, default="cosine"
        The factor on the rate over time.
    optimizer : {"adam", "muon", "sgd"} or Optimizer, default="adam"
    validation_fraction : float in [0, 1), "auto" or None, default="auto"
        The share of rows held out to choose the best epoch, if `fit` is given no ``X_val``. "auto": a tenth, but at
        least 100 rows, and at most a quarter. 0 or None: none, and the last epoch is kept.
    early_stopping : bool, default=False
        Stop once ``patience`` epochs have not improved on the best held-out one. The best epoch's weights are kept
        either way.
    patience : int, default=10
    retries : int, default=0
        How often to begin anew, each time with a third of the rate, if the loss stops being a number; each is told by a
        `RetriedWarning` warning.
    random_state : int, RandomState or None, default=None
        Fixes the weights' start, the held-out rows, the order of rows and all noise. Two fits with one int give the
        same bits.
    verbose : int, default=0
        1: a progress bar, if standard error is a terminal.
"""

_TRAINING_ATTRIBUTES = """
    history_ : dict of str to list of float
        The learning curves, a number per epoch: ``loss`` and its terms in nats (means over rows, in scaled units),
        ``beta``, ``learning_rate``, and under ``validation_…`` the same for held-out rows at β's final value. Empty if
        nothing was trained.
    best_epoch_, n_epochs_ : int
        The epoch whose weights are kept, counted from 1, and how many were run. 0: the weights that training began
        with, since no epoch was better on held-out rows, or none was run.
    model_ : Model
        The recipe and its weights.
    scaler_ : Scaler
    predictor_ : Predictor
        What the model says of rows in your units: of arrays, without any checks.
    input_ : InputSpec
        The columns: how rows are validated, and results converted to what was given.
    seed_ : int
        The seed that was drawn from ``random_state``.
    n_samples_ : int
        How many rows `fit` was given, held-out ones included.
    data_fingerprint_ : str
        A hash of those rows.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only if `fit` was given names.
"""
_SCALING = """
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        How features are brought into the network's units; undone in everything that comes out. "standard": mean 0 and
        standard deviation 1 (less, if a feature's range is more than 30 standard deviations). "global": all features
        by one map, with a mean variance of 1, and 0 stays 0 if it is the least value. "minmax": each feature onto
        [0, 1]. "range": all features onto [0, 1] by one map. "auto": for a likelihood on real numbers "global", if rows
        are images or all features seem to have one unit (`data.scaler.have_one_unit`), and "standard" otherwise;
        for one on [0, 1], None if the rows lie there and "minmax" otherwise. None: as they are.
    init : {"closed_form", "random"}, default="closed_form"
        Where training begins. "closed_form": at the best linear model, where the networks have a linear path (PCA,
        linear regression on corrupted rows, or factor analysis; see `engine.closed_form`); if no epoch is better on
        held-out rows, it is kept. "random": with weights drawn at random.
    schema : "auto", dict or None, default="auto"
        What the columns of a table are: numbers, dates, booleans, counts or categories, each with a likelihood of its
        own; ``likelihood`` is then that of the numbers. "auto": inferred, if any column is something other than a
        number. A dict: inferred, but for the columns it names, whose value is a kind or, for a category, perhaps
        ``{"kind": "category", "categories": [...]}``. None: columns must be numbers, and are all told by
        ``likelihood``.
"""
_ATTRIBUTES = """
    schema_ : Schema or None
        What the columns are; None, if all are plain numbers.
    evaluation_ : dict or None
        What the reconstruction keeps of held-out rows (of training rows, if none are held out): ``rows``, ``n_rows``,
        ``explained_variance``, and ``pca_explained_variance``, that of PCA fitted to the training rows with as many
        components as the code has; None if cells are missing.
    image_shape_ : tuple of int or None
        (height, width), or (height, width, 3), if the rows were read from files of images.
"""


def documented(cls: T) -> T:
    """Put the shared parameters and attributes into a class's docstring: of training, and of autoencoders."""
    assert cls.__doc__ is not None
    shared = {
        "{common parameters}": f"{{training parameters}}\n    {_SCALING.strip()}",
        "{common attributes}": f"{{training attributes}}\n    {_ATTRIBUTES.strip()}",
        "{training parameters}": _TRAINING_PARAMETERS.strip(),
        "{training attributes}": _TRAINING_ATTRIBUTES.strip(),
    }
    for name, text in shared.items():
        cls.__doc__ = cls.__doc__.replace(name, text)
    return cls
