"""Mistakes planted in what language models are made of, written by hand in PyTorch: rotations of
positions, shared heads, masks, norms, experts, heads that are tied."""

from typing import Any

import numpy as np
import torch
from planting import Rows, draw, nn, otherwise, planter, rng, t

ROWS: Rows = []
plant = planter(ROWS)
STEPS, SIZE = 6, 8


class Decoder(nn.Module):
    """Causal attention of four heads that share two keys and values, with rotated positions."""

    def __init__(
        self,
        base: float = 100.0,
        sign: float = 1.0,
        neighbours: bool = False,
        width: int = SIZE,
        last: bool = False,
        late: int = 0,
        tiled: bool = False,
        features_first: bool = False,
        cap: float = np.inf,
    ) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(12, 4 * SIZE), nn.Linear(12, 16), nn.Linear(12, 16)
        self.neighbours, self.width, self.last, self.late = neighbours, width, last, late
        self.tiled, self.features_first, self.cap = tiled, features_first, cap
        angles = torch.arange(STEPS + 1)[:, None] * base ** (-torch.arange(0, width, 2) / width)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", sign * angles.sin())

    def turned(self, x: torch.Tensor, late: int = 0) -> torch.Tensor:
        cos, sin = (one[late : late + STEPS] for one in (self.cos, self.sin))
        a, b = (x[..., ::2], x[..., 1::2]) if self.neighbours else x.chunk(2, -1)
        one, other = a * cos - b * sin, b * cos + a * sin
        if self.neighbours:
            return torch.stack([one, other], -1).flatten(-2)
        return torch.cat([one, other], -1)

    def rotated(self, x: torch.Tensor, late: int = 0) -> torch.Tensor:
        if self.width == SIZE:
            return self.turned(x, late)
        if self.last:
            rest, part = x.split([SIZE - self.width, self.width], -1)
            return torch.cat([rest, self.turned(part, late)], -1)
        part, rest = x.split([self.width, SIZE - self.width], -1)
        return torch.cat([self.turned(part, late), rest], -1)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        if self.features_first:
            return x.unflatten(-1, (SIZE, -1)).permute(0, 3, 1, 2)
        return x.unflatten(-1, (-1, SIZE)).transpose(1, 2)

    def shared(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, None] if self.tiled else x[:, :, None]
        return x.expand(-1, 2, 2, -1, -1).reshape(len(x), 4, STEPS, SIZE)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.split(one(x)) for one in (self.q, self.k, self.v))
        q, k, v = self.rotated(q), self.shared(self.rotated(k, self.late)), self.shared(v)
        scores = q @ k.transpose(-1, -2) / SIZE**0.5
        if np.isfinite(self.cap):
            scores = self.cap * torch.tanh(scores / self.cap)
        return torch.softmax(scores + mask, -1) @ v


def mask(window: int = STEPS, ahead: int = 0) -> np.ndarray:
    """What is added to the scores of a query and a key."""
    apart = np.arange(STEPS)[:, None] - np.arange(STEPS)
    return np.where((apart >= -ahead) & (apart < window), 0, -1e9).astype(np.float32)


def _in_a_decoder(slug: str, own: Any = None, **mistake: Any) -> None:
    @plant(slug, "Decoder")
    def decoder() -> tuple:
        return otherwise(Decoder, [draw(2, STEPS, 12), mask()], own, **mistake)


_in_a_decoder("rope-layout", neighbours=True)
_in_a_decoder("rope-direction", sign=-1.0)
_in_a_decoder("rope-base", base=1e4)
_in_a_decoder("rope-dims", {"width": 4}, last=True)
_in_a_decoder("rope-offset", late=1)
_in_a_decoder("grouped-heads", tiled=True)
_in_a_decoder("head-layout", features_first=True)
_in_a_decoder("soft-cap", {"cap": 2.0}, cap=np.inf)


for _slug, _right, _wrong in (
    ("mask-off-by-one", mask(), mask(ahead=1)),
    ("window-off-by-one", mask(4), mask(3)),
):

    @plant(_slug, "Decoder")
    def masked(right: np.ndarray = _right, wrong: np.ndarray = _wrong) -> tuple:
        x = draw(2, STEPS, 12)
        return otherwise(Decoder, [x, right], given=[x, wrong])


class Biased(nn.Module):
    """Attention of x to itself with something added to the scores of three heads."""

    def forward(self, x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        q = x.unflatten(-1, (3, 4)).transpose(1, 2)
        return torch.softmax(q @ q.transpose(-1, -2) + added, -1) @ q


@plant("alibi-slopes", "Biased")
def slopes_of_three_heads() -> tuple:
    x, places = draw(2, 9, 12), np.arange(9, dtype=np.float32)
    right, wrong = (
        (2.0 ** (-8 * np.float32(heads) / count)[:, None, None] * (places - 8)).astype(np.float32)
        for heads, count in (((2, 4, 1), 4), ((1, 2, 3), 3))
    )
    return otherwise(Biased, [x, right], given=[x, wrong])


class Relative(nn.Module):
    """The same with a learned bias for each bucket of distances, as T5's."""

    def __init__(self, both: bool = True) -> None:
        super().__init__()
        self.table, self.attention = nn.Embedding(12, 3), Biased()
        apart = np.arange(14) - np.arange(14)[:, None]
        rows = [[_bucket(distance, both) for distance in row] for row in apart]
        self.register_buffer("rows", torch.tensor(rows))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, self.table(self.rows).permute(2, 0, 1)[None])


def _bucket(distance: int, both: bool) -> int:
    """Of 12, the farthest from 20 positions on."""
    many, far, start = 12, max(-distance, 0), 0
    if both:
        many, far, start = 6, abs(distance), 6 * (distance > 0)
    exact = many // 2
    if far >= exact:
        far = exact + int(np.log(far / exact) / np.log(20 / exact) * (many - exact))
    return start + min(far, many - 1)


@plant("relative-buckets", "Relative")
def buckets_of_one_direction() -> tuple:
    return otherwise(Relative, draw(2, 14, 12), at="attention", both=False)


class Packed(nn.Module):
    """Attention of three heads of four features whose projections are one."""

    def __init__(self, by_head: bool = False) -> None:
        super().__init__()
        self.qkv, self.by_head = nn.Linear(12, 36), by_head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = self.qkv(x)
        if self.by_head:
            q, k, v = packed.unflatten(-1, (3, 12)).transpose(1, 2).split([4, 4, 4], -1)
        else:
            q, k, v = packed.unflatten(-1, (3, 3, 4)).permute(2, 0, 3, 1, 4).unbind(0)
        return torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v


@plant("packed-order", "Packed")
def split_head_by_head() -> tuple:
    return otherwise(Packed, draw(2, 5, 12), by_head=True)


class Routed(nn.Module):
    """The weights of the two experts that a router chooses."""

    def __init__(self, first: bool = True, normed: bool = True) -> None:
        super().__init__()
        self.gate, self.first, self.normed = nn.Linear(8, 6), first, normed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.first:
            return torch.softmax(self.gate(x).topk(2, -1).values, -1)
        values = torch.softmax(self.gate(x), -1).topk(2, -1).values
        return values / values.sum(-1, keepdim=True) if self.normed else values


@plant("topk-normalisation", "Routed")
def not_divided_by_their_sum() -> tuple:
    return otherwise(Routed, draw(9, 8), normed=False)


@plant("router-order", "Routed")
def softmax_before_the_choice() -> tuple:
    return otherwise(Routed, draw(9, 8), {"first": False}, first=True, normed=False)


def _normed(wide: bool, offset: float = 0.0) -> tuple:
    """An RMS norm, and what it gives cast to bfloat16 before the gain, or with another gain."""
    layer, x = nn.RMSNorm(8, eps=1e-5), draw(3, 8)
    with torch.no_grad():
        layer.weight.copy_(t(draw(8, seed=2)))
        y = t(x) * torch.rsqrt(t(x).square().mean(-1, keepdim=True) + 1e-5)
        y = y if wide else y.bfloat16().float()
        return layer, x, (y * (offset + layer.weight)).numpy()


@plant("norm-offset", "RMSNorm")
def one_added_to_the_gain() -> tuple:
    return _normed(wide=True, offset=1.0)


@plant("cast-order", "RMSNorm")
def cast_before_the_gain() -> tuple:
    return _normed(wide=False)


class Language(nn.Module):
    """Embeddings, a block and a head."""

    def __init__(self, scale: float = 4.0, tied: bool = False) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(40, 16), nn.Embedding(40, 16)
        self.mix, self.head = nn.Linear(16, 16), nn.Linear(16, 40, bias=False)
        self.scale, self.tied = scale, tied

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) * self.scale + self.places(ids // 2)
        x = x + torch.tanh(self.mix(x))
        return x @ self.tokens.weight.T if self.tied else self.head(x)


@plant("tied-head", "Language model")
def table_for_the_head() -> tuple:
    return otherwise(Language, rng(0).integers(0, 40, (2, 7)), tied=True)


@plant("embedding-scale", "Language model")
def embeddings_not_scaled() -> tuple:
    return otherwise(Language, rng(0).integers(0, 40, (2, 7)), scale=1.0)
