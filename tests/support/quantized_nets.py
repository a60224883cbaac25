"""Small nets, and what ONNX Runtime's quantiser takes to make integers of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

__all__ = ["Inputs", "Pooled", "exported", "images"]


class Inputs(CalibrationDataReader):
    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        self.left = iter(arrays)

    def get_next(self) -> dict[str, np.ndarray] | None:
        array = next(self.left, None)
        return None if array is None else {"x": array}


def exported(net: nn.Module, x: np.ndarray, folder: Path) -> Path:
    """The file that quantising begins with."""
    given = (torch.from_numpy(x),)
    torch.onnx.export(net, given, folder / "net.onnx", dynamo=False, input_names=["x"])
    quant_pre_process(folder / "net.onnx", folder / "ready.onnx", skip_symbolic_shape=True)
    return folder / "ready.onnx"


class Pooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.one(x)), 2)
        return torch.relu(self.two(x)).mean((2, 3))


def images() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.normal(size=(6, 1, 3, 4, 4)).repeat(4, 3).repeat(4, 4)
    return (coarse + 0.3 * rng.normal(size=coarse.shape)).astype(np.float32)
