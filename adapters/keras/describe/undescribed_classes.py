"""Which layer classes have no description, and why: read by the tests and by the README's table."""

__all__ = ["FOLLOWED", "LEFT_OUT"]

_TEXT = "it works on text"
_HASH = (
    "it takes the hash of a number's digits as text: no arithmetic that NumPy or ONNX could "
    "do again"
)
_BASE = "a base class: what derives from it is described, or followed"
_INPUT = "an input: it computes nothing"
_LOSS = "a loss: it compares with a target, which an inference has not"
_BITS = "it works on the bits of integers, which no op holds"
_SOLVED = "it solves equations step by step, where how much rounding does follows from the matrix"
_JAX = "it calls a function of JAX, whose operations are not seen"

LEFT_OUT: dict[str, dict[str, str]] = {
    "keras": {
        "ContrastLimitedAdaptiveHistogramEqualization": (
            "its histograms cut to whole grey levels, where any rounding decides"
        ),
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
        "DenseFeatures": (
            "it computes features from columns of text and numbers, which its columns define"
        ),
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
            "which of its functions it calls follows from a value, and they see what they "
            "take from outside"
        ),
        "JVP": (
            "it differentiates a function of the user's own, whose operations are no nodes of "
            "the model"
        ),
        **dict.fromkeys(
            ("Angle", "Polar", "ViewAsComplex", "ViewAsReal"),
            "it works on complex numbers, which no op holds",
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
            "the shape of its output follows from values",
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
            "it solves equations for its map, where how much rounding does follows from the points"
        ),
        "ScaleAndTranslate": (
            "it sums over kernels at computed coordinates, for which there is no op yet"
        ),
        **dict.fromkeys(("Erfinv", "I0"), "ONNX has no such function"),
        **dict.fromkeys(
            ("Nanargmax", "Nanargmin", "Nanmedian", "Nanpercentile", "Nanquantile"),
            "which elements count follows from them",
        ),
        **dict.fromkeys(
            ("SegmentMax", "SegmentMin", "SegmentProd"),
            "no op takes more than the sum of a segment",
        ),
        "Argpartition": "it gives places in no order",
        "ConvTranspose": (
            "in a model of Keras 3.15 it fails in Keras itself, which gives its "
            "padding for its output padding"
        ),
        "CTCDecode": "the best sequence is searched for, step by step",
        "ElasticTransform": "it draws at random",
        "EmptyLike": "its values are whatever the memory held",
        "Geomspace": (
            "TensorFlow goes through logarithms and powers, whose rounding decides its digits"
        ),
        "Histogram": "the ends of its intervals follow from values, and rounding decides at them",
        "Logspace": "its powers of a computed number lose digits that no allowance knows",
        "Ndim": "it gives a number of Python's, no tensor",
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
(own.py, unrolled.py)."""
