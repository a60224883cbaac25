"""Dumps of engines that run transformers: llama.cpp's names of values, and arrays that stand for
nothing."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import probe

NAMES = {
    "inp_embd": "model.embed_tokens",
    "attn_norm-1": "model.layers.1.input_layernorm",
    "Qcur-1": "model.layers.1.self_attn.q_proj",
    "kqv_out-1": "model.layers.1.self_attn.o_proj",
    "ffn_norm-0": "model.layers.0.post_attention_layernorm",
    "ffn_up-0": "model.layers.0.mlp.up_proj",
    "ffn_out-0": "model.layers.0.mlp.down_proj",
    "l_out-0": "model.layers.0",
    "result_norm": "model.norm",
    "result_output": "lm_head",
}
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "vocab_size": 40}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=2)).eval()


@pytest.fixture(scope="module")
def arrays(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """What each module gives, without the batch, as an engine of one sequence has it."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        first = output[0] if isinstance(output, tuple) else output
        found[name] = first.detach().numpy()[0]

    hooks = [
        model.get_submodule(module).register_forward_hook(
            lambda _, __, output, name=name: keep(name, output)
        )
        for name, module in NAMES.items()
    ]
    with torch.no_grad():
        model(torch.arange(6)[None])
    for hook in hooks:
        hook.remove()
    return found


X = np.arange(6)[None]


def test_right_values_agree_in_either_order_of_axes(
    model: torch.nn.Module, arrays: dict[str, np.ndarray]
) -> None:
    assert probe.compare(model, arrays, X).verdict == "agree"
    reversed_axes = {name: array.T for name, array in arrays.items()}
    assert probe.compare(model, reversed_axes, X).verdict == "agree"


@pytest.mark.parametrize("name", ["Qcur-1", "kqv_out-1", "ffn_up-0", "ffn_out-0", "result_norm"])
def test_a_wrong_array_is_told_by_its_name(
    name: str, model: torch.nn.Module, arrays: dict[str, np.ndarray]
) -> None:
    wrong = {**arrays, name: arrays[name][:, ::-1]}
    comparison = probe.compare(model, wrong, X, search=False)
    assert comparison.verdict == "diverge"
    assert any(name in pair.b for pair in comparison.sources)


def test_a_wrong_array_of_another_name_is_not_agreed_to(
    model: torch.nn.Module, arrays: dict[str, np.ndarray]
) -> None:
    others = {f"tensor_{place}": array for place, array in enumerate(arrays.values())}
    others["tensor_5"] = others["tensor_5"][:, ::-1]
    comparison = probe.compare(model, others, X, search=False)
    assert comparison.verdict != "agree"
    assert "tensor_5" in str(comparison)


def test_a_name_that_stands_for_something_else_is_told_by_its_values(
    model: torch.nn.Module, arrays: dict[str, np.ndarray]
) -> None:
    """In another graph ``ffn_norm`` may be what is called ``attn_norm`` here."""
    moved = {"ffn_norm-1" if name == "attn_norm-1" else name: y for name, y in arrays.items()}
    assert probe.compare(model, moved, X).verdict == "agree"
