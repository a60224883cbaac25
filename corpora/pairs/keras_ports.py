"""Ports of Keras nets to PyTorch, which make the mistake that they are told to."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def _t(value: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(value, np.float32))


def fill(module: nn.Module, **tensors: Any) -> nn.Module:
    """Give a module these parameters and buffers."""
    for name, value in tensors.items():
        ours = getattr(module, name).data
        value = _t(value) if not isinstance(value, torch.Tensor) else value
        assert ours.shape == value.shape, (name, ours.shape, value.shape)
        ours.copy_(value)
    return module


def conv(layer: Any, stride: int = 1, padding: Any = 0, bias: bool = True) -> nn.Conv2d:
    """A convolution; its kernel is (height, width, in, out) in Keras."""
    kernel = _t(layer.kernel).permute(3, 2, 0, 1)
    bias = bias and layer.use_bias
    ours = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2:], stride, padding, bias=bias)
    fill(ours, weight=kernel, **({"bias": layer.bias} if bias else {}))
    return ours


def depthwise(layer: Any, stride: int = 1, padding: int = 0, wrong: str = "") -> nn.Conv2d:
    """A depthwise convolution; its kernel is (height, width, channels, 1) in Keras."""
    kernel = _t(layer.kernel)
    height, width, channels, _ = kernel.shape
    if wrong == "depthwise layout":
        kernel = kernel.reshape(channels, 1, height, width)
    else:
        kernel = kernel.permute(2, 3, 0, 1)
    ours = nn.Conv2d(channels, channels, (height, width), stride, padding, 1, channels, bias=False)
    return fill(ours, weight=kernel)


def norm(layer: Any, wrong: str = "") -> nn.Module:
    """A batch normalisation."""
    ours = nn.BatchNorm2d(layer.gamma.shape[0], eps=layer.epsilon)
    mean, var, gain, shift = layer.moving_mean, layer.moving_variance, layer.gamma, layer.beta
    if wrong == "default epsilon":
        ours.eps = 1e-5
    if wrong == "large epsilon":
        ours.eps = 1e-2
    if wrong == "gain and shift":
        gain, shift = shift, gain
    if wrong == "deviation":
        var = np.sqrt(np.array(var))
    if wrong == "no statistics":
        mean, var = np.zeros_like(mean), np.ones_like(var)
    return fill(ours, weight=gain, bias=shift, running_mean=mean, running_var=var)


def dense(layer: Any, transpose: bool = True, bias: bool = True) -> nn.Linear:
    """A dense layer; its kernel is (in, out) in Keras."""
    kernel = _t(layer.kernel)
    kernel = kernel.T if transpose else kernel
    ours = nn.Linear(kernel.shape[1], kernel.shape[0], bias=bias)
    return fill(ours, weight=kernel, **({"bias": layer.bias} if bias else {}))


def pad_same(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Pad as TensorFlow does for `same`, more behind than before."""
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [whole // 2, whole - whole // 2]
    return F.pad(x, pads)


class ConvolutionalNet(nn.Module):
    """`convolutional` of keras_pairs.py."""

    def __init__(self, theirs: Any, wrong: frozenset[str]) -> None:
        super().__init__()
        get = theirs.get_layer
        self.wrong = wrong
        self.c1 = conv(get("stem"), 2, 1 if "symmetric padding" in wrong else 0)
        self.n1 = norm(get("stem_norm"), *(wrong & {"default epsilon", "deviation"}))
        self.c2 = conv(get("middle"))
        if "kernel mirrored" in wrong:
            self.c2.weight.data = self.c2.weight.data.flip(3)
        self.c3 = conv(get("last"), bias="no bias" not in wrong)
        self.f1 = dense(get("hidden"))
        self.f2 = dense(get("square"), "square not transposed" not in wrong)
        self.f3 = dense(get("classes"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wrong = self.wrong
        if "symmetric padding" not in wrong:
            x = pad_same(x, 3, 2)
        x = torch.relu(self.c1(x))
        x = self.n1(x)
        x = F.leaky_relu(self.c2(x), 0.01 if "slope" in wrong else 0.3)
        x = F.avg_pool2d(x, 2) if "average pooling" in wrong else F.max_pool2d(x, 2)
        x = torch.tanh(self.c3(x))
        x = x.flatten(1) if "flatten order" in wrong else x.permute(0, 2, 3, 1).flatten(1)
        x = torch.relu(self.f1(x))
        x = F.elu(self.f2(x))
        x = self.f3(x)
        return torch.sigmoid(x) if "sigmoid" in wrong else x.softmax(1)


class InvertedBlock(nn.Module):
    """A block of Keras' MobileNetV2."""

    def __init__(self, get: Any, prefix: str, stride: int, wrong: str) -> None:
        super().__init__()
        self.expand = self.expand_norm = None
        if prefix != "expanded_conv":
            self.expand = conv(get(f"{prefix}_expand"))
            self.expand_norm = norm(get(f"{prefix}_expand_BN"), wrong)
        self.stride, self.wrong = stride, wrong
        padding = 1 if stride == 1 or wrong == "symmetric padding" else 0
        self.deep = depthwise(get(f"{prefix}_depthwise"), stride, padding, wrong)
        self.deep_norm = norm(get(f"{prefix}_depthwise_BN"))
        self.project = conv(get(f"{prefix}_project"))
        self.project_norm = norm(get(f"{prefix}_project_BN"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        if self.expand is not None:
            y = F.relu6(self.expand_norm(self.expand(y)))
        if self.stride == 2 and self.wrong != "symmetric padding":
            y = F.pad(y, (0, 1, 0, 1))
        y = self.deep_norm(self.deep(y))
        y = F.hardswish(y) if self.wrong == "hard swish" else F.relu6(y)
        y = self.project_norm(self.project(y))
        if self.wrong == "relu after projection":
            y = F.relu6(y)
        shortcut = self.stride == 1 and y.shape == x.shape and self.wrong != "no shortcut"
        return x + y if shortcut else y


STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


class MobileNetV2(nn.Module):
    """Keras' MobileNetV2; the mistakes of blocks are given by their index."""

    def __init__(self, theirs: Any, wrong: dict[int, str]) -> None:
        super().__init__()
        get = theirs.get_layer
        self.stem, self.stem_norm = conv(get("Conv1"), 2), norm(get("bn_Conv1"))
        names = ["expanded_conv", *(f"block_{i}" for i in range(1, 17))]
        self.blocks = nn.ModuleList(
            InvertedBlock(get, name, stride, wrong.get(index, ""))
            for index, (name, stride) in enumerate(zip(names, STRIDES, strict=True))
        )
        self.top, self.top_norm = conv(get("Conv_1")), norm(get("Conv_1_bn"))
        self.head = dense(get("predictions"))
        self.outside = wrong.get(-1, "")
        if self.outside == "rgb":
            self.stem.weight.data = self.stem.weight.data.flip(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.stem_norm(self.stem(F.pad(x, (0, 1, 0, 1)))))
        for block in self.blocks:
            x = block(x)
        x = F.relu6(self.top_norm(self.top(x)))
        x = x.amax((2, 3)) if self.outside == "maximum" else x.mean((2, 3))
        return self.head(x).softmax(1)


class Bottleneck(nn.Module):
    """A block of Keras' ResNet50."""

    def __init__(self, get: Any, name: str, first: bool, stride: int, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong
        one, two = (1, stride) if wrong == "stride of the middle" else (stride, 1)
        self.c1 = conv(get(f"{name}_1_conv"), one)
        self.c2 = conv(get(f"{name}_2_conv"), two, 1, bias=wrong != "no bias")
        self.c3 = conv(get(f"{name}_3_conv"))
        self.n1, self.n2 = norm(get(f"{name}_1_bn"), wrong), norm(get(f"{name}_2_bn"))
        self.n3 = norm(get(f"{name}_3_bn"))
        self.down = None
        if first:
            self.down = nn.Sequential(
                conv(get(f"{name}_0_conv"), stride), norm(get(f"{name}_0_bn"))
            )
            if wrong == "no norm in the shortcut":
                self.down[1] = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.n1(self.c1(x)))
        y = self.n2(self.c2(y))
        y = self.n3(self.c3(y if self.wrong == "no relu" else torch.relu(y)))
        short = x if self.down is None else self.down(x)
        if self.wrong == "relu before sum":
            return short + torch.relu(y)
        return torch.relu(short + y)


class ResNet50(nn.Module):
    """Keras' ResNet50; the mistakes of blocks are given by their names."""

    def __init__(self, theirs: Any, wrong: dict[str, str]) -> None:
        super().__init__()
        get = theirs.get_layer
        self.stem, self.stem_norm = conv(get("conv1_conv"), 2, 3), norm(get("conv1_bn"))
        blocks = []
        for stage, depth in enumerate((3, 4, 6, 3), 2):
            for index in range(1, depth + 1):
                name = f"conv{stage}_block{index}"
                stride = 2 if index == 1 and stage > 2 else 1
                blocks.append(Bottleneck(get, name, index == 1, stride, wrong.get(name, "")))
        self.blocks = nn.Sequential(*blocks)
        self.head = dense(get("predictions"))
        if wrong.get("predictions") == "no bias":
            self.head.bias = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = self.blocks(F.max_pool2d(x, 3, 2, 1))
        return self.head(x.mean((2, 3)))


def lstm(cell: Any, wrong: str = "") -> nn.LSTM:
    """An LSTM; both frameworks order the gates input, forget, candidate, output."""
    kernel, inner, bias = _t(cell.kernel).T, _t(cell.recurrent_kernel).T, _t(cell.bias)
    units = inner.shape[1]
    if wrong == "gate order":
        order = [0, 1, 3, 2]
        kernel, inner, bias = (
            torch.cat([one.split(units)[i] for i in order]) for one in (kernel, inner, bias)
        )
    if wrong == "recurrent kernel not transposed":
        inner = torch.cat([part.T for part in inner.split(units)])
    if wrong == "forget bias again":
        bias = bias.clone()
        bias[units : 2 * units] += 1
    ours = nn.LSTM(kernel.shape[1], units, batch_first=True)
    again = bias if wrong == "bias twice" else torch.zeros_like(bias)
    return fill(ours, weight_ih_l0=kernel, weight_hh_l0=inner, bias_ih_l0=bias, bias_hh_l0=again)


class RecurrentNet(nn.Module):
    """`lstms` of keras_pairs.py."""

    def __init__(self, theirs: Any, wrong: dict[str, str]) -> None:
        super().__init__()
        get = theirs.get_layer
        self.one = lstm(get("first").cell, wrong.get("first", ""))
        self.two = lstm(get("second").cell, wrong.get("second", ""))
        self.out = dense(get("out"))
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.one(x)
        if self.wrong.get("first") == "another output":
            x = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        states, (last, cell) = self.two(x)
        if self.wrong.get("second") == "first step":
            return self.out(states[:, 0])
        return self.out(cell[0] if self.wrong.get("second") == "cell state" else last[0])


def gru(cell: Any, wrong: str = "") -> nn.GRU:
    """A GRU with reset_after; Keras orders the gates update, reset, PyTorch reset, update."""
    kernel, inner, bias = _t(cell.kernel).T, _t(cell.recurrent_kernel).T, _t(cell.bias)
    units = inner.shape[1]
    outer_bias, inner_bias = bias if bias.ndim == 2 else (bias, torch.zeros_like(bias))
    order = [0, 1, 2] if wrong == "gate order" else [1, 0, 2]
    parts = [kernel, inner, outer_bias, inner_bias]
    parts = [torch.cat([part.split(units)[i] for i in order]) for part in parts]
    if wrong == "no recurrent bias":
        parts[3] = torch.zeros_like(parts[3])
    ours = nn.GRU(kernel.shape[1], units, batch_first=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    return fill(ours, **dict(zip(names, parts, strict=True)))


class ResetBefore(nn.Module):
    """A GRU that resets the state before its product, as PyTorch's does not."""

    def __init__(self, cell: Any, wrong: str = "") -> None:
        super().__init__()
        self.weight = nn.Parameter(_t(cell.kernel))
        self.inner = nn.Parameter(_t(cell.recurrent_kernel))
        self.bias = nn.Parameter(_t(cell.bias))
        self.wrong = wrong

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        units = self.inner.shape[0]
        state = x.new_zeros(x.shape[0], units)
        for moment in x.unbind(1):
            z, r, n = (moment @ self.weight + self.bias).chunk(3, 1)
            uz, ur, un = self.inner.chunk(3, 1)
            z, r = torch.sigmoid(z + state @ uz), torch.sigmoid(r + state @ ur)
            n = torch.tanh(n + (r * state) @ un)
            state = z * n + (1 - z) * state if self.wrong == "update" else z * state + (1 - z) * n
        return state


class GatedNet(nn.Module):
    """`grus` of keras_pairs.py."""

    def __init__(self, theirs: Any, wrong: dict[str, str]) -> None:
        super().__init__()
        get = theirs.get_layer
        self.one = gru(get("after").cell, wrong.get("after", ""))
        self.two: nn.Module = ResetBefore(get("before").cell, wrong.get("before", ""))
        if wrong.get("before") == "reset after":
            self.two = gru(get("before").cell)
        self.out = dense(get("out"), bias=wrong.get("out") != "no bias")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.one(x)
        y = self.two(x)
        return torch.tanh(self.out(y[1][0] if isinstance(y, tuple) else y))


class TwoWays(nn.Module):
    """`bidirectional` of keras_pairs.py."""

    def __init__(self, theirs: Any, wrong: str) -> None:
        super().__init__()
        get = theirs.get_layer
        both = get("both")
        there, back = lstm(both.forward_layer.cell), lstm(both.backward_layer.cell)
        if wrong == "ways exchanged":
            there, back = back, there
        self.there, self.back, self.wrong = there, back, wrong
        self.mix, self.out = gru(get("mix").cell, wrong), dense(get("out"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one, _ = self.there(x)
        two, _ = self.back(x if self.wrong == "not reversed" else x.flip(1))
        if self.wrong not in ("not reversed", "not turned back"):
            two = two.flip(1)
        pair = (two, one) if self.wrong == "joined otherwise" else (one, two)
        states, _ = self.mix(torch.cat(pair, -1))
        return self.out(states.amax(1) if self.wrong == "maximum over time" else states.mean(1))


class AttentionNet(nn.Module):
    """`attention` of keras_pairs.py."""

    def __init__(self, theirs: Any, wrong: str) -> None:
        super().__init__()
        get = theirs.get_layer
        self.words = fill(nn.Embedding(50, 24), weight=get("words").embeddings)
        self.places = nn.Parameter(_t(get("places").position_embeddings))
        inner = get("mixing")
        self.count, self.wrong = inner.num_heads, wrong
        parts = (inner._query_dense, inner._key_dense, inner._value_dense)
        self.q, self.k, self.v = (self._part(part, wrong) for part in parts)
        kernel = _t(inner._output_dense.kernel).flatten(0, 1)
        self.o = fill(nn.Linear(24, 24), weight=kernel.T, bias=inner._output_dense.bias)
        self.norm1, self.norm2 = self._norm(get("norm_1"), wrong), self._norm(get("norm_2"))
        self.up, self.down, self.out = dense(get("wide")), dense(get("narrow")), dense(get("out"))

    @staticmethod
    def _part(layer: Any, wrong: str) -> nn.Linear:
        kernel, bias = _t(layer.kernel), _t(layer.bias)
        if wrong == "features before heads":
            kernel, bias = kernel.transpose(1, 2), bias.T
        kernel = kernel.reshape(kernel.shape[0], -1)
        return fill(nn.Linear(*kernel.shape), weight=kernel.T, bias=bias.reshape(-1))

    @staticmethod
    def _norm(layer: Any, wrong: str = "") -> nn.LayerNorm:
        eps = 0.05 if wrong == "epsilon" else layer.epsilon
        return fill(nn.LayerNorm(24, eps=eps), weight=layer.gamma, bias=layer.beta)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        if self.wrong != "no places":
            x = x + self.places[: ids.shape[1]]
        q, k, v = (
            part(x).unflatten(-1, (self.count, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(2, 3) / (24 if self.wrong == "scale" else q.shape[-1]) ** 0.5
        if self.wrong != "no mask":
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
            scores = scores.masked_fill(~seen, -1e9)
        over = 2 if self.wrong == "softmax over queries" else 3
        y = self.o((scores.softmax(over) @ v).transpose(1, 2).flatten(2))
        x = self.norm1(x + y)
        approximate = "tanh" if self.wrong == "gelu by tanh" else "none"
        y = self.down(F.gelu(self.up(x), approximate=approximate))
        return self.out(self.norm2(x + y).mean(1))


class DecoderNet(nn.Module):
    """`decoder` of keras_pairs.py."""

    def __init__(self, theirs: Any, wrong: frozenset[str]) -> None:
        super().__init__()
        get = theirs.get_layer
        self.wrong = wrong
        self.up = self._transposed(get("grow"), "turned" in wrong)
        self.slopes = nn.Parameter(_t(get("slopes").alpha).reshape(-1))
        groups = get("groups")
        self.groups = fill(
            nn.GroupNorm(2 if "groups" in wrong else 4, 8, eps=groups.epsilon),
            weight=groups.gamma,
            bias=groups.beta,
        )
        self.wide = conv(get("wide"), 1, 2)
        self.wide.dilation = (2, 2)
        if "not dilated" in wrong:
            self.wide.dilation, self.wide.padding = (1, 1), (1, 1)
        self.last = conv(get("image"))

    @staticmethod
    def _transposed(layer: Any, turned: bool) -> nn.ConvTranspose2d:
        kernel = _t(layer.kernel).permute(3, 2, 0, 1)
        ours = nn.ConvTranspose2d(kernel.shape[0], kernel.shape[1], 3, 2)
        return fill(ours, weight=kernel.flip(2, 3) if turned else kernel, bias=layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wrong = self.wrong
        x = self.up(x)
        x = x[:, :, 1:, 1:] if "cut before" in wrong else x[:, :, :-1, :-1]
        slopes = self.slopes.mean().expand(8) if "one slope" in wrong else self.slopes
        x = F.prelu(x, slopes)
        x = self.groups(x)
        corners = True if "corners" in wrong else False
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=corners)
        x = self.wide(x)
        x = F.softplus(x) if "softplus" in wrong else F.silu(x)
        return torch.tanh(self.last(x))
