"""The sweep: calls in order, bounded, and nothing left behind where it is stopped half-way."""

import re
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from onnx import helper

import probe
from probe.capture import pipeline
from probe.capture.pipeline import judged_in_order
from probe.errors import BadInput
from probe.model import Capture
from probe.ops import MatMul
from probe.verdict.batch_chunks import _LARGE, judged_in_pieces
from probe.verdict.judge import judge
from probe.verdict.options import Options


def net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    blocks = [
        torch.nn.Sequential(
            torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU()
        )
        for _ in range(12)
    ]
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), *blocks)


def threads() -> set[str]:
    return {
        thread.name.rpartition("_")[0] or thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("probe-")
    }


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


def test_a_blocked_import_of_a_framework_is_none(x, monkeypatch):
    """``None`` in sys.modules is how programs keep a package from being imported."""
    node = helper.make_node("Relu", ["x"], ["y"], name="relu")
    value = [helper.make_tensor_value_info(name, 1, [2, 3, 8, 8]) for name in "xy"]
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, ir_version=8, opset_imports=opset)
    for name in ("torch", "tensorflow", "keras", "tf_keras"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [report.verdict for report in probe.sweep(model, x)] == ["agree"]
    assert probe.check(model, "relu", x).ok and probe.compare(model, model, x).ok


def test_reports_come_in_execution_order(x):
    model = net()
    wanted = [name for name, module in model.named_modules() if not list(module.children())]
    assert [report.layer for report in probe.sweep(model, x)] == wanted
    assert not threads()


def test_a_closed_sweep_leaves_nothing_behind(x):
    model = net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    reports = probe.sweep(model, x)
    next(reports)
    next(reports)
    assert threads()
    reports.close()
    assert not threads()
    assert all(
        not module._forward_hooks and not module._forward_pre_hooks for module in model.modules()
    )
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


LEFT = """
import atexit, sys, threading

@atexit.register  # called after all that is registered later
def tell():
    print(*(one.name for one in threading.enumerate() if one.name.startswith("probe")))

import numpy as np, torch, probe
layers = [torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(12)]
sys.kept = probe.sweep(torch.nn.Sequential(*layers).eval(), np.ones((1, 8, 32, 32), np.float32))
print(next(sys.kept).layer, sum(one.name == "probe-forward" for one in threading.enumerate()))
"""


@pytest.mark.costly
def test_a_sweep_that_is_left_open_ends_before_the_interpreter():
    """A thread that is taken away within C++ would end the process with "terminate called"."""
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 1\n\n", "")


def test_the_forward_pass_goes_no_further_than_a_few_calls(x):
    reached = []
    model = net()
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: reached.append(name))
    reports = probe.sweep(model, x)
    next(reports)
    for _ in range(20):
        threading.Event().wait(0.01)
    assert len(reached) < 15
    reports.close()
    assert len(reached) < 20


def test_what_the_model_raises_comes_through(x):
    model = net()
    model.append(torch.nn.Linear(3, 3))
    reports = probe.sweep(model, x)
    with pytest.raises(probe.ProbeError, match="Linear"):
        list(reports)
    assert not threads()


def test_what_a_worker_raises_comes_through():
    def forward(push):
        for number in range(100):
            push(Capture("layer", "Kind", number, (), (), "float32"))

    def prepare(capture):
        return lambda: 1 // (5 - capture.call)

    found = []
    with pytest.raises(ZeroDivisionError):
        for one in judged_in_order(forward, prepare):
            found.append(one)
    assert len(found) == 5
    assert not threads()


@pytest.mark.parametrize("of_reader", [True, False])
def test_an_interrupt_ends_the_sweep(of_reader, monkeypatch):
    monkeypatch.setattr(pipeline, "_cores", lambda: 2)

    def forward(push):
        for number in range(100):
            push(Capture("layer", "Kind", number, (), (), "float32"))

    def judged():
        if (threading.current_thread() is reader) == of_reader:
            raise KeyboardInterrupt
        threading.Event().wait(0.01)

    reader = threading.current_thread()
    with pytest.raises(KeyboardInterrupt):
        list(judged_in_order(forward, lambda capture: judged))
    assert not threads()


def test_a_forward_pass_that_ends_the_program_ends_it():
    def forward(push):
        push(Capture("layer", "Kind", 0, (), (), "float32"))
        raise SystemExit("ended by the model")

    results = judged_in_order(forward, lambda capture: lambda: capture.call)
    assert next(results) == 0
    with pytest.raises(SystemExit, match="ended by the model"):
        next(results)
    assert not threads()


def test_the_forward_pass_waits_for_bytes_as_well_as_for_calls():
    large = np.broadcast_to(np.float32(0), (1 << 40,))
    pushed = []

    def forward(push):
        for number in range(3):
            pushed.append(number)
            push(Capture("layer", "Kind", number, (large,), (), "float32"))

    results = judged_in_order(forward, lambda capture: lambda: capture.call)
    for number in range(3):
        assert next(results) == number
        threading.Event().wait(0.05)
        assert pushed == list(range(number + 1))
    assert list(results) == []
    assert not threads()


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_as_many_threads_judge_as_there_are_cores(cores, monkeypatch):
    monkeypatch.setattr(pipeline, "_cores", lambda: cores)
    together, meeting = set(), threading.Barrier(cores)

    def judged(number):
        if number < cores:
            meeting.wait(5)
            together.add(threading.current_thread().name)

    def forward(push):
        for number in range(4 * cores):
            push(Capture("layer", "Kind", number, (), (), "float32"))

    assert (
        len(list(judged_in_order(forward, lambda capture: partial(judged, capture.call))))
        == 4 * cores
    )
    assert together == set(
        ["probe-forward", threading.current_thread().name, "probe-judge_0"][:cores]
    )


class _Pools(torch.nn.Module):
    """Says what PyTorch computes with while it runs."""

    said = ""

    def forward(self, x):
        self.said = torch.__config__.parallel_info()
        return torch.relu(x)


def test_the_pass_computes_on_one_thread_whatever_the_user_has_set():
    model, before = _Pools(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        # Attributes are put back after the pass, so the words are taken from it.
        heard = []
        model.register_forward_hook(lambda module, args, output: heard.append(module.said))
        list(probe.sweep(model, np.ones((1, 4), np.float32)))
        found: list[int] = []
        later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert torch.get_num_threads() == found[0] == 3
    finally:
        torch.set_num_threads(before)
    assert set(re.findall(r"(?:at::get_num|get_max)_threads\(\) : (\d+)", heard[0])) == {"1"}


def test_a_large_call_in_pieces_says_what_it_says_as_a_whole():
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3, padding=1))
    size = int((_LARGE / 32 / 2) ** 0.5) + 2
    x = np.random.default_rng(1).normal(size=(2, 3, size, size)).astype(np.float32)
    captures: list[Capture] = []
    probe.open_model(layer).run((x,), None, captures.append)
    (capture,) = captures
    whole, parts = judge(capture), judged_in_pieces(capture, Options(sparing=True))
    assert parts.verdict == whole.verdict == "agree"
    assert parts.comparisons.keys() == whole.comparisons.keys()
    for pair, comparison in whole.comparisons.items():
        assert parts.comparisons[pair].size == comparison.size
        assert parts.comparisons[pair].ratio == pytest.approx(comparison.ratio, rel=0.5)
    assert list(parts.outputs) == list(whole.outputs)
    np.testing.assert_allclose(
        parts.outputs["numpy"], whole.outputs["numpy"], rtol=1e-12, atol=1e-12
    )
    wrong = capture.outputs[0].copy()
    wrong[1, 2, 3, 4] += 1
    faulty = judged_in_pieces(replace(capture, outputs=(wrong,)), Options(sparing=True))
    assert faulty.verdict == "diverge"
    assert faulty.comparisons["framework", "numpy"].worst.index == (1, 2, 3, 4)
    assert isinstance(faulty.outputs, dict), "what differs is kept as it was"


def test_outputs_that_agree_are_computed_again_when_asked_for(x):
    model = net()
    checked = [probe.check(model, layer.name, x) for layer in probe.open_model(model).layers]
    for report, whole in zip(probe.sweep(model, x), checked, strict=True):
        held = weakref.ref(report.outputs["framework"])
        assert list(report.outputs) == list(whole.outputs) == ["framework", "numpy", "onnx"]
        for party, output in report.outputs.items():
            np.testing.assert_array_equal(output, whole.outputs[party])
        assert report.outputs["numpy"] is report.outputs["numpy"]
        assert str(report).splitlines()[0] == str(whole).splitlines()[0]
        with pytest.raises(KeyError):
            report.outputs["expected"]
    del report, output
    assert held() is None


def test_a_model_that_is_being_swept_may_be_called_and_is_not_checked_meanwhile(x):
    model = net()
    wanted, alone = model(torch.from_numpy(x)), [report.layer for report in probe.sweep(model, x)]
    sweep = probe.sweep(model, x)
    met = [next(sweep).layer]
    assert torch.equal(model(torch.from_numpy(x)), wanted)
    with pytest.raises(BadInput, match=r"a sweep of this model is still running: exhaust it first"):
        probe.check(model, "0", x)
    with pytest.raises(BadInput, match=r"a sweep of this model is still running"):
        probe.check(model[1], "0", x[:, :1].repeat(4, 1))
    with pytest.raises(BadInput, match=r"a sweep of this model is still running"):
        next(probe.sweep(model, x))
    met += [report.layer for report in sweep]
    assert met == alone
    assert probe.check(model, "0", x).ok
    assert not model[0]._forward_hooks and not model[0]._forward_pre_hooks


def test_two_models_are_swept_side_by_side(x):
    pairs = list(zip(probe.sweep(net(), x), probe.sweep(net(), x), strict=True))
    assert len(pairs) == 37
    assert all(left.ok and right.ok and left.layer == right.layer for left, right in pairs)
    assert not threads()


def test_outputs_of_a_model_that_was_changed_since_are_not_made_up(x):
    model = net()
    first, *_ = probe.sweep(model, x)
    with torch.no_grad():
        model[0].weight += 1
    assert first.outputs["framework"].shape == (2, 4, 8, 8)
    with pytest.raises(
        BadInput,
        match=(r"the outputs of '0' would be recomputed now.* changed since the sweep"),
    ):
        first.outputs["numpy"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.Conv2d(256, 24, 1),
        lambda: torch.nn.Conv2d(256, 24, 3, padding=1),
        lambda: torch.nn.Linear(1024, 64),
    ],
)
def test_squares_of_a_part_say_what_all_of_them_say(make):
    torch.manual_seed(0)
    model = make()
    shape = (1, 700, 1024) if isinstance(model, torch.nn.Linear) else (1, 256, 40, 40)
    x = np.maximum(np.random.default_rng(0).normal(size=shape), 0).astype(np.float32)
    x[(..., slice(None, None, 8)) if len(shape) == 3 else (slice(None), slice(None, None, 8))] *= (
        0.1  # few of the squares: many elements need a look
    )
    calls = []
    probe.open_model(model).run((x,), None, calls.append)
    whole, spared = judge(calls[0]), judge(calls[0], options=Options(sparing=True))
    assert whole.verdict == spared.verdict == "agree"
    for pair, comparison in whole.comparisons.items():
        assert 0.5 * comparison.ratio <= spared.comparisons[pair].ratio <= 1
        assert spared.comparisons[pair].size == comparison.size
    for factor in (1 + 1e-2, 1 + 2.0**-9):
        wrong = calls[0].outputs[0].copy()
        wrong[(0, 3, 5, 7)[: wrong.ndim]] *= factor
        wrong = replace(calls[0], outputs=(wrong,))
        assert (
            judge(wrong).verdict == judge(wrong, options=Options(sparing=True)).verdict == "diverge"
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_sum_stored_in_half_precision_has_its_squares_found_once(dtype, monkeypatch):
    torch.manual_seed(0)
    model = torch.nn.Linear(1024, 64).to(getattr(torch, dtype))
    x = np.maximum(np.random.default_rng(0).normal(size=(700, 1024)), 0).astype(np.float32)
    x[:, ::8] *= 0.1
    found = []
    for name in ("sum_of_squares", "partial_squares"):
        plain = getattr(MatMul, name)
        monkeypatch.setattr(
            MatMul,
            name,
            lambda op, inputs, name=name, plain=plain: found.append(name) or plain(op, inputs),
        )
    calls = []
    probe.open_model(model).run((x.astype(dtype),), None, calls.append)
    whole = judge(calls[0])
    assert found == ["sum_of_squares"]
    spared = judge(calls[0], options=Options(sparing=True))
    assert found == ["sum_of_squares", "partial_squares"]
    assert whole.verdict == spared.verdict == "agree"
    for pair, comparison in whole.comparisons.items():
        assert 0.5 * comparison.ratio <= spared.comparisons[pair].ratio <= 1
        assert spared.comparisons[pair].size == comparison.size
    wrong = calls[0].outputs[0].copy()
    wrong.flat[np.abs(wrong).argmax()] *= 2
    wrong = replace(calls[0], outputs=(wrong,))
    assert judge(wrong).verdict == "diverge"
    assert judge(wrong, options=Options(sparing=True)).verdict == "diverge"


def test_an_interrupt_as_it_ends_leaves_no_thread_behind(monkeypatch):
    """It comes before signals are held back."""
    held_back, asked = pipeline.held_back, []

    def interrupted():
        if threading.current_thread() is threading.main_thread():
            asked.append(1)
            if len(asked) == 1:
                raise KeyboardInterrupt
        return held_back()

    def forward(push):
        for number in range(50):
            push(Capture("layer", "Kind", number, (), (), "float32"))

    results = judged_in_order(forward, lambda capture: lambda: capture.call)
    assert next(results) == 0
    monkeypatch.setattr(pipeline, "held_back", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.close()
    assert len(asked) == 2 and not threads()
