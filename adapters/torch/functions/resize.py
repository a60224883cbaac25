"""Resizing of torch.nn.functional and ATen."""

from typing import Any

from probe.description import Ref

from .describe import CallBuilder, Value, function

__all__: list[str] = []


@function(
    "aten.upsample_nearest1d", "aten.upsample_nearest2d", "aten.upsample_nearest3d", onnx="resize"
)
def aten_nearest(
    build: CallBuilder, input: Value, output_size: Any, scale_factors: Any = None
) -> Ref:
    return interpolate(build, input, output_size, None if output_size else tuple(scale_factors))


def _register_upsampling(name: str, mode: str) -> None:
    @function(f"aten.{name}", onnx="resize")
    def call(
        build: CallBuilder,
        input: Value,
        output_size: Any,
        align_corners: bool,
        scale_factors: Any = None,
    ) -> Ref:
        return interpolate(
            build,
            input,
            output_size,
            None if output_size else tuple(scale_factors),
            mode,
            align_corners,
        )


for _name, _kind in {
    "upsample_linear1d": "linear",
    "upsample_bilinear2d": "bilinear",
    "upsample_trilinear3d": "trilinear",
}.items():
    _register_upsampling(_name, _kind)


@function("interpolate", "upsample", onnx="resize")
def interpolate(
    build: CallBuilder,
    input: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Ref:
    given = {
        "size": size,
        "scale_factor": scale_factor,
        "mode": mode,
        "align_corners": align_corners,
        "antialias": antialias,
    }
    return build.module("Upsample", input, **given, recompute_scale_factor=recompute_scale_factor)


@function("upsample_nearest", onnx="resize")
def upsample_nearest(
    build: CallBuilder, input: Value, size: Any = None, scale_factor: Any = None
) -> Ref:
    return interpolate(build, input, size, scale_factor)


@function("upsample_bilinear", onnx="resize")
def upsample_bilinear(
    build: CallBuilder, input: Value, size: Any = None, scale_factor: Any = None
) -> Ref:
    return interpolate(build, input, size, scale_factor, "bilinear", True)
