"""Copies and exports in half precision with a fault inside; the precision itself is none."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from attention_exports import CONVNEXT, VIT
from convolutional_exports import RESNET, SQUEEZE
from edits import (
    Edit,
    both,
    exchanged,
    forward,
    option,
    put,
    removed,
    rows_exchanged,
    scaled,
    tensor,
)
from exports import exported
from keras_pairs import attention, convolutional
from pair import Fault, Pair, Sources, at
from torch import nn
from transformer_pairs import bert, bert_build, copied, half

Change = Callable[[list[np.ndarray]], list[np.ndarray]]


def _block(index: int, rest: str = "") -> str:
    return f"encoder.layers.encoder_layer_{index}{rest}"


def _without_shortcut(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


RESNET_BFLOAT16 = copied(
    "resnet18_bfloat16",
    RESNET,
    {
        "no_shortcut": (
            forward("layer3.1", _without_shortcut),
            "the shortcut of a block is missing",
            at("layer3.1", "layer3.1.relu"),
        ),
        "kernel_mirrored": (
            tensor("layer2.1.conv1.weight", lambda old: old.flip(3)),
            "a kernel is mirrored left to right",
            at("layer2.1.conv1"),
        ),
        "statistics": (
            tensor("layer1.0.bn1.running_mean", torch.zeros_like),
            "the moving mean of one normalisation is 0",
            at("layer1.0.bn1"),
        ),
        "rows_exchanged": (
            rows_exchanged("layer4.0.conv1.weight", 10, 200),
            "two output channels of a convolution are exchanged",
            at("layer4.0.conv1"),
        ),
        "two_faults": (
            both(
                scaled("layer1.1.conv1.weight", 20, 3.0),
                put("avgpool", lambda old: nn.AdaptiveMaxPool2d(1)),
            ),
            "a row of a kernel is tripled, the last pooling takes the maximum",
            (("layer1.1.conv1",), ("avgpool",)),
        ),
    },
    half(torch.bfloat16),
    0.1,
)
VIT_BFLOAT16 = copied(
    "vit_bfloat16",
    VIT,
    {
        "heads": (
            option(_block(1, ".self_attention"), num_heads=8, head_dim=8),
            "eight heads for four",
            at(_block(1, ".self_attention")),
        ),
        "relu": (
            put(_block(0, ".mlp.1"), lambda old: nn.ReLU()),
            "ReLU for GELU in one block",
            at(_block(0, ".mlp.1")),
        ),
        "no_norm": (
            removed(_block(2, ".ln_2")),
            "a normalisation is missing",
            at(_block(2, ".ln_2")),
        ),
        "dense_layers_of_another": (
            exchanged(_block(0, ".mlp.0.weight"), _block(1, ".mlp.0.weight")),
            "the weights of two blocks' dense layers are exchanged",
            ((_block(0, ".mlp.0"),), (_block(1, ".mlp.0"),)),
        ),
    },
    half(torch.bfloat16),
    0.1,
)
BERT_BFLOAT16 = copied(
    "bert_bfloat16",
    bert_build,
    {
        "norm_without_shift": (
            tensor(bert(1, ".output.LayerNorm.bias"), torch.zeros_like),
            "the shift of one norm is missing",
            at(bert(1, ".output.LayerNorm")),
        ),
        "scale": (
            option(bert(0, ".attention.self"), scaling=0.125),
            "scores are scaled by 0.125 for 0.354",
            at(bert(0, ".attention.self")),
        ),
        "query_rows": (
            tensor(bert(2, ".attention.self.query.weight"), lambda old: old.roll(8, 0)),
            "the queries' heads are moved by one",
            at(bert(2, ".attention.self.query")),
        ),
    },
    half(torch.bfloat16),
    0.1,
)


def _half_export(
    name: str, build: Any, way: str, faults: Mapping[str, tuple[Edit, str, Sources]]
) -> Pair:
    kind = torch.float16
    wrong = {
        fault: Fault(exported(build, way, edit, kind=kind), what, sources)
        for fault, (edit, what, sources) in faults.items()
    }
    return Pair(name, build, exported(build, way, kind=kind), wrong, rounding=2e-2)


SQUEEZE_FLOAT16 = _half_export(
    "squeezenet_float16_export",
    SQUEEZE,
    "kept",
    {
        "kernel_turned": (
            tensor("features.4.expand3x3.weight", lambda old: old.flip(2, 3)),
            "a kernel is turned by 180 degrees",
            at("features.4.expand3x3"),
        ),
        "bias_doubled": (
            tensor("features.6.expand1x1.bias", lambda old: 2 * old + 0.2),
            "a bias is doubled and greater by 0.2",
            at("features.6.expand1x1"),
        ),
        "two_faults": (
            both(
                removed("features.1"),
                tensor("classifier.1.weight", lambda old: old.roll(1, 0)),
            ),
            "the first ReLU is missing, the rows of the last convolution are moved by one",
            (("features.1",), ("classifier.1",)),
        ),
    },
)
CONVNEXT_FLOAT16 = _half_export(
    "convnext_float16_export",
    CONVNEXT,
    "kept",
    {
        "silu": (
            put("features.1.0.block.4", lambda old: nn.SiLU()),
            "SiLU for GELU in one block",
            at("features.1.0.block.4"),
        ),
        "layer_scale": (
            tensor("features.3.1.layer_scale", torch.ones_like),
            "the layer scale of one block is 1",
            at("features.3.1"),
        ),
        "dilated": (
            option("features.1.1.block.0", dilation=(2, 2), padding=(6, 6)),
            "a depthwise convolution is dilated, its padding keeps the shape",
            at("features.1.1.block.0"),
        ),
    },
)


def cloned(
    name: str,
    build: Callable[[], tuple[Any, Any]],
    dtype: str,
    faults: Mapping[str, tuple[Mapping[str, Any], str, Sources]],
    rounding: float,
) -> Pair:
    """A net of Keras and its clone; a fault changes a layer's configuration, or its weights."""

    def write(changes: Mapping[str, Any], _folder: Path) -> Any:
        model, _ = build()

        def clone(layer: Any) -> Any:
            config = layer.get_config()
            if not isinstance(layer, keras.layers.InputLayer):
                config["dtype"] = dtype
            change = changes.get(layer.name, {})
            if isinstance(change, dict):
                assert all(config[key] != value for key, value in change.items())
                config.update(change)
            return type(layer).from_config(config)

        ours = keras.models.clone_model(model, clone_function=clone)
        for theirs in model.layers:
            weights, change = theirs.get_weights(), changes.get(theirs.name)
            weights = change(weights) if callable(change) else weights
            ours.get_layer(theirs.name).set_weights(weights)
        return ours

    wrong = {
        fault: Fault(partial(write, changes), what, sources)
        for fault, (changes, what, sources) in faults.items()
    }
    return Pair(name, build, partial(write, {}), wrong, rounding=rounding)


def _mirrored(weights: list[np.ndarray]) -> list[np.ndarray]:
    return [weights[0][:, ::-1], *weights[1:]]


def _second_row_larger(weights: list[np.ndarray]) -> list[np.ndarray]:
    kernel = weights[0].copy()
    kernel[..., 1] *= 1.5
    return [kernel, *weights[1:]]


def _statistics_exchanged(weights: list[np.ndarray]) -> list[np.ndarray]:
    gain, shift, mean, var = weights
    return [gain, shift, mean[::-1], var[::-1]]


def _no_bias(weights: list[np.ndarray]) -> list[np.ndarray]:
    return [*weights[:-1], np.zeros_like(weights[-1])]


KERAS_FLOAT16 = cloned(
    "keras_convolutional_float16",
    convolutional,
    "float16",
    {
        "slope": (
            {"leaky": {"negative_slope": 0.1}},
            "leaky ReLU with slope 0.1 for 0.3",
            at("leaky"),
        ),
        "row": ({"middle": _second_row_larger}, "a kernel is 1.5 times as large", at("middle")),
        "statistics": (
            {"stem_norm": _statistics_exchanged},
            "the statistics of a normalisation are in reverse order",
            at("stem_norm"),
        ),
        "two_faults": (
            {"last": {"activation": "sigmoid"}, "square": _no_bias},
            "a sigmoid for tanh, and the bias of a dense layer is missing",
            (("last",), ("square",)),
        ),
    },
    2e-2,
)
KERAS_CLONE = cloned(
    "keras_convolutional_clone",
    convolutional,
    "float32",
    {
        "mirrored": ({"middle": _mirrored}, "a kernel is mirrored", at("middle")),
        "epsilon": (
            {"stem_norm": {"epsilon": 1e-2}},
            "epsilon 0.01 for 0.001",
            at("stem_norm"),
        ),
        "no_bias": ({"hidden": _no_bias}, "the bias of a dense layer is missing", at("hidden")),
    },
    1e-5,
)
ATTENTION_BFLOAT16 = cloned(
    "keras_attention_bfloat16",
    attention,
    "bfloat16",
    {
        "relu": ({"wide": {"activation": "relu"}}, "ReLU for GELU", at("wide")),
        "epsilon": ({"norm_2": {"epsilon": 0.5}}, "epsilon 0.5 for 0.001", at("norm_2")),
        "places": (
            {"places": lambda weights: [weights[0][::-1]]},
            "the embeddings of positions are in reverse order",
            at("places"),
        ),
    },
    0.1,
)


PAIRS = [
    RESNET_BFLOAT16,
    VIT_BFLOAT16,
    BERT_BFLOAT16,
    SQUEEZE_FLOAT16,
    CONVNEXT_FLOAT16,
    KERAS_FLOAT16,
    KERAS_CLONE,
    ATTENTION_BFLOAT16,
]
