"""Rotary embeddings whose frequencies are scaled by another formula than the layer's."""

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from probe.hypotheses.attention.rope_scaling import bases_of, other_scalings
from probe.hypotheses.attention.rotary_embedding import (
    BASES,
    angles_of,
    base_of,
    rotated,
    with_angles,
)
from probe.hypotheses.registry import more
from probe.trial.case import Case
from probe.trial.edit import Edit

__all__: list[str] = []


@more("rope-base")
def rope_scaling(case: Case) -> Iterator[Edit]:
    """Frequencies by another formula of the config's rope_scaling."""
    some, _ = next(angles_of(case), ([], ""))
    if not some or some[0][1].each.size < 2:
        return
    angles = some[0][1]
    base = base_of(angles)
    usual = min(BASES, key=lambda usual: abs(math.log(usual / base)))
    found: dict[str, tuple[np.ndarray, float]] = {}
    for likely in dict.fromkeys((base, usual, *bases_of(angles.each, BASES))):
        found |= other_scalings(angles.each, likely)
    for words, (each, scale) in found.items():
        yield case.edit(
            f"positions are rotated with frequencies {words}",
            rotated(case, some, partial(with_angles, each=each, scale=scale * angles.scale)),
            do="scale frequencies by the formula of the config (rope_scaling)",
        )
