"""The engine: nothing where nothing is wrong, two mistakes at once, a part of the values, ties, and
what is said where none fits."""

import gc
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

import probe
from probe import Description, Step, Weight, ops
from probe.description import Ref
from probe.diagnosis.diagnose import diagnose
from probe.diagnosis.reproducing import edits_of
from probe.diagnosis.search import try_common
from probe.evaluation.numpy_reference import recompute
from probe.hypotheses import REGISTERED, Case
from probe.model import Capture
from probe.numerics.precision import precision_of
from probe.trial.budget import Budget
from probe.trial.fit import RoundingAllowance
from probe.verdict.judge import judge
from probe.verdict.options import Options, Search

F = torch.nn.functional


class Sums(torch.nn.Module):
    def forward(self, x):
        return x.sum(1).sum(1)


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 5, 3, padding=1, stride=2).eval()


@pytest.fixture
def x():
    return drawn(2, 3, 8, 10)


def parts(layer):
    return layer.weight.detach(), layer.bias.detach()


def asked(layer, x, wrong, **options):
    return probe.check(layer, "", given=x, expected=np.asarray(wrong), **options)


@pytest.mark.costly
def test_noise_of_the_same_size_gives_no_finding(conv, x):
    w, b = parts(conv)
    right = F.conv2d(torch.from_numpy(x), w, b, stride=2, padding=1).numpy()
    for seed, size in enumerate((1e-5, 1e-3, 1e-1, 1.0)):
        report = asked(conv, x, right + size * drawn(*right.shape, seed=seed))
        assert report.findings == (), report
        assert report.diagnosis[0] == "no known mistake explains the difference"
    shuffled = np.random.default_rng(0).permutation(right.ravel()).reshape(right.shape)
    assert asked(conv, x, shuffled).findings == ()


TWO = {
    ("missing-bias", "flipped-kernel"): lambda x, w, b: F.conv2d(
        x, w.flip(2, 3), None, stride=2, padding=1
    ),
    ("missing-bias", "reversed-channels"): lambda x, w, b: F.conv2d(
        x.flip(1), w, None, stride=2, padding=1
    ),
    ("symmetric-padding", "missing-bias"): lambda x, w, b: F.conv2d(
        F.pad(x, (0, 1, 0, 1)), w, None, stride=2
    ),
    ("symmetric-padding", "extra-activation"): lambda x, w, b: F.conv2d(
        F.pad(x, (0, 1, 0, 1)), w, b, stride=2
    ).tanh(),
    ("scaled-input", "missing-bias"): lambda x, w, b: F.conv2d(
        x / 255, w, None, stride=2, padding=1
    ),
}


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("slugs", TWO, ids=" and ".join)
def test_two_mistakes_at_once(conv, x, slugs):
    report = asked(conv, x, TWO[slugs](torch.from_numpy(x), *parts(conv)).numpy())
    assert report.findings, report
    assert set(slugs) in [{finding.slug, *finding.also} for finding in report.findings]
    assert report.findings[0].left <= 1


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv2d(6, 5, 3),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2),
        torch.nn.Softplus(),
        torch.nn.MaxPool2d(3),
    ],
    ids=str,
)
def test_what_makes_the_values_small_is_not_looked_at_first(layer):
    """The channels reversed and an activation: many an edit that brings the values near zero leaves
    less than either alone."""
    x = drawn(1, 6, 40, 42)
    with torch.no_grad():
        y = layer(torch.from_numpy(x)).numpy()
    report = asked(layer, x, np.tanh(y[:, ::-1]))
    assert {"reversed-channels", "extra-activation"} in [
        {finding.slug, *finding.also} for finding in report.findings
    ], report
    assert report.findings[0].left <= 1


def test_part_of_the_values(conv, x):
    w, _ = parts(conv)
    wrong = F.conv2d(torch.from_numpy(x), w, None, stride=2, padding=1).numpy()
    for told, part in (("1,2", wrong[1, 2]), ("0,:,1:3,2", wrong[0, :, 1:3, 2]), ("0", wrong[0])):
        report = asked(conv, x, part, expected_at=told)
        assert report.verdict == "diverge"
        assert report.comparisons["numpy", "expected"].size == part.size
        assert report.findings[0].slug == "missing-bias", report
        assert report.comparisons["numpy", "expected"].worst.index in set(np.ndindex(wrong.shape))
    right = F.conv2d(torch.from_numpy(x), *parts(conv), stride=2, padding=1).numpy()
    assert asked(conv, x, right[1, 2], expected_at=(1, 2)).ok


def test_a_part_that_does_not_fit_is_one_sentence(conv, x):
    with pytest.raises(
        probe.ProbeError,
        match=(
            r"0,0 selects an array of shape \(4, 5\) from the output of shape .*; "
            r"you gave values of shape \(3,\)"
        ),
    ):
        asked(conv, x, np.zeros(3), expected_at="0,0")
    with pytest.raises(probe.ProbeError, match="is not an index or slice"):
        asked(conv, x, np.zeros(3), expected_at="zero")
    with pytest.raises(probe.ProbeError, match="so it has no element 9"):
        asked(conv, x, np.zeros(3), expected_at="9")


def test_one_value_gives_what_reproduces_it_and_no_fit_of_it(conv, x):
    w, _ = parts(conv)
    wrong = F.conv2d(torch.from_numpy(x), w, None, stride=2, padding=1).numpy()[0, 1, 2, 3]
    report = asked(conv, x, wrong, expected_at="0,1,2,3")
    assert report.findings[0].slug == "missing-bias"
    assert asked(conv, x, np.float32(wrong + 0.4321), expected_at="0,1,2,3").findings == ()


def test_a_sum_of_sums_is_looked_at_where_steps_have_no_axes():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), Sums())
    x = drawn(2, 4, 3)
    wrong = 1.5 * net(torch.from_numpy(x)).detach().numpy() + 0.25
    report = probe.check(net, "1", x, expected=wrong)
    assert report.diagnosis and not [note for note in report.notes if "internal error" in note]


def test_zeros_alone_have_no_cause(conv, x):
    report = asked(conv, x, np.zeros(conv(torch.tensor(x)).shape))
    assert report.verdict == "diverge" and not report.findings
    assert report.diagnosis[0].startswith("all of these values are 0, which too many mistakes")
    dead = torch.relu(conv(torch.tensor(x)) + 4).detach().numpy()
    dead[1:] = 0
    assert "all of these values" not in str(asked(conv, x, dead))


def test_a_tie_is_named_as_one():
    """Two channels with equal biases and kernels: reversing the output's channels or leaving it is
    the same; padding modes too."""
    layer = torch.nn.ReLU()
    x = np.abs(drawn(4, 30)) - 0.5
    x = np.clip(x, -0.5, 2)
    report = asked(layer, x, x)
    assert "missing-activation" in [finding.slug for finding in report.findings]
    relu = drawn(4, 30) + 1
    wrong = np.clip(relu, 0, 6)
    ties = asked(torch.nn.Identity(), relu, wrong).findings
    assert ties[0].slug == "extra-activation"
    assert "the same values" in ties[0].claim


def test_the_framework_itself_is_diagnosed():
    x, w = drawn(2, 3, 9, 9), drawn(4, 3, 3, 3, seed=1)
    op = ops.Conv(
        weight=Weight("kernel", w, w),
        bias=None,
        strides=(1, 1),
        pads=((1, 1), (1, 1)),
        dilations=(1, 1),
    )
    y = F.conv2d(torch.from_numpy(x), torch.from_numpy(w).flip(2, 3), padding=1).numpy()
    report = judge(
        Capture("conv", "Conv2D", 0, (x,), (y,), "float32", Description((Step(op),))),
        options=Options(search=Search()),
    )
    assert (report.findings[0].slug, report.findings[0].party) == ("flipped-kernel", "framework")
    assert "of framework's values" in str(report)


def test_within_rounding_says_so_where_the_users_tolerances_are_tighter(conv, x):
    right = F.conv2d(torch.from_numpy(x), *parts(conv), stride=2, padding=1).double().numpy()
    report = asked(conv, x, right * (1 + 3e-8), rtol=0.0, atol=1e-12)
    assert report.verdict == "diverge"
    assert [finding.slug for finding in report.findings] == ["rounding"]
    assert "your tolerances are tighter" in report.findings[0].claim


@pytest.mark.costly
def test_words_about_where_the_error_sits(conv, x):
    right = F.conv2d(torch.from_numpy(x), *parts(conv), stride=2, padding=1).numpy()
    spoiled = right.copy()
    spoiled[:, 2] += np.abs(drawn(*right[:, 2].shape))
    told = "; ".join(asked(conv, x, spoiled).diagnosis)
    assert "along channels, only these indices differ: 2 (of 0..4)" in told
    assert "larger than NumPy wherever" in told
    wide = torch.nn.Conv2d(3, 5, 3, padding=1).eval()
    border = F.conv2d(torch.from_numpy(x), *parts(wide), padding=1).numpy()
    border[..., 0] += drawn(*border.shape[:-1])
    assert "along width, only the border differs (index 0 of 0..9)" in "; ".join(
        asked(wide, x, border).diagnosis
    )


@pytest.fixture
def noise():
    """A convolution, and another output of it that nothing explains."""
    steps = (
        Step(
            ops.Conv(Weight("w", None, drawn(2, 1, 2, 2)), None, (2, 2), ((1, 1), (1, 1)), (1, 1))
        ),
    )
    given = (drawn(1, 1, 5, 4, seed=1),)
    values = recompute(steps, given)
    return Case(steps, given, values, values[-1][0] + drawn(*values[-1][0].shape, seed=2))


def test_looking_stops_and_says_so(noise):
    found = diagnose(noise, RoundingAllowance(precision_of("float32")), share=1e-3)
    assert re.search(r"stopped after \d+ candidates, when its budget was used up", found.words[0])
    assert "--thorough gives it 10 times as much" in found.words[0]


@pytest.mark.exhaustive
def test_looking_thoroughly_comes_to_its_end(noise):
    assert "the search for the mistake stopped" not in " ".join(
        diagnose(noise, RoundingAllowance(precision_of("float32")), thorough=True, share=30.0).words
    )


def _convolved():
    w = drawn(3, 3, 3, 4, seed=1)
    kernel = Weight("kernel", w, w, axes=(3, 2, 0, 1))
    conv = ops.Conv(kernel, Weight("bias", None, drawn(4)), (2, 2), ((0, 1), (0, 1)), (1, 1))
    return (
        Step(ops.Transpose((0, 3, 1, 2))),
        Step(conv),
        Step(ops.Transpose((0, 2, 3, 1))),
        Step(ops.Relu()),
    ), (drawn(2, 8, 10, 3),)


def _merged():
    both = (Ref(-1, 0), Ref(-1, 1))
    return (Step(ops.Add(), both), Step(ops.Relu())), (drawn(2, 4, 5, 3), drawn(5, 1, seed=1))


def _pooled():
    return (Step(ops.MaxPool((2, 3), (2, 1), ((0, 0), (1, 1)), (1, 1))), Step(ops.Tanh())), (
        drawn(2, 3, 8, 9),
    )


def _quantised():
    return (
        Step(ops.Softmax(axis=-1)),
        Step(ops.FakeQuantize(np.asarray([0.01]), np.asarray([3]))),
    ), (drawn(3, 5, 7),)


def _normalised():
    """As many channels as columns."""
    parts = (Weight(name, None, np.abs(drawn(5, seed=k))) for k, name in enumerate("sbmv"))
    return (Step(ops.BatchNormalization(*parts, 1e-3)),), (drawn(2, 5, 4, 5),)


@pytest.mark.costly(default=1)
@pytest.mark.parametrize(
    ("make", "least"),
    [(_convolved, 60), (_merged, 60), (_pooled, 50), (_quantised, 50), (_normalised, 50)],
)
def test_elements_computed_alone_are_those_of_the_whole(make, least):
    """What a sample of the output is predicted to be, against the whole output, for edits of every
    kind."""
    steps, inputs = make()
    values = recompute(steps, inputs)
    case = Case(steps, inputs, values, np.tanh(values[-1][0]))
    rng = np.random.default_rng(0)
    where = tuple(rng.integers(0, size, 50) for size in values[-1][0].shape)
    compared = 0
    for one in REGISTERED:
        for edit in edits_of(one, case):
            evaluator = case.evaluator
            alone, whole = evaluator.at(edit, where), evaluator.everywhere(edit)
            if (
                alone is not None
                and whole is not None
                and whole[-1][0].shape == values[-1][0].shape
            ):
                np.testing.assert_allclose(
                    alone,
                    whole[-1][0][where],
                    rtol=1e-9,
                    atol=1e-9,
                    err_msg=f"{one.slug}: {edit.claim}",
                )
                compared += 1
    assert compared > least


@pytest.mark.costly
@pytest.mark.parametrize(
    ("channels", "out", "kernel", "stride", "size"),
    [
        (512, 512, 3, 1, 7),
        *(
            pytest.param(*one, marks=pytest.mark.exhaustive)
            for one in ((3, 64, 7, 2, 224), (64, 64, 3, 1, 56), (1024, 256, 1, 1, 14))
        ),
    ],
)
def test_a_layer_of_resnet_is_looked_at_within_the_budget(
    monkeypatch, channels, out, kernel, stride, size
):
    """And little more, by what is run last: benchmarks/diagnosis.py has the time."""
    rng = np.random.default_rng(0)
    x, w = (
        drawn(1, channels, size, size),
        drawn(out, channels, kernel, kernel, seed=1) / np.float32(np.sqrt(channels * kernel**2)),
    )
    pad = kernel // 2
    op = ops.Conv(
        Weight("kernel", w, w),
        Weight("bias", None, drawn(out)),
        (stride, stride),
        ((pad, pad), (pad, pad)),
        (1, 1),
    )
    steps = (Step(op),)
    values = recompute(steps, (x,))
    y = (
        F.conv2d(torch.from_numpy(x), torch.from_numpy(w).flip(2, 3), None, stride, pad)
        .numpy()
        .astype(np.float64)
    )
    case = Case(steps, (x,), values, y + 0.1 * rng.normal(size=y.shape))
    budgets = []

    def kept(work):
        budgets.append(Budget(work))
        return budgets[-1]

    monkeypatch.setattr(import_module("probe.diagnosis.diagnose"), "Budget", kept)
    diagnose(case, RoundingAllowance(precision_of("float32")), share=0.5)
    (budget,) = budgets
    assert budget.stopped == "work"
    assert budget.used < 1.2 * budget.work


def test_a_slow_layer_stops_too(monkeypatch):
    """By the thread's own seconds, though its steps are cheap by their price."""
    now = [0.0]

    class Slow(ops.Identity):
        def run(self, *inputs):
            now[0] += 2.0
            return super().run(*inputs)

    monkeypatch.setattr(import_module("probe.trial.budget"), "thread_seconds", lambda: now[0])
    steps = (Step(Slow()), Step(ops.Softmax(-1)))
    x = drawn(4, 6)
    values = recompute(steps, (x,))
    case = Case(steps, (x,), values, drawn(4, 6, seed=1).astype(np.float64))
    now[0] = 0.0
    found = diagnose(case, RoundingAllowance(precision_of("float32")))
    assert "stopped after 57.2 s of processor time, since" in found.words[0]
    assert "take longer than expected" in found.words[0]
    assert now[0] < 40.0
    # how many were tried until then is another number each time
    assert "candidates" not in " ".join(found.words) and "ruled out" not in " ".join(found.words)


def test_a_function_of_the_user_s_own_that_waits_stops_too(monkeypatch):
    """By the seconds of the day: what waits for others takes none of the thread's own."""
    now = [0.0]

    def waiting(layer, x):
        now[0] += 2.0
        return np.tanh(x)

    monkeypatch.setattr(import_module("probe.trial.budget"), "wall_seconds", lambda: now[0])
    steps = (Step(ops.Recomputed(waiting, None), (Ref(-1),)), Step(ops.Softmax(-1)))
    x = drawn(4, 6)
    case = Case(steps, (x,), recompute(steps, (x,)), drawn(4, 6, seed=1).astype(np.float64))
    now[0] = 0.0
    found = diagnose(case, RoundingAllowance(precision_of("float32")))
    assert found.words[0] == (
        "the search for the mistake stopped after 60 s, the limit for a layer that runs a function "
        "of your own"
    )
    assert now[0] < 80.0


@pytest.mark.costly
def test_the_healthy_path_does_not_import_the_diagnosis():
    program = (
        "import sys, torch, numpy as np, probe; r = probe.check(torch.nn.ReLU(), '', "
        "given=np.ones((2, 3), np.float32)); "
    )
    program += (
        "assert r.ok, r; assert 'probe.diagnosis.diagnose' not in sys.modules and "
        "'probe.hypotheses' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_json_has_the_findings(conv, x):
    wrong = F.conv2d(torch.from_numpy(x), parts(conv)[0], None, stride=2, padding=1).numpy()
    told = json.loads(asked(conv, x, wrong).to_json())
    assert told["findings"][0]["slug"] == "missing-bias"
    assert told["findings"][0]["do"]
    assert replace(asked(conv, x, wrong), findings=()).findings == ()


def test_garbage_is_looked_for_among_new_objects_alone(conv, x, monkeypatch):
    """A full collection of a large process takes half a second, and the search has little more."""
    seen = []

    def noted(*given, **options):
        seen.append(gc.get_threshold())
        return try_common(*given, **options)

    monkeypatch.setattr(import_module("probe.diagnosis.diagnose"), "try_common", noted)
    w, _ = parts(conv)
    wrong = F.conv2d(torch.from_numpy(x), w, None, stride=2, padding=1).numpy()
    before = gc.get_threshold()
    assert asked(conv, x, wrong).findings[0].slug == "missing-bias"
    assert gc.get_threshold() == before
    assert seen and all(one[:2] == before[:2] and one[2] > 1e9 for one in seen)


def test_two_searches_at_once_leave_the_collector_as_it_was():
    x = drawn(4, 6)
    steps = (Step(ops.Softmax(-1)),)
    case = Case(steps, (x,), recompute(steps, (x,)), drawn(4, 6, seed=1).astype(np.float64))
    inside, leave = threading.Event(), threading.Event()

    def searched(progress):
        return diagnose(
            case, RoundingAllowance(precision_of("float32")), share=0.01, progress=progress
        )

    def begins_another(slug):
        if not inside.is_set():
            later.start()
            inside.wait(60)

    def waits(slug):
        inside.set()
        leave.wait(60)

    before = gc.get_threshold()
    # the second one begins within the first, and ends after it
    later = threading.Thread(target=searched, args=(waits,))
    searched(begins_another)
    leave.set()
    later.join()
    assert gc.get_threshold() == before
