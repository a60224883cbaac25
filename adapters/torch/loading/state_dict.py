"""How a state_dict is brought into the module that a factory built, and what is said where it does
not fit."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from probe import printable
from probe.errors import CannotOpen
from probe.files.regular_file import is_file
from probe.listing import Layer, Listing, OnlyListed

from ..capture.tensors import dtype_name

__all__ = ["fill", "without_factory"]

_SHOWN = 5


def without_factory(path: Path, state: Mapping[str, Any]) -> OnlyListed:
    """The sentence for parameters alone: what to give, and what the file holds."""
    held = printable.several(
        (f"{printable.name(name)} {_shape(value)}" for name, value in state.items()), _SHOWN
    )
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    layers = tuple(
        Layer(
            name,
            dtype_name(value),
            output_shape=None if value.is_nested else tuple(value.shape),
            parameters=value.numel(),
        )
        for name, value in tensors.items()
    )
    beside = is_file(path.parent / "config.json") and path.suffix in (".safetensors", ".bin")
    way_out = (
        f"{path} is a state_dict (parameters without the module): give "
        + (f"its Hugging Face directory, {path.parent}, or " if beside else "")
        + "a callable that builds the module, --factory 'package.module:Net' or "
        "'path/net.py:Net(10, wide=True)' (factory= in Python)"
    )
    return OnlyListed(f"{way_out}. It contains {held}", Listing(layers, "dtype", notes=(way_out,)))


def fill(module: torch.nn.Module, state: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Loads the state into the module; raises one sentence that names every kind of misfit. Returns
    what there is to say."""
    kept, notes = _without_prefix(state, module.state_dict().keys())
    try:
        result = module.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        wanted = module.state_dict()
        raise _misfit(
            path,
            module,
            set(wanted) - set(kept),
            set(kept) - set(wanted),
            _wrong_shapes(kept, wanted),
            error,
        ) from None
    if result.missing_keys or result.unexpected_keys:
        raise _misfit(path, module, result.missing_keys, result.unexpected_keys, [], None)
    given, used = _precisions(kept.values()), _precisions(module.state_dict().values())
    if given != used and given and used:
        notes.append(
            f"the file's parameters are {' and '.join(given)}; the factory's module computes "
            f"in {' and '.join(used)}"
        )
    return tuple(notes)


def _without_prefix(
    state: Mapping[str, Any], wanted: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """The state without a first component that all names share ("module." of DataParallel) and the
    module's names lack."""
    kept, notes = OrderedDict(state), []
    metadata = dict(getattr(state, "_metadata", None) or {})
    if metadata:
        kept._metadata = metadata  # type: ignore[attr-defined]
    while kept:
        prefix = next(iter(kept)).partition(".")[0] + "."
        stripped = {name.removeprefix(prefix) for name in kept}
        shared = all(name.startswith(prefix) and name != prefix for name in kept)
        gain = len(stripped.intersection(wanted)) - len(kept.keys() & set(wanted))
        if not shared or gain < 0 or (gain == 0 and prefix not in ("module.", "_orig_mod.")):
            break
        consume_prefix_in_state_dict_if_present(kept, prefix)
        notes.append(f"removed the prefix {prefix!r} from every parameter name in the file")
    return kept, notes


def _wrong_shapes(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} (file {_shape(state[name])}, module {_shape(value)})"
        for name, value in wanted.items()
        if name in state and getattr(state[name], "shape", None) != getattr(value, "shape", None)
    ]


def _misfit(
    path: Path,
    module: torch.nn.Module,
    missing: Iterable[str],
    unexpected: Iterable[str],
    wrong: list[str],
    error: RuntimeError | None,
) -> CannotOpen:
    parts = [
        f"{word} {printable.several(names, _SHOWN)}"
        for word, names in (
            ("missing", sorted(missing)),
            ("unexpected", sorted(unexpected)),
            ("with another shape", wrong),
        )
        if names
    ]
    if error is not None and not wrong:
        parts.append(" ".join(str(error).split()))
    return CannotOpen(
        f"{path} does not fit the factory's {type(module).__name__}: {'; '.join(parts)}"
    )


def _shape(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    if value.is_nested:
        return "nested"
    return str(tuple(value.shape))


def _precisions(values: Iterable[Any]) -> list[str]:
    return sorted(
        {
            dtype_name(value)
            for value in values
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        }
    )
