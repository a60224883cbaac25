"""Watching a PyTorch module: what is listed and captured, what is read as a weight, and that
nothing is left behind."""

import contextlib
import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import probe
from probe.errors import BadInput, ForwardFailed, NotReached, UnknownLayer

X = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(np.float32)


class Block(nn.Module):
    """Convolution and attention, an in-place activation that is called twice, a function between,
    two results."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.again = self.act
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.never = nn.Linear(2, 2)
        self.own = nn.ModuleDict({"scale": Scale()})

    def forward(self, x, *, power=1):
        y = self.act(self.conv(input=x))
        z = self.again(self.own["scale"](y - 0.5))
        tokens = z.flatten(2).transpose(1, 2)
        return {"y": y, "rest": (self.attention(tokens, tokens, tokens)[0], power)}


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        self.seen = x
        return x * self.factor


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block().eval()


def captured(model, wanted=None, x=X):
    calls = []
    model.run([x], wanted, calls.append)
    return calls


def test_the_listing(block):
    layers = {layer.name: layer for layer in probe.open_model(block).layers}
    assert list(layers) == ["conv", "act", "attention", "never", "own.scale"]
    assert layers["conv"].checkable == ("numpy", "onnx") and layers["conv"].parameters == 112
    assert layers["attention"].checkable and not layers["own.scale"].checkable
    assert (
        "Scale has a custom forward: the modules and functions that it calls are checked "
        "individually"
    ) in layers["own.scale"].why


def test_every_module_has_a_name(block):
    model = probe.open_model(block)
    inner = [
        "",
        "conv",
        "act",
        "again",
        "attention",
        "attention.out_proj",
        "never",
        "own",
        "own.scale",
    ]
    assert list(model.names()) == inner
    with pytest.raises(UnknownLayer, match="did you mean 'conv'"):
        probe.check(model, "conf", X)


def test_calls_in_order_with_their_number_and_copies(block):
    calls = captured(probe.open_model(block), {"conv", "act", "own.scale", "attention"})
    assert [(one.layer, one.call) for one in calls] == [
        ("conv", 0),
        ("act", 0),
        ("own.scale", 0),
        ("act", 1),
        ("attention", 0),
    ]
    conv, first, scale, second, attention = calls
    assert (conv.outputs[0] < 0).any() and np.array_equal(first.inputs[0], conv.outputs[0]), (
        "overwritten by the in-place ReLU"
    )
    assert (second.inputs[0] < 0).any() and np.array_equal(
        second.outputs[0], np.maximum(second.inputs[0], 0)
    )
    assert len(attention.inputs) == 3 and [one.shape for one in attention.outputs] == [
        (2, 30, 4),
        (2, 30, 30),
    ]
    assert (
        conv.inputs[0].base is None
        and np.array_equal(conv.inputs[0], X)
        and conv.dtype == "float32"
    )
    assert scale.description is None and "Scale has a custom forward" in scale.why


def test_containers_aliases_and_layers_out_of_reach(block):
    model = probe.open_model(block)
    (root,) = captured(model, {""})
    assert (
        root.why == "Block is a container: its layers are checked individually"
        and len(root.outputs) == 2
    )
    assert [(one.layer, one.call) for one in captured(model, {"again"})] == [
        ("again", 0),
        ("again", 1),
    ]
    assert probe.check(model, "act", X, call=1).ok and probe.check(model, "act", X).ok
    with pytest.raises(NotReached, match="'never'"):
        probe.check(model, "never", X)


def test_sweep(block):
    assert [(one.layer, one.call, one.verdict) for one in probe.sweep(block, X)] == [
        ("conv", 0, "agree"),
        ("act", 0, "agree"),
        ("/sub", 0, "agree"),
        ("own.scale/mul", 0, "agree"),
        ("act", 1, "agree"),
        ("/reshape", 0, "agree"),
        ("/transpose", 0, "agree"),
        ("attention", 0, "agree"),
    ]


def test_replaced_outputs_flow_on(net):
    seen = {}

    def replace(call):
        seen[call.layer] = call
        return [np.full_like(call.outputs[0], -3.0)] if call.layer == "conv" else None

    probe.open_model(net).run([X], None, replace)
    assert (seen["bn"].inputs[0] == -3).all() and not np.array_equal(
        seen["conv"].outputs[0], seen["bn"].inputs[0]
    )


def snapshot(module):
    state = {name: value.clone() for name, value in module.state_dict().items()}
    attributes = {name: dict(vars(one)) for name, one in module.named_modules()}
    hooks = [(len(one._forward_hooks), len(one._forward_pre_hooks)) for one in module.modules()]
    return state, attributes, hooks


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(block, fails):
    module = nn.Sequential(
        nn.BatchNorm2d(3), nn.Dropout(), block, nn.Flatten() if fails else nn.Identity()
    ).train()
    parametrizations.spectral_norm(block.conv)
    module[0].running_mean[0] = float("nan")
    random = torch.get_rng_state()
    state, attributes, hooks = snapshot(module)
    model = probe.open_model(module)
    with pytest.raises(ForwardFailed, match="layer '3'") if fails else contextlib.nullcontext():
        captured(model)
    after = snapshot(module)
    assert all(
        value.numpy(force=True).tobytes() == after[0][name].numpy(force=True).tobytes()
        for name, value in state.items()
    )
    assert (
        attributes == after[1] and hooks == after[2] and torch.equal(random, torch.get_rng_state())
    )
    assert not parametrize._cache and not parametrize._cache_enabled


class Collecting(nn.Module):
    """Registers a hook in its first call, and notes that it has, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.linear, self.found = nn.Linear(3, 3), []

    def forward(self, x):
        if not getattr(self, "ready", False):
            self.linear.register_forward_hook(lambda module, args, y: self.found.append(y))
            self.ready = True
        self.found.clear()
        self.linear(x)
        return torch.cat(self.found, -1)


def test_hooks_that_a_pass_registers_are_not_there_twice():
    module, x = Collecting().eval(), np.ones((2, 3), np.float32)
    for _ in range(2):
        assert probe.check(module, "", x).outputs["framework"].shape == (2, 3)
    assert not module.linear._forward_hooks and not hasattr(module, "ready")


def test_a_backward_pass_survives_probing(net):
    loss = net(torch.from_numpy(X)).sum()
    probe.check(net, "bn", X)
    loss.backward()


def test_errors_of_the_callback_are_its_own(net):
    with pytest.raises(ZeroDivisionError):
        probe.open_model(net).run([X], None, lambda call: 1 / 0)


def test_training_mode_is_kept_and_said(net):
    net.train()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    calls = {one.layer: one for one in captured(probe.open_model(net))}
    assert calls["bn"].training and not calls["bn"].why and calls["conv"].description is not None
    report = probe.check(net, "bn", X)
    assert (
        report.ok
        and len(report.outputs) == 3
        and not np.allclose(
            report.outputs["numpy"], probe.check(net.eval(), "bn", X).outputs["numpy"]
        )
    )
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert "drops elements at random" in probe.check(nn.Dropout(0.2), "", given=X).missing["numpy"]
    assert probe.check(nn.Dropout(0.0), "", given=X).ok


def test_compiled_modules_are_watched_inside(net):
    model = probe.open_model(
        torch.compile(
            nn.Sequential(torch.compile(net, backend="eager"), nn.Tanh()), backend="eager"
        )
    )
    assert [layer.name for layer in model.layers] == [
        "0.conv",
        "0.bn",
        "0.act",
        "1",
    ]
    assert "the module was compiled with torch.compile; it runs uncompiled here" in model.notes
    model.module(torch.from_numpy(X))
    assert [one.verdict for one in probe.sweep(model, X)] == ["agree"] * 4
    net.compile(backend="eager")
    net(torch.from_numpy(X))
    assert len(captured(probe.open_model(net))) == 3


def _doubled(module, args, output):
    return output * 2


def _doubled_in_place(module, args, output):
    output *= 2


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("hook", [_doubled, _doubled_in_place])
def test_an_output_that_the_users_hook_changes_is_not_the_layers(net, hook):
    net.conv.register_forward_hook(hook)
    for yours in (None, net.conv(torch.from_numpy(X)).detach().numpy()):
        report = probe.check(net, "conv", X, expected=yours)
        assert report.verdict == "unchecked", report.sentence
        assert (
            f"a user-registered forward hook ({hook.__name__}) changes" in report.missing["numpy"]
        )
        assert any(
            f"forward hook, {hook.__name__}, which runs after" in one for one in report.notes
        )
    assert not probe.check(net, "conv", X, expected=yours / 2, search=False).ok
    assert [one.verdict for one in probe.sweep(net, X)][1:] == ["agree"] * 2


@pytest.mark.parametrize("change", [lambda y: None, lambda y: y, torch.clone])
def test_a_hook_that_leaves_the_output_as_it_is(net, change):
    net.conv.register_forward_hook(lambda module, args, output: change(output))
    odd = X.copy()
    odd[0, 0, 0, 0] = np.nan
    assert [probe.check(net, "conv", x).verdict for x in (X, odd)] == ["agree"] * 2


class Tied(nn.Module):
    """What the embedding scales, the head reads."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(7, 4, max_norm=1.0), nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


def test_a_weight_that_another_layer_writes_to():
    torch.manual_seed(0)
    model = Tied().eval()
    before = model.table.weight.detach().clone()
    for name in ("table", "head", ""):
        assert probe.check(model, name, np.array([[1, 2, 3]])).verdict == "agree", name
    assert torch.equal(model.table.weight, before)


class Counted(nn.Module):
    """Its own counter is an operand, before and after it is counted up."""

    def __init__(self):
        super().__init__()
        self.layer, self.table = nn.Linear(3, 3), nn.Embedding(7, 3, max_norm=0.5)
        self.register_buffer("count", torch.ones(()))

    def forward(self, ids):
        x = self.layer(self.table(ids)) * self.count
        self.count += 1
        return (x * self.count) @ self.table.weight.T


def test_a_buffer_that_the_pass_counts_up():
    torch.manual_seed(0)
    model, ids = Counted().eval(), np.array([[1, 2, 6]])
    for _ in range(5):  # the calls are judged while the pass goes on
        assert [one.verdict for one in probe.sweep(model, ids)] == ["agree"] * 5
    assert probe.check(model, "", ids).verdict == "agree"
    assert float(model.count) == 1


class Doubled(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Flipped(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.flip(-1), bias)


class Renamed(nn.Conv2d):
    pass


def test_a_class_with_its_own_arithmetic_is_not_taken_for_its_base():
    doubled = Doubled(3, 4, 3)
    report = probe.check(doubled, "", given=X)
    assert report.ok and report.calls == ("conv", "mul", "mul"), "what it calls"
    base = nn.functional.conv2d(torch.from_numpy(X), doubled.weight, doubled.bias).detach().numpy()
    np.testing.assert_allclose(report.outputs["numpy"], 2 * base, atol=1e-5)
    report = probe.check(Flipped(3, 4, 3), "", given=X)
    assert report.verdict == "unchecked"
    assert "Flipped overrides _conv_forward" in report.missing["numpy"]


@pytest.mark.costly
def test_overrides_on_the_instance_and_in_the_class(monkeypatch):
    assert probe.check(Renamed(3, 4, 3), "", given=X).ok
    module = nn.Conv2d(3, 4, 3)
    module.forward = lambda x: x
    assert np.array_equal(probe.check(module, "", given=X).outputs["numpy"], X)
    module.forward = lambda x: torch.from_numpy(x.numpy() * 2)
    report = probe.check(module, "", given=X)
    assert "came from no captured call" in report.missing["numpy"]
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x)
    assert (
        "forward of torch.nn.ReLU has been replaced by a function of"
        in probe.check(nn.ReLU(), "", given=X).missing["numpy"]
    )


def test_options_without_a_description_say_so():
    for module, said in [
        (nn.ReplicationPad2d((-1, 0, 0, 0)), "negative edge padding"),
        (nn.Dropout().train(), "in training mode it drops elements at random"),
    ]:
        (report,) = probe.sweep(module, X)
        assert report.verdict == "unchecked" and said in report.missing["numpy"]


def reparametrised(how):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    if how == "prune":
        prune.l1_unstructured(conv, "weight", 0.5)
    elif how.startswith("old "):
        with pytest.warns(FutureWarning):
            getattr(nn.utils, how[4:])(conv)
    else:
        getattr(parametrizations, how)(conv)
    return conv


@pytest.mark.parametrize(
    ("how", "parts", "words"),
    [
        (
            "weight_norm",
            ["parametrizations.weight.original0", "parametrizations.weight.original1"],
            "WeightNorm at each access",
        ),
        (
            "spectral_norm",
            [
                "parametrizations.weight.original",
                "parametrizations.weight.0._u",
                "parametrizations.weight.0._v",
            ],
            "SpectralNorm",
        ),
        (
            "orthogonal",
            ["parametrizations.weight.original", "parametrizations.weight.0.base"],
            "Orthogonal",
        ),
        ("old weight_norm", ["weight_g", "weight_v"], "WeightNorm before each call"),
        ("prune", ["weight_orig", "weight_mask"], "L1Unstructured before each call"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_reparametrised_weights_are_what_the_call_used(how, parts, words, training):
    report = probe.check(reparametrised(how).train(training), "", given=X)
    weight = report.weights["weight"]
    assert report.ok, str(report)
    assert (
        weight.stored is None and sorted(weight.parts) == sorted(parts) and words in weight.steps[0]
    )
    assert report.weights["bias"].stored is not None


@pytest.mark.parametrize(
    ("numpy_dtype", "dtype"),
    [
        (np.float64, "float64"),
        (np.float16, "float16"),
        (np.float32, "bfloat16"),
        (np.float32, "float16"),
    ],
)
@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(3, 4, 3),
        nn.Linear(5, 7),
        nn.BatchNorm2d(3),
        nn.LayerNorm(5),
        nn.GELU(),
        nn.AvgPool2d(2),
    ],
    ids=repr,
)
def test_precisions_flow_through(module, numpy_dtype, dtype):
    inner = nn.Sequential(copy.deepcopy(module), nn.PReLU()).to(getattr(torch, dtype)).eval()
    report = probe.check(inner, "0", X.astype(numpy_dtype))
    assert report.ok, str(report)
    (call,) = captured(probe.open_model(inner), {"0"}, X.astype(numpy_dtype))
    assert call.dtype == dtype and call.outputs[0].dtype == (
        np.float32 if dtype == "bfloat16" else dtype
    )


def test_several_tensors_are_not_taken_for_one():
    (call,) = captured(probe.open_model(Pair()), {"same"})
    assert len(call.inputs) == len(call.outputs) == 2 and call.why == (
        "it was called with 2 tensors; one was expected"
    )


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.same = nn.Identity()

    def forward(self, x):
        return self.same((x, 2 * x))


def test_autocast_is_not_taken_for_float32(net):
    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.net(x)

    report = probe.check(Cast(), "net.conv", X)
    assert report.ok and report.dtype == "bfloat16"
    exact = probe.check(net, "conv", X).outputs["framework"]
    assert not np.array_equal(report.outputs["framework"], exact)
    assert probe.check(Cast(), "net.conv", X, expected=exact + 0.5).verdict == "diverge"


class Fused(nn.Module):
    def forward(self, *inputs):
        return nn.functional.scaled_dot_product_attention(*inputs)


@pytest.mark.parametrize(
    ("kernels", "made", "name", "shapes", "claim"),
    [
        (
            "matmul",
            lambda: nn.Linear(128, 64),
            "",
            [(16, 128)],
            "inputs and weights are rounded to bfloat16",
        ),
        (
            "conv",
            lambda: nn.Conv2d(3, 8, 3),
            "",
            [(1, 3, 12, 12)],
            "inputs and weights are rounded to bfloat16",
        ),
        (
            "matmul",
            lambda: nn.MultiheadAttention(72, 4, batch_first=True),
            "",
            [(2, 20, 72)] * 3,
            "the operands of every product are rounded to bfloat16",
        ),
        (
            "matmul",
            Fused,
            "/attention",
            [(2, 3, 20, 24)] * 3,
            "the operands of every product are rounded to bfloat16",
        ),
    ],
    ids=["Linear", "Conv2d", "MultiheadAttention", "scaled_dot_product_attention"],
)
def test_float32_that_pytorch_computes_in_bfloat16_is_named(kernels, made, name, shapes, claim):
    """What is asked for here, CPUs without such instructions do not do: there all agree."""
    setting, rng = getattr(torch.backends.mkldnn, kernels), np.random.default_rng(0)
    given, before = (
        [rng.normal(size=shape).astype(np.float32) for shape in shapes],
        setting.fp32_precision,
    )
    tensors = list(map(torch.from_numpy, given))
    torch.manual_seed(0)
    layer = made().eval()

    def output(module, inputs):
        with torch.no_grad():
            outputs = module(*inputs)
        return outputs[0] if isinstance(outputs, tuple) else outputs

    setting.fp32_precision = "bf16"
    try:
        off = (
            (
                output(layer, tensors)
                - output(copy.deepcopy(layer).double(), [x.double() for x in tensors])
            )
            .abs()
            .max()
        )
        report = probe.check(layer, name, given)
    finally:
        setting.fp32_precision = before
    if off < 1e-5:
        assert report.ok, report
        return
    assert "the framework is the odd one out" in report.sentence
    assert report.findings, report
    for finding in report.findings:
        assert finding.slug == "reduced-precision" and claim in finding.claim, report
        assert "torch.backends.mkldnn.conv.fp32_precision" in finding.do


@pytest.mark.parametrize(
    ("module", "shape", "said"),
    [
        (
            nn.Conv1d(3, 4, 2),
            (32, 100),
            r"Conv1d expects \(batch, channels, length\) with 3 channels; you gave \(32, 100\): "
            r"add a channel axis, x\[:, None, :\]",
        ),
        (nn.Conv1d(1, 4, 2), (32, 100), r"add a channel axis, x\[:, None, :\]$"),
        (
            nn.Conv1d(1, 4, 2),
            (100,),
            (
                r"you gave \(100,\): add a batch and a channel axis, "
                r"x\[None, None, :\]$"
            ),
        ),
        (nn.Conv2d(3, 4, 2), (2, 6, 5, 3), r"np.moveaxis\(x, -1, 1\)"),
        (nn.Conv2d(3, 4, 2), (6, 5, 3), r"np.moveaxis\(x, -1, 0\)\[None\]"),
        (nn.BatchNorm2d(3), (3, 6, 5), r"x\[None\] \(for a random input: --shape 1,3,6,5\)$"),
        (
            nn.Linear(30, 4),
            (2, 6, 5),
            (
                r"Linear expects \(..., features\) with 30 features; you "
                r"gave \(2, 6, 5\): flatten it"
            ),
        ),
        (nn.Linear(30, 4), (2, 31), r"axis 1 must have size 30"),
        (
            nn.GroupNorm(2, 4),
            (2, 3, 5),
            r"GroupNorm expects .* with 4 channels.*: axis 1 must have",
        ),
        (nn.LSTM(4, 3), (2, 31, 5), r"LSTM expects \(..., features\) with 4 features"),
        (
            nn.Sequential(nn.Conv2d(3, 4, 2)),
            (2, 1, 4, 4),
            r"axis 1 must have size 3 \(first seen in layer '0' \(Conv2d\)\)",
        ),
    ],
)
def test_a_wrong_shape_is_one_sentence_with_the_way_out(module, shape, said):
    with pytest.raises(BadInput, match=said) as caught:
        probe.open_model(module).run([np.zeros(shape, np.float32)], (), lambda call: None)
    assert "\n" not in str(caught.value)


def test_a_missing_batch_axis_that_shows_in_a_later_layer_is_told():
    net = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4))  # a convolution takes one sample too
    said = (
        r"'1' \(BatchNorm2d\), called on \(4, 5, 7\): the model's input \(3, 6, 8\) is \(channels, "
        r"height, width\) without a batch axis: add one, x\[None\] \(for a random input: --shape "
        r"1,3,6,8\)$"
    )
    with pytest.raises(ForwardFailed, match=said):
        probe.open_model(net).run([np.zeros((3, 6, 8), np.float32)], (), lambda call: None)
    flat = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(1), nn.Linear(8 * 8 * 8, 2))
    with pytest.raises(ForwardFailed, match=r"--shape 1,3,8,8\)$"):
        probe.check(flat, "2", shape=(3, 8, 8))
    square = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
    with pytest.raises(ForwardFailed, match=r"--shape 1,3,8,8\)$"):
        probe.check(square, "1", shape=(3, 8, 8))


def test_a_failing_forward_is_one_sentence():
    deep = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(7, 2)))
    with pytest.raises(
        ForwardFailed,
        match=(
            r"layer '0.2' \(Linear\), called on \(2, 48\): Linear "
            r"expects \(..., features\) with 7"
        ),
    ):
        captured(probe.open_model(deep))
    with pytest.raises(
        ForwardFailed,
        match=(
            r"the module itself \(Conv2d\), called on \(3, 1, "
            r"1\): RuntimeError: "
        ),
    ):
        captured(probe.open_model(nn.Conv2d(3, 4, 3)), x=np.zeros((3, 1, 1), np.float32))
    with pytest.raises(BadInput, match="you gave 2 inputs"):
        probe.open_model(deep).run([X, X], None, lambda call: None)
    with pytest.raises(BadInput, match="call it once on an input first"):
        captured(probe.open_model(nn.LazyConv2d(4, 3)))
    with pytest.raises(BadInput, match="takes numbers"):
        probe.open_model(deep).run([np.array(["a"])], None, lambda call: None)


def test_the_first_layer_says_what_it_expects(net):
    assert probe.open_model(net).input_hint == (
        "its first layer conv (Conv2d) expects (batch, 3, height, width)"
    )
    assert probe.open_model(nn.Linear(4, 2)).input_hint == (
        "its first layer (Linear) expects (batch, 4)"
    )
    with pytest.raises(BadInput, match="its first layer conv"):
        probe.check(net, "conv")


def test_the_users_array_is_left_alone():
    x = X.copy()
    x.flags.writeable = False
    captured(probe.open_model(nn.ReLU(inplace=True)), x=x)
    assert np.array_equal(x, X)


class _Counting(torch.nn.Module):
    """Adds to its buffer at each call."""

    def __init__(self, buffer):
        super().__init__()
        self.register_buffer("total", buffer)

    def forward(self, x):
        self.total.add_(torch.ones((), dtype=self.total.dtype))
        return torch.relu(x)


@pytest.mark.parametrize(
    "dtype",
    ["float16", "bfloat16", "float32", "float64", "uint8", "int64", "complex64", "complex128"],
)
@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_a_buffer_of_any_type_is_put_back_bit_for_bit(dtype, shape):
    buffer = torch.zeros(shape, dtype=getattr(torch, dtype))
    if dtype.startswith(("float", "bfloat")):
        buffer = -buffer
    before, model = buffer.clone(), _Counting(buffer)
    list(probe.sweep(model, np.ones((1, 4), np.float32)))
    assert model.total is buffer and buffer.dtype == before.dtype
    assert torch.equal(buffer.reshape(-1).view(torch.uint8), before.reshape(-1).view(torch.uint8))


class Without(nn.Module):
    """Modules that take no tensor, and one that gives none either."""

    def __init__(self):
        super().__init__()
        self.table = Table()
        self.count = Count()

    def forward(self, x):
        return x + self.table() * self.count()


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows = nn.Parameter(torch.ones(5, dtype=torch.float64))

    def forward(self):
        return self.rows * 2


class Count(nn.Module):
    def forward(self):
        return 3


def test_the_dtype_of_what_takes_no_tensor():
    calls = {
        call.layer: call.dtype
        for call in captured(probe.open_model(Without().eval()), ["table", "count"])
    }
    assert calls == {"table": "float64", "count": ""}


class Again(nn.Module):
    """A module that calls itself."""

    def __init__(self):
        super().__init__()
        self.inner = Twice()

    def forward(self, x):
        return self.inner(x)


class Twice(nn.Module):
    def forward(self, x, more=True):
        return self(x * 2, False) if more else x + 1


def test_a_module_that_calls_itself_has_the_inputs_of_each_call():
    inner, outer = captured(probe.open_model(Again().eval()), ["inner"])
    np.testing.assert_array_equal(inner.inputs[0], 2 * X)
    np.testing.assert_array_equal(outer.inputs[0], X)


class Warns(nn.Module):
    def __init__(self):
        super().__init__()
        # PyTorch warns that it may have to pad the input itself.
        self.conv = nn.Conv1d(5, 7, 4, padding="same")

    def forward(self, x):
        warnings.warn("of the user's own", stacklevel=1)
        return self.conv(x)


def test_of_warnings_those_of_pytorchs_functions_are_kept_from_the_user():
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with pytest.warns(UserWarning) as caught:
            report = probe.check(Warns().eval(), "conv", np.ones((2, 5, 13), np.float32))
    finally:
        torch.set_warn_always(before)
    assert report.verdict == "agree"
    assert {str(one.message) for one in caught} == {"of the user's own"}


def test_what_has_no_description_can_be_exported_alone_and_nothing_else():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout()).train()
    calls = []
    probe.open_model(net).run((np.ones((2, 3), np.float32),), None, calls.append)
    assert {call.layer: (call.description is None, call.alone is not None) for call in calls} == {
        "0": (False, False),
        "1": (True, True),
    }
