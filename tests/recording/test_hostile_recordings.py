"""Damaged and crafted recordings: each is one sentence and exit status 2, and takes no memory that
its file does not have."""

import io
import json
import os
import resource
import struct
import tempfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from chain_model import ChainModel

import probe as library
from probe import ops
from probe.description import Builder, Ref, Weight
from probe.errors import UnknownLayer
from probe.recording.store import INDEX, NAME

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(3, 3)).astype(np.float32)


def whole() -> bytes:
    """A recording of two layers, a product and one of several steps."""
    build = Builder((X,))
    build.add(ops.Relu(), Ref(-1, 0))
    build.add(ops.LeakyRelu(alpha=0.5), build.last)
    product = ops.MatMul(weight=Weight("kernel", KERNEL, KERNEL), bias=None)
    model = ChainModel(
        {
            "dense": (lambda x: x @ KERNEL, library.Description((library.Step(product),))),
            "two": (lambda x: np.maximum(x, 0), library.Description(build.ended(build.last))),
        }
    )
    return recorded(model)


def recorded(model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        library.record(model, X, f"{folder}/run.npz")
        return Path(f"{folder}/run.npz").read_bytes()


WHOLE = whole()


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, compression=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def index():
    """Of the recording, without its checksum, which anybody can make anew."""
    told = json.loads(members(WHOLE)[INDEX])
    del told["sha256"]
    return told


def with_index(change) -> bytes:
    """The recording with its index as ``change`` leaves it."""
    told = index()
    changed = change(told)
    return zipped({**members(WHOLE), INDEX: json.dumps(told if changed is None else changed)})


def put(*path_and_value):
    """Sets what stands at a place of the index."""
    *path, last, value = path_and_value

    def change(told):
        for key in path:
            told = told[key]
        told[last] = value

    return change


def removed(*path):
    def change(told):
        for key in path[:-1]:
            told = told[key]
        del told[path[-1]]

    return change


def block(parts):
    """A block that is the first call, of these calls."""
    return {"capture": index()["calls"][0]["capture"], "unseen": "", "parts": parts}


def tenth(of: int) -> bytes:
    return WHOLE[: len(WHOLE) * of // 10]


CALL = ("calls", 0, "capture")
STEPS = (*CALL, "description", "steps")
OP = (*STEPS, 0, "op")
TWO = ("calls", 1, "capture", "description", "steps")
CHANGES = {
    "no schema": removed("schema"),
    "schema text": put("schema", "1"),
    "schema 0": put("schema", 0),
    "schema true": put("schema", True),
    "schema of a later version": put("schema", 2),
    "a list": lambda told: [told],
    "a number": lambda told: 7,
    "no arrays": removed("arrays"),
    "arrays a mapping": put("arrays", {}),
    "an array a number": put("arrays", 0, 3),
    "an array without a shape": removed("arrays", 0, "shape"),
    "a larger shape": put("arrays", 0, "shape", [4, 4]),
    "a huge shape": put("arrays", 0, "shape", [1 << 40, 1 << 40]),
    "a negative shape": put("arrays", 0, "shape", [-4, -3]),
    "a shape of floats": put("arrays", 0, "shape", [4.0, 3.0]),
    "a shape of truths": put("arrays", 0, "shape", [True, 12]),
    "a shape of a hundred axes": put("arrays", 0, "shape", [1] * 100),
    "another dtype": put("arrays", 0, "dtype", "<i4"),
    "a wider dtype": put("arrays", 0, "dtype", "<f8"),
    "a dtype of objects": put("arrays", 0, "dtype", "|O"),
    "strings that are numbers": put("arrays", 0, "dtype", "object"),
    "a dtype with fields": put("arrays", 0, "dtype", [["a", "<f4"]]),
    "an unknown dtype": put("arrays", 0, "dtype", "finfo"),
    "a module for a dtype": put("arrays", 0, "dtype", "__doc__"),
    "order a word": put("arrays", 0, "fortran_order", "no"),
    "order of columns": put("arrays", 0, "fortran_order", True),
    "another checksum": put("arrays", 0, "sha256", "0" * 64),
    "no checksum": put("arrays", 0, "sha256", None),
    "an array of another name": put("arrays", 0, "name", "elsewhere"),
    "a path upwards": put("arrays", 0, "name", "../../etc/passwd"),
    "an absolute path": put("arrays", 0, "name", "/etc/passwd"),
    "a name with a zero": put("arrays", 0, "name", "a\0b"),
    "an endless name": put("arrays", 0, "name", "a" * 5000),
    "an array beyond the table": put(*CALL, "inputs", [{"array": 99}]),
    "an array before the table": put(*CALL, "inputs", [{"array": -1}]),
    "half an array": put(*CALL, "inputs", [{"array": 0.5}]),
    "a true array": put(*CALL, "inputs", [{"array": True}]),
    "an array of arrays": put(*CALL, "inputs", [{"array": [0]}]),
    "inputs a word": put(*CALL, "inputs", "x"),
    "no outputs": removed(*CALL, "outputs"),
    "outputs of the model a word": put("outputs", "y"),
    "an unknown op": put(*OP, "is", "System"),
    "a function for an op": put(*OP, "is", "Recomputed"),
    "an op that is a step": put(*OP, {"is": "Ref", "step": 0}),
    "no op": put(*OP, None),
    "an op of no name": removed(*OP, "is"),
    "an unknown field": put(*OP, "command", "rm"),
    "a missing field": removed(*OP, "weight"),
    "a field of another type": put(*OP, "weight", 3),
    "a kernel that is text": put(*OP, "weight", "effective", "x"),
    "a kernel without a name": removed(*OP, "weight", "name"),
    "rows that the kernel has not": put(*OP, "weight", "rows", [0, 4]),
    "rows before the first": put(*OP, "weight", "rows", [-1, 2]),
    "rows that end before they begin": put(*OP, "weight", "rows", [2, 1]),
    "an axis twice": put(*OP, "weight", "axes", [0, 0]),
    "axes that the kernel has not": put(*OP, "weight", "axes", [0, 1, 2]),
    "a shape of more values": put(*OP, "weight", "shape", [3, 4]),
    "a shape of negative sizes": put(*OP, "weight", "shape", [-3, -3]),
    "a shape of two sizes left open": put(*OP, "weight", "shape", [-1, -1]),
    "a shape whose open size is no whole number": put(*OP, "weight", "shape", [-1, 5]),
    "a shape whose open size can be any": put(*OP, "weight", "shape", [-1, 0]),
    "other bytes of an array": put("arrays", 0, "bytes", 1),
    "bytes that are true": put("arrays", 0, "bytes", True),
    "no bytes of an array": removed("arrays", 0, "bytes"),
    "the checksum of another model": put("model", "sha256", "x"),
    "axes of text": put(*OP, "weight", "axes", ["a", "b"]),
    "a number of another kind": put(*TWO, 1, "op", "alpha", "half"),
    "a number that is none": put(*TWO, 1, "op", "alpha", {"float": "many"}),
    "a step that takes itself": put(*TWO, 0, "inputs", [{"is": "Ref", "step": 0}]),
    "a step that takes a later one": put(*TWO, 0, "inputs", [{"is": "Ref", "step": 1}]),
    "a step before the first": put(*TWO, 1, "inputs", [{"is": "Ref", "step": -5}]),
    "an input that is not there": put(*TWO, 0, "inputs", [{"is": "Ref", "step": -1, "index": 7}]),
    "an output that is not there": put(*TWO, 1, "inputs", [{"is": "Ref", "step": 0, "index": -2}]),
    "no steps": put(*STEPS, []),
    "steps a mapping": put(*STEPS, {}),
    "a description that is a step": put(*CALL, "description", {"is": "Ref", "step": 0}),
    "a call that is none": put(*CALL, {"is": "Ref", "step": 0}),
    "a call that is a word": put("calls", 0, "dense"),
    "calls a mapping": put("calls", {}),
    "a call that runs something": put(*CALL, "alone", "print"),
    "a circle of calls": put(
        *CALL, "made_by", [{"is": "CallOutput", "layer": "two", "call": 0, "output": 0}]
    ),
    "makers of more inputs": put(*CALL, "made_by", [None] * 3),
    "names of more inputs": put(*CALL, "input_names", ["x", "y", "z"]),
    "an input with a number for a name": put(*CALL, "input_names", [5]),
    "a line that is none": put(*CALL, "line", "17"),
    "a fixed input that is not there": put(*CALL, "fixed", [5]),
    "codes of outputs that are not there": put(*CALL, "output_grids", [None] * 3),
    "a block of a call that is not there": put("calls_of_blocks", [block([[3, ""]])]),
    "a block of a word": put("calls_of_blocks", [block("all")]),
    "layers of another kind": put("layers", [{"is": "Ref", "step": 0}]),
    "layers a word": put("layers", "all"),
    "a layer checked by nobody": put(
        "layers", [{"is": "Layer", "name": "a", "kind": "b", "checkable": ["x"]}]
    ),
    "a layer with code": put("layers", [{"is": "Layer", "name": "a", "kind": "b", "code": "x"}]),
    "names a number": put("names", 3),
    "no model": removed("model"),
    "no words on the framework": removed("model", "framework"),
    "no input": removed("input"),
    "a seed that is text": put("input", "seed", "0"),
    "inputs of the model a word": put("input", "arrays", "x"),
    "specs of another kind": put("input", "specs", [1]),
    "notes that are numbers": put("model", "notes", [1]),
}  # fmt: skip


def flipped(bit: int) -> bytes:
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def of_op(steps, *arrays) -> bytes:
    """A recording of one call of these steps, which gives what it is given."""
    with tempfile.TemporaryDirectory() as folder:
        steps = tuple(one if isinstance(one, library.Step) else library.Step(one) for one in steps)
        given = library.Description(steps)
        model = ChainModel({"layer": (lambda x: x, given)})
        library.record(model, arrays[0] if arrays else X, f"{folder}/run.npz")
        return Path(f"{folder}/run.npz").read_bytes()


HUGE, ROWS = 1 << 40, np.ones((1, 2, 3, 3), np.float32)
ONE = Weight("kernel", np.ones((2, 2, 1, 1), np.float32), np.ones((2, 2, 1, 1), np.float32))
MILLION = 1_000_000
NONE = np.ones((0, 2, MILLION, MILLION), np.float32)
NOTHING = Weight("kernel", NONE, NONE, ())
WIDE = {
    "a huge pad": ([ops.Pad(((0, 0), (0, HUGE)))],),
    "a huge tile": ([ops.Tile((1, HUGE))],),
    "a huge shape": ([ops.Slice((0,), (1,)), ops.Expand((HUGE, 3))],),
    "a huge depth": ([ops.OneHot(HUGE)], np.ones((2, 3), np.int32)),
    "a huge factor": ([ops.ResizeNearest((1.0,) * 4, (1, 2, 1 << 20, 1 << 20))], ROWS),
    "a huge size": ([ops.Resize((1 << 20, 1 << 20), (1.0, 1.0))], ROWS),
    "a huge pool": ([ops.AdaptiveAveragePool((HUGE, 1))], ROWS),
    "a huge pool of nothing": ([ops.AdaptiveMaxPool((HUGE, HUGE))], ROWS),
    "huge pads of a convolution": (
        [ops.Conv(ONE, None, (1, 1), ((HUGE, 0), (0, 0)), (1, 1))],
        ROWS,
    ),
    "huge strides backwards": (
        [ops.ConvTranspose(ONE, None, (HUGE, HUGE), ((0, 0), (0, 0)), (1, 1))],
        ROWS,
    ),
    "a huge product": (
        [
            ops.Reshape((1 << 16, 1)),
            ops.Transpose((1, 0)),
            library.Step(ops.Mul(), (Ref(0), Ref(1))),
        ],
        np.ones((1 << 16, 1), np.float32),
    ),
    "a huge kernel over nothing": (
        [ops.Col2Im((MILLION,) * 2, (MILLION,) * 2, (1, 1), ((0, 0),) * 2, (1, 1))],
        np.ones((1, 0, 1), np.float32),
    ),
    "a huge kernel of nothing": (
        [ops.ConvTranspose(NOTHING, None, (1, 1), ((0, 0),) * 2, (1, 1))],
        np.ones((1, 0, 2, 2), np.float32),
    ),
    "a huge array of nothing": ([ops.CumSum(0)], np.ones((HUGE, 0), np.float32)),
    "many large steps": ([ops.Tile((1, 1 << 22))] + [ops.Relu()] * 20,),
}  # fmt: skip


def most_held() -> int:
    """The bytes that this process has had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.parametrize("name", WIDE)
def test_what_an_op_may_ask_for(name, probe, tmp_path):
    """An op that makes far more than its call has is refused before it takes any memory."""
    (tmp_path / "run.npz").write_bytes(of_op(*WIDE[name]))
    before = most_held()
    status, out, err = probe(tmp_path / "run.npz", "--all")
    assert most_held() - before < 1 << 30
    assert status == 2
    assert err.count("\n") == 1 and "run.npz: computing 'layer' could exhaust memory" in err, out


POOL = ((2, 2), (0, 0), ((0, 0), (0, 0)), (1, 1))
UNFIT = {
    "an axis that is not there": [ops.Softmax(7)],
    "strides of 0": [ops.MaxPool(*POOL)],
    "no group": [ops.Conv(ONE, None, (1, 1), ((0, 0), (0, 0)), (1, 1), 0)],
    "another rank": [ops.Transpose((0, 1, 2, 3, 4))],
    "too many inputs": [library.Step(ops.Relu(), (Ref(-1), Ref(-1)))],
    "another size": [ops.Reshape((5, 5))],
    "a number of many bits": [ops.NudgedFakeQuantize(np.zeros(()), np.ones(()), HUGE)],
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_computed_is_no_fault_of_probe(name, probe, tmp_path):
    (tmp_path / "run.npz").write_bytes(of_op(UNFIT[name], ROWS))
    np.save(tmp_path / "mine.npy", ROWS + 1)
    for more in (["--all"], ["--layer", "layer", "--expect", tmp_path / "mine.npy"]):
        status, out, err = probe(tmp_path / "run.npz", *more, "--json", "-")
        told = " ".join((out + err).split())
        assert "report this bug" not in told and status
        assert "run.npz describes cannot be computed (" in told


def nested() -> bytes:
    told = json.dumps(index())
    deep = "[" * 100_000 + "]" * 100_000
    return zipped({**members(WHOLE), INDEX: told[:-1] + f', "more": {deep}' + "}"})


def chained() -> bytes:
    """Ops within ops, deeper than any layer has them."""
    told, op = index(), {"is": "Relu"}
    for _ in range(200):
        op = {"is": "Chain", "parts": [op]}
    told["calls"][1]["capture"]["description"]["steps"][0]["op"] = op
    return zipped({**members(WHOLE), INDEX: json.dumps(told)})


def in_parts() -> bytes:
    """Steps within steps, deeper than any layer has them."""
    told, step = index(), {"is": "Step", "op": {"is": "Relu"}}
    for _ in range(60):
        step = {"is": "Step", "op": {"is": "ByParts", "steps": [step]}}
    told["calls"][1]["capture"]["description"]["steps"][0]["op"] = step["op"]
    return zipped({**members(WHOLE), INDEX: json.dumps(told)})


def bomb() -> bytes:
    """An array of half a gigabyte in half a megabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 27,)}
    )
    told = index()
    told["arrays"][0] |= {"shape": [1 << 27], "bytes": 1 << 29}
    name = f"{told['arrays'][0]['name']}.npy"
    parts = {**members(WHOLE), INDEX: json.dumps(told)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for one, content in parts.items():
            if one != name:
                archive.writestr(one, content)
        with archive.open(name, "w") as member:
            member.write(header.getvalue())
            for _ in range(1 << 9):
                member.write(bytes(1 << 20))
    return file.getvalue()


def central(offset: int, form: str, value: int, which: int = 0) -> bytes:
    """The recording with a number of a member's entry in the central directory changed."""
    data, place = bytearray(WHOLE), -1
    for _ in range(which + 1):
        place = WHOLE.index(b"PK\1\2", place + 1)
    struct.pack_into(form, data, place + offset, value)
    return bytes(data)


LAST = len(members(WHOLE)) - 1
FILES = {
    **{f"cut off at {one} tenths": partial(tenth, one) for one in range(1, 10)},
    "all but a byte": lambda: WHOLE[:-1],
    **{name: partial(with_index, change) for name, change in CHANGES.items()},
    "no index but its name": lambda: zipped({**members(WHOLE), INDEX: ""}),
    "an index that is no JSON": lambda: zipped({**members(WHOLE), INDEX: "schema: 1"}),
    "an index in UTF-16": lambda: zipped({**members(WHOLE), INDEX: "{}".encode("utf-16")}),
    "nested without end": nested,
    "ops nested without end": chained,
    "steps nested without end": in_parts,
    "a bomb": bomb,
    "compressed": lambda: zipped(members(WHOLE), zipfile.ZIP_DEFLATED),
    "without arrays": lambda: zipped({INDEX: members(WHOLE)[INDEX]}),
    "an array of pickles": lambda: zipped(
        {**members(WHOLE), "00000.input0.npy": pickled()}
    ),
    "an array that is text": lambda: zipped({**members(WHOLE), "00000.input0.npy": "numbers"}),
    "an empty array": lambda: zipped({**members(WHOLE), "00000.input0.npy": ""}),
    "an array with more behind it": lambda: zipped(
        {**members(WHOLE), "00000.input0.npy": members(WHOLE)["00000.input0.npy"] + b"more"}
    ),
    "a member larger than the file": lambda: central(24, "<I", 1 << 30),
    "a member that is elsewhere": lambda: central(42, "<I", 1 << 20),
    "a member that lies in another": lambda: central(42, "<I", 100),
    "an index that is elsewhere": lambda: central(42, "<I", 3, LAST),
    "an index of another checksum": lambda: central(16, "<I", 7, LAST),
    "an encrypted member": lambda: central(8, "<H", 1),
}  # fmt: skip


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_each_is_one_sentence(name, probe, tmp_path):
    (tmp_path / "run.npz").write_bytes(FILES[name]())
    status, out, err = probe(tmp_path / "run.npz", "--all")
    assert status == 2
    assert err.count("\n") == 1 and err.startswith("probe: ") and "run.npz" in err, (out, err)
    assert "report this bug" not in err + out


def test_there_are_enough():
    assert len(FILES) >= 60


@pytest.mark.parametrize("part", range(64))
def test_a_flipped_bit(part, probe, tmp_path):
    """It is refused, or it lies where nothing is kept and the answer is the same."""
    (tmp_path / "run.npz").write_bytes(flipped(len(WHOLE) * 8 * part // 64 + 5 * part))
    status, out, err = probe(tmp_path / "run.npz", "--all")
    assert "report this bug" not in err + out
    if status == 0:
        assert "2 agree, 0 diverge, 0 unchecked" in out
    else:
        assert status == 2 and err.count("\n") == 1 and err.startswith("probe: ")


def as_folder(path):
    path.mkdir()
    for name, content in members(WHOLE).items():
        (path / name).write_bytes(content)


def test_a_folder_with_links_and_devices(probe, tmp_path):
    """What is no file of the folder is not read."""
    for number, change in enumerate((
        lambda place: place.symlink_to("/etc/passwd"),
        lambda place: os.mkfifo(place),
        lambda place: place.mkdir(),
        lambda place: place.write_bytes(b""),
        lambda place: None,
    )):  # fmt: skip
        folder = tmp_path / f"run{number}"
        as_folder(folder)
        assert probe(folder, "--all")[0] == 0
        (folder / "00000.input0.npy").unlink()
        change(folder / "00000.input0.npy")
        status, _, err = probe(folder, "--all")
        assert status == 2 and err.count("\n") == 1 and "00000.input0.npy" in err, err


def test_names_of_arrays():
    for name in ("..", ".x", "a/b", "a\\b", "", "a\n", "C:x"):
        assert not NAME.fullmatch(name)


def test_why_steps_within_steps_are_refused(probe, tmp_path):
    (tmp_path / "run.npz").write_bytes(in_parts())
    assert "ops nested too deeply" in probe(tmp_path / "run.npz", "--all")[2]


@pytest.mark.parametrize("name", ["/add", "two/add"])
def test_a_recording_has_no_other_operations_than_it_holds(name, tmp_path):
    """A model may make a call of that name; a recording shows all that it has."""
    (tmp_path / "run.npz").write_bytes(WHOLE)
    recording = library.open_model(tmp_path / "run.npz")
    with pytest.raises(UnknownLayer):
        library.check(recording, name)
    values = {name: X, "dense": X @ KERNEL}
    with pytest.raises(UnknownLayer):
        list(library.sweep(recording, expected=values))
    with pytest.raises(UnknownLayer):
        library.check(recording, "dense", expected=values)
