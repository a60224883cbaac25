"""What is found, what is tried for it and how much work that is are the same whatever else the
machine does: a search counts its work and reads no clock."""

from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from busy_processes import busy
from own_seed import RNG
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

import probe
from probe.trial.budget import Budget


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x, onto=None, activation=torch.tanh):
        normed = self.norm(x)
        y = self.down(activation(self.up(normed)))
        return y + (normed if onto == "the norm" else x)


class Bottleneck(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.three = nn.Conv2d(64, 32, 1), nn.Conv2d(32, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 64, 1)

    def forward(self, x, inner=F.relu):
        return F.relu(self.last(F.relu(self.three(inner(self.one(x))))) + x)


def varied(module):
    torch.manual_seed(0)
    for one in module.parameters():
        one.data = one.data + 0.3 * torch.randn_like(one)
    return module.eval()


SMALL, WIDE = (3, 5, 8), (1, 64, 28, 28)
MISTAKES = {
    "a common one": (Mlp, SMALL, lambda m, x: m(x, activation=torch.sigmoid)),
    "one at any step": (Mlp, SMALL, lambda m, x: m(x, onto="the norm")),
    "other weights": (lambda: nn.Linear(8, 6), (40, 8), lambda m, x: m(x) + x[:, :1] @ ROW),
    "none": (Mlp, SMALL, lambda m, x: torch.tensor(RNG.normal(size=SMALL).astype(np.float32))),
    "in a large layer": (Bottleneck, WIDE, lambda m, x: m(x, inner=F.relu6)),
    "two": (lambda: nn.Linear(6, 6), (9, 6), lambda m, x: F.linear(x, m.weight.T)),
}
ROW = torch.linspace(-1, 1, 6)[None]


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("name", MISTAKES)
def test_the_same_is_found_with_the_same_work(monkeypatch, name):
    make, shape, wrong = MISTAKES[name]
    model, x = varied(make()), RNG.normal(size=shape).astype(np.float32)
    with torch.no_grad():
        values = wrong(model, torch.from_numpy(x)).numpy()
    diagnose, search = (import_module(f"probe.diagnosis.{one}") for one in ("diagnose", "search"))
    # not all can be tried, so that what is tried depends on when looking stops
    monkeypatch.setattr(diagnose, "_WORK", 4e8)
    monkeypatch.setattr(diagnose, "_WORK_OF_LARGE", 8e8)
    budgets, tried, score = list[Budget](), list[tuple[str, str]](), search.score

    def kept(work):
        budgets.append(Budget(work))
        return budgets[-1]

    def noted(view, edit, scored, *more):
        tried.append((scored.hypothesis.slug, edit.claim))
        return score(view, edit, scored, *more)

    monkeypatch.setattr(diagnose, "Budget", kept)
    monkeypatch.setattr(search, "score", noted)

    def searched(threads):
        budgets.clear()
        tried.clear()
        with threadpool_limits(threads):
            report = probe.check(model, "", x, expected=values)
        assert report.verdict == "diverge"
        found = [(one.slug, one.also, one.claim, one.explained) for one in report.findings]
        work = [(one.used, one.stopped) for one in budgets]
        # what is left is held against sums in float32, whose order is that of the threads
        left = [one.left for one in report.findings]
        return (found, report.diagnosis, report.sentence, work, list(tried)), left

    first, left = searched(1)
    found, words, _, work, candidates = first
    assert work and candidates
    assert bool(found) == (name != "none"), words
    assert searched(2)[0] == first
    with busy():
        assert searched(1) == (first, left)


def test_blas_computes_on_one_thread_while_causes_are_tried(monkeypatch):
    make, shape, wrong = MISTAKES[next(iter(MISTAKES))]
    model, x = varied(make()), np.ones(shape, np.float32)
    search = import_module("probe.diagnosis.search")
    threads, score = set(), search.score

    def noted(*arguments):
        threads.update(numbers())
        return score(*arguments)

    def numbers():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    monkeypatch.setattr(search, "score", noted)
    with torch.no_grad():
        values = wrong(model, torch.from_numpy(x)).numpy()
    with threadpool_limits(2, user_api="blas"):
        before = numbers()
        probe.check(model, "", x, expected=values)
        assert numbers() == before
    assert threads == {1}
