"""The smallest thing that shows what was found in one call, for an issue tracker: its recording,
every party's values, scripts that need NumPy alone, one of which computes the layer, and a model of
the one layer."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from probe import __version__, command_line, printable
from probe.by_hand.write import script_files
from probe.capture.passes import captured
from probe.capture.question import Question
from probe.errors import BadInput, Undescribed
from probe.evaluation.onnxruntime_reference import layer_model
from probe.evaluation.reference import inputs_of, values_of
from probe.files import atomic_write
from probe.model import Capture, Model
from probe.report import PARTIES, Report
from probe.report.blocks import LABELS, arrays
from probe.report.markdown import escaped, fenced
from probe.report.saving import write_npz

__all__ = ["CALL", "refuse_folder", "reproduce"]

CALL, VALUES, SCRIPT = "call.npz", "values.npz", "show.py"
MODEL, README = "layer.onnx", "README.md"
BY_HAND, BY_HAND_ARRAYS = "layer.py", "layer.npz"


def refuse_folder(folder: Path) -> None:
    """Makes the folder; BadInput where it holds anything that is not ours."""
    ours = {CALL, VALUES, SCRIPT, BY_HAND, BY_HAND_ARRAYS, MODEL, README}
    atomic_write.refuse_others(folder, ours)


def reproduce(kept: Model, report: Report, folder: Path, command: str) -> tuple[str, ...]:
    """Writes what shows the report, whose call is recorded in ``folder``; the names of the
    files."""
    atomic_write.write_inside(folder, VALUES, partial(write_npz, report))
    (call,) = captured(kept, Question(report.layer, call=report.call)).calls
    names = [CALL, VALUES, SCRIPT, README]
    without = call.why
    if call.description is not None:
        steps, inputs = call.description.steps, inputs_of(call)
        try:
            content = layer_model(steps, inputs, values_of(call))
            atomic_write.write_inside(folder, MODEL, lambda file: file.write(content))
            names.append(MODEL)
        except Undescribed as error:
            without = str(error)
    by_hand = _write_by_hand(call, report, folder)
    names += by_hand
    for name, text in (
        (SCRIPT, _script(report)),
        (README, _readme(report, command, "" if MODEL in names else without, bool(by_hand))),
    ):
        data = text.encode()
        atomic_write.write_inside(folder, name, lambda file, data=data: file.write(data))  # type: ignore[misc]
    return tuple(names)


def _write_by_hand(call: Capture, report: Report, folder: Path) -> list[str]:
    """Writes the layer by hand, where it can be written; the names of the files."""
    inputs: Sequence[np.ndarray] = ()
    values: Sequence[Sequence[np.ndarray]] = ()
    if call.description is not None:
        inputs, values = inputs_of(call), values_of(call)
    try:
        files = script_files(call, report, inputs, values)
    except (BadInput, Undescribed):
        return []
    atomic_write.write_inside(folder, BY_HAND_ARRAYS, files.write_npz)
    atomic_write.write_inside(folder, BY_HAND, lambda file: file.write(files.text.encode()))
    return [BY_HAND, BY_HAND_ARRAYS]


def _worst(report: Report) -> tuple[tuple[str, str], int, tuple[int, ...]]:
    """The pair of parties that lies furthest apart, and where."""
    found = [compared for compared in report.comparisons.items() if compared[1].worst is not None]
    if not found:
        return ("framework", "framework"), 0, ()
    pair, comparison = max(found, key=lambda compared: (not compared[1].ok, compared[1].ratio))
    assert comparison.worst is not None
    return pair, comparison.worst.output, comparison.worst.index


def _script(report: Report) -> str:
    (left, right), output, index = _worst(report)
    shapes = _shapes(report, output)
    same = shapes.get(left) == shapes.get(right)
    lines = [
        f'"""{_plain(report.sentence)}"""',
        "",
        "import pathlib",
        "",
        "import numpy as np",
        "",
        f'values = np.load(pathlib.Path(__file__).parent / "{VALUES}")',
        f"worst = {index!r}",
        f"names = { {party: LABELS[party] for party in shapes}!r}",
        "for party in names:",
        f'    array = values[f"{{party}}_{output}"]',
        "    inside = len(worst) == array.ndim and all(map(int.__lt__, worst, array.shape))",
        '    print(f"{names[party]:<12}", array.shape, array[worst] if inside else "")',
    ]
    if same and left != right:
        lines += [
            f'left, right = (values[f"{{party}}_{output}"] for party in {(left, right)!r})',
            "apart = float(left[worst]) - float(right[worst])",
            f'print("{LABELS[left]} - {LABELS[right]} at", list(worst), apart)',
        ]
    return "\n".join([*lines, ""])


def _shapes(report: Report, output: int) -> Mapping[str, tuple[int, ...]]:
    """The parties that have this output."""
    found: dict[str, tuple[int, ...]] = {}
    for party in PARTIES:
        if party in report.outputs:
            held = arrays(report.outputs[party])
            shape = held[output] if output < len(held) else None
            if isinstance(shape, np.ndarray):
                found[party] = shape.shape
    return found


def _plain(text: str) -> str:
    return printable.line(text).replace("\\", "/").replace('"', "'")


def _readme(report: Report, command: str, without: str, by_hand: bool) -> str:
    model = f"`{MODEL}` is the layer alone in ONNX, with its weights (float32)."
    again = command_line.of_layer([CALL], report.layer, report.call)
    return "\n".join(
        [
            f"# {escaped(report.layer) or '(root)'} ({escaped(report.kind)})",
            "",
            escaped(report.sentence),
            "",
            f"- model: {escaped(report.source)}",
            f"- framework: {escaped(report.framework)}",
            f"- probe {__version__}, NumPy {np.__version__}",
            *(["- written by:", "", fenced(command, "sh")] if command else []),
            "",
            f"`python {SCRIPT}` needs only NumPy and prints every party's value at the worst",
            f"element, from `{VALUES}`.",
            *([f"`python {BY_HAND}` computes the layer again with NumPy alone."] * by_hand),
            *(["This checks the recorded call again without any framework:"] if again else []),
            *(["", fenced(again, "sh"), ""] if again else []),
            model if not without else f"There is no {MODEL}: {escaped(without)}",
            "",
            fenced(str(report)),
            "",
        ]
    )
