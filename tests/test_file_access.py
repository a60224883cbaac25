"""Files are read and written by the functions of probe/files alone, which refuse what is no regular
file and what never ends, and follow no link where the name is not the user's."""

import ast
from collections.abc import Iterator

import pytest
from repository import ROOT

OPENING = {
    *("open", "fdopen", "FileIO", "memmap", "fromfile", "loadtxt", "load_file", "File"),
    *("read_text", "read_bytes", "ZipFile", "is_zipfile", "safe_open", "load_model", "from_file"),
    *("from_pretrained", "spec_from_file_location", "exec_module"),
}
"""What opens a file by its name, or takes one that is open."""
WRITING = {
    *("write_text", "write_bytes", "tofile", "savez", "savez_compressed", "savetxt"),
    *("save_file", "save_model", "mkdir", "makedirs", "mkdtemp", "mkstemp", "NamedTemporaryFile"),
    *("TemporaryFile", "TemporaryDirectory", "unlink", "rmtree", "rename", "touch", "chmod"),
    *("symlink_to", "hardlink_to", "link_to", "truncate"),
}
OF_LIBRARIES = {"load", "save"}
"""Words that open or write a file where they are a library's."""
LIBRARIES = {"np", "onnx", "torch", "keras", "pickle", "joblib"}
LOOKING = {"exists", "is_file", "is_dir", "is_symlink", "lexists"}
"""As methods of a path: they raise for names that are too long, and follow links."""
ROOM = "probe/files/"

ALLOWED = {
    ("probe/report/html.py", "read_text"): "files of the package",
    ("probe/by_hand/script_file.py", "read_text"): "files of the package",
    ("probe/cli/main.py", "open"): "the null device",
    ("probe/cli/printed.py", "read_text"): "files of the package",
    ("probe/process/limited_child.py", "open"): "the null device",
    ("probe/process/limited_child.py", "read_text"): "what the system says of its memory",
    ("probe/process/extras.py", "exists"): "the folder that probe was installed from",
    ("probe/process/extras.py", "read_text"): "what the installation says of itself",
    ("probe/recording/store.py", "open"): "a member of the zip that it writes",
    ("adapters/keras/loading/hdf5_tree.py", "open"): "an object within an HDF5 file",
    ("probe/cli/output.py", "open"): "the null device",
    ("adapters/keras/loading/import_framework.py", "open"): "the null device",
    ("adapters/transformers/memory.py", "read_text"): "what the system says of its memory",
    ("probe/model_comparison/graphs/spool.py", "TemporaryFile"): "a file without a name",
    ("adapters/transformers/loading.py", "TemporaryDirectory"): "accelerate writes there",
    ("adapters/keras/loading/load.py", "TemporaryDirectory"): "a link with the right suffix",
    ("adapters/keras/loading/load.py", "symlink_to"): "in that folder, to a file opened before",
    ("adapters/keras/loading/load.py", "load_model"): "Keras reads by name: `read` has opened it",
    ("adapters/keras/loading/file.py", "File"): "h5py is slower by a stream: opened before",
    ("adapters/torch/loading/file.py", "load"): "PyTorch is slower by a stream: opened before",
    ("adapters/torch/loading/file.py", "load_file"): "safetensors reads by name: opened before",
    ("adapters/torch/loading/file.py", "is_zipfile"): "opened before",
    ("adapters/torch/capture/exported_program.py", "load"): "it reads by name: opened before",
    ("adapters/safetensors_files.py", "safe_open"): "safetensors reads by name: opened before",
    ("adapters/safetensors_values.py", "safe_open"): "safetensors reads by name: opened before",
    ("adapters/transformers/loading.py", "from_pretrained"): "it reads by name: opened before",
    ("adapters/transformers/loading.py", "load_file"): "a function of ours",
    ("adapters/transformers/tokenizer.py", "from_file"): "it reads by name: its size is known",
    ("adapters/transformers/tokenizer.py", "is_file"): "in a folder that was opened",
    ("adapters/user_modules.py", "spec_from_file_location"): "code of the user's own",
    ("adapters/user_modules.py", "exec_module"): "code of the user's own",
    ("adapters/tflite/run_in_child.py", "TemporaryFile"): "a file without a name",
    ("adapters/tflite/run_in_child.py", "fdopen"): "the standard output of a child process",
    ("adapters/tflite/tflm_calls.py", "TemporaryFile"): "a file without a name",
    ("adapters/saved_model/forking.py", "read_text"): "what the system says of its memory",
    ("adapters/saved_model/proto.py", "is_symlink"): "a link is refused",
    ("adapters/keras/tf_graph/walk.py", "is_file"): "a file of code that is running",
}  # fmt: skip
"""The places that do so themselves, and why they may."""


def sources():
    for folder in ("probe", "adapters"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(ROOM):
                yield name, ast.parse(path.read_text("utf-8"))


def called(call: ast.Call) -> str:
    """The last word of what is called."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def open_files(tree: ast.AST) -> set[str]:
    """The variables that are files which the one reader or writer has opened, or members of them:
    bound by with, or parameters that say so."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            of = node.context_expr
            if isinstance(of, ast.Call) and called(of) in ("open_file", "ZipFile", "TextIOWrapper"):
                found.add(node.optional_vars.id)
        if isinstance(node, ast.arg) and "IO[bytes]" in ast.unparse(node.annotation or node):
            found.add(node.arg)
    return found


def library(function: ast.expr) -> bool:
    """Whether it is of one of the libraries, such as torch.jit.load."""
    while isinstance(function, ast.Attribute):
        function = function.value
    return isinstance(function, ast.Name) and function.id in LIBRARIES


def accesses(tree: ast.Module) -> Iterator[str]:
    """What opens, writes or looks for a file by a name that no other function has looked at."""
    for statement in tree.body:
        parts = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        for part in parts:
            yield from in_part(part)


def in_part(part: ast.stmt) -> Iterator[str]:
    """The same of a function, a method, or a statement outside of them."""
    streams = open_files(part)
    for node in ast.walk(part):
        if not isinstance(node, ast.Call):
            continue
        name, method = called(node), isinstance(node.func, ast.Attribute)
        given = [*node.args[:1], *([node.func.value] if method else [])]
        opened = any(isinstance(value, ast.Name) and value.id in streams for value in given)
        opens = name in OPENING | WRITING or (name in OF_LIBRARIES and library(node.func))
        if (opens and not opened) or (name in LOOKING and method):
            yield name


def test_files_are_opened_and_written_in_one_room():
    found = {(path, name) for path, tree in sources() for name in accesses(tree)}
    assert found - ALLOWED.keys() == set(), "use probe/files, or say here why not"
    assert ALLOWED.keys() - found == set(), "no longer needed"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("open(path)", "open"),
        ("with Path(path).open('rb') as file: pass", "open"),
        ("os.open(path, 0)", "open"),
        ("Path(path).read_text()", "read_text"),
        ("place.write_bytes(b'')", "write_bytes"),
        ("np.load(path)", "load"),
        ("np.savez(path, **arrays)", "savez"),
        ("zipfile.ZipFile(path)", "ZipFile"),
        ("folder.mkdir(parents=True)", "mkdir"),
        ("(folder / name).exists()", "exists"),
        ("with zipfile.ZipFile(path) as archive: archive.open('x')", "ZipFile"),
    ],
)
def test_what_is_found(code, name):
    assert list(accesses(ast.parse(code))) == [name]


@pytest.mark.parametrize(
    "code",
    [
        "with open_file(path, 'a file') as file, zipfile.ZipFile(file) as archive: archive.open(x)",
        "def write(file: IO[bytes]): np.savez(file, **arrays)",
        "exists(path)",
        "store.keep(path)",
    ],
)
def test_what_is_let_be(code):
    assert not list(accesses(ast.parse(code)))
