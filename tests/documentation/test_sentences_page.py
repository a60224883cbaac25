"""The sentences that a user can meet are short and in plain words, and the site lists them."""

import re

from repository import script

gather_pages, gen_sentences = script("tools/gather_pages.py"), script("tools/gen_sentences.py")
POETRY = (
    r"nobody|without a word|on the way\b|stand(s|ing)? apart|stood apart|hardly|goes? round|anew\b"
    r"|held against|what is left|its own word|at its worst|dearest|\bsees\b|our own fault|fills the"
    r"|goes together|lies? (near|beyond) rounding|is not known$|made up\b"
)


def test_sentences_are_short_and_plain():
    found = [
        text
        for folder in gen_sentences.FOLDERS
        for path in (gen_sentences.ROOT / folder).rglob("*.py")
        for text in gen_sentences.sentences(path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 900
    parts = [part for text in found for part in re.split(r"(?<=[a-z)}])\. ", text)]
    assert not [part for part in parts if len(part) > gen_sentences.LONGEST]
    assert not [text for text in found if re.search(POETRY, text)]


def test_templates():
    source = '''
"""A docstring of the module is no sentence."""
NAMES = "a list of the names".split()
WORDS = "use_bias axis units and_so_on"
x = f"the axis {axis!r} of {self.layer.name} is {'not ' if odd else ''}of size {3 * n:g}"
'''
    assert gen_sentences.sentences(source) == ["the axis {axis} of {name} is (not | )of size {…}"]


def test_the_site_lists_them(tmp_path):
    gather_pages.gather(tmp_path / "pages")
    page = (tmp_path / "pages" / "sentences.md").read_text(encoding="utf-8")
    assert "\n## probe/api.py\n" in page and page.count("\n- ") > 900


IN_PYTHON = {
    **{"expect": "expected", "expect-input": "given", "expect-at": "expected_at"},
    **{"pairs": "pairs=", "trust": "trust=", "factory": "factory", "import": "imports="},
    **{"device": "device", "call": "call=", "no-search": "search=", "layer": "probe.check"},
    **{"replace": "replace", "rtol": "rtol=", "atol": "atol=", "layers": "layers"},
}
"""Options that a parameter has the place of in Python."""


def test_a_sentence_of_the_library_that_names_an_option_says_it_for_python_too():
    for folder in gen_sentences.FOLDERS:
        for path in (gen_sentences.ROOT / folder).rglob("*.py"):
            if {"cli", "diagnosis"} & {*path.parts}:
                continue
            for text in gen_sentences.sentences(path.read_text(encoding="utf-8")):
                for option, parameter in IN_PYTHON.items():
                    named = re.search(rf"--{option}(?![\w-])", text)
                    assert not named or parameter in text, (path, text)
