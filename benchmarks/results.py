"""Sections of RESULTS.md, each written by the benchmark whose name it carries."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

PATH = Path(__file__).parent / "RESULTS.md"


def keep(title: str, body: str) -> None:
    """Puts a section in place of the one of that title, or at the end."""
    text = PATH.read_text(encoding="utf-8") if PATH.exists() else ""
    sections = [f"# {part}" for part in f"\n{text}".split("\n# ")[1:]]
    mine = f"# {title}\n\n{body.strip()}\n"
    kept = [section.strip() + "\n" for section in sections]
    places = [at for at, section in enumerate(kept) if section.startswith(f"# {title}\n")]
    if places:
        kept[places[0]] = mine
    else:
        kept.append(mine)
    PATH.write_text("\n".join(kept))


def machine(*packages: str) -> str:
    """What the figures were taken on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, Python {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in packages
    )
