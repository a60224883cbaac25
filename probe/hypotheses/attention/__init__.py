"""Mistakes of attentions, and of what stands around them in a decoder."""
