"""All components, in one namespace; `parts.list_components` lists them, custom components included."""

from . import former_names
from .core.component import (
    choice_field,
    component_field,
    component_tuple_field,
    float_field,
    int_field,
    int_tuple_field,
    list_components,
)
from .core.corruptions import (
    Chain,
    Corruption,
    GaussianNoise,
    MaskCells,
    Masking,
    NoCorruption,
    RandomChoice,
    SaltAndPepper,
)
from .core.latents import Deterministic, DiagonalGaussian, Latent
from .core.layers import Vmap
from .core.likelihoods import (
    Bernoulli,
    Categorical,
    ColumnwiseLikelihood,
    Gaussian,
    HeteroscedasticGaussian,
    LearnedGaussian,
    Likelihood,
    NegativeBinomial,
)
from .core.model import Recipe
from .core.networks import (
    MLP,
    Convolutional,
    Identity,
    NeighborFilter,
    Network,
    Residual,
    SkipMLP,
    TransposedConvolutional,
    UNet,
    key_from,
)
from .core.objectives import ELBO, ImportanceWeighted, Objective, PosteriorSamples, Reconstruction
from .core.optimizers import SGD, Adam, Muon, Optimizer
from .core.penalties import (
    L1,
    Contractive,
    ForwardPass,
    KLSparsity,
    Penalty,
    SparsityConstraint,
    WeightDecay,
    mean_over_rows,
)
from .core.priors import Prior, StandardNormal
from .core.schedules import Constant, Cosine, Cyclical, LinearWarmup, Schedule, Steps

__all__ = [
    "ELBO",
    "L1",
    "MLP",
    "SGD",
    "Adam",
    "Bernoulli",
    "Categorical",
    "Chain",
    "ColumnwiseLikelihood",
    "Constant",
    "Contractive",
    "Convolutional",
    "Corruption",
    "Cosine",
    "Cyclical",
    "Deterministic",
    "DiagonalGaussian",
    "ForwardPass",
    "Gaussian",
    "GaussianNoise",
    "HeteroscedasticGaussian",
    "Identity",
    "ImportanceWeighted",
    "KLSparsity",
    "Latent",
    "LearnedGaussian",
    "Likelihood",
    "LinearWarmup",
    "MaskCells",
    "Masking",
    "Muon",
    "NegativeBinomial",
    "NeighborFilter",
    "Network",
    "NoCorruption",
    "Objective",
    "Optimizer",
    "Penalty",
    "PosteriorSamples",
    "Prior",
    "RandomChoice",
    "Recipe",
    "Reconstruction",
    "Residual",
    "SaltAndPepper",
    "Schedule",
    "SkipMLP",
    "SparsityConstraint",
    "StandardNormal",
    "Steps",
    "TransposedConvolutional",
    "UNet",
    "Vmap",
    "WeightDecay",
    "choice_field",
    "component_field",
    "component_tuple_field",
    "float_field",
    "int_field",
    "int_tuple_field",
    "key_from",
    "list_components",
    "mean_over_rows",
]

__getattr__ = former_names.lookup(__name__, former_names.IN_PARTS)
