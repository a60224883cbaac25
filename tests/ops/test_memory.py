"""No kernel takes more than 64 MiB beyond its input and output, whatever the size: here 96 MiB go
in, so no second copy fits."""

import tracemalloc

import numpy as np
import pytest

from probe import ops
from probe.description import Weight

MIB = 1 << 20
BOUND = 64
MAP = (1, 64, 384, 512)
LAST = (1, 384, 512, 64)
ROWS = (12 * 1024, 1024)


def _w(*shape):
    array = np.random.default_rng(0).uniform(0.5, 1.0, shape).astype(np.float32)
    return Weight("w", array, array)


SAME, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))
CASES = {
    "Conv": (ops.Conv(_w(2, 64, 3, 3), _w(2), (1, 1), SAME, (1, 1)), MAP),
    "Conv, 1x1": (ops.Conv(_w(32, 64, 1, 1), None, (1, 1), NONE, (1, 1)), MAP),
    "Conv, strided": (ops.Conv(_w(32, 64, 3, 3), None, (2, 2), SAME, (1, 1)), MAP),
    "Conv, channels last": (ops.Conv(_w(2, 64, 3, 3), _w(2), (1, 1), SAME, (1, 1)), LAST),
    "Conv, in groups": (ops.Conv(_w(64, 8, 3, 3), None, (2, 2), SAME, (1, 1), 8), MAP),
    "Conv, few wide channels": (
        ops.Conv(_w(2, 3, 5, 5), None, (2, 2), ((2, 2), (2, 2)), (1, 1)),
        (1, 3, 2048, 2048),
    ),
    "depthwise": (ops.Conv(_w(64, 1, 3, 3), _w(64), (1, 1), SAME, (1, 1), 64), MAP),
    "depthwise, channels last": (ops.Conv(_w(64, 1, 3, 3), None, (2, 2), SAME, (1, 1), 64), LAST),
    "MatMul": (ops.MatMul(_w(1024, 64), _w(64)), ROWS),
    "MatMul, wide": (ops.MatMul(_w(1024, 24 * 1024), _w(24 * 1024)), (64, 1024)),
    "MaxPool": (ops.MaxPool((3, 3), (2, 2), SAME, (1, 1)), MAP),
    "AveragePool": (ops.AveragePool((3, 3), (1, 1), SAME), MAP),
    "AdaptiveAveragePool": (ops.AdaptiveAveragePool((7, 7)), MAP),
    "GlobalAveragePool": (ops.GlobalAveragePool((2, 3)), MAP),
    "BatchNormalization": (ops.BatchNormalization(_w(64), _w(64), _w(64), _w(64), 1e-3), MAP),
    "LayerNormalization": (ops.LayerNormalization(_w(1024), _w(1024), 1e-5, (1,)), ROWS),
    "LayerNormalization, whole": (ops.LayerNormalization(None, None, 1e-5, (1, 2, 3)), MAP),
    "GroupNormalization": (ops.GroupNormalization(_w(64), _w(64), 8, 1e-5), MAP),
    "Softmax": (ops.Softmax(1), ROWS),
    "Softmax, first axis": (ops.Softmax(0), ROWS),
    "LogSoftmax": (ops.LogSoftmax(1), ROWS),
    "Sparsemax": (ops.Sparsemax(1), ROWS),
    "Glu": (ops.Glu(1), ROWS),
    "PRelu": (ops.PRelu(_w(64, 1, 1)), MAP),
    **{
        name: (getattr(ops, name)(), MAP)
        for name in ("Relu", "Sigmoid", "Tanh", "Softplus", "Mish", "Selu", "LogSigmoid")
    },
    "Gelu": (ops.Gelu("none"), MAP),
}


@pytest.mark.exhaustive(default=12)
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_takes_little_beyond_its_input_and_output(name):
    op, shape = CASES[name]
    x = np.full(shape, 0.25)
    x = np.moveaxis(x, -1, 1) if "channels last" in name else x
    tracemalloc.start()
    try:
        (out,) = op.run(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (peak - out.nbytes) / MIB <= BOUND
