"""The order of axes of arrays that another program wrote, as the user says it."""

import re

from probe.errors import BadInput

__all__ = ["Axes", "declared_axes"]

Axes = tuple[str, ...]
"""The letters of each axis, several of one that merges them."""
_AXIS = re.compile(r"\s*(?:\(\s*([bthd](?:\s+[bthd])*)\s*\)|([bthd]))(?=[\s(]|$)")


def declared_axes(text: str | None) -> Axes | None:
    """Of a string such as "t h d" or "(b t) d"; BadInput where it is none."""
    if text is None:
        return None
    found = [match[1] or match[2] for match in _AXIS.finditer(str(text))]
    axes = tuple(re.sub(r"\s", "", letters) for letters in found)
    letters, rest = "".join(axes), _AXIS.sub("", str(text)).strip()
    if rest or len(set(letters)) != len(letters) or not {"t", "d"} <= set(letters):
        raise BadInput(
            "axes (--axes) lists the axes of the arrays, the slowest in memory first, such as "
            f'"t h d" or "(b t) d" (b batch, t tokens, h heads, d features); you gave {text!r}'
        )
    return axes
