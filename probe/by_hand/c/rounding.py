"""How integers are rounded where their point moves: the statements of C, and the same in NumPy."""

import numpy as np

from probe.by_hand.c.text import plus, times

__all__ = ["ROUNDINGS", "ending_lines", "rounded", "rounding_lines"]

ROUNDINGS = {
    "RND_CONV": "halves to even",
    "RND": "halves up",
    "RND_ZERO": "halves towards zero",
    "RND_INF": "halves away from zero",
    "RND_MIN_INF": "halves down",
    "TRN": "rounded down",
    "TRN_ZERO": "rounded towards zero",
}
"""The modes, by the names of AMD's ap_fixed."""


def rounding_lines(mode: str, ctype: str, shift: int | None) -> list[str]:
    """Statements that make ``level`` of v, moved by ``shift`` bits, or by s where that is None."""
    if shift is not None and shift <= 0:
        return [f"{ctype} level = {times('v', 2**-shift)};"]
    if shift is None:
        s, size = "s", "((int64_t)1 << s)"
        half, mask = "((int64_t)1 << (s - 1))", f"({size} - 1)"
    else:
        s, half, mask = str(shift), _literal(2 ** (shift - 1)), _literal(2**shift - 1)
        size = _literal(2**shift)
    match mode:
        case "TRN":
            return [f"{ctype} level = v >> {s};"]
        case "TRN_ZERO":
            return [f"{ctype} level = v / {size};"]
        case "RND":
            return [f"{ctype} level = (v + {half}) >> {s};"]
        case "RND_MIN_INF":
            return [f"{ctype} level = -(({half} - v) >> {s});"]
        case "RND_INF":
            return [f"{ctype} level = v < 0 ? -(({half} - v) >> {s}) : (v + {half}) >> {s};"]
        case "RND_ZERO":
            return [f"{ctype} level = v < 0 ? (v + {half}) >> {s} : -(({half} - v) >> {s});"]
    return [
        f"{ctype} level = v >> {s};",
        f"const {ctype} rest = v & {mask};",
        f"level += rest > {half} || (rest == {half} && level % 2 != 0);",
    ]


def _literal(number: int) -> str:
    return str(number) if number < 2**31 else f"INT64_C({number})"


def ending_lines(overflow: str, low: str, high: str) -> list[str]:
    """Statements that bring ``level`` between its ends."""
    if overflow == "WRAP":
        if low.lstrip("-").isdigit():
            span = str(int(high) - int(low))
            shifted = f"(({plus('level', -int(low))}) & {span})"
            return [f"level = {plus(shifted, int(low))};"]
        return ["level = ((level - low) & (high - low)) + low;"]
    return [f"if (level < {low}) level = {low};", f"if (level > {high}) level = {high};"]


def rounded(values: np.ndarray, shift: np.ndarray, mode: str) -> np.ndarray:
    """Integers whose point is moved to the left by ``shift`` bits, to the right where that is
    negative."""
    up = np.maximum(shift, 0)
    v = values * 2 ** np.maximum(-shift, 0)
    half = np.where(up > 0, 2 ** np.maximum(up - 1, 0), 0)
    level = v >> up
    rest = v - (level << up)
    match mode:
        case "TRN":
            more = np.zeros(v.shape, bool)
        case "TRN_ZERO":
            more = (v < 0) & (rest > 0)
        case "RND":
            more = (up > 0) & (rest >= half)
        case "RND_MIN_INF":
            more = rest > half
        case "RND_INF":
            more = (rest > half) | ((up > 0) & (rest == half) & (v >= 0))
        case "RND_ZERO":
            more = (rest > half) | ((up > 0) & (rest == half) & (v < 0))
        case _:
            more = (rest > half) | ((up > 0) & (rest == half) & (level % 2 != 0))
    return np.asarray(level + more)
