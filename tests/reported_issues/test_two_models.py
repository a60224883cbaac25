"""Cases from issue trackers: two whole models, of which the second is a port or a conversion."""

import keras
import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn

import probe

F = torch.nn.functional


def compared(a, b, x):
    return probe.compare(a.eval(), b.eval(), x)


def copied(model, **state):
    """The same weights, but for some."""
    return {**model.state_dict(), **state}


class Attention(nn.Module):
    """Grouped attention with positions, by hand; `split` says how q, k, v lie in one product."""

    def __init__(self, width=32, heads=4, groups=4, split="apart", bias=True):
        super().__init__()
        self.heads, self.groups, self.size, self.split = heads, groups, width // heads, split
        inner = groups * self.size
        if split == "apart":
            self.q, self.k, self.v = (nn.Linear(width, one, bias) for one in (width, inner, inner))
        else:
            self.qkv = nn.Linear(width, width + 2 * inner, bias)
        self.o = nn.Linear(width, width, bias=False)

    def parts(self, x):
        count, length, width = x.shape
        inner = self.groups * self.size
        if self.split == "apart":
            q, k, v = self.q(x), self.k(x), self.v(x)
        elif self.split == "by head":
            y = self.qkv(x).view(count, length, self.heads, 3 * self.size)
            q, k, v = (one.reshape(count, length, -1) for one in y.split(self.size, -1))
        elif self.split == "by size":
            q, k, v = self.qkv(x).split([width, inner, inner], -1)
        else:
            q, k, v = self.qkv(x).chunk(3, -1)
            q = F.pad(q, (0, width - q.shape[-1]))
            k, v = k[..., :inner], v[..., :inner]
        return [one.view(count, length, -1, self.size).transpose(1, 2) for one in (q, k, v)]

    def forward(self, x):
        q, k, v = self.parts(x)
        half = self.size // 2
        angles = torch.outer(torch.arange(x.shape[1]).float(), 10.0 ** -torch.arange(half).float())
        cos, sin = torch.cat([angles] * 2, -1).cos(), torch.cat([angles] * 2, -1).sin()
        q, k = (
            one * cos + torch.cat([-one[..., half:], one[..., :half]], -1) * sin for one in (q, k)
        )
        k, v = (one.repeat_interleave(self.heads // self.groups, 1) for one in (k, v))
        y = torch.softmax(q @ k.transpose(-1, -2) * self.size**-0.5, -1) @ v
        return self.o(y.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(32), Attention(**options)
        self.head = nn.Linear(32, 9)

    def forward(self, x):
        return self.head(x + self.attention(self.norm(x)))


X = RNG.normal(size=(2, 7, 32)).astype(np.float32)


def turned(weight, heads):
    """Rows of each head as pairs, where the halves are what is wanted."""
    size = weight.shape[0] // heads
    return weight.reshape(heads, 2, size // 2, -1).transpose(1, 2).reshape(weight.shape)


@pytest.mark.costly
def test_mobius_396():
    """Qwen2.5 from a GGUF file: the biases of q, k, v are dropped, and q and k needlessly put in
    another order."""
    torch.manual_seed(0)
    a, b = Layer(), Layer(bias=False)
    held = {name: one for name, one in a.state_dict().items() if name in b.state_dict()}
    for name in "qk":
        key = f"attention.{name}.weight"
        held[key] = turned(held[key], 4)
    b.load_state_dict(held)
    comparison = compared(a, b, X)
    assert {one.a for one in comparison.sources} == {(f"attention.{one}",) for one in "qkv"}
    for one in comparison.sources:
        assert any(name == "bias" and theirs is None for name, _, theirs in one.differs)
        order = any("places of axis 1 exchanged" in note for note in one.notes)
        assert order == (one.a != ("attention.v",)), str(comparison)


def test_transformers_31766():
    """Llama 3 from a GGUF file: the keys' rows are put in order for as many heads as the queries
    have."""
    torch.manual_seed(0)
    a, b = (Layer(groups=2, bias=False) for _ in range(2))
    wrong = turned(a.attention.k.weight.data, 4)
    b.load_state_dict(copied(a, **{"attention.k.weight": wrong}))
    [source] = compared(a, b, X).sources
    assert source.a == source.b == ("attention.k",)
    assert any("exchanged" in note for note in source.notes)


def test_mlxcel_928():
    """GPT-NeoX: q, k, v of each head lie together, and were taken for three thirds."""
    torch.manual_seed(0)
    a, b = Layer(split="by head"), Layer(split="by size")
    b.load_state_dict(a.state_dict())
    comparison = compared(a, b, X)
    assert not comparison.ok
    assert all(one.a[0].startswith("attention/") for one in comparison.sources), str(comparison)
    agree = {one.a for one in comparison.pairs if one.verdict == "agree"}
    assert {("attention.qkv",), ("attention.o",), ("head",)} <= agree


@pytest.mark.costly
def test_vllm_13686():
    """Grouped queries of 64, keys and values of 32 features in one product, cut into three of 43,
    43 and 42."""
    torch.manual_seed(0)
    a, b = Layer(groups=2, split="by size"), Layer(groups=2, split="in three")
    b.load_state_dict(a.state_dict())
    comparison = compared(a, b, X)
    assert not comparison.ok
    assert all(one.a[0].startswith("attention/") for one in comparison.sources), str(comparison)
    assert ("head",) in {one.a for one in comparison.pairs if one.verdict == "agree"}


class Stream(nn.Module):
    """Embeddings on a stream that every block normalises first: their size hardly shows."""

    def __init__(self, width, normed=True, scale=1.0):
        super().__init__()
        self.words, self.normed, self.scale = nn.Embedding(11, width), normed, scale
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.head = nn.Linear(width, 11)

    def forward(self, ids):
        x = self.words(ids) * self.scale
        if self.normed:
            x = self.rms(x)
        for block in self.blocks:
            x = x + block(self.rms(x))
        return self.head(self.rms(x))

    def rms(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


IDS = RNG.integers(0, 11, (2, 6))


@pytest.mark.costly
def test_larql_253():
    """A normalisation without weights behind the embedding is missing: what the blocks see is the
    same but for rounding, at a cosine of exactly 1."""
    torch.manual_seed(0)
    a, b = Stream(24), Stream(24, normed=False)
    a.words.weight.data /= 16
    b.load_state_dict(a.state_dict())
    comparison = compared(a, b, IDS)
    # B has one of two normalisations in a row, and its stream is not normalised
    assert [one.b for one in comparison.sources] == [("blocks.0",), ("/add:1",)], str(comparison)
    steps = dict((name, (mine, theirs)) for name, mine, theirs in comparison.sources[0].differs)
    assert "Rsqrt" in steps["steps"][0] and "Rsqrt" not in steps["steps"][1]
    agree = {one.a for one in comparison.pairs if one.verdict == "agree"}
    assert {("words",), ("blocks.1",), ("head",)} <= agree


@pytest.mark.costly
def test_transformers_29402():
    """The scale of Gemma's embeddings, the root of 3072, rounded to bfloat16."""
    torch.manual_seed(0)
    a, b = Stream(3072, False, 3072**0.5), Stream(3072, False, 55.5)
    b.load_state_dict(a.state_dict())
    [source] = compared(a, b, IDS).sources
    name, mine, theirs = source.differs[0]
    assert name.startswith("constant of Mul")
    assert mine == pytest.approx(55.4256, abs=1e-4) and theirs == 55.5


class Padded(nn.Module):
    """Explicit pads and a convolution of stride 2 on as many channels as rows and columns."""

    def __init__(self, pads, lost):
        super().__init__()
        self.pads, self.lost = pads, lost
        self.first, self.conv = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, 2)

    def forward(self, x):
        y = torch.relu(self.first(x))
        if self.lost:
            y = y.permute(0, 2, 3, 1)
        return torch.relu(self.conv(F.pad(y, (1, 1, 1, 1)) if self.pads else y))


@pytest.mark.parametrize(("pads", "lost"), [(True, True), (False, False), (False, True)])
def test_onnx2tf_960(pads, lost):
    """The layout is lost, the pads too, and every operation "matches" in some order of axes."""
    torch.manual_seed(0)
    a, b = Padded(True, False), Padded(pads, lost)
    b.load_state_dict(a.state_dict())
    x = RNG.normal(size=(1, 8, 8, 8)).astype(np.float32)
    comparison = compared(a, b, x)
    assert comparison.verdict == "diverge", str(comparison)
    assert "conv" in comparison.sources[0].a[-1], str(comparison)
    if not pads and not lost:
        assert ("pads", ((1, 1), (1, 1)), ((0, 0), (0, 0))) in comparison.sources[0].differs


@pytest.mark.tensorflow
@pytest.mark.parametrize("stride", [1, 2])
def test_keras_16363(stride):
    """A ResNet's stem from Keras to PyTorch: the padding is at one side with stride 2 and equal
    with stride 1, epsilon is 0.001, and the last layer's rows follow the channels last."""
    layers = keras.layers
    given = layers.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, strides=stride, padding="same", name="conv")(given)
    x = layers.Activation("relu", name="act")(layers.BatchNormalization(name="bn")(x))
    made = layers.Dense(5, name="dense")(layers.Flatten(name="flat")(x))
    model = keras.Model(given, made)
    model.set_weights([RNG.uniform(0.1, 0.9, one.shape) for one in model.get_weights()])
    port = nn.Sequential()
    port.add_module("conv", nn.Conv2d(3, 8, 3, stride, 1))
    port.add_module("bn", nn.BatchNorm2d(8))
    port.add_module("act", nn.ReLU())
    port.add_module("flat", nn.Flatten())
    port.add_module("dense", nn.Linear(8 * (12 // stride) ** 2, 5))
    kernel, bias, gamma, beta, mean, variance, dense, shift = map(torch.tensor, model.get_weights())
    port.load_state_dict(
        {
            **port.state_dict(),
            "conv.weight": kernel.permute(3, 2, 0, 1),
            "conv.bias": bias,
            "bn.weight": gamma,
            "bn.bias": beta,
            "bn.running_mean": mean,
            "bn.running_var": variance,
            "dense.weight": dense.T,
            "dense.bias": shift,
        }
    )
    comparison = compared_ports(model, port)
    wanted = [("bn",), ("dense",)] if stride == 1 else [("conv",), ("bn",), ("dense",)]
    assert [one.b for one in comparison.sources] == wanted, str(comparison)
    told = {one.b[0]: one for one in comparison.sources}
    assert ("epsilon", 0.001, 1e-05) in told["bn"].differs
    assert told["dense"].findings[0].slug == "flatten-order"
    if stride == 2:
        assert ("pads", ((0, 1), (0, 1)), ((1, 1), (1, 1))) in told["conv"].differs


def compared_ports(model, port):
    x = RNG.normal(size=(2, 12, 12, 3)).astype(np.float32)
    return probe.compare(model, port.eval(), x)


class Steps(nn.Module):
    """256 steps, as a kernel for int8 gives its output."""

    def __init__(self, scale, zero):
        super().__init__()
        self.scale, self.zero = scale, zero

    def forward(self, x):
        steps = torch.clamp(torch.round(x / self.scale) + self.zero, -128, 127)
        return (steps - self.zero) * self.scale


class Quantised(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.conv_out = nn.Conv2d(3, 8, 3, padding=1), Steps(1 / 32, 0)
        self.dense, self.dense_out = nn.Linear(8 * 8 * 8, 2), Steps(1 / 16, 3)

    def forward(self, x):
        x = self.conv_out(self.conv(x))
        return self.dense_out(self.dense(torch.relu(x).flatten(1)))


@pytest.fixture(scope="module")
def dumped():
    torch.manual_seed(0)
    model = Quantised().eval()
    x = RNG.normal(size=(100, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        first = model.conv_out(model.conv(torch.from_numpy(x)))
        arrays = {"conv_out": first.numpy(), "dense_out": model(torch.from_numpy(x)).numpy()}
    return model, x, arrays


def test_esp_nn_22(dumped):
    """All tensors are equal until a fully connected layer of two channels."""
    model, x, arrays = dumped
    assert probe.compare(model, arrays, x).ok
    last = arrays["dense_out"].copy()
    last[:, 1] = last[:, 0]
    [source] = probe.compare(model, {**arrays, "dense_out": last}, x).sources
    assert source.b == ("dense_out",)
    assert 50 < source.local.count <= 100 and source.local.worst.index[1] == 1


@pytest.mark.costly
def test_tflite_micro_3046(dumped):
    """One step more or less in 80 of 51,200 numbers."""
    model, x, arrays = dumped
    first = arrays["conv_out"]
    assert first.size == 51200
    places = RNG.choice(first.size, 80, replace=False)
    off = first.copy()
    off.flat[places] += np.float32(1 / 32) * RNG.choice([-1, 1], 80).astype(np.float32)
    comparison = probe.compare(model, {**arrays, "conv_out": off}, x)
    assert comparison.sources[0].b == ("conv_out",), str(comparison)
    assert comparison.sources[0].local.count == 80
