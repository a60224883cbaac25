"""A layer as steps of ops, and what builds them."""
