"""The weights of a model: their trained, fixed and static parts, and their layout in one vector."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree, PyTreeDef

from .forward import Own
from .layers import Fixed

__all__ = ["StaticTree", "Updates", "Weights"]

_PACKED_SIZE = 1 << 16


class Updates(NamedTuple):
    """New values of components' own weights that are not trained by gradient."""

    latent: Own
    prior: Own
    objective: Own
    penalties: tuple[Own, ...]
    encoder: eqx.Module | None = None
    """The encoder with None in place of arrays without new values; None if there are none. So for the decoder."""
    decoder: eqx.Module | None = None

    @property
    def is_empty(self) -> bool:
        return not any((self.latent, self.prior, self.objective, *self.penalties, self.encoder, self.decoder))


class Weights(eqx.Module):
    """All weights of a model, trained and fixed."""

    encoder: eqx.Module
    decoder: eqx.Module
    likelihood: Own
    penalties: tuple[Own, ...] = ()
    latent: Own = eqx.field(default_factory=dict)
    prior: Own = eqx.field(default_factory=dict)
    objective: Own = eqx.field(default_factory=dict)

    def partition(self) -> tuple[PyTree, StaticTree]:
        """Split into the arrays, which are arguments of a program, and the rest, which decides the program compiled."""
        arrays, rest = eqx.partition(self, eqx.is_inexact_array)
        leaves, tree = jax.tree.flatten(rest)
        return arrays, StaticTree(tree, tuple(leaves))

    def trainable(self, *, packed: bool = False, frozen: tuple[str, ...] = ()) -> tuple[PyTree, PyTree, StaticTree]:
        """Split into the trained arrays, the arrays in `core.layers.Fixed` and in the fields ``frozen``, and the rest.

        ``packed``: return small trained arrays as one vector, so that one kernel updates all of them. Large arrays stay
        separate, because unpacking the vector would cost a copy.
        """
        of_training, others = self._by_training(frozen)
        arrays, rest = eqx.partition(of_training, eqx.is_inexact_array)
        fixed, _ = eqx.partition(others, eqx.is_inexact_array)
        leaves, tree = jax.tree.flatten(rest)
        some, inner = jax.tree.flatten(arrays)
        small = sum(array.size for array in some) <= _PACKED_SIZE and all(a.dtype == np.float32 for a in some)
        if not (packed and small and some):
            return arrays, fixed, StaticTree(tree, tuple(leaves), frozen=frozen)
        vector = np.concatenate([np.ravel(array) for array in jax.device_get(some)])
        packing = _Packing(inner, tuple(array.shape for array in some))
        return vector, fixed, StaticTree(tree, tuple(leaves), packing, frozen)

    def _by_training(self, frozen: tuple[str, ...]) -> tuple[Weights, Weights]:
        """Split into what is trained, and what is in `core.layers.Fixed` or in the fields ``frozen``."""
        trained = jax.tree.map(
            lambda leaf: jax.tree.map(lambda _: not isinstance(leaf, Fixed), leaf), self, is_leaf=_is_fixed
        )
        for name in frozen:
            none = jax.tree.map(lambda _: False, getattr(trained, name))
            trained = dataclasses.replace(trained, **{name: none})
        parts: tuple[Weights, Weights] = eqx.partition(self, trained)
        return parts

    def trained_arrays(self, frozen: tuple[str, ...] = ()) -> PyTree:
        """Return the trained arrays, also within a program."""
        return eqx.filter(self._by_training(frozen)[0], eqx.is_inexact_array)

    def updated(self, updates: Updates) -> Weights:
        """Return a copy with new values of some of the weights that are not trained by gradient."""
        networks = {name: new for name in ("encoder", "decoder") if (new := getattr(updates, name)) is not None}
        return dataclasses.replace(
            self,
            **{name: eqx.combine(new, getattr(self, name)) for name, new in networks.items()},
            latent={**self.latent, **updates.latent},
            prior={**self.prior, **updates.prior},
            objective={**self.objective, **updates.objective},
            penalties=tuple({**own, **values} for own, values in zip(self.penalties, updates.penalties, strict=True)),
        )


class _Packing(NamedTuple):
    """The layout of arrays in one vector."""

    tree: PyTreeDef
    shapes: tuple[tuple[int, ...], ...]

    def unpack(self, vector: np.ndarray | jax.Array) -> PyTree:
        """Return the arrays of a vector; NumPy arrays for a NumPy vector, JAX arrays for a JAX vector."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1].tolist()
        # The gradient of one split is one concatenation; the gradient of slices would be a sum of padded vectors.
        split: Any = np.split if isinstance(vector, np.ndarray) else jnp.split
        pieces = zip(split(vector, ends), self.shapes, strict=True)
        return jax.tree.unflatten(self.tree, [piece.reshape(shape) for piece, shape in pieces])


class StaticTree(NamedTuple):
    """The structure of weights without their arrays; hashable."""

    tree: PyTreeDef
    leaves: tuple[Hashable, ...]
    packing: _Packing | None = None
    frozen: tuple[str, ...] = ()

    def combine(self, arrays: PyTree, fixed: PyTree = None) -> Weights:
        """Combine the arrays into weights: the inverse of `Weights.partition` and `Weights.trainable`."""
        if self.packing is not None:
            arrays = self.packing.unpack(arrays)
        pieces = (arrays, jax.tree.unflatten(self.tree, self.leaves))
        weights: Weights = eqx.combine(*pieces if fixed is None else (*pieces, fixed))
        return weights

    def extract(self, weights: Weights) -> PyTree:
        """Return the trained arrays of weights: the inverse of `combine`."""
        arrays = weights.trained_arrays(self.frozen)
        if self.packing is None:
            return arrays
        return jnp.concatenate([jnp.ravel(array) for array in jax.tree.leaves(arrays)])


def _is_fixed(leaf: object) -> bool:
    return isinstance(leaf, Fixed)
