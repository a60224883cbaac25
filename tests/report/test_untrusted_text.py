"""What a file holds is shown on lines of its own number, without what steers a terminal, and does
not fill the screen."""

import json
import re
import zipfile

import keras
import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from representatives import exhaustive

import probe as package
from probe import printable
from probe.cli import terminal
from probe.cli.output import say
from probe.cli.status import Status

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

EVIL = "\x1b]0;owned\x07\x1b[31magree\x1b[0m\r\n\u202egnp.exe\u2028\x9b2J\x7f\ud800"


def begun(text):
    """The lines that continue no other."""
    return [one for one in text.splitlines() if not one.startswith("  ")]


def harmless(text):
    return all(one.isprintable() or one == "\n" for one in text)


@pytest.fixture
def probe(probe):
    def run(*arguments):
        status, out, err = probe(*arguments)
        assert harmless(out) and harmless(err), (out, err)
        return status, out, err

    return run


def test_a_line_is_one_line():
    assert printable.line("conv2d: 3 × 4 → ok") == "conv2d: 3 × 4 → ok"
    assert printable.line("a\nb\x1b[0m\u202e") == r"a\nb\x1b[0m\u202e"
    assert printable.page(["a", "b\nagree: all is well"]) == "a\nb\\nagree: all is well"
    for text in (EVIL, EVIL * 10_000, "x" * 100_000):
        told = printable.name(text)
        assert (
            harmless(told)
            and "\n" not in told
            and len(told) <= 170
            and told[:1] == text[:1].replace("\x1b", "\\")
        )
    assert printable.several(map(str, range(20_000)), 3) == "0, 1, 2 and 19,997 more"


def keras_file(path, name):
    data = keras.Input((3,), name="data")
    keras.Model(data, keras.layers.Dense(2, name="placeholder")(data)).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    members["config.json"] = members["config.json"].replace(
        b'"placeholder"', json.dumps(name).encode()
    )
    with zipfile.ZipFile(path, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, content)
    return path


def onnx_file(path, name):
    value = helper.make_tensor_value_info
    node = helper.make_node("Relu", ["x"], ["y"], name=name)
    graph = helper.make_graph([node], "g", [value("x", 1, [2, 3])], [value("y", 1, [2, 3])])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", [EVIL[:-1], "long" * 25_000], ids=["control", "long"])
def test_names_of_layers(probe, tmp_path, name):
    plain = [
        probe(make(tmp_path / "model.keras", "relu"))[1].count("\n")
        for make in (keras_file, onnx_file)
    ]
    for make, lines in zip((keras_file, onnx_file), plain, strict=True):
        path = make(tmp_path / "model.keras", name)
        status, out, err = probe(path)
        assert (
            (status, err) == (0, "")
            and out.count("\n") == lines
            and max(map(len, out.splitlines())) < 400
        )
        status, out, _ = probe(path, "--all", "--seed", "1")
        assert harmless(out) and len(begun(out)) <= 3 and max(map(len, out.splitlines())) <= 100
        status, out, err = probe(path, "--layer", "another")
        assert (status, out, err.count("\n")) == (2, "", 1) and len(err) < 2000


@pytest.mark.parametrize("seen", [True, False])
def test_a_class_that_is_not_checked(probe, tmp_path, monkeypatch, seen):
    """The last column of a listing too, where a terminal's width is fitted."""
    monkeypatch.setattr("probe.cli.terminal.on_terminal", lambda color: seen)
    path = onnx_file(tmp_path / "model.onnx", "relu")
    model = onnx.load(path)
    model.graph.node[0].op_type = "\x1b[2J\nX"
    onnx.save(model, path)
    status, out, _ = probe(path)
    assert status == 0 and "not checked: " in out and out.count(r"\x1b[2J\nX") == 2, out


def test_what_is_printed_is_escaped_at_last(capsys, monkeypatch):
    say(f"one{EVIL}\ntwo")
    say(terminal.coloured(f"agree: {EVIL}", "always"), color=True)
    monkeypatch.setattr(Status, "seen", True)
    Status().show(f"opening {EVIL}")
    printed = capsys.readouterr()
    assert harmless(re.sub(r"\x1b\[[\d;]*m", "", printed.out))
    assert harmless(printed.err.replace("\r", "")) and "opening" in printed.err


def test_the_report_and_the_story_of_an_odd_name(probe, tmp_path):
    path = onnx_file(tmp_path / "model.onnx", EVIL[:-1])
    text = str(package.check(path, EVIL[:-1]))
    plain = str(package.check(onnx_file(tmp_path / "b.onnx", "relu"), "relu"))
    # what continues a line that is too long is indented
    assert harmless(text) and len(begun(text)) == len(begun(plain))
    assert harmless(str(package.explain(path, EVIL[:-1], at=(0, 1))))
    assert json.loads(package.check(path, EVIL[:-1]).to_json())["layer"] == EVIL[:-1], (
        "JSON keeps names as they are"
    )


def test_a_name_that_is_no_unicode():
    """It is in the words on the input that is drawn."""
    net = torch.nn.Sequential()
    net.add_module("a\ud800b", torch.nn.Linear(3, 2))
    report = package.check(net, "a\ud800b", shape=(2, 3))
    assert report.ok and "a\\ud800b" in str(report)


class Keywords(torch.nn.Module):
    """Takes inputs of any name."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)

    def forward(self, x, **more):
        return self.inner(x) + sum(more.values())


def test_an_input_whose_name_is_no_unicode():
    """It is in the words on the input, which passes are told apart by."""
    given = {"x": np.ones((2, 3), np.float32), "a\ud800b": np.ones((2, 2), np.float32)}
    report = package.check(Keywords(), "inner", given)
    assert report.ok and "a\\ud800b" in str(report)


def test_a_name_does_not_end_a_comment_in_c(tmp_path):
    path = onnx_file(tmp_path / "model.onnx", "x */ int evil; /*\n#include <evil.h>\n")
    report = package.check(path, package.open_model(path).names()[0])
    report.save(tmp_path / "out.h")
    header = (tmp_path / "out.h").read_text(encoding="utf-8")
    assert (
        "#include <evil.h>" not in header.splitlines() and header.splitlines()[0].count("*/") == 1
    )
    report.save(tmp_path / "out.txt")
    assert np.loadtxt(tmp_path / "out.txt").size


@pytest.mark.parametrize("count", [3, 3_000, *exhaustive(20_000)])
@pytest.mark.parametrize("name", ["weight", EVIL], ids=["plain", "control"])
def test_parameters_by_the_thousand_and_odd_ones(probe, tmp_path, count, name):
    refused_briefly(probe, tmp_path, count, name)


def test_parameters_of_long_names(probe, tmp_path):
    refused_briefly(probe, tmp_path, 3, "w" * 100_000)


def refused_briefly(probe, tmp_path, count, name):
    """One line says that these parameters do not belong to a model, however many there are; a
    listing has a line for each."""
    torch.save({f"{name}{i}": torch.zeros(1) for i in range(count)}, tmp_path / "net.pt")
    (tmp_path / "net.py").write_text("import torch\ndef net():\n    return torch.nn.Linear(3, 2)\n")
    status, out, err = probe(tmp_path / "net.pt")
    table, _, note = out.partition("\n\n")
    assert (status, err, table.count("\n")) == (0, "", count) and len(note) < 2000
    assert max(map(len, table.splitlines())) < 300 and table.replace("\n", "").isprintable()
    for arguments in (("--layer", "x"), ("--factory", f"{tmp_path / 'net.py'}:net")):
        status, out, err = probe(tmp_path / "net.pt", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1) and len(err) < 2000
        assert count < 20 or "more" in err
    torch.save(
        {"state_dict": {"a": torch.zeros(1)}, **{f"{name}{i}": 0 for i in range(count)}},
        tmp_path / "net.pt",
    )
    assert len(probe(tmp_path / "net.pt", "--layer", "x")[2]) < 2000
