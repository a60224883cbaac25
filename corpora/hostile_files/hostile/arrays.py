""".npy, .npz and text files, as the values of a layer and as inputs."""

import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np
from hostile import bases
from hostile.bases import X, Y, array_bytes, npy, npy_of
from hostile.case import AGREES, AGREES_OR_REFUSED, ANY, NOT_AGREES, REFUSED, Place, Run, add

DATA = Y.tobytes()


class _Opens:
    """A pickle that makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def _beside_model(name: str, content: Callable[[Place], bytes]) -> Callable[[Place], None]:
    def build(place: Place) -> None:
        bases.onnx_file(place.work / "m.onnx")
        np.save(place.work / "x.npy", X)
        (place.work / name).write_bytes(content(place))

    return build


def _array(
    format: str,
    kind: str,
    slug: str,
    content: bytes | Callable[[Place], bytes],
    allowed=REFUSED,
    name: str = "",
    listed=REFUSED,
) -> None:
    """The file as values of a layer, as the model's input, and as the layer's input."""
    name = name or f"v.{format}"
    act = content if callable(content) else lambda place: content
    expect = ("m.onnx", "--layer", "fc", "--input", "x.npy", "--expect", name)
    runs = [Run(expect, allowed)]
    # As input the file's values are what the model runs on: whatever can be read may agree.
    runs.append(
        Run(("m.onnx", "--layer", "fc", "--input", name), REFUSED if allowed == REFUSED else ANY)
    )
    if kind in ("code", "hang", "memory"):
        runs.append(
            Run(("m.onnx", "--layer", "fc", "--expect-input", name, "--expect", name), REFUSED)
        )
        runs.append(Run((name,), listed))
    if format == "npz":
        runs.append(
            Run(
                ("m.onnx", "--all", "--input", "x.npy", "--expect", name),
                REFUSED if allowed == REFUSED else ANY,
            )
        )
    add(format, kind, slug, _beside_model(name, act), *runs)


def _npz(members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return memory.getvalue()


def _objects(place: Place) -> bytes:
    return array_bytes(
        np.array([_Opens(place.marker)] * 6, object).reshape(2, 3), allow_pickle=True
    )


# Code

_array("npy", "code", "object-array", _objects)
_array(
    "npy",
    "code",
    "object-array-scalar",
    lambda place: array_bytes(np.array(_Opens(place.marker), object), allow_pickle=True),
)
_array(
    "npy",
    "code",
    "object-field",
    lambda place: npy(
        "(1,)",
        "[('a', '<f4'), ('b', '|O')]",
        bases.pickle_(
            bases.call_(
                bases.name_("builtins", "open"), bases.text_(place.marker), bases.text_("w")
            )
        ),
    ),
)
_array(
    "npy",
    "code",
    "bare-pickle",
    lambda place: bases.pickle_(
        bases.call_(bases.name_("builtins", "open"), bases.text_(place.marker), bases.text_("w"))
    ),
)
_array(
    "npy",
    "code",
    "header-expression",
    lambda place: npy_of(
        (
            f"{{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': open({place.marker!r}, 'w')}}"  # noqa: E501
        ).encode(),
        DATA,
    ),
)
_array(
    "npy",
    "code",
    "header-is-a-call",
    lambda place: npy_of(f"__import__('pathlib').Path({place.marker!r}).touch()".encode(), DATA),
)
_array("npz", "code", "object-array", lambda place: _npz({"fc.npy": _objects(place)}))
_array(
    "npz",
    "code",
    "object-array-second",
    lambda place: _npz({"fc.npy": array_bytes(Y), "other.npy": _objects(place)}),
    ANY,
)
_array(
    "npz",
    "code",
    "bare-pickle-member",
    lambda place: _npz(
        {
            "fc": bases.pickle_(
                bases.call_(
                    bases.name_("builtins", "open"), bases.text_(place.marker), bases.text_("w")
                )
            )
        }
    ),
)

# Memory

for slug, shape in {
    "shape-petabytes": "(1000000, 1000000, 1000)",
    "shape-ten-gib": "(2684354560,)",
    "shape-beyond-int64": "(9223372036854775807, 2)",
    "shape-far-beyond-int64": f"({10**40},)",
    "shape-zero-times-huge": "(0, 9223372036854775807, 9223372036854775807)",
    "shape-three-gib": "(805306368,)",
    "shape-thousands-of-axes": f"({'1, ' * 5000})",
    "shape-sixty-five-axes": f"({'1, ' * 65})",
}.items():
    _array("npy", "memory", slug, npy(shape, data=DATA))
    _array("npz", "memory", slug, _npz({"fc.npy": npy(shape, data=DATA)}, zipfile.ZIP_DEFLATED))
_array("npy", "memory", "descr-huge-string", npy("(1,)", "'<U2000000000'", DATA))
_array("npy", "memory", "descr-huge-void", npy("(3,)", "'|V2000000000'", DATA))
_array("npy", "memory", "descr-huge-subarray", npy("(1,)", "('<f4', (100000, 100000))", DATA))
_array(
    "npy",
    "memory",
    "header-longer-than-file",
    npy_of(b"{'descr': '<f4'}", version=b"\x02\x00", size=2**32 - 1),
)
_array(
    "npy",
    "memory",
    "header-of-ten-megabytes",
    npy_of(
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)" + b" " * 10_000_000 + b"}",
        DATA,
        b"\x02\x00",
    ),
)
_array("npz", "memory", "deflated-zeros-three-gib", lambda place: _bomb(place, 48))
_array(
    "npz",
    "memory",
    "member-says-four-gib",
    lambda place: _lying(array_bytes(Y), 2**32 - 2),
    AGREES_OR_REFUSED,
)
_array("npz", "memory", "member-says-little", lambda place: _lying(array_bytes(Y), 7))
_array(
    "npz",
    "memory",
    "thirty-thousand-members",
    lambda place: _npz(dict.fromkeys((f"a{i}.npy" for i in range(30_000)), array_bytes(Y))),
    listed=AGREES,
)


def _sparse(place: Place) -> None:
    bases.onnx_file(place.work / "m.onnx")
    with (place.work / "v.npy").open("wb") as file:
        file.write(npy("(5368709120,)"))
        file.truncate(20 * 2**30)


add(
    "npy",
    "memory",
    "sparse-file",
    _sparse,
    Run(("m.onnx", "--layer", "fc", "--expect", "v.npy"), REFUSED),
    Run(("m.onnx", "--layer", "fc", "--input", "v.npy"), REFUSED),
)


def _bomb(place: Place, blocks: int) -> bytes:
    bases.bomb(place.work / "bomb", {}, "fc.npy", npy(f"({blocks * 2**24},)"), b"\0", blocks)
    content = (place.work / "bomb").read_bytes()
    (place.work / "bomb").unlink()
    return content


def _lying(content: bytes, size: int) -> bytes:
    """A zip whose member's size is not what the two headers say."""
    whole = bytearray(_npz({"fc.npy": content}))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = whole.index(signature)
        whole[start + at : start + at + 4] = struct.pack("<I", size)
    return bytes(whole)


# Malformed

for slug, count in {
    "empty": 0,
    "magic-alone": 6,
    "in-length": 9,
    "in-header": 40,
    "before-data": 128,
    "in-data": 140,
}.items():
    _array("npy", "malformed", f"cut-{slug}", array_bytes(Y)[:count])
for slug, cut in {"empty": 0.0, "start": 0.1, "middle": 0.5, "directory": 0.9, "end": 0.99}.items():
    whole = _npz({"fc.npy": array_bytes(Y)})
    _array("npz", "malformed", f"cut-{slug}", whole[: int(len(whole) * cut)])
for slug, (shape, descr, order) in {
    "negative-shape": ("(-2, -3)", "'<f4'", "False"),
    "shape-minus-one": ("(-1, 3)", "'<f4'", "False"),
    "shape-of-floats": ("(2.0, 3.0)", "'<f4'", "False"),
    "shape-of-text": ("('2', '3')", "'<f4'", "False"),
    "shape-number": ("6", "'<f4'", "False"),
    "shape-list": ("[2, 3]", "'<f4'", "False"),
    "shape-none": ("None", "'<f4'", "False"),
    "shape-nested": ("((2, 3),)", "'<f4'", "False"),
    "shape-true": ("(True, 6)", "'<f4'", "False"),
    "unknown-dtype": ("(2, 3)", "'<q99'", "False"),
    "empty-dtype": ("(2, 3)", "''", "False"),
    "dtype-number": ("(2, 3)", "4", "False"),
    "dtype-none": ("(2, 3)", "None", "False"),
    "dtype-list-empty": ("(2, 3)", "[]", "False"),
    "dtype-comma": ("(2, 3)", "'f4,f4'", "False"),
    "dtype-nan": ("(2, 3)", "nan", "False"),
    "order-text": ("(2, 3)", "'<f4'", "'yes'"),
    "order-none": ("(2, 3)", "'<f4'", "None"),
    "deep-header": ("(" * 200 + ")" * 200, "'<f4'", "False"),
    "very-deep-header": ("[" * 3000 + "]" * 3000, "'<f4'", "False"),
    "fewer-numbers-than-shape": ("(20, 30)", "'<f4'", "False"),
}.items():
    _array(
        "npy",
        "malformed",
        slug,
        npy(shape, descr, DATA, order),
        NOT_AGREES if slug == "shape-true" else REFUSED,
    )
_array(
    "npy",
    "malformed",
    "more-numbers-than-shape",
    npy("(2, 3)", data=DATA + DATA),
    AGREES_OR_REFUSED,
)
_array("npy", "malformed", "version-9", npy("(2, 3)", data=DATA, version=b"\x09\x00"))
_array(
    "npy",
    "malformed",
    "version-3-latin",
    npy_of(
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'ü': 1}".encode("latin1"),
        DATA,
        b"\x03\x00",
    ),
)
_array("npy", "malformed", "header-not-a-dict", npy_of(b"[1, 2]", DATA))
_array(
    "npy",
    "malformed",
    "header-unclosed",
    npy_of(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", DATA),
)
_array(
    "npy",
    "malformed",
    "header-null-bytes",
    npy_of(b"{'descr': '<f4\x00', 'fortran_order': False, 'shape': (2, 3)}", DATA),
)
_array("npy", "malformed", "header-missing-key", npy_of(b"{'descr': '<f4', 'shape': (2, 3)}", DATA))
_array(
    "npy",
    "malformed",
    "header-extra-key",
    npy_of(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}", DATA),
)
_array(
    "npy",
    "malformed",
    "header-escape-codes",
    npy_of(b"{'descr': '\x1b[31magree\x1b[0m\r', 'fortran_order': False, 'shape': (2, 3)}", DATA),
)
_array(
    "npy",
    "malformed",
    "header-python-2-long",
    npy_of(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}", DATA),
    AGREES_OR_REFUSED,
)
_array("npy", "malformed", "big-endian", array_bytes(Y.astype(">f4")), AGREES_OR_REFUSED)
_array("npy", "malformed", "big-endian-double", array_bytes(Y.astype(">f8")), AGREES_OR_REFUSED)
_array("npy", "malformed", "fortran-order", array_bytes(np.asfortranarray(Y)), AGREES_OR_REFUSED)
for dtype in (
    "<f2",
    "<f8",
    "<f16",
    "<c8",
    "<i8",
    "<u1",
    "|b1",
    "<M8[ns]",
    "<m8[s]",
    "<U5",
    "|S4",
    "|V4",
):
    values = np.zeros((2, 3), dtype)
    _array(
        "npy",
        "malformed",
        f"dtype-{dtype.strip('<|').replace('[', '.').replace(']', '').lower()}",
        array_bytes(values),
        NOT_AGREES,
    )
_array(
    "npy", "malformed", "dtype-record", array_bytes(np.zeros((2, 3), [("a", "<f4")])), NOT_AGREES
)
_array("npy", "malformed", "all-nan", array_bytes(np.full((2, 3), np.nan, np.float32)), NOT_AGREES)
_array(
    "npy",
    "malformed",
    "all-infinite",
    array_bytes(np.full((2, 3), -np.inf, np.float32)),
    NOT_AGREES,
)
_array("npy", "malformed", "no-axes", array_bytes(np.array(1.5, np.float32)), NOT_AGREES)
_array("npy", "malformed", "no-elements", array_bytes(np.zeros((0, 3), np.float32)), NOT_AGREES)
_array("npy", "malformed", "other-rank", array_bytes(Y[None]), NOT_AGREES)
_array(
    "npy", "malformed", "one-axis-of-zero", array_bytes(np.zeros((2, 3, 0), np.float32)), NOT_AGREES
)
_array("npy", "malformed", "is-a-zip", _npz({"fc.npy": array_bytes(Y)}), ANY)
_array("npy", "malformed", "is-text", b"0.5 1 2\n3 4 5\n", NOT_AGREES)
_array("npy", "malformed", "is-html", b"<!DOCTYPE html><html><body>404</body></html>")
_array("npy", "malformed", "is-hdf5", lambda place: place.canary_hdf5.read_bytes())
_array("npy", "malformed", "is-zeros", bytes(1000))
_array(
    "npy",
    "malformed",
    "is-lfs-pointer",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
)

rng = np.random.default_rng(20)
for number in range(6):
    flipped = bytearray(array_bytes(Y))
    for at in rng.integers(0, 128, 3):
        flipped[at] ^= 1 << int(rng.integers(0, 8))
    _array("npy", "malformed", f"flipped-{number}", bytes(flipped), ANY)
for number in range(8):
    flipped = bytearray(_npz({"fc.npy": array_bytes(Y)}, zipfile.ZIP_DEFLATED))
    for at in rng.integers(0, len(flipped), 2):
        flipped[at] ^= 1 << int(rng.integers(0, 8))
    _array("npz", "malformed", f"flipped-{number}", bytes(flipped), ANY)


def _patched(edit: Callable[[bytearray], None], how: int = zipfile.ZIP_STORED) -> bytes:
    whole = bytearray(_npz({"fc.npy": array_bytes(Y)}, how))
    edit(whole)
    return bytes(whole)


def _encrypt(whole: bytearray) -> None:
    whole[whole.index(b"PK\x03\x04") + 6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1


def _method(number: int) -> Callable[[bytearray], None]:
    def edit(whole: bytearray) -> None:
        whole[whole.index(b"PK\x03\x04") + 8] = number
        whole[whole.index(b"PK\x01\x02") + 10] = number

    return edit


def _checksum(whole: bytearray) -> None:
    whole[whole.index(b"PK\x01\x02") + 16] ^= 255


def _data(whole: bytearray) -> None:
    whole[whole.index(b"PK\x01\x02") - 3] ^= 255


def _offset(whole: bytearray) -> None:
    at = whole.index(b"PK\x01\x02") + 42
    whole[at : at + 4] = struct.pack("<I", 2**31)


def _count(whole: bytearray) -> None:
    at = whole.index(b"PK\x05\x06") + 8
    whole[at : at + 4] = struct.pack("<HH", 9, 9)


def _directory(whole: bytearray) -> None:
    at = whole.index(b"PK\x05\x06") + 16
    whole[at : at + 4] = struct.pack("<I", 2**32 - 1)


def _duplicated() -> bytes:
    """Two members of one name, which zipfile would warn of."""
    return _npz({"fc.npy": array_bytes(Y), "fd.npy": array_bytes(-Y)}).replace(b"fd.npy", b"fc.npy")


_array("npz", "malformed", "encrypted", _patched(_encrypt))
_array("npz", "malformed", "method-99", _patched(_method(99)))
_array("npz", "malformed", "method-lzma-not", _patched(_method(14)))
_array("npz", "malformed", "method-deflate-not", _patched(_method(8)))
_array("npz", "malformed", "checksum", _patched(_checksum))
_array("npz", "malformed", "data-changed", _patched(_data))
_array("npz", "malformed", "offset-beyond", _patched(_offset))
_array("npz", "malformed", "count-wrong", _patched(_count), AGREES_OR_REFUSED)
_array("npz", "malformed", "directory-beyond", _patched(_directory))
_array("npz", "malformed", "same-name-twice", lambda place: _duplicated())
_array(
    "npz",
    "malformed",
    "lzma",
    _npz({"fc.npy": array_bytes(Y)}, zipfile.ZIP_LZMA),
    AGREES_OR_REFUSED,
)
_array("npz", "malformed", "no-members", _npz({}))
_array("npz", "malformed", "member-without-npy", _npz({"fc": array_bytes(Y)}), ANY)
_array("npz", "malformed", "member-is-text", _npz({"fc.npy": b"hello"}))
_array("npz", "malformed", "member-is-empty", _npz({"fc.npy": b""}))
_array("npz", "malformed", "member-is-folder", _npz({"fc.npy/": b""}))
_array("npz", "malformed", "member-cut", _npz({"fc.npy": array_bytes(Y)[:-5]}))
_array(
    "npz", "malformed", "member-climbs", _npz({"../MARKER.npy": array_bytes(Y)}), AGREES_OR_REFUSED
)
_array(
    "npz",
    "malformed",
    "member-absolute",
    lambda place: _npz({f"{place.marker}.npy": array_bytes(Y)}),
    AGREES_OR_REFUSED,
)
_array(
    "npz",
    "malformed",
    "member-escape-codes",
    _npz({"\x1b]0;title\x07\x1b[31magree\x1b[0m\r\n.npy": array_bytes(Y)}),
    AGREES_OR_REFUSED,
)
_array(
    "npz",
    "malformed",
    "member-turns-text",
    _npz({"\u202egnp.cf.npy": array_bytes(Y)}),
    AGREES_OR_REFUSED,
)
_array(
    "npz",
    "malformed",
    "member-long-name",
    _npz({"a" * 60_000 + ".npy": array_bytes(Y)}),
    AGREES_OR_REFUSED,
)
_array("npz", "malformed", "nameless-member", _npz({".npy": array_bytes(Y)}), AGREES_OR_REFUSED)
_array(
    "npz",
    "malformed",
    "names-of-nobody",
    _npz({"nobody.npy": array_bytes(Y), "none.npy": array_bytes(Y)}),
    NOT_AGREES,
)
_array(
    "npz",
    "malformed",
    "comment",
    _npz({"fc.npy": array_bytes(Y)})[:-2] + struct.pack("<H", 5) + b"\x1b[31m",
    AGREES_OR_REFUSED,
)
_array(
    "npz",
    "malformed",
    "behind-a-program",
    b"#!/bin/sh\ntouch MARKER\n" + _npz({"fc.npy": array_bytes(Y)}),
    ANY,
)
_array("npz", "malformed", "is-npy", array_bytes(Y), ANY)

for slug, content, allowed in (
    ("empty", b"", REFUSED),
    ("blank-lines", b"\n\n   \n", REFUSED),
    ("comments-alone", b"# nothing\n# here\n", REFUSED),
    ("words", b"agree agree agree\n", REFUSED),
    ("ragged", b"1 2 3\n4 5\n", NOT_AGREES),
    ("hexadecimal", b"0x10 0x11 0x12\n", REFUSED),
    ("nan", b"nan nan nan\nnan nan nan\n", NOT_AGREES),
    ("huge-numbers", b"1e999 -1e999 1e400\n0 0 0\n", NOT_AGREES),
    ("long-number", b"1" * 1_000_000 + b"\n", NOT_AGREES),
    ("long-line-of-words", b"a" * 1_000_000, REFUSED),
    ("invalid-utf-8", b"\xff\xfe\x00\x01 1 2 3\n", REFUSED),
    ("utf-16", "1 2 3\n4 5 6\n".encode("utf-16"), NOT_AGREES),
    (
        "byte-order-mark",
        b"\xef\xbb\xbf" + " ".join(map(repr, map(float, Y.ravel()))).encode(),
        AGREES_OR_REFUSED,
    ),
    ("null-bytes", b"1\x002\x003\n", REFUSED),
    ("escape-codes", b"\x1b[31magree\x1b[0m 1 2\n", REFUSED),
    ("semicolons", b"1;2;3\n4;5;6\n", NOT_AGREES),
    ("decimal-commas", b"0,5 1,5 2,5\n3,5 4,5 5,5\n", NOT_AGREES),
    ("header-line", b"a,b,c\n1,2,3\n4,5,6\n", NOT_AGREES),
    ("quoted", b'"1","2","3"\n"4","5","6"\n', NOT_AGREES),
    ("python-expression", b"__import__('os').system('touch ../MARKER')\n", REFUSED),
    ("complex", b"1+2j 3 4\n5 6 7\n", NOT_AGREES),
    ("underscores", b"1_0 2_0 3_0\n4 5 6\n", NOT_AGREES),
    ("carriage-returns", b"1 2 3\r4 5 6\r", NOT_AGREES),
    ("too-many-numbers", b"1 2 3\n" * 100_000, NOT_AGREES),
    ("is-pickle", b"\x80\x04K\x01.", REFUSED),
):
    for ending in ("txt", "csv"):
        kind = "code" if slug == "python-expression" else "malformed"
        _array("text", kind, f"{slug}.{ending}", content, allowed, f"v.{ending}")
