"""A layer as steps of ops, and what builds them."""

from probe.description.builder import Recipe, Steps
from probe.description.description import Description
from probe.ops.step import Ref, Step, field_names, weights_of
from probe.ops.weight import Grid, Weight

__all__ = [
    "Description",
    "Grid",
    "Recipe",
    "Ref",
    "Step",
    "Steps",
    "Weight",
    "field_names",
    "weights_of",
]
