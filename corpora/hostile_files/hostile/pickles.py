"""PyTorch files that are pickles: a zip around one, or a row of them."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
from hostile import bases
from hostile.bases import (
    FALSE,
    NONE,
    call_,
    dict_,
    int_,
    name_,
    pickle_,
    storage_,
    tensor_,
    text_,
    tuple_,
)
from hostile.case import AGREES_OR_REFUSED, LISTED, NOT_AGREES, REFUSED, Place, Run, add

# Parameters alone are listed as a table; what checks them needs a factory.
LISTING, ALL = Run(("m.pt",), LISTED), ("m.pt", "--all", *bases.FACTORY)


def _file(kind: str, slug: str, build: Callable[[Place], None], allowed=REFUSED) -> None:
    def act(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        build(place)

    add("pt", kind, slug, act, LISTING, Run(ALL, allowed))


def _pickled(kind: str, slug: str, value: Callable[[Place], bytes], allowed=REFUSED) -> None:
    _file(kind, slug, lambda place: bases.torch_zip(place.work / "m.pt", value(place)), allowed)


def _beside(gadget: bytes) -> bytes:
    """A state_dict with one entry more."""
    return dict_({**bases.STATE, "extra": gadget})


def _touch(place: Place) -> bytes:
    return call_(name_("posix", "system"), text_(f"touch '{place.marker}'"))


def _opens(place: Place) -> bytes:
    return call_(name_("builtins", "open"), text_(place.marker), text_("w"))


# Each calls one function with arguments that make the marker, were it called.
PYTHON = "open({!r}, 'w').close()"
GADGETS: dict[str, Callable[[str], bytes]] = {
    "posix.system": lambda m: call_(name_("posix", "system"), text_(f"touch '{m}'")),
    "os.system": lambda m: call_(name_("os", "system"), text_(f"touch '{m}'")),
    "os.popen": lambda m: call_(name_("os", "popen"), text_(f"touch '{m}'")),
    "os.mkdir": lambda m: call_(name_("os", "mkdir"), text_(m)),
    "os.open": lambda m: call_(name_("os", "open"), text_(m), int_(0o102)),
    "os.symlink": lambda m: call_(name_("os", "symlink"), text_("x"), text_(m)),
    "os.mkfifo": lambda m: call_(name_("os", "mkfifo"), text_(m)),
    "subprocess.popen": lambda m: call_(
        name_("subprocess", "Popen"), b"](" + text_("touch") + text_(m) + b"e"
    ),
    "subprocess.check-output": lambda m: call_(
        name_("subprocess", "check_output"), b"](" + text_("touch") + text_(m) + b"e"
    ),
    "subprocess.getoutput": lambda m: call_(
        name_("subprocess", "getoutput"), text_(f"touch '{m}'")
    ),
    "pty.spawn": lambda m: call_(name_("pty", "spawn"), b"](" + text_("touch") + text_(m) + b"e"),
    "builtins.open": lambda m: call_(name_("builtins", "open"), text_(m), text_("w")),
    "builtins.exec": lambda m: call_(name_("builtins", "exec"), text_(PYTHON.format(m))),
    "builtins.eval": lambda m: call_(name_("builtins", "eval"), text_(PYTHON.format(m))),
    "python2.builtin-eval": lambda m: call_(name_("__builtin__", "eval"), text_(PYTHON.format(m))),
    "io.fileio": lambda m: call_(name_("_io", "FileIO"), text_(m), text_("w")),
    "codecs.open": lambda m: call_(name_("codecs", "open"), text_(m), text_("w")),
    "runpy": lambda m: call_(
        name_("runpy", "_run_code"),
        call_(name_("builtins", "compile"), text_(PYTHON.format(m)), text_("x"), text_("exec")),
        b"}",
    ),
    "timeit": lambda m: call_(
        name_("timeit", "timeit"),
        text_(PYTHON.format(m)),
        text_("pass"),
        name_("time", "time"),
        int_(1),
    ),
    "profile": lambda m: call_(name_("cProfile", "run"), text_(PYTHON.format(m))),
    "bdb": lambda m: call_(name_("pdb", "run"), text_(PYTHON.format(m))),
    "code.interpreter": lambda m: call_(name_("code", "interact")),
    "shutil.copyfile": lambda m: call_(name_("shutil", "copyfile"), text_("net.py"), text_(m)),
    "logging.handler": lambda m: call_(name_("logging", "FileHandler"), text_(m)),
    "sqlite3": lambda m: call_(name_("sqlite3", "connect"), text_(m)),
    "shelve": lambda m: call_(name_("dbm.dumb", "open"), text_(m), text_("n")),
    "functools.reduce": lambda m: call_(
        name_("functools", "reduce"),
        name_("builtins", "open"),
        b"](" + text_(m) + text_("w") + b"e",
    ),
    "functools.partial": lambda m: call_(
        call_(name_("functools", "partial"), name_("builtins", "open"), text_(m), text_("w"))
    ),
    "operator.methodcaller": lambda m: call_(
        call_(name_("operator", "methodcaller"), text_("touch")),
        call_(name_("pathlib", "Path"), text_(m)),
    ),
    "getattr": lambda m: call_(
        call_(
            name_("builtins", "getattr"),
            call_(name_("builtins", "__import__"), text_("os")),
            text_("system"),
        ),
        text_(f"touch '{m}'"),
    ),
    "import": lambda m: call_(name_("importlib", "import_module"), text_("antigravity")),
    "pydoc.pipepager": lambda m: call_(
        name_("pydoc", "pipepager"), text_("x"), text_(f"tee '{m}'")
    ),
    "numpy.save": lambda m: call_(name_("numpy", "save"), text_(m), int_(1)),
    "numpy.memmap": lambda m: call_(
        name_("numpy", "memmap"), text_(m), text_("f4"), text_("w+"), int_(0), tuple_(int_(4))
    ),
    "numpy.tofile": lambda m: call_(name_("numpy", "savetxt"), text_(m), b"](" + int_(1) + b"e"),
    "numpy.runstring": lambda m: call_(
        name_("numpy.testing._private.utils", "runstring"), text_(PYTHON.format(m)), b"}"
    ),
    "numpy.f2py": lambda m: call_(
        name_("numpy.f2py.crackfortran", "myeval"), text_(PYTHON.format(m))
    ),
    "torch.save": lambda m: call_(name_("torch", "save"), int_(1), text_(m)),
    "torch.storage.from-file": lambda m: call_(
        name_("torch", "FloatStorage.from_file"), text_(m), bases.TRUE, int_(4)
    ),
    "torch.from-file": lambda m: call_(name_("torch", "from_file"), text_(m), bases.TRUE, int_(4)),
    "torch.fx.graph-module": lambda m: call_(
        name_("torch.fx.graph_module", "_exec_with_source"), text_(PYTHON.format(m)), b"}"
    ),
    "torch.fx.reduce-graph-module": lambda m: call_(
        name_("torch.fx.graph_module", "reduce_graph_module"),
        dict_({"_code": text_(PYTHON.format(m))}),
        text_(""),
    ),
    "torch.ops.load-library": lambda m: call_(name_("torch", "ops.load_library"), text_(m)),
    "torch.jit.exec-wrapper": lambda m: call_(
        name_("torch.jit.unsupported_tensor_ops", "execWrapper"),
        text_(PYTHON.format(m)),
        b"}",
        b"}",
    ),
    "torch.utils.collect-env": lambda m: call_(
        name_("torch.utils.collect_env", "run"), text_(f"touch '{m}'")
    ),
    "torch.hub": lambda m: call_(name_("torch.hub", "load"), text_("."), text_("Net")),
    "torch.cpp-extension": lambda m: call_(
        name_("torch.utils.cpp_extension", "load_inline"), text_("x"), text_("int x;")
    ),
    "torch.package": lambda m: call_(name_("torch.package", "PackageExporter"), text_(m)),
    "torch.config-module": lambda m: call_(
        name_("torch.utils._config_module", "ConfigModule.load_config"), NONE, text_("x")
    ),
    "torch.nested-load": lambda m: call_(name_("torch", "load"), text_("net.py")),
    "torch.rpc": lambda m: call_(
        name_("torch.distributed.rpc", "rpc_sync"),
        text_("x"),
        name_("os", "system"),
        tuple_(text_(f"touch '{m}'")),
    ),
    "ctypes.cdll": lambda m: call_(name_("ctypes", "CDLL"), text_("./net.py")),
    "multiprocessing.spawn": lambda m: call_(
        name_("multiprocessing.util", "spawnv_passfds"),
        b"\x8e" + struct.pack("<Q", 10) + b"/bin/touch",
        b"](" + text_("touch") + text_(m) + b"e",
        b")",
    ),
    "zipfile": lambda m: call_(name_("zipfile", "ZipFile"), text_(m), text_("w")),
    "tarfile": lambda m: call_(name_("tarfile", "TarFile"), text_(m), text_("w")),
    "tempfile": lambda m: call_(
        name_("tempfile", "mkdtemp"), text_(""), text_("MARKER"), text_("..")
    ),
    "asyncio": lambda m: call_(
        name_("asyncio", "run"),
        call_(name_("asyncio", "create_subprocess_shell"), text_(f"touch '{m}'")),
    ),
    "webbrowser": lambda m: call_(name_("webbrowser", "get"), text_(f"touch '{m}' %s")),
    "faulthandler": lambda m: call_(name_("faulthandler", "_sigsegv")),
    "sys.exit": lambda m: call_(name_("sys", "exit"), int_(0)),
    "os.exit": lambda m: call_(name_("os", "_exit"), int_(0)),
    "os.kill": lambda m: call_(name_("os", "abort")),
    "warnings": lambda m: call_(name_("warnings", "warn"), text_("agree")),
    "builtins.print": lambda m: call_(name_("builtins", "print"), text_("agree: all agree")),
    "builtins.input": lambda m: call_(name_("builtins", "input"), text_("password: ")),
}
for slug, gadget in GADGETS.items():
    _pickled("code", slug, lambda place, gadget=gadget: _beside(gadget(place.marker)))
_pickled(
    "code",
    "urllib",
    lambda place: _beside(call_(name_("urllib.request", "urlopen"), text_(place.url))),
)
_pickled(
    "code",
    "socket",
    lambda place: _beside(
        call_(name_("socket", "create_connection"), tuple_(text_("127.0.0.1"), int_(place.port)))
    ),
)

# The same function reached by every opcode that calls or names.
WAYS: dict[str, Callable[[Place], bytes]] = {
    "top-level": lambda p: _opens(p),
    "inst": lambda p: _beside(b"(" + text_(p.marker) + text_("w") + b"ibuiltins\nopen\n"),
    "obj": lambda p: _beside(
        b"(" + name_("builtins", "open") + text_(p.marker) + text_("w") + b"o"
    ),
    "newobj": lambda p: _beside(
        name_("_io", "FileIO") + tuple_(text_(p.marker), text_("w")) + b"\x81"
    ),
    "newobj-ex": lambda p: _beside(
        name_("_io", "FileIO") + tuple_(text_(p.marker)) + dict_({"mode": text_("w")}) + b"\x92"
    ),
    "stack-global": lambda p: _beside(
        text_("builtins") + text_("open") + b"\x93" + tuple_(text_(p.marker), text_("w")) + b"R"
    ),
    "dotted-global": lambda p: _beside(
        call_(name_("torch.serialization", "os.system"), text_(f"touch '{p.marker}'"))
    ),
    "dotted-stack-global": lambda p: _beside(
        text_("torch") + text_("os.system") + b"\x93" + tuple_(text_(f"touch '{p.marker}'")) + b"R"
    ),
    "global-of-torch-utils": lambda p: _beside(
        call_(name_("torch._utils", "sys.modules.__getitem__"), text_("os"))
    ),
    "build-setstate": lambda p: _beside(
        name_("functools", "partial")
        + tuple_(name_("builtins", "print"))
        + b"\x81"
        + tuple_(name_("builtins", "open"), tuple_(text_(p.marker), text_("w")), b"}", NONE)
        + b"b"
        + b")R"
    ),
    "build-on-a-module": lambda p: _beside(
        name_("collections", "OrderedDict")
        + b")R"
        + dict_({"__reduce__": name_("os", "system")})
        + b"b"
    ),
    "build-slots": lambda p: _beside(
        name_("torch", "Size")
        + tuple_(b"](" + int_(1) + b"e")
        + b"R"
        + tuple_(NONE, dict_({"x": int_(1)}))
        + b"b"
    ),
    "extension": lambda p: _beside(b"\x82\x01" + tuple_(text_(p.marker), text_("w")) + b"R"),
    "persistent-id-text": lambda p: _beside(b"Pos.system\n"),
    "persistent-id-tuple": lambda p: _beside(
        tuple_(text_("module"), name_("os", "system"), text_(p.marker), text_("import os")) + b"Q"
    ),
    "storage-kind-is-a-function": lambda p: _beside(
        tuple_(text_("storage"), name_("os", "system"), text_("0"), text_("cpu"), int_(12)) + b"Q"
    ),
    "reduce-tensor-hooks": lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch._utils", "_rebuild_tensor_v2"),
                storage_("0", 12),
                int_(0),
                tuple_(int_(3), int_(4)),
                tuple_(int_(4), int_(1)),
                FALSE,
                _opens(p),
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
    "rebuild-from-type": lambda p: _beside(
        call_(
            name_("torch._tensor", "_rebuild_from_type_v2"),
            name_("builtins", "open"),
            name_("torch", "Tensor"),
            tuple_(text_(p.marker), text_("w")),
            b"}",
        )
    ),
    "rebuild-parameter-state": lambda p: _beside(
        call_(
            name_("torch._utils", "_rebuild_parameter_with_state"),
            bases.WEIGHT,
            FALSE,
            name_("collections", "OrderedDict") + b")R",
            tuple_(_opens(p), NONE),
        )
    ),
    "rebuild-wrapper-subclass": lambda p: _beside(
        call_(
            name_("torch._utils", "_rebuild_wrapper_subclass"),
            name_("builtins", "open"),
            text_("float32"),
            tuple_(int_(1)),
            tuple_(int_(1)),
            int_(0),
            text_("strided"),
            text_("cpu"),
            FALSE,
        )
    ),
    "counter-of-a-call": lambda p: _beside(call_(name_("collections", "Counter"), _opens(p))),
    "in-a-key": lambda p: b"}(" + _opens(p) + int_(1) + b"u",
    "in-a-list": lambda p: b"](" + _opens(p) + b"e",
    "in-a-set": lambda p: b"\x8f(" + text_("a") + b"\x90" + _opens(p) + b"\x86",
    "before-the-rest": lambda p: _opens(p) + b"0" + dict_(bases.STATE),
    "frame-hides": lambda p: b"\x95" + struct.pack("<Q", 2) + _opens(p) + b"0" + dict_(bases.STATE),
    "whole-module": lambda p: name_("net", "Net") + b")\x81" + dict_({"training": FALSE}) + b"b",
    "module-of-torch": lambda p: (
        name_("torch.nn.modules.linear", "Linear")
        + b")\x81"
        + dict_(
            {
                "training": FALSE,
                "_parameters": dict_({"weight": bases.WEIGHT, "bias": bases.BIAS_}),
                "__setstate__": name_("os", "system"),
            }
        )
        + b"b"
    ),
    "module-forward-is-system": lambda p: (
        name_("torch.nn.modules.linear", "Identity")
        + b")\x81"
        + dict_({"training": FALSE, "forward": name_("os", "system")})
        + b"b"
    ),
}
for slug, way in WAYS.items():
    _pickled("code", f"way-{slug}", way)
_pickled(
    "code",
    "numpy-object-scalar",
    lambda p: _beside(
        call_(
            name_("numpy.core.multiarray", "scalar"),
            call_(name_("numpy", "dtype"), text_("O8")),
            pickle_(_opens(p)),
        )
    ),
)
_pickled(
    "code",
    "copyreg-reconstructor",
    lambda p: _beside(
        call_(
            name_("copyreg", "_reconstructor"),
            name_("_io", "FileIO"),
            name_("builtins", "object"),
            NONE,
        )
    ),
)

for slug in (
    "posix.system",
    "builtins.exec",
    "subprocess.popen",
    "torch.save",
    "numpy.memmap",
    "functools.reduce",
):
    gadget = GADGETS[slug]
    _file(
        "code",
        f"legacy-{slug}",
        lambda place, gadget=gadget: bases.torch_legacy(
            place.work / "m.pt", dict_({"a": gadget(place.marker)})
        ),
    )
_file(
    "code",
    "legacy-in-keys",
    lambda place: bases.torch_legacy(place.work / "m.pt", keys=_opens(place)),
)
_file(
    "code",
    "legacy-in-magic",
    lambda place: (place.work / "m.pt").write_bytes(pickle_(_opens(place))),
)
_file(
    "code",
    "bare-pickle",
    lambda place: (place.work / "m.pt").write_bytes(pickle_(_beside(_opens(place)))),
)
_file(
    "code",
    "bare-pickle-protocol-0",
    lambda place: (place.work / "m.pt").write_bytes(
        f"cposix\nsystem\n(S\"touch '{place.marker}'\"\ntR.".encode()
    ),
)
_file(
    "code",
    "bare-pickle-protocol-5",
    lambda place: (place.work / "m.pt").write_bytes(pickle_(_opens(place), 5)),
)
_file(
    "code",
    "zip-named-otherwise",
    lambda place: bases.zipped(
        place.work / "m.pt", bases.torch_members(_opens(place), folder="../../MARKER").items()
    ),
)
_file(
    "code",
    "two-data-pkl",
    lambda place: bases.zipped(
        place.work / "m.pt",
        [
            *bases.torch_members(dict_(bases.STATE)).items(),
            ("other/data.pkl", pickle_(_opens(place))),
        ],
    ),
    AGREES_OR_REFUSED,
)
_file(
    "code",
    "constants-pkl",
    lambda place: bases.zipped(
        place.work / "m.pt",
        [
            *bases.torch_members(dict_(bases.STATE)).items(),
            ("archive/constants.pkl", pickle_(_opens(place))),
        ],
    ),
)
_file(
    "code",
    "torch-package-member",
    lambda place: bases.zipped(
        place.work / "m.pt",
        [
            *bases.torch_members(dict_(bases.STATE)).items(),
            ("archive/.data/extern_modules", b"os\n"),
            ("archive/net.py", b"import os"),
        ],
    ),
    AGREES_OR_REFUSED,
)


def _tar(place: Place) -> None:
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as file:
        for name, content in (
            ("sys_info", pickle_(b"}")),
            ("pickle", pickle_(_opens(place))),
            ("storages", pickle_(int_(0))),
            ("tensors", pickle_(int_(0))),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("../MARKER")
        file.addfile(entry)
    (place.work / "m.pt").write_bytes(memory.getvalue())


_file("code", "tar", _tar)
for ending in ("pth", "bin", "ckpt", "h5", "keras", "onnx", "safetensors", "npz", "npy", "pkl", ""):
    name = f"m.{ending}".rstrip(".")
    add(
        "pt",
        "code",
        f"ending-{ending or 'none'}",
        lambda place, name=name: bases.torch_zip(place.work / name, _beside(_opens(place))),
        Run((name,), REFUSED),
        Run((name, "--all"), REFUSED),
    )

# A private file as weights

_pickled(
    "read",
    "from-file",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch", "from_file"), text_(str(p.canary_numbers)), FALSE, int_(12)
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
)
_pickled(
    "read",
    "storage-from-file",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch", "FloatStorage.from_file"),
                text_(str(p.canary_numbers)),
                FALSE,
                int_(12),
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
)
_pickled(
    "read",
    "numpy-memmap",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch", "from_numpy"),
                call_(name_("numpy", "memmap"), text_(str(p.canary_numbers)), text_("f4")),
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
)
_pickled(
    "read",
    "numpy-load",
    lambda p: _beside(call_(name_("numpy", "load"), text_(str(p.canary_array)))),
)
_pickled(
    "read",
    "storage-key-is-a-path",
    lambda p: dict_(
        {
            "fc.weight": tensor_(f"../../../{p.canary_numbers}", (3, 4), (4, 1), 12),
            "fc.bias": bases.BIAS_,
        }
    ),
)
_pickled(
    "read",
    "filename-storage",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch.multiprocessing.reductions", "rebuild_storage_filename"),
                name_("torch", "FloatStorage"),
                text_("/nobody"),
                text_(str(p.canary_numbers)),
                int_(48),
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
)

# Hangs

_pickled("hang", "deep-tuples", lambda p: b"(" * 50_000 + b"t" * 50_000)
_pickled("hang", "deep-lists", lambda p: b"]" * 200_000 + b"a" * 199_999)
_pickled("hang", "contains-itself", lambda p: b"}q\x00" + text_("fc.weight") + b"h\x00s")
_pickled("hang", "list-contains-itself", lambda p: b"]q\x00h\x00a")
_pickled(
    "hang",
    "doubling",
    lambda p: (
        b"]("
        + text_("lol") * 10
        + b"eq\x00"
        + b"".join(
            b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1])
            for i in range(40)
        )
    ),
)
_pickled("hang", "thousand-dups", lambda p: b"(" + dict_(bases.STATE) + b"2" * 1_000_000 + b"t")
_pickled(
    "hang",
    "state-of-itself",
    lambda p: dict_({"state_dict": b"}q\x00" + text_("state_dict") + b"h\x00s"}),
)

# Memory


def _lie(
    shape: tuple, strides: tuple, count: int, offset: int = 0, kind: str = "FloatStorage"
) -> Callable[[Place], bytes]:
    return lambda place: dict_(
        {"fc.weight": tensor_("0", shape, strides, count, offset, kind), "fc.bias": bases.BIAS_}
    )


_pickled("memory", "storage-says-terabytes", _lie((3, 4), (4, 1), 2**40))
_pickled("memory", "storage-says-ten-gib", _lie((3, 4), (4, 1), 2684354560))
_pickled("memory", "storage-says-negative", _lie((3, 4), (4, 1), -12))
_pickled("memory", "shape-huge-strides-zero", _lie((2**40, 4), (0, 1), 12))
_pickled("memory", "shape-three-gib-strides-zero", _lie((200_000_000, 4), (0, 1), 12))
_pickled("memory", "shape-right-strides-zero", _lie((3, 4), (0, 0), 12), AGREES_OR_REFUSED)
_pickled("memory", "shape-beyond-storage", _lie((3000, 4000), (4000, 1), 12))
_pickled("memory", "shape-overflows", _lie((2**62, 4), (1, 1), 12))
_pickled("memory", "offset-beyond", _lie((3, 4), (4, 1), 12, 2**40))
_pickled("memory", "offset-negative", _lie((3, 4), (4, 1), 12, -5))
_pickled("memory", "strides-negative", _lie((3, 4), (-4, -1), 12, 11))
_pickled("memory", "strides-beyond", _lie((3, 4), (2**40, 1), 12))
_pickled("memory", "bytes8-huge", lambda p: b"\x8e" + struct.pack("<Q", 2**50) + b"x")
_pickled("memory", "unicode8-huge", lambda p: b"\x8d" + struct.pack("<Q", 2**40) + b"x")
_pickled("memory", "bytearray8-huge", lambda p: b"\x96" + struct.pack("<Q", 2**36))
_pickled("memory", "long4-huge", lambda p: b"\x8b" + struct.pack("<i", 2**31 - 1) + b"\xff")
_pickled("memory", "frame-huge", lambda p: b"\x95" + struct.pack("<Q", 2**60) + dict_(bases.STATE))
_pickled("memory", "memo-huge", lambda p: b"}r" + struct.pack("<I", 2**31 - 2))
_pickled(
    "memory",
    "power-of-two-text",
    lambda p: _beside(call_(name_("operator", "mul"), text_("a" * 1000), int_(10_000_000))),
)
_pickled(
    "memory",
    "ordered-dict-of-range",
    lambda p: _beside(
        call_(name_("collections", "Counter"), call_(name_("builtins", "range"), int_(10**12)))
    ),
)
_pickled(
    "memory",
    "bytearray-of-ten-gib",
    lambda p: _beside(call_(name_("builtins", "bytearray"), int_(10 * 2**30))),
)
_pickled(
    "memory",
    "empty-tensor-huge",
    lambda p: _beside(
        call_(
            name_("torch._utils", "_rebuild_meta_tensor_no_storage"),
            name_("torch", "float32"),
            tuple_(int_(2**50)),
            tuple_(int_(1)),
            FALSE,
        )
    ),
)
_pickled(
    "memory",
    "sparse-tensor-huge",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch._utils", "_rebuild_sparse_tensor"),
                name_("torch", "sparse_coo"),
                tuple_(
                    tensor_("1", (2, 0), (1, 1), 3, kind="LongStorage"),
                    tensor_("0", (0,), (1,), 12),
                    tuple_(int_(2**31), int_(2**31)),
                    bases.TRUE,
                ),
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
)
_file("memory", "deflated-storage-three-gib", lambda place: _bomb(place))
_file("memory", "data-pkl-deflated", lambda place: _pickle_bomb(place))


def _bomb(place: Place) -> None:
    value = dict_({"fc.weight": tensor_("2", (3, 4), (4, 1), 805306368), "fc.bias": bases.BIAS_})
    bases.bomb(place.work / "m.pt", bases.torch_members(value), "archive/data/2", b"", b"\0", 48)


def _pickle_bomb(place: Place) -> None:
    members = bases.torch_members(b"")
    del members["archive/data.pkl"]
    bases.bomb(
        place.work / "m.pt",
        members,
        "archive/data.pkl",
        b"\x80\x02\x8e" + struct.pack("<Q", 48 * 2**26),
        b"\0",
        48,
    )


# Malformed

_WHOLE: dict[str, bytes] = {}


def _bytes(edit: Callable[[bytearray], object], legacy: bool = False) -> Callable[[Place], None]:
    def build(place: Place) -> None:
        (bases.torch_legacy if legacy else bases.torch_zip)(place.work / "m.pt")
        content = bytearray((place.work / "m.pt").read_bytes())
        edit(content)
        (place.work / "m.pt").write_bytes(content)

    return build


def _cut(share: float) -> Callable[[bytearray], object]:
    def edit(content: bytearray) -> None:
        del content[int(len(content) * share) :]

    return edit


def _flip(seed: int, count: int) -> Callable[[bytearray], object]:
    def edit(content: bytearray) -> None:
        rng = np.random.default_rng(seed)
        for at in rng.integers(0, len(content), count):
            content[at] ^= 1 << int(rng.integers(0, 8))

    return edit


for percent in (0, 2, 25, 50, 75, 98):
    _file("malformed", f"cut-{percent}", _bytes(_cut(percent / 100)))
    _file("malformed", f"legacy-cut-{percent}", _bytes(_cut(percent / 100), True))
# A flip may fall where nothing reads, or into a weight.
for seed in range(10):
    _file("malformed", f"flipped-{seed}", _bytes(_flip(seed, 3)), AGREES_OR_REFUSED)
    _file("malformed", f"legacy-flipped-{seed}", _bytes(_flip(seed, 3), True), AGREES_OR_REFUSED)


def _encrypt(whole: bytearray) -> None:
    at = whole.index(b"PK\x03\x04")
    whole[at + 6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1


def _checksum(whole: bytearray) -> None:
    whole[whole.index(b"PK\x01\x02") + 16] ^= 255


def _stored_weight(whole: bytearray) -> None:
    at = whole.index(bases.STORAGES["0"])
    whole[at + 5] ^= 255


_file("malformed", "encrypted", _bytes(_encrypt))
# torch checks no sums, and writes none where it is told so (torch.serialization.set_crc32_options).
_file("malformed", "checksum", _bytes(_checksum), AGREES_OR_REFUSED)
_file("malformed", "weight-changed", _bytes(_stored_weight), AGREES_OR_REFUSED)
_file(
    "malformed",
    "trailing-bytes",
    _bytes(lambda content: content.extend(b"x" * 100)),
    AGREES_OR_REFUSED,
)
_file(
    "malformed",
    "data-pkl-alone",
    lambda place: bases.zipped(
        place.work / "m.pt", {"archive/data.pkl": pickle_(dict_(bases.STATE))}.items()
    ),
)
_file(
    "malformed",
    "data-pkl-empty",
    lambda place: bases.zipped(
        place.work / "m.pt", {**bases.torch_members(b""), "archive/data.pkl": b""}.items()
    ),
)
_file(
    "malformed",
    "no-data-pkl",
    lambda place: bases.zipped(place.work / "m.pt", {"archive/version": b"3\n"}.items()),
)
_file("malformed", "empty-zip", lambda place: bases.zipped(place.work / "m.pt", []))
_file(
    "malformed",
    "zip-of-text",
    lambda place: bases.zipped(place.work / "m.pt", [("readme.txt", b"hello")]),
)
_file(
    "malformed",
    "version-huge",
    lambda place: bases.zipped(
        place.work / "m.pt",
        {**bases.torch_members(dict_(bases.STATE)), "archive/version": b"99999999999999\n"}.items(),
    ),
)
_file(
    "malformed",
    "version-text",
    lambda place: bases.zipped(
        place.work / "m.pt",
        {**bases.torch_members(dict_(bases.STATE)), "archive/version": b"three\n"}.items(),
    ),
)
_file(
    "malformed",
    "byteorder-nonsense",
    lambda place: bases.zipped(
        place.work / "m.pt",
        {**bases.torch_members(dict_(bases.STATE)), "archive/byteorder": b"middle"}.items(),
    ),
)
_file(
    "malformed",
    "byteorder-big",
    lambda place: bases.zipped(
        place.work / "m.pt",
        {
            **bases.torch_members(
                dict_(bases.STATE),
                {
                    key: np.frombuffer(content, "<f4").astype(">f4").tobytes()
                    for key, content in bases.STORAGES.items()
                },
            ),
            "archive/byteorder": b"big",
        }.items(),
    ),
    AGREES_OR_REFUSED,
)
_file(
    "malformed",
    "deflated",
    lambda place: bases.zipped(
        place.work / "m.pt", bases.torch_members(dict_(bases.STATE)).items(), zipfile.ZIP_DEFLATED
    ),
    AGREES_OR_REFUSED,
)
_file(
    "malformed",
    "storage-missing",
    lambda place: bases.torch_zip(place.work / "m.pt", storages={"0": bases.STORAGES["0"]}),
)
_file(
    "malformed",
    "storage-short",
    lambda place: bases.torch_zip(
        place.work / "m.pt", storages={"0": bases.STORAGES["0"][:7], "1": bases.STORAGES["1"]}
    ),
)
_file(
    "malformed",
    "storage-long",
    lambda place: bases.torch_zip(
        place.work / "m.pt", storages={"0": bases.STORAGES["0"] * 9, "1": bases.STORAGES["1"]}
    ),
    AGREES_OR_REFUSED,
)
_file(
    "malformed",
    "legacy-sizes-lie",
    lambda place: bases.torch_legacy(
        place.work / "m.pt", data=struct.pack("<q", 2**40) + bases.STATE_DATA
    ),
)
_file(
    "malformed",
    "legacy-sizes-negative",
    lambda place: bases.torch_legacy(
        place.work / "m.pt", data=struct.pack("<q", -1) + bases.STATE_DATA
    ),
)
_file(
    "malformed",
    "legacy-keys-number",
    lambda place: bases.torch_legacy(place.work / "m.pt", keys=int_(7)),
)
_file(
    "malformed",
    "legacy-protocol",
    lambda place: (place.work / "m.pt").write_bytes(
        pickle_(int_(0x1950A86A20F9469CFC6C)) + pickle_(int_(7))
    ),
)
for slug, value in {
    "number": int_(7),
    "none": NONE,
    "text": text_("agree"),
    "list": b"](" + bases.WEIGHT + b"e",
    "empty-dict": b"}",
    "tensor": bases.WEIGHT,
    "keys-numbers": b"}(" + int_(1) + bases.WEIGHT + b"u",
    "keys-none": b"}(" + NONE + bases.WEIGHT + b"u",
    "keys-tuples": b"}(" + tuple_(text_("fc"), text_("weight")) + bases.WEIGHT + b"u",
    "key-surrogate": dict_({"fc.\udc80weight": bases.WEIGHT}),
    "values-numbers": dict_({"fc.weight": int_(1), "fc.bias": int_(2)}),
    "values-none": dict_({"fc.weight": NONE, "fc.bias": NONE}),
    "values-nested": dict_({"fc": dict_({"weight": bases.WEIGHT, "bias": bases.BIAS_})}),
    "missing-key": dict_({"fc.weight": bases.WEIGHT}),
    "other-key": dict_({**bases.STATE, "fc.wieght": bases.WEIGHT}),
    "shape-swapped": dict_({"fc.weight": tensor_("0", (4, 3), (3, 1), 12), "fc.bias": bases.BIAS_}),
    "shape-none": dict_({"fc.weight": tensor_("0", (), (), 12), "fc.bias": bases.BIAS_}),
    "strides-too-few": dict_({"fc.weight": tensor_("0", (3, 4), (1,), 12), "fc.bias": bases.BIAS_}),
    "storage-double": dict_(
        {
            "fc.weight": tensor_("0", (3, 4), (4, 1), 12, kind="DoubleStorage"),
            "fc.bias": bases.BIAS_,
        }
    ),
    "storage-unknown": dict_(
        {
            "fc.weight": tensor_("0", (3, 4), (4, 1), 12, kind="TripleStorage"),
            "fc.bias": bases.BIAS_,
        }
    ),
    "storage-key-number": dict_(
        {
            "fc.weight": call_(
                name_("torch._utils", "_rebuild_tensor_v2"),
                tuple_(
                    text_("storage"),
                    name_("torch", "FloatStorage"),
                    int_(0),
                    text_("cpu"),
                    int_(12),
                )
                + b"Q",
                int_(0),
                tuple_(int_(3), int_(4)),
                tuple_(int_(4), int_(1)),
                FALSE,
                NONE,
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
    "stack-underflow": b"00000",
    "memo-missing": b"h\x63",
    "opcode-unknown": b"\xff\xfe",
    "mark-missing": b"t",
    "two-stops": dict_(bases.STATE) + b"." + dict_(bases.STATE),
    "rebuild-too-few": dict_(
        {"fc.weight": call_(name_("torch._utils", "_rebuild_tensor_v2"), storage_("0", 12))}
    ),
    "name-escape-codes": dict_(
        {**bases.STATE, "\x1b]0;title\x07\x1b[31magree\x1b[0m\r\n": bases.WEIGHT}
    ),
    "name-long": dict_({**bases.STATE, "a" * 100_000: bases.WEIGHT}),
    "twenty-thousand-names": dict_(
        {**bases.STATE, **{f"n{i}": bases.BIAS_ for i in range(20_000)}}
    ),
    "global-escape-codes": name_("os\x1b[31m\x07", "agree\x1b[0m"),
    "global-long": name_("os", "a" * 100_000),
}.items():
    fine = slug in ("storage-key-number", "two-stops")
    _pickled(
        "malformed",
        f"state-{slug}",
        lambda place, value=value: value,
        AGREES_OR_REFUSED if fine else REFUSED,
    )
_pickled(
    "malformed",
    "state-device-cuda",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch._utils", "_rebuild_tensor_v2"),
                storage_("0", 12, where="cuda:0"),
                int_(0),
                tuple_(int_(3), int_(4)),
                tuple_(int_(4), int_(1)),
                FALSE,
                name_("collections", "OrderedDict") + b")R",
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
    AGREES_OR_REFUSED,
)
_pickled(
    "malformed",
    "state-device-nonsense",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch._utils", "_rebuild_tensor_v2"),
                storage_("0", 12, where="moon:7"),
                int_(0),
                tuple_(int_(3), int_(4)),
                tuple_(int_(4), int_(1)),
                FALSE,
                name_("collections", "OrderedDict") + b")R",
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
    AGREES_OR_REFUSED,
)
_pickled(
    "malformed",
    "state-conjugate",
    lambda p: dict_(
        {
            "fc.weight": call_(
                name_("torch._utils", "_rebuild_tensor_v3"),
                storage_("0", 12),
                int_(0),
                tuple_(int_(3), int_(4)),
                tuple_(int_(4), int_(1)),
                FALSE,
                name_("collections", "OrderedDict") + b")R",
                name_("torch", "float32"),
                dict_({"conj": bases.TRUE, "neg": bases.TRUE}),
            ),
            "fc.bias": bases.BIAS_,
        }
    ),
    NOT_AGREES | {0},
)
_pickled(
    "malformed",
    "state-nan",
    lambda p: dict_({"fc.weight": bases.WEIGHT, "fc.bias": bases.BIAS_}),
    AGREES_OR_REFUSED,
)
_file(
    "malformed",
    "crc-of-compressed",
    lambda place: (place.work / "m.pt").write_bytes(zlib.compress(b"x" * 1000)),
)
