"""The search for the mistake that reproduces a party's values."""
