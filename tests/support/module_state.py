"""Whether a PyTorch module is left as it was: every parameter and buffer, where it is registered,
bit for bit."""

import torch


def bits(module):
    """Every parameter and buffer, and which tensor it is."""
    return {
        name: (id(tensor), tensor.detach().clone())
        for name, tensor in (*module.named_parameters(), *module.named_buffers())
    }


def unchanged(before, module):
    after = bits(module)
    return before.keys() == after.keys() and all(
        before[name][0] == after[name][0] and torch.equal(before[name][1], after[name][1])
        for name in after
    )
