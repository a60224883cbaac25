"""The parts of a tensor, as many and as long as they may be, that are read in another order."""

import numpy as np
import pytest
import torch
from own_seed import RNG
from planting import F, draw, nn, otherwise
from tried_changes import claims_that_give

import probe
from probe import ops
from probe.hypotheses.steps.packed_parts import joined_in_another_order, parts_interleaved
from probe.ops.step import Ref, Step


class Packed(nn.Module):
    """Three heads of queries, and one key and one value for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Linear(8, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.packed(x).split((12, 4, 4), -1)
        scores = query.unflatten(-1, (3, 4)).sigmoid() * key[:, :, None]
        return (scores.cumsum(1) * value.tanh()[:, :, None]).flatten(2)


def ported(model: Packed, x: np.ndarray, order: str) -> np.ndarray:
    """The same in NumPy; the parts stand in the weight in the order that is given."""
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}
    given = x @ w["packed.weight"].T + w["packed.bias"]
    ends = np.cumsum([{"q": 12, "k": 4, "v": 4}[name] for name in order])[:-1]
    part = dict(zip(order, np.split(given, ends, -1), strict=True))
    scores = 1 / (1 + np.exp(-part["q"].reshape(*x.shape[:2], 3, 4))) * part["k"][:, :, None]
    y = np.cumsum(scores, 1) * np.tanh(part["v"])[:, :, None]
    return y.reshape(*x.shape[:2], 12).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Packed:
    torch.manual_seed(1)
    return Packed().eval()


X = draw(2, 4, 8)


@pytest.mark.parametrize(("order", "words"), [("kvq", "1, 2, 0"), ("vqk", "2, 0, 1")])
def test_parts_in_another_order_are_named(model, order, words):
    report = probe.check(model, "", X, expected=ported(model, X, order))
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == ("packed-order", ()), report
    assert f"packed is split as if its 3 parts stood in the order {words}" in first.claim
    assert first.left <= 1


def test_a_right_port_has_no_cause(model):
    report = probe.check(model, "", X, expected=ported(model, X, "qkv"))
    assert report.ok
    assert not report.findings


class Gated(nn.Module):
    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(4, 10)
        self.swapped = swapped

    def gated(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return b * a.sigmoid() if self.swapped else F.glu(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gated(self.second(self.gated(self.first(x))))


def test_the_half_that_gates_is_one_cause_of_all_units():
    model, x, wrong, _ = otherwise(Gated, draw(3, 5, 6), swapped=True)
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == ("packed-order", ()), report
    assert "gates the second" in first.claim


class Modulated(nn.Module):
    """Two gated layers on the shift, scale and gate of each, of one projection."""

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.modulation = nn.Linear(5, 24)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.softmax = softmax

    def forward(self, x: torch.Tensor, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> torch.Tensor:
        parts = self.modulation(x).chunk(6, -1)
        y = x[..., :4]
        for k, layer in enumerate(self.layers):
            shift, scale, gate = (parts[order.index(3 * k + which)] for which in range(3))
            y = y + gate * layer(y * (1 + scale) + shift).tanh()
        return y.softmax(-1) if self.softmax else y


@pytest.mark.parametrize(
    "order",
    [(1, 0, 2, 4, 3, 5), (0, 3, 1, 4, 2, 5), (0, 2, 4, 1, 3, 5), (4, 5, 2, 3, 0, 1)],
    ids=["in each group", "by kind", "by pairs", "pairs reversed"],
)
def test_six_parts_in_another_order_by_groups(order):
    torch.manual_seed(3)
    model, x = Modulated().eval(), draw(3, 2, 5)
    with torch.no_grad():
        wrong = model(torch.as_tensor(x), order).numpy()
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == ("packed-order", ()), report
    assert f"its 6 parts stood in the order {', '.join(map(str, order))}" in first.claim


def test_six_parts_before_a_softmax_are_no_error_of_ours():
    torch.manual_seed(3)
    model, x = Modulated(softmax=True).eval(), draw(3, 2, 5)
    with torch.no_grad():
        wrong = model(torch.as_tensor(x), (1, 0, 2, 4, 3, 5)).numpy()
    report = probe.check(model, "", x, expected=wrong)
    assert report.findings, report
    assert report.findings[0].slug == "packed-order", report


def _concatenated(count: int, width: int) -> tuple[tuple[Step, ...], list[np.ndarray]]:
    parts = [RNG.standard_normal((2, width)) for _ in range(count)]
    return (Step(ops.Concat(1), tuple(Ref(-1, k) for k in range(count))),), parts


def test_parts_of_two_loops_joined_with_the_inner_one_outside():
    steps, parts = _concatenated(6, 1)
    wrong = np.concatenate([parts[3 * column + row] for row in range(3) for column in range(2)], 1)
    claims = claims_that_give(wrong, joined_in_another_order, steps, *parts)
    assert len(claims) == 1, claims
    assert "the inner of two loops, of 2 and 3, were the outer one: 0, 3 and so on" in claims[0]


def test_parts_joined_element_by_element():
    steps, parts = _concatenated(4, 3)
    wrong = np.stack(parts, 2).reshape(2, 12)
    claims = claims_that_give(wrong, parts_interleaved, steps, *parts)
    assert len(claims) == 1, claims
    assert "interleaves its 4 parts along axis 1" in claims[0]
