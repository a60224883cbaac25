"""Mistakes in the shortcut of a residual block that is smaller behind it than before, as a port to
NumPy makes them: in the block by itself and within its model, with one sample and with two."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import probe

EPSILON = 1e-5


def normed(channels):
    return nn.BatchNorm2d(channels, eps=EPSILON)


class Block(nn.Module):
    """What the two blocks of a ResNet share: the shortcut, and the ReLU behind the sum."""

    def __init__(self, channels, out, stride):
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential(
            nn.Conv2d(channels, out, 1, stride, bias=False), normed(out)
        )

    def forward(self, x):
        return self.relu(self.branch(x) + self.downsample(x))


class Basic(Block):
    def __init__(self, channels=16, out=32, stride=2):
        super().__init__(channels, out, stride)
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False), normed(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), normed(out)

    def branch(self, x):
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Bottleneck(Block):
    def __init__(self, channels=16, out=32, stride=2):
        super().__init__(channels, out, stride)
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 1, bias=False), normed(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, stride, 1, bias=False), normed(out)
        self.conv3, self.bn3 = nn.Conv2d(out, out, 1, bias=False), normed(out)

    def branch(self, x):
        y = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.bn3(self.conv3(y))


class Net(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.layer1, self.layer2 = nn.Sequential(block(16, 16, 1)), nn.Sequential(block())
        self.fc = nn.Linear(32, 10)

    def before(self, x):
        return self.layer1(F.relu(self.stem(x)))

    def forward(self, x):
        return self.fc(self.layer2(self.before(x)).mean((2, 3)))


def drawn(block):
    torch.manual_seed(0)
    net = Net(block)
    for one in net.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.running_mean, 0, 0.3)
            nn.init.uniform_(one.running_var, 0.3, 1.3)
            nn.init.normal_(one.weight, 1, 0.3)
            nn.init.normal_(one.bias, 0, 0.3)
    return net.eval()


# The port.


def convolved(x, weight, stride=1, pad=0):
    size = weight.shape[-1]
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    high, wide = (1 + (n - size) // stride for n in x.shape[2:])
    total = np.zeros((len(x), len(weight), high, wide), x.dtype)
    for i in range(size):
        for j in range(size):
            taken = x[:, :, i : i + stride * high : stride, j : j + stride * wide : stride]
            total += np.moveaxis(np.tensordot(weight[:, :, i, j], taken, (1, 1)), 0, 1)
    return total


def ported(block, x, wrong=""):
    held = {name: value.numpy().astype(x.dtype) for name, value in block.state_dict().items()}

    def norm(y, name, epsilon=EPSILON):
        mean, variance, weight, bias = (
            held[f"{name}.{part}"].reshape(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / np.sqrt(variance + x.dtype.type(epsilon)) * weight + bias

    def relu(y):
        return np.maximum(y, 0)

    def conv(y, name, stride=1, pad=0):
        return convolved(y, held[f"{name}.weight"], stride, pad)

    if isinstance(block, Basic):
        y = relu(norm(conv(x, "conv1", 2, 1), "bn1"))
        y = norm(conv(y, "conv2", 1, 1), "bn2")
    else:
        y = relu(norm(conv(x, "conv1"), "bn1"))
        y = relu(norm(conv(y, "conv2", 2, 1), "bn2"))
        y = norm(conv(y, "conv3"), "bn3")
    first = 1 if wrong == "one pixel off" else 0
    short = conv(x[:, :, first::2, first::2], "downsample.0")
    of = "bn1" if wrong == "parameters of bn1" else "downsample.1"
    short = norm(short, of, 1e-3 if wrong == "epsilon" else EPSILON)
    return relu(y + (relu(short) if wrong == "activated" else short))


MISTAKES = {
    "epsilon": ("other-epsilon", "eps = 0.001; the layer's is 1e-05 in downsample.1"),
    "activated": (
        "extra-step",
        "relu is applied to the output of downsample.1, too",
    ),
    "one pixel off": (
        "missing-padding",
        "the windows start 1 element later along each of the 2 axes in downsample.0",
    ),
    "parameters of bn1": (
        "swapped-inputs",
        "downsample.1 uses the parameters of bn1",
    ),
}


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("block", "layer", "samples", "dtype"),
    [
        (Basic, "", 2, np.float32),
        (Basic, "layer2.0", 1, np.float64),
        (Bottleneck, "", 1, np.float64),
        (Bottleneck, "layer2.0", 2, np.float32),
    ],
)
def test_each_is_named(block, layer, samples, dtype):
    net, x = drawn(block), np.random.default_rng(0).normal(size=(samples, 3, 16, 16))
    block = net.layer2[0]
    with torch.no_grad():
        taken = net.before(torch.from_numpy(x.astype(np.float32))).numpy()
    model, given = (net, x.astype(np.float32)) if layer else (block, taken)
    right = ported(block, taken.astype(dtype))
    assert probe.check(model, layer, given, expected=right).verdict == "agree"
    for wrong, named in MISTAKES.items():
        values = ported(block, taken.astype(dtype), wrong)
        report = probe.check(model, layer, given, expected=values)
        found = [(one.slug, one.claim, one.left <= 1) for one in report.findings]
        assert found == [(*named, True)], (wrong, report)
