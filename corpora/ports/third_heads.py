"""Heads that decode or score, and what losses compute.

Written from the frameworks' references and from how ports go wrong, without a look at any tool.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import linear, softmax
from corpora.ports.trained import (
    inputs,
    train_torch,
    weights_of,
)


def _dense(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def _log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    top = x.max(axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(x - top).sum(axis))


class BiaffineParser(nn.Module):
    """The scores of each word as the head of each other word, by kind of the arc."""

    def __init__(self, size: int, inner: int, kinds: int) -> None:
        super().__init__()
        self.dependent = nn.Linear(size, inner)
        self.head = nn.Linear(size, inner)
        self.weight = nn.Parameter(torch.zeros(kinds, inner + 1, inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = F.leaky_relu(self.dependent(x), 0.1)
        h = F.leaky_relu(self.head(x), 0.1)
        d = torch.cat([d, torch.ones_like(d[..., :1])], -1)
        return torch.einsum("bxi,oij,byj->boxy", d, self.weight, h)


def build_biaffine() -> tuple[Any, np.ndarray]:
    return train_torch(BiaffineParser(10, 6, 3), 6223, gain=1.5), inputs(6224, 2, 7, 10)


def biaffine(
    model: Any,
    x: np.ndarray,
    one: str = "last",
    slope: float = 0.1,
    axes: str = "dependent, head",
    swapped: bool = False,
    kinds_last: bool = False,
) -> np.ndarray:
    w = weights_of(model)

    def leaky(a: np.ndarray) -> np.ndarray:
        return np.where(a > 0, a, np.float32(slope) * a)

    names = ("head", "dependent") if swapped else ("dependent", "head")
    d, h = (leaky(_dense(x, w, name)) for name in names)
    ones = np.ones_like(d[..., :1])
    if one == "none":
        weight = w["weight"][:, :-1]
    else:
        d = np.concatenate([ones, d] if one == "first" else [d, ones], -1)
        weight = w["weight"]
    y = np.einsum("bxi,oij,byj->boxy", d, weight, h)
    if kinds_last:
        y = y.transpose(0, 2, 3, 1).reshape(y.shape)
    return y.swapaxes(2, 3) if axes == "head, dependent" else y


class ChainMarginals(nn.Module):
    """The probability of each tag at each word, by sums forwards and backwards along the chain."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))
        self.transitions = nn.Parameter(torch.zeros(tags, tags))

    def forward(self, emissions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        steps = emissions.shape[1]
        a = [self.start + emissions[:, 0]]
        for t in range(1, steps):
            new = torch.logsumexp(a[-1][:, :, None] + self.transitions, 1) + emissions[:, t]
            a.append(torch.where(mask[:, t, None], new, a[-1]))
        b = [self.end.expand_as(emissions[:, 0])]
        for t in range(steps - 1, 0, -1):
            new = torch.logsumexp(self.transitions + (emissions[:, t] + b[0])[:, None], 2)
            b.insert(0, torch.where(mask[:, t, None], new, b[0]))
        both = torch.stack(a, 1) + torch.stack(b, 1)
        return torch.softmax(both, -1) * mask[..., None]


def build_marginals() -> tuple[Any, tuple[np.ndarray, ...]]:
    mask = np.arange(7) < np.array([[7], [4], [6]])
    return train_torch(ChainMarginals(4), 6225, gain=2.5), (inputs(6226, 3, 7, 4), mask)


def marginals(
    model: Any,
    x: tuple[np.ndarray, ...],
    transitions: str = "from, to",
    start: bool = True,
    end: bool = True,
    masked: bool = True,
    emission_twice: bool = False,
    combine: str = "log sum",
) -> np.ndarray:
    w = weights_of(model)
    emissions, mask = x
    move = w["transitions"].T if transitions == "to, from" else w["transitions"]

    def total(a: np.ndarray, axis: int) -> np.ndarray:
        return a.max(axis) if combine == "max" else _log_sum(a, axis)

    a = np.zeros_like(emissions)
    a[:, 0] = emissions[:, 0] + (w["start"] if start else 0)
    for t in range(1, 7):
        new = total(a[:, t - 1, :, None] + move, 1) + emissions[:, t]
        a[:, t] = np.where(mask[:, t, None] | (not masked), new, a[:, t - 1])
    b = np.zeros_like(emissions)
    if end:
        b[:, -1] = w["end"]
    for t in range(6, 0, -1):
        new = total(move + (emissions[:, t] + b[:, t])[:, None], 2)
        b[:, t - 1] = np.where(mask[:, t, None] | (not masked), new, b[:, t])
    both = a + b
    if emission_twice:
        both = both + emissions
    return softmax(both) * mask[..., None]


def build_adaptive() -> tuple[Any, tuple[np.ndarray, ...]]:
    layer = nn.AdaptiveLogSoftmaxWithLoss(12, 20, [6, 12], div_value=2.0, head_bias=True)
    words = np.array([0, 5, 6, 11, 12, 19, 3, 8, 15, 2], dtype=np.int64)
    return train_torch(layer, 6227, gain=1.5), (inputs(6228, 10, 12), words)


def adaptive(
    model: Any,
    x: tuple[np.ndarray, ...],
    clusters: str = "in order",
    head_added: bool = True,
    bias: bool = True,
    border: int = 0,
    head: str = "words and clusters",
) -> np.ndarray:
    w = weights_of(model)
    x, words = x
    scores = x @ w["head.weight"].T
    if bias:
        scores = scores + w["head.bias"]
    if head == "words alone":
        top = np.concatenate([_log_softmax(scores[:, :6]), _log_softmax(scores[:, 6:])], 1)
    else:
        top = _log_softmax(scores)
    out = np.zeros(len(x), np.float32)
    for n, word in enumerate(words):
        if word < 6 + border:
            out[n] = top[n, word]
            continue
        i = 0 if word < 12 else 1
        tail = _log_softmax(x[n] @ w[f"tail.{i}.0.weight"].T @ w[f"tail.{i}.1.weight"].T)
        share = top[n, 7 - i if clusters == "reversed" else 6 + i]
        out[n] = tail[word - (6, 12)[i]] + (share if head_added else 0)
    return out


def build_cross_entropy() -> tuple[Any, tuple[np.ndarray, ...]]:
    rates = torch.tensor([0.5, 2.0, 1.0, 1.5, 0.25])
    loss = nn.CrossEntropyLoss(rates, ignore_index=-1, label_smoothing=0.2)
    labels = np.array([[0, 3, 1, -1, 2, 4], [2, 2, -1, 1, 0, 3]])
    return loss.eval(), (inputs(6229, 2, 5, 6, scale=1.5), labels)


def cross_entropy(
    model: Any,
    x: tuple[np.ndarray, ...],
    smooth: str = "all classes",
    divided: str = "weights",
    weighted: str = "both terms",
    ignored: bool = True,
    smoothing: float = 0.2,
) -> np.ndarray:
    scores, labels = x
    weight = weights_of(model)["weight"]
    logs = _log_softmax(scores, 1).transpose(0, 2, 1).reshape(-1, 5)
    labels = labels.ravel()
    kept = labels != -1 if ignored else np.ones(len(labels), bool)
    logs, labels = logs[kept], labels[kept]
    share = np.full_like(logs, smoothing / (4 if smooth == "other classes" else 5))
    if smooth == "other classes":
        share[np.arange(len(labels)), labels] = 0
    share[np.arange(len(labels)), labels] += 1 - smoothing
    if weighted == "by label":
        each = -(share * logs).sum(1) * weight[labels]
    else:
        each = -(share * logs * weight).sum(1)
    return np.asarray(each.sum() / (len(labels) if divided == "count" else weight[labels].sum()))


class AngularMargin(nn.Module):
    """Scaled cosines to the classes, with a margin added to the angle of the true one."""

    def __init__(self, size: int, classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, size))
        self.scale, self.margin = scale, margin

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        cosine = F.linear(F.normalize(x), F.normalize(self.weight))
        sine = torch.sqrt((1.0 - cosine**2).clamp(0, 1))
        moved = cosine * np.cos(self.margin) - sine * np.sin(self.margin)
        past = cosine - np.sin(np.pi - self.margin) * self.margin
        moved = torch.where(cosine > np.cos(np.pi - self.margin), moved, past)
        one_hot = F.one_hot(label, cosine.shape[1]).to(cosine.dtype)
        return self.scale * (one_hot * moved + (1 - one_hot) * cosine)


def build_margin() -> tuple[Any, tuple[np.ndarray, ...]]:
    model = train_torch(AngularMargin(8, 5, 30.0, 0.5), 6230)
    x = inputs(6231, 6, 8)
    x[2] = -model.weight.detach().numpy()[1] + 0.1 * x[2]
    return model, (x, np.array([0, 4, 1, 3, 2, 2]))


def margin(
    model: Any,
    x: tuple[np.ndarray, ...],
    added_to: str = "angle",
    classes_normalised: bool = True,
    turned_back: bool = True,
    sign: int = 1,
    scale_on: str = "all",
    by: str = "rows",
) -> np.ndarray:
    weight = weights_of(model)["weight"]
    x, label = x
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    if by == "columns":
        weight = weight / np.linalg.norm(weight, axis=0, keepdims=True)
    elif classes_normalised:
        weight = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    cosine = np.clip(x @ weight.T, -1, 1) if classes_normalised else x @ weight.T
    if added_to == "cosine":
        moved = cosine - np.float32(0.5)
    else:
        sine = np.sqrt(np.clip(1 - cosine**2, 0, 1))
        moved = cosine * np.float32(np.cos(0.5)) - sign * sine * np.float32(np.sin(0.5))
        if turned_back:
            past = cosine - np.float32(np.sin(np.pi - 0.5) * 0.5)
            moved = np.where(cosine > np.float32(np.cos(np.pi - 0.5)), moved, past)
    one_hot = np.eye(5, dtype=np.float32)[label]
    if scale_on == "true class":
        return one_hot * moved * 30 + (1 - one_hot) * cosine
    return np.float32(30) * (one_hot * moved + (1 - one_hot) * cosine)


CASES = [
    Case(
        "third_biaffine_parser",
        build_biaffine,
        "",
        biaffine,
        {
            "one_in_front": Mistake(
                partial(biaffine, one="first"),
                "The one is put before the dependent's channels, where it is after them.",
            ),
            "one_left_out": Mistake(
                partial(biaffine, one="none"),
                "The row of the weights that the one reads, a score of the head alone, is left "
                "out, where it is added.",
            ),
            "leaky_slope_of_default": Mistake(
                partial(biaffine, slope=0.01),
                "The slope of the leaky ReLU is 0.01, where it is 0.1.",
            ),
            "heads_by_dependents": Mistake(
                partial(biaffine, axes="head, dependent"),
                "The scores are laid out with the head before the dependent, where the dependent "
                "is first.",
            ),
            "networks_swapped": Mistake(
                partial(biaffine, swapped=True),
                "The dependents go through the heads' network and the heads through the "
                "dependents', where each has its own.",
            ),
        },
    ),
    Case(
        "third_chain_marginals",
        build_marginals,
        "",
        marginals,
        {
            "transitions_transposed": Mistake(
                partial(marginals, transitions="to, from"),
                "The transitions are read as (to, from), where they are (from, to).",
            ),
            "start_forgotten": Mistake(
                partial(marginals, start=False),
                "The first tag has its emission alone, where a score for beginning with it is "
                "added.",
            ),
            "end_forgotten": Mistake(
                partial(marginals, end=False),
                "The backward sums begin at zero, where they begin at the scores of the last tag.",
            ),
            "mask_in_the_output_alone": Mistake(
                partial(marginals, masked=False),
                "The sums run on over the padding, which is only set to zero at the end, where "
                "they stand still there.",
            ),
            "emission_counted_twice": Mistake(
                partial(marginals, emission_twice=True),
                "A word's own emission is in the backward sum too, where it is in the forward one "
                "alone.",
            ),
            "best_paths": Mistake(
                partial(marginals, combine="max"),
                "The greatest path is taken (as Viterbi does), where paths are summed.",
            ),
        },
    ),
    Case(
        "third_adaptive_log_softmax",
        build_adaptive,
        "",
        adaptive,
        {
            "clusters_reversed": Mistake(
                partial(adaptive, clusters="reversed"),
                "The head's last two scores are taken for the clusters in reverse, where they are "
                "in the clusters' order.",
            ),
            "cluster_not_added": Mistake(
                partial(adaptive, head_added=False),
                "A rare word has its share within its cluster alone, where the logarithm of the "
                "cluster's own probability is added.",
            ),
            "head_bias_forgotten": Mistake(
                partial(adaptive, bias=False),
                "The bias of the head is forgotten, where it is added to the scores of words and "
                "clusters.",
            ),
            "first_cluster_from_seven": Mistake(
                partial(adaptive, border=1),
                "Word 6 is read from the head, whose seventh score is the first cluster's own, "
                "where it is the first word of that cluster.",
            ),
            "clusters_apart_from_words": Mistake(
                partial(adaptive, head="words alone"),
                "The head's words and clusters have a softmax each, where they share one.",
            ),
        },
    ),
    Case(
        "third_cross_entropy_smoothed",
        build_cross_entropy,
        "",
        cross_entropy,
        {
            "smoothed_over_other_classes": Mistake(
                partial(cross_entropy, smooth="other classes"),
                "The smoothing is spread over the other four classes, where it is over all five.",
            ),
            "divided_by_count": Mistake(
                partial(cross_entropy, divided="count"),
                "The mean divides by the number of labels, where it is by the sum of their "
                "classes' weights.",
            ),
            "weight_of_label_for_all_terms": Mistake(
                partial(cross_entropy, weighted="by label"),
                "The smoothed terms are weighted by the label's class, where each is by its own.",
            ),
            "ignored_label_counted": Mistake(
                partial(cross_entropy, ignored=False),
                "The label -1 is read as the last class, where it is ignored.",
            ),
            "smoothing_forgotten": Mistake(
                partial(cross_entropy, smoothing=0.0),
                "The labels are not smoothed, where a share of 0.2 is spread over the classes.",
            ),
        },
    ),
    Case(
        "third_angular_margin",
        build_margin,
        "",
        margin,
        {
            "margin_on_the_cosine": Mistake(
                partial(margin, added_to="cosine"),
                "The margin is subtracted from the cosine, where it is added to the angle.",
            ),
            "classes_not_normalised": Mistake(
                partial(margin, classes_normalised=False),
                "The classes' weights are used as they are, where they are brought to length one.",
            ),
            "classes_normalised_by_columns": Mistake(
                partial(margin, by="columns"),
                "The weights are brought to length one over the classes, where they are over the "
                "channels of each class.",
            ),
            "angle_beyond_pi": Mistake(
                partial(margin, turned_back=False),
                "An angle that the margin takes past pi is used as it is, where the cosine less a "
                "constant is taken instead.",
            ),
            "margin_subtracted_from_angle": Mistake(
                partial(margin, sign=-1),
                "The margin is subtracted from the angle, where it is added to it.",
            ),
            "true_class_alone_scaled": Mistake(
                partial(margin, scale_on="true class"),
                "The scale of 30 is on the true class alone, where it is on all.",
            ),
        },
    ),
]
