"""PyTorch modules watched while they run."""
