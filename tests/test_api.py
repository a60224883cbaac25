"""The road itself: faithful capture, repeated calls, and sweeps that end early."""

import threading
from functools import partial

import ml_dtypes
import numpy as np
import pytest
import torch

import probe

X = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)


class Shy(torch.nn.Module):
    """Computes something else while anybody watches its layer."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 4)

    def forward(self, x):
        y = self.fc(x)
        return y * 2 if self.fc._forward_hooks else y


class Moody(torch.nn.Module):
    """Adds noise that no seed of PyTorch's governs."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 4)
        self.noise = np.random.default_rng(0)

    def forward(self, x):
        return self.fc(x) + float(self.noise.normal())


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(torch.relu(self.fc(x)))


@pytest.mark.parametrize(
    ("net", "words"),
    [
        (Shy(), "capturing activations changes the result"),
        (Moody(), "nondeterministic"),
        (torch.nn.Sequential(torch.nn.Linear(6, 4)), None),
    ],
)
def test_watched_and_unwatched_are_compared(net, words):
    layer = "0" if words is None else "fc"
    notes = " ".join(probe.check(net.eval(), layer, X).notes)
    assert (words in notes) if words else ("watching" not in notes and "repeat" not in notes)


def test_an_opened_model_runs_unwatched_once_for_an_input_and_a_result():
    passes = []
    net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU()).eval()
    net.register_forward_hook(lambda *_: passes.append(1))

    def counted(x):
        passes.clear()
        assert probe.check(model, "0", x).ok
        return len(passes)

    model = probe.open_model(net)
    assert [counted(X), counted(X), counted(X + 1), counted(X)] == [2, 1, 2, 1]
    with torch.no_grad():
        net[0].bias += 1
    assert counted(X) == 2


RAN: list[str] = []


class Reaching(torch.nn.Module):
    """It tells what it has run, layer by layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
        for name in ("first", "last"):
            hook = partial(lambda name, *_: RAN.append(name), name)
            getattr(self, name).register_forward_pre_hook(hook)

    def forward(self, x):
        return self.last(self.first(self.first(x)))


def test_later_passes_end_behind_the_layer(tmp_path):
    """Of a model out of a file: once it is known that watching changes nothing, and how often the
    layer is called."""

    def ran(model, *asked, **options):
        RAN.clear()
        assert probe.check(model, *asked, **options).ok
        return " ".join(RAN)

    torch.save(Reaching().state_dict(), tmp_path / "net.pt")
    kept = probe.open_model(tmp_path / "net.pt", factory=Reaching)
    whole = "first first last"
    assert ran(kept, "first", X) == f"{whole} {whole}"
    assert ran(kept, "first", X) == "first first"
    assert ran(kept, "first", X, call=0) == "first"
    assert ran(kept, "first", X, call=1) == "first first"
    assert ran(kept, "last", X) == whole
    assert ran(kept, "first", X + 1) == f"{whole} {whole}"
    reports = [probe.check(kept, "first", X) for _ in range(2)]
    assert str(reports[0]) == str(reports[1]) and "called 2 times" in str(reports[0])
    with pytest.raises(probe.ProbeError, match="called 2 times; call 2 does not exist"):
        probe.check(kept, "first", X, call=2)
    live = probe.open_model(Reaching().eval())  # which its owner may change
    assert [ran(live, "first", X) for _ in range(2)] == [f"{whole} {whole}", whole]


def test_every_call_is_checked_and_one_can_be_picked():
    net = Twice().eval()
    assert [(report.layer, report.call) for report in probe.sweep(net, X)] == [
        ("fc", 0),
        ("/relu", 0),
        ("fc", 1),
    ]
    report = probe.check(net, "fc", X)
    assert report.ok
    assert any("called 2 times" in note for note in report.notes)
    second = probe.check(net, "fc", X, call=1)
    assert second.call == 1
    assert probe.check(net, "fc", X, call=1, expected=second.outputs["framework"]).ok
    assert (
        probe.check(net, "fc", X, call=0, expected=second.outputs["framework"]).verdict == "diverge"
    )


def test_a_sweep_closed_early_leaves_no_thread_and_no_hook():
    net = torch.nn.Sequential(*(torch.nn.Linear(6, 6) for _ in range(20))).eval()
    before = threading.active_count()
    reports = probe.sweep(net, X)
    assert next(reports).ok
    reports.close()
    assert threading.active_count() == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_mapping_and_a_sequence_are_bound_to_the_inputs():
    net = torch.nn.Sequential(torch.nn.Linear(6, 4)).eval()
    assert probe.check(net, "0", [X]).ok
    assert probe.check(net, "0", {"x": X}).ok
    with pytest.raises(probe.ProbeError, match="no parameter 'x', 'y'; it takes input"):
        probe.check(net, "0", {"x": X, "y": X})


def test_an_input_that_is_not_numbers_is_one_sentence():
    with pytest.raises(probe.ProbeError, match="must hold real numbers"):
        probe.check(torch.nn.Linear(2, 2), "", np.array(["a", "b"]))


def test_values_in_other_forms_than_arrays_of_float32():
    net = torch.nn.Linear(6, 4).eval()
    y = net(torch.from_numpy(X))  # it requires a gradient
    for mine in (
        y,
        y.tolist(),
        y.detach().numpy().astype(np.longdouble),
        y.detach().numpy().astype(">f4"),
    ):
        assert probe.check(net, "", given=X.astype(np.longdouble), expected=mine).ok
    for mine, told in (
        ([[1.0, 2.0], [3.0]], "cannot be converted to an array"),
        ([None], "nothing to compare"),
        (np.array("a"), "must be numbers"),
        (
            np.ma.masked_less(y.detach().numpy(), 0),
            "expected values must not be a masked array with masked values",
        ),
    ):
        with pytest.raises(probe.ProbeError, match=told):
            probe.check(net, "", given=X, expected=mine)


def test_bfloat16_is_taken_as_it_is():
    """Also where no parameter says what a module computes in; NumPy has no such numbers of its
    own."""
    x = torch.from_numpy(X).bfloat16()
    for net in (
        torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.Tanh()).bfloat16().eval(),
        torch.nn.Sequential(torch.nn.Tanh()).eval(),
    ):
        last = str(len(net) - 1)
        with torch.no_grad():
            y = net(x)
        for given in (x, x.float().numpy().astype(ml_dtypes.bfloat16)):
            report = probe.check(net, last, given, expected=y)
            assert report.verdict == "agree" and report.dtype == "bfloat16", str(report)
            np.testing.assert_array_equal(report.outputs["framework"], y.float().numpy())
            assert probe.check(net, last, given, expected=y + 0.1).verdict == "diverge"


def test_assert_layer_carries_the_report():
    net = torch.nn.Linear(6, 4).eval()
    probe.assert_layer(net, "", X)
    with pytest.raises(AssertionError, match="yours is the odd one out"):
        probe.assert_layer(net, "", X, expected=np.zeros((3, 4)))


def test_drawn_indices_fit_the_embedding():
    n = torch.nn
    net = n.Sequential(n.Embedding(7, 4), n.Flatten(), n.Linear(20, 3)).eval()
    report = probe.check(net, "2", shape=(2, 5))
    assert report.ok
    assert "random, seed 0" in report.how


def test_a_kept_report_does_not_change_with_the_model():
    net = torch.nn.Linear(6, 4).eval()
    report = probe.check(net, "", X)
    before = net.weight.detach().numpy().copy()
    with torch.no_grad():
        net.weight.zero_()
    assert np.array_equal(report.weights["weight"].effective, before)
    assert np.array_equal(report.weights["weight"].stored, before)
