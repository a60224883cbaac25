"""Mistakes of any step: changed, moved, left out, put in, or given another tensor."""
