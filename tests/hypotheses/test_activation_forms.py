"""Forms of one activation that are mixed up, where the layer has the rarer one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx_cases import single

import probe


@pytest.mark.parametrize(("form", "words"), [("none", "erf form"), ("tanh", "tanh form")])
def test_a_gelu_for_the_swish_that_stands_for_it(form, words):
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    wrong = F.gelu(torch.from_numpy(x), approximate=form).numpy()
    model, _ = single("Swish", [x], {"alpha": 1.702}, opset=24)
    report = probe.check(model, "node", x, expected=wrong)
    assert report.verdict == "diverge"
    assert report.findings[0].slug == "gelu-approximation" and words in report.findings[0].claim
