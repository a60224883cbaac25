"""The operations of keras.ops that do what layers do: normalisations, attention, and indices as
rows of ones."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.op_builder import OpBuilder
from .arithmetic import operation


def _along(build: OpBuilder, x: Ref, value: Any, axes: tuple[int, ...]) -> Ref:
    """A parameter that has these axes of x, in a shape that broadcasts."""
    sizes = [size if axis in axes else 1 for axis, size in enumerate(build.shape(x))]
    ref = build.ref(build.shaped(value) if not hasattr(type(value), "assign") else value)
    if len(build.shape(ref)) == len(sizes):
        return ref
    return build.reshape(ref, sizes)


@operation("BatchNorm")
def _batch_norm(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """(x - mean) * (scale / sqrt(variance + epsilon)) + offset, each of them any tensor."""
    axes, given = build.axes(Ref(-1), op.axis), call.arguments
    mean, variance = (_along(build, Ref(-1), given[name], axes) for name in ("mean", "variance"))
    gain = build.add(ops.Rsqrt(), build.add(ops.Add(), variance, float(op.epsilon)))
    if given.get("scale") is not None:
        gain = build.add(ops.Mul(), gain, _along(build, Ref(-1), given["scale"], axes))
    found = build.add(ops.Mul(), build.add(ops.Sub(), Ref(-1), mean), gain)
    if given.get("offset") is None:
        return found
    return build.add(ops.Add(), found, _along(build, Ref(-1), given["offset"], axes))


def _epsilon(op: Any, call: KerasCall) -> float:
    return float(call.namespace.backend.epsilon() if op.epsilon is None else op.epsilon)


@operation("LayerNorm")
def _layer_norm(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """Keras divides by the deviation what it does not centre with ``rms_scaling``, and leaves beta
    out."""
    axes, arguments, epsilon = build.axes(Ref(-1), op.axis), call.arguments, _epsilon(op, call)
    if op.rms_scaling:
        y = build.add(
            ops.RMSNormalization(scale=None, epsilon=epsilon, axes=axes, centred=True), Ref(-1)
        )
    else:
        shortcuts = call.backend in ("torch", "numpy")
        y = build.add(
            ops.LayerNormalization(
                scale=None, bias=None, epsilon=epsilon, axes=axes, may_use_lossy_algorithm=shortcuts
            ),
            Ref(-1),
        )
    if arguments.get("gamma") is not None:
        y = build.add(ops.Mul(), y, _along(build, Ref(-1), arguments["gamma"], axes))
    if arguments.get("beta") is not None and not op.rms_scaling:
        y = build.add(ops.Add(), y, _along(build, Ref(-1), arguments["beta"], axes))
    return y


@operation("RMSNorm")
def _rms_norm(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The scale broadcasts as it is."""
    axes, scale = build.axes(Ref(-1), op.axis), call.arguments.get("scale")
    found = build.add(
        ops.RMSNormalization(scale=None, epsilon=_epsilon(op, call), axes=axes), Ref(-1)
    )
    if scale is None:
        return found
    return build.add(ops.Mul(), found, scale)


@operation("DotProductAttention")
def _dot_product_attention(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """(batch, positions, heads, features); Keras puts a large negative number in place of a masked
    score, on either backend."""
    if op.attn_logits_soft_cap is not None and call.backend != "tensorflow":
        raise Undescribed("capped scores are not supported")
    arguments = call.arguments
    query, key, value = (build.ref(arguments[name]) for name in ("query", "key", "value"))
    heads, shared = build.shape(query)[2], build.shape(key)[2]
    scale = arguments.get("scale")
    if isinstance(scale, Ref):
        raise Undescribed("a scale that is a tensor is not supported")
    if scale is None:
        factor = np.float32(1) / np.sqrt(np.float32(build.shape(key)[3]))
    else:
        factor = scale
    if call.backend == "tensorflow":
        factor = np.float32(factor)  # tf.cast makes a float32 tensor of a number first
    masks, kinds = [], []
    for name, kind in (("bias", "add"), ("mask", "keep")):
        if arguments.get(name) is not None:
            mask = build.ref(arguments[name])
            masks.append(mask if kind == "add" else build.truth(mask))
            kinds.append(kind)
    attention = ops.Attention(
        float(factor), tuple(kinds), bool(op.is_causal), None, heads // shared, empty="mean"
    )
    turned = [build.transpose(tensor, (0, 2, 1, 3)) for tensor in (query, key, value)]
    batch, count, positions, _ = build.shape(turned[0])
    found = build.add(
        attention, *turned, *masks, shape=(batch, count, positions, build.shape(value)[3])
    )
    return build.transpose(found, (0, 2, 1, 3))


@operation("MultiHot")
def _multi_hot(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """1 at each place that a sample names, with no sum: keras/src/backend/tensorflow/nn.py,
    multi_hot."""
    if op.sparse:
        raise Undescribed("sparse outputs are not supported")
    depth, shape = int(op.num_classes), call.shape
    if op.axis not in (-1, len(shape)):
        raise Undescribed(f"axis={op.axis} is not supported")
    hot = build.add(ops.OneHot(depth=depth), Ref(-1), shape=(*shape, depth))
    over = 1 if len(shape) > 1 else 0
    return build.reduce(ops.ReduceMax, hot, (over,), False)


@operation("PSNR")
def _psnr(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """20 log10(max) - 10 log10(mean squared difference), of everything together."""
    left, right = (build.ref(call.arguments[name]) for name in ("x1", "x2"))
    error = build.reduce(
        ops.ReduceMean, build.add(ops.Square(), build.add(ops.Sub(), left, right)), None, False
    )
    decibels = build.add(ops.Mul(), build.add(ops.Log10(), error), 10.0)
    return build.add(ops.Sub(), 20 * float(np.log10(np.float64(op.max_val))), decibels)


@operation("CDist")
def _cdist(op: Any, call: KerasCall, build: OpBuilder) -> Ref:
    """The distances of all rows from all rows."""
    left, right = (build.ref(call.arguments[name]) for name in ("x", "y"))
    apart = build.add(ops.Sub(), build.expand_dims(left, -2), build.expand_dims(right, -3))
    return build.reduce(ops.ReduceL2, apart, -1, False)
