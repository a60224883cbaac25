"""The grammar of edits: what may be done to a description, and how that is told."""
