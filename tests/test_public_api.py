"""The names that other programs rely on: add to them, do not change them."""

import inspect
from pathlib import Path

import pytest

import probe

NAMES = [
    "Description",
    "ProbeError",
    "Ref",
    "Report",
    "Step",
    "Weight",
    "__version__",
    "assert_layer",
    "check",
    "describes",
    "explain",
    "fold",
    "open_model",
    "recomputes",
    "sweep",
]


def test_public_names():
    assert sorted(probe.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_and_is_documented(name):
    value = getattr(probe, name)
    assert value is getattr(probe, name)
    assert name == "__version__" or inspect.getdoc(value)


@pytest.mark.parametrize("name", NAMES)
def test_none_shares_its_name_with_a_module(name):
    """With names that load on first use, the second use would find the module instead."""
    # As the folder spells them: where case does not count, "Report" would find report/.
    assert name not in {path.stem for path in Path(probe.__file__).parent.iterdir()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'chekc'"):
        probe.chekc  # noqa: B018


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (probe.open_model, ["source", "trust", "factory", "imports"]),
        (
            probe.check,
            [
                "model",
                "layer",
                "x",
                "expected",
                "given",
                "call",
                "shape",
                "seed",
                "rtol",
                "atol",
                "expected_at",
                "thorough",
                "progress",
            ],
        ),
        (
            probe.explain,
            ["model", "layer", "x", "at", "output", "expected", "given", "call", "shape", "seed"],
        ),
        (probe.sweep, ["model", "x", "expected", "shape", "seed", "layers"]),
        (probe.assert_layer, ["model", "layer", "x", "expected"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_arguments(function, arguments):
    """More may be added, keyword-only; these stay, in this order."""
    assert [
        name for name in inspect.signature(function).parameters if name in arguments
    ] == arguments
