"""Tensors of a GGUF file that a converter works out of config.json: by what the frequencies of a
rotation are divided."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from probe.model_comparison.weight_files import StoredRows

from .row_views import ROUNDING

__all__ = ["rope_factors"]


def rope_factors(config: Mapping[str, Any]) -> Iterator[tuple[str, StoredRows]]:
    """The tensors by name, as far as config.json has the numbers: those of Llama 3
    (``rope_type`` "llama3", as ``_compute_llama3_parameters`` of transformers has it) and those of
    long contexts ("longrope", listed as they are)."""
    text = config.get("text_config", config)
    scaling = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind = scaling.get("rope_type", scaling.get("type"))
    try:
        if kind == "llama3":
            yield "rope_freqs.weight", _row(_of_llama3(text, scaling))
        elif kind == "longrope":
            for name in ("long", "short"):
                factors = np.asarray(scaling[f"{name}_factor"], np.float64)
                yield f"rope_factors_{name}.weight", _row(factors)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return  # config.json does not say it: the tensor is told as one without a counterpart


def _row(values: np.ndarray) -> StoredRows:
    return StoredRows(1, len(values), lambda start, stop: values[None][start:stop], 4 * ROUNDING)


def _of_llama3(config: Mapping[str, Any], scaling: Mapping[str, Any]) -> np.ndarray:
    base = float(scaling.get("rope_theta", config.get("rope_theta", 10000.0)))
    size = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    factor = float(scaling["factor"])
    low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
    turns = float(scaling["original_max_position_embeddings"]) / (
        2 * np.pi * base ** (np.arange(0, size, 2) / size)
    )
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return np.asarray(1 / ((1 - smooth) / factor + smooth))
