"""What is said of each pair of parties and of the worst element: one line for a party that differs
from every other alike, and the largest difference where it is elsewhere."""

import numpy as np
import pytest
import torch

import probe
from probe.cli import terminal
from probe.report.as_json import as_dict
from probe.report.text import cause_first


@pytest.fixture(scope="module")
def report():
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(3, 4), torch.randn(2, 3)
    x[0] *= 1e4  # where much is allowed
    values = layer(x).detach().numpy().astype(np.float64)
    values[0, 1] *= 1.001
    values[1, 2] += 0.01
    return probe.check(layer, "", x.numpy(), expected=values)


def test_one_line_says_that_yours_differs_from_every_other(report):
    lines = [line for line in str(report).splitlines() if "DIFFER" in line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("  yours and each of the others DIFFER at 2 of 8 elements, by")
    told = {tuple(each["parties"]) for each in _comparisons(report) if not each["ok"]}
    assert len(told) == 3


def _comparisons(report):
    return as_dict(report)["comparisons"]


def test_the_largest_difference_is_told_where_it_is_not_the_worst(report):
    text = str(report)
    assert "worst element: [1, 2]" in text
    apart = np.abs(report.outputs["expected"] - report.outputs["framework"])
    assert f"  the largest difference is {apart[0, 1]:.3g}, at [0, 1]" in text


def test_the_cause_stands_directly_under_the_verdict():
    layer, x = torch.nn.Linear(3, 4), torch.ones(2, 3)
    right = layer(x).detach().numpy()
    found = probe.check(layer, "", x.numpy(), expected=2 * right)
    assert cause_first(found)[0].startswith(f"why: {found.findings[0].slug}: ")
    lines = terminal.report_lines(found, False).splitlines()
    assert lines[0] == lines[-1] and lines[0].startswith("diverge: ")
    assert lines[2].startswith("why: ")
    assert sum(line.startswith("why: ") for line in lines) == 1
