"""What hypotheses try: maps of the input and places of maxima as their words say them, crops that
leave as much."""

import re

import numpy as np
import pytest

from probe import ops
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.data.preprocessing import _CONSTANTS, crop_place
from probe.hypotheses.data.written_values import _ranges
from probe.hypotheses.data.wrong_input import _MAPS
from probe.hypotheses.layers.channel_order import _Recounted
from probe.hypotheses.layers.transpose_conv import _same_length
from probe.hypotheses.precision.quantizer_levels import _alike
from probe.hypotheses.steps.residual_blocks import _plain
from probe.ops.step import Ref, Step
from probe.ops.weight import Grid, Weight
from probe.trial.case import Case


@pytest.mark.parametrize(("factor", "offset", "words"), [*_MAPS, *_CONSTANTS])
def test_a_map_is_what_it_is_called(factor, offset, words):
    x = np.array([-1.5, 0.0, 2.0])
    np.testing.assert_allclose(
        eval(re.sub(r"(\d) x", r"\1 * x", words), {"x": x}), factor * x + offset, atol=1e-12
    )


def test_crops_of_three_places_are_tried_at_every_place():
    for before in range(4):
        assert {*_same_length(before, 3 - before)} >= {(0, 3), (1, 2), (2, 1), (3, 0)}


def test_a_crop_says_from_where_to_where():
    x = np.zeros((1, 4, 3))
    for starts, stops, claim in (
        ((0, 1, 0), (1, 4, 3), "cropped from 0 on, not from 1 on"),
        ((0, 1, 1), (1, 4, 3), "cropped from (0, 0) on, not from (1, 1) on"),
    ):
        steps = (Step(ops.Slice(starts, stops), (Ref(-1),)),)
        case = Case(steps, (x,), recompute(steps, (x,)), x)
        assert claim in [edit.claim for edit in crop_place(case)]


def test_an_element_of_a_parameter_is_not_cropped():
    scales = Step(ops.Parameter(Weight("scales", None, np.array([0.5, 0.25, 2]))), ())
    steps = (scales, Step(ops.Slice((1,), (2,)), (Ref(0),)), Step(ops.Mul(), (Ref(-1, 0), Ref(1))))
    x = np.ones((2, 3))
    case = Case(steps, (x,), recompute(steps, (x,)), x)
    assert not [*crop_place(case)]


def test_quantisers_are_alike_in_all_they_have():
    first = Grid(np.float32(0.5), 8)
    assert _alike(first, Grid(np.full(3, 0.5, np.float32), 8))
    for other in (Grid(first.scale, 4), Grid(first.scale, 8, False), Grid(np.float32(0.25), 8)):
        assert not _alike(first, other)
        assert not _alike(other, first)


def test_samples_are_searched_alone_where_none_depends_on_another():
    x = np.random.default_rng(0).normal(size=(4, 3)) / 100
    mixed = (
        Step(ops.ReduceMean((0,), True), (Ref(-1),)),
        Step(ops.Sub(), (Ref(-1), Ref(0))),
    )
    for steps, works in (((Step(ops.Tanh(), (Ref(-1),)),), True), (mixed, False)):
        case = Case(steps, (x,), recompute(steps, (x,)), x)
        assert (case.samples(slice(0, 1)) is not None) == works


def test_places_are_counted_as_the_words_say():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4, 6))
    op = ops.MaxPoolIndices((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    told = {
        "counted over the whole tensor": x.ravel(),
        "counted over the sample": x.reshape(2, -1),
        "counted over the sample, channels last": np.moveaxis(x, 1, -1).reshape(2, -1),
        "counted column by column": x.swapaxes(2, 3).reshape(2, 3, -1),
    }
    for way, flat in told.items():
        values, places = _Recounted(op, way).run(x)
        at = places.reshape(*flat.shape[:-1], -1).astype(int)
        np.testing.assert_array_equal(
            np.take_along_axis(flat, at, axis=-1).reshape(values.shape), values, way
        )


@pytest.mark.parametrize(
    ("least", "most", "signed", "unsigned"),
    [
        (-3, 100, (-128, 127, ""), (0, 2**32 - 1, "")),
        (-128, 5, (-128, 127, ", clipped to -128 .. 127"), (0, 2**32 - 1, "")),
        (0, 127, (-128, 127, ", clipped to -128 .. 127"), (0, 255, "")),
        (0, 128, (-(2**15), 2**15 - 1, ""), (0, 255, "")),
        (0, 255, (-(2**15), 2**15 - 1, ""), (0, 255, ", clipped to 0 .. 255")),
        (-129, 0, (-(2**15), 2**15 - 1, ""), (0, 2**32 - 1, "")),
    ],
)
def test_ends_of_the_narrowest_types(least, most, signed, unsigned):
    none, *ends = _ranges(least, most)
    assert none == (-np.inf, np.inf, "")
    assert ends == [signed, unsigned]


def test_the_tensor_behind_changes_of_shape():
    x = np.arange(6.0).reshape(2, 3)
    steps = (
        Step(ops.Reshape((3, 2)), (Ref(-1),)),
        Step(ops.Relu(), (Ref(0),)),
        Step(ops.Identity(), (Ref(1),)),
        Step(ops.Reshape((6,)), (Ref(2),)),
    )
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, values[-1][0])
    assert [_plain(case, Ref(at)) for at in (-1, 0, 1, 2, 3)] == [
        *(Ref(-1), Ref(-1), Ref(1), Ref(1), Ref(1))
    ]
