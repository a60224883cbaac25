"""Keras files that would fill the memory or never be built are refused before that, unless they are
trusted; others are not."""

import sys

import keras
import numpy as np
import pytest
import tf_keras
from probe.adapters.keras.loading import hdf5
from probe.adapters.keras.loading.config_limits import built_slowly
from representatives import exhaustive

import probe
from probe.errors import CannotOpen

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning"),
    # Keras 3.15 saving
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    ),
]
BOTH = pytest.mark.parametrize(("package", "ending"), [(keras, ".keras"), (tf_keras, ".h5")])


def saved(model, path):
    model.save(path)
    return path


def doubled(package, times):
    x = above = package.Input((4,))
    for i in range(times):
        above = package.layers.Concatenate(name=f"c{i}")([above, above])
    return package.Model(x, above)


@BOTH
def test_sizes_that_double_from_layer_to_layer(tmp_path, package, ending):
    path = saved(doubled(package, 25), tmp_path / f"m{ending}")
    with pytest.raises(CannotOpen, match=r"'c24' produces 536,870,912 bytes.*--trust"):
        list(probe.sweep(path))
    assert probe.open_model(path, trust=True).inputs, "Keras has built it, and run nothing"
    assert probe.check(saved(doubled(package, 3), tmp_path / f"small{ending}"), "c2").ok


@pytest.mark.exhaustive(default=1)
@BOTH
@pytest.mark.parametrize("within", [True, *exhaustive(False)])
def test_steps_of_a_recurrence(tmp_path, monkeypatch, package, ending, within):
    monkeypatch.setattr("probe.adapters.keras.loading.run_limits.STEPS", 10)
    layers = package.layers
    inner = [layers.Input((12, 3)), layers.Bidirectional(layers.LSTM(2, name="lstm"), name="both")]
    model = (
        package.Sequential([layers.Input((12, 3)), package.Sequential(inner)])
        if within
        else package.Sequential(inner)
    )
    path = saved(model, tmp_path / f"m{ending}")
    with pytest.raises(
        CannotOpen,
        match=(r"both' runs 12 time steps, more than the limit of 10; give --trust"),
    ):
        list(probe.sweep(path))
    assert all(one.ok for one in probe.sweep(probe.open_model(path, trust=True)))
    monkeypatch.setattr("probe.adapters.keras.loading.run_limits.STEPS", 12)
    assert all(one.ok for one in probe.sweep(path))


@BOTH
def test_sizes_that_the_file_leaves_free_are_the_users(tmp_path, monkeypatch, package, ending):
    monkeypatch.setattr("probe.adapters.keras.loading.run_limits.STEPS", 10)
    path = saved(
        package.Sequential([package.layers.Input((None, 3)), package.layers.GRU(2, name="gru")]),
        tmp_path / f"m{ending}",
    )
    assert probe.check(path, "gru", np.ones((1, 12, 3), np.float32)).ok


def repeated(functional):
    layers = tf_keras.layers
    x = tf_keras.Input((6, 2))
    chain = [
        layers.ZeroPadding1D((1, 2)),
        layers.UpSampling1D(3),
        layers.Dense(2),
        layers.UpSampling1D(2, name="last"),
    ]
    if not functional:
        return tf_keras.Sequential([x, *chain])
    above = x
    for layer in chain:
        above = layer(above)
    return tf_keras.Model(x, above)


@pytest.mark.parametrize("functional", [False, True])
def test_places_that_keras_2_repeats_one_by_one(tmp_path, monkeypatch, functional):
    path = saved(repeated(functional), tmp_path / "m.h5")
    assert probe.check(path, "last").ok
    monkeypatch.setattr("probe.adapters.keras.loading.config_limits.STEPS", 26)
    with pytest.raises(
        CannotOpen,
        match=(
            "its layer 'last' repeats 27 elements one by one, more than the limit of 26; "
            "give --trust"
        ),
    ):
        probe.check(path, "last")
    assert probe.check(probe.open_model(path, trust=True), "last").ok
    monkeypatch.setattr("probe.adapters.keras.loading.config_limits.STEPS", 27)
    assert probe.check(path, "last").ok


def test_layers_that_keras_3_calls_anew_for_each_one(tmp_path, monkeypatch):
    layers = [keras.Input((3,)), *(keras.layers.ReLU(name=f"r{k}") for k in range(4))]
    path = saved(keras.Sequential(layers), tmp_path / "m.keras")
    monkeypatch.setattr("probe.adapters.keras.loading.config_limits._CALLS", 14)
    with pytest.raises(
        CannotOpen,
        match=(
            r"a Sequential of 5 layers is rebuilt for each layer, in 15 calls, more than the "
            r"limit of 14; give --trust \(trust=True\)"
        ),
    ):
        probe.check(path, "r3")
    assert probe.check(probe.open_model(path, trust=True), "r3").ok
    monkeypatch.setattr("probe.adapters.keras.loading.config_limits._CALLS", 15)
    assert probe.check(path, "r3").ok


def test_a_length_behind_a_layer_of_unknown_length_is_not_guessed():
    shape = {"batch_input_shape": [None, 1 << 30, 2]}
    entries = [("Conv1D", {"name": "c", **shape}), ("UpSampling1D", {"name": "u", "size": 2})]
    layers = [{"class_name": kind, "config": inner} for kind, inner in entries]
    assert not built_slowly({"class_name": "Sequential", "config": {"layers": layers}})


@pytest.mark.exhaustive
def test_more_layers_than_keras_2_can_add(tmp_path):
    layers = [tf_keras.layers.Input((2,)), *(tf_keras.layers.ReLU() for _ in range(250))]
    path = saved(tf_keras.Sequential(layers), tmp_path / "m.h5")
    assert len(probe.open_model(path).layers) == 250
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(240)
    try:
        with pytest.raises(RecursionError):
            tf_keras.models.load_model(path, compile=False)
        with pytest.raises(
            CannotOpen, match="a Sequential of 251 layers is more than Keras 2 can build"
        ):
            _ = probe.open_model(path).inputs
    finally:
        sys.setrecursionlimit(before)
    assert probe.open_model(path).inputs


@pytest.mark.parametrize("size", [5, 32, 2 * hdf5._NAME])
def test_a_name_in_hdf5_that_does_not_end(size):
    content, reads = b"a" * size, iter(range(4 * hdf5._NAME))

    def read(offset, count):
        next(reads)  # not for ever
        return content[offset : offset + count]

    with pytest.raises(hdf5.UnusualLayout):
        hdf5._text(read, 0)
    content += b"\0bc"
    if size < hdf5._NAME:
        assert hdf5._text(read, 0) == "a" * size
