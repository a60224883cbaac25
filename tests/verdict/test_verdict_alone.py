"""Who asks for the verdict alone gets it, and is told that causes were not searched for."""

import json

import numpy as np
import pytest
import torch

import probe as library
from probe.verdict.options import NOT_SEARCHED

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)


@pytest.fixture
def unsearchable(monkeypatch):
    """A search fails the test."""

    def searched(*args, **options):
        pytest.fail("causes were searched for")

    monkeypatch.setattr("probe.diagnosis.outputs.of_parties", searched)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).eval()


@pytest.fixture(scope="module")
def without_bias(net):
    return (torch.tensor(X) @ net[0].weight.T).detach().numpy()


def test_of_one_layer(net, without_bias, unsearchable):
    report = library.check(net, "0", X, expected=without_bias, search=False)
    assert report.verdict == "diverge" and report.findings == ()
    assert report.diagnosis == (NOT_SEARCHED,) and NOT_SEARCHED in str(report)
    assert json.loads(report.to_json())["diagnosis"] == [NOT_SEARCHED]
    with pytest.raises(AssertionError, match="causes were not searched for"):
        library.assert_layer(net, "0", X, without_bias, search=False)
    right = net[0](torch.tensor(X)).detach().numpy()
    assert library.check(net, "0", X, expected=right, search=False).diagnosis == ()


def test_with_the_search_the_same_verdict_has_its_cause(net, without_bias):
    alone = library.check(net, "0", X, expected=without_bias, search=False)
    report = library.check(net, "0", X, expected=without_bias)
    assert report.sentence == alone.sentence and report.findings[0].slug == "missing-bias"
    assert NOT_SEARCHED not in report.diagnosis


def test_of_all_layers(net, without_bias, unsearchable):
    reports = [*library.sweep(net, X, expected={"0": without_bias}, search=False)]
    assert [one.verdict for one in reports] == ["diverge", "agree", "agree"]
    assert reports[0].diagnosis == (NOT_SEARCHED,) and not reports[0].findings


def test_further_and_not_at_all_is_refused(net, without_bias):
    with pytest.raises(library.BadInput, match="search=False not at all"):
        library.check(net, "0", X, expected=without_bias, search=False, thorough=True)


def test_of_the_command(net, without_bias, probe, tmp_path, unsearchable):
    with pytest.warns(DeprecationWarning):
        torch.onnx.export(net, torch.tensor(X), tmp_path / "net.onnx", dynamo=False)
    layer = library.open_model(str(tmp_path / "net.onnx")).layers[0].name
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "mine.npy", without_bias)
    np.savez(tmp_path / "mine.npz", **{layer: without_bias})
    given = (tmp_path / "net.onnx", "--input", tmp_path / "x.npy", "--no-search")
    for words in (
        ("--layer", layer, "--expect", tmp_path / "mine.npy"),
        ("--all", "--expect", tmp_path / "mine.npz"),
    ):
        status, out, err = probe(*given, *words)
        assert status == 1 and NOT_SEARCHED in out, out + err
