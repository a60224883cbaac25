"""Which operators of the default domain have no description, and why: read by the tests, the
listing and the README."""

__all__ = ["LEFT_OUT"]

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(
        (
            "SequenceMap",
            *(
                "ConcatFromSequence",
                "SequenceAt",
                "SequenceConstruct",
                "SequenceEmpty",
                "SequenceErase",
                "SequenceInsert",
            ),
            *(
                "SequenceLength",
                "SplitToSequence",
                "Optional",
                "OptionalGetElement",
                "OptionalHasElement",
            ),
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
        "it draws at random",
    ),
    **dict.fromkeys(
        (*("Constant", "MelWeightMatrix", "Shape", "Size"),),
        "it makes numbers of a shape, a size or nothing: they do not follow from those of the "
        "input",
    ),
    **dict.fromkeys(("DeformConv", "MaxRoiPool", "RoiAlign"), "samples of regions have no op"),
    "SwiGLU": "ONNX Runtime 1.32, which runs the model, has no kernel for it",
    "ImageDecoder": "it reads the bytes of image files",
}
"""Operator -> the reason."""
