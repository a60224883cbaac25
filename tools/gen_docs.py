"""The pages of docs/ that come from the code: the API, causes, layers and ops.

``python tools/gen_docs.py [PAGE...]`` writes them; tests/documentation/test_generated_pages.py
compares.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import gen_api
import gen_causes
import gen_layer_tables

__all__ = ["PAGES", "path_of"]

ROOT = Path(__file__).parent.parent
PAGES: dict[str, Callable[[], str]] = {
    "api": gen_api.page,
    "causes": gen_causes.page,
    "layers": gen_layer_tables.page,
    "ops": gen_api.ops_page,
}
"""The name of a page -> its text."""


def path_of(name: str) -> Path:
    """The file of a page."""
    return ROOT / "docs" / f"{name}.md"


if __name__ == "__main__":
    for name in sys.argv[1:] or PAGES:
        path_of(name).write_text(PAGES[name]())
