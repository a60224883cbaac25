"""The parts of a tensor, as many and as long as they may be, that are read in another order."""

import numpy as np
import pytest
import torch
from planting import draw, nn

import probe


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
