"""Layers that move, repeat, pad or crop, and those that do nothing at inference."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis_examples import examples

import probe

SHAPES = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)
FORMATS = st.sampled_from(["channels_last", "channels_first"])
RANKS = (1, 2, 3)


@given(shape=SHAPES, data_format=FORMATS)
@examples(20)
def test_flatten(keras, agrees, shape, data_format):
    agrees(keras.layers.Flatten(data_format=data_format), shape)


@given(shape=SHAPES, data=st.data())
@examples(20)
def test_permute(keras, agrees, shape, data):
    agrees(keras.layers.Permute(tuple(data.draw(st.permutations(range(1, len(shape)))))), shape)


@given(shape=SHAPES, data=st.data())
@examples(20)
def test_reshape(keras, agrees, shape, data):
    size = math.prod(shape[1:])
    first = data.draw(st.sampled_from([n for n in range(1, size + 1) if size % n == 0]))
    target = data.draw(
        st.sampled_from([(size,), (-1,), (first, size // first), (first, -1), (-1, first, 1)])
    )
    agrees(keras.layers.Reshape(target), shape)


@given(n=st.integers(1, 5), features=st.integers(1, 5))
@examples(10)
def test_repeat_vector(keras, agrees, n, features):
    agrees(keras.layers.RepeatVector(n), (2, features))


def _options(rank, data_format):
    return {} if rank == 1 else {"data_format": data_format}


def _shape(rank, sizes, data_format):
    return (2, 3, *sizes) if rank > 1 and data_format == "channels_first" else (2, *sizes, 3)


@pytest.mark.parametrize("rank", RANKS)
@given(data=st.data(), data_format=FORMATS)
@examples(15)
def test_padding_and_cropping(keras, agrees, rank, data, data_format):
    amount = st.integers(0, 3)
    pairs = tuple((data.draw(amount), data.draw(amount)) for _ in range(rank))
    amounts = data.draw(st.sampled_from([pairs[0] if rank == 1 else pairs, max(pairs[0])]))
    options = _options(rank, data_format)
    agrees(
        getattr(keras.layers, f"ZeroPadding{rank}D")(amounts, **options),
        _shape(rank, [2, 3, 4][:rank], data_format),
    )
    agrees(
        getattr(keras.layers, f"Cropping{rank}D")(amounts, **options),
        _shape(rank, [7, 8, 9][:rank], data_format),
    )


@pytest.mark.parametrize("rank", RANKS)
@given(data=st.data(), data_format=FORMATS)
@examples(10)
def test_up_sampling(keras, agrees, rank, data, data_format):
    size = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
    layer = getattr(keras.layers, f"UpSampling{rank}D")(
        size[0] if rank == 1 else size, **_options(rank, data_format)
    )
    agrees(layer, _shape(rank, [2, 3, 4][:rank], data_format))


IDLE = {
    "ActivityRegularization": {"l2": 0.1},
    "AlphaDropout": {"rate": 0.5},
    "Dropout": {"rate": 0.5},
    "GaussianDropout": {"rate": 0.5},
    "GaussianNoise": {"stddev": 0.5},
    "Identity": {},
    "SpatialDropout1D": {"rate": 0.5},
    "SpatialDropout2D": {"rate": 0.5},
    "SpatialDropout3D": {"rate": 0.5},
}


@pytest.mark.parametrize("kind", IDLE)
def test_idle_at_inference(keras, agrees, kind):
    rank = int(kind[-2]) if kind.endswith("D") else 2
    agrees(getattr(keras.layers, kind)(**IDLE[kind]), (2, *[4, 5, 6][:rank], 3))


@pytest.mark.parametrize(
    "kind", [kind for kind, options in IDLE.items() if "rate" in options or "stddev" in options]
)
def test_random_in_training(keras, kind):
    rank = int(kind[-2]) if kind.endswith("D") else 2
    inputs = keras.Input((*[4, 5, 6][:rank], 3))
    layer = getattr(keras.layers, kind)(**IDLE[kind])
    report = probe.check(keras.Model(inputs, layer(inputs, training=True)), layer.name)
    assert report.verdict == "unchecked" and "draws random numbers" in report.missing["numpy"]
    for name, value in IDLE[kind].items():
        still = getattr(keras.layers, kind)(**{name: 0.0 * value})
        assert probe.check(keras.Model(inputs, still(inputs, training=True)), still.name).ok


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float64"])
def test_other_dtypes(keras, agrees, policy):
    layers = keras.layers
    for layer in (
        layers.Flatten(dtype=policy),
        layers.UpSampling2D(dtype=policy),
        layers.ZeroPadding2D(dtype=policy),
        layers.Reshape((-1,), dtype=policy),
    ):
        agrees(layer, (2, 4, 5, 3))
