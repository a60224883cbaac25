"""Rotary frequencies by another formula of ``rope_scaling`` than the layer's."""

import math

import pytest
import torch
from planting import draw, nn, t
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

import probe

LINEAR = {"rope_type": "linear", "factor": 4.0}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}


class Attention(nn.Module):
    def __init__(self, scaling: dict) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(32, 96)
        config = LlamaConfig(
            hidden_size=32,
            num_attention_heads=1,
            head_dim=32,
            max_position_embeddings=512,
            rope_parameters={"rope_theta": 10000.0, **scaling},
        )
        self.rotary = LlamaRotaryEmbedding(config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part[:, None] for part in self.project(x).chunk(3, -1))
        q, k = apply_rotary_pos_emb(q, k, *self.rotary(x, torch.arange(x.shape[1])[None]))
        return ((q @ k.transpose(-1, -2) / math.sqrt(32)).softmax(-1) @ v)[:, 0]


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        ({"rope_type": "default"}, LLAMA3, "scaled as Llama 3's for 256 positions, divided by 8"),
        ({"rope_type": "default"}, YARN, "scaled as YaRN's for 128 positions, divided by 4"),
        (LLAMA3, {**LINEAR, "factor": 8.0}, "all frequencies divided by 8"),
        (LINEAR, YARN, "scaled as YaRN's for 128 positions, divided by 4"),
        (LINEAR, {"rope_type": "default", "rope_theta": 4e4}, "base 40000"),
        (
            {**YARN, "beta_fast": 8.0},
            {**YARN, "beta_fast": 8.0, "original_max_position_embeddings": 512},
            "YaRN's for 512 positions, kept from 8 turns on, divided by 4",
        ),
        (
            {**YARN, "beta_fast": 4.0},
            {**YARN, "beta_fast": 32.0},
            "YaRN's for 128 positions, kept from 32 turns on, divided by 4",
        ),
    ],
)
def test_the_formula_is_told(own, other, words):
    x = draw(1, 40, 32)
    wrong = Attention(other).eval()(t(x)).detach().numpy()
    report = probe.check(Attention(own).eval(), "", x, expected=wrong)
    assert report.findings[0].slug == "rope-base", report
    assert words in report.findings[0].claim
    assert report.findings[0].left <= 1
