"""The user's own files and typed values as arrays; BadInput with one sentence where they cannot be
read."""

import math
import os
import stat
import zipfile
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO

import numpy as np

from probe import printable
from probe.capture.model_inputs import part_of
from probe.capture.user_arrays import Partial
from probe.errors import BadInput, in_words
from probe.files.size_limits import held, too_much

__all__ = ["array", "expected", "given", "typed", "values"]

_AXES = 64
"""As many as NumPy's arrays have."""


def array(path: str) -> np.ndarray | dict[str, np.ndarray]:
    """An array file; an .npz gives a dict of its arrays. Raises BadInput with the path and the
    reason."""
    try:
        status = Path(path).stat()
        mode = status.st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
            raise BadInput(f"{path} is {kind}, not an array file")
        if not status.st_size:  # under /proc to read may never end
            raise BadInput(f"{path} is empty: it contains no values")
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if too_much(size, holds := held(file)):
                raise BadInput(
                    f"{path} has {size:,} bytes but is sparse: only {holds:,} are stored"
                )
            if path.endswith((".txt", ".csv")):
                return _text(path, "," if path.endswith(".csv") else None)
            if file.read(4) in (b"PK\3\4", b"PK\5\6"):  # the latter where it holds nothing
                return _archive(path, size)
            file.seek(0)
            return _array(file, size, path)
    except FileNotFoundError:
        raise BadInput(f"the file {path} does not exist") from None
    except BadInput:
        raise
    # what zipfile, zlib and NumPy raise for broken files has no common class
    except Exception as error:
        raise BadInput(
            f"{path} cannot be read as .npy, .npz, .txt or .csv: {in_words(error)}"
        ) from None


def _text(path: str, delimiter: str | None) -> np.ndarray:
    # by name loadtxt would also fetch a URL, and unpack
    with Path(path).open(encoding="utf-8") as file:
        if not any(line.partition("#")[0].strip() for line in file):
            raise BadInput(f"{path} contains no numbers")
        file.seek(0)
        return np.loadtxt(file, delimiter=delimiter, ndmin=1)


def _archive(path: str, size: int) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        declared = sum(info.file_size for info in archive.infolist())
        if too_much(declared, size):
            raise BadInput(
                f"{path} declares {declared:,} bytes of data but has {size:,}: it is damaged "
                "or crafted to exhaust memory"
            )
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if info.flag_bits & 1:
                raise BadInput(f"{path} is encrypted; save it again without a password")
            if name in found:
                raise BadInput(f"{path} contains {name!r} twice")
            with archive.open(info) as file:
                try:
                    found[name] = _array(file, info.file_size, f"{name!r} in {path}")
                except ValueError as error:
                    raise BadInput(
                        f"{info.filename!r} in {path} is not an array ({in_words(error)})"
                    ) from None
    if not found:
        raise BadInput(f"{path} contains no arrays")
    return found


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


def given(path: str | None) -> np.ndarray | dict[str, np.ndarray] | None:
    """An input file: an .npz with one array is that array, otherwise arrays by input name."""
    if path is None:
        return None
    held = array(path)
    return next(iter(held.values())) if isinstance(held, dict) and len(held) == 1 else held


def expected(path: str | None, layer: str) -> np.ndarray | None:
    """The user's values of one layer: of an .npz the array of that name, or its only one."""
    held = values(path, layer)
    return held[layer] if isinstance(held, dict) else held


def values(path: str | None, layer: str) -> np.ndarray | dict[str, np.ndarray] | None:
    """The same, with those of other layers that an .npz holds beside the one of that name."""
    if path is None:
        return None
    held = array(path)
    if not isinstance(held, dict) or layer in held:
        return held
    if len(held) == 1:
        return next(iter(held.values()))
    raise BadInput(f"{path} contains {printable.several(held)}, but no array named {layer!r}")


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
