"""The text that llama.cpp's eval callback prints of a pass, against the model: six numbers of each
axis, with four decimals."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from printed_tensors import printed
from transformers import LlamaConfig, LlamaForCausalLM

import probe
from probe.errors import CannotOpen

SIZES = {
    **{"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2},
    **{"num_key_value_heads": 2, "vocab_size": 40, "num_hidden_layers": 2},
}
X = np.arange(9)[None]
OF_A_BLOCK = {
    "attn_norm": "input_layernorm",
    "Qcur": "self_attn.q_proj",
    "Kcur": "self_attn.k_proj",
    "Vcur": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_up": "mlp.up_proj",
    "ffn_out": "mlp.down_proj",
    "l_out": "",
}


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def _printed(model: torch.nn.Module) -> Iterator[tuple[str, np.ndarray, str]]:
    """(name, values, operation) as llama.cpp computes them: queries and keys in pairs, and of the
    last block the last token alone."""
    kept: dict[str, np.ndarray] = {}

    def keep(name: str, output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor):
            kept[name] = first.detach().numpy()[0]

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in model.named_modules()
    ]
    with torch.no_grad():
        model(torch.tensor(X))
    for hook in hooks:
        hook.remove()
    yield "inp_embd", kept["model.embed_tokens"], "GET_ROWS"
    for k in range(2):
        for name, part in OF_A_BLOCK.items():
            values = kept[f"model.layers.{k}.{part}".rstrip(".")]
            if name in ("Qcur", "Kcur"):
                halves = values.reshape(9, 2, 2, 8)
                values = halves.swapaxes(-1, -2).reshape(9, 2, 16)
                yield f"{name}-{k}", values.reshape(9, 32), "MUL_MAT"
                yield f"{name}-{k} (reshaped)", values, "RESHAPE"
                yield f"{name}-{k}", values[::-1], "ROPE"
            elif k and name.startswith(("ffn", "l_")):
                yield f"{name}-{k}", values[-1:], "MUL_MAT"
            else:
                yield f"{name}-{k}", values, "MUL_MAT"
        yield f"kq-{k}", np.ones((2, 9, 9)), "MUL_MAT"
    yield "result_norm", kept["model.norm"][-1:], "MUL"
    yield "result_output", kept["lm_head"][-1:], "MUL_MAT"


def _text(tensors: Iterator[tuple[str, np.ndarray, str]]) -> str:
    return "build: 9999\nsystem_info: n_threads = 2\n" + "".join(
        printed(*tensor) for tensor in tensors
    )


def test_what_is_printed_agrees(model: torch.nn.Module, tmp_path: Path) -> None:
    text = _text(_printed(model))
    (tmp_path / "debug.log").write_text(text + printed("l_out-1", np.zeros((1, 32)))[:-90])
    comparison = probe.compare(model, tmp_path / "debug.log", X)
    assert comparison.verdict == "agree", str(comparison)
    assert {name for pair in comparison.pairs for name in pair.b} == {
        "inp_embd",
        *(f"{name}-{k}" for name in OF_A_BLOCK for k in range(2)),
        *("result_norm", "result_output"),
    }
    assert all(pair.propagated.ok and not pair.given for pair in comparison.pairs)
    notes = "\n".join(comparison.notes)
    assert "21 of 31 printed tensors stand for layers of the model" in notes
    assert "only the elements that are printed are compared" in notes
    # In a folder, beside whole arrays.
    np.save(tmp_path / "model.layers.0.mlp.gate_proj.npy", np.zeros((9, 48), np.float32))
    comparison = probe.compare(model, tmp_path, X, search=False)
    assert [pair.b for pair in comparison.sources] == [("model.layers.0.mlp.gate_proj",)]


def test_the_first_tensor_that_differs_is_the_one_source(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    weight = model.model.layers[0].mlp.up_proj.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.copy_(kept.flip(0))
        (tmp_path / "wrong.txt").write_text(_text(_printed(model)))
        weight.copy_(kept)
    comparison = probe.compare(model, tmp_path / "wrong.txt", X)
    assert [pair.b for pair in comparison.sources] == [("ffn_up-0",)], str(comparison)
    assert any(
        "only some of its elements are known" in note for note in comparison.sources[0].notes
    )


@pytest.mark.parametrize("name", ["Qcur-1", "attn_out-0", "l_out-1"])
def test_no_wrong_number_that_is_printed_agrees(
    model: torch.nn.Module, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "debug.log"
    for fault in (np.zeros_like, np.negative, lambda array: array / 2, _one_off):
        tensors = [
            (other, fault(array) if other.partition(" ")[0] == name else array, operation)
            for other, array, operation in _printed(model)
        ]
        path.write_text(_text(iter(tensors)))
        comparison = probe.compare(model, path, X, search=False)
        assert comparison.verdict == "diverge"
        assert name == comparison.sources[0].b[0].partition(" ")[0]


def _one_off(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[-1, ..., -2] += 0.01
    return array


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ("2147483647, 2147483647, 2147483647, 1", "[1.0]"),
        ("99999999999999999999, 1, 1, 1", "[1.0, ..., 1.0]"),
        ("2, 2, 1, 9000000000", "[ 1.0, 2.0 ]\n[ 1.0, 2.0 ]"),
        ("0, 2, 1, 1", "[ ]"),
        ("2, 1, 1, 1", "[ one, two ]"),
        ("2, 1, 1, 1", ""),
    ],
)
def test_texts_without_a_whole_tensor(tmp_path: Path, sizes: str, rows: str) -> None:
    text = f"cb_eval: l_out-0 = (f32) ADD(a{{1}}, }}) = {{{sizes}}}\n{rows}\n"
    (tmp_path / "debug.log").write_text(text)
    with pytest.raises(CannotOpen, match="holds no tensor that is printed to its end"):
        probe.open_model(tmp_path / "debug.log")
