"""The two sides of a comparison: models, or arrays by names that another program wrote."""

from collections.abc import Mapping

import numpy as np

from probe.capture.run import ModelLike, opened
from probe.capture.user_arrays import as_array
from probe.errors import BadInput
from probe.model import Model, OutputsAlone

__all__ = ["Outputs", "Side", "side"]


class Outputs:
    """Arrays by names, and where they come from: outputs alone."""

    def __init__(self, arrays: Mapping[str, np.ndarray], source: str) -> None:
        self.arrays, self.source = dict(arrays), source
        if not self.arrays:
            raise BadInput(f"{source} holds no arrays")


Side = Model | Outputs


def side(source: ModelLike | Mapping[str, object]) -> Side:
    """What one side is; CannotOpen where it is neither a model nor arrays."""
    if isinstance(source, Mapping):
        arrays = {str(name): as_array(one, f"the array {name!r}") for name, one in source.items()}
        return Outputs(arrays, f"{len(arrays)} arrays by name")
    model = opened(source)
    if isinstance(model, OutputsAlone):
        return Outputs(model.outputs_alone(), model.source)
    return model
