"""How a recording lies on the disk: what other programs may rely on."""

import json
import struct
import subprocess
import sys
import zipfile
from hashlib import sha256

import ml_dtypes
import numpy as np
import onnx
import pytest
from chain_model import ChainModel
from onnx import helper, numpy_helper

import probe
from probe import ops
from probe.recording.members import Table, ZipMembers
from probe.recording.origin import files_of
from probe.recording.store import INDEX, JOURNAL, Arrays, Zip

X = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def chain(*names):
    relu = probe.Description((probe.Step(ops.Relu()),))
    return ChainModel({name: (lambda x: np.maximum(x, 0), relu) for name in names})


@pytest.fixture
def path(tmp_path):
    probe.record(chain("first", "second"), X, tmp_path / "run.npz")
    return tmp_path / "run.npz"


def test_numpy_opens_it(path):
    with np.load(path, allow_pickle=False) as file:
        assert [name for name in file.files if name != INDEX] == [
            "00000.input0",
            "00001.first.output0",
        ]
        assert np.array_equal(file["00001.first.output0"], np.maximum(X, 0))
        assert json.loads(file[INDEX])["schema"] == 1


def test_members_are_stored_and_aligned(path):
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            name, extra = struct.unpack(
                "<HH", data[info.header_offset + 26 : info.header_offset + 30]
            )
            start = info.header_offset + 30 + name + extra
            assert start % 64 == 0
            if info.filename.endswith(".npy"):
                assert data[start : start + 6] == b"\x93NUMPY"
                assert (10 + struct.unpack("<H", data[start + 8 : start + 10])[0]) % 64 == 0
            else:
                assert data[start:].startswith(b"{")


def test_equal_arrays_are_kept_once(path):
    with zipfile.ZipFile(path) as archive:
        index = json.loads(archive.read(INDEX))
    first, second = (one["capture"] for one in index["calls"])
    assert first["outputs"] == second["inputs"] == second["outputs"]
    assert len(index["arrays"]) == 2


ARRAYS = [
    *(
        np.arange(6).reshape(2, 3).astype(name)
        for name in ("int8", "uint64", "float16", "complex64")
    ),
    *(
        np.linspace(-1, 1, 5).astype(getattr(ml_dtypes, name))
        for name in ("bfloat16", "float8_e4m3fn", "int4")
    ),
    np.arange(4).astype(ml_dtypes.uint2),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.float32([[np.nan, -0.0], [np.inf, 1e-45]]),
    np.zeros((0, 3)),
    np.array(3.5),
    np.array([True, False]),
    np.array(["a", "\u00e4\u00df", ""], object),
    np.array([b"a", b"bc"], object),
    np.array(["words", "x"]),
    np.arange(4, dtype=">i4"),
    np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
]


def test_every_dtype_comes_back(tmp_path):
    with (tmp_path / "a.npz").open("wb") as file, Zip(file) as store:
        table = Arrays(store)
        numbers = [table.keep(array, "x") for array in ARRAYS]
        store.finish(json.dumps(table.table).encode())
    members = ZipMembers(tmp_path / "a.npz")
    back = Table(members, json.loads(members.index()))
    for number, array in zip(numbers, ARRAYS, strict=True):
        found = back.array(number)
        back.check(number)
        assert found.dtype == array.dtype and found.shape == array.shape
        assert (
            found.tolist() == array.tolist()
            if array.dtype.hasobject
            else found.tobytes() == array.tobytes()
        )
        assert found.flags.f_contiguous == array.flags.f_contiguous or not array.flags.forc


@pytest.mark.parametrize("name", ["float8_e4m3fn", "int4"])
def test_weights_of_few_bits(name, tmp_path):
    """What ONNX holds is kept as it is."""
    weight = np.linspace(-2, 2, 6).reshape(3, 2).astype(getattr(ml_dtypes, name))
    held = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(0.5), "scale")]
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale"], ["k"]),
        helper.make_node("MatMul", ["x", "k"], ["y"], name="product"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4, 3])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4, 2])
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    kept = probe.record(model, X, tmp_path / "run.npz")
    live = list(probe.sweep(model, X))
    assert any(report.weights for report in live)
    for one, other in zip(live, probe.sweep(kept), strict=True):
        assert one.verdict == other.verdict and list(one.weights) == list(other.weights)
        for name, found in one.weights.items():
            same = other.weights[name]
            assert found.effective.tobytes() == same.effective.tobytes()
            assert (found.stored is None) == (same.stored is None)
            if found.stored is not None:
                assert found.stored.dtype == same.stored.dtype
                assert found.stored.tobytes() == same.stored.tobytes()


def test_a_folder_holds_the_same(path, tmp_path):
    kept = probe.record(chain("first", "second"), X, f"{tmp_path}/run/")
    folder = tmp_path / "run"
    with zipfile.ZipFile(path) as archive:
        names = {one for one in archive.namelist()}
        assert {one.name for one in folder.iterdir()} == names
        for name in names - {INDEX}:
            assert (folder / name).read_bytes() == archive.read(name)
    assert [one.verdict for one in probe.sweep(kept)] == ["agree", "agree"]


def test_a_folder_is_taken_up_again(tmp_path, monkeypatch):
    """An interrupt leaves what was written; the next run adds the rest and writes nothing twice."""
    folder = tmp_path / "run"
    stopping = chain("first", "second", "third")

    def interrupted(x):
        raise KeyboardInterrupt

    stopping.chain = {**stopping.chain, "second": (interrupted, stopping.chain["second"][1])}
    with pytest.raises(KeyboardInterrupt):
        probe.record(stopping, X, f"{folder}/")
    left = {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}
    assert set(left) == {JOURNAL, "00000.input0.npy", "00001.first.output0.npy"}
    with pytest.raises(probe.ProbeError, match="was interrupted: run the same probe record again"):
        probe.open_model(folder)
    kept = probe.record(chain("first", "second", "third"), X, f"{folder}/")
    assert [one.verdict for one in probe.sweep(kept)] == ["agree"] * 3
    now = {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}
    assert JOURNAL not in now
    assert all(now[name] == at for name, at in left.items() if name != JOURNAL)


def test_a_failure_leaves_the_file_that_was_there(path):
    before = path.read_bytes()
    failing = chain("first")

    def fails(x):
        raise probe.ProbeError("no")

    failing.chain = {"first": (fails, failing.chain["first"][1])}
    with pytest.raises(probe.ProbeError, match=r"^no$"):
        probe.record(failing, X, path)
    assert path.read_bytes() == before and [one.name for one in path.parent.iterdir()] == [
        "run.npz"
    ]


def test_other_folders_and_names_are_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(probe.ProbeError, match="contains files that are not of a recording"):
        probe.record(chain("first"), X, tmp_path / "mine")
    with pytest.raises(probe.ProbeError, match=r"a file run\.npz or a folder run/"):
        probe.record(chain("first"), X, tmp_path / "run.h5")


def test_the_arrays_of_a_recording_are_not_read_before_they_are_asked_for(path):
    """A byte that is damaged in one call is found by those who ask for that, and by none else."""
    data = path.read_bytes()
    place = data.index(X.tobytes())
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    kept = probe.open_model(path)
    assert probe.check(kept, "second").ok
    with pytest.raises(
        probe.ProbeError, match=r"damaged recording: the array '00000\.input0' damaged"
    ):
        probe.check(kept, "first")


def test_what_is_asked_for_by_name(tmp_path):
    kept = probe.record(chain("a1", "a2", "b"), X, tmp_path / "run.npz", layers=["a*"])
    assert [one.layer for one in probe.sweep(kept)] == ["a1", "a2"]
    assert [one.name for one in kept.layers] == ["a1", "a2"]
    with pytest.raises(probe.ProbeError, match="does not hold 'b': record it by its name"):
        probe.check(kept, "b")
    with pytest.raises(probe.ProbeError, match="no layer 'c'"):
        probe.record(chain("a1"), X, tmp_path / "run.npz", layers=["c"])


def test_a_function_of_the_users_own(tmp_path):
    """It cannot be kept: the call is there with its arrays and says so."""
    own = probe.Description((probe.Step(ops.Recomputed(lambda layer, x: x * 2, None)),))
    kept = probe.record(ChainModel({"own": (lambda x: x * 2, own)}), X, tmp_path / "run.npz")
    (report,) = probe.sweep(kept)
    assert report.verdict == "unchecked"
    assert "a recording cannot keep it: Recomputed cannot be stored in a file" in report.sentence
    assert np.array_equal(report.outputs["framework"], X * 2)


def test_what_rounding_before_is_not_known_of_is_said(tmp_path):
    """A call without description on the way, or one that was not recorded."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    relu = probe.Description((probe.Step(ops.Relu()),))
    gap = ChainModel(
        {
            "first": (lambda x: np.maximum(x, 0), relu),
            "gap": (lambda x: x * 2, None),
            "last": (lambda x: np.maximum(x, 0), relu),
        }
    )
    mine = np.maximum(x, 0) * 2
    for layers, told in (
        (None, "leaves out rounding before 'gap', which"),
        (["last"], "what made input 0 of"),
    ):
        kept = probe.record(gap, x, tmp_path / "run.npz", layers=layers)
        report = probe.check(kept, "last", expected=mine)
        assert report.ok and any(told in one for one in report.notes)
        assert not any("rounding before" in one for one in probe.check(kept, "last").notes)
    kept = probe.record(chain("first", "last"), x, tmp_path / "run.npz")
    report = probe.check(kept, "last", expected=np.maximum(x, 0))
    assert not any("rounding before" in one for one in report.notes)


def test_each_byte_of_the_index_counts(tmp_path):
    """In a folder no zip has a checksum of it; recordings of earlier versions have none."""
    folder = tmp_path / "run"
    probe.record(chain("first"), X, f"{folder}/")
    whole = (folder / INDEX).read_bytes()
    for old, new in ((b'"first"', b'"fjrst"'), (b'"Relu"', b'"Selu"'), (b'", "sha', b'",  "sha')):
        assert old in whole
        (folder / INDEX).write_bytes(whole.replace(old, new))
        with pytest.raises(probe.ProbeError, match="checksum"):
            probe.open_model(folder)
    told = json.loads(whole)
    del told["sha256"]
    (folder / INDEX).write_text(json.dumps(told))
    assert probe.check(folder, "first").ok
    told["arrays"][0]["bytes"] += 1
    (folder / INDEX).write_text(json.dumps(told))
    with pytest.raises(
        probe.ProbeError, match=r"damaged recording: it has the array .* of 48 bytes"
    ):
        probe.open_model(folder)


def indexed(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(INDEX))


def test_the_file_that_a_recording_names_is_not_read(tmp_path, request):
    """Its checksum would leave with what is made of the recording: that which it says is kept."""
    secret, run = tmp_path / "id_rsa", tmp_path / "run.npz"
    secret.write_text("secret")
    model = chain("first")
    model.source = str(secret)
    probe.record(model, X, run)
    of_secret = sha256(b"secret").hexdigest()
    assert indexed(run)["model"]["sha256"] == of_secret
    secret.write_text("another secret")
    probe.record(str(run), None, tmp_path / "again.npz")
    given = ("repro", run, "--layer", "first", "--anyway", "-o", tmp_path / "shown")
    assert request.getfixturevalue("probe")(*given)[0] == 0
    assert files_of(probe.open_model(run)) == [str(run)]
    for path in (tmp_path / "again.npz", tmp_path / "shown" / "call.npz"):
        assert indexed(path)["model"]["sha256"] == of_secret
    given = ("repro", tmp_path / "shown" / "call.npz", *given[2:])
    assert "being read" in request.getfixturevalue("probe")(*given)[2]
    probe.record(str(run), None, f"{tmp_path}/again/")
    for path in (run, tmp_path / "again"):
        with pytest.raises(probe.ProbeError, match="being read"):
            probe.record(path, None, path)
        assert probe.check(path, "first").ok


def test_a_folder_may_have_more_arrays_than_a_process_may_have_files_open(tmp_path):
    names = [f"layer{number}" for number in range(60)]
    relus = {name: (lambda x: np.maximum(x, 0) + 1, None) for name in names}
    probe.record(ChainModel(relus), X, f"{tmp_path}/run/")
    assert len(list((tmp_path / "run").glob("*.npy"))) > 60
    code = (
        "import resource\n"
        "import probe\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        f"recording = probe.open_model({str(tmp_path / 'run')!r})\n"
        "print(len([report.verdict for report in probe.sweep(recording)]))\n"
    )
    command = [sys.executable, "-c", code]
    # Python looks for packages where it is started, which may be a checkout.
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.stdout == "60\n", run.stderr
