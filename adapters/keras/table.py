"""Which layer classes have a description, and in which module it stands: readable without any framework.

The listing of a file and the allow list for untrusted files read this table; ``tests/adapters/keras`` compares it
with what the modules register. Modules are named relatively to ``adapters.keras``.
"""

__all__ = ["DESCRIBED", "ROOTS"]

ROOTS = ("keras", "tf_keras", "qkeras")
"""The packages whose classes the names below mean; a class of the same name elsewhere is another class."""

_FAMILIES = {
    ".activation": ("Activation", "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"),
    ".conv": (
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
    ),
    ".merging": ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract"),
    ".normalization": ("BatchNormalization", "GroupNormalization", "LayerNormalization"),
    ".pooling": (
        "AdaptiveAveragePooling1D",
        "AdaptiveAveragePooling2D",
        "AdaptiveAveragePooling3D",
        "AdaptiveMaxPooling1D",
        "AdaptiveMaxPooling2D",
        "AdaptiveMaxPooling3D",
        "AveragePooling1D",
        "AveragePooling2D",
        "AveragePooling3D",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalAveragePooling3D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "GlobalMaxPooling3D",
        "MaxPooling1D",
        "MaxPooling2D",
        "MaxPooling3D",
    ),
    ".shape": (
        "ActivityRegularization",
        "AlphaDropout",
        "Cropping1D",
        "Cropping2D",
        "Cropping3D",
        "Dropout",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "Identity",
        "Permute",
        "RepeatVector",
        "Reshape",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "UpSampling1D",
        "UpSampling2D",
        "UpSampling3D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    ),
    "..qkeras": ("QActivation", "QBatchNormalization", "QConv1D", "QConv2D", "QDense", "QDepthwiseConv2D"),
}

DESCRIBED: dict[str, str] = {name: module for module, names in _FAMILIES.items() for name in names}
"""Class name -> the module that describes it."""
