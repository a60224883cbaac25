"""With --only-listed-skips, a test that is skipped and is not in the list fails: where everything
is installed, nothing stops being tested without notice.

A plugin of pytest, which tests/conftest.py names.
"""

import pytest

_KERAS, _AO = "tests/adapters/keras", "tests/adapters/torch/packages/test_ao_quantized.py"
SKIPPED = {
    f"{_KERAS}/layers/test_attention.py::test_several_axes": "Keras 2 counts axes another way",
    f"{_KERAS}/layers/test_attention.py::test_masks_of_the_inputs": "Keras 2 has no such layer",
    f"{_KERAS}/layers/test_resize.py::test_resizing_and_upsampling": (
        "Keras 3 has no interpolation of two of the names"
    ),
    f"{_KERAS}/loading/test_output_shapes.py::test_every_rule": (
        "of a class that one of Keras 2 and 3 does not have"
    ),
    f"{_AO}::test_sums": "PyTorch has no kernel of that engine, or the same as for another",
    f"{_AO}::test_dynamic": "PyTorch has no kernel of that engine",
    "tests/evaluation/test_accumulation_variants.py::test_winograd_is_named_and_no_divergence": (
        "NNPACK needs a processor with AVX2"
    ),
    "tests/cli/test_surroundings.py::test_a_check_gives_the_same_answer": (
        "not every system binds a process to a core"
    ),
    "tests/cli/test_surroundings.py::test_folders_with_spaces_and_other_letters": (
        "where Python reads names as ASCII it makes none"
    ),
    "tests/test_loops.py::test_a_change_is_what_differs_from_its_base": "git need not be there",
}
"""A test, without its cases -> why some of these are skipped where everything is installed."""


def pytest_addoption(parser):
    parser.getgroup("loops").addoption(
        "--only-listed-skips",
        action="store_true",
        help="fail a test that is skipped and is not in tests/support/listed_skips.py",
    )


def pytest_configure(config):
    if config.getoption("--only-listed-skips"):
        config.pluginmanager.register(Listed(), "listed")


class Listed:
    """Turns other skips into failures."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        return _unless_listed((yield))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self):
        return _unless_listed((yield))


def _unless_listed(report):
    expected_to_fail = hasattr(report, "wasxfail")
    listed = report.nodeid.partition("[")[0] in SKIPPED
    if report.skipped and not expected_to_fail and not listed:
        _, _, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{report.nodeid} is skipped ({reason}), and is not in tests/support/listed_skips.py"
        )
    return report
