"""Mistakes of number formats: rounding, quantisation, fixed point and accumulators."""
