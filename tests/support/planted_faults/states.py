"""Mistakes planted in the states of an LSTM, which PyTorch's own is run step by step for."""

import torch
from planting import Rows, draw, nn, planter, t

ROWS: Rows = []
plant = planter(ROWS)


def _planted(slug: str, begun: float = 0.0, shown: int = 0, carried: bool = False) -> None:
    @plant(slug, "LSTM with states")
    def lstm() -> tuple:
        torch.manual_seed(0)
        layer, x = nn.LSTM(5, 6, batch_first=True).eval(), draw(3, 7, 5)
        outputs, state = [], None
        for sample in t(x).split(1):
            if state is None or not carried:
                state = (torch.full((1, 1, 6), begun),) * 2
            for step in sample.split(1, 1):
                _, state = layer(step, state)
                outputs.append(state[shown])
        y = torch.cat(outputs).reshape(3, 7, 6).detach().numpy()
        return layer, x, [y, None, None], {"at": ""}


_planted("initial-state", begun=1.0)
_planted("other-state", shown=1)
_planted("carried-state", carried=True)
