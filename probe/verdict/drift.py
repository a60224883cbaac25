"""What rounding in the layers before may have done to the user's input of a layer, whatever kind of
layer it is."""

import warnings
from collections.abc import Mapping, Sequence

from probe.capture.passes import Passes
from probe.errors import CostWarning
from probe.evaluation.monte_carlo import runs_of, usual_runs
from probe.evaluation.propagated_error import Drift, drift_by_rounding, drift_of, drifts
from probe.model import Capture, Containing, Model, is_large, parameters_of

__all__ = ["drift_before", "quick_drift_before"]

_SEVERAL = 4
"""The rounding before more calls of a layer than that is told by passes of the model, which are the
same for all."""


def drift_before(
    passes: Passes, calls: Sequence[Capture], seed: int, few: bool = False
) -> Mapping[tuple[str, int], Drift]:
    """What the layers before may have done to the input of these calls of a layer; a ``few`` runs
    tell it less well."""
    model, arrays, layer = passes.model, passes.arrays, passes.layer
    if layer == "":
        return {}
    plain = isinstance(layer, str) and all(one.unseen is None for one in calls)
    keys = {(one.layer, one.call) for one in calls}
    if plain and (len(keys) > _SEVERAL or not _followed(model)):
        last = calls[-1].layer, calls[-1].call
        held = () if any(one.description is None for one in calls) else calls
        return drifts(model, arrays, keys, last=last, seed=seed, held=held, few=few)
    outputs = calls[0].outputs
    if is_large(model) and model.layers[0].name != passes.names[0]:
        warnings.warn(
            "your values came through earlier layers: allowing for their rounding takes one more "
            f"forward pass of {parameters_of(model):,} parameters, and those layers "
            f"{1 + (runs_of(outputs)[0] if few else usual_runs(outputs))} times in NumPy; "
            "given= (--expect-input) "
            "avoids that",
            CostWarning,
            stacklevel=3,
        )
    passed = passes.whole()
    made = {
        (one.layer, one.call): drift_of(
            model,
            arrays,
            passed.whole,
            one if isinstance(layer, tuple) else passed.call(one.layer, one.call),
            seed,
            few,
        )
        for one in calls
    }
    return {key: one for key, one in made.items() if one is not None}


def quick_drift_before(
    passes: Passes, calls: Sequence[Capture], seed: int
) -> Mapping[tuple[str, int], Drift]:
    """What a few passes of a large model tell that round otherwise; nothing where they cannot."""
    if passes.layer == "" or isinstance(passes.layer, tuple):
        return {}
    return drift_by_rounding(passes.model, passes.arrays, calls, seed) or {}


def _followed(model: Model) -> bool:
    """Whether the model as a whole is known by what it calls."""
    return isinstance(model, Containing) and any(not one.name for one in model.containers)
