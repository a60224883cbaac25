"""Keras' transposed convolutions: where the padding word crops each backend's output."""

from collections.abc import Sequence
from math import prod
from typing import Any

from probe import ops
from probe.description import Description, Step
from probe.errors import Undescribed

from ..describe.call import KerasCall
from ..describe.describe import describes, named_axes
from ..describe.windows import kernel_axes
from .activation import activation_steps
from .conv import channels_first, spatial_sizes, surrounded

__all__ = ["transposed_crops"]

Pair = tuple[int, int]


def transposed_crops(
    backend: str,
    legacy: bool,
    padding: str,
    sizes: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
    more: Sequence[int | None],
) -> tuple[Pair, ...]:
    """(before, after) to crop off (n - 1) * stride + span on each axis; ``more`` is the output
    padding."""
    axes = list(zip(sizes, spans, strides, more, strict=True))
    if backend == "tensorflow":
        return tuple(
            _by_tensorflow(padding, n, span, s, extra, legacy) for n, span, s, extra in axes
        )
    if backend in ("torch", "jax"):
        return tuple(_by_window(padding, span, s, extra) for _, span, s, extra in axes)
    raise Undescribed(
        f"cropping of a transposed convolution by the {backend} backend is not modelled"
    )


def _by_tensorflow(
    padding: str, n: int, span: int, s: int, extra: int | None, legacy: bool
) -> Pair:
    """What the convolution of which this is the gradient pads for an input of the output's size.

    keras/src/backend/common/backend_utils.py, _get_output_shape_given_tf_padding;
    tf_keras/src/utils/conv_utils.py, deconv_output_length.
    """
    if padding == "valid":
        if extra is None:
            length = n * s + max(span - s, 0)
        else:
            length = (n - 1) * s + span + extra
    elif extra is None:
        length = n * s
    else:
        length = (n - 1) * s + (span - span // 2 * 2 if legacy else span % 2) + extra
    full = (n - 1) * s + span
    before = max(full - length, 0) // 2 if padding == "same" else 0
    return before, full - length - before


def _by_window(padding: str, span: int, s: int, extra: int | None) -> Pair:
    """The window that JAX computes (backend_utils.py,
    _convert_conv_transpose_padding_args_from_keras_to_jax)."""
    if padding == "valid":
        left, right = span - 1, span - 1 + (max(span, s) - span if extra is None else extra)
    else:
        if extra is None:
            total = s + span - 2
        else:
            total = span + span % 2 - 2 + extra
        left = min(total // 2 + total % 2, span - 1)
        right = total - left
    return span - 1 - left, span - 1 - right


@describes("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def _conv_transpose(layer: Any, call: KerasCall) -> Description:
    rank, ndim = layer.rank, len(call.shape)
    strides, dilations = tuple(layer.strides), tuple(layer.dilation_rate)
    sizes, spans = (
        spatial_sizes(layer, call, rank),
        [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, dilations, strict=True)],
    )
    if layer.output_padding is None:
        more = (None,) * rank
    else:
        more = tuple(layer.output_padding)
    crops = transposed_crops(call.backend, call.legacy, layer.padding, sizes, spans, strides, more)
    kernel = call.weight("kernel", layer.kernel, axes=kernel_axes(rank))
    op = ops.ConvTranspose(
        weight=kernel,
        bias=call.weight("bias", layer.bias),
        strides=strides,
        crops=crops,
        dilations=dilations,
    )
    if ndim != rank + 2 or not prod(call.shape):
        raise Undescribed(f"an input with {ndim} axes is not supported")
    axes = named_axes(ndim, rank, channels_first(layer))
    steps = surrounded(layer, rank, [Step(op)])
    return Description((*steps, *activation_steps(layer.activation, call, ndim, steps)), axes, axes)
