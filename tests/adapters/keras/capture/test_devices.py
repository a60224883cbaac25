"""Where a backend computes."""

from contextlib import nullcontext
from types import SimpleNamespace

import keras
from probe.adapters.keras.capture.devices import on_device


def test_a_scope_of_the_backend_is_entered_where_a_device_is_asked_for():
    asked = []
    fake = SimpleNamespace(
        __name__="keras", device=lambda name: asked.append(name) or nullcontext()
    )
    with on_device("cpu:0", fake):
        pass
    with on_device(None, fake):
        pass
    assert asked == ["cpu:0"]
    with on_device("cpu:0", keras):
        assert "CPU:0" in str(keras.ops.ones(1).device)
