"""End to end: a layer of a net trained in Keras, written in C with fixed-point arithmetic, compiled
and run; what was planted is named."""

import ctypes
import shutil
import subprocess

import keras
import numpy as np
import pytest
from repository import EXAMPLES

import probe

SOURCE = r"""
#include <stdint.h>

/* y = x w + b in integers: codes of `fraction` bits, one shift back, `half` added before it, and the type's ends. */
void dense(const int32_t *x, const int32_t *w, const int32_t *b, int32_t *y, int rows, int in, int out,
           int fraction, int half, int bits, int wrap)
{
    const int64_t high = ((int64_t)1 << (bits - 1)) - 1, low = -high - 1;
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            int64_t sum = (int64_t)b[o] << fraction;
            for (int i = 0; i < in; i++)
                sum += (int64_t)x[r * in + i] * w[i * out + o];
            sum = (sum + (half ? (int64_t)1 << (fraction - 1) : 0)) >> fraction;
            if (wrap)
                sum = ((sum - low) & (high - low)) + low;
            else
                sum = sum > high ? high : sum < low ? low : sum;
            y[r * out + o] = (int32_t)sum;
        }
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.fail("no C compiler: install one, this test compiles a layer")
    home = tmp_path_factory.mktemp("c")
    (home / "dense.c").write_text(SOURCE)
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", home / "dense.so", home / "dense.c"], check=True
    )
    return ctypes.CDLL(str(home / "dense.so")).dense


@pytest.fixture(scope="module")
def trained():
    model = probe.open_model(str(EXAMPLES / "digits.keras"))
    images = np.load(EXAMPLES / "digits.npy")
    return model, images, probe.check(model, "dense", images)


def in_c(compiled, report, fraction, half=True, bits=32, wrap=False):
    def codes(array):
        return np.ascontiguousarray(
            np.floor(array.astype(np.float64) * 2**fraction + 0.5).astype(np.int32)
        )

    x, w, b = (
        codes(report.inputs[0]),
        codes(report.weights["kernel"].effective),
        codes(report.weights["bias"].effective),
    )
    y = np.zeros((x.shape[0], w.shape[1]), np.int32)
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)) for array in (x, w, b, y)]
    compiled(*pointers, *x.shape, w.shape[1], fraction, half, bits, wrap)
    return y / 2.0**fraction


@pytest.mark.costly(default=1)
@pytest.mark.exhaustive(default=2)
@pytest.mark.parametrize(
    ("options", "slug", "words", "also"),
    [
        (
            {"fraction": 8},
            "fixed-point",
            ["inputs and weights have 8 fraction bits", "the output has 8, rounded half up"],
            (),
        ),
        (
            {"fraction": 12, "half": False},
            "fixed-point",
            ["have 12 fraction bits", "rounded down (floor)"],
            ("rounding-mode",),
        ),
        (
            {"fraction": 8, "bits": 12},
            "saturation",
            ["8 fraction bits", "clipped to -8 .. 7.99609", "ap_fixed<12,4>"],
            ("fixed-point",),
        ),
        (
            {"fraction": 8, "bits": 12, "wrap": True},
            "wrap-around",
            ["8 fraction bits", "wrapped to -8 .. 7.99609"],
            ("fixed-point",),
        ),
    ],
    ids=["precision", "rounding", "saturation", "wrap-around"],
)
def test_what_the_c_code_does_is_named(compiled, trained, options, slug, words, also):
    model, images, healthy = trained
    report = probe.check(model, "dense", images, expected=in_c(compiled, healthy, **options))
    assert report.findings, report
    finding = report.findings[0]
    assert (finding.slug, finding.also) == (slug, also), report
    assert finding.left <= 1
    for word in words:
        assert word in finding.claim


def test_an_einsum_without_a_bias_on_a_grid():
    """Its op has a weight and no bias, unlike the other sums."""
    layer = keras.layers.EinsumDense("abc,bcd->abd", (4, 5), name="l")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    layer.build(x.shape)
    layer.set_weights([rng.normal(size=(4, 3, 5)).astype(np.float32)])
    mine = np.floor(np.asarray(layer(x)) * 64) / 64
    found = probe.check(layer, "l", x, expected=mine)
    assert (
        found.findings[0].slug == "fixed-point"
        and "6 fraction bits, rounded down" in found.findings[0].claim
    ), str(found)
