"""Which layer classes have a description, and in which module it stands: readable without any
framework.

The listing of a file and the allow list for untrusted files read this table;
``tests/adapters/keras`` compares it with what the modules register. Modules are named relatively to
``adapters.keras``.
"""

__all__ = ["ADAPTERS", "DESCRIBED", "FUNCTIONS", "OPERATIONS", "ROOTS", "key_of"]

ADAPTERS = {"qkeras": "..qkeras", "hgq": "..hgq", "tensorflow_model_optimization": "..tfmot"}
"""Packages of layers -> their adapter, which is imported for a model that has any of them."""

ROOTS = ("keras", "tf_keras", *ADAPTERS)
"""The packages whose classes the names below mean; a class of the same name elsewhere is another
class."""

_FAMILIES = {
    ".layers.activation": (
        "Activation",
        "ELU",
        "LeakyReLU",
        "PReLU",
        "ReLU",
        "Softmax",
        "ThresholdedReLU",
    ),
    ".layers.attention": (
        "AdditiveAttention",
        "Attention",
        "GroupedQueryAttention",
        "MultiHeadAttention",
    ),
    ".layers.augmentation": (
        "AugMix",
        "AutoContrast",
        "CutMix",
        "Equalization",
        "MaxNumBoundingBoxes",
        "MixUp",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHeight",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomWidth",
        "RandomZoom",
        "Solarization",
    ),
    ".layers.conv": (
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "Dense",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
    ),
    ".layers.einsum": ("Dot", "EinsumDense"),
    ".layers.embedding": ("Embedding", "ReversibleEmbedding"),
    ".layers.locally_connected": ("LocallyConnected1D", "LocallyConnected2D"),
    ".layers.merging": (
        "Add",
        "Average",
        "Concatenate",
        "CustomScaleLayer",
        "Maximum",
        "Minimum",
        "Multiply",
        "Subtract",
    ),
    ".layers.normalization": (
        "BatchNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "RMSNormalization",
        "SpectralNormalization",
        "UnitNormalization",
    ),
    ".layers.pooling": (
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
    ".layers.preprocessing": (
        "CategoryEncoding",
        "CenterCrop",
        "Discretization",
        "IntegerLookup",
        "Normalization",
        "RandomCrop",
        "Rescaling",
    ),
    ".layers.recurrent": (
        "ConvLSTM1D",
        "ConvLSTM2D",
        "ConvLSTM3D",
        "ConvLSTMCell",
        "GRU",
        "GRUCell",
        "LSTM",
        "LSTMCell",
        "RNN",
        "SimpleRNN",
        "SimpleRNNCell",
        "StackedRNNCells",
    ),
    ".layers.resize": ("Resizing", "UpSampling2D"),
    ".layers.shape": (
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
        "LayerScale",
        "Masking",
        "Permute",
        "RepeatVector",
        "Reshape",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "StochasticDepth",
        "UpSampling1D",
        "UpSampling3D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "ZeroPadding3D",
    ),
    ".layers.spectrogram": ("MelSpectrogram", "STFTSpectrogram"),
    ".layers.transpose_conv": ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    ".layers.wrappers": ("Bidirectional", "TimeDistributed"),
    "..tfmot": (
        "ClusterWeights",
        "ClusterWeightsMHA",
        "ClusterWeightsRNN",
        "PruneLowMagnitude",
        "QuantizeLayer",
        "QuantizeWrapper",
        "QuantizeWrapperV2",
    ),
    "..hgq": tuple(
        f"hgq.{name}"
        for name in (
            "LIFCell QAdd QAffinedUnaryFunctionLUT QAveragePooling1D QAveragePooling2D "
            "QAveragePooling3D QAveragePow2 "
            "QBatchNormDense QBatchNormalization QConv1D QConv2D QConv3D QConvT1D QConvT2D QDense "
            "QDenseT QDot QEinsum "
            "QEinsumDense QEinsumDenseBatchnorm QEinsumDenseT QGRU QGRUCell "
            "QGlobalAveragePooling1D QGlobalAveragePooling2D "
            "QGlobalAveragePooling3D QGlobalMaxPooling1D QGlobalMaxPooling2D QGlobalMaxPooling3D "
            "QLIF QLIFCell "
            "QLinformerAttention QLinformerAttentionT QMaxPooling1D QMaxPooling2D QMaxPooling3D "
            "QMaximum QMeanPow2 QMinimum "
            "QMultiHeadAttention QMultiHeadAttentionT QMultiply QSALTAttention QSimpleRNN "
            "QSimpleRNNCell QSimpleSNN "
            "QSimpleSNNCell QSoftmax QSubtract QSum QUnaryFunctionLUT Quantizer SpikingNeuralCell"
        ).split()
    ),
    "..qkeras": (
        "QActivation",
        "QAdaptiveActivation",
        "QAveragePooling2D",
        "QBatchNormalization",
        "QBidirectional",
        "QConv1D",
        "QConv2D",
        "QConv2DBatchnorm",
        "QConv2DTranspose",
        "QDense",
        "QDepthwiseConv2D",
        "QDepthwiseConv2DBatchnorm",
        "QGRU",
        "QGRUCell",
        "QGlobalAveragePooling2D",
        "QLSTM",
        "QLSTMCell",
        "QSeparableConv1D",
        "QSeparableConv2D",
        "QSimpleRNN",
        "QSimpleRNNCell",
    ),
}


def key_of(package: str, name: str) -> str:
    """What a class is called in ``DESCRIBED``: HGQ2 has layers of the same names as QKeras'."""
    if package == "hgq":
        return f"hgq.{name}"
    return name


DESCRIBED: dict[str, str] = {name: module for module, names in _FAMILIES.items() for name in names}
"""Class name -> the module that describes it, from adapters/keras on."""

_OPERATIONS = {
    ".operations.arithmetic": (
        "Abs Absolute Add All Amax Amin Any Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Argmax "
        "Argmin Ceil Celu Clip Copy Cos "
        "Cosh Cumprod Cumsum Divide DivideNoNan Elu Equal Erf Exp Expm1 Fabs Floor FloorDivide "
        "Gelu Glu Greater GreaterEqual "
        "HardShrink HardSigmoid HardSilu HardTanh Hypot Isinf Isnan LeakyRelu Less LessEqual Log "
        "Log10 Log1p Log2 LogSigmoid "
        "LogSoftmax LogicalAnd LogicalNot LogicalOr LogicalXor Logsumexp Max Maximum Mean Min "
        "Minimum Mod Moments Multiply "
        "Negative Norm Normalize NotEqual Power Prod Reciprocal Relu Relu6 Round Rsqrt Selu "
        "Sigmoid Sign Silu Sin Sinh SoftShrink "
        "Softmax Softplus Softsign SparsePlus SparseSigmoid Sparsemax Sqrt Square Squareplus Std "
        "StopGradient Subtract Sum Tan "
        "Tanh TanhShrink Threshold TrueDivide Trunc Var"
    ),
    ".operations.fourier": "FFT FFT2 IFFT2 IRFFT ISTFT RFFT STFT",
    ".operations.image": (
        "CropImages GaussianBlur HSVToRGB PadImages RGBToGrayscale RGBToHSV Resize SobelEdges"
    ),
    ".operations.nn": "BatchNorm CDist DotProductAttention LayerNorm MultiHot PSNR RMSNorm",
    ".operations.numpy_functions": (
        "AllClose Arctan2 ArraySplit Average Cbrt Conj Conjugate Corrcoef CountNonzero Deg2rad "
        "Dsplit Erfc Exp2 Fmax Fmin Fmod "
        "Heaviside Hsplit Imag IsIn Isclose Isfinite Isneginf Isposinf Isreal Ldexp Linspace "
        "Logaddexp Logaddexp2 NanToNum Ptp "
        "Rad2deg Real Select Signbit Sinc Trapezoid UnravelIndex Vander Vsplit"
    ),
    ".operations.sorting": (
        "Argsort Digitize InTopK Median Nancumprod Nancumsum Nanmax Nanmean Nanmin Nanprod Nanstd "
        "Nansum Nanvar Percentile "
        "Quantile SearchSorted Sort"
    ),
    ".operations.scatter": (
        "Append Array ConvertToTensor Correlate Cross Diag Diagflat Diagonal Dstack "
        "ExtractSequences Fliplr Flipud Full "
        "FullLike Hstack Inner Kron Meshgrid Outer Rearrange Rot90 SaturateCast Scatter "
        "ScatterUpdate SegmentSum "
        "Size SliceUpdate Trace Vdot Vstack"
    ),
    ".operations.grid_sample": "AffineTransform MapCoordinates",
    ".operations.shape": (
        "BroadcastTo Cast Concatenate Diff Dot Einsum ExpandDims Flip GetItem Matmul Moveaxis "
        "OneHot OnesLike Pad Ravel Repeat "
        "Reshape Roll Slice Split Squeeze Stack Swapaxes Take TakeAlongAxis Tensordot Tile TopK "
        "Transpose Tril Triu Unstack Where "
        "ZerosLike"
    ),
    ".operations.windows": (
        "AdaptiveAveragePool AdaptiveMaxPool AveragePool Conv DepthToSpace DepthwiseConv "
        "ExtractPatches Fold MaxPool "
        "SeparableConv SpaceToDepth Unfold"
    ),
}

OPERATIONS: dict[str, str] = {
    name: module for module, names in _OPERATIONS.items() for name in names.split()
}
"""Class of an operation of keras.ops, which a functional model of Keras 3 records -> the module
that describes it."""

_FUNCTIONS = {
    ".tf_functions.arithmetic": (
        "__operators__.add clip_by_value compat.v1.floor_div compat.v1.math.log_sigmoid "
        "compat.v1.norm einsum grad_pass_through identity "
        "linalg.l2_normalize linalg.matmul "
        "linalg.norm math.abs math.acos math.acosh math.add math.asin math.asinh math.atan "
        "math.atanh math.ceil math.cos "
        "math.cosh math.divide math.divide_no_nan math.equal math.erf math.exp math.expm1 "
        "math.floor math.floordiv "
        "math.floormod math.greater math.greater_equal math.is_inf math.is_nan math.l2_normalize "
        "math.less math.less_equal "
        "math.log math.log1p math.log_sigmoid math.logical_and math.logical_not math.logical_or "
        "math.logical_xor math.maximum "
        "math.minimum math.multiply math.negative math.not_equal math.pow math.reciprocal "
        "math.reduce_all math.reduce_any "
        "math.reduce_euclidean_norm math.reduce_logsumexp math.reduce_max math.reduce_mean "
        "math.reduce_min math.reduce_prod "
        "math.reduce_std math.reduce_sum math.reduce_variance math.rint math.round math.rsqrt "
        "math.sigmoid math.sign math.sin math.sinh "
        "math.softplus math.softsign math.sqrt math.square math.squared_difference math.subtract "
        "math.tan math.tanh "
        "math.truediv nn.bias_add nn.elu nn.gelu nn.leaky_relu "
        "nn.log_softmax nn.relu "
        "nn.relu6 nn.selu nn.sigmoid nn.silu nn.softmax nn.softplus nn.softsign nn.tanh norm "
        "stop_gradient tensordot"
    ),
    ".tf_functions.shape": (
        "__operators__.getitem broadcast_to cast compat.v1.argmax compat.v1.argmin "
        "compat.v1.expand_dims compat.v1.gather "
        "compat.v1.ones_like compat.v1.pad compat.v1.shape compat.v1.squeeze compat.v1.tile "
        "compat.v1.transpose compat.v1.where "
        "compat.v1.zeros_like concat expand_dims gather math.argmax math.argmin math.cumsum "
        "math.top_k nn.depth_to_space "
        "nn.space_to_depth one_hot ones_like pad repeat reshape reverse shape slice split squeeze "
        "stack tile transpose unstack "
        "where zeros_like"
    ),
    ".tf_functions.windows": (
        "compat.v1.nn.conv1d compat.v1.nn.conv2d compat.v1.nn.convolution nn.conv1d nn.conv2d "
        "nn.convolution "
        "compat.v1.math.scalar_mul compat.v1.nn.depthwise_conv2d image.crop_to_bounding_box "
        "image.resize linalg.diag_part linalg.trace "
        "math.add_n math.cumprod math.erfc math.is_finite math.scalar_mul nn.avg_pool "
        "nn.avg_pool1d nn.avg_pool2d nn.avg_pool3d "
        "nn.conv1d_transpose nn.conv2d_transpose nn.conv3d_transpose nn.depthwise_conv2d "
        "nn.local_response_normalization nn.max_pool "
        "nn.max_pool1d nn.max_pool2d nn.max_pool3d roll sort"
    ),
}

FUNCTIONS: dict[str, str] = {
    name: module for module, names in _FUNCTIONS.items() for name in names.split()
}
"""TensorFlow's function behind a TFOpLambda of Keras 2, by its exported name -> the module that
describes it."""
