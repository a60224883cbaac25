"""The index of the corpus: a line for each wrong port."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from corpora.ports import FAMILIES, HELD_OUT, cases_of
from corpora.ports.case import Case

PATH = Path(__file__).parent / "index.json"


def entries(family: str) -> Iterator[dict[str, Any]]:
    """What is known of each mistake of a family. Builds its models."""
    for case in cases_of(family):
        model, _ = case.build()
        for name, mistake in case.wrong.items():
            yield {
                "family": family,
                "case": case.name,
                "framework": "keras" if isinstance(model, keras.Model) else "torch",
                "layer": _kind(case, model),
                "mistake": name,
                "what": mistake.what,
                "causes": mistake.causes,
                "held_out": family in HELD_OUT,
            }


def _kind(case: Case, model: Any) -> str:
    if isinstance(model, keras.Model):
        return type(model.get_layer(case.layer) if case.layer else model).__name__
    return type(model.get_submodule(case.layer)).__name__


def write() -> None:
    lines = [json.dumps(entry) for family in FAMILIES for entry in entries(family)]
    PATH.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def read() -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))
    return kept
