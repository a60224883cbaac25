"""A parameter that goes twice through the functions by which the layer converts it."""

import numpy as np
import pytest
import torch
from named_mistakes import named
from planting import draw, nn


class Decay(nn.Module):
    """A running sum that decays, and a gain that is stored as its logarithm."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.tensor([-2.0, -0.5, 0.3]))
        self.gain = nn.Parameter(torch.tensor([0.4, -0.2, 1.1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = torch.exp(-torch.exp(self.decay))
        state, out = torch.zeros_like(x[:, 0]), []
        for step in x.unbind(1):
            state = kept * state + step
            out.append(state)
        return torch.stack(out, 1) * torch.sigmoid(2 * self.gain)


def decayed(model: Decay, x: np.ndarray, mistake: str) -> np.ndarray:
    decay, gain = (value.detach().numpy() for value in (model.decay, model.gain))
    kept, gain = -np.exp(decay), 1 / (1 + np.exp(-2 * gain))
    kept = np.exp(-np.exp(kept) if mistake == "decay" else kept)
    gain = 1 / (1 + np.exp(-2 * gain)) if mistake == "gain" else gain
    state, out = np.zeros_like(x[:, 0]), []
    for step in np.moveaxis(x, 1, 0):
        state = kept * state + step
        out.append(state)
    return (np.stack(out, 1) * gain).astype(np.float32)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("gain", "multiplication and sigmoid are applied once more"),
        ("decay", "negation and exp are"),
    ],
)
def test_functions_that_are_applied_once_more(mistake, words):
    model, x = Decay().eval(), draw(2, 6, 3)
    finding = named(model, "", x, decayed(model, x, mistake))
    assert finding.slug == "moved-step"
    assert words in finding.claim
