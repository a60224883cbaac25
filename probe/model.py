"""What an adapter offers to the rest: a model that lists its layers and pushes their calls to a
callback.

A Protocol and not a base class: adapters share no code through it, and a test can offer one of its
own (tests/support/chain_model.py). Everything framework-specific (opening, capture, effective
weights, descriptions) stays behind it; what comes out is NumPy arrays, ``Description`` values and
sentences.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import numpy as np

from probe.description.description import Description
from probe.listing import Layer
from probe.ops.step import Step
from probe.ops.weight import Grid

__all__ = [
    "AndEvery",
    "Argument",
    "CallArguments",
    "CallOutput",
    "Capture",
    "Compiled",
    "Containing",
    "Held",
    "InputSpec",
    "Keyworded",
    "Model",
    "ModelInput",
    "NamesArrays",
    "OnCall",
    "OutputsAlone",
    "Part",
    "Producer",
    "Reads",
    "Recorded",
    "RecordedPass",
    "Rounding",
    "Runnable",
    "SeesCalls",
    "SharesMemory",
    "Slot",
    "StopForward",
    "TakesCodes",
    "Unloaded",
    "WorkedOut",
    "containers_of",
    "is_large",
    "is_model",
    "parameters_of",
    "recorded",
]


class StopForward(BaseException):
    """Raised by a callback to end a forward pass early; not an Exception, so that no model's own
    handler keeps it."""


class CallOutput(NamedTuple):
    """One output of a call that the pass has pushed before."""

    layer: str
    call: int
    output: int


class ModelInput(NamedTuple):
    """One of the arrays that the pass is run on."""

    position: int


class Argument(NamedTuple):
    """One of the tensors that a container was called on, where nothing that is known made it."""

    layer: str
    call: int
    position: int
    fixed: bool = False
    """Whether it is known not to follow from the model's input (``Capture.fixed``)."""


Producer = CallOutput | ModelInput | Argument


class CallAgain(Protocol):
    """A call of a framework's own function, to be made again."""

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """What the function gives for these tensors; () where it refuses them."""

    def others(self) -> "Iterator[tuple[str, CallAgain]]":
        """The same call with another of the arguments that are no tensors, in words."""

    def variants(self) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
        """What it gives with another argument each, which is said in words."""


@dataclass(frozen=True, eq=False)
class Capture:
    """One call of a layer: copies of its inputs and outputs, and its description read while the
    call was on.

    Arrays are in the framework's own layout; bfloat16 is widened to float32, which is exact.
    """

    layer: str
    kind: str
    call: int
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    dtype: str
    """The precision the layer computes in: "float32", "bfloat16", …"""
    description: Description | None = None
    why: str = ""
    """Why there is no description, or empty."""
    training: bool = False
    """Whether the layer ran in training mode."""
    notes: tuple[str, ...] = ()
    """Sentences about this call that the report must carry."""
    made_by: tuple[Producer | None, ...] = ()
    """What each input is the output of, unchanged, among the calls of this pass that were asked
    for or lie within containers that were; None where that is not known, as where an operation that
    is no layer lies between, and () where nothing is."""
    fixed: tuple[int, ...] = ()
    """Which inputs are known not to follow from the model's input, such as a mask that the model
    makes itself."""
    constants: "Callable[[], Mapping[int | str, WorkedOut]] | None" = None
    """For inputs that do not follow from the model's by number, and for weights that are no
    parameters by name: how the model has worked them out, as far as that was seen. To be asked
    while the call is on."""
    masks: tuple[int, ...] = ()
    """Which inputs are masks, that Keras makes beside the calls."""
    input_names: tuple[str, ...] = ()
    """What the call itself calls each input, after the parameters of ``forward`` or ``call`` or the
    tensors of an ONNX node; "" where that is not known, and () where nothing is."""
    line: int | None = None
    """The line of the file of the calling module's class that makes the call, where it is known."""
    code: str = ""
    """That line with its file and its text: ``block.py:12: x = x + self.gamma * y``."""
    expression: str = ""
    """What of that line the call is: ``self.gamma * y``; "" where Python does not say, as none
    before 3.11."""
    function: str = ""
    """Of the call of a function what the framework calls it, such as "roll" or "Tensor.view"."""
    by_onnxruntime: bool = False
    """Whether ONNX Runtime is what ran it: its recurrences have a sigmoid and tanh of their own
    (``Precision.sketches``), and its cross-check is no second engine."""
    alias: str | None = None
    """Another name of the call that does not count the calls before it: ``block/add@17`` is made in
    line 17 of the file of the block's class."""
    alone: Callable[[], tuple[np.ndarray, ...]] | None = None
    """For a call without description: exports the layer alone with the framework's own exporter and
    runs it in ONNX Runtime."""
    again: "CallAgain | None" = None
    """For a function's call without description: calls the framework's own function again."""
    parts: "tuple[Part, ...]" = ()
    """Of a container: the calls that it made, in execution order."""
    results: tuple[Producer | None, ...] = ()
    """Of a container: what made each output."""
    fixed_results: tuple[int, ...] = ()
    """Of a container: which outputs are known not to follow from the model's input."""
    unseen: Callable[[], str] | None = None
    """Of a container: says which values inside came from no call that was captured, though they
    follow from the input, or ""; runs the model again."""
    changed: Callable[[], tuple[str, ...]] | None = None
    """Of a live module: which of its weights are not those any more that the call was made with,
    by name."""
    input_grids: tuple[Grid | None, ...] = ()
    """What the integers of each input stand for; None of numbers, and () where none stand for
    others."""
    output_grids: tuple[Grid | None, ...] = ()
    """The same of the outputs."""
    opened: "Callable[[], Capture] | None" = None
    """Of a composed container that takes whole numbers as they were captured: composes it with
    these computed, too."""
    held: "Held | None" = None
    """Of a call that comes from a file: what that has of it, which bounds what may be computed of
    it (``probe.evaluation.reference.bounded``)."""

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from the other calls of a pass."""
        return self.layer, self.call

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of its description, where there is one."""
        if self.description is None:
            return ()
        return self.description.steps

    def names_of_inputs(self, count: int) -> tuple[str, ...]:
        """What each of ``count`` inputs of the steps is called: as the call itself does, those that
        follow as the layers that made them; "" where that is not known."""
        names = [*self.input_names[:count], *[""] * (count - len(self.input_names))]
        for taken in self.description.taken if self.description is not None else ():
            if taken.call >= 0:
                names[taken.input] = self.parts[taken.call].capture.layer
        return tuple(names)

    def goes_by(self, name: str) -> bool:
        """Whether it is a call of what this name stands for."""
        return name in (self.layer, self.alias)


class WorkedOut(NamedTuple):
    """Steps from parameters and numbers alone, and the calls that have made some of the numbers."""

    description: Description
    made_by: tuple[CallOutput, ...] = ()


class Held(NamedTuple):
    """A file, and how many bytes of arrays it has of a call."""

    path: str
    bytes: int


class Part(NamedTuple):
    """A call that a container made, and what the names of its weights begin with in the
    container."""

    capture: Capture
    path: str


@dataclass(frozen=True)
class InputSpec:
    """One input of a model as far as the model says: ``shape`` has None where a size is free;
    ``high`` bounds indices from above, and ``low`` from below codes that stand for numbers."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    high: int | None = None
    low: int = 0
    usual: tuple[int, ...] | None = None
    """A shape that the file itself gives it, where sizes are free."""


OnCall = Callable[[Capture], Sequence[np.ndarray] | None]
"""Receives each call of a wanted layer; arrays that it returns take the place of the layer's
outputs."""


class AndEvery(frozenset[str]):
    """Names that a pass is asked for beside every atomic layer and every operation."""


@runtime_checkable
class Runnable(Protocol):
    """The methods of a ``Model``, which tell one of ours from anything else: its attributes may
    only be known once a file is loaded."""

    def names(self) -> tuple[str, ...]:
        """Every name that can be asked for, containers and inner layers included, operations as far
        as passes have met them."""

    def may_be_operation(self, name: str) -> bool:
        """Whether the name may be that of an operation between layers, ``block/add``, or its alias
        ``block/add@17``, which only a pass can tell."""

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        """The order in which ``run`` takes arrays of these names, asked where ``inputs`` is None;
        () where the inputs have no names."""

    def run(
        self, inputs: Sequence[np.ndarray], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        """One forward pass, whose outputs are returned; each call of a wanted layer (None: of every
        atomic one, and every operation between them; ``AndEvery``: of these and its names) goes to
        ``on_call``.

        With nothing wanted the pass is not watched at all.

        Leaves the model as it was: modes, hooks, variables and states. Raises ForwardFailed where
        the model's own forward pass raises, BadInput where an input does not fit.
        """

    def settings(self) -> AbstractContextManager[None]:
        """What the calling thread has set in the framework for itself alone, to be entered in
        another that runs a pass for it."""

    def run_alone(self, name: str, inputs: Sequence[np.ndarray], on_call: OnCall) -> None:
        """The one layer called directly on ``inputs``, otherwise as ``run``. Raises BadInput where
        it has no call that can be made alone."""


class Model(Runnable, Protocol):
    """What ``probe.open_model`` returns."""

    @property
    def source(self) -> str:
        """The path, or what kind of live object it is."""

    @property
    def framework(self) -> str:
        """Name and version of what runs it, such as "keras 3.15.1 on tensorflow 2.21.0"."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the opening, such as which key of a checkpoint was read."""

    @property
    def other_files(self) -> tuple[str, ...]:
        """What was read besides ``source``: the external data of an ONNX model."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The atomic layers, in the order of the model's own listing."""

    @property
    def inputs(self) -> tuple[InputSpec, ...] | None:
        """What the model says about its inputs, or None where it says nothing (PyTorch)."""

    @property
    def input_hint(self) -> str:
        """What the first layer expects, such as "its first layer conv (Conv2d) expects (batch, 3,
        height, width)", asked where ``inputs`` is None; "" where no layer fixes a size."""

    @property
    def input_index_bound(self) -> int | None:
        """How many rows the first layer looks up in, where it takes indices, asked where ``inputs``
        is None."""


class Slot(NamedTuple):
    """Stands for one of the arrays that a model is run on, among the arguments of its call."""

    position: int


@dataclass(frozen=True, eq=False)
class CallArguments:
    """The arguments of a call: a Slot for each array, also inside of tuples, lists and mappings,
    and what is no array as it is."""

    positional: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Keyworded(Protocol):
    """What a model offers besides whose call takes arguments by name, and such as are no arrays: it
    is PyTorch's."""

    def called_with(self, arguments: CallArguments, layer: str | None = None) -> "Model":
        """The same model, whose ``run`` (with ``layer`` its ``run_alone``) puts the arrays in the
        slots of these arguments. Raises BadInput where the call takes no such arguments."""


@runtime_checkable
class NamesArrays(Protocol):
    """What a model offers besides that has names for the arrays it takes and gives, where
    ``inputs`` does not tell them."""

    def argument_names(self) -> tuple[str, ...]:
        """The names of the arrays that ``run`` takes, as far as they go; "" for one without. ()
        where ``inputs`` tells them."""

    def output_names(self) -> tuple[str, ...]:
        """The names of the arrays that ``run`` returns; () where these have none."""


@runtime_checkable
class Containing(Protocol):
    """What a model offers besides where some of its parts call others of them."""

    @property
    def containers(self) -> tuple[Layer, ...]:
        """What calls layers and is none itself, in the order of the model's own listing: the model
        as a whole, "", among them."""


@runtime_checkable
class Compiled(Protocol):
    """What a model offers besides where some of its parts are compiled into a graph, as those of
    TorchScript and of exported programs are: only the nodes of the graph are calls then."""

    def compiled_into_graph(self, name: str) -> str:
        """Why the part of this name can neither be watched nor run alone, and which calls to ask
        for in its place; "" where it can. ``names`` leaves those parts out."""


@runtime_checkable
class Unloaded(Protocol):
    """What a model offers besides while it is a file whose layers are known without a framework."""

    def refuse(self, layer: str, inputs: Sequence[np.ndarray]) -> None:
        """Raises UnknownLayer where the file tells that there is no such layer, and BadInput where
        it tells that the model's inputs (none where they are drawn) have other shapes."""


@runtime_checkable
class Reads(Protocol):
    """What a model offers besides whose input can be a text."""

    def tokens(self, text: str) -> dict[str, np.ndarray]:
        """The inputs by name that stand for a text, a batch of one. Raises BadInput where there is
        no tokenizer."""


@runtime_checkable
class TakesCodes(Protocol):
    """What a model offers besides that takes integers which stand for real numbers."""

    def coded(
        self, arrays: Sequence[np.ndarray], layer: str = ""
    ) -> tuple[tuple[np.ndarray, ...], str]:
        """The inputs of the model, or of one layer, with the codes of real numbers in their place,
        and in words what was done; "" where nothing was."""


@runtime_checkable
class ComputesInCodes(Protocol):
    """What a model offers besides whose tensors may be integers that stand for real numbers."""

    def in_real_numbers(self) -> "Model | None":
        """The same model with the numbers in the place of the integers, which takes numbers too;
        None where it computes with none."""

    def dumped(
        self, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Arrays that another program wrote of its tensors, by the names of its layers and as the
        integers that it computes with; and in words how they were read."""


@runtime_checkable
class SharesMemory(Protocol):
    """What a model offers besides whose engine gives tensors the memory of those that are not
    needed any more."""

    def tensors(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """What each tensor holds right after it is computed, in this order, by the name of the
        layer that gives it, or its own."""


@runtime_checkable
class Rounding(Protocol):
    """What a model offers besides that can run with other roundings than its own."""

    def rounding_otherwise(self, seed: int) -> AbstractContextManager[object] | None:
        """Passes in which what each operation stores in half precision is moved by what storing it
        may have rounded, drawn with ``seed``; None where nothing is stored so."""


@runtime_checkable
class SeesCalls(Protocol):
    """What a model offers besides that may make arrays out of sight, in NumPy or in C++."""

    def unseen_input(self, layer: str, inputs: Sequence[np.ndarray]) -> str:
        """Why an input of a layer, as the last pass that watched calls saw it, is not checked in
        any: what made it was not seen, although it follows from the model's input; "" where there
        is none. ``inputs`` are those of that pass."""


@runtime_checkable
class OutputsAlone(Protocol):
    """What stands for a model and is arrays by names, which another program wrote."""

    def outputs_alone(self) -> Mapping[str, Any]:
        """The arrays; ``PrintedTensor`` where some elements are all that there is."""


class RecordedPass(NamedTuple):
    """The one forward pass of a recording."""

    path: str
    arrays: tuple[np.ndarray, ...]
    """What the model was run on."""
    how: str
    """How these came about."""
    seed: int
    watching: tuple[str, ...]
    """What was found out about capturing: whether it changes the result."""
    sha256: str | None
    """Of the model's file, where it was a single one."""


@runtime_checkable
class Recorded(Protocol):
    """What a model offers besides that is a forward pass out of a file: it runs on no other
    input."""

    def recorded(self) -> RecordedPass:
        """The pass."""

    def untraced(self, layer: str, call: int) -> str:
        """The calls before this one that cannot be made again from other numbers, in words; ""
        where all can."""


_LARGE = 200_000_000
"""So many parameters make a forward pass dear."""


def parameters_of(model: Model) -> int:
    """How many parameters the model's layers have."""
    return sum(layer.parameters for layer in model.layers)


def is_large(model: Model) -> bool:
    """Whether no forward pass is run that can be done without; one out of a file costs nothing."""
    return recorded(model) is None and parameters_of(model) >= _LARGE


def recorded(model: Model) -> RecordedPass | None:
    """The one pass of a recording; None of a model that runs."""
    if isinstance(model, Recorded):
        return model.recorded()
    return None


def containers_of(model: Model) -> tuple[str, ...]:
    """The names of what is known by what it calls, which a sweep checks in its place: blocks, and
    modules with a forward of their own."""
    if not isinstance(model, Containing) or not (blocks := model.containers):
        return ()
    listed = {layer.name for layer in model.layers if layer.checkable}
    return tuple(container.name for container in blocks if container.name not in listed)


def is_model(source: object) -> TypeGuard[Model]:
    """Whether it is a model that an adapter has opened."""
    return isinstance(source, Runnable)
