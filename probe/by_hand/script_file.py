"""The text of a script: what it is, what it loads, the statements, and how far it is from the
framework."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

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


_LOAD = """
path = Path(__file__).with_suffix(".npz")
if not path.exists():
    print(f"{path} is missing: this script loads its arrays", file=sys.stderr)
    raise SystemExit(2)
data = np.load(path)


def load(name):
    array = data[name]
    return array.astype(np.float64) if array.dtype.kind == "f" else array

"""
_DIFFERENCE = """
def difference(array, other):
    if np.shape(array) != np.shape(other):
        return np.full(1, np.inf)
    same = (array == other) | ((array != array) & (other != other))
    return np.abs(np.subtract(1.0 * array, other, where=~same, out=np.zeros(np.shape(array))))
"""
_MINE = """
if len(sys.argv) > 1:  # your own arrays by these names, in order, up to the first that differs
    mine = np.load(sys.argv[1])
    for name in mine:
        if name not in names:
            print(f"{name}: no such name, or one that is assigned more than once")
    for name in names:
        if name in mine:
            array, yours = globals()[name], mine[name]
            off = np.max(difference(array, yours), initial=0)
            if not off <= 1e-5 * np.max(np.abs(array), initial=0):
                print(f"{name} differs by {off:.3g}; {np.shape(array)}, yours {np.shape(yours)}")
                raise SystemExit(1)
            print(f"{name} equal")
    raise SystemExit(0)
"""
_CHECK = """
off, allowance = difference({output}, load("framework_0")), load("allowance_0")
beyond = np.count_nonzero(~(off <= allowance))
print(f"largest difference to the framework: {{np.max(off, initial=0):.3g}}")
print(f"{{beyond}} of {{np.size(off)}} elements beyond the allowance for rounding")
raise SystemExit(1 if beyond else 0)
"""
_CHECK_SEVERAL = """
failed = 0
for k, name in enumerate([{quoted}]):
    off, allowance = difference(globals()[name], load(f"framework_{{k}}")), load(f"allowance_{{k}}")
    beyond = np.count_nonzero(~(off <= allowance))
    print(f"{{name}}: largest difference to the framework: {{np.max(off, initial=0):.3g}}")
    print(f"{{beyond}} of {{np.size(off)}} elements beyond the allowance for rounding")
    failed = 1 if beyond else failed
raise SystemExit(failed)
"""


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
    head = "\n".join(lines) + "\n" + _LOAD
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
    left = [(yours, layers) for yours, layers in mistake if yours or layers]

    def with_comment(statement: Statement) -> Statement:
        comments = []
        for pair in left[:]:
            if pair[1] in [line.strip() for line in statement.lines]:
                left.remove(pair)
                comments.append(f"yours: {pair[0] or 'no such line'}")
        return replace(statement, beside="; ".join(comments))

    loads = tuple(map(with_comment, script.loads))
    statements = [*map(with_comment, script.statements)]
    if left and statements:
        more = "; ".join(f"yours has one more line: {yours}" for yours, _ in left)
        last = statements[-1]
        statements[-1] = replace(last, beside="; ".join(filter(None, (last.beside, more))))
    return replace(script, loads=loads, statements=tuple(statements))


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
        check = _CHECK.format(output=script.outputs[0])
    else:
        check = _CHECK_SEVERAL.format(quoted=", ".join(map(quoted, script.outputs)))
    return "\n".join(listed), _DIFFERENCE, _MINE.strip("\n") + "\n" + check


def arrays_of(
    script: HandScript, framework: Sequence[np.ndarray], allowances: Sequence[np.ndarray]
) -> Mapping[str, np.ndarray]:
    """What the .npz holds."""
    found = dict(script.arrays)
    for k, (array, allowance) in enumerate(zip(framework, allowances, strict=True)):
        found[f"framework_{k}"] = array
        found[f"allowance_{k}"] = allowance
    return found
