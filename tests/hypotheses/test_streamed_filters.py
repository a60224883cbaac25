"""Causal convolutions that a port computes element by element, from a buffer of the last ones."""

import numpy as np
import pytest
import torch
from named_mistakes import named
from planting import draw, nn
from torch.nn import functional as F


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Conv1d(3, 3, 4, groups=3)
        self.point = nn.Conv1d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.point(F.relu(self.depth(F.pad(x, (3, 0)))))


def streamed(model: Causal, x: np.ndarray, mistake: str) -> np.ndarray:
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}
    taps, out = w["depth.weight"][:, 0], np.zeros((len(x), 2, x.shape[-1]), np.float32)
    buffer, head = np.zeros((3, 4)), 0
    for b, sample in enumerate(x):
        if mistake == "first slot":
            buffer, head = np.zeros((3, 4)), 0
        if mistake == "kept slots":
            head = 0
        for t, frame in enumerate(sample.T):
            buffer[:, head] = frame
            head = (head + 1) % 4
            start = 0 if mistake == "first slot" else head
            y = (taps * np.roll(buffer, -start, 1)).sum(1) + w["depth.bias"]
            out[b, :, t] = w["point.weight"][..., 0] @ np.maximum(y, 0) + w["point.bias"]
    return out


def from_the_end(model: Causal, x: np.ndarray) -> np.ndarray:
    """The filter on what is turned round; the other layers look at one element."""
    return model(torch.tensor(x[..., ::-1].copy())).detach().numpy()[..., ::-1]


@pytest.mark.parametrize(
    ("mistake", "slug", "words"),
    [
        ("kept", "carried-state", "begins with the last 3 elements of the sample before"),
        ("kept slots", "carried-state", "by the slots of a buffer that is written from its first"),
        ("first slot", "changed-step", "from the first slot on, not from that of the oldest"),
    ],
)
def test_a_ring_buffer(mistake, slug, words):
    torch.manual_seed(3)
    model, x = Causal().eval(), 2 * draw(3, 3, 9)
    finding = named(model, "", x, streamed(model, x, mistake))
    assert finding.slug == slug
    assert words in finding.claim


def test_a_filter_that_runs_from_the_end():
    torch.manual_seed(4)
    model, x = Causal().eval(), 2 * draw(2, 3, 9)
    finding = named(model, "", x, from_the_end(model, x))
    assert "depth runs from the end of axis 2" in finding.claim


class OwnKernel(nn.Module):
    """A causal convolution with a kernel that a layer computes."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Linear(3, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(F.pad(x, (3, 0)), self.taps(x.mean((0, 2))).view(2, 3, 4))


def test_the_kernel_may_be_computed():
    torch.manual_seed(5)
    model, x = OwnKernel().eval(), 2 * draw(3, 3, 9)
    with torch.no_grad():
        joined = F.pad(torch.from_numpy(x.transpose(1, 0, 2).reshape(3, 27)), (3, 0))
        kernel = model.taps(torch.from_numpy(x).mean((0, 2))).view(2, 3, 4)
        values = F.conv1d(joined[None], kernel)[0].reshape(2, 3, 9).transpose(0, 1).numpy()
    finding = named(model, "", x, values)
    assert finding.slug == "carried-state"
    assert "begins with the last 3 elements of the sample before" in finding.claim
