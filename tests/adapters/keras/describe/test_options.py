"""Every option of every described class of Keras: read, or without effect (the reason stands here),
or it makes the layer unchecked."""

import importlib
import inspect
import json
import zipfile
from contextlib import contextmanager

import keras_cases
import numpy as np
import pytest
from probe.adapters.keras.describe import layer_options
from probe.adapters.keras.describe.describe import REGISTERED, described_class
from probe.adapters.keras.describe.described_classes import DESCRIBED
from probe.adapters.keras.describe.undescribed_classes import FOLLOWED, LEFT_OUT
from probe.adapters.keras.layers.augmentation import RANDOM
from probe.adapters.keras.loading.allow_list import _WORDS

import probe
from probe.errors import CannotOpen, Undescribed

VALUES = {
    "activation": "tanh",
    "alpha": 0.3,
    "antialias": True,
    "attention_axes": (1, 2),
    "axes": 1,
    "axis": 1,
    "bias_axes": "bd",
    "bin_boundaries": [0.0, 0.5],
    "center": False,
    "crop_to_aspect_ratio": True,
    "cropping": 1,
    "data_format": "channels_first",
    "depth_multiplier": 3,
    "dilation_rate": 2,
    "dims": (1, 2),
    "epsilon": 0.1,
    "equation": "abc,cd->adb",
    "expand_dims": True,
    "fft_length": 32,
    "fill_value": 1.0,
    "filters": 8,
    "frame_length": 20,
    "frame_step": 5,
    "go_backwards": True,
    "groups": 4,
    "head_dim": 4,
    "height": 3,
    "interpolation": "bicubic",
    "invert": True,
    "keepdims": True,
    "kernel_size": 2,
    "key_dim": 4,
    "logit_soft_cap": 2.0,
    "lora_alpha": 3,
    "lora_rank": 2,
    "mag_exp": 1.0,
    "mask_value": 0.5,
    "max_freq": 5000.0,
    "max_value": 0.7,
    "mean": 1.0,
    "merge_mode": "sum",
    "min_freq": 60.0,
    "min_power": 0.5,
    "mode": "psd",
    "n": 4,
    "negative_slope": 0.2,
    "normalize": True,
    "num_heads": 3,
    "num_key_value_heads": 1,
    "num_mel_bins": 9,
    "num_oov_indices": 2,
    "num_query_heads": 6,
    "num_tokens": 7,
    "offset": 1.5,
    "output_dim": 5,
    "output_mode": "count",
    "output_padding": 1,
    "output_shape": 7,
    "output_size": 2,
    "pad_to_aspect_ratio": True,
    "pad_to_max_tokens": True,
    "padding": "valid",
    "periodic": True,
    "pool_size": 2,
    "power_to_db": False,
    "recurrent_activation": "tanh",
    "ref_power": 2.0,
    "reset_after": False,
    "return_sequences": False,
    "return_state": True,
    "sampling_rate": 8000,
    "scale": False,
    "scaling": "spectrum",
    "score_mode": "concat",
    "sequence_length": 48,
    "sequence_stride": 20,
    "shared_axes": [1],
    "size": 3,
    "sliding_window": 2,
    "strides": 1,
    "target_shape": (4, 5),
    "theta": 0.3,
    "threshold": 0.3,
    "time_major": True,
    "top_db": 10.0,
    "units": 6,
    "use_bias": False,
    "use_gate": True,
    "use_scale": True,
    "value_dim": 5,
    "value_range": (0.0, 1.0),
    "variance": 2.0,
    "vocabulary": [12, 36],
    "width": 3,
    "window": "hamming",
}
"""Option -> what it is set to, other than it is set to in ``keras_cases``."""

OF = {
    "AdditiveAttention.use_scale": False,
    "CenterCrop.height": 2,
    "Conv1D.strides": 2,
    "Conv1DTranspose.activation": "relu",
    "Conv1DTranspose.groups": 2,
    "ConvLSTM1D.activation": "relu",
    "ConvLSTM1D.strides": 2,
    "Cropping1D.cropping": (2, 1),
    "DepthwiseConv1D.padding": "same",
    "DepthwiseConv1D.strides": 2,
    "Discretization.output_mode": "one_hot",
    "EinsumDense.output_shape": (None, 8),
    "GRU.activation": "relu",
    "IntegerLookup.mask_token": 7,
    "IntegerLookup.oov_method": "farmhash",
    "IntegerLookup.oov_token": -5,
    "LSTM.activation": "relu",
    "LeakyReLU.alpha": 0.1,
    "LocallyConnected1D.implementation": 2,
    "LocallyConnected1D.padding": "same",
    "LocallyConnected1D.strides": 2,
    "RNN.return_sequences": True,
    "RMSNormalization.axis": [1, 2],
    "Rescaling.scale": 3.0,
    "STFTSpectrogram.padding": "same",
    "SeparableConv1D.groups": 5,
    "SeparableConv1D.padding": "same",
    "SeparableConv1D.strides": 2,
    "SimpleRNN.activation": "relu",
    "UpSampling2D.interpolation": "bilinear",
    "ZeroPadding1D.padding": 2,
}
"""The same of one class."""

BESIDE = {
    "Conv1D.data_format": {"groups": 1},
    "Conv1D.groups": {"filters": 8},
    "Conv1DTranspose.dilation_rate": {"strides": 1},
    "EinsumDense.bias_axes": {"output_shape": (5, 6)},
    "EinsumDense.equation": {"output_shape": (6, 5)},
    "GroupNormalization.axis": {"groups": 5},
    "IntegerLookup.oov_method": {"num_oov_indices": 5},
    "IntegerLookup.oov_token": {"invert": True},
    "IntegerLookup.pad_to_max_tokens": {"max_tokens": 9, "output_mode": "count"},
    "LocallyConnected1D.padding": {"implementation": 2},
    "Normalization.axis": {
        "mean": [0.1, 0.2, 0.3, 0.4, 0.5],
        "variance": [1.0, 2.0, 3.0, 4.0, 5.0],
    },
    "Normalization.invert": {"mean": 1.0, "variance": 2.0},
    "Normalization.mean": {"variance": 2.0},
    "Normalization.variance": {"mean": 1.0},
    "Resizing.fill_value": {"pad_to_aspect_ratio": True},
    "lora_alpha": {"lora_rank": 2},
}
"""What an option needs beside it."""

_TRAINING = "in training alone"
WITHOUT_EFFECT = {
    "AdditiveAttention.score_mode": "its scores are always of the one kind",
    "AutoContrast.data_format": "its axes are the same ones in either format",
    "ConvLSTM1D.time_major": "Keras 2 takes it and does nothing with it",
    "Conv1DTranspose.groups": "Keras 2 takes it and does nothing with it",
    "DepthwiseConv1D.groups": "Keras 2 takes it and does nothing with it",
    "Discretization.epsilon": "it is how closely `adapt` looks",
    "SeparableConv1D.groups": "Keras 2 takes it and does nothing with it",
    "SpatialDropout2D.data_format": _TRAINING,
    "SpatialDropout3D.data_format": _TRAINING,
    "adjustment": _TRAINING,
    "bounding_box_format": "of boxes, which are refused",
    "dropout": _TRAINING,
    "factor": "refused by those that draw nothing",
    "fill_mode": "Keras has one",
    "flash_attention": "the same by another kernel",
    "fused": "the same by another kernel",
    "gptq_unpacked_column_size": (
        "of quantised weights, which are read by the shape of their kernel"
    ),
    "input_dim": "the weight has that many rows",
    "input_length": "it says a shape before the call",
    "l1": "it adds to the loss",
    "l2": "it adds to the loss",
    "mask_zero": "it makes a mask, which is looked at where it is used",
    "max_tokens": "how many there may be",
    "momentum": _TRAINING,
    "noise_shape": _TRAINING,
    "power_iterations": _TRAINING,
    "rate": _TRAINING,
    "recurrent_dropout": _TRAINING,
    "renorm": _TRAINING,
    "renorm_clipping": _TRAINING,
    "renorm_momentum": _TRAINING,
    "stddev": _TRAINING,
    "synchronized": _TRAINING,
    "unit_forget_bias": "how the bias begins",
    "virtual_batch_size": _TRAINING,
    "vocabulary_dtype": "Keras has one",
}
"""Options that change nothing here, and why."""

ELSEWHERE = {
    "attention_axes": "test_attention.py, on more axes",
    "backward_layer": "test_wrappers.py",
    "filters": "of the depthwise convolutions of Keras 2, which give it themselves",
    "idf_weights": "of output_mode tf_idf alone, which is refused",
    "layer": "test_wrappers.py",
    "logit_soft_cap": "test_reversed below",
    "num_bins": "of a layer without boundaries, whose `adapt` finds them",
    "quantization_config": "test_quantized.py",
    "reverse_dtype": "test_reversed below",
    "robust_masking": "test_activation.py, with a mask",
    "salt": "of oov_method farmhash alone, which is refused",
    "softmax_robust_masking": "test_attention.py, with a mask",
    "sparse": "test_preprocessing.py: a sparse tensor is refused",
    "stateful": "test_recurrent.py",
    "tie_weights": "test_reversed below",
    "zero_output_for_mask": "test_recurrent.py, with a mask",
}
"""Options that are set in other tests."""

REFUSED = (
    "the data format channels_first is not supported",
    'oov_method="farmhash" is not supported',
    "negative dimensions are not allowed",
)
"""What a description says of options that it reads and has no steps for."""


def of(table, name, option):
    return table.get(f"{name}.{option}", table.get(option))


def called(keras, name, changed):
    """(the layer, what it is given, its outputs), with weights that an option alone changes."""
    layer, given = keras_cases.build(keras, name, **changed)
    rng = np.random.default_rng(1)
    if name == "Masking":
        given = [np.array([[[0.5, 0.5], [1.0, 2.0]]], np.float32)]
    if name == "Discretization":
        given = [np.array([[0.2], [0.7], [-3.0]], np.float32)]
    inputs = (
        given
        if len(given) == 1 or name in ("GroupedQueryAttention", "MultiHeadAttention")
        else [given]
    )
    layer(*inputs)
    # the weights of a spectrogram are what its options make them
    if name not in ("IntegerLookup", "Normalization", "STFTSpectrogram"):
        layer.set_weights(
            [
                one if one.dtype.kind in "iu" else rng.uniform(0.1, 1.5, one.shape)
                for one in layer.get_weights()
            ]
        )
    outputs = layer(*inputs)
    return (
        layer,
        given,
        [np.asarray(one) for one in (outputs if isinstance(outputs, list | tuple) else [outputs])],
    )


def alike(left, right):
    return len(left) == len(right) and all(
        one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        for one, other in zip(left, right, strict=True)
    )


@contextmanager
def without(name, option):
    """As if the description did not read the option."""
    before = layer_options.READ[name]
    layer_options.READ[name] = before - {option}
    layer_options._unknown.cache_clear()
    try:
        yield
    finally:
        layer_options.READ[name] = before
        layer_options._unknown.cache_clear()


def to_set(kind):
    """The parameters that Keras' class has and that may change a number."""
    return sorted(
        name
        for name in layer_options._parameters(kind)
        if name not in layer_options.IDLE and not name.endswith(layer_options._IDLE_ENDS)
    )


def one_of_each_function():
    """A class for every function that describes, which is the first: the others are the same in
    more dimensions."""
    for module in {module for module in DESCRIBED.values() if not module.startswith("..")}:
        importlib.import_module(f"probe.adapters.keras{module}")
    found = {}
    for name in keras_cases.names():
        if name in REGISTERED and name not in RANDOM and name != "RandomCrop":
            found.setdefault(
                REGISTERED[name] if "_register" not in REGISTERED[name].__qualname__ else name, name
            )
    return sorted(found.values())


@pytest.mark.exhaustive(default=16)
@pytest.mark.parametrize("name", one_of_each_function())
def test_every_option_is_read(keras, name):
    if keras_cases.build(keras, name) is None:
        assert not hasattr(keras.layers, name)
        return
    layer, _, plain = called(keras, name, {})
    wanted = to_set(type(layer))
    for option in [
        one
        for one in wanted
        if of(WITHOUT_EFFECT, name, one) and of(VALUES | OF, name, one) is not None
    ]:
        assert alike(plain, called(keras, name, {option: of(VALUES | OF, name, option)})[2]), option
    rest = [
        one for one in wanted if not of(WITHOUT_EFFECT, name, one) and not of(ELSEWHERE, name, one)
    ]
    missing = [one for one in rest if of(VALUES | OF, name, one) is None]
    assert not missing, f"{name}: there is no value to try for {missing}"
    while rest:
        changed, before, left = {}, plain, []
        for option in rest:
            beside = of(BESIDE, name, option)
            tried = {**changed, **(beside or {}), option: of(VALUES | OF, name, option)}
            if beside is not None and changed:
                left.append(option)
                continue
            try:
                layer, given, outputs = called(keras, name, tried)
            except Exception:  # Keras refuses it beside the others
                assert changed, f"{name} refuses {option}"
                left.append(option)
                continue
            if alike(before, outputs):
                assert changed, f"{option} changes nothing in {name}"
                left.append(option)
                continue
            changed, before = tried, outputs
            if beside is not None:
                left += rest[rest.index(option) + 1 :]
                break
        layer, given, _ = called(keras, name, changed)
        report = probe.check(layer, layer.name, given=given)
        assert report.verdict == "agree" or any(
            word in report.missing["numpy"] for word in REFUSED
        ), f"{changed}\n{report}"
        rest = left
        for option, default in layer_options._parameters(type(layer)).items():
            if option not in changed or changed[option] == default:
                continue
            with (
                without(name, option),
                pytest.raises(
                    Undescribed,
                    match=f"{name} has option {option}.*, which its description does not support",
                ),
            ):
                described_class(layer)


def layer_classes(package):
    """The classes of layers that a package exports and that are described."""
    layers = (
        importlib.import_module(package).layers
        if "qkeras" not in package
        else importlib.import_module(package)
    )
    base = importlib.import_module("keras" if package == "keras" else "tf_keras").layers.Layer
    found = {
        kind for kind in vars(layers).values() if isinstance(kind, type) and issubclass(kind, base)
    }
    left_out = {*LEFT_OUT[package], *FOLLOWED}
    return sorted(
        (kind for kind in found if kind.__name__ in DESCRIBED and kind.__name__ not in left_out),
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("package", ["keras", "tf_keras", "qkeras"])
def test_every_option_of_this_release_is_known(package):
    """What is in no table would make every layer of the class unchecked that sets it."""
    kinds = layer_classes(package)
    assert len(kinds) > 15
    assert not {
        kind.__name__: layer_options._unknown(kind, kind)
        for kind in kinds
        if layer_options._unknown(kind, kind)
    }
    assert all(layer_options._parameters(kind) for kind in kinds)


def test_every_described_class_names_its_options():
    assert {name for name in DESCRIBED if not name.startswith("hgq.")} == layer_options.READ.keys()


@pytest.mark.parametrize("package", ["keras", "tf_keras", "qkeras"])
def test_an_option_of_a_release_to_come(package, monkeypatch):
    """In the signature of every class, and in its configuration alone, as what is taken from
    ``kwargs`` is."""
    for kind in layer_classes(package):
        layer = object.__new__(kind)
        for attributes, told in (
            ({"foo": 3}, "foo=3"),
            ({"_foo": 3}, "foo=3"),
            ({"foo": None}, ""),
            ({"foo": (None, None)}, ""),
        ):
            monkeypatch.setattr(kind, "__init__", renewed(kind, foo=None))
            layer_options._unknown.cache_clear()
            vars(layer).clear()
            vars(layer).update(attributes)
            assert layer_options.unread(layer, kind) == (
                told
                and (f"{kind.__name__} has option {told}, which its description does not support")
            )
            monkeypatch.undo()
        layer_options._unknown.cache_clear()
        assert layer_options.unread(layer, kind) == ""


@pytest.mark.parametrize("package", ["keras", "tf_keras", "qkeras"])
def test_an_option_that_is_a_word_lets_a_file_be_read(package):
    """Of those that are names of functions the reading of a file looks at the names."""
    words = {
        name
        for kind in layer_classes(package)
        for name, default in layer_options._parameters(kind).items()
        if isinstance(default, str)
        and not name.endswith(("_dtype", "_initializer", "_quantizer", "activation"))
    }
    assert words
    assert words <= _WORDS


def renewed(kind, **more):
    """The constructor with parameters more."""
    before = kind.__init__

    def constructor(self, *args, **kwargs):
        values = {name: kwargs.pop(name, default) for name, default in more.items()}
        before(self, *args, **kwargs)
        for name, value in values.items():
            object.__setattr__(self, name, value)

    signature = inspect.signature(before)
    new = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in more.items()
    ]
    old = list(signature.parameters.values())
    last = [one for one in old if one.kind is one.VAR_KEYWORD]
    constructor.__signature__ = signature.replace(
        parameters=[*(one for one in old if one not in last), *new, *last]
    )
    return constructor


SAVING = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
"""Keras 3.15 does that."""


@pytest.fixture
def newer(keras, monkeypatch):
    """Keras with a Dense of a release to come, which has an option more and does something else
    where it is set."""
    kind = keras.layers.Dense
    monkeypatch.setattr(kind, "__init__", renewed(kind, sharpened=1))
    call, config = kind.call, kind.get_config
    monkeypatch.setattr(kind, "call", lambda self, inputs: call(self, inputs) * self.sharpened)
    monkeypatch.setattr(
        kind, "get_config", lambda self: {**config(self), "sharpened": self.sharpened}
    )
    layer_options._unknown.cache_clear()
    yield kind
    monkeypatch.undo()
    layer_options._unknown.cache_clear()


@SAVING
def test_a_new_option_makes_the_layer_unchecked_by_name(keras, newer, tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, newer(3, name="plain")(newer(3, name="sharp", sharpened=2)(inputs)))
    told = "Dense has option sharpened=2, which its description does not support"
    model.save(tmp_path / "net.keras")
    for source in (model, tmp_path / "net.keras"):
        report = probe.check(source, "sharp", x)
        assert (report.verdict, report.missing["numpy"]) == ("unchecked", told)
        assert probe.check(source, "plain", x).ok
        assert [(one.layer, one.verdict) for one in probe.sweep(source, x)] == [
            ("sharp", "unchecked"),
            ("plain", "agree"),
        ]
    assert next(one.why for one in probe.open_model(model).layers if one.name == "sharp") == told


@pytest.mark.costly
def test_inside_wrappers_and_recurrences(keras, newer, monkeypatch):
    cell = keras.layers.GRUCell
    monkeypatch.setattr(cell, "__init__", renewed(cell, sharpened=1))
    layer_options._unknown.cache_clear()
    layers = keras.layers
    for layer in (
        layers.TimeDistributed(newer(3, sharpened=2)),
        layers.RNN(cell(3, sharpened=2)),
        layers.RNN([cell(3), cell(2, sharpened=2)]),
    ):
        report = probe.check(layer, layer.name, given=np.ones((2, 3, 4), np.float32))
        assert (
            "has option sharpened=2, which its description does not support"
            in report.missing["numpy"]
        ), str(report)


@SAVING
def test_an_unknown_key_in_a_file_is_refused_by_keras(keras, tmp_path):
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(3, name="dense")(inputs)).save(tmp_path / "net.keras")
    with (
        zipfile.ZipFile(tmp_path / "net.keras") as old,
        zipfile.ZipFile(tmp_path / "new.keras", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1]["config"]["sharpened"] = 2
                content = json.dumps(config).encode()
            new.writestr(name, content)
    with pytest.raises(CannotOpen, match="cannot load it"):
        probe.check(tmp_path / "new.keras", "dense", np.ones((1, 4), np.float32))


def test_reversed():
    """The options that an embedding has for running backwards."""
    keras = importlib.import_module("keras")
    x = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    cases = (
        {},
        {"tie_weights": False},
        {"logit_soft_cap": 2.0},
        {"reverse_dtype": "float32"},
        {"reverse_dtype": "float16"},
    )
    verdicts = []
    for changed in cases:
        inputs, layer = (
            keras.Input((8,)),
            keras.layers.ReversibleEmbedding(50, 8, name="embedding", **changed),
        )
        model = keras.Model(inputs, layer(inputs, reverse=True))
        layer.set_weights(
            [np.random.default_rng(1).normal(size=one.shape) for one in layer.get_weights()]
        )
        report = probe.check(model, "embedding", x)
        verdicts.append(report.verdict)
    assert verdicts == ["agree"] * 4 + ["unchecked"]
    assert report.missing["numpy"] == (
        "its reverse_dtype float16 differs from its compute dtype float32"
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_a_layer_that_casts_nothing(policy):
    """It computes in what its inputs and weights are of, and not in what its policy says."""
    layers = importlib.import_module("keras").layers
    x = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    for layer in (
        layers.Dense(4, dtype=policy, autocast=False),
        layers.ReLU(dtype=policy, autocast=False),
    ):
        assert "has autocast=False" in probe.check(layer, layer.name, given=x).missing["numpy"]
    for layer in (
        layers.Dense(4, autocast=False),
        layers.LayerNormalization(dtype=policy),
        layers.Dense(4, dtype=policy),
    ):
        assert probe.check(layer, layer.name, given=x).ok


def takes_training(keras, name):
    kind = keras_cases.class_of(keras, name)
    return kind is not None and "training" in inspect.signature(kind.call).parameters


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in one_of_each_function()
        if takes_training(importlib.import_module("keras"), name)
    ],
)
def test_in_training_nothing_is_taken_for_inference(keras, name):
    kind = keras_cases.class_of(keras, name)
    if kind is None:
        assert not hasattr(keras.layers, name)
        return
    training = {"training": True} if takes_training(keras, name) else {}
    layer, given, _ = called(
        keras, name, {"dropout": 0.5} if "dropout" in layer_options._parameters(kind) else {}
    )
    inputs = (
        given
        if len(given) == 1 or name in ("GroupedQueryAttention", "MultiHeadAttention")
        else [given]
    )

    class Trains(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def call(self, given):
            return self.layer(*(given if len(inputs) > 1 else [given]), **training)

    report = next(
        one
        for one in probe.sweep(Trains(), given if len(given) > 1 else given[0])
        if one.layer == layer.name
    )
    assert report.verdict in ("agree", "unchecked"), str(report)
