"""Weights that values were computed with, solved for from the values, and what they may be."""
