"""Polygraphy's rule at its defaults: an element differs where its absolute and its relative error
are both above 1e-5."""

import numpy as np

from corpora.ports.tool import Answer, Question, elementwise

TOLERANCE = 1e-5


def answer(question: Question) -> Answer:
    return elementwise(question, _differs)


def _differs(values: np.ndarray, framework: np.ndarray) -> np.ndarray:
    difference = np.abs(values - framework)
    beyond = (difference > TOLERANCE) & (difference > TOLERANCE * np.abs(framework))
    return beyond | ~np.isfinite(difference)
