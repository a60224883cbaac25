"""Attention, Transformers, products and embeddings, for the tests of explanations: (class, layer,
shapes of its inputs)."""

import keras
import torch

nn = torch.nn
LAYERS = [
    (
        "MultiheadAttention",
        nn.MultiheadAttention(8, 2, kdim=5, add_bias_kv=True, add_zero_attn=True),
        ((3, 2, 8), (4, 2, 5), (4, 2, 8)),
    ),
    (
        "TransformerEncoderLayer",
        nn.TransformerEncoderLayer(8, 2, 12, batch_first=True),
        ((2, 4, 8),),
    ),
    (
        "TransformerDecoderLayer",
        nn.TransformerDecoderLayer(8, 2, 12, norm_first=True),
        ((4, 2, 8), (3, 2, 8)),
    ),
    (
        "Transformer",
        nn.Transformer(8, 2, 1, 1, 12, batch_first=True, activation="gelu"),
        ((2, 4, 8), (2, 3, 8)),
    ),
    ("Attention", keras.layers.Attention(use_scale=True), ((2, 4, 6), (2, 5, 6))),
    ("AdditiveAttention", keras.layers.AdditiveAttention(), ((2, 4, 6), (2, 5, 6))),
    ("EinsumDense", keras.layers.EinsumDense("abc,bcd->abd", (4, 3), bias_axes="d"), ((2, 4, 5),)),
    ("Dot", keras.layers.Dot((1, 2)), ((2, 3, 5), (2, 4, 3))),
]
