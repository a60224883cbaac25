"""What a loop that the model's code runs step by step carries on: where its states begin, and begin
anew, in which format they are kept, and a statement that is wrong in all loops of the same code."""

import numpy as np
import pytest
import torch
from planting import draw, nn

import probe

SECTIONS = [[0.6, -0.5, 0.3, 1.1, -0.9, 0.4], [0.3, 0.6, 0.2, 1.4, -0.5, 0.25]]


class Cascade(nn.Module):
    """Sections of a filter, each a loop over time whose states the block before left."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sections", torch.tensor(SECTIONS))
        self.register_buffer("state", torch.from_numpy(draw(2, 2, 2)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for section, state in zip(self.sections, self.state, strict=True):
            b0, b1, b2, a0, a1, a2 = section.unbind()
            s1, s2 = state.unbind(-1)
            out = []
            for value in x.unbind(-1):
                now = (b0 * value + s1) / a0
                s1 = b1 * value - a1 * now + s2
                s2 = b2 * value - a2 * now
                out.append(now)
            x = torch.stack(out, -1)
        return x


def cascade(model: Cascade, x: np.ndarray, mistake: str = "") -> np.ndarray:
    if mistake == "kept":
        return kept_cascade(model, x)
    sign = -1 if mistake == "feedback" else 1
    for section, state in zip(SECTIONS, model.state.numpy(), strict=True):
        b0, b1, b2, a0, a1, a2 = section[3:] + section[:3] if mistake == "order" else section
        s1, s2 = np.zeros((2, 2)) if mistake == "rest" else state.T
        out = []
        for t, value in enumerate(x.T):
            if mistake == "chunks" and t and t % 5 == 0:
                s1, s2 = state.T
            now = (b0 * value + s1) / (1 if mistake == "a0" else a0)
            before, s2 = s2, b2 * value - sign * a2 * now
            s1 = b1 * value - sign * a1 * now + (s2 if mistake == "early" else before)
            if mistake == "half":
                s1, s2 = s1.astype(np.float16), s2.astype(np.float16)
            out.append(now)
        x = np.stack(out, -1)
    return x.astype(np.float32)


def kept_cascade(model: Cascade, x: np.ndarray) -> np.ndarray:
    """Its samples one after the other, each from the states that the one before ended in."""
    x = x.copy()
    for section, state in zip(SECTIONS, model.state.numpy(), strict=True):
        b0, b1, b2, a0, a1, a2 = section
        s1, s2 = state[0]
        for at, value in np.ndenumerate(x):
            now = (b0 * value + s1) / a0
            s1, s2 = b1 * value - a1 * now + s2, b2 * value - a2 * now
            x[at] = now
    return x.astype(np.float32)


class Average(nn.Module):
    """An average that begins with the first element."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor([0.1, 0.3, 0.6]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        means = [x[:, 0]]
        for t in range(1, x.shape[1]):
            means.append(self.rate * x[:, t] + (1 - self.rate) * means[-1])
        return x / torch.stack(means, 1)


def average(_: Average, x: np.ndarray, mistake: str = "") -> np.ndarray:
    rate, means = np.array([0.1, 0.3, 0.6]), []
    mean = np.zeros(3) if mistake == "zero" else x[0, 0]
    for sample in x:
        if mistake == "":
            mean = sample[0]
        if mistake == "zero":
            mean = np.zeros(3)
        for value in sample:
            mean = rate * value + (1 - rate) * mean
            means.append(mean)
    return (x / np.reshape(means, x.shape)).astype(np.float32)


class Normed(nn.Module):
    """A cell state of which a norm is shown, and which goes on without it."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.back = nn.Linear(4, 12), nn.Linear(6, 12)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = c = x.new_zeros(len(x), 6)
        out = []
        for step in x.unbind(1):
            keep, new = (self.into(step) + self.back(h)).chunk(2, -1)
            c = keep.sigmoid() * c + (1 - keep.sigmoid()) * new.tanh()
            h = self.norm(c).tanh()
            out.append(h)
        return torch.stack(out, 1)


def normed(model: Normed, x: np.ndarray, mistake: str = "") -> np.ndarray:
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}
    h = c = np.zeros((len(x), 6))
    out = []
    for t, step in enumerate(np.moveaxis(x, 1, 0)):
        both = step @ w["into.weight"].T + w["into.bias"] + h @ w["back.weight"].T + w["back.bias"]
        keep, new = np.split(both, 2, -1)
        keep = 1 / (1 + np.exp(-keep))
        c = keep * c + (1 - keep) * np.tanh(new)
        centred = c - c.mean(-1, keepdims=True)
        shown = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-5)
        shown = shown * w["norm.weight"] + w["norm.bias"]
        h = np.tanh(shown)
        if mistake == "kept":
            c = shown
        if mistake == "half":
            h = h.astype(np.float16).astype(np.float64)
        if mistake == "lost" and t == 3:
            h, c = np.zeros_like(h), np.zeros_like(c)
        out.append(np.tanh(shown) if mistake == "lost" else h)
    return np.stack(out, 1).astype(np.float32)


class Window(nn.Module):
    """A weighted sum of the last frames, which are shifted through a memory of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.tensor([[0.5, -1.2, 0.7, 2.0], [1.5, 0.3, -0.6, 1.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        memory = x.new_zeros(len(x), 2, 4)
        out = []
        for frame in x.unbind(1):
            memory = torch.cat([memory[..., 1:], frame[..., None]], -1)
            out.append((memory * self.taps).sum(-1).relu())
        return torch.stack(out, 1)


def window(model: Window, x: np.ndarray, mistake: str = "") -> np.ndarray:
    taps = model.taps.detach().numpy()
    memory, out = np.zeros((2, 4)), []
    for sample in x:
        if mistake != "kept":
            memory = np.zeros((2, 4))
        for frame in sample:
            for k in (2, 1, 0) if mistake == "wrong end" else (0, 1, 2):
                memory[:, k] = memory[:, k + 1]
            memory[:, 3] = frame
            out.append(np.maximum((memory * taps).sum(-1), 0))
    return np.reshape(out, x.shape).astype(np.float32)


class Decaying(nn.Module):
    """A state that decays by a gate, and of which a part is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(4, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, out = torch.zeros_like(x[:, 0]), []
        for step in x.unbind(1):
            decay, new, part = self.gates(step).chunk(3, -1)
            state = decay.sigmoid() * state + new
            out.append(part.sigmoid() * state)
        return torch.stack(out, 1)


def decaying(model: Decaying, x: np.ndarray, mistake: str = "") -> np.ndarray:
    w = {name: value.detach().numpy() for name, value in model.named_parameters()}
    state, out = np.zeros((len(x), 4)), []
    for step in np.moveaxis(x, 1, 0):
        decay, new, part = np.split(step @ w["gates.weight"].T + w["gates.bias"], 3, -1)
        decay = 1 / (1 + np.exp(-decay))
        state = decay * state + (new * (1 - decay) if mistake == "average" else new)
        out.append((np.tanh(state) if mistake == "bounded" else state) / (1 + np.exp(-part)))
    return np.stack(out, 1).astype(np.float32)


class Blocks(nn.Module):
    """A sum of the positive sums of some columns each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(draw(15)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = torch.zeros(len(x))
        for start in range(0, 15, 3):
            part = torch.zeros(len(x))
            for column in range(start, start + 3):
                part = part + x[:, column] * self.weight[column]
            total = total + part.relu()
        return total


def blocks(model: Blocks, x: np.ndarray, mistake: str = "") -> np.ndarray:
    products = (x * model.weight.detach().numpy()).reshape(len(x), 5, 3).sum(-1)
    parts = np.cumsum(products, 1) if mistake == "kept" else products
    return np.maximum(parts, 0).sum(1).astype(np.float32)


def trained(kind: type[nn.Module] = Normed) -> nn.Module:
    torch.manual_seed(1)
    model = kind().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


MODELS = {
    "cascade": (Cascade().eval(), cascade, draw(2, 14)),
    "average": (Average().eval(), average, 1 + draw(2, 12, 3) ** 2),
    "normed": (trained(), normed, draw(2, 9, 4)),
    "window": (Window().eval(), window, draw(3, 9, 2)),
    "decaying": (trained(Decaying), decaying, draw(2, 8, 4)),
    "blocks": (Blocks().eval(), blocks, draw(9, 15)),
}
CASES = (
    ("cascade", "feedback", "changed-step", "addition instead of subtraction"),
    (
        "cascade",
        "a0",
        "missing-step",
        "is not divided by sections[0][3], in every pass of the loop",
    ),
    ("cascade", "rest", "initial-state", "begins with 0"),
    ("cascade", "order", "packed-order", "in the order 3, 4, 5, 0, 1, 2"),
    ("cascade", "chunks", "carried-state", "is reset after every 5 passes of the loop"),
    ("cascade", "half", "reduced-precision", "float16"),
    ("average", "zero", "initial-state", "begins with 0 one pass before"),
    ("normed", "kept", "other-tensor", "the next pass takes the output of norm"),
    ("normed", "half", "reduced-precision", "stored as float16, in every pass of the loop"),
    ("normed", "lost", "carried-state", "is reset at pass 4"),
    ("cascade", "kept", "carried-state", "are not cleared between one sample and the next"),
    ("average", "kept", "carried-state", "go on with a pass over what the layer's begin with"),
    ("window", "kept", "carried-state", "are not cleared between one sample and the next"),
    ("blocks", "kept", "carried-state", "is not cleared between the passes of the loop"),
    ("cascade", "early", "other-tensor", "(of the pass before), in every pass of the loop"),
    ("window", "wrong end", "changed-step", "is shifted in place from the wrong end"),
    ("decaying", "bounded", "extra-step", "tanh is applied to the sum"),
    ("decaying", "average", "extra-step", "is multiplied by 1 - "),
)


@pytest.mark.parametrize(("name", "mistake", "slug", "words"), CASES)
def test_a_mistake_with_a_state_is_one_cause(name, mistake, slug, words):
    model, port, x = MODELS[name]
    report = probe.check(model, "", x, expected=port(model, x, mistake))
    assert report.findings, report
    first = report.findings[0]
    assert (first.slug, first.also) == (slug, ()), report
    assert words in first.claim
    assert first.left <= 1


@pytest.mark.parametrize("name", MODELS)
def test_a_right_port_has_no_cause(name):
    model, port, x = MODELS[name]
    report = probe.check(model, "", x, expected=port(model, x))
    assert report.ok
    assert not report.findings
