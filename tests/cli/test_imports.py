"""What a command leaves out of a framework's own imports."""

import subprocess
import sys

import pytest
from repository import EXAMPLES

PROGRAM = """
import sys
sys.argv = ["probe", *sys.argv[1:]]
from probe.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(sorted({"sklearn", "scipy", "keras"} & sys.modules.keys()))
import sklearn  # whoever wants it still has it
"""


@pytest.mark.costly
@pytest.mark.exhaustive(default=1)
@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["digits.keras", "digits_qkeras.h5"])
def test_keras_does_without_scikit_learn(name):
    pytest.importorskip("sklearn")
    asked = (EXAMPLES / name, "--layer", "conv2d", "--input", EXAMPLES / "digits.npy")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, asked)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "['keras']"


def test_others_are_not_refused(tmp_path):
    """A module of the user's own that imports it, while the command runs."""
    pytest.importorskip("sklearn")
    (tmp_path / "own.py").write_text("import sklearn.base\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from probe.cli.imports import only_what_is_needed\n"
        "with only_what_is_needed():\n    import own\n"
        "assert 'sklearn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
