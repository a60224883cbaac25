"""LSTMs of floats: the cell clipped, gates that see it, and either order of the axes."""

from importlib.util import find_spec

import numpy as np
import pytest
from tflite_files import FlatNode, FlatTensor, Net, built

import probe

UNITS, FEATURES, STEPS = 5, 4, 7
NO = -1


def lstm(path, clip=0.0, peepholes=False, time_major=False, projection=False):
    rng = np.random.default_rng(52)
    tensors = [FlatTensor("x", (STEPS, 1, FEATURES) if time_major else (1, STEPS, FEATURES))]

    def constants(count, *shape):
        first = len(tensors)
        for _ in range(count):
            data = rng.normal(size=shape).astype(np.float32)
            tensors.append(FlatTensor(f"constant {len(tensors)}", data=data))
        return [*range(first, len(tensors))]

    inputs = [0, *constants(4, UNITS, FEATURES), *constants(4, UNITS, UNITS)]
    inputs += constants(3, UNITS) if peepholes else [NO] * 3
    inputs += constants(4, UNITS)
    inputs += [*constants(1, UNITS, UNITS), NO] if projection else [NO] * 2
    for name in ("hidden", "cell"):
        inputs.append(len(tensors))
        tensors.append(FlatTensor(name, (1, UNITS), is_variable=True))
    inputs += [NO] * 4
    shape = (STEPS, 1, UNITS) if time_major else (1, STEPS, UNITS)
    tensors.append(FlatTensor("y", shape))
    last = len(tensors) - 1
    options = {"fusedActivationFunction": 4, "cellClip": clip, "timeMajor": time_major}
    node = FlatNode(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        inputs,
        [last],
        ("UnidirectionalSequenceLSTMOptions", options),
    )
    built(Net(tensors, [node], [0], [last]), path=path)
    return str(path)


@pytest.mark.parametrize("way", [{}, {"clip": 0.3}, {"peepholes": True}, {"time_major": True}])
def test_floats_in_each_engine(tmp_path, way):
    path = lstm(tmp_path / "lstm.tflite", **way)
    engines = ["xnnpack", "optimised", "reference"]
    if find_spec("tflite_micro") is not None and "peepholes" not in way:
        engines.append("tflm")
    for engine in engines:
        report = probe.check(probe.open_model(path, engine=engine), "y")
        assert report.ok and np.abs(report.outputs["framework"]).max() > 0.1, str(report)
    stored = report.weights["kernel"].parts
    assert [*stored] == ["constant 1", "constant 2", "constant 3", "constant 4"]


def test_a_cell_that_is_clipped_is_seen(tmp_path):
    """The values of a net without the clip, whose weights are the same, diverge."""
    x = np.full((1, STEPS, FEATURES), 2.0, np.float32)
    bare = probe.check(lstm(tmp_path / "bare.tflite"), "y", x).outputs["framework"]
    path = lstm(tmp_path / "lstm.tflite", clip=0.3)
    assert probe.check(path, "y", x, expected=bare, search=False).verdict == "diverge"


def test_what_has_no_description_is_said(tmp_path):
    path = lstm(tmp_path / "lstm.tflite", projection=True)
    report = probe.check(path, "y")
    assert report.sentence == "unchecked: an LSTM with a projection has no description"
