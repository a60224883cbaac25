"""Layers of Brevitas, where it is installed: quantisers bit for bit, layers saved and reopened,
QuantTensors between them."""

import importlib
import inspect
import re

import numpy as np
import pytest
import torch
from module_state import bits, unchanged
from representatives import exhaustive
from torch import nn

import probe

qnn = pytest.importorskip("brevitas.nn")
quant = pytest.importorskip("brevitas.quant")
quant_float = pytest.importorskip("brevitas.quant.float")

ALL = (
    "scaled_int",
    "fixed_point",
    "binary",
    "ternary",
    "shifted_scaled_int",
    "float",
    "float_quant_ocp",
    "float_quant_fnuz",
    "mx_quant_ocp",
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Positional args are being deprecated:FutureWarning",
    "ignore:Computing zero point of output accumulator not supported:UserWarning",
    "ignore:Converting a tensor with requires_grad=True to a scalar:UserWarning",
)

WEIGHTS = {
    "int8": {},
    "int4-channel": {"weight_quant": quant.Int8WeightPerChannelFloat, "weight_bit_width": 4},
    "int3-mse": {"weight_quant": quant.Int8WeightPerTensorFloatMSE, "weight_bit_width": 3},
    "fixed": {"weight_quant": quant.Int8WeightPerTensorFixedPoint},
    "fixed-channel": {"weight_quant": quant.Int8WeightPerChannelFixedPointMSE},
    "shifted": {"weight_quant": quant.ShiftedUint8WeightPerTensorFloat},
    "shifted-channel": {"weight_quant": quant.ShiftedUint8WeightPerChannelFloat},
    "decoupled": {"weight_quant": quant.Int8WeightPerChannelFloatDecoupled},
    "norm": {"weight_quant": quant.Int8WeightNormL2PerChannelFixedPoint},
    "binary-const": {"weight_quant": quant.SignedBinaryWeightPerTensorConst},
    "binary": {"weight_quant_type": "binary"},
    "ternary-const": {"weight_quant": quant.SignedTernaryWeightPerTensorConst},
    "ternary": {
        "weight_quant_type": "ternary",
        "weight_threshold": 0.3,
        "weight_scaling_impl_type": "const",
        "weight_scaling_init": 0.3,
    },
    "parameter": {"weight_scaling_impl_type": "parameter_from_stats"},
    "floor": {"weight_float_to_int_impl_type": "floor"},
    "ceil": {"weight_float_to_int_impl_type": "ceil"},
    "to-zero": {"weight_float_to_int_impl_type": "round_to_zero"},
    "dpu": {"weight_float_to_int_impl_type": "dpu"},
}
ACTIVATIONS = {
    "int8": lambda: qnn.QuantIdentity(),
    "int3": lambda: qnn.QuantIdentity(bit_width=3, act_quant=quant.Int8ActPerTensorFloat),
    "fixed": lambda: qnn.QuantIdentity(act_quant=quant.Int8ActPerTensorFixedPoint),
    "shifted": lambda: qnn.QuantIdentity(act_quant=quant.ShiftedUint8ActPerTensorFloat),
    "binary": lambda: qnn.QuantIdentity(act_quant=quant.SignedBinaryActPerTensorConst),
    "ternary": lambda: qnn.QuantIdentity(act_quant=quant.SignedTernaryActPerTensorConst),
    "relu": lambda: qnn.QuantReLU(),
    "relu-fixed-4": lambda: qnn.QuantReLU(act_quant=quant.Uint8ActPerTensorFixedPoint, bit_width=4),
    "relu-channel": lambda: qnn.QuantReLU(
        scaling_per_output_channel=True,
        per_channel_broadcastable_shape=(1, 3, 1, 1),
        scaling_stats_permute_dims=(1, 0, 2, 3),
    ),
    "hardtanh": lambda: qnn.QuantHardTanh(min_val=-1.0, max_val=1.0, bit_width=5),
    "hardtanh-alone": lambda: qnn.QuantHardTanh(act_quant=None, min_val=-1.0, max_val=1.0),
    "none": lambda: qnn.QuantIdentity(act_quant=None),
}


def calibrated(module, shape, seed=0):
    """Run a few times in training mode, which is when Brevitas collects its scales; then in
    evaluation mode."""
    module.train()
    with torch.no_grad():
        for draw in range(3):
            torch.manual_seed(seed + draw)
            module(torch.randn(shape))
    return module.eval()


def values(rng, shape, size=None):
    """Ties of multiples of ``size``, their neighbours, zeros of both signs, subnormal and very
    large numbers among normal ones."""
    x = rng.normal(size=shape).astype(np.float32) * np.float32(2.0 ** rng.integers(-6, 6))
    size = np.float32(np.abs(x).max() / 127 if size is None else size)
    flat = x.reshape(-1)
    ties = (rng.integers(-9, 9, flat[::3].shape) + 0.5).astype(np.float32) * size
    flat[::3] = ties
    flat[1::9], flat[2::9] = (
        np.nextafter(ties[: flat[1::9].size], np.float32(0)),
        np.nextafter(ties[: flat[2::9].size], np.float32(99)),
    )
    flat[3::17], flat[7::17], flat[11::31] = 0.0, -0.0, 1e-41
    return x


@pytest.mark.parametrize("name", WEIGHTS)
def test_weight_quantisers_are_equal_bit_for_bit(name):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        layer = qnn.QuantConv1d(5, 7, 3, **WEIGHTS[name]).eval()
        drawn = values(rng, (7, 5, 3))
        if seed > 2:
            drawn[0, 0, 0] = 127 * 2.0**-5  # the scale is a power of two then, and ties are exact
            drawn = np.clip(drawn, -127 * 2.0**-5, 127 * 2.0**-5)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(drawn))
        found = []
        model = probe.open_model(layer)
        model.run([np.ones((1, 5, 4), np.float32)], [""], found.append)
        weight = found[0].description.steps[0].op.weight
        quantised = layer.quant_weight()
        np.testing.assert_array_equal(weight.effective, quantised.value.detach().numpy())
        assert weight.grid is not None
        if "ary" in name:
            assert set(np.unique(weight.grid.integers(weight.effective))) <= {-1, 0, 1}
        elif name != "norm":
            np.testing.assert_array_equal(
                weight.grid.integers(weight.effective), quantised.int().numpy()
            )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_quantisers_are_equal_bit_for_bit(name):
    layer = calibrated(ACTIVATIONS[name](), (2, 3, 5, 4))
    scale = layer.act_quant.scale() if layer.act_quant.is_quant_enabled else None
    found = []
    for seed in range(6):
        x = values(
            np.random.default_rng(seed),
            (2, 3, 5, 4),
            None if scale is None else float(scale.flatten()[0]),
        )
        x[0, 0, 0, :3] = 1e30, -np.inf, np.inf
        probe.open_model(layer).run([x], [""], found.append)
        y = x
        for step in found[-1].description.steps:
            (y,) = step.op.run(y)
        np.testing.assert_array_equal(y, found[-1].outputs[0])
    x = values(np.random.default_rng(9), (2, 3, 5, 4))
    report = probe.check(layer, "", x)
    assert report.ok, str(report)
    np.testing.assert_array_equal(report.outputs["onnx"], report.outputs["framework"])


@pytest.mark.parametrize("make", [qnn.QuantSigmoid, qnn.QuantTanh, qnn.QuantHardSwish])
def test_activations_in_float_and_then_quantised(make, signal):
    report = probe.check(calibrated(make(bit_width=6), (2, 3, 5)), "", signal((2, 3, 5)))
    assert report.ok and "onnx" in report.outputs, str(report)


IO = {"input_quant": quant.Int8ActPerTensorFloat, "output_quant": quant.Int8ActPerTensorFloat}
LAYERS = {
    "QuantLinear": (
        lambda: qnn.QuantLinear(5, 7, bias_quant=quant.Int8Bias, weight_bit_width=4, **IO),
        (4, 5),
    ),
    "QuantLinear-float": (lambda: qnn.QuantLinear(5, 7, weight_bit_width=3), (2, 4, 5)),
    "QuantConv1d": (
        lambda: qnn.QuantConv1d(3, 4, 3, stride=2, padding="same", weight_bit_width=4),
        (2, 3, 7),
    ),
    "QuantConv2d": (
        lambda: qnn.QuantConv2d(
            4,
            6,
            (3, 2),
            padding=1,
            groups=2,
            weight_quant=quant.Int8WeightPerChannelFloat,
            weight_bit_width=3,
            bias_quant=quant.Int32Bias,
            input_quant=quant.Uint8ActPerTensorFloat,
        ),
        (2, 4, 6, 5),
    ),
    "QuantConv2d-fixed": (
        lambda: qnn.QuantConv2d(
            3,
            4,
            3,
            weight_quant=quant.Int8WeightPerTensorFixedPoint,
            weight_bit_width=4,
            input_quant=quant.Int8ActPerTensorFixedPoint,
            bias_quant=quant.Int8BiasPerTensorFixedPointInternalScaling,
            padding_mode="reflect",
            padding=1,
        ),
        (2, 3, 6, 5),
    ),
    "QuantConvTranspose1d": (
        lambda: qnn.QuantConvTranspose1d(
            3, 4, 3, stride=2, weight_quant=quant.Int8WeightPerChannelFloat, weight_bit_width=4
        ),
        (2, 3, 5),
    ),
    "QuantConvTranspose2d": (
        lambda: qnn.QuantConvTranspose2d(
            3, 4, (3, 2), stride=2, output_padding=1, weight_bit_width=4
        ),
        (2, 3, 4, 5),
    ),
    "QuantEmbedding": (lambda: qnn.QuantEmbedding(9, 4, weight_bit_width=4), None),
}


def naively(layer, x):
    """The layer with its stored weight in place of the quantised one."""
    if isinstance(layer, nn.Embedding):
        return nn.functional.embedding(torch.from_numpy(x), layer.weight).detach().numpy()
    given = layer.input_quant(torch.from_numpy(x))
    bias = layer.bias_quant(layer.bias, given, layer.quant_weight())
    given, bias = (getattr(one, "value", one) for one in (given, bias))
    y = layer.output_quant(layer.inner_forward_impl(given, layer.weight, bias))
    return getattr(y, "value", y).detach().numpy()


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("name", LAYERS)
def test_saved_and_reopened(name, tmp_path, signal):
    make, shape = LAYERS[name]

    def build():
        torch.manual_seed(3)
        return nn.Sequential(make())

    net = build() if shape is None else calibrated(build(), shape)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=build)
    layer, before = model.module[0], bits(model.module)
    x = (
        np.random.default_rng(0).integers(0, 9, (3, 5))
        if shape is None
        else signal(shape, scale=1.0)
    )
    report = probe.check(model, "0", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    weight = report.weights["weight"]
    np.testing.assert_array_equal(weight.stored, net.state_dict()["0.weight"].numpy())
    np.testing.assert_array_equal(weight.effective, layer.quant_weight().value.detach().numpy())
    assert (
        f"quantised to int{weight.grid.bits} from " in weight.steps[0]
        and "scale " in weight.steps[0]
    )
    bias = getattr(layer, "bias_quant", None)
    assert bias is None or bool(report.weights["bias"].steps) == bias.is_quant_enabled
    with torch.no_grad():
        wrong = naively(layer, x)
    found = probe.check(model, "0", x, expected=wrong)
    assert (
        found.verdict == "diverge"
        and found.findings[0].slug == "raw-weights"
        and "weight" in found.findings[0].claim
    ), str(found)
    assert unchanged(before, model.module)


def exported():
    """The quantizers that brevitas.quant has a module's own class for, and which are no parts of
    others."""
    for module in (importlib.import_module(f"brevitas.quant.{name}") for name in ALL):
        for name, value in vars(module).items():
            if (
                inspect.isclass(value)
                and value.__module__ == module.__name__
                and not re.search("Base|Mixin|Trunc|Round|^Fp(OCP|FNUZ)", name)
            ):
                yield name, value


QUANTIZERS = dict(exported())
WITHOUT = {
    "IntBias": "a base class: it lacks its bits",
    "ShiftedUint8WeightPerChannelFloatHQO": "Brevitas 0.13 cannot call it",
    "ShiftedUint8WeightGroupQuantFloat": "Brevitas 0.13 cannot build it",
}
DYNAMIC = ("MXFloat8e4m3Act", "MXInt8Act")


OF_PARAMETERS = [name for name in QUANTIZERS if "Weight" in name or "Bias" in name]
_VARIANT = re.compile(
    "(MSE|HQO|Per(Channel|Tensor|Group)|Float|FixedPoint|Decoupled|InternalScaling|Const).*"
)


@pytest.mark.costly(default=2)
@pytest.mark.exhaustive(default=8, each=lambda name: _VARIANT.sub("", name))
@pytest.mark.parametrize("name", OF_PARAMETERS)
def test_every_quantizer_of_weights_and_biases(name, tmp_path, signal):
    """Saved, reopened, checked; the stored weight in its place diverges and is named; nothing is
    written."""
    part = "weight" if "Weight" in name else "bias"
    options = {f"{part}_quant": QUANTIZERS[name], "input_quant": quant.Int8ActPerTensorFloat}
    # two groups, one of them not full
    shape = (
        (2, 40, 4, 3) if name.startswith(("MX", "ShiftedMX")) or "Group" in name else (2, 5, 4, 3)
    )

    def build():
        torch.manual_seed(3)
        return nn.Sequential(qnn.QuantConv2d(shape[1], 3, (2, 3), padding=1, **options))

    if name in WITHOUT:
        with pytest.raises(Exception):  # noqa: B017
            calibrated(build(), shape)
        return
    net = build()
    torch.nn.init.normal_(net[0].weight)
    torch.nn.init.normal_(net[0].bias)
    calibrated(net, shape)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=build)
    layer, before, x = model.module[0], bits(model.module), signal(shape)
    report = probe.check(model, "0", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    given = layer.input_quant(torch.from_numpy(x))
    quantised = (
        layer.quant_weight(given)
        if layer.weight_quant.requires_quant_input
        else layer.quant_weight()
    )
    bias = layer.bias_quant(layer.bias, given, quantised)
    weight = report.weights[part]
    np.testing.assert_array_equal(weight.stored, net.state_dict()[f"0.{part}"].numpy())
    theirs = quantised if part == "weight" else bias
    np.testing.assert_array_equal(
        weight.effective, getattr(theirs, "value", theirs).detach().numpy()
    )
    assert weight.steps[0].startswith("quantised to ") and "scale " in weight.steps[0]
    with torch.no_grad():
        used = {"weight": quantised, "bias": bias, part: getattr(layer, part)}
        wrong = layer.inner_forward_impl(
            *(getattr(one, "value", one) for one in (given, used["weight"], used["bias"]))
        ).numpy()
    found = probe.check(model, "0", x, expected=wrong)
    assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights", str(found)
    assert found.findings[0].claim.startswith(f"the stored {part} instead of the effective values")
    assert unchanged(before, model.module)


@pytest.mark.exhaustive(default=12)
@pytest.mark.parametrize(
    "name",
    [*exhaustive(*DYNAMIC), *(one for one in QUANTIZERS if "Act" in one and one not in DYNAMIC)],
)
def test_every_quantizer_of_activations(name, tmp_path):
    """Saved and reopened; bit for bit on ties, limits, zeros, subnormal and very large numbers."""
    options = {"min_val": -1.25, "max_val": 1.75} if "Init" in name else {}
    if "PerChannel" in name:
        options |= {
            "per_channel_broadcastable_shape": (1, 3, 1, 1),
            "scaling_stats_permute_dims": (1, 0, 2, 3),
        }
    if name in DYNAMIC:
        options |= {"group_dim": 1, "group_size": 3}
    shape = (2, 3, 20) if "1d" in name else (2, 3, 5, 4)

    def build():
        # some have nothing to save
        return nn.Sequential(qnn.QuantIdentity(act_quant=QUANTIZERS[name], **options), nn.PReLU())

    net = calibrated(build(), shape)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=build)
    layer, before = model.module[0], bits(model.module)
    if name in DYNAMIC:
        report = probe.check(model, "0", np.ones(shape, np.float32))
        assert "views its input through DynamicOverSubChannelBlockView" in report.missing["numpy"]
        return
    for seed in range(2):
        x = values(np.random.default_rng(seed), shape, float(layer.act_quant.scale().flatten()[0]))
        x.reshape(-1)[:3] = 1e30, -np.inf, np.inf
        found = []
        model.run([x], ["0"], found.append)
        (y,) = found[0].description.steps[0].op.run(x)
        np.testing.assert_array_equal(y, found[0].outputs[0])
    report = probe.check(
        model,
        "0",
        values(np.random.default_rng(9), shape, float(layer.act_quant.scale().flatten()[0])),
    )
    assert report.ok and unchanged(before, model.module), str(report)
    np.testing.assert_array_equal(report.outputs["onnx"], report.outputs["framework"])


@pytest.mark.parametrize("seed", [4, 9])
def test_an_input_full_of_ties_falls_to_the_layers_own_levels(seed):
    """Which side of a tie float32 falls to, NumPy in float64 would often not know; several at once
    would exceed what rounding allows."""
    make, shape = LAYERS["QuantConv2d"]
    torch.manual_seed(seed)
    layer = calibrated(make(), shape, seed)
    x = values(np.random.default_rng(seed), (7, *shape[1:]), float(layer.input_quant.scale()))
    report = probe.check(layer, "", x)
    assert report.ok, str(report)
    found = []
    probe.open_model(layer).run([x], [""], found.append)
    quantiser = found[0].description.steps[0].op
    np.testing.assert_array_equal(
        quantiser.run(x.astype(np.float64))[0].astype(np.float32), quantiser.run(x)[0]
    )
    wide = x.astype(np.float64) / quantiser.size.astype(np.float64)
    assert (np.rint(wide) != np.rint(x / quantiser.size)).sum() > 10, (
        "there was no tie to fall to the wrong side of"
    )


class Net(nn.Module):
    """QuantTensors go from layer to layer, through PyTorch's own layers and functions too."""

    def __init__(self):
        super().__init__()
        self.inp = qnn.QuantIdentity(return_quant_tensor=True)
        self.conv = qnn.QuantConv2d(
            3, 4, 3, padding=1, bias_quant=quant.Int32Bias, return_quant_tensor=True
        )
        self.bn = nn.BatchNorm2d(4)
        self.relu = qnn.QuantReLU(bit_width=4, return_quant_tensor=True)
        self.pool = nn.MaxPool2d(2)
        self.wide = qnn.QuantConv2d(
            4,
            4,
            1,
            bias_quant=quant.Int8Bias,
            output_quant=quant.Int8ActPerTensorFloat,
            return_quant_tensor=True,
        )
        self.sum = qnn.QuantEltwiseAdd(return_quant_tensor=True)
        self.fc = qnn.QuantLinear(32, 5, bias_quant=quant.Int8Bias)

    def forward(self, x):
        x = self.pool(self.relu(self.bn(self.conv(self.inp(x)))))
        x = self.sum(x, self.wide(x))
        x = x + x
        return self.fc(torch.flatten(torch.cat([x, x], 1), 1))


def test_quant_tensors_between_layers(signal):
    torch.manual_seed(0)
    net = calibrated(Net(), (4, 3, 5, 4))
    before, x = bits(net), signal((2, 3, 5, 4), scale=1.0)
    reports = {report.layer: report for report in probe.sweep(net, x)}
    assert [*reports] == [
        "inp",
        "conv",
        "bn",
        "relu",
        "pool",
        "wide",
        "sum",
        "/add",
        "/concat",
        "/reshape",
        "fc",
    ]
    assert all(report.ok and "onnx" in report.outputs for report in reports.values()), [
        str(report) for report in reports.values()
    ]
    assert [len(report.inputs) for report in reports.values()] == [1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    with torch.no_grad():
        taken = net.conv(net.inp(torch.from_numpy(x)))
    np.testing.assert_array_equal(reports["conv"].outputs["framework"], taken.value.numpy())
    # the bias lies on the grid of the sums: input's scale times weight's
    scale = taken.scale.flatten().numpy()
    assert (
        f"quantised to int32 from -2147483648 to 2147483648, scale {scale[0]:g}"
        in reports["conv"].weights["bias"].steps[0]
    )
    assert unchanged(before, net)


def test_a_quantiser_that_begins_in_the_call_is_put_back(signal):
    """With parameter_from_stats the first call writes the scale into a parameter, in evaluation
    mode too."""
    net = nn.Sequential(
        qnn.QuantLinear(5, 7, weight_scaling_impl_type="parameter_from_stats")
    ).eval()
    before = bits(net)
    assert probe.check(net, "0", signal((4, 5))).ok and unchanged(before, net)
    net[0](torch.ones(1, 5))
    assert not unchanged(before, net), "the call would have written nothing"


def why(module, x):
    found = []
    probe.open_model(module).run([x], [""], lambda capture: found.append(capture.why))
    return found[0]


def test_what_has_no_description(signal):
    x = signal((4, 5))
    layer = qnn.QuantLinear(5, 7, input_quant=quant.Uint8ActPerTensorFloat)
    before = bits(layer)
    (listed,) = probe.open_model(layer).layers
    assert (
        "in training mode its quantisers adapt to the batch" in why(layer.train(), x)
        and "training mode" in listed.why
    )
    assert unchanged(before, layer)
    floor = qnn.QuantLinear(
        5, 7, weight_quant=quant_float.Fp8e4m3Weight, weight_float_to_int_impl_type="floor"
    )
    assert "does not round to nearest" in why(floor.eval(), x)
    infinite = qnn.QuantLinear(
        5,
        7,
        weight_quant=quant_float.Fp8e4m3Weight,
        weight_saturating=False,
        weight_nan_values=("111",),
    )
    assert "to infinity or NaN" in why(infinite.eval(), x)
    learned = qnn.QuantLinear(
        5,
        7,
        weight_float_to_int_impl_type="learned_round",
        weight_learned_round_impl_type="hard_sigmoid",
    )
    assert "rounds with LearnedRoundSte" in why(learned.eval(), x)
    (lstm,) = probe.open_model(qnn.QuantLSTM(4, 3).eval()).layers
    assert not lstm.checkable and "QuantLSTM has no description" in lstm.why


@pytest.mark.parametrize("bits_in", [3, 8])
@pytest.mark.parametrize("act", [quant.Int8ActPerTensorFloat, quant.Uint8ActPerTensorFloat])
def test_weights_aware_of_the_bits_that_another_layer_gives(bits_in, act, signal):
    """The room of an accumulator is shared among the weights by how many bits come in, and whether
    one is a sign."""
    torch.manual_seed(0)
    options = {
        "weight_quant": quant.Int8AccumulatorAwareWeightQuant,
        "weight_accumulator_bit_width": 10,
        "return_quant_tensor": True,
    }
    net = nn.Sequential(
        qnn.QuantIdentity(act_quant=act, bit_width=bits_in, return_quant_tensor=True),
        qnn.QuantLinear(9, 7, **options),
    )
    net, x = calibrated(net, (4, 9)), np.abs(signal((4, 9)))
    given = net[0](torch.from_numpy(x))
    report = probe.check(net, "1", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    weight = report.weights["weight"]
    np.testing.assert_allclose(
        weight.effective, net[1].quant_weight(given).value.detach().numpy(), rtol=1e-6
    )
    assert not np.array_equal(weight.effective, weight.stored)
    wrong = nn.functional.linear(given.value, net[1].weight, net[1].bias).detach().numpy()
    found = probe.check(net, "1", x, expected=wrong)
    assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights", str(found)
