"""Hostile and damaged GGUF files.

Written from the format's description alone, without a look at how the tool reads such files. A
small healthy file is written by `gguf.GGUFWriter` (`healthy`); the cases take it apart into its
header, its keys, what it says of its tensors and their data, change one of these, and put the
parts together again. After them follow 32 copies with damages that were drawn.
"""

import functools
import json
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from hostile.case import AGREES_OR_REFUSED, ANY, LISTED, REFUSED, Place, Run
from outside_form import ALWAYS, Cases, write

FILE = "m.gguf"
CASES = Cases("gguf")
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
SIZES = {U8: 1, I8: 1, U16: 2, I16: 2, U32: 4, I32: 4, F32: 4, BOOL: 1, U64: 8, I64: 8, F64: 8}
KINDS = (Q.F32, Q.F16, Q.BF16, Q.Q8_0, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1)


def runs(listed: frozenset[int] = LISTED, checked: frozenset[int] = ANY) -> tuple[Run, ...]:
    """The file listed, and all that can be checked in it."""
    return Run((FILE,), listed), Run((FILE, "--all"), checked)


BAD = runs(REFUSED, REFUSED)

# --- the healthy file, and its parts --------------------------------------------------------------


@functools.cache
def healthy(order: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE) -> bytes:
    """A llama of one layer, whose matrices are of eight types."""
    rng = np.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        made = gguf.GGUFWriter(path, "llama", endianess=order)
        made.add_name("tiny")
        made.add_context_length(64)
        made.add_embedding_length(32)
        made.add_block_count(1)
        made.add_feed_forward_length(64)
        made.add_head_count(4)
        made.add_head_count_kv(2)
        made.add_layer_norm_rms_eps(1e-5)
        made.add_vocab_size(8)
        made.add_tokenizer_model("llama")
        made.add_token_list([f"t{at}" for at in range(8)])
        made.add_token_scores([0.0] * 8)
        made.add_token_types([1] * 8)
        shapes = {
            "token_embd.weight": (8, 32),
            "blk.0.attn_q.weight": (32, 32),
            "blk.0.attn_k.weight": (16, 32),
            "blk.0.attn_v.weight": (16, 32),
            "blk.0.attn_output.weight": (32, 32),
            "blk.0.ffn_gate.weight": (64, 32),
            "blk.0.ffn_up.weight": (64, 32),
            "blk.0.ffn_down.weight": (32, 64),
            "blk.0.attn_norm.weight": (32,),
            "blk.0.ffn_norm.weight": (32,),
            "output_norm.weight": (32,),
            "output.weight": (8, 32),
        }
        for at, (name, shape) in enumerate(shapes.items()):
            value = rng.normal(size=shape).astype(np.float32)
            kind = Q.F32 if len(shape) == 1 else KINDS[at % len(KINDS)]
            made.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        made.write_header_to_file()
        made.write_kv_data_to_file()
        made.write_tensors_to_file()
        made.close()
        return path.read_bytes()


@dataclass
class Tensor:
    """What the file says of a tensor, and its bytes."""

    name: bytes
    sizes: list[int]
    kind: int
    offset: int
    data: bytes = b""


@dataclass
class Parts:
    """A file taken apart; `keys` are triples of a name, a type and the bytes of a value."""

    keys: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    magic: bytes = b"GGUF"
    version: int = 3
    tensor_count: int | None = None
    key_count: int | None = None
    alignment: int = 32
    order: str = "<"
    tail: bytes = b""


def text(value: bytes | str, length: int | None = None) -> bytes:
    """A string of the format, with a length that may be false."""
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content) if length is None else length) + content


def array(kind: int, content: bytes, count: int) -> bytes:
    """An array's bytes."""
    return struct.pack("<IQ", kind, count) + content


def _value_end(content: bytes, at: int, kind: int) -> int:
    if kind == STRING:
        return at + 8 + struct.unpack_from("<Q", content, at)[0]
    if kind == ARRAY:
        inner, count = struct.unpack_from("<IQ", content, at)
        at += 12
        for _ in range(count):
            at = _value_end(content, at, inner)
        return at
    return at + SIZES[kind]


def apart(content: bytes) -> Parts:
    """The parts of a healthy file."""
    _, version, tensors, keys = struct.unpack_from("<4sIQQ", content)
    made, at = Parts(version=version), 24

    def string() -> bytes:
        nonlocal at
        length = struct.unpack_from("<Q", content, at)[0]
        at += 8 + length
        return content[at - length : at]

    for _ in range(keys):
        name = string()
        kind = struct.unpack_from("<I", content, at)[0]
        end = _value_end(content, at + 4, kind)
        made.keys.append((name, kind, content[at + 4 : end]))
        at = end
    for _ in range(tensors):
        name = string()
        count = struct.unpack_from("<I", content, at)[0]
        sizes = list(struct.unpack_from(f"<{count}Q", content, at + 4))
        kind, offset = struct.unpack_from("<IQ", content, at + 4 + 8 * count)
        made.tensors.append(Tensor(name, sizes, kind, offset))
        at += 4 + 8 * count + 12
    data = content[at + -at % 32 :]
    ends = [one.offset for one in made.tensors[1:]] + [len(data)]
    for one, end in zip(made.tensors, ends, strict=True):
        one.data = data[one.offset : end]
    return made


def together(parts: Parts) -> bytes:
    """The bytes of a file; nothing is checked."""
    order = parts.order
    made = bytearray(parts.magic + struct.pack(f"{order}I", parts.version))
    tensors = len(parts.tensors) if parts.tensor_count is None else parts.tensor_count
    keys = len(parts.keys) if parts.key_count is None else parts.key_count
    made += struct.pack(f"{order}QQ", tensors, keys)
    for name, kind, value in parts.keys:
        made += text(name) + struct.pack(f"{order}I", kind) + value
    for one in parts.tensors:
        made += text(one.name) + struct.pack(f"{order}I", len(one.sizes))
        made += struct.pack(f"{order}{len(one.sizes)}Q", *one.sizes)
        made += struct.pack(f"{order}IQ", one.kind, one.offset)
    made += bytes(-len(made) % parts.alignment)
    return bytes(made) + b"".join(one.data for one in parts.tensors) + parts.tail


def add(
    kind: str,
    slug: str,
    must_not: str,
    change: Callable[[Parts], Any],
    *commands: Run,
) -> None:
    """A case by a change to the parts; it may give bytes in their place."""

    def build(place: Place) -> None:
        parts = apart(healthy())
        made = change(parts)
        content = made if isinstance(made, bytes) else together(parts)
        (place.work / FILE).write_bytes(content)

    CASES.add(kind, slug, must_not, build, *(commands or BAD))


def setting(**values: Any) -> Callable[[Parts], None]:
    """Other fields of the header."""

    def change(parts: Parts) -> None:
        for name, value in values.items():
            setattr(parts, name, value)

    return change


def tensor(index: int, **values: Any) -> Callable[[Parts], None]:
    """Another entry of a tensor."""

    def change(parts: Parts) -> None:
        for name, value in values.items():
            setattr(parts.tensors[index], name, value)

    return change


def key(name: str, kind: int, value: bytes, at: int | None = None) -> Callable[[Parts], None]:
    """One more key, or another value of one that the file has."""

    def change(parts: Parts) -> None:
        found = [i for i, one in enumerate(parts.keys) if one[0] == name.encode()]
        entry = (name.encode(), kind, value)
        if found and at is None:
            parts.keys[found[0]] = entry
        else:
            parts.keys.insert(len(parts.keys) if at is None else at, entry)

    return change


def each(*changes: Callable[[Parts], Any]) -> Callable[[Parts], None]:
    """One change after another."""

    def change(parts: Parts) -> None:
        for one in changes:
            one(parts)

    return change


# --- the header -----------------------------------------------------------------------------------

BOUNDED = "no memory and no time for what the file claims to hold"
INSIDE = "nothing outside of the tensor's own bytes may be taken as weights"
PLAIN = "no control character on the terminal, no line that pretends to be the tool's own"

add("malformed", "magic-wrong", ALWAYS, setting(magic=b"GGUX"))
add("malformed", "magic-of-older-files", ALWAYS, setting(magic=b"ggjt"))
add("malformed", "version-0", ALWAYS, setting(version=0))
add("malformed", "version-1", "32-bit counts must not be read as 64-bit ones", setting(version=1))
add("malformed", "version-4", ALWAYS, setting(version=4))
add("malformed", "version-huge", ALWAYS, setting(version=2**32 - 1))
add(
    "malformed",
    "version-of-big-endian-alone",
    "little-endian numbers must not be read as big-endian ones",
    setting(version=0x03000000),
)
add("malformed", "version-2", ALWAYS, setting(version=2), *runs())
add(
    "malformed",
    "big-endian",
    "numbers must not be read in the wrong order",
    lambda p: healthy(gguf.GGUFEndian.BIG),
    *runs(),
)
add("malformed", "big-endian-in-part", ALWAYS, setting(order=">"))
add("memory", "tensors-counted-to-2-63", BOUNDED, setting(tensor_count=2**63))
add("memory", "tensors-counted-to-2-40", BOUNDED, setting(tensor_count=2**40))
add("malformed", "tensors-one-too-many", INSIDE, setting(tensor_count=13), *runs())
add(
    "malformed",
    "tensors-one-too-few",
    INSIDE,
    setting(tensor_count=11),
    *runs(),
)
add(
    "malformed", "tensors-none", ALWAYS, each(setting(tensor_count=0), setting(tensors=[])), *runs()
)
add("memory", "keys-counted-to-2-63", BOUNDED, setting(key_count=2**63))
add("memory", "keys-counted-to-minus-1", BOUNDED, setting(key_count=2**64 - 1))
add("malformed", "keys-one-too-few", ALWAYS, lambda p: setting(key_count=len(p.keys) - 1)(p))
add("malformed", "keys-none", ALWAYS, setting(keys=[]), *runs())
for size in (0, 3, 4, 8, 20, 24, 31):
    add("malformed", f"cut-after-{size}", ALWAYS, lambda p, size=size: healthy()[:size])

# --- keys -----------------------------------------------------------------------------------------


def _first_key(length: int, content: bytes = b"general.architecture") -> Callable[[Parts], bytes]:
    """The first key's name claims another length."""

    def change(parts: Parts) -> bytes:
        made = bytearray(together(parts))
        struct.pack_into("<Q", made, 24, length)
        return bytes(made)

    return change


add("memory", "key-length-huge", BOUNDED, _first_key(2**62))
add("memory", "key-length-wraps", BOUNDED, _first_key(2**64 - 8))
add("malformed", "key-length-of-a-gigabyte", BOUNDED, _first_key(2**30))
add("malformed", "key-empty", ALWAYS, key("", U32, b"\1\0\0\0"), *runs())
add("malformed", "key-long", PLAIN, key("k" * 200_000, U32, b"\1\0\0\0"), *runs())
add(
    "malformed",
    "key-with-escape-codes",
    PLAIN,
    key("\x1b[2J\x1b]0;agree\x07\nprobe: agree\u202e", STRING, text("\x9b31m\r\n")),
    *runs(),
)
add(
    "malformed",
    "key-not-utf-8",
    ALWAYS,
    lambda p: p.keys.append((b"\xff\xfe\xc3\x28", STRING, text(b"\xed\xa0\x80"))),
    *runs(),
)
add("malformed", "key-type-unknown", ALWAYS, key("a.b", 13, b"\0" * 8))
add("malformed", "key-type-huge", ALWAYS, key("a.b", 2**32 - 1, b"\0" * 8))
add("memory", "value-string-length-huge", BOUNDED, key("a.b", STRING, text("x", 2**61)))
add("malformed", "value-bool-of-77", ALWAYS, key("a.b", BOOL, b"\x4d"), *runs())
add("memory", "array-counted-to-2-60", BOUNDED, key("a.b", ARRAY, array(U8, b"", 2**60)))
add("memory", "array-counted-to-wrap", BOUNDED, key("a.b", ARRAY, array(U64, b"", 2**61)))
add("memory", "array-of-strings-counted", BOUNDED, key("a.b", ARRAY, array(STRING, b"", 2**50)))
add("malformed", "array-of-unknown", ALWAYS, key("a.b", ARRAY, array(99, b"\0" * 8, 8)))
add(
    "memory",
    "array-of-unknown-of-no-size",
    "a loop of 2^60 rounds that read nothing must not be run",
    key("a.b", ARRAY, array(99, b"", 2**60)),
)
add("malformed", "array-empty", ALWAYS, key("a.b", ARRAY, array(STRING, b"", 0)), *runs())


def _nested(depth: int, count: int = 1) -> bytes:
    made = array(U8, b"\1" * count, count)
    for _ in range(depth):
        made = array(ARRAY, made * count, count)
    return made


add(
    "hang",
    "arrays-nested-20000-deep",
    "the stack must not overflow",
    key("a.b", ARRAY, struct.pack("<IQ", ARRAY, 1) * 20_000 + array(U8, b"\1", 1)),
    *runs(),
)
add(
    "hang",
    "arrays-nested-without-an-end",
    "the stack must not overflow",
    lambda p: together(setting_in(p, key_count=2**20)) + struct.pack("<IQ", ARRAY, 1) * 300_000,
)
add("memory", "arrays-nested-by-eights", ALWAYS, key("a.b", ARRAY, _nested(5, 8)), *runs())
add(
    "memory",
    "array-of-a-million-empty-strings",
    "8 MB in the file must not become gigabytes",
    key("a.b", ARRAY, array(STRING, bytes(8 * 1_000_000), 1_000_000)),
    *runs(),
)
add(
    "memory",
    "array-of-a-million-empty-arrays",
    "12 MB in the file must not become gigabytes",
    key("a.b", ARRAY, array(ARRAY, struct.pack("<IQ", U8, 0) * 1_000_000, 1_000_000)),
    *runs(),
)
add(
    "memory",
    "keys-100000",
    "the time and the memory must be bounded",
    lambda p: p.keys.extend((b"k%06d" % at, U8, b"\0") for at in range(100_000)),
    *runs(),
)
add(
    "memory",
    "string-of-30-megabytes",
    "the value must not be printed as a whole",
    key("general.description", STRING, text("x" * 30_000_000)),
    *runs(),
)


def setting_in(parts: Parts, **values: Any) -> Parts:
    """Like `setting`, and gives the parts."""
    setting(**values)(parts)
    return parts


add(
    "malformed",
    "key-twice",
    ALWAYS,
    key("llama.block_count", U32, struct.pack("<I", 7), at=0),
    *runs(),
)
add(
    "malformed",
    "architecture-twice",
    ALWAYS,
    key("general.architecture", STRING, text("gemma"), at=0),
    *runs(),
)


def _without(name: str) -> Callable[[Parts], None]:
    return lambda p: p.keys.remove(next(one for one in p.keys if one[0] == name.encode()))


def number(value: int) -> bytes:
    """A U32's bytes."""
    return struct.pack("<I", value)


ARCHITECTURE = "general.architecture"
add("malformed", "architecture-missing", ALWAYS, _without(ARCHITECTURE), *runs())
add("malformed", "architecture-is-a-number", ALWAYS, key(ARCHITECTURE, U32, number(5)), *runs())
add(
    "malformed",
    "architecture-unknown",
    PLAIN,
    key(ARCHITECTURE, STRING, text("\x1b[31mllama\nprobe: agree")),
    *runs(),
)
add(
    "malformed",
    "architecture-is-a-path",
    "no file may be looked for by the architecture's name",
    key(ARCHITECTURE, STRING, text("../../../../etc/passwd")),
    *runs(),
)
add(
    "code",
    "architecture-is-a-module",
    "no module may be imported by the architecture's name",
    key(ARCHITECTURE, STRING, text("os.system")),
    *runs(),
)
for slug, (name, value) in {
    "layers-huge": ("llama.block_count", 2**32 - 1),
    "layers-none": ("llama.block_count", 0),
    "heads-none": ("llama.attention.head_count", 0),
    "heads-not-a-divisor": ("llama.attention.head_count", 7),
    "heads-huge": ("llama.attention.head_count", 2**31),
    "kv-heads-none": ("llama.attention.head_count_kv", 0),
    "width-none": ("llama.embedding_length", 0),
    "width-huge": ("llama.embedding_length", 2**32 - 1),
    "context-huge": ("llama.context_length", 2**32 - 1),
    "vocabulary-huge": ("llama.vocab_size", 2**32 - 1),
}.items():
    add("memory", f"key-{slug}", BOUNDED, key(name, U32, number(value)), *runs())
add(
    "malformed",
    "key-heads-by-layer-too-many",
    ALWAYS,
    key("llama.attention.head_count_kv", ARRAY, array(I32, struct.pack("<9i", *range(-4, 5)), 9)),
    *runs(),
)
add(
    "malformed",
    "key-epsilon-nan",
    ALWAYS,
    key("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", float("nan"))),
    *runs(),
)
add(
    "malformed",
    "key-file-type-unknown",
    ALWAYS,
    key("general.file_type", U32, number(2**31)),
    *runs(),
)
add(
    "malformed",
    "tokens-not-utf-8",
    PLAIN,
    key(
        "tokenizer.ggml.tokens",
        ARRAY,
        array(STRING, b"".join(text(b"\xff\x1b[31m\n" + bytes([at])) for at in range(8)), 8),
    ),
    *runs(),
)
add(
    "code",
    "chat-template-with-code",
    "the template must not be run",
    key(
        "tokenizer.chat_template",
        STRING,
        text("{{ cycler.__init__.__globals__.os.system('touch ../MARKER') }}"),
    ),
    *runs(),
)
add(
    "read",
    "urls-and-paths-in-keys",
    "nobody may be asked and no file read for what the keys name",
    each(
        key("general.source.url", STRING, text("http://127.0.0.1:9/model.gguf")),
        key("general.base_model.0.repo_url", STRING, text("file:///etc/passwd")),
        key("tokenizer.huggingface.json", STRING, text("../canary.txt")),
    ),
    *runs(),
)

# --- alignment ------------------------------------------------------------------------------------

for slug, value in {
    "0": number(0),
    "1": number(1),
    "7": number(7),
    "2-31": number(2**31),
    "4294967295": number(2**32 - 1),
}.items():
    add(
        "malformed",
        f"alignment-{slug}",
        "no division by zero, no seeking beyond the file",
        key("general.alignment", U32, value),
        *(runs() if slug == "1" else BAD),
    )
add(
    "malformed",
    "alignment-64-where-the-data-has-32",
    INSIDE,
    each(key("general.alignment", U32, number(4096)), setting(tail=bytes(8192))),
    *runs(),
)
add(
    "malformed",
    "alignment-is-a-string",
    ALWAYS,
    key("general.alignment", STRING, text("32")),
)
add(
    "malformed",
    "alignment-negative",
    ALWAYS,
    key("general.alignment", I32, struct.pack("<i", -32)),
)
add(
    "malformed",
    "alignment-is-an-array",
    ALWAYS,
    key("general.alignment", ARRAY, array(U32, number(32), 1)),
)
add(
    "malformed",
    "alignment-of-64-bits",
    ALWAYS,
    key("general.alignment", U64, struct.pack("<Q", 2**63)),
)

# --- tensors --------------------------------------------------------------------------------------

add("malformed", "offset-beyond", INSIDE, tensor(1, offset=2**40))
add("malformed", "offset-at-the-end", INSIDE, lambda p: tensor(1, offset=_length(p))(p))
add("malformed", "offset-wraps", INSIDE, tensor(1, offset=2**64 - 32))
add("malformed", "offset-wraps-into-the-keys", INSIDE, tensor(1, offset=2**64 - 1024))
add("malformed", "offset-beyond-63-bits", INSIDE, tensor(1, offset=2**63))
add("malformed", "offset-not-aligned", INSIDE, tensor(8, offset=33))
add(
    "malformed",
    "offsets-overlap",
    "two tensors of the same bytes must be told, not be taken for healthy",
    lambda p: tensor(6, offset=p.tensors[5].offset)(p),
    *runs(),
)
add(
    "malformed",
    "offsets-overlap-by-half",
    "tensors that share bytes must be told, not be taken for healthy",
    lambda p: tensor(6, offset=p.tensors[6].offset - 64)(p),
    *runs(),
)


def _length(parts: Parts) -> int:
    return sum(len(one.data) for one in parts.tensors)


add("malformed", "dimensions-none", ALWAYS, tensor(8, sizes=[]), *runs())
add("malformed", "dimensions-zero", ALWAYS, tensor(1, sizes=[32, 0]), *runs())
add("malformed", "dimensions-5", ALWAYS, tensor(1, sizes=[32, 32, 1, 1, 1]), *runs())
add("memory", "dimensions-100000", ALWAYS, tensor(1, sizes=[1] * 100_000), *runs())


def _dimension_count(count: int) -> Callable[[Parts], bytes]:
    """The first tensor claims to have more dimensions than there are bytes."""

    def change(parts: Parts) -> bytes:
        made = bytearray(together(parts))
        at = made.index(b"token_embd.weight") + len(b"token_embd.weight")
        struct.pack_into("<I", made, at, count)
        return bytes(made)

    return change


def _name_length(length: int) -> Callable[[Parts], bytes]:
    def change(parts: Parts) -> bytes:
        made = bytearray(together(parts))
        struct.pack_into("<Q", made, made.index(b"token_embd.weight") - 8, length)
        return bytes(made)

    return change


add("memory", "dimensions-counted-to-4294967295", BOUNDED, _dimension_count(2**32 - 1))
add("memory", "name-length-huge", BOUNDED, _name_length(2**62))
add("memory", "name-length-wraps", BOUNDED, _name_length(2**64 - 1))
add("memory", "elements-2-60", BOUNDED, tensor(8, sizes=[2**60]))
add("memory", "elements-2-60-by-sizes", BOUNDED, tensor(1, sizes=[2**30, 2**30]))
add("malformed", "elements-wrap-to-zero", INSIDE, tensor(8, sizes=[2**32, 2**32]))
add("malformed", "elements-wrap-to-fit", INSIDE, tensor(8, sizes=[32, 2**59 + 1, 2**5]))
add("malformed", "bytes-wrap-to-fit", INSIDE, tensor(8, sizes=[2**62 + 32]))
add("malformed", "sizes-negative", ALWAYS, tensor(8, sizes=[2**64 - 32]))
add("malformed", "size-not-of-whole-blocks", INSIDE, tensor(3, sizes=[31, 16]))
add("malformed", "size-less-than-a-block", INSIDE, tensor(4, sizes=[1, 1024]))
add("malformed", "sizes-too-great-by-one", INSIDE, lambda p: tensor(11, sizes=[32, 9])(p))
add("malformed", "sizes-too-small", ALWAYS, tensor(1, sizes=[32, 31]), *runs())
add("malformed", "sizes-exchanged", ALWAYS, tensor(5, sizes=[64, 32]), *runs())
add("malformed", "type-unknown", ALWAYS, tensor(1, kind=1000))
add("malformed", "type-huge", ALWAYS, tensor(1, kind=2**32 - 1))
for kind in (4, 5, 36, 37, 38):
    add("malformed", f"type-removed-{kind}", ALWAYS, tensor(1, kind=kind))
add("malformed", "type-float64-of-float32", INSIDE, tensor(10, kind=28), *runs())
add("malformed", "type-super-blocks", INSIDE, tensor(3, kind=int(Q.Q4_K)))
add(
    "malformed",
    "type-without-a-dequantiser",
    "what cannot be dequantised must be told, not guessed",
    lambda p: each(
        tensor(1, kind=int(Q.Q8_K), sizes=[256, 4]),
        lambda q: setattr(q.tensors[1], "data", b"\1" * 2048),
        _laid_out,
    )(p),
    *runs(),
)


def _laid_out(parts: Parts) -> None:
    """The offsets of tensors that follow one another."""
    at = 0
    for one in parts.tensors:
        one.data += bytes(-len(one.data) % 32)
        one.offset = at
        at += len(one.data)


for slug, name in {
    "empty": b"",
    "not-utf-8": b"\xff\xfe\xc3\x28",
    "escape-codes": b"\x1b[2J\x1b]0;agree\x07\nprobe: agree\xe2\x80\xae",
    "long": b"n" * 200_000,
    "with-zero-bytes": b"blk.0\0.attn_q.weight",
    "a-path": b"../../../../etc/passwd",
    "an-option": b"--trust",
    "markup": b"[bold red]x[/] <script>alert(1)</script> {{7*7}}",
    "of-layer-2-40": b"blk.1099511627776.attn_q.weight",
    "of-layer-minus-1": b"blk.-1.attn_q.weight",
    "of-layer-in-other-digits": "blk.٣.attn_q.weight".encode(),
}.items():
    add("malformed", f"name-{slug}", PLAIN, tensor(1, name=name), *runs())
add(
    "malformed",
    "name-twice",
    "one of two tensors of a name must not be taken without a word",
    tensor(2, name=b"blk.0.attn_q.weight"),
    *runs(),
)
add(
    "memory",
    "tensors-100000",
    "the time and the memory must be bounded",
    lambda p: p.tensors.extend(Tensor(b"t%06d" % at, [1], 0, 0) for at in range(100_000)),
    *runs(),
)
add(
    "memory",
    "tensors-that-share-100-megabytes",
    "1,000 tensors of the same 100 MB must not be held at once",
    lambda p: (
        p.tensors.extend(
            Tensor(b"blk.%d.ffn_more.weight" % at, [32, 786_432], 0, 0) for at in range(1000)
        ),
        setting(tail=bytes(100_663_296))(p),
        None,
    )[-1],
    *runs(),
)

# --- numbers --------------------------------------------------------------------------------------


def _scales(index: int, size: int, scale: bytes) -> Callable[[Parts], None]:
    """Another scale in each block of a quantised tensor."""

    def change(parts: Parts) -> None:
        content = bytearray(parts.tensors[index].data)
        for at in range(0, len(content) - size + 1, size):
            content[at : at + len(scale)] = scale
        parts.tensors[index].data = bytes(content)

    return change


def _half(value: float) -> bytes:
    return np.float16(value).tobytes()


QUIET = "no warning of NumPy's on the terminal, and no agreement by numbers that are not numbers"
add("malformed", "scales-nan", QUIET, _scales(3, 34, _half(np.nan)), *runs())
add("malformed", "scales-infinite", QUIET, _scales(3, 34, _half(np.inf)), *runs())
add("malformed", "scales-negative", QUIET, _scales(4, 18, _half(-0.5)), *runs())
add("malformed", "scales-zero", QUIET, _scales(4, 18, _half(0)), *runs())
add("malformed", "scales-greatest", QUIET, _scales(5, 20, _half(65504) * 2), *runs())
add("malformed", "least-nan", QUIET, _scales(7, 24, _half(1) + _half(np.nan)), *runs())
add(
    "malformed",
    "weights-nan",
    QUIET,
    lambda p: tensor(8, data=np.full(32, np.nan, np.float32).tobytes())(p),
    *runs(),
)
add(
    "malformed",
    "weights-signalling-nan",
    QUIET,
    lambda p: tensor(8, data=b"\x01\x00\x80\x7f" * 32)(p),
    *runs(),
)
add(
    "malformed",
    "weights-all-infinite-halves",
    QUIET,
    lambda p: tensor(1, data=b"\x00\x7c" * 1024)(p),
    *runs(),
)

# --- more than one file, and other files ----------------------------------------------------------


def files(
    kind: str, slug: str, must_not: str, build: Callable[[Path, Place], Any], *commands: Run
) -> None:
    """A case that writes its files itself."""
    CASES.add(kind, slug, must_not, lambda p: build(p.work / FILE, p), *(commands or BAD))


def _split(count: int, index: int = 0, tensors: int = 12) -> Callable[[Parts], None]:
    return each(
        key("split.no", U16, struct.pack("<H", index)),
        key("split.count", U16, struct.pack("<H", count)),
        key("split.tensors.count", I32, struct.pack("<i", tensors)),
    )


add("malformed", "split-of-which-the-rest-is-missing", ALWAYS, _split(2, tensors=24), *runs())
add("memory", "split-in-65535", "65,535 names must not be tried", _split(65535), *runs())
add("malformed", "split-in-none", ALWAYS, _split(0), *runs())
add("malformed", "split-number-beyond", ALWAYS, _split(2, 9, -5), *runs())
add(
    "read",
    "split-count-is-a-path",
    "no file may be looked for by the key's text",
    key("split.count", STRING, text("../../canary.bin")),
    *runs(),
)

SPLIT = "m-00001-of-00002.gguf"
SPLIT_RUNS = (Run((SPLIT,), LISTED), Run((SPLIT, "--all"), ANY))


def _two(second: Callable[[Path, Place], Any]) -> Callable[[Path, Place], None]:
    """The first of two files, and what lies in the second one's place."""

    def build(path: Path, place: Place) -> None:
        parts = apart(healthy())
        _split(2, 0, 24)(parts)
        path.with_name(SPLIT).write_bytes(together(parts))
        second(path.with_name("m-00002-of-00002.gguf"), place)

    return build


def _second(**values: Any) -> Callable[[Path, Place], None]:
    def build(path: Path, place: Place) -> None:
        parts = apart(healthy())
        _split(2, 1, 24)(parts)
        for at, one in enumerate(parts.tensors):
            one.name = values.get("names", b"blk.1.%d") % at
        if "arch" in values:
            key(ARCHITECTURE, STRING, text(values["arch"]))(parts)
        path.write_bytes(together(parts))

    return build


files(
    "read",
    "split-second-is-a-link",
    "nothing outside of the folder may be read",
    _two(lambda f, p: f.symlink_to(p.canary_numbers)),
    *SPLIT_RUNS,
)
files(
    "hang",
    "split-second-is-a-fifo",
    "the pipe must not be waited for",
    _two(lambda f, p: os.mkfifo(f)),
    *SPLIT_RUNS,
)
files(
    "hang",
    "split-second-is-the-first",
    ALWAYS,
    _two(lambda f, p: f.symlink_to(SPLIT)),
    *SPLIT_RUNS,
)
files(
    "malformed",
    "split-second-of-another-model",
    "tensors of another architecture must not be mixed in",
    _two(_second(arch="gemma")),
    *SPLIT_RUNS,
)
files(
    "malformed",
    "split-second-has-the-same-names",
    "one of two tensors of a name must not be taken without a word",
    _two(lambda f, p: f.write_bytes(healthy())),
    *SPLIT_RUNS,
)
files("malformed", "empty", ALWAYS, lambda f, p: f.write_bytes(b""))
files("hang", "fifo", "the pipe must not be waited for", lambda f, p: os.mkfifo(f))
files("malformed", "directory", ALWAYS, lambda f, p: f.mkdir())
files("hang", "link-to-itself", ALWAYS, lambda f, p: f.symlink_to(FILE))
files("hang", "link-to-zeros", "no reading without an end", lambda f, p: f.symlink_to("/dev/zero"))
files(
    "code",
    "pickle",
    "the pickle must not be loaded",
    lambda f, p: f.write_bytes(b"cos\nsystem\n(S'touch " + p.marker.encode() + b"'\ntR."),
)


def _safetensors(path: Path, place: Place) -> None:
    head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"\0\0\0\0")


files("malformed", "safetensors-by-this-name", ALWAYS, _safetensors, *runs())


def _holes(path: Path, place: Place) -> None:
    parts = apart(healthy())
    parts.tensors.append(Tensor(b"blk.0.huge.weight", [2**17, 2**17], 0, 0))
    parts.tensors[-1].offset = _length(parts)
    path.write_bytes(together(parts))
    os.truncate(path, path.stat().st_size + (2**34 << 2))


files(
    "memory",
    "holes-of-64-gigabytes",
    "a tensor of 64 GB of zeros that take no room on the disk must not be read as a whole",
    _holes,
    *runs(),
)


def _modules(path: Path, place: Place) -> None:
    path.write_bytes(healthy())
    for name in ("gguf", "numpy", "sitecustomize", "transformers"):
        path.with_name(f"{name}.py").write_text(
            f"open({place.marker!r}, 'w').close()\n", encoding="utf-8"
        )


files("code", "modules-beside", "no module may be imported from the folder", _modules, *runs())
files(
    "healthy",
    "base",
    "it must not be refused when it is listed",
    lambda f, p: f.write_bytes(healthy()),
    *runs(frozenset({0}), AGREES_OR_REFUSED),
)
files(
    "healthy",
    "base-taken-apart",
    "it must not be refused when it is listed",
    lambda f, p: f.write_bytes(together(apart(healthy()))),
    *runs(frozenset({0}), AGREES_OR_REFUSED),
)

# --- damaged copies -------------------------------------------------------------------------------


def damaged(at: int, seed: int = 99) -> bytes:
    """A copy of the healthy file with a damage, by its number."""
    rng = np.random.default_rng([seed, at])
    content = bytearray(healthy())
    # most of the damages lie before the data
    head = content.index(b"output.weight") + 60
    start = int(rng.integers(24, head if at % 4 else len(content)))
    size = int(rng.integers(1, 64))
    match at % 5:
        case 0:
            del content[start:]
        case 1:
            for bit in rng.integers(8 * start, 8 * start + 256, 3):
                content[bit // 8] ^= 1 << bit % 8
        case 2:
            content[start : start + size] = bytes(len(content[start : start + size]))
        case 3:
            content[start:start] = content[start : start + size]
        case 4:
            content[start : start + 8] = b"\xff" * 8
    return bytes(content)


for _at in range(32):
    files(
        "malformed",
        f"damaged-{_at:02}",
        ALWAYS,
        lambda f, p, at=_at: f.write_bytes(damaged(at)),
        *runs(),
    )

if __name__ == "__main__":
    sys.exit(write(CASES, sys.argv[1:]))
