"""Convolutions and running sums that are computed chunk by chunk, without what the chunk before
leaves to the next, and images that are computed in tiles."""

from collections.abc import Callable

import pytest
import torch
from named_mistakes import named
from planting import draw, nn
from torch.nn import functional as F


class Causal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 4, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(F.pad(x, (6, 0))))


class Running(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cumsum(x, 2).flip(2) * 2


def in_chunks(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(part) for part in x.split(4, 2)], 2)


def turned(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(part) for part in x.split(4, 2)][::-1], 2)


def in_tiles(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.cat([model(q) for q in p.split(4, 3)], 3) for p in x.split(4, 2)], 2)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "causal": Causal,
    "running": Running,
    "image": lambda: nn.Conv2d(3, 2, 3, padding=1),
}


@pytest.mark.parametrize(
    ("name", "port", "shape", "words"),
    [
        ("causal", in_chunks, (2, 3, 11), "conv is restarted at each chunk of 4, with zeros"),
        ("running", turned, (2, 3, 11), "cumsum is restarted at each chunk of 4, with zeros"),
        ("image", in_chunks, (1, 3, 8, 8), "at each chunk of 4, with zeros before it and behind"),
        ("image", in_tiles, (1, 3, 8, 8), "is computed in tiles, each with zeros around it"),
    ],
)
@torch.no_grad()
def test_chunks_that_do_not_know_the_one_before(name, port, shape, words):
    torch.manual_seed(0)
    model, x = MODELS[name]().eval(), draw(*shape)
    finding = named(model, "", x, port(model, torch.from_numpy(x)).numpy())
    assert finding.slug == "carried-state"
    assert words in finding.claim
