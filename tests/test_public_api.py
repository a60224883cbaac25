"""The names that other programs rely on: add to them, do not change them."""

import ast
import builtins
import dataclasses
import inspect
import itertools
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import probe
from probe import ops

NAMES = [
    "BadInput",
    "CannotOpen",
    "Description",
    "ForwardFailed",
    "MissingExtra",
    "ModelComparison",
    "NotCompared",
    "NotReached",
    "NotTrusted",
    "ProbeError",
    "Ref",
    "Report",
    "Step",
    "Undescribed",
    "UnknownLayer",
    "Weight",
    "__version__",
    "assert_layer",
    "assert_same",
    "check",
    "compare",
    "describes",
    "explain",
    "fold",
    "open_model",
    "recomputes",
    "record",
    "script",
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


FLAGS = {
    (name, parameter.name)
    for name in NAMES
    if inspect.isfunction(getattr(probe, name))
    for parameter in inspect.signature(getattr(probe, name)).parameters.values()
    if parameter.annotation is bool or isinstance(parameter.default, bool)
} | {("assert_layer", "search"), ("assert_same", "strict")}


@pytest.mark.parametrize(("name", "flag"), sorted(FLAGS))
def test_a_flag_is_true_or_false_and_nothing_else(name, flag):
    """trust="no" must not run what a file holds."""
    function = getattr(probe, name)
    wanted = {
        parameter.name: "no_such_file.pt"
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    for value in ("no", "False", "", 0, 1, None, [True]):
        with pytest.raises(probe.BadInput) as refused:
            function(**wanted, **{flag: value})
        assert str(refused.value) == f"{flag} must be True or False; you gave {value!r}"
    for value in (True, np.False_):  # which is one too: the next thing that is wrong is said
        with pytest.raises(probe.ProbeError) as refused:
            function(**wanted, **{flag: value})
        assert "True or False" not in str(refused.value)


def test_every_flag_is_looked_at():
    assert {("open_model", "trust"), ("check", "search"), ("compare", "strict")} <= FLAGS
    assert {("explain", "sees"), ("sweep", "flow"), ("script", "thorough")} <= FLAGS


FUNCTIONS = ["assert_layer", "check", "describes", "explain", "fold", "open_model", "recomputes"]
CLASSES = ["Description", "Ref", "Report", "Step", "Weight"]


def documented(function):
    """The sections of a docstring in Google's style, each with the names it has lines for."""
    sections, current = {}, None
    for line in inspect.getdoc(function).splitlines():
        if line in ("Args:", "Returns:", "Raises:"):
            current = sections.setdefault(line[:-1], [])
        elif current is not None and (entry := re.match(r"    (\*{0,2}\w+): \S", line)):
            current.append(entry[1].lstrip("*"))
    return sections


@pytest.mark.parametrize("name", [*FUNCTIONS, "sweep"])
def test_each_argument_result_and_error_is_documented(name):
    function = getattr(probe, name)
    sections = documented(function)
    assert sections["Args"] == list(inspect.signature(function).parameters)
    assert ("Returns" in sections) == (name != "assert_layer")
    if name not in ("describes", "recomputes"):
        errors = [getattr(builtins, one, None) or getattr(probe, one) for one in sections["Raises"]]
        assert errors and all(issubclass(error, Exception) for error in errors)


@pytest.mark.parametrize("name", CLASSES)
def test_each_field_is_documented(name):
    """By a string below it, or by its name among the words about the class."""
    cls = getattr(probe, name)
    (body,) = ast.parse(inspect.getsource(cls)).body
    below = {
        field.target.id
        for field, words in itertools.pairwise(body.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(words, ast.Expr)
        and isinstance(words.value, ast.Constant)
    }
    named = set(re.findall(r"``(\w+)``", inspect.getdoc(cls)))
    assert {field.name for field in dataclasses.fields(cls)} <= below | named
    for method, function in vars(cls).items():
        if inspect.isfunction(function) and not method.startswith("_"):
            assert inspect.getdoc(function), f"{name}.{method}"


def test_the_table_of_ops_names_what_their_files_export():
    """And every file that exports an op; asking for one imports no other family."""
    told = {file: names.split() for file, names in ops._FILES.items()}
    for file, names in told.items():
        assert list(import_module(f"probe.ops.{file}").__all__) == names, file
    folder = Path(ops.__file__).parent
    for path in folder.rglob("*.py"):
        module = ".".join(path.relative_to(folder).with_suffix("").parts)
        if module not in told and path.name != "__init__.py":
            exported = vars(import_module(f"probe.ops.{module}"))
            named = [exported[name] for name in exported["__all__"]]
            assert not [one for one in named if _op(one) and not one.__subclasses__()], module
    assert {*ops._HOMES} <= {*dir(ops)}


def _op(kind):
    return isinstance(kind, type) and issubclass(kind, ops.Op)
