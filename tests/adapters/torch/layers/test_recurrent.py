"""RNN, LSTM and GRU with layers, directions, projections, packed sequences and initial states; and
their cells."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.torch import open_model
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import probe

nn = torch.nn
KINDS = ["RNN", "LSTM", "GRU"]
CELLS = ["RNNCell", "LSTMCell", "GRUCell"]


class Called(nn.Module):
    """A recurrence called on an input and, where given, initial states; ``lengths`` make a packed
    sequence of the input."""

    def __init__(self, inner, lengths=None, sorts=False):
        super().__init__()
        self.inner, self.lengths, self.sorts = inner, lengths, sorts

    def forward(self, x, *states):
        if self.lengths is not None:
            x = pack_padded_sequence(
                x, torch.tensor(self.lengths), self.inner.batch_first, enforce_sorted=not self.sorts
            )
        made = self.inner(x, None if not states else states[0] if len(states) == 1 else states)
        return made if isinstance(made, torch.Tensor) else made[1]


def drawn(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    return module.eval()


def checked(module, given, **options):
    report = probe.check(open_model(Called(module, **options).eval()), "inner", list(given))
    settled = report.ok or (
        "own range" in report.sentence and all(one.ok for one in report.comparisons.values())
    )
    assert settled and tuple(report.outputs) == ("framework", "numpy", "onnx"), (
        f"{module} {options}\n{report}"
    )
    return report


@st.composite
def layers(draw, kind):
    """(options of the constructor, input size, hidden size)."""
    hidden = draw(st.integers(1, 4))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    options["dropout"] = 0.3 if options["num_layers"] > 1 and draw(st.booleans()) else 0.0
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM" and hidden > 1 and draw(st.booleans()):
        options["proj_size"] = draw(st.integers(1, hidden - 1))
    return options, draw(st.integers(1, 5)), hidden


def states_for(module, lead):
    count = module.num_layers * (2 if module.bidirectional else 1)
    first = module.proj_size or module.hidden_size
    sizes = (first, module.hidden_size) if isinstance(module, nn.LSTM) else (first,)
    return [(count, *lead, size) for size in sizes]


@pytest.mark.parametrize("kind", KINDS)
@examples(15)
@given(data=st.data())
def test_layers_and_directions(kind, data):
    options, width, hidden = data.draw(layers(kind))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    module = drawn(getattr(nn, kind)(width, hidden, **options), data.draw(st.integers(0, 9))).to(
        getattr(torch, np.dtype(dtype).name)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    steps, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    lead = () if data.draw(st.booleans()) else (batch,)
    shape = (steps, *lead) if not module.batch_first else (*lead, steps)
    states = (
        [rng.normal(size=one).astype(dtype) for one in states_for(module, lead)]
        if data.draw(st.booleans())
        else []
    )
    report = checked(module, [rng.normal(size=(*shape, width)).astype(dtype), *states])
    assert report.output_names == (
        ("output", "h_n", "c_n") if kind == "LSTM" else ("output", "h_n")
    )
    assert len(report.outputs["numpy"]) == len(report.output_names)
    assert set(report.weights) == set(module.state_dict())


@pytest.mark.parametrize("kind", KINDS)
@examples(10)
@given(data=st.data())
def test_packed_sequences(kind, data):
    options, width, hidden = data.draw(layers(kind))
    module = drawn(getattr(nn, kind)(width, hidden, **options))
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    sorts = data.draw(st.booleans())
    lengths = lengths if sorts else sorted(lengths, reverse=True)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = (len(lengths), max(lengths)) if module.batch_first else (max(lengths), len(lengths))
    states = (
        [rng.normal(size=one).astype(np.float32) for one in states_for(module, (len(lengths),))]
        if data.draw(st.booleans())
        else []
    )
    report = checked(
        module,
        [rng.normal(size=(*shape, width)).astype(np.float32), *states],
        lengths=lengths,
        sorts=sorts,
    )
    told = (
        "output.data",
        "output.batch_sizes",
        *(("output.sorted_indices", "output.unsorted_indices") if sorts else ()),
        "h_n",
    )
    assert report.output_names[: len(told)] == told


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [False, True])
def test_cells(kind, bias):
    rng = np.random.default_rng(0)
    for options in ({}, {"nonlinearity": "relu"}) if kind == "RNNCell" else ({},):
        module = drawn(getattr(nn, kind)(5, 4, bias=bias, **options))
        for lead in ((3,), ()):
            x = rng.normal(size=(*lead, 5)).astype(np.float32)
            states = [
                rng.normal(size=(*lead, 4)).astype(np.float32)
                for _ in range(2 if kind == "LSTMCell" else 1)
            ]
            checked(module, [x])
            checked(module, [x, *states])


@pytest.mark.parametrize(
    ("kind", "told"),
    [("RNNCell", "the new state"), ("LSTMCell", "forget gate f"), ("GRUCell", "update gate z")],
)
def test_an_element_of_a_cell_is_told_by_its_gates(kind, told):
    module, x = (
        drawn(getattr(nn, kind)(5, 4)),
        np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32),
    )
    story = probe.explain(module, "", given=x, at=(2, 1))
    assert {term.input_index for term in story.terms} == {(2, k) for k in range(5)} and any(
        told in step.words for step in story.steps
    )
    assert story.steps[-1].value == story.value


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    x = np.random.default_rng(0).normal(size=(5, 2, 4)).astype(np.float32)
    for kind in KINDS:
        checked(drawn(getattr(nn, kind)(4, 3)).to(getattr(torch, dtype)), [x])


def test_dropout_between_layers_in_training_is_said():
    module, calls = drawn(nn.LSTM(4, 3, 2, dropout=0.5)).train(), []
    open_model(module).run((np.ones((5, 2, 4), np.float32),), {""}, calls.append)
    assert calls[0].description is None and "dropout is active" in calls[0].why


def test_outputs_are_named_in_every_form_of_the_report():
    report = probe.check(
        drawn(nn.LSTM(4, 3, batch_first=True)), "", given=np.ones((2, 5, 4), np.float32)
    )
    text = str(report)
    assert "h_n        (1, 2, 3) float32" in text and "c_n: min" in text
    assert "output     (batch 2, steps 5, units 3)" in text
    assert json.loads(report.to_json())["output_names"] == ["output", "h_n", "c_n"]


def test_the_users_states_are_compared_too():
    module, x = (
        drawn(nn.GRU(4, 3)),
        np.random.default_rng(0).normal(size=(5, 2, 4)).astype(np.float32),
    )
    with torch.no_grad():
        y, last = (one.numpy() for one in module(torch.from_numpy(x)))
    assert probe.check(module, "", given=x, expected=[y, last]).ok
    assert probe.check(module, "", given=x, expected=y).ok
    report = probe.check(module, "", given=x, expected=[None, last * 1.01])
    assert report.verdict == "diverge" and report.comparisons["numpy", "expected"].worst.output == 1
    assert "h_n, [" in str(report)


def test_how_an_element_came_about():
    module, x = (
        drawn(nn.LSTM(4, 3, batch_first=True)),
        np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32),
    )
    story = probe.explain(module, "", given=x, at=(1, 3, 2))
    for words in (
        "input[1, 3, 0]",
        "weight_ih_l0[8, 0]",
        "the state after time step 2",
        "the forget gate f",
        "f · c + i · g",
        "o · Tanh(c)",
    ):
        assert words in str(story)
    with torch.no_grad():
        c = float(module(torch.from_numpy(x[:, :3]))[1][1][0, 1, 2])
    words = "the cell state c after time step 2"
    (cell,) = (one.value for one in story.steps if one.words == words)
    assert abs(cell - c) < 1e-6 and story.steps[-1].value == story.value
    assert "the state at the start" in str(probe.explain(module, "", given=x, at=(0, 0, 0)))


def test_saved_and_reopened(tmp_path):
    module = nn.Sequential(nn.Linear(4, 6), nn.GRU(6, 3, 2, bidirectional=True, batch_first=True))
    torch.save(module.state_dict(), tmp_path / "net.pt")
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    reports = list(probe.sweep(probe.open_model(tmp_path / "net.pt", factory=lambda: module), x))
    assert [report.layer for report in reports] == ["0", "1"]
    assert all(report.ok for report in reports), "\n".join(map(str, reports))


class Packing(nn.Module):
    """A recurrence between packing and unpacking, as sequences of different lengths are usually
    read."""

    def __init__(self, batch_first, value, total):
        super().__init__()
        self.inner, self.batch_first, self.value, self.total = (
            nn.GRU(6, 3, batch_first=batch_first),
            batch_first,
            value,
            total,
        )
        self.before, self.after = nn.Linear(4, 6), nn.Linear(3, 2)

    def forward(self, x):
        packed = pack_padded_sequence(
            self.before(x), torch.tensor([3, 5, 2]), self.batch_first, enforce_sorted=False
        )
        return self.after(
            pad_packed_sequence(self.inner(packed)[0], self.batch_first, self.value, self.total)[0]
        )


@pytest.mark.parametrize(("batch_first", "value", "total"), [(True, 0.0, None), (False, -1.5, 7)])
def test_packing_and_unpacking_between_the_modules(batch_first, value, total):
    x = (
        np.random.default_rng(0)
        .normal(size=(3, 5, 4) if batch_first else (5, 3, 4))
        .astype(np.float32)
    )
    reports = {
        report.layer: report for report in probe.sweep(drawn(Packing(batch_first, value, total)), x)
    }
    assert {"before", "/pack", "inner", "/unpack", "after"} <= set(reports)
    assert all(report.ok for report in reports.values()), [
        str(report) for report in reports.values() if not report.ok
    ]
