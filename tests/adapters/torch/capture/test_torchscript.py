"""TorchScript node by node: scripted, traced and saved, alone and inside modules of Python; and
what of it cannot be followed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from known_warnings import TORCH_JIT
from torch import nn

import probe
from probe.errors import BadInput, CannotOpen, NotTrusted

pytestmark = pytest.mark.filterwarnings(
    "ignore:'norm' was found in ScriptModule constants:UserWarning", *TORCH_JIT
)
X = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
V = X[0, 0]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = (
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.LeakyReLU(0.2, inplace=True),
        )

    def forward(self, x):
        return self.act(self.norm(self.conv(x))) + 1


class Flow(nn.Module):
    """Lists, branches, loops, optional arguments and keyword arguments."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.norm, self.drop = nn.LayerNorm(8), nn.Dropout(0.5)

    def forward(self, x, more: torch.Tensor | None = None):
        parts: list[torch.Tensor] = []
        for at, layer in enumerate(self.layers):
            x = F.gelu(layer(x), approximate="tanh") * 0.5
            if at > 0:
                parts.append(x)
        if more is not None:
            x = x + more
        count = 0
        while count < x.dim():
            x = x + float(count)
            count += 1
        if x.dim() > 3:
            raise ValueError("too many axes")
        left, right = torch.cat(parts, 1).chunk(2, 1)
        return self.drop(self.norm(x)), F.softmax(left - right, dim=-1)


class Blind(nn.Module):
    """Calls code of Python that no graph holds."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 6)

    @torch.jit.ignore
    def secret(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    def forward(self, x):
        return self.secret(self.layer(x))


def script(module):
    return torch.jit.script(module)


def trace(module, x):
    return torch.jit.trace(module, torch.from_numpy(x))


def settled(module):
    """With statistics that are not 0 and 1."""
    for one in module.modules():
        if isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_()
            one.running_var.uniform_(0.5, 2)
    return module.eval()


@pytest.fixture
def block():
    torch.manual_seed(0)
    return settled(Block())


NAMES = ["conv/conv", "norm/batchnormalization", "act/leakyrelu", "/add"]


@pytest.mark.parametrize("how", [script, lambda module: trace(module, X)], ids=["script", "trace"])
def test_a_compiled_module_is_swept_node_by_node(block, how):
    compiled = how(block)
    before = {name: one.clone() for name, one in compiled.state_dict().items()}
    model = probe.open_model(compiled)
    assert any(
        "TorchScript: each node of its graphs is listed as a layer" in note for note in model.notes
    )
    reports = list(probe.sweep(model, X))
    assert [one.layer for one in reports] == NAMES
    assert all(one.ok and not one.missing for one in reports), [one.sentence for one in reports]
    np.testing.assert_array_equal(
        reports[0].weights["weight"].stored, block.conv.weight.detach().numpy()
    )
    np.testing.assert_array_equal(
        reports[-1].outputs["framework"], compiled(torch.from_numpy(X)).detach().numpy()
    )
    assert [one.name for one in model.layers] == NAMES
    assert all(torch.equal(before[name], one) for name, one in compiled.state_dict().items())
    report = probe.check(model, "conv/conv", X, expected=reports[0].outputs["numpy"] * 1.01)
    assert report.verdict == "diverge"


def test_compiled_parts_of_a_module_of_python(block):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = (
                script(block),
                trace(nn.Linear(4, 5), np.ones((1, 4), np.float32)),
            )
            self.last = nn.ReLU()

        def forward(self, x):
            return self.last(self.head(self.first(x).mean((2, 3))))

    net = Net().eval()
    first, before = net.first, net(torch.from_numpy(X))
    model = probe.open_model(net)
    assert any("'first', 'head'" in note for note in model.notes)
    assert [(one.name, one.kind) for one in model.layers][:2] == [
        ("first.conv", "Conv2d"),
        ("first.norm", "BatchNorm2d"),
    ]
    reports = list(probe.sweep(model, X))
    assert [one.layer for one in reports] == [
        *(f"first.{name}" for name in NAMES[:3]),
        "first/add",
        "/reducemean",
        "head/gemm",
        "last",
    ]
    assert all(one.ok and not one.missing for one in reports), [one.sentence for one in reports]
    assert net.first is first and torch.equal(net(torch.from_numpy(X)), before), "put back"
    assert probe.check(model, "first.norm/batchnormalization", X).ok
    with pytest.raises(
        BadInput,
        match=(
            r"'first\.conv' is inside TorchScript, whose single calls can be checked, such as "
            r"'first\.conv/conv'"
        ),
    ):
        probe.check(model, "first.conv", X)


def test_branches_loops_and_lists():
    torch.manual_seed(0)
    compiled = script(Flow().eval())
    for given in ([V], [V, V]):
        reports = list(probe.sweep(compiled, given))
        assert len(reports) == 13 + len(given) + 2 and all(
            one.ok and not one.missing for one in reports
        ), [one.sentence for one in reports]
    (odd,) = (one for one in probe.sweep(script(Flow().train()), [V]) if not one.ok)
    assert odd.layer == "drop/dropout" and "at random" in odd.sentence


def test_what_cannot_be_followed_is_listed_with_its_reason():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.blind, self.act = script(Blind().eval()), nn.ReLU()

        def forward(self, x):
            return self.act(self.blind(x)) + 1

    model = probe.open_model(Net().eval())
    listed = model.layers[0]
    assert (listed.name, listed.kind, listed.checkable) == (
        "blind",
        "Blind",
        (),
    ) and "prim::PythonOp" in listed.why
    first, *rest = probe.sweep(model, V)
    assert (first.layer, first.kind, first.verdict) == ("blind", "Blind", "unchecked")
    assert (
        "TorchScript that cannot be checked node by node: it contains the node prim::PythonOp"
    ) in first.sentence
    assert first.outputs["framework"].shape == (8, 6)
    assert [one.layer for one in rest] == ["act", "/add"] and all(one.ok for one in rest)
    (alone,) = probe.sweep(script(Blind().eval()), V)
    assert alone.verdict == "unchecked" and "prim::PythonOp" in alone.sentence


def test_a_saved_file(block, tmp_path):
    script(block).save(tmp_path / "block.pt")
    with pytest.raises(NotTrusted, match="whose code runs"):
        probe.open_model(tmp_path / "block.pt")
    model = probe.open_model(tmp_path / "block.pt", trust=True)
    reports = list(probe.sweep(model, X))
    assert [one.layer for one in reports] == NAMES and all(one.ok for one in reports)
    data = (tmp_path / "block.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CannotOpen, match=r"cut\.pt"):
        probe.open_model(tmp_path / "cut.pt", trust=True)


def test_a_fault_in_a_compiled_module_is_seen(block):
    """Its running mean read for another's: what the eager module gives is held against it."""
    compiled = script(block)
    expected = block.norm(block.conv(torch.from_numpy(X))).detach().numpy()
    assert probe.check(compiled, "norm/batchnormalization", X, expected=expected).ok
    with torch.no_grad():
        compiled.norm.running_mean[1] += 0.1
    report = probe.check(compiled, "norm/batchnormalization", X, expected=expected)
    assert report.verdict == "diverge" and "yours is the odd one out" in report.sentence


class Encoder(nn.Module):
    """PyTorch fuses every layer at inference; with ``nested`` it packs samples of different
    lengths."""

    def __init__(self, nested=False, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **options)
        self.inside = nn.TransformerEncoder(
            layer, 2, norm=nn.LayerNorm(8), enable_nested_tensor=nested
        )

    def forward(self, x, mask: torch.Tensor | None = None, padding: torch.Tensor | None = None):
        return self.inside(x, mask=mask, src_key_padding_mask=padding)


class Attending(nn.Module):
    def __init__(self, mean, weights):
        super().__init__()
        self.inside, self.mean, self.weights = (
            nn.MultiheadAttention(8, 2, batch_first=True),
            mean,
            weights,
        )

    def forward(self, x, mask: torch.Tensor):
        return self.inside(
            x, x, x, attn_mask=mask, need_weights=self.weights, average_attn_weights=self.mean
        )


def _random(module):
    torch.manual_seed(0)
    with torch.no_grad():
        for one in module.parameters():
            one.normal_(std=0.4)
    return module.eval()


SEQUENCES = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(np.float32)
CAUSAL = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.arange(5) >= np.array([[5], [2], [4]])


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor is True",
    "ignore:The PyTorch API of nested tensors",
    "ignore:Converting mask",
)
@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"norm_first": True}, [SEQUENCES, CAUSAL]),
        pytest.param(
            {"activation": "gelu"}, [SEQUENCES, CAUSAL, PADDING], marks=pytest.mark.exhaustive
        ),
        pytest.param({}, [SEQUENCES], marks=pytest.mark.exhaustive),
        pytest.param(
            {"layer_norm_eps": 1e-3},
            [SEQUENCES, np.where(CAUSAL, np.float32(-np.inf), np.float32(0))],
            marks=pytest.mark.exhaustive,
        ),
        ({"nested": True}, [SEQUENCES, np.zeros((5, 5), bool), PADDING]),
    ],
)
def test_an_encoder_that_pytorch_fuses(options, given):
    module = _random(Encoder(**options))
    with torch.no_grad():
        compiled = torch.jit.script(module)
        reports = list(probe.sweep(compiled, given))
        plain = compiled(*map(torch.from_numpy, given))
    assert all(one.ok and not one.missing for one in reports), [one.sentence for one in reports]
    fused = [one for one in reports if one.layer.endswith("/encoderlayer")]
    assert [one.layer for one in fused] == [f"inside.layers.{at}/encoderlayer" for at in range(2)]
    assert {"self_attn.in_proj_weight", "linear1.weight", "norm2.bias"} <= set(fused[0].weights)
    np.testing.assert_array_equal(reports[-1].outputs["framework"], plain.numpy())
    assert (
        probe.check(
            compiled, fused[0].layer, given, expected=fused[0].outputs["numpy"] * 1.01, search=False
        ).verdict
        == "diverge"
    )


@pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor is True",
    "ignore:The PyTorch API of nested tensors",
    "ignore:Converting mask",
)
def test_samples_of_their_own_lengths_are_shown_with_zeros_behind():
    class Padded(Encoder):
        def forward(self, x, padding: torch.Tensor):
            return self.inside(x, src_key_padding_mask=padding)

    with torch.no_grad():
        reports = list(
            probe.sweep(script(_random(Padded(nested=True))), [SEQUENCES[1:], PADDING[1:]])
        )
    assert all(one.ok and not one.missing for one in reports), [one.sentence for one in reports]
    nested, first, *_, back, _ = reports[-5:]
    assert (nested.layer, back.layer) == ("inside/nested", "inside/pad")
    assert (
        first.outputs["framework"].shape == (2, 4, 8)
        and not first.outputs["framework"][0, 2:].any()
    )
    assert back.outputs["framework"].shape == (2, 5, 8)


@pytest.mark.parametrize(("mean", "weights"), [(True, True), (False, True), (True, False)])
def test_an_attention_that_pytorch_fuses(mean, weights):
    module = _random(Attending(mean, weights))
    with torch.no_grad():
        reports = list(probe.sweep(torch.jit.script(module), [SEQUENCES, CAUSAL]))
    assert reports[-1].layer == "inside/attention" and all(
        one.ok and not one.missing for one in reports
    ), [one.sentence for one in reports]
    with torch.no_grad():
        output, shares = module(torch.from_numpy(SEQUENCES), torch.from_numpy(CAUSAL))
    found = reports[-1].outputs["numpy"]
    np.testing.assert_allclose(found[0] if weights else found, output.numpy(), rtol=1e-4, atol=1e-5)
    if weights:
        np.testing.assert_allclose(found[1], shares.numpy(), rtol=1e-4, atol=1e-6)


def test_code_that_asks_for_the_dtype():
    class Asking(nn.Module):
        def forward(self, x):
            return x * 2 if x.dtype == torch.float32 else x + 1

    (only,) = probe.sweep(script(Asking()), V)
    assert only.layer == "/mul" and only.ok
