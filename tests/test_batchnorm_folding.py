"""--fold: kernel and bias with the batch normalisation folded in, proven against the two layers in
a row, and never written."""

import keras
import numpy as np
import pytest
import tf_keras
import torch
from click.testing import CliRunner

import probe
from probe.cli.main import command

# Keras 3.15 saving
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept:DeprecationWarning"
)

nn = torch.nn


def drawn(module):
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.dtype.is_floating_point:
            tensor.uniform_(0.2, 2.0) if "var" in name else tensor.normal_()
    return module.eval()


PAIRS = {
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(4, 6, 3, groups=2, bias=False, padding=1), nn.BatchNorm2d(6, eps=0.01)
        ),
        (2, 4, 8, 7),
    ),
    "linear": (lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5)), (3, 7)),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4, affine=False)),
        (2, 3, 9),
    ),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_the_folded_layer_gives_what_the_two_give(kind):
    make, shape = PAIRS[kind]
    net = drawn(make())
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    report = probe.fold(net, "0", x)
    assert report.ok, str(report)
    assert set(report.outputs) == {"framework", "numpy", "onnx", "expected"}
    np.testing.assert_array_equal(
        report.outputs["framework"], net(torch.from_numpy(x)).detach().numpy()
    )
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    # A layer of PyTorch's own with the folded weights is the deployed one.
    deployed = make()[0]
    deployed.bias = nn.Parameter(torch.from_numpy(report.weights["bias"].effective.copy()))
    deployed.weight = nn.Parameter(torch.from_numpy(report.weights["weight"].effective.copy()))
    assert probe.check(
        deployed,
        "",
        x,
        expected=report.outputs["framework"].astype(np.float64),
        rtol=1e-4,
        atol=1e-4,
    ).ok
    assert (report.weights["weight"].effective != report.weights["weight"].stored).any()


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_a_depthwise_layer_of_keras_in_its_own_layout(namespace, tmp_path):
    layers = namespace.layers
    model = namespace.Sequential(
        [
            layers.Input((9, 8, 3)),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.BatchNormalization(),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights(
        [
            rng.uniform(0.2, 2.0, size=weight.shape).astype(np.float32)
            for weight in model.get_weights()
        ]
    )
    model.save(tmp_path / "model.keras")
    name = model.layers[-2].name
    result = CliRunner().invoke(
        command,
        [
            str(tmp_path / "model.keras"),
            "--layer",
            name,
            "--fold",
            "--save",
            str(tmp_path / "out.npz"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "gamma / sqrt(variance + 0.001)" in result.output
    kernel, bias, gamma, beta, mean, variance = model.get_weights()
    gain = gamma / np.sqrt(variance + 0.001)
    with np.load(tmp_path / "out.npz") as held:
        folded = next(
            held[key] for key in held.files if key.startswith("effective:") and held[key].ndim == 4
        )
        np.testing.assert_allclose(folded, kernel * gain.reshape(3, 2), rtol=1e-6)
        np.testing.assert_allclose(held["effective:bias"], (bias - mean) * gain + beta, rtol=1e-5)


def test_what_cannot_be_folded_says_why():
    net = drawn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2)))
    x = np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(
        probe.ProbeError,
        match=(r"'0' is not followed by a batch normalisation: it is followed by '1' \(ReLU\)"),
    ):
        probe.fold(net, "0", x)
    with pytest.raises(probe.ProbeError, match="no layer was found after it"):
        probe.fold(net, "3", x)
    with pytest.raises(probe.ProbeError, match="must be one convolution or dense layer"):
        probe.fold(net, "1", x)
    with pytest.raises(probe.ProbeError, match="has no layer '9'"):
        probe.fold(drawn(nn.Sequential(nn.Linear(3, 4))), "9", np.zeros((1, 3), np.float32))
