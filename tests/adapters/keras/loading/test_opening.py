"""Keras models as they are saved and as they live: what is listed, what is captured, and that
nothing is left changed."""

import os
import re
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest
import qkeras
import tensorflow as tf
import tf_keras
from own_seed import RNG
from probe.adapters.keras.loading import file as files
from probe.adapters.keras.loading import listed_layers
from representatives import exhaustive

import probe
from probe.errors import BadInput, ForwardFailed, MissingExtra, NotReached
from probe.process.extras import install

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    pytest.mark.filterwarnings("ignore:The `keras.constraints.serialize:UserWarning"),
    # Keras 3.15 saving
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    # QKeras calls one twice
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
]
BOTH = pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def net(namespace):
    """A nested and compiled model, a layer called twice, a wrapper, a merging layer, and what ``y +
    1`` becomes."""
    layers = namespace.layers
    data = namespace.Input((8, 7, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(data)
    x = layers.BatchNormalization(name="bn")(x)
    inner = namespace.Sequential(
        [namespace.Input((8, 7, 4)), layers.Conv2D(2, 3, name="conv"), layers.Flatten(name="flat")],
        name="inner",
    )
    inner.compile("adam", "mse")
    shared = layers.Dense(60, name="shared")
    first = shared(inner(x))
    second = shared(layers.Dropout(0.5, name="drop")(first))
    x = layers.Reshape((6, 10), name="rows")(layers.Add(name="sum")([first, second]))
    x = layers.TimeDistributed(layers.Dense(3, name="inside"), name="each")(x)
    return namespace.Model(data, x, name="net")


def quantised():
    data = tf_keras.Input((9, 8, 3), name="image")
    bits = qkeras.quantized_bits(4, 0, 1, alpha="auto")
    x = qkeras.QConv2D(
        5,
        3,
        strides=2,
        padding="same",
        kernel_quantizer=bits,
        bias_quantizer="quantized_bits(6, 1)",
        name="conv2d",
    )(data)
    x = qkeras.QActivation("quantized_relu(4, 1)", name="act")(x)
    return tf_keras.Model(data, qkeras.QBatchNormalization(name="bn")(x))


def captured(model, inputs, wanted=None):
    calls = []
    model.run(inputs, wanted, calls.append)
    return calls


@pytest.mark.exhaustive(default=4)
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".hdf5"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: net(keras),
        lambda: net(tf_keras),
        pytest.param(quantised, marks=pytest.mark.costly),
    ],
    ids=["keras", "tf_keras", "qkeras"],
)
def test_a_file_lists_what_the_loaded_model_lists(tmp_path, make, suffix):
    path = tmp_path / f"model{suffix}"
    make().save(path)
    model = probe.open_model(path)
    told = model.layers
    model.names()
    loaded = model.layers
    assert len(told) >= 3
    for one, other in zip(told, loaded, strict=True):
        assert one.output_shape in (None, other.output_shape)
        assert (one.name, one.kind, one.parameters, one.checkable, one.why) == (
            other.name,
            other.kind,
            other.parameters,
            other.checkable,
            other.why,
        )
    if suffix == ".keras" and make is not quantised:
        assert sum(layer.output_shape is not None for layer in told) >= len(told) - 3


@BOTH
def test_listing(namespace):
    model = probe.open_model(net(namespace))
    assert [(layer.name, layer.kind, layer.parameters) for layer in model.layers] == [
        ("conv", "Conv2D", 112),
        ("bn", "BatchNormalization", 16),
        ("inner/conv", "Conv2D", 74),
        ("inner/flat", "Flatten", 0),
        ("shared", "Dense", 3660),
        ("drop", "Dropout", 0),
        ("sum", "Add", 0),
        ("rows", "Reshape", 0),
        ("each", "TimeDistributed", 33),
    ]
    assert all(layer.checkable == ("numpy", "onnx") for layer in model.layers)
    assert model.layers[0].output_shape == (None, 8, 7, 4)
    assert {"image", "inner", "each/inside"} <= set(model.names())
    assert model.inputs is not None and (model.inputs[0].name, model.inputs[0].shape) == (
        "image",
        (None, 8, 7, 3),
    )


def test_hdf5_is_read_as_h5py_reads_it(tmp_path, monkeypatch):
    path = tmp_path / "net.keras"
    net(keras).save(path)
    file = files.read(path)
    plain = files._shapes(file)

    def unusual(read):
        raise files.UnusualLayout

    monkeypatch.setattr(files, "shapes", unusual)
    assert files._shapes(file) == plain and len(plain) > 10


@BOTH
def test_captures_are_the_calls_in_order(namespace):
    live, image = net(namespace), drawn(2, 8, 7, 3)
    calls = captured(probe.open_model(live), [image])
    names = [
        "conv",
        "bn",
        "inner/conv",
        "inner/flat",
        "shared",
        "drop",
        "shared",
        "sum",
        "rows",
        "each",
    ]
    assert [call.layer for call in calls] == names
    assert [call.call for call in calls if call.layer == "shared"] == [0, 1]
    for name in ("conv", "bn", "sum", "each"):
        expected = namespace.Model(live.input, live.get_layer(name).output)(image)
        (call,) = [one for one in calls if one.layer == name]
        assert np.array_equal(call.outputs[0], expected)
    total = next(call for call in calls if call.layer == "sum")
    shared = [call.outputs[0] for call in calls if call.layer == "shared"]
    assert all(np.array_equal(one, other) for one, other in zip(total.inputs, shared, strict=True))
    assert all(call.description is not None or call.why for call in calls)


@BOTH
def test_inner_layers_and_containers_by_name(namespace):
    model = probe.open_model(net(namespace))
    calls = captured(model, [drawn(2, 8, 7, 3)], {"inner", "each/inside"})
    assert {call.layer for call in calls} == {"inner", "each/inside"}
    assert "container" in next(call.why for call in calls if call.layer == "inner")
    with pytest.raises(NotReached, match="input of the model"):
        captured(model, [drawn(2, 8, 7, 3)], {"image"})


@BOTH
def test_captures_are_copies_and_replacements_flow_on(namespace):
    model, image = probe.open_model(net(namespace)), drawn(2, 8, 7, 3)
    calls = captured(model, [image])
    seen = {}

    def replace(call):
        seen[call.layer, call.call] = call
        return [np.full_like(call.outputs[0], 2.0)] if call.layer == "bn" else None

    model.run([image], None, replace)
    assert np.array_equal(seen["bn", 0].outputs[0], calls[1].outputs[0])
    assert (seen["inner/conv", 0].inputs[0] == 2.0).all()
    assert not np.array_equal(seen["each", 0].outputs[0], calls[-1].outputs[0])


@BOTH
def test_one_layer_alone(namespace):
    live, model = net(namespace), None
    model = probe.open_model(live)
    calls = []
    model.run_alone("conv", [image := drawn(3, 5, 6, 3)], calls.append)
    model.run_alone("sum", [drawn(2, 60), drawn(2, 60)], calls.append)
    model.run_alone("inner/conv", [drawn(1, 4, 4, 4)], calls.append)
    model.run_alone("each/inside", [drawn(2, 10)], calls.append)
    assert [call.outputs[0].shape for call in calls] == [
        (3, 5, 6, 4),
        (2, 60),
        (1, 2, 2, 2),
        (2, 3),
    ]
    assert np.array_equal(calls[0].outputs[0], live.get_layer("conv")(image))
    with pytest.raises(BadInput, match="built on 2 inputs; you gave 1"):
        model.run_alone("sum", [drawn(2, 60)], calls.append)


# What must stay: a picture of everything that hangs on a model, by identity and for variables bit
# for bit.


def picture(value, seen):
    if id(value) in seen:
        return id(value)
    seen[id(value)] = value
    bits = (
        np.asarray(value.numpy()).tobytes()
        if hasattr(value, "numpy") and hasattr(value, "assign")
        else b""
    )
    if isinstance(value, list | tuple):
        return id(value), bits, [picture(one, seen) for one in value]
    if isinstance(value, dict):
        return id(value), bits, {key: picture(one, seen) for key, one in value.items()}
    if isinstance(value, set):
        return id(value), {id(one) for one in value}
    if isinstance(value, int | float | str | bytes | None):
        return type(value), value
    own = (
        type(value).__module__.partition(".")[0] in ("keras", "tf_keras", "qkeras")
        or "test_keras_opening" in type(value).__module__
    )
    if (
        (own or isinstance(value, threading.local))
        and not isinstance(value, type)
        and hasattr(value, "__dict__")
    ):
        return id(value), bits, {key: picture(one, seen) for key, one in vars(value).items()}
    return id(value), bits


def stateful(namespace):
    layers = namespace.layers
    data = namespace.Input((6, 4), batch_size=2)
    x = layers.LSTM(3, stateful=True, return_sequences=True)(data)
    x = layers.Dropout(0.5)(x, training=True)
    x = layers.GaussianNoise(0.1)(layers.BatchNormalization()(x))
    x = layers.Dense(3, activity_regularizer="l2", activation=layers.LeakyReLU())(x)
    return namespace.Model(
        data, layers.SpectralNormalization(layers.Dense(3))(x, training=True)
    ), drawn(2, 6, 4)


def trained(namespace):
    model = namespace.Sequential(
        [namespace.Input((4,)), namespace.layers.BatchNormalization(), namespace.layers.Dense(2)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(drawn(4, 4), drawn(4, 2), verbose=0)
    return model, drawn(3, 4)


def int8(namespace):
    data = namespace.Input((9,))
    model = namespace.Model(data, namespace.layers.Dense(4)(namespace.layers.Dense(8)(data)))
    for layer in model.layers[1:]:
        layer.quantize("int8")
    return model, drawn(2, 9)


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize(
    "make",
    [
        lambda: stateful(keras),
        lambda: stateful(tf_keras),
        lambda: trained(keras),
        lambda: trained(tf_keras),
        lambda: int8(keras),
        lambda: (quantised(), drawn(2, 9, 8, 3)),
    ],
    ids=[
        "stateful-keras",
        "stateful-tf_keras",
        "trained-keras",
        "trained-tf_keras",
        "int8",
        "qkeras",
    ],
)
def test_nothing_is_left_changed(make):
    live, x = make()
    model = probe.open_model(live)
    before = picture(live, {})
    calls = captured(model, [x])
    assert picture(live, {}) == before
    model.run_alone(calls[-1].layer, calls[-1].inputs, lambda _: None)
    assert picture(live, {}) == before
    with pytest.raises(ZeroDivisionError):
        model.run([x], None, lambda _: 1 / 0)
    assert picture(live, {}) == before
    assert not tf.config.functions_run_eagerly()
    again = captured(model, [x])
    assert all(
        np.array_equal(one.inputs[0], other.inputs[0])
        for one, other in zip(calls[:1], again[:1], strict=True)
    )


@pytest.mark.costly
def test_the_picture_would_show_a_change():
    for make in (
        lambda: stateful(keras),
        lambda: stateful(tf_keras),
        lambda: (quantised(), drawn(2, 9, 8, 3)),
    ):
        live, x = make()
        before = picture(live, {})
        live(x)
        assert picture(live, {}) != before


def test_int8_layers_are_captured_once_a_call():
    live, x = int8(keras)
    calls = captured(probe.open_model(live), [x])
    assert [(call.layer, call.call) for call in calls] == [
        (layer.name, 0) for layer in live.layers[1:]
    ]
    assert all(call.description is not None for call in calls)


@BOTH
def test_several_inputs_in_the_order_the_model_says(namespace):
    a, b = namespace.Input((3,), name="b"), namespace.Input((5,), name="a")
    layers = namespace.layers
    joined = layers.Concatenate(name="join")(
        [layers.Dense(2, name="of_b")(a), layers.Dense(2, name="of_a")(b)]
    )
    for inputs in ([a, b], {"b": a, "a": b}):
        model = probe.open_model(namespace.Model(inputs, joined))
        assert model.inputs is not None
        arrays = {spec.name: drawn(2, *spec.shape[1:]) for spec in model.inputs}
        calls = {call.layer: call for call in captured(model, list(arrays.values()))}
        assert np.array_equal(calls["of_a"].inputs[0], arrays["a"]) and np.array_equal(
            calls["of_b"].inputs[0], arrays["b"]
        )
        assert probe.check(model, "join", arrays).ok
    with pytest.raises(BadInput, match="takes 2 inputs"):
        model.run([drawn(2, 3)], None, lambda _: None)


@BOTH
def test_shapes_are_compared_before_anything_is_called(namespace):
    layers = namespace.layers

    def refused(model, x, sentence):
        with pytest.raises(BadInput) as error:
            probe.open_model(model).run([x], None, lambda _: None)
        assert str(error.value) == sentence

    conv = [layers.Conv1D(4, 3), layers.Dense(2)]
    for model in (
        namespace.Sequential([namespace.Input((100, 1)), *conv]),
        namespace.Sequential([layers.Conv1D(4, 3)]),
        layers.Conv1D(4, 3),
    ):
        refused(
            model,
            drawn(32, 100),
            (
                "Conv1D expects (batch, steps, channels); you gave (32, "
                "100): add a channel axis, x[..., None] "
                "(for a random input: --shape 32,100,1)"
            ),
        )
        refused(
            model,
            drawn(100),
            (
                "Conv1D expects (batch, steps, channels); you gave (100,): add a "
                "batch and a channel axis, x[None, :, None] "
                "(for a random input: --shape 1,100,1)"
            ),
        )
    image = namespace.Sequential([namespace.Input((8, 8, 3)), layers.Conv2D(2, 3)])
    words = "Conv2D expects (batch, height, width, channels); you gave"
    refused(
        image,
        drawn(8, 8, 3),
        f"{words} (8, 8, 3): add a batch axis, x[None] (for a random input: --shape 1,8,8,3)",
    )
    refused(
        image,
        drawn(5, 3, 8, 8),
        f"{words} (5, 3, 8, 8): move the channel axis, np.moveaxis(x, 1, -1)",
    )
    refused(image, drawn(5, 8, 8, 4), f"{words} (5, 8, 8, 4): channels must be 3, not 4")
    flat = namespace.Sequential([namespace.Input((12,)), layers.Dense(2)])
    refused(
        flat,
        drawn(5, 3, 4),
        "Dense expects (batch, features); you gave (5, 3, 4): flatten it, x.reshape(len(x), -1)",
    )
    words_in = namespace.Sequential(
        [namespace.Input((4,), dtype="int32", name="ids"), layers.Embedding(11, 3)]
    )
    with pytest.raises(
        BadInput, match=r"'ids' takes integers \(int32\); you gave non-integer values"
    ):
        probe.check(words_in, "", drawn(2, 4))
    refused(
        words_in,
        np.array([[3, 11, 0, 0]]),
        "the input 'ids' takes integers from 0 to 10, the rows of its table; you gave 11 at [0, 1]",
    )
    model = probe.open_model(words_in)
    assert (
        model.inputs is not None and model.inputs[0].high == 11 and model.inputs[0].dtype == "int32"
    )
    with pytest.raises(
        BadInput,
        match=(
            r"Conv2D expects \(batch, height, width, channels\); you "
            r"gave \(8, 8, 3\)"
        ),
    ):
        probe.open_model(image).run_alone(image.layers[-1].name, [drawn(8, 8, 3)], lambda _: None)


@BOTH
def test_a_model_that_fails_in_its_own_forward(namespace):
    class Fails(namespace.layers.Layer):
        def call(self, x):
            raise RuntimeError(f"no good\nfor {x.shape}")

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape)

        def compute_output_shape(self, shape):
            return shape

    model = namespace.Sequential([namespace.layers.Dense(3, name="first"), Fails(name="second")])
    with pytest.raises(ForwardFailed) as error:
        probe.open_model(model).run([drawn(2, 4)], None, lambda _: None)
    assert str(error.value) == (
        "the model's forward pass failed in layer 'second' (Fails), called "
        "on (2, 3): RuntimeError: no good"
    )
    model = namespace.Sequential(
        [namespace.layers.Dense(3), namespace.layers.Conv1D(3, 2, name="conv")]
    )
    with pytest.raises(ForwardFailed) as error:
        probe.open_model(model).run([drawn(2, 4)], None, lambda _: None)
    assert (
        "conv" in str(error.value)
        and "expected min_ndim=3, found ndim=2" in str(error.value)
        and "\n" not in str(error.value)
    )


@BOTH
def test_subclassed_models_and_compiled_calls(namespace):
    class Block(namespace.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.first = namespace.layers.Dense(3, name="dense")
            self.rest = [
                namespace.layers.Dense(3, name="dense"),
                namespace.layers.Dense(3, name="last"),
            ]

        @tf.function
        def call(self, x):
            return self.rest[1](self.rest[0](self.first(x)))

    class Net(namespace.Model):
        def __init__(self):
            super().__init__()
            self.block = Block(name="block")
            self.drop = namespace.layers.Dropout(0.5, name="drop")

        def call(self, x, training=True):
            return self.drop(self.block(x), training=training)

    live, x = Net(), drawn(2, 4)
    model = probe.open_model(live)
    assert model.inputs is None
    calls = captured(model, [x])
    assert [call.layer for call in calls] == [
        "block/dense",
        "block/dense#2",
        "block/last",
        "block",
        "drop",
    ]
    assert calls[-1].training, "a live model keeps its own rule"
    assert any("not built" in note for note in model.notes)
    weights = live.get_weights()
    assert (
        all(
            np.array_equal(one, other)
            for one, other in zip(weights, live.get_weights(), strict=True)
        )
        and len(weights) == 6
    )
    assert np.array_equal(captured(model, [x])[0].outputs[0], calls[0].outputs[0])


@BOTH
def test_single_layers(namespace):
    layers = namespace.layers
    for layer, inputs in (
        (layers.Add(), [drawn(2, 3), drawn(2, 3)]),
        (layers.MultiHeadAttention(2, 3), [drawn(2, 5, 4), drawn(2, 5, 4)]),
        (layers.Dense(3, dtype="mixed_bfloat16"), [drawn(2, 4)]),
        (layers.Dense(3, dtype="float64"), [drawn(2, 4)]),
    ):
        model = probe.open_model(layer)
        assert model.names()[0] == layer.name == model.layers[0].name
        (call,) = captured(model, inputs)
        assert len(call.inputs) == len(inputs) and call.dtype == layer.compute_dtype
        assert call.outputs[0].dtype == ("float64" if call.dtype == "float64" else "float32")
    solo = probe.open_model(layers.Conv1D(2, 3))
    assert solo.inputs is None and "(batch, steps, channels)" in solo.input_hint
    captured(solo, [drawn(2, 7, 3)])
    assert solo.inputs is not None and solo.inputs[0].shape == (None, 7, 3)


def test_a_file_is_run_for_inference(tmp_path):
    data = keras.Input((4,))
    model = keras.Model(
        data, keras.layers.BatchNormalization(name="bn")(keras.layers.Dropout(0.5)(data))
    )
    model.save(tmp_path / "model.keras")
    assert not any(
        call.training
        for call in captured(probe.open_model(tmp_path / "model.keras"), [drawn(3, 4)])
    )


def python(code):
    """A fresh interpreter, without the settings of the tests' own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS"))
    }
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=kept)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    net(keras).save(folder / "k3.keras")
    net(tf_keras).save(folder / "k2.keras")
    quantised().save(folder / "q.keras")
    return folder


@pytest.mark.costly
@pytest.mark.parametrize("name", ["k3", *exhaustive("k2", "q")])
def test_nothing_of_the_frameworks_on_standard_error(saved, name):
    """In a process of its own: nothing is printed, and the environment is as it was."""
    done = python(
        "import os; before = dict(os.environ)\nimport probe\n"
        f"model = probe.open_model({str(saved / name)!r} + '.keras')\n"
        "report = next(probe.sweep(model))\nassert dict(os.environ) == "
        "before\nprint(report.verdict, model.framework)"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("agree keras 3" if name == "k3" else "agree tf_keras 2")


@pytest.mark.exhaustive
def test_keras_files_open_where_only_torch_is_installed(saved):
    done = python(
        "import sys; sys.modules['tensorflow'] = None\nimport probe\n"
        f"model = probe.open_model({str(saved / 'k3.keras')!r})\n"
        "reports = list(probe.sweep(model))\nassert any('KERAS_BACKEND' in name for name in "
        "__import__('os').environ) is False\n"
        "print(model.framework, [report.verdict for report in reports])"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert " on torch " in done.stdout and done.stdout.count("'agree'") == 10


@pytest.mark.exhaustive
def test_qkeras_on_the_wrong_keras_is_said(saved):
    open_it = (
        f"import probe\ntry: probe.open_model({str(saved / 'q.keras')!r}).names()\nexcept "
        "probe.ProbeError as error: print(error)"
    )
    done = python("import tensorflow\n" + open_it)
    assert (
        done.returncode == 0
        and "set TF_USE_LEGACY_KERAS=1" in done.stdout
        and done.stdout.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [("k2", "tf_keras", "keras"), ("q", "qkeras", "qkeras"), ("k3", "keras", "keras")],
)
def test_a_missing_framework_names_the_extra(saved, monkeypatch, name, missing, extra):
    monkeypatch.delitem(sys.modules, "probe.adapters.qkeras", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        MissingExtra,
        match=(rf"needs {missing} .*{re.escape(install(extra))}"),
    ):
        probe.open_model(saved / f"{name}.keras").names()


def test_datasets_of_an_h5_belong_to_their_own_layer():
    path = "model_weights/outer/inner/kernel:0"
    assert listed_layers._within(path, "layers/outer/inner", "h5")
    assert listed_layers._within(path, "layers/outer", "h5")
    assert not listed_layers._within("model_weights/outer/kernel:0", "layers/outer/outer", "h5")
    assert not listed_layers._within(path, "layers/inner", "h5")


def test_a_shape_is_proposed_that_an_unbuilt_layer_takes():
    layers = keras.layers
    for make in (lambda: layers.Dense(3), lambda: layers.Conv1D(2, 3), lambda: layers.GRU(4)):
        model = keras.Sequential([make()])
        with pytest.raises(BadInput, match=r"shape=, --shape [\d,]+\)") as raised:
            probe.check(model, "")
        shape = eval(str(raised.value).rpartition("--shape ")[2].rstrip(")"))
        assert probe.check(model, "", shape=shape).ok
