"""Nets of Keras and transformers against ONNX exports of ports to PyTorch."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from exports import export
from keras_pairs import channels_first, channels_last, convolutional, decoder, lstms
from keras_ports import ConvolutionalNet, DecoderNet, RecurrentNet
from pair import Fault, Pair, Sources, at
from transformer_pairs import GPT2_BUILD, LLAMA, bert, bert_build, block, layer
from transformer_ports import GPT2, Bert, RotaryDecoder

Build = Callable[[], tuple[Any, Any]]


def port_exported(
    name: str,
    build: Build,
    port: Callable[[Any, Any], Any],
    healthy: Any,
    way: str,
    faults: Mapping[str, tuple[Any, str, Sources]],
    to_b: Callable[[Any], Any] = lambda x: x,
    **layout: Any,
) -> Pair:
    """A net and the export of a port, which is told its mistakes, `healthy` when it has none."""

    def write(mistakes: Any, folder: Path) -> Path:
        model, x = build()
        given = to_b(x)
        given = tuple(given.values()) if isinstance(given, dict) else given
        return export(port(model, mistakes).eval(), given, folder / "b.onnx", way)

    wrong = {
        fault: Fault(partial(write, mistakes), what, sources)
        for fault, (mistakes, what, sources) in faults.items()
    }
    return Pair(name, build, partial(write, healthy), wrong, to_b, **layout)


PAIRS = [
    port_exported(
        "keras_convolutional_export",
        convolutional,
        ConvolutionalNet,
        frozenset(),
        "kept",
        {
            "flatten_order": (
                frozenset({"flatten order"}),
                "features are flattened with the channels first",
                at("flat", "hidden"),
            ),
            "symmetric_padding": (
                frozenset({"symmetric padding"}),
                "padding 1 on all sides for `same` with stride 2",
                at("stem"),
            ),
            "deviation": (
                frozenset({"deviation"}),
                "the moving variance's root is loaded as variance",
                at("stem_norm"),
            ),
            "two_faults": (
                frozenset({"kernel mirrored", "square not transposed"}),
                "a kernel is mirrored, a square one not transposed",
                (("middle",), ("square",)),
            ),
        },
        channels_first,
    ),
    port_exported(
        "keras_decoder_export",
        decoder,
        DecoderNet,
        frozenset(),
        "dynamo",
        {
            "turned": (
                frozenset({"turned"}),
                "the kernel of a transposed convolution is turned by 180 degrees",
                at("grow"),
            ),
            "groups": (frozenset({"groups"}), "two groups for four", at("groups")),
            "corners": (
                frozenset({"corners"}),
                "bilinear with aligned corners",
                at("larger"),
            ),
        },
        channels_first,
        from_b=channels_last,
    ),
    port_exported(
        "keras_lstms_export",
        lstms,
        RecurrentNet,
        {},
        "kept",
        {
            "gate_order": (
                {"second": "gate order"},
                "candidate and output gate are exchanged",
                at("second"),
            ),
            "forget_bias_again": (
                {"first": "forget bias again"},
                "one is added to the forget gate's bias, which holds it already",
                at("first"),
            ),
        },
    ),
    port_exported(
        "bert_export",
        bert_build,
        Bert,
        {},
        "kept",
        {
            "norm_before_sum": (
                {1: "norm before sum"},
                "a norm comes before its shortcut",
                at(bert(1, ".attention.output"), bert(1, ".attention.output.LayerNorm")),
            ),
            "padding_seen": (
                {0: "padding seen"},
                "one attention sees the padding",
                at(bert(0, ".attention.self")),
            ),
            "two_faults": (
                {0: "gelu by tanh", 2: "scale"},
                "GELU by tanh for the exact one, scores of another layer are halved",
                (
                    (bert(0, ".intermediate.intermediate_act_fn"),),
                    (bert(2, ".attention.self"),),
                ),
            ),
        },
    ),
    port_exported(
        "llama_export",
        LLAMA,
        RotaryDecoder,
        {},
        "dynamo",
        {
            "rope_pairs": (
                {1: "rope pairs"},
                "one attention turns neighbours, not halves",
                at(layer(1, ".self_attn")),
            ),
            "no_shortcut": ({0: "no shortcut"}, "the first shortcut is missing", at(layer(0))),
            "epsilon": (
                {2: "epsilon"},
                "epsilon 0.01 for 1e-06 in one norm",
                at(layer(2, ".input_layernorm")),
            ),
        },
    ),
    port_exported(
        "gpt2_export",
        GPT2_BUILD,
        GPT2,
        {},
        "kept",
        {
            "no_scale": ({1: "no scale"}, "scores are not scaled", at(block(1, ".attn"))),
            "split_by_heads": (
                {2: "split by heads"},
                "query, key and value are split within each head",
                at(block(2, ".attn"), block(2, ".attn.c_attn")),
            ),
            "places_from_one": (
                {-1: "places from one"},
                "positions count from one",
                at("transformer.wpe", "transformer"),
            ),
        },
    ),
]
