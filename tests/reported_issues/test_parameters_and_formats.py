"""Cases from issue trackers: parameters, quantisers, number formats, normalisation, activations."""

import keras
import numpy as np
import pytest
import qkeras
import tf_keras
import torch
from planted_faults.formats import fake_quantize, twice_rounded
from planting import draw, last, t
from reported_issue import asked, named

F = torch.nn.functional
nn = torch.nn
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
]


def quantised(kind, x, *args, **options):
    tf_keras.utils.set_random_seed(0)
    layer = kind(*args, **options)
    layer(x)
    layer.set_weights(
        [
            np.random.default_rng(i).uniform(-1, 1, w.shape).astype(np.float32)
            for i, w in enumerate(layer.get_weights())
        ]
    )
    return layer


def test_qkeras_35():
    """QDense(8), quantized_bits(3,0,1) and quantized_bits(3): get_weights() reaches 1, the layer
    multiplies by at most 0.75."""
    x = np.random.default_rng(0).uniform(0, 0.75, (6, 12)).astype(np.float32)
    quantizers = {
        "kernel_quantizer": qkeras.quantized_bits(3, 0, 1),
        "bias_quantizer": qkeras.quantized_bits(3),
    }
    layer = quantised(qkeras.QDense, x, 8, **quantizers)
    w, b = layer.get_weights()
    report = asked(layer, x, x @ w + b)
    named(report, "raw-weights")
    kernel = report.weights["kernel"]
    assert np.abs(kernel.stored).max() > 0.75
    assert len(np.unique(kernel.effective)) <= 7


def test_qkeras_60():
    """quantized_bits(8,0) for kernel and bias of a QDense; the printed weights (-0.118689373, ...)
    are no multiples of 2^-7."""
    x = draw(5, 6)
    layer = quantised(
        qkeras.QDense,
        x,
        4,
        kernel_quantizer=qkeras.quantized_bits(8, 0),
        bias_quantizer=qkeras.quantized_bits(8, 0),
    )
    w, b = layer.get_weights()
    w.flat[:6] = [
        -1.18689373e-01,
        7.44902715e-03,
        -1.58425614e-01,
        7.54895657e-02,
        -4.10564430e-03,
        2.46057995e-02,
    ]
    layer.set_weights([w, b])
    named(asked(layer, x, x @ w + b), "raw-weights")


def test_qkeras_83():
    """QBatchNormalization(scale=False): model_save_quantized_weights takes gamma's quantiser for
    beta, beta's for the mean, and so on."""
    bits = qkeras.quantized_bits
    quantizers = {
        "gamma": bits(6, 0, alpha=1),
        "beta": bits(6, 0, alpha=1),
        "mean": bits(6, 2, alpha=1),
        "variance": bits(8, 1, alpha=1),
    }
    layer = qkeras.QBatchNormalization(
        scale=False, **{f"{name}_quantizer": one for name, one in quantizers.items()}
    )
    model = tf_keras.Sequential([tf_keras.layers.InputLayer((5, 6, 7)), layer])
    rng = np.random.default_rng(1)
    values = [rng.uniform(low, high, 7) for low, high in ((-0.9, 0.9), (-2, 2), (0.3, 1.5))]
    layer.set_weights(values)
    beta, mean, variance = qkeras.utils.model_save_quantized_weights(model)[layer.name]["weights"]
    layer.set_weights(values)
    x = draw(4, 5, 6, 7)
    finding = named(
        asked(layer, x, (x - mean) / np.sqrt(variance + np.float32(1e-3)) + beta),
        "swapped-parameters",
    )
    assert finding.claim.startswith(
        "moving_mean, moving_variance: each is quantised with the quantiser of the parameter "
        "before it"
    )


def test_qkeras_103():
    """The answer there, layer.kernel_quantizer_internal(layer.kernel), gives what the layer
    multiplies by."""
    x = draw(5, 6)
    layer = quantised(
        qkeras.QDense,
        x,
        4,
        kernel_quantizer=qkeras.quantized_bits(4, 0, 1, alpha=1),
        use_bias=False,
    )
    used = np.array(layer.kernel_quantizer_internal(layer.kernel))
    report = asked(layer, x, x @ used)
    assert report.ok, report
    np.testing.assert_array_equal(report.weights["kernel"].effective, used)
    named(asked(layer, x, x @ layer.get_weights()[0]), "raw-weights")


def test_pytorch2keras_120():
    """set_weights([weight, bias, running_var, running_mean]) on a BatchNormalization that wants the
    mean first; data (1, 3, 2, 2)."""
    values = [
        0.6875,
        0.5928,
        0.2540,
        0.3808,
        0.9787,
        0.3589,
        0.5710,
        0.3397,
        0.2124,
        0.8893,
        0.0698,
        0.6545,
    ]
    x = np.array(values, np.float32).reshape(1, 3, 2, 2)
    layer = nn.BatchNorm2d(3, eps=1e-5).eval()
    with torch.no_grad():
        layer.running_mean.copy_(torch.tensor([0.4, 0.5, 0.6]))
        layer.running_var.copy_(torch.tensor([0.9, 1.1, 1.2]))
    wrong = F.batch_norm(
        t(x), layer.running_var, layer.running_mean, layer.weight, layer.bias, eps=1e-5
    )
    named(asked(layer, x, wrong.detach().numpy()), "swapped-parameters")


def batch_normalization(x, epsilon):
    layer = keras.layers.BatchNormalization(epsilon=epsilon)
    layer(x)
    rng = np.random.default_rng(1)
    drawn = [rng.normal(size=x.shape[-1]) for _ in range(3)]
    layer.set_weights([np.float32(one) for one in (*drawn, rng.uniform(0.005, 0.5, x.shape[-1]))])
    return layer


def by_torch(layer, x, epsilon):
    gamma, beta, mean, variance = (t(np.array(one)) for one in layer.get_weights())
    return last(F.batch_norm(t(x).permute(0, 3, 1, 2), mean, variance, gamma, beta, eps=epsilon))


def test_nn_transfer_3():
    """Keras' batch normalisation has 1e-3, PyTorch's 1e-5."""
    x = draw(2, 6, 7, 5)
    layer = batch_normalization(x, 1e-3)
    assert (
        "eps = 1e-05; the layer's is 0.001"
        in named(asked(layer, x, by_torch(layer, x, 1e-5)), "other-epsilon").claim
    )


def test_tensorflow_65381():
    """hard_sigmoid documented as 0.2 x + 0.5 between -2.5 and 2.5, computed as x / 6 + 0.5 between
    -3 and 3; x = -4.0 .. 3.9."""
    x = np.arange(-40, 40, dtype=np.float32)[None] / np.float32(10)
    layer = keras.layers.Activation("hard_sigmoid")
    report = asked(layer, x, np.clip(0.2 * x + 0.5, 0, 1))
    named(report, "hard-sigmoid-definition")
    computed = dict(
        zip(np.round(x[0], 1).tolist(), report.outputs["framework"][0].tolist(), strict=True)
    )
    told = {-2.9: 0.01666665, -2.5: 0.083333336, -1.0: 0.33333334, 0.0: 0.5, 0.6: 0.59999996}
    for place, value in told.items():
        assert computed[float(np.float32(place).round(1))] == pytest.approx(value, abs=2e-7)


def test_hls4ml_68():
    """8.99 in ap_fixed<10,4>: -7.01563 by default, 7.98438 with AP_TRN_ZERO and AP_SAT."""
    x = np.array([[8.99, 1.3, -2.7, 6.1, -5.55, 3.33, 0.77, -1.21]], np.float32)
    codes = np.floor(x.astype(np.float64) * 64)
    wrapped = ((codes + 512) % 1024 - 512) / 64
    assert wrapped[0, 0] == pytest.approx(-7.01563, abs=5e-6)
    finding = asked(nn.Identity(), x, wrapped).findings[0]
    assert "wrap-around" in (finding.slug, *finding.also)
    assert "-8 .. 7.98438" in finding.claim
    clipped = np.clip(np.trunc(x.astype(np.float64) * 64), -512, 511) / 64
    assert clipped[0, 0] == pytest.approx(7.98438, abs=5e-6)
    finding = asked(nn.Identity(), x, clipped).findings[0]
    assert "saturation" in (finding.slug, *finding.also)
    assert "7.98438" in finding.claim


def test_hls4ml_874():
    """QDense(16) of 16 features, quantized_bits(8,0,alpha=1); weights written by {:7f}, 0.3203125
    as 0.320312, which ap_fixed<8,1> reads as 0.3125 (#877)."""
    x = np.random.default_rng(0).uniform(-1, 1, (7, 16)).astype(np.float32)
    bits = {
        name: qkeras.quantized_bits(8, 0, alpha=1)
        for name in ("kernel_quantizer", "bias_quantizer")
    }
    layer = quantised(qkeras.QDense, x, 16, **bits)

    def read(text):
        return np.floor(float(text) * 128) / 128

    assert read("0.320312") == 0.3125
    used = [np.array(layer.kernel_quantizer_internal(one)) for one in layer.get_weights()]
    for digits, slug in (("7f", "few-digits"), (".7f", "")):
        w, b = (
            np.reshape([read(f"{value:{digits}}") for value in one.ravel()], one.shape)
            for one in used
        )
        report = asked(layer, x, x @ w + b)
        if slug:
            assert "6 digits after the decimal point" in named(report, slug).claim
        assert report.ok == (not slug)


@pytest.mark.costly
def test_hls4ml_978():
    """QKeras against C simulation: 3x3 on (3, 3, 1), quantized_bits(16,6), range -32 .. 31: an
    overflow is suspected."""
    x = np.full((4, 3, 3, 1), 1.5, np.float32) * np.array([1, 4, 9, 16], np.float32)[
        :, None, None, None
    ] + draw(4, 3, 3, 1, scale=0.1)
    layer = quantised(
        qkeras.QConv2D,
        x,
        1,
        3,
        kernel_quantizer="quantized_bits(16,6)",
        bias_quantizer="quantized_bits(16,6)",
    )
    layer.set_weights([np.abs(layer.get_weights()[0]), layer.get_weights()[1]])
    right = np.array(layer(x), np.float64)
    wrong = (np.floor(right * 2**10) / 2**10 + 32) % 64 - 32
    assert (wrong != np.floor(right * 2**10) / 2**10).any()
    finding = asked(layer, x, wrong).findings[0]
    assert "wrap-around" in (finding.slug, *finding.also), finding


def test_pytorch_53635():
    """1024.5 times 1 is 1025 on cards that round the operands to TF32."""
    layer = nn.Linear(1, 1, bias=False).eval()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    report = asked(layer, np.array([[1024.5]], np.float32), np.array([[1025.0]], np.float32))
    named(report, "reduced-precision")
    assert "TF32" in report.findings[0].claim


def test_onednn_1221():
    """Ones times 0.1 over 3 channels of 11x11 with stride 4: one term after another gives 363
    terms' worth of rounding, and no fault."""
    layer = nn.Conv2d(3, 2, 11, 4, bias=False).eval()
    with torch.no_grad():
        layer.weight.fill_(0.1)
    x = np.ones((1, 3, 27, 27), np.float32)
    total = np.float32(0)
    for _ in range(363):
        total += np.float32(0.1)
    report = asked(layer, x, np.full((1, 2, 5, 5), total, np.float32))
    assert report.ok, report
    assert total != np.float32(36.3)


def test_brevitas_143():
    """A full convolution of 256 channels by 3x3 bipolar weights: close to the other engine's and
    not equal, which no fault is."""
    rng = np.random.default_rng(0)
    kernel = np.round(rng.random((1, 256, 3, 3)).astype(np.float32)) * 2 - 1
    x = rng.random((1, 256, 3, 3)).astype(np.float32)
    layer = nn.Conv2d(256, 1, 3, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_(t(kernel))
    total = np.float32(0)
    for value, weight in zip(x.ravel(), kernel.ravel(), strict=True):
        total += value * weight
    assert total != layer(t(x)).item()
    assert asked(layer, x, np.full((1, 1, 1, 1), total)).ok


PRINTED = (
    "0.2118 -0.2156 -0.5805 0.7864 0.4232 -0.0256 -0.9301 -0.8003 -0.5085 0.9171 0.8515 "
    "-0.5275 -0.2147 0.1295 0.0240"
)
EXPECTED = (
    "0.2101 -0.2101 -0.5750 0.7852 0.4202 -0.0221 -0.9289 -0.7962 -0.5087 0.9179 0.8515 "
    "-0.5308 -0.2101 0.1327 0.0221"
)


def test_brevitas_173():
    """8 bits at a scale of 0.0111: -0.2156 becomes -0.2212 in one engine and -0.2101 in the other,
    as it lies between two levels."""
    size = np.float32(0.01105858)
    layer, x = fake_quantize(float(size), 0), np.array(PRINTED.split(), np.float32)
    x[1] = np.float32(-19.5 * size * (1 - 2.0**-20))
    assert f"{x[1]:.4f}" == "-0.2156"
    right = layer(t(x)).numpy()
    assert [f"{value:.4f}" for value in right] == EXPECTED.split()
    other = right.copy()
    other[1] -= size
    assert f"{other[1]:.4f}" == "-0.2212"
    report = asked(layer, x, other)
    assert "1 of 15 elements are off by one step" in named(report, "boundary-flip").claim


def test_tensorflow_102943():
    """X = 585 at 0.05296124517917633 * 0.024093778803944588 / 0.11484327912330627: 6.5000005
    levels; -120 in TF Lite, -119 by hand."""
    unit, size = 0.05296124517917633 * 0.024093778803944588, 0.11484327912330627
    layer = fake_quantize(size, -126)
    sums = np.array(
        [*(one for one in range(0, 2000, 7) if abs(one * unit / size % 1 - 0.5) > 1e-3), 585]
    )
    by_hand = np.floor(sums * (unit / size) + 0.5) - 126
    lite = by_hand.copy()
    lite[-1] -= 1
    assert (by_hand[-1], lite[-1]) == (-119, -120)
    for codes, flips in ((by_hand, 0), (lite, 1)):
        report = asked(layer, (sums * unit).astype(np.float32), (codes + 126) * np.float32(size))
        assert report.ok, report
        assert (
            any(
                note.startswith(f"boundary-flip: 1 of {sums.size} values of yours")
                for note in report.notes
            )
            == flips
        )


def test_tensorflow_99072():
    """51,200 outputs of an int8 convolution by the reference and the optimised kernel: 80 of them
    (0.156 %) are one level apart."""
    unit, size = 0.0002471, 0.11
    layer, sums = (
        fake_quantize(size, 5),
        np.random.default_rng(0).integers(-40000, 40000, (1, 80, 80, 8)),
    )
    x = (sums * unit).astype(np.float32)
    twice = (twice_rounded(sums, unit / float(layer.scale[0]), 5) - 5) * layer.scale.numpy()
    apart = np.abs(twice - layer(t(x)).numpy())
    assert 0.001 < (apart > size / 2).mean() < 0.003
    assert apart.max() < 1.01 * size
    assert "rounded twice" in named(asked(layer, x, twice), "rounding-mode").claim
