"""Pools of torch.nn.functional."""

from typing import Any

from probe.description import Ref

from .describe import CallBuilder, Value, both_outputs, function

__all__: list[str] = []


def _pool(build: CallBuilder, kind: str, input: Value, options: dict[str, Any]) -> tuple[Ref, ...]:
    if options.get("stride") in (None, [], ()):
        options["stride"] = options["kernel_size"]
    return build.module_outputs(kind, (input,), **options)


def _register_window_pools(rank: int) -> None:
    @function(f"max_pool{rank}d", onnx="maxpool")
    def maximum(
        build: CallBuilder,
        input: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> tuple[Ref, ...]:
        options = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "ceil_mode": ceil_mode,
        }
        return _pool(build, f"MaxPool{rank}d", input, options | {"return_indices": return_indices})

    @function(f"max_pool{rank}d_with_indices", onnx="maxpool", idle="return_indices")
    def maximum_and_places(
        build: CallBuilder,
        input: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = True,
    ) -> tuple[Ref, ...]:
        """It gives the places in either case."""
        window = kernel_size, stride, padding, dilation
        return both_outputs(maximum(build, input, *window, ceil_mode, return_indices=True))

    @function(f"avg_pool{rank}d", onnx="averagepool")
    def average(
        build: CallBuilder,
        input: Value,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> tuple[Ref, ...]:
        options = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "ceil_mode": ceil_mode,
        }
        return _pool(
            build,
            f"AvgPool{rank}d",
            input,
            options
            | {"count_include_pad": count_include_pad, "divisor_override": divisor_override},
        )


def _register_other_pools(rank: int) -> None:
    @function(f"lp_pool{rank}d", onnx="lppool")
    def power(
        build: CallBuilder,
        input: Value,
        norm_type: float,
        kernel_size: Any,
        stride: Any = None,
        ceil_mode: bool = False,
    ) -> tuple[Ref, ...]:
        options = {
            "norm_type": norm_type,
            "kernel_size": kernel_size,
            "stride": stride,
            "ceil_mode": ceil_mode,
        }
        return _pool(build, f"LPPool{rank}d", input, options)

    @function(f"adaptive_avg_pool{rank}d", f"_adaptive_avg_pool{rank}d", onnx="globalaveragepool")
    def adaptive_average(build: CallBuilder, input: Value, output_size: Any) -> Ref:
        return build.module(f"AdaptiveAvgPool{rank}d", input, output_size=output_size)

    @function(f"adaptive_max_pool{rank}d", onnx="globalmaxpool")
    def adaptive_maximum(
        build: CallBuilder, input: Value, output_size: Any, return_indices: bool = False
    ) -> Ref:
        return build.module(
            f"AdaptiveMaxPool{rank}d", input, output_size=output_size, return_indices=return_indices
        )

    @function(f"adaptive_max_pool{rank}d_with_indices", onnx="globalmaxpool", idle="return_indices")
    def adaptive_maximum_and_places(
        build: CallBuilder, input: Value, output_size: Any, return_indices: bool = True
    ) -> tuple[Ref, ...]:
        kind, size = f"AdaptiveMaxPool{rank}d", output_size
        return both_outputs(
            build.module_outputs(kind, (input,), output_size=size, return_indices=True)
        )


for _rank in (1, 2, 3):
    _register_window_pools(_rank)
    _register_other_pools(_rank)
