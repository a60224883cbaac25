"""IF, WHILE and composites: the nodes inside become steps of the node itself."""

import numpy as np
import pytest
from own_seed import RNG
from probe.adapters.tflite import control_flow
from tflite_nets import branch, composite, loop

import probe


def test_a_loop_is_followed(tmp_path, monkeypatch):
    model = probe.open_model(loop(tmp_path / "net.tflite"))
    report = probe.check(model, "y", np.float32([0.5]))
    assert report.ok and len([op for op in report.ops if op.startswith("Add")]) == 3
    assert report.outputs["numpy"].tolist() == [3.5]
    monkeypatch.setattr(control_flow, "_ROUNDS", 2)
    long = probe.open_model(loop(tmp_path / "long.tflite", step=0.01))
    unchecked = probe.check(long, "y", np.float32([0]))
    assert unchecked.sentence == "unchecked: its loop takes more than 2 iterations"


def test_subgraphs_are_followed_so_deep(tmp_path, monkeypatch):
    monkeypatch.setattr(control_flow, "_DEEPEST", 0)
    unchecked = probe.check(str(loop(tmp_path / "net.tflite")), "y", np.float32([0.5]))
    assert unchecked.sentence == "unchecked: its subgraphs run others, more than 0 deep"


@pytest.mark.parametrize(("condition", "op"), [(True, "Mul"), (False, "Add")])
def test_the_branch_that_is_taken(tmp_path, condition, op):
    x = RNG.normal(size=(2, 3)).astype(np.float32)
    report = probe.check(str(branch(tmp_path / "net.tflite")), "y", [np.array(condition), x])
    assert report.ok and any(words.startswith(op) for words in report.ops)


def test_a_composite_is_what_it_is_composed_of(tmp_path):
    path = str(composite(tmp_path / "net.tflite"))
    for engine in ("xnnpack", "reference"):
        (report,) = probe.sweep(probe.open_model(path, engine=engine))
        assert report.ok and report.kind == "STABLEHLO_COMPOSITE"
