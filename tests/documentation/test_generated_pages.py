"""The pages that come from the code say what the code says."""

import pytest
from repository import script

gen_docs, gen_layer_tables = script("tools/gen_docs.py"), script("tools/gen_layer_tables.py")


# What was named for planted mistakes is held by tests/planted_faults, which take minutes.
@pytest.mark.parametrize("name", [name for name in gen_docs.PAGES if name != "causes"])
def test_a_page_is_the_codes_own(name):
    assert gen_docs.path_of(name).read_text(encoding="utf-8") == gen_docs.PAGES[name](), (
        f"run python tools/gen_docs.py {name}"
    )


def test_every_described_class_was_recorded():
    """What the tables say of options that were tried is what a run of the tests has seen."""
    rows = [
        line.split(" | ")
        for line in gen_layer_tables.tables().splitlines()
        if line.startswith("| ") and not line.startswith(("| class", "| operator"))
    ]
    assert len(rows) > 250
    # The two columns before the last: NumPy and ONNX Runtime.
    assert not [row[0] for row in rows if row[-3:-1] != ["yes", "yes"]]
