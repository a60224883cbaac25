"""``probe record`` and what it wrote, from the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from repository import EXAMPLES

from probe.cli import opening
from probe.cli.arguments import Arguments, recording_command
from probe.cli.main import command

WITHOUT = """
import sys

class Without:
    def find_spec(self, name, *_):
        if name in ("keras", "qkeras", "tensorflow", "tf_keras", "torch", "transformers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Without())
sys.argv[0] = "probe"
from probe.cli import main
main()
"""
DIGITS = ("--input", EXAMPLES / "digits.npy")
MODELS = {
    "digits.keras": (EXAMPLES / "digits.keras", *DIGITS),
    "digits_qkeras.h5": (EXAMPLES / "digits_qkeras.h5", *DIGITS),
    "digits.pt": (
        *(EXAMPLES / "digits.pt", "--factory", f"{EXAMPLES / 'digits_net.py'}:DigitsNet"),
        *("--shape", "2,1,8,8"),
    ),
}


def alone(*arguments):
    """The command where no framework can be imported: (exit status, output, errors)."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *map(str, arguments)], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.exhaustive(default=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", MODELS)
def test_the_examples(name, probe, tmp_path):
    """Each is recorded, and asked again where no framework is installed: the same reports."""
    model = MODELS[name]
    status, live, _ = probe(*model, "--all", "--json", tmp_path / "live.json")
    assert status == 0
    assert probe("record", *model, "-o", tmp_path / "run.npz")[0] == 0
    status, out, err = alone(tmp_path / "run.npz", "--all", "--json", tmp_path / "kept.json")
    assert (status, out, err) == (0, live.replace("live.json", "kept.json"), "")
    assert out.endswith(f"\nwritten: {tmp_path / 'kept.json'}\n")
    one, other = (
        json.loads((tmp_path / f"{x}.json").read_text(encoding="utf-8")) for x in ("live", "kept")
    )
    for report in (*one["reports"], *other["reports"]):
        report["framework"] = report["framework"].partition(", recorded ")[0]
    assert one == other
    listed = probe(*model if "pt" in name else model[:1])[1]
    assert alone(tmp_path / "run.npz")[1].splitlines()[1] == listed.splitlines()[1]


def test_a_check_that_keeps_what_it_saw(probe, tmp_path):
    model = MODELS["digits.pt"]
    asked = (*model, "--layer", "fc", "--record", tmp_path / "run.npz")
    status, out, _ = probe(*asked)
    assert status == 0 and "recorded" in out
    status, again, err = alone(tmp_path / "run.npz", "--layer", "fc")
    assert (status, again, err) == (0, out, "")
    y = np.load(tmp_path / "run.npz")
    assert "recording.json" in y.files
    assert alone(tmp_path / "run.npz", "--layer", "fd")[::2] == (
        2,
        "probe: the model has no layer 'fd'; did you mean 'fc'? (probe MODEL lists the layers, "
        "probe MODEL --parts the blocks)\n",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", "3"), "you gave the seed 3"),
        (("--shape", "1,1,8,8"), "you gave the shape"),
        (("--input", "OTHER"), "you gave another input"),
        (("--text", "word"), "you gave a text"),
        (("--factory", "a.py:B"), "is a recording, which runs nothing: leave out --factory"),
        (("--device", "cuda"), "is a recording, which runs nothing: leave out --device"),
    ],
)
def test_what_would_need_the_model_again(options, words, probe, tmp_path):
    assert probe("record", *MODELS["digits.pt"], "-o", tmp_path / "run.npz")[0] == 0
    np.save(tmp_path / "other.npy", np.ones((2, 1, 8, 8), np.float32))
    options = [tmp_path / "other.npy" if one == "OTHER" else one for one in options]
    status, out, err = probe(tmp_path / "run.npz", "--layer", "fc", *options)
    assert (status, out) == (2, "") and words in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [("run.h5", "is neither"), ("nowhere/run.npz", "cannot write"), ("digits.npz", "same file as")],
)
def test_where_nothing_can_be_written(target, words, probe, tmp_path):
    (tmp_path / "digits.npz").symlink_to(EXAMPLES / "digits.pt")
    status, _, err = probe("record", *MODELS["digits.pt"], "-o", tmp_path / target)
    assert status == 2 and words in err


@pytest.mark.parametrize(("seconds", "told"), [(6.2, 1), (4.0, 0)])
@pytest.mark.parametrize("started", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_start_is_worth_a_word(seconds, told, started, terminal, monkeypatch):
    """On a terminal alone, where a framework was started and a person has waited for it."""
    monkeypatch.setattr(opening, "_BEGAN", 0.0)
    monkeypatch.setattr(opening, "monotonic", lambda: seconds)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    for name in ("tensorflow", "torch"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    if started:
        monkeypatch.setitem(sys.modules, "torch", torch)
    lines = opening.hint(Arguments("net.pt", layer="fc"))
    assert lines.count("  probe record net.pt -o run.npz") == told * started * terminal


@pytest.mark.parametrize(
    "given",
    [
        ("net.pt", "--factory", "net.py:Net(10, wide=True)", "--shape", "1,3,8,8", "--seed", "3"),
        ("net.keras", "--import", "mine", "--import", "a b.py", "--trust", "--input", "x.npy"),
        ("folder", "--text", "it's so", "--arg", "use_cache=False", "--arg", "mode='mean'"),
        ("net.onnx", "--input", "x.bin", "--shape", "2,3", "--dtype", ">i2", "--device", "cuda"),
        ("net.h5", "--input", "x.png", "--scale", "255.0", "--image-layout", "chw"),
    ],
)
def test_the_whole_command_is_told(given):
    """What opens the model and feeds it is in the command that records it, and nothing else."""
    asked = command.commands["FILE"].make_context("FILE", [*given, "--layer", "fc"])
    told = recording_command(Arguments(**asked.params))
    assert sorted(told) == sorted(["probe", "record", *given, "-o", "run.npz"])
    again = command.commands["record"].make_context("record", told[2:]).params
    same = again.keys() & asked.params.keys() - {"record"}
    assert same >= {"factory", "shape", "input", "arg", "trust", "imports"}
    assert {name: again[name] for name in same} == {name: asked.params[name] for name in same}


def test_what_is_the_layers_own_is_no_input_of_the_recording():
    arguments = Arguments(
        "net.pt", layer="fc", expect_input="x.txt", shape=((2, 3),), expect="y.bin", dtype=">i2"
    )
    assert recording_command(arguments) == ["probe", "record", "net.pt", "-o", "run.npz"]


NEEDED = """
import sys
sys.argv = ["probe", *sys.argv[1:]]
from probe.cli import main
try:
    main()
finally:
    print("imported", *sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.tensorflow
def test_a_check_imports_what_it_needs(probe, tmp_path):
    """Most of its time is imports: no page is rendered, and no op is made that is not there."""
    assert probe("record", *MODELS["digits.keras"], "-o", tmp_path / "run.npz")[0] == 0
    asked = [sys.executable, "-c", NEEDED, str(tmp_path / "run.npz"), "--layer", "conv2d"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    imported = set(done.stderr.partition("imported ")[2].split())
    assert {"numpy", "onnxruntime", "probe.ops.linear.conv"} <= imported
    spared = {"numpy.ma", "xml.etree.ElementTree", "tensorflow", "keras", "torch", "scipy"}
    spared |= {f"probe.report.{one}" for one in ("html", "junit", "markdown", "graph")}
    spared |= {f"probe.ops.{one}" for one in ("recurrent.rnn_lstm_gru", "quantize.qkeras_bits")}
    spared |= {"probe.hypotheses", "probe.diagnosis.search", "probe.model_comparison.compare"}
    assert sorted(imported & spared) == []


def test_a_quiet_recording_says_nothing(probe, tmp_path):
    given = ("record", *MODELS["digits.pt"], "-o", tmp_path / "run.npz", "-q")
    assert probe(*given) == (0, "", "") and (tmp_path / "run.npz").exists()
