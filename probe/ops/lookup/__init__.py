"""Ops that look up by an index or a key."""
