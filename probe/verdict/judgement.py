"""What is known of one call once every party has answered, and before it is put in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from probe.comparison.compare import PARTIES, Comparison
from probe.evaluation.party import Arrays, PartyResult
from probe.evaluation.reference import Reference
from probe.model import Capture
from probe.verdict.detection_power import Power
from probe.verdict.engine_differences import Unusual

__all__ = ["Judgement", "Pair"]

Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Judgement:
    """One call: what every party gave, and how each and every two of them compare."""

    capture: Capture
    outputs: Mapping[str, Arrays]
    """Of each party that answered, in the order of PARTIES."""
    missing: Mapping[str, str]
    """Why a party did not."""
    layer: Reference | None = None
    """The layer in NumPy, where it has a description."""
    results: Mapping[str, PartyResult] = field(default_factory=dict)
    """Of each party but NumPy: what it was held against."""
    comparisons: Mapping[Pair, Comparison] = field(default_factory=dict)
    power: Mapping[str, Power] = field(default_factory=dict)
    """Where all agree: what each party's allowance can tell."""
    unusual: Unusual = field(default_factory=Unusual)
    """Where not all agree."""
    within: Mapping[str, "Judgement"] = field(default_factory=dict)
    """Of a composed layer: the calls within it that are judged by themselves, by name."""
    tolerant: bool = False
    """Whether the user's own rtol and atol take the place of the allowance."""
    notes: tuple[str, ...] = ()

    @property
    def present(self) -> list[str]:
        return [party for party in PARTIES if party in self.outputs]

    @property
    def differing(self) -> list[str]:
        """The parties that differ from NumPy."""
        apart = {pair for pair, comparison in self.comparisons.items() if not comparison.ok}
        return [party for party in self.present if {("numpy", party), (party, "numpy")} & apart]
