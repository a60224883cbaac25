"""A layer, or an operation, exported alone and run in ONNX Runtime, for what has no description.

On TensorFlow the converter is tf2onnx, the one that Keras' own ``model.export(format="onnx")``
takes; on PyTorch it is torch.onnx.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from probe.description import Ref
from probe.errors import Undescribed
from probe.evaluation.framework_export import run_exported
from probe.process.extras import install
from probe.process.interrupts import held_back, interruptible
from probe.process.log_suppression import exporting
from probe.process.model_lock import turn

from ..describe.tensors import Tensors
from .restore_state import unchanged

__all__ = ["alone"]


def alone(
    layer: Any,
    call: Callable[..., Any],
    arguments: Mapping[str, Any],
    tensors: Tensors,
    input_tensors: Sequence[Any],
    inputs: Sequence[np.ndarray],
) -> tuple[np.ndarray, ...]:
    """What the exported layer gives on these inputs; ``input_tensors`` were the tensors, and each
    Ref in the arguments stands for one."""
    arrays = list(inputs[: len(input_tensors)])
    if any(array.dtype.kind not in "fiub" for array in arrays):
        raise Undescribed("its input is not numeric")
    with held_back(), turn(_layers(layer)), unchanged(layer), interruptible():
        if tensors.backend == "torch":
            return _by_torch(
                layer, call, arguments, [tensor.dtype for tensor in input_tensors], arrays
            )
        if tensors.backend == "tensorflow":
            return _by_tf2onnx(call, arguments, input_tensors, arrays, tensors)
    raise Undescribed(f"no ONNX exporter is available for the {tensors.backend} backend")


def _layers(layer: Any) -> Sequence[Any]:
    """The layer and those in it; an operation has none."""
    found: Sequence[Any] = layer._flatten_layers() if hasattr(layer, "_flatten_layers") else [layer]
    return found


def _by_torch(
    layer: Any,
    call: Callable[..., Any],
    arguments: Mapping[str, Any],
    kinds: list[Any],
    arrays: Any,
) -> tuple[np.ndarray, ...]:
    torch, export = (
        importlib.import_module("torch"),
        importlib.import_module("...torch.capture.onnx_export", __package__),
    )
    called = layer if isinstance(layer, torch.nn.Module) else call
    found: tuple[np.ndarray, ...] = export.alone(
        export.Called(called, *_spread(call, arguments)), arrays, kinds
    )
    return found


def _spread(
    call: Callable[..., Any], arguments: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as a call takes them: those of a ``*args`` by their places."""
    many = next(
        (
            parameter.name
            for parameter in inspect.signature(call).parameters.values()
            if parameter.kind is parameter.VAR_POSITIONAL
        ),
        None,
    )
    return list(arguments.get(many, ())) if many else [], {
        name: value for name, value in arguments.items() if name != many
    }


def _by_tf2onnx(
    call: Callable[..., Any],
    arguments: Mapping[str, Any],
    input_tensors: Sequence[Any],
    arrays: Sequence[np.ndarray],
    tensors: Tensors,
) -> tuple[np.ndarray, ...]:
    tf = importlib.import_module("tensorflow")
    args, kwargs = _spread(call, arguments)

    def function(*held: Any) -> list[Any]:
        filled = tensors.mapped(
            lambda leaf: held[leaf.index] if isinstance(leaf, Ref) else leaf, (args, kwargs)
        )
        return tensors.within(call(*filled[0], **filled[1]))

    with held_back(), exporting(), interruptible():
        try:
            convert = importlib.import_module("tf2onnx").convert.from_function
        except ImportError:
            raise Undescribed(
                f"exporting a layer of Keras on TensorFlow needs tf2onnx: {install('tf2onnx')}"
            ) from None
        try:
            spec = [
                tf.TensorSpec(tensor.shape, tensor.dtype, name=f"x{place}")
                for place, tensor in enumerate(input_tensors)
            ]
            model, _ = convert(tf.function(function, autograph=False), spec, opset=17)
        except Exception as error:
            raise Undescribed(f"tf2onnx cannot export it ({type(error).__name__})") from None
    _supported(model)
    # What is not used is no input of the model.
    places = [int(entry.name.partition(":")[0].removeprefix("x")) for entry in model.graph.input]
    return run_exported(model.SerializeToString(), [arrays[place] for place in places])


def _supported(model: onnx.ModelProto) -> None:
    """tf2onnx leaves what it does not know as it is."""
    version = next(opset.version for opset in model.opset_import if opset.domain == "")
    unknown = sorted(
        {
            node.op_type
            for node in model.graph.node
            if not node.domain and not onnx.defs.has(node.op_type, version)
        }
    )
    if unknown:
        raise Undescribed(f"tf2onnx has no ONNX operators for TensorFlow's {', '.join(unknown)}")
