"""Every option of every described module of PyTorch, and every argument of its call: known, or it
leaves the module unchecked."""

import inspect

import numpy as np
import pytest
import torch
from probe.adapters.torch.describe import module_options
from probe.adapters.torch.describe.describe import ModuleCall, describe, described, refusal
from torch import nn

import probe
from probe.description import Ref
from probe.errors import Undescribed

TOLD = "which its description does not support"


@pytest.fixture(autouse=True)
def _fresh():
    """What was found out of a class that a test exchanges parts of is forgotten."""
    module_options._unknown.cache_clear()
    yield
    module_options._unknown.cache_clear()


def test_the_tables_are_what_this_release_has():
    """What is in no table would leave every module of the class unchecked that sets it."""
    assert module_options.READ.keys() == set(described())
    kinds = [getattr(nn, name) for name in described()]
    assert not {
        kind.__name__: module_options._unknown(kind)
        for kind in kinds
        if module_options._unknown(kind)
    }
    for kind in kinds:
        _, *more = list(inspect.signature(kind.forward).parameters)[1:]
        assert module_options.ARGUMENTS.get(kind.__name__, set()) == set(more), kind


def renewed(kind, **more):
    """The constructor with parameters more, which become attributes."""
    before = kind.__init__

    def constructor(self, *args, **kwargs):
        values = {name: kwargs.pop(name, default) for name, default in more.items()}
        before(self, *args, **kwargs)
        vars(self).update(values)

    signature = inspect.signature(before)
    old = list(signature.parameters.values())
    last = [one for one in old if one.kind is one.VAR_KEYWORD]
    new = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in more.items()
    ]
    constructor.__signature__ = signature.replace(
        parameters=[*(one for one in old if one not in last), *new, *last]
    )
    return constructor


@pytest.mark.parametrize("name", described())
def test_an_option_of_a_release_to_come(name, monkeypatch):
    kind = getattr(nn, name)
    module = nn.Module.__new__(kind)
    nn.Module.__init__(module)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "__init__", renewed(kind, foo=2))
        for value, told in (
            (3, "foo=3"),
            (2, ""),
            ((2, 2), ""),
            ((2, 3), r"foo=(2, 3)"),
            (None, "foo=None"),
        ):
            module.foo = value
            assert module_options.unread(module, kind) == (
                told and f"{name} has option {told}, {TOLD}"
            )
        module.foo = nn.Parameter(torch.zeros(1))
        assert (
            f"{name} has option foo=Parameter containing: tensor([0.]"
        ) in module_options.unread(module, kind)
        del module.foo
        assert module_options.unread(module, kind) == (
            f"{name} has option foo, {TOLD} and whose value no attribute holds"
        )
    module_options._unknown.cache_clear()
    module.foo = 3
    assert module_options.unread(module, kind) == ""  # an attribute of the user's own
    monkeypatch.setattr(kind, "__constants__", ["foo"], raising=False)
    module_options._unknown.cache_clear()
    assert module_options.unread(module, kind) == f"{name} has option foo=3, {TOLD}"
    module.foo = False
    assert module_options.unread(module, kind) == ""


@pytest.mark.parametrize("name", described())
def test_an_argument_of_a_release_to_come(name, monkeypatch):
    kind = getattr(nn, name)
    forward = kind.forward
    old = list(inspect.signature(forward).parameters.values())

    def newer(self, *args, foo=1, **kwargs):
        return forward(self, *args, **kwargs)

    newer.__signature__ = inspect.Signature(
        [*old, inspect.Parameter("foo", inspect.Parameter.KEYWORD_ONLY, default=1)]
    )
    newer.__module__ = forward.__module__
    monkeypatch.setattr(kind, "forward", newer)
    given = {one.name: Ref(-1, place) for place, one in enumerate(old[1:])}
    module = nn.Module.__new__(kind)
    for value, told in (
        (2, f"it was called with `foo`, {TOLD}"),
        (Ref(-1, 1), f"it was called with `foo`, {TOLD}"),
        (1, ""),
        (None, ""),
    ):
        assert module_options.unread_argument(module, kind, {**given, "foo": value}) == told


@pytest.fixture
def newer(monkeypatch):
    """A Linear of a release to come, which has an option more and does something else where it is
    set."""
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "__init__", renewed(nn.Linear, sharpened=1))

    def sharper(self, input):
        return forward(self, input) * self.sharpened

    sharper.__module__ = forward.__module__
    monkeypatch.setattr(nn.Linear, "forward", sharper)


@pytest.mark.costly
@pytest.mark.usefixtures("newer")
def test_a_new_option_leaves_the_module_unchecked_by_name(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, sharpened=2))
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    torch.save(model, tmp_path / "net.pt")
    for source in (model, probe.open_model(tmp_path / "net.pt", trust=True)):
        assert probe.check(source, "0", x).ok
        report = probe.check(source, "1", x)
        assert (report.verdict, report.missing["numpy"]) == (
            "unchecked",
            f"Linear has option sharpened=2, {TOLD}",
        )
        assert [one.verdict for one in probe.sweep(source, x)] == ["agree", "unchecked"]
    assert [layer.why for layer in probe.open_model(model).layers] == [
        "",
        f"Linear has option sharpened=2, {TOLD}",
    ]


@pytest.mark.usefixtures("newer")
def test_a_new_option_inside_a_whole():
    whole = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    assert probe.check(whole, "", x).ok
    whole.linear1.sharpened = 2
    told = f"linear1: Linear has option sharpened=2, {TOLD}"
    report = probe.check(whole, "", x)
    assert report.verdict == "unchecked" and told in report.sentence


def test_an_argument_that_is_not_read():
    module = nn.ReLU()
    x = np.ones((2, 3), np.float32)
    with pytest.raises(Undescribed, match=f"it was called with `foo`, {TOLD}"):
        describe(module, ModuleCall((x,), lambda name: None, {"input": Ref(-1), "foo": 2}))
    with pytest.raises(Undescribed, match="it was called with 2 tensors; one was expected"):
        describe(
            module, ModuleCall((x, x), lambda name: None, {"input": Ref(-1), "foo": Ref(-1, 1)})
        )
    assert refusal(module) == ""
