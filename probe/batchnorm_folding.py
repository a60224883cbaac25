"""A layer with the batch normalisation after it folded into its kernel and bias, as a deployed
layer would hold them, proven.

    kernel' = kernel * gamma / sqrt(variance + epsilon)        per output channel
    bias'   = (bias - mean) * gamma / sqrt(variance + epsilon) + beta

(Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", 2018, section 3.2.) Nothing is written to the model: the folded layer is one more party,
held against the two layers in a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probe import ops
from probe.capture.model_inputs import bind
from probe.capture.run import ModelLike, opened
from probe.capture.user_arrays import Inputs, Shape
from probe.description import Builder, Description
from probe.errors import BadInput, NotReached, UnknownLayer
from probe.evaluation.reference import values_of
from probe.model import Capture, Model
from probe.numerics.blocks import same_bits
from probe.numerics.dtypes import widened
from probe.ops.step import Step
from probe.ops.weight import Weight
from probe.report import Report
from probe.verdict.judge import judge
from probe.verdict.options import Options, Yours

__all__ = ["fold"]

_BETWEEN = (ops.Transpose, ops.Reshape)
"""What may stand before and after the two: it moves elements and changes none."""


def fold(
    model: ModelLike, layer: str, x: Inputs = None, *, shape: Shape = None, seed: int = 0
) -> Report:
    """Folds the batch normalisation that follows a layer into its weights, and checks the result.

    Args:
        model: As for ``probe.check``.
        layer: A convolution or a dense layer.
        x: As for ``probe.check``.
        shape: As for ``probe.check``.
        seed: As for ``probe.check``.

    Returns:
        The report of the folded layer: ``weights`` are its kernel and bias, in the framework's
        layout, ``outputs["expected"]`` is what it gives. Every other party computes the layer and
        then the batch normalisation.

    Raises:
        BadInput: No batch normalisation follows, or another layer is between the two.
        UnknownLayer: No layer has that name.
        NotReached: The forward pass makes no such call.
    """
    model = opened(model)
    if layer not in model.names():
        raise UnknownLayer(layer, model.names())
    model, arrays, how = bind(model, x, shape, seed)
    first, second = _pair(model, arrays, layer)
    pair = _joined(first, second)
    weights, folded = _folded(first, second)
    whole = replace(pair, description=Description(folded))
    inputs = [widened(x) for x in first.inputs]
    deployed = values_of(whole, inputs)[-1][0].astype(second.outputs[0].dtype)
    report = judge(pair, Yours(deployed), Options(detail=True))
    note = (
        (
            f'{second.layer!r} ({second.kind}) is folded into {layer!r}: "yours" is the '
            f"folded layer, the other parties are {layer!r} followed by {second.layer!r}"
        ),
    )
    return replace(
        report,
        weights={weight.name: weight for weight in weights},
        how=how,
        source=model.source,
        framework=model.framework,
        notes=(*model.notes, *note, *report.notes),
        blind=(),
    )


@dataclass
class _Finder:
    """Keeps the first call of a layer and the batch normalisation that is given its output."""

    layer: str
    first: Capture | None = None
    second: Capture | None = None
    others: list[str] = field(default_factory=list)

    def __call__(self, capture: Capture) -> None:
        if self.first is None:
            if capture.layer == self.layer:
                self.first = capture
        elif self.second is None and any(
            same_bits(x, self.first.outputs[0]) for x in capture.inputs
        ):
            if (
                capture.description is not None
                and _position(capture.description.steps, ops.BatchNormalization) is not None
            ):
                self.second = capture
            else:
                self.others.append(f"{capture.layer!r} ({capture.kind})")


def _pair(model: Model, arrays: Sequence[np.ndarray], layer: str) -> tuple[Capture, Capture]:
    finder = _Finder(layer)
    model.run(arrays, None, finder)
    if finder.first is None:
        raise NotReached(f"the forward pass did not call {layer!r}, so there is nothing to fold")
    if finder.first.description is None:
        raise BadInput(f"{layer!r} cannot be folded: {finder.first.why}")
    if finder.second is None:
        if finder.others:
            after = f"it is followed by {' and '.join(finder.others)}"
        else:
            after = "no layer was found after it"
        raise BadInput(f"{layer!r} is not followed by a batch normalisation: {after}")
    return finder.first, finder.second


def _position(steps: Sequence[Step], *kinds: type) -> int | None:
    """Where the one step of these kinds stands among others that only move elements; None where
    there is no such one."""
    places = [position for position, step in enumerate(steps) if isinstance(step.op, kinds)]
    rest = all(isinstance(step.op, (*_BETWEEN, *kinds)) for step in steps)
    if rest and len(places) == 1:
        return places[0]
    return None


def _joined(first: Capture, second: Capture) -> Capture:
    """The two layers as one: the inputs of the first, the outputs of the second."""
    assert first.description is not None and second.description is not None
    build = Builder()
    build.include(second.description.steps, *build.include(first.description.steps))
    axes = first.description.input_axes, second.description.output_axes
    return replace(
        first,
        kind=f"{first.kind} + {second.kind}",
        outputs=second.outputs,
        description=Description(build.ended(), *axes),
        notes=(),
    )


def _folded(first: Capture, second: Capture) -> tuple[list[Weight], tuple[Step, ...]]:
    """The folded weights in the dtype of the stored ones, and the first layer's steps with them."""
    assert first.description is not None and second.description is not None
    steps = first.description.steps
    position = _position(steps, ops.Conv, ops.MatMul)
    if position is None:
        raise BadInput(
            f"{first.layer!r} ({first.kind}) cannot be folded: it must be one convolution or "
            "dense layer without an activation"
        )
    op: Any = steps[position].op
    norm: Any = next(
        step.op for step in second.description.steps if isinstance(step.op, ops.BatchNormalization)
    )
    if op.weight is None:
        raise BadInput(
            f"{first.layer!r} cannot be folded: its kernel is an input of the call, not a weight"
        )
    kernel = op.weight.value.astype(np.float64)
    axis = 0 if isinstance(op, ops.Conv) else 1
    parts = {
        part.name: part.effective
        for part in (norm.scale, norm.bias, norm.mean, norm.variance)
        if part is not None
    }

    def value(part: Weight | None, otherwise: float) -> np.ndarray:
        if part is None:
            return np.full(kernel.shape[axis], otherwise)
        return part.value.astype(np.float64).ravel()

    gain = value(norm.scale, 1.0) / np.sqrt(value(norm.variance, 1.0) + norm.epsilon)
    offset = (value(op.bias, 0.0) - value(norm.mean, 0.0)) * gain + value(norm.bias, 0.0)
    words = f"gamma / sqrt(variance + {norm.epsilon:g})"
    scaled = kernel * np.expand_dims(gain, tuple(at for at in range(kernel.ndim) if at != axis))
    weight = _held(op.weight, scaled, f"times {words} of {second.layer!r}", parts)
    if op.bias is None:
        bias = Weight("bias", None, offset.astype(op.weight.effective.dtype))
    else:
        bias = op.bias
    bias = _held(bias, offset, f"(bias - mean) * {words} + beta of {second.layer!r}", parts)
    changed = replace(steps[position], op=replace(op, weight=weight, bias=bias))
    return [weight, bias], (*steps[:position], changed, *steps[position + 1 :])


def _held(weight: Weight, value: np.ndarray, words: str, parts: dict[str, np.ndarray]) -> Weight:
    effective = weight.from_op(value).astype(weight.effective.dtype)
    return replace(
        weight,
        effective=effective,
        steps=(*weight.steps, words),
        parts={**weight.parts, **parts},
        grid=None,
    )
