"""Mistakes of number formats: narrower floats, fixed point, rounding modes, saturation."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probe import ops
from probe.hypotheses.base import Case, Edit, Steps, hypothesis, more
from probe.hypotheses.rounded import MODES, FixedPoint
from probe.layer import Recipe, Ref, Weight
from probe.ops.base import Elementwise, Sum
from probe.ops.quantize import QuantizedBits, QuantizedRelu

__all__ = ["narrow_weights", "narrowed", "summing"]

_BITS = {"TF32": 13, "bfloat16": 16}
"""How many bits of a float32 are dropped."""
_WAYS = {"TF32": ("ties away", "ties to even", "cut off"), "bfloat16": ("ties to even", "cut off"), "float16": ("ties to even",)}
"""NVIDIA's conversion to TF32 rounds ties away from zero (PTX, cvt.rna.tf32.f32); cheap conversions cut the bits off."""


def narrowed(x: np.ndarray, name: str, way: str = "ties to even", dtype: type = np.float64) -> np.ndarray:
    """x as a narrower format holds it, in ``dtype``, float32 or float64."""
    with np.errstate(all="ignore"):
        if name == "float16":
            return np.asarray(x, np.float16).astype(dtype)
        kept = np.array(x, np.float32, order="C")
        bits = kept.reshape(-1).view(np.uint32)
        drop = np.uint32(_BITS[name])
        half = np.uint32(1 << (_BITS[name] - 1))
        if way == "ties away":
            bits += half
        elif way == "ties to even":
            bits += (bits >> drop) & np.uint32(1)
            bits += half - np.uint32(1)
        bits &= np.uint32(0xFFFFFFFF ^ ((1 << _BITS[name]) - 1))
        return kept.astype(dtype, copy=False)


@dataclass(frozen=True, eq=False)
class _Stored(Elementwise):
    """Each value as a narrower format holds it."""

    roundings = 0
    format: str
    way: str = "ties to even"
    follows: float = 1.0
    """How many times its size a value counts for that may be rounded the other way: what follows from one is not independent."""

    def f(self, x):
        return narrowed(x, self.format, self.way)

    def _moved(self, x, y, slack):
        return self.follows * super()._moved(x, y, slack)


def summing(case: Case) -> list[tuple[int, Sum]]:
    return [(position, op) for position, op in case.having(Sum) if getattr(op, "weight", None) is not None]


def narrow_weights(case: Case, name: str, way: str) -> tuple[Steps, Steps]:
    """The steps with the weights of sums as a narrower format holds them: the kernels alone, and the biases too."""
    parts = ([getattr(op, part, None) for _, op in summing(case)] for part in ("weight", "bias"))
    kernels, biases = (
        {one.name: narrowed(one.effective, name, way, np.float32) for one in weights if one is not None} for weights in parts
    )
    return case.with_weights(kernels), case.with_weights({**kernels, **biases})


@hypothesis("boundary-flip")
def boundary_flip(case: Case) -> Iterator[Edit]:
    """A quantiser that flips a level because its input moved within rounding.

    Few elements, each off by one level, where the quantiser's input lies at a threshold; of signs, powers of two and rounded curves
    too. Not a mistake of arithmetic: compare the layers before it.
    """
    for position, op in case.having(ops.Mixing, ops.FakeQuantize):
        if not case.comparable or case.known is not None or position != case.last:
            continue
        x = case.input_of(position)
        size = np.asarray(op.step(x) if isinstance(op, ops.Mixing) else op.size, np.float64)
        nearest = np.where(size > 0, size, np.abs(case.values[position][0]).max(initial=0.0))
        near = 2.0**-16 * np.maximum(np.abs(x), nearest)
        predicted = case.healthy
        for sign in (-1, 1):
            shifted = case.inserted(position, ops.AddConstant(Weight("moved", None, sign * near)))
            predicted = _closer(case, predicted, case.became(case.edit("", shifted)).healthy, size)
        flipped = int((predicted != case.healthy).sum())
        if 0 < flipped <= max(3, case.observed.size // 20):
            told = f"one step of {float(size.ravel()[0]):g}" if size.size == 1 and size.any() else "one level"
            yield case.edit(
                f"{flipped} of {predicted.size} elements flip by {told}: their inputs lie within 2^-16 of a threshold",
                case.appended(ops.AddConstant(Weight("flips", None, predicted - case.healthy))),
                do="compare the layer before: its rounding decides here",
            )


def _closer(case: Case, predicted: np.ndarray, moved: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The moved outputs where they lie closer to what is observed and a level away; whole steps where levels are equally far apart."""
    if size.all() and (size.size == 1 or np.broadcast_shapes(size.shape, moved.shape) == moved.shape):
        with np.errstate(all="ignore"):
            moved = case.healthy + size * np.rint((moved - case.healthy) / size)
    with np.errstate(all="ignore"):
        apart = np.abs(moved - case.healthy) > 2.0**-8 * np.maximum(np.abs(moved), np.abs(case.healthy))
        return np.where(apart & (np.abs(moved - case.observed) < np.abs(predicted - case.observed)), moved, predicted)


_SWITCHES = {
    "TF32": "; torch.backends.cuda.matmul.allow_tf32 = False",
    "bfloat16": '; torch.set_float32_matmul_precision("highest"), torch.backends.mkldnn.conv.fp32_precision = "ieee", and for TensorFlow '
    "no TF_SET_ONEDNN_FPMATH_MODE nor ONEDNN_DEFAULT_FPMATH_MODE in the environment",
}
"""What keeps the frameworks from computing so."""


@hypothesis("reduced-precision")
def reduced_precision(case: Case) -> Iterator[Edit]:
    """Inputs, weights or outputs rounded to TF32, bfloat16 or float16.

    GPUs may use TF32 for float32 products and CPUs bfloat16, exporters store weights in 16 bits. The relative error is near 2^-11
    (TF32, float16) or 2^-8 (bfloat16) and grows like the square root of the number of terms.
    """
    floats = tuple(x.dtype.kind == "f" for x in case.inputs)
    sums = bool(summing(case))
    for name, ways in _WAYS.items():
        do = f"compute in float32: {name} was used" + _SWITCHES.get(name, "")
        for way in ways:
            told = "" if way == ways[0] else f" ({way})"
            narrow = tuple(narrowed(x, name, way) if is_float else x for x, is_float in zip(case.inputs, floats, strict=True))
            if sums:
                weights, whole = narrow_weights(case, name, way)
                yield case.edit(f"{name} inputs and weights{told}", weights, narrow, do=do)
                yield case.edit(f"{name} weights{told}", weights, do=do)
                yield case.edit(f"{name} weights{told}, the bias too", whole, do=do)
                yield case.edit(f"{name} inputs and weights{told}, the bias too", whole, narrow, do=do)
                if name != "TF32" and way == "ties to even":
                    stored = case.became_steps(whole).appended(_Stored(name))
                    yield case.edit(f"{name} inputs, weights, bias and output", stored, narrow, do=do)
                    yield case.edit(f"{name} weights and output", case.became_steps(weights).appended(_Stored(name)), do=do)
            if any(floats):
                yield case.edit(f"{name} inputs{told}", inputs=narrow, do=do)
        if name != "TF32":
            yield case.edit(f"the output stored in {name}", case.appended(_Stored(name)), do=do)


_ORDERS = {"queries": "", "scores": ", scores scaled and not queries", "fused": ", weights divided by their sum last"}
"""What an attention scales, or that it is one kernel, which scales the scores and divides last; and how that is told."""


@more("reduced-precision")
def products_of_narrow_operands(case: Case) -> Iterator[Edit]:
    """Layers of several products that round what each of them multiplies, and keep float32 between them: as hardware computes them."""
    attentions = [op for _, op in case.having(ops.Attention)]
    if not case.comparable or not (attentions or len(list(case.having(Sum))) > 1):
        return
    with np.errstate(invalid="ignore"):
        far = not np.abs(case.seen - case.pick(case.healthy)).max() < np.abs(case.healthy).max() / 8
    if far:  # which rounding operands does not do, and trying takes long
        return
    inside = attentions and all(type(op) is ops.Attention and op.groups == 1 for op in attentions)
    grouped = [position for position, op in case.having(ops.Conv) if op.groups > 1]
    for name, ways in _WAYS.items():
        do = f"compute in float32: {name} was used" + _SWITCHES.get(name, "")
        for way in ways if case.thorough else ways[:1]:
            claim = f"{name} operands of every product" + ("" if way == ways[0] else f" ({way})")
            for order, told in _ORDERS.items() if inside else ():
                if order != "scores" or any(math.frexp(op.scale)[0] != 0.5 for op in attentions):  # rounding commutes with powers of two
                    yield case.edit(claim + told, _narrow_operands(case, name, way, order), do=do)
            but = " but those of the attention" if attentions else ""
            yield case.edit(claim + but, _narrow_operands(case, name, way, ""), do=do)
            if grouped:
                yield case.edit(f"{claim} but those of grouped convolutions", _narrow_operands(case, name, way, "", grouped), do=do)


def _narrow_operands(case: Case, name: str, way: str, order: str, spared: Collection[int] = ()) -> Steps:
    """The steps with a rounding before every product but the ``spared``; before those of an attention where its ``order`` is given."""
    recipe, places = Recipe(), list[tuple[Ref, ...]]()

    def narrow(ref: Ref) -> Ref:
        return recipe.put(_Stored(name, way, 4.0), ref)

    for position, step in enumerate(narrow_weights(case, name, way)[0]):
        step = case.steps[position] if position in spared else step
        sources = [ref if ref.step < 0 else places[ref.step][ref.index] for ref in step.sources(position)]
        if isinstance(step.op, ops.Attention) and order:
            places.append(_narrow_attention(step.op, sources, order, recipe, narrow))
            continue
        weighted = getattr(step.op, "weight", None) is not None
        count = 0 if position in spared or not isinstance(step.op, Sum) else 1 if weighted else len(sources)
        made = recipe.put(step.op, *map(narrow, sources[:count]), *sources[count:])
        places.append(tuple(replace(made, index=index) for index in range(len(case.values[position]))))
    return tuple(recipe.steps)


def _narrow_attention(
    op: ops.Attention, sources: Sequence[Ref], order: str, recipe: Recipe, narrow: Callable[[Ref], Ref]
) -> tuple[Ref, Ref]:
    """An attention as steps for its weights and then its mean of values; the outputs are that and the weights as it gives them."""
    q, k, v, *masks = sources
    if order == "queries":
        q = recipe.put(ops.MulConstant(Weight("scale", None, np.asarray(op.scale))), q)
    weighing = replace(op, weights="each", scale=1.0 if order == "queries" else op.scale)
    share = replace(recipe.put(weighing, narrow(q), narrow(k), v, *masks), index=1)
    told = recipe.put(ops.GlobalAveragePool(axes=(-3,), keepdims=False), share) if op.weights == "mean" else share
    mean = ops.Einsum(equation="...qk,...kd->...qd")
    if order != "fused":
        return recipe.put(mean, narrow(share), narrow(v)), told
    largest = recipe.put(ops.GlobalMaxPool(axes=(-1,)), share)
    exponentials = recipe.put(ops.Div(), share, largest)  # of which the largest is 1
    return recipe.put(ops.Mul(), recipe.put(mean, narrow(exponentials), narrow(v)), largest), told


@hypothesis("rounding-mode")
def rounding_mode(case: Case) -> Iterator[Edit]:
    """A quantiser that rounds ties, or everything, in another way.

    NumPy, TensorFlow and PyTorch round halves to even; C's ``round`` away from zero, ``floor(x + 0.5)`` up, casts cut off,
    ``ap_fixed`` truncates by default, integer kernels may round twice, before and after a shift. All differences are one step.
    """
    for position, op in case.having(QuantizedBits, QuantizedRelu):
        size = _size(case, position, op)
        if size is None:
            continue
        step, low, high = size
        for mode in MODES:
            fixed = FixedPoint(step, mode, low, high)
            yield case.edit(f"the quantised activation is rounded {mode}", case.with_op(position, fixed), do="round halves to even")
    for name, weight in case.weights.items():
        if weight.stored is None:
            continue
        for step, low, high in _grids(weight):
            for mode in MODES:
                changed = FixedPoint(step, mode, low, high).f(weight.stored.astype(np.float64))
                yield case.edit(f"{name} is rounded {mode} to multiples of {step:g}", case.with_weights({name: changed}), do="half to even")


def _size(case: Case, position: int, op: QuantizedBits | QuantizedRelu) -> tuple[float, float, float] | None:
    """(step, low, high) of a quantised activation that is a plain one."""
    if np.ndim(op.integer):
        return None
    if isinstance(op, QuantizedRelu):
        size = float(2.0 ** (op.integer - op.bits))
        return None if op.negative_slope or op.sigmoid is not None else (size, 0.0, float(2.0**op.integer) - size)
    step = np.asarray(op.step(case.input_of(position)))
    if step.ndim or op.levels < 3:
        return None
    low, high = op.limits()
    return float(step), float(low * float(step)), float(high * float(step))


def _grids(weight: Weight) -> Iterator[tuple[float, float, float]]:
    """(step, low, high) of effective values that lie on a grid where the stored ones do not; first with the ends that they have."""
    stored, effective = weight.stored, weight.effective
    if stored is None or stored.shape != effective.shape or np.array_equal(stored, effective) or effective.size < 2:
        return
    levels = np.unique(effective.astype(np.float64))
    if levels.size > 1 << 12 or levels.size < 2:
        return
    step = float(np.diff(levels).min())
    if step and np.allclose(levels / step, np.rint(levels / step), atol=1e-3):
        for low in (float(levels[0]), -np.inf):
            for high in (float(levels[-1]), np.inf):
                yield step, low, high
