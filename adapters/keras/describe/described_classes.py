"""Which layer classes, operations and functions have a description, and in which module it stands:
readable without any framework.

The listing of a file and the allow list for untrusted files read these tables. Modules are named
relatively to ``adapters.keras``.
"""

from .class_table import NAMES

__all__ = ["ADAPTERS", "DESCRIBED", "FUNCTIONS", "OPERATIONS", "ROOTS", "key_of"]

ADAPTERS = {"qkeras": "..qkeras", "hgq": "..hgq", "tensorflow_model_optimization": "..tfmot"}
"""Packages of layers -> their adapter, which is imported for a model that has any of them."""

ROOTS = ("keras", "tf_keras", *ADAPTERS)
"""The packages whose classes the names below mean; a class of the same name elsewhere is another
class."""

_MODULES = {name: module for module, names in NAMES.items() for name in names.split()}


def key_of(package: str, name: str) -> str:
    """What a class is called in ``DESCRIBED``: HGQ2 has layers of the same names as QKeras'."""
    if package == "hgq":
        return f"hgq.{name}"
    return name


def _under(prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): module
        for name, module in _MODULES.items()
        if name.startswith(prefix)
    }


OPERATIONS: dict[str, str] = _under("ops.")
"""Class of an operation of keras.ops, which a functional model of Keras 3 records -> the module
that describes it."""

FUNCTIONS: dict[str, str] = _under("tf.")
"""TensorFlow's function behind a TFOpLambda of Keras 2, by its exported name -> the module that
describes it."""

DESCRIBED: dict[str, str] = {
    **{name: module for name, module in _MODULES.items() if not name.startswith(("ops.", "tf."))},
    # a part of the layers around it, without a description of its own
    "ConvLSTMCell": ".layers.recurrent",
}
"""Class name -> the module that describes it, from adapters/keras on."""
