"""Files that fix the batch: more samples are compared in slices of it."""

import numpy as np
import pytest
import torch
from known_warnings import TORCH_EXPORT
from torch import nn

import probe
from probe.errors import BadInput

pytestmark = pytest.mark.filterwarnings(*TORCH_EXPORT)
X = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
X[:, 0, 0, 0] = (1, 1, -1, 1)


class Other(nn.Module):
    """A net whose output is another where the first number is negative."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        y = self.net(x)
        return torch.where(x[:, 0, :1, 0] > 0, y, y + 1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()
    folder = tmp_path_factory.mktemp("batches")
    for size in (1, 2):
        given = (torch.from_numpy(X[:size]),)
        torch.onnx.export(net, given, folder / f"of {size}.onnx", dynamo=False, input_names=["x"])
    return net, folder


@pytest.mark.parametrize(("size", "shown"), [(1, "sample 3"), (2, "samples 2:4")])
def test_slices_of_the_batch_are_compared_one_after_the_other(pair, size, shown):
    net, folder = pair
    for a, b, side in (
        (net, folder / f"of {size}.onnx", "B"),
        (folder / f"of {size}.onnx", net, "A"),
    ):
        found = probe.compare(a, b, X)
        assert found.ok and len(found.pairs) == 3, str(found)
        assert found.notes[0].startswith(f"{side} takes a batch of {size}: of the 4 samples")
        assert f"the pairs are those of {shown}, and all agree" in found.notes[0]
    assert not probe.compare(net, folder / f"of {size}.onnx", X[:size]).notes


def test_the_first_slice_that_differs_is_shown(pair, tmp_path):
    net, folder = pair
    found = probe.compare(folder / "of 1.onnx", Other(net).eval(), X)
    assert found.verdict == "diverge"
    assert "those of sample 2, the first that does not agree" in found.notes[0]


def test_a_slice_behind_the_first_eight_that_differs_is_found(pair):
    net, folder = pair
    x = np.concatenate([np.abs(X)] * 3)
    found = probe.compare(folder / "of 1.onnx", Other(net).eval(), x)
    assert found.sentence.endswith(", on 8 of 12 samples")
    x[10] *= -1
    found = probe.compare(folder / "of 1.onnx", Other(net).eval(), x)
    assert found.verdict == "diverge"
    assert "those of sample 10, the first that does not agree" in found.notes[0]


def test_other_numbers_of_samples_are_refused(pair):
    net, folder = pair
    with pytest.raises(probe.BadInput, match="B takes a batch of 2, and the input has 3 samples"):
        probe.compare(net, folder / "of 2.onnx", X[:3])
    with pytest.raises(probe.BadInput, match="A takes a batch of 1 and B one of 2: no input fits"):
        probe.compare(folder / "of 1.onnx", folder / "of 2.onnx", X)


def test_tensors_of_a_framework_are_sliced(pair):
    net, folder = pair
    x = torch.from_numpy(X)
    assert probe.compare(folder / "of 1.onnx", net, X, x_b=x).ok
    assert probe.compare(folder / "of 1.onnx", net, X, x_b=[x]).ok
    assert probe.compare(net, folder / "of 2.onnx", {"input": x}).ok
    assert not probe.compare(folder / "of 1.onnx", Other(net).eval(), X, x_b=x).ok


def test_an_input_without_samples_is_refused_where_the_batch_is_fixed(pair):
    net, folder = pair
    with pytest.raises(BadInput, match="takes a batch of 2, and the input has 0 samples"):
        probe.compare(net, folder / "of 2.onnx", X[:0])


def test_the_sentence_says_how_many_of_the_samples_agree(pair):
    net, folder = pair
    found = probe.compare(net, folder / "of 1.onnx", np.concatenate([X, X, X]))
    assert found.sentence == "agree: 3 of 3 pairs agree, on 8 of 12 samples"
    assert probe.compare(net, folder / "of 1.onnx", X).sentence == "agree: 3 of 3 pairs agree"
