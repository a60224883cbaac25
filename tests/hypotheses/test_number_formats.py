"""Number formats in arithmetic of the test's own: levels that flip, integers with a shift."""

import fault_catalogue
import keras
import numpy as np
import pytest
import qkeras
from planted_faults import formats

import probe
from probe.hypotheses.precision.low_precision import narrowed


def test_a_flip_at_a_threshold_is_no_mistake_of_arithmetic():
    """The user's own layer before gives inputs that lie on the other side of a threshold by less
    than rounding."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 40)).astype(np.float32)
    x[2, 3], x[5, 7] = np.float32(0.1875), np.float32(0.4375) * (1 - 2**-22)
    mine = x.copy()
    mine[2, 3] *= 1 + 2**-20
    mine[5, 7] *= 1 + 2**-20
    layer = qkeras.QActivation(qkeras.quantized_bits(4, 0, alpha=1))
    wrong = np.clip(np.rint(mine * 8), -8, 7) / 8
    report = probe.check(layer, layer.name, given=x, expected=wrong)
    assert report.findings, report
    assert report.findings[0].slug == "boundary-flip"
    assert "off by one step of 0.125" in report.findings[0].claim


def test_a_flip_behind_a_change_of_layout():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 4, 1)).astype(np.float32)
    x[1, 3, 2] = 0.4375 * (1 - 2**-20)
    mine = x.copy()
    mine[1, 3, 2] *= 1 + 2**-19
    layer = qkeras.QConv2D(
        1,
        1,
        kernel_initializer="ones",
        use_bias=False,
        activation=qkeras.quantized_bits(4, 0, alpha=1),
    )
    report = probe.check(layer, layer.name, given=x, expected=np.clip(np.rint(mine * 8), -8, 7) / 8)
    assert report.findings, report
    assert report.findings[0].slug == "boundary-flip"


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (
            formats.half_accumulator,
            "products are summed in float16, inputs and weights rounded to it",
        ),
        (
            formats.brain_accumulator,
            "products are summed in bfloat16, inputs and weights rounded to it (channel by channel",
        ),
        (formats.brain_output, "the output is rounded to bfloat16"),
        (formats.tensor_cores, "inputs and weights are rounded to TF32"),
    ],
)
def test_what_was_narrow_is_said(planted, words):
    (finding, *_) = fault_catalogue.asked(planted).findings
    assert finding.slug == "reduced-precision"
    assert words in finding.claim


def test_narrow_weights_of_a_sum_without_a_place_for_a_bias():
    """EinsumDense with a letter that is summed on one side alone: a WeightedEinsum."""
    rng = np.random.default_rng(0)
    layer = keras.layers.EinsumDense("abc,dc->ad", output_shape=(7,))
    x = rng.normal(size=(4, 6, 5)).astype(np.float32)
    layer(x)
    kernel = layer.get_weights()[0]
    mine = np.einsum(
        "abc,dc->ad", x.astype(float), narrowed(kernel, "bfloat16", "ties to even").astype(float)
    )
    report = probe.check(layer, layer.name, given=x, expected=mine.astype(np.float32))
    assert any(line.startswith("WeightedEinsum") for line in report.ops)
    (finding, *_) = report.findings
    assert (
        finding.slug == "reduced-precision" and "weights are rounded to bfloat16" in finding.claim
    ), report
