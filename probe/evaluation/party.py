"""One party to a check: what it gave, what it is held against, and how the two compare."""

from dataclasses import dataclass, replace

import numpy as np

from probe.comparison.compare import PARTIES, Comparison, compare
from probe.evaluation.bounds import Bounds
from probe.evaluation.reference import Reference
from probe.numerics.precision import Precision

__all__ = ["NAMES", "Allowed", "Arrays", "Extra", "Party", "PartyResult", "compared", "only"]

Arrays = tuple[np.ndarray | None, ...]
NAMES = {
    "framework": "the framework",
    "numpy": "NumPy",
    "onnx": "ONNX Runtime",
    "expected": "yours",
}


@dataclass(frozen=True, eq=False)
class Extra:
    """What a party is allowed beside its own rounding, an array for each output; () for nothing."""

    stored: tuple[np.ndarray, ...] = ()
    inside: tuple[np.ndarray, ...] = ()
    """The same where the layers before round every operation to half precision, too."""

    def of(self, precision: Precision) -> tuple[np.ndarray, ...]:
        if precision.stored:
            return self.stored
        return self.inside


_NOTHING = Extra()


@dataclass(frozen=True, eq=False)
class Party:
    """What one of PARTIES gave."""

    name: str
    outputs: Arrays
    bounds: Bounds
    """How far it may lie from NumPy in the arithmetic that it is held against first."""
    extra: Extra = _NOTHING
    known: np.ndarray | None = None
    """Where the user gave values, where not everywhere."""

    @property
    def layer(self) -> Reference:
        """NumPy on the inputs that these outputs were computed from."""
        return self.bounds.layer

    @property
    def precision(self) -> Precision:
        return self.bounds.precision

    @property
    def values(self) -> tuple[np.ndarray, ...]:
        """What NumPy gives."""
        return tuple(self.layer.values[-1])


@dataclass(frozen=True, eq=False)
class Allowed:
    """What a party is held against by a rule, and how far from that it may lie."""

    reference: tuple[np.ndarray, ...]
    """What NumPy gives: by itself, from the party's own states, or with 0 for subnormal numbers."""
    allowance: tuple[np.ndarray, ...]
    precision: Precision
    lossy: str = ""
    """What the party does that loses digits, as a verb phrase ("flushes subnormals to zero")."""
    doubtful: bool = False
    """Whether the party stays in doubt, and is not said to differ, where the rule holds and the
    check would have no power left."""
    note: str = ""


@dataclass(frozen=True, eq=False)
class PartyResult:
    """A party, the first rule that allows it (or the last of its own rounding where none does), and
    how it compares by that."""

    party: Party
    allowed: Allowed
    comparison: Comparison
    """With what NumPy gives, in the order of PARTIES."""
    doubt: str = ""
    """What would explain its values, had the check then any power left."""
    notes: tuple[str, ...] = ()

    @property
    def reference(self) -> tuple[np.ndarray, ...]:
        return self.allowed.reference

    @property
    def allowance(self) -> tuple[np.ndarray, ...]:
        return self.allowed.allowance


def compared(party: Party, allowed: Allowed) -> PartyResult:
    """The party held against what a rule allows."""
    pair: tuple[Arrays, Arrays] = (party.outputs, allowed.reference)
    if party.known is not None:
        pair = only(party.known, party.outputs), only(party.known, allowed.reference)
    left, right = pair if party.name == PARTIES[0] else pair[::-1]
    comparison = compare(left, right, allowed.allowance)
    if party.known is not None:
        comparison = replace(comparison, size=int(party.known.sum()))
    return PartyResult(party, allowed, comparison)


def only(known: np.ndarray, arrays: Arrays) -> Arrays:
    """The arrays with 0 in the first where it is not ``known``."""
    return (np.where(known, np.asarray(arrays[0]), 0.0), *arrays[1:])
