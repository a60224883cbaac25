"""Mistakes of one kind of layer."""
