"""What a step of a block is to those who write such blocks: a mask, a residual connection, a scale.

A claim says which step is done otherwise; the field's word for it comes first, where the steps
around it tell.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from probe import ops
from probe.diagnosis.changed_calls import changed_steps
from probe.hypotheses.edits.attention_parts import Masked
from probe.hypotheses.edits.rewriting import of_parameters
from probe.hypotheses.edits.step_words import call_of, step_name, tensor_name
from probe.ops.base import Elementwise, Rearrangement
from probe.ops.step import Ref, weights_of
from probe.trial.case import Case, once, shape_of, users_of
from probe.trial.edit import Edit

__all__ = ["field_word"]

_NEAR = 6
"""Within how many steps a softmax, a table or a residual connection is looked for."""
_NAMED = 3
"""So many parameters are told by their names."""
_HIDDEN = -1e4
"""What is added to a score, or put in its place, that is not attended to."""
_UNNAMED = {
    *("missing-step", "missing-input", "missing-scale", "moved-step", "other-tensor"),
    *("swapped-inputs", "changed-step"),
}
"""Causes that say what was done and not to what."""


def field_word(case: Case, edit: Edit, slug: str, before: Sequence[Edit] = ()) -> tuple[str, str]:
    """The field's word for what an edit does otherwise, and what to do about it where it is left
    out; "" where the steps around it do not tell. The edits ``before`` are made in it, too."""
    if (edit.main or slug) not in _UNNAMED:
        return "", ""
    done = {at for earlier in before for at in _places(case, earlier)}
    roles = _roles(case, [at for at in _places(case, edit) if at not in done])
    if len(roles) != 1:
        return "", ""
    ((word, do),) = roles.items()
    return word, do if (edit.main or slug).startswith("missing") else ""


def _places(case: Case, edit: Edit) -> list[int]:
    """The steps that are done otherwise: of the calls that are, those with another op, or all."""
    if not edit.calls:
        return changed_steps(case, edit)
    held, ops_left = set(edit.calls), {id(step.op) for step in edit.steps}
    whole = [at for at, call in enumerate(case.calls) if call in held]
    return [at for at in whole if id(case.steps[at].op) not in ops_left] or whole


def _roles(case: Case, places: list[int]) -> dict[str, str]:
    """What these steps are, as far as they are something: of each the first word that fits."""
    found: dict[str, str] = {}
    fixed = [at for at in places if at in of_parameters(case)]
    taking = [user for at in fixed for user in users_of(case).get(Ref(at), ())]
    made = [user for at in fixed if _is_computed(case, at) for user in users_of(case)[Ref(at)]]
    for position in dict.fromkeys((*places, *taking)):
        if position in of_parameters(case):
            continue
        whole = position in places or position not in made
        for role in _ROLES if whole else _ROLES_OF_COMPUTED:
            if told := next(role(case, position), None):
                found.setdefault(*told)
                break
    computed = [at for at in fixed if case.steps[at].sources(at)]
    if not found and 0 < len(computed) <= _NAMED:
        return {"": f"take {' and '.join(step_name(case, at) for at in computed)}"}
    return found


def _is_computed(case: Case, position: int) -> bool:
    """Whether a step computes something of parameters, which whoever takes that may call a bias, a
    step on the way being none."""
    computes = not isinstance(case.steps[position].op, Rearrangement)
    return bool(case.steps[position].sources(position)) and computes


Role = Callable[[Case, int], Iterator[tuple[str, str]]]


def _mask(case: Case, position: int) -> Iterator[tuple[str, str]]:
    """A mask, which is added to the scores before a softmax, or chooses among them."""
    op = case.steps[position].op
    if isinstance(op, ops.And | ops.Or) and _before_softmax(case, position):
        yield "mask", "apply all parts of the mask"
    if not isinstance(op, ops.Add | ops.Where | Masked) or not _before_softmax(case, position):
        return
    for ref in case.steps[position].sources(position):
        hidden = _hidden(ref.of(case.inputs, case.values))
        if hidden is not None:
            kind = _kind_of_mask(hidden)
            yield kind, f"apply the {kind} to the scores before the softmax"


def _hidden(x: np.ndarray) -> np.ndarray | None:
    """Where a mask hides keys; None of what is no mask."""
    if x.ndim < 2 or x.size < 2:
        return None
    if x.dtype.kind == "b" or np.isin(x, (0, 1)).all():
        hidden = x == 0
        upper = np.triu(np.ones(x.shape[-2:], bool), 1)
        return np.asarray(upper if upper.any() and (~hidden == upper).all() else hidden)
    if (hidden := x <= _HIDDEN).any():
        return np.asarray(hidden)
    return None


def _kind_of_mask(hidden: np.ndarray) -> str:
    later = np.triu(np.ones(hidden.shape[-2:], bool), 1)
    if later.any() and (hidden == later).all():
        return "causal mask"
    if min(hidden.shape[-2:]) > 1 and (hidden[..., :1, :] == hidden).all():
        return "padding mask"
    if later.any() and hidden[..., later].all():
        return "causal mask with a window or padding"
    return "mask"


def _before_softmax(case: Case, position: int) -> bool:
    """Whether a softmax follows within a few steps."""
    line = {position}
    for _ in range(_NEAR):
        line = {
            user
            for at in line
            for index in range(len(case.values[at]))
            for user in users_of(case).get(Ref(at, index), ())
        }
        if any(isinstance(case.steps[at].op, ops.Softmax | ops.Attention) for at in line):
            return True
    return False


def _scale(case: Case, position: int) -> Iterator[tuple[str, str]]:
    """A factor of the scores, of an embedding or of a branch."""
    if not isinstance(case.steps[position].op, ops.Mul | ops.Div):
        return
    sources = case.steps[position].sources(position)
    fixed = [ref for ref in sources if ref.step in of_parameters(case)]
    if len(fixed) != 1 or len(sources) != 2:
        return
    name, (other,) = tensor_name(case, fixed[0]), [ref for ref in sources if ref != fixed[0]]
    sign = "divide" if isinstance(case.steps[position].op, ops.Div) else "multiply"
    if shape_of(case, fixed[0]) and np.prod(shape_of(case, fixed[0])) > 1:
        if _joins_residual(case, Ref(position)):
            yield "layer scale", f"{sign} the branch by {name} before it is added"
        elif _normalised(case, other):
            yield "gain of the norm", f"{sign} by {name}"
    elif _looked_up(case, other):
        yield "embedding scale", f"{sign} the embeddings by {name}"
    elif _before_softmax(case, position) and _of_scores(case, position):
        yield "attention scale", f"{sign} the scores by {name} before the softmax"
    elif _before_softmax(case, position):
        yield "scale before the softmax", f"{sign} by {name} before the softmax"


def _of_scores(case: Case, position: int) -> bool:
    """Whether what a step takes or gives are products of queries and keys, two tensors of the
    layer, or an attention's inputs: other numbers have a softmax, too."""
    line, behind = [position], {position}
    for _ in range(_NEAR):
        line = [ref.step for at in line for ref in _sources(case, at)]
        behind = {user for at in behind for user in users_of(case).get(Ref(at), ())}
        if any(_is_a_product(case, at) for at in {*line, *behind}):
            return True
        line = [at for at in line if isinstance(case.steps[at].op, _ALONE)]
        ends = (ops.Softmax, ops.Attention)
        behind = {at for at in behind if not isinstance(case.steps[at].op, ends)}
    return False


def _sources(case: Case, position: int) -> list[Ref]:
    sources = case.steps[position].sources(position)
    return [ref for ref in sources if ref.step >= 0 and ref.step not in of_parameters(case)]


def _is_a_product(case: Case, position: int) -> bool:
    op, sources = case.steps[position].op, case.steps[position].sources(position)
    if isinstance(op, ops.Product | ops.Einsum):
        return len([ref for ref in sources if ref.step not in of_parameters(case)]) > 1
    return isinstance(op, ops.Attention)


def _joins_residual(case: Case, ref: Ref) -> bool:
    users = users_of(case).get(ref, ())
    return len(users) == 1 and next(_residual(case, users[0]), None) is not None


def _normalised(case: Case, ref: Ref) -> bool:
    """Whether a tensor is what it was divided by a root."""
    if ref.step < 0 or not isinstance(case.steps[ref.step].op, ops.Mul | ops.Div):
        return False
    sources = case.steps[ref.step].sources(ref.step)
    roots = (ops.Sqrt, ops.Rsqrt, ops.Reciprocal)
    return any(s.step >= 0 and isinstance(case.steps[s.step].op, roots) for s in sources)


def _looked_up(case: Case, ref: Ref) -> bool:
    """Whether a tensor holds rows of a table."""
    for _ in range(_NEAR):
        if ref.step < 0:
            return False
        op, sources = case.steps[ref.step].op, case.steps[ref.step].sources(ref.step)
        if isinstance(op, ops.Embedding):
            return True
        if isinstance(op, ops.Gather) and sources[0].step in of_parameters(case):
            return True
        if not isinstance(op, Rearrangement) or not sources:
            return False
        ref = sources[0]
    return False


def _residual(case: Case, position: int) -> Iterator[tuple[str, str]]:
    """A sum with what one of its summands is made of."""
    sources = case.steps[position].sources(position)
    if not isinstance(case.steps[position].op, ops.Add) or len(sources) != 2:
        return
    for skip, branch in (sources, sources[::-1]):
        if skip not in _made_of(case, branch) or _part_of_activation(case, skip, branch):
            continue
        if not _state_of_a_recurrence(case, position, skip, branch):
            name = tensor_name(case, skip)
            yield "residual connection", f"add {name} to what the branch gives"


def _part_of_activation(case: Case, skip: Ref, branch: Ref) -> bool:
    """Whether all between the two acts on single elements, such as x + x^3 within a GELU, or
    x + c (y - x), which lies between two tensors."""
    return all(isinstance(case.steps[at].op, _ALONE) for at in _between(case, skip, branch))


_ALONE = (Elementwise, Rearrangement, ops.Add, ops.Sub, ops.Mul, ops.Div, ops.Pow)
"""What acts on single elements, or moves them."""


def _between(case: Case, skip: Ref, branch: Ref) -> list[int]:
    """The steps on the way from one tensor to another that is made of it."""
    reached, wanted = {skip}, {ref.step for ref in _made_of(case, branch) | {branch}}
    for at in range(skip.step + 1, branch.step + 1):
        if not reached.isdisjoint(case.steps[at].sources(at)):
            reached |= {Ref(at, index) for index in range(len(case.values[at]))}
    return sorted({ref.step for ref in reached if ref != skip} & wanted)


def _state_of_a_recurrence(case: Case, position: int, skip: Ref, branch: Ref) -> bool:
    """Whether a sum adds to what the same line gave in the pass of a loop before, what the same
    parameters make of it and of something new: a state and the next element of a sequence."""
    if skip.step < 0 or not _same_line(case, position, skip.step):
        return False
    own = case.steps[skip.step].sources(skip.step)
    pairs = [pair for pair in (own, own[::-1]) if pair[0] in _made_of(case, pair[1])]
    if not pairs:
        return False
    here = _between(case, skip, branch)
    before = _between(case, *pairs[0])
    known = _made_of(case, skip) | {skip}
    new = [
        source
        for at in here
        for source in _sources(case, at)
        if source not in known and source.step not in here
    ]
    used, used_before = (
        {name for at in steps for name in _weights_of(case, at)} for steps in (here, before)
    )
    return bool(used) and used == used_before and bool(new)


def _weights_of(case: Case, position: int) -> set[str]:
    """The parameters that a step has or takes."""
    sources = case.steps[position].sources(position)
    taken = (case.steps[ref.step] for ref in sources if ref.step in of_parameters(case))
    return {*weights_of((case.steps[position], *taken))}


def _same_line(case: Case, first: int, second: int) -> bool:
    """Whether two steps are of calls that one line of the model's source makes."""
    calls = call_of(case, first), call_of(case, second)
    codes = {case.sites[call].code if call in case.sites else "" for call in calls}
    return len(codes) == 1 and "" not in codes


@once
def _made_of(case: Case, ref: Ref) -> set[Ref]:
    """The tensors that one is made of, those of parameters and numbers alone left out."""
    found: set[Ref] = set()
    line = [ref]
    while line:
        taken = line.pop()
        sources = case.steps[taken.step].sources(taken.step) if taken.step >= 0 else ()
        new = [source for source in sources if source not in found]
        found.update(source for source in new if source.step not in of_parameters(case))
        line += new
    return found


def _embedding(case: Case, position: int) -> Iterator[tuple[str, str]]:
    """A table of positions that is added to tokens."""
    if not isinstance(case.steps[position].op, ops.Add):
        return
    for ref in case.steps[position].sources(position):
        table = ref.step in of_parameters(case) and len(shape_of(case, ref)) > 1
        if (
            table
            and not _evenly(ref.of(case.inputs, case.values))
            and min(shape_of(case, ref)[-2:]) > 1
            and not _before_softmax(case, position)
        ):
            yield "position embedding", f"add {tensor_name(case, ref)}"


def _bias(case: Case, position: int) -> Iterator[tuple[str, str]]:
    if isinstance(case.steps[position].op, ops.Add):
        for ref in case.steps[position].sources(position):
            if ref.step in of_parameters(case) and np.prod(shape_of(case, ref)) > 1:
                yield "bias", f"add {tensor_name(case, ref)}"


def _shift(case: Case, position: int) -> Iterator[tuple[str, str]]:
    """Elements rolled along an axis."""
    site = case.sites.get(case.calls[position]) if position < len(case.calls) else None
    if site is not None and site.function == "roll":
        yield "cyclic shift", "roll as the layer does"


def _heads(case: Case, position: int) -> Iterator[tuple[str, str]]:
    """The last axis split into heads or put together again, on the way to or from attention, and
    the heads moved before or behind the positions."""
    op, made = case.steps[position].op, case.values[position][0].shape
    taken = case.input_of(position).shape if case.steps[position].sources(position) else ()
    moved = isinstance(op, ops.Transpose) and tuple(op.perm) == (0, 2, 1, 3)
    split = isinstance(op, ops.Reshape) and (_splits(taken, made) or _splits(made, taken))
    if not moved and not split:
        return
    if any(isinstance(step.op, ops.Softmax | ops.Attention) for step in case.steps):
        yield "order of heads", "keep heads and features in the layer's order"


def _splits(wide: tuple[int, ...], parts: tuple[int, ...]) -> bool:
    """Whether the last axis of one shape is the last two of another."""
    return len(parts) > 3 and bool(wide) and wide[-1] == parts[-1] * parts[-2] > parts[-1]


_ROLES: tuple[Role, ...] = (*(_mask, _scale, _residual, _embedding, _bias, _shift, _heads),)
_ROLES_OF_COMPUTED: tuple[Role, ...] = (_mask, _scale, _embedding)
"""What may be computed of parameters and still go by its name."""


def _evenly(x: np.ndarray) -> bool:
    """Whether numbers are whole, or grow evenly along each axis: places, which are no table of what
    positions mean."""
    if (x == np.rint(x)).all():
        return True
    near = 1e-5 * float(np.abs(x).max(initial=0.0))
    return all((np.abs(np.diff(x, 2, axis)) <= near).all() for axis in range(x.ndim))
