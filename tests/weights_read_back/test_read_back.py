"""Weights other than the layer's are read back from outputs, and what was done to them is said."""

import json
from copy import deepcopy
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import torch
from own_seed import RNG

import probe
from probe import Weight, ops
from probe.description import Step
from probe.evaluation.numpy_reference import recompute
from probe.trial.case import Case
from probe.weights_read_back import altered_weights, newton
from probe.weights_read_back.relations import relation


def one_entry(w):
    w.reshape(-1)[w.size // 3] += 0.3
    return w


def a_bit(w):
    w.reshape(-1).view(np.uint32)[w.size // 2] ^= np.uint32(1 << 22)
    return w


def pruned(w):
    w[np.abs(w) < np.quantile(np.abs(w), 0.3)] = 0
    return w


def read_in_part(w):
    w.reshape(-1)[w.size * 2 // 3 + 1 :] = 0
    return w


def exchanged(w):
    w[[0, 2]] = w[[2, 0]]
    return w


def rolled(w):
    return np.roll(w, 1, 0)


def used_twice(w):
    w[2] = w[0]
    return w


def left_out(w):
    w[1] = 0
    return w


def int8(w):
    scale = np.abs(w).max() / 127
    return np.round(w / scale) * scale


def int8_each(w):
    scale = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / 127
    return np.round(w / scale) * scale


def fixed_point(w):
    return np.floor(w * 16) / 16


def clipped(w):
    most = np.quantile(np.abs(w), 0.7)
    return np.clip(w, -most, most)


def of_another_epoch(w):
    return w + 0.05 * w.std() * RNG.normal(size=w.shape)


DAMAGE = {
    one_entry: "instead of",
    a_bit: "bit 22 of its float32 is flipped",
    pruned: "pruned",
    read_in_part: "instead",
    exchanged: "exchanged",
    rolled: "rolled by 1",
    used_twice: "used twice (2 is a copy of 0)",
    left_out: "0 instead",
    int8: "8 bits with a scale for all",
    int8_each: "8 bits with a scale for each slice along axis 0",
    fixed_point: "rounded down to multiples of 2^-4",
    clipped: "clipped to between",
    of_another_epoch: "another state of the same weights",
}


def behind(layer, activation):
    return torch.nn.Sequential(layer, activation)


LAYERS = {
    "linear": (lambda: torch.nn.Linear(12, 8), (60, 12)),
    "linear, softmax": (lambda: behind(torch.nn.Linear(9, 7), torch.nn.Softmax(-1)), (90, 9)),
    "linear, tanh": (lambda: behind(torch.nn.Linear(9, 7), torch.nn.Tanh()), (90, 9)),
    "convolution": (lambda: torch.nn.Conv2d(4, 6, 3, padding=1), (2, 4, 9, 8)),
    "grouped": (lambda: torch.nn.Conv2d(8, 6, 3, groups=2, bias=False), (2, 8, 9, 8)),
    "depthwise": (lambda: torch.nn.Conv1d(8, 8, 5, groups=8), (4, 8, 30)),
    "transposed": (lambda: torch.nn.ConvTranspose2d(5, 6, 3, stride=2), (2, 5, 9, 8)),
    "three dimensions": (lambda: torch.nn.Conv3d(3, 4, 2), (2, 3, 5, 6, 7)),
    "bilinear rows": (lambda: torch.nn.Linear(6, 5, bias=False), (4, 20, 6)),
}
"""Those of one layer; what follows one is followed by keras_layers below."""


def made(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.tensor(0.4 * RNG.normal(size=tuple(parameter.shape))))
    return layer, RNG.normal(size=shape).astype(np.float32)


def damaged(layer, x, damage):
    """What the layer gives with its weight damaged, and that weight."""
    weight = next(layer.parameters())
    before = weight.detach().clone()
    wrong = np.asarray(damage(before.numpy().copy()), np.float32)
    with torch.no_grad():
        weight.copy_(torch.tensor(wrong))
        y = layer(torch.tensor(x)).numpy()
        weight.copy_(before)
    return y, wrong


def found(layer, x, y):
    report = probe.check(layer, "", x, expected=y)
    assert report.verdict == "diverge"
    return report


PLAIN = [name for name in LAYERS if "," not in name]
CASES = [
    pytest.param(
        name,
        damage,
        marks=() if (i + j) % 5 == 0 else pytest.mark.exhaustive,
        id=f"{name}, {damage.__name__}",
    )
    for i, name in enumerate(PLAIN)
    for j, damage in enumerate(DAMAGE)
]


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_the_weights_are_read_back_and_what_was_done_to_them_is_said(name, damage):
    layer, x = made(name)
    y, wrong = damaged(layer, x, damage)
    first = found(layer, x, y).findings[0]
    assert first.left <= 1
    if first.slug == "other-weights":
        assert DAMAGE[damage] in first.claim
        np.testing.assert_allclose(
            first.recovered["weight"], wrong, rtol=0, atol=1e-4 * np.abs(wrong).max()
        )
    else:  # a mistake with a name of its own, which is that
        assert first.slug in ("reversed-channels", "scaled-input", "fixed-point", "group-order")


def test_a_weight_in_keras_is_read_back_in_its_own_layout_through_its_activation():
    for layer, shape in (
        (keras.layers.Conv2D(5, 3, padding="same", activation="relu"), (3, 9, 8, 4)),
        (keras.layers.Dense(6, activation="softmax"), (80, 7)),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, activation="sigmoid"), (2, 9, 8, 3)),
        (keras.layers.EinsumDense("abc,cde->abde", (None, 3, 4), bias_axes="e"), (5, 9, 6)),
    ):
        model = keras.Sequential([keras.Input(shape[1:]), layer])
        have = [0.4 * RNG.normal(size=one.shape) for one in layer.get_weights()]
        layer.set_weights(have)
        x = RNG.normal(size=shape).astype(np.float32)
        wrong = have[0].copy()
        wrong[..., 0] *= 1.5
        layer.set_weights([wrong, *have[1:]])
        y = np.asarray(model(x))
        layer.set_weights(have)
        first = probe.check(model, layer.name, x, expected=y).findings[0]
        assert first.slug == "other-weights", (layer.name, first)
        np.testing.assert_allclose(first.recovered["kernel"], wrong, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (torch.nn.BatchNorm2d(8), RNG.normal(size=(3, 8, 5, 5))),
        (torch.nn.LayerNorm(10), RNG.normal(size=(30, 10))),
        (torch.nn.GroupNorm(2, 6), RNG.normal(size=(4, 6, 9))),
        (torch.nn.PReLU(6), RNG.normal(size=(4, 6, 9))),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, torch.nn.Module) else "",
)
def test_gains_and_slopes_are_read_back(layer, x):
    layer.eval()
    y, wrong = damaged(layer, x.astype(np.float32), lambda w: w * (1 + 0.1 * np.arange(w.size)))
    first = found(layer, x.astype(np.float32), y).findings[0]
    assert first.slug == "other-weights"
    np.testing.assert_allclose(first.recovered["weight"], wrong, rtol=1e-5)


def test_a_row_of_a_table_is_read_back():
    table, ids = torch.nn.Embedding(9, 4), RNG.integers(0, 9, 60)
    y, wrong = damaged(table, ids, one_entry)
    first = found(table, ids, y).findings[0]
    assert first.claim.startswith("weight[3, 0] is ")
    np.testing.assert_array_equal(first.recovered["weight"], wrong)


def test_one_wrong_entry_is_found_with_fewer_values_than_weights():
    layer = torch.nn.Conv2d(64, 32, 3, padding=1)
    x = RNG.normal(size=(1, 64, 6, 6)).astype(np.float32)
    first = found(layer, x, damaged(layer, x, one_entry)[0]).findings[0]
    assert (first.slug, len(first.recovered)) == ("other-weights", 1)


def test_values_that_are_too_few_tell_how_many_more_would_do():
    layer = torch.nn.Linear(40, 6)
    x = RNG.normal(size=(12, 40)).astype(np.float32)
    report = found(layer, x, damaged(layer, x, of_another_epoch)[0])
    assert not any(one.slug == "other-weights" for one in report.findings)
    assert any("4 times as many samples" in line for line in report.diagnosis)
    more = RNG.normal(size=(48, 40)).astype(np.float32)
    assert found(layer, more, damaged(layer, more, of_another_epoch)[0]).findings[0].recovered


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("name", PLAIN)
def test_noise_has_no_weights(name):
    layer, x = made(name)
    y = layer(torch.tensor(x)).detach().numpy()
    for wrong in (RNG.normal(size=y.shape), y * (1 + 0.01 * RNG.normal(size=y.shape))):
        report = found(layer, x, wrong.astype(np.float32))
        assert not any(one.slug == "other-weights" for one in report.findings)


def test_a_mistake_with_a_name_stays_what_it_is():
    layer, x = made("linear")
    kernel, bias = (one.detach().numpy() for one in layer.parameters())
    report = found(layer, x, x @ kernel.T)
    assert [one.slug for one in report.findings] == ["missing-bias"]
    assert bias.any()


def test_what_was_recovered_is_in_the_report_and_is_saved(tmp_path):
    layer, x = made("linear")
    y, wrong = damaged(layer, x, one_entry)
    report = found(layer, x, y)
    report.save(str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz") as saved:
        np.testing.assert_allclose(saved["recovered:weight"], wrong, rtol=0, atol=1e-5)
    (told,) = json.loads(report.to_json())["findings"]
    assert told["recovered"]["weight"]["shape"] == [8, 12]
    assert "--save FILE.npz" in str(report)


def two_decimals(w):
    return np.round(w, 2)


def row_copied(w):
    w[3] = w[2]
    return w


def topmost_bit(w):
    w.view(np.uint32)[4, 7] ^= np.uint32(1 << 30)
    return w


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (two_decimals, "rounded to 2 decimals"),
        (row_copied, "used twice (3 is a copy of 2)"),
        (rolled, "rolled by 1"),
        (int8_each, "8 bits with a scale for each slice along axis 0"),
        (pruned, "it was pruned"),
        (clipped, "clipped to between"),
        (topmost_bit, "bit 30 of its float32 is flipped"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_what_may_have_become_of_weights_is_tried_where_values_are_too_few(damage, words):
    layer = torch.nn.Linear(30, 6)
    x = RNG.normal(size=(3, 30)).astype(np.float32)
    report = found(layer, x, damaged(layer, x, damage)[0])
    assert report.findings[0].slug == "other-weights", report.diagnosis
    assert words in report.findings[0].claim
    assert bool(report.findings[0].recovered) == (damage is topmost_bit)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mlp = (
            torch.nn.LayerNorm(6),
            torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 6)),
        )

    def forward(self, x):
        return x + self.mlp(self.norm(x))


@pytest.mark.parametrize(
    ("module", "words"),
    [("mlp", "the parameters of mlp are those of 0,"), ("", "mlp.2.bias are those of 0,")],
)
def test_parameters_of_a_block_are_those_of_another_block(module, words):
    torch.manual_seed(0)
    model = torch.nn.Sequential(Block(), Block()).eval()
    x = RNG.normal(size=(3, 6)).astype(np.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        given = model[0](torch.tensor(x))
        wrong = deepcopy(model[1])
        inner = wrong.get_submodule(module)
        inner.load_state_dict(model[0].get_submodule(module).state_dict())
        claim = probe.check(model, "1", x, expected=wrong(given).numpy()).findings[0].claim
    assert words in claim


def test_all_parameters_of_another_layer_and_a_bias_beside_another_kernel():
    model = torch.nn.Sequential(torch.nn.Linear(9, 9), torch.nn.Tanh(), torch.nn.Linear(9, 9))
    first, _, last = model.eval()
    x = RNG.normal(size=(3, 9)).astype(np.float32)
    with torch.no_grad():
        swapped = last(torch.tensor(x)).numpy()
        both = (torch.tensor(x) @ first.weight + last.bias).numpy()
    claim = probe.check(model, "0", x, expected=swapped).findings[0].claim
    assert claim == "weight, bias are those of 2, another layer of the model"
    claim = probe.check(model, "0", x, expected=both).findings[0].claim
    assert claim.startswith("weight is transposed; bias is 2's bias, a parameter of another")


def test_what_lora_adds_to_a_kernel_is_multiplied_by_a_number():
    layer = keras.layers.Dense(8, name="dense")
    model = keras.Sequential([keras.Input((6,)), layer])
    layer.enable_lora(2, lora_alpha=6)
    layer.lora_kernel_a.assign(RNG.normal(size=(6, 2)))
    layer.lora_kernel_b.assign(RNG.normal(size=(2, 8)))
    x = RNG.normal(size=(3, 6)).astype(np.float32)
    parts = (layer._kernel, layer.lora_kernel_a, layer.lora_kernel_b)
    kernel, a, b = (one.numpy() for one in parts)
    report = probe.check(model, "dense", x, expected=x @ (kernel + a @ b))
    (first,) = report.findings
    assert first.claim.startswith("what is added to the stored kernel is multiplied by 0.333333")


@torch.no_grad()
def test_the_weights_of_a_recurrence_are_read_back_from_its_sequence():
    torch.manual_seed(0)
    layer = torch.nn.RNN(3, 2, batch_first=True).eval()
    x = RNG.normal(size=(20, 4, 3)).astype(np.float32)
    before = layer.weight_hh_l0.clone()
    layer.weight_hh_l0.add_(torch.tensor([[0.1, -0.2], [0.3, 0.1]]))
    (y, _), wrong = layer(torch.tensor(x)), layer.weight_hh_l0.numpy().copy()
    layer.weight_hh_l0.copy_(before)
    first = found(layer, x, y.numpy()).findings[0]
    assert first.slug == "other-weights"
    np.testing.assert_allclose(first.recovered["weight_hh_l0"], wrong, rtol=0, atol=1e-4)


def test_twice_as_many_values_as_unknown_entries_are_looked_at():
    def case(shape, entries):
        weight = SimpleNamespace(effective=np.zeros(entries))
        healthy = np.zeros(shape)
        return SimpleNamespace(
            weights={"w": weight}, thorough=False, healthy=healthy, samples=lambda part: part
        )

    part, slack = newton._few_samples(case((60, 8), 40), np.float64(0.1))
    assert (part, slack.shape) == (slice(0, 11), (11, 8))
    small = case((10, 8), 40)
    assert newton._few_samples(small, np.float64(0.1))[0] is small
    assert newton._few_samples(case((60, 8), 1 << 12), np.float64(0.1))[0] == slice(0, 1)


@pytest.mark.parametrize(
    ("entries", "most", "proportion", "cut"),
    [(1, 9, False, False), (7, 9, True, False), (8, 9, True, True), (10, 9, False, False)],
)
def test_a_number_is_fitted_to_weights_of_some_entries(entries, most, proportion, cut, monkeypatch):
    """A few would take anything, and very many too long."""
    monkeypatch.setattr(altered_weights, "_LARGE", most)
    kernel = np.linspace(-2.0, 3.0, entries)[:, None]
    steps = (Step(ops.MatMul(Weight("weight", kernel, kernel), None)),)
    for word, wrong, expected in (
        ("multiplied by", kernel * 1.25, proportion),
        ("clipped", np.clip(kernel, -1.3, 1.3), cut),
    ):
        x = RNG.normal(size=(40, entries))
        case = Case(steps, (x,), recompute(steps, [x]), x @ wrong)
        scaled = (found.edit for found in altered_weights.proportions(case))
        claims = [edit.claim for edit in (*scaled, *altered_weights.cut(case))]
        assert any(word in claim for claim in claims) == expected, (word, claims)


def test_one_turned_sign_shows_in_three_samples():
    def turned(w):
        w[2, 7] *= -1
        return w

    layer = torch.nn.Linear(30, 6)
    x = RNG.normal(size=(3, 30)).astype(np.float32)
    (first,) = found(layer, x, damaged(layer, x, turned)[0]).findings
    assert "its sign is flipped" in first.claim


def test_in_a_very_large_batch_one_sample_tells_and_the_whole_confirms():
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm2d(16).eval()
    x = RNG.normal(size=(8, 16, 144, 144)).astype(np.float32)
    y, wrong = damaged(layer, x, one_entry)
    (first,) = found(layer, x, y).findings
    assert first.slug == "other-weights" and first.left <= 1
    np.testing.assert_allclose(first.recovered["weight"], wrong, rtol=1e-5)


@pytest.mark.costly
def test_what_is_tried_last_takes_no_time_from_two_mistakes_at_once():
    """Both would be missed if the time were taken for the search's own."""
    torch.manual_seed(0)
    layer = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3, padding=1)).eval()
    x = RNG.normal(size=(1, 64, 56, 56)).astype(np.float32)
    with torch.no_grad():
        y = torch.relu(layer(torch.tensor(x)).flip(1)).numpy()
    (first,) = probe.check(layer, "0", x, expected=y).findings
    assert {first.slug, *first.also} == {"reversed-channels", "extra-activation"}


def test_weights_that_are_nearly_the_same_were_not_clipped_to_that():
    have = RNG.normal(size=12)
    used = 1 + 0.003 * RNG.normal(size=12)
    told = relation("gamma", np.abs(have) + 2, used)
    assert told is not None and "clipped" not in told.words
    clipped = relation("gamma", have, np.clip(have, -0.5, 0.5))
    assert clipped is not None and "clipped to between -0.5 and 0.5" in clipped.words


@pytest.mark.parametrize("seed", range(3))
def test_another_bias_comes_before_a_mistake_that_leaves_a_part(seed):
    """With seed 2 a factor and an offset of the input give 88 % of the difference."""
    torch.manual_seed(seed)
    layer, x = torch.nn.Linear(3, 2), np.random.default_rng(0).normal(size=(20, 3))
    other = (x @ layer.weight.detach().numpy().T + 0.5).astype(np.float32)
    report = probe.check(layer, "", x.astype(np.float32), expected=other)
    assert [one.slug for one in report.findings] == ["other-weights"]
    np.testing.assert_allclose(report.findings[0].recovered["bias"], 0.5, rtol=1e-4)


@torch.no_grad()
def test_a_channel_of_which_one_value_is_known():
    """Behind a ReLU, with too few samples to solve for weights."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(12, 4)
    x = np.random.default_rng(0).normal(size=(8, 12)).astype(np.float32)
    wrong = linear.weight.numpy().copy()
    wrong[:, 3] = wrong[:, 2]
    sums = x @ wrong.T
    linear.bias[:] = 2
    linear.bias[1] = -float(np.sort(sums[:, 1])[-2:].mean())
    y = np.maximum(sums + linear.bias.numpy(), 0)
    assert (y > 0).sum(axis=0).tolist() == [8, 1, 8, 8]
    report = probe.check(behind(linear, torch.nn.ReLU()).eval(), "", x, expected=y)
    assert "used twice (3 is a copy of 2)" in report.findings[0].claim, report


@pytest.mark.costly
def test_as_many_weights_as_differing_values_reproduce_anything():
    """A corner that one entry of the kernel alone reaches: that entry makes it anything."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(2, 2, 3, padding=1, groups=2).eval()
    x = torch.randn(1, 2, 2, 2)
    moved = conv(x).detach().numpy()
    moved[0, 0, 0, 0] += 0.01
    report = probe.check(conv, "", x.numpy(), expected=moved)
    assert not report.findings and any("times as many samples" in one for one in report.diagnosis)
    x = torch.randn(6, 2, 2, 2)
    expected = conv(x).detach().numpy()
    with torch.no_grad():
        conv.weight[0, 0, 2, 2] += 0.25
    report = probe.check(conv, "", x.numpy(), expected=expected)
    (finding,) = report.findings
    assert finding.slug == "other-weights" and "weight[0, 0, 2, 2] is" in finding.claim


@pytest.mark.costly
def test_a_level_for_one_value_is_no_finding():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(5, 4), torch.randn(2, 5)
    lowest = layer(x).detach().numpy()
    lowest[np.unravel_index(lowest.argmin(), lowest.shape)] += 0.01
    report = probe.check(layer, "", x.numpy(), expected=lowest)
    assert not report.findings
    assert any(one.startswith("1 of 8 values differ, too few") for one in report.diagnosis)


def test_every_entry_that_changes_is_said():
    have = np.linspace(1.0, 2.0, 12).reshape(3, 4)
    used = have.copy()
    used[1, 2] = 5.0
    used[2, 3] += 5e-5
    found = relation("w", have, used)
    assert found.words == (
        "w[1, 2] is 5 instead of 1.54545; 1 of the 12 entries of w differ by at most 0.0001 x "
        "its largest"
    )
    assert not found.short
    assert relation("w", have, have + 1e-9) is None


def test_a_variance_that_was_taken_for_a_deviation():
    have = np.linspace(0.4, 0.6, 12)  # whose squares are nearly that much less
    assert relation("var", have, np.square(have)).words == "var is squared"
    assert relation("var", have, np.sqrt(have)).words == (
        "var is the square root of what it should be"
    )
    assert relation("var", have, have - 0.25).words == "-0.25 is added to every entry of var"


class NoisedAtAStep(torch.nn.Module):
    """What a diffusion model adds to its input at one of the steps of its schedule."""

    def __init__(self):
        super().__init__()
        self.register_buffer("kept", torch.cumprod(torch.linspace(0.999, 0.95, 60), 0))

    def forward(self, x):
        kept = self.kept[20]
        return x * kept.sqrt() + torch.tanh(x) * (1 - kept).sqrt()


def test_a_table_of_which_a_layer_takes_one_entry_is_not_clipped():
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float32)
    other = x * np.sqrt(0.4321) + np.tanh(x) * np.sqrt(1 - 0.4321)
    report = probe.check(NoisedAtAStep().eval(), "", x, expected=other.astype(np.float32))
    assert report.findings[0].claim.startswith("kept[20] is 0.4321 instead of 0.8215"), report


def test_a_factor_of_next_to_nothing_is_0():
    """What is read back of a slice that is left out is off by rounding."""
    have = np.random.default_rng(0).normal(size=(3, 5))
    used = have * np.array([[0.5], [-1.6e-9], [2]])
    words = relation("w", have, used).words
    assert words.endswith("multiplied by a factor of its own (0.5, 0, 2, ...)"), words
