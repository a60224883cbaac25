"""A nested or subclassed Keras model, and the model as a whole, is one layer composed of what it
calls."""

import numpy as np
import pytest

import probe

IMAGE = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)


def nested(keras):
    """A residual block as a model inside a model."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    x = keras.Input((9, 8, 4))
    y = layers.Conv2D(4, 3, padding="same", name="first")(x)
    y = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(y))
    y = layers.Add(name="add")([x, layers.Conv2D(4, 3, padding="same", name="second")(y)])
    block = keras.Model(x, y, name="block")
    image = keras.Input((9, 8, 3))
    z = block(layers.Conv2D(4, 1, name="stem")(image))
    return keras.Model(image, layers.Dense(3, name="head")(layers.Flatten(name="flat")(z)))


def subclassed(keras):
    """A model of the user's own, whose code adds and multiplies between its layers."""
    keras.utils.set_random_seed(0)

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner, self.last = keras.layers.Dense(6, name="inner"), keras.layers.Dense(2)

        def call(self, x):
            return self.last(self.inner(x) * 0.5 + x)

    net = Net()
    net(ROWS)
    return net


def test_a_nested_model_is_a_layer(keras):
    model = nested(keras)
    report = probe.check(model, "block", IMAGE)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}
    assert dict.fromkeys(report.calls).keys() >= {"first", "norm", "relu", "second", "add"}
    assert {"first/kernel", "norm/gamma", "second/bias"} <= set(report.weights)
    whole = probe.check(model, "", IMAGE)
    assert whole.ok and "block/first/kernel" in whole.weights
    assert [one.name for one in probe.open_model(model).containers] == ["", "block"]


def test_a_segment_of_it(keras):
    report = probe.check(nested(keras), ("block/norm", "block/second"), IMAGE)
    assert report.ok and report.calls[0] == "block/norm" and report.calls[-1] == "block/second"


def test_the_inputs_are_called_as_the_parameters_of_call(keras):
    layers = keras.layers
    rows, others = keras.Input((5, 4), name="rows"), keras.Input((5, 4), name="others")
    attended = layers.MultiHeadAttention(2, 3, name="attention")(rows, value=others)
    model = keras.Model([rows, others], layers.Add(name="add")([attended, rows]))
    calls, x = {}, np.ones((2, 5, 4), np.float32)

    def take(capture):
        calls[capture.layer] = capture.input_names

    probe.open_model(model).run((x, x), ["", "attention", "add"], take)
    assert calls == {
        "": ("rows", "others"),
        "attention": ("query", "value"),
        "add": ("inputs_0", "inputs_1"),
    }


def test_a_wrong_block_diverges(keras):
    model = nested(keras)
    right = probe.check(model, "block", IMAGE).outputs["framework"]
    skipped = probe.check(model, "stem", IMAGE).outputs["framework"]
    assert probe.check(model, "block", IMAGE, expected=right).ok
    report = probe.check(model, "block", IMAGE, expected=right - skipped)
    assert report.verdict == "diverge" and not report.comparisons["numpy", "expected"].ok


def test_a_model_of_the_users_own(keras):
    model = subclassed(keras)
    report = probe.check(model, "", ROWS)
    assert report.ok and "inner/kernel" in report.weights and len(report.ops) > 3
    right = report.outputs["framework"]
    assert probe.check(model, "", ROWS, expected=right + 1e-3).verdict == "diverge"


@pytest.mark.costly
def test_a_layer_of_the_users_own_with_a_model_inside(keras):
    """As an encoder is usually written, with a Sequential for what follows the attention."""
    keras.utils.set_random_seed(0)

    class Encoder(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="encoder")
            layers = keras.layers
            self.attention = layers.MultiHeadAttention(2, 3, name="attention")
            self.norms = [layers.LayerNormalization(name=f"norm{k}") for k in range(2)]
            self.mlp = keras.Sequential([layers.Dense(9, "relu"), layers.Dense(6)], name="mlp")

        def call(self, x):
            x = self.norms[0](x + self.attention(x, x))
            return self.norms[1](x + self.mlp(x))

    inputs = keras.Input((5, 6))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(Encoder()(inputs)))
    x = np.random.default_rng(2).normal(size=(3, 5, 6)).astype(np.float32)
    report = probe.check(model, "encoder", x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}
    assert "attention.query/kernel" in report.weights
    # Keras 2 calls what the Sequential calls, by its own name.
    inside = "mlp" if keras.__name__ == "keras" else "dense"
    firsts = {name.partition(".")[0].partition("_")[0] for name in report.weights}
    assert firsts >= {"attention", "norm0", inside}
    assert probe.check(model, "", x).ok and probe.check(model, "encoder/mlp", x).ok
    assert all(one.ok for one in probe.sweep(model, x))
    right = report.outputs["framework"]
    assert (
        probe.check(model, "encoder", x, expected=right * 1.001, search=False).verdict == "diverge"
    )


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("share", [1.0, 0.003])
@pytest.mark.parametrize("own", [False, True])
def test_a_mask_that_only_layers_inside_take(keras, own, share):
    """Keras hands the embedding's mask to the attention, past the code in between: never a false
    alarm."""
    keras.utils.set_random_seed(0)

    class Encoder(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="encoder")
            self.supports_masking = True
            self.attention = keras.layers.MultiHeadAttention(2, 3)

        def call(self, x, mask=None):
            allowed = mask[:, None, :] if own and mask is not None else None
            return x + share * self.attention(x, x, attention_mask=allowed)

    tokens = keras.Input((7,), dtype="int32")
    x = keras.layers.Embedding(20, 6, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.Dense(2)(Encoder()(x)))
    ids = np.array([[1, 2, 3, 4, 0, 0, 0], [5, 6, 7, 8, 9, 1, 2]])
    for name in ("encoder", ""):
        assert probe.check(model, name, ids).verdict != "diverge"
    assert probe.check(model, "encoder", np.where(ids == 0, 3, ids)).ok


@pytest.mark.costly
def test_masks_and_recurrences(keras):
    keras.utils.set_random_seed(0)
    layers, tokens = keras.layers, keras.Input((7,), dtype="int32")
    x = layers.Embedding(20, 8, mask_zero=True, name="embedding")(tokens)
    x = layers.LSTM(6, return_sequences=True, name="lstm")(x)
    model = keras.Model(tokens, layers.Dense(2, name="dense")(layers.GRU(4, name="gru")(x)))
    ids = np.array([[1, 2, 3, 4, 0, 0, 0], [5, 6, 7, 8, 9, 1, 2]])
    report = probe.check(model, "", ids)
    assert report.ok and report.calls[-1] == "dense"
    wrong = probe.check(model, "", np.where(ids == 0, 3, ids)).outputs["framework"]
    assert probe.check(model, "", ids, expected=wrong, search=False).verdict == "diverge"


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_is_cast_between_two_layers(policy):
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    dense = [keras.layers.Dense(24, "relu", dtype=policy, name=f"d{k}") for k in range(2)]
    model = keras.Sequential(
        [keras.Input((6,)), *dense, keras.layers.Softmax(dtype="float32", name="softmax")]
    )
    report = probe.check(model, "", ROWS)
    assert report.ok and report.dtype == policy.removeprefix("mixed_")
    assert dict.fromkeys(report.calls).keys() >= {"d0", "d1", "softmax"}
