"""The names that are registered with a description, by the module that does so.

This file is written by ``python tools/gen_class_table.py`` from what the modules register.
"""

__all__ = ["NAMES"]

NAMES = {
    "..hgq": (
        "hgq.LIFCell hgq.QAdd hgq.QAffinedUnaryFunctionLUT hgq.QAveragePooling1D "
        "hgq.QAveragePooling2D hgq.QAveragePooling3D hgq.QAveragePow2 hgq.QBatchNormDense "
        "hgq.QBatchNormalization hgq.QConv1D hgq.QConv2D hgq.QConv3D hgq.QConvT1D hgq.QConvT2D "
        "hgq.QDense hgq.QDenseT hgq.QDot hgq.QEinsum hgq.QEinsumDense hgq.QEinsumDenseBatchnorm "
        "hgq.QEinsumDenseT hgq.QGRU hgq.QGRUCell hgq.QGlobalAveragePooling1D "
        "hgq.QGlobalAveragePooling2D hgq.QGlobalAveragePooling3D hgq.QGlobalMaxPooling1D "
        "hgq.QGlobalMaxPooling2D hgq.QGlobalMaxPooling3D hgq.QLIF hgq.QLIFCell "
        "hgq.QLinformerAttention hgq.QLinformerAttentionT hgq.QMaxPooling1D hgq.QMaxPooling2D "
        "hgq.QMaxPooling3D hgq.QMaximum hgq.QMeanPow2 hgq.QMinimum hgq.QMultiHeadAttention "
        "hgq.QMultiHeadAttentionT hgq.QMultiply hgq.QSALTAttention hgq.QSimpleRNN "
        "hgq.QSimpleRNNCell hgq.QSimpleSNN hgq.QSimpleSNNCell hgq.QSoftmax hgq.QSubtract hgq.QSum "
        "hgq.QUnaryFunctionLUT hgq.Quantizer hgq.SpikingNeuralCell"
    ),
    "..qkeras": (
        "QActivation QAdaptiveActivation QAveragePooling2D QBatchNormalization QBidirectional "
        "QConv1D QConv2D QConv2DBatchnorm QConv2DTranspose QDense QDepthwiseConv2D "
        "QDepthwiseConv2DBatchnorm QGRU QGRUCell QGlobalAveragePooling2D QLSTM QLSTMCell "
        "QSeparableConv1D QSeparableConv2D QSimpleRNN QSimpleRNNCell"
    ),
    "..tfmot": (
        "ClusterWeights ClusterWeightsMHA ClusterWeightsRNN PruneLowMagnitude QuantizeLayer "
        "QuantizeWrapper QuantizeWrapperV2"
    ),
    ".layers.activation": "Activation ELU LeakyReLU PReLU ReLU Softmax ThresholdedReLU",
    ".layers.attention": "AdditiveAttention Attention GroupedQueryAttention MultiHeadAttention",
    ".layers.augmentation": (
        "AugMix AutoContrast CutMix Equalization MaxNumBoundingBoxes MixUp RandAugment "
        "RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast "
        "RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale "
        "RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation "
        "RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth RandomZoom "
        "Solarization"
    ),
    ".layers.conv": (
        "Conv1D Conv2D Conv3D Dense DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D"
    ),
    ".layers.einsum": "Dot EinsumDense",
    ".layers.embedding": "Embedding ReversibleEmbedding",
    ".layers.locally_connected": "LocallyConnected1D LocallyConnected2D",
    ".layers.merging": "Add Average Concatenate CustomScaleLayer Maximum Minimum Multiply Subtract",
    ".layers.normalization": (
        "BatchNormalization GroupNormalization LayerNormalization RMSNormalization "
        "SpectralNormalization UnitNormalization"
    ),
    ".layers.pooling": (
        "AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D "
        "AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D AveragePooling1D "
        "AveragePooling2D AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
        "GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
        "MaxPooling1D MaxPooling2D MaxPooling3D"
    ),
    ".layers.preprocessing": (
        "CategoryEncoding CenterCrop Discretization IntegerLookup Normalization RandomCrop "
        "Rescaling"
    ),
    ".layers.recurrent": (
        "ConvLSTM1D ConvLSTM2D ConvLSTM3D GRU GRUCell LSTM LSTMCell RNN SimpleRNN SimpleRNNCell "
        "StackedRNNCells"
    ),
    ".layers.resize": "Resizing UpSampling2D",
    ".layers.shape": (
        "ActivityRegularization AlphaDropout Cropping1D Cropping2D Cropping3D Dropout Flatten "
        "GaussianDropout GaussianNoise Identity LayerScale Masking Permute RepeatVector Reshape "
        "SpatialDropout1D SpatialDropout2D SpatialDropout3D StochasticDepth UpSampling1D "
        "UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D"
    ),
    ".layers.spectrogram": "MelSpectrogram STFTSpectrogram",
    ".layers.transpose_conv": "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
    ".layers.wrappers": "Bidirectional TimeDistributed",
    ".operations.arithmetic": (
        "ops.Abs ops.Absolute ops.Add ops.All ops.Amax ops.Amin ops.Any ops.Arccos ops.Arccosh "
        "ops.Arcsin ops.Arcsinh ops.Arctan ops.Arctanh ops.Argmax ops.Argmin ops.Ceil ops.Celu "
        "ops.Clip ops.Copy ops.Cos ops.Cosh ops.Cumprod ops.Cumsum ops.Divide ops.DivideNoNan "
        "ops.Elu ops.Equal ops.Erf ops.Exp ops.Expm1 ops.Fabs ops.Floor ops.FloorDivide ops.Gelu "
        "ops.Glu ops.Greater ops.GreaterEqual ops.HardShrink ops.HardSigmoid ops.HardSilu "
        "ops.HardTanh ops.Hypot ops.Isinf ops.Isnan ops.LeakyRelu ops.Less ops.LessEqual ops.Log "
        "ops.Log10 ops.Log1p ops.Log2 ops.LogSigmoid ops.LogSoftmax ops.LogicalAnd ops.LogicalNot "
        "ops.LogicalOr ops.LogicalXor ops.Logsumexp ops.Max ops.Maximum ops.Mean ops.Min "
        "ops.Minimum ops.Mod ops.Moments ops.Multiply ops.Negative ops.Norm ops.Normalize "
        "ops.NotEqual ops.Power ops.Prod ops.Reciprocal ops.Relu ops.Relu6 ops.Round ops.Rsqrt "
        "ops.Selu ops.Sigmoid ops.Sign ops.Silu ops.Sin ops.Sinh ops.SoftShrink ops.Softmax "
        "ops.Softplus ops.Softsign ops.SparsePlus ops.SparseSigmoid ops.Sparsemax ops.Sqrt "
        "ops.Square ops.Squareplus ops.Std ops.StopGradient ops.Subtract ops.Sum ops.Tan ops.Tanh "
        "ops.TanhShrink ops.Threshold ops.TrueDivide ops.Trunc ops.Var"
    ),
    ".operations.fourier": "ops.FFT ops.FFT2 ops.IFFT2 ops.IRFFT ops.ISTFT ops.RFFT ops.STFT",
    ".operations.grid_sample": "ops.AffineTransform ops.MapCoordinates",
    ".operations.image": (
        "ops.CropImages ops.GaussianBlur ops.HSVToRGB ops.PadImages ops.RGBToGrayscale "
        "ops.RGBToHSV ops.Resize ops.SobelEdges"
    ),
    ".operations.nn": (
        "ops.BatchNorm ops.CDist ops.DotProductAttention ops.LayerNorm ops.MultiHot ops.PSNR "
        "ops.RMSNorm"
    ),
    ".operations.numpy_functions": (
        "ops.AllClose ops.Arctan2 ops.ArraySplit ops.Average ops.Cbrt ops.Conj ops.Conjugate "
        "ops.Corrcoef ops.CountNonzero ops.Deg2rad ops.Dsplit ops.Erfc ops.Exp2 ops.Fmax ops.Fmin "
        "ops.Fmod ops.Heaviside ops.Hsplit ops.Imag ops.IsIn ops.Isclose ops.Isfinite ops.Isneginf "
        "ops.Isposinf ops.Isreal ops.Ldexp ops.Linspace ops.Logaddexp ops.Logaddexp2 ops.NanToNum "
        "ops.Ptp ops.Rad2deg ops.Real ops.Select ops.Signbit ops.Sinc ops.Trapezoid "
        "ops.UnravelIndex ops.Vander ops.Vsplit"
    ),
    ".operations.scatter": (
        "ops.Append ops.Array ops.ConvertToTensor ops.Correlate ops.Cross ops.Diag ops.Diagflat "
        "ops.Diagonal ops.Dstack ops.ExtractSequences ops.Fliplr ops.Flipud ops.Full ops.FullLike "
        "ops.Hstack ops.Inner ops.Kron ops.Meshgrid ops.Outer ops.Rearrange ops.Rot90 "
        "ops.SaturateCast ops.Scatter ops.ScatterUpdate ops.SegmentSum ops.Size ops.SliceUpdate "
        "ops.Trace ops.Vdot ops.Vstack"
    ),
    ".operations.shape": (
        "ops.BroadcastTo ops.Cast ops.Concatenate ops.Diff ops.Dot ops.Einsum ops.ExpandDims "
        "ops.Flip ops.GetItem ops.Matmul ops.Moveaxis ops.OneHot ops.OnesLike ops.Pad ops.Ravel "
        "ops.Repeat ops.Reshape ops.Roll ops.Slice ops.Split ops.Squeeze ops.Stack ops.Swapaxes "
        "ops.Take ops.TakeAlongAxis ops.Tensordot ops.Tile ops.TopK ops.Transpose ops.Tril "
        "ops.Triu ops.Unstack ops.Where ops.ZerosLike"
    ),
    ".operations.sorting": (
        "ops.Argsort ops.Digitize ops.InTopK ops.Median ops.Nancumprod ops.Nancumsum ops.Nanmax "
        "ops.Nanmean ops.Nanmin ops.Nanprod ops.Nanstd ops.Nansum ops.Nanvar ops.Percentile "
        "ops.Quantile ops.SearchSorted ops.Sort"
    ),
    ".operations.windows": (
        "ops.AdaptiveAveragePool ops.AdaptiveMaxPool ops.AveragePool ops.Conv ops.DepthToSpace "
        "ops.DepthwiseConv ops.ExtractPatches ops.Fold ops.MaxPool ops.SeparableConv "
        "ops.SpaceToDepth ops.Unfold"
    ),
    ".tf_functions.arithmetic": (
        "tf.__operators__.add tf.clip_by_value tf.compat.v1.floor_div "
        "tf.compat.v1.math.log_sigmoid tf.compat.v1.norm tf.einsum tf.grad_pass_through "
        "tf.identity tf.linalg.l2_normalize tf.linalg.matmul tf.linalg.norm tf.math.abs "
        "tf.math.acos tf.math.acosh tf.math.add tf.math.asin tf.math.asinh tf.math.atan "
        "tf.math.atanh tf.math.ceil tf.math.cos tf.math.cosh tf.math.divide tf.math.divide_no_nan "
        "tf.math.equal tf.math.erf tf.math.exp tf.math.expm1 tf.math.floor tf.math.floordiv "
        "tf.math.floormod tf.math.greater tf.math.greater_equal tf.math.is_inf tf.math.is_nan "
        "tf.math.l2_normalize tf.math.less tf.math.less_equal tf.math.log tf.math.log1p "
        "tf.math.log_sigmoid tf.math.logical_and tf.math.logical_not tf.math.logical_or "
        "tf.math.logical_xor tf.math.maximum tf.math.minimum tf.math.multiply tf.math.negative "
        "tf.math.not_equal tf.math.pow tf.math.reciprocal tf.math.reduce_all tf.math.reduce_any "
        "tf.math.reduce_euclidean_norm tf.math.reduce_logsumexp tf.math.reduce_max "
        "tf.math.reduce_mean tf.math.reduce_min tf.math.reduce_prod tf.math.reduce_std "
        "tf.math.reduce_sum tf.math.reduce_variance tf.math.rint tf.math.round tf.math.rsqrt "
        "tf.math.sigmoid tf.math.sign tf.math.sin tf.math.sinh tf.math.softplus tf.math.softsign "
        "tf.math.sqrt tf.math.square tf.math.squared_difference tf.math.subtract tf.math.tan "
        "tf.math.tanh tf.math.truediv tf.nn.bias_add tf.nn.elu tf.nn.gelu tf.nn.leaky_relu "
        "tf.nn.log_softmax tf.nn.relu tf.nn.relu6 tf.nn.selu tf.nn.sigmoid tf.nn.silu "
        "tf.nn.softmax tf.nn.softplus tf.nn.softsign tf.nn.tanh tf.norm tf.stop_gradient "
        "tf.tensordot"
    ),
    ".tf_functions.shape": (
        "tf.__operators__.getitem tf.broadcast_to tf.cast tf.compat.v1.argmax tf.compat.v1.argmin "
        "tf.compat.v1.expand_dims tf.compat.v1.gather tf.compat.v1.ones_like tf.compat.v1.pad "
        "tf.compat.v1.shape tf.compat.v1.squeeze tf.compat.v1.tile tf.compat.v1.transpose "
        "tf.compat.v1.where tf.compat.v1.zeros_like tf.concat tf.expand_dims tf.gather "
        "tf.math.argmax tf.math.argmin tf.math.cumsum tf.math.top_k tf.nn.depth_to_space "
        "tf.nn.space_to_depth tf.one_hot tf.ones_like tf.pad tf.repeat tf.reshape tf.reverse "
        "tf.shape tf.slice tf.split tf.squeeze tf.stack tf.tile tf.transpose tf.unstack tf.where "
        "tf.zeros_like"
    ),
    ".tf_functions.windows": (
        "tf.compat.v1.math.scalar_mul tf.compat.v1.nn.conv1d tf.compat.v1.nn.conv2d "
        "tf.compat.v1.nn.convolution tf.compat.v1.nn.depthwise_conv2d "
        "tf.image.crop_to_bounding_box tf.image.resize tf.linalg.diag_part tf.linalg.trace "
        "tf.math.add_n tf.math.cumprod tf.math.erfc tf.math.is_finite tf.math.scalar_mul "
        "tf.nn.avg_pool tf.nn.avg_pool1d tf.nn.avg_pool2d tf.nn.avg_pool3d tf.nn.conv1d "
        "tf.nn.conv1d_transpose tf.nn.conv2d tf.nn.conv2d_transpose tf.nn.conv3d_transpose "
        "tf.nn.convolution tf.nn.depthwise_conv2d tf.nn.local_response_normalization "
        "tf.nn.max_pool tf.nn.max_pool1d tf.nn.max_pool2d tf.nn.max_pool3d tf.roll tf.sort"
    ),
}
