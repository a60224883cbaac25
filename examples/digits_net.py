"""The PyTorch net whose state_dict is digits.pt: probe examples/digits.pt --factory
examples/digits_net.py:DigitsNet"""

import torch
from torch import nn


class DigitsNet(nn.Module):
    """(batch, 1, 8, 8) -> the logarithms of ten probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.grouped = nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=4)
        self.groupnorm = nn.GroupNorm(8, 32)
        self.gelu = nn.GELU()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(128, 10)
        self.logsoftmax = nn.LogSoftmax(dim=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        edges = self.relu(self.norm(self.conv(images)))
        parts = self.gelu(self.groupnorm(self.grouped(edges)))
        return self.logsoftmax(self.fc(self.dropout(self.flatten(self.pool(parts)))))
