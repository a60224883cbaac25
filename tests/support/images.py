"""Inputs and padding for the tests of convolution and pooling."""

import numpy as np
import torch.nn.functional as F
from hypothesis import strategies as st


def image(draw, shape):
    """Values of a layer's input: normal, all positive as after a ReLU, or far from zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=shape) * 2.0 ** draw(st.floats(-6, 6))
    kind = draw(st.sampled_from(["normal", "positive", "offset"]))
    x = np.maximum(x, 0) if kind == "positive" else x + 3 * np.abs(x).mean() * (kind == "offset")
    return x.astype(np.float32), rng


def each(draw, rank, low, high):
    return tuple(draw(st.integers(low, high)) for _ in range(rank))


def padded(x, pads, value=0.0):
    return F.pad(x, [amount for pad in reversed(pads) for amount in pad], value=value)
