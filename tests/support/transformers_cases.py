"""Tiny models of transformers, one an architecture, whose parameters are drawn: what their classes
and configs are."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "TransformersCase", "build", "randomize"]


@dataclass(frozen=True)
class TransformersCase:
    """A class of transformers, and the values of its config that make it small."""

    cls: str
    config: dict[str, Any] = field(default_factory=dict)


_TEXT = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
_GROUPED = {**_TEXT, "num_key_value_heads": 2}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_GPT = {"vocab_size": 99, "n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4}
_SEQ2SEQ = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 64,
    **_TOKENS,
}
_VIT = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 8,
    "num_labels": 5,
}
_WAVES = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
_TWO_TOWERS = {"text_config": {**_TEXT, **_TOKENS}, "vision_config": _VIT}

_ALL = [
    TransformersCase("LlamaForCausalLM", _GROUPED),
    TransformersCase("MistralForCausalLM", {**_GROUPED, "sliding_window": 6}),
    TransformersCase(
        "MixtralForCausalLM", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    TransformersCase("GemmaForCausalLM", {**_GROUPED, "head_dim": 8}),
    TransformersCase("Gemma2ForCausalLM", {**_GROUPED, "head_dim": 8, "sliding_window": 6}),
    TransformersCase("Gemma3ForCausalLM", {**_GROUPED, "head_dim": 8, "sliding_window": 6}),
    TransformersCase("Qwen2ForCausalLM", _GROUPED),
    TransformersCase("Qwen3ForCausalLM", {**_GROUPED, "head_dim": 8}),
    TransformersCase("Phi3ForCausalLM", {**_GROUPED, **_TOKENS}),
    TransformersCase("PhiForCausalLM", _TEXT),
    TransformersCase("GPT2LMHeadModel", _GPT),
    TransformersCase("GPTNeoXForCausalLM", _TEXT),
    TransformersCase("GPTJForCausalLM", {**_GPT, "rotary_dim": 4}),
    TransformersCase(
        "OPTForCausalLM",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "ffn_dim": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
        },
    ),
    TransformersCase(
        "BloomForCausalLM", {"vocab_size": 99, "hidden_size": 32, "n_layer": 2, "n_head": 4}
    ),
    TransformersCase(
        "FalconForCausalLM",
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    TransformersCase("StableLmForCausalLM", _GROUPED),
    TransformersCase("CohereForCausalLM", {**_GROUPED, **_TOKENS}),
    TransformersCase("Olmo2ForCausalLM", {**_GROUPED, **_TOKENS}),
    TransformersCase("GraniteForCausalLM", _GROUPED),
    TransformersCase(
        "Qwen2MoeForCausalLM",
        {**_GROUPED, **_EXPERTS, "shared_expert_intermediate_size": 24},
    ),
    TransformersCase("Qwen3MoeForCausalLM", {**_GROUPED, **_EXPERTS, "head_dim": 8}),
    TransformersCase(
        "DeepseekV3ForCausalLM",
        {
            **_TEXT,
            "num_key_value_heads": 4,
            "moe_intermediate_size": 24,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 8,
            "q_lora_rank": 12,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    TransformersCase(
        "MambaForCausalLM",
        {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    ),
    TransformersCase(
        "Mamba2ForCausalLM",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 2,
            "chunk_size": 8,
        },
    ),
    TransformersCase("BertForMaskedLM", _TEXT),
    TransformersCase("RobertaForMaskedLM", _TEXT),
    TransformersCase(
        "DistilBertForMaskedLM",
        {
            "vocab_size": 99,
            "dim": 32,
            "hidden_dim": 40,
            "n_layers": 2,
            "n_heads": 4,
            "max_position_embeddings": 64,
        },
    ),
    TransformersCase("AlbertForMaskedLM", {**_TEXT, "embedding_size": 16}),
    TransformersCase("ElectraForPreTraining", {**_TEXT, "embedding_size": 16}),
    TransformersCase(
        "DebertaV2ForMaskedLM",
        {
            **_TEXT,
            "relative_attention": True,
            "pos_att_type": ["c2p", "p2c"],
            "position_buckets": 4,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
        },
    ),
    TransformersCase("MPNetForMaskedLM", _TEXT),
    TransformersCase(
        "T5ForConditionalGeneration",
        {
            "vocab_size": 99,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 40,
            "num_layers": 2,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 12,
            "decoder_start_token_id": 0,
        },
    ),
    TransformersCase("BartForConditionalGeneration", _SEQ2SEQ),
    TransformersCase("MBartForConditionalGeneration", _SEQ2SEQ),
    TransformersCase("PegasusForConditionalGeneration", _SEQ2SEQ),
    TransformersCase("MarianMTModel", {**_SEQ2SEQ, "decoder_vocab_size": 99}),
    TransformersCase(
        "WhisperForConditionalGeneration",
        {
            **_SEQ2SEQ,
            "num_mel_bins": 12,
            "max_source_positions": 20,
            "max_target_positions": 24,
            "decoder_start_token_id": 1,
            "suppress_tokens": None,
            "begin_suppress_tokens": None,
        },
    ),
    TransformersCase("Wav2Vec2ForCTC", _WAVES),
    TransformersCase("HubertForCTC", _WAVES),
    TransformersCase("ViTForImageClassification", _VIT),
    TransformersCase("DeiTForImageClassification", _VIT),
    TransformersCase("BeitForImageClassification", {**_VIT, "use_relative_position_bias": True}),
    TransformersCase("Dinov2Model", {**_VIT, "num_labels": 2}),
    TransformersCase(
        "SwinForImageClassification",
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 16,
            "depths": [2, 2],
            "num_heads": [2, 4],
            "window_size": 4,
        },
    ),
    TransformersCase(
        "ConvNextForImageClassification",
        {"hidden_sizes": [16, 24], "depths": [1, 1], "num_stages": 2, "image_size": 32},
    ),
    TransformersCase(
        "ResNetForImageClassification",
        {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 2]},
    ),
    TransformersCase("CLIPModel", {**_TWO_TOWERS, "projection_dim": 16}),
    TransformersCase("SiglipModel", _TWO_TOWERS),
    TransformersCase(
        "SegformerForSemanticSegmentation",
        {
            "depths": [1, 1],
            "num_encoder_blocks": 2,
            "sr_ratios": [2, 1],
            "hidden_sizes": [16, 32],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [2, 4],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 16,
            "image_size": 32,
        },
    ),
    TransformersCase("BigBirdForMaskedLM", {**_TEXT, "block_size": 4}),
    TransformersCase("LongformerForMaskedLM", {**_TEXT, "attention_window": 4}),
    TransformersCase("ModernBertForMaskedLM", {**_TEXT, **_TOKENS, "local_attention": 6}),
    TransformersCase(
        "XLNetLMHeadModel",
        {"vocab_size": 99, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 40},
    ),
    TransformersCase(
        "GptOssForCausalLM",
        {
            **_GROUPED,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "head_dim": 8,
            "sliding_window": 6,
        },
    ),
    TransformersCase(
        "JambaForCausalLM",
        {
            **_GROUPED,
            "num_hidden_layers": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "expert_layer_offset": 1,
            "num_experts": 4,
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
        },
    ),
    TransformersCase(
        "Qwen3NextForCausalLM",
        {
            **_GROUPED,
            **_EXPERTS,
            "num_hidden_layers": 4,
            "head_dim": 8,
            "shared_expert_intermediate_size": 24,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
        },
    ),
    TransformersCase(
        "RecurrentGemmaForCausalLM",
        {
            **_GROUPED,
            "num_hidden_layers": 3,
            "lru_width": 32,
            "attention_window_size": 6,
            "head_dim": 8,
        },
    ),
    TransformersCase(
        "LlavaForConditionalGeneration",
        {
            "text_config": {**_GROUPED, "model_type": "llama"},
            "vision_config": {**_VIT, "model_type": "clip_vision_model"},
            "image_token_index": 98,
        },
    ),
    TransformersCase("VideoMAEModel", {**_VIT, "num_frames": 4, "tubelet_size": 2}),
    TransformersCase(
        "MobileNetV2ForImageClassification",
        {"depth_multiplier": 0.25, "image_size": 32, "depth_divisible_by": 4},
    ),
    TransformersCase(
        "ASTForAudioClassification",
        {
            **{key: value for key, value in _VIT.items() if key != "image_size"},
            "max_length": 24,
            "num_mel_bins": 16,
            "frequency_stride": 4,
            "time_stride": 4,
        },
    ),
    TransformersCase(
        "EncodecModel",
        {
            "num_filters": 4,
            "hidden_size": 16,
            "upsampling_ratios": [4, 2],
            "codebook_size": 16,
            "codebook_dim": 16,
            "num_lstm_layers": 1,
            "sampling_rate": 8000,
        },
    ),
]
CASES = {case.cls.partition("For")[0]: case for case in _ALL}


def build(case: TransformersCase, seed: int = 0) -> Any:
    """The module in evaluation mode, its parameters drawn so that each makes a difference."""
    import torch  # noqa: PLC0415 - the table is read where torch is not wanted
    import transformers  # noqa: PLC0415

    cls = getattr(transformers, case.cls)
    torch.manual_seed(seed)
    module = cls(cls.config_class(**case.config))
    randomize(module)
    return module.eval()


def randomize(module: Any) -> None:
    """Norms' scales and biases are not left at 1 and 0, where a fault in them would not show."""
    import torch  # noqa: PLC0415

    with torch.no_grad():
        for name, one in module.named_parameters():
            if one.ndim == 1 and not name.endswith(("A_log", "D", "dt_bias")):
                one.add_(torch.randn_like(one) * 0.1)
