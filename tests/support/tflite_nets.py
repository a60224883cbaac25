"""Nets of several operators as .tflite files."""

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers
from tflite_files import FlatNode, FlatTensor, Net, built

__all__ = ["branch", "composite", "integer_net", "loop", "streaming_net"]


def integer_net(path: Path, tile: int | None = None) -> Path:
    """A convolution, a depthwise one, a mean and a hard swish, of codes; with ``tile`` a TILE of
    that version in front."""
    rng = np.random.default_rng(5)
    scales = rng.uniform(0.01, 0.02, 5)
    tensors = [
        FlatTensor("x", (1, 8, 8, 3), "int8", scale=0.05, zero_point=-3),
        FlatTensor("w", dtype="int8", data=rng.integers(-127, 128, (5, 3, 3, 3)), scale=scales),
        FlatTensor("b", dtype="int32", data=rng.integers(-900, 900, 5), scale=scales * 0.05),
        FlatTensor("net/relu;net/conv", (1, 8, 8, 5), "int8", scale=0.2, zero_point=4),
        FlatTensor(
            "k", dtype="int8", data=rng.integers(-127, 128, (1, 3, 3, 5)), scale=scales, axis=3
        ),
        FlatTensor("c", dtype="int32", data=rng.integers(-900, 900, 5), scale=scales * 0.2),
        FlatTensor("net/depthwise", (1, 8, 8, 5), "int8", scale=0.3, zero_point=4),
        FlatTensor("axes", dtype="int32", data=np.array([1, 2])),
        FlatTensor("net/mean", (1, 5), "int8", scale=0.2, zero_point=4),
        FlatTensor("net/mean", (1, 5), "int8", scale=0.2, zero_point=4),
    ]
    strides = {"strideW": 1, "strideH": 1}
    relu6, deep = {"fusedActivationFunction": 3}, {"depthMultiplier": 1}
    depthwise = ("DepthwiseConv2DOptions", strides | deep)
    nodes = [
        FlatNode("CONV_2D", [0, 1, 2], [3], ("Conv2DOptions", strides | relu6), 3),
        FlatNode("DEPTHWISE_CONV_2D", [3, 4, 5], [6], depthwise, 3),
        FlatNode("MEAN", [6, 7], [8], ("ReducerOptions", {"keepDims": False}), 2),
        FlatNode("HARD_SWISH", [8], [9]),
    ]
    if tile is not None:
        tensors += [
            FlatTensor("given", (1, 8, 8, 3), "int8", scale=0.05, zero_point=-3),
            FlatTensor("times", dtype="int32", data=np.ones(4)),
        ]
        nodes.insert(0, FlatNode("TILE", [10, 11], [0], ("TileOptions", {}), tile))
    fed = [0 if tile is None else 10]
    built(Net(tensors, nodes, fed, [9]), path=path)
    return path


def streaming_net(path: Path) -> Path:
    """A recurrent product whose state is a variable that starts at 0.25."""
    rng = np.random.default_rng(6)
    handle = FlatNode("VAR_HANDLE", [], [1], ("VarHandleOptions", {"sharedName": "h"}))
    tensors = [
        FlatTensor("x", (1, 3)),
        FlatTensor("handle", (), "resource"),
        FlatTensor("h", (1, 2)),
        FlatTensor("xh", (1, 5)),
        FlatTensor("w", data=rng.normal(size=(2, 5))),
        FlatTensor("y", (1, 2)),
    ]
    nodes = [
        FlatNode("CALL_ONCE", [], [], ("CallOnceOptions", {"initSubgraphIndex": 1})),
        handle,
        FlatNode("READ_VARIABLE", [1], [2], ("ReadVariableOptions", {})),
        FlatNode("CONCATENATION", [0, 2], [3], ("ConcatenationOptions", {"axis": 1})),
        FlatNode("FULLY_CONNECTED", [3, 4, -1], [5], ("FullyConnectedOptions", {})),
        FlatNode("ASSIGN_VARIABLE", [1, 5], [], ("AssignVariableOptions", {})),
    ]
    starts = [
        FlatTensor("quarters", data=np.full((1, 2), 0.25)),
        FlatTensor("handle", (), "resource"),
    ]
    assign = FlatNode("ASSIGN_VARIABLE", [1, 0], [], ("AssignVariableOptions", {}))
    built(Net(tensors, nodes, [0], [5]), Net(starts, [handle, assign], [], [], "init"), path=path)
    return path


def loop(path: Path, step: float = 1) -> Path:
    """A WHILE that adds the step to x while it is below 3."""
    x, y = FlatTensor("x", (1,)), FlatTensor("y", (1,))
    bound, answer = FlatTensor("bound", data=np.float32([3])), FlatTensor("answer", (1,), "bool")
    by = FlatTensor("by", data=np.float32([step]))
    subgraphs = {"condSubgraphIndex": 1, "bodySubgraphIndex": 2}
    node = FlatNode("WHILE", [0], [1], ("WhileOptions", subgraphs))
    less = FlatNode("LESS", [0, 1], [2], ("LessOptions", {}))
    add = FlatNode("ADD", [0, 1], [2], ("AddOptions", {}))
    condition = Net([x, bound, answer], [less], [0], [2], "condition")
    body = Net([x, by, y], [add], [0], [2], "body")
    built(Net([x, y], [node], [0], [1]), condition, body, path=path)
    return path


def branch(path: Path) -> Path:
    """An IF: three times x where its condition holds, x + 3 where not."""
    x, y = FlatTensor("x", (2, 3)), FlatTensor("y", (2, 3))
    three, condition = FlatTensor("three", data=np.float32(3)), FlatTensor("c", (), "bool")
    subgraphs = {"thenSubgraphIndex": 1, "elseSubgraphIndex": 2}
    node = FlatNode("IF", [0, 1], [2], ("IfOptions", subgraphs))
    ways = [
        Net([x, three, y], [FlatNode(kind, [0, 1], [2], (f"{kind.title()}Options", {}))], [0], [2])
        for kind in ("MUL", "ADD")
    ]
    built(Net([condition, x, y], [node], [0, 1], [2]), *ways, path=path)
    return path


def composite(path: Path) -> Path:
    """A composite of a product with a constant that it is given, and a RELU."""
    x, k, h, y = (FlatTensor(name, (2, 3)) for name in "xkhy")
    held = FlatTensor("held", data=np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3))
    fields = {
        "name": "odml.scaled",
        "decompositionSubgraphIndex": 1,
        "compositeAttributes": list(flexbuffers.Dumps({})),
    }
    node = FlatNode("STABLEHLO_COMPOSITE", [0, 1], [2], ("StableHLOCompositeOptions", fields))
    inside = [FlatNode("MUL", [0, 1], [2], ("MulOptions", {})), FlatNode("RELU", [2], [3])]
    built(Net([x, held, y], [node], [0], [2]), Net([x, k, h, y], inside, [0, 1], [3]), path=path)
    return path
