"""What torch.nn.utils makes a parameter from: what the layer multiplies by agrees, what is stored
diverges and is named."""

import numpy as np
import pytest
import torch
from module_state import bits, unchanged
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import probe


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).T


def pruned():
    conv = nn.Conv2d(3, 4, (3, 2), groups=1)
    prune.random_unstructured(conv, "weight", amount=0.25)
    return prune.l1_unstructured(conv, "weight", amount=4)


def rows_pruned():
    return prune.ln_structured(nn.Linear(5, 6), "weight", amount=2, n=2, dim=0)


def bias_pruned():
    return prune.l1_unstructured(nn.Linear(5, 6), "bias", amount=2)


def symmetric():
    linear = nn.Linear(6, 6)
    parametrize.register_parametrization(linear, "weight", Symmetric())
    return linear


def two_in_a_row():
    linear = parametrizations.weight_norm(nn.Linear(6, 6))
    parametrize.register_parametrization(linear, "weight", Symmetric())
    return linear


@pytest.fixture
def old_weight_norm():
    with pytest.warns(FutureWarning, match="deprecated"):
        return nn.utils.weight_norm(nn.ConvTranspose1d(3, 4, 3), dim=1)


SOURCES = {
    "prune": (pruned, "weight", "weight_orig", "weight_orig times weight_mask: "),
    "prune-rows": (
        rows_pruned,
        "weight",
        "weight_orig",
        "weight_orig times weight_mask: 10 of 30 values masked",
    ),
    "prune-bias": (
        bias_pruned,
        "bias",
        "bias_orig",
        "bias_orig times bias_mask: 2 of 6 values masked",
    ),
    "weight_norm": (
        lambda: parametrizations.weight_norm(nn.Conv1d(3, 4, 2), dim=0),
        "weight",
        "parametrizations.weight.original1",
        "the norm over axes 1, 2",
    ),
    "weight_norm-whole": (
        lambda: parametrizations.weight_norm(nn.Linear(5, 6), dim=None),
        "weight",
        "parametrizations.weight.original1",
        "the norm over all elements",
    ),
    "spectral_norm": (
        lambda: nn.utils.spectral_norm(nn.Conv2d(3, 4, 2)),
        "weight",
        "weight_orig",
        "sigma = u W v",
    ),
    "spectral_norm-parametrized": (
        lambda: parametrizations.spectral_norm(nn.Linear(5, 6)),
        "weight",
        "parametrizations.weight.original",
        "sigma = u W v",
    ),
    "spectral_norm-transposed": (
        lambda: nn.utils.spectral_norm(nn.ConvTranspose2d(3, 4, 2)),
        "weight",
        "weight_orig",
        "sigma = u W v",
    ),
    "orthogonal": (
        lambda: parametrizations.orthogonal(nn.Linear(5, 6)),
        "weight",
        "parametrizations.weight.original",
        "householder",
    ),
    "parametrize": (
        symmetric,
        "weight",
        "parametrizations.weight.original",
        "by Symmetric at each access",
    ),
    "two": (
        two_in_a_row,
        "weight",
        "parametrizations.weight.original1",
        "by WeightNorm and then Symmetric",
    ),
}


def net_of(make):
    def build():
        torch.manual_seed(3)
        return nn.Sequential(make())

    return build


def inputs_for(module, signal):
    if isinstance(module, nn.Linear):
        return signal((4, module.in_features))
    rank = len(module.kernel_size)
    return signal((2, module.in_channels, 6, 5)[: rank + 2])


@pytest.mark.parametrize("source", SOURCES)
def test_saved_and_reopened(source, tmp_path, signal):
    make, name, part, words = SOURCES[source]
    build = net_of(make)
    net = build()
    for parameter in net.parameters():
        nn.init.normal_(parameter)  # no part is as its constructor leaves it
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path)
    model = probe.open_model(path, factory=build)
    module = model.module[0]
    x, before = inputs_for(module, signal), bits(model.module)
    report = probe.check(model, "0", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    weight = report.weights[name]
    assert weight.stored is None and weight.parts.keys() == {
        key.removeprefix("0.")
        for key in net.state_dict()
        if key.startswith((f"0.{name}_", "0.param"))
    }
    assert words in "; ".join(weight.steps), weight.steps
    assert unchanged(before, model.module)
    wrong = naively(module, name, weight.parts[part], x)
    found = probe.check(model, "0", x, expected=wrong)
    assert (
        found.verdict == "diverge"
        and found.findings[0].slug == "raw-weights"
        and part in found.findings[0].claim
    ), str(found)
    assert unchanged(before, model.module)


def naively(module, name, values, x):
    """The layer as someone computes it who takes a stored part for the parameter."""
    held = {"weight": module.weight, "bias": module.bias, name: torch.from_numpy(values)}
    if isinstance(module, nn.Linear):
        return (
            nn.functional.linear(torch.from_numpy(x), held["weight"], held["bias"]).detach().numpy()
        )
    transpose = "_transpose" if type(module).__name__.startswith("ConvTranspose") else ""
    kind = f"conv{transpose}{len(module.kernel_size)}d"
    return (
        getattr(nn.functional, kind)(torch.from_numpy(x), held["weight"], held["bias"])
        .detach()
        .numpy()
    )


def test_weight_norm_of_old(old_weight_norm, signal):
    nn.init.normal_(old_weight_norm.weight_g)
    before, x = bits(old_weight_norm), signal((2, 3, 6))
    report = probe.check(old_weight_norm, "", x)
    weight = report.weights["weight"]
    assert (
        report.ok and "weight_g * weight_v / ||weight_v||, the norm over axes 0, 2" in weight.steps
    )
    v, g = weight.parts["weight_v"].astype(float), weight.parts["weight_g"].astype(float)
    np.testing.assert_allclose(
        weight.effective, g * v / np.sqrt((v**2).sum(axis=(0, 2), keepdims=True)), rtol=1e-6
    )
    found = probe.check(
        old_weight_norm,
        "",
        x,
        expected=naively(old_weight_norm, "weight", weight.parts["weight_v"], x),
    )
    assert found.findings[0].slug == "raw-weights" and "weight_v" in found.findings[0].claim
    assert unchanged(before, old_weight_norm)


def test_sigma_is_the_number_that_the_layer_divides_by(signal):
    torch.manual_seed(0)
    module = parametrizations.spectral_norm(nn.Conv2d(3, 4, 2)).eval()
    weight = probe.check(module, "", signal((1, 3, 4, 4))).weights["weight"]
    sigma = float(weight.steps[1].rpartition(": ")[2])
    np.testing.assert_allclose(
        weight.effective * sigma, weight.parts["parametrizations.weight.original"], rtol=1e-6
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.utils.spectral_norm(nn.Linear(5, 6)),
        lambda: parametrizations.spectral_norm(nn.Linear(5, 6)),
    ],
)
def test_training_moves_nothing(make, signal):
    """In training mode each call iterates u and v once more; they are put back."""
    module = make().train()
    before = bits(module)
    report = probe.check(module, "", signal((4, 5)))
    assert report.ok, str(report)
    assert unchanged(before, module)
