"""Models that take other inputs or give other outputs than each other: another interface is told
and is no fault, what lies behind it is located, and what was really exchanged is found."""

import copy

import numpy as np
import onnx
import pytest
import torch
from known_warnings import TORCH_EXPORT
from own_seed import RNG
from torch import nn

import probe


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def seeded(kind, *arguments):
    torch.manual_seed(0)
    return kind(*arguments).eval()


def exported(net, inputs, names, outputs, path):
    torch.onnx.export(
        *(net, tuple(map(torch.tensor, inputs)), str(path)),
        dynamo=False,
        input_names=names,
        output_names=outputs,
    )
    return str(path)


def reordered(path, to, inputs=(), outputs=()):
    """The same file with its inputs or outputs in another order."""
    model = onnx.load(path)
    for order, values in ((inputs, model.graph.input), (outputs, model.graph.output)):
        by_name = {value.name: value for value in values}
        chosen = [by_name[name] for name in order or by_name]
        del values[:]
        values.extend(chosen)
    onnx.save(model, to)
    return str(to)


def sources(comparison):
    return [source.b for source in comparison.sources]


class Scores(nn.Module):
    """Of queries against keys, which have equal shapes."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.out = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(5, 3)

    def forward(self, q, k):
        return self.out(torch.tanh(self.q(q) @ self.k(k).transpose(-1, -2)))


@pytest.mark.filterwarnings(*TORCH_EXPORT)
def test_inputs_in_another_order_are_paired_by_name(tmp_path):
    net, (q, k) = seeded(Scores), (array(2, 5, 6), array(2, 5, 6))
    first = exported(net, [q, k], ["q", "k"], ["y"], tmp_path / "first.onnx")
    second = reordered(first, tmp_path / "second.onnx", inputs=["k", "q"])
    for a, b, x in (
        (first, second, {"q": q, "k": k}),
        (first, second, [q, k]),
        (net, second, [q, k]),
        (net, second, {"k": k, "q": q}),
        (second, net, [k, q]),
    ):
        comparison = probe.compare(a, b, x)
        assert comparison.ok, str(comparison)
        by_place = isinstance(x, list)
        assert comparison.inputs == ("B's inputs are A's inputs 1, 0, paired by name",) * by_place
    faulty = copy.deepcopy(net)
    faulty.k.bias.data += 0.3
    assert sources(probe.compare(second, faulty, [k, q])) == [("k",)]
    mixed = exported(net, [q, k], ["k", "q"], ["y"], tmp_path / "mixed.onnx")
    assert probe.compare(first, mixed, {"q": q, "k": k}).sources, "the exporter took q for k"


class Embedded(nn.Module):
    def __init__(self, time_first):
        super().__init__()
        self.conv, self.time, self.time_first = nn.Conv2d(3, 8, 3), nn.Linear(4, 8), time_first

    def forward(self, first, second):
        x, time = (second, first) if self.time_first else (first, second)
        return torch.relu(self.conv(x) + self.time(time)[:, :, None, None])


@pytest.mark.filterwarnings(*TORCH_EXPORT)
def test_inputs_without_common_names_are_paired_by_shape(tmp_path):
    net, other = seeded(Embedded, False), seeded(Embedded, True)
    x = [array(2, 3, 7, 8), array(2, 4)]
    file = exported(other, x[::-1], ["time", "sample"], ["y"], tmp_path / "net.onnx")
    for b in (other, file):
        comparison = probe.compare(net, b, x)
        assert comparison.ok, str(comparison)
        assert comparison.inputs == ("B's inputs are A's inputs 1, 0, paired by shape",)
    other.time.weight.data[1] *= 1.5
    assert sources(probe.compare(net, other, x)) == [("time",)]


class Heads(nn.Module):
    """One output of a shape of its own and two of equal shapes."""

    def __init__(self, given=lambda *outputs: outputs):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.contour, self.note, self.onset = nn.Linear(8, 5), nn.Linear(8, 2), nn.Linear(8, 2)
        self.given = given

    def forward(self, x):
        hidden = torch.relu(self.body(x))
        heads = (self.contour, self.note, self.onset)
        return self.given(*(torch.sigmoid(head(hidden)) for head in heads))


X = array(4, 6)


@pytest.mark.filterwarnings(*TORCH_EXPORT)
def test_outputs_in_another_order_are_paired_by_name_or_by_what_they_hold(tmp_path):
    net, names = seeded(Heads), ["contour", "note", "onset"]
    file = exported(net, [X], ["x"], names, tmp_path / "net.onnx")
    turned = reordered(file, tmp_path / "turned.onnx", outputs=["onset", "contour", "note"])
    second = reordered(file, tmp_path / "second.onnx", outputs=["contour", "onset", "note"])
    last_first = seeded(Heads, lambda contour, note, onset: (onset, contour, note))
    for a, b, order in (
        (file, turned, "2, 0, 1, paired by name"),
        (file, second, "0, 2, 1, paired by name"),
        (net, turned, "2, 0, 1, paired by what they hold"),
        (net, last_first, "2, 0, 1, paired by what they hold"),
    ):
        comparison = probe.compare(a, b, X)
        assert comparison.ok, str(comparison)
        assert comparison.notes == (f"B's outputs are A's outputs {order}",)
    values = {"/Relu": probe.check(file, "/Relu", X).outputs["numpy"] + 1}
    comparison = probe.compare(file, second, X, replace=values, replace_b=values)
    assert comparison.ok and "0, 2, 1, paired by name" in str(comparison.notes), str(comparison)
    last_first.note.weight.data[0] *= 1.5
    assert sources(probe.compare(net, last_first, X)) == [("note",)]


@pytest.mark.filterwarnings(*TORCH_EXPORT)
def test_outputs_that_were_exchanged_are_one_source(tmp_path):
    net, names = seeded(Heads), ["contour", "note", "onset"]
    file = exported(net, [X], ["x"], names, tmp_path / "net.onnx")
    mixed = exported(net, [X], ["x"], ["contour", "onset", "note"], tmp_path / "mixed.onnx")
    exchanged = seeded(Heads, lambda contour, note, onset: (contour, onset, note))
    for a, b, orders in (
        (file, mixed, ("2, 1", "1, 2")),
        (net, exchanged, ("1, 2", "2, 1")),
    ):
        (source,) = probe.compare(a, b, X).sources
        assert source.differs == (("outputs", *orders),)
        assert any("they are exchanged" in note for note in source.notes)


class Recurrent(nn.Module):
    """Takes a state as one array or as two, and gives what ``given`` makes of output and state."""

    def __init__(self, given):
        super().__init__()
        self.enter, self.lstm = nn.Linear(5, 6), nn.LSTM(6, 7, batch_first=True)
        self.out, self.given = nn.Linear(7, 2), given

    def forward(self, x, *state):
        if len(state) == 1:
            state = state[0][:1], state[0][1:]
        y, (h, c) = self.lstm(torch.relu(self.enter(x)), tuple(state))
        return self.given(torch.sigmoid(self.out(y)), h, c)


def apart(y, h, c):
    return y, h, c


GIVEN = {
    "joined": (lambda y, h, c: (y, torch.cat([h, c])), "1 of {} is {}'s outputs 1 and 2, stacked"),
    "stacked": (
        lambda y, h, c: (y, torch.stack([h, c], -1)),
        "1 of {} is {}'s outputs 1 and 2, stacked on axis 3",
    ),
    "in one": (
        lambda y, h, c: torch.cat([y.flatten(1), h[0], c[0]], 1),
        "0 of {} is {}'s outputs 0, 1 and 2, joined on axis 1",
    ),
    "summed": (lambda y, h, c: (y, h + c), "1 of {} is the sum of {}'s outputs 1 and 2"),
    "the last": (lambda y, h, c: (y[:, -1:], h, c), "0 of {} is {}'s output 0 at [:, 8]"),
    "cut": (lambda y, h, c: (y[:, 2:6], h, c), "0 of {} is {}'s output 0 at [:, 2:6]"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_outputs_that_are_made_of_the_others(name):
    given, told = GIVEN[name]
    net, other = seeded(Recurrent, apart), seeded(Recurrent, given)
    x, h, c = array(2, 9, 5), array(1, 2, 7), array(1, 2, 7)
    two, one = [x, h, c], [x, np.concatenate([h, c])]
    forth, back = probe.compare(net, other, two, x_b=one), probe.compare(other, net, one, x_b=two)
    assert forth.ok and back.ok, f"{forth}{back}"
    assert any(told.format("B", "A") in note for note in forth.notes), forth.notes
    assert any(told.format("A", "B") in note for note in back.notes), back.notes
    assert not any((*forth.unpaired, *back.unpaired))
    for layer, weight in (("lstm", "bias_hh_l0"), ("out", "bias"), ("enter", "bias")):
        faulty = copy.deepcopy(other)
        getattr(faulty.get_submodule(layer), weight).data[1] += 0.2
        for comparison in (
            probe.compare(net, faulty, two, x_b=one, search=False),
            probe.compare(faulty, net, one, x_b=two, search=False),
        ):
            (source,) = comparison.sources
            assert layer in source.b and source.differs[0][0].startswith("bias"), str(comparison)


def test_a_state_of_zeros_in_one_array_or_in_two():
    net = seeded(Recurrent, lambda y, h, c: (y, torch.cat([h, c])))
    other = seeded(Recurrent, apart)
    x, h = array(2, 9, 5), np.zeros((1, 2, 7), np.float32)
    inputs = {"x": [x, np.concatenate([h, h])], "x_b": [x, h, h]}
    assert probe.compare(net, other, **inputs).ok
    other.lstm.bias_hh_l0.data[8] += 0.1
    assert sources(probe.compare(net, other, **inputs)) == [("lstm",)]


def test_outputs_of_other_shapes_that_are_none_of_the_others_are_a_fault():
    net = seeded(Recurrent, apart)
    other = seeded(Recurrent, lambda y, h, c: (y[:, -1:] * 2, h, c))
    x = [array(2, 9, 5), array(1, 2, 7), array(1, 2, 7)]
    assert probe.compare(net, other, x, search=False).sources


@pytest.mark.parametrize("more", [lambda y: y.softmax(-1), lambda y: y.sum(), torch.ones_like])
def test_what_one_model_gives_beside_the_others_outputs(more):
    net, other = seeded(Heads, lambda x, y, z: y), seeded(Heads, lambda x, y, z: (y, more(y)))
    told = "A gives 1 output and B 2 outputs: what the others hold is not compared"
    comparison = probe.compare(net, other, X)
    assert comparison.ok and comparison.notes == (told,), str(comparison)
    assert probe.compare(other, net, X).ok
    third = seeded(Heads, lambda x, y, z: (y, 2 * more(y)))
    comparison = probe.compare(other, third, X, search=False)
    differs = "output 1, which no layer makes in A and B, has other values in B than in A"
    assert bool(comparison.sources) != any(differs in note for note in comparison.notes)
    assert comparison.verdict == "diverge"


TABLE = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.mark.parametrize(
    "table", [TABLE + 0.3, -TABLE, TABLE * 0, TABLE * float("nan"), TABLE.T.contiguous()]
)
def test_a_table_among_the_outputs_is_compared(table):
    net, other = (seeded(Heads, lambda x, y, z, t=t: (y, t)) for t in (TABLE, table))
    comparison = probe.compare(net, other, X)
    assert comparison.verdict == "diverge" and "output 1" in comparison.sentence, str(comparison)
    for same in (TABLE.half(), TABLE.bfloat16(), TABLE.double(), TABLE[None]):
        right = seeded(Heads, lambda x, y, z, same=same: (y, same))
        assert probe.compare(net, right, X).ok
    assert probe.compare(net, other, X, rtol=0.0, atol=3.0).ok == bool(torch.isfinite(table).all())


def test_a_part_beside_something_else_of_the_size_of_the_rest_is_not_compared():
    def joined(x, y, z):
        return torch.cat([y, z], 1)

    width = seeded(Heads, lambda x, y, z: y)(torch.from_numpy(X)).shape[1]

    def apart(x, y, z):
        return -y, z

    def moved(x, y, z):
        return torch.cat([y, z], 1).roll(width // 2 or 1, 1)

    net = seeded(Heads, joined)
    assert probe.compare(net, seeded(Heads, lambda x, y, z: (y, z)), X).ok
    assert not probe.compare(net, seeded(Heads, apart), X, search=False).ok
    assert not probe.compare(seeded(Heads, apart), net, X, search=False).ok
    assert not probe.compare(seeded(Heads, lambda x, y, z: (y, z)), seeded(Heads, moved), X).ok


def test_an_output_of_zeros_in_the_place_of_a_layers_is_a_fault():
    net = seeded(Heads, lambda x, y, z: (y, z))
    other = seeded(Heads, lambda x, y, z: (y, torch.zeros_like(z)))
    assert probe.compare(net, other, X).verdict == "diverge"
    assert probe.compare(other, net, X).verdict == "diverge"
    assert probe.compare(seeded(Heads, lambda x, y, z: (y, x)), other, X).verdict == "diverge"


class Pictures(nn.Module):
    """Takes normalised arrays, channels first, or pictures that it normalises itself."""

    def __init__(self, scale=None, reverses=False):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 5)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        self.scale, self.reverses = scale, reverses

    def forward(self, x):
        if self.scale is not None:
            x = (x.float().permute(0, 3, 1, 2) / self.scale - 0.45) / 0.226
            x = x.flip(1) if self.reverses else x
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def pictures():
    """(pictures, the same normalised)"""
    pixels = np.random.default_rng(0).integers(0, 256, size=(2, 9, 8, 3)).astype(np.uint8)
    scaled = pixels.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
    return pixels, (scaled - np.float32(0.45)) / np.float32(0.226)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_preprocessing_in_one_of_the_models(pictures, kind):
    pixels, x = pictures[0].astype(kind), pictures[1]
    net, own = seeded(Pictures), seeded(Pictures, 255.0)
    forth, back = probe.compare(net, own, x, x_b=pixels), probe.compare(own, net, pixels, x_b=x)
    assert forth.ok and back.ok, f"{forth}{back}"
    assert [note for note in forth.notes if "inputs of its own" in note] == [
        "B has inputs of its own: input 0 of B, of shape (2, 9, 8, 3), is no tensor of A; input 0 "
        "of A is what /div:1 of B gives"
    ]
    assert "B has inputs of its own: input 0 of B is what /div:1 of A gives" in back.notes
    for layer in ("conv", "head"):
        for kind, given in ((own, {"x": x, "x_b": pixels}), (net, {"x": pixels, "x_b": x})):
            faulty = copy.deepcopy(kind)
            faulty.get_submodule(layer).bias.data[1] += 0.3
            a = net if kind is own else own
            assert sources(probe.compare(a, faulty, **given, search=False)) == [(layer,)]


def test_faults_of_the_preprocessing(pictures):
    pixels, x = pictures
    net, other = seeded(Pictures), seeded(Pictures, 256.0)
    (source,) = probe.compare(net, other, x, x_b=pixels).sources
    assert "/div" in source.b and "conv" not in source.b
    assert "times 0.996094" in source.findings[0].claim
    (source,) = probe.compare(other, net, pixels, x_b=x).sources
    assert source.b == ("input 0",) and "times 1.00392" in source.findings[0].claim
    reversing = seeded(Pictures, 255.0, True)
    (source,) = probe.compare(net, reversing, x, x_b=pixels, search=False).sources
    assert "/slice" in source.b or "/flip" in source.b
    (source,) = probe.compare(net, net, x, x_b=0.99 * x).sources
    assert source.b == ("input 0",) and "times 0.99" in source.findings[0].claim
    faulty = copy.deepcopy(net)
    faulty.conv.bias.data[1] += 0.3
    assert sources(probe.compare(net, faulty, x, x_b=0.99 * x)) == [("input 0",), ("conv",)]


class Stream(nn.Module):
    """Samples behind those that came before them, put together here or by the caller."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(1, 6, 5, stride=2), nn.Conv1d(6, 4, 3)

    def forward(self, x, context=None):
        x = x if context is None else torch.cat([context, x], 1)
        return self.second(torch.relu(self.first(x[:, None])))


@pytest.mark.parametrize("zeros", [False, True])
def test_an_input_that_the_other_model_puts_together_itself(zeros):
    net, x = seeded(Stream), array(2, 64)
    context = array(2, 8) * (not zeros)
    whole = np.concatenate([context, x], 1)
    for a, b in (([x, context], whole), (whole, [x, context])):
        assert probe.compare(net, net, a, x_b=b).ok
        for layer in ("first", "second"):
            faulty = copy.deepcopy(net)
            faulty.get_submodule(layer).bias.data[1] += 0.3
            assert sources(probe.compare(net, faulty, a, x_b=b, search=False)) == [(layer,)]


def test_weights_that_make_up_for_each_other_are_no_fault_and_told():
    """As where ranges of channels were equalised between two layers."""
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU()))
    other = copy.deepcopy(net)
    factors = torch.linspace(0.5, 3, 8)
    other[0].weight.data *= factors[:, None]
    other[0].bias.data *= factors
    other[2].weight.data /= factors
    comparison = probe.compare(net, other, X)
    assert comparison.ok, str(comparison)
    assert any("0, 1 of B gives other values than 0, 1 of A" in note for note in comparison.notes)
    other[2].bias.data[1] += 0.3
    assert probe.compare(net, other, X, search=False).sources


class Frames(nn.Module):
    """A convolution of each image of a sequence, with the channels in front of each or last."""

    def __init__(self, last=False):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3), last

    def forward(self, x):
        if self.last:
            x = x.permute(0, 1, 4, 2, 3)
        return self.conv(x.flatten(0, 1))


class Pieces(nn.Module):
    """Two tables, of different lengths, that take the same shape of numbers."""

    def __init__(self, words_first=True):
        super().__init__()
        self.words, self.kinds = nn.Embedding(50, 4), nn.Embedding(2, 4)
        self.words_first = words_first

    def forward(self, first, second):
        words, kinds = (first, second) if self.words_first else (second, first)
        return torch.tanh(self.words(words) + self.kinds(kinds))


def test_a_sequence_of_images_with_the_channels_last():
    x = np.random.default_rng(0).normal(size=(2, 4, 7, 9, 3)).astype(np.float32)
    found = probe.compare(seeded(Frames, True), seeded(Frames), x)
    assert found.ok, found
    assert any("axes 0,1,4,2,3" in words for words in found.inputs), found.inputs


def test_inputs_on_which_b_fails_in_their_places_are_tried_in_other_ones():
    words, kinds = np.array([[7, 49, 3], [20, 48, 2]]), np.array([[0, 1, 1], [1, 0, 1]])
    found = probe.compare(seeded(Pieces), seeded(Pieces, False), (words, kinds))
    assert found.ok, found
    assert any("A's inputs 1, 0" in sentence for sentence in (*found.notes, *found.inputs)), found


class _Named(torch.nn.Module):
    """Two outputs in a dict, in either order."""

    def __init__(self):
        super().__init__()
        self.boxes, self.scores, self.turned = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3), False

    def forward(self, x):
        outputs = {"boxes": self.boxes(x), "scores": self.scores(x)}
        return dict(reversed(outputs.items())) if self.turned else outputs


def test_outputs_in_a_dict_have_its_names():
    torch.manual_seed(0)
    net, x = _Named().eval(), np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    model = probe.open_model(net)
    model.run([x], None, lambda capture: None)
    assert model.output_names() == ("boxes", "scores")
    turned = copy.deepcopy(net)
    turned.turned = True
    found = probe.compare(net, turned, x)
    assert found.ok and found.notes == ("B's outputs are A's outputs 1, 0, paired by name",)
