"""Mistakes of a port of a language model's attention: its own loops in NumPy against Hugging
Face's Llama."""

from functools import cache
from importlib import import_module

import numpy as np
import pytest

import probe

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

HEADS, KV, SIZE, STEPS = 4, 2, 8, 10


@cache
def made():
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=HEADS,
        num_key_value_heads=KV,
        vocab_size=50,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        for one in attention.parameters():
            one.copy_(0.5 * torch.randn_like(one))
    ids = np.random.default_rng(0).integers(0, 50, (1, STEPS))
    kept = {}

    def keep(module, args, named):
        kept["x"] = named["hidden_states"] if "hidden_states" in named else args[0]

    hook = attention.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        model(torch.tensor(ids))
    hook.remove()
    weights = {name: one.detach().double().numpy() for name, one in attention.named_parameters()}
    return model, ids, kept["x"][0].double().numpy(), weights


def rotated(vector, position, base=1e4, neighbours=False, sign=1.0):
    out = vector.copy()
    half = SIZE // 2
    for i in range(half):
        angle = position * base ** (-2 * i / SIZE)
        a, b = (2 * i, 2 * i + 1) if neighbours else (i, i + half)
        cos, sin = np.cos(angle), sign * np.sin(angle)
        out[a], out[b] = vector[a] * cos - vector[b] * sin, vector[b] * cos + vector[a] * sin
    return out


def port(
    q_position=lambda p: p,
    k_position=lambda p: p,
    shared=lambda h: h // (HEADS // KV),
    sees=lambda i, j: j <= i,
    rotates=True,
    **rope,
):
    _, _, x, held = made()
    q, k, v = (
        (x @ held[f"{name}_proj.weight"].T).reshape(STEPS, -1, SIZE) for name in ("q", "k", "v")
    )
    out = np.zeros((STEPS, HEADS, SIZE))
    for h in range(HEADS):
        g = shared(h)
        for i in range(STEPS):
            seen = [j for j in range(STEPS) if sees(i, j)] or [0]
            query = rotated(q[i, h], q_position(i), **rope) if rotates else q[i, h]
            scores = []
            for j in seen:
                key = rotated(k[j, g], k_position(j), **rope) if rotates else k[j, g]
                scores.append(query @ key / np.sqrt(SIZE))
            share = np.exp(np.array(scores) - max(scores))
            out[i, h] = (share / share.sum()) @ v[seen, g]
    return (out.reshape(STEPS, -1) @ held["o_proj.weight"].T)[None].astype(np.float32)


def asked(y):
    model, ids, *_ = made()
    return probe.check(model, "model.layers.0.self_attn", {"input_ids": ids}, expected=[y, None])


def test_the_right_port_agrees():
    assert asked(port()).verdict == "agree"


MISTAKES = {
    "rope-layout": {"neighbours": True},
    "rope-base": {"base": 5e5},
    "rope-direction": {"sign": -1.0},
    "rope-offset": {"k_position": lambda p: p + 1},
    "rope-dims": {"rotates": False},
    "grouped-heads": {"shared": lambda h: h % KV},
    "mask-off-by-one": {"sees": lambda i, j: j <= i + 1},
}


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("slug", MISTAKES)
def test_a_mistake_is_named(slug):
    report = asked(port(**MISTAKES[slug]))
    assert report.verdict == "diverge"
    assert report.findings, report.diagnosis
    named = [one.slug for one in report.findings if one.tie] or [report.findings[0].slug]
    assert slug in named, report.findings
    assert all(one.left <= 1 for one in report.findings if one.slug == slug)


def test_keys_are_counted_without_what_is_in_the_cache():
    model, ids, *_ = made()
    places = {"input_ids": ids, "position_ids": 5 + np.arange(STEPS)[None]}
    name = "model.layers.0.self_attn"
    right = port(q_position=lambda p: p + 5, k_position=lambda p: p + 5)
    assert probe.check(model, name, places, expected=[right, None]).verdict == "agree"
    wrong = port(q_position=lambda p: p + 5)
    first = probe.check(model, name, places, expected=[wrong, None]).findings[0]
    assert (first.slug, first.left <= 1) == ("rope-offset", True), first
    assert "positions are 5 too small" in first.claim or "5 too large" in first.claim
    assert first.code and all("_embed = (" in line for line in first.code), first.code


class Fused(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.both = torch.nn.Linear(8, 24)

    def forward(self, x):
        return self.given(self.both(x).chunk(3, -1))

    @staticmethod
    def given(parts):
        q, k, v = parts
        return torch.softmax(q @ k.transpose(-1, -2), -1) @ v


class Capped(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Linear(8, 6)

    def forward(self, x):
        return torch.softmax(2.0 * torch.tanh(self.scores(x) / 2.0), -1)


class Windowed(torch.nn.Module):
    def forward(self, x, mask):
        return torch.softmax(x @ x.transpose(-1, -2) + mask, -1) @ x


class Routed(torch.nn.Module):
    def __init__(self, first=True):
        super().__init__()
        self.gate, self.first = torch.nn.Linear(8, 6), first

    def forward(self, x):
        if not self.first:
            return torch.softmax(self.gate(x).topk(2, -1).values, -1)
        values = torch.softmax(self.gate(x), -1).topk(2, -1).values
        return values / values.sum(-1, keepdim=True)


def window(width, steps=8):
    apart = np.arange(steps)[:, None] - np.arange(steps)
    return np.where((apart >= 0) & (apart < width), 0.0, -1e9).astype(np.float32)


def drawn(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


def norm_offset():
    layer, x = torch.nn.RMSNorm(8, eps=1e-5), drawn(3, 8)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(drawn(8)))
    root = np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5)
    return layer, x, x / root * (1 + layer.weight.detach().numpy())


def packed_order():
    layer, x = Fused(), drawn(2, 5, 8)
    out = layer.both(torch.tensor(x))
    return layer, x, layer.given(out.unflatten(-1, (8, 3)).unbind(-1)).detach().numpy()


def soft_cap():
    layer, x = Capped(), 3 * drawn(5, 8)
    return layer, x, torch.softmax(layer.scores(torch.tensor(x)), -1).detach().numpy()


def window_off_by_one():
    layer, x = Windowed(), drawn(2, 8, 4)
    y = layer(torch.tensor(x), torch.tensor(window(4))).numpy()
    return layer, (x, window(3)), y


def topk_normalisation():
    layer, x = Routed(), drawn(9, 8)
    return layer, x, torch.softmax(layer.gate(torch.tensor(x)), -1).topk(2, -1).values.detach()


def router_order():
    layer, x = Routed(first=False), drawn(9, 8)
    return layer, x, torch.softmax(layer.gate(torch.tensor(x)), -1).topk(2, -1).values.detach()


@pytest.mark.parametrize(
    "plant",
    [norm_offset, packed_order, soft_cap, window_off_by_one, topk_normalisation, router_order],
    ids=lambda one: one.__name__,
)
def test_a_mistake_of_a_part_is_named(plant):
    torch.manual_seed(0)
    layer, x, y = plant()
    report = probe.check(layer.eval(), "", x, expected=np.asarray(y, np.float32))
    assert report.findings, report.diagnosis
    named = [one.slug for one in report.findings if one.tie] or [report.findings[0].slug]
    assert plant.__name__.replace("_", "-") in named, report.findings


def block_of(model, ids):
    """What the first block of a model gives."""
    kept = []
    hook = model.layers[0].register_forward_hook(lambda module, given, y: kept.append(y))
    with torch.no_grad():
        model(torch.tensor(ids))
    hook.remove()
    (y,) = kept
    return (y[0] if isinstance(y, tuple) else y).numpy()


def neox(**rotary):
    config = transformers.GPTNeoXConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, **rotary},
    )
    return varied(transformers.GPTNeoXModel(config))


def llama(**rotary):
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        rope_parameters={"rope_theta": 100.0, "rope_type": "default", **rotary},
    )
    return varied(transformers.LlamaModel(config))


def cohere():
    config = transformers.CohereConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        pad_token_id=0,
        eos_token_id=2,
    )
    return varied(transformers.CohereModel(config))


def varied(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for one in model.parameters():
            one.add_(0.3 * torch.randn_like(one))
    return model.eval()


LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
OTHER_MODELS = {
    "all features": (neox, lambda: neox(partial_rotary_factor=1.0), "rope-dims"),
    "frequencies scaled": (lambda: llama(**LLAMA_3), llama, "rope-base"),
    "halves for neighbours": (cohere, cohere, "rope-layout"),
}


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("name", OTHER_MODELS)
def test_a_model_that_rotates_otherwise(name, monkeypatch):
    """The same weights in a model of another configuration, or with another one's rotation."""
    right, other, slug = OTHER_MODELS[name]
    ids = np.random.default_rng(0).integers(0, 50, (2, 8))
    model, wrong = right(), other()
    wrong.load_state_dict(dict(model.named_parameters()), strict=False)
    if name == "halves for neighbours":
        modeling_cohere, modeling_llama = (
            import_module(f"transformers.models.{one}.modeling_{one}")
            for one in ("cohere", "llama")
        )
        with monkeypatch.context() as patched:
            patched.setattr(modeling_cohere, "rotate_half", modeling_llama.rotate_half)
            wrong.rotary_emb = modeling_llama.LlamaRotaryEmbedding(wrong.config)
            y = block_of(wrong, ids)
    else:
        y = block_of(wrong, ids)
    report = probe.check(model, "layers.0", {"input_ids": ids}, expected=y)
    assert report.verdict == "diverge"
    assert report.findings[0].slug == slug and report.findings[0].left <= 1


class Packed(torch.nn.Module):
    """Self attention whose projection is split as the name of a model says."""

    def __init__(self, split):
        super().__init__()
        self.split, self.qkv = split, torch.nn.Linear(12, 36)

    def forward(self, x):
        q, k, v = SPLITS[self.split](self.qkv(x))
        weights = torch.softmax(q @ k.transpose(-1, -2) / 2, -1)
        return (weights @ v).transpose(1, 2).flatten(2)


def by_head(packed):
    """As GPT-NeoX: the three parts of each head together."""
    return packed.view(*packed.shape[:2], 3, 12).transpose(1, 2).split([4, 4, 4], -1)


def in_blocks(packed):
    """As Swin and ModernBERT: (3, heads, features)."""
    return packed.view(*packed.shape[:2], 3, 3, 4).permute(2, 0, 3, 1, 4).unbind(0)


def by_feature(packed):
    return packed.view(*packed.shape[:2], 3, 4, 3).permute(4, 0, 2, 1, 3).unbind(0)


SPLITS = {"by head": by_head, "in blocks": in_blocks, "by feature": by_feature}


@pytest.mark.parametrize("own", SPLITS)
@pytest.mark.parametrize("other", SPLITS)
def test_a_fused_projection_split_otherwise(own, other):
    torch.manual_seed(0)
    module, x = Packed(own).eval(), np.random.default_rng(0).normal(size=(2, 5, 12))
    x = x.astype(np.float32)
    port = Packed(other)
    port.load_state_dict(module.state_dict())
    with torch.no_grad():
        values = port(torch.from_numpy(x)).numpy()
    report = probe.check(module, "", x, expected=values)
    if own == other:
        assert report.ok and not report.findings
        return
    assert report.findings, report
    assert report.findings[0].slug == "packed-order", report.findings


class Heads(torch.nn.Module):
    """Self attention of three heads of four features, split and joined in one order or another."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (torch.nn.Linear(12, 12) for _ in range(3))

    def forward(self, x, features_first=(), joined=False):
        parts = []
        for name in "qkv":
            y = getattr(self, name)(x)
            if name in features_first:
                parts.append(y.reshape(*y.shape[:2], 4, 3).permute(0, 3, 1, 2))
            else:
                parts.append(y.reshape(*y.shape[:2], 3, 4).permute(0, 2, 1, 3))
        q, k, v = parts
        y = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) @ v
        y = y.permute(0, 2, 3, 1) if joined else y.permute(0, 2, 1, 3)
        return y.flatten(2)


@pytest.mark.parametrize(
    ("features_first", "joined", "words"),
    [
        ("qkv", True, "split and joined"),
        ("qkv", False, "split"),
        ("", True, "joined"),
        ("v", False, "split in one of the reshapes"),
    ],
)
def test_heads_and_features_exchanged(features_first, joined, words):
    torch.manual_seed(0)
    module, x = Heads().eval(), np.random.default_rng(0).normal(size=(2, 5, 12))
    x = x.astype(np.float32)
    with torch.no_grad():
        values = module(torch.from_numpy(x), features_first, joined).numpy()
    report = probe.check(module, "", x, expected=values)
    assert report.findings, report
    first = report.findings[0]
    assert first.slug == "head-layout" and first.left <= 1, report.findings
    assert first.claim == f"heads are {words} as (features, heads), not (heads, features)"


class Pairs(torch.nn.Module):
    """Attention whose rotation is computed pair by pair, as GPT-OSS and Meta's code do: halves or
    neighbours, of all features or of the first ones of each head."""

    def __init__(self, neighbours=False, width=8, sign=1.0, last=False, base=100.0):
        super().__init__()
        self.q, self.k = torch.nn.Linear(12, 16, bias=False), torch.nn.Linear(12, 16, bias=False)
        self.neighbours, self.width, self.sign, self.last = neighbours, width, sign, last
        angles = torch.arange(6)[:, None] * base ** (-torch.arange(width // 2) * 2 / width)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def rotated(self, x):
        if self.width < 8:
            first, rest = x.split([self.width, 8 - self.width], -1)
            if self.last:
                rest, first = x.split([8 - self.width, self.width], -1)
                return torch.cat([rest, self.of_all(first)], -1)
            return torch.cat([self.of_all(first), rest], -1)
        return self.of_all(x)

    def of_all(self, x):
        a, b = (x[..., ::2], x[..., 1::2]) if self.neighbours else x.chunk(2, -1)
        sin = self.sign * self.sin
        one, other = a * self.cos - b * sin, b * self.cos + a * sin
        if self.neighbours:
            return torch.stack([one, other], -1).flatten(-2)
        return torch.cat([one, other], -1)

    def forward(self, x):
        q, k = (
            self.rotated(one(x).unflatten(-1, (2, 8)).transpose(1, 2)) for one in (self.q, self.k)
        )
        return torch.softmax(q @ k.transpose(-1, -2), -1)


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize(
    ("slug", "own", "other"),
    [
        ("rope-layout", {}, None),
        ("rope-direction", {}, {"sign": -1.0}),
        ("rope-base", {}, {"base": 1e4}),
        ("rope-dims", {"width": 4}, {"width": 4, "last": True}),
        ("", {}, {}),
    ],
)
def test_a_rotation_computed_pair_by_pair(slug, own, other, neighbours):
    torch.manual_seed(0)
    module = Pairs(neighbours, **own).eval()
    port = Pairs(not neighbours) if other is None else Pairs(neighbours, **other)
    port.load_state_dict({**port.state_dict(), **dict(module.named_parameters())})
    x = drawn(2, 6, 12)
    with torch.no_grad():
        report = probe.check(module, "", x, expected=port(torch.from_numpy(x)).numpy())
    assert report.ok == (not slug), report
    found = {one.slug: one.claim for one in report.findings}
    assert slug in found if slug else not found, report  # others may give the same scores
    if own:
        assert "the last 4 features of a head are rotated" in found[slug]
