"""Mistakes planted in attention and embeddings, in loops of NumPy's own or in the framework used
another way."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from planting import Rows, draw, keras_layer, nn, planter, rng, t, tf32, torch_layer

ROWS: Rows = []
plant = planter(ROWS)


def softmax(row: np.ndarray) -> np.ndarray:
    e = np.exp(row - row.max())
    return e / e.sum()


def by_hand(
    module: Any,
    query: np.ndarray,
    memory: np.ndarray,
    scale: float | None = None,
    hidden: Any = None,
    low: float = -np.inf,
    interleaved: bool = False,
    narrow: Callable[[np.ndarray], np.ndarray] = np.asarray,
    within: Callable[[np.ndarray], np.ndarray] = np.asarray,
    fused: bool = False,
    **parts: Any,
) -> np.ndarray:
    """Multi-head attention, a query and a head at a time; ``hidden(batch, query, position)`` says
    what is not seen, and takes the score ``low``.

    ``narrow`` is done to what the projections multiply, ``within`` to what the attention itself
    does; ``fused`` scales the scores and divides by the sum of the exponentials last.
    """
    held = {
        name: one.detach().numpy().astype(np.float64) for name, one in module.state_dict().items()
    } | parts
    size, heads = module.embed_dim, module.num_heads
    width = size // heads
    scale = width**-0.5 if scale is None else scale
    (wq, wk, wv), (bq, bk, bv) = (
        np.split(held["in_proj_weight"], 3),
        np.split(held["in_proj_bias"], 3),
    )
    out = np.zeros((*query.shape[:2], size))
    for b in range(query.shape[0]):
        q, k, v = (
            narrow(x[b]) @ narrow(w).T + add
            for x, w, add in ((query, wq, bq), (memory, wk, bk), (memory, wv, bv))
        )
        for h in range(heads):
            mine = (
                np.arange(h, size, heads) if interleaved else np.arange(h * width, (h + 1) * width)
            )
            for i in range(len(q)):
                by = scale if fused else 1.0
                scores = np.array(
                    [
                        within(q[i, mine] * (scale / by)) @ within(k[j, mine]) * by
                        for j in range(len(k))
                    ]
                )
                for j in range(len(k)):
                    if hidden is not None and hidden(b, i, j):
                        scores[j] = low
                share = softmax(scores)
                by = share.max() if fused else 1.0
                out[b, i, h * width : (h + 1) * width] = (
                    within(share / by) @ within(v[:, mine]) * by
                )
    return (narrow(out) @ narrow(held["out_proj.weight"]).T + held["out_proj.bias"]).astype(
        np.float32
    )


def bfloat16(array: np.ndarray) -> np.ndarray:
    return t(array).bfloat16().double().numpy()


def layer(seed: int = 0) -> Any:
    made = torch_layer(nn.MultiheadAttention, 8, 2, batch_first=True, seed=seed)
    for index, parameter in enumerate(made.parameters()):
        with torch.no_grad():
            parameter.copy_(t(draw(*parameter.shape, seed=seed + index + 1, scale=0.8)))
    return made


def three(seed: int = 0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    query, memory = draw(2, 4, 8, seed=seed), draw(2, 6, 8, seed=seed + 7)
    return [query, memory, memory], query, memory


for _seed in (0, 1):
    for _scale in (1.0, 8**-0.5, 1 / 4):

        @plant("attention-scale", "MultiheadAttention")
        def scaled_otherwise(seed=_seed, scale=_scale):
            module, (given, query, memory) = layer(seed), three(seed)
            return module, given, by_hand(module, query, memory, scale=scale)

    for _narrow, _within, _fused in (
        (tf32, tf32, False),
        (tf32, np.asarray, False),
        (bfloat16, bfloat16, False),
        (tf32, tf32, True),
    ):

        @plant("reduced-precision", "MultiheadAttention")
        def of_narrow_operands(seed=_seed, narrow=_narrow, within=_within, fused=_fused):
            module, (given, query, memory) = layer(seed), three(seed)
            return (
                module,
                given,
                by_hand(module, query, memory, narrow=narrow, within=within, fused=fused),
            )

    @plant("attention-mask", "MultiheadAttention")
    def causal_by_habit(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        return module, given, by_hand(module, query, memory, hidden=lambda b, i, j: j > i)

    @plant("attention-mask", "MultiheadAttention")
    def padding_forgotten(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        padding = np.zeros((2, 6), bool)
        padding[0, 4:] = padding[1, 3:] = True
        return module, [*given, padding], by_hand(module, query, memory)

    @plant("attention-mask", "MultiheadAttention")
    def padding_turned_round(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        padding = rng(seed).random((2, 6)) < 0.5
        padding[:, 0], padding[:, 1] = True, False
        return (
            module,
            [*given, padding],
            by_hand(module, query, memory, hidden=lambda b, i, j: not padding[b, j]),
        )

    @plant("attention-mask", "MultiheadAttention")
    def no_padding_turned_round(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        padding = np.zeros((2, 6), bool)
        padding[0, 4:] = True
        return (
            module,
            [*given, padding],
            by_hand(module, query, memory, hidden=lambda b, i, j: not padding[b, j], low=-1e9),
        )

    @plant("group-axis", "MultiheadAttention")
    def heads_interleaved(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        return module, given, by_hand(module, query, memory, interleaved=True)

    @plant("swapped-parameters", "MultiheadAttention")
    def keys_first(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        parts = {
            name: np.concatenate(
                [np.split(getattr(module, name).detach().numpy(), 3)[k] for k in (1, 0, 2)]
            )
            for name in BLOCKS
        }
        return module, given, by_hand(module, query, memory, **parts)

    @plant("missing-bias", "MultiheadAttention")
    def no_bias(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        return module, given, by_hand(module, query, memory, in_proj_bias=np.zeros(24))

    @plant("missing-bias", "MultiheadAttention")
    def no_last_bias(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        return module, given, by_hand(module, query, memory, **{"out_proj.bias": np.zeros(8)})

    @plant("transposed-kernel", "MultiheadAttention")
    def last_transposed(seed=_seed):
        module, (given, query, memory) = layer(seed), three(seed)
        return (
            module,
            given,
            by_hand(
                module,
                query,
                memory,
                **{"out_proj.weight": module.out_proj.weight.detach().numpy().T},
            ),
        )


BLOCKS = ("in_proj_weight", "in_proj_bias")


def _keras_heads(seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    x, y = draw(2, 4, 6, seed=seed), draw(2, 5, 6, seed=seed + 3)
    keras.utils.set_random_seed(seed)
    made = keras.layers.MultiHeadAttention(2, 3)
    made(x, y)
    made.set_weights(
        [draw(*w.shape, seed=seed + i + 1, scale=0.6) for i, w in enumerate(made.get_weights())]
    )
    return made, x, y


def _ported(made: Any) -> Any:
    """PyTorch's module with the weights of Keras' layer."""
    q, bq, k, bk, v, bv, o, bo = (np.array(w) for w in made.get_weights())
    module = nn.MultiheadAttention(6, 2, batch_first=True).eval()
    with torch.no_grad():
        module.in_proj_weight.copy_(t(np.concatenate([one.reshape(6, 6).T for one in (q, k, v)])))
        module.in_proj_bias.copy_(t(np.concatenate([one.ravel() for one in (bq, bk, bv)])))
        module.out_proj.weight.copy_(t(o.reshape(6, 6).T))
        module.out_proj.bias.copy_(t(bo))
    return module


for _seed in (0, 5):

    @plant("attention-mask", "Keras MultiHeadAttention")
    def causal_in_the_port(seed=_seed):
        made, x, y = _keras_heads(seed)
        hidden = torch.ones(4, 5, dtype=torch.bool).triu(1)
        return made, [x, y], _ported(made)(t(x), t(y), t(y), attn_mask=hidden)[0].detach().numpy()

    @plant("attention-scale", "Keras MultiHeadAttention")
    def scaled_by_the_model(seed=_seed):
        made, x, y = _keras_heads(seed)
        return made, [x, y], by_hand(_ported(made), x, y, scale=6**-0.5)

    @plant("attention-scale", "Keras Attention")
    def scaled_all_the_same(seed=_seed):
        x, y = draw(2, 4, 6, seed=seed), draw(2, 5, 6, seed=seed + 3)
        layer = keras.layers.Attention()
        layer([x, y])
        return (
            layer,
            [x, y],
            torch.nn.functional.scaled_dot_product_attention(t(x), t(y), t(y)).numpy(),
        )

    @plant("off-by-one", "Embedding")
    def counted_from_one(seed=_seed):
        module = torch_layer(nn.Embedding, 9, 5, seed=seed)
        indices = rng(seed).integers(0, 8, size=(3, 4))
        return module, indices, module.weight.detach().numpy()[indices + 1]

    @plant("off-by-one", "Keras Embedding")
    def no_row_for_padding(seed=_seed):
        indices = rng(seed).integers(1, 9, size=(3, 4)).astype(np.int32)
        layer = keras_layer(keras.layers.Embedding, indices, 9, 5, mask_zero=True, seed=seed)
        return layer, indices, np.array(layer.get_weights()[0])[indices - 1]


@plant("raw-weights", "Embedding")
def norm_forgotten():
    module = torch_layer(nn.Embedding, 9, 5, max_norm=1.0)
    indices = rng(0).integers(0, 9, size=(3, 4))
    return module, indices, module.weight.detach().numpy()[indices].copy()


@plant("pool-counts-padding", "EmbeddingBag")
def padding_counted():
    module = torch_layer(nn.EmbeddingBag, 9, 5, padding_idx=2)
    indices = rng(0).integers(0, 4, size=(3, 6))
    return module, indices, module.weight.detach().numpy()[indices].mean(axis=1)
