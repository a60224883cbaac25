"""What a listing shows: of a file alone, of a run, of a recording and of parameters alone."""

import pytest
import torch

NET = """
import torch

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = torch.nn.Conv2d(2, 2, 3, padding=1), torch.nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(self.act(x))) + x

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block, self.a_head_with_a_name_that_is_longer_than_a_column = Block(), torch.nn.ReLU()
        self.left_out = torch.nn.Linear(3, 4)

    def forward(self, x):
        return self.a_head_with_a_name_that_is_longer_than_a_column(self.block(x)).flatten(1)
"""
SHAPE = ("--shape", "1,2,5,5")


@pytest.fixture
def net(tmp_path, monkeypatch):
    """The words that open the net, in its folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    names: dict[str, type] = {}
    exec(NET, names)
    torch.manual_seed(0)
    torch.save(names["Net"]().state_dict(), "net.pt")
    return ("net.pt", "--factory", "net.py:Net")


def rows(out):
    """The table by its first column, with the cells of a row as one string."""
    lines = [line for line in out.partition("\n\n")[0].splitlines() if line]
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def test_a_run_shows_shapes_operations_and_what_it_does_not_call(probe, net):
    status, out, _ = probe(*net, *SHAPE)
    assert status == 0
    shown = rows(out)
    assert list(shown) == [
        *("layer", "block.act", "block.conv", "block/add"),
        *("a_head_with_a_name_that_is_longer_than_a_column", "/reshape", "left_out"),
    ]
    assert shown["block/add"] == "Tensor.add (1, 2, 5, 5) 0 NumPy, ONNX Runtime"
    assert shown["left_out"].endswith("not checked: the pass on this input does not call it")
    assert out.endswith("\nnote: 6 calls of 5 layers\n")
    starts = {line.find(" (1, ") for line in out.splitlines() if " (1, " in line}
    assert len(starts) == 1, "the shapes stand in a column"
    _, listed, _ = probe(*net)
    assert "(1, 2, 5, 5)" not in listed and "operations between" in listed


def test_a_run_and_a_recording_show_the_shapes_of_blocks(probe, net):
    shown = rows(probe(*net, *SHAPE, "--parts")[1])
    assert list(shown) == ["layer", "(root)", "block"]
    assert shown["(root)"] == "Net (1, 50) 54 NumPy, ONNX Runtime"
    assert probe("record", *net, *SHAPE, "-o", "run.npz")[0] == 0
    assert rows(probe("run.npz", "--parts")[1]) == shown
    _, out, _ = probe("run.npz")
    assert rows(out)["block.conv"] == "Conv2d (1, 2, 5, 5) 38 NumPy, ONNX Runtime"
    assert out.endswith("\nnote: 6 calls of 5 layers\n")
    _, out, _ = probe("run.npz", "--all")
    assert out.endswith("\n6 calls of 5 layers: 6 agree, 0 diverge, 0 unchecked\n")
    _, out, _ = probe(*net, *SHAPE, "--all")
    assert len({line.find(" (1, 2") for line in out.splitlines() if "block" in line}) == 1, out


TURNED = """
import torch

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q = torch.nn.Linear(2, 2)

    def forward(self, x):
        return self.q(x.transpose(1, 2).transpose(1, 2)).transpose(1, 2).tanh()

class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__()
        self.inner = Block()
"""


def test_columns_of_a_sweep_have_room_for_operations(probe, tmp_path, monkeypatch):
    """Their names are known by the run alone, and may be longer than those of the layers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "turned.py").write_text(TURNED)
    names: dict[str, type] = {}
    exec(TURNED, names)
    torch.save(names["Net"]().state_dict(), "turned.pt")
    status, out, _ = probe("turned.pt", "--factory", "turned.py:Net", "--shape", "2,3,2", "--all")
    assert status == 0 and "inner/transpose:2 Tensor.transpose (2, 2, 3)" in out, out
    assert len({line.find(" (2, ") for line in out.splitlines() if "agree  " in line}) == 1, out


def test_parameters_alone_are_a_table_and_the_way_to_their_layers(probe, net):
    status, out, err = probe("net.pt")
    assert (status, err) == (0, "") and "\nnote: net.pt is a state_dict (parameters " in out
    assert rows(out)["block.conv.weight"] == "float32 (2, 2, 3, 3) 36"
    status, out, err = probe("net.pt", "--layer", "block.conv")
    assert (status, out) == (2, "") and err.endswith("left_out.bias (4,)\n")


def test_every_file_that_is_written_is_told_but_with_quiet(probe, net):
    files = {"html": "a.html", "json": "a.json", "junit": "a.xml", "save": "a.npz"}
    options = [word for name, file in files.items() for word in (f"--{name}", file)]
    _, out, _ = probe(*net, *SHAPE, "--layer", "block.conv", *options)
    assert [*out.split("written: ")[1:]] == [
        *(f"{files[name]}\n\n" for name in ("json", "html", "junit")),
        "a.npz\n",
    ]
    _, out, _ = probe(*net, *SHAPE, "--layer", "block.conv", *options, "-q")
    assert out.count("\n") == 1 and out.startswith("agree: block.conv: ")
    _, out, _ = probe(*net, *SHAPE, "--all", *options[:-2])
    assert out.count("\nwritten: ") == 3
    _, out, _ = probe("compare", "net.pt", "net.pt", *SHAPE, "--html", "c.html", *_sides(net))
    assert out.endswith("\nwritten: c.html\n")


def _sides(net):
    return [word for side in "ab" for word in (f"--{side}-factory", net[2])]
