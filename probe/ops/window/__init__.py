"""Ops on sliding windows."""
