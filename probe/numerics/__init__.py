"""Floating point and arrays; knows no layer."""
