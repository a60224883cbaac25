"""Layer and group normalisation far from zero: two passes are held to what two passes lose, E[x²] -
E[x]² is known where it is used."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from lazy import keras

import probe
from probe import Description, Step, ops
from probe.model import Capture
from probe.verdict.judge import judge
from probe.verdict.options import Yours


def far(*shape, mean=1000.0, dtype=np.float32):
    return np.random.default_rng(0).normal(mean, 1, size=shape).astype(dtype)


def verdicts(layer, x):
    return [(report.verdict, report.sentence) for report in probe.sweep(layer, x)]


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_torch(mean, dtype):
    x = far(3, 32, 9, 8, mean=mean)
    layers = [torch.nn.GroupNorm(4, 32), torch.nn.LayerNorm((32, 9, 8)), torch.nn.LayerNorm(8)]
    for layer in layers:
        assert [verdict for verdict, _ in verdicts(layer.to(dtype), x)] != ["diverge"]


@pytest.mark.tensorflow
@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_keras(mean, dtype):
    x = far(3, 9, 8, 32, mean=mean, dtype=dtype)
    for layer in (
        keras.layers.GroupNormalization(4, dtype=dtype),
        keras.layers.LayerNormalization(dtype=dtype),
        keras.layers.LayerNormalization(axis=(1, 2, 3), dtype=dtype),
    ):
        assert [verdict for verdict, _ in verdicts(layer, x)] != ["diverge"]


class ChannelsLast(torch.nn.Module):
    """A group normalisation in the memory format in which PyTorch takes the variance as E[x²] -
    E[x]²."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.GroupNorm(4, 32)

    def forward(self, x):
        return self.norm(x.to(memory_format=torch.channels_last))


def test_channels_last_loses_more_and_is_no_divergence():
    x = far(8, 32, 24, 24, mean=100.0)
    (report,) = probe.sweep(ChannelsLast(), x, layers={"norm"})
    assert report.ok, report.sentence
    (plain,) = probe.sweep(torch.nn.GroupNorm(4, 32), x)
    lost, kept = (
        np.abs(one.outputs["framework"] - one.outputs["numpy"]).max() for one in (report, plain)
    )
    assert lost > 20 * kept
    op = ops.GroupNormalization(scale=None, bias=None, groups=4, epsilon=1e-5)
    taken = Capture(
        "norm",
        "GroupNorm",
        0,
        (x,),
        (report.outputs["framework"],),
        "float32",
        Description((Step(op),)),
    )
    assert judge(taken).verdict == "diverge"  # this is allowed to channels_last alone


def layer_norm(x):
    op = ops.LayerNormalization(scale=None, bias=None, epsilon=1e-5, axes=(1,))
    y = torch.nn.functional.layer_norm(torch.from_numpy(x), x.shape[1:])
    return Capture("norm", "LayerNorm", 0, (x,), (y.numpy(),), "float32", Description((Step(op),)))


@pytest.mark.parametrize(("mean", "ratio"), [(0.0, 100), (30.0, 3), (100.0, 1)])
def test_the_wrong_degrees_of_freedom_show_far_from_zero(mean, ratio):
    x = far(16, 768, mean=mean)
    t = torch.from_numpy(x)
    wrong = (
        (t - t.mean(1, keepdim=True)) / torch.sqrt(t.var(1, correction=1, keepdim=True) + 1e-5)
    ).numpy()
    report = judge(replace(layer_norm(x), outputs=(wrong,)))
    assert report.verdict == "diverge"
    assert report.comparisons["framework", "numpy"].ratio > ratio


def two_means(x):
    mean = x.mean(axis=1, keepdims=True)
    variance = np.square(x).mean(axis=1, keepdims=True) - np.square(mean)
    return (x - mean) / np.sqrt(variance + np.float32(1e-5))


def test_the_users_own_variance_may_be_the_difference_of_two_means():
    x = far(16, 768, mean=200.0)
    report = judge(layer_norm(x), Yours(two_means(x)))
    assert report.ok, report.sentence
    assert "assuming that yours computes the variance as E[x²] - E[x]²" in report.sentence
    assert "E[x²]" not in judge(layer_norm(x), Yours(layer_norm(x).outputs[0])).sentence


def test_an_algorithm_that_loses_all_digits_excuses_nothing():
    x = far(16, 768, mean=300.0)
    report = judge(layer_norm(x), Yours(two_means(x)))
    assert report.verdict == "diverge"
    assert any(
        note.startswith("yours possibly computes the variance as E[x²] - E[x]²")
        for note in report.notes
    )


@pytest.mark.tensorflow
def test_a_constant_image_is_no_divergence():
    """Adding one value again and again errs in one direction."""
    for value in (0.1, 1 / 3, 1234.567):
        x = np.full((2, 32, 60, 50), value, np.float32)
        for layer in (
            torch.nn.GroupNorm(4, 32),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.AvgPool2d(9),
        ):
            assert verdicts(layer, x)[0][0] != "diverge"
        last = np.moveaxis(x, 1, -1).copy()
        for layer in (
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.LayerNormalization(axis=(1, 2)),
        ):
            assert verdicts(layer, last)[0][0] != "diverge"
