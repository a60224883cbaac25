"""Seeded inputs and weights: signals survive, gains are not 1, statistics are near their data."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn


def image(seed: int, *shape: int) -> np.ndarray:
    """Smooth noise with some detail, like an image that was normalised."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    smooth = (x + np.roll(x, 1, -1) + np.roll(x, 1, -2) + np.roll(x, (1, 1), (-2, -1))) / 2
    return (0.8 * smooth + 0.4 * rng.standard_normal(shape) + 0.1).astype(np.float32)


def tokens(seed: int, *shape: int, vocabulary: int) -> np.ndarray:
    """Ids of tokens."""
    return np.random.default_rng(seed).integers(1, vocabulary, shape)


def _value(rng: np.random.Generator, name: str, shape: tuple[int, ...], gain: float) -> Any:
    noise = rng.standard_normal(shape)
    if name.endswith(("layer_scale", "layer_scale_1.lambda1")):
        return 0.6 + 0.2 * noise
    if "position" in name or "token" in name or "pos_embedding" in name:
        return 0.5 * noise
    if "relative_attention_bias" in name or "embed" in name or "wte" in name or "wpe" in name:
        return 0.7 * noise
    if len(shape) == 4 and name.endswith((".fc1.weight", ".fc2.weight")):
        gain *= 0.4  # the gates of squeeze and excitation stay open
    if len(shape) >= 2:
        return gain * noise / math.sqrt(math.prod(shape[1:]))
    if name.endswith("weight"):
        return 1 + 0.25 * noise
    return 0.15 * noise


def give_weights(model: nn.Module, seed: int, gain: float = 1.4) -> nn.Module:
    """Fill a module of PyTorch, and put it into evaluation mode."""
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            value = _value(rng, name, tuple(tensor.shape), gain)
            tensor.copy_(torch.from_numpy(np.asarray(value, np.float32)))
    return model.eval()


def give_statistics(model: nn.Module, seed: int, x: np.ndarray) -> nn.Module:
    """Statistics near those of these data for each batch normalisation, one after the other."""
    rng = np.random.default_rng(seed)

    def fit(norm: nn.Module, args: Any) -> None:
        mean, var = args[0].mean((0, 2, 3)), args[0].var((0, 2, 3))
        moved = 0.3 * rng.standard_normal(var.shape) * np.sqrt(var.numpy())
        norm.running_mean.copy_(mean + torch.from_numpy(moved.astype(np.float32)))
        factors = rng.uniform(0.5, 1.6, var.shape).astype(np.float32)
        norm.running_var.copy_((var * torch.from_numpy(factors)).clamp(min=0.1 * float(var.mean())))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(fit) for norm in norms]
    with torch.no_grad():
        model.eval()(torch.from_numpy(x))
    for hook in hooks:
        hook.remove()
    return model


def keras_value(rng: np.random.Generator, weight: Any, gain: float) -> np.ndarray:
    """A value for a weight of Keras."""
    shape, noise = tuple(weight.shape), rng.standard_normal(tuple(weight.shape))
    if weight.name == "embeddings":
        return 0.7 * noise
    if weight.name in ("gamma", "scale"):
        return 1 + 0.25 * noise
    if "depthwise" in weight.path and len(shape) == 4:
        return gain * noise / math.sqrt(shape[0] * shape[1])
    if len(shape) < 2 or weight.name == "bias":
        return 0.15 * noise
    return gain * noise / math.sqrt(math.prod(shape[:-1]))


def give_keras_weights(model: Any, seed: int, x: Any = None, gain: float = 1.4) -> Any:
    """Fill a model of Keras; with data, its batch normalisations know them as if trained."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "float" in str(weight.dtype) and not weight.name.startswith("moving"):
            weight.assign(keras_value(rng, weight, gain).astype(np.float32))
    if x is None:
        return model
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for norm in norms:
        object.__setattr__(norm, "call", _fitting(norm, rng))
    model(x, training=False)
    for norm in norms:
        object.__delattr__(norm, "call")
    return model


def _fitting(norm: Any, rng: np.random.Generator) -> Any:
    """A call of a batch normalisation that first takes statistics near those of its input."""

    def call(x: Any, training: Any = None, mask: Any = None) -> Any:
        values = np.asarray(x)
        axes = tuple(range(values.ndim - 1))
        mean, var = values.mean(axes), values.var(axes)
        norm.moving_mean.assign(mean + 0.3 * rng.standard_normal(var.shape) * np.sqrt(var))
        scaled = var * rng.uniform(0.5, 1.6, var.shape)
        norm.moving_variance.assign(np.maximum(scaled, 0.1 * var.mean()))
        return type(norm).call(norm, x, training=False)

    return call
