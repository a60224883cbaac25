"""TorchScript, run node by node: what is compiled takes no hooks, but its graphs can be read, and
every node is a function call.

A graph is followed where all of its nodes are known here; else the module runs compiled, as one
call whose inside is not seen.
"""

import operator
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch

__all__ = ["Script", "is_script", "kind_of", "unfollowed", "within"]

_CALL = "probe::CallMethod"
_DTYPES = (
    *(
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.float32,
        torch.float64,
    ),
    *(
        torch.complex32,
        torch.complex64,
        torch.complex128,
        torch.bool,
        torch.qint8,
        torch.quint8,
        torch.qint32,
        torch.bfloat16,
    ),
)
"""In a graph a dtype is a number: its place here (c10/core/ScalarType.h)."""
_PLAIN: Mapping[str, Callable[..., Any]] = {
    "aten::__contains__": lambda held, key: key in held,
    "aten::__derive_index": lambda at, start, step: start + at * step,
    "aten::__getitem__": lambda held, key: held[key],
    "aten::__not__": lambda value: not value,
    "aten::__range_length": lambda low, high, step: len(range(low, high, step)),
    "aten::add": operator.add,
    "aten::append": lambda held, value: held.append(value) or held,
    "aten::ceil": lambda value: int(-(-value // 1)),
    "aten::div": operator.truediv,
    "aten::eq": operator.eq,
    "aten::floordiv": operator.floordiv,
    "aten::format": lambda text, *values: text.format(*values),
    "aten::ge": operator.ge,
    "aten::gt": operator.gt,
    "aten::le": operator.le,
    "aten::list": list,
    "aten::lt": operator.lt,
    "aten::mul": operator.mul,
    "aten::ne": operator.ne,
    "aten::neg": operator.neg,
    "aten::remainder": operator.mod,
    "aten::slice": lambda held, start, stop, step: held[start:stop:step],
    "aten::sub": operator.sub,
    "aten::warn": lambda *told: None,
    "prim::max": max,
    "prim::min": min,
}
"""What is done where the first argument is no tensor."""
_ALWAYS: Mapping[str, Callable[..., Any]] = {
    "aten::Bool": bool,
    "aten::Float": float,
    "aten::FloatImplicit": float,
    "aten::Int": int,
    "aten::IntImplicit": int,
    "aten::ScalarImplicit": lambda value: value.item(),
    "aten::__is__": lambda left, right: left is right,
    "aten::__isnot__": lambda left, right: left is not right,
    "aten::len": len,
    "prim::DictConstruct": lambda *parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    "prim::ListConstruct": lambda *parts: list(parts),
    "prim::ListUnpack": tuple,
    "prim::NumToTensor": torch.tensor,
    "prim::TupleConstruct": lambda *parts: parts,
    "prim::TupleIndex": lambda held, at: held[at],
    "prim::TupleUnpack": tuple,
    "prim::Uninitialized": lambda: None,
    "prim::device": lambda tensor: tensor.device,
    "prim::dtype": lambda tensor: _DTYPES.index(tensor.dtype),
    **{
        f"prim::{name}": operator.attrgetter(name)
        for name in ("is_cuda", "is_nested", "is_quantized", "is_sparse", "requires_grad")
    },
    "prim::layout": lambda tensor: tensor.layout,
    "prim::type": operator.attrgetter("type"),
    "prim::unchecked_cast": lambda value: value,
}
_SEVERAL = ("prim::If", "prim::ListUnpack", "prim::Loop", "prim::TupleUnpack")
"""What gives its outputs as a tuple, were it of one."""
_STRUCTURE = (
    "prim::Constant",
    "prim::GetAttr",
    "prim::If",
    "prim::Loop",
    "prim::RaiseException",
    _CALL,
)


def is_script(module: Any) -> bool:
    """Whether it is what torch.jit.script, trace or load returns."""
    return isinstance(module, torch.jit.ScriptModule)


def within(
    root: torch.nn.Module, name: str = ""
) -> Iterator[tuple[torch.nn.Module, str, "Script"]]:
    """The compiled modules that a module's own code calls: (the parent, the key there, what follows
    them)."""
    for key, child in root._modules.items():
        path = f"{name}.{key}" if name else key
        if is_script(child):
            yield root, key, Script(child, path)
        elif child is not None and not is_script(root):
            yield from within(child, path)


@cache
def _overload(schema: str) -> Any:
    """The function that a node calls, by its schema's beginning; None where PyTorch hands none
    out."""
    name = schema.partition("(")[0]
    space, _, rest = name.partition("::")
    base, _, overload = rest.partition(".")
    try:
        return getattr(getattr(getattr(torch.ops, space), base), overload or "default")
    except (AttributeError, RuntimeError):
        return None


def _graph(module: Any, method: str) -> Any:
    """A method's graph with functions written out, and calls of methods left as they are."""
    graph = module._c._get_method(method).graph.copy()
    for node in list(_nodes(graph)):
        if node.kind() == "prim::CallMethod":
            instead = graph.create(_CALL, list(node.inputs()), node.outputsSize())
            instead.s_("name", node.s("name"))
            instead.insertBefore(node)
            for old, new in zip(node.outputs(), instead.outputs(), strict=True):
                new.setType(old.type())
                old.replaceAllUsesWith(new)
            node.destroy()
    torch._C._jit_pass_inline(graph)
    return graph


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


_REASONS: "weakref.WeakKeyDictionary[Any, str]" = weakref.WeakKeyDictionary()


def kind_of(module: torch.nn.Module) -> str:
    """The name of its class, of what is compiled that of the class it was."""
    if is_script(module) or isinstance(module, Script):
        return str(module.original_name)
    return type(module).__name__


def unfollowed(module: Any) -> str:
    """Why a compiled module is one call whose inside is not seen; empty where its graphs are
    followed, and for any other module."""
    if isinstance(module, Script):
        return module.blind
    if not is_script(module):
        return ""
    if module not in _REASONS:
        reason = _reason(module)
        _REASONS[module] = reason and (
            f"{module.original_name} is TorchScript that cannot be checked node by node: {reason}"
        )
    return _REASONS[module]


def _reason(module: Any) -> str:
    """The first node that is not known in what a forward may call, by the names of methods."""
    names, seen = ["forward"], set[tuple[int, str]]()
    for name in names:
        for part in module.modules():
            if (id(part), name) in seen or not part._c._has_method(name):
                continue
            seen.add((id(part), name))
            for node in _nodes(_graph(part, name)):
                if unknown := _unknown(node):
                    return f"it contains the node {unknown}"
                if node.kind() == _CALL and node.s("name") not in names:
                    names.append(node.s("name"))
    return ""


def _unknown(node: Any) -> str:
    """What a node is that is not followed."""
    kind = node.kind()
    if kind in _ALWAYS or kind in _STRUCTURE or kind in _PLAIN:
        return ""
    if (
        kind.startswith(("aten::", "quantized::", "torchvision::"))
        and _overload(node.schema()) is not None
    ):
        return ""
    return str(kind)


class Script(torch.nn.Module):
    """A compiled module run node by node in its place; ``place`` is the path of the part that is
    on."""

    def __init__(self, script: Any, path: str) -> None:
        super().__init__()
        self._held = (script,)  # not as a child, whose code would be taken for Python's
        self._path, self._places = path, [path]
        self.blind = unfollowed(script)
        self._graphs: dict[tuple[int, str], Any] = {}
        self._inside = {
            id(module): ".".join(part for part in (path, name) if part)
            for name, module in script.named_modules()
        }
        for name, module in script.named_modules():
            known = self._named_module(name)
            known._parameters.update(dict(module._parameters.items()))
            known._buffers.update(dict(module._buffers.items()))
        super().train(script.training)

    def __getattr__(self, name: str) -> Any:
        if name in ("_held", "_modules", "_parameters", "_buffers"):
            return super().__getattr__(name)
        return getattr(self._held[0], name)

    def _named_module(self, path: str) -> torch.nn.Module:
        """A module that computes nothing, so that a path inside is a name."""
        module: torch.nn.Module = self
        for part in path.split(".") if path else ():
            if part not in module._modules:
                module._modules[part] = torch.nn.Module()
            module = module._modules[part]  # type: ignore[assignment]
        return module

    @property
    def place(self) -> str:
        return self._places[-1]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        script = self._held[0]
        if self.blind:
            return script(*args, **kwargs)
        names = [
            value.debugName() for value in list(script._c._get_method("forward").graph.inputs())[1:]
        ]
        schema = script._c._get_method("forward").schema
        given = list(args)
        for argument in schema.arguments[1 + len(args) :]:
            given.append(kwargs.get(argument.name, argument.default_value))
        assert len(given) == len(names)
        self._places = [self._path]
        return self._method(script, "forward", given)

    def _method(self, module: Any, method: str, arguments: Sequence[Any]) -> Any:
        key = (id(module), method)
        if key not in self._graphs:
            self._graphs[key] = _graph(module, method)
        graph, values = self._graphs[key], dict[int, Any]()
        values.update(
            zip((value.unique() for value in graph.inputs()), (module, *arguments), strict=True)
        )
        self._block(graph, values)
        found = tuple(values[value.unique()] for value in graph.outputs())
        if len(found) == 1:
            return found[0]
        return found

    def _block(self, block: Any, values: dict[int, Any]) -> None:
        for node in block.nodes():
            found = self._node(
                node, [values.get(value.unique()) for value in node.inputs()], values
            )
            outputs = list(node.outputs())
            each = found if len(outputs) > 1 or node.kind() in _SEVERAL else (found,)
            values.update(
                (output.unique(), value)
                for output, value in zip(outputs, each, strict=bool(outputs))
            )

    def _node(self, node: Any, inputs: list[Any], values: dict[int, Any]) -> Any:
        kind = node.kind()
        match kind:
            case "prim::Constant":
                if node.output().type().kind() == "FunctionType":
                    return None
                return node.output().toIValue()
            case "prim::GetAttr":
                return _attribute(inputs[0], node.s("name"))
            case "prim::If":
                inner = list(node.blocks())[0 if inputs[0] else 1]
                self._block(inner, values)
                return tuple(values[value.unique()] for value in inner.outputs())
            case "prim::Loop":
                return self._loop(node, inputs, values)
            case "prim::RaiseException":
                raise RuntimeError(str(inputs[0]))
        if kind == _CALL:
            return self._called(inputs[0], node.s("name"), inputs[1:])
        if kind in _ALWAYS:
            return _ALWAYS[kind](*inputs)
        if kind in _PLAIN and not (inputs and isinstance(inputs[0], torch.Tensor)):
            return _PLAIN[kind](*inputs)
        function = _overload(node.schema())
        return _with_arguments(function, inputs)

    def _loop(self, node: Any, inputs: list[Any], values: dict[int, Any]) -> tuple[Any, ...]:
        """Inputs: how often at most, whether at all, and what is carried; so are the block's
        outputs but for the first."""
        (body,) = node.blocks()
        most, going, *carried = inputs
        at = 0
        while at < most and going:
            values.update(
                zip((value.unique() for value in body.inputs()), (at, *carried), strict=True)
            )
            self._block(body, values)
            going, *carried = (values[value.unique()] for value in body.outputs())
            at += 1
        return tuple(carried)

    def _called(self, module: Any, method: str, arguments: Sequence[Any]) -> Any:
        """A method of the module itself, or of one inside it, whose path is the place meanwhile."""
        self._places.append(self._inside[id(module)])
        try:
            return self._method(module, method, arguments)
        finally:
            self._places.pop()


def _with_arguments(function: Any, values: Sequence[Any]) -> Any:
    """A call as a programmer would write it: without what is at its default anyway, the last ones
    by name where they must be."""
    arguments = function._schema.arguments
    named, plain = {}, list[Any]()
    for argument, value in zip(arguments, values, strict=True):
        if not argument.kwarg_only:
            plain.append(value)
        elif not _usual(argument, value):
            named[argument.name] = value
    while plain and _usual(arguments[len(plain) - 1], plain[-1]):
        plain.pop()
    return function(*plain, **named)


def _usual(argument: Any, value: Any) -> bool:
    """Whether an argument has its default."""
    return (
        argument.has_default_value()
        and not isinstance(value, torch.Tensor)
        and value == argument.default_value
    )


def _attribute(module: Any, name: str) -> Any:
    for held in (module._modules, module._parameters, module._buffers):
        if name in held:
            return held[name]
    return module._c.getattr(name)
