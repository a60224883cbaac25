"""What makes the source hard to read falls and does not come back: tools/words.py counts it."""

import textwrap

import pytest
from repository import script

words = script("tools/words.py")


@pytest.fixture(scope="module")
def house():
    return words.sources(words.FOLDERS)


def test_no_rule_is_broken_more_often_than_before(house):
    """Nor less often than its ceiling says: what has fallen stays down."""
    found = words.occurrences(house, words.sources(words.BESIDE))
    now, ceilings = words.figures(house, found), words.ceilings()
    assert now.keys() == ceilings.keys()
    above = {rule: figure for rule, figure in now.items() if figure > ceilings[rule]}
    listed = "\n".join(occurrence.text for rule in above for occurrence in found[rule])
    assert above == {}, f"more than the ceilings in tools/words.json allow:\n{listed}"
    below = {rule: figure for rule, figure in now.items() if figure < ceilings[rule]}
    assert below == {}, "below the ceilings: run python tools/words.py --lower"


def lines_of(rule, *texts, beside=()):
    """Where the rule finds something in files of these texts, and of others beside."""
    files, others = (
        [
            words.source(f"{folder}file{number}.py", textwrap.dedent(text))
            for number, text in enumerate(group)
        ]
        for folder, group in (("probe/room/", texts), ("tools/", beside))
    )
    found = words.occurrences(files, others)[rule]
    return [occurrence.text.replace("probe/room/", "") for occurrence in found]


LONG = "    x = 1\n" * 60


@pytest.mark.parametrize(
    "rule, text, lines",
    [
        ("one", "for one in ones:\n  print(one, f(one=1))", ["file0.py:1"]),
        ("one", "def f(one): ...\nx = [one for one in y]", ["file0.py:1", "file0.py:2"]),
        ("one", "match x:\n  case [one, None as a]: ...", ["file0.py:2"]),
        ("participles", "held = 1\nx.found = y.made", ["file0.py:1 held"]),
        ("nested", "a if b else c if d else e", ["file0.py:1"]),
        ("nested", "f(a if b else c, a if b else c)", []),
        ("tall", "(a\n if b else\n c)\n(a\n if b else c)", ["file0.py:1"]),
        ("long", f"def _f():\n{LONG}", ["file0.py:1 _f, 61 lines"]),
        ("long", f"def _f():\n{LONG[10:]}", []),
        ("long", f"def f():\n    '''More\n    words.'''\n{LONG[10:]}", []),
        ("long", f"def f():\n    '''More\n    words.'''\n{LONG}", ["file0.py:1 f, 61 lines"]),
    ],
)
def test_what_a_rule_counts(rule, text, lines):
    assert lines_of(rule, text) == lines


def test_a_name_of_two_classes():
    two, nested = "class A: ...\nclass A: ...", "class B:\n  class A: ..."
    assert lines_of("classes", two, "class B: ...") == []
    assert lines_of("classes", two, nested, "class _A: ...") == ["A: file0.py:2, file1.py:2"]
    assert lines_of("classes", two, beside=[nested]) == ["A: file0.py:2, tools/file0.py:2"]
    assert lines_of("one", "class A: ...", beside=["one = 1"]) == []


def test_ceilings_are_only_lowered(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "CEILINGS", tmp_path / "words.json")
    words.CEILINGS.write_text('{"one": 5, "tall": 3}')
    words.lower({"one": 4, "tall": 9, "long": 2})
    assert words.ceilings() == {"one": 4, "tall": 3, "long": 2}
