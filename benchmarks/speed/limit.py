"""The machine's own limit: how fast training would be if it were nothing but its matrix products.

For a dense layer (n_in, n_out) and a batch of b rows these are X·W, Xᵀ·G for the weights' gradient and, except in the
first layer, G·Wᵀ for the input's. The bare sequence is timed with three libraries; the fastest is the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .context import Absent, gather
from .record import Line

__all__ = ["Shapes", "flop_per_row", "limits", "mirrored"]

Shapes = Sequence[tuple[int, int]]
_SECONDS = 0.7
_POOL = 16


def mirrored(*sizes: int, heads: int = 1) -> list[tuple[int, int]]:
    """The layers of an autoencoder, from its sizes down to the code; ``heads`` numbers per code (2: μ and σ)."""
    down = list(pairwise(sizes))
    up = [(b, a) for a, b in reversed(down)]
    return [*down[:-1], (sizes[-2], heads * sizes[-1]), *up]


def flop_per_row(shapes: Shapes) -> int:
    """Multiplications and additions per row and step."""
    return sum((4 if i == 0 else 6) * a * b for i, (a, b) in enumerate(shapes))


def limits(line: Line, shapes: Shapes, batch: int) -> dict[str, Callable[[], float]]:
    """For each library a function that times the sequence and gives rows per second."""
    makers = {"NumPy": _numpy, "torch": _torch, "JAX": _jax}
    runs = gather(line, {f"limit, {name}": partial(make, shapes, batch) for name, make in makers.items()})
    return {name: partial(_rows_per_second, run, batch) for name, run in runs.items()}


def _rows_per_second(run: Callable[[int], Any], batch: int) -> float:
    started = time.perf_counter()
    run(5)
    steps = max(5, int(5 * _SECONDS / (time.perf_counter() - started)))
    started = time.perf_counter()
    run(steps)
    return steps * batch / (time.perf_counter() - started)


def _operands(shapes: Shapes, batch: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """X, W and G of each layer."""
    rng = np.random.default_rng(0)
    draw = partial(rng.standard_normal, dtype=np.float32)
    return [(draw((batch, a)), draw((a, b)), draw((batch, b))) for a, b in shapes]


def _in_place(layers: Any, product: Callable[..., Any], empty: Callable[..., Any]) -> Callable[[int], Any]:
    """The sequence for a library that writes into arrays that are there already."""
    outs = [(empty(g.shape), empty(w.shape), empty(x.shape)) for x, w, g in layers]

    def run(steps: int) -> None:
        for _ in range(steps):
            for (x, w, _), (forward, _, _) in zip(layers, outs, strict=True):
                product(x, w, out=forward)
            for i in range(len(layers) - 1, -1, -1):
                x, w, g = layers[i]
                product(x.T, g, out=outs[i][1])
                if i:
                    product(g, w.T, out=outs[i][2])

    return run


def _numpy(shapes: Shapes, batch: int) -> Callable[[int], Any]:
    return _in_place(_operands(shapes, batch), np.matmul, partial(np.empty, dtype=np.float32))


def _torch(shapes: Shapes, batch: int) -> Callable[[int], Any]:
    try:
        import torch
    except ImportError as reason:
        raise Absent("torch is not installed") from reason
    layers = [tuple(map(torch.from_numpy, layer)) for layer in _operands(shapes, batch)]
    return _in_place(layers, torch.mm, torch.empty)


def _jax(shapes: Shapes, batch: int) -> Callable[[int], Any]:
    pool = jnp.asarray(np.random.default_rng(0).standard_normal((_POOL * batch, shapes[0][0]), np.float32))
    weights = [jnp.asarray(w) / np.sqrt(len(w)) for _, w, _ in _operands(shapes, batch)]
    program = jax.jit(partial(_jax_loop, batch=batch))
    jax.block_until_ready(program(1, pool, weights))
    return lambda steps: jax.block_until_ready(program(steps, pool, weights))


def _jax_loop(steps: int, pool: Any, weights: Any, batch: int) -> Any:
    """All steps in one program. Products follow from another and from the step's rows: else they would be done once."""

    def step(i: Any, _: Any) -> Any:
        inputs = [jax.lax.dynamic_slice_in_dim(pool, (i % _POOL) * batch, batch)]
        for w in weights[1:]:
            inputs.append(_as_wide(inputs[-1] @ weights[len(inputs) - 1], w.shape[0]))
        g, gradients = inputs[-1] @ weights[-1], []
        for x, w in reversed(list(zip(inputs, weights, strict=True))):
            g = _as_wide(g, w.shape[1])
            gradients.append(x.T @ g)
            g = g @ w.T if len(gradients) < len(weights) else g
        return gradients[::-1]

    return jax.lax.fori_loop(0, steps, step, [jnp.zeros_like(w) for w in weights])


def _as_wide(x: Any, width: int) -> Any:
    """Where the code has two heads: the half of what comes, or twice the same."""
    return x if x.shape[1] == width else x[:, :width] if x.shape[1] > width else jnp.concatenate([x, x], axis=1)
