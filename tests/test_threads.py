"""Cases that users brought to issue trackers, built again with the frameworks here.

Each names its thread and takes its shapes and numbers from there; what the thread found to be the cause must be named.
"""

import keras
import numpy as np
import pytest
import qkeras
import tf_keras
import torch
from planting import draw, last, t

import probe

F = torch.nn.functional
nn = torch.nn
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*deprecated - use:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The initializer .* is unseeded:UserWarning"),
]


def asked(layer, x, wrong, **options):
    return probe.check(layer, probe.open_model(layer).layers[0].name, given=x, expected=wrong, **options)


def named(report, slug):
    """The thread's cause first, or in a declared tie, and nothing left of the difference."""
    slugs = [finding.slug for finding in report.findings]
    assert slugs, report
    assert slugs[0] == slug or (slug in slugs and report.findings[0].tie), report
    assert report.findings[0].left <= 1
    return report.findings[slugs.index(slug)]


# Weights.


def quantised(kind, x, *args, **options):
    tf_keras.utils.set_random_seed(0)
    layer = kind(*args, **options)
    layer(x)
    layer.set_weights([np.random.default_rng(i).uniform(-1, 1, w.shape).astype(np.float32) for i, w in enumerate(layer.get_weights())])
    return layer


def test_qkeras_35():
    """QDense(8), quantized_bits(3,0,1) and quantized_bits(3): get_weights() reaches 1, the layer multiplies by at most 0.75."""
    x = np.random.default_rng(0).uniform(0, 0.75, (6, 12)).astype(np.float32)
    quantizers = {"kernel_quantizer": qkeras.quantized_bits(3, 0, 1), "bias_quantizer": qkeras.quantized_bits(3)}
    layer = quantised(qkeras.QDense, x, 8, **quantizers)
    w, b = layer.get_weights()
    report = asked(layer, x, x @ w + b)
    named(report, "raw-weights")
    kernel = report.weights["kernel"]
    assert np.abs(kernel.stored).max() > 0.75
    assert len(np.unique(kernel.effective)) <= 7


def test_qkeras_60():
    """quantized_bits(8,0) for kernel and bias of a QDense; the printed weights (-0.118689373, ...) are no multiples of 2^-7."""
    x = draw(5, 6)
    layer = quantised(qkeras.QDense, x, 4, kernel_quantizer=qkeras.quantized_bits(8, 0), bias_quantizer=qkeras.quantized_bits(8, 0))
    w, b = layer.get_weights()
    w.flat[:6] = [-1.18689373e-01, 7.44902715e-03, -1.58425614e-01, 7.54895657e-02, -4.10564430e-03, 2.46057995e-02]
    layer.set_weights([w, b])
    named(asked(layer, x, x @ w + b), "raw-weights")


def test_qkeras_103():
    """The answer there, layer.kernel_quantizer_internal(layer.kernel), gives what the layer multiplies by."""
    x = draw(5, 6)
    layer = quantised(qkeras.QDense, x, 4, kernel_quantizer=qkeras.quantized_bits(4, 0, 1, alpha=1), use_bias=False)
    used = np.array(layer.kernel_quantizer_internal(layer.kernel))
    report = asked(layer, x, x @ used)
    assert report.ok, report
    np.testing.assert_array_equal(report.weights["kernel"].effective, used)
    named(asked(layer, x, x @ layer.get_weights()[0]), "raw-weights")


def test_pytorch2keras_120():
    """set_weights([weight, bias, running_var, running_mean]) on a BatchNormalization that wants the mean first; data (1, 3, 2, 2)."""
    values = [0.6875, 0.5928, 0.2540, 0.3808, 0.9787, 0.3589, 0.5710, 0.3397, 0.2124, 0.8893, 0.0698, 0.6545]
    x = np.array(values, np.float32).reshape(1, 3, 2, 2)
    layer = nn.BatchNorm2d(3, eps=1e-5).eval()
    with torch.no_grad():
        layer.running_mean.copy_(torch.tensor([0.4, 0.5, 0.6]))
        layer.running_var.copy_(torch.tensor([0.9, 1.1, 1.2]))
    wrong = F.batch_norm(t(x), layer.running_var, layer.running_mean, layer.weight, layer.bias, eps=1e-5)
    named(asked(layer, x, wrong.detach().numpy()), "swapped-parameters")


# Windows.


def pad_both(x, before, after):
    return F.pad(t(x).permute(0, 3, 1, 2), (before, after, before, after))


def test_tensornets_25():
    """A 7x7 convolution of stride 2 on 224: padded (2, 3) or (3, 3), 112 columns either way."""
    x = draw(1, 224, 224, 3)
    layer = keras.layers.Conv2D(4, 7, strides=2, padding="same", use_bias=False)
    layer(x)
    (w,) = layer.get_weights()
    kernel = t(w).permute(3, 2, 0, 1)
    right, wrong = (last(F.conv2d(pad_both(x, before, 3), kernel, stride=2)) for before in (2, 3))
    assert right.shape == (1, 112, 112, 4)
    assert asked(layer, x, right).ok
    assert "3 before and 3 after" in named(asked(layer, x, wrong[:, :112, :112]), "symmetric-padding").claim


def test_keras_19291():
    """A 3x3 convolution of 3 channels, stride 2 and padding 1 in PyTorch, "same" in Keras, on (3, 128, 128)."""
    x = draw(1, 128, 128, 3)
    layer = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)
    layer(x)
    kernel = t(layer.get_weights()[0]).permute(3, 2, 0, 1)
    named(asked(layer, x, last(F.conv2d(t(x).permute(0, 3, 1, 2), kernel, stride=2, padding=1))), "symmetric-padding")


def test_pytorch_3867():
    """MaxPool2d with a padding of its own where Keras pads "same": (0, 1) for 3x3 and stride 2 on an even size."""
    x = draw(1, 112, 112, 2)
    layer = keras.layers.MaxPooling2D(3, 2, padding="same")
    assert asked(layer, x, last(F.max_pool2d(F.pad(t(x).permute(0, 3, 1, 2), (0, 1, 0, 1), value=-np.inf), 3, 2))).ok
    named(asked(layer, x, last(F.max_pool2d(t(x).permute(0, 3, 1, 2), 3, 2, 1))), "symmetric-padding")


POOLED = [
    [2.0903, 4.6493, 1.6320, -3.2051, 4.6975, 4.7296, 3.3653, -1.5815, -2.3832],
    [0.9628, -1.5899, -2.6820, 5.7529, 7.7346, -0.8910, -2.0151, 0.1313, -0.5374],
]


def test_onnxruntime_16203():
    """AveragePool of 7, stride 3, pads 3, ceil_mode, count_include_pad: the last column is divided by 7 and not by what is left."""
    theirs = [[0.73807144, 2.5655572, 0.8032287, -0.08562858], [0.34911433, 1.0389, 1.4536142, -0.34588572]]
    layer = nn.AvgPool1d(7, 3, padding=3, ceil_mode=True)
    report = asked(layer, np.array([POOLED], np.float32), np.array([theirs], np.float32))
    finding = named(report, "pool-counts-padding")
    assert "always divided by 7" in finding.claim


def test_pytorch_183528():
    """avg_pool2d(3, stride 2, padding 1, ceil_mode, count_include_pad) of 1 .. 16: 2, 6, 4.5, 7.5 and 4 become 1.33, 4, 3, 5 and 1.78."""
    theirs = [1.5555556, 3.3333333, 1.3333334, 6.3333335, 11.0, 4.0, 3.0, 5.0, 1.7777778]
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    layer = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
    report = asked(layer, x, np.array(theirs, np.float32).reshape(1, 1, 3, 3))
    np.testing.assert_allclose(report.outputs["numpy"].ravel()[[2, 5, 6, 7, 8]], [2, 6, 4.5, 7.5, 4])
    assert "always divided by 9" in named(report, "pool-counts-padding").claim


def test_pytorch_71549():
    """AvgPool2d(3, stride 3, padding 1, ceil_mode) on (1, 3, 2, 2): ONNX Runtime's map has a row and a column more."""
    x = np.random.default_rng(0).random((1, 3, 2, 2)).astype(np.float32)
    layer = nn.AvgPool2d((3, 3), (3, 3), padding=(1, 1), ceil_mode=True)
    assert layer(t(x)).shape == (1, 3, 1, 1)
    wrong = np.zeros((1, 3, 2, 2), np.float32)
    wrong[:, :, 0, 0] = x.sum(axis=(2, 3)) / 9
    named(asked(layer, x, wrong), "pool-ceil")


def test_pytorch_87892():
    """The way out taken there: pad first, then pool without ceil_mode and without padding of its own; it gives PyTorch's values."""
    x = draw(1, 2, 9, 9)
    layer = nn.AvgPool2d(3, 2, padding=1)
    assert asked(layer, x, F.avg_pool2d(F.pad(t(x), (1, 1, 1, 1)), 3, 2).numpy()).ok
    named(asked(layer, x, F.avg_pool2d(t(x), 3, 2, 1, count_include_pad=False).numpy()), "pool-counts-padding")


def test_onnx_4958():
    """ceil_mode adds a third row whose windows hold no value: the least float32 for MaxPool where PyTorch has two rows."""
    x = draw(1, 1, 4, 5)
    layer = nn.MaxPool2d(3, (3, 2), padding=(1, 0), ceil_mode=True)
    right = layer(t(x)).numpy()
    assert right.shape == (1, 1, 2, 2)
    wrong = np.full((1, 1, 3, 2), np.finfo(np.float32).min)
    wrong[:, :, :2] = right
    report = asked(layer, x, wrong)
    assert report.verdict == "diverge"
    assert "shapes differ: (1, 1, 2, 2) and (1, 1, 3, 2)" in str(report)


def test_mmdnn_628():
    """F.avg_pool2d(3, stride 1, padding 1) for TensorFlow's "same": the corners are divided by 9 and not by 4."""
    x = draw(1, 8, 8, 3)
    layer = keras.layers.AveragePooling2D(3, 1, padding="same")
    wrong = last(F.avg_pool2d(t(x).permute(0, 3, 1, 2), 3, 1, 1))
    report = asked(layer, x, wrong)
    named(report, "pool-counts-padding")
    np.testing.assert_allclose(report.outputs["numpy"][0, 0, 0] / wrong[0, 0, 0], 9 / 4, rtol=1e-5)


def test_mmdnn_909():
    """count_include_pad=False generated for a pooling that counts; True was right."""
    x = draw(1, 3, 8, 8)
    layer = nn.AvgPool2d((3, 3), (1, 1), padding=(1, 1))
    named(asked(layer, x, F.avg_pool2d(t(x), 3, 1, 1, count_include_pad=False).numpy()), "pool-counts-padding")


def test_pytorchconverter_18():
    """Caffe and ncnn round the number of windows up, PyTorch down."""
    x = draw(1, 3, 10, 10)
    named(asked(nn.MaxPool2d(3, 2), x, F.max_pool2d(t(x), 3, 2, ceil_mode=True).numpy()), "pool-ceil")


# Layout.


def test_nn_transfer_16():
    """view() of PyTorch and Flatten of Keras: (0, 3, 1, 2) has to come first."""
    x = draw(2, 4, 5, 3)
    named(asked(keras.layers.Flatten(), x, t(x).permute(0, 3, 1, 2).reshape(2, -1).numpy()), "flatten-order")


# Normalisation.


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
    assert "eps = 1e-05, the layer has 0.001" in named(asked(layer, x, by_torch(layer, x, 1e-5)), "other-epsilon").claim


# Activation.


def test_tensorflow_65381():
    """hard_sigmoid documented as 0.2 x + 0.5 between -2.5 and 2.5, computed as x / 6 + 0.5 between -3 and 3; x = -4.0 .. 3.9."""
    x = np.arange(-40, 40, dtype=np.float32)[None] / np.float32(10)
    layer = keras.layers.Activation("hard_sigmoid")
    report = asked(layer, x, np.clip(0.2 * x + 0.5, 0, 1))
    named(report, "hard-sigmoid-definition")
    computed = dict(zip(np.round(x[0], 1).tolist(), report.outputs["framework"][0].tolist(), strict=True))
    told = {-2.9: 0.01666665, -2.5: 0.083333336, -1.0: 0.33333334, 0.0: 0.5, 0.6: 0.59999996}
    for place, value in told.items():
        assert computed[float(np.float32(place).round(1))] == pytest.approx(value, abs=2e-7)


# Number formats.


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


def test_hls4ml_978():
    """QKeras against C simulation: 3x3 on (3, 3, 1), quantized_bits(16,6), range -32 .. 31: an overflow is suspected."""
    x = np.full((4, 3, 3, 1), 1.5, np.float32) * np.array([1, 4, 9, 16], np.float32)[:, None, None, None] + draw(4, 3, 3, 1, scale=0.1)
    layer = quantised(qkeras.QConv2D, x, 1, 3, kernel_quantizer="quantized_bits(16,6)", bias_quantizer="quantized_bits(16,6)")
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
    """Ones times 0.1 over 3 channels of 11x11 with stride 4: one term after another gives 363 terms' worth of rounding, and no fault."""
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


# Recurrences.


def gru(inputs, units):
    torch.manual_seed(0)
    return nn.GRU(inputs, units, batch_first=True).eval()


def parts_of(layer):
    """(input weights, recurrent weights, input bias, recurrent bias) of a GRU, in float64: gates r, z, n."""
    return [getattr(layer, name).detach().double().numpy() for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(x, layer, candidate):
    """A GRU step by step; ``candidate`` gives n from what the input, the state and the reset gate give."""
    w, u, b, c = parts_of(layer)
    h, out = np.zeros((len(x), u.shape[1])), []
    for step in np.moveaxis(x.astype(np.float64), 1, 0):
        from_x, from_h = np.split(step @ w.T, 3, axis=1), np.split(h @ u.T, 3, axis=1)
        bx, bh = np.split(b, 3), np.split(c, 3)
        r, z = (sigmoid(from_x[k] + bx[k] + from_h[k] + bh[k]) for k in (0, 1))
        n = candidate(from_x[2], bx[2], from_h[2], bh[2], r, h, np.split(u, 3)[2])
        h = (1 - z) * n + z * h
        out.append(h)
    return np.stack(out, axis=1)


def keras_gru(layer, x):
    """Keras' GRU with PyTorch's weights in PyTorch's order of gates, as both threads copied them."""
    units = layer.hidden_size
    copied = keras.layers.GRU(units, return_sequences=True)
    copied(x)
    w, u, b, c = (np.float32(one) for one in parts_of(layer))
    copied.set_weights([w.T, u.T, np.stack([b, c])])
    return np.array(copied(x))


def states(y):
    """The values of every step, and the last state left out."""
    return [np.float32(y), None]


def test_keras_15915():
    """A GRU of 80 inputs and 512 units over 10 steps; the weights are transposed, the gates stay in PyTorch's order."""
    layer, x = gru(80, 512), draw(1, 10, 80)
    assert probe.check(layer, "", given=x, expected=states(loop(x, layer, lambda x, bx, h, bh, r, *_: np.tanh(x + bx + r * (h + bh))))).ok
    named(probe.check(layer, "", given=x, expected=states(keras_gru(layer, x))), "gate-order")


def test_keras_8720():
    """The same with an input of 7 and a state of 13; biases that are not zero differ too."""
    layer, x = gru(7, 13), draw(2, 6, 7)
    named(probe.check(layer, "", given=x, expected=states(keras_gru(layer, x))), "gate-order")


def test_coremltools_1124():
    """n = tanh(W x + r * (U h) + b), one bias that is the sum of both, for tanh(W x + b + r * (U h + c))."""
    layer, x = gru(5, 8), draw(2, 6, 5)
    wrong = loop(x, layer, lambda x, bx, h, bh, r, *_: np.tanh(x + r * h + bx + bh))
    named(probe.check(layer, "", given=x, expected=states(wrong)), "recurrent-bias")


def test_coremltools_1123():
    """reset_after=False, the other formula of the GRU, for a Keras layer that resets after the product."""
    x = draw(2, 6, 5)
    layer = keras.layers.GRU(8, return_sequences=True, reset_after=True)
    other = keras.layers.GRU(8, return_sequences=True, reset_after=False)
    layer(x), other(x)
    w, u, _ = layer.get_weights()
    layer.set_weights([w, u, np.stack([draw(24, seed=1, scale=0.5), np.zeros(24, np.float32)])])
    other.set_weights([w, u, layer.get_weights()[2][0]])
    named(asked(layer, x, np.array(other(x))), "reset-after")


def test_onnxscript_2852():
    """GRU(1, 32) over 10 steps exported without linear_before_reset: off by about 0.1."""
    layer, x = gru(1, 32), draw(1, 10, 1)
    wrong = loop(x, layer, lambda x, bx, h, bh, r, state, u: np.tanh(x + bx + (r * state) @ u.T + bh))
    report = probe.check(layer, "", given=x, expected=states(wrong))
    named(report, "reset-after")
    assert 0.01 < np.abs(report.outputs["framework"][0] - wrong).max() < 1
