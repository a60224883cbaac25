"""Arrays of another engine as the tensors of a model: by its names, in one piece, in its order."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from probe.capture.printed_tensors import PrintedTensor
from probe.model_comparison.declared_axes import Axes
from probe.model_comparison.dumps.axes import in_model_order
from probe.model_comparison.dumps.called import layers_meant
from probe.model_comparison.dumps.fused import split
from probe.model_comparison.dumps.printed import filled
from probe.model_comparison.dumps.rotated import unpermuted
from probe.model_comparison.dumps.streams import streams_added
from probe.model_comparison.dumps.tokens import with_all_tokens
from probe.model_comparison.graphs.graph import ModelGraph, tensors_alone
from probe.model_comparison.matching.names import named_tensors

__all__ = ["Dump", "as_of_model"]


class Dump(NamedTuple):
    """Arrays in the model's terms."""

    arrays: ModelGraph
    notes: tuple[str, ...]
    """What was done to them."""
    ordered: frozenset[str]
    """The names of those whose order of axes the user has told."""


def as_of_model(
    arrays: Mapping[str, np.ndarray],
    printed: Mapping[str, PrintedTensor],
    model: ModelGraph,
    axes: Axes | None,
) -> Dump:
    """The arrays as far as they are the model's in another form, and tensors that are printed."""
    tensors = named_tensors(model)
    meant = layers_meant(arrays, tensors)
    files = {layer: name for name, layer in meant.items()}
    called = {meant[name]: array for name, array in arrays.items()}
    (found, ordered), notes = in_model_order(called, tensors, axes), list[str]()
    for step in (streams_added, split, unpermuted, with_all_tokens):
        found, said = step(found, tensors)
        notes += said
    alone = tensors_alone(found, files, called)
    more, said = filled(printed, tensors)
    return Dump(replace(alone, loose=(*alone.loose, *more)), (*notes, *said), ordered)
