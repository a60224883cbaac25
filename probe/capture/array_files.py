"""The user's own files and typed values as arrays; BadInput with one sentence where they cannot be
read."""

import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from importlib import import_module
from io import TextIOWrapper
from itertools import count, islice, takewhile
from pathlib import Path
from typing import IO, Any

import numpy as np

from probe import printable
from probe.capture.model_inputs import part_of
from probe.capture.number_texts import rows, words
from probe.capture.user_arrays import Partial, Unshaped
from probe.command_line import joined
from probe.errors import BadInput, in_words
from probe.files.kinds import Kind, beginning, kind_of
from probe.files.regular_file import is_folder, open_file
from probe.files.size_limits import too_much
from probe.suggestions import did_you_mean

__all__ = [
    *("FLAT", "IMAGES", "array", "by_name", "input_file", "own_input", "replacements", "typed"),
    "values",
]

_HEAD, _LOOKED_AT, _SAID = 64, 1000, 3
"""Bytes by which a file is told; so many files of a folder are looked at, and so many said."""
FLAT, IMAGES = (".txt", ".csv", ".dat", ".bin"), (".png", ".jpg", ".jpeg")
"""How files are called that hold no shape, and those that are images."""

_AXES = 64
"""As many as NumPy's arrays have."""


def array(
    path: str, dtype: str | None = None, links: bool = True
) -> np.ndarray | dict[str, np.ndarray]:
    """An array file; an .npz gives a dict of its arrays. ``dtype`` is what the bytes of a .bin are;
    without ``links`` the path is none.

    Raises BadInput with the path and the reason.
    """
    if is_folder(path):
        raise BadInput(_folder(path))
    try:
        with open_file(path, "an array file", links=links) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if path.endswith((".txt", ".csv")):
                return rows(file, path, "," if path.endswith(".csv") else None)
            if path.endswith(".dat"):
                return words(file, path)
            if path.endswith(".bin"):
                return _bytes(file, size, path, dtype)
            head = file.read(_HEAD)
            file.seek(0)
            if head[:4] in (b"PK\3\4", b"PK\5\6"):  # the latter where it holds nothing
                return _archive(file, path, size)
            if head[:6] != b"\x93NUMPY":
                raise BadInput(_no_array(path, kind_of(path, head), head))
            return _array(file, size, path)
    except BadInput:
        raise
    # what zipfile, zlib and NumPy raise for broken files has no common class
    except Exception as error:
        raise BadInput(
            f"{path} cannot be read as .npy, .npz, .txt, .csv, .dat or .bin: {in_words(error)}"
        ) from None


def _folder(path: str) -> str:
    """What is said of a folder in the place of an array file."""
    said = f"{path} is a folder, not an array file"
    files = sorted(str(file) for file in islice(Path(path).iterdir(), _LOOKED_AT))
    if arrays := [file for file in files if file.endswith((".npy", ".npz"))]:
        also = joined(["probe", "compare", "MODEL", path])
        return f"{said}; {did_you_mean(arrays[:_SAID])} ({also} compares all outputs in it)"
    return said


def _no_array(path: str, kind: Kind | None, head: bytes) -> str:
    """What is said of a file that is none of an array."""
    if kind is not None and kind.as_array:
        return f"{path} is {kind.what}, not an array file: {kind.as_array.format(path=path)}"
    return (
        f"{path} is no .npy or .npz file: {beginning(head)}; save the array with np.save, or name "
        "a file of numbers .txt, .csv, .dat or .bin"
    )


def by_name(path: str, dtype: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz by their names, or of a folder those of its .npy files, with a
    ``dtype`` those of its .bin files too; BadInput where there are none."""
    if not is_folder(path):
        found = array(path)
        if isinstance(found, dict):
            _refuse_saved(
                found,
                path,
                "an .npz keyed by layer names is needed here, such as "
                "np.savez('mine.npz', **{'conv': y}) writes",
            )
            return found
        raise BadInput(
            f"{path} holds one array without a name: give an .npz or a folder of .npy files, whose "
            "names are layer names; one array alone is one layer's expected= (--expect)"
        )
    place = Path(path)
    arrays: dict[str, np.ndarray] = {}
    kinds = ("*.npy",) if dtype is None else ("*.npy", "*.bin")
    for file in sorted(file for kind in kinds for file in place.rglob(kind)):
        values = array(str(file), dtype, links=False)
        if isinstance(values, dict):
            raise BadInput(f"{file} holds several arrays, as an .npz does: name it .npz")
        arrays[file.relative_to(place).with_suffix("").as_posix()] = values
    if not arrays:
        raise BadInput(f"{path} is a folder without .npy files")
    return arrays


def _bytes(file: IO[bytes], size: int, path: str, dtype: str | None) -> np.ndarray:
    """The numbers of a file of nothing else."""
    if dtype is None:
        raise BadInput(
            f"{path} does not tell the dtype of its numbers: give --dtype, such as --dtype float32"
        )
    kind = dtype_of(dtype)
    if size % kind.itemsize:
        raise BadInput(
            f"{path} has {size:,} bytes, which is not a multiple of a {kind.name}'s "
            f"{kind.itemsize} bytes"
        )
    values = np.frombuffer(file.read(), kind)
    return values.astype(kind.newbyteorder("="), copy=False)


def dtype_of(name: str) -> np.dtype[Any]:
    """A dtype of numbers by NumPy's name for it, such as "float32" or ">i2"; "bfloat16" too."""
    try:
        kind = import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name
        dtype = np.dtype(kind)
        if dtype.kind in "fiub" or name == "bfloat16":
            return dtype
    except TypeError:
        pass
    raise BadInput(f"--dtype is a NumPy dtype of numbers such as float32 or >i2; you gave {name!r}")


def _archive(file: IO[bytes], path: str, size: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        declared = sum(info.file_size for info in archive.infolist())
        if too_much(declared, size):
            raise BadInput(
                f"{path} declares {declared:,} bytes of data but has {size:,}: it is damaged "
                "or crafted to exhaust memory"
            )
        kind = kind_of(path, b"", archive.namelist())
        if kind is not None and kind.as_array:
            raise BadInput(_no_array(path, kind, b""))
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.flag_bits & 1:
                raise BadInput(f"{path} is encrypted; save it again without a password")
            if name in arrays:
                raise BadInput(f"{path} contains {name!r} twice")
            with archive.open(info) as member:
                try:
                    arrays[name] = _array(member, info.file_size, f"{name!r} in {path}")
                except ValueError as error:
                    raise BadInput(
                        f"{info.filename!r} in {path} is not an array ({in_words(error)})"
                    ) from None
    if not arrays:
        raise BadInput(f"{path} contains no arrays")
    return arrays


def _array(file: IO[bytes], size: int, place: str) -> np.ndarray:
    """The array in a stream of ``size`` bytes, which has to be all that there is, in the machine's
    own byte order."""
    version = np.lib.format.read_magic(file)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if header is None:
        raise BadInput(
            f"{place} has .npy format version {'.'.join(map(str, version))}, which is for "
            "arrays with named fields"
        )
    shape, by_column, dtype = header(file)
    if dtype.hasobject:
        raise BadInput(
            f"{place} contains pickled Python objects, not numbers: reading them could run code"
        )
    if any(length < 0 for length in shape) or len(shape) > _AXES:
        raise BadInput(f"{place} declares the invalid shape {shape}")
    count, left = math.prod(shape), size - file.tell()
    if count * dtype.itemsize != left:
        raise BadInput(
            f"{place} declares {count:,} values of {dtype} ({count * dtype.itemsize:,} "
            f"bytes), but only {left:,} bytes follow"
        )
    content = bytearray(left)
    if file.readinto(content) != left or file.read(1):  # type: ignore[attr-defined]
        raise BadInput(f"{place} is truncated")
    values = np.frombuffer(content, dtype) if left else np.zeros(count, dtype)
    if dtype.kind == "b":
        values = values.view(np.uint8) != 0  # a byte other than 0 and 1 is no boolean to NumPy
    values = values.reshape(shape[::-1]).T if by_column else values.reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def input_file(
    path: str | None, dtype: str | None = None
) -> np.ndarray | dict[str, np.ndarray] | Unshaped | None:
    """An input file: an .npz with one array is that array, otherwise arrays by input name."""
    if path is None:
        return None
    if path.endswith(IMAGES):
        raise BadInput(f"{path} is an image, which is read as the model's input (--input) alone")
    values = array(path, dtype)
    if isinstance(values, dict):
        if len(values) == 1:
            return next(iter(values.values()))
        return values
    if path.endswith(FLAT):
        return Unshaped(values, path)
    return values


def _refuse_saved(arrays: Mapping[str, np.ndarray], path: str, instead: str) -> None:
    """Raises BadInput where they are those of a report that --save wrote."""
    if {"framework_0", "numpy_0"} <= arrays.keys():
        raise BadInput(
            f"{path} was written by --save and contains one layer's inputs, weights and outputs by "
            f"every party: {instead}"
        )


_OF_A_REPORT = ("framework_0", "numpy_0", "onnx_0", "expected_0")


def own_input(
    path: str, dtype: str | None = None
) -> np.ndarray | list[np.ndarray] | dict[str, np.ndarray] | Unshaped | None:
    """A layer's own input file: of a report that --save wrote, the inputs in their order."""
    values = input_file(path, dtype)
    if not isinstance(values, dict) or not any(name in values for name in _OF_A_REPORT):
        return values
    names = takewhile(values.__contains__, map("input_{}".format, count()))
    inputs = [values[name] for name in names]
    if not inputs:
        return values
    if len(inputs) == 1:
        return inputs[0]
    return inputs


def values(
    path: str | None, layer: str, dtype: str | None = None
) -> np.ndarray | dict[str, np.ndarray] | Unshaped | None:
    """The user's values of a layer; of an .npz its only array, or all by names of layers where one
    of them is that name."""
    if path is None:
        return None
    values = array(path, dtype)
    if isinstance(values, np.ndarray) and path.endswith(FLAT):
        return Unshaped(values, path, _left_out(path, values))
    if not isinstance(values, dict) or layer in values:
        return values
    if len(values) == 1:
        return next(iter(values.values()))
    _refuse_saved(values, path, f"give your own output of {layer!r} alone, as an .npy")
    first = next(iter(values), "y")
    raise BadInput(
        f"{path} contains {printable.several(values)}, but no array named {layer!r}: give one "
        f"alone, np.save('y.npy', np.load({path!r})[{first!r}])"
    )


def replacements(
    files: Sequence[tuple[str, str]], dtype: str | None = None
) -> dict[str, Any] | None:
    """The user's values of layers by name (``values``), out of a file each; None without files."""
    if not files:
        return None
    found = {layer: values(path, layer, dtype) for layer, path in files}
    return {
        layer: array[layer] if isinstance(array, dict) else array for layer, array in found.items()
    }


_EXACT = 17
"""Significant digits that write any float64."""
_HALF = 0.5 * (1 + 1e-6)
"""Of the last digit; a decimal step is no number of float64."""


def _left_out(path: str, held: np.ndarray) -> np.ndarray | float:
    """How far the numbers of a text may be off by the digits that it leaves out: half of the last
    decimal where all have as many, else of the last of the most significant digits. Whole numbers
    are what they are."""
    if path.endswith(".bin"):
        return 0.0
    decimals: set[int] = set()
    most, scientific = 0, False
    with TextIOWrapper(open_file(path, "an array file"), encoding="utf-8") as text:
        for line in text:
            for word in line.partition("#")[0].replace(",", " ").split():
                mantissa, exponent, _ = word.lower().partition("e")
                whole, _, fraction = mantissa.lstrip("+-").partition(".")
                if not whole.isdigit() and not fraction.isdigit():
                    continue  # NaN and infinities
                decimals.add(len(fraction))
                most = max(most, len((whole + fraction).lstrip("0")))
                scientific |= bool(exponent)
                if most >= _EXACT:
                    return 0.0
    if scientific or len(decimals) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            magnitudes = np.floor(np.log10(np.abs(held)))
        units = 10.0 ** (np.where(np.isfinite(magnitudes), magnitudes, -np.inf) - most + 1)
        return _HALF * units
    places = max(decimals, default=0)
    if places:
        return _HALF * 10.0**-places
    return 0.0


def typed(value: str, at: tuple[int, ...]) -> Partial:
    """One value as it was typed; its last digit may have been rounded."""
    try:
        digits = Decimal(value).as_tuple().exponent
        return Partial(
            np.asarray(float(value)),
            part_of(at),
            0.5 * 10.0**digits if isinstance(digits, int) else 0.0,
        )
    except (InvalidOperation, OverflowError):
        raise BadInput(f"--expect-value must be a number; you gave {value!r}") from None
