"""Whether watching a model changes its result, found out once for a model and an input."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from weakref import finalize

import numpy as np

from probe.capture.model_inputs import Bound
from probe.files.regular_file import exists
from probe.model import Model, recorded

__all__ = ["Known", "known_of", "out_of_a_file", "watching", "watching_once"]


@dataclass(eq=False)
class Known:
    """What passes of an opened model on one input have told."""

    watching: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    """What ``watching`` found, by the digest of the pass' result."""
    passed: tuple[str, ...] | None = None
    """The same of a model out of a file, whose later passes may end behind the layer that is asked
    for."""
    calls: dict[str, int] = field(default_factory=dict)
    """How often such a pass calls a layer."""


_KNOWN: dict[int, dict[bytes, Known]] = {}
"""By the identity of the opened model while it lives, and by the digest of the input."""


def out_of_a_file(opened: Model) -> bool:
    """Whether nobody else has the model, so that it stays as it is: of a live object the source is
    words."""
    return exists(opened.source)


def known_of(opened: Model, bound: Bound) -> Known:
    if id(opened) not in _KNOWN:
        _KNOWN[id(opened)] = {}
        finalize(opened, _KNOWN.pop, id(opened), None)
    return _KNOWN[id(opened)].setdefault(_digest(bound.how, bound.arrays), Known())


def _digest(words: str, arrays: Sequence[np.ndarray]) -> bytes:
    digest = blake2b(words.encode(errors="surrogatepass"))  # names may be no valid Unicode
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape} ".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
    return digest.digest()


def watching_once(bound: Bound, outputs: tuple[np.ndarray, ...], known: Known) -> tuple[str, ...]:
    """What ``watching`` finds, found out once for an opened model, an input and a result."""
    if (key := _digest("", outputs)) not in known.watching:
        known.watching[key] = watching(bound.model, bound.arrays, outputs)
    return known.watching[key]


def watching(
    model: Model, arrays: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...]
) -> tuple[str, ...]:
    """Whether the model gives the same with nobody watching, and whether it repeats itself at
    all."""
    if (recording := recorded(model)) is not None:
        return recording.watching

    def same(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> bool:
        return len(left) == len(right) and all(
            array.shape == other.shape and array.tobytes() == other.tobytes()
            for array, other in zip(left, right, strict=True)
        )

    def unwatched() -> tuple[np.ndarray, ...]:
        return model.run(arrays, (), lambda _: None)

    first = unwatched()
    if same(first, outputs):
        return ()
    if same(first, unwatched()):
        return (
            (
                "capturing activations changes the result: the uninstrumented forward pass "
                "is not bit-identical (fused or compiled kernels)"
            ),
        )
    return (
        (
            "the model is nondeterministic: two passes on the same input differ (active "
            "dropout or random layers)"
        ),
    )
