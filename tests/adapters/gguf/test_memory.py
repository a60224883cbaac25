"""A file that is larger than what is read of it at a time is compared in pieces."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gguf_files import converted, directory, tensors_of, write
from own_seed import RNG

import probe
from probe.model_comparison import stored_values


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_memory_does_not_grow_with_a_tensor(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = tensors_of("llama")
    rows = RNG.normal(scale=0.05, size=(1 << 15, 64)).astype(np.float32)
    tensors["model.embed_tokens.weight"] = tensors["lm_head.weight"] = rows
    a = directory(tmp_path / "a", tensors, vocab_size=len(rows))
    b = write(tmp_path / "b.gguf", converted(tensors, "llama"), "llama", kind)
    probe.compare(a, b)  # what is imported is not counted
    monkeypatch.setattr(stored_values, "_CHUNK", 1 << 14)
    tracemalloc.start()
    comparison = probe.compare(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert comparison.verdict == "agree", str(comparison)
    assert peak < rows.nbytes / 2
