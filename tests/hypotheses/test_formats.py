"""Number formats in arithmetic of the test's own: levels that flip, integers with a shift."""

import faults
import faults_formats
import numpy as np
import pytest
import qkeras

import probe


def test_a_flip_at_a_threshold_is_no_mistake_of_arithmetic():
    """The user's own layer before gives inputs that lie on the other side of a threshold by less than rounding."""
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
    assert "flip by one step of 0.125" in report.findings[0].claim


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (faults_formats.half_accumulator, "float16 accumulation with inputs and weights"),
        (faults_formats.brain_accumulator, "bfloat16 accumulation with inputs and weights (taps by channel"),
        (faults_formats.brain_output, "the output stored in bfloat16"),
        (faults_formats.tf32, "TF32 inputs and weights"),
    ],
)
def test_what_was_narrow_is_said(planted, words):
    (finding, *_) = faults.asked(planted).findings
    assert finding.slug == "reduced-precision"
    assert words in finding.claim
