"""Small Hugging Face directories and the GGUF files that a converter makes of them, written here
from the frameworks' own layouts, without what reads them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from own_seed import RNG
from safetensors.numpy import save_file

__all__ = ["CONFIG", "Alter", "converted", "directory", "llama_permuted", "tensors_of", "write"]

Alter = Callable[[str, np.ndarray], "np.ndarray | None"]
"""What becomes of a converted tensor by its name in the file; None: it is left out."""

CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 96,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
}
_SIZE, _INNER, _KEYS, _WORDS = 64, 96, 32, 96
_ATTENTION = {"q_proj": (_SIZE, _SIZE), "k_proj": (_KEYS, _SIZE), "v_proj": (_KEYS, _SIZE)}
_EXPERTS = 4


def tensors_of(architecture: str) -> dict[str, np.ndarray]:
    """Random tensors by Hugging Face's names and in its layout."""
    shapes = {"gpt2": _gpt2, "gptneox": _gptneox, "falcon": _falcon}.get(architecture)
    if shapes is not None:
        return {name: _drawn(shape) for name, shape in shapes().items()}
    found = {"model.embed_tokens.weight": (_WORDS, _SIZE), "model.norm.weight": (_SIZE,)}
    for block in range(2):
        found |= _decoder_block(f"model.layers.{block}", architecture)
    if architecture != "gemma":
        found["lm_head.weight"] = (_WORDS, _SIZE)
    return {name: _drawn(shape) for name, shape in found.items()}


def _drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Vectors are of few bits, so that 1 can be added to them and taken away."""
    drawn = RNG.normal(scale=0.05, size=shape)
    if len(shape) == 1:
        drawn = np.round(drawn * 1024) / 1024
    return drawn.astype(np.float32)


def _decoder_block(prefix: str, architecture: str) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        f"{prefix}.input_layernorm.weight": (_SIZE,),
        f"{prefix}.post_attention_layernorm.weight": (_SIZE,),
        f"{prefix}.self_attn.o_proj.weight": (_SIZE, _SIZE),
    }
    if architecture == "phi3":
        found[f"{prefix}.self_attn.qkv_proj.weight"] = (_SIZE + 2 * _KEYS, _SIZE)
        found[f"{prefix}.mlp.gate_up_proj.weight"] = (2 * _INNER, _SIZE)
        return found | {f"{prefix}.mlp.down_proj.weight": (_SIZE, _INNER)}
    for name, shape in _ATTENTION.items():
        found[f"{prefix}.self_attn.{name}.weight"] = shape
        if architecture == "qwen2":
            found[f"{prefix}.self_attn.{name}.bias"] = shape[:1]
    if architecture == "mixtral":
        found[f"{prefix}.block_sparse_moe.gate.weight"] = (_EXPERTS, _SIZE)
        for expert in range(_EXPERTS):
            inside = f"{prefix}.block_sparse_moe.experts.{expert}"
            found |= {f"{inside}.{name}.weight": (_INNER, _SIZE) for name in ("w1", "w3")}
            found[f"{inside}.w2.weight"] = (_SIZE, _INNER)
        return found
    found |= {f"{prefix}.mlp.{name}_proj.weight": (_INNER, _SIZE) for name in ("gate", "up")}
    return found | {f"{prefix}.mlp.down_proj.weight": (_SIZE, _INNER)}


def _gpt2() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (_WORDS, _SIZE),
        "transformer.wpe.weight": (32, _SIZE),
        "transformer.ln_f.weight": (_SIZE,),
        "transformer.ln_f.bias": (_SIZE,),
    }
    for block in range(2):
        prefix = f"transformer.h.{block}"
        for name, shape in (
            ("attn.c_attn", (_SIZE, 3 * _SIZE)),
            ("attn.c_proj", (_SIZE, _SIZE)),
            ("mlp.c_fc", (_SIZE, _INNER)),
            ("mlp.c_proj", (_INNER, _SIZE)),
        ):
            found |= {f"{prefix}.{name}.weight": shape, f"{prefix}.{name}.bias": shape[1:]}
        for name in ("ln_1", "ln_2"):
            found |= {f"{prefix}.{name}.{part}": (_SIZE,) for part in ("weight", "bias")}
    return found


def _gptneox() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"gpt_neox.embed_in.weight": (_WORDS, _SIZE)}
    for block in range(2):
        prefix = f"gpt_neox.layers.{block}.attention.query_key_value"
        found |= {f"{prefix}.weight": (3 * _SIZE, _SIZE), f"{prefix}.bias": (3 * _SIZE,)}
    return found


def _falcon() -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"transformer.word_embeddings.weight": (_WORDS, _SIZE)}
    for block in range(2):
        prefix = f"transformer.h.{block}.self_attention.query_key_value"
        found[f"{prefix}.weight"] = (_SIZE + 2 * _KEYS, _SIZE)
    return found


def directory(path: Path, tensors: Mapping[str, np.ndarray], **config: Any) -> Path:
    """A Hugging Face directory."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"architectures": ["Any"], **CONFIG, **config}))
    save_file(dict(tensors), path / "model.safetensors")
    return path


def llama_permuted(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a projection as llama.cpp's rotation of neighbours wants them."""
    halves = rows.reshape(heads, 2, len(rows) // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def converted(tensors: Mapping[str, np.ndarray], architecture: str) -> dict[str, np.ndarray]:
    """What a converter makes of the tensors, by the names of the file."""
    arch = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[_named(architecture)]
    table = gguf.get_tensor_name_map(arch, 2)
    found: dict[str, np.ndarray] = {}
    experts: dict[str, list[np.ndarray]] = {}
    for name, array in tensors.items():
        parts = name.split(".")
        if "experts" in parts:
            del parts[parts.index("experts") + 1]
            experts.setdefault(str(table.get_name(".".join(parts), (".weight",))), []).append(array)
            continue
        named = table.get_name(name, (".weight", ".bias"))
        assert named is not None, name
        found[named] = _converted(named, array, architecture)
    return found | {name: np.stack(parts) for name, parts in experts.items()}


def _named(architecture: str) -> str:
    return {"mixtral": "llama"}.get(architecture, architecture)


def _converted(name: str, array: np.ndarray, architecture: str) -> np.ndarray:
    if architecture in ("llama", "mixtral") and ".attn_q." in name:
        return llama_permuted(array, 4)
    if architecture in ("llama", "mixtral") and ".attn_k." in name:
        return llama_permuted(array, 2)
    if architecture == "gemma" and name.endswith("norm.weight"):
        return array + 1
    if architecture == "gpt2" and name.startswith("blk") and array.ndim == 2:
        return array.T
    if architecture == "gptneox" and "attn_qkv" in name:
        of_heads = array.reshape(4, 3, 16, *array.shape[1:])
        return np.concatenate([of_heads[:, part] for part in range(3)]).reshape(array.shape)
    if architecture == "falcon" and "attn_qkv" in name:
        groups = array.reshape(2, 4, 16, _SIZE)
        parts = (groups[:, :2], groups[:, 2], groups[:, 3])
        return np.concatenate([part.reshape(-1, _SIZE) for part in parts])
    return array


def write(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    architecture: str,
    kind: str = "Q8_0",
    alter: Alter = lambda _, array: array,
    *,
    stored: Mapping[str, tuple[np.ndarray, str]] | None = None,
    base: float = CONFIG["rope_theta"],
) -> Path:
    """A GGUF file with its matrices in a quantised type; ``stored`` has blocks that are written as
    they are, and their type."""
    named = _named(architecture)
    writer = gguf.GGUFWriter(path, named)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_rope_freq_base(base)
    for name, (blocks, quantised) in (stored or {}).items():
        writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType[quantised])
    for name, array in arrays.items():
        altered = alter(name, array)
        if altered is None or name in (stored or {}):
            continue
        quantised = gguf.GGMLQuantizationType[kind if altered.ndim > 1 else "F32"]
        data = gguf.quantize(np.ascontiguousarray(altered, np.float32), quantised)
        writer.add_tensor(name, data, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
