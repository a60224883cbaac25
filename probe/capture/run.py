"""The calls of one layer in one forward pass, and whether watching them changed the model's
result."""

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias
from weakref import finalize

import numpy as np

from probe import printable
from probe.capture.model_inputs import Bound, bind, bind_alone
from probe.capture.user_arrays import (
    Expected,
    InputArgument,
    Inputs,
    Picture,
    Shape,
    Unshaped,
    as_array,
)
from probe.capture.user_layer_outputs import Theirs, check_names
from probe.composition.compose import composed
from probe.composition.segment import segment
from probe.errors import BadInput, NotReached, ProbeError
from probe.files.regular_file import exists
from probe.model import (
    Capture,
    Model,
    RecordedPass,
    SeesCalls,
    StopForward,
    Unloaded,
    is_large,
    is_model,
    parameters_of,
    recorded,
)
from probe.ops import Embedding
from probe.ops.step import weights_of

__all__ = [
    "Captured",
    "ModelLike",
    "Named",
    "Passed",
    "captured",
    "in_pass",
    "open_model",
    "opened",
    "pass_through",
    "watching",
    "weights_of_others",
]

Named: TypeAlias = str | tuple[str, str]
"""A layer, or the first and the last one of a segment."""

ModelLike: TypeAlias = Any
"""What ``open_model`` takes, or has returned."""


def open_model(
    source: ModelLike,
    *,
    trust: bool = False,
    factory: str | Callable[[], object] | None = None,
    imports: Sequence[str] = (),
    device: str | None = None,
) -> Model:
    """Opens a saved model, or wraps a live one.

    Args:
        source: A path, a ``keras.Model``, ``tf_keras.Model``, ``torch.nn.Module`` or a single layer
            of these, an exported program, or an ``onnx.ModelProto``.
        trust: Whether a file may run the code it holds.
        factory: What builds the module that a PyTorch state_dict belongs to: "pkg.mod:Net",
            "net.py:Net(10)" or a callable.
        imports: Modules to import first, with the user's own layers: names, or paths of .py files.
        device: Where it runs: "cpu", "cuda", "cuda:1" or "mps"; "disk": on the CPU, with the
            parameters of a Hugging Face directory read while they are needed. None: a file on the
            CPU (a large directory from the disk), a live model where it is. A live PyTorch module
            that is elsewhere is copied there.

    Returns:
        The model: its ``layers``, and what the other functions take in place of a path.

    Raises:
        CannotOpen: The file is missing, broken, or of a kind that cannot be opened.
        BadInput: There is no such device.
        NotTrusted: The file holds code, and ``trust`` is not given.
        MissingExtra: The framework that the file needs is not installed.
    """
    model: Model = import_module("probe.adapters").open_model(
        source, trust=trust, factory=factory, imports=tuple(imports), device=device
    )
    return model


@dataclass(frozen=True, eq=False)
class Captured:
    """The calls of one layer in one forward pass, and how it was fed."""

    model: Model
    calls: list[Capture]
    arrays: tuple[np.ndarray, ...]
    how: str
    notes: tuple[str, ...]
    alone: bool = False
    """Whether the layer alone was run, on ``arrays``."""
    own: Mapping[tuple[str, int], tuple[np.ndarray, ...] | None] = field(default_factory=dict)
    """The inputs of each call (layer, number) in the user's own run, where the values of other
    layers hold them."""


def captured(
    model: ModelLike,
    layer: Named,
    x: Inputs | InputArgument = None,
    *,
    given: Inputs | InputArgument = None,
    call: int | None = None,
    shape: Shape = None,
    seed: int = 0,
    values: Mapping[str, Expected] = MappingProxyType({}),
) -> Captured:
    """Runs the model (or, with ``given``, the layer alone) and keeps the calls of one layer, or the
    one that ``call`` picks; of two layers the segment from one to the other.

    ``values`` are the user's own outputs by names of layers.
    """
    model = opened(model)
    if isinstance(layer, tuple):
        return _segment(model, layer, x, given=given, call=call, shape=shape, seed=seed)
    if isinstance(model, Unloaded) and isinstance(layer, str):  # before a framework is imported
        told = x.values if isinstance(x, InputArgument) else x
        unknown = given is not None or isinstance(told, Mapping | Unshaped | Picture | None)
        inputs = () if unknown else told if isinstance(told, list | tuple) else (told,)
        model.refuse(layer, [as_array(one) for one in inputs])
    check_names(model, {layer: None, **values})
    if given is None:
        bound = bind(model, x, shape, seed)
        known = _passes_of(model, bound)
        enough = known.calls.get(layer)
        if call is not None and known.passed is not None:
            enough = call + 1
        found, watched = in_pass(bound.model, bound.arrays, layer, call, values, enough)
        if watched is not None:
            said = _watching_once(bound, watched, known)
            if call is None and _out_of_a_file(model):
                known.passed, known.calls[layer] = said, len(found.calls)
        else:
            said = _ended(bound.model, layer) if known.passed is None else known.passed
        if isinstance(bound.model, SeesCalls):
            said = (*said, *filter(None, [bound.model.unseen_input(layer, bound.arrays)]))
        return replace(found, how=bound.how, notes=(*said, *found.notes))
    calls: list[Capture] = []
    model, arrays, how = bind_alone(model, layer, given, shape)
    if (held := recorded(model)) is not None:
        return _beside(model, held, layer, call, arrays, how, values.keys() - {layer})
    model.run_alone(layer, arrays, calls.append)
    said = _unused(values.keys() - {layer}, "the layer ran alone, on its own input")
    return Captured(model, _chosen(calls, layer, call), arrays, how, said, alone=True)


def _beside(
    model: Model,
    held: RecordedPass,
    layer: str,
    call: int | None,
    inputs: tuple[np.ndarray, ...],
    how: str,
    unused: Set[str],
) -> Captured:
    """The recorded calls of a layer, and the layer's own input that the user's values were computed
    from: these are held against NumPy on that."""
    found, _ = in_pass(model, held.arrays, layer, call, {})
    own = {(one.layer, one.call): inputs for one in found.calls}
    said = (
        f"{layer!r} did not run on the input that you gave: the framework's values are those of "
        "the recorded input, and yours are compared with NumPy's on your own",
        *_unused(unused, "the layer's own input was given"),
    )
    return replace(found, how=f"{held.how}; yours: {how}", notes=said, own=own)


def in_pass(
    model: Model,
    arrays: tuple[np.ndarray, ...],
    layer: str,
    call: int | None,
    values: Mapping[str, Expected],
    enough: int | None = None,
) -> tuple[Captured, tuple[np.ndarray, ...] | None]:
    """The calls of one layer in a forward pass on these arrays, and what the pass gives: None where
    it ended behind so many that are ``enough``, or that of a large model behind the first."""
    own: dict[tuple[str, int], tuple[np.ndarray, ...] | None] = {}
    calls: list[Capture] = []
    theirs = Theirs(arrays, values)
    others = values.keys() - {spec.name for spec in model.inputs or ()}

    def push(capture: Capture) -> None:
        if capture.goes_by(layer):
            calls.append(capture)
            own[capture.layer, capture.call] = theirs.inputs_of(capture) if values else None
        theirs.remember(capture)
        if enough is not None and len(calls) >= enough:
            raise StopForward

    if enough is None and is_large(model):
        enough = (call or 0) + 1
    watched = None
    with suppress(StopForward):
        watched = model.run(arrays, {layer, *others}, push)
    chosen = _chosen(calls, layer, call)
    for one in chosen:
        key = one.layer, one.call
        if (mine := own.get(key)) is not None:  # what it takes besides is the model's own
            own[key] = (*mine, *one.inputs[len(mine) :])
    unused = values.keys() - theirs.used - {layer}
    said = _unused(unused, "they are not all of its inputs")
    return Captured(model, chosen, arrays, "", said, own=own), watched


_PASSED_AGAIN = 10_000_000
"""So many parameters make a pass for those of all layers too dear to look at them in passing."""


def weights_of_others(
    forward: Captured, layer: Named, thorough: bool = False
) -> dict[str, np.ndarray]:
    """The parameters of the model's other layers, in words; another forward pass, of no large model
    and of no layer that was run alone."""
    kept: dict[str, np.ndarray] = {}

    def push(capture: Capture) -> None:
        own = isinstance(layer, str) and capture.goes_by(layer)
        steps = () if own or capture.description is None else capture.description.steps
        tables = {step.op.table.name for step in steps if isinstance(step.op, Embedding)}
        for name, weight in weights_of(steps).items():
            words = f"the embedding {capture.layer}" if name in tables else capture.layer
            kept.setdefault(f"{words}'s {name}", weight.effective)

    dear = is_large(forward.model) or parameters_of(forward.model) > _PASSED_AGAIN
    if not forward.alone and (thorough or not dear):
        with suppress(ProbeError):
            forward.model.run(forward.arrays, None, push)
    return kept


def _chosen(calls: Sequence[Capture], layer: str, call: int | None) -> list[Capture]:
    """The calls of the layer, or the one that is asked for, containers composed."""
    calls = [one for one in calls if one.goes_by(layer)]
    if not calls:
        raise NotReached(f"the forward pass did not call {layer!r}, so there is nothing to check")
    if call is not None and not 0 <= call < len(calls):
        raise BadInput(
            f"{layer!r} is called {len(calls)} times; call {call} does not exist (calls are "
            "numbered from 0)"
        )
    return [
        one if one.unseen is None else composed(one)
        for one in (calls if call is None else [calls[call]])
    ]


def _segment(
    model: Model,
    layers: tuple[str, ...],
    x: Inputs | InputArgument,
    *,
    given: object,
    call: int | None,
    shape: Shape,
    seed: int,
) -> Captured:
    if len(layers) != 2:
        raise BadInput(f"a segment has two ends, the first and the last layer; you gave {layers!r}")
    if given is not None:
        raise BadInput("a segment cannot run alone: give the model's input")
    check_names(model, dict.fromkeys(layers))
    model, arrays, how = bind(model, x, shape, seed)
    found = pass_through(model, arrays, layers)
    said = watching(model, arrays, found.outputs)
    first, last = (found.call(name, call or 0) for name in layers)
    made = segment(found.whole, first, last)
    return Captured(model, [made], arrays, how, said)


class Passed(NamedTuple):
    """A forward pass with all its calls: the model as a whole, and the calls of some layers."""

    outputs: tuple[np.ndarray, ...]
    whole: Capture
    calls: list[Capture]

    def call(self, layer: str, number: int) -> Capture:
        """One call of a layer; NotReached where there is none."""
        for one in self.calls:
            if one.goes_by(layer) and one.call == number:
                return one
        raise NotReached(f"the forward pass makes no call {number} of {layer!r}")


def pass_through(model: Model, arrays: tuple[np.ndarray, ...], layers: Collection[str]) -> Passed:
    """One pass in which the calls of the whole model are kept."""
    calls: list[Capture] = []
    outputs = model.run(arrays, {"", *layers}, calls.append)
    whole = next((one for one in calls if not one.layer and one.unseen is not None), None)
    if whole is None:
        raise BadInput(
            f"{layers!r}: segments need a model that calls layers, and this one is a single layer"
        )
    return Passed(outputs, whole, calls)


def _unused(names: Set[str], why: str) -> tuple[str, ...]:
    """A note on values of other layers that the layer was not judged on."""
    if not names:
        return ()
    told = printable.several(sorted(map(repr, names)), 4)
    return (f"your values of other layers were not used ({why}): {told}",)


def _ended(model: Model, layer: str) -> tuple[str, ...]:
    """A note on a pass of a large model that ended where the layer was done."""
    return (
        f"the model has {parameters_of(model):,} parameters, so one forward pass ran, up to this "
        f"call of {printable.name(repr(layer))}; probe did not test whether capturing changes its "
        "result; --call N (call=) checks later calls",
    )


@dataclass(eq=False)
class _Passes:
    """What passes of an opened model on one input have told."""

    watching: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    """What ``watching`` found, by the digest of the pass' result."""
    passed: tuple[str, ...] | None = None
    """The same of a model out of a file, whose later passes may end behind the layer that is asked
    for."""
    calls: dict[str, int] = field(default_factory=dict)
    """How often such a pass calls a layer."""


_PASSES: dict[int, dict[bytes, _Passes]] = {}
"""By the identity of the opened model while it lives, and by the digest of the input."""


def _out_of_a_file(opened: Model) -> bool:
    """Whether nobody else has the model, so that it stays as it is: of a live object the source is
    words."""
    return exists(opened.source)


def _passes_of(opened: Model, bound: Bound) -> _Passes:
    if id(opened) not in _PASSES:
        _PASSES[id(opened)] = {}
        finalize(opened, _PASSES.pop, id(opened), None)
    return _PASSES[id(opened)].setdefault(_digest(bound.how, bound.arrays), _Passes())


def _digest(words: str, arrays: Sequence[np.ndarray]) -> bytes:
    digest = blake2b(words.encode(errors="surrogatepass"))  # names may be no valid Unicode
    for one in arrays:
        digest.update(f"{one.dtype} {one.shape} ".encode())
        digest.update(repr(one.tolist()).encode() if one.dtype.hasobject else one.tobytes())
    return digest.digest()


def _watching_once(
    bound: Bound, watched: tuple[np.ndarray, ...], known: _Passes
) -> tuple[str, ...]:
    """What ``watching`` finds, found out once for an opened model, an input and a result."""
    if (key := _digest("", watched)) not in known.watching:
        known.watching[key] = watching(bound.model, bound.arrays, watched)
    return known.watching[key]


def watching(
    model: Model, arrays: tuple[np.ndarray, ...], watched: tuple[np.ndarray, ...]
) -> tuple[str, ...]:
    """Whether the model gives the same with nobody watching, and whether it repeats itself at
    all."""
    if (held := recorded(model)) is not None:
        return held.watching

    def same(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...]) -> bool:
        return len(left) == len(right) and all(
            one.shape == other.shape and one.tobytes() == other.tobytes()
            for one, other in zip(left, right, strict=True)
        )

    def unwatched() -> tuple[np.ndarray, ...]:
        return model.run(arrays, (), lambda _: None)

    first = unwatched()
    if same(first, watched):
        return ()
    if same(first, unwatched()):
        return (
            (
                "capturing activations changes the result: the uninstrumented forward pass "
                "is not bit-identical (fused or compiled kernels)"
            ),
        )
    return (
        (
            "the model is nondeterministic: two passes on the same input differ (active "
            "dropout or random layers)"
        ),
    )


def opened(model: ModelLike) -> Model:
    """The model itself where an adapter has opened it, or else opened."""
    if is_model(model):
        return model
    return open_model(model)
