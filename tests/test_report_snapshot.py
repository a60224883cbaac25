"""tools/report_snapshot.py: reports before and after a change, and which of them differ."""

import json
import os
import sys

import onnx_cases
import pytest
from repository import script


@pytest.fixture
def snapshot(monkeypatch):
    """The tool, with three operators; what it does to its process is taken back."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    tool = script("tools/report_snapshot.py")
    monkeypatch.setattr(onnx_cases, "CASES", onnx_cases.CASES[:3])
    return tool


@pytest.fixture
def run(snapshot, monkeypatch):
    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["report_snapshot.py", *map(str, arguments)])
        return snapshot.main()

    return main


def test_what_differs_is_named(run, tmp_path, capsys):
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    assert run(before, "--parts", "operators") == 0
    lines = [json.loads(line) for line in before.read_text(encoding="utf-8").splitlines()]
    assert [line["report"]["verdict"] for line in lines] == ["agree"] * 3
    lines[0]["report"]["verdict"] = "diverge"
    kept = lines[:2]
    after.write_text("".join(f"{json.dumps(line)}\n" for line in kept), encoding="utf-8")
    assert run(before, before) == 0
    assert run(before, after) == 1
    assert capsys.readouterr().out.splitlines() == [
        "",
        "0 reports differ",
        f"{lines[0]['name']}: verdict",
        f"{lines[2]['name']}: in {before} alone",
        "2 reports differ",
    ]


def test_adapters_of_another_checkout_are_refused(run, snapshot, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(snapshot, "ROOT", tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "before.jsonl", "--parts", "operators")
    assert ended.value.code == 2 and not list(tmp_path.iterdir())
    assert f"install this checkout, {tmp_path}" in capsys.readouterr().err
