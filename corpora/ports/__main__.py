"""Scores a tool on the corpus: ``python -m corpora.ports --tool NAME [FAMILY ...]``."""

import os

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import argparse
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from corpora.ports import FAMILIES
from corpora.ports.scores import keep
from corpora.ports.tool import TOOLS, tool

TEXT = """\
The corpus holds right and wrong ports of layers to NumPy. A tool is asked of each port whether its
values are the layer's. "seen" are wrong ports said to differ, "false alarms" right ones said to;
"located" are those at one of whose changed elements the tool points, "named" those for which it
says a mistake that gives these values.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m corpora.ports", description=TEXT)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--tool", choices=TOOLS, help="the tool that is asked")
    parser.add_argument("--lines", type=Path, metavar="FILE", help="a line of JSON for each answer")
    parser.add_argument(
        "--keep", action="store_true", help="keep the counts of whole groups in scores.json"
    )
    parser.add_argument("--index", action="store_true", help="write index.json")
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.families} - {*FAMILIES}):
        parser.error(f"no family {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    if not options.tool and not options.index:
        parser.error(f"name a tool: --tool {{{','.join(TOOLS)}}}")
    # Both import the frameworks.
    if options.index:
        from corpora.ports.index import write

        write()
    if options.tool:
        score(options.tool, options.families or FAMILIES, options.lines, options.keep)


def score(name: str, families: Sequence[str], lines: Path | None, kept: bool) -> None:
    """Prints the counts by family, and of those held out and of the others where all are asked."""
    from corpora.ports.score import counts, groups, rows

    warnings.simplefilter("ignore")
    found, answer = [], tool(name)
    print(
        f"{'family':30} {'right':>6} {'false alarms':>13} {'wrong':>6} {'seen':>6} "
        f"{'located':>8} {'named':>6}"
    )
    for family in families:
        of_family = []
        for row in rows(answer, [family]):
            of_family.append(row)
            if lines is not None:
                with lines.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(row)) + "\n")
        found += of_family
        print(line(family, counts(of_family)), flush=True)
    of_groups = groups(found)
    for group, count in of_groups.items():
        print(line(group, count))
    if kept:
        keep(name, of_groups)


def line(name: str, count: dict[str, int]) -> str:
    return (
        f"{name:30} {count['right']:6} {count['false_alarms']:13} {count['wrong']:6} "
        f"{count['seen']:6} {count['located']:8} {count['named']:6}"
    )


if __name__ == "__main__":
    main()
