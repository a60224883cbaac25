"""What a program on a device has written of a model's tensors, as outputs alone."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import probe
from probe.cli.main import command
from probe.errors import BadInput

EXAMPLES = Path(__file__).parents[3] / "examples"
MODEL = str(EXAMPLES / "digits_int8.tflite")
CONV = "sequential_1/batch_normalization_1/batchnorm/sub1"


@pytest.fixture(scope="module")
def reference():
    return probe.open_model(MODEL, engine="reference")


@pytest.fixture(scope="module")
def image():
    return np.load(EXAMPLES / "digits.npy")[:1]


@pytest.fixture(scope="module")
def reports(reference, image):
    """Of each layer by the number of its tensor; the reference kernels round as TFLM does."""
    numbers = {name: node.outputs[0] for name, node in reference.flow.nodes.items()}
    return {numbers[report.layer]: report for report in probe.sweep(reference, image)}


def codes(report):
    return report.outputs["framework"]


def reals(report):
    (grid,) = report.output_grids
    return ((codes(report).astype(np.float64) - grid.zero_point) * grid.scale).astype(np.float32)


def dumps(reports, tmp_path):
    """The same tensors by their numbers, by file names, flat, and as real numbers."""
    yield {f"tensor_{at}": codes(report).ravel() for at, report in reports.items()}
    yield {report.layer.replace("/", "_"): codes(report) for report in reports.values()}
    yield {f"{at}": reals(report) for at, report in reports.items()}
    np.savez(tmp_path / "dump.npz", **{report.layer: reals(report) for report in reports.values()})
    yield str(tmp_path / "dump.npz")


def test_right_dumps_agree_in_every_form(reference, reports, image, tmp_path):
    for dump in dumps(reports, tmp_path):
        found = probe.compare(reference, dump, image)
        assert found.ok and len(found.pairs) == 10, str(found)
        assert any("10 arrays are re" in note for note in found.notes)


def test_the_rounding_of_the_device_is_named(reports, image):
    """The device rounds twice, Python's default once."""
    convolutions = {
        str(at): codes(report) for at, report in reports.items() if "CONV_2D" in report.kind
    }
    found = probe.compare(MODEL, convolutions, image)
    first = found.sources[0]
    assert found.verdict == "diverge" and first.a == (CONV,)
    assert first.findings[0].slug == "rounds-twice"
    assert "differ by 1, none by more: both are TFLite" in first.findings[0].claim


def test_a_wrong_tensor_is_the_source(reference, reports, image):
    wrong = {str(at): codes(report).copy() for at, report in reports.items()}
    at = next(at for at, report in reports.items() if report.kind == "LEAKY_RELU")
    wrong[str(at)].ravel()[::7] += 1
    found = probe.compare(reference, wrong, image, search=False)
    assert [source.a for source in found.sources] == [(reports[at].layer,)]


def test_a_tensor_whose_memory_was_used_again(reference, reports, image):
    """Read after the run, as a dump is that no engine was told to keep tensors for."""
    place = {report.layer: at for at, report in reports.items()}
    early, late = "sequential_1/depthwise_conv2d_1/Squeeze1", "sequential_1/pool_1/AvgPool"
    gone = codes(reports[place[early]]).copy()
    over = codes(reports[place[late]]).ravel()
    gone.ravel()[64 : 64 + over.size] = over
    words = f"values 64 to {63 + over.size} of {gone.size} are those of the tensor {late}: "
    report = probe.check(reference, early, image, expected=gone)
    assert report.findings[0].slug == "reused-buffer", str(report)
    assert report.findings[0].claim == f"{words}the memory of {early} was used again"
    dump = {str(at): codes(report) for at, report in reports.items()} | {str(place[early]): gone}
    found = probe.compare(reference, dump, image)
    (source,) = found.sources
    assert source.a == (early,) and source.findings[0].claim.startswith(words), str(found)


def test_a_folder_of_bytes(reports, image, tmp_path):
    folder = tmp_path / "dump"
    folder.mkdir()
    for at, report in reports.items():
        codes(report).tofile(folder / f"{at}.bin")
    np.save(tmp_path / "x.npy", image)
    words = ["compare", MODEL, str(folder), "--input", str(tmp_path / "x.npy")]
    words += ["--a-engine", "reference"]
    run = CliRunner().invoke(command, [*words, "--dtype", "int8"])
    assert run.exit_code == 0 and "agree: 10 of 10 pairs agree" in run.output
    run = CliRunner().invoke(command, words)
    assert isinstance(run.exception, BadInput)
    assert "do not tell the dtype of their numbers: give --dtype" in str(run.exception)
