"""Code that calls TensorFlow itself is followed through the graph that TensorFlow traces of it: one
function after the other, with options drawn at random."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import probe

RNG = np.random.default_rng(0)


def numbers(*shape, low=None, dtype="float32"):
    drawn = np.random.default_rng(sum(shape)).normal(size=shape)
    return (drawn if low is None else np.abs(drawn) + low).astype(dtype)


X, Z = numbers(3, 4, 6), numbers(3, 4, 6) * 2 - 0.3
IMAGE, SERIES = numbers(2, 8, 9, 4), numbers(2, 11, 3)
POSITIVE = numbers(3, 4, 6, low=0.1)
IDS = np.random.default_rng(1).integers(0, 4, size=(3, 5)).astype("int32")
TABLE, KERNEL = numbers(6, 5), numbers(3, 2, 4, 5)


def like(array, x):
    """A constant of the code in the type of a tensor."""
    return tf.cast(array, x.dtype)


def one(function, *given):
    """A case of a function of tensors."""
    return function, given or (X,)


UNARY = {
    name: one(getattr(tf.math, name))
    for name in (
        "abs asinh atan ceil cos cosh erf erfc exp expm1 floor is_finite is_inf is_nan negative "
        "reduce_euclidean_norm rint round sigmoid sign sin sinh softplus softsign square tan tanh "
        "log_sigmoid reduce_logsumexp reduce_std reduce_variance"
    ).split()
}
UNARY |= {
    name: one(getattr(tf.math, name), POSITIVE)
    for name in "log log1p reciprocal reciprocal_no_nan rsqrt sqrt".split()
}
UNARY |= {name: one(getattr(tf.math, name), np.tanh(X) * 0.9) for name in "acos asin atanh".split()}
UNARY |= {"acosh": one(tf.math.acosh, POSITIVE + 1)}
UNARY |= {
    f"nn.{name}": one(getattr(tf.nn, name))
    for name in "relu relu6 elu selu silu gelu leaky_relu softmax log_softmax crelu l2_loss".split()
}

BINARY = {
    name: one(getattr(tf.math, name), X, Z)
    for name in (
        "add divide_no_nan equal floordiv floormod greater greater_equal less less_equal maximum "
        "minimum multiply multiply_no_nan not_equal squared_difference subtract truediv"
    ).split()
}
BINARY |= {
    name: one(getattr(tf.math, name), POSITIVE, np.abs(Z) + 0.2)
    for name in "atan2 pow xdivy xlogy xlog1py".split()
}
BINARY |= {
    f"logical_{name}": one(
        lambda x, z, name=name: getattr(tf, f"logical_{name}")(x > 0, z > 0), X, Z
    )
    for name in ("and", "or")
}

REDUCED = {
    f"{name} over {axis}": one(
        lambda x, name=name, axis=axis, keep=keep: getattr(tf, name)(x, axis=axis, keepdims=keep)
    )
    for name in "reduce_sum reduce_mean reduce_max reduce_min reduce_prod".split()
    for axis, keep in ((0, False), (-1, True), ((1, 2), False), (None, False))
}
REDUCED |= {
    "reduce_any": one(lambda x: tf.reduce_any(x > 1, axis=1)),
    "reduce_all": one(lambda x: tf.reduce_all(x > -1, axis=-1)),
    "moments": one(lambda x: tf.nn.moments(x, [1], keepdims=True)),
    "norm": one(lambda x: tf.norm(x, axis=-1)),
    "l2_normalize": one(lambda x: tf.math.l2_normalize(x, axis=-1)),
    "argmax": one(lambda x: tf.argmax(x, axis=1)),
    "argmin": one(lambda x: tf.argmin(x, axis=-1, output_type=tf.int32)),
    "top_k": one(lambda x: tuple(tf.math.top_k(x, 3))),
    "sort": one(lambda x: tf.sort(x, axis=1)),
    "argsort": one(lambda x: tf.argsort(x, axis=-1, direction="DESCENDING")),
    "cumsum": one(lambda x: tf.cumsum(x, axis=1)),
    "cumsum reverse": one(lambda x: tf.cumsum(x, axis=-1, exclusive=True, reverse=True)),
    "cumprod": one(lambda x: tf.math.cumprod(x, axis=1, exclusive=True)),
    "zero_fraction": one(lambda x: tf.nn.zero_fraction(tf.nn.relu(x))),
}

MOVED = {
    "reshape": one(lambda x: tf.reshape(x, [tf.shape(x)[0], -1])),
    "transpose": one(lambda x: tf.transpose(x, [2, 0, 1])),
    "expand_dims": one(lambda x: tf.expand_dims(x, -2)),
    "squeeze": one(lambda x: tf.squeeze(x[:, :1], 1)),
    "slice": one(lambda x: tf.slice(x, [0, 1, 2], [-1, 2, 3])),
    "getitem": one(lambda x: x[:, ::-2, None, ..., 1:-1]),
    "getitem one": one(lambda x: x[..., -1]),
    "split": one(lambda x: tf.split(x, 3, axis=-1)),
    "split sizes": one(lambda x: tf.split(x, [1, -1, 2], axis=2)),
    "unstack": one(lambda x: tf.unstack(x, axis=1)),
    "concat": one(lambda x, z: tf.concat([x, z, x], axis=1), X, Z),
    "stack": one(lambda x, z: tf.stack([x, z], axis=-1), X, Z),
    "pad": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [0, 3]], constant_values=2.5)),
    "pad reflect": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 3]], mode="REFLECT")),
    "pad symmetric": one(lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 3]], mode="SYMMETRIC")),
    "tile": one(lambda x: tf.tile(x, [1, 2, 3])),
    "repeat": one(lambda x: tf.repeat(x, [1, 0, 2, 3], axis=1)),
    "broadcast_to": one(lambda x: tf.broadcast_to(x[:, :1], [2, 3, 4, 6])),
    "reverse": one(lambda x: tf.reverse(x, [1, -1])),
    "roll": one(lambda x: tf.roll(x, [2, -1], [1, 2])),
    "reverse_sequence": one(lambda x: tf.reverse_sequence(x, [1, 3, 4], seq_axis=1)),
    "band_part": one(lambda x: tf.linalg.band_part(x, 1, -1)),
    "diag": one(lambda x: tf.linalg.diag(x)),
    "diag_part": one(lambda x: tf.linalg.diag_part(x, k=1)),
    "trace": one(lambda x: tf.linalg.trace(x)),
    "space_to_depth": one(lambda x: tf.nn.space_to_depth(x, 2), IMAGE[:, :, :8]),
    "depth_to_space": one(lambda x: tf.nn.depth_to_space(x, 2), IMAGE),
    "extract_patches": one(
        lambda x: tf.image.extract_patches(x, [1, 3, 2, 1], [1, 2, 1, 1], [1, 1, 2, 1], "SAME"),
        IMAGE,
    ),
    "flip": one(tf.image.flip_left_right, IMAGE),
    "where": one(lambda x, z: tf.where(x > 0, x, z), X, Z),
    "where number": one(lambda x: tf.where(x > 0, x, 0.1 * x)),
    "zeros_like": one(lambda x: tf.zeros_like(x) + tf.ones_like(x) * x),
    "clip": one(lambda x: tf.clip_by_value(x, -0.5, 0.3)),
    "clip_by_norm": one(lambda x: tf.clip_by_norm(x, 2.0, axes=[-1])),
    "cast": one(lambda x: tf.cast(x * 10, tf.int32)),
    "cast back": one(lambda x: tf.cast(tf.cast(x * 10, tf.int32), tf.float32) / 3),
    "sequence_mask": one(lambda x: x * tf.sequence_mask([1, 3, 4], 4, x.dtype)[..., None]),
    "stop_gradient": one(lambda x: tf.stop_gradient(x) + tf.identity(x)),
    "meshgrid": one(lambda x: tf.meshgrid(x[0, 0], x[0, :, 0])),
}

LOOKED_UP = {
    "gather": one(lambda x: tf.gather(x, [2, 0], axis=1)),
    "gather ids": one(lambda ids: tf.gather(TABLE, ids), IDS),
    "gather per sample": one(lambda x, ids: tf.gather(x, ids[:, :2], axis=1, batch_dims=1), X, IDS),
    "gather rows per sample": one(lambda x, ids: tf.gather(x, ids, axis=2, batch_dims=1), X, IDS),
    "gather_nd": one(lambda x: tf.gather_nd(x, [[0, 1], [2, 3]])),
    "embedding_lookup": one(lambda ids: tf.nn.embedding_lookup(TABLE, ids), IDS),
    "one_hot": one(lambda ids: tf.one_hot(ids, 4, on_value=2.0, off_value=-1.0, axis=1), IDS),
    "one_hot of argmax": one(lambda x: tf.one_hot(tf.argmax(x, -1), 6, dtype=x.dtype) * x),
    "tensor_scatter": one(lambda x: tf.tensor_scatter_nd_update(x, [[0, 1], [2, 0]], x[1, :2] * 2)),
    "scatter_nd": one(lambda x: tf.scatter_nd([[1], [3], [1]], x, [5, 4, 6])),
    "integers": one(lambda ids: ids * 3 - ids // 2 + tf.reduce_sum(ids, axis=1)[:, None], IDS),
    "scatter_add": one(lambda x: tf.tensor_scatter_nd_add(x, [[0], [0]], x[1:] * 2)),
    "scatter_sub": one(lambda x: tf.tensor_scatter_nd_sub(x, [[0, 1]], x[1, :1])),
    "scatter_max": one(lambda x: tf.tensor_scatter_nd_max(x, [[0], [2]], x[1:])),
    "segment_sum": one(lambda x: tf.math.segment_sum(x, [0, 0, 2])),
    "unsorted_segment_sum": one(lambda x: tf.math.unsorted_segment_sum(x, [3, 0, 3], 5)),
    "truncated": one(lambda ids: tf.truncatediv(ids - 2, 2) + tf.truncatemod(ids - 2, 3), IDS),
    "bits": one(
        lambda ids: (
            tf.bitwise.left_shift(ids, 2) + tf.bitwise.bitwise_xor(ids, 3) * tf.bitwise.invert(ids)
        ),
        IDS,
    ),
    "cross": one(lambda x, z: tf.linalg.cross(x[..., :3], z[..., :3]), X, Z),
}

PRODUCTS = {
    "matmul": one(lambda x, z: tf.matmul(x, z, transpose_b=True), X, Z),
    "matmul a": one(lambda x, z: tf.matmul(x, z, transpose_a=True), X, Z),
    "matmul table": one(lambda x: x @ like(TABLE, x)),
    "tensordot": one(lambda x, z: tf.tensordot(x, z, [[1, 2], [1, 2]]), X, Z),
    "einsum": one(lambda x, z: tf.einsum("bij,bkj->bik", x, z), X, Z),
    "einsum dots": one(lambda x: tf.einsum("...i,ij->...j", x, like(TABLE, x))),
    "matvec": one(lambda x, z: tf.linalg.matvec(x, z[:, 0]), X, Z),
    "bias_add": one(lambda x: tf.nn.bias_add(x, like(TABLE[:, 0], x))),
}

WINDOWS = {
    "conv1d": one(
        lambda x: tf.nn.conv1d(x, like(KERNEL[:, 0, :3], x), stride=2, padding="SAME"), SERIES
    ),
    "conv1d dilated": one(
        lambda x: tf.nn.conv1d(x, like(KERNEL[:, 0, :3], x), 1, "VALID", dilations=3), SERIES
    ),
    "conv1d of an input": one(
        lambda x, k: tf.nn.conv1d(x, k, stride=1, padding="SAME"), SERIES, numbers(4, 3, 5)
    ),
    "conv2d": one(lambda x: tf.nn.conv2d(x, like(KERNEL, x), [2, 1], "SAME"), IMAGE),
    "conv2d explicit": one(
        lambda x: tf.nn.conv2d(x, like(KERNEL, x), 1, [[0, 0], [2, 1], [0, 3], [0, 0]]), IMAGE
    ),
    "conv2d dilated": one(
        lambda x: tf.nn.conv2d(x, like(KERNEL, x), 1, "SAME", dilations=[2, 3]), IMAGE
    ),
    "conv3d": one(
        lambda x: tf.nn.conv3d(
            x[..., None], like(numbers(2, 3, 2, 1, 3), x), [1, 1, 2, 1, 1], "SAME"
        ),
        IMAGE,
    ),
    "depthwise_conv2d": one(
        lambda x: tf.nn.depthwise_conv2d(x, like(KERNEL, x), [1, 2, 2, 1], "SAME"), IMAGE
    ),
    "depthwise_conv2d dilated": one(
        lambda x: tf.nn.depthwise_conv2d(
            x, like(KERNEL, x), [1, 1, 1, 1], "VALID", dilations=[2, 2]
        ),
        IMAGE,
    ),
    "separable_conv2d": one(
        lambda x: tf.nn.separable_conv2d(
            x, like(KERNEL, x), like(numbers(1, 1, 20, 3), x), [1, 1, 1, 1], padding="SAME"
        ),
        IMAGE,
    ),
    "conv2d_transpose": one(
        lambda x: tf.nn.conv2d_transpose(
            x, like(numbers(3, 2, 5, 4), x), [2, 16, 17, 5], [2, 2], padding="SAME"
        ),
        IMAGE,
    ),
    "conv1d_transpose": one(
        lambda x: tf.nn.conv1d_transpose(
            x, like(numbers(4, 5, 3), x), [2, 24, 5], 2, padding="VALID"
        ),
        SERIES,
    ),
    "atrous_conv2d": one(lambda x: tf.nn.atrous_conv2d(x, like(KERNEL, x), 2, "SAME"), IMAGE),
    "max_pool2d": one(lambda x: tf.nn.max_pool2d(x, [3, 2], [2, 1], "SAME"), IMAGE),
    "avg_pool2d": one(lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"), IMAGE),
    "max_pool1d": one(lambda x: tf.nn.max_pool1d(x, 3, 2, "VALID"), SERIES),
    "avg_pool3d": one(lambda x: tf.nn.avg_pool3d(x[..., None], 2, 2, "VALID"), IMAGE),
    "lrn": one(lambda x: tf.nn.local_response_normalization(x, 2, 1.5, 0.3, 0.6), IMAGE),
    "batch_normalization": one(
        lambda x: tf.nn.batch_normalization(x, *like(TABLE[:4, :4], x), 1e-3), np.abs(IMAGE)
    ),
    "fused_batch_norm": one(
        lambda x: tf.compat.v1.nn.fused_batch_norm(x, TABLE[0, :4], TABLE[1, :4])[0], IMAGE
    ),
    "fused_batch_norm given": one(
        lambda x: tf.compat.v1.nn.fused_batch_norm(
            x,
            TABLE[0, :4],
            TABLE[1, :4],
            TABLE[2, :4],
            np.abs(TABLE[3, :4]),
            epsilon=0.01,
            is_training=False,
        )[0],
        IMAGE,
    ),
    "resize": one(lambda x: tf.image.resize(x, [5, 12]), IMAGE),
    "resize nearest": one(lambda x: tf.image.resize(x, [13, 5], "nearest"), IMAGE),
    "resize area": one(lambda x: tf.image.resize(x, [4, 3], "area"), IMAGE),
    "resize bicubic": one(lambda x: tf.image.resize(x, [12, 5], "bicubic"), IMAGE),
    "frame": one(lambda x: tf.signal.frame(x, 4, 2, axis=1), SERIES),
    "contrast": one(lambda x: tf.image.adjust_contrast(x, 1.7), IMAGE),
    "fake_quant": one(
        lambda x: tf.quantization.fake_quant_with_min_max_vars(x, -1.1, 1.7, num_bits=5), IMAGE
    ),
    "fake_quant args": one(
        lambda x: tf.quantization.fake_quant_with_min_max_args(x, -1, 2, narrow_range=True), IMAGE
    ),
    "fake_quant channels": one(
        lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(
            x, [-1.0, -2.0, -0.5, 0.0], [1.0, 1.5, 2.0, 3.0]
        ),
        IMAGE,
    ),
    "grayscale": one(lambda x: tf.image.rgb_to_grayscale(x[..., :3]), IMAGE),
    "standardized": one(tf.image.per_image_standardization, IMAGE),
    "gradients": one(tf.image.image_gradients, IMAGE),
    "sobel": one(tf.image.sobel_edges, IMAGE),
}

CASES = UNARY | BINARY | REDUCED | MOVED | LOOKED_UP | PRODUCTS | WINDOWS


def checked(function, given, **options):
    """The report of a Lambda that calls a function of several tensors."""
    several = len(given) > 1
    layer = keras.layers.Lambda(
        (lambda inputs: function(*inputs)) if several else function, name="mine", **options
    )
    return probe.check(layer, "mine", given=list(given) if several else given[0])


@pytest.mark.exhaustive(default=24)
@pytest.mark.parametrize("name", CASES)
def test_a_function_of_tensorflow(name):
    report = checked(*CASES[name])
    assert report.ok and list(report.outputs) == ["framework", "numpy", "onnx"], str(report)


NO_KERNEL = {
    "mixed_bfloat16": "rint lrn",
    "mixed_float16": "rint lrn avg_pool3d contrast",
    "float64": "avg_pool3d lrn contrast",
}
"""Functions whose kernels TensorFlow does not have for that type on a CPU."""
IN_FLOAT32 = (
    "cast back;contrast;fake_quant;fake_quant args;fake_quant channels;fused_batch_norm;"
    "fused_batch_norm given;grayscale;one_hot;resize;resize area;resize bicubic;standardized;"
    "zero_fraction"
).split(";")
"""Those that compute in float32 whatever they are given, or take nothing else."""
PRECISIONS = [
    pytest.param(policy, name, marks=() if place % 31 == 0 else pytest.mark.exhaustive)
    for policy in NO_KERNEL
    for place, name in enumerate(CASES)
    if name not in NO_KERNEL[policy].split() and name not in IN_FLOAT32
]


def einsum_is_right():
    """With oneDNN on a processor with AVX512-FP16 tf.einsum of TensorFlow 2.21 gives other numbers
    in float16 than its own matmul, which is right."""
    x, y = (tf.constant(one, tf.float16) for one in (TABLE, TABLE.T))
    x = tf.stack([x, x])
    apart = tf.einsum("...i,ij->...j", x, y) - tf.matmul(x, y[None])
    return bool(tf.reduce_max(tf.abs(apart)) < 0.1)


@pytest.mark.parametrize(("policy", "name"), PRECISIONS)
def test_in_another_precision(policy, name):
    report = checked(*CASES[name], dtype=policy)
    if (policy, name) == ("mixed_float16", "einsum dots") and not einsum_is_right():
        assert "the framework is the odd one out" in report.sentence
        return
    assert report.ok and "numpy" in report.outputs, str(report)


@pytest.mark.parametrize("name", ["cast back", "grayscale", "resize"])
def test_what_computes_in_a_narrower_type_says_so(name):
    report = checked(*CASES[name], dtype="float64")
    assert report.verdict == "unchecked", str(report)
    assert "it computes in float32, and the layer in float64" in report.missing["numpy"]
