"""The adaptive softmax: frequent classes by themselves, rare ones in clusters."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Value

from ..describe.describe import ModuleCall, describes

__all__: list[str] = []


@describes("AdaptiveLogSoftmaxWithLoss", several=True)
def _adaptive(module: Any, call: ModuleCall) -> Description:
    """The log-probability of each target, and minus the mean of these: that of the class or the
    cluster among those of the head, and within a cluster that of the class."""
    build, (x, target) = Builder(), (call.arguments[name] for name in ("input_", "target_"))
    batched = call.inputs[target.index].ndim > 0
    if not batched:
        x, target = (build.add(ops.Unsqueeze(axes=(0,)), value) for value in (x, target))
    places = build.add(ops.Cast(to="int64"), target)
    bias = call.weight("head.bias")
    head = build.add(ops.MatMul(weight=call.required("head.weight", axes=(1, 0)), bias=bias), x)
    in_head, within = places, list[Ref]()
    for k, (low, high) in enumerate(zip(module.cutoffs[:-1], module.cutoffs[1:], strict=True)):
        is_before, is_behind = (
            build.add(ops.Less(), places, np.asarray(edge, np.int64)) for edge in (low, high)
        )
        inside = build.add(ops.And(), build.add(ops.Not(), is_before), is_behind)
        own = build.add(ops.Sub(), places, np.asarray(low, np.int64))
        own = build.add(ops.Where(), inside, own, np.asarray(0, np.int64))
        scores = x
        for part in range(2):
            weight = call.required(f"tail.{k}.{part}.weight", axes=(1, 0))
            scores = build.add(ops.MatMul(weight=weight, bias=None), scores)
        within.append(build.add(ops.Where(), inside, _log_share(build, scores, own), 0.0))
        cluster = np.asarray(module.shortlist_size + k, np.int64)
        in_head = build.add(ops.Where(), inside, cluster, in_head)
    output = _log_share(build, head, in_head)
    for share in within:
        output = build.add(ops.Add(), output, share)
    loss = build.add(ops.Neg(), build.add(ops.ReduceMean(axes=(0,)), output))
    if not batched:
        output = build.add(ops.Squeeze(axes=(0,)), output)
    return Description(build.ended(output, loss))


def _log_share(build: Builder, scores: Value, places: Value) -> Ref:
    """The log-probability of one class for each sample."""
    logs = build.add(ops.LogSoftmax(axis=1), scores)
    places = build.add(ops.Unsqueeze(axes=(1,)), places)
    return build.add(ops.Squeeze(axes=(1,)), build.add(ops.GatherElements(axis=1), logs, places))
