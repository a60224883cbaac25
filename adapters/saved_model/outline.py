"""What the process that runs a SavedModel says of it, and of a run: plain values, for it and for
the one that asks."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from probe.description import Description

__all__ = ["Operation", "Outline", "SavedTensor", "SignatureRun"]


class SavedTensor(NamedTuple):
    """A tensor of the graph."""

    name: str
    operation: str
    dtype: str
    sizes: tuple[int | None, ...] = ()


class Operation(NamedTuple):
    """An operation that is a layer."""

    kind: str
    dtype: str
    """The type that it computes in."""
    parameters: int
    weights: str
    """What the checkpoint's names of its variables begin with, where they all do."""
    taken: tuple[SavedTensor, ...]
    """Those that follow from the model's inputs, each once."""
    outputs: tuple[SavedTensor, ...]


class Outline(NamedTuple):
    """A loaded signature."""

    version: str
    """TensorFlow's."""
    inputs: tuple[SavedTensor, ...]
    operations: Mapping[str, Operation]
    """By their short names, in the order of the graph."""
    results: tuple[str, ...]
    """The names of the tensors that it returns."""
    output_names: tuple[str, ...]


class SignatureRun(NamedTuple):
    """A run."""

    values: Mapping[str, np.ndarray]
    """By the names of the tensors."""
    described: Mapping[str, tuple[Description | None, str]]
    """Operation -> its description, or why it has none."""
