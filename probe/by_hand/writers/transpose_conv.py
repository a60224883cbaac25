"""Transposed convolution: every cell of the kernel adds its products where it belongs."""

from probe import ops
from probe.by_hand.registry import Unwritten, writes
from probe.by_hand.values import ATOM, Value, as_tuple
from probe.by_hand.writer import HandWriter
from probe.by_hand.writers.linear import plus_bias

_SPACE, _TAPS = {1: "t", 2: "hw", 3: "dhw"}, ("i", "j", "k")


@writes(ops.ConvTranspose)
def _conv_transpose(op: ops.ConvTranspose, w: HandWriter, x: Value, *given: Value) -> Value:
    rank = len(op.strides)
    if rank not in _SPACE or x.rank != rank + 2:
        raise Unwritten("a convolution of so many axes")
    kernel = given[0] if op.weight is None else w.weight(op.weight)
    x, kernel = w.named("values", x), w.named("kernel", kernel)
    cells, space = kernel.own_shape[2:], _SPACE[rank]
    wide, deep = x.own_shape[1] // op.groups, kernel.own_shape[1]
    sizes = [
        (size - 1) * step + (cell - 1) * dilation + 1 + max(0, -before) + max(0, -after)
        for size, step, cell, dilation, (before, after) in zip(
            x.own_shape[2:], op.strides, cells, op.dilations, op.crops, strict=True
        )
    ]
    lying = [0] * x.rank
    whole = (x.own_shape[0], op.groups * deep, *sizes)
    for axis, size in zip(x.axes, whole, strict=True):
        lying[axis] = size
    full, taps = w.local("full"), [w.local(tap) for tap in _TAPS[:rank]]
    lines = [f"{full} = np.zeros({as_tuple(lying)})"]
    loops = f"for {', '.join(taps)} in np.ndindex{as_tuple(cells)}:"
    lines.append(loops if rank > 1 else f"for {taps[0]} in range({cells[0]}):")
    places = [
        _places(tap, size, step, dilation, max(0, -before))
        for tap, size, step, dilation, (before, _) in zip(
            taps, x.own_shape[2:], op.strides, op.dilations, op.crops, strict=True
        )
    ]
    for group in range(op.groups):
        source, part, target = x, kernel, ["", "", *places]
        if op.groups > 1:
            source = _range(x, 1, group * wide, (group + 1) * wide)
            part = _range(kernel, 0, group * wide, (group + 1) * wide)
            target[1] = f"{group * deep}:{(group + 1) * deep}"
        lines.append(f"    {_added(full, source, part, target, (space, taps))}")
    if op.groups > 8:
        raise Unwritten("more than eight groups")
    w.block(lines, "every cell of the kernel adds its products where it belongs")
    return plus_bias(op.bias, w, _cropped(op, w, Value(full, tuple(lying), x.order)), 1)


def _places(tap: str, size: int, step: int, dilation: int, before: int) -> str:
    """The cells of the output that a cell of the kernel reaches."""
    first = tap if dilation == 1 else f"{tap} * {dilation}"
    if before:
        first += f" + {before}"
    end = f"{first} + {(size - 1) * step + 1}"
    return f"{first}:{end}" + (f":{step}" if step != 1 else "")


def _range(value: Value, axis: int, start: int, stop: int) -> Value:
    lies = value.axes[axis]
    shape = tuple(stop - start if at == lies else n for at, n in enumerate(value.shape))
    return Value(f"{value.text}[{':, ' * lies}{start}:{stop}]", shape, value.order)


def _added(
    full: str, x: Value, kernel: Value, target: list[str], names: tuple[str, list[str]]
) -> str:
    """The statement that adds the products of a cell."""
    space, taps = names
    words = [":"] * x.rank
    for axis, word in zip(x.axes, target, strict=True):
        words[axis] = word or ":"
    index = [":"] * kernel.rank
    for axis, tap in zip(kernel.axes[2:], taps, strict=True):
        index[axis] = tap
    left = x.letters(f"bc{space}")
    right = "".join("co"[kernel.axes[:2].index(axis)] for axis in sorted(kernel.axes[:2]))
    product = f'np.einsum("{left},{right}->{left.replace("c", "o")}", {x.text}, '
    return f"{full}[{', '.join(words)}] += {product}{kernel.text}[{', '.join(index)}])"


def _cropped(op: ops.ConvTranspose, w: HandWriter, full: Value) -> Value:
    """The output without what is cropped off."""
    words, shape = [":"] * full.rank, list(full.shape)
    for axis, (before, after) in zip(full.axes[2:], op.crops, strict=True):
        before, after = max(0, before), max(0, after)
        if before or after:
            words[axis] = f"{before or ''}:{shape[axis] - after if after else ''}"
            shape[axis] -= before + after
    while words and words[-1] == ":":
        words.pop()
    text = f"{full.text}[{', '.join(words)}]" if words else full.text
    return Value(text, tuple(shape), full.order, ATOM)
