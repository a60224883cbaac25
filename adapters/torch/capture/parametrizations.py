"""What torch.nn.utils makes a parameter from, in words: pruning, weight and spectral normalisation,
parametrisations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["told"]

_NORMS = {
    "WeightNorm": ("{name}_g", "{name}_v"),
    "_WeightNorm": ("parametrizations.{name}.original0", "parametrizations.{name}.original1"),
}


def told(
    name: str, makers: Sequence[Any], parts: Mapping[str, np.ndarray], when: str
) -> tuple[str, ...]:
    """The steps from ``parts`` to the parameter, one for each maker in the order that they work in;
    ``when`` they do."""
    makers = _flat(makers)
    first = True
    words = []
    for maker in makers:
        words.append(_step(name, maker, parts, first))
        first = False
    kinds = (
        " and then ".join(type(maker).__name__.lstrip("_") for maker in makers)
        or "custom code of the module"
    )
    masked = [_masked(name, parts)] if f"{name}_mask" in parts else []
    return (
        f"computed from {', '.join(parts)} by {kinds} {when}",
        *masked,
        *(word for word in words if word),
    )


def _flat(makers: Sequence[Any]) -> list[Any]:
    """A PruningContainer is the methods in it, whose masks it has joined."""
    found: list[Any] = []
    for maker in makers:
        found += list(maker) if type(maker).__name__ == "PruningContainer" else [maker]
    return found


def _masked(name: str, parts: Mapping[str, np.ndarray]) -> str:
    mask = parts[f"{name}_mask"]
    return f"{name}_orig times {name}_mask: {int((mask == 0).sum())} of {mask.size} values masked"


def _step(name: str, maker: Any, parts: Mapping[str, np.ndarray], first: bool) -> str:
    kind = type(maker).__name__
    if kind in _NORMS and type(maker).__module__.startswith("torch.nn.utils"):
        size, direction = (part.format(name=name) for part in _NORMS[kind])
        if size not in parts or direction not in parts:
            return ""
        return f"{size} * {direction} / ||{direction}||, {_over(maker.dim, parts[direction].ndim)}"
    if kind in ("SpectralNorm", "_SpectralNorm"):
        return _spectral(name, maker, parts, first)
    if kind == "_Orthogonal":
        return f"the orthogonal matrix computed from it by {maker.orthogonal_map.name}"
    return ""


def _over(dim: int | None, ndim: int) -> str:
    if dim is None or dim == -1:
        return "the norm over all elements"
    axes = [str(axis) for axis in range(ndim) if axis != dim % ndim]
    if axes:
        return f"the norm over ax{'i' if len(axes) == 1 else 'e'}s {', '.join(axes)}"
    return "the norm of each element"


def _spectral(name: str, maker: Any, parts: Mapping[str, np.ndarray], first: bool) -> str:
    """Divided by sigma = u^T W v, with W the matrix whose rows are the slices along ``dim``."""
    old = type(maker).__name__ == "SpectralNorm"
    at = next((key.rpartition("_u")[0] for key in parts if key.endswith("_u")), "")
    whole = parts.get(f"{name}_orig" if old else f"parametrizations.{name}.original")
    u, v = (parts.get(f"{at}_{letter}") for letter in "uv")
    if u is None or v is None:
        return "divided by its norm"
    named = f"divided by sigma = u W v, with u = {at}_u and v = {at}_v"
    if whole is None or not first:
        return named
    matrix = np.moveaxis(whole, maker.dim % whole.ndim, 0).reshape(
        whole.shape[maker.dim % whole.ndim], -1
    )
    return f"{named}: {float(u @ matrix.astype(np.float64) @ v):.9g}"
