"""Layers whose weights were damaged in sixteen ways, and what is to be said of each: the matrix of
``benchmarks/weights.py`` and of the tests of weights that are read back."""

import importlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

import probe

__all__ = ["DAMAGES", "SUBJECTS", "Damage", "Subject", "asked", "cells"]

Change = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(weight, the same weight of the layer beside it, the axis of its outputs) -> the weight used."""


@dataclass(frozen=True)
class Damage:
    """What was done to a weight, and the words that must say so."""

    name: str
    change: Change
    words: str
    """A pattern that the claim must contain."""
    slugs: tuple[str, ...] = ()
    """Mistakes with a name of their own that are the same."""
    matrices: bool = False
    """Whether it says something of weights with several axes alone."""


def _slices(w: np.ndarray, axis: int) -> np.ndarray:
    """The weight with the axis of its outputs first, to be written to."""
    return np.moveaxis(w, axis, 0)


def _one_entry(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    w.reshape(-1)[w.size // 3] += 0.3
    return w


def _bit(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    w.reshape(-1).view(np.uint32)[w.size // 2] ^= np.uint32(1 << 22)
    return w


def _read_in_part(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    w.reshape(-1)[w.size // 2 :] = 0
    return w


def _pruned(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    w[np.abs(w) < np.quantile(np.abs(w), 0.4)] = 0
    return w


def _exchanged(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    slices = _slices(w, axis)
    slices[[0, 2]] = slices[[2, 0]]
    return w


def _rolled(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return np.roll(w, 1, axis)


def _used_twice(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    slices = _slices(w, axis)
    slices[2] = slices[0]
    return w


def _left_out(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    _slices(w, axis)[1] = 0
    return w


def _scaled(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return w * np.float32(1.25)


def _int8(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    scale = np.abs(w).max() / 127
    return np.round(w / scale) * scale


def _int8_each(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    others = tuple(i for i in range(w.ndim) if i != axis % w.ndim)
    scale = np.abs(w).max(axis=others, keepdims=True) / 127
    return np.round(w / scale) * scale


def _fixed_point(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return np.floor(w * 32) / 32


def _bfloat16(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return w.astype(ml_dtypes.bfloat16).astype(np.float32)


def _float16(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return w.astype(np.float16).astype(np.float32)


def _clipped(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    low, high = np.quantile(w, (0.2, 0.8))
    return np.clip(w, low, high)


def _of_twin(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return twin


def _earlier(w: np.ndarray, twin: np.ndarray, axis: int) -> np.ndarray:
    return w + np.float32(0.05 * w.std()) * np.random.default_rng(5).normal(size=w.shape)


DAMAGES = (
    Damage("one entry", _one_entry, r"^[^;]*\] is \S+ instead of \S+$"),
    Damage("a bit flipped", _bit, r"bit 22 of its float32 is flipped"),
    Damage("the second half not read", _read_in_part, r"(are|is) 0 instead"),
    Damage("pruned", _pruned, r"pruned"),
    Damage("two filters exchanged", _exchanged, r"slices 0 and 2 .*are exchanged", ()),
    Damage("filters moved by one", _rolled, r"rolled by 1\b", ("gate-order", "off-by-one")),
    Damage("a filter used twice", _used_twice, r"used twice \(2 is a copy of 0\)"),
    Damage("a filter left out", _left_out, r"(are|is) 0 instead"),
    Damage("scaled", _scaled, r"1\.25\b", ("scaled-input", "attention-scale", "scaled-output")),
    Damage("int8, one scale", _int8, r"8 bits with a scale for all"),
    Damage("int8, a scale each", _int8_each, r"8 bits with a scale for each slice", (), True),
    Damage(
        "fixed point",
        _fixed_point,
        r"(rounded down to multiples of 2\^-5|5 fraction bits, rounded down)",
        ("fixed-point",),
    ),
    Damage("bfloat16", _bfloat16, r"\bbfloat16\b", ("reduced-precision",)),
    Damage("float16", _float16, r"\bfloat16\b", ("reduced-precision",)),
    Damage("clipped", _clipped, r"clipped to between"),
    Damage("of another layer", _of_twin, r"\btwin\b"),
    Damage("an earlier checkpoint", _earlier, r"another state of the same weights"),
)


class Built(NamedTuple):
    """A live model, its input, the layer's name, and how a weight is got, set and used."""

    model: Any
    x: np.ndarray
    layer: str
    get: Callable[[str], np.ndarray]
    put: Callable[[np.ndarray], None]
    run: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A kind of layer, and which of its weights is damaged."""

    name: str
    kind: str
    build: Callable[[], Built]
    axis: int = 0
    """The axis of the weight that its outputs, units or rows lie along."""


RNG = np.random.default_rng


def _drawn(shape: tuple[int, ...], around: float, seed: int) -> np.ndarray:
    return (around + 0.4 * RNG(seed).normal(size=shape)).astype(np.float32)


def _keras(
    make: Callable[[Any], Any],
    shape: tuple[int, ...],
    weight: str,
    around: float = 0.0,
    attends: bool = False,
    ids: int = 0,
) -> Callable[[], Built]:
    """The layer and its twin side by side, on the same input."""

    def build() -> Built:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        keras = importlib.import_module("keras")

        layers = [make(keras.layers), make(keras.layers)]
        x = RNG(1).normal(size=shape).astype(np.float32)
        if ids:
            x = RNG(1).integers(0, ids, shape).astype(np.float32)
        data = keras.Input(shape[1:])
        for one, name in zip(layers, ("layer", "twin"), strict=True):
            one.name = name
        outputs = [one(data, data) if attends else one(data) for one in layers]
        model = keras.Model(data, outputs)
        for place, one in enumerate(layers):
            one.set_weights(
                [
                    np.abs(_drawn(w.shape, 1.0, 7 * place + i))
                    if "variance" in w.path
                    else _drawn(
                        w.shape, around if w.path.endswith("/" + weight) else 0.0, 7 * place + i
                    )
                    for i, w in enumerate(one.weights)
                ]
            )

        def held(name: str) -> Any:
            (found,) = (
                w
                for w in layers[name == "twin"].weights
                if w.path.endswith(f"/{weight}")
                and ("recurrent" in weight or "recurrent_kernel" not in w.path)
            )
            return found

        return Built(
            model,
            x,
            "layer",
            lambda name: held(name).numpy().copy(),
            lambda array: held("layer").assign(array),
            lambda: model(x)[0].numpy(),
        )

    return build


def _torch(
    make: Callable[[Any], Any],
    shape: tuple[int, ...],
    weight: str,
    around: float = 0.0,
    attends: bool = False,
    ids: int = 0,
) -> Callable[[], Built]:
    def build() -> Built:
        torch = importlib.import_module("torch")

        class Two(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer, self.twin = make(torch.nn), make(torch.nn)

            def forward(self, x: Any) -> Any:
                made = [one(x, x, x) if attends else one(x) for one in (self.layer, self.twin)]
                return [one[0] if isinstance(one, tuple) else one for one in made]

        model = Two().eval()
        for i, (name, one) in enumerate(sorted(model.state_dict().items())):
            if one.dtype.is_floating_point:
                middle = around if name.endswith(weight) else 0.0
                drawn = _drawn(tuple(one.shape), middle, i)
                if name.endswith("running_var"):
                    drawn = np.abs(drawn) + np.float32(0.5)
                one.copy_(torch.tensor(drawn))
        x = RNG(1).normal(size=shape).astype(np.float32)
        if ids:
            x = RNG(1).integers(0, ids, shape)

        def put(array: np.ndarray) -> None:
            with torch.no_grad():
                model.layer.get_parameter(weight).copy_(torch.tensor(np.asarray(array)))

        def run() -> np.ndarray:
            with torch.no_grad():
                return np.asarray(model(torch.tensor(x))[0].numpy())

        return Built(
            model,
            x,
            "layer",
            lambda name: model.get_submodule(name).get_parameter(weight).detach().numpy().copy(),
            put,
            run,
        )

    return build


def _chain(*makers: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda nn: nn.Sequential(*(make(nn) for make in makers))


SUBJECTS = (
    Subject(
        "Keras Conv2D, relu",
        "convolution",
        _keras(
            lambda k: k.Conv2D(8, 3, padding="same", activation="relu"), (3, 12, 11, 6), "kernel"
        ),
        axis=-1,
    ),
    Subject(
        "PyTorch Conv2d, stride 2",
        "convolution",
        _torch(lambda n: n.Conv2d(6, 8, 3, stride=2, padding=1), (4, 6, 18, 17), "weight"),
    ),
    Subject(
        "Keras Dense, softmax",
        "dense",
        _keras(lambda k: k.Dense(7, activation="softmax"), (120, 12), "kernel"),
        axis=-1,
    ),
    Subject(
        "Keras Dense, tanh",
        "dense",
        _keras(lambda k: k.Dense(8, activation="tanh"), (120, 12), "kernel"),
        axis=-1,
    ),
    Subject(
        "Keras Dense, relu",
        "dense",
        _keras(lambda k: k.Dense(8, activation="relu"), (120, 12), "kernel"),
        axis=-1,
    ),
    Subject("PyTorch Linear", "dense", _torch(lambda n: n.Linear(12, 8), (60, 12), "weight")),
    Subject(
        "PyTorch Linear, bias", "dense", _torch(lambda n: n.Linear(12, 24), (60, 12), "bias", 0.3)
    ),
    Subject(
        "Keras DepthwiseConv2D",
        "depthwise",
        _keras(
            lambda k: k.DepthwiseConv2D(3, depth_multiplier=1, activation="sigmoid"),
            (3, 12, 11, 8),
            "kernel",
        ),
        axis=2,
    ),
    Subject(
        "PyTorch Conv1d, groups",
        "depthwise",
        _torch(lambda n: n.Conv1d(8, 8, 5, groups=4), (4, 8, 40), "weight"),
    ),
    Subject(
        "Keras Conv2DTranspose",
        "transposed convolution",
        _keras(
            lambda k: k.Conv2DTranspose(8, 3, strides=2, padding="same"), (3, 9, 8, 5), "kernel"
        ),
        axis=2,
    ),
    Subject(
        "PyTorch ConvTranspose2d",
        "transposed convolution",
        _torch(lambda n: n.ConvTranspose2d(5, 8, 3, stride=2), (3, 5, 9, 8), "weight"),
        axis=1,
    ),
    Subject(
        "Keras EinsumDense",
        "einsum and attention",
        _keras(
            lambda k: k.EinsumDense("abc,cde->abde", (None, 3, 5), bias_axes="e"),
            (6, 12, 9),
            "kernel",
        ),
        axis=-1,
    ),
    Subject(
        "Keras MultiHeadAttention, output",
        "einsum and attention",
        _keras(
            lambda k: k.MultiHeadAttention(2, 5),
            (8, 14, 6),
            "attention_output/kernel",
            attends=True,
        ),
        axis=-1,
    ),
    Subject(
        "Keras MultiHeadAttention, value",
        "einsum and attention",
        _keras(lambda k: k.MultiHeadAttention(2, 5), (8, 14, 12), "value/kernel", attends=True),
        axis=-1,
    ),
    Subject(
        "Keras MultiHeadAttention, query",
        "einsum and attention",
        _keras(lambda k: k.MultiHeadAttention(2, 5), (8, 14, 12), "query/kernel", attends=True),
        axis=-1,
    ),
    Subject(
        "PyTorch MultiheadAttention, input",
        "einsum and attention",
        _torch(
            lambda n: n.MultiheadAttention(8, 2, batch_first=True),
            (8, 14, 8),
            "in_proj_weight",
            attends=True,
        ),
    ),
    Subject(
        "Keras BatchNormalization, gamma",
        "normalisation",
        _keras(lambda k: k.BatchNormalization(), (4, 9, 8, 24), "gamma", 1.0),
    ),
    Subject(
        "PyTorch LayerNorm, bias",
        "normalisation",
        _torch(lambda n: n.LayerNorm(24), (30, 24), "bias"),
    ),
    Subject(
        "PyTorch LayerNorm, weight",
        "normalisation",
        _torch(lambda n: n.LayerNorm(24), (30, 24), "weight", 1.0),
    ),
    Subject(
        "Keras Embedding",
        "embedding",
        _keras(lambda k: k.Embedding(12, 8), (12, 9), "embeddings", ids=12),
    ),
    Subject(
        "PyTorch Embedding",
        "embedding",
        _torch(lambda n: n.Embedding(12, 8), (12, 9), "weight", ids=12),
    ),
    Subject(
        "Keras LSTM, kernel",
        "recurrent",
        _keras(lambda k: k.LSTM(6, return_sequences=True), (20, 12, 7), "kernel"),
        axis=-1,
    ),
    Subject(
        "Keras LSTM, recurrent kernel",
        "recurrent",
        _keras(lambda k: k.LSTM(6, return_sequences=True), (20, 12, 7), "recurrent_kernel"),
        axis=-1,
    ),
    Subject(
        "PyTorch GRU, kernel",
        "recurrent",
        _torch(lambda n: n.GRU(7, 6, batch_first=True), (20, 12, 7), "weight_ih_l0"),
    ),
    Subject(
        "Keras GRU, recurrent kernel",
        "recurrent",
        _keras(lambda k: k.GRU(6, return_sequences=True), (20, 12, 7), "recurrent_kernel"),
        axis=-1,
    ),
)


def cells() -> Iterator[tuple[Subject, Damage]]:
    """Every subject with every damage that can be done to its weight."""
    for subject in SUBJECTS:
        vector = subject.name.endswith((", bias", ", weight", ", gamma"))
        for damage in DAMAGES:
            if not (vector and damage.matrices):
                yield subject, damage


class Asked(NamedTuple):
    """What was said of a damage, and whether it is right."""

    right: bool
    recovered: bool
    told: str
    seconds: float


def asked(built: Built, opened: Any, subject: Subject, damage: Damage) -> Asked:
    """Damages the weight, asks why the layer's output is another, and mends it again."""
    have = built.get("layer")
    used = np.asarray(damage.change(have.copy(), built.get("twin"), subject.axis), np.float32)
    built.put(used)
    y = built.run()
    built.put(have)
    started = time.perf_counter()
    report = probe.check(opened, built.layer, built.x, expected=y)
    seconds = time.perf_counter() - started
    if report.verdict != "diverge":
        return Asked(False, False, f"verdict: {report.verdict}", seconds)
    if not report.findings:
        return Asked(False, False, " | ".join(report.diagnosis), seconds)
    first = report.findings[0]
    slugs = {one.slug for one in report.findings if one.tie or one is first}
    said = any(
        one.slug == "other-weights" and re.search(damage.words, one.claim)
        for one in report.findings
        if one.tie or one is first
    )
    right = first.left <= 1 and (said or bool(slugs & {*damage.slugs}))
    near = 1e-4 * float(np.abs(used).max())
    held = [one for one in first.recovered.values() if one.shape == used.shape]
    recovered = any(float(np.abs(one - used).max()) <= near for one in held)
    if subject.name.endswith("softmax"):  # tells weights up to a constant in each row
        centred = [one - one.mean(-1, keepdims=True) for one in (*held, used)]
        recovered = any(np.abs(one - centred[-1]).max() <= near for one in centred[:-1])
    return Asked(right, recovered, f"{first.slug}: {first.claim}", seconds)
