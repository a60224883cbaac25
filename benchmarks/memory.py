"""How much memory does a sweep take beyond a model that is loaded and has predicted once?

keras.applications.VGG16 from an .h5, batch 4, 224 × 224. The high-water mark is reset (5 into
/proc/self/clear_refs) after loading and predicting, and read as VmHWM after the sweep: ru_maxrss
could not see it, since loading peaks higher. Linux only.
"""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from results import keep, machine

BAR = 256
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""


def status(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main() -> int:
    if len(sys.argv) == 1:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vgg16.h5"
            made = os.spawnv(
                os.P_WAIT, sys.executable, [sys.executable, __file__, "make", str(path)]
            )
            return made or os.spawnv(
                os.P_WAIT, sys.executable, [sys.executable, __file__, "sweep", str(path)]
            )
    if sys.argv[1] == "make":
        import keras

        keras.utils.set_random_seed(0)
        keras.applications.VGG16(weights=None).save(sys.argv[2])
        return 0
    import probe

    x = np.random.default_rng(0).uniform(-1, 1, (4, 224, 224, 3)).astype(np.float32)
    model = probe.open_model(sys.argv[2])
    model.run((x,), (), lambda _: None)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    steps, verdicts = [], []
    for report in probe.sweep(model, x):
        verdicts.append(report.verdict)
        steps.append((report.layer, status("VmHWM") - before))
    peak = status("VmHWM") - before
    assert "diverge" not in verdicts
    for layer, reached in steps:
        print(f"{layer:20} {reached:8.0f} MiB")
    row = (
        f"| keras.applications VGG16, .h5, batch 4, 224 × 224 | {before:.0f} MiB | {peak:.0f} "
        f"MiB | {BAR} MiB |"
    )
    head = (
        "| model | resident after predicting | a sweep's peak above it | bar |\n|---|---|---|---|"
    )
    keep(
        "Memory",
        (
            "Written by `python benchmarks/memory.py`: "
            f"{machine('numpy', 'onnxruntime', 'tensorflow', 'keras')}.\n\n{head}\n{row}"
        ),
    )
    print(row)
    return 0 if peak <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
