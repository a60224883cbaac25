"""Matrix products."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.layer import Weight
from probe.ops.account import Account, Terms, box
from probe.ops.base import Indices, Sum

__all__ = ["MatMul"]

_BLOCK = 1 << 20


def _product(x: np.ndarray, w: np.ndarray, power: int = 1) -> np.ndarray:
    """x @ w**power by blocks of columns, so that a wide w is never held twice in float64."""
    out = np.empty((*x.shape[:-1], w.shape[1]), x.dtype)
    step = max(1, _BLOCK // max(1, w.shape[0]))
    for start in range(0, w.shape[1], step):
        columns = w[:, start : start + step].astype(x.dtype)
        np.matmul(x, columns if power == 1 else np.square(columns), out=out[..., start : start + step])
    return out


@dataclass(frozen=True, eq=False)
class MatMul(Sum):
    """x (..., in) times weight (in, out), plus bias (out,) (ONNX MatMul and Add)."""

    weight: Weight
    bias: Weight | None

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        out = _product(inputs[0], self.weight.value)
        if self.bias is not None:
            out += self.bias.value.astype(out.dtype)
        return (out,)

    def emit(self, graph, *inputs):
        product = graph.op("MatMul", inputs[0], graph.weight(self.weight))
        return (product if self.bias is None else graph.op("Add", product, graph.weight(self.bias)),)

    def says(self, inputs):
        return f"each output is a sum over {self.weight.value.shape[0]} inputs" + (", plus the bias" if self.bias is not None else "")

    def terms_of(self, inputs, outputs):
        return self.weight.value.shape[0] + (self.bias is not None)

    def squares(self, inputs):
        out = _product(np.square(inputs[0]), self.weight.value, 2)
        if self.bias is not None:
            out += np.square(self.bias.value.astype(np.float64))
        return out

    def incoming(self, slack):
        return np.sqrt(_product(np.square(slack), self.weight.value, 2))

    def products(self, inputs: Sequence[np.ndarray], where: Indices) -> np.ndarray:
        """The terms of the outputs at ``where``: (elements, in, 1), the bias last where there is one."""
        *rows, columns = where
        terms = inputs[0][tuple(rows)] * self.weight.value[:, columns].T.astype(np.float64)
        if self.bias is not None:
            terms = np.concatenate([terms, self.bias.value[columns].astype(np.float64)[:, None]], axis=1)
        return terms[:, :, None]

    def account(self, inputs, outputs, at):
        count = self.weight.value.shape[0]
        where = box([*at[:-1], range(count)])
        return Account((Terms(where, factor=self.weight, factor_where=box([range(count), at[-1]])),), bias=self.bias, bias_where=at[-1:])
