"""What rounding in the layers before may have done to the user's input of a layer, whatever kind of
layer it is."""

from collections.abc import Mapping, Sequence

from probe.capture.run import Captured, Named, pass_through
from probe.evaluation.propagated_error import Drift, drift_of, drifts
from probe.model import Capture

__all__ = ["drift_before"]


def drift_before(
    found: Captured, layer: Named, calls: Sequence[Capture], seed: int
) -> Mapping[tuple[str, int], Drift]:
    """What the layers before may have done to the input of these calls of a layer."""
    if isinstance(layer, str) and all(one.unseen is None for one in calls):
        return drifts(
            found.model,
            found.arrays,
            {(one.layer, one.call) for one in calls},
            last=(calls[-1].layer, calls[-1].call),
            seed=seed,
        )
    if layer == "":
        return {}
    names = layer if isinstance(layer, tuple) else (layer,)
    passed = pass_through(found.model, found.arrays, names)
    made = {
        (one.layer, one.call): drift_of(
            found.model,
            found.arrays,
            passed.whole,
            one if isinstance(layer, tuple) else passed.call(one.layer, one.call),
            seed,
        )
        for one in calls
    }
    return {key: one for key, one in made.items() if one is not None}
