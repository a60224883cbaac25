"""The environment every test runs in, set before anything imports a framework."""

import gc
import logging
import os
import signal
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a process for each core: further threads would only wait for each other, a barrier
    # ten times as long as the work.
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "TF_NUM_INTRAOP_THREADS",
    ):
        os.environ[name] = "1"

# ONNX Runtime 1.32 writes a file of its own beneath HOME, which need not exist.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import probe.adapters
import pytest
from hypothesis import HealthCheck, settings

from probe.cli import main

pytest_plugins = ["bounded_cost", "listed_skips", "loops", "own_seed"]
"""In tests/support, each with its options."""
ROOT = Path(__file__).resolve().parents[1]


def set_signals():
    """The handlers that Python sets, none of them blocked, whatever this process was started with:
    a shell's background job and ``nohup`` ignore signals, and so would what the tests start.

    Returns what was in place, for ``put_signals_back``.
    """
    handlers = {
        getattr(signal, name): handler
        for name, handler in {
            "SIGINT": signal.default_int_handler,
            "SIGTERM": signal.SIG_DFL,
            "SIGPIPE": signal.SIG_IGN,
            "SIGCHLD": signal.SIG_DFL,
        }.items()
        if hasattr(signal, name)
    }
    # None stands for a handler that was not set from Python, and cannot be put back.
    replaced = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    blocked = set()
    if hasattr(signal, "pthread_sigmask"):
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, handlers)
    return {number: old for number, old in replaced.items() if old is not None}, blocked


def put_signals_back(handlers, blocked):
    if blocked:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in handlers.items():
        signal.signal(number, handler)


# Before xdist starts its workers, which inherit them.
REPLACED_SIGNALS = set_signals()

# As many cases as can be waited for; `ci` draws what the tests say
# (support/hypothesis_examples.py), the same ones each time.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=25
)
settings.register_profile(
    "ci", settings.get_profile("default"), max_examples=100, derandomize=True, database=None
)
settings.register_profile("many", settings.get_profile("default"), max_examples=1000)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser):
    parser.addoption(
        "--without-tensorflow",
        action="store_true",
        help="leave out what needs TensorFlow, which then cannot be imported",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """A process for each core, where tests are not asked for one by one and nobody says how many
    (``-n 0``: none)."""
    option = config.option
    if (
        option.help
        or not config.pluginmanager.hasplugin("xdist")
        or option.numprocesses is not None
        or "PYTEST_XDIST_WORKER" in os.environ
    ):
        return
    one_by_one = option.file_or_dir and all("::" in path for path in option.file_or_dir)
    if not (one_by_one or option.collectonly or option.usepdb or option.capture == "no"):
        option.numprocesses, option.dist = "auto", "worksteal"


def refuse_another_checkout():
    """An installation from another checkout offers its adapters beside the probe/ of this one: the
    tests would be those of neither, or of the other."""
    package, adapters = (
        Path(module.__file__).resolve().parent for module in (probe, probe.adapters)
    )
    beside = ROOT / "adapters" if package == ROOT / "probe" else package / "adapters"
    if adapters != beside:
        raise pytest.UsageError(
            f"probe is imported from {package}, its adapters from {adapters}: "
            f"install this checkout, {ROOT} (pip install -e '.[all,dev]')"
        )


def pytest_configure(config):
    refuse_another_checkout()
    if config.getoption("--without-tensorflow"):
        # a None there is an ImportError
        sys.modules.update(dict.fromkeys(["keras", "qkeras", "tensorflow", "tf_keras"]))


def pytest_unconfigure():
    put_signals_back(*REPLACED_SIGNALS)


def pytest_ignore_collect(collection_path, config):
    names = ("test_qkeras_", "test_tf_", "test_false_alarms_")  # they import it at their top
    return (
        True
        if config.getoption("--without-tensorflow") and collection_path.name.startswith(names)
        else None
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    if config.getoption("--without-tensorflow"):
        left_out = [item for item in items if item.get_closest_marker("tensorflow")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("tensorflow")]
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_collection_finish(session):
    """What was imported by now stays, and is not gone through again by each collection of all
    garbage: by those that Keras asks for where it quantises a layer, and by those that come more
    often where little is known to live long, unless the thresholds are higher."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class _Faults(logging.Handler):
    """The internal errors that an answer was given in spite of."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.found = []

    def emit(self, record):
        self.found.append(record)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test fails where probe absorbed an internal error, unless the test plants one."""
    log, faults = logging.getLogger("probe.errors"), _Faults()
    log.addHandler(faults)
    log.setLevel(logging.DEBUG)
    try:
        result = yield
    finally:
        log.removeHandler(faults)
        log.setLevel(logging.NOTSET)
    if faults.found and not item.get_closest_marker("plants_a_fault"):
        told = map(logging.Formatter("%(message)s").format, faults.found)
        pytest.fail("probe absorbed an internal error:\n" + "\n".join(told), pytrace=False)
    return result


@pytest.fixture(name="probe")
def run_probe(monkeypatch, capsys):
    """Runs the command in this process: (exit status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["probe", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return run


@pytest.fixture
def no_gc_callbacks():
    """Hypothesis times the garbage collector with a callback; Python swallows a Ctrl-C that lands
    in one."""
    callbacks = gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks.extend(callbacks)
