"""The Transformer modules as steps, for those who ask for one as a whole; a sweep checks what they
are made of instead.

``composed`` names them: their children are layers of their own, with the additions and activations
between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref
from probe.errors import Undescribed

from ..describe.describe import Call, describe, describes
from ..describe.module_options import unread
from .attention import Heads, Masks, attended, masked

__all__ = ["decoder", "encoder"]

_ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "relu": ops.Relu,
    "gelu": lambda: ops.Gelu(approximate="none"),
}


@dataclass(frozen=True)
class _Made:
    """Steps in the making of one call."""

    build: Builder
    call: Call
    layout: Heads

    def child(self, module: Any, prefix: str, x: Ref, shape: tuple[int, ...]) -> Ref:
        """The steps of a module inside that takes one tensor."""
        nothing = np.broadcast_to(np.float32(0), shape)
        inner = describe(module, Call((nothing,), lambda name: self.call.read(f"{prefix}.{name}")))
        (y,) = self.build.include(inner.steps, x)
        return y

    def masks(
        self, lengths: tuple[int, int], mask: Ref | None, padding: Ref | None, causal: Any
    ) -> Masks:
        """What hides positions; queries that may attend to nothing are left to PyTorch, whose
        kernels differ on them."""
        arrays = [None if ref is None else self.call.inputs[ref.index] for ref in (mask, padding)]
        hidden = [
            None if one is None else one if one.dtype == bool else np.isneginf(one)
            for one in arrays
        ]
        if causal and (
            hidden[0] is None or not np.array_equal(np.triu(np.ones(lengths, bool), 1), hidden[0])
        ):
            raise Undescribed("is_causal=True was given with a mask that is not causal")
        together = np.zeros((1, 1, 1, 1), bool)
        if hidden[0] is not None:
            together = together | (
                hidden[0]
                if hidden[0].ndim == 2
                else hidden[0].reshape(-1, self.layout.heads, *lengths)
            )
        if hidden[1] is not None:
            together = together | np.atleast_2d(hidden[1])[:, None, None]
        if together.shape[-1] > 1 and together.all(axis=-1).any():
            raise Undescribed(
                "a query has all keys masked, so its output depends on the kernel that "
                "PyTorch selects"
            )
        return masked(self.build, self.call, self.layout, lengths, mask, padding)

    def attention(
        self,
        module: Any,
        prefix: str,
        query: Ref,
        memory: Ref,
        lengths: tuple[int, int],
        masks: Masks,
    ) -> Ref:
        refs = (query, memory, memory)
        return attended(
            self.build, module, self.call, f"{prefix}.", self.layout, refs, lengths, masks, ""
        )[0]

    def forward(self, module: Any, prefix: str, x: Ref, length: int) -> Ref:
        """linear1, the activation, linear2."""
        shape = (*self.layout.lead(length), self.layout.features)
        wide = self.child(module.linear1, f"{prefix}linear1", x, shape)
        return self.child(
            module.linear2,
            f"{prefix}linear2",
            self.activated(module, prefix, wide, length),
            (*shape[:-1], 1),
        )

    def activated(self, module: Any, prefix: str, x: Ref, length: int) -> Ref:
        used = module.activation
        if "activation" in module._modules:
            return self.child(
                used,
                f"{prefix}activation",
                x,
                (*self.layout.lead(length), module.linear1.out_features),
            )
        name = getattr(used, "__name__", "")
        home = getattr(used, "__module__", None) or "torch"
        if name not in _ACTIVATIONS or not home.startswith("torch"):
            raise Undescribed(f"its activation {name or type(used).__name__!r} has no description")
        return self.build.add(_ACTIVATIONS[name](), x)


def _layer(
    made: _Made, module: Any, prefix: str, x: Ref, length: int, blocks: list[Callable[[Ref], Ref]]
) -> Ref:
    """Each block's output is added to its input; the norm comes before the block or after the
    sum."""
    shape = (*made.layout.lead(length), made.layout.features)

    def forward(x: Ref) -> Ref:
        return made.forward(module, prefix, x, length)

    for number, block in enumerate([*blocks, forward], start=1):
        norm, name = getattr(module, f"norm{number}"), f"{prefix}norm{number}"
        if module.norm_first:
            x = made.build.add(ops.Add(), x, block(made.child(norm, name, x, shape)))
        else:
            x = made.child(norm, name, made.build.add(ops.Add(), x, block(x)), shape)
    return x


def _encoder_layer(made: _Made, module: Any, prefix: str, x: Ref, length: int, masks: Masks) -> Ref:
    _known(module, "TransformerEncoderLayer")
    inside = f"{prefix}self_attn"
    return _layer(
        made,
        module,
        prefix,
        x,
        length,
        [lambda x: made.attention(module.self_attn, inside, x, x, (length, length), masks)],
    )


def _decoder_layer(
    made: _Made,
    module: Any,
    prefix: str,
    x: Ref,
    memory: Ref,
    lengths: tuple[int, int],
    masks: tuple[Masks, Masks],
) -> Ref:
    _known(module, "TransformerDecoderLayer")
    length = lengths[0]
    blocks = [
        lambda x: made.attention(
            module.self_attn, f"{prefix}self_attn", x, x, (length, length), masks[0]
        ),
        lambda x: made.attention(
            module.multihead_attn, f"{prefix}multihead_attn", x, memory, lengths, masks[1]
        ),
    ]
    return _layer(made, module, prefix, x, length, blocks)


def encoder(made: _Made, module: Any, prefix: str, x: Ref, length: int, masks: Masks) -> Ref:
    """The layers one after the other, and the norm behind them."""
    _known(module, "TransformerEncoder")
    for number, layer in enumerate(module.layers):
        x = _encoder_layer(made, layer, f"{prefix}layers.{number}.", x, length, masks)
    return _behind(made, module, prefix, x, length)


def decoder(
    made: _Made,
    module: Any,
    prefix: str,
    x: Ref,
    memory: Ref,
    lengths: tuple[int, int],
    masks: tuple[Masks, Masks],
) -> Ref:
    """The same with a memory to attend to."""
    _known(module, "TransformerDecoder")
    for number, layer in enumerate(module.layers):
        x = _decoder_layer(made, layer, f"{prefix}layers.{number}.", x, memory, lengths, masks)
    return _behind(made, module, prefix, x, lengths[0])


def _behind(made: _Made, module: Any, prefix: str, x: Ref, length: int) -> Ref:
    if module.norm is None:
        return x
    return made.child(
        module.norm, f"{prefix}norm", x, (*made.layout.lead(length), made.layout.features)
    )


def _known(module: Any, name: str) -> None:
    """That a module inside is PyTorch's own, and drops nothing."""
    kind = type(module)
    if (
        kind.__name__ != name
        or not kind.__module__.startswith("torch.nn.modules.")
        or "forward" in vars(module)
    ):
        raise Undescribed(f"a {kind.__name__} is in the place of a {name}, which is not supported")
    for child in module.modules():
        told = unread(child, type(child))
        if told:
            raise Undescribed(told)
        rate = getattr(child, "p", getattr(child, "dropout", 0.0))
        if child.training and isinstance(rate, float) and rate > 0:
            raise Undescribed(
                "in training mode it drops elements at random; call eval() on it first"
            )


def _begun(attention: Any, call: Call, x: Ref) -> tuple[_Made, int]:
    array = call.inputs[x.index]
    if array.ndim not in (2, 3):
        raise Undescribed(f"an input with {array.ndim} axes; 2 or 3 were expected")
    first = bool(attention.batch_first)
    batch = None if array.ndim == 2 else array.shape[0 if first else 1]
    layout = Heads(attention.num_heads, attention.embed_dim, batch, first)
    return _Made(Builder(), call, layout), array.shape[layout.sequence]


def _finished(made: _Made) -> Description:
    return Description(made.build.ended(), made.layout.axes, made.layout.axes)


def _length(made: _Made, ref: Ref) -> int:
    return int(made.call.inputs[ref.index].shape[made.layout.sequence])


@describes("TransformerEncoderLayer", several=True)
def encoder_layer(module: Any, call: Call) -> Description:
    given = call.arguments
    made, length = _begun(module.self_attn, call, given["src"])
    masks = made.masks(
        (length, length),
        given.get("src_mask"),
        given.get("src_key_padding_mask"),
        given.get("is_causal"),
    )
    _encoder_layer(made, module, "", given["src"], length, masks)
    return _finished(made)


@describes("TransformerEncoder", several=True)
def whole_encoder(module: Any, call: Call) -> Description:
    given = call.arguments
    made, length = _begun(module.layers[0].self_attn, call, given["src"])
    masks = made.masks(
        (length, length),
        given.get("mask"),
        given.get("src_key_padding_mask"),
        given.get("is_causal"),
    )
    encoder(made, module, "", given["src"], length, masks)
    return _finished(made)


def _decoding(made: _Made, call: Call, lengths: tuple[int, int]) -> tuple[Masks, Masks]:
    given, (length, _) = call.arguments, lengths
    own = made.masks(
        (length, length),
        given.get("tgt_mask"),
        given.get("tgt_key_padding_mask"),
        given.get("tgt_is_causal"),
    )
    return own, made.masks(
        lengths,
        given.get("memory_mask"),
        given.get("memory_key_padding_mask"),
        given.get("memory_is_causal"),
    )


@describes("TransformerDecoderLayer", several=True)
def decoder_layer(module: Any, call: Call) -> Description:
    target, memory = call.arguments["tgt"], call.arguments["memory"]
    made, length = _begun(module.self_attn, call, target)
    lengths = (length, _length(made, memory))
    _decoder_layer(made, module, "", target, memory, lengths, _decoding(made, call, lengths))
    return _finished(made)


@describes("TransformerDecoder", several=True)
def whole_decoder(module: Any, call: Call) -> Description:
    target, memory = call.arguments["tgt"], call.arguments["memory"]
    made, length = _begun(module.layers[0].self_attn, call, target)
    lengths = (length, _length(made, memory))
    decoder(made, module, "", target, memory, lengths, _decoding(made, call, lengths))
    return _finished(made)


@describes("Transformer", several=True)
def transformer(module: Any, call: Call) -> Description:
    """The encoder's output is the decoder's memory."""
    given = call.arguments
    source, target = given["src"], given["tgt"]
    _known(module.encoder, "TransformerEncoder")
    made, length = _begun(module.encoder.layers[0].self_attn, call, source)
    masks = made.masks(
        (length, length),
        given.get("src_mask"),
        given.get("src_key_padding_mask"),
        given.get("src_is_causal"),
    )
    memory = encoder(made, module.encoder, "encoder.", source, length, masks)
    lengths = (_length(made, target), length)
    decoder(
        made, module.decoder, "decoder.", target, memory, lengths, _decoding(made, call, lengths)
    )
    return _finished(made)
