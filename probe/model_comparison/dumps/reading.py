"""Arrays of another engine as the tensors of a model: by its names, in one piece, in its order."""

from collections.abc import Mapping

import numpy as np

from probe.model_comparison.dumps.called import layers_meant
from probe.model_comparison.dumps.fused import split
from probe.model_comparison.dumps.rotated import unpermuted
from probe.model_comparison.dumps.streams import streams_added
from probe.model_comparison.dumps.tokens import with_all_tokens
from probe.model_comparison.graphs.graph import ModelGraph, tensors_alone
from probe.model_comparison.matching.names import named_tensors

__all__ = ["as_of_model"]


def as_of_model(
    arrays: Mapping[str, np.ndarray], model: ModelGraph
) -> tuple[ModelGraph, tuple[str, ...]]:
    """The arrays as far as they are the model's in another form, and what was done to them."""
    tensors = named_tensors(model)
    meant = layers_meant(arrays, tensors)
    files = {layer: name for name, layer in meant.items()}
    found, notes = {meant[name]: array for name, array in arrays.items()}, list[str]()
    for step in (streams_added, split, unpermuted, with_all_tokens):
        found, said = step(found, tensors)
        notes += said
    return tensors_alone(found, files), tuple(notes)
