"""A layer of fixed-point numbers as a C99 program in integers alone, bit for bit what the framework
gives.

Every array holds integers that stand for themselves times one power of two; where the point lies,
and how wide sums get, is said in words beside each. What is no multiple of a power of two is
refused: C for float32 would be one more order of rounding.
"""
