"""What a terminal shows: the verdict first and last, colours beside words, its own width, and what
is going on from the first moment; and what a pipe gets."""

import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from repository import EXAMPLES

import probe as package
from probe.cli import terminal
from probe.cli.status import Status
from probe.report.text import Columns

fcntl, pty, termios = (pytest.importorskip(name) for name in ("fcntl", "pty", "termios"))

PROBE = str(Path(sys.executable).with_name("probe"))
MODEL = (
    *(str(EXAMPLES / "digits.pt"), "--factory", f"{EXAMPLES / 'digits_net.py'}:DigitsNet"),
    *("--shape", "2,1,8,8"),
)
CODES = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(*arguments, columns=80, **environment):
    """(exit status, what the terminal got, share of the time before the first of it)."""
    started = time.monotonic()
    terminal, screen = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    # They would hold, whatever the terminal is.
    others = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")
    around = {name: one for name, one in os.environ.items() if name not in others}
    child = subprocess.Popen(
        [PROBE, *arguments],
        **dict.fromkeys(("stdin", "stdout", "stderr"), screen),
        env=around | {"TERM": "xterm"} | environment,
        start_new_session=True,
    )
    os.close(screen)
    got, first = b"", None
    try:
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:
                break
            if not part:
                break
            first = first or time.monotonic() - started
            got += part
        status = child.wait()
    finally:
        child.kill()
        os.close(terminal)
    return status, got.decode(), first / (time.monotonic() - started)


def shown(text):
    """The lines that stay, without what was written over."""
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    return [line.rsplit("\r", 1)[-1] for line in lines]


def wrapped(lines):
    """Those that are made to fit: a command to copy, which a slow start has, is not."""
    return [line for line in lines if not line.startswith("  probe record ")]


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("columns", [60, 80])
def test_a_check_has_its_verdict_first_and_last_and_fits(columns):
    status, got, _ = on_a_terminal(*MODEL, "--layer", "conv", columns=columns)
    assert status == 0 and "\x1b[32magree\x1b[0m" in got
    lines = [CODES.sub("", line) for line in shown(got)]
    assert lines[0] == lines[-1] and lines.count(lines[0]) == 2
    assert lines[0].startswith("agree: conv: the framework, NumPy and ONNX Runtime")
    assert all(len(line) <= columns for line in wrapped(lines)), lines
    assert "opening" in got and "importing PyTorch" in got and "forward pass" in got


@pytest.mark.costly
def test_a_sweep_folds_what_agrees_and_a_pipe_has_it_whole():
    status, got, _ = on_a_terminal(*MODEL, "--all", columns=60)
    lines = [CODES.sub("", line) for line in shown(got)]
    told = " ".join(" ".join(lines).split())
    assert status == 0 and told.startswith("agree 11 calls, conv to logsoftmax: up to")
    assert lines[-1] == "11 agree, 0 diverge, 0 unchecked" and "of 11 [###" in got
    assert all(len(line) <= 60 for line in wrapped(lines)), lines
    status, got, _ = on_a_terminal(*MODEL, "--all", "-v", columns=80)
    assert sum(CODES.sub("", line).startswith("agree ") for line in shown(got)) == 11
    piped = subprocess.run([PROBE, *MODEL, "--all"], capture_output=True, text=True)
    assert (piped.returncode, piped.stderr) == (0, "") and "\x1b" not in piped.stdout
    assert sum(line.startswith("agree ") for line in piped.stdout.splitlines()) == 11


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("columns", [60, 100])
def test_a_comparison_has_its_verdict_first_and_last_and_fits(columns):
    both = ("compare", MODEL[0], MODEL[0], "--a-factory", MODEL[2], "--b-factory", MODEL[2])
    status, got, _ = on_a_terminal(*both, *MODEL[3:], columns=columns)
    lines = [CODES.sub("", line) for line in shown(got)]
    assert status == 0 and "\x1b[32magree\x1b[0m" in got
    assert lines[0].startswith("agree: ") and lines[-1].endswith(lines[0][-20:].rstrip(" …"))
    assert any(line.strip().startswith("9 pairs agree, ") for line in lines), lines
    assert all(len(line) <= columns for line in lines), lines
    status, got, _ = on_a_terminal(*both, *MODEL[3:], "-v", columns=columns)
    assert status == 0 and sum("agree" in line for line in shown(got)) >= 9
    refused = subprocess.run([PROBE, *both, "-q", "-v"], capture_output=True, text=True)
    assert refused.returncode == 2 and "cannot be used together" in refused.stderr


@pytest.mark.exhaustive
def test_keras_3_and_qkeras_are_compared_in_one_command():
    both = (str(EXAMPLES / "digits.keras"), str(EXAMPLES / "digits_qkeras.h5"))
    command = [PROBE, "compare", *both, "--input", str(EXAMPLES / "digits.npy"), "-q"]
    clean = {name: one for name, one in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    run = subprocess.run(command, capture_output=True, text=True, env=clean)
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout.startswith("diverge: ") and run.stdout.count("\n") == 1


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("settings", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_codes_where_they_are_not_wanted(settings):
    status, got, _ = on_a_terminal(*MODEL, "--layer", "relu", **settings)
    assert status == 0 and "\x1b" not in got and "agree: relu" in got
    assert ("opening" in got) is ("TERM" not in settings)


@pytest.mark.exhaustive
def test_color_and_quiet():
    def piped(*options):
        run = subprocess.run([PROBE, *MODEL, *options], capture_output=True, text=True)
        assert run.returncode == 0 and run.stderr == "", run.stderr
        return run.stdout

    assert "\x1b[32magree" in piped("--layer", "relu", "--color", "always")
    quiet = piped("--layer", "relu", "-q")
    assert (
        quiet
        == "agree: relu: the framework, NumPy and ONNX Runtime agree; all values are identical\n"
    )
    one = piped("--layer", "conv", "--at", "0,0,0,0", "-q")
    assert one.startswith("agree: conv[0, 0, 0, 0] = ") and one.count("\n") == 1
    assert piped("--all", "-q") == "11 agree, 0 diverge, 0 unchecked\n"
    told, all_of_it = (
        piped("--layer", "fc", "--at", "0,0", *more) for more in ((), ("--verbose",))
    )
    assert "smaller terms, sum" in told and "smaller terms" not in all_of_it
    assert all(f"[0, {k}]" in all_of_it for k in range(128)), "every term"


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=2)
@pytest.mark.parametrize(
    "arguments",
    [
        (*MODEL, "--layer", "relu"),
        (*MODEL, "--all"),
        (*MODEL, "--layer", "relu", "--at", "0,0,0,0"),
        MODEL[:3],
        ("compare", MODEL[0], str(EXAMPLES / "digits.keras"), "--a-factory", MODEL[2]),
        ("record", *MODEL, "-o", "/dev/null/run.npz"),
    ],
    ids=["check", "sweep", "element", "listing", "comparison", "recording"],
)
def test_something_is_said_at_once(arguments):
    assert on_a_terminal(*arguments)[2] < 0.5


def test_causes_say_what_is_read_before_it_is_imported():
    """It takes a third of a second, most of it before anything of ours runs."""
    status, got, _ = on_a_terminal("causes", "raw-weights")
    assert status == 0
    assert got.startswith("\rreading the causes\r") and "raw-weights: " in got


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("columns", [60, 80])
def test_a_listing_fits_and_an_error_takes_the_status_away(columns):
    status, got, _ = on_a_terminal(*MODEL[:3], columns=columns)
    lines = [CODES.sub("", line) for line in shown(got)]
    assert status == 0 and lines[0].startswith("layer ") and lines[0].endswith("checked by")
    assert sum("NumPy, ONNX Runtime" in line for line in lines) == 11
    assert all(len(line) <= columns for line in lines), lines
    status, got, _ = on_a_terminal("compare", "no.h5", "no.onnx", columns=columns)
    (complaint,) = shown(got)
    assert status == 2 and complaint.startswith("probe: ") and "no.h5" in complaint


def test_a_listing_sends_the_terminal_nothing_of_a_file(tmp_path):
    path = tmp_path / "model.keras"
    with ZipFile(EXAMPLES / "digits.keras") as model, ZipFile(path, "w") as changed:
        for entry in model.infolist():
            content = model.read(entry)
            if entry.filename == "config.json":
                name = b'"class_name": "Flatten"'
                assert content.count(name) == 1
                content = content.replace(name, b'"class_name": "\\u001b[2J\\nX"')
            changed.writestr(entry, content)
    status, got, _ = on_a_terminal(str(path))
    assert status == 0 and "not checked" in got
    assert "\x1b[2J" not in got and r"\x1b[2J\nX" in got


def test_a_run_ends_where_a_layer_does_not_agree():
    layer = torch.nn.Linear(4, 3).eval()
    x = np.ones((2, 4), np.float32)
    right, wrong = (
        package.check(layer, "", x),
        package.check(layer, "", x, expected=np.zeros((2, 3))),
    )
    rows = terminal.Rows(False, Columns())
    lines = [text for one in (*5 * [right], wrong, right, right) for text in rows.add(one)]
    lines += rows.end()
    begun = [line.split()[:2] for line in lines]
    assert begun[0] == ["agree", "5"] and begun[1][0] == "diverge"
    assert [one[0] for one in begun[2:]] == ["agree", "agree"], "two are no run"


def test_nothing_is_shown_where_no_terminal_is(capsys):
    line = Status()
    line.show("opening")
    line.step("layer", 3, 4, "conv")
    with line.importing("opening"):
        pass
    line.clear()
    assert capsys.readouterr().err == ""


def test_pages_and_junit_of_the_command(probe, tmp_path):
    page, cases = tmp_path / "r.html", tmp_path / "r.xml"
    status, _, err = probe(*MODEL, "--all", "--html", page, "--junit", cases)
    assert (status, err) == (0, "") and cases.read_text(encoding="utf-8").count("<testcase") == 11
    assert page.read_text(encoding="utf-8").count("<tr>") == 12 and page.stat().st_size < 300_000
    status, _, _ = probe(*MODEL, "--layer", "conv", "--html", page, "--junit", cases)
    assert status == 0 and "<h1>conv (Conv2d)</h1>\n<p>of " in page.read_text(encoding="utf-8")
    status, _, _ = probe(*MODEL, "--layer", "conv", "--at", "0,0,0,0", "--html", page)
    assert status == 0 and "<h1>output[0, 0, 0, 0] of conv = " in page.read_text(encoding="utf-8")
    for options, words in (
        (("--layer", "conv", "--html", "a", "--junit", "a"), "must not name the same file"),
        (
            ("--layer", "conv", "--html", str(tmp_path / "no" / "r.html")),
            "does not exist: mkdir -p",
        ),
        (("--layer", "conv", "-q", "-v"), "cannot be used together"),
        (("--layer", "conv", "--at", "0,0,0,0", "--junit", "a"), "cannot be used with --at"),
        (("--layer", "conv", "--html", MODEL[0]), "being read"),
    ):
        status, _, err = probe(*MODEL, *options)
        assert status == 2 and words in err, err
    status, _, err = probe(MODEL[0], "--html", page)
    assert status == 2 and "--html needs --layer NAME or --all" in err
