"""LoRA of PEFT, where it is installed: merged or not, several adapters, scalings and biases,
DoRA."""

import numpy as np
import pytest
import torch
from module_state import bits, unchanged
from representatives import exhaustive
from torch import nn

import probe

peft = pytest.importorskip("peft")
Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D

pytestmark = pytest.mark.filterwarnings(
    "ignore:Already found a `peft_config` attribute:UserWarning",
    "ignore:LoRA adapter added to ConvNd layer with groups > 1:UserWarning",
)
F = nn.functional
WEIGHT = "base_layer.weight"
IDS = np.random.default_rng(0).integers(0, 9, (3, 5))


def built(make, adapters=1, seed=0, **options):
    """A network of one adapted layer whose parameters are all drawn."""
    torch.manual_seed(seed)
    net = nn.Sequential(make())
    for number in range(adapters):
        config = peft.LoraConfig(
            target_modules=["0"], r=2 + number, lora_alpha=6, init_lora_weights=False, **options
        )
        net = peft.inject_adapter_in_model(config, net, adapter_name=f"task{number}")
    for name, parameter in net.named_parameters():
        if "magnitude" in name:
            nn.init.uniform_(parameter, 0.5, 2.0)
        else:
            nn.init.normal_(parameter)
    for module in net.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.set_adapter([f"task{number}" for number in range(adapters)])
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
    "Linear-rslora": (
        lambda: nn.Linear(5, 7),
        (2, 3, 5),
        {"use_rslora": True, "lora_dropout": 0.2},
    ),
    "Linear-dora": (lambda: nn.Linear(5, 7), (4, 5), {"use_dora": True}),
    "Linear-two": (lambda: nn.Linear(5, 7, bias=False), (4, 5), {"adapters": 2}),
    "Linear-two-dora": (lambda: nn.Linear(5, 7), (2, 4, 5), {"adapters": 2, "use_dora": True}),
    "Conv1D": (lambda: Conv1D(7, 5), (2, 3, 5), {"fan_in_fan_out": True}),
    "Conv1D-dora": (lambda: Conv1D(7, 5), (3, 5), {"fan_in_fan_out": True, "use_dora": True}),
    "Conv1d": (lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1), (2, 3, 9), {}),
    "Conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), padding="same"), (2, 3, 6, 5), {"adapters": 2}),
    "Conv2d-1x1-dora": (lambda: nn.Conv2d(3, 4, 1), (2, 3, 6, 5), {"use_dora": True}),
    "Conv2d-dora": (
        lambda: nn.Conv2d(3, 4, 3, bias=False),
        (2, 3, 6, 5),
        {"use_dora": True, "adapters": 2},
    ),
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
        "lora_" in step
        and "_A.task0" in step
        and f"times {layer.scaling['task0']:g} (lora_alpha 6 / " in step
        for step in weight.steps
    )
    assert ("dora" in name) == any("lora_magnitude_vector.task0" in step for step in weight.steps)
    base = layer.base_layer
    found = probe.check(model, "0", x, expected=naively(base, weight.stored, x))
    assert (
        found.verdict == "diverge"
        and found.findings[0].slug == "raw-weights"
        and WEIGHT in found.findings[0].claim
    ), str(found)
    assert unchanged(before, model.module)

    # What PEFT merges is what the table shows.
    layer.merge()
    np.testing.assert_allclose(weight.effective, base.weight.detach().numpy(), atol=1e-4)
    before = bits(model.module)
    merged = probe.check(model, "0", x)
    bare = next(
        part for part in merged.weights[WEIGHT].parts if part.startswith(f"{WEIGHT} without task0")
    )
    np.testing.assert_allclose(merged.weights[WEIGHT].parts[bare], weight.stored, atol=1e-4)
    assert merged.ok, str(merged)
    if name in ("Linear", "Embedding-dora"):
        found = probe.check(
            model, "0", x, expected=naively(base, merged.weights[WEIGHT].parts[bare], x)
        )
        assert (
            found.verdict == "diverge"
            and found.findings[0].slug == "raw-weights"
            and bare in found.findings[0].claim
        ), str(found)

    # A call of a disabled layer takes out what is merged, in place: it is put back.
    layer.enable_adapters(False)
    names, caches = list(layer.merged_adapters), dict(layer._caches)
    disabled = probe.check(model, "0", x)
    assert disabled.ok and "adapters are disabled" in disabled.weights[WEIGHT].steps, str(disabled)
    np.testing.assert_allclose(disabled.weights[WEIGHT].effective, weight.stored, atol=1e-4)
    assert (
        unchanged(before, model.module)
        and layer.merged_adapters == names
        and layer._caches.keys() == caches.keys()
    )


SEPARATE = {
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 6, 5), {}),
    "depthwise": (lambda: nn.Conv1d(2, 4, 3, groups=2), (2, 2, 7), {"lora_bias": True}),
    "reflect": (
        lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
        (2, 4, 6, 5),
        {"adapters": 2},
    ),
    "dilation": (
        lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2),
        (2, 4, 8, 7),
        {"use_rslora": True},
    ),
    "dilation-dora": (
        lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2),
        (2, 4, 8, 7),
        {"use_dora": True},
    ),
    "max_norm": (lambda: nn.Embedding(9, 4, max_norm=1.5), None, {"adapters": 2}),
    "max_norm-1": (lambda: nn.Embedding(9, 4, max_norm=2.5, norm_type=1.0), None, {}),
}


@pytest.mark.parametrize(
    "name",
    [
        "groups",
        "max_norm",
        *exhaustive(*(one for one in SEPARATE if one not in ("groups", "max_norm"))),
    ],
)
def test_what_no_kernel_holds(name, tmp_path, signal):
    """PEFT's lora_A leaves out groups, dilation and padding mode, and has a max_norm of its own:
    the adapter is no part of the kernel."""
    make, shape, options = SEPARATE[name]
    x = IDS if shape is None else signal(shape)
    net = built(make, **options)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=lambda: built(make, seed=1, **options))
    before = bits(model.module)
    report = probe.check(model, "0", x)
    down = "lora_embedding_A.task0" if shape is None else "lora_A.task0.weight"
    assert report.ok and "onnx" in report.outputs and {WEIGHT, down} <= report.weights.keys(), str(
        report
    )
    assert "beside it: plus lora_B.task0(lora_A.task0(x)) * " in report.weights[WEIGHT].steps[0]
    np.testing.assert_array_equal(
        report.weights[WEIGHT].stored, net.state_dict()[f"0.{WEIGHT}"].numpy()
    )
    assert unchanged(before, model.module)
    alone = model.module[0].base_layer(torch.from_numpy(x)).detach().numpy()
    model.module.load_state_dict(net.state_dict())  # an embedding with max_norm has scaled its rows
    for parameter, values in before.items():
        assert torch.equal(dict(model.module.named_parameters())[parameter], values[1])
    found = probe.check(model, "0", x, expected=alone)
    assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights", str(found)
    assert (
        f"the stored {WEIGHT} alone, without lora_B.task0(lora_A.task0(x)) * "
    ) in found.findings[0].claim
    if options.get("adapters"):
        model.module[0].set_adapter(["task1"])
        other = model.module[0](torch.from_numpy(x)).detach().numpy()
        model.module.load_state_dict(net.state_dict())
        model.module[0].set_adapter(["task0", "task1"])
        found = probe.check(model, "0", x, expected=other)
        assert (
            found.findings[0].slug == "raw-weights"
            and "without lora_B.task0(" in found.findings[0].claim
        ), str(found)
        assert "task1" not in found.findings[0].claim


# PEFT merges no groups
@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    "name", ["dilation-dora", "max_norm", *exhaustive("reflect", "dilation", "max_norm-1")]
)
def test_what_no_kernel_holds_merged_into_one(name, signal):
    """Another layer than before: the merged kernel has the base's dilation and padding mode."""
    make, shape, options = SEPARATE[name]
    x = IDS if shape is None else signal(shape)
    net = built(make, **options)
    layer, bare = net[0], net[0].base_layer.weight.detach().numpy().copy()
    layer.merge()
    before = bits(net)
    report = probe.check(net, "0", x)
    part = next(
        part for part in report.weights[WEIGHT].parts if part.startswith(f"{WEIGHT} without task0")
    )
    np.testing.assert_allclose(report.weights[WEIGHT].parts[part], bare, atol=1e-4)
    assert report.ok and unchanged(before, net), str(report)
    layer.base_layer.weight.data, kept = torch.from_numpy(bare), layer.base_layer.weight.data
    alone = layer.base_layer(torch.from_numpy(x)).detach().numpy()
    layer.base_layer.weight.data = kept
    found = probe.check(net, "0", x, expected=alone)
    assert found.findings[0].slug == "raw-weights" and part in found.findings[0].claim, str(found)


def test_a_merged_bias_is_named(signal):
    x = signal((2, 3, 6, 5))
    net = built(lambda: nn.Conv2d(3, 4, 3), lora_bias=True)
    bare = net[0].base_layer.bias.detach().numpy().copy()
    net[0].merge()
    report = probe.check(net, "0", x)
    bias = report.weights["base_layer.bias"]
    assert report.ok and bias.steps == ("task0 merged into it",)
    np.testing.assert_allclose(bias.parts["base_layer.bias without task0"], bare, atol=1e-5)
    alone = (
        F.conv2d(torch.from_numpy(x), net[0].base_layer.weight, torch.from_numpy(bare))
        .detach()
        .numpy()
    )
    found = probe.check(net, "0", x, expected=alone)
    assert (
        found.findings[0].slug == "raw-weights"
        and "base_layer.bias without task0" in found.findings[0].claim
    ), str(found)


def test_three_axes(signal):
    report = probe.check(built(lambda: nn.Conv3d(2, 3, 2)), "0", signal((2, 2, 4, 3, 5)))
    assert report.ok and "lora_alpha 6 / r 2" in report.weights[WEIGHT].steps[0], str(report)


def test_a_bias_of_the_adapter_and_a_scale_set_by_hand(signal):
    net, x = built(lambda: nn.Conv2d(3, 4, 3), lora_bias=True), signal((2, 3, 6, 5))
    net[0].set_scale("task0", 0.5)
    net[0].scaling["task0"] *= 1.5
    report = probe.check(net, "0", x)
    bias = report.weights["base_layer.bias"]
    assert (
        report.ok
        and "plus lora_B.task0.bias times 2.25" in bias.steps
        and "(set by hand)" in report.weights[WEIGHT].steps[0]
    )
    alone = F.conv2d(
        torch.from_numpy(x),
        torch.from_numpy(report.weights[WEIGHT].effective),
        torch.from_numpy(bias.stored),
    ).numpy()
    found = probe.check(net, "0", x, expected=alone)
    assert (
        found.findings[0].slug == "raw-weights"
        and "only the base_layer.bias" in found.findings[0].claim
    ), str(found)
    unscaled = next(
        part for part in report.weights[WEIGHT].parts if "without their scaling" in part
    )
    values = torch.from_numpy(report.weights[WEIGHT].parts[unscaled])
    found = probe.check(
        net,
        "0",
        x,
        expected=F.conv2d(torch.from_numpy(x), values, torch.from_numpy(bias.effective)).numpy(),
    )
    assert (
        found.findings[0].slug == "raw-weights"
        and "without their scaling" in found.findings[0].claim
    ), str(found)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_other_precisions(kind, signal):
    net = built(lambda: nn.Linear(5, 7)).to(kind)
    assert probe.check(net, "0", signal((9, 5))).ok
    net[0].lora_A.to(torch.float32), net[0].lora_B.to(torch.float32)
    assert kind == torch.float64 or probe.check(net, "0", signal((9, 5))).ok
    net = built(lambda: nn.Linear(5, 7))
    net[0].lora_A.to(torch.bfloat16), net[0].lora_B.to(torch.bfloat16)
    assert "computes in bfloat16, but its base layer in float32" in why(net, "0", signal((9, 5)))


def test_parts_that_cancel_are_honest(signal):
    """The base holds the large negative of what the adapter adds: what is left has the rounding of
    the parts."""
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
    assert "dropout is active before its adapter task0" in why(net, "0", x)
    net = built(lambda: nn.Linear(5, 7))
    handle = net[0].lora_A["task0"].register_forward_hook(lambda module, args, output: 2 * output)
    assert "its lora_A.task0 has a user-registered forward hook" in why(net, "0", x)
    handle.remove()

    net = built(lambda: nn.Embedding(9, 4, max_norm=1.0), use_dora=True)
    before = bits(net)
    assert "DoRA on an embedding with max_norm" in why(net, "0", IDS)
    assert unchanged(before, net)

    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(2 * x)

    (layer,) = probe.open_model(built(lambda: Own(5, 7))).layers
    assert ("its base layer is not described") in layer.why and "Own overrides forward" in layer.why


def test_a_whole_model_of_peft(signal):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    net = peft.get_peft_model(
        inner, peft.LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False)
    ).eval()
    reports = list(probe.sweep(net, signal((4, 5))))
    assert [report.layer for report in reports] == [f"base_model.model.{at}" for at in range(3)]
    assert all(report.ok for report in reports), [str(report) for report in reports]


class Mixed(nn.Module):
    def __init__(self, inner, names):
        super().__init__()
        self.inner, self.names = inner, names

    def forward(self, x):
        return self.inner(x, adapter_names=self.names)


NAMES = ["task1", "__base__", "task0", "task1", "__base__"]


@pytest.mark.costly(default=2)
@pytest.mark.parametrize(
    "name", ["Linear", "Linear-rslora", "Conv2d", "Embedding", "Conv1D", "max_norm", "reflect"]
)
def test_an_adapter_for_each_sample(name, signal):
    make, shape, options = (CASES | SEPARATE)[name]
    x = np.resize(IDS, (5, 3)) if shape is None else signal((5, *shape[1:]))
    net = built(make, **options | {"adapters": 2})
    before = bits(net)
    module = Mixed(net[0], NAMES)
    report = probe.check(module, "inner", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    assert report.weights[WEIGHT].steps[0].startswith("beside it: plus ") and report.weights[
        WEIGHT
    ].steps[0].endswith("samples 0, 3")
    assert unchanged(before, net)
    base, task1 = ["__base__"] * 5, [one.replace("task0", "__base__") for one in NAMES]
    for names, left in ((base, "alone, without"), (task1, "without lora_B.task0(")):
        module.names = names
        other = module(torch.from_numpy(x)).detach().numpy()
        for parameter, values in dict(net.named_parameters()).items():
            values.data.copy_(before[parameter][1])
        module.names = NAMES
        found = probe.check(module, "inner", x, expected=other)
        assert found.findings[0].slug == "raw-weights" and left in found.findings[0].claim, str(
            found
        )


def test_an_adapter_for_each_sample_of_a_whole_model(signal):
    """PEFT hangs hooks into its layers in the call of the model, after ours."""
    torch.manual_seed(0)
    config = peft.LoraConfig(target_modules=["0", "2"], r=2, init_lora_weights=False)
    net = peft.get_peft_model(
        nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), config, adapter_name="task0"
    )
    net.add_adapter("task1", config)
    reports = list(probe.sweep(Mixed(net.eval(), NAMES), signal((5, 5))))
    assert len(reports) == 3 and all(report.ok for report in reports), [
        str(report) for report in reports
    ]
    assert "for the samples 0, 3" in str(reports[0])


class Itself(nn.Module):
    """One that attends to what it is called on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


def values(module):
    """Copies of all parameters: PEFT makes new ones of those of an attention whenever it lists its
    modules."""
    return {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def same(before, module):
    after = values(module)
    return before.keys() == after.keys() and all(
        np.array_equal(after[name], one) for name, one in before.items()
    )


# PEFT's own, in each call
@pytest.mark.filterwarnings("ignore:Already following adapters were merged:UserWarning")
@pytest.mark.parametrize(
    ("options", "adapters"),
    [
        ({"add_bias_kv": True, "add_zero_attn": True}, 1),
        *(
            pytest.param(*one, marks=pytest.mark.exhaustive)
            for one in (
                ({"batch_first": True}, 1),
                ({"batch_first": True}, 2),
                ({"bias": False}, 1),
                ({"bias": False}, 2),
                ({"add_bias_kv": True, "add_zero_attn": True}, 2),
            )
        ),
    ],
    ids=str,
)
def test_attention_is_checked_with_what_is_merged_for_the_call(options, adapters, tmp_path, signal):
    """PEFT merges its adapters before each call of a MultiheadAttention and takes them out again,
    which rounds: nothing of it stays."""

    def build(seed=1):
        return Itself(
            built(lambda: nn.MultiheadAttention(4, 2, **options), adapters, seed)[0]
        ).eval()

    net, x = build(0), signal((2, 3, 4))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=build)
    module, before = model.module, values(model.module)
    (report,) = probe.sweep(model, x)
    assert report.layer == "inner" and report.ok and "onnx" in report.outputs, str(report)
    assert same(before, module)
    layer = module.inner
    names = {
        "base_layer.in_proj_weight": layer.get_delta_weight,
        "base_layer.out_proj.base_layer.weight": layer.base_layer.out_proj.get_delta_weight,
    }
    assert names.keys() <= report.weights.keys()
    for name, delta in names.items():
        weight, times = report.weights[name], 1 + ("out_proj" in name)  # PEFT adds the latter twice
        np.testing.assert_array_equal(weight.stored, before[f"inner.{name}"])
        added = sum(delta(f"task{number}").detach().numpy() for number in range(adapters))
        np.testing.assert_allclose(weight.effective, weight.stored + times * added, atol=1e-4)
        assert (
            weight.steps[0].startswith("plus ")
            and f"times {layer.scaling['task0']:g} (lora_alpha 6 / " in weight.steps[0]
        )
        assert ("merged 2 times over by PEFT" in weight.steps) == (times == 2)

    def computed(**exchanged):
        """The attention with these numbers for its weights."""
        base = nn.MultiheadAttention(4, 2, **options).eval()
        held = {"in_proj_weight": report.weights["base_layer.in_proj_weight"].effective}
        held |= {
            "out_proj.weight": report.weights["base_layer.out_proj.base_layer.weight"].effective
        }
        held |= {key.replace("__", "."): values for key, values in exchanged.items()}
        for key, parameter in layer.base_layer.named_parameters():
            if key.replace("base_layer.", "") in base.state_dict():
                held.setdefault(key.replace("base_layer.", ""), parameter.detach().numpy())
        base.load_state_dict(
            {key: torch.from_numpy(np.array(values)) for key, values in held.items()}
        )
        return Itself(base)(torch.from_numpy(x)).detach().numpy()

    raw = {name: report.weights[name].stored for name in names}
    once = report.weights["base_layer.out_proj.base_layer.weight"].parts[
        "base_layer.out_proj.base_layer.weight with its adapters merged once"
    ]
    for wrong, claim in (
        (
            {"in_proj_weight": raw["base_layer.in_proj_weight"]},
            "the stored base_layer.in_proj_weight instead",
        ),
        (
            {"out_proj__weight": raw["base_layer.out_proj.base_layer.weight"]},
            "the stored base_layer.out_proj.base_layer.weight instead",
        ),
        (
            {"out_proj__weight": once},
            "base_layer.out_proj.base_layer.weight with its adapters merged once",
        ),
    ):
        found = probe.check(model, "inner", x, expected=computed(**wrong))
        assert (
            found.verdict == "diverge"
            and found.findings[0].slug == "raw-weights"
            and claim in found.findings[0].claim
        ), str(found)
    assert same(before, module)

    layer.merge()
    merged, held = probe.check(module, "inner", x), values(module)
    assert merged.ok, str(merged)
    weight = merged.weights["base_layer.out_proj.base_layer.weight"]
    twice = weight.parts[
        "base_layer.out_proj.base_layer.weight without its adapters, which are included twice"
    ]
    np.testing.assert_allclose(twice, raw["base_layer.out_proj.base_layer.weight"], atol=1e-4)
    layer.enable_adapters(False)
    assert probe.check(module, "inner", x).ok
    assert same(held, module) and layer.merged_adapters == [
        f"task{number}" for number in range(adapters)
    ]


class Targeted(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def targeted(seed=0):
    """PEFT adds to the parameters themselves, for the call."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=2,
        lora_alpha=3,
        target_parameters=["first.weight", "second.weight"],
        init_lora_weights=False,
    )
    return peft.get_peft_model(Targeted(), config).base_model.model.eval()


def test_target_parameters(tmp_path, signal):
    torch.save(targeted().state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=lambda: targeted(1))
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    x = signal((3, 6))
    for name in ("first", "second"):
        report = probe.check(model, f"{name}.base_layer", x)
        weight = report.weights["weight"]
        assert (
            report.ok
            and "onnx" in report.outputs
            and weight.steps[0].startswith("plus lora_B @ lora_A")
        ), str(report)
        np.testing.assert_array_equal(weight.stored, before[f"{name}.base_layer.weight"].numpy())
        down, up = (before[f"{name}.lora_{letter}.default.weight"].double() for letter in "AB")
        np.testing.assert_allclose(
            weight.effective,
            (before[f"{name}.base_layer.weight"] + 1.5 * up @ down).numpy(),
            rtol=1e-5,
            atol=1e-6,
        )
    base = model.module.first.base_layer
    wrong = nn.functional.linear(torch.from_numpy(x), base.weight, base.bias).detach().numpy()
    found = probe.check(model, "first.base_layer", x, expected=wrong)
    assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights", str(found)
    assert "the stored weight" in found.findings[0].claim, found.findings[0].claim
    assert all(
        torch.equal(value, before[name]) for name, value in model.module.state_dict().items()
    )


def test_the_bias_of_one_adapter_beside_the_magnitude_of_another(signal):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7))
    for name, options in (("task0", {"lora_bias": True}), ("task1", {"use_dora": True})):
        config = peft.LoraConfig(target_modules=["0"], r=2, init_lora_weights=False, **options)
        net = peft.inject_adapter_in_model(config, net, adapter_name=name)
    for name, parameter in net.named_parameters():
        (nn.init.uniform_ if "magnitude" in name else nn.init.normal_)(parameter)
    net[0].set_adapter(["task0", "task1"])
    report = probe.check(net.eval(), "0", signal((4, 5)))
    assert report.verdict == "agree", report
    assert any("the norm" in step for step in report.weights["base_layer.bias"].steps)
