"""Keras files: what they say, whether they may be loaded, and how."""
