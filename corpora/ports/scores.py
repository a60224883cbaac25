"""The counts of each tool on the whole corpus, kept in scores.json, and their table."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "scores.json"
README = Path(__file__).parent / "README.md"
TITLES = {
    "probe": "`probe`",
    "allclose": "`numpy.allclose`, `rtol=1e-5`, `atol=1e-8`",
    "relative": "absolute and relative error above 1e-5, as Polygraphy's defaults",
    "cosine": "cosine similarity above 0.99",
}
HEAD = ("| tool | ports | false alarms | seen | located | named |", "|---|---|---|---|---|---|")
PACKAGES = ("numpy", "torch", "keras", "tensorflow", "transformers")


def keep(tool: str, groups: dict[str, dict[str, int]]) -> None:
    """Puts the counts of a tool into scores.json, and the table into README.md."""
    scores = read()
    packages = {name: version(name) for name in PACKAGES}
    scores[tool] = scores.get(tool, {}) | {"packages": packages, **groups}
    PATH.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(f"{HEAD[0]}\n")
    _, _, after = rest.partition("\n\n")
    README.write_text(f"{before}{table()}\n\n{after}", encoding="utf-8")


def read() -> dict[str, Any]:
    """The counts by tool."""
    if not PATH.exists():
        return {}
    scores: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return scores


def table() -> str:
    """The counts of all tools as a table of Markdown."""
    scores = read()
    lines = [*HEAD]
    for tool, title in TITLES.items():
        for group in ("held out", "others"):
            if group not in scores.get(tool, {}):
                continue
            count = scores[tool][group]
            cells = (
                title,
                group,
                f"{count['false_alarms']} of {count['right']}",
                *(f"{count[name]} of {count['wrong']}" for name in ("seen", "located", "named")),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
