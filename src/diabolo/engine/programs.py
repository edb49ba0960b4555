"""Compiled functions: at most 32 programs of each in memory, and less optimisation for programs that run shortly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import jax_config

__all__ = ["SHORT_PRODUCTS", "Programs", "is_short"]

jax_config.configure()

SHORT_PRODUCTS = 1e10
"""A training of fewer products of a weight and a row takes a few seconds at most."""
_LESS = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else None
"""XLA's older code generator for loops: a quarter less to compile, up to a sixth slower for networks of a few units.
The XLA of jax 0.11 has it no more, and refuses the option."""
_MOST_PROGRAMS = 32


class Programs:
    """A function that JAX compiles for each new structure and shape of its arguments.

    JAX keeps every program for ever. This class drops all programs of a function at more than 32, since each takes 1 to
    6 MB of memory; those that are needed again come from the cache on disk.

    Parameters
    ----------
    function : function
    static_argnames : sequence of str
        As for `jax.jit`.
    """

    def __init__(self, function: Callable[..., Any], static_argnames: Sequence[str] = ()) -> None:
        self._fast: Any = jax.jit(function, static_argnames=static_argnames)
        self._soon: Any = jax.jit(function, static_argnames=static_argnames, compiler_options=_LESS)

    def __call__(self, *args: object, short: bool = False) -> Any:
        """Call the function.

        Parameters
        ----------
        args
            The arguments of the function.
        short : bool
            Whether the program runs so shortly that its compilation takes longer. Results may differ in the last digit,
            so this must follow from the arguments, never from a clock. It has an effect on CPUs only.
        """
        program = self._soon if short and jax.default_backend() == "cpu" else self._fast
        found = program(*args)
        if program._cache_size() > _MOST_PROGRAMS:
            program.clear_cache()
        return found

    def n_programs(self) -> int:
        """Return the number of programs in memory."""
        return sum(int(program._cache_size()) for program in (self._fast, self._soon))


def is_short(n_weights: int, n_rows: int, n_steps: float = 1) -> bool:
    """Return whether a training of ``n_steps`` steps of ``n_rows`` rows is short: see `SHORT_PRODUCTS`."""
    return n_weights * n_rows * n_steps <= SHORT_PRODUCTS
