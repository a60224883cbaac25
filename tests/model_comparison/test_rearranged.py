"""Outputs in another order, weights in another layer's place, steps that one side does apart."""

import copy

import numpy as np
import pytest
import torch
from known_warnings import TORCH_EXPORT
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import probe

X = np.random.default_rng(0).normal(size=(2, 3, 9, 8)).astype(np.float32)


class Chain(nn.Module):
    """Two blocks of equal shapes on a stream, a normalisation that is used twice, and a head."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.scale = 3.0
        self.norm = nn.LayerNorm(8)
        self.one, self.two = (nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(2))
        self.third = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))
        self.again = False
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x).flatten(2).transpose(1, 2) * self.scale
        y = self.norm(x)
        x = x + self.one(y)
        x = x + self.two(self.norm(x) if self.again else y)
        return self.head(x + self.third(x))


@pytest.fixture(scope="module")
def chain():
    torch.manual_seed(0)
    made = Chain().eval()
    nn.init.uniform_(made.norm.weight, 0.5, 1.5)
    nn.init.normal_(made.norm.bias)
    return made


def sources(a, b, x=X):
    return [one.a for one in probe.compare(a, b, x).sources]


def rolled(layer):
    layer.weight.data, layer.bias.data = layer.weight.data.roll(1, 0), layer.bias.data.roll(1, 0)


@pytest.mark.parametrize("name", ["head", "one.0", "third.0"])
def test_rows_in_another_order_are_the_fault_of_their_layer(chain, name):
    """Not of what reads them; and the last layer's stay in that order."""
    other = copy.deepcopy(chain)
    rolled(other.get_submodule(name))
    assert sources(chain, other) == [(name,)]


def test_an_order_that_the_next_layer_undoes_is_no_fault(chain):
    other = copy.deepcopy(chain)
    rolled(other.third[0])
    other.third[2].weight.data = other.third[2].weight.data.roll(1, 1)
    assert probe.compare(chain, other, X).ok


@pytest.mark.costly
def test_weights_of_each_other_are_one_fault(chain):
    first = copy.deepcopy(chain)
    first.again = True  # else both read the same, and their sum is the same
    other = copy.deepcopy(first)
    other.one, other.two = other.two, other.one
    (source,) = probe.compare(first, other, X).sources
    assert source.b == ("one.0",)
    assert source.differs == (("layers", "one, two", "two, one"),)


def test_a_layer_that_reads_another_tensor_is_the_source(chain):
    other = copy.deepcopy(chain)
    other.again = True
    [source] = probe.compare(chain, other, X).sources
    assert source.a == ("norm",)
    assert any(name == "input" for name, *_ in source.differs)


def test_a_scale_of_the_stream_is_one_fault(chain):
    """Though all that reads the stream is off until the next layer of weights."""
    other = copy.deepcopy(chain)
    other.scale = 1.0
    assert len(sources(chain, other)) == 1


class Larger(nn.Module):
    def __init__(self, cuts):
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 3, 2, padding=0 if cuts else 1)
        self.back = nn.Conv2d(4, 3, 1)
        self.cuts = cuts

    def forward(self, x):
        y = self.up(x)
        return self.back(y[..., self.cuts, self.cuts] if self.cuts else y)


def larger():
    """The same layers, which crop within and apart."""
    torch.manual_seed(0)
    whole, apart = Larger(None).eval(), Larger(slice(1, -1)).eval()
    apart.load_state_dict(whole.state_dict())
    return whole, apart


@pytest.mark.costly
def test_a_crop_that_one_side_does_apart():
    whole, apart = larger()
    comparison = probe.compare(whole, apart, X)
    assert comparison.ok, str(comparison)
    assert comparison.pairs[0].b == ("up", "/slice"), str(comparison)
    rolled(apart.up)
    assert not probe.compare(whole, apart, X).ok


def test_a_crop_that_only_the_reference_does_apart():
    whole, apart = larger()
    comparison = probe.compare(apart, whole, X)
    assert comparison.ok, str(comparison)
    assert comparison.pairs[0].a == ("up", "/slice"), str(comparison)
    rolled(whole.up)
    assert not probe.compare(apart, whole, X).ok
    apart.cuts = slice(0, -2)
    whole.load_state_dict(apart.state_dict())
    assert not probe.compare(apart, whole, X).ok


def test_a_bias_that_is_added_where_an_axis_is_gone():
    """As tf2onnx writes a Conv1D."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(4, 3, 1, 3)), rng.normal(size=(1, 4, 1))
    constants = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["x", "axes"], ["image"]),
            helper.make_node("Conv", ["image", "kernel"], ["rows"], pads=[0, 1, 0, 1]),
            helper.make_node("Squeeze", ["rows", "axes"], ["line"]),
            helper.make_node("Add", ["line", "bias"], ["y"]),
        ],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4, 9])],
        [
            *(numpy_helper.from_array(one, name) for name, one in constants.items()),
            numpy_helper.from_array(np.array([2]), "axes"),
        ],
    )
    written = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    net = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.from_numpy(constants["kernel"][:, :, 0]))
        net[0].bias.copy_(torch.from_numpy(constants["bias"].ravel()))
    for a, b in ((written, net), (net, written)):
        comparison = probe.compare(a, b, X[:, :, :, 0])
        assert comparison.ok, str(comparison)
    with torch.no_grad():
        net[0].bias[1] += 0.01
    assert len(probe.compare(written, net, X[:, :, :, 0]).sources) == 1


def test_an_input_that_is_rounded_to_half_precision_is_no_source():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Sigmoid()).eval()
    half = copy.deepcopy(net).half()
    comparison = probe.compare(net, half, X, x_b=X.astype(np.float16))
    assert comparison.ok, str(comparison)
    half[0].weight.data[2] *= 1.01
    assert [one.b for one in probe.compare(net, half, X).sources] == [("0",)]


def test_a_crop_at_the_other_side_is_one_fault():
    whole, apart = larger()
    apart.cuts = slice(0, -2)
    comparison = probe.compare(whole, apart, X)
    assert [one.b for one in comparison.sources] == [("up", "/slice")], str(comparison)
    assert comparison.sources[0].findings[0].slug == "transpose-crop"


class Joined(nn.Module):
    """Three tensors, two of which are added and all joined."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 4, 1) for _ in range(3))
        self.added, self.order = ("one", "two"), ("one", "two", "three")

    def forward(self, x):
        made = {name: torch.relu(getattr(self, name)(x)) for name in ("one", "two", "three")}
        total = made[self.added[0]] + made[self.added[1]]
        return torch.cat([total, *(made[name] for name in self.order)], 1)


def test_what_is_added_and_in_which_order_it_is_joined_is_read():
    torch.manual_seed(0)
    net = Joined().eval()
    other = copy.deepcopy(net)
    other.added = ("one", "three")
    [source] = probe.compare(net, other, X).sources
    assert ("input", "/relu:1", "/relu:2") in source.differs
    other = copy.deepcopy(net)
    other.order = ("two", "one", "three")
    [source] = probe.compare(net, other, X).sources
    assert [name for name, *_ in source.differs] == ["order of inputs"]


class Shuffled(nn.Module):
    """Units that split their channels, change one half and shuffle both, as ShuffleNet's do."""

    def __init__(self, shuffles=("groups", "groups")):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.one, self.two = Unit(shuffles[0]), Unit(shuffles[1])
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x):
        return self.head(self.two(self.one(self.stem(x))))


class Unit(nn.Module):
    def __init__(self, shuffle):
        super().__init__()
        self.branch, self.shuffle = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Tanh()), shuffle

    def forward(self, x):
        kept, rest = x.chunk(2, dim=1)
        y = torch.cat((kept, self.branch(rest)), dim=1)
        n, c, h, w = y.shape
        if not self.shuffle:
            return y
        split = (2, c // 2) if self.shuffle == "groups" else (c // 2, 2)
        return y.view(n, *split, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize("shuffle", ["", "otherwise"])
def test_a_shuffle_of_channels_is_named_in_its_own_block(shuffle):
    """It moves elements and computes nothing, and everything behind it reads the wrong halves: one
    fault, where it is made."""
    torch.manual_seed(0)
    net = Shuffled().eval()
    port = Shuffled((shuffle, "groups")).eval()
    port.load_state_dict(net.state_dict())
    comparison = probe.compare(net, port, X)
    (source,) = comparison.sources
    assert "one/transpose" in source.a, str(comparison)
    assert ("one/transpose" in source.b) == bool(shuffle)
    assert probe.compare(net, copy.deepcopy(net), X).ok


class Biased(nn.Module):
    """Scores with a table of biases by distance that all blocks share, as T5 has."""

    def __init__(self, turned=False):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 2, 17), requires_grad=False)
        self.turned = turned
        self.blocks = nn.ModuleList(nn.Linear(8, 24) for _ in range(3))

    def forward(self, x):
        away = torch.arange(9)[:, None] - torch.arange(9)[None, :] + 8
        bias = self.table[:, :, away]
        bias = bias.transpose(2, 3) if self.turned else bias
        for block in self.blocks:
            q, k, v = (
                one.unflatten(-1, (2, 4)).transpose(1, 2) for one in block(x).chunk(3, dim=-1)
            )
            mixed = (q @ k.transpose(2, 3) + bias).softmax(-1) @ v
            x = x + mixed.transpose(1, 2).flatten(2)
        return x


def test_one_wrong_array_that_all_blocks_read_is_one_fault():
    """B's is A's with two axes exchanged, so that its numbers are A's in another order."""
    torch.manual_seed(0)
    net, port = Biased().eval(), Biased(turned=True).eval()
    port.load_state_dict(net.state_dict())
    x = np.random.default_rng(0).normal(size=(2, 9, 8)).astype(np.float32)
    comparison = probe.compare(net, port, x)
    assert len(comparison.sources) == 1, str(comparison)
    assert probe.compare(net, copy.deepcopy(net), x).ok


def test_a_hook_that_changes_an_output_is_a_difference_where_one_model_has_it():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    hooked = copy.deepcopy(net)
    hooked[0].register_forward_hook(lambda module, args, output: output * 2)
    x = X[:, 0, 0]
    for a, b in ((net, hooked), (hooked, net)):
        comparison = probe.compare(a, b, x)
        assert [one.b for one in comparison.sources] == [("0", "1")], str(comparison)
    assert probe.compare(hooked, copy.deepcopy(hooked), x).ok


class Turned(nn.Module):
    """Its output may be put in another order of axes."""

    def __init__(self, turn=lambda y: y):
        super().__init__()
        self.first, self.last, self.turn = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), turn

    def forward(self, x):
        return self.turn(self.last(torch.relu(self.first(x))))


@pytest.mark.parametrize("width", [8, 9])
@pytest.mark.parametrize("axes", [(0, 1, 3, 2), (0, 3, 2, 1), (0, 2, 3, 1)])
def test_an_output_in_another_order_of_axes(axes, width):
    torch.manual_seed(0)
    net, other = Turned().eval(), Turned(lambda y: y.permute(axes)).eval()
    other.load_state_dict(net.state_dict())
    comparison = probe.compare(net, other, np.resize(X, (2, 3, 9, width)))
    told = "output 0 of B is A's with the axes 0,2,3,1"
    assert comparison.ok == (axes == (0, 2, 3, 1)), "channels last, as the shape says"
    assert comparison.ok == (told in comparison.notes), str(comparison)


class Towers(nn.Module):
    """Scores of every row of one input against every row of the other, and of these turned."""

    def __init__(self, turned=False, exchanged=False):
        super().__init__()
        self.left, self.right = nn.Linear(6, 8), nn.Linear(5, 8)
        self.turned, self.exchanged = turned, exchanged

    def forward(self, x, y):
        scores = self.left(x) @ self.right(y).T
        scores = scores.T if self.turned else scores
        return (scores.T, scores) if self.exchanged else (scores, scores.T)


@pytest.mark.parametrize("options", [{"turned": True}, {"exchanged": True}])
def test_scores_turned_or_exchanged(options):
    torch.manual_seed(0)
    net, other = Towers().eval(), Towers(**options).eval()
    other.load_state_dict(net.state_dict())
    x = [X[0, 0, :4, :6].copy(), X[0, 1, :4, :5].copy()]
    assert probe.compare(net, copy.deepcopy(net), x).ok
    assert probe.compare(net, other, x).sources


def test_axes_of_one_size_are_in_the_frameworks_order():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5)).eval()
    other = copy.deepcopy(net)
    other[2].bias.data.mul_(-3)
    comparison = probe.compare(net, other, X[0, :2, :5, :5].copy())
    assert [one.b for one in comparison.sources] == [("2",)], str(comparison)


@pytest.mark.costly(default=1)
@pytest.mark.filterwarnings(*TORCH_EXPORT)
@pytest.mark.parametrize("dynamo", [False, True])
def test_attention_whose_projections_one_side_has_in_one(dynamo, tmp_path):
    """Its layers begin as copies of one another, with the same weights."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 16)
    file = tmp_path / "net.onnx"
    torch.onnx.export(net, (x,), str(file), dynamo=dynamo, opset_version=18, verbose=False)
    for a, b in ((str(file), net), (net, str(file))):
        comparison = probe.compare(a, b, x.numpy())
        assert comparison.ok, str(comparison)
    with torch.no_grad():
        net.layers[1].self_attn.in_proj_weight[20] *= 2
    (source,) = probe.compare(str(file), net, x.numpy()).sources
    assert "layers.1.self_attn" in source.b, source


class Enlarged(nn.Module):
    """A last step that only moves elements: channels to pixels, or all in one row."""

    def __init__(self, move):
        super().__init__()
        self.conv, self.move = nn.Conv2d(3, 12, 3), move

    def forward(self, x):
        return self.move(self.conv(x))


def depth_to_space(x):
    n, c, h, w = x.shape
    moved = x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(n, c // 4, 2 * h, 2 * w)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (lambda x: nn.functional.pixel_shuffle(x, 2), depth_to_space),
        (lambda x: x.flatten(1), lambda x: x.permute(0, 2, 3, 1).flatten(1)),
    ],
)
def test_a_last_step_that_moves_elements_to_other_places(right, wrong):
    net, other = Enlarged(right).eval(), Enlarged(wrong).eval()
    other.load_state_dict(net.state_dict())
    assert probe.compare(net, net, X).verdict == "agree"
    found = probe.compare(net, other, X)
    assert found.verdict == "diverge" and len(found.sources) == 1, found
    assert not found.sources[0].b[0].startswith("conv"), found


class Sequence(nn.Module):
    """A recurrence whose output has the batch or the time first."""

    def __init__(self, time_first=False):
        super().__init__()
        self.rnn, self.time_first = nn.GRU(3, 4, batch_first=True), time_first

    def forward(self, x):
        y = self.rnn(x)[0]
        return y.transpose(0, 1) if self.time_first else y


def test_an_output_with_the_time_first_is_another_interface():
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    net, other = Sequence().eval(), Sequence(True).eval()
    other.load_state_dict(net.state_dict())
    found = probe.compare(net, other, x)
    assert found.ok and any("axes 1,0,2" in note for note in found.notes), found
    other.rnn.bias_ih_l0.data[1] += 0.3
    assert probe.compare(net, other, x, search=False).verdict == "diverge"
    # of equal lengths nothing tells it from a mistake
    assert probe.compare(net, other, x[:, :2], search=False).verdict == "diverge"
