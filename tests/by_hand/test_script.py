"""``probe.script`` and ``--script``: a layer as a file that computes it with NumPy alone."""

import ast
import subprocess
import sys

import numpy as np
import pytest
import torch

import probe
from probe.by_hand.syntax import refuse_foreign

X = np.random.default_rng(0).normal(size=(2, 3, 8, 7)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    made = torch.nn.Sequential()
    made.add_module("conv", torch.nn.Conv2d(3, 4, 3, stride=2, padding=1))
    made.add_module("bn", torch.nn.BatchNorm2d(4))
    made.add_module("act", torch.nn.ReLU())
    return made.eval()


def run(*words):
    ended = subprocess.run(
        [sys.executable, "-I", "-W", "error", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_layer_and_a_whole_network_are_scripts_of_numpy_alone(net, tmp_path):
    for name in ("conv", ""):
        path = tmp_path / f"script{name}.py"
        assert probe.script(net, name, X, path).ok
        text = path.read_text(encoding="utf-8")
        assert "import torch" not in text and "probe" not in text.split('"""')[2]
        refuse_foreign(ast.parse(text))
        status, out, err = run(path)
        assert status == 0 and "0 of " in out and not err
    assert "windows = sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2]" in text


def test_ones_own_arrays_are_compared_by_name_up_to_the_first_that_differs(net, tmp_path):
    path, mine = tmp_path / "conv.py", tmp_path / "mine.npz"
    probe.script(net, "conv", X, path)
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = net.conv(torch.from_numpy(X)).detach().numpy()
    np.savez(mine, padded=padded, y=y, z=y)
    status, out, _ = run(path, mine)
    assert status == 0 and out.splitlines()[1:] == ["padded equal", "y equal"]
    assert out.startswith("z: no such name")
    np.savez(mine, y=y, padded=padded + 1)
    assert run(path, mine)[:2] == (1, "padded differs by 1\n")
    np.savez(mine, padded=padded[0])
    told = "padded has the shape (2, 3, 10, 9), yours (3, 10, 9)\n"
    assert run(path, mine)[:2] == (1, told)


def test_where_the_framework_is_elsewhere_the_script_says_so(net, tmp_path):
    path = tmp_path / "conv.py"
    probe.script(net, "conv", X, path)
    arrays = dict(np.load(path.with_suffix(".npz")))
    np.savez(path.with_suffix(".npz"), **arrays | {"framework_0": arrays["framework_0"] + 1})
    status, out, _ = run(path)
    assert status == 1 and "largest difference to the framework: 1\n" in out
    path.with_suffix(".npz").unlink()
    status, out, err = run(path)
    assert (status, out) == (2, "") and "is missing" in err


def test_only_scripts_are_written_over(net, tmp_path):
    path = tmp_path / "conv.py"
    for name in (path, path.with_suffix(".npz")):
        name.write_text("x = 1\n", encoding="utf-8")
        with pytest.raises(probe.BadInput, match="is not a file that probe wrote for a script"):
            probe.script(net, "conv", X, path)
        assert name.read_text(encoding="utf-8") == "x = 1\n"
        name.unlink()
    probe.script(net, "conv", X, path)
    probe.script(net, "bn", X, path)
    assert path.read_text(encoding="utf-8").startswith('"""bn (BatchNorm2d)')
    with pytest.raises(probe.BadInput, match=r"written as \.py"):
        probe.script(net, "conv", X, tmp_path / "conv.txt")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["conv.npz", "conv.py"]


def test_arrays_with_infinities_are_compared_element_by_element(tmp_path):
    path, mine = tmp_path / "act.py", tmp_path / "mine.npz"
    x = np.array([[np.inf, np.nan, 1]], np.float32)
    probe.script(torch.nn.ReLU(), "", x, path)
    np.savez(mine, x=x, y=x)
    assert run(path, mine)[:2] == (0, "x equal\ny equal\n")
    np.savez(mine, x=x, y=np.array([[np.inf, np.nan, 2]]))
    assert run(path, mine)[:2] == (1, "x equal\ny differs by 1\n")
    np.savez(mine, x=np.ones((1, 3)))
    assert run(path, mine)[:2] == (1, "x differs by nan\n")


class Named(torch.nn.Module):
    """Whose outputs have the names that the end of a script uses."""

    NAMES = ("q", "k", "failed", "beyond", "number", "yours")

    def __init__(self):
        super().__init__()
        for name in self.NAMES:
            self.add_module(name, torch.nn.Linear(3, 2))

    def forward(self, x):
        return tuple(getattr(self, name)(x) for name in self.NAMES)


def test_outputs_may_have_the_names_that_the_script_itself_uses(tmp_path):
    path, mine = tmp_path / "named.py", tmp_path / "mine.npz"
    torch.manual_seed(0)
    assert probe.script(Named(), "", X[0, 0, :2, :3], path).ok
    status, out, _ = run(path)
    assert status == 0 and out.count("0 of 4 elements beyond") == 6
    np.savez(mine, q=np.zeros((2, 2)))
    assert run(path, mine)[0] == 1


def test_an_allowance_beyond_float32_is_kept(tmp_path):
    path = tmp_path / "wide.py"
    layer = torch.nn.Linear(3, 2).double()
    for scale in (1e100, 1e-60):
        layer.bias.data *= scale
        probe.script(layer, "", X[0, 0, :2, :3].astype(np.float64) * scale, path)
        assert run(path)[0] == 0
        arrays = dict(np.load(path.with_suffix(".npz")))
        np.savez(path.with_suffix(".npz"), **arrays | {"framework_0": arrays["framework_0"] * 1.01})
        assert run(path)[0] == 1
        layer.bias.data /= scale


class Spectrum(torch.nn.Module):
    def forward(self, x):
        return torch.view_as_real(torch.fft.fft(x)).sum(-1)


def test_complex_arrays_are_compared_too(tmp_path):
    path, mine = tmp_path / "spectrum.py", tmp_path / "mine.npz"
    x = X[0, 0, :2, :4]
    probe.script(Spectrum(), "", x, path)
    transform = np.fft.fft(x.astype(np.float64))
    np.savez(mine, transform=transform)
    assert run(path, mine)[:2] == (0, "transform equal\n")
    np.savez(mine, transform=transform + 2j)
    assert run(path, mine)[:2] == (1, "transform differs by 2\n")
