"""The search for the mistake that gives exactly those values."""
