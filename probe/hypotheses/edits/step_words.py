"""What steps and tensors are called in a claim: by what the reader of the model's code finds, a
module, a parameter, a function of the framework, what an operator is applied to."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from probe import ops
from probe.description.description import Site
from probe.hypotheses.edits.integer_decompositions import SUMS
from probe.hypotheses.edits.listed_names import few, joined, listed, ordinal
from probe.hypotheses.edits.op_words import op_words
from probe.hypotheses.edits.parameter_expressions import expression, part_expression
from probe.hypotheses.edits.recurrent_decompositions import Scanned
from probe.hypotheses.edits.rewriting import of_parameters
from probe.ops import Constant, Parameter
from probe.ops.base import Op, Rearrangement
from probe.ops.step import Ref
from probe.trial.case import Case, once, users_of
from probe.trial.gathered import Gathered

__all__ = [
    "BEFORE_ITS_BIAS",
    "call_name",
    "call_of",
    "input_name",
    "joined",
    "listed",
    "ordinal",
    "place_name",
    "step_name",
    "steps_name",
    "tensor_name",
]

BEFORE_ITS_BIAS = " before its bias is added"
_LONG = 60
"""Characters of a name in which what it is made of is named, too."""
_LONG_CODE = 60
"""Characters of an expression that is quoted."""


def call_of(case: Case, position: int) -> str:
    """The call that a step is of; "" where the layer is one."""
    if position < len(case.calls):
        return case.calls[position]
    return ""


def _site(case: Case, call: str) -> Site:
    return case.sites.get(call) or Site(call, "", -1)


def _word(case: Case, position: int) -> str:
    if position < len(case.words):
        return case.words[position]
    return ""


def step_name(case: Case, position: int) -> str:
    """A step in words, none of which another step has."""
    return _step_names(case)[position]


def tensor_name(case: Case, ref: Ref) -> str:
    """A tensor in words."""
    if ref.step < 0:
        return input_name(case, ref.index)
    name = step_name(case, ref.step)
    module = _of_module(case, ref)
    if isinstance(case.steps[ref.step].op, ops.Cast | ops.Identity) and not module:
        return tensor_name(case, case.steps[ref.step].sources(ref.step)[0])
    held = isinstance(case.steps[ref.step].op, Parameter | Constant)
    if name.startswith("a constant of") and (taking := users_of(case).get(ref)):
        kind = "indices" if case.values[ref.step][0].dtype.kind in "iu" else "constants"
        return f"the {kind} of {step_name(case, taking[0])}"
    if _word(case, ref.step) or held or ref.step in of_parameters(case):
        return name
    if len(case.values[ref.step]) > 1:
        return f"output {ref.index} of {name}"
    if _GIVEN.match(name) and not module:
        return name
    if not module and name == _which_call(call_of(case, ref.step)):
        return f"the output of {name}{_before_the_rest(case, ref.step)}"
    return f"the output of {module or name}"


def _before_the_rest(case: Case, position: int) -> str:
    """That a step which has its module's name is not its last one: another tensor is its output."""
    last = _ends(case).get(call_of(case, position), position)
    if last == position:
        return ""
    if isinstance(case.steps[last].op, ops.Add):
        return BEFORE_ITS_BIAS
    return f" before its {op_words(case.steps[last].op)}"


_GIVEN = re.compile(
    r"output \d+ of|the (\w+ )?(sum|difference|product|matrix product|quotient|part)\b"
)
"""How names begin that say already what a step gives."""


def _of_module(case: Case, ref: Ref) -> str:
    """The module whose last step gives a tensor; "" where none does."""
    call = call_of(case, ref.step)
    if not call:
        return ""
    if _site(case, call).function:
        module = call_name(case, call)
        return _which_call(module) if _outputs(case).get(module) == [ref.step] else ""
    return _which_call(call) if _ends(case).get(call) == ref.step else ""


@once
def _outputs(case: Case) -> dict[str, list[int]]:
    """The steps of each module that calls functions whose outputs are taken outside of it, or by
    none."""
    modules = [_site(case, call).function and call_name(case, call) for call in case.calls]
    found: dict[str, list[int]] = {}
    for module in {*filter(None, modules)}:
        inside = {
            at
            for at, call in enumerate(case.calls)
            if modules[at] == module or call.startswith((f"{module}.", f"{module}/"))
        }
        found[module] = [
            at
            for at in sorted(inside)
            if not {*_users(case, at)} or not {*_users(case, at)} <= inside
        ]
    return found


def _users(case: Case, position: int) -> list[int]:
    refs = (Ref(position, index) for index in range(len(case.values[position])))
    return [user for ref in refs for user in users_of(case).get(ref, ())]


def input_name(case: Case, index: int) -> str:
    """An input of the layer, by the name that the layer itself has for it."""
    if case.inner and case.calls:
        return case.input_names[index] if case.input_names else ""
    if len(case.inputs) == 1:
        return "the input"
    if index < len(case.input_names) and case.input_names[index]:
        module, within, function = case.input_names[index].rpartition("/")
        return f"{function} in {module}" if within else f"{function} (input {index})"
    number = _everywhere(case.inputs[index])
    return f"{number} (input {index})" if number else f"input {index}"


def _everywhere(x: np.ndarray) -> str:
    """What tensors are called that are 0 or 1 everywhere, such as what a loop begins with; "" of
    others."""
    first = x.flat[0] if x.ndim and x.size > 1 and x.dtype.kind == "f" else None
    if first not in (0, 1) or not (x == first).all():
        return ""
    return "ones" if first else "zeros"


def call_name(case: Case, call: str) -> str:
    """Where a call is: a module by its name, a function by the module that calls it, "" where that
    is the layer itself."""
    if not _site(case, call).function:
        return _which_call(call)
    module, inside, _ = call.partition("/")
    return module if inside and module != "constant" else ""


def _which_call(call: str) -> str:
    """A module's call in words: of one that is called several times, which of them."""
    module, counted, number = call.rpartition(":")
    if counted and number.isdigit():
        return f"the {ordinal(int(number) + 1)} call of {module}"
    return call


def place_name(case: Case, position: int) -> str:
    """Where a step is: a number or an order of places by what takes it."""
    if isinstance(case.steps[position].op, Constant) and not _word(case, position):
        taking = users_of(case).get(Ref(position), ())
        if taking:
            return step_name(case, taking[0])
    return step_name(case, position)


@once
def _ends(case: Case) -> dict[str, int]:
    """The last step of each call."""
    return {call: position for position, call in enumerate(case.calls)}


@once
def _step_names(case: Case) -> list[str]:
    """Of every step: those that are alike are told apart by their modules, their lines, and else
    by their order."""
    plain: list[str] = []
    for position in range(len(case.steps)):
        plain.append(_plain(case, position, plain))
    names = list(plain)
    for more in (_module_of, _line_of):
        counts = Counter(names)
        always = more is _module_of or (case.inner and bool(case.calls))
        names = [
            _with(name, more(case, position)) if counts[name] > 1 or always else name
            for position, name in enumerate(names)
        ]
    return _numbered(case, _parts_apart(case, _with_code(case, names)))


def _with_code(case: Case, names: Sequence[str]) -> list[str]:
    """The names, with their expressions those that several calls have, each with its own."""
    codes = [_code(case, position) for position in range(len(names))]
    codes_of = defaultdict[str, set[str]](set)
    for name, code in zip(names, codes, strict=True):
        codes_of[name].add(code)
    return [
        f"{name} ({code})" if len(codes_of[name]) > 1 and "" not in codes_of[name] else name
        for name, code in zip(names, codes, strict=True)
    ]


def _parts_apart(case: Case, names: Sequence[str]) -> list[str]:
    """The names, with their index or order of axes of those that are other elements of parameters
    than what has their name first."""
    first, found = dict[str, np.ndarray](), list[str]()
    for position, name in enumerate(names):
        if position not in of_parameters(case) or _word(case, position):
            found.append(name)
            continue
        value = np.ravel(case.values[position][0])
        other = not np.array_equal(value, first.setdefault(name, value))
        found.append(part_expression(case, Ref(position)) if other else name)
    return found


def _with(name: str, where: str) -> str:
    if where and not _within(name, where):
        return f"{name} in {where}"
    return name


def _within(name: str, module: str) -> bool:
    """Whether a name says already that it belongs to a module."""
    return any(word.startswith((f"{module}.", module)) for word in name.replace("-", "").split())


def _module_of(case: Case, position: int) -> str:
    """The module whose forward calls a function; "" for what has a name of its own."""
    call = call_of(case, position)
    known = position in of_parameters(case) or _word(case, position)
    if known or not _site(case, call).function:
        return ""
    return call_name(case, call)


def _line_of(case: Case, position: int) -> str:
    """The line of the model's own source that calls a function."""
    site = _site(case, call_of(case, position))
    if not site.function or not site.code or position in of_parameters(case):
        return ""
    file, number, *_ = site.code.split(":")
    return f"line {number} of {file}"


def _numbered(case: Case, names: Sequence[str]) -> list[str]:
    """The names, of those that several steps have "the second X", in their order; of the parts
    that one call cuts a tensor into "output 1 of X"."""
    counts, seen, found = Counter(names), Counter[str](), list[str]()
    places = defaultdict[str, set[tuple[Ref, ...]]](set)
    parts = _parts_of_calls(case, names)
    for position, name in enumerate(names):
        places[name].add(tuple(case.steps[position].sources(position)))
    for position, name in enumerate(names):
        same = isinstance(case.steps[position].op, Parameter | Constant)
        if counts[name] == 1 or same or _word(case, position) or position in of_parameters(case):
            found.append(name)
            continue
        seen[name] += 1
        if len(places[name]) == 1 and isinstance(case.steps[position].op, ops.Slice):
            found.append(f"output {seen[name] - 1} of {name}")
        elif position in parts:
            found.append(parts[position])
        else:
            found.append(f"the {ordinal(seen[name])} {name.removeprefix('the ')}")
    return found


def _parts_of_calls(case: Case, names: Sequence[str]) -> dict[int, str]:
    """The steps of calls that do nothing but cut a tensor into parts, such as unbind, a part being
    a slice in another shape: "output 1 of X", of several calls "output 1 of the second X"."""
    calls = defaultdict[str, dict[str, list[int]]](dict)
    for position, name in enumerate(names):
        calls[name].setdefault(call_of(case, position), []).append(position)
    found: dict[int, str] = {}
    for name, groups in calls.items():
        parts = [_parts_of_call(case, members) for members in groups.values()]
        if "" in groups or not all(parts):
            continue
        for number, numbers in enumerate(parts, 1):
            which = f"the {ordinal(number)} " if len(parts) > 1 else ""
            whole = f"{which}{name.removeprefix('the ')}" if which else name
            found |= {at: f"output {part} of {whole}" for at, part in numbers.items()}
    return found


def _parts_of_call(case: Case, positions: Sequence[int]) -> dict[int, int]:
    """Which of several parts of one tensor each of a call's steps gives; empty of other calls."""
    found: dict[int, int] = {}
    whole = case.steps[positions[0]].sources(positions[0])
    for position in positions:
        op, sources = case.steps[position].op, case.steps[position].sources(position)
        if isinstance(op, ops.Slice) and sources == whole:
            found[position] = sum(isinstance(case.steps[at].op, ops.Slice) for at in found)
        elif isinstance(op, Rearrangement) and len(sources) == 1 and sources[0].step in found:
            found[position] = found[sources[0].step]
        else:
            return {}
    return found if len({*found.values()}) > 1 else {}


def _plain(case: Case, position: int, names: Sequence[str]) -> str:
    """A step in words that another may have, too; ``names`` are those of the steps before it."""
    call, word, op = call_of(case, position), _word(case, position), case.steps[position].op
    if word:
        return f"{word} of {call}" if call and not word.startswith(call) else word
    site = _site(case, call)
    if isinstance(op, Gathered):
        if site.function.endswith("getitem__") and (code := _code(case, position)):
            return f"the part {code}"
        return _in_framework(site.function) if site.function else _which_call(op.call)
    if position in of_parameters(case):
        return expression(case, Ref(position))
    if site.function:
        return _function(case, position, names)
    kind = _kind(op)
    if not call and type(op) in _OPERATORS and len(case.steps[position].sources(position)) == 2:
        return _applied(case, position, _OPERATORS[type(op)], names)
    if not call:
        return f"the {kind.removeprefix('the ')}" if kind.islower() else kind
    if type(op) in _OPERATORS and len(case.steps[position].sources(position)) == 2:
        return _applied(case, position, _OPERATORS[type(op)], names)
    name = _which_call(call)
    return name if _is_the_step(case, position) else f"{name} ({kind})"


def _is_the_step(case: Case, position: int) -> bool:
    """Whether a step is all that a module does, but for its bias."""
    call = call_of(case, position)
    sums = isinstance(case.steps[position].op, SUMS)
    return _alone(case)[call] == 1 or (sums and _alone(case)[call] == 2)


@once
def _alone(case: Case) -> Counter[str]:
    """How many steps with inputs each call has."""
    return Counter(
        call_of(case, position)
        for position in range(len(case.steps))
        if position not in of_parameters(case)
    )


def _kind(op: Op) -> str:
    if isinstance(op, Scanned):
        return "the recurrence"
    return op_words(op)


_OPERATORS: dict[type, str] = {
    ops.Add: "sum",
    ops.Sub: "difference",
    ops.Mul: "product",
    ops.Div: "quotient",
    ops.Product: "matrix product",
    ops.MatMul: "matrix product",
}


def _function(case: Case, position: int, names: Sequence[str]) -> str:
    """The call of a function: of an operator what it is applied to, of others their names."""
    op, function = case.steps[position].op, _site(case, call_of(case, position)).function
    word = _OPERATORS.get(type(op))
    if word is not None:
        return _applied(case, position, word, names)
    if "getitem" in function:
        (source, *_) = case.steps[position].sources(position)
        if not _named(case, source) and (code := _code(case, position)):
            return f"the part {code}"
        whole = _operand(case, source, names).removeprefix("the part of ")
        return _shortened(f"the part of {whole}", "the part")
    last = _ends(case).get(call_of(case, position), position)
    if not isinstance(op, type(case.steps[last].op) | Rearrangement):
        return f"the {op_words(op)} in {_in_framework(function)}"
    return _in_framework(function)


def _in_framework(function: str) -> str:
    """A function as code has it: ``torch.roll``, ``F.softmax``, ``==``."""
    if function.removeprefix("Tensor.") in _SIGNS:
        return _SIGNS[function.removeprefix("Tensor.")]
    if function.endswith("__getitem__"):
        return "indexing"
    if function.startswith("functional."):
        return f"F.{function.removeprefix('functional.')}"
    if "." in function:
        return function.removeprefix("Tensor.")
    return f"torch.{function}"


_SIGNS = {"__eq__": "==", "__ne__": "!=", "__and__": "&", "__or__": "|", "__invert__": "~"}
"""What code writes for these functions."""


def _applied(case: Case, position: int, word: str, names: Sequence[str]) -> str:
    """Such as "the product with gamma", "the sum of x and proj", or, of operands without names,
    "the quotient `now / then`"."""
    sources = case.steps[position].sources(position)
    fixed = [ref for ref in sources if ref.step in of_parameters(case)]
    unclear = not all(_named(case, ref) for ref in sources)
    if unclear and not any(_is_parameter(case, ref) for ref in sources):
        if code := _code(case, position):
            return f"the {word} {code}"
    known = fixed or [ref for ref in sources if ref.step < 0]
    if len(known) == 1 and len(sources) == 2:
        behind, operand = known[0] == sources[1], _operand(case, known[0], names)
        way = _WITH_ONE.get((word, behind), "with {}").format(operand)
        return _shortened(f"the {word} {way}", f"the {word}")
    operands = " and ".join(_operand(case, ref, names) for ref in sources)
    return _shortened(f"the {word} of {operands}", f"the {word}")


_WITH_ONE = {
    ("difference", True): "... - {}",
    ("difference", False): "{} - ...",
    ("quotient", True): "by {}",
    ("quotient", False): "{} / ...",
}
"""How an operation is told of which the second operand has a name, or the first."""


def _named(case: Case, ref: Ref) -> bool:
    """Whether a tensor has a name in the model: an input, a parameter, what a module gives."""
    return ref.step < 0 or _is_parameter(case, ref) or bool(_of_module(case, ref))


def _is_parameter(case: Case, ref: Ref) -> bool:
    return ref.step in of_parameters(case) and not isinstance(case.steps[ref.step].op, Constant)


def _code(case: Case, position: int) -> str:
    """The expression of the model's source that gives what a step does; "" where it is long or not
    known, of parameters, and of a step within a call."""
    call = call_of(case, position)
    expression = _site(case, call).expression
    if position in of_parameters(case) or _ends(case).get(call) != position:
        return ""
    if not expression or len(expression) > _LONG_CODE or "`" in expression:
        return ""
    return f"`{expression}`"


def _operand(case: Case, ref: Ref, names: Sequence[str]) -> str:
    if ref.step < 0:
        return input_name(case, ref.index).partition(" (")[0]
    return _of_module(case, ref) or names[ref.step]


def _shortened(name: str, otherwise: str) -> str:
    return name if len(name) <= _LONG and name.count(" of ") < 3 else otherwise


def steps_name(case: Case, positions: Sequence[int]) -> str:
    """Several steps with the verb: "norm is", "a, b and c are"; whole calls by their names."""
    names: list[str] = []
    held = set(positions)
    for at in [at for at in positions if at not in of_parameters(case)] or positions:
        call = call_of(case, at)
        module = call and not _site(case, call).function
        whole = module and _steps_of(case)[call] <= held
        names.append(call if whole else step_name(case, at))
    return listed(few(list(dict.fromkeys(names))))


@once
def _steps_of(case: Case) -> dict[str, set[int]]:
    """The steps of each call."""
    found = defaultdict[str, set[int]](set)
    for at, call in enumerate(case.calls):
        found[call].add(at)
    return found
