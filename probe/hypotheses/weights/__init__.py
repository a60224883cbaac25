"""Weights other than the layer's: solved for, and what was done to them."""
