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


class Deformed(torch.nn.Module):
    """A deformable convolution within a block; its places, its gate and its kernel are computed, so
    that it has no description."""

    def __init__(self):
        super().__init__()
        self.offset = torch.nn.Conv2d(4, 8, 2)
        self.gate = torch.nn.Conv2d(4, 4, 2)
        self.dcn = ops.DeformConv2d(4, 3, 2)

    def forward(self, x, turned=lambda offset: offset, gated=torch.sigmoid):
        kernel = self.dcn.weight * x.mean()
        given = x, turned(self.offset(x)), kernel, self.dcn.bias
        return ops.deform_conv2d(*given, mask=gated(self.gate(x)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"turned": lambda offset: offset[:, [1, 0, 3, 2, 5, 4, 7, 6]]}, "reversed within blocks"),
        ({"gated": torch.ones_like}, "is taken as 1 everywhere"),
        ({"gated": lambda gate: 2 * gate.sigmoid()}, "is multiplied by 2"),
    ],
)
def test_a_mistake_before_a_call_within_a_block(wrong, words):
    torch.manual_seed(0)
    module, x = Deformed().eval(), torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        right, values = module(x).numpy(), module(x, **wrong).numpy()
    assert probe.check(module, "", x.numpy(), expected=right).findings == ()
    finding = probe.check(module, "", x.numpy(), expected=values).findings[0]
    assert (finding.left <= 1, words in finding.claim) == (True, True), finding


class OfInput(torch.nn.Module):
    """A deformable convolution whose kernel is an input, for which there is no description."""

    def forward(self, x, offset, kernel):
        return ops.deform_conv2d(x, offset, kernel)


def test_arguments_that_would_end_the_process_are_not_tried():
    torch.manual_seed(0)
    module = OfInput().eval()
    x, offset, kernel = torch.randn(1, 2, 5, 5), torch.randn(1, 18, 3, 3), torch.randn(2, 2, 3, 3)
    values = module(x, offset, kernel).numpy() * 1.5
    # a stride of 0 is divided by, groups of other numbers are read beyond the tensors
    given = [x.numpy(), offset.numpy(), kernel.numpy()]
    report = probe.check(module, "", given, expected=values)
    assert report.verdict == "unchecked"
