"""Mistakes planted in PyTorch's convolutions and dense layers."""

from collections.abc import Callable

import numpy as np
import scipy.signal
from planting import F, Rows, draw, nn, parameters, planter, t, torch_layer

ROWS: Rows = []
plant = planter(ROWS)

SUMS = {
    "Conv1d": (
        lambda: torch_layer(nn.Conv1d, 3, 5, 4, padding=2),
        (2, 3, 17),
        F.conv1d,
        {"padding": 2},
    ),
    "Conv2d": (
        lambda: torch_layer(nn.Conv2d, 3, 5, (3, 3), padding=1),
        (2, 3, 9, 8),
        F.conv2d,
        {"padding": 1},
    ),
    "Conv2d, stride 2": (
        lambda: torch_layer(nn.Conv2d, 4, 6, 3, padding=1, stride=2),
        (2, 4, 9, 12),
        F.conv2d,
        {"padding": 1, "stride": 2},
    ),
    "Conv2d, groups": (
        lambda: torch_layer(nn.Conv2d, 4, 6, 3, padding=1, groups=2),
        (2, 4, 9, 8),
        F.conv2d,
        {"padding": 1, "groups": 2},
    ),
    "depthwise Conv2d": (
        lambda: torch_layer(nn.Conv2d, 4, 4, 3, padding=1, groups=4),
        (2, 4, 9, 8),
        F.conv2d,
        {"padding": 1, "groups": 4},
    ),
    "Conv3d": (
        lambda: torch_layer(nn.Conv3d, 2, 3, 3, padding=1),
        (1, 2, 5, 6, 7),
        F.conv3d,
        {"padding": 1},
    ),
}


def _sum(slug: str, family: str, wrong: Callable) -> None:
    make, shape, function, options = SUMS[family]

    def row():
        layer, x = make(), draw(*shape)
        return layer, x, wrong(function, t(x), *parameters(layer), options).numpy()

    ROWS.append((slug, family, row))


for _family in SUMS:
    _spatial = tuple(range(2, {"Conv1d": 3, "Conv3d": 5}.get(_family, 4)))
    _sum("missing-bias", _family, lambda f, x, w, b, o: f(x, w, None, **o))
    _sum("missing-bias", _family, lambda f, x, w, b, o: f(x, w, 2 * b, **o))
    _sum("flipped-kernel", _family, lambda f, x, w, b, o, axes=_spatial: f(x, w.flip(axes), b, **o))
    if len(_spatial) > 1:
        _sum(
            "transposed-kernel",
            _family,
            lambda f, x, w, b, o: f(x, w.transpose(2, 3).contiguous(), b, **o),
        )
    _sum("extra-activation", _family, lambda f, x, w, b, o: f(x, w, b, **o).relu())
    _sum("extra-activation", _family, lambda f, x, w, b, o: f(x, w, b, **o).sigmoid())
    _sum("transposed-output", _family, lambda f, x, w, b, o: f(x, w, b, **o).movedim(1, -1))
    _sum(
        "reduced-precision",
        _family,
        lambda f, x, w, b, o: f(x.bfloat16().float(), w.bfloat16().float(), b, **o),
    )
    _sum("reduced-precision", _family, lambda f, x, w, b, o: f(x, w.half().float(), b, **o))
    _sum("scaled-input", _family, lambda f, x, w, b, o: f(x / 255, w, b, **o))
    _sum("scaled-input", _family, lambda f, x, w, b, o: f(1.7 * x - 0.4, w, b, **o))
    _sum("reversed-channels", _family, lambda f, x, w, b, o: f(x.flip(1), w, b, **o))
    _sum("missing-padding", _family, lambda f, x, w, b, o: f(x, w, b, **{**o, "padding": 0}))
    if "Conv3d" not in _family:
        _sum(
            "padding-value",
            _family,
            lambda f, x, w, b, o: f(
                F.pad(x, [o["padding"]] * 2 * (x.ndim - 2), "reflect"), w, b, **{**o, "padding": 0}
            ),
        )
    _sum("saturation", _family, lambda f, x, w, b, o: f(x, w, b, **o).clamp(-0.5, 0.5 - 2**-8))
_sum("ignored-stride", "Conv2d, stride 2", lambda f, x, w, b, o: f(x, w, b, padding=1))
_sum(
    "ignored-stride",
    "Conv2d, stride 2",
    lambda f, x, w, b, o: f(x, w, b, padding=1)[:, :, :5, :6],
)
_sum("ignored-groups", "Conv2d, groups", lambda f, x, w, b, o: f(x[:, :2], w, b, padding=1))
_sum("group-axis", "Conv2d, groups", lambda f, x, w, b, o: f(x[:, [0, 2, 1, 3]], w, b, **o))
_sum("different-input", "Conv2d", lambda f, x, w, b, o: f(x.flip(0), w, b, **o))
_sum("different-input", "Conv2d", lambda f, x, w, b, o: f(x, w, b, **o)[0])
_sum("wrap-around", "Conv2d", lambda f, x, w, b, o: (f(x, w, b, **o) + 0.5).remainder(1) - 0.5)
_sum("missing-padding", "Conv2d", lambda f, x, w, b, o: f(F.pad(x, (0, 2, 0, 2)), w, b))


@plant("flipped-kernel", "Conv2d")
def scipy_convolve():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3), draw(2, 3, 9, 8)
    w, b = (part.numpy() for part in parameters(layer))
    planes = [
        [sum(scipy.signal.convolve2d(one[i], k[i], "valid") for i in range(3)) for k in w]
        for one in x
    ]
    return layer, x, np.array(planes) + b[:, None, None]


@plant("flipped-kernel", "Conv1d")
def numpy_convolve():
    layer, x = torch_layer(nn.Conv1d, 1, 1, 5, padding=2), draw(1, 1, 40)
    w, b = (part.numpy() for part in parameters(layer))
    return layer, x, np.convolve(x[0, 0], w[0, 0], "same")[None, None] + b[0]


@plant("ignored-dilation", "Conv2d")
def no_dilation():
    layer, x = torch_layer(nn.Conv2d, 3, 5, 3, dilation=2, padding=2), draw(2, 3, 9, 8)
    return layer, x, F.conv2d(t(x), *parameters(layer), padding=1).numpy()


@plant("transposed-kernel", "Conv2d")
def buffer_order():
    layer, x = torch_layer(nn.Conv2d, 3, 5, (2, 3)), draw(2, 3, 9, 8)
    w, b = parameters(layer)
    read = w.permute(2, 3, 1, 0).contiguous().numpy().ravel().reshape(w.shape)
    return layer, x, F.conv2d(t(x), t(read), b).numpy()


@plant("flatten-order", "Linear")
def channels_last_rows():
    layer, x = torch_layer(nn.Linear, 60, 7), draw(4, 3, 4, 5)
    flat = x.transpose(0, 2, 3, 1).reshape(4, -1)
    return layer, x.reshape(4, -1), F.linear(t(flat), *parameters(layer)).numpy()


@plant("flatten-order", "Flatten")
def flatten_last():
    x = draw(2, 3, 4, 5)
    return nn.Flatten(), x, x.transpose(0, 2, 3, 1).reshape(2, -1)


LINEAR = {
    "missing-bias": lambda x, w, b: x @ w.T,
    "transposed-kernel": lambda x, w, b: x @ w + b,
    "extra-activation": lambda x, w, b: (x @ w.T + b).softmax(-1),
    "reduced-precision": lambda x, w, b: (x.bfloat16().float() @ w.bfloat16().float().T) + b,
    "scaled-input": lambda x, w, b: (255 * x) @ w.T + b,
    "reversed-channels": lambda x, w, b: x.flip(1) @ w.T + b,
    "different-input": lambda x, w, b: x.roll(1, 0) @ w.T + b,
    "transposed-output": lambda x, w, b: (x @ w.T + b).T,
    "saturation": lambda x, w, b: (x @ w.T + b).clamp(-0.75, 0.75),
    "fixed-point": lambda x, w, b: ((x @ w.T + b) * 64).floor() / 64,
}
for _slug, _wrong in LINEAR.items():

    def _linear(wrong=_wrong):
        layer, x = torch_layer(nn.Linear, 12, 12), draw(9, 12)
        return layer, x, wrong(t(x), *parameters(layer)).contiguous().numpy()

    ROWS.append((_slug, "Linear", _linear))


@plant("other-weights", "Linear")
def trained_further():
    layer, x = torch_layer(nn.Linear, 6, 5), draw(40, 6)
    weight, bias = (one.numpy() for one in parameters(layer))
    return layer, x, x @ (weight + draw(5, 6, seed=3)).T + bias
