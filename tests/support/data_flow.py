"""The data flow of one forward pass as the adapter tells it, held against the numbers."""

import numpy as np

import probe
from probe.model import Argument, Capture, ModelInput

__all__ = ["flow"]


def flow(model, *arrays, wanted=None, on_call=None) -> dict[str, list[object]]:
    """What made each input of each call: "relu" or "relu:1" for the second call (with "[1]" for its
    second output), the number of the model's input, or None.

    Whatever is named holds the same numbers, bit by bit.
    """
    calls: list[Capture] = []

    def keep(capture):
        calls.append(capture)
        return None if on_call is None else on_call(capture)

    probe.open_model(model).run(arrays, wanted, keep)
    named = {}
    made = {}
    for capture in calls:
        for part in capture.parts:
            one = part.capture
            made |= {(one.layer, one.call, k): (one.layer, y) for k, y in enumerate(one.outputs)}
        name = capture.layer + (f":{capture.call}" if capture.call else "")
        assert len(capture.made_by) == len(capture.inputs), name
        named[name] = []
        for producer, taken in zip(capture.made_by, capture.inputs, strict=True):
            if producer is None or isinstance(producer, Argument):
                named[name].append(None)
                continue
            if isinstance(producer, ModelInput):
                named[name].append(producer.position)
                continue
            source, array = made[producer.layer, producer.call, producer.output]
            named[name].append(source + (f"[{producer.output}]" if producer.output else ""))
            if on_call is None:
                assert array.shape == taken.shape and array.tobytes() == taken.tobytes(), name
        for index, output in enumerate(capture.outputs):
            made[capture.layer, capture.call, index] = name, np.array(output)
    return named
