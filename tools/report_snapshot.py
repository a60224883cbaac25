"""Writes reports as JSON, to hold a change that must not change them against the code before it:

    python tools/report_snapshot.py before.jsonl     (in the one checkout)
    python tools/report_snapshot.py after.jsonl      (in the other)
    python tools/report_snapshot.py before.jsonl after.jsonl     (prints what differs)

The reports are those of the models of examples/ (a sweep of each, and the two compared), of the
layers and operators of tests/support, agreeing and with the output negated, and of every
``--every``-th port of corpora/ports. ``--parts`` takes some of these. A report that raises counts
as its error. Each checkout is run in an environment in which it is installed.
"""

import os

os.environ |= {
    "TF_USE_LEGACY_KERAS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import numpy as np
import probe.adapters

import probe

Reports = Iterator[tuple[str, Callable[[], Any]]]
"""Names, and what makes the report of each."""


def examples() -> Reports:
    folder = ROOT / "examples"
    x = np.load(folder / "digits.npy")[:4]
    keras_model = probe.open_model(folder / "digits.keras")
    qkeras_model = probe.open_model(folder / "digits_qkeras.h5")
    for name, model in (("keras", keras_model), ("qkeras", qkeras_model)):
        for report in list(probe.sweep(model, x)):
            yield f"examples/{name}/{report.layer}/{report.call}", report_itself(report)
            if report.layer:
                yield (
                    f"examples/{name}/{report.layer}/{report.call}/explained",
                    lambda model=model, report=report: probe.explain(
                        model, report.layer, x, at=last(report.outputs["framework"].shape)
                    ),
                )
    yield "examples/compare", lambda: probe.compare(keras_model, qkeras_model, x)


def report_itself(report: Any) -> Callable[[], Any]:
    return lambda: report


def layers() -> Reports:
    """Layers alone, with inputs of their own."""
    import explained_cases
    import keras
    import keras_cases
    import torch
    import transformers_cases

    for name, layer, shapes in (parameter.values for parameter in explained_cases.LAYERS):
        inputs = list(explained_cases.drawn(layer, shapes))
        own = "" if isinstance(layer, torch.nn.Module) else layer.name
        family = type(layer).__module__.partition(".")[0]
        yield from judged(f"layers/{family}/{name}/{shapes}", layer, own, inputs)
    for name in keras_cases.names():
        keras.utils.set_random_seed(0)
        built = keras_cases.build(keras, name)
        if built is not None:
            layer, arrays = built
            yield from judged(f"layers/keras_cases/{name}", layer, layer.name, arrays)
    for name, case in transformers_cases.CASES.items():
        yield f"layers/transformers/{name}", lambda case=case: whole(transformers_cases.build(case))


def whole(module: Any) -> Any:
    """The report of the whole module on tokens; most of them take these."""
    return probe.check(module, "", np.arange(1, 9)[None])


def judged(name: str, layer: Any, own: str, inputs: list[np.ndarray]) -> Reports:
    """The report of a layer, of its output negated, and its explanation."""

    def output() -> np.ndarray:
        values = probe.check(layer, own, given=inputs, search=False).outputs["framework"]
        return np.asarray(values[0] if isinstance(values, tuple) else values, np.float64)

    yield name, lambda: probe.check(layer, own, given=inputs)
    yield f"{name}/negated", lambda: probe.check(layer, own, given=inputs, expected=-output())
    yield (
        f"{name}/explained",
        lambda: probe.explain(layer, own, given=inputs, at=last(output().shape)),
    )


def last(shape: Sequence[int]) -> list[int]:
    return [size - 1 for size in shape]


def operators() -> Reports:
    import onnx_cases

    for at, (kind, values, attributes) in enumerate(onnx_cases.CASES):
        model, inputs = onnx_cases.single(kind, values, attributes)
        yield (
            f"operators/{at}/{kind}",
            (lambda model=model, inputs=inputs: probe.check(model, "node", inputs)),
        )


def ports(every: int) -> Reports:
    from corpora.ports import FAMILIES, cases_of
    from corpora.ports.case import inputs_of

    number = 0
    for family in FAMILIES:
        for case in cases_of(family):
            model, x = case.build()
            mistakes = {name: mistake.port for name, mistake in case.wrong.items()}
            for name, port in {"right": case.right, **mistakes}.items():
                number += 1
                if number % every == 0:
                    yield (
                        f"ports/{family}/{case.name}/{name}",
                        (
                            lambda model=model, case=case, x=x, port=port: probe.check(
                                model, case.layer, inputs_of(x), expected=port(model, x)
                            )
                        ),
                    )


PARTS: dict[str, Callable[[int], Reports]] = {
    "examples": lambda every: examples(),
    "layers": lambda every: layers(),
    "operators": lambda every: operators(),
    "ports": ports,
}


def as_json(make: Callable[[], Any]) -> Any:
    try:
        return json.loads(make().to_json())
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def differences(before: Path, after: Path) -> list[str]:
    """The names of reports that are in one file alone or differ, with the first keys that do."""
    reports = [
        {line["name"]: line["report"] for line in map(json.loads, path.open(encoding="utf-8"))}
        for path in (before, after)
    ]
    found = []
    for name in sorted({*reports[0], *reports[1]}):
        first, second = (of.get(name) for of in reports)
        if first is None or second is None:
            found.append(f"{name}: in {before if second is None else after} alone")
        elif first != second:
            keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
            found.append(f"{name}: {', '.join(keys)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("other", type=Path, nargs="?", help="hold this file against the first")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--every", type=int, default=4, help="one of so many ports (default: 4)")
    options = parser.parse_args()
    if options.other is not None:
        found = differences(options.file, options.other)
        print(*found, sep="\n")
        print(f"{len(found)} reports differ")
        return int(bool(found))
    adapters = Path(probe.adapters.__file__).resolve().parent
    if adapters != ROOT / "adapters":
        parser.error(f"the adapters are those of {adapters}: install this checkout, {ROOT}")
    warnings.simplefilter("ignore")
    with options.file.open("w", encoding="utf-8") as file:
        for part in options.parts:
            for name, make in PARTS[part](options.every):
                file.write(json.dumps({"name": name, "report": as_json(make)}) + "\n")
                file.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
