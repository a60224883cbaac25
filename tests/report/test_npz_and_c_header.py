"""What --save writes is what a test bench reads: an .npz, a C header that compiles, numbers a line
each."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from chain_model import ChainModel
from repository import EXAMPLES

import probe
from probe import ops

PROGRAM = """
#include <stdio.h>
#include "layer.h"
/* A valid 3x3 convolution of one channel, in integers, scaled at the end. */
int main(void) {
  for (int n = 0; n < 2; n++) for (int y = 0; y < 6; y++) for (int x = 0; x < 6; x++) for (int o = 0; o < 16; o++) {
    double sum = 0;
    for (int i = 0; i < 3; i++) for (int j = 0; j < 3; j++)
      sum += (double)conv2d_input_0[(n * 8 + y + i) * 8 + x + j] * conv2d_kernel[(i * 3 + j) * 16 + o];
    printf("%.17g\\n", sum * conv2d_kernel_scale[0] + (double)conv2d_bias[o] * conv2d_bias_scale[0]);
  }
  return 0;
}
"""


@pytest.fixture(scope="module")
def report():
    return probe.check(EXAMPLES / "digits_qkeras.h5", "conv2d")


def test_integers_scale_and_bits(report, tmp_path):
    report.save(tmp_path / "layer.npz")
    with np.load(tmp_path / "layer.npz") as held:
        integers, scale = held["integer:kernel"], held["scale:kernel"]
        np.testing.assert_array_equal(integers * scale, held["effective:kernel"])
        assert held["bits:kernel"] == 4
        assert not held["zero_point:kernel"]
        assert integers.min() >= -8
        assert integers.max() <= 7
        assert (held["stored:kernel"] != held["effective:kernel"]).any()


def test_a_layer_in_c_from_the_header_alone(report, tmp_path):
    report.save(tmp_path / "layer.h")
    text = (tmp_path / "layer.h").read_text(encoding="utf-8")
    assert (
        "signed 4-bit integers, value = integer * 0.125 (3 fraction bits), shape (3, 3, 1, 16)"
    ) in text
    (tmp_path / "main.c").write_text(PROGRAM)
    subprocess.run(
        ["cc", *FLAGS, "-o", "main", "main.c"],
        cwd=tmp_path,
        check=True,
    )
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    inner = report.outputs["numpy"][:, 1:-1, 1:-1]  # the layer pads; the program does not
    np.testing.assert_allclose(
        np.array(printed.split(), float).reshape(inner.shape), inner, rtol=1e-12, atol=1e-12
    )


NAMES = (
    *("int", "int8_t", "NAN", "main", "printf", "input_0", "gamma", "y0", "sinf", "class", "I"),
    *("a.b", "a_b", "a b", "a_b_2", "", "1x", "größe", "kernel_scale", "__x", "_X"),
    *("*/", "/*/*", "w */ int evil; /*"),
    *("LAYER_0_H", "PLAIN", "EOF", "stdout", "size_t", "static_assert", "x" * 200),
)
FLAGS = ("-Wall", "-Wextra", "-Werror", "-std=c99")
INCLUDING = """
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "layer.h"
int main(void) { return 0; }
"""


def test_any_names_of_weights_are_identifiers(report, tmp_path):
    integers = replace(report.weights["kernel"], name="kernel")
    one = replace(report.weights["bias"], stored=None, effective=np.ones(1, np.float32), grid=None)
    weights = {"kernel": integers, **{name: replace(one, name=name) for name in NAMES}}
    replace(report, layer="layer", weights=weights).save(tmp_path / "layer.h")
    text = (tmp_path / "layer.h").read_text()
    found = re.findall(r"^static const \w+ (\w+)\[", text, re.MULTILINE)
    assert len(found) == len(set(found)) == len(NAMES) + 5
    assert all(name.startswith("layer_") for name in found)
    names = {name.removeprefix("layer_") for name in found}
    assert {"kernel", "kernel_scale", "kernel_scale_2", "int", "a_b", "a_b_2", "a__b"} <= names
    assert {"input_0", "output_0", "input_0_2", "size_t_", "int8_t_"} <= names
    assert text.count("/*") == text.count("*/") == text.count(" */\n")
    assert "/* size_t: float32, shape (1)" in text and "/* a b: " in text, "what the name was"
    (tmp_path / "main.c").write_text(INCLUDING)
    subprocess.run(
        ["cc", *FLAGS, "-o", "main", "main.c"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )


BOTH = """
#include <stdio.h>
#include "conv2d.h"
#include "relu.h"
#include "conv2d.h"
/* The clipping of the activation, in the codes of both layers. */
int main(void) {
  const int shift = conv2d_output_0_shift[0] - relu_output_0_shift[0];
  int differing = 0;
  for (int i = 0; i < 8 * 8 * 16 * 2; i++) {
    int code = relu_input_0_code[i];
    if (conv2d_output_0_code[i] != code || conv2d_kernel_shift[0] != 3) differing++;
    code = code < 0 ? 0 : code >> shift;
    if (relu_output_0_code[i] > code + 1 || relu_output_0_code[i] < code - 16) differing++;
  }
  printf("%d\\n", differing);
  return 0;
}
"""


def test_headers_of_two_layers_fit_one_program_in_codes_and_shifts(tmp_path):
    x = np.load(EXAMPLES / "digits.npy")[:2]
    model = probe.open_model(EXAMPLES / "digits_qkeras.h5")
    for layer in ("conv2d", "relu"):
        report = probe.check(model, layer, x)
        report.save(tmp_path / f"{layer}.h")
        text = (tmp_path / f"{layer}.h").read_text()
        (code,) = re.findall(r"/\* output_0 = output_0_code / 2\*\*(\d+), shape", text)
        assert report.outputs["framework"].max() * 2 ** int(code) % 1 == 0
    (tmp_path / "main.c").write_text(BOTH)
    subprocess.run(["cc", *FLAGS, "-o", "main", "main.c"], cwd=tmp_path, check=True, timeout=60)
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n"


def test_headers_of_a_block_and_the_layers_in_it_fit_one_program(report, tmp_path):
    """Dots, underscores and capitals tell layers apart, and one header included twice is one."""
    weight = replace(report.weights["bias"], name="weight")
    layers = {"a": "a.weight", "a.a": "weight", "a_a": "weight", "A.a": "weight", "/a/b": "weight"}
    for number, (layer, name) in enumerate(layers.items()):
        weights = {name: replace(weight, name=name)}
        replace(report, layer=layer, weights=weights).save(tmp_path / f"{number}.h")
    includes = "".join(f'#include "{number}.h"\n' for number in (*range(len(layers)), 0))
    used = ("a_a__weight", "a__a_weight", "a_a_weight", "A__a_weight", "a__b_weight")
    sums = "+".join(f"{name}[0]" for name in used)
    (tmp_path / "main.c").write_text(f"{includes}int main(void) {{ return {sums}; }}\n")
    flags = (*FLAGS, "-Wno-unused-const-variable")
    subprocess.run(["cc", *flags, "main.c"], cwd=tmp_path, check=True, timeout=60)


def test_floats_have_no_codes_and_a_later_call_its_number(tmp_path):
    x = np.random.default_rng(0).normal(size=(1, 2)).astype(np.float32)
    step = probe.Step(ops.MatMul(weight=probe.Weight("kernel", x.T, x.T), bias=None))
    model = ChainModel({"0.first layer": (lambda x: x @ x.T, probe.Description((step,)))})
    model.inputs = None
    report = replace(probe.check(model, "0.first layer", x), call=2)
    report.save(tmp_path / "first.h")
    found = re.findall(
        r"^static const \w+ (\w+)\[", (tmp_path / "first.h").read_text(), re.MULTILINE
    )
    start = "layer_0__first_layer_call2_"
    assert found == [f"{start}{name}" for name in ("kernel", "input_0", "output_0")]


def test_plain_numbers(report, tmp_path):
    report.save(tmp_path / "layer.txt")
    read = np.loadtxt(tmp_path / "layer.txt")
    kernel = report.weights["kernel"]
    np.testing.assert_array_equal(read[: kernel.effective.size] * 0.125, kernel.effective.ravel())
    assert (
        read.size
        == kernel.effective.size
        + 1
        + 16
        + 1
        + report.inputs[0].size
        + report.outputs["framework"].size
    )
    np.testing.assert_array_equal(
        read[-report.outputs["framework"].size :].astype(np.float32),
        report.outputs["framework"].ravel(),
    )


@pytest.mark.parametrize("name", ["layer.h", "layer.txt", "layer.npz"])
def test_nothing_is_left_where_it_cannot_be_written(report, name, tmp_path):
    with pytest.raises(probe.ProbeError, match="cannot write"):
        report.save(tmp_path / "missing" / name)


def test_none_of_two_weights_of_one_name_is_lost(tmp_path):
    """Neither where a description gives two the same name, nor where names look alike."""
    x = np.ones((1, 2), np.float32)
    first, second = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6], [7, 8]])
    names = (
        "kernel",
        "kernel",
        "long" * 200 + "a" + "long" * 200,
        "long" * 200 + "b" + "long" * 200,
    )
    arrays = (first, second, first + 1, second + 1)
    steps = [
        probe.Step(ops.MatMul(weight=probe.Weight(name, array, array), bias=None))
        for name, array in zip(names, arrays, strict=True)
    ]
    product = first @ second @ (first + 1) @ (second + 1)
    model = ChainModel({"four": (lambda x: x @ product, probe.Description(tuple(steps)))})
    model.inputs = None
    report = probe.check(model, "four", x)
    assert list(report.weights)[:2] == ["kernel", "kernel (2)"]
    report.save(tmp_path / "four.npz")
    with np.load(tmp_path / "four.npz") as held:
        saved = [held[name] for name in held.files if name.startswith("effective:")]
        stored = [name for name in held.files if name.startswith("stored:")]
    assert len(stored) == 4 and all(
        np.array_equal(*pair) for pair in zip(saved, arrays, strict=True)
    )
