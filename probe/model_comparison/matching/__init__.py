"""Which tensors of two models are the same, and what lies between them."""
