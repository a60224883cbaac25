"""Runs cases: one process imports the frameworks once, and forks a child for the commands of each
case.

A child that hangs or eats memory is killed without a loss to the others. Requests and answers are
JSON, a line each, on the standard streams; the answers are made of plain values, which `judge`
reads.
"""

import contextlib
import ctypes
import faulthandler
import functools
import gc
import hashlib
import importlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hostile.case import CASES, Place, Run

GIB = 2**30
SECONDS = 10.0
CANARY = "CANARYd41f8c"
CANARY_NUMBER = 31337.4375
# What is imported before a fork, by the formats that need it: the less there is, the cheaper is a
# fork.
ONNX, TORCH = ("onnx", "onnxruntime", "h5py", "ml_dtypes"), ("torch", "safetensors")
KERAS = ("tensorflow", "tf_keras", "keras", "qkeras")
FAMILIES = {
    "arrays": (("npy", "npz", "text", "onnx"), ONNX),
    "gguf": (("gguf",), (*ONNX, "gguf")),
    "tflite": (("tflite",), (*ONNX, "ai_edge_litert")),
    "torch": (("pt", "safetensors", "torchscript", "pt2"), (*ONNX, *TORCH)),
    "keras": (("h5", "keras", "qkeras", "savedmodel"), (*ONNX, *KERAS)),
    "all": (("path", "command"), (*ONNX, *TORCH, *KERAS)),
}
FORKING: list[int] = []
"""The process that forks those in which SavedModels run: one for all cases, since it imports
TensorFlow."""
FAMILY = {format: family for family, (formats, _) in FAMILIES.items() for format in formats}
ORDER = list(FAMILIES)
KNOWN = {
    *ONNX,
    *TORCH,
    *KERAS,
    "probe",
    "numpy",
    "click",
    "rich",
    "sympy",
    "threadpoolctl",
    "torchvision",
    "transformers",
    "peft",
}


def environment(root: Path) -> dict[str, str]:
    """What every command runs under."""
    return {
        **os.environ,
        "HOME": str(root / "home"),
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONFAULTHANDLER": "1",
        "COLUMNS": "200",
    }


def place(root: Path, name: str, port: int) -> Place:
    """The case's folder, empty, with the canaries beside it."""
    outer = root / "cases" / name.replace("/", "~")
    shutil.rmtree(outer, ignore_errors=True)
    (outer / "work").mkdir(parents=True)
    (outer / "tmp").mkdir()
    here = Place(outer / "work", port)
    here.canary.write_text("".join(f"{CANARY}{i}\n" for i in range(50)))
    numbers = np.full(4096, CANARY_NUMBER, np.float32)
    here.canary_numbers.write_bytes(numbers.tobytes())
    np.save(here.canary_array, numbers)
    import h5py  # this module is read before any framework

    with h5py.File(here.canary_hdf5, "w") as file:
        file["secret"] = numbers[:12].reshape(4, 3)
        file["bias"] = numbers[:3]
    return here


class Opened:
    """Which of some files were opened since: inotify, which sees what libraries in C open too."""

    def __init__(self, paths: list[Path]):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        in_open = 0x20
        self._names = {
            self._libc.inotify_add_watch(self._descriptor, str(path).encode(), in_open): path.name
            for path in paths
        }
        assert min(self._names) > 0

    def close(self) -> list[str]:
        """The names of the files that were opened."""
        try:
            events = os.read(self._descriptor, 1 << 16)
        except BlockingIOError:
            events = b""
        os.close(self._descriptor)
        found, at = set(), 0
        while at < len(events):
            watch, _, _, size = struct.unpack_from("iIII", events, at)
            found.add(self._names.get(watch, "?"))
            at += 16 + size
        return sorted(found)


def snapshot(outer: Path) -> dict[str, str]:
    """Everything below a folder, by kind and content."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(outer)):
        for name in (*folders, *files):
            path = os.path.join(folder, name)  # noqa: PTH118  # names need not be text
            state = os.lstat(path)
            if stat.S_ISREG(state.st_mode):
                if state.st_size < 2**24 and state.st_mode & 0o400:
                    with open(path, "rb") as file:  # noqa: PTH123
                        content = hashlib.md5(file.read()).hexdigest()
                else:
                    content = str(state.st_mtime_ns)
                what = f"file {state.st_size} {content}"
            elif stat.S_ISLNK(state.st_mode):
                what = f"link {Path(os.fsdecode(path)).readlink()}"
            else:
                what = str(stat.S_IFMT(state.st_mode))
            found[os.path.relpath(path, os.fsencode(outer)).decode("utf-8", "backslashreplace")] = (
                what
            )
    return found


def _status(pid: int) -> tuple[float, int]:
    """Seconds of processor time so far, and the greatest resident size."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    peak = 0
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1]) * 1024
    return seconds, peak


def _aside() -> tuple[float, int]:
    """The same of the processes in which SavedModels run, all together and of the largest."""
    states = [(0.0, 0)]
    for forking in FORKING:
        children = Path(f"/proc/{forking}/task/{forking}/children").read_text(encoding="utf-8")
        for child in map(int, children.split()):
            with contextlib.suppress(OSError, IndexError):  # it has just ended
                states.append(_status(child))
    return sum(seconds for seconds, _ in states), max(size for _, size in states)


def watch(
    pid: int, base: int, seconds: float = SECONDS, *, spent: float = 0.0, answers: int | None = None
) -> dict:
    """Waits for a child, and ends it where it hangs or its memory grows by more than 1 GiB; from a
    base of 0 it is only measured.

    A hang is processor time beyond the limit, what was `spent` before aside, or as much of the
    clock with hardly any: the machine may be busy with others. A child that runs several commands
    writes the exit status of each to `answers`, and lives on.
    """
    start, used, peak, how = time.monotonic(), 0.0, 0, "exit"
    ended = os.pidfd_open(pid)
    waited = [ended] if answers is None else [ended, answers]
    while True:
        try:
            total, peak_now = _status(pid)
            aside, peak_aside = _aside()
            used, peak = total + aside - spent, max(peak, peak_now, peak_aside)
        except (OSError, IndexError):  # it has just ended
            pass
        if answers is not None and (answer := _read(answers)):
            os.close(ended)
            return _end("exit", int(answer), used, peak - base)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        passed = time.monotonic() - start
        if base and peak - base > GIB:
            how = "memory"
        elif used > seconds or (passed > seconds and used < 0.1 * passed) or passed > 9 * seconds:
            how = "hang"
        if how != "exit":
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        select.select(waited, [], [], 0.01)
    os.close(ended)
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    code = os.waitstatus_to_exitcode(status)
    if how == "exit" and code < 0:
        how = f"signal {-code}"
    return _end(how, code, used, peak - base)


def _end(how: str, status: int, seconds: float, growth: int) -> dict:
    return {"how": how, "status": status, "seconds": seconds, "growth": max(0, growth) / GIB}


def _read(descriptor: int) -> bytes:
    """What lies ready there."""
    try:
        return os.read(descriptor, 64)
    except BlockingIOError:
        return b""


def _fork() -> int:
    """A child that leads a group of its own: its number, and 0 in the child."""
    pid = os.fork()
    try:
        os.setpgid(pid, pid)
    except (PermissionError, ProcessLookupError):
        pass
    return pid


def _perform(act, out: Path, err: Path) -> int:
    """The exit status of `act`, with standard streams of its own; in a child."""
    code = 70
    for path, descriptor in ((os.devnull, 0), (out, 1), (err, 2)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
        os.close(opened)
    # A log keeps the stream that it was made with, which must not close the next command's.
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(0, closefd=False),
        os.fdopen(1, "w", closefd=False),
        os.fdopen(2, "w", errors="backslashreplace", closefd=False),
    )
    faulthandler.enable(2)
    try:
        code = act() or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _alone(act, out: Path, err: Path) -> dict:
    """What `act`, which is ours, ends with in a child of its own; it is only measured, and waited
    for where the machine is busy."""
    if pid := _fork():
        return watch(pid, 0, 6 * SECONDS)
    code = 70
    try:
        code = _perform(act, out, err)
    finally:
        os._exit(code)


def _command(arguments: Sequence[str]):
    def act():
        from probe.cli import main

        sys.argv = ["probe", *arguments]
        main()

    return act


class Forked:
    """A fork of this process that runs the commands of a case one after another, and is made anew
    where one has ended it: a fork costs as much as a command."""

    def __init__(self, here: Place):
        self._here, self._pid = here, 0

    def run(self, arguments: Sequence[str], out: Path, err: Path) -> dict:
        """What a command ended with."""
        if not self._pid:
            self._begin()
        # The greatest resident size is counted from here.
        Path(f"/proc/{self._pid}/clear_refs").write_text("5", encoding="utf-8")
        spent, resident = _status(self._pid)
        spent += _aside()[0]
        os.write(self._requests, json.dumps([arguments, str(out), str(err)]).encode() + b"\n")
        ended = watch(self._pid, resident, spent=spent, answers=self._answers)
        try:
            gone = os.waitpid(self._pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # it was waited for
            gone = True
        if gone:
            self._forget()
        return ended

    def _begin(self) -> None:
        requests, self._requests = os.pipe()
        self._answers, answers = os.pipe()
        os.set_blocking(self._answers, False)
        self._pid = _fork()
        if self._pid:
            os.close(requests)
            os.close(answers)
            return
        try:
            self._serve(requests, answers)
        finally:
            os._exit(70)

    def _serve(self, requests: int, answers: int) -> None:
        environment = {**os.environ, "TMPDIR": str(self._here.work.parent / "tmp")}
        for line in os.fdopen(requests):
            arguments, out, err = json.loads(line)
            os.chdir(self._here.work)
            os.environ.clear()
            os.environ.update(environment)
            code = _perform(_command(arguments), Path(out), Path(err))
            os.write(answers, b"%d" % code)

    def _forget(self) -> None:
        os.close(self._requests)
        os.close(self._answers)
        self._pid = 0

    def close(self) -> None:
        if self._pid:
            os.killpg(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._forget()


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(2_000_000).decode("utf-8", "backslashreplace")


class Runner:
    """Runs a case's commands, in a fork of this process or each as a process of its own."""

    def __init__(self, root: Path):
        self.root = root
        (root / "home").mkdir(parents=True, exist_ok=True)
        (root / "out").mkdir(exist_ok=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.port = self.server.getsockname()[1]

    def close(self) -> None:
        self.server.close()

    def _asked(self) -> bool:
        """Whether somebody connected to the server."""
        try:
            self.server.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def build(self, name: str) -> Place:
        here = place(self.root, name, self.port)
        case = CASES[name]
        if case.format not in ("torchscript", "pt2"):
            before = Path.cwd()
            os.chdir(here.work)
            case.build(here)
            os.chdir(before)
            return here
        # These compute: a fork of a process whose threads compute would hang.
        out, err = (self.root / "out" / f"build.{stream}" for stream in ("out", "err"))

        def act():
            case.build(here)

        ended = _alone(act, out, err)
        assert ended["status"] == 0, f"{name} cannot be built: {ended}\n{_text(err)[-3000:]}"
        return here

    def case(self, name: str, whole: tuple[int, float] | None = None) -> list[dict]:
        """What each command of a case ended with, up to one that had to be ended.

        `whole`: peak memory and seconds of a healthy process to count from.
        """
        here, ends = self.build(name), []
        if CASES[name].format == "savedmodel" and not FORKING:
            FORKING.append(_forking())
        with contextlib.closing(Forked(here)) as forked:
            for run in CASES[name].runs:
                ends.append(self._run(here, run, whole, forked))
                if ends[-1]["how"] != "exit":
                    break
        return ends

    def _run(self, here: Place, run: Run, whole: tuple[int, float] | None, forked: Forked) -> dict:
        outer = here.work.parent
        out, err = (self.root / "out" / f"{outer.name}.{stream}" for stream in ("out", "err"))
        before = snapshot(outer)
        opened = Opened([path for path in outer.iterdir() if path.name.startswith("canary")])
        if whole is None and not run.shell and not run.environment:
            ended = forked.run(run.arguments, out, err)
        else:
            ended = self._process(here, run, out, err, whole or (0, SECONDS))
        touched = opened.close()
        after = snapshot(outer)
        changes = {
            path for path in before.keys() | after.keys() if before.get(path) != after.get(path)
        }
        return {
            **ended,
            "out": _text(out),
            "err": _text(err),
            "opened": touched,
            "asked": self._asked(),
            # ONNX Runtime leaves `.ses` in the folder for temporary files when it is imported.
            "changed": sorted(changes - {f"work/{name}" for name in run.writes} - {"tmp/.ses"}),
        }

    def _process(
        self, here: Place, run: Run, out: Path, err: Path, healthy: tuple[int, float]
    ) -> dict:
        program = Path(sys.executable).with_name("probe")
        out.write_bytes(b"")
        with err.open("wb") as errors:
            child = subprocess.Popen(
                # A closed descriptor needs a shell: nothing of Python's can start a process without
                # one. In a path with spaces the script itself is one of a shell, which speaks too.
                [
                    *("/bin/sh", "-c", run.shell or 'exec "$0" "$@" >"$OUT"'),
                    *(sys.executable, program, *run.arguments),
                ],
                cwd=here.work,
                env={
                    **environment(self.root),
                    "TMPDIR": str(here.work.parent / "tmp"),
                    "OUT": str(out),
                    **dict(run.environment),
                },
                stdin=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            base, seconds = healthy
            ended = watch(child.pid, base, SECONDS + seconds)
            child.returncode = ended["status"]
        return ended


def _forking() -> int:
    """The number of the process that forks those in which SavedModels run, once it has begun."""
    from probe.adapters.saved_model.processes import Worker, start_forking

    process, _ = start_forking()
    with contextlib.closing(Worker(list)) as worker:
        worker.start()
    return process.pid


def _learn(runner: Runner, formats: Sequence[str]) -> None:
    """Imports what the healthy cases of these formats import on their way, so that no fork imports
    it again."""
    names = runner.root / "modules.json"

    def act_of(run: Run, here: Place):
        def act():
            os.chdir(here.work)
            try:
                _command(run.arguments)()
            finally:
                names.write_text(json.dumps(list(sys.modules)))

        return act

    for case in [
        case for case in CASES.values() if case.kind == "healthy" and case.format in formats
    ]:
        here = runner.build(case.name)
        _alone(
            act_of(case.runs[-1], here),
            runner.root / "out" / "learn.out",
            runner.root / "out" / "learn.err",
        )
        for name in json.loads(names.read_text(encoding="utf-8")):
            if name not in sys.modules and name.partition(".")[0] in KNOWN:
                try:
                    importlib.import_module(name)
                except Exception as why:
                    print(f"{name}: {why}", file=sys.stderr)


def serve(root: Path, family: str) -> None:
    """Answers requests for cases of a family until its input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints on import
    os.environ.update(environment(root))
    import probe.cli  # noqa: F401

    _, frameworks = FAMILIES[family]
    for name in frameworks:
        importlib.import_module(name)
    runner = Runner(root)
    _learn(
        runner, [format for format in FAMILY if set(FAMILIES[FAMILY[format]][1]) <= set(frameworks)]
    )
    # A child that collects garbage would copy every page of what was imported here.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        try:
            answer = {"runs": runner.case(json.loads(line)["case"])}
        except BaseException:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Worker:
    """The process that serves a family, seen from the tests; one at a time, or one alone that
    serves every case: a few of each are not worth four starts."""

    def __init__(self, root: Path, alone: str = ""):
        self._root, self._alone, self._family = root, alone, ""
        self._process: subprocess.Popen | None = None

    def case(self, name: str) -> list[dict]:
        """What each command of a case ended with."""
        family = self._alone or FAMILY[CASES[name].format]
        if self._family != family:
            self.close()
            self._start(family)
        assert self._process and self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"case": name}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the worker has ended; see {self._root / self._family}.log"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["runs"]

    def _start(self, family: str) -> None:
        self._family = family
        code = (
            "from hostile import corpus, "
            f"worker\nworker.serve(worker.Path({str(self._root / family)!r}), {family!r})"
        )
        with (self._root / f"{family}.log").open("w") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{code}",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(self._root),
            )

    def close(self) -> None:
        if self._process and self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(120)
            self._process.stdout.close()


@functools.cache
def measured(format: str) -> tuple[int, float]:
    """Peak memory and seconds of a whole process on a healthy file of a format, to count from."""
    wanted = {"npz": "npy", "path": "onnx", "command": "onnx"}.get(format, format)
    name = next(
        case.name for case in CASES.values() if (case.format, case.kind) == (wanted, "healthy")
    )
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(Runner(Path(folder))) as runner:
            ended = runner.case(name, whole=(0, 60.0))[-1]
    assert ended["how"] != "hang", ended
    return int(ended["growth"] * GIB), ended["seconds"]


def judge(run: Run, ended: dict) -> list[str]:
    """What is wrong with how a command ended; nothing where all is well."""
    faults = []
    out, err = ended["out"], ended["err"]
    if ended["how"] != "exit":
        faults.append(
            f"ended by {ended['how']} after {ended['seconds']:.1f} s, "
            f"{ended['growth']:.2f} GiB more"
        )
    elif ended["status"] not in run.allowed:
        faults.append(f"exit {ended['status']}, allowed {sorted(run.allowed)}")
    if ended["growth"] > 1 and ended["how"] != "memory":
        faults.append(f"{ended['growth']:.2f} GiB more memory")
    if "Traceback (most recent call last)" in out + err or "Fatal Python error" in err:
        faults.append(f"traceback: {err.strip().splitlines()[-1][:300] if err.strip() else ''}")
    lines = err.splitlines()
    if ended["how"] == "exit" and "Traceback" not in err:
        if ended["status"] == 2 and not out.strip() and not lines and not run.shell:
            faults.append("not a word")
        if ended["status"] in (0, 1) and lines:
            faults.append(f"standard error on success: {err[:300]!r}")
        if ended["status"] == 2 and lines and (len(lines) > 1 or not err.startswith("probe: ")):
            faults.append(f"more than one sentence: {err[:500]!r}")
    for stream, text in (("output", out), ("error", err)):
        if unprintable := sorted(
            {character for character in text if character not in "\n\t" and _controls(character)}
        ):
            faults.append(f"control characters on standard {stream}: {unprintable!r}")
        # A listing has a line for each layer, however many there are; one sentence is short.
        if max(map(len, text.splitlines() or [""])) > 4_000 or (
            stream == "error" and len(text) > 8_000
        ):
            faults.append(f"{len(text)} characters on standard {stream}")
        if CANARY in text or str(int(CANARY_NUMBER)) in text:
            faults.append(f"a canary on standard {stream}")
    for what in ("opened", "changed"):
        if ended[what]:
            faults.append(f"{what}: {', '.join(ended[what])}")
    if ended["asked"]:
        faults.append("asked a server")
    return faults


def _controls(character: str) -> bool:
    """C0, C1, DEL, and what turns the direction of text."""
    code = ord(character)
    return code < 32 or 127 <= code < 160 or 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
