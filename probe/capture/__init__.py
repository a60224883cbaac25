"""Running a model: its inputs, the user's own arrays, and the calls of one forward pass."""
