"""Gates of recurrences as other code computes them, groups of other sizes, windows of layers that
have none."""

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


def copied(module, kind, *args, **kwargs):
    other = kind(*args, **kwargs)
    other.load_state_dict(module.state_dict())
    return other.eval()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("by", [1.0, -1.0])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_forget_gate_with_another_bias(by, layers):
    torch.manual_seed(0)
    module, x = nn.LSTM(5, 6, layers).eval(), drawn(7, 2, 5)
    other = copied(module, nn.LSTM, 5, 6, layers)
    with torch.no_grad():
        for k in range(layers):
            getattr(other, f"bias_hh_l{k}")[6:12] += by
    finding = named(module, "", x, of(other, x))
    assert finding.slug == "initial-state"
    what = "added to" if by > 0 else "subtracted from"
    assert finding.claim == f"1 is {what} the bias of the forget gate"


def gru(x, kernel, recurrent, bias, turned):
    """Keras' GRU with reset_after: z, r, h; ``turned``: as the paper writes it."""
    h = np.zeros((len(x), recurrent.shape[0]), np.float32)
    for t in range(x.shape[1]):
        (xz, xr, xh), (hz, hr, hh) = (
            np.split(one, 3, -1) for one in (x[:, t] @ kernel + bias[0], h @ recurrent + bias[1])
        )
        z, r = sigmoid(xz + hz), sigmoid(xr + hr)
        new = np.tanh(xh + r * hh)
        h = (1 - z) * h + z * new if turned else z * h + (1 - z) * new
    return h


@pytest.mark.tensorflow
def test_an_update_gate_the_other_way_in_keras():
    keras = import_module("keras")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 4)), keras.layers.GRU(5, name="gru")])
    weights = [drawn(*one.shape) for one in model.layers[0].get_weights()]
    model.layers[0].set_weights(weights)
    x = drawn(3, 6, 4)
    report = probe.check(model, "gru", x, expected=gru(x, *weights, turned=False))
    assert report.verdict == "agree" and not report.findings, report
    finding = named(model, "gru", x, gru(x, *weights, turned=True))
    assert finding.slug == "gate-order"
    assert finding.claim == "the state is (1 - z) h + z n; the layer's is z h + (1 - z) n"


def test_an_update_gate_the_other_way_in_torch():
    torch.manual_seed(0)
    module, x = nn.GRU(5, 6, bidirectional=True).eval(), drawn(7, 2, 5)
    other = copied(module, nn.GRU, 5, 6, bidirectional=True)
    with torch.no_grad():
        for one in other.parameters():
            one[6:12] *= -1
    finding = named(module, "", x, of(other, x))
    assert finding.slug == "gate-order"
    assert finding.claim == "the state is (1 - z) h + z n; the layer's is z h + (1 - z) n"


@pytest.mark.parametrize("groups", [1, 3, 12])
def test_another_number_of_groups(groups):
    torch.manual_seed(0)
    module, x = nn.GroupNorm(4, 12).eval(), drawn(2, 12, 5, 5)
    with torch.no_grad():
        module.weight.add_(torch.randn(12))
        values = F.group_norm(torch.from_numpy(x), groups, module.weight, module.bias, module.eps)
    finding = named(module, "", x, values.numpy())
    assert finding.slug == "group-axis"
    size = 12 // groups
    told = f"{groups} group{'s' * (groups > 1)} of {size} channel{'s' * (size > 1)}"
    assert finding.claim == f"{told} instead of 4 groups of 3"


class Causal(nn.Module):
    """Causal attention, by a flag or by a mask that it is given."""

    def forward(self, q, k, v, mask=None):
        if mask is None:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.mark.parametrize("width", [1, 4, 7])
@pytest.mark.parametrize("by_mask", [False, True])
def test_a_window_that_the_layer_does_not_have(width, by_mask):
    qkv = [drawn(2, 3, 10, 4) for _ in range(3)]
    apart = np.arange(10)[:, None] - np.arange(10)
    window = torch.from_numpy((apart >= 0) & (apart < width))
    values = F.scaled_dot_product_attention(*map(torch.from_numpy, qkv), attn_mask=window).numpy()
    given = [*qkv, apart >= 0] if by_mask else qkv
    finding = named(Causal(), "", tuple(given), values)
    assert finding.slug == "window-off-by-one"
    assert (
        finding.claim == f"a window of {width} positions is applied, which the layer does not have"
    )


@pytest.mark.parametrize("by_mask", [False, True])
def test_weights_masked_after_the_softmax(by_mask):
    qkv = [drawn(2, 3, 10, 4) for _ in range(3)]
    apart = np.arange(10)[:, None] - np.arange(10)
    q, k, v = map(torch.from_numpy, qkv)
    weights = torch.softmax(q @ k.transpose(-1, -2) / 2, -1) * torch.from_numpy(apart >= 0)
    finding = named(Causal(), "", (*qkv, apart >= 0)[: 3 + by_mask], (weights @ v).numpy())
    assert finding.slug == "attention-mask"
    assert "set to 0 after the softmax" in finding.claim


class Cross(nn.Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


def test_a_softmax_over_the_queries():
    arrays = drawn(2, 3, 6, 4), drawn(2, 3, 9, 4), drawn(2, 3, 9, 5)
    q, k, v = map(torch.from_numpy, arrays)
    weights = torch.softmax(q @ k.transpose(-1, -2) / 2, -2)
    finding = named(Cross(), "", arrays, (weights @ v).numpy())
    assert finding.slug == "wrong-axis"
    assert finding.claim.startswith("the softmax of the scores is over the queries")


def test_a_mask_of_truth_values_off_by_one():
    qkv = [drawn(2, 3, 10, 4) for _ in range(3)]
    apart = np.arange(10)[:, None] - np.arange(10)
    values = F.scaled_dot_product_attention(
        *map(torch.from_numpy, qkv), attn_mask=torch.from_numpy(apart >= -1)
    ).numpy()
    finding = named(Causal(), "", (*qkv, apart >= 0), values)
    assert finding.slug == "mask-off-by-one"
    assert finding.claim == "queries see the next position too"


class Masked(nn.Module):
    """Attention whose mask is true where it hides."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, x, mask):
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


def test_a_mask_that_hides_what_is_true_off_by_one():
    torch.manual_seed(0)
    module, x = Masked().eval(), drawn(2, 8, 12)
    apart = np.arange(8)[:, None] - np.arange(8)
    with torch.no_grad():
        values = module(torch.from_numpy(x), torch.from_numpy(apart < -1)).numpy()
    finding = named(module, "attention", (x, apart < 0), values)
    assert finding.slug == "mask-off-by-one"
    assert finding.claim == "queries see the next position too"


class Padded(nn.Module):
    """A convolution behind a padding of its own, as converted models have it."""

    def __init__(self, pads):
        super().__init__()
        self.pads, self.conv = pads, nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, x, pads=None):
        before, after = pads or self.pads
        return self.conv(F.pad(x, (before, after, before, after)))


@pytest.mark.parametrize(
    ("own", "other", "words"),
    [
        ((0, 1), (1, 0), "on the other side"),
        ((1, 1), (0, 2), "at the end alone"),
        ((1, 1), (2, 0), "at the start alone"),
        ((0, 2), (1, 1), "equally on both sides"),
    ],
)
def test_a_padding_before_a_convolution_on_other_sides(own, other, words):
    torch.manual_seed(0)
    module, x = Padded(own).eval(), drawn(2, 3, 9, 9)
    with torch.no_grad():
        values = module(torch.from_numpy(x), other).numpy()
    finding = named(module, "", x, values)
    assert finding.slug == "padding-on-other-side"
    assert finding.claim == (f"padded {words}; the layer pads {own[0]} before and {own[1]} after")


def test_kernels_in_another_order_than_their_biases():
    torch.manual_seed(0)
    module, x = nn.LSTM(5, 6).eval(), drawn(7, 2, 5)
    other = copied(module, nn.LSTM, 5, 6)
    with torch.no_grad():
        for weight in (other.weight_ih_l0, other.weight_hh_l0):
            weight.copy_(weight.reshape(4, 6, -1)[[0, 1, 3, 2]].reshape(weight.shape))
    finding = named(module, "", x, of(other, x))
    assert finding.slug == "gate-order"
    assert finding.claim == (
        "the gate blocks of the kernels, not those of the biases, are read as i f o g; the layer's "
        "are i f g o"
    )
