"""What a model answers beside what its recording answers."""

import numpy as np

import probe
from probe.report.as_json import as_dict

__all__ = ["assert_same", "differences", "recorded"]


def recorded(model, x, folder, **options):
    """The recording of a pass, opened."""
    return probe.record(model, x, folder / "run.npz", **options)


def differences(live, kept):
    """The fields of two reports that are not equal, but for what ran the model."""
    one, other = as_dict(live), as_dict(kept)
    assert other.pop("framework").startswith(one.pop("framework") + ", recorded ")
    told = {key: (one[key], other[key]) for key in one if one[key] != other[key]}
    for party, arrays in live.outputs.items():
        ours = kept.outputs[party]
        for left, right in zip(
            *(a if isinstance(a, tuple) else (a,) for a in (arrays, ours)), strict=True
        ):
            if (left is None) != (right is None) or (
                left is not None
                and not np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
            ):
                told[f"outputs of {party}"] = left, right
    return told


def assert_same(model, x, folder, **options):
    """The sweep of a recording is that of the model, and the check of its last layer."""
    model = probe.open_model(model) if not hasattr(model, "run") else model
    kept = recorded(model, x, folder, **options)
    live, ours = list(probe.sweep(model, x)), list(probe.sweep(kept))
    assert [one.layer for one in live] == [one.layer for one in ours]
    for one, other in zip(live, ours, strict=True):
        assert not differences(one, other), one.layer
    name = live[-1].layer
    assert not differences(probe.check(model, name, x), probe.check(kept, name))
