"""Each op is written by hand, or stands in the table of those that are not, with the reason."""

from pathlib import Path

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


def test_the_page_has_each_of_them_with_its_reason():
    page = (Path(__file__).parents[2] / "docs" / "by-hand.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{name}` | {reason} |" for name, reason in sorted(LEFT_OUT.items())]
