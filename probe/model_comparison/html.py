"""A comparison of two models as one page that needs nothing else."""

from html import escape
from typing import TYPE_CHECKING

from probe import printable
from probe.model_comparison.text import differing, names_of, ratio_of

if TYPE_CHECKING:
    from probe.model_comparison.result import ModelComparison, Pair

__all__ = ["to_html"]

_STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "td,th{padding:.2em .7em;text-align:left;border-bottom:1px solid #ddd}"
    "td.n{text-align:right}tr.diverge{background:#fee0d2}tr.source{background:#fc9272}"
    "tr.unchecked{background:#eee}"
)


def to_html(comparison: "ModelComparison") -> str:
    rows = "\n".join(map(_row, comparison.pairs))
    parts = [
        f"<h1>{_text(comparison.sentence)}</h1>",
        f"<p>A: {_text(comparison.a)}<br>B: {_text(comparison.b)}</p>",
        "<table><tr><th>A</th><th>B</th><th>local</th><th>propagated</th><th>axes</th>"
        f"<th>paired by</th><th>verdict</th></tr>\n{rows}\n</table>",
        *(
            f"<p>unpaired in {side}: {_text(', '.join(names))}</p>"
            for side, names in zip("AB", comparison.unpaired, strict=True)
            if names
        ),
        *map(_source, comparison.sources),
        *(f"<p>{_text(note)}</p>" for note in comparison.notes),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>probe compare</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>"
    )


def _row(pair: "Pair") -> str:
    kind = "source" if pair.source else pair.verdict
    cells = (
        f"<td>{_text(names_of(pair.a))}</td><td>{_text(names_of(pair.b))}</td>"
        f'<td class="n">{ratio_of(pair.local)}</td><td class="n">{ratio_of(pair.propagated)}</td>'
        f"<td>{_text(pair.axes)}</td><td>{pair.how}</td><td>{pair.verdict}</td>"
    )
    return f'<tr class="{kind}">{cells}</tr>'


def _source(pair: "Pair") -> str:
    told = [
        *([f"local: {pair.local}"] if pair.local is not None else []),
        *([f"propagated: {pair.propagated}"] if pair.propagated is not None else []),
        *(f"differs: {differing(*one)}" for one in pair.differs),
        *(f"cause: {one}" for one in pair.findings),
        *pair.notes,
    ]
    items = "".join(f"<li>{_text(one)}</li>" for one in told)
    return f"<h2>source: {_text(names_of(pair.b))}</h2><ul>{items}</ul>"


def _text(text: str) -> str:
    return escape(printable.line(text))
