"""Paths that are no files, and what a user may type."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hostile import bases
from hostile.bases import X, Y
from hostile.case import ANY, NOT_AGREES, REFUSED, Place, Run, add


def _all(place: Place) -> None:
    """A model of every kind, an input and an output."""
    bases.onnx_file(place.work / "m.onnx")
    bases.keras2(place.work / "m.h5")
    (place.work / "net.py").write_text(bases.NET)
    bases.torch_zip(place.work / "m.pt")
    np.save(place.work / "x.npy", X)
    np.save(place.work / "y.npy", Y)


# Paths


def _made(make: Callable[[Place], object]) -> Callable[[Place], None]:
    def build(place: Place) -> None:
        _all(place)
        make(place)

    return build


def _socket(place: Place) -> None:
    """A path of a socket may be 107 bytes long, and a test's folder is longer."""
    held = socket.socket(socket.AF_UNIX)
    os.chdir(place.work)
    held.bind("p")


PATHS: dict[str, tuple[Callable[[Place], object], str]] = {
    "fifo": (lambda place: os.mkfifo(place.work / "p"), "p"),
    "fifo-named-h5": (lambda place: os.mkfifo(place.work / "p.h5"), "p.h5"),
    "fifo-named-npz": (lambda place: os.mkfifo(place.work / "p.npz"), "p.npz"),
    "fifo-named-pt": (lambda place: os.mkfifo(place.work / "p.pt"), "p.pt"),
    "fifo-behind-a-link": (
        lambda place: (os.mkfifo(place.work / "q"), (place.work / "p").symlink_to("q")),
        "p",
    ),
    "socket": (_socket, "p"),
    "folder": (lambda place: (place.work / "p").mkdir(), "p"),
    "folder-named-keras": (lambda place: (place.work / "p.keras").mkdir(), "p.keras"),
    "folder-named-h5": (lambda place: (place.work / "p.h5").mkdir(), "p.h5"),
    "folder-of-saved-model": (
        lambda place: (
            (place.work / "p").mkdir(),
            (place.work / "p" / "saved_model.pb").write_bytes(b"x"),
        ),
        "p",
    ),
    "dangling-link": (lambda place: (place.work / "p").symlink_to("nobody"), "p"),
    "link-to-itself": (lambda place: (place.work / "p").symlink_to("p"), "p"),
    "empty": (lambda place: (place.work / "p").write_bytes(b""), "p"),
    "unreadable": (
        lambda place: ((place.work / "p").write_bytes(b"x"), (place.work / "p").chmod(0)),
        "p",
    ),
    "nobody": (lambda place: None, "nobody"),
    "nobody-h5": (lambda place: None, "nobody.h5"),
    "nobody-with-escape-codes": (lambda place: None, "\x1b]0;title\x07\x1b[31mnobody\x1b[0m.h5"),
    "nobody-with-newline": (lambda place: None, "no\nbody.h5"),
    "not-text": (
        lambda place: (place.work / os.fsdecode(b"\xff\xfe.h5")).write_bytes(b"x"),
        os.fsdecode(b"\xff\xfe.h5"),
    ),
    "not-text-nobody": (lambda place: None, os.fsdecode(b"\xff\xfe.pt")),
    "too-long": (lambda place: None, "a" * 5000),
    "too-long-component": (lambda place: None, "d/" * 2000 + "m.h5"),
    "empty-text": (lambda place: None, ""),
    "space": (lambda place: None, " "),
    "below-a-file": (lambda place: None, "m.onnx/m.h5"),
    "dev-null": (lambda place: None, "/dev/null"),
    "dev-zero": (lambda place: None, "/dev/zero"),
    "dev-random": (lambda place: None, "/dev/urandom"),
    "dev-tty": (lambda place: None, "/dev/tty"),
    "dev-stdin": (lambda place: None, "/dev/stdin"),
    "dev-fd-0": (lambda place: None, "/dev/fd/0"),
    "dash": (lambda place: None, "-"),
    "proc-mem": (lambda place: None, "/proc/self/mem"),
    "proc-kmsg": (lambda place: None, "/proc/kmsg"),
    "proc-environ": (lambda place: None, "/proc/self/environ"),
    "file-url": (lambda place: None, "file:///etc/hostname"),
    "http-url": (lambda place: None, "http://127.0.0.1:9/m.h5"),
    "s3-url": (lambda place: None, "s3://bucket/m.h5"),
    "gs-url": (lambda place: None, "gs://bucket/m.h5"),
    "hf-name": (lambda place: None, "hf://user/name"),
    "home": (lambda place: None, "~/nobody.h5"),
    "glob": (lambda place: None, "*.nobody"),
    "current-folder": (lambda place: None, "."),
    "above": (lambda place: None, ".."),
    "root": (lambda place: None, "/"),
}
for slug, (make, path) in PATHS.items():
    kind = "hang" if slug.startswith(("fifo", "dev", "proc")) else "malformed"
    add(
        "path",
        kind,
        slug,
        _made(make),
        Run((path,), REFUSED),
        Run((path, "--all", *bases.FACTORY), REFUSED),
        Run(("m.onnx", "--layer", "fc", "--input", path), REFUSED),
        Run(("m.onnx", "--layer", "fc", "--input", "x.npy", "--expect", path), REFUSED),
        Run(("m.onnx", "--layer", "fc", "--expect-input", path, "--expect", "y.npy"), REFUSED),
        Run(("m.pt", "--all", "--shape", "2,4", "--factory", f"{path}:Net"), REFUSED),
    )
for slug, content in {
    "html": b"<html>404</html>",
    "gzip": b"\x1f\x8b\x08" + bytes(50),
    "png": b"\x89PNG\r\n\x1a\n" + bytes(50),
    "pdf": b"%PDF-1.7\n",
    "elf": b"\x7fELF" + bytes(500),
    "zip-start": b"PK\x03\x04",
    "zip-empty": b"PK\x05\x06" + bytes(18),
    "hdf5-start": b"\x89HDF\r\n\x1a\n",
    "hdf5-zeros": b"\x89HDF\r\n\x1a\n" + bytes(5000),
    "pickle-stop": b"\x80\x02.",
    "numpy-start": b"\x93NUMPY",
    "xz": b"\xfd7zXZ\x00" + bytes(50),
    "tar": bytes(257) + b"ustar\x0000" + bytes(255),
    "sqlite": b"SQLite format 3\x00" + bytes(84),
    "json": b'{"class_name": "Sequential"}',
    "gguf": b"GGUF\x03\x00\x00\x00" + b"\xff" * 16,
    "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(64),
    "one-byte": b"\x80",
    "newline": b"\n",
    "escape-codes": b"\x1b]0;title\x07\x1b[31magree\x1b[0m\n",
    "rar": b"Rar!\x1a\x07\x01\x00",
    "sevenzip": b"7z\xbc\xaf\x27\x1c",
    "zip64": b"PK\x06\x06" + b"\xff" * 60,
    "lfs": b"version https://git-lfs.github.com/spec/v1\n",
    "utf16": "agree".encode("utf-16"),
    "million-letters": b"a" * 1_000_000,
}.items():
    for ending in ("h5", "pt", "onnx"):

        def _written(place: Place, content=content, ending=ending) -> None:
            (place.work / "net.py").write_text(bases.NET)
            (place.work / f"m.{ending}").write_bytes(content)

        add(
            "path",
            "malformed",
            f"content-{slug}.{ending}",
            _written,
            Run((f"m.{ending}",), REFUSED),
            Run((f"m.{ending}", "--all"), REFUSED),
            Run((f"m.{ending}", "--all", *bases.FACTORY), REFUSED),
        )

# What is typed

CHECK = ("m.onnx", "--layer", "fc", "--input", "x.npy", "--expect", "y.npy")


def _typed(
    slug: str,
    *runs: tuple[tuple[str, ...], frozenset[int]],
    kind: str = "arguments",
    make: Callable[[Place], object] = lambda place: None,
) -> None:
    add(
        "command",
        kind,
        slug,
        _made(make),
        *(Run(arguments, allowed) for arguments, allowed in runs),
    )


for slug, seed in {
    "negative": "-1",
    "huge": "9" * 40,
    "float": "1.5",
    "text": "agree",
    "empty": "",
    "minus-zero": "-0",
    "nan": "nan",
    "big": str(2**64),
    "hexadecimal": "0x10",
}.items():
    good = ANY if slug in ("huge", "big", "minus-zero") else REFUSED
    _typed(
        f"seed-{slug}",
        (("m.onnx", "--layer", "fc", "--seed", seed), good),
        (("m.onnx", "--all", "--seed", seed), good),
        (("m.h5", "--all", "--seed", seed), good),
        (("m.pt", "--all", *bases.FACTORY, "--seed", seed), good),
    )
for slug, shape in {
    "huge": "1099511627776,4",
    "petabytes": "1000000,1000000,1000",
    "four-gib": "268435456,4",
    "negative": "-2,4",
    "negative-both": "-2,-4",
    "zero": "0,4",
    "empty": "",
    "comma": ",",
    "commas": ",,,",
    "float": "2.0,4",
    "text": "two,four",
    "nan": "nan,4",
    "beyond-int64": f"{10**30},4",
    "hundred-axes": ",".join("1" * 100),
    "spaces": " 2 , 4 ",
    "parentheses": "(2,4)",
    "trailing": "2,4,",
    "exponent": "1e9,4",
    "other": "2,5",
    "rank": "2,4,4,4",
    "none": "None,4",
    "star": "*,4",
    "x": "2x4",
    "thousand-axes": ",".join("1" * 1000),
}.items():
    good = (
        ANY
        if slug
        in ("spaces", "parentheses", "trailing", "hundred-axes", "thousand-axes", "zero", "rank")
        else REFUSED
    )
    kind = "memory" if slug in ("huge", "petabytes", "four-gib", "beyond-int64") else "arguments"
    _typed(
        f"shape-{slug}",
        (("m.onnx", "--layer", "fc", "--shape", shape), good),
        (("m.h5", "--all", "--shape", shape), good),
        (("m.pt", "--all", "--factory", "net.py:Net", "--shape", shape), good),
        kind=kind,
    )
_typed(
    "shape-four-gib-that-fits",
    (("m.pt", "--all", "--factory", "net.py:Net", "--shape", "268435456,4"), REFUSED),
    (("m.h5", "--all", "--shape", "268435456,4"), REFUSED),
    kind="memory",
)
for name in ("rtol", "atol"):
    other = "atol" if name == "rtol" else "rtol"
    for slug, value in {
        "nan": "nan",
        "negative": "-1",
        "infinite": "inf",
        "minus-infinite": "-inf",
        "text": "agree",
        "empty": "",
        "minus-tiny": "-1e-300",
    }.items():
        _typed(
            f"{name}-{slug}",
            (
                (*CHECK, f"--{name}", value, f"--{other}", "0"),
                REFUSED if slug != "infinite" else NOT_AGREES,
            ),
            (
                ("m.onnx", "--all", f"--{name}", value, f"--{other}", "0"),
                REFUSED if slug != "infinite" else NOT_AGREES,
            ),
        )
    _typed(f"{name}-alone", ((*CHECK, f"--{name}", "1"), REFUSED))
    _typed(f"{name}-huge", ((*CHECK, f"--{name}", "1e300", f"--{other}", "1e300"), ANY))
for slug, at in {
    "fractions": "0.5,0",
    "negative-beyond": "-99,0",
    "beyond": "2,0",
    "empty": "",
    "text": "a,b",
    "too-few": "0",
    "too-many": "0,0,0,0",
    "huge": f"{10**30},0",
    "nan": "nan,0",
    "slice": "0:1,0",
    "ellipsis": "...",
    "none": "None,0",
    "exponent": "1e0,0",
    "true": "True,0",
    "newaxis": "0,0,None",
    "comma": ",",
    "minus": "-,0",
    "thousand": ",".join("0" * 1000),
    "unicode-digits": "\u0660,\u0660",
    "underscore": "0_0,0",
}.items():
    _typed(
        f"at-{slug}",
        (
            ("m.onnx", "--layer", "fc", "--at", at),
            ANY if slug in ("unicode-digits", "underscore") else REFUSED,
        ),
        (
            ("m.onnx", "--layer", "fc", "--at", at, "--sees"),
            ANY if slug in ("unicode-digits", "underscore") else REFUSED,
        ),
    )
for slug, at in {
    "text": "agree",
    "empty": "",
    "beyond": "9:12,0:3",
    "step-zero": "::0,:",
    "huge": f"0:{10**30},0:3",
    "backwards": "3:0,0:3",
    "float": "0.5:1,0:3",
    "too-many": "0:1,0:1,0:1,0:1",
    "expression": "__import__('os').system('touch ../MARKER'),0",
    "colons": ":::::,0",
}.items():
    _typed(
        f"expect-at-{slug}", ((*CHECK, "--expect-at", at), NOT_AGREES if slug != "huge" else ANY)
    )
for slug, call in {
    "negative": "-1",
    "beyond": "99",
    "huge": "9" * 30,
    "text": "agree",
    "float": "0.5",
}.items():
    _typed(f"call-{slug}", (("m.onnx", "--layer", "fc", "--call", call), REFUSED))
for slug, value in {
    "nan": "nan",
    "text": "agree",
    "infinite": "inf",
    "empty": "",
    "expression": "1+1",
}.items():
    _typed(
        f"expect-value-{slug}",
        (("m.onnx", "--layer", "fc", "--at", "0,0", "--expect-value", value), NOT_AGREES),
    )
for slug, layer in {
    "unknown": "nobody",
    "empty": "",
    "escape-codes": "\x1b[31magree\x07",
    "newline": "f\nc",
    "long": "a" * 100_000,
    "null-like": "\\x00",
    "not-text": os.fsdecode(b"\xff"),
    "glob": "*",
    "option": "--all",
    "markup": "[red]x[/red]",
}.items():
    whole = slug == "empty"  # the model itself
    _typed(
        f"layer-{slug}",
        (("m.onnx", "--layer", layer), ANY if whole else REFUSED),
        (("m.h5", "--layer", layer), ANY if whole else REFUSED),
        (("m.pt", *bases.FACTORY, "--layer", layer), ANY if whole else NOT_AGREES),
    )
for slug, factory in {
    "nothing": "",
    "colon": ":",
    "module-unknown": "nobody:Net",
    "name-unknown": "net.py:Nobody",
    "not-callable": "net.py:__name__",
    "file-unknown": "nobody.py:Net",
    "folder": ".:Net",
    "arguments-wrong": "net.py:Net(1, 2, 3)",
    "arguments-expression": "net.py:Net(open('../MARKER', 'w'))",
    "arguments-nested": "net.py:Net(" + "(" * 500 + ")" * 500 + ")",
    "unclosed": "net.py:Net(",
    "syntax": "broken.py:Net",
    "raises": "raises.py:Net",
    "exits": "exits.py:Net",
    "returns-text": "net.py:str",
    "not-text": os.fsdecode(b"\xff.py:Net"),
    "binary": "m.pt:Net",
    "of-the-standard-library": "os:getcwd()",
    "attribute-chain": "net.py:torch.nn.Identity",
    "escape-codes": "net.py:\x1b[31mNet",
}.items():

    def _factories(place: Place) -> None:
        (place.work / "broken.py").write_text("class Net(:\n")
        (place.work / "raises.py").write_text("raise RuntimeError('\\x1b[31magree')\n")
        (place.work / "exits.py").write_text("import sys\nsys.exit(0)\n")

    _typed(
        f"factory-{slug}",
        (("m.pt", "--all", "--shape", "2,4", "--factory", factory), REFUSED),
        make=_factories,
    )
for slug, module in {
    "unknown": "nobody",
    "empty": "",
    "relative": ".x",
    "path": "../x.py",
    "raises": "raises",
    "exits": "exits",
    "escape-codes": "\x1b[31mx",
    "syntax": "broken",
}.items():
    _typed(
        f"import-{slug}",
        (("m.onnx", "--import", module), REFUSED),
        (("m.onnx", "--all", "--import", module), REFUSED),
        make=lambda place: (
            (place.work / "raises.py").write_text("raise RuntimeError('x')\n"),
            (place.work / "exits.py").write_text("import sys\nsys.exit(0)\n"),
            (place.work / "broken.py").write_text("class (:\n"),
        ),
    )
for slug, arguments in {
    "no-arguments-but-option": ("--all",),
    "unknown-option": ("m.onnx", "--agree"),
    "two-models": ("m.onnx", "m.h5"),
    "layer-and-all": ("m.onnx", "--layer", "fc", "--all", "--call", "0"),
    "option-without-value": ("m.onnx", "--layer"),
    "causes-unknown": ("causes", "agree\x1b[31m"),
    "sees-without-at": ("m.onnx", "--layer", "fc", "--sees"),
    "expect-without-layer": ("m.onnx", "--expect", "y.npy"),
    "expect-npy-with-all": ("m.onnx", "--all", "--expect", "y.npy"),
    "expect-value-without-at": ("m.onnx", "--layer", "fc", "--expect-value", "1"),
    "at-without-layer": ("m.onnx", "--at", "0,0"),
    "expect-at-without-expect": ("m.onnx", "--layer", "fc", "--expect-at", "0"),
    "save-with-listing": ("m.onnx", "--save", "o.npz"),
    "save-with-all": ("m.onnx", "--all", "--save", "o.npz"),
    "json-folder": ("m.onnx", "--layer", "fc", "--json", "."),
    "save-folder-missing": ("m.onnx", "--layer", "fc", "--save", "nobody/o.npz"),
    "json-folder-missing": ("m.onnx", "--layer", "fc", "--json", "nobody/o.json"),
    "json-empty": ("m.onnx", "--layer", "fc", "--json", ""),
    "save-empty": ("m.onnx", "--layer", "fc", "--save", ""),
    "factory-for-onnx": ("m.onnx", "--all", "--factory", "net.py:Net"),
    "fold-nothing": ("m.onnx", "--layer", "fc", "--fold"),
    "call-with-all": ("m.onnx", "--all", "--call", "0"),
}.items():
    _typed(
        slug,
        (
            arguments,
            ANY - {1} if slug in ("layer-and-all", "call-with-all") else REFUSED,
        ),
    )

# What is written over


def _device(place: Place) -> Path:
    """A device of its own, because root could write over one of the machine's."""
    path = place.work / "device"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        return _only_linked(path)
    return path


def _only_linked(path: Path) -> Path:
    assert not os.access("/dev", os.W_OK), (
        "neither can a device be made here, nor is it safe to link to one"
    )
    path.symlink_to("/dev/null")
    return path


FULL = ("m.onnx", "--layer", "fc", "--input", "x.npy")
OVER: dict[str, tuple[str, Callable[[Place], object]]] = {
    "the-model": ("m.onnx", lambda place: None),
    "the-input": ("x.npy", lambda place: None),
    "the-model-otherwise": ("./d/../m.onnx", lambda place: (place.work / "d").mkdir()),
    "link-to-the-model": ("o.npz", lambda place: (place.work / "o.npz").symlink_to("m.onnx")),
    "hard-link-to-the-model": (
        "o.npz",
        lambda place: (place.work / "o.npz").hardlink_to(place.work / "m.onnx"),
    ),
    "link-to-the-input": ("o.npz", lambda place: (place.work / "o.npz").symlink_to("x.npy")),
    "link-to-a-device": ("o.npz", lambda place: (place.work / "o.npz").symlink_to(_device(place))),
    "device": ("o.npz", lambda place: _device(place).rename(place.work / "o.npz")),
    "fifo": ("o.npz", lambda place: os.mkfifo(place.work / "o.npz")),
    "folder": ("o.npz", lambda place: (place.work / "o.npz").mkdir()),
    "link-to-itself": ("o.npz", lambda place: (place.work / "o.npz").symlink_to("o.npz")),
    "folder-read-only": ("d/nobody/o.npz", lambda place: (place.work / "d").mkdir(mode=0o500)),
    "proc": ("/proc/self/o.npz", lambda place: None),
    "not-text": (os.fsdecode(b"\xff/o.npz"), lambda place: None),
    "too-long": ("a" * 300 + ".npz", lambda place: None),
    "escape-codes": ("nobody/\x1b[31m.npz", lambda place: None),
    "newline": ("nobody/\n.npz", lambda place: None),
}
for slug, (target, make) in OVER.items():
    kind = "hang" if slug == "fifo" else "arguments"
    _typed(f"save-over-{slug}", ((*FULL, "--save", target), REFUSED), make=make, kind=kind)
    _typed(f"json-over-{slug}", ((*FULL, "--json", target), REFUSED), make=make, kind=kind)
_typed("json-over-the-model-sweep", (("m.onnx", "--all", "--json", "m.onnx"), REFUSED))
_typed("json-over-the-expected", ((*CHECK, "--json", "y.npy"), REFUSED))
_typed("json-over-the-factory", (("m.pt", "--all", *bases.FACTORY, "--json", "net.py"), REFUSED))
_typed(
    "save-over-the-weights-beside",
    (("m2.onnx", "--layer", "fc", "--input", "x.npy", "--save", "w.npz"), REFUSED),
    make=lambda place: _external(place),
)


def _external(place: Place) -> None:
    """A model whose kernel lies in a file that --save names."""
    model = bases.onnx_model()
    tensor = model.graph.initializer[0]
    (place.work / "w.npz").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="w.npz")
    (place.work / "m2.onnx").write_bytes(model.SerializeToString())


def _writes(
    slug: str, arguments: tuple[str, ...], writes: tuple[str, ...], make: Callable[[Place], object]
) -> None:
    add(
        "command",
        "arguments",
        slug,
        _made(make),
        Run((*FULL, *arguments), frozenset({0}), writes=writes),
    )


_writes(
    "save-beside-a-part-file",
    ("--save", "o.npz"),
    ("o.npz",),
    lambda place: [
        (place.work / name).write_bytes(b"mine")
        for name in ("o.npz.part", "o.part", ".o.npz.part", "o.npz.tmp", "o.npz~")
    ],
)
_writes(
    "json-beside-a-part-file",
    ("--json", "o.json"),
    ("o.json",),
    lambda place: [
        (place.work / name).write_bytes(b"mine")
        for name in ("o.json.part", "o.part", ".o.json.part", "o.json.tmp", "o.json~")
    ],
)
_writes(
    "save-follows-a-link",
    ("--save", "o.npz"),
    ("held.npz",),
    lambda place: (
        (place.work / "held.npz").write_bytes(b"old"),
        (place.work / "o.npz").symlink_to("held.npz"),
    ),
)
_writes(
    "json-follows-a-link",
    ("--json", "o.json"),
    ("held.json",),
    lambda place: (
        (place.work / "held.json").write_bytes(b"old"),
        (place.work / "o.json").symlink_to("held.json"),
    ),
)
_writes(
    "save-over-an-old-one",
    ("--save", "o.npz"),
    ("o.npz",),
    lambda place: (place.work / "o.npz").write_bytes(b"old"),
)
_writes(
    "save-beside-a-linked-part",
    ("--save", "o.npz"),
    ("o.npz",),
    lambda place: (place.work / "o.npz.part").symlink_to("m.onnx"),
)

_typed("save-ending-unknown", ((*FULL, "--save", "o.agree"), REFUSED))

# Standard output

SHELLS = {
    "stdout-closed": 'exec "$0" "$@" >&-',
    "stdout-full": 'exec "$0" "$@" >/dev/full',
    "stderr-closed": 'exec "$0" "$@" >"$OUT" 2>&-',
    "stderr-full": 'exec "$0" "$@" >"$OUT" 2>/dev/full',
    "stdin-closed": 'exec "$0" "$@" >"$OUT" <&-',
    "all-closed": 'exec "$0" "$@" <&- >&- 2>&-',
    "stdout-a-pipe-that-ends": '"$0" "$@" | true; exit 0',
    "few-files": 'ulimit -n 16; exec "$0" "$@" >"$OUT"',
    "no-core-and-small-stack": 'ulimit -s 512; exec "$0" "$@" >"$OUT"',
    "folder-is-gone": 'cd ../tmp && mkdir d && cd d && rmdir ../d; exec "$0" "$@" >"$OUT"',
}
COMMANDS = {
    "listing": ("m.onnx",),
    "layer": FULL,
    "all": ("m.onnx", "--all"),
    "json": (*FULL, "--json", "-"),
    "help": ("--help",),
    "version": ("--version",),
    "causes": ("causes",),
    "refused": ("nobody.h5",),
}
for shell, line in SHELLS.items():
    for slug, arguments in COMMANDS.items():
        # What is printed cannot be, or the files cannot be found from nowhere.
        lost = shell == "folder-is-gone" and slug not in ("help", "version", "causes")
        allowed = REFUSED if slug == "refused" or lost or shell == "stdout-full" else ANY
        if shell == "stdout-a-pipe-that-ends":
            allowed = frozenset({0})
        # The pipe's own status is 0, whatever is said.
        if shell == "stdout-a-pipe-that-ends" and slug == "refused":
            continue
        if shell.startswith("stdout") or slug in ("layer", "refused"):
            add(
                "command", "arguments", f"{shell}-{slug}", _all, Run(arguments, allowed, shell=line)
            )
for slug, value in {
    "ascii": {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONIOENCODING": "ascii",
        "PYTHONCOERCECLOCALE": "0",
    },
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "no-columns": {"COLUMNS": "0"},
    "columns-negative": {"COLUMNS": "-5"},
    "columns-text": {"COLUMNS": "agree"},
    "columns-huge": {"COLUMNS": "99999999999"},
    "warnings-are-errors": {"PYTHONWARNINGS": "error"},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "no-home": {"HOME": ""},
    "home-nobody": {"HOME": "/nobody"},
    "temporary-folder-nobody": {"TMPDIR": "/nobody"},
    "forced-colours": {"FORCE_COLOR": "1", "TERM": "xterm-256color"},
    "threads-text": {"OMP_NUM_THREADS": "agree"},
    "development-mode": {"PYTHONDEVMODE": "1"},
}.items():
    environment = tuple(value.items())
    runs = (
        Run(("m.onnx",), frozenset({0}), environment=environment),
        Run(FULL, frozenset({0}), environment=environment),
        Run(("m.onnx", "--layer", "schicht-π"), REFUSED, environment=environment),
    )
    add("command", "arguments", f"environment-{slug}", _all, *runs)
