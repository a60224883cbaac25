"""Mistakes planted in pooling and padding."""

import keras
from planting import F, Rows, draw, last, nn, planter, t

ROWS: Rows = []
plant = planter(ROWS)


@plant("pool-counts-padding", "AvgPool2d")
def valid_cells():
    x = draw(2, 3, 8, 9)
    return (
        nn.AvgPool2d(3, 2, padding=1),
        x,
        F.avg_pool2d(t(x), 3, 2, 1, count_include_pad=False).numpy(),
    )


@plant("pool-counts-padding", "Keras AveragePooling2D")
def whole_window():
    x = draw(2, 9, 9, 3)
    y = F.avg_pool2d(F.pad(t(x).permute(0, 3, 1, 2), (1, 1, 1, 1)), 3, 2)
    return keras.layers.AveragePooling2D(3, 2, padding="same"), x, last(y)


@plant("padding-value", "MaxPool2d")
def zeros_win():
    x = draw(2, 3, 8, 9) - 2
    return nn.MaxPool2d(3, 2, padding=1), x, F.max_pool2d(F.pad(t(x), (1, 1, 1, 1)), 3, 2).numpy()


@plant("pool-ceil", "MaxPool2d")
def more_windows():
    x = draw(2, 3, 8, 9)
    return nn.MaxPool2d(3, 2), x, F.max_pool2d(t(x), 3, 2, ceil_mode=True).numpy()


@plant("symmetric-padding", "Keras MaxPooling2D")
def pool_habit():
    x = draw(2, 8, 8, 3)
    return (
        keras.layers.MaxPooling2D(3, 2, padding="same"),
        x,
        last(F.max_pool2d(t(x).permute(0, 3, 1, 2), 3, 2, 1)),
    )


@plant("ignored-stride", "MaxPool2d")
def dense_windows():
    x = draw(2, 3, 8, 9)
    return nn.MaxPool2d(2, 2), x, F.max_pool2d(t(x), 2, 1).numpy()


@plant("padding-value", "ReflectionPad2d")
def zeros_for_reflection():
    x = draw(2, 3, 8, 9)
    return nn.ReflectionPad2d(2), x, F.pad(t(x), (2, 2, 2, 2)).numpy()
