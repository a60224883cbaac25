"""LoRA of PEFT, where it is installed: merged or not, several adapters, scalings and biases, DoRA."""

import warnings

import numpy as np
import pytest
import torch
from bits import bits, unchanged
from torch import nn

import probe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")
    from transformers.pytorch_utils import Conv1D

F = nn.functional
WEIGHT = "base_layer.weight"
IDS = np.random.default_rng(0).integers(0, 9, (3, 5))


def built(make, adapters=1, seed=0, **options):
    """A network of one adapted layer whose parameters are all drawn."""
    torch.manual_seed(seed)
    net = nn.Sequential(make())
    for number in range(adapters):
        config = peft.LoraConfig(target_modules=["0"], r=2 + number, lora_alpha=6, init_lora_weights=False, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = peft.inject_adapter_in_model(config, net, adapter_name=f"task{number}")
    for name, parameter in net.named_parameters():
        if "magnitude" in name:
            nn.init.uniform_(parameter, 0.5, 2.0)
        else:
            nn.init.normal_(parameter)
    net[0].set_adapter([f"task{number}" for number in range(adapters)])
    return net.eval()


def naively(base, weight, x):
    """The base layer with another weight, its own bias behind it."""
    x, weight = torch.from_numpy(x), torch.from_numpy(np.asarray(weight, np.float32))
    if isinstance(base, nn.Embedding):
        return F.embedding(x, weight).numpy()
    if isinstance(base, Conv1D):
        return (x @ weight + base.bias).detach().numpy()
    if isinstance(base, nn.Linear):
        return F.linear(x, weight, base.bias).detach().numpy()
    conv = getattr(F, f"conv{weight.ndim - 2}d")
    return conv(x, weight, base.bias, base.stride, base.padding).detach().numpy()


def why(module, name, x):
    """Why a layer has no description."""
    found = []
    probe.open_model(module).run([x], [name], lambda capture: found.append(capture.why))
    return found[0]


CASES = {
    "Linear": (lambda: nn.Linear(5, 7), (4, 5), {}),
    "Linear-rslora": (lambda: nn.Linear(5, 7), (2, 3, 5), {"use_rslora": True, "lora_dropout": 0.2}),
    "Linear-dora": (lambda: nn.Linear(5, 7), (4, 5), {"use_dora": True}),
    "Linear-two": (lambda: nn.Linear(5, 7, bias=False), (4, 5), {"adapters": 2}),
    "Linear-two-dora": (lambda: nn.Linear(5, 7), (2, 4, 5), {"adapters": 2, "use_dora": True}),
    "Conv1D": (lambda: Conv1D(7, 5), (2, 3, 5), {"fan_in_fan_out": True}),
    "Conv1D-dora": (lambda: Conv1D(7, 5), (3, 5), {"fan_in_fan_out": True, "use_dora": True}),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9), {}),
    "Conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), padding="same"), (2, 3, 6, 5), {"adapters": 2}),
    "Conv2d-1x1-dora": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 6, 5), {"use_dora": True}),
    "Conv2d-dora": (lambda: nn.Conv2d(3, 4, 3, bias=False), (2, 3, 6, 5), {"use_dora": True, "adapters": 2}),
    "Embedding": (lambda: nn.Embedding(9, 4), None, {"adapters": 2}),
    "Embedding-dora": (lambda: nn.Embedding(9, 4, padding_idx=0), None, {"use_dora": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_saved_and_reopened_and_merged(name, tmp_path, signal):
    make, shape, options = CASES[name]
    x = IDS if shape is None else signal(shape)
    net = built(make, **options)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=lambda: built(make, seed=1, **options))
    layer, before = model.module[0], bits(model.module)
    assert [(one.name, bool(one.checkable)) for one in model.layers] == [("0", True)]
    report = probe.check(model, "0", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    weight = report.weights[WEIGHT]
    np.testing.assert_array_equal(weight.stored, net.state_dict()[f"0.{WEIGHT}"].numpy())
    assert any(
        "lora_" in step and "_A.task0" in step and f"times {layer.scaling['task0']:g} (lora_alpha 6 / " in step for step in weight.steps
    )
    assert ("dora" in name) == any("lora_magnitude_vector.task0" in step for step in weight.steps)
    base = layer.base_layer
    found = probe.check(model, "0", x, expected=naively(base, weight.stored, x))
    assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights" and WEIGHT in found.findings[0].claim, str(found)
    assert unchanged(before, model.module)

    # What PEFT merges is what the table shows.
    layer.merge()
    np.testing.assert_allclose(weight.effective, base.weight.detach().numpy(), atol=1e-4)
    before = bits(model.module)
    merged = probe.check(model, "0", x)
    bare = next(part for part in merged.weights[WEIGHT].parts if part.startswith(f"{WEIGHT} without task0"))
    np.testing.assert_allclose(merged.weights[WEIGHT].parts[bare], weight.stored, atol=1e-4)
    assert merged.ok, str(merged)
    if name in ("Linear", "Embedding-dora"):
        found = probe.check(model, "0", x, expected=naively(base, merged.weights[WEIGHT].parts[bare], x))
        assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights" and bare in found.findings[0].claim, str(found)

    # A call of a disabled layer takes out what is merged, in place: it is put back.
    layer.enable_adapters(False)
    names, caches = list(layer.merged_adapters), dict(layer._caches)
    disabled = probe.check(model, "0", x)
    assert disabled.ok and "adapters are disabled" in disabled.weights[WEIGHT].steps, str(disabled)
    np.testing.assert_allclose(disabled.weights[WEIGHT].effective, weight.stored, atol=1e-4)
    assert unchanged(before, model.module) and layer.merged_adapters == names and layer._caches.keys() == caches.keys()


SEPARATE = {
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 6, 5)),
    "reflect": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), (2, 4, 6, 5)),
    "dilation": (lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 8, 7)),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_what_no_kernel_holds(name, signal):
    """PEFT's lora_A leaves out groups, dilation and padding mode: the adapter is no part of the kernel then."""
    make, shape = SEPARATE[name]
    report = probe.check(built(make), "0", signal(shape))
    assert report.ok and {WEIGHT, "lora_A.task0.weight", "lora_B.task0.weight"} <= report.weights.keys(), str(report)


def test_three_axes(signal):
    report = probe.check(built(lambda: nn.Conv3d(2, 3, 2)), "0", signal((2, 2, 4, 3, 5)))
    assert report.ok and "lora_alpha 6 / r 2" in report.weights[WEIGHT].steps[0], str(report)


def test_a_bias_of_the_adapter_and_a_scale_set_by_hand(signal):
    net, x = built(lambda: nn.Conv2d(3, 4, 3), lora_bias=True), signal((2, 3, 6, 5))
    net[0].set_scale("task0", 0.5)
    net[0].scaling["task0"] *= 1.5
    report = probe.check(net, "0", x)
    bias = report.weights["base_layer.bias"]
    assert report.ok and "plus lora_B.task0.bias times 2.25" in bias.steps and "(set by hand)" in report.weights[WEIGHT].steps[0]
    alone = F.conv2d(torch.from_numpy(x), torch.from_numpy(report.weights[WEIGHT].effective), torch.from_numpy(bias.stored)).numpy()
    found = probe.check(net, "0", x, expected=alone)
    assert found.findings[0].slug == "raw-weights" and "only the base_layer.bias" in found.findings[0].claim, str(found)
    unscaled = next(part for part in report.weights[WEIGHT].parts if "without their scaling" in part)
    values = torch.from_numpy(report.weights[WEIGHT].parts[unscaled])
    found = probe.check(net, "0", x, expected=F.conv2d(torch.from_numpy(x), values, torch.from_numpy(bias.effective)).numpy())
    assert found.findings[0].slug == "raw-weights" and "without their scaling" in found.findings[0].claim, str(found)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_other_precisions(kind, signal):
    net = built(lambda: nn.Linear(5, 7)).to(kind)
    assert probe.check(net, "0", signal((9, 5))).ok
    net[0].lora_A.to(torch.float32), net[0].lora_B.to(torch.float32)
    assert kind == torch.float64 or probe.check(net, "0", signal((9, 5))).ok
    net = built(lambda: nn.Linear(5, 7))
    net[0].lora_A.to(torch.bfloat16), net[0].lora_B.to(torch.bfloat16)
    assert "computes in bfloat16, its base in float32" in why(net, "0", signal((9, 5)))


def test_parts_that_cancel_are_honest(signal):
    """The base holds the large negative of what the adapter adds: what is left has the rounding of the parts."""
    for seed in range(5):
        net = built(lambda: nn.Linear(40, 7), seed=seed)
        with torch.no_grad():
            delta = 1000 * net[0].get_delta_weight("task0")
            net[0].lora_B["task0"].weight *= 1000
            net[0].base_layer.weight.copy_(0.1 * net[0].base_layer.weight - delta)
        report = probe.check(net, "0", signal((9, 40), seed=seed))
        assert report.ok, str(report)


def test_what_has_no_description(signal):
    x = signal((4, 5))
    net = built(lambda: nn.Linear(5, 7), lora_dropout=0.5).train()
    assert "dropout is active in front of its adapter task0" in why(net, "0", x)
    net = built(lambda: nn.Linear(5, 7))
    handle = net[0].lora_A["task0"].register_forward_hook(lambda module, args, output: 2 * output)
    assert "its lora_A.task0 carries a forward hook" in why(net, "0", x)
    handle.remove()

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            return self.inner[0](x, adapter_names=["task0", "__base__", "task0", "__base__"])

    assert "adapter_names gives each sample" in why(Mixed(), "inner.0", x)

    net = built(lambda: nn.Embedding(9, 4, max_norm=1.0))
    before = bits(net)
    assert "max_norm or embed_scale" in why(net, "0", IDS)
    assert unchanged(before, net)

    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(2 * x)

    (layer,) = probe.open_model(built(lambda: Own(5, 7))).layers
    assert "it wraps a layer that is not described" in layer.why and "Own overrides forward" in layer.why


def test_a_whole_model_of_peft(signal):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    net = peft.get_peft_model(inner, peft.LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False)).eval()
    reports = list(probe.sweep(net, signal((4, 5))))
    assert [report.layer for report in reports] == [f"base_model.model.{at}" for at in range(3)]
    assert all(report.ok for report in reports), [str(report) for report in reports]


def test_attention_is_checked_with_what_is_merged_for_the_call(signal):
    """PEFT merges its adapters before each call of a MultiheadAttention and takes them out again, which rounds: nothing of it stays."""
    net = built(lambda: nn.MultiheadAttention(4, 2, batch_first=True))

    class Itself(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net[0]

        def forward(self, x):
            return self.inner(x, x, x)[0]

    module = Itself()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    (report,) = probe.sweep(module, signal((2, 3, 4)))
    assert report.layer == "inner.base_layer" and report.ok, str(report)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
