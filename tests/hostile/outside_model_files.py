"""Hostile model files, written by somebody who had read the documentation alone.

python tests/hostile/outside_model_files.py [PREFIX ...] [--verbose] [--table FILE]

Each case builds its input in a temporary folder, runs `probe` on it in a child process and says
"held", or "found" and what. Every run is judged for more than its case asks: no traceback, no
internal error, nothing run, written or left behind, no control characters, memory and time.
"""

import argparse
import atexit
import base64
import hashlib
import io
import json
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import textwrap
import time
import traceback
import zipfile
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples"
MEMORY = 4 << 30  # more than this is found
SECONDS = 60  # of processor time: more is found
WALL = 150  # a run is ended after it
ESCAPES = {*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
SECRET = 54321.125  # the number in files that no model may read

CASES = {}  # name: (kind of child, function)


def case(kind):
    """Registers a function under its own name; its docstring says what should happen."""

    def register(function):
        CASES[function.__name__] = (kind, function)
        return function

    return register


def table(kind, prefix, function, entries):
    """Registers function(tool, *entry) for each entry."""
    for name, entry in entries.items():
        entry = entry if isinstance(entry, tuple) else (entry,)
        CASES[f"{prefix}_{name}"] = (kind, lambda tool, entry=entry: function(tool, *entry))


class Run:
    """What one run of the command did."""

    def __init__(self, argv, status, out, err, seconds, peak, ended):
        self.argv, self.status, self.out, self.err = argv, status, out, err
        self.seconds, self.peak, self.ended = seconds, peak, ended

    @property
    def text(self):
        return self.out + self.err

    def __str__(self):
        last = (self.err.strip() or self.out.strip()).splitlines()
        return f"status {self.status}, {self.seconds:.1f} s, {self.peak >> 20} MiB: " + " / ".join(last[-3:])[:600]


class Found(Exception):
    """A promise that is not kept."""


class Tool:
    """A temporary folder, and the command run in it."""

    def __init__(self, root):
        self.root = Path(root)
        self.dir, self.canary, self.secret = self.root / "work", self.root / "canary", self.root / "secret"
        for one in (self.dir, self.canary, self.secret, self.root / "tmp", self.root / "home"):
            one.mkdir()
        self.runs, self.problems = [], []
        os.chdir(self.dir)

    @property
    def mark(self):
        """The file whose existence says that code was run."""
        return str(self.canary / "ran")

    def tree(self):
        found = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                at = path.lstat()
                if path.is_symlink() or not path.is_file() or at.st_size > 64 << 20:
                    found[str(path)] = (at.st_size, at.st_mtime_ns)
                else:
                    found[str(path)] = hashlib.sha1(path.read_bytes()).hexdigest()
        return found

    def child(self, work, env=None, limit=WALL, stdin=None):
        """Runs work() in a forked child; (status, out, err, seconds, peak, ended)."""
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        pid = os.fork()
        if not pid:
            code = 70
            try:
                os.setsid()
                os.chdir(self.dir)
                os.environ.update(TMPDIR=str(self.root / "tmp"), HOME=str(self.root / "home"), **(env or {}))
                tempfile.tempdir = None
                os.dup2(os.open(stdin or os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
                sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True)
                sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True, errors="backslashreplace")
                held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (held + (10 << 30),) * 2)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                    signal.signal(one, signal.SIG_DFL if one != signal.SIGINT else signal.default_int_handler)
                try:
                    code = work() or 0
                except SystemExit as end:
                    code = end.code
                    if isinstance(code, str):
                        print(code, file=sys.stderr)
                        code = 1
                    code = 0 if code is None else code
                except BaseException:
                    traceback.print_exc()
                    code = 1
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        began, peak, base, ended = time.monotonic(), 0, None, ""
        while True:
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                break
            try:
                rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
                base = rss if base is None else base
                peak = max(peak, rss - base)
            except (OSError, IndexError, ValueError):
                pass
            if peak > MEMORY:
                ended = f"more than {MEMORY >> 30} GiB of memory"
            elif time.monotonic() - began > limit:
                ended = f"more than {limit} s"
            if ended:
                os.killpg(pid, signal.SIGKILL)
                _, status, used = os.wait4(pid, 0)
                break
            time.sleep(0.005)
        seconds = used.ru_utime + used.ru_stime
        texts = []
        for one in (out, err):
            one.seek(0)
            texts.append(one.read(4 << 20).decode("utf-8", "backslashreplace"))
            one.close()
        code = os.waitstatus_to_exitcode(status)
        return code, *texts, seconds, peak, ended

    def build(self, work):
        """Runs work() in a child, for frameworks that leave something behind in a process."""
        status, out, err, *_ = self.child(work)
        if status:
            raise RuntimeError(f"the case could not be built: {(err or out)[-1500:]}")

    def probe(self, *argv, writes=(), env=None, limit=WALL, quick=SECONDS, stdin=None, control=False):
        """Runs the command and judges what holds for every run."""
        argv = [str(one) for one in argv]
        before = self.tree()

        def work():
            from probe.cli import main

            sys.argv = ["probe", *argv]
            return main()

        run = Run(argv, *self.child(work, env, limit, stdin))
        self.judge(run, before, writes, quick, control)
        return run

    def python(self, code, writes=(), limit=WALL, **names):
        """Runs a program that imports probe, and judges it like a run of the command."""
        before = self.tree()
        code = textwrap.dedent(code)

        def work():
            exec(compile(code, "<case>", "exec"), {"__name__": "__main__", **names})

        run = Run(["python", code], *self.child(work, None, limit))
        self.judge(run, before, writes, SECONDS, False)
        return run

    def judge(self, run, before, writes, quick, control):
        self.runs.append(run)
        say = self.problems.append
        if run.ended:
            say(f"ended after {run.ended}")
        elif run.status not in (0, 1, 2):
            say(f"exit status {run.status}")
        if run.seconds > quick and not run.ended:
            say(f"{run.seconds:.0f} s of processor time")
        if "Traceback (most recent call last)" in run.text:
            say("a traceback: " + run.text.strip().splitlines()[-1][:300])
        for words in ("internal error", "report this bug", "please report"):
            if words in run.text.lower():
                at = run.text.lower().index(words)
                say("says: " + " ".join(run.text[max(0, at - 200) : at + 300].split()))
                break
        if not control and (odd := {ord(c) for c in run.text} & ESCAPES - {0x0A}):
            if "\r" in run.err and odd <= {0x0D}:
                odd = set()
            if odd:
                say(f"prints control characters {[hex(one) for one in sorted(odd)]}")
        if os.path.exists(self.mark):
            say("code of the file was run")
        if f"{SECRET:g}"[:5] in run.text.replace(str(self.root), "") and "secret-shown" not in str(run.argv):
            say("a number of a file that is not the model's is shown")
        after = self.tree()
        allowed = tuple(str(self.dir / one) for one in writes)
        for path in sorted(set(after) | set(before)):
            if after.get(path) != before.get(path) and not path.startswith(allowed or ("\0",)):
                what = "left" if path not in before else "removed" if path not in after else "changed"
                if path != self.mark:
                    say(f"{what} {os.path.relpath(path, self.root)}")

    # what a case may ask of a run

    def ask(self, holds, words):
        if not holds:
            self.problems.append(words)

    def refused(self, run, says=None):
        """Exit status 2 and one sentence."""
        self.ask(run.status == 2 or run.ended, f"not refused (exit status {run.status}): {last(run.text)}")
        lines = [line for line in run.err.splitlines() if line.strip()]
        if run.status == 2:
            self.ask(lines, "exit status 2 without a sentence on standard error")
            starts = [line for line in lines if line.startswith(("probe", "Error", "Usage"))]
            self.ask(not lines or starts, f"standard error is no sentence of probe: {last(run.err)}")
            told = sum(len(line) for line in lines)
            self.ask(told < 1500, f"{told} characters on standard error in {len(lines)} lines")
        if says:
            self.ask(says.lower() in run.err.lower(), f"does not say {says!r}: {last(run.err)}")

    def exits(self, run, *statuses):
        self.ask(run.status in statuses or run.ended, f"exit status {run.status}, expected {statuses}: {last(run.text)}")

    def agrees(self, run):
        self.exits(run, 0)

    def diverges(self, run):
        self.exits(run, 1)

    def disagrees(self, run):
        """Anything but an agreement."""
        self.ask(run.status != 0, f"exit status 0: {last(run.out)}")

    def absent(self, *paths):
        for path in paths:
            self.ask(not os.path.lexists(self.dir / path), f"{path} was written")

    def write(self, name, content):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def last(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " / ".join(lines[-2:])[:400]


IMPORTS = {
    "light": ("onnx", "onnxruntime", "h5py", "safetensors.numpy", "rich", "jinja2", "ml_dtypes"),
    "torch": ("onnx", "onnxruntime", "torch"),
    "keras": ("onnx", "onnxruntime", "h5py", "tensorflow", "keras", "tf_keras"),
    "hf": ("onnx", "onnxruntime", "torch", "transformers", "safetensors.torch", "tokenizers"),
}


def run_case(name, function, pipe, keep):
    """In a child of the child that has the frameworks: one case, its verdict to the pipe."""
    root = tempfile.mkdtemp(prefix="outside-")
    verdict, what, runs = "held", [], []
    try:
        tool = Tool(root)
        try:
            function(tool)
        except Found as error:
            tool.problems.append(str(error))
        verdict, what = ("found" if tool.problems else "held"), list(dict.fromkeys(tool.problems))
        runs = [("probe " + " ".join(r.argv))[:300] + f"  [{r}]" for r in tool.runs]
    except BaseException:
        verdict, what = "broken", [traceback.format_exc()[-1500:]]
    finally:
        os.chdir("/")
        if not keep:
            for folder, names, _ in os.walk(root):
                for one in names:
                    path = os.path.join(folder, one)
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
            shutil.rmtree(root, ignore_errors=True)
    with os.fdopen(pipe, "w") as file:
        json.dump({"name": name, "verdict": verdict, "what": what, "runs": runs, "root": root if keep else ""}, file)


def run_kind(kind, names, report, keep):
    """In a child: imports the frameworks once, then forks for each case."""
    import importlib

    os.environ.update(OMP_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1")
    os.environ.pop("PROBE_TRACEBACK", None)
    os.environ["HOME"] = home = tempfile.mkdtemp(prefix="outside-home-")
    devnull, kept = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    os.dup2(devnull, 2)
    try:
        for module in IMPORTS[kind]:
            importlib.import_module(module)
        importlib.import_module("probe.cli")
    finally:
        os.dup2(kept, 2)
    if kind in ("torch", "hf"):
        sys.modules["torch"].set_num_threads(1)
    for name in names:
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            os.setsid()
            run_case(name, CASES[name][1], write, keep)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as file:
            text = file.read()
        os.waitpid(pid, 0)
        result = json.loads(text) if text else {"name": name, "verdict": "broken", "what": ["the case died"], "runs": []}
        report(result)
    shutil.rmtree(home, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__.splitlines()[0])
    parser.add_argument("prefix", nargs="*", help="run the cases whose names begin with one of these")
    parser.add_argument("--verbose", action="store_true", help="show every run")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folders, and say where")
    parser.add_argument("--table", help="append the results to this file, a line of JSON each")
    options = parser.parse_args()
    chosen = [n for n in CASES if not options.prefix or n.startswith(tuple(options.prefix))]
    if options.list:
        print("\n".join(f"{CASES[name][0]:6} {name}" for name in chosen))
        return 0
    counts = {}
    for kind in IMPORTS:
        names = [name for name in chosen if CASES[name][0] == kind]
        if not names:
            continue
        read, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            os.close(read)
            code = 1
            try:
                with os.fdopen(write, "w") as pipe:
                    run_kind(kind, names, lambda r, p=pipe: (p.write(json.dumps(r) + "\n"), p.flush()), options.keep)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(write)
        with os.fdopen(read) as pipe:
            for line in pipe:
                result = json.loads(line)
                counts[result["verdict"]] = counts.get(result["verdict"], 0) + 1
                if result["verdict"] != "held" or options.verbose:
                    print(f"{result['verdict']:6} {result['name']}" + "".join(f"\n         {w}" for w in result["what"]))
                    if options.verbose or options.keep:
                        print("".join(f"       $ {run}\n" for run in result["runs"]) + f"         {result['root']}")
                sys.stdout.flush()
                if options.table:
                    with open(options.table, "a") as file:
                        file.write(json.dumps(result) + "\n")
        os.waitpid(pid, 0)
    print(", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no such case")
    return 1 if set(counts) - {"held"} else 0


# --- ONNX ---------------------------------------------------------------------------------------


def node(kind, inputs, outputs, name="", **attributes):
    from onnx import helper

    return helper.make_node(kind, inputs, outputs, name=name or kind.lower(), **attributes)


def tensor(name, array):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array), name)


def onnx_model(nodes, initializers=(), x=(2, 4), y=None, opset=17, functions=(), dtype=1, out=1, **extra):
    from onnx import helper

    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in extra.pop("domains", ())]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info("y", out, y)],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions), **extra)


def save_onnx(tool, model, name="m.onnx"):
    return tool.write(name, model.SerializeToString())


def eye(name="w"):
    return tensor(name, np.eye(4, 3, dtype=np.float32))


def external(name, dims, location, **more):
    """A tensor whose numbers lie in another file."""
    from onnx import TensorProto

    held = TensorProto(name=name, data_type=1, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        entry = held.external_data.add()
        entry.key, entry.value = key, str(value)
    return held


def secret_file(tool, name="secret.bin", count=12):
    path = tool.secret / name
    path.write_bytes(np.full(count, SECRET, np.float32).tobytes())
    return path


def onnx_external(tool, location, more=None, prepare=None):
    """A weight from outside of the model's folder: refused in one sentence."""
    secret = secret_file(tool)
    if prepare:
        prepare(tool, secret)
    save_onnx(tool, onnx_model([node("MatMul", ["x", "w"], ["y"])], [external("w", [4, 3], location.format(secret=secret), **(more or {}))]))
    tool.refused(tool.probe("m.onnx", "--all", "--json", "-"))


table(
    "light",
    "onnx_external",
    onnx_external,
    {
        "absolute": "{secret}",
        "parent": "../secret/secret.bin",
        "parent_in_middle": "a/../../secret/secret.bin",
        "symlink": ("w.bin", None, lambda t, s: os.symlink(s, t.dir / "w.bin")),
        "folder_symlink": ("d/secret.bin", None, lambda t, s: os.symlink(s.parent, t.dir / "d")),
        "fifo": ("w.bin", None, lambda t, s: os.mkfifo(t.dir / "w.bin")),
        "directory": ("w.bin", None, lambda t, s: os.mkdir(t.dir / "w.bin")),
        "device": "/dev/zero",
        "proc": "/proc/self/mem",
        "missing": "nowhere.bin",
        "empty_name": "",
        "dot": ".",
        "nul": "w\0.bin",
        "url": "http://127.0.0.1:9/w.bin",
        "file_url": "file://{secret}",
        "backslashes": "..\\secret\\secret.bin",
        "long_name": "w" * 5000,
        "offset_beyond": ("w.bin", {"offset": 10**18}, lambda t, s: t.write("w.bin", bytes(48))),
        "offset_negative": ("w.bin", {"offset": -4}, lambda t, s: t.write("w.bin", bytes(48))),
        "offset_word": ("w.bin", {"offset": "0x10"}, lambda t, s: t.write("w.bin", bytes(48))),
        "length_short": ("w.bin", {"length": 4}, lambda t, s: t.write("w.bin", bytes(48))),
        "length_huge": ("w.bin", {"length": 2**63}, lambda t, s: t.write("w.bin", bytes(48))),
        "too_short": ("w.bin", None, lambda t, s: t.write("w.bin", bytes(40))),
    },
)


@case("light")
def onnx_external_in_constant(tool):
    """A Constant node whose tensor lies outside: refused."""
    from onnx import AttributeProto, helper

    secret_file(tool)
    constant = helper.make_node("Constant", [], ["w"], name="constant")
    constant.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=external("w", [4, 3], "../secret/secret.bin")))
    save_onnx(tool, onnx_model([constant, node("MatMul", ["x", "w"], ["y"])]))
    tool.refused(tool.probe("m.onnx", "--all"))


@case("light")
def onnx_external_in_function(tool):
    """A Constant inside of a function whose tensor lies outside: refused."""
    from onnx import AttributeProto, helper

    secret_file(tool)
    constant = helper.make_node("Constant", [], ["w"])
    constant.attribute.append(AttributeProto(name="value", type=AttributeProto.TENSOR, t=external("w", [4, 3], "../secret/secret.bin")))
    function = helper.make_function("own", "F", ["a"], ["b"], [constant, helper.make_node("MatMul", ["a", "w"], ["b"])], [helper.make_opsetid("", 17)])
    save_onnx(tool, onnx_model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[function], domains=["own"]))
    tool.refused(tool.probe("m.onnx", "--all"))


@case("light")
def onnx_external_in_branch(tool):
    """A weight of an If branch that lies outside: refused."""
    from onnx import helper

    secret_file(tool)
    out = helper.make_tensor_value_info("b", 1, None)
    branch = helper.make_graph([node("MatMul", ["x", "w"], ["b"])], "t", [], [out], [external("w", [4, 3], "../secret/secret.bin")])
    other = helper.make_graph([node("MatMul", ["x", "v"], ["b"])], "e", [], [out], [eye("v")])
    save_onnx(tool, onnx_model([node("If", ["c"], ["y"], then_branch=branch, else_branch=other)], [tensor("c", True)]))
    tool.refused(tool.probe("m.onnx", "--all"))


@case("light")
def onnx_external_beside_is_right(tool):
    """External data beside the model is read; its values agree."""
    tool.write("w.bin", np.eye(4, 3, dtype=np.float32).tobytes())
    save_onnx(tool, onnx_model([node("MatMul", ["x", "w"], ["y"])], [external("w", [4, 3], "w.bin")]))
    tool.agrees(tool.probe("m.onnx", "--all"))


def onnx_bytes(tool, change):
    """Damaged bytes: refused in one sentence."""
    whole = onnx_model([node("MatMul", ["x", "w"], ["a"]), node("Softmax", ["a"], ["y"])], [eye()]).SerializeToString()
    tool.write("m.onnx", change(whole))
    tool.refused(tool.probe("m.onnx", "--all"))
    tool.refused(tool.probe("m.onnx"))


table(
    "light",
    "onnx_bytes",
    onnx_bytes,
    {
        "empty": lambda w: b"",
        "one": lambda w: w[:1],
        "half": lambda w: w[: len(w) // 2],
        "last_missing": lambda w: w[:-1],
        "zeros": lambda w: bytes(10000),
        "random": lambda w: np.random.default_rng(0).bytes(5000),
        "text": lambda w: b"ir_version: 8\n",
        "gzip": lambda w: __import__("gzip").compress(w),
        "html": lambda w: b"<!DOCTYPE html><html>" + b"x" * 1000,
        "lfs_pointer": lambda w: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
        "length_lies": lambda w: w[:2] + b"\x3a\xff\xff\xff\xff\x7f" + w[2:],
        "groups_nested": lambda w: b"\x0b" * 100000,
    },
)


@case("light")
def onnx_bit_flips(tool):
    """Each of 40 flipped bytes: any verdict, or one sentence."""
    whole = bytearray(onnx_model([node("MatMul", ["x", "w"], ["a"]), node("Softmax", ["a"], ["y"])], [eye()]).SerializeToString())
    rng = np.random.default_rng(1)
    for at in rng.choice(len(whole), 40, replace=False):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.integers(8)
        tool.write("m.onnx", bytes(damaged))
        run = tool.probe("m.onnx", "--all")
        if run.status == 2 and not run.out:
            tool.refused(run)


def onnx_safe(tool, model, *arguments):
    """Whatever the model says: a verdict or one sentence, in bounded time and memory."""
    save_onnx(tool, model() if callable(model) else model)
    run = tool.probe("m.onnx", "--all", *arguments)
    if run.status == 2 and "unchecked" not in run.out:
        tool.refused(run)


def small(*nodes, **options):
    """A model made when its case runs."""
    return lambda: onnx_model([node(*a[:3], **(a[3] if len(a) > 3 else {})) for a in nodes], **{k: v() if callable(v) else v for k, v in options.items()})


def with_int(name, values):
    return lambda: [tensor(name, np.asarray(values, np.int64))]


def loop(trips, nested=0, condition=True):
    from onnx import helper

    info = helper.make_tensor_value_info

    def body(depth):
        inner = [node("Add", ["v", "v"], ["w"])] if not depth else [node("Loop", ["n", "c", "v"], ["w"], body=body(depth - 1))]
        return helper.make_graph(
            [node("Identity", ["d"], ["e"]), *inner],
            "body",
            [info("i", 7, []), info("d", 9, []), info("v", 1, None)],
            [info("e", 9, []), info("w", 1, None)],
        )

    return onnx_model([node("Loop", ["n", "c", "x"], ["y"], body=body(nested))], [tensor("n", np.int64(trips)), tensor("c", condition)])


def doubling(depth=40):
    """Functions that call the one before twice each."""
    from onnx import helper

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    functions = [helper.make_function("own", "F0", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)]
    for i in range(1, depth):
        twice = [helper.make_node(f"F{i - 1}", ["a"], ["m"], domain="own"), helper.make_node(f"F{i - 1}", ["m"], ["b"], domain="own")]
        functions.append(helper.make_function("own", f"F{i}", ["a"], ["b"], twice, opsets))
    return onnx_model([helper.make_node(f"F{depth - 1}", ["x"], ["y"], domain="own")], functions=functions, domains=["own"])


def recursive():
    from onnx import helper

    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("F", ["a"], ["b"], domain="own")], opsets)
    return onnx_model([helper.make_node("F", ["x"], ["y"], domain="own")], functions=[function], domains=["own"])


def nested_ifs(depth):
    from onnx import helper

    out = helper.make_tensor_value_info("b", 1, None)
    graph = helper.make_graph([node("Relu", ["x"], ["b"])], "leaf", [], [out])
    for _ in range(depth):
        graph = helper.make_graph([node("If", ["c"], ["b"], then_branch=graph, else_branch=helper.make_graph([node("Relu", ["x"], ["b"])], "e", [], [out]))], "n", [], [out])
    return onnx_model([node("If", ["c"], ["y"], then_branch=graph, else_branch=helper.make_graph([node("Relu", ["x"], ["b"])], "e", [], [out]))], [tensor("c", True)])


def chain(count, kind="Relu", twice=False):
    names = ["x"] + [f"t{i}" for i in range(1, count)] + ["y"]
    return onnx_model([node(kind, [a, a] if twice else [a], [b], name=f"n{i}") for i, (a, b) in enumerate(zip(names, names[1:]))])


def declared(dims, data=b"", data_type=1):
    from onnx import TensorProto

    return onnx_model([node("MatMul", ["x", "w"], ["y"])], [TensorProto(name="w", data_type=data_type, dims=dims, raw_data=data)])


def several_opsets(*versions):
    from onnx import helper

    model = onnx_model([node("Relu", ["x"], ["y"])])
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid("", v) for v in versions)
    return model


table(
    "light",
    "onnx_limits",
    onnx_safe,
    {
        "loop_endless": lambda: loop(2**63 - 1),
        "loop_negative": lambda: loop(-5),
        "loop_million": lambda: loop(10**6),
        "loop_nested": lambda: loop(2000, nested=3),
        "constant_of_shape": small(("ConstantOfShape", ["s"], ["c"]), ("ReduceSum", ["c"], ["r"]), ("Add", ["x", "r"], ["y"]), initializers=with_int("s", [10**5, 10**5])),
        "constant_of_shape_overflow": small(("ConstantOfShape", ["s"], ["c"]), ("ReduceSum", ["c"], ["r"]), ("Add", ["x", "r"], ["y"]), initializers=with_int("s", [2**32, 2**32])),
        "expand": small(("Expand", ["x", "s"], ["y"]), initializers=with_int("s", [10**6, 2, 4])),
        "expand_larger": small(("Expand", ["x", "s"], ["y"]), initializers=with_int("s", [10**12, 2, 4])),
        "tile": small(("Tile", ["x", "s"], ["y"]), initializers=with_int("s", [10**6, 10**6])),
        "tile_negative": small(("Tile", ["x", "s"], ["y"]), initializers=with_int("s", [-1, 1])),
        "pad": small(("Pad", ["x", "s"], ["y"]), initializers=with_int("s", [0, 0, 10**6, 10**6])),
        "pad_negative": small(("Pad", ["x", "s"], ["y"]), initializers=with_int("s", [-5, -5, 0, 0])),
        "range": small(("Range", ["a", "b", "d"], ["r"]), ("Cast", ["r"], ["f"], {"to": 1}), ("ReduceSum", ["f"], ["g"]), ("Add", ["x", "g"], ["y"]), initializers=lambda: [tensor("a", np.int64(0)), tensor("b", np.int64(10**11)), tensor("d", np.int64(1))]),
        "range_step_zero": small(("Range", ["a", "b", "d"], ["r"]), ("Cast", ["r"], ["f"], {"to": 1}), ("ReduceSum", ["f"], ["g"]), ("Add", ["x", "g"], ["y"]), initializers=lambda: [tensor("a", np.int64(0)), tensor("b", np.int64(10)), tensor("d", np.int64(0))]),
        "resize": small(("Resize", ["x", "", "s"], ["y"], {"mode": "nearest"}), initializers=lambda: [tensor("s", np.float32([1e5, 1e5]))]),
        "resize_nan": small(("Resize", ["x", "", "s"], ["y"], {"mode": "linear"}), initializers=lambda: [tensor("s", np.float32([np.nan, 1]))]),
        "outer_product": small(("Transpose", ["x"], ["t"]), ("MatMul", ["t", "x"], ["y"]), x=(1, 200000)),
        "input_huge": small(("Relu", ["x"], ["y"]), x=(100000, 100000)),
        "input_overflow": small(("Relu", ["x"], ["y"]), x=(2**62, 4)),
        "input_rank": small(("Relu", ["x"], ["y"]), x=(1,) * 200),
        "input_negative": small(("Relu", ["x"], ["y"]), x=(-3, 4)),
        "input_zero": small(("Relu", ["x"], ["y"]), x=(0, 4)),
        "input_names": small(("Relu", ["x"], ["y"]), x=("batch", "\x1b[31mred", "-1")),
        "functions_doubling": doubling,
        "function_recursive": recursive,
        "ifs_nested": lambda: nested_ifs(20),
        "ifs_nested_deep": lambda: nested_ifs(90),
        "chain": lambda: chain(5000),
        "diamonds": lambda: chain(600, "Add", True),
        "einsum": small(("Einsum", ["x", "x", "x", "x"], ["y"], {"equation": "ab,cd,ef,gh->abcdefgh"}), x=(30, 30)),
        "einsum_words": small(("Einsum", ["x"], ["y"], {"equation": "ab->" + "a" * 5000})),
        "onehot": small(("Cast", ["x"], ["i"], {"to": 7}), ("OneHot", ["i", "d", "v"], ["y"]), initializers=lambda: [tensor("d", np.int64(10**10)), tensor("v", np.float32([0, 1]))]),
        "hann_window": small(("HannWindow", ["n"], ["h"]), ("ReduceSum", ["h"], ["r"]), ("Add", ["x", "r"], ["y"]), initializers=lambda: [tensor("n", np.int64(10**10))]),
        "dft": small(("DFT", ["x", "n"], ["y"], {"axis": 1}), x=(1, 8, 1), initializers=lambda: [tensor("n", np.int64(10**9))]),
        "dft_prime": small(("DFT", ["x", "n"], ["y"], {"axis": 1}), x=(1, 8, 1), initializers=lambda: [tensor("n", np.int64(99991))]),
        "random_normal": small(("RandomNormal", [], ["r"], {"shape": [100000, 100000]}), ("ReduceSum", ["r"], ["s"]), ("Add", ["x", "s"], ["y"])),
        "dropout_random": small(("RandomNormalLike", ["x"], ["r"]), ("Add", ["x", "r"], ["y"])),
        "conv_transpose": small(("ConvTranspose", ["x", "w"], ["y"], {"strides": [100000, 100000]}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "conv_dilation": small(("Conv", ["x", "w"], ["y"], {"dilations": [2**31, 2**31]}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "conv_pads": small(("Conv", ["x", "w"], ["y"], {"pads": [50000] * 4}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "conv_pads_negative": small(("Conv", ["x", "w"], ["y"], {"pads": [-3] * 4}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "conv_stride_zero": small(("Conv", ["x", "w"], ["y"], {"strides": [0, 0]}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "conv_group_zero": small(("Conv", ["x", "w"], ["y"], {"group": 0}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "conv_group_negative": small(("Conv", ["x", "w"], ["y"], {"group": -1}), x=(1, 1, 8, 8), initializers=lambda: [tensor("w", np.ones((1, 1, 3, 3), np.float32))]),
        "pool_kernel": small(("AveragePool", ["x"], ["y"], {"kernel_shape": [2**40, 2**40]}), x=(1, 1, 8, 8)),
        "pool_kernel_zero": small(("MaxPool", ["x"], ["y"], {"kernel_shape": [0, 0]}), x=(1, 1, 8, 8)),
        "pool_pads": small(("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], "pads": [20, 20, 20, 20]}), x=(1, 1, 8, 8)),
        "gru_hidden": small(("GRU", ["x", "w", "r"], ["y"], {"hidden_size": 2**40}), x=(2, 1, 4), initializers=lambda: [tensor("w", np.ones((1, 6, 4), np.float32)), tensor("r", np.ones((1, 6, 2), np.float32))]),
        "softmax_axis": small(("Softmax", ["x"], ["y"], {"axis": 99})),
        "transpose_perm": small(("Transpose", ["x"], ["y"], {"perm": [0, 0]})),
        "reshape_overflow": small(("Reshape", ["x", "s"], ["y"]), initializers=with_int("s", [2**62, 2**62])),
        "gather_beyond": small(("Gather", ["x", "i"], ["y"]), initializers=with_int("i", [99, -99])),
        "split": small(("Split", ["x", "s"], ["y", "z"], {"axis": 1}), initializers=with_int("s", [-1, 5])),
        "topk": small(("TopK", ["x", "k"], ["y", "i"]), initializers=with_int("k", [10**12])),
        "scale_zero": small(("QuantizeLinear", ["x", "s", "z"], ["q"]), ("DequantizeLinear", ["q", "s", "z"], ["y"]), initializers=lambda: [tensor("s", np.float32(0)), tensor("z", np.uint8(3))]),
        "scale_nan": small(("QuantizeLinear", ["x", "s", "z"], ["q"]), ("DequantizeLinear", ["q", "s", "z"], ["y"]), initializers=lambda: [tensor("s", np.float32(np.nan)), tensor("z", np.uint8(3))]),
        "variance_negative": small(("BatchNormalization", ["x", "a", "a", "a", "v"], ["y"]), initializers=lambda: [tensor("a", np.ones(4, np.float32)), tensor("v", np.float32([-1, -1, 0, np.inf]))]),
        "weights_nan": small(("MatMul", ["x", "w"], ["y"]), initializers=lambda: [tensor("w", np.full((4, 3), np.nan, np.float32))]),
        "weights_denormal": small(("MatMul", ["x", "w"], ["y"]), initializers=lambda: [tensor("w", np.full((4, 3), 1e-44, np.float32))]),
        "dims_huge": lambda: declared([2**31, 2**31]),
        "dims_overflow": lambda: declared([2**62, 8, 8], bytes(16)),
        "dims_negative": lambda: declared([-4, -3], bytes(48)),
        "dims_many": lambda: declared([1] * 100, bytes(4)),
        "data_short": lambda: declared([4, 3], bytes(40)),
        "data_long": lambda: declared([4, 3], bytes(480)),
        "type_zero": lambda: declared([4, 3], bytes(48), 0),
        "type_unknown": lambda: declared([4, 3], bytes(48), 999),
        "type_string": lambda: declared([4, 3], b"", 8),
        "type_complex": lambda: declared([4, 3], bytes(96), 14),
        "opset_none": lambda: several_opsets(),
        "opset_999": lambda: several_opsets(999),
        "opset_negative": lambda: several_opsets(-1),
        "opset_two": lambda: several_opsets(7, 17),
        "unknown_op": small(("NoSuchOp", ["x"], ["y"])),
        "cycle": small(("Add", ["x", "b"], ["a"]), ("Relu", ["a"], ["b"]), ("Relu", ["b"], ["y"])),
        "missing_input": small(("Add", ["x", "nothing"], ["y"])),
        "same_output": small(("Relu", ["x"], ["y"]), ("Sigmoid", ["x"], ["y"])),
        "no_nodes": small(),
        "strings": small(("StringNormalizer", ["x"], ["y"]), dtype=8, out=8, x=(4,)),
        "regex": small(("RegexFullMatch", ["x"], ["y"], {"pattern": "(a*)*(a*)*(a*)*b"}), dtype=8, out=9, x=(4,), opset=20),
    },
)

NAMES = {
    "escape": "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "newlines": "a\nprobe: agree\nb\r\nc",
    "bidi": "abc\u202edcba\u2066",
    "markup": "[red]x[/red] [/] [link=http://a]b[/link] :smile:",
    "html": "</td><script>alert(1)</script>&amp;\"'",
    "long": "n" * 300000,
    "nul": "a\0b",
    "c1": "a\x9b31mb\x85c",
    "option": "--help",
    "shell": "a'; touch pwned; '$(touch pwned)`touch pwned`",
    "percent": "%s %n {0} {name} %(x)s",
    "slashes": "../../../../tmp/x/y",
    "blank": "   ",
    "tabs": "a\tb",
    "surrogates": "\U0001f600\ufeff\u200b",
    "equals": "=cmd|'/C calc'!A0",
    "line_separator": "a\u2028agree: all\u2029b",
}


def onnx_names(tool, name):
    """A node of such a name: it agrees, is found by its name, and is only shown."""
    import html.parser
    import xml.etree.ElementTree

    from onnx import TensorProto  # noqa: F401

    save_onnx(tool, onnx_model([node("MatMul", ["x", "w"], ["a"], name=name), node("Softmax", ["a"], ["y"], name="soft")], [eye()]))
    run = tool.probe("m.onnx", "--all", "--html", "o.html", "--junit", "o.xml", "--json", "o.json", "--model-explorer", "o.me", writes=("o.",))
    tool.agrees(run)
    tool.probe("m.onnx")
    if "\0" not in name and len(name) < 1000:
        tool.agrees(tool.probe(f"--layer={name}", "m.onnx", "--save", "o.h", writes=("o.",)))
    if run.status == 0:
        page = (tool.dir / "o.html").read_text()
        tool.ask("<script>alert(1)" not in page, "the page holds the name's script")
        html.parser.HTMLParser().feed(page)
        xml.etree.ElementTree.parse(tool.dir / "o.xml")
        json.loads((tool.dir / "o.json").read_text())
        for path in (tool.dir / "o.me").iterdir():
            json.loads(path.read_text())
    tool.absent("pwned")


table("light", "onnx_name", onnx_names, NAMES)


def onnx_header(tool, name):
    """A weight of such a name: the C header compiles in form, no comment is ended by it."""
    save_onnx(tool, onnx_model([node("MatMul", ["x", name], ["y"], name="m")], [eye(name)]))
    run = tool.probe("m.onnx", "--layer", "m", "--save", "o.h", writes=("o.",))
    tool.agrees(run)
    if run.status == 0:
        header = (tool.dir / "o.h").read_text()
        tool.ask("*/ int" not in header and "\nint evil" not in header, "the header holds code of the name")
        tool.ask(header.count("/*") == header.count("*/"), "a comment of the header is not ended once")
        status = os.system(f"cc -fsyntax-only -Wall -Werror -x c {tool.dir / 'o.h'} 2>/dev/null") if shutil.which("cc") else 0
        tool.ask(status == 0, "the header does not compile")


table(
    "light",
    "onnx_header",
    onnx_header,
    {"comment": "a */ int evil; /*", "line": "a\nint evil;\n", "keyword": "int", "digits": "1", "backslash": "a\\", "trigraph": "a??/", "nested": "/*/*", "empty_like": "***", "same": "input_0", "unicode": "größe"},
)


@case("light")
def onnx_two_names(tool):
    """Two nodes of one name: both are checked, or it is said."""
    save_onnx(tool, onnx_model([node("Relu", ["x"], ["a"], name="n"), node("Sigmoid", ["a"], ["y"], name="n")]))
    run = tool.probe("m.onnx", "--all", "--json", "o.json", writes=("o.",))
    tool.agrees(run)
    tool.ask(run.out.count("agree  ") >= 2, f"{last(run.out)}")


@case("light")
def onnx_cwd_modules(tool):
    """A folder with modules named as those that probe imports: they are not imported."""
    import subprocess

    for name in ("numpy", "onnx", "onnxruntime", "click", "rich", "json", "torch", "keras", "sitecustomize", "usercustomize", "probe", "h5py", "jinja2", "PIL", "attr", "yaml"):
        tool.write(f"{name}.py", f"open({tool.mark!r}, 'w')\n")
    save_onnx(tool, onnx_model([node("Relu", ["x"], ["y"])]))
    command = shutil.which("probe", path=str(Path(sys.executable).parent)) or "probe"
    for arguments in (["m.onnx", "--all"], ["m.onnx"], ["--help"], ["record", "m.onnx", "-o", "r.npz"]):
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=120)
        tool.ask(done.returncode == 0, f"exit status {done.returncode}: {last(done.stderr)}")
    tool.ask(not os.path.exists(tool.mark), "a module of the working folder was imported")


def odd_paths(tool, name, flag):
    """A model whose path looks like something else: opened, or one sentence."""
    save_onnx(tool, onnx_model([node("Relu", ["x"], ["y"])]), name)
    run = tool.probe(*([flag] if flag else []), name if flag else f"./{name}")
    tool.agrees(run)


table(
    "light",
    "path",
    odd_paths,
    {"option": ("--trust", ""), "dashes": ("-m.onnx", "--"), "newline": ("a\nb.onnx", ""), "escape": ("a\x1b[31m.onnx", ""), "glob": ("*.onnx", ""), "blank": (" .onnx", ""), "command": ("compare", ""), "quote": ("a'b.onnx", ""), "npz": ("m.npz", ""), "pt": ("m.pt", ""), "h5": ("m.h5", "")},
)


def no_model(tool, prepare):
    """What is no model: one sentence, without waiting."""
    prepare(tool)
    tool.refused(tool.probe("m", limit=30))
    tool.refused(tool.probe("m", "--all", limit=30))
    tool.refused(tool.probe("record", "m", "-o", "r.npz", limit=30))
    tool.absent("r.npz")


table(
    "light",
    "no_model",
    no_model,
    {
        "missing": lambda t: None,
        "fifo": lambda t: os.mkfifo(t.dir / "m"),
        "socket": lambda t: __import__("socket").socket(1).bind(str(t.dir / "m")),
        "dev_zero": lambda t: os.symlink("/dev/zero", t.dir / "m"),
        "dev_random": lambda t: os.symlink("/dev/urandom", t.dir / "m"),
        "tty": lambda t: os.symlink("/dev/stdin", t.dir / "m"),
        "loop": lambda t: os.symlink("m", t.dir / "m"),
        "dangling": lambda t: os.symlink("nothing", t.dir / "m"),
        "empty_folder": lambda t: (t.dir / "m").mkdir(),
        "empty": lambda t: t.write("m", b""),
        "unreadable_zip": lambda t: t.write("m", b"PK\3\4" + bytes(200)),
        "empty_zip": lambda t: t.write("m", b"PK\5\6" + bytes(18)),
        "tar": lambda t: t.write("m", __import__("io").BytesIO(bytes(10240)).getvalue()),
        "tflite": lambda t: t.write("m", b"\x1c\0\0\0TFL3" + bytes(500)),
        "png": lambda t: t.write("m", b"\x89PNG\r\n\x1a\n" + bytes(500)),
        "sparse_terabyte": lambda t: os.truncate(t.write("m", b"\x08\x08"), 1 << 40),
        "sparse_pickle": lambda t: os.truncate(t.write("m", b"\x80\x02"), 1 << 40),
        "sparse_h5": lambda t: os.truncate(t.write("m", b"\x89HDF\r\n\x1a\n"), 1 << 40),
        "sparse_safetensors": lambda t: os.truncate(t.write("m", struct.pack("<Q", 1 << 30) + b"{"), 1 << 40),
        "python": lambda t: t.write("m", f"open({t.mark!r}, 'w')\n"),
    },
)


if __name__ == "__main__":
    sys.exit(main())
