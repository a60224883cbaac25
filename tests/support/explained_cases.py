"""Layers without states, for the tests of explanations: every option that changes the indexing in
use."""

import warnings

import keras
import numpy as np
import pytest
import qkeras
import tf_keras
import torch

from probe.capture.passes import captured
from probe.capture.question import Question

SPACE = (7, 6, 5)


def torch_layers():
    """Class -> (module, shape of its input), every option that changes the indexing in use."""
    n = torch.nn
    cases = {}
    for r in (1, 2, 3):
        space = SPACE[:r]
        cases[f"Conv{r}d"] = (
            getattr(n, f"Conv{r}d")(4, 6, (3, 2, 2)[:r], 2, 1, (1, 2, 1)[:r], 2),
            (2, 4, *space),
        )
        cases[f"BatchNorm{r}d"] = getattr(n, f"BatchNorm{r}d")(4), (2, 4, *space)
        cases[f"MaxPool{r}d"] = getattr(n, f"MaxPool{r}d")(3, 2, 1, ceil_mode=True), (2, 4, *space)
        cases[f"AvgPool{r}d"] = getattr(n, f"AvgPool{r}d")(3, 2, 1, ceil_mode=True), (2, 4, *space)
        for kind in ("Avg", "Max"):
            cases[f"Adaptive{kind}Pool{r}d"] = (
                getattr(n, f"Adaptive{kind}Pool{r}d")((3, 2, 4)[:r]),
                (2, 4, *space),
            )
        for kind in ("Reflection", "Replication", "Circular", "Zero"):
            cases[f"{kind}Pad{r}d"] = (
                getattr(n, f"{kind}Pad{r}d")((1, 2, 3, 1, 2, 2)[: 2 * r]),
                (2, 4, *space),
            )
        cases[f"ConstantPad{r}d"] = (
            getattr(n, f"ConstantPad{r}d")((1, -2, 2, 1, 0, 1)[: 2 * r], 1.5),
            (2, 4, *space),
        )
        cases[f"Dropout{r}d"] = getattr(n, f"Dropout{r}d")(), (2, 4, *space)
    for name in (
        "AlphaDropout CELU ELU FeatureAlphaDropout GELU Hardshrink Hardsigmoid Hardswish Hardtanh "
        "Identity LeakyReLU LogSigmoid Mish RReLU "
        "ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink"
    ).split():
        cases[name] = getattr(n, name)(), (3, 4, 5)
    return cases | {
        "ChannelShuffle": (n.ChannelShuffle(3), (2, 6, 4, 5)),
        "Flatten": (n.Flatten(), (3, 4, 5)),
        "GLU": (n.GLU(1), (3, 4, 5)),
        "GroupNorm": (n.GroupNorm(3, 6), (2, 6, 4, 5)),
        "LayerNorm": (n.LayerNorm((4, 5)), (3, 4, 5)),
        "Linear": (n.Linear(7, 5), (2, 3, 7)),
        "LogSoftmax": (n.LogSoftmax(1), (3, 4, 5)),
        "PReLU": (n.PReLU(4), (3, 4, 5)),
        "PixelShuffle": (n.PixelShuffle(2), (2, 8, 3, 4)),
        "PixelUnshuffle": (n.PixelUnshuffle(2), (2, 3, 4, 6)),
        "Softmax": (n.Softmax(1), (3, 4, 5)),
        "Softmax2d": (n.Softmax2d(), (2, 3, 4, 5)),
        "Softmin": (n.Softmin(2), (3, 4, 5)),
        "Threshold": (n.Threshold(0.3, 2.0), (3, 4, 5)),
        "Unflatten": (n.Unflatten(1, (2, 3)), (4, 6)),
        "Upsample": (n.Upsample(scale_factor=(2, 1.5)), (2, 3, 4, 5)),
        "UpsamplingNearest2d": (n.UpsamplingNearest2d((7, 9)), (2, 3, 4, 5)),
    }


def keras_layers(namespace):
    """Class -> (layer, shapes of its inputs)."""
    layer = namespace.layers
    same, three = ((2, 3, 4), (2, 3, 4)), ((2, 3, 4),) * 3
    cases = {}
    for r in (1, 2, 3):
        space, rank = SPACE[:r], f"{r}D"
        shape = ((2, *space, 4),)
        cases[f"Conv{rank}"] = (
            getattr(layer, f"Conv{rank}")(
                6, (3, 2, 2)[:r], strides=2, padding="same", activation="relu"
            ),
            shape,
        )
        cases[f"Cropping{rank}"] = (
            getattr(layer, f"Cropping{rank}")(((1, 2), (2, 1), (1, 1))[:r] if r > 1 else (1, 2)),
            shape,
        )
        cases[f"ZeroPadding{rank}"] = (
            getattr(layer, f"ZeroPadding{rank}")(((1, 2), (2, 1), (1, 0))[:r] if r > 1 else (1, 2)),
            shape,
        )
        cases[f"UpSampling{rank}"] = (
            getattr(layer, f"UpSampling{rank}")((2, 3, 2)[:r] if r > 1 else 2),
            shape,
        )
        cases[f"SpatialDropout{rank}"] = getattr(layer, f"SpatialDropout{rank}")(0.5), shape
        for kind in ("Max", "Average"):
            cases[f"{kind}Pooling{rank}"] = (
                getattr(layer, f"{kind}Pooling{rank}")(3, strides=2, padding="same"),
                shape,
            )
            cases[f"Global{kind}Pooling{rank}"] = (
                getattr(layer, f"Global{kind}Pooling{rank}")(),
                shape,
            )
            if hasattr(layer, f"Adaptive{kind}Pooling{rank}"):
                cases[f"Adaptive{kind}Pooling{rank}"] = (
                    getattr(layer, f"Adaptive{kind}Pooling{rank}")((3, 2, 4)[:r] if r > 1 else 3),
                    shape,
                )
    for r in (1, 2):
        space = ((2, *SPACE[:r], 4),)
        for kind, filters in (("Depthwise", ()), ("Separable", (5,))):
            made = getattr(layer, f"{kind}Conv{r}D")(
                *filters, 3, strides=2, padding="same", depth_multiplier=2
            )
            cases[f"{kind}Conv{r}D"] = made, space
    for name in ("Add", "Average", "Maximum", "Minimum", "Multiply"):
        cases[name] = getattr(layer, name)(), three
    for name in ("ELU", "Flatten", "LeakyReLU", "PReLU", "ReLU", "Softmax"):
        cases[name] = getattr(layer, name)(), same[:1]
    for name in ("AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"):
        cases[name] = getattr(layer, name)(0.5), same[:1]
    if hasattr(layer, "Identity"):
        cases["Identity"] = layer.Identity(), same[:1]
    if namespace is tf_keras:
        cases["ThresholdedReLU"] = layer.ThresholdedReLU(0.4), same[:1]
    return cases | {
        "Activation": (
            layer.Activation("log_softmax" if namespace is keras else "softplus"),
            same[:1],
        ),
        "ActivityRegularization": (layer.ActivityRegularization(), same[:1]),
        "BatchNormalization": (layer.BatchNormalization(), ((2, 3, 5, 4),)),
        "Concatenate": (layer.Concatenate(axis=1), ((2, 3, 4), (2, 5, 4))),
        "Dense": (layer.Dense(6, activation="softmax"), ((2, 7),)),
        "GroupNormalization": (layer.GroupNormalization(2), ((2, 3, 5, 4),)),
        "LayerNormalization": (layer.LayerNormalization(), ((2, 3, 4),)),
        "Permute": (layer.Permute((2, 1)), same[:1]),
        "RepeatVector": (layer.RepeatVector(3), ((2, 4),)),
        "Reshape": (layer.Reshape((2, 6)), same[:1]),
        "Subtract": (layer.Subtract(), same),
    }


def qkeras_layers():
    bits, relu = qkeras.quantized_bits(4, 0, 1, alpha=1), qkeras.quantized_relu(4, 1)
    quantised = {"kernel_quantizer": bits, "bias_quantizer": bits, "activation": relu}
    normalised = {f"{name}_quantizer": bits for name in ("gamma", "beta", "mean")} | {
        "variance_quantizer": relu
    }
    return {
        "QActivation": (qkeras.QActivation("quantized_bits(4, 1, alpha='auto')"), ((2, 3, 4),)),
        "QBatchNormalization": (qkeras.QBatchNormalization(**normalised), ((2, 3, 5, 4),)),
        "QConv1D": (qkeras.QConv1D(5, 3, **quantised), ((2, 7, 4),)),
        "QConv2D": (
            qkeras.QConv2D(5, (3, 2), strides=2, padding="same", **quantised),
            ((2, 7, 6, 3),),
        ),
        "QDense": (qkeras.QDense(6, **quantised), ((2, 7),)),
        "QDepthwiseConv2D": (
            qkeras.QDepthwiseConv2D((3, 2), depthwise_quantizer=bits, bias_quantizer=bits),
            ((2, 7, 6, 3),),
        ),
    }


def every_layer():
    with warnings.catch_warnings():
        # QKeras calls pyparsing by old names
        warnings.filterwarnings("ignore", ".*deprecated - use", DeprecationWarning)
        warnings.filterwarnings("ignore", "The initializer .* is unseeded", UserWarning)
        for name, (module, shape) in torch_layers().items():
            yield pytest.param(name, module, (shape,), id=f"torch-{name}")
        for namespace in (keras, tf_keras):
            for name, (layer, shapes) in keras_layers(namespace).items():
                yield pytest.param(name, layer, shapes, id=f"{namespace.__name__}-{name}")
        for name, (layer, shapes) in qkeras_layers().items():
            yield pytest.param(name, layer, shapes, id=f"qkeras-{name}")


LAYERS = list(every_layer())


def drawn(layer, shapes, seed=0):
    """The layer with weights that no initializer gives, and its inputs."""
    rng = np.random.default_rng(seed)
    if isinstance(layer, torch.nn.Module):
        with torch.no_grad():
            for name, tensor in layer.state_dict().items():
                if tensor.is_floating_point():
                    values = (
                        rng.uniform(0.05, 2.0, tensor.shape)
                        if "var" in name
                        else rng.normal(size=tensor.shape)
                    )
                    tensor.copy_(torch.from_numpy(values))
        layer.eval()
    else:
        if not layer.built:  # the tests of several files share it
            layer.build(shapes[0] if len(shapes) == 1 else list(shapes))
        weights = [
            rng.uniform(0.05, 2.0, v.shape) if "variance" in v.name else rng.normal(size=v.shape)
            for v in layer.weights
        ]
        if weights:
            layer.set_weights(weights)
    return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def call_of(layer, shapes):
    given = drawn(layer, shapes)
    name = "" if isinstance(layer, torch.nn.Module) else layer.name
    (capture,) = captured(layer, Question(name, given=list(given))).calls
    assert capture.description is not None, capture.why
    return capture
