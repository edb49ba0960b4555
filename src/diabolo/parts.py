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
from .core.convolutional import Convolutional, TransposedConvolutional, UNet
from .core.corruptions import (
    Chain,
    Corruption,
    GaussianNoise,
    InDataUnits,
    MaskCells,
    Masking,
    NoCorruption,
    RandomChoice,
    SaltAndPepper,
)
from .core.forward import ForwardPass, mean_over_rows
from .core.latents import Deterministic, DiagonalGaussian, Latent, TwoLevel, VectorQuantized
from .core.layers import Vmap
from .core.likelihoods import (
    Bernoulli,
    Categorical,
    ColumnwiseLikelihood,
    Gaussian,
    GeneCounts,
    HeteroscedasticGaussian,
    LearnedGaussian,
    Likelihood,
    NegativeBinomial,
)
from .core.model import Recipe
from .core.networks import (
    MLP,
    Identity,
    NeighborFilter,
    Network,
    Residual,
    SkipMLP,
    key_from,
)
from .core.objectives import ELBO, ImportanceWeighted, Objective, PosteriorSamples, Reconstruction
from .core.optimizers import SGD, Adam, Muon, Optimizer
from .core.penalties import (
    L1,
    Adversarial,
    Commitment,
    Contractive,
    Independence,
    KLSparsity,
    MaximumMeanDiscrepancy,
    Penalty,
    SparsityConstraint,
    TotalCorrelation,
    WeightDecay,
)
from .core.priors import Prior, StandardNormal, TwoLevelPrior, VampPrior
from .core.recurrent import GRUDecoder, GRUEncoder
from .core.regularized import RegularizedMLP
from .core.schedules import Constant, Cosine, Cyclical, LinearWarmup, Schedule, Steps
from .core.tied import TiedMLP, TransposedMLP

__all__ = [
    "ELBO",
    "L1",
    "MLP",
    "SGD",
    "Adam",
    "Adversarial",
    "Bernoulli",
    "Categorical",
    "Chain",
    "ColumnwiseLikelihood",
    "Commitment",
    "Constant",
    "Contractive",
    "Convolutional",
    "Corruption",
    "Cosine",
    "Cyclical",
    "Deterministic",
    "DiagonalGaussian",
    "ForwardPass",
    "GRUDecoder",
    "GRUEncoder",
    "Gaussian",
    "GaussianNoise",
    "GeneCounts",
    "HeteroscedasticGaussian",
    "Identity",
    "ImportanceWeighted",
    "InDataUnits",
    "Independence",
    "KLSparsity",
    "Latent",
    "LearnedGaussian",
    "Likelihood",
    "LinearWarmup",
    "MaskCells",
    "Masking",
    "MaximumMeanDiscrepancy",
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
    "RegularizedMLP",
    "Residual",
    "SaltAndPepper",
    "Schedule",
    "SkipMLP",
    "SparsityConstraint",
    "StandardNormal",
    "Steps",
    "TiedMLP",
    "TotalCorrelation",
    "TransposedConvolutional",
    "TransposedMLP",
    "TwoLevel",
    "TwoLevelPrior",
    "UNet",
    "VampPrior",
    "VectorQuantized",
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
