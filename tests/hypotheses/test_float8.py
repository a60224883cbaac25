"""Numbers of eight bits of another type, clipped at another number, or cut off."""

import keras
import ml_dtypes
import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe


class Scaled(nn.Module):
    """A product of numbers of eight bits, scaled by the largest of each tensor."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 5)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(RNG.normal(size=(5, 12))))

    def forward(self, x):
        x_scale, scale = 430 / x.abs().max(), 430 / self.linear.weight.abs().max()
        narrow = (x * x_scale).to(torch.float8_e4m3fn).float()
        kernel = (self.linear.weight * scale).to(torch.float8_e4m3fn).float()
        return narrow @ kernel.T / (x_scale * scale) + self.linear.bias


def cut(x):
    """To a number of e4m3, towards zero."""
    step = 2.0 ** (np.maximum(np.frexp(x)[1] - 1, -6) - 3)
    return (np.trunc(x / step) * step).astype(np.float32)


@pytest.mark.parametrize(
    ("to", "claim"),
    [
        (lambda x: x.astype(ml_dtypes.float8_e4m3fn).astype(np.float32), ""),
        (lambda x: x.astype(ml_dtypes.float8_e5m2).astype(np.float32), "the type is float8_e5m2 "),
        (
            lambda x: np.clip(x, -240, 240).astype(ml_dtypes.float8_e4m3fn).astype(np.float32),
            "numbers are clipped to 240, not to 448",
        ),
        (cut, "numbers are cut off, not rounded"),
    ],
    ids=["right", "e5m2", "240", "cut"],
)
def test_numbers_of_eight_bits(to, claim):
    model, x = Scaled(), RNG.normal(size=(4, 12)).astype(np.float32)
    kernel, bias = (p.detach().numpy() for p in (model.linear.weight, model.linear.bias))
    x_scale, scale = np.float32(430) / np.abs(x).max(), np.float32(430) / np.abs(kernel).max()
    values = to(x * x_scale) @ to(kernel * scale).T / (x_scale * scale) + bias
    report = probe.check(model, "", x, expected=values)
    if not claim:
        assert (report.verdict, report.findings) == ("agree", ())
        return
    finding = report.findings[0]
    assert (report.verdict, finding.slug, finding.left <= 1) == ("diverge", "changed-step", True)
    assert finding.claim.startswith(claim)


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have:UserWarning")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_the_scales_and_the_type_of_a_quantised_layer_of_keras():
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(5, name="dense")])
    model.quantize("float8")
    layer = model.get_layer("dense")
    scales = np.float32(0.9 / 448), np.float32(3.0 / 448)
    layer.kernel_scale.assign(scales[0])
    layer.inputs_scale.assign(scales[1])
    kernel, x = layer._kernel.numpy(), RNG.normal(size=(4, 12)).astype(np.float32)

    def rounded(values, scale, kind=ml_dtypes.float8_e4m3fn):
        return np.clip(values / scale, -448, 448).astype(kind).astype(np.float32) * scale

    def check(x_scale=scales[1], scale=scales[0], **how):
        values = rounded(x, x_scale, **how) @ rounded(kernel, scale, **how)
        return probe.check(model, "dense", x, expected=values)

    def claim(report):
        assert report.findings[0].left <= 1
        return report.findings[0].claim

    assert check().verdict == "agree"
    both = "numbers are multiplied by the scale before and divided behind in the input and kernel"
    assert claim(check(1 / scales[1], 1 / scales[0])) == both
    assert claim(check(scale=np.float32(1))) == "numbers are rounded without the scale in kernel"
    narrow = claim(check(kind=ml_dtypes.float8_e5m2))
    assert narrow.startswith("the type is float8_e5m2 instead of float8_e4m3fn")
