"""The command answers the same however it is started: signals that are ignored, streams that are
closed, locales, folders of the user's that are not there."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

PROBE = str(Path(sys.executable).with_name("probe"))
LIMIT = 120
"""Seconds after which a command is taken for one that hangs."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["m"], name="dense"),
            helper.make_node("Relu", ["m"], ["y"], name="relu"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def run(arguments, environment=(), without=(), preexec=None, stdin=None, cwd=None):
    inherited = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [PROBE, *map(str, arguments)],
        stdin=stdin,
        capture_output=True,
        env=inherited | dict(environment),
        preexec_fn=preexec,
        cwd=cwd,
        timeout=LIMIT,
    )


def handled(handler, *names):
    for name in names:
        signal.signal(getattr(signal, name), handler)


ignored = partial(handled, signal.SIG_IGN)


def blocked(*names):
    signal.pthread_sigmask(signal.SIG_BLOCK, [getattr(signal, name) for name in names])


def closed(*descriptors):
    for descriptor in descriptors:
        os.close(descriptor)


def one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def little_memory():
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))


SURROUNDINGS = {
    "SIGINT and SIGHUP ignored, as by nohup": {"preexec": partial(ignored, "SIGINT", "SIGHUP")},
    "SIGCHLD ignored": {"preexec": partial(ignored, "SIGCHLD")},
    "signals blocked": {"preexec": partial(blocked, "SIGINT", "SIGCHLD", "SIGTERM", "SIGALRM")},
    "standard input closed": {"preexec": partial(closed, 0)},
    "standard input from nowhere": {"stdin": subprocess.DEVNULL},
    "FORCE_COLOR": {"environment": {"FORCE_COLOR": "1"}},
    "NO_COLOR": {"environment": {"NO_COLOR": "1", "TERM": "dumb"}},
    "40 columns": {"environment": {"COLUMNS": "40"}},
    "300 columns": {"environment": {"COLUMNS": "300"}},
    "LC_ALL=C": {"environment": {"LC_ALL": "C"}},
    "ASCII": {"environment": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}},
    "LANG unset": {"without": ("LANG", "LC_ALL", "LC_CTYPE")},
    "HOME unset": {"without": ("HOME", "XDG_CACHE_HOME")},
    "HOME is no folder": {"environment": {"HOME": "/dev/null"}},
    "HOME is missing": {"environment": {"HOME": "/nowhere/at all"}},
    "umask 077": {"preexec": partial(os.umask, 0o077)},
    "no byte code": {"environment": {"PYTHONDONTWRITEBYTECODE": "1"}},
    "assertions off": {"environment": {"PYTHONOPTIMIZE": "1"}},
    "docstrings off": {"environment": {"PYTHONOPTIMIZE": "2"}},
    "warnings are errors": {"environment": {"PYTHONWARNINGS": "error"}},
    "hashes of one seed": {"environment": {"PYTHONHASHSEED": "7"}},
    "hashes of random seeds": {"environment": {"PYTHONHASHSEED": "random"}},
    "one core": {"preexec": one_core},
    "8 GiB of memory": {"preexec": little_memory},
    "CI": {"environment": {"CI": "true"}},
}


@pytest.fixture(scope="module")
def usual(model):
    without = ("FORCE_COLOR", "NO_COLOR", "COLUMNS")
    answer = run([model.name, "--layer", "dense"], without=without, cwd=model.parent)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert b"\nagree: NumPy and ONNX Runtime" in answer.stdout
    return answer.stdout


@pytest.mark.costly(default=2)
@pytest.mark.exhaustive(default=9)
@pytest.mark.parametrize("name", SURROUNDINGS)
def test_a_check_gives_the_same_answer(model, usual, name):
    if name == "one core" and not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not bind a process to a core")
    answer = run([model.name, "--layer", "dense"], cwd=model.parent, **SURROUNDINGS[name])
    assert (answer.returncode, answer.stderr) == (0, b"")
    said = answer.stdout.replace(b"\x1b[32m", b"").replace(b"\x1b[0m", b"")
    assert said.split() == usual.split()
    assert b"\x1b" not in said or name == "FORCE_COLOR"


@pytest.mark.skipif(
    sys.getfilesystemencoding() != "utf-8", reason="where Python reads names as ASCII it makes none"
)
def test_folders_with_spaces_and_other_letters(model, tmp_path):
    folder = tmp_path / "a folder with ümläute"
    folder.mkdir()
    shutil.copy(model, folder / "my nét.onnx")
    temporary = {"TMPDIR": str(folder), "HOME": str(folder)}
    answer = run(["my nét.onnx", "--all", "--html", "p ä.html"], temporary, cwd=folder)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert sorted(path.name for path in folder.iterdir()) == ["my nét.onnx", "p ä.html"]


def test_nothing_is_written_beneath_home_or_the_temporary_folder(model, tmp_path):
    """Nor anything sent: ONNX Runtime keeps there what it is about to report."""
    places = {"HOME": tmp_path, "TMPDIR": tmp_path, "XDG_CACHE_HOME": tmp_path}
    environment = {name: str(path) for name, path in places.items()}
    answer = run([model, "--all"], environment, without=("ORT_DISABLE_TELEMETRY",))
    assert answer.returncode == 0 and list(tmp_path.iterdir()) == []


WAITING = """
import os, sys, threading
from probe.cli import main

synchronize = os.fsync


def wait(descriptor):
    print("writing", flush=True)
    threading.Event().wait(100)
    synchronize(descriptor)


os.fsync = wait
main()
"""


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("sent", "preexec"),
    [
        ("SIGTERM", None),
        ("SIGTERM", partial(ignored, "SIGINT", "SIGHUP")),
        ("SIGHUP", partial(handled, signal.SIG_DFL, "SIGHUP")),
    ],
    ids=["terminated", "nohup", "terminal closed"],
)
def test_a_signal_ends_it_and_leaves_no_half_written_file(model, tmp_path, sent, preexec):
    page = tmp_path / "page.html"
    page.write_text("before", encoding="utf-8")
    arguments = [sys.executable, "-c", WAITING, str(model), "--all", "--html", str(page)]
    streams = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    # Python looks for packages where it is started, which may be a checkout.
    with subprocess.Popen(arguments, cwd=tmp_path, preexec_fn=preexec, **streams) as command:
        try:
            assert b"writing\n" in iter(command.stdout.readline, b"")
            command.send_signal(getattr(signal, sent))
            _, error = command.communicate(timeout=LIMIT)
        finally:
            command.kill()
    assert (command.returncode, error.strip()) == (2, b"probe: interrupted")
    assert page.read_text(encoding="utf-8") == "before" and list(tmp_path.iterdir()) == [page]
