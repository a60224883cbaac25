"""Runs the cases whose names hold all the words given, and says what is wrong: `python
corpora/hostile_files/run.py [WORD ...] [-v] [--known]`.

`--known`: of known_failures.txt alone, which loses the lines of those that pass now.
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from hostile import corpus  # noqa: F401
from hostile.case import CASES
from hostile.worker import FAMILY, ORDER, Worker, judge

KNOWN = Path(__file__).parent / "known_failures.txt"


def run(words: list[str], verbose: bool, among: list[str]) -> tuple[list[str], list[str]]:
    """The names of those that fail and of those that pass."""
    failing, passing = [], []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile") as folder:
        worker = Worker(Path(folder))
        chosen = set(among)
        for name, case in sorted(
            CASES.items(), key=lambda item: ORDER.index(FAMILY[item[1].format])
        ):
            if name not in chosen or not all(word in name for word in words):
                continue
            began = time.monotonic()
            ends = worker.case(name)
            took = time.monotonic() - began
            faults = [
                (run.arguments, fault)
                for run, ended in zip(case.runs, ends, strict=False)
                for fault in judge(run, ended)
            ]
            (failing if faults else passing).append(name)
            print(f"{'FAIL' if faults else 'ok  '} {took:5.2f} s  {name}", flush=True)
            for arguments, fault in faults:
                print(f"         {' '.join(arguments)[:120]}: {fault}")
            if verbose:
                for run_, ended in zip(case.runs, ends, strict=False):
                    figures = (
                        f"{ended['status']} {ended['seconds']:.2f} s {ended['growth']:.2f} GiB"
                    )
                    print(
                        f"         {run_.arguments} -> "
                        f"{figures}\n{ended['out'][:1500]}{ended['err'][:3000]}"
                    )
        worker.close()
    print(
        f"{len(failing)} failing, {time.monotonic() - start:.0f} s",
        Counter(name.rpartition("/")[0] for name in failing),
    )
    return failing, passing


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    if "--known" in sys.argv:
        _, passing = run(words, "-v" in sys.argv, KNOWN.read_text(encoding="utf-8").split())
        KNOWN.write_text(
            "".join(
                f"{name}\n"
                for name in KNOWN.read_text(encoding="utf-8").split()
                if name not in passing
            )
        )
    else:
        run(words, "-v" in sys.argv, list(CASES))
