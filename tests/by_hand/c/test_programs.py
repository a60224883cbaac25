"""Layers of fixed-point numbers as C: compiled without a warning and run, bit for bit, or refused
with the reason."""

import re
from dataclasses import replace

import numpy as np
import pytest
from c_programs import is_exact, ran

from probe import ops
from probe.by_hand.c.input_formats import input_formats
from probe.by_hand.c.program import CProgram, InputFormat, c_program
from probe.by_hand.c.rounding import ROUNDINGS, rounded
from probe.by_hand.write import refuse_script
from probe.description import Builder, Description, Grid, Ref, Weight
from probe.errors import BadInput
from probe.model import CallOutput, Capture


def values_of(build, inputs):
    """What each step gives."""
    values = []
    for position, step in enumerate(build.steps):
        taken = [ref.of(inputs, values) for ref in step.sources(position)]
        values.append(step.op.run(*(x.astype(np.float32) for x in taken)))
    return values


def captured(build, *inputs, framework=None):
    """A call whose framework is the arithmetic of the ops in float32."""
    outputs = tuple(framework or values_of(build, inputs)[-1])
    description = Description(tuple(build.steps))
    return Capture("layer", "Drawn", 0, inputs, outputs, "float32", description)


def grid(rng, shape, fraction, bits, name="kernel", **layout):
    codes = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), shape)
    values = (codes * 2.0**-fraction).astype(np.float32)
    scale = np.asarray(2.0**-fraction, np.float32)
    return Weight(name, values, values, grid=Grid(scale, bits), **layout)


def activation(rng):
    """A quantiser as people use them: one for all elements, or of its own for each channel of the
    last axis."""
    bits, integer = int(rng.integers(2, 7)), int(rng.integers(0, 3))
    channels = rng.integers(0, 3, 4)
    kinds = [
        ops.QuantizedRelu(bits=bits, integer=integer),
        ops.QuantizedRelu(bits=6, integer=integer, negative_slope=0.25),
        ops.QuantizedBits(bits=bits, integer=integer, alpha=0.5),
        ops.QuantizedBits(bits=1),
        ops.QuantizedBits(bits=bits, integer=channels),
        ops.FixedPoint(
            np.array(True),
            np.array(integer),
            channels,
            str(rng.choice(list(ROUNDINGS))),
            str(rng.choice(["SAT", "SAT_SYM", "WRAP"])),
        ),
        ops.FixedPoint(np.array(False), np.array(2), np.array(bits), "RND", "WRAP"),
        ops.Binary(),
        ops.Ternary(alpha=1.0, threshold=0.5),
    ]
    return kinds[int(rng.integers(len(kinds)))]


def network(seed):
    """A drawn network in the layout of Keras: convolutions in one or two dimensions, some by
    groups, pools, a sum of two branches, and a product at the end."""
    rng = np.random.default_rng(seed)
    spatial = 1 + seed % 2
    sizes = [int(n) for n in rng.integers(6, 9, spatial)]
    x = (rng.integers(-20, 100, (2, *sizes, 4)) * 2.0**-3).astype(np.float32)
    build = Builder((x,))
    last = spatial + 1
    ref = build.add(ops.Transpose(perm=(0, last, *range(1, last))), Ref(-1))
    depthwise = bool(rng.integers(2))
    kernel = grid(rng, (*[3] * spatial, 4, 1 if depthwise else 4), 2, 4)
    axes = (*((spatial, last) if depthwise else (last, spatial)), *range(spatial))
    if depthwise:
        kernel = grid(rng, (*[3] * spatial, 4, 1), 2, 4, axes=axes)
    else:
        kernel = grid(rng, (*[3] * spatial, 4, 4), 2, 4, axes=axes)
    bias = grid(rng, (4,), int(rng.integers(1, 8)), 6, "bias") if rng.integers(2) else None
    pads = ((1, 1),) * spatial if rng.integers(2) else ((0, 1),) * spatial
    strides = (int(rng.integers(1, 3)),) * spatial
    ref = build.add(
        ops.Conv(kernel, bias, strides, pads, (1,) * spatial, 4 if depthwise else 1), ref
    )
    ref = build.add(ops.Transpose(perm=(0, *range(2, last + 1), 1)), ref)
    ref = build.add(activation(rng), ref)
    other = build.add(ops.Affine(gain=0.5, offset=0.25), ref)
    ref = build.add((ops.Add, ops.Sub, ops.Mul)[seed % 3](), ref, other)
    ref = build.add(ops.Transpose(perm=(0, last, *range(1, last))), ref)
    pool = ops.MaxPool((2,) * spatial, (2,) * spatial, ((0, 0),) * spatial, (1,) * spatial)
    if rng.integers(2):
        pool = ops.AveragePool((2,) * spatial, (2,) * spatial, ((0, 0),) * spatial)
    ref = build.add(pool, ref)
    ref = build.add(ops.Transpose(perm=(0, *range(2, last + 1), 1)), ref)
    wide = values_of(build, (x,))[-1][0].size // 2
    ref = build.add(ops.Reshape(shape=(2, wide)), ref)
    ref = build.add(ops.MatMul(grid(rng, (wide, 3), 3, 4, "dense"), None), ref)
    build.add(ops.Relu() if seed % 2 else ops.Clip(low=-2.0, high=3.5), ref)
    return captured(build, x)


@pytest.mark.parametrize("seed", range(16))
def test_drawn_networks(tmp_path, seed):
    capture = network(seed)
    text = c_program(capture, "drawn", "NumPy")
    assert is_exact(text, tmp_path)
    assert "float" not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


X = (np.random.default_rng(5).integers(-40, 90, (2, 4, 6, 5)) * 2.0**-3).astype(np.float32)


def single(*steps):
    build = Builder((X,))
    for op in steps:
        build.add(op, build.last if build.steps else Ref(-1))
    return captured(build, X)


def conv(**options):
    rng = np.random.default_rng(1)
    settings = {"strides": (1, 1), "pads": ((0, 0), (0, 0)), "dilations": (1, 1)} | options
    groups = settings.get("groups", 1)
    kernel = grid(rng, (4, 4 // groups, 2, 3), 3, 4)
    return ops.Conv(kernel, grid(rng, (4,), 9, 8, "bias"), **settings)


SINGLE = {
    "grouped": [conv(groups=2, pads=((1, 0), (2, 1)))],
    "dilated": [conv(dilations=(2, 1), strides=(1, 2))],
    "a kernel of one cell": [
        ops.Conv(
            grid(np.random.default_rng(2), (3, 4, 1, 1), 2, 3), None, (1, 1), ((0, 0),) * 2, (1, 1)
        )
    ],
    "padded pool": [ops.MaxPool((2, 3), (1, 2), ((1, 0), (1, 1)), (1, 1))],
    "global pools": [ops.GlobalMaxPool((2,)), ops.Slice((0, 0, 0, 1), (2, 4, 1, None))],
    "a global mean": [ops.Slice((0, 0, 1, 1), (2, 4, 3, None)), ops.GlobalAveragePool((2, 3))],
    "moved": [
        ops.Pad(((0, 0), (1, 2), (0, 1), (0, 0)), value=0.5),
        ops.Unsqueeze((1,)),
        ops.Squeeze((1,)),
        ops.Transpose(perm=(3, 1, 0, 2)),
        ops.Reshape(shape=(10, -1)),
    ],
    "bent": [ops.LeakyRelu(alpha=0.125), ops.Neg(), ops.Abs()],
    "hard sigmoid": [ops.HardSigmoid(alpha=0.5, beta=0.5)],
    "clipped": [ops.Clip(low=None, high=0.0625), ops.Relu6()],
    "finer": [ops.Affine(gain=3.0, offset=2.0**-16)],
    "levels": [ops.QuantizedBits(bits=4, integer=2), ops.QuantizedRelu(bits=3, integer=1)],
}


@pytest.mark.parametrize("case", SINGLE)
def test_single_ops(tmp_path, case):
    capture = single(*SINGLE[case])
    assert is_exact(c_program(capture), tmp_path)
    if "mean" not in case:  # in 64 bits
        wide = InputFormat(-3, -(2**38), 2**38, "a wide input")
        assert is_exact(c_program(capture, formats=[wide]), tmp_path)


def test_an_input_that_the_layer_itself_quantises_may_be_floats(tmp_path):
    x = np.random.default_rng(8).normal(size=X.shape).astype(np.float32)
    sign, integer = np.array(True), np.array(2)
    for rounding in ("RND", "TRN", "RND_CONV"):
        build = Builder((x,))
        fixed = ops.FixedPoint(sign, integer, np.arange(1, 6), rounding, "WRAP")
        ref = build.add(conv(), build.add(fixed, Ref(-1)))
        build.add(ops.ReduceSum(axes=(1,)), ref)
        assert is_exact(c_program(captured(build, x)), tmp_path)


def test_branches(tmp_path):
    build = Builder((X,))
    half = build.add(ops.Affine(gain=0.5, offset=0.0), Ref(-1))
    joined = build.add(ops.Concat(axis=1), Ref(-1), half)
    most = build.add(ops.Max(), Ref(-1), half)
    least = build.add(ops.Min(), most, half, np.float32(0.75))
    build.ended(joined, least)
    assert is_exact(c_program(captured(build, X)), tmp_path)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_roundings_of_every_tie(rounding):
    codes = np.arange(-40, 41)
    for shift in (-2, 0, 1, 3):
        op = ops.FixedPoint(np.array(True), np.array(12), np.array(0), rounding, "SAT")
        theirs = op.f(codes * 2.0**-shift)
        assert np.array_equal(rounded(codes, np.array(shift), rounding), theirs)


def test_a_program_finds_another_kernel(tmp_path):
    text = c_program(single(conv()))
    (first,) = re.findall(r"kernel\[96\] = \{\n  (-?\d+),", text)
    status, told = ran(text.replace(f"= {{\n  {first},", f"= {{\n  {int(first) + 1},", 1), tmp_path)
    assert status == 1 and "sums: 0 of" not in told


def test_the_format_of_an_input_and_the_width_of_sums():
    known = InputFormat(-5, -512, 511, "what quantized_bits(10, 4) gives")
    text = " ".join(c_program(single(conv()), formats=[known]).split())
    assert "integer * 2^-5 (5 bits behind the point), from -512 to 511 (what quantized_bits" in text
    assert "the fewest bits that hold this input" not in text
    assert re.search(r"accumulator needs up to \d\d bits in the worst case; int32_t", text)


def test_what_made_the_input_tells_its_format():
    first = replace(single(ops.QuantizedRelu(bits=6, integer=2)), layer="relu")
    pool = single(ops.MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)))
    pool = replace(pool, layer="pool", inputs=first.outputs, made_by=(CallOutput("relu", 0, 0),))
    last = replace(single(conv()), made_by=(CallOutput("pool", 0, 0),))
    calls = {call.key: call for call in (first, pool, last)}
    assert input_formats(last, calls) == (InputFormat(-4, 0, 63, "what pool can give"),)
    del calls["relu", 0]
    assert input_formats(last, calls) == (None,)


def scaled(scale):
    values = np.full((4, 4, 1, 1), 3 * scale, np.float32)
    kernel = Weight("kernel", values, values, grid=Grid(np.asarray(scale, np.float32), 4))
    return ops.Conv(kernel, None, (1, 1), ((0, 0), (0, 0)), (1, 1))


def plain():
    values = np.random.default_rng(3).normal(size=(4, 4, 1, 1)).astype(np.float32)
    return ops.Conv(Weight("kernel", values, values), None, (1, 1), ((0, 0), (0, 0)), (1, 1))


REFUSED = {
    "the scale 0.3\\d* of kernel is no power of two": [scaled(0.3)],
    "kernel, which is not quantised, is not fixed-point": [plain()],
    "a mean of 6 cells is no shift: 6 is no power of two": [
        ops.AveragePool((2, 3), (1, 1), ((0, 0), (0, 0)))
    ],
    "its alpha 0.3\\d* is no power of two": [ops.QuantizedBits(bits=4, alpha=0.3)],
    "its slope 0.3\\d* is no shift": [ops.QuantizedRelu(bits=4, negative_slope=0.3)],
    "its sums take up to 63 bits": [
        ops.FixedPoint(np.array(True), np.array(-9), np.array([58, 9, 9, 9, 9]), "TRN", "SAT")
    ],
    "no exact form in integers": [ops.Softmax(axis=1)],
    "Tanh has no form in integers": [ops.Tanh()],
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_with_the_reason(reason):
    with pytest.raises(BadInput, match=f"'layer' cannot be written as C in integers: .*{reason}"):
        c_program(single(*REFUSED[reason]))


def test_refused_where_float32_itself_rounds():
    x = np.array([[2.0**24 - 1, 2.0]], np.float32)
    build = Builder((x,))
    ones = np.ones((2, 1), np.float32)
    build.add(ops.MatMul(Weight("w", ones * 3, ones * 3), None), Ref(-1))
    with pytest.raises(BadInput, match="framework's own output is another at 1 of 1 elements"):
        c_program(captured(build, x))


def test_names_out_of_a_file_stay_comments_and_identifiers(tmp_path):
    name = "*/ int main(void) { return 7; } /*\nnames\\"
    kernel = grid(np.random.default_rng(0), (4, 2, 1, 1), 2, 3, name)
    build = Builder((X,))
    build.add(ops.Conv(kernel, None, (1, 1), ((0, 0), (0, 0)), (1, 1), 2), Ref(-1))
    made = captured(build, X)
    hostile = Capture(name, name, 0, made.inputs, made.outputs, "float32", made.description)
    assert is_exact(c_program(hostile, name, name), tmp_path)
    assert "??/" not in c_program(replace(hostile, layer="a??/" * 40))  # a backslash in C99


def test_an_array_is_called_as_no_variable_of_a_function(tmp_path):
    rng = np.random.default_rng(0)
    steps = [ops.Conv(grid(rng, (4, 4, 2, 2), 2, 3, name), **CELLS) for name in "ijk"]
    assert is_exact(c_program(single(*steps)), tmp_path)
    build = Builder((X,))
    other = build.add(ops.Affine(gain=-0.5, offset=0.25), Ref(-1))
    larger = build.add(ops.Max(), Ref(-1), other)
    build.add(ops.MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)), larger)
    assert is_exact(c_program(captured(build, X)), tmp_path)


CELLS = {"bias": None, "strides": (1, 1), "pads": ((0, 0), (0, 0)), "dilations": (1, 1)}
WIDE = np.array([[2.0**33 + 2.0**13, -(2.0**33), 2.0**13]], np.float32)
FAR = np.array([[0.125, 0.625, 0.25]], np.float32)


@pytest.mark.parametrize(
    "op", [ops.Concat(axis=1), ops.Max(), ops.Min()], ids=lambda op: type(op).__name__
)
def test_what_is_brought_to_one_point_is_widened_before(tmp_path, op):
    build = Builder((WIDE, FAR))
    build.add(op, Ref(-1), Ref(-1, 1))
    assert is_exact(c_program(captured(build, WIDE, FAR)), tmp_path)


def test_bounds_and_biases_are_widened_before_they_are_moved(tmp_path):
    x = np.array([[2.0**22 + 1, 3, -5]], np.float32)
    build = Builder((x,))
    build.add(ops.Clip(low=0.0, high=2.0**-10), Ref(-1))
    assert is_exact(c_program(captured(build, x)), tmp_path)
    x = np.array([[2.0**-12, 0], [1, 1]], np.float32)
    weight = np.array([[1, 0], [2.0**-15, 2.0**-15]], np.float32)
    bias = np.array([100, -36], np.float32)
    build = Builder((x,))
    build.add(ops.MatMul(Weight("w", weight, weight), Weight("b", bias, bias)), Ref(-1))
    assert is_exact(c_program(captured(build, x)), tmp_path)


def test_numbers_too_far_from_each_other_are_refused():
    near, far = FAR, FAR * np.float32(2.0**-100)
    for op in (ops.Add(), ops.Concat(axis=1), ops.Max()):
        build = Builder((near, far))
        build.add(op, Ref(-1), Ref(-1, 1))
        with pytest.raises(BadInput, match="brought to one point, take more than 64 bits"):
            c_program(captured(build, near, far))


def test_a_call_that_many_ways_lead_to_is_written_once(monkeypatch):
    """Twenty sums of a branch with itself: a million ways to the first."""
    first = replace(single(ops.QuantizedRelu(bits=4, integer=2)), layer="0")
    calls, runs = {first.key: first}, []
    for place in range(20):
        build = Builder((X, X))
        build.add(ops.Max(), Ref(-1), Ref(-1, 1))
        made = (CallOutput(str(place), 0, 0),) * 2
        call = captured(build, *first.outputs * 2)
        call = replace(call, layer=str(place + 1), made_by=made)
        calls[call.key] = call
    run = CProgram.run
    monkeypatch.setattr(CProgram, "run", lambda self, formats: runs.append(1) or run(self, formats))
    last = replace(single(conv()), made_by=(CallOutput("20", 0, 0),))
    assert input_formats(last, calls) == (InputFormat(-2, 0, 15, "what 20 can give"),)
    assert len(runs) == len(calls)


def test_a_program_of_a_long_name_is_known_as_ours(tmp_path):
    path = tmp_path / "layer.c"
    named = replace(single(ops.Relu()), layer="a/" * 60)
    path.write_text(c_program(named), encoding="utf-8")
    refuse_script(path)
