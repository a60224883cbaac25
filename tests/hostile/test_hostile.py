"""Hostile, broken and odd files and commands: one sentence and exit status 2, or a right answer;
nothing run, read, written or eaten."""

import contextlib

import pytest
from hostile import corpus  # noqa: F401
from hostile.case import CASES, KINDS
from hostile.worker import FAMILY, ORDER, Runner, Worker, judge, measured
from repository import ROOT

KNOWN = ROOT / "corpora" / "hostile_files" / "known_failures.txt"
GROUPS = sorted(
    {(case.format, case.kind) for case in CASES.values()},
    key=lambda group: (ORDER.index(FAMILY[group[0]]), *group),
)
EACH = 64
"""How many cases of a group one of them stands for in the sample."""
# Tried again as processes of their own, where nothing is imported yet and the interpreter ends:
# these, and the others exhaustively.
SAMPLED = (
    "onnx/read/external-climbs",
    "npy/code/object-array",
    "pt/code/posix.system",
    "h5/code/lambda-bytecode",
)
WHOLE = (
    "onnx/read/external-climbs",
    "onnx/hang/loop-endless",
    "onnx/memory/dims-ten-gib",
    "onnx/malformed/cut-middle",
    "onnx/malformed/name-escape-codes",
    "npy/code/object-array",
    "npy/memory/shape-ten-gib",
    "npz/memory/deflated-zeros-three-gib",
    "npz/malformed/encrypted",
    "safetensors/memory/header-says-exabytes",
    "pt/code/posix.system",
    "pt/code/legacy-in-magic",
    "pt/memory/storage-says-ten-gib",
    "torchscript/code/setstate-writes.pt",
    "h5/code/lambda-bytecode",
    "h5/read/external-storage",
    "h5/hang/repeated-children",
    "h5/hang/own-input",
    "keras/code/module-evil-evil",
    "keras/memory/zip-bomb-config.json",
    "path/hang/fifo",
    "command/arguments/json-over-the-model",
)


def _known() -> set[str]:
    return set(KNOWN.read_text(encoding="utf-8").split())


@pytest.fixture(scope="session")
def worker(tmp_path_factory):
    with contextlib.closing(Worker(tmp_path_factory.mktemp("hostile"))) as held:
        yield held


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory):
    with contextlib.closing(Worker(tmp_path_factory.mktemp("hostile"), alone="all")) as held:
        yield held


@pytest.fixture(scope="session")
def worker_of_arrays(tmp_path_factory):
    """One that imports no framework."""
    with contextlib.closing(Worker(tmp_path_factory.mktemp("hostile"), alone="arrays")) as held:
        yield held


def _names(format: str, kind: str) -> list[str]:
    return [name for name, case in CASES.items() if (case.format, case.kind) == (format, kind)]


def _needs_a_framework(format: str) -> bool:
    return FAMILY[format] != "arrays"


@pytest.mark.parametrize(
    ("format", "kind"),
    [
        pytest.param(*group, marks=[pytest.mark.costly] if _needs_a_framework(group[0]) else [])
        for group in GROUPS
    ],
)
def test_a_sample_in_one_process(request, format, kind):
    name = "one_worker" if _needs_a_framework(format) else "worker_of_arrays"
    _hold_all(request.getfixturevalue(name), _names(format, kind)[::EACH])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("format", "kind"), GROUPS)
def test_in_one_process(worker, format, kind):
    """What the sample has left out."""
    _hold_all(
        worker, [name for position, name in enumerate(_names(format, kind)) if position % EACH]
    )


def _hold_all(worker, names):
    faults = {}
    for name in names:
        for run, ended in zip(CASES[name].runs, worker.case(name), strict=False):
            if wrong := judge(run, ended):
                faults.setdefault(name, []).append(
                    f"probe {' '.join(run.arguments)[:200]!a}: {'; '.join(wrong)}"
                )
    _hold(faults, _known() & {*names})


def _hold(faults: dict[str, list[str]], known: set[str]) -> None:
    """Only what is known fails, and all of that."""
    new = "\n".join(
        f"{name}\n    " + "\n    ".join(wrong)
        for name, wrong in faults.items()
        if name not in known
    )
    assert not new, new
    mended = sorted(known - faults.keys())
    assert not mended, f"these pass now: take them out of {KNOWN.name}: {' '.join(mended)}"


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in SAMPLED else pytest.mark.exhaustive) for name in WHOLE],
)
def test_as_processes_of_their_own(tmp_path_factory, name):
    with contextlib.closing(Runner(tmp_path_factory.mktemp("whole"))) as runner:
        ends = runner.case(name, whole=measured(CASES[name].format))
    faults = [
        f"{run.arguments}: {wrong}"
        for run, ended in zip(CASES[name].runs, ends, strict=False)
        for wrong in judge(run, ended)
    ]
    _hold({name: faults} if faults else {}, _known() & {name})


def test_the_corpus_is_what_it_says():
    assert len(CASES) >= 400
    assert {case.kind for case in CASES.values()} == set(KINDS)
    assert _known() <= CASES.keys(), "known_failures.txt names cases that are not"
    assert KNOWN.read_text(encoding="utf-8").split("\n")[:-1] == sorted(_known()), (
        "known_failures.txt: one name a line, sorted, none twice"
    )
    assert not [name for name in _known() if "/healthy/" in name]
