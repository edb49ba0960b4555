r"""Schedules: numbers that change over the epochs, used for β (KL annealing) and for the learning rate's factor.

Time t is a real number of epochs: step 3 of 12 in the first epoch is t = 0.25.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from .component import Component, float_field, int_field, int_tuple_field

__all__ = ["Constant", "Cosine", "Cyclical", "LinearWarmup", "Schedule", "Steps"]

Time = Float[Array, ""] | float


class Schedule(Component, role="schedule"):
    """A number as a function of time: in [0, 1], or in [0, inf) for `Constant`."""

    @abstractmethod
    def __call__(self, t: Time, n_epochs: Time) -> Float[Array, ""]:
        """Return the value at epoch ``t`` of a training of at most ``n_epochs``."""

    @abstractmethod
    def warmup_end(self, n_epochs: int) -> float:
        """Return the epoch from which the value no longer rises; the best epoch is chosen among the later epochs."""


@dataclass(frozen=True)
class Constant(Schedule):
    """A constant.

    Parameters
    ----------
    value : float in [0, inf), default=1.0
        The constant.

    Examples
    --------
    >>> float(Constant(0.5)(3.0, 10))
    0.5
    """

    value: float = float_field(1.0, "[0, inf)")

    def __call__(self, t: Time, n_epochs: Time) -> Float[Array, ""]:
        return jnp.asarray(self.value, jnp.float32)

    def warmup_end(self, n_epochs: int) -> float:
        return 0.0


@dataclass(frozen=True)
class LinearWarmup(Schedule):
    r"""A linear rise from ``start`` to 1 over ``epochs`` epochs: β(t) = start + (1 − start)·min(1, t / epochs).

    KL annealing as in Bowman et al. (2016), section 3.1, and Sønderby et al. (2016), section 2.3.

    Parameters
    ----------
    epochs : float in (0, inf), default=10.0
        Number of epochs of the rise.
    start : float in [0, 1], default=0.0
        The value at the beginning.

    Examples
    --------
    >>> [float(LinearWarmup(10)(t, 100)) for t in (0.0, 5.0, 10.0, 50.0)]
    [0.0, 0.5, 1.0, 1.0]
    """

    epochs: float = float_field(10.0, "(0, inf)")
    start: float = float_field(0.0, "[0, 1]")

    def __call__(self, t: Time, n_epochs: Time) -> Float[Array, ""]:
        return self.start + (1.0 - self.start) * jnp.minimum(1.0, jnp.asarray(t, jnp.float32) / self.epochs)

    def warmup_end(self, n_epochs: int) -> float:
        return self.epochs


@dataclass(frozen=True)
class Cyclical(Schedule):
    r"""Cyclical annealing: ``cycles`` equal cycles, each with a linear rise from 0 to 1 and a constant part at 1.

    With τ in [0, 1) the position within a cycle, β = min(1, τ / ramp) (Fu et al. 2019, eq. 6, where R is ``ramp``).

    Parameters
    ----------
    cycles : int, default=4
        Number of cycles of the training.
    ramp : float in (0, 1], default=0.5
        The fraction of a cycle in which the value rises.

    Examples
    --------
    >>> [round(float(Cyclical(4, ramp=0.5)(t, 40)), 6) for t in (0.0, 2.5, 5.0, 9.0, 10.0)]
    [0.0, 0.5, 1.0, 1.0, 0.0]
    """

    cycles: int = int_field(4)
    ramp: float = float_field(0.5, "(0, 1]")

    def __call__(self, t: Time, n_epochs: Time) -> Float[Array, ""]:
        turns = jnp.asarray(t, jnp.float32) * self.cycles / n_epochs
        return jnp.where(turns >= self.cycles, 1.0, jnp.minimum(1.0, jnp.mod(turns, 1.0) / self.ramp))

    def warmup_end(self, n_epochs: int) -> float:
        return n_epochs * (self.cycles - 1 + self.ramp) / self.cycles


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""A linear warm-up over the fraction ``warmup`` of the training, then a half cosine from 1 to ``floor``.

    The cosine is that of Loshchilov & Hutter (2017), eq. 5, without restarts.

    Parameters
    ----------
    warmup : float in [0, 1), default=0.02
        The fraction of the training in which the value rises from 0 to 1.
    floor : float in [0, 1], default=0.0
        The value at the end.

    Examples
    --------
    >>> [round(float(Cosine(warmup=0.0)(t, 10)), 3) for t in (0.0, 5.0, 10.0)]
    [1.0, 0.5, 0.0]
    """

    warmup: float = float_field(0.02, "[0, 1)")
    floor: float = float_field(0.0, "[0, 1]")

    def __call__(self, t: Time, n_epochs: Time) -> Float[Array, ""]:
        done = jnp.asarray(t, jnp.float32) / n_epochs
        rise = jnp.where(self.warmup > 0, done / jnp.maximum(self.warmup, 1e-9), 1.0)
        fall = jnp.clip((done - self.warmup) / (1.0 - self.warmup), 0.0, 1.0)
        return jnp.minimum(rise, self.floor + (1.0 - self.floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * fall)))

    def warmup_end(self, n_epochs: int) -> float:
        return self.warmup * n_epochs


@dataclass(frozen=True)
class Steps(Schedule):
    """A step schedule: the value starts at 1 and is multiplied by ``factor`` at each epoch in ``at``.

    Parameters
    ----------
    at : tuple of int, default=()
        The epochs at which the value falls.
    factor : float in (0, 1], default=0.1
        The ratio of the values after and before.

    Examples
    --------
    >>> [round(float(Steps((2, 4), factor=0.1)(t, 6)), 6) for t in (0.0, 2.0, 5.0)]
    [1.0, 0.1, 0.01]
    """

    at: tuple[int, ...] = int_tuple_field(())
    factor: float = float_field(0.1, "(0, 1]")

    def __call__(self, t: Time, n_epochs: Time) -> Float[Array, ""]:
        passed = sum((jnp.asarray(t, jnp.float32) >= epoch).astype(jnp.float32) for epoch in self.at)
        return jnp.asarray(self.factor, jnp.float32) ** passed

    def warmup_end(self, n_epochs: int) -> float:
        return 0.0
