"""Which layer classes have no description, and why: read by the tests and by the README's table."""

__all__ = ["FOLLOWED", "LEFT_OUT"]

_TEXT = "it works on text"
_HASH = "it takes the hash of a number's digits as text: no arithmetic that NumPy or ONNX could do again"
_BASE = "a base class: what derives from it is described, or followed"
_INPUT = "an input: it computes nothing"
_JAX = "it calls a function of JAX, whose operations are not seen"

LEFT_OUT: dict[str, dict[str, str]] = {
    "keras": {
        "ContrastLimitedAdaptiveHistogramEqualization": "its histograms cut to whole grey levels, where any rounding decides",
        "FlaxLayer": _JAX,
        "HashedCrossing": _HASH,
        "Hashing": _HASH,
        "InputLayer": _INPUT,
        "JaxLayer": _JAX,
        "Layer": _BASE,
        "Pipeline": "it only calls other layers, which are checked one by one",
        "StringLookup": _TEXT,
        "TFSMLayer": "it calls a graph that TensorFlow saved, whose operations are not seen",
        "TextVectorization": _TEXT,
        "TorchModuleWrapper": "it calls a module of PyTorch's: give probe that module",
        "Wrapper": _BASE,
    },
    "tf_keras": {
        "AbstractRNNCell": _BASE,
        "DenseFeatures": "it computes features from columns of text and numbers, which its columns define",
        "HashedCrossing": _HASH,
        "Hashing": _HASH,
        "InputLayer": _INPUT,
        "Layer": _BASE,
        "StringLookup": _TEXT,
        "TextVectorization": _TEXT,
        "Wrapper": _BASE,
    },
    "qkeras": {},
    "hgq": {
        "MultipleQuantizers": "a part of the layers around it, which are described with it",
        "QBaseConv": _BASE,
        "QBasePooling": _BASE,
        "QConvTBase": _BASE,
        "QLayerBase": _BASE,
        "QLayerBaseMultiInputs": _BASE,
        "QLayerBaseSingleInput": _BASE,
        "QMerge": _BASE,
        "QRNN": _BASE,
    },
}
"""Package -> class name -> the reason."""

FOLLOWED = ("Lambda",)
"""Classes that hold the user's own function, which is followed through the operations it makes (own.py)."""
