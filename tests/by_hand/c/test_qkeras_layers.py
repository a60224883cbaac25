"""The integer layers of QKeras as C: those of the example, and of networks with each kind."""

from pathlib import Path

import numpy as np
import pytest
import qkeras
import tf_keras
from c_programs import is_exact
from representatives import exhaustive

import probe
from probe.by_hand.c.input_formats import input_formats
from probe.by_hand.c.program import c_program

EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = [
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    # QKeras calls one twice
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
    # QKeras serialises quantizers as constraints
    pytest.mark.filterwarnings("ignore:The `keras.constraints.serialize:UserWarning"),
]


def calls_of(model, x):
    calls = {}

    def take(capture):
        calls[capture.key] = capture

    probe.open_model(model).run((x,), None, take)
    return calls


def written(calls, folder):
    """The layers that are written; each compiles and gives the framework's numbers."""
    found = []
    for capture in calls.values():
        try:
            text = c_program(capture, formats=input_formats(capture, calls))
        except probe.ProbeError:
            continue
        assert is_exact(text, folder), capture.layer
        found.append(capture.layer)
    return found


def test_the_example(tmp_path):
    calls = calls_of(str(EXAMPLES / "digits_qkeras.h5"), np.load(EXAMPLES / "digits.npy"))
    layers = written(calls, tmp_path)
    assert layers == ["conv2d", "relu", "conv2d_1", "pool", "flatten", "dense"]


def test_as_a_file(tmp_path):
    model, x = str(EXAMPLES / "digits_qkeras.h5"), np.load(EXAMPLES / "digits.npy")
    path = tmp_path / "layer_1.c"
    assert probe.script(model, "conv2d_1", x, path).ok
    text = path.read_text(encoding="utf-8")
    assert "from 0 to 63 (what relu can give)" in " ".join(text.split())
    assert is_exact(text, tmp_path) and not path.with_suffix(".npz").exists()
    with pytest.raises(probe.ProbeError, match="'softmax' cannot be written as C in integers"):
        probe.script(model, "softmax", x, path)
    path.write_text("int main(void) {}")
    with pytest.raises(probe.ProbeError, match="is not a file that probe wrote"):
        probe.script(model, "conv2d_1", x, path)


@pytest.mark.parametrize("seed", [0, *exhaustive(*range(1, 10))])
def test_drawn_networks(tmp_path, seed):
    tf_keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    bits = f"quantized_bits({rng.integers(3, 7)}, {rng.integers(0, 2)}, alpha=1)"
    kinds = {"kernel_quantizer": bits, "bias_quantizer": "quantized_bits(8, 1, alpha=1)"}
    image = {"depthwise_quantizer": bits, "bias_quantizer": "quantized_bits(5, 0, alpha=1)"}
    model = tf_keras.Sequential(
        [
            tf_keras.Input((8, 6, 2)),
            qkeras.QActivation("quantized_bits(7, 2, alpha=1)", name="input_bits"),
            qkeras.QConv2D(4, (3, 2), padding="same", name="conv", **kinds),
            qkeras.QActivation(f"quantized_relu({rng.integers(3, 7)}, 2)", name="relu"),
            qkeras.QDepthwiseConv2D((2, 3), strides=2, name="depthwise", **image),
            qkeras.QActivation("quantized_relu(6, 2, negative_slope=0.25)", name="bent"),
            qkeras.QConv2DBatchnorm(
                3, 2, name="folded", kernel_quantizer=bits, bias_quantizer=bits
            ),
            qkeras.QActivation("quantized_bits(6, 2, alpha=1)", name="bits"),
            tf_keras.layers.MaxPooling2D((2, 1), name="pool"),
            tf_keras.layers.Reshape((-1, 3), name="rows"),
            qkeras.QConv1D(3, 1, name="line", **kinds),
            qkeras.QActivation("binary(alpha=1)", name="signs"),
            tf_keras.layers.Flatten(name="flat"),
            qkeras.QDense(4, activation="quantized_relu(4, 3)", name="dense", **kinds),
        ]
    )
    for layer in model.layers:
        layer.set_weights(
            [
                np.abs(rng.normal(size=w.shape)) + 0.1
                if "variance" in v.name
                else rng.normal(size=w.shape)
                for v, w in zip(layer.weights, layer.get_weights(), strict=True)
            ]
        )
    x = (4 * rng.normal(size=(2, 8, 6, 2))).astype(np.float32)
    calls = calls_of(model, x)
    assert {layer for layer, _ in calls} == {*written(calls, tmp_path)}
