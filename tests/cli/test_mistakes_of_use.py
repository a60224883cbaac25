"""What is typed by mistake is told with what was meant."""

import numpy as np
import pytest
import torch


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(3, 2).state_dict(), "net.pt")
    (tmp_path / "net.py").write_text("import torch\n\n\ndef net(): return torch.nn.Linear(3, 2)\n")
    np.save("x.npy", np.ones((2, 3), np.float32))
    (tmp_path / "pointer.npy").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("--layer", "(root)"), 'the whole model is --layer ""'),
        (("-layer", ""), "there is no option -l; did you mean --layer?"),
        (("--layer", "", "--input", "pointer.npy"), "is a Git LFS pointer"),
    ],
)
def test_one_sentence_with_the_way_out(probe, folder, typed, words):
    status, out, err = probe("net.pt", "--factory", "net.py:net", *typed)
    assert (status, out) == (2, "") and words in " ".join(err.split()), err
    assert err.count("\n") <= 2
