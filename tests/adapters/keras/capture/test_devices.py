"""Where a backend computes."""

from contextlib import nullcontext
from types import SimpleNamespace

import keras
import pytest
import tensorflow
import torch
from probe.adapters.keras.capture.devices import device_of, on_device

from probe.errors import BadInput


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


def of(name):
    return SimpleNamespace(__name__="keras", backend=SimpleNamespace(backend=lambda: name))


@pytest.mark.parametrize(
    ("backend", "count", "device", "expected"),
    [
        *(("tensorflow", count, None, None) for count in (0, 1)),
        ("tensorflow", 0, "cpu", None),
        ("tensorflow", 1, "cpu", "cpu:0"),
        ("tensorflow", 1, "cuda", "gpu:0"),
        ("tensorflow", 2, "cuda:1", "gpu:1"),
        ("torch", 2, "cuda:1", "cuda:1"),
        ("torch", 1, "cpu", "cpu:0"),
        ("jax", 0, "cpu", None),
    ],
)
def test_the_backend_s_own_name_of_a_device(backend, count, device, expected, monkeypatch):
    monkeypatch.setattr(tensorflow.config, "list_physical_devices", lambda kind: [kind] * count)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert device_of(device, of(backend)) == expected


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (
            "cuda:1",
            "Keras' backend torch finds no device 'cuda:1' here: leave device .--device. out",
        ),
        ("gpu", "a device is cpu, cuda, cuda:1 or mps; you gave 'gpu'"),
        ("cuda:x", "a device is cpu, cuda, cuda:1 or mps; you gave 'cuda:x'"),
    ],
)
def test_a_device_that_is_not_there(device, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BadInput, match=words):
        device_of(device, of("torch"))
