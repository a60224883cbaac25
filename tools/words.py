"""Counts what makes the source hard to read: ``python tools/words.py`` prints a row for each room,
and for the rules named after it the places too.

tools/words.json holds a ceiling for each rule. tests/test_words.py fails above it, and below it, so
that what has fallen stays down: ``python tools/words.py --lower`` writes the figures of now.
"""

import argparse
import ast
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("probe", "adapters")
BESIDE = ("tools", "benchmarks")
"""Only the names of their classes count."""
CEILINGS = Path(__file__).with_suffix(".json")
MOST_LINES = 60
"""Of a function; of a public one without its docstring."""
PARTICIPLES = frozenset({"asked", "found", "given", "held", "made", "taken", "told"})
"""What says how a value came about, and not what it is."""
RULES = {
    "one": "names bound as `one`",
    "participles": "bare participles as names",
    "classes": "names of classes with several meanings",
    "conditionals": "conditional expressions per 1,000 lines",
    "nested": "conditional expressions within another",
    "tall": "conditional expressions over more than two lines",
    "long": f"functions above {MOST_LINES} lines",
}
UNBOUNDED = ("participles",)
"""Counted and held to nothing: many a `found` says well enough what it is."""


@dataclass(frozen=True)
class SourceFile:
    """A file of the house."""

    path: str
    lines: int
    nodes: tuple[ast.AST, ...]

    @property
    def room(self) -> str:
        """The folder of probe/ or adapters/ that it lies in."""
        return "/".join(Path(self.path).parent.parts[:2])


@dataclass(frozen=True)
class Occurrence:
    """Where a rule found something, and what."""

    room: str
    text: str


def source(path: str, text: str) -> SourceFile:
    return SourceFile(path, text.count("\n"), tuple(ast.walk(ast.parse(text))))


def sources(folders: tuple[str, ...]) -> list[SourceFile]:
    """All of some folders."""
    paths = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    return [
        source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(paths)
    ]


def bound_name(node: ast.AST) -> str | None:
    """The name of a variable, parameter, pattern or exception that gets its value here."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.MatchAs(name=name) | ast.ExceptHandler(name=name):
            return name
    return None


def is_nested(node: ast.IfExp) -> bool:
    inner = (child for part in ast.iter_child_nodes(node) for child in ast.walk(part))
    return any(isinstance(child, ast.IfExp) for child in inner)


def height(node: ast.expr | ast.stmt) -> int:
    return node.end_lineno - node.lineno + 1


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines that the rule counts."""
    if node.name.startswith("_") or ast.get_docstring(node) is None:
        return height(node)
    return height(node) - height(node.body[0])


def broken_rules(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The rules that count a node, and what they say of it."""
    name = bound_name(node)
    if name == "one":
        yield "one", ""
    elif name in PARTICIPLES:
        yield "participles", name
    if isinstance(node, ast.IfExp):
        yield "conditionals", ""
        if is_nested(node):
            yield "nested", ""
        if height(node) > 2:
            yield "tall", ""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > MOST_LINES:
        yield "long", f"{node.name}, {length(node)} lines"


def occurrences(files: list[SourceFile], beside: list[SourceFile]) -> dict[str, list[Occurrence]]:
    """What each rule finds; a name of several classes in the room of the first, and in files beside
    too."""
    found: dict[str, list[Occurrence]] = {rule: [] for rule in RULES}
    classes: dict[str, dict[str, Occurrence]] = defaultdict(dict)
    for file in files:
        for node in file.nodes:
            for rule, words in broken_rules(node):
                line = f"{file.path}:{node.lineno} {words}".rstrip()
                found[rule].append(Occurrence(file.room, line))
    for file in [*files, *beside]:
        for node in file.nodes:
            if isinstance(node, ast.ClassDef):
                classes[node.name][file.path] = Occurrence(file.room, f"{file.path}:{node.lineno}")
    for name, homes in sorted(classes.items()):
        if len(homes) > 1:
            first, *_ = homes.values()
            line = f"{name}: {', '.join(home.text for home in homes.values())}"
            found["classes"].append(Occurrence(first.room, line))
    return found


def figures(files: list[SourceFile], found: dict[str, list[Occurrence]]) -> dict[str, int]:
    """What ceilings are held against: how often, or how often in 1,000 lines, rounded up."""
    counts = {rule: len(found[rule]) for rule in RULES if rule not in UNBOUNDED}
    lines = sum(file.lines for file in files)
    counts["conditionals"] = math.ceil(1000 * counts["conditionals"] / lines)
    return counts


def ceilings() -> dict[str, int]:
    return json.loads(CEILINGS.read_text(encoding="utf-8"))


def lower(now: dict[str, int]) -> None:
    """Writes the figures that are below their ceilings, or have none."""
    before = ceilings()
    lowered = {rule: min(figure, before.get(rule, figure)) for rule, figure in now.items()}
    CEILINGS.write_text(json.dumps(lowered, indent=2) + "\n", encoding="utf-8")


def table(files: list[SourceFile], found: dict[str, list[Occurrence]]) -> str:
    """A row for each room and one for all, and what the columns count."""
    lines = Counter[str]()
    for file in files:
        lines[file.room] += file.lines
    counts = {rule: Counter(occurrence.room for occurrence in found[rule]) for rule in RULES}
    rooms = [*sorted(lines), "all"]
    for count in (lines, *counts.values()):
        count["all"] = count.total()
    rows = [["room", "lines", *RULES]]
    for room in rooms:
        row = {rule: count[room] for rule, count in counts.items()}
        cells = {rule: f"{count:,}" for rule, count in row.items()}
        cells["conditionals"] = f"{1000 * row['conditionals'] / lines[room]:.1f}"
        rows.append([room, f"{lines[room]:,}", *cells.values()])
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    aligned = [
        "  ".join([name.ljust(first), *map(str.rjust, cells, others)]) for name, *cells in rows
    ]
    return "\n".join([*aligned, "", *(f"{rule}: {title}" for rule, title in RULES.items())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("rules", nargs="*", metavar="RULE", help="print the places of these rules")
    parser.add_argument("--lower", action="store_true", help="lower the ceilings in words.json")
    options = parser.parse_args()
    if unknown := set(options.rules) - set(RULES):
        parser.error(f"no such rule: {', '.join(sorted(unknown))}; there are {', '.join(RULES)}")
    files = sources(FOLDERS)
    found = occurrences(files, sources(BESIDE))
    print(table(files, found))
    for rule in options.rules:
        print(f"\n{RULES[rule]}:", *(occurrence.text for occurrence in found[rule]), sep="\n")
    if options.lower:
        lower(figures(files, found))


if __name__ == "__main__":
    main()
