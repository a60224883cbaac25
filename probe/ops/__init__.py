"""The ops: one frozen dataclass per arithmetic operation, named as ONNX names it, in one file per
family.

A file is imported when one of its names is first asked for: to make all classes takes a third of
the time in which a recording is checked.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probe.ops.along_axis.reduce import *
    from probe.ops.along_axis.softmax import *
    from probe.ops.along_axis.topk_sort_cumsum import *
    from probe.ops.alternative_form import *
    from probe.ops.attention.additive_attention import *
    from probe.ops.attention.attention import *
    from probe.ops.base import *
    from probe.ops.contributions import *
    from probe.ops.elementwise.activation import *
    from probe.ops.elementwise.binary_math import *
    from probe.ops.elementwise.bitwise import *
    from probe.ops.elementwise.composed import *
    from probe.ops.elementwise.logic import *
    from probe.ops.elementwise.masking import *
    from probe.ops.elementwise.n_ary import *
    from probe.ops.elementwise.standardize import *
    from probe.ops.elementwise.unary_math import *
    from probe.ops.linear.conv import *
    from probe.ops.linear.determinant import *
    from probe.ops.linear.einsum import *
    from probe.ops.linear.einsum_weight import *
    from probe.ops.linear.fourier import *
    from probe.ops.linear.im2col import *
    from probe.ops.linear.integer_sums import *
    from probe.ops.linear.matmul import *
    from probe.ops.linear.transpose_conv import *
    from probe.ops.lookup.category_encoding import *
    from probe.ops.lookup.embedding import *
    from probe.ops.lookup.gather_scatter import *
    from probe.ops.lookup.ngrams import *
    from probe.ops.lookup.nonzero_unique_nms import *
    from probe.ops.normalization.batch_layer_group_norm import *
    from probe.ops.normalization.rms_lp_norm import *
    from probe.ops.python_function import *
    from probe.ops.quantize.brevitas import *
    from probe.ops.quantize.code_arithmetic import *
    from probe.ops.quantize.code_functions import *
    from probe.ops.quantize.code_quotient import *
    from probe.ops.quantize.dynamic import *
    from probe.ops.quantize.dynamic_input import *
    from probe.ops.quantize.fake_quantize import *
    from probe.ops.quantize.fixed_point import *
    from probe.ops.quantize.interpolated_tables import *
    from probe.ops.quantize.qkeras_activations import *
    from probe.ops.quantize.qkeras_auto_scale import *
    from probe.ops.quantize.qkeras_binary_ternary import *
    from probe.ops.quantize.qkeras_bits import *
    from probe.ops.quantize.qkeras_power_of_two import *
    from probe.ops.quantize.quantize_linear import *
    from probe.ops.quantize.requantize import *
    from probe.ops.quantize.sigmoid_table import *
    from probe.ops.quantize.tf_fake_quantize import *
    from probe.ops.recurrent.conv_lstm import *
    from probe.ops.recurrent.integer_lstm import *
    from probe.ops.recurrent.packed_sequence import *
    from probe.ops.recurrent.peephole_lstm import *
    from probe.ops.recurrent.recurrence import *
    from probe.ops.recurrent.rnn_lstm_gru import *
    from probe.ops.resize.grid_sample import *
    from probe.ops.resize.nearest import *
    from probe.ops.resize.resize import *
    from probe.ops.shape.concat_weight import *
    from probe.ops.shape.flip import *
    from probe.ops.shape.rearrange import *
    from probe.ops.window.average_pool import *
    from probe.ops.window.max_pool import *
    from probe.ops.window.max_pool_indices import *

_FILES = {
    "along_axis.reduce": (
        "ReduceAll ReduceAny ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin "
        "ReduceProd ReduceStd ReduceSum ReduceSumSquare ReduceVar"
    ),
    "along_axis.softmax": "Glu LogSoftmax Softmax Softmin Sparsemax of_exponentials",
    "along_axis.topk_sort_cumsum": "ArgMax ArgMin CumProd CumSum TopK",
    "alternative_form": "ByParts",
    "attention.additive_attention": "AdditiveAttention",
    "attention.attention": "Attention",
    "base": "Arrays Elementwise Errors Evaluated Graph Indices Op Rearrangement Sum spread",
    "contributions": "Contributions Stage Terms box named",
    "elementwise.activation": (
        "Abs Celu Clip Elu Exp Gelu HardSigmoid HardSwish Identity LeakyRelu LogSigmoid Mish Neg "
        "PRelu Relu Relu6 ScaledRelu Selu Shrink Sigmoid Softplus Softsign SparsePlus "
        "SparseSigmoid Squareplus Swish Tanh TanhShrink ThresholdedRelu"
    ),
    "elementwise.binary_math": "Cast Constant Div FloorDiv Mod Parameter Pow Stored",
    "elementwise.bitwise": "BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor",
    "elementwise.composed": "Chain",
    "elementwise.logic": (
        "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not NotEqual Or Where Xor"
    ),
    "elementwise.masking": "Fill Lower MaskSteps MaskedMean",
    "elementwise.n_ary": "Add AddConstant Beside Concat Max Mean Min Mul MulConstant Sub",
    "elementwise.standardize": "AutoContrast Standardize",
    "elementwise.unary_math": (
        "Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Expm1 Floor Log Log1p Log2 Log10 "
        "Reciprocal Round Rsqrt Sign Sin Sinh Sqrt Square Tan Trunc"
    ),
    "linear.conv": "Conv",
    "linear.determinant": "Det SingularValues",
    "linear.einsum": "Einsum Product",
    "linear.einsum_weight": "WeightedEinsum",
    "linear.fourier": "Fourier",
    "linear.im2col": "Col2Im Im2Col",
    "linear.integer_sums": "IntegerConv IntegerConvTranspose IntegerMatMul",
    "linear.matmul": "MatMul",
    "linear.transpose_conv": "ConvTranspose",
    "lookup.category_encoding": "Bucketize Lookup OneHot",
    "lookup.embedding": "Embedding EmbeddingBag",
    "lookup.gather_scatter": (
        "Expand Gather GatherElements GatherND ScatterElements ScatterND Tile Trilu"
    ),
    "lookup.ngrams": "CountNgrams",
    "lookup.nonzero_unique_nms": "NonMaxSuppression NonZero Unique",
    "normalization.batch_layer_group_norm": (
        "BatchNormalization GroupNormalization LayerNormalization"
    ),
    "normalization.rms_lp_norm": "LRN LpNormalization RMSNormalization",
    "python_function": "Recomputed",
    "quantize.brevitas": "FloatQuantize IntQuantize SignQuantize",
    "quantize.code_arithmetic": "DivideRounded QuantizeFloat ScaleInFloat32",
    "quantize.code_functions": "FunctionOfCodes HardSwishOfCodes SoftmaxOfCodes",
    "quantize.code_quotient": "QuotientOfCodes",
    "quantize.dynamic": "FLOAT8_TYPES AbsMaxQuantize Float8",
    "quantize.dynamic_input": "DynamicInput",
    "quantize.fake_quantize": "DynamicQuantize FakeQuantize",
    "quantize.fixed_point": "FixedPoint MiniFloat",
    "quantize.interpolated_tables": "InterpolatedFunction InterpolatedSoftmax",
    "quantize.qkeras_activations": (
        "Affine QuantizedSigmoid QuantizedTanh QuantizedUlaw ShiftedHardSwish"
    ),
    "quantize.qkeras_auto_scale": "AutoQuantizedBits",
    "quantize.qkeras_binary_ternary": "Binary Ternary",
    "quantize.qkeras_bits": "Mixing QuantizedBits QuantizedRelu Quantizer",
    "quantize.qkeras_power_of_two": "QuantizedPo2 QuantizedReluPo2",
    "quantize.quantize_linear": "DynamicQuantizeLinear QuantizeLinear",
    "quantize.requantize": "ROUNDINGS Requantize SubtractZeroPoint fixed_point moved_by_slack",
    "quantize.sigmoid_table": "SquashedCodes sigmoid_by_table tanh_by_table",
    "quantize.tf_fake_quantize": "NudgedFakeQuantize",
    "recurrent.conv_lstm": "ConvLSTM",
    "recurrent.integer_lstm": "IntegerLSTM",
    "recurrent.packed_sequence": "Packed Unpacked",
    "recurrent.peephole_lstm": "PeepholeLSTM",
    "recurrent.recurrence": "Before Recurrence",
    "recurrent.rnn_lstm_gru": "GRU LSTM RNN",
    "resize.grid_sample": "GridSample",
    "resize.nearest": "NearestOnLines ResizeNearest",
    "resize.resize": "Resize",
    "shape.concat_weight": "Append",
    "shape.flip": "Flip Grouped Squeeze Unsqueeze",
    "shape.rearrange": "Outputs Pad Reshape Slice Take Transpose",
    "window.average_pool": "AdaptiveAveragePool AveragePool GlobalAveragePool",
    "window.max_pool": "AdaptiveMaxPool GlobalMaxPool MaxPool",
    "window.max_pool_indices": (
        "AdaptiveMaxPoolIndices FractionalMaxPool LpPool MaxPoolIndices MaxUnpool"
    ),
}
"""The names that each file exports."""
_HOMES = {name: file for file, names in _FILES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'probe.ops' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"probe.ops.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*_HOMES, *globals()})
