"""The report as text: its width, ties in one sentence, one short line for each value in a
debugger."""

import json
from dataclasses import replace

import keras
import keras_cases
import numpy as np
import onnx_cases
import pytest
import torch
from repository import EXAMPLES

import probe
from probe.printable import middle
from probe.report import Finding
from probe.report.blocks import row
from probe.report.text import Columns, columns_for, line

WIDTH = 100
X = np.load(EXAMPLES / "digits.npy")


def assert_narrow(text):
    assert all(len(line) <= WIDTH for line in str(text).splitlines()), text


@pytest.mark.costly
def test_reports_of_onnx_operators():
    for case in onnx_cases.CASES:
        reports = list(probe.sweep(*onnx_cases.single(*case)))
        assert reports
        for report in reports:
            assert_narrow(report)


@pytest.mark.exhaustive
def test_reports_of_keras_layers():
    seen = 0
    for name in keras_cases.names():
        if (built := keras_cases.build(keras, name)) is not None:
            layer, arrays = built
            assert_narrow(probe.check(layer, layer.name, given=arrays))
            seen += 1
    assert seen > 80


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.parametrize("file", ["digits.keras", "digits_qkeras.h5"])
def test_reports_and_elements_of_the_examples(file):
    model = probe.open_model(EXAMPLES / file)
    assert model.layers
    for layer in model.layers:
        report = probe.check(model, layer.name, X)
        assert_narrow(report)
        if report.ok and report.outputs["numpy"].ndim:
            at = (0,) * report.outputs["numpy"].ndim
            assert_narrow(probe.explain(model, layer.name, X, at=at, sees=True))


def test_what_continues_a_line_is_indented_and_json_has_whole_sentences():
    layer = torch.nn.Linear(4, 3)
    report = probe.check(layer, "", np.ones((2, 4), np.float32), expected=np.zeros((2, 3)))
    note = " ".join(["a sentence that goes on for long"] * 5)
    report = replace(report, notes=(note,), source="/".join(["a folder"] * 30))
    assert_narrow(report)
    paragraph = next(one for one in str(report).split("\n\n") if one.startswith("note: "))
    _, *rest = paragraph.splitlines()
    assert rest and all(line.startswith(6 * " ") for line in rest)
    assert " ".join(line.strip() for line in paragraph.splitlines()) == f"note: {note}"
    begun = [line for line in str(report).splitlines() if line and not line.startswith(" ")]
    assert [line for line in begun if line.startswith("diverge")] == begun[-1:]
    assert json.loads(report.to_json())["notes"] == [note]


def test_a_long_word_is_broken():
    report = probe.check(torch.nn.ReLU(), "", np.ones((2, 4), np.float32))
    assert_narrow(replace(report, source="x" * 300))


def test_a_tie_is_one_sentence_and_two_outputs_are_no_tie():
    report = probe.check(torch.nn.ReLU(), "", np.ones((2, 4), np.float32))
    pair = [
        Finding("one-slug", "this was done", 0.5, do="undo this", tie=True),
        Finding("other-slug", "that was done", 0.25, do="undo that", tie=True),
    ]
    text = str(replace(report, findings=tuple(pair)))
    assert text.count("why: ") == 1
    (why,) = (line for line in text.splitlines() if line.startswith("why: "))
    assert "one-slug (this was done), or other-slug (that" in why and "equally well" in why
    assert "one-slug: undo this" in text and "other-slug: undo that" in text
    assert "largest remaining difference 0.5 x" in text
    apart = tuple(replace(one, tie=False) for one in pair)
    text = str(replace(report, findings=apart))
    assert text.count("why: ") == 2 and "equally well" not in text


def test_values_have_one_short_line():
    layer = torch.nn.Linear(4, 3)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    wrong = (torch.from_numpy(x) @ layer.weight.T).detach().numpy()
    report = probe.check(layer, "", x, expected=wrong)
    assert repr(report) == "<Report (root): diverge>"
    (finding,) = report.findings
    assert str(finding) == f"missing-bias: {finding.claim}"
    assert repr(finding) == f"<Finding {finding}>"
    for comparison in report.comparisons.values():
        assert repr(comparison) == f"<Comparison {comparison}>"
    assert str(report.comparisons["numpy", "expected"]).startswith("6 of 6 elements differ")
    other = probe.check(layer, "", x, expected=np.zeros(5))
    for value in (*report.comparisons.values(), *other.comparisons.values(), report, finding):
        assert len(repr(value)) < 200 and "\n" not in repr(value)
    assert "shapes differ" in str(other.comparisons["numpy", "expected"])


def test_of_values_of_another_shape_the_shapes_are_told_and_no_numbers():
    report = probe.check(torch.nn.Linear(4, 3), "", np.ones((2, 4)), expected=np.zeros((7, 5)))
    assert report.sentence.startswith("diverge: yours has another shape: (2, 3) and (7, 5). The ")
    assert "parties" not in str(report) and "output     (batch 2, features 3)" in str(report)
    assert '"outputs"' in report.to_json() and report.outputs.keys() > {"numpy", "expected"}


def test_the_mode_of_a_live_module_is_in_the_report():
    layer = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    x = np.ones((2, 4), np.float32)
    for training, words in ((True, "the module is in training mode"), (False, "evaluation mode")):
        layer.train(training)
        assert words in str(probe.check(layer, "1", x))


def test_a_failed_assertion_shows_the_line_of_the_test():
    """pytest leaves out the frames that hide themselves."""
    with pytest.raises(AssertionError) as caught:
        probe.assert_layer(torch.nn.ReLU(), "", np.ones((2, 3), np.float32), np.zeros((2, 3)))
    shown = caught.traceback.filter(caught)
    assert [entry.name for entry in shown] == ["test_a_failed_assertion_shows_the_line_of_the_test"]


@pytest.mark.parametrize("widths", [(26, 18), (40, 18), (8, 8)])
def test_a_call_of_a_sweep_fits_the_page(widths):
    """The row begins with the verdict, the name and the class; what follows is indented."""
    layer = torch.nn.Linear(4, 3)
    x = np.ones((2, 4), np.float32)
    reports = [probe.check(layer, "", x), probe.check(layer, "", x, expected=np.zeros((2, 3)))]
    for name in ("a", "block.0.conv", "model.layers.0.input_layernorm/reducemean", "long" * 60):
        for report in reports:
            text = line(replace(report, layer=name), Columns(*widths))
            assert_narrow(text)
            first, *rest = text.splitlines()
            assert first.split()[:3] == [report.verdict, middle(name, 60), "Linear"]
            assert all(one.startswith(10 * " ") for one in rest)
            assert row(report).text in " ".join(text.split())
    assert middle("abcdefgh", 5) == "ab…gh" and middle("abcdefgh", 8) == "abcdefgh"


@pytest.mark.parametrize("page", [60, 80, 100])
@pytest.mark.parametrize("short", [True, False])
def test_the_columns_of_a_sweep_stay_where_they_are(page, short):
    """Whatever the lengths of names and classes: what is said of agreeing calls begins in one
    column, unless a long name has taken its room; one line where names are shortened."""
    report = probe.check(torch.nn.ReLU(), "", np.ones((2, 4), np.float32))
    assert row(report).text == "equal"
    page = page if short else 100
    for names, kinds in ((6, 6), (21, 11), (38, 18), (70, 40)):
        columns = columns_for(names, kinds, page, short)
        begun = set()
        for name in ("conv", "n" * names, "n" * 58):
            told = line(replace(report, layer=name, kind="k" * min(kinds, 18)), columns)
            *_, last = told.splitlines()
            assert all(len(one) <= page for one in told.splitlines()), told
            assert not short or told == last
            if columns.shape and not short:
                assert last.index("(2, 4)") == 10 + columns.name + columns.kind + 2, told
            taken = len(last.partition(" equal")[0].rstrip())
            if short or len(name) <= columns.name or told != last:
                begun.add(last.index("equal"))
            else:
                assert last.index("equal") in (*begun, taken + 1)
        assert len(begun) == 1, (names, kinds, told)
    assert columns_for(21, 11, 100, short=True).shape == 17
    assert [columns_for(21, 11, wide, short=True).shape for wide in (60, 80)] == [0, 0]
    assert [columns_for(21, 11, wide, short=True).kind for wide in (60, 80)] == [0, 11]


@pytest.mark.parametrize("file", ["digits.keras", "digits_qkeras.h5", "digits.pt"])
def test_models_and_what_they_hold_show_themselves_in_a_line(file, tmp_path):
    factory = f"{EXAMPLES / 'digits_net.py'}:DigitsNet" if file.endswith(".pt") else None
    model = probe.open_model(EXAMPLES / file, factory=factory)
    x = X.transpose(0, 3, 1, 2) if factory else X
    name = model.layers[0].name
    report = probe.check(model, name, x)
    recording = probe.record(model, x, tmp_path / "run.npz")
    values = [model, recording, report, *report.weights.values(), *report.held.values()]
    values.append(probe.compare(recording, recording, x))
    for value in values:
        assert len(repr(value)) < 200 and "\n" not in repr(value), repr(value)
    assert f"{len(model.layers)} layers" in repr(model) and file in repr(model)
    for value in (model, recording, values[-1]):
        page = value._repr_html_()
        assert "<script" not in page and "style=" not in page
    assert model._repr_html_().count("<tr>") == 1 + len(model.layers)
