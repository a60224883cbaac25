"""What is suggested where a model has no layer of a name."""

import pytest

from probe.errors import UnknownLayer

NAMES = (
    *("", "stem", "blocks", "blocks.0", "blocks.0.conv", "blocks.0.norm"),
    *("blocks.1", "blocks.1.conv", "blocks.1.norm", "pool", "head"),
)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("stm", "did you mean 'stem'?"),
        ("Stem", "did you mean 'stem'?"),
        ("conv", "did you mean 'blocks.0.conv' or 'blocks.1.conv'?"),
        ("convs", "did you mean 'blocks.0.conv' or 'blocks.1.conv'?"),
        ("0.norm", "did you mean 'blocks.0.norm'"),
        ("block.0", "did you mean 'blocks.0', "),
        ("lock", "did you mean 'blocks', "),
        ("foobar", "it has 'stem', 'blocks', "),
    ],
)
def test_blocks_last_parts_and_substrings_are_suggested_and_how_to_list(wanted, hint):
    said = str(UnknownLayer(wanted, NAMES))
    assert said.startswith(f"the model has no layer {wanted!r}; {hint}")
    assert said.endswith(" (probe MODEL lists the layers, probe MODEL --parts the blocks)")
    assert "''" not in said and ("it has" in said or said.count(" or ") + said.count(", ") <= 3)
