"""What is done at several steps alike is told: branches side by side in place of one behind the
other, options of the step before, places of a window, tables, lists of parameters, indices."""

import pytest
import torch
from planting import F, draw, nn, otherwise

import probe


class Pairs(nn.Module):
    """Pairs of convolutions, of which the first is dilated, with a shortcut around each."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.first, self.second = (
            nn.ModuleList(nn.Conv1d(4, 4, 3) for _ in range(3)) for _ in range(2)
        )
        self.mistake = mistake

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for rate, first, second in zip((1, 2, 3), self.first, self.second, strict=True):
            z = x if self.mistake == "side by side" else y
            z = F.conv1d(z.relu(), first.weight, padding=rate, dilation=rate)
            rate = rate if self.mistake == "dilated" else 1
            y = y + F.conv1d(z.relu(), second.weight, padding=rate, dilation=rate)
        return y


class Displaced(nn.Module):
    """A tensor joined with itself, moved by each of some displacements."""

    def __init__(self, sign: int = 1, turned: bool = False) -> None:
        super().__init__()
        self.sign, self.turned = sign, turned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide, y = F.pad(x, (1, 1, 1, 1)), x
        for place in range(9):
            down, right = (self.sign * (k - 1) + 1 for k in divmod(place, 3))
            if self.turned:
                down, right = right, down
            moved = wide[:, :, down : down + x.shape[2], right : right + x.shape[3]]
            y = torch.tanh(y + x * moved)
        return y


class Centre(nn.Module):
    """The mean place in rows and columns, each from 0 to 1."""

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        self.more = more

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = x.flatten(1).softmax(-1).view_as(x)
        places = (torch.arange(size) / (size - 1 + self.more) for size in x.shape[1:])
        return torch.stack([(shares.sum(2 - k) * at).sum(1) for k, at in enumerate(places)], 1)


class Stages(nn.Module):
    def __init__(self, first: bool = False) -> None:
        super().__init__()
        self.books = nn.ParameterList(nn.Parameter(torch.zeros(6, 6)) for _ in range(3))
        self.first = first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for book in self.books:
            x = torch.tanh(x @ (self.books[0] if self.first else book)) + x
        return x


class Messages(nn.Module):
    """Rows that are added up along edges, which have a weight by what leaves a node."""

    def __init__(self, turned: bool = False) -> None:
        super().__init__()
        self.into, self.turned = nn.Linear(4, 4), turned

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        source, target = edges[0], edges[1]
        count = torch.zeros(len(x)).scatter_add(0, source, torch.ones(edges.shape[1]))
        y = self.into(x) / (1 + count[:, None])
        if self.turned:
            source, target = target, source
        return torch.zeros_like(y).scatter_add(0, target[:, None].expand(-1, y.shape[1]), y[source])


class Chosen(nn.Module):
    def __init__(self, assigned: bool = False) -> None:
        super().__init__()
        self.all, self.some, self.rare = (nn.Linear(5, 5) for _ in range(3))
        self.assigned = assigned

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.all(x).tanh()
        for where, more in ((x > 0.5, self.some(x).exp()), (x < -0.5, self.rare(x).sin())):
            if self.assigned:
                y = torch.where(where, more, y)
            else:
                y = y + torch.where(where, more, torch.zeros(()))
        return y


class Neighbours(nn.Module):
    """The greatest of what is computed of each point's nearest ones."""

    def __init__(self, first: int = 0) -> None:
        super().__init__()
        self.project, self.first = nn.Linear(3, 5), first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = torch.cdist(x, x).topk(2 + self.first, largest=False)[1][..., self.first :]
        points = self.project(x)[:, None].expand(-1, x.shape[1], -1, -1)
        return points.gather(2, near[..., None].expand(-1, -1, -1, 5)).amax(2)


EDGES = torch.tensor([[0, 1, 2, 3, 3, 5], [1, 2, 5, 4, 0, 0]])
CASES = {
    "branches side by side": (
        (Pairs, (draw(2, 4, 12),), {"mistake": "side by side"}),
        ("other-tensor", "takes the input in place of"),
    ),
    "both of a pair dilated": (
        (Pairs, (draw(2, 4, 12),), {"mistake": "dilated"}),
        ("changed-step", "each have the pads and dilations of the one before it"),
    ),
    "moved the other way": (
        (Displaced, (draw(2, 3, 5, 6),), {"sign": -1}),
        ("changed-step", "are taken the other way along axis 2 and axis 3"),
    ),
    "columns outside": (
        (Displaced, (draw(2, 3, 5, 6),), {"turned": True}),
        ("changed-step", "have their places along axis 2 and axis 3 exchanged"),
    ),
    "places without the end": (
        (Centre, (draw(3, 5, 7),), {"more": 1}),
        ("other-table", "(without the last end);"),
    ),
    "the first of a list": (
        (Stages, (draw(3, 6),), {"first": True}),
        ("other-tensor", "books.1 and books.2 use the parameters of books.0"),
    ),
    "edges turned": (
        (Messages, (draw(6, 4), EDGES), {"turned": True}),
        ("swapped-inputs", "are exchanged in"),
    ),
    "the point itself left out": (
        (Neighbours, (draw(2, 9, 3),), {"first": 1}),
        ("changed-step", "the 2 behind the first are taken in"),
    ),
    "assigned": (
        (Chosen, (draw(4, 5),), {"assigned": True}),
        ("changed-step", "where it is added in"),
    ),
}


@pytest.mark.costly(default=2)
@pytest.mark.parametrize("name", CASES)
def test_what_is_done_at_several_steps_is_told(name):
    (kind, inputs, mistake), (slug, words) = CASES[name]
    model, _, wrong, _ = otherwise(kind, [*inputs], **mistake)
    report = probe.check(model, "", inputs, expected=wrong)
    assert report.findings, report
    assert report.findings[0].slug == slug, report
    assert words in report.findings[0].claim, report
    assert report.findings[0].left <= 1
