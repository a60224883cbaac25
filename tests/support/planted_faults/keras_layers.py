"""Mistakes planted in Keras layers: the same layer with another option, or PyTorch with its
weights."""

import keras
import numpy as np
import torch
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
    same_pad,
    t,
    torch_layer,
)

ROWS: Rows = []
plant = planter(ROWS)


@plant("symmetric-padding", "Keras Conv2D")
def torch_habit():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, strides=2, padding="same")
    return (
        layer,
        x,
        last(F.conv2d(t(x).permute(0, 3, 1, 2), *kernel_bias(layer), stride=2, padding=1)),
    )


@plant("symmetric-padding", "PyTorch Conv2d")
def tensorflow_habit():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, stride=2, padding=1), draw(2, 3, 8, 10)
    return layer, x, F.conv2d(F.pad(t(x), (0, 1, 0, 1)), *parameters(layer), stride=2).numpy()


@plant("padding-on-other-side", "Keras Conv2D")
def same_lower():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 4, padding="same")
    return (
        layer,
        x,
        last(F.conv2d(F.pad(t(x).permute(0, 3, 1, 2), (2, 1, 2, 1)), *kernel_bias(layer))),
    )


@plant("ignored-dilation", "Keras Conv1D")
def causal_taps_side_by_side():
    x = draw(2, 12, 3)
    layer = keras_layer(keras.layers.Conv1D, x, 5, 3, padding="causal", dilation_rate=2)
    kernel, bias = map(t, layer.get_weights())
    taps = F.pad(t(x), (0, 0, 2, 0)).unfold(1, 3, 1)
    return layer, x, (torch.einsum("ntck,kco->nto", taps, kernel) + bias).numpy()


@plant("missing-activation", "Keras Conv2D")
def linear_conv():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same", activation="relu")
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), *kernel_bias(layer)))


@plant("other-activation", "Keras Conv2D")
def relu6_conv():
    x = draw(2, 8, 10, 3, scale=3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same", activation="relu")
    return layer, x, last(F.relu6(F.conv2d(same_pad(x, 3, 1), *kernel_bias(layer))))


@plant("missing-bias", "Keras Conv2D with ReLU")
def relu_without_bias():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same", activation="relu")
    return layer, x, last(F.relu(F.conv2d(same_pad(x, 3, 1), kernel_bias(layer)[0])))


@plant("transposed-kernel", "Keras Conv2D")
def width_height():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same")
    w, b = kernel_bias(layer)
    return layer, x, last(F.conv2d(same_pad(x, 3, 1), w.transpose(2, 3), b))


@plant("transposed-kernel", "Keras Conv2D")
def reshaped_kernel():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same")
    w, b = layer.get_weights()
    return (
        layer,
        x,
        last(F.conv2d(same_pad(x, 3, 1), t(np.array(w).reshape(5, 3, 3, 3)), t(np.array(b)))),
    )


@plant("transposed-output", "Keras Conv2D")
def channels_first_output():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.Conv2D, x, 5, 3, padding="same")
    return layer, x, np.array(layer(x)).transpose(0, 3, 1, 2)


@plant("flipped-kernel", "Keras Conv1D")
def keras_convolve():
    x = draw(1, 30, 1)
    layer = keras_layer(keras.layers.Conv1D, x, 1, 3, padding="valid")
    w, b = (np.array(one) for one in layer.get_weights())
    return layer, x, (np.convolve(x[0, :, 0], w[:, 0, 0], "valid") + b)[None, :, None]


@plant("missing-bias", "Keras SeparableConv2D")
def separable_bias():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.SeparableConv2D, x, 5, 3, padding="valid")
    depth, point, _ = (np.array(one) for one in layer.get_weights())
    middle = F.conv2d(t(x).permute(0, 3, 1, 2), t(depth.transpose(2, 3, 0, 1)), groups=3)
    return layer, x, last(F.conv2d(middle, t(point.transpose(3, 2, 0, 1))))


for _both in (True, False):

    @plant("reduced-precision", "Keras SeparableConv2D")
    def narrow_products(both=_both):
        """What both convolutions multiply is rounded to bfloat16, or what the second does."""
        x = draw(2, 8, 10, 3)
        layer = keras_layer(keras.layers.SeparableConv2D, x, 5, 3, padding="valid")
        depth, point, bias = (t(np.array(one)) for one in layer.get_weights())
        depth, image = depth.permute(2, 3, 0, 1), t(x).permute(0, 3, 1, 2)
        middle = (
            F.conv2d(image.bfloat16().float(), depth.bfloat16().float(), groups=3)
            if both
            else F.conv2d(image, depth, groups=3)
        )
        return (
            layer,
            x,
            last(
                F.conv2d(
                    middle.bfloat16().float(), point.permute(3, 2, 0, 1).bfloat16().float(), bias
                )
            ),
        )


@plant("flipped-kernel", "Keras DepthwiseConv2D")
def depthwise_flip():
    x = draw(2, 8, 10, 3)
    layer = keras_layer(keras.layers.DepthwiseConv2D, x, 3, padding="valid")
    w, b = (np.array(one) for one in layer.get_weights())
    return (
        layer,
        x,
        last(
            F.conv2d(
                t(x).permute(0, 3, 1, 2),
                t(w.transpose(2, 3, 0, 1)[:, :, ::-1, ::-1].copy()),
                t(b),
                groups=3,
            )
        ),
    )


@plant("missing-activation", "Keras Dense")
def dense_logits():
    x = draw(6, 12)
    layer = keras_layer(keras.layers.Dense, x, 7, activation="softmax")
    w, b = (np.array(one) for one in layer.get_weights())
    return layer, x, x @ w + b


@plant("wrong-axis", "Keras Softmax")
def softmax_axis():
    x = draw(4, 5, 6)
    return keras.layers.Softmax(axis=-1), x, F.softmax(t(x), 1).numpy()
