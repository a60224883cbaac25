"""What Keras' layers compute on other backends than TensorFlow, in Keras' own arithmetic."""

from itertools import product

import numpy as np
import pytest
import torch
from keras.src.backend.common import backend_utils
from probe.adapters.keras.layers.resize import resized
from probe.adapters.keras.layers.transpose_conv import transposed_crops

from probe.errors import Undescribed

TURNED = backend_utils._convert_conv_transpose_padding_args_from_keras_to_jax
IMAGE = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize(("kernel", "stride"), [*product((1, 2, 3, 5), (1, 2, 3))])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_what_a_transposed_convolution_crops(kernel, stride, padding):
    for dilation, more in product((1, 2), (None, 0, 1)):
        if (more or 0) >= stride or (dilation > 1 and stride > 1):
            continue
        span = (kernel - 1) * dilation + 1
        left, right = TURNED(kernel, stride, dilation, padding, more)
        for backend in ("torch", "jax"):
            ((before, after),) = transposed_crops(
                backend, False, padding, (7,), (span,), (stride,), (more,)
            )
            assert (span - 1 - before, span - 1 - after) == (left, right)
    with pytest.raises(Undescribed, match="by the numpy backend is not modelled"):
        transposed_crops("numpy", False, padding, (7,), (3,), (1,), (None,))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize(("sizes", "antialias"), [((7, 9), False), ((3, 2), False), ((3, 2), True)])
def test_resizing_on_pytorch(mode, sizes, antialias):
    if mode == "nearest":
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(IMAGE), sizes, mode="nearest-exact"
        )
    else:
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(IMAGE), sizes, mode=mode, antialias=antialias
        )
    op = resized("torch", mode, IMAGE.shape, sizes, antialias)
    np.testing.assert_allclose(op.run(IMAGE)[0], expected.numpy(), rtol=1e-4, atol=1e-5)
    with pytest.raises(Undescribed, match="'lanczos3' resizing by the torch backend"):
        resized("torch", "lanczos3", IMAGE.shape, sizes)
    with pytest.raises(Undescribed, match="resizing by the jax backend is not modelled"):
        resized("jax", mode, IMAGE.shape, sizes)
