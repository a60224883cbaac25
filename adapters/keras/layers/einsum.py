"""Keras' layers that are sums of products by Einstein's convention: EinsumDense and Dot."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from probe import ops
from probe.description import Builder, Description, Ref, Weight
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes
from .activation import activation_steps

__all__ = ["product_with", "projected"]


def product_with(
    build: Builder, x: Ref, shape: Sequence[int], equation: str, kernel: Weight, bias: Weight | None
) -> tuple[Ref, tuple[int, ...]]:
    """Einsum of an input of this shape and a kernel, plus a bias that broadcasts: the Ref and shape
    of the result.

    A matrix product wherever no axis of the kernel goes along with one of the input and of the
    output.
    """
    sizes = tuple(kernel.effective.shape)
    source, weight, out = _labels(equation, len(shape), len(sizes))
    lengths = {**dict(zip(source, shape, strict=True)), **dict(zip(weight, sizes, strict=True))}
    result = tuple(lengths[letter] for letter in out)
    summed = [letter for letter in weight if letter not in out]
    columns = [letter for letter in weight if letter in out]
    apart = not any(letter in source for letter in columns) and all(
        letter in source for letter in summed
    )
    kept = [letter for letter in source if letter not in summed]
    if not apart or any(letter not in out for letter in kept) or len(set(source)) < len(source):
        y = build.add(
            ops.WeightedEinsum(
                f"{''.join(source)},{''.join(weight)}->{''.join(out)}", weight=kernel
            ),
            x,
        )
    else:
        perm = tuple(source.index(letter) for letter in (*kept, *summed))
        if perm != tuple(range(len(source))):
            x = build.add(ops.Transpose(perm=perm), x)
        lead, count, wide = (
            tuple(lengths[letter] for letter in part) for part in (kept, summed, columns)
        )
        if len(count) != 1:
            x = build.add(ops.Reshape(shape=(*lead, prod(count))), x)
        axes = tuple(weight.index(letter) for letter in (*summed, *columns))
        matrix = replace(kernel, axes=axes, shape=(prod(count), prod(wide)))
        behind = out[len(out) - len(columns) :] == tuple(columns)
        whole = bias is not None and behind and tuple(bias.effective.shape) == wide
        if bias is None or not whole:
            own = None
        else:
            own = replace(bias, axes=None, shape=(prod(wide),))
        y = build.add(ops.MatMul(weight=matrix, bias=own), x)
        if whole:
            bias = None
        if len(wide) != 1:
            y = build.add(ops.Reshape(shape=(*lead, *wide)), y)
        turn = tuple((*kept, *columns).index(letter) for letter in out)
        if turn != tuple(range(len(out))):
            y = build.add(ops.Transpose(perm=turn), y)
    if bias is not None:
        y = build.add(ops.AddConstant(bias), y)
    return y, result


def _labels(
    equation: str, ndim: int, kernel: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """A letter for each axis of the input, the kernel and the output."""
    before, _, out = equation.replace(" ", "").partition("->")
    given, _, weight = before.partition(",")
    free = [
        letter
        for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        if letter not in equation
    ]
    if "..." in given:
        dots = "".join(free[: ndim - len(given.replace("...", ""))])
    else:
        dots = ""
    spelled = [tuple(part.replace("...", dots)) for part in (given, weight, out)]
    if len(spelled[0]) != ndim or len(spelled[1]) != kernel:
        raise Undescribed(f"its equation {equation!r} does not fit an input of {ndim} axes")
    return spelled[0], spelled[1], spelled[2]


def projected(
    build: Builder, dense: Any, call: KerasCall, x: Ref, shape: Sequence[int], prefix: str = ""
) -> tuple[Ref, tuple[int, ...]]:
    """An EinsumDense without its activation, its weights named with ``prefix``."""
    if getattr(dense, "quantization_mode", None) or getattr(dense, "lora_enabled", False):
        raise Undescribed(
            f"its inner layer {dense.name} is quantised by Keras or has LoRA enabled, which "
            "is not supported"
        )
    kernel, bias = (
        call.weight(f"{prefix}kernel", dense.kernel),
        call.weight(f"{prefix}bias", dense.bias),
    )
    return product_with(build, x, shape, dense.equation, kernel, bias)


@describes("EinsumDense")
def _einsum_dense(layer: Any, call: KerasCall) -> Description:
    build = Builder()
    _, shape = projected(build, layer, call, Ref(-1), call.shape)
    steps = (*build.steps, *activation_steps(layer.activation, call, len(shape), build.steps))
    middle = tuple(f"axis {axis}" for axis in range(1, len(shape) - 1))
    return Description(steps, (), ("batch", *middle, "features") if len(shape) > 1 else ())


@describes("Dot")
def _dot(layer: Any, call: KerasCall) -> Description:
    """Products along one axis of each input, sample by sample; two vectors keep an axis of 1."""
    x, y = call.inputs
    if isinstance(layer.axes, int):
        axes = (layer.axes, layer.axes)
    else:
        axes = tuple(layer.axes)
    first, second = axes[0] % x.ndim, axes[1] % y.ndim
    build, refs = Builder(), [Ref(-1, 0), Ref(-1, 1)]
    if layer.normalize:
        # Keras 3 bounds 1 / norm by 1 / epsilon, Keras 2 the sum of squares by 1e-12
        # (tf.math.l2_normalize).
        epsilon = 1e-12 if call.legacy else float(call.namespace.backend.epsilon())
        refs = [
            build.add(ops.LpNormalization((axis,), epsilon, squared=call.legacy), ref)
            for ref, axis in zip(refs, (first, second), strict=True)
        ]
    left = ["b", *"cdefghij"[: x.ndim - 1]]
    right = ["b", *"nopqrstu"[: y.ndim - 1]]
    left[first] = right[second] = "k"
    out = "".join(letter for letter in (*left, *right[1:]) if letter != "k")
    dotted = build.add(ops.Einsum(equation=f"{''.join(left)},{''.join(right)}->{out}"), *refs)
    if len(out) == 1:
        build.add(ops.Reshape(shape=(x.shape[0], 1)), dotted)
    return Description(build.ended())
