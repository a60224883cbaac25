"""What is typed by mistake is told with what was meant."""

import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from own_seed import RNG

OPENED = "net.pt --factory net.py:Net"
NET = """
import torch


class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)


def broken():
    raise RuntimeError("no config found")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a state_dict and what builds its module, an ONNX model of a fixed
    batch, arrays, and files that are neither."""
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(3, 2).state_dict(), "net.pt")
    Path("net.py").write_text(NET, encoding="utf-8")
    torch.save(torch.zeros(2, 3), "tensor.pt")
    np.save("x.npy", np.ones((2, 3), np.float32))
    kernel = numpy_helper.from_array(RNG.normal(size=(3, 2)).astype(np.float32), "w")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [2, 3]), ("y", [2, 2]))
    ]
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "g", values[:1], values[1:], [kernel])
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), "net.onnx")
    Path("half.onnx").write_bytes(Path("net.onnx").read_bytes()[:90])
    for name, text in (
        ("pointer.npy", "version https://git-lfs.github.com/spec/v1\noid x\n"),
        ("text.npy", "hello world\n"),
        ("words.txt", "1 2 3\nhello world x\n"),
        ("commas.txt", "1,2,3\n"),
        ("list.json", "[[1, 2, 3]]\n"),
    ):
        Path(name).write_text(text, encoding="utf-8")
    np.savez("several.npz", a=np.ones(2), b=np.ones(2))
    Path("weights.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(16))
    Path("empty").mkdir()
    Path("outputs").mkdir()
    np.save("outputs/y.npy", np.ones((2, 2)))
    Path("models").mkdir()
    Path("models/a.onnx").write_bytes(Path("net.onnx").read_bytes())
    return tmp_path


MISTAKES = {
    f"{OPENED} --layer (root)": 'the whole model is --layer ""',
    f"{OPENED} -layer x": "there is no option -l; did you mean --layer?",
    "nett.pt --layer x": "nett.pt does not exist; did you mean net.pt?",
    f"{OPENED} --layer x --input xx.npy": "xx.npy does not exist; did you mean x.npy?",
    f"{OPENED} --layer x --expect x.npz": "x.npz does not exist; did you mean x.npy?",
    f"{OPENED} --layer x --input 2,3": "a shape is given by --shape 2,3 (shape=)",
    f"{OPENED} --layer x --input no/x.npy": "there is no folder no",
    "modles/a.onnx": "there is no folder modles; did you mean models/a.onnx?",
    "net.pt --factory nat.py:Net --layer x": "nat.py does not exist; did you mean net.py?",
    "record net.pt --input xx.npy -o r.npz": "did you mean x.npy?",
    "compare net.onnx net.onxx": "did you mean net.onnx",
    f"{OPENED} --layer x --save no/x.npz": "the folder no does not exist: mkdir -p no",
    f"{OPENED} --layer x --shape 2, 3": "--shape is one word, without spaces: --shape 2,3",
    f"{OPENED} --layer x --shape 2 3": "--shape is one word, without spaces: --shape 2,3",
    f"{OPENED} --layer x --shape 2x3": "did you mean 2,3?",
    f"{OPENED} --layer x --at 0, 1": "--at is one word, without spaces: --at 0,1",
    "compare net.onnx net.onnx --shape 2, 3": "--shape is one word, without spaces: --shape 2,3",
    "net.onnx --layer --all": "--layer needs a value: --layer NAME",
    "net.onnx --input x.npy --shape 2,3 --layer product": "not random; leave out --shape",
    "net.onnx --input x.npy --expect-input x.npy --layer product": "leave out --input",
    "net.onnx product": "a layer is given by --layer product: probe net.onnx --layer product",
    "net.onnx net.onxx": "net.onxx does not exist; did you mean net.onnx",
    "x.npy net.onnx": "given by --input: probe net.onnx --input x.npy",
    "net.onnx --input x.npy x.npy": "--input is given already; without x.npy: probe net.onnx "
    "--input x.npy",
    "net.onnx --layer product --device gpu": "a device is cpu, cuda, cuda:1 or mps; you gave 'gpu'",
    "compare net.onnx net.onnx --device gpu": "a device is cpu, cuda, cuda:1 or mps; you gave",
    "net.pt compare net.onnx --factory net.py:Net": "comes first: probe compare net.pt net.onnx "
    "--a-factory net.py:Net",
    "net.onnx record -o r.npz": "the command comes first: probe record net.onnx -o r.npz",
    "comapre net.onnx net.onnx": "did you mean compare? probe compare net.onnx net.onnx",
    "check net.onnx --layer product": "without it: probe net.onnx --layer product",
    "help comapre": "no command 'comapre'; did you mean compare?",
    "x.npy --layer product": "probe MODEL --input x.npy (x= in Python)",
    "net.py": "--factory net.py:NAME",
    "list.json": "a configuration has no weights",
    "tensor.pt --factory net.py:Net": "a tensor is an input: np.save('x.npy', tensor.numpy())",
    "half.onnx": "half.onnx is truncated or damaged: its 90 bytes are not a whole ONNX model",
    "empty": "empty is an empty folder",
    "models": "models is a folder, not a model file; did you mean models/a.onnx?",
    "net.onnx --layer product --input pointer.npy": "is a Git LFS pointer",
    "net.onnx --layer product --input tensor.pt": "np.save('x.npy', tensor.numpy())",
    "net.onnx --layer product --input net.onnx": "is an ONNX model, not an array file: the model "
    "comes first",
    "net.onnx --layer product --input list.json": "np.save('x.npy', json.load(open('list.json')))",
    "net.onnx --layer product --expect outputs": "did you mean outputs/y.npy? (probe compare MODEL",
    "net.pt --factory Net --layer x": "you gave 'Net'; did you mean net.py:Net?",
    "net.pt --factory nett:Net --layer x": "No module named 'nett'; did you mean net?",
    "version": "did you mean --version?",
    "comapre": "did you mean compare? probe compare",
    "net.onnx -l product": "no option -l; did you mean --layer?",
    "net.onnx --layer product other": "--layer takes one name (--to a second,",
    "nothing": "the file nothing does not exist",
    "net.tflite": "net.tflite does not exist; did you mean net.pt",
    "compare weights.gguf net.onnx": "made of, probe compare DIRECTORY weights.gguf",
    "compare weights.gguf models": "what was converted: probe compare models weights.gguf",
    "net.onnx --layer product --expect several.npz": "np.load('several.npz')['a'])",
    "net.onnx --all --expect several.npz": "the model has no layer",
    "net.pt --factory net.py --layer x": "did you mean net.py:Net?",
    "net.pt --factory net.py:Nett --layer x": "has no attribute 'Nett'; did you mean Net?",
    "net.onnx --layer product --factory net.py:Net": "this is an ONNX model: leave it out",
    "net.onnx --layer product --input text.npy": "it starts with the text 'hello world'",
    "net.onnx --layer product --input words.txt": "line 2 of words.txt holds 'hello' where a",
    "net.onnx --layer product --input commas.txt": "are read from a file named .csv",
    f"{OPENED} --layer x --input x.npy --import nett": "named 'nett'; did you mean net?",
    f"{OPENED} --import no.py": "no.py does not exist",
    "models/a.onnx --import nett": "No module named 'nett'; did you mean net?",
    "net.onnx --layer product --layer other": "--layer takes one value and is given 2 times "
    "(product, other): --all checks every layer",
    "net.onnx --all --input x.npy --input=commas.txt": "--input takes one value and is given 2 "
    "times (x.npy, commas.txt): leave out all but one, or give several inputs in one file by "
    "their names, np.savez(",
    "net.onnx --all --seed 1 --seed 1": "--seed takes one value and is given 2 times (1, 1): leave",
    "compare net.onnx net.onnx --a-factory x --a-factory y": "--a-factory takes one value and is",
    "record net.onnx -o r.npz -o s.npz": "-o takes one value and is given 2 times (r.npz, s.npz)",
}
"""What is typed, and what is said of it."""


@pytest.mark.parametrize("typed", MISTAKES)
def test_one_sentence_with_the_way_out(probe, folder, typed):
    status, out, err = probe(*shlex.split(typed))
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert MISTAKES[typed] in err, err


def test_an_option_of_several_values_is_given_several_times(probe, folder):
    status, out, err = probe("net.onnx", "--all", "--shape", "2,3", "--shape", "2,3")
    assert (status, out) == (2, "") and "--shape takes one value" not in err
    status, out, err = probe("net.onnx", "--all", "--quiet", "--quiet")
    assert (status, err) == (0, "")
