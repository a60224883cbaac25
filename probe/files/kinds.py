"""What a file is by its beginning and its name, in words, and how what is in it is given: where an
array was expected, or a model."""

import re
from typing import NamedTuple

__all__ = ["Kind", "beginning", "kind_of"]


class Kind(NamedTuple):
    """In words; ``{path}`` stands for the file in those that say how it is given."""

    what: str
    as_array: str = ""
    """How an array in it is given; "" where that is not known."""
    as_model: str = ""
    """How it is given where a model was expected."""


_FETCH = "it stands for the file itself, which git lfs pull fetches"
_POINTER = Kind("a Git LFS pointer", _FETCH, _FETCH)
_ARRAY = Kind(
    "an array and no model",
    as_model="the model comes first, and the array behind --input: probe MODEL --input {path} "
    "(x= in Python)",
)
_NUMPY = _ARRAY._replace(what="a NumPy array and no model")
_MODEL = "the model comes first: probe {path} --input x.npy"
_TORCH = Kind(
    "a file of torch.save",
    "a tensor is saved as an array by np.save('x.npy', tensor.numpy()), and a model comes first: "
    "probe {path} --input x.npy",
)
_PICKLE = Kind("a pickle", "loading it could run code; save the array with np.save")
_HDF5 = Kind(
    "an HDF5 file",
    "save its array with np.save('x.npy', h5py.File('{path}')[NAME][()]); a model comes first: "
    "probe {path} --input x.npy",
)
_PYTHON = Kind(
    "a Python file",
    "run it, and save its array with np.save",
    "give the file of the parameters, and this one as --factory {path}:NAME (factory=)",
)
_JSON = Kind(
    "JSON text",
    "save its numbers with np.save('x.npy', json.load(open('{path}')))",
    "a configuration has no weights: give the file that model.save wrote, or the Hugging Face "
    "directory",
)
_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (rb"version https://git-lfs", _POINTER),
    (rb"\x93NUMPY", _NUMPY),
    (rb"\x89HDF\r\n\x1a\n", _HDF5),
    (rb".{4}TFL3", Kind("a TFLite model", _MODEL)),
    (rb"GGUF", Kind("a GGUF model", _MODEL)),
    (rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]", Kind("an ONNX model", _MODEL)),
    (rb"\x80[\x02-\x05]", _PICKLE),
    (rb"MATLAB ", Kind("a MATLAB file", "save its array with np.save (scipy.io.loadmat reads it)")),
    (rb"\x89PNG\r\n|\xff\xd8\xff", Kind("an image", "name it .png or .jpg", _ARRAY.as_model)),
)
"""How files begin."""
_ENDINGS: dict[str, Kind] = {
    ".py": _PYTHON,
    ".json": _JSON,
    **dict.fromkeys((".txt", ".csv", ".dat", ".bin"), _ARRAY),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), _PICKLE),
}
"""How files are called whose beginning does not tell what they are."""
_MEMBERS: tuple[tuple[str, Kind], ...] = (
    ("data.pkl", _TORCH),
    ("constants.pkl", _TORCH),
    ("recording.json", Kind("a recording", _MODEL)),
    ("config.json", Kind("a Keras model", _MODEL)),
)
"""What is in zip archives."""


def kind_of(path: str, head: bytes, members: list[str] | None = None) -> Kind | None:
    """What a file is; of a zip archive by the names in it."""
    last = {name.rpartition("/")[2] for name in members or ()}
    for name, kind in _MEMBERS:
        if name in last:
            return kind
    for begins, kind in _BEGINNINGS:
        if re.match(begins, head, re.DOTALL):
            return kind
    return _ENDINGS.get(f".{path.lower().rpartition('.')[2]}")


def beginning(head: bytes) -> str:
    """What the beginning of an unknown file looks like."""
    text = head[:40].decode("ascii", "replace").split("\n")[0]
    if text.isprintable() and "\ufffd" not in text:
        return f"it starts with the text {text!r}"
    return f"it starts with the bytes {head[:8].hex(' ')}"
