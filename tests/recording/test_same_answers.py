"""A recording answers what the model itself does, field for field, but for what ran it."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from chain_model import ChainModel
from recorded import assert_same, differences, recorded

import probe
from probe import ops
from probe.errors import Undescribed
from probe.explanation.explain import explain
from probe.model import Capture


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(4, 4, 3, padding=1)
        self.bn = torch.nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x))) + x


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 3, stride=2)
        self.block = Block()
        self.query, self.key = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.head = torch.nn.Linear(4, 5)

    def forward(self, x):
        x = self.block(self.stem(x)).flatten(2).transpose(1, 2)
        x = torch.softmax(self.query(x) @ self.key(x).transpose(1, 2), -1) @ x
        return self.head(x.mean(1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = Net().eval()
    made.block.bn.running_mean.uniform_(-1, 1)
    made.block.bn.running_var.uniform_(0.5, 2)
    return probe.open_model(made)


X = np.random.default_rng(0).normal(size=(2, 3, 9, 11)).astype(np.float32)


@pytest.fixture(scope="module")
def kept(net, tmp_path_factory):
    return recorded(net, X, tmp_path_factory.mktemp("kept"))


def test_a_sweep(net, tmp_path):
    assert_same(net, X, tmp_path)


def layers(net):
    return [one.layer for one in probe.sweep(net, X)]


def test_every_layer_and_block(net, kept):
    blocks = [one.name for one in net.containers]
    assert "" in blocks and "block" in blocks
    assert [one.name for one in kept.containers] == blocks
    for name in [*layers(net), *blocks]:
        assert not differences(probe.check(net, name, X), probe.check(kept, name)), name


def test_a_segment(net, kept):
    ends = ("stem", "block.bn")
    assert not differences(probe.check(net, ends, X), probe.check(kept, ends))


@pytest.mark.parametrize("layer", ["stem", "block.conv", "query", "head", "block", ""])
def test_values_of_the_users_own(net, kept, layer):
    """What earlier layers' rounding does is found along the recorded data flow: the allowance is
    another drawing of the same."""
    right = probe.check(net, layer, X).outputs["framework"]
    mine = right * np.float32(1 + 1e-7)
    live, ours = (probe.check(one, layer, x, expected=mine) for one, x in ((net, X), (kept, None)))
    assert live.verdict == ours.verdict == "agree"
    one, other = (report.comparisons["framework", "expected"].ratio for report in (live, ours))
    assert other == pytest.approx(one, rel=0.5)


def test_a_mistake_of_the_users_own(net, kept):
    """An activation left out, in a block behind others."""
    values = probe.check(net, "block.bn", X).outputs["framework"]
    mine = values + probe.check(net, "stem", X).outputs["framework"]
    live = probe.check(net, "block", X, expected=mine)
    ours = probe.check(kept, "block", expected=mine)
    assert live.verdict == ours.verdict == "diverge" and live.findings
    assert [one.slug for one in live.findings] == [one.slug for one in ours.findings]


def test_a_pass_that_watching_changes(tmp_path):
    """What was found out when it was recorded is said of each call."""

    class Differs(ChainModel):
        def run(self, inputs, wanted, on_call):
            (y,) = super().run(inputs, wanted, on_call)
            return (y if wanted is None or wanted else y + 1,)

    halved = probe.Description((probe.Step(ops.Relu()),))
    model = Differs({"relu": (lambda x: np.maximum(x, 0), halved)})
    x = X[0, 0, :3, :3]
    live, ours = probe.check(model, "relu", x), probe.check(recorded(model, x, tmp_path), "relu")
    assert ours.ok and not differences(live, ours)
    assert any("capturing activations changes the result" in one for one in ours.notes)


class Exports(ChainModel):
    """Its layers have no description, but an exporter of their own, which may refuse."""

    def _called(self, name, x, on_call):
        function, export = self.chain[name]
        y = function(x)
        if on_call is not None:
            words = "none is written"
            on_call(
                Capture(name, "f", 0, (x,), (y,), "float32", None, words, alone=partial(export, y))
            )
        return y


def refused(y):
    raise Undescribed("no exporter takes it")


def test_what_an_exporter_makes_of_a_call_without_description(tmp_path):
    model = Exports({"one": (np.tanh, lambda y: (y,)), "two": (np.sin, refused)})
    x = X[0, 0, :3, :3]
    kept = recorded(model, x, tmp_path)
    for name in ("one", "two"):
        assert not differences(probe.check(model, name, x), probe.check(kept, name))
    one, two = (probe.check(kept, name) for name in ("one", "two"))
    np.testing.assert_array_equal(one.outputs["onnx"], np.tanh(x))
    assert any("no exporter takes it" in note for note in two.notes)


def test_a_part_and_tolerances(net, kept):
    y = probe.check(net, "stem", X).outputs["framework"]
    options = {"expected": y[0, :2, :3, 0] + 1e-3, "expected_at": "0,:2,:3,0"}
    for more in ({}, {"rtol": 1e-2, "atol": 1e-2}):
        assert not differences(
            probe.check(net, "stem", X, **options, **more),
            probe.check(kept, "stem", **options, **more),
        )


def test_values_of_all_layers(net, kept):
    values = {one.layer: one.outputs["framework"] for one in probe.sweep(net, X)}
    values = {name: one for name, one in values.items() if isinstance(one, np.ndarray)}
    values["block.bn"] = values["block.bn"] * 1.01
    live = {one.layer: one.verdict for one in probe.sweep(net, X, expected=values)}
    assert {one.layer: one.verdict for one in probe.sweep(kept, expected=values)} == live
    assert live["block.bn"] == "diverge"


@pytest.mark.parametrize("sees", [False, True])
@pytest.mark.parametrize(
    ("layer", "at"), [("stem", (0, 1, 1, 0)), ("head", (1, 2)), ("block", (0, 1, 2, 2))]
)
def test_an_element(net, kept, layer, at, sees):
    live, ours = (
        json.loads(explain(one, layer, x, at=at, sees=sees).to_json())
        for one, x in ((net, X), (kept, None))
    )
    live.pop("framework"), ours.pop("framework")
    assert live == ours


def test_folding(net, kept):
    live, ours = probe.fold(net, "block.conv", X), probe.fold(kept, "block.conv")
    assert live.verdict == "agree" and not differences(live, ours)


def test_what_is_saved(net, kept, tmp_path):
    for name, one, x in (("live", net, X), ("kept", kept, None)):
        probe.check(one, "stem", x).save(str(tmp_path / f"{name}.npz"))
    live, ours = np.load(tmp_path / "live.npz"), np.load(tmp_path / "kept.npz")
    assert live.files == ours.files
    assert all(np.array_equal(live[name], ours[name]) for name in live.files)


@pytest.mark.costly
def test_own_input_of_a_layer(net, kept):
    """The user's values are held against NumPy on the user's own input, the framework's stay those
    of the recorded one."""
    given = np.random.default_rng(1).normal(size=(2, 3, 9, 11)).astype(np.float32)
    mine = probe.check(net, "stem", given=given).outputs["framework"]
    report = probe.check(kept, "stem", given=given, expected=mine)
    assert report.ok and any(
        "did not run on the input that you gave" in one for one in report.notes
    )
    assert not probe.check(kept, "stem", given=given, expected=mine * 1.01, search=False).ok
    assert not probe.check(kept, "stem", expected=mine, search=False).ok
    with pytest.raises(probe.ProbeError, match="runs on no other input without the model"):
        probe.check(kept, "stem", given=given)


PASSES: list[torch.Size] = []


class Passing(Net):
    """It tells its passes, and may take a way that no capture sees."""

    hidden = False

    def forward(self, x):
        PASSES.append(x.shape)
        if self.hidden:
            x = torch.from_numpy(x.numpy() * 2)
        return super().forward(x)


def test_one_watched_pass_is_recorded(tmp_path):
    """And one more tells whether watching changes the result."""
    net = Passing().eval()
    PASSES.clear()
    kept = recorded(probe.open_model(net), X, tmp_path)
    assert len(PASSES) == 2 and {"", "block"} <= {one.name for one in kept.containers}
    assert_same(net, X, tmp_path)
    net.hidden = True  # then a sweep has what comes from nowhere, too
    kept = recorded(probe.open_model(net), X, tmp_path)
    live, ours = (list(probe.sweep(one, x)) for one, x in ((net, X), (kept, None)))
    assert [one.layer for one in live] == [one.layer for one in ours]
    assert live[-1].verdict == "unchecked" and "/unseen" in live[-1].layer
    assert not [one.layer for one, other in zip(live, ours, strict=True) if differences(one, other)]
    for name in ("", "block"):
        assert not differences(probe.check(net, name, X), probe.check(kept, name)), name


class Scaled(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.weight, self.function = torch.nn.Parameter(torch.ones(4)), function

    def forward(self, x):
        return self.function(x * self.weight)


def unseen(x):
    return torch.relu(torch.from_numpy(2 * x.numpy()))


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("function", "exported"),
    [(torch.tanh, 0), (lambda x: torch.linalg.svd(x)[1], 2), (unseen, 1)],
    ids=["all", "not all", "values from nowhere"],
)
def test_what_is_composed_of_its_calls_is_not_exported(function, exported, tmp_path, monkeypatch):
    """Which takes a second for each: of a model of 22 blocks two thirds of the whole recording."""
    asked = []
    export = torch.onnx.export
    monkeypatch.setattr(
        torch.onnx, "export", lambda *args, **options: asked.append(1) or export(*args, **options)
    )
    net = torch.nn.Sequential(Scaled(function)).eval()
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    kept = recorded(probe.open_model(net), x, tmp_path)
    assert len(asked) == exported  # of the module, and of the call within it
    assert not differences(probe.check(net, "0", x), probe.check(kept, "0"))
