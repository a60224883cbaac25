"""Hostile recordings, arrays, options and reports, written by somebody who had read the documentation alone.

python corpora/hostile_files/outside_recordings_and_reports.py [PREFIX ...] [--verbose] [--table FILE]

The cases run as those of outside_model_files.py, whose runner this uses: every run is judged for
tracebacks, internal errors, files left behind, control characters, memory and time.
"""

import functools
import hashlib
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import xml.etree.ElementTree
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import outside_model_files as files  # noqa: E402
from outside_model_files import NAMES, NET, case, eye, k3, last, main, node, onnx_model, save_onnx, secret_file, table, tensor  # noqa: E402, F401

files.CASES.clear()
RNG = np.random.default_rng(5)
WEIGHT = RNG.normal(size=(4, 3)).astype(np.float32)
X = RNG.normal(size=(2, 4)).astype(np.float32)
RIGHT = X @ WEIGHT
GIVEN = ("m.onnx", "--input", "x.npy")
ONE = (*GIVEN, "--layer", "mul", "--expect", "mine.npy")


def model(tool, name="mul", then="soft", out="m.onnx"):
    """x @ WEIGHT, then a softmax; its input is X."""
    save_onnx(tool, onnx_model([node("MatMul", ["x", "w"], ["a"], name=name), node("Softmax", ["a"], ["y"], name=then)], [tensor("w", WEIGHT)]), out)
    np.save(tool.dir / "x.npy", X)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


# --- what may not be called an agreement ----------------------------------------------------------


def expect(tool, make, word):
    """Values of one's own: they agree, or they do not."""
    model(tool)
    made = make(RIGHT.copy()) if callable(make) else make
    np.save(tool.dir / "mine.npy", made, allow_pickle=True)
    judge_word(tool, tool.probe(*ONE), word)


def judge_word(tool, run, word):
    """Without --strict a layer that is unchecked leaves the status of --all at 0: then its count is asked for."""
    if "--all" in run.argv and word in ("not", "refused") and re.search(r"[1-9]\d* unchecked", run.out):
        return
    {"agree": tool.agrees, "diverge": tool.diverges, "not": tool.disagrees, "refused": tool.refused, "safe": lambda run: None}[word](run)
    if word == "not" and run.status == 2 and not run.out.strip():
        tool.refused(run)


def changed(at, value):
    def make(right):
        right[at] = value
        return right

    return make


table(
    "light",
    "expect",
    expect,
    {
        "right": (lambda r: r, "agree"),
        "big_endian": (lambda r: r.astype(">f4"), "agree"),
        "fortran": (np.asfortranarray, "agree"),
        "float64": (lambda r: r.astype(np.float64), "agree"),
        "longdouble": (lambda r: r.astype(np.longdouble), "safe"),
        "longdouble_beyond": (lambda r: changed((0, 0), np.longdouble("1e400"))(r.astype(np.longdouble)), "not"),
        "float16": (lambda r: r.astype(np.float16), "safe"),
        "one_off": (changed((1, 2), 5), "diverge"),
        "one_off_little": (lambda r: changed((1, 2), r[1, 2] * 1.0001)(r), "diverge"),
        "one_nan": (changed((1, 2), np.nan), "diverge"),
        "all_nan": (lambda r: r * np.nan, "diverge"),
        "one_inf": (changed((0, 0), np.inf), "diverge"),
        "one_huge": (changed((0, 0), 3e38), "diverge"),
        "negated": (lambda r: -r, "diverge"),
        "zeros": (lambda r: r * 0, "diverge"),
        "reversed": (lambda r: r[::-1], "diverge"),
        "shifted": (lambda r: np.roll(r, 1), "diverge"),
        "transposed": (lambda r: r.T, "diverge"),
        "flat": (lambda r: r.ravel(), "diverge"),
        "axis_more": (lambda r: r[None], "diverge"),
        "row": (lambda r: r[:1], "not"),
        "row_twice": (lambda r: r[[0, 0]], "diverge"),
        "column_broadcast": (lambda r: r[:, :1], "not"),
        "scalar": (lambda r: r[0, 0], "not"),
        "empty": (lambda r: r[:0], "not"),
        "empty_axis": (lambda r: r[:, :0], "not"),
        "more_rows": (lambda r: np.vstack([r, r]), "not"),
        "complex": (lambda r: r.astype(np.complex64), "safe"),
        "complex_imaginary": (lambda r: r + np.complex64(5j), "not"),
        "bool": (lambda r: r > 0, "not"),
        "integers": (lambda r: np.round(r).astype(int), "not"),
        "bytes_of": (lambda r: r.view(np.uint32), "not"),
        "uint64_huge": (lambda r: np.full(r.shape, 2**64 - 1, np.uint64), "not"),
        "strings": (lambda r: r.astype(str), "not"),
        "datetime": (lambda r: r.astype("i8").view("M8[s]"), "refused"),
        "void": (lambda r: np.zeros(r.shape, "V8"), "refused"),
        "structured": (lambda r: np.zeros(r.shape, [("a", "f4"), ("b", "f4")]), "refused"),
        "object": (lambda r: r.astype(object), "refused"),
        "object_none": (lambda r: np.array([None, 1], object), "refused"),
        "rank": (lambda r: r.reshape(2, 3, *[1] * 20), "not"),
        "rank_limit": (lambda r: r.reshape(2, 3, *[1] * 62), "not"),
        "denormal": (lambda r: r * 0 + 1e-44, "diverge"),
    },
)


def text(tool, content, word, *arguments, name="mine.txt"):
    """Numbers as text: read as what they are, or refused."""
    model(tool)
    tool.write(name, content(RIGHT) if callable(content) else content)
    judge_word(tool, tool.probe(*GIVEN, "--layer", "mul", "--expect", name, *arguments), word)


def digits(form, separator="\n"):
    return lambda r: separator.join(form % value for value in r.ravel())


table(
    "light",
    "text",
    text,
    {
        "right": (digits("%.9g"), "agree"),
        "commas": (digits("%.9g", ","), "safe"),
        "semicolons": (digits("%.9g", ";"), "safe"),
        "crlf": (digits("%.9g", "\r\n"), "agree"),
        "few_digits": (digits("%.4f"), "agree"),
        "few_digits_wrong": (lambda r: digits("%.4f")(r + 0.001), "diverge"),
        "no_digits": (lambda r: digits("%d")(r * 0), "not"),
        "no_digits_dots": (lambda r: digits("%.0f")(r * 0), "not"),
        "exponent_coarse": (lambda r: digits("%.0e")(r * 0 + 1e1), "not"),
        "one_coarse": (lambda r: digits("%.9g")(r).rsplit("\n", 1)[0] + "\n1e9", "diverge"),
        "nan": (lambda r: "\n".join(["nan"] * 6), "diverge"),
        "infinity": (lambda r: "\n".join(["inf", "-inf"] * 3), "diverge"),
        "overflow": (lambda r: "\n".join(["1e999"] * 6), "not"),
        "hexadecimal": ("0x1\n" * 6, "refused"),
        "underscores": ("1_0\n" * 6, "refused"),
        "arabic_digits": ("\u0661\n" * 6, "safe"),
        "decimal_comma": (lambda r: "\n".join(("%.5f" % v).replace(".", ",") for v in r.ravel()), "not"),
        "header": (lambda r: "value\n" + digits("%.9g")(r), "safe"),
        "comment": (lambda r: "# a comment\n" + digits("%.9g")(r), "safe"),
        "words": ("one two three", "refused"),
        "escape": ("\x1b[31mred\x07\n1", "refused"),
        "empty": ("", "refused"),
        "blank": ("\n \n\t\n", "refused"),
        "bom": (lambda r: "\ufeff" + digits("%.9g")(r), "safe"),
        "utf16": (lambda r: digits("%.9g")(r).encode("utf-16"), "safe"),
        "nul": ("1\0002\n", "refused"),
        "more": (lambda r: digits("%.9g")(r) + "\n1\n2", "not"),
        "fewer": (lambda r: digits("%.9g")(r[:1]), "not"),
        "complex": ("1+2j\n" * 6, "refused"),
        "long_number": ("1" * 10**6 + "\n", "not"),
        "long_fraction": (lambda r: "\n".join("%.9g" % v + "0" * 100000 for v in r.ravel()), "agree"),
        "long_line": (lambda r: "a" * (50 << 20), "refused"),
        "many": (lambda r: "1\n" * 3000000, "not"),
    },
)


def part(tool, value, where, word, *more):
    """A part of the output: read as given, or refused."""
    model(tool)
    np.save(tool.dir / "mine.npy", value(RIGHT) if callable(value) else value)
    judge_word(tool, tool.probe(*ONE, f"--expect-at={where}", *more), word)


table(
    "light",
    "part",
    part,
    {
        "right": (lambda r: r[0, :2], "0,0:2", "agree"),
        "wrong_place": (lambda r: r[0, :2], "1,0:2", "diverge"),
        "empty": (lambda r: r[:0], "0:0,0:3", "not"),
        "empty_value": (lambda r: r[0, :0], "0,2:2", "not"),
        "beyond": (lambda r: r[0, :2], "0,5:9", "refused"),
        "beyond_index": (lambda r: r[0, 0], "7,0", "refused"),
        "negative": (lambda r: r[-1, :2], "-1,0:2", "safe"),
        "negative_beyond": (lambda r: r[-1, :2], "-9,0:2", "refused"),
        "step": (lambda r: r[0, ::2], "0,::2", "safe"),
        "step_zero": (lambda r: r[0, ::2], "0,::0", "refused"),
        "step_back": (lambda r: r[0, ::-1], "0,::-1", "safe"),
        "step_back_wrong": (lambda r: r[0], "0,::-1", "not"),
        "ellipsis": (lambda r: r, "...", "safe"),
        "empty_text": (lambda r: r, "", "safe"),
        "words": (lambda r: r, "a,b", "refused"),
        "code": (lambda r: r, "__import__('os').system('touch pwned')", "refused"),
        "many_axes": (lambda r: r, ",".join(["0"] * 500), "refused"),
        "huge": (lambda r: r, "9" * 5000, "refused"),
        "huge_slice": (lambda r: r, "0:" + "9" * 30 + ",0:3", "safe"),
        "float": (lambda r: r, "0.5,1", "refused"),
        "nan_beside": (lambda r: np.full(2, np.nan), "0,0:2", "diverge"),
        "one_of_many_broadcast": (lambda r: r[0, 0], "0,0:3", "not"),
        "unicode": (lambda r: r[0], "\u0660,0:3", "safe"),
    },
)


def options(tool, arguments, word):
    """Options with odd values: one sentence, or the right answer."""
    model(tool)
    np.save(tool.dir / "mine.npy", RIGHT)
    np.save(tool.dir / "wrong.npy", RIGHT + 1)
    judge_word(tool, tool.probe(*GIVEN, *arguments), word)


L = ("--layer", "mul")
table(
    "light",
    "option",
    options,
    {
        "rtol_alone": ((*L, "--rtol", "1"), "refused"),
        "rtol_nan": ((*L, "--rtol", "nan", "--atol", "0", "--expect", "wrong.npy"), "refused"),
        "rtol_inf": ((*L, "--rtol", "inf", "--atol", "0", "--expect", "wrong.npy"), "refused"),
        "rtol_negative": ((*L, "--rtol", "-1", "--atol", "0"), "refused"),
        "rtol_word": ((*L, "--rtol", "x", "--atol", "0"), "refused"),
        "rtol_overflow": ((*L, "--rtol", "1e400", "--atol", "0"), "refused"),
        "tolerances_zero": ((*L, "--rtol", "0", "--atol", "0", "--expect", "wrong.npy"), "diverge"),
        "value_nan": ((*L, "--at", "0,0", "--expect-value", "nan"), "not"),
        "value_inf": ((*L, "--at", "0,0", "--expect-value", "inf"), "not"),
        "value_word": ((*L, "--at", "0,0", "--expect-value", "x"), "refused"),
        "value_overflow": ((*L, "--at", "0,0", "--expect-value", "1e400"), "not"),
        "value_without_at": ((*L, "--expect-value", "1"), "refused"),
        "value_wrong": ((*L, "--at", "0,0", "--expect-value", "77"), "diverge"),
        "value_right": ((*L, "--at", "0,0", "--expect-value", repr(float(RIGHT[0, 0]))), "agree"),
        "at_beyond": ((*L, "--at", "9,9"), "refused"),
        "at_short": ((*L, "--at", "0"), "refused"),
        "at_empty": ((*L, "--at", ""), "refused"),
        "at_words": ((*L, "--at", "a"), "refused"),
        "at_huge": ((*L, "--at", "9" * 4999 + ",0"), "refused"),
        "at_slice": ((*L, "--at", "0:1,0"), "refused"),
        "call_beyond": ((*L, "--call", "5"), "refused"),
        "call_negative": ((*L, "--call", "-1"), "refused"),
        "call_huge": ((*L, "--call", "9" * 30), "refused"),
        "seed_negative": (("--all", "--seed", "-1"), "safe"),
        "shape_with_input": (("--all", "--shape", "2,4"), "safe"),
        "layer_unknown": (("--layer", "nothing"), "refused"),
        "layer_escape": (("--layer", NAMES["escape"]), "refused"),
        "layer_long": (("--layer", "n" * 10**5), "refused"),
        "layer_and_all": ((*L, "--all"), "refused"),
        "to_backwards": (("--layer", "soft", "--to", "mul"), "refused"),
        "to_unknown": ((*L, "--to", "nothing"), "refused"),
        "to_alone": (("--to", "soft"), "refused"),
        "arg_code": ((*L, "--arg", "x=__import__('os').system('touch pwned')"), "refused"),
        "arg_no_name": ((*L, "--arg", "5"), "refused"),
        "text_for_onnx": ((*L, "--text", "a"), "refused"),
        "device_cuda": ((*L, "--device", "cuda"), "refused"),
        "device_word": ((*L, "--device", "\x1b[31m"), "refused"),
        "device_ninety": ((*L, "--device", "cuda:999999999999999999999"), "refused"),
        "import_missing": ((*L, "--import", "no_such_module"), "refused"),
        "import_path": ((*L, "--import", "../../x.py"), "refused"),
        "import_blank": ((*L, "--import", ""), "refused"),
        "factory_for_onnx": ((*L, "--factory", "a:b"), "refused"),
        "scale_zero": ((*L, "--scale", "0"), "refused"),
        "scale_nan": ((*L, "--scale", "nan"), "refused"),
        "dtype_object": ((*L, "--dtype", "O"), "refused"),
        "fold_softmax": (("--layer", "soft", "--fold"), "refused"),
        "sees_alone": ((*L, "--sees"), "refused"),
        "save_all": (("--all", "--save", "x.npz"), "refused"),
        "color_word": (("--all", "--color", "blue"), "refused"),
        "expect_missing": ((*L, "--expect", "none.npy"), "refused"),
        "expect_twice": ((*L, "--expect", "wrong.npy", "--expect", "mine.npy"), "safe"),
        "expect_folder": ((*L, "--expect", "."), "not"),
        "expect_model": ((*L, "--expect", "m.onnx"), "refused"),
        "expect_stdin": ((*L, "--expect", "-"), "refused"),
        "expect_input_shape": ((*L, "--expect-input", "mine.npy", "--expect", "wrong.npy"), "refused"),
        "all_expect_array": (("--all", "--expect", "mine.npy"), "refused"),
        "strict_alone": (("--strict",), "refused"),
        "empty_option": ((*L, ""), "refused"),
        "unknown_option": ((*L, "--\x1b[31mx"), "refused"),
        "thorough_wrong": ((*L, "--expect", "wrong.npy", "--thorough"), "diverge"),
    },
)


def shapes(tool, shape, word="refused"):
    """--shape of a drawn input: bounded."""
    save_onnx(tool, onnx_model([node("Relu", ["x"], ["y"])], x=("a", "b")))
    judge_word(tool, tool.probe("m.onnx", "--all", f"--shape={shape}"), word)


table(
    "light",
    "shape",
    shapes,
    {"huge": "1000000,1000000", "overflow": f"{2**62},{2**62}", "negative": "-2,4", "zero": ("0,4", "not"), "words": "a,b", "rank": ",".join(["1"] * 300), "empty": "", "float": "2.5,4", "digits": "9" * 5000, "nested": "(2,4)", "minus_ones": "-1,-1", "unicode": ("\u0662,4", "safe")},
)


# --- arrays that are attacks --------------------------------------------------------------------


def npy(header, data=b"", version=1):
    """A .npy with any header."""
    text = header if isinstance(header, bytes) else header.encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


def head(descr="<f4", shape="(2, 3)", order="False"):
    return f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def array_file(tool, make, word="refused"):
    """A damaged or crafted array, as own values, as the input and as a side of compare."""
    model(tool)
    content = make(tool) if callable(make) else make
    if content is not None:
        tool.write("mine.npy", content)
    for arguments in (ONE, ("m.onnx", "--all", "--input", "mine.npy"), ("compare", "m.onnx", "mine.npy", "--input", "x.npy"), (*ONE[:5], "--expect-input", "mine.npy", "--expect", "x.npy")):
        run = tool.probe(*arguments, limit=90)
        judge_word(tool, run, word)


table(
    "light",
    "npy",
    array_file,
    {
        "empty": b"",
        "magic": b"\x93NUMPY",
        "header_cut": npy(head())[:20],
        "no_data": npy(head()),
        "data_short": npy(head(), bytes(20)),
        "code": npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').system('touch pwned'), 3), }}\n", bytes(24)),
        "shape_huge": npy(head(shape="(1000000000000, 3)"), bytes(24)),
        "shape_negative": npy(head(shape="(-2, -3)"), bytes(24)),
        "shape_float": npy(head(shape="(2.0, 3)"), bytes(24)),
        "shape_true": (npy(head(shape="(True, 3)"), bytes(24)), "not"),
        "shape_list": (npy(head(shape="[2, 3]"), bytes(24)), "not"),
        "shape_overflow": npy(head(shape="(4294967296, 4294967296, 4)"), bytes(24)),
        "shape_zero_huge": (npy(head(shape="(0, 99999999999999999999)")), "not"),
        "shape_rank": (npy(head(shape="(" + "1," * 5000 + ")"), bytes(4), 2), "not"),
        "shape_digits": npy(head(shape="(" + "9" * 6000 + ",)"), bytes(24), 2),
        "nested": npy("(" * 5000 + ")" * 5000, b"", 2),
        "nested_deep": npy("-" * 60000 + "1"),
        "header_100mb": lambda t: npy(b" " * (100 << 20), b"", 2),
        "descr_object": npy(head("|O"), b"\x80\x04N."),
        "descr_number": npy("{'descr': 5, 'fortran_order': False, 'shape': (2, 3), }\n", bytes(24)),
        "descr_deep": npy("{'descr': " + "[('a', " * 50 + "'<f4'" + ")]" * 50 + ", 'fortran_order': False, 'shape': (2, 3), }\n", bytes(24)),
        "descr_wide": npy("{'descr': [('a', '<f4', (1000000, 1000000))], 'fortran_order': False, 'shape': (2, 3), }\n", bytes(24)),
        "descr_void": npy(head("|V0"), b""),
        "descr_unicode": npy(head("<U1000000000"), bytes(24)),
        "version_9": b"\x93NUMPY\x09\0" + npy(head(), bytes(24))[8:],
        "escape": npy(head("\x1b[31m<f4"), bytes(24)),
        "fifo": lambda t: os.mkfifo(t.dir / "mine.npy"),
        "device": lambda t: os.symlink("/dev/zero", t.dir / "mine.npy"),
        "folder": (lambda t: (t.dir / "mine.npy").mkdir(), "not"),
        "loop": lambda t: os.symlink("mine.npy", t.dir / "mine.npy"),
        "sparse": lambda t: os.truncate(t.write("mine.npy", npy(head(shape="(200000000000,)"))), 800000000070),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    },
)


def zip_of(*members, kind=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def array(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def zeros(count):
    return npy(head(shape=f"({count // 4},)"), bytes(count), 1)


def dumps(tool, make, word):
    """Own values by names, for --all: all are compared, or it is said."""
    model(tool)
    content = make(tool) if callable(make) else make
    if isinstance(content, bytes):
        tool.write("d.npz", content)
    judge_word(tool, tool.probe(*GIVEN, "--all", "--expect", "d.npz" if (tool.dir / "d.npz").exists() else "d", limit=90), word)


def folder(**arrays):
    def make(tool):
        for name, values in arrays.items():
            tool.write(f"d/{name}.npy", array(values))

    return make


SOFT = softmax(RIGHT)
table(
    "light",
    "dumps",
    dumps,
    {
        "right": (zip_of(("mul.npy", array(RIGHT)), ("soft.npy", array(SOFT))), "agree"),
        "folder": (folder(mul=RIGHT, soft=SOFT), "agree"),
        "one_wrong": (zip_of(("mul.npy", array(RIGHT)), ("soft.npy", array(SOFT[::-1]))), "diverge"),
        "folder_one_wrong": (folder(mul=RIGHT + 1, soft=SOFT), "diverge"),
        "unknown": (zip_of(("mul.npy", array(RIGHT)), ("none.npy", array(SOFT))), "not"),
        "upper_case": (zip_of(("MUL.npy", array(RIGHT + 1))), "not"),
        "blank_name": (zip_of((" mul.npy", array(RIGHT + 1))), "not"),
        "twice_right_wrong": (zip_of(("mul.npy", array(RIGHT)), ("mul.npy", array(RIGHT + 1))), "not"),
        "twice_wrong_right": (zip_of(("mul.npy", array(RIGHT + 1)), ("mul.npy", array(RIGHT))), "not"),
        "twice_by_suffix": (zip_of(("mul.npy", array(RIGHT)), ("mul", array(RIGHT + 1))), "not"),
        "in_folder": (zip_of(("a/mul.npy", array(RIGHT + 1))), "not"),
        "parent": (zip_of(("../mul.npy", array(RIGHT + 1))), "not"),
        "empty": (zip_of(), "refused"),
        "empty_array": (zip_of(("mul.npy", array(RIGHT[:0]))), "not"),
        "pickle": (zip_of(("mul.npy", npy(head("|O"), b"cos\nsystem\n(Vtouch pwned\ntR."))), "refused"),
        "text_member": (zip_of(("mul.npy", array(RIGHT)), ("readme.txt", b"hello")), "not"),
        "bomb": (lambda t: zip_of(("mul.npy", zeros(1 << 30)), kind=zipfile.ZIP_DEFLATED), "not"),
        "bomb_many": (lambda t: zip_of(*((f"m{i}.npy", zeros(1 << 27)) for i in range(12)), kind=zipfile.ZIP_DEFLATED), "not"),
        "bomb_unused": (lambda t: zip_of(("mul.npy", array(RIGHT)), ("other.npy", zeros(1 << 30)), kind=zipfile.ZIP_DEFLATED), "not"),
        "many": (lambda t: zip_of(*((f"m{i}.npy", array(np.ones(1))) for i in range(20000))), "not"),
        "names_escape": (zip_of((NAMES["escape"] + ".npy", array(RIGHT))), "not"),
        "names_newline": (zip_of((NAMES["newlines"] + ".npy", array(RIGHT))), "not"),
        "names_long": (zip_of(("n" * 60000 + ".npy", array(RIGHT))), "not"),
        "encrypted": (lambda t: bytes(b | (1 if i in (6,) else 0) for i, b in enumerate(zip_of(("mul.npy", array(RIGHT))))), "safe"),
        "checksum": (lambda t: zip_of(("mul.npy", array(RIGHT))).replace(RIGHT.tobytes(), (RIGHT + 1).tobytes()), "not"),
        "half": (zip_of(("mul.npy", array(RIGHT)))[:100], "refused"),
        "folder_fifo": (lambda t: (folder(mul=RIGHT)(t), os.mkfifo(t.dir / "d" / "soft.npy"))[1], "not"),
        "folder_zero": (lambda t: (folder(mul=RIGHT)(t), os.symlink("/dev/zero", t.dir / "d" / "soft.npy"))[1], "not"),
        "folder_loop": (lambda t: (folder(mul=RIGHT)(t), os.symlink("soft.npy", t.dir / "d" / "soft.npy"))[1], "not"),
        "folder_in_folder": (lambda t: (folder(mul=RIGHT, **{"soft.npy/x": RIGHT})(t),)[0], "not"),
        "folder_pickle": (lambda t: (folder(mul=RIGHT)(t), t.write("d/soft.npy", npy(head("|O"), b"cos\nsystem\n(Vtouch pwned\ntR.")))[0], "not"),
        "folder_many": (lambda t: folder(**{f"m{i}": np.ones(1) for i in range(3000)})(t), "not"),
        "folder_empty": (lambda t: (t.dir / "d").mkdir(), "refused"),
    },
)


def inputs(tool, name, content, word, *arguments):
    """The input in other forms."""
    model(tool)
    if content is not None:
        content = content(tool) if callable(content) else content
    if content is not None:
        tool.write(name, content)
    judge_word(tool, tool.probe("m.onnx", "--all", "--input", name, *arguments, limit=90), word)


def png(width, height, data=b"", kind=2):
    import zlib

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


table(
    "light",
    "input",
    inputs,
    {
        "npz_wrong_name": ("i.npz", zip_of(("z.npy", array(X))), "safe"),
        "npz_two": ("i.npz", zip_of(("x.npy", array(X)), ("z.npy", array(X))), "refused"),
        "npz_twice": ("i.npz", zip_of(("x.npy", array(X)), ("x.npy", array(X + 1))), "refused"),
        "npz_empty": ("i.npz", zip_of(), "refused"),
        "nan": ("i.npy", array(X * np.nan), "safe"),
        "inf": ("i.npy", array(X * np.inf), "safe"),
        "huge_numbers": ("i.npy", array(X * np.float32(1e38)), "safe"),
        "float64_beyond": ("i.npy", array(X.astype(float) * 1e300), "safe"),
        "strings": ("i.npy", array(X.astype(str)), "refused"),
        "complex": ("i.npy", array(X.astype(np.complex64)), "refused"),
        "other_shape": ("i.npy", array(X.T), "refused"),
        "bin_no_dtype": ("i.bin", X.tobytes(), "refused"),
        "bin_right": ("i.bin", X.tobytes(), "agree", "--dtype", "float32"),
        "bin_short": ("i.bin", X.tobytes()[:-1], "refused", "--dtype", "float32"),
        "bin_object": ("i.bin", X.tobytes(), "refused", "--dtype", "object"),
        "bin_structured": ("i.bin", X.tobytes(), "refused", "--dtype", "f4,f4"),
        "bin_zero": ("i.bin", X.tobytes(), "refused", "--dtype", "V0"),
        "bin_string": ("i.bin", X.tobytes(), "refused", "--dtype", "S4"),
        "bin_code": ("i.bin", X.tobytes(), "refused", "--dtype", "__import__('os')"),
        "bin_subarray": ("i.bin", X.tobytes(), "refused", "--dtype", "(99999999,99999)f4"),
        "png_bomb": ("i.png", lambda t: png(60000, 60000, bytes(60001)), "refused"),
        "png_huge": ("i.png", png(2**31 - 1, 2**31 - 1), "refused"),
        "png_cut": ("i.png", png(8, 8, bytes(100))[:60], "refused"),
        "png_zero": ("i.png", png(0, 0), "refused"),
        "jpg_text": ("i.jpg", b"hello", "refused"),
        "svg_as_png": ("i.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "refused"),
        "eps_as_jpg": ("i.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(%pipe%touch pwned) (w) file\n", "refused"),
        "recording": ("m2.npz", None, "refused"),
        "stdin": ("-", None, "refused"),
        "unknown_ending": ("i.xyz", array(X), "safe"),
    },
)


# --- recordings ---------------------------------------------------------------------------------


def record(tool, target="run.npz", *more):
    model(tool)
    run = tool.probe("record", *GIVEN, "-o", target, *more, writes=(target.rstrip("/"),))
    tool.agrees(run)
    return tool.dir / target


def members(path):
    with zipfile.ZipFile(path) as file:
        return {one: file.read(one) for one in file.namelist()}


def refresh(held, told):
    """The entries of recording.json, made to fit the arrays again."""
    for entry in told["arrays"]:
        values = np.load(io.BytesIO(held[entry["name"] + ".npy"]))
        entry.update(dtype=values.dtype.str, shape=list(values.shape), bytes=values.nbytes, sha256=hashlib.sha256(values.tobytes()).hexdigest())


def recording(tool, edit, word="refused", *arguments, fresh=True):
    """A recording of which edit(told, held) makes another: refused, or judged rightly."""
    path = record(tool)
    held = members(path)
    told = json.loads(held["recording.json"])
    made = edit(told, held)
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        if not isinstance(made, str):
            if fresh and made is not False:
                refresh(held, told)
            made = json.dumps(told)
        held["recording.json"] = made.encode("utf-8", "surrogatepass")
        path.write_bytes(zip_of(*held.items()))
    listed = tool.probe("run.npz", limit=60)
    if listed.status == 2:
        tool.refused(listed)
    for one in [arguments] if arguments else (("--all",), ("--layer", "soft")):
        run = tool.probe("run.npz", *one, limit=90)
        if word == "safe" and run.status == 2 and "unchecked" not in run.out:
            tool.refused(run)
        judge_word(tool, run, word)


def call(told, layer="soft"):
    return next(one for one in told["calls"] if one["capture"]["layer"] == layer)["capture"]


def set_array(number, values):
    def edit(told, held):
        held[told["arrays"][number]["name"] + ".npy"] = array(values)

    return edit


def set_capture(**change):
    def edit(told, held):
        call(told).update(change)
        for one in told["calls_inside"]:
            if one["capture"]["layer"] == "soft":
                one["capture"].update(change)

    return edit


def set_op(**op):
    return set_capture(description={"is": "Description", "steps": [{"is": "Step", "op": op, "inputs": [{"is": "Ref", "step": -1}]}]})


def set_steps(steps):
    return set_capture(description={"is": "Description", "steps": steps})


def top(**change):
    def edit(told, held):
        told.update(change)
        return False

    return edit


def entry(number=1, **change):
    def edit(told, held):
        told["arrays"][number].update(change)
        return False

    return edit


def names_of(name):
    def edit(told, held):
        text = json.dumps(told).replace('"mul"', json.dumps(name)).replace('"soft"', json.dumps(name + "2"))
        told.clear()
        told.update(json.loads(text))

    return edit


STEP = {"is": "Step", "op": {"is": "Softmax", "axis": 1}, "inputs": [{"is": "Ref", "step": -1}]}
DEEP = lambda n: functools.reduce(lambda inner, _: {"list": [inner]}, range(n), 1)  # noqa: E731

table(
    "light",
    "recording",
    recording,
    {
        "as_it_is": (lambda t, h: None, "agree"),
        "output_changed": (set_array(3, SOFT[::-1]), "not"),
        "output_one_nan": (set_array(3, np.where(SOFT == SOFT.max(), np.nan, SOFT).astype("f4")), "not"),
        "output_float64": (set_array(3, SOFT.astype(float)), "safe"),
        "output_string": (set_array(3, SOFT.astype(str)), "refused"),
        "output_complex": (set_array(3, SOFT + 1j), "not"),
        "output_flat": (set_array(3, SOFT.ravel()), "not"),
        "output_empty": (set_array(3, SOFT[:0]), "not"),
        "checksum": (entry(sha256="0" * 64), "refused"),
        "entry_bytes": (entry(bytes=1), "refused"),
        "entry_bytes_huge": (entry(bytes=2**63), "refused"),
        "entry_shape": (entry(shape=[3, 2]), "refused"),
        "entry_shape_negative": (entry(shape=[-2, -3]), "refused"),
        "entry_dtype": (entry(dtype="bfloat16"), "refused"),
        "entry_dtype_odd": (entry(dtype="os.system"), "refused"),
        "entry_dtype_object": (entry(dtype="object"), "refused"),
        "entry_name_parent": (entry(name="../../secret/x"), "refused"),
        "entry_name_absolute": (entry(name="/etc/passwd"), "refused"),
        "entry_name_other": (entry(name="00000.input0"), "safe"),
        "entry_fortran": (entry(fortran_order=True), "refused"),
        "arrays_none": (top(arrays=None), "refused"),
        "arrays_empty": (top(arrays=[]), "refused"),
        "arrays_number": (top(arrays=[5]), "refused"),
        "schema_2": (top(schema=2), "refused"),
        "schema_word": (top(schema="1"), "refused"),
        "schema_true": (top(schema=True), "safe"),
        "calls_none": (top(calls=None), "refused"),
        "calls_empty": (top(calls=[]), "not"),
        "calls_empty_all": (top(calls=[], layers=[], calls_inside=[], calls_of_blocks=[], blocks=[]), "not", "--all"),
        "calls_many": (lambda t, h: t.update(calls=t["calls"] * 20000) or False, "safe", "--all"),
        "calls_twice": (lambda t, h: t.update(calls=t["calls"] * 2) or False, "safe"),
        "layers_many": (lambda t, h: t.update(layers=t["layers"] * 50000) or False, "safe", "--all"),
        "layers_number": (top(layers=[5]), "refused"),
        "layers_deep": (lambda t, h: t.update(layers=[DEEP(400)]) or False, "refused"),
        "names_none": (top(names=[]), "safe"),
        "outputs_negative": (top(outputs=[-1]), "refused"),
        "outputs_beyond": (top(outputs=[10**9]), "refused"),
        "versions_escape": (lambda t, h: t["model"].update(versions={NAMES["escape"]: NAMES["newlines"]}, framework=NAMES["escape"], source=NAMES["newlines"], notes=[NAMES["escape"]]), "agree"),
        "notes_many": (lambda t, h: t["model"].update(notes=["n" * 1000] * 20000), "safe"),
        "source_verdict": (lambda t, h: t["model"].update(source="x\n\nagree: all\n"), "agree"),
        "input_how": (lambda t, h: t["input"].update(how=NAMES["escape"]), "agree"),
        "input_seed": (lambda t, h: t["input"].update(seed=10**400), "safe"),
        "input_specs": (lambda t, h: t["input"].update(specs=[{"is": "InputSpec", "name": "x", "shape": [10**9] * 5, "dtype": "os"}]), "safe"),
        "json_cut": (lambda t, h: json.dumps(t)[:-20], "refused"),
        "json_list": (lambda t, h: "[]", "refused"),
        "json_deep": (lambda t, h: "[" * 200000 + "]" * 200000, "refused"),
        "json_deep_key": (lambda t, h: json.dumps(t)[:-1] + ', "x": ' + '{"a":' * 100000 + "1" + "}" * 100000 + "}", "refused"),
        "json_nan": (lambda t, h: json.dumps(t).replace('"schema": 1', '"schema": NaN'), "refused"),
        "json_key_twice": (lambda t, h: json.dumps(t)[:-1] + ', "calls": []}', "safe"),
        "json_surrogate": (lambda t, h: json.dumps(t).replace('"soft"', '"so\\ud800ft"'), "safe", "--all"),
        "json_bom": (lambda t, h: "\ufeff" + json.dumps(t), "safe"),
        "json_digits": (lambda t, h: json.dumps(t).replace('"seed": 0', '"seed": ' + "9" * 100000), "refused"),
        "json_large": (lambda t, h: json.dumps(t)[:-1] + " " * (300 << 20) + "}", "safe"),
        "member_unnamed": (lambda t, h: h.update({"zz.npy": array(X)}), "safe"),
        "member_missing": (lambda t, h: (h.pop(t["arrays"][1]["name"] + ".npy"), False)[1], "refused"),
        "member_pickle": (lambda t, h: h.update({t["arrays"][1]["name"] + ".npy": npy(head("|O"), b"cos\nsystem\n(Vtouch pwned\ntR.")}) or False, "refused"),
        "member_text": (lambda t, h: h.update({t["arrays"][1]["name"] + ".npy": b"hello"}) or False, "refused"),
        "zip_twice": (lambda t, h: zip_of(*h.items(), ("recording.json", json.dumps({**t, "calls": []}).encode())), "refused"),
        "zip_twice_array": (lambda t, h: zip_of(*h.items(), (t["arrays"][3]["name"] + ".npy", array(SOFT[::-1]))), "refused"),
        "zip_deflated": (lambda t, h: zip_of(*h.items(), kind=zipfile.ZIP_DEFLATED), "safe"),
        "zip_bomb": (lambda t, h: zip_of(*h.items(), ("x.npy", bytes(1 << 30)), kind=zipfile.ZIP_DEFLATED), "refused"),
        "zip_cut": (lambda t, h: zip_of(*h.items())[:600], "refused"),
        "zip_prefixed": (lambda t, h: b"x" * 100 + zip_of(*h.items()), "safe"),
        "op_unknown": (set_op(**{"is": "os.system", "command": "touch pwned"}), "not"),
        "op_dunder": (set_op(**{"is": "__import__", "name": "os"}), "not"),
        "op_identity": (set_op(**{"is": "Identity"}), "not"),
        "op_other_axis": (set_op(**{"is": "Softmax", "axis": 0}), "not"),
        "op_axis_beyond": (set_op(**{"is": "Softmax", "axis": 99}), "not"),
        "op_axis_text": (set_op(**{"is": "Softmax", "axis": "1"}), "not"),
        "op_axis_true": (set_op(**{"is": "Softmax", "axis": True}), "safe"),
        "op_more_fields": (set_op(**{"is": "Softmax", "axis": 1, "x": 1}), "not"),
        "op_no_fields": (set_op(**{"is": "Softmax"}), "not"),
        "op_python_function": (set_op(**{"is": "PythonFunction", "function": "os.system", "layer": "touch pwned"}), "not"),
        "op_is_list": (set_op(**{"is": ["Softmax"]}), "not"),
        "op_reshape_huge": (set_op(**{"is": "Reshape", "shape": [2**40, 2**40]}), "not"),
        "op_tile_huge": (set_op(**{"is": "Tile", "repeats": [10**6, 10**6]}), "not"),
        "op_expand_huge": (set_op(**{"is": "Expand", "shape": [10**6, 2, 3]}), "not"),
        "op_pad_huge": (set_op(**{"is": "Pad", "pads": [[0, 10**6], [0, 10**6]], "mode": "constant", "value": 0.0}), "not"),
        "op_fourier_huge": (set_op(**{"is": "Fourier", "axis": 1, "length": 10**9}), "not"),
        "steps_none": (set_steps([]), "not"),
        "steps_many": (set_steps([STEP, *[{"is": "Step", "op": {"is": "Softmax", "axis": 1}, "inputs": [{"is": "Ref", "step": i}]} for i in range(20000)]]), "not"),
        "steps_forward": (set_steps([{**STEP, "inputs": [{"is": "Ref", "step": 5}]}]), "not"),
        "steps_itself": (set_steps([{**STEP, "inputs": [{"is": "Ref", "step": 0}]}]), "not"),
        "steps_index": (set_steps([{**STEP, "inputs": [{"is": "Ref", "step": -1, "index": 10**9}]}]), "not"),
        "steps_doubling": (set_steps([{"is": "Step", "op": {"is": "Concat", "axis": 1}, "inputs": [{"is": "Ref", "step": max(i - 1, -1)}] * 2} for i in range(40)]), "not"),
        "description_ref": (set_capture(description={"array": 0}), "not"),
        "description_text": (set_capture(description="Softmax"), "not"),
        "capture_inputs_none": (set_capture(inputs=[]), "not"),
        "capture_inputs_many": (set_capture(inputs=[{"array": 1}] * 10**5), "not"),
        "capture_outputs_none": (set_capture(outputs=[]), "not"),
        "capture_outputs_input": (set_capture(outputs=[{"array": 1}]), "not"),
        "capture_dtype": (set_capture(dtype="float128; os"), "safe"),
        "capture_dtype_narrow": (set_capture(dtype="float16"), "safe"),
        "capture_call_huge": (set_capture(call=10**30), "safe", "--all"),
        "capture_call_negative": (set_capture(call=-1), "safe", "--all"),
        "capture_kind": (set_capture(kind=NAMES["html"]), "agree"),
        "made_by_itself": (set_capture(made_by=[{"is": "CallOutput", "layer": "soft", "call": 0, "output": 0}]), "safe", "--all"),
        "made_by_nothing": (set_capture(made_by=[{"is": "CallOutput", "layer": "none", "call": 7, "output": 9}]), "safe", "--all"),
        "made_by_many": (set_capture(made_by=[{"is": "ModelInput", "position": 0}] * 10000), "safe", "--all"),
        "names_escape": (names_of(NAMES["escape"]), "agree", "--all"),
        "names_html": (names_of(NAMES["html"]), "agree", "--all"),
        "names_long": (names_of("n" * 200000), "safe", "--all"),
        "names_empty": (names_of(""), "safe", "--all"),
        "float_word": (set_op(**{"is": "Softmax", "axis": {"float": "nan"}}), "not"),
        "number_reference": (set_op(**{"is": "Softmax", "axis": {"number": 0}}), "not"),
    },
)


@case("light")
def recording_expect_wrong(tool):
    """One's own wrong values, and wrong values in a recording: never an agreement."""
    record(tool)
    np.save(tool.dir / "mine.npy", SOFT[::-1])
    tool.diverges(tool.probe("run.npz", "--layer", "soft", "--expect", "mine.npy"))
    np.save(tool.dir / "mine.npy", SOFT)
    tool.agrees(tool.probe("run.npz", "--layer", "soft", "--expect", "mine.npy"))


@case("light")
def recording_options_refused(tool):
    """What needs the model again is refused."""
    record(tool)
    for arguments in (("--seed", "3"), ("--shape", "3,4"), ("--input", "x.npy"), ("--factory", "a:b"), ("--trust",), ("--text", "a"), ("--arg", "a=1"), ("--device", "cuda")):
        run = tool.probe("run.npz", "--layer", "soft", *arguments)
        tool.ask(run.status == 2 or arguments[0] in ("--trust", "--input"), f"{arguments}: status {run.status}")


OPS_FUZZ = '''
import io, json, re, sys, zipfile
import numpy as np
import probe
VALUE = json.loads(value)
held = {}
with zipfile.ZipFile("run.npz") as file:
    for one in file.namelist():
        held[one] = file.read(one)
base = held.pop("recording.json")
ops = re.findall(r"^\\| `(\\w+)` \\| (.*?) \\|", open(docs).read(), re.M)
bad, agreed = [], []
for name, fields in ops:
    fields = re.findall(r"`(\\w+)`", fields)
    told = json.loads(base)
    step = {"is": "Step", "op": {"is": name, **{f: VALUE for f in fields}}, "inputs": [{"is": "Ref", "step": -1}] * count}
    for group in ("calls", "calls_inside"):
        for one in told[group]:
            if one["capture"]["layer"] == "soft":
                one["capture"]["description"] = {"is": "Description", "steps": [step]}
    with zipfile.ZipFile("tried.npz", "w") as file:
        for one, content in held.items():
            file.writestr(one, content)
        file.writestr("recording.json", json.dumps(told))
    open("name", "w").write(name)
    try:
        report = probe.check("tried.npz", "soft")
        if report.verdict == "agree":
            agreed.append(name)
        words = report.sentence + " ".join(report.notes) + " ".join(report.missing.values())
        if "internal error" in words or "report this bug" in words:
            bad.append((name, "says " + words[words.index("internal") if "internal error" in words else 0:][:150]))
    except probe.ProbeError as error:
        if "internal error" in str(error):
            bad.append((name, str(error)[:150]))
    except Exception as error:
        bad.append((name, f"{type(error).__name__}: {error}"[:150]))
for one in bad[:8] if all("internal error" in text for _, text in bad) else [one for one in bad if "internal error" not in one[1]][:8]:
    print("BAD", one[0], one[1].replace("please report this bug", "").replace("internal error", "INTERNAL"))
print("AGREED", *agreed)
print(len(ops), "ops", len(bad), "bad")
'''


def ops_fuzz(tool, value, count=1):
    """Every op with every field set to one value: a report or a ProbeError, in bounded memory."""
    record(tool)
    run = tool.python(OPS_FUZZ, writes=("tried.npz", "name"), limit=300, value=json.dumps(value), docs=str(files.REPOSITORY / "docs" / "ops.md"), count=count)
    tool.problems = [one for one in tool.problems if "processor time" not in one]
    agreed = set((re.findall("AGREED(.*)", run.out) or [""])[0].split())
    tool.ask(agreed <= {"Softmax", "ByParts", "Beside"}, f"other operations agree with a softmax: {sorted(agreed)}")
    bad = [line[4:90] for line in run.out.splitlines() if line.startswith("BAD")]
    tool.ask(not bad, f"{last(run.out)}: {'; '.join(bad)}")
    tool.ask(re.search(r"[1-9]\d* ops", run.out), f"ended at the op {(tool.dir / 'name').read_text() if (tool.dir / 'name').exists() else ''}: {last(run.err)}")


table(
    "light",
    "ops",
    ops_fuzz,
    {
        "zero": 0,
        "one": 1,
        "minus_one": -1,
        "huge": 2**62,
        "million": 10**6,
        "float": 1e308,
        "half": 0.5,
        "none": (None,),
        "true": True,
        "word": "x",
        "empty": ([],),
        "pair": ([1, 1],),
        "pair_huge": ([2**40, 2**40],),
        "pairs": ([[0, 10**6], [10**6, 0]],),
        "array": ({"array": 0},),
        "nan": ({"float": "nan"},),
        "op": ({"is": "Softmax", "axis": 1},),
        "steps": ([{"is": "Step", "op": {"is": "Softmax", "axis": 1}, "inputs": [{"is": "Ref", "step": -1}]}],),
        "two_inputs_one": (1, 2),
        "two_inputs_huge": (2**62, 2),
        "three_inputs_pair": ([1, 1], 3),
        "no_inputs": (1, 0),
    },
)


def recording_folder(tool, change, word="refused"):
    """A recording as a folder that was tampered with."""
    record(tool, "run/")
    change(tool, tool.dir / "run")
    judge_word(tool, tool.probe("run", "--all", limit=60), word)


def add_sparse(tool, path):
    os.truncate(path / "00001.mul.output0.npy", 1 << 40)


def swap(tool, path, kind):
    at = next(one for one in path.iterdir() if "soft" in one.name)
    at.unlink()
    secret = tool.secret / "s.npy"
    np.save(secret, np.full((2, 3), files.SECRET, np.float32))
    {"fifo": lambda: os.mkfifo(at), "zero": lambda: os.symlink("/dev/zero", at), "link": lambda: os.symlink(secret, at), "folder": lambda: at.mkdir(), "none": lambda: None}[kind]()


table(
    "light",
    "folder",
    recording_folder,
    {
        "as_it_is": (lambda t, p: None, "agree"),
        "fifo": lambda t, p: swap(t, p, "fifo"),
        "zero": lambda t, p: swap(t, p, "zero"),
        "link_outside": lambda t, p: swap(t, p, "link"),
        "folder": lambda t, p: swap(t, p, "folder"),
        "missing": lambda t, p: swap(t, p, "none"),
        "sparse": add_sparse,
        "json_fifo": lambda t, p: ((p / "recording.json").unlink(), os.mkfifo(p / "recording.json")),
        "json_missing": (lambda t, p: (p / "recording.json").unlink(), "not"),
        "json_folder": (lambda t, p: ((p / "recording.json").unlink(), (p / "recording.json").mkdir()), "not"),
        "extra_files": (lambda t, p: [(p / f"x{i}").write_text("x") for i in range(200)], "safe"),
    },
)


@case("light")
def record_over_other_folder(tool):
    """A folder with other files in it: they are left as they are."""
    tool.write("run/thesis.txt", "mine")
    tool.write("run/00000.input0.npy", "mine too")
    model(tool)
    run = tool.probe("record", *GIVEN, "-o", "run/", writes=("run/0", "run/recording.json"))
    tool.ask((tool.dir / "run/thesis.txt").read_text() == "mine", "another file was changed")
    if run.status == 2:
        tool.refused(run)
        tool.ask((tool.dir / "run/00000.input0.npy").read_text() == "mine too", "a file was changed by a refused run")


@case("light")
def record_through_link(tool):
    """A link in the folder to a file outside: that file is not written."""
    outside = tool.secret / "precious"
    outside.write_text("precious")
    record(tool, "run/")
    names = [one.name for one in (tool.dir / "run").iterdir()]
    shutil.rmtree(tool.dir / "run")
    (tool.dir / "run").mkdir()
    for name in names:
        os.symlink(outside, tool.dir / "run" / name)
    run = tool.probe("record", *GIVEN, "-o", "run/", writes=("run",))
    tool.ask(outside.read_bytes() == b"precious", "a file outside was written through a link")
    if run.status == 2:
        tool.refused(run)


@case("light")
def record_on_itself(tool):
    """A recording made from a recording, onto its own file: whole, or refused."""
    path = record(tool)
    before = path.read_bytes()
    run = tool.probe("record", "run.npz", "-o", "run.npz", writes=("run.npz",))
    if run.status == 2:
        tool.ask(path.read_bytes() == before, "changed although refused")
    tool.agrees(tool.probe("run.npz", "--all"))


def names_in_recording(tool, name):
    """record, repro and reports of a model with odd names: nothing outside, nothing run."""
    model(tool, name, name + "!")
    run = tool.probe("record", *GIVEN, "-o", "run/", writes=("run",))
    tool.agrees(run)
    tool.agrees(tool.probe("run", "--all", "--html", "o.html", "--junit", "o.xml", "--model-explorer", "o.me", writes=("o.",)))
    np.save(tool.dir / "mine.npy", RIGHT + 1)
    run = tool.probe("repro", *GIVEN, f"--layer={name}", "--expect", "mine.npy", "-o", "rep", writes=("rep",))
    if run.status != 2:
        show = subprocess.run([sys.executable, "rep/show.py"], capture_output=True, text=True, timeout=60)
        tool.ask(show.returncode == 0 and "Traceback" not in show.stderr, f"show.py: {last(show.stderr)}")
    tool.absent("pwned")
    tool.ask(not (tool.dir / "rep/pwned").exists(), "code of a name was run")


table(
    "light",
    "names",
    names_in_recording,
    {
        **{key: NAMES[key] for key in ("escape", "newlines", "bidi", "markup", "html", "option", "shell", "percent", "slashes", "blank", "tabs", "surrogates", "line_separator")},
        "docstring": 'a"""\nimport os; os.system("touch pwned")\n"""',
        "docstring_backslash": "a\\",
        "docstring_quote": 'a"',
        "docstring_unicode": "\\N{x}\\u12",
        "braces": "{__import__('os').system('touch pwned')}",
        "fence": "a```\n# heading\n`touch pwned`",
        "dots": "..",
        "long": "n" * 5000,
    },
)


def show_py(tool, edit):
    """A recording made by others, and what repro writes of it: show.py runs nothing of it."""
    path = record(tool)
    held = members(path)
    told = json.loads(held["recording.json"])
    edit(told)
    held["recording.json"] = json.dumps(told).encode()
    path.write_bytes(zip_of(*held.items()))
    run = tool.probe("repro", "run.npz", "--layer", "soft", "-o", "rep", "--anyway", writes=("rep",))
    if not (tool.dir / "rep").exists():
        tool.refused(run)
        return
    show = subprocess.run([sys.executable, "rep/show.py"], capture_output=True, text=True, timeout=60)
    tool.ask(show.returncode == 0, f"show.py: {last(show.stderr)}")
    tool.absent("pwned", "rep/pwned")
    readme = (tool.dir / "rep/README.md").read_text()
    tool.ask("\x1b" not in readme, "README.md holds control characters")


EVIL = 'x"""\nimport os\nos.system("touch pwned")\n"""'
table(
    "light",
    "show",
    show_py,
    {
        "source": lambda t: t["model"].update(source=EVIL),
        "framework": lambda t: t["model"].update(framework=EVIL),
        "versions": lambda t: t["model"].update(versions={EVIL: EVIL}),
        "notes": lambda t: t["model"].update(notes=[EVIL]),
        "how": lambda t: t["input"].update(how=EVIL),
        "kind": lambda t: [one["capture"].update(kind=EVIL) for one in t["calls"]],
        "why": lambda t: [one["capture"].update(description=None, why=EVIL) for one in t["calls"]],
        "output_names": lambda t: [one["capture"]["description"].update(output_names=[EVIL]) for one in t["calls"]],
        "axes": lambda t: [one["capture"]["description"].update(output_axes=[EVIL, EVIL]) for one in t["calls"]],
        "weight_name": lambda t: [one["capture"]["description"]["steps"][0]["op"].get("weight", {}).update(name=EVIL) for one in t["calls"][:1]],
        "escape": lambda t: t["model"].update(source=NAMES["escape"], notes=[NAMES["escape"]]),
    },
)


# --- files that are written ---------------------------------------------------------------------

OUT = {
    "json": (*GIVEN, "--layer", "mul", "--json"),
    "html": (*GIVEN, "--all", "--html"),
    "junit": (*GIVEN, "--all", "--junit"),
    "save": (*GIVEN, "--layer", "mul", "--save"),
    "record": (*GIVEN, "--all", "--record"),
    "recording": ("record", *GIVEN, "-o"),
    "repro": ("repro", *GIVEN, "--layer", "mul", "--anyway", "-o"),
    "explorer": (*GIVEN, "--all", "--model-explorer"),
    "compare_json": ("compare", "m.onnx", *GIVEN, "--json"),
    "compare_html": ("compare", "m.onnx", *GIVEN, "--html"),
    "pairs": ("compare", "m.onnx", *GIVEN, "--save-pairs"),
}
FILES = {"json", "html", "junit", "save", "record", "recording", "compare_json", "compare_html", "pairs"}
ENDING = {"save": ".npz", "record": ".npz", "recording": ".npz"}


def target(tool, option, name, prepare=None, word="refused"):
    """A place that cannot be written: one sentence, and nothing is left."""
    model(tool)
    if prepare:
        prepare(tool)
    run = tool.probe(*OUT[option], name, writes=("none/here", "d\x1b") if word == "safe" else ())
    judge_word(tool, run, word)


for _option in OUT:
    _end = ENDING.get(_option, "")
    table(
        "light",
        f"target_{_option}",
        target,
        {
            "no_folder": (_option, f"none/here{_end}", None, "safe" if _option in ("repro", "explorer") else "refused") if _option in FILES else (_option, "x.npy/here"),
            "is_model": (_option, "m.onnx"),
            "is_input": (_option, "x.npy"),
            "full": (_option, "/dev/full"),
            "empty_name": (_option, ""),
            "file_as_folder": (_option, f"m.onnx/a{_end}"),
            "odd_folder": (_option, "none\x7f/\x1b/a" + _end) if _option in FILES else (_option, "d\x1b", None, "safe"),
            "too_long": (_option, "n" * 300 + _end),
        },
    )
for _option in sorted(FILES - {"record", "recording"}):
    _end = ENDING.get(_option, "")
    table("light", f"target_{_option}", target, {"is_folder": (_option, f"d{_end}", lambda t, e=_end: (t.dir / f"d{e}").mkdir()), "fifo": (_option, f"d{_end}", lambda t, e=_end: os.mkfifo(t.dir / f"d{e}"))})


def small_disk(tool, option):
    """A disk that fills up: one sentence; what was there stays, and nothing half-written."""
    model(tool)
    name = "o" + ENDING.get(option, "")
    if option in FILES:
        tool.write(name, b"before")
    before = tool.tree()

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))

    environment = {**os.environ, "TMPDIR": str(tool.root / "tmp"), "HOME": str(tool.root / "home")}
    done = subprocess.run([shutil.which("probe"), *OUT[option], name], capture_output=True, text=True, timeout=300, env=environment, preexec_fn=limited)
    run = files.Run([*OUT[option], name, "(200 bytes a file)"], done.returncode, done.stdout, done.stderr, 0, 0, "")
    tool.judge(run, before, ("o",), 60, False)
    tool.ask(run.status == 2, f"exit status {run.status} although nothing could be written: {last(run.text)}")
    if option in FILES:
        tool.ask((tool.dir / name).read_bytes() == b"before", "what was there before is lost or half-written")
        left = sorted(one.name for one in tool.dir.iterdir())
        tool.ask(left == sorted(["m.onnx", "x.npy", name]), f"left: {left}")


table("light", "small_disk", small_disk, {option: option for option in OUT if option != "pairs"})


@case("light")
def outputs_same_file(tool):
    """Two reports into one file: refused, or told; not silently one of them."""
    model(tool)
    run = tool.probe(*GIVEN, "--layer", "mul", "--json", "o", "--html", "o", writes=("o",))
    tool.ask(run.status == 2, "two reports were written to one file, of which one is lost")


@case("light")
def outputs_kept_when_failing(tool):
    """An earlier report is left as it is where the run fails."""
    model(tool)
    for name in ("o.json", "o.html", "o.xml", "o.npz"):
        tool.write(name, "before")
    tool.refused(tool.probe(*GIVEN, "--layer", "none", "--json", "o.json", "--html", "o.html", "--junit", "o.xml", "--save", "o.npz"))
    tool.refused(tool.probe(*GIVEN, "--layer", "mul", "--expect", "none.npy", "--json", "o.json", "--html", "o.html", "--save", "o.npz"))


@case("light")
def outputs_json_on_stdout(tool):
    """--json - prints JSON alone, whatever the names and the verdict."""
    model(tool, NAMES["newlines"], NAMES["escape"])
    np.save(tool.dir / "mine.npy", RIGHT + 1)
    for arguments in ((*GIVEN, "--all"), ("m.onnx", "--all", "--shape", "2,4")):
        run = tool.probe(*arguments, "--json", "-")
        try:
            json.loads(run.out)
        except ValueError as error:
            tool.ask(False, f"standard output is no JSON: {error}")


@case("light")
def outputs_json_nan(tool):
    """JSON of a report with NaN and infinities is strict JSON."""
    model(tool)
    np.save(tool.dir / "mine.npy", np.where(RIGHT > 0, np.inf, np.nan).astype("f4"))
    run = tool.probe(*ONE, "--json", "-")
    json.loads(run.out, parse_constant=lambda word: tool.ask(False, f"JSON holds {word}"))


@case("light")
def outputs_closed_pipe(tool):
    """Standard output that nobody reads: no traceback."""
    model(tool)
    done = subprocess.run(["bash", "-c", "probe m.onnx --all --input x.npy -v | true; probe --help | head -1; probe causes | head -1"], capture_output=True, text=True, timeout=120)
    tool.ask("Traceback" not in done.stderr and "Exception" not in done.stderr, last(done.stderr))


@case("light")
def outputs_ascii(tool):
    """A locale without Unicode: no traceback."""
    model(tool, "größe\u4e2d", "soft")
    for extra in ({"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}):
        for arguments in (["m.onnx", "--all"], ["m.onnx"], ["m.onnx", "--layer", "größe\u4e2d", "--at", "0,0"]):
            done = subprocess.run([shutil.which("probe"), *arguments], capture_output=True, env={**os.environ, **extra}, timeout=120)
            tool.ask(done.returncode == 0 and b"Traceback" not in done.stderr, f"{extra} {arguments}: {done.returncode} {last(done.stderr.decode('latin-1'))}")


def interrupted(tool, number, after):
    """A signal while a recording is written: whole or absent, no temporary file."""
    save_onnx(tool, onnx_model([node("Add", [f"t{i}" if i else "x", f"t{i}" if i else "x"], [f"t{i + 1}" if i < 39 else "y"], name=f"n{i}") for i in range(40)], x=(500, 2000)))
    model_tree = sorted(tool.tree())
    for option, name in ((["record", "m.onnx", "-o"], "run.npz"), (["m.onnx", "--all", "--html"], "o.html")):
        process = subprocess.Popen([shutil.which("probe"), *option, name], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tool.root / "tmp")})
        time.sleep(after)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        tool.ask("Traceback" not in err, f"a traceback: {last(err)}")
        if (tool.dir / name).exists():
            if name.endswith("npz"):
                tool.ask(tool.probe("run.npz").status == 0, "a half-written recording is there")
            (tool.dir / name).unlink()
        left = [one for one in tool.tree() if one not in model_tree]
        tool.ask(not left, f"left after signal {number}: {[os.path.relpath(one, tool.root) for one in left]}")
        for one in left:
            os.unlink(one)


table(
    "light",
    "interrupt",
    interrupted,
    {f"{name}_{int(after * 1000)}": (number, after) for name, number in (("int", signal.SIGINT), ("term", signal.SIGTERM), ("hup", signal.SIGHUP)) for after in (0.05, 0.4, 0.7, 1.0, 1.4)},
)


# --- lines to copy ------------------------------------------------------------------------------

EVIL_NAMES = {
    "plain": "m",
    "blank": "a b",
    "quote": "a'b",
    "quotes": "a\"b'c",
    "quote_dollar": "a'$(touch pwned)",
    "quotes_dollar": "a'$(touch pwned)\"",
    "quote_backtick": "a'`touch pwned`",
    "dollar": "$(touch pwned)",
    "backtick": "`touch pwned`",
    "semicolon": "a;touch pwned",
    "newline": "a\ntouch pwned",
    "bang": "a!!b!1",
    "tilde": "~root",
    "glob": "*",
    "brace": "{a,b}",
    "option": "--trust",
    "dash": "-m",
    "hash": "#x",
    "redirect": ">pwned",
    "ampersand": "a&touch pwned",
    "variable": "$HOME",
    "backslash": "a\\",
    "escape": "a\x1bb",
    "carriage": "a\rtouch pwned #",
    "unicode": "a\u2019b\u00a0c",
    "empty_quote": "''",
    "backtick_code": "a`b``touch pwned`",
}
SHELL = 'probe() { printf "%s\\0" probe "$@" >> args; printf "\\0" >> args; }; model-explorer() { probe "$@"; }; python() { :; }; pytest() { probe "$@"; }\n'


def paste(tool, command):
    """The arguments that bash makes of a line."""
    (tool.dir / "args").unlink(missing_ok=True)
    where = tool.dir / "paste"
    where.mkdir(exist_ok=True)
    subprocess.run(["bash", "-c", SHELL.replace("args", str(tool.dir / "args")) + command], cwd=where, capture_output=True, timeout=20, env={**os.environ, "HOME": "/nowhere"})
    left = sorted(one.name for one in where.iterdir())
    tool.ask(not left, f"pasting {command!r} leaves {left}")
    shutil.rmtree(where)
    if not (tool.dir / "args").exists():
        return []
    return [run.split("\0") for run in (tool.dir / "args").read_text().split("\0\0") if run]


def same(tool, command, *wanted):
    made = paste(tool, command)
    tool.ask(len(made) == 1, f"pasting {command!r} runs {len(made)} commands: {made}")
    for one in wanted:
        tool.ask(made and one in made[0], f"pasting {command!r} gives {made}, without {one!r}")
    shows = any(ord(c) < 32 or 126 < ord(c) < 160 for c in command)
    tool.ask(not shows, f"the line {command!r} holds control characters")


def shown(name):
    """Whether a name can be printed as it is."""
    return all(32 <= ord(c) < 127 for c in name)


def copy_compare(tool, name):
    """`look closer` lines of compare with such layer names."""
    model(tool, name, name + "2")
    np.savez(tool.dir / "o.npz", **{"x": 1})
    with zipfile.ZipFile(tool.dir / "o.npz", "w") as file:
        file.writestr(f"{name}.npy", array(RIGHT))
    other = [node("MatMul", ["x", "w"], ["a"], name=name), node("Softmax", ["a"], ["y"], name=name + "2", axis=0)]
    save_onnx(tool, onnx_model(other, [tensor("w", WEIGHT)]), "b.onnx")
    run = tool.probe("compare", "m.onnx", "b.onnx", "--input", "x.npy", "--html", "c.html", writes=("c.html",))
    tool.diverges(run)
    import html

    lines = re.findall(r"look closer: (.*)", run.out)
    tool.ask(lines, "no line to copy")
    page = (tool.dir / "c.html").read_text()
    lines += [html.unescape(one) for one in re.findall(r"<code[^>]*>(probe .*?)</code>", page, re.S) if "<" not in one]
    for line in dict.fromkeys(lines):
        if line.startswith("probe compare"):
            tool.ask(len(paste(tool, line)) == 1, f"pasting {line!r} of the page runs another number of commands")
            continue
        made = paste(tool, line)
        tool.ask(len(made) == 1, f"pasting {line!r} runs {len(made)} commands: {made}")
        if shown(name):
            tool.ask(made and {name + "2", f"--layer={name}2"} & set(made[0]), f"pasting {line!r} gives {made}")
            again = tool.probe(*made[0][1:]) if made else None
            tool.ask(again is None or again.status in (0, 1), f"the line {line!r} does not work: {again and last(again.text)}")
    tool.absent("pwned")


def copy_explorer(tool, name):
    """The line that opens Model Explorer, for such a folder."""
    if "/" in name:
        return
    model(tool)
    run = tool.probe(*GIVEN, "--all", f"--model-explorer=./{name}", writes=(name,))
    tool.agrees(run)
    lines = re.findall(r"open it: (.*)", run.out)
    tool.ask(lines, f"no line to copy: {last(run.out)}")
    for line in lines:
        if shown(name):
            same(tool, line, f"./{name}/graph.json" if f"./{name}/graph.json" in str(paste(tool, line)) else f"{name}/graph.json")
        else:
            paste(tool, line)


def copy_repro(tool, name):
    """The commands in the README of repro, for such a layer and such a folder."""
    model(tool, name, name + "2")
    np.save(tool.dir / "mine.npy", RIGHT + 1)
    run = tool.probe("repro", *GIVEN, f"--layer={name}", "--expect", "mine.npy", "-o", f"./r{name}", writes=(f"r{name}",))
    if run.status == 2:
        tool.refused(run)
        return
    readme = (tool.dir / f"r{name}" / "README.md").read_text()
    found = re.findall(r"(`+) ?((?:probe|python)\b.*?[^`]) ?\1(?!`)", readme)
    tool.ask(len(found) >= 2, "no commands in the README")
    for _, line in found:
        made = paste(tool, line)
        tool.ask(line.startswith("python") or len(made) == 1, f"pasting {line!r} runs {len(made)} commands")
        if shown(name) and made and made[0][1] == "call.npz":
            again = tool.probe(f"r{name}/call.npz", *made[0][2:])
            tool.ask(again.status in (0, 1), f"{line!r} does not work: {last(again.text)}")


def copy_html(tool, name):
    """The command at the foot of a page, for such a layer."""
    import html

    model(tool, name, name + "2")
    for options in ((f"--layer={name}",), (f"--layer={name}", "--at", "0,0")):
        run = tool.probe(*GIVEN, *options, "--html", "o.html", writes=("o.html",))
        tool.agrees(run)
        lines = [html.unescape(one) for one in re.findall(r"<code[^>]*>(probe .*?)</code>", (tool.dir / "o.html").read_text(), re.S)]
        tool.ask(lines, "no command in the page")
        for line in lines:
            made = paste(tool, line)
            tool.ask(len(made) == 1, f"pasting {line!r} runs {len(made)} commands: {made}")
            if shown(name):
                tool.ask(made and any(one in (f"--layer={name}", name) for one in made[0]), f"pasting {line!r} gives {made}")


for _name, _function in (("copy_compare", copy_compare), ("copy_explorer", copy_explorer), ("copy_repro", copy_repro), ("copy_html", copy_html)):
    table("light", _name, _function, EVIL_NAMES)


@case("light")
def copy_compare_keeps_options(tool):
    """The line to look closer repeats how the models were opened and on which input."""
    model(tool)
    other = [node("MatMul", ["x", "w"], ["a"], name="mul"), node("Softmax", ["a"], ["y"], name="soft", axis=0)]
    save_onnx(tool, onnx_model(other, [tensor("w", WEIGHT)]), "b.onnx")
    np.save(tool.dir / "x y.npy", X)
    for options, wanted in ((("--input", "x y.npy"), "x y.npy"), (("--seed", "7"), "7")):
        run = tool.probe("compare", "m.onnx", "b.onnx", *options)
        for line in re.findall(r"look closer: (.*)", run.out):
            same(tool, line, wanted)


# --- compare, pairs, types ----------------------------------------------------------------------


def pairs(tool, made, word):
    """--pairs: what it says is kept to, and never makes wrong values agree."""
    model(tool)
    wrong = [node("MatMul", ["x", "w"], ["a"], name="mul"), node("Softmax", ["a"], ["y"], name="soft", axis=0)]
    save_onnx(tool, onnx_model(wrong, [tensor("w", WEIGHT)]), "b.onnx")
    made = made() if callable(made) else made
    tool.write("p.json", made if isinstance(made, (str, bytes)) else json.dumps(made))
    judge_word(tool, tool.probe("compare", "m.onnx", "b.onnx", "--input", "x.npy", "--pairs", "p.json"), word)


P = [["mul", "mul"], ["soft", "soft"]]
table(
    "light",
    "pairs",
    pairs,
    {
        "plain": ({"pairs": P, "unpaired": {"a": [], "b": []}}, "diverge"),
        "none": ({"pairs": [], "unpaired": {"a": ["mul", "soft"], "b": ["mul", "soft"]}}, "not"),
        "wrong_one_left_out": ({"pairs": [["mul", "mul"]], "unpaired": {"a": ["soft"], "b": ["soft"]}}, "not"),
        "unknown": ({"pairs": [["none", "mul"]]}, "refused"),
        "crossed": ({"pairs": [["mul", "soft"], ["soft", "mul"]]}, "not"),
        "twice": ({"pairs": [*P, ["mul", "soft"]]}, "not"),
        "many": ({"pairs": P * 50000}, "not"),
        "list": (P, "not"),
        "number": (5, "refused"),
        "null": (None, "not"),
        "pairs_number": ({"pairs": 5}, "refused"),
        "pair_of_three": ({"pairs": [["mul", "mul", "soft"]]}, "refused"),
        "pair_of_numbers": ({"pairs": [[1, 2]]}, "refused"),
        "pair_of_lists": ({"pairs": [[["mul"], ["mul"]]]}, "not"),
        "dictionary": ({"pairs": {"mul": "mul"}}, "not"),
        "escape": ({"pairs": [[NAMES["escape"], "mul"]]}, "refused"),
        "bad_json": ("{", "refused"),
        "empty": ("", "refused"),
        "deep": ("[" * 100000 + "]" * 100000, "refused"),
        "deep_key": ('{"pairs": ' + "[" * 100000 + "]" * 100000 + "}", "refused"),
        "binary": (b"\xff\xfe\0", "refused"),
        "digits": ('{"pairs": [[' + "9" * 10000 + ", 1]]}", "refused"),
        "surrogate": ('{"pairs": [["\\ud800", "mul"]]}', "refused"),
        "key_twice": ('{"pairs": [["mul", "mul"], ["soft", "soft"]], "pairs": []}', "not"),
        "huge": (lambda: '{"pairs": []' + " " * (200 << 20) + "}", "not"),
    },
)


def types(tool, made, word="safe"):
    """--types: notes, or one sentence."""
    model(tool)
    tool.write("t.json", made if isinstance(made, (str, bytes)) else json.dumps(made))
    run = tool.probe("compare", "m.onnx", "m.onnx", "--input", "x.npy", "--types", "t.json")
    if word == "safe" and run.status == 2 and not run.out:
        tool.refused(run)
    judge_word(tool, run, word)


def named(text):
    return {"LayerName": {"mul": {"Precision": text}}}


table(
    "light",
    "types",
    types,
    {
        "plain": (named("ap_fixed<8,3>"), "agree"),
        "wide": named("ap_fixed<9999999999,3>"),
        "digits": named("ap_fixed<" + "9" * 5000 + ",3>"),
        "negative": named("ap_fixed<-8,-3>"),
        "zero": named("ap_fixed<0,0>"),
        "integer_wide": named("ap_fixed<8,2000000>"),
        "integer_narrow": named("ap_fixed<8,-2000000>"),
        "unclosed": named("ap_fixed<8,3"),
        "nested": named("ap_fixed<" * 20000),
        "blanks": named("ap_fixed<8," + " " * 10**6 + "3>"),
        "modes": named("ap_fixed<8,3,AP_RND_CONV,AP_SAT,5>"),
        "modes_many": named("ap_fixed<8,3" + ",AP_RND" * 100000 + ">"),
        "code": named("ap_fixed<__import__('os').system('touch pwned'),3>"),
        "unknown": named("double"),
        "empty": named(""),
        "number": named(8),
        "list": named(["ap_fixed<8,3>"]),
        "deep": named(json.loads('{"weight":' * 400 + '"ap_fixed<8,3>"' + "}" * 400)),
        "escape": {"LayerName": {NAMES["escape"]: {"Precision": "\x1b[31m"}}},
        "layer_unknown": ({"LayerName": {"none": {"Precision": "ap_fixed<8,3>"}}}, "safe"),
        "layers_many": {"LayerName": {f"l{i}": {"Precision": "ap_fixed<8,3>"} for i in range(50000)}},
        "empty_object": ({}, "safe"),
        "array": ([], "refused"),
        "null": (None, "refused"),
        "text": ("x", "refused"),
        "yaml": ("LayerName:\n  mul: !!python/object/apply:os.system ['touch pwned']\n", "refused"),
        "deep_json": ("[" * 100000 + "]" * 100000, "refused"),
        "uint": (named("ap_ufixed<4,4>"), "agree"),
    },
)


def sides(tool, make, word):
    """Outputs alone as a side of compare."""
    model(tool)
    make(tool)
    judge_word(tool, tool.probe("compare", "m.onnx", "o.npz" if (tool.dir / "o.npz").exists() else "o", "--input", "x.npy"), word)


def npz(**arrays):
    return lambda tool: np.savez(tool.dir / "o.npz", **arrays)


table(
    "light",
    "sides",
    sides,
    {
        "right": (npz(mul=RIGHT, soft=SOFT), "agree"),
        "last_wrong": (npz(mul=RIGHT, soft=SOFT[::-1]), "diverge"),
        "first_wrong": (npz(mul=RIGHT + 1, soft=SOFT), "diverge"),
        "both_exchanged": (npz(mul=SOFT, soft=RIGHT), "not"),
        "nan": (npz(mul=RIGHT, soft=SOFT * np.nan), "not"),
        "zeros": (npz(mul=RIGHT * 0, soft=SOFT * 0), "not"),
        "transposed": (npz(mul=RIGHT.T, soft=SOFT.T), "not"),
        "rows_missing": (npz(mul=RIGHT[:1], soft=SOFT[:1]), "not"),
        "columns_missing": (npz(mul=RIGHT[:, :2], soft=SOFT[:, :2]), "not"),
        "empty_arrays": (npz(mul=RIGHT[:0], soft=SOFT[:0]), "not"),
        "no_common_name": (npz(a=np.ones(3), b=np.zeros(4)), "not"),
        "one_unknown_wrong": (npz(mul=RIGHT, other=SOFT[::-1]), "safe"),
        "copies": (npz(mul=RIGHT, soft=RIGHT), "not"),
        "strings": (npz(mul=RIGHT.astype(str)), "not"),
        "complex": (npz(mul=RIGHT + 5j, soft=SOFT + 5j), "not"),
        "bool": (npz(mul=RIGHT > 0, soft=SOFT > 0), "not"),
        "big_endian": (npz(mul=RIGHT.astype(">f4"), soft=SOFT.astype(">f4")), "agree"),
        "scalars": (npz(mul=RIGHT[0, 0], soft=SOFT[0, 0]), "not"),
    },
)


def two_models(tool, change, word):
    """B is A but for one thing."""
    model(tool)
    save_onnx(tool, change(), "b.onnx")
    judge_word(tool, tool.probe("compare", "m.onnx", "b.onnx", "--input", "x.npy"), word)


def other(weight=WEIGHT, axis=-1, extra=(), last="y", **more):
    nodes = [node("MatMul", ["x", "w"], ["a"], name="mul"), node("Softmax", ["a"], [last], name="soft", axis=axis), *extra]
    return lambda: onnx_model(nodes, [tensor("w", weight), *(more.get("more", ()))])


def weight_of(at, value):
    made = WEIGHT.copy()
    made[at] = value
    return made


table(
    "light",
    "models",
    two_models,
    {
        "same": (other(), "agree"),
        "weight_off": (lambda: other(weight_of((0, 0), 9))(), "diverge"),
        "weight_off_little": (lambda: other(weight_of((0, 0), WEIGHT[0, 0] * 1.001))(), "diverge"),
        "weight_nan": (lambda: other(weight_of((0, 0), np.nan))(), "not"),
        "weight_columns_exchanged": (lambda: other(WEIGHT[:, ::-1].copy())(), "diverge"),
        "axis": (lambda: other(axis=0)(), "diverge"),
        "softmax_left_out": (lambda: onnx_model([node("MatMul", ["x", "w"], ["y"], name="mul")], [tensor("w", WEIGHT)]), "not"),
        "relu_more": (lambda: onnx_model([node("MatMul", ["x", "w"], ["a"], name="mul"), node("Relu", ["a"], ["b"]), node("Softmax", ["b"], ["y"], name="soft")], [tensor("w", WEIGHT)]), "diverge"),
        "tiny_noise": (lambda: onnx_model([node("MatMul", ["x", "w"], ["a"], name="mul"), node("Add", ["a", "e"], ["b"]), node("Softmax", ["b"], ["y"], name="soft")], [tensor("w", WEIGHT), tensor("e", np.float32([0, 0, 0.01]))]), "diverge"),
        "output_is_middle": (lambda: onnx_model([node("MatMul", ["x", "w"], ["y"], name="mul"), node("Softmax", ["y"], ["z"], name="soft")], [tensor("w", WEIGHT)]), "not"),
        "constant": (lambda: onnx_model([node("Mul", ["x", "n"], ["q"]), node("ReduceSum", ["q"], ["s"]), node("Add", ["s", "c"], ["y"])], [tensor("n", np.float32(0)), tensor("c", SOFT)]), "safe"),
        "bfloat16_rounded": (lambda: other((WEIGHT.view(np.uint32) & 0xFFFF0000).view(np.float32))(), "safe"),
    },
)


# --- shell completion ---------------------------------------------------------------------------


def completion(tool, words):
    """Completion of odd words: no traceback, nothing run, no model opened."""
    model(tool)
    tool.write("$(touch pwned).onnx", b"x")
    tool.write("a\x1b[31mb.onnx", b"x")
    for shell in ("bash", "zsh", "fish"):
        run = tool.probe(env={"_PROBE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}, quick=20)
        tool.ask("Traceback" not in run.text, last(run.text))
    tool.absent("pwned")


table(
    "light",
    "completion",
    completion,
    {"first": "probe ", "layer": "probe m.onnx --layer ", "quote": "probe 'm.onnx --layer ", "shell": "probe $(touch pwned) --layer `touch pwned` ", "long": "probe " + "x" * 100000, "escape": "probe \x1b[31m ", "subcommand": "probe compare ", "option": "probe --", "empty": ""},
)


@case("light")
def completion_number(tool):
    """COMP_CWORD that is no number, and unknown shells: no traceback."""
    for extra in ({"COMP_CWORD": "x"}, {"COMP_CWORD": "-99"}, {"COMP_CWORD": "9" * 5000}, {"_PROBE_COMPLETE": "tcsh_complete"}, {"_PROBE_COMPLETE": "x"}):
        run = tool.probe(env={"_PROBE_COMPLETE": "bash_complete", "COMP_WORDS": "probe m", "COMP_CWORD": "1", **extra})
        tool.ask("Traceback" not in run.text, f"{extra}: {last(run.text)}")


# --- the plugin of pytest -----------------------------------------------------------------------


def pytest(tool, source, *arguments, passed=None, failed=None, env=None):
    """Runs a test file; its counts are those asked for, and nothing breaks pytest itself."""
    if source is not None:
        tool.write("test_it.py", source)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-rA", "test_it.py", *arguments], capture_output=True, text=True, timeout=240, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})})
    output = done.stdout + done.stderr
    tool.ask("INTERNALERROR" not in output, f"INTERNALERROR: {last(output)}")
    tool.ask("internal error" not in output.lower().replace("internalerror", ""), "says internal error")
    tool.ask("\x1b" not in output.replace("\x1b[", "", 0) or "\x1b" not in output, "control characters in the output of pytest")
    count = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", output.splitlines()[-1] if output.splitlines() else "")}
    if passed is not None:
        tool.ask(count.get("passed", 0) == passed, f"{count}, expected {passed} passed: {last(output)}")
    if failed is not None:
        tool.ask(count.get("failed", 0) + count.get("error", 0) == failed, f"{count}, expected {failed} failed: {last(output)}")
    tool.absent("pwned")
    return output


EACH = "import pytest\n@pytest.mark.probe({})\ndef test_layer(layer):\n    layer.assert_agrees()\n"
KEPT = "import numpy as np\n{}def test_kept(probe_run{}):\n    probe_run.check('m.onnx', np.load('x.npy'){})\n"


@case("light")
def plugin_passes(tool):
    """A test for each layer of a right model."""
    model(tool)
    pytest(tool, EACH.format("'m.onnx', input='x.npy'"), passed=2, failed=0)


def plugin_mark(tool, arguments, failed=1):
    """A wrong mark: an error of that test, in words."""
    model(tool)
    output = pytest(tool, EACH.format(arguments))
    tool.ask(re.search(r"error|failed|skipped", output), "a wrong mark goes through: " + last(output))


table(
    "light",
    "plugin_mark",
    plugin_mark,
    {
        "no_model": "",
        "missing_file": "'none.onnx'",
        "option": "'m.onnx', no_such_option=1",
        "layer_unknown": "'m.onnx', layers=['none']",
        "layer_none": "'m.onnx', layers=[]",
        "input_missing": "'m.onnx', input='none.npy'",
        "shape": "'m.onnx', shape=(10**9, 10**9)",
        "number": "5",
        "against_missing": "'m.onnx', against='none.onnx'",
        "trust_word": "'x.npy', trust='yes'",
    },
)


def plugin_names(tool, name):
    """Layers of odd names: two tests, which pass, and a report whose names stay in its folder."""
    model(tool, name, name + "2")
    pytest(tool, EACH.format("'m.onnx', input='x.npy'"), "--junitxml", "j.xml", passed=2, failed=0)
    xml.etree.ElementTree.parse(tool.dir / "j.xml")
    other = [node("MatMul", ["x", "w"], ["a"], name=name), node("Softmax", ["a"], ["y"], name=name + "2", axis=0)]
    save_onnx(tool, onnx_model(other, [tensor("w", WEIGHT)]), "b.onnx")
    before = set(tool.tree())
    output = pytest(tool, EACH.format("'m.onnx', against='b.onnx', input='x.npy'"), "--probe-report", "pages", failed=1)
    made = [os.path.relpath(one, tool.dir) for one in set(tool.tree()) - before]
    tool.ask(all(one.startswith("pages/") for one in made), f"written outside of the folder of --probe-report: {made}")
    for line in re.findall(r"^E?\s*(?:.*?:\s)?(probe (?:compare |)m\.onnx.*)$", output, re.M):
        made = paste(tool, line)
        tool.ask(len(made) == 1, f"pasting {line!r} runs {len(made)} commands: {made}")


table("light", "plugin_names", plugin_names, {key: NAMES[key] for key in ("escape", "newlines", "slashes", "shell", "html", "long", "blank", "option", "markup")} | {"dots": "..", "brackets": "a[b]::c"})


def baseline(tool, change, word, after=None):
    """A baseline of an earlier run that was damaged, or is of something else."""
    model(tool)
    source = KEPT.format("", "", "")
    pytest(tool, source, "--probe-update", passed=1)
    path = tool.dir / "test_it" / "test_kept.npz"
    tool.ask(path.exists(), f"no baseline: {sorted(os.listdir(tool.dir))}")
    change(tool, path)
    output = pytest(tool, source, **({"passed": 1, "failed": 0} if word == "passes" else {"passed": 0, "failed": 1}))
    tool.ask("Traceback (most recent" not in output, "a traceback in the output")


def baseline_edit(edit):
    def change(tool, path):
        held = members(path)
        told = json.loads(held["recording.json"])
        if edit(told, held) is not False:
            refresh(held, told)
        held["recording.json"] = json.dumps(told).encode()
        path.write_bytes(zip_of(*held.items()))

    return change


def only_first(told, held):
    for key in ("calls", "calls_inside"):
        told[key] = [one for one in told[key] if one["capture"]["layer"] == "mul"]
    told["layers"] = [one for one in told["layers"] if one["name"] == "mul"]
    told["calls_of_blocks"], told["blocks"], told["names"] = [], [], ["mul"]
    return False


def other_weight(tool, path):
    save_onnx(tool, other(weight_of((0, 0), 5))())


table(
    "light",
    "baseline",
    baseline,
    {
        "as_it_is": (lambda t, p: None, "passes"),
        "cut": (lambda t, p: p.write_bytes(p.read_bytes()[:300]), "fails"),
        "empty": (lambda t, p: p.write_bytes(b""), "fails"),
        "text": (lambda t, p: p.write_text("x"), "fails"),
        "folder": (lambda t, p: (p.unlink(), p.mkdir()), "fails"),
        "fifo": (lambda t, p: (p.unlink(), os.mkfifo(p)), "fails"),
        "zero": (lambda t, p: (p.unlink(), os.symlink("/dev/zero", p)), "fails"),
        "plain_npz": (lambda t, p: np.savez(p, a=np.ones(3)), "fails"),
        "model_changed": (other_weight, "fails"),
        "input_changed": (lambda t, p: np.save(t.dir / "x.npy", X + 1), "fails"),
        "output_changed": (baseline_edit(set_array(3, SOFT[::-1])), "fails"),
        "layer_missing": (baseline_edit(only_first), "fails"),
        "calls_none": (baseline_edit(lambda t, h: t.update(calls=[], calls_inside=[], calls_of_blocks=[]) or False), "fails"),
        "layer_more_in_model": (lambda t, p: save_onnx(t, onnx_model([node("MatMul", ["x", "w"], ["a"], name="mul"), node("Softmax", ["a"], ["b"], name="soft"), node("Exp", ["b"], ["y"], name="more")], [tensor("w", WEIGHT)])), "fails"),
        "layer_fewer_in_model": (lambda t, p: save_onnx(t, onnx_model([node("MatMul", ["x", "w"], ["y"], name="mul")], [tensor("w", WEIGHT)])), "fails"),
    },
)


@case("light")
def baseline_parameter_outside(tool):
    """A test's parameter with ../ in it: the baseline stays beside the test."""
    model(tool)
    source = KEPT.format("import pytest\n@pytest.mark.parametrize('p', ['../../../canary/x', 'a/b', '..', 'x' * 300, 'a\\0b', 'A', 'a'])\n", ", p", "")
    before = set(tool.tree())
    pytest(tool, source, "--probe-update")
    made = [os.path.relpath(one, tool.dir) for one in set(tool.tree()) - before]
    tool.ask(all(one.startswith(("test_it/", "test_it.py")) for one in made), f"written outside: {made}")
    pytest(tool, source, passed=7, failed=0)


@case("light")
def baseline_parameters_apart(tool):
    """Two parameters whose names are alike as files: each has its own baseline."""
    model(tool)
    np.save(tool.dir / "x2.npy", X + 1)
    source = "import numpy as np\nimport pytest\n@pytest.mark.parametrize('p', ['a/b', 'a:b', 'a b', 'a?b', 'a_b'])\ndef test_kept(probe_run, p):\n    probe_run.check('m.onnx', np.load('x.npy') + ['a/b', 'a:b', 'a b', 'a?b', 'a_b'].index(p))\n"
    pytest(tool, source, "--probe-update", passed=5)
    pytest(tool, source, passed=5, failed=0)


@case("light")
def baseline_update_through_link(tool):
    """--probe-update where the baseline is a link to a file elsewhere: that file stays."""
    model(tool)
    precious = tool.secret / "precious"
    precious.write_text("precious")
    (tool.dir / "test_it").mkdir()
    os.symlink(precious, tool.dir / "test_it" / "test_kept.npz")
    pytest(tool, KEPT.format("", "", ""), "--probe-update")
    tool.ask(precious.read_bytes() == b"precious", "the file that the link points to was overwritten")


@case("light")
def baseline_update_failing(tool):
    """--probe-update of a check that cannot run leaves the old baseline."""
    model(tool)
    source = KEPT.format("", "", "")
    pytest(tool, source, "--probe-update", passed=1)
    path = tool.dir / "test_it" / "test_kept.npz"
    before = path.read_bytes()
    tool.write("m.onnx", b"damaged")
    pytest(tool, source, "--probe-update", passed=0, failed=1)
    tool.ask(path.read_bytes() == before, "the baseline was changed by a check that failed")


@case("light")
def baseline_two_checks(tool):
    """Two checks in one test have a baseline each."""
    model(tool)
    source = "import numpy as np\ndef test_kept(probe_run):\n    probe_run.check('m.onnx', np.load('x.npy'))\n    probe_run.check('m.onnx', np.load('x.npy') + 1)\n"
    pytest(tool, source, "--probe-update", passed=1)
    pytest(tool, source, passed=1, failed=0)
    pytest(tool, source.replace("+ 1", "+ 2"), passed=0, failed=1)


# --- from Python --------------------------------------------------------------------------------

API = """
import pathlib
import numpy as np
import probe
X = np.load("x.npy")
try:
    made = {code}
    print("MADE", getattr(made, "verdict", type(made).__name__))
except probe.ProbeError as error:
    print("PROBE", type(error).__name__, str(error)[:300])
except (TypeError, AssertionError) as error:
    print("PYTHON", type(error).__name__, str(error)[:300])
except Exception as error:
    print("OTHER", type(error).__name__, str(error)[:300])
"""


def api(tool, code, word="PROBE"):
    """A wrong argument: a ProbeError (or TypeError) in words; nothing else."""
    model(tool)
    np.save(tool.dir / "mine.npy", RIGHT)
    run = tool.python(API.format(code=code), writes=("o",))
    said = run.out.split(" ")[0].strip()
    tool.ask(said in {"PROBE": ("PROBE", "PYTHON"), "MADE": ("MADE",), "safe": ("PROBE", "PYTHON", "MADE")}[word], last(run.text))
    if word == "MADE":
        tool.ask(True, "")


def not_agreed(tool, code):
    """Wrong values from Python: never an agreement."""
    model(tool)
    np.save(tool.dir / "right.npy", RIGHT)
    run = tool.python(API.format(code=code))
    tool.ask("MADE agree" not in run.out and "OTHER" not in run.out, last(run.text))


table(
    "light",
    "api",
    api,
    {
        "open_none": "probe.open_model(None)",
        "open_bytes": "probe.open_model(b'm.onnx')",
        "open_path": ("probe.open_model(pathlib.Path('m.onnx'))", "MADE"),
        "open_number": "probe.open_model(5)",
        "open_nul": "probe.open_model('a\\0b')",
        "open_surrogate": "probe.open_model('a\\udcff')",
        "open_long": "probe.open_model('a' * 100000)",
        "open_empty": "probe.open_model('')",
        "open_device": "probe.open_model('m.onnx', device='tpu')",
        "open_factory_number": "probe.open_model('m.onnx', factory=5)",
        "open_imports_word": "probe.open_model('m.onnx', imports='evil')",
        "open_imports_number": "probe.open_model('m.onnx', imports=[5])",
        "layer_none": "probe.check('m.onnx', None, X)",
        "layer_number": "probe.check('m.onnx', 5, X)",
        "layer_tuple_short": "probe.check('m.onnx', ('mul',), X)",
        "layer_tuple_long": "probe.check('m.onnx', ('mul', 'soft', 'x'), X)",
        "layer_tuple_numbers": "probe.check('m.onnx', (1, 2), X)",
        "x_object": "probe.check('m.onnx', 'mul', object())",
        "x_strings": "probe.check('m.onnx', 'mul', [['a'] * 4] * 2)",
        "x_ragged": "probe.check('m.onnx', 'mul', [[1, 2, 3, 4], [1, 2]])",
        "x_itself": "probe.check('m.onnx', 'mul', (lambda l: (l.append(l), l)[1])([]))",
        "x_deep": "probe.check('m.onnx', 'mul', __import__('functools').reduce(lambda a, _: [a], range(5000), 1))",
        "x_mapping_wrong": "probe.check('m.onnx', 'mul', {'z': X})",
        "x_mapping_number": "probe.check('m.onnx', 'mul', {5: X})",
        "x_generator": ("probe.check('m.onnx', 'mul', (i for i in [X]))", "safe"),
        "x_function": "probe.check('m.onnx', 'mul', print)",
        "x_text": "probe.check('m.onnx', 'mul', 'text')",
        "x_bytes": "probe.check('m.onnx', 'mul', b'text')",
        "x_set": "probe.check('m.onnx', 'mul', {1, 2})",
        "x_shape_lies": "probe.check('m.onnx', 'mul', type('A', (), {'shape': (10**9, 10**9), 'dtype': 'f4'})())",
        "expected_object": "probe.check('m.onnx', 'mul', X, expected=object())",
        "expected_text": "probe.check('m.onnx', 'mul', X, expected='mine.npy')",
        "expected_empty": ("probe.check('m.onnx', 'mul', X, expected=[])", "safe"),
        "expected_mapping_empty": ("probe.check('m.onnx', 'mul', X, expected={})", "safe"),
        "expected_mapping_unknown": ("probe.check('m.onnx', 'mul', X, expected={'none': X})", "safe"),
        "expected_many": ("probe.check('m.onnx', 'mul', X, expected=[X] * 5)", "safe"),
        "given_shape": "probe.check('m.onnx', 'mul', given=np.ones((2, 5), 'f4'))",
        "given_text": "probe.check('m.onnx', 'mul', given='x')",
        "call_word": "probe.check('m.onnx', 'mul', X, call='0')",
        "call_float": ("probe.check('m.onnx', 'mul', X, call=0.5)", "safe"),
        "call_beyond": "probe.check('m.onnx', 'mul', X, call=7)",
        "shape_word": "probe.check('m.onnx', 'mul', shape='2,4')",
        "shape_nested": ("probe.check('m.onnx', 'mul', shape=[[[2, 4]]])", "PROBE"),
        "shape_float": "probe.check('m.onnx', 'mul', shape=(2.5, 4))",
        "shape_nan": "probe.check('m.onnx', 'mul', shape=(float('nan'), 4))",
        "shape_huge": "probe.check('m.onnx', 'mul', shape=(10**30, 4))",
        "seed_word": "probe.check('m.onnx', 'mul', seed='a')",
        "seed_negative": ("probe.check('m.onnx', 'mul', seed=-1)", "safe"),
        "seed_huge": ("probe.check('m.onnx', 'mul', seed=10**100)", "safe"),
        "seed_none": ("probe.check('m.onnx', 'mul', seed=None)", "safe"),
        "rtol_word": "probe.check('m.onnx', 'mul', X, rtol='a', atol=0)",
        "rtol_alone": "probe.check('m.onnx', 'mul', X, rtol=1)",
        "rtol_nan": "probe.check('m.onnx', 'mul', X, rtol=float('nan'), atol=0)",
        "rtol_array": "probe.check('m.onnx', 'mul', X, rtol=X, atol=X)",
        "rtol_complex": "probe.check('m.onnx', 'mul', X, rtol=1j, atol=0)",
        "part_number": ("probe.check('m.onnx', 'mul', X, expected=1.0, expected_at=5)", "PROBE"),
        "part_object": "probe.check('m.onnx', 'mul', X, expected=1.0, expected_at=object())",
        "part_array": ("probe.check('m.onnx', 'mul', X, expected=1.0, expected_at=(np.array([0, 1]), 0))", "PROBE"),
        "part_alone": "probe.check('m.onnx', 'mul', X, expected_at='0,0')",
        "progress_raises": ("probe.check('m.onnx', 'mul', X, expected=X[:, :3] * 7, progress=lambda name: None)", "MADE"),
        "explain_at_word": "probe.explain('m.onnx', 'mul', X, at='0,0')",
        "explain_at_empty": "probe.explain('m.onnx', 'mul', X, at=())",
        "explain_at_float": "probe.explain('m.onnx', 'mul', X, at=(0.5, 0))",
        "explain_at_beyond": "probe.explain('m.onnx', 'mul', X, at=(99, 0))",
        "explain_at_none": "probe.explain('m.onnx', 'mul', X, at=None)",
        "explain_output": "probe.explain('m.onnx', 'mul', X, at=(0, 0), output=9)",
        "explain_call": "probe.explain('m.onnx', 'mul', X, at=(0, 0), call=9)",
        "fold_softmax": "probe.fold('m.onnx', 'soft', X)",
        "fold_none": "probe.fold('m.onnx', None, X)",
        "sweep_layers_word": ("list(probe.sweep('m.onnx', X, layers='mul'))", "safe"),
        "sweep_layers_unknown": "list(probe.sweep('m.onnx', X, layers=['none']))",
        "sweep_layers_numbers": "list(probe.sweep('m.onnx', X, layers=[5]))",
        "sweep_expected_array": "list(probe.sweep('m.onnx', X, expected=X))",
        "sweep_expected_unknown": "list(probe.sweep('m.onnx', X, expected={'none': X}))",
        "compare_none": "probe.compare('m.onnx', None, X)",
        "compare_empty": "probe.compare('m.onnx', {}, X)",
        "compare_numbers": ("probe.compare('m.onnx', {1: X}, X)", "safe"),
        "compare_both_outputs": "probe.compare({'a': X}, {'b': X})",
        "compare_pairs_number": "probe.compare('m.onnx', 'm.onnx', X, pairs=5)",
        "compare_pairs_text": "probe.compare('m.onnx', 'm.onnx', X, pairs='none.json')",
        "compare_types_number": "probe.compare('m.onnx', 'm.onnx', X, types=5)",
        "compare_types_deep": ("probe.compare('m.onnx', 'm.onnx', X, types=__import__('functools').reduce(lambda a, _: {'a': a}, range(5000), 1))", "safe"),
        "record_number": "probe.record('m.onnx', X, 5)",
        "record_nul": "probe.record('m.onnx', X, 'o\\0.npz')",
        "record_layers": "probe.record('m.onnx', X, 'o.npz', layers=['none'])",
        "record_ending": ("probe.record('m.onnx', X, 'o.txt')", "safe"),
        "save_ending": "probe.check('m.onnx', 'mul', X).save('o.doc')",
        "save_number": "probe.check('m.onnx', 'mul', X).save(5)",
        "save_folder": "probe.check('m.onnx', 'mul', X).save('none/o.npz')",
        "describes_number": "probe.describes(5)(print)",
    },
)
table(
    "light",
    "api_lies",
    not_agreed,
    {
        "scalar": "probe.check('m.onnx', 'mul', X, expected=1.0)",
        "list_of_rows": "probe.check('m.onnx', 'mul', X, expected=list(np.load('right.npy') + 1))",
        "second_alone": "probe.check('m.onnx', 'mul', X, expected=[None, np.load('right.npy')])",
        "masked": "probe.check('m.onnx', 'mul', X, expected=np.ma.masked_array(np.load('right.npy') + 1, True))",
        "matrix": "probe.check('m.onnx', 'mul', X, expected=np.matrix(np.load('right.npy') + 1))",
        "nan_object": "probe.check('m.onnx', 'mul', X, expected=[[float('nan')] * 3] * 2)",
        "complex": "probe.check('m.onnx', 'mul', X, expected=np.load('right.npy') + 3j)",
        "given_wrong": "probe.check('m.onnx', 'mul', given=X, expected=np.load('right.npy') * 1.01)",
        "part_other": "probe.check('m.onnx', 'mul', X, expected=np.load('right.npy')[0], expected_at=(1,))",
        "mapping_other_layer": "probe.check('m.onnx', 'mul', X, expected={'soft': np.load('right.npy') + 1})",
        "integers": "probe.check('m.onnx', 'mul', X, expected=np.load('right.npy').astype(int))",
        "compare_lists": "probe.compare('m.onnx', {'mul': (np.load('right.npy') + 1).tolist()}, X)",
        "compare_nan": "probe.compare({'a': X * np.nan}, {'a': X})",
        "compare_empty_arrays": "probe.compare({'a': X[:0]}, {'a': X[:0]})",
        "compare_broadcast": "probe.compare({'a': X}, {'a': X[:1]})",
        "compare_objects": "probe.compare({'a': X}, {'a': X.astype(object) + 1})",
        "torn_file": "probe.check('m.onnx', 'mul', X, expected=np.load('right.npy').view('u4'))",
    },
)


# --- a terminal ---------------------------------------------------------------------------------


def on_terminal(argv, columns, cwd):
    """What the command writes to a terminal of so many columns."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    for key in ("NO_COLOR", "COLUMNS", "LINES", "CI"):
        environment.pop(key, None)
    process = subprocess.Popen([shutil.which("probe"), *argv], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment, start_new_session=True)
    os.close(theirs)
    text = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:
            break
        if not more:
            break
        text += more
    os.close(ours)
    return process.wait(timeout=60), text.decode("utf-8", "replace")


def terminal(tool, name, columns):
    """On a terminal: names send nothing to it, and a line to copy is one line."""
    model(tool, name, name + "2")
    wrong = [node("MatMul", ["x", "w"], ["a"], name=name), node("Softmax", ["a"], ["y"], name=name + "2", axis=0)]
    save_onnx(tool, onnx_model(wrong, [tensor("w", WEIGHT)]), "b.onnx")
    for argv in ([*GIVEN, "--all"], ["m.onnx"], [*GIVEN, f"--layer={name}"], ["compare", "m.onnx", "b.onnx", "--input", "x.npy"], [*GIVEN, "--layer", "none"], ["m.onnx", "--all", "--model-explorer", "a folder of a rather long name, which does not fit into one line of a narrow terminal"]):
        status, text = on_terminal(argv, columns, tool.dir)
        tool.ask("Traceback" not in text and "internal error" not in text, last(text))
        rest = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]", "", text)
        odd = {ord(c) for c in rest} & files.ESCAPES - {0x0A, 0x0D}
        tool.ask(not odd, f"{argv[:2]} sends {sorted(map(hex, odd))} to the terminal")
        tool.ask("\x1b[2J\x1b[31mred" not in text, "the name's own sequence is sent")
        for start in ("look closer: ", "open it: "):
            for line in re.findall(start + r"([^\r\n]*)", rest):
                whole = shlex.split(line) if line.count("'") % 2 == 0 else []
                tool.ask(whole and (whole[-1] == "x.npy" or "verdict.json" in whole[-1]), f"the line to copy is broken at {columns} columns: {line!r}")


table("light", "terminal", terminal, {"plain_100": ("mul", 100), "long_60": ("a_name_of_a_layer/that_is_rather_long/and_does_not_fit/into_one_line", 60), "escape": (NAMES["escape"], 80), "newlines": (NAMES["newlines"], 80), "c1": (NAMES["c1"], 80), "bidi": (NAMES["bidi"], 80), "markup": (NAMES["markup"], 80), "narrow": ("mul", 1), "none": ("mul", 0), "wide": ("\u4e2d" * 100, 60), "combining": ("a" + "\u0301" * 1000, 60)})


if __name__ == "__main__":
    sys.exit(main())
