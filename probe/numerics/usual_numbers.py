"""Numbers that frameworks and papers use, the commonest first."""

__all__ = ["EPSILONS"]

EPSILONS = (*(1e-3, 1e-5, 1e-6, 1e-12, 1e-7, 1e-8, 1e-4, 1e-2, 0.0, 1e-10, 1e-15, 1e-1), 2.0**-23)
