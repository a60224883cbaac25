"""Holds an op's NumPy reading against a framework in float64, and what rounding did to the float32
ones against its allowance.

``agrees`` is the whole test of an op: float64 against PyTorch's float64 (a wrong formula cannot
pass, nor a reading of fewer digits), then PyTorch, TensorFlow and ONNX Runtime in float32 against
the float64 values. The largest error in units of the allowance is printed per op at the end of a
run, and how loose the allowance is: in units of the last place of the output's largest value.
"""

import resource
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import fields, replace
from time import process_time

import numpy as np
import pytest
import torch
from hand_scripts import computation, unwritten, wrong
from lazy import available

from probe import Description
from probe.description import Ref, Step, Weight, weights_of
from probe.evaluation.allowance import allowances, settle
from probe.evaluation.numpy_reference import recompute
from probe.evaluation.onnxruntime_reference import _emitted, crosscheck
from probe.model import Capture
from probe.numerics.memory_limit import limited
from probe.numerics.precision import precision_of
from probe.ops import Rearrangement
from probe.ops.base import Evaluated
from probe.verdict.judge import judge

FLOAT32, FLOAT64 = precision_of("float32"), precision_of("float64")
_ratios: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
_at_the_ends: Counter[str] = Counter()


def _steps(op, inputs):
    return (
        op
        if isinstance(op, tuple)
        else (Step(op, tuple(Ref(-1, index) for index in range(len(inputs)))),)
    )


def _tensors(steps, inputs, dtype):
    """The inputs and weights, in the op's layout, as PyTorch wants them."""
    given = [
        torch.from_numpy(np.ascontiguousarray(x.astype(dtype) if x.dtype.kind == "f" else x))
        for x in inputs
    ]
    weights = {
        name: torch.from_numpy(np.ascontiguousarray(w.value.astype(dtype)))
        for name, w in weights_of(steps).items()
    }
    return given, weights


def _ratio(name, party, steps, inputs, values, observed, precision=FLOAT32):
    """The largest error of a party in units of the allowance, after the second look where one is
    needed."""
    worst = 0.0
    allowed = allowances(steps, inputs, values, precision)
    for output, (exact, theirs, slack) in enumerate(
        zip(values[-1], observed, allowed, strict=True)
    ):
        assert theirs.shape == exact.shape == slack.shape, (
            f"{party}: {theirs.shape}, NumPy {exact.shape}, allowance {slack.shape}"
        )
        if not exact.size:
            continue
        with np.errstate(over="ignore"):
            over = np.isinf(exact.astype(precision.name))
        held = np.isfinite(exact)
        assert np.isfinite(slack[held]).all() and (slack[held] >= 0).all(), (
            "an allowance that is no number"
        )
        assert np.isinf(theirs[over]).all(), (
            f"{party}: no overflow where the exact value has none in {precision.name}"
        )
        error = np.where(
            over, 0.0, np.abs(np.where(over, 0.0, theirs) - np.where(over, 0.0, exact))
        )
        slack = settle(steps, inputs, values, precision, error, slack, output)
        with np.errstate(all="ignore"):
            ratio = np.where(error == 0, 0.0, error / slack)
        worst = max(worst, float(ratio.max()))
        if top := np.abs(exact[~over]).max(initial=0):
            _ratios[name]["loose"].append(float(slack.max() / (precision.unit * top)))
    _ratios[name][party].append(worst)
    assert worst <= 1, f"{party} lies {worst:.3g} allowances from NumPy"


@pytest.fixture(scope="session")
def agrees():
    """``agrees(op, inputs, torch_function, tensorflow=None)``: every party computes the same."""

    def check(op, inputs, reference, tensorflow=None, name=None, onnx=True, exact=1e-11):
        steps = _steps(op, inputs)
        name = name or type(steps[-1].op).__name__
        inputs = [np.asarray(x) for x in inputs]
        given, weights = _tensors(steps, inputs, np.float64)
        wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
        values = recompute(steps, wide)
        for step, outputs in zip(steps, values, strict=True):
            assert step.op.output_count in (None, len(outputs))
        _traces(steps[-1].op, wide if len(steps) == 1 else None, values[-1])
        if reference is not None:
            top = max(float(np.abs(one).max(initial=0)) for one in (*wide, *values[-1]))
            ours, theirs = values[-1][0], reference(*given, **weights)
            assert ours.shape == tuple(theirs.shape)
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=exact, atol=exact * top)
            _ratio(name, "torch in float64", steps, wide, values, [theirs.numpy()], FLOAT64)
        _widen_alike(steps, inputs)
        _takes_exact_inputs_for_exact(steps, wide, values)
        _is_limited(steps, inputs)
        made = computation(steps, *wide)
        if not unwritten(made):
            assert not wrong(made)
        given, weights = _tensors(steps, inputs, np.float32)
        if reference is not None:
            _ratio(name, "torch", steps, wide, values, [reference(*given, **weights).numpy()])
        if onnx:
            _emits_alike(steps, inputs, values)
            _ratio(name, "onnx", steps, wide, values, crosscheck(steps, inputs, values))
        if tensorflow is not None and available():
            weights = {name: one.numpy() for name, one in weights.items()}
            _ratio(
                name,
                "tensorflow",
                steps,
                wide,
                values,
                [np.asarray(tensorflow(*(one.numpy() for one in given), **weights))],
            )
        if reference is not None and _at_the_ends[name] < 3:
            _at_the_ends[name] += 1
            _is_not_blamed(steps, inputs, reference)

    return check


def _widen_alike(steps, inputs):
    """Inputs in float32 give what the same numbers give in float64, bit for bit; allowances are
    kept in float32."""
    narrow = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in narrow]
    values = recompute(steps, wide)
    for one, other in zip(recompute(steps, narrow), values, strict=True):
        for left, right in zip(one, other, strict=True):
            assert left.dtype == right.dtype and np.array_equal(
                left, right, equal_nan=left.dtype.kind == "f"
            )
    if all(step.op.takes_any_float for step in steps):
        for left, right in zip(
            *(allowances(steps, given, values, FLOAT32) for given in (narrow, wide)), strict=True
        ):
            np.testing.assert_allclose(left, right, rtol=1e-5)


def _takes_exact_inputs_for_exact(steps, inputs, values):
    """Inputs that may be off by 0 add no more to the allowance than inputs that were given; a
    reshape before a layer must not make it blind."""
    for position, step in enumerate(steps):
        refs = step.sources(position)
        given = tuple(ref.of(inputs, values) for ref in refs)
        bounds = [
            step.op.error_bound(Evaluated(given, slacks, values[position]), FLOAT32)
            for slacks in (
                tuple(None for _ in given),
                tuple(np.zeros(x.shape) for x in given),
            )
        ]
        for alone, behind in zip(*bounds, strict=True):
            np.testing.assert_allclose(behind, alone, rtol=1e-6, err_msg=type(step.op).__name__)


def _emits_alike(steps, inputs, values):
    """Emission does not depend on the values of weights: the graph is used again for other ones."""

    def other(part):
        if isinstance(part, Weight):
            return replace(part, effective=part.effective + part.effective.dtype.type(1))
        return tuple(map(other, part)) if isinstance(part, tuple) else part

    changed = [
        replace(
            step,
            op=replace(
                step.op, **{f.name: other(getattr(step.op, f.name)) for f in fields(step.op)}
            ),
        )
        for step in steps
    ]
    graphs = [
        graph.model(outputs, values[-1])
        for graph, outputs in (_emitted(each, inputs, values) for each in (steps, changed))
    ]
    assert graphs[0] == graphs[1]


_LIMIT, _ENORMOUS = 1 << 23, (1 << 17, 1 << 31, 1 << 40)
_limited: set[tuple[type, str, int]] = set()


def _is_limited(steps, inputs):
    """Whatever number a file puts into an op's field, it ends soon and takes no more memory than it
    may: each field of each class once."""
    for position, step in enumerate(steps):
        for name, changed, size in _enormous(step.op):
            if (type(step.op), name, size) in _limited:
                continue
            _limited.add((type(step.op), name, size))
            given = (*steps[:position], replace(step, op=changed), *steps[position + 1 :])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began = process_time()
            with limited(_LIMIT), suppress(Exception):
                values = recompute(given, inputs)
                if sum(one.nbytes for made in values for one in made) < 1 << 20:
                    crosscheck(given, inputs, values)
            taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            what = f"{type(step.op).__name__}.{name} of {size}"
            assert taken << 10 < 64 * _LIMIT, f"{what} takes {taken >> 10} MiB"
            assert process_time() - began < 20, f"{what} takes {process_time() - began:.0f} s"


def _enormous(op):
    """The op with each whole number of its fields as a file might have it."""
    for part in fields(op):
        value = getattr(op, part.name)
        numbers = value if isinstance(value, tuple) else (value,)
        for place, one in enumerate(numbers):
            for size in _ENORMOUS if type(one) is int else ():
                changed = (*numbers[:place], size, *numbers[place + 1 :])
                whole = changed if isinstance(value, tuple) else size
                yield part.name, replace(op, **{part.name: whole}), size


def _is_not_blamed(steps, inputs, reference):
    """At the ends of float32's range, where PyTorch and ONNX Runtime overflow and NumPy in float64
    does not, the fault is not NumPy's."""
    # whole numbers may be places
    if any(x.dtype.kind != "f" or np.array_equal(x, np.rint(x)) for x in inputs):
        return
    for size in (1e38, 1e19, 1e-38):
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [
                x * min(size / max(float(np.abs(x).max(initial=0)), 1e-99), 1e300) for x in inputs
            ]
            given, weights = _tensors(steps, ends, np.float32)
        outputs = (reference(*given, **weights).numpy(),)
        report = judge(
            Capture(
                "",
                "",
                0,
                tuple(one.numpy() for one in given),
                outputs,
                "float32",
                Description(steps),
            )
        )
        assert "please report it" not in report.sentence, str(report)


def _traces(op, inputs, outputs):
    """What an op says about where an element came from, and of what it is the sum, holds for some
    of its elements."""
    (y,) = outputs[:1]
    if inputs is None or not y.size:
        return
    where = tuple(np.random.default_rng(0).integers(0, size, 5) for size in y.shape)
    if op.terms is not None and (getattr(op, "weight", None) is not None or len(inputs) > 1):
        terms = op.terms(inputs, where)
        assert terms[0].size >= op.term_count(inputs, outputs)
        np.testing.assert_allclose(
            terms.sum(axis=(1, 2)), y[where], rtol=1e-11, atol=1e-11 * np.abs(terms).max()
        )
    if isinstance(op, Rearrangement) and (back := op.input_index(where, inputs)) is not None:
        np.testing.assert_array_equal(inputs[0][back], y[where])


@pytest.fixture(scope="session")
def weight():
    """A weight stored with its axes in another order than the op's, as frameworks do."""

    def build(name, array, axes=None):
        if axes is None:
            axes = tuple(reversed(range(array.ndim)))
        return Weight(
            name,
            stored := np.ascontiguousarray(array.transpose(np.argsort(axes))),
            stored,
            axes=axes,
        )

    return build


def pytest_terminal_summary(terminalreporter):
    if not _ratios:
        return
    parties = ("torch in float64", "torch", "onnx", "tensorflow")
    terminalreporter.section(
        "error / allowance, the largest and the median of the largest of each case"
    )
    terminalreporter.write_line(
        f"{'op':28}{'cases':>6}"
        + "".join(f"{party:>18}" for party in parties)
        + f"{'allowance/ulp':>16}"
    )
    for name, seen in sorted(_ratios.items()):
        cells = [
            f"{max(seen[party]):.3f} {np.median(seen[party]):.3f}" if seen[party] else "-"
            for party in parties
        ]
        loose = (
            f"{max(seen['loose']):.3g} {np.median(seen['loose']):.3g}" if seen["loose"] else "exact"
        )
        terminalreporter.write_line(
            f"{name:28}{len(seen['torch']):>6}"
            + "".join(f"{cell:>18}" for cell in cells)
            + f"{loose:>16}"
        )
