"""Cosine similarity over all elements, which must be above 0.99."""

import numpy as np

from corpora.ports.tool import Answer, Question


def answer(question: Question) -> Answer:
    if question.values.shape != question.framework.shape:
        return Answer(True)
    values, framework = (
        array.astype(np.float64).ravel() for array in (question.values, question.framework)
    )
    norms = np.linalg.norm(values) * np.linalg.norm(framework)
    return Answer(not values @ framework > 0.99 * norms)
