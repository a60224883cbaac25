"""Two arrays against an allowance."""
