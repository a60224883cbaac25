"""How one side of a comparison is run: on the user's values of layers, and how far."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from probe.capture.declared_shape import refuse_shapes
from probe.capture.replacing import Replace, Replacing, replacing
from probe.errors import BadInput, ForwardFailed
from probe.model import Capture, Model, StopForward
from probe.model_comparison.graphs.graph import ModelGraph, recorded_pass

__all__ = ["Blocks", "SideRun", "block_of", "blocks_of"]

_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")
_NUMBER = re.compile(r"(?:^|[./])(\d{1,6})(?=[./:]|$)")
"""The number of a block in the name of a layer, as in "model.layers.3.mlp"."""

Arrays = tuple[np.ndarray, ...]


class Blocks(NamedTuple):
    """A range of blocks, both ends in it."""

    first: int
    last: int


class SideRun(NamedTuple):
    """What is asked of one side."""

    replace: Replace | None = None
    """The user's outputs of its layers, that the rest of it runs on."""
    blocks: Blocks | None = None
    """Those that are compared, behind which nothing is run; None: all."""
    reference: bool = False
    """Whether the other side is held against it: no layer then made what took its output's
    place."""

    def refuse_arrays(self, source: str) -> None:
        """Raises BadInput where a side without a model is asked for what only a model can do."""
        if self.replace is not None:
            raise BadInput(
                f"{source} contains only arrays, so no layer runs on other values (replace=, "
                "--replace): give the model"
            )
        if self.blocks is not None:
            raise BadInput(
                f"{source} contains only arrays, which are in no blocks: leave layers (--layers) "
                "out, and give the arrays of those layers alone"
            )

    def recorded(
        self, model: Model, arrays: Sequence[np.ndarray]
    ) -> tuple[ModelGraph, Arrays, Replacing | None]:
        """The graph of a pass, what it gives (nothing where only its first blocks are wanted), and
        the model that ran on the user's values."""
        runs = replacing(model, arrays, self.replace)
        own = runs if isinstance(runs, Replacing) else None
        blocks: set[int] = set()

        def seen(capture: Capture) -> Capture:
            blocks.update(self._within(capture))
            if own is None:
                return capture
            if self.reference:
                return own.opaque(capture)
            return own.after(capture)

        try:
            graph, outputs = recorded_pass(runs, arrays, seen)
        except ForwardFailed:
            refuse_shapes(model.inputs or (), arrays)
            raise
        if self.blocks is None:
            return graph, outputs, own
        if self.reference and not blocks:
            raise BadInput(
                "layers (--layers) counts blocks, and no layer of A has the number of one in its "
                "name, as model.layers.0.mlp has"
            )
        if self.reference and max(blocks) < self.blocks.first:
            raise BadInput(
                f"the last block of A is {max(blocks)}, and layers (--layers) begins with "
                f"{self.blocks.first}"
            )
        graph.outputs = ()
        return graph, (), own

    def _within(self, capture: Capture) -> Iterator[int]:
        """The block that a call is in; StopForward where it is none of those that are wanted."""
        block = block_of(capture.layer)
        if block is None:
            return
        if self.blocks is not None and block > self.blocks.last:
            raise StopForward
        yield block


def block_of(name: str) -> int | None:
    """The block that a layer is in, by its name; None where that has no number."""
    found = _NUMBER.search(name)
    return None if found is None else int(found[1])


def blocks_of(layers: str | None) -> Blocks | None:
    """The range of blocks of a string such as "0-3"; None for all. BadInput where it is none."""
    if layers is None:
        return None
    found = _RANGE.fullmatch(layers) if isinstance(layers, str) else None
    if found is None or int(found[1]) > int(found[2]):
        raise BadInput(
            f'layers (--layers) is a range of blocks, the first and the last, such as "0-3"; you '
            f"gave {layers!r}"
        )
    return Blocks(int(found[1]), int(found[2]))
