r"""Strided convolutions of images and their adjoints, with gradients that stay fast inside a compiled loop.

Images are (n, H, W, C) and kernels (kh, kw, C, O). The padding is "same": an image of height H becomes ⌈H/s⌉ high. With
Σ over kernel positions (i, j), one trilinear form says it all,

    T(x, K, y) = Σ  y[n, p, q, o] · K[i, j, c, o] · x[n, s·p + i − top, s·q + j − left, c]

`convolve` is ∂T/∂y, `convolve_transposed` ∂T/∂x, and the gradient of either by K is ∂T/∂K. They are computed in one of
two ways:

- **By blocks**, where each side of the kernel is once or twice the stride: the image is cut into s×s blocks, a position
  sees at most 2×2 of them, and the convolution is one matrix product with the patches they make. Nothing is multiplied
  by the zeros of a dilated convolution, and the patches are at most four times the image.
- **By three convolutions**, else, which are each other's derivatives and so are closed under differentiation at every
  order (backwards; `custom_vjp` has no forward mode). All are written in plain NHWC and HWIO order: within a loop XLA's
  CPU backend is many times slower for the permuted orders that automatic differentiation makes
  (https://github.com/jax-ml/jax/issues/12868).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

__all__ = ["convolve", "convolve_transposed", "strided"]

_ORDER = ("NHWC", "HWIO", "NHWC")


def strided(size: int, stride: int) -> int:
    """⌈size / stride⌉: how many positions a kernel takes along an image's side."""
    return -(-size // stride)


def convolve(
    x: Float[Array, "n height width c"], kernel: Float[Array, "kh kw c o"], stride: int
) -> Float[Array, "n h w o"]:
    """The convolution (not flipped, as networks have it) of images, (n, H, W, C) → (n, ⌈H/s⌉, ⌈W/s⌉, O).

    >>> convolve(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1)), 2)[0, :, :, 0]
    Array([[9., 6.],
           [6., 4.]], dtype=float32)
    """
    if _is_blocks(kernel, stride):
        patches = _patches(x, kernel.shape[0], kernel.shape[1], stride)
        return _matmul(patches, _matrix(kernel, stride))
    return _convolve(x, kernel, stride)


def convolve_transposed(
    y: Float[Array, "n h w o"], kernel: Float[Array, "kh kw c o"], stride: int, shape: tuple[int, int]
) -> Float[Array, "n height width c"]:
    """Its adjoint, (n, ⌈H/s⌉, ⌈W/s⌉, O) → (n, H, W, C), with ``shape`` = (H, W): ⟨x ∗ K, y⟩ = ⟨x, K ∗ᵀ y⟩.

    >>> convolve_transposed(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)), 2, (4, 4))[0, :, :, 0]
    Array([[1., 1., 2., 1.],
           [1., 1., 2., 1.],
           [2., 2., 4., 2.],
           [1., 1., 2., 1.]], dtype=float32)
    """
    if _is_blocks(kernel, stride):
        patches = _matmul(y, _matrix(kernel, stride).T)
        image = jax.eval_shape(lambda: jnp.zeros((y.shape[0], *shape, kernel.shape[2]), y.dtype))
        cut = partial(_patches, kh=kernel.shape[0], kw=kernel.shape[1], stride=stride)
        return jax.linear_transpose(cut, image)(patches)[0]
    return _spread(y, kernel, stride, shape)


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an image's side, the odd one after."""
    total = max((strided(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


# -- by blocks --------------------------------------------------------------------------------------------------------


def _is_blocks(kernel: Array, stride: int) -> bool:
    return all(side in (stride, 2 * stride) for side in kernel.shape[:2])


def _patches(x: Float[Array, "n height width c"], kh: int, kw: int, stride: int) -> Float[Array, "n h w size"]:
    """What the kernel sees at each position: (n, ⌈H/s⌉, ⌈W/s⌉, kh·kw·C), block by block."""
    n, height, width, c = x.shape
    h, w, s = strided(height, stride), strided(width, stride), stride
    x = jnp.pad(x, ((0, 0), _padding(height, kh, s), _padding(width, kw, s), (0, 0)))
    blocks = x.reshape(n, x.shape[1] // s, s, x.shape[2] // s, s, c).swapaxes(2, 3)
    blocks = blocks.reshape(*blocks.shape[:3], s * s * c)
    seen = [blocks[:, i : i + h, j : j + w] for i in range(kh // s) for j in range(kw // s)]
    return jnp.concatenate(seen, axis=-1)


def _matrix(kernel: Float[Array, "kh kw c o"], s: int) -> Float[Array, "size o"]:
    """The kernel's numbers in the order of the patches."""
    kh, kw, c, o = kernel.shape
    return kernel.reshape(kh // s, s, kw // s, s, c, o).swapaxes(1, 2).reshape(kh * kw * c, o)


def _matmul(x: Float[Array, "n h w a"], matrix: Float[Array, "a b"]) -> Float[Array, "n h w b"]:
    """As one product of two matrices, the CPU's fastest."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])


# -- by three convolutions --------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    """∂T/∂y."""
    padding = [_padding(size, k, stride) for size, k in zip(x.shape[1:3], kernel.shape, strict=False)]
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=_ORDER)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _spread(y: Array, kernel: Array, stride: int, shape: tuple[int, int]) -> Array:
    """∂T/∂x: the kernel turned round, over positions that lie a stride apart."""
    padding = []
    for size, k, h in zip(shape, kernel.shape, y.shape[1:3], strict=False):
        before = k - 1 - _padding(size, k, stride)[0]
        padding.append((before, size + k - 1 - before - ((h - 1) * stride + 1)))
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    return lax.conv_general_dilated(y, turned, (1, 1), padding, lhs_dilation=(stride, stride), dimension_numbers=_ORDER)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _correlate(x: Array, y: Array, stride: int, kernel: tuple[int, int]) -> Array:
    """∂T/∂K: x's channels in the place of rows, and rows in the place of channels."""
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


def _convolve_backwards(stride: int, seen: _Pair, dy: Array) -> _Pair:
    x, kernel = seen
    return _spread(dy, kernel, stride, x.shape[1:3]), _correlate(x, dy, stride, kernel.shape[:2])


def _spread_backwards(stride: int, shape: tuple[int, int], seen: _Pair, dx: Array) -> _Pair:
    y, kernel = seen
    return _convolve(dx, kernel, stride), _correlate(dx, y, stride, kernel.shape[:2])


def _correlate_backwards(stride: int, kernel: tuple[int, int], seen: _Pair, dk: Array) -> _Pair:
    x, y = seen
    return _spread(y, dk, stride, x.shape[1:3]), _convolve(x, dk, stride)


_convolve.defvjp(lambda x, k, s: (_convolve(x, k, s), (x, k)), _convolve_backwards)
_spread.defvjp(lambda y, k, s, shape: (_spread(y, k, s, shape), (y, k)), _spread_backwards)
_correlate.defvjp(lambda x, y, s, k: (_correlate(x, y, s, k), (x, y)), _correlate_backwards)
