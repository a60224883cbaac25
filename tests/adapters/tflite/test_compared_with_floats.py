"""A model of floats against its own .tflite file of integers, healthy and with planted mistakes."""

from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import probe
from probe.errors import BadInput

EXAMPLES = Path(__file__).parents[3] / "examples"
INTEGERS = ("int8", "int8_per_tensor", "int16x8")
CONV, DEPTHWISE, DENSE = 0, 4, 11
"""Nodes of digits_int8.tflite."""


@pytest.fixture(scope="module")
def digits():
    return np.load(EXAMPLES / "digits.npy")


@pytest.fixture(scope="module")
def floats():
    return probe.open_model(EXAMPLES / "digits_float.tflite")


def of_kind(name):
    return str(EXAMPLES / f"digits_{name}.tflite")


@pytest.mark.parametrize("kind", (*INTEGERS, "dynamic"))
def test_a_healthy_file_agrees_with_the_floats(floats, digits, kind):
    found = probe.compare(floats, of_kind(kind), digits)
    assert found.ok and not found.sources and len(found.pairs) >= 9, str(found)
    bits = [note for note in found.notes if "rounded to integers of 8 bits" in note]
    assert bits and max(pair.expected or 0 for pair in found.pairs) > 0
    read = [note for note in found.notes if "compared as the numbers that they stand for" in note]
    assert bool(read) == (kind in INTEGERS)
    assert all("by its scale" in note and "zero point" in note for note in read)


def test_under_each_engine(floats, digits):
    for engine in ("reference", "optimised"):
        other = probe.open_model(of_kind("int8"), engine=engine)
        assert probe.compare(floats, other, digits).ok


def test_integers_are_no_reference_and_drawn_values_no_input(floats, digits):
    found = probe.compare(of_kind("int8"), floats, digits)
    assert found.verdict == "unchecked" and "give the model of floats as A" in found.sentence
    with pytest.raises(BadInput, match="ranges were chosen for real inputs: give one"):
        probe.compare(floats, of_kind("int8"))


def test_replaced_values_are_real_numbers(floats, digits):
    half = probe.check(floats, "sequential_1/pool_1/AvgPool", digits).outputs["framework"] / 2
    found = probe.compare(
        floats, of_kind("int8"), digits, replace_b={"sequential_1/pool_1/AvgPool": half}
    )
    assert found.effect[1].outputs[0].largest > 0.05


def edited(path, change):
    """digits_int8.tflite with a mistake."""
    model = schema.ModelT.InitFromPackedBuf(Path(of_kind("int8")).read_bytes(), 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return str(path)


def tensor(model, node, place):
    graph = model.subgraphs[0]
    return graph.tensors[graph.operators[node].inputs[place]]


def scales(node, change):
    def apply(model):
        grid = tensor(model, node, 1).quantization
        grid.scale = change(grid.scale).astype(np.float32)

    return apply


def bias(node, change):
    def apply(model):
        buffer = model.buffers[tensor(model, node, 2).buffer]
        codes = np.array(buffer.data, np.uint8).view(np.int32)
        buffer.data = change(codes).astype(np.int32).view(np.uint8)

    return apply


def range_of_dense(factor):
    def apply(model):
        graph = model.subgraphs[0]
        grid = graph.tensors[graph.operators[DENSE].outputs[0]].quantization
        grid.scale = (grid.scale * factor).astype(np.float32)

    return apply


def zero_point_of_input(model):
    grid = tensor(model, CONV, 0).quantization
    grid.zeroPoint = grid.zeroPoint + 100


MISTAKES = {
    "scales of two channels exchanged": (
        scales(CONV, lambda scale: scale[[5, 1, 2, 3, 4, 0, *range(6, 16)]]),
        "batchnorm/sub1",
        "each row times a factor of its own",
    ),
    "a scale 1.1 times too large": (
        scales(DENSE, lambda scale: scale * 1.1),
        "dense_1/BiasAdd",
        "B's are 1.1 times A's: another scale",
    ),
    "bias left out": (
        bias(CONV, lambda codes: codes * 0),
        "batchnorm/sub1",
        "16: 2.03318 in A, 0 in B",
    ),
    "bias by half its scale": (
        bias(DEPTHWISE, lambda codes: codes * 2),
        "depthwise_conv2d_1/Squeeze1",
        "32: 0.594379 in A, 1.18784 in B",
    ),
    "the range of the logits too small": (
        range_of_dense(0.25),
        "dense_1/BiasAdd",
        "B's Clip has no counterpart in A",
    ),
    "the zero point of the input": (zero_point_of_input, "to int8", ""),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_the_source(floats, digits, tmp_path, mistake):
    change, layer, words = MISTAKES[mistake]
    found = probe.compare(floats, edited(tmp_path / "planted.tflite", change), digits)
    assert found.verdict == "diverge" and len(found.sources) == 1, str(found)
    assert any(layer in name for name in found.sources[0].b) and words in str(found)
