"""Which calls a forward pass makes and what each gives, without their arrays being kept."""

from collections.abc import Collection

from probe.capture.model_inputs import bind
from probe.capture.user_arrays import InputArgument, Shape
from probe.listing import Layer
from probe.model import Capture, Model
from probe.process.interrupts import held_back, interruptible
from probe.process.one_thread import one_thread

__all__ = ["calls_of_pass"]


def calls_of_pass(
    model: Model,
    x: InputArgument,
    names: Collection[str] | None,
    shape: Shape = None,
    seed: int = 0,
) -> list[Layer]:
    """In the order of execution: of these blocks, or (None) of every layer and operation."""
    bound = bind(model, x, shape, seed)
    found: list[Layer] = []
    with held_back(), one_thread(), interruptible():
        bound.model.run(bound.arrays, names, lambda capture: found.append(_listed(capture)))
    return found


def _listed(capture: Capture) -> Layer:
    described = capture.description is not None
    shapes = [output.shape for output in capture.outputs[:1]]
    return Layer(
        capture.layer,
        capture.kind,
        ("numpy", "onnx") if described else (),
        "" if described else capture.why,
        shapes[0] if shapes else None,
    )
