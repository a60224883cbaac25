"""Array files of every kind of damage: one sentence each; and what is no damage is read as NumPy
reads it."""

import os
import pickle
import warnings
import zipfile

import numpy as np
import pytest
from own_seed import RNG

from probe.capture import array_files
from probe.errors import BadInput


def npy(header, content=b"", version=(1, 0)):
    text = header.encode()
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + content


def header(shape="(2, 3)", descr="'<f4'", order="False"):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


BROKEN = {
    "nothing": b"",
    "magic alone": b"\x93NUMPY\x01\x00",
    "text": b"1 2 3",
    "pickle": pickle.dumps([1, 2]),
    "header cut": npy(header())[:40],
    "truncated": npy(header(), bytes(23)),
    "longer": npy(header(), bytes(25)),
    "terabytes": npy(header("(1000000, 1000000)"), bytes(24)),
    "more than 64 bits": npy(header("(99999999999999, 99999999999999)"), bytes(24)),
    "negative": npy(header("(-2, -3)"), bytes(24)),
    "of no size and negative": npy(header("(0, -1)")),
    "many axes": npy(header("(" + "1, " * 65 + ")"), bytes(4)),
    "shape of strings": npy(header("('a',)"), bytes(24)),
    "shape that calls": npy(header("(__import__('os').getpid(),)"), bytes(24)),
    "nested": npy(header("(" * 3000 + ")" * 3000), bytes(24)),
    "objects": npy(header("(1,)", "'|O'"), pickle.dumps([1])),
    "objects in a record": npy(header("(1,)", "[('a', '|O')]"), pickle.dumps([1])),
    "odd dtype": npy(header("(1,)", "'<q9'"), bytes(9)),
    "dtype of another kind": npy(header("(1,)", "7"), bytes(8)),
    "version 3": npy(header(), bytes(24), (3, 0)),
    "version 9": npy(header(), bytes(24), (9, 9)),
    "zip cut": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("inside", [False, True], ids=["npy", "npz"])
def test_broken_arrays(tmp_path, content, inside):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    if inside:
        path = tmp_path / "x.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", content)
    sentence(path)


def sentence(path, *words):
    with warnings.catch_warnings(), pytest.raises(BadInput) as error:
        warnings.simplefilter("error")
        array_files.array(str(path))
    told = str(error.value)
    assert str(path) in told and "\n" not in told and len(told) < 600
    for word in words:
        assert word in told


def test_broken_archives(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.zeros((4, 5)), b=np.ones(3))
    whole = bytearray(path.read_bytes())
    for at in range(0, len(whole), 37):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            held = array_files.array(str(path))
        except BadInput as error:
            assert "\n" not in str(error)
        else:
            assert isinstance(held, dict)
    damaged = bytearray(whole)
    damaged[whole.index(b"\x93NUMPY") + 130] ^= 1
    path.write_bytes(damaged)
    sentence(path, "CRC")
    for signature, flags in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        at = whole.find(signature)
        whole[at + flags] |= 1
    path.write_bytes(whole)
    sentence(path, "encrypted")
    with zipfile.ZipFile(path, "w"), pytest.raises(BadInput):
        array_files.array(str(path))
    for names in (("a.npy", "a"), ("a.npy", "a.npy")):
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Duplicate name")
            for name in names:
                archive.writestr(name, npy(header(), bytes(24)))
        sentence(path, "twice")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    sentence(path, "readme.txt")
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as stream,
    ):
        for _ in range(300):
            stream.write(bytes(1 << 20))
    sentence(path, "declares")


def test_what_is_no_regular_file_and_no_text(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    sentence(tmp_path / "pipe.npy", "a pipe")
    sentence("/dev/zero", "a device")
    sentence(tmp_path, "a folder")
    sentence(tmp_path / "missing.npy", "does not exist")
    for content, words in (
        ("", "no values"),
        ("# nothing\n\n", "no numbers"),
        ("1 2\n3\n", "columns"),
        ("one two", "'one'"),
    ):
        (tmp_path / "x.txt").write_text(content)
        sentence(tmp_path / "x.txt", words)
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe1,2")
    sentence(tmp_path / "x.csv", "UnicodeDecodeError")


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">i8", "<c8", ">f2", "|u1", "?", "<f8"])
@pytest.mark.parametrize("shape", [(), (0, 3), (4,), (2, 3, 4)])
def test_sound_arrays_are_read_as_numpy_reads_them(tmp_path, dtype, shape):
    for order in "CF":
        values = np.array(RNG.integers(0, 2, shape), dtype, order=order)
        np.save(tmp_path / "x.npy", values)
        np.savez_compressed(tmp_path / "x.npz", **{"a/b": values, "ünïcode": values})
        held = array_files.array(str(tmp_path / "x.npz"))
        assert list(held) == ["a/b", "ünïcode"]
        for read in (array_files.array(str(tmp_path / "x.npy")), *held.values()):
            assert (
                read.shape == values.shape
                and read.dtype == values.dtype.newbyteorder("=")
                and np.array_equal(read, values)
            )
            assert read.dtype.isnative and read.flags.writeable


def test_a_typed_value_beyond_all_numbers():
    for text in ("1e999999999", "x", "1e-999999999x"):
        with pytest.raises(BadInput):
            array_files.typed(text, "0")


def test_what_save_wrote_of_one_layer_is_no_array_of_it_and_none_by_layers(tmp_path):
    path = str(tmp_path / "conv.npz")
    np.savez(path, input_0=np.ones(3), framework_0=np.ones(2), numpy_0=np.ones(2))
    with pytest.raises(BadInput, match=r"written by --save .*: an \.npz keyed by layer names"):
        array_files.by_name(path)
    with pytest.raises(BadInput, match=r"written by --save .*: give your own output of 'conv'"):
        array_files.values(path, "conv")
    assert array_files.own_input(path).shape == (3,)
