"""What --json writes is what docs/report.schema.json says, and nothing beside it."""

import copy
import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import torch
from repository import EXAMPLES, ROOT

import probe
from probe.model_comparison.reports import blocks as pair_blocks
from probe.report import blocks as report_blocks

SCHEMA = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
QKERAS, DIGITS = str(EXAMPLES / "digits_qkeras.h5"), str(EXAMPLES / "digits.npy")


def valid(text, kind):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    told = json.loads(text)
    jsonschema.validate(told, SCHEMA | {"anyOf": [{"$ref": f"#/$defs/{kind}"}]})
    return told


@pytest.mark.costly
def test_every_answer_of_the_command(probe, tmp_path):
    x = np.load(DIGITS)
    np.save(tmp_path / "mine.npy", np.zeros((len(x), 8, 8, 16), np.float32))
    np.savez(tmp_path / "mine.npz", conv2d=np.zeros((1, 2)), nothing=np.zeros(3))
    asked = ("--input", DIGITS, "--json", "-")
    for more, kind in (
        (("--layer", "conv2d"), "report"),
        (("--layer", "conv2d", "--expect", tmp_path / "mine.npy"), "report"),
        (("--layer", "conv2d", "--at", "0,0,0,0", "--sees"), "explanation"),
        (("--all",), "sweep"),
    ):
        _, out, _ = probe(QKERAS, *more, *asked)
        valid(out, kind)


@pytest.fixture(scope="module")
def pairs():
    """Two models that agree, two that do not, and arrays of one of them."""
    torch.manual_seed(0)
    a = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.ReLU()).eval()
    b = copy.deepcopy(a)
    b[1].eps = 0.1
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    arrays = {"0": np.full((2, 3), np.nan, np.float32), "1": np.zeros((2, 3), np.float32)}
    return [probe.compare(a, other, x) for other in (a, b, arrays)]


def test_a_comparison_of_two_models(pairs):
    assert [one.ok for one in pairs] == [True, False, False]
    for one in pairs:
        told = valid(one.to_json(), "models")
        assert len(told["pairs"]) == len(one.pairs)
        assert [pair["source"] for pair in told["pairs"]] == [pair.source for pair in one.pairs]
    wrong = next(pair for pair in json.loads(pairs[1].to_json())["pairs"] if pair["source"])
    assert ["epsilon", 1e-5, 0.1] in wrong["differs"]
    assert wrong["local"]["ratio"] == pairs[1].sources[0].local.ratio


@pytest.mark.costly
def test_json_is_the_facts_of_the_blocks_and_the_text_has_no_other_numbers(pairs):
    report = probe.check(QKERAS, "conv2d", np.load(DIGITS), expected=np.ones((10, 8, 8, 16)))
    for found, made in ((report, report_blocks), (pairs[1], pair_blocks)):
        told = json.loads(found.to_json())
        facts = made.facts(found)
        assert list(told) == ["schema", *facts]
        held = sum(len(one.facts) for one in made._all(found))
        assert held == len(facts), "no two blocks hold the same key"
    told = json.loads(report.to_json())
    words = str(report)
    for party, (one,) in told["outputs"].items():
        assert f"min {one['min']:.6g}  mean {one['mean']:.6g}  max {one['max']:.6g}" in words, party
    kernel = told["weights"]["kernel"]
    assert f"differ by up to {kernel['largest_difference']:.3g}; " in words
    assert f"{kernel['distinct_values']} effective" in words


def layers():
    ones, linear = np.ones((2, 4), np.float32), torch.nn.Linear(4, 3)
    lstm = torch.nn.LSTM(4, 3, batch_first=True)
    yield "several outputs", lstm, np.ones((2, 5, 4), np.float32), {}
    yield "no description", torch.nn.Sequential(torch.nn.Linear(4, 3)), ones, {}
    x = np.array([[np.nan, np.inf, 1, 2]], np.float32)
    yield "NaN and inf", linear, x, {"expected": np.full((1, 3), np.inf)}
    yield "a part", linear, ones, {"expected": np.zeros(2), "expected_at": "0,0:2"}
    yield "other shape", linear, ones, {"expected": np.zeros(5)}


@pytest.mark.parametrize(("what", "layer", "x", "options"), [*layers()])
def test_every_kind_of_report(what, layer, x, options):
    report = probe.check(layer, "", x, **options)
    told = valid(report.to_json(), "report")
    assert len(told["parameters"]) == len(told["ops"])
    missing = replace(report, notes=("a note",)).to_json()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(missing) | {"more": 1}, SCHEMA)


def test_parameters_are_those_of_the_layer():
    conv = torch.nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
    told = probe.check(conv, "", np.ones((1, 4, 12, 12), np.float32)).parameters[0]
    assert (told["strides"], told["dilations"], told["groups"]) == ([2, 1], [1, 2], 2)
    assert told["pads"] == [[1, 1], [2, 2]]
    norm = torch.nn.LayerNorm(4, eps=1e-3)
    report = probe.check(norm, "", np.ones((2, 4), np.float32))
    assert report.parameters[0]["epsilon"] == 1e-3 and "epsilon 0.001" in str(report)
    lstm = probe.check(torch.nn.LSTM(4, 3), "", np.ones((2, 5, 4), np.float32))
    assert any(one.get("gates") == "ifgo" for one in lstm.parameters)
    heads = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    x = np.ones((2, 5, 8), np.float32)
    told = probe.check(heads, "", [x, x, x]).parameters
    assert any(one.get("scale") == 0.5 for one in told)
    assert max(len(line) for line in str(report).splitlines()[:6]) <= 100
