"""What CONTRIBUTING.md and SECURITY.md show is there and does what they say: the four examples, the
sessions and the paths."""

import ast
import re
import textwrap
from importlib import import_module
from pathlib import PurePosixPath
from types import SimpleNamespace

import keras
import numpy as np
import onnx_cases
import pytest
import torch
from fault_catalogue import ROWS, asked
from keras_cases import CASES
from probe.adapters.keras.describe import describe
from probe.adapters.onnx.describe import _TABLE
from repository import ROOT

import probe
from probe import ops
from probe.description import Ref, Step
from probe.diagnosis import part_of_output, search, two_mistakes
from probe.evaluation.allowance import allowances
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.hypotheses import REGISTERED
from probe.numerics.precision import precision_of

PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md")
}
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def blocks():
    """The file that a block of code says it stands in, and the block."""
    fence = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
    for block in fence.findall(PAGES["CONTRIBUTING.md"]):
        head, _, code = textwrap.dedent(block).partition("\n")
        yield head.removeprefix("# "), code


def example(source):
    """What the page adds to a file, and the case that it adds to the tests."""
    shown = list(blocks())
    (at,) = (at for at, (path, _) in enumerate(shown) if path == source)
    return shown[at][1], shown[at + 1][1]


def added(source, code):
    """The names of a file once what the page shows stands in it; nothing is left behind but what
    registers itself."""
    package = source.removesuffix(".py").replace("/", ".")
    if source.startswith("adapters/"):
        package = f"probe.{package}"
    names = dict(vars(import_module(package)))
    exec(compile(code, source, "exec"), names)
    return names


def test_the_examples_are_the_source():
    """Word for word: a function or class, and its case."""
    shown = list(blocks())
    for (source, code), (cases, case) in zip(shown[::2], shown[1::2], strict=True):
        assert source.startswith(("adapters/", "probe/")) and cases.startswith("tests/")
        assert code in (ROOT / source).read_text(encoding="utf-8"), source
        lines = textwrap.dedent((ROOT / cases).read_text(encoding="utf-8")).splitlines()
        assert {line.strip() for line in case.splitlines()} <= {line.strip() for line in lines}
    assert len(shown) == 2 * 4


def test_a_layer_is_one_function_and_one_case(monkeypatch):
    source = "adapters/keras/layers/preprocessing.py"
    code, case = example(source)
    assert case.startswith('_case("Rescaling"')
    options, (shape, *_) = CASES["Rescaling"]
    layer = keras.layers.Rescaling(name="example", **options)
    model = keras.Sequential([keras.Input(shape[1:]), layer])
    assert probe.check(model, "example").ok
    monkeypatch.delitem(describe.REGISTERED, "Rescaling")
    assert probe.check(model, "example").verdict == "unchecked"
    added(source, code)
    report = probe.check(model, "example")
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}


def test_an_operator_is_one_function_and_one_case(monkeypatch):
    source = "adapters/onnx/operators/products_pools_reductions.py"
    code, case = example(source)
    ((opset, kind, values, attributes),) = eval(f"[{case}]", {"w": onnx_cases.w})
    proto, inputs = onnx_cases.single(kind, values, attributes, opset)
    monkeypatch.delitem(_TABLE, kind)
    assert probe.check(proto, "node", given=inputs).verdict == "unchecked"
    added(source, code)
    report = probe.check(proto, "node", given=inputs)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}


def test_an_op_is_one_class_and_one_case():
    source = "probe/ops/elementwise/activation.py"
    code, case = example(source)
    kind = added(source, code)["Softsign"]
    assert kind is not ops.Softsign
    own = SimpleNamespace(Softsign=kind)
    functions = {"F": torch.nn.functional, "act": keras.activations}
    ((op, *frameworks),) = eval(f"[{case}]", {"ops": own, **functions})
    x = np.linspace(-3, 3, 41).reshape(1, -1)
    steps = (Step(op, (Ref(-1),)),)
    values = recompute(steps, [x])
    (bound,) = allowances(steps, [x], values, precision_of("float32"))
    (observed,) = crosscheck(steps, [x], values)
    assert (np.abs(observed - values[-1][0]) <= bound).all() and bound.max() < 1e-5
    for framework in frameworks:
        assert np.allclose(np.asarray(framework(torch.from_numpy(x))), values[-1][0], 1e-12)


def test_a_cause_is_one_function_and_one_case(monkeypatch):
    source = "probe/hypotheses/layers/normalization.py"
    code, case = example(source)
    slug, name = re.search(r'@plant\("([\w-]+)", .*\)\ndef (\w+)', case).groups()
    (planted,) = (make for row, _, make in ROWS if row == slug and make.__name__ == name)
    at = [cause.slug for cause in REGISTERED].index(slug)
    before, behind = (
        [cause for cause in causes if cause.slug != slug]
        for causes in (REGISTERED[:at], REGISTERED[at:])
    )

    def named(*causes):
        """What is found where these stand for those of the slug."""
        for module in (part_of_output, search, two_mistakes):
            monkeypatch.setattr(module, "REGISTERED", (*before, *causes, *behind))
        return [finding.slug for finding in asked(planted).findings]

    assert slug not in named()
    assert named(added(source, code)["unbiased_variance"])[0] == slug


def test_the_sessions_are_there():
    functions = [
        node
        for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    named = set(re.findall(r"nox -s (\w+)", PAGES["CONTRIBUTING.md"]))
    assert named == {node.name for node in functions}


@pytest.mark.parametrize("page", PAGES)
def test_the_paths_are_there(page):
    words = {word for quoted in re.findall(r"`([^`]+)`", PAGES[page]) for word in quoted.split()}
    paths = {
        word
        for word in words
        if "/" in word and "*" not in word and PurePosixPath(word).parts[0] in FOLDERS
    }
    assert len(paths) > 5
    assert not [path for path in sorted(paths) if not (ROOT / path).exists()]


def test_the_glossary_names_classes_where_they_are():
    rows = re.findall(r"^\|.*\| `(\w+)`, `(\S+\.py)` \|$", PAGES["CONTRIBUTING.md"], re.MULTILINE)
    assert len(rows) > 10
    for name, path in rows:
        assert f"class {name}" in re.findall(
            r"^class \w+", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE
        )
