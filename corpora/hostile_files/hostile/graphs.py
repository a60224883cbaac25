"""ONNX files."""

from collections.abc import Callable

import numpy as np
from hostile.bases import BIAS, KERNEL, onnx_model
from hostile.case import AGREES_OR_REFUSED, ANY, LISTED, REFUSED, Place, Run, add


def _graph(
    kind: str,
    slug: str,
    build: Callable[[Place], object],
    allowed=REFUSED,
    listed=LISTED,
    *more: str,
) -> None:
    """`build` returns a model, its bytes, or None where it wrote the file itself."""

    def act(place: Place) -> None:
        made = build(place)
        if made is not None:
            (place.work / "m.onnx").write_bytes(
                made if isinstance(made, bytes) else made.SerializeToString()
            )

    add("onnx", kind, slug, act, Run(("m.onnx",), listed), Run(("m.onnx", "--all", *more), allowed))


def _helper():
    from onnx import TensorProto, helper, numpy_helper

    return helper, TensorProto, numpy_helper


def _weight(edit: Callable[[object], object]) -> Callable[[Place], object]:
    def build(place: Place):
        model = onnx_model()
        edit(model.graph.initializer[0])
        return model

    return build


def _external(location: str, **more: object) -> Callable[[Place], object]:
    """The kernel in a file beside; `{canary}` names the private one."""

    def build(place: Place):
        _, proto, _ = _helper()
        model = onnx_model()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = proto.EXTERNAL
        where = location.format(
            canary=place.canary_numbers, name=place.canary_numbers.name, url=place.url
        )
        for key, value in {"location": where, "length": 48, **more}.items():
            tensor.external_data.add(key=key, value=str(value))
        return model

    return build


_graph(
    "healthy",
    "external-data",
    lambda place: (
        (place.work / "weights").write_bytes(bytes(16) + KERNEL.tobytes()),
        _external("weights", offset=16)(place),
    )[1],
    frozenset({0}),
    frozenset({0}),
)
for slug, location in {
    "climbs": "../{name}",
    "climbs-twice": "x/../../{name}",
    "absolute": "{canary}",
    "absolute-twice": "/{canary}",
    "file-url": "file://{canary}",
    "url": "{url}",
    "proc": "/proc/self/environ",
    "null-byte": "../{name}\x00.bin",
    "backslashes": "..\\{name}",
    "dot-climbs": "./../{name}",
}.items():
    _graph("read", f"external-{slug}", _external(location))
    if slug in ("climbs", "absolute"):

        def _two(place: Place, location=location):
            model = _external(location)(place)
            helper, _, numpy_helper = _helper()
            constant = helper.make_node(
                "Constant", [], ["c"], value=numpy_helper.from_array(BIAS, "c")
            )
            tensor = constant.attribute[0].t
            tensor.CopyFrom(model.graph.initializer[0])
            model.graph.node[0].input[1] = "c"
            model.graph.node.insert(0, constant)
            del model.graph.initializer[0]
            return model

        _graph("read", f"external-constant-{slug}", _two)


def _linked(place: Place, hard: bool = False):
    target = place.work / "weights"
    target.hardlink_to(place.canary_numbers) if hard else target.symlink_to(place.canary_numbers)
    return _external("weights")(place)


_graph("read", "external-symbolic-link", _linked)
_graph(
    "read",
    "external-folder-link",
    lambda place: ((place.work / "d").symlink_to(place.work.parent), _external("d/{name}")(place))[
        1
    ],
)
_graph(
    "read",
    "external-subgraph-climbs",
    lambda place: _branches(_external("../{name}")(place).graph.initializer[0]),
)
_graph(
    "read",
    "external-function-climbs",
    lambda place: _function_constant(_external("../{name}")(place).graph.initializer[0]),
)
_graph(
    "read",
    "external-sparse-climbs",
    lambda place: _sparse(_external("../{name}")(place).graph.initializer[0]),
)


def _branches(tensor):
    helper, proto, numpy_helper = _helper()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["o"])],
        "then",
        [],
        [helper.make_tensor_value_info("o", proto.FLOAT, [4, 3])],
        [tensor],
    )
    nodes = [
        helper.make_node("If", ["cond"], ["k"], then_branch=branch, else_branch=branch),
        helper.make_node("MatMul", ["x", "k"], ["y"]),
    ]
    return onnx_model(nodes, [numpy_helper.from_array(np.array(True), "cond")])


def _function_constant(tensor):
    helper, _, _ = _helper()
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    function = helper.make_function(
        "own",
        "F",
        ["a"],
        ["o"],
        [constant, helper.make_node("MatMul", ["a", "w"], ["o"])],
        [helper.make_opsetid("", 17)],
    )
    model = onnx_model([helper.make_node("F", ["x"], ["y"], domain="own")], [])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def _sparse(values):
    helper, _, numpy_helper = _helper()
    values.dims[:] = [12]
    values.name = "w"
    indices = numpy_helper.from_array(np.arange(12), "i")
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [])
    model.graph.sparse_initializer.add(values=values, indices=indices, dims=[4, 3])
    return model


def _beside(content: bytes, **more: object) -> Callable[[Place], object]:
    def build(place: Place):
        (place.work / "weights").write_bytes(content)
        return _external("weights", **more)(place)

    return build


_graph("malformed", "external-missing", _external("nobody"))
_graph("malformed", "external-short", _beside(KERNEL.tobytes()[:20]))
_graph("malformed", "external-empty", _beside(b""))
_graph("malformed", "external-offset-negative", _beside(KERNEL.tobytes(), offset=-1))
_graph("malformed", "external-offset-beyond", _beside(KERNEL.tobytes(), offset=2**40))
_graph("malformed", "external-offset-text", _beside(KERNEL.tobytes(), offset="agree"))
_graph("malformed", "external-length-text", _beside(KERNEL.tobytes(), length="-"))
_graph("malformed", "external-length-other", _beside(KERNEL.tobytes(), length=12))
_graph(
    "malformed", "external-key-unknown", _beside(KERNEL.tobytes(), agree="agree"), AGREES_OR_REFUSED
)
_graph("memory", "external-length-huge", _beside(KERNEL.tobytes(), length=2**50))
_graph(
    "malformed",
    "external-is-folder",
    lambda place: ((place.work / "weights").mkdir(), _external("weights")(place))[1],
)
_graph("malformed", "external-empty-location", _external(""))
_graph("malformed", "external-is-itself", _external("m.onnx", offset=0), ANY)


def _fifo(place: Place):
    import os

    os.mkfifo(place.work / "weights")
    return _external("weights")(place)


_graph("hang", "external-fifo", _fifo)
_graph("hang", "external-device", _external("/dev/zero", length=48))
_graph("memory", "external-sparse-file", lambda place: _external_sparse(place))


def _external_sparse(place: Place):
    with (place.work / "weights").open("wb") as file:
        file.truncate(8 * 2**30)
    model = _external("weights", length=8 * 2**30)(place)
    model.graph.initializer[0].dims[:] = [2**30, 2]
    return model


# Memory and time


def _dims(*dims: int) -> Callable[[Place], object]:
    def edit(tensor) -> None:
        tensor.dims[:] = dims

    return _weight(edit)


_graph("memory", "dims-huge", _dims(2**40, 2**20))
_graph("memory", "dims-ten-gib", _dims(2**20, 2560))
_graph("memory", "dims-overflow", _dims(2**32, 2**32))
_graph("memory", "dims-zero-times-huge", _dims(0, 2**62))
_graph("malformed", "dims-negative", _dims(-4, -3))
_graph("malformed", "dims-swapped", _dims(3, 4))
_graph("malformed", "dims-none", _dims())
_graph("malformed", "dims-hundred", _dims(*([1] * 98), 4, 3))


def _made(
    op: str, initializers: dict[str, np.ndarray], output: list | None = None, **attributes: object
) -> Callable[[Place], object]:
    """One node of x and constants."""

    def build(place: Place):
        helper, proto, numpy_helper = _helper()
        tensors = [numpy_helper.from_array(value, name) for name, value in initializers.items()]
        inputs = list(initializers) if op in ("ConstantOfShape", "Range") else ["x", *initializers]
        outputs = [helper.make_tensor_value_info("y", proto.FLOAT, output)]
        return onnx_model(
            [helper.make_node(op, inputs, ["y"], name="n", **attributes)], tensors, outputs=outputs
        )

    return build


INT = np.int64
_graph(
    "memory",
    "constant-of-huge-shape",
    _made("ConstantOfShape", {"s": np.array([2**20, 2**20], INT)}, [None, None]),
)
_graph(
    "memory",
    "constant-of-four-gib",
    _made("ConstantOfShape", {"s": np.array([2**30], INT)}, [None]),
)
_graph(
    "memory",
    "expand-to-petabytes",
    _made("Expand", {"s": np.array([2**30, 2**20, 1, 2, 4], INT)}, [None] * 5),
)
_graph(
    "memory", "expand-to-four-gib", _made("Expand", {"s": np.array([2**27, 2, 4], INT)}, [None] * 3)
)
_graph(
    "memory", "tile-to-terabytes", _made("Tile", {"s": np.array([2**20, 2**20], INT)}, [None, None])
)
_graph(
    "memory",
    "pad-to-terabytes",
    _made("Pad", {"s": np.array([2**20, 2**20, 2**20, 2**20], INT)}, [None, None]),
)
_graph(
    "memory", "pad-negative-huge", _made("Pad", {"s": np.array([-(2**40)] * 4, INT)}, [None, None])
)
_graph("memory", "one-hot-huge", lambda place: _one_hot())
_graph(
    "memory",
    "range-huge",
    _made(
        "Range",
        {
            "a": np.array(0, np.float32),
            "b": np.array(1e12, np.float32),
            "c": np.array(1, np.float32),
        },
        [None],
    ),
)
_graph(
    "memory",
    "random-huge",
    lambda place: onnx_model(
        [_helper()[0].make_node("RandomUniform", [], ["y"], shape=[2**20, 2**20])],
        [],
        outputs=[_helper()[0].make_tensor_value_info("y", 1, [None, None])],
    ),
)


def _one_hot():
    helper, proto, numpy_helper = _helper()
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=7),
        helper.make_node("OneHot", ["i", "d", "v"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array(2**40, INT), "d"),
        numpy_helper.from_array(np.array([0, 1], np.float32), "v"),
    ]
    return onnx_model(
        nodes, tensors, outputs=[helper.make_tensor_value_info("y", proto.FLOAT, [None] * 3)]
    )


def _input_shape(*dims: object) -> Callable[[Place], object]:
    return lambda place: onnx_model(inputs=[_helper()[0].make_tensor_value_info("x", 1, dims)])


_graph("memory", "input-shape-huge", _input_shape(2**40, 4))
_graph("memory", "input-shape-four-gib", _input_shape(2**28, 4))
_graph("memory", "input-shape-overflows", _input_shape(2**62, 2**62))
_graph("malformed", "input-shape-negative", _input_shape(-2, 4), AGREES_OR_REFUSED)
_graph("malformed", "input-shape-zero", _input_shape(0, 4), AGREES_OR_REFUSED)
_graph(
    "malformed",
    "input-shape-symbol-escape-codes",
    _input_shape("\x1b[31magree\n", 4),
    AGREES_OR_REFUSED,
)
_graph(
    "malformed",
    "input-without-type",
    lambda place: _edited(lambda model: model.graph.input[0].ClearField("type")),
)
_graph(
    "malformed",
    "input-type-unknown",
    lambda place: _edited(
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 99)
    ),
)
_graph(
    "malformed",
    "input-type-text",
    lambda place: _edited(
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 8)
    ),
)
_graph(
    "malformed",
    "input-type-complex",
    lambda place: _edited(
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 14)
    ),
)
_graph(
    "malformed",
    "input-is-sequence",
    lambda place: _edited(
        lambda model: model.graph.input[0].type.sequence_type.elem_type.tensor_type.SetInParent()
    ),
)


def _edited(*edits: Callable[[object], object]):
    model = onnx_model()
    for edit in edits:
        edit(model)
    return model


def _loop(count: int, nested: int = 1, grows: bool = False):
    """A loop that goes on for `count` rounds."""
    helper, proto, numpy_helper = _helper()
    info = helper.make_tensor_value_info
    constants = [
        numpy_helper.from_array(np.array(count, INT), "count"),
        numpy_helper.from_array(np.array(True), "go"),
    ]
    body_nodes = [
        helper.make_node("Identity", ["c_in0"], ["c_out0"]),
        helper.make_node(
            "Concat" if grows else "Add", ["v0", "v0"], ["w0"], **({"axis": 0} if grows else {})
        ),
    ]
    shape = [None, 4] if grows else [2, 4]
    for depth in range(nested):
        body = helper.make_graph(
            body_nodes,
            f"body{depth}",
            [
                info(f"i{depth}", proto.INT64, []),
                info(f"c_in{depth}", proto.BOOL, []),
                info(f"v{depth}", proto.FLOAT, shape),
            ],
            [info(f"c_out{depth}", proto.BOOL, []), info(f"w{depth}", proto.FLOAT, shape)],
        )
        above = depth + 1
        source, target = ("x", "y") if above == nested else (f"v{above}", f"w{above}")
        body_nodes = [
            helper.make_node("Loop", ["count", "go", source], [target], name="loop", body=body)
        ]
        if above != nested:
            body_nodes.append(helper.make_node("Identity", [f"c_in{above}"], [f"c_out{above}"]))
    return onnx_model(body_nodes, constants, outputs=[info("y", proto.FLOAT, shape)])


_graph("hang", "loop-endless", lambda place: _loop(2**62))
_graph("hang", "loop-billion", lambda place: _loop(10**9))
_graph("hang", "loop-nested", lambda place: _loop(10_000, nested=4))
_graph("memory", "loop-doubles", lambda place: _loop(40, grows=True))
_graph("hang", "loop-negative", lambda place: _loop(-1), ANY)


def _loop_without_count():
    model = _loop(1)
    model.graph.node[0].input[0] = ""
    return model


_graph("hang", "loop-without-count", lambda place: _loop_without_count())


def _cycle():
    helper, _, _ = _helper()
    return onnx_model(
        [
            helper.make_node("Add", ["x", "b"], ["a"]),
            helper.make_node("Add", ["a", "y"], ["b"]),
            helper.make_node("Add", ["a", "b"], ["y"]),
        ],
        [],
    )


_graph("hang", "cycle", lambda place: _cycle())
_graph(
    "hang",
    "node-is-its-own-input",
    lambda place: onnx_model([_helper()[0].make_node("Add", ["x", "y"], ["y"])], []),
)


def _recursive_function():
    helper, _, _ = _helper()
    function = helper.make_function(
        "own",
        "F",
        ["a"],
        ["o"],
        [helper.make_node("F", ["a"], ["o"], domain="own")],
        [helper.make_opsetid("own", 1)],
    )
    model = onnx_model([helper.make_node("F", ["x"], ["y"], domain="own")], [])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def _doubling_functions(count: int):
    """F0 calls F1 twice, F1 calls F2 twice, and so on: a billion nodes once inlined."""
    helper, _, _ = _helper()
    opsets = [helper.make_opsetid("own", 1), helper.make_opsetid("", 17)]
    model = onnx_model([helper.make_node("F0", ["x"], ["y"], domain="own")], [])
    for i in range(count):
        inner, domain = (f"F{i + 1}", "own") if i + 1 < count else ("Relu", "")
        nodes = [
            helper.make_node(inner, ["a"], ["b"], domain=domain),
            helper.make_node(inner, ["b"], ["o"], domain=domain),
        ]
        model.functions.append(helper.make_function("own", f"F{i}", ["a"], ["o"], nodes, opsets))
    model.opset_import.append(opsets[0])
    return model


def _deep_if(depth: int):
    helper, proto, numpy_helper = _helper()
    info = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["o"])], "g", [], [info("o", proto.FLOAT, [2, 4])]
    )
    for _ in range(depth):
        branch = helper.make_graph(
            [
                helper.make_node(
                    "If",
                    ["cond"],
                    ["o"],
                    then_branch=branch,
                    else_branch=helper.make_graph(
                        [helper.make_node("Identity", ["x"], ["o"])],
                        "e",
                        [],
                        [info("o", proto.FLOAT, [2, 4])],
                    ),
                )
            ],
            "g",
            [],
            [info("o", proto.FLOAT, [2, 4])],
        )
    return onnx_model(
        [helper.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=branch)],
        [numpy_helper.from_array(np.array(True), "cond")],
        outputs=[info("y", proto.FLOAT, [2, 4])],
    )


_graph("hang", "function-calls-itself", lambda place: _recursive_function())
_graph("hang", "functions-double", lambda place: _doubling_functions(30))
_graph("hang", "deep-branches", lambda place: _deep_if(25), ANY)
_graph("hang", "deep-wire-format", lambda place: _nested_wire(5_000))
_graph(
    "hang",
    "twenty-thousand-nodes-broken",
    lambda place: onnx_model(
        [
            _helper()[0].make_node("Nonsense", [f"t{i}" if i else "x"], [f"t{i + 1}"], domain="own")
            for i in range(20_000)
        ],
        [],
    ),
)


def _nested_wire(depth: int) -> bytes:
    """GraphProto in AttributeProto in NodeProto in GraphProto, and so on."""

    def length(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    graph = b""
    for _ in range(depth):
        attribute = b"\x32" + length(len(graph)) + graph
        inner = b"\x2a" + length(len(attribute)) + attribute
        graph = b"\x0a" + length(len(inner)) + inner
    return b"\x08\x08\x3a" + length(len(graph)) + graph


# Code

_graph(
    "code",
    "custom-domain",
    lambda place: onnx_model(
        [
            _helper()[0].make_node(
                "Run", ["x"], ["y"], domain="com.evil", command=f"touch '{place.marker}'"
            )
        ],
        [],
    ),
)
_graph(
    "code",
    "python-op",
    lambda place: onnx_model(
        [
            _helper()[0].make_node(
                "PyOp", ["x"], ["y"], domain="pyopmulti_1", module="os", name="system"
            )
        ],
        [],
    ),
)
_graph(
    "code",
    "aten-python-op",
    lambda place: onnx_model(
        [
            _helper()[0].make_node(
                "PythonOp", ["x"], ["y"], domain="com.microsoft", func_name="os.system"
            )
        ],
        [],
    ),
)
_graph(
    "code",
    "library-in-metadata",
    lambda place: _edited(
        lambda model: model.metadata_props.add(key="custom_ops_library", value="./net.so")
    ),
    AGREES_OR_REFUSED,
)
_graph(
    "read",
    "ep-context-binary",
    lambda place: onnx_model(
        [
            _helper()[0].make_node(
                "EPContext",
                ["x"],
                ["y"],
                domain="com.microsoft",
                embed_mode=0,
                ep_cache_context=f"../{place.canary.name}",
            )
        ],
        [],
    ),
)
_graph(
    "read",
    "ort-config-in-metadata",
    lambda place: _edited(
        lambda model: model.metadata_props.add(
            key="ort_config",
            value=f'{{"session_options": {{"session.profile_file_prefix": "{place.marker}", "enable_profiling": 1}}}}',  # noqa: E501
        )
    ),
    AGREES_OR_REFUSED,
)
_graph(
    "read",
    "url-tensor",
    lambda place: onnx_model(
        [_helper()[0].make_node("ImageDecoder", ["x"], ["y"], pixel_format=place.url)], [], opset=20
    ),
)
_graph(
    "read",
    "string-file-input",
    lambda place: onnx_model(
        [
            _helper()[0].make_node(
                "TfIdfVectorizer",
                ["x"],
                ["y"],
                pool_strings=[str(place.canary)],
                max_gram_length=1,
                min_gram_length=1,
                max_skip_count=0,
                mode="TF",
                ngram_counts=[0],
                ngram_indexes=[0],
            )
        ],
        [],
    ),
)

# Malformed

for slug, count in {"empty": 0, "one-byte": 1, "start": 20, "middle": 100}.items():
    _graph(
        "malformed",
        f"cut-{slug}",
        lambda place, count=count: onnx_model().SerializeToString()[:count],
        REFUSED,
        REFUSED,
    )
_graph(
    "malformed", "cut-end", lambda place: onnx_model().SerializeToString()[:-3], REFUSED, REFUSED
)
for seed in range(12):

    def _flipped(place: Place, seed=seed):
        content, rng = bytearray(onnx_model().SerializeToString()), np.random.default_rng(seed)
        for at in rng.integers(0, len(content), 3):
            content[at] ^= 1 << int(rng.integers(0, 8))
        return bytes(content)

    _graph("malformed", f"flipped-{seed}", _flipped, ANY)


def _type(number: int):
    def edit(tensor) -> None:
        tensor.data_type = number

    return _weight(edit)


for number in (0, 8, 9, 14, 21, 22, 23, 26, 99, -1):
    _graph("malformed", f"weight-type-{number}".replace("--", "-minus-"), _type(number))
_graph(
    "malformed",
    "weight-raw-and-floats",
    _weight(lambda tensor: tensor.float_data.extend([1.0] * 12)),
    ANY,
)
_graph("malformed", "weight-no-data", _weight(lambda tensor: tensor.ClearField("raw_data")))
_graph(
    "malformed",
    "weight-short",
    _weight(lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[:-1])),
)
_graph(
    "malformed",
    "weight-long",
    _weight(lambda tensor: setattr(tensor, "raw_data", tensor.raw_data * 2)),
)
_graph(
    "malformed",
    "weight-nan",
    _weight(lambda tensor: setattr(tensor, "raw_data", np.full(12, np.nan, np.float32).tobytes())),
    ANY,
)
_graph("malformed", "weight-nameless", _weight(lambda tensor: setattr(tensor, "name", "")))
_graph(
    "malformed",
    "weight-segment",
    _weight(lambda tensor: setattr(tensor.segment, "end", 2**40)),
    ANY,
)
for slug, edits in {
    "no-graph": (lambda model: model.ClearField("graph"),),
    "no-nodes": (lambda model: model.graph.ClearField("node"),),
    "no-inputs": (lambda model: model.graph.ClearField("input"),),
    "no-outputs": (lambda model: model.graph.ClearField("output"),),
    "no-opset": (lambda model: model.ClearField("opset_import"),),
    "opset-huge": (lambda model: setattr(model.opset_import[0], "version", 2**40),),
    "opset-negative": (lambda model: setattr(model.opset_import[0], "version", -1),),
    "opset-zero": (lambda model: setattr(model.opset_import[0], "version", 0),),
    "ir-huge": (lambda model: setattr(model, "ir_version", 2**40),),
    "op-unknown": (lambda model: setattr(model.graph.node[0], "op_type", "Gemn"),),
    "op-empty": (lambda model: setattr(model.graph.node[0], "op_type", ""),),
    "op-escape-codes": (
        lambda model: setattr(model.graph.node[0], "op_type", "\x1b[31mGemm\x1b[0m\n"),
    ),
    "op-long": (lambda model: setattr(model.graph.node[0], "op_type", "G" * 100_000),),
    "input-missing": (lambda model: model.graph.node[0].input.pop(),) * 2,
    "input-unknown": (lambda model: model.graph.node[0].input.__setitem__(1, "nobody"),),
    "input-too-many": (lambda model: model.graph.node[0].input.extend(["w"] * 50),),
    "output-none": (lambda model: model.graph.node[0].ClearField("output"),),
    "output-twice": (lambda model: model.graph.node.add().CopyFrom(model.graph.node[0]),),
    "initializer-twice": (
        lambda model: model.graph.initializer.add().CopyFrom(model.graph.initializer[0]),
    ),
    "attribute-wrong-type": (
        lambda model: model.graph.node[0].attribute.add(name="alpha", type=3, s=b"agree"),
    ),
    "attribute-unknown": (
        lambda model: model.graph.node[0].attribute.add(name="agree", type=1, f=1.0),
    ),
    "attribute-without-type": (lambda model: model.graph.node[0].attribute.add(name="alpha"),),
    "attribute-twice": (
        lambda model: model.graph.node[0].attribute.add(name="alpha", type=1, f=1.0),
        lambda model: model.graph.node[0].attribute.add(name="alpha", type=1, f=2.0),
    ),
    "attribute-nan": (
        lambda model: model.graph.node[0].attribute.add(name="alpha", type=1, f=float("nan")),
    ),
    "attribute-huge-integer": (
        lambda model: model.graph.node[0].attribute.add(name="transB", type=2, i=2**62),
    ),
    "attribute-reference": (
        lambda model: model.graph.node[0].attribute.add(
            name="alpha", type=1, ref_attr_name="agree"
        ),
    ),
}.items():
    _graph(
        "malformed",
        slug,
        lambda place, edits=edits: _edited(*edits),
        ANY
        if "nan" in slug or "huge-integer" in slug
        else AGREES_OR_REFUSED
        if slug in ("no-outputs", "initializer-twice")
        else REFUSED,
    )
for slug, name in {
    "escape-codes": "\x1b]0;title\x07\x1b[31magree\x1b[0m",
    "newlines": "fc\n\r\n1 agree, 0 diverge\n",
    "long": "a" * 100_000,
    "turns-text": "\u202eeerga\u2066",
    "c1": "\x9b31magree",
    "empty": "",
    "slash": "../../../fc",
    "option": "--trust",
    "markup": "[bold red]agree[/bold red]",
    "null": "f\x00c",
    "bell": "\x07" * 50,
}.items():

    def _named(place: Place, name=name):
        model = onnx_model()
        model.graph.node[0].name = model.graph.node[0].output[0] = model.graph.output[0].name = (
            name or "y"
        )
        model.graph.initializer[0].name = model.graph.node[0].input[1] = name or "w"
        model.graph.node[0].name = name
        return model

    _graph("malformed", f"name-{slug}", _named, AGREES_OR_REFUSED)
_graph(
    "malformed",
    "name-invalid-utf-8",
    lambda place: onnx_model().SerializeToString().replace(b"\x1a\x02fc", b"\x1a\x02\xff\xfe"),
    ANY,
)
_graph(
    "malformed",
    "metadata-escape-codes",
    lambda place: _edited(
        lambda model: setattr(model, "producer_name", "\x1b[31magree\x07"),
        lambda model: setattr(model, "doc_string", "\x1b]0;x\x07" * 9),
    ),
    AGREES_OR_REFUSED,
)
_graph("malformed", "twenty-thousand-initializers", lambda place: _many(), AGREES_OR_REFUSED)
_graph(
    "malformed",
    "text-format",
    lambda place: b'ir_version: 8\nproducer_name: "agree"\n',
    REFUSED,
    REFUSED,
)
_graph(
    "malformed", "json-format", lambda place: b'{"irVersion": "8", "graph": {}}', REFUSED, REFUSED
)
_graph(
    "malformed",
    "is-ort-format",
    lambda place: b"\x18\x00\x00\x00ORTM" + bytes(200),
    REFUSED,
    REFUSED,
)
_graph(
    "malformed", "is-tflite", lambda place: b"\x1c\x00\x00\x00TFL3" + bytes(200), REFUSED, REFUSED
)
_graph("malformed", "is-zeros", lambda place: bytes(5000), REFUSED, REFUSED)
_graph("malformed", "is-text", lambda place: b"hello\n" * 10, REFUSED, REFUSED)
_graph(
    "malformed",
    "trailing-text",
    lambda place: onnx_model().SerializeToString() + b"trailing text, not protobuf",
    ANY,
)


def _many():
    _, _, numpy_helper = _helper()
    model = onnx_model()
    for i in range(20_000):
        model.graph.initializer.append(numpy_helper.from_array(BIAS, f"unused{i}"))
    return model


def _arithmetic(
    op: str,
    *constants: np.ndarray,
    opset: int = 17,
    output: list | None = None,
    **attributes: object,
) -> Callable[[Place], object]:
    def build(place: Place):
        helper, proto, numpy_helper = _helper()
        names = [f"c{i}" for i in range(len(constants))]
        model = onnx_model(
            [helper.make_node(op, ["x", *names], ["y"], name="n", **attributes)],
            [
                numpy_helper.from_array(value, name)
                for name, value in zip(names, constants, strict=True)
            ],
            outputs=[helper.make_tensor_value_info("y", proto.FLOAT, output)],
            opset=opset,
        )
        if op in (
            "Conv",
            "MaxPool",
            "AveragePool",
            "Resize",
            "GridSample",
            "SpaceToDepth",
            "LpPool",
        ):
            del model.graph.input[:]
            model.graph.input.append(helper.make_tensor_value_info("x", proto.FLOAT, [1, 4, 6, 6]))
        return model

    return build


K = np.ones((4, 4, 3, 3), np.float32)
for slug, build in {
    "conv-strides-zero": _arithmetic("Conv", K, strides=[0, 0]),
    "conv-strides-negative": _arithmetic("Conv", K, strides=[-1, -1]),
    "conv-dilations-zero": _arithmetic("Conv", K, dilations=[0, 0]),
    "conv-pads-negative": _arithmetic("Conv", K, pads=[-9, -9, -9, -9]),
    "conv-group-zero": _arithmetic("Conv", K, group=0),
    "conv-group-seven": _arithmetic("Conv", K, group=7),
    "conv-group-negative": _arithmetic("Conv", K, group=-1),
    "conv-auto-pad-nonsense": _arithmetic("Conv", K, auto_pad="AGREE"),
    "conv-kernel-shape-other": _arithmetic("Conv", K, kernel_shape=[5, 5]),
    "conv-strides-too-many": _arithmetic("Conv", K, strides=[1] * 50),
    "pool-kernel-zero": _arithmetic("MaxPool", kernel_shape=[0, 0]),
    "pool-kernel-missing": _arithmetic("MaxPool", strides=[1]),
    "transpose-perm-twice": _arithmetic("Transpose", perm=[0, 0]),
    "transpose-perm-beyond": _arithmetic("Transpose", perm=[0, 9]),
    "transpose-perm-negative": _arithmetic("Transpose", perm=[-1, -2]),
    "reshape-beyond": _arithmetic("Reshape", np.array([2**40, -1], INT)),
    "reshape-two-unknown": _arithmetic("Reshape", np.array([-1, -1], INT)),
    "reshape-minus-five": _arithmetic("Reshape", np.array([-5, 4], INT)),
    "gather-beyond": _arithmetic("Gather", np.array([99], INT)),
    "gather-axis-beyond": _arithmetic("Gather", np.array([0], INT), axis=9),
    "softmax-axis-beyond": _arithmetic("Softmax", axis=99),
    "split-lies": _arithmetic("Split", np.array([99], INT)),
    "concat-axis-beyond": _arithmetic("Concat", axis=-99),
    "cast-to-nothing": _arithmetic("Cast", to=0),
    "cast-to-99": _arithmetic("Cast", to=99),
    "slice-step-zero": _arithmetic(
        "Slice", np.array([0], INT), np.array([1], INT), np.array([0], INT), np.array([0], INT)
    ),
    "div-by-text": _arithmetic("Div", np.array(["a"])),
    "space-to-depth-zero": _arithmetic("SpaceToDepth", blocksize=0),
    "squeeze-axis-of-two": _arithmetic("Squeeze", np.array([0], INT)),
}.items():
    _graph("malformed", slug, build)
_graph(
    "memory",
    "pool-kernel-huge",
    _arithmetic("MaxPool", kernel_shape=[2**31, 2**31], pads=[2**30] * 4),
)
_graph("memory", "conv-pads-huge", _arithmetic("Conv", K, pads=[2**20] * 4))
_graph("memory", "conv-dilations-huge", _arithmetic("Conv", K, dilations=[2**40, 2**40]))
_graph(
    "memory",
    "resize-huge",
    _arithmetic("Resize", np.zeros(0, np.float32), np.array([1, 1, 1e6, 1e6], np.float32)),
)
_graph(
    "malformed",
    "resize-nan",
    _arithmetic("Resize", np.zeros(0, np.float32), np.array([1, 1, np.nan, -1], np.float32)),
)
