"""Layers that PyTorch calls with several tensors or with sizes, and what is left out of
torch.nn."""

import inspect

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.torch.describe.describe import described
from probe.adapters.torch.describe.undescribed_classes import LEFT_OUT

import probe

few = examples(8)
EMPTY = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")


class Twice(torch.nn.Module):
    """A pooling with places and the layer that puts them back."""

    def __init__(self, rank, kernel, stride, size=None):
        super().__init__()
        self.pool = getattr(torch.nn, f"MaxPool{rank}d")(kernel, stride, return_indices=True)
        self.unpool = getattr(torch.nn, f"MaxUnpool{rank}d")(kernel, stride)
        self.size = size

    def forward(self, x):
        largest, places = self.pool(x)
        return self.unpool(largest, places, output_size=self.size)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("rank", [1, 2, 3])
@few
@given(st.data())
def test_max_unpool(rank, data):
    """ "MaxUnpool1d", "MaxUnpool2d" and "MaxUnpool3d", to the plain size and to that of what was
    pooled."""
    kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(k + data.draw(st.integers(0, 1)) for k in kernel)
    sizes = tuple(k + data.draw(st.integers(0, 5)) for k in kernel)
    lead = data.draw(st.sampled_from([(2, 3), (3,), (1, 1)]))
    model = Twice(rank, kernel, stride, sizes if data.draw(st.booleans()) else None).eval()
    x = draw(*lead, *sizes)
    try:
        model(torch.from_numpy(x))
    except (RuntimeError, ValueError):
        assume(False)
    for layer in ("pool", "unpool"):
        report = probe.check(model, layer, x)
        assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


@pytest.mark.parametrize(
    "layer",
    [
        *(
            torch.nn.AvgPool2d(2560, ceil_mode=True),
            torch.nn.MaxPool2d(2560, ceil_mode=True),
            torch.nn.LPPool2d(2, 2560, ceil_mode=True),
        ),
        torch.nn.MaxPool2d(2560, ceil_mode=True, return_indices=True),
        *(torch.nn.AvgPool2d((2000, 2), padding=(1000, 1)), torch.nn.MaxPool2d(50, 3, padding=25)),
    ],
    ids=str,
)
def test_windows_that_reach_far_beyond_the_input(layer):
    """transformers' EfficientNet pools what is left by windows of as many rows as it has channels:
    50 MB a channel, if it were padded."""
    report = probe.check(layer, "", draw(2, 40, 3, 4))
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


@pytest.mark.parametrize("rank", [1, 2, 3])
@few
@given(st.data())
def test_the_output_size_of_a_transposed_convolution(rank, data):
    stride = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    sizes = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    layer = getattr(torch.nn, f"ConvTranspose{rank}d")(3, 2, 3, stride, padding=1).eval()
    wanted = tuple(
        (n - 1) * s + 1 + data.draw(st.integers(0, s - 1))
        for n, s in zip(sizes, stride, strict=True)
    )

    class Sized(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = layer

        def forward(self, x):
            return self.up(x, output_size=wanted)

    report = probe.check(Sized().eval(), "up", draw(2, 3, *sizes))
    assert report.outputs["numpy"].shape[2:] == wanted
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("size", [{"output_size": 3}, {"output_ratio": (0.5, 0.7, 0.6)}])
def test_fractional_pooling_with_samples_of_its_own(rank, places, size):
    """ "FractionalMaxPool2d" and "FractionalMaxPool3d"."""
    size = {key: value[:rank] if isinstance(value, tuple) else value for key, value in size.items()}
    kind = getattr(torch.nn, f"FractionalMaxPool{rank}d")
    samples = torch.from_numpy(np.random.default_rng(1).random((2, 3, rank), np.float32))
    x = draw(2, 3, *(9, 7, 8)[:rank])
    report = probe.check(
        kind(2, **size, return_indices=places, _random_samples=samples), "", given=x
    )
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


def test_fractional_pooling_that_draws_is_not_checked():
    layers = probe.open_model(torch.nn.FractionalMaxPool2d(2, output_size=3)).layers
    assert layers[0].checkable == () and "at random" in layers[0].why


PAIRS = {
    "CosineSimilarity": [{}, {"dim": -1}, {"dim": 0, "eps": 2.0}],
    "PairwiseDistance": [
        {},
        {"p": 1.0, "keepdim": True},
        {"p": 3.0, "eps": 0.1},
        {"p": 0.5, "eps": 0.1},
        {"p": float("inf")},
    ],
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(
    "shapes",
    [((4, 6), (4, 6)), ((2, 3, 5), (2, 3, 5)), ((4, 1, 5), (1, 3, 5)), ((2, 3, 1), (2, 3, 5))],
)
def test_of_two_tensors(name, shapes):
    for options in PAIRS[name]:
        for dtype in (np.float32, np.float64):
            given = [draw(*shape, seed=k).astype(dtype) for k, shape in enumerate(shapes)]
            report = probe.check(getattr(torch.nn, name)(**options), "", given=given)
            assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, (
                f"{options}\n{report}"
            )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lead", [(), (3,), (2, 4)])
def test_bilinear(lead, bias):
    """ "Bilinear", of any leading axes."""
    layer = torch.nn.Bilinear(5, 4, 3, bias=bias)
    report = probe.check(layer, "", given=[draw(*lead, 5), draw(*lead, 4, seed=1)])
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)
    assert list(report.weights) == ["weight", "bias"][: 1 + bias]
    report = probe.check(
        layer.double(),
        "",
        given=[draw(*lead, 5).astype(float), draw(*lead, 4, seed=1).astype(float)],
    )
    assert report.ok


@EMPTY
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("targets", [[0, 7, 3, 11, 4, 9], [2, 1, 0], 10])
def test_an_adaptive_softmax(bias, targets):
    """ "AdaptiveLogSoftmaxWithLoss", of targets in all of its clusters, in none and without a
    batch; the second cluster has no features within."""
    layer = torch.nn.AdaptiveLogSoftmaxWithLoss(6, 12, [4, 8], head_bias=bias).eval()
    x = draw(*np.shape(targets), 6)
    for dtype in (np.float32, np.float64):
        layer = layer.to(torch.from_numpy(x.astype(dtype)).dtype)
        report = probe.check(layer, "", [x.astype(dtype), np.asarray(targets)])
        assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)
    assert ("head.bias" in report.weights) is bias


@EMPTY
def test_a_layer_without_features():
    for layer in (torch.nn.Linear(0, 5), torch.nn.Linear(0, 5, bias=False)):
        report = probe.check(layer, "", given=np.zeros((3, 0), np.float32))
        assert report.ok, report.sentence


@pytest.mark.parametrize(
    "kind",
    ["LazyConv2d", "LazyConvTranspose2d", "LazyBatchNorm2d", "LazyInstanceNorm2d", "LazyLinear"],
)
def test_lazy_layers_once_they_know_their_sizes(kind):
    options = {"Linear": (5,), "Norm2d": ()}
    layer = getattr(torch.nn, kind)(
        *next((one for key, one in options.items() if kind.endswith(key)), (5, 3))
    )
    x = draw(2, 3, 6, 7)
    layer(torch.from_numpy(x))
    report = probe.check(layer.eval(), "", given=x)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.ConvTranspose2d(4, 3, 3, 2),
        torch.nn.Upsample(scale_factor=2.5, mode="bilinear"),
        torch.nn.Upsample(scale_factor=1.5, mode="bicubic"),
        torch.nn.RMSNorm(7),
        torch.nn.InstanceNorm2d(4, affine=True),
        torch.nn.LPPool2d(2, 3),
        torch.nn.LocalResponseNorm(3),
        torch.nn.MaxPool2d(2, return_indices=True),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_half_precision(layer, half):
    report = probe.check(layer.to(half), "", given=draw(2, 4, 6, 7))
    layer.float()
    assert report.ok, str(report)


def test_what_is_left_out_of_torch_nn_has_a_reason():
    """Every exported class has a description, or a reason why it has none; nothing is in both
    lists."""
    modules = {
        name
        for name, kind in vars(torch.nn).items()
        if inspect.isclass(kind)
        and issubclass(kind, torch.nn.Module)
        and kind.__module__.startswith("torch.nn.modules")
    }
    missing = modules - set(described()) - set(LEFT_OUT)
    assert not missing, f"neither described nor left out: {sorted(missing)}"
    assert not set(LEFT_OUT) & set(described())
    assert all(reason[0].islower() and not reason.endswith(".") for reason in LEFT_OUT.values())


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("p", [0.0, -1.0, float("-inf")])
def test_what_is_no_norm_is_refused(p):
    x = np.ones((2, 3), np.float32)
    report = probe.check(torch.nn.PairwiseDistance(p), "", given=(x, x))
    assert report.verdict == "unchecked" and f"p={p} is not supported" in report.sentence


@pytest.mark.parametrize("samples", [(), (2,)])
@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.MaxPool2d(2, return_indices=True),
        torch.nn.AdaptiveMaxPool2d(3, return_indices=True),
        torch.nn.FractionalMaxPool2d(
            2, output_size=3, return_indices=True, _random_samples=torch.full((2, 3, 2), 0.4)
        ),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_places_of_maxima_that_are_another_s_are_found(layer, samples):
    x = np.random.default_rng(0).normal(size=(*samples, 3, 8, 8)).astype(np.float32)
    y, places = (one.numpy() for one in layer(torch.from_numpy(x)))
    assert probe.check(layer.eval(), "", given=x, expected=(y, places)).ok
    for wrong in (np.zeros_like(places), places + 1, -places):
        assert probe.check(layer, "", given=x, expected=(y, wrong)).verdict == "diverge"


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("places", [False, True])
def test_fractional_pooling_of_one_sample(rank, places):
    kind = getattr(torch.nn, f"FractionalMaxPool{rank}d")
    samples = torch.rand(1, 3, rank, generator=torch.Generator().manual_seed(0))
    layer = kind(2, output_size=3, return_indices=places, _random_samples=samples)
    x = np.random.default_rng(0).normal(size=(3, *(7,) * rank)).astype(np.float32)
    report = probe.check(layer.eval(), "", given=x)
    assert report.verdict == "agree", report
