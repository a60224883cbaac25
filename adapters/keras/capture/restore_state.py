"""Running a model leaves it as it was: attributes, variables and states are put back bit for bit.

Even in inference a pass changes things: quantizers of QKeras keep the last scale, stateful RNNs
their state, seed generators count, Keras notes input specs and losses. All of it hangs on objects
of Keras' own, which are walked from the model.
"""

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from probe.process.interrupts import Shared
from probe.process.random_state import random_states_kept

from ..describe.described_classes import ROOTS
from ..describe.layer_tree import root_of
from ..describe.tensors import Tensors

__all__ = ["restores_of", "settings_here", "settings_kept", "unchanged", "variables_of"]

_GRAPH = ("KerasTensor", "Node")
"""What a functional model was drawn with: large, and not touched by running it."""


@contextmanager
def unchanged(root: Any) -> Iterator[None]:
    """Puts back what the body changes on ``root`` and on whatever it holds."""
    restores = restores_of(root)
    try:
        yield
    finally:
        for restore in restores:
            restore()


def restores_of(root: Any) -> list[Callable[[], None]]:
    """What puts ``root``, and whatever it holds, back to what they are now."""
    return [restore for item in _held(root) for restore in _restores(item)]


def variables_of(root: Any) -> list[Any]:
    """What holds the values of its variables: TensorFlow's own, and Keras' on other backends."""
    return [
        item
        for item in _held(root)
        if _is_variable(item) and (hasattr(item, "read_value") or _holds_value(item))
    ]


@contextmanager
def settings_kept(keras: Any) -> Iterator[None]:
    """Puts back the random states, and what Keras 3 has noted for this thread, such as the call
    that is on."""
    with random_states_kept(), _DRAWING:
        if keras.__name__ == "tf_keras":
            state = {}
        else:
            state = vars(_global_state().GLOBAL_STATE_TRACKER)
        before = dict(state)
        try:
            yield
        finally:
            for name in state.keys() - before.keys():
                del state[name]
            state.update(before)


def settings_here(tensors: Tensors) -> AbstractContextManager[None]:
    """What Keras, and PyTorch under it, hold for the calling thread alone, to be entered in another
    one."""
    held = {} if tensors.legacy else vars(_global_state().GLOBAL_STATE_TRACKER)
    # Lists are a thread's own: a variable that is made in one waits in its list until that thread
    # gives it a value.
    state = {
        name: list(value) if isinstance(value, list) else value for name, value in held.items()
    }
    if tensors.backend == "torch":
        below = importlib.import_module(
            "...torch.capture.thread_settings", __package__
        ).settings_here()()
    else:
        below = nullcontext()
    return _settings(state, below)


@contextmanager
def _settings(state: Mapping[str, Any], below: AbstractContextManager[None]) -> Iterator[None]:
    if state:
        vars(_global_state().GLOBAL_STATE_TRACKER).update(state)
    with below:
        yield


@contextmanager
def _drawn() -> Iterator[None]:
    """Puts back what TensorFlow draws the seeds of operations from that have none, which it does
    once tf.random.set_seed was called."""
    imported = sys.modules.get("tensorflow.python.eager.context")
    found: Any = None if imported is None else imported.context()
    drawing = getattr(found, "_rng", None)
    before = None if drawing is None else drawing.getstate()
    try:
        yield
    finally:
        if drawing is not None and drawing.getstate() != before:
            drawing.setstate(before)
            # whose kernels draw on from where they were, for the same seed
            found.clear_kernel_cache()


_DRAWING = Shared(_drawn)


def _global_state() -> Any:
    return importlib.import_module("keras.src.backend.common.global_state")


def _held(root: Any) -> list[Any]:
    """Everything reachable whose class comes from Keras or QKeras or derives from one that does,
    containers and variables."""
    found: dict[int, Any] = {}
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in found or not _matters(item):
            continue
        found[id(item)] = item
        if isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set):
            waiting.extend(item)
        if hasattr(item, "__wrapped__"):
            waiting.append(item.__wrapped__)
        if hasattr(item, "__dict__") and not isinstance(item, type):
            waiting.extend(vars(item).values())
    return list(found.values())


def _matters(item: Any) -> bool:
    if isinstance(item, dict | list | tuple | set | threading.local) or _is_variable(item):
        return True
    if not hasattr(item, "__dict__") or isinstance(item, type) or type(item).__name__ in _GRAPH:
        return False
    return any(root_of(cls) in ROOTS for cls in type(item).__mro__)


def _is_variable(item: Any) -> bool:
    return hasattr(type(item), "assign") and hasattr(type(item), "shape")


def _holds_value(variable: Any) -> bool:
    """Whether it is a variable of Keras 3 whose value is no variable itself."""
    return hasattr(variable, "_value") and not hasattr(variable._value, "read_value")


def _restores(item: Any) -> Iterator[Callable[[], None]]:
    if hasattr(item, "__dict__"):
        yield _attributes(item)
    # The containers that Keras tracks override these methods; the plain ones do not look at what
    # they hold.
    if isinstance(item, list):
        yield _contents(item, list(item), list.clear, list.extend)
    elif issubclass(type(item), dict):
        yield _contents(item, dict(item), dict.clear, dict.update)
    elif isinstance(item, set):
        yield _contents(item, set(item), set.clear, set.update)
    elif _is_variable(item) and hasattr(item, "read_value"):
        yield _variable(item)
    elif _is_variable(item) and _holds_value(item):
        yield _keras_variable(item)


def _attributes(item: Any) -> Callable[[], None]:
    attributes = vars(item)
    saved = dict(attributes)

    def restore() -> None:
        for name in attributes.keys() - saved.keys():
            del attributes[name]
        for name, value in saved.items():
            if name not in attributes or attributes[name] is not value:
                attributes[name] = value

    return restore


def _contents(
    item: Any, saved: Any, clear: Callable[[Any], None], fill: Callable[[Any, Any], None]
) -> Callable[[], None]:
    def restore() -> None:
        if len(item) != len(saved) or any(
            left is not right for left, right in zip(_flat(item), _flat(saved), strict=True)
        ):
            clear(item)
            fill(item, saved)

    return restore


def _flat(item: Any) -> list[Any]:
    if isinstance(item, dict):
        return [part for pair in item.items() for part in pair]
    return list(item)


def _variable(variable: Any) -> Callable[[], None]:
    """A variable of TensorFlow. What was read shares the variable's memory until it is assigned to:
    nothing is copied."""
    if not variable.shape.is_fully_defined():
        return lambda: None
    saved = variable.read_value()
    return lambda: variable.assign(saved)


def _keras_variable(variable: Any) -> Callable[[], None]:
    """A variable of Keras 3 on torch, whose tensor is written in place, or on JAX, whose arrays
    never change."""
    value = variable._value
    if not hasattr(value, "copy_"):
        return lambda: None
    saved = value.detach().clone()

    def restore() -> None:
        if not (saved == value.detach()).all():
            value.detach().copy_(saved)

    return restore
