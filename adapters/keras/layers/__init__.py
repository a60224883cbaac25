"""Keras' layers as steps, one file a family."""
