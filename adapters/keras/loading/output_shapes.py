"""Output shapes of a model's layers, computed from its config: an ``.h5`` does not tell them.

Rules of Keras' own ``compute_output_shape``; a layer without a rule, and what follows it, has None.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import Any

__all__ = ["inferred_shapes"]

Shape = tuple[int | None, ...]
Config = Mapping[str, Any]
Rule = Callable[[Config, list[Shape]], Shape]


def inferred_shapes(entries: Sequence[Config], chained: bool) -> dict[str, Shape]:
    """The shape of the first output of each layer's first call, by its name."""
    shapes: dict[str, Shape] = {}
    before: Shape | None = None
    for entry in entries:
        config, kind = entry["config"], entry["class_name"].rpartition(">")[2]
        name = str(entry.get("name") or config.get("name", ""))
        given = config.get("batch_input_shape") or config.get("batch_shape")
        shape: Shape | None = None
        # a config may hold anything
        with suppress(ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            if kind == "InputLayer":
                shape = tuple(given)
            else:
                if before is not None:
                    first = before
                elif given:
                    first = tuple(given)
                else:
                    first = None
                if chained:
                    inputs = [first]
                else:
                    inputs = [shapes.get(layer) for layer in _inputs(entry)]
                known = [sizes for sizes in inputs if sizes is not None]
                if "layers" in config:
                    shape = _of_model(config, kind)
                elif known and len(known) == len(inputs):
                    shape = _RULES[kind](config, known)
        if shape is not None and all(size is None or type(size) is int for size in shape):
            shapes[name] = shape
        before = shapes.get(name)
    return shapes


def _of_model(config: Config, kind: str) -> Shape | None:
    """Of a model within the model."""
    inner = inferred_shapes(config["layers"], kind == "Sequential")
    ends = config.get("output_layers") or [[config["layers"][-1]["config"]["name"]]]
    return inner.get(ends[0] if isinstance(ends[0], str) else ends[0][0])


def _inputs(entry: Config) -> Iterator[str]:
    """The layers that a layer's first call takes its inputs from."""
    node = entry["inbound_nodes"][0]
    if isinstance(node, Mapping):  # Keras 3
        for history in _histories(node["args"]):
            yield history[0]
        return
    for history in [node] if isinstance(node[0], str) else node:
        yield history[0]


def _histories(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__":
        yield value["config"]["keras_history"]
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _histories(entry)


def _numbers(value: Any, count: int) -> list[int]:
    if isinstance(value, int):
        return [value] * count
    return list(value)


def _split(config: Config, shape: Shape) -> tuple[list[int | None], int | None, bool]:
    """(sizes, channels, whether the channels come first)."""
    first = config.get("data_format") == "channels_first"
    if first:
        return (list(shape[2:]), shape[1], True)
    return (list(shape[1:-1]), shape[-1], False)


def _joined(batch: int | None, sizes: Sequence[int | None], channels: Any, first: bool) -> Shape:
    if first:
        return (batch, channels, *sizes)
    return (batch, *sizes, channels)


def _windows(config: Config, sizes: list[int | None], window: Any, steps: Any) -> list[int | None]:
    """How many windows fit on each axis."""
    windows, strides = _numbers(window, len(sizes)), _numbers(steps, len(sizes))
    dilations = _numbers(config.get("dilation_rate") or 1, len(sizes))
    counts: list[int | None] = []
    for size, k, step, dilation in zip(sizes, windows, strides, dilations, strict=True):
        if config["padding"] == "valid":
            covered = (k - 1) * dilation
        else:
            covered = 0
        counts.append(None if size is None else -(-(size - covered) // step))
    return counts


def _conv(config: Config, inputs: list[Shape]) -> Shape:
    sizes, _, first = _split(config, inputs[0])
    counts = _windows(config, sizes, config["kernel_size"], config["strides"])
    return _joined(inputs[0][0], counts, config["filters"], first)


def _depthwise(config: Config, inputs: list[Shape]) -> Shape:
    sizes, channels, first = _split(config, inputs[0])
    counts = _windows(config, sizes, config["kernel_size"], config["strides"])
    if channels is None:
        made = None
    else:
        made = channels * config["depth_multiplier"]
    return _joined(inputs[0][0], counts, made, first)


def _transposed(config: Config, inputs: list[Shape]) -> Shape:
    sizes, _, first = _split(config, inputs[0])
    rank = len(sizes)
    dilations = _numbers(config.get("dilation_rate") or 1, rank)
    if config.get("output_padding") is not None or max(dilations) > 1:
        raise ValueError
    windows, strides = _numbers(config["kernel_size"], rank), _numbers(config["strides"], rank)
    outputs: list[int | None] = []
    for size, k, step in zip(sizes, windows, strides, strict=True):
        beyond = max(k - step, 0) if config["padding"] == "valid" else 0
        outputs.append(None if size is None else size * step + beyond)
    return _joined(inputs[0][0], outputs, config["filters"], first)


def _pooled(config: Config, inputs: list[Shape]) -> Shape:
    sizes, channels, first = _split(config, inputs[0])
    size = config["pool_size"]
    steps = size if config["strides"] is None else config["strides"]
    return _joined(inputs[0][0], _windows(config, sizes, size, steps), channels, first)


def _global(config: Config, inputs: list[Shape]) -> Shape:
    sizes, channels, first = _split(config, inputs[0])
    kept = [1] * len(sizes) if config.get("keepdims") else []
    if kept:
        return _joined(inputs[0][0], kept, channels, first)
    return (inputs[0][0], channels)


def _padded(sign: int, option: str) -> Rule:
    def rule(config: Config, inputs: list[Shape]) -> Shape:
        sizes, channels, first = _split(config, inputs[0])
        given = config[option]
        pairs = [given] if len(sizes) == 1 else given
        made = [
            None if size is None else size + sign * sum(_numbers(pair, 2))
            for size, pair in zip(sizes, pairs, strict=True)
        ]
        return _joined(inputs[0][0], made, channels, first)

    return rule


def _enlarged(config: Config, inputs: list[Shape]) -> Shape:
    sizes, channels, first = _split(config, inputs[0])
    times = _numbers(config["size"], len(sizes))
    made = [None if n is None else n * k for n, k in zip(sizes, times, strict=True)]
    return _joined(inputs[0][0], made, channels, first)


def _size(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        return prod(known)
    return None


def _reshaped(config: Config, inputs: list[Shape]) -> Shape:
    target, size = list(config["target_shape"]), _size(inputs[0][1:])
    rest = prod(n for n in target if n != -1)
    if size is not None and -1 in target:
        missing = size // rest
    else:
        missing = None
    return (inputs[0][0], *(missing if n == -1 else n for n in target))


def _broadcast(config: Config, inputs: list[Shape]) -> Shape:
    made = []
    for sizes in zip(*inputs, strict=True):
        larger = {size for size in sizes if size != 1}
        if len(larger) > 1:
            raise ValueError
        made.append(larger.pop() if larger else 1)
    return tuple(made)


def _concatenated(config: Config, inputs: list[Shape]) -> Shape:
    axis = config["axis"] % len(inputs[0])
    sizes = [shape[axis] for shape in inputs]
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(sizes) else None
    return (*inputs[0][:axis], total, *inputs[0][axis + 1 :])


def _recurrent(config: Config, inputs: list[Shape]) -> Shape:
    if config["return_sequences"]:
        lead = inputs[0][:2]
    else:
        lead = inputs[0][:1]
    return (*lead, config["units"])


def _same(config: Config, inputs: list[Shape]) -> Shape:
    return inputs[0]


def _dense(config: Config, inputs: list[Shape]) -> Shape:
    return (*inputs[0][:-1], config["units"])


def _flat(config: Config, inputs: list[Shape]) -> Shape:
    return (inputs[0][0], _size(inputs[0][1:]))


def _permuted(config: Config, inputs: list[Shape]) -> Shape:
    return (inputs[0][0], *(inputs[0][axis] for axis in config["dims"]))


_RULES: dict[str, Rule] = {
    "Cropping1D": _padded(-1, "cropping"),
    "Cropping2D": _padded(-1, "cropping"),
    "Cropping3D": _padded(-1, "cropping"),
    "Dense": _dense,
    "QDense": _dense,
    "Embedding": lambda config, inputs: (*inputs[0], config["output_dim"]),
    "Flatten": _flat,
    "Permute": _permuted,
    "RepeatVector": lambda config, inputs: (inputs[0][0], config["n"], inputs[0][1]),
    "Reshape": _reshaped,
    "Concatenate": _concatenated,
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"), _broadcast),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "QLSTM", "QGRU", "QSimpleRNN"), _recurrent),
    **dict.fromkeys(
        (
            *("Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization"),
            *("Dropout", "ELU", "GaussianDropout", "GaussianNoise", "GroupNormalization"),
            *("LayerNormalization", "LeakyReLU", "Masking", "PReLU", "QActivation"),
            *("QAdaptiveActivation", "QBatchNormalization", "ReLU", "Rescaling", "Softmax"),
            *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "ThresholdedReLU"),
            *("UnitNormalization",),
        ),
        _same,
    ),
    **{
        f"{q}{kind}{rank}D{more}": rule
        for rank in (1, 2, 3)
        for q in ("", "Q")
        for kind, more, rule in (
            ("Conv", "", _conv),
            ("SeparableConv", "", _conv),
            ("DepthwiseConv", "", _depthwise),
            ("Conv", "Transpose", _transposed),
            ("Conv", "Batchnorm", _conv),
            ("DepthwiseConv", "Batchnorm", _depthwise),
            ("MaxPooling", "", _pooled),
            ("AveragePooling", "", _pooled),
            ("GlobalMaxPooling", "", _global),
            ("GlobalAveragePooling", "", _global),
            ("ZeroPadding", "", _padded(1, "padding")),
            ("UpSampling", "", _enlarged),
        )
    },
}
"""Class -> rule."""
