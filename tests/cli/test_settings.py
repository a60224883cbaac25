"""Settings of the working directory: what is taken from them, what not, and from where never."""

import json
import os

import numpy as np
import pytest
import torch

NET = """
import pathlib
import torch

pathlib.Path("ran").touch()

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)

    def forward(self, x, double=False):
        return super().forward(x) * (2 if double else 1)
"""
SETTINGS = """
["models/*.pt"]
factory = "net.py:Net"
shape = [4, 3]
args = { double = true }
"""
TAKEN = "probe.toml gives --factory net.py:Net --shape 4,3 --arg double=True"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with settings and a model, which is the working directory."""
    (tmp_path / "models").mkdir()
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "models" / "net.pt")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "probe.toml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_opens_a_model_and_its_input_are_taken_and_told(probe, project):
    status, out, err = probe("models/net.pt", "--layer", "")
    assert (status, err) == (0, "") and "shape (4, 3), with double=True" in " ".join(out.split())
    assert f"note: {TAKEN}" in out
    _, out, _ = probe(project / "models" / "net.pt", "--all", "--json", "-")
    assert TAKEN in json.loads(out)["reports"][0]["notes"]
    status, out, _ = probe("models/net.pt")
    assert status == 0 and "Net" in out and out.count("--shape") == 0, "a listing runs nothing"
    status, out, _ = probe("compare", "models/net.pt", "models/net.pt")
    words = ("gives --a-factory net.py:Net --shape 4,3", "gives --b-factory net.py:Net")
    assert status == 0 and all(text in " ".join(out.split()) for text in words), out
    status, out, _ = probe("record", "models/net.pt", "-o", "run.npz")
    assert status == 0 and out.endswith(f"note: {TAKEN}\n")
    assert probe("run.npz", "--layer", "")[0] == 0, "the pattern is another file's"
    (project / "probe.toml").rename("kept.toml")
    tables = SETTINGS.replace('["', '[tool.probe."')
    (project / "pyproject.toml").write_text(f'[project]\nname = "mine"\n{tables}')
    _, out, _ = probe("models/net.pt", "--layer", "")
    assert "pyproject.toml gives --factory" in out


def test_the_command_line_comes_first(probe, project):
    np.save("x.npy", np.ones((2, 3), np.float32))
    _, out, _ = probe("models/net.pt", "--layer", "", "--input", "x.npy", "--arg", "double=False")
    assert "note: probe.toml gives --factory net.py:Net\n" in out and "with double=False" in out
    _, out, _ = probe("models/net.pt", "--layer", "", "--seed", "3")
    assert "seed 3, shape (4, 3)" in " ".join(out.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "shape = 3",
            "shape stands in no table: settings stand in a table for a model, write "
            '["models/net.pt"] above it',
        ),
        ("[net.pt]\nshape = [1]", 'write the table as ["net.pt"], in quotes'),
        ("[models.net.pt]\nshape = [1]", 'write the table as ["models.net.pt"], in quotes'),
        ('[tool.probe."net.pt"]\nshape = [1]', 'write the table as ["net.pt"], in quotes'),
        ('["*"]\nshape = [1, "2"]', 'shape of ["*"] is a shape such as [1, 3, 224, 224], or'),
        ('["*"]\nfactories = "x"', "unknown setting 'factories'; there are factory, import, input"),
        ('["*"]\nimport = 3', 'import of ["*"] is a module, or a list of them; you gave 3'),
        ("[", "probe.toml cannot be read as TOML: "),
    ],
)
def test_what_settings_cannot_mean_is_one_sentence(probe, project, text, words):
    (project / "probe.toml").write_text(text)
    status, out, err = probe("models/net.pt", "--layer", "")
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tool.probe.net.pt]\nshape = [1]", 'the table as [tool.probe."net.pt"], in quotes'),
        ("[tool.probe]\nshape = [1]", 'write [tool.probe."models/net.pt"] above it'),
        ('[tool.probe."*"]\nshapes = [1]', '[tool.probe."*"] has the unknown setting'),
    ],
)
def test_a_table_of_pyproject_is_told_as_it_is_written_there(probe, project, text, words):
    (project / "probe.toml").rename("pyproject.toml").write_text(text)
    status, out, err = probe("models/net.pt", "--layer", "")
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err, err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('input = "x.npy"\nshape = [2, 3]', "leave out --shape (probe.toml gives --factory"),
        ('import = "nett"', "named 'nett'; did you mean net? (probe.toml gives --factory"),
        ('input = "no.npy"', "or net.py? (probe.toml gives --factory net.py:Net --input no.npy)"),
    ],
)
def test_a_sentence_about_a_setting_names_its_file(probe, project, setting, words):
    """Nothing of it was typed."""
    np.save("x.npy", np.ones((2, 3), np.float32))
    (project / "probe.toml").write_text(f'["*"]\nfactory = "net.py:Net"\n{setting}\n')
    status, out, err = probe("models/net.pt", "--layer", "")
    assert (status, out, err.count("\n")) == (2, "", 1) and words in err, err
    _, _, err = probe("models/net.pt", "--layer", "other", "--shape", "2,3")
    assert "probe.toml" not in err or "nett" in err, "what was typed is to blame"


def test_nothing_that_came_with_a_model_is_read(probe, project, monkeypatch):
    """A model in its own folder, a folder below it, and a folder that is the model."""
    mine = project / "mine"
    mine.mkdir()
    (project / "probe.toml").write_text(SETTINGS.replace("models/*.pt", "*"))
    monkeypatch.chdir(mine)
    assert "is a state_dict" in probe("../models/net.pt", "--layer", "")[2]
    (project / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    monkeypatch.chdir(project)
    assert probe(".", "--layer", "x")[0] == 2
    monkeypatch.chdir(project / "models")
    assert probe("..", "--layer", "x")[0] == 2
    assert "is a state_dict" in probe("net.pt", "--layer", "")[2]
    assert not list(project.rglob("ran")), "nothing of the settings was run"


def test_the_environment_switches_settings_off(probe, project, monkeypatch):
    monkeypatch.setenv("PROBE_SETTINGS", "0")
    assert "is a state_dict" in probe("models/net.pt", "--layer", "")[2]
    assert not (project / "ran").exists()


def test_settings_of_another_user_are_not_read(probe, project, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: (project / "probe.toml").stat().st_uid + 1)
    monkeypatch.setattr("probe.cli.settings._ROOT", -1)
    assert "is a state_dict" in probe("models/net.pt", "--layer", "")[2]
