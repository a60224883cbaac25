"""Mistakes before and behind the layer: what was fed, and how values were written down."""
