"""What an input of a language model could not have revealed: positions, windows, heads."""

import numpy as np
import pytest
import torch
import transformers
from transformers.models.llama import modeling_llama

import probe


def said(report, words):
    """Whether it is told, among what is not detectable or the notes."""
    assert report.ok, report.sentence
    return any(words in told for told in (*report.blind, *report.notes))


SMALL = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}


@pytest.fixture
def language_model():
    """A small model of a kind and its options, with the same random weights each time."""

    def make(kind, **options):
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**{**SMALL, **options})
        return getattr(transformers, f"{kind}Model")(config).eval()

    return make


def attended(model, count):
    """What the first attention puts out for so many tokens."""
    seen = []
    module = model.get_submodule("layers.0.self_attn")
    hook = module.register_forward_hook(lambda _m, _x, output: seen.append(output[0]))
    with torch.no_grad():
        model(torch.arange(count)[None])
    hook.remove()
    return seen[0].numpy()


@pytest.mark.parametrize(("count", "missed"), [(1, True), (5, False)])
def test_position_0_alone_shows_no_rotation(language_model, count, missed):
    model, other = (
        language_model("Llama", num_key_value_heads=2, rope_parameters=rope)
        for rope in (
            {"rope_type": "default", "rope_theta": 1e4},
            {"rope_type": "default", "rope_theta": 10.0},
        )
    )
    report = probe.check(model, "layers.0.self_attn", np.arange(count)[None])
    assert said(report, "position 0 alone") == missed
    assert np.array_equal(attended(model, count), attended(other, count)) == missed
    assert said(report, "there is one position, so queries") == (count == 1)


@pytest.mark.parametrize(("heads", "missed"), [(1, True), (2, False)])
def test_one_key_and_value_head_shows_no_order_of_heads(language_model, heads, missed, monkeypatch):
    for attention in ("sdpa", "eager"):
        model = language_model("Llama", num_key_value_heads=heads, attn_implementation=attention)
        report = probe.check(model, "layers.0.self_attn", np.arange(5)[None])
        assert said(report, "one key and value head serves all heads") == missed
    right = attended(model, 5)
    monkeypatch.setattr(modeling_llama, "repeat_kv", lambda x, count: x.repeat(1, count, 1, 1))
    assert np.allclose(attended(model, 5), right, atol=1e-6) == missed


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("count", "missed"), [(4, True), (7, False)])
def test_a_sequence_within_the_window_shows_no_window(language_model, attention, count, missed):
    options = {"num_key_value_heads": 2, "attn_implementation": attention}
    model = language_model("Mistral", sliding_window=4, **options)
    report = probe.check(model, "layers.0.self_attn", np.arange(count)[None])
    assert said(report, "within the sliding window of 4") == missed
    unlimited = language_model("Mistral", sliding_window=None, **options)
    same = np.allclose(attended(model, count), attended(unlimited, count), atol=1e-6)
    assert same == missed
