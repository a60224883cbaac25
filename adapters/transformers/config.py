"""config.json as transformers has it, without what has transformers read or run more than it."""

from collections.abc import Iterator, Mapping
from typing import Any

from probe import printable
from probe.errors import CannotOpen

from .directory import CONFIG, Directory
from .own_code import ALLOWED
from .reason import reason

__all__ = ["code_within", "made", "values", "without_code"]

_PRECISIONS = ("float64", "float32", "float16", "bfloat16")
_SPECIAL = ("Infinity", "-Infinity", "NaN")
_KERNELS = ("eager", "sdpa")
"""The implementations of attention that need no package and no kernel from a server."""
_QUANTISATION = "quantization_config"
"""No config of a model: torchao has keys with an underscore there."""
_LEFT_OUT = ("attribute_map", "auto_map", "fusion_config", "name_or_path", "transformers_weights")
"""What names code or files; ``attribute_map`` gives any key the name of another."""


def made(directory: Directory, cls: Any, own: bool) -> tuple[Any, tuple[str, ...]]:
    """The config of the class, and what was not taken over from config.json; the configs inside are
    left as they are for code of the directory's ``own``, which was agreed to."""
    place = directory.path / CONFIG
    if directory.dtype and directory.dtype not in _PRECISIONS:
        raise CannotOpen(
            f"{place} asks for the precision {printable.name(repr(directory.dtype))}; "
            f"{', '.join(_PRECISIONS)} can be opened"
        )
    try:
        config = cls.config_class.from_dict(values(directory, own))
    except MemoryError:
        raise
    except Exception as error:  # a config may be wrong in any way
        raise CannotOpen(
            f"{place} is refused by {cls.config_class.__name__}: {reason(error)}"
            f"{without_code(directory, own)}"
        ) from None
    asked = [name for name in _implementations(config) if name not in (None, *_KERNELS)]
    if not asked:
        return config, ()
    if getattr(cls, "_supports_sdpa", False):
        config._attn_implementation = "sdpa"
    else:
        config._attn_implementation = "eager"
    return config, (
        f"{CONFIG} asks for the attention {printable.name(repr(asked[0]))}, which is not for this "
        f"CPU: opened with {config._attn_implementation}",
    )


def values(directory: Directory, own: bool) -> dict[str, Any]:
    """What the config class takes of config.json."""
    found = directory.config or {}
    return {key: _decoded(value, own or key == _QUANTISATION) for key, value in _kept(found)}


def _kept(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key not in _LEFT_OUT and not key.startswith("_"):
            yield key, value


def _decoded(value: Any, whole: bool) -> Any:
    """The value, with ``whole`` all of it; transformers writes what JSON has no numbers for as
    {"__float__": "Infinity"}."""
    if isinstance(value, list):
        return [_decoded(part, whole) for part in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"__float__"} and value["__float__"] in _SPECIAL:
        return float(value["__float__"])
    entries = value.items() if whole else _kept(value)
    return {key: _decoded(value, whole or key == _QUANTISATION) for key, value in entries}


def code_within(config: Any, place: str = "") -> Iterator[str]:
    """What the configs inside name as code, such as "decoder: net.Net"."""
    if isinstance(config, list):
        for at, part in enumerate(config):
            yield from code_within(part, f"{place}[{at}]")
    elif isinstance(config, Mapping):
        named = config.get("auto_map") if place else None
        if isinstance(named, Mapping):
            yield from (f"{place}: {part}" for part in named.values())
        for key, part in config.items():
            yield from code_within(part, f"{place}.{key}" if place else key)


def without_code(directory: Directory, own: bool) -> str:
    """What is added to a reason where the configs inside name code, which may be what is missing;
    "" otherwise."""
    within = [] if own else list(code_within(directory.config))
    names = printable.several(within, 3)
    if within:
        return f" (without code of the directory's own, {names}: {ALLOWED})"
    return ""


def _implementations(config: Any) -> list[str | None]:
    """Which attention the config and those inside ask for."""
    inner = [getattr(config, name, None) for name in getattr(config, "sub_configs", {})]
    return [
        getattr(config, "_attn_implementation", None),
        *(found for part in inner if part is not None for found in _implementations(part)),
    ]
