"""The parts of README.md that come from the code: real output of the examples, and the table of
layers.

``python tools/gen_readme.py`` writes them; ``test_readme.py`` compares.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
import textwrap
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import gen_layer_tables
import keras
import numpy as np
import torch

import probe
from probe.cli import main
from probe.hypotheses import CAUSES
from probe.report.text import line

ROOT = Path(__file__).parent.parent


def command(*arguments: str) -> str:
    """What the command prints, run in the repository's root."""
    out, here = io.StringIO(), Path.cwd()
    os.chdir(ROOT)
    try:
        with (
            mock.patch.object(sys, "argv", ["probe", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.suppress(SystemExit),
        ):
            main()
    finally:
        os.chdir(here)
    return out.getvalue()


def first() -> str:
    return command(
        "examples/digits_qkeras.h5", "--layer", "conv2d", "--input", "examples/digits.npy"
    )


def groupnorm() -> str:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, 1024), torch.nn.GroupNorm(16, 1024), torch.nn.ReLU()
    )
    return str(
        probe.check(net, "1", np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32))
    )


def _raw() -> probe.Report:
    """The first layer of the QKeras net by hand, with the weights that get_weights() gives."""
    model = probe.open_model(str(ROOT / "examples" / "digits_qkeras.h5"))
    x = np.load(ROOT / "examples" / "digits.npy")
    weights = probe.check(model, "conv2d", x).weights
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
    )
    mine = (
        np.einsum("bhwcij,ijco->bhwo", windows, weights["kernel"].stored) + weights["bias"].stored
    )
    return probe.check(model, "conv2d", x, expected=mine)


def stored() -> str:
    return _raw().sentence


def why() -> str:
    """What the report says of the mistake."""
    return "\n".join(line for line in str(_raw()).split("\n\n") if line.startswith("why: "))


def at() -> str:
    return command(
        "examples/digits_qkeras.h5",
        "--layer",
        "conv2d",
        "--input",
        "examples/digits.npy",
        "--at",
        "3,4,3,5",
    )


def header() -> str:
    """The beginning of a C header."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "conv2d.h"
        command(
            "examples/digits_qkeras.h5",
            "--layer",
            "conv2d",
            "--input",
            "examples/digits.npy",
            "--save",
            str(target),
        )
        lines = target.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "integers" in line)
    return "\n".join([*lines[start : start + 4], "  ..."])


def fold() -> str:
    """What --fold says of the weights, and its verdict."""
    model = (
        "examples/digits.pt",
        "--factory",
        "examples/digits_net.py:DigitsNet",
        "--shape",
        "4,1,8,8",
    )
    parts = command(*model, "--layer", "conv", "--fold").rstrip().split("\n\n")
    return "\n\n".join([next(part for part in parts if part.startswith("weights")), parts[-1]])


def conv1d() -> str:
    model = keras.Sequential([keras.Input((100, 1)), keras.layers.Conv1D(4, 3, name="conv1d")])
    try:
        probe.check(model, "conv1d", np.zeros((32, 100), np.float32))
    except probe.ProbeError as error:
        return f"probe: {error}"
    raise AssertionError("no error")


def channels() -> str:
    layer = keras.layers.Conv2D(1, 2, kernel_initializer="ones", name="conv2d")
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    x = np.ones((1, 4, 4, 3), np.float32) * np.array([1, 100, 10000], np.float32)
    return str(probe.explain(model, "conv2d", x, at=(0, 1, 1, 0)))


def recurrent() -> str:
    keras.utils.set_random_seed(0)

    def network(outputs: int) -> keras.Model:
        x = inputs = keras.Input((96, 3), name="series")
        x = keras.layers.SimpleRNN(10, return_sequences=True, name="first")(x)
        x = keras.layers.SimpleRNN(10, return_sequences=True, name="second")(x)
        x = keras.layers.Conv1D(16, 3, padding="same", name="conv")(x)
        return keras.Model(
            inputs, keras.layers.TimeDistributed(keras.layers.Dense(outputs), name="dense")(x)
        )

    model, x = network(1), np.random.default_rng(0).normal(size=(4, 96, 3)).astype(np.float32)
    lines = [line(report) for report in probe.sweep(model, x)]
    seen = str(probe.explain(model, "dense", x, at=(0, 0, 0), sees=True)).split("\n\n")
    lines += ["", next(part for part in seen if part.startswith("of the model's input"))]
    return "\n".join(
        [*lines, "", probe.check(network(5), "dense", x, expected=np.asarray(model(x))).sentence]
    )


def causes() -> str:
    rows = ["| slug | the mistake |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{one.slug}` | {one.title} |" for one in CAUSES.values())])


PARTS = {
    "why": why,
    "causes": causes,
    "first": first,
    "groupnorm": groupnorm,
    "stored": stored,
    "at": at,
    "header": header,
    "fold": fold,
    "conv1d": conv1d,
    "channels": channels,
    "recurrent": recurrent,
    "layers": gen_layer_tables.tables,
    "left-out": gen_layer_tables.left_out,
}


def section(name: str) -> str:
    """A part as it stands in the README."""
    body = PARTS[name]()
    if name in ("layers", "left-out", "causes"):
        return body
    width = 140
    wrapped = [
        piece
        for line in body.splitlines()
        for piece in (textwrap.wrap(line, width, subsequent_indent="    ") or [""])
    ]
    return "```\n" + "\n".join(wrapped).rstrip() + "\n```"


def filled(text: str, name: str) -> str:
    """The README with one part brought up to date."""
    pattern = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    body = section(name)
    return pattern.sub(lambda match: f"{match[1]}{body}\n{match[2]}", text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    text = readme.read_text()
    for name in PARTS:
        text = filled(text, name)
    readme.write_text(text)
