"""Quantisers."""
