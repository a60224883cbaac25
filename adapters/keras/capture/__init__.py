"""Keras models watched while they run."""
