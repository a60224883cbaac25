"""TorchScript modules, harmless and not, in a file of their own because torch.jit reads their
source."""

import warnings
from pathlib import Path

import torch


def save(module: torch.nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        # TorchScript is deprecated, and read all the same.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), path)


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)


class WritesOnLoad(torch.nn.Module):
    path: str

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        self.fc = self.fc
        torch.save(torch.zeros(1), state[0])


class WritesOnLoadInside(torch.nn.Module):
    def __init__(self, path: str):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.inner = WritesOnLoad(path)

    def forward(self, x):
        return self.fc(x)


class MapsOnLoad(torch.nn.Module):
    path: str

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.held = torch.zeros(1)
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x) + self.held

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.path = state[0]
        self.training = state[1]
        self.fc = self.fc
        self.held = torch.from_file(state[0], False, 4)


class LoopsOnLoad(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.count = 0
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return self.count, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.count = state[0]
        self.training = state[1]
        self.fc = self.fc
        while self.count >= 0:
            self.count = 1 - self.count


class FillsOnLoad(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.held = torch.zeros(1)
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x)

    @torch.jit.export
    def __getstate__(self) -> tuple[int, bool]:
        return 0, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[int, bool]) -> None:
        self.training = state[1]
        self.fc = self.fc
        self.held = torch.ones(1500000000)


class WritesOnCall(torch.nn.Module):
    path: str

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.fc = torch.nn.Linear(4, 3)

    def forward(self, x):
        torch.save(x, self.path)
        return self.fc(x)
