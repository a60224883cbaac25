"""Whole models held against each other: what agrees, where a fault is made, and why."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import probe
from probe.cli.main import command


class Block(torch.nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(width, 2 * width, 3, stride, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(2 * width)
        self.relu = torch.nn.ReLU()
        self.conv2 = torch.nn.Conv2d(2 * width, 2 * width, 3, 1, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(2 * width)
        self.short = torch.nn.Conv2d(width, 2 * width, 1, stride)
        self.adds = True

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.short(x)) if self.adds else self.relu(y)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.act = torch.nn.ReLU()
        self.pool = torch.nn.MaxPool2d(2)
        self.one = Block(6, 1)
        self.two = Block(12, 2)
        self.mean = torch.nn.AdaptiveAvgPool2d(1)
        self.head = torch.nn.Linear(24, 7)

    def forward(self, x):
        x = self.two(self.one(self.pool(self.act(self.stem(x)))))
        return torch.softmax(self.head(torch.flatten(self.mean(x), 1)), -1)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = Net().eval()
    for one in made.modules():
        if isinstance(one, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(one.running_mean, 0, 0.2)
            torch.nn.init.uniform_(one.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(one.weight, 0.5, 1.5)
            torch.nn.init.normal_(one.bias, 0, 0.2)
    return made


X = np.random.default_rng(0).normal(size=(2, 3, 16, 12)).astype(np.float32)


def exported(module, path, fold):
    options = (
        {}
        if fold
        else {
            "do_constant_folding": False,
            "training": torch.onnx.TrainingMode.PRESERVE,
        }
    )
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(module, torch.tensor(X), path, dynamo=False, **options)
    return str(path)


def test_a_model_agrees_with_itself(net):
    comparison = probe.compare(net, net, X)
    assert comparison.verdict == "agree" and comparison.ok
    assert not comparison.sources and not any(comparison.unpaired)
    assert all(one.local.ok and one.propagated.ok for one in comparison.pairs)
    assert len(comparison.pairs) == 22


@pytest.mark.parametrize("fold", [False, True])
def test_an_export_agrees_folded_or_not(net, tmp_path, fold):
    comparison = probe.compare(net, exported(net, tmp_path / "net.onnx", fold), X)
    assert comparison.ok, str(comparison)
    assert not any(comparison.unpaired)
    both = [one for one in comparison.pairs if {"one.conv1", "one.bn1"} <= {*one.a}]
    assert bool(both) == fold
    assert sum(one.how == "weights" for one in comparison.pairs) >= 7


def test_the_other_way_round(net, tmp_path):
    comparison = probe.compare(exported(net, tmp_path / "net.onnx", True), net, X)
    assert comparison.ok, str(comparison)
    assert not any(comparison.unpaired)


@pytest.mark.parametrize("folded_first", [False, True])
def test_a_normalization_that_is_nearly_the_identity(tmp_path, folded_first):
    """Of a network that was never trained: by 5e-6, which rounding may do to a sum of 576 terms."""
    torch.manual_seed(0)
    layers = [
        layer
        for width in (3, 64, 64)
        for layer in (
            torch.nn.Conv2d(width, 64, 3, bias=False),
            torch.nn.BatchNorm2d(64),
            torch.nn.ReLU(),
        )
    ]
    net = torch.nn.Sequential(*layers).eval()
    pair = [net, exported(net, tmp_path / "net.onnx", True)]
    comparison = probe.compare(*pair[:: -1 if folded_first else 1], X)
    assert comparison.ok and not any(comparison.unpaired), str(comparison)
    assert len(comparison.pairs) == 6


def faulty(net, fault):
    other = copy.deepcopy(net)
    fault(other)
    return other


def scaled_row(net):
    net.one.conv2.weight.data[3] *= 1.3


def one_weight(net):
    net.two.conv1.weight.data[1, 2, 0, 1] += 0.5


def other_epsilon(net):
    net.one.bn1.eps = 1e-2


def other_pool(net):
    net.pool = torch.nn.AvgPool2d(2)


def no_activation(net):
    net.act = torch.nn.Identity()


def leaky(net):
    net.act = torch.nn.LeakyReLU(0.1)


def no_bias(net):
    net.stem.bias.data[:] = 0


def no_shortcut(net):
    net.two.adds = False


def other_mean(net):
    net.two.bn2.running_mean += 0.3


def turned_kernel(net):
    net.two.conv2.weight.data = net.two.conv2.weight.data.flip(2, 3)


def turned_head(net):
    net.head.weight.data = net.head.weight.data.flip(1)


FAULTS = {
    scaled_row: ("one.conv2", "weight"),
    one_weight: ("two.conv1", "weight"),
    other_epsilon: ("one.bn1", "epsilon"),
    other_pool: ("pool", "steps"),
    no_activation: ("act", "steps"),
    leaky: ("act", "steps"),
    no_bias: ("stem", "bias"),
    no_shortcut: ("two.relu:1", "steps"),
    other_mean: ("two.bn2", "mean"),
    turned_kernel: ("two.conv2", "weight"),
    turned_head: ("head", "weight"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
def test_a_fault_is_the_one_source_and_read(net, fault):
    layer, field = FAULTS[fault]
    comparison = probe.compare(net, faulty(net, fault), X)
    assert comparison.verdict == "diverge"
    assert len(comparison.sources) == 1, str(comparison)
    source = comparison.sources[0]
    assert layer in source.b or layer in source.a, str(comparison)
    assert any(name.startswith(field) for name, *_ in source.differs), source.differs


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=3)
@pytest.mark.parametrize(
    "fault",
    [scaled_row, one_weight, other_epsilon, other_pool, other_mean, turned_kernel, turned_head],
    ids=lambda one: one.__name__,
)
def test_a_fault_in_a_folded_export(net, tmp_path, fault):
    path = exported(faulty(net, fault), tmp_path / "net.onnx", True)
    comparison = probe.compare(net, path, X)
    assert len(comparison.sources) == 1, str(comparison)
    assert FAULTS[fault][0] in comparison.sources[0].a


def test_two_faults_are_two_sources(net):
    other = faulty(faulty(net, scaled_row), other_mean)
    comparison = probe.compare(net, other, X)
    assert [one.b for one in comparison.sources] == [("one.conv2",), ("two.bn2",)]
    assert "1.3 times" in " ".join(comparison.sources[0].notes)


def test_an_epsilon_is_proven_by_transplanting_it(net):
    comparison = probe.compare(net, faulty(net, other_epsilon), X)
    source = comparison.sources[0]
    assert source.differs[0] == ("epsilon", 1e-05, 1e-02)
    assert any("with B's epsilon give" in note for note in source.notes)
    assert not source.propagated.ok
    assert source.local.worst.values[0] != source.local.worst.values[1]


def test_a_missing_shortcut_names_what_is_left_out(net):
    comparison = probe.compare(net, faulty(net, no_shortcut), X)
    assert "two/add" in comparison.sources[0].a


def test_named_arrays_are_a_side(net, tmp_path):
    names = ["stem", "pool", "one.conv1", "two.bn2", "head"]
    arrays = {one: probe.check(net, one, X).outputs["framework"] for one in names}
    np.savez(tmp_path / "mine.npz", **arrays)
    comparison = probe.compare(net, str(tmp_path / "mine.npz"), X)
    assert comparison.ok, str(comparison)
    assert {one.how for one in comparison.pairs} == {"name"}
    assert {one.tensors[0] for one in comparison.pairs} == {*names}
    assert comparison.unpaired == (("/softmax",), ())


def test_a_wrong_step_of_a_trace_is_the_source_and_not_what_follows(net):
    calls = []
    probe.open_model(net).run((X,), None, calls.append)
    arrays = {f"{one.layer}:{one.call}" if one.call else one.layer: one.outputs[0] for one in calls}
    good = dict(arrays)
    assert probe.compare(net, good, X).ok
    other = faulty(net, other_epsilon)
    calls.clear()
    probe.open_model(other).run((X,), None, calls.append)
    bad = {f"{one.layer}:{one.call}" if one.call else one.layer: one.outputs[0] for one in calls}
    comparison = probe.compare(net, bad, X)
    assert [one.a for one in comparison.sources] == [("one.bn1",)]


def test_a_tensor_that_is_other_in_the_file_only_accuses_nothing_behind_it(net):
    names = ["stem", "act", "pool", "one.conv1"]
    arrays = {one: probe.check(net, one, X).outputs["framework"] for one in names}
    arrays["pool"] = arrays["pool"] * 1.01
    comparison = probe.compare(net, arrays, X)
    assert [one.a for one in comparison.sources] == [("pool",)]


def test_given_pairs_and_unknown_names(net):
    comparison = probe.compare(net, net, X, pairs={"pool": "pool"})
    assert [one.how for one in comparison.pairs if one.a == ("pool",)] == ["given"]
    with pytest.raises(probe.ProbeError, match="no layer 'pol'"):
        probe.compare(net, net, X, pairs={"pol": "pool"})


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ({"pairs": [1]}, "a pair is a layer of A and a layer of B; you gave 1"),
        (3, "pairs are names of layers of A and of B; you gave 3"),
        ([True, False], "a pair is a layer of A and a layer of B; you gave True"),
        (["ab"], "a pair is a layer of A and a layer of B; you gave 'ab'"),
        ([["stem", 1]], "a pair is a layer"),
        ([["pool", "stem"], ["stem", "pool"]], "stem comes before pool in A, but pool after stem"),
        ("[" * 100_000, "cannot be read as JSON: it is nested too deeply"),
    ],
)
def test_pairs_that_are_none(net, tmp_path, pairs, words):
    given = tmp_path / "pairs.json"
    given.write_text(pairs if isinstance(pairs, str) else json.dumps(pairs))
    for one in (given, *([] if isinstance(pairs, str) else [pairs])):
        with pytest.raises(probe.ProbeError) as error:
            probe.compare(net, net, X, pairs=one)
        assert words in str(error.value)


def test_pairs_of_unlike_shapes_and_of_one_layer_to_several(net):
    """Neither crosses: what they say is compared."""
    other = faulty(net, other_epsilon)
    assert not probe.compare(net, other, X, pairs=[["head", "stem"]]).ok
    assert probe.compare(net, net, X, pairs=[["stem", "stem"], ["act", "act"]]).ok


def test_pairs_given_many_times(net):
    """The work does not grow with the square of them."""
    pairs = [["stem", "stem"], ["pool", "pool"]]
    told = probe.compare(net, net, X, pairs=pairs * 50_000)
    assert told.ok and str(told) == str(probe.compare(net, net, X, pairs=pairs))


def test_arrays_on_both_sides_are_refused():
    with pytest.raises(probe.ProbeError, match="contain only arrays"):
        probe.compare({"x": X}, {"x": X})


def test_assert_same(net):
    assert probe.assert_same(net, net, X) is None
    with pytest.raises(AssertionError, match=r"one\.bn1"):
        probe.assert_same(net, faulty(net, other_epsilon), X)


def test_forms(net):
    comparison = probe.compare(net, faulty(net, other_epsilon), X)
    told = json.loads(comparison.to_json())
    assert told["verdict"] == "diverge" and told["pairs"][0]["a"] == ["stem"]
    assert "<table" in comparison.to_html() and "one.bn1" in comparison.to_html()
    text = str(comparison)
    assert "source: one.bn1 of B" in text and max(map(len, text.splitlines())) <= 100
    assert "one.bn1" in repr(comparison)
    assert "in units of the allowance" in text


def test_a_command_of_both_sides_is_given_once(net, tmp_path):
    file = tmp_path / "net.pt"
    file.touch()
    comparison = probe.compare(net, faulty(net, other_epsilon), X)
    told = " ".join(str(replace(comparison, opened=((str(file),), (str(file),)))).split())
    assert told.count("look closer: probe ") == 1


@pytest.mark.costly
def test_the_command(net, tmp_path):
    a = exported(net, tmp_path / "a.onnx", True)
    b = exported(faulty(net, other_pool), tmp_path / "b.onnx", True)
    np.save(tmp_path / "x.npy", X)

    def run(*arguments):
        return CliRunner().invoke(command, ["compare", *map(str, arguments)])

    same = run(a, a, "--input", tmp_path / "x.npy", "--save-pairs", tmp_path / "pairs.json")
    assert same.exit_code == 0, same.output
    assert json.loads((tmp_path / "pairs.json").read_text(encoding="utf-8"))["pairs"]
    again = run(a, a, "--input", tmp_path / "x.npy", "--pairs", tmp_path / "pairs.json")
    assert again.exit_code == 0, again.output
    found = run(a, b, "--input", tmp_path / "x.npy", "--json", "-")
    assert found.exit_code == 1
    assert sum(one["source"] for one in json.loads(found.output)["pairs"]) == 1
    told = " ".join(run(a, b, "--input", tmp_path / "x.npy").output.split())
    closer = re.findall(r"look closer: probe (\S+ --layer \S+ --input \S+)", told)
    assert len(closer) == 2, told
    for one in closer:
        assert CliRunner().invoke(command, one.split()).exit_code == 0, one


class Square(torch.nn.Module):
    """Kernels, maps and channels of one size, where the order of axes shows in the values alone."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(8, 8, 3, padding=1)
        self.middle = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = torch.nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.first(x)
        return x + self.last(torch.relu(self.middle(x)))


def test_a_fault_in_square_maps_turns_no_axes():
    torch.manual_seed(0)
    net = Square().eval()
    other = copy.deepcopy(net)
    other.middle.weight.data = net.middle.weight.data.transpose(2, 3).contiguous()
    x = np.random.default_rng(3).normal(size=(1, 8, 8, 8)).astype(np.float32)
    comparison = probe.compare(net, other, x)
    assert [one.b for one in comparison.sources] == [("middle",)], str(comparison)
    assert comparison.sources[0].axes == ""
    assert "B's are A's with two axes exchanged" in comparison.sources[0].notes


def test_an_epsilon_that_rounding_hides_is_told(net):
    other = copy.deepcopy(net)
    other.one.bn1.eps = 1.0001e-5
    comparison = probe.compare(net, other, X)
    assert comparison.ok
    told = [one for one in comparison.pairs if one.differs]
    assert [one.b for one in told] == [("one.bn1",)]
    assert told[0].differs == (("epsilon", 1e-5, 1.0001e-5),)
    assert any("hidden by rounding on this input" in one for one in comparison.notes)
    assert not any(one.differs for one in probe.compare(net, net, X).pairs)


class Ends(torch.nn.Module):
    """Two heads on one body; ``given`` makes the outputs of (hidden, first, second)."""

    def __init__(self, given):
        super().__init__()
        self.body, self.first, self.second = (
            torch.nn.Linear(6, 8),
            torch.nn.Linear(8, 3),
            torch.nn.Linear(8, 3),
        )
        self.given = given

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return self.given(hidden, self.first(hidden), self.second(hidden))


ENDS = {
    "softmax left out": (lambda h, a, b: a.softmax(-1), lambda h, a, b: a),
    "softmax computed and not given": (
        lambda h, a, b: a.softmax(-1),
        lambda h, a, b: (a.softmax(-1), a)[1],
    ),
    "outputs exchanged": (lambda h, a, b: (a, b), lambda h, a, b: (b, a)),
    "one output twice": (lambda h, a, b: (a, b), lambda h, a, b: (a, a)),
    "what stands before the head": (lambda h, a, b: a, lambda h, a, b: h),
    "a step more": (lambda h, a, b: a, lambda h, a, b: torch.relu(a)),
}


@pytest.mark.parametrize("name", ENDS)
def test_outputs_that_are_other_tensors_of_the_model(name):
    """Each tensor of B has its equal in A, but for what is given in the end."""
    right, wrong = (Ends(one).eval() for one in ENDS[name])
    wrong.load_state_dict(right.state_dict())
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    assert probe.compare(right, right, x).ok
    comparison = probe.compare(right, wrong, x, search=False)
    assert comparison.verdict == "diverge" and comparison.sources, str(comparison)


def test_outputs_that_are_not_as_many_or_of_another_shape_are_told():
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    both, one = Ends(lambda h, a, b: (a, b)).eval(), Ends(lambda h, a, b: a).eval()
    one.load_state_dict(both.state_dict())
    assert any("gives 2 outputs and B 1" in note for note in probe.compare(both, one, x).notes)
    flat = Ends(lambda h, a, b: a.flatten()).eval()
    flat.load_state_dict(both.state_dict())
    notes = probe.compare(one, flat, x).notes
    assert "output 0 has the shape (4, 3) in A and (12,) in B" in notes


def test_a_bias_behind_a_reshape_belongs_to_its_product():
    """As TensorFlow's exporter writes a Dense layer on more than two axes."""

    class Flat(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.weight, self.bias = layer.weight, layer.bias

        def forward(self, x):
            y = x.reshape(-1, x.shape[-1]) @ self.weight.T
            return torch.relu(y.reshape(*x.shape[:-1], -1) + self.bias)

    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 4)
    nets = [torch.nn.Sequential(layer, torch.nn.ReLU()).eval(), Flat(layer).eval()]
    x = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    for a, b in (nets, nets[::-1]):
        comparison = probe.compare(a, b, x)
        assert comparison.ok and not any(comparison.unpaired), str(comparison)


def test_a_call_without_outputs_of_its_own():
    net = torch.nn.Linear(5, 4).eval()

    class Mapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return torch.vmap(self.net)(x)

    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert probe.compare(net, Mapped().eval(), x).verdict in ("agree", "unchecked")


class Whole(torch.nn.Module):
    """A layer, or a recurrence, of a whole sequence, and a head."""

    def __init__(self, kind):
        super().__init__()
        made = getattr(torch.nn, kind)
        self.layer = made(5, 6) if kind == "Linear" else made(5, 6, batch_first=True)
        self.head = torch.nn.Linear(6, 3)

    def forward(self, x):
        made = self.layer(x)
        return self.head(made if torch.is_tensor(made) else made[0])


class Steps(torch.nn.Module):
    """The same step by step, with the weights of the other."""

    def __init__(self, whole, kind):
        super().__init__()
        self.kind, self.head = kind, whole.head
        self.step = whole.layer if kind == "Linear" else getattr(torch.nn, f"{kind}Cell")(5, 6)
        if kind != "Linear":
            held = whole.layer.state_dict()
            self.step.load_state_dict({name: held[f"{name}_l0"] for name in self.step.state_dict()})

    def forward(self, x):
        state, out = None, []
        for t in range(x.shape[1]):
            if self.kind == "Linear":
                out.append(self.step(x[:, t]))
                continue
            state = self.step(x[:, t], state)
            out.append(state[0] if self.kind == "LSTM" else state)
        return self.head(torch.stack(out, 1))


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("kind", ["Linear", "RNN", "GRU", "LSTM"])
def test_a_layer_on_the_whole_and_on_parts_of_it(kind):
    torch.manual_seed(0)
    whole = Whole(kind).eval()
    steps = Steps(whole, kind).eval()
    x = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    for a, b in ((whole, steps), (steps, whole)):
        comparison = probe.compare(a, b, x)
        assert comparison.ok and not any(comparison.unpaired), str(comparison)
    wrong = Steps(whole, kind).eval()
    wrong.step = copy.deepcopy(wrong.step)
    next(wrong.step.parameters()).data[2, 1] += 0.5
    comparison = probe.compare(whole, wrong, x)
    assert comparison.verdict == "diverge", str(comparison)
    assert any("step" in name for name in comparison.sources[0].b), str(comparison)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_less_precise_model_may_be_the_first(dtype):
    """It rounds its input, which the second does not."""
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.BatchNorm2d(6)
    net = torch.nn.Sequential(conv, norm, torch.nn.ReLU(), torch.nn.Conv2d(6, 4, 3)).eval()
    half = copy.deepcopy(net).to(dtype)
    for a, b in ((net, half), (half, net)):
        assert probe.compare(a, b, X[:, :, :8, :8]).ok
    wrong = copy.deepcopy(net)
    wrong[0].weight.data[1, 0, 1, 1] += 0.1
    assert probe.compare(half, wrong, X[:, :, :8, :8]).verdict == "diverge"
