"""What the PyTorch tests share: one call of one module through the whole road, and option tables
tried pairwise."""

import itertools
import random

import numpy as np
import pytest
import torch
from probe.adapters.torch import open_model

import probe


@pytest.fixture(scope="session")
def agrees():
    """Checks a module called alone; every party must be there and agree."""

    def check(module, x, parties=("framework", "numpy", "onnx")):
        report = probe.check(open_model(module), "", given=x)
        # A softmax over one element is 1 whatever comes in, a maximum of padding -inf; a gate that
        # is shut leaves less than its rounding.
        numpy = report.outputs["numpy"]
        nothing = np.min(numpy) == np.max(numpy) or "own range" in report.sentence
        settled = report.ok or (nothing and all(one.ok for one in report.comparisons.values()))
        assert settled and tuple(report.outputs) == parties, (
            f"{module} on {x.shape} {x.dtype}\n{report}"
        )
        return report

    return check


@pytest.fixture(scope="session")
def pairwise():
    """Choices of options in which every two values of two options meet, where they can: ``works``
    says so."""

    def choose(options, works):
        names, seen = list(options), set()
        combinations = list(itertools.product(*(range(len(values)) for values in options.values())))
        random.Random(0).shuffle(combinations)
        for picks in combinations:
            new = set(itertools.combinations(enumerate(picks), min(2, len(picks)))) - seen
            chosen = {name: options[name][pick] for name, pick in zip(names, picks, strict=True)}
            if (new or not names) and works(chosen):
                seen |= new
                yield chosen
        used = {single for pair in seen for single in pair}
        unused = [
            (name, value)
            for at, name in enumerate(names)
            for k, value in enumerate(options[name])
            if (at, k) not in used
        ]
        assert not unused, f"never tried: {unused}"

    return choose


@pytest.fixture(scope="session")
def signal():
    """Signed values of a given shape and dtype, with zeros of both signs among them."""

    def draw(shape, dtype=np.float32, scale=2.0, seed=0):
        x = np.random.default_rng(seed).normal(scale=scale, size=shape)
        x.ravel()[::7], x.ravel()[3::11] = 0.0, -0.0
        return x.astype(dtype)

    return draw


@pytest.fixture
def net():
    """conv, bn and act in a row, in evaluation mode, with statistics that are not the identity."""
    torch.manual_seed(0)
    made = torch.nn.Sequential()
    made.add_module("conv", torch.nn.Conv2d(3, 4, 3, padding=1))
    made.add_module("bn", torch.nn.BatchNorm2d(4))
    made.add_module("act", torch.nn.ReLU())
    made(torch.randn(8, 3, 6, 5))
    return made.eval()
