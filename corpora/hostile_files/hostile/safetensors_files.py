""".safetensors files."""

import json
from collections.abc import Callable

from hostile import bases
from hostile.bases import safetensors
from hostile.case import AGREES_OR_REFUSED, LISTED, REFUSED, Place, Run, add

WHOLE = {
    "shape-swapped",
    "dtype-bool",
    "dtype-fp8",
    "header-of-sixty-megabytes",
    "missing-tensor",
    "same-key-twice",
    "name-escape-codes",
    "name-long",
    "twenty-thousand-names",
}
"""The files that safetensors reads: parameters alone are listed as a table."""


def _tensors(
    kind: str, slug: str, content: bytes | Callable[[Place], bytes], allowed=REFUSED
) -> None:
    def build(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        (place.work / "m.safetensors").write_bytes(content(place) if callable(content) else content)

    add(
        "safetensors",
        kind,
        slug,
        build,
        Run(("m.safetensors",), LISTED if slug in WHOLE else REFUSED),
        Run(("m.safetensors", "--all", *bases.FACTORY), allowed),
    )


def _header(**changes: object) -> dict:
    return {
        "fc.weight": {**bases.STATE_HEADER["fc.weight"], **changes},
        "fc.bias": bases.STATE_HEADER["fc.bias"],
    }


DATA_ = bases.STATE_DATA
for slug, changes in {
    "shape-huge": {"shape": [2**40, 2**40]},
    "shape-beyond-uint64": {"shape": [2**70]},
    "shape-overflows-to-fit": {"shape": [2**62, 2**62, 3, 4]},
    "shape-negative": {"shape": [-3, -4]},
    "shape-float": {"shape": [3.0, 4.0]},
    "shape-text": {"shape": "3,4"},
    "shape-null": {"shape": None},
    "shape-swapped": {"shape": [4, 3]},
    "shape-too-small": {"shape": [3, 3]},
    "dtype-unknown": {"dtype": "F33"},
    "dtype-number": {"dtype": 4},
    "dtype-null": {"dtype": None},
    "dtype-other-size": {"dtype": "F64"},
    "dtype-bool": {"dtype": "BOOL", "shape": [48]},
    "dtype-fp8": {"dtype": "F8_E4M3", "shape": [48]},
    "offsets-beyond": {"data_offsets": [0, 2**40]},
    "offsets-negative": {"data_offsets": [-48, 0]},
    "offsets-backwards": {"data_offsets": [48, 0]},
    "offsets-three": {"data_offsets": [0, 48, 48]},
    "offsets-one": {"data_offsets": [0]},
    "offsets-text": {"data_offsets": "0:48"},
    "offsets-float": {"data_offsets": [0.0, 48.0]},
    "offsets-overlap": {"data_offsets": [12, 60]},
    "offsets-beyond-uint64": {"data_offsets": [2**64, 2**64 + 48]},
}.items():
    _tensors(
        "memory" if "huge" in slug or "overflow" in slug or "beyond" in slug else "malformed",
        slug,
        safetensors(_header(**changes), DATA_),
    )
for slug, content in {
    "header-says-exabytes": safetensors(b"{}", size=2**60),
    "header-says-minus-one": safetensors(b"{}", size=2**64 - 1),
    "header-says-three-gib": safetensors(b"{}", size=3 * 2**30),
    "header-a-little-long": safetensors(
        bases.STATE_HEADER, DATA_, size=len(json.dumps(bases.STATE_HEADER)) + 7
    ),
    "header-of-sixty-megabytes": lambda place: safetensors(
        json.dumps({**bases.STATE_HEADER, "__metadata__": {"a": "b" * 60_000_000}}).encode(), DATA_
    ),
}.items():
    _tensors("memory", slug, content, AGREES_OR_REFUSED if "sixty" in slug else REFUSED)
for slug, content in {
    "header-empty": safetensors(b""),
    "header-not-json": safetensors(b"{nonsense"),
    "header-list": safetensors(b"[]"),
    "header-null": safetensors(b"null"),
    "header-number": safetensors(b"1"),
    "header-deep": safetensors(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "header-deep-list": safetensors(b"[" * 500_000 + b"]" * 500_000),
    "header-not-utf-8": safetensors(b'{"\xff\xfe": {}}'),
    "header-nan": safetensors(b'{"a": NaN}'),
    "entry-null": safetensors({"fc.weight": None}, DATA_),
    "entry-list": safetensors({"fc.weight": [1, 2]}, DATA_),
    "entry-number": safetensors({"fc.weight": 7}, DATA_),
    "entry-empty": safetensors({"fc.weight": {}}, DATA_),
    "metadata-list": safetensors({**bases.STATE_HEADER, "__metadata__": [1]}, DATA_),
    "metadata-nested": safetensors({**bases.STATE_HEADER, "__metadata__": {"a": {"b": 1}}}, DATA_),
    "no-tensors": safetensors({}),
    "missing-tensor": safetensors({"fc.weight": bases.STATE_HEADER["fc.weight"]}, DATA_[:48]),
    "data-missing": safetensors(bases.STATE_HEADER),
    "data-cut": safetensors(bases.STATE_HEADER, DATA_[:-9]),
    "data-too-long": safetensors(bases.STATE_HEADER, DATA_ + bytes(100)),
    "same-key-twice": safetensors(
        b'{"fc.bias":{"dtype":"F32","shape":[3],"data_offsets":[48,60]},"fc.weight":'
        + json.dumps(bases.STATE_HEADER["fc.weight"]).encode()
        + b',"fc.weight":{"dtype":"F32","shape":[1,12],"data_offsets":[0,48]}}',
        DATA_,
    ),
    "length-cut": b"\x10\x00\x00",
    "eight-zeros": bytes(8),
    "is-pickle": bases.pickle_(b"}"),
}.items():
    _tensors("malformed", slug, content)
_tensors(
    "malformed",
    "name-escape-codes",
    safetensors(
        {
            **bases.STATE_HEADER,
            "\x1b[31magree\x1b[0m\r\n\x07": {
                "dtype": "F32",
                "shape": [1],
                "data_offsets": [60, 64],
            },
        },
        DATA_ + bytes(4),
    ),
)
_tensors(
    "malformed",
    "name-long",
    safetensors(
        {
            **bases.STATE_HEADER,
            "a" * 100_000: {"dtype": "F32", "shape": [1], "data_offsets": [60, 64]},
        },
        DATA_ + bytes(4),
    ),
)
_tensors(
    "malformed",
    "twenty-thousand-names",
    safetensors(
        {
            **bases.STATE_HEADER,
            **{
                f"n{i}": {"dtype": "F32", "shape": [1], "data_offsets": [60 + 4 * i, 64 + 4 * i]}
                for i in range(20_000)
            },
        },
        DATA_ + bytes(80_000),
    ),
)
_tensors(
    "code",
    "pickle-behind-the-ending",
    lambda place: bases.pickle_(
        bases.call_(bases.name_("builtins", "open"), bases.text_(place.marker), bases.text_("w"))
    ),
)
