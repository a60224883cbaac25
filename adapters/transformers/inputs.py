"""What a model of transformers is run on where the user gives nothing: names, shapes and ranges, by
its forward's parameters and its config."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from probe.model import InputSpec

__all__ = ["drawn"]

_BATCH = None  # any number of samples
_TOKENS, _FRAMES, _SAMPLES = 16, 24, 8000
_SIDE = 64
"""The side of an image of a model that takes any."""


def drawn(module: Any) -> tuple[InputSpec, ...] | None:
    """The inputs to draw, in the order of forward's parameters; None where its main input is of a
    kind that the config does not give a shape."""
    config, parameters = module.config, inspect.signature(module.forward).parameters
    names = tuple(parameters)
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    wanted = {name for name in (*required, *_wanted(module, names)) if name in names}
    found = {name: spec for name in wanted if (spec := _SPECS.get(name, _unknown)(config))}
    if len(found) < len(wanted):
        return None
    return tuple(InputSpec(name, *found[name]) for name in names if name in found)


def _wanted(module: Any, names: Sequence[str]) -> Iterator[str]:
    main, config = module.main_input_name, module.config
    yield main
    if main == "pixel_values" and "input_ids" in names:
        yield "input_ids"
    # A model of both takes images where its text has a token that stands for one, and else always.
    if "pixel_values" in names and not _placeholders(config):
        yield "pixel_values"
    if getattr(config, "is_encoder_decoder", False):
        yield "decoder_input_ids"


def _placeholders(config: Any) -> list[int]:
    """The numbers of tokens that stand for images, videos and sounds."""
    names = [
        f"{kind}_token_{end}"
        for kind in ("image", "video", "audio", "boi", "eoi", "vision_start", "vision_end")
        for end in ("id", "index")
    ]
    found = [getattr(config, name, None) for name in names]
    return [value for value in found if isinstance(value, int)]


def _inner(config: Any, *names: str) -> Any:
    """The config inside for one kind of input, or the config itself."""
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if value is not None), config)


def _value(config: Any, *names: str) -> Any:
    found = (getattr(config, name, None) for name in names)
    return next((value for value in found if value is not None), None)


_Drawn = tuple[tuple[int | None, ...], str, int | None]


def _unknown(config: Any) -> _Drawn | None:
    return None


def _ids(config: Any) -> _Drawn | None:
    return _tokens(config, _inner(config, "encoder", "text_config", "text_encoder"))


def _decoder_ids(config: Any) -> _Drawn | None:
    return _tokens(config, _inner(config, "decoder", "text_config"))


def _tokens(config: Any, inner: Any) -> _Drawn | None:
    """Ids below the vocabulary's size, and below those that stand for images."""
    size = _value(inner, "vocab_size") or _value(config, "vocab_size")
    if not isinstance(size, int):
        return None
    high = min([size, *(token for token in _placeholders(config) if token > 0)])
    most = _value(inner, "max_position_embeddings", "n_positions", "max_target_positions")
    if isinstance(most, int) and most > 2:
        length = min(_TOKENS, most - 2)
    else:
        length = _TOKENS
    return (_BATCH, length), "int64", high


def _image(config: Any) -> _Drawn | None:
    inner = _inner(config, "vision_config", "encoder", "backbone_config")
    size = _value(inner, "image_size", "img_size") or _SIDE
    sides = (size, size) if isinstance(size, int) else tuple(size)
    channels = _value(inner, "num_channels", "in_channels", "in_chans") or 3
    frames = _value(inner, "num_frames", "frames_per_clip")
    several = (frames,) if isinstance(frames, int) else ()
    return (_BATCH, *several, channels, *sides[:2]), "float32", None


def _features(config: Any) -> _Drawn | None:
    """(batch, mel bands, frames) of Whisper and its kind, (batch, frames, features) of others."""
    inner = _inner(config, "audio_config", "encoder_config", "encoder")
    if mel := _value(inner, "num_mel_bins", "num_mel_bands"):
        frames = _value(inner, "max_source_positions")
        size = (mel, 2 * frames) if frames else (2 * _FRAMES, mel)
        return (_BATCH, *size), "float32", None
    if width := _value(inner, "feature_projection_input_dim", "input_feat_per_channel"):
        return (_BATCH, _FRAMES, width * (_value(inner, "input_channels") or 1)), "float32", None
    return None


def _samples(config: Any) -> _Drawn | None:
    """(batch, samples) of a waveform, with channels before them where it has some, or (batch,
    frames, mel bands) of a spectrogram."""
    inner = _inner(config, "audio_config", "encoder")
    kernels, strides = _value(inner, "conv_kernel"), _value(inner, "conv_stride")
    if kernels and strides:
        samples = _FRAMES
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            samples = (samples - 1) * stride + kernel
        return (_BATCH, samples), "float32", None
    if channels := _value(inner, "audio_channels"):
        return (_BATCH, channels, _SAMPLES), "float32", None
    mel, frames = _value(inner, "num_mel_bins"), _value(inner, "max_length")
    return (_BATCH, *((frames, mel) if mel and frames else (_SAMPLES,))), "float32", None


_SPECS = {
    "decoder_input_ids": _decoder_ids,
    "input_features": _features,
    "input_ids": _ids,
    "input_values": _samples,
    "qformer_input_ids": lambda config: _tokens(config, _inner(config, "qformer_config")),
    "pixel_values": _image,
    "pixel_values_videos": _image,
}
