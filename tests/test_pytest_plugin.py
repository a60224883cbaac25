"""The pytest plugin: a test for each layer or pair, failures that say the verdict first, recordings
that later runs are compared with."""

import resource
import subprocess
import sys
from importlib.metadata import entry_points
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from child_pytest import OF_THIS_RUN, child_environment
from onnx import TensorProto, helper, numpy_helper
from repository import ROOT

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3)).astype(np.float32)
WEIGHT = RNG.normal(size=(3, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
PLUGIN = () if "probe" in entry_points(group="pytest11").names else ("-p", "probe.pytest_plugin")
OPTIONS = ("-p", "no:cacheprovider", "-q", "-W", "error", "--strict-markers")
WITHOUT_CHILD = (
    *("-p", "probe.pytest_plugin", "--import-mode=importlib"),
    *(f"-pno:{name}" for name in ("faulthandler", "threadexception", "unraisableexception")),
)
"""The plugins that would change what the tests' own process has set up are left out."""
IMPORTED = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"
"""Other tests may have imported the plugin before pytest looked at it."""
HEAD = "import pytest\nimport probe\n"


def net(path, *, bias=BIAS, layers=1):
    """A dense layer and so many activations."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="dense"),
        helper.make_node("Add", ["m", "b"], ["y0"], name="bias"),
        *(
            helper.make_node("Tanh", [f"y{k}"], [f"y{k + 1}"], name=f"tanh_{k}")
            for k in range(layers)
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [2, 3])],
        [value(f"y{layers}", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(bias, "b")],
    )
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), path
    )
    np.save(path.with_name("x.npy"), X)


@pytest.fixture
def run(capfd, monkeypatch):
    """(exit status, what pytest prints) for one file of tests in a folder; in this process, which
    has imported already what each process of its own would import."""

    def main(folder, text, *options):
        (folder / "test_it.py").write_text(HEAD + text)
        before = set(sys.modules)
        with monkeypatch.context() as inside:
            inside.chdir(folder)
            inside.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            for name in OF_THIS_RUN:
                inside.delenv(name, raising=False)
            status = pytest.main(
                [
                    *WITHOUT_CHILD,
                    *OPTIONS,
                    *("-W", IMPORTED, "--rootdir"),
                    *map(str, (folder, *options)),
                ]
            )
        for name in set(sys.modules) - before:
            if name.startswith("test_"):
                del sys.modules[name]
        printed, errors = capfd.readouterr()
        assert errors == ""
        return status, printed

    return main


def run_in_a_child(folder, text, *options):
    """The same in a process of its own."""
    (folder / "test_it.py").write_text(HEAD + text)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *PLUGIN,
            *OPTIONS,
            "--rootdir",
            *map(str, (folder, *options)),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=child_environment(),
        timeout=300,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


ONE = """
@pytest.mark.probe("net.onnx", input="x.npy"{more})
def test_layers(layer):
    layer.assert_agrees()
"""


def test_a_test_for_each_layer_by_name(run, tmp_path):
    net(tmp_path / "net.onnx")
    status, out = run_in_a_child(tmp_path, ONE.format(more=""), "-vv")
    assert status == 0 and "3 passed" in out, out
    assert "test_layers[dense]" in out and "test_layers[tanh_0]" in out
    status, out = run(tmp_path, ONE.format(more=', layers=["bias"]'), "-k", "bias")
    assert status == 0 and "1 passed" in out


def test_pairs_name_their_source_and_skip_what_inherits(run, tmp_path):
    net(tmp_path / "net.onnx")
    net(tmp_path / "other.onnx", bias=BIAS + np.float32(0.5))
    status, out = run(
        tmp_path,
        ONE.format(more=', against="other.onnx"'),
        "-rs",
        "--junit-xml",
        tmp_path / "r.xml",
        "--probe-report",
        tmp_path / "pages",
    )
    assert status == 1 and "it inherits the difference that" in out, out
    assert "repeat: probe compare " in out and "AssertionError: diverge: " in out
    closer = f"--layer dense --input {tmp_path / 'x.npy'}"
    assert f"look closer: probe {tmp_path / 'net.onnx'} {closer}\n" in out
    cases = {one.get("name"): one for one in ElementTree.parse(tmp_path / "r.xml").iter("testcase")}
    (failed,) = [name for name, one in cases.items() if one.find("failure") is not None]
    assert failed == "test_layers[dense]", "which the bias follows"
    assert cases["test_layers[tanh_0]"].find("skipped") is not None
    assert cases[failed].find("properties/property[@name='source']").get("value") == "True"
    (page,) = (tmp_path / "pages").iterdir()
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    net(tmp_path / "other.onnx")
    status, out = run(tmp_path, ONE.format(more=', against="other.onnx"'))
    assert status == 0 and "failed" not in out, out


def test_a_layer_that_diverges_says_its_verdict_first(run, tmp_path):
    text = """
from probe.pytest_plugin import LayerUnderTest

@pytest.mark.probe("net.onnx", input="x.npy", layers="dense")
def test_layers(layer):
    model, x = layer.asked.opened(), layer.asked.input()
    wrong = probe.check(model, "dense", x, expected=[[0.0] * 4] * 2)
    vars(layer)["report"] = wrong
    layer.assert_agrees()
"""
    net(tmp_path / "net.onnx")
    status, out = run(tmp_path, text, "--junit-xml", tmp_path / "r.xml", "--probe-report", "pages")
    lines = [line for line in out.splitlines() if line.startswith("E ")]
    assert status == 1 and lines[0].startswith("E       AssertionError: diverge: dense: "), out
    told = "\n".join(lines)
    assert "worst element: [" in told and "allowance" in told and "  yours " in told
    assert "repeat: probe " in told and "--layer dense --input " in told
    held = ElementTree.parse(tmp_path / "r.xml").find(".//properties")
    told = {one.get("name"): one.get("value") for one in held}
    assert told["verdict"] == "diverge" and float(told["ratio"]) > 1
    assert "dense (MatMul)" in (tmp_path / told["report"]).read_text(encoding="utf-8")


def test_a_forward_pass_is_recorded_and_compared_later(run, tmp_path):
    text = """
import numpy as np

def test_net(probe_run):
    probe_run.check("net.onnx", np.load("x.npy"))
"""
    net(tmp_path / "net.onnx")
    status, out = run(tmp_path, text)
    assert status == 1 and "run pytest --probe-update once" in out
    status, out = run(tmp_path, text, "--probe-update")
    assert status == 0 and (tmp_path / "test_it" / "test_net.npz").exists(), out
    status, out = run(tmp_path, text)
    assert status == 0, out
    net(tmp_path / "net.onnx", bias=BIAS + np.float32(1e-3))
    status, out = run(tmp_path, text)
    assert status == 1 and "E       AssertionError: diverge: " in out, out
    assert f"repeat: pytest {tmp_path / 'test_it.py'}::test_net\n" in out


def test_each_test_has_a_recording_of_its_own(run, tmp_path):
    """Whatever its class and the names of its parameters are."""
    text = """
import numpy as np

NAMES = ["a/b", "a b", "a_b", "a:b", "A" * 300, "A" * 299 + "B", "größe"]

@pytest.mark.parametrize("key", NAMES)
def test_net(probe_run, key):
    probe_run.check("net.onnx", np.load("x.npy") * NAMES.index(key))

class TestA:
    factor = 8

    def test_net(self, probe_run):
        probe_run.check("net.onnx", np.load("x.npy") * self.factor)
        probe_run.check("net.onnx", -np.load("x.npy") * self.factor, "a/b")

class TestB(TestA):
    factor = 9
"""
    net(tmp_path / "net.onnx")
    assert run(tmp_path, text, "--probe-update")[0] == 0
    kept = [one.relative_to(tmp_path / "test_it") for one in tmp_path.rglob("test_net*.npz")]
    assert len(kept) == 11 and sum(one.parts[0] == "TestA" for one in kept) == 2
    status, out = run(tmp_path, text)
    assert status == 0 and "9 passed" in out, out


def test_two_checks_of_one_recording(run, tmp_path):
    text = """
import numpy as np

def test_net(probe_run):
    probe_run.check("net.onnx", np.load("x.npy"))
    probe_run.check("net.onnx", -np.load("x.npy"))
"""
    net(tmp_path / "net.onnx")
    status, out = run(tmp_path, text, "--probe-update")
    assert status == 1 and "give each a name, such as check(..., name='second')" in out, out


def test_pages_of_long_names_and_folders_that_are_none(run, tmp_path):
    text = """
@pytest.mark.parametrize("key", ["A" * 300, "A" * 299 + "B"])
@pytest.mark.probe("net.onnx", input="x.npy", layers="dense", against="other.onnx")
def test_layers(layer, key):
    layer.assert_agrees()
"""
    net(tmp_path / "net.onnx")
    net(tmp_path / "other.onnx", bias=BIAS + np.float32(0.5))
    _, out = run(tmp_path, text, "--probe-report", tmp_path / "pages")
    assert len([*(tmp_path / "pages").iterdir()]) == 2, out
    _, out = run(tmp_path, text, "--probe-report", tmp_path / "net.onnx")
    assert out.count("E       AssertionError: diverge: ") == out.count("no page: ") == 2, out


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ('"missing.onnx"', "there is no file"),
        ('"net.onnx", inputs="x.npy"', "takes a model's file and the options input, against"),
        ('"net.onnx", inputs="x.npy"', "; it has no inputs, did you mean input or imports?"),
        ('"net.onnx", input="y.npy"', "there is no file"),
        ('"net.onnx", layers=["bias", "dens"]', "no layer 'dens'; did you mean 'dense'?"),
        ('"x.npy"', "is a NumPy array and no model"),
    ],
)
def test_a_wrong_mark_is_one_sentence(run, tmp_path, mark, words):
    net(tmp_path / "net.onnx")
    status, out = run(tmp_path, f"@pytest.mark.probe({mark})\ndef test_it(layer): pass\n")
    assert status == 2 and words in out and "Traceback" not in out, out
    assert "pluggy" not in out, "no stack"
    assert "another exception occurred" not in out, "said once"


def test_what_goes_wrong_in_a_test_is_one_sentence_in_words_of_the_mark(run, tmp_path):
    net(tmp_path / "net.onnx")
    np.save(tmp_path / "few.npy", X[:1])
    mark = '"net.onnx", input="few.npy"'
    body = f"@pytest.mark.probe({mark})\ndef test_it(layer): layer.assert_agrees()\n"
    status, out = run(tmp_path, body)
    way = "in the mark --shape 2,3 is shape=(2, 3)"
    assert status == 1 and out.count(way) == 3 and "Traceback" not in out, out
    assert "probe/api.py" not in out and "def " not in out, "no source"
    status, out = run(tmp_path, body.replace('input="few.npy"', "shape=(2, 3)"))
    assert status == 0, out


WRONG_VALUES = {
    "3": "model of the mark probe is a file's name; you gave 3",
    "None": "model of the mark probe is a file's name; you gave None",
    **{
        f'"net.onnx", {name}={value}': f"{name} of the mark probe is "
        for name, value in (
            *(("layers", "3"), ("layers", "[3]"), ("shape", '"x"'), ("shape", "[1, (2,)]")),
            *(("seed", '"x"'), ("imports", "3"), ("imports", '"net"'), ("against", "3")),
            *(
                ("input", "[1.0]"),
                ("strict", '"x"'),
                ("search", "3"),
                ("trust", "3"),
                ("factory", "3"),
            ),
            *(("device", "0"),),
        )
    },
}


def test_values_of_a_wrong_type_are_a_sentence_each(run, tmp_path):
    net(tmp_path / "net.onnx")
    tests = (f"@pytest.mark.probe({mark})\ndef test_it(layer): pass\n" for mark in WRONG_VALUES)
    for place, test in enumerate(tests):
        (tmp_path / f"test_{place:02}.py").write_text(f"import pytest\n{test}")
    status, out = run(tmp_path, "", tmp_path)
    told = [one.partition(chr(10))[0] for one in out.split("ERROR collecting ")[1:]]
    assert status == 2 and len(told) == len(WRONG_VALUES) and "pluggy" not in out, out
    for words in WRONG_VALUES.values():
        assert f"{chr(10)}{words}" in out, out


def test_none_is_as_if_nothing_was_given(run, tmp_path):
    net(tmp_path / "net.onnx")
    more = ", against=None, layers=None, shape=None, seed=None, strict=None, factory=None"
    status, out = run(tmp_path, ONE.format(more=f"{more}, imports=None, device=None, trust=None"))
    assert status == 0 and "3 passed" in out, out


def test_a_mark_needs_the_argument(run, tmp_path):
    net(tmp_path / "net.onnx")
    status, out = run(tmp_path, '@pytest.mark.probe("net.onnx")\ndef test_it(): pass\n')
    assert status == 2 and "takes the argument `layer`" in out
    status, out = run(tmp_path, "def test_it(layer): pass\n")
    assert status == 1 and "needs the mark probe" in out


def test_200_layers_are_collected_at_once(tmp_path):
    net(tmp_path / "net.onnx", layers=198)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    status, out = run_in_a_child(tmp_path, ONE.format(more=""), "--collect-only")
    assert status == 0 and "200 tests collected" in out
    # 1 s beyond pytest's own as a rule
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20


def test_nothing_is_imported_before_a_test_asks():
    code = (
        "import sys, probe.pytest_plugin; "
        "print(sorted({'numpy', 'onnx', 'torch', 'tensorflow', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")
