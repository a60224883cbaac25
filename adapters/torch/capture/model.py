"""An opened PyTorch module: its layers, its names, and how it is run."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from probe.errors import BadInput, NotReached, ProbeError, UnknownLayer
from probe.listing import Layer, Party, Shown
from probe.model import AndEvery, CallArguments, Capture, InputSpec, OnCall, is_large

from ..describe.describe import calls_others, opaque, refusal
from ..functions import functions
from .arguments import bound_to, names_of_arrays
from .devices import provenance
from .exported_program import Program
from .function_calls import FunctionCalls
from .input_checks import expectation, guessed, needed
from .module_hooks import watch
from .module_tree import atomic, graph_around, is_called, named, unwrapped
from .rounding_noise import RoundingNoise, half_precision
from .tensors import tensors_for
from .thread_settings import settings_here
from .torchscript import Script, is_script, kind_of, unfollowed
from .unseen_tensors import Unseen

__all__ = ["TorchModel"]


@dataclass(frozen=True, eq=False, repr=False)
class TorchModel(Shown):
    """What ``probe.open_model`` returns for PyTorch (``probe.model.Model``)."""

    module: torch.nn.Module
    source: str
    notes: tuple[str, ...] = ()
    other_files: tuple[str, ...] = ()
    specs: tuple[InputSpec, ...] | None = None
    """What is known about its inputs: an exported program says it."""
    _met: dict[str, str] = field(default_factory=dict, repr=False)
    """The function calls that passes so far have made, and of which functions: no module says them
    beforehand."""
    _given_unseen: dict[str, Unseen] = field(default_factory=dict, repr=False)
    """The layers that were given tensors from nowhere seen in the last pass that watched calls."""
    _named_outputs: list[str] = field(default_factory=list, repr=False)
    """What the last pass called its outputs."""
    arguments: CallArguments | None = None
    """What a call takes beside arrays, and under which names; None where it takes arrays in
    order."""

    @property
    def framework(self) -> str:
        version, where = f"torch {torch.__version__}", provenance(self.module)
        if not where:
            return version
        if where.startswith("on "):
            return f"{version} {where}"
        return f"{version}, {where}"

    @property
    def inputs(self) -> tuple[InputSpec, ...] | None:
        """PyTorch modules say nothing about their inputs, exported programs do."""
        return self.specs

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Modules that compute something themselves, in the order of registration; a shared one
        under its first name.

        After them the function calls between them, as far as a pass has met them: in place of the
        modules that make them.
        """
        places = {name.rpartition("/")[0] for name in self._met}
        shown = (
            (name, module)
            for name, module in self._atomic()
            if opaque(module) or name not in places
        )
        modules = (_layer(name, module) for name, module in shown)
        return (*modules, *(_function(name, kind) for name, kind in self._met.items()))

    @property
    def input_hint(self) -> str:
        """Such as "its first layer conv (Conv2d) expects (batch, 3, height, width)"; "" where no
        layer fixes a size."""
        for name, module in self._atomic():
            wanted = expectation(module)
            if wanted is not None:
                return (
                    f"its first layer {name} ({type(module).__name__}) expects {wanted.shape()}"
                ).replace("  ", " ")
        return ""

    def guessed_inputs(self) -> tuple[InputSpec, ...]:
        return guessed([module for _, module in self._atomic()])

    def needed_inputs(self) -> tuple[str, ...]:
        return needed(self.module)

    @property
    def input_index_bound(self) -> int | None:
        first = next((module for _, module in self._atomic()), None)
        if isinstance(first, torch.nn.Embedding | torch.nn.EmbeddingBag):
            return first.num_embeddings
        return None

    def input_order(self, names: Collection[str]) -> tuple[str, ...]:
        return ()

    def argument_names(self) -> tuple[str, ...]:
        if self.specs is not None:
            return ()
        return names_of_arrays(self.module, self.arguments)

    def output_names(self) -> tuple[str, ...]:
        """Those of the last pass, where it gave a dict or a named tuple."""
        return tuple(self._named_outputs)

    def called_with(self, arguments: CallArguments, layer: str | None = None) -> "TorchModel":
        if layer is None or self.may_be_operation(layer):
            module = self.module
        else:
            module = self._called(layer)
        bound, others = bound_to(module, arguments, self.specs, alone=layer is not None)
        notes = self.notes
        if others:
            notes += (
                f"these arguments go into **kwargs, and whether they are used is not known: "
                f"{', '.join(map(repr, others))}",
            )
        return replace(self, arguments=bound, notes=notes)

    @property
    def containers(self) -> tuple[Layer, ...]:
        """Modules that are known by what they call; a shared one under its first name."""
        return tuple(
            _layer(name, module, ("numpy", "onnx"))
            for name, module in named(self.module)
            if calls_others(module)
            and is_called(module)
            and not unfollowed(module)
            and "parametrizations" not in name.split(".")
        )

    def names(self) -> tuple[str, ...]:
        modules = dict(named(self.module, shared=True))
        return (*(name for name in modules if not graph_around(name, modules)), *self._met)

    def compiled_into_graph(self, name: str) -> str:
        modules = dict(named(self.module, shared=True))
        graph = graph_around(name, modules) if name in modules else None
        if graph is None:
            return ""
        kind = "an exported program" if isinstance(graph, Program) else "TorchScript"
        if reason := unfollowed(graph):
            return f"{name!r} is inside {kind}, which is checked as a whole: {reason}"
        call = next((layer for layer in self._met if layer.rpartition("/")[0] == name), "")
        rest = f"such as {call!r}" if call else "which a sweep (--all) lists"
        return f"{name!r} is inside {kind}, whose single calls can be checked, {rest}"

    def may_be_operation(self, name: str) -> bool:
        place, slash, _ = name.rpartition("/")
        modules = [known for known, _ in named(self.module, shared=True)]
        return bool(slash) and name not in modules and place in modules

    def settings(self) -> AbstractContextManager[None]:
        return settings_here()()

    def rounding_otherwise(self, seed: int) -> RoundingNoise | None:
        if half_precision(self.module):
            return RoundingNoise(seed)
        return None

    def run(
        self, inputs: Sequence[Any], wanted: Collection[str] | None, on_call: OnCall
    ) -> tuple[np.ndarray, ...]:
        if wanted is None or isinstance(wanted, AndEvery):
            pushed = itertools.count()

            def counted(capture: Capture) -> Sequence[np.ndarray] | None:
                next(pushed)
                return on_call(capture)

            watching = self._function_calls(self.module, None, counted)
            modules = dict(self._pushed_whole())
            modules |= {name: self._called(name) for name in wanted or ()}
            outputs = self._watched(self.module, inputs, modules, watching, counted)
            for name, why in self._following(self.module, inputs, watching.unseen, _UNSEEN):
                dtype = watching.unseen[name].dtype
                on_call(Capture(name, "unseen", 0, (), (), dtype, why=why))
            if not next(pushed):
                raise NotReached(
                    "no call was captured in the forward pass: the code that runs cannot be "
                    "instrumented (TorchScript, vmap, C++)"
                )
            return outputs
        functions = {name for name in wanted if self.may_be_operation(name)}
        modules = {name: self._called(name) for name in wanted if name not in functions}
        outputs, aliases = self._run(self.module, inputs, modules, functions, on_call)
        for name in sorted(functions - self._met.keys() - aliases):
            raise UnknownLayer(name, self.names())
        return outputs

    def run_alone(self, name: str, inputs: Sequence[Any], on_call: OnCall) -> None:
        if self.may_be_operation(name):
            raise BadInput(
                f"{name!r} is a function call between modules, which cannot run alone: give "
                "the model's input"
            )
        module = self._called(name)
        if is_script(module):
            module = Script(module, name)  # takes hooks
        self._run(module, inputs, {name: module}, (), on_call)

    def _run(
        self,
        root: torch.nn.Module,
        inputs: Sequence[Any],
        modules: Mapping[str, torch.nn.Module],
        functions: Collection[str],
        on_call: OnCall,
    ) -> tuple[tuple[np.ndarray, ...], set[str]]:
        """A pass in which these are watched, and what the containers among the modules call: its
        outputs, and the names of the function calls by source lines."""
        within = {
            id(part)
            for module in modules.values()
            if calls_others(module)
            for part in module.modules()
        }
        inside = {
            name: module
            for name, module in self._pushed_whole()
            if within and id(unwrapped(module)) in within
        }
        told = bool(modules) and root is self.module and self._shows_calls()
        watched = functions or within or told
        calls = self._function_calls(root, functions, on_call) if watched else None

        def unseen(name: str) -> str:
            places = {} if calls is None else calls.unseen
            some = {
                place: tensors
                for place, tensors in places.items()
                if not name or place.startswith((f"{name}/", f"{name}."))
            }
            return next(self._following(root, inputs, some, _UNSEEN), ("", ""))[1]

        listed = bool(functions or within)
        outputs = self._watched(root, inputs, modules, calls, on_call, inside, unseen, listed)
        return outputs, set() if calls is None else calls.aliases

    def _watched(
        self,
        root: torch.nn.Module,
        inputs: Sequence[Any],
        watched: Mapping[str, torch.nn.Module],
        calls: FunctionCalls | None,
        on_call: OnCall,
        inside: Mapping[str, torch.nn.Module] = MappingProxyType({}),
        unseen: Callable[[str], str] = lambda name: "",
        listed: bool = True,
    ) -> tuple[np.ndarray, ...]:
        """A pass in which these are watched; the calls that it meets are ``listed`` as layers."""
        names = {id(module): name for name, module in named(self.module)}
        given = tensors_for(root, inputs, self.module)
        try:
            outputs, self._named_outputs[:] = watch(
                root, given, watched, names, on_call, calls, self.arguments, inside, unseen
            )
            return outputs
        finally:
            if calls is not None:
                self._given_unseen.clear()
                self._given_unseen.update(calls.given_unseen)
                self._met.update(calls.met if listed else {})

    def _shows_calls(self) -> bool:
        """Whether calls of functions are watched beside single modules, to say which of these are
        given what no call made: not in large models, nor where a module computes otherwise
        then."""
        return not is_large(self) and not any(isinstance(x, _FAST) for x in self.module.modules())

    def _pushed_whole(self) -> list[tuple[str, torch.nn.Module]]:
        """The modules that are pushed as they are, and not broken down."""
        return [
            (name, module)
            for name, module in self._atomic()
            if opaque(module) or unfollowed(module)
        ]

    def _function_calls(
        self, root: torch.nn.Module, functions: Collection[str] | None, on_call: OnCall
    ) -> FunctionCalls:
        names = {id(module): name for name, module in named(self.module)}
        return FunctionCalls(root, functions, names, opaque, on_call)

    def unseen_input(self, layer: str, inputs: Sequence[Any]) -> str:
        module = dict(named(self.module, shared=True)).get(layer)
        if module is None:
            name = layer
        else:
            name = {id(m): n for n, m in named(self.module)}[id(module)]
        some = {at: tensors for at, tensors in self._given_unseen.items() if at == name}
        return next(self._following(self.module, inputs, some, _GIVEN), ("", ""))[1]

    def _following(
        self,
        root: torch.nn.Module,
        inputs: Sequence[Any],
        unseen: Mapping[str, Unseen],
        of: Callable[[FunctionCalls], Mapping[str, Unseen]],
    ) -> Iterator[tuple[str, str]]:
        """Places that tensors came to from nowhere seen, and why that matters: they follow from the
        input. ``of`` a pass they are such a mapping.

        A constant stays what it is when the input changes; a pass on another input tells the two
        apart.
        """
        if not unseen:
            return
        again, follows = self._function_calls(root, (), lambda _: None), "depends"
        try:
            self._watched(root, [_other(array) for array in inputs], {}, again, lambda _: None)
        except ProbeError:
            follows = "may depend"  # the model does not take other numbers
        for name, tensors in unseen.items():
            other = of(again).get(name)
            if other is not None and other.digests == tensors.digests:
                continue
            if tensors.followed:
                rest = ""
            else:
                rest = ", nor are functions that take only that value"
            yield (
                name,
                f"{tensors.words} came from no captured call, and it {follows} on the model's "
                f"input: the code that computed it is not checked{rest}",
            )

    def _called(self, name: str) -> torch.nn.Module:
        """The module of this name, which has calls of its own."""
        found = dict(named(self.module, shared=True)).get(name)
        if found is None:
            raise UnknownLayer(name, self.names())
        if why := self.compiled_into_graph(name):
            raise BadInput(why)
        return found

    def _atomic(self) -> list[tuple[str, torch.nn.Module]]:
        return atomic(self.module)


_FAST = (
    torch.nn.MultiheadAttention,
    torch.nn.TransformerEncoder,
    torch.nn.TransformerEncoderLayer,
)
_UNSEEN, _GIVEN = attrgetter("unseen"), attrgetter("given_unseen")


def _other(array: np.ndarray) -> np.ndarray:
    """Other numbers of the same kind and range, for a model to run on as well."""
    moved: np.ndarray = np.roll(array, 1)
    if array.dtype.kind != "f":
        return moved
    moved *= array.dtype.type(0.75)
    return moved


def _layer(name: str, module: torch.nn.Module, checkable: tuple[Party, ...] | None = None) -> Layer:
    if is_script(module):
        seen = f"{kind_of(module)} is TorchScript: its calls are checked individually"
    else:
        seen = refusal(module)
    why = unfollowed(module) or seen
    parameters = sum(
        parameter.numel() for parameter in module.parameters() if not is_lazy(parameter)
    )
    if checkable is not None:
        return Layer(name, kind_of(module), checkable, "", None, parameters)
    return Layer(name, kind_of(module), () if why else ("numpy", "onnx"), why, None, parameters)


def _function(name: str, kind: str) -> Layer:
    described = functions()
    known = any(part in described or f"aten.{part}" in described for part in kind.split(".")[-2:])
    if known:
        why = ""
    else:
        why = f"{kind} has no description; it would be added in adapters/torch/functions"
    return Layer(name, kind, ("numpy", "onnx") if known else (), why)
