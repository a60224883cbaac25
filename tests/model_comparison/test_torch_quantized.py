"""A net that PyTorch has quantised, against the net itself: the precision is no fault, and a fault
in it stands out."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from known_warnings import TORCH_AO
from torch import nn
from torch.ao import quantization as ao

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_AO)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 8), nn.LayerNorm(8)
        self.lstm, self.last = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.last(self.lstm(self.norm(torch.relu(self.first(x))))[0])


def _encoder() -> tuple[nn.Module, np.ndarray]:
    torch.manual_seed(0)
    return Encoder().eval(), torch.randn(3, 7, 6).numpy()


def _images() -> tuple[nn.Sequential, np.ndarray]:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(144, 5)),
    )
    return net.eval(), torch.randn(4, 3, 10, 10).numpy()


def _static(net: nn.Sequential, x: np.ndarray, training: bool, engine: str = "x86") -> nn.Module:
    """Quantised with ranges of these samples; or as training simulates it."""
    stubs = nn.Sequential(ao.QuantStub(), *copy.deepcopy(net), ao.DeQuantStub())
    way = ao.get_default_qat_qconfig(engine) if training else ao.get_default_qconfig(engine)
    stubs.train(training).qconfig = way
    ready = ao.prepare_qat(stubs) if training else ao.prepare(stubs)
    ready(torch.from_numpy(x))
    if training:
        return ready.eval().apply(ao.disable_observer)
    return ao.convert(ready)


@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_ranges_of_each_call(dtype):
    net, x = _encoder()
    quantized = ao.quantize_dynamic(copy.deepcopy(net), {nn.Linear, nn.LSTM}, dtype=dtype)
    comparison = probe.compare(net, quantized.eval(), x)
    assert comparison.ok, str(comparison)
    what = "integers of 8 bits" if dtype == torch.qint8 else "float16"
    assert any(what in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("engine", "training"), [("x86", False), ("x86", True), ("qnnpack", False)]
)
def test_ranges_of_samples(engine, training, monkeypatch):
    monkeypatch.setattr(torch.backends.quantized, "engine", engine)
    net, x = _images()
    quantized: Any = _static(net, x, training, engine)
    comparison = probe.compare(net, quantized, x)
    assert comparison.ok, str(comparison)
    if not training:
        _bias(quantized[1])
        _is_the_only_source(probe.compare(net, quantized, x), "1")


def _rows(layer: Any) -> None:
    weight, bias = _parts(layer)
    turned = weight.dequantize().flip(0)
    if weight.is_quantized and weight.qscheme() == torch.per_channel_affine:
        turned = torch.quantize_per_channel(
            turned, weight.q_per_channel_scales().flip(0), weight.q_per_channel_zero_points(), 0,
            weight.dtype,
        )  # fmt: skip
    elif weight.is_quantized:
        turned = torch.quantize_per_tensor(turned, weight.q_scale(), 0, weight.dtype)
    layer.set_weight_bias(turned, bias)


def _bias(layer: Any) -> None:
    weight, bias = _parts(layer)
    layer.set_weight_bias(weight, torch.zeros_like(bias))


def _parts(layer: Any) -> tuple[Any, Any]:
    if hasattr(layer, "_weight_bias"):
        return layer._weight_bias()
    return layer.weight(), layer.bias()


FAULTS = {"rows in another order": _rows, "the bias left out": _bias}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["first", "last"])
@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
def test_a_fault_beside_ranges_of_each_call(dtype, name, fault):
    net, x = _encoder()
    quantized = ao.quantize_dynamic(copy.deepcopy(net), {nn.Linear, nn.LSTM}, dtype=dtype).eval()
    FAULTS[fault](getattr(quantized, name))
    _is_the_only_source(probe.compare(net, quantized, x), name)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["1", "3", "6"])
def test_a_fault_beside_ranges_of_samples(name, fault):
    net, x = _images()
    quantized: Any = _static(net, x, training=False)
    FAULTS[fault](quantized[int(name)])
    _is_the_only_source(probe.compare(net, quantized, x), name)


def _a_quarter_of_the_range(net: Any) -> None:
    net[6].scale /= 4


def _no_activation(net: Any) -> None:
    net[4] = nn.Identity()


def _a_quarter_of_the_range_of_the_input(net: Any) -> None:
    net[0].scale /= 4


@pytest.mark.parametrize(
    "fault", [_a_quarter_of_the_range, _no_activation, _a_quarter_of_the_range_of_the_input]
)
def test_a_fault_in_what_is_rounded(fault: Callable[[Any], None]):
    net, x = _images()
    quantized: Any = _static(net, x, training=False)
    fault(quantized)
    comparison = probe.compare(net, quantized, x)
    assert comparison.verdict == "diverge", str(comparison)
    assert len(comparison.sources) == 1, str(comparison)


def _is_the_only_source(comparison: Any, name: str) -> None:
    assert comparison.verdict == "diverge", str(comparison)
    assert len(comparison.sources) == 1, str(comparison)
    assert name in comparison.sources[0].b, str(comparison)
