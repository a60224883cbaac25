"""Numbers that config.json and the metadata of a GGUF file both hold."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from probe.model_comparison.weight_files import Setting

from ..gguf_header import GgufFile

__all__ = ["differing"]

_KEYS = {
    "block_count": ("num_hidden_layers", "n_layer", "num_layers"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon"),
    "attention.sliding_window": ("sliding_window",),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "rope.freq_base": ("rope_theta", "rope_parameters.rope_theta"),
    "rope.scaling.factor": ("rope_scaling.factor", "rope_parameters.factor"),
    "rope.scaling.original_context_length": (
        "rope_scaling.original_max_position_embeddings",
        "rope_parameters.original_max_position_embeddings",
    ),
}
_DIGITS = 1e-6
"""The file has float32."""


def differing(file: GgufFile, config: Mapping[str, Any]) -> Iterator[Setting]:
    """What the two say differently, where both say a number."""
    text = config.get("text_config")
    known = text if isinstance(text, Mapping) else config
    for key, names in _KEYS.items():
        theirs = file.of_architecture(key)
        for name in names:
            mine = _within(known, name)
            if _is_number(mine) and _is_number(theirs):
                if not math.isclose(mine, theirs, rel_tol=_DIGITS):
                    yield Setting(
                        f"config.json {name}", f"{file.architecture}.{key}", (mine, theirs)
                    )
                break


def _within(config: Mapping[str, Any], name: str) -> Any:
    found: Any = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
