"""Recurrences as functions, which exported programs and TorchScript call with all their parameters
in a list."""

from collections.abc import Sequence
from typing import Any

from probe.description import Ref, Weight
from probe.errors import Undescribed

from .describe import CallBuilder, Value, function

__all__: list[str] = []


def _held(
    build: CallBuilder, params: Sequence[Value], layers: int, ways: int
) -> dict[str, Weight | None]:
    """The parameters by the names that a module gives them: of each layer and direction the
    weights, the biases, the projection."""
    each = len(params) // (layers * ways)
    names = {
        2: ("weight_ih", "weight_hh"),
        3: ("weight_ih", "weight_hh", "weight_hr"),
        4: ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
        5: ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"),
    }[each]
    found: dict[str, Weight | None] = {}
    for at, value in enumerate(params):
        layer, way = divmod(at // each, ways)
        name = f"{names[at % each]}_l{layer}{'_reverse' * way}"
        found[name] = build.weight(name, value)
    return found


def _register(name: str, kind: str, **more: Any) -> None:
    @function(name, onnx=kind.lower())
    def recurrence(
        build: CallBuilder,
        input: Value,
        hx: Any,
        params: Sequence[Value],
        has_biases: Any,
        num_layers: int,
        dropout: float,
        train: bool,
        bidirectional: bool,
        batch_first: bool = False,
    ) -> tuple[Ref, ...]:
        if not isinstance(params, list | tuple) or isinstance(has_biases, list | tuple):
            raise Undescribed("packed sequences are not supported here")
        held = _held(build, params, num_layers, 2 if bidirectional else 1)
        states = list(hx) if isinstance(hx, list | tuple) else [hx]
        local = tuple(Ref(-1, 1 + at) for at in range(len(states)))
        first, recurrent, projection = (
            held.get(f"weight_{part}_l0") for part in ("ih", "hh", "hr")
        )
        assert first is not None and recurrent is not None
        attributes = {
            "num_layers": num_layers,
            "bias": bool(has_biases),
            "dropout": dropout,
            "training": bool(train),
            "bidirectional": bool(bidirectional),
            "batch_first": bool(batch_first),
            "hidden_size": first.value.shape[0] // {"LSTM": 4, "GRU": 3, "RNN": 1}[kind],
            "proj_size": 0 if projection is None else projection.value.shape[0],
            **more,
        }
        arguments = {"input": Ref(-1, 0), "hx": local if kind == "LSTM" else local[0]}
        return build.module_outputs(kind, (input, *states), held, arguments, **attributes)


for _name, _kind, _more in (
    ("lstm", "LSTM", {}),
    ("gru", "GRU", {}),
    ("rnn_tanh", "RNN", {"nonlinearity": "tanh"}),
    ("rnn_relu", "RNN", {"nonlinearity": "relu"}),
):
    _register(_name, _kind, **_more)
