"""Writes what two engines write of a pass of the Llama that make_llama.py saves: a folder of .npy
as a hook in vLLM gives it, and a text as llama.cpp's eval callback prints it.

python examples/make_dumps.py tiny_llama dumps/ debug.log ids.npy [--wrong]

``--wrong`` exchanges gate and up, as a fused product does whose halves are joined in another order.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaForCausalLM

IDS = np.array([[3, 14, 15, 92, 65, 35, 89, 79]])
PRINTED = {
    "attn_norm": "input_layernorm",
    "Vcur": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_out": "mlp.down_proj",
}
ENDS = 3
"""So many values are printed at each end of an axis."""


def values_of(folder: Path, wrong: bool) -> dict[str, np.ndarray]:
    """What each module gives, of the one sequence."""
    model = LlamaForCausalLM.from_pretrained(folder)
    mlp = model.model.layers[0].mlp
    if wrong:
        mlp.gate_proj, mlp.up_proj = mlp.up_proj, mlp.gate_proj
    found: dict[str, np.ndarray] = {}

    def keep(name: str, output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor):
            found[name] = first.numpy()[0]

    for name, module in model.named_modules():
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
    with torch.no_grad():
        model(torch.tensor(IDS))
    return found


def write_arrays(values: dict[str, np.ndarray], folder: Path) -> None:
    """A layer gives (hidden_states, residual), and q, k and v, gate and up come of one product."""
    layer = "model.layers.0"
    hidden = values[f"{layer}.mlp.down_proj"]
    qkv = [values[f"{layer}.self_attn.{part}_proj"] for part in "qkv"]
    gate_up = [values[f"{layer}.mlp.{part}_proj"] for part in ("gate", "up")]
    arrays = {
        f"{layer}.input_layernorm": values[f"{layer}.input_layernorm"],
        f"{layer}.self_attn.qkv_proj": np.concatenate(qkv, axis=-1),
        f"{layer}.self_attn.o_proj": values[f"{layer}.self_attn.o_proj"],
        f"{layer}.post_attention_layernorm.0": values[f"{layer}.post_attention_layernorm"],
        f"{layer}.mlp.gate_up_proj": np.concatenate(gate_up, axis=-1),
        f"{layer}.0": hidden,
        f"{layer}.1": values[layer] - hidden,
        "model.norm": values["model.norm"],
    }
    folder.mkdir(exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def write_text(values: dict[str, np.ndarray], target: Path) -> None:
    """Some values of each tensor, with four decimals; sizes the fastest first."""
    lines = []
    for name, module in PRINTED.items():
        array = values[f"model.layers.0.{module}"]
        sizes = f"{array.shape[1]}, {array.shape[0]}, 1, 1"
        lines += [
            f"common_debug_cb_eval: {name:>22}-0 = (f32)    MUL_MAT(x{{1}}, }}) = {{{sizes}}}",
            "[",
        ]
        rows = [", ".join(f"{value:12.4f}" for value in row[:ENDS]) for row in array]
        ends = [", ".join(f"{value:12.4f}" for value in row[-ENDS:]) for row in array]
        shown = [f"[{first},   ..., {last} ]," for first, last in zip(rows, ends, strict=True)]
        lines += [*shown[:ENDS], "...,", *shown[-ENDS:], "]", f"sum = {array.sum():f}"]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--wrong"]
    found = values_of(Path(words[0]), wrong=len(words) < len(sys.argv) - 1)
    write_arrays(found, Path(words[1]))
    write_text(found, Path(words[2]))
    np.save(words[3], IDS)
