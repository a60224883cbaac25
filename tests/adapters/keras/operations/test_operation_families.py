"""The operations of keras.ops beside arithmetic: windows, images, norms and attention, order,
places; and that none is forgotten."""

import keras
import numpy as np
import pytest
from probe.adapters.keras.describe.described_classes import OPERATIONS
from probe.adapters.keras.describe.undescribed_classes import FOLLOWED, LEFT_OUT

import probe

ops = keras.ops


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(keras.config.floatx())


def _pools_of_lines():
    line = keras.Input((11, 4))
    return [line], [ops.max_pool(line, 2), ops.average_pool(line, 3, 2, "same")]


def _windows():
    x, line, volume = keras.Input((8, 9, 4)), keras.Input((11, 4)), keras.Input((5, 6, 4, 3))
    found = [ops.max_pool(x, 3, 2, "same"), ops.max_pool(x, (2, 3))]
    if keras.config.floatx() == "float32":
        found += [ops.max_pool(volume, 2, padding="same")]
    found += [
        ops.average_pool(x, 3, 2, "same"),
        ops.average_pool(x, 2, data_format="channels_first"),
    ]
    found += [
        ops.adaptive_average_pool(x, (3, 2)),
        ops.adaptive_max_pool(x, (3, 5)),
        ops.adaptive_average_pool(line, (4,)),
    ]
    found += [
        ops.conv(x, numbers(3, 2, 4, 6), strides=2, padding="same"),
        ops.depthwise_conv(x, numbers(2, 3, 4, 2), dilation_rate=2),
    ]
    found += [
        ops.separable_conv(x, numbers(3, 3, 4, 2), numbers(1, 1, 8, 5), padding="same"),
        ops.conv(line, numbers(3, 4, 5)),
    ]
    found += [
        ops.image.extract_patches(x, (3, 2), strides=2, padding="same"),
        ops.image.extract_patches(x, 3, 1, dilation_rate=2),
    ]
    found += [
        ops.image.extract_patches_3d(volume, 2),
        ops.unfold(x, (3, 2), padding=1, stride=2),
        ops.space_to_depth(x[:, :, :8], 4),
    ]
    found += [ops.fold(ops.swapaxes(x[..., 0], 1, 2), (4, 4), (3, 1)), ops.depth_to_space(x, 2)]
    found += [
        ops.depth_to_space(x[:, :, :5], 2, "channels_first"),
        ops.space_to_depth(x[:, :, :6], 2, "channels_first"),
    ]
    return [x, line, volume], found


def _images():
    x, rgb = keras.Input((8, 9, 4)), keras.Input((6, 7, 3))
    rgb_ = ops.sigmoid(rgb)
    found = [
        ops.image.resize(x, (5, 12), interpolation=name)
        for name in ("bilinear", "nearest", "bicubic", "lanczos3", "area")
    ]
    found += [
        ops.image.resize(x, (4, 3), antialias=True),
        ops.image.resize(x, (5, 5), pad_to_aspect_ratio=True, fill_value=0.5),
    ]
    found += [
        ops.image.resize(x, (12, 4), crop_to_aspect_ratio=True),
        ops.image.resize(x, (10, 8), data_format="channels_first"),
    ]
    found += [
        ops.image.pad_images(x, 1, 2, target_height=12, target_width=13),
        ops.image.pad_images(x, 0, 1, 2, 3),
    ]
    found += [
        ops.image.crop_images(x, 1, 2, target_height=4, target_width=5),
        ops.image.crop_images(x, 1, 1, 2, 3),
    ]
    found += [
        ops.image.rgb_to_grayscale(rgb),
        ops.image.rgb_to_hsv(rgb_),
        ops.image.hsv_to_rgb(rgb_),
        ops.image.sobel_edges(x),
    ]
    found += [
        ops.image.gaussian_blur(x, (3, 5), (1.0, 0.7)),
        ops.image.gaussian_blur(x, (2, 3), data_format="channels_first"),
    ]
    return [x, rgb], found


def _sampled():
    """Shifts, turns and maps with a vanishing point; places between elements and outside. PyTorch's
    backend has fewer of them."""
    x, line, places = keras.Input((8, 9, 4)), keras.Input((7,)), keras.Input((4, 3))
    turned = np.array(
        [[0.9, -0.3, 1.2, 0.25, 1.1, -2.0, 0, 0], [1, 0, 2, 0, 1, -1, 0, 0]], np.float32
    )
    found = [
        ops.image.affine_transform(x, turned, fill_mode=name, fill_value=0.5)
        for name in ("constant", "nearest", "reflect")
    ]
    found += [
        ops.image.affine_transform(x, turned[1], "nearest"),
        ops.image.affine_transform(x, turned, data_format="channels_first"),
    ]
    given = numbers(2, 3, 5) * 4
    found += [
        ops.image.map_coordinates(line, given, order, mode, 1.5)
        for order in (0, 1)
        for mode in ("constant", "nearest")
    ]
    found += [
        ops.image.map_coordinates(x[..., 0], numbers(3, 6) * 3, 1),
        ops.image.map_coordinates(line, places[0, :2] * 3, 1),
    ]
    return [x, line, places], found


def _spectra():
    line, z, image = keras.Input((40,)), keras.Input((40,)), keras.Input((3, 6, 5))
    found = [
        *ops.fft((line, z)),
        *ops.fft2((image, image * 2.0)),
        *ops.ifft2((image, image + 1.0)),
        *ops.rfft(line),
        *ops.rfft(line, 31),
    ]
    found += [
        *ops.rfft(line, 64),
        ops.irfft((line, z)),
        ops.irfft((line, z), 60),
        ops.irfft((line, z), 95),
    ]
    frames, window = (
        (keras.ops.reshape(one, (-1, 5, 8)) for one in (line, z)),
        np.abs(numbers(10)) + np.float32(0.2),
    )
    pair = tuple(frames)
    found += [
        *ops.stft(line, 12, 4, 16),
        *ops.stft(line, 16, 5, 16, "hamming", center=False),
        *ops.stft(image[:, 0], 4, 1, 4, None),
    ]
    found += [
        *ops.stft(line, 10, 3, 16, window),
        ops.istft(pair, 14, 4, 14),
        ops.istft(pair, 12, 3, 14, length=20),
    ]
    found += [
        ops.istft(pair, 10, 3, 14, window=window),
        ops.istft(pair, 14, 7, 14, window=None, center=False),
    ]
    return [line, z, image], found


def _projected():
    x = keras.Input((8, 9, 4))
    far = numbers(2, 8) * np.float32(0.05) + np.array([1, 0, 0, 0, 1, 0, 0, 0], np.float32)
    return [x], [
        ops.image.affine_transform(x, far),
        ops.image.affine_transform(x, far, fill_mode="nearest"),
    ]


def _layers():
    x, q, k = keras.Input((5, 6)), keras.Input((7, 4, 8)), keras.Input((9, 4, 8))
    bias, mask = numbers(2, 1, 7, 9), numbers(2, 1, 7, 9) > 0
    mean, variance, scale = numbers(6), np.abs(numbers(6)) + 0.1, numbers(6, seed=1)
    found = [
        ops.batch_normalization(x, mean, variance, -1, offset=scale, scale=mean),
        ops.batch_normalization(x, mean[:5], variance[:5], 1),
    ]
    found += [
        ops.layer_normalization(x, gamma=scale, beta=mean),
        ops.layer_normalization(x, axis=1),
        ops.rms_normalization(x, scale=scale),
    ]
    found += [ops.layer_normalization(x, gamma=numbers(5), axis=1, epsilon=0.1)]
    with pytest.warns(UserWarning, match="rms_scaling"):
        found += [ops.layer_normalization(x, rms_scaling=True)]
    found += [
        ops.rms_normalization(x, axis=(1, 2)),
        ops.dot_product_attention(q, k, k),
        ops.dot_product_attention(q, k, k, bias=bias),
    ]
    found += [
        ops.dot_product_attention(q, k, k, mask=mask, scale=0.3),
        ops.dot_product_attention(q, q, q, is_causal=True),
    ]
    found += [ops.dot_product_attention(q, k[:, :, :2], k[:, :, :2])]
    found += [
        ops.multi_hot(ops.argmax(x, axis=-1), 6),
        ops.psnr(x, x * 0.9, 1.0),
        ops.cdist(x, x[:, 1:] * 2),
    ]
    return [x, q, k], found


def _arithmetic():
    x, z, holes = keras.Input((4, 6)), keras.Input((4, 6)), keras.Input((4, 6))
    whole = ops.cast(ops.abs(x) * 4, "int32")
    names = (
        "cbrt deg2rad erfc exp2 fabs isfinite isneginf isposinf rad2deg signbit sinc conj "
        "real imag isreal nan_to_num median ptp sort"
    )
    found = [getattr(ops, name)(x) for name in names.split()]
    found += [
        getattr(ops, f"nan{name}")(holes, axis=1)
        for name in "cumprod cumsum max mean min prod std sum var".split()
    ]
    found += [
        ops.nansum(holes),
        ops.nanmean(holes, keepdims=True),
        ops.nan_to_num(holes, nan=2.0, posinf=3.0, neginf=-3.0),
    ]
    found += [
        getattr(ops, name)(x, z)
        for name in "arctan2 logaddexp logaddexp2 fmod fmax fmin heaviside isclose isin".split()
    ]
    found += [
        ops.fmax(holes, x),
        ops.fmin(x, holes),
        ops.isclose(x, holes, 0.5, equal_nan=True),
        ops.average(x),
        ops.isclose(x, x),
    ]
    found += [
        ops.average(x, 2, weights=np.abs(numbers(6))),
        ops.average(x, 1, weights=ops.exp(z)),
        ops.count_nonzero(ops.relu(x), axis=1),
    ]
    found += [
        ops.argsort(x),
        ops.sort(x, 1),
        ops.median(x, axis=(1, 2)),
        ops.quantile(x, 0.3, axis=1),
        ops.percentile(x, 40.0),
    ]
    found += [
        ops.quantile(x, [0.1, 0.5], axis=-1, keepdims=True),
        *(ops.percentile(x, 30, axis=1, method=m) for m in METHODS),
    ]
    found += [
        ops.digitize(x, np.array([-1.0, 0.0, 0.5])),
        ops.searchsorted(np.arange(3.0, dtype=keras.config.floatx()), x[0, 0]),
        ops.ptp(x, 1, keepdims=True),
    ]
    found += [ops.searchsorted(np.arange(3.0, dtype=keras.config.floatx()), x[0, 0], side="right")]
    found += [ops.in_top_k(whole[:, 0, 0] % 4, ops.cast(x[:, :, 0], "float32"), 2)]
    found += [
        ops.trapezoid(x),
        ops.trapezoid(x, numbers(6).cumsum()),
        ops.trapezoid(x, axis=1),
        ops.vander(x[0, 0]),
        ops.vander(x[0, 0], 3, increasing=True),
    ]
    found += [
        ops.select([x > 1, z > 0], [x, z], 0.5),
        ops.select([x > 1], [x]),
        *ops.unravel_index(whole[0, 0], (5, 7)),
        ops.linspace(x, z, 5),
        ops.corrcoef(x[0]),
        ops.ldexp(x, whole),
    ]
    found += [
        ops.linspace(x, z, 4, endpoint=False, axis=-1),
        *ops.array_split(x, 4, axis=2),
        *ops.hsplit(x, 2),
        *ops.vsplit(x, 2),
    ]
    found += [*ops.dsplit(x, [1, 4])]
    return [x, z, holes], found


METHODS = ("lower", "higher", "nearest", "midpoint")


def _places():
    x, z = keras.Input((4, 6), batch_size=2), keras.Input((4, 6), batch_size=2)
    whole = ops.cast(ops.abs(x) * 4, "int32")
    line, other, three = x[0, 0], z[0, 1], x[:, :, :3]
    found = [
        ops.rot90(x),
        ops.rot90(x, 3, (1, 2)),
        ops.fliplr(x),
        ops.flipud(x),
        ops.diag(line),
        ops.diag(x[0], 1),
        ops.diagflat(line, -1),
    ]
    found += [
        ops.diagonal(x, 1, 1, 2),
        ops.trace(x, axis1=1, axis2=2),
        ops.extract_sequences(x, 3, 2),
        ops.hstack([x, z]),
        ops.vstack([x, z]),
    ]
    found += [ops.dstack([x, z]), ops.dstack([line, other]), ops.append(x, z)]
    found += [
        ops.append(x, z, 1),
        *ops.meshgrid(line, other),
        *ops.meshgrid(line, other, indexing="ij"),
        ops.outer(line, other),
    ]
    found += [
        ops.kron(x[0], z[0]),
        ops.inner(x, z),
        ops.vdot(x, z),
        ops.cross(three, z[:, :, 3:]),
        ops.full_like(x, 2.5),
        ops.array(x),
    ]
    found += [
        ops.correlate(line, ops.slice(other, (0,), (3,)), mode=mode)
        for mode in ("valid", "same", "full")
    ]
    found += [
        ops.full((2, 3), line[0]),
        ops.convert_to_tensor(x),
        ops.saturate_cast(x * 200, "int8"),
        ops.size(x),
    ]
    found += [
        ops.scatter(whole[0, :, :1] % 5, x[0, :, 0], (5,)),
        ops.scatter_update(line, [[1], [3]], ops.slice(other, (1,), (2,))),
    ]
    found += [
        ops.slice_update(x, (0, 1, 2), z[:, :2, :3]),
        ops.segment_sum(x[0], whole[0, :, 0] % 3, 3),
    ]
    found += [ops.rearrange(x, "b h (w c) -> b (c h) w", c=2)]
    return [x, z], found


def _unanswered(build):
    """What is said of each call that is not agreed upon by all three."""
    inputs, outputs = build()
    model = keras.Model(inputs, outputs)
    given = [
        numbers(*(size or 2 for size in one.shape), seed=seed) for seed, one in enumerate(inputs)
    ]
    if build is _arithmetic:
        given[2][:, ::2, 1::3] = np.nan
    listed = {layer.name: layer for layer in probe.open_model(model).layers}
    assert all(layer.checkable for layer in listed.values())
    reports = list(probe.sweep(model, given))
    assert {report.layer for report in reports} == set(listed)
    flat = "own range"
    return [
        str(one)
        for one in reports
        if len(one.outputs) < 3 or (one.verdict != "agree" and flat not in one.sentence)
    ]


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


@pytest.mark.parametrize(
    "precision", ["float32", pytest.param("float64", marks=pytest.mark.exhaustive)], indirect=True
)
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(_windows, marks=pytest.mark.costly),
        _pools_of_lines,
        _images,
        _sampled,
        _projected,
        _spectra,
        _layers,
        _arithmetic,
        _places,
    ],
)
def test_family(build, precision):
    assert _unanswered(build) == []


def _classes(function) -> set[str]:
    """The operations that a function of keras.ops makes."""
    held = getattr(function, "__globals__", {})
    found = [
        held.get(name) for name in getattr(getattr(function, "__code__", None), "co_names", ())
    ]
    own = {
        one.__name__ for one in found if isinstance(one, type) and issubclass(one, keras.Operation)
    }
    return own or {
        name
        for one in found
        if getattr(one, "__name__", "") in ("absolute", "conjugate")
        for name in _classes(one)
    }


NO_NODES = {
    # they take no tensor
    *"bartlett blackman empty eye hamming hanning identity kaiser ones tri zeros".split(),
    # they give no tensor
    *"convert_to_numpy custom_gradient dtype is_tensor shape vectorize".split(),
}


def test_every_exported_operation_is_described_or_left_out():
    exported = {
        name: function
        for space in (ops, ops.nn, ops.image, ops.numpy, ops.linalg)
        for name, function in vars(space).items()
        if callable(function) and not name.startswith("_")
    }
    left = LEFT_OUT["keras.ops"]
    made = {name: _classes(function) for name, function in exported.items()}
    assert [name for name, classes in made.items() if not classes and name not in NO_NODES] == []
    known = set(OPERATIONS) | set(left) | set(FOLLOWED)
    assert {name: classes - known for name, classes in made.items() if classes - known} == {}
    assert not set(left) & set(OPERATIONS)
    assert all(why[0].islower() or why.startswith(("ONNX", "TensorFlow")) for why in left.values())


def _loops(x, y):
    """(name of the layer, its output): a function of the user's own called as often as values
    say."""
    return [
        ops.vectorized_map(lambda one: ops.relu(one) * 2.0, x),
        ops.map(lambda pair: ops.tanh(pair[0]) + pair[1], (x, y)),
        ops.fori_loop(1, 4, lambda at, one: ops.sin(one) * ops.cast(at, one.dtype), x),
        ops.while_loop(lambda one: ops.max(one) < 50.0, lambda one: (one * 2.0 + 1.0,), (x,))[0],
        *ops.scan(lambda carry, one: (ops.tanh(carry + one), carry * one), y[0], x),
        *ops.scan(lambda carry, one: (carry - one, one * 0.5), y[0], x, reverse=True),
        ops.associative_scan(ops.add, x, axis=1),
        ops.associative_scan(lambda one, other: ops.maximum(one, other), x, reverse=True),
        ops.switch(
            ops.cast(ops.sum(y) * 0.0 + 1.0, "int32"), [ops.relu, lambda one: ops.exp(one) - 1.0], x
        ),
    ]


def test_functions_that_are_called_as_often_as_values_say_are_written_out(precision):
    shapes = ((3, 4), (3, 4))
    x, y = (keras.Input(shape[1:], batch_size=shape[0]) for shape in shapes)
    given = [numbers(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    model = keras.Model([x, y], _loops(x, y))
    reports = list(probe.sweep(model, given))
    assert all(one.ok and len(one.outputs) == 3 for one in reports), [
        str(one) for one in reports if not one.ok
    ]
    kinds = {one.kind for one in reports}
    assert kinds >= {
        "VectorizedMap",
        "Map",
        "ForiLoop",
        "WhileLoop",
        "Scan",
        "AssociativeScan",
        "Switch",
    }
    (mapped,) = (one.layer for one in reports if one.kind == "VectorizedMap")
    assert probe.check(model, mapped, given, expected=given[0] * 2).verdict == "diverge"


def test_what_goes_round_for_ever_is_said_to():
    x = keras.Input((4,), batch_size=3)
    looped = ops.fori_loop(0, 1000, lambda at, one: one * 0.999, x)
    first, second = probe.sweep(keras.Model(x, looped + 1.0), numbers(3, 4))
    assert (
        first.verdict == "unchecked" and "its loop runs 1000 iterations" in first.missing["numpy"]
    )
    assert second.ok
