"""How the source is built. Imports run one way: no circle among our modules, and none hidden behind
an import by name. The functions of the search for causes are short."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter

import tomllib
from repository import ROOT

BY_NAME = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "layerprobe"
]["imported-by-name"]
SEARCH = tuple(
    f"probe/{room}/" for room in ("diagnosis", "hypotheses", "trial", "weights_read_back")
)
MOST_LINES = 60


@cache
def modules() -> dict[str, tuple[str, bool, ast.Module]]:
    """Name -> (path, whether it is a package, tree); adapters/ is installed as probe.adapters."""
    found = {}
    for top in ("probe", "adapters"):
        for path in (ROOT / top).rglob("*.py"):
            local = path.relative_to(ROOT)
            parts = [*(["probe"] if top == "adapters" else []), *local.with_suffix("").parts]
            package = parts[-1] == "__init__"
            found[".".join(parts[:-1] if package else parts)] = (
                local.as_posix(),
                package,
                ast.parse(path.read_text(encoding="utf-8")),
            )
    return found


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    left = [tree]
    while left:
        for node in ast.iter_child_nodes(left.pop()):
            if not (
                isinstance(node, ast.If)
                and isinstance(node.test, ast.Name)
                and node.test.id == "TYPE_CHECKING"
            ):
                yield node
                left.append(node)


def base(name: str, package: bool, level: int) -> str:
    """The package that a relative import of that level starts from."""
    return name if package and level == 1 else name.rsplit(".", level - package)[0]


def imported(name: str, package: bool, tree: ast.Module, known: set[str]) -> set[str]:
    found = set()
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(
                filter(
                    None, [base(name, package, node.level) if node.level else "", node.module or ""]
                )
            )
            found |= {
                one if (one := f"{start}.{alias.name}") in known else start for alias in node.names
            }
        elif (
            isinstance(node, ast.Call)
            and (literal := called_by_name(node))
            and literal.lstrip(".")
            and literal[0] in ".p"
        ):
            level = len(literal) - len(literal.lstrip("."))
            found.add(f"{base(name, package, level)}.{literal.lstrip('.')}" if level else literal)
    return (found & known) - {name}


def called_by_name(node: ast.Call) -> str | None:
    """What ``import_module`` is called with: a literal, or "?"."""
    function = (
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    )
    if function not in ("import_module", "__import__"):
        return None
    return node.args[0].value if isinstance(node.args[0], ast.Constant) else "?"


def test_no_circle_even_by_name():
    found = modules()
    graph = {
        name: imported(name, package, tree, set(found))
        for name, (_, package, tree) in found.items()
    }
    assert sum(map(len, graph.values())) > 1000
    # What is found by a file's content or in a table of names is above the tables: the adapters,
    # and the families of layers.
    assert len(list(TopologicalSorter(graph).static_order())) == len(found)


def test_whatever_is_imported_by_name_is_listed_with_its_reason():
    ours = {
        path
        for path, _, tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (name := called_by_name(node))
        and (name[0] in ".?" or name.startswith("probe"))
    }
    assert ours - BY_NAME.keys() == set(), "list it in pyproject.toml with its reason, or import it"
    assert BY_NAME.keys() - ours == set(), "these import nothing by name"


def test_functions_of_the_search_are_short():
    lengths = {
        f"{path}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for path, _, tree in modules().values()
        if path.startswith(SEARCH)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(lengths) > 500
    long = {name: length for name, length in lengths.items() if length > MOST_LINES}
    assert long == {}, f"split what is longer than {MOST_LINES} lines"
