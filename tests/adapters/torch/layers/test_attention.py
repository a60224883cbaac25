"""MultiheadAttention in all its arguments, and the modules made of it."""

import numpy as np
import pytest
import torch
from hypothesis import Phase, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.torch import open_model

import probe

nn = torch.nn
BOTH = [False, True]


class Called(nn.Module):
    """A module called with keyword arguments: the tensors among them are inputs of this one, in
    order.

    ``together`` calls it on its first input as query, key and value.
    """

    def __init__(self, inner, names=(), **options):
        super().__init__()
        self.together = options.pop("together", False)
        self.inner, self.names, self.options = inner, names, options

    def forward(self, *given):
        given = (given[0],) * 3 + given[1:] if self.together else given
        count = len(given) - len(self.names)
        return self.inner(
            *given[:count], **dict(zip(self.names, given[count:], strict=True)), **self.options
        )


def drawn(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.eval()


def checked(module, given, names=(), dtype=torch.float32, **options):
    """The report of the call; every party is there, all outputs agree."""
    report = probe.check(
        open_model(Called(module.to(dtype), names, **options).eval()), "inner", list(given)
    )
    # A few numbers in bfloat16 may span less than their rounding: nothing to judge, but all parties
    # lie within it.
    settled = report.ok or (
        "own range" in report.sentence and all(one.ok for one in report.comparisons.values())
    )
    assert settled and tuple(report.outputs) == ("framework", "numpy", "onnx"), (
        f"{module} {options}\n{report}"
    )
    return report


def masks_of(rng, batch, heads, queries, positions, kind, which):
    """attn_mask and key_padding_mask that leave every query its first position."""
    mask = padding = None
    if which in ("attn", "both"):
        mask = rng.random((queries, positions)) < 0.3
        mask[:, 0] = False
    if which == "each":
        mask = rng.random((max(1, batch) * heads, queries, positions)) < 0.3
        mask[..., 0] = False
    if which in ("padding", "both"):
        padding = rng.random((batch, positions) if batch else positions) < 0.4
        padding[..., 0] = False
    found = {
        name: one
        for name, one in (("attn_mask", mask), ("key_padding_mask", padding))
        if one is not None
    }
    if kind == "float":
        return {
            name: np.where(one, -np.inf, rng.normal(size=one.shape)).astype(np.float32)
            for name, one in found.items()
        }
    return found


@examples(20, phases=[Phase.explicit, Phase.generate])
@given(
    options=st.fixed_dictionaries(
        {name: st.booleans() for name in ("bias", "add_bias_kv", "add_zero_attn", "batch_first")}
    ),
    dims=st.sampled_from([(None, None), (5, None), (None, 3), (6, 10)]),
    heads=st.sampled_from([1, 2, 3]),
    call=st.fixed_dictionaries(
        {"need_weights": st.booleans(), "average_attn_weights": st.booleans()}
    ),
    masks=st.tuples(
        st.sampled_from(["bool", "float"]), st.sampled_from(["", "attn", "each", "padding", "both"])
    ),
    sizes=st.tuples(st.sampled_from([0, 1, 3]), st.integers(1, 5), st.integers(2, 6)),
    together=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_multihead_attention(options, dims, heads, call, masks, sizes, together, dtype, seed):
    """Without a batch where its size is 0; ``together`` is self-attention, which may take PyTorch's
    fused kernel."""
    rng = np.random.default_rng(seed)
    batch, queries, positions = sizes
    positions = queries if together else positions
    kdim, vdim = (None, None) if together else dims
    module = drawn(nn.MultiheadAttention(6, heads, kdim=kdim, vdim=vdim, **options), seed % 1000)

    def tensor(length, features):
        shape = (
            (length, features)
            if not batch
            else (batch, length, features)
            if options["batch_first"]
            else (length, batch, features)
        )
        return rng.normal(size=shape).astype(np.float32)

    query = tensor(queries, 6)
    given = (
        [query] if together else [query, tensor(positions, kdim or 6), tensor(positions, vdim or 6)]
    )
    extra = masks_of(rng, batch, heads, queries, positions, *masks)
    report = checked(
        module, [*given, *extra.values()], tuple(extra), dtype, together=together, **call
    )
    assert (
        len(report.outputs["numpy"]) == 2
        if call["need_weights"]
        else isinstance(report.outputs["numpy"], np.ndarray)
    )
    assert all(
        np.array_equal(report.weights[name].stored, one.float())
        for name, one in module.state_dict().items()
    )


def named(masks, word):
    """The masks by the names that Transformer layers give them."""
    return {
        name.replace("attn", word) if "attn" in name else f"{word}_{name}": one
        for name, one in masks.items()
    }


LAYERS = {
    "TransformerEncoderLayer": {
        "dim_feedforward": [7, 12],
        "activation": ["relu", "gelu", nn.SiLU()],
    },
    "TransformerDecoderLayer": {
        "dim_feedforward": [7, 12],
        "activation": ["relu", "gelu", nn.Tanh()],
    },
}


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("batch_first", BOTH)
@pytest.mark.parametrize("norm_first", BOTH)
@pytest.mark.parametrize("masks", ["", "both"])
def test_transformer_layers(batch_first, norm_first, masks):
    rng = np.random.default_rng(0)
    lengths = (4, 6)

    def tensor(length):
        return rng.normal(size=(2, length, 8) if batch_first else (length, 2, 8)).astype(np.float32)

    for number, (name, options) in enumerate(LAYERS.items()):
        kind, decodes = getattr(nn, name), "Decoder" in name
        for at, activation in enumerate(options["activation"]):
            wide = options["dim_feedforward"][at % 2]
            layer = drawn(
                kind(
                    8,
                    2,
                    wide,
                    activation=activation,
                    bias=at != 1,
                    batch_first=batch_first,
                    norm_first=norm_first,
                ),
                at,
            )
            extra = named(masks_of(rng, 2, 2, 4, 4, "bool", masks), "tgt" if decodes else "src")
            if decodes:
                extra |= named(masks_of(rng, 2, 2, *lengths, "bool", masks), "memory")
            inputs = [tensor(4), tensor(6)] if decodes else [tensor(4)]
            checked(
                layer,
                [*inputs, *extra.values()],
                tuple(extra),
                torch.float64 if number == at else torch.float32,
            )


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("batch_first", BOTH)
def test_whole_transformers(batch_first):
    rng = np.random.default_rng(0)
    model = drawn(nn.Transformer(8, 2, 2, 1, 12, batch_first=batch_first))
    source, target = (
        rng.normal(size=(2, n, 8) if batch_first else (n, 2, 8)).astype(np.float32) for n in (5, 3)
    )
    causal = np.triu(np.ones((3, 3), bool), 1)
    padding = np.zeros((2, 5), bool)
    padding[1, 3:] = True
    checked(
        model,
        [source, target, causal, padding],
        ("tgt_mask", "memory_key_padding_mask"),
        tgt_is_causal=True,
    )
    checked(model.encoder, [source, padding], ("src_key_padding_mask",))
    checked(model.decoder, [target, source, causal], ("tgt_mask",))
    reports = list(probe.sweep(open_model(model), [source, target]))
    kinds = {report.kind for report in reports}
    assert {
        "MultiheadAttention",
        "Linear",
        "LayerNorm",
    } <= kinds and "TransformerEncoderLayer" not in kinds
    assert all(
        report.ok
        for report in reports
        if report.kind in ("MultiheadAttention", "Linear", "LayerNorm")
    )
    found = probe.check(open_model(model), "encoder.layers.1", [source, target])
    assert (
        found.ok
        and found.kind == "TransformerEncoderLayer"
        and "self_attn.in_proj_weight" in found.weights
    )


def test_padded_positions_of_an_encoder_are_left_as_they_are():
    """PyTorch's nested tensors write zeros there; nothing of the module is changed by watching."""
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    model = drawn(nn.TransformerEncoder(layer, 2))
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    padding = np.zeros((2, 4), bool)
    padding[0, 2:] = True
    report = probe.check(
        open_model(Called(model, ("src_key_padding_mask",))),
        "inner.layers.1.self_attn",
        [x, padding],
    )
    assert report.ok and any(
        "capturing activations changes the result" in note for note in report.notes
    )
    assert model.use_nested_tensor


def test_a_query_that_may_attend_to_nothing():
    """NaN with weights and in the fused kernel, 0 for the heads without; in a Transformer layer as
    the attention gives it while it is watched."""
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    padding = np.zeros((2, 3), bool)
    padding[0] = True
    for heads, need_weights, gives_nan in ((2, True, True), (2, False, True), (1, False, False)):
        module = drawn(nn.MultiheadAttention(8, heads, batch_first=True))
        report = checked(
            module, [x, padding], ("key_padding_mask",), together=True, need_weights=need_weights
        )
        first = report.outputs["numpy"][0] if need_weights else report.outputs["numpy"]
        assert np.isnan(first[0]).all() == gives_nan
    layer = drawn(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True))
    report = probe.check(layer, "", {"src": x, "src_key_padding_mask": padding})
    assert report.ok and "self_attn" in report.calls
    assert any("capturing activations changes the result" in note for note in report.notes)


@examples(20, phases=[Phase.explicit, Phase.generate])
@given(
    limit=st.sampled_from([None, None, 1.0]),
    padding=st.sampled_from([None, 0, -2]),
    norm=st.sampled_from([1.0, 2.0]),
    mode=st.sampled_from(["rows", "sum", "mean", "max"]),
    flat=st.booleans(),
    closed=st.booleans(),
    weighted=st.booleans(),
    seed=st.integers(0, 999),
)
def test_embeddings(limit, padding, norm, mode, flat, closed, weighted, seed):
    rng = np.random.default_rng(seed)
    options = {"padding_idx": padding, "max_norm": limit, "norm_type": norm}
    indices = rng.integers(0, 7, size=9 if flat else (3, 4))
    if mode == "rows":
        module, given, extra = nn.Embedding(7, 5, **options), [indices], {}
    else:
        module, given = (
            nn.EmbeddingBag(7, 5, mode=mode, include_last_offset=closed and flat, **options),
            [indices],
        )
        extra = {"offsets": np.array([0, 2, 2, 9] if closed else [0, 2, 2])} if flat else {}
        if weighted and mode == "sum":
            extra["per_sample_weights"] = rng.normal(size=indices.shape).astype(np.float32)
    drawn(module, seed)
    before = module.weight.detach().clone()
    report = checked(module, [*given, *extra.values()], tuple(extra))
    assert torch.equal(before, module.weight) and np.array_equal(
        report.weights["weight"].stored, before
    )


def test_an_element_tells_where_its_query_looked():
    x = np.random.default_rng(0).normal(size=(1, 5, 8)).astype(np.float32)
    story = probe.explain(
        drawn(nn.MultiheadAttention(8, 2, batch_first=True)), "", given=[x, x, x], at=(0, 2, 3)
    )
    inner = story.terms[0].inner
    shares = [term.weight_value for term in inner.terms]
    assert (
        len(shares) == 5 and abs(sum(shares) - 1) < 1e-12 and inner.terms[0].weight == "attention"
    )
    assert "attention weights of this query over 5 positions" in inner.steps[-1].words
    weights = probe.explain(drawn(nn.Embedding(7, 4)), "", given=np.array([[3, 5]]), at=(0, 1, 2))
    assert "index 5 selects weight[5, 2]" in str(weights)


@pytest.mark.parametrize("batch_first", BOTH)
def test_a_hint_that_the_mask_is_causal(batch_first):
    rng = np.random.default_rng(0)
    module = drawn(nn.MultiheadAttention(8, 2, batch_first=batch_first))
    x = rng.normal(size=(2, 5, 8) if batch_first else (5, 2, 8)).astype(np.float32)
    for together in BOTH:
        for need_weights in BOTH:
            given = (
                [x, np.triu(np.ones((5, 5), bool), 1)]
                if together
                else [x, x, x, np.triu(np.ones((5, 5), bool), 1)]
            )
            checked(
                module,
                given,
                ("attn_mask",),
                together=together,
                need_weights=need_weights,
                is_causal=True,
            )


class Heads(nn.Module):
    """Grouped-query attention by the function."""

    def __init__(self, **options):
        super().__init__()
        self.options = options
        self.qkv = nn.Linear(8, 16)

    def forward(self, x, *mask):
        q, k, v = self.qkv(x).unflatten(-1, (4, 4)).transpose(1, 2).split([2, 1, 1], 1)
        return nn.functional.scaled_dot_product_attention(
            q, k, v, *mask, enable_gqa=True, **self.options
        )


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}])
def test_the_function(tmp_path, options):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 8)).astype(np.float32)
    mask = rng.random((5, 5)) < 0.6
    for masks in ([], [mask]) if "is_causal" not in options else ([],):
        reports = list(probe.sweep(open_model(drawn(Heads(**options))), [x, *masks]))
        attention = [report for report in reports if "attention" in report.layer]
        assert len(attention) == 1 and all(report.ok for report in reports), [
            str(report) for report in reports if not report.ok
        ]


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("low", [torch.finfo(torch.float32).min, -1e9, -1e6, -torch.inf])
@pytest.mark.parametrize("weights", BOTH)
def test_a_row_that_looks_nowhere(low, weights):
    """Beside such numbers float32 does not hold the scores, which NumPy in float64 still does."""
    mask = torch.zeros(7, 7)
    mask[2] = low
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(2, 7, 8)).astype(np.float32) * 4
        module = Called(
            drawn(nn.MultiheadAttention(8, 2, batch_first=True), seed),
            ("attn_mask",),
            together=True,
            need_weights=weights,
        )
        for report in probe.sweep(module, [x, mask.numpy()]):
            assert report.ok, str(report)
    y = report.outputs["framework"]
    wrong = [one.copy() for one in (y if isinstance(y, tuple) else (y,))]
    wrong[0][0, 3, 1] *= 1.01
    assert (
        probe.check(module, "inner", [x, mask.numpy()], expected=wrong, search=False).verdict
        == "diverge"
    )


def test_attention_to_no_positions_at_all():
    class Attends(nn.Module):
        def forward(self, q, k):
            return nn.functional.scaled_dot_product_attention(q, k, k)

    (report,) = probe.sweep(
        Attends(), [np.ones((2, 3, 4), np.float32), np.ones((2, 0, 4), np.float32)]
    )
    assert report.ok, str(report)


def test_weights_that_vanish_in_float32_have_their_rounding_in_float64():
    x = np.random.default_rng(0).normal(size=(2, 7, 8)) * 6
    module = Called(drawn(nn.MultiheadAttention(8, 2, batch_first=True)).double(), together=True)
    (report,) = probe.sweep(module, [x])
    weights = report.outputs["framework"][1]
    assert 0 < weights[weights > 0].min() < 1e-45
    assert report.ok, str(report)
