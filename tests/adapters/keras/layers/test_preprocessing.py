"""Preprocessing of numbers, and augmentation, which does nothing outside training."""

import inspect

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis_examples import examples
from probe.adapters.keras.capture.model import Opened
from probe.adapters.keras.layers.augmentation import RANDOM
from representatives import exhaustive
from wrapping import unwrapped

import probe


@given(
    scale=st.floats(-3, 3),
    offset=st.sampled_from([0.0, -1.0, [0.5, -2.0, 3.0]]),
    policy=st.sampled_from(["float32", "float64", "float16"]),
)
@examples(15)
@example(scale=1e-40, offset=0.0, policy="float64")  # which a cast to float64 takes for 0
def test_rescaling(keras, agrees, scale, offset, policy):
    report = agrees(keras.layers.Rescaling(scale, offset, dtype=policy), (2, 4, 3))
    assert report.weights["scale"].stored is None


def adapted(keras, data, **options):
    layer = keras.layers.Normalization(**options)
    layer.adapt(data)
    return layer


@given(
    axis=st.sampled_from([-1, 1, None, (1, 2), (-2, -1)]),
    invert=st.booleans(),
    policy=st.sampled_from(["float32", "float64", "mixed_float16"]),
)
@examples(20)
def test_normalization_adapted(keras, axis, invert, policy):
    rng = np.random.default_rng(0)
    layer = adapted(
        keras,
        rng.normal(3, 2, size=(20, 4, 3)).astype("float32"),
        axis=axis,
        invert=invert,
        dtype=policy,
    )
    report = probe.check(
        layer, layer.name, given=rng.normal(3, 2, size=(2, 4, 3)).astype("float32")
    )
    assert report.ok and len(report.outputs) == 3, str(report)
    assert set(report.weights) == {"mean", "variance"}
    np.testing.assert_array_equal(report.weights["mean"].stored, np.asarray(layer.adapt_mean))


@given(axis=st.sampled_from([-1, 1, None]), invert=st.booleans(), several=st.booleans())
@examples(10)
def test_normalization_given(keras, axis, invert, several):
    size = {-1: 3, 1: 4, None: None}[axis]
    if several and size is not None:
        mean, variance = np.arange(size, dtype="float32") - 1, np.arange(size, dtype="float32")
    else:
        mean, variance = 0.5, 2.25
    layer = keras.layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert)
    report = probe.check(
        layer, layer.name, given=np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    )
    assert all(one.ok for one in report.comparisons.values()) and len(report.outputs) == 3, str(
        report
    )


def test_a_stale_normalization_is_told(keras):
    layer = adapted(keras, np.random.default_rng(0).normal(3, 2, size=(20, 3)).astype("float32"))
    layer.adapt_mean.assign([1.0, 2.0, 3.0])
    report = probe.check(layer, layer.name, given=np.ones((2, 3), np.float32))
    assert report.ok and "finalize_state() has not been called" in unwrapped(str(report))


SHAPES = st.sampled_from([(4,), (4, 3), (4, 1), (2, 3, 2)])
MODES = ["int", "one_hot", "multi_hot", "count"]


def agrees_or_is_refused(keras, layer, x):
    """Keras 2 refuses some ranks."""
    try:
        report = probe.check(layer, layer.name, given=x)
    except (ValueError, probe.ProbeError) as error:
        assert keras.__name__ == "tf_keras"
        assert "maximum supported output rank" in str(error) or "at most one index" in str(error)
        return
    assert [one.ok for one in report.comparisons.values()] == [True] * 3, str(report)


@pytest.mark.parametrize("mode", MODES)
@given(
    shape=SHAPES,
    boundaries=st.lists(st.floats(-2, 2, width=16), min_size=1, max_size=5, unique=True).map(
        sorted
    ),
)
@examples(12)
def test_discretization(keras, mode, shape, boundaries):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    x.flat[0] = boundaries[0]
    layer = keras.layers.Discretization(boundaries, output_mode=mode)
    agrees_or_is_refused(keras, layer, x)


@pytest.mark.parametrize("mode", MODES[1:])
@given(shape=SHAPES, tokens=st.integers(1, 6), weighted=st.booleans())
@examples(12)
def test_category_encoding(keras, mode, shape, tokens, weighted):
    x = np.random.default_rng(1).integers(0, tokens, shape)
    layer = keras.layers.CategoryEncoding(tokens, output_mode=mode)
    agrees_or_is_refused(keras, layer, x)
    if mode == "count" and len(shape) == 2 and weighted:
        inputs, weights = keras.Input(shape[1:], dtype="int32"), keras.Input(shape[1:])
        model = keras.Model([inputs, weights], layer(inputs, count_weights=weights))
        given = np.random.default_rng(2).normal(size=shape).astype("float32")
        report = probe.check(model, layer.name, [x, given])
        assert [one.ok for one in report.comparisons.values()] == [True] * 3, str(report)


@pytest.mark.parametrize("mode", MODES)
@given(mask=st.booleans(), oov=st.integers(1, 3), invert=st.booleans(), padded=st.booleans())
@examples(12)
def test_integer_lookup(keras, mode, mask, oov, invert, padded):
    options = {"invert": True} if invert and mode == "int" else {"num_oov_indices": oov}
    if padded:
        options |= {"max_tokens": 12, "pad_to_max_tokens": True}
    layer = keras.layers.IntegerLookup(
        vocabulary=[12, 36, 1138, 42], output_mode=mode, mask_token=-5 if mask else None, **options
    )
    x = np.array(
        [[2, 4, 0], [3, 1, 9]] if invert and mode == "int" else [[12, -5, 42], [1138, 7, 100]]
    )
    if mode == "one_hot":
        x = x[:, :1]
    report = probe.check(layer, layer.name, given=x)
    assert [one.ok for one in report.comparisons.values()] == [True] * 3, str(report)


@pytest.mark.parametrize("keras", ["keras"], indirect=True)  # Keras 2 has no such layer
def test_auto_contrast(agrees, keras):
    rng = np.random.default_rng(0)
    for shape in ((2, 5, 6, 3), (5, 6, 3)):
        for value_range in ((0, 255), (-1.0, 1.0)):
            x = rng.uniform(*value_range, size=shape).astype("float32")
            x[..., 0] = 0.25
            agrees(keras.layers.AutoContrast(value_range=value_range), x)


OPTIONS = {
    "height": 4,
    "width": 5,
    "factor": 0.3,
    "max_number": 3,
    "height_factor": 0.2,
    "width_factor": 0.2,
}


@pytest.mark.parametrize(
    "names",
    [
        *(("RandomFlip", "RandomZoom", "RandomPosterization", "MaxNumBoundingBoxes"),),
        *exhaustive(tuple(RANDOM)),
    ],
    ids=["some", "all"],
)
def test_augmentation_passes_images_through(keras, names):
    assert set(names) <= set(RANDOM)
    x = np.random.default_rng(0).uniform(0, 255, size=(2, 6, 7, 3)).astype("float32")
    for name in names:
        kind = getattr(keras.layers, name, None)
        if kind is None:
            continue
        wanted = [
            one.name
            for one in inspect.signature(kind.__init__).parameters.values()
            if one.default is one.empty and one.name in OPTIONS
        ]
        layer = kind(
            **{one: 2 if name == "RandomPosterization" else OPTIONS[one] for one in wanted}
        )
        report = probe.check(
            Opened("a layer of a file", layer, keras, live=False), layer.name, given=x
        )
        assert report.verdict == "agree" and len(report.outputs) == 3, f"{name}\n{report}"
        if name != "MaxNumBoundingBoxes":
            report = probe.check(layer, layer.name, given=x)
            assert (
                report.verdict == "unchecked" and "draws random numbers" in report.missing["numpy"]
            )


@pytest.mark.parametrize("kind", ["CenterCrop", "RandomCrop"])
@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    single=st.booleans(),
)
@examples(15)
def test_crops(keras, kind, height, width, size, single):
    layer = getattr(keras.layers, kind)(height, width)
    x = (
        np.random.default_rng(0)
        .uniform(0, 255, size=(*(() if single else (2,)), *size, 3))
        .astype("float32")
    )
    report = probe.check(Opened("a layer of a file", layer, keras, live=False), layer.name, given=x)
    assert [one.ok for one in report.comparisons.values()] == [True] * 3, str(report)


@pytest.mark.costly(default=1)
@pytest.mark.parametrize("mode", ["log", "magnitude", "psd", "real", "imag", "stft"])
@given(
    channels=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
    expand=st.booleans(),
    step=st.sampled_from([None, 5, 16]),
)
@examples(6)
def test_short_time_fourier_transform(mode, channels, padding, expand, step):
    keras = pytest.importorskip("keras")
    layer = keras.layers.STFTSpectrogram(
        mode, frame_length=16, frame_step=step, padding=padding, expand_dims=expand
    )
    x = np.random.default_rng(0).normal(size=(2, 50, channels)).astype("float32")
    report = probe.check(layer, layer.name, given=x)
    assert report.ok and len(report.outputs) == 3, str(report)


@pytest.mark.parametrize("mode", ["psd", "magnitude", "real", "imag"])
def test_a_spectrum_by_an_fft_agrees_and_a_little_more_of_it_does_not(mode):
    """The layer's kernels are cosines and sines of angles in float32."""
    keras = pytest.importorskip("keras")
    layer = keras.layers.STFTSpectrogram(mode, frame_length=48, frame_step=20, fft_length=64)
    x = np.random.default_rng(0).normal(size=(2, 200, 1)).astype("float32")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(48) / 47)
    frames = np.stack([x[:, at : at + 48, 0] for at in range(0, 153, 20)], 1)
    spectrum = np.fft.rfft(frames * window, 64) / np.sqrt((window**2).sum())
    values = {"magnitude": np.abs(spectrum), "real": spectrum.real, "imag": spectrum.imag}
    values["psd"] = np.abs(spectrum) ** 2 * np.r_[1, np.full(31, 2), 1]
    report = probe.check(layer, layer.name, given=x, expected=values[mode].astype("float32"))
    assert report.verdict == "agree", report
    wrong = (1.0005 * values[mode]).astype("float32")
    assert probe.check(layer, layer.name, given=x, expected=wrong).verdict == "diverge"


@given(
    db=st.booleans(),
    window=st.sampled_from(["hann", "hamming"]),
    exponent=st.sampled_from([1.0, 2.0]),
    single=st.booleans(),
)
@examples(8)
def test_mel_spectrogram(db, window, exponent, single):
    keras = pytest.importorskip("keras")
    layer = keras.layers.MelSpectrogram(
        fft_length=64,
        sequence_stride=16,
        sequence_length=48,
        num_mel_bins=8,
        power_to_db=db,
        window=window,
        mag_exp=exponent,
    )
    x = np.random.default_rng(0).normal(size=(200,) if single else (2, 200)).astype("float32")
    report = probe.check(layer, layer.name, given=x)
    assert report.ok and len(report.outputs) == 3, str(report)


@pytest.mark.parametrize("axis", [-1, (1, 2)])
def test_softmax_under_a_mask(keras, axis):
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    mask = np.random.default_rng(1).random((2, 4, 3)) < 0.6
    inputs, masks = keras.Input((4, 3)), keras.Input((4, 3), dtype="bool")
    layer = keras.layers.Softmax(axis=axis)
    report = probe.check(
        keras.Model([inputs, masks], layer(inputs, mask=masks)), layer.name, [x, mask]
    )
    assert report.ok and len(report.outputs) == 3 and not report.outputs["numpy"][~mask].any(), str(
        report
    )


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("keepdims", [False, True])
def test_mean_of_what_a_mask_keeps(keras, data_format, keepdims):
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    mask = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], bool)
    steps = (3, 5) if data_format == "channels_first" else (5, 3)
    inputs, masks = keras.Input(steps), keras.Input((5,), dtype="bool")
    layer = keras.layers.GlobalAveragePooling1D(data_format=data_format, keepdims=keepdims)
    model = keras.Model([inputs, masks], layer(inputs, mask=masks))
    x = x.transpose(0, 2, 1) if data_format == "channels_first" else x
    report = probe.check(model, layer.name, [x, mask])
    assert report.ok and len(report.outputs) == 3, str(report)
    story = probe.explain(model, layer.name, [x, mask], at=(0,) * report.outputs["numpy"].ndim)
    assert len(story.terms) == 3
