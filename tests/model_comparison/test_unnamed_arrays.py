"""Outputs alone whose names are not those of the model's layers, or mean another tensor: before a
batch normalisation that one of the two has folded."""

import copy

import numpy as np
import pytest
import torch
from known_warnings import TORCH_EXPORT
from torch import nn

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)
X = np.random.default_rng(0).normal(size=(2, 3, 12, 12)).astype(np.float32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = x + self.relu2(self.bn2(self.conv2(x)))
        return self.fc(self.pool(x).flatten(1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = Net()
    for norm in (net.bn1, net.bn2):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.3, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
    return net.eval()


def dumped(net, x=X):
    """What the layers give, in their order."""
    arrays = {}
    hooks = [
        module.register_forward_hook(
            lambda module, given, output, name=name: arrays.update({name: output.numpy().copy()})
        )
        for name, module in net.named_modules()
        if name
    ]
    with torch.no_grad():
        net(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return arrays


def renamed(arrays):
    return {f"layer_{k}_out": array for k, array in enumerate(arrays.values())}


def without_normalizations(net):
    fused = copy.deepcopy(net)
    for k in "12":
        convolution, norm = getattr(fused, f"conv{k}"), getattr(fused, f"bn{k}")
        setattr(fused, f"conv{k}", torch.nn.utils.fuse_conv_bn_eval(convolution, norm))
        setattr(fused, f"bn{k}", nn.Identity())
    return fused


def test_convolutions_before_a_folded_normalization_are_no_source(net, tmp_path):
    """Which of the two has it folded; and what stands behind tells whether it was applied."""
    exported = tmp_path / "folded.onnx"
    torch.onnx.export(net, (torch.from_numpy(X),), exported, dynamo=False)
    arrays = dumped(net)
    found = probe.compare(exported, arrays, X)
    assert found.ok and len(found.pairs) == 6, str(found)
    assert sum("a batch normalization that the model has folded" in one for one in found.notes) == 2
    fused = {name: y for name, y in dumped(without_normalizations(net)).items() if "bn" not in name}
    found = probe.compare(net, fused, X)
    assert found.ok and len(found.pairs) == 6, str(found)
    assert "the array conv1 holds the output of bn1" in found.notes[0]
    # what follows is not what a normalisation of it gives
    left_out = copy.deepcopy(net)
    left_out.bn1 = nn.Identity()
    wrong = {name: y for name, y in dumped(left_out).items() if "bn" not in name}
    assert probe.compare(exported, wrong, X).verdict == "diverge"
    lost = arrays | {"conv1": arrays["conv1"] * (np.arange(8) != 2)[:, None, None]}
    (source,) = probe.compare(exported, lost, X, search=False).sources
    assert source.b == ("conv1",)
    # the model has a normalisation of its own there, whose output the array does not hold
    factors = np.linspace(0.5, 2.2, 8, dtype=np.float32)[:, None, None]
    scaled = arrays | {"conv1": arrays["conv1"] * factors + factors}
    (source,) = probe.compare(net, scaled, X, search=False).sources
    assert source.b == ("conv1",)


def test_names_that_tell_nothing(net):
    arrays = renamed(dumped(net))
    found = probe.compare(net, arrays, X)
    assert found.ok and len(found.pairs) == len(arrays), str(found)
    # an input that was dumped too, under a name of its own
    assert probe.compare(net, {"data": X} | arrays, X).ok


class Deep(nn.Module):
    """Sums that no array holds, of the shape of those that are looked for."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.wide = nn.ModuleList(nn.Linear(8, 32) for _ in range(6))
        self.back = nn.ModuleList(nn.Linear(32, 8) for _ in range(6))
        self.act = nn.ModuleList(nn.GELU() for _ in range(6))

    def forward(self, x):
        x = self.first(x)
        for wide, act, back in zip(self.wide, self.act, self.back, strict=True):
            x = x + back(act(wide(x)))
        return x


def test_a_fault_behind_tensors_that_no_array_holds():
    torch.manual_seed(0)
    net, x = Deep().eval(), X.reshape(-1, 6)[:9]
    wrong = copy.deepcopy(net)
    wrong.wide[5].bias.data.zero_()
    arrays = dumped(wrong, x)
    (source,) = probe.compare(net, renamed(arrays), x).sources
    assert source.b == (f"layer_{[*arrays].index('wide.5')}_out",)
    assert source.findings[0].slug == "missing-bias"


@pytest.mark.parametrize("fault", ["one array", "an epsilon", "the last array"])
def test_a_fault_behind_names_that_tell_nothing(net, fault):
    """An array that is wrong alone, one that all that follows is made of, and the last one."""
    wrong = copy.deepcopy(net)
    wrong.bn1.eps = 0.1 if fault == "an epsilon" else wrong.bn1.eps
    arrays, name = renamed(dumped(wrong)), "layer_1_out"
    if fault == "one array":
        arrays[name] = np.roll(arrays[name], 1, 1)
    elif fault == "the last array":
        name = "layer_7_out"
        arrays[name] = arrays[name][:, ::-1].copy()
    found = probe.compare(net, dict(sorted(arrays.items(), reverse=True)), X, search=False)
    assert [source.b for source in found.sources] == [(name,)], str(found)
    assert sum(pair.verdict == "agree" for pair in found.pairs) == 7


def test_an_array_that_may_be_of_two_layers_is_not_taken_for_one(net):
    """The sum behind the second ReLU has the same shape, and no array."""
    arrays = renamed(dumped(net))
    arrays["layer_5_out"] = np.roll(arrays["layer_5_out"], 1, 1)
    found = probe.compare(net, arrays, X, search=False)
    assert found.verdict == "unchecked"
    assert "no tensor of the model was found for layer_5_out" in found.sentence
