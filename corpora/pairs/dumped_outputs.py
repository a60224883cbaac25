"""Models against outputs alone: an .npz of arrays by the names of layers, one of them wrong."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from convolutional_exports import MOBILE, SQUEEZE
from edits import Edit, option, removed, tensor
from keras_pairs import bidirectional, channels_last, convolutional
from pair import Fault, Pair, Sources, at
from running import outputs
from transformer_pairs import LLAMA, layer

Arrays = dict[str, np.ndarray]
Change = Callable[[Arrays], None]
Build = Callable[[], tuple[Any, Any]]


def _as_another_engine(arrays: Arrays) -> Arrays:
    """What differs by a rounding."""
    rng = np.random.default_rng(5)
    return {
        name: (value * (1 + 1e-7 * rng.standard_normal(value.shape))).astype(np.float32)
        for name, value in arrays.items()
    }


def dumped(
    name: str,
    build: Build,
    names: Callable[[str], bool],
    last: str,
    faults: Mapping[str, tuple[Change | Edit, str, Sources]],
    layout: Callable[[np.ndarray], np.ndarray] = lambda value: value,
    flat: bool = False,
) -> Pair:
    """A model and a dump of the layers that `names` takes.

    A fault changes arrays of the dump, or, where its name begins with `run_`, the model that is
    run, so that all that comes behind is wrong as well.
    """

    def write(fault: str, folder: Path) -> Path:
        model, x = build()
        if fault.startswith("run_"):
            faults[fault][0](model)
        arrays = {key: value for key, value in outputs(model, x).items() if names(key)}
        arrays = _as_another_engine(arrays)
        if fault and not fault.startswith("run_"):
            faults[fault][0](arrays)
        path = folder / "b.npz"
        np.savez(path, **{key: layout(value) for key, value in arrays.items()})
        return path

    def final(found: Arrays) -> np.ndarray:
        return found[last].reshape(found[last].shape[0], -1) if flat else found[last]

    wrong = {
        fault: Fault(partial(write, fault), what, sources)
        for fault, (_, what, sources) in faults.items()
    }
    return Pair(name, build, partial(write, ""), wrong, from_b=final)


def change(name: str, function: Callable[[np.ndarray], np.ndarray]) -> Change:
    """One array becomes what `function` makes of it."""

    def apply(arrays: Arrays) -> None:
        arrays[name] = np.ascontiguousarray(function(arrays[name]))

    return apply


def taken_from(name: str, other: str) -> Change:
    """One array is another one."""

    def apply(arrays: Arrays) -> None:
        assert arrays[name].shape == arrays[other].shape
        arrays[name] = arrays[other].copy()

    return apply


def one_channel_lost(value: np.ndarray) -> np.ndarray:
    """Nothing in the channel that has most."""
    value = value.copy()
    value[:, np.abs(value).sum((0, 2, 3)).argmax()] = 0
    return value


SQUEEZE_DUMP = dumped(
    "squeezenet_dump",
    SQUEEZE,
    lambda name: name.count(".") == 1 or name.endswith(".squeeze"),
    "classifier.3",
    {
        "turned": (
            change("features.3", lambda value: value.swapaxes(2, 3)),
            "one array's height and width are exchanged",
            at("features.3"),
        ),
        "channels_moved": (
            change("features.6", lambda value: np.roll(value, 1, 1)),
            "the channels of one array are moved by one",
            at("features.6"),
        ),
        "channel_lost": (
            change("features.9", one_channel_lost),
            "a channel of one array is 0",
            at("features.9"),
        ),
        "images_exchanged": (
            change("features.10", lambda value: value[::-1]),
            "two images of one array are exchanged",
            at("features.10"),
        ),
        "of_the_next_layer": (
            taken_from("features.3", "features.4"),
            "one array is that of the layer behind it",
            at("features.3"),
        ),
        "run_without_relu": (
            removed("features.7.squeeze_activation"),
            "all arrays are of a net in which a ReLU is missing",
            at("features.7.squeeze_activation", "features.7"),
        ),
        "run_with_other_weights": (
            tensor("features.4.squeeze.weight", lambda old: old.flip(0)),
            "all arrays are of a net in which a kernel's rows are in reverse order",
            at("features.4.squeeze"),
        ),
        "run_two_faults": (
            lambda model: (
                tensor("features.3.squeeze.bias", torch.zeros_like)(model),
                tensor("features.12.squeeze.weight", lambda old: 1.5 * old)(model),
            ),
            "all arrays are of a net without one bias and with one kernel 1.5 times as large",
            (("features.3.squeeze",), ("features.12.squeeze",)),
        ),
    },
    flat=True,
)


def _with_channels_last(value: np.ndarray) -> np.ndarray:
    return channels_last(value) if value.ndim == 4 else value


MOBILE_DUMP = dumped(
    "mobilenet_dump_channels_last",
    MOBILE,
    lambda name: name.startswith(("features.", "classifier")) and name.count(".") in (1, 3, 4),
    "classifier.3",
    {
        "saturated": (
            change("features.4", lambda value: np.clip(value, -1, 1)),
            "one array is clipped to [-1, 1], as a fixed-point format does it",
            at("features.4", "features.4.block.3"),
        ),
        "sign": (
            change("features.5.block.3.0", lambda value: -value),
            "one array has the other sign",
            at("features.5.block.3.0"),
        ),
        "run_epsilon": (
            option("features.2.block.1.1", eps=0.5),
            "all arrays are of a net with epsilon 0.5 for 0.001 in one normalisation",
            at("features.2.block.1.1"),
        ),
    },
    layout=_with_channels_last,
)
KERAS_DUMP = dumped(
    "keras_convolutional_dump",
    convolutional,
    lambda name: bool(name) and name != "drop",
    "classes",
    {
        "rectified_twice": (
            change("middle", lambda value: np.maximum(value, 0)),
            "one array was taken behind a ReLU that is not there",
            at("middle"),
        ),
        "quantised": (
            change("stem_norm", lambda value: np.round(value * 4) / 4),
            "one array is rounded to two bits behind the point",
            at("stem_norm"),
        ),
        "channels_first": (
            change("flat", lambda value: value.reshape(3, -1, 10).swapaxes(1, 2).reshape(3, -1)),
            "the features were flattened with the channels first",
            at("flat"),
        ),
        "logits": (
            change("classes", lambda value: np.log(value)),
            "the last array holds logarithms of probabilities",
            at("classes"),
        ),
        "two_faults": (
            lambda arrays: (
                change("pool", lambda value: 1.1 * value)(arrays),
                change("square", lambda value: value[:, ::-1])(arrays),
            ),
            "one array is 1.1 times as large, another's features are in reverse order",
            (("pool",), ("square",)),
        ),
    },
)
RECURRENT_DUMP = dumped(
    "keras_bidirectional_dump",
    bidirectional,
    bool,
    "out",
    {
        "half_turned": (
            change(
                "both",
                lambda value: np.concatenate([value[..., :6], value[:, ::-1, 6:]], -1),
            ),
            "the backward half of one array runs backwards in time",
            at("both"),
        ),
        "one_step_late": (
            change("mix", lambda value: np.roll(value, 1, 1)),
            "one array is a step late",
            at("mix"),
        ),
    },
)
LLAMA_DUMP = dumped(
    "llama_dump",
    LLAMA,
    lambda name: (
        name.endswith(("embed_tokens", "self_attn", "mlp", "model.norm", "lm_head"))
        or name in {layer(0), layer(1), layer(2)}
    ),
    "lm_head",
    {
        "other_batch_row": (
            change(layer(1, ".mlp"), lambda value: value[[0, 0]]),
            "the second sequence of one array is the first",
            at(layer(1, ".mlp")),
        ),
        "before_the_shortcut": (
            taken_from(layer(2), layer(2, ".mlp")),
            "one array was taken before the block's last shortcut",
            at(layer(2)),
        ),
        "run_scale": (
            option(layer(1, ".self_attn"), scaling=0.2),
            "all arrays are of a model whose scores are scaled by 0.2 for 0.354 in one layer",
            at(layer(1, ".self_attn")),
        ),
        "run_two_faults": (
            lambda model: (
                option(layer(0, ".input_layernorm"), variance_epsilon=0.3)(model),
                tensor(layer(2, ".mlp.up_proj.weight"), lambda old: old.roll(1, 0))(model),
            ),
            "all arrays are of a model with one norm's epsilon 0.3 and one layer's rows moved",
            (
                (layer(0, ".input_layernorm"), layer(0, ".self_attn")),
                (layer(2, ".mlp.up_proj"), layer(2, ".mlp")),
            ),
        ),
    },
)


PAIRS = [SQUEEZE_DUMP, MOBILE_DUMP, KERAS_DUMP, RECURRENT_DUMP, LLAMA_DUMP]
