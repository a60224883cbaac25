"""Layers of torch.ao and of packages beside PyTorch, as steps."""
