"""The code of docs/own-layers.md runs as it stands."""

import re

from repository import ROOT

from probe.description.custom_layers import _OWN

DOCUMENT = ROOT / "docs" / "own-layers.md"


def test_the_worked_examples():
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(blocks) == 6
    before = dict(_OWN)
    names: dict = {"__name__": "own_layers"}
    try:
        for block in blocks:
            exec(compile(block, str(DOCUMENT), "exec"), names)
    finally:
        _OWN.clear()
        _OWN.update(before)
