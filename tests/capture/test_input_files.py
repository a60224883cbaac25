"""Inputs in the files that people have: numbers without a shape, bytes, images; each is said."""

import os
import struct
import zlib

import numpy as np
import pytest
import torch
from repository import EXAMPLES
from wrapping import unwrapped

from probe.capture import array_files

KERAS = EXAMPLES / "digits.keras"
"""Takes (batch, 8, 8, 1)."""
X = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)


def text(path, between="\n"):
    path.write_text(between.join(map(repr, X.ravel().tolist())) + "\n")


def binary(path, dtype="<f4"):
    path.write_bytes(X.astype(dtype).tobytes())


WRITERS = {
    "x.txt": lambda path: text(path),
    "row.txt": lambda path: text(path, " "),
    "x.csv": lambda path: np.savetxt(path, X.reshape(2, 64), delimiter=",", fmt="%.9g"),
    "x.dat": lambda path: path.write_text(
        "\n".join(",  ".join(map(repr, row.tolist())) + "," for row in X.reshape(8, 16))
    ),
    "ragged.dat": lambda path: path.write_text(
        " ".join(map(repr, X.ravel()[:50].tolist()))
        + "\n"
        + " ".join(map(repr, X.ravel()[50:].tolist()))
    ),
}


@pytest.mark.costly(default=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", WRITERS)
def test_flat_numbers_take_the_shape_that_the_model_declares(probe, tmp_path, name):
    WRITERS[name](path := tmp_path / name)
    np.save(tmp_path / "x.npy", X)
    options = (KERAS, "--layer", "conv2d", "--save")
    status, out, err = probe(*options, tmp_path / "flat.npz", "--input", path)
    assert (status, err) == (0, ""), err
    assert f"{path}, 128 numbers reshaped to (2, 8, 8, 1) in row-major order" in unwrapped(out)
    assert probe(*options, tmp_path / "whole.npz", "--input", tmp_path / "x.npy")[0] == 0
    flat, whole = (np.load(tmp_path / f"{name}.npz") for name in ("flat", "whole"))
    assert np.array_equal(flat["input_0"], whole["input_0"])


@pytest.mark.tensorflow
@pytest.mark.parametrize("dtype", ["float32", ">f8", "float16", "bfloat16"])
def test_bytes_of_a_dtype(probe, tmp_path, dtype):
    kind = array_files.dtype_of(dtype)
    (tmp_path / "x.bin").write_bytes(X.astype(kind).tobytes())
    status, _, err = probe(
        *(KERAS, "--all", "--input", tmp_path / "x.bin", "--dtype", dtype, "--strict")
    )
    assert (status, err) == (0, ""), err
    found = array_files.input_file(str(tmp_path / "x.bin"), dtype)
    assert np.array_equal(
        found.values.astype(np.float32), X.ravel().astype(kind).astype(np.float32)
    )


@pytest.mark.tensorflow
def test_numbers_that_do_not_fill_the_shape(probe, tmp_path):
    (tmp_path / "x.dat").write_text("1 2 3")
    status, out, err = probe(KERAS, "--layer", "conv2d", "--input", tmp_path / "x.dat")
    assert (status, out) == (2, "")
    assert "x.dat contains 3 numbers, which do not fill the shape (?, 8, 8, 1), 64 for each" in err
    np.save(tmp_path / "x.npy", X.ravel())
    status, out, err = probe(KERAS, "--layer", "conv2d", "--input", tmp_path / "x.npy")
    assert (status, out) == (2, "") and "reshape it, x.reshape(2, 8, 8, 1)" in err


@pytest.fixture
def conv(tmp_path):
    torch.manual_seed(0)
    torch.save(torch.nn.Conv2d(3, 4, 3).state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Conv2d(3, 4, 3)\n"
    )
    return (tmp_path / "net.pt", "--factory", f"{tmp_path / 'net.py'}:net", "--layer", "")


def test_a_module_that_declares_no_shape_is_told_one(probe, tmp_path, conv):
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    given = ("--input", tmp_path / "x.bin", "--dtype", "float32")
    status, out, err = probe(*conv, *given, "--shape", "-1,3,6,6")
    assert (status, err) == (0, "") and "216 numbers reshaped to (2, 3, 6, 6)" in unwrapped(out)
    own = ("--expect-input", tmp_path / "x.bin", "--dtype", "float32", "--shape", "2,3,6,6")
    status, out, err = probe(*conv, *own)
    assert (status, err) == (0, "") and "216 numbers reshaped to (2, 3, 6, 6)" in unwrapped(out)
    x[0].tofile(tmp_path / "x.bin")
    status, out, err = probe(*conv, *given)
    assert (status, out) == (2, "") and "reshape it, x.reshape(1, 3, 6, 6)" in err


def test_a_saved_report_gives_the_layers_own_input(probe, tmp_path, conv):
    report, given = tmp_path / "report.npz", ("--expect-input", tmp_path / "report.npz")
    assert probe(*conv, "--shape", "2,3,6,6", "--save", report)[0] == 0
    np.save(tmp_path / "y.npy", np.load(report)["framework_0"])
    status, out, err = probe(*conv, *given, "--expect", tmp_path / "y.npy")
    assert (status, err) == (0, "") and "the layer's own input, given by you" in unwrapped(out)

    torch.save(torch.nn.Bilinear(3, 4, 2).state_dict(), tmp_path / "net.pt")
    (tmp_path / "bilinear.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Bilinear(3, 4, 2)\n"
    )
    bilinear = [str(one).replace("net.py", "bilinear.py") for one in conv]
    assert probe(*bilinear, "--shape", "5,3", "--shape", "5,4", "--save", report)[0] == 0
    np.save(tmp_path / "y.npy", np.load(report)["framework_0"])
    status, _, err = probe(*bilinear, *given, "--expect", tmp_path / "y.npy")
    assert (status, err) == (0, "")


@pytest.mark.costly
def test_expected_values_without_a_shape(probe, tmp_path, conv):
    x = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    net = torch.nn.Conv2d(3, 4, 3)
    net.load_state_dict(torch.load(tmp_path / "net.pt"))
    y = net(torch.from_numpy(x)).detach().numpy()
    y.tofile(tmp_path / "y.bin")
    (tmp_path / "y.dat").write_text(" ".join(map(repr, y.ravel().tolist())))
    run = (*conv, "--input", tmp_path / "x.npy", "--expect")
    for options in ((tmp_path / "y.bin", "--dtype", "float32"), (tmp_path / "y.dat",)):
        status, out, err = probe(*run, *options)
        assert (status, err) == (0, "") and "read in row-major (C) order as (2, 4, 4, 4)" in out
    assert probe(*run, tmp_path / "y.bin", "--dtype", "int32")[0] == 1


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("x.bin", b"1234", (), "does not tell the dtype of its numbers: give --dtype"),
        (
            "x.bin",
            b"12345",
            ("--dtype", "float32"),
            "5 bytes, which is not a multiple of a float32's 4",
        ),
        ("x.bin", b"1234", ("--dtype", "float31"), "--dtype is a NumPy dtype of numbers"),
        ("x.bin", b"1234", ("--dtype", "O"), "--dtype is a NumPy dtype of numbers"),
        ("x.dat", b"1 2 x", (), "holds 'x' where a number is expected"),
        (
            "x.dat",
            bytes(range(250, 256)),
            (),
            "x.dat is not text; if it holds numbers as bytes, name it .bin",
        ),
        ("x.png", b"1234", (), "cannot be read as a PNG or JPEG image"),
        ("x.npy", b"1234", ("--dtype", "float32"), "--dtype needs a .bin file"),
        ("x.png", b"1234", ("--scale", "nan"), "--scale must be a positive number; you gave nan"),
        ("x.png", b"1234", ("--scale", "0"), "--scale must be a positive number; you gave 0"),
        ("x.npy", b"1234", ("--scale", "255"), "--scale needs an image (.png, .jpg) as --input"),
        ("x.npy", b"1234", ("--image-layout", "hwc"), "--image-layout needs an image"),
        ("x.npy", b"1234", ("--shape", "1,3,6,6"), "--input and --shape cannot be used together"),
    ],
)
def test_files_that_cannot_be_read_as_told(probe, tmp_path, conv, name, content, options, words):
    (tmp_path / name).write_bytes(content)
    status, out, err = probe(*conv, "--input", tmp_path / name, *options)
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err, err


@pytest.fixture
def picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(2).integers(3, 250, size=(6, 7, 3), dtype=np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    return pixels


def saved(probe, tmp_path, *options):
    """The input that a run takes, and what its report says of it."""
    status, out, err = probe(*options, "--save", tmp_path / "out.npz")
    assert status in (0, 2) and err == "", out + err
    return np.load(tmp_path / "out.npz")["input_0"], unwrapped(out)


def test_an_image_is_read_as_it_is_and_all_that_was_done_is_said(probe, tmp_path, conv, picture):
    given = (*conv, "--input", tmp_path / "x.png")
    x, out = saved(probe, tmp_path, *given)
    assert np.array_equal(x, picture.transpose(2, 0, 1)[None].astype(np.float32))
    low, high = picture.min(), picture.max()
    assert (
        f"x.png: 7 x 6 pixels, RGB, {low} to {high}, not scaled, channels first, one sample: "
        "(1, 3, 6, 7)"
    ) in out
    x, out = saved(probe, tmp_path, *given, "--scale", "255")
    assert np.array_equal(x, picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
    assert f"{low} to {high}, divided by 255, channels first" in out
    status, out, err = probe(*given, "--image-layout", "hwc")
    assert (status, out) == (2, "") and "you gave (1, 6, 7, 3)" in err


@pytest.mark.tensorflow
def test_an_image_takes_the_layout_and_the_channels_that_the_model_declares(probe, tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(3).integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    options = (KERAS, "--layer", "conv2d", "--input", tmp_path / "x.png", "--scale", "16")
    x, out = saved(probe, tmp_path, *options)
    grey = np.asarray(image.fromarray(pixels).convert("L"))
    assert np.array_equal(x[0, ..., 0], grey.astype(np.float32) / np.float32(16))
    assert "8 x 8 pixels, RGB, converted to L, " in out and "channels last, one sample" in out
    image.fromarray(pixels[:7]).save(tmp_path / "x.png")
    status, out, err = probe(*options)
    assert (status, out) == (2, "")
    assert "has 8 x 7 pixels, and the model takes 8 x 8: resize it as your own code does" in err


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "CMYK", "I;16"])
def test_images_of_other_modes(probe, tmp_path, picture, mode):
    image = pytest.importorskip("PIL.Image")
    one = image.open(tmp_path / "x.png").convert("RGB")
    one = (
        image.fromarray(picture[..., 0].astype(np.uint16) * 200)
        if mode == "I;16"
        else one.convert(mode)
    )
    path = tmp_path / ("y.jpg" if mode == "CMYK" else "y.png")
    one.save(path)
    torch.save({}, tmp_path / "net.pt")
    torch.save(torch.nn.ReLU(), tmp_path / "relu.pt")
    x, out = saved(probe, tmp_path, tmp_path / "relu.pt", "--trust", "--layer", "", "--input", path)
    kept = mode in ("L", "RGBA", "I;16")
    right = image.open(path)
    right = np.asarray(right if kept else right.convert("RGB"))
    right = right[..., None] if right.ndim == 2 else right
    assert np.array_equal(x, right.transpose(2, 0, 1)[None].astype(np.float32))
    assert ("converted to RGB" in out) == (not kept)


def test_an_image_that_is_turned_by_its_exif_says_so(probe, tmp_path, conv, picture):
    image = pytest.importorskip("PIL.Image")
    one = image.fromarray(picture)
    exif = one.getexif()
    exif[0x0112] = 6
    one.save(tmp_path / "x.jpg", exif=exif, quality=100)
    _, out = saved(probe, tmp_path, *conv, "--input", tmp_path / "x.jpg")
    assert "its EXIF orientation 6 is not applied" in out


def test_images_are_for_the_models_input(probe, tmp_path, conv, picture):
    status, out, err = probe(*conv, "--expect-input", tmp_path / "x.png")
    assert (status, out) == (2, "") and "is an image, which is read as the model's input" in err


def _header(path):
    """A PNG that says to be far larger than it is."""
    said = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", said), (b"IDAT", b"\0"))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "x.png does not exist"),
        (lambda path: path.mkdir(), "x.png is a folder, not an image"),
        (lambda path: os.mkfifo(path), "x.png is a device, a pipe or a socket, not an image"),
        (lambda path: path.write_bytes(b""), "x.png is empty"),
        (_header, "could be decompression bomb DOS attack"),
    ],
)
def test_what_is_no_image(probe, tmp_path, conv, make, words):
    make(tmp_path / "x.png")
    status, out, err = probe(*conv, "--input", tmp_path / "x.png")
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err, err


@pytest.mark.tensorflow
def test_models_that_take_arrays_alone_refuse_other_arguments(probe):
    status, out, err = probe(KERAS, "--layer", "conv2d", "--arg", "training=False")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "runs this model on arrays alone; you gave the argument training (--arg)" in err
    own = ("--expect-input", EXAMPLES / "digits.npy", "--arg", "training=False")
    status, out, err = probe(KERAS, "--layer", "conv2d", *own)
    assert (status, out) == (2, "") and "only a PyTorch module takes arguments such as" in err
