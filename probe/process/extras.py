"""How what an extra names is installed, from where this installation came from.

No registry is asked for the name of this package, which somebody else may hold there.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["install"]

_PACKAGE = "layerprobe"


def install(extra: str) -> str:
    """The command, such as "pip install -e '/home/you/probe[torch]'"."""
    from importlib import metadata  # noqa: PLC0415 - what misses nothing does without

    found = list(metadata.distributions(name=_PACKAGE))  # in a checkout its egg-info, too
    sources = filter(None, (distribution.read_text("direct_url.json") for distribution in found))
    arguments = _from_source(json.loads(next(sources, "{}")), extra) or _required(
        (requirement for distribution in found[:1] for requirement in distribution.requires or ()),
        extra,
    )
    return shlex.join(["pip", "install", *arguments])


def _from_source(source: Mapping[str, Any], extra: str) -> list[str]:
    """The same source with the extra (PEP 610); none where it was a registry, or is gone."""
    from urllib.request import url2pathname  # noqa: PLC0415 - it imports much

    url = source.get("url", "")
    if urlsplit(url).scheme == "file":
        path = url2pathname(urlsplit(url).path)
        editable = ["-e"] if source.get("dir_info", {}).get("editable") else []
        if Path(path).exists():
            return [*editable, f"{path}[{extra}]"]
        return []
    if "vcs_info" in source:
        url = f"{source['vcs_info']['vcs']}+{url}@{source['vcs_info']['commit_id']}"
    if "subdirectory" in source:
        url += f"#subdirectory={source['subdirectory']}"
    if url:
        return [f"{_PACKAGE}[{extra}] @ {url}"]
    return []


def _required(requirements: Iterable[str], extra: str) -> list[str]:
    """The packages that the extra names, with their versions."""
    marked = re.compile(rf"extra\s*==\s*[\"']{re.escape(extra)}[\"']")
    parts = (requirement.partition(";") for requirement in requirements)
    return [package.strip() for package, _, marker in parts if marked.search(marker)]
