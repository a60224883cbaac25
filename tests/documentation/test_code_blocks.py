"""Every code block of README.md and docs/ runs, and shows what it prints."""

import pytest
from repository import script

from probe.description.custom_layers import _OWN

doc_blocks = script("tools/doc_blocks.py")
PAGES = {
    str(page.relative_to(doc_blocks.ROOT)): page.read_text(encoding="utf-8")
    for page in doc_blocks.pages()
}
LANGUAGES = {"c", "console", "python", "text", "toml"}


@pytest.fixture
def own():
    before = dict(_OWN)
    yield
    _OWN.clear()
    _OWN.update(before)


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(name, marks=[] if name == "README.md" else pytest.mark.exhaustive)
        for name, text in PAGES.items()
        if doc_blocks.blocks(text)
    ],
)
def test_a_page_shows_what_is_printed(page, own):
    for block, printed in doc_blocks.shown(PAGES[page]):
        assert doc_blocks.agrees(block.body, printed), (
            f"run python tools/doc_blocks.py {page}; it prints\n{printed}"
        )


def test_no_block_is_left_out():
    """Fences are as many as blocks, all in a language that is run or shown, few with a reason not
    to."""
    reasons = []
    for page, text in PAGES.items():
        found = [block for block in doc_blocks.blocks(text) if block.language != "hidden"]
        fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
        assert fences == 2 * len(found), page
        left_out = [block for block in found if block.reason]
        assert {block.language for block in found if block not in left_out} <= LANGUAGES, page
        assert all(block.file for block in found if block.language in ("c", "toml")), page
        reasons += left_out
    assert len(reasons) <= 5
