"""The arrays of a report in a file: .npz, a C header, or numbers a line each."""

from collections.abc import Collection, Iterator
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from probe import printable
from probe.errors import BadInput
from probe.files import atomic_write
from probe.report.blocks import arrays
from probe.report.c_header import header, listing

if TYPE_CHECKING:
    from probe.report import Report

__all__ = ["refuse_ending", "save", "write_npz"]


def refuse_ending(path: str | Path) -> None:
    """Raises BadInput where the name does not say which of the forms to write."""
    if atomic_write.named(path).suffix not in (".npz", ".h", ".txt"):
        raise BadInput(f"a report is saved as .npz, .h or .txt; {path} has none of these suffixes")


def save(report: "Report", path: str | Path) -> None:
    """Writes what a test bench needs, whole or not at all (``writing``): a C header (.h), numbers a
    line each (.txt), or an .npz.

    The .npz holds ``input_0``, ``framework_0``, ``numpy_0``, …, ``stored:NAME`` and
    ``effective:NAME``, and for quantised weights ``integer:NAME``, ``scale:NAME``,
    ``zero_point:NAME`` and ``bits:NAME``; ``recovered:NAME`` where weights were solved for. Of a
    layer that gives codes also ``scale:output_0``, ``zero_point:output_0``, … and what its steps
    compute with: ``number:requantize_multiplier``, ``number:requantize_shift``, …
    """
    refuse_ending(path)
    suffix = Path(path).suffix
    if suffix == ".npz":
        atomic_write.write(path, partial(write_npz, report), [report.source])
        return
    text = header(report) if suffix == ".h" else listing(report)
    atomic_write.write(path, lambda file: file.write(text.encode()), [report.source])


def write_npz(report: "Report", file: IO[bytes]) -> None:
    """Writes the arrays of ``save`` into an open file."""
    named: dict[str, np.ndarray] = {}
    for name, array in _arrays(report):
        named[_unused(printable.line(name), named)] = array
    np.savez(file, **named)  # type: ignore[arg-type]


def _arrays(report: "Report") -> Iterator[tuple[str, np.ndarray]]:
    for number, array in enumerate(report.inputs):
        yield f"input_{number}", array
    for party, output in report.outputs.items():
        for number, values in enumerate(arrays(output)):
            if values is not None:
                yield f"{party}_{number}", values
    for name, weight in report.weights.items():
        yield f"effective:{name}", weight.effective
        if weight.stored is not None:
            yield f"stored:{name}", weight.stored
        yield from ((f"part:{name}:{part}", values) for part, values in weight.parts.items())
        if weight.grid is not None:
            yield f"integer:{name}", weight.grid.integers(weight.effective)
            yield f"scale:{name}", np.asarray(weight.grid.scale)
            yield f"zero_point:{name}", np.asarray(weight.grid.zero_point)
            yield f"bits:{name}", np.asarray(weight.grid.bits)
    for kind, grids in (("input", report.input_grids), ("output", report.output_grids)):
        for number, grid in enumerate(grids):
            if grid is not None:
                yield f"scale:{kind}_{number}", np.asarray(grid.scale)
                yield f"zero_point:{kind}_{number}", np.asarray(grid.zero_point)
    yield from ((f"number:{name}", values) for name, values in report.numbers.items())
    for finding in report.findings[:1]:
        yield from ((f"recovered:{name}", values) for name, values in finding.recovered.items())


def _unused(name: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken: names may differ in what is not shown of them."""
    numbered = (f"{name} ({number})" for number in count(2))
    return next(key for key in chain([name], numbered) if key not in taken)
