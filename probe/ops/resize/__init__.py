"""Resizing and sampling at computed coordinates."""
