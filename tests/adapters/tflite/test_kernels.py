"""Values that another engine's kernel of the same layer gives: a check and a comparison name it."""

import numpy as np
import pytest
from own_seed import RNG
from tflite_operators import drawn

import probe

PAIRS = (
    ("MEAN", "xnnpack", "reference"),
    ("RESIZE_BILINEAR", "xnnpack", "reference"),
    ("QUANTIZE, of floats", "reference", "xnnpack"),
    ("MEAN", "reference", "optimised"),
)
WHOSE = {
    "xnnpack": "XNNPACK's kernel",
    "optimised": "TFLite's optimised kernel",
    "reference": "TFLite's reference kernel",
}


@pytest.mark.parametrize("name, engine, other", PAIRS)
def test_whose_kernel_gives_the_values(name, engine, other, tmp_path):
    case = drawn(name, np.random.default_rng(3), 24)[0]
    path = tmp_path / "net.tflite"
    path.write_bytes(case.content)
    here, there = (probe.open_model(path, engine=each) for each in (engine, other))
    (layer,) = (layer.name for layer in here.layers)
    mine = probe.check(there, layer, case.inputs[0], search=False).outputs["framework"]
    report = probe.check(here, layer, case.inputs[0], expected=mine)
    assert report.verdict == "diverge"
    (finding,) = report.findings
    assert finding.slug == "another-kernel" and finding.claim.startswith("yours is what ")
    ours, theirs = finding.claim.split("; the framework ran ")
    assert WHOSE[other] in ours and theirs.startswith(WHOSE[engine])
    assert finding.claim.endswith(": both are TFLite")
    (pair,) = probe.compare(here, {layer: mine}, case.inputs[0]).pairs
    assert pair.findings[0].claim == finding.claim
    (pair,) = probe.compare(here, there, case.inputs[0]).pairs
    words = finding.claim.replace("yours", "B's").replace("the framework", "A")
    neither = "neither is wrong: both are roundings of TFLite"
    assert [found.claim for found in pair.findings] == [words] or neither in pair.notes


def test_no_kernel_gives_values_that_are_wrong(tmp_path):
    """A code that is off in an operator that all kernels compute alike."""
    case = drawn("MAX_POOL_2D", RNG, 5)[0]
    path = tmp_path / "net.tflite"
    path.write_bytes(case.content)
    report = probe.check(str(path), "y", case.inputs[0])
    wrong = report.outputs["framework"].copy()
    wrong.flat[0] = -wrong.flat[0] - 1
    report = probe.check(str(path), "y", case.inputs[0], expected=wrong)
    assert report.verdict == "diverge"
    assert not any("kernel gives" in finding.claim for finding in report.findings)
