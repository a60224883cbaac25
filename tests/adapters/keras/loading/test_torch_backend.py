"""Keras 3 on PyTorch, which a process chooses once for all: the descriptions hold there too,
without TensorFlow."""

import os
import subprocess
import sys

import numpy as np
import pytest

import probe

SCRIPT = """
import sys

sys.modules["tensorflow"] = None  # not installed, as far as this process can tell
import keras
import numpy as np

import probe

assert keras.backend.backend() == "torch"
rng = np.random.default_rng(0)
layers = keras.layers


def agrees(layer, *shapes):
    layer.build(shapes[0] if len(shapes) == 1 else list(shapes))
    for variable in layer.variables:
        value = rng.normal(size=variable.shape)
        if "seed" not in variable.path:
            variable.assign(abs(value) + 0.1 if "variance" in variable.name else value)
    report = probe.check(layer, layer.name, given=[rng.normal(size=shape).astype("float32") for shape in shapes])
    assert report.verdict == "agree" and set(report.outputs) == {"framework", "numpy", "onnx"}, f"{layer.get_config()}\\n{report}"


for data_format in ("channels_last", "channels_first"):
    image, steps = ((2, 9, 8, 4), (2, 9, 4)) if data_format == "channels_last" else ((2, 4, 9, 8), (2, 4, 9))
    for padding in ("valid", "same"):
        shared = {"padding": padding, "data_format": data_format}
        agrees(layers.Conv1D(6, 3, strides=2, groups=2, activation="gelu", **shared), steps)
        for options in ({"strides": 2}, {"dilation_rate": 2}, {"strides": 3}):
            agrees(layers.Conv2D(6, (4, 3), **options, **shared), image)
            agrees(layers.DepthwiseConv2D((2, 3), depth_multiplier=2, **options, **shared), image)
            agrees(layers.SeparableConv2D(5, (4, 3), **options, **shared), image)
        for size, strides in ((2, None), (3, 2), ((4, 3), (3, 2))):
            agrees(layers.MaxPooling2D(size, strides, **shared), image)
            agrees(layers.AveragePooling2D(size, strides, **shared), image)
    for kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "UpSampling2D", "ZeroPadding2D", "Flatten"):
        agrees(getattr(layers, kind)(data_format=data_format), image)
    agrees(layers.AdaptiveAveragePooling2D((4, 3), data_format=data_format), image)
    agrees(layers.AdaptiveMaxPooling2D((4, 3), data_format=data_format), image)
agrees(layers.Conv1D(6, 3, padding="causal"), (2, 9, 4))
agrees(layers.Conv3D(3, 2, padding="same", strides=2), (2, 5, 6, 4, 2))
agrees(layers.Dense(5, activation="softmax"), (2, 3, 4))
for axis in (-1, 1, 2):
    agrees(layers.BatchNormalization(axis=axis), (2, 5, 6, 4))
    agrees(layers.GroupNormalization(2, axis=axis), (2, 4, 6, 8))
agrees(layers.LayerNormalization(), (2, 5, 4))
agrees(layers.LayerNormalization(axis=[-2, -1]), (2, 5, 4))
agrees(layers.LayerNormalization(axis=[1, 3]), (2, 5, 6, 4))
agrees(layers.PReLU(shared_axes=[1]), (2, 5, 4))
agrees(layers.Softmax(axis=[1, 2]), (2, 5, 4))
agrees(layers.Concatenate(), (2, 5, 4), (2, 5, 3))
for kind in ("SimpleRNN", "LSTM", "GRU"):
    agrees(getattr(layers, kind)(3, return_sequences=True, return_state=True, go_backwards=True), (2, 5, 4))
    agrees(layers.Bidirectional(getattr(layers, kind)(3), merge_mode="mul"), (2, 5, 4))
agrees(layers.RNN(layers.StackedRNNCells([layers.GRUCell(3, reset_after=False), layers.LSTMCell(2)])), (2, 5, 4))
agrees(layers.ConvLSTM2D(2, 3, padding="same", return_sequences=True), (2, 3, 6, 5, 4))
agrees(layers.TimeDistributed(layers.Conv1D(3, 2)), (2, 5, 6, 4))
for scale in (False, True):
    agrees(layers.Attention(use_scale=scale), (2, 4, 6), (2, 5, 6))
    agrees(layers.AdditiveAttention(use_scale=scale), (2, 4, 6), (2, 5, 6))
agrees(layers.EinsumDense("abc,bcd->abd", (4, 3), bias_axes="d"), (2, 4, 5))
agrees(layers.EinsumDense("...x,xy->...y", 3, activation="relu"), (2, 4, 5))
agrees(layers.Dot((1, 2), normalize=True), (2, 3, 5), (2, 4, 3))
tokens = np.array([[3, 1, 2, 0, 0], [0, 0, 0, 0, 0]])
embedding = layers.Embedding(6, 8, mask_zero=True)
for attention in (layers.MultiHeadAttention(2, 3), layers.MultiHeadAttention(2, 3, dropout=0.1), layers.GroupQueryAttention(3, 4, 2)):
    for options in ({}, {"use_causal_mask": True}, {"return_attention_scores": True}):
        inputs = keras.Input((5,), dtype="int64")
        given = attention(embedding(inputs), embedding(inputs), **options)
        model = keras.Model(inputs, given[0] if isinstance(given, tuple) else given)
        for name in (attention.name, embedding.name):
            report = probe.check(model, name, tokens)
            assert report.verdict == "agree", f"{attention.get_config()} {options} {report}"
agrees(layers.Add(), (2, 5, 4), (2, 4), (2, 5, 1))
for name in dir(keras.activations):
    if name not in ("deserialize", "get", "serialize", "sparsemax", "threshold") and not name.startswith("_"):
        agrees(layers.Activation(name), (3, 4, 6))
ops, x, q = keras.ops, keras.Input((8, 9, 4)), keras.Input((7, 4, 6))
made = [ops.max_pool(x, 3, 2, "same"), ops.average_pool(x, 2, 2, "same"), ops.image.resize(x, (5, 12), "bicubic"), ops.median(x, axis=1)]
made += [ops.image.gaussian_blur(x, (3, 5)), ops.image.sobel_edges(x), ops.image.extract_patches(x, 3), ops.depth_to_space(x, 2)]
made += [ops.dot_product_attention(q, q, q, is_causal=True), ops.layer_normalization(x), ops.rms_normalization(x), ops.quantile(x, 0.3)]
planes, first = keras.Input((8, 4, 6)), {"data_format": "channels_first"}
made += [ops.depth_to_space(planes, 2, "channels_first"), ops.space_to_depth(planes, 2, "channels_first")]
rgb = x[..., :3]
for colours, options in ((ops.sigmoid(rgb), {}), (rgb * 1e-7, {}), (ops.round(rgb), {}), (planes[:, :3], first)):
    for turned in (ops.image.rgb_to_hsv, ops.image.hsv_to_rgb, ops.image.rgb_to_grayscale):
        made.append(turned(colours, **options))
turned = np.array([[0.9, -0.3, 1.2, 0.25, 1.1, -2.0, 0, 0], [1, 0, 2, 0, 1, -1, 0, 0]], np.float32)
spots = rng.normal(size=(2, 3, 5)).astype("float32") * 6
for mode in ("constant", "nearest", "reflect", "mirror"):
    made += [ops.image.map_coordinates(q[0, 0], spots, order, mode) for order in (0, 1)]
    if mode != "mirror":
        made.append(ops.image.affine_transform(x, turned, fill_mode=mode, fill_value=0.5))
line, other = x[..., 0], planes[:, :, 0]
made += [*ops.fft((line, line * 2.0)), *ops.ifft2((line, line)), *ops.rfft(line, 12), ops.irfft((other, other), 11)]
made += [*ops.stft(line, 5, 2, 6), *ops.stft(line[:, 0], 4, 2, 6, None, center=False), *ops.stft(line, 8, 3, 8, "hamming")]
made += [ops.istft((other, other), 9, 3, 10), ops.istft((other, other), 10, 3, 10), ops.istft((other, other), 10, 4, 10, length=30)]
shapes = ((2, 8, 9, 4), (2, 7, 4, 6), (2, 8, 4, 6))
for report in probe.sweep(keras.Model([x, q, planes], made), [rng.normal(size=one).astype("float32") for one in shapes]):
    assert report.verdict == "agree" and len(report.outputs) == 3, str(report)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv1D(4, 3, padding="same", name="conv")

    def call(self, x):
        return ops.relu(self.conv(x) + x) * 2


line = rng.normal(size=(2, 7, 4)).astype("float32")
reports = list(probe.sweep(Net(), line))
assert [report.layer for report in reports] == ["conv", "/add", "/relu", "/multiply"] and all(report.ok for report in reports), reports
square = keras.Input((4, 4))
report = probe.check(keras.Model(square, ops.det(square)), "det", rng.normal(size=(2, 4, 4)).astype("float32"))
assert report.verdict == "unchecked" and any("exported to ONNX" in note for note in report.notes) and "onnx" in report.outputs, report
assert not any(name.startswith("tensorflow.") for name in sys.modules)
"""


@pytest.mark.exhaustive
def test_keras_3_on_pytorch():
    pytest.importorskip("torch")
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


RESCALED = """
import keras
import numpy as np

import probe

for policy in ("float32", "float64", "float16"):
    layer = keras.layers.Rescaling(0.1, [0.7, -1.0, 1e-40, 0.3], dtype=policy)
    report = probe.check(layer, layer.name, given=np.random.default_rng(0).normal(size=(2, 5, 4)).astype(policy))
    assert report.verdict == "agree" and " on torch " in report.framework, str(report)
"""


@pytest.mark.exhaustive
def test_numbers_of_the_configuration_are_as_wide_as_the_layer():
    """On TensorFlow they go through float32. The layer itself imports TensorFlow, also on
    PyTorch."""
    pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", RESCALED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def net(keras):
    """Many kinds of layers, and operations between them."""
    layers, ops = keras.layers, keras.ops
    image, words = (
        keras.Input((12, 11, 3), name="image"),
        keras.Input((6,), dtype="int32", name="words"),
    )
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(
        layers.Rescaling(1 / 127.5, -1.0)(image)
    )
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    y = layers.SeparableConv2D(8, 3, padding="same", activation="swish")(x)
    x = layers.GroupNormalization(4)(layers.Add()([x, y]) * 0.5 + y)
    x = layers.MaxPooling2D(2)(layers.Conv2DTranspose(6, 3, strides=2)(x))
    x = layers.UpSampling2D(2)(layers.ZeroPadding2D(1)(layers.Activation("gelu")(x)))
    x = layers.AveragePooling2D(2)(layers.Cropping2D(1)(layers.PReLU(shared_axes=[1, 2])(x)))
    x = layers.LayerNormalization()(
        layers.GlobalAveragePooling2D()(layers.SpatialDropout2D(0.3)(x))
    )
    z = layers.Embedding(20, 6)(words)
    z = layers.LSTM(5, return_sequences=True)(
        layers.Bidirectional(layers.GRU(3, return_sequences=True))(z)
    )
    z = layers.MultiHeadAttention(2, 3)(z, z) + ops.flip(z, axis=1)
    z = layers.TimeDistributed(layers.Dense(6, "tanh"))(
        layers.EinsumDense("abc,cd->abd", (None, 4))(z)
    )
    z = layers.RMSNormalization()(ops.mean(ops.square(z), axis=1))
    merged = layers.Concatenate()([x, layers.Dropout(0.2)(z)])
    return keras.Model(
        [image, words],
        layers.Softmax()(layers.Dense(5)(layers.Reshape((3, -1))(layers.RepeatVector(3)(merged)))),
    )


AGAIN = """
import sys

import numpy as np

import probe

folder = sys.argv[1]
model = probe.open_model(folder + "/net.keras")
saved = np.load(folder + "/calls.npz")
for name in sorted({key.split("|")[0] for key in saved}):
    given = [saved[key] for key in sorted(saved) if key.startswith(name + "|input")]
    report = probe.check(model, name, given=given)
    assert report.verdict == "agree" or "own range" in report.sentence, str(report)
    for party in ("numpy", "onnx"):
        theirs, ours = report.outputs[party], saved[f"{name}|{party}"]
        # In a sweep both have one thread; here they split their sums, which moves last places of float64 and of float32.
        share = {"numpy": 1e-13, "onnx": 1e-6}[party]
        near = np.allclose(theirs, ours, rtol=10 * share, atol=share * abs(ours).max())
        assert theirs.tobytes() == ours.tobytes() or near, f"{name}: {party} differs by {abs(theirs - ours).max()}"
assert " on torch " in model.framework
"""


@pytest.mark.exhaustive
# Keras 3 as it saves
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn.t accept:DeprecationWarning")
def test_the_same_file_gives_the_same_on_pytorch(tmp_path):
    """What NumPy and ONNX Runtime compute from the same inputs does not depend on who runs the
    model."""
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(1)
    net(keras).save(tmp_path / "net.keras")
    rng = np.random.default_rng(0)
    given = [rng.uniform(0, 255, (2, 12, 11, 3)).astype("float32"), rng.integers(0, 20, (2, 6))]
    calls = {}
    for report in probe.sweep(probe.open_model(tmp_path / "net.keras"), given):
        assert report.verdict == "agree" and len(report.outputs) == 3, str(report)
        calls |= {
            f"{report.layer}|input{index}": array for index, array in enumerate(report.inputs)
        }
        calls |= {f"{report.layer}|{party}": report.outputs[party] for party in ("numpy", "onnx")}
    np.savez(tmp_path / "calls.npz", **calls)
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    command = [sys.executable, "-c", AGAIN, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


ASSIGNING = """
import keras
import numpy as np

import probe


class Counting(keras.layers.Layer):
    def build(self, shape):
        self.n = self.add_weight(shape=(), initializer="ones", trainable=False, name="n")

    def call(self, x):
        self.n.assign_add(1.0)
        return x * self.n


class ReadFirst(Counting):
    def call(self, x):
        y = x * self.n
        self.n.assign_add(1.0)
        return y


x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
for layer, verdict in ((Counting(name="mine"), "agree"), (ReadFirst(name="mine"), "unchecked")):
    given = keras.Input((4,), batch_size=3)
    reports = list(probe.sweep(keras.Model(given, layer(layer(given))), x))
    assert [report.verdict for report in reports] == [verdict, verdict], reports
    assert verdict == "agree" or "it assigns to 'n'" in reports[0].sentence
    assert float(layer.n) == 1
"""


@pytest.mark.exhaustive
def test_a_call_that_assigns():
    pytest.importorskip("torch")
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", ASSIGNING],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
