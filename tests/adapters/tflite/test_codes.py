"""Values that a user has of integer layers, as codes or as real numbers; what is saved of them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tflite_nets import integer_net

import probe
from probe.cli.main import command
from probe.errors import BadInput

SCALE, ZERO = np.float32(0.2), 4


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return str(integer_net(tmp_path_factory.mktemp("net") / "net.tflite"))


@pytest.fixture(scope="module")
def codes(net):
    return probe.check(net, "net/conv").outputs["framework"]


def differing(net, expected):
    """How many values differ, and what is said of how they were read."""
    report = probe.check(net, "net/conv", expected=expected, search=False)
    assert report.sentence.endswith(
        "1 of 320 codes differ, the worst by 1; codes are compared exactly"
    )
    (words,) = (note for note in report.notes if note.startswith("your values"))
    return report.comparisons["framework", "expected"].count, words


def test_codes_and_real_numbers(net, codes):
    mine = codes.copy()
    mine[0, 1, 1, 0] += 1
    read = "your values are read as codes, of scale 0.2 and zero point 4"
    assert differing(net, mine) == (1, read) and differing(net, mine.astype(int)) == (1, read)
    count, words = differing(net, mine.astype(np.float64))
    assert count == 1 and words.startswith("your values are whole numbers: they are read as codes")
    reals = (mine.astype(np.float32) - ZERO) * SCALE
    assert differing(net, reals) == (
        1,
        "your values are real numbers: they are compared as the nearest codes, of scale 0.2 and "
        "zero point 4",
    )
    reals[0, 0] += 0.06
    count, words = differing(net, reals)
    assert count == 1 and words.endswith(
        "; 40 of 320 lie between two codes, by up to 0.3 of a step"
    )


def test_few_digits_of_real_numbers(net, codes, tmp_path):
    """Two digits behind the point are enough for steps of 0.2, none are not."""
    reals = (codes.astype(np.float32) - ZERO) * SCALE
    np.savetxt(tmp_path / "mine.txt", reals.ravel(), "%.2f")
    run = CliRunner().invoke(
        command, [net, "--layer", "net/conv", "--expect", str(tmp_path / "mine.txt")]
    )
    assert run.exit_code == 0, run.output
    assert "compared as the nearest codes" in " ".join(run.output.split())


def test_the_values_of_a_layer_before_it(net, codes):
    """The user's own input of a layer may be real numbers too."""
    mine = {"net/conv": (codes.astype(np.float32) - ZERO) * SCALE}
    mine["net/depthwise"] = probe.check(net, "net/depthwise").outputs["framework"]
    assert probe.check(net, "net/depthwise", expected=mine).ok


def test_what_is_saved(net, tmp_path):
    report = probe.check(net, "net/conv")
    report.save(tmp_path / "conv.npz")
    with np.load(tmp_path / "conv.npz") as kept:
        assert kept["zero_point:output_0"] == ZERO and kept["scale:output_0"] == SCALE
        assert (
            kept["number:requantize_multiplier"].size == kept["number:requantize_shift"].size == 5
        )
        assert kept["integer:w"].shape == (5, 3, 3, 3)
    report.save(tmp_path / "conv.h")
    header = (tmp_path / "conv.h").read_text()
    assert "static const int32_t net__conv_requantize_multiplier[5] = {" in header
    assert "int8, shape (1, 8, 8, 5); signed 8-bit integers, value = (integer - 4) * 0.2" in header
    kept = json.loads(report.to_json())
    scale = [float(SCALE)]
    assert kept["output_codes"] == [
        {"scale": scale, "zero_point": [ZERO], "bits": 8, "signed": True}
    ]


def test_a_recording_keeps_what_codes_stand_for(net, codes, tmp_path):
    probe.record(net, None, str(tmp_path / "run.npz"))
    reals = (codes.astype(np.float32) - ZERO) * SCALE
    report = probe.check(str(tmp_path / "run.npz"), "net/conv", expected=reals)
    assert report.ok and report.output_grids[0].zero_point == ZERO
    assert "LiteRT" in report.framework


def test_the_command(net):
    run = CliRunner().invoke(command, [net, "--all", "--engine", "reference", "--json", "-"])
    assert run.exit_code == 0
    assert "(reference engine)" in json.loads(run.output)["reports"][0]["framework"]
    run = CliRunner().invoke(command, [net, "--layer", "net/conv", "--engine", "ruy"])
    assert isinstance(run.exception, BadInput)
    sides = ["compare", net, net, "--a-engine", "xnnpack", "--b-engine", "reference"]
    run = CliRunner().invoke(command, [*sides, "--json", "-"])
    assert "reference" in run.output
