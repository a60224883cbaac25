"""What does the command cost next to the least that could be done?

Whole processes, interleaved: each round runs every command once, a ratio is taken within its round,
and the median of five rounds counts. Run it with the Python that has the project and all
frameworks; it prints the table, writes RESULTS.md beside this file, and exits with 1 where a ratio
exceeds its bar.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter

from results import keep, machine

HERE = Path(__file__).parent
ROUNDS = 5
PROBE = [str(Path(sys.executable).parent / "probe")]
PYTHON = [sys.executable, "-c"]

BARE_QKERAS = """
import numpy, qkeras.utils
model = qkeras.utils.load_qmodel("digits_qkeras.h5", compile=False)
model.predict(numpy.load("digits.npy"), verbose=0)
"""
BARE_KERAS = """
import keras, numpy
model = keras.saving.load_model("digits.keras", compile=False)
model.predict(numpy.load("digits.npy"), verbose=0)
"""
BARE_TORCH = """
import torch, digits_net
net = digits_net.DigitsNet()
net.load_state_dict(torch.load("digits.pt", weights_only=True))
with torch.inference_mode():
    net.eval()(torch.randn(10, 1, 8, 8))
"""
COMMANDS = {
    "import numpy": [*PYTHON, "import numpy"],
    "probe --help": [*PROBE, "--help"],
    "probe digits.keras": [*PROBE, "digits.keras"],
    "probe digits_qkeras.h5": [*PROBE, "digits_qkeras.h5"],
    "bare QKeras": [*PYTHON, BARE_QKERAS],
    "probe digits_qkeras.h5 --layer conv2d": [
        *PROBE,
        "digits_qkeras.h5",
        "--layer",
        "conv2d",
        "--input",
        "digits.npy",
    ],
    "bare Keras 3": [*PYTHON, BARE_KERAS],
    "probe digits.keras --layer conv2d": [
        *PROBE,
        "digits.keras",
        "--layer",
        "conv2d",
        "--input",
        "digits.npy",
    ],
    "bare PyTorch": [*PYTHON, BARE_TORCH],
    "probe digits.pt --layer conv": [
        *PROBE,
        "digits.pt",
        "--layer",
        "conv",
        "--factory",
        "digits_net.py:DigitsNet",
        "--shape",
        "10,1,8,8",
    ],
}
KERAS = 0.9 if find_spec("sklearn") else 1.3
"""Keras imports scikit-learn where it is installed, and the command does not."""
BARS = [
    ("probe --help", "import numpy", 0.75),
    ("probe digits.keras", "import numpy", 0.9),
    ("probe digits_qkeras.h5", "import numpy", 2.0),
    ("probe digits_qkeras.h5 --layer conv2d", "bare QKeras", KERAS),
    ("probe digits.keras --layer conv2d", "bare Keras 3", KERAS),
    ("probe digits.pt --layer conv", "bare PyTorch", 1.3),
]


def seconds(command: list[str]) -> float:
    """Wall time of one process in examples/, where the bare scripts find the files by name."""
    env = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": ".",
    }
    start = perf_counter()
    subprocess.run(command, cwd=HERE.parent / "examples", env=env, check=True, capture_output=True)
    return perf_counter() - start


def table(taken: dict[str, list[float]]) -> tuple[str, bool]:
    """The measured ratios as Markdown, and whether all are within their bars."""
    lines, fine = (
        ["| command | seconds | next to | seconds | ratio | bar |", "|---|---|---|---|---|---|"],
        True,
    )
    for command, base, bar in BARS:
        ratio = median(
            mine / theirs for mine, theirs in zip(taken[command], taken[base], strict=True)
        )
        fine = fine and ratio <= bar
        lines.append(
            f"| `{command}` | {median(taken[command]):.2f} | {base} | "
            f"{median(taken[base]):.2f} | {ratio:.2f} | {bar} |"
        )
    return "\n".join(lines), fine


def main() -> int:
    for command in COMMANDS.values():
        seconds(command)
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            taken[name].append(seconds(command))
    rows, fine = table(taken)
    on = machine("numpy", "tensorflow", "keras", "tf_keras", "qkeras", "torch", "onnxruntime")
    how = f"Whole processes, interleaved; the ratio is the median of {ROUNDS} rounds."
    keep("Start-up", f"Written by `python benchmarks/startup.py`: {on}.\n{how}\n\n{rows}")
    print(rows)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
