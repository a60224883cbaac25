"""A layer without description, as far as its framework's own exporter can tell: exported alone and
run in ONNX Runtime.

That is one opinion and no recomputation: what it differs by is told, and the verdict stays
"unchecked".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.errors import Undescribed
from probe.evaluation.import_onnxruntime import onnxruntime, state
from probe.evaluation.onnxruntime_session import ran, reason
from probe.model import Capture

__all__ = ["by_exporter", "run_exported"]

_TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
_TYPES |= {f"tensor({name})": name for name in ("int8", "int16", "int32", "int64", "uint8", "bool")}


def run_exported(model: bytes, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The outputs of an ONNX model whose inputs are these, in order; Undescribed where ONNX Runtime
    does not take it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        wanted = session.get_inputs()
        if len(wanted) > len(inputs):
            raise Undescribed(
                f"the exported model takes {len(wanted)} inputs, but the layer took {len(inputs)}"
            )
        feeds = {
            spec.name: np.asarray(x, _TYPES.get(spec.type, x.dtype))
            for spec, x in zip(wanted, inputs, strict=False)
        }
        return tuple(ran(session, None, feeds))
    except (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.NotImplemented,
        state.RuntimeException,
    ) as error:
        raise Undescribed(f"ONNX Runtime cannot run the exported layer: {reason(error)}") from None


def by_exporter(capture: Capture) -> tuple[tuple[np.ndarray, ...] | None, str]:
    """What the exported layer gives in ONNX Runtime, or None, and what there is to say about it;
    empty where nothing can be exported."""
    if capture.alone is None:
        return None, ""
    try:
        outputs = capture.alone()
    except Undescribed as error:
        return None, f"the framework's exporter cannot export the layer: {error}"
    shapes = [
        (output.shape, theirs.shape)
        for output, theirs in zip(outputs, capture.outputs, strict=False)
    ]
    if len(outputs) != len(capture.outputs) or any(own != theirs for own, theirs in shapes):
        return outputs, (
            "exported to ONNX by the framework itself and run in ONNX Runtime, the layer's "
            "outputs have different shapes"
        )
    pairs = [
        (np.asarray(output, np.float64), np.asarray(theirs, np.float64))
        for output, theirs in zip(outputs, capture.outputs, strict=True)
    ]
    with np.errstate(all="ignore"):
        apart = max(float(np.abs(own - theirs).max(initial=0.0)) for own, theirs in pairs)
        size = max(float(np.abs(theirs).max(initial=0.0)) for _, theirs in pairs)
    return outputs, (
        "exported to ONNX by the framework itself and run in ONNX Runtime, the layer differs "
        f"by at most {apart:.3g} (largest value {size:.3g}); this is not an independent check"
    )
