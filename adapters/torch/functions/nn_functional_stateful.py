"""The functions of torch.nn.functional that do what a module of several tensors does, or one with
statistics: described as that module."""

from typing import Any

from probe import ops
from probe.description import Ref
from probe.errors import Undescribed

from .describe import CallBuilder, Value, both_outputs, function

__all__: list[str] = []


@function("cosine_similarity", onnx="cosinesimilarity")
def cosine_similarity(
    build: CallBuilder, x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8
) -> tuple[Ref, ...]:
    return build.module_outputs("CosineSimilarity", (x1, x2), dim=dim, eps=eps)


@function("bilinear", onnx="einsum")
def bilinear(
    build: CallBuilder, input1: Value, input2: Value, weight: Value, bias: Value | None = None
) -> Ref:
    """x1 A_k x2 for every output k, plus the bias."""
    found = build.add(ops.Einsum(equation="...i,kij,...j->...k"), input1, weight, input2)
    if bias is None:
        return found
    return build.add(ops.Add(), found, bias)


# of the running statistics
@function("instance_norm", onnx="instancenormalization", idle="momentum")
def instance_norm(
    build: CallBuilder,
    input: Value,
    running_mean: Value | None = None,
    running_var: Value | None = None,
    weight: Value | None = None,
    bias: Value | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> tuple[Ref, ...]:
    """By each sample's own statistics, or by the running ones."""
    names = {
        "running_mean": running_mean,
        "running_var": running_var,
        "weight": weight,
        "bias": bias,
    }
    held = {name: build.weight(name, value) for name, value in names.items()}
    rank = min(max(build.rank(input) - 2, 1), 3)
    running = not use_input_stats
    return build.module_outputs(
        f"InstanceNorm{rank}d",
        (input,),
        held,
        eps=eps,
        track_running_stats=running,
        training=use_input_stats,
    )


@function("embedding_bag", onnx="embeddingbag")
def embedding_bag(
    build: CallBuilder,
    input: Value,
    weight: Value,
    offsets: Value | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Value | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> tuple[Ref, ...]:
    if max_norm is not None:
        raise Undescribed("max_norm is not supported, since it changes the weight in place")
    given = {"input": input, "offsets": offsets, "per_sample_weights": per_sample_weights}
    there = [name for name, tensor in given.items() if tensor is not None]
    arguments = {name: Ref(-1, there.index(name)) for name in there}
    attributes = {
        "mode": mode,
        "include_last_offset": include_last_offset,
        "padding_idx": padding_idx,
    }
    held = {"weight": build.weight("weight", weight)}
    values = [tensor for tensor in given.values() if tensor is not None]
    return build.module_outputs(
        "EmbeddingBag", values, held, arguments, max_norm=None, norm_type=norm_type, **attributes
    )


def _register_unpool(rank: int) -> None:
    @function(f"max_unpool{rank}d", onnx="maxunpool")
    def unpool(
        build: CallBuilder,
        input: Value,
        indices: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> tuple[Ref, ...]:
        attributes = {
            "kernel_size": kernel_size,
            "stride": kernel_size if stride is None else stride,
            "padding": padding,
        }
        return build.module_outputs(
            f"MaxUnpool{rank}d", (input, indices), None, {"output_size": output_size}, **attributes
        )


for _rank in (1, 2, 3):
    _register_unpool(_rank)


@function("conv_tbc", onnx="conv")
def conv_tbc(build: CallBuilder, input: Value, weight: Value, bias: Value, pad: int = 0) -> Ref:
    """Of (time, batch, channels) with a kernel (time, in, out)."""
    x = build.add(ops.Transpose(perm=(1, 2, 0)), input)
    kernel = build.add(ops.Transpose(perm=(2, 1, 0)), weight)
    found = build.add(
        ops.Conv(
            weight=None, bias=None, strides=(1,), pads=((pad, pad),), dilations=(1,), groups=1
        ),
        x,
        kernel,
    )
    return build.add(ops.Add(), build.add(ops.Transpose(perm=(2, 0, 1)), found), bias)


@function("multi_head_attention_forward", onnx="attention")
def multi_head_attention_forward(
    build: CallBuilder,
    query: Value,
    key: Value,
    value: Value,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Value | None,
    in_proj_bias: Value | None,
    bias_k: Value | None,
    bias_v: Value | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Value,
    out_proj_bias: Value | None,
    training: bool = True,
    key_padding_mask: Value | None = None,
    need_weights: bool = True,
    attn_mask: Value | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Value | None = None,
    k_proj_weight: Value | None = None,
    v_proj_weight: Value | None = None,
    static_k: Value | None = None,
    static_v: Value | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Ref, ...]:
    if static_k is not None or static_v is not None:
        raise Undescribed("static keys and values are not supported")
    projections = {"in": in_proj_weight}
    if use_separate_proj_weight:
        projections = {"q": q_proj_weight, "k": k_proj_weight, "v": v_proj_weight}
    weights: dict[str, Value | None] = {
        f"{name}_proj_weight": weight for name, weight in projections.items()
    }
    weights |= {"in_proj_bias": in_proj_bias, "bias_k": bias_k, "bias_v": bias_v}
    weights |= {"out_proj.weight": out_proj_weight, "out_proj.bias": out_proj_bias}
    tensors: dict[str, Value | None] = {"query": query, "key": key, "value": value}
    tensors |= {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    arguments: dict[str, Any] = {name: Ref(-1, index) for index, name in enumerate(given)}
    arguments |= {"need_weights": need_weights, "average_attn_weights": average_attn_weights}
    outputs = build.module_outputs(
        "MultiheadAttention",
        list(given.values()),
        {name: build.weight(name, weight) for name, weight in weights.items()},
        arguments | {"is_causal": is_causal},
        embed_dim=embed_dim_to_check,
        num_heads=num_heads,
        batch_first=False,
        add_zero_attn=add_zero_attn,
        bias_k=bias_k,
        dropout=dropout_p,
        training=training,
        in_proj_weight=None if use_separate_proj_weight else in_proj_weight,
    )
    if need_weights:
        return both_outputs(outputs)
    return outputs
