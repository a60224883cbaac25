"""The index of a recording is what docs/recording.schema.json says."""

import json
import zipfile

import jsonschema
import numpy as np
import pytest
import torch
from repository import ROOT

import probe

SCHEMA = json.loads((ROOT / "docs" / "recording.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("layers", [None, ["0", "1.*"]])
def test_a_recording_follows_it(layers, tmp_path):
    inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Hardtanh(-float("inf"), 1))
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), inner, torch.nn.Bilinear(1, 1, 1))[:2]
    x = np.ones((2, 3), np.float32)
    probe.record(net.eval(), x, tmp_path / "run.npz", layers=layers)
    with zipfile.ZipFile(tmp_path / "run.npz") as archive:
        index = json.loads(archive.read("recording.json"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(index, SCHEMA, jsonschema.Draft202012Validator)
    assert set(index) == set(SCHEMA["properties"])
