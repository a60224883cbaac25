"""A correct float32 network run by another engine, handed over layer by layer as the user's own
values: no false divergence.

The engine is the reference evaluator of ONNX on the exported graph (batch norms folded into
convolutions by the exporter, which is one more honest way to round).
"""

import ast

import numpy as np
import onnx
import pytest
import torch
import torchvision
from known_warnings import TORCH_EXPORT
from onnx.reference import ReferenceEvaluator
from repository import EXAMPLES
from representatives import exhaustive

import probe
from probe.evaluation.propagated_error import drifts


def values_of(net, x):
    """The output of every module by name, as the reference evaluator computes it in float32."""
    exported = torch.onnx.export(
        net, (torch.from_numpy(x),), dynamo=True, verbose=False
    ).model_proto
    names = {}
    for node in exported.graph.node:
        scopes = [
            prop.value for prop in node.metadata_props if prop.key == "pkg.torch.onnx.name_scopes"
        ]
        if scopes and len(node.output) == 1:
            names[node.output[0]] = ast.literal_eval(scopes[0])[-2]
    last = {module: output for output, module in names.items()}
    shaped = onnx.shape_inference.infer_shapes(exported)
    infos = {info.name: info for info in shaped.graph.value_info}
    known = {output.name for output in exported.graph.output}
    exported.graph.output.extend(
        infos[output] for output in last.values() if output in infos and output not in known
    )
    wanted = [output.name for output in exported.graph.output]
    computed = dict(
        zip(
            wanted,
            ReferenceEvaluator(exported).run(wanted, {exported.graph.input[0].name: x}),
            strict=True,
        )
    )
    return {module: computed[output] for module, output in last.items() if output in computed}


def randomised(net):
    """Batch-norm statistics as after training, so that they are not the identity."""
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


def nets():
    torch.manual_seed(0)
    n = torch.nn
    small = n.Sequential(
        *(
            n.Conv2d(3, 16, 3, padding=1),
            n.BatchNorm2d(16),
            n.ReLU(),
            n.MaxPool2d(2),
            n.Conv2d(16, 32, 3),
            n.GELU(),
        ),
        *(
            n.AdaptiveAvgPool2d(2),
            n.Flatten(),
            n.Linear(128, 40),
            n.LayerNorm(40),
            n.Linear(40, 10),
            n.Softmax(1),
        ),
    )
    return {"small": (small, 20), "resnet18": (torchvision.models.resnet18(weights=None), 40)}


@pytest.mark.costly
@pytest.mark.filterwarnings(*TORCH_EXPORT)
@pytest.mark.parametrize("name", ["small", *exhaustive("resnet18")])
def test_another_engine_does_not_diverge(name):
    net, size = nets()[name]
    net = randomised(net)
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    mine = values_of(net, x)
    model = probe.open_model(net)
    # An exporter that folds leaves some modules without a node of their own, and puts what follows
    # them elsewhere.
    swept = list(probe.sweep(model, x))
    # The graph does not say which call a value belongs to.
    again = {report.layer for report in swept if report.call}
    shapes = {
        report.layer: report.outputs["framework"].shape
        for report in swept
        if report.layer not in again
    }
    close = {
        layer: mine[layer]
        for layer, shape in shapes.items()
        if layer in mine and mine[layer].shape == shape
    }
    assert len(close) >= 10
    reports = [
        report for report in probe.sweep(model, x, expected=close) if "expected" in report.outputs
    ]
    assert len(reports) == len(close)
    assert not [report.sentence for report in reports if not report.ok]
    for layer in list(close)[:: 1 if name == "small" else 20]:
        report = probe.check(model, layer, x, expected=close[layer], call=0)
        assert report.ok, str(report)


@pytest.mark.costly
def test_drift_is_far_below_a_fault():
    """The allowance for the layers before does not swallow a wrong epsilon in one of them."""
    net, size = nets()["small"]
    net = randomised(net)
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    right = probe.check(net, "8", x).outputs["framework"]
    net[1].eps = 1e-3
    wrong = probe.check(net, "8", x).outputs["framework"]
    net[1].eps = 1e-5
    assert probe.check(net, "8", x, expected=right).ok
    assert probe.check(net, "8", x, expected=wrong, search=False).verdict == "diverge"


def test_earlier_layers_are_run_no_more_than_the_check_itself_runs_them():
    """Once for the layer, once for all before it, once unwatched; noise is put on NumPy's steps."""
    net, size = nets()["small"]
    net = randomised(net)
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    passes = []
    net[0].register_forward_hook(lambda *given: passes.append(given[0]))
    right = probe.check(net, "8", x).outputs["framework"]
    passes.clear()
    report = probe.check(net, "8", x, expected=right)
    assert report.ok and len(passes) <= 3
    assert any("propagated from the preceding layers" in note for note in report.notes)


@pytest.mark.costly
@pytest.mark.parametrize("dtype", ["bfloat16", *exhaustive("float16")])
def test_values_through_layers_in_half_precision_have_a_sharp_allowance(dtype):
    """Before, what moved passes of the network allowed was many times what rounding does."""
    net, size = nets()["small"]
    net = randomised(net)
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    half = net.to(getattr(torch, dtype))
    of_half = {name: probe.check(half, name, x).outputs["framework"] for name in ("8", "10")}
    wide = half.double()
    for name, given in of_half.items():
        mine = probe.check(wide, name, x.astype(np.float64)).outputs["framework"]
        half = net.to(getattr(torch, dtype))
        for right in (mine.astype(np.float32), given):
            report = probe.check(half, name, x, expected=right)
            assert report.ok, str(report)
        for wrong in (0 * mine, -mine, mine / 2, np.roll(mine, 1, axis=1)):
            report = probe.check(half, name, x, expected=wrong.astype(np.float32))
            assert report.verdict == "diverge"
        allowed = report.comparisons["numpy", "expected"].worst.allowance
        assert allowed < 0.25 * mine.std()
        wide = net.double()


def test_the_first_layer_has_no_drift():
    net, size = nets()["small"]
    model = probe.open_model(net.eval())
    x = np.random.default_rng(0).normal(size=(1, 3, size, size)).astype(np.float32)
    assert not drifts(model, (x,), {("0", 0)})["0", 0].slack[0].any()


@pytest.mark.tensorflow
def test_a_quantised_network_whose_sums_are_exact_hides_no_fault():
    """Sums of numbers on grids of powers of two round nothing, so no level behind them flips."""
    x = np.load(EXAMPLES / "digits.npy")
    model = probe.open_model(str(EXAMPLES / "digits_qkeras.h5"))
    report = probe.check(model, "dense", x)
    kernel, right = report.weights["kernel"].effective, np.asarray(report.outputs["framework"])
    without_bias = (np.asarray(report.inputs[0]) @ kernel).astype(np.float32)
    assert probe.check(model, "dense", x, expected=without_bias).verdict == "diverge"
    assert probe.check(model, "dense", x, expected=right).ok
