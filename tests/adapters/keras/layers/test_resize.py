"""Transposed convolutions, resizing layers, and the normalisations by norms, over their
constructors' options."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis_examples import examples

import probe

FORMATS = st.sampled_from(["channels_last", "channels_first"])
few = examples(12)


def shaped(batch, channels, sizes, data_format):
    return (
        (batch, channels, *sizes) if data_format == "channels_first" else (batch, *sizes, channels)
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
@few
@given(data=st.data())
def test_conv_transpose(keras, agrees, rank, data):
    """Strides beyond the kernel, one channel, one step, dilation and output padding with both
    padding words among them."""
    draw = data.draw
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    dilation = (1,) * rank
    if max(strides) == 1 and rank < 3:
        dilation = (draw(st.integers(1, 3)),) * rank
    more = (
        tuple(draw(st.integers(0, s - 1)) for s in strides)
        if draw(st.booleans()) and max(dilation) == 1
        else None
    )
    options = {
        "filters": draw(st.integers(1, 3)),
        "kernel_size": kernel,
        "strides": strides,
        "dilation_rate": dilation,
        "output_padding": more,
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": draw(FORMATS) if rank < 3 else "channels_last",
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "relu"])),
    }
    shape = shaped(
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        [draw(st.integers(1, 5)) for _ in range(rank)],
        options["data_format"],
    )
    layer = getattr(keras.layers, f"Conv{rank}DTranspose")(**options)
    try:
        out = layer(np.zeros(shape, np.float32)).shape
    except Exception as error:
        assert (
            "shape" in str(error).lower()
            or "size" in str(error).lower()
            or "support" in str(error).lower()
        ), error
        assume(False)
    assume(0 not in out)
    first = options["data_format"] == "channels_first"
    # Keras 3 on TensorFlow adds some biases along the wrong axis: see the test of it beside the
    # convolutions.
    assume(not (keras.__name__ == "keras" and first and options["use_bias"] and out[-1] == out[1]))
    agrees(layer, shape)


@pytest.mark.parametrize(
    "interpolation",
    ["bilinear", "bicubic", "lanczos3", "lanczos5", "nearest", "area", "gaussian", "mitchellcubic"],
)
@examples(6)
@given(data=st.data())
def test_resizing_and_upsampling(keras, agrees, interpolation, data):
    draw = data.draw
    new = keras.__name__ == "keras"
    if new and interpolation in ("gaussian", "mitchellcubic"):
        pytest.skip("Keras 3 has no such interpolation")
    data_format = draw(FORMATS)
    sizes = [draw(st.integers(1, 9)) for _ in range(2)]
    factors = (draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    if not (new and interpolation == "area"):
        layer = keras.layers.UpSampling2D(
            factors, interpolation=interpolation, data_format=data_format
        )
        agrees(layer, shaped(2, 3, sizes, data_format))
    data_format = data_format if new else "channels_last"
    shape = shaped(2, 3, sizes, data_format)[draw(st.integers(0, 1)) :]
    how = {"interpolation": interpolation} | (
        {"data_format": data_format, "antialias": draw(st.booleans())} if new else {}
    )
    how |= draw(
        st.sampled_from(
            [
                {},
                {"crop_to_aspect_ratio": True},
                *([{"pad_to_aspect_ratio": True, "fill_value": 0.5}] if new else []),
            ]
        )
    )
    wanted = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    assume(
        new
        or not how.get("crop_to_aspect_ratio")
        or (wanted[0] * sizes[1] >= wanted[1] and wanted[1] * sizes[0] >= wanted[0])
    )
    agrees(keras.layers.Resizing(*wanted, **how), shape)


def test_integers_are_not_resized(keras):
    layer = (
        keras.layers.Resizing(3, 4, dtype="uint8")
        if keras.__name__ == "keras"
        else keras.layers.Resizing(3, 4)
    )
    report = probe.check(layer, layer.name, given=np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3))
    assert report.verdict == "unchecked" or report.ok


@pytest.mark.parametrize("policy", ["float16", "mixed_bfloat16", "float64"])
def test_other_dtypes(keras, agrees, policy):
    layers = keras.layers
    agrees(layers.Conv2DTranspose(4, 3, 2, padding="same", dtype=policy), (2, 5, 4, 3))
    for interpolation in ("bilinear", "bicubic", "lanczos3"):
        agrees(layers.UpSampling2D((2, 3), interpolation=interpolation, dtype=policy), (2, 5, 4, 3))
    agrees(layers.UnitNormalization(dtype=policy), (2, 5, 4, 3))
    if keras.__name__ == "keras":
        agrees(layers.Resizing(7, 9, dtype=policy), (2, 5, 4, 3))
        agrees(layers.RMSNormalization(dtype=policy), (2, 5, 4, 3))


@few
@given(shape=st.lists(st.integers(1, 6), min_size=2, max_size=4), data=st.data())
def test_norms(keras, agrees, shape, data):
    axis = data.draw(st.sampled_from([-1, len(shape) - 1, list(range(1, len(shape)))]))
    agrees(keras.layers.UnitNormalization(axis=axis), tuple(shape))
    if keras.__name__ == "keras":
        epsilon = data.draw(st.sampled_from([1e-6, 0.1]))
        agrees(keras.layers.RMSNormalization(axis=axis, epsilon=epsilon), tuple(shape))


def test_a_scale_that_broadcasts_where_it_does_not_belong(agrees):
    keras = pytest.importorskip("keras")
    agrees(keras.layers.RMSNormalization(axis=1), (2, 4, 4))


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`:UserWarning")
def test_layer_normalization_by_rms_scaling(agrees):
    keras = pytest.importorskip("keras")
    for axis in (-1, [1, 2]):
        agrees(keras.layers.LayerNormalization(axis=axis, rms_scaling=True), (3, 4, 5))


@pytest.mark.parametrize(
    "inner", [lambda layers: layers.Conv2D(4, 3), lambda layers: layers.Dense(5)]
)
def test_spectral_normalization(keras, inner):
    """At inference it is the layer inside; training has put the kernel right, and is refused."""
    layer = keras.layers.SpectralNormalization(inner(keras.layers))
    x = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype("float32")
    layer(x, training=True)
    report = probe.check(layer, layer.name, given=x)
    assert (
        report.ok
        and set(report.outputs) == {"framework", "numpy", "onnx"}
        and list(report.weights) == ["kernel", "bias"]
    ), str(report)


# Keras 3's own, as it saves
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    ["Conv2DTranspose", "UpSampling2D", "Resizing", "RMSNormalization", "SpectralNormalization"],
)
def test_saved_and_reopened(name, tmp_path):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    made = {
        "Conv2DTranspose": lambda: layers.Conv2DTranspose(4, 3, 2, padding="same"),
        "UpSampling2D": lambda: layers.UpSampling2D(interpolation="bicubic"),
        "Resizing": lambda: layers.Resizing(9, 5, interpolation="lanczos3", antialias=True),
        "RMSNormalization": lambda: layers.RMSNormalization(),
        "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)),
    }[name]()
    inputs = keras.Input((6, 7, 3))
    keras.Model(inputs, made(inputs)).save(tmp_path / "net.keras")
    report = probe.check(tmp_path / "net.keras", made.name)
    assert report.ok and set(report.outputs) == {"framework", "numpy", "onnx"}, str(report)
