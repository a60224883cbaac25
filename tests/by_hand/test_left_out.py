"""Each op is written by hand, or stands in the table of those that are not, with the reason."""

from probe import ops
from probe.by_hand.registry import _HOMES, LEFT_OUT

BASES = {"Elementwise", "Mixing", "Op", "Quantizer", "Rearrangement", "Recurrence", "Sum"}
"""Classes that only others derive from."""


def test_every_op_is_written_or_left_out_with_a_reason():
    kinds = {
        name
        for name in dir(ops)
        if isinstance(found := getattr(ops, name), type) and issubclass(found, ops.Op)
    }
    assert not LEFT_OUT.keys() & set(_HOMES)
    assert kinds - BASES == {*_HOMES, *LEFT_OUT}
    assert all(reason and not reason.endswith(".") for reason in LEFT_OUT.values())
    assert len(LEFT_OUT) <= len(kinds) // 10
