"""Every described class against PyTorch itself: options pairwise and at random, the layer called
alone, all parties agreeing."""

import contextlib
import functools
import inspect
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.torch.describe.describe import described
from probe.adapters.torch.describe.module_options import IDLE, READ, _unknown, unread

import probe

pytestmark = pytest.mark.filterwarnings(
    "ignore:Implicit dimension choice:UserWarning",
    # which comes once in a process
    "ignore:Using padding='same' with even kernel lengths and odd dilation:UserWarning",
)
RANKS = (1, 2, 3)
SIZES = [(2, 9, 8, 7), (1, 6, 11, 5)]
BOTH = [False, True]
CASES = {}


NOT_FOR_CONSTRUCTOR = {"sizes", "unbatched", "axes", "lead"}
ELSEWHERE = {
    "device",
    "dtype",
    "args",
    "kwargs",
    "min_value",
    "max_value",
    "process_group",
    "_random_samples",
}
KEPT_OTHERWISE = {"p", "init", "num_channels", "padding_mode"}
"""What a module holds under another name, or in its parameters' values, or has one value alone."""


def case(name, shape, **options):
    """``shape(chosen, sizes)`` gives the input's shape; ``options`` the constructor's, each with
    the values to try.

    An option that this release of PyTorch does not have yet is left out.
    """
    known = inspect.signature(getattr(torch.nn, name)).parameters
    tried = {
        key: values for key, values in options.items() if key in known or key in NOT_FOR_CONSTRUCTOR
    }
    CASES[name] = (shape, {**tried, "sizes": SIZES})


def spatial(rank, channels):
    """(batch, channels, *spatial), or without the batch axis where ``unbatched`` is chosen."""
    return lambda o, n: (n[0], o.get(channels, 4), *n[1 : rank + 1])[bool(o.get("unbatched")) :]


for r in RANKS:
    case(
        f"Conv{r}d",
        spatial(r, "in_channels"),
        in_channels=[4, 2],
        out_channels=[6, 2],
        kernel_size=[3, (2, 3, 1)[:r], 1],
        stride=[1, (3, 1, 2)[:r]],
        padding=[0, (1, 2, 1)[:r], "same", "valid"],
        dilation=[1, (2, 1, 3)[:r]],
        groups=[1, 2],
        bias=BOTH,
        padding_mode=["zeros", "reflect", "replicate", "circular"],
        unbatched=BOTH,
    )
    norms = {
        "num_features": [3, 1],
        "eps": [1e-5, 0.1],
        "momentum": [0.1, None],
        "affine": BOTH,
        "bias": BOTH,
    }
    case(f"BatchNorm{r}d", spatial(r, "num_features"), **norms, track_running_stats=BOTH)
    window = {
        "kernel_size": [2, (3, 2, 4)[:r]],
        "stride": [None, (1, 3, 2)[:r], 3],
        "padding": [0, 1],
        "ceil_mode": BOTH,
        "unbatched": BOTH,
    }
    case(f"MaxPool{r}d", spatial(r, ""), **window, dilation=[1, 2], return_indices=BOTH)
    case(
        f"ConvTranspose{r}d",
        spatial(r, "in_channels"),
        in_channels=[4, 2],
        out_channels=[6, 2],
        kernel_size=[3, (2, 3, 1)[:r], 1],
        stride=[1, (3, 4, 2)[:r]],
        padding=[0, (1, 2, 1)[:r]],
        output_padding=[0, 1],
        groups=[1, 2],
        bias=BOTH,
        dilation=[1, (2, 1, 3)[:r]],
        padding_mode=["zeros"],
        unbatched=BOTH,
    )
    case(
        f"InstanceNorm{r}d",
        spatial(r, "num_features"),
        **norms,
        track_running_stats=BOTH,
        unbatched=BOTH,
    )
    case(
        f"LPPool{r}d",
        lambda o, n, r=r: (n[0], 4, *n[1 : r + 1])[o["unbatched"] :],
        norm_type=[2, 4, 1.0, float("inf"), -float("inf")],
        kernel_size=[2, 3] if r == 1 else [2, (3, 2, 4)[:r]],
        stride=[None, 3],
        ceil_mode=BOTH,
        unbatched=BOTH,
    )
    override = {} if r == 1 else {"divisor_override": [None, 5]}
    case(f"AvgPool{r}d", spatial(r, ""), **window, count_include_pad=BOTH, **override)
    outputs = [1, 3, 4] if r == 1 else [1, (3, 5, 2)[:r], (None, 4, None)[:r]]
    case(f"AdaptiveAvgPool{r}d", spatial(r, ""), output_size=outputs, unbatched=BOTH)
    case(
        f"AdaptiveMaxPool{r}d",
        spatial(r, ""),
        output_size=outputs,
        return_indices=BOTH,
        unbatched=BOTH,
    )
    amounts = [2, (1, 0, 2, 1, 0, 3)[: 2 * r]]
    for mode in ("Reflection", "Replication", "Circular"):
        case(f"{mode}Pad{r}d", spatial(r, ""), padding=amounts, unbatched=BOTH)
    case(
        f"ZeroPad{r}d",
        spatial(r, ""),
        padding=[*amounts, (-1, 2, -2, -1, 0, -1)[: 2 * r]],
        unbatched=BOTH,
    )
    case(
        f"ConstantPad{r}d",
        spatial(r, ""),
        padding=[*amounts, (-1, 2, -2, -1, 0, -1)[: 2 * r]],
        value=[0.0, -1.5],
        unbatched=BOTH,
    )
    case(f"Dropout{r}d", spatial(r, ""), p=[0.0, 0.5], inplace=BOTH)


def anything(o, n):
    return (n[0], o.get("channels", 6), *n[1:3])


def ranks(o, n):
    return (n[0], 6, *n[1:])[: o["axes"]]


case(
    "Linear",
    lambda o, n: (*n[: o["axes"]], o["in_features"]),
    in_features=[5, 1],
    out_features=[7, 1],
    bias=BOTH,
    axes=[0, 1, 3],
)
case(
    "GroupNorm",
    ranks,
    num_groups=[1, 2, 6],
    num_channels=[6],
    eps=[1e-5, 0.1],
    affine=BOTH,
    bias=BOTH,
    axes=[2, 3, 5],
)
case(
    "LayerNorm",
    lambda o, n: (*n[:2], *np.atleast_1d(o["normalized_shape"])),
    normalized_shape=[5, (7, 3), [4, 1, 2]],
    eps=[1e-5, 0.1],
    elementwise_affine=BOTH,
    bias=BOTH,
)
INPLACE = {"inplace": BOTH}
for name, options in {
    "CELU": {"alpha": [1.0, 0.3], **INPLACE},
    "ELU": {"alpha": [1.0, 0.3], **INPLACE},
    "GELU": {"approximate": ["none", "tanh"]},
    "Hardshrink": {"lambd": [0.5, 1.3]},
    "Hardsigmoid": INPLACE,
    "Hardswish": INPLACE,
    "Hardtanh": {"min_val": [-1.0, -0.2], "max_val": [1.0, 2.5], **INPLACE},
    "LeakyReLU": {"negative_slope": [0.01, 1.7], **INPLACE},
    "LogSigmoid": {},
    "Mish": INPLACE,
    "RReLU": {"lower": [0.1, 0.25], "upper": [0.3, 0.9], **INPLACE},
    "ReLU": INPLACE,
    "ReLU6": INPLACE,
    "SELU": INPLACE,
    "SiLU": INPLACE,
    "Sigmoid": {},
    "Softplus": {"beta": [1.0, 0.5, 3], "threshold": [20.0, 1.0]},
    "Softshrink": {"lambd": [0.5, 1.3, 0.0]},
    "Softsign": {},
    "Tanh": {},
    "Tanhshrink": {},
    "Threshold": {"threshold": [0.1, -1.0], "value": [20.0, -3], **INPLACE},
    "PReLU": {"num_parameters": [1, 6], "init": [0.25, -0.5]},
    "Identity": {},
    "Dropout": {"p": [0.0, 0.5], **INPLACE},
    "AlphaDropout": {"p": [0.0, 0.5], **INPLACE},
    "FeatureAlphaDropout": {"p": [0.0, 0.5], **INPLACE},
}.items():
    case(name, ranks, **options, axes=[2, 3, 5])
for name in ("Softmax", "LogSoftmax", "Softmin"):
    case(name, ranks, dim=[None, 0, 1, -1], axes=[2, 3, 4])
case("Softmax2d", spatial(2, ""), unbatched=BOTH)
case("GLU", ranks, dim=[1, -3, -1], axes=[3, 4])
case("Flatten", ranks, start_dim=[1, 0, 2], end_dim=[-1, 2, -2], axes=[4, 5])
case("Unflatten", anything, dim=[1, -3], unflattened_size=[(2, 3), (3, -1), [2, 1, 3]])
RANK_OF = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
case(
    "Upsample",
    lambda o, n: (n[0], 3, *n[1:])[: RANK_OF.get(o["mode"], o["axes"])],
    size=[None, 7, 12],
    scale_factor=[None, 2, 1.5, 0.7, 1.3],
    mode=["nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area"],
    align_corners=[None, True, False],
    recompute_scale_factor=[None, True],
    axes=[3, 4, 5],
)
sync = {
    "num_features": [3, 1],
    "eps": [1e-5, 0.1],
    "momentum": [0.1, None],
    "affine": BOTH,
    "bias": BOTH,
}
case("SyncBatchNorm", spatial(2, "num_features"), **sync, track_running_stats=BOTH)
case(
    "UpsamplingBilinear2d",
    spatial(2, ""),
    size=[None, (7, 12), 5],
    scale_factor=[None, 3, (1.3, 2.0)],
)
window = {
    "kernel_size": [2, (3, 1)],
    "dilation": [1, (2, 1)],
    "padding": [0, (1, 2)],
    "stride": [1, (2, 3)],
}
case("Unfold", spatial(2, ""), **window, unbatched=BOTH)


def columns(o, n):
    """(batch, channels * taps, windows), as many as F.fold wants."""
    module = torch.nn.Unfold(o["kernel_size"], o["dilation"], o["padding"], o["stride"])
    return tuple(module(torch.zeros(n[0], 3, *o["output_size"])).shape[bool(o["unbatched"]) :])


case("Fold", columns, output_size=[(5, 7), (4, 9)], **window, unbatched=BOTH)
case(
    "LocalResponseNorm",
    spatial(2, ""),
    size=[2, 3, 7],
    alpha=[1e-4, 2.0],
    beta=[0.75, 0.5],
    k=[1.0, 2.0],
)
case(
    "CrossMapLRN2d",
    spatial(2, ""),
    size=[1, 2, 3, 5],
    alpha=[1e-4, 2.0],
    beta=[0.75, 0.5],
    k=[1.0, 2.0],
)
case(
    "RMSNorm",
    lambda o, n: (*n[:2], *np.atleast_1d(o["normalized_shape"])),
    normalized_shape=[5, (7, 3), [4, 1, 2]],
    eps=[None, 1e-5, 0.1],
    elementwise_affine=BOTH,
)
case(
    "UpsamplingNearest2d",
    spatial(2, ""),
    size=[None, (7, 12), 5],
    scale_factor=[None, 3, (1.3, 2.0)],
)
case("ChannelShuffle", anything, groups=[1, 2, 3])
case(
    "PixelShuffle", lambda o, n: (*n[: o["lead"]], 36, 3, 5), upscale_factor=[2, 3], lead=[0, 1, 2]
)
case(
    "PixelUnshuffle",
    lambda o, n: (*n[: o["lead"]], 2, 6, 12),
    downscale_factor=[2, 3],
    lead=[0, 1, 2],
)


def build(name, chosen, dtype=torch.float32):
    """The module in evaluation mode, its parameters and statistics drawn."""
    torch.manual_seed(1)
    module = getattr(torch.nn, name)(
        **{key: value for key, value in chosen.items() if key not in NOT_FOR_CONSTRUCTOR}
    )
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        if (tensor.is_floating_point() and key != "weight") or "Norm" in name:
            tensor.data = tensor.data.float().uniform_(0.3, 2.0).to(tensor.dtype)
    return module.to(dtype).eval()


def runs(name, chosen):
    """Whether PyTorch accepts the options and the shape."""
    with contextlib.suppress(RuntimeError, ValueError, IndexError, AssertionError, TypeError):
        with torch.no_grad():
            out = build(name, chosen)(torch.zeros(CASES[name][0](chosen, chosen["sizes"])))
            # A window that sees padding alone has no place to tell.
            return out[0].isfinite().all() if isinstance(out, tuple) else out.numel() > 0
    return False


@pytest.fixture(scope="session")
def draws(pairwise):
    """By class, choices of options in which every two meet, found one after the other."""
    return lambda name: pairwise(CASES[name][1], lambda chosen: runs(name, chosen))


@pytest.fixture(scope="session")
def pairs(draws):
    """All of them, found once for all tests."""
    return functools.cache(lambda name: list(draws(name)))


def test_every_described_class_has_a_case():
    """Here, or in another file of tests/adapters/torch (a TransformerDecoder as the part of a
    Transformer that it is)."""
    text = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("test_*.py")
    )
    assert set(CASES) <= set(described())
    assert not [
        name for name in described() if name not in CASES and not re.search(rf"\b{name}\b", text)
    ]


@pytest.mark.parametrize("name", CASES)
def test_every_option_is_tried_at_two_values(name):
    tried = {
        key: values
        for key, values in CASES[name][1].items()
        if len(values) > 1 or key == "num_channels"
    }
    # it takes "zeros" alone
    tried |= {"padding_mode": None} if name.startswith("ConvTranspose") else {}
    assert set(inspect.signature(getattr(torch.nn, name)).parameters) - ELSEWHERE <= set(tried)


@pytest.mark.exhaustive(default=24)
@pytest.mark.parametrize("name", CASES)
def test_an_option_that_is_not_read_is_told(name, monkeypatch, draws):
    """Each of them left out of the table, and set to other than its default."""
    kind, (_, tried) = getattr(torch.nn, name), CASES[name]
    own = {
        key: one.default
        for key, one in inspect.signature(kind).parameters.items()
        if key in tried and key not in IDLE
    }
    for key, default in own.items():
        chosen = next((one for one in draws(name) if one[key] != default), None)
        module = None if chosen is None else build(name, chosen)
        if module is None or not any(key in space for space in (vars(module), module._parameters)):
            assert key in KEPT_OTHERWISE, (name, key)
            continue
        monkeypatch.setitem(READ, name, READ[name] - {key})
        _unknown.cache_clear()
        assert f"{name} has option {key}=" in unread(module, kind)
        monkeypatch.undo()
        _unknown.cache_clear()


def test_every_activation_module_is_described():
    for name in torch.nn.modules.activation.__all__:
        assert name in CASES or name == "MultiheadAttention"


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", CASES)
def test_options_pairwise(name, agrees, pairs, signal):
    shape, _ = CASES[name]
    for position, chosen in enumerate(pairs(name)):
        dtype = (np.float32, np.float64)[position % 2]
        agrees(
            build(name, chosen, (torch.float32, torch.float64)[position % 2]),
            signal(shape(chosen, chosen["sizes"]), dtype, seed=position),
        )


@pytest.mark.exhaustive(default=24)
@pytest.mark.parametrize("name", CASES)
@examples(25)
@given(data=st.data())
def test_options_at_random(name, data, agrees, signal):
    shape, options = CASES[name]
    chosen = {key: data.draw(st.sampled_from(values)) for key, values in options.items()}
    chosen["sizes"] = data.draw(st.tuples(st.integers(1, 3), *[st.integers(1, 12)] * 3))
    assume(runs(name, chosen))
    agrees(
        build(name, chosen),
        signal(
            shape(chosen, chosen["sizes"]),
            scale=data.draw(st.sampled_from([0.1, 3.0, 40.0])),
            seed=data.draw(st.integers(0, 99)),
        ),
    )


@pytest.mark.parametrize("name", CASES)
def test_saved_and_reopened(name, tmp_path, draws, signal):
    shape, chosen = CASES[name][0], next(draws(name))
    module = torch.nn.Sequential(OrderedDict(before=torch.nn.Identity(), layer=build(name, chosen)))
    x = signal(shape(chosen, chosen["sizes"]))
    torch.save(module.state_dict(), tmp_path / "net.pt")
    torch.save(module, tmp_path / "whole.pt")
    if module.state_dict():
        report = probe.check(
            probe.open_model(tmp_path / "net.pt", factory=lambda: module), "layer", x
        )
        assert report.ok and set(report.weights) <= set(module.layer.state_dict())
    assert probe.check(probe.open_model(tmp_path / "whole.pt", trust=True), "layer", x).ok


@pytest.mark.parametrize(
    "name",
    [
        "Conv2d",
        "MaxPool2d",
        "AvgPool2d",
        "BatchNorm2d",
        "GroupNorm",
        "ReLU",
        "ChannelShuffle",
        "Upsample",
    ],
)
def test_channels_last_memory(name, draws, signal):
    shape, chosen = CASES[name][0], next(draws(name))
    chosen = {**chosen, "unbatched": False, "axes": 4}
    module = torch.nn.Sequential(Strided(), build(name, chosen))
    assert probe.check(module.eval(), "1", signal(shape(chosen, chosen["sizes"]))).ok


class Strided(torch.nn.Module):
    def forward(self, x):
        return x.to(memory_format=torch.channels_last)


# GELU is left out: through oneDNN PyTorch gives NaN for inf where it has two elements or more, and
# inf where it has one.
@pytest.mark.parametrize(
    "name",
    [name for name in CASES if name in torch.nn.modules.activation.__all__ and name != "GELU"],
)
def test_nan_and_inf_go_where_pytorch_puts_them(name, draws):
    module = build(name, next(draws(name)))
    x = np.array(
        [[0.5, np.inf, -np.inf, np.nan, -0.5, 2.0], [-1.0, 1e30, -1e30, 88.0, -104.0, 1e-40]],
        np.float32,
    )[:, :, None]
    report = probe.check(module, "", given=np.concatenate([x, x], axis=2))
    assert report.comparisons["framework", "numpy"].ok, str(report)
