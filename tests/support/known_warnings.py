"""Warnings of other packages that a test cannot avoid, each by how its text begins:
``pytest.mark.filterwarnings(*TORCH_AO)`` on a test or a file."""

__all__ = ["TORCH_AO", "TORCH_EXPORT", "TORCH_JIT"]

TORCH_AO = (
    "ignore:torch.ao.quantization is deprecated:DeprecationWarning",
    "ignore:Please use quant_min and quant_max:UserWarning",
    "ignore:torch.quantize_per_tensor:UserWarning",
)
TORCH_EXPORT = (
    "ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning",
    "ignore:The feature will be removed:DeprecationWarning",
    "ignore:Converting a tensor to a Python boolean:torch.jit.TracerWarning",
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
)
TORCH_JIT = ("ignore:`torch.jit:DeprecationWarning",)
