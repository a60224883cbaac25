"""What rounding in the layers before may have done to the user's input of a layer, whatever kind of
layer it is."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from probe.capture.passes import Passes
from probe.errors import CostWarning
from probe.evaluation.bounds import NEAR
from probe.evaluation.drift_of_calls import drift_by_rounding, drift_of
from probe.evaluation.monte_carlo import runs_of, usual_runs
from probe.evaluation.propagated_error import Drift, drifts
from probe.model import Capture, Containing, Model, is_large, parameters_of

__all__ = ["Drifts", "UserRun", "drift_before", "drift_of_user"]

Drifts = Mapping[tuple[str, int], Drift]

_SEVERAL = 4
"""The rounding before more calls of a layer than that is told by passes of the model, which are the
same for all."""


def drift_before(passes: Passes, calls: Sequence[Capture], seed: int, few: bool = False) -> Drifts:
    """What the layers before may have done to the input of these calls of a layer; a ``few`` runs
    tell it less well."""
    model, arrays, layer = passes.model, passes.arrays, passes.layer
    if layer == "":
        return {}
    plain = isinstance(layer, str) and all(capture.unseen is None for capture in calls)
    keys = {capture.key for capture in calls}
    if plain and (len(keys) > _SEVERAL or not _followed(model)):
        last = calls[-1].key
        held = () if any(capture.description is None for capture in calls) else calls
        return drifts(model, arrays, keys, last=last, seed=seed, held=held, few=few)
    outputs = calls[0].outputs
    if is_large(model) and model.layers[0].name != passes.names[0]:
        runs = runs_of(outputs)[0] if few else usual_runs(outputs)
        warnings.warn(
            "your values came through earlier layers: allowing for their rounding takes one more "
            f"forward pass of {parameters_of(model):,} parameters, and those layers {1 + runs} "
            "times in NumPy; given= (--expect-input) avoids that",
            CostWarning,
            stacklevel=3,
        )
    passed = passes.whole()
    drifts_of_calls = {}
    for call in calls:
        raw = call if isinstance(layer, tuple) else passed.call(*call.key)
        drift = drift_of(model, arrays, passed.whole, raw, seed, few)
        if drift is not None:
            drifts_of_calls[call.key] = drift
    return drifts_of_calls


def _followed(model: Model) -> bool:
    """Whether the model as a whole is known by what it calls."""
    return isinstance(model, Containing) and any(not block.name for block in model.containers)


@dataclass(frozen=True, eq=False)
class UserRun:
    """The calls whose inputs the user computed with layers of their own."""

    passes: Passes
    calls: Sequence[Capture]
    seed: int
    ratio: Callable[[Drifts], float]
    """How many times what is allowed the user's values are off, with a drift of these calls."""

    def before(self, few: bool = False) -> Drifts:
        """What the layers before may have done; a ``few`` runs tell it less well."""
        return drift_before(self.passes, self.calls, self.seed, few)


def none_needed(run: UserRun) -> Drifts | None:
    """Nothing, where the values agree without."""
    if run.ratio({}) <= 1:
        return {}
    return None


def other_roundings(run: UserRun) -> Drifts | None:
    """What a few passes that round otherwise tell, where the values agree with it."""
    if isinstance(run.passes.layer, tuple) or run.passes.layer == "":
        return None
    drift = drift_by_rounding(run.passes.model, run.passes.arrays, run.calls, run.seed)
    if drift and run.ratio(drift) <= 1:
        return drift
    return None


def few_runs(run: UserRun) -> Drifts | None:
    """What a few runs tell, where it is clear that the values agree or that they differ."""
    drift = run.before(few=True)
    if 1 < run.ratio(drift) < NEAR[0]:
        return None
    return drift


def all_runs(run: UserRun) -> Drifts:
    """What all of them tell."""
    return run.before()


Rule = Callable[[UserRun], Drifts | None]
RULES: tuple[Rule, ...] = (all_runs,)
SPARING: tuple[Rule, ...] = (none_needed, other_roundings, few_runs, all_runs)
"""Of a large model, in which a pass is dear."""


def drift_of_user(run: UserRun) -> Drifts:
    """By the first rule that decides."""
    for rule in SPARING if is_large(run.passes.model) else RULES:
        drift = rule(run)
        if drift is not None:
            return drift
    return {}
