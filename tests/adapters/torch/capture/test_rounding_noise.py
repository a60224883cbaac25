"""What a pass with other roundings does to the numbers of a module in half precision."""

import copy

import pytest
import torch
from probe.adapters.torch.capture.rounding_noise import RoundingNoise, half_precision
from torch import nn

import probe

DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])


def units(moved, before):
    """How many units in the last place numbers were moved by."""
    return moved.view(torch.int16).int() - before.view(torch.int16).int()


@DTYPES
def test_results_are_moved_by_the_variance_of_storing(dtype):
    torch.manual_seed(0)
    a, b = torch.randn(300, 64).to(dtype), torch.randn(64, 200).to(dtype)
    plain = a @ b
    with RoundingNoise(0):
        moved = a @ b
    found = units(moved, plain)
    assert found.abs().max() == 1
    assert 12 * found.float().var().item() == pytest.approx(1, abs=0.05)
    assert abs(found.float().mean().item()) < 0.01
    with RoundingNoise(0):
        assert torch.equal(a @ b, moved)
    with RoundingNoise(1):
        assert not torch.equal(a @ b, moved)


@DTYPES
def test_what_rounds_nothing_is_not_moved(dtype):
    x = torch.randn(200, 300).to(dtype)
    edges = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, torch.finfo(dtype).max])
    edges = edges.to(dtype).repeat(5000)
    same = edges * 1
    with RoundingNoise(0):
        assert torch.equal(x.t().reshape(-1).flip(0), x.t().clone().reshape(-1).flip(0))
        assert torch.equal(torch.cat([x, x]).relu()[:200], x.relu())
        assert torch.equal(x.to(dtype, copy=True), x)
        assert torch.equal((edges * 1).view(torch.int16), same.view(torch.int16))
        assert torch.equal(x.float() * 1, x.float())
        assert not torch.equal(x.float().to(dtype), x)  # a cast to fewer digits is stored
    assert torch.equal(x.float().to(dtype), x)


@DTYPES
def test_results_that_are_not_contiguous_and_those_in_place(dtype):
    x = torch.randn(64, 3, 20, 20).to(dtype).to(memory_format=torch.channels_last)
    before = x.clone()
    with RoundingNoise(0):
        y = x + 0
        x.mul_(1)
    for moved in (x, y):
        assert moved.is_contiguous(memory_format=torch.channels_last)
        assert 0.07 < units(moved, before).abs().float().mean() < 0.09


def test_a_model_rounds_otherwise_only_where_it_stores_in_half_precision():
    net = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3)).eval()
    assert not half_precision(net)
    assert probe.open_model(net).rounding_otherwise(0) is None
    half = copy.deepcopy(net).bfloat16()
    model, x = probe.open_model(half), torch.randn(50, 6)
    (plain,), names = model.run([x.numpy()], (), lambda capture: None), set(half.state_dict())
    with model.rounding_otherwise(0):
        (moved,) = model.run([x.numpy()], (), lambda capture: None)
    assert (plain != moved).any() and abs(plain - moved).max() < 0.1
    assert set(half.state_dict()) == names
    assert all(
        torch.equal(one, net.bfloat16().state_dict()[name])
        for name, one in half.state_dict().items()
    )
