"""The type checker behind jaxtyping's import hook: beartype, on what it can know.

Two kinds of hint are dropped. `Self`, which beartype resolves only where it decorates the class, while jaxtyping
decorates the methods. And, in a dataclass's `__init__`, whatever is not an array: a part's constructor takes any value
on purpose, to refuse the wrong ones by name.
"""

from __future__ import annotations

import typing

import jaxtyping
from beartype import BeartypeConf, beartype

_CONF = BeartypeConf(is_pep484_tower=True)  # an int is a float


def check(function):
    """Decorate a function so that its arguments and result are checked against their annotations."""
    is_init = function.__name__ == "__init__"
    function.__annotations__ = {
        name: typing.Any if hint is typing.Self or (is_init and not _is_array(hint)) else hint
        for name, hint in function.__annotations__.items()
    }
    return beartype(function, conf=_CONF)


def _is_array(hint):
    return any(isinstance(h, type) and issubclass(h, jaxtyping.AbstractArray) for h in (hint, *typing.get_args(hint)))
