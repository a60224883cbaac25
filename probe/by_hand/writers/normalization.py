"""Normalisations."""

from probe import ops
from probe.by_hand.registry import writes
from probe.by_hand.values import ATOM, PRODUCT, SUM, Value, as_tuple, number
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.linear import along
from probe.ops.weight import Weight


@writes(ops.BatchNormalization)
def _batch_norm(op: ops.BatchNormalization, w: HandWriter, x: Value) -> Value:
    axis, rank = x.axes[op.axis], x.rank

    def vector(weight: Weight) -> Value:
        return w.plain(w.weight(weight))

    centred = x.at(SUM)
    level = x.level
    if op.mean is not None:
        centred, level = f"{x.at(SUM)} - {along(vector(op.mean), axis, rank)}", SUM
    root = ""
    if op.variance is not None:
        root = w.root(op.variance, op.epsilon)
    elif op.epsilon:
        root = f"np.sqrt(1 + {number(op.epsilon)})"
    text = centred if level >= PRODUCT else f"({centred})"
    if not root and op.scale is None:
        text = centred
    elif axis == rank - 1 or op.variance is None:
        text += f" / {root}" if root else ""
        text += f" * {along(vector(op.scale), axis, rank)}" if op.scale is not None else ""
        level = PRODUCT
    else:
        over = vector(op.scale).text if op.scale is not None else "1"
        size = op.variance.value.shape
        gain = w.let("gain", Value(f"{over} / {root}", size), "a factor a channel")
        text, level = f"{text} * {along(gain, axis, rank)}", PRODUCT
    if op.bias is not None:
        text, level = f"{text} + {along(vector(op.bias), axis, rank)}", SUM
    return w.result(text, level, x.order)


@writes(ops.LayerNormalization)
def layer_norm(op: ops.LayerNormalization, w: HandWriter, x: Value) -> Value:
    """That of the op."""
    x = w.named("values", x)
    axes = sorted(x.axes[axis] for axis in op.axes)
    over = f"axis={axes[0] if len(axes) == 1 else as_tuple(axes)}, keepdims=True"
    shape = tuple(1 if at in axes else size for at, size in enumerate(x.shape))
    mean = w.let("mean", Value(f"{x.text}.mean({over})", shape))
    root = root_of_variance(op, w, x.text, over, shape)
    text = f"({x.text} - {mean.text}) / {root}"
    return scaled(op, w, w.result(text, PRODUCT, x.order), [x.axes[axis] for axis in op.axes])


def root_of_variance(
    op: ops.LayerNormalization | ops.GroupNormalization,
    w: HandWriter,
    x: str,
    over: str,
    shape: tuple[int, ...],
) -> str:
    """The standard deviation; of an op with a mistake in it, with ``ddof`` or epsilon ``outside``
    the root."""
    ddof, count = getattr(op, "ddof", 0), "divided by n, not n - 1"
    if ddof:
        over, count = f"{over}, ddof={number(ddof)}", ""
    variance = w.let("variance", Value(f"{x}.var({over})", shape), count)
    if getattr(op, "outside", False):
        return f"(np.sqrt({variance.text}) + {number(op.epsilon)})"
    return f"np.sqrt({variance.text} + {number(op.epsilon)})"


def scaled(op: object, w: HandWriter, value: Value, axes: list[int]) -> Value:
    """A normalised value times the scale and plus the bias of the op, that lie along these axes of
    it."""
    text, level = value.text, value.level
    scale, bias = getattr(op, "scale", None), getattr(op, "bias", None)
    if scale is not None:
        text, level = f"{text} * {_spread(w, scale, axes, value.rank)}", PRODUCT
    if bias is not None:
        text, level = f"{text} + {_spread(w, bias, axes, value.rank)}", SUM
    return Value(text, value.shape, value.order, level)


def _spread(w: HandWriter, weight: Weight, axes: list[int], rank: int) -> str:
    """A parameter that broadcasts along these axes, in their order."""
    vector = w.plain(w.weight(weight))
    order = sorted(range(len(axes)), key=lambda k: axes[k])
    text = vector.at(ATOM)
    if order != list(range(len(axes))):
        text += f".transpose{as_tuple(order)}"
    first = min(axes)
    index = [":" if at in axes else "None" for at in range(first, rank)]
    if "None" in index:
        text += f"[{', '.join(index)}]"
    return text
