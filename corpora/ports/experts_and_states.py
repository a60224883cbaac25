"""Mixtures of experts and a selective state space of transformers."""

from functools import partial
from typing import Any

import numpy as np
from transformers import MambaConfig, MixtralConfig, Qwen2MoeConfig
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeSparseMoeBlock

from corpora.ports.case import Case, Mistake
from corpora.ports.numpy_parts import linear, sigmoid, silu, softmax
from corpora.ports.trained import inputs, train_torch, weights_of


def _experts(
    x: np.ndarray,
    w: dict[str, np.ndarray],
    top: int = 2,
    normalise: bool = True,
    halves: str = "gate first",
    weights: str = "of their experts",
    chosen: str = "largest",
) -> np.ndarray:
    flat = x.reshape(-1, x.shape[-1])
    p = softmax(linear(flat, w["gate.weight"]))
    order = np.argsort(-p if chosen == "largest" else p, -1, kind="stable")[:, :top]
    share = np.take_along_axis(p, order, -1)
    if normalise:
        share = share / share.sum(-1, keepdims=True)
    if weights == "equal":
        share = np.full_like(share, 1 / top)
    if weights == "of sorted experts":
        order = np.sort(order, -1)
    if weights == "softmax again":
        share = softmax(share)
    y = np.zeros_like(flat)
    for i, (experts, shares) in enumerate(zip(order, share, strict=True)):
        for expert, part in zip(experts, shares, strict=True):
            both = w["experts.gate_up_proj"][expert] @ flat[i]
            gate, up = np.split(both, 2)
            if halves == "up first":
                gate, up = up, gate
            if halves == "interleaved":
                gate, up = both[0::2], both[1::2]
            y[i] += part * (w["experts.down_proj"][expert] @ (silu(gate) * up))
    return y.reshape(x.shape)


def build_mixtral() -> tuple[Any, np.ndarray]:
    config = MixtralConfig(
        hidden_size=16, intermediate_size=24, num_local_experts=4, num_experts_per_tok=2
    )
    return train_torch(MixtralSparseMoeBlock(config), 431, gain=2.5), inputs(432, 2, 6, 16)


def mixtral(model: Any, x: np.ndarray, **how: Any) -> np.ndarray:
    return _experts(x, weights_of(model), **how)


def build_qwen() -> tuple[Any, np.ndarray]:
    config = Qwen2MoeConfig(
        hidden_size=16,
        moe_intermediate_size=12,
        shared_expert_intermediate_size=20,
        num_experts=6,
        num_experts_per_tok=2,
        norm_topk_prob=False,
    )
    return train_torch(Qwen2MoeSparseMoeBlock(config), 433, gain=2.0), inputs(434, 2, 6, 16)


def qwen(
    model: Any, x: np.ndarray, shared: str = "gated", normalise: bool = False, top: int = 2
) -> np.ndarray:
    w = weights_of(model)
    y = _experts(x, w, normalise=normalise, top=top)
    if shared == "none":
        return y
    hidden = silu(linear(x, w["shared_expert.gate_proj.weight"]))
    hidden = hidden * linear(x, w["shared_expert.up_proj.weight"])
    common = linear(hidden, w["shared_expert.down_proj.weight"])
    if shared == "gated":
        common = sigmoid(linear(x, w["shared_expert_gate.weight"])) * common
    return y + common


def build_mamba() -> tuple[Any, np.ndarray]:
    config = MambaConfig(
        hidden_size=12, state_size=6, expand=2, time_step_rank=3, num_hidden_layers=1
    )
    mixer = train_torch(MambaMixer(config, 0), 435, gain=1.3)
    mixer.D.data += 1
    return mixer, inputs(436, 2, 9, 12)


def mamba(
    model: Any,
    x: np.ndarray,
    pad: str = "left",
    a: str = "-exp",
    split: str = "dt B C",
    skip: bool = True,
    gate: Any = silu,
    bias_of_step: int = 1,
    first: str = "x z",
    activated: bool = True,
) -> np.ndarray:
    w = weights_of(model)
    u, z = np.split(linear(x, w["in_proj.weight"]), 2, -1)
    if first == "z x":
        u, z = z, u
    t = x.shape[1]
    left = {"left": 3, "both": 1}[pad]
    padded = np.pad(u, [(0, 0), (left, 3 - left), (0, 0)])
    taps = w["conv1d.weight"][:, 0]
    u = sum(padded[:, i : i + t] * taps[:, i] for i in range(4)) + w["conv1d.bias"]
    u = silu(u) if activated else u
    parts = linear(u, w["x_proj.weight"])
    step, b, c = parts[..., :3], parts[..., 3:9], parts[..., 9:]
    if split == "dt C B":
        b, c = c, b
    step = linear(step, w["dt_proj.weight"]) + bias_of_step * w["dt_proj.bias"]
    step = np.logaddexp(np.float32(0), step)
    decay = -np.exp(w["A_log"]) if a == "-exp" else -np.abs(w["A_log"])
    state = np.zeros((2, 24, 6), np.float32)
    out = []
    for i in range(t):
        delta = step[:, i, :, None]
        state = np.exp(delta * decay) * state + delta * b[:, i, None] * u[:, i, :, None]
        out.append((state * c[:, i, None]).sum(-1))
    y = np.stack(out, 1)
    if skip:
        y = y + u * w["D"]
    return linear(y * gate(z), w["out_proj.weight"])


CASES = [
    Case(
        "mixtral_experts",
        build_mixtral,
        "",
        mixtral,
        {
            "shares_not_normalised": Mistake(
                partial(mixtral, normalise=False),
                "The shares of the two chosen experts are not divided by their sum.",
            ),
            "shares_swapped_by_sorting": Mistake(
                partial(mixtral, weights="of sorted experts"),
                "The chosen experts are sorted by index and their shares are not, so the shares "
                "go to the wrong expert.",
            ),
            "gate_and_up_halves_swapped": Mistake(
                partial(mixtral, halves="up first"),
                "The halves of gate_up_proj are read as up and then gate.",
            ),
            "gate_and_up_interleaved": Mistake(
                partial(mixtral, halves="interleaved"),
                "gate_up_proj is read with gate and up in turn (GPT-OSS' layout), where they are "
                "halves.",
            ),
            "experts_equal": Mistake(
                partial(mixtral, weights="equal"),
                "The chosen experts count the same, their shares are not used.",
            ),
            "softmax_of_the_shares": Mistake(
                partial(mixtral, normalise=False, weights="softmax again"),
                "A second softmax is taken of the chosen probabilities, where they are divided by "
                "their sum.",
            ),
        },
    ),
    Case(
        "qwen2_moe_experts",
        build_qwen,
        "",
        qwen,
        {
            "shares_normalised": Mistake(
                partial(qwen, normalise=True),
                "The chosen experts' shares are brought to a sum of 1 (Mixtral's way), where "
                "norm_topk_prob is False.",
            ),
            "shared_expert_not_gated": Mistake(
                partial(qwen, shared="whole"),
                "The shared expert is added whole, without its sigmoid gate.",
            ),
            "normalised_and_no_shared_expert": Mistake(
                partial(qwen, normalise=True, shared="none"),
                "Two causes: the shares are brought to a sum of 1, and the shared expert is "
                "forgotten.",
                causes=2,
            ),
            "one_expert_too_many": Mistake(
                partial(qwen, top=3),
                "Three experts are taken for each token, where it is two.",
            ),
        },
    ),
    Case(
        "mamba_mixer",
        build_mamba,
        "",
        mamba,
        {
            "convolution_not_causal": Mistake(
                partial(mamba, pad="both"),
                "The short convolution is padded on both sides, where it is causal.",
            ),
            "b_and_c_swapped": Mistake(
                partial(mamba, split="dt C B"),
                "B and C are swapped in the split of x_proj.",
            ),
            "step_bias_added_twice": Mistake(
                partial(mamba, bias_of_step=2),
                "The bias of the time step is added twice: in dt_proj and again before the "
                "softplus.",
            ),
            "skip_forgotten": Mistake(
                partial(mamba, skip=False),
                "The skip D * u is forgotten.",
            ),
            "a_without_exponential": Mistake(
                partial(mamba, a="-abs"),
                "A is taken as -|A_log|, where it is -exp(A_log).",
            ),
            "gate_is_sigmoid": Mistake(
                partial(mamba, gate=sigmoid),
                "The gate is sigmoid(z), where it is SiLU(z).",
            ),
            "halves_of_in_proj_swapped": Mistake(
                partial(mamba, first="z x"),
                "The halves of in_proj are swapped: the gate's goes through the convolution.",
            ),
        },
    ),
]
