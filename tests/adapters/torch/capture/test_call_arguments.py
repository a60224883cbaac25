"""Arguments of a module's call as people have them: by name, left out, and such as are no
tensors."""

import numpy as np
import pytest
import torch

import probe
from probe.errors import BadInput
from probe.model import CallArguments, Slot


class Block(torch.nn.Module):
    """As a block of a transformer takes its arguments."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 5)

    def forward(self, x, scale=None, *, shift=None, mode="plain", times=1):
        y = self.fc(x) if scale is None else self.fc(x) * scale
        y = y if shift is None else y + shift
        return torch.relu(y) * times if mode == "relu" else y * times


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block().eval()


X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
SCALE = np.linspace(0.5, 2, 5, dtype=np.float32)


def called(block, *args, **kwargs):
    with torch.no_grad():
        return block(*args, **kwargs).numpy()


@pytest.mark.parametrize(
    ("given", "args", "kwargs", "layers"),
    [
        ({"x": X}, (X,), {}, ["fc", "/mul"]),
        ({"x": X, "scale": None}, (X,), {}, ["fc", "/mul"]),
        ({"scale": SCALE, "x": X}, (X, SCALE), {}, ["fc", "/mul", "/mul:1"]),
        ({"x": X, "scale": 2.0}, (X, 2.0), {}, ["fc", "/mul", "/mul:1"]),
        ({"x": X, "shift": SCALE}, (X,), {"shift": SCALE}, ["fc", "/add", "/mul"]),
        (
            {"x": X, "mode": "relu", "times": 3},
            (X,),
            {"mode": "relu", "times": 3},
            ["fc", "/relu", "/mul"],
        ),
        ([X, None], (X, None), {}, ["fc", "/mul"]),
        ([X, SCALE], (X, SCALE), {}, ["fc", "/mul", "/mul:1"]),
    ],
)
def test_a_module_is_called_as_the_arguments_say(block, given, args, kwargs, layers):
    def tensors(one):
        return torch.from_numpy(one) if isinstance(one, np.ndarray) else one

    right = called(block, *map(tensors, args), **{key: tensors(v) for key, v in kwargs.items()})
    reports = list(probe.sweep(block, given))
    assert [report.layer for report in reports] == layers
    assert all(report.ok for report in reports)
    assert np.array_equal(reports[-1].outputs["framework"], right)
    assert probe.check(block, layers[-1], given, expected=right).ok
    assert probe.check(block, layers[-1], given, expected=right + 1).verdict == "diverge"
    assert probe.explain(block, "fc", given, at=(0, 0)).verdict == "agree"


def test_the_report_says_how_it_was_called(block):
    told = str(probe.check(block, "fc", {"x": X, "mode": "relu", "scale": None}))
    assert "given by name (x), with mode='relu', scale=None" in " ".join(told.split())


def test_arguments_beside_a_drawn_input(block):
    report = probe.check(block, "/relu", {"mode": "relu"}, shape=(3, 6))
    assert report.ok and report.how.startswith("random, seed 0, shape (3, 6), with mode='relu'")
    assert probe.check(block, "/mul:1", {"scale": 2.0}, shape=(3, 6)).ok


def test_a_tuple_of_tensors_and_one_of_numbers():
    class Rotated(torch.nn.Module):
        def forward(self, x, pair, order=(0, 1)):
            return (x * pair[0] + pair[1]).permute(order)

    given = {"x": X, "pair": (X, SCALE[:1]), "order": (1, 0)}
    reports = list(probe.sweep(Rotated(), given))
    assert [one.kind.rpartition(".")[2] for one in reports] == ["mul", "add", "permute"]
    assert all(one.ok for one in reports)
    assert np.array_equal(reports[-1].outputs["framework"], (X * X + SCALE[0]).T)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"x": X, "scal": SCALE}, "has no parameter 'scal'; did you mean 'scale'?"),
        ({"y": X, "z": X}, "has no parameter 'y', 'z'; it takes x, scale, shift, mode, times"),
        ({"scale": SCALE}, "missing a required argument: 'x'"),
        ([X, None, X], "too many positional arguments"),
        ({"x": X, "scale": object()}, "or mapping of these; you gave an object"),
        ({"x": X, "scale": torch.float32}, "or mapping of these; you gave a dtype"),
        ({"x": X, "mode": np.array("relu")}, "an input must hold real numbers"),
    ],
)
def test_what_the_call_does_not_take_is_refused(block, given, words):
    with pytest.raises(BadInput, match=words.replace("?", r"\?")):
        probe.check(block, "fc", given)


def test_names_that_go_on_as_keywords_are_named():
    class Wrapper(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *args, **kwargs):
            return self.inner(*args, **kwargs)

    torch.manual_seed(0)
    report = probe.check(Wrapper(Block().eval()), "inner.fc", {"x": X, "times": 2})
    assert report.ok
    assert any("go into **kwargs" in note and "'x', 'times'" in note for note in report.notes)


def test_a_layer_alone_takes_its_arguments_by_name(block):
    net = torch.nn.Sequential(torch.nn.Linear(6, 6), block)
    own = called(block, torch.from_numpy(X), torch.from_numpy(SCALE))
    found = []
    model = probe.open_model(net)
    report = probe.check(model, "1.fc", given={"input": X})
    assert report.ok and np.array_equal(
        report.outputs["framework"], called(block.fc, torch.from_numpy(X))
    )
    attention = torch.nn.MultiheadAttention(6, 2, batch_first=True).eval()
    x = X.reshape(2, 2, 6)
    by_name = {"query": x, "key": x, "value": x, "need_weights": False}
    report = probe.check(attention, "", given=by_name)
    assert report.ok and len(report.outputs) == 3
    assert not found and own.shape == (4, 5)
    with pytest.raises(BadInput, match="no parameter 'queri'; did you mean 'query'"):
        probe.check(attention, "", given={**by_name, "queri": x})


def test_arrays_of_names_that_say_nothing_are_a_layer_s_own_inputs_in_order():
    bilinear = torch.nn.Bilinear(6, 6, 2).eval()
    report = probe.check(bilinear, "", given={"arr_0": X, "arr_1": 2 * X})
    assert report.ok
    with torch.no_grad():
        right = bilinear(torch.from_numpy(X), torch.from_numpy(2 * X)).numpy()
    assert np.array_equal(report.outputs["framework"], right)


def test_an_exported_program_takes_arrays_by_name():
    class Two(torch.nn.Module):
        def forward(self, left, right):
            return left - 2 * right

    program = torch.export.export(Two(), (torch.from_numpy(X), torch.from_numpy(X)))
    last = probe.open_model(program).layers[-1].name
    report = probe.check(program, last, {"right": 3 * X, "left": X})
    assert report.ok and np.allclose(report.outputs["framework"], X - 6 * X)
    with pytest.raises(BadInput, match="inputs are named left, right; you gave left, wrong"):
        probe.check(program, last, {"left": X, "wrong": X})
    with pytest.raises(BadInput, match="an exported program takes arrays alone"):
        probe.check(program, last, {"left": X, "right": None})


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
def test_torchscript_takes_arrays_by_name():
    class Two(torch.nn.Module):
        def forward(self, left, right):
            return left - 2 * right

    script = torch.jit.script(Two())
    reports = list(probe.sweep(script, {"right": 3 * X, "left": X}))
    assert all(one.ok for one in reports)
    assert np.allclose(reports[-1].outputs["framework"], X - 6 * X)
    with pytest.raises(BadInput, match="no parameter 'rigt'; did you mean 'right'"):
        list(probe.sweep(script, {"rigt": 3 * X, "left": X}))


def test_a_tokenizers_batch_encoding():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    model = transformers.BertModel(config).eval()
    ids = np.array([[2, 7, 9, 3], [2, 5, 3, 0]])
    batch = transformers.BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0) * 1})
    name = "encoder.layer.0.attention.self.query"
    report = probe.check(model, name, batch)
    assert report.ok
    with torch.no_grad():
        hidden = model.embeddings(torch.from_numpy(ids)).numpy()
    assert np.allclose(report.inputs[0], hidden, atol=1e-6)
    tensors = transformers.BatchEncoding(dict(batch), tensor_type="pt")
    assert probe.check(model, name, {**tensors, "return_dict": False}).ok


def test_the_command_takes_arrays_by_name_and_other_arguments(probe, tmp_path, block):
    torch.save(block.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path.parent)!r})\nfrom {__name__} import Block\n"
    )
    model = (tmp_path / "net.pt", "--factory", f"{tmp_path / 'net.py'}:Block")
    np.savez(tmp_path / "x.npz", x=X, scale=SCALE)
    np.save(tmp_path / "x.npy", X)
    options = ("--arg", "mode='relu'", "--arg", "times=3")
    right = np.maximum(called(block.fc, torch.from_numpy(X)) * SCALE, 0) * 3
    np.save(tmp_path / "mine.npy", right)
    mine = ("--layer", "/mul:1", "--expect", tmp_path / "mine.npy")
    status, out, err = probe(*model, "--input", tmp_path / "x.npz", *options, *mine)
    assert (status, err) == (0, ""), out + err
    assert "given by name (x, scale), with mode='relu', times=3" in " ".join(out.split())
    status, out, err = probe(*model, "--input", tmp_path / "x.npy", *options, "--all")
    assert (status, err) == (0, "") and "/relu" in out
    status, out, err = probe(*model, "--shape", "2,6", "--arg", "scale=2.0", "--all", "--strict")
    assert (status, err) == (0, "") and "3 agree" in out
    for option, words in (
        ("mode", "is not NAME=VALUE"),
        ("mode=relu", "is not a Python literal"),
        ("mode=open()", "is not a Python literal"),
        ("times=3", "times is given twice"),
    ):
        status, out, err = probe(*model, *("--arg", "times=3"), "--arg", option, "--all")
        assert (status, out) == (2, "") and words in err and err.count("\n") == 1
    status, out, err = probe(*model, "--input", tmp_path / "x.npz", "--arg", "scale=1.0", "--all")
    assert (status, out) == (2, "") and "scale is given twice" in err


class Every(torch.nn.Module):
    """A parameter of each kind."""

    def forward(self, a, /, b, *rest, c=1.0, **more):
        y = a - b * c
        for one in (*rest, *(more[key] for key in sorted(more))):
            y = y * 2 + one
        return y


@pytest.mark.parametrize(
    ("given", "args", "kwargs"),
    [
        ([X, 2 * X], (X, 2 * X), {}),
        ([X, 2 * X, X], (X, 2 * X, X), {}),
        ([X, 3.0, X, 0.5], (X, 3.0, X, 0.5), {}),
        ({"a": X, "b": 2 * X}, (X, 2 * X), {}),
        ({"b": 2 * X, "c": 0.5, "a": X}, (X, 2 * X), {"c": 0.5}),
        ({"a": X, "b": 2.0, "z": X, "y": 3 * X}, (X, 2.0), {"y": 3 * X, "z": X}),
    ],
)
def test_parameters_of_every_kind(given, args, kwargs):
    def tensors(one):
        return torch.from_numpy(one) if isinstance(one, np.ndarray) else one

    right = Every()(*map(tensors, args), **{key: tensors(one) for key, one in kwargs.items()})
    *_, last = reports = list(probe.sweep(Every(), given))
    assert all(one.ok for one in reports)
    assert np.array_equal(last.outputs["framework"], right.numpy())


def test_a_literal_takes_a_place_and_the_arrays_the_others():
    model = probe.open_model(Every())
    arguments, found = CallArguments((Slot(0),), {"a": 4.0}), []
    model.called_with(arguments).run([X], None, found.append)
    assert np.array_equal(found[-1].outputs[0], 4 - X)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
def test_the_names_of_the_arrays_of_a_call():
    model = probe.open_model(Every())
    in_order = model.argument_names()
    assert in_order[:2] == ("a", "b") and model.output_names() == ()
    named = CallArguments((Slot(1),), {"y": Slot(0), "c": 0.5})
    assert model.called_with(named).argument_names() == ("y", "a")
    nested = CallArguments((Slot(0), [Slot(1), Slot(2)]), {"y": Slot(3)})
    assert model.called_with(nested).argument_names() == ("a", "", "", "y")
    scripted = torch.jit.script(torch.nn.Bilinear(2, 2, 1))
    assert probe.open_model(scripted).argument_names() == ("input1", "input2")
