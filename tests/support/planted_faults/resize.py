"""Mistakes planted in transposed convolutions, resizing, shuffles and norms over neighbours, by
other frameworks and plain loops."""

import keras
import numpy as np
import scipy.ndimage
import scipy.signal
import tensorflow as tf
import tf_keras
from planting import (
    F,
    Rows,
    draw,
    keras_layer,
    kernel_bias,
    last,
    nn,
    parameters,
    planter,
    t,
    torch_layer,
)

ROWS: Rows = []
plant = planter(ROWS)


def spread(x, w, b, stride, padding=0):
    """A transposed convolution by loops, nothing cropped but ``padding`` on both ends."""
    batch, _, height, width = x.shape
    _, out, kh, kw = w.shape
    y = np.zeros((batch, out, (height - 1) * stride + kh, (width - 1) * stride + kw))
    for i, j in np.ndindex(height, width):
        y[:, :, i * stride : i * stride + kh, j * stride : j * stride + kw] += np.einsum(
            "bc,cohw->bohw", x[:, :, i, j], w
        )
    y = y[:, :, padding : y.shape[2] - padding, padding : y.shape[3] - padding]
    return y + b[:, None, None]


def transposed(**options):
    layer = torch_layer(nn.ConvTranspose2d, 4, 3, 3, stride=2, **options)
    w, b = (part.numpy().astype(float) for part in parameters(layer))
    return layer, draw(2, 4, 5, 6), w, b


@plant("transpose-crop", "ConvTranspose2d")
def uncropped():
    layer, x, w, b = transposed(padding=1)
    return layer, x, spread(x, w, b, 2)


@plant("transpose-crop", "ConvTranspose2d")
def output_padding_in_front():
    layer, x, w, b = transposed(padding=1, output_padding=1)
    return layer, x, spread(x, w, b, 2)[:, :, : 2 * 5, : 2 * 6]


@plant("transpose-crop", "ConvTranspose1d")
def cropped_at_the_start():
    layer = torch_layer(nn.ConvTranspose1d, 3, 2, 4, stride=3, padding=1)
    x, (w, b) = draw(2, 3, 7), parameters(layer)
    return layer, x, F.conv_transpose1d(t(x), w, b, 3)[:, :, 2:].numpy()


@plant("transpose-crop", "Keras Conv2DTranspose")
def pytorch_habit():
    """PyTorch's padding=1, output_padding=1 for TensorFlow's "same" with a kernel of 3 and stride
    2."""
    x = draw(2, 5, 6, 3)
    layer = keras_layer(keras.layers.Conv2DTranspose, x, 4, 3, strides=2, padding="same")
    w, b = kernel_bias(layer)
    return (
        layer,
        x,
        last(
            F.conv_transpose2d(
                t(x).permute(0, 3, 1, 2), w.transpose(0, 1).permute(1, 0, 2, 3), b, 2, 1, 1
            )
        ),
    )


@plant("flipped-kernel", "ConvTranspose2d")
def as_a_convolution_of_the_spread_input():
    """Zeros put between the elements, then cross-correlated with the kernel as it is."""
    layer, x, w, b = transposed()
    wide = np.zeros((2, 4, 9, 11))
    wide[:, :, ::2, ::2] = x
    planes = [
        [sum(scipy.signal.correlate2d(one[c], w[c, o]) for c in range(4)) for o in range(3)]
        for one in wide
    ]
    return layer, x, np.array(planes) + b[:, None, None]


@plant("transposed-kernel", "ConvTranspose2d")
def channels_exchanged():
    layer = torch_layer(nn.ConvTranspose2d, 4, 4, 3, stride=2)
    w, b = (part.numpy().astype(float) for part in parameters(layer))
    x = draw(2, 4, 5, 6)
    return layer, x, spread(x, w.transpose(1, 0, 2, 3), b, 2)


@plant("missing-bias", "ConvTranspose2d")
def no_bias():
    layer, x, w, b = transposed(padding=1)
    return layer, x, spread(x, w, 0 * b, 2, 1)


@plant("ignored-dilation", "ConvTranspose2d")
def neighbouring_taps():
    layer = torch_layer(nn.ConvTranspose2d, 4, 3, 3, dilation=2)
    w, b = (part.numpy().astype(float) for part in parameters(layer))
    x = draw(2, 4, 5, 6)
    return layer, x, spread(x, w, b, 1)


def image(*shape):
    return draw(*shape, seed=3)


@plant("resize-coordinates", "Upsample bilinear")
def corners_by_scipy():
    """scipy.ndimage.zoom aligns the corners."""
    x = image(1, 2, 6, 7)
    planes = [scipy.ndimage.zoom(plane.astype(float), 2, order=1) for plane in x[0]]
    return nn.Upsample(scale_factor=2, mode="bilinear"), x, np.array(planes)[None]


@plant("resize-coordinates", "Upsample bilinear, corners aligned")
def half_pixels_by_tensorflow():
    x = image(1, 2, 6, 7)
    y = tf.image.resize(np.moveaxis(x, 1, -1), (12, 14), "bilinear").numpy()
    return (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        x,
        np.moveaxis(y, -1, 1),
    )


@plant("resize-coordinates", "Upsample bilinear")
def asymmetric_by_tensorflow_1():
    x = image(1, 2, 6, 7)
    y = tf.compat.v1.image.resize_bilinear(np.moveaxis(x, 1, -1), (12, 14)).numpy()
    return nn.Upsample(scale_factor=2, mode="bilinear"), x, np.moveaxis(y, -1, 1)


@plant("resize-coordinates", "Upsample nearest")
def middles_by_tensorflow():
    x = image(1, 2, 6, 7)
    y = tf.image.resize(np.moveaxis(x, 1, -1), (8, 11), "nearest").numpy()
    return nn.Upsample(size=(8, 11)), x, np.moveaxis(y, -1, 1)


@plant("resize-coordinates", "Keras Resizing nearest")
def floors_by_pytorch():
    x = image(1, 6, 7, 2)
    return (
        keras.layers.Resizing(8, 11, interpolation="nearest"),
        x,
        last(F.interpolate(t(x).permute(0, 3, 1, 2), (8, 11))),
    )


@plant("resize-coordinates", "Keras UpSampling2D bilinear")
def corners_by_pytorch():
    x = image(1, 6, 7, 2)
    y = F.interpolate(t(x).permute(0, 3, 1, 2), scale_factor=2, mode="bilinear", align_corners=True)
    return tf_keras.layers.UpSampling2D(2, interpolation="bilinear"), x, last(y)


@plant("resize-kernel", "Upsample bicubic")
def half_by_tensorflow():
    x = image(1, 2, 6, 7)
    y = tf.image.resize(np.moveaxis(x, 1, -1), (12, 14), "bicubic", antialias=True).numpy()
    return nn.Upsample(scale_factor=2, mode="bicubic"), x, np.moveaxis(y, -1, 1)


@plant("resize-kernel", "Upsample bilinear")
def cubic_for_linear():
    x = image(1, 2, 6, 7)
    return (
        nn.Upsample(scale_factor=2, mode="bilinear"),
        x,
        F.interpolate(t(x), scale_factor=2, mode="bicubic").numpy(),
    )


@plant("resize-kernel", "Keras Resizing bilinear")
def antialiased_by_pytorch():
    x = image(1, 12, 14, 2)
    y = F.interpolate(t(x).permute(0, 3, 1, 2), (5, 6), mode="bilinear", antialias=True)
    return keras.layers.Resizing(5, 6), x, last(y)


@plant("resize-kernel", "Keras UpSampling2D bicubic")
def three_quarters_by_pytorch():
    x = image(1, 6, 7, 2)
    y = F.interpolate(t(x).permute(0, 3, 1, 2), scale_factor=2, mode="bicubic")
    return keras.layers.UpSampling2D(2, interpolation="bicubic"), x, last(y)


@plant("group-axis", "PixelShuffle")
def depth_to_space():
    x = draw(2, 12, 3, 4)
    y = tf.nn.depth_to_space(np.moveaxis(x, 1, -1), 2).numpy()
    return nn.PixelShuffle(2), x, np.moveaxis(y, -1, 1)


@plant("group-axis", "PixelUnshuffle")
def space_to_depth():
    x = draw(2, 3, 6, 8)
    y = tf.nn.space_to_depth(np.moveaxis(x, 1, -1), 2).numpy()
    return nn.PixelUnshuffle(2), x, np.moveaxis(y, -1, 1)


@plant("group-axis", "ChannelShuffle")
def unshuffled():
    x = draw(2, 6, 3, 4)
    return nn.ChannelShuffle(2), x, F.channel_shuffle(t(x), 3).numpy()


@plant("flatten-order", "Unfold")
def patches_by_tensorflow():
    x = draw(2, 3, 6, 7)
    y = tf.image.extract_patches(
        np.moveaxis(x, 1, -1), (1, 2, 3, 1), (1, 1, 1, 1), (1, 1, 1, 1), "VALID"
    ).numpy()
    return nn.Unfold((2, 3)), x, y.reshape(2, -1, 18).transpose(0, 2, 1)


@plant("norm-over-neighbours", "LocalResponseNorm")
def alpha_by_tensorflow():
    x = draw(2, 7, 3, 4)
    y = tf.nn.local_response_normalization(
        np.moveaxis(x, 1, -1), depth_radius=2, bias=1.0, alpha=0.5, beta=0.75
    ).numpy()
    return nn.LocalResponseNorm(5, alpha=0.5), x, np.moveaxis(y, -1, 1)


@plant("missing-centring", "RMSNorm")
def layer_norm_for_rms():
    layer = torch_layer(nn.RMSNorm, 9, eps=1e-5)
    x = draw(4, 9) + 1
    return layer, x, F.layer_norm(t(x), (9,), layer.weight.detach(), None, 1e-5).numpy()


@plant("missing-centring", "LayerNorm")
def rms_for_layer_norm():
    layer = nn.LayerNorm(9, bias=False)
    x = draw(4, 9) + 1
    return layer, x, F.rms_norm(t(x), (9,), layer.weight.detach(), 1e-5).numpy()


@plant("other-epsilon", "RMSNorm")
def larger_epsilon():
    layer = torch_layer(nn.RMSNorm, 9, eps=1e-6)
    x = draw(4, 9, scale=0.05)
    return layer, x, F.rms_norm(t(x), (9,), layer.weight.detach(), 1e-3).numpy()


@plant("missing-parameter", "RMSNorm")
def no_scale():
    layer = torch_layer(nn.RMSNorm, 9, eps=1e-5)
    layer.weight.data.uniform_(0.5, 2.0)
    x = draw(4, 9)
    return layer, x, F.rms_norm(t(x), (9,), None, 1e-5).numpy()


@plant("padding-value", "ReplicationPad2d")
def reflected_for_replicated():
    x = draw(2, 3, 6, 7)
    return nn.ReplicationPad2d(2), x, F.pad(t(x), (2, 2, 2, 2), mode="reflect").numpy()


@plant("padding-value", "CircularPad2d")
def zeros_for_circular():
    x = draw(2, 3, 6, 7)
    return nn.CircularPad2d((1, 2, 2, 0)), x, F.pad(t(x), (1, 2, 2, 0)).numpy()


@plant("place-counting", "MaxPool2d, places")
def argmax_by_tensorflow():
    x = draw(2, 3, 6, 8)
    _, places = tf.nn.max_pool_with_argmax(np.moveaxis(x, 1, -1), 2, 2, "VALID")
    return nn.MaxPool2d(2, return_indices=True), x, [None, np.moveaxis(places.numpy(), -1, 1)]


@plant("place-counting", "MaxPool2d, places")
def places_by_onnx():
    x = draw(2, 3, 6, 8)
    _, places = F.max_pool2d(t(x), 2, return_indices=True)
    return (
        nn.MaxPool2d(2, return_indices=True),
        x,
        [None, places.numpy() + np.arange(6).reshape(2, 3, 1, 1) * 48],
    )
