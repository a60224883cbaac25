"""The text of a script: what it is, what it loads, the statements, and how far it is from the
framework."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from probe.by_hand.helpers import HELPERS
from probe.by_hand.layout import paragraphs
from probe.by_hand.names import quoted, words
from probe.by_hand.script import HandScript, Statement

__all__ = ["FIRST_LINE_ENDS", "ScriptTitle", "arrays_of", "body", "compared_names", "file_text"]

FIRST_LINE_ENDS = ", by hand."
"""What the first line of every script ends with, by which it is known as ours."""


@dataclass(frozen=True)
class ScriptTitle:
    """What is said of the layer at the head."""

    layer: str
    kind: str
    source: str
    framework: str


_TEMPLATES = Path(__file__).parent / "templates"


def _template(name: str) -> str:
    """A part that is the same in every script."""
    return (_TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")


def file_text(
    script: HandScript, title: ScriptTitle, warns: bool, mistake: Sequence[tuple[str, str]] = ()
) -> str:
    """The whole file; ``warns`` where NumPy warns of infinities on the way, which are compared.
    Beside each line that ``mistake`` has otherwise stands what that is."""
    what = words(f"{title.layer or 'the model'} ({title.kind}) of {title.source}")
    lines = [
        f'"""{what}{FIRST_LINE_ENDS}',
        "",
        f"Computed in float64 on the layer's own input and weights, in the layout of "
        f"{words(title.framework)}.",
        '"""',
        "",
        *(["import math"] if "erf" in script.helpers else []),
        "import sys",
        "from pathlib import Path",
        "",
        "import numpy as np",
    ]
    if any("sliding_window_view(" in line for line in _all_lines(script.statements)):
        lines.append("from numpy.lib.stride_tricks import sliding_window_view")
    if warns:
        lines += ["", 'np.seterr(all="ignore")  # infinities and NaN are compared like numbers']
    head = "\n".join(lines) + "\n\n" + _template("load")
    functions = [HELPERS[name] for name in sorted(script.helpers)]
    parts = [head, *functions, body(told(script, mistake)), *_end(script)]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def _all_lines(statements: Iterable[Statement]) -> Iterable[str]:
    return (line for statement in statements for line in statement.lines)


def body(script: HandScript) -> str:
    """What is loaded, and the statements."""
    loads = [line for statement in script.loads for line in paragraphs([statement])]
    return "\n".join([line for line in loads if line] + [*paragraphs(script.statements)])


def told(script: HandScript, mistake: Sequence[tuple[str, str]]) -> HandScript:
    """The script with what yours does in the comments of the lines that it does otherwise."""
    left = [pair for pair in _in_names_of(script, mistake) if pair[0] or pair[1]]

    own = [line.strip() for line in _all_lines((*script.loads, *script.statements))]

    def with_comment(statement: Statement) -> Statement:
        comments = []
        for pair in left[:]:
            lines = [line.strip() for line in statement.lines]
            target = _assigned(pair[1])
            alike = pair[1] not in own and target and target in map(_assigned, lines)
            if pair[1] in lines or alike:
                left.remove(pair)
                comments.append(f"yours: {pair[0] or 'no such line'}")
        return replace(statement, beside="; ".join(comments))

    loads = tuple(map(with_comment, script.loads))
    statements = [*map(with_comment, script.statements)]
    added = [yours for yours, layers in left if not layers]
    if added and statements:
        more = "; ".join(f"yours has one more line: {yours}" for yours in added)
        last = statements[-1]
        statements[-1] = replace(last, beside="; ".join(filter(None, (last.beside, more))))
    return replace(script, loads=loads, statements=tuple(statements))


def _assigned(line: str) -> str | None:
    """What a line assigns; None where it assigns nothing."""
    target, assigned, _ = line.partition(" = ")
    return target if assigned else None


def _in_names_of(script: HandScript, mistake: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The lines with the script's own names of the inputs, which are numbered in them."""
    names = {}
    for line in _all_lines(script.loads):
        if found := re.fullmatch(r'(\w+) = load\("input_(\d+)"\)', line):
            names[f"x{found[2]}"] = found[1]
    names = {name: own for name, own in names.items() if name not in compared_names(script)}

    def renamed(line: str) -> str:
        return re.sub(r"\bx\d+\b", lambda found: names.get(found[0], found[0]), line)

    return [(renamed(yours), renamed(layers)) for yours, layers in mistake]


def compared_names(script: HandScript) -> tuple[str, ...]:
    """The names that stand for one array each, in the order in which they are assigned."""
    statements = (*script.loads, *script.statements)
    targets = [name for statement in statements for name in targets_of(statement)]
    return tuple(name for name in targets if targets.count(name) == 1)


def targets_of(statement: Statement) -> list[str]:
    """The names that a statement assigns at the outermost level."""
    found = []
    for line in statement.lines:
        target, assigned, _ = line.partition(" = ")
        names = target.split(", ")
        if assigned and all(name.isidentifier() for name in names):
            found += names
    return list(dict.fromkeys(found))


def _end(script: HandScript) -> tuple[str, ...]:
    """How one's own arrays are compared, and the outputs with the framework's."""
    names = textwrap.wrap(" ".join(compared_names(script)), 95)
    listed = ['names = """', *names, '""".split()']
    if len(script.outputs) == 1:
        check = _template("check").replace("OUTPUT", script.outputs[0])
    else:
        check = _template("check_several").replace(
            "OUTPUTS", ", ".join(map(quoted, script.outputs))
        )
    compare = _template("compare")
    return "\n".join(listed), _template("difference"), f"{compare}\n{check}"


def arrays_of(
    script: HandScript, framework: Sequence[np.ndarray], allowances: Sequence[np.ndarray]
) -> Mapping[str, np.ndarray]:
    """What the .npz holds."""
    found = dict(script.arrays)
    for k, (array, allowance) in enumerate(zip(framework, allowances, strict=True)):
        found[f"framework_{k}"] = array
        found[f"allowance_{k}"] = allowance
    return found
