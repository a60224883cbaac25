"""Names that other engines give the values of a transformer, and the modules that these stand for.

llama.cpp names a value and the block (``attn_norm-0``, in ``llama_context::graph_get_cb``); its
tools write these names, with ``.`` or ``_`` in the place of ``-`` where a file system asks for it.
"""

import re
from collections.abc import Collection

__all__ = ["block_of", "is_rotated", "module_of"]

_ROTATED = ("Qcur", "Kcur")
_OF_A_BLOCK = {
    "attn_norm": ("input_layernorm", "ln_1", "attention_norm"),
    "Qcur": ("self_attn.q_proj", "attn.q_proj"),
    "Kcur": ("self_attn.k_proj", "attn.k_proj"),
    "Vcur": ("self_attn.v_proj", "attn.v_proj"),
    "Qcur_normed": ("self_attn.q_norm", "self_attn.q_layernorm"),
    "Kcur_normed": ("self_attn.k_norm", "self_attn.k_layernorm"),
    "wqkv": ("self_attn.qkv_proj", "attn.c_attn", "attention.query_key_value"),
    "kqv_out": ("self_attn.o_proj", "attn.c_proj", "attention.dense"),
    "attn_out": ("self_attn.o_proj", "attn.c_proj", "attention.dense"),
    "attn_post_norm": ("post_attention_layernorm", "post_self_attn_layernorm"),
    "ffn_norm": ("pre_feedforward_layernorm", "post_attention_layernorm", "ln_2", "ffn_norm"),
    "ffn_post_norm": ("post_feedforward_layernorm", "post_mlp_layernorm"),
    "ffn_gate": ("mlp.gate_proj",),
    "ffn_up": ("mlp.up_proj", "mlp.c_fc", "mlp.dense_h_to_4h"),
    "ffn_out": ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h"),
    "ffn_moe_logits": ("mlp.gate", "mlp.router", "block_sparse_moe.gate"),
    "ffn_moe_out": ("mlp.experts", "block_sparse_moe"),
    "l_out": ("",),
}
"""The ends of the names of modules within a block, by llama.cpp's name for what they give."""
_OF_THE_MODEL = {
    "inp_embd": ("embed_tokens", "wte", "word_embeddings"),
    "result_norm": ("model.norm", "ln_f", "final_layernorm"),
    "result_output": ("lm_head", "embed_out"),
}
_NUMBERED = re.compile(r"(.+?)[-._](\d+)")
_BLOCK = re.compile(r"(?:^|.*\.)(?:layers|h|blocks)\.(\d+)")
_WITHIN = re.compile(_BLOCK.pattern + r"(?=[./])")


def is_rotated(name: str) -> bool:
    """Whether an array holds queries or keys, by llama.cpp's name for them."""
    numbered = _NUMBERED.fullmatch(name)
    return numbered is not None and numbered[1].startswith(_ROTATED)


def block_of(name: str) -> str | None:
    """The number of the block in the name of a module, or in llama.cpp's of a value."""
    found = _NUMBERED.fullmatch(name) or _WITHIN.match(name)
    if found is None:
        return None
    return found[found.lastindex or 0]


def module_of(name: str, modules: Collection[str]) -> str | None:
    """The module whose output an array of this name is; None where the name is no such one, or the
    model has no such module."""
    if ends := _OF_THE_MODEL.get(name):
        return next((module for end in ends for module in modules if _ends(module, end)), None)
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None or numbered[1] not in _OF_A_BLOCK:
        return None
    for end in _OF_A_BLOCK[numbered[1]]:
        for module in modules:
            block = module.removesuffix(f".{end}") if end else module
            found = _BLOCK.fullmatch(block)
            if found is not None and found[1] == numbered[2] and (not end or block != module):
                return module
    return None


def _ends(module: str, end: str) -> bool:
    return module == end or module.endswith(f".{end}")
