"""Which mistakes an op says would stay unseen on an input: where they would, and nowhere else."""

import numpy as np
import pytest

from probe import Weight, ops


def weight(values):
    values = np.asarray(values, np.float32)
    return Weight("w", values, values)


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape)


IMAGE = normal(2, 3, 6)
KERNEL = normal(4, 3, 3)
EMPTY_BORDER = IMAGE * (np.arange(6) % 5 != 0)
MASK, CAUSAL = np.tri(3, dtype=bool)[::-1], np.tri(3, 4, 1, dtype=bool)


def conv(kernel=KERNEL, bias=(1.0, 0, 0, 0), stride=1, pad=(1, 1), dilation=1):
    return ops.Conv(weight(kernel), weight(bias), (stride,), (pad,), (dilation,))


def norm(mean, variance, bias=1.0):
    return ops.BatchNormalization(
        weight(np.ones(3)), weight([bias] * 3), weight(mean), weight(variance), 1e-3
    )


def recurrence(states=True, bias=1.0):
    return ops.RNN(
        kernel=weight(normal(4, 3)),
        recurrent=weight(normal(3, 3)),
        bias=weight([bias] * 3),
        has_states=states,
    )


def attends(*masks, window=None, positions=4):
    kinds = tuple(kind for kind, _ in masks)
    op = ops.Attention(0.5, masks=kinds, window=window)
    keys = normal(2, positions, 5)
    return op, normal(2, 3, 5), keys, keys, *(np.asarray(mask) for _, mask in masks)


CASES = {
    "a convolution": (conv(), IMAGE, []),
    "symmetric kernels": (conv(KERNEL + KERNEL[..., ::-1]), IMAGE, ["every kernel is symmetric"]),
    "kernels of one element": (conv(KERNEL[..., :1], pad=(0, 0)), IMAGE, []),
    "a bias of zeros": (conv(bias=np.zeros(4)), IMAGE, ["w is all zero, so omitting it"]),
    "a border of zeros": (conv(), EMPTY_BORDER, ["the border of the input is zero"]),
    "a border of zeros without padding": (conv(pad=(0, 0)), EMPTY_BORDER, []),
    "same padding on an even size": (conv(stride=2, pad=(0, 1)), IMAGE, []),
    "same padding on an odd size": (
        conv(stride=2),
        normal(2, 3, 7),
        ["for an input of 7 the padding is equal on both sides"],
    ),
    "same padding without strides": (conv(), normal(2, 3, 7), []),
    "padding that no window reaches": (
        conv(stride=2, pad=(0, 1)),
        normal(2, 3, 7),
        ["no window reaches the padding of 1 at the end of axis 2"],
    ),
    "padding that one reaches": (conv(stride=2, pad=(0, 1)), normal(2, 3, 6), []),
    "dilated": (conv(pad=(0, 2), dilation=2, stride=4), normal(2, 3, 5), ["padding of 2 at the"]),
    "a fresh norm": (norm(np.zeros(3), np.ones(3)), IMAGE, ["running mean and variance are 0"]),
    "another mean": (norm([0, 0, 1], np.ones(3)), IMAGE, []),
    "another variance": (norm(np.zeros(3), [1, 1, 2]), IMAGE, []),
    "a recurrence": (recurrence(), normal(5, 2, 4), normal(2, 3), []),
    "states of zeros": (
        recurrence(),
        normal(5, 2, 4),
        np.zeros((2, 3)),
        ["the initial states are zero, so omitting them"],
    ),
    "one step": (
        recurrence(),
        normal(1, 2, 4),
        np.zeros((2, 3)),
        ["there is one step and its state is zero, so w could", "the initial states are zero"],
    ),
    "one step from a state": (recurrence(), normal(1, 2, 4), normal(2, 3), []),
    "one sample": (recurrence(False), normal(5, 1, 4), ["the batch is one sample"]),
    "no states": (recurrence(False), normal(5, 2, 4), []),
    "attention": (*attends(("keep", MASK[:, [0, 1, 2, 2]])), []),
    "one position": (*attends(positions=1), ["there is one position, so queries"]),
    "a wide window": (*attends(window=4), ["4 positions all lie within the window of 4"]),
    "a window": (*attends(window=3), []),
    "a mask of nothing": (*attends(("keep", np.ones((3, 4)))), ["a mask hides no position"]),
    "a mask that hides nothing": (*attends(("hide", np.zeros((3, 4)))), ["a mask hides no pos"]),
    "nothing added": (*attends(("add", np.zeros((3, 4)))), ["a mask hides no position"]),
    "something added": (*attends(("add", normal(3, 4))), []),
    "a causal mask": (
        *attends(("keep", CAUSAL)),
        ["the mask hides later positions alone, so a window of 4 positions or more"],
    ),
    "a max pool of no negatives": (
        ops.MaxPool((3,), (1,), ((1, 1),), (1,)),
        np.abs(IMAGE),
        ["no value is negative, so padding with 0 instead of -inf"],
    ),
    "a max pool without padding": (ops.MaxPool((3,), (1,), ((0, 0),), (1,)), np.abs(IMAGE), []),
    "a relu of negatives": (ops.Relu(), IMAGE, []),
    "a relu of none": (ops.Relu(), np.abs(IMAGE), ["no input of the Relu is negative"]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_stays_unseen(name):
    op, *inputs, expected = CASES[name]
    found = op.undetected(inputs)
    assert len(found) == len(expected), found
    for sentence, words in zip(found, expected, strict=True):
        assert words in sentence
