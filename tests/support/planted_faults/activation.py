"""Mistakes planted in activations."""

import keras
import numpy as np
import tf_keras
import torch
from planting import F, Rows, draw, nn, planter, t

ROWS: Rows = []
plant = planter(ROWS)


@plant("hard-sigmoid-definition", "Keras Activation")
def keras_two_sigmoid():
    x = draw(4, 50, scale=3)
    return (
        keras.layers.Activation("hard_sigmoid"),
        x,
        np.array(tf_keras.layers.Activation("hard_sigmoid")(x)),
    )


@plant("hard-sigmoid-definition", "tf_keras Activation")
def keras_three_sigmoid():
    x = draw(4, 50, scale=3)
    return tf_keras.layers.Activation("hard_sigmoid"), x, F.hardsigmoid(t(x)).numpy()


@plant("gelu-approximation", "GELU")
def tanh_gelu():
    x = draw(4, 50)
    return nn.GELU(), x, F.gelu(t(x), approximate="tanh").numpy()


@plant("gelu-approximation", "GELU")
def sigmoid_gelu():
    x = draw(4, 50)
    return nn.GELU(), x, x / (1 + np.exp(-1.702 * x))


@plant("other-slope", "LeakyReLU")
def keras_slope():
    x = draw(4, 50)
    return nn.LeakyReLU(0.01), x, np.array(tf_keras.layers.LeakyReLU()(x))


@plant("other-slope", "LeakyReLU")
def odd_slope():
    x = draw(4, 50)
    return nn.LeakyReLU(0.01), x, F.leaky_relu(t(x), 0.137).numpy()


@plant("other-slope", "ELU")
def elu_alpha():
    x = draw(4, 50)
    return nn.ELU(1.0), x, F.elu(t(x), 0.5).numpy()


@plant("missing-activation", "ReLU")
def no_relu():
    x = draw(4, 50)
    return nn.ReLU(), x, x


@plant("other-activation", "Tanh")
def sigmoid_for_tanh():
    x = draw(4, 50)
    return nn.Tanh(), x, torch.sigmoid(t(x)).numpy()


@plant("other-activation", "SiLU")
def mish_for_silu():
    x = draw(4, 50)
    return nn.SiLU(), x, F.mish(t(x)).numpy()
