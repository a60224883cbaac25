"""Cases from issue trackers: padding, pooling, resizing, layout."""

import keras
import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from planting import draw, last, t
from reported_issue import asked, named

F = torch.nn.functional
nn = torch.nn


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
    assert (
        "3 before and 3 after"
        in named(asked(layer, x, wrong[:, :112, :112]), "symmetric-padding").claim
    )


def test_keras_19291():
    """A 3x3 convolution of 3 channels, stride 2 and padding 1 in PyTorch, "same" in Keras, on (3,
    128, 128)."""
    x = draw(1, 128, 128, 3)
    layer = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)
    layer(x)
    kernel = t(layer.get_weights()[0]).permute(3, 2, 0, 1)
    named(
        asked(layer, x, last(F.conv2d(t(x).permute(0, 3, 1, 2), kernel, stride=2, padding=1))),
        "symmetric-padding",
    )


def test_pytorch_67551():
    """Conv2d(padding="same") with a stride of 2: PyTorch would pad dilation * (kernel - 1),
    whatever the input's size; the wrapper there pads as TensorFlow does, (ceil(size / stride) - 1)
    * stride + kernel - size."""
    x = draw(1, 3, 224, 224)
    layer = nn.Conv2d(3, 4, 7, stride=2, padding=(7 - 1) // 2).eval()
    total = max((-(-224 // 2) - 1) * 2 + 7 - 224, 0)
    padded = F.pad(t(x), (total // 2, total - total // 2) * 2)
    wrapped = F.conv2d(padded, layer.weight, layer.bias, 2).detach().numpy()
    assert (
        "padded 2 before and 3 after; the layer pads 3 before and 3 after"
        in named(asked(layer, x, wrapped), "symmetric-padding").claim
    )
    odd = (
        F.conv2d(F.pad(t(x[..., 1:, 1:]), (3, 3, 3, 3)), layer.weight, layer.bias, 2)
        .detach()
        .numpy()
    )
    assert asked(layer, x[..., 1:, 1:], odd).ok


def test_pytorch_3867():
    """MaxPool2d with a padding of its own where Keras pads "same": (0, 1) for 3x3 and stride 2 on
    an even size."""
    x = draw(1, 112, 112, 2)
    layer = keras.layers.MaxPooling2D(3, 2, padding="same")
    assert asked(
        layer,
        x,
        last(F.max_pool2d(F.pad(t(x).permute(0, 3, 1, 2), (0, 1, 0, 1), value=-np.inf), 3, 2)),
    ).ok
    named(
        asked(layer, x, last(F.max_pool2d(t(x).permute(0, 3, 1, 2), 3, 2, 1))), "symmetric-padding"
    )


POOLED = [
    [2.0903, 4.6493, 1.6320, -3.2051, 4.6975, 4.7296, 3.3653, -1.5815, -2.3832],
    [0.9628, -1.5899, -2.6820, 5.7529, 7.7346, -0.8910, -2.0151, 0.1313, -0.5374],
]


def test_onnxruntime_16203():
    """AveragePool of 7, stride 3, pads 3, ceil_mode, count_include_pad: the last column is divided
    by 7 and not by what is left."""
    theirs = [
        [0.73807144, 2.5655572, 0.8032287, -0.08562858],
        [0.34911433, 1.0389, 1.4536142, -0.34588572],
    ]
    layer = nn.AvgPool1d(7, 3, padding=3, ceil_mode=True)
    report = asked(layer, np.array([POOLED], np.float32), np.array([theirs], np.float32))
    finding = named(report, "pool-counts-padding")
    assert "always divided by 7" in finding.claim


def test_pytorch_183528():
    """avg_pool2d(3, stride 2, padding 1, ceil_mode, count_include_pad) of 1 .. 16: 2, 6, 4.5, 7.5
    and 4 become 1.33, 4, 3, 5 and 1.78."""
    theirs = [1.5555556, 3.3333333, 1.3333334, 6.3333335, 11.0, 4.0, 3.0, 5.0, 1.7777778]
    x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
    layer = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
    report = asked(layer, x, np.array(theirs, np.float32).reshape(1, 1, 3, 3))
    np.testing.assert_allclose(
        report.outputs["numpy"].ravel()[[2, 5, 6, 7, 8]], [2, 6, 4.5, 7.5, 4]
    )
    assert "always divided by 9" in named(report, "pool-counts-padding").claim


def test_pytorch_71549():
    """AvgPool2d(3, stride 3, padding 1, ceil_mode) on (1, 3, 2, 2): ONNX Runtime's map has a row
    and a column more."""
    x = np.random.default_rng(0).random((1, 3, 2, 2)).astype(np.float32)
    layer = nn.AvgPool2d((3, 3), (3, 3), padding=(1, 1), ceil_mode=True)
    assert layer(t(x)).shape == (1, 3, 1, 1)
    wrong = np.zeros((1, 3, 2, 2), np.float32)
    wrong[:, :, 0, 0] = x.sum(axis=(2, 3)) / 9
    named(asked(layer, x, wrong), "pool-ceil")


def test_pytorch_87892():
    """The way out taken there: pad first, then pool without ceil_mode and without padding of its
    own; it gives PyTorch's values."""
    x = draw(1, 2, 9, 9)
    layer = nn.AvgPool2d(3, 2, padding=1)
    assert asked(layer, x, F.avg_pool2d(F.pad(t(x), (1, 1, 1, 1)), 3, 2).numpy()).ok
    named(
        asked(layer, x, F.avg_pool2d(t(x), 3, 2, 1, count_include_pad=False).numpy()),
        "pool-counts-padding",
    )


def test_onnx_4958():
    """ceil_mode adds a third row whose windows hold no value: the least float32 for MaxPool where
    PyTorch has two rows."""
    x = draw(1, 1, 4, 5)
    layer = nn.MaxPool2d(3, (3, 2), padding=(1, 0), ceil_mode=True)
    right = layer(t(x)).numpy()
    assert right.shape == (1, 1, 2, 2)
    wrong = np.full((1, 1, 3, 2), np.finfo(np.float32).min)
    wrong[:, :, :2] = right
    report = asked(layer, x, wrong)
    assert report.verdict == "diverge"
    assert "another shape: (1, 1, 2, 2) and (1, 1, 3, 2)" in str(report)


def test_mmdnn_628():
    """F.avg_pool2d(3, stride 1, padding 1) for TensorFlow's "same": the corners are divided by 9
    and not by 4."""
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
    named(
        asked(layer, x, F.avg_pool2d(t(x), 3, 1, 1, count_include_pad=False).numpy()),
        "pool-counts-padding",
    )


def test_pytorchconverter_18():
    """Caffe and ncnn round the number of windows up, PyTorch down."""
    x = draw(1, 3, 10, 10)
    named(
        asked(nn.MaxPool2d(3, 2), x, F.max_pool2d(t(x), 3, 2, ceil_mode=True).numpy()), "pool-ceil"
    )


def test_nn_transfer_16():
    """view() of PyTorch and Flatten of Keras: (0, 3, 1, 2) has to come first."""
    x = draw(2, 4, 5, 3)
    named(
        asked(keras.layers.Flatten(), x, t(x).permute(0, 3, 1, 2).reshape(2, -1).numpy()),
        "flatten-order",
    )


def test_hls4ml_437():
    """A convolution whose columns were filled by loops in another order than its weights lie in
    (#448 reordered them)."""
    x = draw(2, 7, 6, 3)
    layer = keras.layers.Conv2D(4, 3, use_bias=False)
    layer(x)
    (w,) = layer.get_weights()
    columns = F.unfold(t(x).permute(0, 3, 1, 2), 3).permute(0, 2, 1).numpy()
    wrong = (columns @ w.reshape(-1, 4)).reshape(2, 5, 4, 4)
    named(asked(layer, x, wrong), "transposed-kernel")
    ordered = columns.reshape(2, 20, 3, 3, 3).transpose(0, 1, 3, 4, 2).reshape(2, 20, 27)
    assert asked(layer, x, (ordered @ w.reshape(-1, 4)).reshape(2, 5, 4, 4)).ok


def test_aimet_4060():
    """Flattened NCHW held against flattened NHWC: nothing alike but where there is one channel, and
    no fault of the layer's."""
    x = draw(1, 3, 8, 6)

    def dumped(layer):
        return layer(t(x)).detach().permute(0, 2, 3, 1).contiguous().numpy()

    layer = nn.Conv2d(3, 5, 3, padding=1).eval()
    right, theirs = layer(t(x)).detach().numpy().ravel(), dumped(layer).ravel()
    assert abs(right @ theirs) / (right @ right) < 0.3
    named(asked(layer, x, dumped(layer)), "transposed-output")
    named(asked(layer, x, theirs.reshape(1, 5, 8, 6)), "transposed-output")
    tail = nn.Conv2d(3, 1, 3, padding=1).eval()
    assert asked(tail, x, dumped(tail).reshape(1, 1, 8, 6)).ok


# Resizing.


def by_onnxruntime(x, coordinates):
    """Bilinear to twice the size by ONNX Runtime."""
    graph = helper.make_graph(
        [
            helper.make_node(
                "Resize",
                ["x", "", "scales"],
                ["y"],
                mode="linear",
                coordinate_transformation_mode=coordinates,
            )
        ],
        "resize",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"x": x})[0]


def test_tensorrt_273():
    """Bilinear without align_corners: half pixels in PyTorch, asymmetric in TensorRT; with
    align_corners they agree."""
    x = draw(1, 3, 5, 7)
    layer = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    finding = named(asked(layer, x, by_onnxruntime(x, "asymmetric")), "resize-coordinates")
    assert "asymmetric coordinates instead of half_pixel" in finding.claim
    assert asked(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        x,
        by_onnxruntime(x, "align_corners"),
    ).ok


def test_tensorflow_onnx_932():
    """Resizing has half_pixel_centers=True in TensorFlow 2; it was converted to "asymmetric", and
    to "half_pixel" from then on."""
    x = draw(1, 5, 7, 3)
    layer = keras.layers.UpSampling2D(2, interpolation="bilinear")
    first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    converted = {
        name: by_onnxruntime(first, name).transpose(0, 2, 3, 1)
        for name in ("asymmetric", "half_pixel")
    }
    assert (
        "asymmetric coordinates instead of half_pixel"
        in named(asked(layer, x, converted["asymmetric"]), "resize-coordinates").claim
    )
    assert asked(layer, x, converted["half_pixel"]).ok


def test_onnx_2214():
    """OpenCV's bilinear adds half a pixel: (i + 0.5) * in / out - 0.5, the edge repeated; PyTorch
    has that and align_corners."""
    x, size = draw(1, 2, 6, 5), (9, 13)

    def weights(count, out):
        matrix = np.zeros((out, count))
        for i in range(out):
            place = min(max((i + 0.5) * count / out - 0.5, 0), count - 1)
            low = min(int(place), count - 2)
            matrix[i, low], matrix[i, low + 1] = low + 1 - place, place - low
        return matrix

    mine = np.einsum("ih,bchw,jw->bcij", weights(6, 9), x.astype(np.float64), weights(5, 13))
    assert asked(nn.Upsample(size, mode="bilinear", align_corners=False), x, mine).ok
    finding = named(
        asked(nn.Upsample(size, mode="bilinear", align_corners=True), x, mine), "resize-coordinates"
    )
    assert "half_pixel coordinates instead of align_corners" in finding.claim
