"""Converts a Llama of Hugging Face to GGUF as llama.cpp's converter does, in a quantised type.

python examples/make_gguf.py tiny_llama tiny_llama.gguf [TYPE] [--not-permuted]

``--not-permuted`` forgets what is forgotten most: that llama.cpp's rotation takes neighbours where
Hugging Face's takes halves, so that the rows of q and k change their order.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file


def make(folder: Path, target: Path, kind: str = "Q8_0", permuted: bool = True) -> None:
    """Writes the GGUF file; rows that no block divides stay float32."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    blocks = config["num_hidden_layers"]
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, blocks)
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_block_count(blocks)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_head_count(heads["q_proj"])
    writer.add_head_count_kv(heads["k_proj"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    for name, values in load_file(folder / "model.safetensors").items():
        rows = values
        projection = name.split(".")[-2]
        if projection in heads and permuted:
            rows = values.reshape(heads[projection], 2, -1, values.shape[1])
            rows = rows.swapaxes(1, 2).reshape(values.shape)
        quantised = gguf.GGMLQuantizationType[kind if values.ndim > 1 else "F32"]
        if values.shape[-1] % gguf.GGML_QUANT_SIZES[quantised][0]:
            quantised = gguf.GGMLQuantizationType.F32
        data = gguf.quantize(np.ascontiguousarray(rows), quantised)
        writer.add_tensor(names.get_name(name, (".weight",)), data, raw_dtype=quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--not-permuted"]
    make(Path(words[0]), Path(words[1]), *words[2:], permuted=len(words) == len(sys.argv) - 1)
