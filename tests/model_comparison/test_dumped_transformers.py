"""What vLLM, sglang and llama.cpp write of a Llama, against the Llama of transformers: two residual
streams, fused projections, queries in the order of another rotation, the last token alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import LlamaConfig, LlamaForCausalLM

import probe
from probe.cli.main import command
from probe.errors import BadInput

SIZES = {
    **{"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2},
    **{"num_key_value_heads": 1, "vocab_size": 40, "num_hidden_layers": 2},
}
X = np.arange(12).reshape(2, 6)
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@contextmanager
def _kept(model: torch.nn.Module) -> Iterator[Arrays]:
    """What each module gives."""
    kept: Arrays = {}

    def keep(name: str, output: object) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor):
            kept[name] = first.detach().numpy()

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
        for name, module in model.named_modules()
    ]
    yield kept
    for hook in hooks:
        hook.remove()


@pytest.fixture(scope="module")
def values(model: torch.nn.Module) -> Arrays:
    with torch.no_grad(), _kept(model) as kept:
        model(torch.tensor(X))
    return kept


def _of_vllm(values: Arrays) -> Arrays:
    """Batch and tokens merged, q, k and v in one, gate and up in one, and a pair of streams."""
    flat = {name: array.reshape(12, -1) for name, array in values.items()}
    found = {"model.embed_tokens": flat["model.embed_tokens"], "model.norm.0": flat["model.norm"]}
    stream = flat["model.embed_tokens"]
    for k in range(2):
        layer = f"model.layers.{k}"
        parts = [flat[f"{layer}.self_attn.{part}_proj"] for part in "qkv"]
        wide = [flat[f"{layer}.mlp.{part}_proj"] for part in ("gate", "up")]
        hidden = flat[f"{layer}.mlp.down_proj"]
        between = flat[layer] - hidden
        found |= {
            f"{layer}.input_layernorm.0": flat[f"{layer}.input_layernorm"],
            f"{layer}.input_layernorm.1": stream,
            f"{layer}.self_attn.qkv_proj": np.concatenate(parts, -1),
            f"{layer}.self_attn.o_proj": flat[f"{layer}.self_attn.o_proj"],
            f"{layer}.post_attention_layernorm.0": flat[f"{layer}.post_attention_layernorm"],
            f"{layer}.post_attention_layernorm.1": between,
            f"{layer}.mlp.gate_up_proj": np.concatenate(wide, -1),
            f"{layer}.mlp.down_proj": hidden,
            f"{layer}.0": hidden,
            f"{layer}.1": between,
        }
        stream = flat[layer]
    found["model.norm.1"] = stream
    return found


def _folder(path: Path, arrays: Arrays) -> Path:
    path.mkdir()
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def test_two_streams_and_fused_projections(
    model: torch.nn.Module, values: Arrays, tmp_path: Path
) -> None:
    arrays = _of_vllm(values)
    comparison = probe.compare(model, _folder(tmp_path / "dumps", arrays), X)
    assert comparison.verdict == "agree" and len(comparison.pairs) >= 20, str(comparison)
    compared = {name for pair in comparison.pairs for name in pair.b}
    assert {"model.layers.1", "model.layers.1.self_attn.k_proj", "model.norm"} <= compared
    # a command is told the files that there are
    assert {pair.given for pair in comparison.pairs} <= {"", *arrays}
    notes = "\n".join(comparison.notes)
    assert "(hidden_states, residual) as in vLLM and sglang, were added: model.layers.0" in notes
    assert "fused projections are compared in the parts" in notes

    arrays["model.layers.1.self_attn.qkv_proj"] = arrays["model.layers.1.self_attn.qkv_proj"].copy()
    arrays["model.layers.1.self_attn.qkv_proj"][:, 16:24] *= 1.5
    comparison = probe.compare(model, arrays, X, search=False)
    assert [pair.b for pair in comparison.sources] == [("model.layers.1.self_attn.k_proj",)]

    arrays = _of_vllm(values)
    arrays["model.layers.1.1"] = -arrays["model.layers.1.1"]
    comparison = probe.compare(model, arrays, X, search=False)
    assert [pair.b for pair in comparison.sources] == [("model.layers.1",)]


def test_one_stream_alone_and_the_final_norm_are_told(
    model: torch.nn.Module, values: Arrays
) -> None:
    hidden = {f"model.layers.{k}": values[f"model.layers.{k}.mlp.down_proj"] for k in range(2)}
    norms = {name: array for name, array in values.items() if name.endswith("norm")}
    downs = {name: array for name, array in values.items() if name.endswith("down_proj")}
    comparison = probe.compare(model, hidden | norms | downs, X, search=False)
    assert [pair.b for pair in comparison.sources] == [("model.layers.0",), ("model.layers.1",)]
    for pair in comparison.sources:
        assert any("the residual is not added to it" in note for note in pair.notes), pair.notes
    last = {"model.layers.0": values["model.layers.0"], "model.layers.1": values["model.norm"]}
    comparison = probe.compare(model, last, X, search=False)
    [pair] = comparison.sources
    assert any("is behind the final norm" in note for note in pair.notes)
    # The names of a list of hidden states tell nothing, and the last is what it is.
    states = {f"hidden_states.{k}": array for k, array in enumerate(last.values())}
    assert probe.compare(model, states, X).verdict == "agree"


@pytest.mark.parametrize(
    "called",
    [
        "step=0___rank=0___dump_index={place}___name={part}___layer_id={block}",
        "{place:03d}_model.layers.{block}.{part}",
        "Pass00000/model.layers.{block}.{part}.output",
    ],
)
def test_names_of_layers_within_names_of_files(
    model: torch.nn.Module, values: Arrays, tmp_path: Path, called: str
) -> None:
    parts = ("input_layernorm", "self_attn.o_proj", "mlp.down_proj")
    arrays = {
        called.format(place=3 * block + place, part=part, block=block): values[
            f"model.layers.{block}.{part}"
        ]
        for block in range(2)
        for place, part in enumerate(parts)
    }
    wrong = next(name for name in arrays if "o_proj" in name)
    comparison = probe.compare(model, arrays, X)
    assert comparison.verdict == "agree" and len(comparison.pairs) == 6
    assert {pair.how for pair in comparison.pairs} == {"name"}
    arrays[wrong] = arrays[wrong][::-1]
    comparison = probe.compare(model, arrays, X, search=False)
    assert [pair.a[-1] for pair in comparison.sources] == ["model.layers.0.self_attn.o_proj"]


def _in_pairs(array: np.ndarray, heads: int) -> np.ndarray:
    """Features as a converted Llama gives them: the halves of each head in turn."""
    count, width = array.shape
    halves = array.reshape(count, heads, 2, width // heads // 2)
    return halves.swapaxes(-1, -2).reshape(count, width)


@pytest.fixture(scope="module")
def of_llama_cpp(model: torch.nn.Module) -> Arrays:
    with torch.no_grad(), _kept(model) as kept:
        model(torch.tensor(X[:1]))
    values = {name: array[0] for name, array in kept.items()}
    arrays = {"inp_embd": values["model.embed_tokens"]}
    for k in range(2):
        layer, last = f"model.layers.{k}", slice(-k, None)
        arrays |= {
            f"attn_norm-{k}": values[f"{layer}.input_layernorm"],
            f"Qcur-{k}": _in_pairs(values[f"{layer}.self_attn.q_proj"], 2),
            f"Kcur-{k}": _in_pairs(values[f"{layer}.self_attn.k_proj"], 1),
            f"Vcur-{k}": values[f"{layer}.self_attn.v_proj"],
            f"kqv_out-{k}": values[f"{layer}.self_attn.o_proj"],
            f"ffn_norm-{k}": values[f"{layer}.post_attention_layernorm"][last],
            f"ffn_out-{k}": values[f"{layer}.mlp.down_proj"][last],
            f"l_out-{k}": values[layer][last],
        }
    return arrays | {
        "result_norm": values["model.norm"][-1:],
        "result_output": values["lm_head"][-1:],
    }


def test_the_rotation_and_the_last_token_of_llama_cpp(
    model: torch.nn.Module, of_llama_cpp: Arrays
) -> None:
    for arrays in (of_llama_cpp, {name: array.T for name, array in of_llama_cpp.items()}):
        comparison = probe.compare(model, arrays, X[:1])
        assert comparison.verdict == "agree", str(comparison)
        assert {name for pair in comparison.pairs for name in pair.b} == arrays.keys()
        assert not comparison.unpaired[1]
        notes = "\n".join(comparison.notes)
        assert "Qcur-0, Kcur-0, Qcur-1, Kcur-1 are in the order of llama.cpp's rotary" in notes
        assert "compared with the last ones: ffn_norm-1 (1 of 6)" in notes


@pytest.mark.parametrize("name", ["Kcur-1", "ffn_norm-1", "result_output"])
@pytest.mark.parametrize("fault", [np.zeros_like, np.negative, lambda array: array / 2])
def test_no_wrong_value_of_llama_cpp_agrees(
    model: torch.nn.Module, of_llama_cpp: Arrays, name: str, fault: object
) -> None:
    arrays = {**of_llama_cpp, name: fault(of_llama_cpp[name])}
    comparison = probe.compare(model, arrays, X[:1], search=False)
    assert comparison.verdict == "diverge"
    assert name in comparison.sources[0].b


def _bytes(path: Path, arrays: Arrays) -> Path:
    path.mkdir()
    for name, array in arrays.items():
        (path / f"{name}.bin").write_bytes(np.ascontiguousarray(array, np.float32).tobytes())
    return path


def test_folders_of_bytes_in_declared_axes(
    model: torch.nn.Module, values: Arrays, of_llama_cpp: Arrays, tmp_path: Path
) -> None:
    torch.save(model, tmp_path / "net.pt")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "first.npy", X[:1])
    turned = {name: array.T for name, array in of_llama_cpp.items()}
    cases = [
        (_of_vllm(values), "x.npy", "(b t) d"),
        (of_llama_cpp, "first.npy", "t h d"),
        (turned, "first.npy", "d h t"),
    ]
    for place, (arrays, given, axes) in enumerate(cases):
        folder = str(_bytes(tmp_path / str(place), arrays))
        words = ["compare", str(tmp_path / "net.pt"), folder, "--input", str(tmp_path / given)]
        words += ["--trust", "--dtype", "float32", "--axes", axes]
        found = CliRunner().invoke(command, words)
        assert found.exit_code == 0 and "\nagree: " in found.output, found.output


def test_an_array_in_other_axes_than_the_declared_differs(model: torch.nn.Module) -> None:
    x = np.arange(16)[None]
    with torch.no_grad(), _kept(model) as kept:
        model(torch.tensor(x))
    names = ("model.layers.0.input_layernorm", "model.layers.0.mlp.down_proj", "model.layers.0")
    arrays = {name: kept[name][0] for name in names}
    assert arrays[names[0]].shape == (16, 16)
    arrays[names[1]] = arrays[names[1]].T  # of the same shape
    assert probe.compare(model, arrays, x).verdict == "agree"
    comparison = probe.compare(model, arrays, x, axes="t d", search=False)
    assert [pair.b for pair in comparison.sources] == [(names[1],)]
    reversed_axes = {name: array.T for name, array in arrays.items()}
    comparison = probe.compare(model, reversed_axes, x, axes="d t", search=False)
    assert [pair.b for pair in comparison.sources] == [(names[1],)]


def test_axes_that_are_none(model: torch.nn.Module, values: Arrays) -> None:
    arrays = {"model.norm": values["model.norm"]}
    for axes in ("x y", "t t d", "h d", "t,d", "", "(b t d"):
        with pytest.raises(BadInput, match=r"axes \(--axes\) lists the axes of the arrays"):
            probe.compare(model, arrays, X, axes=axes)
    with pytest.raises(BadInput, match="names 2 axes, and none of the arrays has as many"):
        probe.compare(model, arrays, X, axes="t d")
    with pytest.raises(BadInput, match="both sides are models"):
        probe.compare(model, model, X, axes="t d")
