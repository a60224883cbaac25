"""Outputs alone, as another program wrote them: of layers, of blocks, under two names."""

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import probe
from probe.cli.main import command

X = np.random.default_rng(0).normal(size=(3, 4, 9, 8)).astype(np.float32)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.two(torch.relu(self.one(x))))


class Split(nn.Module):
    """A block of which two tensors are read outside."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        first = self.one(x)
        return first, torch.sigmoid(first)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(Block() for _ in range(8)))
        self.split = Split()
        self.head = nn.Sequential(nn.Conv2d(4, 3, 3), nn.ReLU())

    def forward(self, x):
        first, gate = self.split(self.blocks(x))
        return self.head(first * gate)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def arrays(net):
    """The outputs of blocks and layers with seven digits, as a text file holds them."""
    found = {}
    names = [f"blocks.{k}" for k in range(8)] + ["split.one", "head.0", "head"]
    modules = dict(net.named_modules())
    hooks = [
        modules[name].register_forward_hook(
            lambda module, given, output, name=name: found.update({name: output.numpy().copy()})
        )
        for name in names
    ]
    with torch.no_grad():
        net(torch.from_numpy(X))
    for hook in hooks:
        hook.remove()
    digits = np.vectorize(lambda value: float(f"{value:.6e}"), otypes=[np.float32])
    return {name: digits(array) for name, array in found.items()}


def test_arrays_of_seven_digits_agree(net, arrays):
    comparison = probe.compare(net, arrays, X)
    assert comparison.verdict == "agree", str(comparison)
    assert len(comparison.pairs) == len(arrays)


WRONG = {
    "turned": lambda y: y[..., ::-1],
    "of another channel": lambda y: np.roll(y, 1, 1),
    "a channel lost": lambda y: y * (np.arange(4) != 2)[:, None, None],
    "samples exchanged": lambda y: y[[1, 0, 2]],
    "a thousandth larger": lambda y: y * np.float32(1.001),
    "one value": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 70, y + 0.01, y),
}


@pytest.mark.exhaustive(default=4)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", ["blocks.5", "split.one"])
def test_a_wrong_array_is_the_one_source(net, arrays, name, wrong):
    """Deep in a net, where rounding before it may have come to much; and the layers behind it,
    which agree with the model's own input, are not blamed."""
    arrays[name] = np.ascontiguousarray(WRONG[wrong](arrays[name]), np.float32)
    comparison = probe.compare(net, arrays, X)
    assert comparison.verdict == "diverge"
    assert [one.b for one in comparison.sources] == [(name,)], str(comparison)


@pytest.mark.costly
def test_one_array_in_other_axes_than_the_rest(net):
    """On square maps its height and width may be exchanged without that its shape tells it."""
    x = np.ascontiguousarray(X[..., :8, :])
    names = [f"blocks.{k}.one" for k in range(8)]
    arrays = {name: probe.check(net, name, x).outputs["framework"].copy() for name in names}
    assert probe.compare(net, arrays, x).ok
    last = {name: array.transpose(0, 2, 3, 1).copy() for name, array in arrays.items()}
    assert probe.compare(net, last, x).ok
    for given, axes in ((arrays, (0, 1, 3, 2)), (last, (0, 2, 1, 3))):
        wrong = {**given, "blocks.5.one": given["blocks.5.one"].transpose(axes).copy()}
        comparison = probe.compare(net, wrong, x)
        assert [one.b for one in comparison.sources] == [("blocks.5.one",)], str(comparison)


@pytest.mark.parametrize("axes", ["0,1,3,2", "3,2,1,0"])
def test_arrays_that_agree_in_another_order_of_axes_are_noted(axes):
    """On tensors of equal lengths no shape tells it."""
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()).eval()
    x = np.ascontiguousarray(X[..., :4, :4])[[0, 1, 2, 0]] * np.arange(1, 5)[:, None, None, None]
    x = x.astype(np.float32)
    own = {name: probe.check(net, name, x).outputs["framework"] for name in ("0", "1")}
    arrays = {name: y.transpose([*map(int, axes.split(","))]).copy() for name, y in own.items()}
    for found in (probe.compare(net, arrays, x), probe.compare(arrays, net, x)):
        (note,) = found.notes
        assert found.ok and "the axes of 0, 1 are in another order than those of the model" in note
        assert note.endswith(f"compared as B = A.transpose({axes})")
        assert [one.axes for one in found.pairs] == [axes, axes]
    assert probe.compare(net, own, x).notes == ()


def test_the_axes_of_a_pair_are_those_of_b_in_a(net, arrays):
    last = {"blocks.0": arrays["blocks.0"].transpose(0, 2, 3, 1).copy()}
    assert probe.compare(net, last, X).pairs[0].axes == "0,2,3,1"
    assert probe.compare(last, net, X).pairs[0].axes == "0,3,1,2"


def test_two_names_of_one_tensor(net, arrays):
    arrays["head.1"] = arrays["head"].copy()
    assert probe.compare(net, arrays, X).ok
    arrays["head.1"] = np.clip(arrays["head"], 0, 0.1)
    comparison = probe.compare(net, arrays, X)
    assert comparison.verdict == "diverge" and len(comparison.sources) == 1
    assert "is the same tensor of the model" in str(comparison)


def test_a_layer_without_a_tensor_of_its_own_is_no_agreement(net, arrays):
    arrays["split"] = arrays["split.one"] - 1
    comparison = probe.compare(net, arrays, X)
    assert comparison.verdict == "unchecked"
    assert "no tensor of the model was found for split" in comparison.sentence


@pytest.mark.parametrize("first", [True, False], ids=["the arrays are A", "the arrays are B"])
def test_the_worst_element_says_whose_value_is_whose(net, arrays, first):
    arrays["head"] = arrays["head"].copy()
    arrays["head"][0, 0, 0, 0] = -50.0
    found = probe.compare(arrays, net, X) if first else probe.compare(net, arrays, X)
    (source,) = found.sources
    assert source.local.worst.values[0 if first else 1] == -50.0
    text = str(found)
    assert ("[0, 0, 0, 0] A -50, B on A's tensors " if first else ", B -50; allowed") in text
    assert ("A on B's tensors " in text) == (not first), text
    assert f"local: {'B' if first else 'A'}'s layers on " in text


@pytest.fixture(scope="module")
def dumped(tmp_path_factory):
    """A net with a PReLU and a pooling in a file, its input, and what its layers give."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(4, 6, 3, padding=1))
    net.add_module("prelu", nn.PReLU(6))
    net.add_module("pool", nn.MaxPool2d(2))
    net.add_module("head", nn.Conv2d(6, 3, 3))
    nn.init.uniform_(net.prelu.weight, 0.05, 0.4)
    folder = tmp_path_factory.mktemp("dumped")
    torch.save(net.eval(), folder / "net.pt")
    np.save(folder / "x.npy", X)
    names = ("conv", "prelu", "pool", "head")
    return folder, {name: probe.check(net, name, X).outputs["framework"] for name in names}


def compared_with(folder, arrays):
    """The command's text for arrays in a folder, in an .npz, and in one of other names."""
    place = folder / "dump"
    place.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(place / f"{name}.npy", array)
    np.savez(folder / "dump.npz", **arrays)
    np.savez(folder / "others.npz", **{f"{name}_out": array for name, array in arrays.items()})
    net, given = str(folder / "net.pt"), ["--input", str(folder / "x.npy"), "--trust"]
    others = str(folder / "pairs.json")
    (folder / "pairs.json").write_text(json.dumps({name: f"{name}_out" for name in arrays}))
    for side in (str(place), str(folder / "dump.npz")):
        yield CliRunner().invoke(command, ["compare", net, side, *given]).output
    other = ["compare", net, str(folder / "others.npz"), *given, "--pairs", others]
    yield CliRunner().invoke(command, other).output


def test_the_causes_of_a_check_and_a_command_that_shows_them(dumped):
    """Whose layer it is, with the values of that side: with an .npz where its names are layers."""
    folder, arrays = dumped
    low = (np.floor(arrays["prelu"] * 256) / 256).astype(np.float32)
    files = ["dump/prelu.npy", "dump.npz", None]
    for text, file in zip(compared_with(folder, arrays | {"prelu": low}), files, strict=True):
        told = " ".join(text.split())
        assert "the output has 8 fraction bits, rounded down (floor)" in told, text
        (line,) = re.findall(r"look closer: probe (\S+(?: -\S+(?: [^-\s]\S*)?)*)", told)
        words = line.split()
        assert ("--expect" in words) == (file is not None), text
        if file is not None:
            assert words[-1] == str(folder / file)
            again = CliRunner().invoke(command, words)
            assert again.exit_code == 1 and "8 fraction bits, rounded down" in again.output


def test_a_mean_for_a_maximum_is_named(dumped):
    folder, arrays = dumped
    net = torch.load(folder / "net.pt", weights_only=False)
    mean = nn.AvgPool2d(2)(torch.from_numpy(arrays["prelu"])).numpy()
    (source,) = probe.compare(net, arrays | {"pool": mean}, X).sources
    assert source.findings[0].claim == "AveragePool instead of MaxPool"


def test_the_pairs_of_other_names_are_those_of_a_and_b(dumped):
    """``--save-pairs`` writes what ``--pairs`` reads."""
    folder, arrays = dumped
    others = {f"{name}_out": array for name, array in arrays.items()}
    net = torch.load(folder / "net.pt", weights_only=False)
    for a, b in ((net, others), (others, net)):
        pairs = [pair.tensors for pair in probe.compare(a, b, X).pairs]
        assert len(pairs) == 4 and probe.compare(a, b, X, pairs=pairs).ok


@pytest.mark.parametrize(
    "changed", [lambda array: array[:0], lambda array: array > 0], ids=["empty", "bool"]
)
def test_arrays_that_hold_no_outputs(changed):
    linear = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    x = X[0, 0, :, :4]
    outputs = {"0": linear[0](torch.from_numpy(x)).detach().numpy()}
    outputs["1"] = np.maximum(outputs["0"], 0)
    wrong = {name: changed(array) for name, array in outputs.items()}
    assert probe.compare(linear, wrong, x).verdict in ("diverge", "unchecked")
    assert probe.compare(linear, outputs, x).verdict == "agree"


def test_a_square_map_with_its_channels_last_and_a_mistake(tmp_path):
    """Of the orders of axes that fit its shape the one that moves the channels, and the command
    that looks closer takes the values."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 8, 3, stride=2, padding=1).eval()
    torch.save(nn.Sequential(conv), tmp_path / "net.pt")
    x = np.random.default_rng(3).normal(size=(2, 2, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    padded = nn.functional.pad(torch.from_numpy(x), (0, 1, 0, 1))
    with torch.no_grad():
        wrong = nn.functional.conv2d(padded, conv.weight, conv.bias, stride=2).numpy()
    (tmp_path / "dump").mkdir()
    np.save(tmp_path / "dump" / "0.npy", wrong.transpose(0, 2, 3, 1))
    found = probe.compare(nn.Sequential(conv), tmp_path / "dump", x)
    (pair,) = found.pairs
    assert pair.axes == "0,2,3,1", found
    assert [finding.named for finding in pair.findings] == ["symmetric-padding"], found
    files = [str(tmp_path / name) for name in ("net.pt", "dump")]
    options = ["--trust", "--input", str(tmp_path / "x.npy")]
    text = CliRunner().invoke(command, ["compare", *files, *options, "--json", "-"]).output
    (line,) = json.loads(text)["pairs"][0]["commands"]
    assert line.endswith(f"--expect {tmp_path / 'dump' / '0.npy'}"), line
    closer = CliRunner().invoke(command, line.split()[1:])
    assert closer.exit_code == 1 and "symmetric-padding: padded 0 before" in closer.output


def test_the_verdict_names_the_ends_of_many_layers_in_a_row():
    """As the table does; joined, they were cut in the middle of a word."""
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Linear(5, 5), nn.GELU()) for _ in range(3))).eval()
    x = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    with torch.no_grad():
        last = net(torch.from_numpy(x)).numpy() + 1
    found = probe.compare({"2.1": last}, net, x)
    assert "B differs from A in 0.0 … 2.1 (6)" in found.sentence, found
