"""How much may be computed: parts of it, what is taken from what follows them, and prices, which
depend on shapes alone."""

from importlib import import_module

import numpy as np
import pytest

from probe import ops
from probe.ops.weight import Weight
from probe.trial.budget import Budget
from probe.trial.prices import STEP, price


def test_a_budget_ends_where_it_is_used_up():
    budget = Budget(10.0)
    assert budget.spend(9.0)
    assert not budget.stopped
    assert not budget.spend(1.0)
    assert (budget.stopped, budget.left, budget.used) == ("work", 0.0, 10.0)


def test_a_part_ends_before_all_does_and_leaves_what_it_is_to_leave():
    budget = Budget(100.0)
    with budget.part(0.5):
        assert budget.left == 50.0
        with budget.part(0.9, leaving=20.0):
            assert budget.left == 30.0
            assert not budget.spend(30.0)
        assert budget.spend() and budget.left == 20.0
    assert budget.left == 70.0
    with budget.part(0.5, leaving=80.0):
        assert not budget.spend()


def test_what_is_spent_aside_is_taken_from_what_follows():
    budget = Budget(100.0)
    with budget.part(0.2):
        with budget.aside():
            assert budget.spend(40.0)
            assert not budget.spend(10.0)
        assert budget.left == 20.0
    assert budget.left == 50.0


def test_a_part_ends_sooner_where_little_more_is_wanted():
    budget = Budget(100.0)
    with budget.part(0.5):
        budget.charge(10.0)
        budget.within(20.0)
        assert budget.left == 20.0
        budget.within(40.0)
        assert budget.left == 20.0
        with budget.aside():
            assert budget.left < 20.0
        assert not budget.spend(20.0)
    assert budget.left == 70.0


def test_seconds_of_the_day_end_what_is_given_so_many(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(import_module("probe.trial.budget"), "wall_seconds", lambda: now[0])
    budget, waiting = Budget(1e9), Budget(1e9)
    waiting.wall = 60.0
    now[0] += 61.0
    assert budget.spend(1.0)
    assert not waiting.spend(1.0)
    assert (budget.stopped, waiting.stopped) == ("", "wall")


def test_what_may_be_spent_beside_a_budget_has_seconds_of_its_own():
    """Else these would end what counted work is left for."""
    budget = Budget(4e9)
    before = budget.seconds
    with budget.beside(2e9):
        assert budget.seconds == pytest.approx(1.5 * before)
        assert budget.left == 2e9
    assert budget.seconds == pytest.approx(1.5 * before)
    assert budget.left == 4e9


def test_the_seconds_of_the_thread_end_what_was_priced_wrongly(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(import_module("probe.trial.budget"), "thread_seconds", lambda: now[0])
    budget = Budget(1e9)
    assert budget.spend(1.0)
    now[0] += 1.1 * budget.seconds
    with budget.part(0.5):
        assert not budget.spend(1.0)
    assert not budget.spend()
    assert budget.stopped == "clock"


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (ops.Relu(), [(4, 8)]),
        (ops.MatMul(Weight("w", None, np.ones((8, 6), np.float32)), None), [(4, 8)]),
        (ops.Attention(scale=0.5), [(2, 3, 5, 4)] * 3),
        (ops.Transpose((1, 0)), [(4, 8)]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_a_price_depends_on_shapes_alone_and_grows_with_them(op, shapes):
    rng = np.random.default_rng(0)

    def cost(times):
        given = [rng.normal(size=(times * first, *rest)) for first, *rest in shapes]
        budget = Budget()
        budget.ran(op, given, op.run(*given))
        assert budget.used == STEP + price(op, given, op.run(*given))
        return budget.used

    assert cost(1) == cost(1) < cost(2)
