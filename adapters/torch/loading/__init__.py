"""PyTorch files and the modules they belong to."""
