"""In an output folder a name of ours is never followed out of it, and nothing but a file is
written over."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from chain_model import ChainModel

import probe as library
from probe import ops
from probe.errors import BadInput
from probe.files import atomic_write
from probe.pytest_plugin import Run
from probe.recording.store import INDEX, JOURNAL
from probe.report import model_explorer

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def model():
    relu = library.Description((library.Step(ops.Relu()),))
    return ChainModel({"relu": (lambda x: np.maximum(x, 0), relu)})


@pytest.fixture
def victim(tmp_path):
    """A file outside, which has to stay as it is."""
    path = tmp_path / "victim"
    path.write_text("dear")
    yield path
    assert path.read_text() == "dear" and not path.is_symlink()


def shown(folder):
    """What stands in a folder, links as links."""
    return sorted((path.name, path.is_symlink()) for path in folder.iterdir())


@pytest.mark.parametrize("name", [JOURNAL, INDEX, "00000.input0.npy"])
@pytest.mark.parametrize("kind", ["link", "ring", "pipe", "folder"])
def test_a_recording(model, tmp_path, victim, name, kind):
    folder = tmp_path / "run"
    folder.mkdir()
    {
        "link": lambda: (folder / name).symlink_to(victim),
        "ring": lambda: (folder / name).symlink_to(folder / name),
        "pipe": lambda: os.mkfifo(folder / name),
        "folder": (folder / name).mkdir,
    }[kind]()
    if name.endswith(".npy"):
        (folder / JOURNAL).write_text("")
    before = shown(folder)
    with pytest.raises(BadInput, match=r"a symbolic link|not a regular file"):
        library.record(model, X, f"{folder}/")
    assert shown(folder) == before


@pytest.mark.parametrize(
    "name",
    ["call.npz", "values.npz", "show.py", "README.md", "layer.onnx", "layer.py", "layer.npz"],
)
def test_a_reproduction(model, tmp_path, victim, name, probe):
    library.record(model, X, tmp_path / "run.npz")
    folder = tmp_path / "shown"
    folder.mkdir()
    (folder / name).symlink_to(victim)
    command = ("repro", tmp_path / "run.npz", "--layer", "relu", "--anyway", "-o", folder)
    status, _, err = probe(*command)
    assert status == 2 and f"{name}: it is a symbolic link" in err
    assert shown(folder) == [(name, True)]


def test_graphs_of_model_explorer(tmp_path, victim):
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / model_explorer.GRAPH).symlink_to(victim)
    for write in (
        model_explorer.refuse_folder,
        lambda folder: model_explorer.write(folder, {model_explorer.GRAPH: {}}),
    ):
        with pytest.raises(BadInput, match="it is a symbolic link"):
            write(str(tmp_path / "graphs"))


def test_the_recording_of_a_test(model, tmp_path, victim, monkeypatch):
    """With --probe-update, in the folder beside the file of tests."""
    place = tmp_path / "test_it" / "test_net.npz"
    place.parent.mkdir()
    place.symlink_to(victim)
    monkeypatch.setattr(Run, "_path", lambda run, name: place)
    node = SimpleNamespace(config=SimpleNamespace(getoption=lambda name: name == "probe_update"))
    with pytest.raises(BadInput, match="it is a symbolic link"):
        Run(node).check(model, X)
    place.unlink()
    Run(node).check(model, X)
    assert library.check(place, "relu").ok


def test_a_link_that_comes_in_between(tmp_path, victim):
    """It takes the place of a file after the folder was looked at: it is replaced or refused."""
    folder = tmp_path / "run"
    atomic_write.make_folder(folder)

    def content(file):
        (folder / "a").symlink_to(victim)
        file.write(b"ours")

    atomic_write.write_inside(folder, "a", content)
    assert (folder / "a").read_text() == "ours" and not (folder / "a").is_symlink()
    (folder / "a").unlink()
    (folder / "a").symlink_to(victim)
    with pytest.raises(BadInput, match="it is a symbolic link"):
        atomic_write.append_inside(folder, "a", b"ours")
    with pytest.raises(BadInput, match="it is a symbolic link"):
        atomic_write.remove_inside(folder, "a")


def test_the_folder_itself_may_be_a_link(model, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    library.record(model, X, f"{tmp_path}/run/")
    assert library.check(tmp_path / "disk", "relu").ok
