"""What the layers of a second model put out, whatever it is."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

Outputs = dict[str, np.ndarray]


def first_tensor(output: Any) -> Any:
    """The first tensor of what a layer returned."""
    if hasattr(output, "to_tuple"):
        output = output.to_tuple()
    if isinstance(output, dict):
        output = tuple(output.values())
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output


def _numpy(tensor: Any) -> np.ndarray | None:
    if isinstance(tensor, torch.Tensor):
        return tensor.detach().float().numpy()
    return None if tensor is None else np.asarray(tensor, dtype=np.float32)


def _torch_outputs(model: Any, x: Any) -> Outputs:
    seen: Outputs = {}

    def watch(name: str, module: Any) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            first = first_tensor(output)
            if isinstance(first, torch.Tensor) and name not in seen:
                seen[name] = first.detach().float().numpy().copy()

        return module.register_forward_hook(hook)

    hooks = [watch(name, module) for name, module in model.named_modules() if name]
    like = next(model.parameters()).dtype

    def tensor(value: np.ndarray) -> torch.Tensor:
        given = torch.tensor(value)
        return given.to(like) if given.is_floating_point() else given

    with torch.no_grad():
        if isinstance(x, dict):
            output = model(**{name: tensor(value) for name, value in x.items()})
        else:
            output = model(*(tensor(value) for value in (x if isinstance(x, tuple) else (x,))))
    for hook in hooks:
        hook.remove()
    return {**seen, "": _numpy(first_tensor(output))}


def _keras_outputs(model: Any, x: Any) -> Outputs:
    keras = importlib.import_module("keras")
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    inner = [first_tensor(layer.output) for layer in layers]
    takes = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    every = keras.Model(takes, [first_tensor(model.outputs), *inner])
    values = every(list(x) if isinstance(x, tuple) else x, training=False)
    names = ["", *(layer.name for layer in layers)]
    return {name: _numpy(value) for name, value in zip(names, values, strict=True)}


def outputs(model: Any, x: Any) -> Outputs:
    """What layers put out, by their names; what the model does under ''."""
    if isinstance(model, Path) and model.suffix == ".npz":
        with np.load(model) as arrays:
            return dict(arrays)
    if isinstance(model, Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        values = tuple(x.values()) if isinstance(x, dict) else x
        values = values if isinstance(values, tuple) else (values,)
        takes = [(one.name, one.type) for one in session.get_inputs()]
        feed = {
            name: value.astype(np.float16) if kind == "tensor(float16)" else value
            for (name, kind), value in zip(takes, values, strict=True)
        }
        return {"": session.run(None, feed)[0].astype(np.float32)}
    if isinstance(model, torch.nn.Module):
        return _torch_outputs(model, x)
    return _keras_outputs(model, x)
