"""Numbers that are to give others, found by the method of Levenberg (1944) and Marquardt (1963):
few of them one by one, or all."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from probe.trial.budget import Budget
from probe.trial.prices import STEP, solving
from probe.weights_read_back.equations import FEW

__all__ = ["Problem", "all_of", "few_of", "left_after_step"]

_STEP = 1e-6
"""What an entry is moved by to see what it does, as a share of the largest."""
_TURNS = 14
_SPARE = 0.05
_ERRORS = 4
_RANK = 1e-11
_SLOPE = 5.0
"""Operations for a slope, beside the run that tells it."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Numbers that are to give others: column g of what ``run`` gives depends on the entries
    ``columns[:, g]`` alone."""

    have: np.ndarray
    run: Callable[[np.ndarray], np.ndarray]
    """The entries (1-D) -> (rows, groups)."""
    target: np.ndarray
    slack: np.ndarray
    columns: np.ndarray
    """(entries of a group, groups), of the entries' numbers."""
    budget: Budget

    def apart(self, output: np.ndarray) -> np.ndarray:
        """How far that is off, in units of what it may be off by."""
        with np.errstate(all="ignore"):
            off: np.ndarray = np.nan_to_num((self.target - output) / self.slack, posinf=1e30)
            return off

    def slopes(self, at: np.ndarray, output: np.ndarray) -> np.ndarray:
        """What each entry of a group does to its column, (groups, rows, entries); empty where the
        budget is used up."""
        step = _STEP * max(float(np.abs(self.have).max(initial=0.0)), 1e-3)
        found = np.empty((output.shape[1], output.shape[0], len(self.columns)))
        for k, entries in enumerate(self.columns):
            if not self.budget.spend(STEP + _SLOPE * output.size):
                return np.empty(0)
            moved = at.copy()
            moved[entries] += step
            with np.errstate(all="ignore"):
                found[:, :, k] = ((self.run(moved) - output) / step / self.slack).T
        return np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)


def left_after_step(slopes: np.ndarray, apart: np.ndarray) -> float:
    """What is left of how far it is off after the best step, were all linear."""
    (matrix,), wanted = slopes, apart[:, 0]
    gram = matrix.T @ matrix
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    damped = gram / np.outer(scale, scale) + 1e-9 * np.eye(len(gram))
    change = np.linalg.solve(damped, (matrix.T @ wanted) / scale) / scale
    return float(np.sqrt(np.mean(np.square(wanted - matrix @ change))))


def few_of(problem: Problem, slopes: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Up to four entries that leave nothing, each the one that does what is likest to what is
    left."""
    (matrix,) = slopes
    norm = np.sqrt(np.square(matrix).sum(axis=0))
    entries, picked = problem.have.copy(), list[int]()
    most = min(FEW, -(-len(problem.have) // 4), (len(problem.target) - 1) // 2)
    apart = problem.apart(problem.run(entries))[:, 0]
    start = float(np.square(apart).sum())
    for _ in range(most):
        with np.errstate(all="ignore"):
            alike = np.nan_to_num(np.abs(matrix.T @ apart) / norm)
        alike[picked] = 0.0
        picked.append(int(alike.argmax()))
        part = replace(problem, columns=np.array(picked)[:, None], have=entries)
        found = _descended(part, turns=12)
        if found is None:
            return None
        entries, apart = found[0], found[1][:, 0]
        if (np.abs(apart) <= 1).all():
            return entries, len(picked)
        if float(np.square(apart).sum()) > 0.9 * start:
            return None
    return None


def all_of(problem: Problem) -> tuple[np.ndarray, int] | None:
    """All entries, where there are more equations than those in each group that is off; those that
    need not differ stay as they are."""
    known = np.isfinite(problem.slack).sum(axis=0)
    count = len(problem.columns)
    off = (np.abs(problem.apart(problem.run(problem.have))) > 1).any(axis=0)
    if (known[off] < count + max(3, int(_SPARE * count))).any() or not off.any():
        return None
    found = _descended(problem)
    if found is None or (np.abs(found[1]) > 2).any():
        return None
    entries, apart = found
    slopes = problem.slopes(entries, problem.run(entries))
    if not slopes.size:
        return None
    freedoms = 0
    for g in np.flatnonzero(off):
        gram = slopes[g].T @ slopes[g]
        scale = np.sqrt(np.diag(gram))
        if not scale.all():
            return None
        values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
        if values[0] < _RANK:
            return None
        spread = np.square(vectors / np.sqrt(values)).sum(axis=1) / np.square(scale)
        variance = float(np.square(apart[:, g]).sum()) / (known[g] - count)
        own = problem.columns[:, g]
        same = np.abs(entries[own] - problem.have[own]) <= _ERRORS * np.sqrt(variance * spread)
        entries[own[same]] = problem.have[own[same]]
        freedoms += count
    still = ~off
    entries[problem.columns[:, still]] = problem.have[problem.columns[:, still]]
    return entries, freedoms


def _descended(problem: Problem, turns: int = _TURNS) -> tuple[np.ndarray, np.ndarray] | None:
    """Entries that give next to what is wanted, and how far that is off; None where the budget is
    used up.

    Each group of columns goes its own way.
    """
    entries = problem.have.copy()
    output = problem.run(entries)
    apart = problem.apart(output)
    cost = np.square(apart).sum(axis=0)
    damping = np.full(len(cost), 1e-3)
    slopes: np.ndarray = np.empty(0)
    for _ in range(turns):
        if (np.abs(apart) <= 1).all() and slopes.size and (np.abs(apart) <= 0.25).all():
            break
        if not slopes.size:
            slopes = problem.slopes(entries, output)
            if not slopes.size:
                return None
            problem.budget.charge(solving(*slopes.shape[1:], systems=len(slopes)))
            gram = np.matmul(slopes.transpose(0, 2, 1), slopes)
            pull = np.matmul(slopes.transpose(0, 2, 1), apart.T[:, :, None])
            steep = np.maximum(np.einsum("gii->gi", gram), 1e-300)
        damped = gram.copy()
        np.einsum("gii->gi", damped)[...] += damping[:, None] * steep
        try:
            change = np.linalg.solve(damped, pull)[:, :, 0]
        except np.linalg.LinAlgError:
            return None
        moved = entries.copy()
        moved[problem.columns] += change.T
        again = problem.run(moved)
        off = problem.apart(again)
        less = np.square(off).sum(axis=0)
        better = np.isfinite(less) & (less < cost)
        if not better.any() and damping.min() > 1e6:
            break
        gained = better & (less < 0.999 * cost)
        entries[problem.columns[:, better]] = moved[problem.columns[:, better]]
        output = np.where(better, again, output)
        apart = np.where(better, off, apart)
        damping = np.where(better, damping / 10, damping * 10)
        settled = bool((~gained | (cost < 1)).all()) and bool(better.any())
        cost = np.where(better, less, cost)
        if better.any():
            slopes = np.empty(0)
        if settled:
            break
    return entries, apart
