"""The command: what it prints, its exit status, and one sentence for every bad input."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx_cases import single
from repository import EXAMPLES
from wrapping import unwrapped

from probe.cli.main import command
from probe.process.extras import install

KERAS, QKERAS, TORCH = (
    str(EXAMPLES / name) for name in ("digits.keras", "digits_qkeras.h5", "digits.pt")
)
FACTORY = ("--factory", f"{EXAMPLES / 'digits_net.py'}:DigitsNet")
DIGITS = str(EXAMPLES / "digits.npy")


@pytest.mark.parametrize("model", [QKERAS, KERAS])
def test_a_layer_agrees(probe, model):
    status, out, err = probe(model, "--layer", "conv2d", "--input", DIGITS)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("agree: the framework, NumPy and ONNX Runtime agree")
    assert "channels" in out


@pytest.mark.parametrize("model", [(QKERAS,), (KERAS,), (TORCH, *FACTORY, "--shape", "2,1,8,8")])
def test_a_sweep_agrees(probe, model):
    status, out, err = probe(*model, "--all", "--strict")
    assert status == 0, out
    assert err == ""
    assert out.splitlines()[-1].endswith("0 diverge, 0 unchecked")


def test_wrong_values_diverge_and_are_located(probe, tmp_path):
    status, _, _ = probe(
        KERAS, "--layer", "conv2d", "--input", DIGITS, "--save", tmp_path / "right.npz"
    )
    assert status == 0
    with np.load(tmp_path / "right.npz") as held:
        right, x = held["framework_0"], held["input_0"]
    wrong = right.copy()
    wrong[1, 2, 3, 1] += 0.5
    np.save(tmp_path / "wrong.npy", wrong)
    status, out, _ = probe(
        KERAS, "--layer", "conv2d", "--input", DIGITS, "--expect", tmp_path / "wrong.npy"
    )
    assert status == 1
    assert "worst element: [1, 2, 3, 1]" in out
    assert "yours is the odd one out" in out
    np.save(tmp_path / "x.npy", x)
    np.savetxt(tmp_path / "right.txt", right.ravel(), fmt="%.9g")
    status, out, _ = probe(
        KERAS,
        "--layer",
        "conv2d",
        "--expect-input",
        tmp_path / "x.npy",
        "--expect",
        tmp_path / "right.txt",
    )
    assert status == 0
    assert "row-major (C) order" in out


def test_one_element_is_explained(probe, tmp_path):
    status, out, err = probe(QKERAS, "--layer", "conv2d", "--input", DIGITS, "--at", "3,4,3,5")
    assert (status, err) == (0, "")
    assert (
        "output[3, 4, 3, 5] (batch 3, height 4, width 3, channels 5)"
    ) in out and "(stored " in out
    assert out.splitlines()[-1].startswith("the whole layer: agree")
    status, out, _ = probe(
        QKERAS, "--layer", "conv2d", "--input", DIGITS, "--at", "0,0,0,0", "--json", "-"
    )
    told = json.loads(out)
    assert (
        status == 0
        and len(told["terms"]) == 9
        and sum(term["padding"] for term in told["terms"]) == 5
    )
    status, out, _ = probe(
        QKERAS, "--layer", "conv2d_1", "--input", DIGITS, "--at", "3,2,2,5", "--sees"
    )
    assert status == 0 and "image[3, 3:8, 3:8, 0]: 25 of 640 elements" in out, out
    np.savetxt(tmp_path / "mine.txt", np.zeros(10 * 8 * 8 * 16))
    status, out, _ = probe(
        QKERAS,
        "--layer",
        "conv2d",
        "--input",
        DIGITS,
        "--at",
        "3,4,3,5",
        "--expect",
        tmp_path / "mine.txt",
    )
    assert status == 1 and "  yours          0" in out
    for arguments, words in (
        (("--layer", "conv2d", "--at", "3,4,3"), "give 4 indices"),
        (("--layer", "conv2d", "--at", "3,4,3,5", "--save", "out.npz"), "--save"),
        (("--layer", "conv2d", "--at", "here"), "integers"),
        (("--layer", "conv2d", "--sees"), "--at"),
        (("--at", "3,4,3,5"), "--at needs --layer"),
        (("--all", "--at", "3,4,3,5"), "--at"),
    ):
        status, _, err = probe(QKERAS, *arguments)
        assert status == 2 and words in err and err.count("\n") == 1


def test_json_holds_the_report_and_no_arrays(probe, tmp_path):
    status, out, _ = probe(QKERAS, "--layer", "conv2d", "--input", DIGITS, "--json", "-")
    told = json.loads(out)
    assert status == 0
    assert (told["layer"], told["verdict"], told["ok"]) == ("conv2d", "agree", True)
    assert told["weights"]["kernel"]["distinct_values"] > 1
    status, out, _ = probe(QKERAS, "--all", "--input", DIGITS, "--json", tmp_path / "all.json")
    told = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert told["counts"]["agree"] == len(told["reports"])


def test_listing(probe):
    status, out, err = probe(KERAS)
    assert (status, err) == (0, "")
    assert any(
        line.startswith("conv2d ") and "Conv2D" in line and "NumPy, ONNX Runtime" in line
        for line in out.splitlines()
    )


def test_all_with_expected_names_the_first_layer_that_is_wrong_on_its_own_inputs(probe, tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 4)).eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    (tmp_path / "net.py").write_text(
        "import torch\ndef net():\n    n = torch.nn\n    return n.Sequential(n.Linear(6, 5), "
        "n.ReLU(), n.Linear(5, 4))\n"
    )
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    weights = [net[0].weight.detach().numpy(), net[2].weight.detach().numpy()]
    first = x @ weights[0].T + net[0].bias.detach().numpy()
    second = np.where(first > 0, first, 0.1 * first)
    third = second @ weights[1].T + net[2].bias.detach().numpy()
    np.savez(tmp_path / "mine.npz", **{"0": first, "1": second, "2": third})
    np.save(tmp_path / "x.npy", x)
    factory = ("--factory", f"{tmp_path / 'net.py'}:net")
    status, out, _ = probe(
        tmp_path / "net.pt",
        *factory,
        "--all",
        "--input",
        tmp_path / "x.npy",
        "--expect",
        tmp_path / "mine.npz",
    )
    assert status == 1
    assert "the first diverging layer is '1'" in out
    assert "2 agree, 1 diverge, 0 unchecked" in out


def _text(path):
    path.write_text("not a model\n")


def _empty(path):
    path.write_bytes(b"")


def _truncated(path):
    path.write_bytes(Path(QKERAS).read_bytes()[:3000])


def _missing(path):
    pass


@pytest.mark.parametrize("make", [_text, _empty, _truncated, _missing])
@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("options", [(), ("--layer", "conv2d")])
def test_a_broken_file_is_one_sentence(probe, tmp_path, make, name, options):
    make(tmp_path / name)
    status, out, err = probe(tmp_path / name, *options)
    assert (status, out) == (2, "")
    assert err.startswith("probe: ")
    assert err.count("\n") == 1
    assert name in err


def test_a_file_of_hgq2_without_hgq2_is_one_sentence(probe, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(KERAS) as given, zipfile.ZipFile(path, "w") as made:
        for name in given.namelist():
            content = given.read(name)
            if name == "config.json":
                config = json.loads(content)
                layer = next(
                    one for one in config["config"]["layers"] if one["class_name"] == "Dense"
                )
                layer |= {
                    "class_name": "QDense",
                    "module": "hgq.layers.core.dense",
                    "registered_name": "hgq>QDense",
                }
                content = json.dumps(config).encode()
            made.writestr(name, content)
    assert probe(path)[0] == 0  # the list needs no framework
    status, out, err = probe(path, "--all")
    assert (status, out) == (2, "")
    assert (
        err.startswith("probe: this model needs hgq (No module named 'hgq") and err.count("\n") == 1
    )
    assert err.endswith(
        f": in an environment without QKeras (hgq2 overwrites its package), {install('hgq')}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((KERAS, "--layer", "conv2"), "did you mean 'conv2d'"),
        (
            (KERAS, "--layer", "conv2d", "--input", "nowhere.npy"),
            "the file nowhere.npy does not exist",
        ),
        ((KERAS, "--layer", "conv2d", "--shape", "2,9,8,1"), "(2, 9, 8, 1)"),
        ((KERAS, "--layer", "conv2d", "--shape", "2,8,8"), "(2, 8, 8)"),
        ((KERAS, "--layer", "conv2d", "--shape", "2,x"), "integers"),
        ((KERAS, "--layer", "conv2d", "--rtol", "1e-3"), "specify both"),
        ((KERAS, "--layer", "conv2d", "--call", "7"), "call 7 does not exist"),
        ((KERAS, "--layer", "conv2d", "--all"), "cannot be used together"),
        ((KERAS, "--expect", DIGITS), "needs --layer NAME or --all"),
        ((KERAS, "--all", "--expect", DIGITS), "names are layer names"),
        ((TORCH, "--layer", "conv"), "--factory"),
        ((TORCH, *FACTORY, "--layer", "conv"), "--shape"),
        ((TORCH, "--factory", "nowhere.py:Net", "--layer", "conv"), "nowhere.py"),
    ],
)
def test_bad_input_is_one_sentence(probe, arguments, words):
    status, out, err = probe(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("probe: ")
    assert words in err
    assert err.count("\n") == 1


def test_an_empty_batch_is_unchecked(probe, tmp_path):
    """A dense layer in Keras: TensorFlow's own convolution loses the channels of an empty batch, so
    that the model fails."""
    np.save(tmp_path / "none.npy", np.zeros((0, 128), np.float32))
    dense = (KERAS, "--layer", "dense", "--expect-input", tmp_path / "none.npy")
    for arguments in (dense, (TORCH, *FACTORY, "--layer", "conv", "--shape", "0,1,8,8")):
        status, out, _ = probe(*arguments)
        assert status == 2
        assert "unchecked: the output is empty" in out


def test_nan_and_inf_are_compared_by_place(probe, tmp_path):
    x = np.load(DIGITS).astype(np.float32)
    x[0, 3, 3, 0], x[1, 2, 2, 0] = np.nan, np.inf
    np.save(tmp_path / "x.npy", x)
    status, out, _ = probe(KERAS, "--layer", "conv2d", "--input", tmp_path / "x.npy")
    assert status == 0, out


def test_a_failing_forward_is_one_sentence(probe, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.fc = "
        "torch.nn.Linear(3, 2)\n"
        "    def forward(self, x):\n        return self.fc(x)[0, 99, 99]\n"
    )
    torch.save(torch.nn.ModuleDict({"fc": torch.nn.Linear(3, 2)}).state_dict(), tmp_path / "net.pt")
    status, out, err = probe(
        tmp_path / "net.pt",
        "--factory",
        f"{tmp_path / 'net.py'}:Net",
        "--layer",
        "fc",
        "--shape",
        "2,3",
    )
    assert (status, out) == (2, "")
    assert "IndexError" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seed", "-1"), "seed must be an integer >= 0"),
        (("--shape=-2,8,8,1",), "(-2, 8, 8, 1)"),
        (("--shape", "2,100000,100000,1"), "exceeds the limit for random inputs"),
        (("--shape", "2" + ",1" * 70), "axes"),
        (("--shape", "9" * 5000), "integers"),
        (("--shape", "99999999999999999999,8,8,1"), "exceeds the limit for random inputs"),
    ],
)
def test_inputs_that_cannot_be_drawn(probe, arguments, words):
    status, out, err = probe(KERAS, "--layer", "conv2d", *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err and len(err) < 1600


def test_an_empty_text_is_no_answer(probe, tmp_path):
    (tmp_path / "mine.txt").write_text("# later\n")
    status, out, err = probe(KERAS, "--layer", "conv2d", "--expect", tmp_path / "mine.txt")
    assert (status, out, err.count("\n")) == (2, "", 1) and "contains no numbers" in err


def test_what_is_read_is_not_written_over(probe, tmp_path):
    for name in ("x.npy", "e.npz"):
        np.savez(tmp_path / name, x=np.load(DIGITS)) if name == "e.npz" else np.save(
            tmp_path / name, np.load(DIGITS)
        )
    model, net = tmp_path / "model.pt", tmp_path / "net.py"
    model.write_bytes(Path(TORCH).read_bytes())
    net.write_bytes((EXAMPLES / "digits_net.py").read_bytes())
    base = (
        model,
        "--factory",
        f"{net}:DigitsNet",
        "--layer",
        "conv",
        "--input",
        tmp_path / "x.npy",
        "--expect",
        tmp_path / "e.npz",
    )
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    for target in before:
        for option in ("--save", "--json") if target.suffix == ".npz" else ("--json",):
            status, out, err = probe(*base, option, target)
            assert (status, out, err.count("\n")) == (2, "", 1) and "is being read" in err
    status, _, err = probe(*base, "--save", tmp_path / "other.end")
    assert status == 2 and "none of these suffixes" in err
    status, _, err = probe(*base, "--save", tmp_path / "same.npz", "--json", tmp_path / "same.npz")
    assert status == 2 and "the same file" in err
    assert {one: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "error",
    [
        EOFError("end"),
        RuntimeError("a\nb"),
        MemoryError(),
        RecursionError(),
        SystemExit(0),
        OSError(32, ""),
    ],
)
def test_what_was_not_foreseen_is_one_sentence(probe, monkeypatch, error):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr("probe.adapters.open_model", fails)
    status, out, err = probe(KERAS, "--layer", "conv2d")
    assert (
        (status, out, err.count("\n")) == (2, "", 1)
        and "internal error" in err
        and "test_command.py, line" in err
    )
    monkeypatch.setenv("PROBE_TRACEBACK", "1")
    status, out, err = probe(KERAS, "--layer", "conv2d")
    assert (
        (status, out) == (2, "")
        and "Traceback" in err
        and "def fails" not in err
        and "in fails" in err
    )
    assert err.splitlines()[-1].startswith("probe: internal error, please report this bug")


def test_an_interrupt_is_one(probe, monkeypatch):
    def stops(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("probe.adapters.open_model", stops)
    status, out, err = probe(KERAS, "--layer", "conv2d")
    assert (status, out) == (2, "") and err.strip() == "probe: interrupted"


@pytest.mark.exhaustive
def test_standard_streams_that_are_full_or_closed(tmp_path):
    """On a model of ONNX, for which no framework has to start."""
    script, model = Path(sys.executable).parent / "probe", tmp_path / "relu.onnx"
    onnx.save(single("Relu", [np.ones((2, 3), np.float32)], {})[0], model)

    def run(line, **how):
        return subprocess.run(
            ["bash", "-c", line, "bash", script, model, "--layer", "node", "--shape", "2,3"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            **how,
        )

    done = run('"$@" > /dev/full')
    assert (done.returncode, done.stderr) == (
        2,
        "probe: cannot write to standard output: No space left on device\n",
    )
    assert run('"$@" >&- 2>&-').returncode == 0
    assert (
        run('"$@" --json out.json <&- >&- 2>&-').returncode == 0
        and json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["ok"]
    )
    done = run('"$@" | head -c 0; exit ${PIPESTATUS[0]}')
    assert (done.returncode, done.stderr) == (2, "")
    done = run('PYTHONIOENCODING=ascii "$@"')
    assert (done.returncode, done.stderr) == (0, "")
    done = run('"$@" --call 7 2> /dev/full')
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("model", [KERAS, QKERAS, TORCH])
def test_a_path_that_is_no_text(probe, tmp_path, model):
    path = tmp_path / os.fsdecode(b"not \xff text\n\x1b[31m")
    path.write_bytes(Path(model).read_bytes())
    options = (
        (*FACTORY, "--shape", "2,1,8,8", "--layer", "conv")
        if model is TORCH
        else ("--layer", "conv2d")
    )
    status, out, err = probe(path, *options)
    assert (status, err) == (0, "") and "\x1b" not in out
    assert r"not \udcff text\n\x1b" in unwrapped(out)
    status, out, err = probe(path, *options, "--json", "-")
    assert status == 0 and json.loads(out)["source"] == str(path)


def test_help_names_every_option():
    shown = CliRunner().invoke(command, ["--help"]).output
    for option in command.commands["FILE"].params:
        assert all(name in shown for name in option.opts if name.startswith("--"))


@pytest.mark.costly
def test_the_console_script_is_quiet(tmp_path):
    script = Path(sys.executable).parent / "probe"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [script, TORCH, *FACTORY, "--layer", "conv", "--shape", "2,1,8,8"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
