"""LoRA layers of PEFT: a layer, and products of two small matrices that are added to its weight.

None of peft is imported. The weight that is shown is the merged one, also where the layer adds the
products to its output instead: ``ByParts`` then holds what rounding does on that way.
(peft/tuners/lora/layer.py and dora.py, 0.21.)
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probe import ops
from probe.description import Builder, Description, Ref, Step, Weight
from probe.errors import Undescribed

from ..describe.describe import ModuleCall, chain, describe, described_as, describes, refusal
from ..layers.attention import drops
from ..layers.embedding import limit

_PLACE = "peft.tuners.lora.layer"
_DORA = (
    "DoraLinearVariant",
    "DoraEmbeddingVariant",
    "DoraConv1dVariant",
    "DoraConv2dVariant",
    "DoraConv3dVariant",
)


@describes("transformers.pytorch_utils.Conv1D")
def _conv1d(module: Any, call: ModuleCall) -> Description:
    """A linear layer whose weight is stored as (in, out)."""
    return chain(ops.MatMul(weight=call.required("weight"), bias=call.weight("bias")))


@dataclass(frozen=True)
class _Adapter:
    """``scale * up @ down`` in float64, each a matrix: (out, rank) and (rank, in * taps)."""

    name: str
    down: Weight
    up: Weight
    scale: float
    how: str
    """Where the scale comes from."""
    bias: Weight | None
    magnitude: Weight | None
    """The norms that DoRA gives the rows of the merged weight."""
    chosen: np.ndarray | None = None
    """For which samples of the batch it is, where they have one each."""

    @property
    def words(self) -> str:
        """What it adds to the output of the base layer."""
        if self.chosen is None:
            only = ""
        else:
            only = f" for the samples {', '.join(map(str, np.flatnonzero(self.chosen)))}"
        return f"lora_B.{self.name}(lora_A.{self.name}(x)) * {self.scale:g}{only}"

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        down, up = self.down.effective.astype(np.float64), self.up.effective.astype(np.float64)
        return down.reshape(len(down), -1), up.reshape(len(up), -1)

    @property
    def delta(self) -> np.ndarray:
        down, up = self.factors
        return np.asarray(self.scale * (up @ down))

    def gain(self, rows: np.ndarray) -> np.ndarray:
        """What DoRA multiplies each output by, found from the weight without adapters."""
        assert self.magnitude is not None
        lengths = np.linalg.norm(rows + self.delta, axis=1, keepdims=True)
        return np.asarray(self.magnitude.effective.astype(np.float64).reshape(-1, 1) / lengths)


def _refuses(module: Any) -> str:
    base = module.base_layer
    return refusal(base) and f"its base layer is not described: {refusal(base)}"


@describes(*(f"{_PLACE}.{name}" for name in ("Linear", "_ConvNd", "Embedding")), refuses=_refuses)
def _lora(module: Any, call: ModuleCall) -> Description:
    hooked = next(
        (name for name, inner in module.named_modules() if name and _foreign_hooks(inner)), ""
    )
    if hooked:
        raise Undescribed(f"its {hooked} has a user-registered forward hook")
    base = describe(module.base_layer, _inside(call, "base_layer"))
    at, name = _sums(base.steps)
    weight = getattr(base.steps[at].op, name)
    # the call has taken out what was merged, which goes back into the same memory after it
    if module.disable_adapters:
        bare = weight.effective.copy()
        return _with(
            base,
            at,
            name,
            replace(
                weight, stored=bare, effective=bare, steps=(*weight.steps, "adapters are disabled")
            ),
        )
    if module.merged_adapters:
        return _with(
            base,
            at,
            name,
            _merged_before(module, call, weight),
            _bias_before(module, call, base.steps[at].op),
        )
    samples = call.arguments.get("adapter_names") or call.arguments.get("kwargs", {}).get(
        "adapter_names"
    )
    adapters = list(
        _adapters(module, call, dict.fromkeys(samples) if samples else module.active_adapters)
    )
    if samples:
        adapters = [
            replace(adapter, chosen=np.array([name == adapter.name for name in samples]))
            for adapter in adapters
        ]
    if not adapters:
        return base
    limited = getattr(module.base_layer, "max_norm", None) is not None
    if limited and any(adapter.magnitude is not None for adapter in adapters):
        raise Undescribed("DoRA on an embedding with max_norm is not supported")
    if hasattr(module.base_layer, "embed_scale"):
        raise Undescribed(
            "an embedding with embed_scale is not supported: PEFT applies it to the "
            "adapter's rows separately"
        )
    way = _way(module, call, base, adapters)
    if samples or limited or not _mergeable(module):
        return replace(base, steps=way)
    merged = _merged(module, weight, adapters)
    described = _with(base, at, name, merged, _bias(base.steps[at].op, weight, adapters, module))
    build = Builder()
    (y,) = build.include(described.steps)
    words = " + ".join(["base_layer(x)", *(adapter.words for adapter in adapters)])
    return replace(described, steps=build.ended(build.add(ops.ByParts(way, words), y, Ref(-1))))


def _refuses_attention(module: Any) -> str:
    return _refuses(module) or drops(module.base_layer)


@describes(f"{_PLACE}.MultiheadAttention", refuses=_refuses_attention, several=True)
def _attention(module: Any, call: ModuleCall) -> Description:
    """The attention with what PEFT merges for the call, and takes out after it: its kernels as the
    call inside meets them.

    Into the projection of the outputs PEFT 0.21 merges it twice (``MultiheadAttention.merge`` adds
    it, and then has ``out_proj`` do so).
    """
    base, given = module.base_layer, dict(call.arguments)
    args, kwargs = given.pop("args", ()), given.pop("kwargs", {})
    bound = inspect.signature(base.forward).bind(*given.values(), *args, **kwargs).arguments
    inside = _inside(call, "base_layer")
    owners = {
        "in_proj_weight": (module, ""),
        "out_proj.weight": (base.out_proj, "base_layer.out_proj."),
    }
    off = module.disable_adapters
    names: Sequence[str] = ()
    if not off:
        active = [name for name in module.active_adapters if name in module.lora_A]
        names = module.merged_adapters or active

    def read(name: str) -> Weight | None:
        y = inside.read(name.replace("out_proj.", "out_proj.base_layer."))
        if y is None or name not in owners:
            return y
        owner, place = owners[name]
        added, words = np.zeros(y.effective.shape), []
        parts: dict[str, np.ndarray] = {}
        for key in names:
            down, up = (call.required(f"{place}lora_{letter}.{key}.weight") for letter in "AB")
            adapter = _Adapter(
                key, down, up, float(owner.scaling[key]), _how(owner, key), None, None
            )
            added = added + adapter.delta
            words.append(f"plus {up.name} @ {down.name} times {adapter.scale:g} ({adapter.how})")
            parts |= {part.name: part.effective for part in (down, up)}
        return _as_merged(y, added, words, parts, bool(module.merged_adapters))

    return described_as("MultiheadAttention", base, replace(call, arguments=bound, read=read))


def _as_merged(
    weight: Weight, added: np.ndarray, words: list[str], parts: dict[str, np.ndarray], before: bool
) -> Weight:
    """The weight that the call met; how often ``added`` is in it is read off it. ``before``: it is
    stored with that, too."""
    effective = weight.effective.astype(np.float64)
    if not words or weight.stored is None or not added.any():
        return weight
    if before:
        for times, often in ((1, ""), (2, ", which are included twice")):
            parts = parts | {
                f"{weight.name} without its adapters{often}": (effective - times * added).astype(
                    weight.effective.dtype
                )
            }
        return replace(
            weight,
            steps=(*weight.steps, "its adapters merged into it"),
            parts={**weight.parts, **parts},
        )
    times = round(float(((effective - weight.stored) * added).sum() / (added * added).sum()))
    if times != 1:
        words = [*words, f"merged {times} times over by PEFT"]
        once = (weight.stored + added).astype(weight.effective.dtype)
        parts = parts | {f"{weight.name} with its adapters merged once": once}
    return replace(weight, steps=(*weight.steps, *words), parts={**weight.parts, **parts})


def _foreign_hooks(module: Any) -> bool:
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any(
        not str(hook.__module__).startswith(("torch.", str(__package__).rpartition(".")[0]))
        for hook in hooks
    )


def _inside(call: ModuleCall, place: str) -> ModuleCall:
    return replace(call, read=lambda name: call.read(f"{place}.{name}"), arguments={})


def _sums(steps: tuple[Step, ...]) -> tuple[int, str]:
    """The step that holds the weight, and the name of its field."""
    fields = [(at, name) for at in range(len(steps)) for name in ("weight", "table")]
    found = [
        (at, name) for at, name in fields if isinstance(getattr(steps[at].op, name, None), Weight)
    ]
    if len(found) != 1:
        raise Undescribed("its base layer does not multiply by exactly one weight")
    return found[0]


def _with(
    description: Description, at: int, name: str, weight: Weight, bias: Weight | None = None
) -> Description:
    step = description.steps[at]
    op: Any = replace(step.op, **{name: weight}, **({} if bias is None else {"bias": bias}))
    return replace(
        description,
        steps=(*description.steps[:at], replace(step, op=op), *description.steps[at + 1 :]),
    )


def _adapters(module: Any, call: ModuleCall, names: Any) -> Iterator[_Adapter]:
    """The named adapters as far as this layer has them, in the order in which they are added."""
    table = bool(module.lora_embedding_A)
    held = module.lora_embedding_A if table else module.lora_A
    for name in names:
        if name not in held:
            continue
        if name in module.lora_variant:
            variant = type(module.lora_variant[name]).__name__
        else:
            variant = ""
        if variant and variant not in _DORA:
            raise Undescribed(f"its adapter {name} is a {variant}, which is not supported")
        if module.training and type(module.lora_dropout[name]).__name__ != "Identity":
            raise Undescribed(f"dropout is active before its adapter {name}")
        factor = held[name] if table else held[name].weight
        kept, own = str(module.base_layer.weight.dtype), str(factor.dtype)
        if own not in (kept, "torch.float32", "torch.float64"):
            raise Undescribed(
                f"its adapter {name} computes in {own.removeprefix('torch.')}, but its base "
                f"layer in {kept.removeprefix('torch.')}"
            )
        ends = ("lora_embedding_{}.{}", "") if table else ("lora_{}.{}", ".weight")
        down, up = (call.required(ends[0].format(letter, name) + ends[1]) for letter in "AB")
        yield _Adapter(
            name,
            down,
            up,
            float(module.scaling[name]),
            _how(module, name),
            None if table else call.weight(f"lora_B.{name}.bias"),
            call.required(f"lora_magnitude_vector.{name}.weight") if variant else None,
        )


def _how(module: Any, name: str) -> str:
    alpha, rank = module.lora_alpha[name], module.r[name]
    plain = {
        f"lora_alpha {alpha:g} / r {rank}": alpha / rank,
        f"lora_alpha {alpha:g} / sqrt(r {rank})": alpha / math.sqrt(rank),
    }
    return next(
        (words for words, scale in plain.items() if scale == module.scaling[name]), "set by hand"
    )


def _mergeable(module: Any) -> bool:
    """Whether one kernel does the same: PEFT's lora_A has no groups, dilation or padding mode."""
    base = module.base_layer
    return not hasattr(base, "padding_mode") or (
        base.groups == 1 and base.padding_mode == "zeros" and set(base.dilation) == {1}
    )


def _rows(module: Any, weight: np.ndarray) -> np.ndarray:
    """The weight as (out, in * taps), in float64."""
    wide = weight.astype(np.float64)
    if _turned(module):
        return wide.T
    return wide.reshape(len(wide), -1)


def _turned(module: Any) -> bool:
    return bool(module.lora_embedding_A) or type(module.base_layer).__name__ == "Conv1D"


def _like(module: Any, rows: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return (
        (rows.T if _turned(module) else rows)
        .reshape(weight.shape)
        .astype(np.result_type(weight.dtype, np.float32))
    )


def _merged(module: Any, weight: Weight, adapters: list[_Adapter]) -> Weight:
    """With every adapter in it, and what the words for that are."""
    rows = base = _rows(module, weight.effective)
    words: list[str] = []
    parts: dict[str, np.ndarray] = {}
    for adapter in adapters:
        rows = rows + adapter.delta
        words.append(
            f"plus {adapter.up.name} @ {adapter.down.name} times {adapter.scale:g} ({adapter.how})"
        )
        if adapter.magnitude is not None:
            gain = adapter.gain(base)
            rows = gain * rows
            words.append(
                f"times {adapter.magnitude.name} / the norm per output, {gain.min():g} to "
                f"{gain.max():g}"
            )
        parts |= {
            part.name: part.effective
            for part in (adapter.down, adapter.up, adapter.magnitude)
            if part is not None
        }
    effective = _like(module, rows, weight.effective)
    if any(adapter.scale != 1 for adapter in adapters) and all(
        adapter.magnitude is None for adapter in adapters
    ):
        plain = base + sum(adapter.delta / adapter.scale for adapter in adapters if adapter.scale)
        parts[f"{weight.name} with the adapters added without their scaling"] = _like(
            module, plain, weight.effective
        )
    return replace(
        weight,
        effective=effective,
        steps=(*weight.steps, *words),
        parts={**weight.parts, **parts},
        grid=None,
    )


def _bias(op: Any, weight: Weight, adapters: list[_Adapter], module: Any) -> Weight | None:
    """The base's bias and those of the adapters; None where they have none."""
    with_bias = [adapter for adapter in adapters if adapter.bias is not None]
    if not with_bias:
        return None
    added, words = np.zeros(()), []
    for adapter in adapters:
        if adapter.bias is not None:
            added = added + adapter.scale * adapter.bias.effective.astype(np.float64)
            words.append(f"plus {adapter.bias.name} times {adapter.scale:g}")
        if adapter.magnitude is not None:
            added = added * adapter.gain(_rows(module, weight.effective)).reshape(-1)
            words.append(f"times {adapter.magnitude.name} / the norm, except the base layer's bias")
    parts = {
        adapter.bias.name: adapter.bias.effective
        for adapter in with_bias
        if adapter.bias is not None
    }
    none = np.zeros(added.shape, np.float32)
    held = Weight("base_layer.bias", none, none) if op.bias is None else op.bias
    kind = np.result_type(held.effective.dtype, np.float32)
    return replace(
        held,
        effective=(held.effective + added).astype(kind),
        steps=(*held.steps, *words),
        parts={**held.parts, **parts},
    )


def _merged_before(module: Any, call: ModuleCall, weight: Weight) -> Weight:
    """The weight that has adapters in it already; what it was without them is one of its parts."""
    rows, names = _rows(module, weight.effective), " and ".join(module.merged_adapters)
    weight = replace(weight, steps=(*weight.steps, f"{names} merged into it"))
    try:
        for adapter in reversed(list(_adapters(module, call, module.merged_adapters))):
            if adapter.magnitude is not None:
                norm = module._caches[f"{adapter.name}-weight_norm"].double().numpy(force=True)
                rows = (
                    rows
                    * norm.reshape(-1, 1)
                    / adapter.magnitude.effective.astype(np.float64).reshape(-1, 1)
                )
            rows = rows - adapter.delta
    except (Undescribed, KeyError):
        return weight
    return replace(
        weight,
        parts={
            **weight.parts,
            f"{weight.name} without {names}": _like(module, rows, weight.effective),
        },
    )


def _bias_before(module: Any, call: ModuleCall, op: Any) -> Weight | None:
    """The bias that has those of adapters in it already; None where it has none."""
    try:
        adapters = [
            adapter
            for adapter in _adapters(module, call, module.merged_adapters)
            if adapter.bias is not None
        ]
    except Undescribed:
        return None
    if not adapters or op.bias is None:
        return None
    bare = op.bias.effective.astype(np.float64)
    names = " and ".join(adapter.name for adapter in adapters)
    for adapter in adapters:
        assert adapter.bias is not None
        bare = bare - adapter.scale * adapter.bias.effective.astype(np.float64)
    parts = {f"{op.bias.name} without {names}": bare.astype(op.bias.effective.dtype)}
    bias: Weight = replace(
        op.bias,
        steps=(*op.bias.steps, f"{names} merged into it"),
        parts={**op.bias.parts, **parts},
    )
    return bias


def _way(
    module: Any, call: ModuleCall, base: Description, adapters: list[_Adapter]
) -> tuple[Step, ...]:
    """The layer as PEFT computes it: the base layer's output, and what each adapter adds to it."""
    at, name = _sums(base.steps)
    weight, held = getattr(base.steps[at].op, name), getattr(base.steps[at].op, "bias", None)
    beside = tuple(f"beside it: plus {adapter.words}" for adapter in adapters)
    base = _with(base, at, name, replace(weight, steps=(*weight.steps, *beside)))
    build = Builder()
    (y,) = build.include(base.steps)
    if (
        hasattr(module.base_layer, "kernel_size")
        and call.x.ndim != len(module.base_layer.kernel_size) + 2
    ):
        raise Undescribed("an input without a batch axis is not supported")
    for adapter in adapters:
        axes = call.x.ndim - (not module.lora_embedding_A)
        scale: Any = adapter.scale
        if adapter.chosen is not None:
            scale = (adapter.chosen * adapter.scale).reshape(-1, *(1,) * axes)
        added = build.add(
            _times(f"scaling of {adapter.name}", scale, adapter.how),
            _low_rank(module, call, build, adapter),
        )
        if adapter.magnitude is not None:
            gain = _gain(module, build, adapter, weight)
            less = y
            if held is not None:
                less = build.add(ops.AddConstant(_against(held, weight.effective.ndim)), y)
            more = build.add(ops.Mul(), less, build.add(ops.AddConstant(_number("-1", -1.0)), gain))
            added = build.add(ops.Add(), more, build.add(ops.Mul(), added, gain))
        y = build.add(ops.Beside(weight=weight.name, words=adapter.words), y, added)
    return build.ended(y)


def _low_rank(module: Any, call: ModuleCall, build: Builder, adapter: _Adapter) -> Ref:
    """lora_B(lora_A(x))."""
    if module.lora_embedding_A:
        rows = build.add(
            ops.Embedding(table=replace(adapter.down, axes=(1, 0)), **limit(module.base_layer)),
            Ref(-1),
        )
        return build.add(ops.MatMul(weight=replace(adapter.up, axes=(1, 0)), bias=None), rows)
    y = Ref(-1)
    for part in ("lora_A", "lora_B"):
        described = describe(
            getattr(module, part)[adapter.name], _inside(call, f"{part}.{adapter.name}")
        )
        (y,) = build.include(described.steps, y)
    return y


def _gain(module: Any, build: Builder, adapter: _Adapter, weight: Weight) -> Ref:
    """DoRA's magnitude over the norm of the merged rows, so that what rounding does to that is
    known too."""
    down, up = adapter.factors
    assert adapter.magnitude is not None
    rows = build.add(ops.MatMul(weight=_number(adapter.down.name, down), bias=None), up)
    rows = build.add(_times(f"scaling of {adapter.name}", adapter.scale, adapter.how), rows)
    rows = build.add(ops.AddConstant(_number(weight.name, _rows(module, weight.effective))), rows)
    norm = build.add(ops.ReduceL2(axes=(1,)), rows)
    gain = build.add(ops.Div(), adapter.magnitude.effective.reshape(-1), norm)
    around = (-1, *(1,) * (weight.effective.ndim - 2))
    return build.add(ops.Reshape(shape=around), gain)


def _times(name: str, scale: Any, how: str) -> ops.MulConstant:
    return ops.MulConstant(replace(_number(name, scale), steps=(how,)))


def _number(name: str, value: Any) -> Weight:
    return Weight(name, None, np.asarray(value, np.float64))


def _against(bias: Weight, ndim: int) -> Weight:
    return replace(
        bias,
        name=f"-{bias.name}",
        stored=None,
        effective=-bias.effective,
        shape=(-1, *(1,) * (ndim - 2)),
    )
