"""Which function writes which op: one for each class, and for no class that derives from it, whose
arithmetic is another."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from probe.ops.base import Op

__all__ = ["LEFT_OUT", "Unwritten", "WriteOp", "is_written", "writer_of", "writes", "writes_as"]


class Unwritten(Exception):
    """A step that is not written, with the reason as words."""


Kind = TypeVar("Kind", bound="Op")
WriteOp = Callable[..., Any]
"""``(op, writer, *values)`` gives the outputs' values: one, or a tuple of several."""

_FILES = {
    "attention": "AdditiveAttention Attention",
    "code_functions": (
        "DynamicInput FunctionOfCodes HardSwishOfCodes InterpolatedFunction InterpolatedSoftmax "
        "SoftmaxOfCodes"
    ),
    "fake_quantize": (
        "AbsMaxQuantize DynamicQuantize DynamicQuantizeLinear FakeQuantize Float8 FloatQuantize "
        "IntQuantize MiniFloat NudgedFakeQuantize QuantizeLinear SignQuantize"
    ),
    "gather": (
        "Append Bucketize Col2Im Det Fourier Gather GatherElements GatherND Im2Col "
        "Lookup OneHot ScatterElements ScatterND SingularValues Trilu"
    ),
    "group_norm": "GroupNormalization LRN LpNormalization RMSNormalization",
    "integer_codes": (
        "DivideRounded IntegerConv IntegerConvTranspose IntegerMatMul QuantizeFloat Requantize "
        "ScaleInFloat32 SubtractZeroPoint"
    ),
    "logic": " ".join(
        [
            "And Not",
            "Or Where",
            "BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor ByParts Chain Equal",
            "FloorDiv Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Mod NotEqual Xor",
        ]
    ),
    "lookup": "CountNgrams Embedding EmbeddingBag",
    "masking": "AutoContrast Fill Lower MaskSteps MaskedMean Standardize",
    "pool_places": "AdaptiveMaxPoolIndices FractionalMaxPool LpPool MaxPoolIndices MaxUnpool",
    "quantizers": (
        "Affine AutoQuantizedBits Binary FixedPoint QuantizedBits QuantizedPo2 QuantizedRelu "
        "QuantizedReluPo2 QuantizedSigmoid QuantizedTanh QuantizedUlaw ShiftedHardSwish Ternary"
    ),
    "recurrent": "GRU LSTM RNN",
    "recurrent_kinds": "ConvLSTM PeepholeLSTM",
    "reductions": (
        "ArgMax ArgMin CumProd CumSum Glu ReduceAll ReduceAny ReduceL1 ReduceL2 ReduceLogSumExp "
        "ReduceMax ReduceMin ReduceProd ReduceStd ReduceSumSquare ReduceVar Sparsemax TopK"
    ),
    "transpose_conv": "ConvTranspose",
    "along_axis": "LogSoftmax ReduceMean ReduceSum Softmax Softmin",
    "elementwise": (
        "Abs Acos Acosh Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Expm1 "
        "Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log Log10 Log1p Log2 LogSigmoid "
        "Mish Neg PRelu Reciprocal Relu Relu6 Round Rsqrt ScaledRelu Selu Shrink Sigmoid Sign "
        "Sin Sinh Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus Stored "
        "Swish Tan Tanh TanhShrink ThresholdedRelu Trunc"
    ),
    "linear": "Conv Einsum MatMul Product WeightedEinsum",
    "n_ary": (
        "Add AddConstant Beside Concat Constant Div Max Mean Min Mul MulConstant Parameter Pow Sub"
    ),
    "normalization": "BatchNormalization LayerNormalization",
    "resize": "NearestOnLines Resize ResizeNearest",
    "sampling": "GridSample NonMaxSuppression NonZero Packed Unique Unpacked",
    "shape": "Expand Flip Grouped Outputs Pad Reshape Slice Squeeze Take Tile Transpose Unsqueeze",
    "window": (
        "AdaptiveAveragePool AdaptiveMaxPool AveragePool GlobalAveragePool GlobalMaxPool MaxPool"
    ),
}
"""The ops that each file of ``probe.by_hand.writers`` writes; it is imported for the first."""
_HOMES = {name: file for file, names in _FILES.items() for name in names.split()}

LEFT_OUT = {
    "IntegerLSTM": "computes its gates in whole numbers, by tables or polynomials of a kernel",
    "Recomputed": "is a function of the user's own",
    "QuotientOfCodes": "is a table of reciprocals, or series in fixed point",
    "SquashedCodes": "is a table of 256 entries with lines between",
}
"""The ops that are not written, and why."""

_WRITERS: dict[type["Op"], WriteOp] = {}
_ALIKE: dict[type["Op"], str] = {}


def writes(*kinds: type["Op"]) -> Callable[[WriteOp], WriteOp]:
    """Registers a function for these classes."""

    def register(function: WriteOp) -> WriteOp:
        for kind in kinds:
            _WRITERS[kind] = function
        return function

    return register


def writes_as(name: str) -> Callable[[type[Kind]], type[Kind]]:
    """Registers a class, of a mistake, with the function that writes the op of that name: it reads
    the fields that make the difference."""

    def register(kind: type[Kind]) -> type[Kind]:
        _ALIKE[kind] = name
        return kind

    return register


def _function_of(kind: type["Op"]) -> WriteOp | None:
    name = _ALIKE.get(kind, kind.__name__)
    if name in _HOMES and (kind in _ALIKE or kind.__module__.startswith("probe.ops.")):
        import_module(f"probe.by_hand.writers.{_HOMES[name]}")
    if kind in _ALIKE:
        return next((write for op, write in _WRITERS.items() if op.__name__ == name), None)
    return _WRITERS.get(kind)


def is_written(op: "Op") -> bool:
    """Whether there is a function that writes it."""
    return _function_of(type(op)) is not None


def writer_of(op: "Op") -> WriteOp:
    """The function that writes an op; raises Unwritten where there is none."""
    function, name = _function_of(type(op)), type(op).__name__
    if function is None:
        raise Unwritten(f"{name} {LEFT_OUT.get(name, 'is not written here')}")
    return function
