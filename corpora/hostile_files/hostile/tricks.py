"""Tricks of every format that the first run made one think of: what comes in by a side door, or
grows step by step."""

import json
import struct
import zipfile
from collections.abc import Callable

import h5py
import numpy as np
from hostile import bases
from hostile.bases import (
    FALSE,
    NONE,
    TRUE,
    call_,
    dense,
    dense3,
    dict_,
    int_,
    layer2,
    layer3,
    name_,
    node,
    storage_,
    tensor_,
    text_,
    tuple_,
)
from hostile.case import (
    AGREES,
    AGREES_OR_REFUSED,
    ANY,
    LISTED,
    NOT_AGREES,
    REFUSED,
    Place,
    Run,
    add,
)

BOTH = AGREES_OR_REFUSED


def _onnx(kind: str, slug: str, build: Callable[[Place], object], allowed=REFUSED) -> None:
    def act(place: Place) -> None:
        (place.work / "m.onnx").write_bytes(build(place).SerializeToString())  # type: ignore[attr-defined]

    add("onnx", kind, slug, act, Run(("m.onnx",), LISTED), Run(("m.onnx", "--all"), allowed))


def _nodes(
    *nodes: tuple, initializers: dict[str, np.ndarray] | None = None, rank: int = 2, opset: int = 17
) -> object:
    """A model of nodes given as (operator, inputs, output, attributes)."""
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(value, name) for name, value in (initializers or {}).items()]
    made = [
        helper.make_node(op, inputs, [output], name=f"n{i}", **attributes)
        for i, (op, inputs, output, attributes) in enumerate(nodes)
    ]
    return bases.onnx_model(
        made, tensors, outputs=[helper.make_tensor_value_info("y", 1, [None] * rank)], opset=opset
    )


INT = np.int64
# Sizes that no initialiser says: computed from the input, or by arithmetic.
HUGE = [("Shape", ["x"], "s", {}), ("Mul", ["s", "many"], "t", {})]
MANY = {"many": np.array([2**27, 1], INT)}
_onnx(
    "memory",
    "computed-expand",
    lambda place: _nodes(
        *HUGE,
        ("Expand", ["one", "t"], "y", {}),
        initializers={**MANY, "one": np.ones((1, 1), np.float32)},
    ),
)
_onnx(
    "memory",
    "computed-constant-of-shape",
    lambda place: _nodes(*HUGE, ("ConstantOfShape", ["t"], "y", {}), initializers=MANY),
)
_onnx(
    "memory",
    "computed-tile",
    lambda place: _nodes(*HUGE, ("Tile", ["x", "t"], "y", {}), initializers=MANY),
)
_onnx(
    "memory",
    "computed-range",
    lambda place: _nodes(
        ("Cast", ["big"], "b", {"to": 1}),
        ("Range", ["zero", "b", "step"], "r", {}),
        ("Unsqueeze", ["r", "axis"], "y", {}),
        initializers={
            "big": np.array(2**29, INT),
            "zero": np.float32(0),
            "step": np.float32(1),
            "axis": np.array([0], INT),
        },
    ),
)
_onnx(
    "memory",
    "computed-pad",
    lambda place: _nodes(
        *HUGE,
        ("Concat", ["t", "t"], "p", {"axis": 0}),
        ("Pad", ["x", "p"], "y", {}),
        initializers={"many": np.array([2**26, 1], INT)},
    ),
)
_onnx(
    "memory",
    "shapes-from-values",
    lambda place: _nodes(
        ("Mul", ["x", "zero"], "z", {}),
        ("ReduceSum", ["z"], "r", {"keepdims": 0}),
        ("Add", ["r", "big"], "a", {}),
        ("Cast", ["a"], "c", {"to": 7}),
        ("Reshape", ["c", "one"], "s", {}),
        ("ConstantOfShape", ["s"], "f", {}),
        ("Unsqueeze", ["f", "axis"], "y", {}),
        initializers={
            "zero": np.float32(0),
            "big": np.float32(2**30),
            "one": np.array([1], INT),
            "axis": np.array([0], INT),
        },
    ),
)
_onnx(
    "memory",
    "concat-doubles-thirty-times",
    lambda place: _nodes(
        *((("Concat", [f"a{i}" if i else "x"] * 2, f"a{i + 1}", {"axis": 0})) for i in range(30)),
        ("Identity", ["a30"], "y", {}),
    ),
)
_onnx(
    "memory",
    "outer-products",
    lambda place: _nodes(
        ("Reshape", ["x", "flat"], "a0", {}),
        *(
            step
            for i in range(5)
            for step in (
                ("Reshape", [f"a{i}", "column"], f"c{i}", {}),
                ("Reshape", [f"a{i}", "row"], f"r{i}", {}),
                ("MatMul", [f"c{i}", f"r{i}"], f"p{i}", {}),
                ("Reshape", [f"p{i}", "flat"], f"a{i + 1}", {}),
            )
        ),
        ("Reshape", ["a5", "row"], "y", {}),
        initializers={
            "flat": np.array([-1], INT),
            "column": np.array([-1, 1], INT),
            "row": np.array([1, -1], INT),
        },
    ),
)
_onnx(
    "memory",
    "broadcasts",
    lambda place: _nodes(
        ("Reshape", ["x", "a"], "p", {}),
        ("Expand", ["p", "wide"], "q", {}),
        ("Reshape", ["q", "column"], "c", {}),
        ("Reshape", ["q", "row"], "r", {}),
        ("Add", ["c", "r"], "y", {}),
        initializers={
            "a": np.array([8, 1], INT),
            "wide": np.array([8, 8192], INT),
            "column": np.array([-1, 1], INT),
            "row": np.array([1, -1], INT),
        },
    ),
)
_onnx(
    "memory",
    "one-hot-computed",
    lambda place: _nodes(
        ("Cast", ["x"], "i", {"to": 7}),
        ("Mul", ["half", "half"], "d", {}),
        ("OneHot", ["i", "d", "v"], "y", {}),
        initializers={"half": np.array(2**14, INT), "v": np.array([0, 1], np.float32)},
        rank=3,
    ),
)
_onnx(
    "memory",
    "resize-chain",
    lambda place: _nodes(
        ("Unsqueeze", ["x", "axes"], "a0", {}),
        *(("Resize", [f"a{i}", "", "by"], f"a{i + 1}", {}) for i in range(8)),
        ("Identity", ["a8"], "y", {}),
        initializers={"axes": np.array([0, 1], INT), "by": np.array([1, 1, 4, 4], np.float32)},
        rank=4,
    ),
)
_onnx(
    "memory",
    "strings-double",
    lambda place: _nodes(
        *((("StringConcat", [f"s{i}"] * 2, f"s{i + 1}", {})) for i in range(36)),
        ("Identity", ["x"], "y", {}),
        initializers={"s0": np.array(["agree"], object)},
        opset=20,
    ),
)


def _loop(before: tuple, **more: np.ndarray) -> object:
    from onnx import helper, numpy_helper

    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Mul", ["v", "v"], ["w"])],
        "body",
        [info("i", 7, []), info("c", 9, []), info("v", 1, [2, 4])],
        [info("d", 9, []), info("w", 1, [2, 4])],
    )
    tensors = [
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in {"go": np.array(True), **more}.items()
    ]
    nodes = [
        helper.make_node(op, inputs, [output], **attributes)
        for op, inputs, output, attributes in before
    ]
    return bases.onnx_model(
        [*nodes, helper.make_node("Loop", ["count", "go", "x"], ["y"], body=body, name="loop")],
        tensors,
    )


_onnx(
    "hang",
    "loop-of-a-computed-count",
    lambda place: _loop(
        (
            ("Mul", ["x", "zero"], "z", {}),
            ("ReduceSum", ["z"], "r", {"keepdims": 0}),
            ("Add", ["r", "big"], "a", {}),
            ("Cast", ["a"], "count", {"to": 7}),
        ),
        zero=np.float32(0),
        big=np.float32(2**40),
    ),
)
_onnx(
    "hang",
    "loop-of-a-shape",
    lambda place: _loop(
        (
            ("Shape", ["x"], "s", {}),
            ("ReduceProd", ["s"], "p", {"keepdims": 0}),
            ("Mul", ["p", "big"], "count", {}),
        ),
        big=np.array(2**50, INT),
    ),
)


def _in_a_branch(place: Place) -> object:
    """The endless loop lies in a branch of an If that is taken."""
    from onnx import helper, numpy_helper

    loop = _loop((), count=np.array(2**60, INT))
    info = helper.make_tensor_value_info("y", 1, [2, 4])
    branch = helper.make_graph(
        list(loop.graph.node), "then", [], [info], list(loop.graph.initializer)
    )  # type: ignore[attr-defined]
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["o"])],
        "else",
        [],
        [helper.make_tensor_value_info("o", 1, [2, 4])],
    )
    return bases.onnx_model(
        [helper.make_node("If", ["cond"], ["y"], then_branch=branch, else_branch=other)],
        [numpy_helper.from_array(np.array(True), "cond")],
        outputs=[info],
    )


def _in_a_function(place: Place) -> object:
    from onnx import helper, numpy_helper

    loop = _loop((), count=np.array(2**60, INT)).graph.node[0]  # type: ignore[attr-defined]
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in (("count", np.array(2**60, INT)), ("go", np.array(True)))
    ]
    model = bases.onnx_model([helper.make_node("F", ["x"], ["y"], domain="own")], [])
    model.functions.append(
        helper.make_function(
            "own", "F", ["x"], ["y"], [*constants, loop], [helper.make_opsetid("", 17)]
        )
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


_onnx("hang", "loop-in-a-branch", _in_a_branch)
_onnx("hang", "loop-in-a-function", _in_a_function)


def _scan(place: Place) -> object:
    from onnx import helper

    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["t"]), helper.make_node("Identity", ["e"], ["f"])],
        "b",
        [info("s", 1, [1]), info("e", 1, [1])],
        [info("t", 1, [1]), info("f", 1, [1])],
    )
    return bases.onnx_model(
        [
            helper.make_node("Constant", [], ["shape"], value_ints=[2**24, 1]),
            helper.make_node("ConstantOfShape", ["shape"], ["long"]),
            helper.make_node("Constant", [], ["zero"], value_floats=[0.0]),
            helper.make_node("Scan", ["zero", "long"], ["u", "y"], body=body, num_scan_inputs=1),
        ],
        [],
        outputs=[info("y", 1, [None, 1])],
    )


_onnx("hang", "scan-of-sixteen-million", _scan, ANY)
_onnx(
    "hang",
    "million-dims-of-text",
    lambda place: _edited(
        lambda model: [
            model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1) for _ in range(100_000)
        ]
    ),
)
_onnx(
    "malformed",
    "initializer-twice-differently",
    lambda place: _edited(
        lambda model: model.graph.initializer.add().CopyFrom(model.graph.initializer[0]),
        lambda model: setattr(
            model.graph.initializer[-1], "raw_data", (bases.KERNEL * 2).tobytes()
        ),
    ),
    BOTH,
)
_onnx(
    "malformed",
    "input-is-also-initializer",
    lambda place: _edited(lambda model: model.graph.input.add().CopyFrom(_info("w", [4, 3]))),
    BOTH,
)
_onnx(
    "malformed",
    "input-hides-initializer-of-other-shape",
    lambda place: _edited(lambda model: model.graph.input.add().CopyFrom(_info("w", [9, 9]))),
)
_onnx(
    "malformed",
    "output-is-an-input",
    lambda place: _edited(lambda model: setattr(model.graph.output[0], "name", "x")),
    BOTH,
)
_onnx(
    "malformed",
    "output-is-a-weight",
    lambda place: _edited(lambda model: setattr(model.graph.output[0], "name", "w")),
    BOTH,
)
_onnx(
    "malformed",
    "output-declared-otherwise",
    lambda place: _edited(lambda model: model.graph.output[0].CopyFrom(_info("y", [7, 7]))),
    BOTH,
)
_onnx(
    "malformed",
    "value-info-lies",
    lambda place: _edited(
        lambda model: model.graph.value_info.add().CopyFrom(_info("w", [2**40, 2]))
    ),
    BOTH,
)
_onnx(
    "malformed",
    "domain-twice",
    lambda place: _edited(lambda model: model.opset_import.add(domain="", version=1)),
    BOTH,
)
_onnx(
    "malformed",
    "domain-with-escape-codes",
    lambda place: _edited(
        lambda model: setattr(model.graph.node[0], "domain", "\x1b[31magree\r\n")
    ),
)
_onnx(
    "malformed",
    "attribute-name-escape-codes",
    lambda place: _edited(
        lambda model: model.graph.node[0].attribute.add(name="\x1b[31magree\x07", type=1, f=1.0)
    ),
)
_onnx(
    "malformed",
    "attribute-name-long",
    lambda place: _edited(
        lambda model: model.graph.node[0].attribute.add(name="a" * 100_000, type=1, f=1.0)
    ),
)
_onnx(
    "malformed",
    "input-name-escape-codes",
    lambda place: _edited(
        lambda model: setattr(model.graph.input[0], "name", "\x1b[31mx"),
        lambda model: model.graph.node[0].input.__setitem__(0, "\x1b[31mx"),
    ),
    BOTH,
)
_onnx(
    "malformed",
    "training-info",
    lambda place: _edited(
        lambda model: model.training_info.add().algorithm.node.add(op_type="Agree")
    ),
    BOTH,
)
_onnx(
    "malformed",
    "thousand-functions",
    lambda place: _edited(
        lambda model: [model.functions.add(name=f"F{i}", domain="own") for i in range(1000)]
    ),
    BOTH,
)


def _info(name: str, shape: list[int]) -> object:
    from onnx import helper

    return helper.make_tensor_value_info(name, 1, shape)


def _edited(*edits: Callable) -> object:
    model = bases.onnx_model()
    for edit in edits:
        edit(model)
    return model


# PyTorch: what may be rebuilt without consent is made to lie or to grow


def _pt(kind: str, slug: str, value: Callable[[Place], bytes], allowed=REFUSED) -> None:
    def build(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        bases.torch_zip(place.work / "m.pt", value(place))

    add(
        "pt",
        kind,
        slug,
        build,
        Run(("m.pt",), LISTED),
        Run(("m.pt", "--all", *bases.FACTORY), allowed),
    )


def _weight(value: bytes) -> Callable[[Place], bytes]:
    return lambda place: dict_({"fc.weight": value, "fc.bias": bases.BIAS_})


def _extra(value: bytes) -> Callable[[Place], bytes]:
    return lambda place: dict_({**bases.STATE, "extra": value})


_pt("memory", "tensor-of-four-gib", _extra(call_(name_("torch", "Tensor"), int_(2**30))))
_pt(
    "memory",
    "tensor-new-of-exabytes",
    _extra(name_("torch", "Tensor") + tuple_(int_(2**60)) + b"\x81"),
)
_pt(
    "memory",
    "untyped-storage-ten-gib",
    _extra(call_(name_("torch.storage", "UntypedStorage"), int_(10 * 2**30))),
)
_pt(
    "memory",
    "typed-storage-ten-gib",
    _extra(call_(name_("torch", "FloatStorage"), int_(10 * 2**28))),
)
_pt(
    "memory",
    "bytearrays-of-half-a-gib",
    _extra(b"](" + call_(name_("builtins", "bytearray"), int_(2**29)) * 8 + b"e"),
)
_pt(
    "memory",
    "size-of-millions",
    _extra(call_(name_("torch", "Size"), b"](" + int_(1) * 1_000_000 + b"e")),
)
_pt(
    "memory",
    "codecs-inflate",
    _extra(call_(name_("_codecs", "encode"), text_("a" * 1_000_000), text_("zip"))),
)
_pt(
    "memory",
    "codecs-named-otherwise",
    _extra(call_(name_("_codecs", "encode"), text_("a"), text_("os.system"))),
)
_pt(
    "memory",
    "counter-of-a-long-text",
    _extra(call_(name_("collections", "Counter"), text_("agree" * 100_000))),
    ANY,
)
_pt(
    "memory",
    "dup-of-a-bytearray",
    _extra(b"](" + call_(name_("builtins", "bytearray"), int_(2**20)) + b"2" * 5000 + b"e"),
)
FLOAT, STRIDED = name_("torch", "float32"), name_("torch", "strided")
NESTED = name_("torch._utils", "_rebuild_nested_tensor")


def _longs(key: str, shape: tuple, count: int) -> bytes:
    return tensor_(
        key,
        shape,
        tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape))),
        count,
        kind="LongStorage",
    )


def _nested(sizes: list[int], strides: list[int], offsets: list[int]) -> Callable[[Place], None]:
    def build(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        storages = {
            **bases.STORAGES,
            **{
                key: struct.pack(f"<{len(numbers)}q", *numbers)
                for key, numbers in zip("234", (sizes, strides, offsets), strict=True)
            },
        }
        tensors = (
            tensor_("0", (12,), (1,), 12),
            _longs("2", (len(sizes) // 2, 2), len(sizes)),
            _longs("3", (len(strides) // 2, 2), len(strides)),
            _longs("4", (len(offsets),), len(offsets)),
        )
        bases.torch_zip(
            place.work / "m.pt",
            dict_({"fc.weight": call_(NESTED, *tensors), "fc.bias": bases.BIAS_}),
            storages,
        )

    return build


for slug, (sizes, strides, offsets) in {
    "honest": ([3, 2, 3, 2], [2, 1, 2, 1], [0, 6]),
    "sizes-huge": ([2**40, 2, 3, 2], [2, 1, 2, 1], [0, 6]),
    "offsets-beyond": ([3, 2, 3, 2], [2, 1, 2, 1], [0, 2**40]),
    "offsets-negative": ([3, 2, 3, 2], [2, 1, 2, 1], [-(2**30), 6]),
    "strides-beyond": ([3, 2, 3, 2], [2**40, 1, 2, 1], [0, 6]),
    "sizes-negative": ([-3, 2, 3, 2], [2, 1, 2, 1], [0, 6]),
}.items():
    add(
        "pt",
        "memory",
        f"nested-{slug}",
        _nested(sizes, strides, offsets),
        Run(("m.pt",), LISTED),
        Run(("m.pt", "--all", *bases.FACTORY), REFUSED),
    )


def _compressed(rows: list[int], columns: list[int]) -> Callable[[Place], None]:
    """A sparse tensor in rows, which may lie about where its values are."""

    def build(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        storages = {
            **bases.STORAGES,
            "2": struct.pack(f"<{len(rows)}q", *rows),
            "3": struct.pack(f"<{len(columns)}q", *columns),
        }
        data = tuple_(
            _longs("2", (len(rows),), len(rows)),
            _longs("3", (len(columns),), len(columns)),
            tensor_("0", (len(columns),), (1,), 12),
            tuple_(int_(3), int_(4)),
            FALSE,
        )
        value = call_(
            name_("torch._utils", "_rebuild_sparse_tensor"), name_("torch", "sparse_csr"), data
        )
        bases.torch_zip(
            place.work / "m.pt", dict_({"fc.weight": value, "fc.bias": bases.BIAS_}), storages
        )

    return build


for slug, (rows, columns) in {
    "honest": ([0, 1, 2, 3], [0, 1, 2]),
    "rows-beyond": ([0, 2**40, 2, 3], [0, 1, 2]),
    "columns-beyond": ([0, 1, 2, 3], [0, 2**40, 2]),
    "columns-negative": ([0, 1, 2, 3], [0, -(2**30), 2]),
}.items():
    add(
        "pt",
        "memory",
        f"sparse-rows-{slug}",
        _compressed(rows, columns),
        Run(("m.pt",), LISTED),
        Run(("m.pt", "--all", *bases.FACTORY), ANY if slug == "honest" else REFUSED),
    )
QTENSOR = name_("torch._utils", "_rebuild_qtensor")


def _quantized(*parameters: bytes) -> bytes:
    hooks = name_("collections", "OrderedDict") + b")R"
    return call_(
        QTENSOR,
        storage_("0", 12, "QInt8Storage"),
        int_(0),
        tuple_(int_(3), int_(4)),
        tuple_(int_(4), int_(1)),
        tuple_(*parameters),
        FALSE,
        hooks,
    )


AFFINE = name_("torch", "per_tensor_affine")
for slug, parameters in {
    "honest": (AFFINE, b"G" + struct.pack(">d", 0.1), int_(0)),
    "scale-nan": (AFFINE, b"G" + struct.pack(">d", float("nan")), int_(0)),
    "scale-zero": (AFFINE, b"G" + struct.pack(">d", 0.0), int_(0)),
    "zero-point-huge": (AFFINE, b"G" + struct.pack(">d", 0.1), int_(2**62)),
    "scheme-none": (NONE, b"G" + struct.pack(">d", 0.1), int_(0)),
    "too-few": (AFFINE,),
    "scale-text": (AFFINE, text_("agree"), int_(0)),
}.items():
    _pt(
        "malformed",
        f"quantized-{slug}",
        _weight(_quantized(*parameters)),
        ANY if slug in ("honest", "scale-nan", "scale-zero") else REFUSED,
    )
PARAMETER = name_("torch._utils", "_rebuild_parameter")
_pt(
    "malformed",
    "parameter-of-a-parameter",
    _weight(call_(PARAMETER, call_(PARAMETER, bases.WEIGHT, TRUE, NONE), TRUE, NONE)),
    BOTH,
)
_pt("malformed", "parameter-of-text", _weight(call_(PARAMETER, text_("agree"), TRUE, NONE)))
_pt(
    "malformed",
    "weight-on-meta",
    _weight(
        call_(
            name_("torch._utils", "_rebuild_meta_tensor_no_storage"),
            FLOAT,
            tuple_(int_(3), int_(4)),
            tuple_(int_(4), int_(1)),
            FALSE,
        )
    ),
)
_pt(
    "malformed",
    "weight-complex",
    _weight(tensor_("0", (3, 2), (2, 1), 6, kind="ComplexFloatStorage")),
)
_pt("malformed", "weight-bool", _weight(tensor_("0", (3, 4), (4, 1), 48, kind="BoolStorage")), BOTH)
_pt(
    "malformed",
    "weight-float8",
    _weight(
        call_(
            name_("torch._utils", "_rebuild_tensor_v3"),
            tuple_(
                text_("storage"),
                name_("torch.storage", "UntypedStorage"),
                text_("0"),
                text_("cpu"),
                int_(48),
            )
            + b"Q",
            int_(0),
            tuple_(int_(3), int_(4)),
            tuple_(int_(4), int_(1)),
            FALSE,
            name_("collections", "OrderedDict") + b")R",
            name_("torch", "float8_e4m3fn"),
            NONE,
        )
    ),
    BOTH,
)
_pt("malformed", "weight-overlaps-itself", _weight(tensor_("0", (3, 4), (1, 1), 12)), BOTH)
_pt(
    "malformed",
    "weight-shared-with-bias",
    lambda place: dict_({"fc.weight": bases.WEIGHT, "fc.bias": tensor_("0", (3,), (1,), 12)}),
    BOTH,
)
_pt("malformed", "state-in-a-tuple", lambda place: tuple_(dict_(bases.STATE)))
_pt(
    "malformed",
    "state-in-state-dict",
    lambda place: dict_({"state_dict": dict_(bases.STATE)}),
    BOTH,
)
_pt(
    "malformed",
    "state-of-many-depths",
    lambda place: dict_({"model": dict_({"state_dict": dict_({"model": dict_(bases.STATE)})})}),
    BOTH,
)
_pt(
    "malformed",
    "metadata-escape-codes",
    lambda place: (
        name_("collections", "OrderedDict")
        + b")R("
        + b"".join(text_(key) + value for key, value in bases.STATE.items())
        + b"u"
        + dict_({"_metadata": dict_({"\x1b[31m": int_(1)})})
        + b"b"
    ),
    BOTH,
)


# Keras: other classes that hold code or names, and sizes that grow layer by layer


def _h5(
    kind: str,
    slug: str,
    config: Callable[[Place], object],
    allowed=REFUSED,
    weights: dict | None = None,
    edit: Callable[[h5py.File], None] = lambda file: None,
    listed=LISTED,
) -> None:
    add(
        "h5",
        kind,
        slug,
        lambda place: bases.keras2(place.work / "m.h5", config(place), weights, edit),
        Run(("m.h5",), listed),
        Run(("m.h5", "--all"), allowed),
    )


def _keras(
    kind: str,
    slug: str,
    config: Callable[[Place], object],
    allowed=REFUSED,
    weights: bytes | None = None,
) -> None:
    add(
        "keras",
        kind,
        slug,
        lambda place: bases.keras3(place.work / "m.keras", config(place), weights),
        Run(("m.keras",), LISTED),
        Run(("m.keras", "--all"), allowed),
    )


def _op_layer(op: str, **constants: str) -> Callable[[Place], dict]:
    """A TensorFlowOpLayer, as Keras of TensorFlow 2.0 to 2.3 wrote them: a node of a graph, and its
    constants."""

    def make(place: Place) -> dict:
        held = {
            str(i): value.format(marker=place.marker, canary=place.canary)
            for i, value in enumerate(constants.values())
        }
        definition = {
            "name": "evil",
            "op": op,
            "input": ["x", *constants],
            "attr": {"T": {"type": "DT_FLOAT"}},
        }
        entry = {
            "class_name": "TensorFlowOpLayer",
            "config": {
                "name": "evil",
                "trainable": True,
                "dtype": "float32",
                "node_def": definition,
                "constants": held,
            },
        }
        return bases.functional2(
            [node(dense(), ["x", 0, 0, {}]), node(entry, ["dense", 0, 0, {}])], [["evil", 0, 0]]
        )

    return make


for op, constants in {
    "WriteFile": {"a": "{marker}", "b": "x"},
    "ReadFile": {"a": "{canary}"},
    "PyFunc": {"a": "os.system"},
    "MatchingFiles": {"a": "{canary}"},
    "Save": {"a": "{marker}"},
    "DebugIdentity": {"a": "file://{marker}"},
    "Abort": {},
}.items():
    _h5("code", f"op-layer-{op.lower()}", _op_layer(op, **constants))
for kind, config in {
    "ClassMethod": {"cls_symbol": "RaggedTensor", "method_name": "from_row_splits"},
    "InstanceMethod": {"method_name": "__class__"},
    "InstanceProperty": {"attr_name": "__dict__"},
    "SlicingOpLambda": {"function": "io.write_file"},
    "TFSMLayer": {"filepath": "../canary.h5"},
    "ModuleWrapper": {"module": "os", "method_name": "system"},
    "PreprocessingLayer": {},
    "AbstractRNNCell": {},
    "Wrapper": {"layer": {"class_name": "Lambda", "config": {}}},
    "RandomFourierFeatures": {"output_dim": 3, "kernel_initializer": "os.system"},
    "DenseFeatures": {
        "feature_columns": [
            {
                "class_name": "VocabularyFileCategoricalColumn",
                "config": {"vocabulary_file": "../canary.txt"},
            }
        ]
    },
}.items():
    _h5(
        "code",
        f"class-{kind.lower()}",
        lambda place, kind=kind, config=config: bases.sequential2(
            dense(), layer2(kind, "evil", **config)
        ),
    )
for slug, function in {
    "lookup": "lookup.TextFileInitializer",
    "record": "data.TFRecordDataset",
    "csv": "data.experimental.make_csv_dataset",
    "image": "io.decode_image",
    "module": "compat.v1.keras.models.load_model",
    "dotted": "io..write_file",
    "empty": "",
    "private": "_api.v2.io.write_file",
    "through-class": "__class__.__mro__",
    "raw": "raw_ops.PyFunc",
    "write-png": "keras.utils.save_img",
    "get-file": "keras.utils.get_file",
    "gradient": "custom_gradient",
    "py": "numpy_function",
    "autograph": "autograph.to_graph",
}.items():
    entry = {
        "class_name": "TFOpLambda",
        "config": {"name": "evil", "trainable": True, "dtype": "float32", "function": function},
    }
    _h5(
        "code",
        f"tf-operation-by-{slug}",
        lambda place, entry=entry: bases.functional2(
            [node(dense(), ["x", 0, 0, {}]), node(entry, ["dense", 0, 0, {}])], [["evil", 0, 0]]
        ),
    )
EVIL = {"module": "evil", "class_name": "Evil", "config": {}, "registered_name": None}


def _evil(config: Callable[[], object]) -> Callable[[Place], object]:
    def make(place: Place) -> object:
        (place.work / "evil.py").write_text(f"open({place.marker!r}, 'w')\n")
        return config()

    return make


for key in (
    "dtype",
    "kernel_regularizer",
    "bias_initializer",
    "activity_regularizer",
    "kernel_constraint",
    "activation",
    "quantization_config",
    "units",
    "name",
    "lora_rank",
    "trainable",
    "use_bias",
):
    _keras(
        "code",
        f"evil-as-{key.replace('_', '-')}",
        _evil(lambda key=key: bases.sequential3(dense3(**{key: EVIL}))),
    )
_keras(
    "code",
    "evil-typespec",
    _evil(
        lambda: bases.sequential3(
            dense3(
                kernel_initializer={
                    "class_name": "__typespec__",
                    "spec_name": "Evil",
                    "module": "evil",
                    "config": [],
                    "registered_name": None,
                }
            )
        )
    ),
)
_keras(
    "code",
    "evil-function",
    _evil(
        lambda: bases.sequential3(
            dense3(
                activation={
                    "module": "evil",
                    "class_name": "function",
                    "config": "Evil",
                    "registered_name": "Evil",
                }
            )
        )
    ),
)
_keras("code", "evil-in-input-layer", _evil(lambda: _with_input(dtype=EVIL)))
_keras(
    "code", "evil-in-batch-shape", _evil(lambda: bases.sequential3(dense3(), shape=[None, EVIL]))
)
_keras(
    "code",
    "evil-in-build-config",
    _evil(lambda: bases.sequential3({**dense3(), "build_config": EVIL})),
)
_keras("code", "evil-in-a-list", _evil(lambda: bases.sequential3(dense3(activation=[[[EVIL]]]))))
_keras(
    "code",
    "evil-in-a-slice",
    _evil(
        lambda: bases.sequential3(
            dense3(
                units={"class_name": "__slice__", "config": {"start": EVIL, "stop": 1, "step": 1}}
            )
        )
    ),
)
_keras(
    "code",
    "evil-in-bidirectional",
    _evil(
        lambda: bases.sequential3(
            layer3("Bidirectional", "b", layer=layer3("LSTM", "l", units=3), backward_layer=EVIL),
            shape=(None, 2, 4),
        )
    ),
)
_keras("code", "evil-in-attention-mask", _evil(lambda: _call_argument(EVIL)))
_keras(
    "code",
    "evil-in-optimizer",
    _evil(
        lambda: {
            **bases.sequential3(dense3()),
            "compile_config": {"optimizer": EVIL, "loss": EVIL, "metrics": [EVIL]},
        }
    ),
    BOTH,
)
_keras(
    "code",
    "evil-behind-a-shared-object",
    _evil(
        lambda: bases.sequential3(
            {**dense3(), "shared_object_id": 1}, {**EVIL, "shared_object_id": 1}
        )
    ),
)
_keras(
    "code",
    "module-keras-with-a-class-beside",
    _evil(lambda: bases.sequential3(dense3(), layer3("Evil", "e", "keras.src.evil"))),
)
_keras(
    "code",
    "module-with-dots",
    _evil(lambda: bases.sequential3(dense3(), layer3("Evil", "e", "keras.layers..evil"))),
)
_keras(
    "code",
    "module-relative",
    _evil(lambda: bases.sequential3(dense3(), layer3("Evil", "e", ".evil"))),
)
_keras(
    "code",
    "module-not-text",
    _evil(lambda: bases.sequential3(dense3(), {**EVIL, "module": ["evil"]})),
)
_keras(
    "code",
    "module-of-layer-renamed",
    _evil(lambda: bases.sequential3(layer3("Dense", "dense", "evil", units=3))),
)
_keras(
    "code",
    "class-with-a-dot",
    _evil(
        lambda: bases.sequential3(
            dense3(), layer3("core.lambda_layer.Lambda", "e", "keras.src.layers")
        )
    ),
)
_keras(
    "code",
    "registered-as-dense",
    _evil(
        lambda: bases.sequential3(layer3("Evil", "dense", "keras.layers", "keras>Dense", units=3))
    ),
)
_keras(
    "memory",
    "tensor-in-config",
    lambda place: bases.sequential3(
        dense3(
            kernel_initializer={
                "class_name": "__numpy__",
                "config": {"value": 1, "dtype": "U500000000"},
            }
        )
    ),
)
_keras(
    "malformed",
    "tensor-of-no-dtype",
    lambda place: bases.sequential3(
        dense3(units={"class_name": "__tensor__", "config": {"value": "agree", "dtype": "agree"}})
    ),
)


def _with_input(**changes: object) -> dict:
    config = bases.sequential3(dense3())
    config["config"]["layers"][0]["config"].update(changes)
    return config


def _call_argument(value: object) -> dict:
    """A functional model that calls Dense with one argument more."""
    tensor = {
        "class_name": "__keras_tensor__",
        "config": {"shape": [None, 4], "dtype": "float32", "keras_history": ["x", 0, 0]},
    }
    first = {**bases.sequential3()["config"]["layers"][0], "name": "x", "inbound_nodes": []}
    entry = {
        **dense3(),
        "name": "dense",
        "inbound_nodes": [{"args": [tensor], "kwargs": {"training": value}}],
    }
    return {
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "config": {
            "name": "model",
            "trainable": True,
            "layers": [first, entry],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["dense", 0, 0]],
        },
    }


def _upsampled(count: int) -> list[dict]:
    return [layer2("UpSampling1D", f"u{i}", size=8) for i in range(count)]


_h5(
    "memory",
    "upsampling-ten-times",
    lambda place: bases.sequential2(*_upsampled(10), shape=(None, 2, 4)),
    weights={},
)
_h5(
    "memory",
    "padding-ten-times",
    lambda place: bases.sequential2(
        *(layer2("ZeroPadding1D", f"u{i}", padding=[8**i, 8**i]) for i in range(10)),
        shape=(None, 2, 4),
    ),
    weights={},
)
_h5("memory", "concatenate-doubles", lambda place: _doubled(30), weights={})
_h5(
    "memory",
    "sequence-of-four-gib",
    lambda place: bases.sequential2(dense(), shape=(None, 2**28, 4)),
)
_h5("memory", "batch-of-four-gib", lambda place: bases.sequential2(dense(), shape=(2**28, 4)))
_h5(
    "memory",
    "unknown-axes-many",
    lambda place: bases.sequential2(
        layer2("Flatten", "f", data_format="channels_last"), shape=[None] * 24
    ),
    weights={},
)
_h5(
    "memory",
    "weights-and-config-agree-on-four-gib",
    lambda place: bases.sequential2(dense(units=2**28)),
    weights={"dense": {"dense/bias:0": bases.BIAS}},
    edit=lambda file: _sparse_weights(file),
)
_h5(
    "hang",
    "time-steps-many",
    lambda place: bases.sequential2(layer2("LSTM", "l", units=1), shape=(None, 2_000_000, 1)),
    weights={
        "l": {
            "l/k:0": np.ones((1, 4), np.float32),
            "l/r:0": np.ones((1, 4), np.float32),
            "l/b:0": np.ones(4, np.float32),
        }
    },
)


def _doubled(count: int) -> dict:
    layers, above = [], "x"
    for i in range(count):
        layers.append(
            node(layer2("Concatenate", f"c{i}", axis=-1), [above, 0, 0, {}], [above, 0, 0, {}])
        )
        above = f"c{i}"
    return bases.functional2(layers, [[above, 0, 0]])


def _sparse_weights(file: h5py.File) -> None:
    group = file["model_weights/dense"]
    group["dense"].create_dataset("kernel:0", (4, 2**28), "f4", chunks=(4, 2**16))
    del group["dense/bias:0"]
    group["dense"].create_dataset("bias:0", (2**28,), "f4", chunks=(2**16,))
    group.attrs["weight_names"] = np.array([b"dense/kernel:0", b"dense/bias:0"])


# HDF5 that leads in circles


def _of_file(
    kind: str, slug: str, edit: Callable[[Place, h5py.File], None], allowed=REFUSED
) -> None:
    add(
        "h5",
        kind,
        slug,
        lambda place: bases.keras2(place.work / "m.h5", edit=lambda file: edit(place, file)),
        Run(("m.h5",), LISTED),
        Run(("m.h5", "--all"), allowed),
    )


def _virtual(group: h5py.Group, name: str, path: str, dataset: str) -> None:
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[...] = h5py.VirtualSource(path, dataset, (4, 3), dtype="f4")
    group.create_virtual_dataset(name, layout)


def _kernel(file: h5py.File) -> h5py.Group:
    del file["model_weights/dense/dense/kernel:0"]
    return file["model_weights/dense/dense"]


_of_file(
    "hang",
    "virtual-of-itself",
    lambda place, file: _virtual(
        _kernel(file), "kernel:0", "m.h5", "/model_weights/dense/dense/kernel:0"
    ),
)
_of_file(
    "hang",
    "virtual-of-each-other",
    lambda place, file: (
        _virtual(_kernel(file), "kernel:0", ".", "/b"),
        _virtual(file, "b", ".", "/model_weights/dense/dense/kernel:0"),
    ),
)
_of_file(
    "hang",
    "external-link-to-itself",
    lambda place, file: _kernel(file).__setitem__(
        "kernel:0", h5py.ExternalLink("m.h5", "/model_weights/dense/dense/kernel:0")
    ),
)
_of_file(
    "hang",
    "external-link-to-a-fifo",
    lambda place, file: (
        __import__("os").mkfifo(place.work / "pipe"),
        _kernel(file).__setitem__("kernel:0", h5py.ExternalLink("pipe", "/a")),
    ),
)
_of_file(
    "hang",
    "external-storage-of-a-fifo",
    lambda place, file: (
        __import__("os").mkfifo(place.work / "pipe"),
        _kernel(file).create_dataset("kernel:0", (4, 3), "f4", external=[("pipe", 0, 48)]),
    ),
)
_of_file(
    "read",
    "external-link-to-beside",
    lambda place, file: (
        _beside(place),
        _kernel(file).__setitem__("kernel:0", h5py.ExternalLink("other.h5", "/secret")),
    ),
)
_of_file(
    "read",
    "named-type-and-region",
    lambda place, file: (
        file.__setitem__("type", np.dtype("f4")),
        file.__setitem__("region", file["model_weights/dense/dense/bias:0"].regionref[:2]),
    ),
    BOTH,
)
_of_file("read", "user-defined-link", lambda place, file: _user_link(file), BOTH)
_of_file(
    "memory",
    "attribute-of-long-texts",
    lambda place, file: file.attrs.create(
        "big", np.array(["a" * 10_000_000] * 5, object), dtype=h5py.string_dtype()
    ),
    BOTH,
)
_of_file(
    "memory",
    "layer-names-long",
    lambda place, file: file["model_weights"].attrs.create(
        "layer_names", np.array([b"dense".ljust(30_000, b"a"), b"b"])
    ),
)


def _beside(place: Place) -> None:
    with h5py.File(place.work / "other.h5", "w") as file:
        file["secret"] = bases.KERNEL


def _user_link(file: h5py.File) -> None:
    """A soft link whose path leads through itself."""
    file["loop"] = h5py.SoftLink("/loop/loop/loop")


def _damaged(
    slug: str, signature: bytes, edit: Callable[[bytearray, int], None], which: int = 0
) -> None:
    """The bytes behind a signature of HDF5's changed."""

    def build(place: Place) -> None:
        with h5py.File(
            place.work / "m.h5",
            "w",
            libver="latest" if signature in (b"OHDR", b"FRHP", b"FADB", b"BTHD") else "earliest",
        ) as file:
            file.attrs["keras_version"], file.attrs["backend"], file.attrs["model_config"] = (
                "2.15.0",
                "tensorflow",
                json.dumps(bases.sequential2(dense())),
            )
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = np.array([b"dense"])
            inner = group.create_group("dense")
            inner.attrs["weight_names"] = np.array([b"dense/kernel:0", b"dense/bias:0"])
            inner.create_dataset("dense/kernel:0", data=bases.KERNEL, chunks=(2, 3))
            inner["dense/bias:0"] = bases.BIAS
            for i in range(40):
                file.attrs[f"a{i}"] = "b" * 50
        content = bytearray((place.work / "m.h5").read_bytes())
        at = -1
        for _ in range(which + 1):
            at = content.find(signature, at + 1)
        assert at >= 0, signature
        edit(content, at)
        (place.work / "m.h5").write_bytes(content)

    add("h5", "hang", slug, build, Run(("m.h5",), ANY), Run(("m.h5", "--all"), ANY))


def _put(offset: int, values: bytes | None = None) -> Callable[[bytearray, int], None]:
    """Writes at an offset; where nothing is given, the address of the structure itself."""

    def edit(content: bytearray, at: int) -> None:
        made = struct.pack("<Q", at) if values is None else values
        content[at + offset : at + offset + len(made)] = made

    return edit


_damaged("group-tree-child-is-itself", b"TREE", _put(32))
_damaged("group-tree-sibling-is-itself", b"TREE", _put(16))
_damaged("second-tree-child-is-itself", b"TREE", _put(32), 1)
_damaged("chunk-tree-sibling-is-itself", b"TREE\x01", _put(16))
_damaged("tree-of-many-levels", b"TREE", _put(5, b"\xff"))
_damaged("tree-of-many-entries", b"TREE", _put(6, b"\xff\xff"))
_damaged("heap-free-list-is-itself", b"HEAP", _put(16, struct.pack("<Q", 0)))
_damaged("heap-segment-is-itself", b"HEAP", _put(24))
_damaged("heap-size-huge", b"HEAP", _put(8, b"\xff" * 8))
_damaged("symbols-many", b"SNOD", _put(6, b"\xff\xff"))
_damaged("symbol-is-its-node", b"SNOD", _put(16))
_damaged("new-header-flags", b"OHDR", _put(5, b"\xff"))
_damaged("new-header-size", b"OHDR", _put(6, b"\xff" * 4))

# Arrays that are no regular files or grow


def _sparse(name: str, start: bytes) -> Callable[[Place], None]:
    def build(place: Place) -> None:
        bases.onnx_file(place.work / "m.onnx")
        np.save(place.work / "x.npy", bases.X)
        with (place.work / name).open("wb") as file:
            file.write(start)
            file.truncate(20 * 2**30)

    return build


for name, start in {
    "v.txt": b"1 2 3\n",
    "v.csv": b"1,2,3\n",
    "v.npz": b"PK\x03\x04",
    "v.pt": b"PK\x03\x04",
    "v.onnx": b"\x08\x08",
    "v.h5": b"\x89HDF\r\n\x1a\n",
    "v.keras": b"PK\x03\x04",
    "v.safetensors": struct.pack("<Q", 16) + b'{"a":{}}        ',
    "v.pkl": b"\x80\x02}",
}.items():
    add(
        "path",
        "memory",
        f"sparse-{name[2:]}",
        _sparse(name, start),
        Run((name,), REFUSED),
        Run((name, "--all"), REFUSED),
        Run(("m.onnx", "--layer", "fc", "--input", "x.npy", "--expect", name), REFUSED),
        Run(("m.onnx", "--layer", "fc", "--input", name), REFUSED),
    )


def _npz(slug: str, kind: str, members: dict[str, bytes], allowed, listed=AGREES) -> None:
    """The archive by itself, whose arrays are listed by their names, and as values."""

    def build(place: Place) -> None:
        bases.onnx_file(place.work / "m.onnx")
        np.save(place.work / "x.npy", bases.X)
        bases.zipped(place.work / "v.npz", members.items(), zipfile.ZIP_STORED)

    add(
        "npz",
        kind,
        slug,
        build,
        Run(("v.npz",), listed),
        Run(("m.onnx", "--layer", "fc", "--input", "x.npy", "--expect", "v.npz"), allowed),
        Run(("m.onnx", "--all", "--input", "x.npy", "--expect", "v.npz"), allowed),
    )


_npz("zip-in-a-zip", "hang", {"fc.npy": b"PK\x03\x04" + bytes(100)}, REFUSED, REFUSED)
_npz(
    "name-of-nothing-and-right",
    "malformed",
    {"fc.npy": bases.array_bytes(bases.Y), "nobody.npy": bases.array_bytes(bases.Y)},
    NOT_AGREES | BOTH,
)
_npz("wrong-values", "malformed", {"fc.npy": bases.array_bytes(-bases.Y)}, frozenset({1}))
_npz(
    "right-values-of-big-endian",
    "malformed",
    {"fc.npy": bases.array_bytes(bases.Y.astype(">f4"))},
    BOTH,
)
_npz(
    "claims-to-be-a-recording",
    "malformed",
    {
        "version.npy": bases.array_bytes(np.array(10**9)),
        "layers.npy": bases.array_bytes(np.array("{" * 100_000)),
    },
    REFUSED,
)
