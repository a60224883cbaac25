"""What a comparison of two models found out, as a value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from probe import printable
from probe.comparison.compare import Comparison
from probe.report import Finding
from probe.report.as_json import dumped, plain
from probe.report.effect import Effect
from probe.report.pictures import Drawn

__all__ = ["ModelComparison", "Pair"]


@dataclass(frozen=True, eq=False, repr=False)
class Pair:
    """A tensor of each model that stand for one another, and what lies before them."""

    a: tuple[str, ...]
    """The layers of A between this tensor and the pairs before it, in execution order."""
    b: tuple[str, ...]
    """The same of B."""
    axes: str
    """The order of B's axes in A's, such as "0,3,1,2"; "" where they are equal. Both shapes where
    axes are merged or split."""
    how: str
    """What the pair follows from: "given", "weights", "name", "values" or "structure"; of weights
    that are compared as they are stored "stored weights"."""
    local: Comparison | None
    """What B's layers make of A's tensors, against A's result, in A's axes; None where they cannot
    be computed."""
    propagated: Comparison | None
    """B's own tensor against A's, in A's axes: with all that came down from before."""
    verdict: str
    """"agree", "diverge" or "unchecked", of the local error."""
    source: bool = False
    """Whether a fault is made here, and does not only show."""
    findings: tuple[Finding, ...] = ()
    """The mistakes that give B's values from A's layers, best first."""
    differs: tuple[tuple[str, Any, Any], ...] = ()
    """What the two descriptions differ in: (field, A's, B's); of a pair that agrees, numbers that
    this input does not show."""
    relations: tuple[str, ...] = ()
    """For each of ``differs`` how B's numbers follow from A's, in words, which the notes hold too;
    "" where that is not known."""
    notes: tuple[str, ...] = ()
    """What else is to be said of it, a sentence each."""
    fitting: int = 1
    """How many orders of axes agree equally well on this input."""
    shape: tuple[int, ...] = ()
    """Of A's tensor."""
    tensors: tuple[str, str] = ("", "")
    """The layers whose outputs the two are."""
    expected: float | None = None
    """The error that B's number format is expected to make in these layers, as a part of the
    deviation of A's tensor; None where B has A's precision."""
    after: tuple[str, ...] = ()
    """The tensors of B that its layers take, as ``tensors`` names them."""
    drawn: Drawn = field(default_factory=Drawn)
    """Pictures of its errors, for a page; of the first pairs that differ."""
    called: tuple[tuple[str, int] | None, tuple[str, int] | None] = (None, None)
    """The last layer of A's, and of B's, and which of its calls; None of arrays alone."""
    replaced: str = ""
    """Whose output there was replaced by your values, in words; such a pair is no difference."""
    computed: str = "B"
    """Whose layers the local error is of: "A" where B is arrays alone, "" of stored weights."""
    given: str = ""
    """The name of the array that is compared with what a layer gives, where one side is arrays
    alone and it is in the layer's order of axes."""

    @property
    def end(self) -> str:
        """The tensor of the model that is computed, as ``after`` names them."""
        return self.tensors["AB".index(self.computed)]

    def __repr__(self) -> str:
        names = f"{' + '.join(self.a)} ~ {' + '.join(self.b)}"
        return printable.name(f"<Pair {names}: {self.verdict}{', source' * self.source}>")


@dataclass(frozen=True, eq=False, repr=False)
class ModelComparison:
    """Two models on one input: where the second leaves the first, and why.

    ``str(comparison)`` is what the command prints; ``to_json()`` is the same for machines.
    """

    verdict: str
    """"agree", "diverge", or "unchecked" where the models could not be compared throughout."""
    sentence: str
    """The verdict and its reason in one sentence."""
    pairs: tuple[Pair, ...]
    """In B's execution order."""
    unpaired: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """The layers of A, and those of B, that no pair accounts for."""
    a: str = ""
    """What the first model is: its path, or what kind of live object."""
    b: str = ""
    how: str = ""
    """Where the input comes from."""
    notes: tuple[str, ...] = ()
    """Notes on the models, their inputs and the comparison, a sentence each."""
    inputs: tuple[str, ...] = field(default=())
    """How B's inputs follow from A's, a sentence each."""
    effect: tuple[Effect | None, Effect | None] = (None, None)
    """What your values in the place of layers' outputs make of A's output, and of B's; None where
    none were given."""
    takes: tuple[str, str] = ("", "")
    """Which argument of ``compare`` A, and B, was run on: "x" or "x_b"; "recorded" of a recording,
    "" where B's input is made of A's."""
    opened: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """The words of a command that open A, and B, and give its input: the path first. () where no
    command can."""

    @property
    def ok(self) -> bool:
        """True only for "agree"."""
        return self.verdict == "agree"

    @property
    def sources(self) -> tuple[Pair, ...]:
        """The pairs where a fault is made, in execution order."""
        return tuple(pair for pair in self.pairs if pair.source)

    def opened_by(
        self, a: Sequence[str], b: Sequence[str], inputs: Mapping[str, Sequence[str]]
    ) -> "ModelComparison":
        """The same with ``opened``: of words that open A and B, and those that give an input."""
        known = {"recorded": (), **inputs}
        first, second = (
            (*opening, *known[name]) if opening and name in known else ()
            for opening, name in zip((a, b), self.takes, strict=True)
        )
        return replace(self, opened=(first, second))

    def __str__(self) -> str:
        from probe.model_comparison.reports.text import render  # noqa: PLC0415 - it reads this class

        return render(self, fold=True)

    def __repr__(self) -> str:
        return printable.name(f"<ModelComparison {self.sentence}>")

    def to_json(self) -> str:
        """Everything but the arrays.

        Returns:
            An object with the pairs in execution order; NaN and inf are strings.
        """
        from probe.model_comparison.reports.blocks import facts  # noqa: PLC0415

        return dumped(plain(facts(self)))

    def to_markdown(self) -> str:
        """The comparison for an issue or the summary of a hosted test run."""
        from probe.model_comparison.reports.markdown import render  # noqa: PLC0415

        return render(self)

    def _repr_html_(self) -> str:
        from probe.model_comparison.reports.html import fragment  # noqa: PLC0415

        return fragment(self)

    def to_html(self) -> str:
        """One self-contained page.

        Returns:
            HTML with the table of pairs, their graph and the sources in full.
        """
        from probe.model_comparison.reports.html import to_html  # noqa: PLC0415

        return to_html(self)
