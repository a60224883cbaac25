"""Hostile and damaged TensorFlow Lite files (.tflite).

Written from the format's schema alone, without a look at how the tool reads such files. `CASES`
holds files that somebody made on purpose, and after them 100 damaged copies (`damaged`) of three
healthy nets that this module builds as well (`HEALTHY`): one in float32, one with float16 weights
and one in int8, each a convolution, a dense layer and a softmax.
"""

import functools
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as lite
from flatbuffers import flexbuffers
from hostile.case import AGREES_OR_REFUSED, ANY, LISTED, REFUSED, Place, Run
from outside_form import ALWAYS, Cases, write

B, T, O2 = lite.BuiltinOperator, lite.TensorType, lite.BuiltinOptions
FILE = "m.tflite"
CASES = Cases("tflite")


def runs(all_layers: frozenset[int] = REFUSED, listed: frozenset[int] = LISTED) -> tuple[Run, ...]:
    """The file listed, and all of its layers checked."""
    return Run((FILE,), listed), Run((FILE, "--all"), all_layers)


# --- building -------------------------------------------------------------------------------------


def tensor(
    shape: Sequence[int], kind: int = T.FLOAT32, name: Any = "t", buffer: int = 0, **options: Any
) -> lite.TensorT:
    """A tensor; buffer 0 is the empty one."""
    return lite.TensorT(shape=list(shape), type=kind, name=name, buffer=buffer, **options)


def quantised(
    scale: Sequence[float], zero: Sequence[int], axis: int = 0, **options: Any
) -> lite.QuantizationParametersT:
    """How a tensor is quantised."""
    return lite.QuantizationParametersT(
        scale=np.array(scale, np.float32),
        zeroPoint=np.array(zero, np.int64),
        quantizedDimension=axis,
        **options,
    )


def op(
    code: int, inputs: Sequence[int], outputs: Sequence[int], options: Any = None, **more: Any
) -> lite.OperatorT:
    """An operator; the union's tag follows from the class of its options."""
    made = lite.OperatorT(opcodeIndex=code, inputs=list(inputs), outputs=list(outputs), **more)
    if options is not None:
        made.builtinOptions = options
        made.builtinOptionsType = getattr(O2, type(options).__name__[:-1])
    return made


def code(builtin: int, custom: Any = None, version: int = 1) -> lite.OperatorCodeT:
    """An entry of the table of operators."""
    return lite.OperatorCodeT(
        deprecatedBuiltinCode=min(builtin, 127),
        builtinCode=builtin,
        customCode=custom,
        version=version,
    )


def data(values: Any) -> lite.BufferT:
    """A buffer with an array's bytes, or bytes."""
    content = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
    return lite.BufferT(data=np.frombuffer(content, np.uint8))


def graph(
    tensors: list[lite.TensorT],
    inputs: Sequence[int],
    outputs: Sequence[int],
    operators: list[lite.OperatorT],
    name: Any = "main",
) -> lite.SubGraphT:
    """A subgraph."""
    return lite.SubGraphT(
        tensors=tensors, inputs=list(inputs), outputs=list(outputs), operators=operators, name=name
    )


def model(
    codes: list[lite.OperatorCodeT],
    graphs: list[lite.SubGraphT],
    buffers: Sequence[lite.BufferT] = (),
    **options: Any,
) -> lite.ModelT:
    """A model; buffer 0 is put before the others."""
    return lite.ModelT(
        version=3,
        operatorCodes=codes,
        subgraphs=graphs,
        buffers=[lite.BufferT(), *buffers],
        description="written by hand",
        **options,
    )


def packed(made: lite.ModelT, identifier: bytes = b"TFL3") -> bytes:
    """A model's bytes."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), identifier)
    return bytes(builder.Output())


def conv_options(stride: int = 1) -> lite.Conv2DOptionsT:
    """Same padding, the strides given."""
    return lite.Conv2DOptionsT(
        padding=lite.Padding.SAME,
        strideH=stride,
        strideW=stride,
        dilationHFactor=1,
        dilationWFactor=1,
    )


NET_CODES = (B.CONV_2D, B.RESHAPE, B.FULLY_CONNECTED, B.SOFTMAX)


def net_operators() -> list[lite.OperatorT]:
    """Tensors: 0 x, 1 kernel, 2 bias, 3 conv, 4 shape, 5 flat, 6 weights, 7 bias, 8, 9 y."""
    return [
        op(0, [0, 1, 2], [3], conv_options()),
        op(1, [3, 4], [5], lite.ReshapeOptionsT(newShape=[1, 144])),
        op(2, [5, 6, 7], [8], lite.FullyConnectedOptionsT()),
        op(3, [8], [9], lite.SoftmaxOptionsT(beta=1.0)),
    ]


def net_weights() -> tuple[np.ndarray, ...]:
    """Kernel, bias, weights, bias."""
    rng = np.random.default_rng(11)
    shapes = ((4, 3, 3, 1), (4,), (5, 144), (5,))
    return tuple((0.2 * rng.normal(size=one)).astype(np.float32) for one in shapes)


def float_net(half: bool = False) -> lite.ModelT:
    """A convolution, a dense layer and a softmax; with `half` the weights are float16."""
    kernel, bias, weights, bias2 = net_weights()
    shape = np.array([1, 144], np.int32)
    kind = T.FLOAT32
    made = [
        tensor([1, 6, 6, 1], name="x"),
        tensor(kernel.shape, kind, "conv/kernel", 1),
        tensor(bias.shape, kind, "conv/bias", 2),
        tensor([1, 6, 6, 4], name="conv"),
        tensor([2], T.INT32, "shape", 3),
        tensor([1, 144], name="flat"),
        tensor(weights.shape, kind, "dense/weights", 4),
        tensor(bias2.shape, kind, "dense/bias", 5),
        tensor([1, 5], name="dense"),
        tensor([1, 5], name="y"),
    ]
    codes = [code(one) for one in NET_CODES]
    operators = net_operators()
    if half:
        codes.append(code(B.DEQUANTIZE, version=3))
        before = []
        for at in (1, 2, 6, 7):
            old = made[at]
            made.append(tensor(old.shape, T.FLOAT16, f"{old.name}/half", old.buffer))
            old.buffer = 0
            before.append(op(4, [len(made) - 1], [at], lite.DequantizeOptionsT()))
        operators = before + operators
    arrays = [kernel, bias, shape, weights, bias2]
    if half:
        arrays = [one.astype(np.float16) if one.dtype == np.float32 else one for one in arrays]
    return model(codes, [graph(made, [0], [9], operators)], [data(one) for one in arrays])


def int8_net() -> lite.ModelT:
    """The same net in int8: the kernel is quantised by channel, the dense weights as a whole."""
    kernel, bias, weights, bias2 = net_weights()
    in_scale, conv_scale, dense_scale = 0.02, 0.05, 0.1
    kernel_scale = np.abs(kernel).max((1, 2, 3)) / 127
    weight_scale = np.abs(weights).max() / 127
    stored = [
        np.round(kernel / kernel_scale[:, None, None, None]).astype(np.int8),
        np.round(bias / (in_scale * kernel_scale)).astype(np.int32),
        np.array([1, 144], np.int32),
        np.round(weights / weight_scale).astype(np.int8),
        np.round(bias2 / (conv_scale * weight_scale)).astype(np.int32),
    ]
    int8, conv = T.INT8, quantised([conv_scale], [-3])
    made = [
        tensor([1, 6, 6, 1], int8, "x", quantization=quantised([in_scale], [4])),
        tensor(kernel.shape, int8, "conv/k", 1, quantization=quantised(kernel_scale, [0] * 4)),
        tensor([4], T.INT32, "conv/b", 2, quantization=quantised(in_scale * kernel_scale, [0] * 4)),
        tensor([1, 6, 6, 4], int8, "conv", quantization=conv),
        tensor([2], T.INT32, "shape", 3),
        tensor([1, 144], int8, "flat", quantization=conv),
        tensor(weights.shape, int8, "dense/w", 4, quantization=quantised([weight_scale], [0])),
        tensor(
            [5], T.INT32, "dense/b", 5, quantization=quantised([conv_scale * weight_scale], [0])
        ),
        tensor([1, 5], int8, "dense", quantization=quantised([dense_scale], [0])),
        tensor([1, 5], int8, "y", quantization=quantised([1 / 256], [-128])),
    ]
    codes = [code(one, version=2) for one in NET_CODES]
    codes[0].version, codes[1].version, codes[2].version = 3, 1, 4
    return model(codes, [graph(made, [0], [9], net_operators())], [data(one) for one in stored])


HEALTHY: dict[str, Callable[[], lite.ModelT]] = {
    "float32": float_net,
    "float16": functools.partial(float_net, half=True),
    "int8": int8_net,
}


@functools.cache
def healthy(name: str) -> bytes:
    """The bytes of a healthy net."""
    return packed(HEALTHY[name]())


def one_op(
    builtin: int,
    shapes: Sequence[Sequence[int]],
    options: Any = None,
    constants: dict[int, np.ndarray] | None = None,
    out: Sequence[int] = (4,),
    kind: int = T.FLOAT32,
    custom: Any = None,
    **more: Any,
) -> lite.ModelT:
    """A model of one operator; `constants` are those of its inputs that are held in the file."""
    kinds = {np.dtype(np.int32): T.INT32, np.dtype(np.float32): T.FLOAT32}
    constants, buffers, made = constants or {}, [], []
    for at, shape in enumerate(shapes):
        one = tensor(shape, kind, f"in{at}")
        if at in constants:
            buffers.append(data(constants[at]))
            one.buffer, one.type = len(buffers), kinds.get(constants[at].dtype, kind)
        made.append(one)
    made.append(tensor(out, kind, "out"))
    given = [at for at in range(len(shapes)) if at not in constants]
    step = op(0, range(len(shapes)), [len(shapes)], options, **more)
    return model(
        [code(builtin, custom, 2 if builtin == B.BROADCAST_TO else 1)],
        [graph(made, given, [len(shapes)], [step])],
        buffers,
    )


def edited(
    kind: str,
    slug: str,
    must_not: str,
    change: Callable[[lite.ModelT, Place], Any],
    *commands: Run,
    base: str = "float32",
) -> None:
    """A healthy net with a change to its parts; the change may give another model."""

    def build(place: Place) -> None:
        made = HEALTHY[base]()
        made = change(made, place) or made
        (place.work / FILE).write_bytes(made if isinstance(made, bytes) else packed(made))

    CASES.add(kind, slug, must_not, build, *(commands or runs()))


def setting(path: str, **values: Any) -> Callable[[lite.ModelT, Place], None]:
    """Sets attributes of a part: `t6` is tensor 6, `o2` operator 2, `b4` buffer 4, `g` the graph.

    `q6` is how tensor 6 is quantised, `m` the model itself.
    """

    def change(made: lite.ModelT, place: Place) -> None:
        main, at = made.subgraphs[0], int(path[1:] or 0)
        part = {
            "t": lambda: main.tensors[at],
            "q": lambda: main.tensors[at].quantization,
            "o": lambda: main.operators[at],
            "b": lambda: made.buffers[at],
            "c": lambda: made.operatorCodes[at],
            "g": lambda: main,
            "m": lambda: made,
        }[path[0]]()
        for name, value in values.items():
            setattr(part, name, value(place) if callable(value) else value)

    return change


def each(*changes: Callable[[lite.ModelT, Place], Any]) -> Callable[[lite.ModelT, Place], None]:
    """One change after another."""

    def change(made: lite.ModelT, place: Place) -> None:
        for one in changes:
            one(made, place)

    return change


def replaced(make: Callable[[Place], lite.ModelT | bytes]) -> Callable[[lite.ModelT, Place], Any]:
    """Another model in the place of the healthy one."""
    return lambda made, place: make(place)


# --- code and files -------------------------------------------------------------------------------


def _message(*fields: tuple[int, bytes]) -> bytes:
    """A protocol buffer of fields with lengths below 16,384."""
    made = b""
    for number, content in fields:
        size = len(content)
        length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        made += bytes([number << 3 | 2]) + length + content
    return made


def _flex(name: str, shapes: Sequence[Sequence[int]], *inputs: bytes, **more: Any) -> lite.ModelT:
    """A TensorFlow operator in the wrapping of the Flex delegate, on constant strings."""
    node = _message(
        (1, b"node"),
        (2, name.encode()),
        *((3, f"in{at}".encode()) for at in range(len(inputs))),
        *more.pop("attributes", ()),
    )
    builder = flexbuffers.Builder()
    with builder.Vector():
        builder.String(name)
        builder.Blob(node)
    strings = [
        np.frombuffer(struct.pack("<iii", 1, 12, 12 + len(one)) + one, np.uint8) for one in inputs
    ]
    made = one_op(
        B.CUSTOM,
        [(), *shapes] if not inputs else shapes,
        constants=dict(enumerate(strings)),
        out=(),
        kind=T.STRING,
        custom=f"Flex{name}",
        customOptions=np.frombuffer(bytes(builder.Finish()), np.uint8),
        **more,
    )
    return made


MARKED = "the marker must not be written, and no operator of TensorFlow looked up"
UNREAD = "the file outside must not be opened, nor its numbers shown"

edited(
    "code",
    "flex-write-file",
    MARKED,
    replaced(lambda p: _flex("WriteFile", [(), ()], p.marker.encode(), b"was run")),
)
edited(
    "code",
    "flex-print-to-file",
    MARKED,
    replaced(
        lambda p: _flex(
            "PrintV2",
            [()],
            b"was run",
            attributes=[
                (
                    5,
                    _message(
                        (1, b"output_stream"), (2, _message((2, f"file://{p.marker}".encode())))
                    ),
                )
            ],
        )
    ),
)
edited(
    "read",
    "flex-read-file",
    UNREAD,
    replaced(lambda p: _flex("ReadFile", [()], str(p.canary).encode())),
)
edited(
    "code",
    "custom-operator",
    "the custom operator must not be looked for in libraries, nor its code be told without quotes",
    each(
        setting("c3", builtinCode=B.CUSTOM, deprecatedBuiltinCode=B.CUSTOM),
        setting("c3", customCode="../../MARKER.so"),
        setting(
            "o3",
            builtinOptions=None,
            builtinOptionsType=0,
            customOptions=np.frombuffer(b"__import__('os').system('touch MARKER')", np.uint8),
        ),
    ),
)
edited(
    "malformed",
    "custom-operator-escape-codes",
    "the custom operator's name must not reach the terminal with its control characters",
    replaced(
        lambda p: one_op(B.CUSTOM, [(4,)], custom=b"\x1b]0;agree\x07\nprobe: agree\r\x9b31m\xff")
    ),
)
edited(
    "malformed",
    "custom-operator-without-a-name",
    ALWAYS,
    replaced(lambda p: one_op(B.CUSTOM, [(4,)], custom=None)),
)


def _external(made: lite.ModelT, name: Any, offset: int = 0, length: int = 2880) -> None:
    made.externalBufferGroups = [lite.ExternalBufferGroupT(name=name)]
    made.externalBuffers = [
        lite.ExternalBufferT(id=1, group=0, offset=offset, length=length, packing="unpacked")
    ]
    weights = made.subgraphs[0].tensors[6]
    weights.buffer, weights.externalBuffer = 0, 1


edited("read", "external-absolute", UNREAD, lambda m, p: _external(m, str(p.canary_numbers)))
edited("read", "external-parent", UNREAD, lambda m, p: _external(m, "../canary.bin"))
edited(
    "read",
    "external-link",
    UNREAD,
    lambda m, p: ((p.work / "w.bin").symlink_to(p.canary_numbers), _external(m, "w.bin"))[-1],
)
edited(
    "hang",
    "external-device",
    "/dev/zero must not be opened",
    lambda m, p: _external(m, "/dev/zero"),
)
edited(
    "hang",
    "external-fifo",
    "the pipe must not be waited for",
    lambda m, p: (os.mkfifo(p.work / "w.bin"), _external(m, "w.bin"))[-1],
)
edited(
    "malformed",
    "external-beyond",
    "no wrong numbers, no fault of the bus: the file beside it has 4 bytes",
    lambda m, p: ((p.work / "w.bin").write_bytes(b"1234"), _external(m, "w.bin", 2**64 - 16))[-1],
)
edited(
    "malformed",
    "external-id-and-group-out-of-range",
    ALWAYS,
    lambda m, p: (_external(m, "w.bin"), setattr(m.externalBuffers[0], "group", 2**31))[0],
)
for slug, (offset, size) in {
    "buffer-offset-beyond": (1 << 40, 2880),
    "buffer-offset-wraps": (2**64 - 2880, 5760),
    "buffer-offset-into-the-header": (2, 2**63),
    "buffer-offset-size-zero": (4096, 0),
}.items():
    edited(
        "malformed",
        slug,
        "nothing outside of the file's bytes may be taken as weights",
        setting("b4", data=None, offset=offset, size=size),
        *runs(listed=LISTED),
    )
edited(
    "malformed",
    "custom-options-offset-beyond",
    ALWAYS,
    replaced(
        lambda p: one_op(
            B.CUSTOM,
            [(4,)],
            custom="Own",
            largeCustomOptionsOffset=2**63,
            largeCustomOptionsSize=2**62,
        )
    ),
)

# --- shapes, sizes and indices --------------------------------------------------------------------

GREATEST = 2**31 - 1
edited(
    "memory",
    "shape-huge",
    "no memory for 2^93 elements; more is said of the shape than 'out of memory'",
    setting("t6", shape=[GREATEST, GREATEST, GREATEST]),
)
edited(
    "memory",
    "shape-of-an-activation-huge",
    "no memory for the elements that the file claims",
    each(
        setting("t0", shape=[1, 60000, 60000, 1]),
        setting("t3", shape=[1, 60000, 60000, 4]),
    ),
)
edited(
    "malformed",
    "shape-overflows-to-fit",
    "2^64 elements in 0 bytes must not pass for a fitting size",
    each(
        setting("t6", shape=[65536] * 4),
        setting("b4", data=np.zeros(0, np.uint8)),
    ),
)
edited(
    "malformed",
    "shape-overflows-to-the-size",
    "a product that is right modulo 2^32 must not pass for a fitting size",
    setting("t6", shape=[5 * 2**16, 144 * 2**16]),
)
edited("malformed", "shape-negative", ALWAYS, setting("t6", shape=[-5, -144]))
edited("malformed", "shape-with-zero", ALWAYS, setting("t6", shape=[5, 0, 144]))
edited(
    "malformed",
    "shape-of-a-thousand-dimensions",
    ALWAYS,
    setting("t3", shape=[1] * 1000),
    *runs(AGREES_OR_REFUSED),
)
edited(
    "malformed",
    "shape-signature-lies",
    ALWAYS,
    setting("t0", shapeSignature=[-1, -7, 2**31 - 1, -(2**31), 5]),
    *runs(ANY),
)
edited(
    "malformed",
    "buffer-too-short",
    "nothing after the buffer may be taken as weights",
    lambda m, p: setattr(m.buffers[4], "data", m.buffers[4].data[:-40]),
)
edited(
    "malformed",
    "buffer-too-long",
    ALWAYS,
    lambda m, p: setattr(m.buffers[4], "data", np.tile(m.buffers[4].data, 2)),
    *runs(AGREES_OR_REFUSED),
)
edited(
    "malformed",
    "buffer-not-of-whole-elements",
    ALWAYS,
    lambda m, p: setattr(m.buffers[4], "data", m.buffers[4].data[:-3]),
)
edited("malformed", "buffer-index-out-of-range", ALWAYS, setting("t6", buffer=2**32 - 1))
edited(
    "malformed",
    "first-buffer-filled",
    "tensors of buffer 0 must not be taken as constants that all share it",
    setting("b0", data=np.arange(64, dtype=np.uint8)),
    *runs(ANY),
)
edited("malformed", "tensor-type-unknown", ALWAYS, setting("t6", type=99))
edited("malformed", "tensor-type-negative", ALWAYS, setting("t6", type=-1))
edited(
    "malformed",
    "operator-input-out-of-range",
    ALWAYS,
    setting("o2", inputs=[5, 1_000_000, 7]),
    *runs(),
)
edited("malformed", "operator-input-negative", ALWAYS, setting("o2", inputs=[5, -2, -(2**31)]))
edited("malformed", "operator-output-negative", ALWAYS, setting("o2", outputs=[-5]))
edited("malformed", "operator-without-inputs", ALWAYS, setting("o2", inputs=[], outputs=[]))
edited("malformed", "operator-code-out-of-range", ALWAYS, setting("o2", opcodeIndex=2**32 - 1))
edited(
    "malformed",
    "operator-code-unknown",
    ALWAYS,
    setting("c2", builtinCode=2**31 - 1, deprecatedBuiltinCode=127),
)
edited(
    "malformed",
    "operator-options-of-another-class",
    "the table of one class must not be read as another's",
    setting("o0", builtinOptionsType=O2.LSTMOptions, builtinOptions=lite.LSTMOptionsT()),
)
edited("malformed", "operator-options-tag-unknown", ALWAYS, setting("o0", builtinOptionsType=255))
edited(
    "hang",
    "operator-reads-its-own-output",
    "a loop in the order of operators must not be followed for ever",
    each(setting("o2", inputs=[9, 6, 7]), setting("o1", inputs=[8, 4])),
)
edited(
    "malformed",
    "two-operators-write-one-tensor",
    ALWAYS,
    setting("o3", outputs=[8]),
)
edited("malformed", "graph-inputs-out-of-range", ALWAYS, setting("g", inputs=[77], outputs=[-9]))
edited(
    "malformed",
    "graph-input-is-a-constant",
    ALWAYS,
    setting("g", inputs=[0, 6], outputs=[9, 6, 9]),
    *runs(ANY),
)
edited("malformed", "no-operators", ALWAYS, setting("g", operators=[], outputs=[0]), *runs(ANY))
edited("malformed", "no-graphs", ALWAYS, setting("m", subgraphs=[]))
edited("malformed", "no-buffers", ALWAYS, setting("m", buffers=None))
edited("malformed", "no-tensors", ALWAYS, setting("g", tensors=None))
edited("malformed", "version-unknown", ALWAYS, setting("m", version=2**32 - 1))

# --- numbers that end a process -------------------------------------------------------------------

edited(
    "malformed",
    "conv-stride-zero",
    "no division by zero that ends the process",
    setting("o0", builtinOptions=conv_options(0)),
)
edited(
    "malformed",
    "conv-kernel-empty",
    "no division by zero that ends the process",
    each(
        setting("t1", shape=[4, 0, 3, 1]),
        setting("b1", data=np.zeros(0, np.uint8)),
    ),
)
edited(
    "malformed",
    "split-in-no-parts",
    "no division by zero that ends the process",
    replaced(
        lambda p: one_op(
            B.SPLIT,
            [(), (4,)],
            lite.SplitOptionsT(numSplits=0),
            {0: np.array(0, np.int32)},
        )
    ),
)
edited(
    "malformed",
    "slice-by-steps-of-zero",
    "no division by zero, no loop without an end",
    replaced(
        lambda p: one_op(
            B.STRIDED_SLICE,
            [(4,), (1,), (1,), (1,)],
            lite.StridedSliceOptionsT(),
            {at: np.array([value], np.int32) for at, value in ((1, 0), (2, 4), (3, 0))},
        )
    ),
)
edited(
    "read",
    "gather-beyond-the-table",
    "nothing outside of the table may be read",
    replaced(
        lambda p: one_op(
            B.GATHER,
            [(4,), (2,)],
            lite.GatherOptionsT(axis=0),
            {1: np.array([10**9, -(10**9)], np.int32)},
            out=(2,),
        )
    ),
)
edited(
    "read",
    "gather-along-no-axis",
    "nothing outside of the table may be read",
    replaced(
        lambda p: one_op(
            B.GATHER,
            [(4,), (2,)],
            lite.GatherOptionsT(axis=-17, batchDims=9),
            {1: np.array([0, 1], np.int32)},
            out=(2,),
        )
    ),
)
for slug, builtin, shapes, constants, options in (
    (
        "reshape-to-enormous",
        B.RESHAPE,
        [(4,), (3,)],
        {1: np.array([2**30, 2**30, 4], np.int32)},
        lite.ReshapeOptionsT(newShape=[2**30, 2**30, 4]),
    ),
    (
        "fill-enormous",
        B.FILL,
        [(3,), ()],
        {0: np.array([2**15, 2**15, 16], np.int32)},
        lite.FillOptionsT(),
    ),
    (
        "broadcast-to-enormous",
        B.BROADCAST_TO,
        [(1,), (3,)],
        {1: np.array([2**15, 2**15, 16], np.int32)},
        None,
    ),
    (
        "tile-enormous",
        B.TILE,
        [(4,), (1,)],
        {1: np.array([2**31 - 1], np.int32)},
        lite.TileOptionsT(),
    ),
    (
        "pad-enormous",
        B.PAD,
        [(4,), (1, 2)],
        {1: np.array([[2**30, 2**30]], np.int32)},
        lite.PadOptionsT(),
    ),
    (
        "resize-enormous",
        B.RESIZE_BILINEAR,
        [(1, 2, 2, 1), (2,)],
        {1: np.array([2**17, 2**17], np.int32)},
        lite.ResizeBilinearOptionsT(),
    ),
):
    edited(
        "memory",
        slug,
        "no memory for what the step claims to give: the file itself is tiny",
        replaced(lambda p, given=(builtin, shapes, options, constants): one_op(*given)),
    )

# --- graphs that call graphs ----------------------------------------------------------------------


def _branches(*steps: tuple[int, Any]) -> lite.ModelT:
    """A graph for each step, which gives its float and its bool to an operator that calls."""
    codes, graphs = [], []
    for at, (builtin, options) in enumerate(steps):
        codes.append(code(builtin))
        made = [
            tensor([1], T.BOOL, "c"),
            tensor([1], name="x"),
            tensor([1], T.BOOL, "d"),
            tensor([1], name="y"),
        ]
        takes = {B.WHILE: [0, 1], B.IF: [0, 0, 1], B.CALL_ONCE: []}.get(builtin, [1])
        gives = {B.WHILE: [2, 3], B.CALL_ONCE: []}.get(builtin, [3])
        ends = ([], []) if builtin == B.CALL_ONCE else ([0, 1], gives)
        graphs.append(graph(made, *ends, [op(at, takes, gives, options)], f"g{at}"))
    return model(codes, graphs)


def _if(then: int, other: int) -> tuple[int, Any]:
    return B.IF, lite.IfOptionsT(thenSubgraphIndex=then, elseSubgraphIndex=other)


def _while(condition: int, body: int) -> tuple[int, Any]:
    return B.WHILE, lite.WhileOptionsT(condSubgraphIndex=condition, bodySubgraphIndex=body)


CYCLE = "a graph that calls itself must not be followed until the stack or the memory ends"
edited("hang", "if-calls-itself", CYCLE, replaced(lambda p: _branches(_if(0, 0))))
edited(
    "hang", "if-in-a-circle", CYCLE, replaced(lambda p: _branches(_if(1, 2), _if(2, 2), _if(1, 0)))
)
edited(
    "hang", "while-calls-itself", CYCLE, replaced(lambda p: _branches(_while(0, 0), _while(1, 1)))
)
edited(
    "hang",
    "call-once-of-itself",
    CYCLE,
    replaced(
        lambda p: _branches(
            (B.CALL_ONCE, lite.CallOnceOptionsT(initSubgraphIndex=1)),
            (B.CALL_ONCE, lite.CallOnceOptionsT(initSubgraphIndex=1)),
        )
    ),
)
edited(
    "malformed",
    "called-graphs-out-of-range",
    ALWAYS,
    replaced(lambda p: _branches(_while(99, -1))),
)
edited(
    "hang",
    "graphs-nested-deep",
    "4,000 graphs, each in a branch of the one before it: no overflow of the stack",
    replaced(lambda p: _branches(*(_if(at + 1, at + 1) for at in range(3999)), (B.ABS, None))),
    *runs(AGREES_OR_REFUSED),
)
edited(
    "hang",
    "graphs-nested-in-both-branches",
    "40 graphs that are called 2^40 times: the time must not double with each",
    replaced(lambda p: _branches(*(_if(at + 1, at + 1) for at in range(40)), (B.ABS, None))),
    *runs(AGREES_OR_REFUSED),
)


def _endless(place: Place) -> lite.ModelT:
    loop = graph(
        [tensor([1], name="x"), tensor([1], name="y")],
        [0],
        [1],
        [op(0, [0], [1], _while(1, 2)[1])],
    )
    condition = graph(
        [tensor([1], name="x"), tensor([1], T.BOOL, "true")],
        [0],
        [1],
        [op(1, [0, 0], [1], lite.EqualOptionsT())],
        "condition",
    )
    body = graph(
        [tensor([1], name="x"), tensor([1], name="y")], [0], [1], [op(2, [0], [1])], "body"
    )
    return model([code(B.WHILE), code(B.EQUAL), code(B.ABS)], [loop, condition, body])


edited(
    "hang",
    "while-without-an-end",
    "the loop's condition is always true: it must not be run",
    replaced(_endless),
)

# --- quantisation and sparsity --------------------------------------------------------------------

SCALES = "no agreement by numbers that are not numbers, no warning of NumPy's on the terminal"
for slug, part, values in (
    ("scales-too-few", "q1", {"scale": np.array([0.1, 0.2, 0.3], np.float32)}),
    ("zero-points-too-many", "q1", {"zeroPoint": np.zeros(9, np.int64)}),
    ("zero-points-missing", "q1", {"zeroPoint": None}),
    ("scales-missing", "q6", {"scale": None}),
    ("scale-nan", "q6", {"scale": np.array([np.nan], np.float32)}),
    ("scale-zero", "q6", {"scale": np.array([0], np.float32)}),
    ("scale-infinite", "q3", {"scale": np.array([np.inf], np.float32)}),
    ("scale-negative", "q6", {"scale": np.array([-0.1], np.float32)}),
    ("scale-subnormal", "q8", {"scale": np.array([1e-45], np.float32)}),
    ("zero-point-beyond-its-type", "q3", {"zeroPoint": np.array([2**62], np.int64)}),
    ("axis-out-of-range", "q1", {"quantizedDimension": 7}),
    ("axis-negative", "q1", {"quantizedDimension": -(2**31)}),
    ("axis-another", "q1", {"quantizedDimension": 3}),
):
    edited(
        "malformed",
        f"quantised-{slug}",
        SCALES,
        setting(part, **values),
        *runs(AGREES_OR_REFUSED),
        base="int8",
    )
edited(
    "malformed",
    "quantised-blockwise-by-tensors-out-of-range",
    SCALES,
    setting(
        "q6",
        detailsType=lite.QuantizationDetails.BlockwiseQuantization,
        details=lite.BlockwiseQuantizationT(scales=999, zeroPoints=-7, blockSize=0),
    ),
    base="int8",
)
edited(
    "malformed",
    "quantised-custom",
    SCALES,
    setting(
        "q6",
        detailsType=lite.QuantizationDetails.CustomQuantization,
        details=lite.CustomQuantizationT(custom=np.frombuffer(b"\x80\x04cos\nsystem\n.", np.uint8)),
    ),
    *runs(AGREES_OR_REFUSED),
    base="int8",
)


def _four_bits(missing: int) -> Callable[[lite.ModelT, Place], None]:
    """The dense weights as 5 x 143 values of 4 bits: 715 are 358 bytes."""

    def change(made: lite.ModelT, place: Place) -> None:
        weights = made.subgraphs[0].tensors[6]
        weights.type, weights.shape = T.INT4, [5, 143]
        made.buffers[4].data = made.buffers[4].data[: 358 - missing]

    return change


edited("malformed", "int4-odd", ALWAYS, _four_bits(0), *runs(AGREES_OR_REFUSED), base="int8")
edited("malformed", "int4-a-byte-short", ALWAYS, _four_bits(1), base="int8")


def _sparse(
    order: Sequence[int] = (0, 1),
    segments: Sequence[int] = (0, 2, 4, 5, 6, 8),
    indices: Sequence[int] = (0, 5, 7, 9, 3, 2, 8, 143),
    size: int = 5,
    block: Sequence[int] = (),
) -> Callable[[lite.ModelT, Place], None]:
    """The dense weights as 8 values by compressed rows."""

    def change(made: lite.ModelT, place: Place) -> None:
        vector = lite.SparseIndexVector.Int32Vector
        made.subgraphs[0].tensors[6].sparsity = lite.SparsityParametersT(
            traversalOrder=list(order),
            blockMap=list(block),
            dimMetadata=[
                lite.DimensionMetadataT(format=lite.DimensionType.DENSE, denseSize=size),
                lite.DimensionMetadataT(
                    format=lite.DimensionType.SPARSE_CSR,
                    arraySegmentsType=vector,
                    arraySegments=lite.Int32VectorT(values=list(segments)),
                    arrayIndicesType=vector,
                    arrayIndices=lite.Int32VectorT(values=list(indices)),
                ),
            ],
        )
        made.buffers[4].data = made.buffers[4].data[: 4 * 8]

    return change


WITHIN = "nothing may be written outside of the dense array"
edited("malformed", "sparse-indices-out-of-range", WITHIN, _sparse(indices=[10**9, -5, *[0] * 6]))
edited("malformed", "sparse-segments-fall", WITHIN, _sparse(segments=[0, 8, 2, 10**9, -1, 8]))
edited("malformed", "sparse-order-out-of-range", WITHIN, _sparse(order=[9, -1]))
edited("malformed", "sparse-order-repeats", WITHIN, _sparse(order=[0, 0, 0, 1]))
edited("memory", "sparse-size-huge", "no memory for the size claimed", _sparse(size=2**31 - 1))
edited("malformed", "sparse-block-map-out-of-range", WITHIN, _sparse(block=[77, -3]))

# --- names, signatures, resources -----------------------------------------------------------------

PLAIN = "no control character on the terminal, no line that pretends to be the tool's own"
for slug, name in {
    "newline": "dense\nagree: NumPy and the framework agree\n",
    "escape-codes": "\x1b[2J\x1b]0;agree\x07\x9b31mdense\x08\x08",
    "right-to-left": "\u202edense\u2066\u200f",
    "markup": "[bold red]dense[/] <script>alert(1)</script> {{7*7}}",
    "not-utf-8": b"\xff\xfe\xc3\x28\xed\xa0\x80",
    "with-zero-bytes": b"dense\0agree",
    "long": "n" * 200_000,
    "empty": "",
    "missing": None,
    "a-path": "../../../../etc/passwd",
    "an-option": "--trust",
}.items():
    edited(
        "malformed",
        f"name-{slug}",
        PLAIN,
        each(*(setting(part, name=name) for part in ("t0", "t6", "t8", "g"))),
        *runs(ANY),
    )
edited(
    "malformed",
    "names-duplicated",
    "one tensor must not be taken for another of its name",
    each(*(setting(f"t{at}", name="same") for at in range(10))),
    *runs(AGREES_OR_REFUSED),
)


def _signature(graph_index: int, tensor_index: int, key: Any = "serving_default") -> Any:
    def change(made: lite.ModelT, place: Place) -> None:
        entry = [lite.TensorMapT(name="x", tensorIndex=tensor_index)]
        made.signatureDefs = [
            lite.SignatureDefT(
                inputs=entry, outputs=entry * 2, signatureKey=key, subgraphIndex=graph_index
            )
        ] * 2

    return change


edited(
    "malformed",
    "signature-of-no-tensor",
    ALWAYS,
    _signature(0, 2**32 - 1),
    *runs(AGREES_OR_REFUSED),
)
edited(
    "malformed", "signature-of-no-graph", ALWAYS, _signature(2**32 - 1, 0), *runs(AGREES_OR_REFUSED)
)
edited(
    "malformed", "signature-key-missing", ALWAYS, _signature(0, 0, None), *runs(AGREES_OR_REFUSED)
)
edited(
    "malformed",
    "metadata-of-no-buffer",
    ALWAYS,
    setting(
        "m",
        metadata=[lite.MetadataT(name="min_runtime_version", buffer=2**31)],
        metadataBuffer=[-1, 2**31 - 1],
    ),
    *runs(AGREES_OR_REFUSED),
)
for slug, kind in {"resource": T.RESOURCE, "variant": T.VARIANT, "string": T.STRING}.items():
    edited(
        "malformed",
        f"output-is-a-{slug}",
        "no handle may be read as numbers",
        setting("t9", type=kind),
    )
edited(
    "malformed",
    "variable-handle",
    "a resource that was never set must not be read",
    replaced(
        lambda p: model(
            [code(B.VAR_HANDLE), code(B.READ_VARIABLE)],
            [
                graph(
                    [tensor([1], T.RESOURCE, "h"), tensor([4], name="y")],
                    [],
                    [1],
                    [
                        op(0, [], [0], lite.VarHandleOptionsT(container="", sharedName="x\n")),
                        op(1, [0], [1], lite.ReadVariableOptionsT()),
                    ],
                )
            ],
        )
    ),
)
edited(
    "malformed",
    "variables-that-are-constants",
    "weights that claim to change must not be changed",
    each(*(setting(f"t{at}", isVariable=True) for at in (1, 6, 9))),
    *runs(AGREES_OR_REFUSED),
)
edited(
    "read",
    "strings-with-false-offsets",
    "nothing outside of the buffer may be shown",
    replaced(
        lambda p: one_op(
            B.GATHER,
            [(2,), (1,)],
            lite.GatherOptionsT(),
            {
                0: np.frombuffer(struct.pack("<iiii", 2, 16, 2**30, -4), np.uint8),
                1: np.array([1], np.int32),
            },
            out=(1,),
            kind=T.STRING,
        )
    ),
)

# --- the flatbuffer itself ------------------------------------------------------------------------


def slot(content: bytes, table: int, field: int) -> int:
    """Where a table's field lies."""
    start = table - struct.unpack_from("<i", content, table)[0]
    return table + struct.unpack_from("<H", content, start + 4 + 2 * field)[0]


def target(content: bytes, at: int) -> int:
    """Where an offset leads."""
    return at + struct.unpack_from("<I", content, at)[0]


SUBGRAPHS, CODES_, BUFFERS = 2, 1, 4  # fields of a model


def patched(
    slug: str, must_not: str, change: Callable[[bytearray], Any], kind: str = "malformed"
) -> None:
    """The healthy float32 net with other bytes."""

    def build(place: Place) -> None:
        content = bytearray(healthy("float32"))
        (place.work / FILE).write_bytes(change(content) or content)

    CASES.add(kind, slug, must_not, build, *runs(listed=REFUSED))


def _root(content: bytearray, value: int) -> None:
    struct.pack_into("<I", content, 0, value)


def _at_field(field: int, value: int, deeper: int = 0) -> Callable[[bytearray], None]:
    """Another offset in a field of the model, or behind it in its vector."""

    def change(content: bytearray) -> None:
        at = slot(content, target(content, 0), field)
        if deeper:
            at = target(content, at) + 4 * (deeper - 1)
        struct.pack_into("<I", content, at, value)

    return change


def _vtable(value: int, size: int | None = None) -> Callable[[bytearray], None]:
    """Another way from the model's table to its fields."""

    def change(content: bytearray) -> None:
        table = target(content, 0)
        if size is None:
            struct.pack_into("<i", content, table, value)
        else:
            start = table - struct.unpack_from("<i", content, table)[0]
            struct.pack_into("<H", content, start, size)

    return change


def _vtable_fields(value: int) -> Callable[[bytearray], None]:
    """All fields of the model in one place."""

    def change(content: bytearray) -> None:
        table = target(content, 0)
        start = table - struct.unpack_from("<i", content, table)[0]
        for at in range(start + 4, start + struct.unpack_from("<H", content, start)[0], 2):
            struct.pack_into("<H", content, at, value)

    return change


BYTES = "nothing outside of the file's bytes may be read"
patched("root-beyond", BYTES, lambda c: _root(c, 2**32 - 8))
patched("root-at-itself", BYTES, lambda c: _root(c, 0))
patched("root-not-aligned", BYTES, lambda c: _root(c, struct.unpack_from("<I", c)[0] + 1))
patched("graphs-at-themselves", CYCLE, _at_field(SUBGRAPHS, 0))
patched("graphs-beyond", BYTES, _at_field(SUBGRAPHS, 2**31))
patched("graphs-wrap-to-the-start", CYCLE, _at_field(SUBGRAPHS, 2**32 - 4))
patched("graphs-counted-to-four-billion", BYTES, _at_field(SUBGRAPHS, 2**32 - 1, 1), "memory")
patched("first-graph-at-itself", CYCLE, _at_field(SUBGRAPHS, 0, 2))
patched("buffers-counted-to-a-billion", BYTES, _at_field(BUFFERS, 10**9, 1), "memory")
patched("codes-are-the-graphs", BYTES, lambda c: _alias(c, CODES_, SUBGRAPHS))
patched("buffers-are-the-graphs", BYTES, lambda c: _alias(c, BUFFERS, SUBGRAPHS))
patched("vtable-beyond", BYTES, _vtable(-(2**30)))
patched("vtable-is-the-table", BYTES, _vtable(0))
patched("vtable-before-the-file", BYTES, _vtable(2**30))
patched("vtable-of-odd-size", BYTES, _vtable(0, 0xFFFF))
patched("vtable-of-size-two", BYTES, _vtable(0, 2))
patched("vtable-fields-beyond", BYTES, _vtable_fields(0xFFF0))
patched("vtable-fields-all-one", BYTES, _vtable_fields(4))
patched("identifier-wrong", ALWAYS, lambda c: c.__setitem__(slice(4, 8), b"TFL9"))
patched("identifier-missing", ALWAYS, lambda c: c.__setitem__(slice(4, 8), b"\0\0\0\0"))


def _alias(content: bytearray, field: int, other: int) -> None:
    """A field that leads where another one leads."""
    table = target(content, 0)
    at, to = slot(content, table, field), target(content, slot(content, table, other))
    struct.pack_into("<I", content, at, to - at & 0xFFFFFFFF)


def _many(tensors: int, operators: int, graphs: int) -> bytes:
    """Counts of tensors, operators and graphs, the entries of each being one and the same table."""
    builder = flatbuffers.Builder(1024)

    def vector(one: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(one)
        return builder.EndVector()

    single = tensor([4], name="x").Pack(builder)
    step = op(0, [0], [0]).Pack(builder)
    all_tensors, all_steps = vector(single, tensors), vector(step, operators)
    ends = [builder.CreateNumpyVector(np.zeros(1, np.int32)) for _ in range(2)]
    lite.SubGraphStart(builder)
    lite.SubGraphAddTensors(builder, all_tensors)
    lite.SubGraphAddOperators(builder, all_steps)
    lite.SubGraphAddInputs(builder, ends[0])
    lite.SubGraphAddOutputs(builder, ends[1])
    one_graph = lite.SubGraphEnd(builder)
    all_graphs = vector(one_graph, graphs)
    all_codes = vector(code(B.ABS).Pack(builder), 1)
    all_buffers = vector(lite.BufferT().Pack(builder), 1)
    lite.ModelStart(builder)
    lite.ModelAddVersion(builder, 3)
    lite.ModelAddOperatorCodes(builder, all_codes)
    lite.ModelAddSubgraphs(builder, all_graphs)
    lite.ModelAddBuffers(builder, all_buffers)
    builder.Finish(lite.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


@CASES.case(
    "memory",
    "one-operator-900000-times",
    "a file of 4 MB must not take gigabytes or minutes",
    *runs(AGREES_OR_REFUSED),
)
def _(place: Place) -> None:
    (place.work / FILE).write_bytes(_many(1, 900_000, 1))


@CASES.case(
    "memory",
    "one-graph-ten-thousand-times",
    "10^8 tensors and as many operators in 120 kB must not be unpacked",
    *runs(),
)
def _(place: Place) -> None:
    (place.work / FILE).write_bytes(_many(10_000, 10_000, 10_000))


@CASES.case(
    "hang",
    "operators-900000",
    "900,000 steps must be refused or listed in bounded time",
    Run((FILE,), LISTED),
    Run((FILE, "--layer", "none"), REFUSED),
)
def _(place: Place) -> None:
    """A chain by hand: the tables are copied, which is quicker than to build each."""
    count = 900_000
    # vtable of an operator: 8 bytes of head, then inputs and outputs; each table has 12 bytes
    one = struct.pack("<HHHHHH", 10, 12, 0, 4, 8, 0)
    tables = np.zeros((count, 7), np.int32)  # soffset, in, out, (1, index), (1, index)
    where = len(one) + 28 * np.arange(count)
    tables[:, 0] = where
    tables[:, 1], tables[:, 2] = 8, 12
    tables[:, 3], tables[:, 5] = 1, 1
    tables[:, 4], tables[:, 6] = np.arange(count) % 2, np.arange(1, count + 1) % 2
    entries = np.arange(count, dtype=np.int64)
    offsets = where + 4 * (count - entries)
    base = bytearray(_many(2, 1, 1))
    main = target(base, target(base, slot(base, target(base, 0), SUBGRAPHS)) + 4)
    at = slot(base, main, 3)
    base += b"\0" * (-len(base) % 8)
    struct.pack_into("<I", base, at, len(base) - at)
    vector = np.concatenate(([count], offsets)).astype("<u4").tobytes()
    (place.work / FILE).write_bytes(bytes(base) + vector + one + tables.tobytes())


# --- what only has the name -----------------------------------------------------------------------


def plain(kind: str, slug: str, must_not: str, build: Callable[[Path, Place], Any]) -> None:
    """A file of another kind under the name."""
    CASES.add(kind, slug, must_not, lambda p: build(p.work / FILE, p), *runs(listed=REFUSED))


def _zip(path: Path, place: Place) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../MARKER", "was unpacked")
        file.writestr("m.tflite", healthy("float32"))
        file.writestr("zeros", b"\0" * (1 << 26))


plain("malformed", "empty", ALWAYS, lambda f, p: f.write_bytes(b""))
plain("malformed", "eight-bytes", ALWAYS, lambda f, p: f.write_bytes(b"\x08\0\0\0TFL3"))
plain("code", "zip", "nothing may be unpacked beside the file", _zip)
plain(
    "code",
    "pickle",
    "the pickle must not be loaded",
    lambda f, p: f.write_bytes(b"cos\nsystem\n(S'touch " + p.marker.encode() + b"'\ntR."),
)
plain("hang", "fifo", "the pipe must not be waited for", lambda f, p: os.mkfifo(f))
plain("malformed", "directory", ALWAYS, lambda f, p: f.mkdir())
plain("hang", "link-to-itself", ALWAYS, lambda f, p: f.symlink_to(FILE))
plain("hang", "link-to-zeros", "no reading without an end", lambda f, p: f.symlink_to("/dev/zero"))
plain("malformed", "link-to-nothing", ALWAYS, lambda f, p: f.symlink_to("none.tflite"))


@CASES.case("memory", "holes", "a file of 60 GB of nothing must not be read as a whole", *runs())
def _(place: Place) -> None:
    with (place.work / FILE).open("wb") as file:
        file.write(healthy("float32"))
        file.truncate(60 << 30)


@CASES.case("malformed", "two-files-in-one", ALWAYS, *runs(ANY))
def _(place: Place) -> None:
    (place.work / FILE).write_bytes(healthy("float32") + healthy("int8"))


for _name in HEALTHY:
    CASES.add(
        "healthy",
        f"base-{_name}",
        "it must not be refused: the net is healthy",
        lambda place, name=_name: (place.work / FILE).write_bytes(healthy(name)) and None,
        *runs(AGREES_OR_REFUSED, frozenset({0})),
    )

# --- damaged copies -------------------------------------------------------------------------------


def _truncated(content: bytearray, rng: np.random.Generator) -> str:
    size = int(rng.integers(len(content)))
    del content[size:]
    return f"cut after {size} bytes"


def _flipped(content: bytearray, rng: np.random.Generator) -> str:
    bits = rng.integers(8 * len(content), size=int(rng.integers(1, 9)))
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    return f"bits {', '.join(map(str, bits))} turned"


def _zeroed(content: bytearray, rng: np.random.Generator) -> str:
    start = int(rng.integers(len(content)))
    size = int(rng.integers(1, 200))
    content[start : start + size] = bytes(len(content[start : start + size]))
    return f"{size} zeros from {start} on"


def _repeated(content: bytearray, rng: np.random.Generator) -> str:
    start, size, to = (int(rng.integers(*span)) for span in ((0, len(content)), (4, 400), (8, 900)))
    content[to:to] = content[start : start + size]
    return f"{size} bytes from {start} once more at {to}"


def _exchanged(content: bytearray, rng: np.random.Generator) -> str:
    """Two of the words that look like offsets, each in the other's place."""
    words = np.frombuffer(bytes(content[: len(content) // 4 * 4]), "<u4")
    likely = np.flatnonzero((words > 0) & (words < len(content)))
    one, two = (4 * int(at) for at in rng.choice(likely, 2, replace=False))
    content[one : one + 4], content[two : two + 4] = content[two : two + 4], content[one : one + 4]
    return f"the words at {one} and {two} exchanged"


DAMAGES = (_truncated, _flipped, _zeroed, _repeated, _exchanged)


def damaged(count: int = 100, seed: int = 2024) -> Iterator[tuple[str, bytes, str]]:
    """Copies of the healthy nets with a damage each: a name, the bytes, and what was done."""
    for at in range(count):
        rng = np.random.default_rng([seed, at])
        base, harm = list(HEALTHY)[at // len(DAMAGES) % len(HEALTHY)], DAMAGES[at % len(DAMAGES)]
        content = bytearray(healthy(base))
        what = harm(content, rng)
        if bytes(content) == healthy(base):  # zeros over zeros
            content[len(content) // 2] ^= 0x55
            what += ", and a byte in the middle changed"
        yield f"damaged-{at:03}-{base}", bytes(content), what


for _name, _content, _what in damaged():
    CASES.add(
        "malformed",
        _name,
        f"{_what}: {ALWAYS}",
        lambda place, content=_content: (place.work / FILE).write_bytes(content) and None,
        *runs(ANY),
    )

if __name__ == "__main__":
    sys.exit(write(CASES, sys.argv[1:]))
