"""What is said of mistakes that others made: ``python benchmarks/independent.py [FAMILY ...]``.

Every port of corpora/ports (which knows nothing of the causes that are looked for) is held
against its model: the right ones must agree, the wrong ones differ. For each mistake the cause that
is named first stands beside what was done in truth; whether it says the same is for a reader to
judge. A line of JSON each goes to --lines FILE, where it is given. The section of RESULTS.md and
probe's row of the corpus are written where no family is named. Seconds are the processor's.

The ports of HELD_OUT were written and committed before anything was said of them, and nothing was
made with a look at what is said of them; what the other families showed was used in making the
search, so that their figures say less.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
sys.path.append(str(Path(__file__).parents[1]))

import results

import probe
from corpora.ports import FAMILIES, HELD_OUT, scores
from corpora.ports.case import inputs_of
from corpora.ports.score import groups, rows
from corpora.ports.tool import Answer, Question
from corpora.ports.tools.probe import element

PORT = ("family", "case", "mistake", "what", "located")
"""What a line of JSON says of the port."""


def check(question: Question) -> dict[str, Any]:
    """The verdict on the values of a port, and what is named first."""
    started = time.process_time()
    report = probe.check(
        question.model, question.layer, inputs_of(question.x), expected=question.values
    )
    first = report.findings[0] if report.findings else None
    return {
        "verdict": report.verdict,
        "sentence": report.sentence,
        "element": element(report),
        "named": "" if first is None else " and ".join((first.slug, *first.also)),
        "claim": "" if first is None else first.claim,
        "exact": first is not None and first.left <= 1,
        "ties": sum(finding.tie for finding in report.findings),
        "seconds": round(time.process_time() - started, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--lines", type=Path)
    options = parser.parse_args()
    checks: list[dict[str, Any]] = []

    def answer(question: Question) -> Answer:
        latest = check(question)
        checks.append(latest)
        cause = f"{latest['named']}: {latest['claim']}" if latest["exact"] else ""
        return Answer(latest["verdict"] == "diverge", latest["element"], cause)

    ports = []
    for port in rows(answer, options.families or FAMILIES):
        ports.append(port)
        row = checks[-1]
        row |= {name: getattr(port, name) for name in PORT}
        if options.lines is not None:
            with options.lines.open("a") as file:
                file.write(json.dumps(row) + "\n")
        if port.mistake:
            print(f"| {port.case} | {port.what} | {row['named']}: {row['claim']} |", flush=True)
    right = Counter(row["verdict"] for row in checks if not row["mistake"])
    wrong = [row for row in checks if row["mistake"]]
    print(f"right ports: {dict(right)}")
    print(f"mistakes: {dict(Counter(row['verdict'] for row in wrong))}")
    print(f"a cause that reproduces the values: {sum(row['exact'] for row in wrong)}")
    if not options.families:
        results.keep("Mistakes of independent ports", section(checks))
        scores.keep("probe", groups(ports))
    return int(right.keys() != {"agree"})


def section(checks: list[dict[str, Any]]) -> str:
    """The counts of each family, and the mistakes for which nothing reproduces the values."""
    others = [family for family in FAMILIES if family not in HELD_OUT]
    table = [
        "| family | right ports that agree, with no cause | mistakes told apart "
        "| cause that gives the values | among several | median s | 95 % within s | worst s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    titles = {family: [family] for family in FAMILIES}
    for title, families in {**titles, "all others": others, "held out": HELD_OUT}.items():
        mine = [row for row in checks if row["family"] in families]
        twins = [row for row in mine if not row["mistake"]]
        wrong = [row for row in mine if row["mistake"]]
        quiet = sum(row["verdict"] == "agree" and not row["named"] for row in twins)
        seconds = sorted(row["seconds"] for row in wrong)
        cells = [
            title,
            f"{quiet} of {len(twins)}",
            f"{sum(row['verdict'] == 'diverge' for row in wrong)} of {len(wrong)}",
            f"{sum(row['exact'] for row in wrong)}",
            f"{sum(row['exact'] and row['ties'] > 1 for row in wrong)}",
            f"{seconds[len(seconds) // 2]:.1f}",
            f"{seconds[int(0.95 * len(seconds))]:.1f}",
            f"{seconds[-1]:.1f}",
        ]
        table.append(f"| {' | '.join(cells)} |")
    missed = [row for row in checks if row["mistake"] and not row["exact"]]
    lead = (
        "Written by `python benchmarks/independent.py`: "
        f"{results.machine('numpy', 'torch', 'keras', 'transformers')}. Ports of corpora/ports "
        "to NumPy and the mistakes in them, by hands that knew nothing of the causes looked for. "
        "Those of held_out_* were committed before they were first measured, and the search was "
        "not changed for them; the others were used while it was written. Those of unseen_* were "
        "measured once before that: a cause gave the values of 201 of 249 mistakes in layers and "
        "125 of 199 in blocks. Those of full_size_blocks, as large as people's layers are, were "
        "measured before a slice of a large layer was looked at (90 of 182), and once after that "
        "before anything was made with a look at them (140). A cause that gives the values is not "
        "always the mistake that was made: see `--lines`."
    )
    found = [
        f"- {row['case']}: {row['what']} ({row['verdict']}"
        + (f"; {row['named']}: {row['claim']})" if row["named"] else ")")
        for row in missed
    ]
    return "\n".join([lead, "", *table, "", "No cause gives the values of:", "", *found])


if __name__ == "__main__":
    sys.exit(main())
