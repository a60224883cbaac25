"""Hostile model files, written by somebody who had read the documentation alone.

python corpora/hostile_files/outside_model_files.py [PREFIX ...] [--verbose] [--table FILE]

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
import warnings
import zipfile
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")
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


def processor(pid):
    """Seconds of processor time that a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
                if "/.cache/Microsoft/" in str(path) or name == ".ses":  # ONNX Runtime's: see leaves_nothing
                    continue
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
            wall = time.monotonic() - began
            if wall > min(limit, 20):  # a busy machine takes its time: one that waits uses no processor
                used_now = processor(pid)
                if used_now > SECONDS:
                    ended = f"more than {SECONDS} s of processor time"
                elif wall > limit and used_now < 0.02 * wall or wall > 900:
                    ended = f"{wall:.0f} s, of which {used_now:.0f} of processor time"
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
            self.ask(told < 2500, f"{told} characters on standard error in {len(lines)} lines")
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
        "ifs_nested_deep": lambda: nested_ifs(30),
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


def doubled(kind, first, count=40, dtype=1, **attributes):
    """A tensor that each node makes twice as long."""
    names = [first, *(f"d{i}" for i in range(count))]
    nodes = [node(kind, [a, a], [b], name=f"n{i}", **attributes) for i, (a, b) in enumerate(zip(names, names[1:]))]
    return nodes, names[-1]


def summed(nodes, big, initializers=(), **more):
    """x plus the sum of a large tensor."""
    return onnx_model([*nodes, node("ReduceSum", [big], ["total"], keepdims=0), node("Add", ["x", "total"], ["y"])], initializers, **more)


def of_constants(kind, arrays, kind_of=None, **attributes):
    """x plus the sum of an operator's result, all of whose inputs are constants."""

    def make():
        names = [f"c{i}" if a is not None else "" for i, a in enumerate(arrays)]
        held = [tensor(n, a) for n, a in zip(names, arrays) if n]
        nodes = [node(kind, names, ["big"], **attributes)]
        if kind_of:
            nodes.append(node("Cast", ["big"], ["cast"], name="c", to=1))
        return summed(nodes, "cast" if kind_of else "big", held)

    return make


def strings_doubled():
    nodes, end = doubled("StringConcat", "x", 45)
    return onnx_model([*nodes, node("Identity", [end], ["y"])], dtype=8, out=8, x=(1,), opset=20)


def many_rounds():
    from onnx import helper

    info = helper.make_tensor_value_info
    body = helper.make_graph([node("Identity", ["d"], ["e"]), node("Identity", ["v"], ["w"], name="i2"), node("Tile", ["v", "r"], ["s"])], "b", [info("i", 7, []), info("d", 9, []), info("v", 1, None)], [info("e", 9, []), info("w", 1, None), info("s", 1, None)])
    return summed([node("Loop", ["n", "c", "x"], ["v2", "big"], body=body)], "big", [tensor("n", np.int64(10**6)), tensor("c", True), tensor("r", np.int64([100, 100]))])


ONES = np.ones
table(
    "light",
    "onnx_memory",
    onnx_safe,
    {
        "concat_of_input": lambda: summed(*doubled("Concat", "x", axis=0)),
        "concat_of_constant": lambda: summed(*doubled("Concat", "k", axis=0), [tensor("k", ONES((2, 2), np.float32))]),
        "tile_of_constant": of_constants("Tile", [ONES((1, 1), np.float32), np.int64([10**5, 10**5])]),
        "expand_of_constant": of_constants("Expand", [ONES((1, 1), np.float32), np.int64([10**5, 10**5])]),
        "pad_of_constant": of_constants("Pad", [ONES((1, 1), np.float32), np.int64([0, 0, 10**5, 10**5])]),
        "product_of_constants": of_constants("MatMul", [ONES((10**5, 1), np.float32), ONES((1, 10**5), np.float32)]),
        "sum_of_constants": of_constants("Add", [ONES((10**5, 1), np.float32), ONES((1, 10**5), np.float32)]),
        "resize_of_constant": of_constants("Resize", [ONES((1, 1), np.float32), None, np.float32([1e5, 1e5])], mode="nearest"),
        "range_of_floats": of_constants("Range", [np.float32(0), np.float32(1e9), np.float32(0.1)]),
        "range_of_integers": of_constants("Range", [np.int64(0), np.int64(3 * 10**9), np.int64(1)], kind_of=True),
        "range_of_input": lambda: summed([node("ReduceSum", ["x"], ["s"], keepdims=0), node("Mul", ["s", "zero"], ["z"]), node("Add", ["z", "limit"], ["l"]), node("Range", ["zero", "l", "step"], ["big"])], "big", [tensor("zero", np.float32(0)), tensor("limit", np.float32(1e9)), tensor("step", np.float32(1))]),
        "one_hot_of_constant": of_constants("OneHot", [np.arange(10), np.int64(10**9), np.float32([0, 1])]),
        "transposed_of_constant": of_constants("ConvTranspose", [ONES((1, 1, 2, 2), np.float32), ONES((1, 1, 2, 2), np.float32)], strides=[60000, 60000]),
        "constant_of_shape_alone": of_constants("ConstantOfShape", [np.int64([10**5, 10**5])]),
        "two_ranges": lambda: summed([node("Range", ["z", "n", "one"], ["r"]), node("Unsqueeze", ["r", "a"], ["q"]), node("Mul", ["r", "q"], ["big"])], "big", [tensor("z", np.float32(0)), tensor("n", np.float32(60000)), tensor("one", np.float32(1)), tensor("a", np.int64([1]))]),
        "eye_of_range": lambda: summed([node("ConstantOfShape", ["s"], ["c"]), node("EyeLike", ["c"], ["big"], dtype=1)], "big", [tensor("s", np.int64([50000, 50000]))]),
        "strings": strings_doubled,
        "loop_of_outputs": many_rounds,
        "gather_of_constant": lambda: summed([node("ConstantOfShape", ["s"], ["i"], value=tensor("v", np.int64([0]))), node("Gather", ["k", "i"], ["big"])], "big", [tensor("s", np.int64([5 * 10**6])), tensor("k", ONES((1, 1000), np.float32))]),
        "window": of_constants("HannWindow", [np.int64(3 * 10**9)]),
        "mel_weights": of_constants("MelWeightMatrix", [np.int64(50000), np.int64(10**5), np.int64(16000), np.float32(0), np.float32(8000)]),
        "sequence": lambda: summed([node("SequenceConstruct", ["x"] * 4000, ["q"]), node("ConcatFromSequence", ["q"], ["c"], axis=0), node("SequenceConstruct", ["c"] * 4000, ["q2"], name="s2"), node("ConcatFromSequence", ["q2"], ["big"], name="c2", axis=0)], "big", x=(50, 4)),
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
    """Two nodes of one name, which ONNX Runtime refuses: a sentence, or both are checked."""
    save_onnx(tool, onnx_model([node("Relu", ["x"], ["a"], name="n"), node("Sigmoid", ["a"], ["y"], name="n")]))
    run = tool.probe("m.onnx", "--all", "--json", "o.json", writes=("o.",))
    tool.refused(run) if run.status == 2 else tool.ask(run.out.count("agree  ") >= 2, last(run.out))


@case("light")
def leaves_nothing(tool):
    """A run in a process of its own leaves nothing in the home folder and in that for temporary files."""
    import subprocess

    save_onnx(tool, onnx_model([node("Relu", ["x"], ["y"])]))
    environment = {**os.environ, "HOME": str(tool.root / "home"), "TMPDIR": str(tool.root / "tmp")}
    environment.pop("XDG_CACHE_HOME", None)
    subprocess.run([shutil.which("probe", path=str(Path(sys.executable).parent)) or "probe", "m.onnx", "--all"], capture_output=True, timeout=120, env=environment)
    left = sorted(str(one.relative_to(tool.root)) for place in ("home", "tmp") for one in (tool.root / place).rglob("*") if one.is_file())
    tool.ask(not left, f"left: {left}")


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


# --- PyTorch ------------------------------------------------------------------------------------

NET = '''
import torch


class Net(torch.nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.fc = torch.nn.Linear(4, size)
        self.act = torch.nn.ReLU()

    def forward(self, x):
        return self.act(self.fc(x))
'''
FACTORY = ("--factory", "net.py:Net", "--shape", "2,4", "--all")


def state(**more):
    import torch

    torch.manual_seed(0)
    return {"fc.weight": torch.randn(3, 4), "fc.bias": torch.randn(3), **more}


class Calls:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def touch(tool):
    return f"touch {tool.mark}"


def zipped_pickle(path, pickled, records=(), folder="m"):
    """A .pt of the form of torch.save, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/data.pkl", pickled)
        file.writestr(f"{folder}/byteorder", "little")
        for name, content in records:
            file.writestr(f"{folder}/{name}", content)
        file.writestr(f"{folder}/version", "3\n")


def torch_code(tool, make):
    """A pickle that would run code: refused, with the factory and without, and nothing is run."""
    made = make(tool)
    if isinstance(made, bytes):
        zipped_pickle(tool.dir / "m.pt", made)
        tool.write("plain.pt", made)
    else:
        import torch

        torch.save(made, tool.dir / "m.pt")
        torch.save(made, tool.dir / "plain.pt", _use_new_zipfile_serialization=False)
    if os.path.exists(tool.mark):
        os.remove(tool.mark)
    tool.write("net.py", NET)
    for name in ("m.pt", "plain.pt"):
        tool.refused(tool.probe(name))
        tool.refused(tool.probe(name, *FACTORY, writes=("__pycache__",)))
        tool.refused(tool.probe("record", name, "-o", "r.npz", "--factory", "net.py:Net", "--shape", "2,4", writes=("__pycache__",)))
    tool.absent("r.npz")


def raw_call(module, name, argument):
    """A pickle in protocol 0 that calls module.name(argument)."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


table(
    "torch",
    "torch_code",
    torch_code,
    {
        "system": lambda t: {"fc.weight": Calls(os.system, touch(t))},
        "exec": lambda t: state(x=Calls(exec, f"open({t.mark!r}, 'w')")),
        "eval_key": lambda t: {Calls(eval, f"open({t.mark!r}, 'w').name"): 1},
        "raw_posix": lambda t: raw_call("posix", "system", touch(t)),
        "raw_builtins": lambda t: raw_call("builtins", "eval", f"open('{t.mark}','w')"),
        "raw_dunder_builtin": lambda t: raw_call("__builtin__", "eval", f"open('{t.mark}','w')"),
        "raw_dotted": lambda t: b"\x80\x04\x8c\x05torch\x94\x8c\x10serialization.os\x94\x93\x94.",
        "raw_hub": lambda t: raw_call("torch.hub", "load_state_dict_from_url", "http://127.0.0.1:9/x"),
        "raw_torch_load": lambda t: raw_call("torch.serialization", "load", str(secret_file(t))),
        "raw_runpy": lambda t: raw_call("runpy", "run_path", str(t.write("evil.py", f"open({t.mark!r}, 'w')\n"))),
        "raw_import": lambda t: (t.write("evil.py", f"open({t.mark!r}, 'w')\n"), b"cevil\nx\n.")[1],
        "raw_net": lambda t: (t.write("net.py", NET), b"cnet\nNet\n)R.")[1],
        "numpy_fromfile": lambda t: raw_call("numpy", "fromfile", str(secret_file(t))),
        "numpy_object": lambda t: state(x=np.array([Calls(os.system, touch(t))], dtype=object)),
        "obj_opcode": lambda t: f"(cos\nsystem\nV{touch(t)}\no.".encode(),
        "inst_opcode": lambda t: f"(V{touch(t)}\nios\nsystem\n.".encode(),
        "build_opcode": lambda t: f"ccollections\nOrderedDict\n)R(cos\nsystem\n(V{touch(t)}\ntRdb.".encode(),
        "extension": lambda t: b"\x80\x02\x82\x01.",
        "persistent": lambda t: b"\x80\x02(X\x06\x00\x00\x00systemX\x02\x00\x00\x00idtQ.",
        "rebuild_from_type": lambda t: state(x=Calls(__import__("torch")._tensor._rebuild_from_type_v2, os.system, str, (touch(t),), {})),
        "getattr": lambda t: state(x=Calls(getattr, Calls(__import__, "os"), "system")),
        "module": lambda t: __import__("torch").nn.Linear(4, 3),
    },
)


def torch_state(tool, make, word):
    """A state_dict with something odd in it: `word` says what may come of it."""
    import torch

    torch.save(make(), tool.dir / "m.pt")
    tool.write("net.py", NET)
    torch_judge(tool, word)


def torch_judge(tool, word, name="m.pt"):
    listed = tool.probe(name)
    if listed.status == 2:
        tool.refused(listed)
    run = tool.probe(name, *FACTORY, writes=("__pycache__",))
    if word == "agree":
        tool.agrees(run)
    elif word == "refused":
        tool.refused(run)
    elif run.status == 2 and "unchecked" not in run.out:
        tool.refused(run)


def torch_make(code):
    """A state_dict made by an expression of torch (T), state and np, when its case runs."""
    return lambda: eval(code, {"T": __import__("torch"), "state": state, "np": np, **globals()})


def itself():
    made = state()
    made["state_dict"] = made
    return made


def nested_lists(depth):
    made = []
    for _ in range(depth):
        made = [made, made]
    return made


def nested_dicts(depth):
    made = state()
    for _ in range(depth):
        made = {"state_dict": made}
    return made


table(
    "torch",
    "torch_state",
    torch_state,
    {
        "plain": (torch_make("state()"), "agree"),
        "in_checkpoint": (torch_make("{'epoch': 3, 'state_dict': state()}"), "agree"),
        "int_keys": (torch_make("{0: state()['fc.weight'], 1: 2}"), "refused"),
        "none_key": (torch_make("{**state(), None: T.ones(2)}"), "safe"),
        "tuple_key": (torch_make("{**state(), ('a', 1): T.ones(2)}"), "safe"),
        "float_key": (torch_make("{**state(), float('nan'): T.ones(2)}"), "safe"),
        "itself": (itself, "safe"),
        "bomb_of_lists": (torch_make("state(x=nested_lists(60))"), "safe"),
        "bomb_alone": (lambda: nested_lists(60), "refused"),
        "deep_dicts": (lambda: nested_dicts(150), "safe"),
        "strings": (torch_make("state(x='a' * 10**7)"), "safe"),
        "list": (lambda: [1, 2, 3], "refused"),
        "tensor": (torch_make("T.ones(3, 4)"), "safe"),
        "number": (lambda: 5, "refused"),
        "empty": (lambda: {}, "refused"),
        "huge_integer": (torch_make("state(x=10**4000)"), "safe"),
        "huge_integer_longer": (torch_make("state(x=10**200000)"), "safe"),
        "expanded": (torch_make("state(x=T.ones(1).expand(10**6, 10**6))"), "safe"),
        "expanded_weight": (torch_make("{'fc.weight': T.ones(1).expand(3, 4), 'fc.bias': T.ones(3)}"), "agree"),
        "expanded_needed": (torch_make("{'fc.weight': T.ones(1).expand(10**6, 10**6), 'fc.bias': T.ones(3)}"), "refused"),
        "meta": (torch_make("state(**{'fc.weight': T.empty(3, 4, device='meta')})"), "safe"),
        "meta_huge": (torch_make("state(x=T.empty(10**9, 10**9, device='meta'))"), "safe"),
        "complex": (torch_make("{'fc.weight': T.ones(3, 4, dtype=T.complex64), 'fc.bias': T.ones(3)}"), "safe"),
        "integers": (torch_make("{'fc.weight': T.ones(3, 4, dtype=T.int64), 'fc.bias': T.ones(3)}"), "safe"),
        "float64": (torch_make("{k: v.double() for k, v in state().items()}"), "safe"),
        "bfloat16": (torch_make("{k: v.bfloat16() for k, v in state().items()}"), "safe"),
        "float8": (torch_make("{'fc.weight': T.ones(3, 4).to(T.float8_e4m3fn), 'fc.bias': T.ones(3)}"), "safe"),
        "bool": (torch_make("{'fc.weight': T.ones(3, 4, dtype=T.bool), 'fc.bias': T.ones(3)}"), "safe"),
        "quantized": (torch_make("{'fc.weight': T.quantize_per_tensor(T.ones(3, 4), 0.1, 0, T.qint8), 'fc.bias': T.ones(3)}"), "safe"),
        "sparse": (torch_make("{'fc.weight': T.eye(3, 4).to_sparse(), 'fc.bias': T.ones(3)}"), "safe"),
        "nested_tensor": (torch_make("state(x=T.nested.nested_tensor([T.ones(2), T.ones(3)]))"), "safe"),
        "zero_size": (torch_make("state(x=T.empty(0, 10**15))"), "safe"),
        "nan": (torch_make("{'fc.weight': T.full((3, 4), float('nan')), 'fc.bias': T.ones(3)}"), "safe"),
        "inf": (torch_make("{'fc.weight': T.full((3, 4), float('inf')), 'fc.bias': T.ones(3)}"), "safe"),
        "none": (torch_make("{'fc.weight': None, 'fc.bias': T.ones(3)}"), "refused"),
        "other_shape": (torch_make("{'fc.weight': T.ones(4, 3), 'fc.bias': T.ones(3)}"), "refused"),
        "missing": (torch_make("{'fc.weight': T.ones(3, 4)}"), "refused"),
        "escape_key": (torch_make("{**state(), NAMES['escape']: T.ones(2)}"), "safe"),
        "newline_key": (torch_make("{**state(), NAMES['newlines']: T.ones(2)}"), "safe"),
        "markup_key": (torch_make("{**state(), NAMES['markup']: T.ones(2)}"), "safe"),
        "surrogate_key": (torch_make("{**state(), '\\ud800': T.ones(2)}"), "safe"),
        "long_key": (torch_make("{**state(), 'k' * 10**6: T.ones(2)}"), "safe"),
        "dots_key": (torch_make("{**state(), '.' * 3000: T.ones(2)}"), "safe"),
        "many_keys": (torch_make("{**state(), **{f'k{i}': 1 for i in range(100000)}}"), "safe"),
        "escape_value": (torch_make("state(x=NAMES['escape'])"), "safe"),
        "parameter": (torch_make("{k: T.nn.Parameter(v) for k, v in state().items()}"), "agree"),
        "shared": (torch_make("(lambda s: {**s, 'x': s['fc.weight'][1:]})(state())"), "safe"),
    },
)


def torch_zip(tool, change):
    """A .pt whose zip was tampered with: a right answer, or one sentence."""
    import torch

    buffer = io.BytesIO()
    torch.save(state(), buffer)
    with zipfile.ZipFile(buffer) as file:
        members = {one.split("/", 1)[1]: file.read(one) for one in file.namelist()}
    made = change(members)
    if isinstance(made, bytes):
        tool.write("m.pt", made)
    else:
        with zipfile.ZipFile(tool.dir / "m.pt", "w") as file:
            for name, content in made if isinstance(made, list) else made.items():
                file.writestr(name if "/" in name else f"archive/{name}", content, zipfile.ZIP_DEFLATED if len(content) > 1 << 20 else zipfile.ZIP_STORED)
    tool.write("net.py", NET)
    torch_judge(tool, "safe")


def whole(members):
    import torch

    buffer = io.BytesIO()
    torch.save(state(), buffer)
    return buffer.getvalue()


def storage(members, count):
    """data.pkl with another number of elements in its storages."""
    return {**members, "data.pkl": members["data.pkl"].replace(b"K\x0c", b"\x8a\x08" + struct.pack("<q", count))}


table(
    "torch",
    "torch_zip",
    torch_zip,
    {
        "no_data": lambda m: {k: v for k, v in m.items() if not k.startswith("data/")},
        "no_pickle": lambda m: {k: v for k, v in m.items() if k != "data.pkl"},
        "short_data": lambda m: {**m, "data/0": m["data/0"][:8]},
        "long_data": lambda m: {**m, "data/0": m["data/0"] * 100},
        "bomb": lambda m: {**m, "data/0": bytes(1 << 29)},
        "bomb_pickle": lambda m: {**m, "data.pkl": m["data.pkl"][:-1] + b"0X" + struct.pack("<I", 1 << 29) + bytes(1 << 29) + b"."},
        "elements_huge": lambda m: storage(m, 10**15),
        "elements_negative": lambda m: storage(m, -12),
        "byteorder": lambda m: {**m, "byteorder": b"sideways"},
        "version": lambda m: {**m, "version": b"99999999999999999999"},
        "twice": lambda m: [*m.items(), ("data.pkl", raw_call("os", "system", "true"))],
        "twice_first": lambda m: [("data.pkl", raw_call("os", "system", "true")), *m.items()],
        "traversal": lambda m: [*((f"archive/{k}", v) for k, v in m.items()), ("archive/../../../evil", b"x")],
        "two_folders": lambda m: [*((f"archive/{k}", v) for k, v in m.items()), ("other/data.pkl", b"\x80\x02}.")],
        "torchscript": lambda m: {**m, "constants.pkl": b"\x80\x02).", "code/__torch__.py": b"class M(Module):\n  pass\n"},
        "half": lambda m: whole(m)[:700],
        "tail_missing": lambda m: whole(m)[:-30],
        "prefixed": lambda m: bytes(100) + whole(m),
        "no_stop": lambda m: {**m, "data.pkl": m["data.pkl"][:-1]},
        "protocol_255": lambda m: {**m, "data.pkl": b"\x80\xff" + m["data.pkl"][2:]},
        "frame_huge": lambda m: {**m, "data.pkl": b"\x80\x04\x95" + b"\xff" * 8 + b"N."},
        "bytes_huge": lambda m: {**m, "data.pkl": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"N."},
        "marks": lambda m: {**m, "data.pkl": b"\x80\x02" + b"(" * 10**6 + b"."},
        "tuples_deep": lambda m: {**m, "data.pkl": b"\x80\x02)" + b"\x85" * 10**5 + b"."},
        "dicts_deep": lambda m: {**m, "data.pkl": b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 5000 + b"N" + b"s" * 5000 + b"."},
        "memo": lambda m: {**m, "data.pkl": b"\x80\x02r\xff\xff\xff\xff."},
        "long_huge": lambda m: {**m, "data.pkl": b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b"."},
        "doubling_tuples": lambda m: {**m, "data.pkl": b"\x80\x02K\x01" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)) + b"."},
        "key_doubling_tuples": lambda m: {**m, "data.pkl": b"\x80\x02}K\x01" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60)) + b"Ns."},
    },
)


def safetensors_bytes(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GOOD = {"fc.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]}, "fc.bias": {"dtype": "F32", "shape": [3], "data_offsets": [48, 60]}}


def good(**change):
    return {**GOOD, "fc.bias": {**GOOD["fc.bias"], **change}}


def safetensors_file(tool, content, word="refused"):
    """A .safetensors with something wrong in it: one sentence (or a right answer)."""
    tool.write("m.safetensors", content() if callable(content) else content)
    tool.write("net.py", NET)
    torch_judge(tool, word, "m.safetensors")


DATA = np.arange(15, dtype=np.float32).tobytes()
table(
    "torch",
    "safetensors",
    safetensors_file,
    {
        "plain": (safetensors_bytes(GOOD, DATA), "agree"),
        "length_huge": safetensors_bytes(GOOD, DATA, 1 << 62),
        "length_100mb": safetensors_bytes(GOOD, DATA, 99 << 20),
        "length_zero": safetensors_bytes(GOOD, DATA, 0),
        "short": safetensors_bytes(GOOD, DATA[:-1]),
        "trailing": safetensors_bytes(GOOD, DATA + b"x"),
        "no_json": safetensors_bytes(b"{not json", DATA),
        "list": safetensors_bytes([], DATA),
        "empty": (safetensors_bytes({}), "refused"),
        "overlap": safetensors_bytes(good(data_offsets=[36, 48]), DATA[:48]),
        "hole": safetensors_bytes(good(data_offsets=[52, 64]), DATA + bytes(4)),
        "reversed": safetensors_bytes(good(data_offsets=[60, 48]), DATA),
        "negative": safetensors_bytes(good(data_offsets=[-12, 0]), DATA),
        "beyond": safetensors_bytes(good(data_offsets=[48, 10**12]), DATA),
        "shape_other": safetensors_bytes(good(shape=[5]), DATA),
        "shape_overflow": safetensors_bytes(good(shape=[2**63, 2]), DATA),
        "shape_wraps": safetensors_bytes(good(shape=[2**32, 2**32, 3]), DATA),
        "shape_negative": safetensors_bytes(good(shape=[-3]), DATA),
        "shape_float": safetensors_bytes(good(shape=[3.0]), DATA),
        "shape_word": safetensors_bytes(good(shape="3"), DATA),
        "dtype_unknown": safetensors_bytes(good(dtype="F33"), DATA),
        "dtype_number": safetensors_bytes(good(dtype=3), DATA),
        "no_dtype": safetensors_bytes({"fc.weight": GOOD["fc.weight"], "fc.bias": {"shape": [3], "data_offsets": [48, 60]}}, DATA),
        "metadata_number": (safetensors_bytes({**GOOD, "__metadata__": {"a": 1}}, DATA), "safe"),
        "metadata_escape": (safetensors_bytes({**GOOD, "__metadata__": {"format": NAMES["escape"]}}, DATA), "agree"),
        "twice": (safetensors_bytes(json.dumps(GOOD)[:-1].encode() + b', "fc.bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}', DATA), "safe"),
        "deep": safetensors_bytes(b'{"a":' + b"[" * 100000 + b"]" * 100000 + b"}", DATA),
        "nan": safetensors_bytes(b'{"a": NaN}', DATA),
        "blanks": (lambda: safetensors_bytes(json.dumps(GOOD).encode() + b" " * (20 << 20), DATA), "safe"),
        "many": (safetensors_bytes({**GOOD, **{f"k{i}": {"dtype": "F32", "shape": [0], "data_offsets": [60, 60]} for i in range(50000)}}, DATA), "safe"),
        "zero_axis": (safetensors_bytes({**GOOD, "z": {"dtype": "F32", "shape": [0, 10**15], "data_offsets": [60, 60]}}, DATA), "safe"),
        "rank": (safetensors_bytes({**GOOD, "z": {"dtype": "F32", "shape": [1] * 5000, "data_offsets": [60, 64]}}, DATA + bytes(4)), "safe"),
        "name_escape": (safetensors_bytes({**GOOD, NAMES["escape"]: {"dtype": "F32", "shape": [1], "data_offsets": [60, 64]}}, DATA + bytes(4)), "safe"),
        "name_surrogate": (safetensors_bytes(json.dumps(GOOD)[:-1].encode() + b', "\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [60, 64]}}', DATA + bytes(4)), "safe"),
        "latin1": safetensors_bytes(json.dumps(GOOD)[:-1].encode() + b', "\xe4": {"dtype": "F32", "shape": [1], "data_offsets": [60, 64]}}', DATA + bytes(4)),
        "float4": (safetensors_bytes(good(dtype="F4", shape=[24]), DATA), "safe"),
        "float8": (safetensors_bytes(good(dtype="F8_E4M3", shape=[12]), DATA), "safe"),
    },
)


@case("torch")
def torch_pt2_without_trust(tool):
    """An exported program: refused without --trust; nothing is run."""
    with zipfile.ZipFile(tool.dir / "m.pt2", "w") as file:
        file.writestr("m/archive_format", "pt2")
        file.writestr("m/models/model.json", json.dumps({"graph_module": {}}))
        file.writestr("m/data/sample_inputs/model.pt", raw_call("os", "system", touch(tool)))
        file.writestr("m/version", "0")
    tool.refused(tool.probe("m.pt2"))
    tool.refused(tool.probe("m.pt2", "--all"))


@case("torch")
def torch_script_without_trust(tool):
    """TorchScript: refused without --trust; with a factory its parameters alone are taken."""

    def build():
        import torch

        net = torch.nn.Sequential()
        net.add_module("fc", torch.nn.Linear(4, 3))
        net.add_module("act", torch.nn.ReLU())
        torch.jit.script(net).save("m.pt")

    tool.build(build)
    tool.write("net.py", NET)
    tool.refused(tool.probe("m.pt", "--all"))
    run = tool.probe("m.pt", *FACTORY, writes=("__pycache__",))
    tool.ask(run.status in (0, 2), str(run))


def factory(tool, text, word="refused", code=NET):
    """What is given to --factory: a sentence where it is wrong."""
    import torch

    torch.save(state(), tool.dir / "m.pt")
    tool.write("net.py", code)
    run = tool.probe("m.pt", "--factory", text.format(mark=tool.mark), "--shape", "2,4", "--all", writes=("__pycache__",))
    tool.refused(run) if word == "refused" else tool.agrees(run)


table(
    "torch",
    "factory",
    factory,
    {
        "code_in_arguments": "net.py:Net(__import__('os').system('touch {mark}'))",
        "lambda_in_arguments": "net.py:Net(*[(lambda: open('{mark}', 'w'))()])",
        "attribute": "net.py:Net.__init__.__globals__['torch']",
        "after_the_call": "net.py:Net(3).__class__(__import__('os').system('touch {mark}'))",
        "two_calls": "net.py:Net(3)(4)",
        "no_class": "net.py:Nothing",
        "no_colon": "net.py",
        "empty": "",
        "colon": ":",
        "no_file": "nothing.py:Net",
        "folder": ".:Net",
        "unclosed": "net.py:Net(3",
        "huge_power": "net.py:Net(9**9**9)",
        "nul": "net.py:Net('\0')" if False else "net.py:Net(\x1b)",
        "keyword": ("net.py:Net(size=3)", "agree"),
        "no_module": ("net.py:Net", "refused", "Net = dict\n"),
        "raises": ("net.py:Net", "refused", "def Net():\n    raise ValueError('\\x1b[31mred\\nprobe: agree')\n"),
        "exits": ("net.py:Net", "refused", "def Net():\n    raise SystemExit(0)\n"),
        "syntax": ("net.py:Net", "refused", "def Net(:\n"),
        "recursion": ("net.py:Net", "refused", "def Net():\n    return Net()\n"),
        "forward_raises": ("net.py:Net", "refused", NET.replace("self.act(self.fc(x))", "1 / 0")),
        "forward_none": ("net.py:Net", "refused", NET.replace("return self.act(self.fc(x))", "return None")),
        "prints": ("net.py:Net", "agree", "print('a line of the module')\n" + NET),
        "closes_stdout": ("net.py:Net", "agree", NET + "\nimport warnings\nwarnings.warn('w')\n"),
    },
)


# --- Keras --------------------------------------------------------------------------------------


def k3(kind, module="keras.layers", registered=None, build=None, **config):
    made = {"module": module, "class_name": kind, "config": config, "registered_name": registered}
    return {**made, "build_config": {"input_shape": build}} if build else made


def dense(name="dense", **change):
    return k3("Dense", name=name, **{"units": 3, "activation": "linear", "use_bias": True, **change}, build=[None, 4])


def sequential(*layers, shape=(None, 4), **more):
    first = k3("InputLayer", batch_shape=list(shape), dtype="float32", name="in")
    return {**k3("Sequential", "keras", name="seq", trainable=True, layers=[first, *layers], build_input_shape=list(shape)), **more}


def keras_weights(layers=(("dense", ((4, 3), (3,))),)):
    import h5py

    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    with h5py.File(buffer, "w") as file:
        for name, shapes in layers:
            group = file.create_group(f"layers/{name}/vars")
            for i, shape in enumerate(shapes):
                group[str(i)] = rng.normal(size=shape).astype(np.float32)
    return buffer.getvalue()


def save_keras(tool, config, weights=None, name="m.keras", extra=(), version="3.15.1"):
    weights = keras_weights() if weights is None else weights
    with zipfile.ZipFile(tool.dir / name, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": version, "date_saved": "2026-01-01@00:00:00"}))
        file.writestr("config.json", config if isinstance(config, (str, bytes)) else json.dumps(config))
        file.writestr("model.weights.h5", weights)
        for one, content in extra:
            file.writestr(one, content)


def marshalled(tool):
    """The bytecode of a Lambda that leaves a mark."""
    import marshal

    code = compile(f"lambda x: (open({tool.mark!r}, 'w'), x)[1]", "l", "eval").co_consts[0]
    return base64.b64encode(marshal.dumps(code)).decode()


def lambda3(tool):
    return k3("Lambda", name="lam", function={"class_name": "__lambda__", "config": {"code": marshalled(tool), "defaults": None, "closure": None}}, arguments={})


def function3(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def keras_code(tool, make):
    """A .keras that names code: refused without --trust; nothing is run, read or asked for."""
    made = make(tool)
    save_keras(tool, *(made if isinstance(made, tuple) else (made,)))
    tool.refused(tool.probe("m.keras", "--all"))
    listed = tool.probe("m.keras")
    if listed.status == 2:
        tool.refused(listed)


def secret_text(tool):
    return str((tool.secret / "words.txt").write_text(f"{SECRET}\nsecretword\n") and tool.secret / "words.txt")


def evil_module(tool):
    tool.write("evil.py", f"open({tool.mark!r}, 'w')\ndef f(*a, **k):\n    open({tool.mark!r}, 'w')\nclass C:\n    pass\n")
    return "evil"


table(
    "keras",
    "keras_code",
    keras_code,
    {
        "lambda": lambda t: sequential(dense(), lambda3(t)),
        "lambda_in_activation": lambda t: sequential(dense(activation={"class_name": "__lambda__", "config": {"code": marshalled(t), "defaults": None, "closure": None}})),
        "lambda_in_initializer": lambda t: sequential(dense(kernel_initializer={"class_name": "__lambda__", "config": {"code": marshalled(t), "defaults": None, "closure": None}})),
        "lambda_in_wrapper": lambda t: sequential(k3("TimeDistributed", name="td", layer=lambda3(t)), shape=(None, 3, 4)),
        "lambda_in_wrapper_twice": lambda t: sequential(k3("TimeDistributed", name="td", layer=k3("TimeDistributed", name="t2", layer=lambda3(t))), shape=(None, 3, 3, 4)),
        "lambda_in_sequential": lambda t: sequential(k3("Sequential", "keras", name="s2", layers=[dense(), lambda3(t)])),
        "lambda_by_other_module": lambda t: sequential(dense(), {**lambda3(t), "module": "keras.src.layers.core.lambda_layer"}),
        "lambda_registered": lambda t: sequential(dense(), {**lambda3(t), "module": None, "registered_name": "keras>Lambda"}),
        "lambda_bare": lambda t: sequential(dense(), {"class_name": "Lambda", "config": lambda3(t)["config"]}),
        "lambda_keras2": lambda t: sequential(dense(), k3("Lambda", name="lam", function=[marshalled(t), None, None], function_type="lambda", output_shape_type="raw", module="m")) if False else sequential(dense(), {"class_name": "Lambda", "module": "keras.layers", "config": {"name": "lam", "function": [marshalled(t), None, None], "function_type": "lambda"}, "registered_name": None}),
        "os_system": lambda t: sequential(dense(activation=function3("os", "system"))),
        "evil_function": lambda t: sequential(dense(activation=function3(evil_module(t), "f"))),
        "evil_class": lambda t: sequential(dense(), k3("C", evil_module(t))),
        "evil_registered": lambda t: sequential(dense(), k3("C", evil_module(t), registered="evil>C")),
        "evil_model": lambda t: {**sequential(dense()), "module": evil_module(t), "class_name": "C"},
        "eval": lambda t: sequential(dense(activation=function3("builtins", "eval"))),
        "get_file": lambda t: sequential(dense(activation=function3("keras.utils", "get_file"))),
        "load_model": lambda t: sequential(dense(activation=function3("keras.saving", "load_model"))),
        "unsafe": lambda t: sequential(dense(activation=function3("keras.config", "enable_unsafe_deserialization"))),
        "unsafe_then_lambda": lambda t: sequential(dense(kernel_initializer=function3("keras.config", "enable_unsafe_deserialization")), lambda3(t)),
        "serialization_lib": lambda t: sequential(dense(activation=function3("keras.src.saving.serialization_lib", "enable_unsafe_deserialization"))),
        "python_utils": lambda t: sequential(dense(activation=function3("keras.src.utils.python_utils", "func_load"))),
        "tfsm": lambda t: sequential(k3("TFSMLayer", name="sm", filepath=str(t.secret), call_endpoint="serve", trainable=False)),
        "torch_wrapper": lambda t: sequential(k3("TorchModuleWrapper", name="tm", module=base64.b64encode(b"x").decode(), output_shape=None) if False else {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"name": "tm", "module": "eA=="}, "registered_name": None}),
        "jax_layer": lambda t: sequential({"module": "keras.layers", "class_name": "JaxLayer", "config": {"name": "j", "call_fn": function3("os", "system")}, "registered_name": None}),
        "vocabulary": lambda t: sequential(k3("StringLookup", name="sl", vocabulary=secret_text(t)), shape=(None, 1)),
        "vocabulary_url": lambda t: sequential(k3("StringLookup", name="sl", vocabulary="http://127.0.0.1:9/v.txt"), shape=(None, 1)),
        "text_vocabulary": lambda t: sequential(k3("TextVectorization", name="tv", vocabulary=secret_text(t), output_mode="int"), shape=(None, 1)),
        "integer_vocabulary": lambda t: sequential(k3("IntegerLookup", name="il", vocabulary=secret_text(t)), shape=(None, 1)),
        "applications": lambda t: sequential(k3("MobileNet", "keras.applications", weights="imagenet")),
        "tensor": lambda t: sequential(dense(units={"class_name": "__tensor__", "config": {"value": "x", "dtype": "float32"}})),
        "numpy_load": lambda t: sequential(dense(kernel_initializer={"class_name": "__numpy__", "config": {"value": str(t.secret), "dtype": "O"}})),
        "typespec": lambda t: sequential(dense(), k3("Dense", name="d2", units={"class_name": "__typespec__", "spec_name": "os.system", "module": "os", "shape": [], "dtype": "float32"})),
        "legacy_module": lambda t: sequential(k3("Dense", "keras.src.legacy.backend", name="d")),
        "backend_module": lambda t: sequential(k3("os", "keras.src.saving.saving_lib", name="d")),
        "dtype_policy": lambda t: sequential(dense(dtype={"module": "os", "class_name": "system", "config": {"name": touch(t)}, "registered_name": None})),
        "quantization_config": lambda t: sequential(dense(quantization_config={"module": "os", "class_name": "system", "config": touch(t)})),
        "asset_traversal": lambda t: (sequential(dense(), lambda3(t)), None, "m.keras", (("assets/../../../canary/ran", b"x"),)),
    },
)


def keras_file(tool, make, word="refused"):
    """A .keras that is damaged or too large: one sentence, or a right answer."""
    made = make(tool)
    if made is not None:
        save_keras(tool, *(made if isinstance(made, tuple) else (made,)))
    run = tool.probe("m.keras", "--all")
    if word == "agree":
        tool.agrees(run)
    elif word == "refused":
        tool.refused(run)
    elif run.status == 2 and "unchecked" not in run.out:
        tool.refused(run)
    listed = tool.probe("m.keras", quick=20)
    if listed.status == 2:
        tool.refused(listed)


def rezip(tool, *members, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(tool.dir / "m.keras", "w", kind) as file:
        for name, content in members:
            file.writestr(name, content)


def h5_weights(work):
    """Weights of which `work(file)` makes something else."""
    import h5py

    buffer = io.BytesIO(keras_weights())
    with h5py.File(buffer, "r+") as file:
        work(file)
    return buffer.getvalue()


def replaced(file, make):
    del file["layers/dense/vars/0"]
    make(file, "layers/dense/vars/0")


def external_dataset(tool):
    secret = secret_file(tool)
    return h5_weights(lambda f: replaced(f, lambda f, at: f.create_dataset(at, (4, 3), "f4", external=[(str(secret), 0, 48)])))


def external_link(tool):
    import h5py

    with h5py.File(tool.secret / "s.h5", "w") as file:
        file["k"] = np.full((4, 3), SECRET, np.float32)
    return h5_weights(lambda f: replaced(f, lambda f, at: f.__setitem__(at, h5py.ExternalLink(str(tool.secret / "s.h5"), "k"))))


def virtual_dataset(tool):
    import h5py

    external_link(tool)

    def make(file, at):
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[...] = h5py.VirtualSource(str(tool.secret / "s.h5"), "k", (4, 3))
        file.create_virtual_dataset(at, layout)

    return h5_weights(lambda f: replaced(f, make))


def cycle_of_groups(file):
    file["layers/dense/vars/again"] = file["layers"]
    file["layers/self"] = file["/"]


def zip_flags(tool):
    save_keras(tool, sequential(dense()))
    data = bytearray((tool.dir / "m.keras").read_bytes())
    for sign, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = 0
        while (place := data.find(sign, place)) >= 0:
            data[place + at] |= 1
            place += 4
    tool.write("m.keras", bytes(data))


def many_layers(count):
    return sequential(*(k3("Activation", name=f"a{i}", activation="relu") for i in range(count)))


def functional_cycle():
    layer = dense("a")
    layer["inbound_nodes"] = [{"args": [{"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["b", 0, 0]}}], "kwargs": {}}]
    other = dense("b")
    other["inbound_nodes"] = [{"args": [{"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["a", 0, 0]}}], "kwargs": {}}]
    first = {**k3("InputLayer", batch_shape=[None, 4], dtype="float32", name="in"), "name": "in", "inbound_nodes": []}
    return k3("Functional", "keras.src.models.functional", name="f", trainable=True, layers=[first, {**layer, "name": "a"}, {**other, "name": "b"}], input_layers=[["in", 0, 0]], output_layers=[["b", 0, 0]])


table(
    "keras",
    "keras_file",
    keras_file,
    {
        "plain": (lambda t: sequential(dense()), "agree"),
        "lambda_in_compile": (lambda t: sequential(dense(), compile_config={"loss": {"class_name": "__lambda__", "config": {"code": marshalled(t), "defaults": None, "closure": None}}, "optimizer": "sgd"}), "safe"),
        "config_no_json": lambda t: "{",
        "config_latin1": lambda t: b'{"class_name": "S\xe4"}',
        "config_nan": lambda t: json.dumps(sequential(dense(units=float("nan")))),
        "config_list": lambda t: "[]",
        "config_null": lambda t: "null",
        "config_string": lambda t: '"Sequential"',
        "config_deep": lambda t: '{"config":' * 50000 + "1" + "}" * 50000,
        "config_deep_lists": lambda t: "[" * 100000 + "]" * 100000,
        "config_bomb": lambda t: json.dumps(sequential(dense()))[:-1] + " " * (1 << 28) + "}",
        "config_number": lambda t: json.dumps(sequential(dense()))[:-1] + ', "x": ' + "9" * 100000 + "}",
        "config_keys": (lambda t: {**sequential(dense()), **{f"k{i}": i for i in range(200000)}}, "safe"),
        "class_no_name": lambda t: {"config": {}},
        "class_number": lambda t: {**sequential(dense()), "class_name": 5},
        "class_escape": lambda t: sequential(dense(), k3("\x1b[31mDense\x07\n", name="x")),
        "layers_number": lambda t: k3("Sequential", "keras", name="s", layers=5),
        "layers_empty": lambda t: k3("Sequential", "keras", name="s", layers=[]),
        "units_huge": lambda t: sequential(dense(units=10**12)),
        "units_negative": lambda t: sequential(dense(units=-3)),
        "units_word": lambda t: sequential(dense(units="three")),
        "units_bool": (lambda t: sequential(dense(units=True)), "safe"),
        "shape_huge": (lambda t: sequential(k3("Flatten", name="f"), shape=(None, 10**6, 10**6)), "safe"),
        "shape_overflow": (lambda t: sequential(k3("Flatten", name="f"), shape=(None, 2**62, 2**62)), "safe"),
        "shape_batch": (lambda t: sequential(k3("Flatten", name="f"), shape=(10**12, 4)), "safe"),
        "shape_none": (lambda t: sequential(k3("Flatten", name="f"), shape=(None, None, None)), "safe"),
        "shape_zero": (lambda t: sequential(k3("Flatten", name="f"), shape=(None, 0)), "safe"),
        "embedding_huge": (lambda t: sequential(k3("Embedding", name="e", input_dim=10**10, output_dim=64)), "refused"),
        "repeat_huge": (lambda t: sequential(k3("RepeatVector", name="r", n=10**9)), "safe"),
        "padding_huge": (lambda t: sequential(k3("ZeroPadding2D", name="z", padding=[[10**5, 10**5], [10**5, 10**5]]), shape=(None, 4, 4, 1)), "safe"),
        "upsampling_huge": (lambda t: sequential(k3("UpSampling2D", name="u", size=[50000, 50000]), shape=(None, 4, 4, 1)), "safe"),
        "resizing_huge": (lambda t: sequential(k3("Resizing", name="u", height=100000, width=100000), shape=(None, 4, 4, 1)), "safe"),
        "encoding_huge": (lambda t: sequential(k3("CategoryEncoding", name="c", num_tokens=10**10)), "safe"),
        "hashing": (lambda t: sequential(k3("Hashing", name="c", num_bins=2**62)), "safe"),
        "einsum_huge": (lambda t: sequential(k3("EinsumDense", name="e", equation="ab,bcdefgh->acdefgh", output_shape=[1000] * 6)), "refused"),
        "steps_many": (lambda t: sequential(k3("SimpleRNN", name="r", units=1), shape=(1, 5000000, 1)), "safe"),
        "dropout_nan": (lambda t: sequential(k3("Dropout", name="d", rate=float("nan"))), "safe"),
        "epsilon_negative": (lambda t: (sequential(k3("LayerNormalization", name="n", epsilon=-1.0, axis=-1, scale=False, center=False)), keras_weights(())), "safe"),
        "slope_inf": (lambda t: (sequential(k3("LeakyReLU", name="n", negative_slope=1e39)), keras_weights(())), "safe"),
        "name_escape": (lambda t: sequential(dense("\x1b[31mred\x07")), "safe"),
        "name_slash": (lambda t: sequential(dense("../../x")), "safe"),
        "name_empty": (lambda t: sequential(dense("")), "safe"),
        "name_number": (lambda t: sequential(dense(5)), "safe"),
        "name_twice": (lambda t: sequential(dense("d"), k3("Dense", name="d", units=2)), "safe"),
        "many_layers": (lambda t: many_layers(3000), "safe"),
        "nested_deep": (lambda t: __import__("functools").reduce(lambda inner, i: k3("Sequential", "keras", name=f"s{i}", layers=[k3("InputLayer", batch_shape=[None, 4], dtype="float32", name=f"i{i}"), inner]), range(200), dense()), "safe"),
        "wrapper_deep": (lambda t: sequential(__import__("functools").reduce(lambda inner, i: k3("TimeDistributed", name=f"t{i}", layer=inner), range(150), dense())), "safe"),
        "cycle": lambda t: functional_cycle(),
        "weights_missing": lambda t: rezip(t, ("metadata.json", "{}"), ("config.json", json.dumps(sequential(dense())))),
        "weights_empty": lambda t: (sequential(dense()), b""),
        "weights_no_h5": lambda t: (sequential(dense()), b"\x89HDF\r\n\x1a\n" + bytes(500)),
        "weights_half": lambda t: (sequential(dense()), keras_weights()[:1500]),
        "weights_of_none": lambda t: (sequential(dense()), keras_weights(())),
        "weights_other_shape": lambda t: (sequential(dense()), keras_weights((("dense", ((3, 4), (3,))),))),
        "weights_external_dataset": lambda t: (sequential(dense()), external_dataset(t)),
        "weights_external_link": lambda t: (sequential(dense()), external_link(t)),
        "weights_virtual": lambda t: (sequential(dense()), virtual_dataset(t)),
        "weights_soft_loop": lambda t: (sequential(dense()), h5_weights(lambda f: replaced(f, lambda f, at: f.__setitem__(at, __import__("h5py").SoftLink("/" + at))))),
        "weights_group_cycle": (lambda t: (sequential(dense()), h5_weights(cycle_of_groups)), "safe"),
        "weights_declared_huge": lambda t: (sequential(dense(units=10**9)), h5_weights(lambda f: replaced(f, lambda f, at: f.create_dataset(at, (4, 10**9), "f4", chunks=(4, 1000))))),
        "weights_gzip_bomb": lambda t: (sequential(dense(units=30000000)), h5_weights(lambda f: replaced(f, lambda f, at: f.create_dataset(at, (4, 30000000), "f4", chunks=(4, 10**6), compression="gzip", data=np.zeros((4, 30000000), np.float32))))),
        "weights_strings": lambda t: (sequential(dense()), h5_weights(lambda f: replaced(f, lambda f, at: f.create_dataset(at, data=[["a"] * 3] * 4)))),
        "weights_compound": lambda t: (sequential(dense()), h5_weights(lambda f: replaced(f, lambda f, at: f.create_dataset(at, (4, 3), [("a", "f4"), ("b", "i4")])))),
        "weights_complex": (lambda t: (sequential(dense()), h5_weights(lambda f: replaced(f, lambda f, at: f.create_dataset(at, (4, 3), "c8")))), "safe"),
        "weights_group": lambda t: (sequential(dense()), h5_weights(lambda f: replaced(f, lambda f, at: f.create_group(at)))),
        "weights_many_groups": (lambda t: (sequential(dense()), h5_weights(lambda f: [f.create_group(f"x/{i}") for i in range(30000)])), "safe"),
        "weights_deep_groups": (lambda t: (sequential(dense()), h5_weights(lambda f: f.create_group("/".join("x" * 3000)))), "safe"),
        "weights_nan": (lambda t: (sequential(dense()), h5_weights(lambda f: f["layers/dense/vars/0"].__setitem__(..., np.nan))), "safe"),
        "version_far": (lambda t: (sequential(dense()), None, "m.keras", (), "99.0.0"), "safe"),
        "version_number": (lambda t: (sequential(dense()), None, "m.keras", (), 3), "safe"),
        "version_escape": (lambda t: (sequential(dense()), None, "m.keras", (), "3.\x1b[31m\n5"), "safe"),
        "version_two": (lambda t: (sequential(dense()), None, "m.keras", (), "2.15.0"), "safe"),
        "metadata_list": (lambda t: rezip(t, ("metadata.json", "[]"), ("config.json", json.dumps(sequential(dense()))), ("model.weights.h5", keras_weights())), "safe"),
        "members_twice": (lambda t: rezip(t, ("metadata.json", "{}"), ("config.json", json.dumps(sequential(dense()))), ("config.json", json.dumps(sequential(dense(), lambda3(t)))), ("model.weights.h5", keras_weights())), "safe"),
        "encrypted": lambda t: zip_flags(t),
        "bomb_weights": lambda t: rezip(t, ("metadata.json", "{}"), ("config.json", json.dumps(sequential(dense()))), ("model.weights.h5", keras_weights() + bytes(1 << 29))),
        "half": lambda t: (save_keras(t, sequential(dense())), t.write("m.keras", (t.dir / "m.keras").read_bytes()[:900]))[:0] or None,
        "lzma": (lambda t: rezip(t, ("metadata.json", "{}"), ("config.json", json.dumps(sequential(dense()))), ("model.weights.h5", keras_weights()), kind=zipfile.ZIP_LZMA), "safe"),
    },
)


def edit_qkeras(tool, change, name="m.h5"):
    """The example of QKeras, its configuration changed."""
    import h5py

    path = tool.dir / name
    shutil.copy(EXAMPLES / "digits_qkeras.h5", path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        made = change(config, file)
        if made is not None:
            file.attrs["model_config"] = made if isinstance(made, (str, bytes, np.ndarray)) else json.dumps(made)


def set_in(where, value):
    """A change of one layer's option: (layer's number, option)."""

    def change(config, file, tool=None):
        config["config"]["layers"][where[0]]["config"][where[1]] = value
        return config

    return change


def qkeras_code(tool, make):
    """An .h5 whose options are code for QKeras' or Keras' readers: refused, nothing is run."""
    edit_qkeras(tool, make(tool))
    tool.refused(tool.probe("m.h5", "--all"))
    listed = tool.probe("m.h5")
    if listed.status == 2:
        tool.refused(listed)


def attack(tool):
    return f"__import__('os').system('touch {tool.mark}')"


table(
    "keras",
    "qkeras_code",
    qkeras_code,
    {
        "kernel_quantizer": lambda t: set_in((1, "kernel_quantizer"), attack(t)),
        "bias_quantizer": lambda t: set_in((1, "bias_quantizer"), f"quantized_bits(4,0,1) if {attack(t)} else None"),
        "activation": lambda t: set_in((2, "activation"), attack(t)),
        "activation_argument": lambda t: set_in((2, "activation"), f"quantized_relu({attack(t)})"),
        "activation_keyword": lambda t: set_in((2, "activation"), f"quantized_relu(bits={attack(t)})"),
        "dense_activation": lambda t: set_in((1, "activation"), f"quantized_relu(4, {attack(t)})"),
        "system_class": lambda t: set_in((1, "kernel_quantizer"), {"module": "os", "class_name": "system", "config": {"command": touch(t)}, "registered_name": None}),
        "function": lambda t: set_in((2, "activation"), {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}),
        "evil_module": lambda t: set_in((1, "kernel_quantizer"), {"module": evil_module(t), "class_name": "C", "config": {}, "registered_name": "C"}),
        "lambda_layer": lambda t: lambda c, f: (c["config"]["layers"].insert(2, {"class_name": "Lambda", "config": {"name": "l", "trainable": True, "dtype": "float32", "function": [marshalled(t) + "\n", None, None], "function_type": "lambda", "module": "__main__", "output_shape": None, "output_shape_type": "raw", "output_shape_module": None, "arguments": {}}}), c)[1],
        "lambda_function_name": lambda t: lambda c, f: (c["config"]["layers"].insert(2, {"class_name": "Lambda", "config": {"name": "l", "function": "system", "function_type": "function", "module": "os", "arguments": {}}}), c)[1],
        "tf_op_layer": lambda t: lambda c, f: (c["config"]["layers"].insert(2, {"class_name": "TFOpLambda", "config": {"name": "o", "function": "io.read_file"}}), c)[1],
        "tf_py_function": lambda t: lambda c, f: (c["config"]["layers"].insert(2, {"class_name": "TFOpLambda", "config": {"name": "o", "function": "py_function"}}), c)[1],
        "tensorflow_op_layer": lambda t: lambda c, f: (c["config"]["layers"].insert(2, {"class_name": "TensorFlowOpLayer", "config": {"name": "o", "node_def": json.dumps({"name": "r", "op": "ReadFile", "input": [], "attr": {}}), "constants": {}}}), c)[1],
        "initializer_quantizer": lambda t: set_in((1, "kernel_initializer"), {"class_name": "QInitializer", "config": {"initializer": "zeros", "use_scale": True, "quantizer": attack(t)}}),
        "constraint": lambda t: set_in((1, "kernel_constraint"), {"class_name": "Clip", "config": {"min_value": attack(t), "max_value": 1}}),
        "regularizer": lambda t: set_in((1, "kernel_regularizer"), attack(t)),
        "hashed_key": lambda t: set_in((1, "kernel_range"), attack(t)),
        "training_config": lambda t: lambda c, f: (f.attrs.__setitem__("training_config", json.dumps({"loss": {"class_name": "system", "module": "os", "config": {}}, "optimizer_config": {"class_name": "Custom>x", "config": {}}})), c["config"]["layers"][1]["config"].__setitem__("kernel_quantizer", attack(t)), c)[2],
    },
)


def qkeras_file(tool, change, word="safe"):
    """An .h5 that is damaged or too large: one sentence, or a right answer."""
    edit_qkeras(tool, change)
    run = tool.probe("m.h5", "--all")
    if word == "refused":
        tool.refused(run)
    elif run.status == 2 and "unchecked" not in run.out:
        tool.refused(run)
    listed = tool.probe("m.h5", quick=20)
    if listed.status == 2:
        tool.refused(listed)


def attribute(name, value):
    def change(config, file):
        file.attrs[name] = value

    return change


table(
    "keras",
    "qkeras_file",
    qkeras_file,
    {
        "config_bytes": lambda c, f: json.dumps(c).encode(),
        "config_none": (lambda c, f: f.attrs.__delitem__("model_config"), "refused"),
        "config_array": (lambda c, f: np.arange(5), "refused"),
        "config_bad": (lambda c, f: "{", "refused"),
        "config_deep": (lambda c, f: '{"config":' * 3000 + "1" + "}" * 3000, "refused"),
        "version_none": lambda c, f: f.attrs.__delitem__("keras_version"),
        "version_array": attribute("keras_version", np.arange(3)),
        "version_word": attribute("keras_version", "\x1b[31mtwo"),
        "backend": attribute("backend", "os; touch x"),
        "bits_huge": set_in((1, "kernel_quantizer"), {"class_name": "quantized_bits", "config": {"bits": 10**9, "integer": 0, "alpha": 1}}),
        "bits_negative": set_in((1, "kernel_quantizer"), {"class_name": "quantized_bits", "config": {"bits": -4, "integer": 0, "alpha": 1}}),
        "bits_float": set_in((1, "kernel_quantizer"), {"class_name": "quantized_bits", "config": {"bits": 4.5, "integer": 0, "alpha": 1}}),
        "bits_nan": set_in((1, "kernel_quantizer"), {"class_name": "quantized_bits", "config": {"bits": float("nan"), "integer": 0}}),
        "alpha_word": set_in((1, "kernel_quantizer"), {"class_name": "quantized_bits", "config": {"bits": 4, "integer": 0, "alpha": "all"}}),
        "quantizer_words": set_in((1, "kernel_quantizer"), "quantized_bits(4,0,1,alpha=1.0)"),
        "quantizer_nested": set_in((1, "kernel_quantizer"), "quantized_bits(" * 2000 + ")" * 2000),
        "quantizer_power": set_in((1, "kernel_quantizer"), "quantized_bits(9**9**9)"),
        "quantizer_blanks": set_in((1, "kernel_quantizer"), "quantized_bits(" + " " * 10**6 + ")"),
        "quantizer_none": set_in((1, "kernel_quantizer"), "nothing(4)"),
        "activation_table": set_in((2, "activation"), {"class_name": "quantized_relu", "config": {"bits": 60, "integer": 30}}),
        "layer_names_many": lambda c, f: f["model_weights"].attrs.__setitem__("layer_names", [b"conv2d"] * 1000),
        "layer_names_parent": lambda c, f: f["model_weights"].attrs.__setitem__("layer_names", [b"../../x"] * 7),
        "layer_names_none": lambda c, f: f["model_weights"].attrs.__delitem__("layer_names"),
        "weights_none": lambda c, f: f.__delitem__("model_weights"),
        "weights_external": (lambda c, f: (f["model_weights/conv2d/conv2d"].__delitem__("kernel:0"), f["model_weights/conv2d/conv2d"].create_dataset("kernel:0", (3, 3, 1, 16), "f4", external=[("/etc/hostname", 0, 576)]))[:0] and None, "refused"),
    },
)


# --- Hugging Face -------------------------------------------------------------------------------


def llama(tool, name="hf"):
    """A tiny Llama in a folder, without running any model."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tool.dir / name
    folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32, "tie_word_embeddings": True, "dtype": "float32",
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2, "head_dim": 8,
    }
    rng, shapes = np.random.default_rng(0), {"model.embed_tokens.weight": (32, 16), "model.norm.weight": (16,)}
    layer = {"input_layernorm": (16,), "post_attention_layernorm": (16,), "mlp.gate_proj": (24, 16), "mlp.up_proj": (24, 16), "mlp.down_proj": (16, 24)}
    layer.update({f"self_attn.{one}_proj": (16, 16) for one in "qkvo"})
    shapes.update({f"model.layers.0.{key}.weight": shape for key, shape in layer.items()})
    from safetensors.numpy import save_file

    save_file({key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, config


def hf(tool, change, word="refused", *arguments):
    """A Hugging Face directory with something in it: refused, or as it is without it."""
    folder, config = llama(tool)
    made = change(tool, folder, config)
    if isinstance(made, dict):
        (folder / "config.json").write_text(json.dumps(made))
    elif isinstance(made, str):
        (folder / "config.json").write_text(made)
    arguments = arguments or ("--all",)
    run = tool.probe("hf", *arguments)
    if word == "agree":
        tool.agrees(run)
    elif word == "refused":
        tool.refused(run)
    elif run.status == 2 and "unchecked" not in run.out:
        tool.refused(run)
    listed = tool.probe("hf", quick=20)
    if listed.status == 2:
        tool.refused(listed)


def evil_code(tool, folder, names=("modeling_x", "configuration_x")):
    for name in names:
        (folder / f"{name}.py").write_text(f"open({tool.mark!r}, 'w')\nfrom transformers import LlamaForCausalLM as M, LlamaConfig as C\nclass X(M): pass\nclass XConfig(C): model_type='x'\n")


def with_code(**change):
    def make(tool, folder, config):
        evil_code(tool, folder)
        return {**config, **change}

    return make


def setting(**change):
    return lambda tool, folder, config: {**config, **change}


def index(entry):
    """The parameters in shards, of which one is `entry`."""

    def make(tool, folder, config):
        secret_file(tool)
        shutil.copy(folder / "model.safetensors", tool.secret / "model.safetensors")
        os.rename(folder / "model.safetensors", folder / "model-00001-of-00001.safetensors")
        with open(folder / "model-00001-of-00001.safetensors", "rb") as file:
            names = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        made = {"metadata": {}, "weight_map": {n: entry(tool) if n == "model.norm.weight" else "model-00001-of-00001.safetensors" for n in names if n != "__metadata__"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(made))

    return make


def index_text(text):
    def make(tool, folder, config):
        os.rename(folder / "model.safetensors", folder / "a.safetensors")
        (folder / "model.safetensors.index.json").write_text(text)

    return make


def pickled(make):
    def build(tool, folder, config):
        (folder / "model.safetensors").unlink()
        made = make(tool)
        if isinstance(made, bytes):
            zipped_pickle(folder / "pytorch_model.bin", made)

    return build


def linked(name):
    def make(tool, folder, config):
        os.rename(folder / name, tool.secret / name)
        os.symlink(tool.secret / name, folder / name)

    return make


def tokenizer(change):
    def make(tool, folder, config):
        told = json.loads((folder / "tokenizer.json").read_text())
        made = change(told)
        (folder / "tokenizer.json").write_text(made if isinstance(made, str) else json.dumps(made))

    return make


def put(told, **change):
    return {**told, **change}


TEXT = ("--layer", "model.norm", "--text", "a b a")
REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
table(
    "hf",
    "hf",
    hf,
    {
        "plain": (lambda t, f, c: None, "agree"),
        "plain_text": (lambda t, f, c: None, "agree", *TEXT),
        "auto_map": (with_code(auto_map={"AutoModelForCausalLM": "modeling_x.X", "AutoConfig": "configuration_x.XConfig"}, architectures=["X"], model_type="x"), "refused"),
        "auto_map_known": (with_code(auto_map={"AutoModelForCausalLM": "modeling_x.X", "AutoConfig": "configuration_x.XConfig"}), "agree"),
        "auto_map_remote": (setting(auto_map={"AutoModel": "someone/repository--modeling.X"}, architectures=["X"], model_type="x"), "refused"),
        "architecture_os": (setting(architectures=["os"]), "refused"),
        "architecture_trainer": (setting(architectures=["Trainer"]), "refused"),
        "architecture_pipeline": (setting(architectures=["pipeline"]), "refused"),
        "architecture_auto": (setting(architectures=["AutoModel"]), "refused"),
        "architecture_dunder": (setting(architectures=["__builtins__"]), "refused"),
        "architecture_dotted": (setting(architectures=["utils.import_utils.os"]), "refused"),
        "architecture_config": (setting(architectures=["LlamaConfig"]), "refused"),
        "architecture_tokenizer": (setting(architectures=["LlamaTokenizer"]), "refused"),
        "architecture_other": (setting(architectures=["BertModel"]), "refused"),
        "architecture_none": (setting(architectures=None), "safe"),
        "architecture_number": (setting(architectures=5), "safe"),
        "architecture_word": (setting(architectures="LlamaForCausalLM"), "safe"),
        "architecture_escape": (setting(architectures=[NAMES["escape"]]), "refused"),
        "architecture_many": (setting(architectures=["X"] * 10**5), "refused"),
        "attention_kernel": (setting(attn_implementation="kernels-community/flash-attn", _attn_implementation="kernels-community/flash-attn"), "safe"),
        "attention_flash": (setting(_attn_implementation="flash_attention_2"), "safe"),
        "attention_internal": (setting(_attn_implementation_internal="someone/kernel:f"), "safe"),
        "experts_kernel": (setting(experts_implementation="someone/kernel"), "safe"),
        "name_or_path": (setting(_name_or_path="http://127.0.0.1:9/x", name_or_path="../secret"), "agree"),
        "weights_elsewhere": (lambda t, f, c: (shutil.copy(f / "model.safetensors", t.secret / "s.safetensors"), {**c, "transformers_weights": "../../secret/s.safetensors"})[1], "safe"),
        "weights_elsewhere_alone": (lambda t, f, c: (os.rename(f / "model.safetensors", t.secret / "s.safetensors"), {**c, "transformers_weights": "../../secret/s.safetensors"})[1], "refused"),
        "adapter": (lambda t, f, c: (f / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "../../secret", "auto_mapping": {"parent_library": "os", "base_model_class": "system"}}))[:0] if False else (f / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "../../secret"})) and None, "safe"),
        "quantization_unknown": (setting(quantization_config={"quant_method": "os.system"}), "safe"),
        "quantization_bnb": (setting(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}), "refused"),
        "quantization_torchao": (setting(quantization_config={"quant_method": "torchao", "quant_type": {"default": {"_type": "os.system", "_data": {}}}}), "refused"),
        "quantization_list": (setting(quantization_config=[1]), "safe"),
        "dtype_system": (setting(dtype="system"), "refused"),
        "dtype_load": (setting(dtype="load", torch_dtype="load"), "refused"),
        "dtype_number": (setting(dtype=16), "safe"),
        "layers_huge": (setting(num_hidden_layers=10**9), "refused"),
        "layers_negative": (setting(num_hidden_layers=-1), "safe"),
        "layers_word": (setting(num_hidden_layers="one"), "refused"),
        "vocab_huge": (setting(vocab_size=10**12), "refused"),
        "hidden_huge": (setting(hidden_size=10**8), "refused"),
        "heads_zero": (setting(num_attention_heads=0), "refused"),
        "positions_huge": (setting(max_position_embeddings=10**12), "safe"),
        "labels_huge": (setting(num_labels=10**9), "refused"),
        "activation_system": (setting(hidden_act="system"), "refused"),
        "rope_unknown": (setting(rope_parameters={"rope_type": "os", "rope_theta": 1}), "refused"),
        "rope_nan": (setting(rope_parameters={"rope_type": "default", "rope_theta": float("nan")}), "safe"),
        "rope_yarn": (setting(rope_parameters={"rope_type": "yarn", "factor": 1e300, "rope_theta": 1e-300, "original_max_position_embeddings": 10**15}), "safe"),
        "epsilon_nan": (setting(rms_norm_eps=float("nan")), "safe"),
        "timm": (lambda t, f, c: {"architectures": ["DetrModel"], "model_type": "detr", "backbone": "resnet50", "use_timm_backbone": True, "use_pretrained_backbone": True}, "refused"),
        "backbone_hub": (lambda t, f, c: {"architectures": ["UperNetForSemanticSegmentation"], "model_type": "upernet", "backbone": "someone/model", "use_pretrained_backbone": True}, "refused"),
        "model_type_escape": (setting(model_type="\x1b[31m"), "safe"),
        "model_type_list": (setting(model_type=["llama"]), "safe"),
        "config_list": (lambda t, f, c: "[]", "refused"),
        "config_bad": (lambda t, f, c: "{", "refused"),
        "config_deep": (lambda t, f, c: '{"a":' * 50000 + "1" + "}" * 50000, "refused"),
        "config_deep_key": (lambda t, f, c: json.dumps(c)[:-1] + ', "x": ' + "[" * 50000 + "]" * 50000 + "}", "refused"),
        "config_huge": (lambda t, f, c: json.dumps(c)[:-1] + " " * (200 << 20) + "}", "safe"),
        "config_fifo": (lambda t, f, c: ((f / "config.json").unlink(), os.mkfifo(f / "config.json"))[1], "refused"),
        "config_folder": (lambda t, f, c: ((f / "config.json").unlink(), os.mkdir(f / "config.json"))[1], "refused"),
        "config_outside": (linked("config.json"), "safe"),
        "weights_outside": (linked("model.safetensors"), "safe"),
        "tokenizer_outside": (linked("tokenizer.json"), "safe", *TEXT),
        "index_parent": (index(lambda t: "../../secret/model.safetensors"), "refused"),
        "index_absolute": (index(lambda t: str(t.secret / "model.safetensors")), "refused"),
        "index_fifo": (index(lambda t: (os.mkfifo(t.dir / "hf" / "f.safetensors"), "f.safetensors")[1]) if False else index(lambda t: "/dev/zero"), "refused"),
        "index_missing": (index(lambda t: "none.safetensors"), "refused"),
        "index_number": (index(lambda t: 5), "refused"),
        "index_bin": (index(lambda t: (zipped_pickle(t.dir / "hf" / "evil.bin", raw_call("os", "system", touch(t))), "evil.bin")[1]), "refused"),
        "index_list": (index_text("[]"), "refused"),
        "index_bad": (index_text('{"weight_map": {'), "refused"),
        "index_map_list": (index_text('{"weight_map": []}'), "refused"),
        "pickle": (pickled(lambda t: raw_call("os", "system", touch(t))), "refused"),
        "pickle_posix": (pickled(lambda t: b"\x80\x02}X\x01\x00\x00\x00a" + raw_call("posix", "system", touch(t))[:-1] + b"s."), "refused"),
        "no_weights": (lambda t, f, c: (f / "model.safetensors").unlink(), "refused"),
        "generation_config": (lambda t, f, c: (f / "generation_config.json").write_text('{"x":' * 5000 + "1" + "}" * 5000) and None, "safe"),
        "tokenizer_code": (lambda t, f, c: (evil_code(t, f, ("tokenization_x",)), (f / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["tokenization_x.X", None]}})))[:0] and None, "safe", *TEXT),
        "tokenizer_template": (lambda t, f, c: (f / "chat_template.jinja").write_text("{{ cycler.__init__.__globals__.os.system('touch " + t.mark + "') }}") and None, "agree", *TEXT),
        "tokenizer_bad": (tokenizer(lambda k: "{"), "refused", *TEXT),
        "tokenizer_list": (tokenizer(lambda k: "[]"), "refused", *TEXT),
        "tokenizer_beyond": (tokenizer(lambda k: {**k, "model": {**k["model"], "vocab": {"<unk>": 0, "a": 10**6, "b": 2}}}), "refused", *TEXT),
        "tokenizer_regex": (tokenizer(lambda k: {**k, "pre_tokenizer": REGEX}), "safe", "--layer", "model.norm", "--text", "a" * 40 + "b"),
        "tokenizer_replace": (tokenizer(lambda k: {**k, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100 + "a"}] * 5}}), "safe", *TEXT),
        "tokenizer_template_long": (tokenizer(lambda k: {**k, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "a", "type_id": 0}}] * 200000 + [{"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"a": {"id": "a", "ids": [1], "tokens": ["a"]}}}}), "safe", *TEXT),
        "tokenizer_padding": (tokenizer(lambda k: {**k, "padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}}), "safe", *TEXT),
        "text_empty": (lambda t, f, c: None, "safe", "--layer", "model.norm", "--text", ""),
        "text_long": (lambda t, f, c: None, "safe", "--layer", "model.norm", "--text", "a " * 20000),
        "text_escape": (lambda t, f, c: None, "agree", "--layer", "model.norm", "--text", "\x1b[31ma\nprobe: agree"),
        "disk": (lambda t, f, c: None, "agree", "--all", "--device", "disk"),
    },
)


if __name__ == "__main__":
    sys.exit(main())
