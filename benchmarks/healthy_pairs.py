"""Whole networks against their own exports, copies in half precision and ports:
``python benchmarks/healthy_pairs.py [GROUP ...] [--only NAME]``.

A healthy pair has no source; what has no partner computes nothing of its own, such as a slice.
The networks have random weights, and normalisations the statistics of a batch and other gains than
1; those never trained have neither: a normalisation is nearly the identity, where it can be
taken for what stands before it.
"""

import argparse
import contextlib
import copy
import io
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
sys.path.append(str(Path(__file__).parents[1] / "corpora" / "pairs"))

import numpy as np
import torch
import torchvision
import transformers
from results import keep, machine

import probe

VISION = {
    "resnet18": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "efficientnet_b0": 64,
    "densenet121": 64,
    "vgg11_bn": 64,
    "squeezenet1_1": 64,
    "shufflenet_v2_x1_0": 64,
    "regnet_y_400mf": 64,
    "convnext_tiny": 64,
    "vit_b_32": 224,
}
_SMALL = {"vocab_size": 101, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GATED = _SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
DECODERS = {
    "Llama": _GATED,
    "Mistral": _GATED,
    "Qwen2": _GATED,
    "Qwen3": _GATED | {"head_dim": 8},
    "Gemma": _GATED | {"head_dim": 8},
    "GPT2": {"vocab_size": 101, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "GPTNeoX": _SMALL | {"intermediate_size": 48},
    "OPT": _SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 64},
}
_TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LEGACY = {"dynamo": False, "opset_version": 17}
EXPORTS: dict[str, dict[str, Any]] = {
    "dynamo, optimised": {"dynamo": True, "external_data": False, "verbose": False},
    "dynamo": {"dynamo": True, "external_data": False, "verbose": False, "optimize": False},
    "folded": LEGACY | {"training": torch.onnx.TrainingMode.EVAL},
    "not folded": LEGACY
    | {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False},
}
HALF = ("resnet18", "mobilenet_v2", "vit_b_32", "Llama", "GPT2")
KERAS = ("ResNet50", "ResNet50V2", "VGG16", "VGG19", "InceptionV3")
"""Keras 3 refuses DepthwiseConv2D and names with a slash in files of Keras 2."""


class Logits(torch.nn.Module):
    """A decoder from ids to logits."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.decoder(ids, use_cache=False).logits


def untrained(name: str) -> tuple[torch.nn.Module, np.ndarray]:
    torch.manual_seed(0)
    size = VISION[name]
    net = getattr(torchvision.models, name)(weights=None, num_classes=10)
    x = np.random.default_rng(0).standard_normal((1, 3, size, size)).astype(np.float32)
    return net.eval(), x


def vision(name: str) -> tuple[torch.nn.Module, np.ndarray]:
    net, x = untrained(name)
    norms = [one for one in net.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    for one in norms:
        one.momentum = None
        torch.nn.init.uniform_(one.weight, 0.5, 1.5)
        torch.nn.init.uniform_(one.bias, -0.2, 0.2)
    with torch.no_grad():
        net.train()(torch.randn(8, *x.shape[1:]))
    return net.eval(), x


def untrained_decoder(name: str) -> tuple[torch.nn.Module, np.ndarray]:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**DECODERS[name] | _TOKENS)
    config._attn_implementation = "eager"
    heads = ("ForCausalLM", "LMHeadModel")
    cls = next(found for one in heads if (found := getattr(transformers, name + one, None)))
    return Logits(cls(config)).eval(), np.random.default_rng(0).integers(3, 101, (1, 13))


def decoder(name: str) -> tuple[torch.nn.Module, np.ndarray]:
    net, ids = untrained_decoder(name)
    for key, one in net.named_parameters():
        if one.ndim == 1 and "bias" not in key:
            torch.nn.init.uniform_(one, 0.5, 1.5)
    return net, ids


def exports(build: Callable[[str], Any], names: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    for name in names:
        net, x = build(name)
        for way, options in EXPORTS.items():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "net.onnx"
                refused = ""
                with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
                    try:
                        torch.onnx.export(net, (torch.from_numpy(x),), str(path), **options)
                    except Exception as error:  # the exporters raise anything
                        refused = type(error).__name__
                if refused:
                    print(f"{name}, {way}: PyTorch does not export it: {refused}", flush=True)
                yield f"{name}, {way}", net, None if refused else str(path), x


def half_precision(names: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    for name in names:
        net, x = vision(name) if name in VISION else decoder(name)
        yield f"{name}, bfloat16", net, copy.deepcopy(net).bfloat16(), x


def keras_generations(names: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    import tf_keras

    for name in names:
        net = getattr(tf_keras.applications, name)(
            weights=None, input_shape=(96, 96, 3), classes=10
        )
        x = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.h5"
            net.save(path)
            yield f"{name}, Keras 2 against Keras 3", net, third(path), x


def third(path: Path) -> Any:
    """The file in Keras 3."""
    import keras

    return keras.models.load_model(path, compile=False)


def ports(names: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    from application_ports import NETWORKS

    for name in names or NETWORKS:
        yield f"{name}, ported to PyTorch", *NETWORKS[name]()


GROUPS: dict[str, Callable[[str], Iterator[tuple[str, Any, Any, Any]]]] = {
    "torchvision": lambda only: exports(vision, [only] if only else VISION),
    "torchvision, never trained": lambda only: exports(untrained, [only] if only else VISION),
    "decoders": lambda only: exports(decoder, [only] if only else DECODERS),
    "decoders, never trained": lambda only: exports(
        untrained_decoder, [only] if only else DECODERS
    ),
    "bfloat16": lambda only: half_precision([only] if only else HALF),
    "keras": lambda only: keras_generations([only] if only else KERAS),
    "ports": lambda only: ports([only] if only else ()),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []])
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = [
        "| pairs | not exported by PyTorch | compared | agree | sources | layers without a partner "
        "| longest, s |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for group in options.groups or GROUPS:
        absent = count = agree = sources = alone = 0
        longest = 0.0
        for name, a, b, x in GROUPS[group](options.only):
            if b is None:
                absent += 1
                continue
            started = time.perf_counter()
            try:
                found = probe.compare(a, b, x)
            except Exception as error:  # counts as a pair that does not agree
                print(f"{name}: REFUSED: {type(error).__name__}: {str(error)[:300]}", flush=True)
                count += 1
                continue
            seconds = time.perf_counter() - started
            print(f"{name}: {found.sentence} [{seconds:.1f} s]", flush=True)
            count, agree = count + 1, agree + (found.verdict == "agree")
            sources, longest = sources + len(found.sources), max(longest, seconds)
            alone += sum(map(len, found.unpaired))
        lines.append(
            f"| {group} | {absent} | {count} | {agree} | {sources} | {alone} | {longest:.1f} |"
        )
        print(lines[-1], flush=True)
    if not options.groups and not options.only:
        keep(
            "Healthy pairs of whole networks",
            f"{machine('torch', 'torchvision', 'transformers', 'keras', 'tf_keras')}; "
            "`benchmarks/healthy_pairs.py`\n\n" + "\n".join(lines),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
