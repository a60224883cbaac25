"""Runs of a file, of one of its nodes, and of the rest of it, with what they gave."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from probe.errors import BadInput

from .cut_out import cut, readable, whole
from .dataflow import STATE, Dataflow, short
from .engine_calls import EngineFile
from .run_in_child import Job, Ran, Refused, run
from .run_limits import limits
from .schema import TfliteNode

__all__ = ["Runs", "Values"]


@dataclass(eq=False)
class Values:
    """What the tensors of a file held in a run."""

    arrays: dict[int, np.ndarray]
    before: Mapping[int, np.ndarray] = field(default_factory=dict)
    """Of variables: before the run."""
    delegated: frozenset[int] = frozenset()
    refused: Mapping[int, str] = field(default_factory=dict)
    """Number of a node -> why the engine does not run it."""

    def delegated_to(self, node: TfliteNode) -> bool:
        """Whether XNNPACK computed the node."""
        return bool(self.delegated.intersection(node.outputs))

    def taken(self, at: int) -> np.ndarray | None:
        """What a node took from a tensor: of a variable what that held before."""
        return self.before.get(at, self.arrays.get(at))


@dataclass(eq=False)
class Runs:
    """Makes them; what the engine said of the file as a whole is kept."""

    flow: Dataflow
    engine: str
    named: str
    """The engine and the file in words: "LiteRT 2.3.0 (xnnpack) running x.tflite"."""
    trusted: bool
    refusal: str = ""
    """Why the engine does not run the file as a whole; "" where it does, or it is not known yet."""
    depth: int = 0
    """In how many others this subgraph runs."""

    def passed(self, feeds: Mapping[int, np.ndarray], wanted: Collection[int] | None) -> Values:
        """A pass of the file: these tensors (None: all); with none wanted the outputs alone, as the
        engine runs it by itself."""
        if not self.refusal:
            piece = whole(self.flow.model)
            keep = wanted is None or bool(wanted)
            if wanted:
                piece = replace(piece, read=tuple(at for at in piece.read if at in wanted))
            try:
                return self._values(Job(self.engine, (piece,), feeds, keep), feeds)
            except Refused as error:
                if error.stage == "invoke" or not self._as_declared(feeds):
                    raise
                self.refusal = str(error)
        nodes = [node for node in self.flow.main.nodes if node.operator not in STATE]
        values = self._each(nodes, feeds)
        if len(values.refused) == len(nodes):
            raise Refused(self.refusal, "prepare")
        return values

    def _each(self, nodes: Sequence[TfliteNode], feeds: Mapping[int, np.ndarray]) -> Values:
        """Node by node, as far as the engine runs them; what it refuses another one runs."""
        pieces = tuple(self._cut([node]) for node in nodes)
        instead = "" if self.engine == "optimised" else "optimised"
        job = Job(self.engine, pieces, feeds, instead=instead, each=True)
        values = self._values(job, feeds)
        reasons = {
            nodes[number].index: f"{self.engine} does not run it: {why.rstrip('.')}; --engine "
            "(engine=) chooses another"
            for number, why in values.refused.items()
        }
        return replace(values, refused=reasons)

    def behind(self, node: TfliteNode, values: Values) -> Values:
        """What comes behind a node, from these values on."""
        rest = [
            later for later in self.flow.main.nodes[node.index + 1 :] if later.operator not in STATE
        ]
        if not rest:
            return values
        piece = self._cut(rest)
        missing = [at for at in piece.inputs if at not in values.arrays]
        if missing:
            raise BadInput(
                "what comes behind a replaced output takes "
                f"{short(self.flow.tensors[missing[0]].name)}, which {self.engine} did not give"
            )
        if self.refusal:
            found = self._each(rest, values.arrays)
        else:
            found = self._values(Job(self.engine, (piece,), values.arrays), values.arrays)
        return Values(
            values.arrays | found.arrays,
            {**values.before, **found.before},
            values.delegated | found.delegated,
            values.refused,
        )

    def alone(self, node: TfliteNode, given: Mapping[int, np.ndarray]) -> Values:
        """One node on these inputs, with those that compute its constants."""
        chain = self.flow.behind(node)
        shapes = {at: array.shape for at, array in given.items()}
        piece = self._cut(chain, shapes)
        missing = [at for at in piece.inputs if at not in given]
        if missing:
            raise BadInput(
                f"{short(self.flow.tensors[node.outputs[0]].name)!r} takes "
                f"{short(self.flow.tensors[missing[0]].name)}, which the model computes from "
                "shapes, so it cannot run alone: give the model's input"
            )
        return self._values(Job(self.engine, (piece,), given), given)

    def of_subgraph(self, number: int) -> "Runs":
        """Those of another subgraph of the file."""
        flow = Dataflow(self.flow.model.starting_at(number))
        named = f"{self.named.partition(', subgraph ')[0]}, subgraph {number},"
        return Runs(flow, self.engine, named, self.trusted, depth=self.depth + 1)

    def _cut(
        self, nodes: Sequence[TfliteNode], shapes: Mapping[int, tuple[int, ...]] | None = None
    ) -> EngineFile:
        return cut(self.flow.model, nodes, shapes)

    def _as_declared(self, feeds: Mapping[int, np.ndarray]) -> bool:
        return all(self.flow.tensors[at].shape == array.shape for at, array in feeds.items())

    def _values(self, job: Job, feeds: Mapping[int, np.ndarray]) -> Values:
        fed = sum(array.nbytes for array in feeds.values())
        ran: Ran = run(job, self.named, limits(self.flow.model, fed, self.trusted))
        arrays = {at: array for at, array in feeds.items() if readable(self.flow.tensors[at])}
        return Values(arrays | ran.arrays, ran.before, ran.delegated, ran.refused)
