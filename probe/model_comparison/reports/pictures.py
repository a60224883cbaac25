"""Where in its tensors a pair differs, for the page of a comparison."""

from collections.abc import Iterator

import numpy as np

from probe.model_comparison.graphs.graph import Tensor
from probe.model_comparison.matching.paired import Paired
from probe.model_comparison.matching.propagated import whole
from probe.numerics.dtypes import widened
from probe.report import pictures
from probe.report.pictures import Drawn, Errors

__all__ = ["drawn"]


def drawn(
    paired: Paired,
    slack_a: dict[Tensor, np.ndarray | None],
    slack_b: dict[Tensor, np.ndarray | None],
) -> Drawn:
    """The local and the propagated error over the axes of A's tensor, and how many elements have
    which."""
    a, b, allowed = whole(paired, slack_a, slack_b)
    found = [*_local(paired, a)]
    if a.shape == b.shape and a.size:
        ratio = pictures.ratios(widened(b), widened(a), allowed)
        apart = pictures.apart(widened(b), widened(a))
        found.append(Errors("propagated error", ratio, _axes(paired, a), apart))
    return pictures.drawn(found)


def _local(paired: Paired, a: np.ndarray) -> Iterator[Errors]:
    """Nothing where the pair agrees, or has another shape."""
    if paired.unforced is None or paired.allowed is None or not a.size:
        return
    try:
        theirs = paired.way.to_b(widened(a))
        allowed = np.broadcast_to(paired.allowed, theirs.shape)
        ratio = paired.way.to_a(pictures.ratios(paired.unforced, theirs, allowed))
        apart = paired.way.to_a(pictures.apart(paired.unforced, theirs))
    except ValueError:
        return
    yield Errors("local error", ratio, _axes(paired, a), apart)


def _axes(paired: Paired, a: np.ndarray) -> tuple[str, ...]:
    """What A's layer calls the axes of its first output, or the layer before whose output an
    elementwise one takes; () where nothing is said."""
    tensor: Tensor | None = paired.a.tensor
    while tensor is not None and tensor.node is not None and tensor.value.shape == a.shape:
        node = tensor.node
        described, outputs = node.call.capture.description, node.call.capture.outputs
        if described is None or not outputs or outputs[0] is not tensor.recorded:
            return ()
        if described.output_axes:
            return described.output_axes
        if not node.op or node.layout or len(described.steps) > 1:
            return ()
        tensor = next(iter(node.inputs), None)
    return ()
