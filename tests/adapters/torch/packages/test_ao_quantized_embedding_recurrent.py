"""Quantised embeddings and dynamically quantised recurrences of torch.ao: saved, reopened, checked;
integers for weights are named."""

import math

import numpy as np
import pytest
import torch
from known_warnings import TORCH_AO
from representatives import exhaustive
from torch import nn
from torch.ao import quantization
from torch.ao.nn import quantized as nnq
from torch.nn.utils.rnn import pack_padded_sequence

import probe

pytestmark = pytest.mark.filterwarnings(*TORCH_AO)
ENGINES = [
    engine for engine in ("x86", "qnnpack") if engine in torch.backends.quantized.supported_engines
]
NARROW = [torch.quint8, torch.quint4x2]


@pytest.fixture
def using():
    """Takes another engine for the test."""
    before = torch.backends.quantized.engine

    def use(engine):
        torch.backends.quantized.engine = engine

    yield use
    torch.backends.quantized.engine = before


@pytest.fixture(params=ENGINES)
def engine(request, using):
    using(request.param)
    return request.param


def table(kind, shift=0.0, seed=0):
    """Rows with ranges of their own."""
    torch.manual_seed(seed)
    rows = torch.randn(9, 6) * torch.logspace(-2, 1, 9)[:, None] + shift
    scales = (rows.amax(1) - rows.amin(1)) / (255 if kind == torch.quint8 else 15)
    return torch.quantize_per_channel(rows, scales, -rows.amin(1) / scales, 0, kind)


class Bag(nn.Module):
    """Bags of several sizes, an empty one among them, with a factor for each row."""

    def __init__(self, kind, last, shift=0.0):
        super().__init__()
        self.bag = nnq.EmbeddingBag(9, 6, mode="mean", include_last_offset=last, dtype=kind)
        self.bag.set_weight(table(kind, shift))

    def forward(self, indices, factors):
        ends = [20] if self.bag.include_last_offset else []
        return self.bag(indices, torch.tensor([0, 3, 3, 7, *ends]), factors)


@pytest.mark.parametrize("kind", NARROW, ids=str)
def test_embeddings(kind, engine, tmp_path):
    def build(seed=1):
        layer = nnq.Embedding(9, 6, dtype=kind)
        layer.set_weight(table(kind, 20.0, seed))
        return nn.Sequential(layer)

    net = build(0)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    model = probe.open_model(tmp_path / "net.pt", factory=build)
    x = np.random.default_rng(0).integers(0, 9, (3, 5))
    before = model.module[0].weight()
    report = probe.check(model, "0", x)
    weight = report.weights["weight"]
    assert (
        report.ok
        and "onnx" in report.outputs
        and weight.steps[0].startswith("uint8" if kind == torch.quint8 else "uint4")
    ), str(report)
    np.testing.assert_allclose(
        weight.effective[x], report.outputs["framework"], rtol=1e-6, atol=1e-5
    )
    assert torch.equal(before.dequantize(), model.module[0].weight().dequantize())
    if engine != "x86":
        return
    wrong = weight.stored[x].astype(np.float32)
    found = probe.check(model, "0", x, expected=wrong)
    assert (
        found.verdict == "diverge"
        and found.findings[0].slug == "raw-weights"
        and "weight" in found.findings[0].claim
    ), str(found)
    if kind == torch.quint4x2:  # weight() gives other numbers than those that are looked up
        found = probe.check(model, "0", x, expected=before.dequantize().numpy()[x])
        assert (
            found.findings[0].slug == "raw-weights"
            and "weight().dequantize() is used" in found.findings[0].claim
        ), str(found)


@pytest.mark.parametrize("kind", NARROW, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_bags_are_sums(kind, last, engine):
    """Whatever ``mode`` says: PyTorch 2.13 has quantised sums alone."""
    rng = np.random.default_rng(0)
    for shift in (0.0, 20.0):
        given = [rng.integers(0, 9, 20), rng.normal(size=20).astype(np.float32)]
        report = probe.check(Bag(kind, last, shift), "bag", given)
        assert report.ok and "onnx" in report.outputs and "the sum of" in str(report), str(report)


def test_bags_of_a_matrix():
    for last in (False, True):
        layer = nnq.EmbeddingBag(9, 6, include_last_offset=last)
        layer.set_weight(table(torch.quint8))
        found = []
        probe.open_model(layer).run([np.arange(6).reshape(2, 3)], [""], found.append)
        assert (found[0].description is None) == last and (
            "include_last_offset" in found[0].why
        ) == last
    layer = nnq.EmbeddingBag(9, 6)
    layer.set_weight(table(torch.quint8))
    assert probe.check(layer, "", given=np.arange(6).reshape(2, 3)).ok


LAYERS = {
    "LSTM": (lambda: nn.LSTM(4, 6), (7, 3, 4)),
    "LSTM-two": (lambda: nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True), (3, 7, 4)),
    "GRU": (lambda: nn.GRU(4, 6), (7, 3, 4)),
    "GRU-three": (lambda: nn.GRU(4, 6, 3), (7, 3, 4)),
    "LSTMCell": (lambda: nn.LSTMCell(4, 6), (3, 4)),
    "GRUCell": (lambda: nn.GRUCell(4, 6), (3, 4)),
    "RNNCell": (lambda: nn.RNNCell(4, 6), (3, 4)),
    "RNNCell-relu": (lambda: nn.RNNCell(4, 6, nonlinearity="relu"), (3, 4)),
}


def built(name, kind=torch.qint8, seed=0):
    torch.manual_seed(seed)
    module = LAYERS[name][0]()
    return quantization.quantize_dynamic(nn.Sequential(module), {type(module)}, dtype=kind)


FLOAT16 = ("LSTM", "GRU-three", "RNNCell")
CASES = [
    *(("x86", name, torch.qint8) for name in LAYERS),
    *(("qnnpack", name, torch.qint8) for name in LAYERS if name != "GRU"),
    *(("onednn", name, torch.qint8) for name in ("LSTM-two", "GRU")),
    *(("x86", name, torch.float16) for name in FLOAT16),  # the others have no kernel for it
]


@pytest.mark.parametrize(
    ("engine", "name", "kind"),
    [case for case in CASES if case[0] in torch.backends.quantized.supported_engines],
)
def test_recurrences_saved_and_reopened(engine, name, kind, using, tmp_path, signal):
    using(engine)
    net = built(name, kind)
    path = tmp_path / "net.pt"
    # it holds objects of TorchScript, which only a trusting load takes
    torch.save(net.state_dict(), path)
    model = probe.open_model(path, factory=lambda: built(name, kind, seed=1), trust=True)
    held = {
        key: value.dequantize() if value.is_quantized else value
        for key, value in model.module[0].get_weight().items()
    }
    x = signal(LAYERS[name][1])
    report = probe.check(model, "0", x)
    assert report.ok and "onnx" in report.outputs, str(report)
    assert (kind == torch.qint8) == ("DynamicQuantize: the input to " in str(report))
    for key, values in held.items():
        weight = report.weights[key]
        np.testing.assert_array_equal(weight.effective, values.numpy())
        assert weight.steps[0].startswith(
            "int8 (" if kind == torch.qint8 else "stored in float16"
        ), weight.steps
        assert kind == torch.float16 or np.array_equal(
            weight.grid.integers(weight.effective), weight.stored
        )
    after = model.module[0].get_weight()
    assert all(
        torch.equal(value.dequantize() if value.is_quantized else value, held[key])
        for key, value in after.items()
    )


def test_states_and_their_ranges(signal):
    """Given states are quantised over the batch; what multiplies them alone is: the rest of a step
    takes them as they are."""
    layer = built("GRU-three")[0]

    class Stated(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = layer

        def forward(self, x, h):
            return self.inner(x, h)

    assert probe.check(Stated(), "inner", [signal((7, 3, 4)), signal((3, 3, 6), seed=1)]).ok


class PackedNet(nn.Module):
    """A dynamically quantised recurrence on samples of different lengths."""

    def __init__(self, make, lengths, enforce_sorted, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.inner, self.lengths, self.enforce_sorted = make(), lengths, enforce_sorted
        quantization.quantize_dynamic(self, {type(self.inner)}, inplace=True)

    def forward(self, x, *states):
        packed = pack_padded_sequence(
            x, self.lengths, self.inner.batch_first, enforce_sorted=self.enforce_sorted
        )
        return self.inner(
            packed, None if not states else states[0] if len(states) == 1 else states
        )[0].data


LENGTHS = {True: [6, 4, 4, 1], False: [4, 1, 6, 4]}
PACKED = {
    "LSTM": lambda: nn.LSTM(4, 5, 2, bidirectional=True),
    "LSTM-first": lambda: nn.LSTM(4, 5, batch_first=True),
    "GRU": lambda: nn.GRU(4, 5, 2, bidirectional=True),
    "GRU-first": lambda: nn.GRU(4, 5, 3, batch_first=True),
}


PACKED_CASES = [
    *(("x86", name, enforce_sorted) for name in PACKED for enforce_sorted in (True, False)),
    *(
        (engine, name, False)
        for engine, name in (("qnnpack", "LSTM"), ("qnnpack", "GRU-first"), ("onednn", "GRU"))
    ),
]


@pytest.mark.exhaustive(each=lambda case: case[1])
@pytest.mark.parametrize(
    "case",
    [case for case in PACKED_CASES if case[0] in torch.backends.quantized.supported_engines],
    ids=lambda case: "-".join(map(str, case)),
)
def test_packed_sequences_saved_and_reopened(case, using, tmp_path, signal):
    engine, name, enforce_sorted = case
    using(engine)
    lengths, path = LENGTHS[enforce_sorted], tmp_path / "net.pt"
    torch.save(PackedNet(PACKED[name], lengths, enforce_sorted).state_dict(), path)
    model = probe.open_model(
        path, factory=lambda: PackedNet(PACKED[name], lengths, enforce_sorted, seed=1), trust=True
    )
    inner = model.module.inner
    x = signal((4, 6, 4) if inner.batch_first else (6, 4, 4))
    count = inner.num_layers * (2 if inner.bidirectional else 1)
    states = [
        signal((count, 4, 5), seed=2 + k, scale=2.0)
        for k in range(2 if name.startswith("LSTM") else 1)
    ]
    for given in ([x], [x, *states]):
        report = probe.check(model, "inner", given)
        assert report.ok and "onnx" in report.outputs, str(report)
        assert report.outputs["numpy"][0].shape == (15, 10 if inner.bidirectional else 5)
        weights = [one for key, one in report.weights.items() if key.startswith("weight")]
        assert weights and all(one.steps[0].startswith("int8 (") for one in weights)


@pytest.mark.parametrize("seed", range(8))
def test_packed_sequences_of_any_lengths(seed, signal):
    rng = np.random.default_rng(seed)
    kind, layers, both = (nn.LSTM, nn.GRU)[seed % 2], 1 + seed % 3, bool(seed // 2 % 2)
    lengths = rng.integers(1, 8, rng.integers(1, 6)).tolist()
    net = PackedNet(lambda: kind(3, 7, layers, bidirectional=both), lengths, False, seed)
    given = [signal((max(lengths), len(lengths), 3), seed=seed)]
    report = probe.check(net, "inner", given)
    assert report.ok and "onnx" in report.outputs, str(report)


def by_hand(layer, rows, sizes, of_all=False):
    """The steps of a packed LSTM as torch's own quantised products make them; ``of_all`` takes the
    range of the ended samples, too."""
    inward, onward = (layer.get_weight()[f"weight_{part}_l0"] for part in ("ih", "hh"))
    first, second = (layer.get_bias()[f"bias_{part}_l0"] for part in ("ih", "hh"))
    inward, onward = (
        torch.ops.quantized.linear_prepack(inward, first),
        torch.ops.quantized.linear_prepack(onward, second),
    )
    shares = torch.ops.quantized.linear_dynamic(rows, inward, True)
    h, c = torch.zeros(sizes[0], 5), torch.zeros(sizes[0], 5)
    made, at = [], 0
    for size in sizes:
        product = torch.ops.quantized.linear_dynamic(h if of_all else h[:size], onward, True)[:size]
        i, f, g, o = (shares[at : at + size] + product).chunk(4, 1)
        cell = torch.sigmoid(f) * c[:size] + torch.sigmoid(i) * torch.tanh(g)
        new = torch.sigmoid(o) * torch.tanh(cell)
        h, c = torch.cat([new, h[size:]]), torch.cat([cell, c[size:]])
        made.append(new)
        at += size
    return torch.cat(made)


@pytest.mark.exhaustive
def test_states_take_the_range_of_the_samples_that_a_step_has(using, signal):
    """The kernel bit by bit; with the range of the samples that have ended, or of each sample
    alone, it would be another layer."""
    using("x86")
    net = PackedNet(lambda: nn.LSTM(4, 5), LENGTHS[True], True)
    x = signal((6, 4, 4)) * np.array([1, 1, 2, 4], np.float32)[None, :, None]
    packed = pack_padded_sequence(torch.from_numpy(x), LENGTHS[True])
    sizes = packed.batch_sizes.tolist()
    with torch.no_grad():
        made = net(torch.from_numpy(x))
        assert torch.equal(made, by_hand(net.inner, packed.data, sizes))
        ended = by_hand(net.inner, packed.data, sizes, of_all=True)
        alone = [
            net.inner(torch.from_numpy(x[:length, k : k + 1]))[0][:, 0]
            for k, length in enumerate(LENGTHS[True])
        ]
    alone = torch.cat([torch.stack([one[t] for one in alone if t < len(one)]) for t in range(6)])
    report = probe.check(net, "inner", x, expected=made.numpy())
    assert report.ok and float(np.abs(report.outputs["numpy"][0] - made.numpy()).max()) < 1e-6, str(
        report
    )
    for wrong in (ended, alone):
        report = probe.check(net, "inner", x, expected=wrong.numpy())
        assert report.verdict == "diverge" and report.comparisons["framework", "numpy"].ok, str(
            report
        )


def test_integers_for_the_weights_of_a_packed_sequence_are_named(signal):
    x, net = signal((6, 4, 4), scale=0.02), PackedNet(lambda: nn.GRU(4, 5), LENGTHS[False], False)
    other = PackedNet(lambda: nn.GRU(4, 5), LENGTHS[False], False)
    integers(other.inner, "weight_ih")
    with torch.no_grad():
        wrong = other(torch.from_numpy(x)).numpy()
    found = probe.check(net, "inner", x, expected=wrong)
    assert found.verdict == "diverge" and found.findings[0].slug == "raw-weights", str(found)
    assert "weight_ih_l0" in found.findings[0].claim


@pytest.mark.parametrize("name", LAYERS)
def test_an_element_is_told_by_its_gates(name, signal):
    """The terms on the input's levels add up, and the stages end at the element."""
    x = signal(LAYERS[name][1])
    report = probe.check(built(name), "0", x)
    y = (
        report.outputs["numpy"][0]
        if isinstance(report.outputs["numpy"], tuple)
        else report.outputs["numpy"]
    )
    at = tuple(size - 1 - k % 2 for k, size in enumerate(y.shape))
    told = probe.explain(built(name), "0", x, at=at)
    assert told.terms and told.steps[-1].value == pytest.approx(float(y[at]), rel=1e-12), str(told)
    words = " ".join(step.words for step in told.steps)
    parts = {
        "LSTM": ("input gate", "cell state"),
        "GRU": ("update gate", "reset gate"),
        "RNN": ("the new state",),
    }
    for word in next(those for kind, those in parts.items() if name.startswith(kind)):
        assert word in words
    assert all(
        term.weight.startswith("weight_ih") and "DynamicQuantize" in term.input
        for term in told.terms
    )
    assert "quantised" in words


def test_an_element_of_a_packed_sequence_is_told(signal):
    """Row 13 is the third sample's step 4: of the four samples, that step has one; the state is at
    the levels of that one alone."""
    net, x = PackedNet(lambda: nn.LSTM(4, 5), LENGTHS[False], False), signal((6, 4, 4))
    for row, sample, step in ((13, 2, 4), (6, 3, 1), (2, 3, 0)):
        told = probe.explain(net, "inner", x, at=(row, 2))
        assert math.isclose(told.steps[-1].value, told.value, rel_tol=1e-9), str(told)
        assert any("input gate" in one.words for one in told.steps)
        assert ("at the start" in str(told)) == (
            step == 0
        ) and f"after time step {step - 1}" * bool(step) in str(told)
        assert all(
            term.inner.terms[0].input_value in x[step, sample] for term in told.terms if term.inner
        ), str(told)


class Quantizable(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.lstm, self.dequant = (
            quantization.QuantStub(),
            nn.LSTM(4, 5),
            quantization.DeQuantStub(),
        )

    def forward(self, x):
        return self.dequant(self.lstm(self.quant(x))[0])


def test_a_statically_quantised_lstm_is_checked_part_by_part(signal):
    """It is made of quantised modules and of functions of quantised tensors, step by step."""
    torch.manual_seed(0)
    net = Quantizable().eval()
    net.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(net)
    prepared(torch.randn(2, 3, 4))
    reports = list(probe.sweep(quantization.convert(prepared), signal((2, 3, 4))))
    assert {report.verdict for report in reports} == {"agree"}, [
        str(report) for report in reports if not report.ok
    ]
    cell = "lstm.layers.0.layer_fw.cell"
    wanted = {
        f"{cell}.igates",
        f"{cell}.hgates",
        f"{cell}/split",
        f"{cell}.input_gate",
        f"{cell}/add",
        f"{cell}/mul:2",
    }
    assert wanted <= {report.layer for report in reports}
    assert [report.call for report in reports if report.layer == f"{cell}.hgates"] == [0, 1]


def integers(module, which):
    """The same module with the integers themselves for weights."""
    weights, biases = module.get_weight(), module.get_bias()
    raw = {
        key: torch._make_per_tensor_quantized_tensor(value.int_repr(), 1.0, 0)
        if key.startswith(which)
        else value
        for key, value in weights.items()
    }
    module.set_weight_bias({**raw, **{key: value.detach() for key, value in biases.items()}})
    return module


def test_integers_for_weights_are_named(signal):
    x = signal((7, 3, 4), scale=0.02)
    net, layer = built("GRU"), "0"
    before = probe.check(net, layer, x)
    with torch.no_grad():
        y, _ = integers(built("GRU")[0], "weight_ih")(torch.from_numpy(x))
    found = probe.check(net, layer, x, expected=y.numpy())
    assert before.ok and found.verdict == "diverge", str(found)
    assert found.findings[0].slug == "raw-weights" and "weight_ih_l0" in found.findings[0].claim, (
        str(found)
    )


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNNCell"])
def test_what_is_left_unquantised_diverges(name, signal):
    """The same weights in a float layer: the difference is far beyond the allowance."""
    net, x = built(name), signal(LAYERS[name][1])
    float_ = LAYERS[name][0]()
    weights = {key: value.dequantize() for key, value in net[0].get_weight().items()} | dict(
        net[0].get_bias()
    )
    float_.load_state_dict({key: weights[key] for key in float_.state_dict()})
    with torch.no_grad():
        y = float_(torch.from_numpy(x))
    report = probe.check(net, "0", x, expected=(y if name == "RNNCell" else y[0]).numpy())
    assert (
        report.verdict == "diverge"
        and report.comparisons["framework", "numpy"].ok
        and report.comparisons["numpy", "expected"].ratio > 20
    )


@pytest.mark.parametrize("seed", [148, *exhaustive(25)])
def test_levels_that_flip_in_a_layer_that_is_not_seen(seed, using):
    """Where a state of the first layer lies within rounding of a threshold, PyTorch and NumPy take
    it to levels beside each other."""
    using("x86")
    torch.manual_seed(seed)
    module = nn.LSTM(8, 64, 2) if seed % 2 else nn.GRU(8, 64, 2)
    net = quantization.quantize_dynamic(nn.Sequential(module), {type(module)})
    report = probe.check(
        net, "0", np.random.default_rng(seed).normal(size=(60, 8, 8)).astype(np.float32)
    )
    assert report.ok, str(report)
