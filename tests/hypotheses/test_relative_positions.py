"""Relative position biases that come as an input: T5's attention, with the buckets of its own
function and with others."""

from functools import cache

import numpy as np
import pytest
import torch
import transformers
from transformers.models.t5.modeling_t5 import T5Attention

import probe
from probe.hypotheses.attention.relative_positions import _buckets

STEPS, NAME = 14, "encoder.block.0.layer.0.SelfAttention"


@cache
def made(decodes=False):
    config = transformers.T5Config(
        vocab_size=40,
        d_model=24,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=3,
        relative_attention_num_buckets=12,
        relative_attention_max_distance=20,
        is_decoder=decodes,
    )
    torch.manual_seed(0)
    if decodes:
        model = transformers.models.t5.modeling_t5.T5Stack(config)
        model.set_input_embeddings(torch.nn.Embedding(40, 24))
    else:
        model = transformers.T5EncoderModel(config)
    with torch.no_grad():
        for one in model.parameters():
            one.copy_(0.4 * torch.randn_like(one))
    return model.eval()


def buckets(apart, count, both, furthest=20, log=True, cut=np.trunc):
    """The bucket of each distance, one by one."""
    rows = np.zeros_like(apart)
    for place, distance in np.ndenumerate(apart):
        many, far, start = count, max(-distance, 0), 0
        if both:
            many, far, start = count // 2, abs(distance), count // 2 * (distance > 0)
        exact = many // 2
        if log and far >= exact:
            share = np.log(np.float32(far / exact)) / np.log(furthest / exact)
            far = exact + cut(share * (many - exact))
        rows[place] = start + min(far, many - 1)
    return rows.astype(int)


def port(model, ids, name=NAME, hidden=None, **other):
    weights = {key: one.detach().numpy() for key, one in model.named_parameters()}
    stack = name.partition("block")[0]
    embedded = model.get_input_embeddings().weight.detach().numpy()[ids]
    norm = weights[f"{stack}block.0.layer.0.layer_norm.weight"]
    x = embedded / np.sqrt(np.square(embedded).mean(-1, keepdims=True) + 1e-6) * norm
    q, k, v = (
        (x @ weights[f"{name}.{one}.weight"].T).reshape(*ids.shape, 3, 8).swapaxes(1, 2)
        for one in "qkv"
    )
    table = weights[f"{name}.relative_attention_bias.weight"]
    apart = np.arange(STEPS) - np.arange(STEPS)[:, None]
    scores = q @ k.swapaxes(-1, -2) + np.moveaxis(table[buckets(apart, 12, **other)], -1, 0)
    scores = scores if hidden is None else np.where(apart > 0, -np.inf, scores)
    share = np.exp(scores - scores.max(-1, keepdims=True))
    y = (share / share.sum(-1, keepdims=True)) @ v
    return y.swapaxes(1, 2).reshape(*ids.shape, -1) @ weights[f"{name}.o.weight"].T


IDS = np.random.default_rng(0).integers(0, 40, (2, STEPS))
MISTAKES = {
    "the buckets are unidirectional": {"both": False},
    "the far buckets are not logarithmic": {"both": True, "log": False},
    "the logarithm is rounded instead of truncated": {"both": True, "cut": np.rint},
    "max_distance is 128": {"both": True, "furthest": 128},
    "max_distance is 8:": {"both": True, "furthest": 8},
}


def asked(model, name, given, values):
    report = probe.check(model, name, given, expected=[values.astype(np.float32), None])
    assert not report.findings or report.verdict == "diverge"
    return report


def test_the_right_buckets_agree():
    report = asked(made(), NAME, {"input_ids": IDS}, port(made(), IDS, both=True))
    assert report.verdict == "agree" and not report.findings


@pytest.mark.parametrize("words", MISTAKES)
def test_other_buckets(words):
    report = asked(made(), NAME, {"input_ids": IDS}, port(made(), IDS, **MISTAKES[words]))
    finding = report.findings[0]
    assert finding.slug == "relative-buckets" and finding.left <= 1, report
    assert words in finding.claim and "relative_attention_bias" in finding.claim


def test_two_way_buckets_in_a_decoder_whose_later_positions_are_hidden():
    model, name = made(decodes=True), "block.0.layer.0.SelfAttention"
    given = {"input_ids": IDS, "use_cache": False}
    right, wrong = (port(model, IDS, name, hidden=True, both=both) for both in (False, True))
    assert asked(model, name, given, right).verdict == "agree"
    finding = asked(model, name, given, wrong).findings[0]
    assert finding.slug == "relative-buckets" and finding.left <= 1, finding
    assert "the buckets are bidirectional" in finding.claim


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("count", "furthest"), [(32, 128), (8, 20), (12, 20), (16, 64)])
def test_the_formula_is_that_of_transformers(count, furthest, both):
    apart = np.arange(60) - np.arange(60)[:, None]
    theirs = T5Attention._relative_position_bucket(
        torch.from_numpy(apart), both, num_buckets=count, max_distance=furthest
    )
    assert np.array_equal(_buckets(apart, count, both, furthest), theirs.numpy())
