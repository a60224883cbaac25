"""README.md says what the code does: its generated parts are the code's own."""

import re

import pytest
from repository import ROOT, script

gen_readme = script("tools/gen_readme.py")
TEXT = (ROOT / "README.md").read_text()


def comparable(text):
    """Versions and the last digits of rounding errors differ between machines."""
    text = re.sub(r"\d+\.\d+\.\d+", "VERSION", text)
    return re.sub(
        r"-?\d+(\.\d+)?(e[+-]\d+)?",
        lambda match: f"{float(match[0]):.2g}" if float(match[0]) > 1e-3 else "SMALL",
        text,
    )


@pytest.mark.parametrize("name", gen_readme.PARTS)
def test_generated_parts_are_true(name):
    assert f"<!-- begin: {name} -->" in TEXT
    assert comparable(gen_readme.filled(TEXT, name)) == comparable(TEXT), (
        "run python tools/gen_readme.py"
    )


def test_every_described_class_was_recorded():
    """What the tables say of options that were tried is what a run of the tests has seen."""
    rows = [
        line.split(" | ")
        for line in gen_readme.section("layers").splitlines()
        if line.startswith("| ") and not line.startswith(("| class", "| operator"))
    ]
    assert len(rows) > 250
    # The two columns before the last: NumPy and ONNX Runtime.
    assert not [row[0] for row in rows if row[-3:-1] != ["yes", "yes"]]
