"""Healthy files, each written by hand from its format's description, which the tricks then
change."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np

KERNEL = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
BIAS = np.array([0.5, -1, 2], np.float32)
X = np.random.default_rng(2).normal(size=(2, 4)).astype(np.float32)
Y = (X.astype(float) @ KERNEL + BIAS).astype(np.float32)

NET = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)
"""
FACTORY = ("--factory", "net.py:Net", "--shape", "2,4")


def zipped(
    path: Path,
    members: Iterable[tuple[str | zipfile.ZipInfo, bytes]],
    how: int = zipfile.ZIP_STORED,
) -> None:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in members:
            file.writestr(name, content)


def bomb(
    path: Path, members: Mapping[str, bytes], name: str, start: bytes, filler: bytes, blocks: int
) -> None:
    """A zip whose deflated member `name` is `start` and then so many blocks of 64 MiB of one
    letter. Its checksum is wrong."""

    def deflated(content: bytes) -> bytes:
        made = zlib.compressobj(6, zlib.DEFLATED, -15)
        return made.compress(content) + made.flush(zlib.Z_FULL_FLUSH)

    # After a full flush the state is empty, so that the same packed block can follow itself.
    packed = deflated(start) + deflated(filler * 2**26) * blocks + b"\x03\x00"
    size = len(start) + 2**26 * blocks
    with path.open("wb") as file:
        directory = b""
        for member, how, content, length in [
            *((key, 0, value, len(value)) for key, value in members.items()),
            (name, 8, packed, size),
        ]:
            at, encoded = file.tell(), member.encode()
            fields = struct.pack(
                "<HHHHIIIHH",
                20,
                0,
                how,
                0x21,
                zlib.crc32(content) if how == 0 else 0,
                len(content),
                length,
                len(encoded),
                0,
            )
            # The two times are a date of 1980; `how` and the sizes stand in both headers.
            fields = struct.pack("<HHHHH", 20, 0, how, 0, 0x21) + fields[8:]
            file.write(b"PK\x03\x04" + fields + encoded + content)
            directory += (
                b"PK\x01\x02\x14\x03"
                + fields
                + struct.pack("<HHHII", 0, 0, 0, 0o644 << 16, at)
                + encoded
            )
        start_of_directory = file.tell()
        count = len(members) + 1
        file.write(
            directory
            + b"PK\x05\x06"
            + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), start_of_directory, 0)
        )


def npy(
    shape: str | tuple,
    descr: str = "'<f4'",
    data: bytes = b"",
    order: str = "False",
    version: bytes = b"\x01\x00",
) -> bytes:
    """A .npy file, its header put together as text."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode("latin1")
    return npy_of(header, data, version)


def npy_of(
    header: bytes, data: bytes = b"", version: bytes = b"\x01\x00", size: int | None = None
) -> bytes:
    header = header + b" " * (-(len(header) + 11) % 64) + b"\n"
    size = len(header) if size is None else size
    return (
        b"\x93NUMPY"
        + version
        + (struct.pack("<H", size & 0xFFFF) if version[0] == 1 else struct.pack("<I", size))
        + header
        + data
    )


def array_bytes(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


# Safetensors


def safetensors(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


STATE_HEADER = {
    "fc.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
    "fc.bias": {"dtype": "F32", "shape": [3], "data_offsets": [48, 60]},
}
STATE_DATA = np.ascontiguousarray(KERNEL.T).tobytes() + BIAS.tobytes()


# Keras


def dense(name: str = "dense", **more: object) -> dict:
    """The entry of a Dense layer as Keras 2 writes it."""
    config = {
        "name": name,
        "trainable": True,
        "dtype": "float32",
        "units": 3,
        "activation": "linear",
        "use_bias": True,
    }
    return {"class_name": "Dense", "config": {**config, **more}}


def layer2(kind: str, name: str, **config: object) -> dict:
    return {
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
    }


def sequential2(*layers: dict, shape: object = (None, 4), dtype: object = "float32") -> dict:
    """A Sequential model as Keras 2 writes it."""
    entry = {
        "batch_input_shape": shape,
        "dtype": dtype,
        "sparse": False,
        "ragged": False,
        "name": "input_1",
    }
    return {
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [{"class_name": "InputLayer", "config": entry}, *layers],
        },
    }


def functional2(
    layers: list[dict], outputs: list, shape: object = (None, 4), dtype: str = "float32"
) -> dict:
    """A functional model as Keras 2 writes it; the layers bring their `inbound_nodes`."""
    entry = {
        "batch_input_shape": shape,
        "dtype": dtype,
        "sparse": False,
        "ragged": False,
        "name": "x",
    }
    first = {"class_name": "InputLayer", "config": entry, "name": "x", "inbound_nodes": []}
    config = {
        "name": "model",
        "trainable": True,
        "layers": [first, *layers],
        "input_layers": [["x", 0, 0]],
        "output_layers": outputs,
    }
    return {"class_name": "Functional", "config": config}


def node(entry: dict, *inputs: list) -> dict:
    return {
        **entry,
        "name": entry["config"]["name"],
        "inbound_nodes": [list(inputs)] if inputs else [],
    }


def keras2(
    path: Path,
    config: object = None,
    weights: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    edit: Callable[[h5py.File], None] = lambda file: None,
    version: object = "2.15.0",
) -> None:
    """A .h5 file as Keras 2 writes it. `weights`: layer -> name -> array. `edit` changes the open
    file."""
    weights = (
        {"dense": {"dense/kernel:0": KERNEL, "dense/bias:0": BIAS}} if weights is None else weights
    )
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, "tensorflow"
        text = (
            config
            if isinstance(config, (str, bytes))
            else json.dumps(sequential2(dense()) if config is None else config)
        )
        if len(text) < 60_000:
            file.attrs["model_config"] = text
        else:
            file.attrs.create("model_config", text, dtype=h5py.string_dtype())
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = (
            np.array([name.encode() for name in weights]) if weights else np.zeros(0, "S1")
        )
        group.attrs["backend"], group.attrs["keras_version"] = "tensorflow", version
        for name, arrays in weights.items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = (
                np.array([key.encode() for key in arrays]) if arrays else np.zeros(0, "S1")
            )
            for key, array in arrays.items():
                inner[key] = array
        edit(file)


def layer3(
    kind: str,
    name: str,
    module: str = "keras.layers",
    registered: str | None = None,
    **config: object,
) -> dict:
    """The entry of a layer as Keras 3 writes it."""
    return {
        "module": module,
        "class_name": kind,
        "config": {"name": name, "trainable": True, "dtype": "float32", **config},
        "registered_name": registered,
    }


def dense3(name: str = "dense", **config: object) -> dict:
    return layer3("Dense", name, **{"units": 3, "activation": "linear", "use_bias": True, **config})


def sequential3(*layers: dict, shape: object = (None, 4), dtype: object = "float32") -> dict:
    entry = {"batch_shape": shape, "dtype": dtype, "sparse": False, "name": "x"}
    first = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": entry,
        "registered_name": None,
    }
    config = {
        "name": "sequential",
        "trainable": True,
        "dtype": "float32",
        "layers": [first, *layers],
    }
    built = {"input_shape": shape}
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": config,
        "registered_name": None,
        "build_config": built,
    }


def weights3(
    edit: Callable[[h5py.File], None] = lambda file: None,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """`model.weights.h5` as Keras 3 writes it."""
    arrays = (
        {"layers/dense/vars/0": KERNEL, "layers/dense/vars/1": BIAS} if arrays is None else arrays
    )
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        file.create_group("vars")
        edit(file)
    return memory.getvalue()


METADATA = {"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}


def members3(
    config: object = None, weights: bytes | None = None, metadata: object = None
) -> dict[str, bytes]:
    def text(value: object) -> bytes:
        return value if isinstance(value, bytes) else json.dumps(value).encode()

    return {
        "metadata.json": text(METADATA if metadata is None else metadata),
        "config.json": text(sequential3(dense3()) if config is None else config),
        "model.weights.h5": weights3() if weights is None else weights,
    }


def keras3(
    path: Path, config: object = None, weights: bytes | None = None, metadata: object = None
) -> None:
    zipped(path, members3(config, weights, metadata).items())


# Pickles, put together from opcodes


def name_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def text_(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def int_(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(content)]) + content


def tuple_(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def dict_(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text_(key) + value for key, value in items.items()) + b"u"


def call_(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_(*arguments) + b"R"


NONE, TRUE, FALSE = b"N", b"\x88", b"\x89"


def storage_(
    key: str, count: int, kind: str = "FloatStorage", where: str = "cpu", module: str = "torch"
) -> bytes:
    return (
        tuple_(text_("storage"), name_(module, kind), text_(key), text_(where), int_(count)) + b"Q"
    )


def tensor_(
    key: str, shape: tuple, strides: tuple, count: int, offset: int = 0, kind: str = "FloatStorage"
) -> bytes:
    hooks = name_("collections", "OrderedDict") + b")R"
    numbers = (int_(offset), tuple_(*map(int_, shape)), tuple_(*map(int_, strides)))
    return call_(
        name_("torch._utils", "_rebuild_tensor_v2"),
        storage_(key, count, kind),
        *numbers,
        FALSE,
        hooks,
    )


WEIGHT = tensor_("0", (3, 4), (4, 1), 12)
BIAS_ = tensor_("1", (3,), (1,), 3)
STATE = {"fc.weight": WEIGHT, "fc.bias": BIAS_}
STORAGES = {"0": STATE_DATA[:48], "1": STATE_DATA[48:]}


def pickle_(value: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + value + b"."


def torch_members(
    value: bytes, storages: Mapping[str, bytes] = STORAGES, folder: str = "archive"
) -> dict[str, bytes]:
    """The members of a .pt file whose object is the pickled `value`."""
    return {
        f"{folder}/data.pkl": pickle_(value),
        f"{folder}/byteorder": b"little",
        **{f"{folder}/data/{key}": content for key, content in storages.items()},
        f"{folder}/version": b"3\n",
    }


def torch_zip(
    path: Path, value: bytes | None = None, storages: Mapping[str, bytes] = STORAGES
) -> None:
    zipped(path, torch_members(dict_(STATE) if value is None else value, storages).items())


def torch_legacy(
    path: Path, value: bytes | None = None, keys: object = None, data: bytes | None = None
) -> None:
    """A file as torch before 1.6 wrote it: magic number, protocol, system, object, storage keys,
    storages."""

    def storage(key: str, count: int) -> bytes:
        return (
            tuple_(
                text_("storage"),
                name_("torch", "FloatStorage"),
                text_(key),
                text_("cpu"),
                int_(count),
                NONE,
            )
            + b"Q"
        )

    def tensor(key: str, shape: tuple, strides: tuple, count: int) -> bytes:
        hooks = name_("collections", "OrderedDict") + b")R"
        return call_(
            name_("torch._utils", "_rebuild_tensor_v2"),
            storage(key, count),
            int_(0),
            tuple_(*map(int_, shape)),
            tuple_(*map(int_, strides)),
            FALSE,
            hooks,
        )

    if value is None:
        value = dict_(
            {"fc.weight": tensor("0", (3, 4), (4, 1), 12), "fc.bias": tensor("1", (3,), (1,), 3)}
        )
    system = dict_(
        {
            "protocol_version": int_(1001),
            "little_endian": TRUE,
            "type_sizes": dict_({"short": int_(2), "int": int_(4), "long": int_(4)}),
        }
    )
    stored = b"](" + text_("0") + text_("1") + b"e" if keys is None else keys
    contents = (
        struct.pack("<q", 12) + STORAGES["0"] + struct.pack("<q", 3) + STORAGES["1"]
        if data is None
        else data
    )
    assert isinstance(stored, bytes)
    path.write_bytes(
        pickle_(int_(0x1950A86A20F9469CFC6C))
        + pickle_(int_(1001))
        + pickle_(system)
        + pickle_(value)
        + pickle_(stored)
        + contents
    )


# ONNX


def onnx_model(nodes=None, initializers=None, inputs=None, outputs=None, opset: int = 17, **more):
    """A model of one Gemm, or of the nodes given."""
    from onnx import TensorProto, helper, numpy_helper  # the other files need no onnx

    if nodes is None:
        nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="fc")]
    if initializers is None:
        initializers = [numpy_helper.from_array(KERNEL, "w"), numpy_helper.from_array(BIAS, "b")]
    inputs = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])]
        if inputs is None
        else inputs
    )
    outputs = (
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])]
        if outputs is None
        else outputs
    )
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more
    )


def onnx_file(path: Path, *arguments, **named) -> None:
    path.write_bytes(onnx_model(*arguments, **named).SerializeToString())
