"""Content decides which adapter opens a file, and what cannot be opened is one sentence of its
own."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
import pytest
import safetensors.torch
import tensorflow
import tf_keras
import torch

import probe
from probe.errors import BadInput, CannotOpen, NotTrusted

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    # Keras 3.15 saving
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x)


def small(namespace):
    data = namespace.Input((3,), name="data")
    return namespace.Model(data, namespace.layers.Dense(2, name="dense")(data))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One real file of every kind that opens."""
    folder = tmp_path_factory.mktemp("files")
    with pytest.warns(UserWarning):
        tf_keras.models.save_model(small(tf_keras), folder / "k2.h5")
    small(tf_keras).save(folder / "k2.keras")
    small(keras).save(folder / "k3.h5")
    small(keras).save(folder / "k3.keras")
    state = Net().state_dict()
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, folder / "safe.safetensors")
    return folder


KERAS = ("k2.h5", "k2.keras", "k3.h5", "k3.keras")
TORCH = ("zip.pt", "old.pt", "safe.safetensors")


@pytest.mark.parametrize("name", KERAS)
@pytest.mark.parametrize("other", ["model.keras", "model.h5", "model.hdf5", "model.pt", "model"])
def test_content_decides_not_the_name(files, tmp_path, name, other):
    path = tmp_path / other
    path.write_bytes((files / name).read_bytes())
    model = probe.open_model(path)
    assert [(layer.name, layer.kind, layer.parameters) for layer in model.layers] == [
        ("dense", "Dense", 8)
    ]
    assert probe.check(model, "dense").ok
    assert model.framework.startswith("keras 3" if name.startswith("k3") else "tf_keras 2")


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("other", ["model.h5", "model.pth", "model"])
def test_content_decides_not_the_name_torch(files, tmp_path, name, other):
    path = tmp_path / other
    path.write_bytes((files / name).read_bytes())
    assert [layer.name for layer in probe.open_model(path, factory=Net).layers] == ["fc"]


@pytest.mark.parametrize("name", (*KERAS, *TORCH))
def test_a_truncated_file_is_one_sentence(files, tmp_path, name):
    content = (files / name).read_bytes()
    path = tmp_path / name
    for size in sorted({*range(0, len(content), max(1, len(content) // 40)), len(content) - 1}):
        path.write_bytes(content[:size])
        # A plain pickle that ends within a name reads like one that holds another name.
        kind = probe.ProbeError if name == "old.pt" else CannotOpen
        sentence(
            path,
            "" if size else "is empty",
            kind=kind,
            factory=Net if name in TORCH else None,
            touch=True,
        )


def sentence(path, *words, touch=False, kind=CannotOpen, **options):
    """Opening says one sentence that names the file; ``touch`` also where only the rest of the file
    is broken."""
    with pytest.raises(kind) as error:
        model = probe.open_model(path, **options)
        if touch:
            model.names()
    text = str(error.value)
    assert str(path) in text and "\n" not in text and len(text) < 400, text
    for word in words:
        assert word in text


def test_missing_empty_and_folder(tmp_path):
    sentence(tmp_path / "none.h5", "does not exist")
    (tmp_path / "empty.h5").touch()
    sentence(tmp_path / "empty.h5", "is empty")
    sentence(tmp_path, "is a folder")


def test_text_and_bytes_that_are_no_model(tmp_path):
    for name, content, words in (
        ("notes.h5", b"epoch,loss\n1,0.5\n", "starts with the text 'epoch,loss'"),
        ("noise.keras", bytes(range(200, 256)), "starts with the bytes c8 c9"),
        ("model.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ):
        (tmp_path / name).write_bytes(content)
        sentence(tmp_path / name, words)


def test_archives_that_are_no_model(tmp_path):
    with zipfile.ZipFile(tmp_path / "letters.zip", "w") as archive:
        archive.writestr("a.txt", "dear")
    sentence(tmp_path / "letters.zip", "not one of Keras or PyTorch", "a.txt")
    with zipfile.ZipFile(tmp_path / "empty.keras", "w"):
        pass
    sentence(tmp_path / "empty.keras")


def test_weights_only(tmp_path):
    small(tf_keras).save_weights(tmp_path / "k2.h5")
    small(keras).save_weights(tmp_path / "k3.weights.h5")
    for name in ("k2.h5", "k3.weights.h5"):
        sentence(tmp_path / name, "contains only weights", "model.load_weights")


def test_hdf5_of_something_else(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.ones(3)
    sentence(tmp_path / "data.h5", "contains no Keras model")
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        file.attrs["model_config"] = "not json"
    sentence(tmp_path / "odd.h5", "damaged")


def test_saved_model_folder(tmp_path):
    tensorflow.saved_model.save(tensorflow.Module(), str(tmp_path / "saved"))
    sentence(tmp_path / "saved", "has no signature", "signatures=", touch=True)
    sentence(tmp_path / "saved" / "saved_model.pb", "SavedModel", "give its folder")


def test_onnx_of_any_producer(tmp_path):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value], [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])]
    )
    for producer in ("", "pytorch"):
        onnx.save(onnx.helper.make_model(graph, producer_name=producer), tmp_path / "m.onnx")
        assert [one.kind for one in probe.open_model(tmp_path / "m.onnx").layers] == ["Relu"]


def test_torchscript_and_exported_program(tmp_path):
    with pytest.warns(DeprecationWarning):
        torch.jit.script(Net()).save(tmp_path / "script.pt")
    sentence(tmp_path / "script.pt", "TorchScript", "--trust", "--factory", kind=NotTrusted)
    torch.export.save(torch.export.export(Net(), (torch.ones(1, 3),)), tmp_path / "net.pt2")
    sentence(tmp_path / "net.pt2", "exported program", "--trust", kind=NotTrusted)


def test_optimizer_state(tmp_path):
    net = Net()
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    with pytest.raises(CannotOpen, match="optimiser"):
        probe.open_model(tmp_path / "optimizer.pt", factory=Net)


def test_a_pickle_of_something_else(tmp_path):
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2, 3]))
    with pytest.raises(probe.ProbeError) as error:
        probe.open_model(tmp_path / "list.pkl")
    assert "\n" not in str(error.value)


def test_live_objects(tmp_path):
    for namespace in (keras, tf_keras):
        assert probe.open_model(small(namespace)).source == f"a live {namespace.__name__} model"
        assert (
            probe.open_model(namespace.layers.Dense(2)).source
            == f"a live {namespace.__name__} layer"
        )
    assert [layer.name for layer in probe.open_model(Net()).layers] == ["fc"]
    for other in (3, {"fc.weight": torch.ones(2)}, np.ones(3), io.BytesIO()):
        with pytest.raises(
            CannotOpen,
            match=(r"open_model takes a path, a Keras model or layer, a torch\.nn\.Module"),
        ):
            probe.open_model(other)
    with pytest.raises(BadInput, match="PyTorch"):
        probe.open_model(small(keras), factory=Net)


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("k3.keras", "numpy h5py keras tensorflow torch onnx"),
        ("k2.h5", "tf_keras tensorflow torch onnx"),
        pytest.param("zip.pt", "keras tensorflow", marks=pytest.mark.costly),
    ],
)
def test_what_listing_imports(files, name, never):
    code = (
        "import sys\nfrom probe.adapters import open_model\nfrom probe.errors import CannotOpen\n"
        f"try: open_model({str(files / name)!r}).layers\n"
        f"except CannotOpen as error: assert {name!r}.endswith('.pt'), error\n"
        f"print([one for one in {never.split()} if one in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.keras")
    sentence(tmp_path / "pipe.keras", "a pipe")
    sentence(Path("/dev/zero"), "a device")
    with pytest.raises(CannotOpen, match="is not a valid file name"):
        probe.open_model(tmp_path / "nul\0.keras")


@pytest.mark.exhaustive
def test_an_archive_that_fills_the_memory_is_not_unpacked(files, tmp_path):
    for name in ("k2.keras", "k3.keras", "zip.pt"):
        with (
            zipfile.ZipFile(files / name) as archive,
            zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as bomb,
        ):
            for member in archive.namelist():
                bomb.writestr(member, archive.read(member))
            for number in range(3):
                with bomb.open(
                    f"{name.partition('.')[0]}/assets/{number}", "w", force_zip64=True
                ) as stream:
                    for _ in range(100):
                        stream.write(bytes(1 << 20))
        sentence(tmp_path / name, "declares", factory=Net if name in TORCH else None)


def test_an_encrypted_archive_is_said_to_be(files, tmp_path):
    content = bytearray((files / "k3.keras").read_bytes())
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 4)
    (tmp_path / "locked.keras").write_bytes(content)
    sentence(tmp_path / "locked.keras", "is encrypted")
