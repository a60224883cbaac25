"""``numpy.allclose`` at its defaults, ``rtol=1e-5`` and ``atol=1e-8``."""

import numpy as np

from corpora.ports.tool import Answer, Question, elementwise


def answer(question: Question) -> Answer:
    return elementwise(question, lambda values, framework: ~np.isclose(values, framework))
