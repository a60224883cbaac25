"""What is named for values with a mistake, and a module's values."""

import torch

import probe

__all__ = ["named", "of"]


def named(model, layer, x, values):
    """The first finding, which must reproduce the values."""
    report = probe.check(model, layer, x, expected=values)
    assert report.verdict == "diverge", report
    assert report.findings, report
    assert report.findings[0].left <= 1, report
    return report.findings[0]


def of(module, x):
    """The module's output, or the first of several, as an array."""
    with torch.no_grad():
        y = module(torch.from_numpy(x))
    return (y[0] if isinstance(y, tuple) else y).numpy()
