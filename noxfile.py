"""What a change must pass: ``nox -l`` lists the sessions, ``nox`` alone runs `fast`; what follows
``--`` is handed to the tool.

They run in the environment that is active (``pip install -e '.[all,dev]'``); only `browser`, `hgq`
and `wheel` make environments of their own.
"""

import shutil
from pathlib import Path
from zipfile import ZipFile

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["fast"]

ROOT = Path(__file__).parent
TEST_TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
# Those that pass with the newest ONNX Runtime for Python 3.10, 1.23, too.
WITHOUT_FRAMEWORK = (
    "tests/test_public_api.py",
    "tests/adapters/onnx/test_limits.py",
    "tests/adapters/onnx/test_losses.py",
    "tests/adapters/onnx/test_resize.py",
    "tests/capture/test_array_files.py",
    "tests/comparison",
    "tests/evaluation/test_memory_limit.py",
    "tests/evaluation/test_onnxruntime_reference.py",
    "tests/evaluation/test_power.py",
    "tests/recording/test_base_package.py",
    "tests/recording/test_hostile_recordings.py",
    "tests/recording/test_store.py",
    "tests/verdict/test_quantization_level_flips.py",
)
CORE = (
    *WITHOUT_FRAMEWORK,
    "tests/adapters/onnx/test_attention.py",
    "tests/adapters/onnx/test_bfloat16.py",
    "tests/adapters/onnx/test_endless_loop.py",
    "tests/adapters/onnx/test_operators.py",
    "tests/adapters/onnx/test_quantize_linear.py",
    "tests/adapters/onnx/test_recurrent.py",
    "tests/adapters/onnx/test_unread_attributes.py",
    "tests/adapters/onnx/test_unsorted_nodes.py",
    "tests/adapters/onnx/test_value_dependent_shapes.py",
    "tests/adapters/onnx/test_whole_graph.py",
    "tests/description/test_builder.py",
    "tests/evaluation/test_monte_carlo.py",
    "tests/evaluation/test_onnxruntime_against_specification.py",
    "tests/hypotheses/test_tried_values.py",
    "tests/recording/test_named_arrays.py",
    "tests/recording/test_plain_data.py",
    "tests/recording/test_reproduction.py",
    "tests/recording/test_taken_up_folders.py",
    "tests/report/test_output_folders.py",
    "tests/test_command_line.py",
    "tests/test_extras.py",
    "tests/test_file_access.py",
    "tests/test_imports.py",
    "tests/test_irregular_files.py",
    "tests/test_limited_child.py",
    "tests/test_pytest_plugin.py",
    "tests/trial/test_budget.py",
    "tests/verdict/test_ladder.py",
)
"""What needs neither a framework nor more than the extra dev-core, in a checkout."""
WITHOUT_TENSORFLOW = ("ops", "comparison", "evaluation", "verdict", "diagnosis")
"""Folders of tests that --without-tensorflow is for."""
STARTED_IN_OTHER_WAYS = {
    "interrupts-ignored": (
        ["bash", "-c", 'trap "" INT; exec "$@"', "bash"],
        ["tests/test_interrupts.py", "tests/adapters/onnx/test_endless_loop.py"],
    ),
    "no-home": (["env", "-u", "HOME", "LC_ALL=C"], ["tests/cli", "tests/report"]),
    "colours": (["env", "FORCE_COLOR=1"], ["tests/cli"]),
    "no-terminal": (["env", "TERM=dumb", "NO_COLOR=1", "COLUMNS=40"], ["tests/cli"]),
    "ascii": (
        ["env", "LC_ALL=C", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0"],
        ["tests/cli", "tests/report", "tests/recording"],
    ),
    "one-core": (["taskset", "-c", "0"], ["tests/cli", "tests/capture"]),
    "warnings": (
        ["env", "PYTHONWARNINGS=error", "PYTHONDONTWRITEBYTECODE=1"],
        ["tests/capture", "tests/recording"],
    ),
}
"""The words before the tests' command, and the tests, for the session `surroundings`."""
BENCHMARKS = (
    "startup",
    "memory",
    "speed",
    "attention",
    "recurrent",
    "linear",
    "diagnosis",
    "independent",
    "healthy_pairs",
    "comparing",
    "onnx_node_cases",
    "tflite",
    "truth",
    "recordings",
)
"""All that write a section of benchmarks/RESULTS.md."""


@nox.session
def fast(session: nox.Session) -> None:
    """The tests beside what a change touches, as the README's test command has them."""
    found = session.run("python", "tools/changed_rooms.py", silent=True)
    paths = str(found).split()
    if not paths:
        session.skip("the change touches nothing that has tests beside it")
    without = [f"tests/{name}/" for name in WITHOUT_TENSORFLOW]
    if all(f"{path}/".startswith(tuple(without)) for path in paths):
        paths.append("--without-tensorflow")
    session.run("python", "-m", "pytest", *paths, *session.posargs)


@nox.session
def core(session: nox.Session) -> None:
    """What needs no framework: numerics against ONNX Runtime, ONNX files, recordings, verdicts.
    ``pip install -e '.[dev-core]'`` is enough for it."""
    session.run("python", "-m", "pytest", *CORE, *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """The README's test command: all but costly and exhaustive tests and whole networks."""
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def everything(session: nox.Session) -> None:
    """All tests, those of whole networks too."""
    session.run("python", "-m", "pytest", "-m", "not gpu", *session.posargs)


@nox.session
def scripts(session: nox.Session) -> None:
    """Every call that the adapters' tests recompute, written by hand, run and compared; and what is
    not written."""
    session.env["PYTHONPATH"] = str(ROOT / "tests" / "support")
    paths = session.posargs or ["tests/adapters"]
    session.run("python", "-m", "pytest", "-p", "script_every_call", "-n", "0", *paths)


@nox.session
def surroundings(session: nox.Session) -> None:
    """Some tests, started in the ways named after ``--``, or in all: signals ignored, no HOME,
    other locales, colours."""
    for name in session.posargs or STARTED_IN_OTHER_WAYS:
        words, tests = STARTED_IN_OTHER_WAYS[name]
        # By default the cases of the README's test command, whatever else a caller asks for.
        command = ["env", "-u", "PYTEST_ADDOPTS", "python", "-m", "pytest", *tests]
        session.run(*words, *command, external=True)


@nox.session(venv_backend="venv", reuse_venv=True)
def hgq(session: nox.Session) -> None:
    """HGQ2, in an environment of its own: its package `qkeras` would overwrite QKeras'."""
    session.install("-e", ".[hgq]", *TEST_TOOLS)
    session.run("python", "-m", "pytest", "tests/adapters/hgq", *session.posargs)


@nox.session
def notebook(session: nox.Session) -> None:
    """The example notebook in a kernel; fails where a cell does."""
    written = Path(session.create_tmp()).resolve() / "digits.ipynb"
    with session.chdir(ROOT / "examples"):
        session.run("jupyter", "execute", "digits.ipynb", "--output", str(written))


@nox.session(venv_backend="venv", reuse_venv=True)
def browser(session: nox.Session) -> None:
    """The pages in Chromium or Chrome as installed, headless and offline: keyboard, print, and what
    axe-core says of contrast and structure; and Model Explorer's files in Model Explorer."""
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        session.error("neither chromium nor google-chrome is on PATH: apt-get install chromium")
    tools = ("playwright>=1.49", "axe-playwright-python>=0.1.4", "ai-edge-model-explorer>=0.1.30")
    session.install("-e", ".", *tools, *TEST_TOOLS)
    session.run("python", "-m", "pytest", "-n", "0", "tests/browser", *session.posargs)


@nox.session(venv_backend="venv")
def wheel(session: nox.Session) -> None:
    """The wheel ships the package and nothing else, and works with the base dependencies alone,
    from another folder."""
    folder = Path(session.create_tmp()).resolve()
    for old in folder.glob("*.whl"):
        old.unlink()
    # What an earlier build has left there would be shipped too.
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    session.run(
        "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."
    )
    (built,) = folder.glob("*.whl")
    shipped = {name for name in ZipFile(built).namelist() if ".dist-info/" not in name}
    sources = {"probe": ROOT / "probe", "probe/adapters": ROOT / "adapters"}
    wanted = {
        f"{name}/{path.relative_to(top).as_posix()}"
        for name, top in sources.items()
        for pattern in ("*.py", "*.h", "templates/*")
        for path in top.rglob(pattern)
    }
    if differing := shipped ^ wanted ^ {"probe/py.typed"}:
        session.error(f"in the wheel or in the sources, not in both: {sorted(differing)}")
    session.install(str(built))
    with session.chdir(folder):
        session.run("probe", "--help", silent=True)
        listing = session.run("probe", str(ROOT / "examples" / "digits.keras"), silent=True)
        if "conv2d" not in listing:
            session.error(f"the listing of digits.keras lacks its layer conv2d:\n{listing}")
        outside = (
            "import probe.adapters, importlib.util; assert "
            "importlib.util.find_spec('adapters') is None"
        )
        session.run("python", "-c", f"{outside}; assert 'site-packages' in probe.__file__")
    session.install(*TEST_TOOLS)
    # The command alone: with "python -m" the checkout would come before what is installed.
    session.run("pytest", *WITHOUT_FRAMEWORK, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, the direction of imports, and the hosted workflows and issue forms against
    their schemas."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "probe", "adapters")
    session.run("lint-imports", "--no-cache")
    hosted = ROOT / ".github"
    for schema, files in {
        "github-workflows": sorted(hosted.glob("workflows/*.yml")),
        "github-issue-forms": sorted(
            {*hosted.glob("ISSUE_TEMPLATE/*.yml")} - {hosted / "ISSUE_TEMPLATE" / "config.yml"}
        ),
        "github-issue-config": [hosted / "ISSUE_TEMPLATE" / "config.yml"],
    }.items():
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files))


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the site of docs/ in build/site/html, offline; fails on a warning or a broken link."""
    session.run("python", "tools/gather_pages.py", "build/site/pages")
    session.run("zensical", "build", "--strict", "--clean")


@nox.session
def write(session: nox.Session) -> None:
    """Writes what is generated in docs/ and README.md: whole pages, and the output of code
    blocks."""
    session.run("python", "tools/gen_docs.py")
    session.run("python", "tools/gen_op_hooks.py")
    session.run("python", "tools/gen_op_table.py")
    session.run("python", "tools/gen_class_table.py")
    session.run("python", "tools/doc_blocks.py")


@nox.session
def bench(session: nox.Session) -> None:
    """Writes benchmarks/RESULTS.md, or its sections by the benchmarks named after ``--``; fails
    where a bar is exceeded."""
    for name in session.posargs or BENCHMARKS:
        session.run("python", f"benchmarks/{name}.py")


@nox.session
def mutation(session: nox.Session) -> None:
    """Makes random mistakes in the source, where it lies, and shows which the tests of the same
    room see, which only others, and which none: in a clone (``-- --help``)."""
    session.run("python", "tools/mutation.py", *session.posargs)
