"""What a script may hold: calls of NumPy, of arrays' own methods, and of its own helpers alone."""

import ast

__all__ = ["refuse_foreign"]

_FUNCTIONS = frozenset(
    "load difference sliding_window_view erf sigmoid softmax softplus range reversed enumerate "
    "print len tuple globals Path SystemExit".split()
)
_METHODS = frozenset(
    "reshape transpose swapaxes mean sum var std max min prod any all astype split copy cumsum "
    "cumprod argmax argmin view with_suffix exists".split()
)
_FILES = frozenset(
    "DataSource fromfile fromregex genfromtxt loadtxt memmap save savetxt savez "
    "savez_compressed".split()
)
"""Functions of NumPy that read or write files, beside the one that loads the arrays."""
_MODULES = frozenset(("math", "sys", "pathlib", "numpy", "numpy.lib.stride_tricks"))


def refuse_foreign(tree: ast.AST) -> None:
    """Raises ValueError where a syntax tree holds anything that no script needs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _refuse_call(node.func)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            raise ValueError(f"a script reads no attribute {node.attr!r}")
        elif isinstance(node, ast.Import):
            _refuse_modules([alias.name for alias in node.names])
        elif isinstance(node, ast.ImportFrom):
            _refuse_modules([node.module or ""])
        elif isinstance(node, ast.Lambda | ast.ClassDef | ast.Global | ast.Await | ast.Delete):
            raise ValueError(f"a script holds no {type(node).__name__}")


def _refuse_modules(names: list[str]) -> None:
    for name in names:
        if name not in _MODULES:
            raise ValueError(f"a script imports no {name!r}")


def _refuse_call(function: ast.expr) -> None:
    if isinstance(function, ast.Name):
        if function.id not in _FUNCTIONS:
            raise ValueError(f"a script calls no {function.id!r}")
        return
    if not isinstance(function, ast.Attribute):
        raise ValueError("a script calls names alone")
    if _of_numpy(function.value):
        if function.attr in _FILES:
            raise ValueError(f"a script calls no np.{function.attr}")
        return
    if function.attr not in _METHODS:
        raise ValueError(f"a script calls no method {function.attr!r}")


def _of_numpy(value: ast.expr) -> bool:
    """Whether it is ``np``, or a part of it: ``np.linalg``."""
    if isinstance(value, ast.Attribute):
        return _of_numpy(value.value)
    return isinstance(value, ast.Name) and value.id == "np"
