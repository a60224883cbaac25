"""Every sentence that a user can meet, by the file that says it: a page of the site, which is built
with it and not kept. ``python tools/gen_sentences.py`` prints it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("probe", "adapters")
LONGEST = 200
"""Characters of a sentence, each placeholder counted as it is shown."""
_SMALL = frozenset(
    "a above all an and are as at be beside but by can cannot each every for from given has have "
    "if in is it its into minus more must needs no not of off on one only or over per plus "
    "than that the these this times to up use was were where which with without you your "
    "yours".split()
)
"""A text of three words or more is a sentence where one of them is among these."""
_HEAD = """# Every sentence

For everybody who reviews or looks up what `probe` says: the texts of reports, errors, notes and
help, and the reasons for "unchecked", by the file that says them; generated. `{name}` stands for a
value, `(a | b)` for one of two texts. In a reason such as "its padding is not supported", "it" and
"its" refer to the layer that the report names. What the causes mean is in [causes](causes.md).
"""


def sentences(source: str) -> list[str]:
    """The sentences of a module, in its order."""
    tree = ast.parse(source)
    passed = set(_passed_over(tree))
    found = {
        (node.lineno, node.col_offset): template(node)
        for node in ast.walk(tree)
        if id(node) not in passed and isinstance(node, ast.Constant | ast.JoinedStr)
    }
    return list(dict.fromkeys(text for _, text in sorted(found.items()) if is_sentence(text)))


def _passed_over(tree: ast.AST) -> Iterator[int]:
    """Docstrings, parts of other texts, lists of names, regular expressions, and what is written
    into a program."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if "SystemExit(" in text:
                yield id(node)
            case ast.Expr(value=ast.Constant()):
                yield id(node.value)
            case ast.JoinedStr():
                yield from (id(inner) for inner in ast.walk(node) if inner is not node)
            case ast.Assign(targets=[ast.Name(id="IDLE")]):  # reasons for who reads the code
                yield from map(id, ast.walk(node))
            case ast.Attribute(attr="split"):
                yield id(node.value)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"))):
                yield from map(id, node.args)


def is_sentence(text: str) -> bool:
    words = [word for word in text.split() if re.search(r"[^\W\d_]", re.sub(r"\{.*?\}", "", word))]
    small = sum(word.strip(",.;:()").lower() in _SMALL for word in words)
    plain = any(word[0].islower() for word in words)  # not so in a list of classes
    return len(words) >= 3 and small * 12 >= len(words) and plain


def template(node: ast.expr) -> str:
    """A text as it is shown, with ``{name}`` for what is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            return " ".join(text.split())
        case ast.JoinedStr(values=parts):
            return " ".join("".join(map(_part, parts)).split())
    return ""


def _part(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=text):
            return str(text)
        case ast.FormattedValue(value=ast.IfExp(body=first, orelse=second)):
            texts = [template(part) for part in (first, second) if _is_text(part)]
            return f"({' | '.join(texts)})" if len(texts) == 2 else "{…}"
        case ast.FormattedValue(value=value):
            return "{" + _name(value) + "}"
    return "{…}"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _name(node: ast.expr) -> str:
    """What a value is called in the code, as one word."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Subscript(value=ast.Name(id="NAMES" | "LABELS" | "_VALUES")):
            return "party"
        case ast.Call(args=[first, *_]):
            return _name(first)
    return "…"


def page() -> str:
    lines = [_HEAD]
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            found = sentences(path.read_text(encoding="utf-8"))
            if found:
                lines += [f"## {path.relative_to(ROOT).as_posix()}", ""]
                lines += [*(f"- {_escaped(text)}" for text in found), ""]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_`<>\[\]|])", r"\\\1", text)


if __name__ == "__main__":
    print(page())
