"""Whole networks of torchvision, with random weights and statistics: nothing diverges, and nothing
is left unchecked."""

import numpy as np
import pytest
import torch
import torchvision

import probe

SMALL = ("mobilenet_v3_small", "shufflenet_v2_x0_5")
LARGE = (
    "resnet18",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "regnet_y_400mf",
    "googlenet",
    "lraspp_mobilenet_v3_large",
)
OPTIONS = {
    "vit_b_16": {"image_size": 64},
    "googlenet": {"init_weights": False, "aux_logits": False},
    "lraspp_mobilenet_v3_large": {"weights_backbone": None},
}


def build(name):
    """Statistics as after training: away from 0 and 1, where leaving them out would not show."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {})).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                torch.nn.init.uniform_(tensor, low, high)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    return net


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]
)
def test_net(name):
    x = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    reports = list(probe.sweep(build(name), x))
    assert len(reports) > 60 and all(one.ok for one in reports), "\n".join(
        str(one) for one in reports if not one.ok
    )
    assert not [one.layer for one in reports if one.missing]


def test_statistics_as_initialised_leave_gates_next_to_constant_and_checked():
    torch.manual_seed(0)
    reports = list(
        probe.sweep(
            torchvision.models.mobilenet_v3_small(weights=None).eval(),
            np.ones((1, 3, 32, 32), np.float32),
        )
    )
    assert all(one.ok for one in reports), "\n".join(str(one) for one in reports if not one.ok)
