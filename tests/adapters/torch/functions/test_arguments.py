"""Arguments of functions: each is read, or tells nothing that the call's tensors do not, or the
call is unchecked by its name."""

import inspect

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from probe.adapters.torch.functions import describe, functions
from torch_functions import Net

import probe
from probe import ops
from probe.errors import Undescribed

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 4, 6)).astype(np.float32) * 2
Y = torch.from_numpy(RNG.normal(size=(2, 3, 4, 6)).astype(np.float32))


def verdicts(function):
    return [
        (one.verdict, one.missing.get("numpy", "")) for one in probe.sweep(Net(function).eval(), X)
    ]


def written(tensor, value):
    tensor[0] = value
    return tensor


@pytest.mark.parametrize(
    "function",
    [
        *(
            lambda x: x.sum(dtype=torch.int32),
            lambda x: x.prod(1, dtype=torch.int64),
            lambda x: (40 * x).long().sum(1, dtype=torch.int8),
        ),
        *(
            lambda x: x.cumsum(1, dtype=torch.int32),
            lambda x: x.cumprod(1, dtype=torch.int32),
            lambda x: x[0, 0, 0, 0].sum(dtype=torch.int32),
        ),
        *(
            lambda x: (40 * x).long().cumsum(1, dtype=torch.int8),
            lambda x: (x > 0).sum(dtype=torch.uint8),
        ),
        *(
            lambda x: x.index_select(1, torch.tensor(2)),
            lambda x: torch.norm(x, p=1, dim=(1, 2)),
            lambda x: x.norm(3),
        ),
        *(
            lambda x: torch.linalg.norm(x),
            lambda x: torch.linalg.norm(x, "fro", (1, 2)),
            lambda x: torch.linalg.norm(x[0, 0, 0], 1),
        ),
        lambda x: torch.zeros(x.shape, dtype=torch.int32).copy_(x),
        lambda x: torch.zeros(x.shape, dtype=torch.int8).copy_((x * 200).long()),
        *(
            lambda x: x.long().fill_(2.7),
            lambda x: written(x.long(), 2.7),
            lambda x: written(x.long(), Y[0]),
            lambda x: written(x > 0, 2.7),
        ),
        *(
            lambda x: torch.stack([x, Y], 1, out=torch.empty(0)),
            lambda x: torch.add(x, Y, out=torch.empty_like(x)),
        ),
        lambda x: x.sum(dtype=torch.float64),
        lambda x: F.softmax(x, 1, dtype=torch.float64),
        lambda x: torch.topk(x, 2, out=(torch.empty(0), torch.empty(0, dtype=torch.long)))[1],
        lambda x: torch.gt(x, Y, out=torch.empty(x.shape)),
    ],
)
def test_what_a_type_or_a_place_for_the_result_means(function):
    found = verdicts(function)
    assert found and found == [("agree", "")] * len(found)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x.view(torch.int32), "reinterpreting the bits as another dtype"),
        (lambda x: x.view(torch.uint8), "reinterpreting the bits as another dtype"),
        (lambda x: x.sum(1, dtype=torch.bool), "sums and products of booleans"),
        (
            lambda x: torch.add(x, Y, out=torch.empty(x.shape, dtype=torch.float64)),
            "it mixes float32 and float64",
        ),
        (lambda x: torch.linalg.norm(x, 2, (2, 3)), "a matrix norm of order 2"),
        (lambda x: torch.linalg.norm(x[0, 0], float("inf")), "a matrix norm of order inf"),
        (lambda x: x.norm("nuc", (2, 3)), "the nuclear norm"),
    ],
)
def test_what_has_no_description_is_told(function, why):
    *_, (verdict, told) = verdicts(function)
    assert verdict == "unchecked" and why in told


def test_an_argument_that_a_description_does_not_look_at(monkeypatch):
    """As a description would have it that is to be filled in, or that knows the signature of a
    newer release alone."""

    def describer(build, input, foo=1, *rest, inplace=False, bar=None, **others):
        return build.add(ops.Relu(), input)

    monkeypatch.setitem(
        describe._TABLE,
        "relu",
        describe._DescribedFunction(describer, "relu", inspect.signature(describer), describe.IDLE),
    )

    def told(*args, **kwargs):
        build = describe.CallBuilder([X], [X], ["float32"])
        try:
            describe.describe_function("relu", "relu", build, (describe.Ref(-1, 0), *args), kwargs)
        except Undescribed as error:
            return str(error)
        return ""

    assert (
        told() == told(1) == told(foo=1) == told(None) == told(inplace=True) == told(bar=None) == ""
    )
    for args, kwargs, name in (
        ((2,), {}, "foo=2"),
        ((), {"bar": 3}, "bar=3"),
        ((1, 5), {}, "rest=(5,)"),
        ((), {"x9": 1}, "x9=1"),
    ):
        assert told(*args, **kwargs) == (
            f"relu was called with {name}, which its description does not support"
        )


@pytest.mark.exhaustive(default=120)
@pytest.mark.parametrize("name", functions())
def test_an_argument_that_no_description_has(name):
    """A keyword that no release has yet, beside arguments that the function takes."""
    entry = describe._TABLE.get(
        name.removeprefix("complex."), describe._TABLE[name]
    )  # which hand what they are given on to those of the parts
    asked = [
        one for one in list(entry.signature.parameters.values())[1:] if one.default is one.empty
    ]
    needed = [one for one in asked if one.kind is one.POSITIONAL_OR_KEYWORD]
    build = describe.CallBuilder([X], [X], ["float32"])
    with pytest.raises(Undescribed) as raised:
        describe.describe_function(
            name, name, build, [describe.Ref(-1, 0)] * len(needed), {"foo": 2}
        )
    assert "foo" in str(raised.value)


def test_what_is_not_looked_at_can_be_left_out():
    """An argument that every call gives, and that is neither read nor idle, would leave every call
    unchecked."""
    for name in functions():
        entry = describe._TABLE[name]
        parameters = entry.signature.parameters
        unread = {
            one
            for one in describe.unread(entry.describe)
            if parameters[one].default is inspect.Parameter.empty
        } - entry.idle
        assert not {
            one
            for one in unread
            if parameters[one].kind
            not in (parameters[one].VAR_POSITIONAL, parameters[one].VAR_KEYWORD)
        }, name


def test_idle_arguments_are_arguments():
    """A word of ``idle`` that no describer has, or that it reads, is a slip."""
    for name in functions():
        entry = describe._TABLE[name]
        unread = describe.unread(entry.describe)
        anything = any(
            entry.signature.parameters[one].kind is inspect.Parameter.VAR_KEYWORD for one in unread
        )
        assert anything or entry.idle - describe.IDLE <= {*unread, "dtype"}, name
    assert describe.IDLE & {
        one for name in functions() for one in describe.unread(describe._TABLE[name].describe)
    }
