"""Exported programs, node by node, and the parameters of TorchScript."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from known_warnings import TORCH_JIT
from torch import nn

import probe
from probe.errors import CannotOpen, NotTrusted

pytestmark = pytest.mark.filterwarnings(
    "ignore:The tensor attributes self.layer._flat_weights:UserWarning",
    *TORCH_JIT,
)
X = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.act(self.norm(self.conv(x))) + x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.head = Block(), nn.Linear(3, 5)

    def forward(self, x):
        y = self.block(F.interpolate(x, scale_factor=2.0, mode="bilinear"))
        first, second = F.avg_pool2d(y, 3, 2).chunk(2, 2)
        y = F.layer_norm(first[:, :, :3] + second, (7,)).amax((2, 3))
        return F.softmax(self.head(y), -1) * torch.arange(5)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    torch.export.save(
        torch.export.export(
            net, (torch.from_numpy(X),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        ),
        path,
    )
    return path


def test_a_program_is_swept_node_by_node(path):
    model = probe.open_model(path, trust=True)
    assert [(one.name, one.shape, one.dtype) for one in model.inputs] == [
        ("x", (None, 3, 8, 8), "float32")
    ]
    reports = list(probe.sweep(model, X))
    assert [one.layer for one in reports] == [one.name for one in model.layers] and all(
        one.checkable for one in model.layers
    )
    assert [one.layer for one in reports][:5] == [
        "/resize",
        "block.conv/conv",
        "block.norm/batchnormalization",
        "block.act/relu",
        "block/add",
    ]
    assert [one.layer for one in reports][-3:] == ["head/gemm", "/softmax", "/mul"]
    assert all(one.ok for one in reports), "\n".join(str(one) for one in reports if not one.ok)
    assert list(reports[1].weights) == ["weight", "bias"]


def test_one_node_by_name(path, net):
    report = probe.check(path_model := probe.open_model(path, trust=True), "block/add", X)
    assert (
        report.ok and report.kind == "aten.add.Tensor" and probe.check(path_model, "head/gemm").ok
    )
    live = probe.check(net, "block/add", X)
    np.testing.assert_array_equal(live.outputs["framework"], report.outputs["framework"])


def test_a_live_program_and_what_it_takes(net, path):
    program = torch.export.export(net, (torch.from_numpy(X),))
    assert probe.check(program, "block.conv/conv", X).ok
    with pytest.raises(NotTrusted, match="--trust"):
        probe.open_model(path)
    (path.parent / "broken.pt2").write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(CannotOpen, match=r"broken\.pt2"):
        probe.open_model(path.parent / "broken.pt2", trust=True)


def test_torchscript_gives_its_parameters_to_a_factory(net, tmp_path):
    torch.jit.trace(net.block, torch.from_numpy(X)).save(tmp_path / "block.pt")
    with pytest.raises(
        NotTrusted,
        match=(r"TorchScript, whose code runs when it is opened: give --trust .*--factory"),
    ):
        probe.open_model(tmp_path / "block.pt", factory=Block)
    model = probe.open_model(tmp_path / "block.pt", factory=Block, trust=True)
    report = probe.check(model, "conv", X)
    assert report.ok
    np.testing.assert_array_equal(
        report.weights["weight"].stored, net.block.conv.weight.detach().numpy()
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
        nn.LSTM(3, 4, bias=False, batch_first=True),
        nn.GRU(3, 4, 2),
        nn.RNN(3, 4, nonlinearity="relu", bidirectional=True),
    ],
    ids=["projected", "plain", "gru", "rnn"],
)
def test_recurrences_are_functions_with_all_their_parameters(layer):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)

    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    program = torch.export.export(Holder().eval(), (torch.from_numpy(x),))
    (report,) = probe.sweep(program, x)
    assert report.ok and not report.missing, str(report)
    assert set(report.weights) == {name for name, _ in layer.named_parameters()}


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), slice(None), [-2]),
        (slice(None), torch.tensor([1, 0, 1])),
        (slice(None), torch.tensor([1, 0]), slice(None), torch.tensor([2, 2])),
        (torch.tensor([True, False, True]),),
    ],
    ids=["last", "second", "two apart", "truths"],
)
def test_none_in_an_index_is_the_whole_axis(key):
    """Where Python's own is a new axis."""

    class Indexed(nn.Module):
        def forward(self, x):
            return x[key] + 1

    x = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    program = torch.export.export(Indexed().eval(), (torch.from_numpy(x),))
    reports = list(probe.sweep(program, x))
    assert reports and all(one.ok for one in reports), [str(one) for one in reports if not one.ok]
