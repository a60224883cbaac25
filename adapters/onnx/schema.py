"""What ONNX itself says of an operator: its attributes' defaults and the names of its inputs."""

from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from probe import printable
from probe.errors import CannotOpen, in_words

__all__ = ["defaults", "input_name", "numbers", "plain"]


def plain(value: Any) -> Any:
    """An attribute's value with text for bytes."""
    if isinstance(value, bytes):
        return value.decode()
    return value


def numbers(value: onnx.TensorProto) -> np.ndarray:
    """Of an initializer, or of an attribute that is a tensor.

    Raises CannotOpen where its data do not fit its type and dimensions.
    """
    try:
        array: np.ndarray = numpy_helper.to_array(value)
    except Exception as error:  # of many classes, none of them documented
        name = printable.name(value.name) or "a constant"
        dims = ", ".join(map(str, value.dims))
        raise CannotOpen(
            f"the tensor {name} is damaged: its data do not fit the data type {value.data_type} "
            f"and the dimensions ({dims}): {in_words(error)}"
        ) from None
    return array


@cache
def _schema(kind: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(kind, opset, "")
    except onnx.defs.SchemaError:
        return None


@cache
def defaults(kind: str, opset: int) -> dict[str, Any]:
    """The attributes that have a default in that version, and it."""
    schema = _schema(kind, opset)
    if schema is None:
        given = {}
    else:
        given = {name: attribute.default_value for name, attribute in schema.attributes.items()}
    return {
        name: plain(helper.get_attribute_value(value))
        for name, value in given.items()
        if value.type
    }


def input_name(kind: str, opset: int, at: int) -> str:
    """What the operator calls an input; its number where it has no name for it."""
    schema = _schema(kind, opset)
    names = [] if schema is None else [value.name for value in schema.inputs]
    if at >= len(names):
        return f"number {at + 1}"
    return str(names[at])
