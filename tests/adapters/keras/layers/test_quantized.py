"""Keras 3's own quantised layers and LoRA: every party agrees with the effective weights, out of a
file too, none with the stored ones."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from hypothesis_examples import examples
from representatives import exhaustive

import probe
from probe import ops
from probe.description import Step
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated

# Keras 3.15 saving
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)


def built(kind):
    """A model of one layer named "l", its weights drawn, and an input."""
    rng = np.random.default_rng(0)
    layers = keras.layers
    layer, data = {
        "dense": (layers.Dense(5, activation="relu", name="l"), keras.Input((6, 8))),
        "einsum": (
            layers.EinsumDense("abc,cde->abde", (None, 3, 4), bias_axes="de", name="l"),
            keras.Input((6, 8)),
        ),
        "embedding": (layers.Embedding(11, 8, name="l"), keras.Input((6,), dtype="int32")),
        "conv": (layers.Conv2D(4, 3, name="l"), keras.Input((6, 8, 3))),
    }[kind]
    model = keras.Model(data, layer(data))
    model.set_weights(
        [rng.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()]
    )
    x = (
        rng.integers(0, 11, (2, 6))
        if kind == "embedding"
        else rng.normal(size=(2, *data.shape[1:])).astype(np.float32)
    )
    return model, layer, x


def with_lora(layer):
    layer.enable_lora(3)
    rng = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        if "lora" in variable.name:
            variable.assign(rng.normal(size=variable.shape).astype(np.float32))


MODES = {
    "int8": lambda layer: layer.quantize("int8"),
    "int8 weights alone": lambda layer: layer.quantize(
        "int8", config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None)
    ),
    "int4": lambda layer: layer.quantize(
        "int4", config=keras.quantizers.Int4QuantizationConfig(block_size=None)
    ),
    "int4 in groups": lambda layer: layer.quantize(
        "int4", config=keras.quantizers.Int4QuantizationConfig(block_size=4)
    ),
    "float8": lambda layer: layer.quantize("float8"),
    "lora": with_lora,
    "lora on int8": lambda layer: (layer.quantize("int8"), with_lora(layer)),
}
CASES = [
    *(("dense", mode) for mode in MODES),
    *(("einsum", mode) for mode in MODES if mode != "lora on int8"),
    *(("embedding", mode) for mode in ("int8", "int4", "int4 in groups", "lora")),
    ("conv", "lora"),
]
SAMPLED = {
    ("einsum", "int4 in groups"),
    ("embedding", "int8"),
    ("conv", "lora"),
    *(("dense", mode) for mode in MODES),
}
NAMED = {
    *(("dense", mode) for mode in ("int8", "int4 in groups", "float8", "lora")),
    ("embedding", "int8"),
    ("conv", "lora"),
}
SOME = [
    pytest.param(case, id="-".join(case), marks=[] if case in SAMPLED else pytest.mark.exhaustive)
    for case in CASES
]


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=4)
@pytest.mark.parametrize("case", SOME)
def test_every_party_agrees_out_of_a_file_and_nothing_is_written(case, tmp_path):
    kind, mode = case
    model, layer, x = built(kind)
    MODES[mode](layer)
    before = [np.array(variable) for variable in model.variables]
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        report = probe.check(source, "l", x)
        assert report.ok, str(report)
        assert set(report.outputs) == {"framework", "numpy", "onnx"}, report.missing
        # Keras merges and quantises anew when it saves
        if mode != "lora on int8" or source is model:
            np.testing.assert_array_equal(report.outputs["framework"], np.asarray(model(x)))
        weight = next(iter(report.weights.values()))
        assert weight.steps
        assert weight.parts or mode == "float8"
    for variable, one in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), one)


def naively(kind, layer, x, weight):
    """The layer with these numbers for its kernel or table."""
    weight = np.asarray(weight, np.float32)
    match kind:
        case "dense":
            return np.maximum(x @ weight + np.asarray(layer.bias), 0)
        case "einsum":
            return np.einsum("abc,cde->abde", x, weight) + np.asarray(layer.bias)
        case "embedding":
            return weight[x]
    return np.asarray(keras.ops.conv(x, weight)) + np.asarray(layer.bias)


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id="-".join(case), marks=[] if case in NAMED else pytest.mark.exhaustive)
        for case in CASES
    ],
)
def test_stored_weights_diverge_and_are_named(case, tmp_path):
    """The integers, the float8's source, or the kernel without its low-rank part, taken for the
    kernel."""
    kind, mode = case
    model, layer, x = built(kind)
    MODES[mode](layer)
    source = model
    if "lora" not in mode:  # Keras merges LoRA into what it saves
        source = tmp_path / "model.keras"
        model.save(source)
    report = probe.check(source, "l", x)
    name, weight = next(iter(report.weights.items()))
    packed, stored = weight.stored.shape != weight.effective.shape, weight.stored
    if packed:
        assert "int4" in mode
        stored = weight.grid.integers(weight.effective)
        np.testing.assert_array_equal(stored, weight.parts[f"{name} unpacked to its integers"])
    if mode == "lora on int8":  # the two products beside it left out, which take the input as it is
        layer.lora_enabled = False
        stored, mine = None, np.asarray(model(x))
        layer.lora_enabled = True
    else:
        mine = naively(kind, layer, x, stored)
    wrong = probe.check(source, "l", x, expected=mine)
    assert wrong.verdict == "diverge"
    assert wrong.comparisons["framework", "numpy"].ok
    told = f"the stored {name}"
    if packed:
        told = f"{name} unpacked to its integers is used"
    if mode == "lora on int8":
        told = (
            "the stored kernel alone, without 1 (lora_alpha / lora_rank) times x lora_kernel_a "
            "lora_kernel_b"
        )
    if mode == "float8":  # there the input is not rounded either: two mistakes
        assert any(
            "raw-weights" in (one.slug, *one.also) and told in one.claim for one in wrong.findings
        ), str(wrong)
    else:
        assert wrong.findings[0].slug == "raw-weights", str(wrong)
        assert told in wrong.findings[0].claim, str(wrong)


@pytest.mark.exhaustive(default=3)
@pytest.mark.parametrize("case", [case for case in SOME if case.values[0][1].startswith("int")])
def test_integers_and_scale_give_the_effective_weights(case):
    kind, mode = case
    model, layer, x = built(kind)
    MODES[mode](layer)
    weight = next(iter(probe.check(model, "l", x).weights.values()))
    grid = weight.grid
    integers = grid.integers(weight.effective)
    limit = 2 ** (grid.bits - 1)
    assert integers.min() >= -limit
    assert integers.max() <= 2 * limit - 1
    np.testing.assert_allclose(
        (integers - grid.zero_point) * grid.scale, weight.effective, rtol=1e-6
    )
    if weight.stored.shape == weight.effective.shape:
        np.testing.assert_array_equal(integers, weight.stored)


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=3, max_side=6),
        elements=st.floats(-50, 50, width=32),
    ),
    st.sampled_from([(-127, 127), (-8, 7)]),
    st.integers(0, 1),
)
@examples(100)
def test_the_largest_magnitude_sets_the_scale(x, limits, axis):
    op = ops.AbsMaxQuantize(axes=(axis,), low=limits[0], high=limits[1])
    integers, scale = keras.quantizers.abs_max_quantize(x, axis=axis, value_range=limits)
    theirs = np.asarray(integers, np.float32) / np.asarray(scale)
    y = op.run(x.astype(float))
    allowed = op.error_bound(Evaluated((x.astype(float),), (None,), y), precision_of("float32"))[0]
    assert (np.abs(theirs - y[0]) <= allowed).all()
    assert (np.abs(crosscheck([Step(op)], [x], [y])[0] - y[0]) <= allowed).all()
    np.testing.assert_allclose(op.run(x)[0], theirs, rtol=1e-6)


@given(
    arrays(np.float32, 20, elements=st.floats(-600, 600, width=32)),
    st.sampled_from([1.0, 0.25, 3.0]),
)
@examples(100)
def test_float8_is_keras_bit_for_bit(x, size):
    op = ops.Float8(size=size)
    convert = keras.ops.convert_to_tensor
    quantizers = keras.src.quantizers.quantizers
    theirs = np.asarray(
        quantizers.quantize_and_dequantize(
            convert(x), convert(np.float32(size)), "float8_e4m3fn", "float32"
        )
    )
    np.testing.assert_array_equal(op.run(x)[0], theirs)
    np.testing.assert_array_equal(crosscheck([Step(op)], [x], [op.run(x)])[0], theirs)


class _Tokenizer:
    def tokenize(self, text):
        return [ord(letter) % 11 for letter in text * 20]


@pytest.mark.filterwarnings("ignore:.*quantiz:UserWarning")  # of the layers that Keras passes over
@pytest.mark.parametrize("mode", ["awq", *exhaustive("gptq")])
def test_calibrated_layers(mode, capsys):
    """Keras leaves `call` behind on each layer that it looked at, which is the layer's own."""
    rng = np.random.default_rng(0)
    data = keras.Input((6,), dtype="int32")
    embedding = keras.layers.Embedding(11, 8)
    block = keras.Sequential(
        [keras.layers.Dense(16, activation="relu", name="inner"), keras.layers.Dense(8)],
        name="block",
    )
    block.build((None, 6, 8))
    model = keras.Model(data, keras.layers.Dense(11)(block(embedding(data))))
    config = {"gptq": keras.quantizers.GPTQConfig, "awq": keras.quantizers.AWQConfig}[mode](
        dataset=["abcdefgh"] * 4,
        tokenizer=_Tokenizer(),
        num_samples=4,
        sequence_length=6,
        group_size=4,
        quantization_layer_structure={
            "pre_block_layers": [embedding],
            "sequential_blocks": [block],
        },
    )
    model.quantize(mode, config=config)
    report = probe.check(model, "block/inner", rng.integers(0, 11, (2, 6)))
    assert report.ok, str(report)
    kernel = report.weights["kernel"]
    assert kernel.steps[0].startswith("int4 minus kernel_zero, times kernel_scale, in groups")
    assert {"quantized_kernel", "kernel_scale", "kernel_zero"} <= kernel.parts.keys()
    integers = kernel.grid.integers(kernel.effective)
    np.testing.assert_array_equal(integers, kernel.parts["kernel unpacked to its integers"])
    assert (
        integers.min() >= 0
        and integers.max() <= 15
        and kernel.grid.bits == 4
        and not kernel.grid.signed
    )
    np.testing.assert_allclose(
        (integers - kernel.grid.zero_point) * kernel.grid.scale, kernel.effective, rtol=1e-6
    )
    inner = block.get_layer("inner")
    mine = np.maximum(report.inputs[0] @ integers.astype(np.float32) + np.asarray(inner.bias), 0)
    found = probe.check(model, "block/inner", given=report.inputs[0], expected=mine)
    assert (
        found.findings[0].slug == "raw-weights"
        and "kernel unpacked to its integers" in found.findings[0].claim
    ), str(found)


I4, ABS = keras.quantizers.Int4QuantizationConfig, keras.quantizers.AbsMaxQuantizer
REVERSIBLE = {
    **{
        name: MODES[name]
        for name in ("int8", "int8 weights alone", "int4", "int4 in groups", "lora", "lora on int8")
    },
    "int4, activations too": lambda layer: layer.quantize(
        "int4", config=I4(block_size=None, activation_quantizer=ABS())
    ),
}


@pytest.mark.parametrize("tied", [True, *exhaustive(False)])
@pytest.mark.parametrize(
    "mode",
    [
        "int8",
        "int4 in groups",
        "lora",
        *exhaustive("int8 weights alone", "int4", "int4, activations too", "lora on int8"),
    ],
)
def test_an_embedding_in_both_directions(mode, tied, tmp_path):
    """Backwards Keras rounds the input too, takes the untied table on its own grid, and beside
    integers leaves LoRA out."""
    data = keras.Input((6,), dtype="int32")
    layer = keras.layers.ReversibleEmbedding(
        11, 8, tie_weights=tied, logit_soft_cap=3.0 if tied else None, name="l"
    )
    model = keras.Model(data, layer(keras.layers.Dense(8)(layer(data)), reverse=True))
    rng = np.random.default_rng(0)
    model.set_weights(
        [rng.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()]
    )
    REVERSIBLE[mode](layer)
    sources = [model]
    # Keras cannot load the file of one with two tables and LoRA, and merges LoRA in integers
    if not mode.startswith("lora"):
        sources.append(tmp_path / "model.keras")
        model.save(sources[-1])
    before = [np.array(variable) for variable in model.variables]
    for source in sources:
        reports = [
            report
            for report in probe.sweep(source, rng.integers(0, 11, (2, 6)))
            if report.layer == "l"
        ]
        assert [report.ok for report in reports] == [True, True], "\n".join(map(str, reports))
        assert list(reports[1].weights) == ["embeddings" if tied else "reverse_embeddings"]
        assert bool(reports[1].weights[next(iter(reports[1].weights))].steps) == (
            tied or mode != "lora"
        )
    for variable, one in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(np.array(variable), one)
