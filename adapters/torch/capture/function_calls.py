"""The function calls that a forward makes between its atomic modules, pushed to a callback like
calls of layers.

A call is a layer where it returns a tensor that follows from the model's input. It is named after
the module whose forward makes it and the ONNX op it is: ``layer1.0/add``, and ``layer1.0/add:1``
the second time in the same call of that module. It also goes by the line of the module's source
file that makes it, ``layer1.0/add@57``, which calls before it do not change.
"""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from hashlib import sha256
from threading import get_ident
from types import FunctionType
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from probe import ops
from probe.capture.containers import Containers
from probe.capture.producers import Producers
from probe.description import Description, Ref, Weight
from probe.errors import Undescribed, describing
from probe.model import Capture, OnCall, Producer
from probe.process.interrupts import stop_here

from ..describe.mixed_precision import refuse_mixture, rounding
from ..functions import Builder, describe_function, functions, named
from ..packages.ao_quantized import to_levels
from .exported_program import Program, place_of
from .onnx_export import Called, alone
from .restore_state import held
from .tensor_marks import CONSTANT, FOLLOWS, MADE, OF_ARGUMENTS, UNINITIALISED, VARIES, Marks
from .tensors import (
    array_of,
    autocast_in,
    copied,
    dtype_name,
    floating_types,
    leaf_tensor,
    levels_of,
    tensors_in,
    transforming,
    with_values,
    writes_to,
)
from .thread_settings import settings_here
from .torchscript import Script, unfollowed
from .writes import Writes, arrays_of

__all__ = ["FunctionCalls", "calls_of"]

_OWN = frozenset(vars(torch.nn.Module()))
"""What every module has of its own: registries, hooks and flags."""
_CONSTRUCTORS = frozenset(
    f"{kind}{suffix}"
    for kind in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")
    for suffix in ("_like",)
) | frozenset(
    f"new_{kind}" for kind in ("zeros", "ones", "empty", "full", "tensor", "empty_strided")
)
_CONSTRUCTORS |= frozenset("zeros ones empty eye rand randn".split())  # sizes may be tensors
"""What takes no more than shape and type from its argument."""
_NO_LAYERS = frozenset(
    {
        "requires_grad_",
        "retain_grad",
        "grad",
        "is_complex",
        "set_",
        "resize_",
        "share_memory_",
        "pin_memory",
    }
)
_CASTS = frozenset(
    "to type type_as _to_copy float double half bfloat16 bool byte int long short char".split()
)
_BOUNDED = frozenset("clamp clamp_ clip clip_ clamp_min clamp_max maximum minimum".split())
"""What gives one of its arguments, in the type of those that have axes: bounds without axes may be
of another, as T5's are in float16."""
_WRITES = frozenset(
    f"__{name}__"
    for name in "setitem iadd isub imul itruediv idiv ifloordiv imod ipow iand ior ixor".split()
)
_FACTS = frozenset(
    "shape size dim ndim numel stride dtype device layout grad_fn requires_grad is_leaf".split()
)
"""What is told of a tensor without its numbers."""
_DRAWS = frozenset(
    f"{name}_"
    for name in (
        "bernoulli cauchy exponential geometric log_normal normal random uniform zero".split()
    )
)
"""What overwrites a tensor with numbers of its own, as functions of torch.nn.init do."""
_ARRAYS = frozenset("numpy tolist __array__ __dlpack__".split())
_FIXED = "constant"
"""What stands in the name of a call that follows from the arguments of a container alone, and not
from the model's input."""
_LEAVES = _ARRAYS | frozenset("item __float__ __int__ __index__ __complex__".split())
"""What gives a tensor's numbers to code that is no PyTorch, all or one."""
_BRINGS = frozenset("tensor as_tensor asarray scalar_tensor full frombuffer from_dlpack".split())
"""What makes a tensor of numbers that may have come from there."""
_NESTED = frozenset(
    {"_nested_tensor_from_mask", "_transformer_encoder_layer_fwd", "to_padded_tensor"}
)


@cache
def _names_of(function: Callable[..., Any]) -> tuple[str, str]:
    """The name in the table of functions, and the one to show."""
    if isinstance(function, torch._ops.OpOverload):
        name = function._schema.name.rpartition("::")[2]
        return (f"aten.{name}" if f"aten.{name}" in functions() else name), str(function)
    name = function.__name__
    if name == "__get__":
        name = function.__self__.__name__  # type: ignore[attr-defined]
    shown = resolve_name(function) or name
    if shown.startswith("quantized."):
        return shown, shown  # torch.ops.quantized
    shown = shown.removesuffix(".__get__").removeprefix("torch.").removeprefix("nn.")
    return (shown if shown in functions() else name), shown


def _remove(hooks: Sequence[RemovableHandle]) -> None:
    for hook in hooks:
        hook.remove()


@lru_cache(maxsize=512)
def _source_of(forward: Callable[..., Any]) -> str:
    """The file that a class' forward is written in, as its code object names it; "" where it is in
    none."""
    forward = inspect.unwrap(forward)
    if isinstance(forward, FunctionType):
        return forward.__code__.co_filename
    return ""


def _line_in(path: str) -> int | None:
    """The line that the innermost function of that file is in now."""
    frame = sys._getframe(1) if path and not path.startswith("<") else None
    while frame is not None and frame.f_code.co_filename != path:
        frame = frame.f_back
    if frame is None:
        return None
    return frame.f_lineno


@dataclass
class _Frame:
    """A module whose forward is running."""

    name: str
    module: torch.nn.Module
    atomic: bool
    follows: bool
    varies: bool
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str) -> str:
        """The name, with how often it was taken before in this call of the module."""
        before = self.counts.get(name, 0)
        self.counts[name] = before + 1
        return name + (f":{before}" if before else "")

    @property
    def place(self) -> str:
        """The path that its calls are named after; an exported program, and TorchScript, say of
        every node where it came from."""
        if isinstance(self.module, Program | Script):
            return self.module.place
        return self.name


@dataclass
class Unseen:
    """Tensors that no call which was seen has made, in one place: what the first one goes into, its
    shape, and digests of all."""

    words: str
    dtype: str
    followed: bool
    """Whether what is called on them counts as following from the model's input."""
    digests: list[str] = field(default_factory=list)


class _Whole(NamedTuple):
    """What a call writes a part of through a view, as it was before, and what had made it."""

    tensor: torch.Tensor
    before: np.ndarray
    maker: Producer | None
    constant: bool


class FunctionCalls(TorchFunctionMode):
    """Enter it around a forward pass of ``root``; ``wanted`` names the function layers to push,
    None is all of them.

    ``names`` gives every module's name by its id, ``atomic`` says of a module that its inside is
    its own. ``met`` maps the layers of the pass to their kinds, ``aliases`` are their names by
    source lines, ``raised`` is what the callback raised. All calls within ``containers`` are added
    to them. ``unseen`` are the tensors that came from nowhere seen (NumPy, code in C++, vmap), by
    names like those of layers; ``given_unseen`` are those among the inputs of layers, by the names
    of these.
    """

    def __init__(
        self,
        root: torch.nn.Module,
        wanted: Collection[str] | None,
        names: Mapping[int, str],
        atomic: Callable[[torch.nn.Module], bool],
        on_call: OnCall,
    ) -> None:
        super().__init__()
        self.containers = Containers(".")
        self.met: dict[str, str] = {}
        self.aliases: set[str] = set()
        self.raised: Exception | None = None
        self._root, self._wanted, self._names, self._atomic, self._on_call = (
            root,
            None if wanted is None else frozenset(wanted),
            names,
            atomic,
            on_call,
        )
        self._thread, self._settings = get_ident(), settings_here()
        self._frames: list[_Frame] = []
        self._inside = 0
        self._calls: Counter[str] = Counter()
        self._producers = Producers()
        self._writes = Writes((), ())
        self.marks = Marks()
        self._left = self._arrays_left = False
        self.unseen: dict[str, Unseen] = {}
        self.given_unseen: dict[str, Unseen] = {}
        self._strangers: dict[int, tuple[ref[torch.Tensor], Unseen]] = {}
        modules = list(root.modules())
        self._parameters = {
            id(tensor): f"{names.get(id(module), '')}.{key}".lstrip(".")
            for module in modules
            for key, tensor in (*module._parameters.items(), *module._buffers.items())
            if tensor is not None
        }
        self._written = {
            id(tensor): writes_to(tensor)
            for tensor in held(modules)
            if not torch.nn.parameter.is_lazy(tensor)
        }
        """How often each had been written to before the pass."""
        attributes = [vars(module)[key] for module in modules for key in vars(module).keys() - _OWN]
        self._make(attributes)

    @contextmanager
    def watching(
        self, inputs: Sequence[torch.Tensor], producers: Producers, writes: Writes
    ) -> Iterator[None]:
        self.marks.add(inputs, FOLLOWS)
        self._producers, self._writes = producers, writes
        with ExitStack() as stack:
            hooks: list[RemovableHandle] = []
            stack.callback(_remove, hooks)
            for module in self._root.modules():  # which may be followed by other code by now
                if isinstance(module, torch.jit.ScriptModule):
                    continue  # takes no hooks
                hooks += [
                    module.register_forward_pre_hook(self._enter, prepend=True, with_kwargs=True),
                    module.register_forward_hook(self._leave, always_call=True),
                ]
            with self:
                yield

    def _make(self, result: Any) -> None:
        """Takes note of tensors that were there before the pass, or that a call which is seen has
        made."""
        if isinstance(result, torch.Tensor | list | tuple | dict):
            self.marks.add(tensors_in(result), MADE)

    def _lasts(self, tensor: torch.Tensor) -> bool:
        """Whether a parameter or buffer keeps its values until the call is judged: what a pass
        writes to, such as a counter, is put back at its end."""
        small = not isinstance(tensor, torch.nn.Parameter) and tensor.nbytes <= _COPIED
        written = self._writes.count(tensor) or self._written.get(id(tensor)) != writes_to(tensor)
        return not small and not written

    def _parameter(self, tensor: torch.Tensor) -> str | None:
        """The name of a parameter or buffer, of those too that accelerate brings for the call."""
        known = self._parameters.get(id(tensor))
        frame = self._frames[-1]
        if known is not None or "_hf_hook" not in vars(frame.module):
            return known
        held = (*frame.module._parameters.items(), *frame.module._buffers.items())
        return next(
            (f"{frame.place}.{key}".lstrip(".") for key, one in held if one is tensor), None
        )

    def _strange(self, tensors: Sequence[torch.Tensor], words: str, followed: bool = False) -> None:
        """Takes note of those that came from nowhere seen; they follow from the model's input if
        arrays of it may have come back."""
        for tensor in tensors:
            if self.marks.of(tensor) & (MADE | FOLLOWS) or self._parameter(tensor) is not None:
                continue
            with torch._C.DisableTorchFunction():
                empty = tensor.is_meta
            if empty or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                continue  # holds no numbers; within vmap it is the result that came from nowhere
            self._make(tensor)
            digest = sha256(repr(tensor.shape).encode() + copied(tensor).tobytes()).hexdigest()
            alone = Unseen(
                f"{words}, {tuple(tensor.shape)},",
                dtype_name(tensor),
                followed or self._arrays_left,
                [digest],
            )
            self._strangers[id(tensor)] = ref(tensor), alone
            place = f"{self._frames[-1].place}/unseen"
            if place in self.unseen:
                self.unseen[place].digests.append(digest)
            else:
                self.unseen[place] = replace(alone, digests=[digest])
            if self._arrays_left:
                self.marks.add([tensor], FOLLOWS)

    def _takes(self, layer: str, tensors: Sequence[torch.Tensor]) -> None:
        """Takes note of a layer that is given tensors which came from nowhere seen."""
        for tensor in tensors:
            known, one = self._strangers.get(id(tensor), (None, None))
            if known is not None and one is not None and known() is tensor:
                words = f"the input of {layer!r}, {tuple(tensor.shape)},"
                self.given_unseen.setdefault(layer, replace(one, words=words))

    # the default as in capture.py
    def _enter(self, module: torch.nn.Module, args: Any, kwargs: Any = None) -> None:
        if get_ident() != self._thread:
            return
        stop_here()
        atomic = self._atomic(module) or bool(unfollowed(module))
        if self._frames and not self._inside:
            self._strange(
                tensors_in((args, kwargs)), f"the input of {self._names.get(id(module), '')!r}"
            )
        given = () if self._inside else tensors_in((args, kwargs))
        marks = self.marks.of(*given)
        follows, varies = bool(marks & FOLLOWS), bool(marks & VARIES)
        name = self._names.get(id(module), "")
        self._takes(name, given)
        self._frames.append(_Frame(name, module, atomic, follows, varies))
        self._inside += atomic

    def _leave(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if get_ident() != self._thread:
            return
        frame = self._frames.pop()
        self._inside -= frame.atomic
        outputs = tensors_in(output)
        if frame.atomic:
            self._make(output)
        elif not self._inside:
            self._frames.append(frame)
            self._strange(
                outputs,
                f"the output of {frame.name!r}" if frame.name else "the output of the model",
                frame.follows,
            )
            self._frames.pop()
        if not frame.follows:
            if frame.varies and frame.atomic:
                self.marks.add(outputs, OF_ARGUMENTS)
            return
        # What a module that is broken down gives may come from code that shows no calls, such as
        # TorchScript or vmap.
        if frame.atomic or not self.marks.of(*outputs) & FOLLOWS:
            if not frame.atomic:
                made = [output for output in outputs if self.marks.of(output) & MADE]
                self.marks.add(made, CONSTANT)
            self.marks.add(outputs, FOLLOWS)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._inside or not self._frames or transforming():
            return func(*args, **kwargs)
        stop_here()
        tensors = tensors_in((args, kwargs))
        name, shown = _names_of(func)
        if name not in _FACTS and name not in _DRAWS and not shown.startswith("init."):
            self._strange(tensors, f"the input of a call of {shown}")
        marks = self.marks.of(*tensors)
        follows, varies = bool(marks & FOLLOWS), bool(marks & VARIES)
        # what containers make of parameters alone, such as 1 + weight, is computed within as well
        learned = not varies and any(self._parameter(tensor) is not None for tensor in tensors)
        if (
            any(tensor.is_meta for tensor in tensors)
            or name in _CONSTRUCTORS
            or name in _NO_LAYERS
            or not (follows or (self.containers and (varies or learned)))
        ):
            output = func(*args, **kwargs)
            if not (self._left and name in _BRINGS):
                self._make(output)
            if "empty" in name and isinstance(output, torch.Tensor):
                self.marks.add([output], UNINITIALISED)
            return output
        self._left |= name in _LEAVES
        self._arrays_left |= name in _ARRAYS
        writes = _writes(func, name, args, kwargs)
        copy = _apart if kwargs.get("out") is not None else copied
        before = {id(tensor): copy(tensor) for tensor in tensors} if writes else {}
        made_by = {
            id(tensor): self._producers.of(tensor, before[id(tensor)])
            for tensor in (tensors if writes else ())
        }
        wholes = [
            _Whole(base, x := copied(base), self._producers.of(base, x), self.marks.constant(base))
            for tensor in (tensors if writes and self.containers else ())
            if (base := tensor._base) is not None
        ]
        # of what is written to only the time before tells it
        still = (
            {id(one) for one in tensors if self.marks.constant(one)} if self.containers else set()
        )
        output = func(*args, **kwargs)
        results = [args[0]] if name == "__setitem__" else tensors_in(output)
        if not results or (
            not writes and all(any(one is other for other in tensors) for one in results)
        ):
            return output  # such as contiguous() of what is contiguous
        self._make(output)
        outputs = [
            one
            for result in results
            for one in (result, result._base if writes else None)
            if one is not None
        ]
        if varies:
            self.marks.add(outputs, FOLLOWS if follows else OF_ARGUMENTS)
        layer, alias = self._named(named(name) if follows else f"{_FIXED}/{named(name)}")
        for called in (layer, alias):
            if called is not None:
                self._takes(called, tensors)
        if follows:
            self.met[layer] = shown
            self.aliases |= set() if alias is None else {alias}
        number, self._calls[layer] = self._calls[layer], self._calls[layer] + 1
        asked = (
            any(one.numel() for one in results)  # what is empty holds nothing to check
            if self._wanted is None
            else not self._wanted.isdisjoint((layer, alias))
        )
        if not ((follows and asked) or self.containers):
            return output
        names = layer, alias if follows else None
        capture = self._captured(
            names, number, func, (args, kwargs), output, results, before, made_by, still
        )
        if learned and capture.description is None:
            return output  # a constant to what follows
        if learned:
            self.marks.add(outputs, OF_ARGUMENTS)
        self.containers.add(capture, self._frames[-1].place)
        output = self._handed_on(capture, output, results, bool(before), follows and asked)
        for whole in wholes:
            if results[0]._base is whole.tensor:
                self._written_through(capture, results[0], whole)
        return output

    def _written_through(self, call: Capture, view: torch.Tensor, whole: "_Whole") -> None:
        """Adds what a call has made of the tensor that it wrote a part of, through a view."""
        base, before = whole.tensor, whole.before
        if not base.is_contiguous() or base.dtype != view.dtype or base.is_complex():
            return
        places = np.lib.stride_tricks.as_strided(
            (every := np.arange(base.numel()))[view.storage_offset() - base.storage_offset() :],
            tuple(view.shape),
            tuple(every.itemsize * step for step in view.stride()),
        )
        if whole.maker is None and self.marks.of(base) & UNINITIALISED:
            before = np.zeros_like(before)  # what no call has written yet
        part, after = copied(view), before.copy()
        after.reshape(-1)[places] = part
        build = Builder((before, part), (after,), [dtype_name(base)])
        flat = [build.add(ops.Reshape(shape=(-1,)), Ref(-1, k)) for k in (0, 1)]
        scattered = build.add(ops.ScatterND(), flat[0], places.reshape(-1, 1), flat[1])
        written = Capture(
            layer=f"{call.layer}/whole",
            kind=f"the tensor that {call.kind} writes a part of",
            call=call.call,
            inputs=(before, part),
            outputs=(after,),
            dtype=dtype_name(base),
            description=Description(build.ended(build.reshaped(scattered))),
            made_by=(whole.maker, self._producers.of(view, part)),
            fixed=(0,) if whole.constant else (),
        )
        self.containers.add(written, self._frames[-1].place)
        self._producers.note_outputs(
            *(written.layer, written.call, [base], [copied(base)]),
            self._producers.count,
            described=True,
        )

    def _named(self, name: str) -> tuple[str, str | None]:
        """The name of a call, and the one by its source line."""
        frame = self._frames[-1]
        layer = f"{frame.place}/{name}"
        graph = isinstance(frame.module, Program | Script)  # whose calls come from no source line
        line = None if graph else _line_in(_source_of(type(frame.module).forward))
        return frame.count(layer), None if line is None else frame.count(f"{layer}@{line}")

    def _captured(
        self,
        names: tuple[str, str | None],
        number: int,
        func: Callable[..., Any],
        arguments: Any,
        output: Any,
        results: list[torch.Tensor],
        before: Mapping[int, np.ndarray],
        made_by: dict[int, Producer | None],
        still: Collection[int],
    ) -> Capture:
        name, shown = _names_of(func)
        layer, alias = names
        inputs: list[np.ndarray] = []
        producers: list[Producer | None] = []
        fixed: list[int] = []
        seen: dict[int, Ref | Weight] = {}
        used = tensors_in(arguments)
        for tensor in used:
            if id(tensor) in seen:
                continue
            parameter = self._parameter(tensor)
            varies = self.marks.of(tensor) & VARIES
            if parameter is not None and not varies:
                values = before.get(id(tensor))
                if values is None:
                    values = array_of(tensor) if self._lasts(tensor) else copied(tensor)
                seen[id(tensor)] = _weight(parameter, self._frames[-1].place, values)
                continue
            seen[id(tensor)] = Ref(-1, len(inputs))
            if id(tensor) in still or not (varies or id(tensor) in before):
                fixed.append(len(inputs))
            inputs.append(before[id(tensor)] if id(tensor) in before else copied(tensor))
            producers.append(
                made_by[id(tensor)]
                if id(tensor) in made_by
                else self._producers.of(tensor, inputs[-1])
            )
        outputs = tuple(
            (_apart if arguments[1].get("out") is not None else copied)(one) for one in results
        )
        kinds = [dtype_name(one) for one in results]
        apart = {
            place.index: tensor
            for tensor in used
            if tensor.is_nested and isinstance(place := seen[id(tensor)], Ref)
        }
        complexes = [seen[id(tensor)] for tensor in used if tensor.is_complex()]
        lengths = {
            place: [len(part) for part in tensor.unbind()] for place, tensor in apart.items()
        }
        build = Builder(
            inputs,
            outputs,
            kinds,
            training=self._frames[-1].module.training,
            fixed=fixed,
            lengths=lengths,
            complexes=complexes,
            layouts={
                place.index: (tensor.stride(), int(tensor.storage_offset()))
                for tensor in (used if name == "as_strided" else ())
                if isinstance(place := seen[id(tensor)], Ref)
            },
        )
        args, kwargs = _replaced(arguments, seen)
        held = self._writes.begun(
            (weight.name, tensor)
            for tensor in used
            if isinstance(weight := seen[id(tensor)], Weight)
        )
        description, why = _described(name, shown, build, args, kwargs, used, results)
        kept = {
            id(tensor): tensor.detach()
            if isinstance(seen[id(tensor)], Weight)
            else seen[id(tensor)]
            for tensor in used
        }
        kind = {
            place.index: tensor.dtype
            for tensor in used
            if isinstance(place := seen[id(tensor)], Ref)
        }
        if description is None and not before and not apart and not complexes:
            called = (func, *_replaced(arguments, kept))
        else:
            called = None
        floating = [one for one in (*results, *used) if one.is_floating_point() or one.is_complex()]
        return Capture(
            layer=layer,
            kind=shown,
            call=number,
            inputs=tuple(inputs),
            outputs=outputs,
            dtype=dtype_name((floating or results)[0]),
            description=description,
            why=why,
            training=self._frames[-1].module.training,
            notes=_notes(results[0]),
            made_by=tuple(producers),
            fixed=tuple(fixed),
            alias=alias,
            alone=None
            if called is None
            else lambda: alone(
                Called(*called),
                inputs,
                [kind[place] for place in range(len(inputs))],
                self._settings,
            ),
            changed=self._writes.changed(held, arrays_of(description)),
        )

    def _handed_on(
        self,
        capture: Capture,
        output: Any,
        results: list[torch.Tensor],
        in_place: bool,
        wanted: bool,
    ) -> Any:
        """What goes on from a call: its output, or what the callback gives in its place."""
        try:
            replacement = self._on_call(capture) if wanted else None
        except Exception as error:
            self.raised = error
            raise
        arrays = capture.outputs
        if replacement is not None:
            if in_place:
                results[0].copy_(torch.from_numpy(np.array(replacement[0])))
            else:
                output = with_values(output, replacement)
                results = tensors_in(output)
                self.marks.add(results, FOLLOWS)
            arrays = tuple(map(copied, results))
        self._producers.note_outputs(
            *(capture.layer, capture.call, results, arrays), self._producers.count, described=True
        )
        return output


def _apart(tensor: torch.Tensor) -> np.ndarray:
    """The same as ``copied`` without a word to NumPy of the tensor itself, which could not be
    resized any more, as ``out=`` does."""
    return copied(tensor.clone())


@cache
def _inplace_at(function: Callable[..., Any]) -> int | None:
    """Which argument of a function of torch.nn.functional is called ``inplace``."""
    if not isinstance(function, FunctionType):
        return None
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if "inplace" in names:
        return names.index("inplace")
    return None


def _writes(
    function: Callable[..., Any], name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether the call writes to a tensor that it is given."""
    if (
        name in _WRITES
        or kwargs.get("out") is not None
        or (name.endswith("_") and not name.endswith("__"))
    ):
        return True
    at = _inplace_at(function)
    return at is not None and bool(kwargs.get("inplace", at < len(args) and args[at]))


def calls_of(program: Program) -> dict[str, str]:
    """The layers of an exported program, known without a pass: its function nodes that follow from
    its inputs, and their kinds."""
    counts: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    following: set[Any] = set()
    for node in program.nodes():
        if node.op == "placeholder" or any(one in following for one in node.all_input_nodes):
            following.add(node)
        values = tensors_in(node.meta.get("val"))
        if (
            node.op != "call_function"
            or node not in following
            or not values
            or not isinstance(node.target, torch._ops.OpOverload)
        ):
            continue
        name, shown = _names_of(node.target)
        if name in _CONSTRUCTORS or name in _NO_LAYERS:
            continue
        layer = f"{place_of(node)}/{named(name)}"
        counts[layer] += 1
        kinds[layer + (f":{counts[layer] - 1}" if counts[layer] > 1 else "")] = shown
    return kinds


_COPIED = 1 << 20
"""Bytes of a buffer that is copied, whether the pass writes to it or not."""


def _weight(name: str, place: str, values: np.ndarray) -> Weight:
    """A parameter or buffer as a weight, named from the module that uses it."""
    array = values.view()
    array.flags.writeable = False
    return Weight(name.removeprefix(f"{place}.") if place else name, array, array)


def _replaced(tree: Any, values: Mapping[int, Any]) -> Any:
    """The arguments with what stands for each tensor in its place."""
    if isinstance(tree, torch.Tensor):
        return values[id(tree)]
    if leaf_tensor(tree):
        return values[id(tree.value)]
    if isinstance(tree, list | tuple) and not isinstance(tree, torch.Size):
        parts = [_replaced(one, values) for one in tree]
        if isinstance(tree, tuple):
            return tuple(parts)
        return parts
    if isinstance(tree, dict):
        return {key: _replaced(one, values) for key, one in tree.items()}
    return tree


def _described(
    name: str,
    shown: str,
    build: Builder,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    inputs: Sequence[torch.Tensor],
    results: Sequence[torch.Tensor],
) -> tuple[Description | None, str]:
    used = [*inputs, *results]
    try:
        typed = [one for one in inputs if one.dim()] if name in _BOUNDED else inputs
        kinds = floating_types(typed or inputs), floating_types(results)
        mixed = len({*kinds[0], *kinds[1]}) > 1 and name not in _CASTS
        rounded = rounding(name, *kinds, autocast_in(results)) if mixed else None
        if mixed and rounded is None:
            refuse_mixture(name, *kinds, kwargs.get("out") is not None)
        if any(tensor.is_nested for tensor in used) and name not in _NESTED:
            raise Undescribed(
                "nested tensors (samples of different lengths) are not supported here"
            )
        if any(tensor.is_complex() for tensor in used):
            name = f"complex.{name}"
            if name not in functions():
                raise Undescribed(f"complex numbers are not supported in {shown}")
        if rounded is not None:
            args, kwargs = rounded.weights_in((args, kwargs))
            build.inputs, before = tuple(map(rounded.array, build.inputs)), build.inputs
        with describing():
            found = describe_function(name, shown, build, args, kwargs)
            if rounded is not None:
                found = rounded.before(found, before)
            levels = ([levels_of(one) for one in tensors] for tensors in (inputs, results))
            return to_levels(found, *levels), ""
    except Undescribed as error:
        return None, str(error)


def _notes(tensor: torch.Tensor) -> tuple[str, ...]:
    on = autocast_in([tensor])
    if on is None:
        return ()
    return (f"computed under torch.autocast in {on}",)
