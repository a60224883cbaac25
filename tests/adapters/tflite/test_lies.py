"""Values that are wrong in every way never agree, under each engine."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import probe

EXAMPLES = Path(__file__).parents[3] / "examples"
NETS = sorted(path.stem.removeprefix("digits_") for path in EXAMPLES.glob("*.tflite"))
ENGINES = ["xnnpack", "optimised", "reference"]
if find_spec("tflite_micro") is not None:
    ENGINES.append("tflm")


def lies(right, zero):
    """(what is wrong, the values); codes around a zero point, or numbers."""
    whole = right.dtype.kind in "iu"
    steps = right.astype(np.int64) - zero if whole else right
    yield "zeros", np.zeros_like(steps)
    yield "negated", -steps
    yield "halved", steps // 2 if whole else steps / 2
    for place, sign in (((0,) * right.ndim, 1), ((-1,) * right.ndim, -1)):
        off = steps.copy()
        off[place] += sign if whole else sign * max(1e-3, np.abs(right).max() / 100)
        yield f"off at {place}", off


def _runs():
    """Each net under each engine; by default each net under one and a net under each."""
    for net in NETS:
        for engine in ENGINES:
            first = engine == ENGINES[0] or net == "int8"
            yield pytest.param(net, engine, marks=[] if first else pytest.mark.exhaustive)


@pytest.mark.parametrize("net, engine", [*_runs()])
def test_no_lie_agrees(net, engine, tmp_path):
    model = probe.open_model(EXAMPLES / f"digits_{net}.tflite", engine=engine)
    image = np.load(EXAMPLES / "digits.npy")[:1]
    probe.record(model, image, str(tmp_path / "run.npz"))
    run = probe.open_model(tmp_path / "run.npz")
    told = 0
    for report in probe.sweep(run, search=False):
        assert report.verdict == "agree" or engine == "tflm", report.sentence
        if report.verdict != "agree":
            assert "tflm does not run it" in report.sentence
            continue
        right, (grid,) = report.outputs["framework"], report.output_grids or (None,)
        zero = 0 if grid is None else int(np.ravel(grid.zero_point)[0])
        for what, wrong in lies(right, zero):
            values = wrong
            if grid is not None:
                values = np.clip(wrong + zero, *grid.bounds).astype(right.dtype)
            if np.array_equal(values, right):
                continue
            said = probe.check(run, report.layer, expected=values, search=False)
            assert said.verdict == "diverge", f"{report.layer}, {what}: {said.sentence}"
            told += 1
    assert told > 30
