"""What lies between the layers: operations of keras.ops in Keras 3, functions of TensorFlow in
Keras 2."""

import numpy as np
import pytest

import probe

UNARY = """abs ceil celu cos cosh elu erf exp expm1 floor gelu hard_shrink hard_sigmoid
    hard_silu hard_tanh isinf isnan log_sigmoid logical_not negative reciprocal relu
    relu6 selu sigmoid sign silu sin sinh soft_shrink softplus softsign sparse_plus
    sparse_sigmoid square squareplus stop_gradient tan tanh tanh_shrink trunc arctan
    arcsinh leaky_relu copy round softmax log_softmax glu normalize ravel cumsum cumprod
    flip ones_like zeros_like transpose diff tril triu""".split()
REDUCTIONS = "all any max min mean prod std sum var logsumexp amax amin".split()


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def _elementwise(keras, ops):
    x, z = keras.Input((4, 6)), keras.Input((4, 6))
    positive, small = ops.exp(x), ops.tanh(x) * 0.9
    found = [getattr(ops, name)(x) for name in UNARY]
    found += [
        getattr(ops, name)(positive + 1)
        for name in "log log10 log1p log2 sqrt rsqrt arccosh".split()
    ]
    found += [getattr(ops, name)(small) for name in "arcsin arccos arctanh".split()]
    found += [
        x + z,
        x - z,
        x * z,
        x / positive,
        positive**z,
        x % positive,
        x // positive,
        2 - x,
        1 / positive,
        -x,
        abs(x),
        3 + x,
    ]
    found += [
        x > z,
        x >= z,
        x < z,
        x <= 0.1,
        ops.equal(x, z),
        ops.not_equal(x, z),
        ops.maximum(x, z),
        ops.minimum(x, 0.5),
    ]
    found += [getattr(ops, f"logical_{name}")(x > 0, z > 0) for name in ("and", "or", "xor")]
    found += [
        ops.divide_no_nan(x, z),
        ops.divide(x, positive),
        ops.hypot(x, z),
        ops.clip(x, -0.5, 0.3),
        ops.threshold(x, 0.2, -1.0),
    ]
    for name in REDUCTIONS:
        value = x > 0 if name in ("all", "any") else x
        found += [
            getattr(ops, name)(value, axis=-1),
            getattr(ops, name)(value, axis=(1, 2), keepdims=True),
            getattr(ops, name)(value),
        ]
    found += [
        ops.norm(x, axis=-1),
        ops.norm(x, ord=1, axis=1),
        *ops.moments(x, axes=[1]),
        ops.argmax(x, axis=-1),
        ops.argmin(x),
    ]
    return [x, z], found


def _moving(keras, ops):
    x, z = keras.Input((4, 6)), keras.Input((4, 6))
    found = [
        ops.reshape(x, (-1, 3, 8)),
        ops.expand_dims(x, 2),
        ops.squeeze(ops.expand_dims(x, 2), 2),
        ops.swapaxes(x, 1, 2),
    ]
    found += [
        ops.concatenate([x, z], axis=1),
        ops.stack([x, z], axis=-1),
        *ops.split(x, 3, axis=2),
        *ops.unstack(x, axis=1),
    ]
    found += [
        *ops.split(x, [1, 3], axis=1),
        x[:, 1],
        x[..., 0],
        x[:, ::2, 1:-1],
        x[:, None, 2],
        x[:, ::-1],
        ops.take(x, [2, 0], axis=1),
    ]
    found += [
        ops.take_along_axis(x, ops.argmax(x, axis=-1, keepdims=True), axis=-1),
        ops.moveaxis(x, 1, 2),
        ops.tile(x, (1, 2, 1)),
    ]
    found += [
        ops.repeat(x, 3, axis=1),
        ops.broadcast_to(x[:, :1], (2, 4, 6)),
        ops.pad(x, ((0, 0), (1, 2), (0, 1)), mode="reflect"),
    ]
    found += [
        ops.pad(x, ((0, 0), (1, 2), (0, 0)), constant_values=2.5),
        ops.cast(x, "int32"),
        ops.cast(x, "float16"),
    ]
    found += [
        ops.where(x > 0, x, z * 0.1),
        ops.roll(x, 2, axis=1),
        ops.one_hot(ops.argmax(x, axis=-1), 6),
        *ops.top_k(x, 3),
    ]
    found += [
        ops.matmul(x, ops.transpose(z, (0, 2, 1))),
        ops.einsum("bij,bkj->bik", x, z),
        ops.slice(x, (0, 1, 2), (2, 2, 3)),
    ]
    found += [
        ops.tensordot(x, numbers(6, 2), axes=1),
        ops.matmul(x, numbers(6, 3)),
        ops.dot(x, numbers(6)),
        ops.cumsum(x, axis=1),
    ]
    return [x, z], found


def _convolutions(keras, ops):
    x, kernel = keras.Input((8, 9, 4)), keras.Input((3, 2, 4, 6), batch_size=1)
    found = [
        ops.conv(x, numbers(3, 2, 4, 5), strides=2, padding="same"),
        ops.depthwise_conv(x, numbers(2, 3, 4, 2), dilation_rate=2),
    ]
    return [x, kernel], [*found, ops.conv(x, kernel[0], padding="same")]


@pytest.mark.parametrize("build", [_elementwise, _moving, _convolutions])
def test_operations_of_keras_3(build, tmp_path):
    keras = pytest.importorskip("keras")
    inputs, outputs = build(keras, keras.ops)
    keras.Model(inputs, outputs).save(tmp_path / "net.keras")
    model = probe.open_model(tmp_path / "net.keras")
    listed = {layer.name: layer for layer in model.layers}
    assert all(layer.checkable for layer in listed.values())
    shapes = [tuple(size or 2 for size in one.shape) for one in inputs]
    swept = set()
    for report in probe.sweep(
        model, [numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    ):
        judged = report.verdict == "agree" or "own range" in report.sentence
        assert judged and len(report.outputs) == 3, str(report)
        swept.add(report.layer)
    assert swept == set(listed)


def _functions(keras, tf):
    x, z = keras.Input((4, 6)), keras.Input((4, 6))
    image = tf.reshape(x, [tf.shape(x)[0], 2, 3, 4])
    yield from ([x, z],)
    found = [
        x + z,
        x - z,
        x * 2.0,
        3 - x,
        x / z,
        x**2,
        -x,
        x % z,
        x // z,
        x > z,
        x <= z,
        ~(x > 0),
        tf.equal(x, z),
        abs(x),
        x[:, 1],
    ]
    found += [
        x[..., None, ::2],
        x[:, ::-1, 1:3],
        tf.matmul(x, z, transpose_b=True),
        tf.transpose(x, [0, 2, 1]),
        tf.squeeze(x[:, :1], 1),
    ]
    found += [
        tf.expand_dims(x, 1),
        tf.concat([x, z], 1),
        tf.stack([x, z], 1),
        *tf.split(x, 3, axis=2),
        *tf.split(x, [1, -1], axis=1),
    ]
    found += [
        *tf.unstack(x, axis=1),
        tf.tile(x, [1, 2, 1]),
        tf.pad(x, [[0, 0], [1, 1], [0, 2]]),
        tf.cast(x, tf.int32),
        tf.shape(x),
    ]
    found += [
        tf.clip_by_value(x, 0.0, 1.0),
        tf.gather(x, [0, 1], axis=1),
        tf.where(x > 0, x, z),
        tf.zeros_like(x),
        tf.repeat(x, 2, axis=1),
    ]
    found += [
        tf.broadcast_to(x[:, :1], [2, 4, 6]),
        tf.one_hot(tf.argmax(x, -1), 6),
        tf.cumsum(x, 1),
        tf.slice(x, [0, 1, 0], [-1, 2, 3]),
    ]
    found += [
        tf.reverse(x, [1]),
        tf.math.l2_normalize(x, -1),
        tf.norm(x, axis=-1),
        tf.math.squared_difference(x, z),
    ]
    for name in "mean sum max min prod logsumexp std variance".split():
        function = getattr(tf.math, f"reduce_{name}")
        found += [function(x, 1), function(x, -1, keepdims=True), function(x)]
    found += [
        tf.reduce_any(x > 0, 1),
        tf.nn.softmax(x),
        tf.nn.log_softmax(x, 1),
        tf.nn.gelu(x),
        tf.nn.silu(x),
        tf.nn.leaky_relu(x),
    ]
    found += [
        tf.nn.relu(x),
        tf.sigmoid(x),
        tf.exp(x),
        tf.maximum(x, z),
        keras.backend.mean(x, axis=1),
        *tf.math.top_k(x, 2),
    ]
    found += [
        tf.nn.conv2d(image, numbers(2, 2, 4, 3), 1, "SAME"),
        tf.nn.depth_to_space(image, 2),
        tf.math.divide_no_nan(x, z),
    ]
    yield found


def _windows(keras, tf):
    x, z = keras.Input((8, 9)), keras.Input((8, 9))
    image, line = x[:, :, :, None] * numbers(4), x[..., :4]
    yield from ([x, z],)
    found = [
        tf.nn.max_pool2d(image, 3, 2, "SAME"),
        tf.nn.max_pool(image, 2, 1, "VALID"),
        tf.nn.avg_pool2d(image, 3, 2, "SAME"),
    ]
    found += [
        tf.nn.avg_pool(image, 2, 2, "VALID"),
        tf.nn.max_pool1d(line, 3, 2, "SAME"),
        tf.nn.avg_pool1d(line, 2, 2, "VALID"),
    ]
    found += [
        tf.image.resize(image, (5, 12), method)
        for method in ("bilinear", "nearest", "bicubic", "area")
    ]
    found += [
        tf.image.resize(image, (4, 3), antialias=True),
        tf.image.crop_to_bounding_box(image, 1, 2, 4, 5),
    ]
    found += [tf.nn.depthwise_conv2d(image, numbers(3, 2, 4, 2), (1, 2, 2, 1), "SAME")]
    found += [
        tf.nn.conv2d_transpose(image, numbers(3, 2, 5, 4), (2, 16, 18, 5), 2, "SAME"),
        tf.nn.local_response_normalization(image, 2),
    ]
    found += [
        tf.nn.conv1d_transpose(line, numbers(4, 5, 4), (2, 27, 5), 3, "VALID"),
        tf.math.cumprod(x, 1),
        tf.sort(x, 1, "DESCENDING"),
    ]
    found += [
        tf.roll(x, 2, 1),
        tf.roll(x, (1, -2), (1, 2)),
        tf.linalg.diag_part(x),
        tf.linalg.trace(x),
        tf.math.add_n([x, z, x]),
    ]
    found += [
        tf.math.scalar_mul(2.0, x),
        tf.math.erfc(x),
        tf.math.is_finite(x),
        tf.math.rint(x),
        tf.sort(x),
    ]
    blocks = tf.nn.space_to_depth(image[:, :, :8], 2)
    found += [blocks, tf.nn.depth_to_space(blocks, 2)]
    yield found


@pytest.mark.parametrize("build", [_functions, _windows])
def test_functions_of_keras_2(build, tmp_path):
    keras, tf = pytest.importorskip("tf_keras"), pytest.importorskip("tensorflow")
    inputs, outputs = build(keras, tf)
    with pytest.warns(UserWarning, match="saving your model as an HDF5"):
        keras.Model(inputs, outputs).save(tmp_path / "net.h5")
    model = probe.open_model(tmp_path / "net.h5")
    listed = {layer.name: layer for layer in model.layers}
    assert all(layer.checkable for layer in listed.values())
    swept = set()
    shape = (2, *inputs[0].shape[1:])
    for report in probe.sweep(model, [numbers(*shape), numbers(*shape, seed=1)]):
        judged = report.verdict == "agree" or "own range" in report.sentence
        assert judged and len(report.outputs) == 3, str(report)
        swept.add(report.layer)
    assert swept == set(listed)


def test_a_node_is_asked_for_by_its_name(keras):
    x = inputs = keras.Input((5,))
    y = x * 2.0 + 1.0
    model = keras.Model(inputs, y)
    named = [layer.name for layer in probe.open_model(model).layers]
    assert len(named) == 2
    report = probe.check(model, named[1], numbers(3, 5), expected=2 * numbers(3, 5))
    assert report.verdict == "diverge" and report.comparisons["framework", "numpy"].ok


def test_what_has_no_description_is_named():
    keras = pytest.importorskip("keras")
    x = keras.Input((4, 4))
    model = keras.Model(x, keras.ops.cholesky(x))
    (layer,) = probe.open_model(model).layers
    assert not layer.checkable and layer.why.startswith(
        "Cholesky of keras.ops has no description: it solves equations"
    )


def test_a_kernel_that_another_layer_computed():
    """A convolution whose kernel is another tensor of the same sample, one kernel for the batch."""
    keras = pytest.importorskip("keras")
    x, kernel = keras.Input((8, 9, 4)), keras.Input((3, 2, 4, 6), batch_size=1)
    model = keras.Model([x, kernel], keras.ops.conv(x, kernel[0] * 2.0, padding="same"))
    given = [numbers(2, 8, 9, 4), numbers(1, 3, 2, 4, 6, seed=1)]
    report = next(one for one in probe.sweep(model, given) if one.kind == "Conv")
    assert report.ok and len(report.inputs) == 2, str(report)


def test_what_tensorflow_holds_in_float32_where_it_computes_in_float64():
    """The slope of a leaky ReLU is one of float32; GELU, whose constants are, has no description
    then."""
    keras = pytest.importorskip("keras")
    x = keras.Input((4, 6), dtype="float64")
    model = keras.Model(
        x, [keras.ops.leaky_relu(x, 0.3), keras.ops.gelu(x), keras.ops.gelu(x, approximate=False)]
    )
    *gelus, leaky = sorted(
        probe.sweep(model, np.random.default_rng(0).normal(size=(2, 4, 6))),
        key=lambda report: report.kind,
    )
    assert leaky.ok and leaky.dtype == "float64", str(leaky)
    assert all("rounded to float32" in one.missing["numpy"] for one in gelus)


def test_clipping_to_a_parameter():
    """As activations of few bits are, with a limit for each channel."""
    keras = pytest.importorskip("keras")

    class LearnedLimit(keras.layers.Layer):
        def build(self, shape):
            self.limit = self.add_weight(name="limit", shape=shape[-1:], initializer="ones")

        def call(self, x):
            return keras.ops.clip(x, 0.1 * self.limit, self.limit)

    layer, x = LearnedLimit(), numbers(4, 5)
    layer(x)
    layer.limit.assign(np.linspace(0.2, 1.5, 5))
    report = probe.check(layer, layer.name, given=x)
    assert report.verdict == "agree" and len(report.outputs) == 3, report
    other = np.clip(x, 0, np.asarray(layer.limit))
    assert probe.check(layer, layer.name, given=x, expected=other).verdict == "diverge"
