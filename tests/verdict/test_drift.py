"""How the rounding before a layer is told: by the rule that decides first, the cheapest first in a
large model."""

from types import SimpleNamespace

import pytest

from probe.evaluation.bounds import NEAR
from probe.verdict import drift as module
from probe.verdict.drift import UserRun, drift_of_user

WIDE, FEW, ALL = ({("fc", 0): name} for name in ("other roundings", "few runs", "all runs"))


def run_of(layer, ratios):
    """A user's run whose values are off so many times what is allowed, by what is known."""
    asked = []

    def ratio(drifts):
        asked.append(next(iter(drifts.values()), "nothing"))
        return ratios[asked[-1]]

    passes = SimpleNamespace(model="model", arrays=(), layer=layer)
    return UserRun(passes, (), 0, ratio), asked


@pytest.fixture(autouse=True)
def told(monkeypatch):
    monkeypatch.setattr(module, "is_large", lambda model: True)
    monkeypatch.setattr(module, "drift_by_rounding", lambda *_: WIDE)
    monkeypatch.setattr(UserRun, "before", lambda run, few=False: FEW if few else ALL)


@pytest.mark.parametrize(
    ("layer", "ratios", "found", "rules"),
    [
        ("fc", {"nothing": 1.0}, {}, 1),
        ("fc", {"nothing": 1.1, "other roundings": 1.0}, WIDE, 2),
        ("fc", {"nothing": 2, "other roundings": 1.1, "few runs": 1.0}, FEW, 3),
        ("fc", {"nothing": 2, "other roundings": 2, "few runs": NEAR[0]}, FEW, 3),
        ("fc", {"nothing": 2, "other roundings": 2, "few runs": NEAR[0] - 1}, ALL, 3),
        ("fc", {"nothing": 2, "other roundings": 2, "few runs": 1.1}, ALL, 3),
        (("fc", "end"), {"nothing": 2, "few runs": 1.0}, FEW, 2),
        ("", {"nothing": 2, "few runs": 1.0}, FEW, 2),
    ],
)
def test_the_rules_of_a_large_model(layer, ratios, found, rules):
    run, asked = run_of(layer, ratios)
    assert drift_of_user(run) == found
    assert len(asked) == rules


def test_another_model_is_run_as_often_as_it_takes(monkeypatch):
    monkeypatch.setattr(module, "is_large", lambda model: False)
    run, asked = run_of("fc", {})
    assert drift_of_user(run) == ALL and asked == []
    monkeypatch.setattr(module, "is_large", lambda model: True)
    monkeypatch.setattr(module, "drift_by_rounding", lambda *_: None)
    run, asked = run_of("fc", {"nothing": 2, "few runs": 0.5})
    assert drift_of_user(run) == FEW and asked == ["nothing", "few runs"]
