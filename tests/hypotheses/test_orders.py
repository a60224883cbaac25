"""Pixels, statistics, heads and casts in another order or place."""

from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from named_mistakes import named, of
from own_seed import RNG
from torch import nn

import probe


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


AXES = {"c": "channels", "h": "height", "w": "width"}


def told(order):
    return f"({', '.join(AXES[one] for one in order)})"


def patches(x, order, size=4):
    """The patches of an image (channels first) with their pixels flattened in an order."""
    n, c, h, w = x.shape
    split = x.reshape(n, c, h // size, size, w // size, size)
    at = {"c": 1, "h": 3, "w": 5}
    return split.transpose(0, 2, 4, *(at[one] for one in order)).reshape(
        n, h // size, w // size, -1
    )


@pytest.mark.parametrize("order", ["hwc", "cwh", "whc", "wch"])
@pytest.mark.parametrize("which", ["pixels", "kernel"])
def test_a_patch_embedding_of_torch(order, which):
    torch.manual_seed(0)
    model, x = nn.Conv2d(3, 16, 4, 4).eval(), drawn(2, 3, 16, 16)
    kernel, bias = (one.detach().numpy() for one in (model.weight, model.bias))
    pixels, rows = (order, "chw") if which == "pixels" else ("chw", order)
    flat = kernel.transpose(0, *(1 + "chw".index(one) for one in rows)).reshape(16, -1)
    finding = named(model, "", x, (patches(x, pixels) @ flat.T + bias).transpose(0, 3, 1, 2))
    assert finding.slug == "patch-order"
    if order in ("hwc", "whc"):  # others are the same in two ways
        each = f"each patch is flattened as {told(order)}, the kernel as {told('chw')}"
        other = f"the kernel is flattened as {told(order)}, each patch as {told('chw')}"
        assert finding.claim.startswith((each, other))


@pytest.mark.tensorflow
def test_a_patch_embedding_of_keras():
    keras = import_module("keras")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(10, 4, 4)])
    (layer,), x = model.layers, drawn(2, 16, 16, 3)
    kernel, bias = layer.get_weights()
    first = x.transpose(0, 3, 1, 2)
    flat = kernel.reshape(-1, 10)
    right = patches(first, "hwc") @ flat + bias
    assert probe.check(model, layer.name, x, expected=right).verdict == "agree"
    finding = named(model, layer.name, x, patches(first, "chw") @ flat + bias)
    assert finding.slug == "patch-order"
    assert finding.claim == (
        f"each patch is flattened as {told('chw')}, the kernel as {told('hwc')}"
    )


def test_a_kernel_that_overlaps_is_no_patch():
    torch.manual_seed(0)
    model, x = nn.Conv2d(3, 16, 4, 2).eval(), drawn(2, 3, 16, 16)
    with torch.no_grad():
        kernel = model.weight.reshape(16, 4, 4, 3).permute(0, 3, 1, 2)
        y = F.conv2d(torch.from_numpy(x), kernel, model.bias, 2).numpy()
    assert named(model, "", x, y).slug == "transposed-kernel"


class Unshuffled(nn.Module):
    def __init__(self, last=False):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.last = nn.Linear(12, 7), last

    def forward(self, x):
        if self.last:
            n, c, h, w = x.shape
            y = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1)
            return self.embed(y.reshape(n, h // 2, w // 2, 4 * c))
        return self.embed(F.pixel_unshuffle(x, 2).permute(0, 2, 3, 1))


def test_pixels_of_a_block_with_the_channels_last():
    x = drawn(2, 3, 8, 8)
    finding = named(Unshuffled().eval(), "", x, of(Unshuffled(True).eval(), x))
    assert finding.slug == "patch-order"


class Merged(nn.Module):
    """Swin's merging of 2 x 2 patches."""

    def __init__(self, order=(0, 1, 2, 3)):
        super().__init__()
        torch.manual_seed(0)
        self.reduction, self.order = nn.Linear(24, 12), order

    def forward(self, x):
        parts = [x[:, k % 2 :: 2, k // 2 :: 2] for k in self.order]
        return self.reduction(torch.cat(parts, -1))


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (1, 2, 3, 0), (3, 2, 1, 0)])
def test_the_parts_of_merged_patches(order):
    x = drawn(2, 8, 8, 6)
    finding = named(Merged().eval(), "", x, of(Merged(order).eval(), x))
    assert finding.slug == "patch-order"
    assert finding.claim == f"the parts of the merged patches are in the order {order}"


MEAN, STD = np.float32([0.4, 0.5, 0.3]), np.float32([0.2, 0.25, 0.3])
WAYS = {
    "divided first": (lambda x, mean, std: x / std - mean, "x / std - mean"),
    "exchanged": (lambda x, mean, std: (x - std) / mean, "are exchanged"),
    "both turned": (
        lambda x, mean, std: (x - np.flip(mean, 0)) / np.flip(std, 0),
        "mean and standard deviation are taken in the reverse order",
    ),
    "mean turned": (
        lambda x, mean, std: (x - np.flip(mean, 0)) / std,
        "the mean is taken in the reverse order",
    ),
}


class Preprocessed(nn.Module):
    """Pixels of 0 to 255, normalised, and a convolution."""

    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("mean", torch.from_numpy(MEAN[:channels]).reshape(-1, 1, 1))
        self.register_buffer("std", torch.from_numpy(STD[:channels]).reshape(-1, 1, 1))
        self.conv = nn.Conv2d(channels, 8, 3)

    def forward(self, x):
        return self.conv((x / 255 - self.mean) / self.std)


@pytest.mark.parametrize(("way", "channels"), [*((way, 3) for way in WAYS), ("mean turned", 2)])
def test_statistics_of_a_block(way, channels):
    function, words = WAYS[way]
    model = Preprocessed(channels).eval()
    x = RNG.integers(0, 255, (2, channels, 8, 8)).astype(np.float32)
    wrong = function(x / 255, model.mean.numpy(), model.std.numpy())
    finding = named(model, "", x, of(model.conv, wrong.astype(np.float32)))
    assert finding.slug == "mean-std-order"
    assert words in finding.claim


@pytest.mark.tensorflow
@pytest.mark.parametrize("way", WAYS)
def test_statistics_of_keras(way):
    function, words = WAYS[way]
    keras = import_module("keras")
    layer = keras.layers.Normalization(mean=MEAN.tolist(), variance=np.square(STD).tolist())
    model, x = keras.Sequential([keras.Input((3,)), layer]), drawn(6, 3)
    finding = named(model, layer.name, x, function(x, MEAN, STD).astype(np.float32))
    assert finding.slug == "mean-std-order"
    assert words in finding.claim


class Language(nn.Module):
    def __init__(self, tied):
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(40, 16), nn.Embedding(40, 16)
        self.norm, self.mix = nn.LayerNorm(16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 40, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def hidden(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        return self.norm(x + torch.tanh(self.mix(x)))

    def forward(self, ids):
        return self.head(self.hidden(ids))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(("tied", "used"), [(False, "tokens"), (True, "places")])
def test_the_head_of_a_language_model(tied, used, count):
    model, ids = Language(tied).eval(), RNG.integers(0, 40, (count, 7))
    with torch.no_grad():
        hidden = model.hidden(torch.from_numpy(ids))
        wrong = (hidden @ getattr(model, used).weight.T).numpy()
    whole = named(model, "", ids, wrong)
    assert whole.slug == "tied-head"
    assert whole.claim.startswith(f"{used}.weight is used in place of ")
    alone = named(model, "head", ids, wrong)
    assert alone.slug == "tied-head"
    assert alone.claim == f"weight is the embedding {used}'s weight, a parameter of another layer"


class Norm(nn.Module):
    """An RMS norm that casts before the gain, as Llama's does, or after it, as Gemma's does."""

    def __init__(self, after):
        super().__init__()
        torch.manual_seed(0)
        self.weight, self.after = nn.Parameter(1 + 0.3 * torch.randn(32)), after

    def forward(self, x):
        wide = x.float()
        y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        if self.after:
            return (y * self.weight.float()).to(x.dtype)
        return self.weight * y.to(x.dtype)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_norm_that_is_cast_before_the_gain(kind):
    model, other = Norm(True).to(kind).eval(), Norm(False).to(kind).eval()
    x = torch.from_numpy(drawn(2, 6, 32)).to(kind)
    with torch.no_grad():
        right, wrong = model(x).float().numpy(), other(x).float().numpy()
    assert probe.check(model, "", x, expected=right).verdict == "agree"
    finding = named(model, "", x, wrong)
    assert finding.slug == "cast-order"
    assert "before the gain, not after it" in finding.claim


@pytest.mark.parametrize("again", [False, True])
def test_a_norm_in_float32_that_was_cast(again):
    model, x = nn.RMSNorm(32, eps=1e-6).eval(), drawn(4, 6, 32)
    with torch.no_grad():
        model.weight.add_(0.3 * torch.randn(32))
        wide = torch.from_numpy(x)
        y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)
        wrong = model.weight * y.bfloat16().float()
        wrong = wrong.bfloat16().float() if again else wrong
    finding = named(model, "", x, wrong.numpy())
    assert finding.slug == "cast-order"
    assert "rounded to bfloat16 before the gain" in finding.claim
    assert ("and the output again" in finding.claim) is again


class Skips(nn.Module):
    """A convolution along time, whose steps are split into those of three phases."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 5, 2)

    def forward(self, x):
        y = torch.relu(self.conv(x)).view(-1, 5, 3, 4)
        return y.permute(0, 2, 1, 3).reshape(len(x), 15, 4)


def test_only_an_axis_of_channels_is_called_that():
    model, x = Skips().eval(), RNG.normal(size=(2, 3, 13)).astype("f")
    with torch.no_grad():
        y = torch.relu(model.conv(torch.from_numpy(x))).view(2, 5, 4, 3)
        y = y.permute(0, 3, 1, 2).reshape(2, 15, 4).numpy()
    (first, *_) = probe.check(model, "", x, expected=y).findings
    assert (first.slug, first.left <= 1) == ("group-axis", True), first
    assert "axis 2 of (2, 5, 12) is split" in first.claim


@pytest.mark.parametrize(
    ("model", "shape", "slug"),
    [
        (nn.Sequential(nn.Conv1d(6, 4, 1), nn.Tanh()), (2, 6, 5), "reversed-channels"),
        (
            nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)),
            (2, 5, 6),
            "rearranged-tensor",
        ),
    ],
    ids=["channels", "steps"],
)
def test_time_steps_that_are_reversed_are_no_channels(model, shape, slug):
    x = RNG.normal(size=shape).astype("f")
    with torch.no_grad():
        y = model.eval()(torch.from_numpy(x).flip(1)).numpy()
    (first, *_) = probe.check(model, "", x, expected=y).findings
    assert (first.slug, first.left <= 1) == (slug, True), first
    assert f"axis 1 of the input ({shape[1]} elements) is reversed" in first.claim
