"""How a PyTorch module becomes steps."""
