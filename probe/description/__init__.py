"""A layer as steps of ops, and what builds them."""

from probe.description.builder import Builder, Value, followed_by
from probe.description.description import Description, Site, Taken
from probe.ops.step import Ref, Step, field_names, weights_of
from probe.ops.weight import Grid, Weight

__all__ = [
    "Builder",
    "Description",
    "Grid",
    "Ref",
    "Site",
    "Step",
    "Taken",
    "Value",
    "Weight",
    "field_names",
    "followed_by",
    "weights_of",
]
