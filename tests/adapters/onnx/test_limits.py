"""ONNX models that would not end or fill the memory are refused before they run; those that only
look so are not."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import probe
from probe.errors import BadInput, CannotOpen, ForwardFailed

VALUE = helper.make_tensor_value_info


def saved(path, nodes, constants=None, shape=(2, 4), functions=(), output="y"):
    held = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in (constants or {}).items()
    ]
    graph = helper.make_graph(nodes, "g", [VALUE("x", 1, shape)], [VALUE(output, 1, None)], held)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=opsets, functions=functions), path
    )
    return path


def loop(count, ends=False, inside=(), name="v"):
    """A Loop of so many rounds (or of as many as it likes), whose condition may end it."""
    last = (
        helper.make_node("Less", ["i", "limit"], ["go_on"])
        if ends
        else helper.make_node("Identity", ["go"], ["go_on"])
    )
    limit = helper.make_node(
        "Constant", [], ["limit"], value=numpy_helper.from_array(np.array(3, np.int64))
    )
    inputs = [
        VALUE("i", TensorProto.INT64, []),
        VALUE("go", TensorProto.BOOL, []),
        VALUE("v", 1, [2, 4]),
    ]
    nodes = [limit, last, *(inside or [helper.make_node("Relu", ["v"], ["w"])])]
    body = helper.make_graph(
        nodes, "body", inputs, [VALUE("go_on", TensorProto.BOOL, []), VALUE("w", 1, [2, 4])]
    )
    return helper.make_node("Loop", [count, "true", name], ["w" if name == "v" else "y"], body=body)


@pytest.mark.parametrize(
    ("node", "ends"),
    [
        (loop("", name="x"), False),
        (loop("many", name="x"), False),
        (loop("some", name="x", inside=[loop("some")]), False),
        (loop("three", name="x"), True),
        (loop("", ends=True, name="x"), True),
        (loop("many", ends=True, name="x"), True),
    ],
)
def test_loops_that_do_not_end(tmp_path, node, ends):
    constants = {
        "many": np.array(1 << 40),
        "some": np.array(10_000),
        "three": np.array(3),
        "true": np.array(True),
    }
    path = saved(tmp_path / "loop.onnx", [node], constants)
    if ends:
        probe.open_model(path).run([np.ones((2, 4), np.float32)], (), lambda _: None)
        return
    with pytest.raises(CannotOpen, match="would not finish"):
        probe.open_model(path)


def test_functions_that_unfold_without_end(tmp_path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]

    def function(name, *calls):
        nodes = [
            helper.make_node(call, ["a" if not i else f"b{i}"], [f"b{i + 1}"], domain="own")
            for i, call in enumerate(calls)
        ]
        nodes = nodes or [helper.make_node("Relu", ["a"], ["b0"])]
        return helper.make_function("own", name, ["a"], [nodes[-1].output[0]], nodes, opsets)

    call = [helper.make_node("F0", ["x"], ["y"], domain="own")]
    doubling = [function(f"F{i}", *[f"F{i + 1}"] * 2) for i in range(40)] + [function("F40")]
    for functions in (doubling, [function("F0", "F0")]):
        with pytest.raises(CannotOpen, match="after its functions are inlined"):
            probe.open_model(saved(tmp_path / "f.onnx", call, functions=functions))
    assert probe.open_model(
        saved(tmp_path / "f.onnx", call, functions=[function("F0", "F1", "F1"), function("F1")])
    ).names()


def test_a_loop_in_a_function(tmp_path):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    held = {"many": np.array(1 << 40), "true": np.array(True)}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
        for name, value in held.items()
    ]
    function = helper.make_function(
        "own", "F", ["x"], ["y"], [*constants, loop("many", name="x")], opsets
    )
    path = saved(
        tmp_path / "f.onnx",
        [helper.make_node("F", ["x"], ["y"], domain="own")],
        functions=[function],
    )
    with pytest.raises(CannotOpen, match="would not finish"):
        probe.open_model(path)


def test_operators_that_nobody_has(tmp_path):
    path = saved(tmp_path / "n.onnx", [helper.make_node("Nonsense", ["x"], ["y"], domain="own")])
    with pytest.raises(CannotOpen, match="no operators of the domain 'own'"):
        probe.open_model(path)


def test_tensors_that_fill_the_memory(tmp_path):
    expand = [helper.make_node("Expand", ["x", "s"], ["y"])]
    with pytest.raises(CannotOpen, match="could exhaust memory"):
        probe.open_model(saved(tmp_path / "e.onnx", expand, {"s": np.array([1 << 27, 2, 4])}))
    assert probe.check(
        saved(tmp_path / "e.onnx", expand, {"s": np.array([5, 2, 4])}), "Expand_0"
    ).ok
    large = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["t", "x"], ["y"]),
    ]
    assert probe.open_model(saved(tmp_path / "l.onnx", large, shape=(4, 6000))).names(), (
        "scores of 6,000 by 6,000 are no harm"
    )


def test_weights_beside_the_model(tmp_path):
    path = saved(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"w": np.ones((4, 3), np.float32)},
    )
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert probe.check(path, "MatMul_0").ok and probe.open_model(path).other_files == (
        str(tmp_path / "weights"),
    )
    with (tmp_path / "weights").open("ab") as file:
        file.truncate(1 << 33)
    with pytest.raises(CannotOpen, match="is sparse"):
        probe.open_model(path)
    (tmp_path / "weights").unlink()
    (tmp_path / "weights").symlink_to("/dev/zero")
    with pytest.raises(CannotOpen, match="not a file in the model's folder"):
        probe.open_model(path)


def test_an_import_is_not_silently_left_out(tmp_path):
    path = saved(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])])
    with pytest.raises(BadInput, match="--import"):
        probe.open_model(path, imports=("own",))


def ran(path, **how):
    return probe.open_model(path, **how).run([np.ones((2, 4), np.float32)], (), lambda _: None)


def of_computed_size(path, size):
    """x times 0 plus a size, rounded, is how long the output is."""
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["r"], keepdims=0),
        helper.make_node("Add", ["r", "size"], ["n"]),
        helper.make_node("Range", ["zero", "n", "one"], ["y"]),
    ]
    return saved(
        path, nodes, {"zero": np.float32(0), "size": np.float32(size), "one": np.float32(1)}
    )


def test_sizes_that_the_model_computes(tmp_path, monkeypatch):
    monkeypatch.setattr("probe.files.size_limits._SMALL", 1 << 20)
    small, large = (
        of_computed_size(tmp_path / f"{size}.onnx", size) for size in (1 << 10, 1 << 20)
    )
    np.testing.assert_array_equal(ran(small)[0], np.arange(1 << 10, dtype=np.float32))
    with pytest.raises(
        ForwardFailed,
        match=(r"need more than 2,\d{3},\d{3} bytes together; --trust"),
    ):
        ran(large)
    np.testing.assert_array_equal(ran(large, trust=True)[0], np.arange(1 << 20, dtype=np.float32))


def test_what_many_runs_give_is_no_memory_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr("probe.files.size_limits._SMALL", 1 << 20)
    model = probe.open_model(of_computed_size(tmp_path / "m.onnx", 1 << 17))
    kept = [model.run([np.ones((2, 4), np.float32)], (), lambda _: None)[0] for _ in range(8)]
    assert all(one.size == 1 << 17 for one in kept)


def test_the_limit_is_that_of_one_session(tmp_path, monkeypatch):
    monkeypatch.setattr("probe.files.size_limits._SMALL", 1 << 20)
    ran(of_computed_size(tmp_path / "m.onnx", 10))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    path = of_computed_size(tmp_path / "users.onnx", 1 << 22)
    users = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert users.run(None, {"x": np.ones((2, 4), np.float32)})[0].size == 1 << 22


@pytest.mark.parametrize(
    ("rounds", "trust", "ends"), [(3, False, True), (20_000, True, True), (1 << 40, False, False)]
)
def test_rounds_that_the_model_computes(tmp_path, monkeypatch, rounds, trust, ends):
    monkeypatch.setattr("probe.adapters.onnx.run_limits._SECONDS", 0.01 if trust else 0.5)
    count = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ReduceProd", ["s"], ["p"], keepdims=0),
    ]
    count.append(helper.make_node("Mul", ["p", "many"], ["count"]))
    path = saved(
        tmp_path / "m.onnx",
        [*count, loop("count", name="x")],
        {"many": np.array(rounds), "true": np.array(True)},
    )
    if ends:
        ran(path, trust=trust)
        return
    with pytest.raises(ForwardFailed, match=r"did not end within .* --trust"):
        ran(path)


def test_a_range_that_onnx_would_write_out(tmp_path):
    """Where numbers are propagated through a Gather, onnx makes a list as long as the range."""
    ends = {"a": np.array(0), "b": np.array(1 << 27), "c": np.array(1), "at": np.array([1, 2])}
    nodes = [
        helper.make_node("Range", ["a", "b", "c"], ["r"]),
        helper.make_node("Gather", ["r", "at"], ["g"]),
        helper.make_node("Expand", ["x", "g"], ["y"]),
    ]
    short = saved(tmp_path / "short.onnx", nodes, ends | {"b": np.array(9)}, shape=(1, 1))
    assert all(report.ok for report in probe.sweep(short))
    with pytest.raises(CannotOpen, match="could exhaust memory"):
        probe.open_model(saved(tmp_path / "long.onnx", nodes, ends, shape=(1, 1)))


def test_many_tensors_that_fill_the_memory_together(tmp_path):
    def sums(count):
        names = [f"s{k}" for k in range(count)]
        parts = [
            node
            for k, name in enumerate(names)
            for node in (
                helper.make_node("Expand", ["x", "shape"], [f"e{k}"]),
                helper.make_node("ReduceSum", [f"e{k}"], [name], keepdims=0),
            )
        ]
        nodes = [*parts, helper.make_node("Sum", names, ["y"])]
        return saved(tmp_path / "m.onnx", nodes, {"shape": np.array([25_000_000, 2, 1])}, (1, 1))

    with pytest.raises(CannotOpen, match="bytes together"):
        probe.open_model(sums(12))
    assert probe.open_model(sums(2)).names()


def test_texts_that_double(tmp_path):
    def doubled(times):
        nodes = [
            helper.make_node("StringConcat", [f"s{i}"] * 2, [f"s{i + 1}"]) for i in range(times)
        ]
        path = saved(
            tmp_path / "m.onnx",
            [*nodes, helper.make_node("Relu", ["x"], ["y"])],
            {"s0": np.array(["text"], object)},
        )
        model = onnx.load(path)
        model.opset_import[0].version = 20
        onnx.save(model, path)
        return path

    assert probe.check(doubled(4), "Relu_4").ok
    with pytest.raises(CannotOpen, match="could exhaust memory"):
        probe.open_model(doubled(40))


def damaged(path, change):
    """A model with a tensor w that has been changed."""
    model = onnx.load(
        saved(path, [helper.make_node("Add", ["x", "w"], ["y"])], {"w": np.ones(4, np.float32)})
    )
    change(model.graph.initializer[0])
    onnx.save(model, path)
    return path


def cut(tensor):
    tensor.raw_data = tensor.raw_data[:-2]


def negative(tensor):
    tensor.dims[:] = [-1, -4]


def of_no_type(tensor):
    tensor.data_type = 0


def of_another_type(tensor):
    tensor.data_type = 999


@pytest.mark.parametrize("change", [cut, negative, of_no_type, of_another_type])
def test_a_tensor_whose_data_do_not_fit(tmp_path, change):
    model = probe.open_model(damaged(tmp_path / "n.onnx", change))
    with pytest.raises(CannotOpen, match=r"the tensor w is damaged: its data do not fit"):
        model.names()


def test_a_name_that_is_no_text(tmp_path):
    path = saved(tmp_path / "n.onnx", [helper.make_node("Relu", ["x"], ["y"], name="abcdef")])
    path.write_bytes(path.read_bytes().replace(b"abcdef", b"abc\xffef"))
    with pytest.raises(CannotOpen, match=r"a name that is no UTF-8 text: b'abc\\xffef'"):
        probe.open_model(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has children with such limits")
@pytest.mark.parametrize(("length", "ends"), [(1_000, True), (10_000, False)])
def test_a_vector_whose_length_the_model_computes(tmp_path, monkeypatch, length, ends):
    """onnx makes it where it infers shapes."""
    monkeypatch.setattr("probe.adapters.onnx.run_limits._MEMORY", 1 << 26)
    seven = numpy_helper.from_array(np.array([7], np.int64))
    nodes = [
        helper.make_node("Mul", ["a", "b"], ["n"]),
        helper.make_node("ConstantOfShape", ["n"], ["long"], value=seven),
        helper.make_node("Gather", ["long", "zero"], ["g"]),
        helper.make_node("Cast", ["g"], ["h"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "h"], ["y"], name="add"),
    ]
    path = saved(tmp_path / "n.onnx", nodes, {"a": [3 * length], "b": [length // 10], "zero": 0})
    if ends:
        assert "add" in probe.open_model(path).names()
    else:
        with pytest.raises(CannotOpen, match=r"inferring the shapes of .* takes more than 64 MiB"):
            probe.open_model(path)
