"""TensorFlow Model Optimization (tfmot): wrappers of Keras 2 layers that prune, quantise or cluster
their weights.

A wrapper is described as the layer inside it; what differs is how a weight is read, and what
follows its activation and its output. Pruning writes ``weight * mask`` into the variable in each
call, and clustering its indices: what was stored is read before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from inspect import signature
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras import cluster_wrapper
from tensorflow_model_optimization.python.core.clustering.keras.clustering_algorithm import (
    ClusteringAlgorithm,
    ClusteringAlgorithmPerChannel,
)
from tensorflow_model_optimization.python.core.quantization.keras import (
    quantize_aware_activation,
    quantize_layer,
    quantize_wrapper,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantizers,
)
from tensorflow_model_optimization.python.core.quantization.keras.experimental.default_n_bit import (  # noqa: E501
    default_n_bit_quantizers,
)
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_wrapper

from probe import ops
from probe.description import Description, Grid, Step, Weight
from probe.errors import Undescribed

from .keras.describe.call import KerasCall
from .keras.describe.describe import describe, describes
from .keras.describe.variables import Reader, array_of, read_variable
from .keras.layers.activation import activation_steps

__all__ = ["custom_objects", "quantized_activation_steps", "reader"]

_quantizers = tfmot.quantization.keras.quantizers
_RANGES = (
    _quantizers.LastValueQuantizer.__call__,
    _quantizers.MovingAverageQuantizer.__call__,
    _quantizers.AllValuesQuantizer.__call__,
    # These turn two axes for as long as they quantise, by one range for all.
    default_8bit_quantizers.Default8BitConvTransposeWeightsQuantizer.__call__,
    default_n_bit_quantizers.DefaultNBitConvTransposeWeightsQuantizer.__call__,
)
"""What a quantizer does with a range that is kept in two variables."""


def custom_objects() -> dict[str, Any]:
    """What Keras must be told to load a model of tfmot, by name."""
    scopes = (
        tfmot.sparsity.keras.prune_scope(),
        tfmot.quantization.keras.quantize_scope(),
        tfmot.clustering.keras.cluster_scope(),
    )
    found = {
        name: value
        for scope in scopes
        for part in scope.custom_objects
        for name, value in part.items()
    }
    others = (cluster_wrapper.ClusterWeightsRNN, cluster_wrapper.ClusterWeightsMHA)
    return {
        **found,
        **{kind.__name__: kind for kind in others},
        "QuantizeLayer": _QuantizeLayer,
        "QuantizeWrapperV2": _QuantizeWrapper,
    }


class _QuantizeLayer(quantize_layer.QuantizeLayer):  # type: ignore[misc]
    """Is built once: tfmot's own does not note that it is built, and out of a ``.keras`` gets its
    variables twice."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        layer = quantize_layer.QuantizeLayer.from_config(config)
        layer.build_from_config = lambda config: None
        return layer


class _QuantizeWrapper(quantize_wrapper.QuantizeWrapperV2):  # type: ignore[misc]
    """Is built with its layer built before, as it was when it was saved: tfmot's own has fewer
    variables out of a ``.keras``."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        wrapper = quantize_wrapper.QuantizeWrapperV2.from_config(config)

        def build(config: dict[str, Any]) -> None:
            if not wrapper.layer.built:
                wrapper.layer.build(config["input_shape"])
                wrapper.layer.built = True
            wrapper.build(config["input_shape"])

        wrapper.build_from_config = build
        return wrapper


def reader(layer: Any) -> Reader:
    """How the variables of a layer become weights where it, or one inside it, is a wrapper. Made
    before the call, which writes them."""
    plain = read_variable(tf_keras)
    inside = list(layer._flatten_layers())
    masked = {
        id(variable): weight
        for inner in inside
        if isinstance(inner, pruning_wrapper.PruneLowMagnitude)
        for variable, weight in _pruned(inner)
    }
    clustered = [
        (inner, name, weight)
        for inner in inside
        if isinstance(inner, cluster_wrapper.ClusterWeights)
        for name, weight in _clustered(inner)
    ]
    quantised = [inner for inner in inside if isinstance(inner, quantize_wrapper.QuantizeWrapper)]

    def read(name: str, variable: Any, dtype: str | None) -> Weight:
        weight = masked.get(id(variable))
        weight = weight or next(
            (
                effective
                for inner, key, effective in clustered
                if inner.get_weight_from_layer(key) is variable
            ),
            None,
        )
        weight = weight or next(
            (
                _fake_quantised(*found)
                for inner in quantised
                for found in _used(inner)
                if found[0] is variable
            ),
            None,
        )
        if weight is None:
            return plain(name, variable, dtype)
        if dtype not in (None, weight.effective.dtype.name):
            raise Undescribed(
                f"its {name} has dtype {weight.effective.dtype}, but the layer computes in {dtype}"
            )
        parts = {
            (key.format(name) if "{}" in key else key): value for key, value in weight.parts.items()
        }
        return replace(
            weight,
            name=name,
            steps=tuple(words.replace("{}", name) for words in weight.steps),
            parts=parts,
        )

    return read


def _pruned(wrapper: Any) -> Iterator[tuple[Any, Weight]]:
    """The variables that are multiplied by a mask, and what comes of them."""
    for variable, mask_variable, _ in wrapper.pruning_vars:
        stored, mask = array_of(variable, tf_keras), array_of(mask_variable, tf_keras)
        count = int(np.count_nonzero(mask == 0))
        words = f"times its mask: {count} of {mask.size} values masked"
        yield variable, Weight("{}", stored, stored * mask, (words,), {"{}_mask": mask})


def _clustered(wrapper: Any) -> Iterator[tuple[str, Weight]]:
    """The names of what is replaced by the nearest of a few centroids, and what comes of it."""
    for name, variable in wrapper.original_clusterable_weights.items():
        stored, centroids = (
            array_of(variable, tf_keras),
            array_of(wrapper.cluster_centroids[name], tf_keras),
        )
        algorithm = wrapper.clustering_algorithms[name]
        if type(algorithm) not in (ClusteringAlgorithm, ClusteringAlgorithmPerChannel):
            raise Undescribed(
                f"its {name} goes through {type(algorithm).__name__}, which has no description"
            )
        source, used = stored, centroids
        if wrapper.preserve_sparsity:
            zero = np.asarray(wrapper.zero_idx[name])
            if wrapper.cluster_per_channel:
                at = used[np.arange(len(used)), zero][:, None]
            else:
                at = used[zero]
            used = np.where(used == at, np.float32(0), used)
            source = stored * np.asarray(wrapper.sparsity_masks[name])
        if type(algorithm) is ClusteringAlgorithm:
            indices = _nearest(source, used)
            effective = used[indices]
        else:
            if algorithm.data_format == "channels_first":
                axis = 1
            else:
                axis = -1
            rows = list(zip(np.moveaxis(source, axis, 0), used, strict=True))
            indices = np.moveaxis(np.stack([_nearest(part, row) for part, row in rows]), 0, axis)
            effective = np.moveaxis(
                np.stack([row[_nearest(part, row)] for part, row in rows]), 0, axis
            )
        # tfmot multiplies by this sign so as to hand the gradient on.
        effective = effective * np.sign(source + np.float32(1e6))
        each = " of its channel" if wrapper.cluster_per_channel else ""
        words = f"the nearest of {centroids.shape[-1]} cluster centroids{each}"
        yield (
            name,
            Weight(
                "{}",
                stored,
                effective,
                (words,),
                {"cluster_centroids_{}": centroids, "pulling_indices_{}": indices},
            ),
        )


def _nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The first of the centroids that are nearest to each value."""
    best, indices = np.abs(values - centroids[0]), np.zeros(values.shape, np.int64)
    for index, centroid in enumerate(centroids[1:], 1):
        distance = np.abs(values - centroid)
        indices[distance < best] = index
        best = np.minimum(best, distance)
    return indices


def _used(wrapper: Any) -> Iterator[tuple[Any, Any, Any, Mapping[str, Any]]]:
    """(what the layer inside uses in its call, the variable behind it, its quantizer, the
    quantizer's own variables)."""
    now = wrapper.quantize_config.get_weights_and_quantizers(wrapper.layer)
    for (used, _), (variable, quantizer, variables) in zip(now, wrapper._weight_vars, strict=True):
        yield used, variable, quantizer, variables


def _fake_quantised(
    used: Any, variable: Any, quantizer: Any, variables: Mapping[str, Any]
) -> Weight:
    stored = array_of(variable, tf_keras)
    op = _op(quantizer, variables, "its {} goes through")
    if op is None:
        return Weight("{}", stored, stored)
    value = op.run(stored)[0]
    low, high = op.limits()
    clipped = int(np.count_nonzero((stored < low) | (stored > high)))
    step = np.atleast_1d(op.step())
    if step.min() == step.max():
        scale = f"{step.min():g}"
    else:
        scale = f"{step.min():g} to {step.max():g} per channel"
    options = f"{op.bits} bits" + (", narrow" if op.narrow else "")
    counted = f"{clipped} value{'' if clipped == 1 else 's'} clipped"
    words = (
        f"{type(quantizer).__name__}({options}): scale {scale}, {op.levels + 1} levels, {counted}"
    )
    grid = Grid(
        op.step(), op.bits, zero_point=op.zero_point().astype(np.int64) - 2 ** (op.bits - 1)
    )
    parts = {
        "{}_" + key.removesuffix("_var"): array_of(range_variable, tf_keras)
        for key, range_variable in (variables or {}).items()
    }
    return Weight("{}", stored, value, (words,), parts, grid=grid)


def _op(quantizer: Any, variables: Mapping[str, Any], where: str) -> ops.NudgedFakeQuantize | None:
    """What a quantizer of tfmot does at inference; None where it does nothing."""
    kind = type(quantizer)
    if kind.__call__ is _quantizers.FixedQuantizer.__call__:
        # It never hands on how many bits it was given.
        low, high = (
            np.asarray(quantizer.init_min, np.float32),
            np.asarray(quantizer.init_max, np.float32),
        )
        return ops.NudgedFakeQuantize(low, high, 8, bool(quantizer.narrow_range), divides=False)
    if kind.__call__ in _RANGES:
        low, high = (array_of(variables[name], tf_keras) for name in ("min_var", "max_var"))
        return ops.NudgedFakeQuantize(
            low,
            high,
            int(quantizer.num_bits),
            bool(quantizer.narrow_range),
            divides=not np.ndim(low),
        )
    if (
        kind.__name__ == "NoQuantizer"
        and kind.__module__ == _quantizers.LastValueQuantizer.__module__
    ):
        return None
    raise Undescribed(f"{where} {kind.__name__}, a quantizer that has no description")


def _quantised(
    quantizer: Any, variables: Mapping[str, Any], call: KerasCall, where: str
) -> tuple[Step, ...]:
    if call.training:
        raise Undescribed("in training mode its ranges adapt to the batch")
    op = _op(quantizer, variables, where)
    if op is None:
        return ()
    return (Step(op),)


def quantized_activation_steps(activation: Any, call: KerasCall, ndim: int) -> tuple[Step, ...]:
    """The steps of an activation that tfmot has put around the layer's own."""
    if isinstance(activation, quantize_aware_activation.NoOpActivation):
        return ()
    if not isinstance(activation, quantize_aware_activation.QuantizeAwareActivation):
        raise Undescribed(f"its activation {type(activation).__name__} has no description")
    before: tuple[Step, ...] = ()
    after: tuple[Step, ...] = ()
    if activation._should_pre_quantize():
        before = _quantised(
            activation.quantizer,
            activation._pre_activation_vars,
            call,
            "the input of its activation goes through",
        )
    if activation._should_post_quantize():
        after = _quantised(
            activation.quantizer,
            activation._post_activation_vars,
            call,
            "the output of its activation goes through",
        )
    return (*before, *activation_steps(activation.activation, call, ndim), *after)


def _inside(wrapper: Any, call: KerasCall) -> Description:
    """The layer inside, called on what the wrapper was given."""
    inner = wrapper.layer
    first = next(iter(signature(inner.call).parameters), "inputs")
    arguments = {
        first if name == "inputs" else name: value for name, value in call.arguments.items()
    }
    return describe(
        inner, replace(call, layer=inner, dtype=str(inner.compute_dtype), arguments=arguments)
    )


_ARGUMENTS = ("mask", "initial_state", "constants", "states")


@describes("PruneLowMagnitude", arguments=_ARGUMENTS)
def _pruning(layer: Any, call: KerasCall) -> Description:
    if call.training:
        raise Undescribed("in training mode its mask changes")
    return _inside(layer, call)


@describes("ClusterWeights", "ClusterWeightsRNN", "ClusterWeightsMHA", arguments=_ARGUMENTS)
def _clustering(layer: Any, call: KerasCall) -> Description:
    return _inside(
        layer,
        replace(
            call,
            arguments={name: value for name, value in call.arguments.items() if name != "training"},
        ),
    )


@describes("QuantizeWrapper", "QuantizeWrapperV2", arguments=_ARGUMENTS)
def _quantizing(layer: Any, call: KerasCall) -> Description:
    if call.training:
        raise Undescribed("in training mode its ranges adapt to the batch")
    plain = _inside(layer, call)
    if not layer._output_quantizers:
        return plain
    return replace(
        plain,
        steps=plain.steps
        + _quantised(
            layer._output_quantizers[0],
            layer._output_quantizer_vars,
            call,
            "its output goes through",
        ),
    )


@describes("QuantizeLayer")
def _quantize_layer(layer: Any, call: KerasCall) -> Description:
    assert isinstance(layer, quantize_layer.QuantizeLayer)
    if layer.quantizer is None:
        return Description((Step(ops.Identity()),))
    return Description(
        _quantised(layer.quantizer, layer.quantizer_vars, call, "its input goes through")
        or (Step(ops.Identity()),)
    )
