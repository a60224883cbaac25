"""What shape a module wants its input in, in words, and how to bring another shape to it."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from probe.model import InputSpec

from ..describe.describe import SPATIAL, public_name

__all__ = ["Expectation", "expectation", "guessed", "mismatch", "needed", "without_batch"]


class Expectation(NamedTuple):
    """The axes by name; the axis whose size the module fixes, and that size; how many leading axes
    may be left out."""

    axes: tuple[str, ...]
    fixed: int
    size: int

    def shape(self) -> str:
        """Such as "(batch, 3, height, width)"."""
        sizes = list(self.axes)
        sizes[self.fixed] = str(self.size)
        return f"({', '.join(sizes)})"


def expectation(module: Any) -> Expectation | None:
    """What a layer with a weight expects, by the name of its class; None where nothing is known."""
    for cls in type(module).__mro__:
        kind = cls.__name__
        if not public_name(cls).startswith("torch.nn."):
            continue
        if kind.startswith(("Conv", "BatchNorm")) and kind[-2:] in ("1d", "2d", "3d"):
            if kind.startswith("Conv"):
                size = module.in_channels
            else:
                size = module.num_features
            return Expectation(("batch", "channels", *SPATIAL[int(kind[-2])]), 1, size)
        if kind == "Linear":
            return Expectation(("batch", "features"), -1, module.in_features)
        if kind == "GroupNorm":
            return Expectation(("batch", "channels"), 1, module.num_channels)
        if kind in ("RNN", "LSTM", "GRU"):
            axes = ("batch", "steps") if module.batch_first else ("steps", "batch")
            return Expectation((*axes, "features"), -1, module.input_size)
    return None


def guessed(modules: Sequence[Any]) -> tuple[InputSpec, ...]:
    """What the input may be by the first layer that looks up indices or fixes a size."""
    if modules and public_name(type(modules[0])).startswith("torch.nn.Embedding"):
        return (InputSpec("x", (None, None), "int64"),)
    wanted = next(filter(None, map(expectation, modules)), None)
    if wanted is None:
        return ()
    sizes: list[int | None] = [None] * len(wanted.axes)
    sizes[wanted.fixed] = wanted.size
    if wanted.axes != ("batch", "features"):
        return (InputSpec("x", tuple(sizes)),)
    return tuple(InputSpec("x", (*[None] * free, wanted.size)) for free in (1, 2, 3))


def needed(module: Any) -> tuple[str, ...]:
    """The parameters of forward that have no default."""
    parameters = inspect.signature(module.forward).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(
        part.name for part in parameters if part.default is part.empty and part.kind not in kinds
    )


def mismatch(module: Any, shape: tuple[int, ...], *, of_model: bool = True) -> str | None:
    """A sentence that names the axes and the way out, where the shape is not what the module
    expects; ``of_model``: it is the shape of the model's input."""
    wanted = expectation(module)
    if wanted is None:
        return None
    rank, kind = len(wanted.axes), type(module).__name__
    rigid = wanted.axes[-1] in ("length", "height", "width")
    if (len(shape) == rank or (not rigid and len(shape) > rank)) and shape[
        wanted.fixed
    ] == wanted.size:
        return None
    if len(shape) == rank - 1 and hasattr(module, "in_channels") and shape[0] == wanted.size:
        return None  # A convolution takes a single sample too.
    if kind == "BatchNorm1d" and len(shape) == 2 and shape[1] == wanted.size:
        return None  # It takes channels without a length too.
    what = wanted.axes[wanted.fixed]
    if rigid or wanted.fixed == 1:
        axes = f"({', '.join(wanted.axes)})"
    else:
        axes = f"(..., {what})"
    advice = _advice(wanted, shape, rigid, of_model)
    if not of_model:
        return f"{kind} expects {axes} with {wanted.size} {what}: {advice}"
    return f"{kind} expects {axes} with {wanted.size} {what}; you gave {shape}: {advice}"


def _advice(wanted: Expectation, shape: tuple[int, ...], rigid: bool, at_root: bool) -> str:
    size, rank, what = wanted.size, len(wanted.axes), wanted.axes[wanted.fixed]
    if not rigid:
        if len(shape) > 2 and size == _product(shape[1:]):
            return "flatten it, x.reshape(len(x), -1)"
        return (
            f"axis {wanted.fixed % rank if wanted.fixed > 0 else max(0, len(shape) - 1)} must "
            f"have size {size}"
        )
    tail = ", :" * (rank - 2)
    if len(shape) <= 2 and (sizes := _filled(size, rank - 2, shape)):
        text = ", ".join(map(str, sizes))
        given = text.replace(" ", "")
        return f"reshape it, x.reshape({text}), or give --shape {given} with a file of numbers"
    if len(shape) == rank:
        if shape[-1] == size:
            return "move the channels from the end, np.moveaxis(x, -1, 1)"
        return f"axis 1 must have size {size}"
    if len(shape) == rank - 1:
        if shape[0] == size and size > 1:
            return (
                f"add a batch axis to the model's input, x[None]{_random(shape, of_model=at_root)}"
            )
        if shape[-1] == size and size > 1:
            return (
                "move the channels from the end and add a batch axis, np.moveaxis(x, -1, 0)[None]"
            )
        return f"add a channel axis, x[:, None{tail}]" + _more(size, what)
    if len(shape) == rank - 2:
        return f"add a batch and a channel axis, x[None, None{tail}]" + _more(size, what)
    if len(shape) < 3:
        return f"reshape it to {wanted.shape()}, or give --shape with a file of numbers"
    return f"give it {rank} axes"


def without_batch(root: Any, shape: tuple[int, ...], failed: Any) -> str | None:
    """A sentence where the model's input is one sample alone, which its first layer, a convolution,
    takes, and the one behind it that failed may not."""
    first = next((module for module in root.modules() if expectation(module) is not None), None)
    wanted = expectation(first)
    if wanted is None or first is failed or not hasattr(first, "in_channels"):
        return None
    if len(shape) != len(wanted.axes) - 1 or shape[0] != wanted.size:
        return None
    return (
        f"the model's input {shape} is ({', '.join(wanted.axes[1:])}) without a batch axis: add "
        f"one, x[None]{_random(shape, of_model=True)}"
    )


def _random(shape: tuple[int, ...], *, of_model: bool) -> str:
    if not of_model:
        return ""
    return f" (for a random input: --shape {','.join(map(str, (1, *shape)))})"


def _filled(size: int, spatial: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of so many channels and equal sides that flat numbers, or those of a sample in a
    row, fill; () where none does, and where they are no more than a side."""
    batch = (shape[0] if len(shape) == 2 else 1,)
    side = round((shape[-1] / size) ** (1 / spatial)) if spatial > 1 else 0
    if side > 1 and size * side**spatial == shape[-1]:
        return (*batch, size, *[side] * spatial)
    return ()


def _more(size: int, what: str) -> str:
    if size == 1:
        return ""
    return f", and give it {size} {what}"


def _product(sizes: tuple[int, ...]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
