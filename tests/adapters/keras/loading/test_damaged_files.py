"""A damaged file is refused with what is wrong in it, and a link within a file is no damage."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tf_keras

import probe
from probe.errors import CannotOpen

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
]

X = np.ones((2, 4), np.float32)
DIGITS = b"9" * 5000
WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The members of a healthy ``.keras`` file."""
    path = tmp_path_factory.mktemp("healthy") / "net.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")]).save(path)
    with zipfile.ZipFile(path) as found:
        return {name: found.read(name) for name in found.namelist()}


def changed(archive, path, name, change):
    with zipfile.ZipFile(path, "w") as made:
        for member, content in archive.items():
            made.writestr(member, change(content) if member == name else content)
    return path


def in_hdf5(change):
    def run(content):
        stream = io.BytesIO(content)
        with h5py.File(stream, "r+") as file:
            change(file)
        return stream.getvalue()

    return run


def linked(file):
    file["again"] = h5py.SoftLink("/layers")


def of_another_shape(file):
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = np.zeros((5, 3), np.float32)


def of_a_list(config):
    model = json.loads(config)
    model["config"]["layers"][1]["config"] = 7
    return json.dumps(model).encode()


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        (WEIGHTS, in_hdf5(of_another_shape), "variable.shape=(4, 3), Received: value.shape=(5, 3)"),
        (METADATA, lambda _: b"[1]", "its config or metadata is not structured as Keras writes it"),
        (CONFIG, of_a_list, "its config or metadata is not structured as Keras writes it"),
        (
            CONFIG,
            lambda config: config.replace(b'"units": 3', b'"units": ' + DIGITS),
            "damaged or truncated (it contains an integer of more than 4,300 digits)",
        ),
    ],
)
def test_what_is_wrong_is_said(archive, tmp_path, name, change, reason):
    path = changed(archive, tmp_path / "net.keras", name, change)
    with pytest.raises(CannotOpen) as refused:
        probe.check(path, "d", X)
    assert reason in str(refused.value) and not str(refused.value).endswith(":")


def test_links_within_the_file_are_followed(archive, tmp_path):
    path = changed(archive, tmp_path / "net.keras", WEIGHTS, in_hdf5(linked))
    assert probe.check(path, "d", X).ok

    legacy = tmp_path / "net.h5"
    tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3, name="d")]).save(legacy)
    with h5py.File(legacy, "r+") as file:
        place = "model_weights/d/d/kernel:0"
        file.move(place, "model_weights/d/d/moved")
        file[place] = h5py.SoftLink("/model_weights/d/d/moved")
    (layer,) = probe.open_model(legacy).layers
    assert layer.parameters == 15 and probe.check(legacy, "d", X).ok
