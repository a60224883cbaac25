"""MultiheadAttention in all its arguments, and the modules made of it."""

import numpy as np
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from probe.adapters.torch import open_model

import probe

nn = torch.nn
BOTH = [False, True]


class Called(nn.Module):
    """A module called with keyword arguments: the tensors among them are inputs of this one, in order."""

    def __init__(self, inner, names=(), **options):
        super().__init__()
        self.inner, self.names, self.options = inner, names, options

    def forward(self, *given):
        count = len(given) - len(self.names)
        return self.inner(*given[:count], **dict(zip(self.names, given[count:], strict=True)), **self.options)


def drawn(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module.eval()


def checked(module, given, names=(), dtype=torch.float32, **options):
    """The report of the call; every party is there, all outputs agree."""
    report = probe.check(open_model(Called(module.to(dtype), names, **options).eval()), "inner", list(given))
    # A few numbers in bfloat16 may span less than their rounding: nothing to judge, but all parties lie within it.
    settled = report.ok or ("own range" in report.sentence and all(one.ok for one in report.comparisons.values()))
    assert settled and tuple(report.outputs) == ("framework", "numpy", "onnx"), f"{module} {options}\n{report}"
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
    found = {name: one for name, one in (("attn_mask", mask), ("key_padding_mask", padding)) if one is not None}
    if kind == "float":
        return {name: np.where(one, -np.inf, rng.normal(size=one.shape)).astype(np.float32) for name, one in found.items()}
    return found


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    options=st.fixed_dictionaries({name: st.booleans() for name in ("bias", "add_bias_kv", "add_zero_attn", "batch_first")}),
    dims=st.sampled_from([(None, None), (5, None), (None, 3), (6, 10)]),
    heads=st.sampled_from([1, 2, 3]),
    call=st.fixed_dictionaries({"need_weights": st.booleans(), "average_attn_weights": st.booleans()}),
    masks=st.tuples(st.sampled_from(["bool", "float"]), st.sampled_from(["", "attn", "each", "padding", "both"])),
    sizes=st.tuples(st.sampled_from([0, 1, 3]), st.integers(1, 5), st.integers(2, 6)),
    together=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    seed=st.integers(0, 2**32 - 1),
)
def test_multihead_attention(options, dims, heads, call, masks, sizes, together, dtype, seed):
    """Without a batch where its size is 0; ``together`` is self-attention, which may take PyTorch's fused kernel."""
    rng = np.random.default_rng(seed)
    batch, queries, positions = sizes
    positions = queries if together else positions
    kdim, vdim = (None, None) if together else dims
    module = drawn(nn.MultiheadAttention(6, heads, kdim=kdim, vdim=vdim, **options), seed % 1000)

    def tensor(length, features):
        shape = (length, features) if not batch else (batch, length, features) if options["batch_first"] else (length, batch, features)
        return rng.normal(size=shape).astype(np.float32)

    query = tensor(queries, 6)
    given = [query] * 3 if together else [query, tensor(positions, kdim or 6), tensor(positions, vdim or 6)]
    extra = masks_of(rng, batch, heads, queries, positions, *masks)
    report = checked(module, [*given, *extra.values()], tuple(extra), dtype, **call)
    assert len(report.outputs["numpy"]) == 2 if call["need_weights"] else isinstance(report.outputs["numpy"], np.ndarray)
    assert all(np.array_equal(report.weights[name].stored, one.float()) for name, one in module.state_dict().items())
