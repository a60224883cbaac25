"""The pieces of NumPy that the ports share, each as one writes it from a framework's reference."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf


def sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-x))).astype(x.dtype)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, np.float32(0))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def gelu(x: np.ndarray) -> np.ndarray:
    return (0.5 * x * (1 + erf(x / np.sqrt(2)))).astype(np.float32)


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return (0.5 * x * (1 + np.tanh(inner))).astype(np.float32)


def gelu_quick(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(np.float32(1.702) * x)


def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, eps: float = 1e-5
) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    var = x.var(-1, keepdims=True)
    y = (x - mean) / np.sqrt(var + np.float32(eps)) * weight
    return y if bias is None else y + bias


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * weight


def linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    y = x @ weight.T
    return y if bias is None else y + bias


def _each(value: int | tuple[int, ...], n: int) -> tuple[int, ...]:
    return (value,) * n if isinstance(value, int) else tuple(value)


def conv(
    x: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> np.ndarray:
    """Cross-correlate a batch, channels first, with weights (out, in / groups, *kernel)."""
    n = x.ndim - 2
    stride, padding, dilation = _each(stride, n), _each(padding, n), _each(dilation, n)
    x = np.pad(x, [(0, 0), (0, 0)] + [(p, p) for p in padding])
    reach = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True))
    windows = sliding_window_view(x, reach, axis=tuple(range(2, 2 + n)))
    steps = [slice(None, None, s) for s in stride] + [slice(None, None, d) for d in dilation]
    windows = windows[(slice(None), slice(None), *steps)]
    taps = tuple(range(2 + n, 2 + 2 * n))
    out = []
    for patch, w in zip(np.split(windows, groups, 1), np.split(weight, groups, 0), strict=True):
        y = np.tensordot(patch, w, axes=((1, *taps), (1, *range(2, 2 + n))))
        out.append(np.moveaxis(y, -1, 1))
    y = np.concatenate(out, 1)
    return y if bias is None else y + bias.reshape(-1, *[1] * n)


def batch_norm(x: np.ndarray, w: dict[str, np.ndarray], name: str, eps: float = 1e-5) -> np.ndarray:
    """Normalise axis 1 with the running statistics."""
    shape = (1, -1) + (1,) * (x.ndim - 2)
    mean, var = w[f"{name}.running_mean"].reshape(shape), w[f"{name}.running_var"].reshape(shape)
    gain, bias = w[f"{name}.weight"].reshape(shape), w[f"{name}.bias"].reshape(shape)
    return (x - mean) / np.sqrt(var + np.float32(eps)) * gain + bias


def split_heads(x: np.ndarray, heads: int) -> np.ndarray:
    """(batch, time, heads * size) to (batch, heads, time, size)."""
    b, t, c = x.shape
    return x.reshape(b, t, heads, c // heads).transpose(0, 2, 1, 3)


def join_heads(x: np.ndarray) -> np.ndarray:
    b, h, t, d = x.shape
    return x.transpose(0, 2, 1, 3).reshape(b, t, h * d)


def rotary_angles(length: int, size: int, theta: float = 10000.0, first: int = 0) -> np.ndarray:
    """The angles of each position, for half of a head's size."""
    rates = 1 / theta ** (np.arange(0, size, 2) / size)
    return (np.arange(first, first + length)[:, None] * rates).astype(np.float32)
