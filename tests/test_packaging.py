"""What is shipped, and what each way in imports: nothing heavy before it is needed, never the other
framework."""

import ast
import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, version

import probe.adapters
import pytest
from child_pytest import child_environment
from repository import ROOT

import probe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FRAMEWORKS = ["keras", "qkeras", "tensorflow", "tensorflow_model_optimization", "tf_keras", "torch"]
EXTRAS = ["brevitas", "peft", "torchao", "transformers"]
"""What layers of other packages are made of: known by the names of their classes, and never
imported."""


def python(code, *arguments):
    """What a fresh Python prints, started outside the checkout and without this process' settings
    for TensorFlow."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_"))
    }
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        env=env,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.mark.parametrize("name", [*FRAMEWORKS, *EXTRAS, "tf2onnx"])
def test_a_promised_framework_imports(name):
    """A framework that does not load fails here, so that no green run hides a skip."""
    import_module(name)


def test_every_package_is_shipped():
    """setuptools takes a literal list, because adapters/ is installed as probe.adapters; it must
    name every folder."""
    folders = {
        path.parent.relative_to(ROOT)
        for top in ("probe", "adapters")
        for path in (ROOT / top).rglob("*.py")
    }
    names = {".".join(folder.parts) for folder in folders}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == {
        name if name.startswith("probe") else f"probe.{name}" for name in names
    }


def test_types_are_shipped():
    """PEP 561: without the marker, type checkers take everything of an installed package for
    Any."""
    assert (ROOT / "probe" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["probe"]


@pytest.mark.parametrize("top", ["probe", "adapters", "examples", "benchmarks"])
def test_adapters_are_named_by_string(top):
    """The core imports no adapter, and adapters import each other relatively."""
    for path in (ROOT / top).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            assert not [
                name for name in names if f"{name}.".startswith(("adapters.", "probe.adapters."))
            ], path


def test_extras():
    extras = PROJECT["project"]["optional-dependencies"]
    assert {
        "keras",
        "qkeras",
        "tfmot",
        "hgq",
        "torch",
        "torchao",
        "peft",
        "brevitas",
        "tf2onnx",
        "bench",
        "all",
        "dev",
    } <= set(extras)
    assert "hgq" not in extras["all"][0], "hgq2 overwrites QKeras' package"
    assert not [one for group in extras.keys() - {"dev"} for one in extras[group] if "==" in one], (
        "a library takes ranges"
    )


def test_versions_agree():
    assert probe.__version__ == PROJECT["project"]["version"] == version("layerprobe")
    (command,) = entry_points(group="console_scripts", name="probe")
    assert command.value == "probe.__main__:main"


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from {} import main
main()
"""


@pytest.mark.parametrize("name", ["probe.cli", "click", "probe.cli.completion"])
def test_an_interrupt_of_the_imports_is_one_line(name):
    code = INTERRUPTED.format(PROJECT["project"]["scripts"]["probe"].partition(":")[0])
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "probe: interrupted\n")


def test_adapters_of_another_checkout_are_refused(pytestconfig, monkeypatch):
    """In a second checkout the installation of the first offers its adapters beside probe/."""
    (conftest,) = (
        plugin
        for plugin in pytestconfig.pluginmanager.get_plugins()
        if hasattr(plugin, "refuse_another_checkout")
    )
    conftest.refuse_another_checkout()
    monkeypatch.setattr(probe.adapters, "__file__", str(ROOT.parent / "b/adapters/__init__.py"))
    with pytest.raises(pytest.UsageError, match=r"its adapters from .*install this checkout"):
        conftest.refuse_another_checkout()


@pytest.mark.costly
def test_a_second_checkout_runs_no_test_with_the_adapters_of_the_first(tmp_path):
    """The same in a process that starts there, beside the installation of this checkout."""
    for name in ("probe", "tests/conftest.py", "tests/support", "tools", "pyproject.toml"):
        copy, source = tmp_path / name, ROOT / name
        copy.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    (tmp_path / "tests" / "test_it.py").write_text("def test_it(): pass\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=child_environment(PYTHONPATH=""),
        timeout=120,
    )
    assert run.returncode == pytest.ExitCode.USAGE_ERROR, run.stdout
    sentence = (
        f"probe is imported from {tmp_path / 'probe'}, its adapters from {ROOT / 'adapters'}: "
        f"install this checkout, {tmp_path} "
    )
    assert sentence in run.stderr


def test_tests_hold_no_package():
    """An __init__.py under tests/ would shadow the package that is tested."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


IMPORTED = """
import sys
before = set(sys.modules)
{}
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(*sorted(new - set(sys.stdlib_module_names) - {{"probe"}}))
"""


@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ("import probe", ""),
        ("import probe; probe.ProbeError", ""),
        ("import probe.cli", "click"),
        ("import probe.adapters", ""),
    ],
)
def test_what_a_module_imports(code, imported):
    assert python(IMPORTED.format(code)).split() == imported.split()


def test_the_core_imports_no_framework():
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "probe").rglob("*.py")
        if path.stem != "__init__"
    )
    code = IMPORTED.format(f"import {', '.join(modules)}")
    assert not set(python(code).split()) & {*FRAMEWORKS, *EXTRAS}


RUN = """
import sys
from probe.cli import main
try:
    main()
except SystemExit as ended:
    print("status", ended.code or 0)
print("imported", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("arguments", "forbidden"),
    [
        (["digits.keras"], [*FRAMEWORKS, "numpy", "h5py", "onnx", "onnxruntime"]),
        (["digits_qkeras.h5"], [*FRAMEWORKS, "onnx", "onnxruntime"]),
        pytest.param(
            ["digits.keras", "--layer", "conv2d"],
            ["torch", "qkeras", "tensorflow_model_optimization"],
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            ["digits_qkeras.h5", "--layer", "conv2d"], ["torch"], marks=pytest.mark.costly
        ),
        (
            [
                "digits.pt",
                "--layer",
                "conv",
                "--factory",
                "digits_net.py:DigitsNet",
                "--shape",
                "2,1,8,8",
            ],
            [*FRAMEWORKS[:5], *EXTRAS, "h5py"],
        ),
    ],
    ids=["list .keras", "list .h5", "Keras 3", "QKeras", "PyTorch"],
)
def test_probing_imports_one_framework(arguments, forbidden):
    examples = ROOT / "examples"
    out = python(
        RUN, *(f"{examples / one}" if "." in one else one for one in arguments)
    ).splitlines()
    assert out[-2:-1] == ["status 0"]
    assert not set(out[-1].split()) & set(forbidden)
