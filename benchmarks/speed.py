"""What does recomputing, and a whole sweep, cost next to the tools that one would otherwise use?

Every measurement is a process of its own (``python benchmarks/speed.py NAME``), in which the sides
take turns; the ratio of each round counts, and of five rounds the median. Before each turn the
process rests: OpenBLAS' threads spin for a tenth of a second after the last product of
onnx.reference, which would take a core from the other side. "One thread" pins the process to one
core. Without a name all run, the table goes to RESULTS.md, and the exit status is 1 where a ratio
exceeds its bar.
"""

import io
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

ROUNDS = 5
REST = 0.3
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PEER, PLAIN = "peer", "peer, nothing optimised"
LINEAR = "Linear of 4096 x 4096 in bfloat16"
BLOCK = "Llama block of hidden size 1024"
BARS: list[tuple[str, str, str, float | None]] = [
    (LINEAR, "sweep", "a float64 product", 2.6),
    (BLOCK, "the block", "its calls", 1.1),
    ("resnet50", "NumPy, all layers", "a float64 product", 1.7),
    ("resnet50", "NumPy, all layers", "onnx.reference", 1 / 3),
    ("resnet50", "NumPy, convolutions", "onnx.reference, Conv", 0.9),
    ("MobileNetV2", "NumPy, all layers", "onnx.reference", 1 / 3),
    ("sweep resnet50", "sweep", PEER, 0.5),
    ("sweep resnet50", "sweep", PLAIN, None),
    ("sweep resnet50, one thread", "sweep", PEER, 0.65),
    ("sweep resnet50, one thread", "sweep", PLAIN, None),
    ("sweep mobilenet_v3_large", "sweep", PEER, 0.75),
    ("sweep mobilenet_v3_large", "sweep", PLAIN, None),
    ("sweep mobilenet_v3_large, one thread", "sweep", PEER, 0.75),
    ("sweep mobilenet_v3_large, one thread", "sweep", PLAIN, None),
]
SINGLE = {
    LINEAR,
    BLOCK,
    "resnet50",
    "MobileNetV2",
    "sweep resnet50, one thread",
    "sweep mobilenet_v3_large, one thread",
}


def rounds(sides: dict[str, Callable[[], float | None]]) -> dict[str, list[float]]:
    """Seconds of each side in each of five rounds, after one that does not count; a side may report
    its own seconds."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(ROUNDS + 1):
        for name, side in sides.items():
            sleep(REST)
            start = perf_counter()
            own = side()
            if turn:
                taken[name].append(perf_counter() - start if own is None else own)
    return taken


def torchvision_model(name: str) -> Any:
    """Random weights, and batch-norm statistics of which no two are equal (the exporter would merge
    equal ones)."""
    import torch
    import torchvision

    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    return model


def image() -> Any:
    import numpy as np

    return np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)


def exported(model: Any) -> Any:
    """The float32 graph with its layers as they are: no constants folded, no batch normalisation
    merged."""
    import onnx
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.from_numpy(image()),), buffer, dynamo=False, do_constant_folding=False
        )
    return onnx.load_from_string(buffer.getvalue())


def recomputation(model: Any, x: Any, graph: Any) -> dict[str, list[float]]:
    import numpy as np
    from onnx.reference import ReferenceEvaluator

    import probe
    from probe.evaluation.numpy_reference import recompute
    from probe.ops import Conv, MatMul

    captures: list[Any] = []
    probe.open_model(model).run((x,), None, captures.append)
    calls = [one for one in captures if one.description is not None]
    kinds = {id(one): {type(step.op) for step in one.description.steps} for one in calls}
    operations = 0
    for one in calls:
        values = recompute(one.description.steps, one.inputs)
        for position, step in enumerate(one.description.steps):
            if isinstance(step.op, Conv | MatMul):
                given = [
                    one.inputs[ref.index] if ref.step < 0 else values[ref.step][ref.index]
                    for ref in step.sources(position)
                ]
                operations += step.op.term_count(given, values[position]) * values[position][0].size
    side = round(operations ** (1 / 3))
    left, right = np.random.default_rng(0).normal(size=(2, side, side))
    reference = ReferenceEvaluator(graph)
    convolving = [0.0]
    for node in reference.rt_nodes_:
        if node.onnx_node.op_type == "Conv":
            node.run = timed(node.run, convolving)

    def layers(which: Any = None) -> None:
        for one in calls:
            if which is None or which in kinds[id(one)]:
                recompute(one.description.steps, one.inputs)

    def evaluated() -> None:
        convolving[0] = 0.0
        reference.run(None, {graph.graph.input[0].name: image()})

    return rounds(
        {
            "a float64 product": lambda: (left @ right, None)[1],
            "NumPy, all layers": layers,
            "NumPy, convolutions": lambda: layers(Conv),
            "onnx.reference": evaluated,
            "onnx.reference, Conv": lambda: convolving[0],
        }
    )


def timed(run: Callable[..., Any], total: list[float]) -> Callable[..., Any]:
    def measured(*given: Any, **options: Any) -> Any:
        start = perf_counter()
        try:
            return run(*given, **options)
        finally:
            total[0] += perf_counter() - start

    return measured


def swept(model: Any) -> dict[str, list[float]]:
    """A sweep next to: ONNX Runtime with every tensor an output, onnx.reference with every
    intermediate, and allclose.

    Once with ONNX Runtime as it comes, and once with its optimisations off, whose search costs more
    than they gain in one run.
    """
    import numpy as np
    import onnx
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    import probe

    graph, x = exported(model), image()
    feed = {graph.graph.input[0].name: x}
    names = [name for node in graph.graph.node for name in node.output]
    plain = graph.SerializeToString()
    del graph.graph.output[:]
    graph.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    every = graph.SerializeToString()

    levels = onnxruntime.GraphOptimizationLevel

    def peer(level: Any) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        session = onnxruntime.InferenceSession(every, options, providers=["CPUExecutionProvider"])
        theirs = session.run(None, feed)
        reference = ReferenceEvaluator(onnx.load_from_string(plain)).run(
            None, feed, intermediate=True
        )
        for name, values in zip(names, theirs, strict=True):
            np.allclose(values, reference[name], rtol=1e-3, atol=1e-3)

    def ours() -> None:
        verdicts = {report.verdict for report in probe.sweep(model, x)}
        assert "diverge" not in verdicts

    sides = {
        "sweep": ours,
        PEER: lambda: peer(levels.ORT_ENABLE_ALL),
        PLAIN: lambda: peer(levels.ORT_DISABLE_ALL),
    }
    return rounds(sides)


def mobilenet() -> dict[str, list[float]]:
    """Keras' MobileNetV2; the reference evaluates torchvision's, the same layers channels first."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras

    graph = exported(torchvision_model("mobilenet_v2"))
    return recomputation(
        keras.applications.MobileNetV2(weights=None), image().transpose(0, 2, 3, 1).copy(), graph
    )


def linear() -> dict[str, list[float]]:
    """A whole sweep of one Linear on 128 tokens next to its product alone, in processor time."""
    import numpy as np
    import torch

    import probe

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = torch.nn.Linear(4096, 4096, bias=False).bfloat16()
    model, x = torch.nn.Sequential(layer).eval(), torch.randn(128, 4096).bfloat16()
    left, right = x.double().numpy(), layer.weight.detach().double().numpy().T
    out = np.empty((128, 4096))

    def ours() -> float:
        start = process_time()
        assert [report.verdict for report in probe.sweep(model, x)] == ["agree"]
        return process_time() - start

    def product() -> float:
        start = process_time()
        np.matmul(left, right, out=out)
        return process_time() - start

    return rounds({"sweep": ours, "a float64 product": product})


def block() -> dict[str, list[float]]:
    """What a sweep takes to judge one decoder block on 128 tokens, and all calls within it, in
    processor time."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaModel

    import probe
    from probe.capture.passes import in_pass
    from probe.verdict.judge import judge
    from probe.verdict.options import Options

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=1024,
        intermediate_size=2816,
        num_hidden_layers=1,
        num_attention_heads=16,
        attn_implementation="eager",
    )
    model = probe.open_model(LlamaModel(config).eval())
    ids = np.random.default_rng(0).integers(0, 1000, (1, 128))
    found, _ = in_pass(model, (ids,), "layers.0", 0, {})
    (one,) = found.calls
    options = Options(threads=1, sparing=True)

    def seconds(*calls: Any) -> float:
        start = process_time()
        for call in calls:
            assert judge(call, options=options).verdict == "agree"
        return process_time() - start

    parts = [part.capture for part in one.parts]
    return rounds({"the block": lambda: seconds(one), "its calls": lambda: seconds(*parts)})


MEASUREMENTS: dict[str, Callable[[], dict[str, list[float]]]] = {
    LINEAR: linear,
    BLOCK: block,
    "resnet50": lambda: recomputation(
        torchvision_model("resnet50"), image(), exported(torchvision_model("resnet50"))
    ),
    "MobileNetV2": mobilenet,
    "sweep resnet50": lambda: swept(torchvision_model("resnet50")),
    "sweep resnet50, one thread": lambda: swept(torchvision_model("resnet50")),
    "sweep mobilenet_v3_large": lambda: swept(torchvision_model("mobilenet_v3_large")),
    "sweep mobilenet_v3_large, one thread": lambda: swept(torchvision_model("mobilenet_v3_large")),
}


def measured(name: str) -> dict[str, list[float]]:
    """The measurement in a process of its own."""
    env = {**os.environ, **(ONE if name in SINGLE else {})}
    done = subprocess.run(
        [sys.executable, __file__, name], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    if len(sys.argv) > 1:
        if sys.argv[1] in SINGLE:
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
        return 0
    from results import keep, machine

    taken = {name: measured(name) for name in MEASUREMENTS}
    lines = ["| what | seconds | next to | seconds | ratio | bar |", "|---|---|---|---|---|---|"]
    fine = True
    for name, ours, theirs, bar in BARS:
        mine, other = taken[name][ours], taken[name][theirs]
        ratio = median(left / right for left, right in zip(mine, other, strict=True))
        fine = fine and not math.isnan(ratio) and (bar is None or ratio <= bar)
        single = " (one thread)" if name in SINGLE and "one thread" not in name else ""
        told = f"{ratio:.2f} | {'' if bar is None else f'{bar:.2f}'}"
        lines.append(
            f"| {name}{single}: {ours} | {median(mine):.2f} | {theirs} | "
            f"{median(other):.2f} | {told} |"
        )
    how = (
        "Written by `python benchmarks/speed.py`: "
        f"{machine('numpy', 'onnx', 'onnxruntime', 'torch', 'keras')}.\n"
        f"Batch 1, 224 × 224, random weights. The sides take turns, each after a rest of {REST} "
        "s; the ratio is the median of "
        f"{ROUNDS} rounds. The peer is ONNX Runtime on the whole graph with every tensor an "
        "output, onnx.reference with every "
        "intermediate, and allclose; with nothing optimised, ONNX Runtime's graph optimisations "
        "are off."
    )
    keep("Speed", f"{how}\n\n" + "\n".join(lines))
    print("\n".join(lines))
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
