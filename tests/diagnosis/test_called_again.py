"""Of a function without description the framework's own is called with another argument."""

import pytest
import torch

import probe

ops = pytest.importorskip("torchvision.ops")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"aligned": False}, "aligned is False instead of True"),
        ({"sampling_ratio": 1}, "sampling_ratio is 1 instead of 2"),
        ({}, "rois is taken + 1"),
    ],
)
def test_another_argument_of_roi_align(other, words):
    torch.manual_seed(0)
    module = ops.RoIAlign((3, 3), 0.5, 2, aligned=True)
    x, boxes = torch.randn(2, 2, 12, 12), torch.tensor([[0, 2.0, 3, 15, 17], [0, 1, 1, 20, 9]])
    options = {"spatial_scale": 0.5, "sampling_ratio": 2, "aligned": True} | other
    moved = boxes if other else boxes + 1
    values = ops.roi_align(x, moved, (3, 3), **options).numpy()
    given = [x.numpy(), boxes.numpy()]
    report = probe.check(module, "", given, expected=values)
    assert (report.verdict, report.findings[0].slug) == ("unchecked", "changed-step"), report
    told = [finding.claim for finding in report.findings]
    assert f"torchvision.roi_align called again gives these values where {words}" in told
    assert words in " ".join(str(report).split())
    right = module(x, boxes).numpy()
    assert probe.check(module, "", given, expected=right).findings == ()
    assert probe.check(module, "", given, expected=right * 1.5).findings == ()
