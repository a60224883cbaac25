"""Nets of Keras against ports to PyTorch, with the mistakes that porters make."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from keras_ports import (
    AttentionNet,
    ConvolutionalNet,
    DecoderNet,
    GatedNet,
    MobileNetV2,
    RecurrentNet,
    ResNet50,
    TwoWays,
)
from pair import Fault, Pair, Sources, at
from seeded import give_keras_weights, image, tokens

Faults = Mapping[str, tuple[Any, str, Sources]]
Build = Callable[[], tuple[Any, Any]]


def channels_first(x: np.ndarray) -> np.ndarray:
    """(batch, height, width, channels) as PyTorch has it."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def channels_last(x: np.ndarray) -> np.ndarray:
    """The other way round."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def ported(
    name: str,
    build: Build,
    port: Callable[[Any, Any], Any],
    healthy: Any,
    faults: Faults,
    **layout: Any,
) -> Pair:
    """A net of Keras and a port, which is told its mistakes, `healthy` when it has none."""

    def write(mistakes: Any, _folder: Path) -> Any:
        return port(build()[0], mistakes).eval()

    wrong = {
        fault: Fault(partial(write, mistakes), what, sources)
        for fault, (mistakes, what, sources) in faults.items()
    }
    return Pair(name, build, partial(write, healthy), wrong, **layout)


@cache
def convolutional() -> tuple[Any, Any]:
    """A plain convolutional net."""
    model = keras.Sequential(
        [
            keras.Input((20, 20, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem"),
            layers.BatchNormalization(name="stem_norm"),
            layers.Conv2D(12, 3, name="middle"),
            layers.LeakyReLU(0.3, name="leaky"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Conv2D(10, 2, activation="tanh", name="last"),
            layers.Flatten(name="flat"),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(16, activation="elu", name="square"),
            layers.Dense(6, activation="softmax", name="classes"),
        ],
        name="convolutional",
    )
    give_keras_weights(model, 4000, image(4001, 16, 20, 20, 3))
    return model, image(4002, 3, 20, 20, 3)


CONVOLUTIONAL = ported(
    "keras_convolutional",
    convolutional,
    ConvolutionalNet,
    frozenset(),
    {
        "flatten_order": (
            frozenset({"flatten order"}),
            "features are flattened with the channels first, the dense weights are not reordered",
            at("flat", "hidden"),
        ),
        "symmetric_padding": (
            frozenset({"symmetric padding"}),
            "padding 1 on all sides for `same` with stride 2",
            at("stem"),
        ),
        "default_epsilon": (
            frozenset({"default epsilon"}),
            "epsilon 1e-05 for 0.001",
            at("stem_norm"),
        ),
        "deviation": (
            frozenset({"deviation"}),
            "the moving variance's root is loaded as variance",
            at("stem_norm"),
        ),
        "slope": (frozenset({"slope"}), "leaky ReLU with slope 0.01 for 0.3", at("leaky")),
        "average_pooling": (
            frozenset({"average pooling"}),
            "average pooling for max pooling",
            at("pool"),
        ),
        "square_not_transposed": (
            frozenset({"square not transposed"}),
            "a square kernel is not transposed",
            at("square"),
        ),
        "kernel_mirrored": (
            frozenset({"kernel mirrored"}),
            "a kernel is mirrored left to right",
            at("middle"),
        ),
        "sigmoid": (frozenset({"sigmoid"}), "a sigmoid for the softmax", at("classes")),
        "two_faults": (
            frozenset({"slope", "no bias"}),
            "leaky ReLU with slope 0.01 for 0.3, and no bias in the last convolution",
            (("leaky",), ("last",)),
        ),
    },
    to_b=channels_first,
)


@cache
def mobile() -> tuple[Any, Any]:
    """MobileNetV2 at its narrowest."""
    model = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=10)
    give_keras_weights(model, 4100, image(4101, 8, 64, 64, 3))
    return model, image(4102, 2, 64, 64, 3)


MOBILE = ported(
    "keras_mobilenet_v2",
    mobile,
    MobileNetV2,
    {},
    {
        "depthwise_layout": (
            {2: "depthwise layout"},
            "a depthwise kernel is reshaped where its axes should be moved",
            at("block_2_depthwise"),
        ),
        "symmetric_padding": (
            {3: "symmetric padding"},
            "padding 1 on all sides before a depthwise convolution with stride 2",
            at("block_3_pad", "block_3_depthwise"),
        ),
        "no_shortcut": ({5: "no shortcut"}, "a shortcut is missing", at("block_5_add")),
        "relu_after_projection": (
            {1: "relu after projection"},
            "ReLU6 after a projection, which is linear",
            at("block_1_project_BN"),
        ),
        "gain_and_shift": (
            {7: "gain and shift"},
            "gamma and beta of one normalisation are exchanged",
            at("block_7_expand_BN"),
        ),
        "hard_swish": (
            {4: "hard swish"},
            "hard swish for ReLU6 in one block",
            at("block_4_depthwise_relu"),
        ),
        "rgb": ({-1: "rgb"}, "the first kernel is made for BGR", at("Conv1")),
        "two_faults": (
            {6: "large epsilon", -1: "maximum"},
            "epsilon 0.01 for 0.001 in one normalisation, the last pooling takes the maximum",
            (("block_6_expand_BN",), ("global_average_pooling2d",)),
        ),
    },
    to_b=channels_first,
)


@cache
def resnet() -> tuple[Any, Any]:
    """ResNet50 for ten classes."""
    model = keras.applications.ResNet50(
        weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None
    )
    give_keras_weights(model, 4200, image(4201, 8, 64, 64, 3))
    return model, image(4202, 2, 64, 64, 3)


RESNET = ported(
    "keras_resnet50",
    resnet,
    ResNet50,
    {},
    {
        "stride_of_the_middle": (
            {"conv3_block1": "stride of the middle"},
            "a block's stride is at its second convolution, as in torchvision",
            at("conv3_block1_1_conv", "conv3_block1_2_conv"),
        ),
        "epsilon": (
            {"conv2_block2": "large epsilon"},
            "epsilon 0.01 for 1.001e-05 in one normalisation",
            at("conv2_block2_1_bn"),
        ),
        "no_bias": (
            {"conv4_block2": "no bias"},
            "a convolution's bias is missing",
            at("conv4_block2_2_conv"),
        ),
        "relu_before_sum": (
            {"conv3_block3": "relu before sum"},
            "ReLU before a sum, not after",
            at("conv3_block3_add", "conv3_block3_out"),
        ),
        "no_statistics": (
            {"conv4_block4": "no statistics"},
            "the statistics of one normalisation were not loaded",
            at("conv4_block4_1_bn"),
        ),
        "two_faults": (
            {"conv4_block1": "no norm in the shortcut", "predictions": "no bias"},
            "the normalisation of a shortcut and the bias of the last layer are missing",
            (("conv4_block1_0_bn",), ("predictions",)),
        ),
    },
    to_b=channels_first,
)


def sequence(seed: int, *shape: int) -> np.ndarray:
    """Random walks of a moderate size."""
    steps = np.random.default_rng(seed).standard_normal(shape)
    return np.tanh(0.5 * steps.cumsum(1)).astype(np.float32)


@cache
def lstms() -> tuple[Any, Any]:
    """Two LSTMs."""
    model = keras.Sequential(
        [
            keras.Input((9, 6)),
            layers.LSTM(10, return_sequences=True, name="first"),
            layers.LSTM(8, name="second"),
            layers.Dense(4, name="out"),
        ],
        name="lstms",
    )
    return give_keras_weights(model, 4300), sequence(4301, 3, 9, 6)


LSTMS = ported(
    "keras_lstms",
    lstms,
    RecurrentNet,
    {},
    {
        "gate_order": (
            {"first": "gate order"},
            "candidate and output gate are exchanged",
            at("first"),
        ),
        "recurrent_kernel": (
            {"second": "recurrent kernel not transposed"},
            "the parts of the recurrent kernel are not transposed",
            at("second"),
        ),
        "forget_bias_again": (
            {"first": "forget bias again"},
            "one is added to the forget gate's bias, which holds it already",
            at("first"),
        ),
        "bias_twice": (
            {"second": "bias twice"},
            "the bias stands in both biases of PyTorch",
            at("second"),
        ),
        "cell_state": (
            {"second": "cell state"},
            "the last cell state for the last output",
            at("second"),
        ),
        "two_faults": (
            {"first": "bias twice", "second": "gate order"},
            "the first bias is added twice, gates of the second are exchanged",
            (("first",), ("second",)),
        ),
    },
)


@cache
def grus() -> tuple[Any, Any]:
    """A GRU that resets after its product, and one that resets before."""
    model = keras.Sequential(
        [
            keras.Input((8, 5)),
            layers.GRU(9, return_sequences=True, name="after"),
            layers.GRU(7, reset_after=False, name="before"),
            layers.Dense(4, activation="tanh", name="out"),
        ],
        name="grus",
    )
    return give_keras_weights(model, 4400), sequence(4401, 3, 8, 5)


GRUS = ported(
    "keras_grus",
    grus,
    GatedNet,
    {},
    {
        "gate_order": (
            {"after": "gate order"},
            "update and reset gate are exchanged",
            at("after"),
        ),
        "no_recurrent_bias": (
            {"after": "no recurrent bias"},
            "the recurrent bias is missing",
            at("after"),
        ),
        "reset_after": (
            {"before": "reset after"},
            "a GRU that resets before its product is ported as PyTorch's, which resets after",
            at("before"),
        ),
        "update": (
            {"before": "update"},
            "the update gate takes the new state where it keeps the old",
            at("before"),
        ),
    },
)


@cache
def bidirectional() -> tuple[Any, Any]:
    """A bidirectional LSTM, then a GRU."""
    model = keras.Sequential(
        [
            keras.Input((8, 5)),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="both"),
            layers.GRU(7, return_sequences=True, name="mix"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(4, name="out"),
        ],
        name="bidirectional",
    )
    return give_keras_weights(model, 4500), sequence(4501, 3, 8, 5)


BIDIRECTIONAL = ported(
    "keras_bidirectional",
    bidirectional,
    TwoWays,
    "",
    {
        "not_turned_back": (
            "not turned back",
            "what the backward LSTM puts out is not turned back",
            at("both"),
        ),
        "not_reversed": ("not reversed", "both LSTMs read forward", at("both")),
        "ways_exchanged": (
            "ways exchanged",
            "the weights of the two ways are exchanged",
            at("both"),
        ),
        "joined_otherwise": (
            "joined otherwise",
            "the two ways are joined in the other order",
            at("both"),
        ),
        "maximum_over_time": ("maximum over time", "the maximum for the mean", at("mean")),
        "gate_order": ("gate order", "update and reset gate of the GRU are exchanged", at("mix")),
    },
)


class Places(layers.Layer):
    """Adds an embedding of positions."""

    def build(self, shape: Any) -> None:
        """Make the weight."""
        self.position_embeddings = self.add_weight(shape=shape[1:], name="embeddings")

    def call(self, x: Any) -> Any:
        """Add."""
        return x + self.position_embeddings


@cache
def attention() -> tuple[Any, Any]:
    """An encoder of one block, causal."""
    ids = keras.Input((10,), dtype="int32", name="ids")
    x = layers.Embedding(50, 24, name="words")(ids)
    x = Places(name="places")(x)
    y = layers.MultiHeadAttention(3, 8, name="mixing")(x, x, use_causal_mask=True)
    x = layers.LayerNormalization(name="norm_1")(layers.Add(name="sum_1")([x, y]))
    y = layers.Dense(40, activation="gelu", name="wide")(x)
    y = layers.Dense(24, name="narrow")(y)
    x = layers.LayerNormalization(name="norm_2")(layers.Add(name="sum_2")([x, y]))
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    model = keras.Model(ids, layers.Dense(5, name="out")(x), name="attention")
    return give_keras_weights(model, 4600), tokens(4601, 3, 10, vocabulary=50).astype(np.int32)


ATTENTION = ported(
    "keras_attention",
    attention,
    AttentionNet,
    "",
    {
        "features_before_heads": (
            "features before heads",
            "features and heads of the kernels are exchanged",
            at("mixing"),
        ),
        "scale": ("scale", "scores are scaled by the model's width", at("mixing")),
        "no_mask": ("no mask", "the causal mask is missing", at("mixing")),
        "softmax_over_queries": (
            "softmax over queries",
            "the softmax runs over the queries",
            at("mixing"),
        ),
        "epsilon": ("epsilon", "epsilon 0.05 for 0.001 in one normalisation", at("norm_1")),
        "gelu_by_tanh": ("gelu by tanh", "GELU by tanh for the exact one", at("wide")),
        "no_places": ("no places", "the embedding of positions is missing", at("places")),
    },
)


@cache
def decoder() -> tuple[Any, Any]:
    """What makes an image larger."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 5)),
            layers.Conv2DTranspose(8, 3, strides=2, padding="same", name="grow"),
            layers.PReLU(shared_axes=[1, 2], name="slopes"),
            layers.GroupNormalization(4, name="groups"),
            layers.UpSampling2D(2, interpolation="bilinear", name="larger"),
            layers.Conv2D(7, 3, padding="same", dilation_rate=2, activation="silu", name="wide"),
            layers.Conv2D(3, 1, activation="tanh", name="image"),
        ],
        name="decoder",
    )
    return give_keras_weights(model, 4700), image(4701, 2, 6, 6, 5)


DECODER = ported(
    "keras_decoder",
    decoder,
    DecoderNet,
    frozenset(),
    {
        "turned": (
            frozenset({"turned"}),
            "the kernel of a transposed convolution is turned by 180 degrees",
            at("grow"),
        ),
        "cut_before": (
            frozenset({"cut before"}),
            "the first row and column of a transposed convolution are cut, not the last",
            at("grow"),
        ),
        "one_slope": (frozenset({"one slope"}), "one slope for all channels", at("slopes")),
        "groups": (frozenset({"groups"}), "two groups for four", at("groups")),
        "corners": (
            frozenset({"corners"}),
            "bilinear with aligned corners",
            at("larger"),
        ),
        "not_dilated": (
            frozenset({"not dilated"}),
            "a dilated convolution is not dilated",
            at("wide"),
        ),
        "two_faults": (
            frozenset({"corners", "softplus"}),
            "bilinear with aligned corners, softplus for SiLU behind it",
            (("larger",), ("wide",)),
        ),
    },
    to_b=channels_first,
    from_b=channels_last,
)


PAIRS = [
    CONVOLUTIONAL,
    MOBILE,
    RESNET,
    LSTMS,
    GRUS,
    BIDIRECTIONAL,
    ATTENTION,
    DECODER,
]
