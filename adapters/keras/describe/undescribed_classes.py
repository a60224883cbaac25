"""Which layer classes have no description, and why: read by the tests and by the README's table."""

__all__ = ["FOLLOWED", "LEFT_OUT"]

_TEXT = "it processes text"
_HASH = "it hashes a number's decimal text, which NumPy and ONNX cannot recompute"
_BASE = "a base class; its subclasses are described or traced"
_INPUT = "an input, which computes nothing"
_LOSS = "a loss, which needs a target that inference does not have"
_BITS = "it computes with the bits of integers, for which there is no op"
_SOLVED = "it solves equations step by step, and the effect of rounding depends on the matrix"
_JAX = "it calls a JAX function, whose operations cannot be captured"

LEFT_OUT: dict[str, dict[str, str]] = {
    "keras": {
        "ContrastLimitedAdaptiveHistogramEqualization": (
            "its histograms truncate to whole grey levels, where any rounding error changes "
            "the result"
        ),
        "FlaxLayer": _JAX,
        "HashedCrossing": _HASH,
        "Hashing": _HASH,
        "InputLayer": _INPUT,
        "JaxLayer": _JAX,
        "Layer": _BASE,
        "Pipeline": "it only calls other layers, which are checked individually",
        "StringLookup": _TEXT,
        "TFSMLayer": "it calls a graph saved by TensorFlow, whose operations cannot be captured",
        "TextVectorization": _TEXT,
        "TorchModuleWrapper": "it calls a PyTorch module: open that module instead",
        "Wrapper": _BASE,
    },
    "tf_keras": {
        "AbstractRNNCell": _BASE,
        "DenseFeatures": ("it computes features from table columns, as its feature columns define"),
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
        "MultipleQuantizers": "a part of other layers, with which it is checked",
        "QBaseConv": _BASE,
        "QBasePooling": _BASE,
        "QConvTBase": _BASE,
        "QLayerBase": _BASE,
        "QLayerBaseMultiInputs": _BASE,
        "QLayerBaseSingleInput": _BASE,
        "QMerge": _BASE,
        "QRNN": _BASE,
    },
    "keras.ops": {
        **dict.fromkeys(
            (
                "BinaryCrossentropy",
                "CTCLoss",
                "CategoricalCrossentropy",
                "SparseCategoricalCrossentropy",
            ),
            _LOSS,
        ),
        "Cond": (
            "which of its functions it calls depends on a value, and they may use outer variables"
        ),
        "JVP": ("it differentiates a user function, whose operations are not nodes of the model"),
        **dict.fromkeys(
            ("Angle", "Polar", "ViewAsComplex", "ViewAsReal"),
            "it computes with complex numbers, for which there is no op",
        ),
        **dict.fromkeys(
            (
                "BitwiseAnd",
                "BitwiseInvert",
                "BitwiseLeftShift",
                "BitwiseNot",
                "BitwiseOr",
                "BitwiseRightShift",
            ),
            _BITS,
        ),
        **dict.fromkeys(
            ("BitwiseXor", "Gcd", "Lcm", "LeftShift", "Nextafter", "RightShift", "View"), _BITS
        ),
        **dict.fromkeys(
            ("Arange", "Bincount", "Nonzero", "Unique"),
            "the shape of its output depends on values",
        ),
        **dict.fromkeys(
            (
                "Cholesky",
                "CholeskyInverse",
                "Det",
                "Eig",
                "Eigh",
                "Inv",
                "Logdet",
                "Lstsq",
                "LuFactor",
            ),
            _SOLVED,
        ),
        **dict.fromkeys(
            ("MatrixRank", "Pinv", "Qr", "SVD", "Slogdet", "Solve", "SolveTriangular"), _SOLVED
        ),
        "PerspectiveTransform": (
            "it solves equations for its mapping, and the effect of rounding depends on the points"
        ),
        "ScaleAndTranslate": ("it sums kernels at computed coordinates, for which there is no op"),
        **dict.fromkeys(("Erfinv", "I0"), "ONNX has no corresponding operator"),
        **dict.fromkeys(
            ("Nanargmax", "Nanargmin", "Nanmedian", "Nanpercentile", "Nanquantile"),
            "which elements it uses depends on their values",
        ),
        **dict.fromkeys(
            ("SegmentMax", "SegmentMin", "SegmentProd"),
            "there is an op only for the sum of segments",
        ),
        "Argpartition": "it returns indices in no defined order",
        "ConvTranspose": (
            "in Keras 3.15 it fails in Keras itself, which passes its padding as output padding"
        ),
        "CTCDecode": "it searches for the best sequence step by step",
        "ElasticTransform": "it draws random numbers",
        "EmptyLike": "its values are uninitialised memory",
        "Geomspace": (
            "TensorFlow computes it by logarithms and powers, whose rounding errors dominate "
            "the result"
        ),
        "Histogram": (
            "its interval boundaries depend on values, and rounding decides to which side a "
            "value belongs"
        ),
        "Logspace": "its powers of a computed number have rounding errors that are not bounded",
        "Ndim": "it returns a Python number, not a tensor",
        "SSIM": _LOSS,
        "SegmentReduction": _BASE,
    },
}
"""Package -> class name -> the reason."""

FOLLOWED = (
    "AssociativeScan",
    "ForiLoop",
    "Lambda",
    "Map",
    "Scan",
    "Switch",
    "VectorizedMap",
    "WhileLoop",
)
"""Classes that hold the user's own functions, which are followed through the operations they make
(symbolic_trace.py, unrolled_loops.py)."""
