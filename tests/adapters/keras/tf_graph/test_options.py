"""Functions of TensorFlow with options drawn at random: what a description reads of each is what
TensorFlow does with it."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import probe


def numbers(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype("float32")


def sliced(draw):
    shape = [draw.randint(2, 7) for _ in range(draw.randint(1, 4))]

    def part(size):
        kind = draw.choice(["all", "one", "some", "back", "from the end"])
        if kind == "one":
            return draw.randrange(-size, size)
        if kind == "back":
            return slice(None, None, -draw.randint(1, 2))
        if kind == "from the end":
            return slice(-draw.randint(1, size), None)
        start = draw.randrange(size)
        some = slice(start, draw.randint(start + 1, size + 2), draw.randint(1, 3))
        return some if kind == "some" else slice(None)

    key = [part(size) for size in shape]
    if draw.random() < 0.4:
        key.insert(draw.randint(0, len(key)), None)
    if draw.random() < 0.3:
        key[draw.randrange(len(key)) :] = [...]
    return lambda x: x[tuple(key)] + tf.zeros([], x.dtype), [numbers(*shape)]


def padded(draw):
    shape = [draw.randint(3, 6) for _ in range(draw.randint(1, 4))]
    mode = draw.choice(["CONSTANT", "REFLECT", "SYMMETRIC"])
    pads = [[draw.randint(0, 2), draw.randint(0, 2)] for _ in shape]
    value = draw.choice([0, 1.5, -3.0]) if mode == "CONSTANT" else 0
    return lambda x: tf.pad(x, pads, mode, constant_values=value), [numbers(*shape)]


def convolved(draw):
    rank = draw.randint(1, 3)
    sizes = [draw.randint(4, 8) for _ in range(rank)]
    window = [draw.randint(1, 3) for _ in range(rank)]
    channels, filters = draw.randint(1, 4), draw.randint(1, 5)
    strides = [draw.randint(1, 2) for _ in range(rank)]
    dilations = [1] * rank
    if draw.random() < 0.4 and rank < 3:
        strides, dilations = [1] * rank, [draw.randint(1, 2) for _ in range(rank)]
    x, kernel = numbers(2, *sizes, channels), numbers(*window, channels, filters)
    padding = draw.choice(["SAME", "VALID"])
    if any((k - 1) * d >= n for k, d, n in zip(window, dilations, sizes, strict=True)):
        padding = "SAME"
    call = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}[rank]
    spread = [1, *strides, 1] if rank == 3 else strides if rank == 2 else strides[0]
    wide = [1, *dilations, 1] if rank == 3 else dilations if rank == 2 else dilations[0]
    if draw.random() < 0.5:  # the kernel is another input, which has a batch axis in Keras
        return (
            lambda x, k: call(x, k[0], spread, padding, dilations=wide),
            [x, np.stack([kernel, kernel])],
        )
    return lambda x: call(x, kernel, spread, padding, dilations=wide), [x]


def convolved_explicitly(draw):
    pads = [[0, 0], *([draw.randint(0, 2), draw.randint(0, 2)] for _ in range(2)), [0, 0]]
    strides, kernel = [draw.randint(1, 2), draw.randint(1, 3)], numbers(3, 2, 4, 5)
    return lambda x: tf.nn.conv2d(x, kernel, strides, pads), [numbers(2, 6, 5, 4)]


def depthwise(draw):
    stride = draw.randint(1, 2)
    dilations = [1, 1] if stride > 1 else [draw.randint(1, 2) for _ in range(2)]
    kernel = numbers(draw.randint(1, 3), draw.randint(1, 3), 3, draw.randint(1, 3))
    padding = draw.choice(["SAME", "VALID"])
    return (
        lambda x: tf.nn.depthwise_conv2d(
            x, kernel, [1, stride, stride, 1], padding, dilations=dilations
        ),
        [numbers(2, 8, 7, 3)],
    )


def transposed(draw):
    strides = [draw.randint(1, 3) for _ in range(2)]
    window = [draw.randint(1, 4) for _ in range(2)]
    padding = draw.choice(["SAME", "VALID"])
    sizes = [4, 5]
    if padding == "SAME":
        out = [n * s - draw.randrange(s) for n, s in zip(sizes, strides, strict=True)]
    else:
        out = [
            (n - 1) * s + k + draw.randrange(s)
            for n, s, k in zip(sizes, strides, window, strict=True)
        ]
    kernel = numbers(*window, 3, 4)
    return (
        lambda x: tf.nn.conv2d_transpose(x, kernel, [2, *out, 3], strides, padding),
        [numbers(2, *sizes, 4)],
    )


def pooled(draw):
    rank = draw.randint(1, 3)
    kind = draw.choice(["max", "avg"])
    sizes = [draw.randint(4, 8) for _ in range(rank)]
    window, strides = ([draw.randint(1, 3) for _ in range(rank)] for _ in range(2))
    padding = draw.choice(["SAME", "VALID"])
    pool = getattr(tf.nn, f"{kind}_pool{rank}d")
    return lambda x: pool(x, window, strides, padding), [numbers(2, *sizes, 3)]


def reduced(draw):
    shape = [draw.randint(1, 5) for _ in range(draw.randint(1, 4))]
    name = draw.choice("sum mean max min prod logsumexp std variance euclidean_norm".split())
    count = draw.randint(0, len(shape))
    axes = [k - draw.choice([0, len(shape)]) for k in draw.sample(range(len(shape)), count)]
    keep = draw.random() < 0.5
    function = getattr(tf.math, f"reduce_{name}")
    return lambda x: function(x, axis=axes or None, keepdims=keep), [numbers(*shape)]


def gathered(draw):
    shape = [draw.randint(2, 5) for _ in range(draw.randint(2, 4))]
    batch_dims = draw.randint(0, 1)
    axis = draw.randint(batch_dims, len(shape) - 1)
    count = [draw.randint(1, 4) for _ in range(draw.randint(1, 2))]
    lead = shape[:batch_dims]
    at = np.random.default_rng(draw.randrange(99)).integers(0, shape[axis], lead + count)
    return (
        lambda x, at: tf.gather(x, at, axis=axis, batch_dims=batch_dims),
        [numbers(*shape), at.astype("int32")],
    )


def multiplied(draw):
    lead = [draw.randint(1, 3) for _ in range(draw.randint(0, 2))]
    rows, inner, columns = (draw.randint(1, 5) for _ in range(3))
    left, right = draw.random() < 0.5, draw.random() < 0.5
    one = [*lead, *((inner, rows) if left else (rows, inner))]
    other = [*(lead if draw.random() < 0.7 else [1 for _ in lead])]
    other += (columns, inner) if right else (inner, columns)
    return (
        lambda x, y: tf.matmul(x, y, transpose_a=left, transpose_b=right),
        [numbers(*one), numbers(*other)],
    )


def cumulated(draw):
    shape = [draw.randint(2, 5) for _ in range(draw.randint(1, 3))]
    axis, exclusive, reverse = (
        draw.randrange(len(shape)),
        draw.random() < 0.5,
        draw.random() < 0.5,
    )
    function = draw.choice([tf.math.cumsum, tf.math.cumprod])
    return lambda x: function(x, axis, exclusive, reverse), [numbers(*shape)]


def split(draw):
    shape = [draw.randint(1, 4) for _ in range(3)]
    axis = draw.randrange(3)
    parts = [draw.randint(1, 3) for _ in range(draw.randint(2, 3))]
    shape[axis] = sum(parts)
    if draw.random() < 0.5:
        parts[draw.randrange(len(parts))] = -1
    return lambda x: tf.split(x, parts, axis), [numbers(*shape)]


def hot(draw):
    depth, axis = draw.randint(2, 5), draw.randint(-1, 2)
    on, off = draw.choice([(1.0, 0.0), (2.0, -1.0), (0.5, 0.0)])
    at = np.random.default_rng(depth).integers(-1, depth + 1, (3, 4)).astype("int32")
    return lambda x: tf.one_hot(x, depth, on, off, axis), [at]


def normalised(draw):
    training, epsilon = draw.random() < 0.5, draw.choice([1e-3, 0.1])
    scale, offset, mean, variance = numbers(4, 3)
    given = {} if training else {"mean": mean, "variance": np.abs(variance)}
    return (
        lambda x: tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, epsilon=epsilon, is_training=training, **given
        )[0],
        [numbers(2, 5, 6, 3)],
    )


def patched(draw):
    sizes, strides = ([1, draw.randint(1, 3), draw.randint(1, 3), 1] for _ in range(2))
    rates = [1, draw.randint(1, 2), draw.randint(1, 2), 1]
    padding = draw.choice(["SAME", "VALID"])
    return (
        lambda x: tf.image.extract_patches(x, sizes, strides, rates, padding),
        [numbers(2, 7, 8, 2)],
    )


def diagonal(draw):
    low = draw.randint(-2, 2)
    k = draw.choice([low, (low, draw.randint(low, 3))])
    align = draw.choice(["RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT"])
    return lambda x: tf.linalg.diag_part(x, k=k, align=align), [numbers(2, 5, 6)]


def moved(draw):
    shape = [draw.randint(2, 4) for _ in range(3)]
    perm, axes = draw.sample(range(3), 3), draw.sample(range(3), draw.randint(1, 3))
    shifts = [draw.randint(-4, 4) for _ in axes]
    return (
        lambda x: tf.reverse(tf.roll(tf.transpose(x, perm), shifts, axes), axes[:1]),
        [numbers(*shape)],
    )


def banded(draw):
    lower, upper = draw.randint(-1, 3), draw.randint(-1, 3)
    return lambda x: tf.linalg.band_part(x, lower, upper), [numbers(2, 4, 5)]


def best(draw):
    k = draw.randint(1, 6)
    return lambda x: tuple(tf.math.top_k(x, k)), [numbers(2, 6)]


def resized(draw):
    method = draw.choice(["bilinear", "nearest", "area", "bicubic"])
    size = [draw.randint(1, 12) for _ in range(2)]
    return lambda x: tf.image.resize(x, size, method), [numbers(2, 6, 5, 3)]


DRAWN = (
    sliced,
    padded,
    convolved,
    convolved_explicitly,
    depthwise,
    transposed,
    pooled,
    reduced,
    gathered,
    multiplied,
    cumulated,
    split,
    hot,
    normalised,
    patched,
    diagonal,
    moved,
    banded,
    best,
    resized,
)
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(1, 25))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("drawn", DRAWN)
def test_options(drawn, seed):
    function, given = drawn(random.Random(f"{drawn.__name__} {seed}"))
    several = len(given) > 1
    layer = keras.layers.Lambda(
        (lambda inputs: function(*inputs)) if several else function, name="mine"
    )
    report = probe.check(layer, "mine", given=given if several else given[0])
    assert report.ok and list(report.outputs) == ["framework", "numpy", "onnx"], str(report)
