"""Function calls between modules: each described function against PyTorch, and what is a layer and
what is not."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_seed import RNG
from probe.adapters.torch.functions import functions
from representatives import exhaustive
from torch import nn
from torch_functions import Net, assert_close, in_kind, refused

import probe
from probe.errors import BadInput, NotReached, UnknownLayer

FIXED = np.random.default_rng(0)
X = FIXED.normal(size=(2, 3, 4, 6)).astype(np.float32)
Y = torch.from_numpy(FIXED.normal(size=(2, 3, 4, 6)).astype(np.float32))
ROWS = torch.from_numpy(FIXED.normal(size=(6, 5)).astype(np.float32))
AT = torch.tensor([2, 0, 1, 2])
MASK = Y > 0
KERNEL = torch.from_numpy(FIXED.normal(size=(5, 3, 2, 3)).astype(np.float32))
FORM = torch.from_numpy(FIXED.normal(size=(5, 6, 6)).astype(np.float32))
GRID, DEEP = (
    torch.from_numpy(FIXED.uniform(-1.3, 1.3, size).astype(np.float32))
    for size in ((2, 3, 5, 2), (2, 2, 3, 1, 3))
)


def attended(x, weights=False, mask=None):
    """F.multi_head_attention_forward with two heads, queries before the batch."""
    x, size, form = x[0], 6, FORM.to(x.dtype)
    return F.multi_head_attention_forward(
        *(
            x,
            x,
            x,
            size,
            2,
            form[:3].reshape(18, 6),
            form[3, :3].reshape(18),
            None,
            None,
            False,
            0.0,
            form[4],
            form[0, 0],
        ),
        need_weights=weights,
        attn_mask=mask,
    )


CASES = {
    "add": [
        lambda x: x + Y,
        lambda x: 2.5 + x,
        lambda x: torch.add(x, Y, alpha=0.3),
        lambda x: x.clone().add_(1),
        lambda x: torch.lerp(x, Y, 0.7),
    ],
    "sub": [
        lambda x: x - 0.1,
        lambda x: 0.1 - x,
        lambda x: torch.rsub(x, Y),
        lambda x: torch.sub(x, Y, alpha=2),
    ],
    "mul": [lambda x: x * x, lambda x: 0.1 * x, lambda x: x * Y[:, :1]],
    "div": [
        lambda x: x / Y,
        lambda x: 1 / x,
        lambda x: torch.div(x, 0.3, rounding_mode="trunc"),
        lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    ],
    "floordiv": [lambda x: x // 0.3],
    "mod": [lambda x: x % 0.7, lambda x: torch.fmod(x, 0.7)],
    "pow": [lambda x: x**2, lambda x: 2**x, lambda x: x.abs() ** 0.5, lambda x: torch.pow(x, 3)],
    "max": [lambda x: torch.maximum(x, Y), lambda x: torch.fmax(x, Y)],
    "reducemax": [
        lambda x: x.max(),
        lambda x: x.max(1)[0],
        lambda x: torch.max(x, dim=2, keepdim=True)[1],
        lambda x: x.amax((1, 2)),
        lambda x: x.cummax(3),
        lambda x: x.cummax(-2)[1],
    ],
    "reducemin": [
        lambda x: x.min(1).values,
        lambda x: x.amin(),
        lambda x: torch.aminmax(x),
        lambda x: torch.aminmax(x, dim=2, keepdim=True),
        lambda x: x.cummin(2),
    ],
    "reducesum": [
        lambda x: x.sum(),
        lambda x: x.sum(1),
        lambda x: torch.sum(x, (0, 2), keepdim=True),
    ],
    "reducemean": [
        lambda x: x.mean((2, 3)),
        lambda x: torch.mean(x, dim=-1, keepdim=True),
        lambda x: x.mean(axis=1, keepdims=True),
    ],
    "reduceprod": [lambda x: x.prod(), lambda x: x.prod(1)],
    "reducevar": [
        lambda x: x.var(1),
        lambda x: torch.var(x, (1, 2), unbiased=False),
        lambda x: torch.var_mean(x, 3)[1],
    ],
    "reducestd": [lambda x: x.std(), lambda x: x.std(1, keepdim=True)],
    "reducelogsumexp": [lambda x: x.logsumexp(1)],
    "reducel2": [
        lambda x: x.norm(dim=1),
        lambda x: torch.linalg.norm(x, 1, 2),
        lambda x: torch.linalg.vector_norm(x, float("inf"), (1, 2)),
    ],
    "lpnormalization": [lambda x: F.normalize(x, dim=1), lambda x: F.normalize(x, p=3.0, dim=2)],
    "reduceall": [lambda x: (x > -9).all(1)],
    "reduceany": [lambda x: (x > 1).any(2)],
    "argmax": [lambda x: x.argmax(1), lambda x: x.argmax()],
    "argmin": [lambda x: torch.argmin(x, 2, keepdim=True)],
    "topk": [
        *(
            lambda x: x.topk(2, 1)[0],
            lambda x: x.sort(2, descending=True)[1],
            lambda x: torch.argsort(x, 3),
        ),
        lambda x: x.round().flatten().sort(stable=True)[1],
    ],
    "cumsum": [lambda x: x.cumsum(3)],
    "cumprod": [lambda x: x.cumprod(1)],
    "clip": [
        lambda x: x.clamp(-0.1, 0.3),
        lambda x: x.clamp(min=0.2),
        lambda x: torch.clamp(x, max=Y),
        lambda x: F.hardtanh(x),
        lambda x: F.relu6(x),
    ],
    "greater": [lambda x: x > Y, lambda x: x.gt(0)],
    "where": [
        *(
            lambda x: torch.where(x > 0)[0],
            lambda x: torch.where(x.gt(0).any(1))[1],
            lambda x: torch.where(x > 0, x, 0.1 * x),
        ),
        *(lambda x: x.where(MASK, -0.5 * x), lambda x: x.gt(0).where(MASK, x < 1)),
        lambda x: x.masked_fill(MASK, -1e9),
        lambda x: x.masked_fill(MASK, float("-inf")),
    ],
    "round": [
        lambda x: x.round(),
        lambda x: torch.round(x, decimals=2),
        lambda x: (100 * x).round(decimals=-1),
    ],
    "not": [
        lambda x: ~(x > 0),
        lambda x: torch.logical_not(x > 1),
        lambda x: F.relu(x).logical_not(),
        lambda x: F.relu(x).logical_not_(),
    ],
    "and": [lambda x: (x > 0) & MASK, lambda x: torch.logical_and(F.relu(x), Y.relu())],
    "or": [lambda x: torch.logical_or(x > 1, x < -1)],
    "cast": [
        lambda x: (x > 0).float(),
        lambda x: x.long(),
        lambda x: x.to(torch.float16),
        lambda x: x.bfloat16(),
    ],
    "neg": [lambda x: -x],
    "exp": [torch.exp],
    "log": [lambda x: x.abs().log()],
    "sqrt": [lambda x: (x * x).sqrt()],
    "rsqrt": [lambda x: (x * x).rsqrt()],
    "erf": [torch.erf],
    "sin": [torch.sin],
    "tanh": [torch.tanh, F.tanh, lambda x: x.tanh()],
    "sigmoid": [torch.sigmoid, lambda x: x.sigmoid()],
    "relu": [
        F.relu,
        torch.relu,
        lambda x: F.relu(x.clone(), inplace=True),
        lambda x: x.clone().relu_(),
    ],
    "gelu": [F.gelu, lambda x: F.gelu(x, approximate="tanh")],
    "silu": [F.silu],
    "hardswish": [F.hardswish],
    "hardsigmoid": [F.hardsigmoid],
    "leakyrelu": [F.leaky_relu, lambda x: F.leaky_relu(x, 0.2)],
    "softplus": [F.softplus],
    "softmax": [
        lambda x: F.softmax(x, -1),
        lambda x: torch.softmax(x, 1),
        lambda x: x.softmax(dim=2),
        lambda x: x[0, 0, 0, 0].softmax(0),
    ],
    "logsoftmax": [lambda x: F.log_softmax(x, 1), lambda x: F.log_softmax(x[0, 0, 0, 0], -1)],
    "glu": [F.glu],
    "layernormalization": [lambda x: F.layer_norm(x, (6,))],
    "groupnormalization": [lambda x: F.group_norm(x, 3)],
    "batchnormalization": [
        lambda x: F.batch_norm(x, Y.mean((0, 2, 3)), Y.var((0, 2, 3))),
        lambda x: F.batch_norm(x, None, None, training=True),
    ],
    "maxpool": [
        *(
            lambda x: F.max_pool2d(x, 2, return_indices=True)[1],
            lambda x: F.max_pool1d_with_indices(x[0], 3, 2)[0],
        ),
        *(
            lambda x: F.max_pool2d(x, 2),
            lambda x: F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
        ),
    ],
    "averagepool": [
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, (3, 2), 1, (1, 0), False, False),
    ],
    "globalaveragepool": [lambda x: F.adaptive_avg_pool2d(x, (2, 3))],
    "globalmaxpool": [lambda x: F.adaptive_max_pool2d(x, 1)],
    "pad": [
        lambda x: F.pad(x, (1, 2)),
        lambda x: F.pad(x, (1, 1, 2, 0), mode="reflect"),
        lambda x: F.pad(x, (torch.tensor(2), 1)),
        lambda x: F.pad(x, (0, -1, 1, 0), value=0.1),
    ],
    "resize": [
        *(
            lambda x: F.interpolate(x, scale_factor=2),
            lambda x: F.interpolate(x, size=(3, 9), mode="bilinear", align_corners=False),
        ),
        *(
            lambda x: F.interpolate(x, (2, 3), mode="bicubic", antialias=True),
            lambda x: F.interpolate(x, (7, 5), mode="area"),
        ),
    ],
    "gridsample": [
        *(
            lambda x: F.grid_sample(x, GRID, align_corners=True),
            lambda x: F.grid_sample(x, GRID, "nearest", "border", False),
        ),
        *(
            lambda x: F.grid_sample(x, GRID, "bicubic", "reflection", False),
            lambda x: F.grid_sample(x[:, :, None], DEEP, "bilinear", "reflection", False),
        ),
        lambda x: F.grid_sample(
            x,
            F.affine_grid(x[:, 0, :2, :3], (2, 3, 5, 4), align_corners=False),
            align_corners=False,
        ),
        lambda x: F.grid_sample(
            x,
            F.affine_grid(
                x[:, 0, :2, :3] * 0 + torch.eye(2, 3, dtype=x.dtype), x.shape, align_corners=True
            ),
            align_corners=True,
        ),
        lambda x: torch.grid_sampler(x, GRID, 0, 2, True),
    ],
    "cosinesimilarity": [
        *(
            lambda x: F.cosine_similarity(x, Y, 3),
            lambda x: F.cosine_similarity(x, Y[:, :1], dim=1, eps=0.1),
        ),
        # of zeros: NaN in float16, where eps is 0
        lambda x: F.cosine_similarity(x * (x > 9), Y, 3),
    ],
    "pairwisedistance": [
        *(
            lambda x: F.pairwise_distance(x, Y),
            lambda x: F.pairwise_distance(x, Y, 1.0, keepdim=True),
        ),
        *(lambda x: F.pdist(x[0, 0]), lambda x: F.pdist(x[0, 0], 1.0)),
    ],
    "instancenormalization": [
        *(
            lambda x: F.instance_norm(x),
            lambda x: F.instance_norm(x[:, :, 0], eps=0.1, weight=Y[0, :, 0, 0]),
        ),
        lambda x: F.instance_norm(x, Y.mean((0, 2, 3)), Y.var((0, 2, 3)), use_input_stats=False),
    ],
    "embeddingbag": [
        *(
            lambda x: F.embedding_bag(x.argmax(3)[:, 0], ROWS),
            lambda x: F.embedding_bag(x.argmax(3)[:, 0], ROWS, mode="sum"),
        ),
        lambda x: F.embedding_bag(
            x.argmax(3).flatten(), ROWS, torch.tensor([0, 3, 10]), mode="max"
        ),
    ],
    "maxunpool": [lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)],
    "identity": [
        *(
            lambda x: torch.fft.fft(torch.fft.fft(x), dim=-2).real,
            lambda x: (torch.fft.rfft(x)[..., :2] + 2.5).reshape(2, -1).real,
        ),
        lambda x: torch.fft.ifft(torch.fft.fft(x, n=5, dim=1), norm="forward").real,
    ],
    "imag": [
        lambda x: (torch.complex(x, 2 * x) - x).permute(0, 2, 3, 1).imag,
        lambda x: (torch.fft.fft(x) * torch.fft.fft(Y)).imag,
    ],
    "abs": [lambda x: x.abs(), abs, lambda x: torch.fft.rfft2(x, norm="ortho").abs()],
    "view_as_real": [
        *(
            lambda x: torch.view_as_real(torch.fft.fftn(x, dim=(1, 3))),
            lambda x: torch.view_as_real(1.0 - torch.fft.fft(x) * -1.0),
        ),
        lambda x: torch.view_as_real(
            torch.einsum("bchw,bchv->bcwv", torch.fft.fft(x), torch.fft.fft(Y))
        ),
    ],
    "fft_irfft": [
        lambda x: torch.fft.irfft(torch.fft.rfft(x, n=9), n=9),
        lambda x: torch.fft.irfft(torch.fft.rfft(x)),
    ],
    "fft_irfft2": [lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * MASK[..., :4], s=(4, 6))],
    "fft_irfftn": [lambda x: torch.fft.irfftn(torch.fft.rfftn(x), norm="ortho")],
    "depthtospace": [lambda x: F.pixel_shuffle(x.reshape(1, 12, 2, 6), 2)],
    "reshape": [
        *(
            lambda x: x.view(2, -1),
            lambda x: torch.flatten(x, 1),
            lambda x: x[:, :, :1].squeeze(2),
            lambda x: x.unsqueeze(1),
        ),
        *(lambda x: x.unflatten(1, (3, 1)), lambda x: x.transpose(1, 3).reshape(-1)),
    ],
    "transpose": [
        lambda x: x.permute(0, 2, 3, 1),
        lambda x: x.transpose(1, -1),
        lambda x: x.mT,
        lambda x: x[0, 0].T,
        lambda x: x.movedim(1, 3),
    ],
    "expand": [
        lambda x: x[:, :1].expand(-1, 5, -1, -1),
        lambda x: x.expand(4, *x.shape),
        lambda x: torch.meshgrid(x[0, 0, 0], x[0, 1, :, 0], indexing="ij"),
        lambda x: torch.meshgrid([x[0, 0, 0], x[0, 1, :, 0], x[:, 0, 0, 0]], indexing="xy"),
    ],
    "tile": [lambda x: x.repeat(2, 1, 3, 1), lambda x: x[0].repeat(2, 1, 1, 2)],
    "concat": [lambda x: torch.cat([x, Y], 1), lambda x: torch.stack([x, x], 1)],
    "split": [
        lambda x: x.chunk(2, 3)[1],
        lambda x: torch.split(x, [1, 2], dim=1)[1],
        lambda x: x.unbind(1)[2],
        lambda x: x.split(4, -1)[0],
    ],
    "slice": [
        *(
            lambda x: x[:, 1],
            lambda x: x[..., ::2],
            lambda x: x[0, -1, None, 1:3],
            lambda x: x.narrow(3, 1, 4),
            lambda x: x.select(1, -1),
        ),
        *(lambda x: x.fliplr(), lambda x: torch.flipud(x), lambda x: torch.flip(x, dims=(1, -1))),
        *(
            lambda x: x.flip(1),
            lambda x: x[:, AT],
            lambda x: x[MASK],
            lambda x: x[:, [0, 2], :, [1, 3]],
            lambda x: x[AT[:2] * 0, AT[:2]],
        ),
    ],
    "gather": [
        *(
            lambda x: x.index_select(1, AT),
            lambda x: torch.roll(x, 2, 3),
            lambda x: x.roll((1, -1), (2, 3)),
            lambda x: x.repeat_interleave(2, 1),
        ),
        *(lambda x: F.unfold(x, 3), lambda x: F.unfold(x, (2, 3), 1, (1, 0), stride=2)),
        lambda x: x.unfold(3, 3, 2),
        lambda x: x.unfold(dimension=-2, size=3, step=2),
        lambda x: x.unfold(1, size=2, step=1),
        lambda x: x.sum().unfold(0, 1, 1),
    ],
    "gatherelements": [
        *(
            lambda x: torch.take_along_dim(x, x.argsort(1), 1),
            lambda x: x.take_along_dim(AT.reshape(1, 1, 4, 1), dim=-2),
        ),
        lambda x: x.gather(1, torch.zeros(2, 2, 4, 6, dtype=torch.long)),
    ],
    "trilu": [torch.tril, lambda x: x.triu(1)],
    "scatterelements": [
        lambda x: x.scatter(1, torch.zeros(2, 1, 4, 6, dtype=torch.long), Y),
        lambda x: x.scatter_add(2, AT.reshape(1, 1, 4, 1), Y),
    ],
    "scatternd": [lambda x: x.index_add(1, AT[:3], Y)],
    "matmul": [
        *(
            lambda x: x @ ROWS,
            lambda x: torch.bmm(x[0], mat2=x[0].mT),
            lambda x: x.matmul(Y.mT),
            lambda x: x[0, 0, 0] @ x[0, 0, 1],
        ),
    ],
    "einsum": [
        lambda x: torch.einsum("bchw,bcw->bch", x, x[:, :, 0]),
        lambda x: torch.einsum("bchw->bwc", x),
        lambda x: F.bilinear(x, Y, FORM),
    ],
    "gemm": [
        *(lambda x: F.linear(x, ROWS.T), lambda x: torch.addmm(ROWS[0], x[0, 0], ROWS)),
        lambda x: torch.baddbmm(x[0, :, :, :4], batch1=x[0], batch2=x[1].mT, beta=0.5),
    ],
    "conv": [
        lambda x: torch.conv_tbc(x[0], FORM[:3], FORM[0, 0], 1),
        lambda x: F.conv2d(x, KERNEL, padding=1),
        lambda x: F.conv2d(x, KERNEL, KERNEL[:, 0, 0, 0], 2, "valid"),
    ],
    "attention": [
        *(
            lambda x: attended(x)[0],
            lambda x: attended(x, True)[1],
            lambda x: attended(x, True, torch.eye(3) < 1)[0],
        ),
        *(
            lambda x: F.scaled_dot_product_attention(x, Y, x),
            lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        ),
        lambda x: F.scaled_dot_product_attention(x, x, Y, attn_mask=torch.eye(4) > -1, scale=0.3),
    ],
}
ALL = [
    pytest.param(f, name, id=f"{name}-{k}")
    for name, functions in CASES.items()
    for k, f in enumerate(functions)
]


LEFT_OUT = {
    *("fractional_max_pool2d", "fractional_max_pool3d", "gumbel_softmax"),  # they draw at random
    *("scaled_grouped_mm", "scaled_mm"),  # for GPUs
}


def test_every_function_of_torch_nn_functional_is_described_or_left_out():
    homes = ("torch.nn.functional", "torch._C._nn", "torch")
    held = {
        name: value
        for name, value in vars(F).items()
        if not name.startswith("_") and not isinstance(value, type)
    }
    public = {name for name, value in held.items() if getattr(value, "__module__", "") in homes}
    losses = {
        name for name in public if name.endswith(("_loss", "_entropy", "_with_logits", "kl_div"))
    }
    of_random_places = {f"{name}_with_indices" for name in LEFT_OUT}
    assert (
        public - losses - set(functions()) - LEFT_OUT - of_random_places - {"assert_int_or_pair"}
        == set()
    )


@pytest.mark.exhaustive(default=120)
@pytest.mark.parametrize(("function", "name"), ALL)
def test_described_function(function, name):
    """All parties agree on every call; the last one is the function's."""
    model = probe.open_model(Net(function).eval())
    reports = list(probe.sweep(model, X))
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(
        str(one) for one in reports if not one.ok
    )
    assert reports[-1].layer.split(":")[0] == f"/{name}"
    assert not any(one.missing for one in reports if not any(0 in x.shape for x in one.inputs))
    value = reports[-1].outputs["numpy"]
    value = value[0] if isinstance(value, tuple) else value
    at = tuple(size // 2 for size in value.shape)
    story = probe.explain(model, reports[-1].layer, X, at=at)
    np.testing.assert_allclose(story.value, value[at], rtol=1e-6)
    assert str(story)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.einsum("bchw,bchv->bcwv", [x, Y]),
        lambda x: torch.view_as_real(
            torch.einsum("bchw,bchv->bcwv", [torch.fft.fft(x), torch.fft.fft(Y)])
        ),
    ],
)
def test_a_product_of_a_list(function):
    reports = list(probe.sweep(Net(function), X))
    assert any("einsum" in report.layer for report in reports)
    assert all(report.verdict == "agree" and not report.missing for report in reports)


def grouped(left, right, ends):
    return F.grouped_mm(
        left.contiguous(), right.contiguous(), offs=torch.tensor(ends, dtype=torch.int32)
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "function",
    [
        lambda x: grouped(x, x[:16].reshape(2, 8, 8), [7, 18]),
        lambda x: grouped(x, x[:16].reshape(2, 8, 8), [0, 18]),
        lambda x: grouped(x[2:].reshape(2, 8, 8), x[:16].T, [6, 16]),
        lambda x: grouped(x[:8], x[8:16], [3, 8]),
        lambda x: F.grouped_mm(x[:16].reshape(2, 8, 8), x[2:].reshape(2, 8, 8).mT),
    ],
)
def test_grouped_products(function, kind):
    reports = list(probe.sweep(Net(function), torch.from_numpy(X).reshape(18, 8).to(kind)))
    assert reports[-1].layer == "/matmul"
    assert [one.verdict for one in reports] == ["agree"] * len(reports), "\n".join(
        str(one) for one in reports if not one.ok
    )


def test_groups_that_end_before_the_rows_are_refused_by_name():
    *_, last = probe.sweep(
        Net(lambda x: grouped(x, x[:16].reshape(2, 8, 8), [7, 17])), X.reshape(18, 8)
    )
    assert (last.verdict, "ends at 17 of 18" in last.sentence) == ("unchecked", True)


@pytest.mark.parametrize(
    "kind",
    [torch.int64, torch.float32, *exhaustive(torch.uint8, torch.float64, torch.bfloat16)],
    ids=str,
)
@pytest.mark.parametrize(
    "function",
    [
        *(
            lambda x: x.sort()[1],
            lambda x: x.sort(descending=True)[1],
            lambda x: x.argsort(),
            lambda x: x.sort(stable=True)[1],
        ),
        *(
            lambda x: x.topk(90)[1],
            lambda x: x.topk(60, largest=False)[1],
            lambda x: x.reshape(36, 4).sort(0)[1],
        ),
        *(
            lambda x: x.reshape(12, 12).argsort(0, descending=True),
            lambda x: (x > 0).sort(descending=True)[1],
        ),
    ],
)
def test_places_of_equal_numbers(function, kind):
    """PyTorch does not say which of equal numbers comes first, and sorts them by where they come to
    lie in vectors."""
    x = torch.from_numpy(X).flatten().round().abs().to(kind)
    *_, last = probe.sweep(Net(function), x)
    assert last.ok, last.sentence
    found = last.outputs["framework"]
    values, places = found if isinstance(found, tuple) else (None, found)
    # a smallest number for a largest
    ends = np.concatenate([places[-1:], places[1:-1], places[:1]])
    # and one of two that are equal twice
    for wrong in (ends, np.concatenate([places[1:2], places[1:]])):
        yours = wrong if values is None else (values, wrong)
        assert not probe.check(Net(function), last.layer, x, expected=yours, search=False).ok


@pytest.mark.exhaustive(default=80)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize(("function", "name"), ALL)
@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_in_other_precisions(kind, function, name):
    """None of them is an alarm; and in float64 a wrong formula cannot pass."""
    function = in_kind(
        function,
        kind,
        {"Y": Y, "ROWS": ROWS, "KERNEL": KERNEL, "GRID": GRID, "DEEP": DEEP, "FORM": FORM},
    )
    x = torch.from_numpy(X).to(kind)
    if refused(function, x):
        return
    try:
        reports = list(probe.sweep(Net(function).eval(), x))
    except NotReached:
        assert name == "cast"  # to what it is already
        return
    expected = ["agree"] * len(reports)
    if reports[-1].verdict == "unchecked" and kind != torch.float64:
        # Coordinates in bfloat16 may be off by more than the cells of the image; in float16 the
        # epsilon of a cosine is 0.
        assert {
            "gridsample": "would detect only 0",
            "cosinesimilarity": "every value of the output is NaN",
        }[name] in reports[-1].sentence
        expected[-1] = "unchecked"
    assert [one.verdict for one in reports] == expected, "\n".join(
        str(one) for one in reports if not one.ok
    )
    if kind != torch.float64 or name in ("cast", "conv", "gemm", "gelu"):
        return
    assert_close(reports)


WAVES, PARTS = (torch.sin, torch.cos), (torch.asin, torch.acos, torch.atanh)
OF_ONE = (
    torch.erf,
    torch.exp,
    torch.expm1,
    torch.tanh,
    torch.sinh,
    torch.asinh,
    torch.atan,
    torch.sigmoid,
    torch.square,
    *WAVES,
)
OF_ONE += (
    F.elu,
    F.celu,
    F.selu,
    F.gelu,
    F.silu,
    F.mish,
    F.softplus,
    F.logsigmoid,
    F.softsign,
    F.tanhshrink,
    F.hardswish,
    F.relu6,
)
OF_POSITIVE = (
    torch.log,
    torch.log2,
    torch.log10,
    torch.log1p,
    torch.sqrt,
    torch.rsqrt,
    torch.reciprocal,
)


@pytest.mark.parametrize("function", (*OF_ONE, *OF_POSITIVE, *PARTS), ids=lambda one: one.__name__)
@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_numbers_of_every_magnitude(kind, function):
    """The relative error of a result near 0 counts as well: NumPy's own, and kernels' that are
    exact to a unit of 1."""
    most = 6 if function not in PARTS else 0
    x = torch.cat(
        [
            2 ** torch.linspace(-60, most, 3001, dtype=torch.float64),
            torch.linspace(0, 0.9, 501, dtype=torch.float64),
        ]
    )
    x = torch.where(x == 1, 0.5, x) if function in PARTS else x
    x = x[1:-1] if function in OF_POSITIVE else torch.cat([x, -x])
    (report,) = probe.sweep(Net(function).eval(), x[x != 0].to(kind))
    assert report.verdict == "agree" and not report.missing, str(report)


def _filled(x):
    packed = nn.utils.rnn.pack_padded_sequence(
        x[:, 0].abs(), torch.tensor([4, 2]), batch_first=True
    )
    return nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, padding_value=0.1)[0]


ON_NUMBERS = [
    lambda x: x > 0.1,
    lambda x: x >= 0.3,
    lambda x: x < 0.7,
    lambda x: x <= 0.1,
    lambda x: x == 0.3,
    lambda x: x != 0.1,
    lambda x: 0.1 > x,
    lambda x: torch.where(x > 0.1, x, 0.3),
    lambda x: x.masked_fill(x >= 0.7, 0.1),
    lambda x: torch.remainder(x, 0.1),
    lambda x: torch.fmod(x, 0.1),
    lambda x: x // 0.1,
    lambda x: torch.div(x, 0.1, rounding_mode="trunc"),
    nn.Threshold(0.1, 0.3),
    nn.Threshold(0.3, 0.1),
    nn.Hardshrink(0.3),
    nn.Softshrink(0.1),
    nn.Hardtanh(0.1, 0.3),
    nn.ConstantPad2d(1, 0.1),
    _filled,
]


@pytest.mark.parametrize("function", ON_NUMBERS)
@pytest.mark.parametrize(
    "kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_inputs_that_lie_on_numbers_that_floating_point_does_not_hold(kind, function):
    x = torch.from_numpy(X).double()
    x[0, ..., 0], x[1, ..., 0], x[0, ..., 1], x[1, ..., 1] = (
        0.1,
        float(np.float32(0.1)),
        0.3,
        float(np.float32(0.7)),
    )
    net = function if isinstance(function, nn.Module) else Net(function)
    reports = list(probe.sweep(net.eval(), x.to(kind)))
    assert reports and not [str(one) for one in reports if one.verdict != "agree"]


BESIDE_INTEGERS = [
    lambda x: x + 1,
    lambda x: 3 - x,
    lambda x: x * 3,
    lambda x: torch.add(x, x, alpha=2),
    lambda x: 1 / (x + 1),
    lambda x: x // 3,
    lambda x: x % 7,
    lambda x: x > 300,
    lambda x: x == -1,
    lambda x: torch.where(x > 100, x, 0),
    lambda x: x / 255,
    lambda x: x - 127.5,
]


@pytest.mark.parametrize("function", BESIDE_INTEGERS)
@pytest.mark.parametrize("kind", ["uint8", "int8", "int16"])
def test_a_number_beside_integers_takes_their_type(kind, function):
    """And wraps around in it, as sums with it do."""
    x = np.random.default_rng(0).integers(np.iinfo(kind).min, np.iinfo(kind).max, (3, 40), kind)
    reports = list(probe.sweep(Net(function).eval(), x))
    assert reports and not [str(one) for one in reports if one.verdict != "agree"]


def test_integers_are_interpolated_by_kernels_of_their_own():
    x = np.arange(60, dtype=np.uint8).reshape(1, 3, 4, 5)
    for mode in ("bilinear", "bicubic"):
        (report,) = probe.sweep(
            Net(lambda x, mode=mode: F.interpolate(x, (3, 4), mode=mode)).eval(), x
        )
        assert (
            report.verdict == "unchecked"
            and "integer inputs are not supported, since it rounds the result" in report.sentence
        )
    assert all(one.ok for one in probe.sweep(Net(lambda x: F.interpolate(x, (3, 4))).eval(), x))


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.rand(3, 1, 1))
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x):
        return x[:, self.order] * self.factor


class Block(nn.Module):
    """A user's own layer, called twice, shapes asked for, constants made, results written into
    them."""

    def __init__(self):
        super().__init__()
        self.scale, self.conv = Scale(), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        batch, channels, *_ = x.shape
        ramp = torch.arange(channels, dtype=x.dtype).reshape(1, -1, 1, 1) + 1
        y = self.scale(self.conv(x)) + ramp
        y += self.scale(x)
        out = torch.zeros_like(y)
        out[:, 1:] = y[:, :2]
        assert x.size(0) == batch and not torch.isnan(out).any().item()
        return out.contiguous() + y


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block().eval()


def test_singular_values_which_onnx_has_not():
    (report,) = probe.sweep(Net(torch.linalg.svdvals).eval(), X)
    assert report.verdict == "agree" and "no operator" in report.missing["onnx"], str(report)
    assert_close(probe.sweep(Net(torch.linalg.svdvals).eval(), X.astype(np.float64)))


def test_names_and_order(block):
    """No layers: shapes, constants, sums of constants, what returns its own argument. A second one
    in a call is numbered."""
    reports = list(probe.sweep(block, X))
    assert [(one.layer, one.call) for one in reports] == [
        *(
            ("conv", 0),
            ("scale/slice", 0),
            ("scale/mul", 0),
            ("/add", 0),
            ("scale/slice", 1),
            ("scale/mul", 1),
            ("/add:1", 0),
        ),
        *(("/slice", 0), ("/scatternd", 0), ("/isnan", 0), ("/reduceany", 0), ("/add:2", 0)),
    ]
    assert all(one.ok for one in reports), "\n".join(str(one) for one in reports if not one.ok)


def test_a_function_layer_is_checked_by_name(block):
    report = probe.check(block, "scale/mul", X)
    assert (
        report.ok
        and report.kind == "Tensor.mul"
        and any("called 2 times" in note for note in report.notes)
    )
    factor = block.scale.factor.detach().numpy()
    np.testing.assert_array_equal(report.weights["factor"].effective, factor)
    mutated = probe.check(block, "/scatternd", X).outputs["framework"]
    assert not mutated[:, 0].any() and mutated[:, 1:].any()
    before = probe.check(block, "/add:1", X)
    assert not np.array_equal(before.inputs[0], before.outputs["framework"]), (
        "copied before the call wrote to it"
    )


def test_a_wrong_name_is_corrected(block):
    with pytest.raises(UnknownLayer, match="did you mean 'scale/mul'"):
        probe.check(block, "scale/mull", X)
    with pytest.raises(UnknownLayer, match="no layer 'scala/mul'"):
        probe.check(block, "scala/mul", X)
    with pytest.raises(BadInput, match="cannot run alone"):
        probe.check(block, "scale/mul", given=X)


def test_function_layers_are_listed_once_they_are_known(block):
    model = probe.open_model(block)
    assert [one.name for one in model.layers] == ["scale", "conv"]
    list(probe.sweep(model, X))
    assert "scale" not in {one.name for one in model.layers}, "its calls stand in its place"
    assert {"/add:2", "scale/mul"} <= {
        one.name for one in model.layers
    } and "scale/mul" in model.names()


def test_nothing_is_left_behind(block):
    before = [
        (name, list(module._forward_hooks), list(module._forward_pre_hooks), set(vars(module)))
        for name, module in block.named_modules()
    ]
    list(probe.sweep(block, X))
    assert before == [
        (name, list(module._forward_hooks), list(module._forward_pre_hooks), set(vars(module)))
        for name, module in block.named_modules()
    ]
    assert not torch.overrides._get_current_function_mode_stack()


def test_values_that_are_written_where_pytorch_does_not_count_it_are_seen():
    def written(x):
        y = x + 1
        y.detach().numpy()[:] = 5  # the tensor's version stays what it was
        return torch.relu(y)

    reports = list(probe.sweep(Net(written), X))
    assert [report.verdict for report in reports if report.layer in ("/add", "/relu")] == [
        "agree",
        "agree",
    ]


def test_a_function_without_description_says_so():
    (report,) = probe.sweep(Net(lambda x: torch.special.i0(x)).eval(), X)
    assert report.verdict == "unchecked" and "special.i0 has no description" in report.sentence
    (report,) = probe.sweep(Net(lambda x: F.dropout(x, 0.5, training=True)).eval(), X)
    assert report.verdict == "unchecked" and "at random" in report.sentence


class Tripled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3


@pytest.mark.parametrize(
    ("function", "layers"),
    [
        (lambda x: torch.vmap(lambda one: one.sin())(x), ["/add", "0/unseen"]),
        (Tripled.apply, ["0/mul", "/add"]),
        (lambda x: torch.fft.rfft(x).real, ["0/fft_rfft", "0/identity", "/add"]),
    ],
)
def test_code_that_shows_no_calls(function, layers):
    """What a module gives follows from its input, even where no call in it was seen."""

    class Outer(nn.Sequential):
        def forward(self, x):
            return super().forward(x) + 1

    reports = list(probe.sweep(Outer(Net(function)).eval(), X))
    verdicts = {one.layer.replace("0.", "0"): one.verdict for one in reports}
    assert list(verdicts) == layers and verdicts["/add"] == "agree"
    assert verdicts.get("0/unseen", "unchecked") == "unchecked"


def test_a_pass_without_any_call_is_an_error():
    with pytest.raises(NotReached, match="no call was captured"):
        list(probe.sweep(Net(lambda x: x).eval(), X))


def test_autocast_is_reported():
    class Mixed(nn.Module):
        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return x.reshape(-1, 6) @ ROWS

    *_, report = probe.sweep(Mixed().eval(), X)
    assert report.ok and report.dtype == "bfloat16"
    assert any("under torch.autocast in bfloat16" in note for note in report.notes)


def test_an_expected_of_a_function_layer(block):
    right = probe.check(block, "/add", X).outputs["framework"]
    assert probe.check(block, "/add", X, expected=right).ok
    assert probe.check(block, "/add", X, expected=right + np.float32(0.01)).verdict == "diverge"


def test_the_first_function_that_differs_is_named_in_a_sweep(block):
    mine = {one.layer: one.outputs["framework"] for one in probe.sweep(block, X) if not one.call}
    mine["/add:1"] = mine["/add:1"] * 1.001
    reports = probe.sweep(probe.open_model(block), X, expected=mine)
    assert next(one.layer for one in reports if not one.ok) == "/add:1"


class KernelsOfTheirOwn(nn.Module):
    """Each sample is convolved with a kernel of its own, which the net computes from that
    sample."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Linear(12, 15)

    def forward(self, x):
        batch = x.shape[0]
        kernels = self.kernels(x.flatten(1)).reshape(batch * 3, 1, 5)
        return F.conv1d(x.reshape(1, batch * 3, -1), kernels, padding=2, groups=batch * 3).reshape(
            x.shape
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_convolution_whose_kernel_is_another_tensor_of_the_sample(dtype):
    x = RNG.normal(size=(2, 3, 4)).astype(dtype)
    net = KernelsOfTheirOwn().eval().to(torch.float32 if dtype == np.float32 else torch.float64)
    report = probe.check(net, "/conv", x)
    assert report.ok and len(report.inputs) == 2 and report.inputs[1].shape == (6, 1, 5)
    kernels = net.kernels(torch.from_numpy(x).flatten(1)).detach().numpy().reshape(2, 3, 5)
    by_hand = [
        [np.correlate(np.pad(row, 2), kernel, "valid") for row, kernel in zip(*pair, strict=True)]
        for pair in zip(x, kernels, strict=True)
    ]
    np.testing.assert_allclose(
        report.outputs["numpy"].reshape(2, 3, 4), by_hand, rtol=1e-5, atol=1e-5
    )
    swapped = probe.check(net, "/conv", x, expected=report.outputs["framework"][:, ::-1])
    assert swapped.verdict == "diverge"


def test_what_an_element_sees_is_followed_through_functions():
    class Mixing(nn.Module):
        """Two channels shifted by one row and scaled, plus a mean over the last axis; then each row
        attends to those before."""

        def forward(self, x):
            y = torch.roll(x[:, :2] * 3, 1, 2) + x.mean(3, keepdim=True)[:, 1:]
            past = torch.tril(torch.ones(4, 4)) > 0
            scores = (y @ y.mT).masked_fill(~past, float("-inf"))
            return torch.stack([y, y.flip(1)], 1), scores.softmax(-1)

    story = probe.explain(Mixing().eval(), "/concat", X, at=(0, 1, 0, 2, 4), sees=True)
    seen = np.zeros(X.shape, bool)
    seen[0, 1, 1, 4] = True  # flipped: channel 1 of y, which is rolled by one row
    seen[0, 2, 2] = True  # the mean of channel 2
    np.testing.assert_array_equal(story.sees[0].mask, seen)
    story = probe.explain(Mixing().eval(), "/softmax", X, at=(0, 0, 1, 0), sees=True)
    mask = story.sees[0].mask
    assert (
        not mask[1].any()
        and not mask[0, 2].any()
        and mask[0, 1, :2].all()
        and not mask[0, 1, 2:].any()
    )
    assert mask[0, 0].all(axis=1).tolist() == [True, False, False, True]


@pytest.mark.slow  # for what torch.onnx takes to start; docs/own-layers.md holds one too
def test_without_a_description_the_layer_alone_is_exported():
    """torch.onnx and ONNX Runtime give a second value, which is told and judges nothing; what
    cannot be exported either says so."""

    class Sums(nn.Module):
        def forward(self, x):
            return torch.special.i0(torch.logcumsumexp(x, -1))

    net = Sums().eval()
    report = probe.check(net, "/logcumsumexp", X)
    assert (
        report.verdict == "unchecked"
        and list(report.outputs) == ["framework", "onnx"]
        and not report.comparisons
    )
    sums = np.logaddexp.accumulate(X, axis=-1)
    np.testing.assert_allclose(report.outputs["onnx"], sums, rtol=1e-4, atol=1e-5)
    assert any(
        "exported to ONNX by the framework itself" in note and "differs by" in note
        for note in report.notes
    )
    report = probe.check(net, "/special_i0", X)
    assert list(report.outputs) == ["framework"] and any(
        "exporter cannot export the layer" in note for note in report.notes
    )
    assert not any("exported" in note for one in probe.sweep(net, X) for note in one.notes), (
        "a sweep does not wait for exporters"
    )


@pytest.mark.costly(default=2)
@pytest.mark.parametrize(
    "function",
    [
        *(
            torch.sum,
            torch.std,
            torch.amax,
            torch.norm,
            torch.prod,
            torch.argmax,
            lambda x: x[0, 0, 0, 0] * 0.3,
        ),
        *(lambda x: x[0, 0, 0] @ x[0, 0, 1], lambda x: (x > 0).all(), lambda x: F.relu(x.sum())),
        *(lambda x: torch.einsum("abcd,abcd->", x, x), lambda x: F.conv2d(x, x[:, :, :2, :2])),
    ],
)
def test_other_values_of_what_has_no_axes_diverge(function):
    """The second look, the search for the mistake and the explanation take outputs without axes,
    truths, and computed kernels."""
    model = probe.open_model(Net(function).eval())
    layers = [report.layer for report in probe.sweep(model, X)]
    assert layers
    for layer in layers:
        given = probe.check(model, layer, X).outputs["framework"]
        other = ~given if given.dtype == bool else given + np.ones((), given.dtype)
        report = probe.check(model, layer, X, expected=other)
        assert report.verdict == "diverge" and str(report) and report.to_json()
        assert str(probe.explain(model, layer, X, at=(0,) * given.ndim))


@pytest.mark.parametrize("choice", [torch.fmax, torch.fmin])
def test_of_a_nan_and_a_number_fmax_takes_the_number(choice):
    class Net(torch.nn.Module):
        def forward(self, x, y):
            return choice(x, y)

    x, y = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    x[0, :2], y[0, 1:3] = np.nan, np.nan
    (report,) = probe.sweep(Net(), [x, y])
    assert report.ok, report.sentence
    assert np.isnan(report.outputs["numpy"]).sum() == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sum(1),
        lambda x: x.cumsum(1),
        lambda x: x @ x.mT,
        lambda x: F.layer_norm(x[:, :1], (1,)),
    ],
)
def test_values_of_the_users_where_some_are_infinite(function):
    """Warnings are errors here: inf less inf is none of the user's business."""
    x = X[0, 0].copy()
    x[1, 2] = np.inf
    *_, last = probe.sweep(Net(function), x)
    y = np.asarray(last.outputs["framework"])
    assert probe.check(Net(function), last.layer, x, expected=y).ok
    assert (
        probe.check(
            Net(function), last.layer, x, expected=np.where(np.isfinite(y), y + 1, y)
        ).verdict
        == "diverge"
    )


def test_a_comparison_of_equal_numbers_has_one_answer():
    """Constants are exact: at 0 it is no matter of rounding whether x is greater than 0."""
    x = torch.tensor([[0.0, 0.0, 2.0, -0.0]])
    for function, wrong in (
        (lambda x: x > 0, True),
        (lambda x: x >= 0.0, False),
        (lambda x: x == 0, False),
        (lambda x: x < 0, True),
    ):
        model = Net(function)
        *_, report = probe.sweep(model, x)
        assert report.ok
        assert not probe.check(model, report.layer, x, expected=np.full((1, 4), wrong)).ok


def test_a_value_that_is_no_number_hides_no_overflow():
    assert [
        one.verdict
        for one in probe.sweep(Net(torch.exp), np.array([[100.0, 1.0, np.nan]], np.float32))
    ] == ["agree"]


@pytest.mark.parametrize(
    "function", [torch.log, torch.rsqrt, torch.isinf, lambda x: x < 1e200, lambda x: x.sqrt()]
)
def test_numbers_of_float64_that_float32_does_not_hold(function):
    x = torch.tensor([[1e-45, 1e160, 1e300, 2.0]], dtype=torch.float64)
    (report,) = probe.sweep(Net(function), x)
    assert report.ok and "which overflows here" in report.missing["onnx"], report.sentence


def test_an_element_of_what_has_no_axes_is_explained():
    story = probe.explain(Net(lambda x: x[0, 0, 0, 0].reshape(1)), "/reshape", X, at=(0,))
    assert story.value == X[0, 0, 0, 0]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.softmax(1),
        lambda x: x.log_softmax(1),
        lambda x: x.logsumexp(1),
        lambda x: x.amax(1),
    ],
)
def test_masked_scores_in_float64(function):
    """What ONNX Runtime rounds of -inf is nothing."""
    x = torch.from_numpy(X[0, 0]).double().masked_fill(torch.eye(4, 6) > 0, -torch.inf)
    (report,) = probe.sweep(Net(function), x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.avg_pool2d(x, 2),
        lambda x: torch.addmm(x[0, 0], x[0, 0, :, :4], x[0, 0], alpha=0.6),
    ],
)
def test_fractions_of_integers_are_refused_by_name(function):
    *_, report = probe.sweep(Net(function), (X * 9).astype(np.int64))
    assert report.verdict == "unchecked" and "integer" in report.sentence, report.sentence


@pytest.mark.parametrize("shapes", [((4, 4), (4, 4)), ((2, 3, 4), (5, 4)), ((4,), (2, 4))], ids=str)
def test_inner_products_are_along_the_last_axis_of_both(shapes):
    x, y = (np.random.default_rng(0).normal(size=one).astype(np.float32) for one in shapes)
    (report,) = probe.sweep(Net(lambda x: torch.inner(x, torch.from_numpy(y))), x)
    assert report.verdict == "agree", report


def test_what_becomes_of_a_tensor_without_axes():
    """PyTorch takes it as one of a single element; what has no description then says so, and
    nothing ends in a traceback."""
    functions = [
        *(
            lambda x: x.norm(2, 0),
            lambda x: x.all(),
            lambda x: torch.any(x, 0),
            lambda x: x.cumsum(0),
            lambda x: x.permute(()),
        ),
        *(
            lambda x: x.softmax(0),
            lambda x: x.topk(1)[0],
            lambda x: x.index_select(0, torch.tensor([0])),
            lambda x: torch.inner(x, x),
        ),
        *(
            lambda x: x.t() + 1,
            lambda x: torch.diff(x.reshape(1), 0) * 2,
            lambda x: x.gather(0, torch.tensor(0)),
        ),
    ]
    verdicts = [
        one.verdict
        for function in functions
        for one in probe.sweep(Net(function), np.array(-2.5, np.float32))
    ]
    assert (
        set(verdicts) <= {"agree", "unchecked"} and verdicts.count("agree") > len(functions) // 2
    ), verdicts
