"""Keras' preprocessing of numbers: rescaling, fixed normalisation, intervals, categories and
lookups."""

from typing import Any

import numpy as np

from probe import ops
from probe.description import Description, Ref, Step, Weight
from probe.errors import Undescribed
from probe.numerics.dtypes import flushed

from ..describe.call import KerasCall
from ..describe.describe import describes
from ..describe.op_builder import OpBuilder
from ..describe.variables import array_of, cast, widened
from .augmentation import images_alone
from .resize import resized

_FROM_CONFIG = "given in the layer's configuration, not in get_weights()"


def _constant(name: str, value: Any, call: KerasCall) -> Weight:
    """A number or an array of the configuration, in the dtype that the layer computes in."""
    array = np.asarray(value)
    if call.backend == "tensorflow":
        # Numbers of Python's become float32 tensors before they are cast further, also to float64;
        # a cast takes subnormal ones for 0.
        if not isinstance(value, np.ndarray):
            array = array.astype(np.float32)
        if array.dtype == np.float32:
            array = flushed(array, float(np.finfo(np.float32).tiny))
    return Weight(name, None, cast(array, call.dtype), (_FROM_CONFIG,))


@describes("Rescaling")
def _rescaling(layer: Any, call: KerasCall) -> Description:
    scale, offset = (_constant(name, getattr(layer, name), call) for name in ("scale", "offset"))
    if (
        scale.effective.ndim
        and not call.legacy
        and call.namespace.backend.image_data_format() == "channels_first"
    ):
        raise Undescribed(
            "its scale is an array, and the global image data format is channels_first"
        )
    return Description((Step(ops.MulConstant(value=scale)), Step(ops.AddConstant(value=offset))))


@describes("Normalization")
def _normalization(layer: Any, call: KerasCall) -> Description:
    mean, variance = (_statistic(name, layer, call) for name in ("mean", "variance"))
    return Description(
        (
            Step(
                ops.Standardize(
                    mean=mean, variance=variance, epsilon=_epsilon(call), invert=bool(layer.invert)
                )
            ),
        )
    )


def _epsilon(call: KerasCall) -> float:
    return float(call.namespace.backend.epsilon())


def _statistic(name: str, layer: Any, call: KerasCall) -> Weight:
    """What ``adapt`` or a loaded file has left (Keras copies it into the form that it computes
    with), or the configuration."""
    # The tensor holds no variable, and both Keras make it when it is built, adapted or loaded.
    tensor = getattr(layer, name)
    effective = widened(
        np.asarray(tensor if call.legacy else call.namespace.ops.convert_to_numpy(tensor))
    )
    variable = getattr(layer, f"adapt_{name}", None)
    if layer.input_mean is not None or variable is None:
        return Weight(name, None, effective, (_FROM_CONFIG,))
    stored = widened(array_of(variable, call.namespace))
    # The effective values lie in the shape that broadcasts; a name is said in the stored one.
    shape, effective = effective.shape, effective.reshape(stored.shape)
    if np.array_equal(cast(stored, call.dtype), effective):
        words = () if effective.dtype == stored.dtype else (f"cast to {call.dtype}",)
    else:
        words = (
            (
                "the layer uses the values from its last adapt() or load, since "
                "finalize_state() has not been called after that"
            ),
        )
    return Weight(name, stored, effective, words, shape=shape)


@describes("CenterCrop")
def _center_crop(layer: Any, call: KerasCall) -> Description:
    """The middle of the image; one that is too small is cropped to the wanted ratio and resized."""
    images_alone(call)
    return _cropped(layer, call)


@describes("RandomCrop")
def _random_crop(layer: Any, call: KerasCall) -> Description:
    """Outside training Keras 3 leaves the image as it is; Keras 2 resizes it."""
    images_alone(call)
    if call.arguments.get("training", True):
        raise Undescribed("in training mode it draws random numbers")
    if call.legacy:
        return _cropped(layer, call, resizes=True)
    return Description((Step(ops.Identity()),))


def _cropped(layer: Any, call: KerasCall, resizes: bool = False) -> Description:
    build, first = OpBuilder(call), getattr(layer, "data_format", "") == "channels_first"
    if call.dtype in ("float16", "bfloat16"):
        x = build.add(ops.Cast(to=call.dtype), Ref(-1))
    else:
        x = Ref(-1)
    if len(call.shape) != 4:
        x = build.reshape(x, (1, *call.shape))
    if not first:
        x = build.transpose(x, (0, 3, 1, 2))
    have, wanted = build.shape(x)[2:], (int(layer.height), int(layer.width))
    spare = [n - size for n, size in zip(have, wanted, strict=True)]
    if min(spare) >= 0 and not resizes:
        window = [(n // 2, n // 2 + size) for n, size in zip(spare, wanted, strict=True)]
    else:
        lengths = [
            min(have[axis], max(1, int(have[1 - axis] * wanted[axis] / wanted[1 - axis])))
            for axis in (0, 1)
        ]
        starts = [int((n - length) / 2) for n, length in zip(have, lengths, strict=True)]
        window = [(start, start + length) for start, length in zip(starts, lengths, strict=True)]
    x = build.sliced(x, [slice(None), slice(None), *(slice(*place) for place in window)])
    if build.shape(x)[2:] != wanted:
        x = build.add(
            resized(call.backend, "bilinear", build.shape(x), wanted),
            x,
            shape=(*build.shape(x)[:2], *wanted),
        )
    if not first:
        x = build.transpose(x, (0, 2, 3, 1))
    return Description(
        build.ended(x if len(call.shape) == 4 else build.reshape(x, build.shape(x)[1:]))
    )


@describes("Discretization")
def _discretization(layer: Any, call: KerasCall) -> Description:
    boundaries = [float(np.float32(bound)) for bound in layer.bin_boundaries]
    intervals = (Step(ops.Bucketize(boundaries=tuple(boundaries))),)
    return Description(_encoded(intervals, layer, call, len(boundaries) + 1))


@describes("CategoryEncoding", arguments=("count_weights",))
def _category_encoding(layer: Any, call: KerasCall) -> Description:
    return Description(_encoded((Step(ops.Identity()),), layer, call, layer.num_tokens))


def _encoded(first: tuple[Step, ...], layer: Any, call: KerasCall, depth: int) -> tuple[Step, ...]:
    """Indices in the layer's ``output_mode``: as they are, one hot each, or the categories of each
    sample put together."""
    if getattr(layer, "sparse", False):
        raise Undescribed("sparse outputs are not supported")
    mode, shape = layer.output_mode, call.shape
    if mode == "int":
        return first
    steps = list(first)
    if mode == "one_hot":
        if len(shape) > 1 and shape[-1] == 1:
            steps.append(Step(ops.Reshape(shape=shape[:-1])))
        elif call.legacy and len(shape) > 1:
            raise Undescribed("Keras 2 encodes at most one index per sample in this mode")
        return (*steps, Step(ops.OneHot(depth=depth)))
    steps.append(Step(ops.OneHot(depth=depth)))
    weights = call.arguments.get("count_weights")
    if weights is not None:
        weighted = call.inputs[weights.index].shape
        steps.append(Step(ops.Reshape(shape=(*weighted, 1)), (weights,)))
        steps.append(Step(ops.Mul(), (Ref(len(steps) - 2), Ref(len(steps) - 1))))
    axis = min(1, len(shape) - 1)
    reduce = ops.GlobalMaxPool if mode == "multi_hot" else ops.ReduceSum
    return (*steps, Step(reduce(axes=(axis,), keepdims=False)))


@describes("IntegerLookup")
def _integer_lookup(layer: Any, call: KerasCall) -> Description:
    """What the vocabulary says; an index of its own for the mask token, and for what is not in
    it."""
    if getattr(layer, "oov_method", "floormod") == "farmhash":
        raise Undescribed('oov_method="farmhash" is not supported')
    tokens = [int(token) for token in layer.get_vocabulary(include_special_tokens=False)]
    start = int(layer._oov_start_index())
    first = start + layer.num_oov_indices
    places = list(range(first, first + len(tokens)))
    if layer.invert:
        keys, values, default, modulus = places, tokens, int(layer.oov_token), 0
    else:
        if layer.num_oov_indices > 1:
            modulus = layer.num_oov_indices
        else:
            modulus = 0
        keys, values, default = tokens, places, start
    if layer.mask_token is not None:
        # Encoded, the mask token is no category: Keras gives it a place beyond the last.
        beyond = 0 if layer.output_mode == "int" else -1
        keys, values = (
            [*keys, 0 if layer.invert else int(layer.mask_token)],
            [*values, int(layer.mask_token) if layer.invert else beyond],
        )
    lookup = Step(
        ops.Lookup(keys=tuple(keys), values=tuple(values), default=default, modulus=modulus)
    )
    if layer.output_mode == "int":
        return Description((lookup,))
    if layer.pad_to_max_tokens:
        depth = layer.max_tokens
    else:
        depth = layer.vocabulary_size()
    if layer.output_mode == "tf_idf":
        raise Undescribed('output_mode="tf_idf" is not supported')
    return Description(_encoded((lookup,), layer, call, int(depth)))
