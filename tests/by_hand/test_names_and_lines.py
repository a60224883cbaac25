"""In a script inputs are called as the call itself calls them, a parameter is loaded once, and what
a block computes says its line of the block's own source."""

import inspect

import numpy as np
import torch

import probe

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)


class Rotary(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(8, 8)

    def forward(self, hidden_states, position_embeddings):
        cos, sin = position_embeddings
        q = self.project(hidden_states)
        turned, kept = q.chunk(2, dim=-1)
        joined = torch.cat((kept, turned), dim=-1)
        return joined * cos + sin


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rotary = Rotary()
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.rotary(x, (x.cos(), x.sin()))
        mask = torch.full((5, 5), -torch.inf).triu(1)
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


def line_of(kind, text):
    lines, first = inspect.getsourcelines(kind.forward)
    return first + next(number for number, line in enumerate(lines) if text in line)


def test_names_of_arguments_and_source_lines(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "block.py"
    model = probe.open_model(Block().eval())
    probe.script(model, "rotary", X, path)
    text = path.read_text()
    for name in ("hidden_states", "cos", "sin"):
        assert f"\n{name} = load(" in text
    assert "\njoined = np.concatenate([project[..., 4:], project[..., :4]]" in text
    assert f"source line {line_of(Rotary, 'self.project(')}\n" in text
    assert f"source line {line_of(Rotary, 'return joined * cos')}\n" in text

    probe.script(model, "attention", X, path)
    text = path.read_text()
    assert "\nattn_mask = load(" in text
    assert text.count("in_proj_weight = load(") == 1 and "in_proj_weight_2" not in text
