"""ONNX files and models: each node that follows from the model's input is a layer, run by ONNX
Runtime."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model

from probe.errors import BadInput, CannotOpen
from probe.files.regular_file import open_file
from probe.model import Model

from ..user_modules import refuse_factory
from .describe import described
from .model import OnnxModel
from .operators import (  # noqa: F401 - their import fills the table of described operators
    attention,
    bitwise,
    control_flow,
    elementwise,
    fourier,
    generators,
    grid_sample,
    linear_attention,
    losses,
    microsoft,
    nonzero_unique_nms,
    normalization,
    products_pools_reductions,
    quantize_linear,
    recurrent,
    resize,
    sequences,
    shape,
)
from .run_limits import files_beside, refuse_endless, refuse_large, refuse_undecoded

__all__ = ["described", "open_model"]


def open_model(
    source: Any,
    *,
    trust: bool = False,
    factory: Any = None,
    imports: Sequence[str] = (),
    device: str | None = None,
) -> Model:
    """A path to an .onnx file, external data beside it, or a live ModelProto."""
    if device not in (None, "cpu"):
        raise BadInput(
            f"an ONNX model runs on the CPU, in ONNX Runtime's CPUExecutionProvider; you gave "
            f"the device {device!r}"
        )
    if imports:
        raise BadInput(
            "imports= (--import) is only for custom classes of Keras and PyTorch models; "
            "this is an ONNX model"
        )
    refuse_factory(factory, "an ONNX model")
    if isinstance(source, onnx.ModelProto):
        return OnnxModel(source, "a live ModelProto (onnx)")
    path = Path(source)
    try:
        with open_file(path, "an ONNX model", CannotOpen) as file:
            proto = onnx.load(file, load_external_data=False)
        refuse_undecoded(path, proto)
        beside = files_beside(path, proto)
        refuse_endless(path, proto)
        refuse_large(path, proto)
        load_external_data_for_model(proto, str(path.parent))
    except DecodeError:
        size = path.stat().st_size
        raise CannotOpen(
            f"{path} is truncated or damaged: its {size:,} bytes are not a whole ONNX model; copy "
            "or export it once more"
        ) from None
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        if missing := _EXTERNAL.search(str(error)):
            name = missing[1].removeprefix("./")
            raise CannotOpen(
                f"the weights of {path} lie in another file, {name}, which is not there: put it "
                "beside the model"
            ) from None
        raise CannotOpen(
            f"{path} cannot be read as an ONNX model: {' '.join(str(error).split())[:200]}"
        ) from None
    return OnnxModel(proto, str(path), other_files=beside, limited=not trust)


_EXTERNAL = re.compile(r"should be stored in (.+?), but it (?:is not regular file|doesn't exist)")
