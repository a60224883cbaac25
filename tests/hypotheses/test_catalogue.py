"""The table of the mistakes that are known holds all of them, each once."""

from importlib import import_module
from pkgutil import walk_packages

from probe import hypotheses
from probe.hypotheses import CAUSES, IN_LOOPS, PATTERNS, REGISTERED, Hypothesis
from probe.hypotheses.catalogue import ANY_STEP, AT_ONE_STEP, COMMON, OF_PATTERNS, WRITTEN_OUT


def test_every_module_that_defines_mistakes_is_in_the_table_once():
    defining = set()
    for found in walk_packages(hypotheses.__path__, f"{hypotheses.__name__}."):
        values = vars(import_module(found.name)).values()
        own = (one for one in values if isinstance(one, Hypothesis))
        if any(one.function.__module__ == found.name for one in own):
            defining.add(found.name)
    tables = (*COMMON, *ANY_STEP, *AT_ONE_STEP, *OF_PATTERNS, *WRITTEN_OUT)
    listed = [module.__name__ for module in tables]
    assert sorted(listed) == sorted(defining)


def test_what_is_tried_at_any_step_comes_behind_all_others():
    tiers = [one.last for one in REGISTERED]
    assert tiers == sorted(tiers)
    homes = {module.__name__ for module in ANY_STEP}
    assert {one.function.__module__ in homes for one in REGISTERED if one.last} == {True}


def test_one_function_explains_a_cause():
    every = (*REGISTERED, *PATTERNS, *IN_LOOPS)
    explaining = [mistake.slug for mistake in every if mistake.explains]
    assert explaining == list(CAUSES)
