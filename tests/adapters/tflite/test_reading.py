"""What a .tflite file holds, read with bounds; damage is one sentence."""

from importlib import import_module

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from own_seed import RNG
from probe.adapters import list_file
from probe.adapters.tflite import describe
from probe.adapters.tflite.operator_families import FAMILIES
from probe.adapters.tflite.reading import read_model
from tflite_files import FlatNode, FlatTensor, Net, built, one_op

from probe.errors import CannotOpen

KERNEL = RNG.integers(-127, 128, (5, 3, 3, 3))
SCALES = np.linspace(0.01, 0.02, 5, dtype=np.float32)


def convolution(**options):
    x = FlatTensor("x", (1, 8, 8, 3), "int8", scale=0.05, zero_point=-3, signature=(-1, 8, 8, 3))
    kernel = FlatTensor("a/BiasAdd;a/Conv2D", dtype="int8", data=KERNEL, scale=SCALES)
    y = FlatTensor("relu;conv", (1, 8, 8, 5), "int8", scale=0.2, zero_point=4)
    fields = {"strideW": 1, "strideH": 1, "fusedActivationFunction": 3}
    return one_op("CONV_2D", [x, kernel], [y], ("Conv2DOptions", fields), 3, **options)


def read(content):
    return read_model(content, "net.tflite")


def tensor(*tensors, nodes=(), inputs=(), outputs=(), change=None):
    """The last tensor of a net."""
    return read(built(Net(tensors, nodes, inputs, outputs), change=change)).subgraphs[0].tensors[-1]


def test_a_node_and_its_tensors():
    (subgraph,) = read(convolution()).subgraphs
    (node,) = subgraph.nodes
    assert (node.operator, node.version, node.inputs, node.outputs) == ("CONV_2D", 3, (0, 1), (2,))
    assert node.options["padding"] == "SAME" and node.options["strideW"] == 1
    assert node.options["fusedActivationFunction"] == "RELU6"
    assert node.defaults["fusedActivationFunction"] == "NONE"
    x, kernel, _ = subgraph.tensors
    assert (x.shape, x.shape_signature, x.is_constant) == ((1, 8, 8, 3), (-1, 8, 8, 3), False)
    assert x.quantisation.zero_point.tolist() == [-3] and x.quantisation.axis is None
    assert kernel.quantisation.axis == 0 and np.array_equal(kernel.quantisation.scale, SCALES)
    assert np.array_equal(kernel.constant, KERNEL)


def test_the_listing_needs_no_run(tmp_path):
    convolution(path=tmp_path / "net.tflite")
    (layer,) = list_file(tmp_path / "net.tflite").layers
    assert (layer.name, layer.kind, layer.output_shape) == ("conv", "CONV_2D", (1, 8, 8, 5))
    assert layer.parameters == KERNEL.size


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int4", -8, 8), ("uint4", 0, 16), ("int2", -2, 2)]
)
def test_codes_that_share_a_byte(dtype, low, high):
    codes = RNG.integers(low, high, (3, 5))
    found = tensor(FlatTensor("w", dtype=dtype, data=codes, scale=[0.5, 1.0, 2.0]))
    assert len(found.stored) < codes.size and np.array_equal(found.constant, codes)


def test_scales_of_blocks():
    scales = RNG.uniform(0.5, 1, (2, 3)).astype(np.float16)
    found = tensor(
        FlatTensor("scales", dtype="float16", data=scales),
        FlatTensor("w", dtype="int4", data=np.ones((2, 96), int), block_scales=0, block_size=32),
    )
    assert (found.quantisation.block_size, found.quantisation.block_scales) == (32, 0)


def test_zeros_that_are_left_out():
    """Blocks of 2 x 2 of which two of six are stored, their columns compressed."""
    dense = np.zeros((4, 6), np.float32)
    dense[:2, 2:4], dense[2:, :2] = [[1, 2], [3, 4]], [[5, 6], [7, 8]]

    def change(model):
        sparsity = schema.SparsityParametersT()
        sparsity.traversalOrder, sparsity.blockMap = [0, 1, 2, 3], [0, 1]
        sparsity.dimMetadata = [level(2), level(0, [0, 1, 2], [1, 0]), level(2), level(2)]
        flat = model.subgraphs[0].tensors[-1]
        flat.sparsity, flat.shape = sparsity, [4, 6]

    def level(size, segments=None, indices=None):
        metadata = schema.DimensionMetadataT()
        metadata.denseSize, metadata.format = size, int(segments is not None)
        for name, values in (("arraySegments", segments), ("arrayIndices", indices)):
            if values is not None:
                vector = schema.Int32VectorT()
                vector.values = values
                setattr(metadata, name, vector)
                setattr(metadata, f"{name}Type", schema.SparseIndexVector.Int32Vector)
        return metadata

    found = tensor(FlatTensor("w", data=np.arange(1.0, 9.0)), change=change)
    assert np.array_equal(found.constant, dense)


def test_a_buffer_behind_the_flatbuffer():
    """As files of more than 2 GB have them."""

    def change(model):
        model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, place, 12

    place = 0
    place = len(built(Net([FlatTensor("w", data=np.zeros(3))], [], [], []), change=change)) + 400
    content = built(Net([FlatTensor("w", data=np.zeros(3))], [], [], []), change=change)
    whole = content.ljust(place, b"\0") + np.float32([1, 2, 3]).tobytes()
    assert read(whole).subgraphs[0].tensors[0].constant.tolist() == [1, 2, 3]
    with pytest.raises(CannotOpen, match=r"a buffer of 12 bytes starts at byte [\d,]+ of [\d,]+$"):
        read(whole[:-1])


def changed(change):
    x, y = FlatTensor("x", (1, 4)), FlatTensor("y", (1, 4))
    weight = FlatTensor("w", data=np.zeros((1, 4)))
    node = FlatNode("ADD", [0, 1], [2], ("AddOptions", {}))
    return built(Net([x, weight, y], [node], [0], [2]), change=change)


def _set(path, value):
    def change(model):
        *steps, last = path
        found = model
        for step in steps:
            found = getattr(found, step) if isinstance(step, str) else found[step]
        if isinstance(last, str):
            setattr(found, last, value)
        else:
            found[last] = value

    return change


GRAPH = ("subgraphs", 0)
DAMAGE = {
    "tensor": (_set((*GRAPH, "operators", 0, "inputs", 0), 77), "refer to tensor 77 of 3"),
    "output": (_set((*GRAPH, "outputs", 0), -2), "the outputs of subgraph 0 refer to tensor -2"),
    "opcode": (_set((*GRAPH, "operators", 0, "opcodeIndex"), 9), "operator code 9 of 1"),
    "buffer": (_set((*GRAPH, "tensors", 1, "buffer"), 50), "refers to buffer 50 of 2"),
    "length": (_set((*GRAPH, "tensors", 1, "shape"), [1, 5]), "needs 20 bytes, and its buffer has"),
    "negative": (_set((*GRAPH, "tensors", 0, "shape"), [-1, 4]), r"has the shape \(-1, 4\)"),
    "nothing": (_set(("subgraphs",), []), "it has no subgraph"),
    "large": (_set((*GRAPH, "tensors", 0, "shape"), [1 << 30, 4]), "which could exhaust memory"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_said(name):
    change, words = DAMAGE[name]
    with pytest.raises(CannotOpen, match=words):
        read(changed(change))


def test_what_is_cut_off_or_overwritten_is_said():
    content = convolution()
    for length in range(8, len(content), 97):
        with pytest.raises(CannotOpen) as caught:
            read(content[:length])
        assert "\n" not in str(caught.value)
    assert read(content).subgraphs  # whole, it is one
    found = 0
    for place in range(8, len(content) - 4, 36):
        try:
            read(content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :])
        except CannotOpen:
            found += 1
    assert found > 10


def test_what_is_read_under_many_names_is_counted():
    """A thousand times the same subgraph, of a thousand times the same tensor."""
    builder, count = flatbuffers.Builder(0), 1000
    schema.TensorStart(builder)
    tensors = _same(builder, schema.TensorEnd(builder), count, schema.SubGraphStartTensorsVector)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    subgraph = schema.SubGraphEnd(builder)
    subgraphs = _same(builder, subgraph, count, schema.ModelStartSubgraphsVector)
    schema.BufferStart(builder)
    buffers = _same(builder, schema.BufferEnd(builder), 1, schema.ModelStartBuffersVector)
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddBuffers(builder, buffers)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    with pytest.raises(CannotOpen, match=r"its tables take more than 4 times its [\d,]+ bytes$"):
        read(bytes(builder.Output()))


def _same(builder, table, count, start):
    start(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def test_each_file_of_operators_describes_those_of_the_table():
    """A listing knows from the table alone what is described."""
    for family, names in FAMILIES.items():
        module = import_module(f"probe.adapters.tflite.operators.{family}").__name__
        known = {name for name, by in describe._TABLE.items() if by.__module__ == module}
        assert known == {*names.split()}, family
    assert {*describe._TABLE} == {*describe.described()}
