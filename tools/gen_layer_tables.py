"""The page docs/layers.md: every described class by framework, who computes it again, and which
options the tests have tried.

What was tried is what ``record_options.py`` has seen.
"""

import json

import keras
import tf_keras
import torch
from probe.adapters.keras.describe.described_classes import DESCRIBED
from probe.adapters.keras.describe.undescribed_classes import LEFT_OUT
from probe.adapters.onnx import described as onnx_described
from probe.adapters.onnx import undescribed_operators as onnx_left_out
from probe.adapters.torch.describe import undescribed_classes as torch_left_out
from probe.adapters.torch.describe.describe import described
from record_options import FILE

__all__ = ["left_out", "page", "tables"]

APPLICATIONS = ("CustomScaleLayer", "LayerScale", "StochasticDepth")
"""Of keras.applications in either Keras."""


def _tried() -> dict[str, dict[str, dict[str, list[str]]]]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def _row(name: str, marks: list[str], entries: list[dict[str, list[str]]]) -> str:
    parties = {party for entry in entries for party in entry["parties"]}
    options = sorted({option for entry in entries for option in entry["options"]})
    answers = ["yes" if party in parties else "" for party in ("numpy", "onnx")]
    return f"| {' | '.join([name, *marks, *answers, ', '.join(options)])} |"


def _table(title: str, columns: list[str], rows: list[str], what: str = "classes") -> str:
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([f"## {title}", "", f"{len(rows)} {what}.", "", *head, *rows])


def tables() -> str:
    """One table for Keras 3 and tf_keras, one for QKeras, one for torch.nn, one for ONNX."""
    tried = _tried()
    both: list[str] = []
    quantised: list[str] = []
    torch_rows: list[str] = []
    for name, module in sorted(DESCRIBED.items()):
        if name.endswith("Cell") and not _entries(tried, name, "keras", "tf_keras", "qkeras"):
            continue  # a part of the layers around it
        if module.startswith(".."):
            if module == "..qkeras":
                quantised.append(_row(name, [], _entries(tried, name, "qkeras")))
            continue
        marks = [
            "yes" if hasattr(space.layers, name) or name in APPLICATIONS else ""
            for space in (keras, tf_keras)
        ]
        if name == "GroupedQueryAttention":
            marks = ["yes", ""]
        both.append(_row(name, marks, _entries(tried, name, "keras", "tf_keras")))
    for name in described():
        torch_rows.append(_row(name, [], _entries(tried, name, "torch")))
    onnx_rows = [_row(name, [], _entries(tried, name, "onnx")) for name in onnx_described()]
    rest = ["numpy", "onnx", "options tried"]
    return "\n\n".join(
        [
            _table("Keras 3 and tf_keras", ["class", "Keras 3", "tf_keras", *rest], both),
            _table("QKeras", ["class", *rest], quantised),
            _table("PyTorch, torch.nn", ["class", *rest], torch_rows),
            _table("ONNX", ["operator", *rest], onnx_rows, "operators"),
        ]
    )


def _entries(tried: dict, name: str, *packages: str) -> list[dict[str, list[str]]]:
    return [tried[package][name] for package in packages if name in tried.get(package, {})]


def left_out() -> str:
    """What is exported as a layer and has no description, with the reason."""
    packages = {
        "keras.layers": LEFT_OUT["keras"],
        "tf_keras.layers": LEFT_OUT["tf_keras"],
        "qkeras": LEFT_OUT["qkeras"],
        "hgq.layers": LEFT_OUT["hgq"],
        "keras.ops": LEFT_OUT["keras.ops"],
    }
    packages["torch.nn"] = {
        name: why for name, why in torch_left_out.LEFT_OUT.items() if hasattr(torch.nn, name)
    }
    packages["onnx"] = onnx_left_out.LEFT_OUT
    rows = ["| from | class | why |", "|---|---|---|"]
    for package, reasons in packages.items():
        together: dict[str, list[str]] = {}
        for name, why in sorted(reasons.items()):
            together.setdefault(why, []).append(name)
        rows += [f"| {package} | {', '.join(names)} | {why} |" for why, names in together.items()]
    return "\n".join(rows)


def page() -> str:
    """docs/layers.md."""
    return "\n\n".join(
        [
            "# Layers",
            "For everybody who asks whether a layer can be checked. The first column is the class. "
            '"numpy" and "onnx" say who computes it again: NumPy and ONNX Runtime. "Options tried" '
            "are the options that the tests have set to other than their default. An option that "
            "is set in your model and that `probe` does not read leaves the layer unchecked, by "
            "the name of the option.",
            "A layer that is not listed here is followed through the operations that it makes; "
            "[own layers](own-layers.md) says how. Classes that are known and not described are in "
            "[the last table](#left-out), with the reason.",
            "This page is written by `python tools/gen_docs.py layers`.",
            tables(),
            "## Left out",
            f"{left_out()}\n",
        ]
    )
