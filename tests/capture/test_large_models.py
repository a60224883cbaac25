"""Of a large model a check runs the forward pass as far as the layer, once, and what costs more is
said before it starts."""

import warnings
from collections import Counter

import numpy as np
import pytest
import torch

import probe
from probe.errors import CostWarning

X = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    monkeypatch.setattr("probe.model._LARGE", 40)


@pytest.fixture
def net():
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        """One layer is called twice; how often each module ran is counted."""

        def __init__(self):
            super().__init__()
            self.first, self.twice = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
            self.last, self.ran = torch.nn.Linear(6, 3), Counter()
            for name, module in self.named_children():
                module.register_forward_hook(lambda *_, name=name: self.ran.update([name]))

        def forward(self, x):
            return self.last(self.twice(torch.relu(self.twice(self.first(x)))))

    return Net().eval()


@pytest.mark.parametrize(
    ("layer", "call", "ran"),
    [
        ("first", None, {"first": 1}),
        ("twice", None, {"first": 1, "twice": 1}),
        ("twice", 1, {"first": 1, "twice": 2}),
        ("/relu", None, {"first": 1, "twice": 1}),
        ("last", None, {"first": 1, "twice": 2, "last": 1}),
    ],
)
def test_the_pass_ends_behind_the_layer_and_is_not_repeated(net, layer, call, ran):
    report = probe.check(net, layer, X, call=call)
    assert report.ok and report.call == (call or 0)
    assert net.ran == ran
    assert any(
        note.startswith("the model has 105 parameters, so one forward pass ran")
        for note in report.notes
    )
    assert not any(len(one._forward_hooks) > 1 for one in net.modules())


def test_a_small_one_runs_to_its_end_and_once_more_unwatched(net, monkeypatch):
    monkeypatch.setattr("probe.model._LARGE", 1000)
    report = probe.check(net, "twice", X)
    assert net.ran == {"first": 2, "twice": 4, "last": 2}
    assert any("called 2 times" in note for note in report.notes)


def test_values_through_the_layers_before_say_what_they_cost_before_they_start(net):
    right = probe.check(net, "last", X).outputs["framework"]
    net.ran.clear()
    with pytest.warns(CostWarning, match="one more forward pass of 105 .* given=") as said:
        report = probe.check(net, "last", X, expected=right + 1)
    assert report.verdict == "diverge" and len(said) == 1 and net.ran["first"] == 2
    net.ran.clear()
    own = probe.check(net, "last", X).inputs[0]
    assert probe.check(net, "last", given=own, expected=right).ok
    assert net.ran["first"] == 1


@pytest.mark.parametrize(("off", "passes"), [(1.0, 3), (1e-5, 12)])
def test_passes_with_noise_are_as_many_as_it_takes_to_tell(net, monkeypatch, off, passes):
    monkeypatch.setattr("probe.evaluation.drift_of_calls._MOST", 0)
    x = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)
    right = probe.check(net, "last", x).outputs["framework"]
    net.ran.clear()
    with pytest.warns(CostWarning, match="given="):
        report = probe.check(net, "last", x, expected=right + np.float32(off))
    assert report.verdict == "diverge"
    assert net.ran["first"] == passes


@pytest.mark.parametrize(("off", "verdict", "passes"), [(0.01, "agree", 2), (3.0, "diverge", 3)])
def test_a_pass_with_other_roundings_tells_of_values_in_half_precision(net, off, verdict, passes):
    """The one pass that is needed besides, where the values are right."""
    x = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)
    x = torch.from_numpy(x).bfloat16()
    mine = net(x.float()).detach().numpy()
    net.bfloat16().ran.clear()
    with pytest.warns(CostWarning, match="given=") as said:
        report = probe.check(net, "last", x.float().numpy(), expected=mine + np.float32(off))
    assert "takes one more forward pass of 105 parameters; given=" in str(said[0].message)
    assert report.verdict == verdict and net.ran["first"] == passes
    assert len(said) == passes - 1


@pytest.mark.parametrize("layer", ["", ("twice", "last")])
def test_what_begins_at_the_input_or_is_a_segment_takes_no_such_pass(net, layer):
    x = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)
    net.bfloat16()
    mine = probe.check(net, layer, x).outputs["framework"] * np.float32(1.5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert probe.check(net, layer, x, expected=mine).verdict == "diverge"
    assert not any("one more forward pass of 105 parameters; given" in str(one) for one in said)


def test_values_that_agree_without_the_layers_before_cost_no_more_passes(net):
    right = probe.check(net, "last", X).outputs["framework"]
    net.ran.clear()
    assert probe.check(net, "last", X, expected=right).ok
    assert net.ran == {"first": 1, "twice": 2, "last": 1}


def test_the_command_says_it_on_standard_error(tmp_path, probe_command):
    net = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Linear(6, 3))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        "import torch\ndef net():\n    n = torch.nn\n"
        "    return n.Sequential(n.Linear(6, 6), n.Linear(6, 3))\n"
    )
    np.save(tmp_path / "x.npy", X)
    model = (tmp_path / "net.pt", "--factory", f"{tmp_path / 'net.py'}:net", "--layer")
    mine = ("--expect", tmp_path / "mine.npy")
    np.save(tmp_path / "mine.npy", np.zeros((2, 3)))
    status, _, err = probe_command(*model, "1", "--input", tmp_path / "x.npy", *mine)
    assert status == 1 and err.startswith("probe: your values came through earlier layers")
    assert err.count("\n") == 1 and "given= (--expect-input) avoids that" in err
    status, _, err = probe_command(*model, "1", "--expect-input", tmp_path / "x.npy", *mine)
    assert (status, err) == (1, "")
    np.save(tmp_path / "mine.npy", np.zeros((2, 6)))
    status, _, err = probe_command(*model, "0", "--input", tmp_path / "x.npy", *mine)
    assert (status, err) == (1, ""), "no layer comes before the first"


@pytest.fixture
def probe_command(request):
    return request.getfixturevalue("probe")
