"""Random layers of PyTorch and of Keras that are right: what no check may call different.

``FAMILIES`` holds, per family of ops, one function for each framework; it draws a layer, its
weights and its input, and gives the captured calls. Weights are also drawn sorted, all positive, or
as edge filters that add up to nothing; inputs also constant, far from zero, sparse and
heavy-tailed, over sixteen powers of two (four in half precision, whose range is small).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import ml_dtypes
import numpy as np
import torch
from torch import nn

import probe
from probe import Description, Step, ops
from probe.description import Ref
from probe.model import Capture

__all__ = ["FAMILIES", "computed_in", "filters", "nonsense", "of_keras", "of_torch", "values"]

Rng = np.random.Generator
Captures = list[Capture]
_dtype = "float32"


@contextmanager
def computed_in(dtype: str) -> Iterator[None]:
    """Layers that are drawn meanwhile compute in that precision: PyTorch's whole, Keras' by the
    mixed policy."""
    global _dtype
    before, policy = _dtype, keras.config.dtype_policy()
    _dtype = dtype
    keras.config.set_dtype_policy(dtype if dtype == "float32" else f"mixed_{dtype}")
    try:
        yield
    finally:
        _dtype = before
        keras.config.set_dtype_policy(policy)


def stored(x: np.ndarray) -> np.ndarray:
    """An input in the precision that is computed in."""
    return (
        x.astype(ml_dtypes.bfloat16 if _dtype == "bfloat16" else _dtype)
        if x.dtype.kind == "f"
        else x
    )


def nonsense(y: np.ndarray, exact: np.ndarray) -> Iterator[np.ndarray]:
    """What is no output of the layer that gave ``y``: zeros, y negated, halved, doubled, reversed
    and shifted along each axis.

    Not what leaves the output as it is without rounding, ``exact``: rows that are equal may be
    exchanged.
    """
    moves: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda y: 0 * y,
        lambda y: -y,
        lambda y: y / 2,
        lambda y: 2 * y,
        np.flip,
    ]
    moves += [partial(np.roll, shift=1, axis=axis) for axis in range(y.ndim)]
    return (
        move(y)
        for move in moves
        if not np.allclose(move(exact), exact, rtol=1e-9, atol=0, equal_nan=True)
    )


def values(rng: Rng, shape: Sequence[int]) -> np.ndarray:
    """An input in float32."""
    x = rng.normal(size=shape)
    kinds = {
        "normal": lambda: x,
        "positive": lambda: np.maximum(x, 0),
        "offset": lambda: x + 30,
        "constant": lambda: np.full(shape, float(rng.normal())),
        "sparse": lambda: x * (rng.random(shape) < 0.2),
        "tails": lambda: x**3,
    }
    power = rng.uniform(-8, 8) if _dtype == "float32" else rng.uniform(-3, 1)
    return (
        kinds[str(rng.choice(list(kinds), p=[0.4, 0.15, 0.15, 0.1, 0.1, 0.1]))]() * 2.0**power
    ).astype(np.float32)


def filters(rng: Rng, shape: Sequence[int], axes: tuple[int, ...]) -> np.ndarray:
    """Weights in float32 whose sums run over ``axes``."""
    w = rng.normal(size=shape) / np.sqrt(np.prod([shape[axis] for axis in axes]))
    kind = rng.choice(["normal", "sorted", "positive", "edge"], p=[0.55, 0.15, 0.15, 0.15])
    if kind == "edge":
        w = w - w.mean(axis=axes, keepdims=True)
    if kind == "positive":
        w = np.abs(w)
    if kind == "sorted":
        for axis in axes:
            w = np.sort(w, axis=axis)
    return w.astype(np.float32)


def of_torch(layer: nn.Module, *inputs: np.ndarray) -> Captures:
    """The calls of a PyTorch layer whose weights are drawn already."""
    calls: Captures = []
    probe.open_model(layer.eval().to(getattr(torch, _dtype))).run(
        [stored(x) for x in inputs], None, calls.append
    )
    return calls


def of_keras(layer: Any, *inputs: np.ndarray) -> Captures:
    """The calls of a single Keras layer."""
    calls: Captures = []
    probe.open_model(layer).run(inputs, None, calls.append)
    return calls


def drawn(rng: Rng, layer: nn.Module) -> nn.Module:
    """The layer with weights as they may come out of training."""
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if not tensor.dtype.is_floating_point:
                continue
            if name.endswith("running_var"):
                new = np.exp(2 * rng.normal(size=tensor.shape))
            elif tensor.ndim > 1:
                new = filters(rng, tensor.shape, tuple(range(1, tensor.ndim)))
            else:
                new = rng.normal(size=tensor.shape)
            tensor.copy_(torch.from_numpy(np.asarray(new, np.float32)))
    return layer


def built(rng: Rng, layer: Any, *inputs: np.ndarray) -> Captures:
    """The calls of a Keras layer after its weights are drawn."""
    layer.build([x.shape for x in inputs] if len(inputs) > 1 else inputs[0].shape)
    new = []
    for variable in layer.weights:
        shape = tuple(variable.shape)
        if "variance" in variable.path:
            new.append(np.exp(2 * rng.normal(size=shape)))
        elif len(shape) > 1:
            new.append(filters(rng, shape, tuple(range(len(shape) - 1))))
        else:
            new.append(rng.normal(size=shape))
    layer.set_weights(new)
    return of_keras(layer, *inputs)


def sizes(rng: Rng, rank: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(low, high + 1, size=rank))


def two_columns(spatial: Sequence[int], stride: Sequence[int]) -> Sequence[int]:
    """The shape of an image that a convolution makes no single column of in half precision.

    There PyTorch 2.13 and TensorFlow 2.21 give what was in memory, on a processor with AMX: it is
    no right layer.
    """
    return spatial if _dtype == "float32" else [*spatial[:-1], spatial[-1] + stride[-1]]


def torch_conv(rng: Rng, groups: int = 1) -> Captures:
    rank = int(rng.choice([1, 2, 2, 3]))
    kernel, dilation = sizes(rng, rank, 1, 5 if rank < 3 else 3), sizes(rng, rank, 1, 2)
    width = (
        groups * int(rng.integers(1, 65 if rank < 3 else 9))
        if groups == 1 or rng.random() < 0.5
        else groups
    )
    channels, stride = groups * int(rng.integers(1, 9)), sizes(rng, rank, 1, 3)
    padding = sizes(rng, rank, 0, 3)
    if _dtype == "float16":  # a window in the padding alone ends the process: oneDNN's issue 5942
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        padding = tuple(map(min, padding, reach))
    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank](
        width,
        channels,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bool(rng.random() < 0.7),
    )
    spatial = [
        (k - 1) * d + int(rng.integers(1, 9 if rank < 3 else 4))
        for k, d in zip(kernel, dilation, strict=True)
    ]
    spatial = two_columns(spatial, stride)
    return of_torch(drawn(rng, layer), values(rng, (int(rng.integers(1, 3)), width, *spatial)))


def keras_conv(rng: Rng) -> Captures:
    rank = int(rng.choice([1, 2, 2, 3]))
    kernel, dilated = sizes(rng, rank, 1, 5 if rank < 3 else 3), bool(rng.random() < 0.3)
    layer = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[rank](
        int(rng.integers(1, 17)),
        kernel,
        strides=1 if dilated else sizes(rng, rank, 1, 3),
        dilation_rate=2 if dilated else 1,
        padding=str(rng.choice(["same", "valid"])),
        use_bias=bool(rng.random() < 0.7),
    )
    spatial = [(k - 1) * (1 + dilated) + int(rng.integers(1, 9 if rank < 3 else 4)) for k in kernel]
    # TensorFlow gives every other column to a convolution of its own where it is dilated.
    spatial = two_columns(spatial, [n * (1 + dilated) for n in layer.strides])
    # TensorFlow's convolution of one channel to a single column with a stride is wrong, as plain
    # loops show: no healthy layer.
    return built(
        rng,
        layer,
        values(
            rng, (int(rng.integers(1, 3)), *spatial, int(rng.integers(2, 65 if rank < 3 else 9)))
        ),
    )


def torch_grouped(rng: Rng) -> Captures:
    return torch_conv(rng, int(rng.integers(2, 13)))


def keras_depthwise(rng: Rng) -> Captures:
    rank, multiplier, padding = (
        int(rng.integers(1, 3)),
        int(rng.integers(1, 4)),
        str(rng.choice(["same", "valid"])),
    )
    kernel, stride = int(rng.integers(1, 6)), int(rng.integers(1, 4))
    kind = {1: keras.layers.DepthwiseConv1D, 2: keras.layers.DepthwiseConv2D}[rank]
    layer = kind(kernel, strides=stride, depth_multiplier=multiplier, padding=padding)
    return built(
        rng,
        layer,
        values(
            rng, (int(rng.integers(1, 3)), *sizes(rng, rank, kernel, 14), int(rng.integers(1, 33)))
        ),
    )


def torch_dense(rng: Rng) -> Captures:
    width = int(rng.choice([rng.integers(1, 65), rng.integers(64, 2305)]))
    layer = drawn(rng, nn.Linear(width, int(rng.integers(1, 65)), bias=bool(rng.random() < 0.7)))
    return of_torch(layer, values(rng, (*sizes(rng, int(rng.integers(1, 4)), 1, 4), width)))


def keras_dense(rng: Rng) -> Captures:
    width = int(rng.choice([rng.integers(1, 65), rng.integers(64, 2305)]))
    layer = keras.layers.Dense(int(rng.integers(1, 65)), use_bias=bool(rng.random() < 0.7))
    return built(rng, layer, values(rng, (*sizes(rng, int(rng.integers(1, 4)), 1, 4), width)))


def torch_pool(rng: Rng) -> Captures:
    rank = int(rng.integers(1, 4))
    x = values(rng, (int(rng.integers(1, 3)), int(rng.integers(1, 9)), *sizes(rng, rank, 6, 12)))
    kernel, kind = int(rng.integers(1, 5)), int(rng.integers(4))
    how = {
        "stride": int(rng.integers(1, 4)),
        "padding": int(rng.integers(0, kernel // 2 + 1)),
        "ceil_mode": bool(rng.random() < 0.5),
    }
    layer = (
        lambda: getattr(nn, f"MaxPool{rank}d")(kernel, **how),
        lambda: getattr(nn, f"AvgPool{rank}d")(
            kernel, **how, count_include_pad=bool(rng.random() < 0.5)
        ),
        lambda: getattr(nn, f"AdaptiveAvgPool{rank}d")(int(rng.integers(1, 8))),
        lambda: getattr(nn, f"AdaptiveMaxPool{rank}d")(int(rng.integers(1, 8))),
    )[kind]()
    return of_torch(layer, x)


def keras_pool(rng: Rng) -> Captures:
    rank, name = (
        int(rng.integers(1, 4)),
        str(rng.choice(["Max", "Average", "GlobalMax", "GlobalAverage"])),
    )
    how = {
        "pool_size": int(rng.integers(1, 4)),
        "strides": int(rng.integers(1, 4)),
        "padding": str(rng.choice(["same", "valid"])),
    }
    layer = getattr(keras.layers, f"{name}Pooling{rank}D")(**({} if "Global" in name else how))
    return of_keras(
        layer,
        values(rng, (int(rng.integers(1, 3)), *sizes(rng, rank, 4, 12), int(rng.integers(1, 9)))),
    )


def torch_norm(rng: Rng) -> Captures:
    rank, groups, epsilon = (
        int(rng.integers(1, 4)),
        int(rng.integers(1, 5)),
        float(rng.choice([1e-3, 1e-5, 1e-6])),
    )
    shape = (int(rng.integers(2, 5)), groups * int(rng.integers(1, 17)), *sizes(rng, rank, 2, 9))
    layer = (
        lambda: getattr(nn, f"BatchNorm{rank}d")(shape[1], eps=epsilon),
        lambda: nn.LayerNorm(shape[-int(rng.integers(1, len(shape))) :], eps=epsilon),
        lambda: nn.GroupNorm(groups, shape[1], eps=epsilon),
    )[int(rng.integers(3))]()
    return of_torch(drawn(rng, layer), values(rng, shape))


def keras_norm(rng: Rng) -> Captures:
    rank, groups, epsilon = (
        int(rng.integers(1, 4)),
        int(rng.integers(1, 5)),
        float(rng.choice([1e-3, 1e-5, 1e-6])),
    )
    shape = (int(rng.integers(2, 5)), *sizes(rng, rank, 2, 9), groups * int(rng.integers(1, 17)))
    layer = (
        lambda: keras.layers.BatchNormalization(epsilon=epsilon),
        lambda: keras.layers.LayerNormalization(epsilon=epsilon),
        lambda: keras.layers.GroupNormalization(groups, epsilon=epsilon),
    )[int(rng.integers(3))]()
    return built(rng, layer, values(rng, shape))


_TORCH_ACTIVATIONS = (
    "CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish PReLU ReLU "
    "ReLU6 SELU SiLU Sigmoid Softplus "
    "Softshrink Softsign Tanh Tanhshrink"
).split()
_KERAS_ACTIVATIONS = (
    "celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu "
    "log_sigmoid mish relu relu6 selu sigmoid silu "
    "soft_shrink softplus softsign squareplus tanh tanh_shrink"
).split()


def torch_activation(rng: Rng) -> Captures:
    return of_torch(
        getattr(nn, str(rng.choice(_TORCH_ACTIVATIONS)))(),
        values(rng, sizes(rng, int(rng.integers(2, 5)), 1, 12)),
    )


def keras_activation(rng: Rng) -> Captures:
    layer = keras.layers.Activation(str(rng.choice(_KERAS_ACTIVATIONS)))
    return of_keras(layer, values(rng, sizes(rng, int(rng.integers(2, 5)), 1, 12)))


def torch_softmax(rng: Rng) -> Captures:
    shape = (*sizes(rng, int(rng.integers(1, 4)), 1, 8), 2 * int(rng.integers(1, 501)))
    kind = str(rng.choice(["Softmax", "LogSoftmax", "Softmin", "GLU"]))
    return of_torch(
        getattr(nn, kind)(dim=-1 if kind == "GLU" else int(rng.integers(len(shape)))),
        values(rng, shape),
    )


def keras_softmax(rng: Rng) -> Captures:
    shape = (*sizes(rng, int(rng.integers(1, 4)), 1, 8), 2 * int(rng.integers(1, 501)))
    layer = (
        lambda: keras.layers.Softmax(axis=int(rng.integers(1, len(shape)))),
        lambda: keras.layers.Activation("log_softmax"),
        lambda: keras.layers.Activation("glu"),
    )[int(rng.integers(3))]()
    return of_keras(layer, values(rng, shape))


def torch_merge(rng: Rng) -> Captures:
    """PyTorch merges by functions, which are no modules: the description is given by hand."""
    shape = sizes(rng, int(rng.integers(1, 5)), 1, 9)
    left, right = values(rng, shape), values(rng, shape)
    op, function = (
        (ops.Add(), torch.add),
        (ops.Sub(), torch.sub),
        (ops.Mul(), torch.mul),
        (ops.Max(), torch.maximum),
        (ops.Min(), torch.minimum),
        (ops.Concat(axis=len(shape) - 1), lambda *both: torch.cat(both, -1)),
    )[int(rng.integers(6))]
    kind = getattr(torch, _dtype)
    both = [torch.from_numpy(one).to(kind) for one in (left, right)]
    left, right = (one.float().numpy() for one in both)
    y = function(*both).float().numpy()
    step = Step(op, (Ref(-1, 0), Ref(-1, 1)))
    return [
        Capture("merge", function.__name__, 0, (left, right), (y,), _dtype, Description((step,)))
    ]


def keras_merge(rng: Rng) -> Captures:
    shape, count = sizes(rng, int(rng.integers(2, 5)), 1, 9), int(rng.integers(2, 5))
    kind = str(
        rng.choice(["Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"])
    )
    inputs = [values(rng, shape) for _ in range(2 if kind == "Subtract" else count)]
    return of_keras(getattr(keras.layers, kind)(), *inputs)


def torch_rearrange(rng: Rng) -> Captures:
    height, width = sizes(rng, 2, 2, 9)
    layer = (
        lambda: nn.Flatten(int(rng.integers(0, 3))),
        lambda: nn.Unflatten(1, (3, 4)),
        lambda: nn.PixelShuffle(2),
        lambda: nn.ChannelShuffle(3),
        lambda: nn.ReflectionPad2d(1),
        lambda: nn.ReplicationPad2d(2),
        lambda: nn.ConstantPad2d(int(rng.integers(0, 4)), 0.5),
        lambda: nn.CircularPad2d(1),
        lambda: nn.Upsample(scale_factor=int(rng.integers(1, 4))),
    )[int(rng.integers(9))]()
    return of_torch(layer, values(rng, (2, 12, height, width)))


def keras_rearrange(rng: Rng) -> Captures:
    height, width, channels = sizes(rng, 3, 3, 9)
    layer = (
        lambda: keras.layers.Flatten(),
        lambda: keras.layers.Permute(tuple(int(axis) for axis in 1 + rng.permutation(3))),
        lambda: keras.layers.Reshape((channels, -1)),
        lambda: keras.layers.Cropping2D(1),
        lambda: keras.layers.ZeroPadding2D(int(rng.integers(0, 4))),
        lambda: keras.layers.UpSampling2D(int(rng.integers(1, 4))),
    )[int(rng.integers(6))]()
    return of_keras(layer, values(rng, (2, height, width, channels)))


SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)


def torch_edges(rng: Rng) -> Captures:
    """Sobel filters, and ones that add up to nothing, on images of one grey value."""
    channels, size = int(rng.integers(1, 65)), int(rng.choice([3, 5]))
    layer = nn.Conv2d(
        channels, 4, size, padding=int(rng.integers(0, 2)), bias=bool(rng.random() < 0.5)
    )
    w = rng.normal(size=layer.weight.shape)
    w = (
        SOBEL * rng.normal(size=(4, channels, 1, 1))
        if size == 3 and rng.random() < 0.5
        else w - w.mean(axis=(1, 2, 3), keepdims=True)
    )
    layer.weight.data = torch.from_numpy(w.astype(np.float32))
    return of_torch(
        layer, np.full((1, channels, 9, 9), rng.normal() * 2.0 ** rng.uniform(-8, 8), np.float32)
    )


def keras_edges(rng: Rng) -> Captures:
    channels, size = int(rng.integers(1, 65)), int(rng.choice([3, 5]))
    layer, x = (
        keras.layers.Conv2D(4, size, padding="same", use_bias=False),
        np.full((1, 9, 9, channels), rng.normal(), np.float32),
    )
    layer.build(x.shape)
    w = rng.normal(size=(size, size, channels, 4))
    layer.set_weights([(w - w.mean(axis=(0, 1, 2))).astype(np.float32)])
    return of_keras(layer, x)


def torch_sorted(rng: Rng) -> Captures:
    """Terms of one sign first: weights in ascending order, and inputs that are all positive or in
    order too."""
    width = int(rng.integers(64, 2305))
    layer = drawn(rng, nn.Linear(width, 8))
    layer.weight.data = torch.sort(layer.weight.data, dim=1).values
    x = np.sort(values(rng, (4, width)), axis=1)
    return of_torch(layer, np.abs(x) if rng.random() < 0.5 else x)


def keras_sorted(rng: Rng) -> Captures:
    width = int(rng.integers(8, 257))
    layer, x = keras.layers.Conv2D(8, 3), np.abs(values(rng, (1, 6, 6, width)))
    layer.build(x.shape)
    layer.set_weights(
        [
            np.sort(rng.normal(size=(3 * 3 * width, 8)), axis=0)
            .reshape(3, 3, width, 8)
            .astype(np.float32),
            np.zeros(8),
        ]
    )
    return of_keras(layer, x)


FAMILIES: dict[str, tuple[Callable[[Rng], Captures], Callable[[Rng], Captures]]] = {
    "convolution": (torch_conv, keras_conv),
    "grouped and depthwise": (torch_grouped, keras_depthwise),
    "dense": (torch_dense, keras_dense),
    "pooling": (torch_pool, keras_pool),
    "normalisation": (torch_norm, keras_norm),
    "activation": (torch_activation, keras_activation),
    "softmax and kin": (torch_softmax, keras_softmax),
    "merge": (torch_merge, keras_merge),
    "rearrange": (torch_rearrange, keras_rearrange),
    "edge filters on constant images": (torch_edges, keras_edges),
    "sorted weights": (torch_sorted, keras_sorted),
}
