"""The header of a GGUF file: what is listed, and what is refused before anything is decoded."""

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf_files import converted, tensors_of, write
from probe.adapters import list_file

from probe.errors import CannotOpen


def test_listed_from_the_header_alone(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.gguf", converted(tensors_of("mixtral"), "mixtral"), "mixtral", "Q4_0"
    )
    listing = list_file(path)
    assert listing is not None
    found = {layer.name: (layer.kind, layer.output_shape) for layer in listing.layers}
    assert found["blk.0.ffn_up_exps.weight"] == ("Q4_0", (4, 96, 64))
    assert found["output_norm.weight"] == ("F32", (64,))


def _text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


def _entry(key: str, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


_ARCHITECTURE = _entry("general.architecture", 8, _text("llama"))


def _tensor(name: str, shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return _text(name) + axes + struct.pack("<IQ", kind, offset)


def _file(entries: list[bytes], tensors: list[bytes], data: int = 128, counts: int = 0) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors) + counts, len(entries))
    head += b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % 32 + data)


BROKEN = {
    "two keys": (_file([_ARCHITECTURE] * 2, []), "stands there twice"),
    "two tensors": (_file([], [_tensor("a"), _tensor("a")]), "two tensors are named 'a'"),
    "overlap": (_file([], [_tensor("a"), _tensor("b", offset=32)], 256), "overlap"),
    "outside": (_file([], [_tensor("a", offset=32)]), "does not lie within"),
    "huge": (_file([], [_tensor("a", (1 << 40, 1 << 40))]), "does not lie within"),
    "empty": (_file([], [_tensor("a", (0,))]), "does not lie within"),
    "no axes": (_file([], [_tensor("a", ())]), "has 0 axes"),
    "no whole blocks": (_file([], [_tensor("a", (33,), 8)]), "no multiple of the 32"),
    "another type": (_file([], [_tensor("a", kind=999)]), "has the type 999"),
    "more tensors than there are": (_file([], [_tensor("a")], 0, 7), "bytes are to follow"),
    "a long array": (_file([_entry("x", 9, struct.pack("<IQ", 4, 1 << 60))], []), "an array of"),
    "arrays of arrays": (_file([_entry("x", 9, struct.pack("<IQ", 9, 1))], []), "array of arrays"),
    "a long key": (_file([struct.pack("<Q", 1 << 62)], []), "bytes of a key"),
    "no text": (_file([struct.pack("<Q", 2) + b"\xff\xfe"], []), "not UTF-8"),
    "alignment": (_file([_entry("general.alignment", 4, struct.pack("<I", 0))], []), "alignment"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "version 1": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
    "cut off": (b"GGUF\x03", "bytes are to follow"),
    "parts": (_file([_entry("split.count", 4, struct.pack("<I", 3))], []), "one of 3 files"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_damaged_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(CannotOpen, match=words) as refused:
        list_file(path)
    assert "\n" not in str(refused.value)


def test_a_split_model_is_read_as_one(tmp_path: Path) -> None:
    split = _entry("split.count", 4, struct.pack("<I", 2))
    first, second = (tmp_path / f"a-0000{place}-of-00002.gguf" for place in (1, 2))
    first.write_bytes(_file([_ARCHITECTURE, split], [_tensor("a")]))
    with pytest.raises(CannotOpen, match=r"a-00002-of-00002\.gguf is missing"):
        list_file(first)
    second.write_bytes(_file([split], [_tensor("b")]))
    listing = list_file(first)
    assert listing is not None
    assert [layer.name for layer in listing.layers] == ["a", "b"]
    second.write_bytes(_file([split], [_tensor("a")]))
    with pytest.raises(CannotOpen, match="both hold the tensor 'a'"):
        list_file(first)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    arrays = {"output_norm.weight": np.ones(32, np.float32)}
    whole = write(tmp_path / "whole.gguf", arrays, "llama").read_bytes()
    path = tmp_path / "a.gguf"
    for length in range(4, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CannotOpen):
            list_file(path)
