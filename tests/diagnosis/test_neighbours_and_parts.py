"""An exchange of neighbouring steps comes before what happens to give the same values, weights are
told by what was done to them, and of two mistakes each is found by the part that it alone gives."""

import torch
import torch.nn.functional as F
from torch import nn

import probe


class Upsampled(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.conv = nn.Upsample(scale_factor=2), nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(self.up(x))


def test_a_convolution_before_the_upsampling_is_no_dilated_one():
    torch.manual_seed(0)
    module, x = Upsampled().eval(), torch.randn(1, 2, 4, 4)
    with torch.no_grad():
        values = module.up(module.conv(x)).numpy()
    finding = probe.check(module, "", x.numpy(), expected=values).findings[0]
    assert (finding.slug, finding.left <= 1) == ("moved-step", True), finding
    assert finding.claim == "conv is applied before up, not after it"


def test_a_kernel_turned_by_180_degrees_and_one_bias_for_all():
    torch.manual_seed(0)
    layer, x = nn.ConvTranspose2d(2, 3, 3), torch.randn(2, 2, 5, 5)
    with torch.no_grad():
        bias = layer.bias.sum().expand(3)
        values = F.conv_transpose2d(x, layer.weight.flip(2, 3), bias).numpy()
    finding = probe.check(layer, "", x.numpy(), expected=values).findings[0]
    assert finding.claim == (
        "weight is reversed along axes 2 and 3; every entry of bias is "
        f"{layer.bias.sum().item():.6g}, the sum of the layer's"
    )


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.conv(x))))


def test_two_mistakes_of_which_each_gives_a_part_exactly():
    torch.manual_seed(0)
    block = Residual().eval()
    for array in (*block.norm.parameters(), block.norm.running_mean):
        array.data.normal_()
    x = torch.randn(1, 2, 6, 6)
    with torch.no_grad():
        wide = F.pad(x, (1, 1, 1, 1), mode="replicate")
        y = F.conv2d(wide, block.conv.weight, block.conv.bias)
        values = torch.relu(block.last(torch.relu(block.norm(y)))).numpy()
    report = probe.check(block, "", x.numpy(), expected=values)
    finding = report.findings[0]
    assert finding.left <= 1, report
    first, second = sorted((finding.slug, *finding.also), reverse=True)
    assert first == "padding-value" and second in ("extra-step", "extra-activation"), finding
