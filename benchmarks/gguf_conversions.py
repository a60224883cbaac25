"""GGUF conversions of `corpora/pairs/outside_gguf.py`: what `probe compare` says of the healthy
ones, and of the planted mistakes.

python benchmarks/gguf_conversions.py [WORD ...]
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import probe
from corpora.pairs.outside_gguf import HEALTHY, PLANTED


def main(words: list[str]) -> int:
    """Prints a line for each conversion, and the counts."""
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for kind, conversions in (("healthy", HEALTHY), ("planted", PLANTED)):
            for name, conversion in conversions.items():
                if not all(word in name for word in words):
                    continue
                folder = Path(scratch, kind, name)
                folder.mkdir(parents=True)
                conversion(folder)
                comparison = probe.compare(folder / "hf", folder / "model.gguf")
                counts[kind, comparison.verdict] += 1
                print(f"{kind} {name}: {comparison.sentence}")
                print(f"    planted: {conversion.what}")
    print(dict(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
