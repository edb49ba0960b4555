"""One thread for small linear algebra, where several would wait for each other."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["one_thread"]


def one_thread() -> AbstractContextManager[None]:
    """Return a context within which NumPy, SciPy and scikit-learn use one thread.

    Sums have the same bits on any number of cores, and threads do not wait by spinning for a core that others use.
    """
    limit: AbstractContextManager[None] = _pools().limit(limits=1)
    return limit


@cache
def _pools() -> ThreadpoolController:
    """Return the thread pools of the process: to look through its loaded libraries takes longer than a small fit."""
    return ThreadpoolController()
