"""Blocks of torchvision and of transformers: each agrees as a whole, and wrong ones are told from
it."""

import numpy as np
import pytest
import torch
from representatives import exhaustive

import probe

IDS = np.array([[1, 5, 9, 3, 7, 2, 4, 8], [2, 2, 6, 11, 3, 9, 1, 7]])
COMMON = {
    **{"vocab_size": 24, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 16},
}


def drawn(model, dtype=torch.float32):
    """Random weights of the size of trained ones."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            scale = parameter.shape[-1] ** -0.5
            torch.nn.init.normal_(parameter.data, std=scale, generator=generator)
    return model.eval().to(dtype)


def network(kind, dtype=torch.float32, **more):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(**{**COMMON, **more})
    head = "Model" if kind == "Bert" else "ForCausalLM"
    return drawn(getattr(transformers, f"{kind}{head}")(config), dtype)


@pytest.mark.parametrize(
    ("kind", "more", "names"),
    [
        (
            "Llama",
            {"num_key_value_heads": 2, "attn_implementation": "eager"},
            ["layers.0.self_attn", "layers.0.mlp", "norm", "rotary_emb", "layers.1", ""],
        ),
        ("Llama", {"attn_implementation": "sdpa"}, ["layers.1.self_attn"]),
        (
            "Gemma2",
            {"head_dim": 8, "sliding_window": 4, "attn_implementation": "eager"},
            ["layers.0.self_attn", "layers.1"],
        ),
        (
            "Mixtral",
            {"num_local_experts": 4, "num_experts_per_tok": 2, "experts_implementation": "eager"},
            ["layers.0.mlp", "layers.0.mlp.gate"],
        ),
        ("Bert", {"attn_implementation": "eager"}, ["encoder.layer.0", "embeddings", ""]),
    ],
)
def test_each_block_agrees(kind, more, names):
    model = probe.open_model(network(kind, **more))
    start = "" if kind == "Bert" else "model."
    for name in names:
        report = probe.check(model, start + name if name else name, IDS)
        assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, report


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_attention_in_half_precision(dtype):
    """Its softmax is computed in float32."""
    model = network("Llama", dtype, attn_implementation="eager")
    assert probe.check(model, "model.layers.1.self_attn", IDS).ok


def logits(model):
    with torch.no_grad():
        return model(torch.from_numpy(IDS)).logits.float().numpy()


def scaled(model):
    for layer in model.model.layers:
        layer.self_attn.scaling = 1 / layer.self_attn.head_dim


def turned(model):
    forward = model.model.rotary_emb.forward
    odd = torch.arange(IDS.shape[1]) % 2
    model.model.rotary_emb.forward = lambda x, position_ids: forward(x, position_ids + odd)


def other_epsilon(model):
    for layer in model.model.layers:
        layer.input_layernorm.variance_epsilon = 1e-5


@pytest.mark.costly
@pytest.mark.parametrize("wrong", [other_epsilon, *exhaustive(scaled, turned)])
def test_a_wrong_port_of_the_whole_model_is_seen(wrong):
    right, port = (network("Llama", attn_implementation="eager") for _ in range(2))
    assert probe.check(right, "", IDS, expected=logits(port)).ok
    assert probe.check(right, "", IDS, expected=logits(network("Llama"))).ok, "another kernel"
    wrong(port)
    assert probe.check(right, "", IDS, expected=logits(port), search=False).verdict == "diverge"


@pytest.mark.costly
def test_blocks_of_torchvision():
    resnet = pytest.importorskip("torchvision.models.resnet")
    mobile = pytest.importorskip("torchvision.models.mobilenetv2")
    image = np.random.default_rng(0).normal(size=(2, 8, 11, 9)).astype(np.float32)
    for block in (resnet.BasicBlock(8, 8), mobile.InvertedResidual(8, 8, 1, 2)):
        report = probe.check(drawn(block), "", image)
        assert report.ok and len(report.calls) > 5
        right = report.outputs["framework"]
        assert (
            probe.check(block, "", image, expected=right - image, search=False).verdict == "diverge"
        )
