"""Recurrences against PyTorch in float64, against plain loops with masks, and against ONNX Runtime;
and what judging step by step sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

from probe import ops
from probe.description import Ref, Step, Weight
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import crosscheck
from probe.evaluation.teacher_forcing import follow
from probe.numerics.precision import precision_of
from probe.ops.base import Evaluated
from probe.ops.recurrent.gate_blocks import Gated

FLOAT32 = precision_of("float32")
ONNX = replace(FLOAT32, sketches=True)
KINDS = {"RNN": (ops.RNN, "h"), "LSTM": (ops.LSTM, "ifgo"), "GRU": (ops.GRU, "rzh")}


@st.composite
def cases(draw, kind):
    """(PyTorch's layer in float64, the op with its weights, inputs)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps, batch, width, units = (draw(st.integers(1, high)) for high in (7, 3, 6, 5))
    projected = (
        draw(st.integers(1, units - 1))
        if kind == "LSTM" and units > 1 and draw(st.booleans())
        else 0
    )
    bias, begun = draw(st.booleans()), draw(st.booleans())
    options = {"proj_size": projected} if kind == "LSTM" else {}
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    layer = getattr(torch.nn, kind)(width, units, bias=bias, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape).astype(np.float32)))
    held = {
        name[:-3]: Weight(name, None, p.detach().numpy(), axes=(1, 0) if p.ndim == 2 else None)
        for name, p in layer.named_parameters()
    }
    op_class, gates = KINDS[kind]
    more = {"projection": held["weight_hr"]} if projected else {}
    if kind == "RNN":
        more["activation"] = {"tanh": ops.Tanh(), "relu": ops.Relu()}[options["nonlinearity"]]
    op = op_class(
        kernel=held["weight_ih"],
        recurrent=held["weight_hh"],
        bias=held.get("bias_ih"),
        recurrent_bias=held.get("bias_hh"),
        gates=gates,
        has_states=begun,
        **more,
    )
    shapes = (
        [(batch, projected or units), *([(batch, units)] if kind == "LSTM" else [])]
        if begun
        else []
    )
    return (
        layer.double(),
        op,
        [rng.normal(size=(steps, batch, width)), *(rng.normal(size=shape) for shape in shapes)],
    )


def _theirs(layer, inputs):
    x, *states = (torch.from_numpy(one) for one in inputs)
    begun = tuple(state[None] for state in states)
    with torch.no_grad():
        y, last = layer(
            x, None if not begun else begun if isinstance(layer, torch.nn.LSTM) else begun[0]
        )
    return [y.numpy(), *(one[0].numpy() for one in (last if isinstance(last, tuple) else (last,)))]


def _steps(op, inputs):
    return (Step(op, tuple(Ref(-1, index) for index in range(len(inputs)))),)


def _within(op, inputs):
    """ONNX Runtime in float32, judged from its own states and by the perturbed runs; returns the
    largest error / allowance."""
    steps = _steps(op, inputs)
    given = [x.astype(np.float32).astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
    values = recompute(steps, given)
    answer = crosscheck(
        steps, [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs], values
    )
    worst = 0.0
    loose = op.error_bound(Evaluated(given, [None] * len(given), values[-1]), ONNX)
    path, sharp = follow(steps, given, values, ONNX, answer)
    for theirs, ours, allowed in (
        *zip(answer, values[-1], loose, strict=True),
        *zip(answer, path, sharp, strict=True),
    ):
        assert theirs.shape == ours.shape == allowed.shape
        error = np.abs(theirs - ours)
        worst = max(
            worst, float((error / np.maximum(allowed, 1e-300)).max(initial=0, where=error > 0))
        )
    return worst


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@examples(20)
def test_recurrence(kind, data):
    layer, op, inputs = data.draw(cases(kind))
    ours = op.run(*inputs)
    for one, other in zip(ours, _theirs(layer, inputs), strict=True):
        np.testing.assert_allclose(
            one, other, rtol=1e-12, atol=1e-12 * max(1.0, float(np.abs(other).max()))
        )
    back = replace(op, reverse=True).run(*inputs)
    forth = op.run(inputs[0][::-1], *inputs[1:])
    # BLAS sums rows in the order that their places give
    np.testing.assert_allclose(back[0], forth[0][::-1], rtol=1e-12, atol=1e-15)
    path, _ = op.followed(inputs, [None] * len(inputs), ours[0], FLOAT32)
    for one, other in zip(path, ours, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    for one in (op, replace(op, reverse=True)):
        assert _within(one, inputs) <= 1


ACTIVATIONS = [
    ops.Tanh(),
    ops.Relu(),
    ops.Sigmoid(),
    ops.HardSigmoid(0.2, 0.5),
    ops.HardSigmoid(1 / 6, 0.5),
    ops.Elu(),
    ops.Identity(),
]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@examples(20)
@np.errstate(all="ignore")  # states grow without bounds
def test_masks_and_activations(kind, data):
    """Against the same cell stepped by hand: a skipped step leaves the states, and shows what stood
    before or 0."""
    _, op, (x, *states) = data.draw(cases(kind))
    op = replace(
        op,
        activation=data.draw(st.sampled_from(ACTIVATIONS)),
        has_mask=True,
        reverse=data.draw(st.booleans()),
    )
    op = replace(op, zero_masked=data.draw(st.booleans()))
    if kind != "RNN":
        op = replace(op, recurrent_activation=data.draw(st.sampled_from(ACTIVATIONS)))
    if kind == "GRU":
        op = replace(op, reset_after=data.draw(st.booleans()))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(x.shape[:2]) < 0.6
    plain = replace(op, has_mask=False, has_states=True, reverse=False)
    now = list(states) or [np.zeros(shape) for shape in op.state_shapes(x)]
    out, held = np.zeros((*x.shape[:2], now[0].shape[1])), np.zeros_like(now[0])
    for t in range(len(x))[:: -1 if op.reverse else 1]:
        after = plain.run(x[t : t + 1], *now)[1:]
        now = [np.where(mask[t, :, None], new, old) for new, old in zip(after, now, strict=True)]
        held = np.where(mask[t, :, None], now[0], 0.0 if op.zero_masked else held)
        out[t] = held
    ours = op.run(x, mask, *states)
    # Of large states a later one may be a small difference.
    top = np.abs(out[np.isfinite(out)]).max(initial=0)
    for one, other in zip(ours, (out, *now), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14 * top + 1e-300)
    if np.abs(out).max(initial=0) < 1e3:
        assert _within(op, [x, mask, *states]) <= 1


def test_a_gru_whose_biases_are_rows_of_one_weight():
    rng = np.random.default_rng(0)
    both = Weight("bias", None, rng.normal(size=(2, 9)))
    parts = {
        "kernel": Weight("k", None, rng.normal(size=(4, 9))),
        "recurrent": Weight("r", None, rng.normal(size=(3, 9))),
    }
    apart = {
        "bias": Weight("b", None, both.value[0]),
        "recurrent_bias": Weight("rb", None, both.value[1]),
    }
    x = rng.normal(size=(5, 2, 4))
    for after in (True, False):
        one, other = (
            ops.GRU(**parts, bias=both, reset_after=after),
            ops.GRU(**parts, **apart, reset_after=after),
        )
        np.testing.assert_array_equal(one.run(x)[0], other.run(x)[0])
        assert _within(one, [x]) <= 1


def _rounded(x, fraction, low, high):
    return np.floor(np.clip(x, low, high) * 2.0**fraction + 0.5) / 2.0**fraction


@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_gru_with_a_reset_gate_of_its_own_and_what_meets_it_quantised(after, bias):
    """As HGQ2 has it, against the formula step by step; the parts that lead to one element end in
    it."""
    rng, units = np.random.default_rng(1), 3
    clipped = {"sign": np.array(1.0), "rounding": "RND", "overflow": "SAT"}
    update, reset = (
        ops.FixedPoint(integer=np.array(i), fraction=np.array(f), **clipped)
        for i, f in ((0.0, 4.0), (1.0, 6.0))
    )
    meets, state = (
        ops.FixedPoint(integer=np.array(1.0), fraction=np.array(f), **clipped) for f in (5.0, 7.0)
    )
    kernel, recurrent = rng.normal(size=(4, 3 * units)), rng.normal(size=(units, 3 * units))
    both = rng.normal(size=(2, 3 * units)) if after else rng.normal(size=3 * units)
    op = ops.GRU(
        kernel=Weight("kernel", None, kernel),
        recurrent=Weight("recurrent", None, recurrent),
        bias=Weight("bias", None, both) if bias else None,
        recurrent_activation=update,
        reset_activation=reset,
        reset_quantizer=meets,
        state_quantizer=state,
        reset_after=after,
    )
    x = rng.normal(size=(5, 2, 4))
    h, out = np.zeros((2, units)), []
    for part in x:
        h = _rounded(h, 7, -2, 2 - 2.0**-7)
        first, second = (
            (both if after else (both, np.zeros(3 * units))) if bias else (0.0, np.zeros(3 * units))
        )
        shares, products = part @ kernel + first, h @ recurrent + second
        z = _rounded((shares + products)[:, :units], 4, -1, 1 - 2.0**-4)
        r = _rounded((shares + products)[:, units : 2 * units], 6, -2, 2 - 2.0**-6)
        if after:
            inner = r * _rounded(products[:, 2 * units :], 5, -2, 2 - 2.0**-5)
        else:
            inner = _rounded(r * h, 5, -2, 2 - 2.0**-5) @ recurrent[:, 2 * units :]
        h = z * h + (1 - z) * np.tanh(shares[:, 2 * units :] + inner)
        out.append(h)
    ours = op.run(x)
    np.testing.assert_allclose(ours[0], np.stack(out), rtol=1e-12)
    assert _within(op, [x]) <= 1
    stages = op.contributions([x], ours, (3, 1, 2)).stages
    np.testing.assert_allclose(
        [stages[-1].value, stages[-3].value], [out[3][1, 2], np.tanh(stages[-4].value)]
    )


def _chaotic(units=24, seed=0):
    rng = np.random.default_rng(seed)
    return ops.RNN(
        kernel=Weight("kernel", None, rng.normal(size=(3, units)).astype(np.float32)),
        recurrent=Weight(
            "recurrent",
            None,
            (3 * rng.normal(size=(units, units)) / np.sqrt(units)).astype(np.float32),
        ),
    )


def test_chaos_is_judged_step_by_step_and_a_fault_of_one_late_step_is_seen():
    """Free runs in float32 and float64 end elsewhere; from its own states each step is within
    rounding, and a wrong one is not."""
    op, x = _chaotic(), np.random.default_rng(1).normal(size=(200, 2, 3)).astype(np.float32)
    steps, given = _steps(op, [x]), [x.astype(np.float64)]
    values = recompute(steps, given)
    theirs = crosscheck(steps, [x], values)
    assert np.abs(theirs[0][-1] - values[-1][0][-1]).max() > 0.1
    path, allowed = follow(steps, given, values, FLOAT32, theirs)
    assert (np.abs(theirs[0] - path[0]) <= allowed[0]).all() and allowed[0].max() < 1e-4
    wrong = theirs[0].copy()
    wrong[150, 1] *= 1.001
    path, allowed = follow(steps, given, values, FLOAT32, (wrong, theirs[1]))
    beyond = np.unique(np.nonzero(np.abs(wrong - path[0]) > allowed[0])[0])
    assert beyond.tolist() == [150, 151]


def test_an_unseen_chaotic_sequence_allows_all_that_its_end_can_be():
    op, x = _chaotic(), np.random.default_rng(1).normal(size=(200, 2, 3))
    values = op.run(x)
    loose = op.error_bound(Evaluated([x], [None], values), FLOAT32)[1]
    assert np.median(loose) > np.ptp(values[1])
    calm = replace(op, recurrent=Weight("recurrent", None, op.recurrent.value / 6))
    assert calm.error_bound(Evaluated([x], [None], calm.run(x)), FLOAT32)[1].max() < 1e-5


def test_long_plain_recurrences_keep_a_small_allowance():
    """96 steps: bounds carried from step to step would reach 1e16 here."""
    rng = np.random.default_rng(0)
    op = ops.RNN(
        kernel=Weight("kernel", None, rng.normal(size=(3, 10)).astype(np.float32)),
        recurrent=Weight(
            "recurrent", None, np.linalg.qr(rng.normal(size=(10, 10)))[0].astype(np.float32)
        ),
    )
    x = rng.normal(size=(96, 4, 3))
    values = op.run(x)
    assert (
        max(float(one.max()) for one in op.error_bound(Evaluated([x], [None], values), FLOAT32))
        < 1e-4
    )


def test_memory_of_the_walk_does_not_grow_with_the_steps(monkeypatch):
    """The input's products are taken a few steps at a time."""
    monkeypatch.setattr("probe.ops.recurrent.recurrence._WALKED", 64)
    monkeypatch.setattr("probe.ops.recurrent.recurrence._JUDGED", 64)
    for kind in KINDS:
        rng = np.random.default_rng(0)
        op_class, gates = KINDS[kind]
        parts = {"kernel": (4, len(gates) * 3), "recurrent": (3, len(gates) * 3)}
        op: Gated = op_class(
            **{name: Weight(name, None, rng.normal(size=shape)) for name, shape in parts.items()},
            gates=gates,
        )
        x = rng.normal(size=(9, 2, 4))
        now, out = [np.zeros((2, 3))] * op.state_count, []
        for t in range(9):
            _, *now = replace(op, has_states=True).run(x[t : t + 1], *now)
            out.append(now[0])
        np.testing.assert_allclose(op.run(x)[0], out, rtol=1e-12)
        np.testing.assert_allclose(
            op.followed([x], [None], np.asarray(out), FLOAT32)[0][0], out, rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_sample_that_joins_later_starts_from_a_state_as_far_off_as_any(kind, reverse):
    rng = np.random.default_rng(0)
    op_class, gates = KINDS[kind]
    parts = {"kernel": (4, len(gates) * 3), "recurrent": (3, len(gates) * 3)}
    held = {name: Weight(name, None, rng.normal(size=shape)) for name, shape in parts.items()}
    op: Gated = op_class(**held, gates=gates, has_states=True, reverse=reverse)
    x, begun = rng.normal(size=(5, 3, 4)), [rng.normal(size=(3, 3)) for _ in range(op.state_count)]
    slacks, order = (
        [np.full(state.shape, 0.01) for state in begun],
        slice(None, None, -1 if reverse else 1),
    )
    mask = np.ones((5, 3), bool)
    mask[:2, 1] = mask[:, 2] = False  # in the order of reading: one sample joins later, one never
    mask = mask[order]
    some = replace(op, has_mask=True)
    inputs = [x, mask, *begun]
    path, off = some.followed(inputs, [None, None, *slacks], some.run(*inputs)[0], FLOAT32)
    alone = [x[order][2:][order][:, 1:2], *(state[1:2] for state in begun)]
    _, wanted = op.followed(
        alone, [None, *(slack[1:2] for slack in slacks)], op.run(*alone)[0], FLOAT32
    )
    np.testing.assert_allclose(off[0][order][2:, 1], wanted[0][order][:, 0], rtol=1e-6)
    for state, slack, first, moved in zip(path[1:], off[1:], begun, slacks, strict=True):
        np.testing.assert_array_equal(state[2], first[2])
        np.testing.assert_array_equal(slack[2], moved[2])


def test_what_an_output_can_see():
    op = ops.RNN(
        kernel=Weight("k", None, np.ones((3, 2))),
        recurrent=Weight("r", None, np.ones((2, 2))),
        has_mask=True,
        has_states=True,
    )
    x, mask, state = np.ones((6, 2, 3)), np.ones((6, 2), bool), np.ones((2, 2))
    mask[1, 0] = False
    wanted = np.zeros((6, 2, 2), bool)
    wanted[3, 0, 1] = True
    seen, _, begun = op.influence(wanted, [x, mask, state])
    assert np.argwhere(seen.any(axis=(1, 2))).ravel().tolist() == [0, 2, 3] and not seen[:, 1].any()
    assert begun[0].all() and not begun[1].any()
    later = replace(op, reverse=True).influence(wanted, [x, mask, state])[0]
    assert np.argwhere(later.any(axis=(1, 2))).ravel().tolist() == [3, 4, 5]


def test_convolving_lstm_of_one_position_is_a_dense_one():
    rng = np.random.default_rng(0)
    kernel, recurrent, bias = (
        rng.normal(size=(12, 4, 1)),
        rng.normal(size=(12, 3, 1)),
        rng.normal(size=12),
    )
    conv = ops.ConvLSTM(
        kernel=Weight("k", None, kernel),
        recurrent=Weight("r", None, recurrent),
        bias=Weight("b", None, bias),
    )
    dense = ops.LSTM(
        kernel=Weight("k", None, kernel[..., 0].T),
        recurrent=Weight("r", None, recurrent[..., 0].T),
        bias=Weight("b", None, bias),
    )
    x = rng.normal(size=(5, 2, 4, 7))
    got = conv.run(x)[0]
    for at in range(7):
        np.testing.assert_allclose(got[..., at], dense.run(x[..., at])[0], rtol=1e-12, atol=1e-14)
    assert _within(conv, [x]) <= 1


def test_packed_rows():
    rng = np.random.default_rng(0)
    sizes = (4, 3, 3, 1)
    rows = rng.normal(size=(11, 2))
    padded = ops.Unpacked(sizes).run(rows)[0]
    theirs = torch.nn.utils.rnn.pad_packed_sequence(
        torch.nn.utils.rnn.PackedSequence(torch.from_numpy(rows), torch.tensor(sizes)),
        total_length=4,
    )[0]
    np.testing.assert_array_equal(padded, theirs.numpy())
    np.testing.assert_array_equal(ops.Packed(sizes).run(padded)[0], rows)
    where = np.argwhere(np.ones(padded.shape, bool))
    which, back = ops.Unpacked(sizes).follow(where, [rows])
    np.testing.assert_array_equal(
        np.where(which < 0, 0.0, rows[tuple(back.clip(max=10).T)]), padded.ravel()
    )


@pytest.mark.parametrize(
    "op",
    [
        ops.Flip(1),
        ops.Squeeze((0,)),
        ops.Unsqueeze((0, 2)),
        ops.Grouped(2),
        ops.Take(1, (2, 0)),
        ops.Packed((3, 1)),
    ],
)
def test_moves(op):
    x = np.random.default_rng(0).normal(size=(1 if isinstance(op, ops.Squeeze) else 4, 3, 2))
    (y,) = op.run(x)
    where = tuple(np.argwhere(np.ones(y.shape, bool)).T)
    np.testing.assert_array_equal(x[op.input_index(where, [x])], y.ravel())
    np.testing.assert_array_equal(crosscheck(_steps(op, [x]), [x], [(y,)])[0], y.astype(np.float32))


@pytest.mark.parametrize("coupled", [False, True])
def test_gates_that_see_the_cell(coupled):
    """Against a plain loop, with another function on the cell, and ONNX Runtime's Scan within the
    allowance."""
    rng = np.random.default_rng(0)
    kernel, recurrent, bias, peeps = (
        rng.normal(size=(4, 12)),
        rng.normal(size=(3, 12)),
        rng.normal(size=(2, 12)),
        rng.normal(size=(3, 3)),
    )
    held = {"kernel": kernel, "recurrent": recurrent, "bias": bias, "peepholes": peeps}
    weights = {name: Weight(name, None, one.astype(np.float32)) for name, one in held.items()}
    op = ops.PeepholeLSTM(
        **weights, gates="iofg", coupled=coupled, shown=ops.Softsign(), has_states=True
    )
    x, h, c = (rng.normal(size=size).astype(np.float32) for size in ((5, 2, 4), (2, 3), (2, 3)))
    narrow = {name: one.value.astype(np.float64) for name, one in weights.items()}
    hidden, cell, shown = h.astype(np.float64), c.astype(np.float64), []
    for step in x.astype(np.float64):
        i, o, f, g = np.split(
            step @ narrow["kernel"] + hidden @ narrow["recurrent"] + narrow["bias"].sum(axis=0),
            4,
            axis=1,
        )
        to_i, to_o, to_f = narrow["peepholes"]
        i = 1 / (1 + np.exp(-(i + to_i * cell)))
        f = 1 - i if coupled else 1 / (1 + np.exp(-(f + to_f * cell)))
        cell = f * cell + i * np.tanh(g)
        hidden = cell / (1 + np.abs(cell)) / (1 + np.exp(-(o + to_o * cell)))
        shown.append(hidden)
    found = op.run(*(one.astype(np.float64) for one in (x, h, c)))
    for ours, theirs in zip(found, (np.array(shown), hidden, cell), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert _within(op, [x, h, c]) <= 1
    assert (
        _within(
            replace(op, has_states=False, has_mask=True),
            [x, np.array([[1, 1], [1, 0], [0, 1], [1, 1], [1, 0]])],
        )
        <= 1
    )
