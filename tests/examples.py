"""The table that the conformance tests run over: example values of every part, every recipe and every estimator.

Whoever adds one of them adds a line here, and is tested; `conformance/test_examples.py` fails until then.
"""

from __future__ import annotations

import importlib
import pkgutil
from math import prod

import diabolo
from diabolo import parts
from diabolo.core import recipes
from diabolo.core.component import list_components
from diabolo.estimators import autoencoders

PARTS = {
    "NoCorruption": (parts.NoCorruption(),),
    "GaussianNoise": (parts.GaussianNoise(), parts.GaussianNoise(0.0), parts.GaussianNoise(2.5)),
    "SaltAndPepper": (parts.SaltAndPepper(), parts.SaltAndPepper(0.2, low=-1.0, high=1.0)),
    "Masking": (parts.Masking(), parts.Masking(0.0), parts.Masking(1.0)),
    "MaskCells": (parts.MaskCells(), parts.MaskCells(0.0)),
    "Chain": (
        parts.Chain(),
        parts.Chain((parts.Masking(0.1), parts.GaussianNoise(0.2))),
        parts.Chain((parts.Chain((parts.Masking(0.5),)), parts.SaltAndPepper(0.1, low=0.0, high=1.0))),
    ),
    "RandomChoice": (
        parts.RandomChoice(),
        parts.RandomChoice((parts.Masking(0.5), parts.SaltAndPepper(0.3), parts.GaussianNoise(0.2))),
    ),
    "InDataUnits": (
        parts.InDataUnits(offset=1.0, scale=2.0),
        parts.InDataUnits(parts.GaussianNoise(0.5), offset=-3.0, scale=0.5),
        parts.InDataUnits(parts.Chain((parts.Masking(0.5), parts.SaltAndPepper(0.1))), offset=0.0, scale=10.0),
    ),
    "MLP": (parts.MLP(), parts.MLP(()), parts.MLP((5, 3), "tanh", "sigmoid")),
    "Convolutional": (
        parts.Convolutional((2, 2, 1)),
        parts.Convolutional((6, 5, 2), (3, 4), kernel=3),
        parts.Convolutional((3, 1, 4), (), stride=1, activation="tanh"),
        parts.Convolutional((7, 2), (3, 4)),
    ),
    "TransposedConvolutional": (
        parts.TransposedConvolutional((1, 3, 1)),
        parts.TransposedConvolutional((6, 5, 2), (4, 3), kernel=3),
        parts.TransposedConvolutional((3, 1, 4), (), stride=1, activation="tanh"),
        parts.TransposedConvolutional((7, 2), (4, 3)),
    ),
    "GRUEncoder": (parts.GRUEncoder((3, 2)), parts.GRUEncoder((4, 1), 5)),
    "GRUDecoder": (parts.GRUDecoder((3, 2)), parts.GRUDecoder((4, 1), 5)),
    "RegularizedMLP": (
        parts.RegularizedMLP(),
        parts.RegularizedMLP((5, 3), "tanh", "batch", 0.2),
        parts.RegularizedMLP((5,), normalization="none", dropout=0.1),
    ),
    "TiedMLP": (parts.TiedMLP(), parts.TiedMLP((5, 3), "tanh"), parts.TiedMLP(())),
    "TransposedMLP": (parts.TransposedMLP(), parts.TransposedMLP((5, 3), "tanh")),
    "Identity": (parts.Identity(),),
    "Residual": (
        parts.Residual(),
        parts.Residual(parts.MLP((5, 3), "tanh")),
        parts.Residual(parts.UNet((2, 2, 1), (3,))),
    ),
    "SkipMLP": (parts.SkipMLP(), parts.SkipMLP((5, 3), "tanh"), parts.SkipMLP(())),
    "NeighborFilter": (
        parts.NeighborFilter(),
        parts.NeighborFilter((4,), "tanh", n_neighbors=2, n_nearest=1, n_shared=3),
    ),
    "UNet": (
        parts.UNet((3, 2, 1)),
        parts.UNet((6, 5, 2), (3, 4), kernel=1, activation="tanh"),
        parts.UNet((7, 2), (3, 4)),
    ),
    "Deterministic": (parts.Deterministic(), parts.Deterministic(3, "sigmoid")),
    "DiagonalGaussian": (parts.DiagonalGaussian(), parts.DiagonalGaussian(1)),
    "TwoLevel": (parts.TwoLevel(), parts.TwoLevel(2, 2, (5,))),
    "VectorQuantized": (parts.VectorQuantized(), parts.VectorQuantized(2, 5, 2, decay=0.9)),
    "StandardNormal": (parts.StandardNormal(),),
    "TwoLevelPrior": (parts.TwoLevelPrior(), parts.TwoLevelPrior(2, (5,))),
    "VampPrior": (parts.VampPrior(), parts.VampPrior(5)),
    "Gaussian": (parts.Gaussian(), parts.Gaussian(0.1)),
    "HeteroscedasticGaussian": (parts.HeteroscedasticGaussian(), parts.HeteroscedasticGaussian(floor=0.01)),
    "LearnedGaussian": (parts.LearnedGaussian(), parts.LearnedGaussian(floor=0.01)),
    "Bernoulli": (parts.Bernoulli(),),
    "Categorical": (parts.Categorical(),),
    "NegativeBinomial": (parts.NegativeBinomial(), parts.NegativeBinomial(0.01)),
    "GeneCounts": (
        parts.GeneCounts(),
        parts.GeneCounts(n_batches=1, size_factor="last", family="zinb", dispersion="gene-batch"),
    ),
    "ColumnwiseLikelihood": (
        parts.ColumnwiseLikelihood((parts.LearnedGaussian(), parts.Gaussian(0.5)), (1, 2)),
        parts.ColumnwiseLikelihood((parts.Bernoulli(), parts.Categorical()), (1, 2)),
        parts.ColumnwiseLikelihood(
            (parts.NegativeBinomial(), parts.Bernoulli(), parts.LearnedGaussian(0.01)), (1, 1, 1)
        ),
    ),
    "Reconstruction": (parts.Reconstruction(), parts.Reconstruction(2)),
    "ELBO": (parts.ELBO(), parts.ELBO(parts.LinearWarmup(3), 2), parts.ELBO(parts.Constant(0.3))),
    "ImportanceWeighted": (
        parts.ImportanceWeighted(),
        parts.ImportanceWeighted(1),
        parts.ImportanceWeighted(3, n_backward=1),
    ),
    "KLSparsity": (parts.KLSparsity(), parts.KLSparsity(0.2, 3.0)),
    "SparsityConstraint": (parts.SparsityConstraint(), parts.SparsityConstraint(0.2)),
    "L1": (parts.L1(), parts.L1(0.5)),
    "WeightDecay": (parts.WeightDecay(), parts.WeightDecay(0.5)),
    "Contractive": (parts.Contractive(), parts.Contractive(0.5)),
    "Independence": (parts.Independence(), parts.Independence(1.0)),
    "Commitment": (parts.Commitment(), parts.Commitment(1.0)),
    "MaximumMeanDiscrepancy": (parts.MaximumMeanDiscrepancy(), parts.MaximumMeanDiscrepancy(1.0)),
    "TotalCorrelation": (parts.TotalCorrelation(), parts.TotalCorrelation(2.0)),
    "Adversarial": (parts.Adversarial(), parts.Adversarial(0.5, (8,), learning_rate=0.01)),
    "Constant": (parts.Constant(), parts.Constant(0.25)),
    "LinearWarmup": (parts.LinearWarmup(), parts.LinearWarmup(2.5, start=0.1)),
    "Cyclical": (parts.Cyclical(), parts.Cyclical(2, ramp=0.9)),
    "Cosine": (parts.Cosine(), parts.Cosine(warmup=0.0, floor=0.1)),
    "Steps": (parts.Steps(), parts.Steps((2, 4), factor=0.5)),
    "Adam": (parts.Adam(), parts.Adam(b1=0.5, weight_decay=0.1)),
    "SGD": (parts.SGD(), parts.SGD(0.0)),
    "Muon": (parts.Muon(), parts.Muon(0.9, weight_decay=0.1)),
    "Recipe": (
        parts.Recipe(),
        parts.Recipe(
            corruption=parts.Chain((parts.Masking(), parts.SaltAndPepper(0.1))),
            encoder=parts.MLP((3,)),
            latent=parts.DiagonalGaussian(2),
            decoder=parts.MLP(()),
            likelihood=parts.LearnedGaussian(),
            objective=parts.ELBO(parts.Cyclical()),
            penalties=(parts.L1(), parts.WeightDecay()),
        ),
    ),
}

RECIPES = {
    "basic": recipes.basic(2),
    "stacked": recipes.stacked(2, hidden=(4, 3), skip=False),
    "sparse": recipes.sparse(8, rho=0.2, weight=0.5),
    "denoising": recipes.denoising(2, hidden=(4,), skip=False, corruption=parts.Masking(0.3)),
    "variational": recipes.variational(2, hidden=(4,), skip=False),
}

SMALL = {"max_epochs": 3, "batch_size": 16, "learning_rate": 0.01, "random_state": 0}

ESTIMATORS = {
    "Autoencoder": autoencoders.Autoencoder(
        encoder=parts.MLP((4,), "tanh"),
        latent=parts.DiagonalGaussian(2),
        decoder=parts.MLP((3,)),
        corruption=parts.Chain((parts.SaltAndPepper(0.1), parts.GaussianNoise(0.1))),
        prior=parts.StandardNormal(),
        likelihood=parts.Gaussian(0.5),
        objective=parts.ImportanceWeighted(2),
        penalties=(parts.WeightDecay(1e-3), parts.L1(1e-3)),
        optimizer=parts.Adam(weight_decay=1e-4),
        learning_rate_schedule=parts.Steps((2,)),
        **SMALL,
    ),
    "BasicAutoencoder": autoencoders.BasicAutoencoder(**SMALL),
    "StackedAutoencoder": autoencoders.StackedAutoencoder(hidden_layer_sizes=(4, 3), **SMALL),
    "SparseAutoencoder": autoencoders.SparseAutoencoder(n_hidden=8, **SMALL),
    "DenoisingAutoencoder": autoencoders.DenoisingAutoencoder(hidden_layer_sizes=(4,), corruption="masking", **SMALL),
    "VariationalAutoencoder": autoencoders.VariationalAutoencoder(
        n_latent=2, hidden_layer_sizes=(4,), init="random", **SMALL
    ),
}

STOCHASTIC = ("Autoencoder", "VariationalAutoencoder")
"""The estimators above that have a posterior."""


def all_parts(slot=None):
    """(id, part) for every example, or for one slot's."""
    known = list_components(slot)
    return [(f"{name}-{i}", part) for name, some in PARTS.items() if name in known for i, part in enumerate(some)]


def networks():
    """(id, part, n_in, n_out) for every example of a network, with widths that it can have.

    A transposed one has no matrices without its encoder, and has tests of its own.
    """
    for name, part in all_parts("network"):
        if isinstance(part, parts.TransposedMLP):
            continue
        n_in = prod(part.shape) if isinstance(part, parts.Convolutional | parts.UNet | parts.GRUEncoder) else 4
        keeps_width = isinstance(part, parts.Identity | parts.NeighborFilter | parts.Residual | parts.UNet)
        generates = isinstance(part, parts.TransposedConvolutional | parts.GRUDecoder)
        n_out = prod(part.shape) if generates else n_in if keeps_width else 3
        yield name, part, n_in, n_out


def n_columns(part, usual):
    """How wide the rows are that a likelihood tells: as ``usual``, unless it says so itself."""
    return sum(part.widths) if isinstance(part, parts.ColumnwiseLikelihood) else usual


def own_modules():
    """Every module of the package, imported, by name; so that everything that registers itself has done so."""
    names = [info.name for info in pkgutil.walk_packages(diabolo.__path__, "diabolo.")]
    return {name: importlib.import_module(name) for name in names if not name.endswith("__main__")}
