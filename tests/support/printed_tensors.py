"""What llama.cpp's eval callback prints of a tensor."""

import numpy as np

_ENDS = 3


def printed(name: str, array: np.ndarray, operation: str = "MUL_MAT") -> str:
    """The first and last three of each axis but the outermost of four."""
    sizes = [1] * (4 - array.ndim) + [*array.shape]
    held = ", ".join(map(str, sizes[::-1]))
    lines = [
        f"common_debug_cb_eval: {name:>24} = (f32) {operation:>10}(x{{1, 1}}, }}) = {{{held}}}"
    ]
    for outer in array.reshape(sizes):
        lines.append("    [")
        for matrix in _shown(outer):
            lines.append("        ..., " if matrix is None else "        [")
            for row in () if matrix is None else _shown(matrix):
                lines.append("            ..., " if row is None else _row(row))
            lines.append("        ],")
        lines += ["    ]", f"    sum = {array.sum():f}"]
    return "\n".join(lines) + "\n"


def _shown(array: np.ndarray) -> list[np.ndarray | None]:
    if len(array) <= 2 * _ENDS:
        return [*array]
    return [*array[:_ENDS], None, *array[-_ENDS:]]


def _row(row: np.ndarray) -> str:
    words = ["   ..." if value is None else f"{value:12.4f}" for value in _shown(row)]
    return f"            [{', '.join(words)}  ],"
