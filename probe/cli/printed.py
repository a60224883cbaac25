"""What commands print that open no model: ``probe causes`` and ``probe dump-header``."""

from difflib import get_close_matches
from pathlib import Path

from probe.cli.output import say
from probe.errors import BadInput
from probe.hypotheses import CAUSES

__all__ = ["causes", "dump_header"]


def causes(slug: str | None) -> int:
    """The mistakes that can be named, or what one of them is."""
    if slug is None:
        width = max(map(len, CAUSES))
        for cause in CAUSES.values():
            say(f"{cause.slug:<{width}}  {cause.title}")
        return 0
    if slug not in CAUSES:
        near = get_close_matches(slug, CAUSES, n=1)
        if near:
            hint = f"did you mean {near[0]!r}?"
        else:
            hint = "probe causes lists all of them"
        raise BadInput(f"unknown cause {slug!r}; {hint}")
    say(f"{slug}: {CAUSES[slug].text}")
    return 0


def dump_header() -> int:
    """The header for programs in C, as it stands in the package."""
    say((Path(__file__).parent / "probe_dump.h").read_text(encoding="ascii").rstrip("\n"))
    return 0
