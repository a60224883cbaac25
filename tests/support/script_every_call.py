"""Has every call that a test run recomputes written by hand, run with NumPy alone, and compared.

``PYTHONPATH=tests/support python -m pytest -p script_every_call tests/adapters`` (``nox -s
scripts``): a test fails where a script is written and does not hold; at the end stands what is not
written, and how often.
"""

from collections import Counter

import pytest
from hand_scripts import unwritten, wrong

from probe.by_hand.script import Computation
from probe.evaluation import reference

_MOST_OF_A_KIND = 20
_LARGE = 1 << 20
_seen: Counter[tuple[str, ...]] = Counter()
_reasons: Counter[str] = Counter()
_wrong: list[str] = []


def _watched(recomputed):
    def watched(description, inputs, dtype=""):
        made = recomputed(description, inputs, dtype)
        kind = tuple(type(step.op).__name__ for step in description.steps)
        size = sum(y.size for outputs in made.values for y in outputs)
        if _seen[kind] < _MOST_OF_A_KIND and size < _LARGE and len(kind) < 300:
            _seen[kind] += 1
            computation = Computation.of(description, inputs, made.values)
            reasons = unwritten(computation)
            _reasons.update(reasons or ["written"])
            if not reasons:
                _wrong.extend(f"{why}: {', '.join(kind)[:300]}" for why in wrong(computation))
        return made

    return watched


reference.recomputed = _watched(reference.recomputed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    result = yield
    if _wrong:
        told = "\n".join(_wrong)
        _wrong.clear()
        pytest.fail(f"written, and not what NumPy computes:\n{told}", pytrace=False)
    return result


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("scripts by hand: what is written, and why else not")
    for reason, count in _reasons.most_common():
        terminalreporter.write_line(f"{count:6} {reason}")
