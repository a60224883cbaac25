"""Networks of keras.applications swept whole: no layer and no operation between them diverges or
stays unchecked."""

import importlib
import re
from collections import Counter

import numpy as np
import pytest

import probe

SLOW = ["ResNet50", "EfficientNetB0", "ConvNeXtTiny", "DenseNet121"]


def network(keras, name):
    """Random weights, and statistics of batch normalisation as training leaves them."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        path = getattr(variable, "path", variable.name)
        if "moving_variance" in path:
            variable.assign(rng.uniform(0.5, 2.0, variable.shape))
        elif "moving_mean" in path or "beta" in path:
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif "gamma" in path:
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def swept(model):
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    found = Counter()
    for report in probe.sweep(model, x):
        assert report.verdict == "agree" and set(report.outputs) == {
            "framework",
            "numpy",
            "onnx",
        }, str(report)
        found[report.layer] += 1
    assert set(found) == {layer.name for layer in probe.open_model(model).layers}
    return found


BLOCKS = {
    "ResNet50": r"(conv\d_block\d+)_",
    "MobileNetV3Small": r"(expanded_conv(?:_\d+)?)[_/]",
    "ConvNeXtTiny": r"(convnext_tiny_stage_\d_block_\d)_",
    "EfficientNetB0": r"(block\d[a-z])_",
}
"""What the names of a block's layers begin with."""


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_as_a_whole(keras, name):
    """From a block's first layer to its last, and the network itself."""
    model = network(keras, name)
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    blocks: dict[str, list[str]] = {}
    for layer in model.layers:
        if found := re.match(BLOCKS[name], layer.name):
            blocks.setdefault(found[1], []).append(layer.name)
    assert len(blocks) > 10
    for asked in ("", *((one[0], one[-1]) for one in blocks.values())):
        report = probe.check(model, asked, x)
        assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


@pytest.mark.costly
def test_the_smallest():
    assert len(swept(network(pytest.importorskip("keras"), "MobileNetV3Small"))) > 150


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_larger(keras, name):
    assert len(swept(network(keras, name))) > 100


@pytest.mark.slow
def test_the_smallest_in_keras_2():
    assert len(swept(network(pytest.importorskip("tf_keras"), "MobileNetV3Small"))) > 150


def test_layers_of_applications(keras):
    """Those that are in no namespace of layers."""
    package = f"{keras.__name__}.src.applications"
    convnext, inception = (
        importlib.import_module(f"{package}.{name}") for name in ("convnext", "inception_resnet_v2")
    )
    x, y = (np.random.default_rng(seed).normal(size=(2, 5, 4)).astype("float32") for seed in (0, 1))
    for layer, given in (
        (convnext.LayerScale(0.5, 4), [x]),
        (convnext.StochasticDepth(0.3), [x]),
        (inception.CustomScaleLayer(0.17), [x, y]),
    ):
        report = probe.check(layer, layer.name, given=given)
        assert report.ok and len(report.outputs) == 3, str(report)
