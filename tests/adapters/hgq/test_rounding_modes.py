"""Quantizers of HGQ2 that are rounded in another way, planted in an implementation of its own: each
is named, lane or weight."""

import keras
import numpy as np
import pytest
from hgq.layers import QDense
from hgq.quantizer import Quantizer, QuantizerConfig

import probe

# Keras' own
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)

WAYS = {
    "half up": lambda share: np.floor(share + 0.5),
    "half to even": np.rint,
    "half away from zero": lambda share: np.copysign(np.floor(np.abs(share) + 0.5), share),
    "down (floor)": np.floor,
    "towards zero": np.trunc,
}
OWN = {"RND": "half up", "RND_CONV": "half to even", "TRN": "down (floor)"}


def fixed(quantizer, values, way=None):
    """Values at a quantizer's levels, which hold all of them: nothing is clipped or wraps
    around."""
    inner = quantizer.quantizer
    fraction = keras.ops.convert_to_numpy(inner.f).astype(float)
    return (
        WAYS[way or OWN[inner.round_mode.removeprefix("S_")]](values * 2.0**fraction)
        / 2.0**fraction
    )


def ready(layer, x, finest=4):
    """Ties at every quantizer, and bits of their own for each element, or the same for all."""
    rng = np.random.default_rng(5)
    layer(x)
    for variable in layer.variables:
        name, shape = variable.path.rpartition("/")[2], variable.shape
        if name in ("kernel", "bias"):
            variable.assign(np.round(rng.normal(size=shape).clip(-3, 3) * 16) / 16)
        elif name == "f":
            variable.assign(finest - rng.integers(0, 2, shape))
        elif name == "i":
            variable.assign(np.full(shape, 4.0))
        elif name == "b":
            variable.assign(7.0 - rng.integers(0, 2, shape))
    return layer


def drawn(*shape):
    return (np.round(np.random.default_rng(4).normal(size=shape) * 48) / 32).astype(np.float32)


def is_named(layer, x, wrong, way, *words):
    report = probe.check(layer, layer.name, x, expected=wrong.astype(np.float32))
    assert report.comparisons["framework", "numpy"].ok and report.verdict == "diverge", str(report)
    assert report.findings and report.findings[0].slug == "rounding-mode", str(report)
    assert f"is rounded {way}" in report.findings[0].claim, str(report)
    assert all(word in report.findings[0].claim for word in words)


@pytest.mark.parametrize("rounding", ["RND", "TRN", "RND_CONV"])
def test_a_quantizer_by_itself(rounding):
    x = drawn(6, 9)
    quantizer = ready(Quantizer(QuantizerConfig("kif", "datalane", round_mode=rounding)), x)
    assert probe.check(
        quantizer, quantizer.name, x, expected=fixed(quantizer, x).astype(np.float32)
    ).ok
    for way in WAYS:
        if way != OWN[rounding]:
            is_named(quantizer, x, fixed(quantizer, x, way), way, "to fixed point with ")


@pytest.mark.parametrize(
    "way", ["half to even", "half away from zero", "down (floor)", "towards zero"]
)
@pytest.mark.parametrize("part", ["input", "kernel", "bias"])
def test_in_a_layer(part, way):
    x = drawn(7, 20)
    layer = ready(
        QDense(
            12, kq_conf=QuantizerConfig("kif", "weight"), bq_conf=QuantizerConfig("kif", "bias")
        ),
        x,
    )
    kernel, bias = (
        keras.ops.convert_to_numpy(variable).astype(float)
        for variable in (layer.kernel, layer.bias)
    )

    def by_hand(**ways):
        lane, weights, offset = ((layer.iq, x.astype(float)), (layer.kq, kernel), (layer.bq, bias))
        return fixed(*lane, ways.get("input")) @ fixed(*weights, ways.get("kernel")) + fixed(
            *offset, ways.get("bias")
        )

    assert probe.check(layer, layer.name, x, expected=by_hand().astype(np.float32)).ok
    is_named(layer, x, by_hand(**{part: way}), way, *(() if part == "input" else (part,)))
