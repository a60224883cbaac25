"""The same for each class that the adapters describe."""

import explained_cases
import keras
import keras_cases
import onnx_cases
import pytest
import tf_keras
from recorded import assert_same

pytestmark = pytest.mark.tensorflow
SAMPLE = (
    *("torch-Conv2d", "torch-MaxPool2d", "torch-Linear", "torch-GroupNorm", "torch-PReLU"),
    *("keras-Conv2D", "keras-LayerNormalization", "keras-Dense"),
    *("tf_keras-DepthwiseConv2D", "qkeras-QDense", "qkeras-QConv2D"),
    *(
        "LSTM",
        "Bidirectional",
        "GroupNormalization",
        "Conv",
        "BatchNormalization",
        "Softmax",
    ),
)
"""What the default run tries; the rest is exhaustive."""
RANDOM = ("AugMix", "RandomHeight", "RandomWidth")
"""They draw anew each time: the first exported by Keras, the others in training mode."""
ELSEWHERE = ("hgq.", "ClusterWeights", "PruneLowMagnitude", "QuantizeLayer", "QuantizeWrapper")
"""Classes of packages that neither Keras holds begin so."""


def parameters(cases):
    """(id, values) as parameters."""
    return [
        pytest.param(*values, id=name, marks=[] if name in SAMPLE else [pytest.mark.exhaustive])
        for name, values in cases
    ]


EXPLAINED = [(one.id, one.values[1:]) for one in explained_cases.LAYERS]
KERAS = [
    (name, (name,))
    for name in keras_cases.names()
    if name not in RANDOM and not name.startswith(ELSEWHERE)
]
ONNX = [(case[0], (case,)) for case in onnx_cases.CASES]


@pytest.mark.parametrize(("layer", "shapes"), parameters(EXPLAINED))
def test_layers_of_the_frameworks(layer, shapes, tmp_path):
    assert_same(layer, list(explained_cases.drawn(layer, shapes)), tmp_path)


@pytest.mark.parametrize("name", parameters(KERAS))
def test_described_classes_of_keras(name, tmp_path):
    """Those that Keras 3 no longer has, of Keras 2."""
    built = keras_cases.build(keras, name) or keras_cases.build(tf_keras, name)
    assert_same(*built, tmp_path)


@pytest.mark.parametrize("case", parameters(ONNX))
def test_described_operators_of_onnx(case, tmp_path):
    assert_same(*onnx_cases.single(*case), tmp_path)


def test_the_sample_is_there():
    named = {name for cases in (EXPLAINED, KERAS, ONNX) for name, _ in cases}
    assert not set(SAMPLE) - named
