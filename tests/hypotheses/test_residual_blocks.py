"""Where the norms of residual blocks stand, what they subtract, branches side by side, and mistakes
that are made in all layers of a network alike."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

import probe


def varied(module, scale=0.3):
    """A module whose parameters are all different from what they begin as."""
    torch.manual_seed(0)
    with torch.no_grad():
        for one in module.parameters():
            one.add_(scale * torch.randn_like(one))
    return module.eval()


def tokens(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def named(module, layer, x, values):
    report = probe.check(module, layer, x, expected=values)
    assert report.verdict == "diverge", report
    assert report.findings, report
    assert report.findings[0].left <= 1, report
    return report.findings[0]


def of(module, x):
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def encoder_layer(norm_first):
    torch.manual_seed(0)
    return varied(
        nn.TransformerEncoderLayer(
            *(12, 3, 20), dropout=0.0, batch_first=True, norm_first=norm_first
        )
    )


@pytest.mark.parametrize("norm_first", [True, False])
def test_pytorchs_own_flag(norm_first):
    layer, other = encoder_layer(norm_first), encoder_layer(not norm_first)
    x = tokens(2, 5, 12)
    finding = named(layer, "", x, of(other, x))
    assert finding.slug == "norm-placement"
    assert "norm1" in finding.claim and "norm2" in finding.claim
    told = "(post-norm), not to the input of the branch"
    assert (told in finding.claim) == norm_first


class Residual(nn.Module):
    """x + norm(branch(x)), then x + branch(norm(x)), each with a norm of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm1, self.norm2 = nn.RMSNorm(6), nn.LayerNorm(6)

    def forward(self, x):
        x = x + self.norm1(torch.tanh(self.first(x)))
        return x + torch.tanh(self.second(self.norm2(x)))


PLACES = {
    "the first norm before its branch": (
        lambda m, x: x + torch.tanh(m.first(m.norm1(x))),
        lambda m, x: x + torch.tanh(m.second(m.norm2(x))),
        "norm1",
    ),
    "the first norm behind the sum": (
        lambda m, x: m.norm1(x + torch.tanh(m.first(x))),
        lambda m, x: x + torch.tanh(m.second(m.norm2(x))),
        "norm1",
    ),
    "the second norm behind its branch": (
        lambda m, x: x + m.norm1(torch.tanh(m.first(x))),
        lambda m, x: x + m.norm2(torch.tanh(m.second(x))),
        "norm2",
    ),
    "the second norm behind the sum": (
        lambda m, x: x + m.norm1(torch.tanh(m.first(x))),
        lambda m, x: m.norm2(x + torch.tanh(m.second(x))),
        "norm2",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_one_norm_elsewhere(place):
    first, second, norm = PLACES[place]
    module, x = varied(Residual()), tokens(2, 4, 6)
    with torch.no_grad():
        values = second(module, first(module, torch.from_numpy(x))).numpy()
    finding = named(module, "", x, values)
    # a step behind the next one says it, too
    assert finding.slug in ("norm-placement", "moved-step"), finding
    assert norm in finding.claim


def test_a_healthy_block_has_no_finding():
    module, x = varied(Residual()), tokens(2, 4, 6)
    report = probe.check(module, "", x, expected=of(module, x))
    assert report.ok
    assert not report.findings


def decoder(kind, **more):
    torch.manual_seed(0)
    name = f"{kind}Config"
    config = getattr(transformers, name)(
        vocab_size=40,
        hidden_size=24,
        intermediate_size=36,
        num_hidden_layers=1,
        num_attention_heads=3,
        attn_implementation="eager",
        **more,
    )
    return varied(getattr(transformers, f"{kind}Model")(config), 0.1)


def test_an_rms_norm_that_subtracts_the_mean():
    model = decoder("Llama", num_key_value_heads=3)
    ids = np.random.default_rng(0).integers(0, 40, (2, 7))

    def layer_norm(norm):
        def forward(x):
            c = x - x.mean(-1, keepdim=True)
            return norm.weight * c * torch.rsqrt((c**2).mean(-1, keepdim=True) + 1e-6)

        return forward

    other = decoder("Llama", num_key_value_heads=3)
    for norm in (other.layers[0].input_layernorm, other.layers[0].post_attention_layernorm):
        norm.forward = layer_norm(norm)
    seen = []
    other.layers[0].register_forward_hook(lambda _m, _x, y: seen.append(y))
    with torch.no_grad():
        other(torch.from_numpy(ids))
    finding = named(model, "layers.0", (ids,), seen[0].numpy())
    assert finding.slug == "centred-norm"
    assert "input_layernorm and post_attention_layernorm" in finding.claim


@pytest.mark.parametrize("last", ["mlp", "self_attn"])
def test_parallel_branches_computed_one_after_the_other(last):
    """Cohere norms once for both; the last branch of a port takes the sum with the other, normed
    again. Attention takes a mask and positions besides."""
    model = decoder("Cohere", pad_token_id=0, eos_token_id=1, use_cache=False)
    ids = np.random.default_rng(0).integers(1, 40, (2, 7))
    block, given = model.layers[0], []

    def keep(module, args, kwargs):
        given.append((args, kwargs))

    hook = block.register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        model(torch.from_numpy(ids))
        hook.remove()
        (x, *_), kwargs = given[0]
        branches = {
            "mlp": block.mlp,
            "self_attn": lambda y: block.self_attn(hidden_states=y, **kwargs)[0],
        }
        (other,) = branches.keys() - {last}
        h = x + branches[other](block.input_layernorm(x))
        values = (h + branches[last](block.input_layernorm(h))).numpy()
    finding = named(model, "layers.0", (ids,), values)
    assert finding.slug == "sequential-branches"
    assert finding.claim.startswith(f"the branch of {last}"), finding


class Stack(nn.Module):
    """Three layers of a convolution and an activation, as a network repeats them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.SiLU()) for _ in range(3)
        )

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


EVERYWHERE = {
    "flipped-kernel": lambda conv, x: F.silu(
        F.conv2d(x, conv.weight.flip(2, 3), conv.bias, padding=1)
    ),
    "other-activation": lambda conv, x: F.relu(conv(x)),
    "missing-bias": lambda conv, x: F.silu(F.conv2d(x, conv.weight, padding=1)),
}


@pytest.mark.parametrize("slug", EVERYWHERE)
def test_a_mistake_in_every_layer(slug):
    stack, x = varied(Stack(), 0.2), tokens(2, 3, 6, 5)
    with torch.no_grad():
        y = torch.from_numpy(x)
        for layer in stack.layers:
            y = EVERYWHERE[slug](layer[0], y)
    finding = named(stack, "", x, y.numpy())
    assert finding.slug == slug, finding
    assert all(f"layers.{number}." in finding.claim for number in range(3)), finding


class Sparse(nn.Module):
    """More than half of what it gives is 0, where next to nothing is allowed."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return F.relu(self.conv(x))


def test_a_bias_behind_an_activation_that_mostly_gives_0():
    model, x = varied(Sparse(), 0.2), tokens(2, 3, 7, 6)
    with torch.no_grad():
        model.conv.bias.sub_(0.7)
        conv = F.conv2d(torch.from_numpy(x), model.conv.weight)
        values = (F.relu(conv) + model.conv.bias[:, None, None]).numpy()
    assert (of(model, x) == 0).mean() > 0.5
    finding = named(model, "", x, values)
    assert finding.slug == "moved-step"
    assert "relu" in finding.claim.lower(), finding


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 5)

    def forward(self, x):
        y = self.first(x)
        return self.last(torch.cat([y[..., 4:], y[..., :4]], -1))


def test_what_is_not_the_same_is_not_said_to_be():
    """Each half begins elsewhere: that is no mistake made twice."""
    module, x = varied(Halves()), tokens(3, 6)
    with torch.no_grad():
        values = module.last(module.first(torch.from_numpy(x))).numpy()
    finding = named(module, "", x, values)
    assert "the same in" not in finding.claim, finding


class Ordered(nn.Module):
    """The parts of PyTorch's decoder layer in an order, of one layer or of two."""

    def __init__(self, norm_first, order=(0, 1, 2), layers=1):
        super().__init__()
        self.order, self.norm_first = order, norm_first
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                *(12, 3, 20), dropout=0.0, batch_first=True, norm_first=norm_first
            )
            for _ in range(layers)
        )

    def forward(self, x, memory):
        for layer in self.layers:
            parts = [
                (layer.norm1, lambda y, layer=layer: layer._sa_block(y, None, None)),
                (layer.norm2, lambda y, layer=layer: layer._mha_block(y, memory, None, None)),
                (layer.norm3, layer._ff_block),
            ]
            for norm, part in (parts[at] for at in self.order):
                x = x + part(norm(x)) if self.norm_first else norm(x + part(x))
        return x


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(
    ("order", "words"),
    [
        ((1, 0, 2), ("norm2", "multihead_attn")),
        ((0, 2, 1), ("norm3", "linear1")),
        ((2, 0, 1), ("norm3", "linear1")),
        ((0, 1, 2), ()),
    ],
)
def test_parts_of_a_block_in_another_order(order, words, norm_first):
    port = varied(Ordered(norm_first, order))
    x, memory = tokens(2, 5, 12), tokens(2, 7, 12, seed=2)
    with torch.no_grad():
        values = port(torch.from_numpy(x), torch.from_numpy(memory)).numpy()
    if not words:
        assert probe.check(port.layers[0], "", (x, memory), expected=values).ok
        return
    finding = named(port.layers[0], "", (x, memory), values)
    assert finding.slug == "exchanged-parts", finding
    assert finding.claim.startswith(words), finding


def test_two_layers_of_a_network_exchanged():
    model, x = varied(nn.Sequential(*(encoder_layer(True) for _ in range(2)))), tokens(2, 5, 12)
    with torch.no_grad():
        values = model[0](model[1](torch.from_numpy(x))).numpy()
    finding = named(model, "", x, values)
    assert finding.slug == "exchanged-parts", finding
    before, _, after = finding.claim.partition(" are computed before ")
    assert before.startswith("1.norm1") and after.startswith("0.norm1"), finding


class Norms(nn.Module):
    """Norms before and behind each branch, as in Gemma 2."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(4))

    def forward(self, x, skipped=()):
        norms = [nn.Identity() if k in skipped else one for k, one in enumerate(self.norms)]
        x = x + norms[1](torch.tanh(self.first(norms[0](x))))
        return x + norms[3](torch.tanh(self.second(norms[2](x))))


@pytest.mark.parametrize("skipped", [(1, 3), (0, 2)])
def test_the_norms_at_one_place_of_each_branch_are_left_out(skipped):
    model, x = varied(Norms()), tokens(2, 4, 6)
    with torch.no_grad():
        values = model(torch.from_numpy(x), skipped).numpy()
    finding = named(model, "", x, values)
    assert finding.slug == "missing-step", finding
    assert all(f"norms.{k}" in finding.claim for k in skipped), finding
