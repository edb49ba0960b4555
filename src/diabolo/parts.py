"""Every part, in one place to import from; `part.registered` lists them, and whatever you add."""

from .corruptions import Chain, Corruption, GaussianNoise, Masking, Missing, NoCorruption, OneOf, SaltAndPepper
from .latents import Code, DiagonalGaussian, Latent
from .layers import PerRow
from .likelihoods import Bernoulli, Categorical, Count, Gaussian, LearnedGaussian, Likelihood, Mixed
from .model import Recipe
from .networks import (
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
from .objectives import ELBO, Draws, ImportanceWeighted, Objective, Reconstruction
from .optimizers import SGD, Adam, Muon, Optimizer
from .part import choice, holds, holds_many, number, registered, whole, wholes
from .penalties import (
    L1,
    Contractive,
    ForwardPass,
    KLSparsity,
    Penalty,
    SparsityConstraint,
    WeightDecay,
    mean_over_rows,
)
from .priors import Prior, StandardNormal
from .schedules import Constant, Cosine, Cyclical, LinearWarmup, Schedule, Steps

__all__ = [
    "ELBO",
    "L1",
    "MLP",
    "SGD",
    "Adam",
    "Bernoulli",
    "Categorical",
    "Chain",
    "Code",
    "Constant",
    "Contractive",
    "Convolutional",
    "Corruption",
    "Cosine",
    "Count",
    "Cyclical",
    "DiagonalGaussian",
    "Draws",
    "ForwardPass",
    "Gaussian",
    "GaussianNoise",
    "Identity",
    "ImportanceWeighted",
    "KLSparsity",
    "Latent",
    "LearnedGaussian",
    "Likelihood",
    "LinearWarmup",
    "Masking",
    "Missing",
    "Mixed",
    "Muon",
    "NeighborFilter",
    "Network",
    "NoCorruption",
    "Objective",
    "OneOf",
    "Optimizer",
    "Penalty",
    "PerRow",
    "Prior",
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
    "WeightDecay",
    "choice",
    "holds",
    "holds_many",
    "key_from",
    "mean_over_rows",
    "number",
    "registered",
    "whole",
    "wholes",
]
