"""Keras 3 on PyTorch, which a process chooses once for all: the descriptions hold there too, without TensorFlow."""

import os
import subprocess
import sys

import pytest

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
agrees(layers.Add(), (2, 5, 4), (2, 4), (2, 5, 1))
for name in dir(keras.activations):
    if name not in ("deserialize", "get", "serialize", "sparsemax", "threshold") and not name.startswith("_"):
        agrees(layers.Activation(name), (3, 4, 6))
assert not any(name.startswith("tensorflow.") for name in sys.modules)
"""


def test_keras_3_on_pytorch():
    pytest.importorskip("torch")
    environment = os.environ | {"KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
