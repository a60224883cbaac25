"""What opens as a PyTorch model, what is refused and before what, and the sentence that each
refusal gives."""

import argparse
import copy
import functools
import pickle
import re
import sys
import zipfile

import numpy as np
import pytest
import torch
from known_warnings import TORCH_JIT
from probe.adapters.user_modules import import_named
from safetensors.torch import save_file

import probe
from probe.errors import BadInput, CannotOpen, NotTrusted

pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors:UserWarning",
    *TORCH_JIT,
)
X = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(np.float32)
NET = """
import torch

class Net(torch.nn.Sequential):
    def __init__(self, width=4, *, act="relu"):
        super().__init__()
        self.add_module("conv", torch.nn.Conv2d(3, width, 3, padding=1))
        self.add_module("bn", torch.nn.BatchNorm2d(width))
        self.add_module("act", {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[act]())

class Strict(Net):
    def load_state_dict(self, state, strict=True):
        raise RuntimeError("saved by\\n another version")

class Outer:
    Inner = Net

ready = Net()
fails = lambda: 1 / 0
number = 3
"""
NAMED = "own_net:Net"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with the user's code in it: net.py and pack/net.py."""
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "own_net.py").write_text(NET)
    (tmp_path / "own_net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(folder, what, name="net.pt", **options):
    torch.save(what, folder / name, **options)
    return folder / name


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
@pytest.mark.parametrize(
    "factory",
    [
        "own_net:Net",
        "own_net.py:Net",
        "own_net.py:Net(4, act='relu')",
        "pack/own_net.py:Outer.Inner(width=4)",
        "own_net.py:ready",
    ],
)
def test_a_state_dict_opens_with_a_factory(folder, net, factory, legacy):
    path = saved(folder, net.state_dict(), _use_new_zipfile_serialization=not legacy)
    model = probe.open_model(str(path), factory=factory)
    assert (
        model.source == str(path)
        and "probe called eval() on the module after loading" in model.notes
    )
    assert [layer.name for layer in model.layers] == [
        "conv",
        "bn",
        "act",
    ] and not model.module.training
    report = probe.check(model, "conv", X)
    assert report.ok and np.array_equal(
        report.weights["weight"].stored, net.conv.weight.detach().numpy()
    )


def test_safetensors_and_a_callable(folder, net):
    save_file(net.state_dict(), folder / "net.bin")
    model = probe.open_model(folder / "net.bin", factory=lambda: copy.deepcopy(net))
    assert probe.check(model, "conv", X).ok
    (folder / "broken.safetensors").write_bytes((folder / "net.bin").read_bytes()[:200])
    with pytest.raises(CannotOpen):
        probe.open_model(folder / "broken.safetensors", factory="own_net:Net")


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_checkpoint_opens_and_says_so(folder, net, key):
    best = {
        "epoch": 3,
        "best": np.float64(0.5),
        "lr": 0.1,
        "optimizer": torch.optim.SGD(net.parameters(), 0.1).state_dict(),
    }
    model = probe.open_model(saved(folder, {**best, key: net.state_dict()}), factory="own_net:Net")
    assert (
        f"used the entry {key!r} of the checkpoint (it also has 'epoch', 'best', 'lr', 'optimizer')"
    ) in model.notes
    assert probe.check(model, "bn", X).ok


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net.", "module._orig_mod."])
def test_a_prefix_is_dropped_and_said(folder, net, prefix):
    state = {prefix + name: value for name, value in net.state_dict().items()}
    model = probe.open_model(saved(folder, state), factory="own_net:Net")
    assert all(
        f"removed the prefix '{part}.' from every parameter name in the file" in model.notes
        for part in prefix.split(".")[:-1]
    )
    assert probe.check(model, "conv", X).ok


def test_a_prefix_that_the_module_has_too_stays(folder, net):
    path = saved(folder, torch.nn.DataParallel(net).state_dict())
    assert probe.open_model(
        path, factory=lambda: torch.nn.DataParallel(copy.deepcopy(net))
    ).notes == ("probe called eval() on the module after loading",)


def test_a_state_dict_alone_says_what_to_give(folder, net):
    with pytest.raises(
        CannotOpen,
        match=(
            r"is a state_dict.*--factory.*It contains conv.weight \(4, 3, 3, 3\), conv.bias "
            r"\(4,\), bn.weight"
        ),
    ):
        probe.open_model(saved(folder, net.state_dict()))


def test_a_state_dict_that_does_not_fit_names_every_misfit(folder, net):
    state = {**net.state_dict(), "head.weight": torch.zeros(2)}
    del state["bn.bias"]
    path = saved(folder, state)
    with pytest.raises(
        CannotOpen,
        match=(
            r"net.pt does not fit the factory's Net: missing "
            r"bn.bias; unexpected head.weight$"
        ),
    ):
        probe.open_model(path, factory="own_net:Net")
    with pytest.raises(
        CannotOpen,
        match=(
            r"with another shape conv.weight \(file \(4, 3, 3, 3\), module \(9, 3, 3, 3\)\), "
            r"conv.bias"
        ),
    ):
        probe.open_model(path, factory="own_net:Net(9)")
    with pytest.raises(CannotOpen, match=r"Strict: saved by another version$"):
        probe.open_model(saved(folder, net.state_dict()), factory="own_net:Strict")


def test_another_precision_is_said(folder, net):
    path = saved(folder, {name: value.half() for name, value in net.state_dict().items()})
    assert any(
        "the file's parameters are float16" in note
        for note in probe.open_model(path, factory="own_net:Net").notes
    )


@pytest.mark.parametrize(
    ("factory", "said"),
    [
        ("own_net", "a factory is written as"),
        ("own_net:", "a factory is written as"),
        ("own_net:Nett", "own_net has no attribute 'Nett'"),
        ("own_net:Net(width)", "literal arguments"),
        ("own_net:Net(**{})", "literal arguments"),
        ("own_net:Net(4", "literal arguments"),
        ("own_net:number", "an int|a int"),
        ("own_net:Outer", "returned an Outer, not a torch.nn.Module"),
        ("own_net:fails", "ZeroDivisionError"),
        ("own_net:Net(1, 2)", "TypeError"),
        ("no_such_module:Net", "ModuleNotFoundError"),
        ("no/such.py:Net", "the file no/such.py does not exist"),
    ],
)
def test_a_bad_factory_is_one_sentence(folder, net, factory, said):
    with pytest.raises(BadInput, match=said) as caught:
        probe.open_model(saved(folder, net.state_dict()), factory=factory)
    assert "\n" not in str(caught.value)


def test_nothing_that_was_there_before_is_written(folder, net):
    """The user's module may be in training, or another model may be made of it."""
    path = saved(folder, {name: value + 1 for name, value in net.state_dict().items()})
    net.train()
    before = copy.deepcopy(net.state_dict())
    one_for_all = functools.cache(lambda: copy.deepcopy(net))
    first = probe.open_model(path, factory=one_for_all)
    with pytest.raises(BadInput, match="factory= is a live Sequential, whose weights") as caught:
        probe.open_model(path, factory=net)
    assert "copy.deepcopy" in str(caught.value) and "\n" not in str(caught.value)
    kept = copy.deepcopy(first.module.state_dict())
    for factory in (lambda: net, lambda: net.train(), one_for_all):
        opened = probe.open_model(path, factory=factory)
        assert opened.module is not net and opened.module is not first.module
    assert all(torch.equal(kept[name], value) for name, value in first.module.state_dict().items())
    assert net.training and not first.module.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_module_around_one_that_was_there_before_has_a_copy_of_it(folder, net):
    path = saved(folder, {f"module.{name}": value + 1 for name, value in net.state_dict().items()})
    before, parts = copy.deepcopy(net.state_dict()), list(net.modules())
    opened = probe.open_model(path, factory=lambda: torch.nn.DataParallel(net.train()))
    assert net.training and list(net.modules()) == parts
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    copied = opened.module.module
    assert copied is not net and not copied.training
    assert all(torch.equal(before[name] + 1, value) for name, value in copied.state_dict().items())


def test_a_part_without_parameters_and_a_constant_may_be_shared(folder, net):
    """As a default argument and a global of the user's file are; they are copied."""
    dropout, mean = torch.nn.Dropout(), torch.zeros(3)

    class Sharing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout, self.net = dropout, copy.deepcopy(net)
            self.register_buffer("mean", mean)

    state = {**Sharing().state_dict(), "mean": torch.ones(3)}
    module = probe.open_model(saved(folder, state), factory=Sharing).module
    assert dropout.training and not module.dropout.training
    assert torch.equal(mean, torch.zeros(3)) and torch.equal(module.mean, torch.ones(3))


def test_a_module_that_a_file_holds_is_copied(folder, net):
    path = saved(folder, net.state_dict())
    one, two = (probe.open_model(path, factory="own_net.py:ready").module for _ in range(2))
    assert one is not two and one.conv.weight is not two.conv.weight


@pytest.mark.parametrize("kind", ["state_dict", "live"])
def test_modules_are_imported_for_whatever_is_opened(folder, net, kind):
    source, factory = (net, None) if kind == "live" else (saved(folder, net.state_dict()), NAMED)
    for name, words in {"nett": "No module named 'nett'", "no/such.py": "does not exist"}.items():
        with pytest.raises(BadInput, match=words):
            probe.open_model(source, factory=factory, imports=[name])
    (folder / f"marks_{kind}.py").write_text("ran = True")
    probe.open_model(source, factory=factory, imports=[f"marks_{kind}"])
    assert sys.modules[f"marks_{kind}"].ran


def test_building_leaves_the_random_state_alone(folder, net):
    path = saved(folder, net.state_dict())
    before = torch.get_rng_state()
    probe.open_model(path, factory="own_net:Net")
    assert torch.equal(before, torch.get_rng_state())


class Marker:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "pickle"])
def test_code_in_a_file_does_not_run_without_trust(folder, net, legacy):
    marker = folder / "ran"
    path = saved(
        folder,
        {"state_dict": net.state_dict(), "args": Marker(marker)},
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(NotTrusted, match=r"exec.*--trust"):
        probe.open_model(path, factory="own_net:Net")
    assert not marker.exists()
    probe.open_model(path, factory="own_net:Net", trust=True)
    assert marker.exists()


def test_code_in_an_ordinary_pickle_does_not_run_either(folder):
    path = folder / "net.pkl"
    path.write_bytes(pickle.dumps(Marker(folder / "ran")))
    with pytest.raises(CannotOpen):
        probe.open_model(path)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_bytearray_takes_trust_and_its_name_alone_does_not(folder, zipped):
    """PyTorch's restricted unpickler calls bytearray(n) with any n, which takes n bytes of
    memory."""
    path = folder / "net.pt"
    torch.save(
        {"weight": torch.ones(3), "extra": bytearray(3)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(NotTrusted, match=r"builtins\.bytearray.*--trust"):
        probe.open_model(path, factory=torch.nn.Identity)
    module = torch.nn.Module()
    module.register_buffer("bytearray", torch.ones(3))
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=zipped)
    built = probe.open_model(path, factory=lambda: copy.deepcopy(module)).module
    assert "bytearray" in built.state_dict()


def test_a_whole_module_opens_with_trust(folder, net):
    net.train()
    path = saved(folder, net)
    with pytest.raises(NotTrusted, match=r"torch.nn.modules.*--trust"):
        probe.open_model(path)
    model = probe.open_model(path, trust=True)
    assert probe.check(model, "bn", X).ok and not model.module.training
    assert probe.check(
        probe.open_model(saved(folder, {"model": net, "epoch": 1}), trust=True), "bn", X
    ).ok


def test_a_module_of_a_script_needs_the_script(folder):
    main, script = __import__("__main__"), NET.replace("Net", "ScriptNet")
    exec(script, vars(main))
    path = saved(folder, main.ScriptNet())
    (folder / "my_train.py").write_text(script)
    for name in ("ScriptNet", "Strict", "Outer", "ready", "fails", "number"):
        delattr(main, name)
    with pytest.raises(BadInput, match=r"ScriptNet.*--import my_train \("):
        probe.open_model(path, trust=True)
    assert probe.check(probe.open_model(path, trust=True, imports=("my_train",)), "conv", X).ok
    assert not hasattr(main, "ScriptNet")


def test_a_module_that_is_not_found_is_named_with_its_option(folder, monkeypatch):
    """It lies in the working directory, beside the model, or in neither."""
    (folder / "away").mkdir()
    (folder / "away" / "lost_net.py").write_text(NET)
    with monkeypatch.context() as here:
        here.syspath_prepend(folder / "away")
        path = saved(folder / "away", __import__("lost_net").Net())
    for place, option in (
        (folder / "away", "--import lost_net"),
        (folder, f"--import {folder / 'away' / 'lost_net.py'}"),
    ):
        monkeypatch.delitem(sys.modules, "lost_net", raising=False)
        monkeypatch.chdir(place)
        with pytest.raises(BadInput, match=r"No module named 'lost_net'") as caught:
            probe.open_model(path, trust=True)
        assert f", {option} (imports=)" in str(caught.value)
        name = option.removeprefix("--import ")
        assert probe.check(probe.open_model(path, trust=True, imports=(name,)), "conv", X).ok
    monkeypatch.delitem(sys.modules, "lost_net")
    (folder / "away" / "lost_net.py").unlink()
    with pytest.raises(BadInput, match="--import MODULE"):
        probe.open_model(path, trust=True)


def test_other_contents_have_their_own_sentence(folder, net):
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.from_numpy(X)).sum().backward()
    optimiser.step()
    for held, said in [
        (optimiser.state_dict(), "an optimiser's state"),
        ({"optimizer": optimiser.state_dict(), "epoch": 1}, "an optimiser's state"),
        (torch.zeros(3), "contains a Tensor, not a module or a state_dict"),
        (3, "contains an int, not a module or a state_dict"),
        ({}, "is empty: it holds neither"),
        ({"epoch": 3}, "a checkpoint without a state_dict: it has the entries 'epoch'"),
        ({"args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
    ]:
        with pytest.raises((CannotOpen, NotTrusted), match=said):
            probe.open_model(saved(folder, held), factory="own_net:Net")


def test_a_tensor_without_a_shape_is_named(folder):
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    with pytest.raises(CannotOpen, match=r"It contains w nested, c \(2,\)"):
        probe.open_model(
            saved(folder, {"w": nested, "c": torch.ones(2, dtype=torch.complex64).conj()})
        )


def traced(net):
    return torch.jit.trace(net.eval(), torch.from_numpy(X))


def test_files_that_are_not_checkpoints(folder, net):
    whole = saved(folder, net.state_dict()).read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("weights")
    with zipfile.ZipFile(folder / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "x")
    (folder / "legacy.pt").write_bytes(
        saved(folder, net.state_dict(), _use_new_zipfile_serialization=False).read_bytes()[:900]
    )
    for name in ("cut.pt", "empty.pt", "text.pt", "other.pt", "legacy.pt", "missing.pt"):
        with pytest.raises(CannotOpen, match=re.escape(name)) as caught:
            probe.open_model(folder / name, factory="own_net:Net")
        assert "\n" not in str(caught.value)


def test_live_modules_keep_their_mode(net):
    model = probe.open_model(net)
    assert (
        model.source == "a live Sequential (torch.nn.Module)"
        and "the module is in evaluation mode" in model.notes
    )
    net.bn.train()
    assert "1 of its 4 modules are in training mode, as given" in probe.open_model(net).notes
    net.train()
    assert (
        any(
            note.startswith("the module is in training mode")
            for note in probe.open_model(net).notes
        )
        and net.training
    )
    assert any("TorchScript" in note for note in probe.open_model(traced(net)).notes)


def test_nothing_is_written_beside_the_users_code(tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text(
        "import torch\n\n\ndef net():\n    return torch.nn.ReLU()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    import_named("beside.py")
    monkeypatch.delitem(sys.modules, "beside")
    import_named("beside")
    monkeypatch.delitem(sys.modules, "beside")
    assert [path.name for path in tmp_path.iterdir()] == ["beside.py"]
    assert not sys.dont_write_bytecode


@pytest.mark.parametrize(
    ("pickled", "reason"),
    [
        (b"\x80\x02h\x07.", "it refers to an object that it does not contain"),
        (b"\x80\x02.", "it takes an object where it has made none"),
        (b"\x80\x02K\x01Q.", "it refers to a tensor in another form than torch.save writes"),
        (b"\x80\x02", "it ends too early"),
    ],
)
def test_a_damaged_pickle_is_told_in_words(tmp_path, pickled, reason):
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)
    with pytest.raises(CannotOpen) as refused:
        probe.open_model(path)
    assert str(refused.value) == f"{path} cannot be loaded: its pickle is damaged: {reason}"


def test_a_factory_that_ends_the_process(tmp_path):
    (tmp_path / "leaving.py").write_text("def Net():\n    raise SystemExit(3)\n", encoding="utf-8")
    (tmp_path / "left.py").write_text("raise SystemExit(3)\n", encoding="utf-8")
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "net.pt")
    for place, said in (("leaving.py:Net", "the factory"), ("left.py:Net", "importing")):
        with pytest.raises(probe.BadInput, match=f"{said} .* raised SystemExit: 3"):
            probe.open_model(tmp_path / "net.pt", factory=f"{tmp_path}/{place}")


def test_a_factory_for_a_module_that_is_whole(folder, net):
    x = torch.from_numpy(X)
    program = torch.export.export(net, (x,))
    for source, kind, trust in (
        (net, "a live module", False),
        (program, "an exported program", False),
        (saved(folder, net), "a whole module", True),
    ):
        with pytest.raises(probe.BadInput, match=f"only for a PyTorch state_dict; this is {kind}"):
            probe.open_model(source, factory="own_net:Net", trust=trust)
