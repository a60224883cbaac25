"""The program of a layer: its tables, a function for each step, and the comparison with what the
framework gave."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from probe import printable
from probe.by_hand.c.integers import Integers, NotFixedPoint, dyadic, narrowest, width
from probe.by_hand.c.registry import FILES, REASONS, WRITERS
from probe.by_hand.c.text import axis_letters, comment, indented, nest, numbers, point, told
from probe.errors import BadInput
from probe.model import Capture
from probe.ops.step import Ref
from probe.ops.weight import Weight
from probe.report.c_identifiers import identifiers

__all__ = ["FIRST_WORDS", "CProgram", "InputFormat", "c_program"]

FIRST_WORDS = "/* Written by probe:"
"""What the first line of every program begins with, by which it is known as ours."""

_INPUT_BITS, _WEIGHT_BITS, _GRID_BITS, _FLOAT_BITS = 24, 16, 32, 60
"""The most bits of an input, of a weight without a grid, of one with it, and of an input that the
layer itself brings to levels first."""
_MOST = 1 << 20
"""So many numbers a program may hold."""


@dataclass(frozen=True)
class InputFormat:
    """What is known of the numbers of an input beside those that are there: multiples of
    2**exponent from low to high, by what made them."""

    exponent: int
    low: int
    high: int
    words: str


_LOCALS = (
    *"main n b c h w d o p q r i j k u v s sum largest level rest low high back differing".split(),
    *axis_letters(32),
)
"""What functions of the program call things of their own, which no array may be called."""


class CProgram:
    """A program under construction: what the functions that write ops ask for and tell."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._names: list[str] = [*_LOCALS]
        self._tables: list[str] = []
        self._functions: list[str] = []
        self.calls: list[str] = []
        self._weights: dict[str, tuple[str, np.ndarray, int]] = {}
        self._held = 0

    def name(self, hint: str) -> str:
        """An identifier of C that nothing has."""
        (word,) = identifiers([hint], self._names)
        self._names.append(word)
        return word

    # Arrays

    def table(self, hint: str, codes: np.ndarray, words: str) -> str:
        """Integers that stand in the program, as they lie in memory."""
        self._hold(codes.size)
        name = self.name(hint)
        ctype = narrowest(int(codes.min()), int(codes.max()))
        self._tables += [
            *comment(f"{name}: {words}"),
            f"static const {ctype} {name}[{codes.size}] = {{",
            *numbers(codes),
            "};",
            "",
        ]
        return name

    def weight(self, weight: Weight) -> Integers:
        """A weight in the op's layout; the table holds it in the framework's."""
        codes, exponent = _codes(weight)
        known = self._weights.get(weight.name)
        if known is None or not np.array_equal(known[1], codes):
            steps = "".join(f"; {step}" for step in weight.steps)
            words = f"{told(codes.shape)}, {point(exponent)}{steps}"
            known = self.table(weight.name, codes, words), codes, exponent
            self._weights[weight.name] = known
        view = weight.to_op(known[1])
        if not np.may_share_memory(view, known[1]):
            words = f"{weight.name} as {told(view.shape)}, {point(exponent)}"
            view = np.ascontiguousarray(view)
            known = self.table(weight.name, view, words), view, exponent
        low, high = int(view.min()), int(view.max())
        return Integers(known[0], view, exponent, low, high, tuple(range(view.ndim)))

    def made(
        self, hint: str, values: np.ndarray, exponent: int, bounds: tuple[int, int], like: Integers
    ) -> Integers:
        """An array that a step fills, whose axes lie in memory as those of ``like`` do."""
        self._hold(values.size)
        order = like.order
        if len(order) != values.ndim:
            order = tuple(range(values.ndim))
        memory = np.argsort(order)
        held = np.ascontiguousarray(values.transpose(memory)).astype(np.int64)
        view = held.transpose(order)
        name = self.name(hint)
        low, high = bounds
        data = width(int(values.min()), int(values.max()))
        self._functions += comment(
            f"{name} {told(held.shape)}, {point(exponent)}. {data} bits hold the numbers of this "
            f"input, {width(low, high)} bits those of any (from {low} to {high})."
        )
        self._functions += [f"static {narrowest(low, high)} {name}[{held.size}];", ""]
        return Integers(name, view, exponent, low, high, order)

    def _hold(self, count: int) -> None:
        if not count:
            raise NotFixedPoint("it has an array without elements")
        self._held += count
        if self._held > _MOST:
            raise NotFixedPoint(
                f"the program would hold more than {_MOST:,} numbers: give fewer samples"
            )

    # Functions

    def function(self, lines: Sequence[str], words: str = "") -> None:
        """A function that others call."""
        self._functions += [*(comment(words) if words else []), *lines, ""]

    def step(self, hint: str, lines: Sequence[str], words: str = "") -> None:
        """A function that main calls, with these lines as its body."""
        name = self.name(hint)
        self.function([f"static void {name}(void) {{", *indented(lines), "}"], words)
        self.calls.append(f"{name}();")

    # The whole

    def run(self, formats: Sequence[InputFormat | None]) -> tuple[Integers, ...]:
        """Writes every step that an output depends on; the layer's outputs."""
        try:
            return self._written(formats)
        except OverflowError:
            raise NotFixedPoint(
                "its numbers, brought to one point, take more than 64 bits"
            ) from None

    def _written(self, formats: Sequence[InputFormat | None]) -> tuple[Integers, ...]:
        capture = self._capture
        steps, values = capture.steps, dict[int, tuple[Integers, ...]]()
        needed, inputs = _needed(capture), dict[int, Integers]()
        for position in needed:
            step = steps[position]
            taken = []
            for ref in step.sources(position):
                if ref.step < 0 and ref.index not in inputs:
                    known = formats[ref.index] if ref.index < len(formats) else None
                    most = _FLOAT_BITS if _is_quantized(capture, ref.index, needed) else _INPUT_BITS
                    inputs[ref.index] = self._input(ref.index, known, most)
                taken.append(ref.of(inputs, [values.get(k, ()) for k in range(position)]))
            kind = type(step.op).__name__
            if kind in FILES:
                import_module(f"probe.by_hand.c.{FILES[kind]}")
            write = WRITERS.get(type(step.op))
            if write is None:
                raise NotFixedPoint(REASONS.get(kind, f"{kind} has no form in integers here"))
            made = write(step.op, self, *taken)
            values[position] = made if isinstance(made, tuple) else (made,)
        return values[len(steps) - 1]

    def _input(self, index: int, known: InputFormat | None, most: int) -> Integers:
        array = self._capture.inputs[index]
        what, names = f"input {index}", self._capture.input_names
        if index < len(names) and names[index]:
            what += f" ({names[index]})"
        codes, exponent = dyadic(array, what, most)
        low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
        words = "the fewest bits that hold this input: another may take more"
        bits = width(low, high)
        if low < 0:
            low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        else:
            high = 2**bits - 1
        if known is not None and known.exponent <= exponent:
            codes = codes * 2 ** (exponent - known.exponent)
            if known.low <= int(codes.min()) and int(codes.max()) <= known.high:
                exponent, low, high, words = known.exponent, known.low, known.high, known.words
        axes = self._capture.description.input_axes if self._capture.description else ()
        called = f": {', '.join(axes)}" if not index and len(axes) == array.ndim else ""
        shown = f"{told(codes.shape)}{called}, {point(exponent)}, from {low} to {high} ({words})"
        codes = np.ascontiguousarray(codes)
        name = self.table(f"input_{index}", codes, shown)
        return Integers(name, codes, exponent, low, high, tuple(range(array.ndim)))

    def text(self, title: Sequence[str], outputs: Sequence[Integers]) -> str:
        """The whole file."""
        compared = [
            line
            for k, output in enumerate(outputs)
            for line in self._compared(k, output, self._capture.outputs[k])
        ]
        lines = [
            *title,
            "#include <stdint.h>",
            "#include <stdio.h>",
            "",
            *self._tables,
            *self._functions,
            "int main(void) {",
            *indented(["int differing = 0;", *self.calls, *compared, "return differing > 0;"]),
            "}",
        ]
        return "\n".join([*lines, ""])

    def _compared(self, number: int, output: Integers, theirs: np.ndarray) -> Iterator[str]:
        """Compares an output, element by element, with the framework's as integers."""
        if theirs.shape != output.shape:
            raise NotFixedPoint(f"its output has the shape {theirs.shape}, not {output.shape}")
        exact = np.ldexp(theirs.astype(np.float64), -output.exponent)
        off = int(np.sum(exact != output.values))
        if off:
            raise NotFixedPoint(
                f"the framework's own output is another at {off} of {exact.size} elements: float32 "
                "rounds what takes more than 24 bits"
            )
        codes = exact.astype(np.int64)
        name = self.table(f"framework_{number}", codes, "the framework's output, in the same form")
        view = Integers(name, codes, output.exponent, 0, 0, tuple(range(codes.ndim)))
        letters, sizes = axis_letters(codes.ndim), codes.shape
        at = f"{output.at(letters)} != {view.at(letters)}"
        if output.is_flat and output.values.flags.c_contiguous:
            letters, sizes = ("n",), (codes.size,)
            at = f"{output.name}[n] != {name}[n]"
        yield f"int differing_{number} = 0;"
        yield from nest(zip(letters, sizes, strict=True), [f"differing_{number} += {at};"])
        yield (
            f'printf("{output.name}: %d of {codes.size} elements differ from the framework\\n", '
            f"differing_{number});"
        )
        yield f"differing += differing_{number};"


def c_program(
    capture: Capture,
    source: str = "",
    framework: str = "",
    formats: Sequence[InputFormat | None] = (),
) -> str:
    """A call of a layer as a C99 program in integers that gives the framework's output bit for bit.

    ``formats`` are what is known of the inputs. BadInput where a scale is no power of two, or an op
    has no form in integers.
    """
    layer = capture.layer or "the model"
    of = f" of {source}" if source else ""
    title = [
        *comment(
            f"Written by probe: {layer} ({capture.kind}){of}, by hand, in C99 and in integers."
        ),
        "",
        *comment(
            "Each value is the integer that stands for it times a power of two that is fixed for "
            "its array: with integer * 2^-4 the point lies 4 bits from the right. Arrays lie in "
            f"the layout of {framework}, row by row. x >> n rounds down where x is negative too, "
            "as compilers have it."
        ),
        "",
        *comment("cc -std=c99 FILE.c && ./a.out exits with 0 where every element is equal."),
        "",
    ]
    try:
        if capture.description is None:
            raise NotFixedPoint(capture.why)
        program = CProgram(capture)
        return program.text(title, program.run(formats))
    except NotFixedPoint as reason:
        text = printable.sentence(f"{layer!r} cannot be written as C in integers: {reason}")
        raise BadInput(text) from None


def _needed(capture: Capture) -> list[int]:
    """The steps that the outputs depend on."""
    last = len(capture.steps) - 1
    found, left = set[int](), [Ref(last)]
    while left:
        ref = left.pop()
        if ref.step >= 0 and ref.step not in found:
            found.add(ref.step)
            left += capture.steps[ref.step].sources(ref.step)
    return sorted(found)


def _is_quantized(capture: Capture, index: int, needed: Sequence[int]) -> bool:
    """Whether all that is done to an input is that it is brought to levels."""
    takers = [
        capture.steps[position].op
        for position in needed
        for ref in capture.steps[position].sources(position)
        if ref.step < 0 and ref.index == index
    ]
    return all(FILES.get(type(op).__name__) == "levels" for op in takers)


def _codes(weight: Weight) -> tuple[np.ndarray, int]:
    """The effective values as integers, in the framework's layout."""
    effective, most = np.ascontiguousarray(weight.effective), _WEIGHT_BITS
    if weight.grid is not None:
        scales = np.ravel(weight.grid.scale)
        uneven = [scale for scale in scales if np.frexp(abs(float(scale)))[0] != 0.5]
        if uneven:
            raise NotFixedPoint(
                f"the scale {float(uneven[0]):.9g} of {weight.name} is no power of two: a product "
                "with it is no shift"
            )
        most = _GRID_BITS
    elif not weight.steps:
        what = f"{weight.name}, which is not quantised,"
        return dyadic(effective, what, most)
    return dyadic(effective, weight.name, most)
