"""A forward pass as files that Model Explorer opens: its graph, and the error of each call as node
data.

The formats are those of ``graph_builder.py`` and ``node_data_builder.py`` of its package
ai-edge-model-explorer; a ``.json`` with ``label`` and ``graphs`` opens as a model.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probe import command_line, printable
from probe.files import atomic_write

if TYPE_CHECKING:
    from probe.report.html import Entry

__all__ = [
    "ERROR",
    "GRAPH",
    "PAIRS",
    "VERDICT",
    "Node",
    "command",
    "graph_of",
    "new_id",
    "of_sweep",
    "refuse_folder",
    "values",
    "write",
]

GRAPH, ERROR, VERDICT, PAIRS = "graph.json", "error.json", "verdict.json", "pairs.json"
_OURS = {GRAPH, ERROR, VERDICT, PAIRS}
_MOST = 1e9
"""What stands for an infinite error, as JSON holds none."""
_THRESHOLDS = ((0.0, "#deebf7"), (0.5, "#d5efe8"), (1.0, "#fff2b3"), (10.0, "#fdbe85"))
_BEYOND = "#f768a1"
_VERDICTS = {"agree": "#d5efe8", "diverge": "#f768a1", "unchecked": "#d9d9d9"}


@dataclass(frozen=True)
class Node:
    """A call."""

    id: str
    name: str
    kind: str = ""
    verdict: str = ""
    ratio: float = math.nan
    """The largest error in units of the allowance; NaN where nothing was compared."""
    after: tuple[str, ...] = ()
    """The ids of the calls that it takes something from."""
    attributes: Mapping[str, str] | None = None


def graph_of(name: str, nodes: Sequence[Node]) -> dict[str, object]:
    """A ``Graph``."""
    return {"id": name, "nodes": [_node(node) for node in nodes]}


def _node(node: Node) -> dict[str, object]:
    *around, label = [part for part in re.split(r"[./]", node.name) if part] or ["(root)"]
    told = {"class": node.kind, "verdict": node.verdict, **(node.attributes or {})}
    return {
        "id": node.id,
        "label": label,
        "namespace": "/".join(around),
        "attrs": [{"key": key, "value": text} for key, text in told.items() if text],
        "incomingEdges": [
            {"sourceNodeId": source, "sourceNodeOutputId": "0", "targetNodeInputId": str(place)}
            for place, source in enumerate(node.after)
        ],
    }


def values(nodes: Sequence[Node]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ``GraphNodeData`` of the errors, and that of the verdicts."""
    beyond = {"value": _MOST, "bgColor": _BEYOND, "textColor": "black"}
    errors = {
        node.id: {"value": node.ratio} if math.isfinite(node.ratio) else beyond
        for node in nodes
        if not math.isnan(node.ratio)
    }
    thresholds = (*_THRESHOLDS, (_MOST, _BEYOND))
    verdicts = {
        node.id: {"value": node.verdict, "bgColor": _VERDICTS[node.verdict], "textColor": "black"}
        for node in nodes
        if node.verdict
    }
    return (
        {
            "name": "error / allowance for rounding",
            "results": errors,
            "thresholds": [
                {"value": value, "bgColor": colour, "textColor": "black"}
                for value, colour in thresholds
            ],
            "hideAggregatedStats": ["sum"],
        },
        {
            "name": "verdict",
            "results": verdicts,
            "showExpandedSummaryOnGroupNode": True,
            "showLabelCountColumnsInChildrenStatsTable": True,
        },
    )


def new_id(name: str, taken: set[str]) -> str:
    """An id that is not taken, and is then: names that are shortened to be shown may be alike."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name} ({count})"
    taken.add(found)
    return found


def of_sweep(source: str, entries: Sequence["Entry"]) -> dict[str, object]:
    """The files of a sweep by their names."""
    ids: dict[tuple[str, int] | None, str] = {}
    taken: set[str] = set()
    nodes = []
    for entry in entries:
        name = printable.name(entry.name) or "(root)"
        node = Node(
            *(new_id(name, taken), name, entry.row.kind, entry.row.verdict, entry.ratio),
            tuple(ids[call] for call in entry.inputs_from if call in ids),
            {"output": entry.row.shape, "what is said": printable.line(entry.row.text)},
        )
        nodes.append(node)
        ids[entry.call] = node.id
    label = printable.name(source)
    errors, verdicts = values(nodes)
    return {
        GRAPH: {"label": label, "graphs": [graph_of(label, nodes)]},
        ERROR: {label: errors},
        VERDICT: {label: verdicts},
    }


def refuse_folder(folder: str) -> None:
    """Makes the folder; BadInput where it holds anything that is not ours."""
    atomic_write.refuse_others(folder, _OURS)


def write(folder: str, files: Mapping[str, object]) -> None:
    """Writes the files, each whole or not at all."""
    for name, held in files.items():
        text = json.dumps(held, indent=1, allow_nan=False).encode()
        atomic_write.write_inside(folder, name, lambda file, text=text: file.write(text))  # type: ignore[misc]


def command(folder: str) -> list[str]:
    """What opens them."""
    data = ",".join(str(Path(folder) / name) for name in (ERROR, VERDICT))
    graph = command_line.file(str(Path(folder) / GRAPH))
    return ["model-explorer", graph, f"--node_data_paths={data}"]
