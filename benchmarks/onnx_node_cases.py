"""How much of ONNX is checked: the ONNX project's own node cases, each swept on its own input
through the public API.

A case is a model of one node, or of the function that an operator stands for; those on strings,
sequences and optionals are left out. It counts where ONNX Runtime runs it from NumPy arrays, and is
checked where every layer of it agrees.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import probe
from probe.errors import ProbeError


@dataclass(frozen=True)
class Found:
    """What was said of one case: "agree", "diverge", "unchecked", or "left out", and of which
    operator, why."""

    case: str
    said: str
    kind: str = ""
    why: str = ""


def cases() -> Iterator[tuple[str, onnx.ModelProto, list[Any]]]:
    """Name, model and inputs of each; sequences and optionals stay as they are."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cases overflow and divide by zero on purpose
        found = collect_testcases(None)
    for case in found:
        inputs, _ = case.data_sets[0]
        yield (
            case.name,
            case.model,
            [numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x for x in inputs],
        )


def refused(model: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> str:
    """Why ONNX Runtime alone does not run a case; empty where it does."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        session.run(None, {one.name: x for one, x in zip(model.graph.input, inputs, strict=True)})
    except Exception as error:  # it has dozens of classes of them
        return f"ONNX Runtime: {' '.join(str(error).split())}"
    return ""


def swept(name: str, model: onnx.ModelProto, inputs: list[Any]) -> Found:
    """What is said of the first layer that does not agree."""
    if not all(isinstance(x, np.ndarray | np.generic) and x.dtype != object for x in inputs):
        return Found(name, "left out", "", "strings, sequences or optionals")
    kind = model.graph.node[0].op_type
    given = [np.asarray(x) for x in inputs]
    try:
        reports = list(probe.sweep(model, given)) if given else []
    except ProbeError as error:
        reason = refused(model, given)
        return (
            Found(name, "left out", kind, reason)
            if reason
            else Found(name, "unchecked", kind, str(error))
        )
    for said in ("diverge", "unchecked"):
        for report in reports:
            if report.verdict == said:
                return Found(name, said, report.kind, report.sentence)
    return Found(
        name,
        "agree" if reports else "left out",
        kind,
        "" if reports else "nothing in it follows from an input",
    )


def table(rows: Iterable[Found]) -> str:
    """Operators and reasons, the most frequent first."""
    counted = Counter(
        (one.kind, one.why.removeprefix(f"{one.said}: ")) for one in rows
    ).most_common()
    return "\n".join(
        [
            "| cases | operator | why |",
            "|---|---|---|",
            *(f"| {count} | {kind} | {why} |" for (kind, why), count in counted),
        ]
    )


def main(pattern: str = "") -> int:
    """All of them, written to RESULTS.md; or those whose name fits a shell pattern, one a line."""
    found = [swept(*case) for case in cases() if fnmatch(case[0], pattern or "*")]
    said = Counter(one.said for one in found)
    run = len(found) - said["left out"]
    share = f"{said['agree'] / max(1, run):.1%}"
    line = (
        f"{run} cases run: {said['agree']} agree ({share}), {said['diverge']} diverge, "
        f"{said['unchecked']} unchecked"
    )
    if pattern:
        print(*(f"{one.said}: {one.case} ({one.kind}): {one.why}" for one in found), line, sep="\n")
        return 0
    from results import keep, machine

    rest = {
        kind: table(one for one in found if one.said == kind) for kind in ("diverge", "unchecked")
    }
    keep(
        "ONNX node cases",
        "Written by `python benchmarks/onnx_node_cases.py`: "
        f"{machine('numpy', 'onnx', 'onnxruntime')}.\n"
        f"{(__doc__ or '').partition(chr(10) * 2)[2].strip()}\n\n{line}.\n\n"
        f"Diverge:\n\n{rest['diverge']}\n\nUnchecked:\n\n{rest['unchecked']}",
    )
    print(line)
    return 1 if said["diverge"] else 0


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))
    sys.exit(main(*sys.argv[1:]))
