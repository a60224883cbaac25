"""A sweep whose calls other processes judge says what it says in this one."""

import os
from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
from torch import nn

import probe
from probe.errors import NotCompared
from probe.verdict import other_processes
from probe.verdict.judge import judge


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


class Own(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.detach().numpy() + 1)


@probe.recomputes(Own)
def own(layer, x):
    return x + 1


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), Doubled(), Own(), nn.Flatten()
    ).eval()


X = np.random.default_rng(0).normal(size=(2, 3, 9, 8)).astype(np.float32)


def said(reports):
    return [(one.layer, one.call, one.sentence, one.how, sorted(one.outputs)) for one in reports]


def test_reports_are_the_same_in_the_same_order(monkeypatch):
    model = net()
    here = list(probe.sweep(model, X))
    seen = []
    monkeypatch.setattr(
        other_processes,
        "_can_be_sent",
        lambda one, can=other_processes._can_be_sent: (
            seen.append((one.layer, can(one))) or can(one)
        ),
    )
    with joblib.parallel_config(backend="loky", n_jobs=2):
        there = list(probe.sweep(model, X))
    assert said(there) == said(here)
    assert ("0", True) in seen and ("4", False) in seen
    for mine, theirs in zip(here, there, strict=True):
        for party, output in mine.outputs.items():
            np.testing.assert_array_equal(theirs.outputs[party], output)
        np.testing.assert_array_equal(theirs.inputs[0], mine.inputs[0])


def test_it_is_another_process_that_judges():
    def process(capture, yours):  # inside, so that it is sent whole and not by its module's name
        return replace(judge(capture), notes=(str(os.getpid()),)), ""

    call = next(_captures()), None
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert other_processes.configured() is joblib
        ((_, (judged, _)),) = other_processes.in_other_processes(joblib, process, iter([call]))
    assert judged.layer == "0" and judged.notes != (str(os.getpid()),)
    assert other_processes.configured() is None


def test_what_changed_meanwhile_is_judged_here():
    def process(capture, yours):
        return replace(judge(capture), verdict="diverge", notes=(str(os.getpid()),)), ""

    calls = [(replace(next(_captures()), changed=lambda one=one: one), None) for one in ((), "w")]
    with joblib.parallel_config(backend="loky", n_jobs=2):
        judged = list(other_processes.in_other_processes(joblib, process, iter(calls)))
    assert [one.notes == (str(os.getpid()),) for _, (one, _) in judged] == [False, True]


def _captures():
    found = []
    probe.open_model(net()).run((X,), ["0"], found.append)
    return iter(found)


@pytest.mark.costly
def test_values_of_the_users_own_are_used_or_refused_there_too():
    model = net()
    right = {one.layer: one.outputs["framework"] for one in probe.sweep(model, X)}
    wrong = {"1": right["1"], "2": right["2"] + (right["2"] > 1)}
    with joblib.parallel_config(backend="loky", n_jobs=2):
        reports = {one.layer: one for one in probe.sweep(model, X, expected=wrong)}
        assert [name for name, one in reports.items() if one.verdict == "diverge"] == ["2"]
        assert reports["2"].findings or reports["2"].diagnosis
        with pytest.raises(NotCompared, match="1"):
            list(probe.sweep(model, X, expected={"1": right["1"]}, layers=["2"]))


@pytest.mark.exhaustive
def test_on_a_cluster_of_two_workers():
    distributed = pytest.importorskip("distributed", reason="part of the dev extra")
    model = net()
    here = said(probe.sweep(model, X))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert said(probe.sweep(model, X)) == here
