"""Where a Keras model runs: its backend's name for a device, entered around a pass."""

import importlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from probe.errors import BadInput

from ..describe.tensors import Tensors

__all__ = ["device_of", "on_device"]


def device_of(device: str | None, keras: Any) -> str | None:
    """The backend's own name of a device; None where nothing was asked for, or the CPU and it has
    nothing else. BadInput where it has no such device."""
    kind, _, number = (device or "").partition(":")
    if device is None:
        return None
    if kind not in ("cpu", "cuda", "mps") or not (number or "0").isdecimal():
        raise BadInput(f"a device is cpu, cuda, cuda:1 or mps; you gave {device!r}")
    backend, count = Tensors(keras).backend, 0
    if backend == "tensorflow":
        count = len(importlib.import_module("tensorflow").config.list_physical_devices("GPU"))
        if kind != "cpu":
            kind = "gpu"
    elif backend == "torch":
        count = importlib.import_module("torch").cuda.device_count()
    if kind == "cpu":
        if count:
            return "cpu:0"
        return None
    if count > int(number or 0):
        return f"{kind}:{number or 0}"
    raise BadInput(
        f"Keras' backend {backend} finds no device {device!r} here: leave device (--device) out to "
        "run on the CPU"
    )


def on_device(device: str | None, keras: Any) -> AbstractContextManager[Any]:
    """The backend computes there."""
    if device is None:
        return nullcontext()
    if keras.__name__ == "tf_keras":
        scope: AbstractContextManager[Any] = importlib.import_module("tensorflow").device(device)
        return scope
    entered: AbstractContextManager[Any] = keras.device(device)
    return entered
