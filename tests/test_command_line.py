"""Lines that are meant to be copied, as a shell reads them."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import probe as package
from probe import command_line
from probe.pytest_mark import Asked
from probe.report import model_explorer

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
NAMES = (
    *("plain", "two  words", "it's", 'a "quote"', "$(touch PWNED)", "a;touch PWNED;", "a|b&c"),
    *("`touch PWNED`", "--version", "-x y", "conv:3", "a\\b\\\\c", "line\nbreak", "!!", "*?[a]~"),
    *("\x1b[2J", "\u202eabc", "größe", "#no", "{a,b}", "$'\\x41'", "`" * 4, ""),
)
X = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
READ = """probe() { printf '%s\\0' "$@"; printf '\\1\\0'; }
"""


def as_read(lines, folder):
    """The words that bash makes of each line that calls ``probe``."""
    script = READ + "\n".join(lines)
    done = subprocess.run(
        ["bash", "--norc", "-c", script.encode()], capture_output=True, cwd=folder, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b""), done.stderr
    assert not (folder / "PWNED").exists()
    calls = done.stdout.decode("utf-8", "surrogateescape").split("\1\0")[:-1]
    return [call.split("\0")[:-1] for call in calls]


def chain(path, names, moved=0.0):
    """A file of one addition after the other; in the first axes order and without a framework."""
    nodes = [
        helper.make_node("Add", [f"y{k}", f"w{k}"], [f"y{k + 1}"], name=name)
        for k, name in enumerate(names)
    ]
    held = [
        numpy_helper.from_array(np.float32([k + 1 + moved, 1, 2]), f"w{k}")
        for k in range(len(names))
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("y0", TensorProto.FLOAT, [2, 3])],
        [value(f"y{len(names)}", TensorProto.FLOAT, [2, 3])],
        held,
    )
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def test_any_word_reaches_the_program(tmp_path):
    words = [*NAMES, "\udcff\x7f", "\r\n\t'", "'\n!"]
    lines = [command_line.joined(["probe", word]) for word in words]
    assert all(line.isprintable() for line in lines)
    assert as_read(lines, tmp_path) == [[word] for word in words]
    assert [command_line.joined(["probe", word]) for word in ("a\0b", "\ud800", "x" * 5000)] == [
        "",
        "",
        "",
    ]


def test_the_command_of_a_layer(tmp_path):
    lines = [command_line.of_layer(["-m o.h5", "--seed", "1"], name, 2) for name in NAMES]
    for name, words in zip(NAMES, as_read(lines, tmp_path), strict=True):
        given = [f"--layer={name}"] if name.startswith("-") else ["--layer", name]
        assert words == ["./-m o.h5", *given, "--call", "2", "--seed", "1"]
    assert command_line.of_layer(["compare"], "a") == "probe ./compare --layer a"


@pytest.mark.costly
def test_what_a_comparison_says_to_look_closer(tmp_path, probe):
    files = [tmp_path / "a b.onnx", tmp_path / "it's.onnx"]
    given = ["--input", str(tmp_path / "x y.npy")]
    np.save(given[1], X)
    for name in ("conv:3", "a;touch PWNED;$(touch PWNED)", "-x 'y'\n"):
        chain(files[0], [name])
        chain(files[1], [name], moved=0.5)
        page = tmp_path / "page.html"
        status, out, _ = probe("compare", *files, *given, "--html", page)
        lines = [line for line in out.splitlines() if line.startswith("  look closer: ")]
        lines = [line.removeprefix("  look closer: ") for line in lines]
        shown = re.findall("look closer: <pre>(.*?)</pre>", page.read_text())
        assert status == 1 and [*map(unescape, shown)] == lines, out
        named = [f"--layer={name}"] if name.startswith("-") else ["--layer", name]
        read = as_read(lines, tmp_path)
        assert read == [[str(path), *named, *given] for path in files], out
        assert [probe(*words)[0] for words in read] == [0, 0]


def test_the_name_and_the_number_of_a_call_are_kept_apart(tmp_path):
    chain(tmp_path / "a.onnx", ["one"])
    chain(tmp_path / "b.onnx", ["one"], moved=0.5)
    found = package.compare(str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"))
    calls = [(name, k % 3) for k, name in enumerate(NAMES)]
    pairs = [replace(found.pairs[0], called=(call, None)) for call in calls]
    text = str(replace(found, pairs=tuple(pairs)))
    read = as_read(re.findall("look closer: (.*)", text), tmp_path)
    named = [words[2:] if words[1] == "--layer" else [words[1][8:], *words[2:]] for words in read]
    assert named == [[name, *(["--call", str(k)] if k else [])] for name, k in calls], text


@pytest.mark.costly
def test_a_comparison_in_python_says_only_what_is_complete(tmp_path):
    a, b = tmp_path / "a.onnx", tmp_path / "b.onnx"
    chain(a, ["one", "two `|"])
    chain(b, ["one", "two `|"], moved=0.5)
    drawn = package.compare(str(a), b, shape=(2, 3), seed=4)
    words = ["--layer", "two `|", "--shape", "2,3", "--seed", "4"]
    text = drawn.to_markdown()
    lines = [line.removeprefix("- look closer: ") for line in text.splitlines()]
    lines = [line.strip("`").strip() for line in lines if line.startswith("``probe")]
    assert as_read(lines, tmp_path) == [[str(a), *words], [str(b), *words]], text
    assert "look closer: <pre>probe" in drawn._repr_html_()
    for other in (
        package.compare(str(a), b, X),
        package.compare(package.open_model(a), package.open_model(b)),
    ):
        assert other.sources and "look closer" not in f"{other}{other._repr_html_()}"
    package.record(str(a), X, tmp_path / "run.npz")
    held = package.compare(tmp_path / "run.npz", str(b))
    assert re.findall("look closer: (.*)", str(held)) == [
        f"probe {shlex.quote(str(tmp_path / 'run.npz'))} --layer 'two `|'"
    ]


def test_the_readme_of_a_reproduction(tmp_path, probe, monkeypatch):
    names = ("it's $(touch PWNED)", "```\nprobe `touch PWNED`", "-x")
    chain(tmp_path / "net.onnx", names)
    for place, name in enumerate(names):
        folder = tmp_path / str(place)
        asked = ("repro", tmp_path / "net.onnx", f"--layer={name}", "--anyway", "-o", folder)
        assert probe(*asked)[0] == 0
        text = (folder / "README.md").read_text()
        blocks = re.findall(r"^(`{3,})(\w+)\n(.*?)\n\1$", text, re.MULTILINE | re.DOTALL)
        assert [language for _, language, _ in blocks] == ["sh", "sh", "text"], text
        written, again = as_read(
            [block for _, language, block in blocks if language == "sh"], folder
        )
        assert written == [*map(str, asked)]
        monkeypatch.chdir(folder)
        status, out, err = probe(*again)
        assert (status, err) == (0, "") and "agree: " in out


def test_the_command_of_a_folder_for_model_explorer(tmp_path):
    folders = [name for name in NAMES if name]
    commands = [model_explorer.command(f"./{name}") for name in folders]
    lines = [command_line.joined(["probe", *words]) for _, *words in commands]
    for name, (graph, data) in zip(folders, as_read(lines, tmp_path), strict=True):
        assert graph in (f"{name}/graph.json", f"./{name}/graph.json") and graph[0] != "-"
        assert data == f"--node_data_paths={name}/error.json,{name}/verdict.json"


COMPLETE = """
eval "$(_PROBE_COMPLETE=bash_source {program})"
COMP_WORDS=({program} run.npz --layer {typed}) COMP_CWORD=3
_probe_completion {program}
for word in "${{COMPREPLY[@]}}"; do eval "probe $word"; done
"""


def test_what_a_shell_completes_runs_nothing(tmp_path):
    names = [*filter(None, NAMES), "pl-2"]
    chain(tmp_path / "net.onnx", names)
    package.record(str(tmp_path / "net.onnx"), X, tmp_path / "run.npz")
    program = tmp_path / "program"
    program.write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} "
        "-c 'from probe.cli import main; main()' \"$@\"\n"
    )
    program.chmod(0o755)
    offered = [name for name in names if name.isprintable() and "\\" not in name]
    for typed, wanted in (("''", offered), ("pl", ["plain", "pl-2"]), (r"\'\$", [])):
        line = COMPLETE.format(program="./program", typed=typed)
        assert as_read([line], tmp_path) == [[name] for name in wanted], typed


def test_the_command_of_a_pytest_failure(tmp_path):
    asked = Asked(
        "m y.pt",
        {"input": "x y.npy", "seed": 3},
        {"factory": "net.py:Net(1, 'a')", "imports": ("my mod",), "trust": True, "device": "cuda"},
        {},
    )
    opening = ["--factory", "net.py:Net(1, 'a')", "--import", "my mod", "--trust"]
    drawn = Asked("net.onnx", {"against": "compare", "shape": ((1, 2), (3,)), "seed": 3}, {}, {})
    assert as_read([asked.command("a;b"), drawn.command("a;b")], tmp_path) == [
        ["m y.pt", "--layer", "a;b", *opening, "--device", "cuda", "--input", "x y.npy"],
        ["compare", "net.onnx", "compare", "--shape", "1,2", "--shape", "3", "--seed", "3"],
    ]
    assert Asked("net.pt", {}, {"factory": dict}, {}).command("a") == "", "a function has no name"
