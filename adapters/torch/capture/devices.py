"""Where a module runs, and which flags let PyTorch compute float32 in fewer digits there."""

import os
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from probe.errors import BadInput, in_words

from .restore_state import held

__all__ = ["DISK", "idle", "idle_gpu", "moved", "provenance", "refuse_absent"]

DISK = "disk"
"""Where the parameters of a Hugging Face directory may stay, in accelerate's words."""


def refuse_absent(device: str) -> None:
    """Raises BadInput where PyTorch has no such device here."""
    if device == DISK:
        raise BadInput(
            f"--device {DISK} reads the parameters of a Hugging Face directory while they are "
            "needed; this model is none"
        )
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise BadInput(f"a device is cpu, cuda, cuda:1 or mps; you gave {device!r}") from None
    kind = wanted.type
    if kind == "cuda":
        count = torch.cuda.device_count()
        there = count > (wanted.index or 0)
    elif kind == "mps":
        there = torch.backends.mps.is_available()
    elif kind == "cpu":
        there = True
    else:
        raise BadInput(f"a device is cpu, cuda, cuda:1 or mps; you gave {device!r}")
    if not there:
        raise BadInput(
            f"PyTorch {torch.__version__} finds no device {device!r} here: leave device (--device) "
            "out to run on the CPU"
        )


def moved(module: torch.nn.Module, device: str | None) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """A live module on the device: itself where it is there, or else a copy, which a note says."""
    if device is None:
        return module, ()
    refuse_absent(device)
    wanted = torch.device(device)
    if all(_same(tensor.device, wanted) for tensor in held(list(module.modules()))):
        return module, ()
    try:
        return deepcopy(module).to(wanted), (f"a copy of the module was moved to {device}",)
    # what copying a module of the user's own raises has no common class
    except Exception as error:
        raise BadInput(f"the module cannot be copied to {device}: {in_words(error)}") from None


def _same(device: torch.device, wanted: torch.device) -> bool:
    return device.type == wanted.type and wanted.index in (None, device.index)


def provenance(module: torch.nn.Module) -> str:
    """What is said of where it runs: the device unless that is the CPU alone, and the flags that
    are not the CPU's own."""
    modules = list(module.modules())
    devices = sorted({str(tensor.device) for tensor in held(modules)})
    if any("_hf_hook" in vars(module) for module in modules):  # accelerate brings them
        devices = [DISK if device == "meta" else device for device in devices]
    beyond = [device for device in devices if device != "cpu"]
    if "cuda" in {device.partition(":")[0] for device in beyond}:
        name = torch.cuda.get_device_name(
            torch.device(next(device for device in beyond if "cuda" in device))
        )
        told = [f"on {' and '.join(devices)} ({name})", *_cuda_flags()]
    else:
        told = [f"on {' and '.join(devices)}"] if beyond else []
        precision = _answer(torch.get_float32_matmul_precision)
        told += [] if precision == "highest" else [f"float32 matmul precision {precision}"]
    return ", ".join(told)


def _cuda_flags() -> Iterator[str]:
    matmul: Any = torch.backends.cuda.matmul
    for what, flags in (("matmul", matmul), ("convolution", torch.backends.cudnn)):
        tf32 = _answer(lambda flags=flags: flags.allow_tf32)
        yield f"TF32 in {what} {_on(flags.fp32_precision == 'tf32' if tf32 is None else tf32)}"
    for kind in ("bf16", "fp16"):
        reduced = _answer(
            lambda kind=kind: getattr(matmul, f"allow_{kind}_reduced_precision_reduction")
        )
        yield f"{kind} reduced-precision sums {_on(bool(reduced))}"


def _answer(ask: Any) -> Any:
    """What a flag says; None where PyTorch refuses since its other name was set."""
    with suppress(RuntimeError):
        return ask()
    return None


def _on(flag: bool) -> str:
    if flag:
        return "on"
    return "off"


def idle(device: str | None) -> tuple[str, ...]:
    """A note on a GPU that is left idle since nobody asked for it."""
    gpu = "" if device is not None else idle_gpu()
    if gpu:
        return (
            f"a GPU is available, but the model ran on the CPU: device={gpu!r} (--device {gpu}) "
            "runs it on the GPU",
        )
    return ()


def idle_gpu() -> str:
    """The GPU that PyTorch could have run on, in words; "" where there is none. One that was
    hidden from it counts."""
    if torch.backends.mps.is_available():
        return "mps"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == "-1" and torch.version.cuda is not None
    if torch.cuda.device_count() or (hidden and any(Path("/dev").glob("nvidia[0-9]*"))):
        return "cuda"
    return ""
