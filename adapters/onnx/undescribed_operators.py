"""Which operators of the default domain have no description, and why: read by the tests, the
listing and the README."""

__all__ = ["LEFT_OUT"]

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(
        (
            *("SequenceEmpty", "SequenceLength", "SequenceMap"),
            *("Optional", "OptionalGetElement", "OptionalHasElement"),
        ),
        "it handles sequences and optionals, not tensors",
    ),
    **dict.fromkeys(
        ("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"), "it handles strings"
    ),
    **dict.fromkeys(
        (
            "Bernoulli",
            "Multinomial",
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
        ),
        "it draws random numbers",
    ),
    **dict.fromkeys(
        (*("Constant", "MelWeightMatrix", "Shape", "Size"),),
        "it generates values from a shape or from nothing, not from its input's values",
    ),
    **dict.fromkeys(
        ("DeformConv", "MaxRoiPool", "RoiAlign"), "there is no op for sampling regions"
    ),
    "SwiGLU": "ONNX Runtime 1.32, which runs the model, has no kernel for it",
    "com.microsoft.QLinearSoftmax": "ONNX Runtime sums a table of integers, which may be one level "
    "off",
    "ImageDecoder": "it reads the bytes of image files",
}
"""Operator -> the reason."""
