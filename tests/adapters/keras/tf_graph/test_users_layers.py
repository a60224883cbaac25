"""Layers as people write them with TensorFlow's functions: none is called wrong, whatever the size
of its numbers and whatever it computes in."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

import probe


def numbers(*shape, scale=1.0):
    drawn = np.random.default_rng(sum(shape)).normal(size=shape)
    return (drawn * scale).astype("float32")


class Mine(keras.layers.Layer):
    """A layer with two kernels and a vector, which does what it is given."""

    def __init__(self, does, **options):
        super().__init__(name="mine", **options)
        self.does = does

    def build(self, shape):
        last = shape[-1]
        self.kernel = self.add_weight(shape=(last, last), name="kernel")
        self.other = self.add_weight(
            shape=(last, 4), name="other", initializer=keras.initializers.RandomNormal(seed=1)
        )
        self.gain = self.add_weight(
            shape=(last,), name="gain", initializer=keras.initializers.RandomUniform(0.5, 2, seed=2)
        )

    def call(self, x):
        return self.does(self, x)


def heads(x, count=2):
    steps, size = x.shape[1:]
    return tf.transpose(tf.reshape(x, [-1, steps, count, size // count]), [0, 2, 1, 3])


def attention(layer, x):
    q, k, v = heads(x @ layer.kernel), heads(x), heads(x * layer.gain)
    scores = tf.matmul(q, k, transpose_b=True) / tf.math.sqrt(tf.cast(q.shape[-1], x.dtype))
    causal = tf.linalg.band_part(tf.ones([x.shape[1]] * 2, x.dtype), -1, 0)
    scores += (1.0 - causal) * tf.cast(-1e4, x.dtype)
    y = tf.matmul(tf.nn.softmax(scores), v)
    return tf.reshape(tf.transpose(y, [0, 2, 1, 3]), tf.shape(x))


def rotary(layer, x):
    angles = tf.range(x.shape[1], dtype=x.dtype)[:, None] * tf.constant([1.0, 0.1, 0.01], x.dtype)
    sin, cos = tf.sin(angles), tf.cos(angles)
    first, second = tf.split(x, 2, axis=-1)
    return tf.concat([first * cos - second * sin, second * cos + first * sin], -1)


def rms_norm(layer, x):
    return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-6) * layer.gain


def instance_norm(layer, x):
    mean, variance = tf.nn.moments(x, [1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, None, layer.gain, 1e-3)


def group_norm(layer, x):
    grouped = tf.reshape(x, [tf.shape(x)[0], -1, 2, x.shape[-1] // 2])
    mean, variance = tf.nn.moments(grouped, [1, 3], keepdims=True)
    return tf.reshape((grouped - mean) / tf.sqrt(variance + 1e-3), tf.shape(x)) * layer.gain


def squeeze_excite(layer, x):
    share = tf.nn.relu(tf.reduce_mean(x, axis=1) @ layer.other)
    return x * tf.sigmoid(tf.matmul(share, layer.other, transpose_b=True))[:, None]


def squash(layer, x):
    square = tf.reduce_sum(x**2, -1, keepdims=True)
    return square / (1 + square) * x / tf.sqrt(square + 1e-7)


def routing(layer, x):
    votes = x[:, :, None] * layer.gain
    logits = tf.zeros_like(votes[..., 0])
    for _ in range(3):
        share = tf.nn.softmax(logits, axis=1)
        out = squash(layer, tf.reduce_sum(share[..., None] * votes, axis=1))
        logits += tf.reduce_sum(votes * out[:, None], -1)
    return out


def distances(layer, x):
    square = tf.reduce_sum(tf.square(x), -1, keepdims=True)
    return square - 2 * tf.matmul(x, x, transpose_b=True) + tf.linalg.matrix_transpose(square)


def cosine(layer, x):
    x = tf.math.l2_normalize(x, axis=-1)
    return tf.matmul(x, x, transpose_b=True)


def rbf(layer, x):
    apart = x[..., None, :] - tf.transpose(layer.other)
    return tf.exp(-tf.reduce_sum(apart**2, -1))


def neighbours(layer, x):
    near = tf.math.top_k(-distances(layer, x), 3).indices
    return tf.reduce_max(tf.gather(x, near, batch_dims=1), axis=2)


def gram(layer, x):
    return tf.einsum("bic,bid->bcd", x, x) / tf.cast(x.shape[1], x.dtype)


def factorisation(layer, x):
    return 0.5 * tf.reduce_sum(tf.square(x @ layer.other) - x**2 @ layer.other**2, -1)


def cross_network(layer, x):
    y = x
    for _ in range(2):
        y = x * (y @ layer.kernel) + y
    return y


def mixture(layer, x):
    logits = x @ layer.other
    best = tf.one_hot(tf.argmax(logits, -1), 4, dtype=x.dtype)
    return x * tf.reduce_sum(tf.nn.softmax(logits) * best, -1, keepdims=True)


def straight_through(layer, x):
    return x + tf.stop_gradient(tf.round(tf.clip_by_value(x * 8, -7, 7)) / 8 - x)


def weight_standardised(layer, x):
    mean, variance = tf.nn.moments(layer.kernel, [0], keepdims=True)
    return x @ ((layer.kernel - mean) * tf.math.rsqrt(variance + 1e-4))


def spectral(layer, x):
    u = tf.ones([1, layer.kernel.shape[0]], x.dtype)
    for _ in range(3):
        v = tf.math.l2_normalize(u @ layer.kernel)
        u = tf.math.l2_normalize(tf.matmul(v, layer.kernel, transpose_b=True))
    return x @ (layer.kernel / tf.reduce_sum(tf.matmul(u, layer.kernel) * v))


def recurrence(layer, x):
    def step(state, part):
        return tf.tanh(part @ layer.kernel + state * layer.gain)

    start = tf.zeros_like(x[:, 0])
    return tf.transpose(tf.scan(step, tf.transpose(x, [1, 0, 2]), start), [1, 0, 2])


def by_array(layer, x):
    out = tf.TensorArray(x.dtype, size=x.shape[1])
    state = tf.zeros_like(x[:, 0])
    for at in tf.range(x.shape[1]):
        state = 0.9 * state + 0.1 * x[:, at]
        out = out.write(at, state)
    return tf.transpose(out.stack(), [1, 0, 2])


def forward_algorithm(layer, x):
    alpha = x[:, 0]
    for at in range(1, x.shape[1]):
        alpha = tf.reduce_logsumexp(alpha[..., None] + layer.kernel, axis=1) + x[:, at]
    return tf.reduce_logsumexp(alpha, -1)


def statistics(layer, x):
    return tf.concat([tf.reduce_mean(x, 1), tf.math.reduce_std(x, 1), tf.reduce_max(x, 1)], -1)


def smoothed(layer, x):
    mean = tf.ones([3, 1, 1], x.dtype) / 3
    rows = tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, x.shape[1], 1])
    y = tf.nn.conv1d(tf.pad(rows, [[0, 0], [2, 0], [0, 0]]), mean, 1, "VALID")
    return tf.transpose(tf.reshape(y, [-1, x.shape[2], x.shape[1]]), [0, 2, 1])


def time_embedding(layer, x):
    rates = tf.exp(-tf.range(3, dtype=x.dtype) * 2.0)
    angles = tf.reduce_mean(x, [1, 2])[:, None] * rates
    return tf.concat([tf.sin(angles), tf.cos(angles)], axis=-1)


def gelu_by_hand(layer, x):
    return 0.5 * x * (1 + tf.tanh(0.7978845608 * (x + 0.044715 * tf.pow(x, 3))))


def maxout(layer, x):
    return tf.reduce_max(tf.reshape(x @ layer.kernel, [-1, x.shape[1], 3, 2]), axis=-1)


def soft_attention_pool(layer, x):
    share = tf.nn.softmax(tf.tensordot(tf.tanh(x @ layer.kernel), layer.gain, 1), axis=1)
    return tf.reduce_sum(x * tf.expand_dims(share, -1), axis=1)


def per_sample(layer, x):
    return tf.vectorized_map(lambda one: tf.matmul(one, one, transpose_a=True) @ layer.kernel, x)


def masked_mean(layer, x):
    kept = tf.cast(tf.reduce_any(x > 0.5, -1, keepdims=True), x.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(x * kept, 1), tf.reduce_sum(kept, 1))


def shuffled_channels(layer, x):
    parts = tf.reshape(x, [-1, x.shape[1], 2, x.shape[2] // 2])
    return tf.reshape(tf.transpose(parts, [0, 1, 3, 2]), [-1, *x.shape[1:]])


LAYERS = {
    one.__name__: one
    for one in (
        attention,
        by_array,
        cosine,
        cross_network,
        distances,
        factorisation,
        forward_algorithm,
        gelu_by_hand,
        gram,
        group_norm,
        instance_norm,
        masked_mean,
        maxout,
        mixture,
        neighbours,
        per_sample,
        rbf,
        recurrence,
        rms_norm,
        rotary,
        routing,
        shuffled_channels,
        smoothed,
        soft_attention_pool,
        spectral,
        squash,
        squeeze_excite,
        statistics,
        straight_through,
        time_embedding,
        weight_standardised,
    )
}
NAMES = {name: inspect.getsource(one) for name, one in LAYERS.items()}
SETTINGS = [("float32", 1.0), ("mixed_bfloat16", 1.0), ("float32", 30.0), ("float32", 1e-3)]
SETTINGS += [("mixed_float16", 1.0), ("float64", 1.0)]
CASES = [
    pytest.param(name, *setting, marks=() if place % 6 == k else pytest.mark.exhaustive)
    for place, name in enumerate(LAYERS)
    for k, setting in enumerate(SETTINGS)
]


NOT_TRACED = [("rotary", "mixed_float16"), ("time_embedding", "mixed_float16")]
"""TensorFlow has no tf.range of float16 in a graph, though it has it outside."""


@pytest.mark.exhaustive(default=10)
@pytest.mark.parametrize(("name", "policy", "scale"), CASES)
def test_no_layer_is_called_wrong(name, policy, scale):
    layer, x = Mine(LAYERS[name], dtype=policy), numbers(2, 5, 6, scale=scale)
    report = probe.check(layer, "mine", given=x)
    if (name, policy) in NOT_TRACED:
        assert "TensorFlow cannot trace it" in report.missing["numpy"], str(report)
        return
    assert "numpy" in report.outputs and report.verdict != "diverge", str(report)
    if "mixed" not in policy and scale == 1.0:
        assert report.ok and len(report.outputs) == 3, str(report)
        used = {one for one in ("kernel", "other", "gain") if one in NAMES[name]}
        assert used == set(report.weights), str(report)


@pytest.mark.exhaustive
def test_slack_that_grows_from_step_to_step_hides_no_fault():
    """Through three rounds of routing slack that is pushed grows to 10**149 times the output."""
    layer, x = Mine(LAYERS["routing"]), 30 * numbers(2, 5, 6)
    report = probe.check(layer, "mine", given=x)
    right = report.outputs["framework"]
    assert report.ok and len(report.calls) == 0, str(report)
    for wrong in (0 * right, -right, right / 2, right * 1.001, np.roll(right, 1)):
        assert probe.check(layer, "mine", given=x, expected=wrong).verdict == "diverge"


@pytest.mark.parametrize("name", ["attention", "rms_norm", "squeeze_excite", "gram", "recurrence"])
def test_a_fault_is_seen(name):
    layer, x = Mine(LAYERS[name]), numbers(2, 5, 6)
    right = probe.check(layer, "mine", given=x).outputs["framework"]
    assert probe.check(layer, "mine", given=x, expected=right).ok
    wrong = right.copy()
    wrong[(-1,) * wrong.ndim] *= 1.001
    report = probe.check(layer, "mine", given=x, expected=wrong, search=False)
    assert report.verdict == "diverge"
