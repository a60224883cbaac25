"""A GGUF file against the directory that it was converted from: what a converter does is no
difference, what it must not do is named."""

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import CONFIG, Alter, converted, directory, llama_permuted, tensors_of, write
from own_seed import RNG
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import probe
from probe.errors import BadInput, CannotOpen

ARCHITECTURES = ("llama", "mixtral", "qwen2", "gemma", "phi3", "gpt2", "gptneox", "falcon")
KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_converter_makes_agrees(architecture: str, tmp_path: Path) -> None:
    tensors = tensors_of(architecture)
    a = directory(tmp_path / "a", tensors)
    b = write(tmp_path / "b.gguf", converted(tensors, architecture), architecture)
    comparison = probe.compare(a, b)
    assert comparison.verdict == "agree", str(comparison)
    assert len(comparison.pairs) == len(converted(tensors, architecture))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_every_type_rounds_within_its_allowance(kind: str, size: float, tmp_path: Path) -> None:
    tensors = {name: size * array for name, array in tensors_of("llama").items()}
    tensors["model.embed_tokens.weight"][:4] = 0
    a = directory(tmp_path / "a", tensors)
    b = write(tmp_path / "b.gguf", converted(tensors, "llama"), "llama", kind)
    comparison = probe.compare(a, b)
    assert comparison.verdict == "agree", str(comparison)
    if kind.startswith("Q"):
        locals_ = [pair.local for pair in comparison.pairs if len(pair.shape) > 1]
        assert (
            min(local.ratio for local in locals_ if local) > 0.5
        )  # it is no wider than it must be


def test_a_table_of_levels_rounds_to_the_nearest(tmp_path: Path) -> None:
    """MXFP4, whose levels do not lie evenly."""
    tensors = tensors_of("llama")
    name = "blk.0.ffn_up.weight"
    a = directory(tmp_path / "a", tensors)
    arrays = converted(tensors, "llama")
    blocks = RNG.integers(0, 256, (96, 2 * 17), np.uint8)
    blocks[:, ::17] = 122
    levels = gguf.dequantize(blocks, gguf.GGMLQuantizationType.MXFP4)
    tensors["model.layers.0.mlp.up_proj.weight"] = levels
    arrays[name] = levels
    b = write(tmp_path / "b.gguf", arrays, "llama", stored={name: (blocks, "MXFP4")})
    a = directory(tmp_path / "same", tensors)
    assert probe.compare(a, b).verdict == "agree"
    tensors["model.layers.0.mlp.up_proj.weight"] = levels + 0.03 * (levels == 0)
    assert probe.compare(directory(tmp_path / "other", tensors), b).verdict == "diverge"


def _reversed_experts(name: str, array: np.ndarray) -> np.ndarray:
    return array[::-1] if name == "blk.0.ffn_up_exps.weight" else array


def _without(part: str) -> Alter:
    return lambda name, array: None if part in name else array


def _of(part: str, change: Callable[[np.ndarray], np.ndarray]) -> Alter:
    return lambda name, array: change(array) if part in name else array


def _with_zeros(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[40:44] = 0
    return array


PLANTED = {
    "q is not permuted": ("llama", _of("0.attn_q.", lambda q: _halves_again(q, 4)), "as in A"),
    "k with the heads of q": (
        "llama",
        _of("1.attn_k.", lambda k: llama_permuted(_halves_again(k, 2), 4)),
        "for 4 heads, not for 2 heads",
    ),
    "k permuted where it must not be": (
        "qwen2",
        _of("1.attn_k.weight", lambda k: llama_permuted(k, 2)),
        "permuted for RoPE, which qwen2 does not want",
    ),
    "the 1 of a norm left out": (
        "gemma",
        _of("0.attn_norm", lambda norm: norm - 1),
        "the 1 that gemma's norms add to their weight is left out",
    ),
    "a 1 too many": ("llama", _of("0.ffn_norm", lambda norm: norm + 1), "1 is added to it"),
    "not transposed": ("gpt2", _of("0.attn_output.weight", np.transpose), "is not transposed"),
    "transposed": ("llama", _of("0.attn_output", np.transpose), "it is transposed"),
    "a bias left out": ("qwen2", _without("0.attn_v.bias"), "was left out"),
    "experts in another order": ("mixtral", _reversed_experts, "reversed"),
    "q, k and v of each head in turn": (
        "gptneox",
        _of("0.attn_qkv.weight", lambda rows: _heads_in_turn(rows)),
        "q, k and v of each head in turn",
    ),
    "gate and up exchanged": (
        "phi3",
        _of("0.ffn_up", lambda rows: np.roll(rows, 96, axis=0)),
        "halves exchanged",
    ),
    "rows of zeros": ("llama", _of("0.ffn_down", _with_zeros), "are 0: rows 40 to 43"),
    "doubled": ("llama", _of("1.attn_v", lambda rows: 2 * rows), "2 times"),
}


def _halves_again(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows as Hugging Face has them."""
    pairs = rows.reshape(heads, len(rows) // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _heads_in_turn(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(3, 4, 16, -1).swapaxes(0, 1).reshape(rows.shape)


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("kind", ["F16", "Q4_0"])
def test_a_mistake_of_the_conversion_is_named(name: str, kind: str, tmp_path: Path) -> None:
    architecture, alter, words = PLANTED[name]
    tensors = tensors_of(architecture)
    a = directory(tmp_path / "a", tensors)
    b = write(tmp_path / "b.gguf", converted(tensors, architecture), architecture, kind, alter)
    comparison = probe.compare(a, b)
    assert comparison.verdict == "diverge"
    assert len(comparison.sources) == 1
    assert words in comparison.sentence


def test_two_tensors_that_hold_each_other(tmp_path: Path) -> None:
    tensors = tensors_of("llama")
    arrays = converted(tensors, "llama")
    first, second = "blk.0.ffn_gate.weight", "blk.1.ffn_gate.weight"
    arrays[first], arrays[second] = arrays[second], arrays[first]
    a = directory(tmp_path / "a", tensors)
    comparison = probe.compare(a, write(tmp_path / "b.gguf", arrays, "llama"))
    assert [pair.notes for pair in comparison.sources] == [
        ("it holds model.layers.1.mlp.gate_proj.weight of A, which is that of " + second,),
        ("it holds model.layers.0.mlp.gate_proj.weight of A, which is that of " + first,),
    ]


def test_another_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    a = directory(tmp_path / "a", tensors_of("llama"))
    b = write(tmp_path / "b.gguf", converted(tensors_of("llama"), "llama"), "llama")
    assert "another checkpoint" in probe.compare(a, b).sentence


def test_numbers_of_the_config(tmp_path: Path) -> None:
    tensors = tensors_of("llama")
    a = directory(tmp_path / "a", tensors)
    b = write(tmp_path / "b.gguf", converted(tensors, "llama"), "llama", base=5e5)
    comparison = probe.compare(a, b)
    assert comparison.sentence.startswith("diverge: B differs from A in llama.rope.freq_base")
    assert comparison.sources[0].differs == (("llama.rope.freq_base", 10000.0, 5e5),)


def test_tied_and_padded_embeddings(tmp_path: Path) -> None:
    tensors = tensors_of("llama")
    del tensors["lm_head.weight"]
    a = directory(tmp_path / "a", tensors, tie_word_embeddings=True)
    arrays = converted(tensors, "llama")
    padded = np.pad(arrays["token_embd.weight"], ((0, 32), (0, 0)))
    arrays["token_embd.weight"], arrays["output.weight"] = padded, padded[:96]
    assert probe.compare(a, write(tmp_path / "b.gguf", arrays, "llama")).verdict == "agree"
    arrays["output.weight"] = RNG.normal(size=padded.shape)
    comparison = probe.compare(a, write(tmp_path / "c.gguf", arrays, "llama"))
    assert [pair.b for pair in comparison.sources] == [("output.weight",)]


def test_factors_of_the_rotation_follow_from_the_config(tmp_path: Path) -> None:
    """Against transformers' own formula."""
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_theta": 10000.0,
    }
    sizes = {"hidden_size": 64, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, rope_parameters=dict(scaling), max_position_embeddings=512)
    divided, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    factors = 10000.0 ** (-np.arange(0, 16, 2) / 16) / divided.numpy()
    tensors = tensors_of("llama")
    a = directory(tmp_path / "a", tensors, rope_parameters=scaling)
    arrays = {**converted(tensors, "llama"), "rope_freqs.weight": factors}
    assert probe.compare(a, write(tmp_path / "b.gguf", arrays, "llama")).verdict == "agree"
    arrays["rope_freqs.weight"] = np.ones(8)
    comparison = probe.compare(a, write(tmp_path / "c.gguf", arrays, "llama"))
    assert [pair.b for pair in comparison.sources] == [("rope_freqs.weight",)]


def test_an_architecture_that_is_not_known_is_unchecked(tmp_path: Path) -> None:
    tensors = tensors_of("llama")
    a = directory(tmp_path / "a", tensors)
    b = write(tmp_path / "b.gguf", tensors_by_name(tensors, "plamo3"), "plamo3")
    assert probe.compare(a, b).verdict == "unchecked"


def tensors_by_name(tensors: dict[str, np.ndarray], architecture: str) -> dict[str, np.ndarray]:
    """The tensors as they are, by the names of an architecture's file, as far as it has them."""
    arch = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    table = gguf.get_tensor_name_map(arch, 2)
    named = {table.get_name(name, (".weight",)): array for name, array in tensors.items()}
    return {name: array for name, array in named.items() if name is not None}


def test_two_files(tmp_path: Path) -> None:
    arrays = converted(tensors_of("llama"), "llama")
    a = write(tmp_path / "a.gguf", arrays, "llama", "F32")
    b = write(tmp_path / "b.gguf", arrays, "llama", "Q4_0")
    assert probe.compare(a, b).verdict == "agree"
    c = write(tmp_path / "c.gguf", arrays, "llama", alter=_of("0.attn_q.", np.negative))
    assert probe.compare(a, c).verdict == "diverge"


def test_the_weights_of_a_file_run_in_the_directorys_model(tmp_path: Path) -> None:
    config = LlamaConfig(**{**CONFIG, "architectures": ["LlamaForCausalLM"]})
    module = LlamaForCausalLM(config).eval()
    module.save_pretrained(tmp_path / "a")
    tensors = {name: value.numpy() for name, value in module.state_dict().items()}
    arrays = converted(tensors, "llama")
    path = write(tmp_path / "b.gguf", arrays, "llama", "Q4_0")
    layer = "model.layers.1.self_attn.k_proj"
    report = probe.check(probe.open_model(tmp_path / "a", gguf=path), layer, None)
    assert report.verdict == "agree"
    held = report.weights["weight"].effective
    step = gguf.dequantize(
        gguf.quantize(arrays["blk.1.attn_k.weight"], gguf.GGMLQuantizationType.Q4_0),
        gguf.GGMLQuantizationType.Q4_0,
    )
    assert np.array_equal(llama_permuted(held, 2), step)
    assert any("16 of Q4_0, 5 of F32" in note for note in report.notes), report.notes
    del arrays["blk.1.attn_k.weight"]
    with pytest.raises(CannotOpen, match="missing model"):
        probe.open_model(tmp_path / "a", gguf=write(tmp_path / "c.gguf", arrays, "llama"))
    with pytest.raises(BadInput, match="is for a Hugging Face directory"):
        probe.open_model(module, gguf=path)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    tensors = tensors_of("llama")
    a = directory(tmp_path / "a", tensors)
    b = write(tmp_path / "b.gguf", converted(tensors, "llama"), "llama")
    with pytest.raises(BadInput, match="leave out the inputs"):
        probe.compare(a, b, np.zeros((1, 2)))
    with pytest.raises(BadInput, match="give the directory first"):
        probe.compare(b, a)
    with pytest.raises(CannotOpen, match="compare it with the Hugging Face directory"):
        probe.open_model(b)
    (a / "config.json").unlink()
    assert probe.compare(a, b).verdict == "agree"  # with the numbers of heads that B has
