"""A folder that an interrupt has left is taken up only as far as its files are what was written."""

import json
import os
import resource

import numpy as np
import pytest
from chain_model import ChainModel

import probe
from probe import ops
from probe.errors import BadInput
from probe.recording.folder import Folder
from probe.recording.store import INDEX, JOURNAL

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def chain(*names, stop=""):
    def run(x):
        return np.maximum(x, 0)

    def interrupted(x):
        raise KeyboardInterrupt

    relu = probe.Description((probe.Step(ops.Relu()),))
    return ChainModel({name: (interrupted if name == stop else run, relu) for name in names})


@pytest.fixture
def folder(tmp_path):
    """What is left of a recording that was interrupted in its second call."""
    with pytest.raises(KeyboardInterrupt):
        probe.record(chain("first", "second", stop="second"), X, f"{tmp_path}/run/")
    return tmp_path / "run"


def completed(folder):
    """Whether the next recording is as one that was never interrupted."""
    model = probe.record(chain("first", "second"), X, f"{folder}/")
    return [report.verdict for report in probe.sweep(model)] == ["agree", "agree"]


def lines(folder):
    return [json.loads(line) for line in (folder / JOURNAL).read_text().splitlines()]


def entry(change):
    """The journal with its first array as ``change`` leaves it."""

    def changed(folder):
        told = lines(folder)
        change(told[1])
        (folder / JOURNAL).write_text("".join(f"{json.dumps(one)}\n" for one in told))

    return changed


def torn(folder):
    """An array of the right size with other bytes."""
    path = folder / "00000.input0.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def renumbered(told):
    told["name"] = "00001.first.output0"


DAMAGE = {
    "a torn array": torn,
    "an array that is gone": lambda folder: (folder / "00000.input0.npy").unlink(),
    "nested lists": lambda folder: (folder / JOURNAL).write_text("[" * 100_000),
    "nested objects": lambda folder: (folder / JOURNAL).write_text('{"a":' * 100_000 + "}"),
    "bytes": lambda folder: (folder / JOURNAL).write_bytes(b"\xff\xfe\n"),
    "a number": lambda folder: (folder / JOURNAL).write_text("3\n"),
    "half a line": lambda folder: (folder / JOURNAL).write_bytes(
        (folder / JOURNAL).read_bytes()[:-10]
    ),
    "no dtype": entry(lambda told: told.pop("dtype")),
    "no order": entry(lambda told: told.pop("fortran_order")),
    "a shape that is a number": entry(lambda told: told.update(shape=3)),
    "a shape of lists": entry(lambda told: told.update(shape=[[1]])),
    "a name that is a number": entry(lambda told: told.update(name=3)),
    "a path": entry(lambda told: told.update(name="../victim")),
    "another array's name": entry(renumbered),
    "more keys": entry(lambda told: told.update(more={"a": "x" * 100})),
    "no number": entry(lambda told: told.update(more=float("nan"))),
    "other bytes": entry(lambda told: told.update(bytes=1)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_written_again(folder, name):
    DAMAGE[name](folder)
    assert completed(folder)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"arrays": 3}', '{"arrays": [3]}', "3", ""])
def test_an_index_that_says_something_else(folder, content):
    (folder / JOURNAL).unlink()
    (folder / INDEX).write_text(content)
    assert completed(folder)


def test_arrays_that_are_whole_are_not_written_again(folder):
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npy")}
    (folder / JOURNAL).write_text((folder / JOURNAL).read_text() + '{"name": ')
    assert completed(folder) and before
    assert all((folder / name).stat().st_mtime_ns == when for name, when in before.items())


@pytest.mark.parametrize("name", [JOURNAL, INDEX])
def test_a_file_that_never_ends(folder, name):
    """It is not read, and not replaced."""
    (folder / JOURNAL).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="it is a symbolic link"):
        completed(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(BadInput, match="a pipe or a socket, not a regular file"):
        completed(folder)


def test_calls_are_not_believed(tmp_path):
    """They name arrays by their numbers: where one is missing, none is taken up."""
    of, call = {"probe": "x"}, {"call": ["calls", "first", 0], "entry": {"capture": {}}}
    folder = Folder(tmp_path / "run", of)
    folder.add_call(call)
    assert Folder(tmp_path / "run", of).known_calls() == [call]
    assert Folder(tmp_path / "run", {"probe": "y"}).known_calls() == []
    folder = Folder(tmp_path / "run", of)
    folder.add_call(call)
    with (tmp_path / "run" / JOURNAL).open("a") as journal:
        journal.write(f"{json.dumps({'name': '00000.gone'})}\n")
    assert Folder(tmp_path / "run", of).known_calls() == []


def test_a_journal_that_cannot_grow_is_one_sentence(tmp_path):
    """As on a full disk: its arrays are smaller than the files that the system allows."""
    relu = probe.Description((probe.Step(ops.Relu()),))
    model = ChainModel({f"layer{k}": (lambda x, k=k: x + k, relu) for k in range(20)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(BadInput, match=rf"cannot write .*{JOURNAL}: File too large"):
            probe.record(model, X, f"{tmp_path}/run/")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    probe.record(model, X, f"{tmp_path}/run/")
    assert len(list(probe.sweep(tmp_path / "run"))) == 20
