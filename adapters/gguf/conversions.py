"""What llama.cpp's converter makes of a tensor of each architecture.

Read in llama.cpp's convert_hf_to_gguf.py and its package ``conversion`` (``modify_tensors`` of each
class), and held against files that ``gguf`` writes in tests.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from probe.model_comparison.weight_files import Other, StoredRows

from ..gguf_header import GgufFile
from . import row_views

__all__ = ["Conversion", "HeadCounts", "conversion", "heads_of"]

_PERMUTED = frozenset(
    "llama deci granite granitemoe minicpm internlm2 xverse baichuan olmo deepseek bailingmoe "
    "llada arcee smollm3 mistral3".split()
)
"""Architectures whose rotation takes neighbours, where Hugging Face's takes halves."""
_AS_IN_A = frozenset(
    "qwen qwen2 qwen2moe qwen3 qwen3moe qwen3next gemma gemma2 gemma3 gemma3n gemma-embedding phi2 "
    "phi3 phimoe gpt2 gptj gptneox gpt-oss falcon stablelm starcoder starcoder2 olmo2 olmoe bert "
    "nomic-bert mpt bloom llama4 apertus command-r cohere2 glm4 nemotron dbrx deepseek2 lfm2 mamba "
    "mamba2 jamba t5 t5encoder exaone4 jais codeshell orion refact".split()
)
"""Architectures whose rows of q and k stay as they are."""
_NORM_PLUS_ONE = frozenset("gemma gemma2 gemma3 gemma-embedding nemotron qwen3next".split())
"""Architectures whose norms multiply by 1 + weight in Hugging Face and by weight in llama.cpp."""
_TRANSPOSED = frozenset(("gpt2", "jais"))
"""Architectures whose matrices are Conv1D's, (in, out)."""
_CONV1D = re.compile(r"(attn_qkv|attn_output|ffn_up|ffn_gate|ffn_down)\.weight$")
_INTERLEAVED = frozenset(("bloom", "gptneox"))
"""Architectures whose fused rows are q, k and v of each head in turn."""


class HeadCounts(NamedTuple):
    """How many heads the queries, and the keys, have."""

    queries: int
    keys: int


class Conversion(NamedTuple):
    """What a tensor should hold, and what it may hold by mistake."""

    expected: StoredRows | None
    others: tuple[Other, ...]
    unknown: str = ""
    """Why it is not certain: ``expected`` is None, or what differs from it may be right."""


def heads_of(file: GgufFile, config: Mapping[str, Any]) -> HeadCounts:
    """As config.json says, or else the file."""
    text = config.get("text_config", config)
    queries = _first_number(text, ("num_attention_heads", "n_head", "n_heads"))
    queries = queries or _number(file.of_architecture("attention.head_count"))
    keys = _first_number(text, ("num_key_value_heads", "num_kv_heads", "n_head_kv"))
    if not config:
        keys = _number(file.of_architecture("attention.head_count_kv"))
    return HeadCounts(queries, keys or queries)


def _first_number(config: Any, names: tuple[str, ...]) -> int:
    if not isinstance(config, Mapping):
        return 0
    return next((found for name in names if (found := _number(config.get(name)))), 0)


def _number(value: Any) -> int:
    if isinstance(value, int) and 0 < value < 1 << 20:
        return value
    return 0


def conversion(
    name: str, rows: StoredRows, turned: StoredRows | None, architecture: str, heads: HeadCounts
) -> Conversion:
    """What becomes of A's ``rows`` under the name ``name`` of the file; ``turned`` are its columns
    as rows where it is a matrix."""
    found = _known(name, rows, turned, architecture, heads)
    if architecture in _PERMUTED | _AS_IN_A or found.unknown:
        return found
    why = (
        f"what a converter makes of {name.rpartition('.')[0]} for {architecture} is not known here"
    )
    return found._replace(unknown=why)


def _known(
    name: str, rows: StoredRows, turned: StoredRows | None, architecture: str, heads: HeadCounts
) -> Conversion:
    part = name.rpartition(".")[0].rpartition(".")[2]
    if part in ("attn_q", "attn_k"):
        return _rotated(
            rows, architecture, heads.queries if part == "attn_q" else heads.keys, heads
        )
    if part == "attn_qkv" and architecture in _INTERLEAVED:
        return _of_heads_in_turn(rows, heads.queries)
    if part == "attn_qkv" and architecture == "falcon":
        return _of_groups(rows, heads)
    if part.endswith("norm") and part != "ssm_norm":
        return _norm(rows, architecture, name.endswith(".bias"))
    if name.endswith("ssm_a"):
        expected = row_views.computed(rows, lambda values: -np.exp(values))
        return Conversion(expected, (Other("it holds A_log, not -exp(A_log)", rows),))
    if architecture in _TRANSPOSED and _CONV1D.search(name) and turned is not None:
        words = "it is not transposed: Conv1D keeps (in, out), ggml wants (out, in)"
        moved = "it has the shape of A's transposed, and A's numbers in their own order"
        reshaped = row_views.reshaped(rows, turned)
        return Conversion(turned, (Other(words, rows), Other(moved, reshaped)))
    if part == "attn_qkv" and architecture in _AS_IN_A and turned is not None:
        return Conversion(rows, tuple(_rotated_in_part(rows, heads)))
    others = () if turned is None else (Other("it is transposed", turned),)
    return Conversion(rows, others)


def _rotated(rows: StoredRows, architecture: str, count: int, heads: HeadCounts) -> Conversion:
    """StoredRows of q or k."""
    permuted = dict(_permutations(rows, heads))
    known = architecture in _PERMUTED or architecture in _AS_IN_A
    if not known:
        why = (
            f"whether the rows of q and k of {architecture} are put in another order for RoPE is "
            "not known here"
        )
        return Conversion(None, (), why)
    if architecture in _AS_IN_A:
        words = f"its rows are permuted for RoPE, which {architecture} does not want"
        found = [Other(f"{words}: {how}", permuted[how]) for how in permuted]
        return Conversion(rows, tuple(found))
    mine = f"for {count} heads"
    if mine not in permuted:
        why = f"its {rows.count} rows are no multiple of two times its {count} heads"
        return Conversion(None, (), why)
    others = [
        Other(
            f"its rows are as in A: {architecture} wants them permuted for RoPE, "
            "halves of each head in turn",
            rows,
        ),
        *(
            Other(f"its rows are permuted for RoPE {how}, not {mine}", view)
            for how, view in permuted.items()
            if how != mine
        ),
    ]
    return Conversion(permuted[mine], tuple(others))


def _rotated_in_part(rows: StoredRows, heads: HeadCounts) -> Iterator[Other]:
    """A fused q, k and v whose rows of q and k are permuted."""
    total = heads.queries + 2 * heads.keys
    if not heads.keys or rows.count % (2 * total):
        return
    size = rows.count // total
    order = np.arange(rows.count)
    ends = (0, heads.queries * size, (heads.queries + heads.keys) * size)
    for (first, last), count in zip(pairwise(ends), heads, strict=True):
        part = order[first:last].reshape(count, 2, -1).swapaxes(1, 2)
        order[first:last] = part.ravel().copy()
    words = "its rows of q and k are permuted for RoPE, which this architecture does not want"
    yield Other(words, row_views.gathered(rows, order))


def _permutations(rows: StoredRows, heads: HeadCounts) -> Iterator[tuple[str, StoredRows]]:
    """The rows with the halves of each head in turn, for either number of heads and others, and
    what else the same formula gives."""
    view = rows
    count, columns = _places(rows)
    sizes = dict.fromkeys((heads.queries, heads.keys, heads.queries // max(heads.keys, 1), 1))
    for number in sizes:
        if not number or count % (2 * number):
            continue
        order = np.arange(count).reshape(number, 2, -1).swapaxes(1, 2).ravel()
        yield f"for {number} heads", _in_order(view, order, columns)
    for number in dict.fromkeys((heads.queries, heads.keys)):
        if not number or count % (2 * number):
            continue
        order = np.arange(count).reshape(number, 2, -1).swapaxes(1, 2).ravel()
        yield f"twice, for {number} heads", _in_order(view, order[order], columns)
        yield f"backwards, for {number} heads", _in_order(view, np.argsort(order), columns)


def _places(rows: StoredRows) -> tuple[int, bool]:
    """How many rows a matrix has; how many numbers a bias, which is one row, and that it is one."""
    if rows.count == 1:
        return rows.width, True
    return rows.count, False


def _in_order(rows: StoredRows, order: np.ndarray, columns: bool) -> StoredRows:
    if columns:
        return row_views.reordered(rows, order)
    return row_views.gathered(rows, order)


def _of_heads_in_turn(rows: StoredRows, heads: int) -> Conversion:
    """q, k and v of every head to all of q, all of k, all of v."""
    return _regrouped(rows, heads, (1, 1, 1))


def _of_groups(rows: StoredRows, heads: HeadCounts) -> Conversion:
    """Falcon's groups: the queries of a group, its key and its value."""
    return _regrouped(rows, heads.keys, (heads.queries // max(heads.keys, 1), 1, 1))


def _regrouped(rows: StoredRows, groups: int, parts: tuple[int, int, int]) -> Conversion:
    count, columns = _places(rows)
    if not groups or count % (groups * sum(parts)):
        why = f"its {count} rows are not those of {groups} groups of {sum(parts)} heads"
        return Conversion(None, (), why)
    places = np.arange(count).reshape(groups, sum(parts), -1)
    ends = np.cumsum(parts)[:-1]
    order = np.concatenate([part.ravel() for part in np.split(places, ends, axis=1)])
    words = "its rows are as in A, q, k and v of each head in turn: all of q, then k, then v is due"
    return Conversion(_in_order(rows, order, columns), (Other(words, rows),))


def _norm(rows: StoredRows, architecture: str, bias: bool) -> Conversion:
    def more(by: float) -> StoredRows:
        return row_views.computed(rows, lambda values: values + by)

    if architecture not in _NORM_PLUS_ONE or bias:
        words = f"1 is added to it, which {architecture} does not want"
        return Conversion(rows, (Other(words, more(1)),))
    words = f"the 1 that {architecture}'s norms add to their weight is left out"
    return Conversion(more(1), (Other(words, rows), Other("1 is added to it twice", more(2))))
