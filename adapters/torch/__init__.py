"""PyTorch: opens state_dicts, checkpoints, pickled and live modules, and watches them run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

from probe.model import Model

from ..user_modules import import_all, refuse_factory
from .capture.devices import idle, moved, refuse_absent
from .capture.exported_program import Program, calls_of, is_program, specs_of
from .capture.model import TorchModel
from .capture.module_tree import mode_of, unwrapped
from .capture.torchscript import Script, is_script, unfollowed, within
from .layers import (  # noqa: F401 - their import fills the table of descriptions
    activation,
    adaptive_softmax,
    attention,
    conv,
    distance,
    embedding,
    normalization,
    pooling,
    recurrent,
    resize,
    rms_lp_norm,
    shape,
    transpose_conv_unpool,
)
from .loading.factory import Factory, build
from .loading.file import contents, load
from .loading.state_dict import fill, without_factory
from .packages import (  # noqa: F401
    ao_qat,
    ao_quantized,
    ao_quantized_embedding,
    ao_quantized_recurrent,
    brevitas,
    peft,
)

__all__ = ["open_model"]

_PROGRAM = "an exported program"


def open_model(
    source: Any,
    *,
    trust: bool = False,
    factory: Factory | None = None,
    imports: Sequence[str] = (),
    device: str | None = None,
) -> Model:
    """A path to what torch.save, torch.export.save or safetensors wrote, or a live module, which
    keeps its mode, or exported program.

    ``device`` None is the CPU for what is in a file, and for what is live where it is.
    """
    import_all(imports)
    if is_program(source):
        refuse_factory(factory, _PROGRAM)
        return _program(_on(source, device), "a live ExportedProgram (torch.export)")
    if isinstance(source, torch.nn.Module):
        refuse_factory(factory, "a live module")
        module, notes = moved(source, device)
        if not is_script(module):
            return _live(module, notes)
        notes = (*notes, mode_of(module))
        return _script(module, "a live TorchScript module (torch.jit)", notes)
    if device is not None:
        refuse_absent(device)
    path = Path(source)
    loaded = load(path, trust, imports, factory is not None)
    device_notes = idle(device)
    if is_script(loaded):
        notes = ("probe called eval() on the module after loading", *device_notes)
        return _script(loaded.eval().to(device or "cpu"), str(path), notes)
    if is_program(loaded):
        refuse_factory(factory, _PROGRAM)
        return _program(_on(loaded, device), str(path), device_notes)
    found, notes = contents(path, loaded)
    if isinstance(found, torch.nn.Module):
        refuse_factory(factory, "a whole module")
        module = unwrapped(found)
    elif factory is None:
        raise without_factory(path, found)
    else:
        module = unwrapped(build(factory))
        notes = (*notes, *fill(module, found, path))
    module.eval().to(device or "cpu")
    notes = (*notes, "probe called eval() on the module after loading", *device_notes)
    return TorchModel(module, str(path), notes)


def _on(program: Any, device: str | None) -> Any:
    """An exported program on the device."""
    if device is None:
        return program
    refuse_absent(device)
    return move_to_device_pass(program, device)


def _program(program: Any, source: str, device_notes: tuple[str, ...] = ()) -> Model:
    notes = (
        *device_notes,
        "an exported program: each of its nodes is listed as a layer, named after the module "
        "it came from",
    )
    module = Program(program)
    return TorchModel(module, source, notes, (), specs_of(program), calls_of(module))


def _script(module: Any, source: str, notes: tuple[str, ...]) -> Model:
    told = unfollowed(module) or (
        "TorchScript: each node of its graphs is listed as a layer, named after the module "
        "it came from"
    )
    return TorchModel(Script(module, ""), source, (told, *notes))


def _live(module: torch.nn.Module, notes: tuple[str, ...]) -> Model:
    inner = unwrapped(module)
    notes = (*notes, mode_of(inner))
    if inner is not module:
        compiled = "the module was compiled with torch.compile; it runs uncompiled here"
        notes = (*notes, compiled)
    parts = [f"{script.place!r}" for _, _, script in within(inner)]
    if parts:
        notes = (
            *notes,
            (f"TorchScript submodules are checked node by node where possible: {', '.join(parts)}"),
        )
    return TorchModel(inner, f"a live {type(inner).__name__} (torch.nn.Module)", notes)
