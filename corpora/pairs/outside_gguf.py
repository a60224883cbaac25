"""Hugging Face directories and the .gguf files that were converted from them, well or wrongly.

Written from the two formats and the mistakes that people make between them, without a look at how
the tool reads or compares such files. `HEALTHY` are conversions of seven tiny architectures into
eight types of weights; `PLANTED` are conversions with one mistake each and the sentence that a
person would say of it. Every one is a function that writes `hf/` (config.json, model.safetensors)
and `model.gguf` into the folder that it is given; all weights are drawn from fixed seeds.

    python corpora/pairs/outside_gguf.py FOLDER [WORD ...]

writes those whose names hold all the words, each into a folder of its own, and checks them by
gguf's dequantiser and names: that the healthy ones are within half a step of the weights, and that
a mistake lies in the tensors that it names and in no others.
"""

import functools
import json
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np
from gguf import MODEL_ARCH as A
from gguf import GGMLQuantizationType as Q

Weights = dict[str, np.ndarray]
VOCABULARY, HIDDEN, INNER, CONTEXT = 71, 64, 96, 32

# --- the models -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """An architecture with a tiny config, the names of its weights, and its converter's habits."""

    name: str
    arch: A
    config: Mapping[str, Any]
    shapes: Callable[[Mapping[str, Any]], dict[str, tuple[int, ...]]]
    kind: str = "F32"  # the type of the weights in model.safetensors
    permuted: bool = False  # the rows of q and k are put in the order of neighbouring pairs
    plus_one: bool = False  # the norms multiply by 1 + weight
    transposed: bool = False  # Conv1D keeps (in, out)
    tied: bool = False

    @property
    def layers(self) -> int:
        """How many layers it has."""
        return int(self.config.get("num_hidden_layers", self.config.get("n_layer")))

    @property
    def heads(self) -> int:
        """How many heads of queries it has."""
        return int(self.config.get("num_attention_heads", self.config.get("n_head")))

    @property
    def kv_heads(self) -> int:
        """How many heads of keys it has."""
        return int(self.config.get("num_key_value_heads", self.heads))


def _decoder(config: Mapping[str, Any], bias: bool = False) -> dict[str, tuple[int, ...]]:
    """Embedding, attention, norms and head as LLaMA names them."""
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    width, size = config.get("head_dim", HIDDEN // heads), config["vocab_size"]
    made: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size, HIDDEN)}
    for at in range(config["num_hidden_layers"]):
        stem = f"model.layers.{at}"
        made[f"{stem}.input_layernorm.weight"] = (HIDDEN,)
        for part, rows in (("q", heads), ("k", kv), ("v", kv)):
            made[f"{stem}.self_attn.{part}_proj.weight"] = (rows * width, HIDDEN)
            if bias:
                made[f"{stem}.self_attn.{part}_proj.bias"] = (rows * width,)
        made[f"{stem}.self_attn.o_proj.weight"] = (HIDDEN, heads * width)
        made[f"{stem}.post_attention_layernorm.weight"] = (HIDDEN,)
    made["model.norm.weight"] = (HIDDEN,)
    if not config["tie_word_embeddings"]:
        made["lm_head.weight"] = (size, HIDDEN)
    return made


def _gated(config: Mapping[str, Any], bias: bool = False) -> dict[str, tuple[int, ...]]:
    """With a gated net in each layer."""
    made = _decoder(config, bias)
    for at in range(config["num_hidden_layers"]):
        for part in ("gate", "up"):
            made[f"model.layers.{at}.mlp.{part}_proj.weight"] = (INNER, HIDDEN)
        made[f"model.layers.{at}.mlp.down_proj.weight"] = (HIDDEN, INNER)
    return made


def _fused(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """With q, k and v in one matrix, and gate and up in another."""
    made = {}
    for name, shape in _gated(config).items():
        if re.search(r"\.[qk]_proj|gate_proj", name):
            continue
        if ".v_proj" in name:
            rows = HIDDEN + 2 * config["num_key_value_heads"] * 16
            made[name.replace("v_proj", "qkv_proj")] = (rows, HIDDEN)
        elif ".up_proj" in name:
            made[name.replace("up_proj", "gate_up_proj")] = (2 * INNER, HIDDEN)
        else:
            made[name] = shape
    return made


def _olmoe(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """With experts, and norms of the queries and keys."""
    made = _decoder(config)
    for at in range(config["num_hidden_layers"]):
        stem = f"model.layers.{at}"
        made[f"{stem}.self_attn.q_norm.weight"] = (HIDDEN,)
        made[f"{stem}.self_attn.k_norm.weight"] = (HIDDEN,)
        made[f"{stem}.mlp.gate.weight"] = (config["num_experts"], HIDDEN)
        for one in range(config["num_experts"]):
            expert = f"{stem}.mlp.experts.{one}"
            made[f"{expert}.gate_proj.weight"] = (config["intermediate_size"], HIDDEN)
            made[f"{expert}.up_proj.weight"] = (config["intermediate_size"], HIDDEN)
            made[f"{expert}.down_proj.weight"] = (HIDDEN, config["intermediate_size"])
    return made


def _mixtral(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """With experts by Mixtral's names."""
    made = _decoder(config)
    for at in range(config["num_hidden_layers"]):
        stem = f"model.layers.{at}.block_sparse_moe"
        made[f"{stem}.gate.weight"] = (config["num_local_experts"], HIDDEN)
        for one in range(config["num_local_experts"]):
            made[f"{stem}.experts.{one}.w1.weight"] = (INNER, HIDDEN)
            made[f"{stem}.experts.{one}.w2.weight"] = (HIDDEN, INNER)
            made[f"{stem}.experts.{one}.w3.weight"] = (INNER, HIDDEN)
    return made


def _gpt2(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """GPT-2, whose matrices are (in, out)."""
    made: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (config["vocab_size"], HIDDEN),
        "transformer.wpe.weight": (CONTEXT, HIDDEN),
    }
    for at in range(config["n_layer"]):
        stem = f"transformer.h.{at}"
        matrices = {
            "attn.c_attn": (HIDDEN, 3 * HIDDEN),
            "attn.c_proj": (HIDDEN, HIDDEN),
            "mlp.c_fc": (HIDDEN, 4 * HIDDEN),
            "mlp.c_proj": (4 * HIDDEN, HIDDEN),
        }
        for name, shape in matrices.items():
            made[f"{stem}.{name}.weight"] = shape
            made[f"{stem}.{name}.bias"] = (shape[1],)
        for name in ("ln_1", "ln_2"):
            made[f"{stem}.{name}.weight"] = (HIDDEN,)
            made[f"{stem}.{name}.bias"] = (HIDDEN,)
    made["transformer.ln_f.weight"] = made["transformer.ln_f.bias"] = (HIDDEN,)
    return made


def _config(architecture: str, model_type: str, layers: int = 2, **more: Any) -> dict[str, Any]:
    made = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return {**made, **more}


MODELS = {
    one.name: one
    for one in (
        Model(
            "llama",
            A.LLAMA,
            _config("LlamaForCausalLM", "llama", 3, rope_theta=500000.0),
            _gated,
            permuted=True,
        ),
        Model(
            "qwen2",
            A.QWEN2,
            _config("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True, rms_norm_eps=1e-6),
            functools.partial(_gated, bias=True),
            kind="BF16",
            tied=True,
        ),
        Model(
            "gemma",
            A.GEMMA,
            _config(
                "GemmaForCausalLM",
                "gemma",
                num_key_value_heads=1,
                head_dim=32,
                hidden_act="gelu_pytorch_tanh",
                hidden_activation="gelu_pytorch_tanh",
                tie_word_embeddings=True,
                rms_norm_eps=1e-6,
            ),
            _gated,
            kind="BF16",
            plus_one=True,
            tied=True,
        ),
        Model(
            "gpt2",
            A.GPT2,
            {
                "architectures": ["GPT2LMHeadModel"],
                "model_type": "gpt2",
                "vocab_size": VOCABULARY,
                "n_embd": HIDDEN,
                "n_layer": 2,
                "n_head": 4,
                "n_positions": CONTEXT,
                "n_ctx": CONTEXT,
                "layer_norm_epsilon": 1e-5,
                "activation_function": "gelu_new",
                "tie_word_embeddings": True,
                "bos_token_id": 1,
                "eos_token_id": 2,
            },
            _gpt2,
            transposed=True,
            tied=True,
        ),
        Model(
            "olmoe",
            A.OLMOE,
            _config(
                "OlmoeForCausalLM",
                "olmoe",
                num_key_value_heads=4,
                num_experts=12,
                num_experts_per_tok=3,
                norm_topk_prob=False,
                intermediate_size=32,
            ),
            _olmoe,
            kind="BF16",
        ),
        Model(
            "mixtral",
            A.LLAMA,
            _config(
                "MixtralForCausalLM",
                "mixtral",
                num_local_experts=4,
                num_experts_per_tok=2,
                rope_theta=1e6,
                sliding_window=None,
            ),
            _mixtral,
            permuted=True,
        ),
        Model(
            "phi3",
            A.PHI3,
            _config(
                "Phi3ForCausalLM",
                "phi3",
                original_max_position_embeddings=CONTEXT,
                rope_scaling=None,
                sliding_window=None,
            ),
            _fused,
        ),
    )
}


def _is_norm(name: str) -> bool:
    return bool(re.search(r"norm\.weight|ln_\w+\.weight", name))


@functools.cache
def _drawn(name: str, seed: int) -> Mapping[str, np.ndarray]:
    model = MODELS[name]
    rng = np.random.default_rng([seed, list(MODELS).index(name)])
    made = {}
    for key, shape in model.shapes(model.config).items():
        value = rng.normal(size=shape)
        if _is_norm(key):
            value = 0.2 * value + (not model.plus_one)
        elif len(shape) == 1:
            value = 0.2 * value
        elif "embed" in key or ".wte" in key or ".wpe" in key:
            value = 0.6 * value
        else:
            value = 1.3 * value / np.sqrt(shape[0] if model.transposed else shape[1])
        value = value.astype(np.float32)
        if model.kind == "BF16":
            value = value.astype(ml_dtypes.bfloat16).astype(np.float32)
        made[key] = value
    return made


def drawn(model: Model, seed: int = 1) -> Weights:
    """Weights by Hugging Face's names; norms, biases and gains vary, so that faults show."""
    return {name: value.copy() for name, value in _drawn(model.name, seed).items()}


def write_directory(folder: Path, model: Model, weights: Weights) -> None:
    """config.json and model.safetensors."""
    folder.mkdir(parents=True)
    dtype = {"F32": "float32", "BF16": "bfloat16"}[model.kind]
    told = {**model.config, "torch_dtype": dtype}
    (folder / "config.json").write_text(json.dumps(told, indent=2), encoding="utf-8")
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, value in sorted(weights.items()):
        kept = value.astype(ml_dtypes.bfloat16 if model.kind == "BF16" else np.float32).tobytes()
        head[name] = {
            "dtype": model.kind,
            "shape": list(value.shape),
            "data_offsets": [len(content), len(content) + len(kept)],
        }
        content += kept
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content)


# --- the conversion -------------------------------------------------------------------------------


def permute(value: np.ndarray, heads: int) -> np.ndarray:
    """The halves that rotate together become neighbours, in each head."""
    parts = value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:])
    return parts.swapaxes(1, 2).reshape(value.shape)


def unpermute(value: np.ndarray, heads: int) -> np.ndarray:
    """The opposite."""
    parts = value.reshape(heads, value.shape[0] // heads // 2, 2, *value.shape[1:])
    return parts.swapaxes(1, 2).reshape(value.shape)


MERGED = {
    r"(model\.layers\.\d+\.mlp\.experts)\.(\d+)\.(\w+)\.weight": r"\1.\3.weight",
    r"model\.(layers\.\d+)\.block_sparse_moe\.experts\.(\d+)\.(\w+)\.weight": (
        r"\1.feed_forward.experts.\3.weight"
    ),
}


def merged(weights: Weights, order: Callable[[str], Any] = int) -> Weights:
    """The weights, the experts of each layer in one array."""
    made: Weights = {}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, value in weights.items():
        for pattern, whole in MERGED.items():
            if match := re.fullmatch(pattern, name):
                found.setdefault(match.expand(whole), {})[match[2]] = value
                break
        else:
            made[name] = value
    for name, experts in found.items():
        made[name] = np.stack([experts[at] for at in sorted(experts, key=order)])
    return made


@functools.cache
def names_of(arch: A, layers: int) -> Any:
    """The package's map of names."""
    return gguf.get_tensor_name_map(arch, layers)


def gguf_name(model: Model, name: str) -> str:
    """A weight's name in the file."""
    made = names_of(model.arch, model.layers).get_name(name, try_suffixes=(".weight", ".bias"))
    assert made, name
    return str(made)


@dataclass(frozen=True)
class Habits:
    """What a converter does, and may do wrongly."""

    order: Callable[[str], Any] = int
    permuted: bool | None = None  # None: as the architecture needs
    plus: float = 1.0

    def convert(self, model: Model, weights: Weights) -> Weights:
        """The tensors of the file, by its names."""
        permuted = model.permuted if self.permuted is None else self.permuted
        made = {}
        for name, value in merged(weights, self.order).items():
            if permuted and (match := re.search(r"\.([qk])_proj\.", name)):
                value = permute(value, model.heads if match[1] == "q" else model.kv_heads)
            if model.plus_one and _is_norm(name):
                value = value + np.float32(self.plus)
            if model.transposed and re.search(r"\.c_\w+\.weight", name):
                value = value.T
            made[gguf_name(model, name)] = np.ascontiguousarray(value)
        return made


def kind_of(name: str, value: np.ndarray, kind: Q) -> Q:
    """Norms, biases, positions and routers stay in float32."""
    flat = value.ndim == 1 or re.search(r"_norm|ffn_gate_inp|position_embd", name)
    return Q.F32 if flat else kind


def keys_of(model: Model) -> dict[str, tuple[str, Any]]:
    """The keys of the file: how the writer's method is called, and the value."""
    told = model.config
    head = told.get("head_dim", HIDDEN // model.heads)
    made: dict[str, tuple[str, Any]] = {
        "context": ("add_context_length", CONTEXT),
        "width": ("add_embedding_length", HIDDEN),
        "layers": ("add_block_count", model.layers),
        "inner": ("add_feed_forward_length", told.get("intermediate_size", 4 * HIDDEN)),
        "heads": ("add_head_count", model.heads),
        "vocabulary": ("add_vocab_size", VOCABULARY),
    }
    if model.arch == A.GPT2:
        return {**made, "epsilon": ("add_layer_norm_eps", told["layer_norm_epsilon"])}
    made |= {
        "kv_heads": ("add_head_count_kv", model.kv_heads),
        "epsilon": ("add_layer_norm_rms_eps", told["rms_norm_eps"]),
        "base": ("add_rope_freq_base", told["rope_theta"]),
        "rotated": ("add_rope_dimension_count", head),
        "key_length": ("add_key_length", head),
        "value_length": ("add_value_length", head),
    }
    experts = told.get("num_experts", told.get("num_local_experts"))
    if experts:
        made["experts"] = ("add_expert_count", experts)
        made["used"] = ("add_expert_used_count", told["num_experts_per_tok"])
    if model.arch == A.PHI3:
        made["before"] = ("add_rope_scaling_orig_ctx_len", CONTEXT)
    return made


Raw = Callable[[str, Q, np.ndarray], np.ndarray]


def write_file(
    path: Path,
    model: Model,
    tensors: Weights,
    kind: Q,
    raw: Raw = lambda name, kind, content: content,
    keys: Mapping[str, Any] | None = None,
) -> None:
    """The .gguf file; `raw` may change a tensor's bytes, `keys` a value of the header."""
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[model.arch])
    writer.add_name(f"tiny {model.name}")
    writer.add_file_type(int(getattr(gguf.LlamaFileType, FILE_TYPES[kind])))
    for name, (method, value) in keys_of(model).items():
        getattr(writer, method)((keys or {}).get(name, value))
    writer.add_tokenizer_model("gpt2" if model.arch in (A.GPT2, A.QWEN2, A.OLMOE) else "llama")
    writer.add_token_list([f"<{at}>" for at in range(VOCABULARY)])
    writer.add_token_types([1] * VOCABULARY)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if "pad_token_id" in model.config:
        writer.add_pad_token_id(0)
    for name, value in tensors.items():
        this = kind_of(name, value, kind)
        content = gguf.quants.quantize(np.ascontiguousarray(value, np.float32), this)
        writer.add_tensor(name, raw(name, this, content), raw_dtype=this)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FILE_TYPES = {
    Q.F32: "ALL_F32",
    Q.F16: "MOSTLY_F16",
    Q.BF16: "MOSTLY_BF16",
    Q.Q8_0: "MOSTLY_Q8_0",
    Q.Q4_0: "MOSTLY_Q4_0",
    Q.Q4_1: "MOSTLY_Q4_1",
    Q.Q5_0: "MOSTLY_Q5_0",
    Q.Q5_1: "MOSTLY_Q5_1",
}


@dataclass(frozen=True)
class Conversion:
    """A directory and a file: `what` is empty where the file is healthy.

    `before` changes the weights that the converter reads, `after` the tensors that it writes, `raw`
    the bytes of one, and `keys` the values of the header. `at` are the tensors of the file in which
    the mistake lies, by their names in it; keys of the header are named as they stand there.
    """

    name: str
    model: Model
    kind: Q
    what: str = ""
    at: tuple[str, ...] = ()
    habits: Habits = Habits()
    before: Callable[[Weights], Any] = lambda weights: None
    after: Callable[[Weights], Any] = lambda tensors: None
    raw: Raw = lambda name, kind, content: content
    keys: Mapping[str, Any] | None = None

    def __call__(self, folder: Path) -> tuple[Path, Path]:
        """Writes both, and gives their paths."""
        weights = drawn(self.model)
        write_directory(folder / "hf", self.model, weights)
        self.before(weights)
        tensors = self.habits.convert(self.model, weights)
        self.after(tensors)
        path = folder / "model.gguf"
        write_file(path, self.model, tensors, self.kind, self.raw, self.keys)
        return folder / "hf", path


HEALTHY = {
    f"healthy-{name}-{kind.name.lower()}": Conversion(
        f"healthy-{name}-{kind.name.lower()}", model, kind
    )
    for name, model in MODELS.items()
    for kind in FILE_TYPES
}
PLANTED: dict[str, Conversion] = {}


def plant(model: str, slug: str, kind: Q, what: str, at: str | Sequence[str], **edits: Any) -> None:
    """Registers a mistake."""
    name, places = f"{model}-{slug}", (at,) if isinstance(at, str) else tuple(at)
    assert name not in PLANTED and places
    PLANTED[name] = Conversion(name, MODELS[model], kind, what, places, **edits)


# --- edits ----------------------------------------------------------------------------------------

Edit = Callable[[Weights], None]


def change(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Another value in a tensor's place."""

    def edit(held: Weights) -> None:
        held[name] = np.ascontiguousarray(make(held[name]))

    return edit


def exchange(*pairs: tuple[str, str]) -> Edit:
    """Two tensors under each other's name."""

    def edit(held: Weights) -> None:
        for one, two in pairs:
            held[one], held[two] = held[two], held[one]

    return edit


def copied(to: str, source: str) -> Edit:
    """One tensor's values under the name of another as well."""

    def edit(held: Weights) -> None:
        held[to] = held[source].copy()

    return edit


def dropped(*names: str) -> Edit:
    """Tensors left out."""

    def edit(held: Weights) -> None:
        for name in names:
            del held[name]

    return edit


def of_another(model: str, *names: str, seed: int = 2) -> Edit:
    """Weights, by Hugging Face's names, of another checkpoint of the same architecture."""

    def edit(held: Weights) -> None:
        other = drawn(MODELS[model], seed)
        for name in names:
            held[name] = other[name]

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after another."""

    def edit(held: Weights) -> None:
        for one in edits:
            one(held)

    return edit


def rows_moved(start: int) -> Callable[[np.ndarray], np.ndarray]:
    """The rows from one on, each in the place of the next."""

    def make(value: np.ndarray) -> np.ndarray:
        return np.concatenate([value[:start], np.roll(value[start:], 1, 0)])

    return make


def in_bytes(tensor: str, make: Callable[[np.ndarray], np.ndarray]) -> Raw:
    """Other bytes in the blocks (a row each) of one tensor."""

    def raw(name: str, kind: Q, content: np.ndarray) -> np.ndarray:
        if name != tensor:
            return content
        size = gguf.GGML_QUANT_SIZES[kind][1]
        blocks = np.ascontiguousarray(content).view(np.uint8).reshape(-1, size).copy()
        return make(blocks).reshape(-1).view(content.dtype).reshape(content.shape)

    return raw


def scales(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Other scales: the first two bytes of each block are a float16."""

    def edit(blocks: np.ndarray) -> np.ndarray:
        held = np.ascontiguousarray(blocks[:, :2]).view(np.float16)[:, 0]
        blocks[:, :2] = make(held).astype(np.float16)[:, None].view(np.uint8)
        return blocks

    return edit


def nibbles(start: int) -> Callable[[np.ndarray], np.ndarray]:
    """The high and the low four bits exchanged, from a byte of each block on."""

    def edit(blocks: np.ndarray) -> np.ndarray:
        blocks[:, start:] = blocks[:, start:] >> 4 | blocks[:, start:] << 4
        return blocks

    return edit


def neighbours_in_a_byte(blocks: np.ndarray) -> np.ndarray:
    """Values 2i and 2i + 1 in one byte, where the format has i and i + 16."""
    low, high = blocks[:, 2:] & 15, blocks[:, 2:] >> 4
    values = np.concatenate([low, high], 1)
    blocks[:, 2:] = values[:, 0::2] | values[:, 1::2] << 4
    return blocks


def high_bits_reversed(blocks: np.ndarray) -> np.ndarray:
    """The fifth bits of a block in the opposite order (Q5_1: bytes 4 to 7)."""
    bits = np.unpackbits(blocks[:, 4:8], axis=1, bitorder="little")
    blocks[:, 4:8] = np.packbits(bits[:, ::-1], axis=1, bitorder="little")
    return blocks


def in_bfloat(scale: np.ndarray) -> np.ndarray:
    """The scales cut to the eight bits that a bfloat16 has."""
    bits = scale.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def _block(at: int, *names: str) -> tuple[str, ...]:
    return tuple(f"blk.{at}.{name}.weight" for name in names)


def _each(count: int, *names: str) -> tuple[str, ...]:
    return tuple(one for at in range(count) for one in _block(at, *names))


def _layer(at: int, name: str) -> str:
    return f"model.layers.{at}.{name}.weight"


def heads_of(name: str, count: int, make: Callable[[np.ndarray], np.ndarray]) -> Edit:
    """Another order of the heads of a tensor's rows."""
    return change(name, lambda v: make(v.reshape(count, -1, *v.shape[1:])).reshape(v.shape))


# --- llama ----------------------------------------------------------------------------------------

plant(
    "llama",
    "queries-and-keys-not-permuted",
    Q.F32,
    "the rows of q and k are in Hugging Face's order: nobody permuted them for this RoPE",
    _each(3, "attn_q", "attn_k"),
    habits=Habits(permuted=False),
)
plant(
    "llama",
    "keys-permuted-by-the-heads-of-queries",
    Q.F16,
    "k was permuted as if it had the 4 heads of q, and it has 2",
    _each(3, "attn_k"),
    after=both(*(change(one, lambda v: permute(unpermute(v, 2), 4)) for one in _each(3, "attn_k"))),
)
plant(
    "llama",
    "queries-permuted-twice",
    Q.Q8_0,
    "the last layer's q was permuted twice",
    _block(2, "attn_q"),
    after=change(_block(2, "attn_q")[0], lambda v: permute(v, 4)),
)
plant(
    "llama",
    "one-key-not-permuted",
    Q.Q4_0,
    "the second layer's k was left out when q and k were permuted",
    _block(1, "attn_k"),
    after=change(_block(1, "attn_k")[0], lambda v: unpermute(v, 2)),
)
plant(
    "llama",
    "values-permuted-too",
    Q.F16,
    "v was permuted as well, which RoPE does not turn",
    _each(3, "attn_v"),
    after=both(*(change(one, lambda v: permute(v, 2)) for one in _each(3, "attn_v"))),
)
plant(
    "llama",
    "heads-of-queries-moved",
    Q.Q8_0,
    "the first layer's heads of q are each in the next one's place, so that they meet other keys",
    _block(0, "attn_q"),
    after=heads_of(_block(0, "attn_q")[0], 4, lambda v: np.roll(v, 1, 0)),
)
plant(
    "llama",
    "heads-of-values-exchanged",
    Q.Q5_1,
    "the two heads of v are exchanged in the second layer",
    _block(1, "attn_v"),
    after=heads_of(_block(1, "attn_v")[0], 2, lambda v: v[::-1]),
)
plant(
    "llama",
    "output-projection-transposed",
    Q.Q8_0,
    "the first layer's attention output is transposed, which its square shape does not show",
    _block(0, "attn_output"),
    after=change(_block(0, "attn_output")[0], lambda v: v.T),
)
plant(
    "llama",
    "gate-and-up-exchanged",
    Q.Q4_0,
    "gate and up are exchanged in the first layer",
    _block(0, "ffn_gate", "ffn_up"),
    after=exchange(_block(0, "ffn_gate", "ffn_up")),
)
plant(
    "llama",
    "layers-exchanged",
    Q.Q8_0,
    "the first and the second layer are in each other's place",
    tuple(
        one
        for at in (0, 1)
        for one in _block(
            at,
            *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_output"),
            *("ffn_norm", "ffn_gate", "ffn_up", "ffn_down"),
        )
    ),
    before=lambda w: exchange(
        *((one, one.replace("layers.0.", "layers.1.")) for one in w if "layers.0." in one)
    )(w),
)
plant(
    "llama",
    "half-of-a-matrix-zero",
    Q.F16,
    "the second half of the rows of the last layer's down projection is zero: it was cut off",
    _block(2, "ffn_down"),
    after=change(_block(2, "ffn_down")[0], lambda v: np.where(np.arange(64)[:, None] < 32, v, 0)),
)
plant(
    "llama",
    "norm-of-another-layer",
    Q.Q8_0,
    "the second layer's attention norm has the weights of the first one's",
    _block(1, "attn_norm"),
    after=copied(*_block(1, "attn_norm"), *_block(0, "attn_norm")),
)
plant(
    "llama",
    "norms-exchanged",
    Q.F32,
    "the norms before the attention and before the net are exchanged in the last layer",
    _block(2, "attn_norm", "ffn_norm"),
    after=exchange(_block(2, "attn_norm", "ffn_norm")),
)
plant(
    "llama",
    "tensor-of-another-checkpoint",
    Q.Q5_1,
    "the second layer's down projection is of another checkpoint",
    _block(1, "ffn_down"),
    before=of_another("llama", _layer(1, "mlp.down_proj")),
)
plant(
    "llama",
    "output-is-the-embedding",
    Q.BF16,
    "the output was written from the embedding, though the model does not tie them",
    "output.weight",
    after=copied("output.weight", "token_embd.weight"),
)
plant(
    "llama",
    "last-rows-of-the-vocabulary-moved",
    Q.Q8_0,
    "from token 64 on each token has the embedding of the one before it",
    "token_embd.weight",
    after=change("token_embd.weight", rows_moved(64)),
)
plant(
    "llama",
    "vocabulary-padded-by-copies",
    Q.F16,
    "embedding and output were padded to 96 rows, and the padding repeats the first rows",
    ("token_embd.weight", "output.weight"),
    after=both(
        *(
            change(one, lambda v: np.concatenate([v, v[:25]]))
            for one in ("token_embd.weight", "output.weight")
        )
    ),
)
plant(
    "llama",
    "nibbles-exchanged",
    Q.Q4_0,
    "the high and the low four bits are exchanged in the first layer's up projection",
    _block(0, "ffn_up"),
    raw=in_bytes(_block(0, "ffn_up")[0], nibbles(2)),
)
plant(
    "llama",
    "nibbles-of-neighbours",
    Q.Q4_0,
    "a byte of the second layer's gate holds two neighbours, not a value and the 16th after it",
    _block(1, "ffn_gate"),
    raw=in_bytes(_block(1, "ffn_gate")[0], neighbours_in_a_byte),
)
plant(
    "llama",
    "scales-cut-to-eight-bits",
    Q.Q8_0,
    "the scales of the last layer's q were cut to the bits of a bfloat16",
    _block(2, "attn_q"),
    raw=in_bytes(_block(2, "attn_q")[0], scales(in_bfloat)),
)
plant(
    "llama",
    "scales-without-signs",
    Q.Q4_0,
    "the scales of the last layer's up projection lost their signs",
    _block(2, "ffn_up"),
    raw=in_bytes(_block(2, "ffn_up")[0], scales(np.abs)),
)
plant(
    "llama",
    "scales-of-the-next-block",
    Q.Q8_0,
    "each block of the first layer's down projection has the scale of the block after it",
    _block(0, "ffn_down"),
    raw=in_bytes(_block(0, "ffn_down")[0], scales(lambda d: np.roll(d, -1))),
)
plant(
    "llama",
    "fifth-bits-reversed",
    Q.Q5_1,
    "the fifth bits are in the opposite order in the second layer's attention output",
    _block(1, "attn_output"),
    raw=in_bytes(_block(1, "attn_output")[0], high_bits_reversed),
)
plant(
    "llama",
    "base-of-rope-left-at-its-default",
    Q.F16,
    "the file gives RoPE the base 10000, and the model has 500000",
    "llama.rope.freq_base",
    keys={"base": 10000.0},
)
plant(
    "llama",
    "epsilon-of-another-model",
    Q.F32,
    "the file gives the norms an epsilon of 1e-3, and the model has 1e-5",
    "llama.attention.layer_norm_rms_epsilon",
    keys={"epsilon": 1e-3},
)

# --- qwen2 ----------------------------------------------------------------------------------------

plant(
    "qwen2",
    "permuted-though-it-must-not-be",
    Q.F16,
    "q and k were permuted as for LLaMA, with their biases, which this architecture does not need",
    tuple(
        f"blk.{at}.attn_{part}.{one}"
        for at in (0, 1)
        for part in "qk"
        for one in ("weight", "bias")
    ),
    habits=Habits(permuted=True),
)
plant(
    "qwen2",
    "weights-permuted-without-biases",
    Q.Q8_0,
    "q and k were permuted as for LLaMA, and their biases were not",
    _each(2, "attn_q", "attn_k"),
    after=both(
        *(change(one, lambda v: permute(v, 4)) for one in _each(2, "attn_q")),
        *(change(one, lambda v: permute(v, 2)) for one in _each(2, "attn_k")),
    ),
)
plant(
    "qwen2",
    "bias-dropped",
    Q.BF16,
    "the second layer's k has lost its bias",
    "blk.1.attn_k.bias",
    after=dropped("blk.1.attn_k.bias"),
)
plant(
    "qwen2",
    "biases-exchanged",
    Q.Q8_0,
    "the biases of k and v are exchanged in the first layer",
    ("blk.0.attn_k.bias", "blk.0.attn_v.bias"),
    after=exchange(("blk.0.attn_k.bias", "blk.0.attn_v.bias")),
)
plant(
    "qwen2",
    "tied-output-of-other-weights",
    Q.Q8_0,
    "the file has an output of its own from another checkpoint, where the model ties it",
    "output.weight",
    after=lambda t: t.update(
        {"output.weight": drawn(MODELS["qwen2"], 2)["model.embed_tokens.weight"]}
    ),
)
plant(
    "qwen2",
    "cut-to-bfloat",
    Q.BF16,
    "the second layer's up projection lost its last bits: its values were cut once more",
    _block(1, "ffn_up"),
    after=change(
        _block(1, "ffn_up")[0],
        lambda v: (v.view(np.uint32) & np.uint32(0xFFFE0000)).view(np.float32),
    ),
)

# --- gemma ----------------------------------------------------------------------------------------

GEMMA_NORMS = (*_each(2, "attn_norm", "ffn_norm"), "output_norm.weight")
plant(
    "gemma",
    "norms-without-the-one",
    Q.F16,
    "the 1 that this model adds to the weights of its norms was not added",
    GEMMA_NORMS,
    habits=Habits(plus=0.0),
)
plant(
    "gemma",
    "norms-with-the-one-twice",
    Q.Q8_0,
    "the 1 was added twice to the weights of the norms",
    GEMMA_NORMS,
    habits=Habits(plus=2.0),
)
plant(
    "gemma",
    "last-norm-without-the-one",
    Q.Q4_0,
    "the last norm lacks the 1 that the others got",
    "output_norm.weight",
    after=change("output_norm.weight", lambda v: v - 1),
)
plant(
    "gemma",
    "embedding-scaled",
    Q.F32,
    "the embedding was multiplied by 8, the root of its width, which the model does when it runs",
    "token_embd.weight",
    after=change("token_embd.weight", lambda v: 8 * v),
)
plant(
    "gemma",
    "queries-permuted",
    Q.Q5_1,
    "q was permuted as for LLaMA in the first layer",
    _block(0, "attn_q"),
    after=change(_block(0, "attn_q")[0], lambda v: permute(v, 4)),
)

# --- gpt2 -----------------------------------------------------------------------------------------

plant(
    "gpt2",
    "projection-not-transposed",
    Q.F32,
    "the first layer's attention output was not transposed: Conv1D keeps it the other way round",
    _block(0, "attn_output"),
    after=change(_block(0, "attn_output")[0], lambda v: v.T),
)
plant(
    "gpt2",
    "reshaped-instead-of-transposed",
    Q.Q8_0,
    "the second layer's up projection was given its new shape without its values being moved",
    _block(1, "ffn_up"),
    after=change(_block(1, "ffn_up")[0], lambda v: np.ascontiguousarray(v.T).reshape(v.shape)),
)
plant(
    "gpt2",
    "keys-before-queries",
    Q.F16,
    "k comes before q in the first layer's fused weight, and its bias has the right order",
    _block(0, "attn_qkv"),
    after=change(_block(0, "attn_qkv")[0], lambda v: np.concatenate([v[64:128], v[:64], v[128:]])),
)
plant(
    "gpt2",
    "fused-by-heads",
    Q.Q8_0,
    "the second layer's fused weight and bias have q, k and v of each head one after another",
    ("blk.1.attn_qkv.weight", "blk.1.attn_qkv.bias"),
    after=both(
        *(
            change(
                f"blk.1.attn_qkv.{one}",
                lambda v: v.reshape(3, 4, 16, *v.shape[1:]).swapaxes(0, 1).reshape(v.shape),
            )
            for one in ("weight", "bias")
        )
    ),
)
plant(
    "gpt2",
    "positions-moved",
    Q.F16,
    "the embeddings of the positions are moved by two, as another model's would be",
    "position_embd.weight",
    after=change("position_embd.weight", lambda v: np.roll(v, 2, 0)),
)
plant(
    "gpt2",
    "shift-of-a-norm-zero",
    Q.Q4_0,
    "the shift of the second layer's first norm is zero",
    "blk.1.attn_norm.bias",
    after=change("blk.1.attn_norm.bias", np.zeros_like),
)

# --- experts --------------------------------------------------------------------------------------

EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
plant(
    "olmoe",
    "experts-in-the-order-of-letters",
    Q.Q8_0,
    "the 12 experts were put together in the order of their names as text: 0, 1, 10, 11, 2, ...",
    _each(2, *EXPERTS),
    habits=Habits(order=str),
)
plant(
    "olmoe",
    "one-expert-with-gate-and-up-exchanged",
    Q.F16,
    "expert 7 of the second layer has gate and up exchanged",
    _block(1, "ffn_gate_exps", "ffn_up_exps"),
    before=exchange((_layer(1, "mlp.experts.7.gate_proj"), _layer(1, "mlp.experts.7.up_proj"))),
)
plant(
    "olmoe",
    "router-moved",
    Q.Q4_0,
    "the rows of the first layer's router are moved by one against the experts",
    _block(0, "ffn_gate_inp"),
    after=change(_block(0, "ffn_gate_inp")[0], lambda v: np.roll(v, 1, 0)),
)
plant(
    "olmoe",
    "norms-of-queries-and-keys-exchanged",
    Q.F32,
    "the norms of q and k are exchanged in the first layer",
    _block(0, "attn_q_norm", "attn_k_norm"),
    after=exchange(_block(0, "attn_q_norm", "attn_k_norm")),
)
plant(
    "mixtral",
    "gates-and-ups-exchanged",
    Q.Q8_0,
    "w1 and w3 were taken for each other in all experts of the second layer",
    _block(1, "ffn_gate_exps", "ffn_up_exps"),
    after=exchange(_block(1, "ffn_gate_exps", "ffn_up_exps")),
)
plant(
    "mixtral",
    "downs-of-another-layer",
    Q.Q4_0,
    "the experts of the second layer have the down projections of the first one's",
    _block(1, "ffn_down_exps"),
    after=copied(*_block(1, "ffn_down_exps"), *_block(0, "ffn_down_exps")),
)
plant(
    "mixtral",
    "last-expert-twice",
    Q.Q5_1,
    "the first layer's last expert stands in the place of the one before it as well",
    _block(0, *EXPERTS),
    after=both(*(change(one, lambda v: v[[0, 1, 3, 3]]) for one in _block(0, *EXPERTS))),
)
plant(
    "mixtral",
    "queries-and-keys-not-permuted",
    Q.F16,
    "q and k were not permuted for RoPE, which this file's architecture needs as LLaMA does",
    _each(2, "attn_q", "attn_k"),
    habits=Habits(permuted=False),
)
plant(
    "mixtral",
    "one-expert-too-few-used",
    Q.F32,
    "the file says that one expert is used for each token, and the model uses two",
    "llama.expert_used_count",
    keys={"used": 1},
)

# --- phi3 -----------------------------------------------------------------------------------------

plant(
    "phi3",
    "queries-and-keys-permuted",
    Q.F16,
    "the rows of q and k in the fused matrix were permuted as for LLaMA",
    _each(2, "attn_qkv"),
    after=both(
        *(
            change(
                one, lambda v: np.concatenate([permute(v[:64], 4), permute(v[64:96], 2), v[96:]])
            )
            for one in _each(2, "attn_qkv")
        )
    ),
)
plant(
    "phi3",
    "values-before-keys",
    Q.Q8_0,
    "v comes before k in the first layer's fused matrix",
    _block(0, "attn_qkv"),
    after=change(_block(0, "attn_qkv")[0], lambda v: np.concatenate([v[:64], v[96:], v[64:96]])),
)
plant(
    "phi3",
    "up-before-gate",
    Q.Q4_0,
    "the halves of the second layer's fused gate and up are exchanged",
    _block(1, "ffn_up"),
    after=change(_block(1, "ffn_up")[0], lambda v: np.roll(v, len(v) // 2, 0)),
)
plant(
    "phi3",
    "gate-and-up-interleaved",
    Q.F16,
    "the rows of gate and up alternate in the first layer's fused matrix",
    _block(0, "ffn_up"),
    after=change(
        _block(0, "ffn_up")[0], lambda v: v.reshape(2, -1, 64).swapaxes(0, 1).reshape(v.shape)
    ),
)

# --- the check ------------------------------------------------------------------------------------


def _bound(kind: Q, raw: np.ndarray, value: np.ndarray) -> np.ndarray:
    """What a healthy value may differ by: half a step, and the rounding of the scales.

    Q4_0 and Q5_0 have no level for the opposite of the greatest value of a block, which is cut off
    by up to a whole step.
    """
    if kind == Q.F32:
        return np.zeros_like(value)
    if kind == Q.F16:
        return np.abs(value) * 2.0**-11 + 2.0**-25
    if kind == Q.BF16:
        return np.abs(value) * 2.0**-8
    size = gguf.GGML_QUANT_SIZES[kind][1]
    blocks = np.ascontiguousarray(raw).view(np.uint8).reshape(-1, size)
    step = np.abs(np.ascontiguousarray(blocks[:, :2]).view(np.float16).astype(np.float64))
    values = value.reshape(-1, 32)
    steps = {Q.Q8_0: 127, Q.Q4_0: 8, Q.Q5_0: 16, Q.Q4_1: 15, Q.Q5_1: 31}[kind]
    rounded = np.abs(values).max(1, keepdims=True) * 2.0**-11 + step * steps * 2.0**-11
    made = np.broadcast_to(0.5 * step, values.shape).copy()
    if kind in (Q.Q4_0, Q.Q5_0):
        greatest = np.take_along_axis(values, np.abs(values).argmax(1)[:, None], 1)
        against = values * np.sign(greatest) < -(steps - 1) * step * 0.999
        made = np.where(against, step, made)
    return (made + 1.01 * rounded + 1e-7).reshape(value.shape)


def differing(conversion: Conversion, folder: Path) -> dict[str, float]:
    """By name the tensors that are not within the bound, and by how many bounds; missing: inf.

    The weights are read from the directory, and the file's tensors by the package's reader.
    """
    model = conversion.model
    content = (folder / "hf" / "model.safetensors").read_bytes()
    size = struct.unpack_from("<Q", content)[0]
    head = json.loads(content[8 : 8 + size])
    held: Weights = {}
    for name, one in head.items():
        if name != "__metadata__":
            start, end = (8 + size + at for at in one["data_offsets"])
            kind = {"F32": np.float32, "BF16": ml_dtypes.bfloat16}[one["dtype"]]
            held[name] = np.frombuffer(content[start:end], kind).reshape(one["shape"])
    reader = gguf.GGUFReader(folder / "model.gguf")
    found = {one.name: one for one in reader.tensors}
    made: dict[str, float] = {}
    for name, value in merged({name: one.astype(np.float32) for name, one in held.items()}).items():
        there = gguf_name(model, name)
        if there not in found:
            made[there] = np.inf
            continue
        one = found.pop(there)
        read = gguf.quants.dequantize(one.data, one.tensor_type).astype(np.float32)
        if model.permuted and (match := re.search(r"\.([qk])_proj\.", name)):
            # rows 2i and 2i + 1 of a head are its rows i and i + half
            heads = model.heads if match[1] == "q" else model.kv_heads
            half = len(value) // heads // 2
            order = [
                head * 2 * half + at % half * 2 + at // half
                for head in range(heads)
                for at in range(2 * half)
            ]
            read = read[order]
            raw = one.data[order]
        else:
            raw = one.data
        wanted = value.T if model.transposed and re.search(r"\.c_\w+\.weight", name) else value
        wanted = wanted + np.float32(1) if model.plus_one and _is_norm(name) else wanted
        if read.shape != wanted.shape:
            made[there] = np.inf
            continue
        bound = _bound(one.tensor_type, raw, wanted)
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = np.max(np.abs(read - wanted) / np.where(bound == 0, 1e-12, bound))
        if not worst <= 1:
            made[there] = float(worst)
    made.update(dict.fromkeys(found, np.inf))
    keys = keys_of(model)
    for name, (_, value) in keys.items():
        if (conversion.keys or {}).get(name, value) != value:
            made.update({one: np.inf for one in conversion.at})
    return made


def main(arguments: Iterable[str]) -> int:
    """Writes and checks."""
    root, *words = arguments
    wrong = 0
    for name, conversion in (HEALTHY | PLANTED).items():
        if not all(word in name for word in words):
            continue
        folder = Path(root, name)
        conversion(folder)
        found = differing(conversion, folder)
        right = set(found) == set(conversion.at)
        wrong += not right
        print("right" if right else "WRONG", name, conversion.what, found if not right else "")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
