"""In which form the lines of a mistake say what is another: as a person would write it."""

from dataclasses import replace

import numpy as np
from own_seed import RNG

from probe import Weight, ops
from probe.by_hand.line_pairs import line_pairs
from probe.description import Ref, Step
from probe.diagnosis.lines_of_code import lines_of
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses.attention.heads_and_masks import _MaskedAfterSoftmax, _OverQueries
from probe.hypotheses.data.preprocessing import boundary_side
from probe.hypotheses.edits.variants import siblings
from probe.hypotheses.precision.rounding_modes import FixedPointGrid
from probe.trial.case import Case


def case_of(*steps, inputs):
    values = recompute(steps, inputs)
    return Case(steps, inputs, values, values[-1][0])


def test_a_table_whose_rows_are_rolled_is_read_further_on():
    rows = RNG.normal(size=(6, 3))
    op = ops.Embedding(Weight("table", rows, rows))
    for ids, by, text in (
        ([0.0, 4, 2], -1, "table[x.astype(int) + 1]"),
        ([0.0, 5, 2], 1, "table[x.astype(int) - 1]"),
        ([0.0, 5, 2], -1, "np.roll(table, -1, axis=0)[x.astype(int)]"),
    ):
        case = case_of(Step(op, (Ref(-1),)), inputs=(np.array(ids),))
        other = replace(op.table, effective=np.roll(rows, by, axis=0), stored=None)
        (pair,) = lines_of(case, case.edit("", case.changed(0, table=other)))
        assert pair == (f"y = {text}", "y = table[x.astype(int)]")


def test_a_fitted_number_has_the_digits_that_are_known_of_it():
    factor = Step(ops.Constant(np.array(0.35355339)), ())
    case = case_of(factor, Step(ops.Mul(), (Ref(-1), Ref(0))), inputs=(RNG.normal(size=(2, 3)),))
    for number, text in ((0.12500000000000003, "0.125"), (0.44715005878834563, "0.44715")):
        steps = (Step(ops.Constant(np.array(number)), ()), case.steps[1])
        assert lines_of(case, case.edit("", steps)) == ((f"y = x * {text}", "y = x * 0.35355339"),)


def test_a_scale_is_a_root_and_a_mask_of_booleans_stands_alone():
    arrays = [RNG.normal(size=(2, 5, 4)) for _ in range(3)]
    op = ops.Attention(scale=0.5, masks=("keep",))
    step = Step(op, tuple(Ref(-1, k) for k in range(4)))
    case = case_of(step, inputs=(*arrays, np.tri(5, dtype=bool)))
    other = case.edit("", case.changed(0, scale=1 / np.sqrt(12)))
    product = "scores = x0 @ x1.swapaxes(-1, -2) / np.sqrt"
    assert lines_of(case, other) == ((f"{product}(12)", f"{product}(4)"),)
    unseen = case.edit("", case.changed(0, masks=("drop",)))
    assert lines_of(case, unseen)[0] == ("seen = ~mask", "seen = mask")
    after = case.edit("", case.with_op(0, _MaskedAfterSoftmax(op)))
    assert lines_of(case, after) == (
        (
            "weights = np.where(seen, softmax(scores, axis=-1), 0)",
            "weights = softmax(np.where(seen, scores, -np.inf), axis=-1)",
        ),
    )
    free = case_of(Step(ops.Attention(0.5), step.inputs[:3]), inputs=tuple(arrays))
    over = free.edit("", free.with_op(0, _OverQueries(free.steps[0].op)))
    assert lines_of(free, over) == (
        ("weights = softmax(scores, axis=-2)", "weights = softmax(scores, axis=-1)"),
    )


def test_a_line_within_another_keeps_the_last_of_two_reshapes():
    wrong = ["a = x.reshape(2, 6)", "y = a.reshape(3, 4)"]
    pairs = line_pairs(wrong, ["y = x"], 9)
    assert pairs == (("y = x.reshape(3, 4)", "y = x"),)


def test_a_line_that_assigns_some_of_the_names_of_another_is_paired_with_it():
    wrong, right = ["a, b = np.split(x, 2)", "c = 2 * a"], ["a, b, c = np.split(x, 3)"]
    assert line_pairs(wrong, right, 9) == ((wrong[0], right[0]), (wrong[1], ""))
    assert line_pairs(["a = 2 * x"], right, 9) == (("a = 2 * x", ""), ("", right[0]))


def test_the_root_of_a_square_is_a_magnitude():
    mean, variance = (Weight(name, v := RNG.uniform(1, 2, 3), v) for name in ("mean", "variance"))
    op = ops.Standardize(mean, variance, 1e-7)
    case = case_of(Step(op, (Ref(-1),)), inputs=(RNG.normal(size=(2, 3)),))
    other = replace(variance, effective=variance.effective**2, stored=None)
    ((yours, layers),) = lines_of(case, case.edit("", case.changed(0, variance=other)))
    assert yours == "y = (x - mean) / np.maximum(np.abs(variance), 1e-07)"
    assert layers == "y = (x - mean) / np.maximum(np.sqrt(variance), 1e-07)"


def test_ops_of_mistakes_are_lines():
    x = RNG.normal(size=(2, 7, 6, 3))
    for op, more, pair in (
        (
            ops.AdaptiveAveragePool((2, 3)),
            "windows that end at floor",
            (
                "x[:, :, 0:3].mean(axis=2), x[:, :, 3:7].mean",
                "x[:, :, 0:4].mean(axis=2), x[:, :, 3:7].mean",
            ),
        ),
        (
            ops.Softmax(-1),
            "a softmax over all axes of a sample",
            ("softmax(x, axis=(1, 2, 3))", "softmax(x, axis=3)"),
        ),
        (
            ops.ResizeNearest((1, 2, 1, 1), (2, 14, 6, 3), "half_pixel", "floor"),
            "half_pixel coordinates with halves rounded to even",
            ("np.round((np.arange(14", "np.floor((np.arange(14"),
        ),
    ):
        inputs = (x.transpose(0, 3, 1, 2) if isinstance(op, ops.AdaptiveAveragePool) else x,)
        case = case_of(Step(op, (Ref(-1),)), inputs=inputs)
        other = next(each for each in siblings(op) if more in getattr(each, "in_words", ""))
        lines = lines_of(case, case.edit("", case.with_op(0, other)))
        assert all(part in text for part, text in zip(pair, lines[0], strict=True)), lines


def test_a_number_added_to_a_gate_of_a_bias_and_the_side_of_a_boundary():
    bias = Weight("bias", v := RNG.normal(size=12), v)
    case = case_of(
        Step(ops.Parameter(bias), ()),
        Step(ops.Add(), (Ref(-1), Ref(0))),
        inputs=(RNG.normal(size=(2, 12)),),
    )
    more = replace(bias, effective=v + np.repeat([0, 1, 0, 0], 3), stored=None)
    lines = lines_of(case, case.edit("", case.changed(0, weight=more)))
    assert lines == (("y = x + (bias + np.repeat([0, 1, 0, 0], 3))", "y = x + bias"),)
    op = ops.Bucketize((0.0, 1.0))
    case = case_of(Step(op, (Ref(-1),)), inputs=(np.array([0.0, 0.5, 1.0]),))
    (edit,) = boundary_side(case)
    assert lines_of(case, edit) == (
        (
            'y = np.searchsorted([0, 1], x, side="left")',
            'y = np.searchsorted([0, 1], x, side="right")',
        ),
    )


def test_a_step_behind_a_changed_one_stands_for_nothing_of_the_layer():
    kernel, recurrent = (Weight(name, v := RNG.normal(size=(3, 3)), v) for name in ("W", "U"))
    op = ops.RNN(kernel=kernel, recurrent=recurrent)
    steps = (
        Step(op, (Ref(-1),)),
        Step(replace(op), (Ref(0),)),
        Step(ops.Reshape((10, 3)), (Ref(1),)),
    )
    case = case_of(*steps, inputs=(RNG.normal(size=(5, 2, 3)),))
    wrong = (
        steps[0],
        Step(replace(op, reverse=True), (Ref(0),)),
        Step(ops.Flip(0), (Ref(1),)),
        Step(steps[2].op, (Ref(2),)),
    )
    (loop, *rest) = lines_of(case, case.edit("", wrong))
    assert loop == ("for t in reversed(range(5)):", "for t in range(5):")
    assert rest == [("y = sequence[::-1].reshape(10, 3)", "y = sequence.reshape(10, 3)")]


def test_codes_are_the_last_output():
    case = case_of(Step(ops.Relu(), (Ref(-1),)), inputs=(RNG.normal(size=(2, 3)),))
    times = ops.MulConstant(Weight("factor", None, np.array(1024.0)))
    codes = case.appended(FixedPointGrid(1 / 1024, "down (floor)"), times)
    assert lines_of(case, case.edit("", codes)) == (
        ("y = np.floor(np.maximum(x, 0) * 1024)", "y = np.maximum(x, 0)"),
    )
