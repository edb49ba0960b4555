"""The formula written a second time in NumPy, and a model whose log p(x) is known; for the tests of `core`."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from scipy import special, stats

from diabolo import parts
from diabolo.core.distributions import Distribution, Normal, kl_divergence
from diabolo.core.layers import Dense, MLPModule
from diabolo.core.model import Model, loss

N, D, K = 5, 4, 2
LOG_PI = math.log(math.pi)
KEY = jax.random.key(0)
EVERYONE = jnp.asarray(np.ones(N, np.float32))
N_DRAWS = 10_000
STANDARD_ERRORS = 4.5

# One program for each kind of argument: outside `jax.jit`, each operation would be one.
log_prob = jax.jit(lambda distribution, x: distribution.log_prob(x))
deviance = jax.jit(lambda distribution, x: distribution.deviance(x))
sample = jax.jit(lambda distribution, key, shape=(): distribution.sample(key, shape), static_argnums=2)
kl = jax.jit(kl_divergence)
mean = jax.jit(lambda distribution: distribution.mean)
apply = jax.jit(lambda module, *given: module(*given))
code = jax.jit(lambda model, x: model.code(x))
reconstruct = jax.jit(lambda model, x: model.reconstruct(x))
_loss = jax.jit(loss)


class Laplace(Distribution):
    """Laplace(loc, scale), a distribution of a user's own: its KL from others has no closed form here."""

    loc: Array
    scale: Array

    @property
    def mean(self):
        return self.loc

    def log_prob(self, x):
        return -jnp.abs(x - self.loc) / self.scale - jnp.log(2 * self.scale)

    def sample(self, key, shape=()):
        return self.loc + self.scale * jax.random.laplace(key, shape + jnp.shape(self.loc))


def array(numbers):
    """A 32-bit array, which NumPy rounds: for JAX it would be a program for each shape."""
    return jnp.asarray(np.asarray(numbers, np.float32))


def normal(loc, scale):
    return Normal(array(loc), array(scale))


def built(recipe, n_features=D):
    """A model with every weight moved away from its start, so that no bias or spread is 0."""
    model = Model.build(recipe, n_features, 0)
    rng = np.random.default_rng(2)
    arrays, fixed, skeleton = model.weights.trainable()
    moved = jax.tree.map(lambda w: array(w + rng.normal(0, 0.3, w.shape).astype(w.dtype)), jax.device_get(arrays))
    return Model(recipe, skeleton.combine(moved, fixed))


def value_of(model, x, beta=1.0, key=KEY, row_weight=EVERYONE):
    total, terms = _loss(model, x, key, np.float32(beta), row_weight)
    return float(total), {name: float(value) for name, value in terms.items()}


REFERENCE = {
    "identity": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "gelu": lambda a: 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "silu": lambda a: a * special.expit(a),
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "softplus": lambda a: np.logaddexp(0, a),
    "tanh": np.tanh,
    "sigmoid": special.expit,
}


def forward(network, x, activation="silu"):
    """W and b of every layer in turn, float64."""
    h = np.asarray(x, np.float64)
    for i, layer in enumerate(network.layers):
        h = h @ np.asarray(layer.weight, np.float64) + np.asarray(layer.bias, np.float64)
        if i < len(network.layers) - 1:
            h = REFERENCE[activation](h)
    return h


def slopes(function, at):
    """How fast a number changes along one random direction, in 64 bits: by its gradient, and by differences."""
    rng = np.random.default_rng(2)
    at = jax.tree.map(lambda a: np.asarray(a, np.float64), at)
    way = jax.tree.map(lambda a: rng.normal(size=a.shape), at)

    @jax.jit
    def both(at, way):
        gradient = jax.grad(function)(at)
        slope = sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True))
        ends = [function(jax.tree.map(lambda a, d, s=s: a + s * d, at, way)) for s in (1e-6, -1e-6)]
        return slope, (ends[0] - ends[1]) / 2e-6

    with jax.enable_x64(True):
        return tuple(map(float, both(at, way)))


def squared_error(x, x_hat):
    return float(np.square(np.asarray(x, np.float64) - x_hat).sum(axis=1).mean())


def seen(z, **others):
    given = {"x": z[0], "z": z, "row_weight": np.ones(z.shape[1], z.dtype), "encode": lambda rows: rows, "weights": {}}
    return parts.ForwardPass(**given | others)


W = np.array([[1.0, -0.5, 0.5, 0.0], [0.5, 1.0, 0.0, 1.0]])  # orthogonal rows: the exact posterior is diagonal
B = np.array([0.3, -0.2, 0.0, 1.0])
SIGMA = 0.6


def dense(weight, bias):
    return MLPModule((Dense(array(weight), array(bias)),), "silu", "identity")


def linear_gaussian(shift=0.0, widen=1.0, objective=None):
    """z ~ N(0, I), x | z ~ N(W'z + b, σ²I), and the exact posterior, its mean moved and its spread stretched."""
    precision = 1 + np.square(W).sum(axis=1) / SIGMA**2
    mean_weight = W.T / SIGMA**2 / precision
    mean_bias = -B @ mean_weight + shift
    spread = np.log(np.expm1(widen / np.sqrt(precision) - 1e-6))
    recipe = parts.Recipe(
        encoder=parts.MLP(()),
        latent=parts.DiagonalGaussian(K),
        likelihood=parts.Gaussian(SIGMA),
        objective=objective or parts.ELBO(),
    )
    weights = Model.build(recipe, D, 0).weights
    encoder = dense(np.hstack([mean_weight, np.zeros((D, K))]), np.hstack([mean_bias, spread]))
    return Model(recipe, type(weights)(encoder, dense(W, B), {}))


def exact_log_p(x):
    return stats.multivariate_normal(B, W.T @ W + SIGMA**2 * np.eye(D)).logpdf(x)


def gap(x, shift, widen):
    """KL(q‖p(z|x)) of the wrong posterior from the exact one, the distance of the ELBO from log p(x)."""
    precision = 1 + np.square(W).sum(axis=1) / SIGMA**2
    return (0.5 * (widen**2 + shift**2 * precision - 1) - math.log(widen)).sum()
