"""Where little or nothing can be compared, "agree" is not all that is said."""

import warnings

import numpy as np
import pytest
import torch

import probe
from probe.report.text import line


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).eval()


def test_nan_of_the_users_is_counted_wherever_it_hides_something(net):
    x = np.ones((3, 4), np.float32)
    x[0, 0], x[1, 1] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reports = list(probe.sweep(net, x))
    for report in reports:
        assert (
            report.ok
            and "of its 9 values are NaN, which would hide an error there" in report.sentence
        )
        assert "are NaN, which would hide an error there" in line(report)
    report = probe.check(net, "0", x)
    assert "3 of its 9 values are NaN" in report.sentence
    assert "given; it contains 1 NaN and 1 infinite among 12 values" in " ".join(
        str(report).split()
    )
    assert "the layer's own input, given by you; it contains 1 NaN" in str(
        probe.check(net, "0", given=x)
    )


class Copied(torch.nn.Module):
    def forward(self, x):
        signalling = torch.full(x.shape, 0x7FA00000, dtype=torch.int32).view(torch.float32)
        return signalling.copy_(x) * 2


def test_a_signalling_nan_warns_of_nothing(net):
    """As memory that was never written may hold it, and NumPy converts it with a warning."""
    reports = list(probe.sweep(Copied(), np.ones((3, 4), np.float32)))
    assert [report.verdict for report in reports] == ["agree", "agree"]
    x = np.ones((3, 4), np.float32)
    x.view(np.uint32)[1, 2] = 0x7FA00000
    report = probe.check(net, "0", x)
    assert report.ok and "3 of its 9 values are NaN" in report.sentence


def test_without_nan_nothing_is_said_of_it(net):
    report = probe.check(net, "0", np.ones((3, 4), np.float32))
    assert "NaN" not in str(report)


def test_nan_throughout_is_nothing_to_compare(net):
    x = np.full((3, 4), np.nan, np.float32)
    for report in (probe.check(net, "0", x), *probe.sweep(net, x)):
        assert report.verdict == "unchecked"
        assert "every value of the output is NaN: there is nothing to compare" in report.sentence
    assert probe.check(net, "0", x, expected=np.zeros((3, 3))).verdict == "diverge"


@pytest.mark.parametrize("layer", [torch.nn.LSTM(4, 3), torch.nn.MaxPool1d(2)])
def test_nan_that_onnx_runtime_alone_drops_is_nothing_to_compare_either(layer):
    report = probe.check(layer.eval(), "", np.full((2, 5, 4), np.nan, np.float32))
    assert report.verdict == "unchecked"
    assert "every value of the output is NaN" in report.sentence


EMPTY = "unchecked: the output is empty: the shapes agree and there is no value to compare"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (torch.nn.Linear(4, 3), (0, 4)),
        (torch.nn.Linear(4, 3), (2, 0, 4)),
        (torch.nn.Conv2d(2, 3, 2), (0, 2, 5, 5)),
        (torch.nn.BatchNorm1d(4), (0, 4)),
        (torch.nn.AdaptiveAvgPool2d(1), (0, 2, 4, 4)),
        (torch.nn.MaxPool2d(2, return_indices=True), (0, 2, 4, 4)),
        (torch.nn.AdaptiveMaxPool2d((2, 3), return_indices=True), (0, 2, 4, 4)),
        (torch.nn.LSTM(4, 3), (5, 0, 4)),
        (torch.nn.LSTMCell(4, 3), (0, 4)),
        (torch.nn.MultiheadAttention(4, 2), (3, 0, 4)),
    ],
)
def test_an_empty_batch_of_pytorch_is_no_agreement(layer, shape):
    layer = layer.eval()
    x = [np.zeros(shape, np.float32)] * (3 if isinstance(layer, torch.nn.MultiheadAttention) else 1)
    for report in (
        probe.check(layer, "", x),
        *probe.sweep(layer, x),
        probe.check(layer, "", x, rtol=1.0, atol=1.0),
    ):
        assert report.sentence == EMPTY
    wrong = probe.check(layer, "", x, expected=np.zeros((1, 3)))
    assert wrong.verdict == "diverge" and "yours has another shape: " in wrong.sentence


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["keras", "tf_keras"])
@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [
        ("Dense", {"units": 3}, (4,)),
        ("ReLU", {}, (4,)),
        ("MaxPooling2D", {}, (4, 4, 2)),
        ("Embedding", {"input_dim": 5, "output_dim": 3}, (4,)),
        ("BatchNormalization", {}, (4,)),
        ("Flatten", {}, (4, 3)),
        ("GlobalAveragePooling2D", {}, (4, 4, 3)),
    ],
)
def test_an_empty_batch_of_keras_is_no_agreement(name, kind, options, shape):
    keras = pytest.importorskip(name)
    layer = getattr(keras.layers, kind)(**options)
    model = keras.Sequential([keras.Input(shape), layer])
    x = np.zeros((0, *shape), np.float32)
    mine = np.zeros(np.asarray(model(x)).shape)
    for report in (
        probe.check(model, layer.name, x),
        *probe.sweep(model, x),
        probe.check(model, layer.name, x, expected=mine),
    ):
        assert report.sentence == EMPTY
    wrong = probe.check(model, layer.name, x, expected=np.zeros((1, 7)))
    assert wrong.verdict == "diverge" and "yours has another shape: " in wrong.sentence


def test_the_mean_of_nothing_is_said_without_a_warning():
    class Mean(torch.nn.Module):
        def forward(self, x):
            return x.mean(0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (report,) = probe.sweep(Mean(), np.zeros((0, 4), np.float32))
    assert "every value of the output is NaN" in report.sentence
