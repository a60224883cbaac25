"""The output shapes that are computed from a config are Keras' own."""

import json

import keras
import keras_cases
import pytest
import tf_keras
from probe.adapters.keras.loading.output_shapes import _RULES, inferred_shapes

BOTH = pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
SAME, VALID = {"padding": "same"}, {"padding": "valid"}
WINDOWS = [name for name in _RULES if name.rstrip("D")[:-1] in ("MaxPooling", "AveragePooling")]
CHANGED = {
    **{name: [VALID, {**VALID, "dilation_rate": 2}] for name in ("Conv1D", "Conv2D")},
    "Conv3D": [VALID, {**SAME, "strides": 2}],
    **{
        f"Conv{rank}DTranspose": [{**VALID, "strides": 3}, {**SAME, "strides": 1}]
        for rank in (1, 2, 3)
    },
    **{name: [{**VALID, "strides": 1}, {**SAME, "strides": None}] for name in WINDOWS},
    "DepthwiseConv2D": [{**VALID, "depth_multiplier": 2}],
    "ZeroPadding2D": [{"padding": ((1, 2), (0, 3))}, {"padding": 2}],
    "Cropping2D": [{"cropping": ((1, 2), (0, 1))}],
    "UpSampling2D": [{"size": (2, 3)}],
    "Concatenate": [{"axis": 1}],
    "LSTM": [{"return_sequences": True}, {"return_sequences": False}],
    "GlobalAveragePooling2D": [{"keepdims": True}],
    "Reshape": [{"target_shape": (-1, 2)}],
}


def entries(model):
    """The layers of its config, as a file holds them, and whether they are a chain."""
    config = json.loads(model.to_json())
    return config["config"]["layers"], config["class_name"] == "Sequential"


@pytest.mark.exhaustive(default=40)
@BOTH
@pytest.mark.parametrize("name", sorted(name for name in _RULES if name in keras_cases.CASES))
def test_every_rule(namespace, name):
    for changed in ({}, *CHANGED.get(name, ())):
        built = keras_cases.build(namespace, name, **changed)
        if built is None:
            pytest.skip(f"{namespace.__name__} has no {name}")
        layer, arrays = built
        # a batch that is free, as in a file
        inputs = [namespace.Input(one.shape[1:], dtype=str(one.dtype)) for one in arrays]
        output = layer(inputs if len(inputs) > 1 else inputs[0])
        if isinstance(output, list | tuple):
            output = output[0]
        model = namespace.Model(inputs, output)
        assert inferred_shapes(*entries(model)).get(layer.name) == tuple(output.shape), changed


@BOTH
def test_sequential_and_nested_models_and_free_sizes(namespace):
    inner = namespace.Sequential(
        [namespace.layers.Dense(5, input_shape=(4,)), namespace.layers.ReLU()]
        if namespace is tf_keras
        else [namespace.Input((4,)), namespace.layers.Dense(5), namespace.layers.ReLU()]
    )
    x = namespace.Input((None, 4))
    y = namespace.layers.Conv1D(3, 2)(x)
    model = namespace.Model(x, namespace.layers.GlobalMaxPooling1D()(y))
    assert list(inferred_shapes(*entries(model)).values())[1:] == [(None, None, 3), (None, 3)]
    first = namespace.Input((4,))
    outer = namespace.Model(first, namespace.layers.Dense(2)(inner(first)))
    found = inferred_shapes(*entries(outer))
    assert found[inner.name] == (None, 5) and list(found.values())[-1] == (None, 2)


def test_what_has_no_rule_and_what_is_no_config_have_no_shape():
    last = [keras.layers.Lambda(lambda x: x), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *last])
    layers, chained = entries(model)
    assert list(inferred_shapes(layers, chained).values()) == [(None, 4)]
    layers[2]["class_name"], layers[2]["config"]["units"] = "Dense", "many"
    assert list(inferred_shapes(layers, chained).values()) == [(None, 4)]
