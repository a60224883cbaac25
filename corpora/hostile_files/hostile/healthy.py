"""The bases of the tricks, unchanged: what refuses these says nothing about the tricks."""

import numpy as np
from hostile import bases
from hostile.case import AGREES, Place, Run, add


def _torchscript(place: Place) -> None:
    from hostile.scripts import Plain, save

    save(Plain(), place.work / "m.pt")


def _pt2(place: Place) -> None:
    from hostile.exported import save

    save(place.work / "m.pt2")


def _with_net(build):
    def act(place: Place) -> None:
        (place.work / "net.py").write_text(bases.NET)
        build(place.work)

    return act


def _qkeras(place: Place) -> None:
    bases.keras2(
        place.work / "m.h5",
        bases.sequential2(qdense()),
        {"q": {"q/kernel:0": bases.KERNEL, "q/bias:0": bases.BIAS}},
    )


def qdense(**more: object) -> dict:
    bits = {
        "class_name": "quantized_bits",
        "config": {
            "bits": 4,
            "integer": 0,
            "symmetric": 0,
            "keep_negative": True,
            "alpha": 1.0,
            "use_stochastic_rounding": False,
            "qnoise_factor": 1.0,
        },
    }
    return {
        "class_name": "QDense",
        "config": {
            **bases.dense("q")["config"],
            "kernel_quantizer": bits,
            "bias_quantizer": bits,
            **more,
        },
    }


def _expect(place: Place) -> None:
    bases.onnx_file(place.work / "m.onnx")
    np.save(place.work / "x.npy", bases.X)
    np.save(place.work / "y.npy", bases.Y)
    np.savez(place.work / "y.npz", fc=bases.Y)
    np.savetxt(place.work / "y.txt", bases.Y)
    np.savetxt(place.work / "y.csv", bases.Y, delimiter=",")


def _given(name: str) -> Run:
    return Run(("m.onnx", "--layer", "fc", "--input", "x.npy", "--expect", name), AGREES)


_LIST, _ALL = (
    (lambda name: Run((name,), AGREES)),
    (lambda name, *more: Run((name, "--all", "--strict", *more), AGREES)),
)

add(
    "h5",
    "healthy",
    "dense",
    lambda place: bases.keras2(place.work / "m.h5"),
    _LIST("m.h5"),
    _ALL("m.h5"),
)
add("qkeras", "healthy", "qdense", _qkeras, _LIST("m.h5"), _ALL("m.h5"))
add(
    "keras",
    "healthy",
    "dense",
    lambda place: bases.keras3(place.work / "m.keras"),
    _LIST("m.keras"),
    _ALL("m.keras"),
)
add(
    "pt",
    "healthy",
    "zip",
    _with_net(lambda folder: bases.torch_zip(folder / "m.pt")),
    _ALL("m.pt", *bases.FACTORY),
)
add(
    "pt",
    "healthy",
    "legacy",
    _with_net(lambda folder: bases.torch_legacy(folder / "m.pt")),
    _ALL("m.pt", *bases.FACTORY),
)
add("torchscript", "healthy", "linear", _torchscript, Run(("m.pt", "--trust"), AGREES))
add("pt2", "healthy", "linear", _pt2, _ALL("m.pt2", "--trust"))
add(
    "safetensors",
    "healthy",
    "linear",
    _with_net(
        lambda folder: (folder / "m.safetensors").write_bytes(
            bases.safetensors(bases.STATE_HEADER, bases.STATE_DATA)
        )
    ),
    _ALL("m.safetensors", *bases.FACTORY),
)
add(
    "onnx",
    "healthy",
    "gemm",
    lambda place: bases.onnx_file(place.work / "m.onnx"),
    _LIST("m.onnx"),
    _ALL("m.onnx"),
)
add("npy", "healthy", "expect", _expect, _given("y.npy"))
add(
    "npz",
    "healthy",
    "expect",
    _expect,
    _given("y.npz"),
    Run(("m.onnx", "--all", "--input", "x.npy", "--expect", "y.npz"), AGREES),
)
add("text", "healthy", "expect", _expect, _given("y.txt"), _given("y.csv"))
