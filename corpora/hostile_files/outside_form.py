"""The form of the hostile cases that were written without a look at the tool's reading.

A case writes its files into the `work` folder of a place, names the commands to try on them, and
says what must not happen. This module holds no case: it is what `outside_tflite_files.py`,
`outside_saved_models.py` and `outside_gguf_files.py` have in common. Each of these is run as

    python corpora/hostile_files/outside_gguf_files.py FOLDER [WORD ...]

which writes the cases whose names hold all the words, each into a folder of its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hostile.case import Case, Place, Run

ALWAYS = "no traceback, no signal, no hang, nothing written, nothing read outside of the case"


@dataclass(frozen=True)
class Hostile(Case):
    """A case, and in words what must not come of it, beside what `ALWAYS` says."""

    must_not: str = ALWAYS


class Cases(dict[str, Hostile]):
    """Cases by name, of one format."""

    def __init__(self, file_format: str) -> None:
        super().__init__()
        self.format = file_format

    def add(
        self, kind: str, slug: str, must_not: str, build: Callable[[Place], None], *runs: Run
    ) -> None:
        """Registers a case."""
        name = f"{self.format}/{kind}/{slug}"
        assert name not in self and runs, name
        self[name] = Hostile(name, self.format, kind, build, runs, must_not)

    def case(
        self, kind: str, slug: str, must_not: str, *runs: Run
    ) -> Callable[[Callable[[Place], None]], Callable[[Place], None]]:
        """Registers the function that follows, which builds the files."""

        def register(build: Callable[[Place], None]) -> Callable[[Place], None]:
            self.add(kind, slug, must_not, build, *runs)
            return build

        return register


def place_in(folder: Path) -> Place:
    """A folder for one case, with the files outside of it that it must not read."""
    work = folder / "work"
    work.mkdir(parents=True)
    numbers = np.full(4096, 31337.4375, np.float32)
    place = Place(work, 9)
    place.canary.write_text("CANARY of somebody else\n" * 50, encoding="utf-8")
    place.canary_numbers.write_bytes(numbers.tobytes())
    np.save(place.canary_array, numbers)
    return place


def write(cases: Cases, arguments: Iterable[str]) -> int:
    """Writes the cases whose names hold all the words, and says what is to be run on each."""
    folder, *words = arguments
    count = 0
    for name, case in cases.items():
        if not all(word in name for word in words):
            continue
        place = place_in(Path(folder) / name)
        began = time.monotonic()
        case.build(place)
        told = {
            "name": name,
            "commands": [["probe", *run.arguments] for run in case.runs],
            "allowed": [sorted(run.allowed) for run in case.runs],
            "must_not": case.must_not,
            "marker": place.marker,
            "seconds": round(time.monotonic() - began, 2),
        }
        print(json.dumps(told))
        assert not os.path.lexists(place.marker), f"{name}: building it ran its code"
        count += 1
    print(f"{count} cases", file=sys.stderr)
    return 0
