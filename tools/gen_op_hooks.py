"""Writes the tables of docs/adding-an-op.md: the hooks of an op, from their docstrings in
probe/ops/base.py."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE, PAGE = ROOT / "probe" / "ops" / "base.py", ROOT / "docs" / "adding-an-op.md"


def hooks(name: str) -> list[tuple[int, str, str, str]]:
    """(line, signature, docstring, default) of what a class is the first to say of itself."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (kind,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = []
    for member, after in zip(kind.body, [*kind.body[1:], None], strict=True):
        match member:
            case ast.FunctionDef(name=hook, args=taken):
                arguments = [argument.arg for argument in taken.args[1:]]
                arguments += [f"*{taken.vararg.arg}"] if taken.vararg else []
                signature = hook if member.decorator_list else f"{hook}({', '.join(arguments)})"
                words = ast.get_docstring(member)
                _, *body = member.body
                default = "\n".join(map(ast.unparse, body)).removeprefix("return ")
            case ast.AnnAssign(target=ast.Name(id=signature), value=ast.expr() as value):
                default = ast.unparse(value)
                match after:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        words = text
                    case _:
                        words = None
            case _:
                continue
        if words and not signature.startswith("_"):
            found.append((member.lineno, signature, words, default))
    return found


def table(name: str) -> str:
    """The hooks of a class, under its headings."""
    lines = SOURCE.read_text(encoding="utf-8").split("\n")
    rows, last = ["| hook | question | default |", "|---|---|---|"], 0
    for line, signature, words, default in hooks(name):
        headings = [text.strip(" #") for text in lines[last:line] if re.match(r"    # \w", text)]
        rows += [f"| **{headings[-1]}** | | |"] if headings else []
        plain = " ".join(words.partition("\n\n")[0].split()).replace("``", "`")
        if default == "raise NotImplementedError":
            default = "none"
        elif len(default) < 40 and "\n" not in default:
            default = f"`{default}`"
        else:
            default = "see the code"
        rows.append(f"| `{signature}` | {plain} | {default} |")
        last = line
    return "\n".join(rows)


def filled(text: str) -> str:
    """The page with its tables written anew."""
    return re.sub(
        r"(<!-- begin: (\w+) -->\n).*?(\n<!-- end -->)",
        lambda match: match[1] + table(match[2]) + match[3],
        text,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
