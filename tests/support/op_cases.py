"""An op of most classes with inputs, for what holds of all of them; tests/ops/test_every_op.py has
those of the others.
"""

import inspect
from functools import partial

import numpy as np

from probe import Weight, ops

__all__ = ["CASES", "normal", "positive", "vector", "weight"]


def _normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32).astype(np.float64)


def _positive(rng, *shape):
    return rng.uniform(0.2, 0.9, size=shape).astype(np.float32).astype(np.float64)


RNG = np.random.default_rng(0)
normal, positive = partial(_normal, RNG), partial(_positive, RNG)
"""Numbers that float32 holds, in float64: for tables alone, which are drawn where a file is
imported."""


def weight(values):
    return Weight("w", values, values, ())


def vector(size):
    return weight(normal(size))


IMAGE, ROWS, PAIR = normal(2, 3, 7), normal(2, 3, 5), (normal(2, 5), normal(5))
LINE = {"kernel": (3,), "strides": (2,)}
CASES = {
    "AveragePool": (ops.AveragePool(**LINE, pads=((1, 1),)), IMAGE),
    "AveragePool, padding counted": (
        ops.AveragePool(**LINE, pads=((1, 1),), count_include_pad=True),
        IMAGE,
    ),
    "AdaptiveAveragePool": (ops.AdaptiveAveragePool((3,)), IMAGE),
    "GlobalAveragePool": (ops.GlobalAveragePool((2,), True), IMAGE),
    "LpPool": (ops.LpPool(**LINE, pads=((0, 0),), p=2.0), IMAGE),
    "MaxPool": (ops.MaxPool(**LINE, pads=((1, 1),), dilations=(1,)), IMAGE),
    "GlobalMaxPool": (ops.GlobalMaxPool((2,), True), IMAGE),
    "Conv": (ops.Conv(weight(normal(4, 3, 3)), vector(4), (2,), ((1, 1),), (1,)), IMAGE),
    "ConvTranspose": (
        ops.ConvTranspose(weight(normal(3, 4, 3)), vector(4), (2,), ((1, 0),), (1,)),
        ROWS,
    ),
    "MatMul": (ops.MatMul(weight(normal(5, 4)), vector(4)), ROWS),
    "Einsum": (ops.Einsum("ab,bc->ac"), normal(3, 5), normal(5, 4)),
    "BatchNormalization": (
        ops.BatchNormalization(vector(3), vector(3), vector(3), weight(positive(3)), 1e-3),
        IMAGE,
    ),
    "LayerNormalization": (ops.LayerNormalization(vector(5), vector(5), 1e-3, (2,)), ROWS),
    "GroupNormalization": (ops.GroupNormalization(vector(4), vector(4), 2, 1e-3), normal(2, 4, 5)),
    "RMSNormalization": (ops.RMSNormalization(vector(5), 1e-3, (2,)), ROWS),
    "RMSNormalization, centred": (ops.RMSNormalization(vector(5), 1e-3, (2,), True), ROWS),
    "LpNormalization": (ops.LpNormalization((2,), 1e-3), ROWS),
    "LpNormalization, p = 1": (ops.LpNormalization((2,), 1e-3, 1.0), ROWS),
    "LRN": (ops.LRN(3, 0.1, 0.75, 1.0, 1, 1), normal(2, 5, 3)),
    "Standardize": (ops.Standardize(vector(5), weight(positive(5)), 1e-3), ROWS),
    "Softmax": (ops.Softmax(2), ROWS),
    "LogSoftmax": (ops.LogSoftmax(2), ROWS),
    "Glu": (ops.Glu(1), normal(2, 4, 5)),
    "CumSum": (ops.CumSum(1), normal(3, 5)),
    "CumProd": (ops.CumProd(1), normal(3, 5)),
    "Fourier": (ops.Fourier(axes=(1,)), normal(2, 6), normal(2, 6)),
    "Fourier, coarse": (ops.Fourier(axes=(1,), coarse=True), normal(2, 6), normal(2, 6)),
    "Fourier, inverse": (
        ops.Fourier(axes=(1,), inverse=True, scale=1 / 6),
        normal(2, 6),
        normal(2, 6),
    ),
    "Resize": (ops.Resize((7, 5), (7 / 4, 5 / 3)), normal(1, 2, 4, 3)),
    "Resize, cubic": (ops.Resize((7, 5), (7 / 4, 5 / 3), mode="cubic"), normal(1, 2, 4, 3)),
    "Resize, antialias": (ops.Resize((3, 2), (3 / 5, 2 / 4), antialias=True), normal(1, 2, 5, 4)),
    "GridSample": (ops.GridSample(), normal(1, 2, 4, 5), 2 * positive(1, 3, 2, 2) - 1),
    "Im2Col": (ops.Im2Col((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)), normal(1, 2, 3, 4)),
    "Col2Im": (ops.Col2Im((3, 4), (2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)), normal(1, 8, 6)),
    "Col2Im, apart": (
        ops.Col2Im((6, 7), (2, 3), (2, 1), ((1, 0), (1, 1)), (2, 1)),
        normal(1, 12, 21),
    ),
    "AddConstant": (ops.AddConstant(vector(5)), normal(2, 5)),
    "MulConstant": (ops.MulConstant(vector(5)), normal(2, 5)),
    "Pow": (ops.Pow(), positive(2, 5), normal(5)),
    "Div": (ops.Div(), normal(2, 5), positive(5)),
    **{name: (getattr(ops, name)(), *PAIR) for name in ("Add", "Sub", "Mul", "Max", "Min", "Mean")},
    "Concat": (ops.Concat(1), normal(2, 5), normal(2, 3)),
    "Where": (ops.Where(), normal(2, 5) > 0, normal(2, 5), normal(2, 5)),
    "Pad": (ops.Pad(((0, 0), (2, 1))), normal(2, 5)),
    "Transpose": (ops.Transpose((1, 0)), normal(2, 5)),
    "Slice": (ops.Slice((0, 1), (None, None)), normal(2, 5)),
    "ScatterElements": (
        ops.ScatterElements(1, "add"),
        normal(2, 5),
        np.array([[1, 1, 3], [0, 2, 2]]),
        normal(2, 3),
    ),
    "Det": (ops.Det(), normal(2, 3, 3)),
    "SingularValues": (ops.SingularValues(), normal(2, 3, 4)),
    "PRelu": (ops.PRelu(weight(normal(3, 1))), ROWS),
    "MaskedMean": (
        ops.MaskedMean(1),
        normal(2, 4, 3),
        np.array([[1, 1, 0, 1], [1, 0, 0, 1]], bool),
    ),
    **{
        name: (getattr(ops, name)(axes=(1,), keepdims=False), normal(2, 5, 3))
        for name in (
            "ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
            "ReduceStd ReduceSum ReduceSumSquare ReduceVar"
        ).split()
    },
    **{
        name: (op(), positive(2, 5) + (name == "Acosh"))
        for name, op in inspect.getmembers(ops)
        if inspect.isclass(op)
        and issubclass(op, ops.Elementwise)
        and op is not ops.Elementwise
        and not inspect.signature(op).parameters
    },
}
