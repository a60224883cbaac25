"""A case of every ONNX operator that is described, as models of one node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 6, 8)).astype(np.float32)
V = RNG.normal(size=(4, 6)).astype(np.float32)
P = np.abs(V) + np.float32(0.1)
B = V > 0


def w(*shape, rng=RNG):
    return rng.normal(size=shape).astype(np.float32)


def model(nodes, inputs, held=(), outputs=("y",), opset=22, shape=True):
    """A ModelProto of these nodes; the inputs' first size is free."""
    declared = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(x.dtype),
            [f"{name}_batch", *x.shape[1:]] if shape and x.ndim else x.shape,
        )
        for name, x in inputs.items()
    ]
    given = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(held).items()]
    graph = helper.make_graph(
        list(nodes), "graph", declared, [onnx.ValueInfoProto(name=name) for name in outputs], given
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


GRID, MAPS = (RNG.uniform(-1.3, 1.3, size).astype(np.float32) for size in ((2, 3, 5, 2), (2, 2, 3)))
S = RNG.normal(size=(2, 40, 1)).astype(np.float32)
INT = np.int64
CASES = [
    *(
        (kind, [V], {})
        for kind in (
            "Abs",
            "Atan",
            "Ceil",
            "Cos",
            "Erf",
            "Exp",
            "Floor",
            "HardSwish",
            "Identity",
            "IsNaN",
            "IsInf",
            "Mish",
        )
    ),
    *(
        (kind, [V], {})
        for kind in (
            "Neg",
            "Relu",
            "Round",
            "Sigmoid",
            "Sign",
            "Sin",
            "Sinh",
            "Softplus",
            "Softsign",
            "Tan",
            "Tanh",
        )
    ),
    *(
        (kind, [V], {})
        for kind in (
            "Cosh",
            "Asinh",
            "Elu",
            "Selu",
            "Celu",
            "HardSigmoid",
            "LeakyRelu",
            "Shrink",
            "ThresholdedRelu",
            "Gelu",
        )
    ),
    *((kind, [P], {}) for kind in ("Log", "Sqrt", "Reciprocal")),
    *((kind, [np.tanh(V) * np.float32(0.9)], {}) for kind in ("Acos", "Asin", "Atanh")),
    ("Acosh", [1 + P], {}),
    ("Gelu", [V], {"approximate": "tanh"}),
    ("Elu", [V], {"alpha": 0.3}),
    ("HardSigmoid", [V], {"alpha": 0.3, "beta": 0.4}),
    ("PRelu", [V, "s:", w(6)], {}),
    ("PRelu", [V, w(4, 6)], {}),
    ("Selu", [V], {"alpha": 1.5, "gamma": 0.9}),
    ("Not", [B], {}),
    *(
        (kind, [V, "s:", w(6)], {})
        for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum")
    ),
    *(
        (kind, [V, V[::-1].copy()], {})
        for kind in ("Add", "Mul", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")
    ),
    *((kind, [B, ~B[::-1]], {}) for kind in ("And", "Or", "Xor")),
    ("Pow", [P, "s:", np.float32(1.7)], {}),
    ("Mod", [V, "s:", np.float32(0.7)], {"fmod": 1}),
    ("Div", [np.arange(24).reshape(4, 6) - 9, "s:", np.array(4)], {}),
    ("Where", [B, V, "s:", np.float32(0)], {}),
    ("Cast", [V], {"to": TensorProto.INT64}),
    ("Cast", [V], {"to": TensorProto.FLOAT16}),
    ("Clip", [V, "s:", np.float32(-0.5), "s:", np.float32(0.7)], {}),
    ("Dropout", [V], {}),
    ("CumSum", [V, "s:", np.array(1)], {}),
    ("MatMul", [V, "s:", w(6, 5)], {}),
    ("MatMul", [V, V.T.copy()], {}),
    ("Gemm", [V, "s:", w(5, 6), "s:", w(5)], {"transB": 1}),
    ("Gemm", [V, "s:", w(6, 5), "s:", w(5)], {"alpha": 0.5, "beta": 0.3}),
    ("Einsum", [V, "s:", w(6, 3)], {"equation": "ij,jk->ki"}),
    ("Conv", [X, "s:", w(4, 3, 3, 2), "s:", w(4)], {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
    ("Conv", [X, "s:", w(6, 1, 3, 3)], {"group": 3, "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", [X, "s:", w(4, 3, 2, 2)], {"auto_pad": "SAME_UPPER", "strides": [1, 2]}),
    ("Conv", [X, X[:1, :, :3, :3].copy()], {}),
    (
        "ConvTranspose",
        [X, "s:", w(3, 4, 3, 2), "s:", w(4)],
        {"pads": [1, 0, 2, 1], "strides": [2, 1], "output_padding": [1, 0]},
    ),
    ("ConvTranspose", [X, "s:", w(3, 2, 3, 3)], {"group": 3, "dilations": [1, 2]}),
    ("ConvTranspose", [X, X[0, :, None, :3, :3].copy()], {"strides": [1, 2]}),
    ("MaxPool", [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", [X], {"kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}),
    ("GlobalAveragePool", [X], {}),
    ("GlobalMaxPool", [X], {}),
    (
        "BatchNormalization",
        [X, "s:", w(3), "s:", w(3), "s:", w(3), "s:", np.abs(w(3)) + 1],
        {"epsilon": 1e-3},
    ),
    ("LayerNormalization", [X, "s:", w(8), "s:", w(8)], {}),
    ("LayerNormalization", [X, "s:", w(6, 8)], {"axis": 2}),
    ("InstanceNormalization", [X, "s:", w(3), "s:", w(3)], {}),
    ("GroupNormalization", [X, "s:", w(3), "s:", w(3)], {"num_groups": 3}),
    *((kind, [X], {"axis": 1}) for kind in ("Softmax", "LogSoftmax")),
    *(
        (f"Reduce{kind}", [X, "s:", np.array([1, -1])], {"keepdims": 0})
        for kind in ("Max", "Mean", "Min", "Sum", "L1", "L2")
    ),
    *((f"Reduce{kind}", [V], {}) for kind in ("LogSumExp", "Prod", "SumSquare")),
    *((kind, [X], {"axis": 2, "keepdims": 0}) for kind in ("ArgMax", "ArgMin")),
    ("Reshape", [X, "s:", np.array([0, -1])], {}),
    ("Flatten", [X], {}),
    ("Unsqueeze", [V, "s:", np.array([0])], {}),
    ("Squeeze", [V[:, None], "s:", np.array([1])], {}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [V], {}),
    ("Concat", [V, V], {"axis": 1}),
    (
        "Slice",
        [
            X,
            "s:",
            np.array([1, -2]),
            "s:",
            np.array([99, -9]),
            "s:",
            np.array([1, 3]),
            "s:",
            np.array([1, -2]),
        ],
        {},
    ),
    ("Pad", [X, "s:", np.array([0, 0, 1, 2, 0, 0, 0, 1]), "s:", np.float32(0.5)], {}),
    *(
        ("Pad", [X, "s:", np.array([0, 0, 1, 2, 0, 0, 0, 1])], {"mode": mode})
        for mode in ("reflect", "edge", "wrap")
    ),
    ("Pad", [X, "s:", np.array([0, 0, -1, 2, 0, 1, 0, -3])], {}),
    *((kind, [(9 * X).astype(np.uint8)], {"kernel_shape": [2, 2]}) for kind in ("MaxPool",)),
    ("Concat", [(9 * V).astype(np.int8), (9 * V).astype(np.int8)], {"axis": 1}),
    ("Clip", [(9 * V).astype(np.int8), "s:", np.int8(-3), "s:", np.int8(4)], {}),
    ("Expand", [V[:, :1], "s:", np.array([4, 3])], {}),
    ("Tile", [V, "s:", np.array([2, 1])], {}),
    ("Gather", [V, "s:", np.array([[0, 3], [-1, 1]])], {"axis": 1}),
    ("Gather", ["s:", w(9, 5), np.array([[0, 3], [8, 1]])], {}),
    ("GatherElements", [V, "s:", np.array([[0, 3]])], {"axis": 1}),
    *(
        ("GridSample", [X, GRID], {"mode": mode, "align_corners": at})
        for mode in ("linear", "nearest", "cubic")
        for at in (0, 1)
    ),
    *(("GridSample", [X, GRID], {"padding_mode": name}) for name in ("border", "reflection")),
    *(("AffineGrid", [MAPS, "s:", np.array([2, 3, 5, 6])], {"align_corners": at}) for at in (0, 1)),
    ("DFT", [X[..., :1]], {}),
    ("DFT", [X[..., :2], "s:", np.array(5), "s:", np.array(2)], {"inverse": 1}),
    ("DFT", [X[..., :1], "s:", np.array(9), "s:", np.array(1)], {"onesided": 1}),
    ("DFT", [np.tile(X, (1, 1, 25, 1))[..., :2]], {"inverse": 1}),
    ("STFT", [S, "s:", np.array(3), "s:", w(8)], {}),
    ("STFT", [S, "s:", np.array(4), "", np.array(10)], {"onesided": 0}),
    ("GatherND", [V, "s:", np.array([[0, 3], [1, 1]])], {}),
    ("ScatterND", [V, "s:", np.array([[0, 3], [1, 1]]), "s:", w(2)], {}),
    (
        "ScatterElements",
        [V, "s:", np.array([[0, 3]]), "s:", w(1, 2)],
        {"axis": 1, "reduction": "add"},
    ),
    ("Trilu", [V, "s:", np.array(1)], {"upper": 0}),
    ("DepthToSpace", [w(2, 8, 3, 2)], {"blocksize": 2}),
    ("DepthToSpace", [w(2, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}),
    ("SpaceToDepth", [X], {"blocksize": 2}),
    *(
        ("CumSum", [X, "s:", np.array(-1)], {"exclusive": a, "reverse": b})
        for a, b in ((0, 1), (1, 0), (1, 1))
    ),
    ("CastLike", [V, "s:", np.zeros(1, np.int32)], {}),
    ("IsInf", [np.array([1, np.inf, -np.inf, np.nan], np.float32)], {"detect_negative": 0}),
    ("IsInf", [np.array([1, np.inf, -np.inf, np.nan], np.float32)], {"detect_positive": 0}),
    ("LRN", [w(2, 7, 3, 2)], {"size": 3}),
    ("LRN", [w(2, 7, 3, 2)], {"size": 5, "alpha": 0.3, "beta": 0.6, "bias": 0.8}),
    *(("LpNormalization", [X], {"p": p, "axis": 1}) for p in (1, 2)),
    ("MeanVarianceNormalization", [X + 3], {}),
    ("MeanVarianceNormalization", [X], {"axes": [1, 3]}),
    *(("Hardmax", [np.round(X)], {"axis": axis}) for axis in (1, 3)),
    *(
        ("LpPool", [X], {"kernel_shape": [2, 3], "strides": [1, 2], "pads": [1, 0, 0, 1], "p": p})
        for p in (1, 2, 3)
    ),
    *(("ReduceLogSum", [P, "s:", np.array([axis])], {}) for axis in (0, 1)),
    *(
        ("ArgMax", [np.round(X)], {"axis": axis, "keepdims": 0, "select_last_index": 1})
        for axis in (1, -1)
    ),
    ("CenterCropPad", [X, "s:", np.array([2, 4, 3, 9])], {}),
    ("CenterCropPad", [X, "s:", np.array([3, 11])], {"axes": [2, 3]}),
    ("Col2Im", [w(2, 12, 6), "s:", np.array([4, 5]), "s:", np.array([2, 3])], {"strides": [2, 1]}),
    (
        "Col2Im",
        [w(2, 6, 16), "s:", np.array([4, 5]), "s:", np.array([3, 2])],
        {"pads": [1, 0, 1, 0]},
    ),
    *(
        ("Compress", [V, "s:", np.array([True, False, True, True])], more)
        for more in ({}, {"axis": 0}, {"axis": 1})
    ),
    ("ReverseSequence", [w(5, 3, 2), "s:", np.array([5, 1, 3])], {}),
    ("ReverseSequence", [w(3, 5, 2), "s:", np.array([5, 1, 3])], {"batch_axis": 0, "time_axis": 1}),
    (
        "MaxUnpool",
        [X[..., :2], "s:", np.arange(72).reshape(2, 3, 6, 2) * 4],
        {"kernel_shape": [1, 4], "strides": [1, 4]},
    ),
    (
        "MaxUnpool",
        [X[..., :2], "s:", np.arange(72).reshape(2, 3, 6, 2) * 4, "s:", np.array([2, 3, 7, 8])],
        {"kernel_shape": [1, 4]},
    ),
    *(
        ("OneHot", [np.array([[0, 2], [-1, 1]]), "s:", np.array(4), "s:", w(2)], {"axis": axis})
        for axis in (-1, 0, 1)
    ),
    (
        "OneHot",
        [np.array([0, 2, 1]), "s:", np.array(4), "s:", np.array([0.0, 1.0], np.float32)],
        {},
    ),
    ("Gemm", [V, "s:", V[:, :5].copy(), "s:", V[0, :5].copy()], {"transA": 1}),
    (
        "Gemm",
        [V, V[:, :4].copy(), V[:1, :4].copy()],
        {"alpha": 0.5, "transA": 1, "transB": 1, "beta": 2.0},
    ),
    ("Shrink", [V], {"bias": 0.2, "lambd": 0.7}),
]


def single(kind, values, attributes, opset=22, outputs=("y",)):
    """A model of one node; what follows "s:" is an initializer, "" is an input left out."""
    inputs, held, names = {}, {}, []
    for at, value in enumerate(values):
        if isinstance(value, str):
            names += [] if value else [""]
            continue
        name = f"v{at}"
        (held if at and isinstance(values[at - 1], str) else inputs)[name] = value
        names.append(name)
    node = helper.make_node(kind, names, list(outputs), name="node", **attributes)
    return model([node], inputs, held, outputs, opset), list(inputs.values())


Q, K = w(2, 4, 3, 6), w(2, 2, 5, 6)


F32, I64, TRUTH = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def graph(nodes, inputs, outputs, held=()):
    """What If, Loop and Scan run; inputs are names and types, floats in a rank that is not said."""
    takes = [
        helper.make_tensor_value_info(name, kind, None if kind == F32 else ())
        for name, kind in inputs
    ]
    gives = [onnx.ValueInfoProto(name=name) for name in outputs]
    nodes = [helper.make_node(kind, names, made, **more) for kind, names, made, more in nodes]
    return helper.make_graph(
        nodes,
        "inner",
        takes,
        gives,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(held).items()],
    )


DENSE = {"k": w(6, 6)}
DROPS = {"r": np.float32(0.5), "on": np.array(True)}
STEP = graph(
    [
        ("MatMul", ["s", "k"], ["m"], {}),
        ("Add", ["m", "p"], ["a"], {}),
        ("Tanh", ["a"], ["t"], {}),
        ("Neg", ["t"], ["z"], {}),
    ],
    [("s", F32), ("p", F32)],
    ["t", "z"],
    DENSE,
)
"""A recurrence: its state, and what it gives in each round."""
ROUND = graph(
    [
        ("MatMul", ["s", "k"], ["m"], {}),
        ("Tanh", ["m"], ["t"], {}),
        ("Less", ["n", "end"], ["more"], {}),
        ("Identity", ["t"], ["z"], {}),
    ],
    [("n", I64), ("going", TRUTH), ("s", F32)],
    ["more", "t", "z"],
    DENSE | {"end": np.array(2)},
)
"""Ends after its fourth round, whatever it is told."""
BRANCHES = {
    "then_branch": graph(
        [("MatMul", ["v1", "k"], ["m"], {}), ("Relu", ["m"], ["o"], {})], [], ["o"], DENSE
    ),
    "else_branch": graph([("Neg", ["v1"], ["o"], {})], [], ["o"]),
}
"""Both take v1 from outside."""
BOXES, SCORES = RNG.random((2, 9, 4)).astype(np.float32), RNG.random((2, 3, 9)).astype(np.float32)
GRAMS = RNG.integers(0, 3, (3, 12)).astype(np.int64)
POOL = {
    **{
        "pool_int64s": [0, 2, 0, 1, 2, 2, 1, 0, 2],
        "ngram_counts": [0, 2, 6],
        "ngram_indexes": [4, 0, 1, 3, 2],
    },
    **{"min_gram_length": 1, "max_gram_length": 3, "max_skip_count": 2},
}
U8 = (RNG.random((4, 6)) * 256).astype(np.uint8)
LATER = [
    (17, "DFT", [X[..., :2]], {"axis": 2}),
    (24, "Swish", [V], {"alpha": 0.7}),
    (26, "CumProd", [V, "s:", np.array(1)], {"exclusive": 1}),
    (26, "CumProd", [V, "s:", np.array(0)], {"reverse": 1}),
    (23, "RMSNormalization", [X, "s:", w(8)], {}),
    (23, "RMSNormalization", [X, "s:", w(6, 8)], {"axis": 2, "epsilon": 0.1}),
    (24, "TensorScatter", [w(2, 5, 3), w(2, 2, 3), "s:", np.array([1, 3])], {"axis": 1}),
    (
        24,
        "TensorScatter",
        [w(2, 3, 5, 4), w(2, 3, 2, 4), "s:", np.array([4, 0])],
        {"mode": "circular"},
    ),
    (23, "Attention", [Q, w(2, 4, 5, 6), w(2, 4, 5, 7)], {}),
    (23, "Attention", [Q, K, w(2, 2, 5, 7)], {"is_causal": 1, "scale": 0.2}),
    (23, "Attention", [w(2, 3, 12), w(2, 5, 6), w(2, 5, 8)], {"q_num_heads": 4, "kv_num_heads": 2}),
    (23, "Attention", [Q, w(2, 4, 5, 6), w(2, 4, 5, 7), "s:", w(3, 5)], {}),
    (23, "Attention", [Q, w(2, 4, 5, 6), w(2, 4, 5, 7), "s:", RNG.random((3, 5)) > 0.2], {}),
    *(
        (
            23,
            "RotaryEmbedding",
            [Q, "s:", w(9, 3), "s:", w(9, 3), "s:", np.array([[0, 3, 8]] * 2)],
            {"interleaved": at},
        )
        for at in (0, 1)
    ),
    (
        23,
        "RotaryEmbedding",
        [w(2, 3, 16), "s:", w(2, 3, 2), "s:", w(2, 3, 2)],
        {"num_heads": 2, "rotary_embedding_dim": 4},
    ),
    *(
        (
            at,
            "BatchNormalization",
            [X, "s:", w(3), "s:", w(3), "s:", w(3), "s:", np.abs(w(3)) + 1],
            {},
        )
        for at in (7, 9, 14, 15)
    ),
    (18, "GroupNormalization", [w(2, 6, 4, 3), "s:", w(2), "s:", w(2)], {"num_groups": 2}),
    *((at, "Clip", [V], {"min": -0.5, "max": 0.3}) for at in (7, 10)),
    (10, "Slice", [X, "s:", np.array([1, 0]), "s:", np.array([3, 9]), "s:", np.array([1, 3])], {}),
    (9, "Slice", [X], {"starts": [1, -3], "ends": [3, 99], "axes": [1, 3]}),
    (10, "Pad", [X], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}),
    *((at, "Squeeze", [V[:, None]], {"axes": [1]}) for at in (7, 11)),
    *((at, "ReduceSum", [X], {"axes": [1, 3], "keepdims": 0}) for at in (7, 11)),
    *((at, "ReduceMax", [X], {"axes": [1]}) for at in (7, 11, 13)),
    (17, "ReduceMean", [X], {"axes": [-1]}),
    (8, "Dropout", [V], {"ratio": 0.3}),
    *((at, "Gemm", [V, "s:", w(6, 5), "s:", w(5)], {}) for at in (7, 9)),
    *((2, "GlobalLpPool", [X], {"p": p}) for p in (1, 2, 3)),
    *((12, "Hardmax", [np.round(X)], {"axis": axis}) for axis in (0, 2, 3)),
    (
        22,
        "LpNormalization",
        [
            np.where(X > 0, X, 0) * (np.arange(8) > 2),
        ],
        {"axis": 1},
    ),
    (22, "NegativeLogLikelihoodLoss", [-np.abs(V), np.array([0, 5, 2, 2])], {}),
    (
        13,
        "SoftmaxCrossEntropyLoss",
        [V, np.array([0, 5, 2, 2]), "s:", np.abs(w(6))],
        {"ignore_index": 5, "reduction": "sum"},
    ),
    (17, "LayerNormalization", [X, w(6, 8), w(6, 8)], {"axis": 2}),
    (17, "LayerNormalization", [X, "s:", w(8), w(8)], {}),
    (17, "LayerNormalization", [X, "s:", w(6, 1)], {"axis": 2}),
    (23, "RMSNormalization", [X, w(8)], {}),
    (
        15,
        "BatchNormalization",
        [X, w(3), "s:", w(3), w(3), "s:", np.abs(w(3)) + 1],
        {"epsilon": 1e-3},
    ),
    (22, "InstanceNormalization", [X, w(3), "s:", w(3)], {}),
    (21, "GroupNormalization", [w(2, 6, 4, 3), w(6), w(6)], {"num_groups": 2}),
    (18, "GroupNormalization", [w(2, 6, 4, 3), w(2), "s:", w(2)], {"num_groups": 2}),
    *((18, f"Bitwise{kind}", [U8, "s:", U8[:1].copy()], {}) for kind in ("And", "Or", "Xor")),
    (18, "BitwiseNot", [U8], {}),
    (26, "BitCast", [V], {"to": TensorProto.INT32}),
    (26, "BitCast", [U8], {"to": TensorProto.INT8}),
    (26, "BitCast", [V.astype(np.int16) * 9999], {"to": TensorProto.UINT16}),
    *(
        (
            28,
            "BitShift",
            [U8.view(np.int8), "s:", np.arange(6, dtype=np.int8) * 2],
            {"direction": way},
        )
        for way in ("LEFT", "RIGHT")
    ),
    (27, "Range", [np.float32(0.5), np.float32(9), np.float32(0.3)], {}),
    (
        22,
        "ConstantOfShape",
        [np.array([2, 3])],
        {"value": numpy_helper.from_array(np.array([2.5], np.float32))},
    ),
    (22, "EyeLike", [V], {"k": 1}),
    *(
        (17, f"{kind}Window", [np.array(9)], {"periodic": at})
        for kind in ("Hann", "Hamming", "Blackman")
        for at in (0, 1)
    ),
    *(
        (22, "AveragePool", [X], {"kernel_shape": [2, 3], "dilations": [2, 1], **more})
        for more in ({}, {"ceil_mode": 1, "strides": [2, 2]})
    ),
    *(
        (
            22,
            "AveragePool",
            [X],
            {
                "kernel_shape": [2, 2],
                "dilations": [2, 2],
                "pads": [1, 1, 0, 1],
                "count_include_pad": at,
            },
        )
        for at in (0, 1)
    ),
    *(
        (22, "LpPool", [X], {"kernel_shape": [2, 3], "p": p, **more})
        for p in (1, 2)
        for more in ({"dilations": [2, 1]}, {"ceil_mode": 1})
    ),
    *(
        (
            18,
            "ScatterElements",
            [V, "s:", np.array([[0, 3, 0]]), w(1, 3)],
            {"axis": 1, "reduction": how},
        )
        for how in ("mul", "max", "min")
    ),
    *(
        (18, "ScatterND", [V, "s:", np.array([[3], [1], [3]]), w(3, 6)], {"reduction": how})
        for how in ("add", "mul", "max", "min")
    ),
    (13, "GatherND", [w(2, 3, 4), "s:", np.array([[[0, 1]], [[2, 3]]])], {"batch_dims": 1}),
    (
        11,
        "OneHot",
        [
            np.array([0.0, 2.0, -1.0], np.float32),
            "s:",
            np.array(4.0, np.float32),
            "s:",
            np.array([0.0, 1.0], np.float32),
        ],
        {},
    ),
    (22, "Dropout", [V, "s:", np.float32(0.3), "s:", np.array(False)], {}),
    (13, "NonZero", [np.where(V > 0, V, 0)], {}),
    (11, "Unique", [np.round(V)], {}),
    (
        11,
        "NonMaxSuppression",
        [BOXES, SCORES, "s:", np.array([3]), "s:", np.float32([0.3]), "s:", np.float32([0.1])],
        {},
    ),
    *(
        (
            20,
            "DFT",
            [X[..., :2], "s:", np.array(size), "s:", np.array(1)],
            {"inverse": 1, "onesided": 1},
        )
        for size in (4, 5)
    ),
    (19, "DFT", [X[..., :2]], {"axis": 2, "inverse": 1, "onesided": 1}),
    (22, "Det", [w(2, 3, 5, 5)], {}),
    *(
        (9, "TfIdfVectorizer", [GRAMS], {"mode": mode, "weights": [0.5, 2.0, 3.0, 0.3, 1.7]} | POOL)
        for mode in ("TF", "IDF", "TFIDF")
    ),
    (9, "Scatter", [V, "s:", np.array([[0, 3]]), "s:", w(1, 2)], {"axis": 1}),
]
HEADS = {"q_num_heads": 4, "kv_num_heads": 2}
SEVERAL = [
    *(
        (11, ["y", "i", "r", "n"], "Unique", [np.round(V)], more)
        for more in ({}, {"sorted": 0}, {"axis": 0}, {"axis": -1, "sorted": 0})
    ),
    (22, ["y", "z"], "Split", [V], {"axis": 1, "num_outputs": 2}),
    (22, ["y", "z"], "TopK", [V, "s:", np.array([2])], {"axis": 0}),
    (22, ["y", "z"], "TopK", [np.round(V), "s:", np.array([3])], {"largest": 0}),
    (22, ["y", "mean", "z"], "LayerNormalization", [X, "s:", w(8)], {}),
    (
        22,
        ["y", "m", "z"],
        "BatchNormalization",
        [X, *("s:", w(3)) * 3, "s:", np.abs(w(3)) + 1],
        {"training_mode": 1, "momentum": 0.7},
    ),
    (22, ["y", "z"], "SoftmaxCrossEntropyLoss", [V, np.array([0, 5, 2, 2])], {}),
    (22, ["y", "z"], "Dropout", [V, "s:", np.float32(0.3), "s:", np.array(True)], {}),
    (22, ["y", "z"], "Dropout", [V], {}),
    (
        22,
        ["y", "z"],
        "MaxPool",
        [X],
        {"kernel_shape": [3, 2], "strides": [2, 1], "storage_order": 1},
    ),
    (
        22,
        ["y", "z"],
        "Scan",
        [w(2, 6), w(5, 2, 6)],
        {"body": STEP, "num_scan_inputs": 1, "scan_output_directions": [1]},
    ),
    (
        22,
        ["y", "z"],
        "Scan",
        [w(2, 6), w(2, 5, 6)],
        {
            "body": STEP,
            "num_scan_inputs": 1,
            "scan_input_axes": [1],
            "scan_input_directions": [1],
            "scan_output_axes": [-1],
        },
    ),
    *(
        (22, ["y", "z"], "Loop", [np.array(most), "s:", np.array(True), V], {"body": ROUND})
        for most in (2, 9)
    ),
    (
        27,
        ["y", "z"],
        "CausalConvWithState",
        [w(2, 3, 5), "s:", w(3, 1, 4), "s:", w(3)],
        {"activation": "silu"},
    ),
    *(
        (
            27,
            ["y", "z"],
            "LinearAttention",
            [w(2, 3, 20), w(2, 3, 10), w(2, 3, 8), w(2, 2, 5, 4), *rest],
            HEADS | {"update_rule": rule},
        )
        for rule, rest in {
            "linear": [],
            "gated": [-np.abs(w(2, 3, 10))],
            "delta": ["", np.abs(w(2, 3, 1))],
            "gated_delta": [-np.abs(w(2, 3, 2)), np.abs(w(2, 3, 2))],
        }.items()
    ),
]
"""Operators of several outputs, which are named."""
NO_GRAPH = {"BitCast"}
"""What only newer opsets have than that of the graphs that are emitted, at least of floats."""
