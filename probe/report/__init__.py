"""What a check found out, as a value; the other files of this package print it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probe import printable
from probe.comparison.compare import PARTIES, Comparison
from probe.ops.weight import Grid, Weight
from probe.report.as_json import to_json
from probe.report.effect import Effect
from probe.report.saving import save
from probe.report.text import render
from probe.report.weight_part import Sensitivity

# ruff: noqa: PLC0415 - pages and notebooks are made by few checks.

__all__ = ["PARTIES", "ComparedWith", "Finding", "Outputs", "Report"]

Outputs = np.ndarray | tuple[np.ndarray | None, ...]
"""One array for a layer with one output, otherwise a tuple of them."""


@dataclass(frozen=True, repr=False)
class Finding:
    """A mistake whose predicted output equals that of the diverging party."""

    slug: str
    """Its name, as ``probe causes`` lists it."""
    claim: str
    """What was done instead, with the numbers that were fitted."""
    left: float
    """What it leaves unexplained, in units of the allowance."""
    explained: float = 1.0
    """How much of the difference it explains (1: all of it)."""
    do: str = ""
    """What to do about it."""
    tie: bool = False
    """Whether other findings explain it just as well."""
    also: tuple[str, ...] = ()
    """Other mistakes made at the same time."""
    party: str = "expected"
    """Whose values it explains."""
    recovered: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)
    """The weights that give these values, where they were solved for, by the framework's names and
    in its layout."""

    lines: tuple[tuple[str, str], ...] = ()
    """The mistake as lines of the layer's script (``probe.script``): what that party does and what
    the layer does, "" where one of them has no such line; () where it cannot be written."""

    code: tuple[str, ...] = ()
    """The lines of the model's own source that do it otherwise, each with its place:
    ``block.py:12: x = x + self.gamma * y``; () where they are not known."""

    @property
    def named(self) -> str:
        """All mistakes by their slugs, and whether they are a part of the reason only."""
        part = self.left > 1 and self.slug != "rounding"
        return " and ".join((self.slug, *self.also)) + " (in part)" * part

    def __str__(self) -> str:
        return printable.line(f"{self.named}: {self.claim}")

    def __repr__(self) -> str:
        return f"<Finding {self}>"


@dataclass(frozen=True, eq=False, repr=False)
class ComparedWith:
    """What a party's outputs were compared with, and how far each element may lie from it."""

    reference: tuple[np.ndarray, ...]
    allowance: tuple[np.ndarray, ...]

    def __repr__(self) -> str:
        return f"<ComparedWith {', '.join(str(array.shape) for array in self.reference)}>"


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """One call of one layer: who computed what, who agrees with whom, and why.

    ``str(report)`` is what the command prints; ``to_json()`` is the same for machines.
    """

    layer: str
    """Its name in the framework."""
    kind: str
    """Its class, function or operator."""
    call: int
    """Which of its calls in the forward pass, from 0."""
    verdict: str
    """"agree", "diverge", or "unchecked" where there was nothing to compare with."""
    sentence: str
    """The verdict and its reason in one sentence."""
    outputs: Mapping[str, Outputs]
    """The output of each party that has one ("framework", "numpy", "onnx", "expected"): an array,
    or a tuple of arrays for several outputs, in the framework's layout."""
    missing: Mapping[str, str]
    """Why a party has none."""
    comparisons: Mapping[tuple[str, str], Comparison]
    """Each pair of parties over all outputs, keys in the order of ``outputs``."""
    weights: Mapping[str, Weight]
    """By the framework's names, in its layout."""
    inputs: tuple[np.ndarray, ...]
    """What the call was given, in the framework's layout."""
    input_axes: tuple[str, ...] = ()
    """What the axes of the first input are called, such as ("batch", "height", "width",
    "channel"); () where nothing is said."""
    output_axes: tuple[str, ...] = ()
    """Of the first output."""
    output_names: tuple[str, ...] = ()
    """What the framework calls the outputs, where there are several."""
    dtype: str = "float32"
    """The precision that the layer computes in, which the allowances follow from."""
    source: str = ""
    """The model's path, or what kind of live object it is."""
    framework: str = ""
    """Name and version of what ran it."""
    how: str = ""
    """Where the input comes from: given, or random with its seed."""
    notes: tuple[str, ...] = ()
    """Notes on the model, the forward pass and the comparison, a sentence each."""
    ops: tuple[str, ...] = ()
    """The steps: each op by name, and in words."""
    parameters: tuple[dict[str, Any], ...] = ()
    """For each op what it does beside its weights, by name: strides, pads, epsilon, gates, ..."""
    numbers: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of a layer that gives codes: what its steps compute with beside the weights, whole, by step
    and name, such as "requantize_multiplier"."""
    input_grids: tuple[Grid | None, ...] = ()
    """What the integers of each input stand for; None of numbers, and () where none stand for
    others."""
    output_grids: tuple[Grid | None, ...] = ()
    """The same of the outputs."""
    calls: tuple[str, ...] = ()
    """Of a layer that is composed of several calls: which of them each op is part of, named from
    the layer."""
    blind: tuple[str, ...] = ()
    """What this input could not have revealed, a sentence each."""
    visible: float | None = None
    """The smallest relative change of one weight that this check could have seen."""
    sensitivity: Sensitivity | None = None
    """How large a change of how many weights this check would have seen; None where that is not
    known."""
    known: np.ndarray | None = None
    """Of a part of the output: where ``outputs["expected"]`` holds your values; it is NaN
    elsewhere. None: you gave all of it, or nothing."""
    findings: tuple[Finding, ...] = field(default=())
    """The mistakes that give the diverging values, best first."""
    diagnosis: tuple[str, ...] = ()
    """Sentences beside the findings: that none fits, where the differences are, that the search
    stopped."""
    ask: str = ""
    """Of a block in which no mistake was found: the call within it whose output would tell most
    next, given beside that of the block."""
    alias: str | None = None
    """Another name of a function call, by the source line that makes it: ``block/add@17``. It stays
    what it is where other calls come before it."""

    inputs_from: tuple[tuple[str, int] | None, ...] = ()
    """In a sweep with ``flow``: the layer that made each input and which of its calls, from 0; None
    for the model's own inputs and where it is not known."""

    inherits: str = ""
    """In a sweep over your own values: the last layer before this one whose values diverge, where
    those of this one's inputs are not among yours; its difference may come from there."""

    replaced: str = ""
    """Where the layers after it ran on your values in place of its output (``replace``): how far
    these lie from it."""

    effect: Effect | None = None
    """What becomes of the model's output where your values take the place of layers' outputs; in a
    sweep that of the sweep as a whole."""

    held: Mapping[str, ComparedWith] = field(default_factory=dict)
    """What each party but NumPy was held against, where one call is checked alone."""

    @property
    def call_name(self) -> str:
        """Its layer, with the number of a call that is not the first: "relu:1"."""
        if self.call:
            return f"{self.layer}:{self.call}"
        return self.layer

    def output_name(self, output: int) -> str:
        """What the framework calls an output, or its number.

        Args:
            output: Which of the outputs, from 0.
        """
        if output < len(self.output_names):
            return self.output_names[output]
        return f"output {output}"

    @property
    def ok(self) -> bool:
        """True only for "agree"."""
        return self.verdict == "agree"

    def __str__(self) -> str:
        return render(self)

    def __repr__(self) -> str:
        call = f" call {self.call}" if self.call else ""
        return printable.name(f"<Report {self.layer or '(root)'}{call}: {self.verdict}>")

    def to_json(self) -> str:
        """Everything but the arrays' values.

        Returns:
            An object whose arrays are given by shape, dtype and summary; NaN and inf are strings.
        """
        return to_json(self)

    def to_markdown(self) -> str:
        """The report for an issue or the summary of a hosted test run."""
        from probe.report import markdown

        return markdown.render(self)

    def to_html(self) -> str:
        """The report as a page of its own, with pictures of the differences.

        Returns:
            One self-contained file: no network, readable without script and style sheet.
        """
        from probe.report.html import report_page

        return report_page(self)

    def _repr_html_(self) -> str:
        from probe.report.html import fragment

        return fragment(self)

    def save(self, path: str) -> None:
        """Writes inputs, stored and effective weights and every party's output.

        Args:
            path: An .npz, a C header (.h), or numbers a line each (.txt); it is written whole or
                not at all.

        Raises:
            BadInput: The name has none of these suffixes, or the file cannot be written.
        """
        save(self, path)
