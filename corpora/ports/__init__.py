"""Layers and blocks of Keras, PyTorch and transformers ported to NumPy: each with its right port
and with ports that have a mistake people make.

``python -m corpora.ports --tool NAME`` scores a tool on them; README.md says how a tool is added.
"""

from importlib import import_module

from corpora.ports.case import Case

HELD_OUT = ("held_out_layers", "held_out_blocks")
"""Written and committed before anything was said of them; nothing is tuned with a look at them."""
FAMILIES = (
    "experts_and_states",
    "full_size_blocks",
    "keras_attention",
    "keras_convolutions",
    "keras_dense_and_norms",
    "keras_recurrent",
    "keras_shapes",
    "language_and_speech_encoders",
    "language_decoders",
    "quantised_layers",
    "scales_states_and_order",
    "torch_layers",
    "torch_sequences",
    "unseen_blocks",
    "unseen_layers",
    "vision_blocks",
    "wrong_weights",
    *HELD_OUT,
)
"""The modules of cases."""


def cases_of(family: str) -> list[Case]:
    """The cases of one of FAMILIES; imports the frameworks that they need."""
    cases: list[Case] = import_module(f"corpora.ports.{family}").CASES
    return cases
