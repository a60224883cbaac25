"""A file that would run code is refused before any loader sees it; the attacks are real, and each
is shown to work without the check."""

import base64
import copy
import io
import json
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tf_keras
import torch
from keras_cases import CASES
from probe.adapters.keras.describe.described_classes import DESCRIBED
from probe.adapters.keras.loading.allow_list import objects, refuse_code
from probe.adapters.keras.loading.config_limits import oversized
from representatives import exhaustive

import probe
from probe.errors import CannotOpen, NotTrusted

pytestmark = [
    # Keras 3.15 saving
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
    # QKeras calls pyparsing by old names
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    pytest.mark.filterwarnings("ignore:The `keras.constraints.serialize:UserWarning"),
]


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "marker"


def saved(model, path):
    model.save(path)
    return path


def small(namespace):
    data = namespace.Input((3,), name="data")
    return namespace.Model(data, namespace.layers.Dense(2, activation="relu", name="dense")(data))


def edited(path, change):
    """The file with its model config changed in place."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            change(config)
            file.attrs["model_config"] = json.dumps(config)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def refused(path, marker, *words):
    """Neither opening nor the command may leave the marker, and the sentence names what was found
    and the way out."""
    marker.unlink(missing_ok=True)
    with pytest.raises(NotTrusted) as error:
        probe.open_model(path)
    assert not marker.exists()
    assert "\n" not in str(error.value)
    for word in (str(path), "--trust", *words):
        assert word in str(error.value)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_lambda(tmp_path, marker, namespace, suffix, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = namespace.Input((3,))
    layer = namespace.layers.Lambda(
        lambda x: [open("marker", "w", encoding="utf-8").close(), x][1],  # noqa: PTH123
        output_shape=(3,),
        name="runs",
    )
    path = saved(namespace.Model(data, layer(data)), tmp_path / f"lambda{suffix}")
    refused(path, marker, "Lambda layer 'runs'")
    probe.open_model(path, trust=True).run([np.zeros((1, 3))], (), lambda _: None)
    assert marker.exists(), "with trust the code runs, as it would have without the check"


def test_lambda_inside_a_wrapper_and_a_nested_model(tmp_path, marker):
    layers = tf_keras.layers
    inner = tf_keras.Sequential(
        [tf_keras.Input((4, 3)), layers.TimeDistributed(layers.Lambda(lambda x: x, name="hidden"))]
    )
    data = tf_keras.Input((4, 3))
    refused(saved(tf_keras.Model(data, inner(data)), tmp_path / "nested.h5"), marker, "'hidden'")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_tensorflow_function_that_writes_a_file(tmp_path, marker, suffix):
    def write(config):
        layer = {
            "class_name": "TFOpLambda",
            "config": {
                "name": "write",
                "trainable": True,
                "dtype": "float32",
                "function": "io.write_file",
            },
            "name": "write",
            "inbound_nodes": [["_CONSTANT_VALUE", -1, str(marker), {"contents": "x"}]],
        }
        if suffix == ".keras":
            layer |= {
                "module": "tf_keras.src.layers.core.tf_op_layer",
                "registered_name": "TFOpLambda",
            }
        config["config"]["layers"].append(layer)

    path = edited(saved(small(tf_keras), tmp_path / f"write{suffix}"), write)
    refused(path, marker, "'io.write_file'")
    with pytest.raises(AttributeError):
        tf_keras.models.load_model(path, compile=False)
    assert marker.exists(), "Keras runs it before it fails"


def test_harmless_tensorflow_functions_open(tmp_path):
    data = tf_keras.Input((4, 3))
    path = saved(
        tf_keras.Model(data, tf_keras.activations.relu(data)[:, 1:] * 2.0 + 1.0),
        tmp_path / "ops.h5",
    )
    assert {layer.kind for layer in probe.open_model(path).layers} == {
        "TFOpLambda",
        "SlicingOpLambda",
    }


def test_class_that_names_a_module_to_import(tmp_path, marker, monkeypatch):
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)

    def point(config):
        config |= {"module": "evil_module", "class_name": "Evil", "registered_name": "Evil"}

    path = edited(saved(small(tf_keras), tmp_path / "evil.keras"), point)
    refused(path, marker, "evil_module.Evil", "--import evil_module")
    with pytest.raises(TypeError, match="Could not locate class"):
        tf_keras.models.load_model(path, compile=False)
    assert marker.exists(), "Keras imports it before it fails"


def test_torch_module_in_a_keras_file(tmp_path, marker):
    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    content = io.BytesIO()
    torch.save(Bomb(), content)

    def hide(config):
        config["config"]["layers"][1] |= {
            "class_name": "TorchModuleWrapper",
            "config": {"name": "torch", "module": base64.b64encode(content.getvalue()).decode()},
        }

    path = edited(saved(small(keras), tmp_path / "torch.keras"), hide)
    refused(path, marker, "TorchModuleWrapper")
    torch.load(io.BytesIO(content.getvalue()), weights_only=False).close()
    assert marker.exists()


def test_pickled_module(tmp_path, marker):
    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    for name, write in (
        ("zip.pt", torch.save),
        ("plain.pt", lambda value, path: path.write_bytes(pickle.dumps(value))),
    ):
        write(Bomb(), tmp_path / name)
        with pytest.raises(probe.ProbeError) as error:
            probe.open_model(tmp_path / name)
        assert not marker.exists() and "\n" not in str(error.value)


class WritesWhenLoaded(torch.nn.Module):
    """TorchScript runs ``__setstate__`` as it loads an archive, and its ``torch.save`` writes any
    file."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.path, self.training = state
        torch.save(torch.zeros(1), self.path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_runs_nothing_without_trust(tmp_path, marker):
    net = torch.nn.Sequential(WritesWhenLoaded(str(marker)), torch.nn.Linear(3, 2))
    path = tmp_path / "script.pt"
    torch.jit.script(net).save(path)
    build = {"factory": lambda: torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(3, 2))}
    for options in ({}, build):
        with pytest.raises(NotTrusted, match=r"TorchScript.*--trust") as refusal:
            probe.open_model(path, **options)
        assert not marker.exists()
        assert "--factory 'package" not in str(refusal.value)
    assert probe.open_model(path, trust=True, **build).layers[1].kind == "Linear"
    assert marker.exists(), "with trust its code runs, also where only the parameters are taken"


def test_activation_that_is_a_function_of_some_module(tmp_path, marker):
    def call(config):
        config["config"]["layers"][1]["config"]["activation"] = {
            "class_name": "function",
            "module": "os",
            "config": "system",
            "registered_name": "system",
        }

    refused(
        edited(saved(small(tf_keras), tmp_path / "os.keras"), call), marker, "'system'", "'dense'"
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_strings_that_qkeras_would_evaluate(tmp_path, marker, suffix):
    qkeras = pytest.importorskip("qkeras")
    data = tf_keras.Input((3,))
    layer = qkeras.QDense(
        2,
        kernel_quantizer="quantized_bits(4, 0, 1)",
        bias_quantizer="quantized_bits(4)",
        name="qdense",
    )

    def string(value):
        def change(config):
            config["config"]["layers"][1]["config"]["kernel_quantizer"] = value

        return change

    path = saved(tf_keras.Model(data, layer(data)), tmp_path / f"q{suffix}")
    assert (
        probe.open_model(edited(path, string("quantized_bits(3, 0, alpha=1)"))).layers[0].checkable
    )
    refused(edited(path, string("np.save('marker', 1)")), marker, "'np.save'", "'qdense'")
    refused(edited(path, string("get_quantizer")), marker, "'get_quantizer'")


@pytest.mark.parametrize(
    ("namespace", "suffix"), [(keras, ".keras"), (tf_keras, ".keras"), (tf_keras, ".h5")]
)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_vocabulary_that_is_the_name_of_a_file(
    tmp_path, monkeypatch, namespace, suffix, absolute
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("31\n41\n59\n")
    data = namespace.Input((3,), dtype="int64")
    model = namespace.Model(
        data, namespace.layers.IntegerLookup(vocabulary=[3, 1, 4], name="lookup")(data)
    )
    path = saved(model, tmp_path / f"lookup{suffix}")
    assert probe.check(path, "lookup", np.array([[3, 1, 4]])).ok, (
        "a vocabulary in the file is no harm"
    )
    name = str(tmp_path / "secret") if absolute else "secret"
    edited(
        path,
        lambda config: config["config"]["layers"][1]["config"].update(
            vocabulary=name, vocabulary_size=4
        ),
    )
    with pytest.raises(NotTrusted, match=r"vocabulary = .*secret.*'lookup'.*--trust"):
        probe.open_model(path)
    if namespace is keras:
        report = probe.check(probe.open_model(path, trust=True), "lookup", np.array([[31, 59, 7]]))
        assert report.outputs["framework"].tolist() == [[1, 3, 0]], "with trust the file is read"


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("kernel_initializer", "serialize_keras_object"),
        ("kernel_regularizer", "keras_export"),
        ("bias_constraint", "https://example.com/x"),
        ("units", "/etc/passwd"),
        ("weights", "weights.npy"),
        ("some_new_option", "anything"),
        ("dtype", {"config": {"path": ["deep", "down"]}}),
    ],
)
def test_options_are_no_names_of_files_or_functions(tmp_path, suffix, option, value):
    path = saved(small(tf_keras), tmp_path / f"option{suffix}")
    edited(path, lambda config: config["config"]["layers"][1]["config"].update({option: value}))
    with pytest.raises(NotTrusted, match=r"for Dense in layer 'dense'.*--trust"):
        probe.open_model(path)


def test_packages_take_no_paths_either(tmp_path):
    layer = {
        "class_name": "QuantizerConfig",
        "module": "hgq.quantizer.config",
        "registered_name": "hgq>QuantizerConfig",
    }
    for text, refused_ in (
        ("RND_CONV", False),
        ("kernel", False),
        ("../secret", True),
        ("file:secret", True),
        ("C:\\secret", True),
    ):
        config = {
            "class_name": "Sequential",
            "config": {"layers": [{**layer, "config": {"name": "l", "round_mode": text}}]},
        }
        if refused_:
            with pytest.raises(NotTrusted, match="round_mode"):
                refuse_code("a file", config)
        else:
            refuse_code("a file", config)


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_every_layer_of_keras_with_its_own_options_is_let_through(namespace):
    count = 0
    for name, (options, _) in CASES.items():
        cls = getattr(namespace.layers, name, None)
        if cls is not None:
            held = namespace.saving.serialize_keras_object(cls(**options))
            refuse_code(
                "the file", {"class_name": "Sequential", "config": {"name": "s", "layers": [held]}}
            )
            count += 1
    assert count > 80
    for module in (namespace.initializers, namespace.regularizers, namespace.constraints):
        for name in dir(module):
            known = (
                not name.startswith("_")
                and name not in ("get", "serialize", "deserialize", "experimental")
                and "stft" not in name.lower()
            )
            if known and name not in ("Initializer", "Regularizer", "Constraint"):
                option = {
                    "initializers": "kernel_initializer",
                    "regularizers": "bias_regularizer",
                    "constraints": "kernel_constraint",
                }
                value = {option[module.__name__.rpartition(".")[2]]: name}
                refuse_code("the file", {"class_name": "Dense", "config": {"name": "d", **value}})


def test_no_object_of_a_config_may_be_another_class(tmp_path):
    """Every serialized object of real files in turn is renamed, moved to another module, registered
    as another."""
    qkeras = pytest.importorskip("qkeras")
    for namespace in (keras, tf_keras):
        layers = namespace.layers
        inner = namespace.Sequential(
            [
                namespace.Input((4, 4, 3)),
                layers.Conv2D(2, 2, kernel_regularizer="l2", kernel_constraint="max_norm"),
            ]
        )
        inner.compile("adam", "mse")
        data = namespace.Input((4, 4, 3))
        x = layers.Bidirectional(layers.LSTM(3))(layers.Reshape((6, 3))(inner(data)))
        if namespace is tf_keras:
            x = qkeras.QDense(
                2, kernel_quantizer=qkeras.quantized_bits(4, 0, 1), activation="quantized_relu(4)"
            )(x)
        model = namespace.Model(data, x)
        for suffix in (".keras", ".h5") if namespace is tf_keras else (".keras",):
            path = saved(model, tmp_path / f"all{suffix}")
            config = _config(path)
            refuse_code("the file", config)
            count = len(
                [
                    found
                    for found in objects({**config, "compile_config": None})
                    if found.value["class_name"][:2] != "__"
                ]
            )
            assert count > 20
            for position in range(count):
                for change in (
                    {"class_name": "Evil"},
                    {"module": "evil.keras"},
                    {"registered_name": "package>Evil"},
                ):
                    other = copy.deepcopy({**config, "compile_config": None})
                    known = [
                        found for found in objects(other) if found.value["class_name"][:2] != "__"
                    ][position]
                    if known.compiled and "class_name" in change:
                        continue  # a class of keras.optimizers, whichever, only ever trains
                    known.value.update(change)
                    with pytest.raises(NotTrusted):
                        refuse_code("the file", other)


def _config(path: Path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return json.loads(file.attrs["model_config"])
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("config.json"))


@pytest.mark.parametrize("namespace", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_nothing_of_kerass_own_is_refused(namespace):
    """Every activation, initializer, regularizer and constraint of both frameworks, and every class
    with a description."""
    data = namespace.Input((4,))
    model = {
        "class_name": "Functional",
        "config": namespace.Model(data, namespace.layers.Dense(2)(data)).get_config(),
    }
    dense = model["config"]["layers"][1]["config"]
    for name in vars(namespace.activations):
        if not name.startswith("_") and name not in ("get", "serialize", "deserialize"):
            refuse_code("the file", {**model, "activation": name})
    for module in (namespace.initializers, namespace.regularizers, namespace.constraints):
        for cls in {value for value in vars(module).values() if isinstance(value, type)}:
            if cls.__name__ not in ("Initializer", "Regularizer", "Constraint", "STFT"):
                refuse_code(
                    "the file",
                    {
                        **dense,
                        "value": {
                            "class_name": cls.__name__,
                            "config": {},
                            "module": module.__name__,
                        },
                    },
                )
    for name in DESCRIBED:
        refuse_code("the file", {"class_name": name, "config": {}})


def test_importing_the_users_own_module_is_consent(tmp_path, monkeypatch):
    for namespace, suffix in (("keras", ".keras"), ("tf_keras", ".keras"), ("tf_keras", ".h5")):
        name = f"my_{namespace}_{suffix[1:]}"
        (tmp_path / f"{name}.py").write_text(
            f"import {namespace} as keras\n"
            "class Twice(keras.layers.Layer):\n"
            "    def call(self, x):\n"
            "        return 2 * x\n"
            "@keras.saving.register_keras_serializable('mine')\n"
            "class Thrice(keras.layers.Layer):\n"
            "    def call(self, x):\n"
            "        return 3 * x\n"
        )
        with monkeypatch.context() as here:
            here.chdir(tmp_path)
            module = probe_import(name, here, tmp_path)
            keras_module = module.keras
            data = keras_module.Input((3,))
            path = saved(
                keras_module.Model(data, module.Thrice(name="b")(module.Twice(name="a")(data))),
                tmp_path / f"own_{name}{suffix}",
            )
            with pytest.raises(NotTrusted, match="--import"):
                probe.open_model(path)
            model = probe.open_model(path, imports=(name,))
            followed = ("numpy", "onnx")
            assert [(layer.name, layer.kind, layer.checkable) for layer in model.layers] == [
                ("a", "Twice", followed),
                ("b", "Thrice", followed),
            ]
            assert probe.open_model(path, imports=(str(tmp_path / f"{name}.py"),)).names()


def probe_import(name, monkeypatch, folder):
    monkeypatch.syspath_prepend(folder)
    return __import__(name)


def test_an_import_that_fails_is_one_sentence(tmp_path):
    path = saved(small(keras), tmp_path / "plain.keras")
    with pytest.raises(
        probe.ProbeError, match="importing no_such_module raised ModuleNotFoundError"
    ):
        probe.open_model(path, imports=("no_such_module",))


PACKAGES = {
    "QuantizeWrapperV2": (
        "tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper",
        "QuantizeWrapperV2",
    ),
    "PruneLowMagnitude": (
        "tensorflow_model_optimization.python.core.sparsity.keras.pruning_wrapper",
        None,
    ),
    "QDense": ("hgq.layers.core.dense", "hgq>QDense"),
    "QuantizerConfig": ("hgq.quantizer.config", "hgq>QuantizerConfig"),
}


@pytest.mark.parametrize("kind", PACKAGES)
def test_classes_of_known_packages_are_trusted_under_their_own_names_alone(kind):
    module, registered = PACKAGES[kind]

    def model(**changed):
        layer = {
            "class_name": kind,
            "module": module,
            "registered_name": registered,
            "config": {"name": "l"},
            **changed,
        }
        return {"class_name": "Sequential", "config": {"layers": [layer]}}

    refuse_code("a file", model())
    for changed in (
        {"module": "evil"},
        {"registered_name": "mine>Own"},
        {"class_name": "Unheard"},
        {"config": {"f": {"class_name": "__lambda__"}}},
    ):
        with pytest.raises(NotTrusted):
            refuse_code("a file", model(**changed))


def weights_of(path):
    """The HDF5 file with the weights, the path of the dense layer's kernel in it, and how it is put
    back."""
    if path.suffix == ".h5":
        return path, "model_weights/dense/dense/kernel:0", lambda: None
    inner = path.with_suffix(".weights.h5")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    inner.write_bytes(members["model.weights.h5"])

    def put_back():
        members["model.weights.h5"] = inner.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    return inner, "layers/dense/vars/0", put_back


def stored_outside(file, kernel, secret):
    del file[kernel]
    file.create_dataset(kernel, (3, 2), "<f4", external=[(str(secret), 0, 24)])


def put_together(file, kernel, secret):
    with h5py.File(secret.with_suffix(".other.h5"), "w") as other:
        other["numbers"] = np.full((3, 2), 7, np.float32)
    layout = h5py.VirtualLayout((3, 2), "<f4")
    layout[:] = h5py.VirtualSource(secret.with_suffix(".other.h5"), "numbers", (3, 2))
    del file[kernel]
    file.create_virtual_dataset(kernel, layout)


def linked(file, kernel, secret):
    with h5py.File(secret.with_suffix(".other.h5"), "w") as other:
        other["numbers"] = np.full((3, 2), 7, np.float32)
    del file[kernel]
    file[kernel] = h5py.ExternalLink(secret.with_suffix(".other.h5"), "numbers")


def linked_group(file, kernel, secret):
    """Out of sight of a listing: in a group that no layer has."""
    file["deep/group"] = h5py.ExternalLink(secret, "/")


def compressed_zeros(file, kernel, secret):
    del file[kernel]
    file.create_dataset(
        kernel, (30_000, 20_000), "<f4", chunks=(10_000, 10_000), compression="gzip"
    )


@pytest.mark.parametrize(
    "change", [stored_outside, put_together, linked, linked_group, compressed_zeros]
)
@pytest.mark.parametrize(
    ("namespace", "suffix"), [(keras, ".keras"), (tf_keras, ".keras"), (tf_keras, ".h5")]
)
def test_no_other_file_is_read_as_weights(tmp_path, namespace, suffix, change):
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(6, dtype=np.float32).tobytes())
    path = saved(small(namespace), tmp_path / f"model{suffix}")
    inner, kernel, put_back = weights_of(path)
    with h5py.File(inner, "r+") as file:
        change(file, kernel, secret)
    put_back()
    for trust in (False, True):
        with pytest.raises(CannotOpen) as error:
            probe.check(probe.open_model(path, trust=trust), "dense", np.ones((1, 3)))
        told = str(error.value)
        assert str(path) in told and "\n" not in told
        assert "another file" in told or "other arrays" in told or "declares arrays" in told


@pytest.mark.parametrize(
    ("namespace", "suffix"), [(keras, ".keras"), (tf_keras, ".keras"), (tf_keras, ".h5")]
)
def test_rings_and_names_of_the_same_numbers_inside_a_file_are_no_harm(tmp_path, namespace, suffix):
    path = saved(small(namespace), tmp_path / f"model{suffix}")
    before = probe.check(path, "dense", np.ones((1, 3)))
    inner, kernel, put_back = weights_of(path)
    with h5py.File(inner, "r+") as file:
        file["ring"] = file[kernel.partition("/")[0]]
        file["ring"]["again"] = file["ring"]
        file["soft"] = h5py.SoftLink("/ring")
    put_back()
    after = probe.check(path, "dense", np.ones((1, 3)))
    assert (
        before.ok
        and after.ok
        and np.array_equal(before.outputs["framework"], after.outputs["framework"])
    )
    assert [layer.name for layer in probe.open_model(path).layers] == ["dense"]


@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize(("namespace", "suffix"), [(keras, ".keras"), (tf_keras, ".h5")])
@pytest.mark.parametrize("of", ["groups", *exhaustive("chunks")])
def test_a_ring_made_by_hand_is_refused(tmp_path, namespace, suffix, of):
    """The HDF5 library itself follows a tree whose node is its own child until the process dies."""
    path = saved(small(namespace), tmp_path / f"model{suffix}")
    inner, kernel, put_back = weights_of(path)
    if of == "chunks":
        with h5py.File(inner, "r+") as file:
            del file[kernel]
            file.create_dataset(kernel, (3, 2), "<f4", chunks=(1, 1))[:] = 1
    data = bytearray(inner.read_bytes())
    kind, key = (b"TREE\0", 8) if of == "groups" else (b"TREE\1", 8 + 3 * 8)
    at = data.index(kind)
    data[at + 5 : at + 8] = b"\x01" + (2).to_bytes(2, "little")
    for child in range(2):
        data[(start := at + 24 + key + child * (key + 8)) : start + 8] = at.to_bytes(8, "little")
    inner.write_bytes(data)
    put_back()
    for arguments in ((), ("--layer", "dense")):
        done = subprocess.run(
            [Path(sys.executable).parent / "probe", path, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "is damaged" in done.stderr and "twice" in done.stderr


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("taken", [["dense", 0, 0, {}], ["data", 3, 0, {}], ["other", 0, 0, {}]])
def test_a_keras_2_layer_that_waits_for_ever_is_refused(tmp_path, suffix, taken):
    path = saved(small(tf_keras), tmp_path / f"waits{suffix}")
    edited(path, lambda config: config["config"]["layers"][1].update(inbound_nodes=[[taken]]))
    if taken[0] == "data":
        # the call of an input is always its only one
        assert probe.check(path, "dense", np.ones((1, 3))).ok
        return
    with pytest.raises(CannotOpen, match="'dense' takes its own output"):
        probe.open_model(path)


def test_shared_and_nested_keras_2_layers_are_in_order(tmp_path):
    layers = tf_keras.layers
    data = tf_keras.Input((4,))
    func = tf_keras.Model(data, layers.Dense(4)(data), name="func")
    sequential = tf_keras.Sequential([tf_keras.Input((4,)), layers.Dense(4)], name="with_input")
    deferred = tf_keras.Sequential([layers.Dense(4)], name="deferred")
    shaped = tf_keras.Sequential([layers.Dense(4, input_shape=(4,))], name="shaped")
    built = tf_keras.Sequential([layers.Dense(4)], name="built")
    built.build((None, 4))
    shared, x = layers.Dense(4, name="shared"), tf_keras.Input((4,))
    y = shared(x)
    for model in (func, sequential, deferred, shaped, built):
        y = model(shared(model(y)))
    sequence, *states = layers.LSTM(3, return_state=True)(layers.Reshape((4, 1))(y))
    y = layers.Add()([sequence, layers.LSTM(3)(layers.Reshape((4, 1))(y), initial_state=states)])
    model = tf_keras.Model(x, y * 2.0 + 1.0)
    for suffix in (".h5", ".keras"):
        path = saved(model, tmp_path / f"shared{suffix}")
        assert len(probe.open_model(path).names()) > 12


def test_a_config_nested_beyond_reason_is_one_sentence(tmp_path):
    nested = {}
    for _ in range(400):
        nested = {"a": [nested]}
    path = edited(
        saved(small(keras), tmp_path / "deep.keras"), lambda config: config.update(deep=nested)
    )
    with pytest.raises(CannotOpen, match="nested"):
        probe.open_model(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_bytearray_of_any_size_is_not_made(tmp_path, legacy):
    """The restricted unpickler of PyTorch lets it be called with a number, as which it takes that
    many bytes."""

    class Large:
        def __reduce__(self):
            return (bytearray, (1 << 40,))

    path = tmp_path / "large.pt"
    torch.save(
        {"weight": torch.zeros(2), "more": Large()}, path, _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(NotTrusted, match="bytearray"):
        probe.open_model(path)
    torch.save({"bytearray": torch.zeros(2)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CannotOpen, match="is a state_dict"):
        probe.open_model(path)


@pytest.mark.parametrize(("option", "value"), [("units", 1 << 40), ("units", 1 << 28)])
@pytest.mark.parametrize(("namespace", "suffix"), [(keras, ".keras"), (tf_keras, ".h5")])
def test_layers_that_the_file_cannot_hold_are_not_built(tmp_path, namespace, suffix, option, value):
    path = saved(small(namespace), tmp_path / f"large{suffix}")
    edited(path, lambda config: config["config"]["layers"][1]["config"].update({option: value}))
    with pytest.raises(CannotOpen, match=f"'dense' has {option} = {value}"):
        probe.open_model(path)


def test_recurrent_layers_have_the_square_of_their_units(tmp_path):
    layer = {"class_name": "LSTM", "config": {"name": "lstm", "units": 1 << 20}}
    assert "units" in oversized({"class_name": "Sequential", "config": {"layers": [layer]}}, 10_000)
    layer["config"]["units"] = 2000
    assert not oversized({"class_name": "Sequential", "config": {"layers": [layer]}}, 10_000)


def test_groups_nested_by_the_thousand_are_listed_in_time(tmp_path):
    path = saved(small(tf_keras), tmp_path / "deep.h5")
    with h5py.File(path, "r+") as file:
        group = file
        for _ in range(2000):
            group = group.create_group("g")
        for number in range(2000):
            file.attrs[f"a{number}"] = number
    start = time.process_time()
    assert [layer.parameters for layer in probe.open_model(path).layers] == [8]
    assert time.process_time() - start < 10


def test_a_node_that_is_its_own_sibling_is_refused(tmp_path):
    path = saved(small(tf_keras), tmp_path / "ring.h5")
    data = bytearray(path.read_bytes())
    at = data.index(b"TREE")
    data[at + 8 : at + 24] = at.to_bytes(8, "little") * 2
    path.write_bytes(data)
    with pytest.raises(CannotOpen, match="twice"):
        probe.open_model(path)


def test_an_archive_of_more_members_than_keras_could_unpack(tmp_path):
    path = tmp_path / "many.keras"
    for count in (10_000, 10_001):
        with zipfile.ZipFile(path, "w") as archive:
            for k in range(count):
                archive.writestr(f"extra/{k}" if k else "config.json", "")
        with pytest.raises(CannotOpen) as error:
            probe.open_model(path)
        assert ("at most 10,000" in str(error.value)) == (count > 10_000)
