"""Seeded inputs and weights of a trained look: gains not 1, biases not 0, statistics that moved."""

import math
from typing import Any

import numpy as np
import torch
from torch import nn

Weights = dict[str, np.ndarray]


class Alone(nn.Module):
    """A model of one layer named `mixer`."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.mixer(*inputs)


def inputs(seed: int, *shape: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Normal numbers, about one in sixty of them an outlier."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    x = np.where(rng.random(shape) < 1 / 60, 4 * x, x)
    return (scale * x + shift).astype(np.float32)


def tokens(seed: int, *shape: int, vocabulary: int, lowest: int = 1) -> np.ndarray:
    """Token ids."""
    return np.random.default_rng(seed).integers(lowest, vocabulary, shape)


def token_ids(seed: int, length: int = 8) -> dict[str, np.ndarray]:
    """The input of a language model of transformers: two texts over a vocabulary of 50."""
    return {"input_ids": tokens(seed, 2, length, vocabulary=50)}


def normal_floats(seed: int, *shape: int) -> np.ndarray:
    """Normal numbers without outliers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _matrix(rng: np.random.Generator, shape: tuple[int, ...], fan_in: float) -> np.ndarray:
    w = rng.standard_normal(shape)
    w = np.where(rng.random(shape) < 1 / 100, 3 * w, w)
    return w / math.sqrt(fan_in)


def _vector(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if "var" in name:
        return np.exp(rng.normal(-1.0, 1.0, shape))
    if "mean" in name:
        return rng.normal(0.0, 0.5, shape)
    if any(part in name for part in ("weight", "gamma", "scale", "original0", "alpha")):
        return 1 + 0.25 * rng.standard_normal(shape)
    return 0.25 * rng.standard_normal(shape)


def train_torch(module: Any, seed: int, gain: float = 1.0) -> Any:
    """Give a module of PyTorch such weights, and put it into evaluation mode."""
    rng = np.random.default_rng(seed)
    statistics = [(n, b) for n, b in module.named_buffers() if n.endswith(("_mean", "_var"))]
    weights = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    for name, tensor in weights + statistics:
        shape = tuple(tensor.shape)
        last = name.rsplit(".", 1)[-1]
        if sum(n > 1 for n in shape) <= 1:
            value = _vector(rng, last, shape)
        else:
            value = gain * _matrix(rng, shape, math.prod(shape[1:]))
        tensor.data.copy_(torch.from_numpy(value.astype(np.float32)))
    return module.eval()


def train_keras(model: Any, seed: int, gain: float = 1.0) -> Any:
    """Give a model of Keras such weights."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        if "float" not in str(weight.dtype):
            continue
        if weight.name == "embeddings":
            value = 0.7 * rng.standard_normal(shape)
        elif len(shape) < 2 or weight.name == "bias":
            value = _vector(rng, weight.name, shape)
        elif "depthwise" in weight.path:
            value = gain * _matrix(rng, shape, math.prod(shape[:2]))
        else:
            value = gain * _matrix(rng, shape, math.prod(shape[:-1]))
        weight.assign(value.astype(np.float32))
    return model


def weights_of(module: Any) -> Weights:
    """The state of a module of PyTorch as arrays, by its names."""
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def beneath(w: Weights, prefix: str) -> Weights:
    """The arrays whose names begin with a prefix, by the rest of these."""
    return {name.removeprefix(prefix): v for name, v in w.items() if name.startswith(prefix)}
