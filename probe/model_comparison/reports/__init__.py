"""A comparison of two models as a value, and as pages and files."""
