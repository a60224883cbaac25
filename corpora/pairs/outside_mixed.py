"""Keras networks against their ONNX files and ports to PyTorch, and PyTorch against Keras.

Written from what goes wrong when networks are exported and ported by hand, without a look at how
they are compared. Layouts, the order of inputs and the way of gates and projections differ where
a right port would have them so.
"""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
from keras import layers
from onnxruntime.quantization import quantize_dynamic
from outside_vision import net, picture
from pair import Fault, Pair
from torch import nn
from torch.nn import functional

Make = Callable[..., keras.Model]
Edit = Callable[[keras.Model], Any]
Arrays = dict[str, list[np.ndarray]]
Wrong = tuple[str, tuple[tuple[str, ...], ...], dict[str, Any]]


def to_last(x: np.ndarray) -> np.ndarray:
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def to_first(x: np.ndarray) -> np.ndarray:
    """Channels first."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def weighted(model: keras.Model, seed: int) -> keras.Model:
    """The model with weights that keep the signal."""
    rng = np.random.default_rng(seed)
    for one in model.weights:
        noise = rng.normal(size=one.shape)
        if "seed" in one.path:
            continue
        if "moving_variance" in one.path:
            value = np.clip(1 + 0.3 * noise, 0.3, None)
        elif "gamma" in one.path:
            value = np.clip(1 + 0.25 * noise, 0.4, 1.6)
        elif len(one.shape) == 1 or "bias" in one.path or "moving_mean" in one.path:
            value = 0.25 * noise
        else:
            depthwise = len(one.shape) == 4 and "depthwise" in one.path
            reach = one.shape[:2] if depthwise else one.shape[:-1]
            value = noise * (1.7 / np.prod(reach)) ** 0.5
        one.assign(value.astype(np.float32))
    return model


def build(make: Make, seed: int, *shapes: tuple[int, ...]) -> Callable[[], tuple[Any, Any]]:
    """What builds a network of Keras and its input."""

    def made() -> tuple[keras.Model, Any]:
        inputs = tuple(to_last(picture(seed + i, *shape)) for i, shape in enumerate(shapes))
        return weighted(make(), seed), inputs[0] if len(inputs) == 1 else inputs

    return made


def exported(
    made: Callable[[], tuple[Any, Any]],
    make: Make,
    to_b: Callable[[Any], Any] = lambda x: x,
    *,
    edit: Edit | None = None,
    quantised: bool = False,
    opset: int | None = None,
    **options: Any,
) -> Callable[[Path], Path]:
    """What writes a network of Keras as an .onnx, built with other options, or edited."""

    def write(folder: Path) -> Path:
        first, x = made()
        model = make(**options)
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(first.get_layer(layer.name).get_weights())
        if edit is not None:
            edit(model)
        given = to_b(x)
        model(list(given) if isinstance(given, tuple) else given)
        path = folder / "second.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.export(str(path), format="onnx", verbose=False, opset_version=opset)
        if quantised:
            path.rename(folder / "float.onnx")
            quantize_dynamic(folder / "float.onnx", path)
        return path

    return write


def wrong(what: str, *names: str, **way: Any) -> Wrong:
    """A fault in one of these layers."""
    return what, (names,), way


def pair(
    name: str, make: Make, seed: int, shapes: Any, faults: dict[str, Wrong], **way: Any
) -> Pair:
    """A network of Keras and its .onnx."""
    shown = {key: way.pop(key) for key in ("to_b", "from_b", "rounding") if key in way}
    made, to_b = build(make, seed, *shapes), shown.get("to_b", lambda x: x)
    found = {
        fault: Fault(exported(made, make, to_b, **{**way, **other}), what, sources)
        for fault, (what, sources, other) in faults.items()
    }
    return Pair(name, made, exported(made, make, to_b, **way), found, **shown)


def change(layer: str, number: int, how: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """An edit of one weight of a layer."""

    def edit(model: keras.Model) -> None:
        values = model.get_layer(layer).get_weights()
        values[number] = how(values[number])
        model.get_layer(layer).set_weights(values)

    return edit


# Keras and its export.


def _separable(
    padding: str = "same", shortcut: bool = True, pool: Any = layers.MaxPooling2D, eps: float = 1e-3
) -> keras.Model:
    image = keras.Input((32, 32, 3), name="image")
    x = image
    if padding == "symmetric":
        x = layers.ZeroPadding2D(1)(x)
    entry = layers.Conv2D(
        12, 3, 2, padding="valid" if padding == "symmetric" else "same", name="entry"
    )
    x = layers.ReLU(name="entry_relu")(entry(x))
    short = layers.Conv2D(20, 1, 2, padding="same", name="short")(x)
    y = layers.SeparableConv2D(20, 3, padding="same", use_bias=False, name="sep1")(x)
    y = layers.BatchNormalization(name="sep1_norm", epsilon=eps)(y)
    y = layers.Activation("swish", name="sep1_act")(y)
    y = layers.SeparableConv2D(20, 3, padding="same", name="sep2")(y)
    y = pool(3, 2, padding="same", name="pool")(y)
    x = layers.Add(name="sum")([y, short]) if shortcut else y
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(9, name="scores")(x))


SEPARABLE = pair(
    "keras_separable",
    _separable,
    61,
    [(2, 3, 32, 32)],
    {
        "symmetric_padding": wrong(
            "the strided convolution is padded by one on each side, not at the end only",
            "entry",
            padding="symmetric",
        ),
        "average_pooling": wrong(
            "the pooling takes the average", "pool", pool=layers.AveragePooling2D
        ),
        "depthwise_transposed": wrong(
            "height and width of a depthwise kernel are exchanged",
            "sep2",
            edit=change("sep2", 0, lambda old: old.transpose(1, 0, 2, 3)),
        ),
        "epsilon": wrong(
            "the normalisation has epsilon 0.1 for 0.001", "sep1_norm", "sep1", eps=0.1
        ),
    },
)
SEPARABLE_QUANTISED = pair(
    "keras_separable_quantised",
    _separable,
    62,
    [(2, 3, 32, 32)],
    {
        "shortcut_forgotten": wrong("the shortcut is not added", "sum", shortcut=False),
        "pointwise_reversed": wrong(
            "the kernels of a pointwise part are in reverse order",
            "sep1",
            edit=change("sep1", 1, lambda old: old[..., ::-1]),
        ),
        "bgr": wrong(
            "the first kernel is made for BGR",
            "entry",
            edit=change("entry", 0, lambda old: old[:, :, ::-1]),
        ),
    },
    quantised=True,
    rounding=8e-2,
)


def _unet(
    interpolation: str = "bilinear", reversed_join: bool = False, slope: float = 0.2
) -> keras.Model:
    image = keras.Input((24, 32, 3), name="image")
    high = layers.Conv2D(10, 3, padding="same", activation="relu", name="enter")(image)
    x = layers.Conv2D(16, 3, 2, padding="same", name="down")(high)
    x = layers.LeakyReLU(negative_slope=slope, name="down_act")(x)
    x = layers.Conv2D(16, 3, padding="same", dilation_rate=2, name="middle")(x)
    up = layers.Conv2DTranspose(10, 3, 2, padding="same", name="transposed")(x)
    other = layers.UpSampling2D(2, interpolation=interpolation, name="resize")(x)
    parts = [high, up, other]
    x = layers.Concatenate(name="join")(parts[::-1] if reversed_join else parts)
    return keras.Model(image, layers.Conv2D(4, 3, padding="same", name="mask")(x))


def _join_weights(old: np.ndarray) -> np.ndarray:
    return np.concatenate((old[:, :, 10:20], old[:, :, :10], old[:, :, 20:]), 2)


UNET = pair(
    "keras_unet",
    _unet,
    63,
    [(1, 3, 24, 32)],
    {
        "nearest": wrong(
            "the interpolation takes the nearest neighbour", "resize", interpolation="nearest"
        ),
        "slope": wrong("a leaky ReLU with slope 0.01 for 0.2", "down_act", slope=0.01),
        "transposed_turned": wrong(
            "the kernel of the transposed convolution is turned by 180 degrees",
            "transposed",
            edit=change("transposed", 0, lambda old: old[::-1, ::-1]),
        ),
        "joined_otherwise": wrong(
            "the last kernel takes two of its three inputs in the other order",
            "mask",
            "join",
            edit=change("mask", 0, _join_weights),
        ),
    },
)


def _two_inputs(swap: bool = False, inputs_first: str = "image", act: str = "swish") -> keras.Model:
    image = keras.Input((16, 16, 3), name="image")
    depth = keras.Input((16, 16, 3), name="normals")
    parts = [depth, image] if swap else [image, depth]
    x = layers.Concatenate(name="join")(parts)
    x = layers.Conv2D(14, 3, padding="same", name="fuse")(x)
    x = layers.Activation(act, name="fuse_act")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Dense(14, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    x = layers.Conv2D(5, 1, name="out")(x)
    takes = [image, depth] if inputs_first == "image" else [depth, image]
    return keras.Model(takes, x)


TWO = pair(
    "keras_two_inputs_reordered",
    _two_inputs,
    64,
    [(1, 3, 16, 16), (1, 3, 16, 16)],
    {
        "inputs_exchanged": wrong(
            "the two inputs are joined in the other order", "join", swap=True
        ),
        "relu_for_swish": wrong("ReLU for swish", "fuse_act", act="relu"),
        "gate_rolled": wrong(
            "the gate's rows are rolled by one",
            "excite",
            edit=change("excite", 0, lambda old: np.roll(old, 1, 1)),
        ),
    },
    to_b=lambda x: (x[1], x[0]),
    inputs_first="normals",
)


def _rows(merge: str = "concat", reset_after: bool = True) -> keras.Model:
    image = keras.Input((8, 12, 4), name="image")
    x = layers.Conv2D(6, 3, padding="same", activation="tanh", name="conv")(image)
    x = layers.Reshape((8, 72), name="rows")(x)
    gru = layers.GRU(10, return_sequences=True, unroll=True, reset_after=reset_after)
    x = layers.Bidirectional(gru, merge_mode=merge, name="gru")(x)
    return keras.Model(image, layers.Dense(6, name="letters")(x))


def _gates_exchanged(old: np.ndarray) -> np.ndarray:
    z, r, h = np.split(old, 3, -1)
    return np.concatenate((r, z, h), -1)


ROWS = pair(
    "keras_bidirectional_gru",
    _rows,
    65,
    [(2, 4, 8, 12)],
    {
        "gates_exchanged": wrong(
            "update and reset gate of the backward kernel are exchanged",
            "gru",
            edit=change("gru", 3, _gates_exchanged),
        ),
        "recurrent_transposed": wrong(
            "a recurrent kernel's gates are each transposed",
            "gru",
            edit=change(
                "gru",
                1,
                lambda old: np.concatenate([one.T for one in np.split(old, 3, -1)], -1),
            ),
        ),
        "flattened_channels_first": wrong(
            "the rows were taken apart with the channels first",
            "rows",
            "gru",
            edit=change(
                "gru", 0, lambda old: old.reshape(12, 6, 30).transpose(1, 0, 2).reshape(72, 30)
            ),
        ),
    },
)


# Keras and a port to PyTorch by hand.


def ported(
    name: str,
    made: Callable[[], tuple[Any, Any]],
    port: Callable[[Arrays, str], nn.Module],
    faults: dict[str, tuple[str, tuple[str, ...]]],
    **shown: Any,
) -> Pair:
    """A network and its twin; `port` is told which mistake to make."""

    def write(mistake: str) -> Callable[[Path], Any]:
        def twin(folder: Path) -> Any:
            model, _ = made()
            arrays = {layer.name: layer.get_weights() for layer in model.layers}
            with torch.no_grad():
                return port(arrays, mistake).eval()

        return twin

    found = {fault: Fault(write(fault), what, (names,)) for fault, (what, names) in faults.items()}
    return Pair(name, made, write(""), found, **shown)


def put(module: nn.Module, *values: np.ndarray | None) -> None:
    """Weights and bias of a module."""
    for one, value in zip((module.weight, module.bias), values, strict=False):
        if value is not None:
            one.copy_(torch.tensor(np.ascontiguousarray(value)))


def put_conv(module: nn.Module, kernel: np.ndarray, bias: np.ndarray | None = None) -> None:
    """A kernel of Keras as PyTorch has it."""
    put(module, kernel.transpose(3, 2, 0, 1), bias)


def put_norm(module: nn.BatchNorm2d, values: list[np.ndarray]) -> None:
    """The four arrays of a normalisation."""
    put(module, values[0], values[1])
    module.running_mean.copy_(torch.tensor(values[2]))
    module.running_var.copy_(torch.tensor(values[3]))


def _lenet() -> keras.Model:
    image = keras.Input((20, 20, 3), name="image")
    x = layers.Rescaling(1 / 0.5, offset=-0.3, name="rescale")(image)
    x = layers.Conv2D(8, 5, name="conv1")(x)
    x = layers.BatchNormalization(name="norm1")(x)
    x = layers.ELU(name="act1")(x)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.AveragePooling2D(2, name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(24, activation="tanh", name="dense1")(x)
    return keras.Model(image, layers.Dense(7, name="dense2")(x))


class Rescale(nn.Module):
    """A scale and an offset."""

    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.offset


def _lenet_port(arrays: Arrays, mistake: str) -> nn.Module:
    twin = nn.Sequential()
    twin.add_module("prepare", Rescale(2.0, 0.3 if mistake == "offset" else -0.3))
    twin.add_module("c1", nn.Conv2d(3, 8, 5))
    twin.add_module("b1", nn.BatchNorm2d(8, eps=1e-1 if mistake == "epsilon" else 1e-3))
    twin.add_module("a1", nn.ELU())
    twin.add_module("p1", nn.MaxPool2d(2))
    twin.add_module("c2", nn.Conv2d(8, 12, 3, padding=1))
    twin.add_module("a2", nn.ReLU())
    twin.add_module("p2", nn.MaxPool2d(2) if mistake == "maximum" else nn.AvgPool2d(2))
    twin.add_module("flat", nn.Flatten())
    twin.add_module("d1", nn.Linear(192, 24))
    twin.add_module("a3", nn.Tanh())
    twin.add_module("d2", nn.Linear(24, 7))
    put_conv(twin.c1, *arrays["conv1"])
    put_norm(twin.b1, arrays["norm1"])
    kernel, bias = arrays["conv2"]
    put_conv(twin.c2, kernel.transpose(1, 0, 2, 3) if mistake == "transposed" else kernel, bias)
    kernel, bias = arrays["dense1"]
    if mistake != "flatten":
        kernel = kernel.reshape(4, 4, 12, 24).transpose(2, 0, 1, 3).reshape(192, 24)
    put(twin.d1, kernel.T, bias)
    put(twin.d2, arrays["dense2"][0].T, arrays["dense2"][1])
    return twin


LENET = ported(
    "keras_lenet_in_torch",
    build(_lenet, 66, (2, 3, 20, 20)),
    _lenet_port,
    {
        "flatten": (
            "the dense layer's rows were not permuted for channels that come first",
            ("dense1", "flatten"),
        ),
        "transposed": ("height and width of a kernel are exchanged", ("conv2",)),
        "epsilon": ("a normalisation with epsilon 0.1 for 0.001", ("norm1",)),
        "maximum": ("the second pooling takes the maximum", ("pool2",)),
        "offset": ("the image is moved by 0.3, not by -0.3", ("rescale",)),
    },
    to_b=to_first,
)


def _generator() -> keras.Model:
    image = keras.Input((6, 5, 12), name="code")
    x = layers.Conv2DTranspose(16, 4, 2, padding="same", use_bias=False, name="up1")(image)
    x = layers.BatchNormalization(name="norm1")(x)
    x = layers.LeakyReLU(negative_slope=0.2, name="act1")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(8, 4, 2, padding="same", name="up2")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="act2")(x)
    return keras.Model(image, layers.Conv2D(3, 3, padding="same", name="rgb")(x))


def _generator_port(arrays: Arrays, mistake: str) -> nn.Module:
    twin = nn.Sequential()
    twin.add_module("first", nn.ConvTranspose2d(12, 16, 4, 2, 1, bias=False))
    twin.add_module("first_norm", nn.BatchNorm2d(16, eps=1e-3))
    twin.add_module("first_act", nn.LeakyReLU(0.02 if mistake == "slope" else 0.2))
    twin.add_module("mix", nn.Conv2d(16, 16, 3, padding=1, groups=16))
    twin.add_module("second", nn.ConvTranspose2d(16, 8, 4, 2, 1))
    twin.add_module("second_act", nn.PReLU(8))
    twin.add_module("colour", nn.Conv2d(8, 3, 3, padding=1))
    turned = arrays["up1"][0].transpose(3, 2, 0, 1)
    put(twin.first, turned[:, :, ::-1, ::-1] if mistake == "turned" else turned)
    gamma, beta, mean, variance = arrays["norm1"]
    put_norm(twin.first_norm, [gamma, beta, mean, variance])
    if mistake == "order":
        put_norm(twin.first_norm, [beta, gamma, mean, variance])
    kernel, bias = arrays["depthwise"]
    if mistake == "halves":
        kernel = np.roll(kernel, 8, 2)
    put(twin.mix, kernel.transpose(2, 3, 0, 1), bias)
    kernel, bias = arrays["up2"]
    put(twin.second, kernel.transpose(3, 2, 0, 1), bias)
    twin.second_act.weight.copy_(torch.tensor(arrays["act2"][0].reshape(-1)))
    kernel, bias = arrays["rgb"]
    put_conv(twin.colour, kernel[..., ::-1] if mistake == "bgr" else kernel, bias)
    return twin


GENERATOR = ported(
    "keras_generator_in_torch",
    build(_generator, 67, (2, 12, 6, 5)),
    _generator_port,
    {
        "turned": ("the kernel of a transposed convolution is turned", ("up1",)),
        "order": ("gain and shift of a normalisation are exchanged", ("norm1",)),
        "halves": ("the halves of a depthwise kernel are exchanged", ("depthwise",)),
        "bgr": ("the last kernel's rows are in the order of BGR", ("rgb",)),
        "slope": ("a leaky ReLU with slope 0.02 for 0.2", ("act1",)),
    },
    to_b=to_first,
    from_b=to_last,
)


def _attention() -> keras.Model:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(24, 4, 4, name="patches")(image)
    x = layers.Reshape((16, 24), name="tokens")(x)
    for i in (1, 2):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}")(x)
        y = layers.MultiHeadAttention(3, 8, name=f"attention{i}")(y, y)
        x = layers.Add(name=f"sum{i}")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="last_norm")(x)
    return keras.Model(image, layers.Dense(6, name="scores")(x))


class Tokens(nn.Module):
    """Patches as rows, in front of attention with one projection for query, key and value."""

    def __init__(self, mistake: str) -> None:
        super().__init__()
        self.mistake = mistake
        self.patches = nn.Conv2d(3, 24, 4, 4)
        self.norms = nn.ModuleList(nn.LayerNorm(24, eps=1e-6) for _ in range(3))
        self.qkv = nn.ModuleList(nn.Linear(24, 72) for _ in range(2))
        self.proj = nn.ModuleList(nn.Linear(24, 24) for _ in range(2))
        self.scores = nn.Linear(24, 6)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        for i in range(2):
            made = self.mistake if i == 1 else ""
            parts = self.qkv[i](self.norms[i](x)).view(-1, 16, 3, 3, 8).permute(2, 0, 3, 1, 4)
            q, k, v = parts[0], parts[1], parts[2]
            scale = 24**-0.5 if made == "scale" else 8**-0.5
            y = (q @ k.transpose(-1, -2) * scale).softmax(-2 if made == "axis" else -1) @ v
            y = y if made == "heads" else y.transpose(1, 2)
            x = x + self.proj[i](y.reshape(-1, 16, 24))
        return self.scores(self.norms[2](x))


def _attention_port(arrays: Arrays, mistake: str) -> nn.Module:
    twin = Tokens(mistake)
    put_conv(twin.patches, *arrays["patches"])
    for i in range(2):
        put(twin.norms[i], *arrays[f"norm{i + 1}"])
        q, qb, k, kb, v, vb, out, bias = arrays[f"attention{i + 1}"]
        parts, biases = [q, k, v], [qb, kb, vb]
        if mistake == "key and value" and i == 0:
            parts, biases = [q, v, k], [qb, vb, kb]
        put(
            twin.qkv[i],
            np.concatenate([one.reshape(24, 24).T for one in parts]),
            np.concatenate([one.reshape(-1) for one in biases]),
        )
        put(twin.proj[i], out.reshape(24, 24).T, bias)
    gain = arrays["last_norm"][0]
    put(twin.norms[2], np.ones_like(gain) if mistake == "gain" else gain, arrays["last_norm"][1])
    put(twin.scores, arrays["scores"][0].T, arrays["scores"][1])
    return twin


ATTENTION = ported(
    "keras_attention_in_torch",
    build(_attention, 68, (2, 3, 16, 16)),
    _attention_port,
    {
        "scale": ("the scores are scaled by the width, not by that of a head", ("attention2",)),
        "axis": ("the softmax goes over the queries", ("attention2",)),
        "heads": ("the heads are not moved back behind the tokens", ("attention2",)),
        "key and value": ("key and value are exchanged", ("attention1",)),
        "gain": ("the last normalisation has no gain", ("last_norm",)),
    },
    to_b=to_first,
)


def _video() -> keras.Model:
    frames = keras.Input((4, 10, 12, 3), name="frames")
    x = layers.ConvLSTM2D(
        7, 3, padding="same", recurrent_activation="hard_sigmoid", name="recurrent"
    )(frames)
    x = layers.BatchNormalization(name="norm")(x)
    return keras.Model(frames, layers.Conv2D(4, 1, name="mask")(x))


class Video(nn.Module):
    """A convolutional LSTM, its four gates in one convolution over input and state."""

    def __init__(self, mistake: str) -> None:
        super().__init__()
        self.mistake = mistake
        self.gates = nn.Conv2d(10, 28, 3, padding=1)
        self.norm = nn.BatchNorm2d(7, eps=1e-3)
        self.mask = nn.Conv2d(7, 4, 1)

    def gate(self, x: torch.Tensor) -> torch.Tensor:
        if self.mistake == "hard sigmoid":
            return (0.2 * x + 0.5).clamp(0, 1)
        return functional.hardsigmoid(x)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        h = c = frames.new_zeros(len(frames), 7, *frames.shape[3:])
        for x in frames.unbind(1):
            i, f, g, o = self.gates(torch.cat((x, h), 1)).chunk(4, 1)
            c = self.gate(f) * c + self.gate(i) * g.tanh()
            h = self.gate(o) * c.tanh()
        return self.mask(self.norm(h))


def _video_port(arrays: Arrays, mistake: str) -> nn.Module:
    twin = Video(mistake)
    kernel, recurrent, bias = arrays["recurrent"]
    both = np.concatenate((kernel, recurrent), 2)
    if mistake == "gates":
        i, f, g, o = np.split(both, 4, -1)
        both = np.concatenate((i, f, o, g), -1)
    if mistake == "forget bias":
        bias = bias + np.repeat([0, 1, 0, 0], 7).astype(np.float32)
    put_conv(twin.gates, both, bias)
    gamma, beta, mean, variance = arrays["norm"]
    put_norm(twin.norm, [gamma, beta, mean * (mistake != "mean"), variance])
    put_conv(twin.mask, *arrays["mask"])
    return twin


def _frames() -> tuple[keras.Model, np.ndarray]:
    x = np.stack([to_last(picture(80 + i, 2, 3, 10, 12)) for i in range(4)], 1)
    return weighted(_video(), 69), x


VIDEO = ported(
    "keras_conv_lstm_in_torch",
    _frames,
    _video_port,
    {
        "gates": ("cell and output gate are exchanged", ("recurrent",)),
        "hard sigmoid": ("the hard sigmoid is that of older versions", ("recurrent",)),
        "forget bias": ("1 is added to the bias of the forget gate again", ("recurrent",)),
        "mean": ("the moving mean of the normalisation is 0", ("norm",)),
    },
    to_b=lambda x: np.ascontiguousarray(x.transpose(0, 1, 4, 2, 3)),
    from_b=to_last,
)


# PyTorch and a port to Keras.


class Strided(nn.Module):
    """Strided convolution and pooling, padded on each side, and group normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, 2, 1)
        self.norm1 = nn.GroupNorm(4, 12)
        self.act1 = nn.SiLU()
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2 = nn.Conv2d(12, 16, 3, padding=1, groups=2)
        self.norm2 = nn.BatchNorm2d(16)
        self.act2 = nn.ReLU6()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act1(self.norm1(self.conv1(x))))
        x = self.act2(self.norm2(self.conv2(x)))
        return self.fc(self.mean(x).flatten(1))


def in_keras(made: Callable[[], tuple[Any, Any]], mistake: str) -> Callable[[Path], Any]:
    """The same with channels last, in Keras."""

    def write(folder: Path) -> keras.Model:
        model, _ = made()
        one = {name: value.numpy() for name, value in model.state_dict().items()}
        image = keras.Input((32, 32, 3))
        x = image
        same = mistake == "same"
        x = x if same else layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(12, 3, 2, padding="same" if same else "valid", name="k_conv1")(x)
        groups = 3 if mistake == "groups" else 4
        x = layers.GroupNormalization(groups, epsilon=1e-5, name="k_norm1")(x)
        x = layers.Activation("silu")(x)
        if mistake == "zeros":
            x = layers.ZeroPadding2D(1)(x)
            x = layers.AveragePooling2D(3, 2)(x)
        else:
            # A border far below every value, as padding of a maximum has it.
            border = keras.ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1e30)
            x = layers.MaxPooling2D(3, 2)(border)
        x = layers.Conv2D(16, 3, padding="same", groups=2, name="k_conv2")(x)
        eps = 0.1 if mistake == "epsilon" else 1e-5
        x = layers.BatchNormalization(epsilon=eps, name="k_norm2")(x)
        x = layers.ReLU(None if mistake == "relu" else 6.0)(x)
        x = layers.GlobalAveragePooling2D()(x)
        second = keras.Model(image, layers.Dense(8, name="k_fc")(x))

        def kernel(name: str) -> np.ndarray:
            return one[f"{name}.weight"].transpose(2, 3, 1, 0)

        rows = kernel("conv2")
        if mistake == "halves":
            rows = np.roll(rows, 8, -1)
        norm = [one[f"norm2.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        second.get_layer("k_conv1").set_weights([kernel("conv1"), one["conv1.bias"]])
        second.get_layer("k_norm1").set_weights([one["norm1.weight"], one["norm1.bias"]])
        second.get_layer("k_conv2").set_weights([rows, one["conv2.bias"]])
        second.get_layer("k_norm2").set_weights(norm)
        second.get_layer("k_fc").set_weights([one["fc.weight"].T, one["fc.bias"]])
        return second

    return write


_strided = net(Strided, 70, (2, 3, 32, 32))
STRIDED = Pair(
    "torch_strided_in_keras",
    _strided,
    in_keras(_strided, ""),
    {
        mistake: Fault(in_keras(_strided, mistake), what, (names,))
        for mistake, what, names in (
            ("same", "padding at the end only in the strided convolution", ("conv1",)),
            ("groups", "a group normalisation with three groups for four", ("norm1",)),
            ("zeros", "the pooling takes the average, zeros at the border", ("pool",)),
            ("halves", "the two groups of a convolution's kernels are exchanged", ("conv2",)),
            ("epsilon", "a normalisation with epsilon 0.1 for 1e-05", ("norm2",)),
        )
    },
    to_b=to_last,
)


class Reader(nn.Module):
    """A convolution and an LSTM in both directions over the width of a line."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, (8, 3), padding=(0, 1))
        self.act = nn.Hardswish()
        self.lstm = nn.LSTM(6, 9, bidirectional=True, batch_first=True)
        self.letters = nn.Linear(18, 5)

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(line)).squeeze(2).transpose(1, 2)
        return self.letters(self.lstm(x)[0])


def reader_in_keras(mistake: str) -> Callable[[Path], Any]:
    """The same in Keras, the two biases of the LSTM added."""

    def write(folder: Path) -> keras.Model:
        model, _ = _reader()
        one = {name: value.numpy() for name, value in model.state_dict().items()}
        line = keras.Input((8, 20, 1))
        x = layers.ZeroPadding2D((0, 1))(line)
        x = layers.Conv2D(6, (8, 3), name="k_conv")(x)
        x = layers.Activation("relu6" if mistake == "relu6" else "hard_swish")(x)
        x = layers.Reshape((20, 6))(x)
        lstm = layers.LSTM(9, return_sequences=True)
        x = layers.Bidirectional(lstm, name="k_lstm")(x)
        second = keras.Model(line, layers.Dense(5, name="k_letters")(x))
        values = []
        for end in ("l0", "l0_reverse"):
            bias = one[f"lstm.bias_ih_{end}"] + one[f"lstm.bias_hh_{end}"]
            if mistake == "one bias":
                bias = one[f"lstm.bias_ih_{end}"]
            values += [one[f"lstm.weight_ih_{end}"].T, one[f"lstm.weight_hh_{end}"].T, bias]
        if mistake == "directions":
            values = values[3:] + values[:3]
        if mistake == "gates":
            i, f, g, o = np.split(values[1], 4, 1)
            values[1] = np.concatenate((i, g, f, o), 1)
        kernel = one["conv.weight"].transpose(2, 3, 1, 0)
        kernel = kernel[:, ::-1] if mistake == "mirrored" else kernel
        second.get_layer("k_conv").set_weights([kernel, one["conv.bias"]])
        second.get_layer("k_lstm").set_weights(values)
        second.get_layer("k_letters").set_weights([one["letters.weight"].T, one["letters.bias"]])
        return second

    return write


_reader = net(Reader, 71, (2, 1, 8, 20))
READER = Pair(
    "torch_reader_in_keras",
    _reader,
    reader_in_keras(""),
    {
        mistake: Fault(reader_in_keras(mistake), what, (names,))
        for mistake, what, names in (
            ("one bias", "only one of the LSTM's two biases was ported", ("lstm",)),
            ("directions", "the weights of the two directions are exchanged", ("lstm",)),
            ("gates", "forget and cell gate of a recurrent kernel are exchanged", ("lstm",)),
            ("mirrored", "a kernel is mirrored left to right", ("conv",)),
            ("relu6", "ReLU6 for hard swish", ("act",)),
        )
    },
    to_b=to_last,
)


PAIRS = [
    SEPARABLE,
    SEPARABLE_QUANTISED,
    UNET,
    TWO,
    ROWS,
    LENET,
    GENERATOR,
    ATTENTION,
    VIDEO,
    STRIDED,
    READER,
]
