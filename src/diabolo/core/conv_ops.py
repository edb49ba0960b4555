r"""Strided convolutions of images and their adjoints, with gradients that stay fast inside a compiled loop.

Images are (n, H, W, C) and kernels (kh, kw, C, O). The padding is "same": an image of height H becomes ⌈H/s⌉ high. All
operations derive from one trilinear form, with Σ over all indices and (i, j) the position within the kernel:

    T(x, K, y) = Σ  y[n, p, q, o] · K[i, j, c, o] · x[n, s·p + i − top, s·q + j − left, c]

`convolve` is ∂T/∂y, `convolve_transposed` is ∂T/∂x, and the gradient of either with respect to K is ∂T/∂K. The three
operations are derivatives of each other, so that they are closed under reverse-mode differentiation of every order
(`custom_vjp` has no forward mode). Each operation is computed in one of two ways:

- **By blocks**, if each side of the kernel is once or twice the stride: the image is split into s×s blocks, a position
  reads at most 2×2 blocks, and all three operations are matrix products. They skip the zeros of a dilated convolution,
  and the unfolded array is at most four times the image or the positions, whichever is smaller.
- **By convolutions**, otherwise, all in plain NHWC and HWIO order: inside a loop, XLA's CPU backend is many times
  slower for the permuted orders that automatic differentiation produces (https://github.com/jax-ml/jax/issues/12868).

Both ways are for CPUs only. On other devices, a convolution is JAX's own, with JAX's derivatives.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

__all__ = ["convolve", "convolve_transposed", "product", "strided"]

_ORDER = ("NHWC", "HWIO", "NHWC")


def strided(size: int, stride: int) -> int:
    """Return ⌈size / stride⌉, the number of kernel positions along one side of an image."""
    return -(-size // stride)


def convolve(
    x: Float[Array, "n height width c"], kernel: Float[Array, "kh kw c o"], stride: int
) -> Float[Array, "n h w o"]:
    """Return the convolution of images with an unflipped kernel, (n, H, W, C) → (n, ⌈H/s⌉, ⌈W/s⌉, O).

    >>> convolve(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), 2)[0, :, :, 0]
    Array([[9., 6.],
           [6., 4.]], dtype=float32)
    """
    return (_convolve if _is_cpu() else _convolve_direct)(x, kernel, stride)


def convolve_transposed(
    y: Float[Array, "n h w o"], kernel: Float[Array, "kh kw c o"], stride: int, shape: tuple[int, int]
) -> Float[Array, "n height width c"]:
    """Return the adjoint of `convolve`, (n, ⌈H/s⌉, ⌈W/s⌉, O) → (n, H, W, C), with ``shape`` = (H, W).

    ⟨x ∗ K, y⟩ = ⟨x, K ∗ᵀ y⟩.

    >>> convolve_transposed(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)), 2, (4, 4))[0, :, :, 0]
    Array([[1., 1., 2., 1.],
           [1., 1., 2., 1.],
           [2., 2., 4., 2.],
           [1., 1., 2., 1.]], dtype=float32)
    """
    return (_spread if _is_cpu() else _spread_direct)(y, kernel, stride, shape)


def _is_cpu() -> bool:
    """Return whether programs run on a CPU. Accelerators are fast with JAX's own derivatives."""
    return jax.default_backend() == "cpu"


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the zeros before and after one side of an image; an odd zero is after."""
    total = max((strided(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


# -- by blocks --------------------------------------------------------------------------------------------------------
#
# A position reads kh/s × kw/s blocks, and a block is read from as many positions. The narrower one, a block (s²·C
# numbers) or a position (O numbers), is unfolded, that is, repeated for each pair of block and position. Each of the
# three derivatives is then one product with the unfolded array, or the folded result of one.


def _is_blocks(kernel: tuple[int, ...], stride: int) -> bool:
    return all(side in (stride, 2 * stride) for side in kernel[:2])


def _convolve_blocks(x: Array, kernel: Array, s: int) -> Array:
    matrix, (kh, kw, c, o) = _matrix(kernel, s), kernel.shape
    if s * s * c <= o:
        return product(_patches(x, kernel.shape, s), matrix.reshape(-1, o))
    a, b = kh // s, kw // s
    products = product(_blocks(x, kernel.shape, s), matrix.transpose(1, 0, 2).reshape(s * s * c, -1))
    h, w = strided(x.shape[1], s), strided(x.shape[2], s)
    parts = [products[:, i : i + h, j : j + w, (i * b + j) * o :][..., :o] for i in range(a) for j in range(b)]
    return sum(parts[1:], parts[0])


def _spread_blocks(y: Array, kernel: Array, s: int, shape: tuple[int, int]) -> Array:
    matrix, (_, _, c, o) = _matrix(kernel, s), kernel.shape
    if s * s * c <= o:
        image = jax.eval_shape(lambda: jnp.zeros((y.shape[0], *shape, c), y.dtype))
        patches = product(y, matrix.reshape(-1, o).T)
        return jax.linear_transpose(partial(_patches, kernel=kernel.shape, s=s), image)(patches)[0]
    blocks = product(_views(y, kernel.shape, s), matrix.swapaxes(1, 2).reshape(-1, s * s * c))
    n, h, w = blocks.shape[:3]
    image = blocks.reshape(n, h, w, s, s, c).swapaxes(2, 3).reshape(n, h * s, w * s, c)
    top, left = (_padding(size, k, s)[0] for size, k in zip(shape, kernel.shape, strict=False))
    return image[:, top : top + shape[0], left : left + shape[1]]


def _correlate_blocks(x: Array, y: Array, s: int, kernel: tuple[int, int]) -> Array:
    kh, kw, c, o = *kernel, x.shape[-1], y.shape[-1]
    if s * s * c <= o:
        matrix = _flat(_patches(x, kernel, s)).T @ _flat(y)
    else:
        matrix = (_flat(_blocks(x, kernel, s)).T @ _flat(_views(y, kernel, s))).reshape(s * s * c, -1, o).swapaxes(0, 1)
    return matrix.reshape(kh // s, kw // s, s, s, c, o).swapaxes(1, 2).reshape(kh, kw, c, o)


def _matrix(kernel: Float[Array, "kh kw c o"], s: int) -> Float[Array, "seen block o"]:
    """Return the kernel's numbers for each block that a position reads, line by line."""
    kh, kw, c, o = kernel.shape
    return kernel.reshape(kh // s, s, kw // s, s, c, o).swapaxes(1, 2).reshape(-1, s * s * c, o)


def _blocks(x: Float[Array, "n height width c"], kernel: tuple[int, ...], s: int) -> Float[Array, "n H W block"]:
    """Return all blocks that positions read, with zeros at the edges: as many as positions per side, or one more."""
    n, height, width, c = x.shape
    x = jnp.pad(x, ((0, 0), _padding(height, kernel[0], s), _padding(width, kernel[1], s), (0, 0)))
    blocks = x.reshape(n, x.shape[1] // s, s, x.shape[2] // s, s, c).swapaxes(2, 3)
    return blocks.reshape(*blocks.shape[:3], s * s * c)


def _patches(x: Float[Array, "n height width c"], kernel: tuple[int, ...], s: int) -> Float[Array, "n h w size"]:
    """Return the blocks that each position reads, concatenated."""
    blocks, a, b = _blocks(x, kernel, s), kernel[0] // s, kernel[1] // s
    h, w = blocks.shape[1] - a + 1, blocks.shape[2] - b + 1
    return jnp.concatenate([blocks[:, i : i + h, j : j + w] for i in range(a) for j in range(b)], axis=-1)


def _views(y: Float[Array, "n h w o"], kernel: tuple[int, ...], s: int) -> Float[Array, "n H W size"]:
    """Return the positions that read each block, concatenated; zeros stand for positions outside the image."""
    a, b = kernel[0] // s, kernel[1] // s
    h, w = y.shape[1] + a - 1, y.shape[2] + b - 1
    y = jnp.pad(y, ((0, 0), (a - 1, a - 1), (b - 1, b - 1), (0, 0)))
    views = [y[:, i : i + h, j : j + w] for i in reversed(range(a)) for j in reversed(range(b))]
    return jnp.concatenate(views, axis=-1)


def _flat(x: Float[Array, "... a"]) -> Float[Array, "rows a"]:
    return x.reshape(-1, x.shape[-1])


def product(x: Float[Array, "*batch a"], matrix: Float[Array, "a b"]) -> Float[Array, "*batch b"]:
    """Return x·matrix as a product of two matrices; the gradient over more axes would transpose whole batches."""
    return (_flat(x) @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])


# -- the three derivatives ---------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Return ∂T/∂y."""
    if _is_blocks(kernel.shape, stride):
        return _convolve_blocks(x, kernel, stride)
    return _convolve_direct(x, kernel, stride)


def _convolve_direct(x: Array, kernel: Array, stride: int) -> Array:
    padding = [_padding(size, k, stride) for size, k in zip(x.shape[1:3], kernel.shape, strict=False)]
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_ORDER)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spread(y: Array, kernel: Array, stride: int, shape: tuple[int, int]) -> Array:
    """Return ∂T/∂x: the flipped kernel, applied to positions that are one stride apart."""
    if _is_blocks(kernel.shape, stride):
        return _spread_blocks(y, kernel, stride, shape)
    return _spread_direct(y, kernel, stride, shape)


def _spread_direct(y: Array, kernel: Array, stride: int, shape: tuple[int, int]) -> Array:
    padding = []
    for size, k, h in zip(shape, kernel.shape, y.shape[1:3], strict=False):
        before = k - 1 - _padding(size, k, stride)[0]
        padding.append((before, size + k - 1 - before - ((h - 1) * stride + 1)))
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(y, turned, (1, 1), padding, lhs_dilation=(stride, stride), dimension_numbers=_ORDER)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _correlate(x: Array, y: Array, stride: int, kernel: tuple[int, int]) -> Array:
    """Return ∂T/∂K: a convolution in which the channels of x act as rows, and the rows as channels."""
    if _is_blocks(kernel, stride):
        return _correlate_blocks(x, y, stride, kernel)
    padding = []
    for size, k, h in zip(x.shape[1:3], kernel, y.shape[1:3], strict=True):
        before = _padding(size, k, stride)[0]
        padding.append((before, (h - 1) * stride + k - size - before))
    found = lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),
        y.transpose(1, 2, 0, 3),
        (1, 1),
        padding,
        rhs_dilation=(stride, stride),
        dimension_numbers=_ORDER,
    )
    return found.transpose(1, 2, 0, 3)


_Pair = tuple[Array, Array]


def _convolve_backwards(stride: int, saved: _Pair, dy: Array) -> _Pair:
    x, kernel = saved
    return _spread(dy, kernel, stride, x.shape[1:3]), _correlate(x, dy, stride, kernel.shape[:2])


def _spread_backwards(stride: int, shape: tuple[int, int], saved: _Pair, dx: Array) -> _Pair:
    y, kernel = saved
    return _convolve(dx, kernel, stride), _correlate(dx, y, stride, kernel.shape[:2])


def _correlate_backwards(stride: int, kernel: tuple[int, int], saved: _Pair, dk: Array) -> _Pair:
    x, y = saved
    return _spread(y, dk, stride, x.shape[1:3]), _convolve(x, dk, stride)


_convolve.defvjp(lambda x, k, s: (_convolve(x, k, s), (x, k)), _convolve_backwards)
_spread.defvjp(lambda y, k, s, shape: (_spread(y, k, s, shape), (y, k)), _spread_backwards)
_correlate.defvjp(lambda x, y, s, k: (_correlate(x, y, s, k), (x, y)), _correlate_backwards)
