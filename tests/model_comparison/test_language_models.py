"""A tiny Llama of transformers against its own port and its copies in half precision."""

import copy

import numpy as np
import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    T5Config,
    T5EncoderModel,
)

import probe

HEADS, GROUPS, SIZE, WIDTH, INNER, WORDS = 4, 2, 8, 32, 48, 97
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": GROUPS,
    "use_cache": False,
}
IDS = np.random.default_rng(0).integers(0, WORDS, (1, 11))


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    made = LlamaForCausalLM(
        LlamaConfig(**SIZES, max_position_embeddings=64, attn_implementation="eager")
    ).eval()
    for name, one in made.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(one, 0.5, 1.5)
    return made


def linear(*weights):
    weight = torch.cat(weights)
    made = torch.nn.Linear(weight.shape[1], len(weight), bias=False)
    made.weight.data = weight.clone()
    return made


class Port(torch.nn.Module):
    """The same model by hand: fused q, k, v and gate and up, norms in single operations."""

    def __init__(self, model, **mistake):
        super().__init__()
        held = model.state_dict()
        self.mistake, self.epsilon = mistake, model.config.rms_norm_eps
        self.embed = torch.nn.Embedding(WORDS, WIDTH)
        self.embed.weight.data = held["model.embed_tokens.weight"].clone()
        self.blocks = torch.nn.ModuleList()
        for number in range(2):
            of = {
                name: held[f"model.layers.{number}.{name}.weight"]
                for name in (
                    *(f"self_attn.{one}_proj" for one in "qkvo"),
                    *(f"mlp.{one}_proj" for one in ("gate", "up", "down")),
                    *("input_layernorm", "post_attention_layernorm"),
                )
            }
            block = torch.nn.Module()
            block.qkv = linear(*(of[f"self_attn.{one}_proj"] for one in "qkv"))
            block.o = linear(of["self_attn.o_proj"])
            block.both = linear(of["mlp.gate_proj"], of["mlp.up_proj"])
            block.down = linear(of["mlp.down_proj"])
            block.first = torch.nn.Parameter(of["input_layernorm"].clone())
            block.second = torch.nn.Parameter(of["post_attention_layernorm"].clone())
            self.blocks.append(block)
        self.norm = torch.nn.Parameter(held["model.norm.weight"].clone())
        self.head = linear(held["lm_head.weight"])

    def normed(self, x, weight):
        return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))

    def forward(self, ids):
        count, length = ids.shape
        base = self.mistake.get("base", 10000.0)
        turns = 1.0 / (base ** (torch.arange(0, SIZE, 2).float() / SIZE))
        angles = torch.outer(torch.arange(length).float(), turns)
        angles = torch.cat([angles, angles], -1)
        cos, sin = angles.cos(), angles.sin()
        late = 1 + self.mistake.get("later", 0)
        mask = torch.triu(torch.full((length, length), float("-inf")), late)

        def turned(t, number):
            if self.mistake.get("neighbours") == number:
                near = torch.stack([-t[..., 1::2], t[..., ::2]], -1).flatten(-2)
                pairs = (one[:, : SIZE // 2].repeat_interleave(2, -1) for one in (cos, sin))
                each, beside = pairs
                return t * each + near * beside
            return t * cos + torch.cat([-t[..., SIZE // 2 :], t[..., : SIZE // 2]], -1) * sin

        x = self.embed(ids)
        for number, block in enumerate(self.blocks):
            offset = self.mistake.get("offset") == number
            h = self.normed(x, block.first + 1 if offset else block.first)
            parts = block.qkv(h).split([WIDTH, WIDTH // 2, WIDTH // 2], -1)
            q, k, v = (one.view(count, length, -1, SIZE).transpose(1, 2) for one in parts)
            q, k = turned(q, number), turned(k, number)
            if self.mistake.get("tile"):
                k, v = k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1)
            else:
                k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
            scores = q @ k.transpose(-1, -2) * self.mistake.get("scale", SIZE**-0.5) + mask
            y = (torch.softmax(scores, -1) @ v).transpose(1, 2).reshape(count, length, WIDTH)
            y = block.o(y)
            x = y if self.mistake.get("left_out") == number else x + y
            gate, up = block.both(self.normed(x, block.second)).chunk(2, -1)
            x = x + block.down(torch.nn.functional.silu(gate) * up)
        return self.head(self.normed(x, self.norm))


def compared(a, b):
    return probe.compare(a, b.eval(), {"input_ids": IDS}, x_b=IDS)


def test_the_port_agrees(llama):
    comparison = compared(llama, Port(llama))
    assert comparison.ok, str(comparison)
    assert not any(comparison.unpaired)
    assert sum(one.how == "weights" for one in comparison.pairs) >= 10


MISTAKES = {
    "base": ({"base": 1e5}, 1, "self_attn/mul"),
    "mask": ({"later": 1}, 1, "self_attn/add"),
    "heads": ({"tile": True}, 2, "self_attn/matmul"),
    "scale": ({"scale": 0.3}, 2, "self_attn/mul"),
    "offset": ({"offset": 1}, 1, "layers.1.input_layernorm"),
    "residual": ({"left_out": 1}, 1, "layers.1/add"),
}


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_a_port_is_the_source(llama, name):
    mistake, count, layer = MISTAKES[name]
    comparison = compared(llama, Port(llama, **mistake))
    assert comparison.verdict == "diverge"
    assert len(comparison.sources) == count, str(comparison)
    assert any(layer in one for one in comparison.sources[0].a), str(comparison)


def test_an_offset_of_a_norm_is_read(llama):
    source = compared(llama, Port(llama, offset=1)).sources[0]
    assert "B's are A's plus 1 there" in source.notes


def test_a_rotation_of_neighbours_is_named(llama):
    [source] = compared(llama, Port(llama, neighbours=1)).sources
    assert source.findings[0].slug in ("rope-layout", "rearranged-tensor"), source.findings
    assert source.findings[0].left <= 1


def test_a_copy_with_another_base_shows_the_array_that_it_makes(llama):
    """Its cosines are read through a change of layout."""
    other = copy.deepcopy(llama)
    frequencies = other.model.rotary_emb.inv_freq
    frequencies.copy_(1 / 500000.0 ** (torch.arange(0, SIZE, 2) / SIZE))
    [source] = probe.compare(llama, other, {"input_ids": IDS}).sources
    assert source.differs[0][0].startswith("constant of Mul at"), source.differs


def halved(model):
    return copy.deepcopy(model).to(torch.bfloat16)


def test_bfloat16_is_a_level_and_no_fault(llama):
    comparison = probe.compare(llama, halved(llama), {"input_ids": IDS})
    assert comparison.ok, str(comparison)
    assert any("rounded to bfloat16" in one for one in comparison.notes)
    again = probe.compare(halved(llama), llama, {"input_ids": IDS})
    assert again.verdict == "agree", str(again)


def test_faults_stand_out_in_bfloat16(llama):
    other = halved(llama)
    other.model.layers[1].mlp.up_proj.weight.data[3] *= 1.3
    other.model.layers[0].input_layernorm.variance_epsilon = 0.1
    comparison = probe.compare(llama, other, {"input_ids": IDS})
    assert len(comparison.sources) == 2, str(comparison)
    first, second = comparison.sources
    assert any(name.startswith("constant of Add") for name, *_ in first.differs)
    assert second.b == ("model.layers.1.mlp.up_proj",)
    assert second.local.count == IDS.size


def test_experts_that_sort_equal_numbers():
    """The places of equal numbers are in an order of the framework's own, which is no fault."""
    torch.manual_seed(0)
    config = MixtralConfig(**SIZES | {"num_hidden_layers": 1}, num_local_experts=4)
    net, ids = MixtralForCausalLM(config).eval(), np.tile(IDS, (2, 1))
    comparison = probe.compare(net, copy.deepcopy(net), ids)
    assert comparison.ok, str(comparison)
    other = copy.deepcopy(net)
    other.model.layers[0].mlp.experts.down_proj.data[1] *= 1.1
    comparison = probe.compare(net, other, ids)
    assert comparison.verdict == "diverge"
    assert "experts" in comparison.sources[0].b[0], str(comparison)


@pytest.mark.parametrize("shape", [(1, 5), (3, 16)])
def test_ids_of_another_length_than_is_drawn_where_none_are_given(llama, shape):
    ids = np.random.default_rng(0).integers(0, WORDS, shape)
    assert probe.compare(llama, copy.deepcopy(llama), ids).ok


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_mask_of_the_lowest_number_of_either_type(dtype):
    """Which is another number in each, and hides as well."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=WORDS, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)
    net = T5EncoderModel(config).eval()
    given = {"input_ids": np.tile(IDS, (2, 1)), "attention_mask": np.ones((2, 11), int)}
    given["attention_mask"][0, 7:] = 0
    comparison = probe.compare(net, copy.deepcopy(net).to(dtype), given, x_b=given)
    assert comparison.ok, str(comparison)
