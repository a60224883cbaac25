"""Kernels that are divided by another norm than the layer's."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from torch import nn
from torch.nn.utils import parametrizations

import probe


def spectral():
    torch.manual_seed(0)
    return parametrizations.spectral_norm(nn.Linear(7, 5)).eval()


@pytest.mark.parametrize(
    ("norm", "words"),
    [
        (lambda kernel, u: np.linalg.norm(kernel, 2), "the exact spectral norm"),
        (lambda kernel, u: np.linalg.norm(kernel), "the norm of the whole kernel"),
        (
            lambda kernel, u: np.linalg.norm(kernel @ kernel.T @ u) / np.linalg.norm(kernel.T @ u),
            "one more power iteration, from the left vector",
        ),
    ],
)
def test_spectral_norms(norm, words):
    model, x = spectral(), RNG.normal(size=(6, 7)).astype(np.float32)
    held = model.parametrizations.weight
    kernel, u, bias = (t.detach().numpy() for t in (held.original, held[0]._u, model.bias))
    finding = probe.check(model, "", x, expected=x @ (kernel / norm(kernel, u)).T + bias).findings[
        0
    ]
    assert (finding.slug, finding.left <= 1) == ("raw-weights", True), finding
    assert words in finding.claim


def test_the_norm_of_each_filter_and_of_all():
    torch.manual_seed(0)
    model = parametrizations.weight_norm(nn.Linear(7, 5)).eval()
    x = RNG.normal(size=(6, 7)).astype(np.float32)
    with torch.no_grad():
        model.parametrizations.weight.original0 *= torch.rand(5, 1) + 0.5
    gain, kernel = (
        part.detach().numpy()
        for part in (
            model.parametrizations.weight.original0,
            model.parametrizations.weight.original1,
        )
    )
    values = x @ (gain * kernel / np.linalg.norm(kernel)).T + model.bias.detach().numpy()
    finding = probe.check(model, "", x, expected=values).findings[0]
    assert finding.claim == "weight is divided by the norm of the whole kernel"


@pytest.mark.parametrize(
    ("kernel_of", "words"),
    [
        (lambda g, v: g * v, "each the gain times the direction, which is not divided"),
        (lambda g, v: v, "each the direction alone"),
        (lambda g, v: g * v / np.sqrt((v * v).sum(2, keepdims=True)), "the length over axes (2,)"),
        (lambda g, v: g * v / np.sqrt((v * v).sum((0, 2), keepdims=True)), "over axes (0, 2)"),
    ],
)
def test_lengths_over_other_axes_or_none(kernel_of, words):
    torch.manual_seed(0)
    convs = [parametrizations.weight_norm(nn.Conv1d(4, 4, 3, padding=1)) for _ in range(2)]
    model, x = nn.Sequential(convs[0], nn.ReLU(), convs[1]).eval(), RNG.normal(size=(2, 4, 9))
    wrong = nn.Sequential(*(nn.Conv1d(4, 4, 3, padding=1) for _ in range(2)))
    with torch.no_grad():
        for conv, plain in zip(convs, wrong, strict=True):
            held = conv.parametrizations.weight
            held.original0 *= torch.rand(4, 1, 1) + 0.5
            gain, direction = held.original0.numpy(), held.original1.numpy()
            plain.weight.copy_(torch.from_numpy(kernel_of(gain, direction)))
            plain.bias.copy_(conv.bias)
        given = torch.tensor(x, dtype=torch.float32)
        values = wrong[1](torch.relu(wrong[0](given))).numpy()
    finding = probe.check(model, "", given.numpy(), expected=values).findings[0]
    assert (finding.slug, finding.left <= 1) == ("raw-weights", True), finding
    assert words in finding.claim and "0.weight and 2.weight" in finding.claim, finding.claim
