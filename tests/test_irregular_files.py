"""Where a file is expected, what never ends or never begins is refused in a sentence."""

import json
import os
import shlex

import numpy as np
import pytest
from chain_model import ChainModel
from probe.adapters import list_file, open_model
from safetensors.numpy import save_file

import probe
from probe import ops
from probe.errors import BadInput, CannotOpen
from probe.files.regular_file import exists, is_file, is_folder, open_file, read_file
from probe.model_comparison.causes.types import read_types

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
KINDS = {
    "a pipe": (os.mkfifo, "a device, a pipe or a socket"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device, a pipe or a socket"),
    "a folder": (lambda path: path.mkdir(), "is a folder, not"),
    "a ring": (lambda path: path.symlink_to(path), "symbolic links"),
    "empty": (lambda path: path.touch(), "is empty"),
    "a hole": (lambda path: sparse(path, 1 << 33), "is sparse"),
    "large": (lambda path: path.write_text(" " * ((1 << 25) + 1)), "more than 33,554,432 bytes"),
    "nested": (lambda path: path.write_text("[" * 100_000), "nested too deeply"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe\xfd"), "cannot be read as JSON"),
}


def sparse(path, size):
    path.touch()
    os.truncate(path, size)


@pytest.mark.parametrize("kind", KINDS)
def test_json_of_the_user(tmp_path, kind):
    """--types and --pairs."""
    make, words = KINDS[kind]
    make(tmp_path / "given.json")
    with pytest.raises(BadInput, match=words):
        read_types(tmp_path / "given.json")
    relu = probe.Description((probe.Step(ops.Relu()),))
    model = ChainModel({"relu": (lambda x: np.maximum(x, 0), relu)})
    with pytest.raises(BadInput, match=words):
        probe.compare(model, model, X, pairs=tmp_path / "given.json")


@pytest.fixture
def directory(tmp_path):
    """As save_pretrained writes it."""
    save_file({"dense.weight": X}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    assert len(list_file(tmp_path).layers) == 1
    return tmp_path


@pytest.mark.parametrize("kind", ["a device", "a hole", "large"])
def test_what_transformers_reads_of_a_directory(directory, kind):
    make, words = KINDS[kind]
    make(directory / "generation_config.json")
    with pytest.raises(CannotOpen, match=words):
        list_file(directory)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a ring"])
def test_the_config_of_a_directory(directory, kind):
    make, words = KINDS[kind]
    (directory / "config.json").unlink()
    make(directory / "config.json")
    with pytest.raises(CannotOpen, match=words):
        list_file(directory)


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a ring", "empty", "a hole"])
def test_the_parameters_of_a_directory(directory, kind):
    """They are found by their ending too."""
    make, words = KINDS[kind]
    (directory / "model.safetensors").unlink()
    make(directory / "model.safetensors")
    with pytest.raises(CannotOpen, match=words):
        list_file(directory)


def test_names_that_are_too_long(tmp_path):
    name = tmp_path / ("x" * 5000)
    assert not exists(name) and not is_file(name) and not is_folder(name)
    assert not exists("nul\0")
    for path in (name, "x" * 5000, tmp_path / "index.json"):
        with pytest.raises(CannotOpen, match=r"File name too long|does not exist"):
            open_model(path)
    index = {"weight_map": {"dense.weight": "x" * 5000}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CannotOpen, match="is missing"):
        list_file(tmp_path)


def test_a_link_where_a_file_gives_the_name(tmp_path):
    (tmp_path / "there").write_text("secret")
    (tmp_path / "here").symlink_to(tmp_path / "there")
    assert read_file(tmp_path / "here", "a file", 6) == b"secret"
    with pytest.raises(BadInput, match="more than 5 bytes, the most that are read of a file"):
        read_file(tmp_path / "here", "a file", 5)
    with pytest.raises(BadInput, match="is a symbolic link"):
        open_file(tmp_path / "here", "a file", links=False)


def test_what_a_recording_says_of_its_model_may_be_too_long_for_a_path(tmp_path):
    relu = probe.Description((probe.Step(ops.Relu()),))
    layers = {"relu": (lambda x: np.maximum(x, 0), relu)}
    probe.record(ChainModel(layers, source="x" * 5000), X, tmp_path / "run.npz")
    wrong = {"relu": np.maximum(X, 0) + np.float32(0.25)}
    comparison = probe.compare(str(tmp_path / "run.npz"), wrong)
    assert comparison.verdict == "diverge"
    recording = shlex.quote(str(tmp_path / "run.npz"))
    assert f"look closer: probe {recording} --layer relu" in str(comparison)
    with pytest.raises(BadInput, match=r"File name too long|is neither"):
        probe.record(ChainModel(layers), X, "x" * 5000)
