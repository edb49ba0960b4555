"""How estimator classes are shown: shared text of their docstrings, and the order of the parameters.

The text is inserted at the placeholders ``{common …}`` and ``{training …}``.
"""

from __future__ import annotations

import inspect
from typing import TypeVar

__all__ = ["documented"]

T = TypeVar("T", bound=type)

_TRAINING_PARAMETERS = """
    max_epochs : int or None, default=None
        Number of passes over the training rows. None: enough epochs for 2,000 optimiser steps (1,500 for a denoising
        model, 3,000 for a sparse model, 4,000 for a variational model), but at least 20 and at most 1,000 (1,500 for a
        sparse model). The maximum is 200 if training starts at the best linear model (300 for a variational model).
        None also means no epochs if the optimum is known in closed form. 0: do not train; the initial weights (random,
        pre-trained, or from the closed form) are the final weights.
    batch_size : int or None, default=None
        Number of rows per optimiser step. None: 128. If all columns share weights, as in a denoiser without a
        bottleneck, None means the number of rows that have 32,768 cells in total, at least 32 and at most 128.
    learning_rate : float or None, default=None
        Peak learning rate of the optimiser. None: 0.034/√w (0.068/√w for a denoising or a variational model), at most
        0.01, where w is the largest number of inputs of any layer. Then a step changes the output of a layer by a
        similar amount at every width (Yang et al. 2021, "Tensor Programs V", table 3, between the rates for input
        weights and for hidden weights). Example: 0.003 or 0.006 for w = 128. With SGD, None means 0.001.
    learning_rate_schedule : {"cosine", "constant"} or Schedule, default="cosine"
        Factor on the learning rate over time.
    optimizer : {"adam", "muon", "sgd"}, Optimizer or optax.GradientTransformation, default="adam"
        Optimiser of the weights. The updates of a transformation are added to the weights, as by `optax.apply_updates`;
        it has its own learning rate, so that ``learning_rate`` must be None, and ``learning_rate_schedule`` is not
        used. It is not saved: set it before another `fit` of a loaded model.
    validation_fraction : float in [0, 1), "auto" or None, default="auto"
        Fraction of the rows held out for validation, to choose the best epoch. Not used if `fit` gets ``X_val``.
        "auto": one tenth of the rows, but at least 100 rows and at most a quarter. 0 or None: no validation rows, and
        the weights of the last epoch are used.
    early_stopping : bool, default=False
        Whether to stop after ``patience`` epochs without a better validation loss. The weights of the best epoch are
        used in both cases.
    patience : int, default=10
        Number of epochs without improvement before ``early_stopping`` stops the training.
    retries : int, default=0
        Maximum number of restarts after the loss becomes NaN or infinite. Each restart divides the learning rate by 3
        and gives a `RetriedWarning`.
    random_state : int, RandomState or None, default=None
        Seed for the initial weights, the choice of validation rows, the order of the rows and all noise. Two fits with
        the same int give identical results, bit for bit.
    verbose : int, default=0
        1: show a progress bar on a terminal or in a notebook.
"""

_TRAINING_ATTRIBUTES = """
    history_ : dict of str to list of float
        Learning curves, one number per epoch: ``loss`` and its terms in nats (means over rows, in scaled units),
        ``beta`` and ``learning_rate``. The keys ``validation_…`` hold the same quantities for the validation rows, at
        the final value of β. Empty if the model was not trained.
    best_epoch_, n_epochs_ : int
        The epoch whose weights are used, counted from 1, and the number of epochs run. ``best_epoch_`` is 0 if the
        initial weights are used: no epoch had a lower validation loss, or no epoch was run.
    model_ : Model
        The recipe and its weights.
    scaler_ : Scaler
        The scaling of the features.
    predictor_ : Predictor
        Predictions for arrays of rows in the user's units, without input checks.
    input_ : InputSpec
        The columns: validates rows and converts results to the type of the input.
    seed_ : int
        The seed drawn from ``random_state``.
    n_samples_ : int
        Number of rows passed to `fit`, validation rows included.
    data_fingerprint_ : str
        Hash of these rows.
    n_features_in_ : int
        Number of columns passed to `fit`.
    feature_names_in_ : array of str
        Names of the columns. Defined only if `fit` got column names.
"""
_MODEL_PARAMETERS = """
    scaling : {"auto", "standard", "global", "minmax", "range"} or None, default="auto"
        Scaling of the features before the network. All results are converted back to the original units.
        "standard": each feature to mean 0 and standard deviation 1 (to a smaller standard deviation if the range of
        the feature is more than 30 standard deviations).
        "global": all features by the same map, to a mean variance of 1; 0 stays 0 if it is the smallest value.
        "minmax": each feature to [0, 1].
        "range": all features to [0, 1] by the same map.
        "auto": depends on the likelihood. For a likelihood on real numbers: "global" if the rows are images or all
        features seem to have the same unit (`data.scaler.have_one_unit`), for each channel of series by itself,
        otherwise "standard". For a likelihood on [0, 1]: None if all values are in [0, 1], otherwise "minmax".
        None: no scaling.
    init : {"closed_form", "random"} or FrozenEstimator, default="closed_form"
        Initial weights. "closed_form": the best linear model, if the networks have a linear path (PCA, linear
        regression on corrupted rows, or factor analysis; see `engine.closed_form`). These weights are also the final
        weights if no epoch has a lower validation loss. "random": random weights. ``FrozenEstimator(model)`` of
        scikit-learn around a fitted estimator of the same class and sizes: training continues from its weights, on
        other rows or for more epochs, with its scaling and schema; they are kept if no epoch is better.
    schema : "auto", dict or None, default="auto"
        Kinds of the columns of a table: numbers, dates, booleans, counts or categories. Each kind has its own
        likelihood, and ``likelihood`` is used for the numbers only. "auto": infer the kinds if any column is not a
        number. A dict from column names to kinds: use these kinds, and infer the others; the value for a category can
        also be ``{"kind": "category", "categories": [...]}``. None: all columns must be numbers, and ``likelihood`` is
        used for all.
    condition : str, int, sequence of them or None, default=None
        Columns that are a condition c, by name or number: the model is p(x | z, c) of the other columns. The encoder
        and the decoder read them; reconstructions keep them; `reconstruct` has ``to`` for other values, and `sample`
        needs them in ``given``. Their cells must not be missing. A number is a category only if ``schema`` says so.
    frozen : tuple of {"encoder", "decoder", "latent", "prior", "likelihood"}, default=()
        Parts whose weights stay those of the start. With ``init=FrozenEstimator(model)`` these are the model's:
        ``frozen=("encoder",)`` trains a decoder for the same codes.
"""
_ATTRIBUTES = """
    schema_ : Schema or None
        Kinds of the columns; None if all columns are plain numbers.
    evaluation_ : dict or None
        Quality of the reconstruction of the validation rows (of the training rows if there are no validation rows):
        ``rows``, ``n_rows``, ``explained_variance`` and ``pca_explained_variance``. The last one is the explained
        variance of PCA, fitted to the training rows, with as many components as the code has dimensions; None if
        cells are missing.
    image_shape_ : tuple of int or None
        (height, width) or (height, width, 3) if the rows were read from image files.
"""
_SHARED_PARAMETERS = {
    "{activation parameter}": """
    activation : {"identity", "relu", "gelu", "silu", "elu", "softplus", "tanh", "sigmoid"}, default="silu"
        Activation of the hidden layers.
""",
    "{skip parameter}": """
    skip : bool, default=True
        Whether to add a linear path, parallel to the hidden layers, to encoder and decoder; see `parts.SkipMLP`.
""",
    "{likelihood parameter}": """
    likelihood : str or Likelihood, default="gaussian"
        "gaussian", "learned_gaussian", "heteroscedastic_gaussian", "bernoulli", "count", or a `Likelihood`.
        With "gaussian" the reconstruction term of the loss is ‖x − x̂‖² plus a constant.
""",
}


def documented(cls: T) -> T:
    """Insert the shared parameters and attributes into a class's docstring, and order the parameters as in it."""
    assert cls.__doc__ is not None
    shared = {
        "{common parameters}": f"{_MODEL_PARAMETERS.strip()}\n    {{training parameters}}",
        "{common attributes}": f"{{training attributes}}\n    {_ATTRIBUTES.strip()}",
        "{training parameters}": _TRAINING_PARAMETERS.strip(),
        "{training attributes}": _TRAINING_ATTRIBUTES.strip(),
    }
    shared |= {name: text.strip() for name, text in _SHARED_PARAMETERS.items()}
    for name, text in shared.items():
        cls.__doc__ = cls.__doc__.replace(name, text)
    _order_parameters(cls)
    return cls


def _order_parameters(cls: type) -> None:
    """Show the parameters of a subclass before those of its bases: the model, the optimisation, the run.

    `dataclass` has the bases first, so that a model's own parameters would come last.
    """
    known = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    tables = [base for base in cls.__mro__ if "__dataclass_params__" in vars(base)]
    fields = [name for base in tables for name in vars(base).get("__annotations__", {})]
    order = ["self", *dict.fromkeys(name for name in fields if name in known)]
    signature = inspect.Signature([known[name] for name in order], return_annotation=None)
    cls.__init__.__signature__ = signature  # type: ignore[misc]
