"""Mistakes planted in normalisations and dropout."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from planting import F, Rows, draw, nn, planter, rng, t, torch_layer

ROWS: Rows = []
plant = planter(ROWS)


def _batch_norm(x: np.ndarray, layer: Any, **changes: Any) -> np.ndarray:
    parts = {
        "weight": layer.weight,
        "bias": layer.bias,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
        "eps": layer.eps,
    }
    return F.batch_norm(t(x), **{**parts, **changes}).detach().numpy()


BATCH_NORM: dict[str, list[Callable]] = {
    "other-epsilon": [lambda n: {"eps": 1e-3}, lambda n: {"eps": 1e-6}, lambda n: {"eps": 0.0042}],
    "missing-parameter": [
        lambda n: {"weight": None},
        lambda n: {"bias": None},
        lambda n: {"weight": None, "bias": None},
    ],
    "batchnorm-fold": [lambda n: {"running_mean": torch.zeros_like(n.running_mean)}],
    "swapped-parameters": [
        lambda n: {"weight": n.bias, "bias": n.weight},
        lambda n: {"running_mean": n.running_var, "running_var": n.running_mean.abs()},
    ],
    "batch-statistics": [lambda n: {"training": True, "running_mean": None, "running_var": None}],
}
for _slug, _changes in BATCH_NORM.items():
    for _change in _changes:
        for _kind, _shape in (("BatchNorm2d", (3, 5, 6, 7)), ("BatchNorm1d", (9, 5))):

            def _norm(change=_change, kind=_kind, shape=_shape):
                layer, x = torch_layer(getattr(nn, kind), 5), draw(*shape)
                layer.running_mean.abs_()
                return layer, x, _batch_norm(x, layer, **change(layer))

            ROWS.append((_slug, _kind, _norm))


@plant("epsilon-outside-sqrt", "BatchNorm2d")
def outside():
    layer, x = torch_layer(nn.BatchNorm2d, 5), draw(3, 5, 6, 7)
    gain, bias, mean, var = (
        p.detach().numpy()[:, None, None]
        for p in (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    )
    return layer, x, (x - mean) / (np.sqrt(var) + layer.eps) * gain + bias


@plant("unbiased-variance", "LayerNorm")
def torch_std():
    layer, x = torch_layer(nn.LayerNorm, 24), draw(3, 5, 24)
    v = t(x).var(-1, keepdim=True)
    y = (t(x) - t(x).mean(-1, keepdim=True)) / torch.sqrt(v + layer.eps) * layer.weight + layer.bias
    return layer, x, y.detach().numpy()


@plant("epsilon-outside-sqrt", "LayerNorm")
def annotated_transformer():
    layer, x = torch_layer(nn.LayerNorm, 24, eps=1e-3), draw(3, 5, 24)
    v = t(x).var(-1, keepdim=True, unbiased=False)
    y = (t(x) - t(x).mean(-1, keepdim=True)) / (
        torch.sqrt(v) + layer.eps
    ) * layer.weight + layer.bias
    return layer, x, y.detach().numpy()


@plant("other-epsilon", "LayerNorm")
def bert_epsilon():
    layer, x = torch_layer(nn.LayerNorm, 24), draw(3, 5, 24, scale=0.05)
    return layer, x, F.layer_norm(t(x), (24,), layer.weight, layer.bias, 1e-12).detach().numpy()


@plant("other-epsilon", "Keras BatchNormalization")
def torch_epsilon():
    x = draw(3, 6, 7, 5)
    layer = keras.layers.BatchNormalization()
    layer(x)
    layer.set_weights(
        [
            draw(5, seed=1),
            draw(5, seed=2),
            draw(5, seed=3),
            rng(4).uniform(0.01, 1, 5).astype(np.float32),
        ]
    )
    gamma, beta, mean, variance = (np.array(one) for one in layer.get_weights())
    return layer, x, (x - mean) / np.sqrt(variance + np.float32(1e-5)) * gamma + beta


@plant("missing-parameter", "LayerNorm")
def no_affine():
    layer, x = torch_layer(nn.LayerNorm, 24), draw(3, 5, 24)
    return layer, x, F.layer_norm(t(x), (24,), None, None, layer.eps).numpy()


@plant("wrong-axis", "LayerNorm")
def rows_for_columns():
    layer, x = torch_layer(nn.LayerNorm, 6), draw(3, 6, 6)
    y = F.layer_norm(
        t(x).transpose(1, 2).contiguous(), (6,), layer.weight, layer.bias, layer.eps
    ).transpose(1, 2)
    return layer, x, y.detach().numpy()


@plant("group-axis", "GroupNorm")
def interleaved_groups():
    layer, x = torch_layer(nn.GroupNorm, 3, 12), draw(2, 12, 5, 4)
    groups = t(x).reshape(2, 4, 3, 5, 4)
    mean, v = (
        groups.mean((1, 3, 4), keepdim=True),
        groups.var((1, 3, 4), keepdim=True, unbiased=False),
    )
    y = ((groups - mean) / torch.sqrt(v + layer.eps)).reshape(x.shape)
    return layer, x, (y * layer.weight[:, None, None] + layer.bias[:, None, None]).detach().numpy()


@plant("other-epsilon", "GroupNorm")
def group_epsilon():
    layer, x = torch_layer(nn.GroupNorm, 3, 12), draw(2, 12, 5, 4, scale=0.1)
    return layer, x, F.group_norm(t(x), 3, layer.weight, layer.bias, 1e-3).detach().numpy()


@plant("unbiased-variance", "GroupNorm")
def group_variance():
    layer, x = torch_layer(nn.GroupNorm, 3, 12), draw(2, 12, 5, 4)
    groups = t(x).reshape(2, 3, -1)
    y = (
        (groups - groups.mean(-1, keepdim=True))
        / torch.sqrt(groups.var(-1, keepdim=True) + layer.eps)
    ).reshape(x.shape)
    return layer, x, (y * layer.weight[:, None, None] + layer.bias[:, None, None]).detach().numpy()


@plant("dropout-active", "Dropout")
def dropping():
    torch.manual_seed(0)
    x = draw(40, 50)
    return nn.Dropout(0.3).eval(), x, F.dropout(t(x), 0.3, training=True).numpy()
