"""Does the allowance of a block hold what honest engines give, and does it show a fault, at any
depth?

Language, text and image models of transformers with drawn weights, of 1 to 12 blocks, as one layer
each (``--layer ""``), in float32, bfloat16 and float16. Honest: PyTorch with its attention written
out, with the fused one, and on two threads; ONNX Runtime with its optimisations and without; NumPy
in float32. Faults, in the first block: scores divided by d, a mask and a rotation of the keys that
are off by one, and another epsilon. Writes a section of RESULTS.md; the exit status is 1 where an
honest engine is said to differ, a fault is not, or the check would miss more than a tenth of wrong
elements.
"""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "support")]

import numpy as np
import onnxruntime
import torch
from results import keep, machine
from transformers_cases import CASES, TransformersCase, build

import probe
from probe.capture.model_inputs import bind
from probe.capture.passes import in_pass
from probe.evaluation.onnxruntime_reference import layer_model
from probe.evaluation.reference import inputs_of, recomputed
from probe.model import Capture
from probe.verdict.judge import judge, weighed
from probe.verdict.options import Options, Yours

DEPTHS = (1, 4, 12)
EACH = tuple(range(1, 13))
"""Of the first architecture every depth."""
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
DEPTH = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    *("encoder_layers", "decoder_layers"),
)
NAMES = (
    *("Llama", "Mistral", "Gemma", "Gemma2", "Gemma3", "Qwen2", "Qwen3", "Phi3", "Phi"),
    *("GPT2LMHeadModel", "GPTNeoX", "OPT", "Bloom", "Falcon", "StableLm", "Cohere", "Olmo2"),
    *("Granite", "Mixtral", "Bert", "Roberta", "Electra", "MPNet", "T5", "Bart", "ViT", "DeiT"),
)
FAULTY = ("Llama", "Mistral", "Qwen2")
"""Whose attention is written alike, so that one way to plant a fault does for all."""
POWER = 0.9


def module_of(name: str, depth: int, dtype: torch.dtype) -> Any:
    case = CASES[name]
    sizes = {key: depth for key in DEPTH if key in case.config}
    module = build(TransformersCase(case.cls, {**case.config, **sizes}))
    for part in module.modules():
        if isinstance(part, torch.nn.Linear):  # scores then tell places apart, as trained ones do
            torch.nn.init.normal_(part.weight, std=part.in_features**-0.5)
    module = module.to(dtype)
    module.set_attn_implementation("eager")
    return module


def captured(module: Any) -> tuple[Capture, Any]:
    """The whole model as one layer, and what it was run on, which is drawn alike each time."""
    model, arrays, _ = bind(probe.open_model(module), None, None, 0)
    found, _ = in_pass(model, arrays, "", 0, {})
    (capture,) = found.calls
    return capture, arrays


def fused(module: Any) -> Any:
    other = deepcopy(module)
    other.set_attn_implementation("sdpa")
    return captured(other)[0].outputs


def two_threads(module: Any) -> Any:
    torch.set_num_threads(2)
    try:
        return captured(module)[0].outputs
    finally:
        torch.set_num_threads(1)


def optimised(capture: Capture) -> Any:
    """ONNX Runtime with all that it optimises."""
    assert capture.description is not None
    steps, given = capture.description.steps, inputs_of(capture)
    values = recomputed(capture.description, given).values
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        layer_model(steps, given, values), options, providers=["CPUExecutionProvider"]
    )
    fed = {one.name: one for one in session.get_inputs()}
    feeds = {}
    for name, x in zip(fed, given, strict=True):
        kind = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
        feeds[name] = np.asarray(x, kind.get(fed[name].type, x.dtype))
    return tuple(session.run(None, feeds))


def single(capture: Capture) -> Any:
    """NumPy in float32."""
    assert capture.description is not None
    given = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs_of(capture)]
    values: list[Any] = []
    with np.errstate(all="ignore"):
        for position, step in enumerate(capture.description.steps):
            made = step.op.run(*(ref.of(given, values) for ref in step.sources(position)))
            values.append(tuple(y.astype(np.float32) if y.dtype.kind == "f" else y for y in made))
    return values[-1]


def other_scale(block: Any) -> None:
    block.self_attn.scaling = 1 / block.self_attn.head_dim


def other_epsilon(block: Any) -> None:
    block.input_layernorm.variance_epsilon *= 10


def other_mask(block: Any) -> None:
    def shifted(_: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        mask = kwargs["attention_mask"]
        rolled = torch.roll(mask, 1, -1)
        rolled[..., 0] = 0
        return args, {**kwargs, "attention_mask": rolled}

    block.self_attn.register_forward_pre_hook(shifted, with_kwargs=True)


@contextmanager
def turned_keys(block: Any) -> Iterator[None]:
    """The keys of the block are rotated as those of the next place."""
    home = sys.modules[type(block).__module__]
    plain = home.apply_rotary_pos_emb
    on = []
    hooks = [
        block.register_forward_pre_hook(lambda *_: on.append(True)),
        block.register_forward_hook(lambda *_: on.clear()),
    ]

    def turned(q: Any, k: Any, cos: Any, sin: Any, *rest: Any, **options: Any) -> Any:
        q, right = plain(q, k, cos, sin, *rest, **options)
        if not on:
            return q, right
        step = torch.roll(cos, -1, -2), torch.roll(sin, -1, -2)
        return q, plain(k, k, *step, *rest, **options)[1]

    home.apply_rotary_pos_emb = turned
    try:
        yield
    finally:
        home.apply_rotary_pos_emb = plain
        for one in hooks:
            one.remove()


FAULTS: dict[str, Callable[[Any], Any]] = {
    "scores divided by d": other_scale,
    "mask off by one": other_mask,
    "rotation of the keys off by one": turned_keys,
    "another epsilon": other_epsilon,
}


def faulty(module: Any, arrays: Any, plant: Callable[[Any], Any]) -> Any:
    """What the model gives with the fault in its first block."""
    other = deepcopy(module)
    planted = plant(other.model.layers[0])
    with torch.no_grad():
        ids = torch.from_numpy(np.asarray(arrays[0]))
        if planted is None:
            found = other(ids, use_cache=False)
        else:
            with planted:
                found = other(ids, use_cache=False)
    return (found.logits.float().numpy(),)


@dataclass
class Told:
    """What was said of one dtype."""

    verdicts: Counter[str] = field(default_factory=Counter)
    alarms: list[str] = field(default_factory=list)
    weak: list[str] = field(default_factory=list)
    worst: float = 0.0
    faults: Counter[tuple[str, bool]] = field(default_factory=Counter)
    passed: list[str] = field(default_factory=list)


def run(name: str, depth: int, dtype: torch.dtype, told: Told) -> None:
    module = module_of(name, depth, dtype)
    what = f"{name}, {depth} blocks, {dtype}"
    capture, arrays = captured(module)
    options = Options(threads=1)
    call = weighed(capture, None, options)
    report = judge(capture, None, options)
    told.verdicts[report.verdict] += 1
    ratios = {pair[0]: one.ratio for pair, one in call.comparisons.items()}
    told.worst = max(told.worst, *ratios.values())
    if report.verdict != "agree":
        told.alarms.append(f"{what}: {report.sentence}")
    least = min((one.share for one in call.power.values()), default=1.0)
    if least <= POWER:
        told.weak.append(f"{what}: {least:.2f}")
    honest: dict[str, Callable[[], Any]] = {
        **({"fused": lambda: fused(module)} if module._supports_sdpa else {}),
        "two threads": lambda: two_threads(module),
        "ONNX Runtime, optimised": lambda: optimised(capture),
        "NumPy in float32": lambda: single(capture),
    }
    for engine, gives in honest.items():
        found = judge(capture, Yours(gives()), options)
        told.verdicts[found.verdict] += 1
        pair = found.comparisons["numpy", "expected"]
        told.worst = max(told.worst, pair.ratio if np.isfinite(pair.ratio) else 0.0)
        if found.verdict == "diverge":
            told.alarms.append(f"{what}, {engine}: {found.sentence}")
    for fault, plant in FAULTS.items() if name in FAULTY else ():
        if fault == "another epsilon" and dtype != torch.float32:
            continue
        seen = judge(capture, Yours(faulty(module, arrays, plant)), options).verdict == "diverge"
        told.faults[fault, seen] += 1
        if not seen:
            told.passed.append(f"{what}: {fault}")


def main() -> int:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    told = {dtype: Told() for dtype in DTYPES}
    names = sys.argv[1:] or NAMES
    for name in names:
        for dtype in DTYPES:
            for depth in EACH if name == NAMES[0] else DEPTHS:
                try:
                    run(name, depth, dtype, told[dtype])
                except Exception as error:
                    told[dtype].alarms.append(
                        f"{name}, {depth} blocks, {dtype}: {type(error).__name__}: {error}"
                    )
        for dtype, one in told.items():
            print(name, dtype, dict(one.verdicts), f"{one.worst:.2f}", flush=True)
    lines = [
        "| dtype | evaluations | said to differ | worst, in units of what is allowed | faults | "
        "not seen | models with a power of 0.9 or less |",
        "|---|---|---|---|---|---|---|",
    ]
    for dtype, one in told.items():
        lines.append(
            f"| {str(dtype).removeprefix('torch.')} | {one.verdicts.total()} | "
            f"{one.verdicts['diverge']} | {one.worst:.2f} | {one.faults.total()} | "
            f"{len(one.passed)} | {len(one.weak)} |"
        )
    how = (
        f"Written by `python benchmarks/containers.py`: {machine('numpy', 'onnxruntime', 'torch')}"
        f".\n{len(names)} architectures of transformers, each whole model as one layer. Where the "
        "largest error of an honest engine is\nnearly all that is allowed, a check cannot be "
        "sharper: so with scaled scores or few outputs in bfloat16."
    )
    print("\n".join(lines))
    for one in told.values():
        print("\n".join([*one.alarms, *one.weak, *one.passed]))
    if not sys.argv[1:]:
        keep("Containers", f"{how}\n\n" + "\n".join(lines))
    return 1 if any(one.alarms or one.weak or one.passed for one in told.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
