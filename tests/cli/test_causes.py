"""The command where values diverge: causes, --expect-at, --expect-value, and why in a sweep."""

import numpy as np
import pytest
from repository import EXAMPLES, script
from wrapping import unwrapped

import probe

command = script("tools/doc_blocks.py").command
CHECK = ("examples/digits_qkeras.h5", "--input", "examples/digits.npy")


@pytest.fixture(scope="module")
def raw():
    """The first layer by hand, with the stored weights."""
    model = probe.open_model(str(EXAMPLES / "digits_qkeras.h5"))
    x = np.load(EXAMPLES / "digits.npy")
    weights = probe.check(model, "conv2d", x).weights
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2)
    )
    return (
        np.einsum("bhwcij,ijco->bhwo", windows, weights["kernel"].stored) + weights["bias"].stored
    )


def test_causes_are_listed_and_explained(capsys):
    listed = command("causes").splitlines()
    assert [
        "raw-weights",
        *"The stored weights were used instead of the effective ones.".split(),
    ] in [line.split() for line in listed]
    assert len(listed) > 35
    assert command("causes", "flipped-kernel").startswith(
        "flipped-kernel: True convolution instead of cross-correlation.\n\n"
    )
    command("causes", "raw-weight")
    assert capsys.readouterr().err == (
        "probe: unknown cause 'raw-weight'; did you mean 'raw-weights'?\n"
    )


def test_a_patch(raw, tmp_path):
    np.save(tmp_path / "patch.npy", raw[0, 0:3, 0:3, 0])
    told = command(
        *CHECK,
        "--layer",
        "conv2d",
        "--expect",
        str(tmp_path / "patch.npy"),
        "--expect-at",
        "0,0:3,0:3,0",
    )
    assert "why: raw-weights: the stored kernel and bias" in told
    assert "you gave 9 of the output's 10240 values" in told


@pytest.mark.parametrize("digits", [9, 4])
def test_one_number_as_it_was_typed(raw, digits):
    told = command(
        *CHECK,
        "--layer",
        "conv2d",
        f"--expect-value={raw[0, 1, 1, 0]:.{digits}f}",
        "--at",
        "0,1,1,0",
    )
    assert "raw-weights: the stored kernel and bias" in told


def test_one_number_needs_its_place(capsys):
    command(*CHECK, "--layer", "conv2d", "--expect-value", "1")
    assert "needs --at" in capsys.readouterr().err
    command(*CHECK, "--layer", "conv2d", "--expect-value", "one", "--at", "0,1,1,0")
    assert "--expect-value must be a number; you gave 'one'" in capsys.readouterr().err
    command(*CHECK, "--layer", "conv2d", "--expect-at", "0")
    assert "needs --expect:" in capsys.readouterr().err


def test_a_sweep_says_why_too(raw, tmp_path):
    np.savez(tmp_path / "mine.npz", conv2d=raw)
    told = command(*CHECK, "--all", "--expect", str(tmp_path / "mine.npz"))
    row = unwrapped(told[told.index("diverge ") :].partition("\nagree ")[0])
    assert row.endswith("; raw-weights"), "what it says is told below, once"
    assert unwrapped(told).count("the stored kernel and bias instead of the effective values") == 1
    assert "the first diverging layer is 'conv2d': raw-weights" in told
    assert max(map(len, told.splitlines())) <= 100
