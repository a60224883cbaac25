"""Small mistakes in a source, as a tired author makes them: of which kinds, and where."""

import ast
import itertools
import random
import re
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_INSTEAD = {
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "//": "*",
    "%": "*",
    "**": "*",
    "<<": ">>",
    ">>": "<<",
    "&": "|",
    "|": "&",
    "^": "|",
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "in": "not in",
    "not in": "in",
    "is": "is not",
    "is not": "is",
    "and": "or",
    "or": "and",
}
_OPERATOR = re.compile(rb"not\s+in|is\s+not|(?:and|or|in|is)\b|[-+*/%<>=!&|^]+")
_IN_EITHER_ORDER = {
    *("max", "min", "maximum", "minimum", "add", "multiply", "logical_and", "logical_or", "gcd"),
    *("array_equal", "isclose"),
}
"""Functions that give the same for exchanged arguments, or nearly so."""
_TYPE_FIRST = {"isinstance", "issubclass", "hasattr", "getattr", "setattr", "cast"}
"""Functions that fail at once for exchanged arguments."""
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
Change = tuple[int, int, str]
"""The first byte, the byte after the last, and what stands there instead."""


class ParsedText:
    """The text of a file, and where in it the nodes of its tree stand."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.lines = [0, *itertools.accumulate(map(len, text.splitlines(keepends=True)))]

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def of(self, node: ast.expr | ast.stmt) -> str:
        return self.text[self.start(node) : self.end(node)].decode()


def _operators(source: ParsedText, operands: list[ast.expr]) -> Iterator[Change]:
    for left, right in itertools.pairwise(operands):
        start = source.end(left)
        between = source.text[start : source.start(right)]
        operator = _OPERATOR.search(between)
        if operator is None or b"#" in between:
            continue
        instead = _INSTEAD.get(" ".join(operator[0].decode().split()))
        if instead:
            yield start + operator.start(), start + operator.end(), instead


def arithmetic(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """Another operator between two values; a sign that is left out."""
    if isinstance(node, ast.BinOp):
        yield from _operators(source, [node.left, node.right])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield source.start(node), source.start(node) + 1, ""


def comparison(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """Another comparison, a neighbour of the one that stands there."""
    if isinstance(node, ast.Compare):
        yield from _operators(source, [node.left, *node.comparators])


def logic(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """``and`` for ``or``, True for False; a ``not`` that is left out."""
    if isinstance(node, ast.BoolOp):
        yield from _operators(source, node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield source.start(node), source.start(node) + len("not"), ""
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield source.start(node), source.end(node), str(not node.value)


def constant(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """A number beside the one that stands there."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        beside = [node.value + 1, node.value - 1]
        if isinstance(node.value, float):
            beside = [2 * node.value or 1.0]
        for number in beside:
            yield source.start(node), source.end(node), f"({number!r})"


def statement(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """A statement that is left out, where what follows would still find its names."""
    for body in _blocks(node):
        for each in body:
            last = isinstance(node, _FUNCTION) and each is body[-1]
            if _can_be_left_out(each) and not (last and isinstance(each, ast.Return)):
                yield source.start(each), source.end(each), "pass"


def _blocks(node: ast.AST) -> list[list[ast.stmt]]:
    found = [getattr(node, name, None) for name in ("body", "orelse", "finalbody")]
    return [body for body in found if isinstance(body, list)]


def _can_be_left_out(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        read = {each.id for each in ast.walk(node.value) if isinstance(each, ast.Name)}
        return all(
            isinstance(target, ast.Attribute | ast.Subscript)
            or (isinstance(target, ast.Name) and target.id in read)
            for target in node.targets
        )
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call | ast.Await)
    return isinstance(
        node, ast.AugAssign | ast.Raise | ast.Continue | ast.Break | ast.Delete | ast.Return
    )


def arguments(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """Two arguments of a call, one after the other, exchanged."""
    if not isinstance(node, ast.Call):
        return
    function = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if function in _IN_EITHER_ORDER | _TYPE_FIRST:
        return
    for left, right in itertools.pairwise(node.args):
        starred = isinstance(left, ast.Starred) or isinstance(right, ast.Starred)
        if not starred and source.of(left) != source.of(right):
            between = source.text[source.end(left) : source.start(right)].decode()
            exchanged = f"{source.of(right)}{between}{source.of(left)}"
            yield source.start(left), source.end(right), exchanged


def condition(source: ParsedText, node: ast.AST) -> Iterator[Change]:
    """The contrary of a condition."""
    tests = []
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        tests = [node.test]
    elif isinstance(node, ast.comprehension):
        tests = node.ifs
    for test in tests:
        dropped = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
        if not dropped and source.of(test) != "TYPE_CHECKING":
            yield source.start(test), source.end(test), f"not ({source.of(test)})"


KINDS: dict[str, Callable[[ParsedText, ast.AST], Iterator[Change]]] = {
    "arithmetic": arithmetic,
    "comparison": comparison,
    "logic": logic,
    "constant": constant,
    "dropped statement": statement,
    "exchanged arguments": arguments,
    "turned condition": condition,
}


@dataclass(frozen=True)
class Mutant:
    """A file with one small mistake."""

    file: Path
    kind: str
    line: int
    change: Change

    def text(self) -> bytes:
        """What the file holds with the mistake."""
        start, end, instead = self.change
        text = self.file.read_bytes()
        return text[:start] + instead.encode() + text[end:]


def _seen(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree but those where a mistake would change nothing: annotations, and what
    only guards, zip's ``strict`` and a dataclass' ``frozen``; nor those within an f-string, where
    Python before 3.12 says wrong places."""
    yield node
    unseen = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    for child in ast.iter_child_nodes(node):
        guard = isinstance(child, ast.keyword) and child.arg in ("strict", "frozen")
        if child not in unseen and not guard and not isinstance(child, ast.JoinedStr):
            yield from _seen(child)


def of_file(file: Path) -> list[Mutant]:
    """A mutant for each change of a file, those that Python cannot read among them."""
    source, found = ParsedText(file.read_bytes()), []
    for node in _seen(source.tree):
        for kind, changes in KINDS.items():
            for change in changes(source, node):
                found.append(Mutant(file, kind, bisect(source.lines, change[0]), change))
    return found


def is_another_program(mutant: Mutant) -> bool:
    """Whether Python can read it, as anything but the file without the mistake."""
    try:
        tree = ast.parse(mutant.text())
    except SyntaxError:  # as where the `**` is one of arguments
        return False
    return ast.dump(tree) != ast.dump(ast.parse(mutant.file.read_bytes()))


def drawn(files: list[Path], count: int, seed: int) -> list[Mutant]:
    """So many at random, as many of each kind as there are, no two of a kind at one place."""
    draw = random.Random(seed)
    places: dict[str, dict[tuple[Path, int], list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for file in files:
        for mutant in of_file(file):
            places[mutant.kind][file, mutant.change[0]].append(mutant)
    of_kinds = [
        [draw.choice(mutants) for mutants in draw.sample(list(found.values()), len(found))]
        for _, found in sorted(places.items())
    ]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*of_kinds))
    others = (mutant for mutant in in_turn if mutant and is_another_program(mutant))
    return list(itertools.islice(others, count))
