"""A checked call as two files: the script, and the arrays that it loads."""

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np

from probe.by_hand.c.input_formats import input_formats
from probe.by_hand.c.program import FIRST_WORDS, c_program
from probe.by_hand.script import Computation
from probe.by_hand.script_file import FIRST_LINE_ENDS, ScriptTitle, arrays_of, file_text
from probe.by_hand.syntax import refuse_foreign
from probe.by_hand.trial import tried
from probe.errors import BadInput, Undescribed
from probe.files import atomic_write
from probe.files.regular_file import exists, open_file
from probe.model import Capture
from probe.report import Report
from probe.report.blocks import arrays

__all__ = [
    *("C", "ScriptFiles", "refuse_script", "script_files", "targets_of", "write_c"),
    "write_script",
]

C = ".c"
"""The suffix of a program in C."""
_MARK = "allowance_0.npy"
"""What the .npz of every script holds, and no file that is not one."""


class ScriptFiles(NamedTuple):
    """The text of a script, and its arrays by their names in the .npz."""

    text: str
    arrays: dict[str, np.ndarray]

    def write_npz(self, file: IO[bytes]) -> None:
        """Writes the arrays into an open file."""
        np.savez(file, **self.arrays)  # type: ignore[arg-type]


def refuse_script(path: str | Path, reading: Iterable[object] = ()) -> None:
    """Raises BadInput where a script cannot be written there: over a file that is not one of ours,
    or one that is being read."""
    path = atomic_write.named(path)
    if path.suffix not in (".py", C):
        raise BadInput(
            f"a layer by hand is written as .py, or in integers as .c; {path} has neither suffix"
        )
    reading = list(reading)
    for target in targets_of(path):
        atomic_write.target_of(target, reading)
        if exists(target) and not _OURS[target.suffix](target):
            raise BadInput(
                f"{target} is not a file that probe wrote for a script: give another name"
            )


def targets_of(path: str | Path) -> list[Path]:
    """The files that are written: a script and its arrays, or a program in C alone."""
    path = Path(path)
    if path.suffix == C:
        return [path]
    return [path, path.with_suffix(".npz")]


def _is_c(path: Path) -> bool:
    with open_file(path, "a program", BadInput) as file:
        return file.readline(10_000).startswith(FIRST_WORDS.encode())


def _is_script(path: Path) -> bool:
    with open_file(path, "a script", BadInput) as file:
        first = file.readline(10_000).rstrip()
    return first.startswith(b'"""') and first.endswith(FIRST_LINE_ENDS.encode())


def _is_of_script(path: Path) -> bool:
    try:
        with open_file(path, "a script's arrays", BadInput) as file, ZipFile(file) as archive:
            return _MARK in archive.namelist()
    except (BadZipFile, OSError):
        return False


_OURS = {".py": _is_script, ".npz": _is_of_script, C: _is_c}
"""What tells a file of ours, by its suffix."""


def write_c(
    path: str | Path,
    capture: Capture,
    report: Report,
    calls: Mapping[tuple[str, int], Capture],
    reading: Iterable[object] = (),
) -> None:
    """Writes a call as a C program in integers; ``calls`` are the others of the pass. Raises
    BadInput where it is no fixed-point layer."""
    # the pass of the layer alone does not tell what made its inputs
    formats = input_formats(calls.get(capture.key, capture), calls)
    text = c_program(capture, report.source, report.framework, formats)
    reading = list(reading)
    refuse_script(path, reading)
    atomic_write.write(Path(path), lambda file: file.write(text.encode()), reading)


def write_script(path: str | Path, files: ScriptFiles, reading: Iterable[object] = ()) -> None:
    """Writes both files, each whole or not at all: the arrays first, without which the script says
    that they are missing."""
    path, reading = Path(path), list(reading)
    refuse_script(path, reading)
    atomic_write.write(path.with_suffix(".npz"), files.write_npz, reading)
    atomic_write.write(path, lambda file: file.write(files.text.encode()), reading)


def script_files(
    capture: Capture,
    report: Report,
    inputs: Sequence[np.ndarray],
    values: Sequence[Sequence[np.ndarray]],
) -> ScriptFiles:
    """The files of a call: ``inputs`` as its steps take them, and what every step made of them in
    NumPy. Raises Undescribed where the call cannot be written."""
    if capture.description is None or "framework" not in report.held:
        why = capture.why or "it was not computed in NumPy"
        raise Undescribed(f"{capture.layer!r} cannot be written by hand: {why}")
    found = tried(computation_of(capture, inputs, values))
    title = ScriptTitle(capture.layer, capture.kind, report.source, report.framework)
    mistake = report.findings[0].lines if report.findings else ()
    text = file_text(found.script, title, found.warns, mistake)
    refuse_foreign(ast.parse(text))
    framework = [np.asarray(array) for array in arrays(report.outputs["framework"])]
    return ScriptFiles(text, {**arrays_of(found.script, framework, _allowances(report, values))})


def computation_of(
    capture: Capture, inputs: Sequence[np.ndarray], values: Sequence[Sequence[np.ndarray]]
) -> Computation:
    """A call as what a script is written of."""
    description = capture.description
    assert description is not None
    notes = [""] * len(inputs)
    for taken in description.taken:
        notes[taken.input] = taken.why
    return Computation(
        description.steps,
        inputs,
        values,
        capture.names_of_inputs(len(inputs)),
        tuple(notes),
        description.input_axes,
        description.output_names,
        description.sites,
        tuple(_line(capture, site.part) for site in description.sites),
    )


def _line(capture: Capture, part: int) -> int | None:
    """The source line of the model's own that makes one of a block's calls."""
    if not 0 <= part < len(capture.parts):
        return None
    return capture.parts[part].capture.line


def _allowances(report: Report, values: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """How far each output may lie from the script's, whose values are NumPy's: what the framework
    was held against may be another path, or infinite beyond the range of its dtype."""
    held = report.held["framework"]
    found = []
    for path, allowance, value in zip(held.reference, held.allowance, values[-1], strict=True):
        with np.errstate(all="ignore"):
            apart = np.abs(np.subtract(path, value, dtype=np.float64))
            total = allowance + np.where(np.isnan(apart), 0.0, apart)
        found.append(_narrow(total) if report.dtype != "float64" else total)
    return found


def _narrow(allowance: np.ndarray) -> np.ndarray:
    """In float32, rounded up: half as many bytes."""
    with np.errstate(over="ignore"):
        return np.nextafter(allowance.astype(np.float32), np.float32(np.inf))
