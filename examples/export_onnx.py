"""Exports the net of digits.pt as digits.onnx."""

import torch
from digits import HERE
from digits_net import DigitsNet

net = DigitsNet().eval()
net.load_state_dict(torch.load(HERE / "digits.pt", weights_only=True))
torch.onnx.export(
    net,
    (torch.zeros(1, 1, 8, 8),),
    HERE / "digits.onnx",
    input_names=["image"],
    output_names=["scores"],
    dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}},
    opset_version=17,
    dynamo=False,
)
