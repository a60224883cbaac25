"""The user's values in the place of layers' outputs: what follows runs on them, its effect is told,
and nothing of it stays."""

import copy
import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn.functional import gelu

import probe as library
from probe.errors import BadInput, ProbeError, UnknownLayer

X = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)


class Net(torch.nn.Module):
    """A block, a module that is called twice, a function and a layer with several outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = torch.nn.Linear(6, 6), torch.nn.ReLU()
        self.block = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.ReLU())
        self.lstm, self.head = torch.nn.LSTM(6, 4, batch_first=True), torch.nn.Linear(4, 3)

    def forward(self, x):
        y = self.act(self.fc(x))
        return self.head(self.lstm(gelu(self.act(y + self.block(y))))[0])


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


def unwrapped(text):
    return " ".join(text.split())


def own(model, layer, call=0):
    """What a call gives."""
    calls = []
    library.open_model(model).run((X,), {layer}, lambda capture: calls.append(capture))
    return calls[call].outputs


def after_block(net, values):
    with torch.no_grad():
        y = net.act(net.fc(torch.from_numpy(X)))
        return net.head(net.lstm(gelu(net.act(y + values)))[0]).numpy()


def test_what_follows_runs_on_them(net):
    """A block is in no row of a sweep, and is replaced all the same."""
    values = own(net, "block")[0] + np.float32(1)
    sweep = library.sweep(net, X, replace={"block": values})
    reports = {report.call_name: report for report in sweep}
    assert {report.verdict for report in reports.values()} == {"agree"}
    want = after_block(net, torch.from_numpy(values))
    assert np.array_equal(reports["head"].outputs["framework"], want)
    (change,) = sweep.effect.outputs
    before = net(torch.from_numpy(X)).detach().numpy()
    assert change.largest == np.abs(want - before).max() and change.rows == 6
    assert change.argmax_changed == (want.argmax(-1) != before.argmax(-1)).sum()
    alone = library.check(net, "head", X, replace={"block": values})
    assert alone.effect.sentence == sweep.effect.sentence
    assert alone.effect.sentence in unwrapped(str(alone))
    assert np.array_equal(alone.outputs["framework"], want)


@pytest.mark.parametrize(
    ("name", "layer", "call"),
    [
        ("fc", "fc", 0),
        ("act:1", "act", 1),
        ("/gelu", "/gelu", 0),
        ("block.0", "block.0", 0),
    ],
)
def test_the_layer_itself_is_told_as_replaced_and_agrees(net, name, layer, call):
    values = own(net, layer, call)[0] * np.float32(1.5)
    sweep = library.sweep(net, X, replace={name: values})
    reports = list(sweep)
    (told,) = [report for report in reports if report.replaced]
    assert (told.call_name, told.ok) == (name, True)
    assert told.replaced.startswith("by your values, at most ")
    assert all(report.ok for report in reports) and sweep.effect.outputs[0].largest > 0


def test_of_several_outputs_the_others_stay(net):
    hidden = own(net, "lstm")[1]
    sweep = library.sweep(net, X, replace={"lstm": [None, hidden + 1, None]})
    assert all(report.ok for report in sweep)
    assert "the model's output does not change" in sweep.effect.sentence


def test_a_container_is_not_checked_through_what_was_replaced(net):
    values = own(net, "block.0")[0] + np.float32(1)
    report = library.check(net, "block", X, replace={"block.0": values})
    assert report.verdict == "unchecked" and "'block.0'" in report.sentence
    assert np.array_equal(report.outputs["framework"], np.maximum(values, 0))


def test_an_output_that_is_its_input_written_over_is_replaced_there_too():
    class InPlace(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.act = torch.nn.Linear(6, 4), torch.nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.fc(x)
            return self.act(y) + y

    net = InPlace()
    values = np.full((2, 3, 4), 0.25, np.float32)
    report = library.check(net, "/add", X, replace={"act": values})
    assert np.array_equal(report.outputs["framework"], 2 * values)


@pytest.mark.parametrize(
    ("replace", "words"),
    [
        ({"fc": X[:1]}, "have the shape (1, 3, 6); the output that they replace has (2, 3, 6)"),
        ({"fc": X.transpose(1, 0, 2)}, "have the shape (3, 2, 6) in another order of axes"),
        ({"fc": np.where(X > 1, np.nan, X)}, "have nan at ["),
        ({"fc": X.astype(np.float64) * 1e60}, "beyond what float32 holds"),
        ({"act": X}, "'act' is called 2 times: give the number of the call"),
        ({"act:2": X}, "'act' is called 2 times; call 2 does not exist"),
        ({"fc": X, "fc:0": X}, "twice"),
        ({"lstm": [None, X]}, "the layer has 3 outputs; you gave 2"),
        ({"fx": X}, "did you mean 'fc'?"),
        ({"": X}, "nothing runs after the model as a whole"),
        ({}, "replace is empty"),
        ([X], "replace must map layer names"),
    ],
)
def test_refused_in_one_sentence(net, replace, words):
    with pytest.raises(ProbeError) as refused:
        library.sweep(net, X, replace=replace)
    assert words in str(refused.value)


def test_neither_a_recording_nor_a_layer_alone(net, tmp_path):
    recording = library.record(net, X, str(tmp_path / "run.npz"))
    with pytest.raises(BadInput, match="is a recording, whose layers cannot run on other values"):
        library.check(recording, "head", replace={"fc": X})
    with pytest.raises(BadInput, match=r"given .--expect-input. runs the layer alone"):
        library.check(net, "head", given=np.ones((2, 3, 4)), replace={"fc": X})


class Interrupted(torch.nn.Module):
    def forward(self, x):
        if float(x.sum()) > 1e3:
            raise KeyboardInterrupt
        return x


@pytest.mark.parametrize("ends", ["well", "interrupted"])
def test_nothing_stays_in_the_model(ends):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(3)
    net = torch.nn.Sequential(torch.nn.Linear(6, 6), norm, Interrupted(), torch.nn.Linear(6, 2))
    before = copy.deepcopy(net.state_dict())
    factor = 1e4 if ends == "interrupted" else 1
    run = lambda: library.check(net.eval(), "3", X, replace={"1": np.abs(X) * factor})  # noqa: E731
    if ends == "well":
        assert run().ok
    else:
        with pytest.raises(KeyboardInterrupt):
            run()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


def branching() -> onnx.ModelProto:
    """y = relu(x) + 1 where its sum is positive, and else - 1."""

    def branch(kind, name):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        node = helper.make_node(kind, ["h", "one"], [name], name=f"inner_{kind}")
        return helper.make_graph([node], name, [], [value])

    nodes = [
        helper.make_node("Relu", ["x"], ["h"], name="first"),
        helper.make_node("ReduceSum", ["h"], ["s"], keepdims=0, name="sum"),
        helper.make_node("Greater", ["s", "zero"], ["c"], name="positive"),
        helper.make_node(
            *("If", ["c"], ["y"]),
            name="if",
            then_branch=branch("Add", "t"),
            else_branch=branch("Sub", "e"),
        ),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 3]) for name in "xy")
    held = [
        numpy_helper.from_array(np.float32(value), name)
        for name, value in (("one", 1), ("zero", 0))
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_graph_of_onnx_goes_on_from_them():
    x = np.ones((2, 3), np.float32)
    sweep = library.sweep(branching(), x, replace={"first": -2 * x})
    reports = {report.layer: report for report in sweep}
    assert all(report.ok for report in reports.values())
    assert np.array_equal(reports["if"].outputs["framework"], -3 * x)
    assert "changes by at most 5, at [0, 0] from 2 to -3" in sweep.effect.sentence
    other = library.sweep(branching(), x, replace={"positive": np.array(False)})
    assert np.array_equal(list(other)[-1].outputs["framework"], 0 * x)
    with pytest.raises(BadInput, match=r"have 0.5 at \[\], which bool"):
        library.sweep(branching(), x, replace={"positive": np.array(0.5)})
    with pytest.raises(BadInput, match="'inner_Add' is inside the If 'if'"):
        library.sweep(branching(), x, replace={"inner_Add": x})
    with pytest.raises(UnknownLayer):
        library.sweep(branching(), x, replace={"nothing": x})


@pytest.fixture
def files(tmp_path):
    (tmp_path / "net.onnx").write_bytes(branching().SerializeToString())
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "mine.npy", np.full((2, 3), -2.0))
    (tmp_path / "mine.txt").write_text("\n".join(["-2"] * 6))
    return tmp_path


def test_from_the_command_line(probe, files):
    model, given = files / "net.onnx", ("--input", files / "x.npy")
    effect = (
        "effect: with your values of 'first' (at most 3 from its output, at [0, 0]), the model's"
    )
    for name in ("mine.npy", "mine.txt"):
        asked = ("--replace", f"first={files / name}", "--json", files / "told.json")
        status, out, err = probe(model, "--all", *given, *asked)
        assert (status, err) == (0, "") and effect in unwrapped(out)
        assert "; replaced by your values" in unwrapped(out)
        told = json.loads((files / "told.json").read_text())
        assert told["effect"]["outputs"][0]["largest"] == 5
        assert [report["layer"] for report in told["reports"] if report["replaced"]] == ["first"]
        status, out, _ = probe(model, "--layer", "if", *given, *asked)
        assert status == 0 and effect in unwrapped(out)
        assert out.splitlines()[-3].startswith("agree: ")
        assert out.endswith(f"\n\nwritten: {files / 'told.json'}\n")
    for wrong, words in (
        ("first", "'first' is not LAYER=FILE, such as conv2d=mine.npy"),
        (f"frst={files / 'mine.npy'}", "did you mean 'first'?"),
        (f"first={files / 'none.npy'}", "none.npy does not exist"),
    ):
        status, out, err = probe(model, "--all", *given, "--replace", wrong)
        assert (status, out, err.count("\n")) == (2, "", 1) and words in err


def test_in_a_comparison_they_are_no_difference(probe, files):
    torch.manual_seed(1)
    a = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4)).eval()
    b = copy.deepcopy(a)
    x = X[0]
    right = library.check(a, "0", x).outputs["framework"]
    for values in ({"replace": {"0": right + 1}}, {"replace_b": {"0": right + 1}}):
        found = library.compare(a, b, x, **values)
        assert found.ok and not found.sources, str(found)
        (pair,) = [pair for pair in found.pairs if pair.replaced]
        assert "0" in pair.a and "was replaced by your values" in str(pair.notes)
        side = "replace_b" in values
        assert found.effect[not side] is None and "output changes by" in found.effect[side].sentence
        assert found.effect[side].sentence in unwrapped(str(found))
    b[2].weight.data[1] *= 2
    found = library.compare(a, b, x, replace={"0": right + 1})
    assert [pair.b for pair in found.sources] == [("2",)]
    model = files / "net.onnx"
    told = (model, model, "--input", files / "x.npy", "--replace", f"first={files / 'mine.npy'}")
    status, out, _ = probe("compare", *told)
    assert status == 0 and "effect on A: with your values of 'first'" in unwrapped(out)
    with pytest.raises(BadInput, match="contains only arrays, so no layer runs on other values"):
        library.compare(a, {"0": right}, x, replace_b={"0": right})


def test_a_layer_in_one_pair_with_a_replaced_one_is_not_compared():
    torch.manual_seed(2)
    convolution, norm = torch.nn.Conv1d(3, 4, 3), torch.nn.BatchNorm1d(4)
    torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    head = torch.nn.Conv1d(4, 2, 1)
    a = torch.nn.Sequential(convolution, norm, head).eval()
    b = torch.nn.Sequential(torch.nn.utils.fuse_conv_bn_eval(convolution, norm), head).eval()
    values = {"0": np.ones((2, 4, 4), np.float32)}
    assert library.compare(a, b, X).ok and library.compare(a, a, X, replace=values).ok
    b[0].bias.data[1] += 0.3
    found = library.compare(a, b, X, replace=values)
    assert found.verdict == "unchecked" and "1 of A was not compared" in found.sentence, str(found)
