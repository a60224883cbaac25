"""A script tried before it is written: its statements are run with NumPy alone, one by one.

Each name is held against what NumPy made of the step; what does not hold is loaded in its place.
"""

import ast
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from probe.by_hand.helpers import HELPERS
from probe.by_hand.script import Computation, HandScript, NamedValue, Statement
from probe.by_hand.syntax import refuse_foreign
from probe.by_hand.writer import written
from probe.errors import BadInput

__all__ = ["OVERFLOWS", "TriedScript", "holds", "same_values", "tried"]

OVERFLOWS = "the layer's own type of floats overflows, and float64 does not"
"""Why a statement that holds otherwise is not written."""
_SHARE = 1e-9
"""How far a value may lie from NumPy's, as a share of the largest."""
_MOST = 1000
"""So many statements are still a script."""


class TriedScript(NamedTuple):
    """A script whose every name holds."""

    script: HandScript
    warns: bool
    """Whether NumPy warns on the way: of infinities, or a division by 0."""


class _Fault(Exception):
    """Which step does not hold, and why."""

    def __init__(self, step: int, why: str) -> None:
        super().__init__(why)
        self.step, self.why = step, why


def tried(computation: Computation) -> TriedScript:
    """The script of a computation, of which every step holds; raises BadInput where none of them
    is written, or they are too many."""
    stored: dict[int, str] = {}
    while True:
        script = written(computation, stored)
        if len(script.statements) > _MOST:
            raise BadInput(
                f"the script would have {len(script.statements):,} statements, more than anybody "
                "reads: choose a layer or a block within it"
            )
        _refuse_stored(computation, script)
        try:
            return TriedScript(script, _run(computation, script))
        except _Fault as fault:
            stored = {**script.stored, fault.step: fault.why}


def holds(computation: Computation, script: HandScript, share: float = _SHARE) -> bool:
    """Whether every name of a script stands for what NumPy made of the step, but for a ``share`` of
    the largest value."""
    try:
        _run(computation, script, share)
    except _Fault:
        return False
    return True


def same_values(script: HandScript, instead: Mapping[str, str]) -> set[str]:
    """Those lines of a script that would give the same with the expression that stands there for
    them."""
    namespace, found = _namespace(script), set[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for statement in (*script.loads, *script.statements):
            line = statement.lines[0]
            if line in instead:
                own = _value_of(line.partition(" = ")[2], namespace)
                other = _value_of(instead[line], namespace)
                if own is not None and other is not None and own.shape == other.shape:
                    if _close(other, own, _SHARE):
                        found.add(line)
            try:
                _execute(statement, namespace)
            except _Fault:
                return set()
    return found


def _value_of(text: str, namespace: Mapping[str, Any]) -> np.ndarray | None:
    """What an expression gives; None where it has a name that is not known, or fails."""
    names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    if "load" in names or not names <= namespace.keys():
        return None
    try:
        space = dict(namespace)
        _run_text(f"_ = {text}", space)
        return np.asarray(space["_"])
    except (IndexError, TypeError, ValueError):  # of other shapes
        return None


def _refuse_stored(computation: Computation, script: HandScript) -> None:
    """Raises BadInput where what a script would compute is loaded."""
    last = len(computation.steps) - 1
    left = {statement.step for statement in script.statements} - set(script.stored)
    makers = {ref.step for ref in computation.steps[last].sources(last)} | {last}
    if script.stored and (not left or makers & set(script.stored)):
        step, why = max(script.stored.items())
        name = type(computation.steps[step].op).__name__
        raise BadInput(f"the layer cannot be written by hand: step {step} ({name}): {why}")


def _run(computation: Computation, script: HandScript, share: float = _SHARE) -> bool:
    """Runs the statements; whether NumPy warned."""
    namespace = _namespace(script)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for statement in (*script.loads, *script.statements):
            _execute(statement, namespace)
            for named in statement.named:
                _hold(computation, named, namespace, share)
    return any(issubclass(warning.category, RuntimeWarning) for warning in seen)


def _namespace(script: HandScript) -> dict[str, Any]:
    def load(name: str) -> np.ndarray:
        array = np.asarray(script.arrays[name])
        return array.astype(np.float64) if array.dtype.kind == "f" else array

    space: dict[str, Any] = {
        "np": np,
        "math": math,
        "load": load,
        "sliding_window_view": sliding_window_view,
    }
    for name in sorted(script.helpers):
        _run_text(HELPERS[name], space)
    return space


def _run_text(text: str, space: dict[str, Any]) -> None:
    tree = ast.parse(text)
    refuse_foreign(tree)
    exec(compile(tree, "<by hand>", "exec"), space)


def _execute(statement: Statement, space: dict[str, Any]) -> None:
    try:
        _run_text("\n".join(statement.lines), space)
    except Exception as error:
        if statement.step < 0:
            raise
        raise _Fault(statement.step, f"the statement fails ({type(error).__name__})") from error


def _hold(
    computation: Computation, named: NamedValue, space: Mapping[str, Any], share: float
) -> None:
    """Raises _Fault where a name stands for something else than NumPy made."""
    step = named.step
    exact = np.asarray(computation.values[step][named.output])
    array = np.asarray(space[named.name])
    if named.order is not None and array.ndim == len(named.order):
        array = array.transpose(named.order)
    if array.shape != exact.shape:
        raise _Fault(step, f"the statement gives the shape {array.shape}, not {exact.shape}")
    if _close(array, exact, share):
        return
    if array.dtype.kind == exact.dtype.kind == "f":
        infinite = np.isinf(exact) & (np.sign(array) == np.sign(exact))
        if _close(np.where(infinite, exact, array), exact, share):
            raise _Fault(step, OVERFLOWS)
    raise _Fault(step, "the statement gives other values than NumPy")


def _close(array: np.ndarray, exact: np.ndarray, share: float) -> bool:
    with np.errstate(all="ignore"):
        if array.dtype.kind not in "fc" and exact.dtype.kind not in "fc":
            return bool(np.array_equal(array, exact))
        finite = np.isfinite(exact)
        if not np.array_equal(array[~finite], exact[~finite], equal_nan=True):
            return False
        if not np.isfinite(array[finite]).all():
            return False
        largest = float(np.abs(exact[finite]).max(initial=0))
        return bool((np.abs(array[finite] - exact[finite]) <= share * largest).all())
