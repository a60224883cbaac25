"""What the calls of a pass call their inputs, the line that makes them, and both in a recording."""

import inspect

import numpy as np
import torch

import probe
from probe.composition.compose import composed


class Rotary(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(4, 4)

    def forward(self, hidden_states, position_embeddings, attention_mask=None):
        cos, sin = position_embeddings
        q = self.project(hidden_states)
        return q * cos + q * sin + attention_mask


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rotary, self.last = Rotary(), torch.nn.Sequential(torch.nn.ReLU())

    def forward(self, x):
        mask = torch.zeros(3, 4)
        return self.last(self.rotary(x, (x.cos(), x.sin()), attention_mask=mask))


X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
NAMES = ("hidden_states", "cos", "sin", "attention_mask")


def captured(model, *names):
    """The calls of these layers, by their names."""
    found = {}
    model.run((X,), names, lambda capture: found.setdefault(capture.layer, capture) and None)
    return found


def line_of(module, text):
    lines, first = inspect.getsourcelines(type(module).forward)
    return first + next(number for number, line in enumerate(lines) if text in line)


def test_names_and_lines(tmp_path):
    torch.manual_seed(0)
    module = Model().eval()
    calls = captured(probe.open_model(module), "", "rotary", "rotary.project", "last.0")
    rotary, project, last = (calls[name] for name in ("rotary", "rotary.project", "last.0"))
    assert rotary.input_names == NAMES
    assert project.input_names == ("input",)
    assert composed(calls[""]).input_names[:1] == ("x",)
    assert rotary.line == line_of(module, "attention_mask=mask")
    assert project.line == line_of(module.rotary, "self.project(")
    assert last.line is None  # a Sequential's own forward makes it
    sums = [part.capture for part in rotary.parts if part.capture.layer.startswith("rotary/add")]
    assert [call.line for call in sums] == [line_of(module.rotary, "q * sin")] * 2

    recording = probe.record(module, X, tmp_path / "run.npz")
    kept = captured(recording, "rotary")["rotary"]
    assert (kept.input_names, kept.line) == (NAMES, rotary.line)


def test_what_a_block_takes_besides_its_arguments_is_called_as_the_call_that_takes_it():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x):
            mask = torch.full((3, 3), -torch.inf).triu(1)
            return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]

    torch.manual_seed(0)
    whole = []
    probe.open_model(Block().eval()).run((X[None],), [""], lambda call: whole.append(call))
    assert composed(whole[0]).input_names == ("x", "attn_mask")
