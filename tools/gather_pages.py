"""Gathers the pages of the site in a folder: those of docs/, those that stand elsewhere in the
repository, with links that fit, and those that are only built.

``python tools/gather_pages.py FOLDER``; `nox -s docs` calls it.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import gen_sentences

ROOT = Path(__file__).parent.parent
ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/RESULTS.md": "results.md",
    "benchmarks/linear.png": "linear.png",
    "corpora/ports/README.md": "ports.md",
}
"""What the site shows from other folders, and under which name."""
BUILT = {"sentences.md": gen_sentences.page}
"""What the site shows and the repository does not keep, and what writes it."""
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def placed() -> dict[Path, str]:
    """Every file of the site, and its place there."""
    docs = ROOT / "docs"
    own = {path: path.relative_to(docs).as_posix() for path in docs.rglob("*.*")}
    built = {docs / name: name for name in BUILT}
    return own | built | {ROOT / name: place for name, place in ELSEWHERE.items()}


def relinked(page: Path, places: dict[Path, str]) -> str:
    """A page whose links lead to the places that files have on the site; SystemExit where one leads
    to a file that the site has not."""

    def there(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / match[2]))
        if match[2].startswith("https://"):
            return match[0]
        if target not in places:
            sys.exit(f"{page.relative_to(ROOT)} links to {match[2]}, which the site does not show")
        start = Path(places[page]).parent
        return f"{match[1]}{os.path.relpath(places[target], start)}{match[3]}"

    parts = _FENCED.split(page.read_text(encoding="utf-8"))
    return "".join(part if i % 2 else _LINK.sub(there, part) for i, part in enumerate(parts))


def gather(folder: Path) -> None:
    """Writes all pages, in place of what the folder held."""
    shutil.rmtree(folder, ignore_errors=True)
    places = placed()
    for path, place in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        if place in BUILT:
            (folder / place).write_text(BUILT[place](), encoding="utf-8")
        elif path.suffix == ".md":
            (folder / place).write_text(relinked(path, places))
        else:
            shutil.copy(path, folder / place)


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
