"""Runs in a child process: the engines, layers alone, replaced outputs, refusals and limits."""

import os
import platform
import signal
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from own_seed import RNG
from probe.adapters.tflite import run_in_child, run_limits
from repository import EXAMPLES
from tflite_files import FlatNode, FlatTensor, Net, built, one_op
from tflite_nets import integer_net, loop, streaming_net

import probe
from probe.errors import BadInput, CannotOpen, ForwardFailed, NotTrusted
from probe.process import limited_child

NAMES = ["net/conv", "net/depthwise", "net/mean", "net/mean_3"]
tflm = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="TFLM is not installed")
ENGINES = ["xnnpack", "optimised", "reference", pytest.param("tflm", marks=tflm)]
forks = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return str(integer_net(tmp_path_factory.mktemp("net") / "net.tflite"))


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine(net, engine):
    model = probe.open_model(net, engine=engine)
    reports = list(probe.sweep(model))
    assert [report.layer for report in reports] == NAMES  # the last of fused names, told apart
    assert {report.verdict for report in reports} == {"agree"}
    assert f"({engine} engine) on " in " ".join(str(reports[0]).split())
    assert ("TFLM" if engine == "tflm" else "LiteRT") in reports[0].framework


def test_another_machine(net, monkeypatch):
    """What rounds in kernels of its own is unchecked; the reference kernels are the same there."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for engine in ("xnnpack", "optimised"):
        for report in probe.sweep(probe.open_model(net, engine=engine)):
            assert report.verdict == "unchecked" and "on aarch64 is not known" in report.sentence
            assert report.framework.endswith(f"({engine} engine) on aarch64")
    assert all(report.ok for report in probe.sweep(probe.open_model(net, engine="reference")))


def test_layers_alone_give_what_they_give_in_the_model(net):
    for engine in ("xnnpack", "reference"):
        model = probe.open_model(net, engine=engine)
        captures = []
        model.run([RNG.integers(-128, 128, (1, 8, 8, 3))], None, captures.append)
        for capture in captures:
            alone = []
            model.run_alone(capture.layer, capture.inputs, alone.append)
            assert np.array_equal(alone[0].outputs[0], capture.outputs[0])


def test_the_kernel_that_ran_decides(net):
    """XNNPACK takes no HARD_SWISH: the optimised kernel ran it."""
    model = probe.open_model(net)
    values = model._runs.passed(model._feeds([np.zeros((1, 8, 8, 3))]), None)
    assert values.delegated == {3, 6, 8}
    notes = {report.layer: report.notes for report in probe.sweep(model)}
    assert not notes[NAMES[2]]
    assert notes[NAMES[3]] == (
        "XNNPACK does not take this operator: LiteRT's optimised kernel ran it",
    )


def test_blocks_and_segments(net):
    assert probe.check(net, "").ok and probe.check(net, ("net/conv", "net/mean")).ok


def test_the_rest_runs_on_values_put_in_place(net):
    model = probe.open_model(net)
    mine, seen = np.full((1, 8, 8, 5), 9, np.int8), {}

    def push(call):
        seen[call.layer] = call
        return (mine,) if call.layer == NAMES[0] else None

    outputs = model.run([np.zeros((1, 8, 8, 3))], None, push)
    alone = []
    model.run_alone(NAMES[1], [mine], alone.append)
    assert np.array_equal(seen[NAMES[1]].outputs[0], alone[0].outputs[0])
    assert np.array_equal(seen[NAMES[3]].outputs[0], outputs[0])
    mine[0, 0] += 1  # 1.2 and 1.0, of codes 10 and 9
    reals, swept = (mine - 4) * np.float32(0.2), {}
    for report in probe.sweep(model, replace={NAMES[0]: reals}):
        swept[report.layer] = report
    assert np.array_equal(swept[NAMES[1]].inputs[0], mine)


def test_real_numbers_are_quantised_and_codes_are_kept(net):
    model = probe.open_model(net)
    reals = RNG.normal(size=(1, 8, 8, 3)).astype(np.float32)
    codes = np.clip(np.rint(reals.astype(np.float64) / np.float32(0.05)) - 3, -128, 127)
    report = probe.check(model, NAMES[0], reals)
    assert "x quantised to int8 by its scale 0.05 and zero point -3" in report.how
    assert np.array_equal(report.inputs[0], codes)
    same = probe.check(model, NAMES[0], codes.astype(np.int64))
    assert np.array_equal(same.inputs[0], codes) and "quantised" not in same.how
    with pytest.raises(BadInput, match="takes int8, -128 to 127; you gave int64 from 0 to 200"):
        probe.check(model, NAMES[0], np.array([0, 200] * 96).reshape(1, 8, 8, 3))


def test_the_state_is_an_input_of_the_call(tmp_path):
    model = probe.open_model(streaming_net(tmp_path / "streaming.tflite"))
    reports = {report.layer: report for report in probe.sweep(model)}
    assert [*reports] == ["xh", "y"] and all(report.ok for report in reports.values())
    assert reports["xh"].inputs[1].tolist() == [[0.25, 0.25]]
    assert "its input h is a state of the model, as this pass read it" in reports["xh"].notes
    again = {report.layer: report for report in probe.sweep(model)}
    assert again["xh"].inputs[1].tolist() == [[0.25, 0.25]]  # each pass starts anew


def test_what_an_engine_refuses_runs_operator_by_operator(tmp_path):
    path = integer_net(tmp_path / "tile.tflite", tile=3)
    first, *others = probe.sweep(probe.open_model(path, engine="reference"))
    assert [report.verdict for report in others] == ["agree"] * 4
    assert first.verdict == "unchecked" and "reference does not run it: " in first.sentence
    assert "TILE" in first.sentence and "; --engine (engine=) chooses another" in first.sentence
    assert {report.verdict for report in probe.sweep(path)} == {"agree"}


@tflm
def test_what_comes_behind_values_put_in_place_runs_so_too():
    """TFLM has no GELU, which comes behind the first layer."""
    model = probe.open_model(EXAMPLES / "digits_int8.tflite", engine="tflm")
    image = np.load(EXAMPLES / "digits.npy")[:1]
    reports = {report.layer: report for report in probe.sweep(model, image)}
    first, second, *_ = reports
    halved = {first: reports[first].outputs["framework"] // 2}
    for report in probe.sweep(model, image, replace=halved):
        assert report.verdict == ("unchecked" if report.kind == "GELU" else "agree")
        if report.layer == second:
            assert np.array_equal(report.inputs[0], halved[first])


def test_a_refusal_of_everything_is_an_error(tmp_path):
    x, y = FlatTensor("x", (1, 4)), FlatTensor("y", (1, 4))
    one_op("RELU", [x], [y], version=99, path=tmp_path / "net.tflite")
    with pytest.raises(ForwardFailed, match=r"net.tflite fails: .*version '?99.*; --engine"):
        probe.check(str(tmp_path / "net.tflite"), "y")


@forks
def test_a_crash_is_a_sentence(net, monkeypatch):
    for number, words in (
        (signal.SIGSEGV, r"LiteRT .* \(xnnpack engine\) on .* running .* crashes \(SIGSEGV\)$"),
        (signal.SIGABRT, r"crashes \(SIGABRT\), or takes more than [\d,]+ MiB of memory$"),
    ):
        monkeypatch.setattr(run_in_child, "_ran", lambda job, end=number: os.kill(os.getpid(), end))
        with pytest.raises(ForwardFailed, match=words):
            probe.check(net, NAMES[0])


@forks
def test_outputs_that_change_with_the_tensors_kept_are_said(net, monkeypatch):
    """As LiteRT#413 reports nets where they do."""
    ran = run_in_child._ran

    def otherwise(job):
        found = ran(job)
        if not job.preserve:
            found.arrays = {at: array + 1 for at, array in found.arrays.items()}
        return found

    assert not any("capturing" in note for note in probe.check(net, NAMES[0]).notes)
    monkeypatch.setattr(run_in_child, "_ran", otherwise)
    (note,) = (note for note in probe.check(net, NAMES[0]).notes if "capturing" in note)
    assert note.startswith("capturing activations changes the result")


def test_where_nothing_forks_another_python_runs_it(net, monkeypatch):
    monkeypatch.setattr(limited_child, "_FORKS", False)
    assert probe.check(net, NAMES[0]).ok
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(run_in_child, "_CODE", crash)
    with pytest.raises(ForwardFailed, match=r"crashes \(exit status -11\)$"):
        probe.check(net, NAMES[0])


@forks
def test_a_loop_without_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(run_limits, "_LOOPING", 1.0)
    zero = np.zeros(1, np.float32)
    outputs = probe.open_model(loop(tmp_path / "ends.tflite")).run([zero], (), None)
    assert outputs[0].tolist() == [3]
    with pytest.raises(ForwardFailed, match=r"takes more than 1 s of processor time"):
        probe.open_model(loop(tmp_path / "endless.tflite", step=0)).run([zero], (), None)


@forks
def test_windows_in_columns_are_within_the_limit_of_memory(tmp_path, monkeypatch):
    """The optimised kernel copies each window of 16 by 16 by 16 numbers, 156 MiB in all; no file
    makes it copy more than the bound."""
    path = tmp_path / "net.tflite"
    tensors = [
        FlatTensor("x", (1, 115, 115, 16)),
        FlatTensor("w", data=RNG.normal(size=(1, 16, 16, 16)).astype(np.float32)),
        FlatTensor("b", data=np.zeros(1, np.float32)),
    ]
    options = ("Conv2DOptions", {"padding": 1, "strideW": 1, "strideH": 1})
    one_op("CONV_2D", tensors, [FlatTensor("y", (1, 100, 100, 1))], options, path=path)
    monkeypatch.setattr(run_limits, "most", lambda holds: 1 << 26)
    model = probe.open_model(path, engine="optimised")
    feeds = {0: np.zeros(tensors[0].shape, np.float32)}
    assert model._runs.passed(feeds, ()).arrays[3].shape == (1, 100, 100, 1)
    monkeypatch.setattr(run_limits, "_COLUMNS", 0)
    with pytest.raises(ForwardFailed, match="memory"):
        model._runs.passed(feeds, ())


@forks
def test_more_columns_than_the_bound_are_held(tmp_path):
    path, size = tmp_path / "net.tflite", (1, 1000, 1000, 1)
    tensors = [
        FlatTensor("x", size),
        FlatTensor("w", data=np.ones((1, 45, 45, 1), np.float32)),
        FlatTensor("b", data=np.zeros(1, np.float32)),
    ]
    options = ("Conv2DOptions", {"strideW": 1, "strideH": 1})
    one_op("CONV_2D", tensors, [FlatTensor("y", size)], options, path=path)
    model = probe.open_model(path, engine="optimised")
    assert run_limits.limits(model.flow.model, 0, False).memory < 6 << 30
    with pytest.raises(ForwardFailed, match="memory"):
        model._runs.passed({0: np.zeros(size, np.float32)}, ())


def test_subgraphs_that_run_others_without_a_bound_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(run_limits, "_DEEPEST", 1)
    with pytest.raises(CannotOpen, match="subgraphs that run others, more than 1 deep"):
        probe.open_model(loop(tmp_path / "net.tflite"))


def test_subgraphs_that_run_themselves_are_refused(tmp_path):
    x, y = FlatTensor("x", (1,)), FlatTensor("y", (1,))
    node = FlatNode(
        "WHILE", [0], [1], ("WhileOptions", {"condSubgraphIndex": 1, "bodySubgraphIndex": 1})
    )
    built(*[Net([x, y], [node], [0], [1])] * 2, path=tmp_path / "net.tflite")
    with pytest.raises(CannotOpen, match="has subgraphs that run themselves"):
        probe.open_model(tmp_path / "net.tflite")


def test_code_of_others_needs_trust(tmp_path):
    x, y = FlatTensor("x", (1, 4)), FlatTensor("y", (1, 4))
    node = FlatNode("CUSTOM", [0], [1], custom_code="FlexErf")
    path = tmp_path / "net.tflite"
    built(Net([x, y], [node], [0], [1]), path=path)
    with pytest.raises(NotTrusted, match=r"uses the custom operator 'FlexErf', .*--trust"):
        probe.open_model(path)
    assert [layer.kind for layer in probe.open_model(path, trust=True).layers] == ["FlexErf"]
    one_op("CONCAT_EMBEDDINGS", [x], [y], path=path)
    with pytest.raises(NotTrusted, match="uses the operator CONCAT_EMBEDDINGS"):
        probe.open_model(path)


def test_files_beside_it_need_trust(tmp_path):
    def change(model):
        group = schema.ExternalBufferGroupT()
        group.name = "/etc/passwd"
        model.externalBufferGroups = [group]

    x, y = FlatTensor("x", (1, 4)), FlatTensor("y", (1, 4))
    path = tmp_path / "net.tflite"
    built(Net([x, y], [FlatNode("RELU", [0], [1])], [0], [1]), path=path, change=change)
    with pytest.raises(NotTrusted, match="holds tensors in files beside it"):
        probe.open_model(path)


@tflm
def test_tflm_keeps_the_shapes_of_the_file(tmp_path):
    x = FlatTensor("x", (1, 4), signature=(-1, 4))
    y = FlatTensor("y", (1, 4), signature=(-1, 4))
    one_op("RELU", [x], [y], path=tmp_path / "net.tflite")
    model = probe.open_model(tmp_path / "net.tflite", engine="tflm")
    assert probe.check(model, "y").inputs[0].shape == (1, 4)
    words = r"TFLM runs a file in the shapes that it holds: 'x' takes .*: leave out the .*, x\[:1\]"
    with pytest.raises(BadInput, match=words):
        probe.check(model, "y", np.zeros((2, 4), np.float32))
    assert probe.check(str(tmp_path / "net.tflite"), "y").inputs[0].shape == (2, 4)


def test_a_signature_says_which_subgraph_runs(tmp_path):
    path, nets = tmp_path / "net.tflite", []
    for kind in ("Add", "Mul"):
        x, three, y = (
            FlatTensor("x", (2,)),
            FlatTensor("3", data=np.float32(3)),
            FlatTensor("y", (2,)),
        )
        node = FlatNode(kind.upper(), [0, 1], [2], (f"{kind}Options", {}))
        signatures = {kind.lower(): ({f"to_{kind.lower()}": 0}, {"result": 2})}
        nets.append(Net([x, three, y], [node], [0], [2], kind, signatures))
    built(*nets, path=path)
    for engine in ENGINES[:3]:
        model = probe.open_model(path, engine=engine, signature="mul")
        report = probe.check(model, "y", np.float32([1, 2]))
        assert report.ok and report.outputs["framework"].tolist() == [3, 6]
        assert model.inputs[0].name == "to_mul" and model.output_names() == ("result",)
    assert probe.open_model(path).notes == (
        "the signature 'add' is what runs; --signature (signature=) chooses another: 'mul'",
    )
    with pytest.raises(BadInput, match=r"has no signature 'div'; it has 'add', 'mul'$"):
        probe.open_model(path, signature="div")


def test_options_of_others_are_refused(net):
    with pytest.raises(BadInput, match="the engine must be one of xnnpack, optimised, reference"):
        probe.open_model(net, engine="ruy")
    for options in ({"device": "cuda"}, {"imports": ["torch"]}, {"factory": "a:b"}):
        with pytest.raises((BadInput, CannotOpen)):
            probe.open_model(net, **options)


def test_weights_that_nodes_compute_from_constants(tmp_path):
    """A kernel in float16 goes through DEQUANTIZE, which is no layer but what its weight is."""
    stored = RNG.normal(size=(3, 5)).astype(np.float16)
    tensors = [
        FlatTensor("x", (1, 5)),
        FlatTensor("kernel", dtype="float16", data=stored),
        FlatTensor("wide", (3, 5)),
        FlatTensor("y", (1, 3)),
        FlatTensor("sizes", (2,), "int32"),
        FlatTensor("again", (1, 3)),
    ]
    nodes = [
        FlatNode("DEQUANTIZE", [1], [2]),
        FlatNode("FULLY_CONNECTED", [0, 2, -1], [3], ("FullyConnectedOptions", {})),
        FlatNode("SHAPE", [3], [4], ("ShapeOptions", {"outType": 2})),
        FlatNode("RESHAPE", [3, 4], [5]),
    ]
    built(Net(tensors, nodes, [0], [5]), path=tmp_path / "net.tflite")
    model = probe.open_model(tmp_path / "net.tflite")
    assert [layer.name for layer in model.layers] == ["y", "again"]
    report = probe.check(model, "y", given=np.ones((2, 5), np.float32))
    weight = report.weights["kernel"]
    assert report.ok and np.array_equal(weight.stored, stored) and weight.effective.dtype == "f4"
    assert probe.check(model, "again", given=np.ones((1, 3), np.float32)).ok


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((8, 8, 1), r"add a batch axis, x\[None\]"),
        ((2, 1, 8, 8), r"move the channel axis, np.moveaxis\(x, 1, -1\)"),
        ((2, 64), r"reshape it, x.reshape\(2, 8, 8, 1\)"),
    ],
)
def test_what_does_not_run_is_held_against_the_declared_shape(shape, words):
    path = EXAMPLES / "digits_float.tflite"
    with pytest.raises(BadInput, match=rf"expects \(any, 8, 8, 1\); you gave .*: {words}"):
        probe.check(path, "", np.zeros(shape, np.float32))
