"""What every family of layers must say about an element, whatever its ops: gathered from
explained_layers/ and the planted mistakes."""

import importlib
import json
import math
from pathlib import Path

import fault_catalogue
import numpy as np
import pytest
import torch
from explained_cases import LAYERS, drawn
from explained_layers import attention, stateful

import probe
from probe.capture.passes import captured
from probe.capture.question import Question
from probe.capture.run import open_model
from probe.evaluation.numpy_reference import recompute
from probe.explanation.origin import number
from probe.explanation.trace import origin_of
from probe.numerics.dtypes import widened

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
]
GATHERED = [*attention.LAYERS, *stateful.LAYERS]
FAMILIES = sorted({family for _, family, _ in fault_catalogue.ROWS})
ELEMENTS = 8
UNIT = 2.0**-53


def sums(origin):
    """The origin and those of its terms."""
    yield origin
    for term in origin.terms:
        if term.inner is not None:
            yield from sums(term.inner)


def holds(layer, x, at=None):
    """Every sum adds up to what the recomputation has, and the last step is the element itself: of
    a layer, or of the one called ``at`` in a model."""
    if at is None:
        if isinstance(layer, str | Path):  # a file of one layer
            name = open_model(layer).layers[0].name
        else:
            name = "" if isinstance(layer, torch.nn.Module) else layer.name
        (capture,) = captured(layer, Question(name, given=x)).calls
    else:
        (capture,) = captured(layer, Question(at, x)).calls
    assert capture.description is not None, capture.why
    steps, inputs = capture.description.steps, [widened(x) for x in capture.inputs]
    values = recompute(steps, capture.inputs)
    rng = np.random.default_rng(1)
    for output, array in enumerate(values[-1]):
        if not array.size:
            continue
        for _ in range(ELEMENTS):
            at = tuple(int(rng.integers(size)) for size in array.shape)
            told = origin_of(steps, inputs, values, at, output)
            assert told.steps
            assert math.isclose(
                told.steps[-1].value, float(array[at]), rel_tol=1e-12, abs_tol=1e-12
            ) or math.isnan(float(array[at]))
            for origin in sums(told):
                parts = [
                    *(term.product for term in origin.terms),
                    *([] if origin.bias is None else [origin.bias]),
                ]
                if parts and all(map(math.isfinite, parts)):
                    assert origin.total == math.fsum(parts)
                if origin.computed is not None and parts and math.isfinite(origin.total):
                    bound = len(parts) * UNIT * math.fsum(map(abs, parts))
                    assert abs(origin.total - origin.computed) <= bound
                    assert (
                        number(origin.total) == number(origin.computed)
                        or abs(origin.total) < bound * 2**23
                    )


@pytest.mark.parametrize(
    ("name", "layer", "shapes"), [pytest.param(*row, id=row[0]) for row in GATHERED]
)
def test_a_gathered_layer(name, layer, shapes):
    holds(layer, list(drawn(layer, shapes)))


@pytest.mark.exhaustive(default=30)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_that_mistakes_are_planted_in(family):
    _, _, make = next(row for row in fault_catalogue.ROWS if row[1] == family)
    layer, x, _, *options = make()
    holds(layer, x, *(option["at"] for option in options if "at" in option))


def test_every_family_of_described_classes_is_told():
    """A class with a description of its own needs a layer here; one that shares its description is
    told by another."""
    torch_described = importlib.import_module("probe.adapters.torch.describe.describe")
    table = importlib.import_module("probe.adapters.keras.describe.described_classes").DESCRIBED
    told = {case.values[0] for case in LAYERS} | {name for name, *_ in GATHERED}
    told |= {
        type(make()[0]).__name__
        for _, _, make in {
            family: row for row in fault_catalogue.ROWS for family in [row[1]]
        }.values()
    }
    # Packages of their own, and identities, have tests of their own.
    apart = {"..qkeras", "..tfmot", "..hgq", ".layers.augmentation"}
    assert {*table.values()} <= {table[name] for name in told if name in table} | apart
    assert len(told & {*torch_described.described(), *table}) >= 140


def test_one_column_of_a_large_product_tells_the_same(monkeypatch):
    torch.manual_seed(0)
    layer, x = (
        torch.nn.Linear(30, 7).eval(),
        np.random.default_rng(0).normal(size=(3, 30)).astype(np.float32),
    )
    whole = probe.explain(layer, "", given=x, at=(2, 5))
    monkeypatch.setattr("probe.explanation.matmul_column._LARGE", 1)
    column = probe.explain(layer, "", given=x, at=(2, 5))
    assert "\nthis column of 7: agree" in str(column)
    assert column.terms == whole.terms
    assert column.parties["framework"] == whole.parties["framework"]
    assert column.value == pytest.approx(whole.value, rel=1e-14)
    assert column.allowance == pytest.approx(whole.allowance)
    assert json.loads(column.to_json())["scope"] == "this column of 7"
