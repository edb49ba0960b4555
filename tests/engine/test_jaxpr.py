"""A traced function, and what it becomes as data; tests of the report show that a browser computes the same."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diabolo.engine import jaxpr
from diabolo.errors import UnsupportedOperationError


def test_what_does_not_depend_on_the_argument_is_worked_out_beforehand():
    weights = jnp.arange(6.0).reshape(2, 3)
    found = jaxpr.program(lambda z: z @ jnp.exp(weights).T.T + jnp.sin(1.0), (1, 2))
    assert {step["op"] for step in found.steps} <= {"reshape", "product", "add"}
    assert any(np.allclose(array.reshape(-1)[:6], np.exp(weights).reshape(-1)) for array in found.constants.values())


def test_infinite_numbers_that_do_not_depend_on_the_argument_are_worked_out_in_silence():
    zero, large = jnp.zeros(3), jnp.full(3, 1e30)
    with warnings.catch_warnings(action="error"):
        found = jaxpr.program(lambda x: x + 1 / zero + large * large, (3,))
    assert any(np.isinf(array).all() for array in found.constants.values())


def test_steps_that_nothing_depends_on_are_left_out():
    found = jaxpr.program(lambda z: (jnp.cos(z).sum(), z * 2)[1], (1, 2))
    assert [step["op"] for step in found.steps] == ["mul"]


def test_calls_within_are_written_out():
    inner = jax.jit(jax.nn.relu)
    found = jaxpr.program(lambda z: inner(z) + jax.nn.gelu(z), (1, 2))
    assert not {"jit", "pjit", "custom_jvp_call"} & {step["op"] for step in found.steps}


def test_a_constant_function_has_no_steps():
    found = jaxpr.program(lambda z: jnp.ones((1, 3)), (1, 2))
    assert not found.steps
    assert found.constants[found.result].tolist() == [[1, 1, 1]]


def test_a_step_that_is_not_covered_is_named():
    with pytest.raises(UnsupportedOperationError, match="'sort'"):
        jaxpr.program(jnp.sort, (1, 2))


def test_a_loop_is_not_covered_unless_it_depends_on_nothing():
    def looped(z):
        return jax.lax.scan(lambda c, _: (c + z, None), z, None, length=3)[0]

    with pytest.raises(UnsupportedOperationError, match="'scan'"):
        jaxpr.program(looped, (1, 2))
    known = jaxpr.program(lambda z: z + jax.lax.scan(lambda c, _: (c + 1, None), 0.0, None, length=3)[0], (1, 2))
    assert [step["op"] for step in known.steps] == ["add"]


def test_a_network_of_ones_own_is_covered():
    network = eqx.nn.MLP(2, 5, 8, 1, key=jax.random.key(0))
    found = jaxpr.program(jax.vmap(network), (1, 2))
    assert found.shapes[found.result] == (1, 5)
    assert {step["op"] for step in found.steps} <= set(jaxpr.OPS) | {"product"}
