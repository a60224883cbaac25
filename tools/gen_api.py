"""The pages docs/api.md and docs/ops.md: the public names and the ops, from their source and
docstrings."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import pairwise
from typing import Any

import probe
from probe import ops
from probe.capture import run, user_arrays
from probe.comparison.compare import Comparison, Worst
from probe.explanation.element_report import Story
from probe.explanation.origin import LaterStep, Term
from probe.listing import Layer
from probe.model_comparison.reports.result import Pair
from probe.ops.base import Op
from probe.ops.weight import Grid
from probe.report import Finding

__all__ = ["ops_page", "page"]

FUNCTIONS = (
    *("open_model", "check", "sweep", "explain", "script", "fold", "assert_layer"),
    *("compare", "assert_same", "record"),
)
OWN_LAYERS = ("describes", "recomputes")
RESULTS = (
    *(probe.Report, Comparison, Worst, Finding, Story, Term, LaterStep),
    *(probe.ModelComparison, Pair),
)
WEIGHTS = (probe.Weight, Grid)
STEPS = (probe.Description, probe.Step, probe.Ref)
ERRORS = (
    *(probe.ProbeError, probe.CannotOpen, probe.NotTrusted, probe.MissingExtra, probe.BadInput),
    *(probe.UnknownLayer, probe.NotReached, probe.NotCompared, probe.ForwardFailed),
    probe.Undescribed,
)


def _markdown(text: str) -> str:
    """A docstring as Markdown: reST's double backticks become single ones, and nothing else is
    markup."""
    pieces = re.split(r"``(.+?)``", " ".join(text.split()))
    for i, piece in enumerate(pieces):
        pieces[i] = (
            f"`{piece}`" if i % 2 else re.sub(r"([*|])", r"\\\1", piece).replace("<", "&lt;")
        )
    return "".join(pieces)


_SECTIONS = {"Args": "Arguments", "Returns": "Returns", "Yields": "Yields", "Raises": "Raises"}


def _paragraphs(text: str) -> str:
    """A docstring as Markdown, its sections as lists."""
    return "\n\n".join(map(_paragraph, inspect.cleandoc(text).split("\n\n")))


def _paragraph(text: str) -> str:
    head, _, rest = text.partition(":\n")
    if head not in _SECTIONS:
        return _markdown(text)
    # an item begins where a line is indented as little as the first
    items = re.split(r"\n(?!\s)", textwrap.dedent(rest))
    if head in ("Args", "Raises"):
        pairs = [item.partition(":") for item in items]
        items = [f"`{name}`: {_markdown(said)}" for name, _, said in pairs]
    else:
        items = [_markdown(rest)]
    return f"{_SECTIONS[head]}:\n\n" + "\n".join(f"- {item}" for item in items)


def _tree(thing: Any) -> Any:
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def _signature(node: ast.FunctionDef, name: str, method: bool = False) -> str:
    """A function as it is called, an argument a line where it is long."""
    arguments = node.args
    if method:
        first = arguments.posonlyargs or arguments.args
        del first[0]
    result = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    line = f"{name}({ast.unparse(arguments)}){result}"
    if len(line) <= 100:
        return line
    return f"{name}(\n    " + ",\n    ".join(_arguments(arguments)) + f",\n){result}"


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Each argument with its type and default."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)

    def told(argument: ast.arg, default: ast.expr | None) -> str:
        kind = "" if argument.annotation is None else f": {ast.unparse(argument.annotation)}"
        equal = " = " if kind else "="
        return f"{argument.arg}{kind}" + (
            "" if default is None else f"{equal}{ast.unparse(default)}"
        )

    for argument, default in zip(plain, defaults, strict=True):
        yield told(argument, default)
    if arguments.vararg:
        yield f"*{told(arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield told(argument, default)
    if arguments.kwarg:
        yield f"**{told(arguments.kwarg, None)}"


def _function(name: str) -> str:
    function = inspect.unwrap(getattr(probe, name))
    signature = _signature(_tree(function), f"probe.{name}")
    return f"### {name}\n\n```text\n{signature}\n```\n\n{_paragraphs(function.__doc__)}"


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str]]:
    """(name, type, meaning) of the fields and properties that a class shows."""
    behind = [*node.body[1:], None]
    for part, after in zip(node.body, behind, strict=True):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            said = after.value if isinstance(after, ast.Expr) else None
            text = said.value if isinstance(said, ast.Constant) else ""
            kind = ast.unparse(part.annotation).strip("'")
            if not part.target.id.startswith("_") and not kind.startswith("ClassVar"):
                yield part.target.id, kind, str(text)
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            marks = {ast.unparse(mark) for mark in part.decorator_list}
            if marks & {"property", "cached_property"}:
                kind = "" if part.returns is None else ast.unparse(part.returns).strip("'")
                yield part.name, kind, ast.get_docstring(part) or ""


def _methods(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            marks = {ast.unparse(mark) for mark in part.decorator_list}
            text = ast.get_docstring(part)
            if text and not marks & {"property", "cached_property"}:
                yield _signature(part, f".{part.name}", "staticmethod" not in marks), text


def _class(cls: type) -> str:
    node = _tree(cls)
    parts = [f"### {cls.__name__}", _paragraphs(cls.__doc__ or "")]
    if is_dataclass(cls) or any(_fields(node)):
        rows = [
            f"| `{name}` | `{kind}` | {_markdown(text)} |"
            for name, kind, text in ((a, b.replace(" | ", " or "), c) for a, b, c in _fields(node))
        ]
        if rows:
            parts.append("\n".join(["| field | type | meaning |", "|---|---|---|", *rows]))
    for signature, text in _methods(node):
        parts += [
            f"#### {signature.partition('(')[0]}",
            f"```text\n{signature}\n```",
            _paragraphs(text),
        ]
    return "\n\n".join(parts)


def _types() -> str:
    """The names of types that arguments have: what each stands for."""
    rows = ["| type | is | meaning |", "|---|---|---|"]
    for module in (run, user_arrays):
        body = ast.parse(inspect.getsource(module)).body
        for part, said in pairwise(body):
            match part, said:
                case (
                    ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ) if not name.startswith("_"):
                    kind = ast.unparse(value).replace(" | ", " or ")
                    rows.append(f"| `{name}` | `{kind}` | {_markdown(text)} |")
    return "\n".join(rows)


def page() -> str:
    """docs/api.md."""
    return (
        "\n\n".join(
            [
                "# API reference",
                "For people who use `probe` from Python. The public names are those of `import "
                "probe`; they stay as they are, and new ones may come. This page is written by "
                "`python tools/gen_docs.py api`, from the docstrings.",
                "## Functions",
                *map(_function, FUNCTIONS),
                "### Types of arguments",
                _types(),
                "## Results",
                *map(_class, RESULTS),
                "## Weights",
                *map(_class, WEIGHTS),
                "## Own layers",
                "[Own layers](own-layers.md) shows how these are used, [Ops](ops.md) has the "
                "operations.",
                *map(_function, OWN_LAYERS),
                *map(_class, STEPS),
                "## Layers and errors",
                _class(Layer),
                *map(_class, ERRORS),
                "",
            ]
        ).rstrip()
        + "\n"
    )


def ops_page() -> str:
    """docs/ops.md."""
    families: dict[str, list[str]] = {}
    for name, op in inspect.getmembers(ops):
        if isinstance(op, type) and issubclass(op, Op) and is_dataclass(op) and op is not Op:
            family = op.__module__.split(".")[2].replace("_", " ")
            given = inspect.signature(op).parameters
            fields = ", ".join(f"`{name}`" for name in given)
            title = _markdown((op.__doc__ or "").partition("\n\n")[0])
            families.setdefault(family, []).append(f"| `{name}` | {fields} | {title} |")
    tables = [
        "\n".join(
            [
                f"## {family.capitalize()}\n",
                "| op | fields | what it computes |",
                "|---|---|---|",
                *rows,
            ]
        )
        for family, rows in sorted(families.items())
    ]
    return (
        "\n\n".join(
            [
                "# Ops",
                "For people who describe a layer of their own, or add a layer. An op is one "
                "arithmetic operation, named as ONNX names it, in ONNX's layout: (batch, channel, "
                "\\*spatial) for data. `from probe import ops` has them. This page is written by "
                "`python tools/gen_docs.py ops`.",
                *tables,
            ]
        )
        + "\n"
    )
