"""Which files may be loaded without trust: those that hold nothing but classes and functions known
to run no code of the file's.

Loading a Keras file runs code: a Lambda layer holds Python bytecode, a TFOpLambda any function of
TensorFlow (one that writes files, say), tf_keras imports whatever module a class is said to live
in, and QKeras evaluates the strings that name its quantizers. An IntegerLookup whose ``vocabulary``
is a string opens the file of that name. So names of classes, functions and of options that are
strings are allowed here, never forbidden, and the check reads the file's JSON before any loader
sees the file.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from probe.errors import NotTrusted

from ..describe.described_classes import DESCRIBED, FUNCTIONS, ROOTS

__all__ = ["OF_HGQ2", "QKERAS", "TFMOT", "objects", "refuse_code"]

QKERAS = frozenset(
    "QActivation QAdaptiveActivation QAveragePooling2D QBatchNormalization QBidirectional QConv1D "
    "QConv2D QConv2DBatchnorm "
    "QConv2DTranspose QDense QDepthwiseConv2D QDepthwiseConv2DBatchnorm QGRU QGRUCell "
    "QGlobalAveragePooling2D QInitializer QLSTM "
    "QLSTMCell QSeparableConv1D QSeparableConv2D QSimpleRNN QSimpleRNNCell Clip bernoulli binary "
    "quantized_bits quantized_hswish "
    "quantized_po2 quantized_relu quantized_relu_po2 quantized_sigmoid quantized_tanh "
    "quantized_ulaw stochastic_binary "
    "stochastic_ternary ternary".split()
)
"""Classes that only QKeras has: its layers, its quantizers, its constraint and its initializer."""

TFMOT = frozenset(
    "ClusterWeights ClusterWeightsMHA ClusterWeightsRNN PruneLowMagnitude QuantizeLayer "
    "QuantizeWrapper QuantizeWrapperV2 "
    "AllValuesQuantizer ConstantSparsity Default8BitActivationQuantizeConfig "
    "Default8BitConvQuantizeConfig "
    "Default8BitConvTransposeQuantizeConfig Default8BitConvTransposeWeightsQuantizer "
    "Default8BitConvWeightsQuantizer "
    "Default8BitOutputQuantizeConfig Default8BitQuantizeConfig Default8BitQuantizeConfigRNN "
    "DefaultNBitActivationQuantizeConfig "
    "DefaultNBitConvQuantizeConfig DefaultNBitConvTransposeQuantizeConfig "
    "DefaultNBitOutputQuantizeConfig DefaultNBitQuantizeConfig "
    "DefaultNBitQuantizeConfigRNN FixedQuantizeConfig FixedQuantizer LastValueQuantizer "
    "MovingAverageQuantizer NoOpActivation "
    "NoOpQuantizeConfig NoQuantizer OutputOnlyConfig PolynomialDecay "
    "QuantizeAwareActivation".split()
)
"""Classes of TensorFlow Model Optimization: its wrappers, how they quantise, and when they
prune."""

_HGQ = frozenset(
    name.partition(".")[2] for name in DESCRIBED if name.startswith("hgq.")
) | frozenset(
    (
        "ATan Constant DefaultBitwidthMapper HardSigmoidConfig HardTanhConfig Max Min MinMax "
        "MonoL1 "
        "QRNN QuantizerConfig"
    ).split()
)
"""Classes of HGQ2, which Keras registers as "hgq>QDense", two of them as "hgq2>QConvT1D"."""

OF_HGQ2 = frozenset({"hgq/qkeras>quantized_bits"})
"""What HGQ2's own `qkeras` registers: how a quantizer of HGQ2 is to be configured."""

_LAYERS = frozenset(
    "Functional InputLayer Model Sequential "
    "AdditiveAttention Attention Bidirectional CategoryEncoding CenterCrop Conv1DTranspose "
    "Conv2DTranspose Conv3DTranspose ConvLSTM1D "
    "ConvLSTM2D ConvLSTM3D Discretization Dot EinsumDense Embedding GRU GRUCell "
    "GroupQueryAttention LSTM LSTMCell LocallyConnected1D "
    "LocallyConnected2D Masking MultiHeadAttention Normalization RMSNormalization RNN "
    "RandomBrightness RandomContrast RandomCrop "
    "RandomFlip RandomRotation RandomTranslation RandomZoom Rescaling Resizing "
    "ReversibleEmbedding SimpleRNN SimpleRNNCell "
    "SpectralNormalization StackedRNNCells TimeDistributed UnitNormalization".split()
)
_PARTS = frozenset(
    # initializers, regularizers, constraints, dtype policies
    "Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform "
    "Ones Orthogonal RandomNormal RandomUniform "
    "TruncatedNormal VarianceScaling Zeros L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm "
    "NonNeg RadialConstraint UnitNorm "
    "DTypePolicy DTypePolicyMap FloatDTypePolicy Int4DTypePolicy Policy QuantizedDTypePolicy "
    "QuantizedFloat8DTypePolicy "
    "AbsMaxQuantizer AWQConfig Float8QuantizationConfig GPTQConfig Int4QuantizationConfig "
    "Int8QuantizationConfig".split()
)
_DATA = frozenset(
    (
        "__bytes__ __ellipsis__ __keras_tensor__ __numpy__ __slice__ __tensor__ "
        "__tuple__ TensorShape"
    ).split()
)
_CLASSES = frozenset(DESCRIBED) | QKERAS | TFMOT | _LAYERS | _PARTS

_OF_KERAS = frozenset(name for name in DESCRIBED if "." not in name)
_SMALL_PARTS = frozenset(name.lower() for name in _PARTS)
_PLACES = re.compile(r"[/\\\\:]|\.\.")
"""What a path or a URL has, and no name of a layer's option."""

_FUNCTIONS = frozenset(
    "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh "
    "leaky_relu linear log_sigmoid log_softmax mish "
    "relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus "
    "sparse_sigmoid sparsemax squareplus swish tanh "
    "tanh_shrink threshold binary_sigmoid binary_tanh hard_tanh smooth_sigmoid smooth_tanh".split()
)
"""What an activation may be called."""

_HARMLESS = frozenset(FUNCTIONS) | {"image.resize"}
"""Functions of TensorFlow that a TFOpLambda may call: they compute, and touch nothing outside the
model."""

_OPERATION_MODULES = frozenset(
    f"keras.src.ops.{name}" for name in ("core", "image", "linalg", "math", "nn", "numpy")
)
"""Keras 3 records ``x + y`` as a class of these; it accepts no other classes from them."""

_TRAINING_MODULES = frozenset(
    f"{root}.{name}"
    for root in ("keras", "tf_keras")
    for name in ("losses", "metrics", "optimizers")
)
"""What a nested model was compiled with: built when it is loaded, and never called."""


_NAMED = ("initializer", "regularizer", "constraint")
"""How options end that name one of ``_PARTS``."""

_SHORT = frozenset(
    (
        "glorot_normal_v2 l1_l2 max_norm maxnorm non_neg nonneg normal one unit_norm "
        "unitnorm uniform zero"
    ).split()
)
"""Other names that Keras has for some of ``_PARTS``, beside the same in small letters with
underscores."""

_WORDS = frozenset(
    "activation activations axis backend bias_axes block_pooling_type bounding_box_format "
    "class_name cluster_centroids_init "
    "cluster_gradient_aggregation color_format data_format default_policy dim_ordering "
    "distribution dtype equation fill_mode "
    "folding_mode format function_type input_dtype interpolation keras_version merge_mode mode "
    "module name_prefix noise_type "
    "oov_method output_data_format output_dtype output_mode padding pool_mode quantization_mode "
    "registered_name reverse_dtype "
    "rng_type scaling score_mode source_name use_cudnn vocabulary_dtype window".split()
)
"""Options of Keras' own classes that may be words: none of them is the name of a file, a URL or of
something to be looked up."""


class Serialized(NamedTuple):
    """A serialized object in a config: its dictionary, the layer it belongs to, and whether it
    stands in a compile_config."""

    value: Mapping[str, Any]
    layer: str
    compiled: bool


def objects(config: Any, layer: str = "", compiled: bool = False) -> Iterator[Serialized]:
    """Every dictionary with a ``class_name`` anywhere in a config, the outer ones first."""
    if isinstance(config, Mapping):
        if "class_name" in config:
            inner = config.get("config")
            layer = str(
                config.get("name")
                or (inner.get("name") if isinstance(inner, Mapping) else None)
                or layer
            )
            yield Serialized(config, layer, compiled)
        for key, value in config.items():
            yield from objects(value, layer, compiled or key == "compile_config")
    elif isinstance(config, list | tuple):
        for value in config:
            yield from objects(value, layer, compiled)


def refuse_code(
    source: str,
    config: Mapping[str, Any],
    imported: Collection[str] = (),
    modules: Collection[str] = (),
) -> None:
    """Raises NotTrusted where loading this model config might run anything but Keras' own harmless
    classes.

    ``imported`` are the names that the user's own ``modules`` define, to which importing them is
    consent.
    """
    # The model itself is loaded without compiling it, which leaves its own compile_config alone.
    config = {key: value for key, value in config.items() if key != "compile_config"}
    for found in objects(config):
        what = _unknown(found, imported, modules)
        if what:
            raise NotTrusted(f"{source} contains {what}; {_advice(found)}")
        if not found.compiled or found.value["class_name"] in _CLASSES:
            for key, text in _odd_words(found.value, imported):
                if found.layer:
                    where = f" in layer {found.layer!r}"
                else:
                    where = ""
                what = f"{key} = {text!r} for {found.value['class_name']}{where}"
                raise NotTrusted(
                    f"{source} contains {what}, which loading might look up or open as a file "
                    f"or URL; {_TRUST}"
                )
    for layer, name in _names_of_functions(config):
        if name not in _FUNCTIONS and name not in _CLASSES and name not in imported:
            raise NotTrusted(
                f"{source} names the unknown function {name!r} in layer {layer!r}, which "
                f"loading would look up; {_TRUST}"
            )


_TRUST = "give trust=True (--trust) if you trust the file's source"


def _unknown(serialized: Serialized, imported: Collection[str], modules: Collection[str]) -> str:
    """What is not known to be harmless about an object, in words; empty where all of it is."""
    value = serialized.value
    kind, module, registered = (
        value["class_name"],
        value.get("module"),
        value.get("registered_name"),
    )
    if (
        not isinstance(kind, str)
        or not isinstance(module, str | None)
        or not isinstance(registered, str | None)
    ):
        return "an object whose class name is not a string"
    if registered in imported or (kind in imported and (module is None or module in modules)):
        return ""
    if serialized.layer:
        where = f" in layer {serialized.layer!r}"
    else:
        where = ""
    if kind == "function":
        name = value.get("config")
        if _is_known_function(name, module, registered):
            return ""
        return (
            f"the unknown function {name!r} of {module or 'no module'}{where}, which "
            "loading would look up"
        )
    if kind == "Lambda":
        return f"the Lambda layer {serialized.layer!r}, whose Python code would run"
    if kind == "__lambda__":
        return f"a Python lambda{where}, whose code would run"
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        inner = value.get("config")
        if isinstance(inner, Mapping):
            called = inner.get("function")
        else:
            called = None
        if called in _HARMLESS and _is_of_keras(kind, module, registered):
            return ""
        return f"the TensorFlow function {called!r}{where}, which loading would call"
    if _is_known_class(serialized, kind, module, registered):
        return ""
    named = f"{module}.{kind}" if module else repr(registered or kind)
    return f"the class {named}{where}, which is not on the list of safe classes"


def _is_known_function(name: Any, module: str | None, registered: str | None) -> bool:
    return (
        name in _FUNCTIONS
        and registered in (None, "function", name)
        and _root(module) in (None, "builtins", *ROOTS)
    )


def _is_of_keras(kind: str, module: str | None, registered: str | None) -> bool:
    """Whether a class is Keras' own, or one of a package with an adapter, by what it says."""
    return registered in (None, kind) and _root(module) in (None, *ROOTS)


def _is_known_class(
    serialized: Serialized, kind: str, module: str | None, registered: str | None
) -> bool:
    """Whether a class is on the list of safe ones, and from where they come."""
    if registered in (None, kind) and (
        module in _OPERATION_MODULES or (serialized.compiled and module in _TRAINING_MODULES)
    ):
        return True
    own = kind.rpartition(">")[2]
    if (
        registered in OF_HGQ2
        and registered == f"hgq/qkeras>{own}"
        and module == f"qkeras.quantizers.{own}"
    ):
        return True
    if (
        _root(module) == "hgq"
        and own in _HGQ
        and {kind, registered} <= {None, own, f"hgq>{own}", f"hgq2>{own}"}
    ):
        return True
    return kind in _DATA or (kind in _CLASSES and _is_of_keras(kind, module, registered))


def _odd_words(value: Mapping[str, Any], imported: Collection[str]) -> Iterator[tuple[str, str]]:
    """The options of an object that are strings and not known to be no names of files, with those
    strings; of inner objects none."""
    if (
        value["class_name"] in imported
        or value.get("registered_name") in imported
        or value["class_name"] in _DATA
    ):
        return
    plain = value["class_name"] in _LAYERS | _PARTS | _OF_KERAS
    for key, text, listed in _words("", value.get("config"), False):
        if key.endswith(_NAMED) and not listed:
            known = (
                text in _CLASSES
                or text in imported
                or text.replace("_", "").lower().removesuffix("initializer") in _SMALL_PARTS
                or text in _SHORT
            )
        elif plain and key.endswith(("activation", "quantizer", "quantizers")):
            known = True  # looked at with the functions
        elif plain:
            known = key in _WORDS or key.endswith("_dtype") or (key == "vocabulary" and listed)
        else:
            known = not _PLACES.search(text)
        if not known:
            yield key, text


def _words(key: str, value: Any, listed: bool) -> Iterator[tuple[str, str, bool]]:
    """Each string with the option that it belongs to, and whether it stands in a list; inner
    objects are left to themselves."""
    if isinstance(value, str):
        yield key, value, listed
    elif isinstance(value, Mapping) and "class_name" not in value:
        for inner, entry in value.items():
            if inner not in ("name", "input_layers", "output_layers"):  # names of layers
                yield from _words(str(inner), entry, False)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _words(key, entry, True)


def _advice(serialized: Serialized) -> str:
    own = serialized.value["class_name"] not in (
        "Lambda",
        "__lambda__",
        "TFOpLambda",
        "SlicingOpLambda",
        "function",
    )
    module = serialized.value.get("module")
    if isinstance(module, str) and _root(module) not in ROOTS:
        name = module
    else:
        name = "my_layers"
    if own:
        return (
            f'if it is your own class, give its module with imports=("{name}",) (--import '
            f"{name}); otherwise {_TRUST}"
        )
    return _TRUST


def _root(module: str | None) -> str | None:
    if module:
        return module.partition(".")[0]
    return None


def _names_of_functions(config: Any, layer: str = "") -> Iterator[tuple[str, str]]:
    """Strings that Keras looks up among its functions, or that QKeras evaluates as a call such as
    "quantized_relu(4)"."""
    if isinstance(config, Mapping):
        layer = str(config.get("name") or layer)
        for key, value in config.items():
            if str(key).endswith(("activation", "quantizer", "quantizers")):
                for text in value if isinstance(value, list) else [value]:
                    if isinstance(text, str):
                        yield layer, text.partition("(")[0].strip()
            yield from _names_of_functions(value, layer)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _names_of_functions(value, layer)
