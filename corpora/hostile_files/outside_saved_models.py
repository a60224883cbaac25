"""Hostile SavedModel directories of TensorFlow.

Written from TensorFlow's protocol buffers alone, without a look at how the tool reads such
directories. Three small models are saved once, and every case is a copy of one of them with an
edit: operators that read, write, wait, call or end the process, at the places where they can hide
(a function, a branch, an initialiser, a second MetaGraph, a serialized dataset), false functions
and object graphs, variables that lie elsewhere, and protocol buffers that are damaged.
"""

import base64
import functools
import json
import marshal
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from hostile.case import AGREES_OR_REFUSED, ANY, LISTED, REFUSED, Place, Run
from outside_form import ALWAYS, Cases, write

FOLDER = "sm"
CASES = Cases("savedmodel")
Files = dict[str, bytes]


def runs(all_layers: frozenset[int] = REFUSED, listed: frozenset[int] = LISTED) -> tuple[Run, ...]:
    """The directory listed, and all of its layers checked."""
    return Run((FOLDER,), listed), Run((FOLDER, "--all"), all_layers)


# --- the healthy models ---------------------------------------------------------------------------


def _save_plain(folder: str) -> None:
    import tensorflow as tf

    rng = np.random.default_rng(3)

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            shapes = {"w1": (4, 6), "b1": (6,), "w2": (6, 3), "b2": (3,)}
            for name, shape in shapes.items():
                value = rng.normal(size=shape).astype(np.float32)
                setattr(self, name, tf.Variable(value, name=name))

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
        def serve(self, x: Any) -> Any:
            hidden = tf.nn.relu(tf.matmul(x, self.w1) + self.b1)
            return {"y": tf.nn.softmax(tf.matmul(hidden, self.w2) + self.b2)}

    net = Net()
    tf.saved_model.save(net, folder, signatures=net.serve)


def _save_table(folder: str) -> None:
    import tensorflow as tf

    words = Path(folder).with_name("words.txt")
    words.write_text("one\ntwo\nthree\n", encoding="utf-8")

    class Net(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(np.ones((1, 3), np.float32), name="w")
            start = tf.lookup.TextFileInitializer(
                str(words),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(start, -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.string, name="x")])
        def serve(self, x: Any) -> Any:
            return {"y": tf.matmul(tf.cast(self.table.lookup(x), tf.float32), self.w)}

    net = Net()
    tf.saved_model.save(net, folder, signatures=net.serve)


def _save_keras(folder: str) -> None:
    import tf_keras

    net = tf_keras.Sequential(
        [
            tf_keras.layers.Input((4,), name="x"),
            tf_keras.layers.Dense(3, name="dense"),
            tf_keras.layers.Lambda(lambda x: 2 * x, name="twice"),
        ]
    )
    net.save(folder, save_format="tf")


SAVES = {"plain": _save_plain, "table": _save_table, "keras": _save_keras}


@functools.cache
def _base(name: str) -> tuple[tuple[str, bytes], ...]:
    with tempfile.TemporaryDirectory() as folder:
        SAVES[name](f"{folder}/{FOLDER}")
        root = Path(folder, FOLDER)
        found = sorted(one for one in root.rglob("*") if one.is_file())
        return tuple((str(one.relative_to(root)), one.read_bytes()) for one in found)


def base(name: str = "plain") -> Files:
    """The files of a healthy model by their paths."""
    return dict(_base(name))


def put(place: Place, files: Files) -> Path:
    """Writes a directory."""
    root = place.work / FOLDER
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def add(
    kind: str,
    slug: str,
    must_not: str,
    change: Callable[[Any, Place], Any],
    *commands: Run,
    of: str = "plain",
) -> None:
    """A case by a change to the SavedModel message; it may give bytes in its place."""

    def build(place: Place) -> None:
        from tensorflow.core.protobuf import saved_model_pb2

        files = base(of)
        saved = saved_model_pb2.SavedModel.FromString(files["saved_model.pb"])
        made = change(saved, place)
        files["saved_model.pb"] = (
            made if isinstance(made, bytes) else saved.SerializeToString(deterministic=True)
        )
        put(place, files)

    CASES.add(kind, slug, must_not, build, *(commands or runs()))


def files(
    kind: str,
    slug: str,
    must_not: str,
    change: Callable[[Path, Place], Any],
    *commands: Run,
    of: str = "plain",
) -> None:
    """A case by a change to the directory that was written."""

    def build(place: Place) -> None:
        change(put(place, base(of)), place)

    CASES.add(kind, slug, must_not, build, *(commands or runs()))


# --- nodes ----------------------------------------------------------------------------------------


class Ref(str):
    """A tensor of a node, as an input names it."""


class Func(str):
    """A function by its name."""


class Nodes:
    """Adds nodes to a graph or to a function, which name their inputs differently."""

    def __init__(self, nodes: Any, in_function: bool) -> None:
        self.nodes, self.in_function, self.last = nodes, in_function, ""

    def constant(self, value: Any) -> Ref:
        """A constant; Python's strings, integers and floats are scalars of their usual types."""
        import tensorflow as tf

        kinds = {int: tf.int32, float: tf.float32, str: tf.string, bytes: tf.string, bool: tf.bool}
        kind = kinds.get(type(value))
        proto = tf.make_tensor_proto(value, kind)
        return self("Const", value=proto, dtype=proto.dtype)

    def __call__(
        self,
        op: str,
        *inputs: Any,
        name: str = "",
        device: str = "",
        out: int = 0,
        **attributes: Any,
    ) -> Ref:
        """Adds a node; inputs that are no tensors of nodes become constants."""
        from tensorflow.python.framework import op_def_registry

        refs = [one if isinstance(one, Ref) else self.constant(one) for one in inputs]
        name = name or f"added_{len(self.nodes)}"
        node = self.nodes.add(name=name, op=op, device=device)
        node.input.extend(refs)
        told = op_def_registry.get(op)
        kinds = {one.name: one for one in told.attr} if told else {}
        for one in told.attr if told else ():
            if one.HasField("default_value"):
                node.attr[one.name].CopyFrom(one.default_value)
        for key, value in attributes.items():
            _attribute(node.attr[key], value, kinds[key].type if key in kinds else "")
        self.last = name
        if self.in_function and told and told.output_arg:
            return Ref(f"{name}:{told.output_arg[out].name}:0")
        return Ref(f"{name}:{out}")


def _attribute(to: Any, value: Any, kind: str) -> None:
    import tensorflow as tf

    def number(one: Any) -> int:
        return one if isinstance(one, int) else tf.as_dtype(one).as_datatype_enum

    if kind == "tensor":
        to.tensor.CopyFrom(value)
    elif kind == "type":
        to.type = number(value)
    elif kind == "list(type)":
        to.list.SetInParent()
        to.list.type.extend(number(one) for one in value)
    elif kind == "shape":
        to.shape.CopyFrom(tf.TensorShape(value).as_proto())
    elif kind == "list(shape)":
        to.list.SetInParent()
        to.list.shape.extend(tf.TensorShape(one).as_proto() for one in value)
    elif kind == "list(string)":
        to.list.s.extend(one.encode() for one in value)
    elif isinstance(value, Func):
        to.func.name = value
    elif isinstance(value, bool):
        to.b = value
    elif isinstance(value, int):
        to.i = value
    elif isinstance(value, float):
        to.f = value
    else:
        to.s = value if isinstance(value, bytes) else value.encode()


Emit = Callable[[Nodes, Place], Any]


def _has(function: Any, op: str) -> bool:
    return any(node.op == op for node in function.node_def)


def _type(node: Any) -> int:
    """The type of a node's first output; 0 where it has none."""
    from tensorflow.python.framework import op_def_registry

    told = op_def_registry.get(node.op)
    if not told or not told.output_arg:
        return 0
    first = told.output_arg[0]
    listed = node.attr[first.type_list_attr].list.type if first.type_list_attr else ()
    return first.type or next(iter(listed), 0) or node.attr[first.type_attr].type


def _by_way_of(nodes: Nodes, taken: Ref, given: Ref, kind: int) -> Ref:
    """A float tensor, plus 1 where the sum of the squares of another is not a number.

    This keeps a node without side effects from being left out of the graph before it runs.
    """
    if kind == 7:  # strings
        given, kind = nodes("StringLength", given), 3
    if kind in (3, 4, 9, 10):
        given, kind = nodes("Cast", given, SrcT=kind, DstT=1), 1
    if kind != 1:
        return taken
    odd = nodes("IsNan", nodes("L2Loss", given, T=1), T=1)
    return nodes("AddV2", taken, nodes("Cast", odd, SrcT=10, DstT=1), T=1)


def _into(function: Any, emit: Emit, place: Place) -> None:
    """Nodes that a function's first multiplication waits for, and takes its input by way of."""
    nodes = Nodes(function.node_def, True)
    given = emit(nodes, place)
    first = next(node for node in function.node_def if node.op == "MatMul")
    last = next(node for node in function.node_def if node.name == nodes.last)
    if isinstance(given, Ref):
        first.input[0] = _by_way_of(nodes, Ref(first.input[0]), given, _type(last))
        nodes.last = last.name
    first.input.append(f"^{nodes.last}")
    function.control_ret[f"added_{nodes.last}"] = nodes.last
    function.signature.control_output.append(f"added_{nodes.last}")
    function.signature.is_stateful = True


def _function(graph: Any, name: str, emit: Emit, place: Place) -> None:
    """A function of the library that takes and gives a float, and does something beside."""
    made = graph.library.function.add()
    made.signature.name = name
    made.signature.is_stateful = True
    made.signature.input_arg.add(name="x", type=1)
    made.signature.output_arg.add(name="y", type=1)
    nodes = Nodes(made.node_def, True)
    given = emit(nodes, place)
    last, taken = made.node_def[-1], Ref("x")
    if isinstance(given, Ref):
        taken = _by_way_of(nodes, taken, given, _type(last))
    made.node_def.add(name="given", op="Identity", input=[taken, f"^{last.name}"])
    made.node_def[-1].attr["T"].type = 1
    made.ret["y"] = "given:output:0"
    made.control_ret["beside"] = last.name
    made.signature.control_output.append("beside")


def in_function(emit: Emit) -> Callable[[Any, Place], None]:
    """Into the function that the signature calls."""

    def change(saved: Any, place: Place) -> None:
        for function in saved.meta_graphs[0].graph_def.library.function:
            if _has(function, "MatMul"):
                _into(function, emit, place)

    return change


def in_main(emit: Emit, waiting: str = "StatefulPartitionedCall") -> Callable[[Any, Place], None]:
    """Into the graph itself; the nodes of the name given wait for it."""

    def change(saved: Any, place: Place) -> None:
        graph = saved.meta_graphs[0].graph_def
        nodes = Nodes(graph.node, False)
        emit(nodes, place)
        for node in graph.node:
            if node.name == waiting:
                node.input.append(f"^{nodes.last}")

    return change


def in_library(emit: Emit) -> Callable[[Any, Place], None]:
    """Into a function that nothing calls."""
    return lambda saved, place: _function(saved.meta_graphs[0].graph_def, "extra", emit, place)


def in_call(emit: Emit, op: str = "StatefulPartitionedCall") -> Callable[[Any, Place], None]:
    """Into a function that a function calls that the signature calls."""

    def change(saved: Any, place: Place) -> None:
        _function(saved.meta_graphs[0].graph_def, "extra", emit, place)
        in_function(lambda n, p: n(op, 1.0, Tin=["float32"], Tout=["float32"], f=Func("extra")))(
            saved, place
        )

    return change


def in_branch(emit: Emit, taken: bool, op: str = "If") -> Callable[[Any, Place], None]:
    """Into a branch, which is taken or not."""

    def change(saved: Any, place: Place) -> None:
        graph = saved.meta_graphs[0].graph_def
        _function(graph, "extra", emit, place)
        _function(graph, "plain", lambda n, p: n("NoOp"), place)
        in_function(
            lambda n, p: n(
                op,
                taken,
                1.0,
                Tcond="bool",
                Tin=["float32"],
                Tout=["float32"],
                then_branch=Func("extra"),
                else_branch=Func("plain"),
            )
        )(saved, place)

    return change


def in_second_graph(emit: Emit, *tags: str, first: bool = False) -> Callable[[Any, Place], None]:
    """Into a second MetaGraph."""

    def change(saved: Any, place: Place) -> None:
        healthy = type(saved.meta_graphs[0])()
        healthy.CopyFrom(saved.meta_graphs[0])
        if first:
            in_function(emit)(saved, place)
            saved.meta_graphs.append(healthy)
            changed = saved.meta_graphs[0]
        else:
            saved.meta_graphs.append(healthy)
            holder = type(saved)()
            holder.meta_graphs.append(healthy)
            in_function(emit)(holder, place)
            saved.meta_graphs[1].CopyFrom(holder.meta_graphs[0])
            changed = saved.meta_graphs[1]
        del changed.meta_info_def.tags[:]
        changed.meta_info_def.tags.extend(tags)

    return change


def in_second_signature(emit: Emit) -> Callable[[Any, Place], None]:
    """Behind a second signature."""

    def change(saved: Any, place: Place) -> None:
        meta = saved.meta_graphs[0]
        nodes = Nodes(meta.graph_def.node, False)
        emit(nodes, place)
        end = meta.graph_def.node.add(name="end", op="Identity")
        end.input.extend(["serving_default_x", f"^{nodes.last}"])
        end.attr["T"].type = 1
        meta.signature_def["another"].CopyFrom(meta.signature_def["serving_default"])
        for one in meta.signature_def["another"].outputs.values():
            one.name = "end:0"

    return change


def in_function_named(part: str, emit: Emit) -> Callable[[Any, Place], None]:
    """Into functions by a part of their name."""

    def change(saved: Any, place: Place) -> None:
        for function in saved.meta_graphs[0].graph_def.library.function:
            if part in function.signature.name:
                nodes = Nodes(function.node_def, True)
                emit(nodes, place)
                function.control_ret["added"] = nodes.last
                function.signature.control_output.append("added")

    return change


def in_dataset(emit: Emit) -> Callable[[Any, Place], None]:
    """Into a graph that is a constant of the graph, which describes a dataset."""

    def change(saved: Any, place: Place) -> None:
        from tensorflow.core.framework import graph_pb2

        inner = graph_pb2.GraphDef()
        nodes = Nodes(inner.node, False)
        emit(nodes, place)
        waits = nodes.last
        start = [nodes.constant(np.int64(one)) for one in (0, 1, 1)]
        inner.node[-1].input.append(f"^{waits}")
        given = nodes("RangeDataset", *start, output_types=["int64"], output_shapes=[[]])
        end = inner.node.add(name="dataset", op="_Retval", input=[given])
        end.attr["T"].type, end.attr["index"].i = 21, 0
        in_function(
            lambda n, p: n(
                "DatasetToSingleElement",
                n("DatasetFromGraph", inner.SerializeToString()),
                output_types=["int64"],
                output_shapes=[[]],
            )
        )(saved, place)

    return change


def writing(nodes: Nodes, place: Place) -> Any:
    """The operator that is hidden: it writes the marker."""
    return nodes("WriteFile", place.marker, "was run")


# --- operators that read and write ----------------------------------------------------------------

MARKED = "the marker must not be written"
UNREAD = "the file outside must not be opened, nor what it holds be shown"
BESIDE = "nothing may be made, changed or removed beside the directory"

add("code", "write-file", MARKED, in_function(writing))
add("code", "write-file-in-graph", MARKED, in_main(writing))
add("code", "write-file-in-initialiser", MARKED, in_main(writing, "NoOp"), *runs(ANY))
add("code", "write-file-in-unused-function", MARKED, in_library(writing), *runs(AGREES_OR_REFUSED))
add("code", "write-file-in-called-function", MARKED, in_call(writing))
add("code", "write-file-in-stateless-call", MARKED, in_call(writing, "PartitionedCall"))
add("code", "write-file-in-branch-taken", MARKED, in_branch(writing, True))
add("code", "write-file-in-branch-not-taken", MARKED, in_branch(writing, False))
add("code", "write-file-in-stateless-branch", MARKED, in_branch(writing, True, "StatelessIf"))
add("code", "write-file-in-dataset", MARKED, in_dataset(writing))
add(
    "code",
    "write-file-in-second-graph",
    MARKED,
    in_second_graph(writing, "train"),
    *runs(AGREES_OR_REFUSED),
)
add(
    "code",
    "write-file-in-first-of-equal-tags",
    MARKED,
    in_second_graph(writing, "serve", first=True),
)
add("code", "write-file-in-last-of-equal-tags", MARKED, in_second_graph(writing, "serve"))
add(
    "code",
    "write-file-in-second-signature",
    MARKED,
    in_second_signature(writing),
    *runs(AGREES_OR_REFUSED),
)
add(
    "code",
    "write-file-in-restore",
    MARKED,
    in_function_named("traced_restore", writing),
    *runs(AGREES_OR_REFUSED),
)
add(
    "code",
    "write-file-in-save",
    MARKED,
    in_function_named("traced_save", writing),
    *runs(AGREES_OR_REFUSED),
)
add(
    "code",
    "write-file-in-table-initialiser",
    MARKED,
    in_function_named("__inference__initializer", writing),
    of="table",
)
add(
    "code",
    "write-file-in-table-destroyer",
    MARKED,
    in_function_named("__inference__destroyer", writing),
    of="table",
)


def _gradient(saved: Any, place: Place) -> None:
    graph = saved.meta_graphs[0].graph_def
    _function(graph, "extra", writing, place)
    served = next(one for one in graph.library.function if _has(one, "MatMul"))
    graph.library.gradient.add(function_name=served.signature.name, gradient_func="extra")
    for node in served.node_def:
        node.attr["_gradient_op_type"].s = b"PartitionedCall-extra"


add("code", "write-file-in-gradient", MARKED, _gradient, *runs(AGREES_OR_REFUSED))
add(
    "code",
    "write-file-by-symbolic-gradient",
    MARKED,
    in_call(writing, "SymbolicGradient"),
)


def _mapped(saved: Any, place: Place) -> None:
    _function(saved.meta_graphs[0].graph_def, "extra", writing, place)

    def emit(n: Nodes, p: Place) -> Any:
        spans = {"output_types": ["float32"], "output_shapes": [[]]}
        start = n("TensorDataset", 1.0, Toutput_types=["float32"], output_shapes=[[]])
        mapped = n("MapDataset", start, f=Func("extra"), Targuments=[], **spans)
        return n("DatasetToSingleElement", mapped, **spans)

    in_function(emit)(saved, place)


add("code", "write-file-in-mapped-dataset", MARKED, _mapped)


def _op(
    kind: str, slug: str, must_not: str, emit: Emit, *commands: Run, where: Any = in_function
) -> None:
    add(kind, slug, must_not, where(emit), *commands)


for slug, op in {
    "py-func": "PyFunc",
    "py-func-stateless": "PyFuncStateless",
    "eager-py-func": "EagerPyFunc",
}.items():
    _op(
        "code",
        slug,
        "no function of Python may be called",
        lambda n, p, op=op: n(op, 1.0, token="pyfunc_0", Tin=["float32"], Tout=["float32"]),
    )
_op(
    "code",
    "print-to-file",
    MARKED,
    lambda n, p: n("PrintV2", "was run", output_stream=f"file://{p.marker}"),
)
_op(
    "code",
    "print-to-terminal",
    "what the graph prints must not reach the terminal",
    lambda n, p: n("PrintV2", "\x1b[31magree: all values are identical", output_stream="stdout"),
)
_op(
    "code",
    "debug-identity",
    BESIDE,
    lambda n, p: n("DebugIdentity", 1.0, T="float32", debug_urls=[f"file://{p.marker}"]),
)
_op(
    "code",
    "debug-identity-v2",
    BESIDE,
    lambda n, p: n("DebugIdentityV2", 1.0, T="float32", debug_urls=[f"file://{p.marker}"]),
)
_op(
    "code",
    "dump-tensor",
    BESIDE,
    lambda n, p: n(
        "DumpTensor",
        1.0,
        log_dir_path=str(Path(p.marker).parent),
        file_name="MARKER",
        T="float32",
        enabled=True,
        func_name="f",
        node_name="n",
    ),
)
_op(
    "code",
    "save",
    BESIDE,
    lambda n, p: n("SaveV2", p.marker, ["a"], [""], 1.0, dtypes=["float32"]),
)
_op(
    "code",
    "save-to-sharded-filename",
    BESIDE,
    lambda n, p: n(
        "SaveV2", n("ShardedFilename", p.marker, 0, 1), ["a"], [""], 1.0, dtypes=["float32"]
    ),
)
_op("code", "save-old", MARKED, lambda n, p: n("Save", p.marker, ["a"], 1.0, T=["float32"]))


def _merge(saved: Any, place: Place) -> None:
    prefix = place.work / FOLDER / "variables" / "variables"
    in_function(
        lambda n, p: n("MergeV2Checkpoints", [str(prefix)], p.marker, delete_old_dirs=True)
    )(saved, place)


add("code", "merge-checkpoints", "the model's own variables must not be moved away", _merge)
_op(
    "code",
    "sql-database",
    MARKED,
    lambda n, p: n(
        "DatasetToSingleElement",
        n(
            "SqlDataset",
            "sqlite",
            p.marker,
            "CREATE TABLE a (b INT)",
            output_types=["int32"],
            output_shapes=[[]],
        ),
        output_types=["int32"],
        output_shapes=[[]],
    ),
)
_op(
    "code",
    "cached-dataset",
    BESIDE,
    lambda n, p: n(
        "DatasetToSingleElement",
        n(
            "CacheDataset",
            n("TensorDataset", 1.0, Toutput_types=["float32"], output_shapes=[[]]),
            p.marker,
            output_types=["float32"],
            output_shapes=[[]],
        ),
        output_types=["float32"],
        output_shapes=[[]],
    ),
)
_op(
    "code",
    "summary-writer",
    BESIDE,
    lambda n, p: n("CreateSummaryFileWriter", n("SummaryWriter"), p.marker, 1, 1, ".v2"),
)
_op(
    "code",
    "set-file-system",
    ALWAYS,
    lambda n, p: n("FileSystemSetConfiguration", "http", "key", "value"),
)
_op("read", "read-file", UNREAD, lambda n, p: n("ReadFile", str(p.canary)))
_op(
    "read",
    "read-file-of-no-size",
    "no reading without an end",
    lambda n, p: n("ReadFile", "/dev/zero"),
)
_op(
    "read",
    "matching-files",
    "no listing of folders",
    lambda n, p: n("MatchingFiles", f"{p.work.parent}/*"),
)
_op(
    "read",
    "immutable-const",
    UNREAD,
    lambda n, p: n(
        "ImmutableConst", dtype="float32", shape=[4096], memory_region_name=str(p.canary_numbers)
    ),
)
_op(
    "read",
    "table-from-text-file",
    UNREAD,
    lambda n, p: n(
        "InitializeTableFromTextFileV2",
        n("HashTableV2", key_dtype="string", value_dtype="int64"),
        str(p.canary),
        key_index=-2,
        value_index=-1,
    ),
)
_op(
    "read",
    "table-from-text-file-old",
    UNREAD,
    lambda n, p: n(
        "InitializeTableFromTextFile",
        n("HashTable", key_dtype="string", value_dtype="int64"),
        str(p.canary),
        key_index=-2,
        value_index=-1,
    ),
)
_op(
    "read",
    "restore",
    UNREAD,
    lambda n, p: n("RestoreV2", str(p.canary), ["a"], [""], dtypes=["float32"]),
)
_op("read", "restore-old", UNREAD, lambda n, p: n("Restore", str(p.canary), "a", dt="float32"))
_op(
    "read",
    "load-and-remap",
    UNREAD,
    lambda n, p: n(
        "LoadAndRemapMatrix",
        str(p.canary),
        "a",
        np.zeros(1, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.float32),
        num_rows=1,
        num_cols=1,
    ),
)
_op(
    "read",
    "vocabulary",
    UNREAD,
    lambda n, p: n(
        "GenerateVocabRemapping",
        str(p.canary),
        str(p.canary),
        new_vocab_offset=0,
        num_new_vocab=3,
    ),
)
for slug, reader in {
    "whole-file-reader": "WholeFileReaderV2",
    "record-reader": "TFRecordReaderV2",
    "line-reader": "TextLineReaderV2",
}.items():

    def _reader(n: Nodes, p: Place, reader: str = reader) -> Any:
        queue = n("FIFOQueueV2", component_types=["string"])
        n("QueueEnqueueV2", queue, str(p.canary), Tcomponents=["string"])
        return n("ReaderReadV2", n(reader), queue)

    _op("read", slug, UNREAD, _reader)
for slug, dataset in {
    "line-dataset": "TextLineDataset",
    "record-dataset": "TFRecordDataset",
}.items():
    _op(
        "read",
        slug,
        UNREAD,
        lambda n, p, dataset=dataset: n(
            "DatasetToSingleElement",
            n(
                "TakeDataset",
                n(dataset, str(p.canary), "", np.int64(0)),
                np.int64(1),
                output_types=["string"],
                output_shapes=[[]],
            ),
            output_types=["string"],
            output_shapes=[[]],
        ),
    )

# --- operators that wait, call and end ------------------------------------------------------------

_op("code", "abort", "the process must not end by it", lambda n, p: n("Abort", error_msg="agree"))
_op(
    "code",
    "abort-without-error",
    "the process must not end by it, with status 0 less than with any",
    lambda n, p: n("Abort", exit_without_error=True),
)
_op(
    "code",
    "xla-call-module",
    "the module must not be compiled or run",
    lambda n, p: n(
        "XlaCallModule",
        1.0,
        version=9,
        module=b"ML\xefR\x0dStableHLO_v1.0.0\0\xff\xff",
        Sout=[[]],
        Tout=["float32"],
        Tin=["float32"],
    ),
)
NET = "nobody may be asked, on this machine or another"
_op(
    "hang",
    "collective",
    NET,
    lambda n, p: n(
        "CollectiveGather",
        [1.0],
        T="float32",
        group_size=2,
        group_key=1,
        instance_key=1,
        shape=[2],
        timeout_seconds=1e9,
    ),
)
_op(
    "hang",
    "remote-device",
    NET,
    lambda n, p: n(
        "Identity", 1.0, T="float32", device="/job:worker/replica:0/task:7/device:GPU:3"
    ),
)
_op(
    "hang",
    "remote-call",
    NET,
    lambda n, p: n(
        "RemoteCall",
        "/job:worker/task:1",
        1.0,
        Tin=["float32"],
        Tout=["float32"],
        f=Func("none"),
    ),
)
_op(
    "hang",
    "rpc-client",
    NET,
    lambda n, p: n(
        "RpcCall",
        n("RpcClient", f"127.0.0.1:{p.port}", np.int64(10**9)),
        "evil",
        np.int64(0),
        Tin=[],
    ),
)
_op(
    "hang",
    "data-service",
    NET,
    lambda n, p: n(
        "RegisterDataset",
        n("TensorDataset", 1.0, Toutput_types=["float32"], output_shapes=[[]]),
        f"127.0.0.1:{p.port}",
        "grpc",
        external_state_policy=0,
    ),
)
_op(
    "hang",
    "receive-from-nobody",
    "the time must be bounded",
    lambda n, p: n(
        "_Recv",
        tensor_type="float32",
        tensor_name="a",
        send_device="/job:localhost/replica:0/task:0/device:CPU:0",
        send_device_incarnation=0,
        recv_device="/job:localhost/replica:0/task:0/device:CPU:0",
    ),
)
_op(
    "hang",
    "queue-that-stays-empty",
    "the time must be bounded",
    lambda n, p: n(
        "QueueDequeueV2",
        n("FIFOQueueV2", component_types=["float32"]),
        component_types=["float32"],
    ),
)
_op(
    "hang",
    "stage-that-stays-empty",
    "the time must be bounded",
    lambda n, p: n("Unstage", dtypes=["float32"]),
)


def _loop(op: str) -> Callable[[Any, Place], None]:
    def change(saved: Any, place: Place) -> None:
        graph = saved.meta_graphs[0].graph_def
        _function(graph, "body", lambda n, p: n("NoOp"), place)
        condition = graph.library.function.add()
        condition.signature.name = "condition"
        condition.signature.input_arg.add(name="x", type=1)
        condition.signature.output_arg.add(name="go", type=10)
        condition.ret["go"] = Nodes(condition.node_def, True).constant(True)
        in_function(
            lambda n, p: n(op, 1.0, T=["float32"], cond=Func("condition"), body=Func("body"))
        )(saved, place)

    return change


add("hang", "while-without-an-end", "the time must be bounded", _loop("While"))
add("hang", "stateless-while-without-an-end", "the time must be bounded", _loop("StatelessWhile"))


def _calls(name: str, count: int = 1, op: str = "PartitionedCall") -> Emit:
    def emit(n: Nodes, p: Place) -> Ref:
        refs = [n(op, 1.0, Tin=["float32"], Tout=["float32"], f=Func(name)) for _ in range(count)]
        return n("AddN", *refs, T="float32", N=count)

    return emit


def _recursion(saved: Any, place: Place) -> None:
    _function(saved.meta_graphs[0].graph_def, "again", _calls("again"), place)
    in_function(_calls("again"))(saved, place)


def _circle(saved: Any, place: Place) -> None:
    for at in range(5):
        _function(saved.meta_graphs[0].graph_def, f"f{at}", _calls(f"f{(at + 1) % 5}", 2), place)
    in_function(_calls("f0"))(saved, place)


def _nested(depth: int, count: int) -> Callable[[Any, Place], None]:
    def change(saved: Any, place: Place) -> None:
        graph = saved.meta_graphs[0].graph_def
        for at in range(depth):
            _function(graph, f"f{at}", _calls(f"f{at + 1}", count), place)
        _function(graph, f"f{depth}", lambda n, p: n("NoOp"), place)
        in_function(_calls("f0"))(saved, place)

    return change


def _own_signature(saved: Any, place: Place) -> None:
    """The function that the signature calls calls the signature's wrapper."""
    graph = saved.meta_graphs[0].graph_def
    wrapper = next(one for one in graph.library.function if "wrapper" in one.signature.name)
    name = wrapper.signature.name
    in_function(
        lambda n, p: n("PartitionedCall", 1.0, Tin=["float32"], Tout=["float32"], f=Func(name))
    )(saved, place)


CYCLE = "calls must not be followed until the stack, the memory or the patience ends"
add("hang", "function-calls-itself", CYCLE, _recursion)
add("hang", "functions-in-a-circle", CYCLE, _circle)
add("hang", "function-calls-its-signature", CYCLE, _own_signature)
add("hang", "functions-nested-deep", CYCLE, _nested(3000, 1), *runs(AGREES_OR_REFUSED))
add("hang", "functions-called-twice-each", CYCLE, _nested(40, 2), *runs(AGREES_OR_REFUSED))
add("malformed", "call-of-no-function", ALWAYS, in_function(_calls("none")))
add(
    "malformed",
    "gradient-of-no-function",
    ALWAYS,
    lambda s, p: (
        s.meta_graphs[0].graph_def.library.gradient.add(
            function_name="none", gradient_func="none either"
        )
        and None
    ),
    *runs(AGREES_OR_REFUSED),
)


def _hidden_attribute(saved: Any, place: Place) -> None:
    """A node that does no more than add, and names a function in an attribute of no meaning."""
    _function(saved.meta_graphs[0].graph_def, "extra", writing, place)
    for function in saved.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.attr["_call_after"].func.name = "extra"
            node.attr["_listed"].list.func.add(name="extra").attr["f"].func.name = "none"


add("code", "functions-in-attributes", MARKED, _hidden_attribute, *runs(AGREES_OR_REFUSED))


def _nested_attribute(depth: int) -> Callable[[Any, Place], None]:
    """An attribute of an attribute ...; each is three messages deep, of the 100 that are read."""

    def change(saved: Any, place: Place) -> None:
        at = saved.meta_graphs[0].graph_def.node[0].attr["_deep"]
        for _ in range(depth):
            at = at.func.attr["f"]

    return change


add(
    "hang",
    "attributes-nested-deep",
    CYCLE,
    _nested_attribute(25),
    *runs(AGREES_OR_REFUSED),
)
add(
    "hang",
    "attributes-nested-too-deep",
    CYCLE,
    _nested_attribute(90),
    *runs(AGREES_OR_REFUSED),
)

# --- bombs ----------------------------------------------------------------------------------------

BOMB = "no memory for what the graph claims to compute: the file is tiny"
_op(
    "memory",
    "fill",
    BOMB,
    lambda n, p: n("Fill", [2**18, 2**18], 1.0, T="float32", index_type="int32"),
)
_op(
    "memory",
    "random-normal",
    BOMB,
    lambda n, p: n("RandomStandardNormal", [2**18, 2**18], T="int32", dtype="float32"),
)
_op("memory", "range", BOMB, lambda n, p: n("Range", 0, 2**31 - 1, 1, Tidx="int32"))
_op(
    "memory",
    "tensor-list",
    BOMB,
    lambda n, p: n(
        "TensorListReserve", [4], 2**31 - 1, element_dtype="float32", shape_type="int32"
    ),
)
_op(
    "memory",
    "tile",
    BOMB,
    lambda n, p: n("Tile", [1.0, 2.0], [2**31 - 1], T="float32", Tmultiples="int32"),
)
_op(
    "memory",
    "broadcast",
    BOMB,
    lambda n, p: n("BroadcastTo", 1.0, np.array([2**40, 2**20]), T="float32", Tidx="int64"),
)


def _deflated(n: Nodes, p: Place) -> Any:
    """2 GiB of zeros: one block of them is compressed, and repeated."""
    size, count = 1 << 24, 128
    made = zlib.compressobj(9)
    head = made.compress(b"") + made.flush(zlib.Z_FULL_FLUSH)
    body = made.compress(b"\0" * size) + made.flush(zlib.Z_FULL_FLUSH)
    check = struct.pack(">HH", size * count % 65521, 1)
    content = head + body * count + b"\x03\x00" + check
    return n("DecodeCompressed", content, compression_type="ZLIB")


def _png(n: Nodes, p: Place) -> Any:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 6, 0, 0, 0))
    image = (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    return n("DecodePng", image, channels=4, dtype="uint8")


_op("memory", "decompression", BOMB, _deflated)
_op("memory", "png", BOMB, _png)


def _constant(change: Callable[[Any], Any]) -> Callable[[Any, Place], None]:
    """A constant that the first multiplication waits for, its tensor being changed."""

    def change_saved(saved: Any, place: Place) -> None:
        def emit(n: Nodes, p: Place) -> None:
            n.constant(np.ones(3, np.float32))
            change(n.nodes[-1].attr["value"].tensor)

        in_function(emit)(saved, place)

    return change_saved


def _shape(tensor: Any, *sizes: int) -> None:
    del tensor.tensor_shape.dim[:]
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)


def _one_value(tensor: Any) -> None:
    _shape(tensor, 2**18, 2**18)
    tensor.ClearField("tensor_content")
    tensor.float_val.append(1)


add("memory", "constant-of-one-value", BOMB, _constant(_one_value))
add("memory", "constant-of-a-huge-shape", BOMB, _constant(lambda t: _shape(t, 2**62, 2**62)))
add(
    "malformed",
    "constant-overflows-to-fit",
    ALWAYS,
    _constant(lambda t: _shape(t, 2**32, 2**32, 3)),
)
add("malformed", "constant-of-a-negative-shape", ALWAYS, _constant(lambda t: _shape(t, -3)))
add(
    "malformed",
    "constant-too-short",
    ALWAYS,
    _constant(lambda t: setattr(t, "tensor_content", b"\0" * 5)),
)
add(
    "malformed",
    "constant-of-many-dimensions",
    ALWAYS,
    _constant(lambda t: _shape(t, *[1] * 300, 3)),
)
add("malformed", "constant-is-a-resource", ALWAYS, _constant(lambda t: setattr(t, "dtype", 20)))
add("malformed", "constant-is-a-variant", ALWAYS, _constant(lambda t: setattr(t, "dtype", 21)))
add(
    "malformed", "constant-of-an-unknown-type", ALWAYS, _constant(lambda t: setattr(t, "dtype", 99))
)

# --- graphs, signatures and names -----------------------------------------------------------------


def _served(saved: Any) -> Any:
    return next(
        one for one in saved.meta_graphs[0].graph_def.library.function if _has(one, "MatMul")
    )


def _node(index: int, **values: Any) -> Callable[[Any, Place], None]:
    """Other fields of a node with weights (0 is the first multiplication)."""

    def change(saved: Any, place: Place) -> None:
        node = [one for one in _served(saved).node_def if one.op == "MatMul"][index]
        for name, value in values.items():
            if isinstance(value, list):
                del getattr(node, name)[:]
                getattr(node, name).extend(value)
            else:
                setattr(node, name, value)

    return change


add("malformed", "operator-unknown", ALWAYS, _node(0, op="MatMulOfMine"))
add(
    "malformed",
    "operator-with-escape-codes",
    "no control character on the terminal",
    _node(0, op="\x1b[2J\x1b]0;agree\x07\nprobe: agree"),
)
add("malformed", "operator-without-a-name", ALWAYS, _node(0, op=""))
add("malformed", "input-of-no-node", ALWAYS, _node(0, input=["none:output:0", "x"]))
add(
    "malformed",
    "input-of-no-output",
    ALWAYS,
    _node(1, input=["MatMul:product:77", "MatMul:none:-1"]),
)
add("malformed", "inputs-too-many", ALWAYS, _node(0, input=["x"] * 100_000))
add("hang", "nodes-in-a-circle", CYCLE, _node(0, input=["MatMul_1:product:0", "MatMul:product:0"]))
add(
    "malformed",
    "names-with-escape-codes",
    "no control character on the terminal",
    lambda s, p: (
        [
            setattr(f.signature, "name", f.signature.name)
            or setattr(n, "name", f"{n.name}\x1b[31m\r\n")
            for f in s.meta_graphs[0].graph_def.library.function
            for n in f.node_def
            if n.op == "Softmax"
        ]
        and None
    ),
)


def _copies(saved: Any, place: Place) -> None:
    function = _served(saved)
    for node in list(function.node_def):
        function.node_def.add().CopyFrom(node)


def _functions_twice(saved: Any, place: Place) -> None:
    library = saved.meta_graphs[0].graph_def.library
    served = _served(saved)
    library.function.add().CopyFrom(served)
    _into(library.function[-1], writing, place)


add("malformed", "nodes-of-one-name", ALWAYS, _copies)
add("code", "functions-of-one-name", MARKED, _functions_twice)


def _many_nodes(saved: Any, place: Place) -> bytes:
    from tensorflow.core.framework import graph_pb2

    one = graph_pb2.GraphDef()
    one.node.add(name="n", op="NoOp")
    content = saved.SerializeToString()
    graph = saved.meta_graphs[0].graph_def.SerializeToString() + one.SerializeToString() * 900_000
    meta = saved.meta_graphs[0]
    meta.ClearField("graph_def")
    rest = meta.SerializeToString()
    field = b"\x12" + _varint(len(graph)) + graph  # MetaGraphDef.graph_def
    assert content
    return b"\x08\x01" + b"\x12" + _varint(len(rest + field)) + rest + field


def _varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made += bytes([value & 127 | 128])
        value >>= 7
    return made + bytes([value])


add("memory", "nodes-900000", "a file of 8 MB must not take gigabytes or minutes", _many_nodes)
add(
    "malformed",
    "function-returns-nothing",
    ALWAYS,
    lambda s, p: [f.ret.clear() for f in s.meta_graphs[0].graph_def.library.function] and None,
)
add(
    "malformed",
    "function-arguments-false",
    ALWAYS,
    lambda s, p: (
        [
            f.signature.input_arg.add(name=f"more{at}", type=23 * at)
            for at, f in enumerate(s.meta_graphs[0].graph_def.library.function)
        ]
        and None
    ),
)


def _signature(change: Callable[[Any, Any], Any]) -> Callable[[Any, Place], None]:
    def change_saved(saved: Any, place: Place) -> None:
        meta = saved.meta_graphs[0]
        change(meta.signature_def, meta.signature_def["serving_default"])

    return change_saved


def _renamed(sign: Any, name: str) -> None:
    for one in (*sign.inputs.values(), *sign.outputs.values()):
        one.name = name


def _key(all_of_them: Any, key: str) -> None:
    all_of_them[key].CopyFrom(all_of_them["serving_default"])
    all_of_them[key].outputs[key].CopyFrom(next(iter(all_of_them[key].outputs.values())))
    del all_of_them["serving_default"]


ESCAPES = "\x1b[2J\x1b]0;agree\x07\nprobe: agree\u202e"
add(
    "malformed",
    "signature-of-no-tensor",
    ALWAYS,
    _signature(lambda m, s: _renamed(s, "none:0")),
    *runs(ANY),
)
add(
    "malformed",
    "signature-of-false-indices",
    ALWAYS,
    _signature(lambda m, s: _renamed(s, "StatefulPartitionedCall:999999999999999999999")),
    *runs(ANY),
)
add(
    "malformed",
    "signature-gives-its-input",
    ALWAYS,
    _signature(lambda m, s: _renamed(s, "serving_default_x:0")),
    *runs(ANY),
)
add(
    "malformed",
    "signature-with-escape-codes",
    "no control character on the terminal",
    _signature(lambda m, s: _key(m, ESCAPES)),
    *runs(ANY),
)
add(
    "malformed",
    "signature-of-200000-letters",
    "no line beyond 4,000 characters",
    _signature(lambda m, s: _key(m, "s" * 200_000)),
    *runs(ANY),
)
add(
    "malformed",
    "signature-without-inputs",
    ALWAYS,
    _signature(lambda m, s: (s.inputs.clear(), s.outputs.clear())),
    *runs(ANY),
)
add("malformed", "no-signatures", ALWAYS, _signature(lambda m, s: m.clear()), *runs(ANY))


def _defaults(all_of_them: Any, sign: Any) -> None:
    tensor = sign.defaults["x"]
    tensor.dtype = 1
    _shape(tensor, 2**20, 2**20)
    tensor.float_val.append(1)


add("memory", "signature-with-defaults", BOMB, _signature(_defaults), *runs(ANY))


def _input_shape(*sizes: int) -> Callable[[Any, Any], None]:
    def change(all_of_them: Any, sign: Any) -> None:
        for one in sign.inputs.values():
            del one.tensor_shape.dim[:]
            for size in sizes:
                one.tensor_shape.dim.add(size=size, name="\x1b[31m")

    return change


add("memory", "input-of-a-huge-shape", BOMB, _signature(_input_shape(2**40, 2**22)), *runs(ANY))
add(
    "malformed",
    "input-of-a-negative-shape",
    ALWAYS,
    _signature(_input_shape(-5, -(2**63))),
    *runs(ANY),
)


def _tags(*tags: str) -> Callable[[Any, Place], None]:
    def change(saved: Any, place: Place) -> None:
        del saved.meta_graphs[0].meta_info_def.tags[:]
        saved.meta_graphs[0].meta_info_def.tags.extend(tags)

    return change


add("malformed", "tags-none", ALWAYS, _tags(), *runs(ANY))
add("malformed", "tags-many", ALWAYS, _tags(*(f"t{at}" for at in range(100_000))), *runs(ANY))
add(
    "malformed",
    "tags-with-escape-codes",
    "no control character on the terminal",
    _tags(ESCAPES, "serve"),
    *runs(ANY),
)
add("malformed", "no-graphs", ALWAYS, lambda s, p: s.ClearField("meta_graphs"))
add(
    "malformed",
    "schema-version-unknown",
    ALWAYS,
    lambda s, p: setattr(s, "saved_model_schema_version", 2**62),
    *runs(ANY),
)
add(
    "malformed",
    "consumer-too-old",
    ALWAYS,
    lambda s, p: setattr(s.meta_graphs[0].graph_def.versions, "min_consumer", 10**6),
    *runs(ANY),
)


def _any(saved: Any, place: Place) -> None:
    held = saved.meta_graphs[0].collection_def["variables"].any_list.value.add()
    held.type_url = f"file://{place.canary}"
    held.value = b"\xff" * 100
    nodes = saved.meta_graphs[0].collection_def["saved_model_main_op"].node_list
    del nodes.value[:]
    nodes.value.extend(["none", "^StatefulPartitionedCall"])


add("malformed", "collections-false", UNREAD, _any, *runs(ANY))

# --- the object graph -----------------------------------------------------------------------------


def _objects(change: Callable[[Any], Any]) -> Callable[[Any, Place], None]:
    return lambda saved, place: (change(saved.meta_graphs[0].object_graph_def), None)[-1]


def _cyclic(objects: Any) -> None:
    for node in objects.nodes:
        node.children.add(node_id=0, local_name="root")
        node.children.add(node_id=0, local_name="")
        node.dependencies.add(node_id=0, local_name="root")


def _beyond(objects: Any) -> None:
    objects.nodes[0].children.add(node_id=2**31 - 1, local_name="far")
    objects.nodes[0].children.add(node_id=-1, local_name="near")


def _variables(**values: Any) -> Callable[[Any], None]:
    def change(objects: Any) -> None:
        for node in objects.nodes:
            if node.HasField("variable"):
                for name, value in values.items():
                    setattr(node.variable, name, value)

    return change


def _variable_shape(*sizes: int) -> Callable[[Any], None]:
    def change(objects: Any) -> None:
        for node in objects.nodes:
            if node.HasField("variable"):
                del node.variable.shape.dim[:]
                for size in sizes:
                    node.variable.shape.dim.add(size=size)

    return change


def _concrete(objects: Any) -> None:
    for node in objects.nodes:
        if node.HasField("function"):
            del node.function.concrete_functions[:]
            node.function.concrete_functions.append("none")
    objects.concrete_functions["none"].bound_inputs.extend([2**31 - 1, -1, 0])


def _user_object(objects: Any) -> None:
    node = objects.nodes[0]
    node.user_object.identifier = "_tf_keras_layer"
    node.user_object.metadata = json.dumps(_lambda_layer("/tmp/MARKER"))
    node.registered_name = "os.system"


def _deep_structure(objects: Any) -> None:
    for node in objects.nodes:
        if node.HasField("function"):
            at = node.function.function_spec.fullargspec
            for _ in range(40):
                at = at.tuple_value.values.add()
            at.type_spec_value.type_spec_class_name = "os.system"
            at.type_spec_value.type_spec_class = 12  # EXTENSION_TYPE_SPEC


add("hang", "objects-in-a-circle", CYCLE, _objects(_cyclic), *runs(AGREES_OR_REFUSED))
add("malformed", "objects-beyond", ALWAYS, _objects(_beyond), *runs(ANY))
add(
    "malformed",
    "objects-none",
    ALWAYS,
    lambda s, p: s.meta_graphs[0].ClearField("object_graph_def"),
    *runs(ANY),
)
add("malformed", "objects-with-no-functions", ALWAYS, _objects(_concrete), *runs(ANY))
add(
    "malformed",
    "objects-with-escape-codes",
    "no control character on the terminal",
    _objects(_variables(name=ESCAPES)),
    *runs(ANY),
)
add(
    "malformed",
    "objects-of-false-types",
    ALWAYS,
    _objects(_variables(dtype=99, aggregation=0)),
    *runs(ANY),
)
add(
    "memory", "variables-of-a-huge-shape", BOMB, _objects(_variable_shape(2**40, 2**20)), *runs(ANY)
)
add(
    "code",
    "objects-of-other-classes",
    "no class may be looked up by the name in the file",
    _objects(_user_object),
    *runs(ANY),
)
add(
    "code",
    "arguments-of-other-classes",
    "no class may be looked up by the name in the file",
    _objects(_deep_structure),
    *runs(ANY),
)
add(
    "memory",
    "objects-500000",
    "the time and the memory must be bounded",
    _objects(lambda o: [o.nodes.add(registered_name="o") for _ in range(500_000)]),
    *runs(ANY),
)

# --- assets and Keras -----------------------------------------------------------------------------


def _asset(name: Callable[[Place], str]) -> Callable[[Any, Place], None]:
    def change(saved: Any, place: Place) -> None:
        for one in saved.meta_graphs[0].asset_file_def:
            one.filename = name(place)
        for node in saved.meta_graphs[0].object_graph_def.nodes:
            if node.HasField("asset"):
                node.asset.asset_file_def_index = 0

    return change


def _asset_index(saved: Any, place: Place) -> None:
    for node in saved.meta_graphs[0].object_graph_def.nodes:
        if node.HasField("asset"):
            node.asset.asset_file_def_index = 2**31 - 1


add("read", "asset-absolute", UNREAD, _asset(lambda p: str(p.canary)), of="table")
add("read", "asset-parent", UNREAD, _asset(lambda p: "../../../canary.txt"), of="table")
add("hang", "asset-device", "no reading without an end", _asset(lambda p: "/dev/zero"), of="table")
add("malformed", "asset-index-out-of-range", ALWAYS, _asset_index, of="table")


def _linked(name: str, to: Callable[[Place], Path]) -> Callable[[Path, Place], None]:
    """A file or folder of the directory that is a link to one outside."""

    def change(root: Path, place: Place) -> None:
        path = root / name
        if path.is_dir():
            path.rename(place.work.parent / "elsewhere")
        else:
            path.unlink()
        path.symlink_to(to(place))

    return change


def _outside(place: Place) -> Path:
    return place.work.parent / "elsewhere"


files(
    "read", "asset-is-a-link", UNREAD, _linked("assets/words.txt", lambda p: p.canary), of="table"
)
files(
    "read",
    "assets-are-a-link",
    "nothing outside of the directory may be read",
    _linked("assets", _outside),
    of="table",
)


def _lambda_layer(marker: str) -> dict[str, Any]:
    code = eval(f"lambda x: (open({marker!r}, 'w').close(), x)[1]").__code__
    body = base64.b64encode(marshal.dumps(code)).decode()
    return {
        "class_name": "Lambda",
        "config": {
            "name": "twice",
            "trainable": True,
            "dtype": "float32",
            "function": {"class_name": "__tuple__", "items": [body, None, None]},
            "function_type": "lambda",
            "module": "__main__",
            "output_shape": None,
            "output_shape_type": "raw",
            "output_shape_module": None,
            "arguments": {},
        },
    }


def _metadata(change: Callable[[dict[str, Any], Place], Any]) -> Callable[[Path, Place], None]:
    """What Keras says of its layer `twice`."""

    def change_files(root: Path, place: Place) -> None:
        from tf_keras.protobuf import saved_metadata_pb2

        path = root / "keras_metadata.pb"
        held = saved_metadata_pb2.SavedMetadata.FromString(path.read_bytes())
        for node in held.nodes:
            told = json.loads(node.metadata)
            if told.get("name") == "twice":
                change(told, place)
                node.metadata = json.dumps(told)
        path.write_bytes(held.SerializeToString())

    return change_files


def _code(told: dict[str, Any], place: Place) -> None:
    told.update(_lambda_layer(place.marker))


def _module(told: dict[str, Any], place: Place) -> None:
    told.update(class_name="call", module="subprocess", registered_name="subprocess>call")
    told["config"] = {"args": ["touch", place.marker]}


files("code", "keras-lambda", MARKED, _metadata(_code), *runs(ANY), of="keras")
files("code", "keras-class-of-a-module", MARKED, _metadata(_module), *runs(ANY), of="keras")
files(
    "malformed",
    "keras-metadata-damaged",
    ALWAYS,
    lambda r, p: (r / "keras_metadata.pb").write_bytes(b"\x0a\xff\xff\xff\xff\x0f" + b"{" * 99),
    *runs(ANY),
    of="keras",
)
files(
    "hang",
    "keras-metadata-nested-deep",
    CYCLE,
    _metadata(lambda t, p: t.update(config=json.loads("[" * 900 + "]" * 900))),
    *runs(ANY),
    of="keras",
)

# --- variables ------------------------------------------------------------------------------------

INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for one in range(256):
        for _ in range(8):
            one = one >> 1 ^ (0x82F63B78 if one & 1 else 0)
        table.append(one)
    return tuple(table)


def masked_crc(content: bytes) -> int:
    """CRC-32C as LevelDB and TensorFlow keep it."""
    table, value = _crc_table(), 0xFFFFFFFF
    for one in content:
        value = table[(value ^ one) & 255] ^ value >> 8
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (content[at] & 127) << shift
        shift += 7
        at += 1
        if content[at - 1] < 128:
            return value, at


def _block(content: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    block = content[offset : offset + size]
    assert content[offset + size] == 0, "compressed"
    end = size - 4 - 4 * struct.unpack_from("<I", block, size - 4)[0]
    at, key, found = 0, b"", []
    while at < end:
        shared, at = _read_varint(block, at)
        fresh, at = _read_varint(block, at)
        length, at = _read_varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        found.append((key, block[at + fresh : at + fresh + length]))
        at += fresh + length
    return found


def read_index(content: bytes) -> dict[bytes, bytes]:
    """The entries of a variables.index, which is a table of LevelDB's form."""
    at = len(content) - 48
    _, at = _read_varint(content, at)
    _, at = _read_varint(content, at)
    offset, at = _read_varint(content, at)
    size, at = _read_varint(content, at)
    entries: dict[bytes, bytes] = {}
    for _, handle in _block(content, offset, size):
        start, after = _read_varint(handle, 0)
        entries.update(_block(content, start, _read_varint(handle, after)[0]))
    return entries


def write_index(
    entries: dict[bytes, bytes], compression: int = 0, false_crc: bool = False
) -> bytes:
    """A table of one block, in which no key shares a beginning with the one before it."""
    made = b""

    def block(pairs: list[tuple[bytes, bytes]], kind: int = 0) -> bytes:
        nonlocal made
        body, restarts = b"", []
        for key, value in pairs:
            restarts.append(len(body))
            body += b"\0" + _varint(len(key)) + _varint(len(value)) + key + value
        restarts = restarts or [0]
        body += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
        handle = _varint(len(made)) + _varint(len(body))
        crc = masked_crc(body + bytes([kind])) ^ (0xFFFF if false_crc else 0)
        made += body + bytes([kind]) + struct.pack("<I", crc)
        return handle

    first = block(sorted(entries.items()), compression)
    meta = block([])
    index = block([(b"\xff", first)])
    return made + (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def _entries(
    change: Callable[[Any, str], Any] = lambda entry, name: None,
    header: Callable[[Any], Any] = lambda header: None,
    whole: Callable[[dict[bytes, bytes]], Any] = lambda entries: None,
    **options: Any,
) -> Callable[[Path, Place], None]:
    """Other entries of the index; `change` is asked for each variable's."""

    def change_files(root: Path, place: Place) -> None:
        from tensorflow.core.protobuf import tensor_bundle_pb2

        entries = read_index((root / INDEX).read_bytes())
        for key, value in entries.items():
            if not key:
                told = tensor_bundle_pb2.BundleHeaderProto.FromString(value)
                header(told)
            else:
                told = tensor_bundle_pb2.BundleEntryProto.FromString(value)
                change(told, key.decode())
            entries[key] = told.SerializeToString()
        whole(entries)
        (root / INDEX).write_bytes(write_index(entries, **options))

    return change_files


def _entry(**values: Any) -> Callable[[Any, str], None]:
    def change(entry: Any, name: str) -> None:
        if "VARIABLE_VALUE" in name:
            for key, value in values.items():
                setattr(entry, key, value)

    return change


def _entry_shape(*sizes: int) -> Callable[[Any, str], None]:
    def change(entry: Any, name: str) -> None:
        if "VARIABLE_VALUE" in name:
            del entry.shape.dim[:]
            for size in sizes:
                entry.shape.dim.add(size=size)

    return change


def _sliced(entry: Any, name: str) -> None:
    """Each variable claims to be kept in parts, which would be kept under its own name."""
    for start in range(1000):
        entry.slices.add().extent.add(start=start * 2**50, length=2**62)


def _hostile_keys(entries: dict[bytes, bytes]) -> None:
    for key in [one for one in entries if one]:
        entries[b"../../\x1b[31m\xff\n" + key] = entries.pop(key)


def _many_entries(entries: dict[bytes, bytes]) -> None:
    value = next(one for key, one in entries.items() if key)
    entries.update({b"z%06d" % at: value for at in range(20_000)})


WEIGHTS = "nothing outside of the shard's bytes may be taken as weights"
files(
    "healthy",
    "index-written-again",
    "it must not be refused: the index is right",
    _entries(),
    *runs(AGREES_OR_REFUSED, frozenset({0})),
)
files("malformed", "index-shard-out-of-range", WEIGHTS, _entries(_entry(shard_id=999)))
files("malformed", "index-shard-negative", WEIGHTS, _entries(_entry(shard_id=-1)))
files("malformed", "index-offset-beyond", WEIGHTS, _entries(_entry(offset=2**40)))
files("malformed", "index-offset-negative", WEIGHTS, _entries(_entry(offset=-64)))
files("memory", "index-size-huge", WEIGHTS, _entries(_entry(size=2**60)))
files("malformed", "index-size-too-small", WEIGHTS, _entries(_entry(size=3)))
files("malformed", "index-size-negative", WEIGHTS, _entries(_entry(size=-96)))
files("memory", "index-shape-huge", BOMB, _entries(_entry_shape(2**40, 2**20)))
files("malformed", "index-shape-negative", ALWAYS, _entries(_entry_shape(-4, -6)))
files(
    "malformed",
    "index-shape-another",
    "weights of another shape must not be used as they are",
    _entries(_entry_shape(2, 12)),
)
files("malformed", "index-type-string", ALWAYS, _entries(_entry(dtype=7)))
files("malformed", "index-type-variant", ALWAYS, _entries(_entry(dtype=21)))
files("malformed", "index-type-unknown", ALWAYS, _entries(_entry(dtype=1000)))
files(
    "malformed",
    "index-checksum-of-weights-false",
    "weights that fail their checksum must not agree",
    _entries(_entry(crc32c=1)),
    *runs(AGREES_OR_REFUSED),
)
files(
    "malformed", "index-checksum-false", ALWAYS, _entries(false_crc=True), *runs(AGREES_OR_REFUSED)
)
files("malformed", "index-compression-unknown", ALWAYS, _entries(compression=77))
files("malformed", "index-compression-snappy-false", ALWAYS, _entries(compression=1))
files(
    "memory",
    "index-of-two-billion-shards",
    "no list of two billion names",
    _entries(header=lambda h: setattr(h, "num_shards", 2**31 - 1)),
)
files(
    "malformed",
    "index-of-no-shards",
    ALWAYS,
    _entries(header=lambda h: setattr(h, "num_shards", 0)),
    *runs(AGREES_OR_REFUSED),
)
files(
    "malformed",
    "index-of-negative-shards",
    ALWAYS,
    _entries(header=lambda h: setattr(h, "num_shards", -1)),
    *runs(AGREES_OR_REFUSED),
)
files(
    "malformed",
    "index-of-big-endian",
    "numbers must not be read in the wrong order",
    _entries(header=lambda h: setattr(h, "endianness", 1)),
)
files(
    "malformed",
    "index-consumer-too-old",
    ALWAYS,
    _entries(header=lambda h: setattr(h.version, "min_consumer", 10**6)),
    *runs(AGREES_OR_REFUSED),
)
files("malformed", "index-without-a-header", ALWAYS, _entries(whole=lambda e: e.pop(b"")))
files(
    "malformed",
    "index-without-variables",
    "weights that are not in the file must not be zeros",
    _entries(whole=lambda e: [e.pop(k) for k in [*e] if b"VARIABLE" in k]),
)
files(
    "malformed",
    "index-keys-with-escape-codes",
    "no control character on the terminal",
    _entries(whole=_hostile_keys),
)
files(
    "memory",
    "index-in-parts",
    "parts of parts must not be followed without an end",
    _entries(_sliced),
)
files(
    "memory",
    "index-of-20000-entries",
    "the time must be bounded",
    _entries(whole=_many_entries),
    *runs(AGREES_OR_REFUSED),
)
files("malformed", "index-empty", ALWAYS, lambda r, p: (r / INDEX).write_bytes(b""))
files(
    "malformed",
    "index-magic-false",
    ALWAYS,
    lambda r, p: (r / INDEX).write_bytes((r / INDEX).read_bytes()[:-1] + b"\0"),
)


def _handles(root: Path, place: Place) -> None:
    content = bytearray((root / INDEX).read_bytes())
    content[-48:-8] = b"\xff" * 9 + b"\x7f" + b"\xff" * 9 + b"\x7f" + b"\xff" * 20
    (root / INDEX).write_bytes(content)


def _restarts(root: Path, place: Place) -> None:
    content = bytearray(write_index(read_index((root / INDEX).read_bytes())))
    _, at = _read_varint(content, len(content) - 48)
    _, at = _read_varint(content, at)
    offset, at = _read_varint(content, at)
    ((_, handle),) = _block(bytes(content), offset, _read_varint(content, at)[0])
    size = _read_varint(handle, _read_varint(handle, 0)[1])[0]
    struct.pack_into("<I", content, size - 8, 2**32 - 1)  # the block begins at 0
    struct.pack_into("<I", content, size + 1, masked_crc(bytes(content[: size + 1])))
    (root / INDEX).write_bytes(content)


files("malformed", "index-handles-beyond", ALWAYS, _handles)
files("malformed", "index-restarts-beyond", ALWAYS, _restarts, *runs(AGREES_OR_REFUSED))
files(
    "malformed",
    "index-is-a-folder",
    ALWAYS,
    lambda r, p: ((r / INDEX).unlink(), (r / INDEX).mkdir()),
)
files(
    "hang",
    "index-is-a-fifo",
    "the pipe must not be waited for",
    lambda r, p: ((r / INDEX).unlink(), os.mkfifo(r / INDEX)),
)
files("read", "index-is-a-link", UNREAD, _linked(INDEX, lambda p: p.canary))
files("read", "shard-is-a-link", UNREAD, _linked(DATA, lambda p: p.canary_numbers))
files(
    "hang",
    "shard-is-a-link-to-zeros",
    "no reading without an end",
    _linked(DATA, lambda p: Path("/dev/zero")),
)
files(
    "hang",
    "shard-is-a-fifo",
    "the pipe must not be waited for",
    lambda r, p: ((r / DATA).unlink(), os.mkfifo(r / DATA)),
)
files(
    "read",
    "variables-are-a-link",
    "nothing outside of the directory may be read",
    _linked("variables", _outside),
    *runs(AGREES_OR_REFUSED),
)
files("malformed", "shard-missing", ALWAYS, lambda r, p: (r / DATA).unlink())
files("malformed", "shard-too-short", WEIGHTS, lambda r, p: os.truncate(r / DATA, 60))
files(
    "malformed",
    "shard-changed",
    "weights that fail their checksum must not agree",
    lambda r, p: (r / DATA).write_bytes(bytes(one ^ 1 for one in (r / DATA).read_bytes())),
    *runs(AGREES_OR_REFUSED),
)
files(
    "malformed",
    "shards-of-two-counts",
    ALWAYS,
    lambda r, p: (r / "variables/variables.data-00000-of-00002").write_bytes(b"\xff" * 400),
    *runs(AGREES_OR_REFUSED),
)
files(
    "malformed",
    "variables-missing",
    ALWAYS,
    lambda r, p: ((r / INDEX).unlink(), (r / DATA).unlink(), (r / "variables").rmdir()),
)
files(
    "malformed",
    "variables-are-a-file",
    ALWAYS,
    lambda r, p: (
        (r / INDEX).unlink(),
        (r / DATA).unlink(),
        (r / "variables").rmdir(),
        (r / "variables").write_bytes(b"x"),
    ),
)


def _saver(saved: Any, place: Place) -> None:
    """The names by which the variables would be saved and restored."""
    meta = saved.meta_graphs[0]
    for name in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
        setattr(meta.saver_def, name, f"{place.canary}\x1b[31m")
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            if node.op == "Const" and "file" in node.name.lower() + "tensor_names":
                tensor = node.attr["value"].tensor
                if tensor.dtype == 7:
                    tensor.ClearField("tensor_content")
                    count = max(1, len(tensor.string_val))
                    del tensor.string_val[:]
                    tensor.string_val.extend([f"{place.canary_numbers}".encode()] * count)


add("read", "saver-names-other-files", UNREAD, _saver, *runs(AGREES_OR_REFUSED))


def _object_keys(root: Path, place: Place) -> None:
    """The table of objects that the checkpoint keeps as text: other bytes of the same length."""
    content = (root / DATA).read_bytes()
    (root / DATA).write_bytes(
        content.replace(b"VARIABLE_VALUE", b"../../../../../")[: len(content)]
    )


files("malformed", "objects-of-the-checkpoint-false", ALWAYS, _object_keys)

# --- the files themselves -------------------------------------------------------------------------

PB = "saved_model.pb"


def _text(saved: Any, place: Place) -> None:
    from google.protobuf import text_format

    root = place.work / FOLDER
    root.mkdir(exist_ok=True)
    in_function(writing)(saved, place)
    (root / "saved_model.pbtxt").write_text(text_format.MessageToString(saved), encoding="utf-8")
    saved.Clear()
    saved.ParseFromString(base()[PB])


add("code", "text-beside", MARKED, _text, *runs(AGREES_OR_REFUSED))
files(
    "code",
    "text-alone",
    MARKED,
    lambda r, p: ((r / PB).rename(r / "saved_model.pbtxt"), None)[-1],
)
files(
    "hang",
    "text-nested-deep",
    CYCLE,
    lambda r, p: (
        (r / PB).unlink(),
        (r / "saved_model.pbtxt").write_text("meta_graphs {" * 100_000),
    ),
)
files("malformed", "pb-empty", ALWAYS, lambda r, p: (r / PB).write_bytes(b""))
files("malformed", "pb-missing", ALWAYS, lambda r, p: (r / PB).unlink())
files("hang", "pb-nested-deep", CYCLE, lambda r, p: (r / PB).write_bytes(b"\x0b" * 1_000_000))
files(
    "memory",
    "pb-claims-a-length",
    "no memory for the length claimed",
    lambda r, p: (r / PB).write_bytes(b"\x12\xff\xff\xff\xff\x07" + b"a" * 100),
)
files(
    "hang",
    "pb-is-a-fifo",
    "the pipe must not be waited for",
    lambda r, p: ((r / PB).unlink(), os.mkfifo(r / PB)),
)
files(
    "hang",
    "pb-is-a-link-to-zeros",
    "no reading without an end",
    _linked(PB, lambda p: Path("/dev/zero")),
)
files("malformed", "pb-is-a-folder", ALWAYS, lambda r, p: ((r / PB).unlink(), (r / PB).mkdir()))
files("malformed", "pb-is-a-link-to-itself", ALWAYS, _linked(PB, lambda p: Path(PB)))
files("read", "pb-is-a-link", UNREAD, _linked(PB, lambda p: p.canary))
files(
    "memory",
    "pb-of-holes",
    "a file of 60 GB of nothing must not be read as a whole",
    lambda r, p: os.truncate(r / PB, 60 << 30),
)
files(
    "malformed",
    "fingerprint-damaged",
    ALWAYS,
    lambda r, p: (r / "fingerprint.pb").write_bytes(b"\xff" * 97),
    *runs(AGREES_OR_REFUSED),
)
files(
    "hang",
    "fingerprint-is-a-fifo",
    "the pipe must not be waited for",
    lambda r, p: ((r / "fingerprint.pb").unlink(), os.mkfifo(r / "fingerprint.pb")),
    *runs(AGREES_OR_REFUSED),
)
files(
    "hang",
    "folder-holds-itself",
    "a link to the directory in itself must not be followed",
    lambda r, p: (r / "assets").symlink_to(r),
    *runs(AGREES_OR_REFUSED),
)


def _modules(root: Path, place: Place) -> None:
    """Modules of well-known names beside the directory and in it, which nobody may import."""
    text = f"open({place.marker!r}, 'w').close()\n"
    for folder in (root, place.work):
        for name in ("tensorflow", "tf_keras", "google", "sitecustomize", "usercustomize"):
            (folder / f"{name}.py").write_text(text, encoding="utf-8")


files(
    "code",
    "modules-beside",
    "no module may be imported from the folder",
    _modules,
    *runs(AGREES_OR_REFUSED),
)
files(
    "code",
    "custom-operators-beside",
    "no library may be loaded from the directory",
    lambda r, p: [
        ((r / folder).mkdir(), (r / folder / "ops.so").write_bytes(b"\x7fELF" + b"\0" * 60))
        for folder in ("assets.extra", "custom_ops")
    ],
    *runs(AGREES_OR_REFUSED),
)


def _damaged(at: int) -> Callable[[Path, Place], None]:
    """A damage of saved_model.pb or of the index, by the number of the copy."""

    def change(root: Path, place: Place) -> None:
        rng = np.random.default_rng([77, at])
        path = root / (INDEX if at % 4 == 3 else PB)
        content = bytearray(path.read_bytes())
        start = int(rng.integers(len(content)))
        if at % 3 == 0:
            del content[start:]
        elif at % 3 == 1:
            for bit in rng.integers(8 * len(content), size=5):
                content[bit // 8] ^= 1 << bit % 8
        else:
            content[start : start + 64] = bytes(len(content[start : start + 64]))
        path.write_bytes(content)

    return change


for _at in range(24):
    files("malformed", f"damaged-{_at:02}", ALWAYS, _damaged(_at), *runs(ANY))

for _name in SAVES:
    files(
        "healthy",
        f"base-{_name}",
        "it must not run code; but for the first of them it may be refused",
        lambda r, p: None,
        *(runs(AGREES_OR_REFUSED, frozenset({0})) if _name == "plain" else runs(ANY)),
        of=_name,
    )


if __name__ == "__main__":
    sys.exit(write(CASES, sys.argv[1:]))
