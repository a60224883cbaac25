"""Modules of quantisation-aware training: saved, reopened, checked; their stored weights diverge;
observers are put back."""

import numpy as np
import pytest
import torch
from known_warnings import TORCH_AO
from torch import nn
from torch.ao import quantization
from torch.ao.nn import intrinsic, qat

import probe

F = nn.functional
pytestmark = pytest.mark.filterwarnings(*TORCH_AO)


def config(version):
    return quantization.get_default_qat_qconfig("fbgemm", version=version)


def embedding_config():
    """4-bit rows with a scale and a floating zero point of their own."""
    observer = quantization.MovingAveragePerChannelMinMaxObserver
    scheme = torch.per_channel_affine_float_qparams
    weight = quantization.FakeQuantize.with_args(
        observer=observer, quant_min=0, quant_max=15, dtype=torch.quint8, qscheme=scheme, ch_axis=0
    )
    return quantization.QConfig(activation=quantization.NoopObserver, weight=weight)


CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CASES = {}
for rank, size in ((1, 3), (2, (3, 2)), (3, 2)):
    options = {"stride": 2, "padding": 1, "groups": 2}
    CASES[f"qat.Conv{rank}d"] = (
        lambda q, r=rank, k=size, o=options: getattr(qat, f"Conv{r}d")(4, 6, k, **o, qconfig=q),
        rank,
    )
    CASES[f"ConvReLU{rank}d"] = (
        lambda q, r=rank, k=size, o=options: getattr(intrinsic.qat, f"ConvReLU{r}d")(
            4, 6, k, **o, qconfig=q
        ),
        rank,
    )
    for kind, bias in (("ConvBn", rank != 1), ("ConvBnReLU", rank == 2)):
        CASES[f"{kind}{rank}d"] = (
            lambda q, r=rank, k=size, o=options, n=kind, b=bias: getattr(intrinsic.qat, f"{n}{r}d")(
                4, 6, k, **o, bias=b, qconfig=q
            ),
            rank,
        )
CASES["qat.Linear"] = (lambda q: qat.Linear(5, 6, qconfig=q), 0)
CASES["qat.dynamic.Linear"] = (
    lambda q: qat.dynamic.Linear(5, 6, qconfig=quantization.default_dynamic_qat_qconfig),
    0,
)
CASES["LinearReLU"] = (lambda q: intrinsic.qat.LinearReLU(5, 6, qconfig=q), 0)
CASES["LinearBn1d"] = (lambda q: intrinsic.qat.LinearBn1d(5, 6, qconfig=q), 0)
CASES["qat.Embedding"] = (lambda q: qat.Embedding(7, 5, qconfig=embedding_config()), None)
CASES["qat.EmbeddingBag"] = (
    lambda q: qat.EmbeddingBag(7, 5, mode="sum", qconfig=embedding_config()),
    None,
)


def drawn(rank, seed):
    rng = np.random.default_rng(seed)
    if rank is None:
        return rng.integers(0, 7, (3, 4))
    return rng.normal(size=(3, 5) if not rank else (2, 4, 5, 4, 3)[: rank + 2]).astype(np.float32)


def bits(module):
    return {
        name: tensor.detach().clone()
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


def unchanged(before, module):
    after = bits(module)
    return before.keys() == after.keys() and all(
        after[name].shape == one.shape and torch.equal(after[name], one)
        for name, one in before.items()
    )


def naively(module, x):
    """The layer as someone computes it from what the file holds, without quantising anything."""
    kind, given = type(module).__name__, torch.from_numpy(x)
    with torch.no_grad():
        if "Embedding" in kind:
            y = F.embedding(given, module.weight)
            return (y.sum(1) if kind == "EmbeddingBag" else y).numpy()
        options = (
            {}
            if "Linear" in kind
            else {"stride": module.stride, "padding": module.padding, "groups": module.groups}
        )
        function = F.linear if "Linear" in kind else CONV[len(module.kernel_size)]
        y = function(given, module.weight, module.bias, **options)
        if "Bn" in kind:
            y = F.batch_norm(
                y,
                module.bn.running_mean,
                module.bn.running_var,
                module.bn.weight,
                module.bn.bias,
                eps=module.bn.eps,
            )
        return (F.relu(y) if "ReLU" in kind else y).numpy()


@pytest.mark.exhaustive(each=lambda name: name.rstrip("123d"))
@pytest.mark.parametrize("name", CASES)
def test_saved_and_reopened(name, tmp_path):
    make, rank = CASES[name]
    torch.manual_seed(0)

    def build():
        return nn.Sequential(make(config(len(name) % 2)))

    net = build().train()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.7)
    for seed in range(2):
        net(torch.from_numpy(drawn(rank, seed)))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=build)
    x, before = drawn(rank, 9), bits(model.module)
    report = probe.check(model, "0", x)
    assert report.ok and tuple(report.outputs) == ("framework", "numpy", "onnx"), str(report)
    weight = report.weights["weight"]
    np.testing.assert_array_equal(weight.stored, net.state_dict()["0.weight"].numpy())
    assert "fake-quantised to " in weight.steps[-1] and "scale" in weight.steps[-1]
    if weight.grid is not None:
        codes = weight.grid.integers(weight.effective)
        assert np.abs(codes).max() <= 128 and np.unique(codes).size > 3
        np.testing.assert_allclose(codes * weight.grid.scale, weight.effective, rtol=1e-6)
    assert unchanged(before, model.module)
    wrong = probe.check(model, "0", x, expected=naively(model.module[0], x))
    assert (
        wrong.verdict == "diverge"
        and wrong.findings[0].slug == "raw-weights"
        and "weight" in wrong.findings[0].claim
    ), str(wrong)
    assert unchanged(before, model.module)


@pytest.mark.parametrize("slow", [False, True])
def test_the_folded_kernel_is_what_the_layer_multiplies_by(slow):
    torch.manual_seed(0)
    module = intrinsic.qat.ConvBn2d(3, 4, 2, bias=True, qconfig=config(0)).train()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    module(torch.randn(4, 3, 5, 6))
    module.eval()
    module._enable_slow_path_for_better_numerical_stability = slow
    seen = []
    handle = module.weight_fake_quant.register_forward_hook(
        lambda inner, args, output: seen.append((args[0].clone(), output.clone()))
    )
    report = probe.check(module, "", drawn(2, 1)[:, :3])
    handle.remove()
    assert report.ok, str(report)
    before, after = seen[-1]
    np.testing.assert_array_equal(report.weights["weight"].effective, after.detach().numpy())
    if not slow:
        np.testing.assert_array_equal(
            report.weights["weight"].parts["weight before its fake quantisation"],
            before.detach().numpy(),
        )


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU()
        self.wide, self.sum = nn.Conv2d(5, 5, 1), torch.ao.nn.quantized.FloatFunctional()
        self.pool, self.fc, self.gate = nn.AdaptiveAvgPool2d(1), nn.Linear(5, 4), nn.Sigmoid()

    def forward(self, x):
        x = self.relu(self.bn(self.conv(self.quant(x))))
        x = self.sum.add(x, self.wide(x))
        return self.dequant(self.gate(self.fc(self.pool(x).flatten(1))))


def prepared(version=0):
    torch.manual_seed(0)
    net = Net().train()
    net.qconfig = config(version)
    quantization.fuse_modules_qat(net, [["conv", "bn", "relu"]], inplace=True)
    quantization.prepare_qat(net, inplace=True)
    for _ in range(2):
        net(torch.randn(4, 3, 8, 7))
    return net


@pytest.mark.parametrize("version", [0, 1])
def test_a_prepared_network_with_its_observers_on(version):
    """In evaluation mode too they move the levels in each call; what a sweep has moved is put
    back."""
    net = prepared(version).eval()
    x, before = (
        np.random.default_rng(1).normal(scale=3, size=(2, 3, 8, 7)).astype(np.float32),
        bits(net),
    )
    reports = {report.layer: report for report in probe.sweep(net, x)}
    assert all(report.ok for report in reports.values()), [
        str(report) for report in reports.values() if not report.ok
    ]
    assert {
        "quant",
        "conv",
        "wide",
        "/add",
        "sum.activation_post_process",
        "pool",
        "fc",
        "gate",
        "dequant",
    } <= reports.keys()
    assert unchanged(before, net)
    words = str(probe.check(net, "fc", x))
    assert "FakeQuantize: to 128 levels" in words
    net(torch.from_numpy(x))
    assert not unchanged(before, net), "the observers were off: nothing was tested"


def test_without_the_quantiser_behind_the_layer():
    net = prepared().eval()
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 7)).astype(np.float32)
    report = probe.check(net, "quant", x, expected=x)
    assert report.verdict == "diverge" and report.comparisons["framework", "numpy"].ok


def test_switched_off():
    """Neither quantised nor observed: the float layer; and observers that have met nothing yet find
    their channels' room again."""
    net = prepared().eval()
    net.apply(quantization.disable_fake_quant)
    x = np.random.default_rng(1).normal(size=(2, 3, 8, 7)).astype(np.float32)
    assert probe.check(net, "fc", x).ok and not probe.check(net, "fc", x).weights["weight"].steps
    fresh = qat.Linear(5, 6, qconfig=config(0))
    before = bits(fresh)
    assert probe.check(fresh, "", drawn(0, 1)).ok
    assert unchanged(before, fresh)


def test_a_quantiser_of_ones_own_is_not_taken_for_pytorchs():
    class Coarse(quantization.FakeQuantize):
        def forward(self, x):
            return super().forward(x).round()

    module = qat.Linear(5, 6, qconfig=config(0)).eval()
    module.weight_fake_quant = Coarse()
    (report,) = probe.sweep(module, drawn(0, 1))
    assert report.verdict == "unchecked" and "Coarse overrides forward" in report.missing["numpy"]
    with_statistics = intrinsic.qat.ConvBn1d(4, 6, 3, qconfig=config(0)).train()
    assert "in training mode" in probe.open_model(with_statistics).layers[0].why
