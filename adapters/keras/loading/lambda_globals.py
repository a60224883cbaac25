"""What the functions of a file's Lambda layers call by names that the file does not say the meaning
of: it holds their bytecode alone, without the imports of the module that they were written in.

``load_model`` leaves such a name undefined, and the layer fails when it is called.
"""

import builtins
import dis
import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import CodeType, FunctionType
from typing import Any

__all__ = ["completed"]

_USUAL = {
    "K": "{keras}.backend",
    "keras": "{keras}",
    "layers": "{keras}.layers",
    "math": "math",
    "np": "numpy",
    "numpy": "numpy",
    "ops": "keras.ops",
    "tensorflow": "tensorflow",
    "tf": "tensorflow",
    "torch": "torch",
}
"""What a name stands for in most programs."""
_LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
_LOADING = threading.RLock()
_LOADERS = {
    "keras": "keras.src.utils.python_utils",
    "tf_keras": "tf_keras.src.utils.generic_utils",
}
"""Where the function lies that makes functions of bytecode."""


@contextmanager
def completed(keras: Any, own: Mapping[str, Any], origins: dict[str, str]) -> Iterator[None]:
    """Functions that Keras makes of bytecode meanwhile find the names of ``own``, which are the
    user's, and the usual names of modules; ``origins`` takes down what these stand for."""
    module: Any = importlib.import_module(_LOADERS[keras.__name__])

    def with_names(*args: Any, **kwargs: Any) -> FunctionType:
        function = made(*args, **kwargs)
        known = function.__globals__
        found: dict[str, Any] = {}
        for name in _names(function.__code__) - known.keys() - vars(builtins).keys():
            if name in own:
                found[name] = own[name]
            elif name in _USUAL:
                with suppress(ImportError):
                    place = _USUAL[name].format(keras=keras.__name__)
                    found[name] = importlib.import_module(place)
                    origins[name] = place
        if not found:
            return function
        return FunctionType(
            function.__code__,
            {**known, **found},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )

    with _LOADING:
        made: Callable[..., FunctionType] = module.func_load
        module.func_load = with_names
        try:
            yield
        finally:
            module.func_load = made


def _names(code: CodeType) -> set[str]:
    """The global names that a function uses, and those within it; ``co_names`` has attributes
    too."""
    own = (
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in _LOADS
    )
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return {*own, *(name for function in inner for name in _names(function))}
