"""On an accelerator a convolution is JAX's own, and says the same as the processor's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diabolo.core import conv_ops
from diabolo.core.conv_ops import convolve, convolve_transposed, strided


@pytest.mark.parametrize(("size", "stride"), [((4, 4), 2), ((3, 3), 2), ((2, 2), 2), ((5, 3), 1)])
def test_values_and_gradients_agree_and_no_derivative_is_ours(size, stride, monkeypatch):
    rng, shape = np.random.default_rng(0), (7, 6)
    positions = tuple(strided(side, stride) for side in shape)
    shapes = ((3, *shape, 2), (*size, 2, 5), (3, *positions, 5))
    x, kernel, y = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)

    def fresh():  # one of its own each time: JAX remembers what it has traced
        def both(x, kernel, y):
            there = convolve(x, kernel, stride)
            return (jnp.sin(there) * y).sum() + jnp.cos(convolve_transposed(y, kernel, stride, shape)).sum()

        return both

    here = jax.jit(jax.value_and_grad(fresh(), argnums=(0, 1, 2)))(x, kernel, y)
    assert conv_ops._is_cpu()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    there = jax.jit(jax.value_and_grad(fresh(), argnums=(0, 1, 2)))(x, kernel, y)
    for one, two in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    traced = str(jax.make_jaxpr(fresh())(x, kernel, y))
    assert "conv_general_dilated" in traced
    assert "custom_vjp" not in traced
