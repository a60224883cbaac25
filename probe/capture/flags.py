"""Arguments that are True or False, and nothing that is merely true: "no" is no yes."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

from probe.errors import BadInput

__all__ = ["flags_checked"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


def flags_checked(work: Callable[_P, _T]) -> Callable[_P, _T]:
    """The function, with BadInput for what is given as one of its keywords of type bool and is
    none."""
    flags = [name for name, kind in work.__annotations__.items() if kind is bool]

    @wraps(work)
    def done(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        for name in flags:
            value = kwargs.get(name, False)
            if not isinstance(value, bool | np.bool_):
                raise BadInput(f"{name} must be True or False; you gave {value!r}")
        return work(*args, **kwargs)

    return done
